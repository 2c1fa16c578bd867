// SPDX-License-Identifier: GPL-2.0-only
/*
 * swapstress: random work on swappable memory, every byte of it verified.
 *
 * Processes fill regions of anonymous memory, shmem and private file mappings
 * with content that follows from (seed, process, region, page, version), do
 * random things to them, and compare all of it with a model.  The model is a
 * few bytes per page in locked memory, so what swap does to the data it cannot
 * do to the model.  Meanwhile a controller changes the settings of the system
 * and of the control groups.
 *
 * What a process does depends on the seed only.  A mismatch is reported with
 * seed, operation, region, page, and what was expected and found; --seed and
 * --ops repeat the operations up to there, under other circumstances.
 *
 * Reports in KTAP; the exit status is 0 if all passed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#define __noreturn	__attribute__((__noreturn__))
#define __printf(a, b)	__attribute__((__format__(printf, a, b)))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define PAGE		4096UL
#define WORDS		(PAGE / sizeof(uint64_t))
#define MIB		(1024 * 1024UL)
#define ALIGN_TO	(2 * MIB)
#define HUGE_PAGES	(ALIGN_TO / PAGE)
#define MAX_PROCS	64
#define MAX_CHILDREN	2	/* forked ones that a process has at a time */
#define MAGIC		0x73776170737472ULL

#define ZSWAP		"/sys/module/zswap/parameters/"
#define VSWAP		"/sys/kernel/mm/swap/vswap/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define CGROUPS		"/sys/fs/cgroup/"
#define CGROUP		CGROUPS "swapstress"

/* -------- what is in a page -------- */

enum kind {
	ZERO,		/* nothing but zeros */
	SOME,		/* compresses well */
	NOISE,		/* does not compress */
	SPARSE,		/* one word that is not zero, somewhere */
	TWIN,		/* like many other pages, KSM merges them */
	NR_KINDS,
};

static const char * const kind_names[] = {
	"zero", "some", "noise", "sparse", "twin",
};

/* The model of a page. */
struct page {
	uint64_t version : 48;
	uint64_t kind : 8;
	uint64_t lazy : 1;	/* after MADV_FREE: may turn into zeros */
};

/*
 * Memory is either for MADV_FREE or for KSM.  With both, MADV_FREE of a page
 * that KSM shares with nobody at the moment is an offer to drop what KSM then
 * shares with others.  That is so on the unpatched kernel, too.
 */
enum type {
	ANON,
	ANON_HUGE,
	ANON_KSM,
	SHARED_ANON,
	SHARED_FILE,		/* of a memfd */
	PRIVATE_FILE,
	NR_TYPES,
};

static const char * const type_names[] = {
	"anon", "anon-huge", "anon-ksm", "shared-anon", "shared-memfd", "private-memfd",
};

struct region {
	enum type type;
	unsigned int nr;	/* of the region, part of the content */
	int fd;
	char *map;		/* address space reserved around addr */
	size_t map_len;
	char *addr;
	size_t pages;
	struct page *model;
};

/* Shared by all processes and locked: where each of them is. */
struct progress {
	uint64_t op;
	uint64_t done;		/* 1: all verified, 2: mismatch reported */
};

/* Everything random that an operation needs, drawn whether it is used or not. */
struct args {
	size_t first, n;	/* pages */
	enum kind kind;
	uint64_t a, b;
};

struct worker {
	uint64_t seed;		/* of the content */
	uint64_t rand;		/* state of the random numbers */
	unsigned int nr;
	unsigned int depth;	/* 0: not forked by another worker */
	uint64_t op, max_ops;
	uint64_t version;
	struct region *regions;
	struct progress *progress;
	pid_t children[MAX_CHILDREN];
	const char *what;	/* current operation */
	unsigned int last;	/* region of the last operation */
	struct args args;	/* the rest of it */
	/* for the thread that touches what is being worked on */
	_Atomic(char *) hot;
	atomic_size_t hot_pages;
};

static struct {
	uint64_t seed;
	unsigned int seconds;
	uint64_t ops;
	unsigned int procs;
	unsigned int mb;
	unsigned int regions;
	unsigned int hang;
	const char *controller;
	bool no_zswap_toggle;
	bool huge;
	bool no_touch;
	bool verbose;
} opt = {
	.seconds = 60,
	.procs = 4,
	.mb = 256,
	.regions = 6,
	.hang = 300,
	.controller = "all",
};

static struct progress *progress;
static struct timespec start;
static int trace_proc = -1, trace_region, trace_page;

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static uint64_t next_rand(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15ULL;
	return mix(*state);
}

/* 0 .. n - 1 */
static uint64_t draw(uint64_t *state, uint64_t n)
{
	return next_rand(state) % n;
}

static double elapsed(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - start.tv_sec + (now.tv_nsec - start.tv_nsec) / 1e9;
}

/* One write, so that lines of several processes do not mix. */
__printf(1, 2)
static void say(const char *fmt, ...)
{
	char buf[1024];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (write(STDOUT_FILENO, buf, len) != len)
		_exit(2);
}

/* What the words of a page are made of. */
struct content {
	enum kind kind;
	uint64_t head[4];	/* most pages begin with what they are */
	uint64_t base;
};

static struct content content_of(uint64_t seed, unsigned int proc,
				 unsigned int region, size_t index,
				 struct page page)
{
	uint64_t id = (uint64_t)proc << 56 | (uint64_t)region << 48 | index;
	struct content c = {
		.kind = page.kind,
		.head = { MAGIC << 8 | page.kind, page.version, id, seed },
		.base = mix(seed ^ mix(id) ^ mix(page.version + 1)),
	};

	/* twins are the same in all regions of all processes */
	if (c.kind == TWIN)
		c.base = mix(seed + page.version % 4) | 1;
	return c;
}

static inline uint64_t word(const struct content *c, size_t i)
{
	switch (c->kind) {
	case ZERO:
		return 0;
	case TWIN:
		return c->base;
	case SPARSE:
		return i == c->base % WORDS ? c->base | 1 : 0;
	default:
		if (i < ARRAY_SIZE(c->head))
			return c->head[i];
		if (c->kind == SOME)
			return i % 16 ? c->base : mix(c->base + i);
		return mix(c->base + i);
	}
}

static struct content content(const struct worker *w, const struct region *r,
			      size_t index, struct page page)
{
	return content_of(w->seed, w->nr, r->nr, index, page);
}

static void write_page(struct worker *w, struct region *r, size_t index,
		       struct page page)
{
	struct content c = content(w, r, index, page);
	uint64_t *p = (uint64_t *)(r->addr + index * PAGE);
	size_t i;

	for (i = 0; i < WORDS; i++)
		p[i] = word(&c, i);
}

static size_t count_differences(struct content c, const uint64_t *p)
{
	size_t i, n = 0;

	for (i = 0; i < WORDS; i++)
		n += p[i] != word(&c, i);
	return n;
}

static bool page_is(struct content c, const uint64_t *p)
{
	size_t i;

	for (i = 0; i < WORDS; i++)
		if (p[i] != word(&c, i))
			return false;
	return true;
}

