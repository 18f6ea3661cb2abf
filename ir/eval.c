/* eval -- the oracle: a graph computed in double (integers exactly), node by node.
 * Composites are expanded into a scratch graph of their own.  Constant folding
 * uses the same functions with every result rounded to its element type. */
#include "ir/ops/ops_int.h"

#include <stdlib.h>

enum { MAX_EVAL_DEPTH = 32, OPERAND_CONST_MAX = 65536 };

struct etensor *
etensor_new(struct arena *a, enum dtype t, int rank, const int64_t *dims)
{
	struct etensor *e = arena_new(a, struct etensor);
	int64_t n = dims_count(rank, dims);

	if (n < 0 || n > INT64_MAX / 32)
		die("evaluator: tensor too large");
	e->arena = a;
	e->dtype = t;
	e->rank = rank;
	if (rank)
		memcpy(e->dims, dims, sizeof *dims * (size_t)rank);
	e->count = n;
	switch (dtype_info[t].class) {
	case DC_FLOAT:
		e->f = arena_array(a, double, n + 1);
		break;
	case DC_COMPLEX:
		e->f = arena_array(a, double, 2 * n + 1);
		break;
	case DC_STRING:
		e->s = arena_array(a, const char *, n + 1);
		for (int64_t i = 0; i < n; i++)
			e->s[i] = "";
		break;
	default:
		e->i = arena_array(a, int64_t, n + 1);
	}
	return e;
}

double
et_get(const struct etensor *e, int64_t i)
{
	if (e->f)
		return e->f[i];
	return e->dtype == DT_u64 ? (double)(uint64_t)e->i[i] : (double)e->i[i];
}

void
et_put(struct etensor *e, int64_t i, double v)
{
	if (e->f)
		e->f[i] = v;
	else
		e->i[i] = (int64_t)v;
}

/* Complex data is pairs of the float type of half the width. */
static enum dtype
half_of(enum dtype t)
{
	return t == DT_c64 ? DT_f32 : DT_f64;
}

struct etensor *
etensor_from(struct arena *a, const struct tensor *t)
{
	struct etensor *e = etensor_new(a, t->dtype, t->rank, t->dims);

	switch (dtype_info[t->dtype].class) {
	case DC_FLOAT:
		for (int64_t i = 0; i < e->count; i++)
			e->f[i] = dtype_get_f(t->dtype, t->data, i);
		break;
	case DC_COMPLEX:
		for (int64_t i = 0; i < 2 * e->count; i++)
			e->f[i] = dtype_get_f(half_of(t->dtype), t->data, i);
		break;
	case DC_STRING:
		for (int64_t i = 0; i < e->count; i++)
			e->s[i] = ((char *const *)t->data)[i] ? ((char *const *)t->data)[i] : "";
		break;
	default:
		for (int64_t i = 0; i < e->count; i++)
			e->i[i] = dtype_get_i(t->dtype, t->data, i);
	}
	return e;
}

struct tensor *
etensor_to(struct arena *a, const struct etensor *e)
{
	struct tensor *t = tensor_new(a, e->dtype, e->rank, e->dims);

	switch (dtype_info[e->dtype].class) {
	case DC_FLOAT:
		for (int64_t i = 0; i < e->count; i++)
			dtype_put_f(e->dtype, t->data, i, e->f[i]);
		break;
	case DC_COMPLEX:
		for (int64_t i = 0; i < 2 * e->count; i++)
			dtype_put_f(half_of(e->dtype), t->data, i, e->f[i]);
		break;
	case DC_STRING:
		for (int64_t i = 0; i < e->count; i++)
			((char **)t->data)[i] = arena_strdup(a, e->s[i]);
		break;
	default:
		for (int64_t i = 0; i < e->count; i++)
			dtype_put_i(e->dtype, t->data, i, e->i[i]);
	}
	return t;
}

static void
round_all(struct etensor *e)
{
	enum dtype t = e->dtype;
	int64_t n = e->count;
	uint64_t cell[2] = {0};

	if (!e->f || t == DT_f64 || t == DT_c128)
		return;
	if (dtype_info[t].class == DC_COMPLEX) {
		t = half_of(t);
		n *= 2;
	}
	for (int64_t i = 0; i < n; i++) {
		dtype_put_f(t, cell, 0, e->f[i]);
		e->f[i] = dtype_get_f(t, cell, 0);
	}
}

struct evaluation {
	struct eval_opts *opts;
	int depth;
};
static bool graph_values(struct evaluation *, struct graph *, struct etensor *const *in,
    struct etensor **all, struct diag *);

