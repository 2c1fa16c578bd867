// SPDX-License-Identifier: GPL-2.0-only
/*
 * devbench swapoff   [slots=direct|virtual] [mib=N]
 * devbench writeback [by=shrinker|limit] [folio=4|64] [rounds=N]
 * devbench memory    [slots=direct|virtual]
 *
 * What concerns swap devices and is no cost per page (for that: swapbench).
 *
 * swapoff: the instructions that swapoff(2) of /dev/ram0 takes when one process
 * has so many slots in use on it, and other processes have "mib" MiB of memory
 * each and one page on /dev/ram1, so that swapoff may have to look at them.  The
 * process with the slots is the last one that is looked at.  Counted is what
 * the calling process ran: the processor time, which under QEMU's -icount
 * shift=0 has one nanosecond for each instruction.  Waiting is not counted.
 * "touch" is what it takes to read each of the pages afterwards: they are in
 * the page tables again, or in the swap cache.
 *
 * writeback: how many requests zswap makes of /dev/nullb0 to write 64 MiB back,
 * when the shrinker is asked for 128 entries at a time as reclaim does, or when
 * the limit of the pool has gone down.
 *
 * memory: what swapping 256 MiB out to /dev/ram0 takes in memory of the kernel.
 *
 * slots=virtual: zswap is on and refuses the pages, so that slots of the device
 * stand behind virtual ones.  slots=direct: zswap is off.
 */
#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "bench.h"

#define AREA		((char *)0x200000000000UL)
#define OWN		((char *)0x300000000000UL)
#define STAT		"/sys/block/nullb0/stat"
#define STORED		"/sys/kernel/debug/zswap/stored_pages"
#define SHRINKERS	"/sys/kernel/debug/shrinker"
#define GROUP		"/sys/fs/cgroup/bench"
#define MAX_OTHERS	64
#define MAX_OWN		1024

static bool virtual;

static char *map(char *where, unsigned long nr)
{
	char *p = mmap(where, nr * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != where)
		die("mmap: %s", strerror(errno));
	return p;
}

static void fill(char *p, unsigned long nr, uint64_t seed)
{
	unsigned long i;

	for (i = 0; i < nr; i++)
		make_contents((uint64_t *)(p + i * PAGE), seed + i);
}

static void check(const char *p, unsigned long nr, uint64_t seed)
{
	static uint64_t expected[WORDS];
	unsigned long i;

	for (i = 0; i < nr; i++) {
		make_contents(expected, seed + i);
		if (memcmp(p + i * PAGE, expected, PAGE))
			die("page %lu has wrong contents", i);
	}
}

static void page_out(char *p, unsigned long nr)
{
	if (madvise(p, nr * PAGE, MADV_PAGEOUT))
		die("MADV_PAGEOUT: %s", strerror(errno));
}

/* How many of a range are swapped out? */
static unsigned long swapped(char *p, unsigned long nr)
{
	static uint64_t words[65536];
	unsigned long i, n = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, words, nr * 8, (off_t)p / PAGE * 8) != (ssize_t)nr * 8)
		die("cannot read pagemap: %s", strerror(errno));
	close(fd);
	for (i = 0; i < nr; i++)
		n += words[i] >> 62 & 1;
	return n;
}

/* Pages of a swap device: all, and those in use. */
static long pages_of(const char *dev, long *used)
{
	const char *p = strstr(read_file("/proc/swaps"), dev);
	long size = 0;

	*used = 0;
	if (p && sscanf(p, "%*s %*s %ld %ld", &size, used) == 2)
		*used = *used * 1024 / (long)PAGE;
	return size * 1024 / (long)PAGE;
}

static long used_on(const char *dev)
{
	long used;

	pages_of(dev, &used);
	return used;
}

/* With no room, zswap takes nothing, and pages go to devices. */
static void zswap_room(bool room)
{
	write_file(ZSWAP "max_pool_percent", room ? "50" : "0");
}

static void check_kind(long nr)
{
	long physical = 0;

	if (!access(VSWAP "physical", R_OK))
		physical = atol(read_file(VSWAP "physical"));
	if (physical != (virtual ? nr : 0))
		die("%ld of %ld slots are behind virtual ones", physical, nr);
}

