// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large folios come back whole from swap if all of a range can be read in one
 * go, and as smaller ones if not.
 *
 * Every page has contents of its own, and is compared byte for byte. What came
 * back is told by the counters of each size, as exact differences, and by the
 * page frames: where a large folio should be, there is one, and nowhere else.
 *
 * The environment names block devices with swap headers, which are overwritten:
 * VSWAP_TEST_DEV is one that needs no waiting (zram, brd), and VSWAP_TEST_DISK
 * one whose I/O takes time. Large folios have to come back in the same way
 * whether there is one of them, or none. SWAPIN_TEST_MB is the size of the
 * largest test, in MiB; 64 if it is not set.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>

#include "vswap_test.h"

#define TRACING		"/sys/kernel/tracing/"
#define FAIL_PAGE_ALLOC	"/sys/kernel/debug/fail_page_alloc/"
#define ORDER		4	/* where one order is as good as another */
#define GROUP		16UL	/* pages of such a folio */
#define RACE_MS		3000
#define RACE_MORE_MS	90000	/* on a busy machine */

/*
 * Counters of a size
 */
struct size_stat {
	long zswpout, zswpin, zswpin_fallback, swpin, swpin_fallback, charge;
};

static void read_size(int order, struct size_stat *s)
{
	s->zswpout = mthp_stat(order, "zswpout");
	s->zswpin = mthp_stat(order, "zswpin");
	s->zswpin_fallback = mthp_stat(order, "zswpin_fallback");
	s->swpin = mthp_stat(order, "swpin");
	s->swpin_fallback = mthp_stat(order, "swpin_fallback");
	s->charge = mthp_stat(order, "swpin_fallback_charge");
}

static void expect_size(struct __test_metadata *_metadata, int line, int order,
			struct size_stat *was, struct size_stat want)
{
	struct size_stat now;

	read_size(order, &now);
	EXPECT_EQ(want.zswpout, now.zswpout - was->zswpout) {
		TH_LOG("line %d: order %d: zswpout", line, order);
	}
	EXPECT_EQ(want.zswpin, now.zswpin - was->zswpin) {
		TH_LOG("line %d: order %d: zswpin", line, order);
	}
	EXPECT_EQ(want.zswpin_fallback,
		  now.zswpin_fallback - was->zswpin_fallback) {
		TH_LOG("line %d: order %d: zswpin_fallback", line, order);
	}
	EXPECT_EQ(want.swpin, now.swpin - was->swpin) {
		TH_LOG("line %d: order %d: swpin", line, order);
	}
	EXPECT_EQ(want.swpin_fallback, now.swpin_fallback - was->swpin_fallback) {
		TH_LOG("line %d: order %d: swpin_fallback", line, order);
	}
	EXPECT_EQ(want.charge, now.charge - was->charge) {
		TH_LOG("line %d: order %d: swpin_fallback_charge", line, order);
	}
	*was = now;
}

/* By how much they have moved, as ".name = number". The others stand still. */
#define EXPECT_SIZE(order, was, ...)					\
	expect_size(_metadata, __LINE__, order, was,			\
		    (struct size_stat) { __VA_ARGS__ })

/* Of how many groups of 2^@order pages is each one folio of its own? */
static size_t count_groups(const struct region *r, size_t first, size_t nr,
			   int order)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	size_t size = 1UL << order, group, i, found = 0;
	uint64_t entry, flags, pfn;

	for (group = first; group < first + nr; group += size) {
		pfn = PAGEMAP_PFN(pagemap_of(page_addr(r, group)));
		for (i = 0; i < size; i++) {
			entry = pagemap_of(page_addr(r, group + i));
			if (!(entry & PM_PRESENT) ||
			    PAGEMAP_PFN(entry) != pfn + i ||
			    pageflags_get(pfn + i, fd, &flags) ||
			    !(flags & (i ? KPF_COMPOUND_TAIL : KPF_COMPOUND_HEAD)))
				break;
		}
		/* and no page more */
		if (i == size && !pageflags_get(pfn + size, fd, &flags))
			found += !(flags & KPF_COMPOUND_TAIL);
	}
	close(fd);
	return found;
}

/* Page out in pieces, so that what does not fit in one go is no matter. */
static void page_out_all(struct __test_metadata *_metadata, const struct region *r)
{
	size_t first, nr;

	for (first = 0; first < r->nr; first += nr) {
		nr = r->nr - first < 4096 ? r->nr - first : 4096;
		PAGEOUT(r, first, nr);
	}
}

/* Read one byte of a page. */
static void touch(const struct region *r, size_t nr)
{
	FORCE_READ(*page_addr(r, nr));
}

/* A region of large folios of @order, which all come back in one go. */
static struct region *large_region(struct __test_metadata *_metadata, size_t nr,
				   int order)
{
	struct region *r;

	if (!need_large(_metadata, order, "enabled"))
		return NULL;
	r = map_region(_metadata, nr, 1UL << order, -1);
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_SEQUENTIAL));
	return r;
}

/* The same of a file in memory, @fd. */
static struct region *large_file_region(struct __test_metadata *_metadata, size_t nr,
					int order, int *fd)
{
	struct region *r;

	if (!need(_metadata, !config_off("CONFIG_SHMEM"), "CONFIG_SHMEM") ||
	    !need_large(_metadata, order, "shmem_enabled"))
		return NULL;
	*fd = make_memfd(_metadata, nr);
	r = map_region(_metadata, nr, 1UL << order, *fd);
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_SEQUENTIAL));
	return r;
}

/* Devices next to zswap must make no difference. */
static bool use_device(struct __test_metadata *_metadata, struct env *env,
		       const char *variable)
{
	if (!variable)
		return true;
	env->dev = getenv(variable);
	if (!env->dev)
		SKIP(return false, "%s names no device", variable);
	ASSERT_EQ(0, swapon(env->dev, 0));
	mark_counters(env);
	return true;
}

/*
 * where: with no device, one that needs no waiting, and a disk
 */
FIXTURE(where)
{
	struct env env;
};

FIXTURE_VARIANT(where)
{
	const char *device;
	const char *page_cluster;
};

FIXTURE_VARIANT_ADD(where, nowhere) {
	.page_cluster = "3",
};

FIXTURE_VARIANT_ADD(where, nowhere_no_readahead) {
	.page_cluster = "0",
};

FIXTURE_VARIANT_ADD(where, fast) {
	.device = "VSWAP_TEST_DEV",
	.page_cluster = "0",
};

FIXTURE_VARIANT_ADD(where, disk) {
	.device = "VSWAP_TEST_DISK",
	.page_cluster = "3",
};

FIXTURE_VARIANT_ADD(where, disk_no_readahead) {
	.device = "VSWAP_TEST_DISK",
	.page_cluster = "0",
};

FIXTURE_SETUP(where)
{
	setup(_metadata, &self->env);
	if (_metadata->exit_code == KSFT_SKIP)
		return;
	ASSERT_EQ(0, write_str(ZSWAP "max_pool_percent", "50"));
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", variant->page_cluster));
}

FIXTURE_TEARDOWN_PARENT(where)
{
	teardown(_metadata, &self->env);
}

static size_t largest_test(void)
{
	const char *mb = getenv("SWAPIN_TEST_MB");

	return ((mb ? atol(mb) : 64) << 20) / psize();
}

/* All of it goes to zswap in groups, and comes back in groups. */
VSWAP_TEST(where, all)
{
	size_t nr = largest_test(), i;
	struct size_stat was;
	struct region *r;

	r = large_region(_metadata, nr, ORDER);
	if (!r || !use_device(_metadata, &self->env, variant->device))
		return;
	read_size(ORDER, &was);
	fill(r, 0, nr, MIXED);
	EXPECT_EQ(nr / GROUP, count_groups(r, 0, nr, ORDER));
	page_out_all(_metadata, r);
	EXPECT_SIZE(ORDER, &was, .zswpout = nr / GROUP);
	EXPECT_COUNTERS([ZSWPOUT] = nr, [USED] = nr, [ZSWAPPED] = nr);

	for (i = 0; i < nr; i += GROUP)
		touch(r, i + i / GROUP % GROUP);
	EXPECT_SIZE(ORDER, &was, .zswpin = nr / GROUP);
	EXPECT_COUNTERS([ZSWPIN] = nr, [USED] = -nr, [ZSWAPPED] = -nr);
	EXPECT_EQ(nr / GROUP, count_groups(r, 0, nr, ORDER));
	EXPECT_DATA(r, 0, nr);
	EXPECT_COUNTERS();
	/* memory cgroups count pages, too */
	EXPECT_STAT((long)nr, "main", "zswpin");
	unmap_region(r);
}

/* The same without advice: once a range is in use, the next ones come whole. */
VSWAP_TEST(where, without_advice)
{
	size_t nr = 64 * GROUP;
	struct size_stat was;
	struct region *r;

	r = large_region(_metadata, nr, ORDER);
	if (!r || !use_device(_metadata, &self->env, variant->device))
		return;
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_NORMAL));
	fill(r, 0, nr, MIXED);
	page_out_all(_metadata, r);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	EXPECT_DATA(r, 0, nr);
	EXPECT_SIZE(ORDER, &was, .zswpin = 63);
	EXPECT_COUNTERS([ZSWPIN] = nr, [USED] = -nr, [ZSWAPPED] = -nr);
	EXPECT_EQ(0, count_large(r, 0, GROUP));
	EXPECT_EQ(63, count_groups(r, GROUP, nr - GROUP, ORDER));

	/* and downwards */
	page_out_all(_metadata, r);
	read_size(ORDER, &was);
	for (size_t i = nr; i--; )
		EXPECT_DATA(r, i, 1);
	EXPECT_SIZE(ORDER, &was, .zswpin = 63);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/* Who reads a page here and a page there gets these pages and no others. */
VSWAP_TEST(where, sparse)
{
	size_t nr = 64 * GROUP, i;
	struct size_stat was;
	struct region *r;

	r = large_region(_metadata, nr, ORDER);
	if (!r || !use_device(_metadata, &self->env, variant->device))
		return;
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_NORMAL));
	fill(r, 0, nr, MIXED);
	page_out_all(_metadata, r);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	for (i = 0; i < nr; i += GROUP)
		touch(r, i);
	EXPECT_SIZE(ORDER, &was);
	EXPECT_COUNTERS([ZSWPIN] = 64, [USED] = -64, [ZSWAPPED] = -64);
	EXPECT_EQ(64, count_present(r, 0, nr));
	EXPECT_DATA(r, 0, nr);

	/* nor does who has said that access is random */
	page_out_all(_metadata, r);
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_RANDOM));
	read_size(ORDER, &was);
	mark_counters(&self->env);
	EXPECT_DATA(r, 0, nr);
	EXPECT_SIZE(ORDER, &was);
	EXPECT_EQ(0, count_large(r, 0, nr));
	unmap_region(r);
}

/* Zero pages and pages in zswap in one group come back as one folio. */
VSWAP_TEST(where, zero_and_zswap)
{
	size_t nr = 4 * GROUP, i;
	struct size_stat was;
	struct region *r;

	r = large_region(_metadata, nr, ORDER);
	if (!r || !use_device(_metadata, &self->env, variant->device))
		return;
	fill(r, 0, nr, MIXED);
	/* a large folio that is not all zero goes to zswap: write small ones */
	ASSERT_EQ(0, set_mthp(ORDER, "enabled", "never"));
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_DONTNEED));
	fill(r, 0, nr, MIXED);
	for (i = 0; i < nr; i += 3)
		fill(r, i, 1, ZEROED);
	for (i = 3 * GROUP; i < nr; i++)
		fill(r, i, 1, ZEROED);
	ASSERT_EQ(0, set_mthp(ORDER, "enabled", "always"));
	mark_counters(&self->env);
	page_out_all(_metadata, r);
	EXPECT_COUNTERS([ZSWPOUT] = 32, [SWPOUT_ZERO] = 32, [USED] = 64,
			[ZERO] = 32, [ZSWAPPED] = 32);
	read_size(ORDER, &was);
	EXPECT_DATA(r, 0, nr);
	/* what is zero alone is not from zswap */
	EXPECT_SIZE(ORDER, &was, .zswpin = 3);
	EXPECT_COUNTERS([ZSWPIN] = 32, [SWPIN_ZERO] = 32, [USED] = -64,
			[ZERO] = -32, [ZSWAPPED] = -32);
	EXPECT_EQ(4, count_groups(r, 0, nr, ORDER));
	unmap_region(r);
}

