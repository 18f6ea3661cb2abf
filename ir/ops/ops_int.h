/* ops_int.h -- what the files of ir/ops share: checks of shape rules, walking
 * indices, and small builders.  Private to ir/ops and ir/eval.c. */
#ifndef RETORT_OPS_INT_H
#define RETORT_OPS_INT_H

#include <string.h>

#include "ir/ir.h"

/* ---- shape rules (ops/common.c) */
/* True when every operand given has a known type; reports otherwise. */
bool ops_known(const struct node *, struct diag *);
/* value_set after checking rank, and that the size cannot overflow. */
bool ops_set(struct node *, struct diag *, int out, enum dtype, int rank, const int64_t *dims);
bool ops_all_const(int rank, const int64_t *dims);
/* The attribute's list, which must have exactly `n` entries; absent: filled with
 * def.  False: reported. */
bool ops_list(const struct node *, struct diag *, const char *name, int n, int64_t def, int64_t *out);
/* Marks the axes an attribute names (absent: all).  False: reported. */
bool ops_axes(const struct node *, struct diag *, int rank, bool *marked);
const char *ops_dims_text(struct graph *, int rank, const int64_t *dims);

/* ---- windows of convolution and pooling over [N,C,spatial...] */
enum { MAX_SPATIAL = 6 };
struct window {
	int n; /* spatial axes */
	int64_t kernel[MAX_SPATIAL], stride[MAX_SPATIAL], dilation[MAX_SPATIAL];
	int64_t lo[MAX_SPATIAL], hi[MAX_SPATIAL];
};
/* Reads strides, pads, dilations of n spatial axes; the kernel is the caller's. */
bool ops_window(const struct node *, struct diag *, int n, struct window *);
/* floor((in + lo + hi - dilation*(kernel-1) - 1) / stride) + 1; -1: reported */
bool ops_window_out(struct graph *, const struct node *, struct diag *, const struct window *,
    const int64_t *in, int64_t *out);
void ops_window_attrs(struct build *, const struct window *, struct attr *); /* strides, pads, dilations */

/* ONNX's attributes, auto_pad included, for input spatial dims and kernel (pool_onnx.c) */
bool ops_window_onnx(struct build *, const struct node *, int n, const int64_t *in,
    const int64_t *kernel, struct window *);
/* Where the maxima y of x lie: the index into x as one row (i64, dims of y); column:
 * with the spatial axes of a plane in the opposite order. (pool_onnx.c) */
struct value *ops_max_places(struct build *, struct value *x, struct value *y,
    const struct window *, bool column);
struct value *ops_matmul(struct build *, struct value *, struct value *); /* ONNX MatMul (linear.c) */

/* A cast where either type may be narrower than kernels compute with; saturate and
 * mode (of f8e8m0: "up", "down", "nearest") as ONNX's Cast has them.  (cast.c) */
struct value *ops_cast(struct build *, struct value *, enum dtype to, bool saturate, const char *mode);
struct value *ops_bits(struct build *, struct value *, enum dtype to, int rank, const int64_t *dims);

/* The numbers of keys [...,n,m] in order, as the row `sort` has it, those past a size
 * found while running last (select_onnx.c). */
struct value *ops_sort(struct build *, struct value *keys, bool descending, int64_t first); /* first: -1: all */
struct value *ops_set_apart(struct build *, struct value *, int axis, bool descending);
struct value *ops_extreme(struct build *, enum dtype, bool greatest);

/* Size i that node n's expansion measures: v is an i64 scalar of 0..hi, its count.  The
 * row has ATTR(id, measured, INTS, NONE) and infer_built.  (operand.c) */
int64_t ops_measure(struct build *, const struct node *n, int i, struct value *v, int64_t hi);
/* ---- host rows (ops/string_onnx.c) */
/* operand 1, if given, is an i64 scalar */
bool ops_count_operand(const struct node *, struct diag *);
struct value *ops_host(struct build *, enum op, struct value *x, int nattr, const struct attr *);
/* x itself if it has the dims already */
struct value *ops_expand_like(struct build *, struct value *x, int rank, const int64_t *dims);

/* ---- operands that must be known while compiling (ops/operand.c) */
/* A whole number or a symbolic dim of g. */
struct sdim {
	int64_t v;
	bool symbolic;
};
/* The elements of an integer vector or scalar: constants, and what Shape, Gather,
 * Concat, Slice, arithmetic and the like make of them.  Count, or -1: not known. */
int value_sdims(struct graph *, const struct value *, struct sdim **);
/* The constant integers of operand i; -1: reported. */
int ops_ints(struct build *, const struct node *, int i, int64_t **);
bool ops_int(struct build *, const struct node *, int i, int64_t *);
/* The constant floats of operand i; -1: reported. */
int ops_floats(struct build *, const struct node *, int i, double **);
/* Marks the axes that constant operand i names.  Left out or empty: none, *given false. */
bool ops_axes_operand(struct build *, const struct node *, int i, int rank, bool *marked, bool *given);
static inline struct value *
ops_in(const struct node *n, int i)
{
	return i < n->nin ? n->in[i] : NULL;
}
static inline bool
ops_wants(const struct node *n, int o)
{
	return o < n->nout && n->out[o];
}

/* ---- attributes for b_op */
static inline struct attr
attr_of_int(const char *name, int64_t i)
{
	return (struct attr){.name = name, .kind = ATTR_INT, .i = i};
}
static inline struct attr
attr_of_float(const char *name, double f)
{
	return (struct attr){.name = name, .kind = ATTR_FLOAT, .f = f};
}
static inline struct attr
attr_of_ints(const char *name, int n, const int64_t *v)
{
	return (struct attr){.name = name, .kind = ATTR_INTS, .n = n, .ints = v};
}

/* ---- evaluation */
/* The next index in row-major order; false after the last. */
static inline bool
ops_next(int rank, const int64_t *dims, int64_t *idx)
{
	for (int i = rank - 1; i >= 0; i--) {
		if (++idx[i] < dims[i])
			return true;
		idx[i] = 0;
	}
	return false;
}
static inline void
ops_strides(int rank, const int64_t *dims, int64_t *stride)
{
	int64_t s = 1;

	for (int i = rank - 1; i >= 0; i--) {
		stride[i] = s;
		s *= dims[i];
	}
}
/* dst[d] = src[s], both of one dtype */
static inline void
et_move(struct etensor *dst, int64_t d, const struct etensor *src, int64_t s)
{
	if (dtype_info[src->dtype].class == DC_COMPLEX) {
		dst->f[2 * d] = src->f[2 * s];
		dst->f[2 * d + 1] = src->f[2 * s + 1];
	} else if (src->f)
		dst->f[d] = src->f[s];
	else if (src->s)
		dst->s[d] = src->s[s];
	else
		dst->i[d] = src->i[s];
}
/* v reduced to the range of an integer type, as two's complement wraps */
int64_t int_wrap(enum dtype, int64_t v);

#endif
