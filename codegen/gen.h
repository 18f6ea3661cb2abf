/* gen -- private to codegen: the state of one module and of one kernel being made. */
#ifndef RETORT_GEN_H
#define RETORT_GEN_H

#include "codegen/codegen.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

/* ---- target.c */
struct target {
	LLVMTargetMachineRef tm;
	char *triple, *cpu, *features;
	bool native, x86, elf;
	bool runs;                /* in this process */
	int level;                /* of x86-64: 0 the baseline, 1 to 3 v2 to v4; -1: another CPU */
	struct machine machine;
	bool fma, f16c, avx512;
	int opt_level;
	bool time, keep_temps;
	char *dump_llvm;
	void (*sgemm)(void);      /* rt_sgemm for the JIT, or NULL */
};

/* ---- module.c: one LLVM module, one object */
struct module {
	struct target *t;         /* of what is being made */
	struct target *base;      /* of the object: the lowest of its variants */
	struct arena *a;
	LLVMContextRef c;
	LLVMModuleRef m;
	LLVMBuilderRef b;
	struct map *kernels;      /* text of a kernel -> its function */
	LLVMTypeRef void_, i1, i8, i16, i32, i64, f16, f32, f64, ptr;
	LLVMTypeRef kernel_type, call_type;
	struct str text;          /* scratch */
	int nkernel;
	const struct program *program; /* being emitted: its symbols */
	/* where the constants of several programs are one: the place of each of the
	 * program's buffers, by id, and the end of the last; NULL: buffer->offset */
	const int64_t *const_at;
	int64_t const_bytes;
};
struct module *module_open(struct target *, const char *name);
void module_close(struct module *);
void module_retarget(struct module *, struct target *); /* what follows is for t, and shares no kernels with the rest */
/* NAME_call of the program; its kernels are made or shared. */
LLVMValueRef module_call(struct module *, const struct program *, const char *symbol, bool exported);
/* struct rt_program as a constant; constants and states by their symbols.  traced: with
 * the table of what every call reads and writes. */
LLVMValueRef module_program(struct module *, const struct program *, LLVMValueRef call, LLVMValueRef constants,
                            LLVMValueRef state_init, const char *symbol, const char *manifest, bool traced);
LLVMValueRef module_tensors(struct module *, const struct program *, const struct io *, int n, const char *name); /* struct rt_tensor[n] */
LLVMValueRef module_string(struct module *, const char *);
LLVMValueRef module_array(struct module *, LLVMTypeRef, LLVMValueRef *, int n, const char *name);
LLVMValueRef module_i64s(struct module *, const int64_t *, int n, const char *name);
LLVMValueRef module_function(struct module *, const char *name, LLVMTypeRef, bool exported);
/* Verifies, runs the passes; then the object (or assembly) in memory. */
void module_finish(struct module *);
LLVMMemoryBufferRef module_object(struct module *, LLVMCodeGenFileType);
/* Bytes of the constants and of the states' initial content; heap, NULL if empty. */
unsigned char *program_blob(const struct program *, enum space, int64_t bytes);
void buffer_content(const struct buffer *, void *to);
int64_t call_pieces(const struct call *);
double call_flops(const struct call *);
const char *call_name(struct arena *, const struct call *);
int64_t program_status_at(const struct program *);
/* What of host/ an object links: nothing, functions, those that read images too. */
enum host_use { HOST_NONE, HOST_CALLS, HOST_IMAGES };
enum host_use program_host(const struct program *);
LLVMValueRef module_dims(struct module *, const struct program *, const char *name); /* rt_program.dims */
LLVMValueRef module_dim(struct module *, LLVMBuilderRef, LLVMValueRef sym, int64_t dim);
/* Dies with LLVM's message; for what only our own bug can cause. */
_Noreturn void llvm_die(const char *what, char *message);

/* ---- kernel.c */
struct reg {
	LLVMValueRef v;           /* of element type: a scalar, or the same in all lanes */
	bool vector;
	LLVMValueRef slot;        /* accumulator: its alloca, of element type or of `lanes` */
	int lanes;                /* of slot: 0 scalar */
	enum op op;
	LLVMValueRef part[4];     /* per-lane partial sums while an enclosing loop runs */
	int npart;
	bool has_const;           /* set by S_CONST: value below */
	double f;
};
struct gen {
	struct module *m;
	struct target *t;
	const struct kernel *k;
	LLVMBuilderRef b, entry;  /* entry: allocas and what is computed once */
	LLVMValueRef fn, sym;
	LLVMValueRef *buf;        /* [nbuf] pointers */
	LLVMValueRef *var;        /* [nvar] i64; of the vector variable: at lane 0 */
	int64_t *extent;          /* [nvar] upper bound of the open loops */
	struct reg *reg;          /* [nreg] */
	int width;                /* lanes of a full vector */
	int vvar;                 /* the open VECTOR loop's variable, -1 */
	int lanes, active;        /* of the vectors now; lanes >= active exist only as garbage */
	int copy;                 /* which partial accumulators */
};
LLVMValueRef kernel_emit(struct module *, const struct kernel *, const char *name);
void gen_body(struct gen *, const struct body *);
LLVMTypeRef gen_type(struct gen *, enum dtype, int lanes);         /* of registers; lanes 0: scalar */
LLVMTypeRef gen_memory_type(struct gen *, enum dtype, int lanes);  /* of memory */
LLVMValueRef gen_splat(struct gen *, LLVMValueRef, int lanes);
LLVMValueRef gen_vector(struct gen *, int reg);                    /* value in g->lanes lanes */
LLVMValueRef gen_alloca(struct gen *, LLVMTypeRef, const char *);
LLVMValueRef gen_i64(struct gen *, int64_t);
LLVMBasicBlockRef gen_block(struct gen *, const char *);
LLVMValueRef gen_intrinsic(struct gen *, const char *name, LLVMTypeRef *over, int nover, LLVMValueRef *arg, int narg);
LLVMValueRef gen_mask(struct gen *, int lanes, int active);        /* constant; NULL where all are active */
/* The address of an affine index: base + c, plus coef per lane, plus vec (lanes of i64). */
struct addr { LLVMValueRef base; int64_t c, coef; LLVMValueRef vec; };
struct addr gen_affine(struct gen *, const struct affine *);
LLVMValueRef gen_pointer(struct gen *, int buf, LLVMValueRef base, int64_t c);
LLVMValueRef gen_tree(struct gen *, enum op, enum dtype, LLVMValueRef vec, int lanes); /* horizontal */
LLVMValueRef gen_identity(struct gen *, enum op, enum dtype, int lanes);

