// SPDX-License-Identifier: GPL-2.0-only
/*
 * Virtual swap: with zswap and without any swap device, memory is swapped out,
 * and all of it comes back.
 *
 * Every page has contents of its own, which differ from version to version, and
 * is compared byte for byte. Every step says by how much each counter moves,
 * and all other counters have to stay where they are. After each test, when its
 * processes are gone, no virtual slot may be left.
 *
 * The tests work in a memory cgroup of their own. Nothing else should swap
 * meanwhile, or the counters will not fit.
 *
 * The environment names block devices with swap headers for the tests of virtual
 * swap next to swap devices: VSWAP_TEST_DEV and VSWAP_TEST_DEV2, and for those
 * of readahead VSWAP_TEST_DISK, a device whose I/O takes time. They are
 * overwritten.
 */
#include <linux/io_uring.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>

#include "vswap_test.h"

#define LOAD_SECONDS	60	/* of swapoff under load */

/*
 * roundtrip: out and back, with each compressor
 */
FIXTURE(roundtrip)
{
	struct env env;
};

FIXTURE_VARIANT(roundtrip)
{
	const char *compressor;
	const char *config;
};

FIXTURE_VARIANT_ADD(roundtrip, lzo)
{
	.compressor = "lzo",
	.config = "CONFIG_CRYPTO_LZO",
};

FIXTURE_VARIANT_ADD(roundtrip, lz4)
{
	.compressor = "lz4",
	.config = "CONFIG_CRYPTO_LZ4",
};

FIXTURE_VARIANT_ADD(roundtrip, zstd)
{
	.compressor = "zstd",
	.config = "CONFIG_CRYPTO_ZSTD",
};

FIXTURE_SETUP(roundtrip)
{
	setup(_metadata, &self->env);
	if (_metadata->exit_code)
		return;
	if (!need(_metadata, !write_str(ZSWAP "compressor", variant->compressor), variant->config))
		return;
}

FIXTURE_TEARDOWN_PARENT(roundtrip)
{
	teardown(_metadata, &self->env);
}

VSWAP_TEST(roundtrip, mixed)
{
	struct region *r = map_region(_metadata, 256, 1, -1);
	int i;

	for (i = 0; i < 2; i++) {
		fill(r, 0, 256, MIXED);
		EXPECT_COUNTERS();
		PAGEOUT(r, 0, 256);
		EXPECT_COUNTERS([ZSWPOUT] = 256, [USED] = 256, [ZSWAPPED] = 256);
		EXPECT_DATA(r, 0, 256);
		EXPECT_COUNTERS([ZSWPIN] = 256, [USED] = -256, [ZSWAPPED] = -256);
	}
	unmap_region(r);
}

VSWAP_TEST(roundtrip, zero)
{
	struct region *r = map_region(_metadata, 256, 1, -1);
	int i;

	for (i = 0; i < 2; i++) {
		fill(r, 0, 256, ZEROED);
		PAGEOUT(r, 0, 256);
		EXPECT_COUNTERS([SWPOUT_ZERO] = 256, [USED] = 256, [ZERO] = 256);
		EXPECT_DATA(r, 0, 256);
		EXPECT_COUNTERS([SWPIN_ZERO] = 256, [USED] = -256, [ZERO] = -256);
	}
	unmap_region(r);
}

static long nr_rejected(void)
{
	return read_long(ZSWAP_DEBUG "reject_compress_poor") +
	       read_long(ZSWAP_DEBUG "reject_compress_fail");
}

/* Refused once, and kept in memory. */
VSWAP_TEST(roundtrip, incompressible)
{
	struct region *r = map_region(_metadata, 128, 1, -1);
	long rejected;
	int i;

	for (i = 0; i < 2; i++) {
		fill(r, 0, 128, NOISE);
		rejected = nr_rejected();
		PAGEOUT(r, 0, 128);
		EXPECT_COUNTERS([USED] = 128, [CACHED] = 128);
		if (stored_pages() >= 0)
			EXPECT_EQ(128, nr_rejected() - rejected);
		EXPECT_DATA(r, 0, 128);
		EXPECT_COUNTERS([USED] = -128, [CACHED] = -128);
	}
	unmap_region(r);
}

/* Neighbours in a cluster do not affect each other. */
VSWAP_TEST(roundtrip, all_kinds)
{
	struct region *r = map_region(_metadata, 192, 1, -1);
	size_t i;

	for (i = 0; i < 192; i++)
		fill(r, i, 1, i % 3);
	PAGEOUT(r, 0, 192);
	EXPECT_COUNTERS([ZSWPOUT] = 64, [SWPOUT_ZERO] = 64, [USED] = 192,
			[CACHED] = 64, [ZERO] = 64, [ZSWAPPED] = 64);
	EXPECT_DATA(r, 0, 192);
	EXPECT_COUNTERS([ZSWPIN] = 64, [SWPIN_ZERO] = 64, [USED] = -192,
			[CACHED] = -64, [ZERO] = -64, [ZSWAPPED] = -64);
	unmap_region(r);
}

/*
 * anon: what system calls do with base pages that are out
 */
FIXTURE(anon)
{
	struct env env;
};

FIXTURE_SETUP(anon)
{
	setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(anon)
{
	teardown(_metadata, &self->env);
}

/* How counters move when @nr anonymous pages go out or come back. */
static void add_out(long *want, enum content content, long nr)
{
	static const enum counter out[] = {
		[MIXED] = ZSWPOUT, [ZEROED] = SWPOUT_ZERO,
	};
	static const enum counter kind[] = {
		[MIXED] = ZSWAPPED, [ZEROED] = ZERO, [NOISE] = CACHED,
	};

	want[USED] += nr;
	want[kind[content]] += nr;
	if (content != NOISE)
		want[out[content]] += nr;
}

static void add_in(long *want, enum content content, long nr)
{
	static const enum counter in[] = {
		[MIXED] = ZSWPIN, [ZEROED] = SWPIN_ZERO,
	};
	static const enum counter kind[] = {
		[MIXED] = ZSWAPPED, [ZEROED] = ZERO, [NOISE] = CACHED,
	};

	want[USED] -= nr;
	want[kind[content]] -= nr;
	if (content != NOISE)
		want[in[content]] += nr;
}

static const enum content contents[] = { MIXED, ZEROED, NOISE };

/* From each kind of contents to each, with and without a look in between. */
VSWAP_TEST(anon, rewrite)
{
	struct region *r = map_region(_metadata, SMALL, 1, -1);
	long want[NR_COUNTERS];
	size_t from, to;

	for (from = 0; from < 3; from++) {
		for (to = 0; to < 3; to++) {
			fill(r, 0, SMALL, contents[from]);
			PAGEOUT(r, 0, SMALL);
			memset(want, 0, sizeof(want));
			add_out(want, contents[from], SMALL);
			expect_counters(_metadata, __LINE__, &self->env, want);

			if (from == to)
				EXPECT_DATA(r, 0, SMALL);
			fill(r, 0, SMALL, contents[to]);
			memset(want, 0, sizeof(want));
			add_in(want, contents[from], SMALL);
			expect_counters(_metadata, __LINE__, &self->env, want);

			PAGEOUT(r, 0, SMALL);
			memset(want, 0, sizeof(want));
			add_out(want, contents[to], SMALL);
			expect_counters(_metadata, __LINE__, &self->env, want);

			EXPECT_DATA(r, 0, SMALL);
			memset(want, 0, sizeof(want));
			add_in(want, contents[to], SMALL);
			expect_counters(_metadata, __LINE__, &self->env, want);
		}
	}
	unmap_region(r);
}

/* One byte in a page that was zero, and one page that loses its only byte. */
VSWAP_TEST(anon, rewrite_byte)
{
	struct region *r = map_region(_metadata, 2, 1, -1);
	char zero[64 << 10] = {};

	r->addr[0] = 0;
	r->addr[psize()] = 1;
	PAGEOUT(r, 0, 2);
	EXPECT_COUNTERS([ZSWPOUT] = 1, [SWPOUT_ZERO] = 1, [USED] = 2,
			[ZERO] = 1, [ZSWAPPED] = 1);
	r->addr[psize() - 1] = 1;
	r->addr[psize()] = 0;
	EXPECT_COUNTERS([ZSWPIN] = 1, [SWPIN_ZERO] = 1, [USED] = -2,
			[ZERO] = -1, [ZSWAPPED] = -1);
	PAGEOUT(r, 0, 2);
	EXPECT_COUNTERS([ZSWPOUT] = 1, [SWPOUT_ZERO] = 1, [USED] = 2,
			[ZERO] = 1, [ZSWAPPED] = 1);
	EXPECT_EQ(0, memcmp(r->addr, zero, psize() - 1));
	EXPECT_EQ(1, r->addr[psize() - 1]);
	EXPECT_EQ(0, memcmp(r->addr + psize(), zero, psize()));
	unmap_region(r);
}

/* Fill with a third of each kind. */
static void fill_kinds(struct region *r)
{
	size_t i;

	for (i = 0; i < r->nr; i++)
		fill(r, i, 1, contents[i % 3]);
}

VSWAP_TEST(anon, fork_write_both)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	struct gate gate;
	size_t i;
	pid_t pid;

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	EXPECT_COUNTERS([ZSWPOUT] = 32, [SWPOUT_ZERO] = 32, [USED] = 96,
			[CACHED] = 32, [ZERO] = 32, [ZSWAPPED] = 32);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		r->id |= 0x100;
		for (i = 0; i < 96; i += 2)
			fill(r, i, 1, contents[(i + 1) % 3]);
		r->id &= 0xff;
		for (i = 1; i < 96; i += 2)
			EXPECT_DATA(r, i, 1);
		/* but for those that the parent has mapped */
		ASSERT_EQ(0, pageout(r, 0, 96));
		for (i = 1; i < 96; i += 2)
			EXPECT_DATA(r, i, 1);
		r->id |= 0x100;
		for (i = 0; i < 96; i += 2)
			EXPECT_DATA(r, i, 1);
		_exit(0);
	}
	/* The slots are shared now, and stay when one of the two looks. */
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 96);
	EXPECT_COUNTERS([ZSWPIN] = 32, [SWPIN_ZERO] = 32,
			[CACHED] = 32, [ZSWAPPED] = -32);
	for (i = 0; i < 96; i += 3)
		fill(r, i, 1, contents[i % 2]);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, 96);
	PAGEOUT(r, 0, 96);
	EXPECT_DATA(r, 0, 96);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
}

/*
 * A page that one of two sharers has brought back is written out again to the
 * same slot, and the other one reads it from there.
 */
VSWAP_TEST(anon, fork_same_slot)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	unsigned long offset[96];
	struct gate gate;
	size_t i;
	pid_t pid;

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	for (i = 0; i < 96; i++)
		offset[i] = swap_offset(pagemap_of(page_addr(r, i)));
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 96);
		_exit(0);
	}
	EXPECT_DATA(r, 0, 96);
	mark_counters(&self->env);
	PAGEOUT(r, 0, 96);
	/* What is known to be zero is not written again. */
	EXPECT_COUNTERS([ZSWPOUT] = 32, [CACHED] = -32, [ZSWAPPED] = 32);
	for (i = 0; i < 96; i++)
		EXPECT_EQ(offset[i], swap_offset(pagemap_of(page_addr(r, i))));
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, 96);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
}

/* More sharers than the count in the swap table can tell. */
static void deep_fork(struct __test_metadata *_metadata, struct env *env,
		      struct region *r)
{
	pid_t pids[40];
	struct gate gate;
	size_t i;

	PAGEOUT(r, 0, r->nr);
	mark_counters(env);
	ASSERT_EQ(0, gate_make(&gate));
	for (i = 0; i < 40; i++) {
		pids[i] = fork();
		ASSERT_LE(0, pids[i]);
		if (pids[i])
			continue;
		gate_wait(&gate);
		if (i % 4 == 3)
			_exit(0);
		EXPECT_DATA(r, 0, r->nr);
		if (i % 4 == 2) {
			r->id |= i << 8;
			fill(r, 0, r->nr, contents[i % 3]);
			ASSERT_EQ(0, pageout(r, 0, r->nr));
			EXPECT_DATA(r, 0, r->nr);
		}
		_exit(0);
	}
	/* There are as many slots as before. */
	EXPECT_COUNTERS_OF(env);
	gate_open(&gate);
	for (i = 0; i < 40; i++)
		EXPECT_EXIT(pids[i]);
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_EQ(env->start[USED], used());
}

VSWAP_TEST(anon, fork_deep)
{
	struct region *r = map_region(_metadata, 24, 1, -1);

	fill_kinds(r);
	deep_fork(_metadata, &self->env, r);
	unmap_region(r);
}

/* The parent goes first, and children of children are left. */
VSWAP_TEST(anon, fork_exit_order)
{
	struct region *r = map_region(_metadata, 48, 1, -1);
	pid_t pid;
	int depth;

	fill_kinds(r);
	PAGEOUT(r, 0, 48);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		for (depth = 0; depth < 20; depth++) {
			pid = fork();
			ASSERT_LE(0, pid);
			if (pid) {
				if (depth % 2)
					EXPECT_DATA(r, 0, 16);
				munmap(r->addr, r->nr * psize());
				EXPECT_EXIT(pid);
				_exit(0);
			}
		}
		EXPECT_DATA(r, 0, 48);
		_exit(0);
	}
	munmap(r->addr, r->nr * psize());
	EXPECT_EXIT(pid);
	EXPECT_EQ(self->env.start[USED], used());
}

VSWAP_TEST(anon, munmap_part)
{
	struct region *r = map_region(_metadata, 96, 1, -1);

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	mark_counters(&self->env);
	ASSERT_EQ(0, munmap(page_addr(r, 30), 12 * psize()));
	EXPECT_COUNTERS([USED] = -12, [CACHED] = -4, [ZERO] = -4,
			[ZSWAPPED] = -4);
	EXPECT_DATA(r, 0, 30);
	EXPECT_DATA(r, 42, 54);
	EXPECT_EQ(self->env.start[USED], used());
}

VSWAP_TEST(anon, mremap)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	struct region *to = map_region(_metadata, 96, 1, -1);
	char *old = r->addr;
	size_t i;

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	mark_counters(&self->env);
	ASSERT_EQ(to->addr, mremap(old, 96 * psize(), 96 * psize(),
				   MREMAP_MAYMOVE | MREMAP_FIXED, to->addr));
	r->addr = to->addr;
	EXPECT_COUNTERS();
	EXPECT_EQ(96, count_swapped(r, 0, 96));
	EXPECT_DATA(r, 0, 48);
	/* back, half in and half out */
	ASSERT_EQ(old, mremap(r->addr, 96 * psize(), 96 * psize(),
			      MREMAP_MAYMOVE | MREMAP_FIXED, old));
	r->addr = old;
	EXPECT_DATA(r, 0, 96);
	EXPECT_EQ(self->env.start[USED], used());

	/* without the old mapping being unmapped */
	PAGEOUT(r, 0, 96);
	ASSERT_EQ(to->addr, mremap(old, 96 * psize(), 96 * psize(),
				   MREMAP_MAYMOVE | MREMAP_FIXED |
				   MREMAP_DONTUNMAP, to->addr));
	for (i = 0; i < 96 * psize(); i += psize())
		EXPECT_EQ(0, old[i]);
	r->addr = to->addr;
	EXPECT_DATA(r, 0, 96);
	EXPECT_EQ(self->env.start[USED], used());
}

VSWAP_TEST(anon, mprotect)
{
	struct region *r = map_region(_metadata, 48, 1, -1);

	fill_kinds(r);
	PAGEOUT(r, 0, 48);
	mark_counters(&self->env);
	ASSERT_EQ(0, mprotect(r->addr, 48 * psize(), PROT_NONE));
	EXPECT_COUNTERS();
	ASSERT_EQ(0, mprotect(r->addr, 48 * psize(), PROT_READ));
	EXPECT_DATA(r, 0, 48);
	ASSERT_EQ(0, mprotect(r->addr, 48 * psize(), PROT_READ | PROT_WRITE));
	fill_kinds(r);
	/* read-only pages are written out like others */
	ASSERT_EQ(0, mprotect(r->addr, 48 * psize(), PROT_READ));
	PAGEOUT(r, 0, 48);
	EXPECT_DATA(r, 0, 48);
	unmap_region(r);
}

VSWAP_TEST(anon, madvise_drop)
{
	static const int advices[] = { MADV_DONTNEED, MADV_FREE };
	struct region *r = map_region(_metadata, 96, 1, -1);
	size_t i;

	for (i = 0; i < 2; i++) {
		fill_kinds(r);
		PAGEOUT(r, 0, 96);
		mark_counters(&self->env);
		ASSERT_EQ(0, madvise(page_addr(r, 30), 12 * psize(), advices[i]));
		EXPECT_COUNTERS([USED] = -12, [CACHED] = -4, [ZERO] = -4,
				[ZSWAPPED] = -4);
		forget(r, 30, 12);
		EXPECT_DATA(r, 0, 96);
		EXPECT_EQ(self->env.start[USED], used());
	}
	unmap_region(r);
}