/* Files in memory come back in the same way. */
VSWAP_TEST(where, shmem)
{
	size_t nr = 64 * GROUP, i;
	struct size_stat was;
	struct region *r;
	int fd;

	if (!use_device(_metadata, &self->env, variant->device))
		return;
	r = large_file_region(_metadata, nr, ORDER, &fd);
	if (!r)
		return;
	fill(r, 0, nr, MIXED);
	EXPECT_EQ(64, count_groups(r, 0, nr, ORDER));
	read_size(ORDER, &was);
	mark_counters(&self->env);
	ASSERT_EQ(0, pageout(r, 0, nr));
	EXPECT_SIZE(ORDER, &was, .zswpout = 64);
	EXPECT_COUNTERS([ZSWPOUT] = nr, [USED] = nr, [ZSWAPPED] = nr);
	for (i = 0; i < nr; i += GROUP)
		touch(r, i);
	EXPECT_SIZE(ORDER, &was, .zswpin = 64);
	EXPECT_COUNTERS([ZSWPIN] = nr, [USED] = -nr, [ZSWAPPED] = -nr);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(64, count_groups(r, 0, nr, ORDER));

	/* without advice, by what the page cache has */
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_NORMAL));
	ASSERT_EQ(0, pageout(r, 0, nr));
	read_size(ORDER, &was);
	mark_counters(&self->env);
	EXPECT_DATA(r, 0, nr);
	EXPECT_SIZE(ORDER, &was, .zswpin = 63);
	EXPECT_COUNTERS([ZSWPIN] = nr, [USED] = -nr, [ZSWAPPED] = -nr);
	unmap_region(r);
	close(fd);
}

/*
 * device: some of what is out is on a device
 */
FIXTURE(device)
{
	struct env env;
};

FIXTURE_VARIANT(device)
{
	const char *device;
	long refused;
};

FIXTURE_VARIANT_ADD(device, fast) {
	.device = "VSWAP_TEST_DEV",
	.refused = 1,
};

FIXTURE_VARIANT_ADD(device, disk) {
	.device = "VSWAP_TEST_DISK",
};

FIXTURE_SETUP(device)
{
	setup(_metadata, &self->env);
	if (_metadata->exit_code == KSFT_SKIP)
		return;
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "0"));
}

FIXTURE_TEARDOWN_PARENT(device)
{
	teardown(_metadata, &self->env);
}

/* Exactly one page is written back, and exactly one group is not whole. */
VSWAP_TEST(device, one_written_back)
{
	size_t groups = 1024, nr = groups * GROUP, i, zswpin;
	struct size_stat was;
	struct region *r;

	r = large_region(_metadata, nr, ORDER);
	if (!r || !use_device(_metadata, &self->env, variant->device) ||
	    !need(_metadata, !access("/sys/kernel/debug/shrinker", F_OK),
		  "CONFIG_SHRINKER_DEBUG"))
		return;
	ASSERT_EQ(0, write_str(ZSWAP "max_pool_percent", "50"));
	fill(r, 0, nr, MIXED);
	page_out_all(_metadata, r);
	mark_counters(&self->env);
	/* all but the last few lose their referenced mark */
	ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "Y"));
	scan_zswap(_metadata, nr - 50);
	EXPECT_COUNTERS();
	write_back(_metadata, &self->env, 1);
	EXPECT_COUNTERS([ZSWPWB] = 1, [PSWPOUT] = 1, [ZSWAPPED] = -1,
			[PHYSICAL] = 1);
	empty_swap_cache(_metadata);
	mark_counters(&self->env);
	read_size(ORDER, &was);
	for (i = 0; i < nr; i++)
		touch(r, i);
	/*
	 * The page on the device is the oldest entry, so the first one of the
	 * region: what is read with others ahead is not tried as a large folio.
	 */
	EXPECT_EQ(groups - 1, mthp_stat(ORDER, "zswpin") - was.zswpin);
	EXPECT_EQ(0, mthp_stat(ORDER, "swpin") - was.swpin);
	EXPECT_EQ(variant->refused, mthp_stat(ORDER, "zswpin_fallback") - was.zswpin_fallback +
		     mthp_stat(ORDER, "swpin_fallback") - was.swpin_fallback);
	zswpin = read_key("/proc/vmstat", "zswpin") - self->env.last[ZSWPIN];
	EXPECT_EQ(nr - 1, zswpin);
	EXPECT_EQ(1, read_key("/proc/vmstat", "pswpin") - self->env.last[PSWPIN]);
	EXPECT_EQ(groups - 1, count_groups(r, 0, nr, ORDER));
	EXPECT_EQ(nr - GROUP, count_large(r, 0, nr));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/* Have the next slot be one that a large folio of @order could begin at. */
static struct region *align_slots(struct __test_metadata *_metadata, int order)
{
	size_t size = 1UL << order, i;
	struct region *r = map_region(_metadata, 2 * size, 1, -1);
	unsigned long offset = 0;

	/* one by one */
	ASSERT_EQ(0, madvise(r->addr, r->nr * psize(), MADV_NOHUGEPAGE));
	fill(r, 0, r->nr, ZEROED);
	for (i = 0; i < r->nr && (i < 2 || offset % size != size - 1); i++) {
		PAGEOUT(r, i, 1);
		offset = swap_offset(pagemap_of(page_addr(r, i)));
	}
	ASSERT_EQ(size - 1, offset % size);
	/* to be unmapped later: a slot that is free might be the next one */
	return r;
}

/* Zero, zswap and the device in one group: the parts that are uniform. */
VSWAP_TEST(device, three_places)
{
	struct size_stat was4, was3, was2;
	struct region *r, *before;
	size_t i;

	r = large_region(_metadata, GROUP, ORDER);
	if (!r || !use_device(_metadata, &self->env, variant->device) ||
	    !need_large(_metadata, 3, "enabled") ||
	    !need_large(_metadata, 2, "enabled") ||
	    !need(_metadata, !access("/sys/kernel/debug/shrinker", F_OK),
		  "CONFIG_SHRINKER_DEBUG"))
		return;
	/* what is written has to be small, or it goes to one place */
	set_all_thp("/enabled", "never");
	for (i = 0; i < GROUP; i++)
		fill(r, i, 1, i == 5 || i == 9 ? ZEROED : MIXED);
	EXPECT_EQ(0, count_large(r, 0, GROUP));
	before = align_slots(_metadata, ORDER);
	for (i = 0; i < GROUP; i++)
		PAGEOUT(r, i, 1);
	unmap_region(before);
	/* the first quarter goes to the device */
	mark_counters(&self->env);
	write_back(_metadata, &self->env, 4);
	EXPECT_COUNTERS([ZSWPWB] = 4, [PSWPOUT] = 4, [ZSWAPPED] = -4,
			[PHYSICAL] = 4);
	empty_swap_cache(_metadata);
	ASSERT_EQ(0, set_mthp(4, "enabled", "always"));
	ASSERT_EQ(0, set_mthp(3, "enabled", "always"));
	ASSERT_EQ(0, set_mthp(2, "enabled", "always"));
	read_size(4, &was4);
	read_size(3, &was3);
	read_size(2, &was2);
	mark_counters(&self->env);
	/* not all of it is in one place, but the second half is */
	EXPECT_DATA(r, 15, 1);
	EXPECT_SIZE(4, &was4, .zswpin_fallback = 1);
	EXPECT_SIZE(3, &was3, .zswpin = 1);
	EXPECT_SIZE(2, &was2);
	EXPECT_COUNTERS([ZSWPIN] = 7, [SWPIN_ZERO] = 1, [USED] = -8,
			[ZERO] = -1, [ZSWAPPED] = -7);
	/* the second quarter is, and the page table rules the whole out */
	EXPECT_DATA(r, 6, 1);
	EXPECT_SIZE(4, &was4);
	EXPECT_SIZE(3, &was3, .zswpin_fallback = 1);
	EXPECT_SIZE(2, &was2, .zswpin = 1);
	EXPECT_COUNTERS([ZSWPIN] = 3, [SWPIN_ZERO] = 1, [USED] = -4,
			[ZERO] = -1, [ZSWAPPED] = -3);
	/* the slots of the first one follow each other on the device */
	EXPECT_DATA(r, 0, 4);
	EXPECT_SIZE(4, &was4);
	EXPECT_SIZE(3, &was3);
	EXPECT_SIZE(2, &was2, .swpin = variant->refused);
	EXPECT_EQ(4, read_key("/proc/vmstat", "pswpin") - self->env.last[PSWPIN]);
	EXPECT_EQ(self->env.last[ZSWPIN], read_key("/proc/vmstat", "zswpin"));
	EXPECT_EQ(variant->refused, count_groups(r, 0, 4, 2));
	EXPECT_EQ(1, count_groups(r, 4, 4, 2));
	EXPECT_EQ(1, count_groups(r, 8, 8, 3));
	EXPECT_EQ(12 + 4 * variant->refused, count_large(r, 0, GROUP));
	EXPECT_DATA(r, 0, GROUP);
	unmap_region(r);
}

/* Small pages, every third of which is zero, on slots that one folio could have */
static void fill_mixed(struct __test_metadata *_metadata, struct region *r, int order)
{
	struct region *before;
	size_t i;

	ASSERT_EQ(0, set_mthp(order, "enabled", "never"));
	ASSERT_EQ(0, madvise(r->addr, r->nr * psize(), MADV_DONTNEED));
	for (i = 0; i < r->nr; i++)
		fill(r, i, 1, i % 3 ? MIXED : ZEROED);
	EXPECT_EQ(0, count_large(r, 0, r->nr));
	before = align_slots(_metadata, order);
	for (i = 0; i < r->nr; i++)
		PAGEOUT(r, i, 1);
	unmap_region(before);
	/* as a large folio would have them */
	EXPECT_EQ(0, swap_offset(pagemap_of(r->addr)) % r->nr);
	EXPECT_EQ(r->nr - 1, swap_offset(pagemap_of(page_addr(r, r->nr - 1))) -
		  swap_offset(pagemap_of(r->addr)));
	ASSERT_EQ(0, set_mthp(order, "enabled", "always"));
}

/* Every order: zero and zswap in one folio, and none if a page is on the device */
VSWAP_TEST(device, every_order)
{
	int order, orders = 0;

	if (!use_device(_metadata, &self->env, variant->device) ||
	    !need(_metadata, !access("/sys/kernel/debug/shrinker", F_OK),
		  "CONFIG_SHRINKER_DEBUG"))
		return;
	for (order = 2; order <= pmd_order(); order++) {
		long nr = 1L << order, zero = (nr + 2) / 3;
		struct size_stat was;
		struct region *r;

		if (!have_mthp(order, "enabled"))
			continue;
		orders++;
		r = large_region(_metadata, nr, order);
		if (!r)
			return;
		fill_mixed(_metadata, r, order);
		read_size(order, &was);
		mark_counters(&self->env);
		touch(r, nr - 2);
		EXPECT_SIZE(order, &was, .zswpin = 1);
		EXPECT_COUNTERS([ZSWPIN] = nr - zero, [SWPIN_ZERO] = zero,
				[USED] = -nr, [ZERO] = -zero,
				[ZSWAPPED] = zero - nr);
		EXPECT_EQ(1, count_groups(r, 0, nr, order));
		EXPECT_DATA(r, 0, nr);

		/* one is written back: of the others, only who is asked for comes */
		fill_mixed(_metadata, r, order);
		mark_counters(&self->env);
		ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "Y"));
		scan_zswap(_metadata, nr - zero);
		EXPECT_COUNTERS();
		write_back(_metadata, &self->env, 1);
		EXPECT_COUNTERS([ZSWPWB] = 1, [PSWPOUT] = 1, [ZSWAPPED] = -1,
				[PHYSICAL] = 1);
		empty_swap_cache(_metadata);
		read_size(order, &was);
		mark_counters(&self->env);
		touch(r, nr - 2);
		EXPECT_SIZE(order, &was, .zswpin_fallback = 1);
		EXPECT_EQ(1, read_key("/proc/vmstat", "zswpin") +
			     read_key("/proc/vmstat", "swpin_zero") -
			     self->env.last[ZSWPIN] - self->env.last[SWPIN_ZERO]);
		EXPECT_EQ(0, count_large(r, 0, nr));
		EXPECT_DATA(r, 0, nr);
		unmap_region(r);
		ASSERT_EQ(0, set_mthp(order, "enabled", "never"));
	}
	EXPECT_LT(1, orders);
}

