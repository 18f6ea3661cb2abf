/* activation.c -- scalar functions of ONNX written in core, and softmax. */
#include <math.h>

#include "ir/ops/ops_int.h"

bool
expand_Identity(struct build *b, const struct node *n, struct value **outs)
{
	(void)b;
	outs[0] = n->in[0];
	return true;
}

/* max(x, 0) */
bool
expand_Relu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *zero = b_scalar_like(b, x, 0);

	outs[0] = b_max(b, x, zero);
	return outs[0] != NULL;
}

/* dx = dy where y > 0; 0 at x = 0, as PyTorch. */
bool
grad_Relu(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *y = n->out[0], *zero;

	if (!dout[0])
		return true;
	zero = b_scalar_like(b, y, 0);
	din[0] = b_select(b, b2(b, OP_lt, zero, y), dout[0], zero);
	return din[0] != NULL;
}

/* ---- softmax along one axis: exp(x - max) / sum */
static bool
softmax_axis(struct build *b, const struct node *n, int64_t *axis)
{
	int a = axis_normal(n, b->diag, attr_int(n, "axis"), n->in[0]->rank);

	*axis = a;
	return a >= 0;
}

bool
expand_Softmax(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *e;
	int64_t axis;

	if (!softmax_axis(b, n, &axis))
		return false;
	e = b_exp(b, b_sub(b, x, b_reduce(b, OP_reduce_max, x, 1, &axis, true)));
	outs[0] = b_div(b, e, b_reduce(b, OP_reduce_sum, e, 1, &axis, true));
	return outs[0] != NULL;
}

/* dx = y * (dy - sum(dy*y)) */
bool
grad_Softmax(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *y = n->out[0], *d = dout[0];
	int64_t axis;

	if (!d)
		return true;
	if (!softmax_axis(b, n, &axis))
		return false;
	din[0] = b_mul(b, y,
	    b_sub(b, d, b_reduce(b, OP_reduce_sum, b_mul(b, d, y), 1, &axis, true)));
	return din[0] != NULL;
}

/* x - max - log(sum(exp(x - max))) */
bool
expand_LogSoftmax(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *z;
	int64_t axis;

	if (!softmax_axis(b, n, &axis))
		return false;
	z = b_sub(b, x, b_reduce(b, OP_reduce_max, x, 1, &axis, true));
	outs[0] = b_sub(b, z, b_log(b, b_reduce(b, OP_reduce_sum, b_exp(b, z), 1, &axis, true)));
	return outs[0] != NULL;
}

/* dx = dy - exp(y) * sum(dy) */
bool
grad_LogSoftmax(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *d = dout[0];
	int64_t axis;

	if (!d)
		return true;
	if (!softmax_axis(b, n, &axis))
		return false;
	din[0] = b_sub(b, d,
	    b_mul(b, b_exp(b, n->out[0]), b_reduce(b, OP_reduce_sum, d, 1, &axis, true)));
	return din[0] != NULL;
}

/* ---- piecewise and smooth activations.  An exponential that select does not take
 * must not overflow, or its gradient is 0*inf: hence exp(min(x, 0)). */
static struct value *
positive(struct build *b, struct value *x)
{
	return b2(b, OP_lt, b_scalar_like(b, x, 0), x);
}

static struct value *
expm1_neg(struct build *b, struct value *x)
{
	return b_adds(b, b_exp(b, b_min(b, x, b_scalar_like(b, x, 0))), -1);
}

bool
expand_LeakyRelu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];

	outs[0] = b_select(b, positive(b, x), x, b_muls(b, x, attr_float(n, "alpha")));
	return outs[0] != NULL;
}

bool
expand_PRelu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];

	outs[0] = b_select(b, positive(b, x), x, b_mul(b, x, n->in[1]));
	return outs[0] != NULL;
}

bool
expand_Elu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];

	outs[0] = b_select(
	    b, positive(b, x), x, b_muls(b, expm1_neg(b, x), attr_float(n, "alpha")));
	return outs[0] != NULL;
}

bool
expand_Selu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	double gamma = attr_float(n, "gamma");

	outs[0] = b_select(b, positive(b, x), b_muls(b, x, gamma),
	    b_muls(b, expm1_neg(b, x), gamma * attr_float(n, "alpha")));
	return outs[0] != NULL;
}

/* x > 0 ? x : alpha*(exp(x/alpha) - 1) */
bool
expand_Celu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	double alpha = attr_float(n, "alpha");

	if (alpha == 0)
		return diag_invalid(b->diag, n->loc, "alpha is 0");
	outs[0] = b_select(
	    b, positive(b, x), x, b_muls(b, expm1_neg(b, b_muls(b, x, 1 / alpha)), alpha));
	return outs[0] != NULL;
}

bool
expand_ThresholdedRelu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];

	outs[0] = b_select(b, b2(b, OP_lt, b_scalar_like(b, x, attr_float(n, "alpha")), x), x,
	    b_scalar_like(b, x, 0));
	return outs[0] != NULL;
}

