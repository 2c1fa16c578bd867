// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is moved between swap and RAM on command, and verified.
 *
 * usage: swapprobe CGROUP
 *        swapprobe on DEVICE PRIORITY [discard]
 *        swapprobe off DEVICE
 *        swapprobe drain
 *
 * The first form reads commands from standard input, and answers each with one
 * line. R is a region, 0 to 3; FIRST and NR are pages in it; lists of pages
 * look like "0-3,7", and "none" is an empty one. CGROUP is the directory of the
 * memory cgroup it runs in.
 *
 *  map R anon|huge|shmem NR     map memory; "huge" asks for large folios
 *  unmap R
 *  fill R FIRST NR              write a new version; says where SIGBUS came
 *  check R FIRST NR             compare byte for byte with what was written
 *                               last; says which pages were wrong, where SIGBUS
 *                               came, and which are poisoned (if any)
 *  pread R FIRST NR             the same, by pread(); says which gave EIO
 *  faults                       how many page faults it has had
 *  spoil R PAGE                 expect something else of a page than is there
 *  merge R PERIOD               from now on, pages have the contents of those
 *                               PERIOD before them; fill all of it, and wait
 *                               until KSM has merged all of it
 *  free R FIRST NR STEP         give every STEP-th page back
 *  out R FIRST NR               ask for them to be swapped out
 *  drop R FIRST NR WANT         wait for writeback, reclaim what is clean in the
 *                               swap cache; says how many are in memory, when
 *                               these are WANT, or after a while
 *  in R FIRST NR                which ones are in memory, mapped or not
 *  where R FIRST NR DEVICE      in which slots of DEVICE is the last version?
 *  folios R FIRST NR SIZE DEVICE  how many runs of SIZE pages are on DEVICE and
 *                               not in memory, how many are in memory and not
 *                               all of them on DEVICE, how many neither
 *
 * The other forms do what they say and print the name of the error, or 0.
 *
 * Nothing but the regions is ever swapped out: the rest is locked.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <unistd.h>

#define PAGE		4096UL
#define WORDS		(PAGE / sizeof(uint64_t))
#define ALIGN_TO	(2UL << 20)
#define REGIONS		4
#define MAX_PAGES	8192
#define MAX_SLOTS	65536
#define MAGIC		0x7376707262ULL
#define KSM		"/sys/kernel/mm/ksm/"

struct region {
	char *mem;			/* NULL: not mapped */
	char *base;			/* What mmap() returned */
	unsigned long nr;
	int fd;				/* -1: not shmem */
	unsigned long period;		/* after which contents are the same again */
	uint32_t version[MAX_PAGES];	/* 0: zero */
};

static struct region regions[REGIONS];
static uint32_t last_version;
static const char *cgroup;
static uint64_t want[WORDS], got[WORDS];
static char block[PAGE] __attribute__((aligned(4096)));
static char chunk[1 << 20] __attribute__((aligned(4096)));
static unsigned char core[MAX_PAGES];
static long slots[MAX_PAGES];
static uint64_t first_words[MAX_PAGES];
static char in_buf[4096], out_buf[4096];
static sigjmp_buf jump;
static volatile uintptr_t bus_addr;
static volatile int bus_code;

/*
 * Lists of pages, in one line
 */

static char line[65536];
static size_t len;
static long run_first = -1, run_last;

static void say_run(void)
{
	if (run_first < 0)
		return;
	len += snprintf(line + len, sizeof(line) - len,
			run_first == run_last ? "%s%ld" : "%s%ld-%ld",
			len && line[len - 1] != ' ' ? "," : "", run_first, run_last);
	run_first = -1;
}

static void list_begin(const char *name)
{
	len += snprintf(line + len, sizeof(line) - len, "%s%s ", len ? " " : "", name);
}

static void list_add(long page)
{
	if (run_first >= 0 && page == run_last + 1) {
		run_last = page;
		return;
	}
	say_run();
	run_first = page;
	run_last = page;
}

