// SPDX-License-Identifier: GPL-2.0
/*
 * What is read back from swap is what was written last, whichever way it went.
 *
 * A reader that faults on a page while the page is being stored in zswap keeps
 * reclaim from dropping it: the page ends up mapped, clean and in the swap
 * cache, and zswap keeps its copy.  When that page is written to and paged out
 * once more, the new data may take another way than the old: it may be all
 * zero, which needs no storage, or zswap may refuse it or be off by then.
 * Whatever the way, the old copy must go.  Left behind, it is written back by
 * zswap later on, and what is written back enters the swap cache as the data
 * of the page.
 *
 * Every test constructs that situation in a memory cgroup of its own, proves
 * with zswap's stored_pages that it did, writes and pages out new data, has
 * zswap write back what it holds, and compares every byte.  ROUNDS in the
 * environment says how many times (default 3).
 *
 * Swap space is whatever is in use.  It must not be a device that the kernel
 * takes for synchronous (zram, brd, pmem): a fault drops the swap cache there.
 * So it does on virtual swap, and whenever it finds shmem in swap; then the
 * tests show that no copy is left and that the data is right.
 * Nothing else should swap meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cgroup_util.h"
#include "kselftest_harness.h"
#include "hugepage_settings.h"
#include "vm_util.h"

#define ZSWAP_PARAM(name)	"/sys/module/zswap/parameters/" name
#define ZSWAP_DEBUG(name)	"/sys/kernel/debug/zswap/" name
#define ZSWAP_SCAN		"/sys/kernel/debug/shrinker/mm-zswap-*/scan"
#define VSWAP_ENABLED		"/sys/kernel/mm/swap/vswap/enabled"

#define NR_PAGES	1024
#define NR_READERS	2
#define RANGE		32	/* pages to page out in one go */
#define LARGE_SIZE	(64 * 1024)
#define MAX_BUILDS	10	/* tries to construct the situation */
#define MAX_PAGEOUTS	100	/* tries to get every page out of memory */
#define TIMEOUT		1200	/* seconds, for many rounds on a slow machine */

/* Changed by the tests, put back when the program ends. */
static struct {
	const char *path;
	char val[32];
	ssize_t len;
} settings[] = {
	{ ZSWAP_PARAM("enabled") },
	{ ZSWAP_PARAM("shrinker_enabled") },
	{ "/proc/sys/vm/page-cluster" },
};

static char *cgroup;
static int rounds = 3;
static pid_t main_pid;

enum kind {
	ANON,
	ANON_LARGE,
	SHMEM,
};

/* What a page is filled with; FRESH differs per version and page. */
enum content {
	ZERO,
	FRESH,
	NOISE,			/* like FRESH, but does not compress */
};

/* A way for the new data to take. */
struct way {
	enum content even, odd;	/* content of the pages */
	bool off;		/* zswap is off */
	bool refused;		/* memory.zswap.max is 0 */
	bool no_writeback;	/* memory.zswap.writeback is 0 */
	long nr_stored;		/* at most that many pages go to zswap */
};

struct region {
	char *map, *mem;
	size_t map_len;
	/* for the readers */
	atomic_size_t window;	/* the range that is being paged out */
	atomic_int nr_ready;
	atomic_bool stop;
};

struct reader {
	pthread_t thread;
	struct region *region;
	int nr;
};

/* A test. */
struct stale {
	enum kind kind;
	struct region region;
	char scan[PATH_MAX];
	bool have_device;	/* something that zswap can write back to */
	bool have_vswap;	/* a fault drops the swap cache */
	unsigned int version;	/* of the content */
	long stored;		/* stored_pages without those of the region */
};

