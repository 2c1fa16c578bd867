// SPDX-License-Identifier: GPL-2.0-only
/*
 * Virtual swap: swap entries that name a slot and never a place.
 *
 *    PTE, shmem          the hidden device            where the data is
 *
 *    swap entry -------> virtual slot --------------> nowhere but in the
 *    (stays the same     swap table word:             swap cache
 *     while the page       PFN or shadow, count,      zero page: a flag
 *     is out)              zero flag                  zswap entry
 *                        backing word:              slot of a swap device
 *                          NONE, ZSWAP, PHYS              |
 *                                ^------------------------+
 *                                 its swap table names the virtual slot
 *
 * One swap device without a disk hands out the entries. It is a
 * swap_info_struct like any other, with the clusters, the swap table and the
 * allocator of every swap device, but nothing behind it. What stands behind
 * a slot is told by one word of its own, the backing word. Moving the data
 * rewrites that word and no page table.
 *
 * The layer stores nothing twice: PFN, shadow, count and zero flag stay in
 * the swap table, the memory cgroup in the memcg table, and only what has no
 * home there is kept in a backing word. The truth about a slot:
 *
 *  backing | swap table    | zero  | meaning
 *  --------+---------------+-------+------------------------------------------
 *  NONE    | NULL          | clear | free
 *  NONE    | PFN           | clear | in the swap cache and nowhere else
 *  NONE    | PFN or shadow | set   | zero page
 *  ZSWAP   | PFN or shadow | clear | in zswap
 *  PHYS    | PFN or shadow | clear | on a slot of a device
 *  NONE    | shadow, count | clear | data lost: must never be seen, but for
 *          |               |       | the moment while a file is truncated
 *  other   | any           | set   | stale backing: must never be seen
 *
 * With a PFN, zero flag and backing word tell what was last written out.
 * They are true only while the folio is clean and up to date; otherwise the
 * folio is the only truth. Every way out of swap_writeout() that leaves the
 * folio clean therefore sets or drops both: no older backing is left behind
 * to fall back on after the folio has left the swap cache.
 *
 * A slot of a device is bound late: when zswap does not take the folio, or when
 * it writes back. The swap table of the device then says "bound", and names the
 * virtual slot. PHYS words and bound slots of devices match, but for a bind in
 * progress, which has the slot before the word. What is PHYS is charged to
 * memory.swap, where there is such a thing.
 *
 * Who may change a backing word: the holder of the lock of the folio that
 * covers the slot in the swap cache, who has waited for writeback, or who frees
 * the slot. So a word is stable under the folio lock, and while the folio is
 * under writeback. The cluster lock makes one access atomic, and no more.
 *
 * Lock order:
 *
 *	folio lock
 *	  page table lock
 *	    percpu_swap_cluster.lock, global_cluster_lock of a rotating device
 *	      virtual cluster (a lockdep class of its own)
 *		cluster of a device
 *		  si->lock, swap_avail_lock
 *		zsmalloc, list_lru
 *
 *	vswap_create_lock
 *	  vswap_grow_lock
 *
 *	The latter is taken in reclaim, with none of the spinlocks held. Memory
 *	below it is allocated without entering reclaim: vswap_lock_growth().
 *
 * The array of clusters is a sparsely mapped range of kernel addresses, so
 * that finding a cluster stays an array index. It grows a page at a time and
 * is never unmapped. Cluster 0 exists and is never handed out, because offset
 * 0 means "no slot" to the allocator. Swap tables come and go with the first
 * and the last slot of a cluster, and tables of backing words with the first
 * and the last backing in it, so that memory goes back when swap empties.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <kunit/static_stub.h>
#include <linux/kmemleak.h>
#include <linux/memblock.h>
#include <linux/memcontrol.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/plist.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include <linux/swap.h>
#include <linux/swapfile.h>
#include <linux/swap_ops.h>
#include <linux/vmalloc.h>
#include <linux/zswap.h>
#include "swap.h"
#include "swap_table.h"
#include "vswap.h"

#define CREATE_TRACE_POINTS
#include <trace/events/vswap.h>

DEFINE_STATIC_KEY_FALSE(vswap_key);

/* The virtual device. Set once, before vswap_key is enabled. */
struct swap_info_struct *vswap_si;

DEFINE_PER_CPU(long [VSWAP_NR_STATS], vswap_stats);

atomic_t vswap_nr_devices;
/* Of these, those that do I/O for which the file system must not be entered */
static unsigned int vswap_nr_nofs;
static DEFINE_SPINLOCK(vswap_nofs_lock);

/* May new folios get virtual slots? /sys/kernel/mm/swap/vswap/enabled */
bool vswap_on;
/* Shall it be on from boot? "vswap=" on the kernel command line */
static bool vswap_boot_on __initdata = true;

/* Creation, and what users switch. Never taken in reclaim. */
static DEFINE_MUTEX(vswap_create_lock);

/*
 * Room, in clusters without the unused cluster 0, but for array pages. Once
 * the device exists it is changed under vswap_grow_lock, but for
 * vswap_nr_clusters.
 */
static DEFINE_MUTEX(vswap_grow_lock);
/* Address range of the cluster array */
static struct vm_struct *vswap_area;
/* What the address range holds when all of it is mapped */
static unsigned long vswap_capacity;
/* What may be in use at a time, and whether the administrator has said so */
static unsigned long vswap_limit;
static bool vswap_limit_set;
/* Pages of the array that are mapped, and the clusters that lie in them */
static unsigned long vswap_array_pages;
static unsigned long vswap_mapped;
/* Clusters that have a swap table: in use, or about to be */
static atomic_long_t vswap_nr_clusters;
/* With as many clusters in use, it is time to map more */
static long vswap_grow_mark = LONG_MAX;

/* Clusters kept ready ahead of use, so that growth is seldom waited for */
static unsigned long vswap_ahead(void)
{
	return 16 + 2 * num_possible_cpus();
}

/*
 * The memory cgroup of each slot in use is pinned by one reference, and the
 * counter of a cgroup takes 2^31. Leave half of them to physical slots.
 */
#define VSWAP_MAX_SLOTS		BIT(30)
/* Of the vmalloc space, the array may reserve this share */
#define VSWAP_VMALLOC_SHARE	64
/* Slots per page of RAM: what can be reached, and what may be used */
#define VSWAP_CAPACITY_RATIO	64
#define VSWAP_LIMIT_RATIO	4

static unsigned long vswap_max_clusters(void)
{
	unsigned long vmalloc = VMALLOC_END - VMALLOC_START;
	unsigned long ram, slots;

	/* Where hotplug memory may come, firmware has told, if anybody has. */
	ram = max_t(unsigned long, totalram_pages(), max_possible_pfn);
	slots = min3(VSWAP_MAX_SLOTS, arch_max_swapfile_size(),
		     ram * VSWAP_CAPACITY_RATIO);

	return min(slots / SWAPFILE_CLUSTER, vmalloc / VSWAP_VMALLOC_SHARE /
		   sizeof(struct swap_cluster_info)) - 1;
}