static void list_end(void)
{
	say_run();
	if (line[len - 1] == ' ')
		len += snprintf(line + len, sizeof(line) - len, "none");
}

static void answer(void)
{
	puts(line);
	len = 0;
	line[0] = '\0';
}

/*
 * Contents: 512 bytes that no other page and version has, again and again, so
 * that each page compresses and none of its words is like in any other page, but
 * for those that are to be merged.
 */
static void make(uint64_t *page, unsigned int r, unsigned long nr, uint32_t version)
{
	uint64_t x = MAGIC ^ ((uint64_t)version << 32) ^ (r << 24) ^
		     nr % regions[r].period;
	unsigned int i;

	if (!version) {
		memset(page, 0, PAGE);
		return;
	}
	x *= 0x9e3779b97f4a7c15ULL;
	for (i = 0; i < 64; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page[i] = x;
	}
	for (; i < WORDS; i++)
		page[i] = page[i - 64];
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	bus_addr = (uintptr_t)info->si_addr;
	bus_code = info->si_code;
	siglongjmp(jump, 1);
}

/* Copy a page from or to a region. False if that got SIGBUS, for this page. */
static bool copy(void *to, const void *from, const void *page)
{
	if (sigsetjmp(jump, 1)) {
		if (bus_addr - (uintptr_t)page >= PAGE) {
			printf("SIGBUS %d for %lx, not for the page at %p\n",
			       bus_code, (unsigned long)bus_addr, page);
			exit(3);
		}
		return false;
	}
	memcpy(to, from, PAGE);
	return true;
}

static void fill(unsigned int r, unsigned long first, unsigned long nr)
{
	struct region *reg = &regions[r];
	unsigned long i;

	last_version++;
	list_begin("bus");
	for (i = first; i < first + nr; i++) {
		make(want, r, i, last_version);
		if (copy(reg->mem + i * PAGE, want, reg->mem + i * PAGE))
			reg->version[i] = last_version;
		else
			list_add(i);
	}
	list_end();
}

static void check(unsigned int r, unsigned long first, unsigned long nr, bool sys)
{
	static unsigned char bad[MAX_PAGES];
	struct region *reg = &regions[r];
	bool poison = false;
	unsigned long i;

	list_begin("wrong");
	for (i = first; i < first + nr; i++) {
		bad[i] = 0;
		make(want, r, i, reg->version[i]);
		if (!sys) {
			if (!copy(got, reg->mem + i * PAGE, reg->mem + i * PAGE))
				bad[i] = bus_code == BUS_ADRERR ? 1 : 2;
			poison = poison || bad[i] == 2;
		} else if (pread(reg->fd, got, PAGE, i * PAGE) != (ssize_t)PAGE) {
			bad[i] = 1;
			if (errno != EIO) {
				printf("pread: %s\n", strerror(errno));
				exit(3);
			}
		}
		if (!bad[i] && memcmp(want, got, PAGE))
			list_add(i);
	}
	list_end();
	list_begin(sys ? "eio" : "bus");
	for (i = first; i < first + nr; i++)
		if (bad[i] == 1)
			list_add(i);
	list_end();
	if (poison) {
		list_begin("poison");
		for (i = first; i < first + nr; i++)
			if (bad[i] == 2)
				list_add(i);
		list_end();
	}
}

static unsigned long in_core(struct region *reg, unsigned long first, unsigned long nr)
{
	unsigned long i, count = 0;

	if (mincore(reg->mem + first * PAGE, nr * PAGE, core + first))
		perror("mincore");
	for (i = first; i < first + nr; i++)
		count += core[i] & 1;
	return count;
}

static int write_str(const char *path, const char *val)
{
	int fd = open(path, O_WRONLY), err = 0;

	if (fd < 0)
		return errno;
	if (write(fd, val, strlen(val)) < 0)
		err = errno;
	close(fd);
	return err;
}

