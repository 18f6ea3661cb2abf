/* quantize.c -- linear quantisation: real = (whole - zero) * scale. */
#include <math.h>

#include "ir/ops/ops_int.h"

static void
limits(enum dtype t, double *lo, double *hi)
{
	int bits = dtype_info[t].bits;
	bool uns = dtype_info[t].class == DC_UINT;

	*lo = uns ? 0 : -ldexp(1, bits - 1);
	*hi = ldexp(1, uns ? bits : bits - 1) - 1;
}

/* Scale or zero point s for x: one number, one per element along axis, or one per
 * block of block_size along axis. */
static struct value *
spread(struct build *b, const struct node *n, struct value *s, const struct value *x)
{
	int64_t dims[MAX_RANK + 1], start[MAX_RANK], step[MAX_RANK], block = attr_int(n, "block_size");
	int axis, k = 0;

	if (!s || s->rank == 0 || (s->rank == 1 && s->dims[0] == 1))
		return s ? b_reshape(b, s, 0, NULL) : NULL;
	if ((axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank)) < 0)
		return NULL;
	if (s->rank == 1 && s->dims[0] == x->dims[axis]) {
		for (int i = axis; i < x->rank; i++)
			dims[k++] = i == axis ? x->dims[axis] : 1;
		return b_reshape(b, s, k, dims);
	}
	if (block < 1 || s->rank != x->rank || x->rank >= MAX_RANK || !dim_const(s->dims[axis]) ||
	    !dim_const(x->dims[axis]) || block > INT32_MAX || s->dims[axis] != (x->dims[axis] + block - 1) / block) {
		diag_invalid(b->diag, n->loc, "scale or zero point %s for %s along axis %d",
		    ops_dims_text(b->g, s->rank, s->dims), ops_dims_text(b->g, x->rank, x->dims), axis);
		return NULL;
	}
	for (int i = 0; i <= x->rank; i++)
		dims[i] = i == axis + 1 ? 1 : s->dims[i - (i > axis)];
	s = b_reshape(b, s, x->rank + 1, dims);
	dims[axis + 1] = block;
	s = b_expand(b, s, x->rank + 1, dims);
	memcpy(dims, x->dims, sizeof *dims * (size_t)x->rank);
	dims[axis] = s ? s->dims[axis] * block : 0;
	s = b_reshape(b, s, x->rank, dims);
	for (int i = 0; i < x->rank; i++)
		start[i] = 0, step[i] = 1;
	return s && dims[axis] != x->dims[axis] ? b_slice(b, s, start, x->dims, step) : s; /* the last may be shorter */
}

/* x / scale in the type of `precision`, by default the scale's */
static struct value *
quotient(struct build *b, const struct node *n, struct value *x, struct value *scale)
{
	int64_t to = attr_int(n, "precision");
	enum dtype t = to < 0 || to > INT32_MAX ? DT_none : to ? dtype_from_onnx((int)to) : n->in[1]->dtype;

	if (!dtype_is_float(t)) {
		diag_invalid(b->diag, n->loc, "precision %lld, scale of %s", (long long)to,
		    dtype_info[n->in[1]->dtype].name);
		return NULL;
	}
	t = dtype_info[t].bits < 16 ? DT_f32 : t;
	x = b_div(b, b_cast(b, x, t), scale ? ops_cast(b, scale, t, true, "up") : NULL);
	return x ? b_cast(b, x, DT_f32) : NULL;
}

