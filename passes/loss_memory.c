/* loss_memory -- losses that remember embeddings of samples beyond the batch.
 *
 *   crd   Tian, Krishnan, Isola 2020, as RepDistiller: v = linear(x) / length, of width dim,
 *         both sides trained.  Each side has a memory M of n embeddings; an anchor v of one
 *         side is to tell its own sample's entry of the other side's memory from K others:
 *
 *           p(e) = exp(<v, e>/tau) / Z,  c = K/n,  Z = n exp(1/(2 dim tau^2))
 *           -log p0/(p0 + c + 1e-7) - K mean_k log c/(pk + c + 1e-7)
 *
 *         added for both sides, mean over rows.  Z is what n p comes to for entries of random
 *         directions, whose products with a unit vector have variance 1/dim; RepDistiller
 *         starts with such a memory and measures Z on the first batch.
 *
 * The K others are drawn for a batch, not for a row: the products are one contraction, and no
 * [rows, K, dim] is gathered.  A row leaves out those of its own class (by the task's labels;
 * without, its own entry) and takes the mean of the rest.  K at least n: all entries.
 *
 * memory: 0  M has an entry for each training sample: after the step that of sample i becomes
 *            momentum m_i + (1 - momentum) v_i, of length 1.  A row's own entry is what an
 *            epoch before left.
 * memory: n  M has the last n embeddings.
 *
 * Entries begin as 0, which is alike to nothing and has no gradient: an executable need not hold
 * them.  Where a row has no entry (in a queue; at evaluation, whose samples are others) the other
 * side's embedding of it takes its place. */
#include "passes/distill_int.h"

#include <math.h>

/* One side: embeddings of the batch, its memory, what is drawn of it, the rows' own entries. */
struct side {
	struct value *v, *memory, *drawn, *own;
};
struct bank {
	int64_t n, k; /* entries, drawn */
	bool queue;
	struct value *places; /* i64 [k] of the drawn; NULL: all in order */
	struct value *index;  /* i64 [rows]: the rows' entries */
	struct value *labels,
	    *seen; /* 1 + class, f32 [rows] (-1: to ignore) and [n] (0: none yet); or NULL */
};

static const double least = 1e-7;

static struct value *
gather(struct build *b, struct value *of, const struct bank *m)
{
	return m->places ? b_gather(b, of, m->places, 0) : of;
}

/* Of zeros: nothing of it is in the executable. */
static struct value *
memory(const struct loss_in *in, const char *what, int rank, int64_t n, int64_t dim)
{
	return loss_state(in, what, tensor_new(in->b->g->arena, DT_f32, rank, (int64_t[]){n, dim}));
}

static const char *
of_layer(const struct loss_in *in, const char *what, int layer)
{
	return layer ? arena_printf(in->b->g->arena, "%s%d", what, layer) : what;
}

/* i64 below n, drawn anew for each batch */
static struct value *
draw_places(const struct loss_in *in, const char *what, const struct bank *m)
{
	struct build *b = in->b;
	struct value *u = loss_uniform(in, what, 1, &m->k);

	u = b_cast(b, b1(b, OP_floor, b_muls(b, u, (double)m->n)), DT_i64);
	return b_min(b, u, b_scalar(b, DT_i64, (double)(m->n - 1)));
}

/* The places of the queue that the batch takes: those after the last batch's. */
static struct value *
queue_places(const struct loss_in *in, const struct bank *m)
{
	struct build *b = in->b;
	int64_t rows = in->student->dims[0];
	struct value *step = distill_input(b->g, "$step", DT_i64, 0, NULL), *at;

	step = distill_draws(b, in->accumulate, step);
	at = b_muls(b, b_adds(b, step, -1), (double)rows);
	at = b_add(b, b_iota(b, DT_i64, 1, &rows, 0), at);
	return b2(b, OP_fmod, at, b_scalar(b, DT_i64, (double)m->n));
}

/* Between 0 and n-1 whatever the caller of a step says. */
static struct value *
bank_places(const struct loss_in *in, const struct bank *m)
{
	struct build *b = in->b;
	struct value *i = b_max(b, loss_index(in), b_scalar(b, DT_i64, 0));

	return b_min(b, i, b_scalar(b, DT_i64, (double)(m->n - 1)));
}

static bool
bank_open(const struct loss_in *in, int layer, struct bank *m)
{
	struct build *b = in->b;
	int64_t rows = in->student->dims[0], most = (int64_t)loss_number(in, "negatives");

	*m = (struct bank){.n = (int64_t)loss_number(in, "memory")};
	m->queue = m->n > 0;
	if (!m->queue)
		m->n = in->samples;
	if (m->n == 0)
		return diag_invalid(b->diag, in->term->loc,
		    "term \"%s\": how many samples there are is not known, so not how many to "
		    "remember; "
		    "say memory: N",
		    in->term->name);
	if (m->queue && m->n < rows)
		return diag_invalid(b->diag, in->term->loc,
		    "term \"%s\": a memory of %lld embeddings has no room for the batch of %lld",
		    in->term->name, (long long)m->n, (long long)rows);
	m->k = most < m->n ? most : m->n;
	if (!in->eval)
		diag_note(b->diag, in->term->loc,
		    "term \"%s\" remembers %lld embeddings of both sides: %.1f MB", in->term->name,
		    (long long)m->n, 8e-6 * (double)m->n * loss_number(in, "dim"));
	if (m->k < m->n)
		m->places = draw_places(in, of_layer(in, "draw", layer), m);
	if (!in->eval)
		m->index = m->queue ? queue_places(in, m) : bank_places(in, m);
	if (in->target && in->target->rank == 1 && dtype_is_int(in->target->dtype)) {
		m->labels = b_adds(b, b_cast(b, in->target, DT_f32), 1);
		if (in->field->has_ignore)
			m->labels = b_select(b,
			    b2(b, OP_eq, in->target,
				b_scalar_like(b, in->target, (double)in->field->ignore)),
			    b_scalar(b, DT_f32, -1), m->labels);
		m->seen = memory(in, of_layer(in, "labels", layer), 1, m->n, 0);
	}
	return true;
}

