// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of virtual swap: what needs no I/O. Included by mm/vswap.c, to
 * reach its static functions.
 */
#include <kunit/test.h>
#include <kunit/static_stub.h>
#include <linux/leafops.h>

/* A cluster that no device knows. */
static struct swap_cluster_info *vswap_test_cluster(struct kunit *test)
{
	struct swap_cluster_info *ci;

	ci = kunit_kzalloc(test, sizeof(*ci), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ci);
	spin_lock_init(&ci->lock);
	return ci;
}

static void vswap_test_give_table(struct kunit *test, struct swap_cluster_info *ci)
{
	void *table = vswap_table_alloc();

	KUNIT_ASSERT_NOT_NULL(test, table);
	ci->backing = table;
	atomic_long_inc(&vswap_nr_tables);
}

/* Distinct for each slot, and aligned as a pointer is. */
static unsigned long vswap_test_word(unsigned int ci_off, unsigned int version)
{
	return (version * SWAPFILE_CLUSTER + ci_off + 1) * 8UL;
}

/* The entry of a slot in the last mapped cluster, which nothing uses at boot. */
static swp_entry_t vswap_test_entry(struct kunit *test, unsigned int ci_off)
{
	struct swap_cluster_info *ci = &vswap_si->cluster_info[vswap_mapped];

	KUNIT_ASSERT_EQ(test, ci->flags, CLUSTER_FLAG_FREE);
	return swp_entry(VSWAP_TYPE, vswap_mapped * SWAPFILE_CLUSTER + ci_off);
}

/* Dropped entries land here instead of in zswap. */
static struct {
	unsigned int nr;
	unsigned long word[SWAPFILE_CLUSTER];
} vswap_test_dropped;

static void vswap_test_drop_word(unsigned long word)
{
	if (vswap_test_dropped.nr < SWAPFILE_CLUSTER)
		vswap_test_dropped.word[vswap_test_dropped.nr] = word;
	vswap_test_dropped.nr++;
}

static void *vswap_test_no_table(void)
{
	return NULL;
}

static void vswap_test_encodings(struct kunit *test)
{
	struct zswap_entry *zentry = (void *)0xffff888012345678UL;
	unsigned long word = zswap_to_vswap_word(zentry);

	KUNIT_EXPECT_NE(test, word, 0UL);
	KUNIT_EXPECT_EQ(test, word & 1, 0UL);
	KUNIT_EXPECT_PTR_EQ(test, vswap_word_to_zswap(word), zentry);
	KUNIT_EXPECT_NULL(test, vswap_word_to_zswap(0));

	KUNIT_EXPECT_EQ(test, VSWAP_TYPE, MAX_SWAPFILES - 1);
	KUNIT_EXPECT_FALSE(test, vswap_entry(swp_entry(0, 1)));
	KUNIT_EXPECT_FALSE(test, vswap_entry(swp_entry(VSWAP_TYPE - 1, 1)));
}

static void vswap_test_phys_words(struct kunit *test)
{
	static const int types[] = { 0, 1, MAX_SWAPFILES - 2, MAX_SWAPFILES - 1 };
	const unsigned long offsets[] = { 1, 511, 512, UINT_MAX,
					  swapfile_maximum_size - 1 };
	unsigned long word;
	swp_entry_t slot;
	int i, j;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		for (j = 0; j < ARRAY_SIZE(offsets); j++) {
			slot = swp_entry(types[i], offsets[j]);
			word = phys_to_vswap_word(slot);
			KUNIT_EXPECT_TRUE(test, vswap_word_is_phys(word));
			KUNIT_EXPECT_NULL(test, vswap_word_to_zswap(word));
			KUNIT_EXPECT_EQ(test, vswap_word_to_phys(word).val, slot.val);
			/* The next slot on the device is the next word. */
			slot.val++;
			KUNIT_EXPECT_EQ(test, phys_to_vswap_word(slot) - word,
					1UL << VSWAP_PHYS_SHIFT);
		}
	}
	KUNIT_EXPECT_FALSE(test, vswap_word_is_phys(0));
	KUNIT_EXPECT_FALSE(test, vswap_word_is_phys(vswap_test_word(0, 0)));
}

