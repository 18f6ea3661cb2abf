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

/* ---- normalisations of what was added first */
/* LayerNormalization (or RMS, beta NULL) of x over its last axis; rstd may be NULL. */
static struct value *
layer_norm(struct build *b, const struct node *n, struct value *x, struct value *gamma, struct value *beta,
    struct value **mean, struct value **rstd)
{
	struct value *in[3] = {x, gamma, beta};
	struct attr a[2] = {attr_of_float("epsilon", attr_float(n, "epsilon")), attr_of_int("axis", -1)};
	struct node *made = x && gamma ? b_node(b, OP_LayerNormalization, beta ? 3 : 2, in, 3, 2, a) : NULL;

	if (!made)
		return NULL;
	if (mean)
		*mean = made->out[1];
	if (rstd)
		*rstd = made->out[2];
	return made->out[0];
}

/* x * rstd * scale, rstd = 1/sqrt(mean(x^2) + eps) over the axes from `axis` on, in f32 */
static struct value *
rms_norm(struct build *b, const struct node *n, struct value *x, struct value *scale, int axis, struct value **rstd)
{
	int64_t axes[MAX_RANK];
	struct value *wide = x ? b_cast(b, x, x->dtype == DT_f64 ? DT_f64 : DT_f32) : NULL, *r, *y;
	int k = 0;

	for (int i = axis; x && i < x->rank; i++)
		axes[k++] = i;
	r = b1(b, OP_rsqrt, b_adds(b, b_mean(b, b_mul(b, wide, wide), k, axes, true), attr_float(n, "epsilon")));
	if (rstd)
		*rstd = r;
	y = b_mul(b, wide, r);
	return y ? b_mul(b, b_cast(b, y, scale->dtype), scale) : NULL;
}

/* input + skip (+ bias); skip may lack the batch */
static struct value *
skip_sum(struct build *b, const struct node *n, int bias)
{
	struct value *x = b_add(b, n->in[0], n->in[1]);

	if (ops_in(n, bias))
		x = b_add(b, x, n->in[bias]);
	if (x && !dims_equal(x->rank, x->dims, n->in[0]->rank, n->in[0]->dims)) {
		diag_invalid(b->diag, n->loc, "skip %s does not broadcast to %s",
		    ops_dims_text(b->g, n->in[1]->rank, n->in[1]->dims),
		    ops_dims_text(b->g, n->in[0]->rank, n->in[0]->dims));
		return NULL;
	}
	return x;
}

/* input, skip, gamma, beta?, bias? -> y, mean, 1/sqrt(var + eps), the sum */
bool
expand_SkipLayerNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = skip_sum(b, n, 4), *mean, *rstd;

	if (!(outs[0] = layer_norm(b, n, x, n->in[2], ops_in(n, 3), &mean, &rstd)))
		return false;
	if (ops_wants(n, 1))
		outs[1] = mean;
	if (ops_wants(n, 2))
		outs[2] = rstd;
	if (ops_wants(n, 3))
		outs[3] = x;
	return true;
}

/* input, skip, gamma, bias? -> y, the mean, 1/sqrt(mean square + eps), the sum */
bool
expand_SkipSimplifiedLayerNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = skip_sum(b, n, 3), *rstd;
	int64_t last;

	if (!x || !(outs[0] = rms_norm(b, n, x, n->in[2], x->rank - 1, &rstd)))
		return false;
	last = x->rank - 1;
	if (ops_wants(n, 1) && !(outs[1] = b_mean(b, b_cast(b, x, rstd->dtype), 1, &last, true)))
		return false;
	if (ops_wants(n, 2))
		outs[2] = rstd;
	if (ops_wants(n, 3))
		outs[3] = x;
	return true;
}

bool
expand_SimplifiedLayerNormalization(struct build *b, const struct node *n, struct value **outs)
{
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), n->in[0]->rank);
	struct value *rstd;

	if (axis < 0 || !(outs[0] = rms_norm(b, n, n->in[0], n->in[1], axis, &rstd)))
		return false;
	if (ops_wants(n, 1))
		outs[1] = rstd;
	return true;
}

/* input_ids [B,S], segment_ids?, the tables of words, positions and segments?, gamma, beta,
 * mask?, position_ids? -> y [B,S,H], how many of each mask row are 1, the sum of embeddings */
bool
expand_EmbedLayerNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *ids = n->in[0], *mask = ops_in(n, 7), *at = ops_in(n, 8), *x, *p;
	int64_t axis = 1, row[2];

	if (n->nin < 7)
		return diag_invalid(b->diag, n->loc, "%d inputs; at least 7 are expected", n->nin);
	for (int i = 2; i < 7; i++)
		if (i != 4 && !n->in[i])
			return diag_invalid(b->diag, n->loc, "input %d is left out, but it is not optional", i);
	if (ids->rank != 2 || n->in[2]->rank != 2 || n->in[3]->rank != 2)
		return diag_invalid(b->diag, n->loc, "input_ids must be [batch,sequence], the tables of rank 2");
	if (!ops_in(n, 1) != !ops_in(n, 4))
		return diag_invalid(b->diag, n->loc, "segment_ids and segment_embedding go together");
	x = b_gather(b, n->in[2], ids, 0);
	if (!at) { /* 0, 1, 2, ... */
		row[0] = 1;
		row[1] = ids->dims[1];
		at = b_iota(b, DT_i64, 2, row, 1);
	}
	p = at ? b_gather(b, n->in[3], at, 0) : NULL;
	x = b_add(b, x, p);
	if (ops_in(n, 1))
		x = b_add(b, x, b_gather(b, n->in[4], n->in[1], 0));
	if (!(outs[0] = layer_norm(b, n, x, n->in[5], n->in[6], NULL, NULL)))
		return false;
	if (ops_wants(n, 1)) {
		if (mask)
			mask = b_cast(b, b2(b, OP_eq, mask, b_scalar_like(b, mask, 1)), DT_i32);
		else
			mask = b_expand(b, b_scalar(b, DT_i32, 0), 2, ids->dims);
		if (!(outs[1] = b_reduce(b, OP_reduce_sum, mask, 1, &axis, false)))
			return false;
	}
	if (ops_wants(n, 2))
		outs[2] = x;
	return true;
}