static unsigned long vswap_default_limit(void)
{
	unsigned long slots = totalram_pages() * VSWAP_LIMIT_RATIO;

	return min(DIV_ROUND_UP(slots, SWAPFILE_CLUSTER), vswap_capacity);
}

/* Reclaim waits for growth, so growth must not wait for reclaim. */
static unsigned int vswap_lock_growth(void)
{
	unsigned int noreclaim = memalloc_noreclaim_save();

	mutex_lock(&vswap_grow_lock);
	return noreclaim;
}

static void vswap_unlock_growth(unsigned int noreclaim)
{
	mutex_unlock(&vswap_grow_lock);
	memalloc_noreclaim_restore(noreclaim);
}

static void vswap_set_grow_mark(void)
{
	long mark = LONG_MAX;

	lockdep_assert_held(&vswap_grow_lock);
	if (vswap_mapped < min(vswap_capacity, vswap_limit))
		mark = max_t(long, vswap_mapped - vswap_ahead(), 0);
	WRITE_ONCE(vswap_grow_mark, mark);
}

/* Let the allocator have the clusters of the page that was mapped last. */
static void vswap_add_clusters(unsigned long first, unsigned long end)
{
	static struct lock_class_key vswap_cluster_lock_key;
	struct swap_info_struct *si = vswap_si;
	struct swap_cluster_info *ci;
	unsigned long i;

	for (i = first; i < end; i++) {
		ci = &si->cluster_info[i];
		spin_lock_init(&ci->lock);
		lockdep_set_class(&ci->lock, &vswap_cluster_lock_key);
		if (i)
			ci->flags = CLUSTER_FLAG_FREE;
	}

	/* Pairs with get_swap_device(): what lies below max can be read. */
	smp_store_release(&si->max, end * SWAPFILE_CLUSTER);

	spin_lock(&si->lock);
	for (i = max(first, 1UL); i < end; i++)
		list_add_tail(&si->cluster_info[i].list, &si->free_clusters);
	spin_unlock(&si->lock);
}

/* Map one more page of the cluster array. */
static int vswap_map_page(void)
{
	unsigned long start = (unsigned long)vswap_area->addr +
			      vswap_array_pages * PAGE_SIZE;
	gfp_t gfp = GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN;
	unsigned long end, bytes;
	struct page *page;
	int err;

	lockdep_assert_held(&vswap_grow_lock);

	/* Ahead of use, leave the reserves alone. */
	if (atomic_long_read(&vswap_nr_clusters) < vswap_mapped)
		gfp |= __GFP_NOMEMALLOC;
	page = alloc_page(gfp);
	if (!page)
		return -ENOMEM;
	err = vm_area_map_pages(vswap_area, start, start + PAGE_SIZE, &page);
	if (err) {
		__free_page(page);
		return err;
	}
	/* Tables are reachable from here alone. */
	kmemleak_alloc(page_address(page), PAGE_SIZE, 0, GFP_KERNEL);

	WRITE_ONCE(vswap_array_pages, vswap_array_pages + 1);
	bytes = vswap_array_pages * PAGE_SIZE;
	end = min(bytes / sizeof(struct swap_cluster_info), vswap_capacity + 1);
	vswap_add_clusters(vswap_mapped ? vswap_mapped + 1 : 0, end);
	WRITE_ONCE(vswap_mapped, end - 1);
	trace_vswap_grow(vswap_mapped, atomic_long_read(&vswap_nr_clusters),
			 vswap_limit);

	return 0;
}

static bool vswap_need_grow(void)
{
	return atomic_long_read(&vswap_nr_clusters) >= READ_ONCE(vswap_grow_mark);
}

/**
 * vswap_grow() - keep the cluster array ahead of its use
 *
 * Context: May sleep. May be called from reclaim: memory for the array is
 * taken without entering reclaim again.
 */
void vswap_grow(void)
{
	unsigned int noreclaim;
	bool urgent;

	if (likely(!vswap_need_grow()))
		return;

	/* While mapped clusters are left, nobody waits for who maps more. */
	urgent = atomic_long_read(&vswap_nr_clusters) >= READ_ONCE(vswap_mapped);
	noreclaim = memalloc_noreclaim_save();
	if (urgent)
		mutex_lock(&vswap_grow_lock);
	else if (!mutex_trylock(&vswap_grow_lock))
		goto out;
	while (vswap_need_grow()) {
		if (vswap_map_page())
			break;
		vswap_set_grow_mark();
	}
	mutex_unlock(&vswap_grow_lock);
out:
	memalloc_noreclaim_restore(noreclaim);
}

/**
 * vswap_full() - is the virtual device at its limit?
 *
 * Context: Any.
 * Return: true if slots that only the swap cache holds should be taken back.
 */
bool vswap_full(void)
{
	return atomic_long_read(&vswap_nr_clusters) >= (long)READ_ONCE(vswap_limit);
}

/**
 * vswap_get_cluster() - account a cluster that is about to get its tables
 *
 * Context: Any. The allocator holds the lock of the cluster.
 * Return: true if the limit allows it. vswap_put_cluster() takes it back.
 */
bool vswap_get_cluster(void)
{
	long nr = atomic_long_read(&vswap_nr_clusters);

	do {
		if (nr >= (long)READ_ONCE(vswap_limit))
			return false;
	} while (!atomic_long_try_cmpxchg_relaxed(&vswap_nr_clusters, &nr, nr + 1));

	return true;
}

/**
 * vswap_put_cluster() - account a cluster that has lost its tables
 *
 * Context: Any.
 */
void vswap_put_cluster(void)
{
	long nr = atomic_long_dec_return(&vswap_nr_clusters);

	VM_WARN_ON_ONCE(nr < 0);
}

/*
 * Tables of backing words
 */

/* Tables that exist */
static atomic_long_t vswap_nr_tables;

static void *vswap_table_alloc(void)
{
	struct page *page;

	KUNIT_STATIC_STUB_REDIRECT(vswap_table_alloc);

	BUILD_BUG_ON(SWAPFILE_CLUSTER > U16_MAX);

	if (VSWAP_TABLE_SIZE < PAGE_SIZE)
		return kzalloc(VSWAP_TABLE_SIZE, GFP_KERNEL | __GFP_NOWARN);

	page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN,
			   get_order(VSWAP_TABLE_SIZE));
	if (!page)
		return NULL;
	/* It keeps zswap entries reachable. */
	kmemleak_alloc(page_address(page), VSWAP_TABLE_SIZE, 1, GFP_KERNEL);
	return page_address(page);
}