/* MADV_FREE on pages in memory: what is written to afterwards is kept. */
VSWAP_TEST(anon, madvise_free_pageout)
{
	struct region *r = map_region(_metadata, 32, 1, -1);

	fill(r, 0, 32, MIXED);
	ASSERT_EQ(0, madvise(r->addr, 32 * psize(), MADV_FREE));
	fill(r, 0, 16, MIXED);
	/* the first drops half of the pages, and sees that the others are not free */
	ASSERT_EQ(0, pageout(r, 0, 32));
	EXPECT_COUNTERS();
	ASSERT_EQ(0, pageout(r, 0, 32));
	EXPECT_COUNTERS([ZSWPOUT] = 16, [USED] = 16, [ZSWAPPED] = 16);
	forget(r, 16, 16);
	EXPECT_DATA(r, 0, 32);
	unmap_region(r);
}

VSWAP_TEST(anon, madvise_cold)
{
	struct region *r = map_region(_metadata, 48, 1, -1);

	fill_kinds(r);
	PAGEOUT(r, 0, 48);
	mark_counters(&self->env);
	ASSERT_EQ(0, madvise(r->addr, 48 * psize(), MADV_COLD));
	ASSERT_EQ(0, pageout(r, 0, 48));
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 24);
	ASSERT_EQ(0, madvise(r->addr, 48 * psize(), MADV_COLD));
	EXPECT_DATA(r, 0, 48);
	unmap_region(r);
}

/* Read into the swap cache, and out again from there. */
VSWAP_TEST(anon, madvise_willneed)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	unsigned char vec[96];
	size_t i, resident = 0;

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	mark_counters(&self->env);
	ASSERT_EQ(0, mincore(r->addr, 96 * psize(), vec));
	for (i = 0; i < 96; i++)
		resident += vec[i];
	EXPECT_EQ(32, resident);

	ASSERT_EQ(0, madvise(r->addr, 96 * psize(), MADV_WILLNEED));
	EXPECT_COUNTERS([ZSWPIN] = 32, [SWPIN_ZERO] = 32, [CACHED] = 32,
			[ZSWAPPED] = -32);
	EXPECT_EQ(96, count_swapped(r, 0, 96));
	ASSERT_EQ(0, mincore(r->addr, 96 * psize(), vec));
	for (i = 0; i < 96; i++)
		EXPECT_EQ(1, vec[i]);

	cg_write("main", "memory.reclaim", "1M");
	EXPECT_EQ(96, used() - self->env.start[USED]);
	EXPECT_DATA(r, 0, 96);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
}

/* Slots whose folio is in the swap cache go away with their owner. */
VSWAP_TEST(anon, willneed_munmap)
{
	struct region *r = map_region(_metadata, 96, 1, -1);

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	ASSERT_EQ(0, madvise(r->addr, 96 * psize(), MADV_WILLNEED));
	unmap_region(r);
	EXPECT_EQ(self->env.start[USED], used());
}

VSWAP_TEST(anon, mlock)
{
	struct region *r = map_region(_metadata, 96, 1, -1);

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	mark_counters(&self->env);
	ASSERT_EQ(0, mlock(r->addr, 96 * psize()));
	EXPECT_COUNTERS([ZSWPIN] = 32, [SWPIN_ZERO] = 32, [USED] = -96,
			[CACHED] = -32, [ZERO] = -32, [ZSWAPPED] = -32);
	EXPECT_EQ(96, count_present(r, 0, 96));
	cg_write("main", "memory.reclaim", "1M");
	EXPECT_EQ(96, count_present(r, 0, 96));
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 96);
	ASSERT_EQ(0, munlock(r->addr, 96 * psize()));
	PAGEOUT(r, 0, 96);
	EXPECT_DATA(r, 0, 96);
	unmap_region(r);
}

static long smaps_key(const char *addr, const char *key)
{
	static char buf[256 << 10];
	char start[32], *vma;

	if (read_str("/proc/self/smaps", buf, sizeof(buf)) < 0)
		return -1;
	snprintf(start, sizeof(start), "\n%lx-", (unsigned long)addr);
	vma = strstr(buf, start);
	return vma ? find_key(vma + 1, key) : -1;
}

VSWAP_TEST(anon, proc_files)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	long zswapped, kb = psize() >> 10, vmswap;
	struct rusage before, after;
	struct sysinfo info;
	unsigned int type;
	size_t i, j;

	fill_kinds(r);
	zswapped = meminfo_kb("Zswapped");
	vmswap = read_key("/proc/self/status", "VmSwap");
	PAGEOUT(r, 0, 96);

	/* A process sees what it has in swap... */
	EXPECT_EQ(96 * kb, smaps_key(r->addr, "Swap"));
	EXPECT_EQ(96 * kb, smaps_key(r->addr, "SwapPss"));
	EXPECT_EQ(96 * kb, read_key("/proc/self/status", "VmSwap") - vmswap);
	type = swap_type(pagemap_of(r->addr));
	for (i = 0; i < 96; i++) {
		uint64_t entry = pagemap_of(page_addr(r, i));

		EXPECT_EQ(PM_SWAP, entry & (PM_SWAP | PM_PRESENT));
		EXPECT_EQ(type, swap_type(entry));
		EXPECT_NE(0, swap_offset(entry));
		for (j = 0; j < i; j++)
			EXPECT_NE(entry & ~PM_SOFT_DIRTY,
				  pagemap_of(page_addr(r, j)) & ~PM_SOFT_DIRTY);
	}

	/* ...and nobody sees a swap device. */
	EXPECT_FALSE(have_swap_device());
	EXPECT_EQ(0, meminfo_kb("SwapTotal"));
	EXPECT_EQ(0, meminfo_kb("SwapFree"));
	ASSERT_EQ(0, sysinfo(&info));
	EXPECT_EQ(0, info.totalswap);
	EXPECT_EQ(0, info.freeswap);
	EXPECT_EQ(32 * kb, meminfo_kb("Zswapped") - zswapped);

	/* Decompressing is a major fault, finding it in memory is not. */
	ASSERT_EQ(0, getrusage(RUSAGE_SELF, &before));
	EXPECT_DATA(r, 0, 96);
	ASSERT_EQ(0, getrusage(RUSAGE_SELF, &after));
	EXPECT_EQ(64, after.ru_majflt - before.ru_majflt);
	EXPECT_EQ(0, smaps_key(r->addr, "Swap"));
	EXPECT_EQ(vmswap, read_key("/proc/self/status", "VmSwap"));
	unmap_region(r);
}

VSWAP_TEST(anon, soft_dirty)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	size_t i;

	if (!need(_metadata, softdirty_supported(), "CONFIG_MEM_SOFT_DIRTY"))
		return;
	fill_kinds(r);
	clear_softdirty();
	for (i = 0; i < 96; i += 2)
		fill(r, i, 1, contents[i % 3]);
	PAGEOUT(r, 0, 96);
	for (i = 0; i < 96; i++)
		EXPECT_EQ(!(i % 2), !!(pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY));
	EXPECT_DATA(r, 0, 96);
	for (i = 0; i < 96; i++)
		EXPECT_EQ(!(i % 2), !!(pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY));

	/* cleared while the page is out */
	PAGEOUT(r, 0, 96);
	clear_softdirty();
	EXPECT_DATA(r, 0, 96);
	for (i = 0; i < 96; i++)
		EXPECT_EQ(0, pagemap_of(page_addr(r, i)) & PM_SOFT_DIRTY);
	unmap_region(r);
}

static int open_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -1;
	if (ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int uffd_protect(int uffd, char *addr, size_t len, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

struct writer {
	struct region *r;
	atomic_int done;
};

static void *writer_fn(void *arg)
{
	struct writer *w = arg;
	size_t i;

	for (i = 0; i < w->r->nr; i++)
		fill(w->r, i, 1, MIXED);
	atomic_store(&w->done, 1);
	return NULL;
}

VSWAP_TEST(anon, uffd_wp)
{
	int uffd = open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP), events = 0;
	struct region *r = map_region(_metadata, 24, 1, -1);
	struct writer w = { .r = r };
	struct uffd_msg msg;
	struct pollfd pfd;
	pthread_t thread;
	size_t i;

	if (!need(_metadata, uffd >= 0, "CONFIG_HAVE_ARCH_USERFAULTFD_WP"))
		return;
	fill_kinds(r);
	ASSERT_EQ(0, uffd_register(uffd, r->addr, 24 * psize(), false, true,
				   false));
	ASSERT_EQ(0, uffd_protect(uffd, r->addr, 12 * psize(), true));
	PAGEOUT(r, 0, 24);
	/* also those that are protected while they are out */
	ASSERT_EQ(0, uffd_protect(uffd, r->addr, 24 * psize(), true));
	for (i = 0; i < 24; i++)
		EXPECT_TRUE(pagemap_of(page_addr(r, i)) & PM_UFFD_WP);
	/* a read does not lift it */
	EXPECT_DATA(r, 0, 24);
	for (i = 0; i < 24; i++)
		EXPECT_TRUE(pagemap_of(page_addr(r, i)) & PM_UFFD_WP);
	PAGEOUT(r, 12, 12);
	for (i = 0; i < 24; i++)
		EXPECT_TRUE(pagemap_of(page_addr(r, i)) & PM_UFFD_WP);

	/* a write asks for each page, in memory or not */
	ASSERT_EQ(0, pthread_create(&thread, NULL, writer_fn, &w));
	pfd = (struct pollfd){ .fd = uffd, .events = POLLIN };
	while (!atomic_load(&w.done)) {
		if (poll(&pfd, 1, 10) != 1 ||
		    read(uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		EXPECT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);
		EXPECT_TRUE(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
		events++;
		ASSERT_EQ(0, uffd_protect(uffd, (char *)(uintptr_t)
					  msg.arg.pagefault.address, psize(),
					  false));
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(24, events);
	EXPECT_DATA(r, 0, 24);
	close(uffd);
	unmap_region(r);
}

/* A page that is out, or that waits in the swap cache, moves with its slot. */
VSWAP_TEST(anon, uffd_move)
{
	int uffd = open_uffd(UFFD_FEATURE_MOVE);
	struct region *r = map_region(_metadata, 48, 1, -1);
	struct region *to = map_region(_metadata, 48, 1, -1);
	char *from = r->addr;
	struct uffdio_move move;
	size_t moved = 0, i;
	int tries = 0;

	if (!need(_metadata, uffd >= 0, "CONFIG_USERFAULTFD"))
		return;
	ASSERT_EQ(0, uffd_register(uffd, to->addr, 48 * psize(), true, false,
				   false));
	fill_kinds(r);
	PAGEOUT(r, 0, 48);
	mark_counters(&self->env);
	while (moved < 48 * psize()) {
		move = (struct uffdio_move){
			.dst = (uintptr_t)to->addr + moved,
			.src = (uintptr_t)from + moved,
			.len = 48 * psize() - moved,
		};
		if (ioctl(uffd, UFFDIO_MOVE, &move))
			ASSERT_EQ(EAGAIN, errno);
		if (move.move > 0)
			moved += move.move;
		ASSERT_GT(1000, tries++);
	}
	EXPECT_COUNTERS();
	for (i = 0; i < 48; i++) {
		EXPECT_EQ(0, pagemap_of(from + i * psize()) &
			  (PM_SWAP | PM_PRESENT));
	}
	r->addr = to->addr;
	EXPECT_EQ(48, count_swapped(r, 0, 48));
	EXPECT_DATA(r, 0, 48);
	EXPECT_COUNTERS([ZSWPIN] = 16, [SWPIN_ZERO] = 16, [USED] = -48,
			[CACHED] = -16, [ZERO] = -16, [ZSWAPPED] = -16);
	close(uffd);
}

/* Four pages, 20 times each: one slot for all of the same contents. */
VSWAP_TEST(anon, ksm)
{
	struct region *r = map_region(_metadata, 80, 1, -1);
	size_t i;

	if (!need(_metadata, !access(KSM "run", F_OK), "CONFIG_KSM"))
		return;
	for (i = 0; i < 80; i++) {
		r->pages[i].version = 1;
		make_page(page_addr(r, i), r, i % 4);
	}
	ASSERT_EQ(0, madvise(r->addr, 80 * psize(), MADV_MERGEABLE));
	ASSERT_EQ(0, write_str(KSM "sleep_millisecs", "0"));
	ASSERT_EQ(0, write_str(KSM "pages_to_scan", "1000"));
	ASSERT_EQ(0, write_str(KSM "run", "1"));
	ASSERT_TRUE(WAIT_FOR(read_long("/proc/self/ksm_merging_pages") >= 80));
	ASSERT_EQ(0, write_str(KSM "run", "0"));
	EXPECT_COUNTERS();
	EXPECT_TRUE(RECLAIM_UNTIL(count_swapped(r, 0, 80) == 80));
	EXPECT_COUNTERS([ZSWPOUT] = 4, [USED] = 4, [ZSWAPPED] = 4);
	for (i = 0; i < 80; i++)
		EXPECT_TRUE(page_right(r, i % 4, page_addr(r, i)));
	/* all but one have a copy, and the last copy frees the slot of that one */
	EXPECT_EQ(0, used() - self->env.start[USED]);

	/* each is on its own after a write */
	for (i = 0; i < 80; i++)
		r->addr[i * psize()] ^= i + 1;
	EXPECT_TRUE(RECLAIM_UNTIL(count_swapped(r, 0, 80) == 80));
	for (i = 0; i < 80; i++) {
		r->addr[i * psize()] ^= i + 1;
		EXPECT_TRUE(page_right(r, i % 4, page_addr(r, i)));
	}
	unmap_region(r);
}

static int nodes_of(struct region *r, int *status)
{
	void *pages[128];
	size_t i;

	for (i = 0; i < r->nr; i++)
		pages[i] = page_addr(r, i);
	return syscall(__NR_move_pages, 0, r->nr, pages, NULL, status, 0);
}

static int move_to_node(struct region *r, int node, int *status)
{
	void *pages[128];
	int nodes[128];
	size_t i;

	for (i = 0; i < r->nr; i++) {
		pages[i] = page_addr(r, i);
		nodes[i] = node;
	}
	return syscall(__NR_move_pages, 0, r->nr, pages, nodes, status,
		       MPOL_MF_MOVE);
}

/* Folios in the swap cache move to another node while a slot is shared. */
VSWAP_TEST(anon, migrate_swap_cache)
{
	struct region *r = map_region(_metadata, 48, 1, -1);
	int status[128], node;
	struct gate gate;
	size_t i;
	pid_t pid;

	fill_kinds(r);
	if (!need(_metadata, !nodes_of(r, status), "CONFIG_NUMA_MIGRATION"))
		return;
	PAGEOUT(r, 0, 48);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 48);
		_exit(0);
	}
	EXPECT_DATA(r, 0, 48);
	mark_counters(&self->env);
	ASSERT_EQ(0, nodes_of(r, status));
	node = !status[0];
	if (move_to_node(r, node, status) < 0) {
		gate_open(&gate);
		EXPECT_EXIT(pid);
		ASSERT_EQ(ENODEV, errno);
		SKIP(return, "only one node");
	}
	for (i = 0; i < 48; i++)
		EXPECT_EQ(node, status[i]);
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 48);
	PAGEOUT(r, 0, 24);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, 48);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
}

/* Folios that are in the swap cache and not mapped are moved by compaction. */
VSWAP_TEST(anon, compact_swap_cache)
{
	struct region *r = map_region(_metadata, 768, 1, -1);
	size_t i;

	if (!need(_metadata, !access("/proc/sys/vm/compact_memory", F_OK), "CONFIG_COMPACTION"))
		return;
	for (i = 0; i < 768; i++)
		fill(r, i, 1, i % 3 ? NOISE : MIXED);
	/* make holes */
	ASSERT_EQ(0, pageout(r, 0, 768));
	EXPECT_COUNTERS([ZSWPOUT] = 256, [USED] = 768, [CACHED] = 512,
			[ZSWAPPED] = 256);
	ASSERT_EQ(0, write_str("/proc/sys/vm/compact_memory", "1"));
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 768);
	EXPECT_COUNTERS([ZSWPIN] = 256, [USED] = -768, [CACHED] = -512,
			[ZSWAPPED] = -256);
	unmap_region(r);
}

