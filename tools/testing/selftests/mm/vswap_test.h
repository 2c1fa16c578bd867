/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of virtual swap have in common: settings, memory cgroups,
 * counters, and regions of memory whose pages can be told apart.
 */
#ifndef _VSWAP_TEST_H
#define _VSWAP_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "vm_util.h"

#define VSWAP		"/sys/kernel/mm/swap/vswap/"
#define ZSWAP		"/sys/module/zswap/parameters/"
#define ZSWAP_DEBUG	"/sys/kernel/debug/zswap/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define KSM		"/sys/kernel/mm/ksm/"
#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"
#define FAIL_FUNCTION	"/sys/kernel/debug/fail_function/"
#define FAIL_REQUEST	"/sys/kernel/debug/fail_make_request/"

#define TIMEOUT		600	/* seconds for a test on a slow machine */
#define SMALL		32	/* pages, where the number does not matter */

/*
 * Files and settings
 */

/* Returns 0 or a negative error. */
static inline int write_str(const char *path, const char *val)
{
	ssize_t len = strlen(val);
	int fd = open(path, O_WRONLY), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, val, len) != len)
		err = -errno;
	close(fd);
	return err;
}

static inline int write_long(const char *path, long val)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%ld", val);
	return write_str(path, buf);
}

/* Returns the length without the last newline, or a negative error. */
static inline ssize_t read_str(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t len = 0, ret;

	if (fd < 0)
		return -errno;
	do {
		ret = read(fd, buf + len, size - 1 - len);
		if (ret > 0)
			len += ret;
	} while (ret > 0);
	close(fd);
	if (ret < 0)
		return -errno;
	if (len && buf[len - 1] == '\n')
		len--;
	buf[len] = '\0';
	return len;
}

/* -1 if there is no such file or it is no number. */
static inline long read_long(const char *path)
{
	char buf[64], *end;
	long val;

	if (read_str(path, buf, sizeof(buf)) <= 0)
		return -1;
	val = strtol(buf, &end, 10);
	return *end ? -1 : val;
}

/* The number after @key at the start of a line of @text, or -1. */
static inline long find_key(const char *text, const char *key)
{
	size_t len = strlen(key);
	const char *line = text;

	while (line && *line) {
		if (!strncmp(line, key, len) && strchr(" :\t", line[len]))
			return strtol(line + len + 1, NULL, 10);
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return -1;
}

static inline long read_key(const char *path, const char *key)
{
	static char buf[64 << 10];

	if (read_str(path, buf, sizeof(buf)) < 0)
		return -1;
	return find_key(buf, key);
}

/* What the tests change. Saved once, put back after each test. */
struct setting {
	char path[128];
	char val[136];		/* a core_pattern is the longest */
};

static struct setting settings[128];
static int nr_settings;

static inline void save_setting(const char *path)
{
	struct setting *s = &settings[nr_settings];
	char buf[256], *from, *to;

	if (nr_settings == (int)(ARRAY_SIZE(settings)) ||
	    read_str(path, buf, sizeof(buf)) < 0)
		return;
	from = strchr(buf, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to)
		*to = '\0';
	snprintf(s->path, sizeof(s->path), "%s", path);
	snprintf(s->val, sizeof(s->val), "%.130s", to ? from + 1 : buf);
	nr_settings++;
}

static inline void save_settings(void)
{
	static const char * const paths[] = {
		ZSWAP "compressor",
		ZSWAP "max_pool_percent",
		ZSWAP "accept_threshold_percent",
		ZSWAP "shrinker_enabled",
		ZSWAP "enabled",
		VSWAP "limit",
		VSWAP "enabled",
		THP "enabled",
		THP "shmem_enabled",
		THP "khugepaged/scan_sleep_millisecs",
		KSM "run",
		KSM "pages_to_scan",
		KSM "sleep_millisecs",
		"/proc/sys/vm/overcommit_memory",
		"/proc/sys/vm/swappiness",
		"/proc/sys/vm/page-cluster",
		CORE_PATTERN,
	};
	static const char * const globs[] = {
		THP "hugepages-*/enabled",
		THP "hugepages-*/shmem_enabled",
	};
	glob_t found;
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(paths); i++)
		save_setting(paths[i]);
	for (i = 0; i < ARRAY_SIZE(globs); i++) {
		if (glob(globs[i], 0, NULL, &found))
			continue;
		for (j = 0; j < found.gl_pathc; j++)
			save_setting(found.gl_pathv[j]);
		globfree(&found);
	}
}

