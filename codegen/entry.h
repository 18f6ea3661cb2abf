/* entry -- what the makers of C entry points share (library.c, trainer_library.c):
 * functions written in LLVM that check their arguments, bind memory and walk the calls
 * of a program. */
#ifndef RETORT_ENTRY_H
#define RETORT_ENTRY_H

#include "codegen/gen.h"

enum { MAX_SYMS = 64, TASKS = 64 };
/* Of one program: `prefix` before its functions' names. */
struct entry {
	struct module *m;
	const struct program *p;
	const char *prefix;
	bool exported;
	LLVMValueRef call, constants, state, f, pieces, body;
	int nsym;
	int64_t sym[MAX_SYMS];
};

static inline LLVMValueRef
n64(struct module *m, int64_t v)
{
	return LLVMConstInt(m->i64, (unsigned long long)v, 1);
}

void entry_open(struct entry *, struct module *, const struct program *, const char *prefix);
LLVMBasicBlockRef entry_block(struct entry *, const char *name);
void entry_begin(struct entry *, const char *suffix, LLVMTypeRef ret, LLVMTypeRef *arg, int n, bool exported);
void entry_demand(struct entry *, LLVMValueRef cond, int status); /* return `status` unless cond */
void entry_put(struct module *, LLVMValueRef array, LLVMTypeRef, int i, LLVMValueRef v);
LLVMTypeRef entry_job_type(struct module *);
LLVMValueRef entry_task(struct entry *); /* x->body */
/* All calls of the program in order; pf: through the caller's parallel-for, with a job
 * on the stack; NULL: on this thread. */
void entry_calls(struct entry *, LLVMValueRef base, LLVMValueRef sym, LLVMValueRef job, LLVMValueRef pf, LLVMValueRef ctx);

bool program_uses_blas(const struct program *);
/* Where the constants of a program lie among all of the object's. */
struct placed { const int64_t *at; int64_t end; };
struct placed entry_place(struct blobs *, const struct program *);

#endif