/* Somebody else holds the pages: they get a slot, and stay in memory. */
VSWAP_TEST(anon, referenced)
{
	struct region *r = map_region(_metadata, 8, 1, -1);
	struct iovec iov = { .iov_base = r->addr, .iov_len = 8 * psize() };
	char buf[64 << 10];
	int fd[2];
	size_t i;

	fill(r, 0, 8, MIXED);
	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(8 * psize(), vmsplice(fd[1], &iov, 1, 0));
	ASSERT_EQ(0, pageout(r, 0, 8));
	EXPECT_COUNTERS([USED] = 8, [CACHED] = 8);
	EXPECT_EQ(8, count_swapped(r, 0, 8));
	EXPECT_DATA(r, 0, 4);
	EXPECT_COUNTERS([USED] = -4, [CACHED] = -4);
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(psize(), read(fd[0], buf, psize()));
		EXPECT_TRUE(page_right(r, i, buf));
	}
	close(fd[0]);
	close(fd[1]);
	EXPECT_DATA(r, 0, 8);
	EXPECT_COUNTERS([USED] = -4, [CACHED] = -4);
	PAGEOUT(r, 0, 8);
	EXPECT_COUNTERS([ZSWPOUT] = 8, [USED] = 8, [ZSWAPPED] = 8);
	EXPECT_DATA(r, 0, 8);
	unmap_region(r);
}

/* Pinned pages, here as buffers of an io_uring, are not swapped at all. */
VSWAP_TEST(anon, pinned)
{
	struct region *r = map_region(_metadata, 8, 1, -1);
	struct iovec iov = { .iov_base = r->addr, .iov_len = 8 * psize() };
	struct io_uring_params params = {};
	int ring;

	ring = syscall(__NR_io_uring_setup, 4, &params);
	if (ring < 0 && errno == EPERM)
		SKIP(return, "io_uring is forbidden");
	if (!need(_metadata, ring >= 0, "CONFIG_IO_URING"))
		return;
	fill(r, 0, 8, MIXED);
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring,
			     IORING_REGISTER_BUFFERS, &iov, 1));
	ASSERT_EQ(0, pageout(r, 0, 8));
	cg_write("main", "memory.reclaim", "1M");
	EXPECT_COUNTERS();
	EXPECT_EQ(8, count_present(r, 0, 8));
	EXPECT_DATA(r, 0, 8);
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring,
			     IORING_UNREGISTER_BUFFERS, NULL, 0));
	close(ring);
	EXPECT_TRUE(WAIT_FOR(!pageout(r, 0, 8) && count_swapped(r, 0, 8) == 8));
	EXPECT_DATA(r, 0, 8);
	unmap_region(r);
}

/* Two threads write and compare, and a third pages out under their hands. */
struct racer {
	struct region *r;
	size_t first, nr;
	atomic_int *stop;
	size_t wrong;
};

static void *racer_fn(void *arg)
{
	struct racer *racer = arg;
	struct region *r = racer->r;
	uint64_t x = racer->first + 1;
	size_t i;

	while (!atomic_load(racer->stop) && !racer->wrong) {
		i = racer->first + next_random(&x) % racer->nr;
		racer->wrong += count_wrong(r, i, 1);
		if (next_random(&x) & 1)
			fill(r, i, 1, contents[next_random(&x) % 3]);
	}
	racer->wrong += count_wrong(r, racer->first, racer->nr);
	return NULL;
}

VSWAP_TEST(anon, race)
{
	struct region *r = map_region(_metadata, 64, 1, -1);
	atomic_int stop = 0;
	struct racer racers[2];
	pthread_t threads[2];
	uint64_t x = 1;
	size_t i, first;
	long end;

	unpin();
	fill_kinds(r);
	for (i = 0; i < 2; i++) {
		racers[i] = (struct racer){
			.r = r, .first = i * 32, .nr = 32, .stop = &stop,
		};
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, racer_fn,
					    &racers[i]));
	}
	end = now_ms() + 1500;
	while (now_ms() < end) {
		first = next_random(&x) % 64;
		ASSERT_EQ(0, pageout(r, first, 1 + next_random(&x) % (64 - first)));
	}
	atomic_store(&stop, 1);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
		EXPECT_EQ(0, racers[i].wrong);
	}
	EXPECT_LT(self->env.last[ZSWPOUT], read_key("/proc/vmstat", "zswpout"));
	unmap_region(r);
	EXPECT_TRUE(WAIT_FOR(slots_gone(&self->env)));
}

/*
 * large: large folios go out whole, and come back as base pages
 */
FIXTURE(large)
{
	struct env env;
};

FIXTURE_SETUP(large)
{
	setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(large)
{
	teardown(_metadata, &self->env);
}

/* What is counted for each size. */
struct mthp {
	long alloc, zswpout, swpout, swpin, fallback;
	long thp_fallback;	/* Of folios of PMD size */
};

static void read_mthp(int order, struct mthp *m)
{
	m->alloc = mthp_stat(order, "anon_fault_alloc") +
		   mthp_stat(order, "shmem_alloc");
	m->zswpout = mthp_stat(order, "zswpout");
	m->swpout = mthp_stat(order, "swpout");
	m->swpin = mthp_stat(order, "swpin");
	m->fallback = mthp_stat(order, "swpout_fallback");
	m->thp_fallback = read_key("/proc/vmstat", "thp_swpout_fallback");
}

/* By how much they have moved. Nothing large comes back, or goes to a device. */
static void expect_mthp(struct __test_metadata *_metadata, int line, int order,
			struct mthp *was, long nr_alloc, long nr_out,
			long nr_split)
{
	struct mthp now;

	read_mthp(order, &now);
	EXPECT_EQ(nr_alloc, now.alloc - was->alloc) {
		TH_LOG("line %d: large folios that were allocated", line);
	}
	EXPECT_EQ(nr_out, now.zswpout - was->zswpout) {
		TH_LOG("line %d: large folios that went out whole", line);
	}
	EXPECT_EQ(nr_split, now.fallback - was->fallback) {
		TH_LOG("line %d: large folios that were split", line);
	}
	EXPECT_EQ(order == pmd_order() ? nr_split : 0,
		  now.thp_fallback - was->thp_fallback) {
		TH_LOG("line %d: folios of PMD size that were split", line);
	}
	EXPECT_EQ(0, now.swpout - was->swpout);
	EXPECT_EQ(0, now.swpin - was->swpin);
	*was = now;
}

#define EXPECT_MTHP(order, was, nr_alloc, nr_out, nr_split)		\
	expect_mthp(_metadata, __LINE__, order, was, nr_alloc, nr_out, nr_split)

VSWAP_TEST(large, every_order)
{
	int order, orders = 0;

	if (!need(_metadata, !access(THP, F_OK), "CONFIG_TRANSPARENT_HUGEPAGE"))
		return;
	for (order = 2; order <= pmd_order(); order++) {
		size_t nr = 1UL << order;
		struct region *r;
		struct mthp was;

		if (!have_mthp(order, "enabled"))
			continue;
		orders++;
		if (!need_large(_metadata, order, "enabled"))
			return;
		read_mthp(order, &was);
		r = map_region(_metadata, 2 * nr, nr, -1);
		fill(r, 0, nr, MIXED);
		fill(r, nr, nr, ZEROED);
		EXPECT_MTHP(order, &was, 2, 0, 0);
		EXPECT_EQ(2 * nr, count_large(r, 0, 2 * nr));
		PAGEOUT(r, 0, 2 * nr);
		/* a zero folio goes out without zswap */
		EXPECT_MTHP(order, &was, 0, 1, 0);
		EXPECT_COUNTERS([ZSWPOUT] = nr, [SWPOUT_ZERO] = nr,
				[USED] = 2 * nr, [ZERO] = nr, [ZSWAPPED] = nr);
		EXPECT_DATA(r, 0, 2 * nr);
		EXPECT_MTHP(order, &was, 0, 0, 0);
		EXPECT_COUNTERS([ZSWPIN] = nr, [SWPIN_ZERO] = nr,
				[USED] = -2 * nr, [ZERO] = -nr,
				[ZSWAPPED] = -nr);
		/* the first range is read as base pages, and then it is in use */
		EXPECT_EQ(nr, count_large(r, 0, 2 * nr));
		unmap_region(r);
		ASSERT_EQ(0, set_mthp(order, "enabled", "never"));
	}
	EXPECT_LT(1, orders);
}

/* Different sizes in turn share the virtual device. */
VSWAP_TEST(large, mixed_orders)
{
	static const int orders[] = { 4, 2, 0, 6, 0, 4, 3, 5, 2, 0, 4, 6 };
	struct region *r[ARRAY_SIZE(orders)];
	size_t i, round, total = 0;

	if (!need(_metadata, !access(THP, F_OK), "CONFIG_TRANSPARENT_HUGEPAGE"))
		return;
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 8; i++) {
			if (orders[i])
				if (!need_large(_metadata, orders[i], "enabled"))
					return;
			r[i] = map_region(_metadata, 64, 64, -1);
			fill(r[i], 0, 64, i == 3 ? ZEROED : MIXED);
			PAGEOUT(r[i], 0, 64);
			if (orders[i])
				ASSERT_EQ(0, set_mthp(orders[i], "enabled",
						      "never"));
			total += 64;
			EXPECT_EQ(total, used() - self->env.start[USED]);
		}
		/* make holes */
		for (i = 0; i < 8; i++) {
			EXPECT_DATA(r[i], i * 5, 20);
			EXPECT_DATA(r[i], 0, 64);
			unmap_region(r[i]);
			total -= 64;
			EXPECT_EQ(total, used() - self->env.start[USED]);
		}
	}
}

/* The folio is put back as it was, but for the page that stays in memory. */
VSWAP_TEST(large, store_fails_halfway)
{
	static const size_t bad[] = { 0, 7, 15 };
	struct mthp was;
	size_t i;

	if (!need_large(_metadata, 4, "enabled"))
		return;
	for (i = 0; i < 3; i++) {
		struct region *r = map_region(_metadata, 16, 16, -1);

		read_mthp(4, &was);
		fill(r, 0, 16, MIXED);
		fill(r, bad[i], 1, NOISE);
		EXPECT_EQ(16, count_large(r, 0, 16));
		EXPECT_COUNTERS();
		PAGEOUT(r, 0, 16);
		EXPECT_MTHP(4, &was, 1, 0, 1);
		EXPECT_COUNTERS([ZSWPOUT] = 15, [USED] = 16, [CACHED] = 1,
				[ZSWAPPED] = 15);
		if (self->env.stored >= 0)
			EXPECT_EQ(15, stored_pages() - self->env.stored);
		EXPECT_DATA(r, 0, 16);
		EXPECT_COUNTERS([ZSWPIN] = 15, [USED] = -16, [CACHED] = -1,
				[ZSWAPPED] = -15);

		/* and now all of it */
		fill(r, bad[i], 1, MIXED);
		PAGEOUT(r, 0, 16);
		EXPECT_COUNTERS([ZSWPOUT] = 16, [USED] = 16, [ZSWAPPED] = 16);
		EXPECT_DATA(r, 0, 16);
		EXPECT_COUNTERS([ZSWPIN] = 16, [USED] = -16, [ZSWAPPED] = -16);
		unmap_region(r);
	}
}

/* Nothing in it compresses: the folio stays what it is, and where it is. */
VSWAP_TEST(large, incompressible)
{
	const int orders[] = { 2, 4, pmd_order() };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		size_t nr = 1UL << orders[i];
		struct region *r;
		struct mthp was;

		if (!need_large(_metadata, orders[i], "enabled"))
			return;
		r = map_region(_metadata, nr, nr, -1);
		read_mthp(orders[i], &was);
		fill(r, 0, nr, NOISE);
		EXPECT_EQ(nr, count_large(r, 0, nr));
		PAGEOUT(r, 0, nr);
		EXPECT_MTHP(orders[i], &was, 1, 0, 0);
		EXPECT_COUNTERS([USED] = nr, [CACHED] = nr);
		EXPECT_DATA(r, 0, nr);
		EXPECT_EQ(nr, count_large(r, 0, nr));
		unmap_region(r);
		EXPECT_COUNTERS([USED] = -nr, [CACHED] = -nr);
		ASSERT_EQ(0, set_mthp(orders[i], "enabled", "never"));
	}
}

/* A PMD mapped folio put back, with zero pages, and with bad halves. */
VSWAP_TEST(large, store_fails_pmd)
{
	size_t nr = 1UL << pmd_order(), i;
	struct region *r;
	struct mthp was;

	if (!need_large(_metadata, pmd_order(), "enabled"))
		return;
	r = map_region(_metadata, nr, nr, -1);
	read_mthp(pmd_order(), &was);
	fill(r, 0, nr, MIXED);
	fill(r, nr / 4, nr / 4, ZEROED);
	fill(r, nr - 3, 2, NOISE);
	EXPECT_EQ(nr, count_large(r, 0, nr));
	PAGEOUT(r, 0, nr);
	EXPECT_MTHP(pmd_order(), &was, 1, 0, 1);
	EXPECT_COUNTERS([ZSWPOUT] = nr - nr / 4 - 2, [SWPOUT_ZERO] = nr / 4,
			[USED] = nr, [CACHED] = 2, [ZERO] = nr / 4,
			[ZSWAPPED] = nr - nr / 4 - 2);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
	mark_counters(&self->env);

	r = map_region(_metadata, nr, nr, -1);
	for (i = 0; i < nr; i++)
		fill(r, i, 1, i % 2 ? NOISE : MIXED);
	PAGEOUT(r, 0, nr);
	EXPECT_COUNTERS([ZSWPOUT] = nr / 2, [USED] = nr, [CACHED] = nr / 2,
			[ZSWAPPED] = nr / 2);
	/* what stays in memory is not tried for ever */
	cg_write("main", "memory.reclaim", "1M");
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
}

VSWAP_TEST(large, fork)
{
	struct region *r;
	struct gate gate;
	pid_t pid;

	if (!need_large(_metadata, 4, "enabled"))
		return;
	r = map_region(_metadata, 64, 16, -1);
	fill(r, 0, 48, MIXED);
	fill(r, 48, 16, ZEROED);
	PAGEOUT(r, 0, 64);
	mark_counters(&self->env);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 64);
		r->id |= 0x100;
		fill(r, 0, 64, MIXED);
		ASSERT_EQ(0, pageout(r, 0, 64));
		EXPECT_DATA(r, 0, 64);
		_exit(0);
	}
	EXPECT_DATA(r, 8, 24);
	EXPECT_COUNTERS([ZSWPIN] = 24, [CACHED] = 24, [ZSWAPPED] = -24);
	fill(r, 12, 8, NOISE);
	ASSERT_EQ(0, pageout(r, 0, 64));
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, 64);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
}

VSWAP_TEST(large, fork_deep)
{
	struct region *r;

	if (!need_large(_metadata, 4, "enabled"))
		return;
	r = map_region(_metadata, 32, 16, -1);
	fill(r, 0, 16, MIXED);
	fill(r, 16, 16, ZEROED);
	deep_fork(_metadata, &self->env, r);
	unmap_region(r);
}

/* Parts of what went out whole are dropped, moved and protected. */
VSWAP_TEST(large, partial)
{
	struct region *r, *to;

	if (!need_large(_metadata, 4, "enabled"))
		return;
	r = map_region(_metadata, 64, 16, -1);
	to = map_region(_metadata, 64, 16, -1);
	fill(r, 0, 64, MIXED);
	PAGEOUT(r, 0, 64);
	mark_counters(&self->env);

	ASSERT_EQ(0, madvise(page_addr(r, 5), 8 * psize(), MADV_DONTNEED));
	EXPECT_COUNTERS([USED] = -8, [ZSWAPPED] = -8);
	forget(r, 5, 8);
	ASSERT_EQ(0, madvise(page_addr(r, 20), 20 * psize(), MADV_FREE));
	EXPECT_COUNTERS([USED] = -20, [ZSWAPPED] = -20);
	forget(r, 20, 20);
	ASSERT_EQ(0, mprotect(page_addr(r, 40), 4 * psize(), PROT_READ));
	ASSERT_EQ(0, munmap(page_addr(r, 60), 4 * psize()));
	EXPECT_COUNTERS([USED] = -4, [ZSWAPPED] = -4);
	EXPECT_DATA(r, 3, 15);
	ASSERT_EQ(page_addr(to, 16),
		  mremap(page_addr(r, 50), 4 * psize(), 4 * psize(),
			 MREMAP_MAYMOVE | MREMAP_FIXED, page_addr(to, 16)));
	memcpy(&to->pages[16], &r->pages[50], 4 * sizeof(to->pages[0]));
	EXPECT_DATA(r, 0, 50);
	EXPECT_DATA(r, 54, 6);
	to->addr -= 34 * psize();
	to->id = r->id;
	memcpy(&to->pages[50], &r->pages[50], 4 * sizeof(to->pages[0]));
	EXPECT_DATA(to, 50, 4);
	EXPECT_EQ(self->env.start[USED], used());
}

