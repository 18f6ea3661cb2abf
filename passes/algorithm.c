/* algorithm -- which algorithm computes every convolution and gradient of one: as
 * the command line says, else the fastest by measurement, else by the cost model.
 * --precise leaves out those whose error is above that of a direct sum.
 *
 * requires: core operators, constant dims, before layout.
 * leaves: nodes of the chosen algorithm; ctx->decisions. */
#include "passes/algorithm.h"

#include <string.h>

static bool
always(const struct conv_layer *l, const struct machine *m, int tile)
{
	(void)l, (void)m, (void)tile;
	return true;
}

static double
direct(const struct conv_layer *l, const struct machine *m, int tile)
{
	(void)tile;
	return cost_direct(m, l->n->op, &l->s, l->where, l->fixed);
}

static double
winograd(const struct conv_layer *l, const struct machine *m, int tile)
{
	return cost_winograd(m, l->n->op, &l->s, tile, l->where, l->fixed);
}

static double
dilated(const struct conv_layer *l, const struct machine *m, int tile)
{
	struct conv_shape s = dilated_parts(&l->s);

	return cost_winograd(m, OP_conv, &s, tile, l->where, l->fixed) + cost_moved(m, &l->s);
}

/* the first takes whatever the others do not */
const struct algorithm algorithms[] = {
    {"direct", 0, 1, true, always, direct, NULL},
    {"winograd2", 2, 16 / 9., true, winograd_serves, winograd, winograd_write},
    {"winograd4", 4, 4, false, winograd_serves, winograd, winograd_write},
    {"dilated2", 2, 16 / 9., true, dilated_serves, dilated, dilated_write},
    {"dilated4", 4, 4, false, dilated_serves, dilated, dilated_write},
};
const int nalgorithms = sizeof algorithms / sizeof *algorithms;
_Static_assert(sizeof algorithms / sizeof *algorithms <= MAX_ALGORITHMS, "candidates have no room");

int
algorithm_find(const char *name)
{
	for (int i = 0; i < nalgorithms; i++)
		if (strcmp(algorithms[i].name, name) == 0)
			return i;
	return -1;
}

static void
add_sizes(struct str *s, const char *word, int n, const int64_t *v, const char *between)
{
	str_add(s, word);
	for (int i = 0; i < n; i++)
		str_addf(s, "%s%lld", i ? between : "", (long long)v[i]);
}

void
conv_layer_key(const struct conv_layer *l, struct str *k)
{
	const struct conv_shape *s = &l->s;

	str_addf(k, "%s:%s:n%lld:i%lld", op_info[l->n->op].id, dtype_info[l->n->out[0]->dtype].name, (long long)s->n, (long long)s->ic);
	add_sizes(k, "x", s->spatial, s->in, "x");
	str_addf(k, ":o%lld", (long long)s->oc);
	add_sizes(k, "x", s->spatial, s->out, "x");
	add_sizes(k, ":k", s->spatial, s->kernel, "x");
	add_sizes(k, ":s", s->spatial, s->stride, "x");
	add_sizes(k, ":d", s->spatial, s->dilation, "x");
	add_sizes(k, ":p", s->spatial, s->lo, ".");
	add_sizes(k, ".", s->spatial, s->hi, ".");
	str_addf(k, ":g%lld:%s:%s", (long long)s->group, l->fixed ? "const" : "state", residence_names[l->where]);
}

/* ---- the pass */
/* Whether f names the node: by its ONNX name, or "#37" by its place in the file. */
static bool
names_node(const char *name, struct loc loc)
{
	char number[24];

	snprintf(number, sizeof number, "#%d", loc.node);
	return (loc.name && strcmp(name, loc.name) == 0) || (loc.node >= 0 && strcmp(name, number) == 0);
}

static void
note_name(struct choices *c, struct loc loc)
{
	const char *name = loc.name && *loc.name ? loc.name : arena_printf(c->arena, "#%d", loc.node);

	for (int i = 0; i < c->nodes.n; i++)
		if (strcmp(c->nodes.v[i], name) == 0)
			return;
	vec_push(c->arena, &c->nodes, name);
}

/* -1: nobody forces one, -2: reported */
static int
forced(const struct pass_ctx *ctx, const struct conv_layer *l, unsigned possible)
{
	struct choices *c = ctx->opts->choices;
	bool gradient = l->n->loc.maker && strcmp(l->n->loc.maker, "grad") == 0;
	struct str list = {0};

	if (c && c->arena && !gradient)
		note_name(c, l->n->loc);
	for (int i = 0; c && i < c->nforced; i++) {
		struct forced *f = &c->forced[i];

		if (!names_node(f->node, l->n->loc))
			continue;
		f->seen = true;
		if (possible & 1u << f->algorithm)
			return f->algorithm;
		if (gradient) /* of a node's gradients those follow that can */
			return -1;
		for (int k = 0; k < nalgorithms; k++)
			if (possible & 1u << k)
				str_addf(&list, "%s%s", list.n ? ", " : "", algorithms[k].name);
		diag_usage(ctx->diag, "--conv %s=%s: not for this convolution%s; possible: %s", f->node,
		    algorithms[f->algorithm].name, ctx->opts->precise ? " with --precise" : "", list.s);
		str_free(&list);
		return -2;
	}
	return -1;
}

