/* codegen -- programs to native code through LLVM's C API; the only room that
 * knows LLVM.  Emission is by explicit vectors: what the loop IR says is what
 * runs, LLVM only selects, schedules and allocates registers. */
#ifndef RETORT_CODEGEN_H
#define RETORT_CODEGEN_H

#include "ir/loops.h"
#include "ir/machine.h"
#include "runtime/abi.h"

struct target_opts {
	const char *triple;      /* NULL: this machine's */
	const char *cpu;         /* NULL or "native", else an LLVM cpu name: x86-64-v3, znver4, cortex-a72 */
	int opt_level;
	bool time, keep_temps;
	const char *dump_llvm;   /* path for the module's text, or NULL */
	void (*sgemm)(void);     /* rt_sgemm, for in-process programs with BLAS calls; or NULL */
};
struct target;
struct target *target_open(const struct target_opts *, struct diag *); /* NULL: reported */
void target_close(struct target *);
/* Puts the targets of one object in order, lowest first; false and reported where the
 * code could not tell them apart while running: x86-64 and its levels v2, v3, v4 only. */
bool targets_order(struct target **, int n, struct diag *);
const struct machine *target_machine(const struct target *);
const char *target_triple(const struct target *);
const char *target_cpu(const struct target *);
void targets_print(FILE *); /* triples and cpus known */

/* ---- in process (ORC): compile, look up the program; valid until jit_close */
struct jit;
struct jit *jit_open(struct target *, const struct program *, const char *manifest, struct diag *);
const struct rt_program *jit_program(const struct jit *);
void jit_close(struct jit *);

/* ---- to a file.  One object may hold several programs (a trainer's). */
enum emit { EMIT_OBJECT, EMIT_STATIC, EMIT_SHARED, EMIT_EXE, EMIT_ASM, EMIT_LLVM };
/* The inference library's C entry points (NAME_run and so on, see header.c). */
bool emit_library(struct target *, const struct program *, const char *name, const char *manifest,
                  enum emit, const char *path, struct diag *);
/* The same for several CPUs, in targets_order; the entry points choose among them.
 * The programs have the same inputs, outputs and work memory. */
enum { MAX_VARIANTS = 4 };
struct variant { struct target *t; const struct program *p; const char *manifest; };
bool emit_variants(const struct variant *, int n, const char *name, enum emit, const char *path, struct diag *);
/* Writes NAME.h beside; cpus: how many variants. */
bool emit_header(const struct program *, const char *name, int cpus, const char *path, struct diag *);

struct trainer_image {
	const char *config;
	int nstages;
	const struct program *const *train;
	int nmore;                /* programs of other buckets or sets, in every stage */
	const struct program *const *more; /* [nstages * nmore] */
	const char *const *stage_config;
	const struct program *const *share; /* [nstages], NULL where there is none */
	const struct program *eval;
	int ncached;
	const struct program *const *cached;
	const char *const *cached_key; /* of what each computes: its manifest */
	int nmodels;              /* the student first */
	const struct rt_model *models;
};
bool emit_trainer(struct target *, const struct trainer_image *, const char *path, struct diag *);

/* ---- a trainer as a library: NAME_init, NAME_step and so on (trainer_library.c).  One
 * block of states in the caller's work memory serves all its programs. */
struct label_check { const char *field; int64_t classes; bool has_ignore; int64_t ignore; };
struct trainer_library {
	const char *name;        /* C prefix */
	const struct program *train, *eval, *infer; /* plan_share_states was done */
	int ncached;             /* teachers whose outputs are inputs of train */
	const struct program *const *cached;
	const char *const *teacher; /* [ncached] their names */
	int64_t stage;           /* of the recipe, from 0 */
	double lr;               /* of the recipe, for the header */
	int64_t accumulate;      /* steps of one update */
	int nsets;
	const char *const *set;  /* [nsets] */
	const int64_t *rows;     /* [nsets] in a batch */
	int nweights;
	const struct rt_patch *weights; /* .state: what is exported of the student */
	int nlabels;
	const struct label_check *labels;
	const char *manifest;
};
bool emit_trainer_library(struct target *, const struct trainer_library *, enum emit, const char *path, struct diag *);
bool emit_trainer_header(const struct trainer_library *, const char *path, struct diag *);

/* where libretort_rt.a is: beside the compiler's installation or in its build tree */
const char *runtime_library(void);

#endif