static long vmstat(const char *name)
{
	static char buf[16384];
	int fd = open("/proc/vmstat", O_RDONLY);
	size_t size = strlen(name);
	ssize_t n = 0, ret;
	char *p;

	if (fd < 0)
		return -1;
	while ((ret = read(fd, buf + n, sizeof(buf) - 1 - n)) > 0)
		n += ret;
	close(fd);
	buf[n] = '\0';
	for (p = buf; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, name, size) && p[size] == ' ')
			return atol(p + size);
	}
	return -1;
}

/*
 * Folios that wait on some processor for being put on or moved about a list of
 * reclaim cannot be reclaimed. There is no better way to have all of them put
 * there.
 */
static void drain_lists(void)
{
	write_str("/proc/sys/vm/drop_caches", "1");
}

static unsigned long drop(struct region *reg, unsigned long first,
			  unsigned long nr, unsigned long wanted)
{
	unsigned long count = 0;
	char path[256];
	int i, tries;

	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	/* Three rounds at least, so that what has to stay is tried as well. */
	for (i = 0; i < 50 && (i < 3 || count != wanted); i++) {
		for (tries = 0; tries < 500; tries++) {
			write_str("/proc/sys/vm/stat_refresh", "1");
			if (!vmstat("nr_writeback"))
				break;
			usleep(10000);
		}
		drain_lists();
		/*
		 * Reclaim goes by statistics of the cgroup that may be two
		 * seconds old, and a few pages round to none where files have
		 * a share as well.
		 */
		if (i > 10)
			usleep(i * 4000);
		write_str(path, "4M swappiness=max");
		count = in_core(reg, first, nr);
	}
	return count;
}

/* Where on a device is the last version of each page? False: in two places. */
static bool find(unsigned int r, unsigned long first, unsigned long nr, const char *dev)
{
	int fd = open(dev, O_RDONLY | O_DIRECT);
	struct region *reg = &regions[r];
	unsigned long slot = 0, i;
	bool once = true;
	ssize_t n, at;

	for (i = first; i < first + nr; i++) {
		make(want, r, i, reg->version[i]);
		first_words[i] = want[0];
		slots[i] = -1;
	}
	if (fd < 0) {
		perror(dev);
		return false;
	}
	while (slot < MAX_SLOTS) {
		n = pread(fd, chunk, sizeof(chunk), slot * PAGE);
		if (n < 0) {
			/* An error somewhere in it: block by block. */
			n = pread(fd, block, PAGE, slot * PAGE);
			if (n == (ssize_t)PAGE)
				memcpy(chunk, block, PAGE);
			else if (n < 0)
				memset(chunk, 0, n = PAGE);
		}
		if (n < (ssize_t)PAGE)
			break;
		for (at = 0; at + (ssize_t)PAGE <= n; at += PAGE, slot++) {
			uint64_t *found = (uint64_t *)(chunk + at);

			if (!found[0])
				continue;
			for (i = first; i < first + nr; i++) {
				if (first_words[i] != found[0])
					continue;
				make(want, r, i, reg->version[i]);
				if (memcmp(want, found, PAGE))
					continue;
				once = once && slots[i] < 0;
				slots[i] = slot;
			}
		}
	}
	close(fd);
	return once;
}

static void folios(unsigned int r, unsigned long first, unsigned long nr,
		   unsigned long size, const char *dev)
{
	unsigned long i, j, on, out = 0, failed = 0, odd = 0;
	unsigned long in;

	if (!find(r, first, nr, dev))
		printf("(in two places) ");
	in_core(&regions[r], first, nr);
	for (i = first; i < first + nr; i += size) {
		for (j = on = in = 0; j < size; j++) {
			on += slots[i + j] >= 0;
			in += core[i + j] & 1;
		}
		if (on == size && !in)
			out++;
		else if (on < size && in == size)
			failed++;
		else
			odd++;
	}
	len += snprintf(line, sizeof(line), "out %lu failed %lu odd %lu", out, failed, odd);
}

