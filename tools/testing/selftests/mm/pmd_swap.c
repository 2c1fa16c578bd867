// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is mapped by a PMD goes out as one PMD swap entry, and comes back as one
 * folio that is mapped by one PMD.
 *
 * Every page has contents of its own, and is compared byte for byte, in every
 * process that has it. What has been done is told by counters, as exact
 * differences, and by PAGEMAP_SCAN: a PMD swap entry is huge and swapped, and what
 * is left of one that was split is only swapped.
 *
 * The environment names block devices with swap headers, which are overwritten:
 * VSWAP_TEST_DEV is one that needs no waiting (brd), and VSWAP_TEST_DISK one whose
 * I/O takes time.
 *
 * A huge page may not be to be had at once: the tests try again, and then fail.
 */
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <asm-generic/mman.h>	/* MADV_COLLAPSE, MADV_GUARD_INSTALL */
#include <linux/elf.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>

#include "vswap_test.h"

#define TRIES		20
#define RACE_MS		3000
#define CORE		"/dev/shm/pmd_swap.core."	/* and the process ID */
#define SPLIT_HUGE	"/sys/kernel/debug/split_huge_pages"
#define SHRINKER_DEBUG	"/sys/kernel/debug/shrinker"

static size_t huge;		/* pages that a PMD maps */

static long kb(size_t nr)
{
	return nr * (psize() >> 10);
}

/*
 * Counters of PMD swap entries, and of folios of their size
 */
struct counts {
	/* /proc/vmstat */
	long out, in, fallback, split, out_fallback;
	/* of the size */
	long zswpout, zswpin, zswpin_fallback, swpout, swpin, swpin_fallback, charge;
};

static void read_counts(struct counts *c)
{
	static char vmstat[64 << 10];
	int order = pmd_order();

	if (read_str("/proc/vmstat", vmstat, sizeof(vmstat)) < 0)
		vmstat[0] = '\0';
	c->out = find_key(vmstat, "thp_swpout_pmd");
	c->in = find_key(vmstat, "thp_swpin_pmd");
	c->fallback = find_key(vmstat, "thp_swpin_pmd_fallback");
	c->split = find_key(vmstat, "thp_split_pmd");
	c->out_fallback = find_key(vmstat, "thp_swpout_fallback");
	c->zswpout = mthp_stat(order, "zswpout");
	c->zswpin = mthp_stat(order, "zswpin");
	c->zswpin_fallback = mthp_stat(order, "zswpin_fallback");
	c->swpout = mthp_stat(order, "swpout");
	c->swpin = mthp_stat(order, "swpin");
	c->swpin_fallback = mthp_stat(order, "swpin_fallback");
	c->charge = mthp_stat(order, "swpin_fallback_charge");
}

static const char * const count_names[] = {
	"thp_swpout_pmd", "thp_swpin_pmd", "thp_swpin_pmd_fallback", "thp_split_pmd",
	"thp_swpout_fallback", "zswpout", "zswpin", "zswpin_fallback", "swpout",
	"swpin", "swpin_fallback", "swpin_fallback_charge",
};

static_assert(sizeof(struct counts) == ARRAY_SIZE(count_names) * sizeof(long),
	      "each counter has a name");

static void expect_counts(struct __test_metadata *_metadata, int line,
			  struct counts *was, struct counts want)
{
	long wanted[ARRAY_SIZE(count_names)], before[ARRAY_SIZE(count_names)];
	long after[ARRAY_SIZE(count_names)];
	struct counts now;
	size_t i;

	read_counts(&now);
	memcpy(wanted, &want, sizeof(wanted));
	memcpy(before, was, sizeof(before));
	memcpy(after, &now, sizeof(after));
	for (i = 0; i < ARRAY_SIZE(count_names); i++) {
		EXPECT_EQ(wanted[i], after[i] - before[i]) {
			TH_LOG("line %d: %s", line, count_names[i]);
		}
	}
	*was = now;
}

/* By how much they have moved, as ".name = number". The others stand still. */
#define EXPECT_HUGE(was, ...)						\
	expect_counts(_metadata, __LINE__, was, (struct counts) { __VA_ARGS__ })

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

static long major_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_majflt;
}

static long status_kb(const char *key)
{
	return read_key("/proc/self/status", key);
}

/* The sum of a key over the mappings of the region, by /proc/self/smaps */
static long smaps_kb(const struct region *r, const char *key)
{
	unsigned long from = (unsigned long)r->map, to = from + r->map_len, start, end;
	size_t len = strlen(key);
	bool inside = false;
	char line[1024];
	long sum = 0;
	FILE *smaps;

	smaps = fopen("/proc/self/smaps", "r");
	if (!smaps)
		return -1;
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start >= from && end <= to;
		else if (inside && !strncmp(line, key, len) && line[len] == ':')
			sum += strtol(line + len + 1, NULL, 10);
	}
	fclose(smaps);
	return sum;
}

/* How many pages are of all these categories? */
static size_t count_scan(const struct region *r, size_t first, size_t nr,
			 uint64_t categories)
{
	struct page_region found[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)page_addr(r, first),
		.end = (uintptr_t)page_addr(r, first + nr),
		.vec = (uintptr_t)found,
		.vec_len = ARRAY_SIZE(found),
		.category_mask = categories,
		.return_mask = categories,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY), ret, i;
	size_t pages = 0;

	while (arg.start < arg.end) {
		ret = ioctl(fd, PAGEMAP_SCAN, &arg);
		if (ret < 0 || arg.walk_end <= arg.start) {
			ksft_print_msg("PAGEMAP_SCAN: %d\n", ret < 0 ? errno : 0);
			break;
		}
		for (i = 0; i < ret; i++)
			pages += (found[i].end - found[i].start) / psize();
		arg.start = arg.walk_end;
	}
	close(fd);
	return pages;
}

/* Pages that PMD swap entries stand for */
static size_t in_entries(const struct region *r, size_t first, size_t nr)
{
	return count_scan(r, first, nr, PAGE_IS_HUGE | PAGE_IS_SWAPPED);
}

/* Pages that are mapped by PMDs */
static size_t in_pmds(const struct region *r, size_t first, size_t nr)
{
	return count_scan(r, first, nr, PAGE_IS_HUGE | PAGE_IS_PRESENT);
}

/* Of @nr pages, how many are in slots that follow each other, huge page by huge page? */
static size_t in_order(const struct region *r, size_t first, size_t nr)
{
	size_t i, right = 0;
	uint64_t head, entry;

	for (i = first; i < first + nr; i++) {
		head = pagemap_of(page_addr(r, i / huge * huge));
		entry = pagemap_of(page_addr(r, i));
		right += (head & entry & PM_SWAP) &&
			 swap_type(head) == swap_type(entry) &&
			 swap_offset(head) % huge == 0 &&
			 swap_offset(entry) == swap_offset(head) + i % huge;
	}
	return right;
}

/* How many of the pages have this bit in pagemap? */
static size_t count_bit(const struct region *r, size_t first, size_t nr, uint64_t bit)
{
	size_t i, found = 0;

	for (i = first; i < first + nr; i++)
		found += !!(pagemap_of(page_addr(r, i)) & bit);
	return found;
}

static void touch(const struct region *r, size_t nr)
{
	FORCE_READ(*page_addr(r, nr));
}

/* All kinds of data that a swap-out may meet */
enum kind_content { ALL_MIXED, ALL_ZERO, THIRD_ZERO };

struct kind {
	const char *compressor;
	const char *device;	/* variable that names it */
	enum kind_content content;
	bool zswap_off;		/* slots are those of the device */
};

static void fill_kind(struct region *r, size_t first, size_t nr, enum kind_content kind)
{
	size_t i;

	for (i = first; i < first + nr; i++)
		fill(r, i, 1, kind == ALL_ZERO || (kind == THIRD_ZERO && i % 3 == 0) ?
			      ZEROED : MIXED);
}

/* Address space for @nr huge pages */
static struct region *huge_region(struct __test_metadata *_metadata, size_t nr)
{
	struct region *r = map_region(_metadata, nr * huge, huge, -1);

	ASSERT_EQ(0, madvise(r->addr, nr * huge * psize(), MADV_HUGEPAGE));
	return r;
}

/* Get huge pages for all of it. */
static void populate(struct __test_metadata *_metadata, const struct region *r,
		     size_t first, size_t nr)
{
	size_t i;
	int tries;

	for (tries = 0; tries < TRIES; tries++) {
		for (i = first; i < first + nr; i += huge)
			*page_addr(r, i) = 1;
		if (in_pmds(r, first, nr) == nr)
			break;
		ASSERT_EQ(0, madvise(page_addr(r, first), nr * psize(), MADV_DONTNEED));
		write_str("/proc/sys/vm/drop_caches", "3");
		write_str("/proc/sys/vm/compact_memory", "1");
		sleep_ms(50);
	}
	ASSERT_EQ(nr, in_pmds(r, first, nr)) {
		TH_LOG("no huge pages to be had");
	}
}

static struct region *filled_region(struct __test_metadata *_metadata, size_t nr,
				    enum kind_content kind)
{
	struct region *r = huge_region(_metadata, nr);

	populate(_metadata, r, 0, nr * huge);
	fill_kind(r, 0, nr * huge, kind);
	EXPECT_EQ(nr * huge, in_pmds(r, 0, nr * huge));
	return r;
}

/* Page out, and see that PMD swap entries are left. */
static void out_whole(struct __test_metadata *_metadata, int line,
		      const struct region *r, size_t first, size_t nr)
{
	int tries;

	/* A folio may be in the hands of somebody for a moment. */
	for (tries = 0; tries < TRIES; tries++) {
		ASSERT_EQ(0, pageout(r, first, nr));
		if (!count_present(r, first, nr))
			break;
		sleep_ms(20);
	}
	EXPECT_EQ(nr, in_order(r, first, nr)) {
		TH_LOG("line %d: slots", line);
	}
	ASSERT_EQ(nr, in_entries(r, first, nr)) {
		TH_LOG("line %d: pages in PMD swap entries", line);
	}
}

#define OUT(r, first, nr) out_whole(_metadata, __LINE__, r, first, nr)

/* The same region with new contents and mapped by PMDs */
static void again(struct __test_metadata *_metadata, struct region *r,
		  enum kind_content kind)
{
	ASSERT_EQ(0, madvise(r->addr, r->nr * psize(), MADV_DONTNEED));
	populate(_metadata, r, 0, r->nr);
	fill_kind(r, 0, r->nr, kind);
}

static void mark(struct env *env, struct counts *was)
{
	mark_counters(env);
	read_counts(was);
}

static void pmd_setup(struct __test_metadata *_metadata, struct env *env)
{
	bool have = read_key("/proc/vmstat", "thp_swpout_pmd") >= 0 &&
		    read_key("/proc/vmstat", "thp_swpin_pmd") >= 0 &&
		    read_key("/proc/vmstat", "thp_swpin_pmd_fallback") >= 0;

	/* It is there wherever it could be. */
	if (!have && config_off("CONFIG_ARCH_HAS_PMD_SOFTLEAVES"))
		SKIP(return, "no CONFIG_ARCH_HAS_PMD_SOFTLEAVES in this kernel");
	if (!need(_metadata, have, "CONFIG_THP_SWAP"))
		return;
	setup(_metadata, env);
	if (_metadata->exit_code == KSFT_SKIP)
		return;
	huge = 1UL << pmd_order();
	ASSERT_LT(1UL, huge);
	ASSERT_EQ(0, write_str(ZSWAP "max_pool_percent", "50"));
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "0"));
	ASSERT_EQ(0, set_mthp(pmd_order(), "enabled", "madvise"));
}

/* Put swap space where the test wants it. */
static bool use_kind(struct __test_metadata *_metadata, struct env *env,
		     const struct kind *kind)
{
	if (kind->compressor)
		ASSERT_EQ(0, write_str(ZSWAP "compressor", kind->compressor));
	if (!kind->device)
		return true;
	env->dev = getenv(kind->device);
	if (!env->dev)
		SKIP(return false, "%s names no device", kind->device);
	ASSERT_EQ(0, kind->zswap_off ? write_str(ZSWAP "enabled", "0") :
				       cg_write("main", "memory.zswap.max", "0"));
	ASSERT_EQ(0, swapon(env->dev, 0));
	return true;
}

/* @nr huge pages have gone out. */
static void expect_out(struct __test_metadata *_metadata, int line, struct env *env,
		       struct counts *was, const struct kind *kind, long nr)
{
	struct counts want = { .out = nr };
	long n = nr * huge, moved[NR_COUNTERS] = {};

	if (kind->device) {
		want.swpout = nr;
		moved[PSWPOUT] = n;
		moved[THP_SWPOUT] = nr;
		if (!kind->zswap_off) {
			moved[USED] = n;
			moved[PHYSICAL] = n;
		}
	} else if (kind->content == ALL_ZERO) {
		moved[SWPOUT_ZERO] = n;
		moved[USED] = n;
		moved[ZERO] = n;
	} else {
		want.zswpout = nr;
		moved[ZSWPOUT] = n;
		moved[USED] = n;
		moved[ZSWAPPED] = n;
	}
	expect_counts(_metadata, line, was, want);
	expect_counters(_metadata, line, env, moved);
}

