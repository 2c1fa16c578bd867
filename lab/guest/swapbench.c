// SPDX-License-Identifier: GPL-2.0-only
/*
 * swapbench [zswap=lzo|zstd|refuse|off] [data=mixed|light|zero]
 *           [folio=4|64|2048] [dev=brd|zram|none]
 *           [access=order|sparse|random] [rounds=N]
 *
 * What swapping costs per page, counted in guest instructions.
 *
 * Under QEMU's -icount shift=0 the time stamp counter advances by one for each
 * guest instruction, so a difference of two readings is a number of
 * instructions, kernel and user together.  The counter is read directly:
 * CLOCK_MONOTONIC is the same number after a calibration, which may differ
 * by a few ppm from kernel to kernel.
 *
 * A round is, on 64 MiB of anonymous memory with other contents each time:
 *
 *   out     MADV_PAGEOUT of the range
 *   in      one read of every page, in order or at random, or of one page in
 *           16; the figure is scaled to that of as many reads as there are pages
 *   out2    MADV_PAGEOUT of the range again
 *   fork    fork() while everything is swapped out
 *   exit    the child, which does nothing, ends and is waited for
 *   free    munmap() while everything is swapped out
 *
 * A first round is not counted.  It warms up slabs and per-CPU structures, and
 * checks more than the others: the contents after the second way out, as seen
 * by a forked child and by the parent.
 *
 * In each round every byte is checked after the way in, and counters and page
 * tables say whether the pages went where the cell says.  If not, the program
 * fails: a figure is worthless if it may be that of another path.
 *
 * data=light: half as many random words in a page, so that a compressor has half
 * as much to do.
 *
 * zswap=refuse: zswap is on and has no room, so every page goes to the device.
 * With virtual swap its slot there stands behind a virtual one.
 */
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "bench.h"

#define NR_PAGES	16384UL
#define SIZE		(NR_PAGES * PAGE)
#define SPARSE		16
#define AREA		((char *)0x200000000000UL)

/*
 * The profiler tells the phases by the address of code that runs: a page of
 * return instructions at a place that nothing else uses.
 */
#define MARKERS		((char *)0x600000000000UL)
#define MARKER_SIZE	16

enum phase { OTHER, OUT, IN, OUT2, FORK, EXIT, FREE, NR_PHASES };

static const char * const phase_name[] = {
	"other", "out", "in", "out2", "fork", "exit", "free",
};

static const char *zswap = "off";
static const char *dev = "none";
static bool zero;
static int random_words = RANDOM_WORDS;
static int folio_kb = 4;
static bool sparse, shuffled;
static int rounds = 3;

static long thp_stat(int kb, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), THP "hugepages-%dkB/stats/%s", kb, name);
	/* the base has no zswpin */
	if (!strcmp(name, "zswpin") && access(path, R_OK))
		return 0;
	return atol(read_file(path));
}

/* The counters that tell the ways of swapping apart */

enum counter {
	PSWPIN, PSWPOUT, ZSWPIN, ZSWPOUT, ZEROIN, ZEROOUT,
	PGFAULT, FOLIO_ALLOC, FOLIO_ZSWPOUT, FOLIO_SWPOUT, FOLIO_SWPIN, SPLIT,
	FOLIO_ZSWPIN,
	NR_COUNTERS
};

static const char * const counter_name[] = {
	"pswpin", "pswpout", "zswpin", "zswpout", "swpin_zero", "swpout_zero",
	"pgfault", "anon_fault_alloc", "zswpout", "swpout", "swpin", "split",
	"zswpin",
};

struct counters {
	long v[NR_COUNTERS];
};

static struct counters read_counters(void)
{
	const char *vmstat = read_file("/proc/vmstat");
	struct counters c = {};
	char key[32];
	int i;

	for (i = PSWPIN; i <= PGFAULT; i++) {
		const char *p;

		snprintf(key, sizeof(key), "\n%s ", counter_name[i]);
		p = strstr(vmstat, key);
		if (!p)
			die("no %s in /proc/vmstat", counter_name[i]);
		c.v[i] = atol(p + strlen(key));
	}
	if (folio_kb != 4)
		for (i = FOLIO_ALLOC; i < NR_COUNTERS; i++)
			c.v[i] = thp_stat(folio_kb, counter_name[i]);
	return c;
}

/* How much has @i grown since @then? */
static long grown(const struct counters *then, enum counter i)
{
	struct counters now = read_counters();

	return now.v[i] - then->v[i];
}

static void expect(const char *when, const struct counters *then,
		   enum counter i, long expected)
{
	long got = grown(then, i);

	if (got != expected)
		die("%s: %s grew by %ld, not by %ld", when, counter_name[i],
		    got, expected);
}

