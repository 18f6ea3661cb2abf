/* cluster_order -- which values a cluster stores, and the order in which clusters
 * run. */
#include "passes/nest.h"

void
cluster_outputs(struct lower *lo)
{
	struct graph *g = lo->g;
	bool *wanted = arena_array(lo->a, bool, g->nvalue + 1);

	for (int i = 0; i < g->outputs.n; i++)
		wanted[g->outputs.v[i]->id] = true;
	for (int i = 0; i < g->updates.n; i++)
		wanted[g->updates.v[i].next->id] = true;
	/* through what is computed or viewed where it is used, users first */
	for (int i = g->nodes.n - 1; i >= 0; i--) {
		struct node *n = g->nodes.v[i];

		if (n->dead || lo->cluster_of[n->id])
			continue;
		if (n->nout && lo->alias[n->out[0]->id] && wanted[n->out[0]->id])
			wanted[n->in[0]->id] = true;
	}
	for (int i = 0; i < lo->clusters.n; i++) {
		struct cluster *c = lo->clusters.v[i];

		for (int k = 0; !c->gone && k < c->nodes.n; k++)
			for (int o = 0; o < c->nodes.v[k]->nout; o++) {
				struct value *v = c->nodes.v[k]->out[o];

				if (v && (wanted[v->id] || nest_read_elsewhere(lo, v, c)))
					vec_push(lo->tmp, &c->outputs, v);
			}
	}
}

bool
nest_read_elsewhere(const struct lower *lo, const struct value *v, const struct cluster *c)
{
	for (int i = 0; i < lo->users[v->id].n; i++) {
		struct node *u = lo->users[v->id].v[i];
		struct cluster *uc = lo->cluster_of[u->id];

		if (uc && uc != c)
			return true;
		if (!uc && u->nout && nest_read_elsewhere(lo, u->out[0], c))
			return true;
	}
	return false;
}

bool
cluster_depends(struct lower *lo, struct cluster *c, struct cluster *on)
{
	if (c == on)
		return true;
	if (c->mark == lo->search)
		return false;
	c->mark = lo->search;
	for (int i = 0; i < c->deps.n; i++)
		if (cluster_depends(lo, c->deps.v[i], on))
			return true;
	return false;
}

/* ---- order.  By id, what a cluster needs before it; but one that nothing depends
 * on (the update of a parameter) runs as soon as it can, so that what it reads
 * dies early, and scalars (an optimiser's factors) come first. */
struct sorter {
	struct lower *lo;
	struct clusters order, last; /* last: nothing depends on them */
	bool *needed;		     /* by index in lower->clusters */
};

static bool
ready(struct sorter *s, const struct cluster *c)
{
	for (int i = 0; i < c->deps.n; i++)
		if (c->deps.v[i]->mark != s->lo->search)
			return false;
	return true;
}

static void
put(struct sorter *s, struct cluster *c)
{
	int kept = 0;

	c->mark = s->lo->search;
	vec_push(s->lo->tmp, &s->order, c);
	for (int i = 0; i < s->last.n; i++) {
		struct cluster *l = s->last.v[i];

		if (l->mark != s->lo->search && ready(s, l)) {
			l->mark = s->lo->search;
			vec_push(s->lo->tmp, &s->order, l);
		}
		if (l->mark != s->lo->search)
			s->last.v[kept++] = l;
	}
	s->last.n = kept;
}

static void
visit(struct sorter *s, struct cluster *c)
{
	if (c->mark == s->lo->search)
		return;
	for (int i = 0; i < c->deps.n; i++)
		visit(s, c->deps.v[i]);
	if (c->mark != s->lo->search)
		put(s, c);
}

static bool
tiny(const struct cluster *c)
{
	for (int i = 0; i < c->nodes.n; i++)
		if (dims_count(c->nodes.v[i]->out[0]->rank, c->nodes.v[i]->out[0]->dims) > 1)
			return false;
	return !c->anchor;
}

void
cluster_sort(struct lower *lo)
{
	struct sorter s = {.lo = lo, .needed = arena_array(lo->tmp, bool, lo->clusters.n + 1)};

	for (int i = 0; i < lo->clusters.n; i++)
		lo->clusters.v[i]->id = i;
	for (int i = 0; i < lo->clusters.n; i++)
		for (int k = 0; !lo->clusters.v[i]->gone && k < lo->clusters.v[i]->deps.n; k++)
			s.needed[lo->clusters.v[i]->deps.v[k]->id] = true;
	for (int i = 0; i < lo->clusters.n; i++)
		if (!lo->clusters.v[i]->gone && !s.needed[i])
			vec_push(lo->tmp, &s.last, lo->clusters.v[i]);
	lo->search++;
	for (int i = 0; i < lo->clusters.n; i++) {
		struct cluster *c = lo->clusters.v[i];

		if (!c->gone && c->mark != lo->search && tiny(c) && ready(&s, c))
			put(&s, c);
	}
	for (int i = 0; i < lo->clusters.n; i++)
		if (!lo->clusters.v[i]->gone)
			visit(&s, lo->clusters.v[i]);
	lo->clusters.n = 0;
	for (int i = 0; i < s.order.n; i++) {
		s.order.v[i]->id = i;
		vec_push(lo->tmp, &lo->clusters, s.order.v[i]);
	}
}
