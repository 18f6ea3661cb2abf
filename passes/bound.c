/* bound -- sizes found while running become numbers in a graph of fixed sizes.
 *
 * compact, which lowering does not know, becomes a running sum of what is kept and
 * a scatter of the rows' numbers to their places.
 *
 * requires: core operators, before layout. */
#include "passes/passes.h"

#include <string.h>


/* y[i] = v[0] + ... + v[i], in log2(n) sweeps: each adds what lies s before. */
static struct value *
running_sum(struct build *b, struct value *v)
{
	int64_t n = v ? v->dims[0] : 0;

	for (int64_t s = 1; v && s < n; s *= 2) {
		int64_t start = 0, count = n - s, step = 1, none = 0;

		v = b_add(b, v, b_pad(b, b_slice(b, v, &start, &count, &step), &s, &none, 0));
	}
	return v;
}

/* x[n,...], keep[n] -> the first u rows kept.  Row i goes to place sum(keep[0..i]) - 1;
 * what is not kept, and what comes after u rows, to a place behind that is cut off. */
static struct value *
compact(struct build *b, struct value *x, struct value *keep, int64_t u)
{
	int64_t n = x->dims[0], room = u + 1, start = 0, step = 1;
	struct attr axis = {.name = "axis", .kind = ATTR_INT, .i = 0};
	struct value *in[3], *at, *last = b_dim(b, u);

	at = b_adds(b, running_sum(b, b_cast(b, keep, DT_i64)), -1);
	at = b_select(b, keep, b_min(b, at, last), last);
	in[0] = b_expand(b, b_scalar(b, DT_i64, 0), 1, &room);
	in[1] = at;
	in[2] = b_iota(b, DT_i64, 1, &n, 0);
	at = b_slice(b, b_op(b, OP_scatter_add, 3, in, 1, &axis), &start, &u, &step);
	return b_gather(b, x, at, 0);
}

static bool
visit(struct rewrite *rw, struct node *n)
{
	struct value *y;
	const int64_t *u;

	if ((n->op != OP_compact && n->op != OP_extent) || attr_ints(n, "dims", &u) != 1 || !dim_const(u[0]))
		return true;
	y = n->op == OP_extent ? b_dim(&rw->b, u[0]) : compact(&rw->b, n->in[0], n->in[1], u[0]);
	if (!y)
		return false;
	rewrite_node(rw, n, &y);
	return true;
}

bool
pass_bound(struct graph *g, struct pass_ctx *ctx)
{
	return graph_rewrite(g, ctx->diag, "bound", false, visit, NULL);
}