/* swapoff */

static pid_t others[MAX_OTHERS];

/* A process that has memory, and one page of it on a device. */
static pid_t start_other(unsigned long nr, uint64_t seed)
{
	char ready = 0;
	int fd[2];
	pid_t pid;

	if (pipe(fd))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		map(AREA, nr);
		if (madvise(AREA, nr * PAGE, MADV_POPULATE_WRITE))
			_exit(1);
		fill(AREA, 1, seed);
		page_out(AREA, 1);
		if (swapped(AREA, 1) != 1 || write(fd[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fd[1]);
	if (read(fd[0], &ready, 1) != 1)
		die("a process could not be set up");
	close(fd[0]);
	return pid;
}

static uint64_t own_instructions(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t))
		die("clock_gettime: %s", strerror(errno));
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

static void measure_swapoff(unsigned long nr, int nr_others, unsigned long mib,
			    bool warm)
{
	long scanned, out, own;
	uint64_t n, touch;
	int i;

	zswap_room(false);
	swap_on("/dev/ram1", PAGE, 5);
	/* Page tables are looked at in the order opposite to this. */
	map(OWN, MAX_OWN);
	fill(OWN, MAX_OWN, 1);
	madvise(OWN, MAX_OWN * PAGE, MADV_DONTFORK);
	page_out(OWN, 1);
	if (swapped(OWN, 1) != 1)
		die("the first page is not out");
	for (i = 0; i < nr_others; i++)
		others[i] = start_other(mib * 256, 2 + i);

	swap_on("/dev/ram0", nr * PAGE, 10);
	/* A processor goes on with the cluster that it has, to its end. */
	for (own = 1; !used_on("/dev/ram0"); own++) {
		if (own == MAX_OWN)
			die("/dev/ram0 is not used");
		page_out(OWN + own * PAGE, 1);
	}
	nr--;
	map(AREA, nr);
	fill(AREA, nr, 1000);
	page_out(AREA, nr);
	if (swapped(AREA, nr) != nr || used_on("/dev/ram0") != (long)nr + 1)
		die("%ld pages are on the device, not %lu", used_on("/dev/ram0"),
		    nr + 1);
	check_kind(nr + nr_others + own);
	/* what comes home may go to zswap, if memory gets short */
	zswap_room(true);
	usleep(500000);

	out = counter_of("/proc/vmstat", "pswpout") +
	      counter_of("/proc/vmstat", "zswpout");
	scanned = counter_of("/proc/vmstat", "pgscan_anon");
	n = own_instructions();
	if (swapoff("/dev/ram0"))
		die("swapoff: %s", strerror(errno));
	n = own_instructions() - n;
	if (counter_of("/proc/vmstat", "pswpout") +
	    counter_of("/proc/vmstat", "zswpout") != out ||
	    counter_of("/proc/vmstat", "pgscan_anon") != scanned)
		die("memory was too short: pages were reclaimed meanwhile");
	touch = own_instructions();
	for (i = 0; i < (int)nr; i++)
		*(volatile char *)(AREA + i * PAGE);
	touch = own_instructions() - touch;
	check(AREA, nr, 1000);
	check(OWN, MAX_OWN, 1);

	if (warm)
		printf("# swapoff slots %lu others %d instructions %lu touch %lu\n",
		       nr + 1, nr_others, (unsigned long)n, (unsigned long)touch);
	munmap(AREA, nr * PAGE);
	for (i = 0; i < nr_others; i++) {
		kill(others[i], SIGKILL);
		waitpid(others[i], NULL, 0);
	}
	munmap(OWN, MAX_OWN * PAGE);
	if (swapoff("/dev/ram1"))
		die("swapoff: %s", strerror(errno));
	usleep(500000);
}

static void bench_swapoff(unsigned long mib)
{
	static const unsigned long slots[] = { 4096, 16384, 65536 };
	static const int nr_others[] = { 0, 16, 64 };
	unsigned int i, j;

	check_clock();
	if (virtual)
		write_file(ZSWAP "enabled", "1");
	measure_swapoff(slots[2], 1, mib, false);
	for (i = 0; i < 3; i++)
		for (j = 0; j < 3; j++)
			measure_swapoff(slots[i], nr_others[j], mib, true);
}

/* writeback */

struct requests {
	long zswpwb, pswpout, nrswpout, writes, merges, sectors;
};

static struct requests read_requests(void)
{
	struct requests r;

	r.zswpwb = counter_of("/proc/vmstat", "zswpwb");
	r.pswpout = counter_of("/proc/vmstat", "pswpout");
	r.nrswpout = counter_of("/proc/vmstat", "nrswpout");
	if (sscanf(read_file(STAT), "%*d %*d %*d %*d %ld %ld %ld", &r.writes,
		   &r.merges, &r.sectors) != 3)
		die("cannot read " STAT);
	return r;
}

static long stored(void)
{
	return atol(read_file(STORED));
}

/* Ask the shrinker of zswap for 128 entries at a time, as reclaim does. */
static void shrink(void)
{
	char path[160] = "", line[64];
	struct dirent *e;
	struct stat group;
	int idle = 0;
	long before;
	DIR *d = opendir(SHRINKERS);

	while (d && (e = readdir(d)))
		if (!strncmp(e->d_name, "mm-zswap", 8))
			snprintf(path, sizeof(path), SHRINKERS "/%.60s/scan",
				 e->d_name);
	if (d)
		closedir(d);
	if (!*path || stat(GROUP, &group))
		die("no shrinker of zswap in debugfs");
	snprintf(line, sizeof(line), "%lu 0 128\n", (unsigned long)group.st_ino);
	/* an entry gets a second chance, so some calls write nothing */
	while ((before = stored()) > 0) {
		write_file(path, line);
		idle = stored() < before ? 0 : idle + 1;
		if (idle > 1000)
			die("the shrinker does nothing; %ld pages are left", before);
	}
}

/*
 * Let zswap find that it has more than it may, which it does when it is given
 * more.  It gives up after having given some entries their second chance.
 */
static void lower_limit(void)
{
	int i;

	zswap_room(false);
	map(OWN, 1);
	for (i = 1; stored(); i++) {
		if (i == 1000)
			die("%ld pages are left in zswap", stored());
		fill(OWN, 1, i);
		page_out(OWN, 1);
		usleep(20000);
	}
	munmap(OWN, PAGE);
	zswap_room(true);
}

static void bench_writeback(bool limit, int folio_kb, int rounds)
{
	const unsigned long nr = 16384;
	struct requests a, b;
	int round;

	/* the shrinker does not count what is of the root group */
	if (mkdir(GROUP, 0755))
		die("mkdir " GROUP ": %s", strerror(errno));
	write_file(GROUP "/cgroup.procs", "0");
	use_folios(folio_kb);
	swap_on("/dev/nullb0", nr * PAGE, 10);
	zswap_room(true);
	write_file(ZSWAP "compressor", "lzo");
	write_file(ZSWAP "shrinker_enabled", "1");
	write_file(ZSWAP "enabled", "1");
	for (round = 0; round < rounds; round++) {
		map(AREA, nr);
		fill(AREA, nr, 1 + round * nr);
		page_out(AREA, nr);
		if (swapped(AREA, nr) != nr || stored() != (long)nr)
			die("%ld pages are in zswap, not %lu", stored(), nr);
		usleep(500000);
		a = read_requests();
		if (limit)
			lower_limit();
		else
			shrink();
		usleep(500000);
		b = read_requests();
		if (b.zswpwb - a.zswpwb != (long)nr)
			die("%ld pages were written back", b.zswpwb - a.zswpwb);
		printf("# writeback pages %ld bios %ld requests %ld merges %ld sectors %ld\n",
		       b.pswpout - a.pswpout, b.nrswpout - a.nrswpout,
		       b.writes - a.writes, b.merges - a.merges,
		       b.sectors - a.sectors);
		check(AREA, nr, 1 + round * nr);
		munmap(AREA, nr * PAGE);
		usleep(500000);
	}
}

/* memory */

/* Free pages, those on the lists of processors among them */
static long free_pages(void)
{
	long sum = counter_of("/proc/vmstat", "nr_free_pages");
	const char *p = read_file("/proc/zoneinfo");

	while ((p = strstr(p, " count: "))) {
		p += strlen(" count: ");
		sum += atol(p);
	}
	return sum;
}

static long slab_objects(const char *name)
{
	return counter_of("/proc/slabinfo", name);
}

static long metadata(void)
{
	if (access(VSWAP "metadata_bytes", R_OK))
		return 0;
	return atol(read_file(VSWAP "metadata_bytes"));
}

/* Bytes of the array of clusters, the largest thing that swapon(2) made */
static long cluster_array(void)
{
	const char *p = read_file("/proc/vmallocinfo"), *end;
	long bytes, most = PAGE;

	for (; (end = strchr(p, '\n')); p = end + 1) {
		const char *by = strstr(p, "swapon");

		if (by && by < end && sscanf(p, "%*s %ld", &bytes) == 1 && bytes > most)
			most = bytes;
	}
	/* the address range has a guard page */
	return most - PAGE;
}

/* Let a RAM disk have all the memory that it will ever need. */
static void fill_device(const char *path)
{
	void *buf = aligned_alloc(PAGE, PAGE);
	int fd = open(path, O_WRONLY | O_DIRECT);
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END), pos;

	if (!size || !buf)
		die("cannot open %s: %s", path, strerror(errno));
	memset(buf, 1, PAGE);
	for (pos = 0; pos < size; pos += PAGE)
		if (pwrite(fd, buf, PAGE, pos) != (ssize_t)PAGE)
			die("cannot write to %s: %s", path, strerror(errno));
	close(fd);
	free(buf);
}

