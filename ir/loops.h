/* loops -- the lowered form: kernels of loop nests over buffers, scalar SSA
 * registers, and register-tiled contractions.  passes/lower makes it, codegen
 * turns it into LLVM, print and the tests read it.
 *
 * A kernel's leading perfectly nested PARALLEL loops form its piece space: the
 * product of their extents is the number of pieces, piece = flat index with the
 * last loop fastest.  Pieces write disjoint memory and may run in any order on
 * any thread, so results do not depend on the number of threads. */
#ifndef RETORT_LOOPS_H
#define RETORT_LOOPS_H

#include "ir/ir.h"

/* index = c + sum coef*var (+ regcoef * integer register) in elements */
struct term { int var; int64_t coef; };
struct affine {
	int64_t c;
	int n;
	struct term t[14];
	int reg;             /* -1: none.  An i64 register, from data */
	int64_t regcoef;
};
#define AFFINE(c_) ((struct affine){.c = (c_), .reg = -1})
void affine_add(struct affine *, int var, int64_t coef); /* merges equal vars */

/* lo <= e < hi must hold for the access to happen */
struct guard { struct affine e; int64_t lo, hi; };

enum stmt_kind { S_FOR, S_CONST, S_INDEX, S_OP, S_LOAD, S_STORE, S_ACC, S_REDUCE, S_TILE };

/* PARALLEL: pieces.  SERIAL: a loop.  UNROLL: copied out.  VECTOR: the lanes; at
 * most one VECTOR loop is open at a time; every register set inside is a vector,
 * registers and loads not depending on its variable are splats.  A VECTOR loop's
 * extent may be anything: full vectors, then one masked tail.  SERIAL and UNROLL
 * loops may stand inside a VECTOR loop (they run over whole vectors). */
enum for_kind { FOR_PARALLEL, FOR_SERIAL, FOR_UNROLL, FOR_VECTOR };

struct stmt;
struct body { VEC(struct stmt *) s; };

/* One operand of a tile: element (row0,row1,col,k...) lies at
 * index(loop vars) + row0*rstride[0] + row1*rstride[1] + col*cstride + sum k_i*kstride[i] */
struct tile_operand {
	int buf;
	struct affine index;
	int64_t rstride[2], cstride, kstride[6];
	int64_t cbstride;        /* of B: from one column group to the next */
};
/* acc[row0,row1,col] = sum over k of a*b, rows0*rows1*cols accumulators held in
 * registers.  A does not vary with col (scalars, broadcast), B not with the rows
 * and has cstride 1 (vectors).  The k loops run in the order given, k[0]
 * outermost; the innermost is unrolled `unroll` times.  The epilogue is then run
 * for every row (row variables bound, unrolled) as if inside a VECTOR loop over
 * colvar, with register `acc` holding the sum.  valid_cols <= cols: lanes at or
 * past it are neither loaded nor stored (B need not be readable there).
 * cblocks > 1: that many column groups of `cols` each, B's apart by cbstride; the
 * epilogue runs for every (row, group) with cblockvar bound to the group; then
 * cols is a whole number of vectors and valid_cols == cols.
 * ahead_lines > 0: every turn of the innermost k loop prefetches that many cache lines
 * of B's buffer from b.index + ahead + step * ahead_step on, into the second cache; step
 * counts the steps of all k loops.  They may lie past the buffer's end. */
struct tile {
	int64_t rows[2], cols, valid_cols;
	int nk;
	int64_t k[6];
	int unroll;
	struct tile_operand a, b;
	int64_t cblocks;         /* >= 1 */
	int rowvar[2], colvar, cblockvar;
	int acc;
	enum dtype dtype;        /* f32 or f64 */
	struct affine ahead;
	int64_t ahead_step;
	int ahead_lines;
	struct body epilogue;
};

struct stmt {
	enum stmt_kind kind;
	/* S_FOR */
	enum for_kind loop;
	int var;
	int64_t extent;          /* a symbol's handle (negative) only on PARALLEL and SERIAL loops */
	struct body body;
	int stop;                /* of SERIAL loops: a bool register set in the body, true after the last turn; -1: none */
	/* S_OP: dst = op(src...), all of dtype `type` except comparisons, select's
	 * condition (bool) and cast.  S_CONST: dst = f or i.  S_INDEX: dst = affine (i64). */
	int dst;
	enum op op;
	enum dtype type;         /* of dst; for comparisons of the operands */
	int src[3];
	double f;
	int64_t i;
	/* S_LOAD: dst = buf[index], or `src[0]` (-1: zero) where a guard fails.
	 * S_STORE: buf[index] = src[0], not where a guard fails. */
	int buf;
	struct affine index;
	int nguard;
	struct guard guard[10];
	/* S_ACC: dst is an accumulator that starts at f/i (identity of op); declared
	 * outside the loops it sums over.  S_REDUCE: dst = op(dst, src[0]).  op is add,
	 * mul, max, min, and, or.  Declared outside a VECTOR loop and reduced inside:
	 * per lane, then combined in a fixed tree when the loop ends. */
	struct tile *tile;       /* S_TILE */
};