/* saturate(round(x / scale) + zero), round half to even */
bool
expand_QuantizeLinear(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *scale = spread(b, n, n->in[1], x), *zero = ops_in(n, 2), *y;
	int64_t to = attr_int(n, "output_dtype");
	enum dtype t = zero ? zero->dtype : to ? dtype_from_onnx((int)to) : DT_u8;
	double lo, hi;

	if (dtype_is_float(t) && dtype_info[t].bits < 16) { /* the cast rounds */
		y = quotient(b, n, x, scale);
		if (zero)
			y = b_add(b, y, spread(b, n, ops_cast(b, zero, DT_f32, true, "up"), x));
		return (outs[0] = ops_cast(b, y, t, attr_int(n, "saturate"), "up")) != NULL;
	}
	if (!dtype_is_int(t))
		return diag_unsupported(b->diag, n->loc, "quantisation to %s", dtype_info[t].name);
	limits(t, &lo, &hi);
	y = quotient(b, n, x, scale);
	y = y ? b1(b, OP_round, y) : NULL;
	if (zero)
		y = b_add(b, y, spread(b, n, ops_cast(b, zero, DT_f32, true, "up"), n->in[0]));
	y = b_min(b, b_max(b, y, b_scalar(b, DT_f32, lo)), b_scalar(b, DT_f32, hi));
	return (outs[0] = ops_cast(b, y, t, true, "up")) != NULL;
}

bool
expand_DequantizeLinear(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *scale = spread(b, n, n->in[1], x), *zero = ops_in(n, 2), *y;
	int64_t to = attr_int(n, "output_dtype");
	enum dtype t = to ? dtype_from_onnx((int)to) : n->in[1]->dtype;

	if (!dtype_is_float(t))
		return diag_invalid(b->diag, n->loc, "dequantisation to %s", dtype_info[t].name);
	y = ops_cast(b, x, DT_f32, true, "up");
	if (zero)
		y = b_sub(b, y, spread(b, n, ops_cast(b, zero, DT_f32, true, "up"), x));
	y = b_mul(b, y, scale ? ops_cast(b, scale, DT_f32, true, "up") : NULL);
	return (outs[0] = y ? b_cast(b, y, t) : NULL) != NULL;
}

/* u8 over the range of x with 0 in it: scale = (max - min)/255, zero = round(-min/scale) */
bool
expand_DynamicQuantizeLinear(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *zero = b_scalar_like(b, x, 0), *top = b_scalar_like(b, x, 255);
	struct value *lo = b_min(b, b_reduce_all(b, OP_reduce_min, x), zero);
	struct value *hi = b_max(b, b_reduce_all(b, OP_reduce_max, x), zero);
	struct value *scale = b_div(b, b_sub(b, hi, lo), top), *zp, *y;

	zp = b1(b, OP_round, b_min(b, b_max(b, b_div(b, b_sub(b, zero, lo), scale), zero), top));
	y = b_add(b, b1(b, OP_round, b_div(b, x, scale)), zp);
	y = b_min(b, b_max(b, y, zero), top);
	if (!y)
		return false;
	outs[0] = b_cast(b, y, DT_u8);
	if (ops_wants(n, 1))
		outs[1] = scale;
	if (ops_wants(n, 2))
		outs[2] = b_cast(b, zp, DT_u8);
	return outs[0] != NULL;
}

/* whole numbers less their zero point, which is one number or one per row (a) or column (b) */
static struct value *
centred(struct build *b, struct value *x, struct value *zero, bool row)
{
	if (!x || !(x = b_cast(b, x, DT_i32)))
		return NULL;
	if (!zero)
		return x;
	zero = b_cast(b, zero, DT_i32);
	if (zero && row && zero->rank == 1 && zero->dims[0] != 1)
		zero = b_unsqueeze(b, zero, 1);
	return b_sub(b, x, zero);
}

bool
expand_MatMulInteger(struct build *b, const struct node *n, struct value **outs)
{
	outs[0] = ops_matmul(b, centred(b, n->in[0], ops_in(n, 2), true),
	    centred(b, n->in[1], ops_in(n, 3), false));
	return outs[0] != NULL;
}

/* a, scale, zero; b, scale, zero; scale and zero of y.  Scales and zero points: one, or
 * one per row of a, per column of b. */
bool
expand_QLinearMatMul(struct build *b, const struct node *n, struct value **outs)
{
	struct value *in[4] = {n->in[0], n->in[3], n->in[2], n->in[5]}, *y, *sa = n->in[1], *sb = n->in[4], *q[3];

	y = b_op(b, OP_MatMulInteger, 4, in, 0, NULL);
	sa = b_cast(b, sa, DT_f32);
	sb = b_cast(b, sb, DT_f32);
	if (!y || !sa || !sb)
		return false;
	if (sa->rank == 1 && sa->dims[0] != 1)
		sa = b_unsqueeze(b, sa, 1);
	q[0] = b_mul(b, b_mul(b, b_cast(b, y, DT_f32), sa), sb);
	q[1] = n->in[6];
	q[2] = n->in[7];
	return q[0] && (outs[0] = b_op(b, OP_QuantizeLinear, 3, q, 0, NULL)) != NULL;
}

