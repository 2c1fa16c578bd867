// SPDX-License-Identifier: GPL-2.0-only
/*
 * jobbench max=BYTES|max [dev=null|none] [folio=4|16|32|64] [ra=N] [rounds=N]
 *          run=DIR
 *
 * What a program costs in a memory cgroup that is too small for it, with zswap
 * (zstd, its shrinker off), counted in guest instructions: its own and those of
 * the kernel.  DIR holds a directory that becomes the root of the program, and the
 * program with its arguments in "command", a word a line.
 *
 * dev=null: the swap device is a null_blk, which has to be waited for. ra is
 * vm.page-cluster. The program runs "rounds" times, one after the other, each time
 * in a cgroup of its own. Its files are in memory, and belong to no cgroup that has
 * a limit: they came with the guest.
 */
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sched.h>
#include "bench.h"

#define CGROUP	"/sys/fs/cgroup/job"

static const char * const counters[] = {
	"zswpin", "zswpout", "pswpin", "pswpout", "swap_ra", "pgfault", "pgmajfault",
};
#define NR_COUNTERS	(sizeof(counters) / sizeof(counters[0]))

static const char *max = "max", *dev = "none", *dir;
static int folio_kb = 4, rounds = 1;

static long size_stat(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), THP "hugepages-%dkB/stats/%s", folio_kb, name);
	/* the base has not all of them */
	return folio_kb == 4 || access(path, R_OK) ? 0 : atol(read_file(path));
}

static void run_program(void)
{
	char *argv[256], path[256], *words, *word;
	int n = 0;

	snprintf(path, sizeof(path), "%s/command", dir);
	words = strdup(read_file(path));
	for (word = strtok(words, "\n"); word && n < 255; word = strtok(NULL, "\n"))
		argv[n++] = word;
	argv[n] = NULL;
	write_file(CGROUP "/cgroup.procs", "0");
	snprintf(path, sizeof(path), "%s/root", dir);
	if (chroot(path) || chdir("/"))
		die("chroot: %s", strerror(errno));
	if ((mkdir("/dev", 0755) ||
	     mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3))) && errno != EEXIST)
		die("/dev/null: %s", strerror(errno));
	execv(argv[0], argv);
	die("%s: %s", argv[0], strerror(errno));
}

/*
 * Reclaim goes by the statistics of the cgroup, which the kernel brings up to date
 * every two seconds unless somebody reads them. That is most of the time that the
 * program takes: reclaim takes a list that has become empty for a full one, finds
 * nothing, and the OOM killer ends the program, on the base too. So have them read
 * ten times a second, as a monitor does.
 */
static pid_t start_monitor(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	while (!pid) {
		read_file(CGROUP "/memory.stat");
		usleep(100000);
	}
	return pid;
}

static void one_round(int round)
{
	long before[NR_COUNTERS], large, oom;
	uint64_t began, spent;
	int status;
	pid_t pid, monitor;
	unsigned int i;

	if (mkdir(CGROUP, 0755))
		die("mkdir " CGROUP ": %s", strerror(errno));
	write_file(CGROUP "/memory.max", max);
	for (i = 0; i < NR_COUNTERS; i++)
		before[i] = counter_of("/proc/vmstat", counters[i]);
	large = size_stat("zswpin") + size_stat("swpin");
	monitor = start_monitor();
	began = instructions();
	pid = fork();
	if (!pid)
		run_program();
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die("cannot run the program: %s", strerror(errno));
	spent = instructions() - began;
	kill(monitor, SIGKILL);
	waitpid(monitor, NULL, 0);
	/* That it was killed for want of memory is a result, too. */
	oom = counter_of(CGROUP "/memory.events", "oom_kill");
	if (status && !oom)
		die("the program failed with status 0x%x", status);
	printf("# job round %d instructions %lu peak %ld", round, (unsigned long)spent,
	       atol(read_file(CGROUP "/memory.peak")));
	for (i = 0; i < NR_COUNTERS; i++)
		printf(" %s %ld", counters[i],
		       counter_of("/proc/vmstat", counters[i]) - before[i]);
	printf(" large-in %ld oom %ld\n", size_stat("zswpin") + size_stat("swpin") - large,
	       oom);
	for (i = 0; rmdir(CGROUP) && i < 100; i++)
		usleep(10000);
}

int main(int argc, char **argv)
{
	const char *v, *ra = "3";
	int i;

	setlinebuf(stdout);
	for (i = 1; i < argc; i++) {
		if (option(argv[i], "max", &v))
			max = v;
		else if (option(argv[i], "dev", &v))
			dev = v;
		else if (option(argv[i], "folio", &v))
			folio_kb = atoi(v);
		else if (option(argv[i], "ra", &v))
			ra = v;
		else if (option(argv[i], "rounds", &v))
			rounds = atoi(v);
		else if (option(argv[i], "run", &v))
			dir = v;
		else
			die("unknown argument '%s'", argv[i]);
	}
	if (!dir)
		die("run= is missing");
	use_folios(folio_kb);
	write_file("/proc/sys/vm/page-cluster", ra);
	if (!strcmp(dev, "null"))
		swap_on("/dev/nullb0", 64 << 20, 10);
	write_file(ZSWAP "max_pool_percent", "50");
	write_file(ZSWAP "compressor", "zstd");
	write_file(ZSWAP "enabled", "1");
	check_clock();
	for (i = 1; i <= rounds; i++)
		one_round(i);
	return 0;
}