/* A composite, alone in a graph of its own.  Operands that an expansion may want
 * to read (whole numbers, and what was constant) are constants there. */
static bool
eval_composite(struct evaluation *ev, struct graph *from, const struct node *n,
    const struct etensor *const *in, struct etensor **out)
{
	struct arena *a = ev->opts->arena;
	struct graph *g = graph_create(a, "eval");
	struct value **gin = arena_array(a, struct value *, n->nin + 1), **outs;
	struct etensor **feed = arena_array(a, struct etensor *, n->nin + 1), **all;
	struct diag quiet;
	struct build b;
	struct node *m;
	/* as its compiled form: rounded at the end only (op_expand) */
	bool ok = false, round_once = ev->opts->round_each && op_widens(n);
	int nfeed = 0;

	if (ev->depth >= MAX_EVAL_DEPTH)
		return false;
	(void)from;
	diag_init(&quiet, NULL);
	for (int i = 0; i < n->nin; i++) {
		if (!in[i])
			continue;
		if ((n->in[i]->kind == VAL_CONST || !in[i]->f) && in[i]->count <= OPERAND_CONST_MAX)
			gin[i] = graph_const(g, NULL, etensor_to(a, in[i]));
		else {
			gin[i] = graph_input(g, n->in[i]->name, in[i]->dtype, in[i]->rank, in[i]->dims);
			feed[nfeed++] = arena_dup(a, in[i], sizeof *in[i]);
		}
	}
	m = graph_node(g, n->op, n->name, n->loc, n->nin, gin, n->nout);
	for (int i = 0; i < n->nattr; i++)
		if (!attr_holds_dims(n->op, n->attr[i].name)) /* sizes are measured anew */
			node_set_attr(g, m, &n->attr[i]);
	for (int i = 0; i < n->nout; i++)
		if (!n->out[i])
			m->out[i] = NULL;
	outs = arena_array(a, struct value *, n->nout + 1);
	b = build_at(g, &quiet, n->loc, NULL);
	b.fold = false; /* stay in double between the pieces */
	if (!node_infer(g, m, &quiet))
		goto done;
	m->dead = true;
	if (!op_info[n->op].expand(&b, m, outs))
		goto done;
	all = arena_array(a, struct etensor *, g->nvalue + 1);
	ev->depth++;
	ev->opts->round_each &= !round_once;
	ok = graph_values(ev, g, feed, all, &quiet);
	ev->opts->round_each |= round_once;
	ev->depth--;
	for (int i = 0; ok && i < n->nout; i++)
		if (n->out[i]) {
			if (!outs[i])
				ok = false;
			else if (outs[i]->kind == VAL_CONST)
				out[i] = etensor_from(a, outs[i]->data);
			else
				out[i] = all[outs[i]->id];
			if (out[i] && round_once)
				round_all(out[i]);
		}
done:
	diag_free(&quiet);
	return ok;
}

static bool
node_values(struct evaluation *ev, struct graph *g, const struct node *n,
    const struct etensor *const *in, struct etensor **out)
{
	for (int i = 0; i < n->nout; i++)
		out[i] = NULL;
	if (op_info[n->op].class == OC_composite)
		return eval_composite(ev, g, n, in, out);
	for (int i = 0; i < n->nout; i++) {
		const struct value *v = n->out[i];

		if (!v)
			continue;
		if (v->rank < 0 || !ops_all_const(v->rank, v->dims) || dims_count(v->rank, v->dims) < 0)
			return false;
		out[i] = etensor_new(ev->opts->arena, v->dtype, v->rank, v->dims);
	}
	if (!op_info[n->op].eval(n, in, out))
		return false;
	for (int i = 0; ev->opts->round_each && i < n->nout; i++)
		if (out[i])
			round_all(out[i]);
	return true;
}

bool
eval_node(struct eval_opts *o, struct graph *g, const struct node *n,
    const struct etensor *const *in, struct etensor **out)
{
	struct evaluation ev = {.opts = o};

	return node_values(&ev, g, n, in, out);
}

/* ---- symbolic sizes: every node is evaluated as its copy in a graph where the sizes
 * known so far, the inputs' and those measured on the way, are constants */
struct binding {
	struct graph *g;
	struct diag *d;
	VEC(struct bound { int64_t symbol, size; }) known; /* in the graph's arena */
	int64_t missing; /* a symbol asked for and not known, or 0 */
};