static size_t region_len(void)
{
	return (size_t)NR_PAGES * psize();
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* The 64-bit word at index i of a page. */
static uint64_t word(enum content content, unsigned int version, size_t page,
		     size_t i)
{
	uint64_t seed = ((uint64_t)version << 32 | page) * 0x9e3779b97f4a7c15ULL;

	switch (content) {
	case ZERO:
		return 0;
	case FRESH:
		return mix(i % 8 ? seed : seed + i) | 1;
	default:
		return mix(seed + i);
	}
}

static void fill_page(char *addr, enum content content, unsigned int version,
		      size_t page)
{
	uint64_t *p = (uint64_t *)addr;
	size_t i;

	for (i = 0; i < psize() / sizeof(*p); i++)
		p[i] = word(content, version, page, i);
}

static bool page_is(const char *addr, enum content content,
		    unsigned int version, size_t page)
{
	const uint64_t *p = (const uint64_t *)addr;
	size_t i;

	for (i = 0; i < psize() / sizeof(*p); i++)
		if (p[i] != word(content, version, page, i))
			return false;
	return true;
}

static void fill(struct region *r, const struct way *way, unsigned int version)
{
	size_t page;

	for (page = 0; page < NR_PAGES; page++)
		fill_page(r->mem + page * psize(),
			  page % 2 ? way->odd : way->even, version, page);
}

/* How many pages are not what @way and @version made them? */
static size_t count_wrong(struct region *r, const struct way *way,
			  unsigned int version)
{
	size_t page, wrong = 0, old = 0;

	for (page = 0; page < NR_PAGES; page++) {
		const char *addr = r->mem + page * psize();

		if (page_is(addr, page % 2 ? way->odd : way->even, version, page))
			continue;
		wrong++;
		if (page_is(addr, FRESH, version - 1, page))
			old++;
	}
	if (wrong)
		ksft_print_msg("%zu of %d pages are wrong, %zu of them have their old content\n",
			       wrong, NR_PAGES, old);
	return wrong;
}

static long stored_pages(void)
{
	return read_num(ZSWAP_DEBUG("stored_pages"));
}

static int write_str(const char *path, const char *val)
{
	ssize_t len = strlen(val);

	return write_text(path, (char *)val, len) == len ? 0 : -1;
}

/* Keep the one who pages out and the readers apart where there is room. */
static void pin_to_cpu(int nr)
{
	static cpu_set_t allowed;
	cpu_set_t set;
	int cpu, n;

	/* the first caller is the one whom the others inherit from */
	if (!CPU_COUNT(&allowed) &&
	    sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	n = CPU_COUNT(&allowed);
	if (nr)
		nr = n > 1 ? 1 + (nr - 1) % (n - 1) : 0;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !nr--)
			break;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void map_region(struct __test_metadata *_metadata, struct region *r,
		       enum kind kind)
{
	int flags = kind == SHMEM ? MAP_SHARED : MAP_PRIVATE;

	memset(r, 0, sizeof(*r));
	r->map_len = region_len() + LARGE_SIZE;
	r->map = mmap(NULL, r->map_len, PROT_READ | PROT_WRITE,
		      flags | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, r->map);
	/* only what is under test may be paged out, see FIXTURE_SETUP() */
	ASSERT_EQ(0, munlock(r->map, r->map_len));
	r->mem = (char *)(((uintptr_t)r->map + LARGE_SIZE - 1) &
			  ~(LARGE_SIZE - 1UL));
}

static void unmap_region(struct __test_metadata *_metadata, struct region *r)
{
	ASSERT_EQ(0, munmap(r->map, r->map_len));
}

/*
 * Touch the pages that are being paged out again and again.  A fault that
 * comes while the page is being stored waits with a reference on the folio.
 * In the end touch all pages.
 */
static void *reader_fn(void *arg)
{
	struct reader *reader = arg;
	struct region *r = reader->region;

	pin_to_cpu(1 + reader->nr);
	atomic_fetch_add(&r->nr_ready, 1);
	while (!atomic_load(&r->stop))
		force_read_pages(r->mem + atomic_load(&r->window) * psize(),
				 RANGE, psize());
	force_read_pages(r->mem, NR_PAGES, psize());
	return NULL;
}

static bool has_large_folios(struct __test_metadata *_metadata,
			     struct region *r)
{
	int order = sz2ord(LARGE_SIZE, psize()), orders[NR_ORDERS] = {};
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	int kpageflags = open("/proc/kpageflags", O_RDONLY);

	ASSERT_LE(0, pagemap);
	ASSERT_LE(0, kpageflags);
	ASSERT_EQ(0, gather_folio_orders(r->mem, region_len(), pagemap,
					 kpageflags, orders, NR_ORDERS));
	close(pagemap);
	close(kpageflags);
	return orders[order];
}

/* How many pages of the region are in memory, be it in the swap cache? */
static size_t count_resident(struct __test_metadata *_metadata,
			     struct region *r)
{
	unsigned char vec[NR_PAGES];
	size_t page, resident = 0;

	ASSERT_EQ(0, mincore(r->mem, region_len(), vec));
	for (page = 0; page < NR_PAGES; page++)
		resident += vec[page] & 1;
	return resident;
}

/*
 * Page out the region, and drop from the swap cache what had to be written to
 * a device.  Return the number of pages that are still in memory.
 */
static size_t page_out(struct __test_metadata *_metadata, struct region *r,
		       int max_tries)
{
	size_t resident;
	char buf[64];
	int tries;

	for (tries = 1; tries <= max_tries; tries++) {
		ASSERT_EQ(0, madvise(r->mem, region_len(), MADV_PAGEOUT));
		resident = count_resident(_metadata, r);
		if (!resident)
			break;
		/* it is no error if not that much can be reclaimed */
		snprintf(buf, sizeof(buf), "%zu swappiness=max",
			 resident * psize());
		cg_write(cgroup, "memory.reclaim", buf);
		resident = count_resident(_metadata, r);
		if (!resident)
			break;
		/*
		 * Let I/O end, get at what is in LRU batches, and give memcg
		 * the two seconds after which its statistics, which reclaim
		 * goes by, are true.
		 */
		usleep(1000 * tries);
		write_str("/proc/sys/vm/drop_caches", "1");
	}
	return resident;
}

static void take_way(struct __test_metadata *_metadata, const struct way *way)
{
	ASSERT_EQ(0, write_str(ZSWAP_PARAM("enabled"), way->off ? "N" : "Y"));
	ASSERT_EQ(0, cg_write(cgroup, "memory.zswap.max",
			      way->refused ? "0" : "max"));
	ASSERT_EQ(0, cg_write(cgroup, "memory.zswap.writeback",
			      way->no_writeback ? "0" : "1"));
}

FIXTURE(zswap_stale)
{
	struct stale t;
};

FIXTURE_VARIANT(zswap_stale)
{
	enum kind kind;
};

FIXTURE_VARIANT_ADD(zswap_stale, anon)
{
	.kind = ANON,
};

FIXTURE_VARIANT_ADD(zswap_stale, anon_64k)
{
	.kind = ANON_LARGE,
};

FIXTURE_VARIANT_ADD(zswap_stale, shmem)
{
	.kind = SHMEM,
};

/* Use 64k folios for anonymous memory if @kind wants them, else none. */
static void set_thp(enum kind kind)
{
	struct thp_settings thp;
	int i;

	if (!thp_available())
		return;
	thp_read_settings(&thp);
	thp.thp_enabled = THP_NEVER;
	thp.shmem_enabled = SHMEM_NEVER;
	for (i = 0; i < NR_ORDERS; i++) {
		thp.hugepages[i].enabled = THP_NEVER;
		thp.shmem_hugepages[i].enabled = SHMEM_NEVER;
	}
	if (kind == ANON_LARGE)
		thp.hugepages[sz2ord(LARGE_SIZE, psize())].enabled = THP_ALWAYS;
	thp_write_settings(&thp);
}

FIXTURE_SETUP(zswap_stale)
{
	const struct way no_way = {};
	struct stale *t = &self->t;
	char buf[4096];
	glob_t found;

	if (geteuid())
		SKIP(return, "must be root");
	if (read_text("/proc/swaps", buf, sizeof(buf)) <= 0)
		SKIP(return, "no swap in this kernel");
	t->have_device = strchr(buf, '\n') != strrchr(buf, '\n');
	t->have_vswap = read_text(VSWAP_ENABLED, buf, sizeof(buf)) > 0 &&
			buf[0] == '1';
	if (!t->have_device && !t->have_vswap)
		SKIP(return, "neither swap device nor virtual swap");
	if (access(ZSWAP_PARAM("enabled"), W_OK))
		SKIP(return, "no zswap in this kernel");
	if (!cgroup)
		SKIP(return, "no cgroup v2 with a memory controller");
	t->kind = variant->kind;
	if (t->kind == ANON_LARGE &&
	    !(thp_supported_orders() & 1UL << sz2ord(LARGE_SIZE, psize())))
		SKIP(return, "no 64k folios");

	take_way(_metadata, &no_way);
	ASSERT_EQ(0, write_str(ZSWAP_PARAM("shrinker_enabled"), "N"));
	/* every fault reads one page */
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "0"));
	set_thp(t->kind);

	if (access(ZSWAP_DEBUG("stored_pages"), R_OK) ||
	    glob(ZSWAP_SCAN, 0, NULL, &found))
		SKIP(return, "no debugfs, or no CONFIG_SHRINKER_DEBUG");
	snprintf(t->scan, sizeof(t->scan), "%s", found.gl_pathv[0]);
	globfree(&found);

	ASSERT_EQ(0, cg_enter_current(cgroup));
	/* what this program needs for itself must not end up in zswap */
	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT));
	pin_to_cpu(0);
	t->stored = stored_pages();
}