static inline void restore_settings(void)
{
	int i;

	for (i = 0; i < nr_settings; i++)
		write_str(settings[i].path, settings[i].val);
}

/* Write @val to every saved setting that lies below THP and ends in @name. */
static inline void set_all_thp(const char *name, const char *val)
{
	size_t len = strlen(name), path_len;
	int i;

	for (i = 0; i < nr_settings; i++) {
		path_len = strlen(settings[i].path);
		if (!strncmp(settings[i].path, THP "hugepages-",
			     strlen(THP "hugepages-")) && path_len > len &&
		    !strcmp(settings[i].path + path_len - len, name))
			write_str(settings[i].path, val);
	}
}

/*
 * The configuration of the kernel: what it leaves out is skipped, and what it
 * has must be there.
 */
static char *config_text;

static inline void read_config(void)
{
	size_t size = 1 << 20, len = 0, ret;
	FILE *pipe;

	config_text = calloc(1, size);
	if (!config_text)
		return;
	pipe = popen("(zcat /proc/config.gz || cat /boot/config-$(uname -r)) 2> /dev/null",
		     "r");
	if (!pipe)
		return;
	do {
		ret = fread(config_text + len, 1, size - 1 - len, pipe);
		len += ret;
	} while (ret);
	pclose(pipe);
}

static inline bool config_known(void)
{
	return config_text && strstr(config_text, "CONFIG_SWAP");
}

static inline bool config_on(const char *sym)
{
	char line[128];

	snprintf(line, sizeof(line), "\n%s=y\n", sym);
	return config_text && strstr(config_text, line);
}

static inline bool config_off(const char *sym)
{
	return config_known() && !config_on(sym);
}

/*
 * Returns @have. If it is false, the kernel is configured without @sym, and the
 * test is to be skipped, or it is a bug.
 */
static inline bool need(struct __test_metadata *_metadata, bool have, const char *sym)
{
	if (have)
		return true;
	if (config_off(sym))
		SKIP(return false, "no %s in this kernel", sym);
	ASSERT_TRUE(have) {
		TH_LOG("missing, but %s is not off", sym);
	}
	return false;
}

/*
 * Memory cgroups: a directory for the test program with one cgroup that the
 * test itself is in, and others that tests make.
 */
static char cg_mount[PATH_MAX];		/* root of the hierarchy */
static char cg_top[PATH_MAX - 64];	/* all of the below */

static inline void find_cgroup2(void)
{
	char dev[64], dir[256], type[256], line[1024];
	FILE *mounts = fopen("/proc/mounts", "r");
	bool found = false;

	if (!mounts)
		return;
	while (!found && fgets(line, sizeof(line), mounts))
		found = sscanf(line, "%63s %255s %255s", dev, dir, type) == 3 &&
			!strcmp(type, "cgroup2");
	fclose(mounts);
	if (!found)
		return;
	snprintf(line, sizeof(line), "%s/cgroup.controllers", dir);
	if (read_str(line, type, sizeof(type)) <= 0 || !strstr(type, "memory"))
		return;
	snprintf(cg_mount, sizeof(cg_mount), "%s", dir);
	snprintf(cg_top, sizeof(cg_top), "%s/vswap_test.%d", dir, getpid());
}

static inline const char *cg_file(const char *cg, const char *file)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s/%s", cg_top, cg, file);
	return path;
}

static inline int cg_write(const char *cg, const char *file, const char *val)
{
	return write_str(cg_file(cg, file), val);
}

static inline long cg_long(const char *cg, const char *file)
{
	return read_long(cg_file(cg, file));
}

static inline long cg_key(const char *cg, const char *file, const char *key)
{
	return read_key(cg_file(cg, file), key);
}

static inline int cg_make(const char *cg)
{
	return mkdir(cg_file(cg, ""), 0755) ? -errno : 0;
}

static inline int cg_remove(const char *cg)
{
	return rmdir(cg_file(cg, "")) ? -errno : 0;
}