static void vswap_table_free(void *table)
{
	if (VSWAP_TABLE_SIZE < PAGE_SIZE) {
		kfree(table);
		return;
	}
	kmemleak_free(table);
	free_pages((unsigned long)table, get_order(VSWAP_TABLE_SIZE));
}

/* Set the word of a slot to something other than NONE. Returns the old word. */
static unsigned long __vswap_word_set(struct swap_cluster_info *ci,
				      unsigned int ci_off, unsigned long word)
{
	unsigned long old = ci->backing[ci_off];

	lockdep_assert_held(&ci->lock);
	VM_WARN_ON_ONCE(!word);

	ci->backing[ci_off] = word;
	if (!old)
		ci->nr_backing++;
	return old;
}

/* Words have been set to NONE: the table goes with the last one. */
static void __vswap_put_words(struct swap_cluster_info *ci, unsigned int nr)
{
	lockdep_assert_held(&ci->lock);
	VM_WARN_ON_ONCE(ci->nr_backing < nr);

	ci->nr_backing -= nr;
	if (!ci->nr_backing) {
		vswap_table_free(ci->backing);
		ci->backing = NULL;
		atomic_long_dec(&vswap_nr_tables);
	}
}

/* Set the word of a slot to NONE. Returns the old word. */
static unsigned long __vswap_word_clear(struct swap_cluster_info *ci,
					unsigned int ci_off)
{
	unsigned long old = __vswap_word_get(ci, ci_off);

	if (old) {
		ci->backing[ci_off] = 0;
		__vswap_put_words(ci, 1);
	}
	return old;
}

static unsigned long vswap_word_of(swp_entry_t entry)
{
	struct swap_cluster_info *ci;
	unsigned long word;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	word = __vswap_word_get(ci, swp_cluster_offset(entry));
	swap_cluster_unlock(ci);

	return word;
}

/**
 * vswap_zswap_load() - look up the zswap entry of a virtual slot
 * @entry: the slot
 *
 * Context: The caller holds the lock of the folio that covers the slot in
 * the swap cache. Takes the cluster lock.
 * Return: the zswap entry, or NULL if the slot is not in zswap.
 */
struct zswap_entry *vswap_zswap_load(swp_entry_t entry)
{
	return vswap_word_to_zswap(vswap_word_of(entry));
}

/* Lock the cluster of a slot and make sure that it has a backing table. */
static struct swap_cluster_info *vswap_lock_backing(swp_entry_t entry)
{
	struct swap_cluster_info *ci;
	void *table;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	if (likely(ci->backing))
		return ci;
	swap_cluster_unlock(ci);

	table = vswap_table_alloc();
	if (!table)
		return NULL;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	if (ci->backing) {
		vswap_table_free(table);
	} else {
		ci->backing = table;
		atomic_long_inc(&vswap_nr_tables);
	}
	return ci;
}

/* Give slots of a device back that no word names any more. */
static void __vswap_release_phys(struct swap_cluster_info *ci,
				 unsigned int ci_off, unsigned long word,
				 unsigned int nr)
{
	swp_entry_t slot = vswap_word_to_phys(word);

	lockdep_assert_held(&ci->lock);
	KUNIT_STATIC_STUB_REDIRECT(__vswap_release_phys, ci, ci_off, word, nr);

	trace_vswap_unbind((ci - vswap_si->cluster_info) * SWAPFILE_CLUSTER + ci_off,
			   swp_type(slot), swp_offset(slot), nr);
	mem_cgroup_uncharge_slots(__swap_cgroup_get(ci, ci_off), nr);
	swap_free_bound(slot, nr);
	vswap_mod_stat(VSWAP_PHYS, -(long)nr);
}

/**
 * vswap_zswap_store() - put a zswap entry behind a virtual slot
 * @entry: the slot
 * @new: the zswap entry
 *
 * Context: The caller holds the lock of the folio that covers the slot in
 * the swap cache. Takes the cluster lock. May sleep for a table.
 * Return: the zswap entry that was there before, which the caller now owns,
 * NULL if there was none, or ERR_PTR(-ENOMEM).
 */
struct zswap_entry *vswap_zswap_store(swp_entry_t entry, struct zswap_entry *new)
{
	unsigned int ci_off = swp_cluster_offset(entry);
	struct swap_cluster_info *ci;
	unsigned long old;

	ci = vswap_lock_backing(entry);
	if (!ci)
		return ERR_PTR(-ENOMEM);
	old = __vswap_word_set(ci, ci_off, zswap_to_vswap_word(new));
	if (unlikely(vswap_word_is_phys(old))) {
		__vswap_release_phys(ci, ci_off, old, 1);
		old = 0;
	}
	swap_cluster_unlock(ci);

	if (!old)
		vswap_mod_stat(VSWAP_ZSWAP, 1);
	return vswap_word_to_zswap(old);
}

/**
 * vswap_zswap_erase() - take the zswap entry of a virtual slot away
 * @entry: the slot
 *
 * Context: The caller holds the lock of the folio that covers the slot in
 * the swap cache. Takes the cluster lock.
 * Return: the zswap entry, which the caller now owns, or NULL if the slot is
 * not in zswap.
 */
struct zswap_entry *vswap_zswap_erase(swp_entry_t entry)
{
	unsigned int ci_off = swp_cluster_offset(entry);
	struct swap_cluster_info *ci;
	struct zswap_entry *old;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	old = vswap_word_to_zswap(__vswap_word_get(ci, ci_off));
	if (old)
		__vswap_word_clear(ci, ci_off);
	swap_cluster_unlock(ci);

	if (old)
		vswap_mod_stat(VSWAP_ZSWAP, -1);
	return old;
}

/* What a word stands for goes with it. */
static void vswap_drop_word(unsigned long word)
{
	KUNIT_STATIC_STUB_REDIRECT(vswap_drop_word, word);

	zswap_entry_free(vswap_word_to_zswap(word));
}

/*
 * How many slots from @ci_off to @end stand on slots of a device that follow
 * each other, in one cluster, and are charged to one cgroup? @ci_off does.
 */
static unsigned int __vswap_run_length(struct swap_cluster_info *ci,
				       unsigned int ci_off, unsigned int end)
{
	swp_entry_t slot = vswap_word_to_phys(ci->backing[ci_off]);
	unsigned int max = SWAPFILE_CLUSTER - swp_cluster_offset(slot), n;
	unsigned short id = __swap_cgroup_get(ci, ci_off);

	max = min(max, end - ci_off);
	for (n = 1; n < max; n++) {
		slot.val++;
		if (ci->backing[ci_off + n] != phys_to_vswap_word(slot) ||
		    __swap_cgroup_get(ci, ci_off + n) != id)
			break;
	}
	return n;
}

