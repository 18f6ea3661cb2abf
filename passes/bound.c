/* bound -- a graph whose sizes are known at run time only becomes one of fixed sizes.
 *
 * Every dim takes its upper bound.  The size that a symbol has in a run is an i64
 * scalar: a symbol of the inputs' dims is a hidden input "$N", a measured one the
 * value that measures it and a hidden output "$u"; arithmetic of dims is arithmetic
 * of these.  Elements beyond the size of the run are undefined; the operators that
 * would see them mask them (bound_rows.c) or compute where the elements of a run are
 * (bound_shape.c).  The caller's memory is dense in the run's sizes: inputs are
 * spread out at first, outputs packed at last, where more than the outermost axis varies.
 *
 * requires: core operators, before layout; every symbol bounded. */
#include "passes/bound.h"

#include <string.h>

static const int64_t TOO_LARGE = INT64_C(1) << 40;

/* ---- sizes as values */
static void *
number(void *ctx, int64_t v)
{
	struct bound *bd = ctx;

	return b_dim(&bd->b, v);
}

static void *
symbol(void *ctx, int64_t handle)
{
	struct bound *bd = ctx;
	struct value *v = graph_size_of(bd->g, handle);

	for (int i = 0; i < bd->sizes.n; i++)
		if (bd->sizes.v[i].dim == handle)
			return bd->sizes.v[i].v;
	if (!v)
		die("size %s is neither given nor measured", dim_text(bd->g, handle));
	if (!bd->map[v->id])
		die("size %s is measured after it is used", dim_text(bd->g, handle));
	return bd->map[v->id];
}

static void *
two(void *ctx, char op, void *x, void *y)
{
	struct bound *bd = ctx;

	return b2(&bd->b,
	    op == '+' ? OP_add : op == '-' ? OP_sub : op == '*' ? OP_mul : op == '/' ? OP_div : op == '<' ? OP_min : OP_max,
	    x, y);
}

struct value *
bound_size(struct bound *bd, int64_t dim)
{
	struct dim_algebra a = {bd, number, symbol, two};
	struct value *v;

	for (int i = 0; i < bd->sizes.n; i++)
		if (bd->sizes.v[i].dim == dim)
			return bd->sizes.v[i].v;
	v = dim_build(bd->g, dim, &a);
	if (v && bound_varies(dim))
		vec_push(bd->tmp, &bd->sizes, ((struct bound_size){dim, v}));
	return v;
}

void
bound_most(struct bound *bd, int rank, const int64_t *dims, int64_t *most)
{
	for (int i = 0; i < rank; i++)
		most[i] = dim_hi(bd->g, dims[i]);
}

struct value *
bound_fit(struct bound *bd, struct value *x, int rank, const int64_t *dims)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK], more[MAX_RANK];

	if (!x)
		return NULL;
	if (x->rank != rank)
		die("a value of rank %d for one of rank %d", x->rank, rank);
	for (int i = 0; i < rank; i++) {
		step[i] = 1;
		count[i] = x->dims[i] < dims[i] ? x->dims[i] : dims[i];
		more[i] = dims[i] - count[i];
	}
	return b_pad(&bd->b, b_slice(&bd->b, x, start, count, step), start, more, 0);
}

static struct attr *
same_attrs(struct bound *bd, const struct node *n)
{
	struct attr *attrs = arena_array(bd->tmp, struct attr, n->nattr + 1);

	for (int i = 0; i < n->nattr; i++) {
		attrs[i] = n->attr[i];
		if (attrs[i].kind == ATTR_INTS && attr_holds_dims(n->op, attrs[i].name)) {
			int64_t *most = arena_array(bd->tmp, int64_t, attrs[i].n + 1);

			bound_most(bd, attrs[i].n, attrs[i].ints, most);
			attrs[i].ints = most;
		}
	}
	return attrs;
}

struct value *
bound_same(struct bound *bd, const struct node *n, struct value *const *in)
{
	return b_op(&bd->b, n->op, n->nin, in, n->nattr, same_attrs(bd, n));
}