#define EXPECT_OUT(kind, nr) \
	expect_out(_metadata, __LINE__, &self->env, &self->was, kind, nr)

/*
 * @nr huge pages have been read, and what has become of their slots: as long as
 * nobody has mapped the folio, zswap keeps its copy; if others refer to the slots,
 * the swap cache is all they have.
 */
enum then { READ_AHEAD, SHARED, FREED };

static void expect_read(struct __test_metadata *_metadata, int line, struct env *env,
			struct counts *was, const struct kind *kind, long nr,
			enum then then, struct counts more)
{
	long n = nr * huge, moved[NR_COUNTERS] = {};

	if (kind->device) {
		more.swpin += nr;
		moved[PSWPIN] = n;
		if (!kind->zswap_off && then == FREED) {
			moved[USED] = -n;
			moved[PHYSICAL] = -n;
		}
	} else if (kind->content == ALL_ZERO) {
		moved[SWPIN_ZERO] = n;
		if (then == FREED) {
			moved[USED] = -n;
			moved[ZERO] = -n;
		}
	} else {
		more.zswpin += nr;
		moved[ZSWPIN] = n;
		if (then != READ_AHEAD)
			moved[ZSWAPPED] = -n;
		if (then == SHARED)
			moved[CACHED] = n;
		if (then == FREED)
			moved[USED] = -n;
	}
	expect_counts(_metadata, line, was, more);
	expect_counters(_metadata, line, env, moved);
}

#define EXPECT_READ(kind, nr, then, ...)				\
	expect_read(_metadata, __LINE__, &self->env, &self->was, kind, nr, then, \
		    (struct counts) { __VA_ARGS__ })

/*
 * store: whatever it is, and wherever it goes
 */
FIXTURE(store)
{
	struct env env;
	struct counts was;
};

FIXTURE_VARIANT(store)
{
	struct kind kind;
};

FIXTURE_VARIANT_ADD(store, lzo) {
	.kind = { .compressor = "lzo" },
};

FIXTURE_VARIANT_ADD(store, lz4) {
	.kind = { .compressor = "lz4" },
};

FIXTURE_VARIANT_ADD(store, zstd) {
	.kind = { .compressor = "zstd" },
};

FIXTURE_VARIANT_ADD(store, zero) {
	.kind = { .content = ALL_ZERO },
};

FIXTURE_VARIANT_ADD(store, third_zero) {
	.kind = { .content = THIRD_ZERO },
};

FIXTURE_VARIANT_ADD(store, fast) {
	.kind = { .device = "VSWAP_TEST_DEV", .zswap_off = true },
};

FIXTURE_VARIANT_ADD(store, fast_virtual) {
	.kind = { .device = "VSWAP_TEST_DEV" },
};

FIXTURE_VARIANT_ADD(store, disk) {
	.kind = { .device = "VSWAP_TEST_DISK", .zswap_off = true },
};

FIXTURE_SETUP(store)
{
	pmd_setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(store)
{
	teardown(_metadata, &self->env);
}

/* Out as one entry each, and back by one fault each */
static void round_trip(struct __test_metadata *_metadata, struct env *env,
		       struct counts *was, const struct kind *kind, bool write)
{
	long swap, tables, before;
	size_t k = 4, nr = k * huge, i, page;
	struct region *r;

	if (!use_kind(_metadata, env, kind))
		return;
	r = filled_region(_metadata, k, kind->content);
	EXPECT_TRUE(check_huge_anon(r->addr, nr * psize(), k, huge * psize()));
	swap = status_kb("VmSwap");
	tables = status_kb("VmPTE");
	mark(env, was);
	OUT(r, 0, nr);
	expect_out(_metadata, __LINE__, env, was, kind, k);
	EXPECT_EQ(kb(nr), status_kb("VmSwap") - swap);
	EXPECT_EQ(kb(nr), smaps_kb(r, "Swap"));
	EXPECT_EQ(kb(nr), smaps_kb(r, "SwapPss"));
	EXPECT_EQ(0, smaps_kb(r, "Rss"));
	EXPECT_EQ(tables, status_kb("VmPTE"));
	if (kind->device)
		empty_swap_cache(_metadata);
	EXPECT_EQ(0, resident(r, 0, nr));
	mark(env, was);

	for (i = 0; i < k; i++) {
		page = i * huge + (i * 171 + 5) % huge;
		before = faults();
		if (write)
			fill(r, page, 1, POOR);
		else
			touch(r, page);
		EXPECT_EQ(1, faults() - before);
		EXPECT_EQ((i + 1) * huge, in_pmds(r, 0, nr));
	}
	expect_read(_metadata, __LINE__, env, was, kind, k, FREED,
		    (struct counts) { .in = k });
	EXPECT_TRUE(check_huge_anon(r->addr, nr * psize(), k, huge * psize()));
	EXPECT_EQ(swap, status_kb("VmSwap"));
	EXPECT_EQ(0, smaps_kb(r, "Swap"));
	EXPECT_EQ(tables, status_kb("VmPTE"));
	before = faults();
	EXPECT_DATA(r, 0, nr);
	/* nobody shares it: it is written to without a copy, or a fault */
	fill_kind(r, 0, nr, kind->content);
	EXPECT_EQ(before, faults());
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	EXPECT_HUGE(was);

	/* and once more */
	OUT(r, 0, nr);
	expect_out(_metadata, __LINE__, env, was, kind, k);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	unmap_region(r);
}

VSWAP_TEST(store, read)
{
	round_trip(_metadata, &self->env, &self->was, &variant->kind, false);
}

VSWAP_TEST(store, write)
{
	round_trip(_metadata, &self->env, &self->was, &variant->kind, true);
}

/* A child gets the entries, too. Both write. */
VSWAP_TEST(store, fork)
{
	size_t k = 2, nr = k * huge;
	struct gate gate[2];
	struct region *r;
	pid_t pid;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	r = filled_region(_metadata, k, variant->kind.content);
	OUT(r, 0, nr);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, gate_make(&gate[0]));
	ASSERT_EQ(0, gate_make(&gate[1]));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(gate[1].fd[0]);
		EXPECT_EQ(nr, in_entries(r, 0, nr));
		EXPECT_EQ(kb(nr), status_kb("VmSwap"));
		gate_wait(&gate[0]);
		EXPECT_DATA(r, 0, nr);
		EXPECT_EQ(nr, in_pmds(r, 0, nr));
		/* what the other one has stays as it is */
		fill(r, 7, 1, POOR);
		fill(r, huge, huge, POOR);
		EXPECT_DATA(r, 0, nr);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	/* shared by two, and still one entry each */
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	EXPECT_EQ(kb(nr), smaps_kb(r, "Swap"));
	EXPECT_EQ(kb(nr) / 2, smaps_kb(r, "SwapPss"));
	EXPECT_HUGE(&self->was);
	gate_open(&gate[0]);
	EXPECT_EXIT(pid);
	gate_open(&gate[1]);
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	/* the child has read both, and had to split its mappings to write */
	EXPECT_READ(&variant->kind, k, SHARED, .in = k, .split = k);
	EXPECT_EQ(nr, resident(r, 0, nr));
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	/* from the swap cache */
	EXPECT_HUGE(&self->was, .in = k);
	fill_kind(r, 0, nr, variant->kind.content);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/* Two processes have it mapped when it goes out. */
VSWAP_TEST(store, fork_before)
{
	size_t k = 2, nr = k * huge;
	struct gate gate;
	struct region *r;
	int tries;
	pid_t pid;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	r = filled_region(_metadata, k, variant->kind.content);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_EQ(nr, in_entries(r, 0, nr));
		EXPECT_DATA(r, 0, nr);
		fill(r, 3, huge, POOR);
		EXPECT_DATA(r, 0, nr);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	read_counts(&self->was);
	for (tries = 0; tries < TRIES && count_present(r, 0, nr); tries++) {
		cg_reclaim("main", "64M");
		sleep_ms(20);
	}
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	EXPECT_EQ(nr, in_order(r, 0, nr));
	EXPECT_HUGE(&self->was, .out = 2 * k, .swpout = variant->kind.device ? k : 0,
		    .zswpout = variant->kind.device ||
			       variant->kind.content == ALL_ZERO ? 0 : k);
	/* both at the same time */
	gate_open(&gate);
	EXPECT_DATA(r, 0, nr);
	fill(r, huge + 9, 20, POOR);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(2 * (long)k, read_key("/proc/vmstat", "thp_swpin_pmd") - self->was.in);
	EXPECT_EQ(0, read_key("/proc/vmstat", "thp_swpin_pmd_fallback") -
		     self->was.fallback);
	unmap_region(r);
}

/* Read into the swap cache in one go, and mapped from there by one fault */
VSWAP_TEST(store, willneed)
{
	struct region *r;
	long before, major;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	r = filled_region(_metadata, 2, variant->kind.content);
	OUT(r, 0, 2 * huge);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, madvise(r->addr, huge * psize(), MADV_WILLNEED));
	EXPECT_TRUE(WAIT_FOR(resident(r, 0, huge) == huge));
	EXPECT_EQ(0, resident(r, huge, huge));
	EXPECT_EQ(2 * huge, in_entries(r, 0, 2 * huge));
	sleep_ms(50);
	EXPECT_READ(&variant->kind, 1, READ_AHEAD);
	/* mincore() looks at each slot */
	EXPECT_EQ(3, resident(r, huge - 3, 20));
	EXPECT_EQ(5, resident(r, 10, 5));
	before = faults();
	major = major_faults();
	touch(r, 300);
	EXPECT_EQ(1, faults() - before);
	EXPECT_EQ(0, major_faults() - major);
	EXPECT_HUGE(&self->was, .in = 1);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	EXPECT_DATA(r, 0, 2 * huge);

	/* a second time it changes nothing, nor does it where memory is mapped */
	again(_metadata, r, variant->kind.content);
	OUT(r, 0, 2 * huge);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	ASSERT_EQ(0, madvise(r->addr, huge * psize(), MADV_WILLNEED));
	EXPECT_TRUE(WAIT_FOR(resident(r, 0, huge) == huge));
	sleep_ms(50);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, madvise(r->addr, huge * psize(), MADV_WILLNEED));
	EXPECT_COUNTERS();
	EXPECT_EQ(2 * huge, in_entries(r, 0, 2 * huge));
	/* and what is in the swap cache goes from there without being mapped */
	empty_swap_cache(_metadata);
	EXPECT_EQ(2 * huge, in_entries(r, 0, 2 * huge));
	EXPECT_EQ(0, resident(r, 0, 2 * huge));
	EXPECT_DATA(r, 0, 2 * huge);
	EXPECT_EQ(2 * huge, in_pmds(r, 0, 2 * huge));

	/* a part: these slots, and no others */
	again(_metadata, r, variant->kind.content);
	OUT(r, 0, 2 * huge);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	read_counts(&self->was);
	ASSERT_EQ(0, madvise(page_addr(r, huge + 8), 4 * psize(), MADV_WILLNEED));
	EXPECT_HUGE(&self->was, .split = 1);
	EXPECT_TRUE(WAIT_FOR(resident(r, huge + 8, 4) == 4));
	EXPECT_EQ(4, resident(r, 0, 2 * huge));
	EXPECT_DATA(r, 0, 2 * huge);
	unmap_region(r);
}

/* Who has not asked for huge pages gets the page that he asked for. */
VSWAP_TEST(store, sparse)
{
	size_t k = 8, nr = k * huge, i;
	struct region *r;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	r = filled_region(_metadata, k, variant->kind.content);
	ASSERT_EQ(0, set_mthp(pmd_order(), "enabled", "always"));
	/* he has asked for them when he wrote, but reads here and there now */
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_RANDOM));
	OUT(r, 0, nr);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	mark(&self->env, &self->was);
	for (i = 0; i < k; i += 2)
		touch(r, i * huge + 17 * i);
	EXPECT_HUGE(&self->was, .fallback = k / 2, .split = k / 2);
	EXPECT_EQ(k / 2, count_present(r, 0, nr));
	EXPECT_EQ(nr / 2, in_entries(r, 0, nr));
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(0, in_pmds(r, 0, nr));
	unmap_region(r);

	/* no advice: the first one is alone, the next ones have a neighbour */
	r = map_region(_metadata, nr, huge, -1);
	populate(_metadata, r, 0, nr);
	fill_kind(r, 0, nr, variant->kind.content);
	OUT(r, 0, nr);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	mark(&self->env, &self->was);
	touch(r, 0);
	touch(r, 4 * huge + 99);
	EXPECT_HUGE(&self->was, .fallback = 2, .split = 2);
	EXPECT_EQ(2, count_present(r, 0, nr));
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr - 2 * huge, in_pmds(r, 0, nr));
	EXPECT_EQ(self->was.in + (long)k - 2, read_key("/proc/vmstat", "thp_swpin_pmd"));
	EXPECT_EQ(self->was.fallback, read_key("/proc/vmstat", "thp_swpin_pmd_fallback"));
	unmap_region(r);
}

