/* simplify -- what the files of rewrite rules share.  A rule looks at one node
 * and returns the value that may stand for its first output, of the same type,
 * or NULL where it does not apply.  It builds through rw->b; what it builds is
 * visited in its turn.  simplify.c sweeps with the tables of simplify_*.c until
 * nothing changes. */
#ifndef RETORT_SIMPLIFY_H
#define RETORT_SIMPLIFY_H

#include "passes/passes.h"

struct simplify {
	const struct pass_opts *opts;
	int *uses; /* by value id, of the values that the sweep found */
	struct taken { int slices; int64_t elems; } *taken; /* likewise: slices of it and how much they take */
	int size;
	int changed;
};
struct simplify_rule {
	enum op op;           /* OP_none: any */
	const char *identity; /* "x*1 = x" */
	struct value *(*apply)(struct rewrite *, struct node *);
};
extern const struct simplify_rule simplify_algebra[], simplify_shape[], simplify_weights[],
    simplify_move[], simplify_slice[];

/* Is v read by one node (or output, or update) only? */
bool sole_use(struct rewrite *, const struct value *v);
/* A constant, or computed from constants only: the next fold makes it one. */
bool is_constant(const struct value *v);
/* Every element of the constant v is the same number, which goes to *x. */
bool is_uniform(const struct value *v, double *x);
/* Narrow floats round too coarsely for anything but what is exact. */
static inline bool
is_narrow(const struct value *v)
{
	return dtype_is_float(v->dtype) && dtype_info[v->dtype].bits < 32;
}
/* n with other operands and padding */
struct value *with_pads(struct rewrite *, const struct node *n, struct value *const *in, int npads, const int64_t *pads);
static inline bool
is_node(const struct value *v, enum op op)
{
	return v && v->kind == VAL_NODE && v->def->op == op;
}
static inline bool
same_dims(const struct value *a, const struct value *b)
{
	return dims_equal(a->rank, a->dims, b->rank, b->dims);
}

#endif