static struct side
side(const struct loss_in *in, int layer, const char *name, struct value *x, const struct bank *m)
{
	struct build *b = in->b;
	const char *what = arena_printf(b->g->arena, "memory.%s", of_layer(in, name, layer));
	int64_t dim = (int64_t)loss_number(in, "dim");
	struct side s = {.v = loss_embedding(in, name, layer, loss_pooled(in, x))};

	s.v = b_unit_rows(b, s.v, 1e-12);
	s.memory = memory(in, what, 2, m->n, dim);
	s.drawn = gather(b, s.memory, m);
	s.own = s.v;
	if (!m->queue && !in->eval)
		s.own = b_gather(b, s.memory, m->index, 0);
	return s;
}

/* f32 [rows, k]: 1 where the drawn entry is another sample, of another class */
static struct value *
others(const struct loss_in *in, const struct bank *m)
{
	struct build *b = in->b;
	struct value *mine = m->labels, *theirs = m->labels ? gather(b, m->seen, m) : NULL;
	int64_t column[2] = {in->student->dims[0], 1}, row[2] = {1, m->k};

	if (!mine && !m->queue && !in->eval) {
		mine = m->index;
		theirs = m->places ? m->places : b_iota(b, DT_i64, 1, &m->k, 0);
	}
	if (!mine)
		return NULL;
	mine = b_reshape(b, mine, 2, column);
	theirs = b_reshape(b, theirs, 2, row);
	return b_cast(b, b1(b, OP_not, b2(b, OP_eq, mine, theirs)), DT_f32);
}

/* exp(product/tau)/Z as (product/tau - log Z): below the rounding of Z alone */
static struct value *
chance(const struct loss_in *in, const struct bank *m, struct value *product)
{
	double tau = loss_number(in, "tau"), dim = loss_number(in, "dim");
	double log_z = log((double)m->n) + 1 / (2 * dim * tau * tau);

	return b_exp(in->b, b_adds(in->b, b_muls(in->b, product, 1 / tau), -log_z));
}

static struct value *
contrast(const struct loss_in *in, const struct bank *m, struct value *mask,
    const struct side *anchor, const struct side *other)
{
	struct build *b = in->b;
	double c = (double)m->k / (double)m->n;
	struct value *p0, *p, *own, *rest, *n;

	own = b_contract(b, "nd,nd->n", anchor->v, other->own);
	p0 = chance(in, m, own);
	own = b_log(b, b_div(b, p0, b_adds(b, p0, c + least)));
	p = chance(in, m, b_contract(b, "nd,kd->nk", anchor->v, other->drawn));
	rest = b_log(b, b_muls(b, b_adds(b, p, c + least), 1 / c));
	n = b_scalar(b, DT_f32, (double)m->k);
	if (mask) {
		rest = b_mul(b, rest, mask);
		n = b_reduce(b, OP_reduce_sum, mask, 1, (const int64_t[]){1}, false);
		n = b_max(b, n, b_scalar(b, DT_f32, 1));
	}
	rest = b_reduce(b, OP_reduce_sum, rest, 1, (const int64_t[]){1}, false);
	rest = b_muls(b, b_div(b, rest, n), (double)m->k);
	return loss_mean(in, b_sub(b, rest, own));
}

static struct value *
put(struct build *b, struct value *into, struct value *places, struct value *v)
{
	struct attr axis = {.name = "axis", .kind = ATTR_INT, .i = 0};
	struct value *in[3] = {into, places, v};

	return v ? b_op(b, OP_scatter_set, 3, in, 1, &axis) : NULL;
}

static void
remember(const struct loss_in *in, const struct bank *m, const struct side *s)
{
	struct build *b = in->b;
	double keep = loss_number(in, "momentum");
	struct value *v = s->v;

	if (!m->queue)
		v = b_unit_rows(
		    b, b_add(b, b_muls(b, s->own, keep), b_muls(b, v, 1 - keep)), 1e-12);
	loss_update(in, s->memory, put(b, s->memory, m->index, v));
}

static struct value *
crd(const struct loss_in *in, int layer, struct value *xs, struct value *xt)
{
	struct build *b = in->b;
	struct side s, t;
	struct value *mask, *sum;
	struct bank m;

	if (!bank_open(in, layer, &m))
		return NULL;
	s = side(in, layer, "student", xs, &m);
	t = side(in, layer, "teacher", xt, &m);
	mask = others(in, &m);
	sum = b_add(b, contrast(in, &m, mask, &s, &t), contrast(in, &m, mask, &t, &s));
	if (!in->eval && sum) {
		remember(in, &m, &s);
		remember(in, &m, &t);
		if (m.seen)
			loss_update(in, m.seen,
			    put(b, m.seen, m.index, b_max(b, m.labels, b_scalar(b, DT_f32, 0))));
	}
	return sum;
}

bool
loss_crd(const struct loss_in *in, struct loss *out)
{
	return loss_each_pair(in, out, crd);
}
