/* portions -- runs what treats the items of a batch alike (the forward part of a frozen
 * network) in portions of the batch, so that what one layer writes is still in the cache
 * when the next one reads it.
 *
 * Such a part is cut into segments, each with portions of its own size, growing from
 * segment to segment: early layers of a convolutional network have large images and few
 * weights, late ones the other way round.  A portion of a segment runs once the portions
 * of the segment before it have made its items, depth first:
 *
 *   x[0:1] -> A, x[1:2] -> A, concat -> B, x[2:3] -> A, x[3:4] -> A, concat -> B, ...
 *
 * A concatenation along the items costs nothing: its operands are made in their places.
 * Where to cut and how large portions are follows from the cost of the layers for that
 * many items and from the cache that their activations fit in; least time over all
 * cuts, by dynamic programming.
 *
 * requires: core operators, constant dims, before algorithm and layout.
 * leaves: nodes of portions of the batch; all else as it was.
 * does not: touch anything that depends on a state, or mixes items. */
#include "passes/algorithm.h"

#include <math.h>

enum { CALL = 2000, MOST_CROSSING = 3, MOST_SIZES = 16, LEAST_GAIN = 10 };

/* One node of a part; values are named by the place of the node that makes them. */
struct member {
	struct node *n;
	int last;                    /* place of the last that reads it */
	bool outside;                /* read outside the part, too */
	double bytes, moved;         /* of an item: its result; what the node loads and stores */
	double live;                 /* of an item: all that must be there while it runs */
	double weights;              /* bytes of constants */
	bool passed;                 /* one operand comes in the registers of the kernel before */
	double (*cost)[3];           /* cycles of a convolution by size of portions and residence; NULL: none */
	VEC(struct value *) made;    /* portions of a result that is read outside */
};
struct segment { int from, to, size; }; /* places; size: index of its portions' size */

struct part {
	VEC(struct member) m;        /* in graph order */
	int64_t batch, sizes[MOST_SIZES];
	int nsizes;
	VEC(struct segment) segments; /* none: the batch stays whole */
	bool written;
};

struct portions {
	struct graph *g;
	struct pass_ctx *ctx;
	struct arena *a;             /* dies with the pass */
	int nvalue;
	enum residence where;        /* of weights, before the first portion */
	bool *item;                  /* by value id: an input or made by a part; items along axis 0 */
	struct part **part;          /* by value id: that which makes it, or NULL */
	int *place;                  /* by value id, in part */
	VEC(struct part *) parts;
	struct build *b;
};

/* ---- which nodes */
static bool
same_for_all_items(const struct value *v, const struct value *out)
{
	return v->kind == VAL_CONST && (v->rank < out->rank || v->dims[0] == 1);
}

/* Whether the start (lo, hi, step ...) of axis 0 is this. */
static bool
axis0_is(const struct node *n, const char *attr, int64_t want)
{
	const int64_t *v;

	return attr_ints(n, attr, &v) == 0 || v[0] == want;
}

/* Every item of the result depends on the same item of its operands, and on constants. */
static bool
keeps_items(const struct portions *p, const struct node *n)
{
	const struct value *out = n->out[0];
	bool map = op_info[n->op].class == OC_map && !op_is_random(n->op);
	int items = 0;

	if (n->nout != 1 || !out || out->rank < 2 || out->dims[0] < 2)
		return false;
	for (int i = 0; i < out->rank; i++)
		if (!dim_const(out->dims[i]))
			return false;
	for (int i = 0; i < n->nin; i++) {
		const struct value *v = n->in[i];

		if (!v || (map && (v->kind == VAL_CONST ? !same_for_all_items(v, out) : v->rank != out->rank)))
			return false;
		if (v->kind != VAL_CONST && (!p->item[v->id] || v->dims[0] != out->dims[0]))
			return false;
		items += v->kind != VAL_CONST;
	}
	switch (n->op) {
	case OP_conv:
		return n->in[1]->kind == VAL_CONST;
	case OP_max_pool:
	case OP_sum_pool:
	case OP_reshape:
		return items == 1;
	case OP_concat: {
		int64_t axis = attr_int(n, "axis");

		return items == n->nin && axis != 0 && axis != -out->rank;
	}
	case OP_transpose:
		return items == 1 && axis0_is(n, "perm", 0);
	case OP_slice:
		return items == 1 && axis0_is(n, "start", 0) && axis0_is(n, "step", 1);
	case OP_pad:
		return items == n->nin && axis0_is(n, "lo", 0) && axis0_is(n, "hi", 0);
	default:
		return map && items > 0;
	}
}