FIXTURE_TEARDOWN(zswap_stale)
{
}

/*
 * Write a new version to a new region and page it out under the eyes of
 * readers, until zswap holds a copy of pages that are mapped.
 */
static void keep_in_zswap(struct __test_metadata *_metadata, struct stale *t)
{
	const struct way way = { FRESH, FRESH };
	struct reader readers[NR_READERS];
	struct region *r = &t->region;
	int i, tries;
	size_t page;
	long kept;

	for (tries = 1; tries <= MAX_BUILDS; tries++) {
		map_region(_metadata, r, t->kind);
		fill(r, &way, ++t->version);
		if (t->kind == ANON_LARGE &&
		    !has_large_folios(_metadata, r)) {
			ksft_print_msg("try %d: no 64k folios\n", tries);
			unmap_region(_metadata, r);
			continue;
		}

		for (i = 0; i < NR_READERS; i++) {
			readers[i].region = r;
			readers[i].nr = i;
			ASSERT_EQ(0, pthread_create(&readers[i].thread, NULL,
						    reader_fn, &readers[i]));
		}
		while (atomic_load(&r->nr_ready) < NR_READERS)
			sched_yield();
		for (page = 0; page < NR_PAGES; page += RANGE) {
			atomic_store(&r->window, page);
			ASSERT_EQ(0, madvise(r->mem + page * psize(),
					     RANGE * psize(), MADV_PAGEOUT));
		}
		atomic_store(&r->stop, true);
		for (i = 0; i < NR_READERS; i++)
			pthread_join(readers[i].thread, NULL);

		/*
		 * No page went out since the readers read them all: each is
		 * mapped, and what zswap still has belongs to mapped pages.
		 */
		kept = stored_pages() - t->stored;
		ASSERT_EQ(0, count_wrong(r, &way, t->version));
		ASSERT_EQ(kept, stored_pages() - t->stored);
		ASSERT_EQ(NR_PAGES, count_resident(_metadata, r));

		ksft_print_msg("try %d: zswap has a copy of %ld of %d pages in memory\n",
			       tries, kept, NR_PAGES);
		if (kept > 0)
			return;
		if (t->kind == SHMEM || t->have_vswap) {
			/*
			 * A fault takes shmem out of the swap cache, and on
			 * virtual swap alone all that nobody else refers to.
			 * Then let all of it at least have been in zswap.
			 */
			ASSERT_EQ(0, page_out(_metadata, r, MAX_PAGEOUTS));
			ASSERT_EQ(NR_PAGES, stored_pages() - t->stored);
			ASSERT_EQ(0, count_wrong(r, &way, t->version));
			return;
		}
		unmap_region(_metadata, r);
	}
	ASSERT_GE(MAX_BUILDS, tries)
		TH_LOG("could not get a page that is mapped and in zswap");
}