/* Say all there is to know about a page that is not what it should be. */
__noreturn
static void mismatch(struct worker *w, struct region *r, size_t index,
		     const uint64_t *now)
{
	struct page page = r->model[index], zero = { .kind = ZERO };
	struct content c = content(w, r, index, page);
	uint64_t seen[WORDS];
	size_t i;

	memcpy(seen, now, PAGE);
	say("# MISMATCH seed %#" PRIx64 " process %u.%u operation %" PRIu64 " (%s)\n",
	    opt.seed, w->nr, w->depth, w->op, w->what);
	say("#   region %u (%s), page %zu of %zu at %p\n", r->nr,
	    type_names[r->type], index, r->pages,
	    (void *)(r->addr + index * PAGE));
	say("#   expected: %s version %#" PRIx64 "%s\n", kind_names[page.kind],
	    (uint64_t)page.version, page.lazy ? ", or zero" : "");
	for (i = 0; i < WORDS - 1 && seen[i] == word(&c, i); i++)
		;
	say("#   %zu of %zu words differ, the first at byte %zu: %#" PRIx64 " instead of %#" PRIx64 "\n",
	    count_differences(c, seen), WORDS, i * sizeof(seen[0]), seen[i],
	    word(&c, i));
	if (page_is(content(w, r, index, zero), seen)) {
		say("#   found: zero\n");
	} else if (seen[0] >> 8 == MAGIC && (seen[0] & 0xff) < NR_KINDS) {
		struct page old = { .kind = seen[0] & 0xff, .version = seen[1] };
		unsigned int proc = seen[2] >> 56, region = seen[2] >> 48 & 0xff;
		size_t at = seen[2] & ((1ULL << 48) - 1);

		say("#   found: %s version %#" PRIx64 " of process %u, region %u, page %zu, %s\n",
		    kind_names[old.kind], seen[1], proc, region, at,
		    page_is(content_of(seen[3], proc, region, at, old), seen) ?
		    "complete" : "torn");
	} else {
		for (i = 0; i < 1000000 && i <= (w->version & UINT32_MAX); i++) {
			struct page old = {
				.version = w->version - i, .kind = SPARSE,
			};

			if (page_is(content(w, r, index, old), seen)) {
				say("#   found: sparse version %#" PRIx64 "\n",
				    (uint64_t)old.version);
				break;
			}
		}
		say("#   found: %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "...\n",
		    seen[0], seen[1], seen[2], seen[3]);
	}
	/* does it stay like that? */
	usleep(100000);
	say("#   read again: %s\n",
	    page_is(c, now) ? "as expected" : "still wrong");
	if (w->progress)
		w->progress->done = 2;
	_exit(1);
}

__noreturn __printf(2, 3)
static void give_up(struct worker *w, const char *fmt, ...)
{
	int err = errno;
	char buf[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	say("# seed %#" PRIx64 " process %u.%u operation %" PRIu64 " (%s): %s: %s\n",
	    opt.seed, w->nr, w->depth, w->op, w->what ? w->what : "setup", buf,
	    strerror(err));
	_exit(1);
}

static void check_page(struct worker *w, struct region *r, size_t index,
		       const uint64_t *p)
{
	struct page page = r->model[index];
	const struct page zero = { .kind = ZERO };

	if (page_is(content(w, r, index, page), p))
		return;
	if (page.lazy && page_is(content(w, r, index, zero), p))
		return;
	mismatch(w, r, index, p);
}

static void check_range(struct worker *w, struct region *r, size_t first,
			size_t n)
{
	size_t i;

	for (i = first; i < first + n; i++)
		check_page(w, r, i, (uint64_t *)(r->addr + i * PAGE));
}

/* -------- regions -------- */

static bool is_shared(const struct region *r)
{
	return r->type == SHARED_ANON || r->type == SHARED_FILE;
}

static bool is_for_free(const struct region *r)
{
	return r->type == ANON || r->type == ANON_HUGE;
}

/* What a page of a region is when nobody wrote to it. */
static struct page initial_page(const struct region *r)
{
	return (struct page){ .kind = r->type == PRIVATE_FILE ? SOME : ZERO };
}

static void map_range(struct worker *w, struct region *r, size_t first,
		      size_t n)
{
	int flags = MAP_FIXED | (is_shared(r) ? MAP_SHARED : MAP_PRIVATE);
	char *addr = r->addr + first * PAGE;

	if (r->fd < 0)
		flags |= MAP_ANONYMOUS;
	if (mmap(addr, n * PAGE, PROT_READ | PROT_WRITE, flags, r->fd,
		 r->fd < 0 ? 0 : first * PAGE) != addr)
		give_up(w, "mmap");
	if (r->type == ANON_HUGE)
		madvise(addr, n * PAGE, MADV_HUGEPAGE);
}

/* Reserve address space for a region, and choose a place in it. */
static char *reserve(struct worker *w, size_t pages, bool aligned,
		     uint64_t shift, char **map, size_t *map_len)
{
	*map_len = pages * PAGE + 2 * ALIGN_TO;
	*map = mmap(NULL, *map_len, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (*map == MAP_FAILED)
		give_up(w, "no address space");
	return (char *)(((uintptr_t)*map + ALIGN_TO - 1) & ~(ALIGN_TO - 1)) +
	       (aligned ? 0 : shift % (ALIGN_TO / PAGE) * PAGE);
}

static void create_region(struct worker *w, struct region *r, unsigned int nr,
			  size_t pages)
{
	size_t len = (pages * sizeof(*r->model) + PAGE - 1) & ~(PAGE - 1);
	size_t i;

	r->type = opt.huge && nr % 3 ? ANON_HUGE : nr % NR_TYPES;
	r->nr = nr;
	r->pages = pages;
	r->fd = -1;
	r->addr = reserve(w, pages, true, 0, &r->map, &r->map_len);
	r->model = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->model == MAP_FAILED || mlock(r->model, len))
		give_up(w, "memory for the model");
	for (i = 0; i < pages; i++)
		r->model[i] = initial_page(r);
	if (r->type == SHARED_FILE || r->type == PRIVATE_FILE) {
		r->fd = memfd_create("swapstress", 0);
		if (r->fd < 0 || ftruncate(r->fd, pages * PAGE))
			give_up(w, "memfd");
	}
	if (r->type == PRIVATE_FILE) {
		/* the file keeps what the mapping began with */
		r->type = SHARED_FILE;
		map_range(w, r, 0, pages);
		for (i = 0; i < pages; i++)
			write_page(w, r, i, r->model[i]);
		r->type = PRIVATE_FILE;
	}
	map_range(w, r, 0, pages);
}

/* The content of a range is gone, and is that of the beginning again. */
static void forget_range(struct region *r, size_t first, size_t n)
{
	size_t i;

	for (i = first; i < first + n; i++)
		r->model[i] = initial_page(r);
}

/* -------- operations -------- */

static void op_write(struct worker *w, struct region *r, struct args *x)
{
	size_t i;

	for (i = x->first; i < x->first + x->n; i++) {
		struct page page = { .version = ++w->version, .kind = x->kind };

		write_page(w, r, i, page);
		r->model[i] = page;
	}
}

/* Every other page of a range is zero: no large folio is of one kind. */
static void op_write_mixed(struct worker *w, struct region *r, struct args *x)
{
	size_t i, step = 1 + x->a % 4;

	for (i = x->first; i < x->first + x->n; i++) {
		struct page page = {
			.version = ++w->version,
			.kind = (i - x->first) % (step + 1) ? x->kind : ZERO,
		};

		write_page(w, r, i, page);
		r->model[i] = page;
	}
}

static void op_verify(struct worker *w, struct region *r, struct args *x)
{
	check_range(w, r, x->first, x->n);
}

/* Get at the pages through the kernel instead of through the page tables. */
static void op_verify_gup(struct worker *w, struct region *r, struct args *x)
{
	uint64_t buf[WORDS];
	size_t i;
	int fd;

	fd = open("/proc/self/mem", O_RDONLY);
	if (fd < 0)
		give_up(w, "/proc/self/mem");
	for (i = x->first; i < x->first + x->n; i++) {
		if (pread(fd, buf, PAGE, (uintptr_t)r->addr + i * PAGE) != PAGE)
			give_up(w, "page %zu of region %u cannot be read", i,
				r->nr);
		check_page(w, r, i, buf);
	}
	close(fd);
}

static int advise(struct region *r, struct args *x, int advice)
{
	return madvise(r->addr + x->first * PAGE, x->n * PAGE, advice);
}

static void op_pageout(struct worker *w, struct region *r, struct args *x)
{
	(void)w;
	advise(r, x, MADV_PAGEOUT);
}

static void op_pageout_all(struct worker *w, struct region *r, struct args *x)
{
	(void)w;
	(void)x;
	madvise(r->addr, r->pages * PAGE, MADV_PAGEOUT);
}

static void op_cold(struct worker *w, struct region *r, struct args *x)
{
	(void)w;
	advise(r, x, MADV_COLD);
}

static void op_willneed(struct worker *w, struct region *r, struct args *x)
{
	(void)w;
	advise(r, x, MADV_WILLNEED);
}

static void op_populate(struct worker *w, struct region *r, struct args *x)
{
	(void)w;
	advise(r, x, x->a % 2 ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
}

static void op_discard(struct worker *w, struct region *r, struct args *x)
{
	if (!is_shared(r)) {
		if (advise(r, x, MADV_DONTNEED))
			give_up(w, "MADV_DONTNEED");
		forget_range(r, x->first, x->n);
	} else if (r->type == SHARED_FILE && x->a % 2) {
		if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      x->first * PAGE, x->n * PAGE))
			give_up(w, "punching a hole");
		forget_range(r, x->first, x->n);
	} else if (x->b % 2) {
		/* takes it out of the page tables, no more */
		if (advise(r, x, MADV_DONTNEED))
			give_up(w, "MADV_DONTNEED");
	} else {
		if (advise(r, x, MADV_REMOVE))
			give_up(w, "MADV_REMOVE");
		forget_range(r, x->first, x->n);
	}
}

