/* microsoft_attention.c -- com.microsoft: attention with the projections, masks and caches
 * that transformer exports carry.  All forms end in one core: queries [B,N,S,D], keys
 * [B,G,T,D] and values [B,G,T,E] with N a multiple of G. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* ---- small builders */
static struct value *
dims4(struct build *b, struct value *x, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
	return x ? b_reshape(b, x, 4, (int64_t[]){d0, d1, d2, d3}) : NULL;
}

/* [B,S,n*d] as [B,n,S,d] */
static struct value *
split_heads(struct build *b, const struct node *n, struct value *x, int64_t heads)
{
	if (!x)
		return NULL;
	if (x->rank != 3 || heads < 1 || !dim_const(x->dims[2]) || x->dims[2] % heads) {
		diag_invalid(b->diag, n->loc, "%s in %lld heads", ops_dims_text(b->g, x->rank, x->dims), (long long)heads);
		return NULL;
	}
	x = dims4(b, x, x->dims[0], x->dims[1], heads, x->dims[2] / heads);
	return x ? b_transpose(b, x, (int64_t[]){0, 2, 1, 3}) : NULL;
}

static struct value *
join_heads(struct build *b, struct value *x)
{
	if (!x || !(x = b_transpose(b, x, (int64_t[]){0, 2, 1, 3})))
		return NULL;
	return b_reshape(b, x, 3, (int64_t[]){x->dims[0], x->dims[1], dim_mul(b->g, x->dims[2], x->dims[3])});
}

/* count elements of the axis from start on */
static struct value *
part(struct build *b, struct value *x, int axis, int64_t from, int64_t count)
{
	int64_t start[MAX_RANK] = {0}, step[MAX_RANK], c[MAX_RANK];

	if (!x)
		return NULL;
	for (int i = 0; i < x->rank; i++) {
		step[i] = 1;
		c[i] = x->dims[i];
	}
	start[axis] = from;
	c[axis] = count;
	return b_slice(b, x, start, c, step);
}

/* x without its axis of size 1 */
static struct value *
drop(struct build *b, struct value *x, int axis)
{
	int64_t dims[MAX_RANK];
	int k = 0;

	if (!x)
		return NULL;
	for (int i = 0; i < x->rank; i++)
		if (i != axis)
			dims[k++] = x->dims[i];
	return b_reshape(b, x, k, dims);
}

/* the index along one axis of four */
static struct value *
place(struct build *b, int axis, int64_t extent)
{
	int64_t dims[4] = {1, 1, 1, 1};

	dims[axis] = extent;
	return b_iota(b, DT_i64, 4, dims, axis);
}

/* an integer vector [B] as [B,1,1,1] of i64 */
static struct value *
per_batch(struct build *b, struct value *v, int64_t batch)
{
	return v ? dims4(b, b_cast(b, v, DT_i64), batch, 1, 1, 1) : NULL;
}

static struct value *
both(struct build *b, struct value *x, struct value *y)
{
	return !x ? y : !y ? x : b2(b, OP_and, x, y);
}

/* ---- the core: softmax(scale*q k^T + bias, -inf or `low` added where not seen) v */
struct scores {
	double scale, cap;
	struct value *seen; /* bool, broadcasts to [B,N,S,T]; NULL: all */
	double low;         /* added where not seen */
	struct value *past; /* bool: positions that are out altogether (causal, beyond the cache); NULL: none */
	struct value *bias; /* added, broadcasts to [B,N,S,T] */
	struct value *sink; /* [1,N,1,1]: one more score of every row, without a value */
};

static struct value *
core(struct build *b, const struct node *n, struct value *q, struct value *k, struct value *v, const struct scores *sc,
    struct value **qk)
{
	int64_t B, N, S, G, T, D, last = 3;
	struct value *s, *y, *max, *sum, *low;

