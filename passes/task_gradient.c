/* task_gradient -- one direction out of the gradients of several tasks.
 *
 * Tasks share the parameters that at least two of them reach.  There the step goes along
 * sum_k c_k g_k; c follows from the inner products M_ij = <g_i, g_j> over the shared
 * parameters alone, in double.  A parameter of one task takes its gradient as it is. */
#include "passes/task_gradient.h"

#include "passes/passes.h"

#include <string.h>

enum { SETTLE = 16 }; /* steps of MGDA's search, for each task */
static const double tiny = 1e-300;

static struct value *
number(struct build *b, double v)
{
	return b_scalar(b, DT_f64, v);
}

static bool
mix_sum(struct build *b, const struct mixing *x, int n, struct value *const *m, struct value **c)
{
	(void)x, (void)m;
	for (int k = 0; k < n; k++)
		c[k] = number(b, 1);
	return true;
}

/* Yu et al. 2020, Gradient Surgery, algorithm 1: task i's gradient p, from g_i, loses what
 * points against another's: for every j /= i, p -= min(<p, g_j>, 0) / |g_j|^2 g_j; the
 * step is the sum of all p.  The paper takes j in random order, here it is i+1, i+2, ...
 * around.  p = sum_k a_k g_k, so <p, g_j> = sum_k a_k M_kj. */
static bool
mix_pcgrad(struct build *b, const struct mixing *x, int n, struct value *const *m, struct value **c)
{
	struct value *a[MAX_MIXED];

	(void)x;
	for (int k = 0; k < n; k++)
		c[k] = number(b, 0);
	for (int i = 0; i < n; i++) {
		for (int k = 0; k < n; k++)
			a[k] = number(b, k == i);
		for (int step = 1; step < n; step++) {
			int j = (i + step) % n;
			struct value *dot = number(b, 0), *norm;

			for (int k = 0; k < n; k++)
				dot = b_add(b, dot, b_mul(b, a[k], m[k * n + j]));
			norm = b_max(b, m[j * n + j], number(b, tiny));
			a[j] = b_sub(b, a[j], b_div(b, b_min(b, dot, number(b, 0)), norm));
		}
		for (int k = 0; k < n; k++)
			c[k] = b_add(b, c[k], a[k]);
	}
	return c[n - 1] != NULL;
}

/* ---- MGDA */
static struct value *
row_sum(struct build *b, struct value *v)
{
	return b_reduce(b, OP_reduce_sum, v, 1, (const int64_t[]){v->rank - 1}, false);
}

/* f64 [n], 1 at the first largest or smallest element */
static struct value *
unit(struct build *b, enum op op, struct value *v)
{
	struct attr axis = {.name = "axis", .kind = ATTR_INT, .i = 0};
	struct value *at = b_op(b, op, 1, &v, 1, &axis);

	if (!at)
		return NULL;
	return b_cast(b, b2(b, OP_eq, b_iota(b, DT_i64, 1, v->dims, 0), at), DT_f64);
}

/* What task k's gradient is divided by. */
static struct value *
size_of(struct build *b, const struct mixing *x, struct value *square, int k)
{
	struct value *size =
	    x->normalize == NORMALIZE_loss ? b_cast(b, x->loss[k], DT_f64) : b_sqrt(b, square);

	return b_max(b, size, number(b, 1e-30));
}

/* Sener and Koltun 2018, Multi-Task Learning as Multi-Objective Optimization: c, none
 * negative with sum 1, for which |sum_k c_k g_k| is least.  From equal parts, each step
 * moves the best part of what the worst gradient s has to the best one t (Frank-Wolfe by
 * pairs): with Mc = M c, by (Mc_s - Mc_t) / |g_s - g_t|^2, at most c_s.  Of two tasks the
 * first step is the solution.  normalize: c is found with each gradient divided by its
 * norm or its task's loss, and used with the gradients as they are. */