/* x < -lambd: x + bias; x > lambd: x - bias; else 0 */
bool
expand_Shrink(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	double lambd = attr_float(n, "lambd"), bias = attr_float(n, "bias");
	struct value *low = b2(b, OP_lt, x, b_scalar_like(b, x, -lambd));
	struct value *high = b2(b, OP_lt, b_scalar_like(b, x, lambd), x);

	outs[0] = b_select(b, low, b_adds(b, x, bias),
	    b_select(b, high, b_adds(b, x, -bias), b_scalar_like(b, x, 0)));
	return outs[0] != NULL;
}

static struct value *
hard_sigmoid(struct build *b, struct value *x, double alpha, double beta)
{
	struct value *y = b_adds(b, b_muls(b, x, alpha), beta);

	return b_min(b, b_max(b, y, b_scalar_like(b, x, 0)), b_scalar_like(b, x, 1));
}

bool
expand_HardSigmoid(struct build *b, const struct node *n, struct value **outs)
{
	outs[0] = hard_sigmoid(b, n->in[0], attr_float(n, "alpha"), attr_float(n, "beta"));
	return outs[0] != NULL;
}

bool
expand_HardSwish(struct build *b, const struct node *n, struct value **outs)
{
	outs[0] = b_mul(b, n->in[0], hard_sigmoid(b, n->in[0], 1.0 / 6, 0.5));
	return outs[0] != NULL;
}

/* dx = 0 below -3, x/3 + 1/2 from -3 to 3, 1 above: the ends belong to the middle, as
 * torch.nn.functional.hardswish has them. */
bool
grad_HardSwish(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *three, *slope;

	if (!dout[0])
		return true;
	three = b_scalar_like(b, x, 3);
	slope = b_select(b, b2(b, OP_le, x, three), b_adds(b, b_muls(b, x, 1.0 / 3), 0.5), b_scalar_like(b, x, 1));
	slope = b_select(b, b2(b, OP_lt, x, b_neg(b, three)), b_scalar_like(b, x, 0), slope);
	din[0] = b_mul(b, dout[0], slope);
	return din[0] != NULL;
}

/* max(x, 0) + log(1 + exp(-|x|)) */
bool
expand_Softplus(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];

	outs[0] = b_add(b, b_max(b, x, b_scalar_like(b, x, 0)),
	    b1(b, OP_log1p, b_exp(b, b_neg(b, b1(b, OP_abs, x)))));
	return outs[0] != NULL;
}

bool
grad_Softplus(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	if (!dout[0])
		return true;
	din[0] = b_mul(b, dout[0], b1(b, OP_sigmoid, n->in[0]));
	return din[0] != NULL;
}

bool
expand_Softsign(struct build *b, const struct node *n, struct value **outs)
{
	outs[0] = b_div(b, n->in[0], b_adds(b, b1(b, OP_abs, n->in[0]), 1));
	return outs[0] != NULL;
}

/* x/2 * (1 + erf(x/sqrt 2)), or x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) */
bool
expand_Gelu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *t;
	const char *how = attr_string(n, "approximate");

	if (strcmp(how, "tanh") == 0) {
		t = b_adds(b, b_muls(b, b_mul(b, x, x), 0.044715), 1);
		t = b1(b, OP_tanh, b_muls(b, b_mul(b, x, t), M_2_SQRTPI * M_SQRT1_2));
	} else if (strcmp(how, "none") == 0)
		t = b1(b, OP_erf, b_muls(b, x, M_SQRT1_2));
	else
		return diag_invalid(b->diag, n->loc, "approximate is \"%s\"; none or tanh is expected", how);
	outs[0] = b_mul(b, b_muls(b, x, 0.5), b_adds(b, t, 1));
	return outs[0] != NULL;
}

bool
expand_Mish(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];

	outs[0] = b_mul(b, x, b1(b, OP_tanh, b1(b, OP_Softplus, x)));
	return outs[0] != NULL;
}

bool
expand_Swish(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];

	outs[0] = b_mul(b, x, b1(b, OP_sigmoid, b_muls(b, x, attr_float(n, "alpha"))));
	return outs[0] != NULL;
}

/* min(max(x, lo), hi), either bound optional */
bool
expand_Clip(struct build *b, const struct node *n, struct value **outs)
{
	struct value *y = n->in[0], *lo = ops_in(n, 1), *hi = ops_in(n, 2);

	if (lo)
		y = b_max(b, y, lo);
	if (hi)
		y = b_min(b, y, hi);
	outs[0] = y;
	return y != NULL;
}

/* 1 at the first maximum along axis, else 0 */
bool
expand_Hardmax(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *at;
	int64_t axis;
	struct attr a[2];

	if (!softmax_axis(b, n, &axis))
		return false;
	a[0] = attr_of_int("axis", axis);
	a[1] = attr_of_int("keep", 1);
	at = b_op(b, OP_argmax, 1, &x, 2, a);
	at = b2(b, OP_eq, b_iota(b, DT_i64, x->rank, x->dims, (int)axis), at);
	outs[0] = at ? b_cast(b, at, x->dtype) : NULL;
	return outs[0] != NULL;
}