	if (!q || !k || !v)
		return NULL;
	B = q->dims[0];
	N = q->dims[1];
	S = q->dims[2];
	D = q->dims[3];
	G = k->dims[1];
	T = k->dims[2];
	if (!dim_const(N) || !dim_const(G) || G < 1 || N % G || k->dims[3] != D || v->dims[2] != T || v->dims[1] != G) {
		diag_invalid(b->diag, n->loc, "queries %s, keys %s, values %s", ops_dims_text(b->g, 4, q->dims),
		    ops_dims_text(b->g, 4, k->dims), ops_dims_text(b->g, 4, v->dims));
		return NULL;
	}
	q = b_reshape(b, b_muls(b, q, sc->scale), 5, (int64_t[]){B, G, N / G, S, D});
	s = dims4(b, b_contract(b, "bhgqd,bhkd->bhgqk", q, k), B, N, S, T);
	if (!s)
		return NULL;
	if (sc->cap > 0)
		s = b_muls(b, b1(b, OP_tanh, b_muls(b, s, 1 / sc->cap)), sc->cap);
	if (sc->bias)
		s = b_add(b, s, b_cast(b, sc->bias, s->dtype));
	if (sc->seen && s)
		s = b_select(b, sc->seen, s, b_adds(b, s, sc->low));
	low = s ? b_scalar_like(b, s, s->dtype == DT_f16 ? -65504 : -3.4028234663852886e38) : NULL;
	if (sc->past)
		s = b_select(b, sc->past, s, low);
	if (qk)
		*qk = s;
	if (sc->sink) {
		max = b_max(b, b_reduce(b, OP_reduce_max, s, 1, &last, true), sc->sink);
		s = b_exp(b, b_sub(b, s, max));
		sum = b_add(b, b_reduce(b, OP_reduce_sum, s, 1, &last, true), b_exp(b, b_sub(b, sc->sink, max)));
		s = b_div(b, s, sum);
	} else if (s) {
		s = b_softmax(b, s, 3);
	}
	y = s ? b_reshape(b, s, 5, (int64_t[]){B, G, N / G, S, T}) : NULL;
	y = b_contract(b, "bhgqk,bhkd->bhgqd", y, v);
	return y ? dims4(b, y, B, N, S, v->dims[3]) : NULL;
}

static double
scale_of(const struct node *n, int64_t d)
{
	double s = attr_has(n, "scale") ? attr_float(n, "scale") : 0;

	return s != 0 ? s : 1 / sqrt((double)d);
}

/* What a mask says may be seen: raw 0 and 1 of [B,T], [B,S,T] or [B,1,M,M] (rows and
 * columns of the present), ends [B], or ends and beginnings [2B]. */
static bool
raw_mask(struct build *b, const struct node *n, struct value *m, int64_t B, int64_t S, int64_t T, int64_t past,
    struct value **seen)
{
	struct value *k = place(b, 3, T), *end;

	*seen = NULL;
	if (!m)
		return true;
	if (!dtype_is_int(m->dtype) && m->dtype != DT_bool)
		return diag_invalid(b->diag, n->loc, "a mask of type %s", dtype_info[m->dtype].name);
	if (m->rank == 1 && (m->dims[0] == B || m->dims[0] == dim_mul(b->g, B, 2))) {
		end = per_batch(b, m->dims[0] == B ? m : part(b, m, 0, 0, B), B);
		*seen = b2(b, OP_lt, k, end);
		if (m->dims[0] != B)
			*seen = both(b, *seen, b2(b, OP_le, per_batch(b, part(b, m, 0, B, B), B), k));
		return *seen != NULL;
	}
	if (m->rank == 2 && m->dims[1] == T)
		m = dims4(b, m, m->dims[0], 1, 1, T);
	else if (m->rank == 3 && m->dims[2] == T)
		m = dims4(b, m, m->dims[0], 1, m->dims[1], T);
	else if (m->rank == 4 && dim_const(m->dims[2]) && dim_const(T) && dim_const(S) && dim_const(past) && m->dims[3] >= T &&
	         m->dims[2] >= past + S)
		m = part(b, part(b, m, 2, past, S), 3, 0, T);
	else
		return diag_unsupported(b->diag, n->loc, "a mask %s for %s queries and %s keys",
		    ops_dims_text(b->g, m->rank, m->dims), dim_text(b->g, S), dim_text(b->g, T));
	if (!m)
		return false;
	*seen = b1(b, OP_not, b2(b, OP_eq, m, b_scalar_like(b, m, 0)));
	return *seen != NULL;
}