static long zswapped_kb(void)
{
	const char *p = strstr(read_file("/proc/meminfo"), "\nZswapped:");

	return p ? atol(p + strlen("\nZswapped:")) : 0;
}

static void expect_swapped(const char *when)
{
	static uint64_t map[NR_PAGES];
	unsigned long i, swapped = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, map, sizeof(map), (off_t)AREA / PAGE * 8) !=
	    sizeof(map))
		die("cannot read pagemap: %s", strerror(errno));
	close(fd);
	for (i = 0; i < NR_PAGES; i++)
		swapped += map[i] >> 62 & 1;
	if (swapped != NR_PAGES)
		die("%s: %lu of %lu pages are swapped out", when, swapped,
		    NR_PAGES);
}

/* Slots of devices behind virtual ones: all pages, if there should be any. */
static void expect_physical(const char *when)
{
	bool forced = !strcmp(zswap, "refuse");
	long got;

	if (access(VSWAP "physical", R_OK) || atoi(read_file(VSWAP "enabled")) != 1)
		return;
	got = atol(read_file(VSWAP "physical"));
	if (got != (forced ? (long)NR_PAGES : 0))
		die("%s: %ld slots of devices are behind virtual ones", when, got);
}

/* The contents of a page are a function of its number and of the round */

static void make_page(uint64_t *page, int round, unsigned long nr)
{
	make_contents_of(page, zero ? 0 : round * NR_PAGES + nr + 1,
			 random_words);
}

static void fill(int round)
{
	unsigned long i;

	for (i = 0; i < NR_PAGES; i++)
		make_page((uint64_t *)(AREA + i * PAGE), round, i);
}

static bool contents_are_right(int round)
{
	static uint64_t expected[WORDS];
	unsigned long i;

	for (i = 0; i < NR_PAGES; i++) {
		make_page(expected, round, i);
		if (memcmp(AREA + i * PAGE, expected, PAGE))
			return false;
	}
	return true;
}

/* The clock */

static uint64_t began, spent[NR_PHASES];
static bool warm;

static void mark(enum phase phase)
{
	if (warm)
		((void (*)(void))(MARKERS + phase * MARKER_SIZE))();
}

static void begin(enum phase phase)
{
	mark(phase);
	began = instructions();
}

static void end(enum phase phase)
{
	/* kernel threads that were given work to do get on with it */
	if (phase != FORK)
		sched_yield();
	spent[phase] = instructions() - began;
	mark(OTHER);
}

static void prepare_markers(void)
{
	if (mmap(MARKERS, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
	    MARKERS)
		die("no markers: %s", strerror(errno));
	memset(MARKERS, 0xc3, PAGE);
}

/* The phases */

static void page_out(void)
{
	if (madvise(AREA, SIZE, MADV_PAGEOUT))
		die("MADV_PAGEOUT: %s", strerror(errno));
}

static void read_pages(void)
{
	unsigned long i, step = sparse ? SPARSE : 1, at;

	for (i = 0; i < NR_PAGES; i += step) {
		/* an odd factor reaches all of them */
		at = shuffled ? i * 7919 % NR_PAGES : i;
		*(volatile uint64_t *)(AREA + at * PAGE);
	}
}

/*
 * While it forks and until the child is waited for, the parent has a real-time
 * priority that the child does not inherit: fork() returns before the child
 * runs.
 */
static void set_policy(int policy, int priority)
{
	struct sched_param p = { .sched_priority = priority };

	if (sched_setscheduler(0, policy, &p))
		die("sched_setscheduler: %s", strerror(errno));
}

static pid_t fork_child(void)
{
	pid_t pid = syscall(SYS_fork);

	if (pid < 0)
		die("fork: %s", strerror(errno));
	return pid;
}

static void wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		die("the child failed with status 0x%x", status);
}

static void measure_fork(void)
{
	pid_t pid;

	set_policy(SCHED_FIFO | SCHED_RESET_ON_FORK, 1);
	begin(FORK);
	pid = fork_child();
	if (!pid)
		syscall(SYS_exit_group, 0);
	end(FORK);
	begin(EXIT);
	wait_for(pid);
	end(EXIT);
	set_policy(SCHED_OTHER, 0);
}

static void check_after_second_out(int round)
{
	pid_t pid = fork_child();

	if (!pid)
		_exit(!contents_are_right(round));
	wait_for(pid);
	if (!contents_are_right(round))
		die("round %d: wrong contents after fork", round);
	page_out();
	expect_swapped("after the third way out");
}

