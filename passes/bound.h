/* bound.h -- private to bound*.c: a graph with symbols on its way to one of fixed sizes. */
#ifndef RETORT_BOUND_H
#define RETORT_BOUND_H

#include "passes/passes.h"

/* Every value of the new graph has each dim at its upper bound; what lies beyond the
 * size of the run is undefined, and never read into what lies within. */
struct bound {
	struct graph *g;     /* with symbols; stays as it is */
	struct build b;      /* on the new graph; b.loc is that of the node at hand */
	struct value **map;  /* by value id of g */
	VEC(struct bound_size { int64_t dim; struct value *v; }) sizes; /* dims made so far, as i64 scalars */
	struct arena *tmp;
};

/* ---- bound.c */
static inline bool bound_varies(int64_t d) { return !dim_const(d); }
/* A dim of g as an i64 scalar of the new graph. */
struct value *bound_size(struct bound *, int64_t dim);
void bound_most(struct bound *, int rank, const int64_t *dims, int64_t *most); /* upper bounds */
/* Cuts or pads (with anything) to these static dims. */
struct value *bound_fit(struct bound *, struct value *, int rank, const int64_t *dims);
/* The node again, over these operands. */
struct value *bound_same(struct bound *, const struct node *, struct value *const *in);

bool bound_same_outputs(struct bound *, const struct node *, int nin, struct value *const *in); /* of several outputs */

/* ---- bound_shape.c */
/* bool [n,1,...] with `after` ones: whether the index along an axis of n is below size */
struct value *bound_below(struct bound *, int64_t n, struct value *size, int after);
/* Along axis (of dim d) `fill` takes the place of what lies beyond the run's size. */
struct value *bound_mask(struct bound *, struct value *, int axis, int64_t d, struct value *fill);
/* Elements of x, with dims `from` of g, in order as dims `to`.  A rank of -1 means one
 * axis that holds all elements one after the other: the caller's memory. */
struct value *bound_reshape(struct bound *, struct value *x, int nfrom, const int64_t *from, int nto, const int64_t *to);
/* Whether elements of these dims lie in memory as dense as their upper bounds do. */
bool bound_dense(int rank, const int64_t *dims);

/* ---- bound_rows.c: the value that stands for output 0 of n; NULL: reported */
struct value *bound_node(struct bound *, const struct node *n);
bool bound_outputs(struct bound *, const struct node *n); /* rows of several outputs: all into map */

/* ---- bound_host.c: rows that look into strings; all outputs are noted; false: reported */
bool bound_host(struct bound *, const struct node *);
struct value *bound_nothing(struct bound *, enum dtype); /* 0, or "" */

/* ---- bound_memory.c: inputs and outputs that vary are copied; before plan */
bool bound_memory(struct program *, struct diag *);

#endif