static void vswap_test_bound(struct kunit *test)
{
	const unsigned long offsets[] = { 1, 511, 512, VSWAP_MAX_SLOTS - 1 };
	unsigned long swp_tb;
	int i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		swp_tb = bound_to_swp_tb(offsets[i]);
		KUNIT_EXPECT_TRUE(test, swp_tb_is_bound(swp_tb));
		KUNIT_EXPECT_EQ(test, swp_tb_to_bound(swp_tb), offsets[i]);
		KUNIT_EXPECT_FALSE(test, swp_tb & SWP_TB_BOUND_CACHED);
		/* The hint changes nothing else. */
		swp_tb |= SWP_TB_BOUND_CACHED;
		KUNIT_EXPECT_TRUE(test, swp_tb_is_bound(swp_tb));
		KUNIT_EXPECT_EQ(test, swp_tb_to_bound(swp_tb), offsets[i]);
		/* It is nothing else. */
		KUNIT_EXPECT_FALSE(test, swp_tb_is_null(swp_tb));
		KUNIT_EXPECT_FALSE(test, swp_tb_is_folio(swp_tb));
		KUNIT_EXPECT_FALSE(test, swp_tb_is_shadow(swp_tb));
		KUNIT_EXPECT_FALSE(test, swp_tb_is_bad(swp_tb));
		KUNIT_EXPECT_FALSE(test, swp_tb_is_countable(swp_tb));
		KUNIT_EXPECT_LT(test, swp_tb_get_count(swp_tb), 0);
	}
	/* And nothing else is it. */
	KUNIT_EXPECT_FALSE(test, swp_tb_is_bound(null_to_swp_tb()));
	KUNIT_EXPECT_FALSE(test, swp_tb_is_bound(SWP_TB_BAD));
	KUNIT_EXPECT_FALSE(test, swp_tb_is_bound(shadow_to_swp_tb(NULL, 1)));
	KUNIT_EXPECT_FALSE(test, swp_tb_is_bound(pfn_to_swp_tb(1, 1)));
}

/* Slots of devices that are given back are noted here instead. */
static struct {
	unsigned int nr;
	struct {
		unsigned int ci_off, nr;
		unsigned long word;
	} run[8];
} vswap_test_released;

static void vswap_test_release_phys(struct swap_cluster_info *ci,
				    unsigned int ci_off, unsigned long word,
				    unsigned int nr)
{
	unsigned int i = vswap_test_released.nr++;

	if (i < ARRAY_SIZE(vswap_test_released.run)) {
		vswap_test_released.run[i].ci_off = ci_off;
		vswap_test_released.run[i].word = word;
		vswap_test_released.run[i].nr = nr;
	}
}

/* Put @nr slots of a device that begin at @slot behind slots. */
static void vswap_test_bind(struct swap_cluster_info *ci, unsigned int ci_off,
			    swp_entry_t slot, unsigned int nr)
{
	for (; nr--; slot.val++)
		__vswap_word_set(ci, ci_off++, phys_to_vswap_word(slot));
}

static void vswap_expect_run(struct kunit *test, unsigned int i,
			     unsigned int ci_off, swp_entry_t slot, unsigned int nr)
{
	KUNIT_EXPECT_EQ(test, vswap_test_released.run[i].ci_off, ci_off);
	KUNIT_EXPECT_EQ(test, vswap_test_released.run[i].word, phys_to_vswap_word(slot));
	KUNIT_EXPECT_EQ(test, vswap_test_released.run[i].nr, nr);
}

