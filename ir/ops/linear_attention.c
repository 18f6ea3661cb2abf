/* linear_attention.c -- attention whose softmax is a recurrence over a state matrix
 * (LinearAttention), and attention with the user's functions between its products
 * (FlexAttention, whose subgraphs the importer inlines between the pieces). */
#include <math.h>

#include "ir/ops/ops_int.h"

enum { MAX_STEPS = 4096 };

/* ---- LinearAttention: query [B,T,Hq*dk], key [B,T,H*dk], value [B,T,H*dv],
 * past_state? [B,H,dk,dv], decay? [B,T,H*dk] or [B,T,H], beta? [B,T,H] or [B,T,1].
 * gated: S = exp(g) S first; delta: what k already retrieves is taken from v, the
 * rest written by beta; then S += k v^T, o = scale q^T S.  The state is f32 (f64). */
struct recurrence {
	int64_t B, T, Hq, H, dk, dv;
	enum dtype type;
	bool gated, delta;
};

/* x [B,T,heads*width] in the state's type, one [B,heads,width] for each step */
static bool
steps(struct build *b, const struct node *n, const struct recurrence *r, struct value *x, int64_t heads,
    struct value **out)
{
	struct attr a = attr_of_int("axis", 1);
	struct node *split;
	int64_t d[3];

	if (x->rank != 3 || x->dims[0] != r->B || x->dims[1] != r->T || !dim_const(x->dims[2]) || x->dims[2] % heads ||
	    x->dims[2] < 1)
		return diag_invalid(b->diag, n->loc, "operand %s; [%s,%lld,...] in %lld heads is expected",
		    ops_dims_text(b->g, x->rank, x->dims), dim_text(b->g, r->B), (long long)r->T, (long long)heads);
	d[0] = r->B;
	d[1] = heads;
	d[2] = x->dims[2] / heads;
	x = b_cast(b, x, r->type);
	if (!x)
		return false;
	if (r->T == 1)
		return (out[0] = b_reshape(b, x, 3, d)) != NULL;
	if (!(split = b_node(b, OP_Split, 1, &x, (int)r->T, 1, &a)))
		return false;
	for (int64_t t = 0; t < r->T; t++)
		if (!(out[t] = b_reshape(b, split->out[t], 3, d)))
			return false;
	return true;
}

static bool
recurrence_open(struct build *b, const struct node *n, struct recurrence *r)
{
	const struct value *q = n->in[0], *k = n->in[1], *v = n->in[2];
	const char *rule = attr_string(n, "update_rule");

	r->gated = !strcmp(rule, "gated") || !strcmp(rule, "gated_delta");
	r->delta = !strcmp(rule, "delta") || !strcmp(rule, "gated_delta");
	if (!r->gated && !r->delta && strcmp(rule, "linear"))
		return diag_invalid(b->diag, n->loc, "update_rule \"%s\"", rule);
	r->Hq = attr_int(n, "q_num_heads");
	r->H = attr_int(n, "kv_num_heads");
	if (q->rank != 3 || k->rank != 3 || v->rank != 3 || r->H < 1 || r->Hq < 1 || r->Hq % r->H)
		return diag_invalid(b->diag, n->loc, "query %s, key %s, value %s in %lld and %lld heads",
		    ops_dims_text(b->g, q->rank, q->dims), ops_dims_text(b->g, k->rank, k->dims),
		    ops_dims_text(b->g, v->rank, v->dims), (long long)r->Hq, (long long)r->H);
	r->B = q->dims[0];
	r->T = q->dims[1];
	if (!dim_const(r->T) || r->T > MAX_STEPS)
		return diag_unsupported(b->diag, n->loc, "%s steps; a constant of at most %d is needed",
		    dim_text(b->g, r->T), MAX_STEPS);
	if (!dim_const(q->dims[2]) || !dim_const(k->dims[2]) || !dim_const(v->dims[2]) || r->T < 1 ||
	    k->dims[2] % r->H || v->dims[2] % r->H || k->dims[2] < 1 || v->dims[2] < 1 ||
	    q->dims[2] / r->Hq != k->dims[2] / r->H)
		return diag_invalid(b->diag, n->loc, "query %s, key %s, value %s in %lld and %lld heads",
		    ops_dims_text(b->g, 3, q->dims), ops_dims_text(b->g, 3, k->dims), ops_dims_text(b->g, 3, v->dims),
		    (long long)r->Hq, (long long)r->H);
	r->dk = k->dims[2] / r->H;
	r->dv = v->dims[2] / r->H;
	r->type = q->dtype == DT_f64 ? DT_f64 : DT_f32;
	if (r->gated && !ops_in(n, 4))
		return diag_invalid(b->diag, n->loc, "update_rule \"%s\" needs operand 4, decay", rule);
	if (r->delta && !ops_in(n, 5))
		return diag_invalid(b->diag, n->loc, "update_rule \"%s\" needs operand 5, beta", rule);
	return true;
}

