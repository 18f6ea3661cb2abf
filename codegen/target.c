/* target -- which machine: triple, CPU, features, and the facts that passes need.
 * LLVM's C interface does not tell what a CPU name implies, so the names we
 * accept stand in a table with the class of their vector unit. */
#include "codegen/gen.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <llvm-c/Target.h>

enum unit { SSE2, SSE4, AVX2, AVX512, NEON, GENERIC };
/* One core for the cost model: caches in KiB, cycles a nanosecond, then of a cycle f32
 * operations and bytes from the second and third cache and from memory.  SERVER is
 * measured (Sapphire Rapids); the others are the vendors' figures for a single core,
 * rounded: what matters is how many operations a byte is worth. */
enum core { OLD, ATOM, CLIENT, CLIENT512, OLD_SERVER, SERVER, ZEN1, ZEN2, ZEN4, ZEN5, LITTLE, BIG, BIGGER, NARROW_SERVER, WIDE_SERVER, APPLE };
static const struct { int l1, l2, l3; double clock, flops, l2_rate, l3_rate, memory_rate; } cores[] = {
	[OLD] = {32, 256, 4 << 10, 2.5, 8, 16, 8, 4},
	[ATOM] = {32, 1 << 10, 2 << 10, 2, 8, 16, 8, 4},
	[CLIENT] = {32, 256, 8 << 10, 3.5, 32, 32, 16, 5},
	[CLIENT512] = {48, 512, 8 << 10, 3.5, 32, 40, 14, 6},
	[OLD_SERVER] = {32, 1 << 10, 16 << 10, 2.7, 64, 40, 8, 4.3},
	[SERVER] = {48, 2 << 10, 32 << 10, 3, 64, 40, 8.5, 4.3},
	[ZEN1] = {32, 512, 8 << 10, 3.5, 16, 24, 16, 6},
	[ZEN2] = {32, 512, 16 << 10, 3.5, 32, 28, 16, 7},
	[ZEN4] = {32, 1 << 10, 32 << 10, 4, 32, 32, 20, 8},
	[ZEN5] = {48, 1 << 10, 32 << 10, 4, 64, 56, 24, 9},
	[LITTLE] = {32, 256, 1 << 10, 1.5, 8, 8, 4, 2},
	[BIG] = {32, 512, 2 << 10, 2, 8, 12, 6, 3},
	[BIGGER] = {64, 512, 4 << 10, 2.5, 16, 24, 12, 6},
	[NARROW_SERVER] = {64, 1 << 10, 16 << 10, 2.5, 16, 28, 10, 6},
	[WIDE_SERVER] = {64, 1 << 10, 16 << 10, 2.6, 32, 32, 12, 8},
	[APPLE] = {128, 8 << 10, 8 << 10, 3.2, 32, 32, 20, 16},
};
static const struct { const char *name; enum unit unit; enum core core; } cpus[] = {
	{"x86-64", SSE2, OLD}, {"x86-64-v2", SSE4, OLD}, {"x86-64-v3", AVX2, CLIENT}, {"x86-64-v4", AVX512, OLD_SERVER},
	{"nehalem", SSE4, OLD}, {"westmere", SSE4, OLD}, {"silvermont", SSE4, ATOM}, {"goldmont", SSE4, ATOM},
	{"haswell", AVX2, CLIENT}, {"broadwell", AVX2, CLIENT}, {"skylake", AVX2, CLIENT}, {"alderlake", AVX2, CLIENT},
	{"gracemont", AVX2, ATOM}, {"znver1", AVX2, ZEN1}, {"znver2", AVX2, ZEN2}, {"znver3", AVX2, ZEN2},
	{"skylake-avx512", AVX512, OLD_SERVER}, {"cascadelake", AVX512, OLD_SERVER}, {"cooperlake", AVX512, OLD_SERVER},
	{"icelake-client", AVX512, CLIENT512}, {"icelake-server", AVX512, SERVER}, {"tigerlake", AVX512, CLIENT512},
	{"rocketlake", AVX512, CLIENT512}, {"sapphirerapids", AVX512, SERVER}, {"emeraldrapids", AVX512, SERVER},
	{"graniterapids", AVX512, SERVER}, {"znver4", AVX512, ZEN4}, {"znver5", AVX512, ZEN5},
	{"generic", GENERIC, BIG},
	{"cortex-a53", NEON, LITTLE}, {"cortex-a55", NEON, LITTLE}, {"cortex-a57", NEON, BIG}, {"cortex-a72", NEON, BIG},
	{"cortex-a73", NEON, BIG}, {"cortex-a76", NEON, BIGGER}, {"cortex-a78", NEON, BIGGER}, {"cortex-x1", NEON, WIDE_SERVER},
	{"neoverse-n1", NEON, NARROW_SERVER}, {"neoverse-n2", NEON, NARROW_SERVER}, {"neoverse-v1", NEON, WIDE_SERVER},
	{"neoverse-v2", NEON, WIDE_SERVER}, {"apple-m1", NEON, APPLE}, {"apple-m2", NEON, APPLE},
};
static const char *const triples[] = {
	"x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu",
};
enum { NCPU = sizeof cpus / sizeof *cpus, NTRIPLE = sizeof triples / sizeof *triples };

