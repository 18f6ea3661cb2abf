/* expand -- composites into what their rows say, down to core operators, in one
 * sweep: what an expansion makes is visited in its turn. */
#include "passes/passes.h"

static bool
visit(struct rewrite *rw, struct node *n)
{
	if (op_info[n->op].class != OC_composite)
		return true;
	return rewrite_expand(rw, n);
}

bool
pass_expand(struct graph *g, struct pass_ctx *ctx)
{
	return graph_rewrite(g, ctx->diag, NULL, true, visit, NULL);
}