/* in float where it holds every sum exactly (products are below 2^16), else in double */
bool
expand_ConvInteger(struct build *b, const struct node *n, struct value **outs)
{
	struct value *in[2], *zx = ops_in(n, 2), *zw = ops_in(n, 3), *y;
	int64_t dims[MAX_RANK], taps = 1;
	struct attr a[8];
	int na = 0;

	if (n->in[0]->rank < 3 || n->in[1]->rank != n->in[0]->rank)
		return diag_invalid(b->diag, n->loc, "input of rank %d, weights of rank %d", n->in[0]->rank,
		    n->in[1]->rank);
	if (zx)
		zx = b_reshape(b, zx, 0, NULL);
	if (zw) {
		for (int i = 0; i < n->in[1]->rank; i++)
			dims[i] = i == 0 ? (zw->rank ? zw->dims[0] : 1) : 1;
		zw = b_reshape(b, zw, n->in[1]->rank, dims);
	}
	in[0] = centred(b, n->in[0], zx, false);
	in[1] = centred(b, n->in[1], zw, false);
	if (!in[0] || !in[1])
		return false;
	for (int i = 1; i < in[1]->rank; i++)
		taps = dim_const(in[1]->dims[i]) && taps < 256 ? taps * in[1]->dims[i] : 256;
	in[0] = b_cast(b, in[0], taps < 256 ? DT_f32 : DT_f64);
	in[1] = b_cast(b, in[1], taps < 256 ? DT_f32 : DT_f64);
	for (int i = 0; i < n->nattr && na < 8; i++)
		a[na++] = n->attr[i];
	y = b_op(b, OP_Conv, 2, in, na, a);
	return (outs[0] = y ? b_cast(b, y, DT_i32) : NULL) != NULL;
}

/* v, one number or one per channel, to broadcast with [N,C,spatial...] */
static struct value *
by_channel(struct build *b, const struct node *n, struct value *v, const struct value *y)
{
	int64_t dims[MAX_RANK];

	if (!v || !y || v->rank == 0)
		return v;
	for (int i = 0; i < y->rank - 1; i++)
		dims[i] = i == 0 ? v->dims[0] : 1;
	if (v->rank != 1 || (v->dims[0] != 1 && v->dims[0] != y->dims[1])) {
		diag_invalid(b->diag, n->loc, "operand %s for %s channels", ops_dims_text(b->g, v->rank, v->dims),
		    dim_text(b->g, y->dims[1]));
		return NULL;
	}
	return b_reshape(b, v, y->rank - 1, dims);
}

/* x, scale, zero; w, scale, zero (of a channel each or one); scale and zero of y; B?, whole
 * numbers in units of x_scale * w_scale */
bool
expand_QLinearConv(struct build *b, const struct node *n, struct value **outs)
{
	struct value *in[4] = {n->in[0], n->in[3], n->in[2], n->in[5]}, *q[3], *y, *scale, *bias = ops_in(n, 8);

	y = b_op(b, OP_ConvInteger, 4, in, n->nattr, n->attr);
	if (y && bias)
		y = b_add(b, y, by_channel(b, n, b_cast(b, bias, DT_i32), y));
	scale = by_channel(b, n, b_cast(b, n->in[4], DT_f32), y);
	scale = b_mul(b, b_reshape(b, b_cast(b, n->in[1], DT_f32), 0, NULL), scale);
	q[0] = y ? b_mul(b, b_cast(b, y, DT_f32), scale) : NULL;
	q[1] = n->in[6];
	q[2] = n->in[7];
	return q[0] && (outs[0] = b_op(b, OP_QuantizeLinear, 3, q, 0, NULL)) != NULL;
}
