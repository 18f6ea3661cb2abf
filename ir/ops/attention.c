/* attention.c -- scaled dot-product attention, rotary embedding, gated units.
 * Query heads that share a key head are a letter of their own in the contractions,
 * so keys and values are never repeated. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* ---- Attention: Q, K, V, attn_mask?, past_key?, past_value?, nonpad_kv_seqlen?
 * [B,H,S,D] or [B,S,H*D] with the head counts as attributes. */
struct attention {
	int64_t B, Hq, Hkv, Sq, Skv, D, past;
	bool flat; /* operands of rank 3 */
};

static struct value *
heads(struct build *b, const struct node *n, struct value *x, int64_t h)
{
	int64_t dims[4];

	if (x->rank == 4)
		return x;
	if (x->rank != 3 || h < 1 || !dim_const(x->dims[2]) || x->dims[2] % h) {
		diag_invalid(b->diag, n->loc, "operand %s in %lld heads", ops_dims_text(b->g, x->rank, x->dims),
		    (long long)h);
		return NULL;
	}
	dims[0] = x->dims[0];
	dims[1] = x->dims[1];
	dims[2] = h;
	dims[3] = x->dims[2] / h;
	return b_transpose(b, b_reshape(b, x, 4, dims), (int64_t[]){0, 2, 1, 3});
}

/* index along axis (of 5: b h g q k) with the other axes 1 */
static struct value *
place(struct build *b, int axis, int64_t extent)
{
	int64_t dims[5] = {1, 1, 1, 1, 1};

	dims[axis] = extent;
	return b_iota(b, DT_i64, 5, dims, axis);
}

/* mask of rank <= 4 as [b,h,g,q,k], a short last axis filled with `fill` */
static struct value *
mask5(struct build *b, const struct node *n, const struct attention *a, struct value *m, double fill)
{
	int64_t dims[5] = {1, 1, 1, 1, 1}, lo[5] = {0}, hi[5] = {0};
	int shift = 4 - m->rank;

	if (m->rank < 1 || m->rank > 4) {
		diag_invalid(b->diag, n->loc, "mask of rank %d", m->rank);
		return NULL;
	}
	for (int i = 0; i < m->rank; i++) {
		int at = i + shift; /* b h q k */

		if (at == 1 && m->dims[i] != 1) {
			if (m->dims[i] != a->Hq) {
				diag_invalid(b->diag, n->loc, "mask %s for %lld heads",
				    ops_dims_text(b->g, m->rank, m->dims), (long long)a->Hq);
				return NULL;
			}
			dims[1] = a->Hkv;
			dims[2] = a->Hq / a->Hkv;
		} else
			dims[at < 2 ? at : at + 1] = m->dims[i];
	}
	m = b_reshape(b, m, 5, dims);
	if (m && dims[4] != 1 && dim_const(dims[4]) && dim_const(a->Skv) && dims[4] < a->Skv) {
		hi[4] = a->Skv - dims[4];
		if (m->dtype == DT_bool)
			m = b_pad(b, m, lo, hi, 0);
		else
			m = b_pad(b, m, lo, hi, fill);
	}
	return m;
}

/* What is added to the scores or, as bool, what may be seen; NULL: everything. */
static bool
visible(struct build *b, const struct node *n, const struct attention *a, struct value **bias,
    struct value **seen)
{
	struct value *m = ops_in(n, 3), *len = ops_in(n, 6), *q, *k, *see;

	*bias = *seen = NULL;
	if (m) {
		if (!(m = mask5(b, n, a, m, -INFINITY)))
			return false;
		*(m->dtype == DT_bool ? seen : bias) = m;
	}
	if (len) {
		int64_t thin[5] = {a->B, 1, 1, 1, 1};

		if (len->rank != 1 || !dtype_is_int(len->dtype))
			return diag_invalid(b->diag, n->loc, "nonpad_kv_seqlen must be a vector of integers");
		len = b_reshape(b, b_cast(b, len, DT_i64), 5, thin);
		if (!(see = b2(b, OP_lt, place(b, 4, a->Skv), len)))
			return false;
		*seen = *seen ? b2(b, OP_and, *seen, see) : see;
	}
	/* a query at q sees keys q - left .. q + right; causal: none after it */
	k = place(b, 4, a->Skv);
	q = place(b, 3, a->Sq);
	q = len ? b_add(b, q, b_sub(b, len, b_dim(b, a->Sq))) : b_add(b, q, b_dim(b, a->past));
	for (int side = 0; side < 2; side++) {
		int64_t reach = attr_int(n, side ? "right_window_size" : "left_window_size");

		if (side && attr_int(n, "is_causal"))
			reach = 0;
		if (reach < 0)
			continue;
		see = side ? b2(b, OP_le, k, b_adds(b, q, (double)reach))
		           : b2(b, OP_le, b_adds(b, q, -(double)reach), k);
		if (!see)
			return false;
		*seen = *seen ? b2(b, OP_and, *seen, see) : see;
	}
	return q && k;
}