/* Query i, at `past` + i, sees keys up to its own place. */
static struct value *
causal(struct build *b, int64_t S, int64_t T, int64_t past)
{
	return b2(b, OP_le, place(b, 3, T), b_add(b, place(b, 2, S), b_dim(b, past)));
}

/* ---- Attention: input [B,S,I], weights [I,3H], bias [3H]?, mask?, past [2,B,N,P,D]?,
 * attention_bias? -> y [B,S,H], present [2,B,N,P+S,D] */
/* Queries, keys and values [B,N,S,D] of the projection y [B,S,H+H+V]. */
static bool
projected(struct build *b, const struct node *n, struct value *y, struct value **qkv)
{
	int64_t heads = attr_int(n, "num_heads"), at = 0, third;
	const int64_t *sizes;
	int k = op_attr(n->op, "qkv_hidden_sizes") ? attr_ints(n, "qkv_hidden_sizes", &sizes) : 0;

	if (!y || y->rank != 3 || !dim_const(y->dims[2]))
		return y && diag_invalid(b->diag, n->loc, "input and weights must be [batch,sequence,hidden] and [hidden,3*hidden]");
	third = y->dims[2] / 3;
	if (k && (k != 3 || sizes[0] < 1 || sizes[0] != sizes[1] || sizes[2] < 1 || sizes[0] > INT32_MAX ||
	             sizes[2] > INT32_MAX || 2 * sizes[0] + sizes[2] != y->dims[2]))
		return diag_invalid(b->diag, n->loc, "qkv_hidden_sizes do not add up to the %lld columns of the weights",
		    (long long)y->dims[2]);
	for (int i = 0; i < 3; i++) {
		int64_t w = k ? sizes[i] : third;

		if (!k && third * 3 != y->dims[2])
			return diag_invalid(b->diag, n->loc, "weights of %lld columns", (long long)y->dims[2]);
		if (!(qkv[i] = split_heads(b, n, part(b, y, 2, at, w), heads)))
			return false;
		at += w;
	}
	return true;
}

/* past [2,B,N,P,D] before keys and values; *P its length */
static bool
prepend(struct build *b, const struct node *n, struct value *past, struct value **k, struct value **v, int64_t *P)
{
	struct value *old;

	*P = 0;
	if (!past)
		return true;
	if (past->rank != 5 || past->dims[0] != 2)
		return diag_invalid(b->diag, n->loc, "past %s; [2,batch,heads,length,size] is expected",
		    ops_dims_text(b->g, past->rank, past->dims));
	*P = past->dims[3];
	for (int i = 0; i < 2; i++) {
		struct value **x = i ? v : k;

		old = drop(b, part(b, past, 0, i, 1), 0);
		if (!old || !(*x = b_concat(b, 2, (struct value *[]){old, *x}, 2)))
			return false;
	}
	return true;
}

static bool
self_attention(struct build *b, const struct node *n, struct value *y, struct value *mask, struct value *past,
    struct value *bias, struct value **outs)
{
	struct value *qkv[3], *pair[2];
	struct scores sc = {.low = attr_float(n, "mask_filter_value"), .bias = bias};
	int64_t P, S, T;