static void
init(void)
{
	LLVMInitializeX86TargetInfo();
	LLVMInitializeX86Target();
	LLVMInitializeX86TargetMC();
	LLVMInitializeX86AsmPrinter();
	LLVMInitializeX86AsmParser();
	LLVMInitializeAArch64TargetInfo();
	LLVMInitializeAArch64Target();
	LLVMInitializeAArch64TargetMC();
	LLVMInitializeAArch64AsmPrinter();
	LLVMInitializeAArch64AsmParser();
}

static bool
has(const char *features, const char *name)
{
	size_t n = strlen(name);
	const char *p;

	for (p = features; (p = strstr(p, name)); p += n)
		if (p > features && p[-1] == '+' && (p[n] == ',' || !p[n]))
			return true;
	return false;
}

/* Of the CPU by its name; of one that is not in the table, by its vector unit. */
static enum core
core_of(const char *cpu, enum unit u)
{
	for (int i = 0; i < NCPU; i++)
		if (strcmp(cpus[i].name, cpu) == 0 && cpus[i].unit == u)
			return cpus[i].core;
	return u == AVX512 ? SERVER : u == AVX2 ? CLIENT : u == NEON ? BIGGER : OLD;
}

static void
facts(struct target *t, enum unit u, bool here)
{
	struct machine *m = &t->machine;
	enum core c = core_of(t->cpu, u);

	t->avx512 = u == AVX512;
	t->fma = u == AVX512 || u == AVX2 || u == NEON;
	t->f16c = t->fma;
	*m = (struct machine){.vector_bits = u == AVX512 ? 512 : u == AVX2 ? 256 : 128,
	    .vector_regs = u == AVX512 || u == NEON ? 32 : 16, .masked = u == AVX512,
	    .l1 = cores[c].l1 << 10, .l2 = cores[c].l2 << 10, .l3 = cores[c].l3 << 10, .clock = cores[c].clock,
	    .flops = cores[c].flops, .l2_rate = cores[c].l2_rate, .l3_rate = cores[c].l3_rate,
	    .memory_rate = cores[c].memory_rate};
	if (here) {
		long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE), l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);

		m->l1 = l1 > 0 ? l1 : m->l1;
		m->l2 = l2 > 0 ? l2 : m->l2;
		m->l3 = l3 > 0 && l3 < m->l3 ? l3 : m->l3; /* others share it, and a virtual machine shows all of it */
	}
}

/* This machine's vector unit, from the features the kernel lets us use. */
static enum unit
host_unit(const struct target *t)
{
	char *f = LLVMGetHostCPUFeatures();
	enum unit u = !t->x86 ? NEON
	    : has(f, "avx512f") && has(f, "avx512vl") && has(f, "avx512bw") && has(f, "avx512dq") ? AVX512
	    : has(f, "avx2") && has(f, "fma") && has(f, "f16c") ? AVX2
	    : has(f, "sse4.1") ? SSE4
	                       : SSE2;

	LLVMDisposeMessage(f);
	return u;
}

/* The CPU of this machine. */
static enum unit
host(struct target *t)
{
	char *name = LLVMGetHostCPUName(), *f = LLVMGetHostCPUFeatures();

	t->cpu = strdup(name);
	t->features = strdup(f);
	LLVMDisposeMessage(name);
	LLVMDisposeMessage(f);
	return host_unit(t);
}