/* What lies side by side on a device is given back in one go. */
static void vswap_test_runs(struct kunit *test)
{
	struct swap_cluster_info *ci = vswap_test_cluster(test);
	long tables = atomic_long_read(&vswap_nr_tables);
	swp_entry_t edge = swp_entry(1, 2 * SWAPFILE_CLUSTER - 2);

	kunit_activate_static_stub(test, vswap_drop_word, vswap_test_drop_word);
	kunit_activate_static_stub(test, __vswap_release_phys,
				   vswap_test_release_phys);
	vswap_test_dropped.nr = 0;
	vswap_test_released.nr = 0;

	vswap_test_give_table(test, ci);
	spin_lock(&ci->lock);
	/* a run, a zswap entry, a hole, a run on another device at the same place */
	vswap_test_bind(ci, 0, swp_entry(1, 100), 8);
	__vswap_word_set(ci, 8, vswap_test_word(8, 0));
	vswap_mod_stat(VSWAP_ZSWAP, 1);
	vswap_test_bind(ci, 10, swp_entry(1, 108), 2);
	vswap_test_bind(ci, 12, swp_entry(2, 110), 2);
	/* backwards on the device, and across the border of two clusters */
	vswap_test_bind(ci, 14, swp_entry(2, 109), 1);
	vswap_test_bind(ci, 15, edge, 4);

	KUNIT_EXPECT_EQ(test, __vswap_run_length(ci, 0, 16), 8U);
	KUNIT_EXPECT_EQ(test, __vswap_run_length(ci, 0, 3), 3U);
	KUNIT_EXPECT_EQ(test, __vswap_run_length(ci, 7, 16), 1U);
	KUNIT_EXPECT_EQ(test, __vswap_run_length(ci, 15, 19), 2U);

	__vswap_drop_range(ci, 2, 16);
	KUNIT_EXPECT_EQ(test, vswap_test_dropped.nr, 1U);
	KUNIT_EXPECT_EQ(test, vswap_test_released.nr, 6U);
	vswap_expect_run(test, 0, 2, swp_entry(1, 102), 6);
	vswap_expect_run(test, 1, 10, swp_entry(1, 108), 2);
	vswap_expect_run(test, 2, 12, swp_entry(2, 110), 2);
	vswap_expect_run(test, 3, 14, swp_entry(2, 109), 1);
	vswap_expect_run(test, 4, 15, edge, 2);
	edge.val += 2;
	vswap_expect_run(test, 5, 17, edge, 1);

	/* What lies outside of the range has stayed. */
	KUNIT_EXPECT_EQ(test, (unsigned int)ci->nr_backing, 3U);
	KUNIT_EXPECT_EQ(test, __vswap_word_get(ci, 1),
			phys_to_vswap_word(swp_entry(1, 101)));
	edge.val++;
	KUNIT_EXPECT_EQ(test, __vswap_word_get(ci, 18), phys_to_vswap_word(edge));
	vswap_test_released.nr = 0;
	__vswap_drop_range(ci, 0, SWAPFILE_CLUSTER);
	spin_unlock(&ci->lock);
	KUNIT_EXPECT_EQ(test, vswap_test_released.nr, 2U);
	KUNIT_EXPECT_NULL(test, ci->backing);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_tables), tables);
}

static void vswap_test_hint_run(swp_entry_t slot, unsigned int nr)
{
	vswap_test_release_phys(NULL, 0, phys_to_vswap_word(slot), nr);
}