static void op_free(struct worker *w, struct region *r, struct args *x)
{
	size_t i;

	if (!is_for_free(r))
		return;
	if (advise(r, x, MADV_FREE))
		give_up(w, "MADV_FREE");
	for (i = x->first; i < x->first + x->n; i++)
		r->model[i].lazy = 1;
}

static void op_move(struct worker *w, struct region *r, struct args *x)
{
	size_t map_len, len = r->pages * PAGE;
	char *map, *to;

	to = reserve(w, r->pages, x->a % 2, x->b, &map, &map_len);
	if (mremap(r->addr, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		give_up(w, "mremap");
	munmap(r->map, r->map_len);
	r->map = map;
	r->map_len = map_len;
	r->addr = to;
}

static void op_unmap(struct worker *w, struct region *r, struct args *x)
{
	if (r->type == SHARED_ANON)
		return;		/* nothing to map again */
	if (munmap(r->addr + x->first * PAGE, x->n * PAGE))
		give_up(w, "munmap");
	map_range(w, r, x->first, x->n);
	if (r->type != SHARED_FILE)
		forget_range(r, x->first, x->n);
}

static void op_protect(struct worker *w, struct region *r, struct args *x)
{
	char *addr = r->addr + x->first * PAGE;
	size_t len = x->n * PAGE;

	if (mprotect(addr, len, x->a % 2 ? PROT_READ : PROT_NONE))
		goto refused;
	if (x->a % 4 < 2)
		madvise(addr, len, MADV_PAGEOUT);
	if (mprotect(addr, len, PROT_READ))
		goto refused;
	if (x->b % 2)
		check_range(w, r, x->first, x->n);
	if (!mprotect(addr, len, PROT_READ | PROT_WRITE))
		return;
refused:
	give_up(w, "mprotect");
}

static void op_lock(struct worker *w, struct region *r, struct args *x)
{
	char *addr = r->addr + x->first * PAGE;
	size_t len = x->n * PAGE;

	if (x->a % 2 ? mlock(addr, len) : mlock2(addr, len, MLOCK_ONFAULT)) {
		/* part of it may be locked */
		if (errno != ENOMEM && errno != EAGAIN)
			give_up(w, "mlock");
	}
	check_range(w, r, x->first, x->n);
	if (x->b % 2)
		op_write(w, r, x);
	if (munlock(addr, len))
		give_up(w, "munlock");
}

static void op_advice(struct worker *w, struct region *r, struct args *x)
{
	static const int advice[] = {
		MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLLAPSE,
	};

	(void)w;
	/* mostly for the whole region, or it has ever more mappings */
	if (x->b % 4)
		madvise(r->addr, r->pages * PAGE,
			advice[x->a % ARRAY_SIZE(advice)]);
	else
		advise(r, x, advice[x->a % ARRAY_SIZE(advice)]);
}

static void op_merge(struct worker *w, struct region *r, struct args *x)
{
	int advice = x->a % 4 ? MADV_MERGEABLE : MADV_UNMERGEABLE;

	(void)w;
	if (is_for_free(r))
		return;
	if (x->b % 4)
		madvise(r->addr, r->pages * PAGE, advice);
	else
		advise(r, x, advice);
}

static void run(struct worker *w);

static void wait_child(struct worker *w, pid_t *child)
{
	int status;

	if (!*child)
		return;
	if (waitpid(*child, &status, 0) != *child)
		give_up(w, "waitpid");
	*child = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
		_exit(1);		/* has said what was wrong */
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		errno = 0;
		give_up(w, "a forked process ended with status %#x", status);
	}
}

/* A process of its own goes on with the private regions. */
static void op_fork(struct worker *w, struct region *r, struct args *x)
{
	pid_t *child = &w->children[x->a % MAX_CHILDREN], pid;
	unsigned int i;

	(void)r;
	wait_child(w, child);
	if (w->depth >= 2)
		return;
	pid = fork();
	if (pid < 0) {
		if (errno != EAGAIN && errno != ENOMEM)
			give_up(w, "fork");
		return;
	}
	if (pid) {
		*child = pid;
		if (x->b % 4 == 0)
			wait_child(w, child);
		return;
	}
	w->depth++;
	w->progress = NULL;
	w->rand = x->b;
	w->version |= (x->b % 0xffff + 1) << 32;
	w->max_ops = w->op + 1 + x->a % 200;
	memset(w->children, 0, sizeof(w->children));
	for (i = 0; i < opt.regions; i++)
		mlock(w->regions[i].model,
		      w->regions[i].pages * sizeof(struct page));
	run(w);
}

static struct {
	const char *name;
	void (*fn)(struct worker *w, struct region *r, struct args *x);
	unsigned int weight;
	bool skip;
} operations[] = {
	{ .name = "write", .fn = op_write, .weight = 20 },
	{ .name = "mixed", .fn = op_write_mixed, .weight = 8 },
	{ .name = "verify", .fn = op_verify, .weight = 16 },
	{ .name = "gup", .fn = op_verify_gup, .weight = 4 },
	{ .name = "pageout", .fn = op_pageout, .weight = 20 },
	{ .name = "pageout-all", .fn = op_pageout_all, .weight = 1 },
	{ .name = "cold", .fn = op_cold, .weight = 4 },
	{ .name = "willneed", .fn = op_willneed, .weight = 4 },
	{ .name = "populate", .fn = op_populate, .weight = 2 },
	{ .name = "discard", .fn = op_discard, .weight = 4 },
	{ .name = "free", .fn = op_free, .weight = 3 },
	{ .name = "move", .fn = op_move, .weight = 2 },
	{ .name = "unmap", .fn = op_unmap, .weight = 2 },
	{ .name = "mprotect", .fn = op_protect, .weight = 3 },
	{ .name = "mlock", .fn = op_lock, .weight = 2 },
	{ .name = "advice", .fn = op_advice, .weight = 3 },
	{ .name = "merge", .fn = op_merge, .weight = 2 },
	{ .name = "fork", .fn = op_fork, .weight = 1 },
};

/* Half of the operations go to where the last one was. */
static void draw_args(struct worker *w, size_t pages, struct args *x)
{
	size_t n = 1 + draw(&w->rand, 4 << draw(&w->rand, 6));
	uint64_t align = 1 << draw(&w->rand, 6);
	unsigned int region = draw(&w->rand, opt.regions);
	size_t first;

	if (n > pages)
		n = pages;
	first = draw(&w->rand, pages - n + 1) & ~(align - 1);
	if (!x->n || draw(&w->rand, 2)) {
		w->last = region;
		x->first = first;
		x->n = n;
	}
	if (opt.huge && draw(&w->rand, 2)) {
		x->first -= x->first % HUGE_PAGES;
		n = HUGE_PAGES << draw(&w->rand, 2);
		x->n = n < pages - x->first ? n : pages - x->first;
	}
	x->kind = draw(&w->rand, NR_KINDS + 2);
	if (x->kind >= NR_KINDS)
		x->kind = SOME;
	x->a = next_rand(&w->rand);
	x->b = next_rand(&w->rand);
}

static void trace(struct worker *w, struct region *r, struct args *x)
{
	struct page page = r->model[trace_page];

	if (trace_page < (int)x->first || trace_page >= (int)(x->first + x->n))
		return;
	say("# trace %u.%u: operation %" PRIu64 " (%s, %#" PRIx64 " %#" PRIx64 ") on pages %zu to %zu; %s version %#" PRIx64 "%s\n",
	    w->nr, w->depth, w->op, w->what, x->a, x->b, x->first,
	    x->first + x->n - 1, kind_names[page.kind], (uint64_t)page.version,
	    page.lazy ? " or zero" : "");
}

static void step(struct worker *w)
{
	unsigned int i, total = 0, pick;
	struct args *x = &w->args;
	struct region *r;

	for (i = 0; i < ARRAY_SIZE(operations); i++)
		total += operations[i].weight;
	pick = draw(&w->rand, total);
	for (i = 0; pick >= operations[i].weight; i++)
		pick -= operations[i].weight;
	draw_args(w, w->regions[0].pages, x);
	r = &w->regions[w->last];
	/* who was forked leaves alone what its parent changes */
	if (w->depth && is_shared(r))
		return;
	w->what = operations[i].name;
	if (trace_proc == (int)w->nr && trace_region == (int)r->nr)
		trace(w, r, x);
	w->hot_pages = 0;
	w->hot = r->addr + x->first * PAGE;
	w->hot_pages = x->n;
	if (!operations[i].skip)
		operations[i].fn(w, r, x);
}

/*
 * Fault on the pages that are being worked on.  It only reads, and in a way
 * that may fail, so it changes neither the data nor what the worker does.
 */
static void *touch(void *arg)
{
	struct worker *w = arg;
	size_t i, n;
	char byte;
	int fd;

	fd = open("/proc/self/mem", O_RDONLY);
	for (;;) {
		n = w->hot_pages;
		for (i = 0; i < n && n == w->hot_pages; i++)
			if (pread(fd, &byte, 1,
				  (uintptr_t)w->hot + i * PAGE) != 1)
				break;
		usleep(100);
	}
	return NULL;
}

/* Work until the end, verify all, and exit. */
__noreturn
static void run(struct worker *w)
{
	pthread_t thread;
	unsigned int i;

	if (!opt.no_touch && pthread_create(&thread, NULL, touch, w))
		give_up(w, "no thread");
	while (w->op < w->max_ops) {
		if (!w->depth && !opt.ops && elapsed() >= opt.seconds)
			break;
		w->op++;
		if (w->progress)
			w->progress->op = w->op;
		step(w);
	}
	w->what = "verify at the end";
	for (i = 0; i < MAX_CHILDREN; i++)
		wait_child(w, &w->children[i]);
	for (i = 0; i < opt.regions; i++)
		if (!w->depth || !is_shared(&w->regions[i]))
			check_range(w, &w->regions[i], 0, w->regions[i].pages);
	if (w->progress)
		w->progress->done = 1;
	_exit(0);
}

__noreturn
static void work(unsigned int nr)
{
	struct worker w = {
		.seed = opt.seed,
		.nr = nr,
		.rand = mix(opt.seed) + mix(nr + 1),
		.max_ops = opt.ops ? opt.ops : UINT64_MAX,
		.progress = &progress[nr],
	};
	size_t pages = opt.mb * MIB / PAGE / opt.procs / opt.regions;
	unsigned int i;

	w.regions = calloc(opt.regions, sizeof(*w.regions));
	for (i = 0; i < opt.regions; i++)
		create_region(&w, &w.regions[i], i, pages);
	run(&w);
}

/* -------- the controller -------- */

static int read_str(const char *path, char *buf, size_t size)
{
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	len = read(fd, buf, size - 1);
	close(fd);
	if (len < 0)
		return -1;
	buf[len] = 0;
	return 0;
}

static int write_str(const char *path, const char *val)
{
	ssize_t len = strlen(val), done;
	int fd;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -1;
	done = write(fd, val, len);
	close(fd);
	return done == len ? 0 : -1;
}

static long long read_number(const char *path)
{
	char buf[64];

	return read_str(path, buf, sizeof(buf)) ? -1 : atoll(buf);
}

/* The value of a line "NAME VALUE" in a file of such lines. */
static long long read_key(const char *path, const char *name)
{
	char line[256];
	long long val = -1;
	size_t len = strlen(name);
	FILE *f;

	f = fopen(path, "r");
	if (!f)
		return -1;
	while (val < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && (line[len] == ' ' ||
						  line[len] == ':'))
			val = atoll(line + len + 1);
	fclose(f);
	return val;
}

static uint64_t ctl_rand;
static pid_t pids[MAX_PROCS];
static unsigned int group_of[MAX_PROCS];	/* number of its cgroup */
static unsigned int nr_groups;
static char swap_path[256];			/* a swap device, or empty */
static int failed_turns;			/* of the controller */

static void ctl_zswap(void)
{
	write_str(ZSWAP "enabled", draw(&ctl_rand, 3) ? "1" : "0");
}

static void ctl_compressor(void)
{
	static const char * const names[] = { "lzo", "lz4", "zstd" };

	write_str(ZSWAP "compressor", names[draw(&ctl_rand, ARRAY_SIZE(names))]);
}

static void ctl_shrinker(void)
{
	static const char * const percent[] = { "1", "5", "20", "20" };

	write_str(ZSWAP "shrinker_enabled", draw(&ctl_rand, 2) ? "1" : "0");
	write_str(ZSWAP "max_pool_percent", percent[draw(&ctl_rand, 4)]);
}

/* Have zswap write back some of what it holds of a group. */
static void ctl_scan(void)
{
	static char scan[300];
	char path[128], val[64];
	struct stat st;
	glob_t found;
	int i;

	if (!scan[0]) {
		if (glob("/sys/kernel/debug/shrinker/mm-zswap-*/scan", 0, NULL,
			 &found))
			return;
		snprintf(scan, sizeof(scan), "%s", found.gl_pathv[0]);
		globfree(&found);
	}
	snprintf(path, sizeof(path), CGROUP "/%u",
		 group_of[draw(&ctl_rand, opt.procs)]);
	if (stat(path, &st))
		return;
	write_str(ZSWAP "shrinker_enabled", "1");
	snprintf(val, sizeof(val), "%" PRIu64 " 0 %" PRIu64,
		 (uint64_t)st.st_ino, 1 + draw(&ctl_rand, 2000));
	/* the first pass only takes away the referenced mark */
	for (i = 0; i < 3; i++)
		write_str(scan, val);
}

static void ctl_vswap(void)
{
	write_str(VSWAP "enabled", draw(&ctl_rand, 4) ? "1" : "0");
}

static void ctl_high(void)
{
	char val[32] = "max";

	if (draw(&ctl_rand, 3))
		snprintf(val, sizeof(val), "%" PRIu64 "M",
			 opt.mb * (40 + draw(&ctl_rand, 80)) / 100);
	write_str(CGROUP "/memory.high", val);
}

static void ctl_reclaim(void)
{
	char val[32];

	snprintf(val, sizeof(val), "%" PRIu64 "K",
		 1 + draw(&ctl_rand, opt.mb * 1024ULL / 32));
	write_str(CGROUP "/memory.reclaim", val);
}

static void ctl_drop(void)
{
	/* 4: without a line in the kernel log */
	write_str("/proc/sys/vm/drop_caches", draw(&ctl_rand, 2) ? "5" : "6");
}

static void ctl_compact(void)
{
	write_str("/proc/sys/vm/compact_memory", "1");
}

static void join_group(pid_t pid, unsigned int group)
{
	char path[128], val[32];

	snprintf(path, sizeof(path), CGROUP "/%u/cgroup.procs", group);
	snprintf(val, sizeof(val), "%d", pid);
	write_str(path, val);
}

static void make_group(unsigned int group)
{
	char path[128];

	snprintf(path, sizeof(path), CGROUP "/%u", group);
	mkdir(path, 0755);
}

/* A group may be busy with a process that was forked meanwhile. */
static void remove_group(unsigned int group)
{
	char path[128], procs[4096], *p;

	snprintf(path, sizeof(path), CGROUP "/%u", group);
	if (!rmdir(path) || errno != EBUSY)
		return;
	snprintf(path, sizeof(path), CGROUP "/%u/cgroup.procs", group);
	if (read_str(path, procs, sizeof(procs)))
		return;
	for (p = strtok(procs, "\n"); p; p = strtok(NULL, "\n"))
		join_group(atoi(p), nr_groups - 1);
	snprintf(path, sizeof(path), CGROUP "/%u", group);
	rmdir(path);
}

/* A process moves to a new group; what it has swapped stays with the old. */
static void ctl_cgroups(void)
{
	unsigned int nr = draw(&ctl_rand, opt.procs), old = group_of[nr], i;
	unsigned int group = nr_groups;

	if (!pids[nr])
		return;		/* is gone */
	if (draw(&ctl_rand, 4) == 0) {
		/* to the group of another one */
		group = group_of[draw(&ctl_rand, opt.procs)];
		if (group == old)
			return;
	} else {
		make_group(nr_groups++);
	}
	join_group(pids[nr], group);
	group_of[nr] = group;
	for (i = 0; i < opt.procs; i++)
		if (group_of[i] == old)
			return;
	remove_group(old);
}

static void ctl_ksm(void)
{
	static const char * const run[] = { "0", "1", "1", "1", "2" };

	write_str("/sys/kernel/mm/ksm/pages_to_scan", "500");
	write_str("/sys/kernel/mm/ksm/use_zero_pages",
		  draw(&ctl_rand, 2) ? "1" : "0");
	write_str("/sys/kernel/mm/ksm/run",
		  run[draw(&ctl_rand, ARRAY_SIZE(run))]);
}

/* Huge pages of PMD size, for all of memory */
static void use_huge(void)
{
	write_str(THP "enabled", "always");
	write_str(THP "hugepages-2048kB/enabled", "always");
}

static void ctl_thp(void)
{
	static const char * const when[] = {
		"never", "madvise", "always", "inherit",
	};
	unsigned int order = 1 + draw(&ctl_rand, 9);
	char path[128];

	write_str(THP "enabled", when[draw(&ctl_rand, 3)]);
	snprintf(path, sizeof(path), THP "hugepages-%lukB/enabled", 4UL << order);
	write_str(path, when[draw(&ctl_rand, 4)]);
	snprintf(path, sizeof(path), THP "hugepages-%lukB/shmem_enabled",
		 4UL << order);
	write_str(path, draw(&ctl_rand, 2) ? "always" : "never");
	if (opt.huge)
		use_huge();
}

static void ctl_readahead(void)
{
	char val[16];

	snprintf(val, sizeof(val), "%d", (int)draw(&ctl_rand, 6));
	write_str("/proc/sys/vm/page-cluster", val);
	write_str("/sys/kernel/mm/swap/vma_ra_enabled",
		  draw(&ctl_rand, 2) ? "true" : "false");
}

/* What the groups may have in swap, of one kind and the other. */
static void ctl_limits(void)
{
	static const char * const swap[] = { "max", "max", "64M", "8M" };
	static const char * const zswap[] = { "max", "max", "8M", "0" };

	write_str(CGROUP "/memory.swap.max", swap[draw(&ctl_rand, 4)]);
	write_str(CGROUP "/memory.zswap.max", zswap[draw(&ctl_rand, 4)]);
	write_str(CGROUP "/memory.zswap.writeback",
		  draw(&ctl_rand, 4) ? "1" : "0");
}

/* All that is swapped must find room in memory. */
static void ctl_swapoff(void)
{
	if (swap_path[0] && !swapoff(swap_path)) {
		usleep(draw(&ctl_rand, 100) * 1000);
		if (swapon(swap_path, 0))
			say("# swapon %s: %s\n", swap_path, strerror(errno));
	}
}

/* So it must here. Much of the time the memory is too short, and it fails. */
static void ctl_drain(void)
{
	long long used;

	write_str(VSWAP "enabled", "0");
	if (!write_str(VSWAP "drain", "1")) {
		used = read_number(VSWAP "used");
		if (used > 0) {
			say("# %lld slots are in use after drain\n", used);
			failed_turns++;
		}
	}
	write_str(VSWAP "enabled", "1");
}

static struct {
	const char *name;
	void (*fn)(void);
	bool ask;		/* Not done unless asked for by name */
	bool on;
} controllers[] = {
	{ .name = "zswap", .fn = ctl_zswap },
	{ .name = "compressor", .fn = ctl_compressor },
	{ .name = "shrinker", .fn = ctl_shrinker },
	{ .name = "scan", .fn = ctl_scan },
	{ .name = "vswap", .fn = ctl_vswap },
	{ .name = "high", .fn = ctl_high },
	{ .name = "reclaim", .fn = ctl_reclaim },
	{ .name = "drop", .fn = ctl_drop },
	{ .name = "compact", .fn = ctl_compact },
	{ .name = "cgroups", .fn = ctl_cgroups },
	{ .name = "ksm", .fn = ctl_ksm },
	{ .name = "thp", .fn = ctl_thp },
	{ .name = "readahead", .fn = ctl_readahead },
	{ .name = "limits", .fn = ctl_limits },
	{ .name = "swapoff", .fn = ctl_swapoff, .ask = true },
	{ .name = "drain", .fn = ctl_drain, .ask = true },
};

/* Mark the controllers of a list; "all" are all but swapoff and drain. */
static bool parse_controllers(const char *list)
{
	char *copy = strdup(list), *name;
	unsigned int i;
	bool found;

	for (name = strtok(copy, ","); name; name = strtok(NULL, ",")) {
		bool all = !strcmp(name, "all");

		found = all || !strcmp(name, "none");
		for (i = 0; i < ARRAY_SIZE(controllers); i++) {
			if (!strcmp(name, controllers[i].name) ||
			    (all && !controllers[i].ask)) {
				controllers[i].on = true;
				found = true;
			}
		}
		if (!found) {
			fprintf(stderr, "no controller '%s'\n", name);
			free(copy);
			return false;
		}
	}
	free(copy);
	if (opt.no_zswap_toggle)
		controllers[0].on = false;
	return true;
}

static bool parse_without(const char *list)
{
	char *copy = strdup(list), *name;
	unsigned int i;

	for (name = strtok(copy, ","); name; name = strtok(NULL, ",")) {
		for (i = 0; i < ARRAY_SIZE(operations); i++)
			if (!strcmp(name, operations[i].name))
				break;
		if (i == ARRAY_SIZE(operations)) {
			fprintf(stderr, "no operation '%s'\n", name);
			free(copy);
			return false;
		}
		operations[i].skip = true;
	}
	free(copy);
	return true;
}

/* Settings that controllers change, to be put back. */
static struct {
	char path[128];
	char val[256];
} saved[64];
static unsigned int nr_saved;

static void save(const char *path)
{
	char buf[256], *open, *close;

	if (nr_saved == ARRAY_SIZE(saved) || read_str(path, buf, sizeof(buf)))
		return;
	/* of "always [madvise] never" the one in brackets */
	open = strchr(buf, '[');
	close = open ? strchr(open, ']') : NULL;
	if (close)
		*close = 0;
	snprintf(saved[nr_saved].path, sizeof(saved[0].path), "%s", path);
	snprintf(saved[nr_saved].val, sizeof(saved[0].val), "%s",
		 close ? open + 1 : buf);
	nr_saved++;
}

static void save_settings(void)
{
	char path[128];
	int order;

	save(ZSWAP "enabled");
	save(ZSWAP "compressor");
	save(ZSWAP "shrinker_enabled");
	save(ZSWAP "max_pool_percent");
	save(VSWAP "enabled");
	save("/sys/kernel/mm/ksm/pages_to_scan");
	save("/sys/kernel/mm/ksm/use_zero_pages");
	save("/sys/kernel/mm/ksm/run");
	save("/proc/sys/vm/page-cluster");
	save("/sys/kernel/mm/swap/vma_ra_enabled");
	save(THP "enabled");
	for (order = 1; order < 10; order++) {
		snprintf(path, sizeof(path), THP "hugepages-%lukB/enabled",
			 4UL << order);
		save(path);
		snprintf(path, sizeof(path), THP "hugepages-%lukB/shmem_enabled",
			 4UL << order);
		save(path);
	}
}

static void restore_settings(void)
{
	while (nr_saved--)
		write_str(saved[nr_saved].path, saved[nr_saved].val);
	nr_saved = 0;
}

/* The first swap device, for swapoff. */
static void find_swap(void)
{
	char line[512];
	FILE *f;

	f = fopen("/proc/swaps", "r");
	if (!f)
		return;
	if (!fgets(line, sizeof(line), f) || !fgets(line, sizeof(line), f) ||
	    sscanf(line, "%255s", swap_path) != 1)
		swap_path[0] = 0;
	fclose(f);
}

/* -------- what must be there, and nothing left, at the end -------- */

/*
 * Counters that are back where they were when all processes are gone, but for
 * pages of others that were swapped meanwhile.
 */
static struct {
	const char *name, *path, *key;
	unsigned int kb;	/* the unit */
	long long before, now;
} counters[] = {
	{ .name = "kB of swap", .path = NULL, .kb = 1 },
	{ .name = "virtual swap", .path = VSWAP "used", .kb = 4 },
	{ .name = "cached in virtual swap", .path = VSWAP "cached", .kb = 4 },
	{ .name = "zero in virtual swap", .path = VSWAP "zero", .kb = 4 },
	{ .name = "zswap in virtual swap", .path = VSWAP "zswap", .kb = 4 },
	{ .name = "on a device", .path = VSWAP "physical", .kb = 4 },
	{ .name = "zswap", .path = "/sys/kernel/debug/zswap/stored_pages",
	  .kb = 4 },
	{ .name = "kB in zswap", .path = "/proc/meminfo", .key = "Zswapped",
	  .kb = 1 },
};

static long long read_counter(int i)
{
	if (!counters[i].path)
		return read_key("/proc/meminfo", "SwapTotal") -
		       read_key("/proc/meminfo", "SwapFree");
	if (counters[i].key)
		return read_key(counters[i].path, counters[i].key);
	return read_number(counters[i].path);
}

/*
 * kB that the processes of the system have in swap. A page that some share is
 * counted in parts, which are rounded down. Files of a tmpfs are not counted:
 * in the guests of the lab, the root is not one.
 */
static long long swapped_by_others(void)
{
	long long sum = 0, one;
	struct dirent *entry;
	char path[300];
	DIR *dir;

	dir = opendir("/proc");
	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/smaps_rollup",
			 entry->d_name);
		one = read_key(path, "SwapPss");
		if (one > 0)
			sum += one;
	}
	closedir(dir);
	return (sum + 3) / 4 * 4;
}