static bool
named(struct target *t, const char *cpu, enum unit *u, struct diag *d)
{
	const char *names[NCPU], *near;
	int i, n = 0;

	for (i = 0; i < NCPU; i++) {
		bool arm = cpus[i].unit == NEON;

		if (cpus[i].unit != GENERIC && arm == t->x86)
			continue;
		names[n++] = cpus[i].name;
		if (strcmp(cpus[i].name, cpu))
			continue;
		*u = cpus[i].unit != GENERIC ? cpus[i].unit : t->x86 ? SSE2 : NEON;
		t->cpu = strdup(cpu);
		t->features = strdup("");
		return true;
	}
	near = str_nearest(cpu, names, n);
	return diag_usage(d, "--cpu=%s: not a CPU of %s that is known%s%s%s (retort targets lists them)", cpu,
	    t->triple, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* of x86-64: 0 the baseline, 1 to 3 v2 to v4; -1: another CPU */
static int
level_of(const char *cpu)
{
	static const char *const name[] = {"x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"};

	for (int i = 0; i < 4; i++)
		if (strcmp(cpu, name[i]) == 0)
			return i;
	return -1;
}

struct target *
target_open(const struct target_opts *o, struct diag *d)
{
	struct target *t = xcalloc(1, sizeof *t);
	char *def = LLVMGetDefaultTargetTriple(), *norm, *err = NULL;
	const char *cpu = o->cpu ? o->cpu : o->triple ? "generic" : "native";
	enum unit u = SSE2;
	LLVMTargetRef ref;

	init();
	norm = LLVMNormalizeTargetTriple(o->triple ? o->triple : def);
	t->triple = strdup(norm);
	LLVMDisposeMessage(norm);
	t->x86 = str_starts(t->triple, "x86_64");
	/* as the host: same architecture, and code for it runs here */
	t->native = strncmp(t->triple, def, strcspn(def, "-") + 1) == 0 && strstr(t->triple, "linux");
	LLVMDisposeMessage(def);
	t->opt_level = o->opt_level;
	t->time = o->time;
	t->keep_temps = o->keep_temps;
	t->sgemm = o->sgemm;
	t->dump_llvm = o->dump_llvm ? strdup(o->dump_llvm) : NULL;
	if ((!t->x86 && !str_starts(t->triple, "aarch64")) || !strstr(t->triple, "linux")) {
		diag_error(d, STATUS_UNSUPPORTED, LOC_NONE, "--target=%s: only x86_64 and aarch64 Linux are known (retort targets)", t->triple);
		goto fail;
	}
	if (strcmp(cpu, "native") == 0) {
		if (!t->native) {
			diag_usage(d, "--cpu=native: %s is not this machine; name its CPU", t->triple);
			goto fail;
		}
		u = host(t);
	} else if (!named(t, cpu, &u, d))
		goto fail;
	t->level = t->x86 ? level_of(t->cpu) : -1;
	facts(t, u, strcmp(cpu, "native") == 0);
	t->runs = t->native && (!t->x86 || u <= host_unit(t));
	if (LLVMGetTargetFromTriple(t->triple, &ref, &err)) {
		diag_error(d, STATUS_UNSUPPORTED, LOC_NONE, "--target=%s: %s", t->triple, err);
		LLVMDisposeMessage(err);
		goto fail;
	}
	t->tm = LLVMCreateTargetMachine(ref, t->triple, t->cpu, t->features,
	    t->opt_level <= 0 ? LLVMCodeGenLevelLess : LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelSmall);
	if (!t->tm)
		die("no target machine for %s", t->triple);
	return t;
fail:
	target_close(t);
	return NULL;
}

static int
by_level(const void *a, const void *b)
{
	return (*(struct target *const *)a)->level - (*(struct target *const *)b)->level;
}

bool
targets_order(struct target **t, int n, struct diag *d)
{
	for (int i = 0; n > 1 && i < n; i++)
		if (t[i]->level < 0)
			return diag_usage(d, "--cpu=%s in a list: which CPU this is can be told for x86-64, x86-64-v2, x86-64-v3 and x86-64-v4 only", t[i]->cpu);
	qsort(t, (size_t)n, sizeof *t, by_level);
	for (int i = 1; i < n; i++)
		if (t[i]->level == t[i - 1]->level)
			return diag_usage(d, "--cpu: %s stands in the list twice", t[i]->cpu);
	return true;
}

void
target_close(struct target *t)
{
	if (!t)
		return;
	if (t->tm)
		LLVMDisposeTargetMachine(t->tm);
	free(t->triple);
	free(t->cpu);
	free(t->features);
	free(t->dump_llvm);
	free(t);
}

const struct machine *
target_machine(const struct target *t)
{
	return &t->machine;
}

const char *
target_triple(const struct target *t)
{
	return t->triple;
}

const char *
target_cpu(const struct target *t)
{
	return t->cpu;
}

void
targets_print(FILE *f)
{
	static const char *const unit[] = {"128 bit", "128 bit", "256 bit, FMA", "512 bit, FMA, masks", "128 bit, FMA", ""};
	char *name = LLVMGetHostCPUName();
	int i, t;

	fprintf(f, "this machine: %s\n", name);
	LLVMDisposeMessage(name);
	for (t = 0; t < NTRIPLE; t++) {
		fprintf(f, "--target=%s\n", triples[t]);
		for (i = 0; i < NCPU; i++)
			if (cpus[i].unit != GENERIC && (cpus[i].unit == NEON) == (t == 1))
				fprintf(f, "  --cpu=%-16s %s\n", cpus[i].name, unit[cpus[i].unit]);
	}
}