static void
add_member(struct portions *p, struct part *to, struct node *n)
{
	int place = to->m.n;

	p->part[n->out[0]->id] = to;
	p->place[n->out[0]->id] = place;
	vec_push(p->a, &to->m, (struct member){.n = n, .last = place});
}

/* n goes to the part of its operands; parts that it joins become one, in graph order. */
static void
join(struct portions *p, struct node *n)
{
	struct part *to = NULL;

	for (int i = 0; i < n->nin; i++) {
		struct part *from = p->part[n->in[i]->id], old;

		if (!from || from == to)
			continue;
		if (!to) {
			to = from;
			continue;
		}
		old = *to;
		to->m.v = NULL;
		to->m.n = to->m.cap = 0;
		for (int x = 0, y = 0; x < old.m.n || y < from->m.n;) {
			bool first = y == from->m.n || (x < old.m.n && old.m.v[x].n->id < from->m.v[y].n->id);

			add_member(p, to, first ? old.m.v[x++].n : from->m.v[y++].n);
		}
		from->m.n = 0;
	}
	if (!to) {
		to = arena_new(p->a, struct part);
		to->batch = n->out[0]->dims[0];
		vec_push(p->a, &p->parts, to);
	}
	add_member(p, to, n);
}

static void
find_parts(struct portions *p)
{
	struct graph *g = p->g;

	for (int i = 0; i < g->inputs.n; i++)
		p->item[g->inputs.v[i]->id] = g->inputs.v[i]->rank > 1;
	for (int i = 0; i < g->nodes.n; i++)
		if (!g->nodes.v[i]->dead && keeps_items(p, g->nodes.v[i])) {
			p->item[g->nodes.v[i]->out[0]->id] = true;
			join(p, g->nodes.v[i]);
		}
}

/* ---- what they cost */
static struct member *
maker(const struct portions *p, const struct value *v)
{
	return p->part[v->id] ? &p->part[v->id]->m.v[p->place[v->id]] : NULL;
}

static void
note_outside(const struct portions *p, const struct value *v)
{
	struct member *m = v && v->id < p->nvalue ? maker(p, v) : NULL;

	if (m)
		m->outside = true;
}

static void
find_readers(struct portions *p)
{
	struct graph *g = p->g;

	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];
		bool in = n->nout == 1 && n->out[0] && p->part[n->out[0]->id];

		for (int k = 0; !n->dead && k < n->nin; k++) {
			struct member *m = n->in[k] ? maker(p, n->in[k]) : NULL;

			if (m && in && m->last < p->place[n->out[0]->id])
				m->last = p->place[n->out[0]->id];
			else if (m && !in)
				m->outside = true;
		}
	}
	for (int i = 0; i < g->outputs.n; i++)
		note_outside(p, g->outputs.v[i]);
	for (int i = 0; i < g->updates.n; i++)
		note_outside(p, g->updates.v[i].next);
}

static double
item_bytes(const struct value *v)
{
	return (double)dims_count(v->rank - 1, v->dims + 1) * dtype_info[v->dtype].bits / 8;
}

/* A map takes the result that it is the only reader of from the registers of the kernel
 * that makes it, and leaves its own in its place. */
static void
measure(struct portions *p, struct part *part, int at)
{
	struct member *m = &part->m.v[at];
	const struct node *n = m->n;
	bool map = op_info[n->op].class == OC_map;
	struct conv_layer l = {.n = n, .fixed = true};

	m->bytes = item_bytes(n->out[0]);
	for (int i = 0; i < n->nin; i++) {
		struct member *x = maker(p, n->in[i]);

		if (n->in[i]->kind == VAL_CONST)
			m->weights += (double)n->in[i]->data->bytes;
		else if (map && !m->passed && x && x->last == at && !x->outside)
			m->passed = true;
		else
			m->moved += item_bytes(n->in[i]);
	}
	m->moved += m->passed ? 0 : m->bytes;
	m->live += m->passed ? 0 : m->bytes;
	for (int k = at + 1; k <= m->last; k++)
		part->m.v[k].live += m->bytes;
	if (n->op != OP_conv || !conv_shape_of(n, &l.s))
		return;
	m->cost = arena_alloc(p->a, sizeof *m->cost * MOST_SIZES);
	for (int s = 0; s < part->nsizes; s++)
		for (int where = IN_L2; where <= IN_MEMORY; where++) {
			l.s.n = part->sizes[s];
			l.where = (enum residence)where;
			m->cost[s][where] = algorithm_cost(p->ctx, &l);
		}
}

