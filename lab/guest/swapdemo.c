// SPDX-License-Identifier: GPL-2.0-only
/*
 * A workload that needs swap, and checks every byte that comes back.
 *
 * usage: swapdemo ANON_MIB SHMEM_MIB RANDOM_PERCENT ZERO_PERCENT [once|pageout|steps|failing]
 *
 * Fills anonymous and shared memory with compressible, zero and random pages,
 * different in each page and version, reads all of it back, writes a second
 * version of every third page, and reads all of it again. Where memory comes
 * from is the business of the caller. With "once" there is no second version.
 * With "pageout" there is none either, and it asks for everything to be swapped
 * out after the first write, and says how many pages are out.
 *
 * When the memory is full, it prints "full" and waits for a line on standard
 * input, so that the caller can look around. With "steps" it does the same when
 * the first version has been read ("read"), and when the second one has been
 * written ("written"), for which it takes new pages. With "failing" its own
 * allocations may fail (CONFIG_FAULT_INJECTION) while it writes and reads.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096UL
#define WORDS	(PAGE / sizeof(uint64_t))
#define ALIGN	(2UL << 20)

static unsigned int random_percent, zero_percent;
/* Does the second version go to new pages? The slots of the old ones are freed. */
static int new_pages;
/* /proc/self/make-it-fail, if allocations are to fail */
static int make_it_fail = -1;

/* What page nr holds is drawn in runs of 64 KiB, as data in programs is. */
static void fill(uint64_t *page, uint64_t nr, uint64_t version)
{
	uint64_t run = (nr / 16 + version) * 0x9e3779b97f4a7c15ULL;
	uint64_t x = (nr * 2 + version) * 0x9e3779b97f4a7c15ULL + 1;
	unsigned int kind = (run >> 32) % 100;
	unsigned int i, words;

	if (kind < random_percent)
		words = WORDS;
	else if (kind < random_percent + zero_percent)
		words = 0;
	else
		words = WORDS / 8;

	memset(page, 0, PAGE);
	for (i = 0; i < words; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page[i] = x;
	}
}

static uint64_t version_of(uint64_t nr, int second)
{
	return second && nr % 3 == 0;
}

static char *map(unsigned long bytes, int flags)
{
	char *mem = mmap(NULL, bytes + ALIGN, PROT_READ | PROT_WRITE,
			 flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mem == MAP_FAILED) {
		perror("swapdemo: mmap");
		exit(2);
	}
	return (char *)(((uintptr_t)mem + ALIGN - 1) & ~(ALIGN - 1));
}

static void let_fail(int fail)
{
	if (make_it_fail >= 0 && pwrite(make_it_fail, fail ? "1" : "0", 1, 0) != 1) {
		perror("swapdemo: /proc/self/make-it-fail");
		exit(2);
	}
}

static void write_all(char *mem, unsigned long pages, uint64_t first, int second)
{
	unsigned long i;

	let_fail(1);
	for (i = 0; i < pages; i++) {
		if (second && !version_of(first + i, 1))
			continue;
		if (second && new_pages)
			madvise(mem + i * PAGE, PAGE, MADV_DONTNEED);
		fill((uint64_t *)(mem + i * PAGE), first + i, second);
	}
	let_fail(0);
}

static unsigned long check_all(const char *mem, unsigned long pages,
			       uint64_t first, int second)
{
	static uint64_t want[WORDS];
	unsigned long i, first_wrong = 0, wrong = 0;

	let_fail(1);
	for (i = 0; i < pages; i++) {
		fill(want, first + i, version_of(first + i, second));
		if (memcmp(want, mem + i * PAGE, PAGE) && !wrong++)
			first_wrong = first + i;
	}
	let_fail(0);
	if (wrong)
		printf("wrong data in page %lu\n", first_wrong);
	return wrong;
}

static unsigned long vm_swap_pages(void)
{
	char line[256];
	unsigned long kb = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmSwap: %lu", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb / (PAGE / 1024);
}

/* Let the caller look around, until there is a line. */
static void pause_at(const char *what)
{
	char line[16];

	printf("%s\n", what);
	if (!fgets(line, sizeof(line), stdin))
		exit(2);
}

int main(int argc, char **argv)
{
	unsigned long anon, shmem, wrong = 0;
	const char *mode = argc > 5 ? argv[5] : "";
	int second, versions;
	char *a, *s;

	if (argc < 5) {
		fprintf(stderr, "usage: swapdemo ANON_MIB SHMEM_MIB RANDOM_PERCENT ZERO_PERCENT [once|pageout|steps|failing]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	anon = strtoul(argv[1], NULL, 0) << 8;
	shmem = strtoul(argv[2], NULL, 0) << 8;
	random_percent = atoi(argv[3]);
	zero_percent = atoi(argv[4]);
	new_pages = !strcmp(mode, "steps");
	versions = !strcmp(mode, "once") || !strcmp(mode, "pageout") ? 1 : 2;
	if (!strcmp(mode, "failing")) {
		make_it_fail = open("/proc/self/make-it-fail", O_WRONLY);
		if (make_it_fail < 0) {
			perror("swapdemo: /proc/self/make-it-fail");
			return 2;
		}
	}
	a = map(anon * PAGE, MAP_PRIVATE);
	s = map(shmem * PAGE, MAP_SHARED);

	for (second = 0; second < versions; second++) {
		write_all(a, anon, 0, second);
		write_all(s, shmem, anon, second);
		if (!second) {
			if (!strcmp(mode, "pageout")) {
				madvise(a, anon * PAGE, MADV_PAGEOUT);
				printf("out %lu\n", vm_swap_pages());
			}
			pause_at("full");
		} else if (new_pages) {
			pause_at("written");
		}
		wrong += check_all(a, anon, 0, second);
		wrong += check_all(s, shmem, anon, second);
		if (new_pages && !second)
			pause_at("read");
	}

	printf("checked %lu wrong %lu\n", versions * (anon + shmem), wrong);
	return wrong != 0;
}
