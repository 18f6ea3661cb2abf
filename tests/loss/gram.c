/* gram -- losses of how the channels of a feature relate, and what they attend to. */
#include "losses.h"

#include <stddef.h>

/* Channel c of row i at position p: maps [n,C,d..] and tokens [n,P,C]. */
struct map {
	const struct dense *d;
	int64_t n, c, p;
};

static struct map
map(const struct dense *d)
{
	int64_t n = d->dims[0], c = d->rank == 3 ? d->dims[2] : d->dims[1];

	return (struct map){d, n, c, d->n / n / c};
}

static double
at(const struct map *m, int64_t i, int64_t c, int64_t p)
{
	return m->d->v[i * m->c * m->p + (m->d->rank == 3 ? p * m->c + c : c * m->p + p)];
}

static double
product(const struct map *x, int64_t a, const struct map *y, int64_t b, int64_t i)
{
	double sum = 0;

	for (int64_t p = 0; p < x->p; p++)
		sum += at(x, i, a, p) * at(y, i, b, p);
	return sum;
}

/* [n,C,h,h] as means of k x k windows */
static struct dense
halved(const struct dense *x, int64_t k)
{
	int64_t h = x->dims[2] / k, w = x->dims[3];
	struct dense y = room(4, (int64_t[]){x->dims[0], x->dims[1], h, h});

	for (int64_t m = 0; m < x->dims[0] * x->dims[1]; m++)
		for (int64_t i = 0; i < h * k; i++)
			for (int64_t j = 0; j < h * k; j++)
				y.v[(m * h + i / k) * h + j / k] +=
				    x->v[(m * w + i) * w + j] / (double)(k * k);
	return y;
}

/* ---- nst */

static double
kernel(const struct map *x, const struct map *y, int64_t i)
{
	double sum = 0;

	for (int64_t a = 0; a < x->c; a++)
		for (int64_t b = 0; b < y->c; b++)
			sum += pow(product(x, a, y, b, i), 2) / product(x, a, x, a, i) /
			       product(y, b, y, b, i);
	return sum / (double)(x->c * y->c);
}

static double
nst(const struct given *g)
{
	struct dense small = g->s[0];
	struct map s, t = map(&g->t[0]);
	double sum = 0;

	if (small.rank == 4 && small.dims[2] > g->t[0].dims[2])
		small = halved(&small, small.dims[2] / g->t[0].dims[2]);
	s = map(&small);
	for (int64_t i = 0; i < g->rows; i++)
		sum += kernel(&t, &t, i) + kernel(&s, &s, i) - 2 * kernel(&s, &t, i);
	return sum / g->rows;
}

/* ---- fsp */

static double
flow(const struct dense *x, const struct dense *y, int64_t a, int64_t b, int64_t i)
{
	struct dense small = x->dims[2] > y->dims[2] ? halved(x, x->dims[2] / y->dims[2]) : *x;
	struct map m = map(&small), n = map(y);

	return product(&m, a, &n, b, i) / (double)n.p;
}

static double
fsp(const struct given *g)
{
	double sum = 0;

	for (int k = 0; k + 1 < g->ns; k++) {
		int64_t ca = g->s[k].dims[1], cb = g->s[k + 1].dims[1];

		for (int64_t i = 0; i < g->rows; i++)
			for (int64_t a = 0; a < ca; a++)
				for (int64_t b = 0; b < cb; b++)
					sum += pow(flow(&g->s[k], &g->s[k + 1], a, b, i) -
						       flow(&g->t[k], &g->t[k + 1], a, b, i),
						   2) /
					       (double)(g->rows * ca * cb);
	}
	return sum;
}

/* ---- ickd */

static double
inter_channel(const struct map *m, int64_t i, int64_t a, int64_t b)
{
	double sum = 0;

	for (int64_t k = 0; k < m->c; k++)
		sum += pow(product(m, a, m, k, i), 2);
	return product(m, a, m, b, i) / sqrt(sum);
}

static double
ickd(const struct given *g)
{
	struct map s = map(&g->s[0]), t = map(&g->t[0]);
	double sum = 0, n = g->rows;

	for (int64_t i = 0; i < n; i++)
		for (int64_t a = 0; a < s.c; a++)
			for (int64_t b = 0; b < s.c; b++)
				sum +=
				    pow(inter_channel(&s, i, a, b) - inter_channel(&t, i, a, b), 2);
	return sum / ((double)s.c * n * n);
}

/* ---- cwd */

