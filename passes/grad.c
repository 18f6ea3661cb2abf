/* grad -- reverse mode over the mixed graph.  Only nodes between wrt and loss are
 * touched: composites there that name grad_expand are expanded in place first,
 * then the list is walked backwards and every row's rule appends its nodes.
 * Contributions to one value are added in that order, which is fixed. */
#include "passes/passes.h"

#include <stdlib.h>

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
	bool *todo; /* by node id: to be expanded in this sweep */
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

/* Goes on after a node without a gradient, so that all of them are reported. */
static bool
walk(struct reverse *r)
{
	struct graph *g = r->g;
	struct build b = build_at(g, r->d, r->loss->loc, "grad");
	struct value *one = b_scalar_like(&b, r->loss, 1);
	int last = g->nodes.n - 1;
	bool ok = true;

	r->grad = xcalloc((size_t)r->size, sizeof *r->grad);
	if (!one)
		return false;
	r->grad[r->loss->id] = b_expand(&b, one, r->loss->rank, r->loss->dims);
	for (int i = last; i >= 0; i--)
		if (node_on_path(r, g->nodes.v[i]))
			ok &= backward(r, g->nodes.v[i]);
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
