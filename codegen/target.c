/* target -- which machine: triple, CPU, features, and the facts that passes need.
 * LLVM's C interface does not tell what a CPU name implies, so the names we
 * accept stand in a table with the class of their vector unit. */
#include "codegen/gen.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <llvm-c/Target.h>

enum unit { SSE2, SSE4, AVX2, AVX512, NEON, GENERIC };
static const struct { const char *name; enum unit unit; } cpus[] = {
	{"x86-64", SSE2}, {"x86-64-v2", SSE4}, {"x86-64-v3", AVX2}, {"x86-64-v4", AVX512},
	{"nehalem", SSE4}, {"westmere", SSE4}, {"silvermont", SSE4}, {"goldmont", SSE4},
	{"haswell", AVX2}, {"broadwell", AVX2}, {"skylake", AVX2}, {"alderlake", AVX2},
	{"gracemont", AVX2}, {"znver1", AVX2}, {"znver2", AVX2}, {"znver3", AVX2},
	{"skylake-avx512", AVX512}, {"cascadelake", AVX512}, {"cooperlake", AVX512},
	{"icelake-client", AVX512}, {"icelake-server", AVX512}, {"tigerlake", AVX512},
	{"rocketlake", AVX512}, {"sapphirerapids", AVX512}, {"emeraldrapids", AVX512},
	{"graniterapids", AVX512}, {"znver4", AVX512}, {"znver5", AVX512},
	{"generic", GENERIC},
	{"cortex-a53", NEON}, {"cortex-a55", NEON}, {"cortex-a57", NEON}, {"cortex-a72", NEON},
	{"cortex-a73", NEON}, {"cortex-a76", NEON}, {"cortex-a78", NEON}, {"cortex-x1", NEON},
	{"neoverse-n1", NEON}, {"neoverse-n2", NEON}, {"neoverse-v1", NEON}, {"neoverse-v2", NEON},
	{"apple-m1", NEON}, {"apple-m2", NEON},
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

static void
facts(struct target *t, enum unit u)
{
	t->vector_bits = u == AVX512 ? 512 : u == AVX2 ? 256 : 128;
	t->vector_regs = u == AVX512 || u == NEON ? 32 : 16;
	t->avx512 = t->masked = u == AVX512;
	t->fma = u == AVX512 || u == AVX2 || u == NEON;
	t->f16c = t->fma;
	t->l1 = 32 << 10;
	t->l2 = 512 << 10;
	if (t->native) {
		long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);

		t->l1 = l1 > 0 ? l1 : t->l1;
		t->l2 = l2 > 0 ? l2 : t->l2;
	}
}

/* The CPU of this machine; its vector unit from the features the kernel lets us use. */
static enum unit
host(struct target *t)
{
	char *name = LLVMGetHostCPUName(), *f = LLVMGetHostCPUFeatures();
	enum unit u;

	t->cpu = strdup(name);
	t->features = strdup(f);
	LLVMDisposeMessage(name);
	LLVMDisposeMessage(f);
	if (!t->x86)
		return NEON;
	if (has(t->features, "avx512f") && has(t->features, "avx512vl") && has(t->features, "avx512bw") &&
	    has(t->features, "avx512dq"))
		u = AVX512;
	else if (has(t->features, "avx2") && has(t->features, "fma") && has(t->features, "f16c"))
		u = AVX2;
	else
		u = has(t->features, "sse4.1") ? SSE4 : SSE2;
	return u;
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
	facts(t, u);
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

void
target_machine(const struct target *t, int *vector_bits, int *vector_regs, bool *masked, int64_t *l1, int64_t *l2)
{
	*vector_bits = t->vector_bits;
	*vector_regs = t->vector_regs;
	*masked = t->masked;
	*l1 = t->l1;
	*l2 = t->l2;
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