static bool is_left(int i, long long others)
{
	return counters[i].now > counters[i].before + others / counters[i].kb;
}

/* Where folios are that reclaim did not find: off its lists, or not for it. */
static void say_what_is_left(void)
{
	static const char * const keys[] = {
		"anon", "shmem", "swapcached", "inactive_anon", "active_anon",
		"unevictable", "zswapped",
	};
	char path[sizeof(CGROUP) + 32];
	unsigned int i, root;

	for (root = 0; root < 2; root++) {
		snprintf(path, sizeof(path), "%smemory.stat",
			 root ? CGROUPS : CGROUP "/");
		for (i = 0; i < ARRAY_SIZE(keys); i++)
			say("# %s: %s %lld\n", path, keys[i],
			    read_key(path, keys[i]));
	}
	say("# Mlocked %lld kB, nr_isolated_anon %lld\n",
	    read_key("/proc/meminfo", "Mlocked"),
	    read_key("/proc/vmstat", "nr_isolated_anon"));
}

static bool check_counters(void)
{
	unsigned int i, tries;
	long long others = 0;
	bool good = false;

	for (tries = 0; !good && tries < 100; tries++) {
		/*
		 * A slot whose folio was busy when the last user went stays
		 * in the swap cache until reclaim finds it, which does not
		 * look into the batches of other processors. What was swapped
		 * in by a kernel thread after its group was gone is in the root
		 * group: look there if nothing else helps, since that swaps
		 * what others have.
		 */
		if (tries) {
			write_str("/proc/sys/vm/drop_caches", "5");
			write_str(CGROUP "/memory.reclaim", "1G swappiness=max");
			if (tries > 20)
				write_str(CGROUPS "memory.reclaim",
					  "16M swappiness=max");
			usleep(100000);
		}
		others = swapped_by_others();
		good = true;
		for (i = 0; i < ARRAY_SIZE(counters); i++) {
			counters[i].now = read_counter(i);
			good &= !is_left(i, others);
		}
	}
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		if (is_left(i, others))
			say("# %s: %lld, %lld before, others have %lld kB\n",
			    counters[i].name, counters[i].now,
			    counters[i].before, others);
	if (!good)
		say_what_is_left();
	return good;
}