/*
 * Reclaim anonymous memory, down to the last page: none may be on its way to the
 * lists that reclaim looks at, nor may its share be rounded to nothing because
 * files have one, too.
 */
static inline void cg_reclaim(const char *cg, const char *bytes)
{
	char val[64];

	snprintf(val, sizeof(val), "%s swappiness=max", bytes);
	write_str("/proc/sys/vm/drop_caches", "1");
	cg_write(cg, "memory.reclaim", val);
}

/* Move this process to a cgroup. */
static inline int cg_enter(const char *cg)
{
	return cg_write(cg, "cgroup.procs", "0");
}

static inline void sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}

static inline long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Wait until @cond is true, for some seconds. Returns false if it is not. */
#define WAIT_FOR(cond) ({						\
	long __end = now_ms() + 20000;					\
	bool __ok;							\
									\
	while (!(__ok = (cond)) && now_ms() < __end)			\
		sleep_ms(5);						\
	__ok;								\
})

/*
 * A key of memory.stat. Small changes are not shown at once, but a cgroup that
 * goes makes its parent look.
 */
static inline long cg_stat(const char *cg, const char *key)
{
	if (!cg_make("flush"))
		cg_remove("flush");
	return cg_key(cg, "memory.stat", key);
}

static inline void expect_stat(struct __test_metadata *_metadata, int line, long want,
			       const char *cg, const char *key)
{
	WAIT_FOR(cg_stat(cg, key) == want);
	EXPECT_EQ(want, cg_stat(cg, key)) {
		TH_LOG("line %d: %s of memory.stat", line, key);
	}
}

#define EXPECT_STAT(want, cg, key)					\
	expect_stat(_metadata, __LINE__, want, cg, key)

static inline long dying_cgroups(void)
{
	return cg_key("", "cgroup.stat", "nr_dying_descendants");
}

/* Kill whoever is left in the cgroups of the test, and remove them. */
static inline void remove_cgroups(void)
{
	char pattern[PATH_MAX];
	glob_t found;
	size_t i;

	if (access(cg_top, F_OK))
		return;
	cg_write("", "cgroup.kill", "1");
	WAIT_FOR(!cg_key("", "cgroup.events", "populated"));
	snprintf(pattern, sizeof(pattern), "%s/*/", cg_top);
	if (!glob(pattern, 0, NULL, &found)) {
		for (i = 0; i < found.gl_pathc; i++)
			rmdir(found.gl_pathv[i]);
		globfree(&found);
	}
	rmdir(cg_top);
}

/*
 * Counters
 */
enum counter {
	/* /proc/vmstat */
	ZSWPOUT, ZSWPIN, ZSWPWB, SWPOUT_ZERO, SWPIN_ZERO, PSWPOUT, PSWPIN,
	THP_SWPOUT,
	/* VSWAP */
	USED, CACHED, ZERO, ZSWAPPED, PHYSICAL, ALLOC_FAIL, FRAGMENTED,
	NR_COUNTERS
};

static const char * const counter_names[NR_COUNTERS] = {
	[ZSWPOUT] = "zswpout",
	[ZSWPIN] = "zswpin",
	[ZSWPWB] = "zswpwb",
	[SWPOUT_ZERO] = "swpout_zero",
	[SWPIN_ZERO] = "swpin_zero",
	[PSWPOUT] = "pswpout",
	[PSWPIN] = "pswpin",
	[THP_SWPOUT] = "thp_swpout",
	[USED] = VSWAP "used",
	[CACHED] = VSWAP "cached",
	[ZERO] = VSWAP "zero",
	[ZSWAPPED] = VSWAP "zswap",
	[PHYSICAL] = VSWAP "physical",
	[ALLOC_FAIL] = VSWAP "alloc_fail",
	[FRAGMENTED] = VSWAP "fragmented",
};

static inline void read_counters(long *val)
{
	static char vmstat[64 << 10];
	int i;

	if (read_str("/proc/vmstat", vmstat, sizeof(vmstat)) < 0)
		vmstat[0] = '\0';
	for (i = 0; i < NR_COUNTERS; i++) {
		if (counter_names[i][0] == '/')
			val[i] = read_long(counter_names[i]);
		else
			val[i] = find_key(vmstat, counter_names[i]);
	}
}