/* After MADV_FREE memory is what it was, or zero, and nothing else. */
static void expect_freed(struct __test_metadata *_metadata, struct region *r)
{
	size_t i, filled = 0, gone = 0;

	for (i = 0; i < r->nr; i++) {
		if (r->pages[i].content == ZEROED)
			continue;
		filled++;
		if (!*(uint64_t *)page_addr(r, i)) {
			forget(r, i, 1);
			gone++;
		}
	}
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_TRUE(!gone || gone == filled);
}

/*
 * What came back for one of two sharers is in the swap cache for the other one,
 * too. MADV_FREE of the one leaves the other its data.
 */
VSWAP_TEST(store, free_shared)
{
	struct region *r;
	struct gate gate;
	pid_t pid;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	r = filled_region(_metadata, 1, variant->kind.content);
	OUT(r, 0, huge);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, huge);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	EXPECT_DATA(r, 0, huge);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	ASSERT_EQ(0, madvise(r->addr, huge * psize(), MADV_FREE));
	ASSERT_EQ(0, pageout(r, 0, huge));
	empty_swap_cache(_metadata);
	expect_freed(_metadata, r);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	unmap_region(r);
}

/* What has been written since it came back is not taken for what is in its slots. */
VSWAP_TEST(store, free_written)
{
	struct region *r;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	r = filled_region(_metadata, 1, variant->kind.content);
	OUT(r, 0, huge);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	EXPECT_DATA(r, 0, huge);
	fill(r, 0, huge, MIXED);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	ASSERT_EQ(0, madvise(r->addr, huge * psize(), MADV_FREE));
	ASSERT_EQ(0, pageout(r, 0, huge));
	empty_swap_cache(_metadata);
	expect_freed(_metadata, r);
	unmap_region(r);
}

/* Another process has single slots in its page table, half of them read. */
VSWAP_TEST(store, single_slots)
{
	struct gate ready, gate;
	struct region *r;
	pid_t pid;
	char c;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	r = filled_region(_metadata, 1, variant->kind.content);
	OUT(r, 0, huge);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	ASSERT_EQ(0, gate_make(&ready));
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* base pages in the swap cache, of the first half only */
		ASSERT_EQ(0, madvise(r->addr, huge * psize(), MADV_NOHUGEPAGE));
		EXPECT_DATA(r, 0, huge / 2);
		EXPECT_EQ(0, in_entries(r, 0, huge));
		EXPECT_EQ(0, count_large(r, 0, huge / 2));
		close(ready.fd[1]);
		gate_wait(&gate);
		EXPECT_DATA(r, 0, huge);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	close(ready.fd[1]);
	EXPECT_EQ(0, read(ready.fd[0], &c, 1));
	close(ready.fd[0]);
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	EXPECT_EQ(huge / 2, resident(r, 0, huge));
	read_counts(&self->was);
	touch(r, huge - 1);
	EXPECT_HUGE(&self->was, .fallback = 1, .split = 1);
	EXPECT_EQ(1, count_present(r, 0, huge));
	EXPECT_EQ(0, in_pmds(r, 0, huge));
	EXPECT_DATA(r, 0, huge);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	fill(r, 0, huge, MIXED);
	EXPECT_DATA(r, 0, huge);
	unmap_region(r);
}

/* How many of the pages are missing in a core file, or wrong? */
static size_t wrong_in_core(int fd, const struct region *r, size_t first, size_t nr)
{
	size_t i, wrong = 0, addr, from, len = psize();
	struct elf64_hdr head;
	struct elf64_phdr seg;
	char *page;
	int n;

	page = aligned_alloc(len, len);
	if (!page || pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) ||
	    head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_type != ET_CORE ||
	    head.e_phentsize != sizeof(seg))
		return nr;
	for (i = first; i < first + nr && wrong < 4; i++) {
		addr = (size_t)page_addr(r, i);
		for (n = 0; n < head.e_phnum; n++) {
			from = head.e_phoff + n * sizeof(seg);
			if (pread(fd, &seg, sizeof(seg), from) != sizeof(seg))
				return nr;
			if (seg.p_type == PT_LOAD && addr >= seg.p_vaddr &&
			    addr + len <= seg.p_vaddr + seg.p_filesz)
				break;
		}
		from = seg.p_offset + addr - seg.p_vaddr;
		wrong += n == head.e_phnum ||
			 pread(fd, page, len, from) != (ssize_t)len ||
			 !page_right(r, i, page);
	}
	free(page);
	return wrong;
}

/* Who dies has in his core file what was out, and it was read from there. */
VSWAP_TEST(store, core_dump)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	size_t k = 2, nr = k * huge;
	struct region *r;
	int status, fd;
	char path[64];
	pid_t pid;

	if (!need(_metadata, !access(CORE_PATTERN, F_OK) && !config_off("CONFIG_ELF_CORE"),
		  "CONFIG_ELF_CORE") ||
	    !use_kind(_metadata, &self->env, &variant->kind))
		return;
	ASSERT_EQ(0, write_str(CORE_PATTERN, CORE "%p"));
	r = filled_region(_metadata, k, variant->kind.content);
	OUT(r, 0, nr);
	if (variant->kind.device)
		empty_swap_cache(_metadata);
	mark(&self->env, &self->was);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* private anonymous memory only */
		write_str("/proc/self/coredump_filter", "1");
		setrlimit(RLIMIT_CORE, &unlimited);
		signal(SIGQUIT, SIG_DFL);
		if (in_entries(r, 0, nr) == nr)
			raise(SIGQUIT);
		_exit(1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT &&
		    WCOREDUMP(status)) {
		TH_LOG("status %#x", status);
	}
	/* read as a whole, and once */
	EXPECT_READ(&variant->kind, k, SHARED, .in = k);
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	snprintf(path, sizeof(path), CORE "%d", pid);
	fd = open(path, O_RDONLY);
	unlink(path);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, wrong_in_core(fd, r, 0, nr));
	close(fd);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/*
 * range: what is done to a range that is out
 */
FIXTURE(range)
{
	struct env env;
	struct counts was;
};

FIXTURE_VARIANT(range)
{
	struct kind kind;
};

FIXTURE_VARIANT_ADD(range, lzo) {
	.kind = { .compressor = "lzo" },
};

FIXTURE_VARIANT_ADD(range, zero) {
	.kind = { .content = ALL_ZERO },
};

FIXTURE_VARIANT_ADD(range, fast_virtual) {
	.kind = { .device = "VSWAP_TEST_DEV" },
};

FIXTURE_VARIANT_ADD(range, disk) {
	.kind = { .device = "VSWAP_TEST_DISK", .zswap_off = true },
};

FIXTURE_SETUP(range)
{
	pmd_setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(range)
{
	teardown(_metadata, &self->env);
}

enum op {
	OP_MUNMAP, OP_DONTNEED, OP_FREE, OP_PROTECT, OP_MREMAP, OP_WILLNEED,
	OP_MLOCK, NR_OPS
};

static const char * const op_names[] = {
	"munmap", "MADV_DONTNEED", "MADV_FREE", "mprotect", "mremap", "MADV_WILLNEED",
	"mlock",
};

/* Are the contents gone then? */
static bool op_drops(enum op op)
{
	return op == OP_MUNMAP || op == OP_DONTNEED || op == OP_FREE;
}

/* @to is where the pages are afterwards: where they were, but for mremap(). */
static int do_op(enum op op, struct region *r, size_t first, size_t nr, char **to)
{
	char *addr = page_addr(r, first);
	size_t len = nr * psize();
	int err;

	*to = addr;
	switch (op) {
	case OP_MUNMAP:
		return munmap(addr, len);
	case OP_DONTNEED:
		return madvise(addr, len, MADV_DONTNEED);
	case OP_FREE:
		return madvise(addr, len, MADV_FREE);
	case OP_PROTECT:
		err = mprotect(addr, len, PROT_READ);
		return err ? err : mprotect(addr, len, PROT_READ | PROT_WRITE);
	case OP_MREMAP: {
		/* as far from the border of a huge page as it was */
		char *area = mmap(NULL, 3 * huge * psize(), PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		uintptr_t mask = huge * psize() - 1;

		if (area == MAP_FAILED)
			return -1;
		area = (char *)(((uintptr_t)area + mask) & ~mask) +
		       ((uintptr_t)addr & mask);
		*to = mremap(addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, area);
		return *to == area ? 0 : -1;
	}
	case OP_WILLNEED:
		return madvise(addr, len, MADV_WILLNEED);
	case OP_MLOCK:
		return mlock2(addr, len, MLOCK_ONFAULT);
	default:
		errno = EINVAL;
		return -1;
	}
}

static size_t count_wrong_at(const struct region *r, size_t first, size_t nr,
			     const char *addr)
{
	size_t i, wrong = 0;

	for (i = 0; i < nr; i++)
		wrong += !page_right(r, first + i, addr + i * psize());
	return wrong;
}

/* Part of an entry: it is split, once, and all other pages stay as they are. */
VSWAP_TEST(range, partial)
{
	static const struct { size_t first, nr; } parts[] = {
		{ 0, 1 }, { 100, 8 }, { 256, 256 }, { 511, 1 },
	};
	size_t nr = 2 * huge, i, first, pages;
	struct region *r;
	char *to;
	long swap;
	int op;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	for (op = 0; op < NR_OPS; op++) {
		/* each part twice or more, for one operation or another */
		for (i = op % 2; i < ARRAY_SIZE(parts); i += 2) {
			first = parts[i].first;
			pages = parts[i].nr;
			r = filled_region(_metadata, 2, variant->kind.content);
			swap = status_kb("VmSwap");
			OUT(r, 0, nr);
			if (variant->kind.device)
				empty_swap_cache(_metadata);
			mark(&self->env, &self->was);
			ASSERT_EQ(0, do_op(op, r, first, pages, &to)) {
				TH_LOG("%s", op_names[op]);
			}
			EXPECT_EQ(self->was.split + 1,
				  read_key("/proc/vmstat", "thp_split_pmd")) {
				TH_LOG("%s of %zu pages", op_names[op], pages);
			}
			EXPECT_EQ(0, in_entries(r, 0, huge));
			EXPECT_EQ(huge, in_entries(r, huge, huge));
			if (op_drops(op)) {
				EXPECT_EQ(kb(nr - pages), status_kb("VmSwap") - swap);
				if (!variant->kind.device || !variant->kind.zswap_off)
					EXPECT_EQ(-(long)pages,
						  used() - self->env.last[USED]);
				forget(r, first, pages);
			} else {
				EXPECT_EQ(kb(nr), status_kb("VmSwap") - swap);
				EXPECT_EQ(0, count_wrong_at(r, first, pages, to));
			}
			EXPECT_DATA(r, 0, first);
			EXPECT_DATA(r, first + pages, nr - first - pages);
			if (op != OP_MUNMAP && op != OP_MREMAP)
				EXPECT_DATA(r, first, pages);
			EXPECT_EQ(huge, in_pmds(r, huge, huge));
			/* the other one came whole */
			EXPECT_EQ(self->was.in + 1,
				  read_key("/proc/vmstat", "thp_swpin_pmd"));
			if (op == OP_MREMAP)
				munmap(to, pages * psize());
			unmap_region(r);
		}
	}
}

/* All of an entry: it stays one, or goes at once. */
VSWAP_TEST(range, full)
{
	size_t nr = 3 * huge;
	struct region *r;
	long swap, tables;
	char *to;
	int op;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	for (op = 0; op < NR_OPS; op++) {
		r = filled_region(_metadata, 3, variant->kind.content);
		swap = status_kb("VmSwap");
		tables = status_kb("VmPTE");
		OUT(r, 0, nr);
		if (variant->kind.device)
			empty_swap_cache(_metadata);
		mark(&self->env, &self->was);
		ASSERT_EQ(0, do_op(op, r, huge, huge, &to)) {
			TH_LOG("%s", op_names[op]);
		}
		EXPECT_EQ(self->was.split, read_key("/proc/vmstat", "thp_split_pmd")) {
			TH_LOG("%s", op_names[op]);
		}
		EXPECT_EQ(huge, in_entries(r, 0, huge));
		EXPECT_EQ(huge, in_entries(r, 2 * huge, huge));
		if (op_drops(op)) {
			EXPECT_EQ(kb(2 * huge), status_kb("VmSwap") - swap);
			EXPECT_EQ(tables - kb(1), status_kb("VmPTE")) {
				TH_LOG("%s", op_names[op]);
			}
			if (!variant->kind.device || !variant->kind.zswap_off)
				EXPECT_EQ(-(long)huge, used() - self->env.last[USED]);
			forget(r, huge, huge);
		} else {
			struct region moved = *r;

			moved.addr = to - huge * psize();
			EXPECT_EQ(kb(nr), status_kb("VmSwap") - swap);
			EXPECT_EQ(huge, in_entries(&moved, huge, huge)) {
				TH_LOG("%s", op_names[op]);
			}
			EXPECT_DATA(&moved, huge, huge);
			EXPECT_EQ(huge, in_pmds(&moved, huge, huge)) {
				TH_LOG("%s", op_names[op]);
			}
		}
		EXPECT_DATA(r, 0, huge);
		EXPECT_DATA(r, 2 * huge, huge);
		if (op != OP_MUNMAP && op != OP_MREMAP)
			EXPECT_DATA(r, huge, huge);
		EXPECT_EQ(self->was.fallback,
			  read_key("/proc/vmstat", "thp_swpin_pmd_fallback"));
		EXPECT_EQ(self->was.in + (op_drops(op) ? 2 : 3),
			  read_key("/proc/vmstat", "thp_swpin_pmd")) {
			TH_LOG("%s", op_names[op]);
		}
		if (op == OP_MREMAP)
			munmap(to, huge * psize());
		unmap_region(r);
	}
}

/*
 * entry: what happens to entries while they are there
 */
FIXTURE(entry)
{
	struct env env;
	struct counts was;
};

FIXTURE_SETUP(entry)
{
	pmd_setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(entry)
{
	teardown(_metadata, &self->env);
}

/* Slots in order, in one entry and in what is left of it */
VSWAP_TEST(entry, pagemap)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	uint64_t *before, *after;
	size_t nr = 2 * huge, i;

	before = calloc(nr, sizeof(*before));
	after = calloc(nr, sizeof(*after));
	ASSERT_NE(NULL, before);
	ASSERT_NE(NULL, after);
	OUT(r, 0, nr);
	for (i = 0; i < nr; i++)
		before[i] = pagemap_of(page_addr(r, i));
	mark(&self->env, &self->was);
	ASSERT_EQ(0, mprotect(page_addr(r, 5), psize(), PROT_READ));
	EXPECT_HUGE(&self->was, .split = 1);
	EXPECT_EQ(nr, in_order(r, 0, nr));
	for (i = 0; i < nr; i++)
		after[i] = pagemap_of(page_addr(r, i));
	EXPECT_EQ(0, memcmp(before, after, nr * sizeof(*before)));
	EXPECT_EQ(kb(nr), smaps_kb(r, "Swap"));
	EXPECT_EQ(nr, count_scan(r, 0, nr, PAGE_IS_SWAPPED));
	EXPECT_EQ(huge, in_entries(r, 0, nr));
	/* a part of an entry is huge, too, and looking at it does not split it */
	EXPECT_EQ(7, in_entries(r, huge + 3, 7));
	EXPECT_HUGE(&self->was);
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
	free(before);
	free(after);
}

/* Others have part of what an entry stands for: SwapPss goes by slots. */
VSWAP_TEST(entry, swap_pss)
{
	struct region *r = filled_region(_metadata, 1, ALL_MIXED);
	struct gate gate, ready;
	pid_t pid;
	char c;

	OUT(r, 0, huge);
	ASSERT_EQ(0, gate_make(&gate));
	ASSERT_EQ(0, gate_make(&ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		munmap(page_addr(r, huge / 2), huge / 2 * psize());
		EXPECT_EQ(0, in_entries(r, 0, huge / 2));
		EXPECT_EQ(kb(huge / 2), smaps_kb(r, "Swap"));
		EXPECT_EQ(kb(huge / 4), smaps_kb(r, "SwapPss"));
		close(ready.fd[1]);
		gate_wait(&gate);
		EXPECT_DATA(r, 0, huge / 2);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	close(ready.fd[1]);
	EXPECT_EQ(0, read(ready.fd[0], &c, 1));
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	EXPECT_EQ(kb(huge), smaps_kb(r, "Swap"));
	EXPECT_EQ(kb(huge / 2) + kb(huge / 4), smaps_kb(r, "SwapPss"));
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_EQ(kb(huge), smaps_kb(r, "SwapPss"));
	EXPECT_DATA(r, 0, huge);
	unmap_region(r);
}

/* So many children that the counts of slots need more room */
VSWAP_TEST(entry, many_forks)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	size_t nr = 2 * huge, i;
	struct gate gate;
	pid_t pid[80];

	OUT(r, 0, nr);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, gate_make(&gate));
	for (i = 0; i < ARRAY_SIZE(pid); i++) {
		pid[i] = fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			gate_wait(&gate);
			if (i % 16)
				_exit(in_entries(r, 0, nr) != nr);
			EXPECT_DATA(r, 0, nr);
			fill(r, i, 10, POOR);
			EXPECT_DATA(r, 0, nr);
			_exit(_metadata->exit_code != KSFT_PASS);
		}
	}
	EXPECT_HUGE(&self->was);
	EXPECT_COUNTERS();
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	gate_open(&gate);
	for (i = 0; i < ARRAY_SIZE(pid); i++)
		EXPECT_EXIT(pid[i]);
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	EXPECT_COUNTERS([ZSWPIN] = nr, [USED] = -nr, [ZSWAPPED] = -nr);
	unmap_region(r);
}

/*
 * One page does not compress, and there is no device: it stays in the swap cache,
 * alone. The entry is split by the first fault, and no page is lost.
 */
VSWAP_TEST(entry, incompressible)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	size_t nr = 2 * huge;

	fill(r, 9, 1, NOISE);
	mark(&self->env, &self->was);
	OUT(r, 0, nr);
	EXPECT_EQ(1, resident(r, 0, nr));
	EXPECT_EQ(1, resident(r, 9, 1));
	EXPECT_EQ(self->was.out + 2, read_key("/proc/vmstat", "thp_swpout_pmd"));
	EXPECT_COUNTERS([ZSWPOUT] = nr - 1, [USED] = nr, [ZSWAPPED] = nr - 1,
			[CACHED] = 1);
	read_counts(&self->was);
	touch(r, 100);
	EXPECT_HUGE(&self->was, .fallback = 1, .split = 1);
	touch(r, huge + 100);
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(huge, in_pmds(r, 0, nr));
	unmap_region(r);
}

