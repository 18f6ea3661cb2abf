/* dce -- drops every node that no output and no update reads, and constants that
 * nothing reads.  A measured size stays while dims of something live name it.
 * Inputs and states are the program's interface and stay. */
#include "passes/passes.h"

#include <stdlib.h>

struct marker {
	const struct graph *g;
	bool *live;
};

static void
mark_size(void *ctx, int64_t symbol)
{
	struct marker *m = ctx;
	struct value *v = graph_size_of(m->g, symbol);

	if (v)
		m->live[v->id] = true;
}

static void
mark_dims(struct marker *m, int rank, const int64_t *dims)
{
	for (int i = 0; m->g->sizes.n && i < rank; i++)
		dim_each_symbol(m->g, dims[i], mark_size, m);
}

static void
mark_node(struct marker *m, const struct node *n)
{
	for (int k = 0; k < n->nin; k++)
		if (n->in[k])
			m->live[n->in[k]->id] = true;
	for (int o = 0; o < n->nout; o++)
		if (n->out[o])
			mark_dims(m, n->out[o]->rank, n->out[o]->dims);
	for (int a = 0; a < n->nattr; a++)
		if (n->attr[a].kind == ATTR_INTS && attr_holds_dims(n->op, n->attr[a].name))
			mark_dims(m, n->attr[a].n, n->attr[a].ints);
}

bool
pass_dce(struct graph *g, struct pass_ctx *ctx)
{
	bool *live = xcalloc((size_t)g->nvalue + 1, sizeof *live);
	struct marker m = {g, live};
	int keep = 0, sizes = 0;

	(void)ctx;
	for (int i = 0; i < g->outputs.n; i++)
		live[g->outputs.v[i]->id] = true;
	for (int i = 0; i < g->updates.n; i++)
		live[g->updates.v[i].next->id] = true;
	for (int i = g->nodes.n - 1; i >= 0; i--) {
		struct node *n = g->nodes.v[i];
		bool used = false;

		if (n->dead)
			continue;
		for (int o = 0; o < n->nout; o++)
			used |= n->out[o] && live[n->out[o]->id];
		if (!used) {
			n->dead = true;
			continue;
		}
		mark_node(&m, n);
	}
	graph_sweep(g);
	for (int i = 0; i < g->sizes.n; i++)
		if (live[g->sizes.v[i].value->id])
			g->sizes.v[sizes++] = g->sizes.v[i];
	g->sizes.n = sizes;
	for (int i = 0; i < g->consts.n; i++)
		if (live[g->consts.v[i]->id])
			g->consts.v[keep++] = g->consts.v[i];
	g->consts.n = keep;
	free(live);
	return true;
}
