/* microsoft_qlinear.c -- com.microsoft: operators from quantised to quantised values,
 * real = (whole - zero) * scale.  The order of the float operations, and what is
 * rounded (half to even) before or after the zero point is added, are ONNX Runtime's
 * (core/mlas), so that a tie falls to the same side. */
#include <math.h>

#include "ir/ops/ops_int.h"

struct quant {
	struct value *scale, *zero; /* f32 scalars */
	enum dtype type;            /* of the zero point; DT_none where it was left out */
};

static struct value *
scalar(struct build *b, const struct node *n, struct value *v, const char *what)
{
	for (int i = 0; v && i < v->rank; i++)
		if (v->dims[i] != 1) {
			diag_invalid(b->diag, n->loc, "%s must be one number, is %s", what,
			    ops_dims_text(b->g, v->rank, v->dims));
			return NULL;
		}
	return v ? b_reshape(b, v, 0, NULL) : NULL;
}

/* scale and zero point, operands i and i+1; the latter may be left out */
static bool
quant(struct build *b, const struct node *n, int i, struct quant *q)
{
	struct value *zero = ops_in(n, i + 1);

	q->scale = scalar(b, n, ops_in(n, i), "a scale");
	if (!q->scale)
		return false;
	q->scale = b_cast(b, q->scale, DT_f32);
	q->type = zero ? zero->dtype : DT_none;
	if (zero && !dtype_is_int(zero->dtype))
		return diag_invalid(b->diag, n->loc, "a zero point of type %s", dtype_info[zero->dtype].name);
	q->zero = zero ? scalar(b, n, zero, "a zero point") : b_scalar(b, DT_f32, 0);
	q->zero = q->zero ? b_cast(b, q->zero, DT_f32) : NULL;
	return q->scale && q->zero;
}

static struct value *
real(struct build *b, struct value *x, const struct quant *q)
{
	return x ? b_mul(b, b_sub(b, b_cast(b, x, DT_f32), q->zero), q->scale) : NULL;
}

/* The nearest whole number that t holds. */
static struct value *
whole(struct build *b, struct value *y, enum dtype t)
{
	int bits = dtype_info[t].bits;
	bool uns = dtype_info[t].class == DC_UINT;
	double lo = uns ? 0 : -ldexp(1, bits - 1), hi = ldexp(1, uns ? bits : bits - 1) - 1;

	if (!y)
		return NULL;
	y = b_min(b, b_max(b, y, b_scalar(b, DT_f32, lo)), b_scalar(b, DT_f32, hi));
	y = b1(b, OP_round, y);
	return y ? b_cast(b, y, t) : NULL;
}

/* round(y) + zero, y already in steps of the result */
static struct value *
steps(struct build *b, struct value *y, const struct quant *q, enum dtype t)
{
	return whole(b, b_add(b, b1(b, OP_round, y), q->zero), q->type ? q->type : t);
}

/* round(y / scale) + zero */
static struct value *
quantised(struct build *b, struct value *y, const struct quant *q, enum dtype t)
{
	return steps(b, b_div(b, y, q->scale), q, t);
}

/* A, scale, zero, B, scale, zero, scale and zero of C */
static bool
three(struct build *b, const struct node *n, struct quant *q)
{
	return quant(b, n, 1, &q[0]) && quant(b, n, 4, &q[1]) && quant(b, n, 6, &q[2]);
}

/* round(a*ra + b*rb + (zc - za*ra - zb*rb)), r: the operand's scale by that of the result */
bool
expand_QLinearAdd(struct build *b, const struct node *n, struct value **outs)
{
	struct quant q[3];
	struct value *ra, *rb, *y, *rest;

	if (!three(b, n, q))
		return false;
	ra = b_div(b, q[0].scale, q[2].scale);
	rb = b_div(b, q[1].scale, q[2].scale);
	rest = b_sub(b, q[2].zero, b_add(b, b_mul(b, ra, q[0].zero), b_mul(b, rb, q[1].zero)));
	y = b_add(b, rest, b_mul(b, ra, b_cast(b, n->in[0], DT_f32)));
	y = b_add(b, y, b_mul(b, rb, b_cast(b, n->in[3], DT_f32)));
	return (outs[0] = whole(b, y, q[2].type ? q[2].type : n->in[0]->dtype)) != NULL;
}

