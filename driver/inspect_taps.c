/* retort inspect --taps STUDENT TEACHER: which layers to compare, by depth and shape, as
 * lines of a recipe.
 *
 * A layer's value is one that everything goes through: behind it no other value of the
 * network is alive, so a block's end, not a branch.  Of several without weights in
 * between (convolution, normalisation, activation) it is the last; behind the last
 * weights are the answers, for soft labels.  The matching keeps the order of both lists
 * and has the largest sum of likeness. */
#include "driver/driver.h"

#include <math.h>
#include <string.h>

struct stop { const struct value *v; double depth; }; /* weighted nodes on the longest way to it, as a share of the last layer's */
struct network { const char *path; struct graph *g; int n; struct stop *v; };
struct match { int s, t; };

/* ---- layers */
static bool
has_weights(const struct node *n)
{
	for (int k = 0; k < n->nin; k++)
		if (n->in[k] && n->in[k]->kind == VAL_CONST && dtype_is_float(n->in[k]->dtype) && n->in[k]->rank >= 2)
			return true;
	return false;
}

/* By value id: the weighted nodes on the longest way to it, 0 where there is none. */
static int *
depths(struct arena *a, const struct graph *g, int *most)
{
	int *depth = arena_array(a, int, g->nvalue + 1);

	*most = 1;
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		int d = 0;

		for (int k = 0; k < n->nin; k++)
			d = n->in[k] && depth[n->in[k]->id] > d ? depth[n->in[k]->id] : d;
		d += has_weights(n);
		for (int o = 0; o < n->nout; o++)
			if (n->out[o])
				depth[n->out[o]->id] = d;
		*most = d > *most ? d : *most;
	}
	return depth;
}

/* Index of the last node that reads a value; -1: none. */
static int *
last_uses(struct arena *a, const struct graph *g)
{
	int *last = arena_array(a, int, g->nvalue + 1);

	for (int i = 0; i < g->nvalue; i++)
		last[i] = -1;
	for (int i = 0; i < g->nodes.n; i++)
		for (int k = 0; k < g->nodes.v[i]->nin; k++)
			if (g->nodes.v[i]->in[k])
				last[g->nodes.v[i]->in[k]->id] = i;
	return last;
}

static bool
fits(const struct graph *g, const struct value *v)
{
	if (g->inputs.n && (v->rank < 1 || v->dims[0] != g->inputs.v[0]->dims[0])) /* the batch */
		return false;
	if (!v->name || !dtype_is_float(v->dtype) || v->rank < 2 || v->rank > 4)
		return false;
	for (int i = 1; i < v->rank; i++)
		if (!dim_const(v->dims[i]))
			return false;
	return true;
}

static bool
is_output(const struct graph *g, const struct value *v)
{
	for (int i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i] == v)
			return true;
	return false;
}

static bool
same_size(const struct value *a, const struct value *b)
{
	return dims_count(a->rank - 1, a->dims + 1) == dims_count(b->rank - 1, b->dims + 1);
}

/* The same numbers in another shape, which says less; but pooled maps [C,1,1] are vectors. */
static bool
is_view(const struct value *a, const struct value *b)
{
	return !dims_equal(a->rank, a->dims, b->rank, b->dims) && !(a->rank == 4 && a->dims[2] == 1 && a->dims[3] == 1);
}

static void
find_layers(struct arena *a, struct network *w)
{
	const struct graph *g = w->g;
	int most, alive = 0, before = -1, *depth = depths(a, g, &most), *last = last_uses(a, g);

	w->v = arena_array(a, struct stop, g->nodes.n + 1);
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		const struct value *v = n->out[0];

		for (int o = 0; o < n->nout; o++)
			alive += n->out[o] && depth[n->out[o]->id] > 0 && dtype_is_float(n->out[o]->dtype) && last[n->out[o]->id] > i;
		for (int k = 0; k < n->nin; k++) {
			const struct value *in = n->in[k];
			bool again = false;

			for (int j = 0; j < k; j++)
				again |= n->in[j] == in;
			if (in && !again && in->kind == VAL_NODE && depth[in->id] > 0 && dtype_is_float(in->dtype) && last[in->id] == i)
				alive--;
		}
		if (alive != 1 || !v || last[v->id] <= i || depth[v->id] == 0 || depth[v->id] == most || !fits(g, v) || is_output(g, v))
			continue;
		if (before == depth[v->id] && w->n > 0 && same_size(w->v[w->n - 1].v, v)) {
			if (!is_view(w->v[w->n - 1].v, v))
				w->v[w->n - 1].v = v;
			continue;
		}
		before = depth[v->id];
		w->v[w->n++] = (struct stop){v, depth[v->id]};
	}
	for (int i = 0; i < w->n; i++)
		w->v[i].depth /= before;
}