	if (attr_int(n, "do_rotary") || (op_attr(n->op, "past_present_share_buffer") && attr_int(n, "past_present_share_buffer")))
		return diag_unsupported(b->diag, n->loc, "do_rotary and past_present_share_buffer");
	if (!projected(b, n, y, qkv) || !prepend(b, n, past, &qkv[1], &qkv[2], &P))
		return false;
	S = qkv[0]->dims[2];
	T = qkv[1]->dims[2];
	sc.scale = scale_of(n, qkv[0]->dims[3]);
	if (!raw_mask(b, n, mask, qkv[0]->dims[0], S, T, P, &sc.seen))
		return false;
	if (attr_int(n, "unidirectional"))
		sc.past = causal(b, S, T, P);
	outs[0] = join_heads(b, core(b, n, qkv[0], qkv[1], qkv[2], &sc, NULL));
	if (outs[0] && ops_wants(n, 1)) {
		pair[0] = b_unsqueeze(b, qkv[1], 0);
		pair[1] = b_unsqueeze(b, qkv[2], 0);
		return pair[0] && pair[1] && (outs[1] = b_concat(b, 2, pair, 0)) != NULL;
	}
	return outs[0] != NULL;
}

bool
expand_MsAttention(struct build *b, const struct node *n, struct value **outs)
{
	struct value *y = ops_matmul(b, n->in[0], n->in[1]);

	if (ops_in(n, 2))
		y = b_add(b, y, n->in[2]);
	return self_attention(b, n, y, ops_in(n, 3), ops_in(n, 4), ops_in(n, 5), outs);
}

/* input and weights quantised: input, weight, bias, input_scale, weight_scale, mask?,
 * input_zero?, weight_zero?, past? */
bool
expand_QAttention(struct build *b, const struct node *n, struct value **outs)
{
	struct value *in[7] = {n->in[0], n->in[1], n->in[3], n->in[4], ops_in(n, 6), ops_in(n, 7), n->in[2]};
	struct value *y = b_op(b, OP_MatMulIntegerToFloat, 7, in, 0, NULL);

	return y && self_attention(b, n, y, ops_in(n, 5), ops_in(n, 8), NULL, outs);
}

/* ---- MultiHeadAttention: query, key?, value?, bias?, key_padding_mask?, attention_bias?,
 * past_key?, past_value? -> y, present_key, present_value, scores */
/* Operands in any of their forms as [B,N,S,D]; *cached: keys come as [B,N,L,D] whole. */
static bool
mha_operands(struct build *b, const struct node *n, int64_t heads, struct value **qkv, bool *cached)
{
	struct value *x = n->in[0], *k = ops_in(n, 1), *v = ops_in(n, 2), *bias = ops_in(n, 3), *packed;
	int64_t at = 0;

	*cached = false;
	if (x->rank == 5 || (k && k->rank == 5)) { /* [B,S,N,3,D], or keys and values [B,L,N,2,D] */
		packed = x->rank == 5 ? x : k;
		for (int i = 0; i < (x->rank == 5 ? 3 : 2); i++)
			qkv[i + (x->rank == 5 ? 0 : 1)] =
			    b_transpose(b, drop(b, part(b, packed, 3, i, 1), 3), (int64_t[]){0, 2, 1, 3});
		if (x->rank != 5)
			qkv[0] = split_heads(b, n, x, heads);
	} else {
		if (!k || !v)
			return diag_invalid(b->diag, n->loc, "key and value are missing, and query is not packed");
		qkv[0] = split_heads(b, n, x, heads);
		*cached = k->rank == 4;
		qkv[1] = k->rank == 4 ? k : split_heads(b, n, k, heads);
		qkv[2] = v->rank == 4 ? v : split_heads(b, n, v, heads);
	}
	for (int i = 0; i < 3; i++) {
		int64_t d;

		if (!qkv[i])
			return false;
		d = qkv[i]->dims[3];
		if (bias && (i == 0 || !*cached)) {
			struct value *p = dims4(b, part(b, bias, 0, at, heads * d), 1, heads, 1, d);

			if (!(qkv[i] = b_add(b, qkv[i], p)))
				return false;
		}
		at += heads * d;
	}
	return true;
}