/* A loop from 0 below n step by step: gen_loop opens, gen_loop_end closes. */
struct loop { LLVMValueRef i, n; int64_t step; LLVMBasicBlockRef head, exit; };
struct loop gen_loop(struct gen *, LLVMValueRef n, int64_t step);
void gen_loop_end(struct gen *, struct loop *);

/* ---- memory.c */
void gen_load(struct gen *, const struct stmt *);
void gen_store(struct gen *, const struct stmt *);
LLVMValueRef gen_from_memory(struct gen *, enum dtype, LLVMValueRef); /* memory form to register form */
LLVMValueRef gen_to_memory(struct gen *, enum dtype, LLVMValueRef);
LLVMValueRef gen_lane_index(struct gen *, const struct addr *); /* lanes of i64 */

/* ---- tile.c */
void gen_tile(struct gen *, const struct tile *);

/* ---- scalar.c: S_OP on scalars and vectors alike */
LLVMValueRef gen_op(struct gen *, enum op, enum dtype type, enum dtype from, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);
void gen_sop(struct gen *, const struct stmt *);
LLVMValueRef gen_round(struct gen *, enum dtype, LLVMValueRef); /* f16, bf16: to what memory can hold */

/* ---- math.c: elementary functions on float scalars and vectors */
LLVMValueRef math_f32(struct gen *, enum op, LLVMValueRef x);  /* NULL: not inline */
LLVMValueRef math_libm(struct gen *, const char *name, LLVMValueRef x, LLVMValueRef y); /* per lane */
LLVMValueRef math_mad(struct gen *, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c);    /* a*b + c, fused where the machine can */
LLVMValueRef math_const(LLVMTypeRef like, double);
LLVMValueRef math_iconst(LLVMTypeRef like, int64_t);

/* ---- object.c */
/* The read-only data of one object: pieces in order of their place, never as one
 * block of memory.  What they point to lives until module_write. */
struct piece {
	int64_t at, bytes;
	const void *data;
	const struct buffer *pack; /* data is what this buffer is packed from; or NULL */
	uint64_t hash;
	int next;                  /* of the same bucket */
};
enum { BLOB_BUCKETS = 1024 };
struct blobs {
	struct str path, symbols;
	struct arena *a;
	VEC(struct piece) pieces;
	int64_t at;
	int bucket[BLOB_BUCKETS];  /* index + 1 of the newest piece */
	bool kept;                 /* a side file, which the text refers to */
	bool linked;               /* into a program or a shared library at once */
};
void blobs_open(struct blobs *, enum emit, const char *path);
/* Nothing is copied; NULL where there is nothing. */
LLVMValueRef blobs_add(struct blobs *, struct module *, const char *symbol, const void *, int64_t bytes);
LLVMValueRef blobs_space(struct blobs *, struct module *, const char *symbol, const struct program *, enum space);
/* What the program's states hold at first, without the zeros at the end: *bytes of them. */
LLVMValueRef blobs_states(struct blobs *, struct module *, const char *symbol, const struct program *, int64_t *bytes);
/* The constants of several programs, equal ones once: where each lies, by buffer id,
 * and their end; before anything else is added.  Then a symbol for all. */
const int64_t *blobs_share(struct blobs *, const struct program *, int64_t *end);
LLVMValueRef blobs_shared(struct blobs *, struct module *, const char *symbol);
bool blobs_ready(struct blobs *, struct module *, struct diag *);
void blobs_close(struct blobs *, bool done);
/* lib: the object becomes the last member, `name`, of this archive; or NULL */
struct archive;
bool module_write(struct module *, const struct blobs *, enum emit, struct archive *lib, const char *name, const char *path, struct diag *);

/* ---- archive.c */
struct archive *archive_open(void);
bool archive_add(struct archive *, const char *path, struct diag *); /* the members of that archive */
bool archive_begin(struct archive *, FILE *, const char *name, const char *object, size_t head, size_t size);
void archive_close(struct archive *);

/* ---- dispatch.c */
void dispatch(struct module *, const struct variant *, int n, const char *name, LLVMValueRef *fn);

/* ---- link.c */
bool link_run(const char *const *argv, struct diag *);
/* host: the object calls functions of libretort_host.a, which the result carries */
bool link_static(struct target *, struct module *, const struct blobs *, const char *object, const char *path, enum host_use, struct diag *);
bool link_shared(struct target *, const char *object, const char *path, enum host_use, struct diag *);
bool link_exe(struct target *, const char *object, const char *path, bool trainer, bool blas, enum host_use, struct diag *);

#endif