static bool
attention_open(struct build *b, const struct node *n, struct attention *a, struct value **q,
    struct value **k, struct value **v)
{
	*q = heads(b, n, n->in[0], attr_int(n, "q_num_heads"));
	*k = heads(b, n, n->in[1], attr_int(n, "kv_num_heads"));
	*v = heads(b, n, n->in[2], attr_int(n, "kv_num_heads"));
	if (!*q || !*k || !*v)
		return false;
	a->flat = n->in[0]->rank == 3;
	if (!ops_in(n, 4) != !ops_in(n, 5))
		return diag_invalid(b->diag, n->loc, "past_key and past_value go together");
	if (ops_in(n, 4)) {
		if (n->in[4]->rank != 4 || n->in[5]->rank != 4)
			return diag_invalid(b->diag, n->loc, "past_key %s, past_value %s; rank 4 is expected",
			    ops_dims_text(b->g, n->in[4]->rank, n->in[4]->dims),
			    ops_dims_text(b->g, n->in[5]->rank, n->in[5]->dims));
		a->past = n->in[4]->dims[2];
		*k = b_concat(b, 2, (struct value *[]){n->in[4], *k}, 2);
		*v = b_concat(b, 2, (struct value *[]){n->in[5], *v}, 2);
		if (!*k || !*v)
			return false;
	}
	a->B = (*q)->dims[0];
	a->Hq = (*q)->dims[1];
	a->Sq = (*q)->dims[2];
	a->D = (*q)->dims[3];
	a->Hkv = (*k)->dims[1];
	a->Skv = (*k)->dims[2];
	if (!dim_const(a->Hq) || !dim_const(a->Hkv) || !dim_const(a->D))
		return diag_unsupported(b->diag, n->loc, "symbolic sizes of query %s, keys %s",
		    ops_dims_text(b->g, 4, (*q)->dims), ops_dims_text(b->g, 4, (*k)->dims));
	if (a->Hkv < 1 || a->Hq % a->Hkv || a->D < 1)
		return diag_invalid(b->diag, n->loc, "%lld query heads, %lld key heads", (long long)a->Hq,
		    (long long)a->Hkv);
	return true;
}

static struct value *
four(struct build *b, const struct attention *a, struct value *x)
{
	return x ? b_reshape(b, x, 4, (int64_t[]){a->B, a->Hq, x->dims[3], x->dims[4]}) : NULL;
}

bool
expand_Attention(struct build *b, const struct node *n, struct value **outs)
{
	struct attention a = {0};
	struct value *q, *k, *v, *s, *stage[4], *bias, *seen, *y, *low, *blind = NULL, *keys_by;
	int64_t keys = 4;
	double scale, cap = attr_float(n, "softcap");
	int64_t mode = attr_int(n, "qk_matmul_output_mode");

	if (!attention_open(b, n, &a, &q, &k, &v) || !visible(b, n, &a, &bias, &seen))
		return false;
	scale = attr_has(n, "scale") ? attr_float(n, "scale") : 1 / sqrt((double)a.D);
	keys_by = k;
	if (scale > 0 && dtype_info[q->dtype].bits < 32) { /* on either side, where it matters to rounding */
		scale = sqrt(scale);
		keys_by = b_muls(b, k, scale);
	}
	q = b_reshape(b, b_muls(b, q, scale), 5, (int64_t[]){a.B, a.Hkv, a.Hq / a.Hkv, a.Sq, a.D});
	s = stage[0] = b_contract(b, "bhgqd,bhkd->bhgqk", q, keys_by);
	if (cap != 0)
		s = b_muls(b, b1(b, OP_tanh, b_muls(b, s, 1 / cap)), cap);
	stage[1] = s;
	low = b_scalar_like(b, s, -INFINITY);
	if (bias)
		s = b_add(b, s, b_cast(b, bias, n->in[0]->dtype));
	if (seen)
		s = b_select(b, seen, s, low);
	stage[2] = s;
	if (ops_in(n, 3) || ops_in(n, 6) || attr_int(n, "left_window_size") >= 0) {
		/* a query that sees nothing gets 0, not NaN */
		blind = b2(b, OP_eq, b_reduce(b, OP_reduce_max, s, 1, &keys, true), low);
		s = b_select(b, blind, b_scalar_like(b, low, 0), s);
	}
	s = b_softmax(b, s, 4);
	stage[3] = s = blind ? b_select(b, blind, b_scalar_like(b, low, 0), s) : s;
	y = b_contract(b, "bhgqk,bhkd->bhgqd", s, v);
	if (!(y = four(b, &a, y)))
		return false;
	if (a.flat)
		y = b_reshape(b, b_transpose(b, y, (int64_t[]){0, 2, 1, 3}), 3,
		    (int64_t[]){a.B, a.Sq, a.Hq * y->dims[3]});
	outs[0] = y;
	if (ops_wants(n, 1))
		outs[1] = k;
	if (ops_wants(n, 2))
		outs[2] = v;
	if (ops_wants(n, 3)) {
		if (mode < 0 || mode > 3)
			return diag_invalid(b->diag, n->loc, "qk_matmul_output_mode %lld", (long long)mode);
		outs[3] = four(b, &a, stage[mode]);
	}
	return y != NULL;
}