/* ---- matching */
static double
ratio(double a, double b)
{
	return a < b ? a / b : b / a;
}

/* Up to 2, below 0 where they cannot be compared: how near in depth, and how like in kind and resolution (channels are an adaptor's). */
static double
likeness(const struct stop *s, const struct stop *t)
{
	double like = 1 - fabs(s->depth - t->depth);

	if (s->v->rank != t->v->rank)
		return s->v->rank == 2 || t->v->rank == 2 ? -1 : 0.5 * like; /* tokens and maps have an adaptor */
	if (s->v->rank == 4)
		return like + sqrt(ratio((double)s->v->dims[2], (double)t->v->dims[2]) * ratio((double)s->v->dims[3], (double)t->v->dims[3]));
	return like + (s->v->rank == 3 ? ratio((double)s->v->dims[1], (double)t->v->dims[1]) : 1);
}

/* Longest common subsequence with weights; of equal sums the later layers. */
static int
best_match(struct arena *a, const struct network *s, const struct network *t, struct match *out)
{
	int w = t->n + 1, n = 0;
	double *sum = arena_array(a, double, (s->n + 1) * w);

	for (int i = 1; i <= s->n; i++)
		for (int j = 1; j <= t->n; j++) {
			double skip = fmax(sum[(i - 1) * w + j], sum[i * w + j - 1]);

			sum[i * w + j] = fmax(skip, sum[(i - 1) * w + j - 1] + likeness(&s->v[i - 1], &t->v[j - 1]));
		}
	for (int i = s->n, j = t->n; i > 0 && j > 0;) {
		if (sum[i * w + j] == sum[(i - 1) * w + j - 1] + likeness(&s->v[i - 1], &t->v[j - 1]))
			out[n++] = (struct match){--i, --j};
		else if (sum[i * w + j] == sum[i * w + j - 1])
			j--;
		else
			i--;
	}
	for (int i = 0; i < n / 2; i++) {
		struct match m = out[i];

		out[i] = out[n - 1 - i];
		out[n - 1 - i] = m;
	}
	return n;
}

/* ---- text */
static const char *
quoted(struct arena *a, const char *name)
{
	struct str s = {0};
	const char *text;

	str_json(&s, name);
	text = arena_strdup(a, s.s);
	str_free(&s);
	return text;
}

static void
print_taps(struct arena *a, const char *indent, const char *model, const struct network *w, const struct match *m, int n, bool teacher)
{
	printf("%s%s:\n%s  taps:\n", indent, model, indent);
	for (int i = 0; i < n; i++)
		printf("%s    m%d: %s\n", indent, i + 1, quoted(a, w->v[teacher ? m[i].t : m[i].s].v->name));
}

static void
print_matches(struct arena *a, const struct network *s, const struct network *t, const struct match *m, int n)
{
	for (int i = 0; i < n; i++) {
		const struct stop *x = &s->v[m[i].s], *y = &t->v[m[i].t];

		printf("# m%d  %-40s %-20s %3.0f %%   %-40s %-20s %3.0f %%\n", i + 1, x->v->name, value_text(a, s->g, x->v), 100 * x->depth,
		       y->v->name, value_text(a, t->g, y->v), 100 * y->depth);
	}
	puts("models:");
	print_taps(a, "  ", "student", s, m, n, false);
	puts("  teachers:");
	print_taps(a, "    ", "teacher", t, m, n, true);
	puts("terms:");
	for (int i = 0; i < n; i++)
		printf("  m%d: {loss: hint, student: m%d, teacher: teacher.m%d}\n", i + 1, i + 1, i + 1);
}

bool
inspect_taps(struct driver *d)
{
	struct network w[2];
	struct match *m;
	int n;

	if (d->o.args.n != 2)
		return diag_usage(&d->diag, "--taps compares two models: retort inspect --taps STUDENT.onnx TEACHER.onnx");
	for (int i = 0; i < 2; i++) {
		w[i] = (struct network){.path = d->o.args.v[i]};
		w[i].g = model_import(d, w[i].path, 0, NULL, NULL);
		if (!w[i].g)
			return false;
		find_layers(d->arena, &w[i]);
		if (w[i].n == 0)
			return diag_invalid(&d->diag, LOC_FILE(w[i].path), "no layer that everything goes through has a fixed shape; choose taps by `retort inspect`");
	}
	m = arena_array(d->arena, struct match, w[0].n + 1);
	n = best_match(d->arena, &w[0], &w[1], m);
	print_matches(d->arena, &w[0], &w[1], m, n);
	return true;
}