/*
 * What the kernel takes for pages that are out, twice: from what it says, and
 * from the free pages there are.  A page that is out is one free page more, but
 * for what had to be allocated.
 *
 * A large device that is not used shows how large the array of clusters is: so
 * large that kvmalloc() takes the space of vmalloc(), a multiple of 2 MiB.
 */
static void bench_memory(void)
{
	const unsigned long nr = 65536;
	long free, meta, owners, array, size, used;

	write_file(ZSWAP "shrinker_enabled", "0");
	if (virtual) {
		zswap_room(false);
		write_file(ZSWAP "enabled", "1");
	}
	fill_device("/dev/ram0");
	swap_on("/dev/nullb0", nr * PAGE, 5);
	size = pages_of("/dev/nullb0", &used);
	/* the first page of the device is the header */
	array = cluster_array() / ((size + 1 + 511) / 512);
	swap_on("/dev/ram0", nr * PAGE, 10);

	map(AREA, nr);
	fill(AREA, nr, 1);
	meta = metadata();
	owners = slab_objects("kmalloc-1k");
	free = free_pages();
	page_out(AREA, nr);
	usleep(1000000);
	if (swapped(AREA, nr) != nr || used_on("/dev/ram0") < (long)nr)
		die("%ld pages are on the device, not %lu", used_on("/dev/ram0"), nr);
	check_kind(nr);
	free = free_pages() - free;
	printf("# memory pages %lu taken %ld metadata %ld more %ld kmalloc-1k %ld cluster %ld\n",
	       nr, ((long)nr - free) * (long)PAGE, metadata(), metadata() - meta,
	       slab_objects("kmalloc-1k") - owners,
	       array);
	munmap(AREA, nr * PAGE);
}

int main(int argc, char **argv)
{
	const char *v, *mode = argc > 1 ? argv[1] : "";
	int folio_kb = 4, rounds = 3, i;
	unsigned long mib = 16;
	bool limit = false;

	setlinebuf(stdout);
	for (i = 2; i < argc; i++) {
		if (option(argv[i], "slots", &v))
			virtual = !strcmp(v, "virtual");
		else if (option(argv[i], "by", &v))
			limit = !strcmp(v, "limit");
		else if (option(argv[i], "folio", &v))
			folio_kb = atoi(v);
		else if (option(argv[i], "rounds", &v))
			rounds = atoi(v);
		else if (option(argv[i], "mib", &v))
			mib = atol(v);
		else
			die("unknown argument '%s'", argv[i]);
	}
	if (!strcmp(mode, "swapoff"))
		bench_swapoff(mib);
	else if (!strcmp(mode, "writeback"))
		bench_writeback(limit, folio_kb, rounds);
	else if (!strcmp(mode, "memory"))
		bench_memory();
	else
		die("swapoff, writeback or memory?");
	return 0;
}
