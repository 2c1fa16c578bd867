// SPDX-License-Identifier: GPL-2.0-only
/*
 * Huge pages that are mapped by a PMD go out as one PMD swap entry, and come back
 * mapped by a PMD, and nothing that happens to the entry meanwhile loses a page.
 *
 * Every page has contents of its own, and is compared byte for byte. Counters are
 * exact differences. That an entry is one, or was split, is told by
 * thp_split_pmd, and by PAGEMAP_SCAN, which calls only PMDs huge.
 *
 * VSWAP_TEST_DEV names a block device with a swap header that needs no waiting
 * (brd), and is overwritten.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>

#include "vswap_test.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define FAIL_FUNCTION	"/sys/kernel/debug/fail_function/"
#define RACE_MS		3000

static size_t pmd_pages;	/* pages of a PMD */

/*
 * What happens to PMDs: the counters of /proc/vmstat
 */
struct pmd_stat {
	long out, in, fallback, split, major;
};

static void read_pmd_stat(struct pmd_stat *s)
{
	s->out = read_key("/proc/vmstat", "thp_swpout_pmd");
	s->in = read_key("/proc/vmstat", "thp_swpin_pmd");
	s->fallback = read_key("/proc/vmstat", "thp_swpin_pmd_fallback");
	s->split = read_key("/proc/vmstat", "thp_split_pmd");
	s->major = read_key("/proc/vmstat", "pgmajfault");
}

static void expect_pmd_stat(struct __test_metadata *_metadata, int line,
			    struct pmd_stat *was, struct pmd_stat want)
{
	struct pmd_stat now;

	read_pmd_stat(&now);
	EXPECT_EQ(want.out, now.out - was->out) {
		TH_LOG("line %d: thp_swpout_pmd", line);
	}
	EXPECT_EQ(want.in, now.in - was->in) {
		TH_LOG("line %d: thp_swpin_pmd", line);
	}
	EXPECT_EQ(want.fallback, now.fallback - was->fallback) {
		TH_LOG("line %d: thp_swpin_pmd_fallback", line);
	}
	EXPECT_EQ(want.split, now.split - was->split) {
		TH_LOG("line %d: thp_split_pmd", line);
	}
	EXPECT_EQ(want.major, now.major - was->major) {
		TH_LOG("line %d: pgmajfault", line);
	}
	*was = now;
}

/* By how much they have moved, as ".name = number". The others stand still. */
#define EXPECT_PMD(was, ...)						\
	expect_pmd_stat(_metadata, __LINE__, was,			\
			(struct pmd_stat) { __VA_ARGS__ })

/* How many pages of the region have PAGE_IS_HUGE and all of @categories? */
static size_t count_pmd_pages(const struct region *r, uint64_t categories)
{
	struct page_region found[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)r->addr,
		.end = (uintptr_t)page_addr(r, r->nr),
		.vec = (uintptr_t)found,
		.vec_len = ARRAY_SIZE(found),
		.category_mask = PAGE_IS_HUGE | categories,
		.return_mask = PAGE_IS_HUGE,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t pages = 0;
	int i, nr;

	nr = ioctl(fd, PAGEMAP_SCAN, &arg);
	close(fd);
	for (i = 0; i < nr; i++)
		pages += (found[i].end - found[i].start) / psize();
	return pages;
}

/* A value of the mapping that @addr is in, from smaps, in pages */
static long smaps_pages(const char *addr, const char *key)
{
	unsigned long start, end;
	char line[512];
	bool here = false;
	long kb = -1;
	FILE *f = fopen("/proc/self/smaps", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)addr >= start && (uintptr_t)addr < end;
		else if (here && !strncmp(line, key, strlen(key)) &&
			 sscanf(line + strlen(key), ": %ld", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb < 0 ? kb : kb * 1024 / (long)psize();
}

static long status_pages(const char *key)
{
	return read_key("/proc/self/status", key) * 1024 / (long)psize();
}

/*
 * A region of @nr huge pages with contents, each mapped by a PMD, which MADV_HUGEPAGE
 * asks to come back as such. There may be no huge page at first.
 */
static struct region *huge_region(struct __test_metadata *_metadata, size_t nr,
				  enum content content)
{
	struct region *r;
	int tries;

	if (!need(_metadata, !config_off("CONFIG_PMD_SWAP"), "CONFIG_PMD_SWAP") ||
	    !need_large(_metadata, pmd_order(), "enabled"))
		return NULL;
	pmd_pages = 1UL << pmd_order();
	nr *= pmd_pages;
	r = map_region(_metadata, nr, pmd_pages, -1);
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_HUGEPAGE));
	for (tries = 0; tries < 20; tries++) {
		fill(r, 0, nr, content);
		if (count_pmd_pages(r, PAGE_IS_PRESENT) == nr)
			return r;
		ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_DONTNEED));
		write_str("/proc/sys/vm/drop_caches", "3");
		write_str("/proc/sys/vm/compact_memory", "1");
	}
	ASSERT_EQ(nr, count_pmd_pages(r, PAGE_IS_PRESENT)) {
		TH_LOG("no huge pages to be had");
	}
	return NULL;
}

