/* rewrite -- one sweep over the node list that replaces nodes in place.  During a
 * visit graph->nodes is a fresh list, so whatever is made lands there and is put
 * before the visited node; `to` says what now stands for a value. */
#include "ir/ir.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

struct sweep {
	struct rewrite rw;
	bool (*visit)(struct rewrite *, struct node *);
	VEC(struct node *) done; /* heap */
	bool failed;
};

struct value *
rewrite_get(struct rewrite *rw, struct value *v)
{
	struct value *to;

	while (v && v->id < rw->to.n && (to = rw->to.v[v->id])) {
		/* shorten chains as they are walked */
		if (to->id < rw->to.n && rw->to.v[to->id])
			rw->to.v[v->id] = rw->to.v[to->id];
		v = to;
	}
	return v;
}

void
rewrite_value(struct rewrite *rw, struct value *from, struct value *to)
{
	to = rewrite_get(rw, to);
	from = rewrite_get(rw, from);
	if (from == to)
		return;
	while (rw->to.n <= from->id)
		vec_push(NULL, &rw->to, NULL);
	rw->to.v[from->id] = to;
	if (!to->name && to->kind == VAL_NODE)
		to->name = from->name;
	rw->changed++;
}

void
rewrite_node(struct rewrite *rw, struct node *n, struct value *const *outs)
{
	int i;

	for (i = 0; i < n->nout; i++) {
		if (!n->out[i] || !outs[i])
			continue;
		value_agrees(rw->g, n, n->out[i], outs[i]);
		rewrite_value(rw, n->out[i], outs[i]);
	}
	n->dead = true;
}

bool
rewrite_expand(struct rewrite *rw, struct node *n)
{
	struct value *few[8] = {0}, **outs = few;

	if (n->nout > 8)
		outs = arena_array(rw->g->arena, struct value *, n->nout);
	if (!op_expand(&rw->b, n, outs))
		return false;
	rewrite_node(rw, n, outs);
	return true;
}

static void
operands(struct rewrite *rw, struct node *n)
{
	int i;

	for (i = 0; i < n->nin; i++)
		n->in[i] = rewrite_get(rw, n->in[i]);
}

/* Visits nodes[0..n) in order and moves the survivors to done. */
static void
run(struct sweep *s, struct node **nodes, int n)
{
	struct rewrite *rw = &s->rw;
	struct graph *g = rw->g;
	int i, j;

	for (i = 0; i < n; i++) {
		struct node *m = nodes[i];

		if (m->dead)
			continue;
		operands(rw, m);
		if (s->failed) {
			vec_push(NULL, &s->done, m);
			continue;
		}
		g->nodes.v = NULL;
		g->nodes.n = g->nodes.cap = 0;
		rw->b.loc = m->loc;
		if (rw->maker)
			rw->b.loc.maker = rw->maker;
		if (!s->visit(rw, m))
			s->failed = true;
		if (g->nodes.n && rw->nested && rw->depth < MAX_DEPTH && !s->failed) {
			rw->depth++;
			run(s, g->nodes.v, g->nodes.n);
			rw->depth--;
		} else {
			for (j = 0; j < g->nodes.n; j++) {
				operands(rw, g->nodes.v[j]);
				if (!g->nodes.v[j]->dead)
					vec_push(NULL, &s->done, g->nodes.v[j]);
			}
		}
		if (!m->dead) {
			operands(rw, m);
			vec_push(NULL, &s->done, m);
		}
	}
}

bool
graph_rewrite(struct graph *g, struct diag *d, const char *maker, bool nested,
    bool (*visit)(struct rewrite *, struct node *), void *ctx)
{
	struct sweep s = {
	    .rw = {.g = g, .b = build_at(g, d, LOC_NONE, NULL), .ctx = ctx, .nested = nested, .maker = maker},
	    .visit = visit};
	struct node **old = g->nodes.v;
	int i, n = g->nodes.n, cap = g->nodes.cap;

	run(&s, old, n);
	if (s.done.n <= cap) {
		g->nodes.v = old;
		g->nodes.cap = cap;
	} else {
		g->nodes.cap = s.done.n + s.done.n / 4;
		g->nodes.v = arena_array(g->arena, struct node *, g->nodes.cap);
	}
	if (s.done.n)
		memcpy(g->nodes.v, s.done.v, (size_t)s.done.n * sizeof *old);
	g->nodes.n = s.done.n;
	for (i = 0; i < g->outputs.n; i++)
		g->outputs.v[i] = rewrite_get(&s.rw, g->outputs.v[i]);
	for (i = 0; i < g->updates.n; i++)
		g->updates.v[i].next = rewrite_get(&s.rw, g->updates.v[i].next);
	for (i = 0; i < g->sizes.n; i++)
		g->sizes.v[i].value = rewrite_get(&s.rw, g->sizes.v[i].value);
	vec_free(&s.done);
	vec_free(&s.rw.to);
	return !s.failed;
}