static double
share(const struct map *m, int64_t i, int64_t c, int64_t p, double T)
{
	double sum = 0;

	for (int64_t q = 0; q < m->p; q++)
		sum += exp(at(m, i, c, q) / T);
	return exp(at(m, i, c, p) / T) / sum;
}

static double
cwd(const struct given *g)
{
	struct map s = map(&g->s[0]), t = map(&g->t[0]);
	double T = number(g, "temperature", 1), sum = 0;

	for (int64_t i = 0; i < s.n; i++)
		for (int64_t c = 0; c < s.c; c++)
			for (int64_t p = 0; p < s.p; p++) {
				double q = share(&t, i, c, p, T);

				sum += q * log(q / share(&s, i, c, p, T));
			}
	return T * T * sum / (double)(s.n * s.c);
}

/* ---- pkd */

static double
standardised(const struct map *m, int64_t i, int64_t c, int64_t p)
{
	double sum = 0, square = 0, n = (double)(m->n * m->p);

	for (int64_t k = 0; k < m->n; k++)
		for (int64_t q = 0; q < m->p; q++)
			sum += at(m, k, c, q);
	for (int64_t k = 0; k < m->n; k++)
		for (int64_t q = 0; q < m->p; q++)
			square += pow(at(m, k, c, q) - sum / n, 2);
	return (at(m, i, c, p) - sum / n) / (sqrt(square / (n - 1)) + 1e-6);
}

static double
pkd(const struct given *g)
{
	struct map s = map(&g->s[0]), t = map(&g->t[0]);
	double sum = 0;

	for (int64_t i = 0; i < s.n; i++)
		for (int64_t c = 0; c < s.c; c++)
			for (int64_t p = 0; p < s.p; p++)
				sum +=
				    pow(standardised(&s, i, c, p) - standardised(&t, i, c, p), 2);
	return sum / 2 / (double)(s.n * s.c * s.p);
}

/* ---- kdsvd */

/* Right singular vectors of [P, C] and their singular values, largest first, by one-sided
 * Jacobi rotations of columns.  v [C][C], column k the k-th vector. */
static void
svd(const struct map *m, int64_t i, double *v, double *size)
{
	double *x = room(2, (int64_t[]){m->p, m->c}).v;
	int64_t c = m->c;

	for (int64_t p = 0; p < m->p; p++)
		for (int64_t k = 0; k < c; k++)
			x[p * c + k] = at(m, i, k, p);
	for (int64_t k = 0; k < c * c; k++)
		v[k] = k % (c + 1) == 0;
	for (int sweep = 0; sweep < 60; sweep++)
		for (int64_t a = 0; a < c; a++)
			for (int64_t b = a + 1; b < c; b++) {
				double aa = 0, bb = 0, ab = 0, angle;

				for (int64_t p = 0; p < m->p; p++) {
					aa += x[p * c + a] * x[p * c + a];
					bb += x[p * c + b] * x[p * c + b];
					ab += x[p * c + a] * x[p * c + b];
				}
				angle = 0.5 * atan2(2 * ab, aa - bb); /* leaves the larger in a */
				for (int64_t p = 0; p < m->p + c; p++) {
					double *row = p < m->p ? x + p * c : v + (p - m->p) * c,
					       y = row[a];

					row[a] = cos(angle) * y + sin(angle) * row[b];
					row[b] = cos(angle) * row[b] - sin(angle) * y;
				}
			}
	for (int64_t k = 0; k < c; k++) {
		size[k] = 0;
		for (int64_t p = 0; p < m->p; p++)
			size[k] += x[p * c + k] * x[p * c + k];
		size[k] = sqrt(size[k]);
	}
}

/* The k directions of a layer of both, [C][k]. */
static void
directions(const struct given *g, int layer, int64_t i, double *s, double *t)
{
	struct map ms = map(&g->s[layer]), mt = map(&g->t[layer]);
	int64_t c = mt.c, k = (int64_t)number(g, "k", 1);
	double *vs = room(2, (int64_t[]){c, c}).v, *vt = room(2, (int64_t[]){c, c}).v;
	double *ss = room(1, &c).v, *st = room(1, &c).v, length = 0;

	svd(&ms, i, vs, ss);
	svd(&mt, i, vt, st);
	for (int64_t j = 0; j < k; j++)
		length += st[j] * st[j];
	for (int64_t j = 0; j < k; j++) {
		double best = 0, sum = 0;
		int64_t which = 0;

		for (int64_t a = 0; a < c; a++)
			sum += vt[a * c + j];
		for (int64_t a = 0; a < c; a++)
			vt[a * c + j] *= sum < 0 ? -1 : 1;
		for (int64_t q = 0; q < k + 3; q++) {
			double cosine = 0;

			for (int64_t a = 0; a < c; a++)
				cosine += vs[a * c + q] * vt[a * c + j];
			if (fabs(cosine) > fabs(best)) {
				best = cosine;
				which = q;
			}
		}
		for (int64_t a = 0; a < c; a++) {
			t[a * k + j] = vt[a * c + j] * st[j] / sqrt(length);
			s[a * k + j] =
			    vs[a * c + which] * (best > 0 ? 1 : -1) * st[j] / sqrt(length);
		}
	}
}