/* Reclaim what is in the cgroup of the test, until @cond is true. */
#define RECLAIM_UNTIL(cond) ({						\
	int __tries = 50;						\
	bool __ok;							\
									\
	while (!(__ok = (cond)) && __tries--) {				\
		cg_reclaim("main", "16M");				\
		/* or it goes on working with old statistics */		\
		cg_stat("main", "anon");				\
		sleep_ms(5);						\
	}								\
	__ok;								\
})

static inline long used(void)
{
	return read_long(VSWAP "used");
}

static inline long metadata(void)
{
	return read_long(VSWAP "metadata_bytes");
}

static inline long meminfo_kb(const char *key)
{
	return read_key("/proc/meminfo", key);
}

/* Shared by the processes of a test. */
struct env {
	long start[NR_COUNTERS];	/* before the test */
	long last[NR_COUNTERS];		/* as of the last comparison */
	long stored;			/* pages in zswap before the test */
	char *dev, *dev2;		/* swap devices in use */
};

static inline void mark_counters(struct env *env)
{
	read_counters(env->last);
}

static inline void expect_counters(struct __test_metadata *_metadata, int line,
				   struct env *env, const long *want)
{
	long now[NR_COUNTERS];
	int i;

	read_counters(now);
	for (i = 0; i < NR_COUNTERS; i++) {
		EXPECT_EQ(want[i], now[i] - env->last[i]) {
			TH_LOG("line %d: %s", line, counter_names[i]);
		}
	}
	memcpy(env->last, now, sizeof(now));
}

/*
 * By how much the counters have moved since they were looked at last, as
 * "[COUNTER] = number". Those that are not named have to stand still.
 */
#define EXPECT_COUNTERS_OF(env, ...)					\
	expect_counters(_metadata, __LINE__, env,			\
			(long [NR_COUNTERS]) { __VA_ARGS__ })
#define EXPECT_COUNTERS(...) EXPECT_COUNTERS_OF(&self->env, ##__VA_ARGS__)

/*
 * Pages with contents
 */
enum content {
	MIXED,		/* compresses well */
	ZEROED,
	NOISE,		/* does not compress */
	POOR,		/* compresses to three quarters */
};

struct page_info {
	uint8_t content;
	uint32_t version;
};

struct region {
	char *addr;
	size_t nr;		/* pages */
	struct page_info *pages;
	uint32_t id;		/* of the region and of who writes */
	void *map;
	size_t map_len;
};

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline void make_page(void *buf, const struct region *r, size_t nr)
{
	const struct page_info *info = &r->pages[nr];
	uint64_t words = psize() / sizeof(uint64_t), *p = buf, i;
	uint64_t key, x;

	key = ((uint64_t)r->id << 40 ^ (uint64_t)info->version << 20 ^ nr) *
	      0x9e3779b97f4a7c15ULL;
	x = key | 1;
	switch (info->content) {
	case ZEROED:
		memset(buf, 0, psize());
		break;
	case MIXED:
		for (i = 0; i < words; i++)
			p[i] = i % 8 == nr % 8 ? next_random(&x) : key;
		break;
	case POOR:
		for (i = 0; i < words; i++)
			p[i] = i % 4 ? next_random(&x) : 0;
		break;
	case NOISE:
		for (i = 0; i < words; i++)
			p[i] = next_random(&x);
		break;
	}
}

static inline char *page_addr(const struct region *r, size_t nr)
{
	return r->addr + nr * psize();
}

/* Give pages a new version. */
static inline void fill(struct region *r, size_t first, size_t nr, enum content content)
{
	size_t i;

	for (i = first; i < first + nr; i++) {
		r->pages[i].content = content;
		r->pages[i].version++;
		make_page(page_addr(r, i), r, i);
	}
}

/* The pages are gone, and read as zero from now on. */
static inline void forget(struct region *r, size_t first, size_t nr)
{
	size_t i;

	for (i = first; i < first + nr; i++)
		r->pages[i].content = ZEROED;
}

/* Compare @page with what page @nr of the region should be. */
static inline bool page_right(const struct region *r, size_t nr, const char *page)
{
	uint64_t buf[(64 << 10) / sizeof(uint64_t)];
	const char *want = (const char *)buf;
	size_t i;

	make_page(buf, r, nr);
	if (!memcmp(want, page, psize()))
		return true;
	for (i = 0; want[i] == page[i]; i++)
		;
	ksft_print_msg("page %zu version %u: byte %zu is %#x, not %#x\n", nr,
		       r->pages[nr].version, i, (unsigned char)page[i],
		       (unsigned char)want[i]);
	return false;
}