/* Cycles of places [from, to) for the whole batch in portions of this size.  From one
 * portion to the next all that comes before runs, too. */
static double
segment_cost(const struct portions *p, const struct part *part, int from, int to, int size)
{
	const struct machine *m = &p->ctx->opts->machine;
	double items = (double)part->sizes[size], times = (double)part->batch / items, weights = 0, most = 0, total = 0;

	for (int i = 0; i < to; i++) {
		double here = part->m.v[i].live * items + part->m.v[i].weights;

		weights += part->m.v[i].weights;
		most = here > most && i >= from ? here : most;
	}
	/* a quarter more: scratch, halos */
	enum residence data = cost_residence(m, most * 5 / 4), again = cost_residence(m, (most + weights) * 5 / 4);
	double rate = cost_rate(m, data);

	again = again < p->where ? again : p->where;
	for (int i = from; i < to; i++) {
		const struct member *x = &part->m.v[i];

		if (x->moved > 0)
			total += times * (items * x->moved / rate + CALL);
		if (x->cost)
			total += x->cost[size][p->where] + (times - 1) * x->cost[size][again];
	}
	return total;
}

/* How many results of places before k are read from k on is bearable. */
static bool
may_cut(const struct part *part, int k)
{
	int crossing = 0;

	for (int i = 0; i < k; i++)
		crossing += part->m.v[i].last >= k;
	return !part->m.v[k].passed && crossing >= 1 && crossing <= MOST_CROSSING;
}

/* The segments of least cost, if they are worth it: a gain of a few percent by the model
 * is none when measured. */
static void
choose(struct portions *p, struct part *part)
{
	int n = part->m.n, ns = part->nsizes, ncut = 1, *cut = arena_array(p->a, int, n + 1);

	for (int k = 1; k < n; k++)
		if (may_cut(part, k))
			cut[ncut++] = k;
	cut[ncut] = n;
	/* best[k * ns + s]: of all before cut k, the last segment in portions of sizes[s] */
	struct { double cost; int from, size; } *best = arena_alloc(p->a, sizeof *best * (size_t)((ncut + 1) * ns));

	for (int k = 1; k <= ncut; k++)
		for (int s = 0; s < ns; s++) {
			best[k * ns + s].cost = HUGE_VAL;
			for (int j = 0; j < k; j++) {
				double cost = segment_cost(p, part, cut[j], cut[k], s);
				int with = 0;

				for (int t = 1; t < s; t++)
					if (best[j * ns + t].cost < best[j * ns + with].cost)
						with = t;
				if (j)
					cost += s ? best[j * ns + with].cost : HUGE_VAL;
				if (cost < best[k * ns + s].cost) {
					best[k * ns + s].cost = cost;
					best[k * ns + s].from = j;
					best[k * ns + s].size = with;
				}
			}
		}
	int s = ns - 1;
	for (int t = 0; t < ns; t++)
		s = best[ncut * ns + t].cost < best[ncut * ns + s].cost ? t : s;
	double whole = segment_cost(p, part, 0, n, ns - 1);
	if (whole - best[ncut * ns + s].cost < whole * LEAST_GAIN / 100)
		return;
	for (int k = ncut; k > 0;) { /* from the end */
		int j = best[k * ns + s].from;

		vec_push(p->a, &part->segments, (struct segment){cut[j], cut[k], s});
		s = best[k * ns + s].size;
		k = j;
	}
	for (int i = 0, k = part->segments.n - 1; i < k; i++, k--) {
		struct segment x = part->segments.v[i];

		part->segments.v[i] = part->segments.v[k];
		part->segments.v[k] = x;
	}
}

/* ---- writing them */
static struct value *
items_of(struct build *b, struct value *v, int64_t from, int64_t to)
{
	int64_t start[MAX_RANK] = {from}, count[MAX_RANK] = {to - from}, step[MAX_RANK] = {1};

	for (int i = 1; i < v->rank; i++) {
		count[i] = v->dims[i];
		step[i] = 1;
	}
	return to - from == v->dims[0] ? v : b_slice(b, v, start, count, step);
}

/* n of `items` items */
static struct value *
again(struct portions *p, const struct node *n, struct value **in, int64_t items)
{
	struct attr *a = arena_array(p->g->arena, struct attr, n->nattr + 1);

	for (int i = 0; i < n->nattr; i++) {
		a[i] = n->attr[i];
		if (!attr_holds_dims(n->op, a[i].name) || a[i].n < 1)
			continue;
		int64_t *dims = arena_dup(p->g->arena, a[i].ints, sizeof *dims * (size_t)a[i].n);

		dims[0] = items;
		a[i].ints = dims;
	}
	return b_op(p->b, n->op, n->nin, in, n->nattr, a);
}