/*
 * shmem: the same for shared memory, which is in the page cache or out
 */
FIXTURE(shmem)
{
	struct env env;
};

FIXTURE_SETUP(shmem)
{
	setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(shmem)
{
	teardown(_metadata, &self->env);
}

/* How counters move when @nr pages of shmem go out. */
static void add_out_shmem(long *want, enum content content, long nr)
{
	/* What zswap refuses is in the page cache again, without a slot. */
	if (content != NOISE)
		add_out(want, content, nr);
}

static void add_in_shmem(long *want, enum content content, long nr)
{
	if (content != NOISE)
		add_in(want, content, nr);
}

VSWAP_TEST(shmem, rewrite)
{
	int fd = make_memfd(_metadata, SMALL);
	struct region *r = map_region(_metadata, SMALL, 1, fd);
	long want[NR_COUNTERS];
	size_t from, to;

	for (from = 0; from < 3; from++) {
		for (to = 0; to < 3; to++) {
			fill(r, 0, SMALL, contents[from]);
			ASSERT_EQ(0, pageout(r, 0, SMALL));
			memset(want, 0, sizeof(want));
			add_out_shmem(want, contents[from], SMALL);
			expect_counters(_metadata, __LINE__, &self->env, want);

			if (from == to)
				EXPECT_DATA(r, 0, SMALL);
			fill(r, 0, SMALL, contents[to]);
			memset(want, 0, sizeof(want));
			add_in_shmem(want, contents[from], SMALL);
			expect_counters(_metadata, __LINE__, &self->env, want);

			ASSERT_EQ(0, pageout(r, 0, SMALL));
			memset(want, 0, sizeof(want));
			add_out_shmem(want, contents[to], SMALL);
			expect_counters(_metadata, __LINE__, &self->env, want);

			EXPECT_DATA(r, 0, SMALL);
			memset(want, 0, sizeof(want));
			add_in_shmem(want, contents[to], SMALL);
			expect_counters(_metadata, __LINE__, &self->env, want);
		}
	}
	unmap_region(r);
	close(fd);
}

/* Two processes and two mappings see the same memory. */
VSWAP_TEST(shmem, shared)
{
	int fd = make_memfd(_metadata, 96);
	struct region *r = map_region(_metadata, 96, 1, fd);
	struct gate gate;
	size_t i;
	pid_t pid;

	fill_kinds(r);
	ASSERT_EQ(0, pageout(r, 0, 96));
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 96);
		_exit(0);
	}
	EXPECT_DATA(r, 20, 20);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	ASSERT_EQ(0, pageout(r, 0, 96));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		fill(r, 10, 20, MIXED);
		fill(r, 50, 5, ZEROED);
		ASSERT_EQ(0, pageout(r, 0, 96));
		_exit(0);
	}
	EXPECT_EXIT(pid);
	/* the same versions as in the child */
	for (i = 0; i < 96; i++) {
		if ((i >= 10 && i < 30) || (i >= 50 && i < 55)) {
			r->pages[i].content = i < 30 ? MIXED : ZEROED;
			r->pages[i].version++;
		}
	}
	EXPECT_DATA(r, 0, 96);
	unmap_region(r);
	close(fd);
}

VSWAP_TEST(shmem, truncate)
{
	int fd = make_memfd(_metadata, 96);
	struct region *r = map_region(_metadata, 96, 1, fd);

	fill(r, 0, 48, MIXED);
	fill(r, 48, 48, ZEROED);
	ASSERT_EQ(0, pageout(r, 0, 96));
	mark_counters(&self->env);
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       10 * psize(), 10 * psize()));
	EXPECT_COUNTERS([USED] = -10, [ZSWAPPED] = -10);
	forget(r, 10, 10);
	ASSERT_EQ(0, ftruncate(fd, 60 * psize()));
	EXPECT_COUNTERS([USED] = -36, [ZERO] = -36);
	ASSERT_EQ(0, ftruncate(fd, 96 * psize()));
	EXPECT_DATA(r, 0, 96);
	EXPECT_EQ(self->env.start[USED], used());

	/* not at the boundary of a page */
	fill(r, 0, 96, MIXED);
	ASSERT_EQ(0, pageout(r, 0, 96));
	ASSERT_EQ(0, ftruncate(fd, 50 * psize() + 100));
	ASSERT_EQ(0, ftruncate(fd, 96 * psize()));
	EXPECT_DATA(r, 0, 50);
	EXPECT_EQ(0, r->addr[50 * psize() + 100]);
	forget(r, 51, 45);
	EXPECT_DATA(r, 51, 45);

	/* out, and gone as a whole */
	fill(r, 0, 96, MIXED);
	ASSERT_EQ(0, pageout(r, 0, 96));
	unmap_region(r);
	EXPECT_LT(self->env.start[USED], used());
	close(fd);
	EXPECT_EQ(self->env.start[USED], used());
}

/* The contents of the file through read(), not through a mapping. */
static size_t count_wrong_file(const struct region *r, int fd, size_t nr)
{
	char buf[64 << 10];
	size_t i, wrong = 0;

	for (i = 0; i < nr && wrong < 4; i++) {
		if (pread(fd, buf, psize(), i * psize()) != (ssize_t)psize() ||
		    !page_right(r, i, buf))
			wrong++;
	}
	return wrong;
}

VSWAP_TEST(shmem, tmpfs)
{
	char dir[] = "/tmp/vswap.XXXXXX", file[64], page[64 << 10];
	struct region *r;
	size_t i;
	int fd;

	ASSERT_EQ(0, unshare(CLONE_NEWNS));
	ASSERT_EQ(0, mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	ASSERT_NE(NULL, mkdtemp(dir));
	if (!need(_metadata, !mount("vswap", dir, "tmpfs", 0, "size=8M"), "CONFIG_TMPFS"))
		return;
	snprintf(file, sizeof(file), "%s/file", dir);
	fd = open(file, O_RDWR | O_CREAT, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 96 * psize()));
	r = map_region(_metadata, 96, 1, fd);
	fill_kinds(r);
	ASSERT_EQ(0, pageout(r, 0, 96));
	EXPECT_COUNTERS([ZSWPOUT] = 32, [SWPOUT_ZERO] = 32, [USED] = 64,
			[ZERO] = 32, [ZSWAPPED] = 32);
	EXPECT_EQ(0, count_wrong_file(r, fd, 96));
	EXPECT_COUNTERS([ZSWPIN] = 32, [SWPIN_ZERO] = 32, [USED] = -64,
			[ZERO] = -32, [ZSWAPPED] = -32);
	EXPECT_DATA(r, 0, 96);

	/* written with write() while it is out */
	ASSERT_EQ(0, pageout(r, 0, 96));
	for (i = 0; i < 96; i += 5) {
		r->pages[i].content = MIXED;
		r->pages[i].version++;
		make_page(page, r, i);
		ASSERT_EQ(psize(), pwrite(fd, page, psize(), i * psize()));
	}
	EXPECT_EQ(0, count_wrong_file(r, fd, 96));
	EXPECT_DATA(r, 0, 96);

	/* removed while it is out */
	fill(r, 0, 96, MIXED);
	ASSERT_EQ(0, pageout(r, 0, 96));
	unmap_region(r);
	close(fd);
	EXPECT_EQ(96, used() - self->env.start[USED]);
	ASSERT_EQ(0, unlink(file));
	EXPECT_EQ(self->env.start[USED], used());

	/* not to be swapped */
	ASSERT_EQ(0, umount(dir));
	ASSERT_EQ(0, mount("vswap", dir, "tmpfs", 0, "size=8M,noswap"));
	fd = open(file, O_RDWR | O_CREAT, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, 32 * psize()));
	r = map_region(_metadata, 32, 1, fd);
	fill(r, 0, 32, MIXED);
	mark_counters(&self->env);
	ASSERT_EQ(0, pageout(r, 0, 32));
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 32);
	unmap_region(r);
	close(fd);
	EXPECT_EQ(0, umount(dir));
	EXPECT_EQ(0, rmdir(dir));
}

VSWAP_TEST(shmem, large)
{
	struct region *r;
	struct mthp was;
	int fd;

	if (!need_large(_metadata, 4, "shmem_enabled"))
		return;
	read_mthp(4, &was);
	fd = make_memfd(_metadata, 64);
	r = map_region(_metadata, 64, 16, fd);
	fill(r, 0, 48, MIXED);
	fill(r, 48, 16, ZEROED);
	EXPECT_MTHP(4, &was, 4, 0, 0);
	ASSERT_EQ(0, pageout(r, 0, 64));
	EXPECT_MTHP(4, &was, 0, 3, 0);
	EXPECT_COUNTERS([ZSWPOUT] = 48, [SWPOUT_ZERO] = 16, [USED] = 64,
			[ZERO] = 16, [ZSWAPPED] = 48);
	/* in some order */
	EXPECT_DATA(r, 20, 10);
	EXPECT_COUNTERS([ZSWPIN] = 10, [USED] = -10, [ZSWAPPED] = -10);
	EXPECT_EQ(0, count_large(r, 20, 10));
	EXPECT_DATA(r, 0, 64);
	EXPECT_MTHP(4, &was, 0, 0, 0);
	EXPECT_COUNTERS([ZSWPIN] = 38, [SWPIN_ZERO] = 16, [USED] = -54,
			[ZERO] = -16, [ZSWAPPED] = -38);
	unmap_region(r);
	close(fd);
}

/* What does not compress stays in the page cache, and nothing else does. */
VSWAP_TEST(shmem, large_store_fails)
{
	struct region *r;
	struct mthp was;
	int fd;

	if (!need_large(_metadata, 4, "shmem_enabled"))
		return;
	read_mthp(4, &was);
	fd = make_memfd(_metadata, 32);
	r = map_region(_metadata, 32, 16, fd);
	fill(r, 0, 32, MIXED);
	fill(r, 6, 1, NOISE);
	EXPECT_MTHP(4, &was, 2, 0, 0);
	ASSERT_EQ(0, pageout(r, 0, 32));
	EXPECT_MTHP(4, &was, 0, 1, 1);
	EXPECT_COUNTERS([ZSWPOUT] = 31, [USED] = 31, [ZSWAPPED] = 31);
	EXPECT_DATA(r, 0, 32);
	EXPECT_COUNTERS([ZSWPIN] = 31, [USED] = -31, [ZSWAPPED] = -31);
	fill(r, 6, 1, MIXED);
	ASSERT_EQ(0, pageout(r, 0, 32));
	EXPECT_COUNTERS([ZSWPOUT] = 32, [USED] = 32, [ZSWAPPED] = 32);
	EXPECT_DATA(r, 0, 32);
	unmap_region(r);
	close(fd);
}

/* Cutting through folios that are out as one. */
VSWAP_TEST(shmem, large_truncate)
{
	struct region *r;
	int fd;

	if (!need_large(_metadata, 4, "shmem_enabled"))
		return;
	fd = make_memfd(_metadata, 96);
	r = map_region(_metadata, 96, 16, fd);
	fill(r, 0, 96, MIXED);
	ASSERT_EQ(0, pageout(r, 0, 96));
	mark_counters(&self->env);
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       16 * psize(), 16 * psize()));
	EXPECT_COUNTERS([USED] = -16, [ZSWAPPED] = -16);
	forget(r, 16, 16);
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       35 * psize(), 7 * psize()));
	forget(r, 35, 7);
	ASSERT_EQ(0, ftruncate(fd, 70 * psize() + 1));
	ASSERT_EQ(0, ftruncate(fd, 96 * psize()));
	EXPECT_DATA(r, 0, 70);
	forget(r, 71, 25);
	EXPECT_DATA(r, 71, 25);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
	close(fd);
}

VSWAP_TEST(shmem, willneed)
{
	int fd = make_memfd(_metadata, 64);
	struct region *r = map_region(_metadata, 64, 1, fd);
	unsigned char vec[64];
	size_t i;

	fill(r, 0, 32, MIXED);
	fill(r, 32, 32, ZEROED);
	ASSERT_EQ(0, pageout(r, 0, 64));
	mark_counters(&self->env);
	ASSERT_EQ(0, mincore(r->addr, 64 * psize(), vec));
	for (i = 0; i < 64; i++)
		EXPECT_EQ(0, vec[i]);
	ASSERT_EQ(0, madvise(r->addr, 64 * psize(), MADV_WILLNEED));
	EXPECT_COUNTERS([ZSWPIN] = 32, [SWPIN_ZERO] = 32, [CACHED] = 32,
			[ZSWAPPED] = -32);
	ASSERT_EQ(0, mincore(r->addr, 64 * psize(), vec));
	for (i = 0; i < 64; i++)
		EXPECT_EQ(1, vec[i]);
	cg_write("main", "memory.reclaim", "1M");
	EXPECT_EQ(64, used() - self->env.start[USED]);
	EXPECT_DATA(r, 0, 64);
	EXPECT_EQ(self->env.start[USED], used());

	/* in the swap cache when the file goes */
	ASSERT_EQ(0, pageout(r, 0, 64));
	ASSERT_EQ(0, madvise(r->addr, 64 * psize(), MADV_WILLNEED));
	unmap_region(r);
	close(fd);
	EXPECT_EQ(self->env.start[USED], used());
}

/*
 * cgroup: who is charged, who is refused, and who is left behind
 */
FIXTURE(cgroup)
{
	struct env env;
};

FIXTURE_SETUP(cgroup)
{
	setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(cgroup)
{
	teardown(_metadata, &self->env);
}

VSWAP_TEST(cgroup, charge)
{
	struct region *r = map_region(_metadata, 384, 1, -1);
	long page = psize();

	fill(r, 0, 256, MIXED);
	fill(r, 256, 96, ZEROED);
	fill(r, 352, 32, NOISE);
	PAGEOUT(r, 0, 384);
	EXPECT_STAT(384 * page, "main", "vswap");
	EXPECT_STAT(384 * page, "", "vswap");
	EXPECT_STAT(256 * page, "main", "zswapped");
	EXPECT_STAT(256, "main", "zswpout");
	EXPECT_STAT(96, "main", "swpout_zero");
	EXPECT_STAT(32 * page, "main", "swapcached");
	EXPECT_LT(0, cg_long("main", "memory.zswap.current"));
	EXPECT_LT(cg_long("main", "memory.zswap.current"), 256 * page);
	EXPECT_EQ(0, cg_long("main", "memory.swap.current"));
	EXPECT_EQ(0, cg_long("main", "memory.swap.peak"));
	EXPECT_EQ(0, cg_long("", "memory.swap.current"));
	EXPECT_EQ(0, cg_key("main", "memory.swap.events", "fail"));

	EXPECT_DATA(r, 0, 384);
	EXPECT_STAT(0, "main", "vswap");
	EXPECT_STAT(0, "main", "zswapped");
	EXPECT_STAT(256, "main", "zswpin");
	EXPECT_STAT(96, "main", "swpin_zero");
	EXPECT_EQ(0, cg_long("main", "memory.zswap.current"));
	EXPECT_EQ(0, cg_long("main", "memory.swap.peak"));
	unmap_region(r);
}

/* memory.swap.max is 0 in @cg: no swap of any kind, and each try is counted. */
static void expect_forbidden(struct __test_metadata *_metadata,
			     struct env *env, const char *cg)
{
	struct region *r = map_region(_metadata, 64, 1, -1);
	struct region *old = map_region(_metadata, 32, 1, -1);
	int fd = make_memfd(_metadata, 16);
	struct region *shm = map_region(_metadata, 16, 1, fd);
	long max, fail;

	/* what is out already stays so, and comes back */
	fill(old, 0, 32, MIXED);
	PAGEOUT(old, 0, 32);
	mark_counters(env);
	ASSERT_EQ(0, cg_write(cg, "memory.swap.max", "0"));
	max = cg_key("main", "memory.swap.events", "max");
	fail = cg_key("main", "memory.swap.events", "fail");

	fill(r, 0, 32, MIXED);
	fill(r, 32, 32, ZEROED);
	ASSERT_EQ(0, pageout(r, 0, 64));
	EXPECT_COUNTERS_OF(env);
	EXPECT_EQ(64, count_present(r, 0, 64));
	EXPECT_EQ(64, cg_key("main", "memory.swap.events", "max") - max);
	EXPECT_EQ(64, cg_key("main", "memory.swap.events", "fail") - fail);

	fill(shm, 0, 16, MIXED);
	ASSERT_EQ(0, pageout(shm, 0, 16));
	EXPECT_COUNTERS_OF(env);
	EXPECT_EQ(80, cg_key("main", "memory.swap.events", "max") - max);

	/* reclaim does not count on swap */
	EXPECT_EQ(-EAGAIN, cg_write("main", "memory.reclaim", "1G"));
	EXPECT_COUNTERS_OF(env);

	EXPECT_DATA(r, 0, 64);
	EXPECT_DATA(shm, 0, 16);
	EXPECT_DATA(old, 0, 32);
	EXPECT_EQ(env->start[USED], used());

	/* any other value does not limit virtual swap */
	ASSERT_EQ(0, cg_write(cg, "memory.swap.max", "4096"));
	mark_counters(env);
	PAGEOUT(r, 0, 64);
	EXPECT_COUNTERS_OF(env, [ZSWPOUT] = 32, [SWPOUT_ZERO] = 32,
			   [USED] = 64, [ZERO] = 32, [ZSWAPPED] = 32);
	EXPECT_DATA(r, 0, 64);
	close(fd);
}

VSWAP_TEST(cgroup, swap_max_0)
{
	expect_forbidden(_metadata, &self->env, "main");
}

VSWAP_TEST(cgroup, swap_max_0_parent)
{
	expect_forbidden(_metadata, &self->env, "");
}

VSWAP_TEST(cgroup, zswap_max)
{
	struct region *r = map_region(_metadata, 256, 1, -1);
	const long max = 64 << 10;
	char buf[32];
	long now, stored;

	snprintf(buf, sizeof(buf), "%ld", max);
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", buf));
	fill(r, 0, 256, MIXED);
	PAGEOUT(r, 0, 256);
	EXPECT_TRUE(WAIT_FOR(cg_stat("main", "zswap") > max - (long)psize()));
	now = cg_long("main", "memory.zswap.current");
	EXPECT_GT(max + (long)psize(), now);
	stored = read_long(VSWAP "zswap") - self->env.start[ZSWAPPED];
	EXPECT_LT(15, stored);
	EXPECT_GT(256, stored);
	EXPECT_COUNTERS([ZSWPOUT] = stored, [USED] = 256,
			[CACHED] = 256 - stored, [ZSWAPPED] = stored);
	EXPECT_DATA(r, 0, 256);
	EXPECT_EQ(self->env.start[USED], used());

	/* nothing but zero pages, which take no room */
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "0"));
	fill(r, 0, 64, ZEROED);
	mark_counters(&self->env);
	PAGEOUT(r, 0, 256);
	EXPECT_COUNTERS([SWPOUT_ZERO] = 64, [USED] = 256, [ZERO] = 64,
			[CACHED] = 192);
	EXPECT_DATA(r, 0, 256);

	/* of the parent */
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "max"));
	ASSERT_EQ(0, cg_write("", "memory.zswap.max", "0"));
	mark_counters(&self->env);
	PAGEOUT(r, 0, 256);
	EXPECT_COUNTERS([SWPOUT_ZERO] = 64, [USED] = 256, [ZERO] = 64,
			[CACHED] = 192);
	EXPECT_DATA(r, 0, 256);

	ASSERT_EQ(0, cg_write("", "memory.zswap.max", "max"));
	mark_counters(&self->env);
	PAGEOUT(r, 0, 256);
	EXPECT_COUNTERS([ZSWPOUT] = 192, [SWPOUT_ZERO] = 64, [USED] = 256,
			[ZERO] = 64, [ZSWAPPED] = 192);
	EXPECT_DATA(r, 0, 256);
	unmap_region(r);
}

