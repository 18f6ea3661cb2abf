/* grad -- reverse mode over the mixed graph.  Only nodes between wrt and loss are
 * touched: composites there that name grad_expand are expanded in place first,
 * then the list is walked backwards and every row's rule appends its nodes.
 * Contributions to one value are added in that order, which is fixed. */
#include "passes/passes.h"

#include <stdlib.h>
#include <string.h>

struct reverse {
	struct graph *g;
	struct diag *d;
	struct value *loss;
	int n;
	struct value **wrt;
	int size;	     /* values before any gradient was built */
	bool *on_path;	     /* by value id: depends on a wrt and the loss depends on it */
	struct value **grad; /* by value id */
	int nodes;
	bool *todo;	      /* by node id: to be expanded in this sweep */
	struct curve **curve; /* by node id: the curve it is part of */
};

/* Maps of one value x that only they read and that a product made, with one result y:
 * GELU, SiLU and the like as exporters write them out.  dx = dy f'(x), and f'(x) by the
 * same rules with dy = 1.  So the forward pass can leave f'(x) in memory where else x
 * and what was made of it on the way would be kept, and the backward pass multiplies. */
struct curve {
	struct value *x, *y;
	int first, last; /* nodes of the graph from the first of the curve to y's */
};

static bool
differentiable(const struct value *v)
{
	return v && dtype_is_float(v->dtype);
}

static void
mark_path(struct reverse *r)
{
	struct graph *g = r->g;
	bool *needed = xcalloc((size_t)g->nvalue, sizeof *needed);

	free(r->on_path);
	r->size = g->nvalue;
	r->on_path = xcalloc((size_t)g->nvalue, sizeof *r->on_path);
	for (int i = 0; i < r->n; i++)
		if (differentiable(r->wrt[i]))
			r->on_path[r->wrt[i]->id] = true;
	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];
		bool any = false;

		for (int k = 0; k < n->nin && !n->dead; k++)
			any |= n->in[k] && r->on_path[n->in[k]->id];
		for (int o = 0; any && o < n->nout; o++)
			if (differentiable(n->out[o]))
				r->on_path[n->out[o]->id] = true;
	}
	needed[r->loss->id] = true;
	for (int i = g->nodes.n - 1; i >= 0; i--) {
		struct node *n = g->nodes.v[i];
		bool any = false;

		for (int o = 0; o < n->nout && !n->dead; o++)
			any |= n->out[o] && needed[n->out[o]->id] && r->on_path[n->out[o]->id];
		for (int k = 0; any && k < n->nin; k++)
			if (n->in[k])
				needed[n->in[k]->id] = true;
	}
	for (int i = 0; i < g->nvalue; i++)
		r->on_path[i] &= needed[i];
	free(needed);
}

/* Is the node to be differentiated: one of its outputs and of its inputs is on the path? */
static bool
node_on_path(const struct reverse *r, const struct node *n)
{
	bool in = false, out = false;

	if (n->dead)
		return false;
	for (int k = 0; k < n->nin; k++)
		in |= n->in[k] && r->on_path[n->in[k]->id];
	for (int o = 0; o < n->nout; o++)
		out |= n->out[o] && r->on_path[n->out[o]->id];
	return in && out;
}

static bool
visit(struct rewrite *rw, struct node *n)
{
	const struct reverse *r = rw->ctx;

	return n->id < r->nodes && r->todo[n->id] ? rewrite_expand(rw, n) : true;
}

/* Sweeps until no composite that must be expanded is on the path.  Loss and wrt
 * are held as outputs meanwhile, so that what stands for them is known after. */
static bool
expand_path(struct reverse *r)
{
	struct graph *g = r->g;
	int held = g->outputs.n;
	bool ok = true, again = true;

	graph_output(g, "$grad", r->loss);
	for (int i = 0; i < r->n; i++)
		graph_output(g, "$grad", r->wrt[i]);
	for (int round = 0; ok && again && round < 64; round++) {
		again = false;
		mark_path(r);
		r->nodes = g->nnode;
		r->todo = xcalloc((size_t)g->nnode + 1, sizeof *r->todo);
		for (int i = 0; i < g->nodes.n; i++) {
			const struct node *n = g->nodes.v[i];

			r->todo[n->id] = op_info[n->op].grad == grad_expand && node_on_path(r, n);
			again |= r->todo[n->id];
		}
		if (again)
			ok = graph_rewrite(g, r->d, NULL, false, visit, r);
		free(r->todo);
		r->loss = g->outputs.v[held];
		for (int i = 0; i < r->n; i++)
			r->wrt[i] = g->outputs.v[held + 1 + i];
	}
	g->outputs.n = g->output_names.n = held;
	return ok;
}