static bool is_out_by_pmds(const struct region *r)
{
	return count_pmd_pages(r, PAGE_IS_SWAPPED) == r->nr;
}

static bool is_in_by_pmds(const struct region *r)
{
	return count_pmd_pages(r, PAGE_IS_PRESENT) == r->nr;
}

/* All of a region goes out, each PMD as one entry. */
static void huge_out(struct __test_metadata *_metadata, int line, const struct region *r)
{
	long nr = r->nr / pmd_pages;
	struct pmd_stat was;

	read_pmd_stat(&was);
	page_out(_metadata, line, r, 0, r->nr);
	expect_pmd_stat(_metadata, line, &was, (struct pmd_stat) { .out = nr });
	EXPECT_TRUE(is_out_by_pmds(r)) {
		TH_LOG("line %d: not PMD swap entries", line);
	}
}

#define HUGE_OUT(r) huge_out(_metadata, __LINE__, r)

static void touch(const struct region *r, size_t nr)
{
	FORCE_READ(*page_addr(r, nr));
}

static size_t count_in_core(const struct region *r, size_t first, size_t nr)
{
	unsigned char *vec = malloc(nr);
	size_t i, found = 0;

	if (mincore(page_addr(r, first), nr * psize(), vec))
		return -1;
	for (i = 0; i < nr; i++)
		found += vec[i] & 1;
	free(vec);
	return found;
}

/*
 * place: where what goes out is
 */
FIXTURE(place)
{
	struct env env;
};

FIXTURE_VARIANT(place)
{
	const char *compressor;		/* NULL: zswap is off, and there is a device */
	enum content content;
};

FIXTURE_VARIANT_ADD(place, lzo) {
	.compressor = "lzo",
	.content = MIXED,
};

FIXTURE_VARIANT_ADD(place, lz4) {
	.compressor = "lz4",
	.content = MIXED,
};

FIXTURE_VARIANT_ADD(place, zstd) {
	.compressor = "zstd",
	.content = MIXED,
};

FIXTURE_VARIANT_ADD(place, zero) {
	.compressor = "lzo",
	.content = ZEROED,
};

FIXTURE_VARIANT_ADD(place, device) {
	.content = MIXED,
};

FIXTURE_SETUP(place)
{
	setup(_metadata, &self->env);
	if (_metadata->exit_code == KSFT_SKIP)
		return;
	if (variant->compressor) {
		ASSERT_EQ(0, write_str(ZSWAP "compressor", variant->compressor));
		ASSERT_EQ(0, write_str(ZSWAP "max_pool_percent", "50"));
		return;
	}
	if (!need_device(_metadata, &self->env))
		return;
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	ASSERT_EQ(0, swapon(self->env.dev, 0));
	mark_counters(&self->env);
}

FIXTURE_TEARDOWN_PARENT(place)
{
	teardown(_metadata, &self->env);
}

/* One entry out, one fault, one huge page back, mapped by a PMD. */
VSWAP_TEST(place, round_trip)
{
	struct region *r = huge_region(_metadata, 2, variant->content);
	struct pmd_stat was;
	long tables, faults;

	if (!r)
		return;
	tables = read_key("/proc/self/status", "VmPTE");
	HUGE_OUT(r);
	EXPECT_EQ(tables, read_key("/proc/self/status", "VmPTE"));
	EXPECT_EQ(r->nr, status_pages("VmSwap"));
	EXPECT_EQ(r->nr, smaps_pages(r->addr, "Swap"));
	EXPECT_EQ(r->nr, smaps_pages(r->addr, "SwapPss"));
	EXPECT_EQ(0, smaps_pages(r->addr, "AnonHugePages"));
	empty_swap_cache(_metadata);
	EXPECT_EQ(0, count_in_core(r, 0, r->nr));

	read_pmd_stat(&was);
	faults = read_key("/proc/vmstat", "pgmajfault");
	touch(r, 5);
	EXPECT_EQ(1, read_key("/proc/vmstat", "pgmajfault") - faults);
	EXPECT_PMD(&was, .in = 1, .major = 1);
	EXPECT_EQ(pmd_pages, count_present(r, 0, r->nr));
	EXPECT_DATA(r, 0, pmd_pages);
	EXPECT_PMD(&was);

	/* a write needs no second fault, since nobody shares the page */
	fill(r, pmd_pages + 7, 1, MIXED);
	EXPECT_PMD(&was, .in = 1, .major = 1);
	EXPECT_TRUE(is_in_by_pmds(r));
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_EQ(0, status_pages("VmSwap"));
	EXPECT_EQ(r->nr, smaps_pages(r->addr, "AnonHugePages"));
	EXPECT_EQ(tables, read_key("/proc/self/status", "VmPTE"));
	unmap_region(r);
}