static inline size_t count_wrong(const struct region *r, size_t first, size_t nr)
{
	size_t i, wrong = 0;

	for (i = first; i < first + nr && wrong < 4; i++)
		wrong += !page_right(r, i, page_addr(r, i));
	return wrong;
}

#define EXPECT_DATA(r, first, nr) EXPECT_EQ(0, count_wrong(r, first, nr))

/*
 * @nr pages of private anonymous memory, or of @fd. They begin @align pages
 * aligned, so that large folios fit.
 */
static inline struct region *map_region(struct __test_metadata *_metadata, size_t nr,
					size_t align, int fd)
{
	static struct region regions[8];
	static int nr_regions;
	size_t info_len = nr * sizeof(struct page_info);
	struct region *r = &regions[nr_regions++ % 8];
	char *map;

	memset(r, 0, sizeof(*r));
	r->id = nr_regions;
	r->nr = nr;
	r->pages = mmap(NULL, info_len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE,
			-1, 0);
	ASSERT_NE(MAP_FAILED, r->pages);
	memset(r->pages, 0, info_len);

	r->map_len = (nr + 2 * align) * psize();
	map = mmap(NULL, r->map_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	r->map = map;
	align *= psize();
	/* not next to another mapping, which it might be merged with */
	r->addr = (char *)(((uintptr_t)map + align) & ~(align - 1));
	ASSERT_EQ(r->addr, mmap(r->addr, nr * psize(), PROT_READ | PROT_WRITE,
				MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS :
						      MAP_SHARED), fd, 0));
	return r;
}

static inline void unmap_region(struct region *r)
{
	munmap(r->map, r->map_len);
	munmap(r->pages, r->nr * sizeof(struct page_info));
}

static inline uint64_t pagemap_of(const char *addr)
{
	static int fd = -1;
	static pid_t pid;

	if (pid != getpid()) {
		if (fd >= 0)
			close(fd);
		fd = open("/proc/self/pagemap", O_RDONLY);
		pid = getpid();
	}
	return pagemap_get_entry(fd, (char *)addr);
}

static inline unsigned int swap_type(uint64_t entry)
{
	return entry & 0x1f;
}

static inline unsigned long swap_offset(uint64_t entry)
{
	return (entry & ((1ULL << 55) - 1)) >> 5;
}

/* Of how many pages does the page table hold a swap entry? */
static inline size_t count_swapped(const struct region *r, size_t first, size_t nr)
{
	size_t i, swapped = 0;

	for (i = first; i < first + nr; i++)
		swapped += !!(pagemap_of(page_addr(r, i)) & PM_SWAP);
	return swapped;
}

static inline size_t count_present(const struct region *r, size_t first, size_t nr)
{
	size_t i, present = 0;

	for (i = first; i < first + nr; i++)
		present += !!(pagemap_of(page_addr(r, i)) & PM_PRESENT);
	return present;
}

/* Pages that mincore() calls resident */
static inline size_t resident(const struct region *r, size_t first, size_t nr)
{
	unsigned char vec[4096];
	size_t i, found = 0;

	if (nr > sizeof(vec) || mincore(page_addr(r, first), nr * psize(), vec))
		return -1;
	for (i = 0; i < nr; i++)
		found += vec[i] & 1;
	return found;
}

static inline int pageout(const struct region *r, size_t first, size_t nr)
{
	return madvise(page_addr(r, first), nr * psize(), MADV_PAGEOUT);
}

/* Page out anonymous memory, and see that the page tables say so. */
static inline void page_out(struct __test_metadata *_metadata, int line,
			    const struct region *r, size_t first, size_t nr)
{
	ASSERT_EQ(0, pageout(r, first, nr));
	EXPECT_EQ(nr, count_swapped(r, first, nr)) {
		TH_LOG("line %d: pages that are out", line);
	}
}

#define PAGEOUT(r, first, nr)						\
	page_out(_metadata, __LINE__, r, first, nr)