/* A large folio is no reason to take more than the limit allows. */
VSWAP_TEST(cgroup, zswap_max_large)
{
	struct region *r;

	if (!need_large(_metadata, 4, "enabled"))
		return;
	r = map_region(_metadata, 128, 16, -1);
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "32768"));
	fill(r, 0, 128, MIXED);
	PAGEOUT(r, 0, 128);
	/* it is looked at before a folio is stored */
	EXPECT_TRUE(WAIT_FOR(cg_stat("main", "zswap") > 32768 - (long)psize()));
	EXPECT_GT(32768 + 16 * (long)psize(),
		  cg_long("main", "memory.zswap.current"));
	EXPECT_LT(0, read_long(VSWAP "cached") - self->env.start[CACHED]);
	EXPECT_EQ(128, used() - self->env.start[USED]);
	EXPECT_DATA(r, 0, 128);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
}

/* memory.zswap.writeback makes no difference. */
VSWAP_TEST(cgroup, writeback)
{
	struct region *r = map_region(_metadata, 96, 1, -1);

	ASSERT_EQ(0, cg_write("main", "memory.zswap.writeback", "0"));
	write_str(ZSWAP "shrinker_enabled", "1");
	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	EXPECT_COUNTERS([ZSWPOUT] = 32, [SWPOUT_ZERO] = 32, [USED] = 96,
			[CACHED] = 32, [ZERO] = 32, [ZSWAPPED] = 32);
	ASSERT_EQ(0, cg_write("main", "memory.zswap.writeback", "1"));
	cg_write("main", "memory.reclaim", "1M");
	ASSERT_EQ(0, write_str("/proc/sys/vm/drop_caches", "3"));
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 96);
	unmap_region(r);
}

/* The cgroup goes while its pages are out. */
VSWAP_TEST(cgroup, removed)
{
	struct region *r = map_region(_metadata, 192, 1, -1);
	int fd = make_memfd(_metadata, 32);
	struct region *shm = map_region(_metadata, 32, 1, fd);
	long dying;

	ASSERT_TRUE(WAIT_FOR(!dying_cgroups()));
	ASSERT_EQ(0, cg_make("old"));
	ASSERT_EQ(0, cg_enter("old"));
	fill_kinds(r);
	PAGEOUT(r, 0, 192);
	fill(shm, 0, 32, MIXED);
	ASSERT_EQ(0, pageout(shm, 0, 32));
	EXPECT_STAT(224 * (long)psize(), "old", "vswap");
	ASSERT_EQ(0, cg_enter("main"));
	ASSERT_EQ(0, cg_remove("old"));

	/* It is still there for its slots, and its parent is charged. */
	EXPECT_STAT(224 * (long)psize(), "", "vswap");
	dying = dying_cgroups();
	EXPECT_LE(1, dying);
	EXPECT_LT(0, cg_long("", "memory.zswap.current"));
	mark_counters(&self->env);
	EXPECT_DATA(r, 0, 192);
	EXPECT_DATA(shm, 0, 32);
	EXPECT_COUNTERS([ZSWPIN] = 96, [SWPIN_ZERO] = 64, [USED] = -224,
			[CACHED] = -64, [ZERO] = -64, [ZSWAPPED] = -96);
	EXPECT_STAT(0, "", "vswap");
	EXPECT_STAT(0, "", "zswapped");
	unmap_region(r);
	unmap_region(shm);
	close(fd);
	EXPECT_TRUE(WAIT_FOR(!dying_cgroups())) {
		TH_LOG("%ld cgroups are left", dying_cgroups());
	}
}

/* Many cgroups have slots side by side, and go in another order. */
VSWAP_TEST(cgroup, many_removed)
{
	struct region *r[12];
	char name[16];
	size_t i;

	ASSERT_TRUE(WAIT_FOR(!dying_cgroups()));
	for (i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "many%zu", i);
		ASSERT_EQ(0, cg_make(name));
		ASSERT_EQ(0, cg_enter(name));
		if (i < 8)
			r[i] = map_region(_metadata, 24, 1, -1);
		if (i < 8)
			fill_kinds(r[i]);
		if (i < 8)
			PAGEOUT(r[i], 0, 24);
	}
	EXPECT_EQ(8 * 24, used() - self->env.start[USED]);
	ASSERT_EQ(0, cg_enter("main"));
	for (i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "many%zu", i * 5 % 12);
		ASSERT_EQ(0, cg_remove(name));
	}
	for (i = 0; i < 8; i++)
		EXPECT_DATA(r[i * 3 % 8], 0, 24);
	EXPECT_EQ(self->env.start[USED], used());
	for (i = 0; i < 8; i++)
		unmap_region(r[i]);
	EXPECT_TRUE(WAIT_FOR(!dying_cgroups())) {
		TH_LOG("%ld cgroups are left", dying_cgroups());
	}
}

/* A process that is too large for its cgroup, in one way or the other. */
static pid_t start_hog(struct __test_metadata *_metadata, enum content content)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		struct region *r;

		if (cg_enter("hog"))
			_exit(2);
		r = map_region(_metadata, (16 << 20) / psize(), 1, -1);
		fill(r, 0, r->nr, content);
		_exit(count_wrong(r, 0, r->nr) ? 3 : 0);
	}
	return pid;
}

VSWAP_TEST(cgroup, memory_max)
{
	int status = 0;
	long start;
	pid_t pid;

	ASSERT_EQ(0, cg_make("hog"));
	ASSERT_EQ(0, cg_write("hog", "memory.max", "8M"));
	/* 16 MiB that compress go into 8 MiB */
	EXPECT_EXIT(start_hog(_metadata, MIXED));
	EXPECT_EQ(0, cg_key("hog", "memory.events", "oom_kill"));
	EXPECT_LT(1000, read_key("/proc/vmstat", "zswpout") -
			self->env.start[ZSWPOUT]);

	/* 16 MiB that do not, do not, and that does not take for ever */
	start = now_ms();
	pid = start_hog(_metadata, NOISE);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_EQ(1, cg_key("hog", "memory.events", "oom_kill"));
	EXPECT_GT(60000, now_ms() - start);
	TH_LOG("killed after %ld ms", now_ms() - start);
	EXPECT_TRUE(WAIT_FOR(slots_gone(&self->env)));
}

/* Reclaim of what does not compress comes to an end. */
VSWAP_TEST(cgroup, reclaim_incompressible)
{
	struct region *r = map_region(_metadata, 512, 1, -1);
	long start, rejected = nr_rejected();

	fill(r, 0, 512, NOISE);
	start = now_ms();
	EXPECT_EQ(-EAGAIN, cg_write("main", "memory.reclaim", "64M"));
	EXPECT_GT(60000, now_ms() - start);
	TH_LOG("%ld ms, %ld tries for 512 pages", now_ms() - start,
	       nr_rejected() - rejected);
	EXPECT_EQ(0, read_key("/proc/vmstat", "zswpout") -
		     self->env.start[ZSWPOUT]);
	EXPECT_DATA(r, 0, 512);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
}

/*
 * control: what the administrator switches and limits
 */
FIXTURE(control)
{
	struct env env;
};

FIXTURE_SETUP(control)
{
	setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(control)
{
	teardown(_metadata, &self->env);
}

VSWAP_TEST(control, files)
{
	static const struct {
		const char *name;
		mode_t mode;
	} files[] = {
		{ "enabled", 0644 }, { "limit", 0644 }, { "used", 0444 },
		{ "cached", 0444 }, { "zero", 0444 }, { "zswap", 0444 },
		{ "physical", 0444 }, { "alloc_fail", 0444 },
		{ "fragmented", 0444 }, { "metadata_bytes", 0444 },
		{ "drain", 0200 },
	};
	struct stat st;
	char path[128];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), VSWAP "%s", files[i].name);
		ASSERT_EQ(0, stat(path, &st)) {
			TH_LOG("%s", path);
		}
		EXPECT_EQ(files[i].mode, st.st_mode & 0777);
		if (files[i].mode & 0444)
			EXPECT_LE(0, read_long(path));
		if (files[i].mode == 0444)
			EXPECT_GT(0, write_str(path, "0"));
	}
}

VSWAP_TEST(control, invalid_values)
{
	static const struct {
		const char *val;
		int err;
	} limits[] = {
		{ "", 0 }, { "\n", -EINVAL }, { "abc", -EINVAL },
		{ "-1", -EINVAL }, { "12x", -EINVAL }, { "1 2", -EINVAL },
		{ "0x", -EINVAL }, { "1.5", -EINVAL }, { "4K", -EINVAL },
		{ "18446744073709551615", -ERANGE },
		{ "18446744073709551616", -ERANGE },
		{ "99999999999999999999999", -ERANGE },
		{ "0x7fffffffffffffff", -EINVAL },
		{ "9223372036854775807", -ERANGE },
	}, switches[] = {
		{ "", 0 }, { "2", -EINVAL }, { "-1", -EINVAL },
		{ "x", -EINVAL }, { "\n", -EINVAL },
	};
	long limit = read_long(VSWAP "limit");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		EXPECT_EQ(limits[i].err, write_str(VSWAP "limit", limits[i].val)) {
			TH_LOG("limit '%s'", limits[i].val);
		}
		EXPECT_EQ(limit, read_long(VSWAP "limit"));
	}
	for (i = 0; i < ARRAY_SIZE(switches); i++) {
		EXPECT_EQ(switches[i].err,
			  write_str(VSWAP "enabled", switches[i].val)) {
			TH_LOG("enabled '%s'", switches[i].val);
		}
		EXPECT_EQ(1, read_long(VSWAP "enabled"));
	}

	/* what is understood, in whole clusters */
	EXPECT_EQ(0, write_str(VSWAP "limit", "65536\n"));
	EXPECT_EQ(65536, read_long(VSWAP "limit"));
	EXPECT_EQ(0, write_str(VSWAP "limit", "1025"));
	EXPECT_LE(1025, read_long(VSWAP "limit"));
	EXPECT_EQ(0, read_long(VSWAP "limit") % cluster);
	EXPECT_EQ(0, write_str(VSWAP "limit", "1"));
	EXPECT_LE(1, read_long(VSWAP "limit"));
	EXPECT_EQ(0, write_str(VSWAP "limit", "0"));
	EXPECT_EQ(0, read_long(VSWAP "limit"));
	EXPECT_EQ(0, write_long(VSWAP "limit", limit));
	EXPECT_EQ(limit, read_long(VSWAP "limit"));
}

VSWAP_TEST(control, limit)
{
	struct region *r = map_region(_metadata, 3 * cluster, 1, -1);
	long limit = read_long(VSWAP "limit");
	size_t i;

	if (self->env.start[USED])
		SKIP(return, "virtual swap is in use");
	for (i = 0; i < r->nr; i++)
		fill(r, i, 1, i % 4 ? ZEROED : MIXED);
	ASSERT_EQ(0, write_long(VSWAP "limit", 2 * cluster));
	ASSERT_EQ(2 * cluster, read_long(VSWAP "limit"));
	ASSERT_EQ(0, pageout(r, 0, r->nr));
	EXPECT_EQ(2 * cluster, used());
	EXPECT_EQ(2 * cluster, count_swapped(r, 0, r->nr));
	/* once for each folio that found no slot */
	EXPECT_COUNTERS([ZSWPOUT] = cluster / 2, [SWPOUT_ZERO] = cluster * 3 / 2,
			[USED] = 2 * cluster, [ZERO] = cluster * 3 / 2,
			[ZSWAPPED] = cluster / 2, [ALLOC_FAIL] = cluster);
	/* reclaim knows that there is no room */
	EXPECT_EQ(-EAGAIN, cg_write("main", "memory.reclaim", "1G"));
	EXPECT_EQ(2 * cluster, used());

	/* room for more */
	ASSERT_EQ(0, write_long(VSWAP "limit", limit));
	ASSERT_EQ(0, pageout(r, 0, r->nr));
	EXPECT_EQ(3 * cluster, used());
	EXPECT_EQ(3 * cluster, count_swapped(r, 0, r->nr));

	/* below what is in use: nothing comes back by itself */
	ASSERT_EQ(0, write_str(VSWAP "limit", "0"));
	EXPECT_EQ(3 * cluster, used());
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_EQ(0, used());
	mark_counters(&self->env);
	ASSERT_EQ(0, pageout(r, 0, 64));
	EXPECT_COUNTERS([ALLOC_FAIL] = 64);
	EXPECT_EQ(64, count_present(r, 0, 64));
	EXPECT_DATA(r, 0, 64);
	unmap_region(r);
}

/* A cluster that is full of slots is full for large folios as well. */
VSWAP_TEST(control, limit_large)
{
	struct region *r;

	if (self->env.start[USED])
		SKIP(return, "virtual swap is in use");
	if (!need_large(_metadata, 4, "enabled"))
		return;
	r = map_region(_metadata, 2 * cluster, 16, -1);
	fill(r, 0, r->nr, ZEROED);
	EXPECT_EQ(16, count_large(r, 0, 16));
	ASSERT_EQ(0, write_long(VSWAP "limit", cluster));
	ASSERT_EQ(0, pageout(r, 0, r->nr));
	EXPECT_EQ(cluster, used());
	EXPECT_LT(self->env.start[ALLOC_FAIL], read_long(VSWAP "alloc_fail"));
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_EQ(0, used());
	unmap_region(r);
}