static void one_round(int round)
{
	bool use_zswap = strcmp(zswap, "off") && strcmp(zswap, "refuse");
	enum counter out = zero ? ZEROOUT : use_zswap ? ZSWPOUT : PSWPOUT;
	enum counter in = zero ? ZEROIN : use_zswap ? ZSWPIN : PSWPIN;
	long folios = SIZE / 1024 / folio_kb, again, whole = 0, loaded, faults;
	long zswapped = zswapped_kb();
	struct counters c;
	int i;

	/* what is left of the last round does not disturb this one */
	usleep(500000);

	c = read_counters();
	if (mmap(AREA, SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
	    AREA)
		die("mmap: %s", strerror(errno));
	fill(round);
	if (folio_kb != 4)
		expect("fill", &c, FOLIO_ALLOC, folios);

	c = read_counters();
	begin(OUT);
	page_out();
	end(OUT);
	expect_swapped("out");
	expect_physical("out");
	expect("out", &c, out, NR_PAGES);
	for (i = PSWPIN; i <= ZEROOUT; i++)
		if (i != (int)out)
			expect("out", &c, i, 0);
	if (folio_kb != 4) {
		expect("out", &c, SPLIT, 0);
		if (!zero)
			expect("out", &c, use_zswap ? FOLIO_ZSWPOUT :
			       FOLIO_SWPOUT, folios);
	}

	c = read_counters();
	begin(IN);
	read_pages();
	end(IN);
	loaded = grown(&c, in);
	faults = grown(&c, PGFAULT);
	if (sparse)
		spent[IN] *= SPARSE;
	else
		expect("in", &c, in, NR_PAGES);
	if (folio_kb != 4)
		whole = grown(&c, FOLIO_SWPIN) + grown(&c, FOLIO_ZSWPIN);
	if (!contents_are_right(round))
		die("round %d: wrong contents", round);
	for (i = PSWPIN; i <= ZEROOUT; i++)
		if (i != (int)in)
			expect("in", &c, i, 0);

	c = read_counters();
	begin(OUT2);
	page_out();
	end(OUT2);
	expect_swapped("second out");
	again = grown(&c, out);

	if (!round)
		check_after_second_out(round);
	if (use_zswap && !zero && zswapped_kb() - zswapped != SIZE / 1024)
		die("%ld kB are in zswap, not %lu", zswapped_kb() - zswapped,
		    SIZE / 1024);

	c = read_counters();
	measure_fork();
	expect_swapped("fork");
	expect_physical("fork");
	for (i = PSWPIN; i <= ZEROOUT; i++)
		expect("fork", &c, i, 0);

	begin(FREE);
	munmap(AREA, SIZE);
	end(FREE);
	if (zswapped_kb() != zswapped)
		die("%ld kB more in zswap than before", zswapped_kb() -
		    zswapped);

	if (!round)
		return;
	printf("# round %d", round);
	for (i = OUT; i < NR_PHASES; i++)
		printf(" %s %lu", phase_name[i], (unsigned long)spent[i]);
	printf(" written-again %ld large-in %ld loaded %ld faults %ld\n", again,
	       whole, loaded, faults);
}

/* The machine */

static void prepare_machine(void)
{
	use_folios(folio_kb);
	if (!strcmp(dev, "brd")) {
		swap_on("/dev/ram0", SIZE + SIZE / 8, 10);
	} else if (!strcmp(dev, "zram")) {
		write_file("/sys/block/zram0/comp_algorithm", "lzo");
		write_file("/sys/block/zram0/disksize", "128M");
		swap_on("/dev/zram0", SIZE + SIZE / 8, 10);
	}
	if (!strcmp(zswap, "refuse")) {
		write_file(ZSWAP "max_pool_percent", "0");
		write_file(ZSWAP "enabled", "1");
	} else if (strcmp(zswap, "off")) {
		write_file(ZSWAP "max_pool_percent", "50");
		write_file(ZSWAP "compressor", zswap);
		write_file(ZSWAP "enabled", "1");
	}
	usleep(2000000);
}

int main(int argc, char **argv)
{
	const char *v;
	int i;

	setlinebuf(stdout);
	for (i = 1; i < argc; i++) {
		if (option(argv[i], "zswap", &v))
			zswap = v;
		else if (option(argv[i], "dev", &v))
			dev = v;
		else if (option(argv[i], "data", &v)) {
			zero = !strcmp(v, "zero");
			if (!strcmp(v, "light"))
				random_words = RANDOM_WORDS / 2;
		} else if (option(argv[i], "folio", &v))
			folio_kb = atoi(v);
		else if (option(argv[i], "access", &v)) {
			sparse = !strcmp(v, "sparse");
			shuffled = !strcmp(v, "random");
		} else if (option(argv[i], "rounds", &v))
			rounds = atoi(v);
		else
			die("unknown argument '%s'", argv[i]);
	}
	prepare_machine();
	prepare_markers();
	check_clock();
	for (i = 0; i <= rounds; i++) {
		one_round(i);
		warm = true;
	}
	return 0;
}