bool
expand_MultiHeadAttention(struct build *b, const struct node *n, struct value **outs)
{
	int64_t heads = attr_int(n, "num_heads"), P = 0, S, T;
	struct value *qkv[3], *qk = NULL;
	struct scores sc = {.low = attr_float(n, "mask_filter_value"), .bias = ops_in(n, 5)};
	bool cached;

	if (heads < 1 || heads > INT32_MAX)
		return diag_invalid(b->diag, n->loc, "num_heads is %lld", (long long)heads);
	if (ops_in(n, 8) || ops_in(n, 9))
		return diag_unsupported(b->diag, n->loc, "past_sequence_length and cache_indirection");
	if (!mha_operands(b, n, heads, qkv, &cached))
		return false;
	if (!ops_in(n, 6) != !ops_in(n, 7))
		return diag_invalid(b->diag, n->loc, "past_key and past_value go together");
	if (ops_in(n, 6)) {
		P = n->in[6]->rank == 4 ? n->in[6]->dims[2] : 0;
		for (int i = 1; i < 3; i++)
			if (!(qkv[i] = b_concat(b, 2, (struct value *[]){n->in[5 + i], qkv[i]}, 2)))
				return false;
	}
	S = qkv[0]->dims[2];
	T = qkv[1]->dims[2];
	sc.scale = scale_of(n, qkv[0]->dims[3]);
	if (!raw_mask(b, n, ops_in(n, 4), qkv[0]->dims[0], S, T, P, &sc.seen))
		return false;
	if (attr_int(n, "unidirectional"))
		sc.past = causal(b, S, T, P);
	outs[0] = join_heads(b, core(b, n, qkv[0], qkv[1], qkv[2], &sc, &qk));
	for (int i = 1; i < 3; i++)
		if (ops_wants(n, i))
			outs[i] = qkv[i];
	if (ops_wants(n, 3))
		outs[3] = qk;
	return outs[0] != NULL;
}

/* ---- RotaryEmbedding: input, position_ids [1] or [B,S], cos_cache, sin_cache */
static struct value *
rotated(struct build *b, struct value *x, struct value *ids, struct value *cs, struct value *sn, int64_t heads,
    int64_t rotary, bool interleaved)
{
	struct attr a[3] = {attr_of_int("interleaved", interleaved), attr_of_int("num_heads", heads),
	    attr_of_int("rotary_embedding_dim", rotary)};

	return x && ids ? b_op(b, OP_RotaryEmbedding, 4, (struct value *[]){x, cs, sn, ids}, 3, a) : NULL;
}

bool
expand_MsRotaryEmbedding(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *ids = n->in[1], *y;
	int64_t rotary = attr_int(n, "rotary_embedding_dim"), heads = attr_int(n, "num_heads"), bs[2];
	bool flat = x->rank == 3;

	if ((x->rank != 3 && x->rank != 4) || n->in[2]->rank != 2 || !dim_const(n->in[2]->dims[1]) || n->in[2]->dims[1] < 1)
		return diag_invalid(b->diag, n->loc, "input %s, cache %s", ops_dims_text(b->g, x->rank, x->dims),
		    ops_dims_text(b->g, n->in[2]->rank, n->in[2]->dims));
	if (attr_int(n, "is_packed_batching"))
		return diag_unsupported(b->diag, n->loc, "is_packed_batching");
	if (flat && !heads && dim_const(x->dims[2])) /* whole heads are turned */
		heads = x->dims[2] / (2 * n->in[2]->dims[1]);
	if (!rotary)
		rotary = 2 * n->in[2]->dims[1];
	bs[0] = x->dims[0];
	bs[1] = x->dims[flat ? 1 : 2];
	if (ids->rank == 1) { /* the place of the first */
		int64_t row[2] = {1, bs[1]};

		ids = b_add(b, b_iota(b, DT_i64, 2, row, 1), b_cast(b, b_reshape(b, ids, 0, NULL), DT_i64));
		ids = ids ? b_expand(b, ids, 2, bs) : NULL;
	}
	y = rotated(b, x, ids, n->in[2], n->in[3], heads, rotary, attr_int(n, "interleaved"));
	return (outs[0] = b_muls(b, y, attr_float(n, "scale"))) != NULL;
}