/* The slots of a device come back in the same way, if zswap is in front of it. */
VSWAP_TEST(device, direct)
{
	size_t nr = 64 * GROUP, i;
	struct size_stat was;
	struct region *r;
	struct gate gate;
	pid_t pid;

	r = large_region(_metadata, nr, ORDER);
	if (!r || !use_device(_metadata, &self->env, variant->device))
		return;
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	fill(r, 0, nr - GROUP, MIXED);
	fill(r, nr - GROUP, GROUP, ZEROED);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	page_out_all(_metadata, r);
	EXPECT_SIZE(ORDER, &was, .zswpout = 63);
	EXPECT_COUNTERS([ZSWPOUT] = nr - GROUP, [SWPOUT_ZERO] = GROUP);
	EXPECT_EQ((long)(nr - GROUP), stored_pages() - self->env.stored);
	for (i = 0; i < nr; i += GROUP)
		touch(r, i + i / GROUP % GROUP);
	EXPECT_SIZE(ORDER, &was, .zswpin = 63);
	EXPECT_COUNTERS([ZSWPIN] = nr - GROUP, [SWPIN_ZERO] = GROUP);
	EXPECT_EQ(64, count_groups(r, 0, nr, ORDER));
	EXPECT_EQ(0, stored_pages() - self->env.stored);
	EXPECT_DATA(r, 0, nr);

	/* memory does not hold it twice, although a child refers to it still */
	page_out_all(_metadata, r);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, nr);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	for (i = 0; i < nr; i += GROUP)
		touch(r, i);
	EXPECT_EQ(0, stored_pages() - self->env.stored);
	EXPECT_DATA(r, 0, nr);
	gate_open(&gate);
	EXPECT_EXIT(pid);

	/* a page that goes to the device leaves its group in pieces */
	if (!need(_metadata, !access("/sys/kernel/debug/shrinker", F_OK),
		  "CONFIG_SHRINKER_DEBUG"))
		return;
	page_out_all(_metadata, r);
	ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "Y"));
	mark_counters(&self->env);
	scan_zswap(_metadata, nr - GROUP);
	write_back(_metadata, &self->env, 1);
	EXPECT_COUNTERS([ZSWPWB] = 1, [PSWPOUT] = 1);
	empty_swap_cache(_metadata);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	touch(r, GROUP - 1);
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1);
	EXPECT_COUNTERS([ZSWPIN] = 1);
	for (i = GROUP; i < nr; i += GROUP)
		touch(r, i);
	EXPECT_SIZE(ORDER, &was, .zswpin = 62);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(63, count_groups(r, 0, nr, ORDER));
	unmap_region(r);
}

/* The same for a file, which goes to zswap whole, and then to the device in part */
VSWAP_TEST(device, shmem_written_back)
{
	struct size_stat was4, was3;
	struct region *r;
	int fd;

	if (!need_large(_metadata, 3, "shmem_enabled") ||
	    !need(_metadata, !access("/sys/kernel/debug/shrinker", F_OK),
		  "CONFIG_SHRINKER_DEBUG") ||
	    !use_device(_metadata, &self->env, variant->device))
		return;
	r = large_file_region(_metadata, GROUP, ORDER, &fd);
	if (!r)
		return;
	fill(r, 0, GROUP, MIXED);
	EXPECT_EQ(1, count_groups(r, 0, GROUP, ORDER));
	ASSERT_EQ(0, pageout(r, 0, GROUP));
	mark_counters(&self->env);
	write_back(_metadata, &self->env, 1);
	EXPECT_COUNTERS([ZSWPWB] = 1, [PSWPOUT] = 1, [ZSWAPPED] = -1,
			[PHYSICAL] = 1);
	empty_swap_cache(_metadata);
	mark_counters(&self->env);
	read_size(4, &was4);
	read_size(3, &was3);
	/* the oldest entry is that of the first page */
	EXPECT_DATA(r, 9, 1);
	EXPECT_SIZE(4, &was4, .zswpin_fallback = 1);
	EXPECT_SIZE(3, &was3, .zswpin = 1);
	EXPECT_COUNTERS([ZSWPIN] = 8, [USED] = -8, [ZSWAPPED] = -8);
	EXPECT_EQ(1, count_groups(r, 8, 8, 3));
	EXPECT_DATA(r, 0, GROUP);
	EXPECT_EQ(15, read_key("/proc/vmstat", "zswpin") -
		      (self->env.last[ZSWPIN] - 8));
	EXPECT_EQ(1, read_key("/proc/vmstat", "pswpin") - self->env.last[PSWPIN]);
	unmap_region(r);
	close(fd);
}

/* Pages of the mapping that were accessed of late, by /proc/self/smaps */
static long referenced(const struct region *r)
{
	static char buf[256 << 10];
	char start[32], *map;

	if (read_str("/proc/self/smaps", buf, sizeof(buf)) < 0)
		return -1;
	snprintf(start, sizeof(start), "%lx-", (unsigned long)r->addr);
	map = strstr(buf, start);
	map = map ? strstr(map, "\nReferenced:") : NULL;
	return map ? find_key(map + 1, "Referenced") / (psize() >> 10) : -1;
}

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

/*
 * What is on a device is read ahead, also around a page in zswap, and mapped with
 * the page that was asked for. What is in zswap is not.
 */
VSWAP_TEST(device, readahead)
{
	bool slow = !variant->refused;
	struct region *r, *seq;
	size_t nr = 64, i;
	long faults, hits;

	if (!use_device(_metadata, &self->env, variant->device))
		return;
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "3"));
	r = map_region(_metadata, nr, nr, -1);
	seq = map_region(_metadata, 512, 512, -1);
	fill(r, 0, nr, MIXED);
	fill(seq, 0, 512, MIXED);
	/* every fourth page in zswap, the others on the device */
	forbid_zswap(_metadata);
	for (i = 0; i < nr; i++)
		if (i % 4)
			PAGEOUT(r, i, 1);
	PAGEOUT(seq, 0, 512);
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "max"));
	for (i = 0; i < nr; i += 4)
		PAGEOUT(r, i, 1);
	empty_swap_cache(_metadata);
	mark_counters(&self->env);

	/* one fault, and a window of eight pages */
	EXPECT_DATA(r, 32, 1);
	EXPECT_EQ(1, read_key("/proc/vmstat", "zswpin") - self->env.last[ZSWPIN]);
	/* counted when they are there */
	EXPECT_TRUE(WAIT_FOR(read_key("/proc/vmstat", "pswpin") -
			     self->env.last[PSWPIN] == (slow ? 6 : 0)));
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(16, read_key("/proc/vmstat", "zswpin") - self->env.last[ZSWPIN]);
	EXPECT_EQ(48, read_key("/proc/vmstat", "pswpin") - self->env.last[PSWPIN]);

	/* mapped, but not as if they had been used; and the window stays wide */
	hits = read_key("/proc/vmstat", "swap_ra_hit");
	faults = minor_faults();
	for (i = 0; i < 512; i++)
		touch(seq, i);
	faults = minor_faults() - faults;
	hits = read_key("/proc/vmstat", "swap_ra_hit") - hits;
	EXPECT_EQ(560, read_key("/proc/vmstat", "pswpin") - self->env.last[PSWPIN]);
	if (slow) {
		EXPECT_GT(160, faults);
		EXPECT_LT(350, hits);
	} else {
		EXPECT_EQ(512, faults);
		EXPECT_EQ(0, hits);
	}
	TH_LOG("%ld faults, %ld hits for 512 pages", faults, hits);
	EXPECT_DATA(seq, 0, 512);
	unmap_region(r);
	unmap_region(seq);
}

/*
 * order: one machine is enough
 */
FIXTURE(order)
{
	struct env env;
};

FIXTURE_SETUP(order)
{
	setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(order)
{
	teardown(_metadata, &self->env);
}

/* Every order, as pages in zswap and as zero pages */
VSWAP_TEST(order, every_order)
{
	int order, orders = 0;

	for (order = 2; order <= pmd_order(); order++) {
		long nr = 8L << order;
		struct size_stat was;
		struct region *r;

		if (!have_mthp(order, "enabled"))
			continue;
		orders++;
		r = large_region(_metadata, nr, order);
		if (!r)
			return;
		fill(r, 0, nr / 2, MIXED);
		fill(r, nr / 2, nr / 2, ZEROED);
		read_size(order, &was);
		mark_counters(&self->env);
		page_out_all(_metadata, r);
		EXPECT_COUNTERS([ZSWPOUT] = nr / 2, [SWPOUT_ZERO] = nr / 2,
				[USED] = nr, [ZERO] = nr / 2,
				[ZSWAPPED] = nr / 2);
		EXPECT_SIZE(order, &was, .zswpout = 4);
		EXPECT_DATA(r, 0, nr);
		EXPECT_COUNTERS([ZSWPIN] = nr / 2, [SWPIN_ZERO] = nr / 2,
				[USED] = -nr, [ZERO] = -nr / 2,
				[ZSWAPPED] = -nr / 2);
		EXPECT_SIZE(order, &was, .zswpin = 4);
		EXPECT_EQ(8, count_groups(r, 0, nr, order)) {
			TH_LOG("order %d", order);
		}
		/* they are folios like any other */
		page_out_all(_metadata, r);
		EXPECT_DATA(r, 0, nr);
		EXPECT_EQ(8, count_groups(r, 0, nr, order));
		unmap_region(r);
		ASSERT_EQ(0, set_mthp(order, "enabled", "never"));
	}
	EXPECT_LT(1, orders);
}

/* With several orders allowed, the largest that fits is taken. */
VSWAP_TEST(order, several_orders)
{
	struct size_stat was4, was3, was2;
	size_t nr = GROUP, i;
	struct region *r;

	r = large_region(_metadata, nr, 4);
	if (!r || !need_large(_metadata, 3, "enabled") ||
	    !need_large(_metadata, 2, "enabled"))
		return;
	fill(r, 0, nr, MIXED);
	PAGEOUT(r, 0, nr);
	/* one page is taken out of the second quarter */
	ASSERT_EQ(0, madvise(page_addr(r, 5), psize(), MADV_DONTNEED));
	forget(r, 5, 1);
	read_size(4, &was4);
	read_size(3, &was3);
	read_size(2, &was2);
	for (i = nr; i--; )
		touch(r, i);
	/* The page tables rule the larger ones out, which is no refusal. */
	EXPECT_SIZE(4, &was4);
	EXPECT_SIZE(3, &was3, .zswpin = 1);
	EXPECT_SIZE(2, &was2, .zswpin = 1);
	EXPECT_EQ(1, count_groups(r, 0, 4, 2));
	EXPECT_EQ(1, count_groups(r, 8, 8, 3));
	EXPECT_EQ(12, count_large(r, 0, nr));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/* Mappings that begin or end in the middle of a group, and lie at an odd place */
VSWAP_TEST(order, unaligned)
{
	size_t nr = 4 * GROUP;
	struct size_stat was;
	struct region *r;
	char *moved;

	r = large_region(_metadata, nr, ORDER);
	if (!r)
		return;
	fill(r, 0, nr, MIXED);
	PAGEOUT(r, 0, nr);
	ASSERT_EQ(0, munmap(page_addr(r, 0), 3 * psize()));
	ASSERT_EQ(0, munmap(page_addr(r, nr - 3), 3 * psize()));
	read_size(ORDER, &was);
	EXPECT_DATA(r, 3, nr - 6);
	EXPECT_SIZE(ORDER, &was, .zswpin = 2);
	EXPECT_EQ(2, count_groups(r, GROUP, 2 * GROUP, ORDER));

	/* a protection in the middle of a group makes two mappings of it */
	PAGEOUT(r, GROUP, 2 * GROUP);
	ASSERT_EQ(0, mprotect(page_addr(r, GROUP + 8), psize(), PROT_READ));
	read_size(ORDER, &was);
	EXPECT_DATA(r, GROUP, 2 * GROUP);
	EXPECT_SIZE(ORDER, &was, .zswpin = 1);
	ASSERT_EQ(0, mprotect(page_addr(r, GROUP + 8), psize(),
			      PROT_READ | PROT_WRITE));

	/* an address that does not fit the slots any more */
	fill(r, GROUP, 2 * GROUP, MIXED);
	PAGEOUT(r, 2 * GROUP, GROUP);
	moved = mmap(NULL, 4 * GROUP * psize(), PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, moved);
	moved = (char *)(((uintptr_t)moved | (GROUP * psize() - 1)) + 1) + psize();
	ASSERT_EQ(moved, mremap(page_addr(r, 2 * GROUP), GROUP * psize(),
				GROUP * psize(), MREMAP_MAYMOVE | MREMAP_FIXED,
				moved));
	read_size(ORDER, &was);
	for (size_t i = 0; i < GROUP; i++)
		EXPECT_TRUE(page_right(r, 2 * GROUP + i, moved + i * psize()));
	EXPECT_SIZE(ORDER, &was);
	munmap(moved, GROUP * psize());
	unmap_region(r);
}

/* A group that two processes share comes back whole for both of them. */
VSWAP_TEST(order, fork)
{
	size_t nr = 4 * GROUP, i;
	struct size_stat was;
	struct region *r;
	struct gate gate;
	pid_t pid;

	r = large_region(_metadata, nr, ORDER);
	if (!r)
		return;
	fill(r, 0, nr, MIXED);
	PAGEOUT(r, 0, nr);
	mark_counters(&self->env);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, nr);
		/* what the parent has written since is not seen here */
		fill(r, 0, nr, MIXED);
		EXPECT_DATA(r, 0, nr);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	read_size(ORDER, &was);
	for (i = 0; i < nr; i += GROUP)
		touch(r, i);
	EXPECT_SIZE(ORDER, &was, .zswpin = 4);
	EXPECT_EQ(4, count_groups(r, 0, nr, ORDER));
	/* memory does not hold it twice, although the child refers to it still */
	EXPECT_COUNTERS([ZSWPIN] = nr, [CACHED] = nr, [ZSWAPPED] = -nr);
	EXPECT_DATA(r, 0, nr);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, nr);

	/* written to by the one, then read by the other */
	PAGEOUT(r, 0, nr);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, nr);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	/* the child has the old version */
	for (i = 0; i < nr; i++)
		memset(page_addr(r, i), 0x5a, psize());
	gate_open(&gate);
	EXPECT_EXIT(pid);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(0x5a, *page_addr(r, i));
	unmap_region(r);
}