bool
bound_same_outputs(struct bound *bd, const struct node *n, int nin, struct value *const *in)
{
	struct node *m = b_node(&bd->b, n->op, nin, in, n->nout, n->nattr, same_attrs(bd, n));

	for (int i = 0; m && i < n->nout; i++) {
		int64_t most[MAX_RANK];

		if (!n->out[i]) {
			m->out[i] = NULL;
			continue;
		}
		bound_most(bd, n->out[i]->rank, n->out[i]->dims, most);
		if (!(bd->map[n->out[i]->id] = bound_fit(bd, m->out[i], n->out[i]->rank, most)))
			return false;
	}
	return m != NULL;
}

/* ---- the interface */
/* Every symbol that something has as a size, in order: first those given. */
struct named { struct graph *g; bool *seen; int64_t *all; int n; };

static void
notice(void *ctx, int64_t handle)
{
	struct named *s = ctx;
	int64_t at = -1 - handle;

	if (s->seen[at])
		return;
	s->seen[at] = true;
	s->all[s->n++] = handle;
}

static void
notice_dims(struct named *s, int rank, const int64_t *dims)
{
	for (int i = 0; i < rank; i++)
		dim_each_symbol(s->g, dims[i], notice, s);
}

int
graph_symbols(struct graph *g, struct arena *a, int64_t **out, int *ngiven)
{
	int n = dim_symbols(g, NULL, 0);
	struct named s = {.g = g, .all = arena_array(a, int64_t, n + 1)};

	dim_symbols(g, s.all, n);
	s.seen = arena_array(a, bool, n ? -s.all[n - 1] : 1); /* in order of their handles */
	for (int i = 0; i < g->inputs.n; i++)
		notice_dims(&s, g->inputs.v[i]->rank, g->inputs.v[i]->dims);
	*ngiven = s.n;
	for (int i = 0; i < g->outputs.n; i++)
		notice_dims(&s, g->outputs.v[i]->rank, g->outputs.v[i]->dims);
	*out = s.all;
	return s.n;
}

static bool
bounded(struct bound *bd, const struct value *v, struct loc loc)
{
	for (int i = 0; i < v->rank; i++) {
		int64_t d = v->dims[i];

		if (dim_const(d) || dim_hi(bd->g, d) < TOO_LARGE)
			continue;
		if (dim_is_symbol(bd->g, d))
			return diag_unsupported(bd->b.diag, loc, "size %s of axis %d has no upper bound; give one with --dim %s=1..64",
			    dim_text(bd->g, d), i, dim_text(bd->g, d));
		return diag_unsupported(bd->b.diag, loc,
		    "size %s of axis %d has no upper bound that memory could hold; give smaller ones with --dim NAME=1..64",
		    dim_text(bd->g, d), i);
	}
	return true;
}

static void
open_inputs(struct bound *bd, const int64_t *sym, int ngiven)
{
	struct graph *g = bd->g, *c = bd->b.g;
	int64_t most[MAX_RANK], all;

	for (int i = 0; i < g->inputs.n; i++) {
		struct value *v = g->inputs.v[i], *x;

		bound_most(bd, v->rank, v->dims, most);
		all = dims_count(v->rank, most);
		x = bound_dense(v->rank, v->dims) ? graph_input(c, v->name, v->dtype, v->rank, most)
		                                  : graph_input(c, v->name, v->dtype, 1, &all);
		x->loc = v->loc;
		bd->map[v->id] = x;
	}
	for (int i = 0; i < ngiven; i++) {
		struct value *x = graph_input(c, arena_printf(c->arena, "$%s", dim_text(g, sym[i])), DT_i64, 0, NULL);

		vec_push(bd->tmp, &bd->sizes, ((struct bound_size){sym[i], x}));
	}
	for (int i = 0; i < g->inputs.n; i++) {
		struct value *v = g->inputs.v[i];

		bd->b.loc = v->loc;
		if (!bound_dense(v->rank, v->dims))
			bd->map[v->id] = bound_reshape(bd, bd->map[v->id], -1, NULL, v->rank, v->dims);
	}
	for (int i = 0; i < g->states.n; i++) {
		struct value *v = g->states.v[i], *x = graph_state(c, v->name, v->data, v->trainable);

		x->loc = v->loc;
		bd->map[v->id] = x;
	}
}