/* Drop a run of slots of a device. Returns its length. */
static unsigned int __vswap_drop_run(struct swap_cluster_info *ci,
				     unsigned int ci_off, unsigned int end)
{
	unsigned int nr = __vswap_run_length(ci, ci_off, end);
	unsigned long word = ci->backing[ci_off];

	memset(&ci->backing[ci_off], 0, nr * sizeof(word));
	__vswap_put_words(ci, nr);
	__vswap_release_phys(ci, ci_off, word, nr);
	return nr;
}

/**
 * __vswap_drop_range() - leave no backing behind a range of virtual slots
 * @ci: the cluster of the range
 * @ci_off: offset of the first slot in the cluster
 * @nr: number of slots
 *
 * The zero flags of the swap table are the caller's business.
 *
 * Context: The caller holds the cluster lock, and either the lock of the
 * folio that covers the range in the swap cache, or frees the slots.
 */
void __vswap_drop_range(struct swap_cluster_info *ci, unsigned int ci_off,
			unsigned int nr)
{
	unsigned int end = ci_off + nr, dropped = 0;
	unsigned long word;

	lockdep_assert_held(&ci->lock);

	while (ci->backing && ci_off < end) {
		word = ci->backing[ci_off];
		if (unlikely(vswap_word_is_phys(word))) {
			ci_off += __vswap_drop_run(ci, ci_off, end);
			continue;
		}
		if (word) {
			ci->backing[ci_off] = 0;
			vswap_drop_word(word);
			dropped++;
		}
		ci_off++;
	}
	if (dropped) {
		__vswap_put_words(ci, dropped);
		vswap_mod_stat(VSWAP_ZSWAP, -(long)dropped);
	}
}

/**
 * vswap_drop_range() - leave no backing behind a range of virtual slots
 * @entry: first slot of the range
 * @nr: number of slots, all in one cluster
 *
 * Context: The caller holds the lock of the folio that covers the range in
 * the swap cache. Takes the cluster lock.
 */
void vswap_drop_range(swp_entry_t entry, unsigned int nr)
{
	struct swap_cluster_info *ci;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	__vswap_drop_range(ci, swp_cluster_offset(entry), nr);
	swap_cluster_unlock(ci);
}

/**
 * vswap_drop_zswap() - leave nothing of a range of virtual slots in zswap
 * @entry: first slot of the range
 * @nr: number of slots, all in one cluster
 *
 * Context: As vswap_drop_range().
 */
void vswap_drop_zswap(swp_entry_t entry, unsigned int nr)
{
	unsigned int ci_off = swp_cluster_offset(entry), end = ci_off + nr;
	struct swap_cluster_info *ci;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	for (; ci->backing && ci_off < end; ci_off++)
		if (!vswap_word_is_phys(ci->backing[ci_off]))
			__vswap_drop_range(ci, ci_off, 1);
	swap_cluster_unlock(ci);
}

/**
 * vswap_drop_phys() - leave nothing of a range of virtual slots on devices
 * @entry: first slot of the range
 * @nr: number of slots, all in one cluster
 *
 * Context: As vswap_drop_range(). The folio is up to date and not under
 * writeback, and is dirty now.
 */
void vswap_drop_phys(swp_entry_t entry, unsigned int nr)
{
	unsigned int ci_off = swp_cluster_offset(entry), end = ci_off + nr;
	struct swap_cluster_info *ci;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	while (ci->backing && ci_off < end) {
		if (vswap_word_is_phys(ci->backing[ci_off]))
			ci_off += __vswap_drop_run(ci, ci_off, end);
		else
			ci_off++;
	}
	swap_cluster_unlock(ci);
}

static bool __vswap_referenced(struct swap_cluster_info *ci, unsigned int ci_off)
{
	return __swp_tb_get_count(__swap_table_get(ci, ci_off));
}

static void vswap_hint_run(swp_entry_t slot, unsigned int nr)
{
	KUNIT_STATIC_STUB_REDIRECT(vswap_hint_run, slot, nr);
	swap_hint_bound(slot, nr);
}

/**
 * vswap_hint_cached() - slots may be held by nothing but the swap cache now
 * @ci: their cluster
 * @ci_off: offset of the first slot in the cluster
 * @nr: number of slots
 *
 * What stands behind them on devices could be had when a device gets full.
 *
 * Context: The caller holds the cluster lock.
 */
void vswap_hint_cached(struct swap_cluster_info *ci, unsigned int ci_off,
		       unsigned int nr)
{
	unsigned int end = ci_off + nr, run, i;
	unsigned long word;

	for (; ci->backing && ci_off < end; ci_off += i) {
		i = 1;
		word = __vswap_word_get(ci, ci_off);
		if (!vswap_word_is_phys(word) || __vswap_referenced(ci, ci_off))
			continue;
		run = __vswap_run_length(ci, ci_off, end);
		while (i < run && !__vswap_referenced(ci, ci_off + i))
			i++;
		vswap_hint_run(vswap_word_to_phys(word), i);
	}
}

/*
 * Late binding: slots of a device are taken when nothing else takes the data.
 */

static unsigned short vswap_owner(swp_entry_t entry)
{
	struct swap_cluster_info *ci;
	unsigned short id;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	id = __swap_cgroup_get(ci, swp_cluster_offset(entry));
	swap_cluster_unlock(ci);

	return id;
}

/* Put slots of a device behind slots, in the place of zswap entries or nothing. */
static unsigned long __vswap_bind(struct swap_cluster_info *ci, swp_entry_t entry,
				  swp_entry_t slot, unsigned int nr)
{
	unsigned int ci_off = swp_cluster_offset(entry), i;
	unsigned long old = 0;

	trace_vswap_bind(swp_offset(entry), swp_type(slot), swp_offset(slot), nr);
	for (i = 0; i < nr; i++, slot.val++)
		old = __vswap_word_set(ci, ci_off + i, phys_to_vswap_word(slot));
	/* The last reference may have gone before there was a slot. */
	vswap_hint_cached(ci, ci_off, nr);
	vswap_mod_stat(VSWAP_PHYS, nr);
	return old;
}

/* Bind slots with nothing behind them: in one run, or else in smaller ones. */
static int vswap_bind_range(swp_entry_t entry, unsigned int nr, unsigned int *bound)
{
	unsigned int order = ilog2(nr);
	struct swap_cluster_info *ci;
	swp_entry_t slot;

	for (*bound = 0; *bound < nr; ) {
		order = min_t(unsigned int, order, ilog2(nr - *bound));
		slot = swap_alloc_bound(swp_offset(entry), order);
		if (!slot.val) {
			/* What is not there for this order is not there later. */
			if (!order--)
				return -ENOSPC;
			continue;
		}
		ci = vswap_lock_backing(entry);
		if (!ci) {
			swap_free_bound(slot, 1 << order);
			return -ENOMEM;
		}
		__vswap_bind(ci, entry, slot, 1 << order);
		swap_cluster_unlock(ci);
		*bound += 1 << order;
		entry.val += 1UL << order;
	}
	return 0;
}

