/* loss_transformer -- hidden states [N,T,C] and attention [N,heads,T,T] (TextBrewer's
 * matches); m: the term's mask [N,T], 1 for tokens that count (no mask: all); means are over
 * what counts, sums over layers.
 *
 *   hidden     mse: (s - t)^2;  cosine: 1 - <s,t>/(|s||t|) of each token;
 *              cls: |n2(s_0) - n2(t_0)|^2 of the first token (Sun et al. 2019)
 *   attention  mse: (s - t)^2 where both tokens count;
 *              ce: -sum_j softmax(t)_j log softmax(s)_j m_j of scores, for tokens that count;
 *              kl: sum_j t_j log(t_j / s_j) m_j of probabilities
 *              heads: each with each, their mean or their sum */
#include "passes/loss_module.h"

/* sum(row w)/sum(w) over the rows that count; w broadcasts to row, NULL: 1 each */
static bool
add_weighted(const struct loss_in *in, struct loss *out, struct value *row, struct value *w)
{
	struct build *b = in->b;
	struct value *mean, *den;
	int64_t dims[MAX_RANK];

	if (!row)
		return false;
	if (!w) {
		mean = loss_mean(in, row);
	} else {
		for (int i = 0; i < row->rank; i++)
			dims[i] = i == 0 ? row->dims[0] : 1;
		if (in->valid)
			w = b_mul(b, w, b_reshape(b, in->valid, row->rank, dims));
		mean = b_reduce_all(b, OP_reduce_sum, b_mul(b, row, w));
		den = b_reduce_all(b, OP_reduce_sum, b_expand(b, w, row->rank, row->dims));
		mean = b_div(b, mean, b_max(b, den, b_scalar(b, DT_f32, 1)));
	}
	out->total = out->total ? b_add(b, out->total, mean) : mean;
	return out->total != NULL;
}

/* m [N,T] as [N,1..,T,1] or, keys, [N,1..,T]; NULL: no mask, or reported (*ok) */
static struct value *
mask_at(const struct loss_in *in, const struct value *like, int axis, const char *name, bool *ok)
{
	struct value *m = in->mask;
	int64_t dims[MAX_RANK];

	if (!m)
		return NULL;
	if (m->rank != 2 || m->dims[1] != like->dims[axis]) {
		*ok = diag_invalid(in->b->diag, in->term->loc,
		    "the mask is %s, %s is %s: one number for each token expected",
		    dims_text(in->b->g->arena, m), name, dims_text(in->b->g->arena, like));
		return NULL;
	}
	for (int i = 0; i < like->rank; i++)
		dims[i] = i == 0 || i == axis ? like->dims[i] : 1;
	return b_reshape(in->b, m, like->rank, dims);
}

/* ---- hidden */
static struct value *
first_token(struct build *b, struct value *x)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

	for (int i = 0; i < x->rank; i++) {
		count[i] = i == 1 && x->rank == 3 ? 1 : x->dims[i];
		step[i] = 1;
	}
	return b_unit(b, b_rows_flat(b, b_slice(b, x, start, count, step)));
}

static struct value *
token_angle(struct build *b, struct value *s, struct value *t)
{
	struct value *dot = b_mul(b, b_unit(b, s), b_unit(b, t));

	dot =
	    dot ? b_reduce(b, OP_reduce_sum, dot, 1, (const int64_t[]){dot->rank - 1}, true) : NULL;
	return b_sub(b, b_scalar(b, DT_f32, 1), dot);
}

bool
loss_hidden(const struct loss_in *in, struct loss *out)
{
	enum { MSE, COSINE, CLS };
	struct build *b = in->b;
	struct distill_term term = *in->term;
	struct loss_in tokens = *in;
	int mode = loss_choice(in, "mode"), n;
	struct loss_pair *p;

	tokens.term = &term;
	term.adaptor.tokens = true;
	if (!adapt_pairs(&tokens, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct value *s = p[i].s, *t = p[i].t, *row, *m = NULL;
		bool ok = true;

		if (s->rank != 2 && s->rank != 3)
			return diag_invalid(b->diag, in->term->loc,
			    "%s is %s: hidden states are [N,T,C] or [N,C]", p[i].s_name,
			    dims_text(b->g->arena, s));
		if (mode != CLS && s->rank == 3)
			m = mask_at(in, s, 1, p[i].s_name, &ok);
		if (!ok)
			return false;
		if (mode == MSE)
			row = b_square(b, b_sub(b, s, t));
		else if (mode == COSINE)
			row = token_angle(b, s, t);
		else
			row = b_sum_classes(
			    b, b_square(b, b_sub(b, first_token(b, s), first_token(b, t))));
		if (!add_weighted(in, out, row, m))
			return false;
	}
	return true;
}

/* ---- attention */
static struct value *
heads_of(const struct loss_in *in, struct value *x)
{
	enum { EACH, MEAN, SUM };
	static const int64_t heads[] = {1};

	switch (loss_choice(in, "heads")) {
	case MEAN:
		return b_mean(in->b, x, 1, heads, true);
	case SUM:
		return b_reduce(in->b, OP_reduce_sum, x, 1, heads, true);
	default:
		return x;
	}
}

static struct value *
sum_keys(struct build *b, struct value *v, struct value *keys)
{
	if (keys)
		v = b_mul(b, v, keys);
	return v ? b_reduce(b, OP_reduce_sum, v, 1, (const int64_t[]){v->rank - 1}, true) : NULL;
}

static struct value *
log_of(struct build *b, struct value *p)
{
	return b_log(b, b_max(b, b_scalar(b, DT_f32, 1e-12), p));
}

bool
loss_attention(const struct loss_in *in, struct loss *out)
{
	enum { MSE, CE, KL };
	struct build *b = in->b;
	struct arena *a = b->g->arena;
	int mode = loss_choice(in, "mode"), n;
	struct loss_pair *p;

	if (!loss_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct value *s = p[i].s, *t = p[i].t, *row, *queries, *keys;
		bool ok = s->rank == 4 && t->rank == 4;

		s = ok ? heads_of(in, s) : s;
		t = ok ? heads_of(in, t) : t;
		if (!s || !t)
			return false;
		if (!ok || !dims_equal(s->rank, s->dims, t->rank, t->dims))
			return diag_invalid(b->diag, in->term->loc,
			    "%s is %s, %s is %s: attention is [N,heads,T,T] of both; where the "
			    "numbers of heads differ "
			    "say heads: mean",
			    p[i].s_name, dims_text(a, p[i].s), p[i].t_name, dims_text(a, p[i].t));
		queries = mask_at(in, s, 2, p[i].s_name, &ok);
		keys = mask_at(in, s, 3, p[i].s_name, &ok);
		if (!ok)
			return false;
		if (mode == MSE) {
			row = b_square(b, b_sub(b, s, t));
			queries = queries ? b_mul(b, queries, keys) : NULL;
		} else if (mode == CE) {
			row = b_neg(
			    b, sum_keys(
				   b, b_mul(b, b_softmax(b, t, 3), b_log_softmax(b, s, 3)), keys));
		} else {
			row = sum_keys(b, b_mul(b, t, b_sub(b, log_of(b, t), log_of(b, s))), keys);
		}
		if (!add_weighted(in, out, row, queries))
			return false;
	}
	return true;
}