static bool
visit(struct bound *bd, const struct node *n)
{
	struct graph *c = bd->b.g;
	struct value *y;
	int64_t most[MAX_RANK];

	for (int i = 0; i < n->nin; i++) {
		struct value *v = n->in[i];

		if (v && v->kind == VAL_CONST && !bd->map[v->id]) {
			bd->map[v->id] = graph_const(c, v->name, v->data);
			bd->map[v->id]->loc = v->loc;
		}
	}
	if (op_info[n->op].class == OC_composite)
		die("%s before bound", op_info[n->op].id);
	bd->b.loc = n->loc;
	if (op_info[n->op].class == OC_host || (n->op == OP_eq && n->in[0]->dtype == DT_str))
		return bound_host(bd, n);
	if (n->nout != 1 || !n->out[0])
		return bound_outputs(bd, n);
	y = bound_node(bd, n);
	bound_most(bd, n->out[0]->rank, n->out[0]->dims, most);
	y = bound_fit(bd, y, n->out[0]->rank, most);
	if (!y)
		return false;
	if (y->dtype != n->out[0]->dtype)
		die("bound made %s of %s %s", dtype_info[y->dtype].name, dtype_info[n->out[0]->dtype].name, op_info[n->op].id);
	if (!y->name && y->kind == VAL_NODE)
		y->name = n->out[0]->name ? intern(c->names, n->out[0]->name) : NULL;
	bd->map[n->out[0]->id] = y;
	return true;
}

static bool
close_outputs(struct bound *bd, const int64_t *sym, int nsym, int ngiven)
{
	struct graph *g = bd->g, *c = bd->b.g;

	for (int i = 0; i < g->outputs.n; i++) {
		struct value *v = g->outputs.v[i], *y;

		if (v->kind == VAL_CONST && !bd->map[v->id])
			bd->map[v->id] = graph_const(c, v->name, v->data);
		y = bd->map[v->id];
		bd->b.loc = v->loc;
		if (!bound_dense(v->rank, v->dims))
			y = bound_reshape(bd, y, v->rank, v->dims, -1, NULL);
		if (!y)
			return false;
		graph_output(c, g->output_names.v[i], y);
	}
	for (int i = ngiven; i < nsym; i++)
		graph_output(c, arena_printf(c->arena, "$%s", dim_text(g, sym[i])), bound_size(bd, sym[i]));
	for (int i = 0; i < g->updates.n; i++) {
		const struct update *u = &g->updates.v[i];

		vec_push(c->arena, &c->updates, ((struct update){bd->map[u->state->id], bd->map[u->next->id]}));
	}
	return true;
}

/* Whether every size is an input's or measured: texts may name others. */
struct known { struct bound *bd; const int64_t *given; int ngiven; int64_t unknown; };

static void
known(void *ctx, int64_t symbol)
{
	struct known *k = ctx;

	for (int i = 0; i < k->ngiven; i++)
		if (k->given[i] == symbol)
			return;
	if (!graph_size_of(k->bd->g, symbol))
		k->unknown = symbol;
}

static bool
all_known(struct bound *bd, const struct node *n, const int64_t *given, int ngiven)
{
	struct known k = {bd, given, ngiven, 0};

	for (int o = 0; o < n->nout; o++)
		for (int i = 0; n->out[o] && i < n->out[o]->rank; i++)
			dim_each_symbol(bd->g, n->out[o]->dims[i], known, &k);
	for (int a = 0; a < n->nattr; a++)
		for (int i = 0; n->attr[a].kind == ATTR_INTS && attr_holds_dims(n->op, n->attr[a].name) && i < n->attr[a].n; i++)
			dim_each_symbol(bd->g, n->attr[a].ints[i], known, &k);
	if (!k.unknown)
		return true;
	return diag_invalid(bd->b.diag, n->loc, "size %s is no input's and is not measured", dim_text(bd->g, k.unknown));
}