/* Wait for a child that has to end with @status. */
static inline void expect_exit(struct __test_metadata *_metadata, int line, pid_t pid,
			       int want)
{
	int status = -1;

	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(want, status) {
		TH_LOG("line %d: status of a child", line);
	}
}

#define EXPECT_EXIT(pid) expect_exit(_metadata, __LINE__, pid, 0)

/* A line that processes can be held at. */
struct gate {
	int fd[2];
};

static inline int gate_make(struct gate *gate)
{
	return pipe(gate->fd);
}

/* Called by the one who opens it, after all others exist. */
static inline void gate_open(struct gate *gate)
{
	close(gate->fd[0]);
	close(gate->fd[1]);
}

static inline void gate_wait(struct gate *gate)
{
	char c;

	close(gate->fd[1]);
	if (read(gate->fd[0], &c, 1))
		abort();
	close(gate->fd[0]);
}

/*
 * What all fixtures do
 */
static inline long stored_pages(void)
{
	return read_long(ZSWAP_DEBUG "stored_pages");
}

/* Is a swap device on? */
static inline bool have_swap_device(void)
{
	char buf[1024];
	char *line;

	if (read_str("/proc/swaps", buf, sizeof(buf)) < 0)
		return false;
	line = strchr(buf, '\n');
	return line && line[1];
}

/* Counters are exact if all is done on one CPU. */
static inline void pin_to_cpu(void)
{
	int cpu = sched_getcpu();
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static inline void unpin(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	sched_setaffinity(0, sizeof(set), &set);
}

/* Slots of a cluster: what the smallest limit is rounded up to. */
static long cluster;

static inline void setup(struct __test_metadata *_metadata, struct env *env)
{
	char path[PATH_MAX + 32];
	long limit;

	if (geteuid())
		SKIP(return, "needs root");
	if (!need(_metadata, !access("/proc/swaps", F_OK), "CONFIG_SWAP"))
		return;
	if (!need(_metadata, !access(ZSWAP "enabled", F_OK), "CONFIG_ZSWAP"))
		return;
	if (!need(_metadata, !access(VSWAP "used", F_OK), "CONFIG_VSWAP"))
		return;
	if (!cg_top[0])
		SKIP(return, "needs the memory controller of cgroup v2");
	if (have_swap_device())
		SKIP(return, "a swap device is on");

	/* Left by a test that was killed. */
	remove_cgroups();
	restore_settings();

	ASSERT_EQ(0, write_str(VSWAP "enabled", "1"));
	limit = read_long(VSWAP "limit");
	ASSERT_EQ(0, write_str(VSWAP "limit", "1"));
	cluster = read_long(VSWAP "limit");
	ASSERT_EQ(0, write_long(VSWAP "limit", limit));
	ASSERT_LT(0, cluster);
	ASSERT_EQ(0, write_str(ZSWAP "max_pool_percent", "20"));
	ASSERT_EQ(0, write_str(ZSWAP "accept_threshold_percent", "90"));
	write_str(ZSWAP "compressor", "lzo");
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "1"));
	write_str(THP "enabled", "never");
	write_str(THP "shmem_enabled", "never");
	write_str(THP "khugepaged/scan_sleep_millisecs", "600000");
	set_all_thp("/enabled", "never");
	set_all_thp("/shmem_enabled", "never");
	write_str("/proc/sys/vm/swappiness", "100");

	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", cg_mount);
	write_str(path, "+memory");
	ASSERT_EQ(0, cg_make(""));
	ASSERT_EQ(0, cg_write("", "cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, cg_make("main"));
	ASSERT_EQ(0, cg_enter("main"));

	/* What the program itself consists of must not be swapped. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	pin_to_cpu();

	read_counters(env->start);
	memcpy(env->last, env->start, sizeof(env->last));
	env->stored = stored_pages();
}

/*
 * Have all slots of the test been given back? A process that dies while
 * reclaim has one of its folios locked leaves it in the swap cache, where
 * nobody refers to it, and the slot stays until reclaim comes by again.
 */
static inline bool slots_gone(struct env *env)
{
	if (used() <= env->start[USED])
		return true;
	cg_reclaim("", "1M");
	return used() <= env->start[USED];
}

/* In another process, after the test is gone: nothing may be left of it. */
static inline void teardown(struct __test_metadata *_metadata, struct env *env)
{
	long now[NR_COUNTERS];

	if (env->dev)
		swapoff(env->dev);
	if (env->dev2)
		swapoff(env->dev2);
	cg_write("", "cgroup.kill", "1");
	/* Reclaim passes by a cgroup that has nowhere to swap to. */
	cg_write("main", "memory.zswap.max", "max");
	WAIT_FOR(slots_gone(env));
	remove_cgroups();
	WAIT_FOR(used() <= env->start[USED]);
	read_counters(now);
	EXPECT_EQ(env->start[USED], now[USED]);
	EXPECT_EQ(env->start[CACHED], now[CACHED]);
	EXPECT_EQ(env->start[ZERO], now[ZERO]);
	EXPECT_EQ(env->start[ZSWAPPED], now[ZSWAPPED]);
	EXPECT_EQ(env->start[PHYSICAL], now[PHYSICAL]);
	if (!env->dev)
		EXPECT_EQ(env->start[ZSWPWB], now[ZSWPWB]);
	EXPECT_EQ(env->stored, stored_pages());
	restore_settings();
}

#define VSWAP_TEST(fixture, name) TEST_F_TIMEOUT(fixture, name, TIMEOUT)

static inline int pmd_order(void)
{
	uint64_t size = read_pmd_pagesize();

	return size ? sz2ord(size, psize()) : 0;
}

static inline long mthp_stat(int order, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), THP "hugepages-%ukB/stats/%s",
		 (psize() >> 10) << order, name);
	return read_long(path);
}