/* Slots that only the swap cache holds are taken back near the limit. */
VSWAP_TEST(control, limit_shared)
{
	struct region *r = map_region(_metadata, cluster, 1, -1);
	struct region *more = map_region(_metadata, cluster, 1, -1);
	struct gate gate;
	pid_t pid;

	if (self->env.start[USED])
		SKIP(return, "virtual swap is in use");
	fill(r, 0, r->nr, ZEROED);
	fill(more, 0, more->nr, ZEROED);
	PAGEOUT(r, 0, r->nr);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		_exit(0);
	}
	/* mapped here, with a slot that the child refers to until it ends */
	EXPECT_DATA(r, 0, r->nr);
	EXPECT_EQ(cluster, used());
	gate_open(&gate);
	EXPECT_EXIT(pid);

	ASSERT_EQ(0, write_long(VSWAP "limit", cluster));
	/* the first folio takes back, and the next finds what was taken back */
	ASSERT_EQ(0, pageout(more, 0, more->nr));
	EXPECT_LE(cluster - 1, count_swapped(more, 0, more->nr));
	ASSERT_EQ(0, pageout(more, 0, more->nr));
	EXPECT_EQ(cluster, count_swapped(more, 0, more->nr));
	EXPECT_EQ(cluster, used());
	EXPECT_DATA(more, 0, more->nr);
	EXPECT_DATA(r, 0, r->nr);
	unmap_region(r);
	unmap_region(more);
	EXPECT_EQ(0, used());
}

VSWAP_TEST(control, disabled)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	struct region *new = map_region(_metadata, 32, 1, -1);

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	mark_counters(&self->env);
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	EXPECT_EQ(0, read_long(VSWAP "enabled"));
	fill(new, 0, 32, MIXED);
	ASSERT_EQ(0, pageout(new, 0, 32));
	EXPECT_COUNTERS();
	EXPECT_EQ(32, count_present(new, 0, 32));
	EXPECT_EQ(-EAGAIN, cg_write("main", "memory.reclaim", "1G"));
	EXPECT_COUNTERS();
	EXPECT_DATA(new, 0, 32);
	EXPECT_DATA(r, 0, 96);
	EXPECT_EQ(self->env.start[USED], used());

	ASSERT_EQ(0, write_str(VSWAP "enabled", "1"));
	mark_counters(&self->env);
	PAGEOUT(new, 0, 32);
	EXPECT_COUNTERS([ZSWPOUT] = 32, [USED] = 32, [ZSWAPPED] = 32);
	EXPECT_DATA(new, 0, 32);
	unmap_region(r);
	unmap_region(new);
}

VSWAP_TEST(control, zswap_disabled)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	struct region *new = map_region(_metadata, 32, 1, -1);
	int fd = make_memfd(_metadata, 32);
	struct region *shm = map_region(_metadata, 32, 1, fd);

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	fill(shm, 0, 32, MIXED);
	ASSERT_EQ(0, pageout(shm, 0, 32));
	mark_counters(&self->env);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));

	/* nothing goes out, not even zero pages */
	fill(new, 0, 16, MIXED);
	fill(new, 16, 16, ZEROED);
	ASSERT_EQ(0, pageout(new, 0, 32));
	EXPECT_EQ(32, count_present(new, 0, 32));
	EXPECT_EQ(-EAGAIN, cg_write("main", "memory.reclaim", "1G"));
	EXPECT_COUNTERS();

	/* what waits in the swap cache goes on waiting */
	EXPECT_DATA(new, 0, 32);
	EXPECT_DATA(r, 0, 96);
	EXPECT_DATA(shm, 0, 32);
	EXPECT_COUNTERS([ZSWPIN] = 64, [SWPIN_ZERO] = 32, [USED] = -128,
			[CACHED] = -32, [ZERO] = -32, [ZSWAPPED] = -64);
	unmap_region(r);
	unmap_region(new);
	unmap_region(shm);
	close(fd);
}

/* Switched while a page is in the swap cache, with its slot shared. */
VSWAP_TEST(control, zswap_toggled)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	struct gate gate;
	pid_t pid;

	fill_kinds(r);
	PAGEOUT(r, 0, 96);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 96);
		_exit(0);
	}
	EXPECT_DATA(r, 0, 96);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	mark_counters(&self->env);
	/* they have slots, so they are unmapped, and then refused */
	PAGEOUT(r, 0, 96);
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 96);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "1"));
	mark_counters(&self->env);
	PAGEOUT(r, 0, 96);
	EXPECT_EQ(32, read_key("/proc/vmstat", "zswpout") -
		      self->env.last[ZSWPOUT]);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	EXPECT_DATA(r, 0, 96);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
}

VSWAP_TEST(control, compressor_changed)
{
	static const char * const names[] = { "lz4", "zstd", "lzo" };
	struct region *r[3];
	size_t i;

	for (i = 0; i < 3; i++) {
		if (write_str(ZSWAP "compressor", names[i]))
			SKIP(return, "no %s in this kernel", names[i]);
		r[i] = map_region(_metadata, 64, 1, -1);
		fill(r[i], 0, 64, MIXED);
		PAGEOUT(r[i], 0, 64);
	}
	EXPECT_COUNTERS([ZSWPOUT] = 192, [USED] = 192, [ZSWAPPED] = 192);
	for (i = 0; i < 3; i++) {
		EXPECT_DATA(r[i], 0, 64);
		unmap_region(r[i]);
	}
	EXPECT_EQ(self->env.start[USED], used());
}

/* No more room in the pool, for whatever reason. */
static void expect_pool_full(struct __test_metadata *_metadata,
			     struct env *env, struct region *r)
{
	long start;

	mark_counters(env);
	fill(r, 0, 64, MIXED);
	fill(r, 64, 64, ZEROED);
	ASSERT_EQ(0, pageout(r, 0, 128));
	/* zero pages take no room */
	EXPECT_COUNTERS_OF(env, [SWPOUT_ZERO] = 64, [USED] = 128,
			   [CACHED] = 64, [ZERO] = 64);
	EXPECT_DATA(r, 0, 128);
	start = now_ms();
	EXPECT_EQ(-EAGAIN, cg_write("main", "memory.reclaim", "1G"));
	EXPECT_GT(60000, now_ms() - start);
	EXPECT_EQ(0, read_key("/proc/vmstat", "zswpout") - env->last[ZSWPOUT]);
	EXPECT_DATA(r, 0, 128);
}

VSWAP_TEST(control, pool_full)
{
	struct region *old = map_region(_metadata, 256, 1, -1);
	struct region *r = map_region(_metadata, 128, 1, -1);

	fill(old, 0, 256, MIXED);
	PAGEOUT(old, 0, 256);
	ASSERT_EQ(0, write_str(ZSWAP "max_pool_percent", "0"));
	expect_pool_full(_metadata, &self->env, r);
	EXPECT_DATA(old, 0, 128);

	/* accepted again */
	ASSERT_EQ(0, write_str(ZSWAP "max_pool_percent", "20"));
	mark_counters(&self->env);
	PAGEOUT(r, 0, 128);
	EXPECT_COUNTERS([ZSWPOUT] = 64, [SWPOUT_ZERO] = 64, [USED] = 128,
			[ZERO] = 64, [ZSWAPPED] = 64);
	EXPECT_DATA(r, 0, 128);
	EXPECT_DATA(old, 0, 256);
	EXPECT_EQ(self->env.start[USED], used());
	unmap_region(r);
	unmap_region(old);
}

/* One percent of RAM, filled with what hardly compresses. */
VSWAP_TEST(control, pool_filled)
{
	struct region *r = map_region(_metadata, 128, 1, -1), *old;
	struct sysinfo info;
	size_t nr, i, stored;

	ASSERT_EQ(0, sysinfo(&info));
	nr = info.totalram * info.mem_unit / 100 * 10 / 7 / psize();
	if (nr * psize() > 48 << 20)
		SKIP(return, "too much memory");
	ASSERT_EQ(0, write_str(ZSWAP "max_pool_percent", "1"));
	old = map_region(_metadata, nr, 1, -1);
	for (i = 0; i < nr; i += 256) {
		size_t step = nr - i < 256 ? nr - i : 256;

		fill(old, i, step, POOR);
		ASSERT_EQ(0, pageout(old, i, step));
	}
	stored = read_long(VSWAP "zswap") - self->env.start[ZSWAPPED];
	EXPECT_LT(nr / 3, stored);
	EXPECT_GT(nr, stored);
	EXPECT_EQ(nr, used() - self->env.start[USED]);
	EXPECT_LT(0, read_long(VSWAP "cached") - self->env.start[CACHED]);

	/* a little less than full is still full */
	EXPECT_DATA(old, 0, 8);
	expect_pool_full(_metadata, &self->env, r);
	EXPECT_DATA(old, 0, nr);
	EXPECT_EQ(self->env.start[USED], used());

	/* and empty is not */
	mark_counters(&self->env);
	PAGEOUT(r, 0, 128);
	EXPECT_COUNTERS([ZSWPOUT] = 64, [SWPOUT_ZERO] = 64, [USED] = 128,
			[ZERO] = 64, [ZSWAPPED] = 64);
	EXPECT_DATA(r, 0, 128);
	unmap_region(r);
	unmap_region(old);
}

/* @nr pages out, one megabyte at a time. */
static struct region *many_out(struct __test_metadata *_metadata, size_t nr,
			       enum content content)
{
	struct region *r = map_region(_metadata, nr, 1, -1);
	size_t i, step = 256;

	for (i = 0; i < nr; i += step) {
		if (content == ZEROED) {
			size_t j;

			for (j = i; j < i + step; j++)
				r->addr[j * psize()] = 0;
		} else {
			fill(r, i, step, content);
		}
		ASSERT_EQ(0, pageout(r, i, step));
	}
	return r;
}

/* Kernel memory per slot in full clusters, in hundredths of a byte. */
static void expect_bytes(struct __test_metadata *_metadata, const char *what,
			 long bytes, size_t nr, long max)
{
	/* A lock is larger when it is debugged. */
	if (config_on("CONFIG_DEBUG_SPINLOCK") || config_on("CONFIG_KASAN"))
		max += 100;
	TH_LOG("%ld.%02ld bytes for a %s page", bytes / (long)nr,
	       bytes * 100 / (long)nr % 100, what);
	EXPECT_GE(max, bytes * 100 / (long)nr);
}

VSWAP_TEST(control, metadata)
{
	const size_t nr = 8 * cluster, nr_zero = 64 * cluster;
	long before, after, full, start = metadata();
	struct region *r;

	if (self->env.start[USED])
		SKIP(return, "virtual swap is in use");
	EXPECT_LT(0, start);
	r = many_out(_metadata, nr, MIXED);
	EXPECT_EQ(nr, used());
	full = metadata();
	expect_bytes(_metadata, "zswap", full - start, nr, 1830);
	/* tables of clusters go with their last slot */
	EXPECT_DATA(r, 0, nr / 2);
	EXPECT_EQ(nr / 2, used());
	EXPECT_EQ(start + (full - start) / 2, metadata());
	unmap_region(r);
	EXPECT_EQ(0, used());
	EXPECT_EQ(start, metadata());

	/* so many that the array of clusters has to grow */
	r = many_out(_metadata, nr_zero, ZEROED);
	EXPECT_EQ(nr_zero, used());
	EXPECT_EQ(nr_zero, read_long(VSWAP "zero"));
	expect_bytes(_metadata, "zero", metadata() - start, nr_zero, 1030);
	unmap_region(r);
	EXPECT_EQ(0, used());
	before = metadata();
	EXPECT_LT(start, before);
	EXPECT_EQ(0, (before - start) % psize());
	EXPECT_GT(8 * (long)psize(), before - start);

	/* and next time it has not */
	r = many_out(_metadata, nr_zero, ZEROED);
	EXPECT_EQ(nr_zero, used());
	unmap_region(r);
	EXPECT_EQ(0, used());
	after = metadata();
	EXPECT_EQ(before, after);
}

/* A table of backing words goes with the last backing of the cluster. */
VSWAP_TEST(control, backing_tables)
{
	struct region *r = map_region(_metadata, 64, 1, -1);
	long start, zero, both;

	if (self->env.start[USED])
		SKIP(return, "virtual swap is in use");
	start = metadata();
	fill(r, 0, 32, ZEROED);
	fill(r, 32, 32, MIXED);
	PAGEOUT(r, 0, 32);
	zero = metadata();
	EXPECT_LT(start, zero);
	PAGEOUT(r, 32, 32);
	both = metadata();
	EXPECT_EQ(cluster * (long)sizeof(long), both - zero);
	EXPECT_DATA(r, 32, 31);
	EXPECT_EQ(both, metadata());
	EXPECT_DATA(r, 63, 1);
	EXPECT_EQ(zero, metadata());
	EXPECT_DATA(r, 0, 32);
	EXPECT_EQ(start, metadata());
	unmap_region(r);
}

/* What a single mapping may ask for, in quarters of RAM. */
static bool may_map(int quarters)
{
	struct sysinfo info;
	size_t len;
	void *map;

	if (sysinfo(&info))
		return false;
	len = (size_t)info.totalram * info.mem_unit / 4 * quarters;
	map = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return false;
	munmap(map, len);
	return true;
}

VSWAP_TEST(control, overcommit)
{
	ASSERT_EQ(0, write_str("/proc/sys/vm/overcommit_memory", "0"));
	EXPECT_TRUE(may_map(10));
	EXPECT_FALSE(may_map(14));
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	EXPECT_TRUE(may_map(3));
	EXPECT_FALSE(may_map(10));
	ASSERT_EQ(0, write_str(VSWAP "enabled", "1"));
	EXPECT_TRUE(may_map(10));
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	EXPECT_TRUE(may_map(3));
	EXPECT_FALSE(may_map(10));
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "1"));
	/* no more than the limit */
	ASSERT_EQ(0, write_str(VSWAP "limit", "0"));
	EXPECT_FALSE(may_map(10));
}

/*
 * device: next to a swap device
 */
FIXTURE(device)
{
	struct env env;
};

FIXTURE_SETUP(device)
{
	setup(_metadata, &self->env);
}

FIXTURE_TEARDOWN_PARENT(device)
{
	teardown(_metadata, &self->env);
}

static bool need_disk(struct __test_metadata *_metadata, struct env *env)
{
	env->dev = getenv("VSWAP_TEST_DISK");
	if (!env->dev)
		SKIP(return false, "VSWAP_TEST_DISK names no device");
	return true;
}

/* Pages on a swap device, as /proc/swaps says. */
static long pages_on(const char *dev)
{
	char name[256], line[512];
	long kb, used_kb, pages = -1;
	FILE *swaps = fopen("/proc/swaps", "r");

	if (!swaps)
		return -1;
	while (fgets(line, sizeof(line), swaps)) {
		if (sscanf(line, "%255s %*s %ld %ld", name, &kb, &used_kb) == 3 &&
		    !strcmp(name, dev))
			pages = used_kb / (psize() >> 10);
	}
	fclose(swaps);
	return pages;
}

static long used_by_test(struct env *env)
{
	return used() - env->start[USED];
}

static long slots_cached(struct env *env)
{
	return read_long(VSWAP "cached") - env->start[CACHED];
}

/* A device with pages of the test on it, and what it shows of them. */
struct device {
	long nr_free;		/* SwapFree before */
	long swap_current;	/* memory.swap.current of the test before */
};

static void device_on(struct __test_metadata *_metadata, struct env *env,
		      struct device *dev)
{
	ASSERT_EQ(0, swapon(env->dev, 0));
	EXPECT_TRUE(have_swap_device());
	dev->nr_free = swap_free_pages();
	dev->swap_current = cg_long("main", "memory.swap.current");
	EXPECT_LT(1024, dev->nr_free);
	mark_counters(env);
}

/* Slots of the device are taken by @bound and by nobody else. */
static void expect_bound(struct __test_metadata *_metadata, int line,
			 struct env *env, struct device *dev, long bound)
{
	EXPECT_TRUE(WAIT_FOR(dev->nr_free - swap_free_pages() == bound)) {
		TH_LOG("line %d: SwapFree was %ld and is %ld, %ld slots taken?",
		       line, dev->nr_free, swap_free_pages(), bound);
	}
	EXPECT_EQ(bound, read_long(VSWAP "physical") - env->start[PHYSICAL]) {
		TH_LOG("line %d: physical", line);
	}
	EXPECT_EQ(bound * (long)psize(),
		  cg_long("main", "memory.swap.current") - dev->swap_current) {
		TH_LOG("line %d: memory.swap.current", line);
	}
	EXPECT_STAT(used_by_test(env) * (long)psize(), "main", "vswap");
}

#define EXPECT_BOUND(dev, bound)					\
	expect_bound(_metadata, __LINE__, &self->env, dev, bound)

/* A child that looks at SwapTotal and SwapFree all the time. */
static pid_t watch_swap(struct gate *gate, long total, long nr_free)
{
	struct pollfd fd = { .fd = gate->fd[0], .events = POLLIN };
	pid_t pid = fork();
	int status = 0;

	if (pid)
		return pid;
	unpin();
	close(gate->fd[1]);
	do {
		if (meminfo_kb("SwapTotal") != total ||
		    swap_free_pages() != nr_free)
			status = 1;
	} while (!poll(&fd, 1, 0));
	_exit(status);
}

