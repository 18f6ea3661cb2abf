/* sequence.c -- what models of sequences are made of: the causal convolution with
 * its state, gated units. */
#include <math.h>

#include "ir/ops/ops_int.h"

static struct value *
swish(struct build *b, struct value *x, double alpha)
{
	return b_mul(b, x, b1(b, OP_sigmoid, alpha == 1 ? x : b_muls(b, x, alpha)));
}

/* ---- SwiGLU: swish(a) * b */
bool
expand_SwiGLU(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = b_cast(b, n->in[0], n->in[0]->dtype == DT_f64 ? DT_f64 : DT_f32);
	struct value *y = x ? b_mul(b, swish(b, x, attr_float(n, "alpha")), b_cast(b, n->in[1], x->dtype)) : NULL;

	return y && (outs[0] = b_cast(b, y, n->in[0]->dtype)) != NULL;
}

/* ---- CausalConvWithState: input [B,C,L], weight [C,1,K], bias?, past_state? [B,C,K-1].
 * Depthwise over the state followed by the input; the new state is its end. */
bool
expand_CausalConvWithState(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *w = n->in[1], *past = ops_in(n, 3), *in[3], *y, *wide;
	const char *act = attr_string(n, "activation");
	bool silu = !strcmp(act, "silu") || !strcmp(act, "swish");
	int64_t k, dims[3], start[3] = {0}, step[3] = {1, 1, 1};
	struct attr group;

	if (x->rank != 3 || w->rank != 3 || w->dims[0] != x->dims[1] || w->dims[1] != 1 || w->dims[2] < 1)
		return diag_invalid(b->diag, n->loc, "input %s, weight %s", ops_dims_text(b->g, x->rank, x->dims),
		    ops_dims_text(b->g, w->rank, w->dims));
	if (!silu && strcmp(act, "none"))
		return diag_invalid(b->diag, n->loc, "activation \"%s\"", act);
	if (!ops_all_const(2, x->dims + 1))
		return diag_unsupported(b->diag, n->loc, "symbolic channels or length in %s", ops_dims_text(b->g, 3, x->dims));
	k = w->dims[2];
	dims[0] = x->dims[0];
	dims[1] = x->dims[1];
	dims[2] = k - 1;
	if (past && !dims_equal(past->rank, past->dims, 3, dims))
		return diag_invalid(b->diag, n->loc, "past_state %s; %s is expected",
		    ops_dims_text(b->g, past->rank, past->dims), ops_dims_text(b->g, 3, dims));
	if (!past)
		past = b_expand(b, b_scalar_like(b, x, 0), 3, dims);
	in[0] = past;
	in[1] = x;
	wide = k > 1 ? b_concat(b, 2, in, 2) : x;
	in[0] = wide;
	in[1] = w;
	in[2] = ops_in(n, 2);
	group = attr_of_int("group", x->dims[1]);
	if (!wide)
		return false;
	y = b_op(b, OP_Conv, in[2] ? 3 : 2, in, 1, &group);
	if (silu && y && dtype_info[x->dtype].bits < 32) {
		y = swish(b, b_cast(b, y, DT_f32), 1);
		y = y ? b_cast(b, y, x->dtype) : NULL;
	} else if (silu)
		y = swish(b, y, 1);
	start[2] = wide->dims[2] - (k - 1);
	if (ops_wants(n, 1) && !(outs[1] = b_slice(b, wide, start, dims, step)))
		return false;
	return (outs[0] = y) != NULL;
}