/* Have zswap write back everything that it holds of the cgroup. */
static void scan_zswap(struct __test_metadata *_metadata, struct stale *t)
{
	long before, now = stored_pages();
	int i, len, nid, fd;
	struct stat st;
	char buf[64];

	/* on only here: memory.reclaim shrinks zswap, too */
	ASSERT_EQ(0, write_str(ZSWAP_PARAM("shrinker_enabled"), "Y"));
	ASSERT_EQ(0, stat(cgroup, &st));
	fd = open(t->scan, O_WRONLY);
	ASSERT_LE(0, fd);
	do {
		before = now;
		/* the first pass only takes away the referenced mark */
		for (i = 0; i < 3; i++) {
			for (nid = 0; ; nid++) {
				len = snprintf(buf, sizeof(buf), "%llu %d %d",
					       (unsigned long long)st.st_ino,
					       nid, NR_PAGES);
				if (write(fd, buf, len) != len)
					break;
			}
			ASSERT_EQ(EINVAL, errno);	/* no such node */
			ASSERT_LT(0, nid);
		}
		now = stored_pages();
	} while (now < before);
	close(fd);
	ASSERT_EQ(0, write_str(ZSWAP_PARAM("shrinker_enabled"), "N"));
}

/* Page out a new version on its way, then look for traces of the old one. */
static void rewrite(struct __test_metadata *_metadata, struct stale *t,
		    const struct way *way)
{
	bool stay = way->no_writeback ||
		    (!t->have_device && (way->off || way->refused));
	const struct way no_way = {};
	struct region *r = &t->region;
	long written_back = read_num(ZSWAP_DEBUG("written_back_pages"));
	size_t resident;
	long stored;

	fill(r, way, ++t->version);
	take_way(_metadata, way);
	resident = page_out(_metadata, r, stay ? 2 : MAX_PAGEOUTS);
	stored = stored_pages() - t->stored;
	take_way(_metadata, &no_way);
	if (!stay)
		EXPECT_EQ(0, resident);
	/* nothing is asked of what was not even tried for lack of a device */
	if (t->have_device || !stay)
		EXPECT_GE(way->nr_stored, stored)
			TH_LOG("zswap has %ld pages, it should have %ld at most",
			       stored, way->nr_stored);

	/* what zswap writes back is in the swap cache now, ... */
	scan_zswap(_metadata, t);
	EXPECT_EQ(0, count_wrong(r, way, t->version));
	/* ... and read from the device after it was dropped */
	page_out(_metadata, r, stay ? 2 : MAX_PAGEOUTS);
	scan_zswap(_metadata, t);
	page_out(_metadata, r, stay ? 2 : MAX_PAGEOUTS);
	EXPECT_EQ(0, count_wrong(r, way, t->version));
	if (!t->have_device)
		EXPECT_EQ(written_back,
			  read_num(ZSWAP_DEBUG("written_back_pages")));
}