/* Slots that nobody refers to are told to the devices, and no others. */
static void vswap_test_hint(struct kunit *test)
{
	struct swap_cluster_info *ci = vswap_test_cluster(test);
	long tables = atomic_long_read(&vswap_nr_tables);
	struct swap_table *table;
	unsigned int i;

	kunit_activate_static_stub(test, __vswap_release_phys,
				   vswap_test_release_phys);
	kunit_activate_static_stub(test, vswap_hint_run, vswap_test_hint_run);
	vswap_test_released.nr = 0;
	table = kunit_kzalloc(test, sizeof(*table), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, table);
	rcu_assign_pointer(ci->table, table);

	/* without a table there is nothing to tell */
	vswap_hint_cached(ci, 0, SWAPFILE_CLUSTER);
	KUNIT_EXPECT_EQ(test, vswap_test_released.nr, 0U);

	vswap_test_give_table(test, ci);
	spin_lock(&ci->lock);
	for (i = 0; i < SWAPFILE_CLUSTER; i++)
		__swap_table_set(ci, i, __swp_tb_mk_count(shadow_to_swp_tb(NULL, 0),
							  i == 5 || i == 9));
	/* three runs of one slot, one of five with a user, and one with a user alone */
	for (i = 0; i < 3; i++)
		vswap_test_bind(ci, i, swp_entry(1, 100 + 2 * i), 1);
	vswap_test_bind(ci, 3, swp_entry(1, 200), 5);
	vswap_test_bind(ci, 9, swp_entry(1, 300), 1);

	vswap_hint_cached(ci, 0, 12);
	KUNIT_EXPECT_EQ(test, vswap_test_released.nr, 5U);
	vswap_expect_run(test, 0, 0, swp_entry(1, 100), 1);
	vswap_expect_run(test, 1, 0, swp_entry(1, 102), 1);
	vswap_expect_run(test, 2, 0, swp_entry(1, 104), 1);
	vswap_expect_run(test, 3, 0, swp_entry(1, 200), 2);
	vswap_expect_run(test, 4, 0, swp_entry(1, 203), 2);

	/* no more than what was asked for */
	vswap_test_released.nr = 0;
	vswap_hint_cached(ci, 1, 3);
	KUNIT_EXPECT_EQ(test, vswap_test_released.nr, 3U);
	vswap_expect_run(test, 2, 0, swp_entry(1, 200), 1);

	__vswap_drop_range(ci, 0, SWAPFILE_CLUSTER);
	spin_unlock(&ci->lock);
	KUNIT_EXPECT_NULL(test, ci->backing);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_tables), tables);
}

static void vswap_test_entry_limits(struct kunit *test)
{
	unsigned long last = (vswap_capacity + 1) * SWAPFILE_CLUSTER - 1;
	swp_entry_t entry = swp_entry(VSWAP_TYPE, last);

	/* The last slot that there can be survives a page table entry. */
	KUNIT_EXPECT_EQ(test, swp_offset(entry), last);
	KUNIT_EXPECT_EQ(test, swp_type(entry), VSWAP_TYPE);
	KUNIT_EXPECT_EQ(test, swp_offset(softleaf_from_pte(softleaf_to_pte(entry))), last);
	KUNIT_EXPECT_LE(test, last, (unsigned long)UINT_MAX);
}

static void vswap_test_truth(struct kunit *test)
{
	unsigned long word = vswap_test_word(0, 0);

	/* Swapped out and out of the swap cache: exactly one backing. */
	KUNIT_EXPECT_TRUE(test, vswap_is_backed(true, 0));
	KUNIT_EXPECT_TRUE(test, vswap_is_backed(false, word));
	/* Nowhere: lost. Twice: one of them is stale. */
	KUNIT_EXPECT_FALSE(test, vswap_is_backed(false, 0));
	KUNIT_EXPECT_FALSE(test, vswap_is_backed(true, word));
}