/* Read-only memory comes back read-only, and writable if it has become so. */
VSWAP_TEST(entry, protect)
{
	struct region *r = filled_region(_metadata, 1, ALL_MIXED);
	size_t len = huge * psize();
	int status;
	pid_t pid;

	OUT(r, 0, huge);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, mprotect(r->addr, len, PROT_READ));
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	EXPECT_DATA(r, 0, huge);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		*page_addr(r, 9) = 1;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ASSERT_EQ(0, mprotect(r->addr, len, PROT_READ | PROT_WRITE));
	fill(r, 9, 1, POOR);
	EXPECT_DATA(r, 0, huge);
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);

	/* PROT_NONE keeps it out */
	OUT(r, 0, huge);
	ASSERT_EQ(0, mprotect(r->addr, len, PROT_NONE));
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	ASSERT_EQ(0, mprotect(r->addr, len, PROT_READ | PROT_WRITE));
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	EXPECT_DATA(r, 0, huge);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	unmap_region(r);
}

/* Out as they are, and back as they are: huge pages with and without the mark */
VSWAP_TEST(entry, soft_dirty)
{
	size_t nr = 3 * huge, len = huge * psize();
	struct region *r, moved;
	char *to;

	if (!need(_metadata, softdirty_supported(), "CONFIG_MEM_SOFT_DIRTY"))
		return;
	r = filled_region(_metadata, 3, ALL_MIXED);
	read_counts(&self->was);
	clear_softdirty();
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	fill(r, huge + 4, 1, POOR);
	EXPECT_HUGE(&self->was);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	EXPECT_EQ(0, count_bit(r, 0, huge, PM_SOFT_DIRTY));
	EXPECT_EQ(huge, count_bit(r, huge, huge, PM_SOFT_DIRTY));
	OUT(r, 0, nr);
	EXPECT_EQ(0, count_bit(r, 0, huge, PM_SOFT_DIRTY));
	EXPECT_EQ(huge, count_bit(r, huge, huge, PM_SOFT_DIRTY));
	EXPECT_EQ(0, count_bit(r, 2 * huge, huge, PM_SOFT_DIRTY));
	/* reading leaves no mark, and takes none */
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	EXPECT_EQ(0, count_bit(r, 0, huge, PM_SOFT_DIRTY));
	EXPECT_EQ(huge, count_bit(r, huge, huge, PM_SOFT_DIRTY));
	EXPECT_EQ(huge, count_scan(r, 0, nr, PAGE_IS_SOFT_DIRTY));

	/* it is cleared while they are out */
	OUT(r, 0, nr);
	clear_softdirty();
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	EXPECT_EQ(0, count_bit(r, 0, nr, PM_SOFT_DIRTY));
	touch(r, huge);
	EXPECT_EQ(0, count_bit(r, 0, nr, PM_SOFT_DIRTY));
	/* a write fault sets it */
	fill(r, 0, 1, POOR);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	EXPECT_EQ(huge, count_bit(r, 0, huge, PM_SOFT_DIRTY));
	EXPECT_EQ(0, count_bit(r, huge, 2 * huge, PM_SOFT_DIRTY));

	/* split: each page has what the whole had */
	fill(r, 0, huge, MIXED);
	EXPECT_DATA(r, 0, nr);
	OUT(r, 0, nr);
	read_counts(&self->was);
	ASSERT_EQ(0, mprotect(page_addr(r, 8), psize(), PROT_READ));
	ASSERT_EQ(0, mprotect(page_addr(r, huge + 8), psize(), PROT_READ));
	EXPECT_HUGE(&self->was, .split = 2);
	EXPECT_EQ(huge, count_bit(r, 0, huge, PM_SOFT_DIRTY));
	EXPECT_EQ(0, count_bit(r, huge, huge, PM_SOFT_DIRTY));
	EXPECT_DATA(r, 0, 2 * huge);

	/* mremap() marks what it moves, in an entry as anywhere */
	EXPECT_EQ(huge, in_entries(r, 2 * huge, huge));
	ASSERT_EQ(0, do_op(OP_MREMAP, r, 2 * huge, huge, &to));
	moved = *r;
	moved.addr = to - 2 * len;
	EXPECT_EQ(huge, in_entries(&moved, 2 * huge, huge));
	EXPECT_EQ(huge, count_bit(&moved, 2 * huge, huge, PM_SOFT_DIRTY));
	EXPECT_DATA(&moved, 2 * huge, huge);
	EXPECT_EQ(huge, in_pmds(&moved, 2 * huge, huge));
	EXPECT_EQ(huge, count_bit(&moved, 2 * huge, huge, PM_SOFT_DIRTY));
	munmap(to, len);
	unmap_region(r);
}

/*
 * userfaultfd
 */
static int uffd_open(struct __test_metadata *_metadata, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (!need(_metadata, fd >= 0, "CONFIG_USERFAULTFD"))
		return -1;
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	return fd;
}

static void uffd_add(struct __test_metadata *_metadata, int fd, const struct region *r,
		     size_t first, size_t nr, uint64_t mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)page_addr(r, first), nr * psize() },
		.mode = mode,
	};

	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
}

static int uffd_wp(int fd, const struct region *r, size_t first, size_t nr, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)page_addr(r, first), nr * psize() },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

/* Take faults, and allow what was asked for, page by page. */
struct server {
	int fd;
	const struct region *r;
	uint64_t flag;		/* that faults have to have */
	atomic_int faults, wrong;
	atomic_int stop;
};

static void *serve(void *arg)
{
	struct server *s = arg;
	struct uffdio_rwprotect rwp = {};
	struct uffd_msg msg;
	size_t page;

	while (!atomic_load(&s->stop)) {
		if (read(s->fd, &msg, sizeof(msg)) != sizeof(msg)) {
			sleep_ms(1);
			continue;
		}
		if (msg.event != UFFD_EVENT_PAGEFAULT ||
		    !(msg.arg.pagefault.flags & s->flag))
			atomic_fetch_add(&s->wrong, 1);
		atomic_fetch_add(&s->faults, 1);
		page = ((uintptr_t)msg.arg.pagefault.address - (uintptr_t)s->r->addr) /
		       psize();
		if (s->flag == UFFD_PAGEFAULT_FLAG_WP) {
			if (uffd_wp(s->fd, s->r, page, 1, false))
				atomic_fetch_add(&s->wrong, 1);
			continue;
		}
		rwp.range.start = (uintptr_t)page_addr(s->r, page);
		rwp.range.len = psize();
		if (ioctl(s->fd, UFFDIO_RWPROTECT, &rwp))
			atomic_fetch_add(&s->wrong, 1);
	}
	return NULL;
}