/* Slots follow each other, whether the entry is one or was split. */
VSWAP_TEST(place, slots_in_order)
{
	struct region *r = huge_region(_metadata, 1, variant->content);
	uint64_t first;
	size_t i;
	int split;

	if (!r)
		return;
	HUGE_OUT(r);
	first = pagemap_of(r->addr);
	for (split = 0; split < 2; split++) {
		for (i = 0; i < r->nr; i++) {
			uint64_t entry = pagemap_of(page_addr(r, i));

			ASSERT_EQ(swap_type(first), swap_type(entry));
			ASSERT_EQ(swap_offset(first) + i, swap_offset(entry));
		}
		ASSERT_EQ(0, mprotect(page_addr(r, 3), psize(), PROT_READ));
		EXPECT_FALSE(is_out_by_pmds(r));
	}
	EXPECT_DATA(r, 0, r->nr);
	unmap_region(r);
}

/* Both sides of a fork have an entry, and what one writes the other does not see. */
VSWAP_TEST(place, fork)
{
	struct region *r = huge_region(_metadata, 1, variant->content);
	struct pmd_stat was;
	struct gate gate;
	pid_t pid;
	int round;

	if (!r)
		return;
	for (round = 0; round < 2; round++) {
		HUGE_OUT(r);
		empty_swap_cache(_metadata);
		read_pmd_stat(&was);
		ASSERT_EQ(0, gate_make(&gate));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			bool good = is_out_by_pmds(r) && status_pages("VmSwap") == (long)r->nr;

			gate_wait(&gate);
			/* the parent has written, or not even looked */
			good &= !count_wrong(r, 0, r->nr);
			fill(r, 0, 9, MIXED);
			good &= !count_wrong(r, 0, r->nr);
			_exit(!good);
		}
		EXPECT_TRUE(is_out_by_pmds(r));
		EXPECT_EQ(r->nr / 2, smaps_pages(r->addr, "SwapPss"));
		EXPECT_PMD(&was);
		if (round) {
			struct page_info *saved = malloc(r->nr * sizeof(*saved));

			/* the parent writes first; the child has its own model */
			memcpy(saved, r->pages, r->nr * sizeof(*saved));
			EXPECT_DATA(r, 0, r->nr);
			fill(r, 0, r->nr, MIXED);
			free(saved);
		}
		gate_open(&gate);
		EXPECT_EXIT(pid);
		EXPECT_DATA(r, 0, r->nr);
		if (!round) {
			/* a huge page again, whatever the write of the child did */
			unmap_region(r);
			r = huge_region(_metadata, 1, variant->content);
		}
	}
	unmap_region(r);
}

/* More references than fit into the swap table */
VSWAP_TEST(place, many_children)
{
	struct region *r = huge_region(_metadata, 1, variant->content);
	struct pmd_stat was;
	struct gate gate;
	pid_t pid[80];
	size_t i;

	if (!r)
		return;
	HUGE_OUT(r);
	read_pmd_stat(&was);
	ASSERT_EQ(0, gate_make(&gate));
	for (i = 0; i < ARRAY_SIZE(pid); i++) {
		pid[i] = fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			gate_wait(&gate);
			/* some look at it, most go away with their entry */
			_exit(i % 16 == 1 && count_wrong(r, 0, r->nr));
		}
	}
	EXPECT_PMD(&was);
	EXPECT_TRUE(is_out_by_pmds(r));
	for (i = 0; i < ARRAY_SIZE(pid); i++)
		gate_open(&gate);
	for (i = 0; i < ARRAY_SIZE(pid); i++)
		EXPECT_EXIT(pid[i]);
	EXPECT_DATA(r, 0, r->nr);
	unmap_region(r);
}

/* What covers all of an entry keeps it or drops it, what covers a part splits it. */
VSWAP_TEST(place, unmap_and_discard)
{
	struct region *r = huge_region(_metadata, 4, variant->content);
	struct pmd_stat was;
	size_t n = pmd_pages;

	if (!r)
		return;
	HUGE_OUT(r);
	read_pmd_stat(&was);
	ASSERT_EQ(0, madvise(r->addr, n * psize(), MADV_DONTNEED));
	forget(r, 0, n);
	EXPECT_EQ(3 * n, status_pages("VmSwap"));
	ASSERT_EQ(0, madvise(page_addr(r, n), n * psize(), MADV_FREE));
	forget(r, n, n);
	EXPECT_EQ(2 * n, status_pages("VmSwap"));
	EXPECT_PMD(&was);

	ASSERT_EQ(0, madvise(page_addr(r, 2 * n + 1), 3 * psize(), MADV_FREE));
	forget(r, 2 * n + 1, 3);
	EXPECT_EQ(2 * n - 3, status_pages("VmSwap"));
	EXPECT_PMD(&was, .split = 1);
	ASSERT_EQ(0, munmap(page_addr(r, 3 * n + n / 2), n / 2 * psize()));
	EXPECT_EQ(2 * n - 3 - n / 2, status_pages("VmSwap"));
	EXPECT_PMD(&was, .split = 1);
	EXPECT_DATA(r, 0, 3 * n + n / 2);
	EXPECT_EQ(0, status_pages("VmSwap"));
	unmap_region(r);
}

