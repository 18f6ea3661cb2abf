/* simplify -- sweeps with the rewrite rules of simplify_*.c until nothing more
 * changes; equal nodes merge between the sweeps, as rules look at who reads what.  Every rule keeps the values within rounding.  Weights must be
 * constants to be changed: a student's states never are. */
#include "passes/simplify.h"

enum { ROUNDS = 100, DEPTH = 12 };

bool
sole_use(struct rewrite *rw, const struct value *v)
{
	const struct simplify *s = rw->ctx;

	return v->id < s->size && s->uses[v->id] == 1;
}

static bool
constant_to(const struct value *v, int depth)
{
	if (v->kind == VAL_CONST)
		return true;
	if (v->kind != VAL_NODE || depth == 0 || v->def->op == OP_rng)
		return false;
	for (int i = 0; i < v->def->nin; i++)
		if (v->def->in[i] && !constant_to(v->def->in[i], depth - 1))
			return false;
	return true;
}

bool
is_constant(const struct value *v)
{
	return constant_to(v, DEPTH);
}

bool
is_uniform(const struct value *v, double *x)
{
	int64_t n;

	while (is_node(v, OP_expand) || is_node(v, OP_reshape))
		v = v->def->in[0];
	if (v->kind != VAL_CONST || v->dtype == DT_str || dtype_info[v->dtype].class == DC_COMPLEX)
		return false;
	n = tensor_count(v->data);
	if (n < 1)
		return false;
	*x = dtype_get_f(v->dtype, v->data->data, 0);
	for (int64_t i = 1; i < n; i++)
		if (dtype_get_f(v->dtype, v->data->data, i) != *x)
			return false;
	return true;
}

/* The uses of what is replaced go to what replaces it. */
static void
hand_over(struct simplify *s, const struct value *from, const struct value *to)
{
	if (from->id < s->size && to->id < s->size)
		s->uses[to->id] += s->uses[from->id] - 1;
}

static bool
try_rules(struct rewrite *rw, struct node *n, const struct simplify_rule *rules)
{
	struct simplify *s = rw->ctx;

	for (; rules->apply; rules++) {
		struct value *v;

		if (rules->op != OP_none && rules->op != n->op)
			continue;
		v = rules->apply(rw, n);
		if (!v || v == n->out[0])
			continue;
		hand_over(s, n->out[0], v);
		s->changed++;
		rewrite_node(rw, n, &v);
		return true;
	}
	return false;
}

static bool
visit(struct rewrite *rw, struct node *n)
{
	if (n->nout != 1 || !n->out[0] || n->out[0]->rank < 0)
		return true;
	rw->b.fold = true;
	if (!try_rules(rw, n, simplify_algebra) && !try_rules(rw, n, simplify_shape) &&
	    !try_rules(rw, n, simplify_weights) && !try_rules(rw, n, simplify_move))
		try_rules(rw, n, simplify_slice);
	return true;
}

static void
count_slices(struct simplify *s, const struct graph *g)
{
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		if (n->dead || n->op != OP_slice)
			continue;
		s->taken[n->in[0]->id].slices++;
		s->taken[n->in[0]->id].elems += dims_count(n->out[0]->rank, n->out[0]->dims);
	}
}

static bool
visit_slices(struct rewrite *rw, struct node *n)
{
	if (n->nout == 1 && n->out[0] && n->out[0]->rank >= 0)
		try_rules(rw, n, simplify_slice);
	return true;
}

static bool
sweeps(struct graph *g, struct pass_ctx *ctx, bool (*visit_node)(struct rewrite *, struct node *))
{
	struct simplify s = {.opts = ctx->opts, .changed = 1};
	bool ok = true;

	for (int round = 0; ok && s.changed && round < ROUNDS; round++) {
		struct arena *scratch = arena_create();

		s.uses = graph_use_counts(scratch, g);
		s.size = g->nvalue;
		s.taken = arena_array(scratch, struct taken, g->nvalue);
		count_slices(&s, g);
		s.changed = 0;
		ok = graph_rewrite(g, ctx->diag, NULL, true, visit_node, &s) && pass_cse(g, ctx) && pass_dce(g, ctx);
		arena_destroy(scratch);
	}
	return ok;
}

bool
pass_simplify(struct graph *g, struct pass_ctx *ctx)
{
	return sweeps(g, ctx, visit);
}

bool
simplify_slices(struct graph *g, struct diag *d)
{
	struct pass_ctx ctx = {.diag = d};

	return sweeps(g, &ctx, visit_slices);
}