/* What happened, for the log. */
static const char * const events[] = {
	"pswpin", "pswpout", "swpin_zero", "swpout_zero", "zswpin", "zswpout",
	"zswpwb", "swap_ra", "thp_swpout", "thp_swpout_fallback",
	"ksm_swpin_copy", "oom_kill", "thp_swpout_pmd", "thp_swpin_pmd",
	"thp_swpin_pmd_fallback", "pgscan_kswapd", "pgscan_direct",
};

static long long events_before[ARRAY_SIZE(events)];

static long long event(unsigned int i)
{
	long long val = read_key("/proc/vmstat", events[i]);

	return val < 0 ? 0 : val - events_before[i];
}

/* -------- from start to end -------- */

static bool setup_cgroup(void)
{
	unsigned int i;

	write_str(CGROUPS "cgroup.subtree_control", "+memory");
	if (mkdir(CGROUP, 0755) && errno != EEXIST)
		return false;
	if (write_str(CGROUP "/cgroup.subtree_control", "+memory"))
		return false;
	for (i = 0; i < opt.procs; i++) {
		group_of[i] = i;
		make_group(i);
	}
	nr_groups = opt.procs;
	return true;
}

static void remove_cgroup(void)
{
	unsigned int i, tries;
	char path[128];

	/* processes are gone a moment later than it seems */
	for (tries = 0; tries < 20; tries++) {
		for (i = 0; i < nr_groups; i++) {
			snprintf(path, sizeof(path), CGROUP "/%u", i);
			rmdir(path);
		}
		if (!rmdir(CGROUP))
			return;
		usleep(50000);
	}
	say("# " CGROUP " cannot be removed: %s\n", strerror(errno));
}