/* ---- RotaryEmbedding: X [B,H,S,D] or [B,S,H*D], cos and sin [rows,R/2] by
 * position_ids [B,S], or [B,S,R/2] without; the first R of D are turned. */
bool
expand_RotaryEmbedding(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *cs[2] = {n->in[1], n->in[2]}, *ids = ops_in(n, 3), *lo, *hi, *y, *rest;
	int64_t r = attr_int(n, "rotary_embedding_dim"), h = attr_int(n, "num_heads"), d, half, dims[5];
	int64_t start[5] = {0}, count[5], step[5] = {1, 1, 1, 1, 1};
	bool flat = x->rank == 3, pairs = attr_int(n, "interleaved");
	struct value *part[2];

	/* as [B,S,H,D] */
	if (flat) {
		if (h < 1 || !dim_const(x->dims[2]) || x->dims[2] % h)
			return diag_invalid(b->diag, n->loc, "input %s in %lld heads",
			    ops_dims_text(b->g, 3, x->dims), (long long)h);
		x = b_reshape(b, x, 4, (int64_t[]){x->dims[0], x->dims[1], h, x->dims[2] / h});
	} else if (x->rank == 4)
		x = b_transpose(b, x, (int64_t[]){0, 2, 1, 3});
	else
		return diag_invalid(b->diag, n->loc, "input of rank %d", x->rank);
	if (!x)
		return false;
	d = x->dims[3];
	r = r ? r : d;
	if (!dim_const(d) || r < 2 || r > d || r % 2)
		return diag_invalid(b->diag, n->loc, "rotary_embedding_dim %lld of %s", (long long)r, dim_text(b->g, d));
	half = r / 2;
	for (int i = 0; i < 2; i++) {
		if (ids)
			cs[i] = b_gather(b, cs[i], ids, 0);
		if (!cs[i])
			return false;
		if (cs[i]->rank != 3 || cs[i]->dims[2] != half)
			return diag_invalid(b->diag, n->loc, "cache %s for %lld turned elements",
			    ops_dims_text(b->g, cs[i]->rank, cs[i]->dims), (long long)r);
		cs[i] = b_unsqueeze(b, cs[i], 2); /* [B,S,1,R/2] */
	}
	memcpy(count, x->dims, sizeof count);
	count[3] = d - r;
	start[3] = r;
	rest = r < d ? b_slice(b, x, start, count, step) : NULL;
	count[3] = r;
	start[3] = 0;
	x = b_slice(b, x, start, count, step);
	count[3] = half;
	step[3] = pairs ? 2 : 1;
	lo = b_slice(b, x, start, count, step);
	start[3] = pairs ? 1 : half;
	hi = b_slice(b, x, start, count, step);
	part[0] = b_sub(b, b_mul(b, cs[0], lo), b_mul(b, cs[1], hi));
	part[1] = b_add(b, b_mul(b, cs[1], lo), b_mul(b, cs[0], hi));
	if (!part[0] || !part[1])
		return false;
	if (pairs) {
		part[0] = b_unsqueeze(b, part[0], 4);
		part[1] = b_unsqueeze(b, part[1], 4);
		y = b_concat(b, 2, part, 4);
		memcpy(dims, x->dims, sizeof dims);
		y = b_reshape(b, y, 4, dims);
	} else
		y = b_concat(b, 2, part, 3);
	if (rest)
		y = b_concat(b, 2, (struct value *[]){y, rest}, 3);
	if (flat)
		y = b_reshape(b, y, 3, n->in[0]->dims);
	else
		y = b_transpose(b, y, (int64_t[]){0, 2, 1, 3});
	return (outs[0] = y) != NULL;
}