/* ---- GroupQueryAttention: query (packed with keys and values if key is left out), key?,
 * value?, past_key? [B,G,P,D], past_value?, seqlens_k [B] (length so far - 1),
 * total_sequence_length, cos_cache?, sin_cache?, position_ids?, attention_bias?, head_sink?
 * The caches are buffers: batch b has seqlens_k[b]+1-S entries before the new ones. */
struct gqa {
	int64_t B, S, D, N, G, P, T;
	struct value *len, *before; /* [B,1,1,1]: entries with, and without, the new ones */
};

static bool
gqa_operands(struct build *b, const struct node *n, struct gqa *g, struct value **qkv)
{
	struct value *x = n->in[0], *k = ops_in(n, 1), *v = ops_in(n, 2);
	int64_t d;

	if (x->rank != 3 || !dim_const(x->dims[2]) || !dim_const(x->dims[1]) || g->N < 1 || g->G < 1 || g->N % g->G)
		return diag_invalid(b->diag, n->loc, "query %s, %lld heads, %lld of keys",
		    ops_dims_text(b->g, x->rank, x->dims), (long long)g->N, (long long)g->G);
	if (!k != !v)
		return diag_invalid(b->diag, n->loc, "key and value go together");
	if (k) {
		qkv[0] = split_heads(b, n, x, g->N);
		qkv[1] = split_heads(b, n, k, g->G);
		qkv[2] = split_heads(b, n, v, g->G);
	} else {
		d = x->dims[2] / (g->N + 2 * g->G);
		qkv[0] = split_heads(b, n, part(b, x, 2, 0, d * g->N), g->N);
		qkv[1] = split_heads(b, n, part(b, x, 2, d * g->N, d * g->G), g->G);
		qkv[2] = split_heads(b, n, part(b, x, 2, d * (g->N + g->G), d * g->G), g->G);
	}
	if (!qkv[0] || !qkv[1] || !qkv[2])
		return false;
	g->B = x->dims[0];
	g->S = x->dims[1];
	g->D = qkv[0]->dims[3];
	return true;
}

/* The cache with the new entries at `before`: [B,G,T,D].  What lies beyond is 0. */
static struct value *
cache(struct build *b, const struct gqa *g, struct value *past, struct value *now)
{
	int64_t lo[4] = {0}, hi[4] = {0};
	struct value *at, *hot, *y;

	/* entry t is the new one s where t - before = s */
	at = b_sub(b, place(b, 2, g->T), g->before);
	hot = b2(b, OP_eq, at, place(b, 3, g->S));
	hot = hot ? b_cast(b, hot, now->dtype) : NULL;
	hot = drop(b, hot, 1);
	y = hot ? b_contract(b, "bts,bhsd->bhtd", hot, now) : NULL;
	if (!past || !y)
		return y;
	hi[2] = g->T - g->P;
	past = b_pad(b, past, lo, hi, 0);
	return b_select(b, b2(b, OP_lt, place(b, 2, g->T), g->before), past, y);
}