/* ---- buffers: memory of one program */
enum space {
	SPACE_WORK,   /* arena, planned offsets */
	SPACE_CONST,  /* read-only blob */
	SPACE_STATE,  /* parameters, optimiser slots, running statistics */
	SPACE_IO,     /* one pointer per input then output; offset = index */
	SPACE_SYM     /* i64 scalars: the symbols of a run; offset = index in program->sym */
};
struct buffer {
	int id;
	enum dtype dtype;
	enum space space;
	int64_t offset;          /* bytes within the space; SPACE_IO, SPACE_SYM: index */
	int64_t count, bytes;    /* elements (physical) */
	const struct value *value; /* NULL: scratch */
	const void *data;        /* SPACE_CONST, and SPACE_STATE's initial content */
	const struct layout *pack; /* data is plain and is stored in this layout; NULL: stored as it is */
	int first, last;         /* calls between which a SPACE_WORK buffer lives */
	struct buffer *alias;    /* shares memory with (views of plain layout, in place updates) */
	int64_t at;              /* bytes into alias */
	int64_t skip;            /* begins `skip` (a dim) times skip_bytes into its memory */
	int64_t skip_bytes;
	bool keep;               /* SPACE_WORK: to the end of the program, as what it holds is pointed to */
};

/* A loop nest.  Buffers are numbered parameters, so two calls that differ only in
 * their buffers share one kernel (and one LLVM function). */
struct kernel {
	const char *name;        /* "conv_relu_3" */
	struct loc loc;
	int nbuf, nvar, nreg;
	enum dtype *buf_type;    /* [nbuf] */
	bool *buf_written;       /* [nbuf] */
	/* [nbuf]: where a thread keeps what it needs for the pieces of the moment: from element
	 * p * slot on, p the first piece that the thread has of this call.  0: as ever. */
	int64_t *buf_slot;
	enum dtype *reg_type;    /* [nreg] */
	int64_t pieces;          /* product of the parallel extents (symbols: at their upper bound) */
	struct body body;
	double flops;
};
/* A call of a function of host/ (host.h).  The kernel has no body; its buffers are
 * those of the operands, inputs first, and the room for strings. */
struct host_arg { int buf; enum dtype dtype; int rank; const int64_t *dims; }; /* buf -1: left out */
struct host_call { const char *symbol; int narg, room; struct host_arg *arg; };
struct call {
	struct kernel *kernel;
	struct buffer **arg;     /* [kernel->nbuf] */
	bool provider_blas;      /* else: kernel */
	struct blas_call *blas;  /* provider_blas: one cblas_sgemm per batch item */
	struct host_call *host;  /* not NULL: the kernel is only its operands */
	int layer;               /* 1 + its place in program->layers; 0: serves none */
	struct loc loc;
};
/* C[m,n] = alpha*op(A)*op(B), row-major, arg[0]=A arg[1]=B arg[2]=C; batch items strided */
struct blas_call { bool ta, tb; int64_t m, n, k, lda, ldb, ldc, batch, sa, sb, sc; };

/* What a report says of the calls that serve one cluster of the graph. */
struct candidate { const char *name; double predicted, measured; }; /* ns of one run; measured < 0: it was not */
struct layer {
	struct loc loc;
	const char *algorithm;   /* "direct 14x2", "direct 14x2 + max_pool", "winograd4 14x2", "gemv 1x8", "map" */
	double weights;          /* bytes of constants and states that it reads */
	struct candidate time;
	int ncandidates;         /* where there was a choice: all of them */
	const struct candidate *candidates;
};

/* What the work memory is for where most of it is in use; the rows' sum is work_bytes. */
enum { MEMORY_ROWS = 8 };
struct memory_row { const char *what; int64_t bytes; };

struct io { const char *name; struct value *value; struct buffer *buffer; };
struct program {
	const char *name;
	struct arena *arena;
	struct graph *graph;
	VEC(struct buffer *) buffers;
	VEC(struct call) calls;
	VEC(struct layer) layers;
	VEC(struct io) inputs;
	VEC(struct io) outputs;
	int nsym, ngiven;        /* symbols of a run: given by the dims of inputs, then measured */
	int64_t *sym;            /* dims of graph */
	bool items;              /* the one symbol counts independent items, on axis 0 of all inputs and outputs */
	VEC(struct io) states;   /* io.buffer in SPACE_STATE, data = initial content */
	struct buffer *room;     /* struct rt_bytes of host/host.h; NULL: no host calls */
	int64_t work_bytes, const_bytes, state_bytes; /* set by plan */
	int nmemory;
	struct memory_row memory[MEMORY_ROWS];
};

/* loops.c: making, printing */
struct kernel *kernel_new(struct arena *, const char *name, struct loc);
int kernel_buf(struct arena *, struct kernel *, enum dtype, bool written);
int kernel_var(struct kernel *);
int kernel_reg(struct arena *, struct kernel *, enum dtype);
struct stmt *stmt_new(struct arena *, struct body *, enum stmt_kind); /* appended */
void kernel_finish(struct kernel *);             /* counts pieces */
void kernel_finish_sym(struct kernel *, const struct graph *); /* the same where extents may be symbols of the graph */
void kernel_verify(const struct kernel *);       /* dies on malformed loops */
void kernel_print(const struct kernel *, struct str *); /* also the key for sharing kernels */
void program_print(const struct program *, struct str *);
int64_t affine_max(const struct affine *, const int64_t *extent_of_var);

#endif
