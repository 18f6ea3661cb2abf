/* dce -- drops every node that no output and no update reads, and constants that
 * nothing reads.  Inputs and states are the program's interface and stay. */
#include "passes/passes.h"

#include <stdlib.h>

bool
pass_dce(struct graph *g, struct pass_ctx *ctx)
{
	bool *live = xcalloc((size_t)g->nvalue + 1, sizeof *live);
	int keep = 0;

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
		for (int k = 0; k < n->nin; k++)
			if (n->in[k])
				live[n->in[k]->id] = true;
	}
	graph_sweep(g);
	for (int i = 0; i < g->consts.n; i++)
		if (live[g->consts.v[i]->id])
			g->consts.v[keep++] = g->consts.v[i];
	g->consts.n = keep;
	free(live);
	return true;
}
