/* recompute -- activations of the student that backward makes again rather than keeps
 * (T. Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016), so that a step
 * fits opts->memory_budget.
 *
 * requires: core operators and layouts.  leaves: backward nodes that read copies of the
 * forward nodes, the same operators on the same layouts.  A copy reads what is kept
 * through `after`, whose second operand is a gradient: no pass joins it with the
 * forward kernel, which that gradient depends on.  Reductions (batch statistics) are
 * kept.
 *
 * What the graph needs is asked of lowering and planning, as it will be; which values to
 * drop is decided on the lives of that program's buffers: always the value that takes the
 * most from the calls above a target for each cycle of making it again, the target going
 * down in small steps.  The choice does not depend on the budget, which only says where to
 * stop; so a budget that is met for some recomputation is met for more. */
#include "passes/cost.h"
#include "passes/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	FEW = 1 << 14,     /* smaller values are not worth a kernel */
	RUNTIME = 6 << 20, /* code, libraries and tables of a trainer */
	STEP = 32          /* targets go down by a 32nd */
};

/* A value in work memory, with the calls that use it. */
struct item {
	struct value *v;
	int64_t bytes;
	int first, forward, backward, last; /* forward: its last use before backward, backward: its first after; -1 */
	double cost;                        /* cycles to make it again from deps */
	VEC(struct item *) deps;            /* what those kernels read */
	int pos;                            /* of its node in the graph */
	bool candidate, dropped;
	int need, again;                    /* of the second life, when dropped */
};

/* One lowered program of the graph. */
struct trial {
	struct program *p;
	char *traits;
	int end;             /* the last call of forward */
	struct item **of;    /* by value id */
	VEC(struct item *) items;
	int64_t *live;       /* by call: bytes in use */
};

struct recompute {
	struct graph *g;
	struct pass_ctx *ctx;
	struct arena *tmp;
	struct trial t;      /* with everything kept */
	int *pos;            /* by node id */
	bool *forward;       /* by node id: runs in forward, though perhaps only backward reads it */
	int end;             /* position of the last node that an output needs */
	int *depth;          /* by value id: the last position of forward that it depends on */
	int *read;           /* by value id: the last position of forward that reads it */
};

/* ---- the program as it would be */
static struct program *
lower_trial(struct recompute *r)
{
	struct pass_opts opts = *r->ctx->opts;
	struct pass_ctx ctx = *r->ctx;

	opts.verify_each = false;
	ctx.opts = &opts;
	return pass_lower(r->g, &ctx) && pass_plan(r->g, &ctx) ? ctx.program : NULL;
}

/* Of a step: what its program needs, a batch of data behind its inputs, the runtime. */
static int64_t
besides_work(const struct program *p)
{
	int64_t io = 0;

	for (int i = 0; i < p->inputs.n; i++)
		io += 2 * p->inputs.v[i].buffer->bytes;
	for (int i = 0; i < p->outputs.n; i++)
		io += p->outputs.v[i].buffer->bytes;
	return p->const_bytes + p->state_bytes + io + RUNTIME;
}

static struct item *
item_of(struct trial *t, const struct value *v)
{
	return v->kind == VAL_NODE ? t->of[v->id] : NULL;
}

static void
note_use(struct recompute *r, int call, const struct buffer *b, bool written)
{
	struct trial *t = &r->t;
	struct item *i = b->value && b->space == SPACE_WORK ? item_of(t, b->value) : NULL;

	if (!i)
		return;
	if (i->first < 0)
		i->first = call;
	if (call <= t->end) {
		i->forward = call;
		if (written)
			i->cost += cost_calls(&r->ctx->opts->machine, &t->p->calls.v[call], 1, IN_MEMORY);
	} else if (i->backward < 0) {
		i->backward = call;
	}
	i->last = call;
}