/* Write protection by the user is kept, set and cleared while memory is out. */
VSWAP_TEST(entry, uffd_wp)
{
	size_t nr = 4 * huge, pages;
	struct region *r;
	struct server s = { .flag = UFFD_PAGEFAULT_FLAG_WP };
	pthread_t thread;

	s.fd = uffd_open(_metadata, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	if (s.fd < 0)
		return;
	r = filled_region(_metadata, 4, ALL_MIXED);
	s.r = r;
	uffd_add(_metadata, s.fd, r, 0, nr, UFFDIO_REGISTER_MODE_WP);
	/* the first one before it goes out, the second one after */
	ASSERT_EQ(0, uffd_wp(s.fd, r, 0, huge, true));
	ASSERT_EQ(0, uffd_wp(s.fd, r, 3 * huge, huge, true));
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	OUT(r, 0, nr);
	EXPECT_EQ(huge, count_bit(r, 0, huge, PM_UFFD_WP));
	EXPECT_EQ(0, count_bit(r, huge, huge, PM_UFFD_WP));
	mark(&self->env, &self->was);
	ASSERT_EQ(0, uffd_wp(s.fd, r, huge, huge, true));
	ASSERT_EQ(0, uffd_wp(s.fd, r, 3 * huge, huge, false));
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	EXPECT_EQ(2 * huge, count_bit(r, 0, 2 * huge, PM_UFFD_WP));
	EXPECT_EQ(0, count_bit(r, 2 * huge, 2 * huge, PM_UFFD_WP));
	EXPECT_EQ(2 * huge, count_scan(r, 0, nr, PAGE_IS_WRITTEN));
	EXPECT_HUGE(&self->was);
	/* read, it is still protected */
	touch(r, 5);
	EXPECT_EQ(huge, count_bit(r, 0, huge, PM_UFFD_WP));
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(2 * huge, count_bit(r, 0, 2 * huge, PM_UFFD_WP));
	EXPECT_EQ(0, count_bit(r, 2 * huge, 2 * huge, PM_UFFD_WP));

	/* written, it is for the user to say */
	again(_metadata, r, ALL_MIXED);
	ASSERT_EQ(0, uffd_wp(s.fd, r, 0, huge, true));
	OUT(r, 0, nr);
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve, &s));
	fill(r, 2 * huge, 4, POOR);
	EXPECT_EQ(0, atomic_load(&s.faults));
	fill(r, 77, 3, POOR);
	EXPECT_EQ(3, atomic_load(&s.faults));
	EXPECT_EQ(huge - 3, count_bit(r, 0, huge, PM_UFFD_WP));
	atomic_store(&s.stop, 1);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, atomic_load(&s.wrong));
	EXPECT_DATA(r, 0, nr);

	/* a part: split, and only that part */
	again(_metadata, r, ALL_MIXED);
	ASSERT_EQ(0, uffd_wp(s.fd, r, huge, huge, true));
	OUT(r, 0, nr);
	read_counts(&self->was);
	for (pages = 1; pages < huge; pages *= 16)
		ASSERT_EQ(0, uffd_wp(s.fd, r, 0, pages, true));
	EXPECT_EQ(pages / 16, count_bit(r, 0, huge, PM_UFFD_WP));
	/* what splits for other reasons keeps all bits */
	ASSERT_EQ(0, madvise(page_addr(r, huge), psize(), MADV_DONTNEED));
	EXPECT_EQ(huge - 1, count_bit(r, huge + 1, huge - 1, PM_UFFD_WP));
	EXPECT_HUGE(&self->was, .split = 2);
	forget(r, huge, 1);
	EXPECT_DATA(r, 0, nr);
	close(s.fd);
	unmap_region(r);
}

/* Protection from reading, too */
VSWAP_TEST(entry, uffd_rwp)
{
	struct server s = { .flag = UFFD_PAGEFAULT_FLAG_RWP };
	struct uffdio_rwprotect rwp = { .mode = UFFDIO_RWPROTECT_MODE_RWP };
	struct region *r;
	pthread_t thread;

	s.fd = uffd_open(_metadata, UFFD_FEATURE_RWP);
	if (s.fd < 0)
		return;
	r = filled_region(_metadata, 2, ALL_MIXED);
	s.r = r;
	uffd_add(_metadata, s.fd, r, 0, 2 * huge, UFFDIO_REGISTER_MODE_RWP);
	rwp.range.start = (uintptr_t)r->addr;
	rwp.range.len = huge * psize();
	/* what is not out, and then what is */
	ASSERT_EQ(0, ioctl(s.fd, UFFDIO_RWPROTECT, &rwp));
	EXPECT_EQ(2 * huge, in_pmds(r, 0, 2 * huge));
	OUT(r, 0, 2 * huge);
	rwp.range.start = (uintptr_t)page_addr(r, huge);
	ASSERT_EQ(0, ioctl(s.fd, UFFDIO_RWPROTECT, &rwp));
	EXPECT_EQ(2 * huge, in_entries(r, 0, 2 * huge));
	EXPECT_EQ(2 * huge, count_bit(r, 0, 2 * huge, PM_UFFD_WP));
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve, &s));
	/* each page traps once, in whatever way it came back */
	EXPECT_DATA(r, 0, 3);
	EXPECT_EQ(3, atomic_load(&s.faults));
	fill(r, huge + 9, 2, POOR);
	EXPECT_EQ(5, atomic_load(&s.faults));
	EXPECT_EQ(huge - 3, count_bit(r, 0, huge, PM_UFFD_WP));
	EXPECT_DATA(r, 0, 2 * huge);
	EXPECT_EQ(2 * (int)huge, atomic_load(&s.faults));
	EXPECT_EQ(0, count_bit(r, 0, 2 * huge, PM_UFFD_WP));
	atomic_store(&s.stop, 1);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, atomic_load(&s.wrong));
	close(s.fd);
	unmap_region(r);
}

static int uffd_move(int fd, char *dst, char *src, size_t pages)
{
	struct uffdio_move move = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = pages * psize(),
	};
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (!ioctl(fd, UFFDIO_MOVE, &move))
			return 0;
		if (errno != EAGAIN)
			return -errno;
		if (move.move > 0) {
			move.dst += move.move;
			move.src += move.move;
			move.len -= move.move;
		}
	}
	return -EAGAIN;
}

/* Whole entries move whole, with or without their folio in the swap cache. */
VSWAP_TEST(entry, uffd_move)
{
	size_t k = 5, nr = k * huge, len = huge * psize();
	struct region *src, *dst, there;
	pid_t pid;
	int fd;

	fd = uffd_open(_metadata, UFFD_FEATURE_MOVE);
	if (fd < 0)
		return;
	src = filled_region(_metadata, k, ALL_MIXED);
	dst = huge_region(_metadata, k);
	uffd_add(_metadata, fd, dst, 0, nr, UFFDIO_REGISTER_MODE_MISSING);
	there = *src;
	there.addr = dst->addr;

	OUT(src, 0, nr);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, uffd_move(fd, dst->addr, src->addr, huge));
	EXPECT_EQ(huge, in_entries(dst, 0, huge));
	EXPECT_EQ(0, count_scan(src, 0, huge, PAGE_IS_SWAPPED));
	EXPECT_EQ(huge, in_order(dst, 0, huge));
	EXPECT_HUGE(&self->was);
	EXPECT_COUNTERS();
	/* what is in the swap cache */
	ASSERT_EQ(0, madvise(page_addr(src, huge), len, MADV_WILLNEED));
	EXPECT_EQ(huge, resident(src, huge, huge));
	mark(&self->env, &self->was);
	ASSERT_EQ(0, uffd_move(fd, page_addr(dst, huge), page_addr(src, huge), huge));
	EXPECT_EQ(huge, in_entries(dst, huge, huge));
	EXPECT_HUGE(&self->was);
	/* an entry is in the way of others */
	EXPECT_EQ(-EEXIST, uffd_move(fd, dst->addr, page_addr(src, 3 * huge), huge));
	EXPECT_EQ(huge, in_entries(src, 3 * huge, huge));
	EXPECT_HUGE(&self->was);
	EXPECT_DATA(&there, 0, 2 * huge);
	EXPECT_HUGE(&self->was, .in = 2, .zswpin = 1);
	EXPECT_EQ(2 * huge, in_pmds(dst, 0, 2 * huge));
	/* they can go out again, found where they are now */
	OUT(dst, 0, 2 * huge);
	EXPECT_DATA(&there, 0, 2 * huge);
	EXPECT_EQ(2 * huge, in_pmds(dst, 0, 2 * huge));

	/* a part splits what it is taken from */
	read_counts(&self->was);
	ASSERT_EQ(0, uffd_move(fd, page_addr(dst, 2 * huge), page_addr(src, 2 * huge),
			       5));
	EXPECT_HUGE(&self->was, .split = 1);
	EXPECT_EQ(5, count_swapped(dst, 2 * huge, huge));
	EXPECT_DATA(&there, 2 * huge, 5);
	EXPECT_DATA(src, 2 * huge + 5, huge - 5);

	/* a folio that was read in, and that nobody has used yet, is not in the way */
	ASSERT_EQ(0, madvise(page_addr(src, 4 * huge), len, MADV_WILLNEED));
	EXPECT_EQ(huge, resident(src, 4 * huge, huge));
	read_counts(&self->was);
	ASSERT_EQ(0, uffd_move(fd, page_addr(dst, 4 * huge), page_addr(src, 4 * huge),
			       5));
	EXPECT_HUGE(&self->was, .split = 1);
	EXPECT_EQ(5, count_swapped(dst, 4 * huge, huge));
	EXPECT_EQ(0, resident(dst, 4 * huge, 5));
	EXPECT_DATA(&there, 4 * huge, 5);
	EXPECT_DATA(src, 4 * huge + 5, huge - 5);

	/* what others have, too, does not move */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(!!count_wrong(src, 3 * huge, huge));
	EXPECT_EXIT(pid);
	EXPECT_EQ(-EBUSY, uffd_move(fd, page_addr(dst, 3 * huge),
				    page_addr(src, 3 * huge), huge));
	EXPECT_EQ(huge, in_entries(src, 3 * huge, huge));
	EXPECT_DATA(src, 3 * huge, huge);
	close(fd);
	unmap_region(src);
	unmap_region(dst);
}

/* Advice that is not for what is out */
VSWAP_TEST(entry, left_alone)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	size_t nr = 2 * huge;

	OUT(r, 0, nr);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_COLD));
	ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_PAGEOUT));
	ASSERT_EQ(0, madvise(page_addr(r, 3), psize(), MADV_COLD));
	ASSERT_EQ(0, madvise(page_addr(r, 3), 2 * psize(), MADV_PAGEOUT));
	ASSERT_EQ(0, write_str("/proc/self/clear_refs", "1"));
	read_key("/proc/self/numa_maps", "");
	/* MPOL_DEFAULT, MPOL_MF_MOVE: there is nothing to be moved */
	if (config_on("CONFIG_NUMA"))
		EXPECT_EQ(0, syscall(__NR_mbind, r->addr, nr * psize(), 0, NULL, 0, 2));
	if (config_on("CONFIG_KSM")) {
		ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_MERGEABLE));
		ASSERT_EQ(0, madvise(r->addr, nr * psize(), MADV_UNMERGEABLE));
	}
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	EXPECT_HUGE(&self->was);
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));

	/* mlock() brings them in, whole */
	OUT(r, 0, nr);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, mlock(r->addr, nr * psize()));
	EXPECT_HUGE(&self->was, .in = 2, .zswpin = 2);
	EXPECT_COUNTERS([ZSWPIN] = nr, [USED] = -nr, [ZSWAPPED] = -nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	cg_reclaim("main", "8M");
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/* The kernel reads and writes memory that is out, on behalf of the user. */
VSWAP_TEST(entry, gup)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	char *page;
	int fd[2];

	page = aligned_alloc(psize(), psize());
	ASSERT_NE(NULL, page);
	OUT(r, 0, 2 * huge);
	ASSERT_EQ(0, pipe(fd));
	read_counts(&self->was);
	ASSERT_EQ(psize(), write(fd[1], page_addr(r, 40), psize()));
	ASSERT_EQ(psize(), read(fd[0], page, psize()));
	EXPECT_TRUE(page_right(r, 40, page));
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	close(fd[0]);
	close(fd[1]);

	fd[0] = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, fd[0]);
	ASSERT_EQ(psize(), pread(fd[0], page, psize(), (uintptr_t)page_addr(r, huge + 5)));
	EXPECT_TRUE(page_right(r, huge + 5, page));
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	close(fd[0]);
	EXPECT_EQ(2 * huge, in_pmds(r, 0, 2 * huge));
	EXPECT_DATA(r, 0, 2 * huge);

	/* a page each, to have all of it */
	OUT(r, 0, 2 * huge);
	read_counts(&self->was);
	ASSERT_EQ(0, madvise(page_addr(r, 11), psize(), MADV_POPULATE_READ));
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	ASSERT_EQ(0, madvise(page_addr(r, huge), psize(), MADV_POPULATE_WRITE));
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	EXPECT_EQ(2 * huge, in_pmds(r, 0, 2 * huge));
	EXPECT_DATA(r, 0, 2 * huge);
	free(page);
	unmap_region(r);
}