static inline int set_mthp(int order, const char *name, const char *val)
{
	char path[256];

	snprintf(path, sizeof(path), THP "hugepages-%ukB/%s",
		 (psize() >> 10) << order, name);
	return write_str(path, val);
}

/* Does the file for large folios of this size exist? */
static inline bool have_mthp(int order, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), THP "hugepages-%ukB/%s",
		 (psize() >> 10) << order, name);
	return !access(path, F_OK);
}

/* How many pages belong to large folios? */
static inline size_t count_large(const struct region *r, size_t first, size_t nr)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	size_t i, large = 0;
	uint64_t flags;

	for (i = first; i < first + nr; i++) {
		uint64_t entry = pagemap_of(page_addr(r, i));

		if (!(entry & PM_PRESENT) ||
		    pageflags_get(PAGEMAP_PFN(entry), fd, &flags))
			continue;
		large += !!(flags & (KPF_COMPOUND_HEAD | KPF_COMPOUND_TAIL));
	}
	close(fd);
	return large;
}

/* Use large folios of one size. */
static inline bool need_large(struct __test_metadata *_metadata, int order,
			      const char *file)
{
	if (!need(_metadata, !access(THP, F_OK), "CONFIG_TRANSPARENT_HUGEPAGE") ||
	    !need(_metadata, !config_off("CONFIG_THP_SWAP"), "CONFIG_THP_SWAP"))
		return false;
	ASSERT_EQ(0, set_mthp(order, file, "always"));
	return true;
}

/* From now on zswap takes nothing from the test. */
static inline void forbid_zswap(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "0"));
}

static inline bool swap_cache_empty(void)
{
	/* the statistics of the cgroup may be old: add up those of the machine */
	return !write_str("/proc/sys/vm/stat_refresh", "1") &&
	       !meminfo_kb("SwapCached") && !cg_stat("main", "swapcached");
}

/* What has been written is to be read again, and not found in the swap cache. */
static inline void empty_swap_cache(struct __test_metadata *_metadata)
{
	int i;

	/* Statistics may be old, and a folio that is being written stays. */
	for (i = 0; i < 3; i++) {
		cg_reclaim("main", "4K");
		sleep_ms(20);
	}
	EXPECT_TRUE(WAIT_FOR((cg_reclaim("main", "4K"),
			      swap_cache_empty())));
}

