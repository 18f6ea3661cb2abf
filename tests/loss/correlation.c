/* correlation -- losses of logits and features that hold a batch's samples together. */
#include "logits.h"

#include <stddef.h>

static double
cs_kd(const struct given *g)
{
	struct logits z = logits(&g->s[0]);
	double T = number(g, "temperature", 4), sum = 0, n = 0;

	for (int64_t i = 0; i < z.rows; i++) {
		double p[CLASSES] = {0}, others = 0;

		for (int64_t j = 0; j < z.rows; j++)
			if (j != i && g->target.v[i] != 255 && g->target.v[j] == g->target.v[i]) {
				for (int64_t c = 0; c < z.classes; c++)
					p[c] += exp(log_softmax(&z, j, c, 0, T));
				others++;
			}
		for (int64_t c = 0; c < z.classes && others > 0; c++)
			sum += T * T * p[c] / others * (log(p[c] / others) - log_softmax(&z, i, c, 0, T));
		n += others > 0;
	}
	return sum / n;
}

/* of n numbers step apart */
static double
correlated(int64_t n, int64_t step, const double *a, const double *b)
{
	double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0;

	for (int64_t i = 0; i < n; i++) {
		ma += a[i * step] / (double)n;
		mb += b[i * step] / (double)n;
	}
	for (int64_t i = 0; i < n; i++) {
		ab += (a[i * step] - ma) * (b[i * step] - mb);
		aa += pow(a[i * step] - ma, 2);
		bb += pow(b[i * step] - mb, 2);
	}
	return ab / (sqrt(aa) * sqrt(bb) + 1e-8);
}

static double
dist_map(const struct given *g)
{
	struct logits s = logits(&g->s[0]);
	double channel = 0, spatial = 0;

	for (int64_t i = 0; i < s.rows; i++) {
		const double *a = s.d->v + i * s.classes * s.positions;
		double b[64] = {0}, w[MOST] = {1}, all = 0;

		numbers(g, "teacher_weights", 0, w, MOST);
		for (int t = 0; t < g->nt; t++)
			all += w[t];
		for (int t = 0; t < g->nt; t++)
			for (int64_t k = 0; k < s.classes * s.positions; k++)
				b[k] += w[t] / all * g->t[t].v[i * s.classes * s.positions + k];

		for (int64_t c = 0; c < s.classes; c++)
			channel += 1 - correlated(s.positions, 1, a + c * s.positions, b + c * s.positions);
		for (int64_t k = 0; k < s.positions; k++)
			spatial += 1 - correlated(s.classes, s.positions, a + k, b + k);
	}
	return number(g, "channel", 1) * channel / (double)(s.rows * s.classes) +
	       number(g, "spatial", 1) * spatial / (double)(s.rows * s.positions);
}

static double
srd(const struct given *g)
{
	struct dense x[2] = {linear(g, &g->s[0], ""), g->t[0]};
	int64_t n = x[0].dims[0], channels = x[0].dims[1];
	double sum = 0;

	for (int64_t c = 0; c < channels; c++) {
		double mean[2] = {0}, var[2] = {0}, d = 0;

		for (int k = 0; k < 2; k++) {
			for (int64_t i = 0; i < n; i++)
				mean[k] += x[k].v[i * channels + c] / (double)n;
			for (int64_t i = 0; i < n; i++)
				var[k] += pow(x[k].v[i * channels + c] - mean[k], 2) / (double)n;
		}
		for (int64_t i = 0; i < n; i++) {
			d = (x[0].v[i * channels + c] - mean[0]) / sqrt(var[0] + 1e-4) -
			    (x[1].v[i * channels + c] - mean[1]) / sqrt(var[1] + 1e-4);
			sum += pow(fabs(d), number(g, "exponent", 4));
		}
	}
	return 2 * log(sum);
}

static void
cosines(const struct dense *z, double *g)
{
	for (int64_t i = 0, n = z->dims[0], c = z->dims[1]; i < n; i++)
		for (int64_t j = 0; j < n; j++) {
			double ij = 0, ii = 0, jj = 0;

			for (int64_t k = 0; k < c; k++) {
				ij += z->v[i * c + k] * z->v[j * c + k];
				ii += pow(z->v[i * c + k], 2);
				jj += pow(z->v[j * c + k], 2);
			}
			g[i * n + j] = ij / sqrt(ii * jj) / (double)c;
		}
}

/* by Gauss and Jordan's elimination in place of iterations */
static double
skd(const struct given *g)
{
	int64_t n = g->s[0].dims[0];
	double d[64], e[64], a[8][16], sum = 0;

	cosines(&g->s[0], d);
	cosines(&g->t[0], e);
	for (int64_t i = 0; i < n * n; i++)
		d[i] -= e[i];
	for (int64_t i = 0; i < n; i++)
		for (int64_t j = 0; j < n; j++) {
			double mi = 0, mj = 0, cov = 0;

			for (int64_t k = 0; k < n; k++) {
				mi += d[i * n + k] / (double)n;
				mj += d[j * n + k] / (double)n;
			}
			for (int64_t k = 0; k < n; k++)
				cov += (d[i * n + k] - mi) * (d[j * n + k] - mj) / (double)(n - 1);
			a[i][j] = cov + (i == j ? number(g, "ridge", 0.1) : 0);
			a[i][n + j] = i == j;
		}
	for (int64_t i = 0; i < n; i++) {
		double pivot = a[i][i];

		for (int64_t k = 0; k < 2 * n; k++)
			a[i][k] /= pivot;
		for (int64_t j = 0; j < n; j++) {
			double by = a[j][i];

			for (int64_t k = 0; k < 2 * n && j != i; k++)
				a[j][k] -= by * a[i][k];
		}
	}
	for (int64_t i = 0; i < n; i++) {
		double q = 0;

		for (int64_t j = 0; j < n; j++)
			for (int64_t k = 0; k < n; k++)
				q += d[i * n + j] * a[j][n + k] * d[i * n + k];
		sum += sqrt(q) / (double)n;
	}
	return sum;
}

/* clang-format off */
const struct loss_case correlation_cases[] = {
	{"cs_kd", "cs_kd", "temperature: 2", cs_kd, .student = {SHAPE(9, 3)}, .target = SHAPE(9), .classes = 3, .ignore = true, .scale = 2},
	{"dist_map", "dist_map", "channel: 2", dist_map, .student = {SHAPE(4, 3, 2, 3)}, .teacher = {SHAPE(4, 3, 2, 3)}},
	{"dist_map_two", "dist_map", "teacher_weights: 1 3", dist_map, .student = {SHAPE(4, 3, 2, 3)}, .teacher = {SHAPE(4, 3, 2, 3), SHAPE(4, 3, 2, 3)}},
	{"srd", "srd", "exponent: ~3", srd, .student = {SHAPE(7, 3)}, .teacher = {SHAPE(7, 4)}},
	{"skd", "skd", "ridge: 0.01", skd, .student = {SHAPE(7, 5)}, .teacher = {SHAPE(7, 5)}},
	{NULL},
};
const struct loss_refusal correlation_refusals[] = {
	{"cs_kd", "", "cs_kd pairs samples", .student = {SHAPE(4, 3, 2)}, .target = SHAPE(4, 2), .classes = 3},
	{"skd", "", "skd is about logits [rows, classes]", .student = {SHAPE(4, 3, 2)}, .teacher = {SHAPE(4, 3, 2)}},
	{"dist_map", "", "dist_map compares maps", .student = {SHAPE(4, 3)}, .teacher = {SHAPE(4, 3)}},
	{NULL},
};
/* clang-format on */