static void
find_items(struct recompute *r)
{
	struct trial *t = &r->t;

	t->traits = memory_traits(r->g);
	t->end = memory_forward_end(t->p, t->traits);
	t->of = arena_array(r->tmp, struct item *, r->g->nvalue + 1);
	t->live = arena_array(r->tmp, int64_t, t->p->calls.n + 2);
	for (int i = 0; i < t->p->buffers.n; i++) {
		const struct buffer *b = t->p->buffers.v[i];
		struct item *it;

		if (b->space != SPACE_WORK || !b->value || b->value->kind != VAL_NODE)
			continue;
		it = arena_new(r->tmp, struct item);
		*it = (struct item){.v = b->value->def->out[b->value->out], .bytes = memory_placed(b),
		    .first = -1, .forward = -1, .backward = -1, .last = -1};
		t->of[it->v->id] = it;
		vec_push(r->tmp, &t->items, it);
	}
	for (int c = 0; c < t->p->calls.n; c++)
		for (int k = 0; k < t->p->calls.v[c].kernel->nbuf; k++)
			note_use(r, c, t->p->calls.v[c].arg[k], t->p->calls.v[c].kernel->buf_written[k]);
}

/* Its memory is a part of another's, or another's of it. */
static void
leave_parts(struct trial *t)
{
	for (int i = 0; i < t->p->buffers.n; i++) {
		const struct buffer *b = t->p->buffers.v[i], *h = b->alias;

		if (b->space != SPACE_WORK || !h || (b->bytes == h->bytes && !b->at))
			continue;
		if (b->value && item_of(t, b->value))
			item_of(t, b->value)->candidate = false;
		if (h->value && item_of(t, h->value))
			item_of(t, h->value)->candidate = false;
	}
}

/* ---- where values stand in the graph */
static bool
is_reduction(const struct node *n)
{
	return op_info[n->op].class == OC_reduce;
}

/* An output needs it. */
static bool
needed(const struct recompute *r, const struct node *n)
{
	return n->nout && n->out[0] && (r->t.traits[n->out[0]->id] & FORWARD);
}

static bool
of_student(const struct recompute *r, const struct item *it)
{
	enum { BOTH = OF_STATE | OF_INPUT };

	return (r->t.traits[it->v->id] & BOTH) == BOTH && it->bytes >= FEW && it->first <= r->t.end;
}

/* Forward kernels also make what only backward reads (the slope of an activation, say),
 * and what that is computed from within them. */
static void
find_forward(struct recompute *r)
{
	struct graph *g = r->g;
	char *late = xcalloc((size_t)g->nvalue + 1, 1); /* read by backward, or by nobody */
	char *early = xcalloc((size_t)g->nvalue + 1, 1);

	for (int i = g->nodes.n - 1; i >= 0; i--) {
		const struct node *n = g->nodes.v[i];
		const struct item *it = n->nout && n->out[0] ? item_of(&r->t, n->out[0]) : NULL;

		r->forward[n->id] = needed(r, n) || i <= r->end ||
				    (it ? it->first <= r->t.end
					: n->nout && n->out[0] && early[n->out[0]->id] && !late[n->out[0]->id]);
		for (int k = 0; k < n->nin; k++)
			if (n->in[k])
				(r->forward[n->id] ? early : late)[n->in[k]->id] = 1;
	}
	free(late);
	free(early);
}

static void
find_positions(struct recompute *r)
{
	struct graph *g = r->g;

	r->pos = arena_array(r->tmp, int, g->nnode + 1);
	r->forward = arena_array(r->tmp, bool, g->nnode + 1);
	r->depth = arena_array(r->tmp, int, g->nvalue + 1);
	r->read = arena_array(r->tmp, int, g->nvalue + 1);
	for (int i = 0; i < g->nodes.n; i++)
		r->pos[g->nodes.v[i]->id] = i;
	for (int i = 0; i < r->t.items.n; i++) {
		struct item *it = r->t.items.v[i];

		it->pos = r->pos[it->v->def->id];
		if (of_student(r, it) && needed(r, it->v->def) && it->pos > r->end)
			r->end = it->pos;
	}
	find_forward(r);
	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];
		int depth = needed(r, n) ? i : 0;

		for (int k = 0; k < n->nin; k++)
			if (n->in[k] && r->depth[n->in[k]->id] > depth)
				depth = r->depth[n->in[k]->id];
		for (int k = 0; k < n->nin && r->forward[n->id]; k++)
			if (n->in[k] && r->read[n->in[k]->id] < depth)
				r->read[n->in[k]->id] = depth;
		for (int o = 0; o < n->nout; o++)
			if (n->out[o])
				r->depth[n->out[o]->id] = depth;
	}
}

/* Whether v is there when backward wants it; else it is computed where it is used. */
static bool
stored(struct recompute *r, const struct value *v)
{
	return v->kind != VAL_NODE || item_of(&r->t, v) || is_reduction(v->def);
}