/* MADV_COLLAPSE asks for a huge page that is there. */
VSWAP_TEST(entry, collapse)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	int tries, err = -1;

	OUT(r, 0, 2 * huge);
	read_counts(&self->was);
	for (tries = 0; tries < TRIES && err; tries++) {
		err = madvise(r->addr, huge * psize(), MADV_COLLAPSE);
		if (err)
			write_str("/proc/sys/vm/compact_memory", "1");
	}
	EXPECT_EQ(0, err);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	EXPECT_EQ(huge, in_entries(r, huge, huge));
	EXPECT_DATA(r, 0, 2 * huge);
	unmap_region(r);
}

/* khugepaged has nothing to do where a PMD is all there is. */
VSWAP_TEST(entry, khugepaged)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	long scans;

	OUT(r, 0, 2 * huge);
	mark(&self->env, &self->was);
	scans = read_long(THP "khugepaged/full_scans");
	ASSERT_EQ(0, write_str(THP "khugepaged/scan_sleep_millisecs", "5"));
	EXPECT_TRUE(WAIT_FOR(read_long(THP "khugepaged/full_scans") >= scans + 3));
	ASSERT_EQ(0, write_str(THP "khugepaged/scan_sleep_millisecs", "600000"));
	EXPECT_EQ(2 * huge, in_entries(r, 0, 2 * huge));
	EXPECT_HUGE(&self->was);
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 2 * huge);
	EXPECT_EQ(2 * huge, in_pmds(r, 0, 2 * huge));
	unmap_region(r);
}

/* Guard markers take the place of what is out. */
VSWAP_TEST(entry, guard)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	int status;
	pid_t pid;

	OUT(r, 0, 2 * huge);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, madvise(r->addr, 2 * huge * psize(), MADV_GUARD_REMOVE));
	EXPECT_EQ(2 * huge, in_entries(r, 0, 2 * huge));
	ASSERT_EQ(0, madvise(page_addr(r, 50), 6 * psize(), MADV_GUARD_INSTALL));
	EXPECT_EQ(huge, in_entries(r, 0, 2 * huge));
	EXPECT_COUNTERS([USED] = -6, [ZSWAPPED] = -6);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		touch(r, 53);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	EXPECT_DATA(r, 0, 50);
	EXPECT_DATA(r, 56, 2 * huge - 56);
	ASSERT_EQ(0, madvise(page_addr(r, 50), 6 * psize(), MADV_GUARD_REMOVE));
	forget(r, 50, 6);
	EXPECT_DATA(r, 0, 2 * huge);
	unmap_region(r);
}

/* No huge pages any more: pages come one by one, and none is lost. */
VSWAP_TEST(entry, no_huge_pages)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	size_t nr = 2 * huge;

	OUT(r, 0, nr);
	ASSERT_EQ(0, set_mthp(pmd_order(), "enabled", "never"));
	mark(&self->env, &self->was);
	touch(r, 100);
	EXPECT_HUGE(&self->was, .fallback = 1, .split = 1);
	EXPECT_COUNTERS([ZSWPIN] = 1, [USED] = -1, [ZSWAPPED] = -1);
	EXPECT_EQ(1, count_present(r, 0, nr));
	EXPECT_EQ(huge, in_entries(r, 0, nr));
	/* if somebody has it in the swap cache, it is there to be mapped */
	EXPECT_DATA(r, 0, nr);
	EXPECT_HUGE(&self->was, .fallback = 1, .split = 1);
	EXPECT_COUNTERS([ZSWPIN] = nr - 1, [USED] = 1 - nr, [ZSWAPPED] = 1 - nr);
	unmap_region(r);
}

/* Smaller folios come if the whole does not. */
VSWAP_TEST(entry, smaller)
{
	struct region *r = filled_region(_metadata, 1, ALL_MIXED);
	char max[32];
	long was;

	if (!need_large(_metadata, 4, "enabled"))
		return;
	OUT(r, 0, huge);
	snprintf(max, sizeof(max), "%ld", cg_long("main", "memory.current") +
		 (long)(200 * psize()));
	ASSERT_EQ(0, cg_write("main", "memory.max", max));
	ASSERT_EQ(0, madvise(r->addr, huge * psize(), MADV_SEQUENTIAL));
	was = mthp_stat(4, "zswpin");
	mark(&self->env, &self->was);
	touch(r, 100);
	EXPECT_HUGE(&self->was, .fallback = 1, .split = 1, .zswpin_fallback = 1,
		    .charge = 1);
	EXPECT_COUNTERS([ZSWPIN] = 16, [USED] = -16, [ZSWAPPED] = -16);
	EXPECT_EQ(1, mthp_stat(4, "zswpin") - was);
	EXPECT_EQ(16, count_present(r, 0, huge));
	ASSERT_EQ(0, cg_write("main", "memory.max", "max"));
	EXPECT_DATA(r, 0, huge);
	unmap_region(r);
}

/* A cgroup that is too small for a huge page, with and without reclaim */
VSWAP_TEST(entry, limit)
{
	struct region *r = filled_region(_metadata, 4, ALL_MIXED);
	size_t nr = 4 * huge, i;
	char max[32];
	int turn;

	OUT(r, 0, nr);
	snprintf(max, sizeof(max), "%ld", cg_long("main", "memory.current") +
		 (long)(huge / 2 * psize()));
	ASSERT_EQ(0, cg_write("main", "memory.max", max));
	read_counts(&self->was);
	for (i = 0; i < 4; i++)
		touch(r, i * huge + 7 * i);
	EXPECT_HUGE(&self->was, .fallback = 4, .split = 4, .zswpin_fallback = 4,
		    .charge = 4);
	/* all of it, time and again, in less memory than it needs */
	for (turn = 0; turn < 2; turn++) {
		EXPECT_DATA(r, 0, nr);
		fill(r, 0, nr, MIXED);
	}
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(0, cg_key("main", "memory.events", "oom_kill"));
	ASSERT_EQ(0, cg_write("main", "memory.max", "max"));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

/* Entries outlive zswap being switched off and on, and their compressor. */
VSWAP_TEST(entry, toggle_zswap)
{
	struct region *r = filled_region(_metadata, 4, ALL_MIXED);
	size_t nr = 4 * huge;
	pid_t pid;

	OUT(r, 0, nr);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	touch(r, 0);
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	ASSERT_EQ(0, write_str(ZSWAP "compressor", "lz4"));
	touch(r, huge);
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "1"));
	touch(r, 2 * huge);
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		write_str(ZSWAP "enabled", "0");
		EXPECT_DATA(r, 0, nr);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));
	unmap_region(r);
}

/* Draining brings entries home, as they went. */
VSWAP_TEST(entry, drain)
{
	struct region *r = filled_region(_metadata, 4, ALL_MIXED);
	size_t nr = 4 * huge;
	long swap = status_kb("VmSwap");

	OUT(r, 0, nr);
	/* one of them in the swap cache, and one in pieces */
	ASSERT_EQ(0, madvise(page_addr(r, huge), huge * psize(), MADV_WILLNEED));
	ASSERT_EQ(0, mprotect(page_addr(r, 2 * huge), psize(), PROT_READ));
	read_counts(&self->was);
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	ASSERT_EQ(0, write_str(VSWAP "drain", "1"));
	/* looked at before it is touched */
	EXPECT_EQ(0, count_swapped(r, 0, nr));
	EXPECT_EQ(nr, count_present(r, 0, nr));
	EXPECT_EQ(2 * huge, in_pmds(r, 0, 2 * huge));
	EXPECT_EQ(huge, in_pmds(r, 3 * huge, huge));
	EXPECT_EQ(swap, status_kb("VmSwap"));
	EXPECT_EQ(self->was.in + 3, read_key("/proc/vmstat", "thp_swpin_pmd"));
	EXPECT_EQ(self->was.split, read_key("/proc/vmstat", "thp_split_pmd"));
	EXPECT_EQ(self->env.start[USED], used());
	EXPECT_DATA(r, 0, nr);
	ASSERT_EQ(0, write_str(VSWAP "enabled", "1"));
	ASSERT_EQ(0, mprotect(r->addr, nr * psize(), PROT_READ | PROT_WRITE));
	/* nobody shares what has come home */
	fill(r, 0, nr, MIXED);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

VSWAP_TEST(entry, bad_page)
{
	struct region *r;
	size_t i;

	if (!need(_metadata, !access(FAIL_FUNCTION "inject", F_OK),
		  "CONFIG_FAIL_FUNCTION"))
		return;
	r = filled_region(_metadata, 1, ALL_MIXED);
	OUT(r, 0, huge);
	mark(&self->env, &self->was);
	/* the tenth page: another one was asked for, and comes, alone */
	ASSERT_EQ(0, fail_decompress("10", "1"));
	EXPECT_DATA(r, 2, 1);
	succeed_decompress();
	EXPECT_EQ(self->was.fallback + 1,
		  read_key("/proc/vmstat", "thp_swpin_pmd_fallback"));
	EXPECT_EQ(self->was.in, read_key("/proc/vmstat", "thp_swpin_pmd"));
	EXPECT_EQ(1, count_present(r, 0, huge));
	EXPECT_DATA(r, 0, huge);

	/* the page that was asked for: it is lost, and no other one */
	again(_metadata, r, ALL_MIXED);
	OUT(r, 0, huge);
	ASSERT_EQ(0, fail_decompress("1", "2"));
	EXPECT_EQ(SIGBUS, touch_in_child(r, 0));
	succeed_decompress();
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	/* the swap cache has a page that could not be read: the entry is split */
	for (i = 1; i < huge; i += 50)
		EXPECT_EQ(0, touch_in_child(r, i));
	EXPECT_DATA(r, 1, huge - 1);
	EXPECT_EQ(SIGBUS, touch_in_child(r, 0));
	unmap_region(r);
}

/*
 * The folio in the swap cache is split while an entry stands for it: another
 * process has it mapped, and splits it.
 */
static int split_folios(const struct region *r, size_t first, size_t nr)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "%d,0x%lx,0x%lx", getpid(),
		 (unsigned long)page_addr(r, first),
		 (unsigned long)page_addr(r, first + nr));
	return write_str(SPLIT_HUGE, cmd);
}

/*
 * Leave an entry here, nothing or small folios in the swap cache for it, and, of
 * the first @out of these pages, none.
 */
static struct region *split_behind(struct __test_metadata *_metadata,
				   enum kind_content kind, size_t out,
				   struct gate *gate, pid_t *pid)
{
	size_t swapped = 0, i;
	struct region *r;
	struct gate ready;
	char c;

