/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _MM_VSWAP_H
#define _MM_VSWAP_H

#include <linux/jump_label.h>
#include <linux/percpu.h>
#include <linux/swap.h>
#include <linux/zswap.h>
#include "swap.h"
#include "swap_table.h"

struct zswap_entry;

/* The virtual device takes the last swap type, so no other type moves. */
#define VSWAP_TYPE	(MAX_SWAPFILES - 1)

#ifdef CONFIG_VSWAP

/* True from the moment the virtual device exists, and then for ever. */
DECLARE_STATIC_KEY_FALSE(vswap_key);

extern struct swap_info_struct *vswap_si;
extern bool vswap_on;

static inline bool vswap_exists(void)
{
	return static_branch_unlikely(&vswap_key);
}

static inline bool swap_is_virtual(const struct swap_info_struct *si)
{
	return vswap_exists() && (si->flags & SWP_VIRTUAL);
}

static inline bool vswap_entry(swp_entry_t entry)
{
	return vswap_exists() && swp_type(entry) == VSWAP_TYPE;
}

/*
 * The rule that decides who gets virtual slots: all folios as long as zswap is
 * on. Without zswap, a slot of a device is all that a folio needs, and to take
 * two costs more than a fast device takes for the rest.
 */
static inline bool vswap_wanted(void)
{
	return vswap_exists() && READ_ONCE(vswap_on) && zswap_is_enabled();
}

/*
 * Backing words. ci->backing is an array of one word for each slot, made for
 * the first backing in the cluster and freed with the last; ci->nr_backing
 * counts the words in use. A word is one of:
 *
 * NONE:         |-------------------- 0 --------------------------|
 * ZSWAP:        |---------- struct zswap_entry pointer --------|000|
 * PHYS:         |------- offset of the slot -------|--- type ----|1|
 *
 * The swap table of a device says "bound" for a slot of a PHYS word, and names
 * the virtual slot: see mm/swap_table.h.
 */
#define VSWAP_TABLE_SIZE	(SWAPFILE_CLUSTER * sizeof(unsigned long))
#define VSWAP_PHYS_MARK		1UL
#define VSWAP_PHYS_SHIFT	(MAX_SWAPFILES_SHIFT + 1)

static inline unsigned long zswap_to_vswap_word(struct zswap_entry *entry)
{
	return (unsigned long)entry;
}

static inline bool vswap_word_is_phys(unsigned long word)
{
	return word & VSWAP_PHYS_MARK;
}

/* NULL if something else stands behind the slot. */
static inline struct zswap_entry *vswap_word_to_zswap(unsigned long word)
{
	return vswap_word_is_phys(word) ? NULL : (struct zswap_entry *)word;
}

/* Packed field by field: no shift of a swp_entry_t keeps the type. */
static inline unsigned long phys_to_vswap_word(swp_entry_t slot)
{
	BUILD_BUG_ON(MAX_SWAPFILES > 1 << MAX_SWAPFILES_SHIFT);
	VM_WARN_ON_ONCE(swp_offset(slot) >> (BITS_PER_LONG - VSWAP_PHYS_SHIFT));

	return ((unsigned long)swp_offset(slot) << VSWAP_PHYS_SHIFT) |
	       (swp_type(slot) << 1) | VSWAP_PHYS_MARK;
}

static inline swp_entry_t vswap_word_to_phys(unsigned long word)
{
	VM_WARN_ON_ONCE(!vswap_word_is_phys(word));

	return swp_entry((word >> 1) & ((1 << MAX_SWAPFILES_SHIFT) - 1),
			 word >> VSWAP_PHYS_SHIFT);
}

static inline unsigned long __vswap_word_get(const struct swap_cluster_info *ci,
					     unsigned int ci_off)
{
	lockdep_assert_held(&ci->lock);
	VM_WARN_ON_ONCE(ci_off >= SWAPFILE_CLUSTER);
	return ci->backing ? ci->backing[ci_off] : 0;
}

static inline bool __vswap_has_backing(const struct swap_cluster_info *ci)
{
	return ci->backing;
}

/* The lines of the truth table for a slot that is out: one backing. */
static inline bool vswap_is_backed(bool zero, unsigned long word)
{
	return zero != !!word;
}

/*
 * A folio is about to be reclaimed from the swap cache. Something has to be
 * behind each slot that is referenced, and no more than one thing.
 */