static void run_rounds(struct __test_metadata *_metadata, struct stale *t,
		       const struct way *ways, int nr_ways)
{
	int i, round;

	for (round = 0; round < rounds; round++) {
		keep_in_zswap(_metadata, t);
		for (i = 0; i < nr_ways; i++)
			rewrite(_metadata, t, &ways[i]);
		unmap_region(_metadata, &t->region);
		EXPECT_EQ(t->stored, stored_pages());
	}
}

/* Zero-filled pages need no storage. */
TEST_F_TIMEOUT(zswap_stale, zero, TIMEOUT)
{
	const struct way way = { ZERO, ZERO };

	run_rounds(_metadata, &self->t, &way, 1);
}

/* The same, but zswap only writes back by then. */
TEST_F_TIMEOUT(zswap_stale, zero_zswap_off, TIMEOUT)
{
	const struct way way = { ZERO, ZERO, .off = true };

	run_rounds(_metadata, &self->t, &way, 1);
}

/* Half of the pages is zero; no large folio is zero as a whole. */
TEST_F_TIMEOUT(zswap_stale, half_zero, TIMEOUT)
{
	const struct way way = {
		ZERO, FRESH,
		.nr_stored = variant->kind == ANON_LARGE ? NR_PAGES : NR_PAGES / 2,
	};

	run_rounds(_metadata, &self->t, &way, 1);
}

/* zswap replaces its copy. */
TEST_F_TIMEOUT(zswap_stale, replaced, TIMEOUT)
{
	const struct way way = { FRESH, FRESH, .nr_stored = NR_PAGES };

	run_rounds(_metadata, &self->t, &way, 1);
}

/* zswap is off. */
TEST_F_TIMEOUT(zswap_stale, zswap_off, TIMEOUT)
{
	const struct way way = { FRESH, FRESH, .off = true };

	run_rounds(_metadata, &self->t, &way, 1);
}

/* zswap takes no more of this cgroup. */
TEST_F_TIMEOUT(zswap_stale, refused, TIMEOUT)
{
	const struct way way = { FRESH, FRESH, .refused = true };

	run_rounds(_metadata, &self->t, &way, 1);
}