/*
 * A huge page that came back for one of two sharers is in the swap cache for the
 * other one, too. MADV_FREE of the one leaves the other its data.
 */
VSWAP_TEST(place, free_shared)
{
	struct region *r = huge_region(_metadata, 1, variant->content);
	struct gate gate;
	size_t i, gone = 0;
	pid_t pid;

	if (!r)
		return;
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		_exit(!!count_wrong(r, 0, r->nr));
	}
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_TRUE(is_in_by_pmds(r));
	ASSERT_EQ(0, madvise(r->addr, r->nr * psize(), MADV_FREE));
	ASSERT_EQ(0, pageout(r, 0, r->nr));
	empty_swap_cache(_metadata);
	/* what it was, or zero, and nothing else */
	for (i = 0; i < r->nr; i++) {
		if (r->pages[i].content != ZEROED && !*(uint64_t *)page_addr(r, i)) {
			forget(r, i, 1);
			gone++;
		}
	}
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_TRUE(!gone || gone == r->nr);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	unmap_region(r);
}

VSWAP_TEST(place, protect)
{
	struct region *r = huge_region(_metadata, 2, variant->content);
	struct pmd_stat was;
	size_t n = pmd_pages;

	if (!r)
		return;
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	read_pmd_stat(&was);
	ASSERT_EQ(0, mprotect(r->addr, n * psize(), PROT_NONE));
	ASSERT_EQ(0, mprotect(r->addr, n * psize(), PROT_READ | PROT_WRITE));
	EXPECT_PMD(&was);
	ASSERT_EQ(0, mprotect(page_addr(r, n + 10), 5 * psize(), PROT_READ));
	EXPECT_PMD(&was, .split = 1);
	EXPECT_DATA(r, 0, n);
	EXPECT_PMD(&was, .in = 1, .major = 1);
	EXPECT_DATA(r, n, n);
	EXPECT_EQ(n, count_pmd_pages(r, PAGE_IS_PRESENT));
	unmap_region(r);
}

/* mremap() carries the entry along; half of it, and it is split. */
VSWAP_TEST(place, move)
{
	struct region *r = huge_region(_metadata, 1, variant->content), *to;
	size_t n = pmd_pages;
	struct pmd_stat was;
	char *was_at;

	if (!r)
		return;
	to = map_region(_metadata, n, n, -1);
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	read_pmd_stat(&was);
	was_at = r->addr;
	ASSERT_EQ(to->addr, mremap(r->addr, n * psize(), n * psize(),
				   MREMAP_MAYMOVE | MREMAP_FIXED, to->addr));
	r->addr = to->addr;
	EXPECT_TRUE(is_out_by_pmds(r));
	EXPECT_PMD(&was);
	EXPECT_DATA(r, 0, n);
	EXPECT_PMD(&was, .in = 1, .major = 1);
	EXPECT_TRUE(is_in_by_pmds(r));

	HUGE_OUT(r);
	read_pmd_stat(&was);
	ASSERT_EQ(was_at, mremap(r->addr, n / 2 * psize(), n / 2 * psize(),
				 MREMAP_MAYMOVE | MREMAP_FIXED, was_at));
	EXPECT_PMD(&was, .split = 1);
	EXPECT_DATA(r, n / 2, n / 2);
	r->addr = was_at;
	EXPECT_DATA(r, 0, n / 2);
	munmap(was_at, n / 2 * psize());
	unmap_region(to);
}

/* The swap cache is looked at slot by slot, and read as a whole. */
VSWAP_TEST(place, willneed)
{
	struct region *r = huge_region(_metadata, 2, variant->content);
	size_t n = pmd_pages;
	struct pmd_stat was;

	if (!r)
		return;
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	EXPECT_EQ(0, count_in_core(r, 0, r->nr));
	read_pmd_stat(&was);
	ASSERT_EQ(0, madvise(r->addr, n * psize(), MADV_WILLNEED));
	EXPECT_TRUE(WAIT_FOR(count_in_core(r, 0, n) == n));
	EXPECT_EQ(0, count_in_core(r, n, n));
	EXPECT_PMD(&was);
	touch(r, 1);
	EXPECT_PMD(&was, .in = 1);
	EXPECT_EQ(n, count_pmd_pages(r, PAGE_IS_PRESENT));

	/* a part: these slots, and no others */
	ASSERT_EQ(0, madvise(page_addr(r, n + 8), 4 * psize(), MADV_WILLNEED));
	EXPECT_PMD(&was, .split = 1);
	EXPECT_TRUE(WAIT_FOR(count_in_core(r, n + 8, 4) == 4));
	EXPECT_EQ(4, count_in_core(r, n, n));
	EXPECT_DATA(r, 0, r->nr);
	unmap_region(r);
}