/*
 * The halves of a region are the same, page by page. KSM merges them, and they are
 * swapped out to slots that a large folio could come back from. With @twins, they
 * have the same page indices, too.
 */
static struct region *ksm_region(struct __test_metadata *_metadata, bool twins)
{
	struct region *r, *pad;
	unsigned long first;
	size_t i;

	if (!need(_metadata, !access(KSM "run", F_OK), "CONFIG_KSM"))
		return NULL;
	r = large_region(_metadata, 3 * GROUP, ORDER);
	if (!r)
		return NULL;
	ASSERT_EQ(0, madvise(r->addr, 3 * GROUP * psize(), MADV_NOHUGEPAGE));
	/* with a group before it that stays, the place that is left keeps its anon_vma */
	r->addr += GROUP * psize();
	r->nr -= GROUP;
	if (twins) {
		char *second = page_addr(r, GROUP);

		*r->addr = 1;
		ASSERT_EQ(second, mremap(r->addr, GROUP * psize(), GROUP * psize(),
					 MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
					 second));
	}
	for (i = 0; i < 2 * GROUP; i++) {
		r->pages[i].version = 1;
		make_page(page_addr(r, i), r, i % GROUP);
	}
	ASSERT_EQ(0, madvise(r->addr, 2 * GROUP * psize(), MADV_MERGEABLE));
	ASSERT_EQ(0, write_str(KSM "sleep_millisecs", "0"));
	ASSERT_EQ(0, write_str(KSM "pages_to_scan", "1000"));
	ASSERT_EQ(0, write_str(KSM "run", "1"));
	ASSERT_TRUE(WAIT_FOR(read_long("/proc/self/ksm_merging_pages") >= (long)(2 * GROUP)));
	ASSERT_EQ(0, write_str(KSM "run", "0"));

	pad = align_slots(_metadata, ORDER);
	EXPECT_TRUE(RECLAIM_UNTIL(count_swapped(r, 0, 2 * GROUP) == 2 * GROUP));
	unmap_region(pad);
	first = swap_offset(pagemap_of(r->addr));
	EXPECT_EQ(0, first % GROUP);
	for (i = 0; i < 2 * GROUP; i++) {
		EXPECT_EQ(first + i % GROUP,
			  swap_offset(pagemap_of(page_addr(r, i))));
	}
	ASSERT_EQ(0, madvise(r->addr, 2 * GROUP * psize(), MADV_HUGEPAGE));
	return r;
}

/* One half is written to. The other one has nothing to do with it any more. */
static void expect_apart(struct __test_metadata *_metadata, struct region *r)
{
	size_t i;

	for (i = 0; i < 2 * GROUP; i++)
		EXPECT_TRUE(page_right(r, i % GROUP, page_addr(r, i)));
	EXPECT_EQ(1, count_groups(r, 0, GROUP, ORDER));
	EXPECT_EQ(0, count_large(r, GROUP, GROUP));
	for (i = 0; i < GROUP; i++) {
		EXPECT_NE(PAGEMAP_PFN(pagemap_of(page_addr(r, i))),
			  PAGEMAP_PFN(pagemap_of(page_addr(r, GROUP + i))));
	}
	for (i = 0; i < GROUP; i++)
		memset(page_addr(r, i), 0x5a, psize());
	for (i = 0; i < GROUP; i++) {
		EXPECT_TRUE(page_right(r, i, page_addr(r, GROUP + i)));
		EXPECT_EQ(0x5a, *page_addr(r, i));
	}
	unmap_region(r);
}

static void ksm_fault(struct __test_metadata *_metadata, bool twins)
{
	struct region *r = ksm_region(_metadata, twins);
	struct size_stat was;
	long copies, slots;
	size_t i;

	if (!r)
		return;
	slots = used();
	copies = read_key("/proc/vmstat", "ksm_swpin_copy");
	read_size(ORDER, &was);
	touch(r, 3);
	EXPECT_SIZE(ORDER, &was, .zswpin = 1);
	EXPECT_EQ(0, count_present(r, GROUP, GROUP));
	for (i = 0; i < GROUP; i++)
		touch(r, GROUP + i);
	EXPECT_SIZE(ORDER, &was);
	EXPECT_EQ(GROUP, read_key("/proc/vmstat", "ksm_swpin_copy") - copies);
	EXPECT_EQ(slots - (long)GROUP, used());
	expect_apart(_metadata, r);
}

/* A large folio belongs where it came back first. The others have copies. */
VSWAP_TEST(order, ksm)
{
	ksm_fault(_metadata, false);
}

VSWAP_TEST(order, ksm_twins)
{
	ksm_fault(_metadata, true);
}

static void ksm_drained(struct __test_metadata *_metadata, struct env *env, bool twins)
{
	struct region *r = ksm_region(_metadata, twins);
	long copies;

	if (!r)
		return;
	copies = read_key("/proc/vmstat", "ksm_swpin_copy");
	touch(r, 3);
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	ASSERT_EQ(0, write_str(VSWAP "drain", "1"));
	EXPECT_EQ(env->start[USED], used());
	EXPECT_EQ(GROUP, read_key("/proc/vmstat", "ksm_swpin_copy") - copies);
	expect_apart(_metadata, r);
}

/* The same, with slots that are drained */
VSWAP_TEST(order, ksm_drain)
{
	ksm_drained(_metadata, &self->env, false);
}

VSWAP_TEST(order, ksm_drain_twins)
{
	ksm_drained(_metadata, &self->env, true);
}

/* Faults that a user serves are about pages. */
VSWAP_TEST(order, userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct size_stat was;
	struct region *r;
	int fd;

	r = large_region(_metadata, GROUP, ORDER);
	if (!r)
		return;
	fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (!need(_metadata, fd >= 0, "CONFIG_USERFAULTFD"))
		return;
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	fill(r, 0, GROUP, MIXED);
	PAGEOUT(r, 0, GROUP);
	reg.range.start = (uintptr_t)r->addr;
	reg.range.len = GROUP * psize();
	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
	read_size(ORDER, &was);
	mark_counters(&self->env);
	EXPECT_DATA(r, 0, GROUP);
	EXPECT_SIZE(ORDER, &was);
	EXPECT_COUNTERS([ZSWPIN] = GROUP, [USED] = -GROUP, [ZSWAPPED] = -GROUP);
	EXPECT_EQ(0, count_large(r, 0, GROUP));
	close(fd);
	unmap_region(r);
}

VSWAP_TEST(order, mlock)
{
	size_t nr = 4 * GROUP;
	struct size_stat was;
	struct region *r;

	r = large_region(_metadata, nr, ORDER);
	if (!r)
		return;
	fill(r, 0, nr, MIXED);
	PAGEOUT(r, 0, nr);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	ASSERT_EQ(0, mlock(r->addr, nr * psize()));
	EXPECT_SIZE(ORDER, &was, .zswpin = 4);
	EXPECT_COUNTERS([ZSWPIN] = nr, [USED] = -nr, [ZSWAPPED] = -nr);
	EXPECT_EQ(4, count_groups(r, 0, nr, ORDER));
	cg_reclaim("main", "1M");
	EXPECT_EQ(nr, count_present(r, 0, nr));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/* In a cgroup that is full, nothing comes in that was not asked for. */
VSWAP_TEST(order, full_cgroup)
{
	/* the limit of an ancestor counts as much as that of the cgroup */
	static const char * const cgroups[] = { "", "main" };
	static const char * const limits[] = { "memory.max", "memory.high" };
	size_t nr = 16 * GROUP, i, cg, limit;
	struct size_stat was;
	struct region *r;
	char max[32];

	for (cg = 0; cg < ARRAY_SIZE(cgroups); cg++) {
		for (limit = 0; limit < ARRAY_SIZE(limits); limit++) {
			r = large_region(_metadata, nr, ORDER);
			if (!r)
				return;
			fill(r, 0, nr, MIXED);
			PAGEOUT(r, 0, nr);
			snprintf(max, sizeof(max), "%ld", (long)(40 * psize()) +
				 cg_long(cgroups[cg], "memory.current"));
			ASSERT_EQ(0, cg_write(cgroups[cg], limits[limit], max));
			read_size(ORDER, &was);
			for (i = 0; i < nr; i += GROUP)
				touch(r, i);
			EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 16,
				    .charge = 16);
			EXPECT_EQ(0, count_large(r, 0, nr));
			ASSERT_EQ(0, cg_write(cgroups[cg], limits[limit], "max"));
			EXPECT_DATA(r, 0, nr);
			unmap_region(r);
		}
	}
}

/* Near the limit, each order that is too large is counted once. */
VSWAP_TEST(order, nearly_full_cgroup)
{
	struct size_stat was[3];
	int orders[3], i;
	struct region *r;
	char max[32];
	size_t nr;

	orders[0] = pmd_order();
	orders[1] = pmd_order() - 1;
	orders[2] = ORDER;
	nr = 1UL << orders[0];
	r = large_region(_metadata, nr, orders[0]);
	if (!r || !need_large(_metadata, orders[1], "enabled") ||
	    !need_large(_metadata, orders[2], "enabled"))
		return;
	fill(r, 0, nr, MIXED);
	PAGEOUT(r, 0, nr);
	/* for a group and what CPUs charge ahead, and for nothing larger */
	snprintf(max, sizeof(max), "%ld",
		 cg_long("main", "memory.current") + (long)(200 * psize()));
	ASSERT_EQ(0, cg_write("main", "memory.max", max));
	for (i = 0; i < 3; i++)
		read_size(orders[i], &was[i]);
	touch(r, 5);
	EXPECT_SIZE(orders[0], &was[0], .zswpin_fallback = 1, .charge = 1);
	EXPECT_SIZE(orders[1], &was[1], .zswpin_fallback = 1, .charge = 1);
	EXPECT_SIZE(orders[2], &was[2], .zswpin = 1);
	EXPECT_EQ(1, count_groups(r, 0, GROUP, ORDER));
	EXPECT_EQ(GROUP, count_present(r, 0, nr));
	ASSERT_EQ(0, cg_write("main", "memory.max", "max"));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/* Files in memory of every order, as pages in zswap and as zero pages */
VSWAP_TEST(order, shmem_every_order)
{
	int order, orders = 0, fd;

	if (!need(_metadata, !config_off("CONFIG_SHMEM"), "CONFIG_SHMEM"))
		return;
	for (order = 2; order <= pmd_order(); order++) {
		long nr = 4L << order, first;
		struct size_stat was;
		struct region *r;

		if (!have_mthp(order, "shmem_enabled"))
			continue;
		orders++;
		r = large_file_region(_metadata, nr, order, &fd);
		if (!r)
			return;
		fill(r, 0, nr / 2, MIXED);
		fill(r, nr / 2, nr / 2, ZEROED);
		EXPECT_EQ(4, count_groups(r, 0, nr, order)) {
			TH_LOG("order %d", order);
		}
		read_size(order, &was);
		mark_counters(&self->env);
		ASSERT_EQ(0, pageout(r, 0, nr));
		EXPECT_COUNTERS([ZSWPOUT] = nr / 2, [SWPOUT_ZERO] = nr / 2,
				[USED] = nr, [ZERO] = nr / 2,
				[ZSWAPPED] = nr / 2);
		EXPECT_SIZE(order, &was, .zswpout = 2);
		for (first = 0; first < nr; first += 1L << order)
			touch(r, first + (1L << order) - 1);
		EXPECT_COUNTERS([ZSWPIN] = nr / 2, [SWPIN_ZERO] = nr / 2,
				[USED] = -nr, [ZERO] = -nr / 2,
				[ZSWAPPED] = -nr / 2);
		EXPECT_SIZE(order, &was, .zswpin = 2);
		EXPECT_DATA(r, 0, nr);
		EXPECT_EQ(4, count_groups(r, 0, nr, order)) {
			TH_LOG("order %d", order);
		}
		unmap_region(r);
		close(fd);
		ASSERT_EQ(0, set_mthp(order, "shmem_enabled", "never"));
	}
	EXPECT_LT(1, orders);
}

/* A group that nobody shares is written to without a copy. */
VSWAP_TEST(order, exclusive)
{
	size_t nr = 2 * GROUP, i;
	uint64_t pfn[2 * GROUP];
	struct region *r;
	struct gate gate;
	pid_t pid;

	r = large_region(_metadata, nr, ORDER);
	if (!r)
		return;
	fill(r, 0, nr, MIXED);
	PAGEOUT(r, 0, nr);
	/* of the second group there was another user */
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		munmap(page_addr(r, 0), GROUP * psize());
		gate_wait(&gate);
		EXPECT_DATA(r, GROUP, GROUP);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	gate_open(&gate);
	EXPECT_EXIT(pid);
	PAGEOUT(r, 0, nr);
	for (i = 0; i < nr; i += GROUP)
		touch(r, i);
	EXPECT_EQ(2, count_groups(r, 0, nr, ORDER));
	for (i = 0; i < nr; i++)
		pfn[i] = PAGEMAP_PFN(pagemap_of(page_addr(r, i)));
	fill(r, 0, nr, MIXED);
	for (i = 0; i < nr; i++)
		EXPECT_EQ(pfn[i], PAGEMAP_PFN(pagemap_of(page_addr(r, i))));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

static void set_rotational(struct __test_metadata *_metadata, const char *dev,
			   const char *val)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/block/%s/queue/rotational",
		 strrchr(dev, '/') + 1);
	ASSERT_EQ(0, write_str(path, val));
}