static void
accumulate(
    struct reverse *r, struct build *b, const struct node *n, struct value *v, struct value *dv)
{
	if (dv->dtype != v->dtype || !dims_equal(dv->rank, dv->dims, v->rank, v->dims))
		die("gradient of %s \"%s\" has the wrong type for its operand \"%s\"",
		    op_info[n->op].id, n->name ? n->name : "", v->name ? v->name : "");
	r->grad[v->id] = r->grad[v->id] ? b_add(b, r->grad[v->id], dv) : dv;
}

static bool
backward(struct reverse *r, struct node *n)
{
	struct build b = build_at(r->g, r->d, n->loc, "grad");
	struct value **dout = xcalloc((size_t)n->nout + 1, sizeof *dout);
	struct value **din = xcalloc((size_t)n->nin + 1, sizeof *din);
	bool any = false, ok = true;

	for (int o = 0; o < n->nout; o++) {
		if (n->out[o] && r->on_path[n->out[o]->id])
			dout[o] = r->grad[n->out[o]->id];
		any |= dout[o] != NULL;
	}
	if (any)
		ok = op_info[n->op].grad(&b, n, dout, din);
	for (int k = 0; ok && k < n->nin; k++)
		if (n->in[k] && din[k] && r->on_path[n->in[k]->id])
			accumulate(r, &b, n, n->in[k], din[k]);
	free(dout);
	free(din);
	return ok;
}

/* ---- curves */

static const struct value *
past_views(const struct value *v)
{
	while (v->kind == VAL_NODE && (v->def->op == OP_expand || v->def->op == OP_reshape))
		v = v->def->in[0];
	return v;
}

/* A product, or one with a bias: whoever writes it can write a function of it instead. */
static bool
from_product(const struct value *v)
{
	v = past_views(v);
	if (v->kind != VAL_NODE)
		return false;
	const struct node *n = v->def;
	for (int k = 0; n->op == OP_add && k < 2; k++)
		if (dims_count(n->in[k]->rank, n->in[k]->dims) == dims_count(v->rank, v->dims) &&
		    past_views(n->in[1 - k])->kind != VAL_NODE)
			return from_product(n->in[k]);
	return op_info[n->op].class == OC_contract || op_info[n->op].class == OC_conv;
}

static bool
made(const struct node *n, const bool *of)
{
	return !n->dead && n->nout == 1 && n->out[0] && of[n->out[0]->id];
}

/* Marks in `of` (by value id) what is made of x and numbers alone. */
static void
follow(const struct graph *g, const struct value *x, int first, bool *of)
{
	of[x->id] = true;
	for (int i = first; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		bool any = false, all = !n->dead && n->nout == 1 && op_info[n->op].class == OC_map;

		for (int k = 0; all && k < n->nin; k++) {
			any |= of[n->in[k]->id];
			all = of[n->in[k]->id] || past_views(n->in[k])->kind == VAL_CONST;
		}
		if (all && any && dims_equal(x->rank, x->dims, n->out[0]->rank, n->out[0]->dims))
			of[n->out[0]->id] = true;
	}
}

/* The curve that starts at x, which node number `first - 1` makes; false: none, or one
 * that reads x once and is left as it is. */
static bool
curve_from(
    const struct reverse *r, struct value *x, int first, const int *uses, bool *of, struct curve *c)
{
	const struct graph *g = r->g;
	int *inside = xcalloc((size_t)r->size, sizeof *inside), results = 0, reads = 0;

	*c = (struct curve){.x = x, .first = first};
	memset(of, 0, sizeof *of * (size_t)r->size);
	follow(g, x, first, of);
	for (int i = first; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		for (int k = 0; made(n, of) && k < n->nin; k++)
			inside[n->in[k]->id]++;
	}
	reads = inside[x->id];
	for (int i = first; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		if (!made(n, of) || inside[n->out[0]->id] == uses[n->out[0]->id])
			continue;
		results++;
		c->y = n->out[0];
		c->last = i;
	}
	free(inside);
	return results == 1 && reads >= 2 && reads == uses[x->id] && r->on_path[c->y->id];
}