static void vswap_test_words(struct kunit *test)
{
	struct swap_cluster_info *ci = vswap_test_cluster(test);
	long tables = atomic_long_read(&vswap_nr_tables);
	unsigned int i;

	vswap_test_give_table(test, ci);
	spin_lock(&ci->lock);

	for (i = 0; i < SWAPFILE_CLUSTER; i++) {
		KUNIT_EXPECT_EQ(test, __vswap_word_get(ci, i), 0UL);
		KUNIT_EXPECT_EQ(test, __vswap_word_set(ci, i, vswap_test_word(i, 0)), 0UL);
		KUNIT_EXPECT_EQ(test, (unsigned int)ci->nr_backing, i + 1);
	}
	/* A new word replaces the old one and is not counted again. */
	for (i = 0; i < SWAPFILE_CLUSTER; i++) {
		KUNIT_EXPECT_EQ(test, __vswap_word_set(ci, i, vswap_test_word(i, 1)),
				vswap_test_word(i, 0));
		KUNIT_EXPECT_EQ(test, (unsigned int)ci->nr_backing, (unsigned int)SWAPFILE_CLUSTER);
	}
	/* Backwards, so that the first slot is the last one out. */
	for (i = SWAPFILE_CLUSTER; i--; ) {
		KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_tables), tables + 1);
		KUNIT_EXPECT_EQ(test, (unsigned int)ci->nr_backing, i + 1);
		KUNIT_EXPECT_EQ(test, __vswap_word_get(ci, i), vswap_test_word(i, 1));
		KUNIT_EXPECT_EQ(test, __vswap_word_clear(ci, i), vswap_test_word(i, 1));
		KUNIT_EXPECT_EQ(test, __vswap_word_clear(ci, i), 0UL);
	}
	/* The table went with the last word. */
	KUNIT_EXPECT_NULL(test, ci->backing);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_tables), tables);
	KUNIT_EXPECT_EQ(test, __vswap_word_get(ci, 0), 0UL);

	spin_unlock(&ci->lock);
}

static void vswap_test_drop(struct kunit *test)
{
	struct swap_cluster_info *ci = vswap_test_cluster(test);
	unsigned long zswap = vswap_stat(VSWAP_ZSWAP);
	long tables = atomic_long_read(&vswap_nr_tables);
	unsigned int i;

	kunit_activate_static_stub(test, vswap_drop_word, vswap_test_drop_word);
	vswap_test_dropped.nr = 0;

	/* Nothing to drop, and no table. */
	spin_lock(&ci->lock);
	__vswap_drop_range(ci, 0, SWAPFILE_CLUSTER);
	spin_unlock(&ci->lock);
	KUNIT_EXPECT_EQ(test, vswap_test_dropped.nr, 0U);

	/* Every third slot has a word: ranges are mixed. */
	vswap_test_give_table(test, ci);
	spin_lock(&ci->lock);
	for (i = 0; i < SWAPFILE_CLUSTER; i += 3) {
		__vswap_word_set(ci, i, vswap_test_word(i, 0));
		vswap_mod_stat(VSWAP_ZSWAP, 1);
	}
	/* Slots 4 to 9 hold words at 6 and 9; the neighbours stay. */
	__vswap_drop_range(ci, 4, 6);
	KUNIT_EXPECT_EQ(test, vswap_test_dropped.nr, 2U);
	KUNIT_EXPECT_EQ(test, vswap_test_dropped.word[0], vswap_test_word(6, 0));
	KUNIT_EXPECT_EQ(test, vswap_test_dropped.word[1], vswap_test_word(9, 0));
	KUNIT_EXPECT_EQ(test, __vswap_word_get(ci, 3), vswap_test_word(3, 0));
	KUNIT_EXPECT_EQ(test, __vswap_word_get(ci, 12), vswap_test_word(12, 0));

	/* The rest, each once, and the table with it. */
	__vswap_drop_range(ci, 0, SWAPFILE_CLUSTER);
	spin_unlock(&ci->lock);
	KUNIT_EXPECT_EQ(test, vswap_test_dropped.nr, DIV_ROUND_UP(SWAPFILE_CLUSTER, 3U));
	KUNIT_EXPECT_NULL(test, ci->backing);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_tables), tables);
	KUNIT_EXPECT_EQ(test, vswap_stat(VSWAP_ZSWAP), zswap);
}