static double
kdsvd(const struct given *g)
{
	int64_t k = (int64_t)number(g, "k", 1);
	double sum = 0;

	for (int64_t i = 0; i < g->rows; i++)
		for (int l = 1; l < g->ns; l++) {
			int64_t ca = map(&g->t[l]).c, cb = map(&g->t[l - 1]).c;
			double *sa = room(2, (int64_t[]){ca, k}).v,
			       *ta = room(2, (int64_t[]){ca, k}).v;
			double *sb = room(2, (int64_t[]){cb, k}).v,
			       *tb = room(2, (int64_t[]){cb, k}).v;

			directions(g, l, i, sa, ta);
			directions(g, l - 1, i, sb, tb);
			for (int64_t a = 0; a < ca; a++)
				for (int64_t b = 0; b < cb; b++)
					for (int64_t j = 0; j < k; j++)
						sum += pow(
						    exp(-pow(sa[a * k + j] - sb[b * k + j], 2) /
							8) -
							exp(-pow(ta[a * k + j] - tb[b * k + j], 2) /
							    8),
						    2);
		}
	return sum / g->rows;
}

/* clang-format off */
const struct loss_case gram_cases[] = {
	{"nst", "nst", "", nst, .student = {SHAPE(5, 3, 4, 4)}, .teacher = {SHAPE(5, 2, 2, 2)}},
	{"nst_tokens", "nst", "", nst, .student = {SHAPE(5, 4, 3)}, .teacher = {SHAPE(5, 4, 2)}},
	{"fsp", "fsp", "", fsp, .student = {SHAPE(5, 2, 4, 4), SHAPE(5, 3, 2, 2), SHAPE(5, 2, 2, 2)}, .teacher = {SHAPE(5, 2, 4, 4), SHAPE(5, 3, 2, 2), SHAPE(5, 2, 2, 2)}},
	{"ickd", "ickd", "", ickd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}},
	{"cwd", "cwd", "temperature: ~2", cwd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3},
	{"cwd_one", "cwd", "", cwd, .student = {SHAPE(5, 4, 3)}, .teacher = {SHAPE(5, 4, 3)}, .scale = 3},
	{"kdsvd", "kdsvd", "rounds: 24", kdsvd, .student = {SHAPE(3, 4, 4), SHAPE(3, 4, 2, 2)}, .teacher = {SHAPE(3, 4, 4), SHAPE(3, 4, 2, 2)}, .shown = "rounds: 1"},
	{"kdsvd_two", "kdsvd", "k: 2, rounds: 32", kdsvd, .student = {SHAPE(2, 5, 5), SHAPE(2, 5, 5)}, .teacher = {SHAPE(2, 5, 5), SHAPE(2, 5, 5)}, .shown = "k: 2, rounds: 1", .batch_only = true},
	{"pkd", "pkd", "", pkd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}},
	{NULL},
};
const struct loss_refusal gram_refusals[] = {
	{"fsp", "", "is about the flow from layer to layer", .student = {SHAPE(6, 5, 2, 2)}, .teacher = {SHAPE(6, 4, 2, 2)}},
	{"kdsvd", "", "looks at 4 directions of a layer, k: 1 and 3 more; [6,3,4]", .student = {SHAPE(6, 3, 2, 2), SHAPE(6, 3, 2, 2)}, .teacher = {SHAPE(6, 3, 2, 2), SHAPE(6, 3, 2, 2)}},
	{"nst", "", "is about channels and positions; s0 is [6,5]", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{"nst", "", "student and teacher have [6,4,5] and [6,4,3]", .student = {SHAPE(6, 5, 4)}, .teacher = {SHAPE(6, 3, 4)}},
	{NULL},
};
/* clang-format on */