/*
 * Flags of the device of a PHYS word. The caller holds the lock of the virtual
 * cluster, or of the folio: a device is not switched off before the word has
 * changed.
 */
static unsigned long vswap_word_flags(unsigned long word)
{
	/* SWP_WRITEOK may be old when it comes. The others asked for never change. */
	return data_race(__swap_entry_to_info(vswap_word_to_phys(word))->flags);
}

/* Are all slots of a range on devices that may be written to? */
static bool __vswap_is_bound(struct swap_cluster_info *ci, unsigned int ci_off,
			     unsigned int nr)
{
	unsigned long word;

	for (; nr; nr--, ci_off++) {
		word = __vswap_word_get(ci, ci_off);
		if (!vswap_word_is_phys(word) ||
		    !(vswap_word_flags(word) & SWP_WRITEOK))
			return false;
	}
	return true;
}

/**
 * vswap_bind_folio() - put slots of a device behind the slots of a folio
 * @folio: folio that nothing else takes
 *
 * Slots that the folio has from its last write-out are used again. One run of
 * slots is taken if there is one, several if the device is fragmented.
 *
 * Context: May sleep. The folio is locked, in the swap cache, and not under
 * writeback.
 * Return: 0, -ENOSPC if there are no slots or the cgroup may have no more of
 * them, or -ENOMEM. On errors nothing is left behind the folio.
 */
int vswap_bind_folio(struct folio *folio)
{
	unsigned int nr = folio_nr_pages(folio), bound;
	swp_entry_t entry = folio->swap;
	unsigned int ci_off = swp_cluster_offset(entry);
	struct swap_cluster_info *ci;
	unsigned short id;
	bool done;
	int err;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	done = __vswap_is_bound(ci, ci_off, nr);
	if (!done)
		__vswap_drop_range(ci, ci_off, nr);
	id = __swap_cgroup_get(ci, ci_off);
	swap_cluster_unlock(ci);
	if (done)
		return 0;

	if (get_nr_swap_pages() < nr) {
		if (READ_ONCE(total_swap_pages))
			mem_cgroup_slots_failed(id);
		return -ENOSPC;
	}
	if (mem_cgroup_try_charge_slots(id, nr, true))
		return -ENOSPC;
	err = vswap_bind_range(entry, nr, &bound);
	if (err) {
		vswap_drop_range(entry, nr);
		mem_cgroup_uncharge_slots(id, nr - bound);
		mem_cgroup_slots_failed(id);
	}
	return err;
}

/**
 * vswap_reserve_slot() - take a slot of a device for a slot that is in zswap
 * @entry: the virtual slot
 *
 * Context: May sleep. The caller holds the lock of the folio that covers
 * @entry in the swap cache.
 * Return: the slot, charged, or an entry of value 0. vswap_publish_slot() puts
 * it behind @entry, vswap_unreserve_slot() gives it back.
 */
swp_entry_t vswap_reserve_slot(swp_entry_t entry)
{
	unsigned short id = vswap_owner(entry);
	swp_entry_t slot = { };

	if (mem_cgroup_try_charge_slots(id, 1, false))
		return slot;
	slot = swap_alloc_bound(swp_offset(entry), 0);
	if (!slot.val)
		mem_cgroup_uncharge_slots(id, 1);
	return slot;
}

/**
 * vswap_unreserve_slot() - give a slot back that was not needed
 * @entry: the virtual slot
 * @slot: what vswap_reserve_slot() returned
 *
 * Context: As vswap_reserve_slot().
 */
void vswap_unreserve_slot(swp_entry_t entry, swp_entry_t slot)
{
	swap_free_bound(slot, 1);
	mem_cgroup_uncharge_slots(vswap_owner(entry), 1);
}

/**
 * vswap_publish_slot() - put a slot of a device in the place of a zswap entry
 * @entry: the virtual slot
 * @slot: what vswap_reserve_slot() returned
 *
 * Context: As vswap_reserve_slot(). @entry is in zswap.
 * Return: the zswap entry, which the caller now owns.
 */
struct zswap_entry *vswap_publish_slot(swp_entry_t entry, swp_entry_t slot)
{
	struct swap_cluster_info *ci;
	unsigned long old;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	old = __vswap_bind(ci, entry, slot, 1);
	swap_cluster_unlock(ci);

	vswap_mod_stat(VSWAP_ZSWAP, -1);
	return vswap_word_to_zswap(old);
}

/**
 * vswap_on_device() - is the data of a virtual slot on a device?
 * @entry: the slot
 *
 * Context: Any. The answer may be old when it comes.
 * Return: true if there is I/O to do to get it.
 */
bool vswap_on_device(swp_entry_t entry)
{
	if (!vswap_have_devices())
		return false;
	/*
	 * Page tables may be corrupted, and were read without a lock. Pairs with
	 * vswap_add_clusters(): what lies below max can be read.
	 */
	if (swp_offset(entry) >= smp_load_acquire(&vswap_si->max))
		return false;
	return vswap_word_is_phys(vswap_word_of(entry));
}

/**
 * __vswap_device_flags() - how does the place of a virtual slot behave?
 * @entry: the slot
 *
 * Context: As vswap_device_flags().
 * Return: SWP_ flags.
 */
unsigned long __vswap_device_flags(swp_entry_t entry)
{
	/* Only what never changes is asked for. */
	unsigned long flags = data_race(vswap_si->flags), word;
	struct swap_cluster_info *ci;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	word = __vswap_word_get(ci, swp_cluster_offset(entry));
	if (vswap_word_is_phys(word))
		flags = vswap_word_flags(word);
	swap_cluster_unlock(ci);
	return flags;
}

/**
 * vswap_stable_writes() - must a folio not change while it is written?
 * @folio: folio in the swap cache
 * @si: its device
 *
 * The slots of a large folio may be on several devices.
 *
 * Context: The folio is locked, or under writeback.
 * Return: true if a device that holds some of it wants stable pages.
 */
bool vswap_stable_writes(struct folio *folio, struct swap_info_struct *si)
{
	unsigned int ci_off = swp_cluster_offset(folio->swap);
	unsigned int end = ci_off + folio_nr_pages(folio);
	/* Only what never changes while the device is on is asked for. */
	unsigned long flags = data_race(si->flags), word;
	struct swap_cluster_info *ci;

	if (swap_is_virtual(si)) {
		ci = swap_cluster_lock(si, swp_offset(folio->swap));
		for (; ci_off < end; ci_off++) {
			word = __vswap_word_get(ci, ci_off);
			if (vswap_word_is_phys(word))
				flags |= vswap_word_flags(word);
		}
		swap_cluster_unlock(ci);
	}
	return flags & SWP_STABLE_WRITES;
}