/* A device that needs no waiting is what it is, whatever else is on. */
VSWAP_TEST(order, fast_and_slow)
{
	size_t nr = 64 * GROUP, i;
	struct size_stat was;
	struct region *r;
	int virt;
	long ra;

	self->env.dev = getenv("VSWAP_TEST_DEV");
	self->env.dev2 = getenv("VSWAP_TEST_DISK");
	if (!self->env.dev || !self->env.dev2)
		SKIP(return, "VSWAP_TEST_DEV and VSWAP_TEST_DISK name no two devices");
	ASSERT_EQ(0, swapon(self->env.dev, SWAP_FLAG_PREFER | 9));
	ASSERT_EQ(0, swapon(self->env.dev2, SWAP_FLAG_PREFER | 1));
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "3"));
	forbid_zswap(_metadata);
	/* virtual slots with the device behind them, and slots of the device */
	for (virt = 1; virt >= 0; virt--) {
		ASSERT_EQ(0, write_str(VSWAP "enabled", virt ? "1" : "0"));
		r = large_region(_metadata, nr, ORDER);
		if (!r)
			return;
		fill(r, 0, nr, MIXED);
		page_out_all(_metadata, r);
		empty_swap_cache(_metadata);
		read_size(ORDER, &was);
		mark_counters(&self->env);
		ra = read_key("/proc/vmstat", "swap_ra");
		for (i = 0; i < nr; i += GROUP)
			touch(r, i);
		EXPECT_SIZE(ORDER, &was, .swpin = 64);
		EXPECT_EQ(64, count_groups(r, 0, nr, ORDER));
		EXPECT_EQ((long)nr, read_key("/proc/vmstat", "pswpin") -
			  self->env.last[PSWPIN]);
		EXPECT_DATA(r, 0, nr);

		/* base pages: those that are asked for */
		ASSERT_EQ(0, set_mthp(ORDER, "enabled", "never"));
		page_out_all(_metadata, r);
		empty_swap_cache(_metadata);
		mark_counters(&self->env);
		for (i = 0; i < nr; i += 4)
			touch(r, i);
		EXPECT_EQ((long)nr / 4, read_key("/proc/vmstat", "pswpin") -
			  self->env.last[PSWPIN]);
		EXPECT_EQ((long)nr / 4, count_present(r, 0, nr));
		EXPECT_EQ(ra, read_key("/proc/vmstat", "swap_ra"));
		EXPECT_DATA(r, 0, nr);
		unmap_region(r);
	}
}

static long major_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_majflt;
}

/* Readahead by slots, on a rotating device, keeps its window. */
VSWAP_TEST(order, readahead_by_slots)
{
	size_t nr = 512, i;
	struct region *r;
	long faults, ra;

	if (!use_device(_metadata, &self->env, "VSWAP_TEST_DISK"))
		return;
	ASSERT_EQ(0, swapoff(self->env.dev));
	set_rotational(_metadata, self->env.dev, "1");
	ASSERT_EQ(0, swapon(self->env.dev, 0));
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "3"));
	r = map_region(_metadata, nr, nr, -1);
	fill(r, 0, nr, MIXED);
	forbid_zswap(_metadata);
	/* slot by slot, as the pages follow each other */
	for (i = 0; i < nr; i++)
		PAGEOUT(r, i, 1);
	EXPECT_EQ(nr - 1, swap_offset(pagemap_of(page_addr(r, nr - 1))) -
		  swap_offset(pagemap_of(page_addr(r, 0))));
	empty_swap_cache(_metadata);
	mark_counters(&self->env);
	ra = read_key("/proc/vmstat", "swap_ra");
	faults = major_faults();
	for (i = 0; i < nr; i++)
		touch(r, i);
	faults = major_faults() - faults;
	ra = read_key("/proc/vmstat", "swap_ra") - ra;
	TH_LOG("%ld major faults, %ld pages read ahead", faults, ra);
	EXPECT_EQ((long)nr, read_key("/proc/vmstat", "pswpin") -
		  self->env.last[PSWPIN]);
	EXPECT_GT(100, faults);
	EXPECT_LT(400, ra);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
	ASSERT_EQ(0, swapoff(self->env.dev));
	set_rotational(_metadata, self->env.dev, "0");
	self->env.dev = NULL;
}

/* Of a large folio, only the page that was asked for has been accessed. */
VSWAP_TEST(order, young)
{
	struct region *r = large_region(_metadata, 2 * GROUP, ORDER);

	if (!r)
		return;
	fill(r, 0, 2 * GROUP, MIXED);
	PAGEOUT(r, 0, 2 * GROUP);
	touch(r, 5);
	EXPECT_EQ(GROUP, count_present(r, 0, 2 * GROUP));
	EXPECT_EQ(1, referenced(r));
	/* the first one and the last one of a group */
	touch(r, GROUP);
	touch(r, GROUP - 1);
	EXPECT_EQ(2 * GROUP, count_present(r, 0, 2 * GROUP));
	EXPECT_EQ(3, referenced(r));
	EXPECT_EQ(2, count_groups(r, 0, 2 * GROUP, ORDER));
	EXPECT_DATA(r, 0, 2 * GROUP);
	unmap_region(r);
}

/* What was read ahead and mapped has not been accessed. */
VSWAP_TEST(order, readahead_old)
{
	struct region *r;
	size_t nr = 64;

	if (!use_device(_metadata, &self->env, "VSWAP_TEST_DISK"))
		return;
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "3"));
	r = map_region(_metadata, nr, nr, -1);
	fill(r, 0, nr, MIXED);
	forbid_zswap(_metadata);
	PAGEOUT(r, 0, nr);
	empty_swap_cache(_metadata);
	touch(r, 32);
	/* what is still being read is mapped later */
	EXPECT_LE(1, count_present(r, 0, nr));
	EXPECT_EQ(1, referenced(r));
	sleep_ms(100);
	touch(r, 40);
	EXPECT_EQ(2, referenced(r));
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ((long)nr, referenced(r));
	unmap_region(r);
}

/*
 * Pages that are on the disk, of which a fault is to find neighbours in the swap
 * cache, up to date: those less than a window away from it.
 */
#define AROUND		64	/* pages of the mapping */
#define ASKED		48	/* the one that is asked for */
#define WINDOW		8	/* with a page-cluster of 3 */

static struct region *on_disk(struct __test_metadata *_metadata, struct env *env)
{
	struct region *r;

	if (!use_device(_metadata, env, "VSWAP_TEST_DISK"))
		return NULL;
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "3"));
	forbid_zswap(_metadata);
	r = map_region(_metadata, AROUND, AROUND, -1);
	fill(r, 0, AROUND, MIXED);
	return r;
}

/* The first page is asked for, which makes a window; then all others are read. */
static void read_around(struct __test_metadata *_metadata, struct env *env,
			struct region *r)
{
	empty_swap_cache(_metadata);
	mark_counters(env);
	touch(r, 0);
	ASSERT_EQ(0, madvise(r->addr, AROUND * psize(), MADV_WILLNEED));
	ASSERT_TRUE(WAIT_FOR(read_key("/proc/vmstat", "pswpin") - env->last[PSWPIN] ==
			     AROUND));
	ASSERT_TRUE(WAIT_FOR(resident(r, 0, AROUND) == AROUND));
	/* what has been read may be locked still */
	sleep_ms(100);
	EXPECT_EQ(0, count_present(r, WINDOW, AROUND - WINDOW));
}

/* Is page @nr the one that was asked for, or one that came with it? */
static bool is_around(size_t nr)
{
	return nr > ASKED - WINDOW && nr < ASKED + WINDOW;
}

/* Pages that are there but for the first window: only those around */
static void expect_around(struct __test_metadata *_metadata, const struct region *r)
{
	size_t i;

	for (i = WINDOW; i < AROUND; i++) {
		EXPECT_EQ(is_around(i), !!(pagemap_of(page_addr(r, i)) & PM_PRESENT)) {
			TH_LOG("page %zu", i);
		}
	}
	/* the two that were asked for */
	EXPECT_EQ(2, referenced(r));
}

/* Neighbours keep their soft-dirty bits, and are watched if they have none. */
VSWAP_TEST(order, around_soft_dirty)
{
	struct region *r;
	size_t i;

	if (!need(_metadata, softdirty_supported(), "CONFIG_MEM_SOFT_DIRTY"))
		return;
	r = on_disk(_metadata, &self->env);
	if (!r)
		return;
	clear_softdirty();
	for (i = 1; i < AROUND; i += 2)
		fill(r, i, 1, MIXED);
	PAGEOUT(r, 0, AROUND);
	read_around(_metadata, &self->env, r);
	for (i = 0; i < AROUND; i++)
		EXPECT_EQ(i % 2, !!(pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY));
	touch(r, ASKED);
	expect_around(_metadata, r);
	for (i = 0; i < AROUND; i++) {
		EXPECT_EQ(i % 2, !!(pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY)) {
			TH_LOG("page %zu", i);
		}
	}
	EXPECT_DATA(r, ASKED - WINDOW + 1, 2 * WINDOW - 1);
	/* a write to one that was clean is seen */
	fill(r, ASKED + 2, 1, MIXED);
	for (i = 0; i < AROUND; i++) {
		EXPECT_EQ(i % 2 || i == ASKED + 2,
			  !!(pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY)) {
			TH_LOG("page %zu", i);
		}
	}
	EXPECT_DATA(r, 0, AROUND);
	unmap_region(r);
}

/* Neighbours that a child has a share in are not written to in place. */
VSWAP_TEST(order, around_forked)
{
	struct region *r = on_disk(_metadata, &self->env);
	struct gate gate;
	pid_t pid;

	if (!r)
		return;
	PAGEOUT(r, 0, AROUND);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, AROUND);
		fill(r, 0, AROUND, MIXED);
		EXPECT_DATA(r, 0, AROUND);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	read_around(_metadata, &self->env, r);
	touch(r, ASKED);
	expect_around(_metadata, r);
	EXPECT_DATA(r, ASKED - WINDOW + 1, 2 * WINDOW - 1);
	/* zero pages tell it from all that the child may write */
	fill(r, ASKED - WINDOW + 1, WINDOW, ZEROED);
	EXPECT_DATA(r, ASKED - WINDOW + 1, 2 * WINDOW - 1);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, AROUND);
	unmap_region(r);
}

/* The entries that nobody shares are written to without a copy. */
VSWAP_TEST(order, around_exclusive)
{
	struct region *r = on_disk(_metadata, &self->env);
	uint64_t pfn[AROUND];
	size_t i;

	if (!r)
		return;
	PAGEOUT(r, 0, AROUND);
	read_around(_metadata, &self->env, r);
	touch(r, ASKED);
	expect_around(_metadata, r);
	for (i = ASKED - WINDOW + 1; i < ASKED + WINDOW; i++)
		pfn[i] = PAGEMAP_PFN(pagemap_of(page_addr(r, i)));
	EXPECT_DATA(r, ASKED - WINDOW + 1, 2 * WINDOW - 1);
	fill(r, ASKED - WINDOW + 1, 2 * WINDOW - 1, MIXED);
	for (i = ASKED - WINDOW + 1; i < ASKED + WINDOW; i++)
		EXPECT_EQ(pfn[i], PAGEMAP_PFN(pagemap_of(page_addr(r, i))));
	EXPECT_DATA(r, 0, AROUND);
	unmap_region(r);
}

