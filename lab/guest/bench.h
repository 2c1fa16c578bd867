/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs that measure swapping share. */
#ifndef LAB_BENCH_H
#define LAB_BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <time.h>
#include <unistd.h>

#define PAGE		4096UL
#define WORDS		(PAGE / sizeof(uint64_t))
#define RANDOM_WORDS	48

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define ZSWAP		"/sys/module/zswap/parameters/"
#define VSWAP		"/sys/kernel/mm/swap/vswap/"

static inline void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	va_list ap;

	printf("# %s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

/* Files */

static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die("cannot write '%s' to %s: %s", text, path, strerror(errno));
	close(fd);
}

static inline const char *read_file(const char *path)
{
	static char buf[1 << 18];
	int fd = open(path, O_RDONLY);
	ssize_t len = 0, n;

	if (fd < 0)
		die("cannot open %s: %s", path, strerror(errno));
	while ((n = read(fd, buf + len, sizeof(buf) - 1 - len)) > 0)
		len += n;
	close(fd);
	buf[len] = 0;
	return buf;
}

/* The clock */

static inline uint64_t instructions(void)
{
	uint32_t lo, hi;

	asm volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
}

static inline void check_clock(void)
{
	struct timespec a, b;
	uint64_t ns, n = instructions();

	clock_gettime(CLOCK_MONOTONIC, &a);
	usleep(100000);
	clock_gettime(CLOCK_MONOTONIC, &b);
	n = instructions() - n;
	ns = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
	if (n < ns - ns / 1000 || n > ns + ns / 1000)
		die("%lu ticks in %lu ns: this is not -icount shift=0",
		    (unsigned long)n, (unsigned long)ns);
}

static inline void swap_on(const char *path, off_t min, int priority)
{
	static char header[PAGE];
	uint32_t *info = (uint32_t *)(header + 1024);
	int fd = open(path, O_RDWR);
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

	if (size < min)
		die("%s is missing or too small", path);
	info[0] = 1;
	info[1] = size / PAGE - 1;
	memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
	if (pwrite(fd, header, PAGE, 0) != PAGE || fsync(fd))
		die("cannot write to %s: %s", path, strerror(errno));
	close(fd);
	if (swapon(path, SWAP_FLAG_PREFER | priority))
		die("swapon %s: %s", path, strerror(errno));
}

static inline bool option(const char *arg, const char *key, const char **value)
{
	size_t len = strlen(key);

	if (strncmp(arg, key, len) || arg[len] != '=')
		return false;
	*value = arg + len + 1;
	return true;
}

/*
 * A page that compresses, and is like no other: one for each seed, with this many
 * random words, but for those that hit the same place. 0: zeros.
 */
static inline void make_contents_of(uint64_t *page, uint64_t seed, int words)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15;
	int i;

	memset(page, 0, PAGE);
	if (!seed)
		return;
	for (i = 0; i < words; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page[x >> 32 & (WORDS - 1)] = x;
	}
}

static inline void make_contents(uint64_t *page, uint64_t seed)
{
	make_contents_of(page, seed, RANDOM_WORDS);
}

/* Anonymous memory comes in folios of this size. */
static inline void use_folios(int kb)
{
	char path[64];

	write_file(THP "enabled", kb == 4 ? "never" : "always");
	if (kb == 4)
		return;
	write_file(THP "hugepages-2048kB/enabled", "never");
	snprintf(path, sizeof(path), THP "hugepages-%dkB/enabled", kb);
	write_file(path, "always");
}

/* One counter of /proc/vmstat, or of a file like it. */
static inline long counter_of(const char *path, const char *name)
{
	const char *p = read_file(path);
	size_t len = strlen(name);

	while (p && (strncmp(p, name, len) || p[len] != ' ')) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	if (!p)
		die("no %s in %s", name, path);
	return atol(p + len);
}

#endif
