/* differences.c -- central differences, extrapolated. */
#include "tests/op/differences.h"

#include <math.h>

struct value *
weighed(struct graph *g, struct diag *d, int nout, struct value *const *outs)
{
	struct build b = build_at(g, d, LOC_NONE, NULL);
	struct value *loss = NULL;

	for (int o = 0; o < nout; o++) {
		struct value *y = outs[o], *w, *s;
		struct tensor *t;

		if (!y || !dtype_is_float(y->dtype))
			continue;
		t = tensor_new(g->arena, DT_f64, y->rank, y->dims);
		for (int64_t i = 0; i < tensor_count(t); i++)
			dtype_put_f(DT_f64, t->data, i, 0.375 + 0.25 * (double)((i * 5 + o) % 7));
		w = graph_const(g, NULL, t);
		s = b_reduce_all(&b, OP_reduce_sum, b_mul(&b, y->dtype == DT_f64 ? y : b_cast(&b, y, DT_f64), w));
		loss = loss ? b_add(&b, loss, s) : s;
	}
	return loss;
}

struct value *
weighed_outputs(struct graph *g, struct diag *d, int nout)
{
	return weighed(g, d, nout, g->outputs.v);
}

static bool
loss_at(struct arena *a, struct graph *g, struct etensor **feed, int loss, double *v, struct diag *d)
{
	struct eval_opts o = {.arena = a};
	struct mark m = arena_mark(a);
	struct etensor **out = arena_array(a, struct etensor *, g->outputs.n + 1);

	if (!eval_graph(&o, g, feed, out, NULL, NULL, d))
		return false;
	*v = out[loss]->f[0];
	arena_reset(a, m);
	return true;
}

/* (f(x+h) - f(x-h)) / 2h at h and h/2, their h^2 term removed: (4 D(h/2) - D(h)) / 3.
 * x moves along dir; NULL: along element e alone. */
static bool
estimate(struct arena *a, struct graph *g, int loss, struct etensor **feed, int k, int64_t e, const double *dir,
    double h, double *v, struct diag *d)
{
	struct etensor *x = feed[k];
	double *keep = x->f, *moved = arena_dup(a, keep, (size_t)(x->count + !x->count) * sizeof *keep), f[4];
	bool ok = true;

	x->f = moved;
	for (int i = 0; ok && i < 4; i++) {
		double t = (i & 1 ? -1 : 1) * (i < 2 ? h : h / 2);

		for (int64_t j = dir ? 0 : e; j < (dir ? x->count : e + 1); j++)
			moved[j] = keep[j] + t * (dir ? dir[j] : 1);
		ok = loss_at(a, g, feed, loss, &f[i], d);
	}
	x->f = keep;
	*v = ok ? (4 * (f[2] - f[3]) / h - (f[0] - f[1]) / (2 * h)) / 3 : 0;
	return ok;
}

/* A power of two near a thousandth of the element, so that x+h and x-h are nearly
 * exact: an error of order h^4 against 1e-16/h of rounding. */
static double
step_for(double x)
{
	int e;

	frexp(fmin(fmax(fabs(x), 0.25), 16), &e);
	return ldexp(1, e - 10);
}

bool
differences(struct graph *g, int loss, struct etensor **feed, int k, double *want, struct diag *d)
{
	struct arena *a = arena_create();
	bool ok = true;

	for (int64_t e = 0; ok && e < feed[k]->count; e++) {
		struct mark m = arena_mark(a);

		ok = estimate(a, g, loss, feed, k, e, NULL, step_for(feed[k]->f[e]), &want[e], d);
		arena_reset(a, m);
	}
	arena_destroy(a);
	return ok;
}

bool
difference_at(struct graph *g, int loss, struct etensor **feed, int k, int64_t e, double part, double *want,
    struct diag *d)
{
	struct arena *a = arena_create();
	bool ok = estimate(a, g, loss, feed, k, e, NULL, part * step_for(feed[k]->f[e]), want, d);

	arena_destroy(a);
	return ok;
}

bool
difference_along(struct graph *g, int loss, struct etensor **feed, int k, const double *dir, double *want,
    struct diag *d)
{
	struct arena *a = arena_create();
	bool ok = estimate(a, g, loss, feed, k, 0, dir, ldexp(1, -11), want, d);

	arena_destroy(a);
	return ok;
}

double
relative_error(int64_t n, const double *have, const double *want, int64_t *at)
{
	double scale = 0, worst = 0;

	*at = 0;
	for (int64_t e = 0; e < n; e++)
		scale = fmax(scale, fabs(want[e]));
	for (int64_t e = 0; e < n; e++) {
		double h = have ? have[e] : 0, floor = fmax(0.01 * scale, 1e-6);
		double r = fabs(h - want[e]) / fmax(fabs(want[e]), floor);

		if (!(r <= worst)) {
			worst = r;
			*at = e;
		}
	}
	return worst;
}