/* What the nodes that make v read from memory; false: they cannot be copied. */
static bool
find_deps(struct recompute *r, struct item *it, const struct node *n, char *seen)
{
	if (op_info[n->op].class == OC_host || op_info[n->op].class == OC_composite)
		return false;
	for (int k = 0; k < n->nin; k++) {
		struct value *v = n->in[k];
		struct item *dep;

		if (!v || seen[v->id])
			continue;
		seen[v->id] = 1;
		if (!stored(r, v)) {
			if (!find_deps(r, it, v->def, seen))
				return false;
		} else if ((dep = item_of(&r->t, v))) {
			vec_push(r->tmp, &it->deps, dep);
		}
	}
	return true;
}

static int
later_first(const void *a, const void *b)
{
	const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;

	return x->first != y->first ? (x->first < y->first) - (x->first > y->first) : y->pos - x->pos;
}

static void
find_candidates(struct recompute *r)
{
	struct trial *t = &r->t;
	char *seen = xcalloc((size_t)r->g->nvalue + 1, 1);

	for (int i = 0; i < t->items.n; i++) {
		struct item *it = t->items.v[i];

		it->candidate = of_student(r, it) && it->backward >= 0 && !is_reduction(it->v->def);
		memset(seen, 0, (size_t)r->g->nvalue + 1);
		it->candidate = it->candidate && find_deps(r, it, it->v->def, seen);
	}
	leave_parts(t);
	qsort(t->items.v, (size_t)t->items.n, sizeof *t->items.v, later_first);
	free(seen);
}

/* ---- lives, with some values dropped */
static int64_t
simulate(struct trial *t)
{
	int64_t now = 0, peak = 0;

	memset(t->live, 0, sizeof *t->live * (size_t)(t->p->calls.n + 2));
	for (int i = 0; i < t->items.n; i++) {
		t->items.v[i]->need = t->items.v[i]->dropped ? t->items.v[i]->backward : -1;
		t->items.v[i]->again = t->items.v[i]->last;
	}
	/* readers before what they read */
	for (int i = 0; i < t->items.n; i++) {
		struct item *it = t->items.v[i];

		for (int k = 0; it->dropped && k < it->deps.n; k++) {
			struct item *d = it->deps.v[k];

			if (d->dropped && it->need < d->need)
				d->need = it->need;
			if (it->need > d->again)
				d->again = it->need;
		}
		if (it->first < 0)
			continue;
		t->live[it->first] += it->bytes;
		t->live[(it->dropped ? it->forward : it->again) + 1] -= it->bytes;
		if (it->dropped) {
			t->live[it->need] += it->bytes;
			t->live[it->again + 1] -= it->bytes;
		}
	}
	for (int c = 0; c < t->p->calls.n; c++) {
		now += t->live[c];
		t->live[c] = now;
		if (now > peak)
			peak = now;
	}
	return peak;
}

static double
above(struct trial *t, int64_t target)
{
	double sum = 0;

	simulate(t);
	for (int c = 0; c < t->p->calls.n; c++)
		sum += t->live[c] > target ? (double)(t->live[c] - target) : 0;
	return sum;
}

/* Drops values until no call needs more than the target; false, all as before: none helps. */
static bool
reach(struct recompute *r, int64_t target)
{
	struct trial *t = &r->t;
	VEC(struct item *) taken = {0};
	double now;

	while ((now = above(t, target)) > 0) {
		struct item *best = NULL;
		double most = 0;

		for (int i = 0; i < t->items.n; i++) {
			struct item *it = t->items.v[i];
			double gain;

			if (!it->candidate || it->dropped)
				continue;
			it->dropped = true;
			gain = (now - above(t, target)) / (it->cost + 1);
			it->dropped = false;
			if (gain > most) {
				most = gain;
				best = it;
			}
		}
		if (!best) {
			for (int i = 0; i < taken.n; i++)
				taken.v[i]->dropped = false;
			return false;
		}
		best->dropped = true;
		vec_push(r->tmp, &taken, best);
	}
	return true;
}

/* ---- the graph with copies */
struct copier {
	struct recompute *r;
	struct value **copy;  /* by value id: what backward reads instead */
	char *lost;           /* by value id: 1 it or what it is computed from where it is used is dropped, 2 not */
	VEC(struct value *) gates; /* gradients made so far */
	VEC(struct edit { struct node *n; struct value **in; }) edits;
	struct value *gate;
};