/* What is locked on fault is left to its own fault. */
VSWAP_TEST(order, around_locked)
{
	struct region *r = on_disk(_metadata, &self->env);
	long locked;

	if (!r)
		return;
	PAGEOUT(r, 0, AROUND);
	ASSERT_EQ(0, mlock2(r->addr, AROUND * psize(), MLOCK_ONFAULT));
	read_around(_metadata, &self->env, r);
	touch(r, ASKED);
	EXPECT_EQ(2, count_present(r, 0, AROUND));
	EXPECT_EQ(2, referenced(r));
	EXPECT_DATA(r, 0, AROUND);
	/* reclaim finds that they are locked, and leaves them */
	locked = cg_stat("main", "unevictable") + AROUND * (long)psize();
	EXPECT_TRUE(WAIT_FOR((cg_reclaim("main", "1M"),
			      cg_stat("main", "unevictable") == locked)));
	EXPECT_EQ(AROUND, count_present(r, 0, AROUND));
	EXPECT_DATA(r, 0, AROUND);
	unmap_region(r);
}

/* Nor is what a user watches mapped before it is asked for. */
VSWAP_TEST(order, around_uffd_wp)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct region *r;
	size_t i;
	int fd;

	fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (!need(_metadata, fd >= 0, "CONFIG_USERFAULTFD"))
		return;
	r = on_disk(_metadata, &self->env);
	if (!r)
		return;
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)r->addr;
	reg.range.len = AROUND * psize();
	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
	for (i = 1; i < AROUND; i += 2) {
		wp.range.start = (uintptr_t)page_addr(r, i);
		wp.range.len = psize();
		ASSERT_EQ(0, ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
	}
	PAGEOUT(r, 0, AROUND);
	read_around(_metadata, &self->env, r);
	touch(r, ASKED);
	EXPECT_EQ(2, count_present(r, 0, AROUND));
	EXPECT_EQ(2, referenced(r));
	for (i = 0; i < AROUND; i++)
		EXPECT_EQ(i % 2, !!(pagemap_of(page_addr(r, i)) & PM_UFFD_WP));
	EXPECT_DATA(r, 0, AROUND);
	for (i = 0; i < AROUND; i++)
		EXPECT_EQ(i % 2, !!(pagemap_of(page_addr(r, i)) & PM_UFFD_WP));
	close(fd);
	unmap_region(r);
}

/*
 * The tracepoint says which order was wanted, which one was taken, and why.
 */
static bool traced(const char *want)
{
	static char buf[256 << 10];
	char who[32], *line, *next;
	bool right = false;

	if (read_str(TRACING "trace", buf, sizeof(buf)) < 0)
		return false;
	snprintf(who, sizeof(who), "-%d ", getpid());
	/* the last event of this process counts */
	for (line = buf; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (strstr(line, who) && strstr(line, "swapin_order:"))
			right = strstr(line, want);
	}
	return right;
}

/* One fault, and what is told of it */
static void expect_trace(struct __test_metadata *_metadata, const struct region *r,
			 size_t nr, const char *want)
{
	touch(r, nr);
	EXPECT_TRUE(traced(want)) {
		TH_LOG("no such event: %s", want);
	}
}

VSWAP_TEST(order, tracepoint)
{
	struct region *r;
	char max[32];

	if (!need(_metadata, !access(TRACING "trace", F_OK), "CONFIG_TRACING"))
		return;
	r = large_region(_metadata, 4 * GROUP, ORDER);
	if (!r)
		return;
	fill(r, 0, 4 * GROUP, MIXED);
	PAGEOUT(r, 0, 4 * GROUP);
	ASSERT_EQ(0, write_str(TRACING "tracing_on", "1"));
	ASSERT_EQ(0, write_str(TRACING "events/swapin/swapin_order/enable", "1"));
	expect_trace(_metadata, r, 0, "wanted=4 taken=4 why=whole");
	PAGEOUT(r, 0, GROUP);
	ASSERT_EQ(0, madvise(r->addr, 4 * GROUP * psize(), MADV_RANDOM));
	expect_trace(_metadata, r, 0, "wanted=4 taken=0 why=random access advised");
	ASSERT_EQ(0, madvise(r->addr, 4 * GROUP * psize(), MADV_NORMAL));
	expect_trace(_metadata, r, 2 * GROUP, "wanted=4 taken=0 why=neighbours not in use");
	ASSERT_EQ(0, madvise(r->addr, 4 * GROUP * psize(), MADV_SEQUENTIAL));
	snprintf(max, sizeof(max), "%ld",
		 cg_long("main", "memory.current") + (long)(40 * psize()));
	ASSERT_EQ(0, cg_write("main", "memory.max", max));
	expect_trace(_metadata, r, 3 * GROUP, "wanted=4 taken=0 why=cgroup near its limit");
	ASSERT_EQ(0, cg_write("main", "memory.max", "max"));
	ASSERT_EQ(0, write_str(TRACING "events/swapin/swapin_order/enable", "0"));
	EXPECT_DATA(r, 0, 4 * GROUP);
	unmap_region(r);
}

/* One bad page hurts one page. */
VSWAP_TEST(order, bad_page)
{
	struct size_stat was;
	struct region *r;
	size_t i;

	if (!need(_metadata, !access(FAIL_FUNCTION "inject", F_OK),
		  "CONFIG_FAIL_FUNCTION"))
		return;
	r = large_region(_metadata, GROUP, ORDER);
	if (!r)
		return;
	fill(r, 0, GROUP, MIXED);
	PAGEOUT(r, 0, GROUP);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	/* the tenth page of the group: another one was asked for, and comes */
	ASSERT_EQ(0, fail_decompress("10", "1"));
	EXPECT_DATA(r, 2, 1);
	succeed_decompress();
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1);
	EXPECT_COUNTERS([ZSWPIN] = 1, [USED] = -1, [ZSWAPPED] = -1);
	EXPECT_EQ(1, count_present(r, 0, GROUP));
	EXPECT_DATA(r, 0, GROUP);
	EXPECT_COUNTERS([ZSWPIN] = GROUP - 1, [USED] = 1 - GROUP,
			[ZSWAPPED] = 1 - GROUP);
	EXPECT_STAT((long)GROUP, "main", "zswpin");

	/* the page that was asked for: it is lost, and no other one */
	PAGEOUT(r, 0, GROUP);
	ASSERT_EQ(0, fail_decompress("1", "2"));
	EXPECT_EQ(SIGBUS, touch_in_child(r, 0));
	succeed_decompress();
	for (i = 1; i < GROUP; i++)
		EXPECT_EQ(0, touch_in_child(r, i));
	EXPECT_DATA(r, 1, GROUP - 1);
	/* and stays so, as long as the swap cache has what could not be read */
	EXPECT_EQ(SIGBUS, touch_in_child(r, 0));
	EXPECT_STAT((long)(2 * GROUP) - 1, "main", "zswpin");
	unmap_region(r);
}

/*
 * The same with zero pages between those in zswap. Pages that were good before a
 * bad one was met are not counted, since they did not come.
 */
VSWAP_TEST(order, bad_page_mixed)
{
	long in_zswap = GROUP - (GROUP + 2) / 3, zero = (GROUP + 2) / 3;
	long now[NR_COUNTERS];
	struct size_stat was;
	struct region *r;
	size_t i;

	if (!need(_metadata, !access(FAIL_FUNCTION "inject", F_OK),
		  "CONFIG_FAIL_FUNCTION"))
		return;
	r = large_region(_metadata, GROUP, ORDER);
	if (!r)
		return;
	/* the fifth page in zswap, which is behind three zero pages */
	fill_mixed(_metadata, r, ORDER);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	ASSERT_EQ(0, fail_decompress("5", "1"));
	EXPECT_DATA(r, 2, 1);
	succeed_decompress();
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1);
	EXPECT_COUNTERS([ZSWPIN] = 1, [USED] = -1, [ZSWAPPED] = -1);
	EXPECT_STAT(1, "main", "zswpin");
	EXPECT_STAT(0, "main", "swpin_zero");
	EXPECT_EQ(1, count_present(r, 0, GROUP));
	EXPECT_DATA(r, 0, GROUP);
	EXPECT_SIZE(ORDER, &was);
	EXPECT_COUNTERS([ZSWPIN] = in_zswap - 1, [SWPIN_ZERO] = zero,
			[USED] = 1 - (long)GROUP, [ZERO] = -zero,
			[ZSWAPPED] = 1 - in_zswap);
	EXPECT_STAT(in_zswap, "main", "zswpin");
	EXPECT_STAT(zero, "main", "swpin_zero");

	/* the last one, when a zero page was asked for */
	fill_mixed(_metadata, r, ORDER);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	ASSERT_EQ(0, fail_decompress("10", "1"));
	EXPECT_DATA(r, 3, 1);
	succeed_decompress();
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1);
	EXPECT_COUNTERS([SWPIN_ZERO] = 1, [USED] = -1, [ZERO] = -1);
	EXPECT_DATA(r, 0, GROUP);

	/* the one that was asked for: it is lost, and no other one */
	fill_mixed(_metadata, r, ORDER);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	ASSERT_EQ(0, fail_decompress("5", "2"));
	EXPECT_EQ(SIGBUS, touch_in_child(r, 7));
	succeed_decompress();
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1);
	read_counters(now);
	EXPECT_EQ(self->env.last[ZSWPIN], now[ZSWPIN]);
	EXPECT_EQ(self->env.last[SWPIN_ZERO], now[SWPIN_ZERO]);
	for (i = 0; i < GROUP; i++)
		EXPECT_EQ(i == 7 ? SIGBUS : 0, touch_in_child(r, i));
	EXPECT_DATA(r, 0, 7);
	EXPECT_DATA(r, 8, GROUP - 8);
	EXPECT_EQ(SIGBUS, touch_in_child(r, 7));
	read_counters(now);
	EXPECT_EQ(self->env.last[ZSWPIN] + in_zswap - 1, now[ZSWPIN]);
	EXPECT_EQ(self->env.last[SWPIN_ZERO] + zero, now[SWPIN_ZERO]);
	unmap_region(r);
}

static long file_pages(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_blocks * 512L / (long)psize();
}

static void punch(struct __test_metadata *_metadata, int fd, size_t first, size_t nr)
{
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       first * psize(), nr * psize()));
}

/* The same for a file in memory, which loses one page of its contents */
VSWAP_TEST(order, bad_page_shmem)
{
	long others = GROUP - 1;
	struct size_stat was;
	struct region *r;
	size_t i;
	int fd;

	if (!need(_metadata, !access(FAIL_FUNCTION "inject", F_OK),
		  "CONFIG_FAIL_FUNCTION"))
		return;
	r = large_file_region(_metadata, GROUP, ORDER, &fd);
	if (!r)
		return;
	fill(r, 0, GROUP, MIXED);
	EXPECT_EQ(1, count_groups(r, 0, GROUP, ORDER));
	read_size(ORDER, &was);
	mark_counters(&self->env);
	ASSERT_EQ(0, pageout(r, 0, GROUP));
	EXPECT_SIZE(ORDER, &was, .zswpout = 1);
	EXPECT_COUNTERS([ZSWPOUT] = GROUP, [USED] = GROUP, [ZSWAPPED] = GROUP);
	/* the tenth page of the group: another one was asked for, and comes */
	ASSERT_EQ(0, fail_decompress("10", "1"));
	EXPECT_DATA(r, 2, 1);
	succeed_decompress();
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1);
	EXPECT_COUNTERS([ZSWPIN] = 1, [USED] = -1, [ZSWAPPED] = -1);
	EXPECT_EQ(1, count_present(r, 0, GROUP));
	EXPECT_DATA(r, 0, GROUP);
	EXPECT_SIZE(ORDER, &was);
	EXPECT_COUNTERS([ZSWPIN] = others, [USED] = -others, [ZSWAPPED] = -others);
	EXPECT_EQ((long)GROUP, file_pages(fd));
	unmap_region(r);
	close(fd);

	/* the page that was asked for */
	r = large_file_region(_metadata, GROUP, ORDER, &fd);
	if (!r)
		return;
	fill(r, 0, GROUP, MIXED);
	EXPECT_EQ(1, count_groups(r, 0, GROUP, ORDER));
	ASSERT_EQ(0, pageout(r, 0, GROUP));
	read_size(ORDER, &was);
	mark_counters(&self->env);
	/* the sixth one in the group, and then alone */
	ASSERT_EQ(0, fail_decompress("6", "2"));
	EXPECT_EQ(SIGBUS, touch_in_child(r, 5));
	succeed_decompress();
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1);
	/* its slot is given back, since nobody can use it */
	EXPECT_COUNTERS([USED] = -1, [ZSWAPPED] = -1);
	for (i = 0; i < GROUP; i++)
		EXPECT_EQ(i == 5 ? SIGBUS : 0, touch_in_child(r, i));
	EXPECT_SIZE(ORDER, &was);
	EXPECT_COUNTERS([ZSWPIN] = others, [USED] = -others, [ZSWAPPED] = -others);
	EXPECT_DATA(r, 0, 5);
	EXPECT_DATA(r, 6, GROUP - 6);
	/* until something new takes its place */
	punch(_metadata, fd, 5, 1);
	EXPECT_EQ(others, file_pages(fd));
	forget(r, 5, 1);
	EXPECT_DATA(r, 0, GROUP);
	EXPECT_EQ((long)GROUP, file_pages(fd));
	EXPECT_COUNTERS();
	unmap_region(r);
	close(fd);
}