/* A sharer has single slots in its page table: the entry of the other is split. */
VSWAP_TEST(place, split_cache)
{
	struct region *r = huge_region(_metadata, 1, variant->content);
	struct gate ready, gate;
	struct pmd_stat was;
	pid_t pid;

	if (!r)
		return;
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	ASSERT_EQ(0, gate_make(&ready));
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* base pages in the swap cache, of the first half only */
		madvise(r->addr, r->nr * psize(), MADV_NOHUGEPAGE);
		if (count_wrong(r, 0, r->nr / 2))
			_exit(1);
		gate_open(&ready);
		gate_wait(&gate);
		_exit(!!count_wrong(r, 0, r->nr));
	}
	gate_wait(&ready);
	EXPECT_TRUE(is_out_by_pmds(r));
	EXPECT_LT(0, count_in_core(r, 0, r->nr));
	EXPECT_GT(r->nr, count_in_core(r, 0, r->nr));
	read_pmd_stat(&was);
	touch(r, r->nr - 1);
	EXPECT_EQ(1, read_key("/proc/vmstat", "thp_swpin_pmd_fallback") - was.fallback);
	EXPECT_EQ(0, count_pmd_pages(r, 0));
	EXPECT_DATA(r, 0, r->nr);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	unmap_region(r);
}

/* Without advice, a range alone does not come back as a whole for one access. */
VSWAP_TEST(place, guard)
{
	struct region *r = huge_region(_metadata, 4, variant->content);
	size_t n = pmd_pages, i;
	struct pmd_stat was;

	if (!r)
		return;
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	ASSERT_EQ(0, write_str(THP "enabled", "always"));
	/* takes the advice away, and leaves huge pages allowed */
	ASSERT_EQ(0, set_mthp(pmd_order(), "enabled", "always"));
	ASSERT_EQ(0, madvise(r->addr, r->nr * psize(), MADV_RANDOM));
	read_pmd_stat(&was);
	for (i = 0; i < 4; i++)
		touch(r, i * n + 3);
	EXPECT_PMD(&was, .fallback = 4, .split = 4, .major = 4);
	EXPECT_EQ(4, count_present(r, 0, r->nr));
	EXPECT_DATA(r, 0, r->nr);
	unmap_region(r);
}

/* Bringing everything home brings PMDs home. */
VSWAP_TEST(place, home)
{
	struct region *r = huge_region(_metadata, 3, variant->content);
	struct pmd_stat was;
	size_t n = pmd_pages;

	if (!r)
		return;
	HUGE_OUT(r);
	/* one is in PTEs by now, one is in the swap cache */
	ASSERT_EQ(0, mprotect(page_addr(r, 5), psize(), PROT_READ));
	ASSERT_EQ(0, mprotect(page_addr(r, 5), psize(), PROT_READ | PROT_WRITE));
	empty_swap_cache(_metadata);
	ASSERT_EQ(0, madvise(page_addr(r, n), n * psize(), MADV_WILLNEED));
	read_pmd_stat(&was);
	if (self->env.dev) {
		ASSERT_EQ(0, swapoff(self->env.dev));
	} else {
		ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
		ASSERT_EQ(0, write_str(VSWAP "drain", "1"));
		ASSERT_EQ(0, write_str(VSWAP "enabled", "1"));
	}
	EXPECT_PMD(&was, .in = 2);
	EXPECT_EQ(0, status_pages("VmSwap"));
	EXPECT_EQ(r->nr, count_present(r, 0, r->nr));
	EXPECT_EQ(2 * n, count_pmd_pages(r, PAGE_IS_PRESENT));
	EXPECT_DATA(r, 0, r->nr);
	unmap_region(r);
}

/* Soft-dirty is kept by the entry, and set by mremap(). */
VSWAP_TEST(place, soft_dirty)
{
	struct region *r = huge_region(_metadata, 1, variant->content), *to;
	size_t n = pmd_pages, i, dirty;
	int round;

	if (!r)
		return;
	if (!need(_metadata, !config_off("CONFIG_MEM_SOFT_DIRTY"), "CONFIG_MEM_SOFT_DIRTY"))
		return;
	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, write_str("/proc/self/clear_refs", "4"));
		if (round)
			fill(r, 0, n, MIXED);	/* dirty before it goes out */
		HUGE_OUT(r);
		for (dirty = 0, i = 0; i < n; i++)
			dirty += !!(pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY);
		EXPECT_EQ(round ? n : 0, dirty);
		if (round) {
			ASSERT_EQ(0, write_str("/proc/self/clear_refs", "4"));
			EXPECT_TRUE(is_out_by_pmds(r));
			EXPECT_EQ(0, pagemap_of(r->addr) & PM_SOFT_DIRTY);
		}
		EXPECT_DATA(r, 0, n);
		EXPECT_TRUE(is_in_by_pmds(r));
		for (dirty = 0, i = 0; i < n; i++)
			dirty += !!(pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY);
		EXPECT_EQ(0, dirty);
	}
	HUGE_OUT(r);
	to = map_region(_metadata, n, n, -1);
	ASSERT_EQ(to->addr, mremap(r->addr, n * psize(), n * psize(),
				   MREMAP_MAYMOVE | MREMAP_FIXED, to->addr));
	r->addr = to->addr;
	for (dirty = 0, i = 0; i < n; i++)
		dirty += !!(pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY);
	EXPECT_EQ(n, dirty);
	EXPECT_DATA(r, 0, n);
	unmap_region(to);
}