/* The width of a gate's head: x has `heads` columns of it. */
static bool
gate_steps(struct build *b, const struct node *n, const struct recurrence *r, int i, struct value **out)
{
	struct value *x = n->in[i];
	bool one = x->rank == 3 && x->dims[2] == 1;
	int64_t width = x->rank == 3 ? x->dims[2] / (one ? 1 : r->H) : 0;

	if (!steps(b, n, r, x, one ? 1 : r->H, out))
		return false;
	if (width != 1 && (i != 4 || width != r->dk))
		return diag_invalid(b->diag, n->loc, "operand %d is %s in %lld heads", i,
		    ops_dims_text(b->g, x->rank, x->dims), (long long)r->H);
	return true;
}

bool
expand_LinearAttention(struct build *b, const struct node *n, struct value **outs)
{
	struct value **q, **k, **v, **g, **beta, **o, *s = ops_in(n, 3), *y;
	double scale = attr_float(n, "scale");
	struct recurrence r;
	int64_t state[4];

	if (!recurrence_open(b, n, &r))
		return false;
	q = arena_array(b->g->arena, struct value *, 6 * r.T);
	k = q + r.T;
	v = k + r.T;
	g = v + r.T;
	beta = g + r.T;
	o = beta + r.T;
	if (!steps(b, n, &r, n->in[0], r.H, q) || !steps(b, n, &r, n->in[1], r.H, k) ||
	    !steps(b, n, &r, n->in[2], r.H, v) || (r.gated && !gate_steps(b, n, &r, 4, g)) ||
	    (r.delta && !gate_steps(b, n, &r, 5, beta)))
		return false;
	state[0] = r.B;
	state[1] = r.H;
	state[2] = r.dk;
	state[3] = r.dv;
	if (s && !dims_equal(s->rank, s->dims, 4, state))
		return diag_invalid(b->diag, n->loc, "past_state %s; %s is expected", ops_dims_text(b->g, s->rank, s->dims),
		    ops_dims_text(b->g, 4, state));
	s = s ? b_cast(b, s, r.type) : b_expand(b, b_scalar(b, r.type, 0), 4, state);
	if (scale == 0)
		scale = 1 / sqrt((double)r.dk);
	for (int64_t t = 0; t < r.T; t++) {
		struct value *u = v[t], *query;

		if (r.gated)
			s = b_mul(b, s, b_unsqueeze(b, b_exp(b, g[t]), 3));
		if (r.delta)
			u = b_mul(b, beta[t], b_sub(b, u, b_contract(b, "bhk,bhkv->bhv", k[t], s)));
		s = b_add(b, s, b_mul(b, b_unsqueeze(b, k[t], 3), u ? b_unsqueeze(b, u, 2) : NULL));
		query = b_reshape(b, q[t], 4, (int64_t[]){r.B, r.H, r.Hq / r.H, r.dk});
		y = b_muls(b, b_contract(b, "bhgk,bhkv->bhgv", query, s), scale);
		if (!(o[t] = b_reshape(b, y, 3, (int64_t[]){r.B, 1, r.Hq * r.dv})))
			return false;
	}
	y = r.T == 1 ? o[0] : b_concat(b, (int)r.T, o, 1);
	if (ops_wants(n, 1) && !(outs[1] = b_cast(b, s, n->in[0]->dtype)))
		return false;
	return y && (outs[0] = b_cast(b, y, n->in[0]->dtype)) != NULL;
}

