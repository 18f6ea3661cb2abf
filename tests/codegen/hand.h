/* hand -- kernels made by hand for the tests of codegen, compiled in process and
 * run on plain arrays. */
#ifndef TESTS_CODEGEN_HAND_H
#define TESTS_CODEGEN_HAND_H

#include "codegen/codegen.h"
#include "tests/unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hand {
	struct arena *a;
	struct kernel *k;
	struct body *body;      /* where statements go */
	struct program p;
	struct buffer *arg[16];
	void *base[3 + 16];
	struct jit *jit;
};
extern const char *hand_cpu;    /* of hand_run: "native", "x86-64-v3", ... */
struct hand hand_new(void);
void hand_free(struct hand *);
int hand_buf(struct hand *, enum dtype, int64_t count, void *data); /* written: all are */
/* A loop; statements go into it until hand_end gives back what this returns. */
struct body *hand_for(struct hand *, enum for_kind, int64_t n, int *var);
int hand_load(struct hand *, int buf, struct affine);
struct stmt *hand_load_if(struct hand *, int buf, struct affine, struct affine e, int64_t lo, int64_t hi);
struct stmt *hand_store(struct hand *, int buf, struct affine, int reg);
int hand_const(struct hand *, enum dtype, double);
int hand_op(struct hand *, enum op, enum dtype, int a, int b, int c); /* dst bool for comparisons */
int hand_cast(struct hand *, enum dtype, int a);
int hand_acc(struct hand *, enum dtype, enum op, double start);
void hand_reduce(struct hand *, enum op, int acc, int reg);
struct affine hand_at(int64_t c, int v0, int64_t c0, int v1, int64_t c1); /* var -1: none */
void hand_compile(struct hand *);
void hand_run(struct hand *);   /* compiles if need be; all pieces, in two halves */
double hand_random(void);       /* [-1, 1) */
int hand_main(int n, const struct CMUnitTest *tests); /* for every CPU class that runs here */

#endif