/* How many slots from @ci_off, which is on a device, can one request reach? */
static unsigned int __vswap_phys_run(struct swap_cluster_info *ci,
				     unsigned int ci_off, unsigned int nr)
{
	/* The blocks of a file may be anywhere. */
	if (nr == 1 || !(vswap_word_flags(ci->backing[ci_off]) & SWP_BLKDEV))
		return 1;
	return __vswap_run_length(ci, ci_off, ci_off + nr);
}

/**
 * vswap_phys_run() - find the data of a range of virtual slots on a device
 * @entry: first slot of the range
 * @nr: number of slots, all in one cluster
 * @slot: where to put the slot of the device that stands behind @entry
 *
 * Context: The caller holds the lock of the folio that covers the range in the
 * swap cache, or the folio is under writeback.
 * Return: how many slots stand on slots that follow each other on the device,
 * so that one request can reach them, or 0 if @entry is not on a device.
 */
unsigned int vswap_phys_run(swp_entry_t entry, unsigned int nr, swp_entry_t *slot)
{
	unsigned int ci_off = swp_cluster_offset(entry), run = 0;
	struct swap_cluster_info *ci;
	unsigned long word;

	ci = swap_cluster_lock(vswap_si, swp_offset(entry));
	word = __vswap_word_get(ci, ci_off);
	if (vswap_word_is_phys(word)) {
		*slot = vswap_word_to_phys(word);
		run = __vswap_phys_run(ci, ci_off, nr);
	}
	swap_cluster_unlock(ci);

	return run;
}

/**
 * __vswap_is_uniform() - can a range of virtual slots be read in one go?
 * @ci: their cluster
 * @ci_off: offset of the first slot in the cluster
 * @nr: number of slots
 * @nr_zero: how many of them have the zero flag; not all
 *
 * Context: The caller holds the cluster lock. The swap cache has no folio for
 * any of the slots, and all of them are in use.
 * Return: true if all are in memory, zero or in zswap, or if one request to a
 * device reaches all of them.
 */
bool __vswap_is_uniform(struct swap_cluster_info *ci, unsigned int ci_off,
			unsigned int nr, unsigned int nr_zero)
{
	unsigned int end = ci_off + nr, nr_zswap = 0;
	unsigned long word;

	word = __vswap_word_get(ci, ci_off);
	if (vswap_word_is_phys(word))
		return !nr_zero && __vswap_phys_run(ci, ci_off, nr) == nr;

	for (; ci_off < end; ci_off++)
		nr_zswap += !!vswap_word_to_zswap(__vswap_word_get(ci, ci_off));
	return nr_zero + nr_zswap == nr;
}

/*
 * Requests are made for slots of devices, and never for virtual ones. But
 * reclaim asks the operations of a device what they forbid before it knows
 * which device will take the folio: what any of them forbids. A reclaimer that
 * asked before the first such device came does not know of it. If it holds locks
 * of that very file system, it may enter it with them: this takes a swapon(2)
 * between the question and the write, and nothing excludes that.
 */
static struct swap_ops vswap_ops = { };

/**
 * vswap_device_on() - a swap device is switched on
 * @si: the device
 *
 * Context: Nothing is bound to @si yet.
 */
void vswap_device_on(struct swap_info_struct *si)
{
	if (si->ops->flags & SWAP_OPS_F_REQUIRE_NOFS) {
		spin_lock(&vswap_nofs_lock);
		vswap_nr_nofs++;
		WRITE_ONCE(vswap_ops.flags, SWAP_OPS_F_REQUIRE_NOFS);
		spin_unlock(&vswap_nofs_lock);
	}
	atomic_inc(&vswap_nr_devices);
}

/**
 * vswap_device_off() - a swap device has been switched off
 * @si: the device
 *
 * Context: Nothing is bound to @si any more.
 */
void vswap_device_off(struct swap_info_struct *si)
{
	atomic_dec(&vswap_nr_devices);
	if (si->ops->flags & SWAP_OPS_F_REQUIRE_NOFS) {
		spin_lock(&vswap_nofs_lock);
		if (!--vswap_nr_nofs)
			WRITE_ONCE(vswap_ops.flags, 0);
		spin_unlock(&vswap_nofs_lock);
	}
}

static void vswap_users_release(struct percpu_ref *ref)
{
	/* The virtual device is never switched off. */
	WARN_ON_ONCE(1);
}

static struct swap_info_struct *vswap_alloc_si(void)
{
	struct swap_info_struct *si;

	si = kvzalloc_obj(*si);
	if (!si)
		return NULL;
	if (percpu_ref_init(&si->users, vswap_users_release, 0, GFP_KERNEL)) {
		kvfree(si);
		return NULL;
	}
	si->type = VSWAP_TYPE;
	/* Reads are memory copies: no readahead, and no slot kept for later. */
	si->flags = SWP_USED | SWP_WRITEOK | SWP_SOLIDSTATE |
		    SWP_SYNCHRONOUS_IO | SWP_VIRTUAL;
	si->ops = &vswap_ops;
	spin_lock_init(&si->lock);
	swap_cluster_lists_init(si);
	plist_node_init(&si->list, 0);
	plist_node_init(&si->avail_list, 0);

	return si;
}

static void vswap_free_si(struct swap_info_struct *si)
{
	percpu_ref_exit(&si->users);
	kvfree(si);
}

/*
 * Make the virtual device. What comes last makes it visible: the swap type
 * first, so that an entry can be resolved, then the key.
 */
static int vswap_create(void)
{
	unsigned int noreclaim;
	int err = -ENOMEM;

	lockdep_assert_held(&vswap_create_lock);
	if (vswap_exists())
		return 0;

	vswap_capacity = vswap_max_clusters();
	vswap_limit = vswap_default_limit();
	vswap_si = vswap_alloc_si();
	if (!vswap_si)
		return err;

	vswap_area = get_vm_area((vswap_capacity + 1) *
				 sizeof(struct swap_cluster_info), VM_SPARSE);
	if (!vswap_area)
		goto free_si;
	vswap_si->cluster_info = vswap_area->addr;

	noreclaim = vswap_lock_growth();
	err = vswap_map_page();
	if (!err)
		vswap_set_grow_mark();
	vswap_unlock_growth(noreclaim);
	if (err)
		goto free_area;

	/* Pairs with the dependent read in swap_type_to_info(). */
	smp_store_release(&swap_info[VSWAP_TYPE], vswap_si);
	static_branch_enable(&vswap_key);
	/* From now on, drain_mmlist() leaves the list alone. */
	spin_lock(&mmlist_lock);
	spin_unlock(&mmlist_lock);
	return 0;

free_area:
	free_vm_area(vswap_area);
free_si:
	vswap_free_si(vswap_si);
	vswap_si = NULL;
	return err;
}