/* ---- FlexAttention: Q [B,Hq,L,E], K [B,H,S,E], V [B,H,S,Ev]; Hq/H query heads in turn
 * share a key head.  Scores are Q K^T with sqrt(scale) on either side, as the
 * specification writes them, and leave as the softmax's type. */
static bool
flex_check(struct build *b, const struct node *n, const struct value *q, const struct value *k)
{
	if (q->rank != 4 || k->rank != 4 || !dim_const(q->dims[1]) || !dim_const(k->dims[1]) || k->dims[1] < 1 ||
	    q->dims[1] % k->dims[1] || q->dims[0] != k->dims[0])
		return diag_invalid(b->diag, n->loc, "%s and %s; [batch,heads,length,width] is expected",
		    ops_dims_text(b->g, q->rank, q->dims), ops_dims_text(b->g, k->rank, k->dims));
	return true;
}

bool
expand_FlexScores(struct build *b, const struct node *n, struct value **outs)
{
	struct value *q = n->in[0], *k = n->in[1], *y;
	int64_t to = attr_has(n, "softmax_precision") ? attr_int(n, "softmax_precision") : 0, h;
	enum dtype t = q->dtype == DT_f64 ? DT_f64 : DT_f32;
	double scale;

	if (!flex_check(b, n, q, k))
		return false;
	if (to && (to < 0 || to > INT32_MAX || !dtype_is_float(t = dtype_from_onnx((int)to))))
		return diag_invalid(b->diag, n->loc, "softmax_precision %lld", (long long)to);
	if (q->dims[3] != k->dims[3] || !dim_const(q->dims[3]) || q->dims[3] < 1)
		return diag_invalid(b->diag, n->loc, "queries of %s, keys of %s elements", dim_text(b->g, q->dims[3]),
		    dim_text(b->g, k->dims[3]));
	scale = attr_has(n, "scale") ? attr_float(n, "scale") : 1 / sqrt((double)q->dims[3]);
	h = k->dims[1];
	if (scale > 0) {
		k = b_muls(b, k, sqrt(scale));
		scale = sqrt(scale);
	}
	y = b_reshape(b, b_muls(b, q, scale), 5, (int64_t[]){q->dims[0], h, q->dims[1] / h, q->dims[2], q->dims[3]});
	y = b_contract(b, "bhgqd,bhkd->bhgqk", y, k);
	y = b_reshape(b, y, 4, (int64_t[]){q->dims[0], q->dims[1], q->dims[2], n->in[1]->dims[2]});
	return y && (outs[0] = b_cast(b, y, t)) != NULL;
}

bool
expand_FlexValues(struct build *b, const struct node *n, struct value **outs)
{
	struct value *p = n->in[0], *v = n->in[1], *y;
	int64_t h;

	if (!flex_check(b, n, p, v))
		return false;
	if (p->dims[3] != v->dims[2])
		return diag_invalid(b->diag, n->loc, "probabilities of %s keys, %s values", dim_text(b->g, p->dims[3]),
		    dim_text(b->g, v->dims[2]));
	h = v->dims[1];
	y = b_reshape(b, p, 5, (int64_t[]){p->dims[0], h, p->dims[1] / h, p->dims[2], p->dims[3]});
	y = b_contract(b, "bhgqk,bhkd->bhgqd", y, b_cast(b, v, p->dtype));
	y = b_reshape(b, y, 4, (int64_t[]){p->dims[0], p->dims[1], p->dims[2], v->dims[3]});
	return y && (outs[0] = b_cast(b, y, v->dtype)) != NULL;
}

bool
expand_FlexAttention(struct build *b, const struct node *n, struct value **outs)
{
	struct value *s = b_op(b, OP_FlexScores, 2, n->in, n->nattr, n->attr), *in[2];

	in[0] = s ? b_softmax(b, s, 3) : NULL;
	in[1] = n->in[2];
	return in[0] && (outs[0] = b_op(b, OP_FlexValues, 2, in, 0, NULL)) != NULL;
}
