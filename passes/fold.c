/* fold -- nodes whose operands are all constants become constants, by the fp64
 * evaluator with every result rounded to its type.
 *
 * What would make the program larger than it makes it faster stays: a result may
 * have at most twice its operands' bytes (a contraction's: four times) or SMALL_BYTES.  iota and expand are
 * free inside a loop nest, so they fold only as operands of something that folds.
 * A relayout of a constant is the same data with a layout; lowering packs it. */
#include "passes/fold.h"

#include <stdlib.h>

enum { SMALL_BYTES = 64 * 1024, VIRTUAL_COUNT = 4096 };

struct folder {
	struct graph *g;
	struct arena *scratch;
	struct value **to;
	int size;
};

static struct value *
now(const struct folder *f, struct value *v)
{
	return v && v->id < f->size && f->to[v->id] ? f->to[v->id] : v;
}

static bool
computed(enum op op)
{
	return op == OP_iota || op == OP_expand;
}

/* A constant, or an iota or expand of one that is small enough to be written out. */
static bool
constant(const struct folder *f, const struct value *v, int depth)
{
	if (v->kind == VAL_CONST)
		return !v->layout;
	if (v->kind != VAL_NODE || depth > 4 || !computed(v->def->op))
		return false;
	for (int i = 0; i < v->rank; i++)
		if (!dim_const(v->dims[i]))
			return false;
	if (dims_count(v->rank, v->dims) > VIRTUAL_COUNT)
		return false;
	for (int i = 0; i < v->def->nin; i++)
		if (!constant(f, now(f, v->def->in[i]), depth + 1))
			return false;
	return true;
}

static struct etensor *evaluate(struct folder *, const struct node *, int out);

static struct etensor *
content(struct folder *f, struct value *v)
{
	if (v->kind == VAL_CONST)
		return etensor_from(f->scratch, v->data);
	return evaluate(f, v->def, 0);
}

/* All outputs of the node into outs (by the caller's array) or only the first. */
static bool
evaluate_all(struct folder *f, const struct node *n, struct etensor **outs)
{
	struct eval_opts opts = {.round_each = true, .arena = f->scratch};
	const struct etensor **in = arena_array(f->scratch, const struct etensor *, n->nin + 1);

	for (int i = 0; i < n->nin; i++) {
		struct value *v = now(f, n->in[i]);

		if (v && !(in[i] = content(f, v)))
			return false;
	}
	return eval_node(&opts, f->g, n, in, outs);
}

static struct etensor *
evaluate(struct folder *f, const struct node *n, int out)
{
	struct etensor **outs = arena_array(f->scratch, struct etensor *, n->nout + 1);

	return evaluate_all(f, n, outs) ? outs[out] : NULL;
}

static bool
worth(const struct folder *f, const struct node *n)
{
	size_t in = 0, out = 0;

	if (op_is_random(n->op))
		return false;
	switch (n->op) {
	case OP_iota:
	case OP_expand:
	case OP_str_const: /* is there because lowering has no constant strings */
		return false;
	default:
		break;
	}
	if (n->nin == 0)
		return op_info[n->op].class == OC_composite;
	for (int i = 0; i < n->nin; i++) {
		const struct value *v = now(f, n->in[i]);

		if (!v)
			continue;
		if (!constant(f, v, 0))
			return false;
		in += v->kind == VAL_CONST ? v->data->bytes : 0;
	}
	for (int o = 0; o < n->nout; o++) {
		const struct value *v = n->out[o];
		int64_t count;

		if (!v)
			continue;
		if (v->rank < 0 || v->dtype == DT_none)
			return false;
		for (int i = 0; i < v->rank; i++)
			if (!dim_const(v->dims[i]))
				return false;
		count = dims_count(v->rank, v->dims);
		if (count < 0)
			return false;
		out += dtype_bytes(v->dtype, count);
	}
	return out <= SMALL_BYTES || out <= (n->op == OP_contract ? 4 : 2) * in;
}

static struct value *
made_const(struct folder *f, const struct value *v, const struct tensor *t)
{
	struct value *c = graph_const(f->g, v->name, t);

	c->loc = v->loc;
	c->layout = v->layout;
	return c;
}

/* The data in the graph's arena: the scratch is reset after each node. */
static const struct tensor *
kept(struct graph *g, struct etensor *e)
{
	return etensor_to(g->arena, e);
}

/* Weights are large: what needs no evaluator goes without. */
static const struct tensor *
fold_directly(struct folder *f, const struct node *n)
{
	const struct tensor *in[2] = {0};

	if (n->nout != 1 || n->nin < 1 || n->nin > 2)
		return NULL;
	for (int k = 0; k < n->nin; k++) {
		struct value *v = now(f, n->in[k]);

		if (!v || v->kind != VAL_CONST)
			return NULL;
		in[k] = v->data;
	}
	return fold_quick(f->g->arena, n, in);
}

static bool
fold_node(struct folder *f, struct node *n)
{
	const struct tensor *quick;
	struct etensor **outs;

	if (n->op == OP_relayout) {
		struct value *c = now(f, n->in[0]);

		if (c->kind != VAL_CONST || c->layout)
			return false;
		f->to[n->out[0]->id] = made_const(f, n->out[0], c->data);
		return true;
	}
	if (!worth(f, n))
		return false;
	quick = fold_directly(f, n);
	if (quick) {
		f->to[n->out[0]->id] = made_const(f, n->out[0], quick);
		return true;
	}
	outs = arena_array(f->scratch, struct etensor *, n->nout + 1);
	if (!evaluate_all(f, n, outs))
		return false;
	for (int o = 0; o < n->nout; o++)
		if (n->out[o] && (!outs[o] || outs[o]->dtype != n->out[o]->dtype))
			return false;
	for (int o = 0; o < n->nout; o++)
		if (n->out[o])
			f->to[n->out[o]->id] = made_const(f, n->out[o], kept(f->g, outs[o]));
	return true;
}

bool
pass_fold(struct graph *g, struct pass_ctx *ctx)
{
	struct folder f = {.g = g, .scratch = arena_create(), .size = g->nvalue};

	(void)ctx;
	f.to = xcalloc((size_t)g->nvalue + 1, sizeof *f.to);
	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];
		struct mark m = arena_mark(f.scratch);

		if (!n->dead && fold_node(&f, n))
			n->dead = true;
		arena_reset(f.scratch, m);
	}
	graph_replace_all(g, f.to, f.size);
	graph_sweep(g);
	free(f.to);
	arena_destroy(f.scratch);
	return true;
}