static bool
lost(struct copier *c, const struct value *v)
{
	const struct item *it = item_of(&c->r->t, v);
	bool any = it && it->dropped;

	if (v->kind != VAL_NODE || !c->r->forward[v->def->id])
		return false;
	if (c->lost[v->id])
		return c->lost[v->id] == 1;
	for (int k = 0; !any && !stored(c->r, v) && k < v->def->nin; k++)
		any = v->def->in[k] && lost(c, v->def->in[k]);
	c->lost[v->id] = any ? 1 : 2;
	return any;
}

static struct node *
copy_node(struct copier *c, const struct node *n, struct value **in)
{
	struct graph *g = c->r->g;
	struct node *m = graph_node(g, n->op, NULL, n->loc, n->nin, in, n->nout);

	m->nattr = n->nattr;
	m->attr = n->nattr ? arena_dup(g->arena, n->attr, sizeof *n->attr * (size_t)n->nattr) : NULL;
	for (int o = 0; o < n->nout; o++) {
		if (!n->out[o]) {
			m->out[o] = NULL;
			continue;
		}
		value_set(m->out[o], n->out[o]->dtype, n->out[o]->rank, n->out[o]->dims);
		m->out[o]->layout = n->out[o]->layout;
	}
	return m;
}

static struct value *
wait(struct copier *c, struct value *v)
{
	struct value *in[] = {v, c->gate}, *w;

	w = graph_node(c->r->g, OP_after, NULL, c->gate->def->loc, 2, in, 1)->out[0];
	value_set(w, v->dtype, v->rank, v->dims);
	w->layout = v->layout;
	return w;
}

static struct value *copied(struct copier *, struct value *);

/* v as the nodes of one copy read it; own: their copies, by value id. */
static struct value *
operand(struct copier *c, struct value *v, struct value **own)
{
	struct value **in;
	struct node *m;

	if (!v || v->kind == VAL_CONST)
		return v;
	if (own[v->id])
		return own[v->id];
	if (stored(c->r, v))
		return own[v->id] = lost(c, v) ? copied(c, v) : wait(c, v);
	in = arena_array(c->r->tmp, struct value *, v->def->nin + 1);
	for (int k = 0; k < v->def->nin; k++)
		in[k] = operand(c, v->def->in[k], own);
	m = copy_node(c, v->def, in);
	for (int o = 0; o < m->nout; o++)
		if (m->out[o])
			own[v->def->out[o]->id] = m->out[o];
	return own[v->id];
}

/* What stands for v, which is lost: made again once if it was dropped, else computed from that. */
static struct value *
copied(struct copier *c, struct value *v)
{
	const struct item *it = item_of(&c->r->t, v);
	const struct node *n = v->def;
	struct value **in, **own = NULL;
	struct node *m;

	if (c->copy[v->id])
		return c->copy[v->id];
	in = arena_array(c->r->tmp, struct value *, n->nin + 1);
	if (it && it->dropped)
		own = xcalloc((size_t)c->r->g->nvalue + 1, sizeof *own);
	for (int k = 0; k < n->nin; k++)
		in[k] = own ? operand(c, n->in[k], own) : n->in[k] && lost(c, n->in[k]) ? copied(c, n->in[k]) : n->in[k];
	free(own);
	m = copy_node(c, n, in);
	for (int o = 0; o < m->nout; o++)
		if (m->out[o])
			c->copy[n->out[o]->id] = m->out[o];
	return c->copy[v->id];
}

/* The last gradient so far that waits for what reads v in forward; NULL: none yet. */
static struct value *
gate_for(const struct copier *c, const struct value *v)
{
	for (int i = c->gates.n - 1; i >= 0; i--)
		if (c->r->depth[c->gates.v[i]->id] >= c->r->read[v->id])
			return c->gates.v[i];
	return NULL;
}

static void
read_copies(struct copier *c, struct node *n)
{
	struct recompute *r = c->r;
	struct value **in = NULL;

	for (int k = 0; k < n->nin; k++) {
		struct value *v = n->in[k];

		if (!v || !lost(c, v) || (!c->copy[v->id] && !(c->gate = gate_for(c, v))))
			continue;
		if (!in)
			in = arena_dup(r->g->arena, n->in, sizeof *n->in * (size_t)n->nin);
		in[k] = copied(c, v);
	}
	if (in) {
		vec_push(r->tmp, &c->edits, (struct edit){n, n->in});
		n->in = in;
	}
}