static int64_t
bound_size(void *ctx, const char *name, int64_t handle)
{
	struct binding *b = ctx;

	(void)name;
	for (int i = 0; i < b->known.n; i++)
		if (b->known.v[i].symbol == handle)
			return b->known.v[i].size;
	b->missing = handle;
	return 0;
}

/* A dim of `what` turned out to be `size`: a symbol not known yet is now. */
static bool
observe(struct binding *b, struct arena *a, int64_t dim, int64_t size, int axis, const char *what)
{
	int64_t want;

	b->missing = 0;
	want = dim_eval(b->g, dim, bound_size, b);
	if (!b->missing) {
		if (want == size)
			return true;
		return diag_invalid(b->d, LOC_NONE, "axis %d of \"%s\" is %lld, but %s is %lld", axis, what ? what : "",
		    (long long)size, dim_text(b->g, dim), (long long)want);
	}
	if (!dim_is_symbol(b->g, dim))
		return true; /* its symbols are found elsewhere, or asked for later */
	if (size < dim_lo(b->g, dim) || size > dim_hi(b->g, dim))
		return diag_invalid(b->d, LOC_NONE, "axis %d of \"%s\" is %lld, but %s is %lld to %lld", axis,
		    what ? what : "", (long long)size, dim_text(b->g, dim), (long long)dim_lo(b->g, dim),
		    (long long)dim_hi(b->g, dim));
	vec_push(a, &b->known, ((struct bound){dim, size}));
	return true;
}

static bool
observe_all(struct binding *b, struct arena *a, const struct value *v, const struct etensor *e)
{
	for (int k = 0; k < v->rank; k++)
		if (!observe(b, a, v->dims[k], e->dims[k], k, v->name))
			return false;
	return true;
}

static bool
symbolic(const struct graph *g)
{
	if (g->sizes.n)
		return true;
	for (int i = 0; i < g->inputs.n; i++)
		if (!ops_all_const(g->inputs.v[i]->rank, g->inputs.v[i]->dims))
			return true;
	for (int i = 0; i < g->nodes.n; i++)
		for (int k = 0; !g->nodes.v[i]->dead && k < g->nodes.v[i]->nout; k++) {
			const struct value *v = g->nodes.v[i]->out[k];

			if (v && v->rank >= 0 && !ops_all_const(v->rank, v->dims))
				return true;
		}
	return false;
}

/* The attributes of n with their dims as numbers; what a composite measures it
 * measures anew. */
static bool
copy_attrs(struct binding *b, struct graph *to, struct node *m, const struct node *n)
{
	for (int i = 0; i < n->nattr; i++) {
		struct attr at = n->attr[i];

		if (at.kind == ATTR_INTS && attr_holds_dims(n->op, at.name)) {
			int64_t *v = arena_array(to->arena, int64_t, at.n + 1);

			if (op_info[n->op].class == OC_composite)
				continue;
			b->missing = 0;
			for (int k = 0; k < at.n; k++)
				v[k] = dim_eval(b->g, at.ints[k], bound_size, b);
			if (b->missing)
				return diag_invalid(b->d, n->loc, "size %s is not known where it is needed",
				    dim_text(b->g, b->missing));
			at.ints = v;
		}
		node_set_attr(to, m, &at);
	}
	return true;
}

static bool
symbolic_node(struct evaluation *ev, struct binding *b, struct graph *to, struct value **map,
    const struct node *n, const struct etensor **nin, struct etensor **nout)
{
	struct arena *a = ev->opts->arena;
	struct value **vin = arena_array(a, struct value *, n->nin + 1);
	struct node *m;

	for (int k = 0; k < n->nin; k++) {
		const struct value *v = n->in[k];

		if (v && !map[v->id])
			map[v->id] = v->kind == VAL_CONST ? graph_const(to, v->name, v->data)
			                                  : graph_input(to, v->name, v->dtype, nin[k]->rank, nin[k]->dims);
		vin[k] = v ? map[v->id] : NULL;
	}
	m = graph_node(to, n->op, n->name, n->loc, n->nin, vin, n->nout);
	for (int k = 0; k < n->nout; k++) {
		if (n->out[k])
			map[n->out[k]->id] = m->out[k];
		else
			m->out[k] = NULL;
	}
	if (!copy_attrs(b, to, m, n) || !node_infer(to, m, b->d))
		return false;
	if (!node_values(ev, to, m, nin, nout))
		return diag_unsupported(b->d, n->loc, "%s cannot be evaluated", op_info[n->op].id);
	for (int k = 0; k < n->nout; k++) {
		if (!n->out[k])
			continue;
		value_set(m->out[k], nout[k]->dtype, nout[k]->rank, nout[k]->dims);
		if (!observe_all(b, a, n->out[k], nout[k]))
			return false;
		for (int i = 0; i < b->g->sizes.n; i++)
			if (b->g->sizes.v[i].value == n->out[k] &&
			    !observe(b, a, b->g->sizes.v[i].dim, nout[k]->i[0], 0, n->out[k]->name))
				return false;
	}
	return true;
}

