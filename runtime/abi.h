/* abi -- what compiled code and the C runtime agree on.  codegen writes these
 * structs as constants into the object, the runtime (and the in-process JIT)
 * read them.  Plain C, no compiler types.  Bump RT_ABI on any change. */
#ifndef RETORT_ABI_H
#define RETORT_ABI_H

#include <stddef.h>
#include <stdint.h>

#define RT_ABI 6u
#define RT_ALIGN 64

/* element types: the ONNX enumerators */
enum rt_dtype { RT_F32 = 1, RT_U8 = 2, RT_I8 = 3, RT_U16 = 4, RT_I16 = 5, RT_I32 = 6, RT_I64 = 7, RT_BOOL = 9, RT_F16 = 10, RT_F64 = 11, RT_U32 = 12, RT_U64 = 13 };

struct rt_tensor {
	const char *name;
	int32_t dtype, rank;
	const int64_t *dims;     /* a symbolic dim at its upper bound */
	const int32_t *syms;     /* [rank] symbol that an axis is, or -1; NULL: none is */
	int64_t bytes;
	int64_t offset;          /* states: in the state block; inputs, outputs: index */
};

/* A size of the run: given by the caller, from the dims of inputs, or measured and
 * written by the program. */
struct rt_sym {
	const char *name;
	int64_t lo, hi;
	int32_t measured;
};

/* Memory of one run: base[0] work, base[1] constants, base[2] state, base[3...]
 * inputs then outputs in order.  All aligned to RT_ALIGN but inputs and outputs,
 * which need their element's alignment only.  sym: the sizes of the run (NULL if
 * none); inputs and outputs are dense in them.  slot: a piece of the call whose thread
 * memory (kernel.buf_slot) no one else uses meanwhile; begin always will do. */
typedef void rt_call_fn(int32_t call, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot);

/* Memory that calls read and write: bytes of base[base] from offset on. */
struct rt_buffer {
	const char *name;        /* the tensor's, or "" */
	int32_t dtype, base;
	int64_t offset, bytes;
};

/* What memory is for. */
struct rt_memory { const char *what; int64_t bytes; };

struct rt_program {
	uint32_t abi;
	const char *name;
	int32_t ncalls, ninputs, noutputs, nstates, nsyms;
	const int64_t *pieces;       /* [ncalls]: call c runs pieces [0, pieces[c]) */
	const char *const *call_names; /* [ncalls] for profiles: "conv_relu_3 layer1.0.conv1" */
	const double *flops;         /* [ncalls] */
	rt_call_fn *call;
	int64_t work_bytes, const_bytes, state_bytes;
	const void *constants;       /* const_bytes, mapped read-only */
	const int64_t *reads;        /* [nreads][2]: from where to where every run reads all of them */
	int32_t nreads;
	const void *state_init;      /* state_bytes */
	const struct rt_tensor *inputs, *outputs, *states;
	const struct rt_sym *syms;   /* [nsyms] */
	int32_t items;               /* the one symbol counts independent items, on axis 0 of all inputs and outputs */
	/* The dims of inputs then outputs, one after the other, in a run of these sizes
	 * (measured ones after it).  NULL: all are as the tables say, or the code runs in
	 * the compiler. */
	void (*dims)(const int64_t *sym, int64_t *dims);
	const char *manifest;        /* JSON */
	int64_t status_at;           /* of an int32_t in work memory that a run sets: 0, or what went wrong (host/host.h);
0: runs cannot fail */
	/* Of a trainer's programs, to find where a number went wrong (runtime/trap.c): call c
	 * works on args[args_at[c]..args_at[c + 1]), an index of buffers each, or ~index where
	 * the call writes it.  NULL: not known. */
	const struct rt_buffer *buffers;
	const int32_t *args, *args_at;
	/* Of a trainer's programs: what work memory is for where most of it is in use; their sum
	 * is work_bytes.  Their `reads` are all constants. */
	int32_t nmemory;
	const struct rt_memory *memory;
};

/* ---- pool.c: SPMD threads.  rt_run walks the calls; every thread claims pieces of its
 * slice of a call, then those that others have not come to. */
