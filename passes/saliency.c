/* saliency -- the gradient of a score at one or several points around the input, taken in
 * copies of the model whose input is the point:
 *
 *   x ──► points x_k ──► copies of the model ──► sum of the explained scores
 *   x ──► the model ──► which score is explained ──┘
 *
 * dS/dx_k for all k come from one backward pass, as copies do not depend on each other. */
#include "passes/saliency.h"
#include "passes/loss.h"

#include <inttypes.h>
#include <string.h>

const char *const saliency_names[NSALIENCY] = {"gradient", "gradient_input", "integrated", "smoothgrad"};

/* Where the map is taken: a float input, or what an integer input reads from a table. */
struct leaf {
	struct value *input, *x; /* x: the input itself, or Gather's output [.., D] */
	struct node *gather;
};
struct leaves { int n; struct leaf *v; };

int64_t
saliency_points(const struct saliency *s)
{
	return s->method == SALIENCY_integrated || s->method == SALIENCY_smoothgrad ? s->steps : 1;
}

static struct leaves
find_leaves(struct arena *a, const struct graph *g)
{
	struct leaves l = {.v = arena_array(a, struct leaf, g->inputs.n + g->nodes.n + 1)};

	for (int i = 0; i < g->inputs.n; i++) {
		struct value *in = g->inputs.v[i];

		if (dtype_is_float(in->dtype))
			l.v[l.n++] = (struct leaf){.input = in, .x = in};
		for (int k = 0; k < g->nodes.n; k++) {
			struct node *n = g->nodes.v[k];

			if (!n->dead && n->op == OP_gather && n->in[1] == in && n->in[0]->kind == VAL_CONST &&
			    dtype_is_float(n->in[0]->dtype) && n->out[0]->rank > in->rank) {
				l.v[l.n++] = (struct leaf){.input = in, .x = n->out[0], .gather = n};
				break;
			}
		}
	}
	return l;
}