static void
find_curves(struct reverse *r)
{
	struct graph *g = r->g;
	struct arena *scratch = arena_create();
	const int *uses = graph_use_counts(scratch, g);
	bool *of = arena_array(scratch, bool, r->size);

	r->curve = xcalloc((size_t)g->nnode + 1, sizeof *r->curve);
	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];
		struct curve c;

		if (n->dead || n->nout != 1 || r->curve[n->id] || !r->on_path[n->out[0]->id] ||
		    uses[n->out[0]->id] < 2 ||
		    (n->out[0]->dtype != DT_f32 && n->out[0]->dtype != DT_f64) ||
		    !from_product(n->out[0]) || !curve_from(r, n->out[0], i + 1, uses, of, &c))
			continue;
		struct curve *keep = arena_new(g->arena, struct curve);

		*keep = c;
		for (int k = c.first; k <= c.last; k++)
			if (made(g->nodes.v[k], of))
				r->curve[g->nodes.v[k]->id] = keep;
	}
	arena_destroy(scratch);
}

/* dx = dy f'(x) */
static bool
through_curve(struct reverse *r, const struct curve *c)
{
	struct graph *g = r->g;
	struct value *dy = r->grad[c->y->id], *one;
	struct build b = build_at(g, r->d, c->y->def->loc, "grad");

	if (!dy)
		return true;
	one = b_scalar_like(&b, dy, 1);
	r->grad[c->y->id] = one ? b_expand(&b, one, dy->rank, dy->dims) : NULL;
	for (int i = c->last; i >= c->first; i--)
		if (r->curve[g->nodes.v[i]->id] == c && node_on_path(r, g->nodes.v[i]) &&
		    !backward(r, g->nodes.v[i]))
			return false;
	if (r->grad[c->x->id])
		r->grad[c->x->id] = b_mul(&b, dy, r->grad[c->x->id]);
	return true;
}

/* Goes on after a node without a gradient, so that all of them are reported. */
static bool
walk(struct reverse *r)
{
	struct graph *g = r->g;
	struct build b = build_at(g, r->d, r->loss->loc, "grad");
	int last = g->nodes.n - 1;
	bool ok = true;

	find_curves(r);
	struct value *one = b_scalar_like(&b, r->loss, 1);

	r->grad = xcalloc((size_t)r->size, sizeof *r->grad);
	if (!one) {
		free(r->curve);
		return false;
	}
	r->grad[r->loss->id] = b_expand(&b, one, r->loss->rank, r->loss->dims);
	for (int i = last; i >= 0; i--) {
		struct node *n = g->nodes.v[i];
		const struct curve *c = r->curve[n->id];

		if (c && n == c->y->def)
			ok &= through_curve(r, c);
		else if (!c && node_on_path(r, n))
			ok &= backward(r, n);
	}
	free(r->curve);
	return ok;
}

bool
grad_expand_path(struct graph *g, struct value **loss, int n, struct value **wrt, struct diag *d)
{
	struct reverse r = {.g = g, .d = d, .loss = *loss, .n = n, .wrt = wrt};
	bool ok = expand_path(&r);

	*loss = r.loss;
	free(r.on_path);
	return ok;
}

bool
grad_build(struct graph *g, struct value *loss, int n, struct value *const *wrt,
    struct value **dwrt, struct diag *d)
{
	struct reverse r = {.g = g, .d = d, .loss = loss, .n = n};
	bool ok;

	require(loss->rank >= 0 && dims_count(loss->rank, loss->dims) == 1 &&
		dtype_is_float(loss->dtype));
	r.wrt = xcalloc((size_t)n + 1, sizeof *r.wrt);
	for (int i = 0; i < n; i++)
		r.wrt[i] = wrt[i];
	ok = expand_path(&r);
	if (ok) {
		mark_path(&r);
		ok = walk(&r);
	}
	for (int i = 0; i < n; i++)
		dwrt[i] = ok ? r.grad[r.wrt[i]->id] : NULL;
	free(r.wrt);
	free(r.on_path);
	free(r.grad);
	return ok;
}