/*
 * A request to a device fails. It was for a smaller folio than the one that went
 * out. One page of the file is lost at most, and none if it can be read later.
 */
static void shmem_read_error(struct __test_metadata *_metadata, struct env *env,
			     const char *times)
{
	size_t nr = 4 * GROUP, i, wanted = GROUP + 4;
	bool lost = !strcmp(times, "2");
	long physical, pswpin, swpout;
	struct size_stat was;
	struct region *r;
	int fd;

	if (!need(_metadata, !access(FAIL_REQUEST "times", F_OK),
		  "CONFIG_FAIL_MAKE_REQUEST") ||
	    !use_device(_metadata, env, "VSWAP_TEST_DEV"))
		return;
	forbid_zswap(_metadata);
	r = large_file_region(_metadata, nr, ORDER + 2, &fd);
	if (!r)
		return;
	fill(r, 0, nr, MIXED);
	EXPECT_EQ(1, count_groups(r, 0, nr, ORDER + 2));
	swpout = mthp_stat(ORDER + 2, "swpout");
	ASSERT_EQ(0, pageout(r, 0, nr));
	EXPECT_EQ(1, mthp_stat(ORDER + 2, "swpout") - swpout);
	empty_swap_cache(_metadata);
	physical = read_long(VSWAP "physical");
	/* a page of another group is in the swap cache, so that it is not all of it */
	ASSERT_EQ(0, set_mthp(ORDER, "shmem_enabled", "always"));
	pswpin = read_key("/proc/vmstat", "pswpin");
	ASSERT_EQ(0, madvise(r->addr, psize(), MADV_WILLNEED));
	ASSERT_EQ(pswpin + 1, read_key("/proc/vmstat", "pswpin"));

	read_size(ORDER, &was);
	ASSERT_EQ(0, fail_requests(env->dev, times));
	EXPECT_EQ(lost ? SIGBUS : 0, touch_in_child(r, wanted));
	succeed_requests(env->dev);
	/* it came alone */
	EXPECT_SIZE(ORDER, &was, .swpin_fallback = 1);
	EXPECT_EQ(physical - 1, read_long(VSWAP "physical"));
	for (i = 0; i < nr; i++)
		EXPECT_EQ(lost && i == wanted ? SIGBUS : 0, touch_in_child(r, i));
	EXPECT_EQ(env->start[USED], used());
	if (lost) {
		punch(_metadata, fd, wanted, 1);
		EXPECT_EQ((long)nr - 1, file_pages(fd));
		forget(r, wanted, 1);
	}
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
	close(fd);
	EXPECT_EQ(env->start[USED], used());
}

VSWAP_TEST(order, shmem_read_error)
{
	shmem_read_error(_metadata, &self->env, "1");
}

VSWAP_TEST(order, shmem_read_error_again)
{
	shmem_read_error(_metadata, &self->env, "2");
}

/* The same for anonymous memory, with virtual slots and with slots of the device */
static void read_error(struct __test_metadata *_metadata, struct env *env,
		       const char *times)
{
	size_t nr = 4 * GROUP, i, wanted = GROUP + 4;
	bool lost = !strcmp(times, "2");
	struct size_stat was;
	struct region *r;
	int virt, got;

	if (!need(_metadata, !access(FAIL_REQUEST "times", F_OK),
		  "CONFIG_FAIL_MAKE_REQUEST") ||
	    !use_device(_metadata, env, "VSWAP_TEST_DEV"))
		return;
	forbid_zswap(_metadata);
	for (virt = 1; virt >= 0; virt--) {
		ASSERT_EQ(0, write_str(VSWAP "enabled", virt ? "1" : "0"));
		r = large_region(_metadata, nr, ORDER);
		if (!r)
			return;
		fill(r, 0, nr, MIXED);
		page_out_all(_metadata, r);
		empty_swap_cache(_metadata);

		read_size(ORDER, &was);
		ASSERT_EQ(0, fail_requests(env->dev, times));
		EXPECT_EQ(lost ? SIGBUS : 0, touch_in_child(r, wanted));
		succeed_requests(env->dev);
		EXPECT_SIZE(ORDER, &was, .swpin_fallback = 1);
		/* the bad page can be read again, unless it is still in the swap cache */
		for (i = 0; i < nr; i++) {
			got = touch_in_child(r, i);
			EXPECT_EQ(lost && i == wanted && got ? SIGBUS : 0, got);
		}
		if (lost) {
			ASSERT_EQ(0, madvise(page_addr(r, wanted), psize(), MADV_DONTNEED));
			forget(r, wanted, 1);
		}
		EXPECT_DATA(r, 0, nr);
		unmap_region(r);
		EXPECT_EQ(env->start[USED], used());
	}
}

VSWAP_TEST(order, read_error)
{
	read_error(_metadata, &self->env, "1");
}

VSWAP_TEST(order, read_error_again)
{
	read_error(_metadata, &self->env, "2");
}

/* Folios that were taken back, since what they were for had changed meanwhile */
static long folios_dropped(void)
{
	FILE *trace = fopen(TRACING "trace", "r");
	char line[512];
	long nr = 0;

	if (!trace)
		return -1;
	while (fgets(line, sizeof(line), trace))
		nr += !!strstr(line, "changed meanwhile");
	fclose(trace);
	return nr;
}

static void *toucher(void *arg)
{
	struct region *r = arg;

	touch(r, 0);
	return NULL;
}

/* A half of a large folio is discarded while it is read: it cannot be mapped. */
VSWAP_TEST(order, dropped)
{
	int order = pmd_order() - 1, tries;
	size_t nr = 1UL << order;
	pthread_t thread;
	struct region *r;

	if (!need(_metadata, !access(TRACING "trace", F_OK), "CONFIG_TRACING"))
		return;
	r = large_region(_metadata, nr, order);
	if (!r)
		return;
	fclose(fopen(TRACING "trace", "w"));
	ASSERT_EQ(0, write_str(TRACING "tracing_on", "1"));
	ASSERT_EQ(0, write_str(TRACING "events/swapin/swapin_order/enable", "1"));
	unpin();
	for (tries = 0; tries < 300 && folios_dropped() < 3; tries++) {
		ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_DONTNEED));
		fill(r, 0, nr, MIXED);
		PAGEOUT(r, 0, nr);
		ASSERT_EQ(0, pthread_create(&thread, NULL, toucher, r));
		usleep(tries % 20 * 300);
		ASSERT_EQ(0, madvise(page_addr(r, nr / 2), nr / 2 * psize(),
				     MADV_DONTNEED));
		forget(r, nr / 2, nr / 2);
		ASSERT_EQ(0, pthread_join(thread, NULL));
		EXPECT_DATA(r, 0, nr);
		/* none of it is out any more, and none is in two places */
		EXPECT_EQ(0, count_swapped(r, 0, nr));
		EXPECT_EQ(self->env.stored, stored_pages());
	}
	ASSERT_EQ(0, write_str(TRACING "events/swapin/swapin_order/enable", "0"));
	EXPECT_LE(3, folios_dropped());
	TH_LOG("%ld folios dropped in %d tries", folios_dropped(), tries);
	unmap_region(r);
}

/* How many bytes of the first page are neither as they were nor in a hole? */
static void *hole_reader(void *arg)
{
	uint64_t buf[(64 << 10) / sizeof(uint64_t)];
	const char *want = (const char *)buf;
	struct region *r = arg;
	size_t wrong = 0, i;
	char c;

	make_page(buf, r, 0);
	for (i = 0; i < psize(); i++) {
		c = FORCE_READ(r->addr[i]);
		wrong += c && c != want[i];
	}
	return (void *)wrong;
}

/* A hole is punched in a file while a large folio is read that belongs there. */
VSWAP_TEST(order, shmem_dropped)
{
	int order = pmd_order() - 1, tries, fd;
	size_t nr = 1UL << order;
	struct size_stat was;
	struct region *r;
	pthread_t thread;
	void *wrong;

	if (!need(_metadata, !access(TRACING "trace", F_OK), "CONFIG_TRACING"))
		return;
	r = large_file_region(_metadata, 2 * nr, order, &fd);
	if (!r)
		return;
	fclose(fopen(TRACING "trace", "w"));
	ASSERT_EQ(0, write_str(TRACING "tracing_on", "1"));
	ASSERT_EQ(0, write_str(TRACING "events/swapin/swapin_order/enable", "1"));
	unpin();
	for (tries = 0; tries < 600 && folios_dropped() < 3; tries++) {
		/* two large folios, of which the file has one entry each */
		punch(_metadata, fd, 0, 2 * nr);
		EXPECT_EQ(0, file_pages(fd));
		fill(r, 0, 2 * nr, MIXED);
		read_size(order, &was);
		ASSERT_EQ(0, pageout(r, 0, 2 * nr));
		EXPECT_SIZE(order, &was, .zswpout = 2);
		EXPECT_EQ(self->env.start[USED] + (long)(2 * nr), used());
		ASSERT_EQ(0, pthread_create(&thread, NULL, hole_reader, r));
		usleep(tries / 2 % 20 * 300);
		/* all of the first one, or a half of each: the halves are read first */
		punch(_metadata, fd, tries % 2 * nr / 2, nr);
		ASSERT_EQ(0, pthread_join(thread, &wrong));
		EXPECT_EQ(NULL, wrong);
		forget(r, tries % 2 * nr / 2, nr);
		EXPECT_DATA(r, 0, 2 * nr);
		EXPECT_EQ((long)(2 * nr), file_pages(fd));
		/* none of it is out any more, and none is in two places */
		EXPECT_EQ(self->env.start[USED], used());
		EXPECT_EQ(self->env.stored, stored_pages());
	}
	ASSERT_EQ(0, write_str(TRACING "events/swapin/swapin_order/enable", "0"));
	EXPECT_LE(3, folios_dropped());
	TH_LOG("%ld folios dropped in %d tries", folios_dropped(), tries);
	unmap_region(r);
	close(fd);
}

static bool trace_on(struct __test_metadata *_metadata)
{
	if (!need(_metadata, !access(TRACING "trace", F_OK), "CONFIG_TRACING"))
		return false;
	ASSERT_EQ(0, write_str(TRACING "tracing_on", "1"));
	ASSERT_EQ(0, write_str(TRACING "events/swapin/swapin_order/enable", "1"));
	return true;
}

static void trace_off(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, write_str(TRACING "events/swapin/swapin_order/enable", "0"));
}

/* A slot that is in the swap cache already is not in one place with the others. */
VSWAP_TEST(order, tracepoint_backing)
{
	struct size_stat was4, was3;
	struct region *r;

	r = large_region(_metadata, GROUP, ORDER);
	if (!r || !need_large(_metadata, 3, "enabled") || !trace_on(_metadata))
		return;
	fill(r, 0, GROUP, MIXED);
	PAGEOUT(r, 0, GROUP);
	/* of the whole, a child reads a page, small as memory is for it */
	ASSERT_EQ(0, madvise(r->addr, GROUP * psize(), MADV_RANDOM));
	EXPECT_EQ(0, touch_in_child(r, 13));
	ASSERT_EQ(0, madvise(r->addr, GROUP * psize(), MADV_SEQUENTIAL));
	read_size(4, &was4);
	read_size(3, &was3);
	/* the half without it comes */
	expect_trace(_metadata, r, 2, "wanted=4 taken=3 why=not in one place");
	EXPECT_SIZE(4, &was4, .zswpin_fallback = 1);
	EXPECT_SIZE(3, &was3, .zswpin = 1);
	/* and of the half with it, what was asked for */
	expect_trace(_metadata, r, 8, "wanted=3 taken=0 why=not in one place");
	EXPECT_SIZE(4, &was4);
	EXPECT_SIZE(3, &was3, .zswpin_fallback = 1);
	trace_off(_metadata);
	EXPECT_DATA(r, 0, GROUP);
	unmap_region(r);
}

/* Allocations of at least @order fail, so many times, for who has make-it-fail. */
static void fail_page_alloc(struct __test_metadata *_metadata, int order,
			    const char *times)
{
	ASSERT_EQ(0, write_str(FAIL_PAGE_ALLOC "verbose", "0"));
	ASSERT_EQ(0, write_str(FAIL_PAGE_ALLOC "task-filter", "Y"));
	ASSERT_EQ(0, write_str(FAIL_PAGE_ALLOC "ignore-gfp-wait", "N"));
	ASSERT_EQ(0, write_str(FAIL_PAGE_ALLOC "ignore-gfp-highmem", "N"));
	ASSERT_EQ(0, write_long(FAIL_PAGE_ALLOC "min-order", order));
	ASSERT_EQ(0, write_str(FAIL_PAGE_ALLOC "interval", "1"));
	ASSERT_EQ(0, write_str(FAIL_PAGE_ALLOC "times", times));
	ASSERT_EQ(0, write_str(FAIL_PAGE_ALLOC "probability", "100"));
}