/* What zswap and zero pages take is no room on the device, at no moment. */
VSWAP_TEST(device, late_binding)
{
	struct region *r = map_region(_metadata, 192, 1, -1);
	struct device dev;
	struct gate gate;
	pid_t pid;
	int i;

	if (!need_device(_metadata, &self->env))
		return;
	device_on(_metadata, &self->env, &dev);
	ASSERT_EQ(0, gate_make(&gate));
	pid = watch_swap(&gate, meminfo_kb("SwapTotal"), dev.nr_free);
	ASSERT_LT(0, pid);
	for (i = 0; i < 100; i++) {
		fill_kinds(r);
		PAGEOUT(r, 0, 192);
		EXPECT_DATA(r, 0, 192);
	}
	gate_open(&gate);
	EXPECT_EXIT(pid);
	mark_counters(&self->env);
	/* with a slot in reach, zswap keeps what does not compress, too */
	fill_kinds(r);
	PAGEOUT(r, 0, 192);
	EXPECT_COUNTERS([ZSWPOUT] = 128, [SWPOUT_ZERO] = 64, [USED] = 192,
			[ZERO] = 64, [ZSWAPPED] = 128);
	EXPECT_BOUND(&dev, 0);
	EXPECT_DATA(r, 0, 192);
	EXPECT_COUNTERS([ZSWPIN] = 128, [SWPIN_ZERO] = 64, [USED] = -192,
			[ZERO] = -64, [ZSWAPPED] = -128);
	unmap_region(r);
}

/* What zswap does not take goes to the device, and comes back. */
VSWAP_TEST(device, bind)
{
	struct region *r = map_region(_metadata, 192, 1, -1);
	struct device dev;
	int round;

	if (!need_device(_metadata, &self->env))
		return;
	device_on(_metadata, &self->env, &dev);
	forbid_zswap(_metadata);
	for (round = 0; round < 3; round++) {
		fill_kinds(r);
		mark_counters(&self->env);
		PAGEOUT(r, 0, 192);
		EXPECT_COUNTERS([PSWPOUT] = 128, [SWPOUT_ZERO] = 64, [USED] = 192,
				[ZERO] = 64, [PHYSICAL] = 128);
		EXPECT_BOUND(&dev, 128);
		EXPECT_DATA(r, 0, 192);
		EXPECT_COUNTERS([PSWPIN] = 128, [SWPIN_ZERO] = 64, [USED] = -192,
				[ZERO] = -64, [PHYSICAL] = -128);
		EXPECT_BOUND(&dev, 0);
	}

	/* from the device to zswap, to a zero page and back again */
	fill(r, 0, 192, MIXED);
	PAGEOUT(r, 0, 192);
	EXPECT_DATA(r, 0, 192);
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "max"));
	fill(r, 64, 64, ZEROED);
	mark_counters(&self->env);
	PAGEOUT(r, 0, 192);
	EXPECT_COUNTERS([ZSWPOUT] = 128, [SWPOUT_ZERO] = 64, [USED] = 192,
			[ZERO] = 64, [ZSWAPPED] = 128);
	EXPECT_BOUND(&dev, 0);
	EXPECT_DATA(r, 0, 192);

	/* and given up while they are there */
	forbid_zswap(_metadata);
	fill(r, 0, 192, MIXED);
	PAGEOUT(r, 0, 192);
	EXPECT_BOUND(&dev, 192);
	ASSERT_EQ(0, madvise(page_addr(r, 32), 64 * psize(), MADV_DONTNEED));
	EXPECT_BOUND(&dev, 128);
	forget(r, 32, 64);
	EXPECT_DATA(r, 0, 192);
	unmap_region(r);
}

/*
 * A slot that another process refers to goes from one place to the other, and
 * no older one is left behind.
 */
VSWAP_TEST(device, rewrite)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	struct device dev;
	struct gate gate;
	pid_t pid;

	if (!need_device(_metadata, &self->env))
		return;
	device_on(_metadata, &self->env, &dev);
	forbid_zswap(_metadata);
	fill(r, 0, 96, MIXED);
	PAGEOUT(r, 0, 96);
	EXPECT_BOUND(&dev, 96);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 96);
		_exit(0);
	}
	/* read, and out again to the same place, with no I/O to do */
	EXPECT_DATA(r, 0, 96);
	EXPECT_BOUND(&dev, 96);
	PAGEOUT(r, 0, 96);
	EXPECT_EQ(0, read_long(VSWAP "zswap") - self->env.start[ZSWAPPED]);
	EXPECT_BOUND(&dev, 96);
	EXPECT_DATA(r, 0, 96);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	unmap_region(r);
	EXPECT_BOUND(&dev, 0);
}

/* Large folios are written whole, in one run of slots. */
VSWAP_TEST(device, bind_large)
{
	struct device dev;
	struct region *r;
	struct mthp was;
	int order;

	if (!need_device(_metadata, &self->env) ||
	    !need(_metadata, !access(THP, F_OK), "CONFIG_TRANSPARENT_HUGEPAGE"))
		return;
	device_on(_metadata, &self->env, &dev);
	forbid_zswap(_metadata);
	for (order = 2; order <= pmd_order(); order++) {
		size_t nr = 1UL << order;

		if (!have_mthp(order, "enabled"))
			continue;
		if (!need_large(_metadata, order, "enabled"))
			return;
		r = map_region(_metadata, nr, nr, -1);
		fill(r, 0, nr, POOR);
		EXPECT_EQ(nr, count_large(r, 0, nr));
		read_mthp(order, &was);
		mark_counters(&self->env);
		PAGEOUT(r, 0, nr);
		EXPECT_COUNTERS([PSWPOUT] = nr, [USED] = nr, [PHYSICAL] = nr,
				[THP_SWPOUT] = order == pmd_order());
		EXPECT_EQ(1, mthp_stat(order, "swpout") - was.swpout);
		EXPECT_EQ(0, mthp_stat(order, "swpout_fallback") - was.fallback);
		EXPECT_BOUND(&dev, nr);
		EXPECT_DATA(r, 0, nr);
		EXPECT_BOUND(&dev, 0);
		unmap_region(r);
		ASSERT_EQ(0, set_mthp(order, "enabled", "never"));
	}
}

/* With holes of one slot on the device, they are written whole nevertheless. */
VSWAP_TEST(device, fragmented)
{
	struct region *fill_up, *r;
	struct device dev;
	struct mthp was;
	size_t nr, i;

	if (!need_device(_metadata, &self->env) ||
	    !need(_metadata, !access(THP, F_OK), "CONFIG_TRANSPARENT_HUGEPAGE"))
		return;
	device_on(_metadata, &self->env, &dev);
	forbid_zswap(_metadata);
	nr = dev.nr_free;
	fill_up = map_region(_metadata, nr, 1, -1);
	fill(fill_up, 0, nr, POOR);
	PAGEOUT(fill_up, 0, nr);
	EXPECT_BOUND(&dev, nr);
	for (i = 0; i < nr; i += 2)
		ASSERT_EQ(0, madvise(page_addr(fill_up, i), psize(), MADV_DONTNEED));
	EXPECT_BOUND(&dev, nr - (nr + 1) / 2);

	if (!need_large(_metadata, 4, "enabled"))
		return;
	r = map_region(_metadata, 64, 16, -1);
	fill(r, 0, 64, POOR);
	EXPECT_EQ(64, count_large(r, 0, 64));
	read_mthp(4, &was);
	mark_counters(&self->env);
	PAGEOUT(r, 0, 64);
	EXPECT_COUNTERS([PSWPOUT] = 64, [USED] = 64, [PHYSICAL] = 64,
			[FRAGMENTED] = 4);
	EXPECT_EQ(4, mthp_stat(4, "swpout") - was.swpout);
	EXPECT_EQ(0, mthp_stat(4, "swpout_fallback") - was.fallback);
	EXPECT_DATA(r, 0, 64);
	for (i = 1; i < nr; i += 2)
		EXPECT_DATA(fill_up, i, 1);
	unmap_region(fill_up);
	unmap_region(r);
	EXPECT_BOUND(&dev, 0);
}

/* The cgroup may have eight slots: the others stay in memory. */
VSWAP_TEST(device, swap_max)
{
	struct region *r = map_region(_metadata, 64, 1, -1);
	struct device dev;
	char buf[32];
	long max;

	if (!need_device(_metadata, &self->env))
		return;
	device_on(_metadata, &self->env, &dev);
	forbid_zswap(_metadata);
	snprintf(buf, sizeof(buf), "%ld", 8 * (long)psize());
	ASSERT_EQ(0, cg_write("main", "memory.swap.max", buf));
	max = cg_key("main", "memory.swap.events", "max");
	fill(r, 0, 64, MIXED);
	fill(r, 32, 16, ZEROED);
	mark_counters(&self->env);
	ASSERT_EQ(0, pageout(r, 0, 64));
	EXPECT_COUNTERS([PSWPOUT] = 8, [SWPOUT_ZERO] = 16, [USED] = 64,
			[CACHED] = 40, [ZERO] = 16, [PHYSICAL] = 8);
	EXPECT_BOUND(&dev, 8);
	EXPECT_EQ(40, cg_key("main", "memory.swap.events", "max") - max);
	EXPECT_DATA(r, 0, 64);
	EXPECT_BOUND(&dev, 0);

	/* zswap does not count */
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "max"));
	mark_counters(&self->env);
	PAGEOUT(r, 0, 64);
	EXPECT_COUNTERS([ZSWPOUT] = 48, [SWPOUT_ZERO] = 16, [USED] = 64,
			[ZERO] = 16, [ZSWAPPED] = 48);
	EXPECT_DATA(r, 0, 64);
	unmap_region(r);
}

/* A device that is full takes no more, and nothing is lost. */
VSWAP_TEST(device, full)
{
	struct region *r, *more;
	struct device dev;
	size_t nr;
	long fail;

	if (!need_device(_metadata, &self->env))
		return;
	device_on(_metadata, &self->env, &dev);
	forbid_zswap(_metadata);
	nr = dev.nr_free;
	r = map_region(_metadata, nr, 1, -1);
	more = map_region(_metadata, 64, 1, -1);
	fill(r, 0, nr, POOR);
	fill(more, 0, 64, MIXED);
	PAGEOUT(r, 0, nr);
	EXPECT_BOUND(&dev, nr);
	mark_counters(&self->env);
	fail = cg_key("main", "memory.swap.events", "fail");
	ASSERT_EQ(0, pageout(more, 0, 64));
	EXPECT_COUNTERS([USED] = 64, [CACHED] = 64);
	EXPECT_EQ(64, cg_key("main", "memory.swap.events", "fail") - fail);
	EXPECT_DATA(more, 0, 64);
	EXPECT_DATA(r, 0, 16);
	EXPECT_BOUND(&dev, nr - 16);
	ASSERT_EQ(0, pageout(more, 0, 64));
	EXPECT_BOUND(&dev, nr);
	EXPECT_DATA(more, 0, 64);
	EXPECT_DATA(r, 0, nr);
	unmap_region(r);
	unmap_region(more);
	EXPECT_BOUND(&dev, 0);
}

/*
 * swapoff brings home what is bound, and no page table changes: the slots stay
 * virtual.
 */
VSWAP_TEST(device, swapoff)
{
	struct region *r = map_region(_metadata, 192, 1, -1);
	int fd = make_memfd(_metadata, 64);
	struct region *shm = map_region(_metadata, 64, 1, fd);
	uint64_t before[192];
	struct device dev;
	struct gate gate;
	size_t i;
	pid_t pid;

	if (!need_device(_metadata, &self->env))
		return;
	device_on(_metadata, &self->env, &dev);
	fill(r, 0, 192, POOR);
	fill(shm, 0, 64, MIXED);
	forbid_zswap(_metadata);
	PAGEOUT(r, 64, 128);
	ASSERT_EQ(0, pageout(shm, 0, 64));
	/* a third in zswap */
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "max"));
	PAGEOUT(r, 0, 64);
	EXPECT_BOUND(&dev, 192);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 192);
		_exit(0);
	}
	for (i = 0; i < 192; i++)
		before[i] = pagemap_of(page_addr(r, i));
	ASSERT_EQ(0, swapoff(self->env.dev));
	EXPECT_FALSE(have_swap_device());
	for (i = 0; i < 192; i++)
		EXPECT_EQ(before[i], pagemap_of(page_addr(r, i)));
	EXPECT_EQ(0, read_long(VSWAP "physical"));
	EXPECT_EQ(256, used() - self->env.start[USED]);
	EXPECT_EQ(0, cg_long("main", "memory.swap.current"));
	EXPECT_DATA(r, 0, 192);
	EXPECT_DATA(shm, 0, 64);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	unmap_region(r);
	unmap_region(shm);
	close(fd);
}

/* Writeback of zswap takes slots of the device, one for each page. */
VSWAP_TEST(device, writeback)
{
	struct region *r = map_region(_metadata, 64, 1, -1);
	struct device dev;

	if (!need_device(_metadata, &self->env) ||
	    !need(_metadata, !access("/sys/kernel/debug/shrinker", F_OK),
		  "CONFIG_SHRINKER_DEBUG"))
		return;

	/* nowhere to write to */
	fill(r, 0, 64, POOR);
	PAGEOUT(r, 0, 1);
	mark_counters(&self->env);
	write_back(_metadata, &self->env, 1);
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 1);

	/* exactly one page */
	device_on(_metadata, &self->env, &dev);
	PAGEOUT(r, 0, 1);
	EXPECT_COUNTERS([ZSWPOUT] = 1, [USED] = 1, [ZSWAPPED] = 1);
	write_back(_metadata, &self->env, 1);
	EXPECT_COUNTERS([ZSWPWB] = 1, [PSWPOUT] = 1, [ZSWAPPED] = -1,
			[PHYSICAL] = 1);
	EXPECT_BOUND(&dev, 1);
	empty_swap_cache(_metadata);
	mark_counters(&self->env);
	EXPECT_DATA(r, 0, 1);
	EXPECT_EQ(1, read_key("/proc/vmstat", "pswpin") - self->env.last[PSWPIN]);
	EXPECT_BOUND(&dev, 0);

	/* half of what is there */
	PAGEOUT(r, 0, 64);
	mark_counters(&self->env);
	write_back(_metadata, &self->env, 32);
	EXPECT_COUNTERS([ZSWPWB] = 32, [PSWPOUT] = 32, [ZSWAPPED] = -32,
			[PHYSICAL] = 32);
	EXPECT_BOUND(&dev, 32);
	EXPECT_DATA(r, 0, 64);
	EXPECT_BOUND(&dev, 0);

	/* not for this cgroup */
	ASSERT_EQ(0, cg_write("main", "memory.zswap.writeback", "0"));
	PAGEOUT(r, 0, 16);
	mark_counters(&self->env);
	write_back(_metadata, &self->env, 1);
	EXPECT_COUNTERS();
	ASSERT_EQ(0, cg_write("main", "memory.zswap.writeback", "1"));

	/* nor if it may have no slot */
	ASSERT_EQ(0, cg_write("main", "memory.swap.max", "4096"));
	forbid_zswap(_metadata);
	PAGEOUT(r, 16, 1);
	EXPECT_BOUND(&dev, 1);
	mark_counters(&self->env);
	write_back(_metadata, &self->env, 1);
	EXPECT_COUNTERS();
	EXPECT_DATA(r, 0, 64);
	unmap_region(r);
}

/* zswap off: new folios get slots of the device, old ones go to it. */
VSWAP_TEST(device, without_zswap)
{
	struct region *old = map_region(_metadata, 64, 1, -1);
	struct region *r = map_region(_metadata, 64, 1, -1);
	struct device dev;
	struct gate gate;
	pid_t pid;

	if (!need_device(_metadata, &self->env))
		return;
	fill(old, 0, 64, MIXED);
	PAGEOUT(old, 0, 64);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(old, 0, 64);
		_exit(0);
	}
	device_on(_metadata, &self->env, &dev);
	ASSERT_EQ(0, write_str(ZSWAP "enabled", "0"));
	fill(r, 0, 64, NOISE);
	PAGEOUT(r, 0, 64);
	EXPECT_COUNTERS([PSWPOUT] = 64);
	EXPECT_EQ(64, dev.nr_free - swap_free_pages());

	/* its slots are virtual, and shared: they get a place on the device */
	EXPECT_DATA(old, 0, 64);
	mark_counters(&self->env);
	PAGEOUT(old, 0, 64);
	EXPECT_COUNTERS([PSWPOUT] = 64, [CACHED] = -64, [PHYSICAL] = 64);
	EXPECT_EQ(128, dev.nr_free - swap_free_pages());
	EXPECT_DATA(r, 0, 64);
	EXPECT_DATA(old, 0, 32);
	ASSERT_EQ(0, swapoff(self->env.dev));
	EXPECT_DATA(r, 0, 64);
	EXPECT_DATA(old, 0, 64);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	unmap_region(r);
	unmap_region(old);
}