static bool map(struct region *reg, const char *type, unsigned long nr)
{
	bool shmem = !strcmp(type, "shmem");
	unsigned long bytes = nr * PAGE + ALIGN_TO;

	reg->fd = -1;
	if (shmem) {
		reg->fd = memfd_create("swapprobe", 0);
		if (reg->fd < 0 || ftruncate(reg->fd, nr * PAGE))
			return false;
	}
	reg->base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (reg->base == MAP_FAILED)
		return false;
	reg->mem = (char *)(((uintptr_t)reg->base + ALIGN_TO - 1) & ~(ALIGN_TO - 1));
	if (mmap(reg->mem, nr * PAGE, PROT_READ | PROT_WRITE, MAP_FIXED |
		 (shmem ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS), reg->fd, 0) ==
	    MAP_FAILED)
		return false;
	if (madvise(reg->mem, nr * PAGE, !strcmp(type, "anon") ?
		    MADV_NOHUGEPAGE : MADV_HUGEPAGE))
		return false;
	reg->nr = nr;
	reg->period = MAX_PAGES;
	memset(reg->version, 0, sizeof(reg->version));
	return true;
}

static void unmap(struct region *reg)
{
	munmap(reg->base, reg->nr * PAGE + ALIGN_TO);
	if (reg->fd >= 0)
		close(reg->fd);
	reg->mem = NULL;
}

static void result(int err)
{
	if (!err)
		snprintf(line, sizeof(line), "0");
	else
		snprintf(line, sizeof(line), "%s", strerrorname_np(err));
}

static void free_pages(struct region *reg, unsigned long first, unsigned long nr,
		       unsigned long step)
{
	unsigned long i;

	result(0);
	for (i = first; i < first + nr; i += step) {
		if (madvise(reg->mem + i * PAGE, PAGE,
			    reg->fd < 0 ? MADV_DONTNEED : MADV_REMOVE))
			result(errno);
		reg->version[i] = 0;
	}
}

static int read_number(const char *path)
{
	int fd = open(path, O_RDONLY);
	char buf[32] = "";

	if (fd < 0)
		return -1;
	if (read(fd, buf, sizeof(buf) - 1) < 0)
		buf[0] = '\0';
	close(fd);
	return atoi(buf);
}

static void merge(unsigned int r, unsigned long period)
{
	struct region *reg = &regions[r];
	int err, i;

	reg->period = period;
	fill(r, 0, reg->nr);
	/* forget regions that are gone, which would be counted as well */
	err = write_str(KSM "run", "2");
	if (!err && madvise(reg->mem, reg->nr * PAGE, MADV_MERGEABLE))
		err = errno;
	if (!err)
		err = write_str(KSM "sleep_millisecs", "0");
	if (!err)
		err = write_str(KSM "pages_to_scan", "1000");
	if (!err)
		err = write_str(KSM "run", "1");
	for (i = 0; !err && i < 1000 &&
	     read_number("/proc/self/ksm_merging_pages") < (int)reg->nr; i++)
		usleep(20000);
	if (!err)
		err = i == 1000 ? ETIME : write_str(KSM "run", "0");
	result(err);
}

