/* expand -- composites into what their rows say, down to core operators, in one
 * sweep: what an expansion makes is visited in its turn.  Elements that kernels
 * cannot hold (float8, 4 and 2 bit integers) are moved as their codes. */
#include "passes/passes.h"

static bool
visit(struct rewrite *rw, struct node *n)
{
	struct value *out;

	if (op_info[n->op].class == OC_composite)
		return rewrite_expand(rw, n);
	if (!op_moves_codes(n))
		return true;
	if (!(out = op_as_codes(&rw->b, n)))
		return false;
	rewrite_node(rw, n, &out);
	return true;
}

bool
pass_expand(struct graph *g, struct pass_ctx *ctx)
{
	return graph_rewrite(g, ctx->diag, NULL, true, visit, NULL);
}