/* There is no memory for a large folio. */
VSWAP_TEST(order, tracepoint_memory)
{
	struct size_stat was;
	struct region *r;

	if (!need(_metadata, !access(FAIL_PAGE_ALLOC "probability", F_OK),
		  "CONFIG_FAIL_PAGE_ALLOC"))
		return;
	r = large_region(_metadata, GROUP, ORDER);
	if (!r || !trace_on(_metadata))
		return;
	fill(r, 0, GROUP, MIXED);
	PAGEOUT(r, 0, GROUP);
	read_size(ORDER, &was);
	mark_counters(&self->env);
	fail_page_alloc(_metadata, ORDER, "-1");
	ASSERT_EQ(0, write_str("/proc/self/make-it-fail", "1"));
	touch(r, 3);
	EXPECT_EQ(0, write_str("/proc/self/make-it-fail", "0"));
	EXPECT_EQ(0, write_str(FAIL_PAGE_ALLOC "probability", "0"));
	EXPECT_TRUE(traced("wanted=4 taken=0 why=no memory"));
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1);
	EXPECT_COUNTERS([ZSWPIN] = 1, [USED] = -1, [ZSWAPPED] = -1);
	EXPECT_EQ(1, count_present(r, 0, GROUP));
	trace_off(_metadata);
	EXPECT_DATA(r, 0, GROUP);
	unmap_region(r);
}

/*
 * There is no memory for a page in the middle of a large entry of a file. Who
 * reads it is told so. That it is tried again and again shows in the end, too.
 */
VSWAP_TEST(order, shmem_no_memory)
{
	size_t nr = 2 * GROUP, middle = GROUP + 4;
	int fd, fail, err;
	struct region *r;
	uint64_t word = 0;
	ssize_t got;

	if (!need(_metadata, !access(FAIL_PAGE_ALLOC "probability", F_OK),
		  "CONFIG_FAIL_PAGE_ALLOC"))
		return;
	r = large_file_region(_metadata, nr, ORDER, &fd);
	if (!r)
		return;
	fill(r, 0, nr, MIXED);
	EXPECT_EQ(2, count_groups(r, 0, nr, ORDER));
	ASSERT_EQ(0, pageout(r, 0, nr));
	mark_counters(&self->env);
	fail = open("/proc/self/make-it-fail", O_WRONLY);
	ASSERT_LE(0, fail);
	fail_page_alloc(_metadata, 0, "200");
	ASSERT_EQ(1, pwrite(fail, "1", 1, 0));
	got = pread(fd, &word, sizeof(word), middle * psize());
	err = errno;
	EXPECT_EQ(1, pwrite(fail, "0", 1, 0));
	EXPECT_EQ(0, write_str(FAIL_PAGE_ALLOC "probability", "0"));
	EXPECT_EQ(-1, got);
	EXPECT_EQ(ENOMEM, err);
	EXPECT_COUNTERS([ZSWPIN] = 0, [USED] = 0, [ZSWAPPED] = 0);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
	close(fail);
	close(fd);
	EXPECT_EQ(self->env.start[USED], used());
}

VSWAP_TEST(order, tracepoint_bad_page)
{
	struct region *r;

	if (!need(_metadata, !access(FAIL_FUNCTION "inject", F_OK),
		  "CONFIG_FAIL_FUNCTION"))
		return;
	r = large_region(_metadata, GROUP, ORDER);
	if (!r || !trace_on(_metadata))
		return;
	fill(r, 0, GROUP, MIXED);
	PAGEOUT(r, 0, GROUP);
	ASSERT_EQ(0, fail_decompress("10", "1"));
	expect_trace(_metadata, r, 2, "wanted=4 taken=0 why=bad page");
	succeed_decompress();
	trace_off(_metadata);
	EXPECT_DATA(r, 0, GROUP);
	unmap_region(r);
}

/* What is told of files in memory */
VSWAP_TEST(order, tracepoint_shmem)
{
	size_t nr = 4 * GROUP;
	struct size_stat was;
	struct region *r;
	char max[32];
	int fd;

	if (!trace_on(_metadata))
		return;
	r = large_file_region(_metadata, nr, ORDER, &fd);
	if (!r)
		return;
	fill(r, 0, nr, MIXED);
	ASSERT_EQ(0, pageout(r, 0, nr));
	read_size(ORDER, &was);
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_RANDOM));
	expect_trace(_metadata, r, 0, "wanted=4 taken=0 why=random access advised");
	EXPECT_SIZE(ORDER, &was);
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_NORMAL));
	expect_trace(_metadata, r, 2 * GROUP, "wanted=4 taken=0 why=neighbours not in use");
	EXPECT_SIZE(ORDER, &was);
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_SEQUENTIAL));
	expect_trace(_metadata, r, GROUP, "wanted=4 taken=4 why=whole");
	EXPECT_SIZE(ORDER, &was, .zswpin = 1);
	snprintf(max, sizeof(max), "%ld",
		 cg_long("main", "memory.current") + (long)(40 * psize()));
	ASSERT_EQ(0, cg_write("main", "memory.max", max));
	expect_trace(_metadata, r, 3 * GROUP, "wanted=4 taken=0 why=cgroup near its limit");
	EXPECT_SIZE(ORDER, &was, .zswpin_fallback = 1, .charge = 1);
	ASSERT_EQ(0, cg_write("main", "memory.max", "max"));
	trace_off(_metadata);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
	close(fd);
}

/*
 * Races: the page tables change between the moment a range is read and the
 * moment it is mapped. No page is lost, nobody loops, and nothing is left.
 */
struct racers {
	struct region *r;
	int fd;
	const char *dev;
	atomic_int stop;
	atomic_int wrong;
	atomic_int switched;
	atomic_int punched;
};

static void *reader(void *arg)
{
	struct racers *race = arg;
	uint64_t x = (uintptr_t)&x;
	size_t nr, i;
	char *page;

	while (!atomic_load(&race->stop)) {
		nr = next_random(&x) % race->r->nr;
		if (nr < race->r->nr / 2) {
			if (count_wrong(race->r, nr, 1))
				atomic_fetch_add(&race->wrong, 1);
			continue;
		}
		/* as of before it was discarded, or after */
		page = page_addr(race->r, nr);
		for (i = 0; i < psize(); i += 64) {
			char c = FORCE_READ(page[i]);

			if (c && c != 0x77)
				atomic_fetch_add(&race->wrong, 1);
		}
	}
	return NULL;
}

/* Halves of groups of the second half come and go, while others read them. */
static void *discarder(void *arg)
{
	struct racers *race = arg;
	size_t half = race->r->nr / 2, nr;
	uint64_t x = (uintptr_t)&x;
	char *page;

	while (!atomic_load(&race->stop)) {
		nr = half + next_random(&x) % half / (GROUP / 2) * (GROUP / 2);
		page = page_addr(race->r, nr);
		madvise(page, GROUP / 2 * psize(), MADV_DONTNEED);
		if (next_random(&x) % 4)
			memset(page, 0x77, GROUP / 2 * psize());
	}
	return NULL;
}

/* Holes in a file: first a half of a group, then all of it, which becomes new */
static void *puncher(void *arg)
{
	struct racers *race = arg;
	size_t half = race->r->nr / 2, nr;
	uint64_t x = (uintptr_t)&x;
	char *page;

	while (!atomic_load(&race->stop)) {
		nr = half + next_random(&x) % half / GROUP * GROUP;
		page = page_addr(race->r, nr);
		if (next_random(&x) % 2 &&
		    fallocate(race->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (nr + GROUP / 2) * psize(), GROUP / 2 * psize()))
			atomic_fetch_add(&race->wrong, 1);
		if (fallocate(race->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      nr * psize(), GROUP * psize()))
			atomic_fetch_add(&race->wrong, 1);
		if (next_random(&x) % 4) {
			memset(page, 0x77, GROUP * psize());
			atomic_fetch_add(&race->punched, 1);
			sleep_ms(next_random(&x) % 8);
		}
	}
	return NULL;
}

/* Children lose a half of each group that does not change, and read the other. */
static size_t read_halves(struct racers *race)
{
	size_t wrong = 0, nr;

	for (nr = 0; nr < race->r->nr / 2; nr += GROUP) {
		munmap(page_addr(race->r, nr + GROUP / 2), GROUP / 2 * psize());
		wrong += count_wrong(race->r, nr, GROUP / 2);
	}
	return wrong;
}

static void *forker(void *arg)
{
	struct racers *race = arg;
	int status, turn = 0;
	pid_t pid;

	while (!atomic_load(&race->stop)) {
		turn++;
		pid = fork();
		if (!pid)
			_exit(!!(turn % 2 ? read_halves(race) :
				 count_wrong(race->r, 0, race->r->nr / 2)));
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			atomic_fetch_add(&race->wrong, 1);
	}
	return NULL;
}

/* The device goes, and what is on it comes home. */
static void *switcher(void *arg)
{
	struct racers *race = arg;

	while (!atomic_load(&race->stop)) {
		sleep_ms(20);
		if (swapoff(race->dev) || swapon(race->dev, 0))
			atomic_fetch_add(&race->wrong, 1);
		else
			atomic_fetch_add(&race->switched, 1);
	}
	return NULL;
}

/* Has all of it happened that it is about? */
static bool raced(struct env *env, struct racers *race, struct size_stat *was)
{
	if (mthp_stat(ORDER, "zswpin") < was->zswpin + 20)
		return false;
	if (env->dev && (atomic_load(&race->switched) < 3 ||
			 read_key("/proc/vmstat", "zswpwb") == env->last[ZSWPWB]))
		return false;
	return race->fd < 0 || atomic_load(&race->punched) >= 20;
}

static void run_races(struct __test_metadata *_metadata, struct env *env, bool shmem)
{
	void *(*fn[])(void *) = { reader, reader, shmem ? puncher : discarder, forker,
				  switcher };
	size_t nr = 8 * GROUP, i, nr_fn = env->dev ? 5 : 4;
	struct racers race = { .dev = env->dev, .fd = -1 };
	pthread_t threads[ARRAY_SIZE(fn)];
	struct size_stat was;
	struct region *cold;
	long end;

	race.r = shmem ? large_file_region(_metadata, nr, ORDER, &race.fd) :
			 large_region(_metadata, nr, ORDER);
	if (!race.r)
		return;
	/* Nobody reads these: there is always something to write back. */
	cold = map_region(_metadata, SMALL, 1, -1);
	fill(cold, 0, SMALL, MIXED);
	PAGEOUT(cold, 0, SMALL);
	unpin();
	read_size(ORDER, &was);
	mark_counters(env);
	fill(race.r, 0, nr / 2, MIXED);
	memset(page_addr(race.r, nr / 2), 0x77, nr / 2 * psize());
	if (env->dev)
		ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "Y"));
	for (i = 0; i < nr_fn; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, fn[i], &race));
	end = now_ms() + RACE_MS;
	do {
		madvise(race.r->addr, nr * psize(), MADV_PAGEOUT);
		if (env->dev)
			scan_zswap(_metadata, 16);
	} while (now_ms() < end || (now_ms() < end + RACE_MORE_MS &&
				    !raced(env, &race, &was)));
	atomic_store(&race.stop, 1);
	for (i = 0; i < nr_fn; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_EQ(0, atomic_load(&race.wrong));
	EXPECT_DATA(race.r, 0, nr / 2);
	EXPECT_DATA(cold, 0, SMALL);
	EXPECT_LT(was.zswpin, mthp_stat(ORDER, "zswpin"));
	if (env->dev) {
		EXPECT_LT(2, atomic_load(&race.switched));
		EXPECT_LT(env->last[ZSWPWB], read_key("/proc/vmstat", "zswpwb"));
	}
	unmap_region(cold);
	unmap_region(race.r);
	if (shmem)
		close(race.fd);
}

VSWAP_TEST(order, races)
{
	run_races(_metadata, &self->env, false);
}

/* The same with a file, in which holes are punched */
VSWAP_TEST(order, shmem_races)
{
	run_races(_metadata, &self->env, true);
}

/* The same with a device that goes and comes, and is written back to */
VSWAP_TEST(device, races)
{
	if (!use_device(_metadata, &self->env, variant->device) ||
	    !need(_metadata, !access("/sys/kernel/debug/shrinker", F_OK),
		  "CONFIG_SHRINKER_DEBUG"))
		return;
	run_races(_metadata, &self->env, false);
}

int main(int argc, char **argv)
{
	return run_tests(argc, argv);
}