/* A bit for each that may compute it. */
static unsigned
serving(const struct pass_ctx *ctx, const struct conv_layer *l)
{
	unsigned possible = 0;

	for (int i = 0; i < nalgorithms; i++)
		if ((algorithms[i].precise || !ctx->opts->precise) && algorithms[i].serves(l, &ctx->opts->machine, algorithms[i].tile))
			possible |= 1u << i;
	return possible;
}

double
algorithm_cost(const struct pass_ctx *ctx, const struct conv_layer *l)
{
	unsigned possible = serving(ctx, l);
	double least = algorithms[0].cost(l, &ctx->opts->machine, algorithms[0].tile);

	for (int i = 1; i < nalgorithms; i++) {
		double cost = possible & 1u << i ? algorithms[i].cost(l, &ctx->opts->machine, algorithms[i].tile) : least;

		least = cost < least ? cost : least;
	}
	return least;
}

/* The node as a layer, and which algorithms may compute it; false: it is none. */
static bool
layer_of(const struct pass_ctx *ctx, const struct node *n, struct conv_layer *l, unsigned *possible)
{
	*l = (struct conv_layer){.n = n, .where = (enum residence)ctx->residence};
	if (n->dead || op_info[n->op].class != OC_conv || !conv_shape_of(n, &l->s))
		return false;
	l->fixed = n->op != OP_conv_grad_weight && n->in[1]->kind == VAL_CONST;
	*possible = serving(ctx, l);
	return true;
}

static void
predict(const struct pass_ctx *ctx, const struct conv_layer *l, unsigned possible, double *ns)
{
	const struct machine *m = &ctx->opts->machine;

	for (int i = 0; i < nalgorithms; i++)
		ns[i] = possible & 1u << i ? algorithms[i].cost(l, m, algorithms[i].tile) / m->clock : -1;
}

/* The first of the fastest; without optimisation, the plain way. */
static int
fastest(const struct pass_ctx *ctx, unsigned possible, const double *ns)
{
	int best = 0;

	for (int i = 1; i < nalgorithms && ctx->opts->opt_level >= 2; i++)
		if (possible & 1u << i && ns[i] < ns[best])
			best = i;
	return best;
}

/* Bytes that the weights grow by when all convolutions take what the model prefers; those
 * that several share once. */
static double
growth(const struct pass_ctx *ctx, struct arena *scratch, const struct graph *g)
{
	bool *seen = arena_array(scratch, bool, g->nvalue + 1);
	double total = 0, ns[MAX_ALGORITHMS];
	struct conv_layer l;
	unsigned possible;

	for (int i = 0; i < g->nodes.n; i++) {
		if (!layer_of(ctx, g->nodes.v[i], &l, &possible) || !l.fixed || seen[l.n->in[1]->id])
			continue;
		seen[l.n->in[1]->id] = true;
		predict(ctx, &l, possible, ns);
		total += (algorithms[fastest(ctx, possible, ns)].weights - 1) * (double)l.n->in[1]->data->bytes;
	}
	return total;
}

/* Fills in the candidates; the fastest of them. */
static int
decide(const struct pass_ctx *ctx, const struct conv_layer *l, unsigned possible, struct decision *d)
{
	const struct choices *c = ctx->opts->choices;
	double predicted[MAX_ALGORITHMS], measured[MAX_ALGORITHMS];
	bool known = c && c->measure && c->measure(c->ctx, l, possible, measured);

	predict(ctx, l, possible, predicted);
	for (int i = 0; i < nalgorithms; i++)
		if (possible & 1u << i)
			d->candidates[d->ncandidates++] = (struct candidate){algorithms[i].name, predicted[i], known ? measured[i] : -1};
	return fastest(ctx, possible, known ? measured : predicted);
}

static bool
visit(struct rewrite *rw, struct node *n)
{
	struct pass_ctx *ctx = rw->ctx;
	struct conv_layer l;
	struct decision d = {.n = n};
	unsigned possible;

	if (!layer_of(ctx, n, &l, &possible))
		return true;
	int choice = forced(ctx, &l, possible);
	if (choice == -2)
		return false;
	if (possible & (possible - 1)) {
		d.candidates = arena_array(ctx->arena, struct candidate, MAX_ALGORITHMS);
		int best = decide(ctx, &l, possible, &d);

		choice = choice < 0 ? best : choice;
		for (int i = 0; i < d.ncandidates; i++)
			if (strcmp(d.candidates[i].name, algorithms[choice].name) == 0)
				d.chosen = i;
	}
	if (choice > 0) {
		struct value *r = algorithms[choice].write(&rw->b, &l, algorithms[choice].tile, &d.n);

		if (!r)
			return false;
		rewrite_node(rw, n, &r);
	}
	if (d.ncandidates)
		vec_push(ctx->arena, &ctx->decisions, d);
	return true;
}

const struct decision *
decision_of(const struct pass_ctx *ctx, const struct node *n)
{
	for (int i = ctx->decisions.n - 1; i >= 0; i--)
		if (ctx->decisions.v[i].n == n)
			return &ctx->decisions.v[i];
	return NULL;
}

bool
pass_algorithm(struct graph *g, struct pass_ctx *ctx)
{
	const struct machine *m = &ctx->opts->machine;
	struct arena *scratch = arena_create();
	double bytes = cost_working_set(scratch, g);

	/* weights transformed are more, and may not fit where the kernels would */
	ctx->residence = (int)cost_residence(m, bytes);
	ctx->residence = (int)cost_residence(m, bytes + growth(ctx, scratch, g));
	arena_destroy(scratch);
	return graph_rewrite(g, ctx->diag, NULL, false, visit, ctx);
}