struct graph *
bound_graph(struct graph *g, struct diag *d)
{
	struct bound bd = {.g = g, .tmp = arena_create()};
	struct graph *c = graph_create(g->arena, g->name);
	int64_t *sym;
	int nsym, ngiven;
	bool ok = true;

	bd.b = build_at(c, d, LOC_NONE, "bound");
	bd.map = arena_array(bd.tmp, struct value *, g->nvalue + 1);
	nsym = graph_symbols(g, bd.tmp, &sym, &ngiven);
	for (int i = 0; i < g->inputs.n; i++)
		ok = bounded(&bd, g->inputs.v[i], g->inputs.v[i]->loc) && ok;
	for (int i = 0; ok && i < g->nodes.n; i++)
		for (int k = 0; ok && !g->nodes.v[i]->dead && k < g->nodes.v[i]->nout; k++)
			ok = !g->nodes.v[i]->out[k] || bounded(&bd, g->nodes.v[i]->out[k], g->nodes.v[i]->loc);
	for (int i = 0; ok && i < g->nodes.n; i++)
		ok = g->nodes.v[i]->dead || all_known(&bd, g->nodes.v[i], sym, ngiven);
	if (ok)
		open_inputs(&bd, sym, ngiven);
	for (int i = 0; ok && i < g->nodes.n; i++)
		if (!g->nodes.v[i]->dead)
			ok = visit(&bd, g->nodes.v[i]);
	ok = ok && close_outputs(&bd, sym, nsym, ngiven);
	arena_destroy(bd.tmp);
	return ok ? c : NULL;
}

/* compact and extent are rows for this pass, in graphs of fixed sizes too. */
static bool
nothing_to_do(const struct graph *g)
{
	for (int i = 0; i < g->nodes.n; i++)
		if (!g->nodes.v[i]->dead && (g->nodes.v[i]->op == OP_compact || g->nodes.v[i]->op == OP_extent))
			return false;
	return !graph_is_symbolic(g);
}

bool
pass_bound(struct graph *g, struct pass_ctx *ctx)
{
	struct graph *c;

	if (nothing_to_do(g))
		return true;
	if (!(c = bound_graph(g, ctx->diag)))
		return false;
	*g = *c;
	return true;
}

/* The program of the bounded graph, with the interface of the one with symbols: the
 * hidden inputs and outputs are places among the symbols of the run. */
bool
lower_bound(struct graph *g, const char *order, struct pass_ctx *ctx)
{
	struct graph *c = bound_graph(g, ctx->diag);
	struct program *p;
	int nsym, ngiven;

	ctx->program = NULL;
	if (!c || !passes_run_named(c, order, ctx))
		return false;
	p = ctx->program;
	require(p);
	nsym = graph_symbols(g, ctx->arena, &p->sym, &ngiven);
	if (p->inputs.n != g->inputs.n + ngiven || p->outputs.n != g->outputs.n + nsym - ngiven)
		die("%d inputs and %d outputs of a bounded graph", p->inputs.n, p->outputs.n);
	p->graph = g;
	p->nsym = nsym;
	p->ngiven = ngiven;
	for (int i = 0; i < p->inputs.n; i++) {
		if (i < g->inputs.n) {
			p->inputs.v[i].value = g->inputs.v[i];
			continue;
		}
		p->inputs.v[i].buffer->space = SPACE_SYM;
		p->inputs.v[i].buffer->offset = i - g->inputs.n;
	}
	for (int i = 0; i < p->outputs.n; i++) {
		struct buffer *b = p->outputs.v[i].buffer;

		if (i < g->outputs.n) {
			p->outputs.v[i].value = g->outputs.v[i];
			b->offset = g->inputs.n + i;
			continue;
		}
		b->space = SPACE_SYM;
		b->offset = ngiven + i - g->outputs.n;
	}
	p->inputs.n = g->inputs.n;
	p->outputs.n = g->outputs.n;
	return bound_memory(p, ctx->diag);
}
