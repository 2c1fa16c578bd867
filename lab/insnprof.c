// SPDX-License-Identifier: GPL-2.0-only
/*
 * insnprof: a plugin for QEMU's emulator that counts guest instructions by
 * kernel function and by phase of swapbench.
 *
 *   -plugin insnprof.so,symbols=FILE,out=FILE
 *
 * symbols is the output of "nm" (or System.map) of a kernel that runs at the
 * addresses it was linked to, that is with nokaslr. The output has one line
 * for each phase and function: "PHASE INSTRUCTIONS FUNCTION".
 *
 * swapbench tells the phase by calling one of the return instructions that it
 * has put on a page where no other program has code: MARKERS below. What runs
 * below the kernel's addresses is counted as "[user]".
 *
 * The few functions of the plugin interface that are used are declared here,
 * for no package has the header. They are the same in versions 1 to 5.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION	2
#endif

#define EXPORT		__attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum qemu_plugin_cb_flags {
	QEMU_PLUGIN_CB_NO_REGS,
	QEMU_PLUGIN_CB_R_REGS,
	QEMU_PLUGIN_CB_RW_REGS,
};

typedef void (*vcpu_tb_trans_cb_t)(qemu_plugin_id_t id,
				   struct qemu_plugin_tb *tb);
typedef void (*vcpu_udata_cb_t)(unsigned int vcpu, void *data);
typedef void (*udata_cb_t)(qemu_plugin_id_t id, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   vcpu_tb_trans_cb_t cb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
					  vcpu_udata_cb_t cb,
					  enum qemu_plugin_cb_flags flags,
					  void *data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, udata_cb_t cb,
				    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *
qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

/* As in swapbench.c */
#define MARKERS		0x600000000000ULL
#define MARKER_SIZE	16
#define NR_PHASES	7

static const char * const phase_name[NR_PHASES] = {
	"other", "out", "in", "out2", "fork", "exit", "free",
};

static unsigned int phase;

/* The kernel's functions by address. The first stands for all user space. */

struct symbol {
	uint64_t start;
	char *name;
	uint64_t count[NR_PHASES];
};

static struct symbol *symbols;
static size_t nr_symbols;
static const char *out_path;

static int by_start(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return strcmp(x->name, y->name);
}

static void add_symbol(uint64_t start, const char *name)
{
	if (!(nr_symbols & (nr_symbols - 1))) {
		size_t room = nr_symbols ? nr_symbols * 2 : 1;

		symbols = realloc(symbols, room * sizeof(*symbols));
		if (!symbols)
			abort();
	}
	symbols[nr_symbols++] = (struct symbol){ start, strdup(name), {} };
}

static bool read_symbols(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[512], name[400], type;
	uint64_t start;

	if (!f)
		return false;
	add_symbol(0, "[user]");
	add_symbol(1ULL << 63, "[kernel]");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%" SCNx64 " %c %399s", &start, &type, name) ==
		    3 && strchr("tTwW", type) && start >> 63)
			add_symbol(start, name);
	fclose(f);
	qsort(symbols, nr_symbols, sizeof(*symbols), by_start);
	return nr_symbols > 2;
}

static struct symbol *find_symbol(uint64_t addr)
{
	size_t low = 0, high = nr_symbols;

	while (high - low > 1) {
		size_t mid = (low + high) / 2;

		if (symbols[mid].start <= addr)
			low = mid;
		else
			high = mid;
	}
	return &symbols[low];
}

/* A run of instructions of one function, part of a translated block */
struct run {
	struct symbol *symbol;
	unsigned long insns;
};

static void run_executed(unsigned int vcpu, void *data)
{
	struct run *run = data;

	(void)vcpu;
	run->symbol->count[phase] += run->insns;
}

static void marker_executed(unsigned int vcpu, void *data)
{
	(void)vcpu;
	phase = (uintptr_t)data;
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t start = qemu_plugin_tb_vaddr(tb);
	size_t i, n = qemu_plugin_tb_n_insns(tb);
	struct run *run = NULL;

	(void)id;
	if (start >= MARKERS && start < MARKERS + NR_PHASES * MARKER_SIZE) {
		uintptr_t nr = (start - MARKERS) / MARKER_SIZE;

		qemu_plugin_register_vcpu_tb_exec_cb(tb, marker_executed,
						     QEMU_PLUGIN_CB_NO_REGS,
						     (void *)nr);
		return;
	}
	for (i = 0; i < n; i++) {
		uint64_t addr = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i));
		struct symbol *symbol = find_symbol(addr);

		if (!run || run->symbol != symbol) {
			run = malloc(sizeof(*run));
			if (!run)
				abort();
			*run = (struct run){ symbol, 0 };
			qemu_plugin_register_vcpu_tb_exec_cb(tb, run_executed,
							     QEMU_PLUGIN_CB_NO_REGS,
							     run);
		}
		run->insns++;
	}
}

static void write_counts(qemu_plugin_id_t id, void *data)
{
	FILE *f = fopen(out_path, "w");
	size_t i;
	int p;

	(void)id;
	(void)data;
	if (!f) {
		perror(out_path);
		return;
	}
	for (i = 0; i < nr_symbols; i++)
		for (p = 0; p < NR_PHASES; p++)
			if (symbols[i].count[p])
				fprintf(f, "%s %" PRIu64 " %s\n", phase_name[p],
					symbols[i].count[p], symbols[i].name);
	fclose(f);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
			       const struct qemu_info *info, int argc,
			       char **argv)
{
	const char *path = NULL;
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "symbols=", 8))
			path = argv[i] + 8;
		else if (!strncmp(argv[i], "out=", 4))
			out_path = strdup(argv[i] + 4);
	}
	if (!path || !out_path || !read_symbols(path)) {
		fprintf(stderr, "insnprof: needs symbols=FILE,out=FILE\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
	qemu_plugin_register_atexit_cb(id, write_counts, NULL);
	return 0;
}