static void vswap_test_zswap(struct kunit *test)
{
	unsigned long zswap = vswap_stat(VSWAP_ZSWAP);
	long tables = atomic_long_read(&vswap_nr_tables);
	swp_entry_t a = vswap_test_entry(test, 1);
	swp_entry_t b = vswap_test_entry(test, SWAPFILE_CLUSTER - 1);
	struct zswap_entry *old = (void *)vswap_test_word(1, 0);
	struct zswap_entry *new = (void *)vswap_test_word(1, 1);
	struct zswap_entry *other = (void *)vswap_test_word(2, 0);

	KUNIT_EXPECT_NULL(test, vswap_zswap_load(a));
	KUNIT_EXPECT_NULL(test, vswap_zswap_erase(a));

	KUNIT_EXPECT_NULL(test, vswap_zswap_store(a, old));
	KUNIT_EXPECT_PTR_EQ(test, vswap_zswap_load(a), old);
	KUNIT_EXPECT_NULL(test, vswap_zswap_load(b));
	KUNIT_EXPECT_EQ(test, vswap_stat(VSWAP_ZSWAP), zswap + 1);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_tables), tables + 1);

	/* Who replaces an entry gets the old one, and it is one slot still. */
	KUNIT_EXPECT_PTR_EQ(test, vswap_zswap_store(a, new), old);
	KUNIT_EXPECT_EQ(test, vswap_stat(VSWAP_ZSWAP), zswap + 1);

	KUNIT_EXPECT_NULL(test, vswap_zswap_store(b, other));
	KUNIT_EXPECT_EQ(test, vswap_stat(VSWAP_ZSWAP), zswap + 2);
	KUNIT_EXPECT_PTR_EQ(test, vswap_zswap_erase(a), new);
	KUNIT_EXPECT_NULL(test, vswap_zswap_load(a));
	KUNIT_EXPECT_PTR_EQ(test, vswap_zswap_erase(b), other);

	KUNIT_EXPECT_EQ(test, vswap_stat(VSWAP_ZSWAP), zswap);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_tables), tables);
}

static void vswap_test_no_memory(struct kunit *test)
{
	unsigned long zswap = vswap_stat(VSWAP_ZSWAP);
	long tables = atomic_long_read(&vswap_nr_tables);
	swp_entry_t entry = vswap_test_entry(test, 7);
	struct zswap_entry *zentry = (void *)vswap_test_word(7, 0);

	kunit_activate_static_stub(test, vswap_table_alloc, vswap_test_no_table);
	KUNIT_EXPECT_EQ(test, PTR_ERR(vswap_zswap_store(entry, zentry)), (long)-ENOMEM);
	KUNIT_EXPECT_NULL(test, vswap_zswap_load(entry));
	KUNIT_EXPECT_EQ(test, vswap_stat(VSWAP_ZSWAP), zswap);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_tables), tables);
	kunit_deactivate_static_stub(test, vswap_table_alloc);

	KUNIT_EXPECT_NULL(test, vswap_zswap_store(entry, zentry));
	KUNIT_EXPECT_PTR_EQ(test, vswap_zswap_erase(entry), zentry);
}

static void vswap_test_stats(struct kunit *test)
{
	unsigned long before = vswap_stat(VSWAP_ALLOC_FAIL);

	/* A CPU may take back what another one counted. */
	vswap_mod_stat(VSWAP_ALLOC_FAIL, 3);
	migrate_disable();
	vswap_mod_stat(VSWAP_ALLOC_FAIL, -1);
	migrate_enable();
	KUNIT_EXPECT_EQ(test, vswap_stat(VSWAP_ALLOC_FAIL), before + 2);
	vswap_mod_stat(VSWAP_ALLOC_FAIL, -2);
	KUNIT_EXPECT_EQ(test, vswap_stat(VSWAP_ALLOC_FAIL), before);
}