static void start_worker(unsigned int nr)
{
	pid_t pid = fork();

	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	if (!pid) {
		join_group(getpid(), group_of[nr]);
		work(nr);
	}
	pids[nr] = pid;
}

static void stop_all(void)
{
	unsigned int i;

	if (!write_str(CGROUP "/cgroup.kill", "1"))
		return;
	for (i = 0; i < opt.procs; i++)
		if (pids[i])
			kill(pids[i], SIGKILL);
}

/* Turn knobs until all workers are gone.  Returns how many turns it were. */
static unsigned long control(int *statuses)
{
	unsigned int on[ARRAY_SIZE(controllers)], nr_on = 0, alive, i, c;
	uint64_t ops = 0, last_ops = 0;
	double next = 0, moved = elapsed();
	unsigned long turns = 0, idle = 0;
	bool stopped = false, swapped = false;
	int status;

	for (i = 0; i < ARRAY_SIZE(controllers); i++)
		if (controllers[i].on)
			on[nr_on++] = i;

	for (alive = opt.procs; alive; usleep(5000)) {
		for (ops = 0, i = 0; i < opt.procs; i++) {
			ops += progress[i].op;
			if (!pids[i] || waitpid(pids[i], &status, WNOHANG) <= 0)
				continue;
			statuses[i] = status;
			pids[i] = 0;
			alive--;
			if (status && !stopped) {
				/* keep the evidence short */
				stopped = true;
				say("# process %u ended with status %#x after operation %" PRIu64 " at %.1f s\n",
				    i, status, progress[i].op, elapsed());
				stop_all();
			}
		}
		/* the clock of an emulated machine may jump, so count as well */
		if (ops != last_ops) {
			last_ops = ops;
			moved = elapsed();
			idle = 0;
		} else if (!stopped && ++idle > opt.hang * 50UL &&
			   elapsed() - moved > opt.hang) {
			stopped = true;
			say("# no progress for %u s after %" PRIu64 " operations\n",
			    opt.hang, ops);
			write_str("/proc/sysrq-trigger", "w");
			stop_all();
		}
		if (!nr_on || !alive || stopped || elapsed() < next)
			continue;
		/* The first knob may be the one that stops all swapping. */
		if (!swapped && elapsed() < opt.seconds / 2.0) {
			swapped = event(1) + event(3) + event(5) > 0;
			continue;
		}
		c = on[draw(&ctl_rand, nr_on)];
		if (opt.verbose)
			say("# %.2f s: %s\n", elapsed(), controllers[c].name);
		controllers[c].fn();
		turns++;
		next = elapsed() + draw(&ctl_rand, 100) / 1000.0;
	}
	return turns;
}

