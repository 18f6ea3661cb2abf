/* training.c -- the optimisers of ai.onnx.preview.training.  Operands are R (learning
 * rate), T (updates so far), then n tensors X, n gradients G and n of each state;
 * results are n new X and n of each new state. */
#include "ir/ops/ops_int.h"

/* How many tensors n trains when each has `per` operands and per - 1 results; 0: reported. */
static int
tensors(struct build *b, const struct node *n, int per)
{
	int k = (n->nin - 2) / per;

	if (k < 1 || n->nin != 2 + per * k || n->nout != (per - 1) * k) {
		diag_invalid(b->diag, n->loc,
		    "%d operands and %d results; R, T and %d operands with %d results for each tensor are expected",
		    n->nin, n->nout, per, per - 1);
		return 0;
	}
	if (n->in[0]->rank != 0 || n->in[1]->rank != 0 || !dtype_is_float(n->in[0]->dtype) || !dtype_is_int(n->in[1]->dtype)) {
		diag_invalid(b->diag, n->loc, "R must be a float and T an integer, both scalars");
		return 0;
	}
	for (int i = 0; i < k; i++)
		for (int j = 1; j < per; j++) {
			const struct value *x = n->in[2 + i], *y = n->in[2 + j * k + i];

			if (x->dtype != y->dtype || !dims_equal(x->rank, x->dims, y->rank, y->dims)) {
				diag_invalid(b->diag, n->loc, "operand %d is %s, its tensor %s", 2 + j * k + i,
				    value_type_text(b->g, y), value_type_text(b->g, x));
				return 0;
			}
		}
	return k;
}

/* G + norm_coefficient X */
static struct value *
regular(struct build *b, const struct node *n, struct value *x, struct value *g)
{
	double c = attr_float(n, "norm_coefficient");

	return c == 0 ? g : b_add(b, b_muls(b, x, c), g);
}

/* R as x's type */
static struct value *
rate(struct build *b, struct value *r, const struct value *x)
{
	return r ? b_cast(b, r, x->dtype) : NULL;
}

static struct value *
first_update(struct build *b, const struct node *n)
{
	return b2(b, OP_le, n->in[1], b_scalar_like(b, n->in[1], 0));
}

/* r = R / (1 + T decay);  H' = H + G^2;  X' = X - r G / (sqrt(H') + eps) */
bool
expand_Adagrad(struct build *b, const struct node *n, struct value **outs)
{
	int k = tensors(b, n, 3);
	struct value *r = n->in[0];

	r = b_div(b, r, b_adds(b, b_muls(b, b_cast(b, n->in[1], r->dtype), attr_float(n, "decay_factor")), 1));
	for (int i = 0; i < k; i++) {
		struct value *x = n->in[2 + i], *g = regular(b, n, x, n->in[2 + k + i]), *h = n->in[2 + 2 * k + i], *y;

		h = b_add(b, h, b_mul(b, g, g));
		y = b_div(b, b_mul(b, rate(b, r, x), g), b_adds(b, b_sqrt(b, h), attr_float(n, "epsilon")));
		if (!(y = b_sub(b, x, y)))
			return false;
		outs[i] = y;
		outs[k + i] = h;
	}
	return k > 0;
}

/* V' = alpha V + (1-alpha) G;  H' = beta H + (1-beta) G^2;  r = R sqrt(1-beta^T)/(1-alpha^T)
 * unless T = 0;  X' = (1 - norm_coefficient_post)(X - r V'/(sqrt(H') + eps)) */
bool
expand_Adam(struct build *b, const struct node *n, struct value **outs)
{
	double alpha = attr_float(n, "alpha"), beta = attr_float(n, "beta");
	double post = attr_float(n, "norm_coefficient_post");
	int k = tensors(b, n, 4);
	struct value *t, *one, *r;

	if (!k)
		return false;
	t = b_cast(b, n->in[1], DT_f64);
	one = b_scalar(b, DT_f64, 1);
	r = b_sqrt(b, b_sub(b, one, b2(b, OP_pow, b_scalar(b, DT_f64, beta), t)));
	r = b_div(b, r, b_sub(b, one, b2(b, OP_pow, b_scalar(b, DT_f64, alpha), t)));
	r = b_mul(b, b_cast(b, n->in[0], DT_f64), b_select(b, first_update(b, n), one, r));
	for (int i = 0; i < k; i++) {
		struct value *x = n->in[2 + i], *g = regular(b, n, x, n->in[2 + k + i]);
		struct value *v = n->in[2 + 2 * k + i], *h = n->in[2 + 3 * k + i], *y;

		v = b_add(b, b_muls(b, v, alpha), b_muls(b, g, 1 - alpha));
		h = b_add(b, b_muls(b, h, beta), b_muls(b, b_mul(b, g, g), 1 - beta));
		y = b_div(b, b_mul(b, rate(b, r, x), v), b_adds(b, b_sqrt(b, h), attr_float(n, "epsilon")));
		y = b_sub(b, x, y);
		if (post != 0)
			y = b_muls(b, y, 1 - post);
		if (!y)
			return false;
		outs[i] = y;
		outs[k + i] = v;
		outs[2 * k + i] = h;
	}
	return true;
}

/* V' = alpha V + beta G, beta 1 at T = 0;  X' = X - R V' or, nesterov, X - R (G + alpha V') */
bool
expand_Momentum(struct build *b, const struct node *n, struct value **outs)
{
	double alpha = attr_float(n, "alpha"), beta = attr_float(n, "beta");
	bool nesterov = !strcmp(attr_string(n, "mode"), "nesterov");
	int k = tensors(b, n, 3);
	struct value *bt;

	if (!k)
		return false;
	if (!nesterov && strcmp(attr_string(n, "mode"), "standard"))
		return diag_invalid(b->diag, n->loc, "mode \"%s\"; standard or nesterov is expected", attr_string(n, "mode"));
	bt = b_select(b, first_update(b, n), b_scalar_like(b, n->in[0], 1), b_scalar_like(b, n->in[0], beta));
	for (int i = 0; i < k; i++) {
		struct value *x = n->in[2 + i], *g = regular(b, n, x, n->in[2 + k + i]), *v = n->in[2 + 2 * k + i], *y;

		v = b_add(b, b_muls(b, v, alpha), b_mul(b, rate(b, bt, x), g));
		y = nesterov ? b_add(b, g, b_muls(b, v, alpha)) : v;
		if (!(y = b_sub(b, x, b_mul(b, rate(b, n->in[0], x), y))))
			return false;
		outs[i] = y;
		outs[k + i] = v;
	}
	return true;
}
