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