static unsigned long vswap_stat(enum vswap_stat item)
{
	long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu(vswap_stats, cpu)[item]);

	/* The CPUs are not read at one moment. */
	return max(sum, 0L);
}

/**
 * vswap_used_pages() - virtual slots in use, one page each
 *
 * Context: Any.
 * Return: the number of slots; approximate while it changes.
 */
unsigned long vswap_used_pages(void)
{
	return vswap_exists() ? vswap_stat(VSWAP_USED) : 0;
}

/**
 * vswap_in_use() - is any virtual slot in use?
 *
 * Context: Any.
 * Return: true if so, or if one is about to be.
 */
bool vswap_in_use(void)
{
	return atomic_long_read(&vswap_nr_clusters);
}

/**
 * vswap_out_pages() - pages that are out of memory
 *
 * Context: Any.
 * Return: the number of pages; approximate while it changes.
 */
unsigned long vswap_out_pages(void)
{
	return vswap_stat(VSWAP_ZERO) + vswap_stat(VSWAP_ZSWAP) +
	       vswap_stat(VSWAP_PHYS);
}

/**
 * vswap_memory_pages() - pages in virtual swap that are not on a device
 *
 * Context: Any.
 * Return: the number of pages; approximate while it changes.
 */
unsigned long vswap_memory_pages(void)
{
	unsigned long used = vswap_used_pages(), phys;

	phys = used ? vswap_stat(VSWAP_PHYS) : 0;
	return used > phys ? used - phys : 0;
}

/**
 * vswap_zswap_pages() - pages that zswap has for virtual slots
 *
 * Context: Any.
 * Return: the number of pages; approximate while it changes.
 */
long vswap_zswap_pages(void)
{
	return vswap_exists() ? vswap_stat(VSWAP_ZSWAP) : 0;
}

static unsigned long vswap_room(void)
{
	unsigned long limit, used, slots;

	limit = READ_ONCE(vswap_limit) * SWAPFILE_CLUSTER;
	used = max(atomic_long_read(&vswap_nr_clusters), 0L) * SWAPFILE_CLUSTER;
	/* Clusters in use may have slots left. Counting them costs more. */
	if (used >= limit)
		used = vswap_used_pages();
	slots = limit > used ? limit - used : 0;

	return slots ? min(slots, zswap_headroom()) : 0;
}

/**
 * vswap_free_pages() - pages that virtual swap would take now
 *
 * The answer of reclaim's question whether there is swap, on a machine without
 * a swap device. What counts is not that zswap is on, but that it would
 * accept: otherwise reclaim would believe in anonymous memory for ever.
 * A page takes no more of the pool than a page, so this promises too little
 * rather than too much, but for pages that do not compress.
 *
 * Context: Any.
 * Return: the number of pages.
 */
unsigned long vswap_free_pages(void)
{
	static unsigned long stamp = INITIAL_JIFFIES - 1, room;
	unsigned long now = jiffies;

	if (!vswap_wanted())
		return 0;

	/*
	 * Each swap-in asks, and so does reclaim, again and again: once a tick
	 * is enough. Who sees the new stamp sees the new number.
	 */
	if (time_before(smp_load_acquire(&stamp), now)) {
		WRITE_ONCE(room, vswap_room());
		/* Pairs with the load above. */
		smp_store_release(&stamp, now);
	}
	return READ_ONCE(room);
}

/**
 * vswap_should_split() - would splitting a refused folio help?
 * @folio: folio that swap_writeout() has just refused
 *
 * A large folio goes to zswap whole or not at all, and a page that does not
 * compress keeps the others in memory. If zswap refused it although it has
 * room, and others of its pages do compress, they are worth trying alone. So
 * they are if the last slots of a device are not enough for all of them.
 *
 * Context: May sleep. The folio is locked. It is in the swap cache, or has
 * just been taken out of it again.
 * Return: true if @folio is large and should be split.
 */
bool vswap_should_split(struct folio *folio)
{
	bool device = get_nr_swap_pages() > 0;
	struct mem_cgroup *memcg;
	long nr;

	if (!folio_test_large(folio) || !vswap_exists())
		return false;
	/* Slots that a folio has stay virtual, whatever is switched off. */
	if (folio_test_swapcache(folio) ? !vswap_entry(folio->swap) : !vswap_wanted())
		return false;

	nr = zswap_headroom();
	rcu_read_lock();
	memcg = folio_memcg(folio);
	if (memcg) {
		nr = mem_cgroup_limit_zswap(memcg, nr);
		device = mem_cgroup_get_nr_device_pages(memcg) > 0 &&
			 mem_cgroup_zswap_writeback_enabled(memcg);
	}
	rcu_read_unlock();

	/* The device has slots, but not as many as the folio needs. */
	if (device)
		return true;
	/* zswap may just have been short of memory: that cannot be told apart. */
	return nr > 0 && zswap_sample_compresses(folio);
}

/**
 * vswap_overcommit_pages() - what virtual swap adds to a guess at memory
 *
 * The heuristic overcommit policy refuses only what is obviously too much.
 * How much zswap can hold depends on the data, so allow twice RAM on top of
 * RAM, if the limit does, and zswap is on.
 *
 * Context: Any.
 * Return: the number of pages.
 */
unsigned long vswap_overcommit_pages(void)
{
	if (!vswap_wanted())
		return 0;

	return min(READ_ONCE(vswap_limit) * SWAPFILE_CLUSTER,
		   2 * totalram_pages());
}

/* The flag is what the allocator looks at, with the cluster locked. */
static void vswap_switch(bool on)
{
	lockdep_assert_held(&vswap_create_lock);

	WRITE_ONCE(vswap_on, on);
	spin_lock(&vswap_si->lock);
	if (on)
		vswap_si->flags |= SWP_WRITEOK;
	else
		vswap_si->flags &= ~SWP_WRITEOK;
	spin_unlock(&vswap_si->lock);
}

#ifdef CONFIG_SYSFS
static ssize_t enabled_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%d\n", vswap_exists() && READ_ONCE(vswap_on));
}

static ssize_t enabled_store(struct kobject *kobj, struct kobj_attribute *attr,
			     const char *buf, size_t count)
{
	bool on;
	int err;

	err = kstrtobool(buf, &on);
	if (err)
		return err;

	/* drain holds it for as long as it takes. */
	if (mutex_lock_interruptible(&vswap_create_lock))
		return -EINTR;
	if (on)
		err = vswap_create();
	if (!err && vswap_exists())
		vswap_switch(on);
	mutex_unlock(&vswap_create_lock);

	return err ?: count;
}