/* round((a - za) * (b - zb) * sa*sb/sc + zc) */
bool
expand_QLinearMul(struct build *b, const struct node *n, struct value **outs)
{
	struct quant q[3];
	struct value *y;

	if (!three(b, n, q))
		return false;
	y = b_mul(b, b_sub(b, b_cast(b, n->in[0], DT_f32), q[0].zero), b_sub(b, b_cast(b, n->in[3], DT_f32), q[1].zero));
	y = b_mul(b, y, b_div(b, b_mul(b, q[0].scale, q[1].scale), q[2].scale));
	return (outs[0] = whole(b, b_add(b, y, q[2].zero), q[2].type ? q[2].type : n->in[0]->dtype)) != NULL;
}

/* ---- X, scale, zero, scale and zero of Y: a function of the real value */
static bool
open(struct build *b, const struct node *n, struct quant *q, struct value **x)
{
	return quant(b, n, 1, &q[0]) && quant(b, n, 3, &q[1]) && (*x = real(b, n->in[0], &q[0])) != NULL;
}

bool
expand_QLinearSigmoid(struct build *b, const struct node *n, struct value **outs)
{
	struct quant q[2];
	struct value *x;

	return open(b, n, q, &x) && (outs[0] = quantised(b, b1(b, OP_sigmoid, x), &q[1], n->in[0]->dtype)) != NULL;
}

bool
expand_QLinearLeakyRelu(struct build *b, const struct node *n, struct value **outs)
{
	struct quant q[2];
	struct value *x, *y;

	if (!open(b, n, q, &x))
		return false;
	y = b_select(b, b2(b, OP_lt, x, b_scalar(b, DT_f32, 0)), b_muls(b, x, attr_float(n, "alpha")), x);
	return (outs[0] = quantised(b, y, &q[1], n->in[0]->dtype)) != NULL;
}

/* The axis alone from opset 13 on, else all axes from it. */
bool
expand_QLinearSoftmax(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *y;
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);
	int64_t two[2] = {1, 1};
	struct quant q[2];

	if (axis < 0 || !open(b, n, q, &x))
		return false;
	if (attr_int(n, "opset") >= 13) {
		y = b_softmax(b, x, axis);
	} else {
		for (int i = 0; i < x->rank; i++)
			two[i >= axis] = dim_mul(b->g, two[i >= axis], x->dims[i]);
		y = b_softmax(b, b_reshape(b, x, 2, two), 1);
		y = y ? b_reshape(b, y, n->in[0]->rank, n->in[0]->dims) : NULL;
	}
	return (outs[0] = quantised(b, y, &q[1], n->in[0]->dtype)) != NULL;
}

/* ---- windows; channels_last: [N,spatial...,C] */
static struct value *
channels(struct build *b, struct value *x, bool to_last)
{
	int64_t perm[MAX_RANK];

	if (!x || x->rank < 3)
		return x;
	perm[0] = 0;
	for (int i = 1; i < x->rank; i++)
		perm[i] = to_last ? (i == x->rank - 1 ? 1 : i + 1) : (i == 1 ? x->rank - 1 : i - 1);
	return b_transpose(b, x, perm);
}

/* round(y / scale + zero); in double, where the product with 1/count is the quotient by it
 * once it is rounded to float */
bool
expand_QLinearAveragePool(struct build *b, const struct node *n, struct value **outs)
{
	bool last = attr_int(n, "channels_last");
	struct attr a[8];
	struct quant q[2];
	struct value *x, *y;
	int na = 0;

	if (!open(b, n, q, &x))
		return false;
	if (last)
		x = channels(b, x, false);
	for (int i = 0; i < n->nattr && na < 8; i++)
		if (strcmp(n->attr[i].name, "channels_last"))
			a[na++] = n->attr[i];
	x = x ? b_cast(b, x, DT_f64) : NULL;
	y = x ? b_op(b, OP_AveragePool, 1, &x, na, a) : NULL;
	y = y ? b_cast(b, y, DT_f32) : NULL;
	y = whole(b, b_add(b, b_div(b, y, q[1].scale), q[1].zero), q[1].type ? q[1].type : n->in[0]->dtype);
	return (outs[0] = last ? channels(b, y, true) : y) != NULL;
}

/* round((sum of (x - zero)) * (sx / (sy * count))) + zero of y, the sum exact */
bool
expand_QLinearGlobalAveragePool(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *sum;
	bool last = attr_int(n, "channels_last");
	int64_t axes[MAX_RANK], count = 1;
	struct quant q[2];

	if (x->rank < 3)
		return diag_invalid(b->diag, n->loc, "input of rank %d has no spatial axes", x->rank);
	for (int i = 0; i < x->rank - 2; i++) {
		axes[i] = i + (last ? 1 : 2);
		count = dim_mul(b->g, count, x->dims[axes[i]]);
	}
	if (!dim_const(count))
		return diag_unsupported(b->diag, n->loc, "an average over a symbolic size");
	if (!quant(b, n, 1, &q[0]) || !quant(b, n, 3, &q[1]))
		return false;
	sum = b_sub(b, b_cast(b, x, DT_i32), b_cast(b, q[0].zero, DT_i32));
	sum = b_reduce(b, OP_reduce_sum, sum, x->rank - 2, axes, true);
	sum = sum ? b_cast(b, sum, DT_f32) : NULL;
	sum = b_mul(b, sum, b_div(b, q[0].scale, b_muls(b, q[1].scale, (double)count)));
	return (outs[0] = steps(b, sum, &q[1], x->dtype)) != NULL;
}