static void usage(void)
{
	unsigned int i;

	printf("usage: swapstress [options]\n"
	       "  --seed N           what is done (from the clock)\n"
	       "  --seconds N        how long (60), or\n"
	       "  --ops N            how many operations of each process\n"
	       "  --procs N          processes (4)\n"
	       "  --mb N             memory of all processes together (256)\n"
	       "  --regions N        regions of a process (6, one of each type)\n"
	       "  --controller LIST  what the controller does, or \"none\"\n"
	       "  --no-zswap-toggle  zswap stays on or off as it is\n"
	       "  --huge             huge pages of PMD size, most of the memory and the work\n"
	       "  --no-touch         no second thread that reads what is worked on\n"
	       "  --hang SECONDS     without an operation is a failure (300)\n"
	       "  --without LIST     operations that are left out; the others stay as they are\n"
	       "  --trace P:R:I      say what process P does to page I of region R\n"
	       "  --verbose          say what the controller does\n"
	       "controllers (\"all\", which is all but swapoff and drain, if not said):");
	for (i = 0; i < ARRAY_SIZE(controllers); i++)
		printf(" %s", controllers[i].name);
	printf("\noperations:");
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		printf("%s%s", i ? "," : " ", operations[i].name);
	printf("\n");
}

static bool parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed",		required_argument, NULL, 's' },
		{ "seconds",		required_argument, NULL, 't' },
		{ "ops",		required_argument, NULL, 'o' },
		{ "procs",		required_argument, NULL, 'p' },
		{ "mb",			required_argument, NULL, 'm' },
		{ "regions",		required_argument, NULL, 'r' },
		{ "controller",		required_argument, NULL, 'c' },
		{ "no-zswap-toggle",	no_argument,	   NULL, 'z' },
		{ "huge",		no_argument,	   NULL, 'u' },
		{ "no-touch",		no_argument,	   NULL, 'n' },
		{ "hang",		required_argument, NULL, 'w' },
		{ "without",		required_argument, NULL, 'x' },
		{ "trace",		required_argument, NULL, 'd' },
		{ "verbose",		no_argument,	   NULL, 'v' },
		{ "help",		no_argument,	   NULL, 'h' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			opt.seconds = atoi(optarg);
			break;
		case 'o':
			opt.ops = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			opt.procs = atoi(optarg);
			break;
		case 'm':
			opt.mb = atoi(optarg);
			break;
		case 'r':
			opt.regions = atoi(optarg);
			break;
		case 'c':
			opt.controller = optarg;
			break;
		case 'z':
			opt.no_zswap_toggle = true;
			break;
		case 'u':
			opt.huge = true;
			break;
		case 'n':
			opt.no_touch = true;
			break;
		case 'w':
			opt.hang = atoi(optarg);
			break;
		case 'x':
			if (!parse_without(optarg))
				return false;
			break;
		case 'd':
			if (sscanf(optarg, "%d:%d:%d", &trace_proc,
				   &trace_region, &trace_page) != 3)
				return false;
			break;
		case 'v':
			opt.verbose = true;
			break;
		default:
			return false;
		}
	}
	return optind == argc && opt.procs && opt.procs <= MAX_PROCS &&
	       opt.regions && opt.regions < 256 &&
	       opt.mb * MIB / PAGE / opt.procs / opt.regions >= 64;
}

