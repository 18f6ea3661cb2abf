/* math.c -- arithmetic of ONNX over the core's: variadic, tests, casts, scans. */
#include <math.h>

#include "ir/ops/ops_int.h"

static struct value *
chain(struct build *b, enum op op, const struct node *n)
{
	struct value *y = n->in[0];

	for (int i = 1; i < n->nin; i++)
		y = b2(b, op, y, n->in[i]);
	return y;
}

bool
expand_Sum(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = chain(b, OP_add, n)) != NULL;
}

bool
expand_Max(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = chain(b, OP_max, n)) != NULL;
}

bool
expand_Min(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = chain(b, OP_min, n)) != NULL;
}

/* Operands that tie share the gradient evenly, as torch.maximum. */
static bool
grad_ties(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *hit[2], *share, *count = NULL, *y = n->out[0];

	if (!dout[0])
		return true;
	if (n->nin == 1)
		return (din[0] = dout[0]) != NULL;
	for (int i = 0; i < n->nin; i++) {
		hit[0] = b_cast(b, b2(b, OP_eq, n->in[i], y), y->dtype);
		count = count ? b_add(b, count, hit[0]) : hit[0];
	}
	share = b_div(b, dout[0], count);
	for (int i = 0; i < n->nin; i++) {
		hit[0] = b2(b, OP_eq, n->in[i], y);
		hit[1] = b_select(b, hit[0], share, b_scalar_like(b, y, 0));
		if (!hit[1] || !(din[i] = b_unbroadcast(b, hit[1], n->in[i])))
			return false;
	}
	return true;
}

bool
grad_Max(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	return grad_ties(b, n, dout, din);
}

bool
grad_Min(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	return grad_ties(b, n, dout, din);
}

bool
expand_Mean(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = b_muls(b, chain(b, OP_add, n), 1.0 / n->nin)) != NULL;
}

bool
expand_Greater(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = b2(b, OP_lt, n->in[1], n->in[0])) != NULL;
}

bool
expand_GreaterOrEqual(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = b2(b, OP_le, n->in[1], n->in[0])) != NULL;
}

bool
expand_Reciprocal(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = b_div(b, b_scalar_like(b, n->in[0], 1), n->in[0])) != NULL;
}

/* fmod 1: the dividend's sign; fmod 0: the divisor's. */
bool
expand_Mod(struct build *b, const struct node *n, struct value **outs)
{
	struct value *a = n->in[0], *c = n->in[1], *zero = b_scalar_like(b, a, 0), *r, *apart;

	r = b2(b, OP_fmod, a, c);
	if (!attr_int(n, "fmod")) {
		apart = b2(b, OP_xor, b2(b, OP_lt, r, zero), b2(b, OP_lt, c, zero));
		apart = b2(b, OP_and, apart, b1(b, OP_not, b2(b, OP_eq, r, zero)));
		r = b_select(b, apart, b_add(b, r, c), r);
	}
	return (outs[0] = r) != NULL;
}

bool
expand_IsInf(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *hi, *lo;
	bool up = attr_int(n, "detect_positive"), down = attr_int(n, "detect_negative");

	hi = b2(b, OP_eq, x, b_scalar_like(b, x, INFINITY));
	lo = b2(b, OP_eq, x, b_scalar_like(b, x, -INFINITY));
	if (up && down)
		outs[0] = b2(b, OP_or, hi, lo);
	else if (up || down)
		outs[0] = up ? hi : lo;
	else
		outs[0] = b2(b, OP_and, hi, lo);
	return outs[0] != NULL;
}

bool
expand_BitShift(struct build *b, const struct node *n, struct value **outs)
{
	const char *dir = attr_string(n, "direction");

	if (strcmp(dir, "LEFT") && strcmp(dir, "RIGHT"))
		return diag_invalid(b->diag, n->loc, "direction is \"%s\"; LEFT or RIGHT is expected", dir);
	outs[0] = b2(b, dir[0] == 'L' ? OP_shl : OP_shr, n->in[0], n->in[1]);
	return outs[0] != NULL;
}

bool
expand_Cast(struct build *b, const struct node *n, struct value **outs)
{
	int64_t to = attr_int(n, "to");
	enum dtype t = to < 0 || to > INT32_MAX ? DT_none : dtype_from_onnx((int)to);

	if (t == DT_none)
		return diag_invalid(b->diag, n->loc, "cast to unknown element type %lld", (long long)to);
	return (outs[0] = ops_cast(b, n->in[0], t, attr_int(n, "saturate"), attr_string(n, "round_mode"))) != NULL;
}

bool
expand_CastLike(struct build *b, const struct node *n, struct value **outs)
{
	outs[0] = ops_cast(b, n->in[0], n->in[1]->dtype, attr_int(n, "saturate"), attr_string(n, "round_mode"));
	return outs[0] != NULL;
}

/* Along one axis a running sum is a product with a triangle of ones:
 * y[j] = sum over i <= j of x[i]; exclusive: i < j; reverse: i >= j. */
bool
expand_CumSum(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *from, *to, *t;
	bool exclusive = attr_int(n, "exclusive"), reverse = attr_int(n, "reverse");
	char spec[2 * MAX_RANK + 8];
	int64_t axis, dims[2];
	int a, k = 0;

	if (!ops_int(b, n, 1, &axis) || (a = axis_normal(n, b->diag, axis, x->rank)) < 0)
		return false;
	dims[0] = dims[1] = x->dims[a];
	from = b_iota(b, DT_i64, 2, dims, reverse ? 1 : 0);
	to = b_iota(b, DT_i64, 2, dims, reverse ? 0 : 1);
	t = b2(b, exclusive ? OP_lt : OP_le, from, to);
	t = t ? b_cast(b, t, x->dtype) : NULL;
	for (int i = 0; i < x->rank; i++)
		spec[k++] = (char)('a' + i);
	k += sprintf(spec + k, ",%cz->", 'a' + a);
	for (int i = 0; i < x->rank; i++)
		spec[k++] = i == a ? 'z' : (char)('a' + i);
	spec[k] = 0;
	return (outs[0] = b_contract(b, spec, x, t)) != NULL;
}