/* ---- QLinearConcat: scale and zero of Y, then tensor, scale and zero of each operand.
 * What has the result's scale and zero point is copied. */
bool
expand_QLinearConcat(struct build *b, const struct node *n, struct value **outs)
{
	struct value **v = arena_array(b->g->arena, struct value *, n->nin);
	int k = (n->nin - 2) / 3, axis;
	struct quant q, y;

	if (n->nin < 5 || (n->nin - 2) % 3)
		return diag_invalid(b->diag, n->loc, "%d inputs; 2 and three for each operand are expected", n->nin);
	if (!quant(b, n, 0, &y))
		return false;
	for (int i = 0; i < k; i++) {
		if (!quant(b, n, 3 * i + 3, &q))
			return false;
		v[i] = quantised(b, real(b, n->in[3 * i + 2], &q), &y, n->in[2]->dtype);
		if (!v[i])
			return false;
	}
	axis = axis_normal(n, b->diag, attr_int(n, "axis"), v[0]->rank);
	return axis >= 0 && (outs[0] = b_concat(b, k, v, axis)) != NULL;
}

/* A, scale, zero, B, scale, zero (one or per column), C i32?, scale and zero of Y?: alpha *
 * op(A) op(B) + C in whole numbers; without a scale of Y real */
bool
expand_QGemm(struct build *b, const struct node *n, struct value **outs)
{
	struct value *in[4] = {n->in[0], n->in[3], n->in[2], n->in[5]}, *y, *s;
	struct quant q;

	if (n->in[0]->rank != 2 || n->in[3]->rank != 2)
		return diag_invalid(b->diag, n->loc, "operands of rank %d and %d", n->in[0]->rank, n->in[3]->rank);
	for (int i = 0; i < 2; i++)
		if (attr_int(n, i ? "transB" : "transA"))
			in[i] = b_transpose(b, in[i], (int64_t[]){1, 0});
	s = b_muls(b, b_mul(b, b_cast(b, n->in[1], DT_f32), b_cast(b, n->in[4], DT_f32)), attr_float(n, "alpha"));
	y = in[0] && in[1] ? b_op(b, OP_MatMulInteger, 4, in, 0, NULL) : NULL;
	if (ops_in(n, 6)) /* its steps are those of the product */
		y = b_add(b, y, b_cast(b, n->in[6], DT_i32));
	y = y && s ? b_cast(b, y, DT_f32) : NULL;
	if (!ops_in(n, 7))
		return (outs[0] = b_mul(b, y, s)) != NULL;
	if (!quant(b, n, 7, &q))
		return false;
	return (outs[0] = steps(b, b_mul(b, y, b_div(b, s, q.scale)), &q, n->in[0]->dtype)) != NULL;
}

/* condition, X, scale, zero, Y, scale, zero, scale and zero of Z */
bool
expand_QLinearWhere(struct build *b, const struct node *n, struct value **outs)
{
	struct quant q[3];
	struct value *x, *y;

	if (!quant(b, n, 2, &q[0]) || !quant(b, n, 5, &q[1]) || !quant(b, n, 7, &q[2]))
		return false;
	x = quantised(b, real(b, n->in[1], &q[0]), &q[2], n->in[1]->dtype);
	y = quantised(b, real(b, n->in[4], &q[1]), &q[2], n->in[1]->dtype);
	return (outs[0] = b_select(b, n->in[0], x, y)) != NULL;
}

/* the mean in whole steps of X over axes */
bool
expand_QLinearReduceMean(struct build *b, const struct node *n, struct value **outs)
{
	bool marked[MAX_RANK];
	int64_t axes[MAX_RANK];
	struct quant q[2];
	struct value *x;
	int k = 0;

	if (!open(b, n, q, &x) || !ops_axes(n, b->diag, x->rank, marked))
		return false;
	for (int i = 0; i < x->rank; i++)
		if (marked[i])
			axes[k++] = i;
	x = b_mean(b, x, k, axes, attr_int(n, "keepdims"));
	return (outs[0] = quantised(b, x, &q[1], n->in[0]->dtype)) != NULL;
}