static bool
mix_mgda(struct build *b, const struct mixing *x, int n, struct value *const *m, struct value **c)
{
	int64_t dims[2] = {n, n}, one = 1, start;
	struct value *row[MAX_MIXED * MAX_MIXED], *size[MAX_MIXED], *M, *part;

	for (int k = 0; k < n; k++)
		size[k] = size_of(b, x, m[k * n + k], k);
	for (int i = 0; i < n * n; i++) {
		row[i] = m[i];
		if (x->normalize != NORMALIZE_none)
			row[i] = b_div(b, row[i], b_mul(b, size[i / n], size[i % n]));
		row[i] = b_reshape(b, row[i], 1, &one);
	}
	M = b_reshape(b, b_concat(b, n * n, row, 0), 2, dims);
	part = b_expand(b, number(b, 1.0 / n), 1, dims);
	for (int step = 0; step < (n == 2 ? 1 : SETTLE * n) && part; step++) {
		struct value *slope = row_sum(b, b_mul(b, M, part)), *best, *worst, *d, *has, *gain,
			     *bend;

		best = unit(b, OP_argmin, slope);
		has = b2(b, OP_lt, b_scalar(b, DT_f64, 0), part);
		worst = unit(b, OP_argmax, b_select(b, has, slope, number(b, -1e300)));
		d = b_sub(b, worst, best);
		gain = row_sum(b, b_mul(b, d, slope));
		bend = row_sum(b, b_mul(b, d, row_sum(b, b_mul(b, M, d))));
		gain = b_div(b, b_max(b, gain, number(b, 0)), b_max(b, bend, number(b, tiny)));
		gain = b_min(b, gain, row_sum(b, b_mul(b, worst, part)));
		part = b_sub(b, part, b_mul(b, gain, d));
	}
	for (int k = 0; k < n && part; k++) {
		start = k;
		c[k] = b_reshape(b, b_slice(b, part, &start, &one, &one), 0, NULL);
	}
	return part != NULL;
}

static bool (*const mixes[])(
    struct build *, const struct mixing *, int n, struct value *const *m, struct value **c) = {
#define TASK_GRADIENTS(id) [GRADIENTS_##id] = mix_##id,
#include "ir/task.def"
};

/* ---- */
static struct value *
inner(struct build *b, struct value *x, struct value *y)
{
	return b_cast(b, b_reduce_all(b, OP_reduce_sum, b_mul(b, x, y)), DT_f64);
}

static bool
shared(int ntasks, struct value ***grads, int p)
{
	int n = 0;

	for (int k = 0; k < ntasks; k++)
		n += grads[k][p] != NULL;
	return n > 1;
}

bool
task_gradient(struct build *b, const struct mixing *x, int n, struct value ***grads, int nparams,
    struct value **c, struct value **against, struct value **out)
{
	struct value *m[MAX_MIXED * MAX_MIXED], *zero = number(b, 0), *met = zero;
	int pairs = 0;

	require(n <= MAX_MIXED);
	for (int i = 0; i < n; i++)
		for (int j = i; j < n; j++) {
			struct value *sum = zero;

			for (int p = 0; p < nparams; p++)
				if (grads[i][p] && grads[j][p] && shared(n, grads, p))
					sum = b_add(b, sum, inner(b, grads[i][p], grads[j][p]));
			m[i * n + j] = m[j * n + i] = sum;
			if (j > i) {
				met = b_add(b, met, b_cast(b, b2(b, OP_lt, sum, zero), DT_f64));
				pairs++;
			}
		}
	if (!mixes[x->how](b, x, n, m, c))
		return false;
	*against = pairs ? b_muls(b, met, 1.0 / pairs) : zero;
	for (int p = 0; p < nparams; p++) {
		bool several = shared(n, grads, p);

		out[p] = NULL;
		for (int k = 0; k < n; k++) {
			struct value *g = grads[k][p];

			if (g && several)
				g = b_mul(b, g, b_cast(b, c[k], g->dtype));
			if (g)
				out[p] = out[p] ? b_add(b, out[p], g) : g;
		}
	}
	return true;
}
