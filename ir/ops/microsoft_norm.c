/* microsoft_norm.c -- com.microsoft: the Gelu family and normalisations with what
 * transformers add before and after them. */
#include <math.h>

#include "ir/ops/ops_int.h"

static struct value *
gelu(struct build *b, struct value *x, const char *how)
{
	struct attr a = {.name = "approximate", .kind = ATTR_STRING, .s = how};

	return x ? b_op(b, OP_Gelu, 1, &x, 1, &a) : NULL;
}

bool
expand_MsGelu(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = gelu(b, n->in[0], "none")) != NULL;
}

/* the tanh form of x + bias */
bool
expand_FastGelu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = ops_in(n, 1) ? b_add(b, n->in[0], n->in[1]) : n->in[0];

	return (outs[0] = gelu(b, x, "tanh")) != NULL;
}

bool
expand_BiasGelu(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = gelu(b, b_add(b, n->in[0], n->in[1]), "none")) != NULL;
}

/* x * sigmoid(alpha x) */
bool
expand_QuickGelu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];

	return (outs[0] = b_mul(b, x, b1(b, OP_sigmoid, b_muls(b, x, attr_float(n, "alpha"))))) != NULL;
}