int main(int argc, char **argv)
{
	unsigned int i, failed = 0, test = 0;
	int statuses[MAX_PROCS] = {};
	struct timespec now;
	unsigned long turns;
	bool good;

	clock_gettime(CLOCK_REALTIME, &now);
	opt.seed = mix(now.tv_sec * 1000000000ULL + now.tv_nsec) >> 16;
	if (!parse_options(argc, argv) || !parse_controllers(opt.controller)) {
		usage();
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	ctl_rand = mix(opt.seed) + mix(0);
	find_swap();
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		counters[i].before = read_counter(i);
	for (i = 0; i < ARRAY_SIZE(events); i++)
		events_before[i] = read_key("/proc/vmstat", events[i]);

	printf("TAP version 13\n1..%u\n", opt.procs + 2);
	printf("# seed %#" PRIx64 ", %u processes, %u MiB, %u regions each, controller %s%s\n",
	       opt.seed, opt.procs, opt.mb, opt.regions, opt.controller,
	       opt.no_zswap_toggle ? " without zswap" : "");
	fflush(stdout);

	progress = mmap(NULL, MAX_PROCS * sizeof(*progress),
			PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			-1, 0);
	if (progress == MAP_FAILED || mlockall(MCL_CURRENT | MCL_FUTURE)) {
		perror("memory of the controller");
		return 2;
	}
	if (!setup_cgroup()) {
		perror(CGROUP);
		return 2;
	}
	save_settings();
	if (opt.huge)
		use_huge();
	for (i = 0; i < opt.procs; i++)
		start_worker(i);
	turns = control(statuses);
	restore_settings();
	/* Reclaim looks for what is left only where swap is allowed. */
	write_str(CGROUP "/memory.high", "max");
	write_str(CGROUP "/memory.swap.max", "max");
	write_str(CGROUP "/memory.zswap.max", "max");
	failed += failed_turns;

	for (i = 0; i < opt.procs; i++) {
		good = !statuses[i] && progress[i].done == 1;
		failed += !good;
		say("# process %u: %" PRIu64 " operations, status %#x\n", i,
		    progress[i].op, statuses[i]);
		say("%sok %u - process %u\n", good ? "" : "not ", ++test, i);
	}
	good = check_counters();
	failed += !good;
	say("%sok %u - nothing is left in swap\n", good ? "" : "not ", ++test);
	remove_cgroup();

	for (i = 0; i < ARRAY_SIZE(events); i++)
		if (event(i))
			say("# %s %lld\n", events[i], event(i));
	/* pages that went out to a device, as zeros, or to zswap */
	good = event(1) + event(3) + event(5) > 0;
	failed += !good;
	say("%sok %u - memory was swapped\n", good ? "" : "not ", ++test);
	say("# %lu turns of the controller in %.1f s, %u failed\n", turns,
	    elapsed(), failed);
	return failed ? 1 : 0;
}
