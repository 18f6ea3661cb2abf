/* nest -- what emit, cluster and the nest files share among themselves. */
#ifndef RETORT_NEST_H
#define RETORT_NEST_H

#include "passes/lower.h"

/* emit.c: a guard in force from here on (nguard--: no more); a load of element `at`
 * of v's buffer under those in force and `extra` ones */
void emit_guard(struct emit *, struct affine, int64_t lo, int64_t hi);
int emit_load_at(struct emit *, struct value *, struct affine at, int fill,
    const struct guard *extra, int nextra);
/* emit_value.c: an index from data, negative from the end, clamped to [0, n) */
int emit_wrapped(struct emit *, int reg, enum dtype, int64_t n);
/* a value in memory at an index that may leave its dims: zero there */
int emit_tap(struct emit *, struct value *, const struct index *);
/* nest_other.c: one element of an rng node */
int emit_rng(struct emit *, const struct node *, const struct index *);

/* nest_window.c: strides, pads, dilations and the kernel over spatial axes */
struct nest_window {
	int n;
	int64_t kernel[MAX_RANK], stride[MAX_RANK], dilation[MAX_RANK], lo[MAX_RANK];
};
void nest_window_of(const struct node *, int n, const int64_t *kernel, struct nest_window *);
/* Steps tap through the kernel, last axis fastest; false at the end. */
bool nest_next_tap(const struct nest_window *, int64_t *tap);
/* nest_depthwise.c: false where the shape is not its own */
bool lower_depthwise_grad(struct lower *, struct cluster *);
/* nest_search.c */
bool lower_running_sum(struct lower *, struct cluster *);
bool lower_sort(struct lower *, struct cluster *);
bool lower_nms(struct lower *, struct cluster *);
/* nest_pool.c */
bool lower_pool(struct lower *, struct cluster *);
/* nest_tree.c */
bool lower_tree_leaf(struct lower *, struct cluster *);

struct clusters {
	struct cluster **v;
	int n, cap;
};
/* cluster_order.c: sets every cluster's outputs */
void cluster_outputs(struct lower *);
/* cluster.c */
bool nest_is_reduce(enum op);
bool nest_ones_only(const struct node *reshape);
/* Whether something outside c uses v, also through what is computed where it is used. */
bool nest_read_elsewhere(const struct lower *, const struct value *v, const struct cluster *c);

/* lower.c: a value that no node makes, in scratch memory */
struct value *lower_fresh(struct lower *, enum dtype, int rank, const int64_t *dims);
struct value *lower_fresh_like(struct lower *, enum dtype, const struct value *);
/* v's memory is part of `whole`, that many bytes in. */
void lower_part(struct lower *, struct value *v, struct buffer *whole, int64_t bytes);
/* nest_other.c: before any kernel is made */
void nest_share_concat(struct lower *, struct cluster *concat);

/* nest_space.c: the loops that a set of nodes has in common.  Sets lower->label,
 * phase and small of their outputs; false where no common loops exist. */
struct nest_space {
	int rank;
	int64_t dims[MAX_RANK];
	unsigned reduced; /* bit per axis */
	bool rows;	  /* full values use reduced ones: several phases */
	int phases;
};
bool nest_fits(struct lower *, struct node *const *, int n, struct nest_space *);
unsigned nest_axes(const struct node *reduce); /* of the operand, as bits */

/* A loop over one digit of an axis: the axis' index is the sum of step*var. */
struct nest_digit {
	int axis;
	int64_t extent, step;
};
enum { MAX_DIGITS = MAX_PHYS + 2 };
struct nest_order {
	int n;
	struct nest_digit d[MAX_DIGITS];
};
/* Digits of a space in the memory order of v (label: v's dim's axis, NULL: its own). */
void nest_order_of(const struct value *v, const int8_t *label, struct nest_order *);
/* The order most of the set's memory has; false where nothing spans the space. */
bool nest_poll(struct lower *, struct node *const *, int n, const struct nest_space *,
    struct value *const *outputs, int nout, struct nest_order *);
/* The index along every axis from the digits' variables (-1: no loop, extent 1). */
void nest_index(const struct nest_order *, const int *var, int rank, struct index *);
/* Opens a SERIAL loop per digit of o that is in `axes`, in order; sets var[]. */
void nest_loops(struct emit *, const struct nest_order *, unsigned axes, int *var);

/* nest_shape.c: kinds of loops, after emission */
void shape_collapse(
    struct emit *, struct body *); /* merges adjacent SERIAL loops where every access permits */
struct stmt *shape_split(struct emit *, struct stmt *,
    int64_t len); /* s runs over blocks now; returns the loop within */
/* The perfect nest from the kernel's top: the innermost loop VECTOR if `vector`,
 * outer ones PARALLEL until there are enough pieces. */
void shape_outer(struct emit *, bool vector, int64_t work_inside);
void shape_inner_vector(struct body *); /* innermost SERIAL loop of every nest becomes VECTOR */
void shape_hoist(struct emit *);	/* loop invariants go before their loops */
int64_t shape_divisor(int64_t n, int64_t max); /* largest divisor <= max */
/* One element of an anchor's result, `run` of them along the last axis, and the cluster's
 * outputs there: of a depthwise convolution, of a pooling */
void nest_depthwise_at(struct emit *, struct cluster *, const struct index *, int run);
void nest_pool_at(struct emit *, struct cluster *, const struct index *);
/* nest_conv.c: a SERIAL loop unless it runs once; *a: its variable, or zero */
void nest_loop_over(struct emit *, int64_t extent, struct affine *a);

#endif