static int
output_at(const struct graph *g, const char *name, struct diag *d)
{
	const char *near;

	for (int i = 0; i < g->outputs.n; i++)
		if (name ? strcmp(g->output_names.v[i], name) == 0 : dtype_is_float(g->outputs.v[i]->dtype))
			return i;
	near = name ? str_nearest(name, g->output_names.v, g->output_names.n) : NULL;
	diag_invalid(d, LOC_FILE(g->name), "saliency: the model has no %s \"%s\"%s%s%s", name ? "output" : "float output", name ? name : "",
	    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return -1;
}

/* ---- which score: f32 as y, 1 at what is explained of each row (and position), else 0 */
static struct value *
chosen(struct build *b, const struct saliency *s, struct value *y)
{
	int64_t dims[MAX_RANK];
	struct value *classes, *best;
	struct attr a[2] = {{.name = "axis", .kind = ATTR_INT, .i = 1}, {.name = "keep", .kind = ATTR_INT, .i = 1}};

	if (y->rank < 2 || y->dims[1] == 1) {
		if (s->class <= 0)
			return b_expand(b, b_scalar_like(b, y, 1), y->rank, y->dims);
	} else if (!dim_const(y->dims[1]) || s->class < y->dims[1]) {
		memcpy(dims, y->dims, sizeof dims);
		classes = b_iota(b, DT_i64, y->rank, dims, 1);
		best = s->class >= 0 ? b_scalar(b, DT_i64, (double)s->class) : b_op(b, OP_argmax, 1, &y, 2, a);
		return best ? b_cast(b, b2(b, OP_eq, classes, best), y->dtype) : NULL;
	}
	diag_invalid(b->diag, LOC_FILE(b->g->name), "saliency: there is no class %" PRId64 " in an output %s", s->class,
	    dims_text(b->g->arena, y));
	return NULL;
}

/* ---- points */
/* [batch, ..] -> [points, batch, ..] */
static struct value *
repeated(struct build *b, struct value *x, int64_t points)
{
	int64_t dims[MAX_RANK];

	if (x->rank + 1 > MAX_RANK) {
		diag_unsupported(b->diag, LOC_FILE(b->g->name), "saliency: rank %d", x->rank);
		return NULL;
	}
	memcpy(dims + 1, x->dims, sizeof *dims * (size_t)x->rank);
	dims[0] = points;
	return b_expand(b, b_unsqueeze(b, x, 0), x->rank + 1, dims);
}

/* The two outer axes as one, or back. */
static struct value *
merged(struct build *b, struct value *x)
{
	int64_t dims[MAX_RANK];

	if (!x)
		return NULL;
	memcpy(dims, x->dims + 1, sizeof *dims * (size_t)(x->rank - 1));
	dims[0] *= x->dims[0];
	return b_reshape(b, x, x->rank - 1, dims);
}

/* deviation of each sample: noise times its largest minus its smallest number */
static struct value *
deviation(struct build *b, const struct saliency *s, struct value *x)
{
	int64_t axes[MAX_RANK];
	struct value *range;

	for (int i = 1; i < x->rank; i++)
		axes[i - 1] = i;
	range = b_sub(b, b_reduce(b, OP_reduce_max, x, x->rank - 1, axes, true), b_reduce(b, OP_reduce_min, x, x->rank - 1, axes, true));
	return b_muls(b, range, s->noise);
}

/* The points x_i from `first` on of xs, x repeated k times over [k batch, ..]: integrated
 * a_i x with a_i = (i + 1/2) / points, smoothgrad x + deviation times a normal number.
 * Arithmetic comes last: a view could be looked through, and the gradient would miss it. */
static struct value *
points(struct build *b, const struct saliency *s, struct value *x, struct value *xs, int64_t first, int64_t k, int stream)
{
	int64_t ones[MAX_RANK], batch = xs->dims[0] / k;
	struct tensor *t;

	if (s->method == SALIENCY_smoothgrad) {
		struct attr a[2] = {{.name = "stream", .kind = ATTR_INT, .i = 7919 * (stream + 1) + first},
		                    {.name = "seed", .kind = ATTR_FLOAT, .f = 1}};
		struct value *normal = b_op(b, OP_RandomNormalLike, 1, &xs, 2, a), *d = deviation(b, s, x);

		d = d ? merged(b, repeated(b, d, k)) : NULL;
		return normal && d ? b_add(b, xs, b_mul(b, d, normal)) : NULL;
	}
	for (int i = 0; i < xs->rank; i++)
		ones[i] = 1;
	if (k > 1)
		ones[0] = xs->dims[0];
	t = tensor_new(b->g->arena, x->dtype, xs->rank, ones);
	for (int64_t i = 0; i < ones[0]; i++)
		dtype_put_f(x->dtype, t->data, i,
		    s->method == SALIENCY_integrated ? ((double)(first + (k > 1 ? i / batch : 0)) + 0.5) / (double)s->steps : 1);
	return b_mul(b, xs, graph_const(b->g, "points", t));
}

/* ---- copies of the model */
struct explained {
	struct graph *g, *src;   /* src: what is copied */
	struct build b;
	const struct saliency *s;
	struct value *y, *which; /* of the model itself */
	int output;
	struct leaves at, from;  /* in g, in src */
	struct value **consts;   /* by value id of src: the same constant of g; NULL: none */
	int nx;                  /* points so far: at.n of each copy */
	struct value **x;
	struct value *score;
};

static bool
same_tensor(const struct tensor *a, const struct tensor *b)
{
	return a == b || (a && b && a->dtype == b->dtype && a->bytes == b->bytes && dims_equal(a->rank, a->dims, b->rank, b->dims) &&
	                  memcmp(a->data, b->data, a->bytes) == 0);
}

/* One copy with `k` points in its batch from `first` on. */
static bool
add_copy(struct explained *e, int64_t first, int64_t k, struct arena *scratch)
{
	struct build *b = &e->b;
	struct value **map = arena_array(scratch, struct value *, e->src->nvalue + 1), *y, *which;

	memcpy(map, e->consts, sizeof *map * (size_t)e->src->nvalue);
	for (int i = 0; i < e->src->inputs.n; i++) {
		struct value *in = e->g->inputs.v[i];

		map[e->src->inputs.v[i]->id] = k > 1 ? merged(b, repeated(b, in, k)) : in;
	}
	for (int i = 0; i < e->at.n; i++) {
		struct value *x = e->at.v[i].x, *xs = k > 1 ? merged(b, repeated(b, x, k)) : x;

		xs = xs ? points(b, e->s, x, xs, first, k, i) : NULL;
		if (!xs)
			return false;
		map[e->from.v[i].x->id] = e->x[e->nx++] = xs;
		if (e->from.v[i].gather)
			e->from.v[i].gather->dead = true; /* its output is the point */
	}
	graph_clone_into(e->g, e->src, map, arena_printf(e->g->arena, "point%d/", (int)first));
	y = map[e->src->outputs.v[e->output]->id];
	which = k > 1 ? merged(b, repeated(b, e->which, k)) : e->which;
	y = which ? b_reduce_all(b, OP_reduce_sum, b_mul(b, y, which)) : NULL;
	e->score = e->score ? b_add(b, e->score, y) : y;
	return e->score != NULL;
}

/* ---- maps */
/* Mean over points of the gradients, [batch, ..] as x. */
static struct value *
mean_gradient(struct explained *e, struct value **dx, int leaf, bool wide)
{
	struct build *b = &e->b;
	const struct value *x = e->at.v[leaf].x;
	int64_t k = saliency_points(e->s), dims[MAX_RANK];
	struct value *sum = NULL;

	for (int i = leaf; i < e->nx; i += e->at.n)
		if (dx[i])
			sum = sum ? b_add(b, sum, dx[i]) : dx[i];
	if (!sum)
		return b_expand(b, b_scalar_like(b, x, 0), x->rank, x->dims); /* the score does not depend on it */
	if (wide) {
		memcpy(dims + 1, x->dims, sizeof *dims * (size_t)x->rank);
		dims[0] = k;
		sum = b_reduce(b, OP_reduce_sum, b_reshape(b, sum, x->rank + 1, dims), 1, (const int64_t[]){0}, false);
	}
	return k > 1 ? b_muls(b, sum, 1.0 / (double)k) : sum;
}

/* Of a token one number: the sum of what its embedding's numbers contribute, or the
 * length of their gradient. */
static struct value *
per_token(struct explained *e, struct value *v, bool times_input)
{
	int64_t last = v->rank - 1;

	if (times_input)
		return b_reduce(&e->b, OP_reduce_sum, v, 1, &last, false);
	return b_sqrt(&e->b, b_reduce(&e->b, OP_reduce_sum, b_mul(&e->b, v, v), 1, &last, false));
}

static bool
add_maps(struct explained *e, bool wide, struct arena *scratch)
{
	bool times_input = e->s->method == SALIENCY_gradient_input || e->s->method == SALIENCY_integrated;
	struct value **dx = arena_array(scratch, struct value *, e->nx + 1);

	if (!grad_build(e->g, e->score, e->nx, e->x, dx, e->b.diag))
		return false;
	for (int i = 0; i < e->at.n; i++) {
		const struct leaf *l = &e->at.v[i];
		struct value *v = mean_gradient(e, dx, i, wide);

		if (v && times_input)
			v = b_mul(&e->b, v, l->x);
		if (v && l->gather)
			v = per_token(e, v, times_input);
		if (!v)
			return false;
		graph_output(e->g, arena_printf(e->g->arena, "saliency.%s", l->input->name), v);
	}
	return true;
}

/* The constants of src that g has too. */
static void
share_constants(struct explained *e)
{
	for (int i = 0; i < e->src->consts.n; i++) {
		const struct value *c = e->src->consts.v[i];

		for (int k = 0; k < e->g->consts.n && !e->consts[c->id]; k++)
			if (same_tensor(c->data, e->g->consts.v[k]->data))
				e->consts[c->id] = e->g->consts.v[k];
	}
}

static bool
fits(const struct explained *e)
{
	if (e->from.n != e->at.n || e->src->inputs.n != e->g->inputs.n)
		return false;
	for (int i = 0; i < e->at.n; i++)
		if (e->from.v[i].x->rank != e->at.v[i].x->rank)
			return false;
	return true;
}

bool
saliency_build(struct graph *g, const struct graph *wide, const struct saliency *s, struct diag *d)
{
	struct explained e = {.g = g, .s = s, .output = output_at(g, s->output, d)};
	struct arena *scratch = arena_create();
	int64_t n = saliency_points(s);
	bool ok = e.output >= 0;

	e.b = build_at(g, d, LOC_FILE(g->name), "saliency");
	e.src = graph_copy(wide ? (struct graph *)(uintptr_t)wide : g);
	e.at = find_leaves(scratch, g);
	e.from = find_leaves(scratch, e.src);
	e.x = arena_array(scratch, struct value *, n * (e.at.n + 1));
	e.consts = arena_array(scratch, struct value *, e.src->nvalue + 1);
	if (ok && !e.at.n)
		ok = diag_invalid(d, LOC_FILE(g->name), "saliency: the model has neither a float input nor an input that reads a table of embeddings");
	if (ok)
		ok = fits(&e) || diag_invalid(d, LOC_FILE(g->name), "saliency: the model changes with its batch");
	if (ok) {
		share_constants(&e);
		e.y = g->outputs.v[e.output];
		e.which = chosen(&e.b, s, e.y);
		ok = e.which != NULL;
	}
	for (int64_t k = 0; ok && k < (wide ? 1 : n); k++)
		ok = add_copy(&e, k, wide ? n : 1, scratch);
	ok = ok && add_maps(&e, wide != NULL, scratch);
	arena_destroy(scratch);
	return ok;
}
