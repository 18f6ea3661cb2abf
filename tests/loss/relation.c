/* relation -- losses of how samples, channels or layers relate. */
#include "losses.h"

#include <stddef.h>

/* Tokens [n,T,C] and maps [n,C,P..] as means over positions; pool: none: [n, all of it]. */
static struct dense
feature(const struct given *g, const struct dense *x)
{
	int64_t n = x->dims[0], whole = x->n / n, c = x->rank == 3 ? x->dims[2] : x->dims[1],
		p = whole / c;
	struct dense y = room(2, (int64_t[]){n, c});

	if (x->rank < 3 || is_word(g, "pool", "none")) {
		y = room(2, (int64_t[]){n, whole});
		for (int64_t i = 0; i < x->n; i++)
			y.v[i] = x->v[i];
		return y;
	}
	for (int64_t i = 0; i < n; i++)
		for (int64_t k = 0; k < c; k++)
			for (int64_t q = 0; q < p; q++)
				y.v[i * c + k] +=
				    x->v[i * whole + (x->rank == 3 ? q * c + k : k * p + q)] /
				    (double)p;
	return y;
}

/* <x_i, x_j> of the rows of x */
static double
product(const struct dense *x, int64_t i, int64_t j)
{
	int64_t w = x->n / x->dims[0];
	double sum = 0;

	for (int64_t k = 0; k < w; k++)
		sum += x->v[i * w + k] * x->v[j * w + k];
	return sum;
}

/* Sum over layers, or mean over the teachers of one student tensor. */
static double
layers(const struct given *g,
    double (*f)(const struct given *, int, const struct dense *, const struct dense *))
{
	double sum = 0;

	for (int i = 0; i < g->nt; i++)
		sum += f(g, i, &g->s[g->ns > 1 ? i : 0], &g->t[i]) / (g->ns > 1 ? 1 : g->nt);
	return sum;
}

/* ---- sp */

static double
similarity(const struct dense *x, int64_t i, int64_t j)
{
	double sum = 0;

	for (int64_t k = 0; k < x->dims[0]; k++)
		sum += product(x, i, k) * product(x, i, k);
	return product(x, i, j) / sqrt(sum);
}

static double
sp_layer(const struct given *g, int layer, const struct dense *s, const struct dense *t)
{
	double sum = 0, n = g->rows;

	(void)layer;
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++)
			sum += pow(similarity(t, i, j) - similarity(s, i, j), 2);
	return sum / (n * n);
}

static double
sp(const struct given *g)
{
	return layers(g, sp_layer);
}

/* ---- rkd */

static double
distance(const struct dense *x, int64_t i, int64_t j)
{
	double sum = 0;

	for (int64_t k = 0; k < x->dims[1]; k++)
		sum += pow(x->v[i * x->dims[1] + k] - x->v[j * x->dims[1] + k], 2);
	return sqrt(sum);
}

static double
mean_distance(const struct dense *x)
{
	double sum = 0, n = (double)x->dims[0];

	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++)
			sum += distance(x, i, j);
	return sum / (n * (n - 1));
}

/* cos of the angle at i between j and k */
static double
angle(const struct dense *x, int64_t i, int64_t j, int64_t k)
{
	double sum = 0;
	int64_t w = x->dims[1];

	if (j == i || k == i)
		return 0;
	for (int64_t c = 0; c < w; c++)
		sum += (x->v[j * w + c] - x->v[i * w + c]) * (x->v[k * w + c] - x->v[i * w + c]);
	return sum / (distance(x, i, j) * distance(x, i, k));
}

static double
smooth_l1(double d)
{
	return fabs(d) < 1 ? d * d / 2 : fabs(d) - 0.5;
}

static double
rkd_layer(const struct given *g, int layer, const struct dense *s, const struct dense *t)
{
	struct dense x = feature(g, s), y = feature(g, t);
	double ms = mean_distance(&x), mt = mean_distance(&y), d = 0, a = 0, n = g->rows;

	(void)layer;
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++) {
			d += smooth_l1(distance(&x, i, j) / ms - distance(&y, i, j) / mt);
			for (int64_t k = 0; k < n; k++)
				a += smooth_l1(angle(&x, i, j, k) - angle(&y, i, j, k));
		}
	return number(g, "distance", 25) * d / (n * n) + number(g, "angle", 50) * a / (n * n * n);
}

static double
rkd(const struct given *g)
{
	return layers(g, rkd_layer);
}

/* ---- pkt */

static double
probability(const struct dense *x, int64_t i, int64_t j)
{
	double sum = 0, mine = 0;

	for (int64_t k = 0; k < x->dims[0]; k++) {
		double p = 0.5 + 0.5 * product(x, i, k) / sqrt(product(x, i, i) * product(x, k, k));

		sum += p;
		mine = k == j ? p : mine;
	}
	return mine / sum;
}

static double
pkt_layer(const struct given *g, int layer, const struct dense *s, const struct dense *t)
{
	struct dense x = feature(g, s), y = feature(g, t);
	double sum = 0, n = g->rows;

	(void)layer;
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++) {
			double ks = probability(&x, i, j), kt = probability(&y, i, j);

			sum += kt * log((kt + 1e-7) / (ks + 1e-7));
		}
	return sum / (n * n);
}

static double
pkt(const struct given *g)
{
	return layers(g, pkt_layer);
}

/* ---- hard_pairs */