static inline void vswap_check_backed(struct folio *folio,
				      struct swap_cluster_info *ci,
				      swp_entry_t entry)
{
	unsigned int ci_off = swp_cluster_offset(entry);
	unsigned int end = ci_off + folio_nr_pages(folio);

	if (!IS_ENABLED(CONFIG_DEBUG_VM) || !vswap_entry(entry))
		return;
	/* A poisoned folio is lost by its nature. */
	if (folio_contain_hwpoisoned_page(folio))
		return;
	for (; ci_off < end; ci_off++) {
		if (!__swp_tb_get_count(__swap_table_get(ci, ci_off)))
			continue;
		VM_WARN_ON_ONCE(!vswap_is_backed(__swap_table_test_zero(ci, ci_off),
						 __vswap_word_get(ci, ci_off)));
	}
}

/* What is counted. Each CPU counts for itself; only the sums mean something. */
enum vswap_stat {
	VSWAP_USED,		/* slots in use */
	VSWAP_ZERO,		/* slots with the zero flag */
	VSWAP_ZSWAP,		/* slots with a zswap entry */
	VSWAP_PHYS,		/* slots with a physical slot */
	VSWAP_ALLOC_FAIL,	/* folios that found no virtual slot */
	VSWAP_FRAGMENTED,	/* folios that took more than one run of slots */
	VSWAP_NR_STATS
};

DECLARE_PER_CPU(long [VSWAP_NR_STATS], vswap_stats);

static inline void vswap_mod_stat(enum vswap_stat item, long nr)
{
	this_cpu_add(vswap_stats[item], nr);
}

/* Swap devices that are on, or are being switched off */
extern atomic_t vswap_nr_devices;

static inline bool vswap_have_devices(void)
{
	return vswap_exists() && atomic_read(&vswap_nr_devices);
}

void vswap_device_on(struct swap_info_struct *si);
void vswap_device_off(struct swap_info_struct *si);
bool vswap_in_use(void);
unsigned long vswap_out_pages(void);
void vswap_grow(void);
bool vswap_full(void);
bool vswap_should_split(struct folio *folio);
bool vswap_get_cluster(void);
void vswap_put_cluster(void);
struct zswap_entry *vswap_zswap_load(swp_entry_t entry);
struct zswap_entry *vswap_zswap_store(swp_entry_t entry, struct zswap_entry *new);
struct zswap_entry *vswap_zswap_erase(swp_entry_t entry);
void __vswap_drop_range(struct swap_cluster_info *ci, unsigned int ci_off,
			unsigned int nr);
void vswap_drop_range(swp_entry_t entry, unsigned int nr);
void vswap_drop_zswap(swp_entry_t entry, unsigned int nr);
void vswap_hint_cached(struct swap_cluster_info *ci, unsigned int ci_off,
		       unsigned int nr);
int vswap_bind_folio(struct folio *folio);
bool vswap_on_device(swp_entry_t entry);
unsigned long __vswap_device_flags(swp_entry_t entry);
bool vswap_stable_writes(struct folio *folio, struct swap_info_struct *si);
swp_entry_t vswap_reserve_slot(swp_entry_t entry);
void vswap_unreserve_slot(swp_entry_t entry, swp_entry_t slot);
struct zswap_entry *vswap_publish_slot(swp_entry_t entry, swp_entry_t slot);
unsigned int vswap_phys_run(swp_entry_t entry, unsigned int nr, swp_entry_t *slot);
bool __vswap_is_uniform(struct swap_cluster_info *ci, unsigned int ci_off,
			unsigned int nr, unsigned int nr_zero);
long vswap_zswap_pages(void);
void vswap_drop_phys(swp_entry_t entry, unsigned int nr);

#else /* CONFIG_VSWAP */

#define vswap_si	((struct swap_info_struct *)NULL)

static inline bool vswap_exists(void)
{
	return false;
}

static inline bool swap_is_virtual(const struct swap_info_struct *si)
{
	return false;
}

static inline bool vswap_entry(swp_entry_t entry)
{
	return false;
}

static inline bool vswap_wanted(void)
{
	return false;
}

static inline void vswap_check_backed(struct folio *folio,
				      struct swap_cluster_info *ci,
				      swp_entry_t entry)
{
}

enum vswap_stat {
	VSWAP_USED,
	VSWAP_ZERO,
	VSWAP_ALLOC_FAIL,
	VSWAP_FRAGMENTED,
};

static inline void vswap_mod_stat(enum vswap_stat item, long nr)
{
}

static inline void vswap_device_on(struct swap_info_struct *si)
{
}

static inline void vswap_device_off(struct swap_info_struct *si)
{
}

static inline bool vswap_in_use(void)
{
	return false;
}

static inline void vswap_grow(void)
{
}

static inline bool vswap_full(void)
{
	return false;
}