static void vswap_test_limit(struct kunit *test)
{
	unsigned long limit = vswap_limit;
	long nr = atomic_long_read(&vswap_nr_clusters);

	WRITE_ONCE(vswap_limit, nr + 2);
	KUNIT_EXPECT_FALSE(test, vswap_full());
	KUNIT_EXPECT_TRUE(test, vswap_get_cluster());
	KUNIT_EXPECT_TRUE(test, vswap_get_cluster());
	KUNIT_EXPECT_TRUE(test, vswap_full());
	KUNIT_EXPECT_FALSE(test, vswap_get_cluster());
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_clusters), nr + 2);

	/* Below what is in use: nothing is taken away, nothing is given. */
	WRITE_ONCE(vswap_limit, nr);
	KUNIT_EXPECT_TRUE(test, vswap_full());
	KUNIT_EXPECT_FALSE(test, vswap_get_cluster());

	vswap_put_cluster();
	vswap_put_cluster();
	KUNIT_EXPECT_FALSE(test, vswap_get_cluster());
	KUNIT_EXPECT_EQ(test, atomic_long_read(&vswap_nr_clusters), nr);
	WRITE_ONCE(vswap_limit, limit);
}

static void vswap_test_capacity(struct kunit *test)
{
	unsigned long slots = vswap_capacity * SWAPFILE_CLUSTER;
	unsigned long bytes = (vswap_capacity + 1) * sizeof(struct swap_cluster_info);

	KUNIT_EXPECT_LE(test, slots, VSWAP_MAX_SLOTS);
	KUNIT_EXPECT_LE(test, slots, swapfile_maximum_size);
	KUNIT_EXPECT_LE(test, slots, VSWAP_CAPACITY_RATIO *
			max_t(unsigned long, totalram_pages(), max_possible_pfn));
	KUNIT_EXPECT_LE(test, bytes, (VMALLOC_END - VMALLOC_START) / VSWAP_VMALLOC_SHARE);
	KUNIT_EXPECT_LE(test, bytes, get_vm_area_size(vswap_area));
	KUNIT_EXPECT_LE(test, vswap_default_limit(), vswap_capacity);
	KUNIT_EXPECT_LE(test, vswap_mapped, vswap_capacity);
}

/* Memory comes or goes: the default limit follows, another one stays. */
static void vswap_test_hotplug(struct kunit *test)
{
	unsigned long limit = vswap_limit;
	bool set = vswap_limit_set;

	vswap_limit_set = false;
	WRITE_ONCE(vswap_limit, 1);
	vswap_memory_notify(NULL, MEM_GOING_ONLINE, NULL);
	KUNIT_EXPECT_EQ(test, vswap_limit, 1);
	vswap_memory_notify(NULL, MEM_ONLINE, NULL);
	KUNIT_EXPECT_EQ(test, vswap_limit, vswap_default_limit());
	WRITE_ONCE(vswap_limit, vswap_capacity);
	vswap_memory_notify(NULL, MEM_OFFLINE, NULL);
	KUNIT_EXPECT_EQ(test, vswap_limit, vswap_default_limit());

	vswap_limit_set = true;
	WRITE_ONCE(vswap_limit, 1);
	vswap_memory_notify(NULL, MEM_ONLINE, NULL);
	KUNIT_EXPECT_EQ(test, vswap_limit, 1);

	mutex_lock(&vswap_grow_lock);
	vswap_limit_set = set;
	WRITE_ONCE(vswap_limit, limit);
	vswap_set_grow_mark();
	mutex_unlock(&vswap_grow_lock);
}