static bool run(char *cmd)
{
	unsigned long first = 0, nr = 0, arg = 0, i;
	char name[16], word[128] = "";
	struct rusage usage;
	struct region *reg;
	unsigned int r;

	if (!strcmp(cmd, "faults\n")) {
		getrusage(RUSAGE_SELF, &usage);
		snprintf(line, sizeof(line), "%ld", usage.ru_minflt + usage.ru_majflt);
		return true;
	}
	if (sscanf(cmd, "%15s %u", name, &r) != 2 || r >= REGIONS)
		return false;
	reg = &regions[r];
	if (!strcmp(name, "map")) {
		if (sscanf(cmd, "%*s %*u %127s %lu", word, &nr) != 2 ||
		    nr > MAX_PAGES || reg->mem)
			return false;
		result(map(reg, word, nr) ? 0 : errno);
		return true;
	}
	if (!reg->mem)
		return false;
	if (!strcmp(name, "unmap")) {
		unmap(reg);
		result(0);
		return true;
	}
	if (!strcmp(name, "spoil") && sscanf(cmd, "%*s %*u %lu", &first) == 1) {
		reg->version[first] = ++last_version;
		result(0);
		return true;
	}
	if (!strcmp(name, "merge") && sscanf(cmd, "%*s %*u %lu", &arg) == 1 && arg) {
		merge(r, arg);
		return true;
	}
	i = sscanf(cmd, "%*s %*u %lu %lu %127s", &first, &nr, word);
	if (i < 2 || !nr || first + nr > reg->nr)
		return false;
	if (!strcmp(name, "fill")) {
		fill(r, first, nr);
	} else if (!strcmp(name, "check")) {
		check(r, first, nr, false);
	} else if (!strcmp(name, "pread") && reg->fd >= 0) {
		check(r, first, nr, true);
	} else if (!strcmp(name, "out")) {
		drain_lists();
		result(madvise(reg->mem + first * PAGE, nr * PAGE, MADV_PAGEOUT) ?
		       errno : 0);
	} else if (!strcmp(name, "free") && (arg = atol(word))) {
		free_pages(reg, first, nr, arg);
	} else if (!strcmp(name, "drop") && i == 3) {
		snprintf(line, sizeof(line), "%lu",
			 drop(reg, first, nr, atol(word)));
	} else if (!strcmp(name, "in")) {
		in_core(reg, first, nr);
		list_begin("in");
		for (i = first; i < first + nr; i++)
			if (core[i] & 1)
				list_add(i);
		list_end();
	} else if (!strcmp(name, "where") && i == 3) {
		if (!find(r, first, nr, word))
			len += snprintf(line, sizeof(line), "in two places:");
		for (i = first; i < first + nr; i++)
			len += snprintf(line + len, sizeof(line) - len,
					len ? " %ld" : "%ld", slots[i]);
	} else if (!strcmp(name, "folios") && (arg = atol(word)) &&
		   sscanf(cmd, "%*s %*u %*u %*u %*u %127s", word) == 1) {
		folios(r, first, nr, arg, word);
	} else {
		return false;
	}
	return true;
}

static int once(int argc, char **argv)
{
	if (!strcmp(argv[1], "off"))
		result(argc == 3 && swapoff(argv[2]) ? errno : 0);
	else if (!strcmp(argv[1], "drain"))
		result(write_str("/sys/kernel/mm/swap/vswap/drain", "1"));
	else if (argc >= 4)
		result(swapon(argv[2], SWAP_FLAG_PREFER | atoi(argv[3]) |
			      (argc > 4 ? SWAP_FLAG_DISCARD : 0)) ? errno : 0);
	else
		return 2;
	answer();
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	static char cmd[256];

	if (argc < 2) {
		fprintf(stderr, "usage: swapprobe CGROUP | on DEVICE PRIORITY [discard] | off DEVICE | drain\n");
		return 2;
	}
	/* In locked memory, as all the rest */
	setvbuf(stdin, in_buf, _IOFBF, sizeof(in_buf));
	setvbuf(stdout, out_buf, _IOLBF, sizeof(out_buf));
	if (argv[1][0] != '/')
		return once(argc, argv);
	cgroup = argv[1];
	sigaction(SIGBUS, &sa, NULL);
	if (mlockall(MCL_CURRENT)) {
		perror("swapprobe: mlockall");
		return 2;
	}
	while (fgets(cmd, sizeof(cmd), stdin)) {
		if (!run(cmd)) {
			printf("cannot: %s", cmd);
			return 2;
		}
		answer();
	}
	return 0;
}