/*
 * userfaultfd
 */
static int make_uffd(struct __test_metadata *_metadata, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	EXPECT_LE(0, fd);
	EXPECT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	return fd;
}

static int register_uffd(int fd, const struct region *r, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)r->addr, r->nr * psize() },
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg);
}

/* Write protection goes out and comes back with the entry. */
VSWAP_TEST(place, write_protection)
{
	struct region *r = huge_region(_metadata, 1, variant->content);
	size_t n = pmd_pages, i, protected;
	struct uffdio_writeprotect wp;
	struct pmd_stat was;
	int fd, split;

	if (!r)
		return;
	fd = make_uffd(_metadata, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	ASSERT_EQ(0, register_uffd(fd, r, UFFDIO_REGISTER_MODE_WP));
	wp = (struct uffdio_writeprotect) {
		.range = { (uintptr_t)r->addr, n * psize() },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	ASSERT_EQ(0, ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	for (split = 0; split < 2; split++) {
		for (protected = 0, i = 0; i < n; i++)
			protected += !!(pagemap_of(page_addr(r, i)) & PM_UFFD_WP);
		EXPECT_EQ(n, protected);
		if (!split) {
			read_pmd_stat(&was);
			EXPECT_DATA(r, 0, n);
			EXPECT_PMD(&was, .in = 1, .major = 1);
			EXPECT_TRUE(is_in_by_pmds(r));
			for (protected = 0, i = 0; i < n; i++)
				protected += !!(pagemap_of(page_addr(r, i)) & PM_UFFD_WP);
			EXPECT_EQ(n, protected);
			HUGE_OUT(r);
			/* the bit of an entry that is out is taken away, and set */
			wp.mode = 0;
			ASSERT_EQ(0, ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
			EXPECT_EQ(0, pagemap_of(r->addr) & PM_UFFD_WP);
			wp.mode = UFFDIO_WRITEPROTECT_MODE_WP;
			ASSERT_EQ(0, ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
			EXPECT_TRUE(is_out_by_pmds(r));
			ASSERT_EQ(0, mprotect(page_addr(r, 2), psize(), PROT_READ));
			EXPECT_FALSE(is_out_by_pmds(r));
		}
	}
	EXPECT_DATA(r, 0, n);
	close(fd);
	unmap_region(r);
}

/* UFFDIO_MOVE moves the entry, with what the swap cache has; not over another one. */
VSWAP_TEST(place, uffd_move)
{
	struct region *r = huge_region(_metadata, 1, variant->content), *to;
	size_t n = pmd_pages;
	struct uffdio_move move;
	struct pmd_stat was;
	int fd, cached;

	if (!r)
		return;
	fd = make_uffd(_metadata, UFFD_FEATURE_MOVE);
	for (cached = 0; cached < 2; cached++) {
		to = map_region(_metadata, n, n, -1);
		ASSERT_EQ(0, madvise(to->addr, n * psize(), MADV_HUGEPAGE));
		ASSERT_EQ(0, register_uffd(fd, to, UFFDIO_REGISTER_MODE_MISSING));
		HUGE_OUT(r);
		empty_swap_cache(_metadata);
		if (cached)
			ASSERT_EQ(0, madvise(r->addr, n * psize(), MADV_WILLNEED));
		read_pmd_stat(&was);
		move = (struct uffdio_move) {
			.dst = (uintptr_t)to->addr,
			.src = (uintptr_t)r->addr,
			.len = n * psize(),
		};
		ASSERT_EQ(0, ioctl(fd, UFFDIO_MOVE, &move));
		EXPECT_EQ((long long)(n * psize()), move.move);
		EXPECT_PMD(&was);
		EXPECT_EQ(0, count_swapped(r, 0, n));
		r->addr = to->addr;
		EXPECT_TRUE(is_out_by_pmds(r));
		EXPECT_DATA(r, 0, n);
		EXPECT_TRUE(is_in_by_pmds(r));
		EXPECT_PMD(&was, .in = 1, .major = !cached);
	}
	/* something is in the way */
	to = huge_region(_metadata, 1, variant->content);
	ASSERT_EQ(0, register_uffd(fd, to, UFFDIO_REGISTER_MODE_MISSING));
	HUGE_OUT(to);
	HUGE_OUT(r);
	move.dst = (uintptr_t)to->addr;
	move.src = (uintptr_t)r->addr;
	EXPECT_EQ(-1, ioctl(fd, UFFDIO_MOVE, &move));
	EXPECT_EQ(EEXIST, errno);
	EXPECT_DATA(r, 0, n);
	EXPECT_DATA(to, 0, n);
	close(fd);
	unmap_region(to);
}

/* zswap is switched off and on between the ways out and in. */
VSWAP_TEST(place, zswap_toggled)
{
	struct region *r = huge_region(_metadata, 2, variant->content);
	int round;

	if (!r)
		return;
	for (round = 0; round < 2; round++) {
		HUGE_OUT(r);
		ASSERT_EQ(0, write_str(ZSWAP "enabled", variant->compressor ? "0" : "1"));
		EXPECT_DATA(r, 0, r->nr);
		ASSERT_EQ(0, write_str(ZSWAP "enabled", variant->compressor ? "1" : "0"));
		EXPECT_TRUE(is_in_by_pmds(r));
	}
	unmap_region(r);
}

/* A cgroup without room for a huge page gets base pages, and loses none. */
VSWAP_TEST(place, no_room)
{
	struct region *r = huge_region(_metadata, 2, variant->content);
	struct pmd_stat was;
	char max[32];
	int i;

	if (!r)
		return;
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	read_pmd_stat(&was);
	snprintf(max, sizeof(max), "%ld", cg_long("main", "memory.current") +
					  (long)(16 * psize()));
	ASSERT_EQ(0, cg_write("main", "memory.max", max));
	for (i = 0; i < 2; i++)
		touch(r, i * pmd_pages);
	EXPECT_EQ(2, read_key("/proc/vmstat", "thp_swpin_pmd_fallback") - was.fallback);
	EXPECT_EQ(0, read_key("/proc/vmstat", "thp_swpin_pmd") - was.in);
	EXPECT_EQ(0, count_large(r, 0, r->nr));
	ASSERT_EQ(0, cg_write("main", "memory.max", "max"));
	EXPECT_DATA(r, 0, r->nr);
	unmap_region(r);
}

/* MADV_COLLAPSE of what is out as one gives a huge page again. */
VSWAP_TEST(place, collapse)
{
	struct region *r = huge_region(_metadata, 1, variant->content);

	if (!r)
		return;
	HUGE_OUT(r);
	EXPECT_EQ(0, madvise(r->addr, r->nr * psize(), MADV_COLLAPSE));
	EXPECT_TRUE(is_in_by_pmds(r));
	EXPECT_DATA(r, 0, r->nr);
	unmap_region(r);
}

/*
 * Races: readers against those who page out, discard and fork
 */
struct racers {
	struct region *r;
	atomic_int stop, wrong;
};

static uint64_t first_word(const struct region *r, size_t nr)
{
	return __atomic_load_n((uint64_t *)page_addr(r, nr), __ATOMIC_RELAXED);
}

static void *reader(void *arg)
{
	struct racers *race = arg;
	uint64_t x = (uintptr_t)&x | 1;
	size_t half = race->r->nr / 2, nr;

	while (!atomic_load(&race->stop)) {
		nr = next_random(&x) % half;
		if (count_wrong(race->r, nr, 1))
			atomic_fetch_add(&race->wrong, 1);
		/* the second half is either what it was, or zero */
		nr += half;
		if (first_word(race->r, nr) && count_wrong(race->r, nr, 1) &&
		    first_word(race->r, nr))
			atomic_fetch_add(&race->wrong, 1);
	}
	return NULL;
}

VSWAP_TEST(place, races)
{
	struct region *r = huge_region(_metadata, 4, variant->content);
	struct racers race = { .r = r };
	uint64_t x = 88172645463325252ULL;
	pthread_t threads[2];
	size_t n, first, i;
	struct pmd_stat was, now;
	long end;

	if (!r)
		return;
	n = pmd_pages;
	unpin();
	read_pmd_stat(&was);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, reader, &race));
	for (end = now_ms() + RACE_MS; now_ms() < end; ) {
		ASSERT_EQ(0, pageout(r, 0, r->nr));
		switch (next_random(&x) % 4) {
		case 0:
			first = r->nr / 2 + next_random(&x) % (n - 8);
			ASSERT_EQ(0, madvise(page_addr(r, first), 8 * psize(),
					     MADV_DONTNEED));
			break;
		case 1:
			if (!fork())
				_exit(!!count_wrong(r, next_random(&x) % (r->nr / 2), 1));
			break;
		case 2:
			madvise(r->addr, r->nr * psize(), MADV_WILLNEED);
			break;
		case 3:
			madvise(page_addr(r, next_random(&x) % r->nr & ~7UL), 8 * psize(),
				MADV_COLD);
			break;
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	atomic_store(&race.stop, 1);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	while (waitpid(-1, NULL, 0) > 0)
		;
	EXPECT_EQ(0, atomic_load(&race.wrong));
	EXPECT_DATA(r, 0, r->nr / 2);
	read_pmd_stat(&now);
	EXPECT_LT(0, now.out - was.out);
	EXPECT_LT(0, now.in - was.in);
	unmap_region(r);
}

/*
 * zswap: parts of a range in different places, and a page that is bad
 */
FIXTURE(parts)
{
	struct env env;
};

FIXTURE_SETUP(parts)
{
	setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(parts)
{
	teardown(_metadata, &self->env);
}

/* Zero pages and pages in zswap come back as one, since both are in memory. */
VSWAP_TEST(parts, zero_and_zswap)
{
	struct region *r = huge_region(_metadata, 1, MIXED);
	struct pmd_stat was;
	size_t i;

	if (!r)
		return;
	/* a large folio is all zero, or goes to zswap: base pages have to be in PTEs */
	for (i = 0; i < r->nr; i += 2)
		fill(r, i, 1, ZEROED);
	mark_counters(&self->env);
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	read_pmd_stat(&was);
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_PMD(&was, .in = 1, .major = 1);
	EXPECT_TRUE(is_in_by_pmds(r));
	unmap_region(r);
}

/* One page has been written to a device: the range is not in one place any more. */
VSWAP_TEST(parts, written_back)
{
	size_t i, on_device = 0;
	struct pmd_stat was;
	struct region *r;

	if (!need_device(_metadata, &self->env))
		return;
	r = huge_region(_metadata, 1, MIXED);
	if (!r)
		return;
	ASSERT_EQ(0, swapon(self->env.dev, 0));
	mark_counters(&self->env);
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	mark_counters(&self->env);
	/* each of them is looked at once before one is written */
	for (i = 0; i < 20; i++)
		write_back(_metadata, &self->env, 1);
	EXPECT_EQ(1, read_key("/proc/vmstat", "zswpwb") - self->env.last[ZSWPWB]);
	empty_swap_cache(_metadata);
	EXPECT_TRUE(is_out_by_pmds(r));
	read_pmd_stat(&was);
	for (i = 0; i < r->nr; i++)
		on_device += count_wrong(r, i, 1);
	EXPECT_EQ(0, on_device);
	EXPECT_EQ(1, read_key("/proc/vmstat", "thp_swpin_pmd_fallback") - was.fallback);
	EXPECT_EQ(0, read_key("/proc/vmstat", "thp_swpin_pmd") - was.in);
	unmap_region(r);
}

static int fail_decompress(const char *interval, const char *times)
{
	if (write_str(FAIL_FUNCTION "inject", "zswap_decompress") ||
	    write_str(FAIL_FUNCTION "zswap_decompress/retval", "0xfffffffffffffffb") ||
	    write_str(FAIL_FUNCTION "verbose", "0") ||
	    write_str(FAIL_FUNCTION "interval", interval) ||
	    write_str(FAIL_FUNCTION "times", times) ||
	    write_str(FAIL_FUNCTION "probability", "100"))
		return -1;
	return 0;
}

static void succeed_decompress(void)
{
	write_str(FAIL_FUNCTION "probability", "0");
	write_str(FAIL_FUNCTION "inject", "");
}

/* In a child: 0 if the page comes and is right, or the signal that came instead */
static int touch_in_child(const struct region *r, size_t nr)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGBUS, SIG_DFL);
		_exit(!!count_wrong(r, nr, 1));
	}
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

/* A page that cannot be decompressed is lost, and no other one. */
VSWAP_TEST(parts, bad_page)
{
	struct pmd_stat was;
	struct region *r;
	size_t i;

	if (!need(_metadata, !access(FAIL_FUNCTION "inject", F_OK),
		  "CONFIG_FAIL_FUNCTION"))
		return;
	r = huge_region(_metadata, 1, MIXED);
	if (!r)
		return;
	HUGE_OUT(r);
	empty_swap_cache(_metadata);
	read_pmd_stat(&was);
	/* one of the first pages, which all are read for the fault on the last one */
	ASSERT_EQ(0, fail_decompress("10", "1"));
	EXPECT_DATA(r, r->nr - 1, 1);
	succeed_decompress();
	EXPECT_EQ(1, read_key("/proc/vmstat", "thp_swpin_pmd_fallback") - was.fallback);
	EXPECT_DATA(r, 0, r->nr);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, touch_in_child(r, i));
	unmap_region(r);
}

static pid_t main_pid;

static void at_exit(void)
{
	if (getpid() != main_pid)
		return;
	remove_cgroups();
	restore_settings();
}

int main(int argc, char **argv)
{
	main_pid = getpid();
	read_config();
	if (!geteuid()) {
		find_cgroup2();
		save_settings();
		atexit(at_exit);
	}
	return test_harness_run(argc, argv);
}