bool
expand_GroupQueryAttention(struct build *b, const struct node *n, struct value **outs)
{
	struct gqa g = {.N = attr_int(n, "num_heads"), .G = attr_int(n, "kv_num_heads")};
	struct value *qkv[3], *pk = ops_in(n, 3), *pv = ops_in(n, 4), *k, *v, *at, *ids = ops_in(n, 9), *t, *qk = NULL;
	int64_t total, window = attr_int(n, "local_window_size"), bs[2];
	struct scores sc = {.cap = attr_float(n, "softcap"), .bias = ops_in(n, 10)};
	double number;

	if (!ops_in(n, 5) || !ops_in(n, 6))
		return diag_invalid(b->diag, n->loc, "seqlens_k or total_sequence_length is missing");
	if (!gqa_operands(b, n, &g, qkv))
		return false;
	if (!pk != !pv || (pk && (pk->rank != 4 || !dim_const(pk->dims[2]))))
		return diag_invalid(b->diag, n->loc, "past_key and past_value must be [batch,heads,length,size], or both missing");
	g.P = pk ? pk->dims[2] : 0;
	if (value_number(n->in[6], &number) && number >= 0 && number <= INT32_MAX)
		total = (int64_t)number;
	else if (pk && g.P > g.S) /* a buffer that has room for everything */
		total = g.P;
	else if (!pk || g.P == 0)
		total = g.S;
	else
		return diag_unsupported(b->diag, n->loc,
		    "total_sequence_length that is not known while compiling; give it with --value or a larger cache");
	g.T = total > g.P ? total : g.P;
	g.len = b_adds(b, per_batch(b, n->in[5], g.B), 1);
	if (!g.len)
		return false;
	/* a prompt fills the cache from its beginning, whatever its length without padding */
	if (g.P == 0 || total == g.S)
		g.before = b_muls(b, g.len, 0);
	else
		g.before = b_adds(b, g.len, -(double)g.S);
	if (attr_int(n, "do_rotary")) {
		if (!ops_in(n, 7) || !ops_in(n, 8))
			return diag_invalid(b->diag, n->loc, "do_rotary without cos_cache and sin_cache");
		bs[0] = g.B;
		bs[1] = g.S;
		if (!ids) {
			t = b_add(b, g.before, place(b, 3, g.S));
			ids = t ? b_max(b, b_reshape(b, b_expand(b, t, 4, (int64_t[]){g.B, 1, 1, g.S}), 2, bs), b_scalar(b, DT_i64, 0)) : NULL;
		}
		for (int i = 0; i < 2; i++)
			if (!(qkv[i] = rotated(b, qkv[i], ids, n->in[7], n->in[8], 0, n->in[7]->rank == 2 ? 2 * n->in[7]->dims[1] : 0,
			          attr_int(n, "rotary_interleaved"))))
				return false;
	}
	k = cache(b, &g, pk, qkv[1]);
	v = cache(b, &g, pv, qkv[2]);
	/* query i at before + i sees keys up to there, of the last `window` ones */
	at = b_add(b, place(b, 2, g.S), g.before);
	sc.past = b2(b, OP_le, place(b, 3, g.T), at);
	if (window > 0)
		sc.past = both(b, sc.past, b2(b, OP_lt, b_adds(b, at, -(double)window), place(b, 3, g.T)));
	sc.scale = scale_of(n, g.D);
	if (ops_in(n, 11))
		sc.sink = dims4(b, n->in[11], 1, g.N, 1, 1);
	else if (attr_int(n, "smooth_softmax") > 0)
		sc.sink = dims4(b, b_scalar_like(b, qkv[0], 0), 1, 1, 1, 1);
	if (sc.bias && sc.bias->rank == 4 && dim_const(sc.bias->dims[3]) && sc.bias->dims[3] < g.T) {
		int64_t lo[4] = {0}, hi[4] = {0, 0, 0, g.T - sc.bias->dims[3]};

		sc.bias = b_pad(b, sc.bias, lo, hi, 0);
	}
	if (!sc.past || !(outs[0] = join_heads(b, core(b, n, qkv[0], k, v, &sc, &qk))))
		return false;
	if (ops_wants(n, 1))
		outs[1] = k;
	if (ops_wants(n, 2))
		outs[2] = v;
	if (ops_wants(n, 3))
		outs[3] = qk;
	return true;
}