static inline bool vswap_should_split(struct folio *folio)
{
	return false;
}

static inline bool vswap_get_cluster(void)
{
	return false;
}

static inline void vswap_put_cluster(void)
{
}

static inline struct zswap_entry *vswap_zswap_load(swp_entry_t entry)
{
	return NULL;
}

static inline struct zswap_entry *vswap_zswap_store(swp_entry_t entry,
						    struct zswap_entry *new)
{
	return NULL;
}

static inline struct zswap_entry *vswap_zswap_erase(swp_entry_t entry)
{
	return NULL;
}

static inline bool __vswap_has_backing(const struct swap_cluster_info *ci)
{
	return false;
}

static inline void __vswap_drop_range(struct swap_cluster_info *ci,
				      unsigned int ci_off, unsigned int nr)
{
}

static inline void vswap_drop_range(swp_entry_t entry, unsigned int nr)
{
}

static inline void vswap_drop_zswap(swp_entry_t entry, unsigned int nr)
{
}

static inline void vswap_hint_cached(struct swap_cluster_info *ci,
				     unsigned int ci_off, unsigned int nr)
{
}

static inline int vswap_bind_folio(struct folio *folio)
{
	return -ENOSPC;
}

static inline bool vswap_on_device(swp_entry_t entry)
{
	return false;
}

static inline bool vswap_have_devices(void)
{
	return false;
}

static inline unsigned long __vswap_device_flags(swp_entry_t entry)
{
	return 0;
}

static inline bool vswap_stable_writes(struct folio *folio,
				       struct swap_info_struct *si)
{
	/* It never changes while the device is on. */
	return data_race(si->flags & SWP_STABLE_WRITES);
}

static inline swp_entry_t vswap_reserve_slot(swp_entry_t entry)
{
	return swp_entry(0, 0);
}

static inline void vswap_unreserve_slot(swp_entry_t entry, swp_entry_t slot)
{
}

static inline struct zswap_entry *vswap_publish_slot(swp_entry_t entry,
						     swp_entry_t slot)
{
	return NULL;
}

static inline unsigned int vswap_phys_run(swp_entry_t entry, unsigned int nr,
					  swp_entry_t *slot)
{
	return 0;
}

static inline bool __vswap_is_uniform(struct swap_cluster_info *ci,
				      unsigned int ci_off, unsigned int nr,
				      unsigned int nr_zero)
{
	return false;
}

static inline long vswap_zswap_pages(void)
{
	return 0;
}

static inline void vswap_drop_phys(swp_entry_t entry, unsigned int nr)
{
}

#endif /* CONFIG_VSWAP */

/**
 * vswap_device_flags() - how does the place of a slot behave?
 * @entry: the slot
 * @si: its device
 *
 * Being synchronous, and needing stable pages, are properties of the place
 * where the data is, and not of the virtual device.
 *
 * Context: Any. The answer may be old when it comes: it decides how a slot is
 * read, and never from where.
 * Return: SWP_ flags: those of @si, or of the device behind a virtual slot.
 */
static inline unsigned long vswap_device_flags(swp_entry_t entry,
					       struct swap_info_struct *si)
{
	if (swap_is_virtual(si) && vswap_have_devices())
		return __vswap_device_flags(entry);
	/* Only what never changes while the device is on is asked for. */
	return data_race(si->flags);
}

/* What zswap does for virtual slots alone */
#ifdef CONFIG_ZSWAP
void zswap_entry_free(struct zswap_entry *entry);
bool zswap_sample_compresses(struct folio *folio);
#else
static inline void zswap_entry_free(struct zswap_entry *entry)
{
}

static inline bool zswap_sample_compresses(struct folio *folio)
{
	return false;
}
#endif

#if defined(CONFIG_MEMCG) && defined(CONFIG_VSWAP) && defined(CONFIG_ZSWAP)
long mem_cgroup_limit_zswap(struct mem_cgroup *memcg, long nr_pages);
void mem_cgroup_refresh_zswap(struct mem_cgroup *memcg);
#else
static inline long mem_cgroup_limit_zswap(struct mem_cgroup *memcg, long nr_pages)
{
	return nr_pages;
}

static inline void mem_cgroup_refresh_zswap(struct mem_cgroup *memcg)
{
}
#endif

#if defined(CONFIG_MEMCG) && defined(CONFIG_SWAP)
long mem_cgroup_get_nr_device_pages(struct mem_cgroup *memcg);
#else
static inline long mem_cgroup_get_nr_device_pages(struct mem_cgroup *memcg)
{
	return get_nr_swap_pages();
}
#endif

#endif /* _MM_VSWAP_H */