/* Fills all[] by value id. */
static bool
graph_values(struct evaluation *ev, struct graph *g, struct etensor *const *in,
    struct etensor **all, struct diag *d)
{
	struct arena *a = ev->opts->arena;
	struct binding b = {.g = g, .d = d};
	struct graph *to = NULL;
	struct value **map = NULL;

	if (symbolic(g)) {
		to = graph_create(a, g->name);
		map = arena_array(a, struct value *, g->nvalue + 1);
	}
	for (int i = 0; i < g->inputs.n; i++) {
		const struct value *v = g->inputs.v[i];

		if (!in[i])
			return diag_invalid(d, LOC_NONE, "input \"%s\" is not given", v->name);
		if (in[i]->dtype != v->dtype || in[i]->rank != v->rank ||
		    (!to && !dims_equal(v->rank, v->dims, in[i]->rank, in[i]->dims)))
			return diag_invalid(d, LOC_NONE, "input \"%s\" has type %s%s, %s%s is expected", v->name,
			    dtype_info[in[i]->dtype].name, ops_dims_text(g, in[i]->rank, in[i]->dims),
			    dtype_info[v->dtype].name, ops_dims_text(g, v->rank, v->dims));
		if (to && !observe_all(&b, a, v, in[i]))
			return false;
		all[v->id] = in[i];
	}
	for (int i = 0; i < g->states.n; i++)
		all[g->states.v[i]->id] = etensor_from(a, g->states.v[i]->data);
	for (int i = 0; i < g->sizes.n; i++)
		if (g->sizes.v[i].value->kind == VAL_CONST || g->sizes.v[i].value->kind == VAL_INPUT) {
			const struct value *v = g->sizes.v[i].value;
			const struct etensor *e = v->kind == VAL_CONST ? etensor_from(a, v->data) : all[v->id];

			if (!observe(&b, a, g->sizes.v[i].dim, e->i[0], 0, v->name))
				return false;
		}
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		const struct etensor **nin;
		struct etensor **nout;

		if (n->dead)
			continue;
		nin = arena_array(a, const struct etensor *, n->nin + 1);
		nout = arena_array(a, struct etensor *, n->nout + 1);
		for (int k = 0; k < n->nin; k++) {
			const struct value *v = n->in[k];

			if (!v)
				continue;
			if (v->kind == VAL_CONST && !all[v->id])
				all[v->id] = etensor_from(a, v->data);
			if (!(nin[k] = all[v->id]))
				die("evaluator: %s reads \"%s\" before it is made", op_info[n->op].id,
				    v->name ? v->name : "");
		}
		if (to ? !symbolic_node(ev, &b, to, map, n, nin, nout) : !node_values(ev, g, n, nin, nout))
			return to ? false : diag_unsupported(d, n->loc, "%s cannot be evaluated", op_info[n->op].id);
		for (int k = 0; k < n->nout; k++)
			if (n->out[k])
				all[n->out[k]->id] = nout[k];
	}
	return true;
}

static struct etensor *
result(struct arena *a, const struct value *v, struct etensor *const *all)
{
	return v->kind == VAL_CONST ? etensor_from(a, v->data) : all[v->id];
}

bool
eval_graph(struct eval_opts *o, struct graph *g, struct etensor *const *in, struct etensor **out,
    struct etensor **next, struct etensor **all, struct diag *d)
{
	struct evaluation ev = {.opts = o};
	struct arena *a = o->arena;
	struct etensor **mine = arena_array(a, struct etensor *, g->nvalue + 1);

	if (!graph_values(&ev, g, in, mine, d))
		return false;
	for (int i = 0; i < g->outputs.n; i++)
		out[i] = result(a, g->outputs.v[i], mine);
	for (int i = 0; next && i < g->updates.n; i++)
		next[i] = result(a, g->updates.v[i].next, mine);
	for (int i = 0; all && i < g->nvalue; i++)
		all[i] = mine[i];
	return true;
}