/* Pages that went out before the device was there go to it now. */
VSWAP_TEST(device, comes_later)
{
	struct region *r = map_region(_metadata, 192, 1, -1);
	struct device dev;

	if (!need_device(_metadata, &self->env))
		return;
	fill_kinds(r);
	PAGEOUT(r, 0, 192);
	EXPECT_EQ(192, used() - self->env.start[USED]);
	/* what did not compress is in the swap cache still */
	EXPECT_LT(0, read_long(VSWAP "cached"));
	device_on(_metadata, &self->env, &dev);
	EXPECT_TRUE(WAIT_FOR((cg_reclaim("main", "4M"),
			      slots_cached(&self->env) == 0)));
	EXPECT_BOUND(&dev, 0);
	EXPECT_DATA(r, 0, 192);
	EXPECT_EQ(self->env.start[USED], used());
	ASSERT_EQ(0, swapoff(self->env.dev));
	unmap_region(r);
}

/* Zero pages, zswap and the device in what was one folio. */
VSWAP_TEST(device, mixed)
{
	struct device dev;
	struct region *r;
	struct gate gate;
	long wb;
	pid_t pid;

	if (!need_device(_metadata, &self->env) ||
	    !need(_metadata, !access("/sys/kernel/debug/shrinker", F_OK),
		  "CONFIG_SHRINKER_DEBUG") ||
	    !need(_metadata, !access(THP, F_OK), "CONFIG_TRANSPARENT_HUGEPAGE"))
		return;
	device_on(_metadata, &self->env, &dev);
	if (!need_large(_metadata, 4, "enabled"))
		return;
	r = map_region(_metadata, 32, 16, -1);
	fill(r, 0, 32, POOR);
	EXPECT_EQ(32, count_large(r, 0, 32));
	PAGEOUT(r, 0, 32);
	EXPECT_COUNTERS([ZSWPOUT] = 32, [USED] = 32, [ZSWAPPED] = 32);
	write_back(_metadata, &self->env, 8);
	wb = read_key("/proc/vmstat", "zswpwb") - self->env.last[ZSWPWB];
	EXPECT_LE(8, wb);
	EXPECT_GT(32, wb);
	EXPECT_COUNTERS([ZSWPWB] = wb, [PSWPOUT] = wb, [ZSWAPPED] = -wb,
			[PHYSICAL] = wb);
	EXPECT_BOUND(&dev, wb);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 32);
		_exit(0);
	}
	/* the child has what is old, and two pages of each half are new */
	fill(r, 6, 4, ZEROED);
	fill(r, 24, 2, MIXED);
	PAGEOUT(r, 0, 32);
	EXPECT_EQ(38, used_by_test(&self->env));
	EXPECT_EQ(4, read_long(VSWAP "zero") - self->env.start[ZERO]);
	/* the old pages that were read to be replaced may wait for the child */
	EXPECT_GE(6, slots_cached(&self->env));
	EXPECT_DATA(r, 5, 6);
	/* half of one, and half of the other */
	ASSERT_EQ(0, munmap(page_addr(r, 8), 16 * psize()));
	EXPECT_DATA(r, 0, 8);
	EXPECT_DATA(r, 24, 8);
	gate_open(&gate);
	EXPECT_EXIT(pid);
	unmap_region(r);
	EXPECT_BOUND(&dev, 0);
}

/* The cgroup goes while it has slots of the device: its parent has them. */
VSWAP_TEST(device, cgroup_removed)
{
	struct region *r = map_region(_metadata, 96, 1, -1);
	int fd = make_memfd(_metadata, 32);
	struct region *shm = map_region(_metadata, 32, 1, fd);
	const long page = psize();
	struct device dev;
	long before;
	int round;

	if (!need_device(_metadata, &self->env))
		return;
	device_on(_metadata, &self->env, &dev);
	before = cg_long("", "memory.swap.current");
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, cg_make("old"));
		ASSERT_EQ(0, cg_write("old", "memory.zswap.max", "0"));
		ASSERT_EQ(0, cg_enter("old"));
		fill(r, 0, 96, MIXED);
		fill(shm, 0, 32, POOR);
		PAGEOUT(r, 0, 96);
		ASSERT_EQ(0, pageout(shm, 0, 32));
		EXPECT_COUNTERS([PSWPOUT] = 128, [USED] = 128, [PHYSICAL] = 128);
		EXPECT_EQ(128 * page, cg_long("old", "memory.swap.current"));
		ASSERT_EQ(0, cg_enter("main"));
		ASSERT_EQ(0, cg_remove("old"));

		EXPECT_EQ(128 * page, cg_long("", "memory.swap.current") - before);
		EXPECT_EQ(0, cg_long("main", "memory.swap.current"));
		EXPECT_EQ(128, dev.nr_free - swap_free_pages());
		/* some are given up, some read, and the others brought home */
		ASSERT_EQ(0, madvise(r->addr, 32 * page, MADV_DONTNEED));
		forget(r, 0, 32);
		EXPECT_EQ(96 * page, cg_long("", "memory.swap.current") - before);
		EXPECT_DATA(r, 0, 64);
		EXPECT_DATA(shm, 0, 16);
		EXPECT_EQ(48 * page, cg_long("", "memory.swap.current") - before);
		if (round == 1) {
			ASSERT_EQ(0, swapoff(self->env.dev));
			EXPECT_EQ(0, cg_long("", "memory.swap.current") - before);
			ASSERT_EQ(0, swapon(self->env.dev, 0));
		}
		EXPECT_DATA(r, 0, 96);
		EXPECT_DATA(shm, 0, 32);
		EXPECT_EQ(0, cg_long("", "memory.swap.current") - before);
		EXPECT_BOUND(&dev, 0);
		/* who has read them owns them now */
		ASSERT_EQ(0, madvise(r->addr, 96 * page, MADV_DONTNEED));
		ASSERT_EQ(0, madvise(shm->addr, 32 * page, MADV_REMOVE));
		mark_counters(&self->env);
	}
	unmap_region(r);
	unmap_region(shm);
	close(fd);
}

/* Two devices, of which one goes while it is in use. */
VSWAP_TEST(device, two)
{
	static const int flags[] = {
		/* the same priority, then one before the other */
		SWAP_FLAG_PREFER | 5, SWAP_FLAG_PREFER | 7,
	};
	const size_t nr = 2048;
	struct region *r = map_region(_metadata, nr, 1, -1);
	long total;
	size_t i;

	if (!need_two_devices(_metadata, &self->env))
		return;
	forbid_zswap(_metadata);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		ASSERT_EQ(0, swapon(self->env.dev, flags[0]));
		ASSERT_EQ(0, swapon(self->env.dev2, flags[i]));
		total = meminfo_kb("SwapTotal");
		fill(r, 0, nr, MIXED);
		mark_counters(&self->env);
		PAGEOUT(r, 0, nr);
		EXPECT_COUNTERS([PSWPOUT] = nr, [USED] = nr, [PHYSICAL] = nr);
		EXPECT_EQ((long)nr, pages_on(self->env.dev) + pages_on(self->env.dev2));
		if (i)
			EXPECT_EQ((long)nr, pages_on(self->env.dev2));
		EXPECT_LT(0, pages_on(self->env.dev2));
		EXPECT_EQ((long)nr * (long)psize(),
			  cg_long("main", "memory.swap.current"));

		ASSERT_EQ(0, swapoff(self->env.dev2));
		EXPECT_EQ(-1, pages_on(self->env.dev2));
		EXPECT_GT(total, meminfo_kb("SwapTotal"));
		EXPECT_EQ(nr, count_swapped(r, 0, nr));
		EXPECT_EQ(read_long(VSWAP "physical") - self->env.start[PHYSICAL],
			  pages_on(self->env.dev));
		EXPECT_DATA(r, 0, nr / 2);
		PAGEOUT(r, 0, nr / 2);
		/* what came home and is in the swap cache goes there by itself */
		EXPECT_TRUE(WAIT_FOR((cg_reclaim("main", "8M"),
				      pages_on(self->env.dev) == (long)nr))) {
			TH_LOG("%ld pages", pages_on(self->env.dev));
		}
		EXPECT_DATA(r, 0, nr);
		EXPECT_EQ(0, pages_on(self->env.dev));
		ASSERT_EQ(0, swapoff(self->env.dev));
		EXPECT_EQ(0, cg_long("main", "memory.swap.current"));
	}
	unmap_region(r);
}

/*
 * What is read ahead for virtual slots: what is on a device that takes time,
 * and nothing that is in memory.
 */
static void expect_readahead(struct __test_metadata *_metadata, struct env *env,
			     struct region *r, long min)
{
	long ra, in, zin;

	mark_counters(env);
	ra = read_key("/proc/vmstat", "swap_ra");
	EXPECT_DATA(r, 0, 1);
	zin = read_key("/proc/vmstat", "zswpin") - env->last[ZSWPIN];
	EXPECT_EQ(0, zin);
	EXPECT_DATA(r, 1, r->nr - 1);
	ra = read_key("/proc/vmstat", "swap_ra") - ra;
	in = read_key("/proc/vmstat", "pswpin") - env->last[PSWPIN];
	zin = read_key("/proc/vmstat", "zswpin") - env->last[ZSWPIN];
	EXPECT_LE(min, ra) {
		TH_LOG("%ld pages read ahead", ra);
	}
	EXPECT_EQ((long)r->nr / 2, in);
	EXPECT_EQ((long)r->nr / 2, zin);
}

static void set_rotational(struct __test_metadata *_metadata, const char *dev,
			   const char *val)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/block/%s/queue/rotational",
		 strrchr(dev, '/') + 1);
	ASSERT_EQ(0, write_str(path, val));
}

VSWAP_TEST(device, readahead)
{
	struct region *r = map_region(_metadata, 256, 256, -1);
	int fd = make_memfd(_metadata, 256), rotational;
	struct region *shm = map_region(_metadata, 256, 256, fd);
	struct device dev;

	if (!need_disk(_metadata, &self->env))
		return;
	ASSERT_EQ(0, write_str("/proc/sys/vm/page-cluster", "3"));
	for (rotational = 0; rotational < 2; rotational++) {
		set_rotational(_metadata, self->env.dev, rotational ? "1" : "0");
		device_on(_metadata, &self->env, &dev);
		/* the first half of each on the device, the other in zswap */
		fill(r, 0, 256, POOR);
		fill(shm, 0, 256, POOR);
		ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "0"));
		PAGEOUT(r, 0, 128);
		ASSERT_EQ(0, pageout(shm, 0, 128));
		ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "max"));
		PAGEOUT(r, 128, 128);
		ASSERT_EQ(0, pageout(shm, 128, 128));
		EXPECT_BOUND(&dev, 256);
		empty_swap_cache(_metadata);
		expect_readahead(_metadata, &self->env, r, 64);
		expect_readahead(_metadata, &self->env, shm, 64);
		ASSERT_EQ(0, swapoff(self->env.dev));
	}
	unmap_region(r);
	unmap_region(shm);
	close(fd);
}

/* What @nr does with its memory while the device comes and goes. */
static void work(struct __test_metadata *_metadata, struct region *r,
		 struct gate *gate, unsigned int nr)
{
	struct pollfd fd = { .fd = gate->fd[0], .events = POLLIN };
	uint64_t x = 0x9e3779b97f4a7c15ULL * (nr + 1);

	unpin();
	close(gate->fd[1]);
	r->id = 100 + nr;
	fill(r, 0, r->nr, MIXED);
	do {
		size_t first = next_random(&x) % r->nr;
		size_t len = 1 + next_random(&x) % (r->nr - first);
		pid_t pid;

		switch (next_random(&x) % 5) {
		case 0:
			fill(r, first, len, next_random(&x) % 4);
			break;
		case 1:
			EXPECT_DATA(r, first, len);
			break;
		case 2:
			madvise(page_addr(r, first), len * psize(), MADV_DONTNEED);
			forget(r, first, len);
			break;
		case 3:
			pageout(r, first, len);
			break;
		case 4:
			pid = fork();
			if (!pid) {
				EXPECT_DATA(r, first, len);
				_exit(_metadata->exit_code != KSFT_PASS);
			}
			pageout(r, first, len);
			if (pid > 0)
				EXPECT_EXIT(pid);
			break;
		}
	} while (!poll(&fd, 1, 0));
	EXPECT_DATA(r, 0, r->nr);
	_exit(_metadata->exit_code != KSFT_PASS);
}

/* For a minute the device goes while it is in use, and comes again. */
VSWAP_TEST(device, swapoff_under_load)
{
	struct region *r[3];
	pid_t pid[3];
	long end, rounds = 0, bound = 0;
	struct gate gate;
	size_t i;

	if (!need_device(_metadata, &self->env))
		return;
	for (i = 0; i < ARRAY_SIZE(r); i++)
		r[i] = map_region(_metadata, 768, 1, -1);
	ASSERT_EQ(0, gate_make(&gate));
	for (i = 0; i < ARRAY_SIZE(r); i++) {
		pid[i] = fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i])
			work(_metadata, r[i], &gate, i);
	}
	for (end = now_ms() + LOAD_SECONDS * 1000; now_ms() < end; rounds++) {
		ASSERT_EQ(0, swapon(self->env.dev, 0));
		/* mostly to the device */
		ASSERT_EQ(0, cg_write("main", "memory.zswap.max",
				      rounds % 3 ? "0" : "max"));
		sleep_ms(50 + rounds * 37 % 200);
		bound += pages_on(self->env.dev);
		ASSERT_EQ(0, swapoff(self->env.dev));
		EXPECT_EQ(0, read_long(VSWAP "physical"));
	}
	gate_open(&gate);
	for (i = 0; i < ARRAY_SIZE(r); i++)
		EXPECT_EXIT(pid[i]);
	EXPECT_LT(10, rounds);
	EXPECT_LT(rounds, bound) {
		TH_LOG("%ld rounds, %ld pages on the device", rounds, bound);
	}
	ASSERT_EQ(0, swapon(self->env.dev, 0));
	EXPECT_EQ(0, pages_on(self->env.dev));
}

/*
 * drain: everything comes home, and no virtual entry is left.
 */
VSWAP_TEST(device, drain)
{
	struct region *r = map_region(_metadata, 192, 1, -1);
	int fd = make_memfd(_metadata, 32);
	struct region *shm = map_region(_metadata, 32, 1, fd);
	struct device dev;
	struct gate gate;
	pid_t pid;

	if (!need_device(_metadata, &self->env))
		return;
	EXPECT_EQ(-EBUSY, write_str(VSWAP "drain", "1"));
	device_on(_metadata, &self->env, &dev);
	fill_kinds(r);
	fill(shm, 0, 32, MIXED);
	forbid_zswap(_metadata);
	PAGEOUT(r, 96, 96);
	ASSERT_EQ(0, pageout(shm, 0, 32));
	ASSERT_EQ(0, cg_write("main", "memory.zswap.max", "max"));
	PAGEOUT(r, 0, 96);
	EXPECT_BOUND(&dev, 96);
	ASSERT_EQ(0, gate_make(&gate));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		gate_wait(&gate);
		EXPECT_DATA(r, 0, 192);
		_exit(0);
	}
	EXPECT_EQ(-EBUSY, write_str(VSWAP "drain", "1"));
	ASSERT_EQ(0, write_str(VSWAP "enabled", "0"));
	EXPECT_EQ(-EINVAL, write_str(VSWAP "drain", "0"));
	EXPECT_EQ(-EINVAL, write_str(VSWAP "drain", "2"));
	EXPECT_EQ(-EINVAL, write_str(VSWAP "drain", "x"));
	EXPECT_EQ(224, used() - self->env.start[USED]);
	EXPECT_EQ(0, write_str(VSWAP "drain", "1"));
	EXPECT_EQ(0, used());
	EXPECT_EQ(192, count_present(r, 0, 192));
	EXPECT_BOUND(&dev, 0);
	/* and again, with nothing to do */
	EXPECT_EQ(0, write_str(VSWAP "drain", "1"));
	EXPECT_DATA(r, 0, 192);
	EXPECT_DATA(shm, 0, 32);
	gate_open(&gate);
	EXPECT_EXIT(pid);

	/* now it goes to the device as ever */
	mark_counters(&self->env);
	PAGEOUT(r, 0, 64);
	EXPECT_EQ(0, used());
	EXPECT_DATA(r, 0, 64);
	unmap_region(r);
	unmap_region(shm);
	close(fd);
}

int main(int argc, char **argv)
{
	return run_tests(argc, argv);
}