/* The same, and the device is not for this cgroup: all stays in memory. */
TEST_F_TIMEOUT(zswap_stale, refused_no_writeback, TIMEOUT)
{
	const struct way way = {
		FRESH, FRESH, .refused = true, .no_writeback = true,
	};

	run_rounds(_metadata, &self->t, &way, 1);
}

/*
 * Every other page does not compress, and without writeback zswap refuses such
 * a page, if need be half-way through a large folio.
 */
TEST_F_TIMEOUT(zswap_stale, half_refused, TIMEOUT)
{
	const struct way way = {
		FRESH, NOISE, .no_writeback = true, .nr_stored = NR_PAGES / 2,
	};

	run_rounds(_metadata, &self->t, &way, 1);
}

/* One way after the other, from pages that were zero and read in between. */
TEST_F_TIMEOUT(zswap_stale, in_turn, TIMEOUT)
{
	const struct way ways[] = {
		{ ZERO, ZERO },
		{ FRESH, FRESH, .off = true },
		{ ZERO, ZERO },
		{ FRESH, FRESH, .nr_stored = NR_PAGES },
		{ ZERO, FRESH, .refused = true },
	};

	run_rounds(_metadata, &self->t, ways, ARRAY_SIZE(ways));
}

/* A child keeps the old version of what is not shared. */
TEST_F_TIMEOUT(zswap_stale, forked, TIMEOUT)
{
	const struct way fresh = { FRESH, FRESH }, zero = { ZERO, ZERO };
	struct stale *t = &self->t;
	const struct way *seen = t->kind == SHMEM ? &zero : &fresh;
	struct region *r = &t->region;
	int round, status, fds[2];
	pid_t pid;
	char c = 0;

	for (round = 0; round < rounds; round++) {
		keep_in_zswap(_metadata, t);
		ASSERT_EQ(0, pipe(fds));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			/* locks are not inherited, so drop no swap cache here */
			if (read(fds[0], &c, 1) != 1 ||
			    madvise(r->mem, region_len(), MADV_PAGEOUT))
				_exit(KSFT_FAIL);
			scan_zswap(_metadata, t);
			_exit(count_wrong(r, seen, t->version) ?
			      KSFT_FAIL : KSFT_PASS);
		}
		fill(r, &zero, ++t->version);
		ASSERT_EQ(0, madvise(r->mem, region_len(), MADV_PAGEOUT));
		ASSERT_EQ(1, write(fds[1], &c, 1));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(KSFT_PASS, WEXITSTATUS(status));
		close(fds[0]);
		close(fds[1]);
		EXPECT_EQ(0, count_wrong(r, &zero, t->version));
		unmap_region(_metadata, r);
		EXPECT_EQ(t->stored, stored_pages());
	}
}

/* Memory that goes away takes along what zswap has of it. */
TEST_F_TIMEOUT(zswap_stale, unmapped, TIMEOUT)
{
	struct stale *t = &self->t;
	int round;

	for (round = 0; round < rounds; round++) {
		keep_in_zswap(_metadata, t);
		unmap_region(_metadata, &t->region);
		EXPECT_EQ(t->stored, stored_pages());
	}
}

static void save_settings(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		settings[i].len = read_text(settings[i].path, settings[i].val,
					    sizeof(settings[i].val));
	thp_save_settings();
}

static void restore_settings(void)
{
	int i;

	if (getpid() != main_pid)
		return;
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		if (settings[i].len > 0)
			write_text(settings[i].path, settings[i].val,
				   settings[i].len);
	if (cgroup)
		cg_destroy(cgroup);
}

static void create_cgroup(void)
{
	char root[PATH_MAX];

	if (cg_find_unified_root(root, sizeof(root), NULL) ||
	    cg_read_strstr(root, "cgroup.controllers", "memory") ||
	    cg_write(root, "cgroup.subtree_control", "+memory"))
		return;
	cgroup = cg_name(root, "zswap_stale");
	if (cgroup && cg_create(cgroup) && errno != EEXIST) {
		free(cgroup);
		cgroup = NULL;
	}
}

int main(int argc, char **argv)
{
	if (getenv("ROUNDS"))
		rounds = atoi(getenv("ROUNDS"));
	if (rounds < 1)
		rounds = 1;
	if (geteuid() == 0) {
		main_pid = getpid();
		save_settings();
		create_cgroup();
		atexit(restore_settings);
	}
	return test_harness_run(argc, argv);
}