struct rt_pool;
struct rt_pool *rt_pool_create(int threads);  /* NULL: out of memory; 1 thread needs none */
void rt_pool_destroy(struct rt_pool *);
int rt_pool_threads(const struct rt_pool *);
void rt_run(struct rt_pool *, const struct rt_program *, void *const *base, int64_t *sym);
/* the same, adding each call's nanoseconds to ns[ncalls]; one thread's view */
void rt_run_timed(struct rt_pool *, const struct rt_program *, void *const *base, int64_t *sym, int64_t *ns);
/* what the last run in this memory set */
static inline int rt_status(const struct rt_program *p, void *const *base)
{
	return p->status_at ? *(const int32_t *)((const char *)base[0] + p->status_at) : 0;
}
void *rt_alloc(size_t bytes);                 /* RT_ALIGN aligned, zeroed; NULL: out of memory */
void rt_free(void *);
void rt_unload(const void *, size_t);         /* of the executable: its pages may leave memory */

/* ---- blas.c: the other provider of contractions; emitted calls only with --blas */
void rt_sgemm(int32_t ta, int32_t tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
              const float *b, int64_t ldb, float *c, int64_t ldc);

/* ---- trainer: an executable is a compiled struct rt_trainer and
 *   int main(int argc, char **argv) { return rt_trainer_main(&trainer, argc, argv); }
 * (main lives in the runtime; the object defines `const struct rt_trainer retort_trainer`;
 * runtime/link_flags.h says how to link).
 *
 * Program inputs are named after data fields (`image`, `label`: one batch, as the
 * file stores it) or start with `$`: $lr f32, $step i64 (updates done + 1),
 * $micro, $micros i64 (step of its window of accumulation, from 0, and how many that has), $momentum f64,
 * $dial.TERM.KEY and $task.TASK f32 (numbers that change in training),
 * $seed i64, $valid i64 (rows of the batch that count; evaluation programs mask
 * by it; with several data sets $valid.SET, one each), $teacher.NAME.OUT f32
 * (cached teacher outputs of the batch), $mix f32 [rows] (the share of each row itself
 * where rows are mixed), $pair.FIELD (the field of the row that it is mixed with) and
 * $index i64 [rows] (which sample of the training data each row is, sets one after the other).
 * Train outputs: `loss`, `term.NAME` (means over the batch), `metric.TASK.NAME.num`
 * and `.den` (sums; a metric is num/den).  Evaluation outputs: the same names, where
 * loss and terms come as `.num`/`.den` sums over the valid rows.
 *
 * All programs share one block of states: a state's offset is the same in each that has it,
 * their state_bytes are the block's and their state_init is NULL.  Cached teachers have none. */
struct rt_stage {
	const struct rt_program *train;
	const char *config;
	int32_t nmore;               /* programs of other buckets (train is the shortest's) or sets (train is the first's) */
	const struct rt_program *const *more;
	const struct rt_program *share; /* outputs grad_share.TERM, norms of the terms' gradients; NULL: not asked for */
};
/* A model in inference form, its parameters patched at these offsets. */
struct rt_model {
	const char *name;            /* NAME.onnx */
	const void *onnx;
	int64_t onnx_bytes;
	int32_t npatches;
	const struct rt_patch { const char *state; int64_t offset, bytes; } *patches;
};
struct rt_trainer {
	uint32_t abi;
	const char *config;          /* lines "key value...", docs/trainer-config.md */
	int32_t nstages;
	const struct rt_stage *stages;
	const struct rt_program *eval;
	int32_t nstates;
	const struct rt_tensor *states;     /* of all programs */
	int64_t state_bytes;
	const void *state_init;
	int64_t state_init_bytes;           /* of state_init; what lies behind begins as zeros */
	int32_t ncached;             /* teachers whose outputs are cached */
	const struct rt_program *const *cached; /* outputs $teacher.NAME.OUT */
	int32_t nmodels;             /* what is exported: the student, then the other models */
	const struct rt_model *models;
};
int rt_trainer_main(const struct rt_trainer *, int argc, char **argv);
extern const struct rt_trainer retort_trainer;

/* ---- infer_main.c: the standalone executable of a model: NAME x=x.npy -o y=y.npy
 * [--threads N] [--bench N]; the object defines
 * `retort_program`, the program for this CPU. */
int rt_infer_main(const struct rt_program *, int argc, char **argv);
const struct rt_program *retort_program(void);

#endif