static void vswap_test_grow(struct kunit *test)
{
	unsigned long pages, mapped, room, i;
	unsigned int noreclaim;

	noreclaim = vswap_lock_growth();
	pages = vswap_array_pages;
	mapped = vswap_mapped;
	KUNIT_EXPECT_EQ(test, vswap_map_page(), 0);
	vswap_set_grow_mark();

	KUNIT_EXPECT_EQ(test, vswap_array_pages, pages + 1);
	room = (pages + 1) * PAGE_SIZE / sizeof(struct swap_cluster_info);
	KUNIT_EXPECT_EQ(test, vswap_mapped + 1, min(vswap_capacity + 1, room));
	KUNIT_EXPECT_EQ(test, (unsigned long)vswap_si->max,
			(vswap_mapped + 1) * SWAPFILE_CLUSTER);

	/* New clusters are free, and cluster 0 never is. */
	for (i = mapped + 1; i <= vswap_mapped; i++) {
		struct swap_cluster_info *ci = &vswap_si->cluster_info[i];

		KUNIT_EXPECT_EQ(test, ci->flags, CLUSTER_FLAG_FREE);
		KUNIT_EXPECT_EQ(test, ci->count, 0);
		KUNIT_EXPECT_NULL(test, ci->backing);
		KUNIT_EXPECT_NULL(test, rcu_access_pointer(ci->table));
		KUNIT_EXPECT_FALSE(test, list_empty(&ci->list));
	}
	KUNIT_EXPECT_EQ(test, vswap_si->cluster_info[0].flags, CLUSTER_FLAG_NONE);
	vswap_unlock_growth(noreclaim);
}

static void vswap_test_grow_mark(struct kunit *test)
{
	unsigned long limit = vswap_limit;

	mutex_lock(&vswap_grow_lock);
	/* There is room for all that is allowed: no need to grow, ever. */
	WRITE_ONCE(vswap_limit, vswap_mapped);
	vswap_set_grow_mark();
	KUNIT_EXPECT_EQ(test, vswap_grow_mark, LONG_MAX);
	KUNIT_EXPECT_FALSE(test, vswap_need_grow());

	WRITE_ONCE(vswap_limit, vswap_mapped + 1);
	vswap_set_grow_mark();
	if (vswap_mapped < vswap_capacity)
		KUNIT_EXPECT_EQ(test, vswap_grow_mark,
				max_t(long, vswap_mapped - vswap_ahead(), 0));

	WRITE_ONCE(vswap_limit, limit);
	vswap_set_grow_mark();
	mutex_unlock(&vswap_grow_lock);
}

static void vswap_test_bad_entry(struct kunit *test)
{
	struct swap_info_struct *si;

	/* The last mapped slot can be looked at, the next one is refused. */
	si = get_swap_device(swp_entry(VSWAP_TYPE, vswap_si->max - 1));
	KUNIT_EXPECT_PTR_EQ(test, si, vswap_si);
	if (si)
		put_swap_device(si);
	KUNIT_EXPECT_NULL(test, get_swap_device(swp_entry(VSWAP_TYPE, vswap_si->max)));
}

static int vswap_test_init(struct kunit *test)
{
	if (!vswap_exists())
		kunit_skip(test, "virtual swap is off");
	return 0;
}

static struct kunit_case vswap_test_cases[] = {
	KUNIT_CASE(vswap_test_encodings),
	KUNIT_CASE(vswap_test_phys_words),
	KUNIT_CASE(vswap_test_bound),
	KUNIT_CASE(vswap_test_runs),
	KUNIT_CASE(vswap_test_hint),
	KUNIT_CASE(vswap_test_entry_limits),
	KUNIT_CASE(vswap_test_truth),
	KUNIT_CASE(vswap_test_words),
	KUNIT_CASE(vswap_test_drop),
	KUNIT_CASE(vswap_test_zswap),
	KUNIT_CASE(vswap_test_no_memory),
	KUNIT_CASE(vswap_test_stats),
	KUNIT_CASE(vswap_test_limit),
	KUNIT_CASE(vswap_test_capacity),
	KUNIT_CASE(vswap_test_hotplug),
	KUNIT_CASE(vswap_test_grow),
	KUNIT_CASE(vswap_test_grow_mark),
	KUNIT_CASE(vswap_test_bad_entry),
	{}
};

static struct kunit_suite vswap_test_suite = {
	.name = "vswap",
	.init = vswap_test_init,
	.test_cases = vswap_test_cases,
};

/* At boot only: some of it changes the live device. */
kunit_test_init_section_suite(vswap_test_suite);