	if (!need(_metadata, !access(SPLIT_HUGE, F_OK), "CONFIG_DEBUG_FS"))
		return NULL;
	r = filled_region(_metadata, 1, kind);
	OUT(r, 0, huge);
	ASSERT_EQ(0, gate_make(&ready));
	ASSERT_EQ(0, gate_make(gate));
	*pid = fork();
	ASSERT_LE(0, *pid);
	if (!*pid) {
		EXPECT_DATA(r, 0, huge);
		EXPECT_EQ(huge, in_pmds(r, 0, huge));
		EXPECT_EQ(0, split_folios(r, 0, huge));
		EXPECT_EQ(0, count_large(r, 0, huge));
		EXPECT_EQ(huge, count_present(r, 0, huge));
		/* for zero pages the child has the shared one now, and no slots */
		ASSERT_EQ(0, pageout(r, 0, out));
		for (i = 0; i < out; i++)
			swapped += r->pages[i].content != ZEROED;
		EXPECT_EQ(swapped, count_swapped(r, 0, out));
		close(ready.fd[1]);
		gate_wait(gate);
		EXPECT_DATA(r, 0, huge);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	close(ready.fd[1]);
	EXPECT_EQ(0, read(ready.fd[0], &c, 1));
	close(ready.fd[0]);
	/* so these are in the swap cache alone */
	if (kind != ALL_MIXED)
		empty_swap_cache(_metadata);
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	EXPECT_EQ(huge - out, resident(r, 0, huge));
	return r;
}

/* All of it went out page by page: zero here, zswap there, and one folio back */
VSWAP_TEST(entry, zero_and_zswap)
{
	long zero = (huge + 2) / 3, n = huge;
	struct gate gate;
	struct region *r;
	pid_t pid;

	r = split_behind(_metadata, THIRD_ZERO, huge, &gate, &pid);
	if (!r)
		return;
	mark(&self->env, &self->was);
	EXPECT_LE(zero, self->env.last[ZERO] - self->env.start[ZERO]);
	touch(r, 1);
	EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
	EXPECT_EQ(n - zero, read_key("/proc/vmstat", "zswpin") - self->env.last[ZSWPIN]);
	EXPECT_EQ(zero, read_key("/proc/vmstat", "swpin_zero") -
			self->env.last[SWPIN_ZERO]);
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	EXPECT_DATA(r, 0, huge);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	fill(r, 0, huge, MIXED);
	EXPECT_DATA(r, 0, huge);
	unmap_region(r);
}

/* Half of the small folios are gone. What is done then? */
VSWAP_TEST(entry, half_behind)
{
	struct gate gate;
	struct region *r;
	pid_t pid;
	char *to;
	int op;

	for (op = -1; op < NR_OPS; op++) {
		const char *name = op < 0 ? "read" : op_names[op];

		r = split_behind(_metadata, ALL_MIXED, huge / 2, &gate, &pid);
		if (!r)
			return;
		mark(&self->env, &self->was);
		if (op < 0) {
			/* a fault on what is there, and on what is not */
			touch(r, huge - 1);
			EXPECT_HUGE(&self->was, .fallback = 1, .split = 1);
			EXPECT_EQ(1, count_present(r, 0, huge));
			touch(r, 0);
			EXPECT_EQ(2, count_present(r, 0, huge));
			EXPECT_DATA(r, 0, huge);
		} else {
			/* of a part, and then of all */
			ASSERT_EQ(0, do_op(op == OP_MUNMAP || op == OP_MREMAP ?
					   OP_PROTECT : op, r, 200, 100, &to)) {
				TH_LOG("%s", name);
			}
			if (op_drops(op) && op != OP_MUNMAP)
				forget(r, 200, 100);
			EXPECT_EQ(0, in_entries(r, 0, huge)) {
				TH_LOG("%s", name);
			}
			EXPECT_DATA(r, 0, huge);
		}
		gate_open(&gate);
		EXPECT_EXIT(pid);
		unmap_region(r);

		if (op < 0)
			continue;
		r = split_behind(_metadata, ALL_MIXED, huge / 2, &gate, &pid);
		if (!r)
			return;
		ASSERT_EQ(0, do_op(op, r, 0, huge, &to)) {
			TH_LOG("%s", name);
		}
		if (op_drops(op))
			forget(r, 0, huge);
		if (op != OP_MUNMAP)
			EXPECT_EQ(0, count_wrong_at(r, 0, huge, to));
		if (op == OP_MREMAP)
			munmap(to, huge * psize());
		gate_open(&gate);
		/* the other one has what it had, gone or not */
		EXPECT_EXIT(pid);
		unmap_region(r);
	}
}

/* Once it is news of the failure, and then it would be the page that is lost. */
static void on_sigbus(int sig)
{
	static int times;

	if (times++)
		_exit(128 + sig);
}

/* Memory of the folio in the swap cache breaks: one page is lost, and no other. */
VSWAP_TEST(entry, memory_failure)
{
	struct region *r;
	struct gate gate, ready;
	size_t bad = 33;
	long *pfn;
	pid_t pid;
	char c;

	if (!need(_metadata, !access("/sys/kernel/debug/hwpoison/unpoison-pfn", F_OK),
		  "CONFIG_HWPOISON_INJECT"))
		return;
	pfn = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		   -1, 0);
	ASSERT_NE(MAP_FAILED, pfn);
	r = filled_region(_metadata, 1, ALL_MIXED);
	OUT(r, 0, huge);
	ASSERT_EQ(0, gate_make(&ready));
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		EXPECT_DATA(r, 0, huge);
		EXPECT_EQ(huge, in_pmds(r, 0, huge));
		*pfn = PAGEMAP_PFN(pagemap_of(page_addr(r, bad)));
		signal(SIGBUS, on_sigbus);
		EXPECT_EQ(0, madvise(page_addr(r, bad), psize(), MADV_HWPOISON));
		EXPECT_EQ(0, count_large(r, 0, huge));
		close(ready.fd[1]);
		gate_wait(&gate);
		EXPECT_DATA(r, 0, bad);
		EXPECT_DATA(r, bad + 1, huge - bad - 1);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	close(ready.fd[1]);
	EXPECT_EQ(0, read(ready.fd[0], &c, 1));
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	mark(&self->env, &self->was);
	touch(r, huge - 1);
	EXPECT_HUGE(&self->was, .fallback = 1, .split = 1);
	EXPECT_EQ(SIGBUS, touch_in_child(r, bad));
	EXPECT_DATA(r, 0, bad);
	EXPECT_DATA(r, bad + 1, huge - bad - 1);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	unmap_region(r);
	EXPECT_EQ(0, unpoison_memory(*pfn));
	munmap(pfn, psize());
}

/* The same, and then a fork, a move of the entry, and draining */
VSWAP_TEST(entry, half_behind_fork)
{
	struct gate gate;
	struct region *r;
	pid_t pid, child;

	r = split_behind(_metadata, ALL_MIXED, huge / 2, &gate, &pid);
	if (!r)
		return;
	read_counts(&self->was);
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		EXPECT_EQ(huge, in_entries(r, 0, huge));
		EXPECT_DATA(r, 0, huge);
		fill(r, 0, huge, POOR);
		EXPECT_DATA(r, 0, huge);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	EXPECT_EXIT(child);
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	EXPECT_HUGE(&self->was, .fallback = 1, .split = 1);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, huge);
	unmap_region(r);
}

VSWAP_TEST(entry, half_behind_move)
{
	struct region *r, *dst, there;
	struct gate gate;
	pid_t pid;
	int fd, err;

	fd = uffd_open(_metadata, UFFD_FEATURE_MOVE);
	if (fd < 0)
		return;
	r = split_behind(_metadata, ALL_MIXED, huge / 2, &gate, &pid);
	if (!r)
		return;
	gate_open(&gate);
	EXPECT_EXIT(pid);
	dst = huge_region(_metadata, 1);
	uffd_add(_metadata, fd, dst, 0, huge, UFFDIO_REGISTER_MODE_MISSING);
	/* it was shared, and so it does not move: now or never */
	err = uffd_move(fd, dst->addr, r->addr, huge);
	EXPECT_EQ(-EBUSY, err);
	there = *r;
	if (!err)
		there.addr = dst->addr;
	EXPECT_DATA(&there, 0, huge);
	close(fd);
	unmap_region(r);
	unmap_region(dst);
}

VSWAP_TEST(entry, half_behind_drain)
{
	struct gate gate;
	struct region *r;
	pid_t pid;

	r = split_behind(_metadata, ALL_MIXED, huge / 2, &gate, &pid);
	if (!r)
		return;
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	ASSERT_EQ(0, write_str(VSWAP "drain", "1"));
	EXPECT_EQ(0, count_swapped(r, 0, huge));
	EXPECT_EQ(huge, count_present(r, 0, huge));
	EXPECT_EQ(self->env.start[USED], used());
	EXPECT_DATA(r, 0, huge);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	ASSERT_EQ(0, write_str(VSWAP "enabled", "1"));
	fill(r, 0, huge, MIXED);
	EXPECT_DATA(r, 0, huge);
	unmap_region(r);
}

/*
 * device: swap space on a device
 */
FIXTURE(device)
{
	struct env env;
	struct counts was;
};

FIXTURE_VARIANT(device)
{
	const char *device;
};

FIXTURE_VARIANT_ADD(device, fast) {
	.device = "VSWAP_TEST_DEV",
};

FIXTURE_VARIANT_ADD(device, disk) {
	.device = "VSWAP_TEST_DISK",
};

FIXTURE_SETUP(device)
{
	pmd_setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(device)
{
	teardown(_metadata, &self->env);
}

static bool use_device(struct __test_metadata *_metadata, struct env *env,
		       const char *variable)
{
	env->dev = getenv(variable);
	if (!env->dev)
		SKIP(return false, "%s names no device", variable);
	ASSERT_EQ(0, swapon(env->dev, 0));
	mark_counters(env);
	return true;
}

/*
 * Have zswap store the pages of a huge page that is out anew, one by one, this one
 * before all others.
 */
static void store_singly(struct __test_metadata *_metadata, const struct region *r,
			 size_t first)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		EXPECT_DATA(r, 0, huge);
		EXPECT_EQ(0, split_folios(r, 0, huge));
		EXPECT_EQ(0, count_large(r, 0, huge));
		EXPECT_EQ(0, pageout(r, first, 1));
		EXPECT_EQ(1, count_swapped(r, 0, huge));
		EXPECT_EQ(0, pageout(r, 0, huge));
		EXPECT_EQ(huge, count_swapped(r, 0, huge));
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	EXPECT_EXIT(pid);
	EXPECT_EQ(huge, in_entries(r, 0, huge));
}

/* One page was written back to a device: order falls, and data is right. */
static void one_written_back(struct __test_metadata *_metadata, struct env *env,
			     struct counts *was, const char *device, size_t which)
{
	size_t nr = 2 * huge, page;
	struct region *r;

	if (!need(_metadata, !access(SHRINKER_DEBUG, F_OK), "CONFIG_SHRINKER_DEBUG") ||
	    !need(_metadata, !access(SPLIT_HUGE, F_OK), "CONFIG_DEBUG_FS") ||
	    !use_device(_metadata, env, device))
		return;
	r = filled_region(_metadata, 2, ALL_MIXED);
	OUT(r, 0, huge);
	if (which)
		store_singly(_metadata, r, which);
	OUT(r, huge, huge);
	mark(env, was);
	ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "Y"));
	scan_zswap(_metadata, nr - 50);
	EXPECT_COUNTERS_OF(env);
	/* the one that was stored first */
	write_back(_metadata, env, 1);
	EXPECT_COUNTERS_OF(env, [ZSWPWB] = 1, [PSWPOUT] = 1, [ZSWAPPED] = -1,
			   [PHYSICAL] = 1);
	empty_swap_cache(_metadata);
	EXPECT_EQ(nr, in_entries(r, 0, nr));
	EXPECT_EQ(0, resident(r, 0, nr));
	mark(env, was);
	touch(r, 300);
	EXPECT_HUGE(was, .fallback = 1, .split = 1, .zswpin_fallback = 1);
	EXPECT_EQ(1, count_present(r, 0, huge));
	/* the other one is whole */
	touch(r, huge + 7);
	EXPECT_HUGE(was, .in = 1, .zswpin = 1);
	EXPECT_EQ(huge, in_pmds(r, huge, huge));
	for (page = 0; page < huge; page++) {
		long before = read_key("/proc/vmstat", "pswpin");

		touch(r, page);
		EXPECT_EQ(page == which, read_key("/proc/vmstat", "pswpin") - before);
	}
	EXPECT_EQ(0, in_pmds(r, 0, huge));
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

VSWAP_TEST(device, first_written_back)
{
	one_written_back(_metadata, &self->env, &self->was, variant->device, 0);
}

VSWAP_TEST(device, inner_written_back)
{
	one_written_back(_metadata, &self->env, &self->was, variant->device, 200);
}

/* All of it was written back, to slots that follow each other or do not. */
VSWAP_TEST(device, all_written_back)
{
	struct region *r;

	if (!need(_metadata, !access(SHRINKER_DEBUG, F_OK), "CONFIG_SHRINKER_DEBUG") ||
	    !use_device(_metadata, &self->env, variant->device))
		return;
	r = filled_region(_metadata, 1, ALL_MIXED);
	OUT(r, 0, huge);
	mark(&self->env, &self->was);
	ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "Y"));
	EXPECT_TRUE(WAIT_FOR((scan_zswap(_metadata, huge),
			      read_key("/proc/vmstat", "zswpwb") -
			      self->env.last[ZSWPWB] >= (long)huge)));
	ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "N"));
	empty_swap_cache(_metadata);
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	EXPECT_DATA(r, 0, huge);
	EXPECT_EQ((long)huge, read_key("/proc/vmstat", "pswpin") -
			      self->env.last[PSWPIN]);
	unmap_region(r);
}

/* Entries of a device come home when it is switched off: huge pages as such. */
static void off(struct __test_metadata *_metadata, struct env *env,
		struct counts *was, const char *device, bool virt)
{
	size_t nr = 4 * huge;
	struct gate gate;
	struct region *r;
	long swap;
	pid_t pid;

	if (!use_device(_metadata, env, device))
		return;
	ASSERT_EQ(0, virt ? cg_write("main", "memory.zswap.max", "0") :
			    write_str(ZSWAP "enabled", "0"));
	r = filled_region(_metadata, 4, ALL_MIXED);
	swap = status_kb("VmSwap");
	OUT(r, 0, nr);
	empty_swap_cache(_metadata);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* a part of the last one only */
		munmap(page_addr(r, 3 * huge + 10), (huge - 10) * psize());
		gate_wait(&gate);
		EXPECT_EQ(virt ? 3 * huge + 10 : 0, count_swapped(r, 0, 3 * huge + 10));
		EXPECT_DATA(r, 0, 3 * huge + 10);
		fill(r, 0, huge, POOR);
		EXPECT_DATA(r, 0, 3 * huge + 10);
		_exit(_metadata->exit_code != KSFT_PASS);
	}
	read_counts(was);
	ASSERT_EQ(0, swapoff(env->dev));
	/* looked at before it is touched */
	if (virt) {
		/* there are virtual slots, and their folios are in memory */
		EXPECT_EQ(nr, count_swapped(r, 0, nr) + count_present(r, 0, nr));
	} else {
		EXPECT_EQ(0, count_swapped(r, 0, nr));
		EXPECT_EQ(swap, status_kb("VmSwap"));
		EXPECT_EQ(3 * huge, in_pmds(r, 0, 3 * huge));
	}
	gate_open(&gate);
	EXPECT_DATA(r, 0, nr);
	fill(r, 2 * huge, huge, POOR);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