/* Have the shrinker of zswap look at @nr entries of the test on each node. */
static inline void scan_zswap(struct __test_metadata *_metadata, int nr)
{
	int nid, len, fd;
	struct stat st;
	glob_t found;
	char buf[64];

	ASSERT_EQ(0, stat(cg_file("main", ""), &st));
	ASSERT_EQ(0, glob("/sys/kernel/debug/shrinker/mm-zswap-*/scan", 0, NULL,
			  &found));
	fd = open(found.gl_pathv[0], O_WRONLY);
	globfree(&found);
	ASSERT_LE(0, fd);
	for (nid = 0; ; nid++) {
		len = snprintf(buf, sizeof(buf), "%llu %d %d",
			       (unsigned long long)st.st_ino, nid, nr);
		if (write(fd, buf, len) != len)
			break;
	}
	ASSERT_EQ(EINVAL, errno);	/* no such node */
	ASSERT_LT(0, nid);
	close(fd);
}

/* The first look at an entry only takes away its referenced mark. */
static inline void write_back(struct __test_metadata *_metadata, struct env *env, long nr)
{
	long before = env->last[ZSWPWB];
	int tries;

	ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "Y"));
	for (tries = 0; tries < 100; tries++) {
		if (read_key("/proc/vmstat", "zswpwb") - before >= nr)
			break;
		scan_zswap(_metadata, 1);
	}
	ASSERT_EQ(0, write_str(ZSWAP "shrinker_enabled", "N"));
}

static inline long swap_free_pages(void)
{
	return meminfo_kb("SwapFree") / (psize() >> 10);
}

static inline bool need_device(struct __test_metadata *_metadata, struct env *env)
{
	env->dev = getenv("VSWAP_TEST_DEV");
	if (!env->dev)
		SKIP(return false, "VSWAP_TEST_DEV names no device");
	return true;
}

static inline bool need_two_devices(struct __test_metadata *_metadata, struct env *env)
{
	if (!need_device(_metadata, env))
		return false;
	env->dev2 = getenv("VSWAP_TEST_DEV2");
	if (!env->dev2)
		SKIP(return false, "VSWAP_TEST_DEV2 names no device");
	return true;
}

static inline int make_memfd(struct __test_metadata *_metadata, size_t nr)
{
	int fd = memfd_create("vswap", 0);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, nr * psize()));
	return fd;
}

/* Of the pages that are decompressed, fail @times from the @nth one on. */
static inline int fail_decompress(const char *nth, const char *times)
{
	if (write_str(FAIL_FUNCTION "inject", "zswap_decompress") ||
	    write_str(FAIL_FUNCTION "zswap_decompress/retval", "0xfffffffffffffffb") ||
	    write_str(FAIL_FUNCTION "verbose", "0") ||
	    write_str(FAIL_FUNCTION "interval", "1") ||
	    write_str(FAIL_FUNCTION "space", nth) ||
	    write_str(FAIL_FUNCTION "times", times) ||
	    write_str(FAIL_FUNCTION "probability", "100"))
		return -1;
	return 0;
}

static inline void succeed_decompress(void)
{
	write_str(FAIL_FUNCTION "probability", "0");
	write_str(FAIL_FUNCTION "inject", "");
}

/* Of the requests for device @dev, fail the next @times. */
static inline int fail_requests(const char *dev, const char *times)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/%s/make-it-fail", strrchr(dev, '/') + 1);
	if (write_str(path, "1") ||
	    write_str(FAIL_REQUEST "verbose", "0") ||
	    write_str(FAIL_REQUEST "interval", "1") ||
	    write_str(FAIL_REQUEST "space", "0") ||
	    write_str(FAIL_REQUEST "times", times) ||
	    write_str(FAIL_REQUEST "probability", "100"))
		return -1;
	return 0;
}

static inline void succeed_requests(const char *dev)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/%s/make-it-fail", strrchr(dev, '/') + 1);
	write_str(FAIL_REQUEST "probability", "0");
	write_str(path, "0");
}

/* In a child: 0 if the page comes and is right, the signal if one comes instead */
static inline int touch_in_child(const struct region *r, size_t nr)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		/* a core dump would read all of it, whatever the limit if piped */
		prctl(PR_SET_DUMPABLE, 0);
		signal(SIGBUS, SIG_DFL);
		_exit(!!count_wrong(r, nr, 1));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static pid_t main_pid;

static inline void at_exit(void)
{
	if (getpid() != main_pid)
		return;
	remove_cgroups();
	restore_settings();
}

/* All that main() does: settings and cgroups are as they were, however it ends. */
static inline int run_tests(int argc, char **argv)
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

#endif /* _VSWAP_TEST_H */