static double
hard_pairs_layer(const struct given *g, int layer, const struct dense *s, const struct dense *t)
{
	struct dense x = feature(g, s), y = feature(g, t), taken;
	int64_t n = g->rows, count = (int64_t)floor(number(g, "share", 0.25) * (double)n);
	double sum = 0;

	(void)layer;
	count = count < 1 ? 1 : count;
	taken = room(2, (int64_t[]){n, n});
	for (int64_t k = 0; k < count; k++) {
		double worst = -1;
		int64_t at = 0;

		for (int64_t i = 0; i < n; i++)
			for (int64_t j = i + 1; j < n; j++) {
				double d =
				    product(&x, i, j) /
					sqrt(product(&x, i, i) * product(&x, j, j)) -
				    product(&y, i, j) / sqrt(product(&y, i, i) * product(&y, j, j));

				if (taken.v[i * n + j] == 0 && d * d > worst) {
					worst = d * d;
					at = i * n + j;
				}
			}
		taken.v[at] = 1;
		sum += worst;
	}
	return sum / (double)count;
}

static double
hard_pairs(const struct given *g)
{
	return layers(g, hard_pairs_layer);
}

/* ---- cc, cckd */

static double
cc_layer(const struct given *g, int layer, const struct dense *s, const struct dense *t)
{
	struct dense x = feature(g, s), y = feature(g, t);
	struct dense es = linear(g, &x, layer ? "student1." : "student.");
	struct dense et = linear(g, &y, layer ? "teacher1." : "teacher.");
	int64_t w = es.dims[1], n = g->rows;
	double sum = 0;

	for (int64_t i = 0; i + 1 < n; i++)
		for (int64_t k = 0; k < w; k++) {
			int64_t a = i * w + k, b = a + w;

			sum += fabs(es.v[a] - et.v[a]) * fabs(es.v[b] - et.v[b]);
		}
	return sum / (double)(n - 1);
}

static double
cc(const struct given *g)
{
	return layers(g, cc_layer);
}

static double
correlation(const struct given *g, double x)
{
	double gamma = number(g, "gamma", 0.4), sum = 0, term = 1;

	if (is_word(g, "kernel", "bilinear"))
		return x;
	for (int p = 0; p <= number(g, "degree", 2); p++) {
		sum += term * pow(x, p);
		term *= 2 * gamma / (p + 1);
	}
	return exp(-2 * gamma) * sum;
}

static double
cckd_layer(const struct given *g, int layer, const struct dense *s, const struct dense *t)
{
	struct dense x = feature(g, s), y = feature(g, t);
	double sum = 0, n = g->rows;

	(void)layer;
	if (number(g, "dim", 128) > 0) {
		x = linear(g, &x, "student.");
		y = linear(g, &y, "teacher.");
	}
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++)
			sum += pow(
			    correlation(g, product(&x, i, j)) - correlation(g, product(&y, i, j)),
			    2);
	return sqrt(sum) / (n * n);
}

static double
cckd(const struct given *g)
{
	return layers(g, cckd_layer);
}

/* clang-format off */
const struct loss_case relation_cases[] = {
	{"sp", "sp", "", sp, .student = {SHAPE(6, 2, 3, 3)}, .teacher = {SHAPE(6, 4, 2, 2)}},
	{"sp_layers", "sp", "", sp, .student = {SHAPE(6, 5), SHAPE(6, 3)}, .teacher = {SHAPE(6, 4), SHAPE(6, 7)}},
	{"sp_teachers", "sp", "", sp, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4), SHAPE(6, 7)}},
	{"rkd", "rkd", "", rkd, .student = {SHAPE(6, 3, 2, 2)}, .teacher = {SHAPE(6, 5)}},
	{"rkd_dial", "rkd", "distance: ~3, angle: ~2, pool: none", rkd, .student = {SHAPE(6, 3, 2)}, .teacher = {SHAPE(6, 5)}},
	{"rkd_tokens", "rkd", "angle: 0", rkd, .student = {SHAPE(6, 2, 3)}, .teacher = {SHAPE(6, 3, 4)}},
	{"rkd_angle", "rkd", "distance: 0", rkd, .student = {SHAPE(6, 4)}, .teacher = {SHAPE(6, 5)}},
	{"pkt", "pkt", "", pkt, .student = {SHAPE(6, 3, 2, 2)}, .teacher = {SHAPE(6, 5)}},
	{"hard_pairs", "hard_pairs", "", hard_pairs, .student = {SHAPE(6, 4)}, .teacher = {SHAPE(6, 5)}},
	{"hard_pairs_more", "hard_pairs", "share: 0.5", hard_pairs, .student = {SHAPE(9, 2, 2, 2)}, .teacher = {SHAPE(9, 5)}},
	{"cc", "cc", "dim: 3", cc, .student = {SHAPE(6, 2, 2, 2)}, .teacher = {SHAPE(6, 4)}, .scale = 1.5},
	{"cc_layers", "cc", "dim: 3", cc, .student = {SHAPE(6, 2), SHAPE(6, 3)}, .teacher = {SHAPE(6, 4), SHAPE(6, 2)}},
	{"cckd", "cckd", "dim: 3", cckd, .student = {SHAPE(6, 2, 2, 2)}, .teacher = {SHAPE(6, 4)}},
	{"cckd_degree", "cckd", "dim: 0, gamma: 0.3, degree: 4", cckd, .student = {SHAPE(6, 3)}, .teacher = {SHAPE(6, 4)}},
	{"cckd_bilinear", "cckd", "dim: 3, kernel: bilinear", cckd, .student = {SHAPE(6, 3)}, .teacher = {SHAPE(6, 4)}},
	{NULL},
};
const struct loss_refusal relation_refusals[] = {
	{"sp", "", "compares 2 tensors of the student with 1 of the teacher", .student = {SHAPE(6, 5), SHAPE(6, 4)}, .teacher = {SHAPE(6, 4)}},
	{NULL},
};
/* clang-format on */