VSWAP_TEST(device, swapoff)
{
	off(_metadata, &self->env, &self->was, variant->device, false);
}

VSWAP_TEST(device, swapoff_virtual)
{
	off(_metadata, &self->env, &self->was, variant->device, true);
}

/* Protection from reading holds for what swapoff brings back, too. */
VSWAP_TEST(device, swapoff_uffd)
{
	struct uffdio_rwprotect rwp = { .mode = UFFDIO_RWPROTECT_MODE_RWP };
	struct server s = { .flag = UFFD_PAGEFAULT_FLAG_RWP };
	struct region *r;
	pthread_t thread;

	s.fd = uffd_open(_metadata, UFFD_FEATURE_RWP);
	if (s.fd < 0 || !use_device(_metadata, &self->env, variant->device))
		return;
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	r = filled_region(_metadata, 1, ALL_MIXED);
	s.r = r;
	uffd_add(_metadata, s.fd, r, 0, huge, UFFDIO_REGISTER_MODE_RWP);
	OUT(r, 0, huge);
	rwp.range.start = (uintptr_t)r->addr;
	rwp.range.len = huge * psize();
	ASSERT_EQ(0, ioctl(s.fd, UFFDIO_RWPROTECT, &rwp));
	EXPECT_EQ(huge, in_entries(r, 0, huge));
	ASSERT_EQ(0, swapoff(self->env.dev));
	EXPECT_EQ(huge, in_pmds(r, 0, huge));
	EXPECT_EQ(huge, count_bit(r, 0, huge, PM_UFFD_WP));
	ASSERT_EQ(0, pthread_create(&thread, NULL, serve, &s));
	EXPECT_DATA(r, 0, huge);
	EXPECT_EQ((int)huge, atomic_load(&s.faults));
	atomic_store(&s.stop, 1);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, atomic_load(&s.wrong));
	close(s.fd);
	unmap_region(r);
}

/* zswap comes between out and in, and goes: slots of the device stay readable. */
VSWAP_TEST(device, toggle_zswap)
{
	struct region *r;
	size_t nr = 4 * huge;

	if (!use_device(_metadata, &self->env, variant->device))
		return;
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	r = filled_region(_metadata, 4, ALL_MIXED);
	OUT(r, 0, 2 * huge);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "1"));
	OUT(r, 2 * huge, 2 * huge);
	empty_swap_cache(_metadata);
	read_counts(&self->was);
	touch(r, 0);
	touch(r, 2 * huge);
	EXPECT_HUGE(&self->was, .in = 2, .swpin = 1, .zswpin = 1);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	touch(r, huge);
	touch(r, 3 * huge);
	EXPECT_HUGE(&self->was, .in = 2, .swpin = 1, .zswpin = 1);
	EXPECT_DATA(r, 0, nr);
	EXPECT_EQ(nr, in_pmds(r, 0, nr));

	/* slots of the device in front of which zswap stands */
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "1"));
	fill(r, 0, nr, MIXED);
	OUT(r, 0, nr);
	read_counts(&self->was);
	touch(r, 0);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	EXPECT_DATA(r, 0, nr);
	EXPECT_HUGE(&self->was, .in = 4, .zswpin = 4);
	unmap_region(r);
}

/*
 * Races at an entry. In each round two huge pages are out as one entry each, and
 * then somebody reads them while somebody else does something to them. A slow
 * machine does fewer rounds, but each of the rivals twice.
 */
#define ROUNDS		32

enum rival { FORK, DISCARD, PAGE_OUT, ADVISE, NR_RIVALS };

#define MIN_ROUNDS	(2 * NR_RIVALS)

struct round {
	struct region *r;
	pthread_barrier_t start;
	int nr;
	atomic_int wrong;
};

/* A page is what it was, or, as far as it was discarded meanwhile, zero. */
static bool right_or_zero(const struct region *r, size_t nr)
{
	uint64_t want[(64 << 10) / sizeof(uint64_t)];
	const uint64_t *page = (const uint64_t *)page_addr(r, nr);
	size_t i;

	make_page(want, r, nr);
	for (i = 0; i < psize() / sizeof(*want); i++) {
		uint64_t word = FORCE_READ(page[i]);

		if (word && word != want[i])
			return false;
	}
	return true;
}

static void *round_reader(void *arg)
{
	struct round *round = arg;
	struct region *r = round->r;
	size_t i, page;

	pthread_barrier_wait(&round->start);
	for (i = 0; i < r->nr; i += 13) {
		page = (i + round->nr * 97) % r->nr;
		if (page < huge ? count_wrong(r, page, 1) : !right_or_zero(r, page))
			atomic_fetch_add(&round->wrong, 1);
	}
	return NULL;
}

/* Children lose a half, and have the rest. */
static int child_wrong(struct round *round)
{
	struct region *r = round->r;
	size_t lost = huge / 2 * (round->nr / NR_RIVALS % 2);

	munmap(page_addr(r, lost), huge / 2 * psize());
	return count_wrong(r, huge / 2 - lost, huge / 2) || count_wrong(r, huge, huge);
}

static void *round_rival(void *arg)
{
	struct round *round = arg;
	struct region *r = round->r;
	size_t len = huge * psize();
	int i, status = -1;
	pid_t pid;

	pthread_barrier_wait(&round->start);
	switch ((enum rival)(round->nr % NR_RIVALS)) {
	case FORK:
		pid = fork();
		if (!pid)
			_exit(child_wrong(round));
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			atomic_fetch_add(&round->wrong, 1);
		break;
	case DISCARD:
		if (madvise(page_addr(r, huge), len / 2, MADV_DONTNEED))
			atomic_fetch_add(&round->wrong, 1);
		break;
	case PAGE_OUT:
		for (i = 0; i < 4; i++)
			madvise(r->addr, 2 * len, MADV_PAGEOUT);
		break;
	case ADVISE:
		for (i = 0; i < 4; i++) {
			madvise(r->addr, 2 * len, MADV_WILLNEED);
			mprotect(page_addr(r, huge), len, PROT_READ);
			mprotect(page_addr(r, huge), len, PROT_READ | PROT_WRITE);
		}
		break;
	default:
		break;
	}
	return NULL;
}

VSWAP_TEST(entry, races)
{
	struct region *r = filled_region(_metadata, 2, ALL_MIXED);
	struct round round = { .r = r };
	struct counts first, now;
	pthread_t thread[3];
	long end;
	int i;

	unpin();
	read_counts(&first);
	ASSERT_EQ(0, pthread_barrier_init(&round.start, NULL, 3));
	end = now_ms() + 5 * RACE_MS;
	for (round.nr = 0; round.nr < MIN_ROUNDS ||
	     (round.nr < ROUNDS && now_ms() < end); round.nr++) {
		again(_metadata, r, ALL_MIXED);
		OUT(r, 0, r->nr);
		read_counts(&self->was);
		ASSERT_EQ(0, pthread_create(&thread[0], NULL, round_reader, &round));
		ASSERT_EQ(0, pthread_create(&thread[1], NULL, round_reader, &round));
		ASSERT_EQ(0, pthread_create(&thread[2], NULL, round_rival, &round));
		for (i = 0; i < 3; i++)
			ASSERT_EQ(0, pthread_join(thread[i], NULL));
		if (round.nr % NR_RIVALS == DISCARD)
			forget(r, huge, huge / 2);
		EXPECT_EQ(0, atomic_load(&round.wrong)) {
			TH_LOG("round %d", round.nr);
		}
		EXPECT_DATA(r, 0, r->nr);
		EXPECT_EQ(r->nr, count_present(r, 0, r->nr));
		/* where nobody but readers has touched the first one, it is whole */
		if (round.nr % NR_RIVALS == DISCARD)
			EXPECT_EQ(huge, in_pmds(r, 0, huge));
	}
	read_counts(&now);
	TH_LOG("%d rounds, %ld entries, %ld came whole, %ld were split by faults",
	       round.nr, now.out - first.out, now.in - first.in,
	       now.fallback - first.fallback);
	EXPECT_LE(2 * round.nr, now.out - first.out);
	EXPECT_LE(round.nr, now.in - first.in);
	pthread_barrier_destroy(&round.start);
	unmap_region(r);
}

/* And without an end to wait for: some read, and one does whatever comes to mind. */
struct racers {
	struct region *r;
	atomic_int stop, wrong;
};

static void *race_reader(void *arg)
{
	struct racers *race = arg;
	size_t half = race->r->nr / 2, nr;
	uint64_t x = (uintptr_t)&x | 1;

	while (!atomic_load(&race->stop)) {
		nr = next_random(&x) % half;
		if (count_wrong(race->r, nr, 1) || !right_or_zero(race->r, half + nr))
			atomic_fetch_add(&race->wrong, 1);
	}
	return NULL;
}

VSWAP_TEST(store, races)
{
	uint64_t x = 88172645463325252ULL;
	long end, more, children = 0;
	struct racers race = {};
	pthread_t thread[2];
	struct region *r;
	int i, status;
	size_t first;
	pid_t pid;

	if (!use_kind(_metadata, &self->env, &variant->kind))
		return;
	r = filled_region(_metadata, 4, variant->kind.content);
	race.r = r;
	unpin();
	read_counts(&self->was);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, race_reader, &race));
	/* on a busy machine until something has come of it */
	end = now_ms() + RACE_MS;
	more = now_ms() + 30 * RACE_MS;
	while (now_ms() < end ||
	       (now_ms() < more &&
		read_key("/proc/vmstat", "thp_swpin_pmd") == self->was.in)) {
		ASSERT_EQ(0, pageout(r, 0, r->nr));
		first = next_random(&x) % r->nr & ~7UL;
		switch (next_random(&x) % 4) {
		case 0:
			if (first < r->nr / 2)
				break;
			/* the other half is either what it was, or zero */
			ASSERT_EQ(0, madvise(page_addr(r, first), 8 * psize(),
					     MADV_DONTNEED));
			break;
		case 1:
			pid = fork();
			ASSERT_LE(0, pid);
			if (!pid)
				_exit(!!count_wrong(r, first % (r->nr / 2), 8));
			children++;
			break;
		case 2:
			ASSERT_EQ(0, madvise(r->addr, r->nr * psize(), MADV_WILLNEED));
			break;
		case 3:
			ASSERT_EQ(0, madvise(page_addr(r, first), 8 * psize(),
					     MADV_COLD));
			break;
		}
		for (; waitpid(-1, &status, WNOHANG) > 0; children--)
			EXPECT_EQ(0, status);
	}
	atomic_store(&race.stop, 1);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_join(thread[i], NULL));
	for (; waitpid(-1, &status, 0) > 0; children--)
		EXPECT_EQ(0, status);
	EXPECT_EQ(0, children);
	EXPECT_EQ(0, atomic_load(&race.wrong));
	EXPECT_DATA(r, 0, r->nr / 2);
	EXPECT_LT(self->was.out, read_key("/proc/vmstat", "thp_swpout_pmd"));
	EXPECT_LT(self->was.in, read_key("/proc/vmstat", "thp_swpin_pmd"));
	unmap_region(r);
}

/* Two threads at one entry: it comes once, whoever is first. */
struct pair {
	struct region *r;
	pthread_barrier_t *start;
	size_t page;
	bool write;
	size_t wrong;
};

static void *race_one(void *arg)
{
	struct pair *p = arg;

	pthread_barrier_wait(p->start);
	if (p->write)
		fill(p->r, p->page, 1, POOR);
	p->wrong = count_wrong(p->r, p->page, 1);
	return NULL;
}

VSWAP_TEST(entry, two_faults)
{
	struct region *r = filled_region(_metadata, 1, ALL_MIXED);
	pthread_barrier_t start;
	struct pair pair[2];
	pthread_t thread[2];
	long end = now_ms() + 5 * RACE_MS;
	int turn, i;

	unpin();
	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, 2));
	for (turn = 0; turn < 6 || (turn < 50 && now_ms() < end); turn++) {
		OUT(r, 0, huge);
		mark(&self->env, &self->was);
		for (i = 0; i < 2; i++) {
			pair[i] = (struct pair) {
				.r = r,
				.start = &start,
				.page = (turn * 7 + i * 200) % huge,
				.write = turn % 3 == i,
			};
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, race_one, &pair[i]));
		}
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(0, pthread_join(thread[i], NULL));
			EXPECT_EQ(0, pair[i].wrong);
		}
		EXPECT_HUGE(&self->was, .in = 1, .zswpin = 1);
		EXPECT_EQ(huge, in_pmds(r, 0, huge));
		EXPECT_DATA(r, 0, huge);
	}
	pthread_barrier_destroy(&start);
	unmap_region(r);
}

int main(int argc, char **argv)
{
	return run_tests(argc, argv);
}