/* Segments up to k for items [from, to); of[place]: those results that are read later. */
static bool
write_segment(struct portions *p, struct part *part, int k, int64_t from, int64_t to, struct value **of)
{
	const struct segment *s = &part->segments.v[k];
	int64_t step = k ? part->sizes[part->segments.v[k - 1].size] : 0, n = k ? (to - from + step - 1) / step : 0;
	struct value **before = arena_array(p->a, struct value *, n * part->m.n + 1), **all = arena_array(p->a, struct value *, n + 1);

	for (int64_t i = 0; i < n; i++) {
		int64_t at = from + i * step, end = at + step < to ? at + step : to;

		if (!write_segment(p, part, k - 1, at, end, before + i * part->m.n))
			return false;
	}
	for (int v = 0; v < s->from; v++) {
		if (part->m.v[v].last < s->from)
			continue;
		for (int64_t i = 0; i < n; i++)
			all[i] = before[i * part->m.n + v];
		p->b->loc = part->m.v[v].n->loc;
		of[v] = n == 1 ? all[0] : b_concat(p->b, (int)n, all, 0);
		if (!of[v])
			return false;
	}
	for (int v = s->from; v < s->to; v++) {
		struct member *m = &part->m.v[v];
		struct value **in = arena_array(p->a, struct value *, m->n->nin);

		p->b->loc = m->n->loc;
		for (int i = 0; i < m->n->nin; i++) {
			struct value *x = m->n->in[i];

			in[i] = x->kind == VAL_CONST ? x : p->part[x->id] ? of[p->place[x->id]] : items_of(p->b, x, from, to);
		}
		of[v] = again(p, m->n, in, to - from);
		if (!of[v])
			return false;
		if (m->outside)
			vec_push(p->a, &m->made, of[v]);
	}
	return true;
}

static bool
write_part(struct portions *p, struct part *part)
{
	int last = part->segments.n - 1;
	int64_t step = part->sizes[part->segments.v[last].size];

	part->written = true;
	for (int64_t at = 0; at < part->batch; at += step)
		if (!write_segment(p, part, last, at, at + step < part->batch ? at + step : part->batch,
			arena_array(p->a, struct value *, part->m.n)))
			return false;
	return true;
}

/* All portions are made where the first node of their part was. */
static bool
visit(struct rewrite *rw, struct node *n)
{
	struct portions *p = rw->ctx;
	struct part *part = n->nout == 1 && n->out[0] ? p->part[n->out[0]->id] : NULL;
	struct value *whole = NULL;

	if (!part || !part->segments.n)
		return true;
	p->b = &rw->b;
	if (!part->written && !write_part(p, part))
		return false;
	struct member *m = &part->m.v[p->place[n->out[0]->id]];
	rw->b.loc = n->loc;
	if (m->outside) {
		whole = m->made.n == 1 ? m->made.v[0] : b_concat(&rw->b, m->made.n, m->made.v, 0);
		if (!whole)
			return false;
	}
	rewrite_node(rw, n, &whole);
	return true;
}

bool
pass_portions(struct graph *g, struct pass_ctx *ctx)
{
	struct portions p = {.g = g, .ctx = ctx, .nvalue = g->nvalue};
	bool ok = true;

	if (ctx->opts->opt_level < 2)
		return true;
	p.a = arena_create();
	p.item = arena_array(p.a, bool, g->nvalue + 1);
	p.part = arena_array(p.a, struct part *, g->nvalue + 1);
	p.place = arena_array(p.a, int, g->nvalue + 1);
	p.where = cost_residence(&ctx->opts->machine, cost_working_set(p.a, g));
	find_parts(&p);
	find_readers(&p);
	for (int i = 0; i < p.parts.n; i++) {
		struct part *part = p.parts.v[i];

		for (int64_t c = 1; c < part->batch && part->nsizes + 1 < MOST_SIZES; c *= 2)
			part->sizes[part->nsizes++] = c;
		part->sizes[part->nsizes++] = part->batch;
		for (int k = 0; k < part->m.n; k++)
			measure(&p, part, k);
		if (part->m.n > 1)
			choose(&p, part);
	}
	ok = graph_rewrite(g, ctx->diag, NULL, false, visit, &p);
	arena_destroy(p.a);
	return ok;
}