static struct kobj_attribute enabled_attr = __ATTR_RW(enabled);

static ssize_t limit_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	unsigned long limit = vswap_exists() ? READ_ONCE(vswap_limit) : 0;

	return sysfs_emit(buf, "%lu\n", limit * SWAPFILE_CLUSTER);
}

static ssize_t limit_store(struct kobject *kobj, struct kobj_attribute *attr,
			   const char *buf, size_t count)
{
	unsigned long pages;
	ssize_t ret = count;
	int err;

	err = kstrtoul(buf, 10, &pages);
	if (err)
		return err;

	mutex_lock(&vswap_grow_lock);
	if (!vswap_exists()) {
		ret = -ENODEV;
	} else if (pages > vswap_capacity * SWAPFILE_CLUSTER) {
		ret = -ERANGE;
	} else {
		WRITE_ONCE(vswap_limit, DIV_ROUND_UP(pages, SWAPFILE_CLUSTER));
		vswap_limit_set = true;
		vswap_set_grow_mark();
	}
	mutex_unlock(&vswap_grow_lock);

	return ret;
}

static struct kobj_attribute limit_attr = __ATTR_RW(limit);

static ssize_t drain_store(struct kobject *kobj, struct kobj_attribute *attr,
			   const char *buf, size_t count)
{
	unsigned int one;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	err = kstrtouint(buf, 10, &one);
	if (err)
		return err;
	if (one != 1)
		return -EINVAL;

	/* Nobody switches it on meanwhile. */
	if (mutex_lock_interruptible(&vswap_create_lock))
		return -EINTR;
	if (READ_ONCE(vswap_on))
		err = -EBUSY;
	else if (vswap_exists())
		err = swap_drain_virtual();
	mutex_unlock(&vswap_create_lock);

	return err ?: count;
}

static struct kobj_attribute drain_attr = __ATTR_WO(drain);

#define VSWAP_STAT_ATTR(_name, _item)					\
static ssize_t _name##_show(struct kobject *kobj,			\
			    struct kobj_attribute *attr, char *buf)	\
{									\
	return sysfs_emit(buf, "%lu\n", vswap_stat(_item));		\
}									\
static struct kobj_attribute _name##_attr = __ATTR_RO(_name)

VSWAP_STAT_ATTR(used, VSWAP_USED);
VSWAP_STAT_ATTR(zero, VSWAP_ZERO);
VSWAP_STAT_ATTR(zswap, VSWAP_ZSWAP);
VSWAP_STAT_ATTR(physical, VSWAP_PHYS);
VSWAP_STAT_ATTR(alloc_fail, VSWAP_ALLOC_FAIL);
VSWAP_STAT_ATTR(fragmented, VSWAP_FRAGMENTED);

static ssize_t cached_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	long cached = vswap_stat(VSWAP_USED) - vswap_out_pages();

	return sysfs_emit(buf, "%ld\n", max(cached, 0L));
}

static struct kobj_attribute cached_attr = __ATTR_RO(cached);

static ssize_t metadata_bytes_show(struct kobject *kobj,
				   struct kobj_attribute *attr, char *buf)
{
	unsigned long bytes, cluster = sizeof(struct swap_table);

	if (IS_ENABLED(CONFIG_MEMCG) && !mem_cgroup_disabled())
		cluster += sizeof(struct swap_memcg_table);

	bytes = READ_ONCE(vswap_array_pages) * PAGE_SIZE;
	bytes += atomic_long_read(&vswap_nr_clusters) * cluster;
	bytes += atomic_long_read(&vswap_nr_tables) * VSWAP_TABLE_SIZE;

	return sysfs_emit(buf, "%lu\n", bytes);
}

static struct kobj_attribute metadata_bytes_attr = __ATTR_RO(metadata_bytes);

static struct attribute *vswap_attrs[] = {
	&enabled_attr.attr,
	&limit_attr.attr,
	&drain_attr.attr,
	&used_attr.attr,
	&cached_attr.attr,
	&zero_attr.attr,
	&zswap_attr.attr,
	&physical_attr.attr,
	&alloc_fail_attr.attr,
	&fragmented_attr.attr,
	&metadata_bytes_attr.attr,
	NULL,
};

static const struct attribute_group vswap_attr_group = {
	.name = "vswap",
	.attrs = vswap_attrs,
};

static int __init vswap_sysfs_init(void)
{
	return swap_kobj ? sysfs_create_group(swap_kobj, &vswap_attr_group) : 0;
}
#else
static int __init vswap_sysfs_init(void)
{
	return 0;
}
#endif

/* The default limit follows the RAM that is there. */
static void vswap_update_limit(void)
{
	mutex_lock(&vswap_grow_lock);
	if (vswap_exists() && !vswap_limit_set) {
		WRITE_ONCE(vswap_limit, vswap_default_limit());
		vswap_set_grow_mark();
	}
	mutex_unlock(&vswap_grow_lock);
}

static int vswap_memory_notify(struct notifier_block *nb, unsigned long action,
			       void *arg)
{
	if (action == MEM_ONLINE || action == MEM_OFFLINE)
		vswap_update_limit();
	return NOTIFY_OK;
}

static int __init vswap_setup(char *str)
{
	if (kstrtobool(str, &vswap_boot_on))
		pr_warn("\"vswap=%s\" ignored, use vswap=on or vswap=off\n", str);
	return 1;
}
__setup("vswap=", vswap_setup);

/*
 * Before other CPUs are up, so that no CPU runs the code that is patched when
 * the key is enabled.
 */
static int __init vswap_init(void)
{
	int err;

	if (!vswap_boot_on)
		return 0;

	mutex_lock(&vswap_create_lock);
	err = vswap_create();
	mutex_unlock(&vswap_create_lock);

	if (err)
		pr_err("no virtual swap, swap devices are not affected: %pe\n",
		       ERR_PTR(err));
	return err;
}
early_initcall(vswap_init);

/* After zswap, or folios would get slots that nothing can stand behind. */
static int __init vswap_late_init(void)
{
	int err;

	if (vswap_exists())
		WRITE_ONCE(vswap_on, true);

	/* Memory may have come since the device was made. */
	hotplug_memory_notifier(vswap_memory_notify, DEFAULT_CALLBACK_PRI);
	vswap_update_limit();

	err = vswap_sysfs_init();
	if (err)
		pr_err("no /sys/kernel/mm/swap/vswap: %pe\n", ERR_PTR(err));
	return err;
}
late_initcall_sync(vswap_late_init);

#ifdef CONFIG_VSWAP_KUNIT_TEST
#include "tests/vswap_kunit.c"
#endif