/* The graph with what is dropped made again, in a program; keep: it stays so. */
static struct program *
with_copies(struct recompute *r, bool keep)
{
	struct graph *g = r->g;
	struct copier c = {.r = r, .copy = xcalloc((size_t)g->nvalue + 1, sizeof *c.copy), .lost = xcalloc((size_t)g->nvalue + 1, 1)};
	struct node **nodes = g->nodes.v;
	int n = g->nodes.n;
	struct program *p = NULL;

	memset(&g->nodes, 0, sizeof g->nodes);
	for (int i = 0; i < n; i++) {
		struct node *m = nodes[i];
		bool back = !r->forward[m->id];

		if (back && !m->dead)
			read_copies(&c, m);
		vec_push(g->arena, &g->nodes, m);
		if (back && !m->dead && item_of(&r->t, m->out[0]))
			vec_push(r->tmp, &c.gates, m->out[0]);
	}
	free(c.copy);
	free(c.lost);
	if (keep)
		return NULL;
	p = lower_trial(r);
	for (int i = 0; i < c.edits.n; i++)
		c.edits.v[i].n->in = c.edits.v[i].in;
	memset(&g->nodes, 0, sizeof g->nodes);
	for (int i = 0; i < n; i++)
		vec_push(g->arena, &g->nodes, nodes[i]);
	return p;
}

/* ---- the budget */
static bool
refuse(struct recompute *r, const struct program *p, int64_t fixed)
{
	const struct memory_row *big = &p->memory[0];
	double mib = 1 << 20;

	for (int i = 1; i < p->nmemory; i++)
		if (p->memory[i].bytes > big->bytes)
			big = &p->memory[i];
	if (fixed > big->bytes)
		return diag_unsupported(r->ctx->diag, LOC_NONE,
		    "a step does not fit the memory budget of %.1f MiB: the least that recomputing reaches is %" PRId64
		    " bytes (%.1f MiB), most of it weights, constants, batches and the runtime (%.1f MiB)",
		    (double)r->ctx->opts->memory_budget / mib, p->work_bytes + fixed,
		    (double)(p->work_bytes + fixed) / mib, (double)fixed / mib);
	return diag_unsupported(r->ctx->diag, LOC_NONE,
	    "a step does not fit the memory budget of %.1f MiB: the least that recomputing reaches is %" PRId64
	    " bytes (%.1f MiB), most of it %s (%.1f MiB); a smaller batch takes less",
	    (double)r->ctx->opts->memory_budget / mib, p->work_bytes + fixed,
	    (double)(p->work_bytes + fixed) / mib, big->what, (double)big->bytes / mib);
}

static bool
fit(struct recompute *r, int64_t fixed)
{
	struct trial *t = &r->t;
	int64_t work = r->ctx->opts->memory_budget - fixed, peak = simulate(t), off = t->p->work_bytes - peak;
	bool more = true;

	while (more) {
		struct program *p = NULL;

		more = reach(r, peak - peak / STEP);
		peak = simulate(t);
		if (more && peak + off > work + work / STEP)
			continue;
		p = with_copies(r, false);
		if (!p)
			return false;
		if (p->work_bytes <= work) {
			with_copies(r, true);
			return true;
		}
		if (!more)
			return refuse(r, p->work_bytes < t->p->work_bytes ? p : t->p, fixed);
	}
	return false;
}

bool
pass_recompute(struct graph *g, struct pass_ctx *ctx)
{
	struct recompute r = {.g = g, .ctx = ctx};
	int64_t fixed;
	bool ok = true;

	if (!ctx->opts->memory_budget || !g->updates.n)
		return true;
	r.tmp = arena_create();
	r.t.p = lower_trial(&r);
	ok = r.t.p != NULL;
	fixed = ok ? besides_work(r.t.p) : 0;
	if (ok && r.t.p->work_bytes + fixed > ctx->opts->memory_budget) {
		find_items(&r);
		find_positions(&r);
		find_candidates(&r);
		ok = fit(&r, fixed);
		free(r.t.traits);
	}
	arena_destroy(r.tmp);
	return ok;
}
