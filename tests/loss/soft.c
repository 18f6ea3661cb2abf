/* soft -- losses of logits with labels and with teachers' softened classes. */
#include "losses.h"

#include <stddef.h>

/* Logits [rows, C, positions..]: row i, class c, position k of n. */
struct logits {
	const struct dense *d;
	int64_t rows, classes, positions;
};

static struct logits
logits(const struct dense *d)
{
	struct logits z = {d, d->dims[0], d->dims[1], 1};

	for (int i = 2; i < d->rank; i++)
		z.positions *= d->dims[i];
	return z;
}

static double
at(const struct logits *z, int64_t i, int64_t c, int64_t k)
{
	return z->d->v[(i * z->classes + c) * z->positions + k];
}

/* log of exp(z_c/T) / sum_j exp(z_j/T) */
static double
log_softmax(const struct logits *z, int64_t i, int64_t c, int64_t k, double T)
{
	double sum = 0;

	for (int64_t j = 0; j < z->classes; j++)
		sum += exp(at(z, i, j, k) / T);
	return at(z, i, c, k) / T - log(sum);
}

static double
ce(const struct given *g)
{
	struct logits z = logits(&g->s[0]);
	double sum = 0, n = 0;

	for (int64_t i = 0; i < z.rows; i++)
		for (int64_t k = 0; k < z.positions; k++) {
			int64_t y = (int64_t)g->target.v[i * z.positions + k];

			if (y == 255)
				continue;
			sum -= log_softmax(&z, i, y, k, 1);
			n++;
		}
	return sum / n;
}

/* mean over teachers of the softened classes */
static double
soft(const struct given *g, int64_t i, int64_t c, int64_t k, double T)
{
	double p = 0;

	for (int t = 0; t < g->nt; t++) {
		struct logits z = logits(&g->t[t]);

		p += exp(log_softmax(&z, i, c, k, T)) / g->nt;
	}
	return p;
}

static double
soft_terms(const struct given *g, bool entropy)
{
	struct logits z = logits(&g->s[0]);
	double T = number(g, "temperature", 4), sum = 0;

	for (int64_t i = 0; i < z.rows; i++)
		for (int64_t k = 0; k < z.positions; k++)
			for (int64_t c = 0; c < z.classes; c++) {
				double p = soft(g, i, c, k, T);

				sum += p * ((entropy ? log(p) : 0) - log_softmax(&z, i, c, k, T));
			}
	if (!is_word(g, "tau_squared", "false"))
		sum *= T * T;
	if (is_word(g, "reduction", "mean"))
		sum /= (double)z.classes;
	return sum / (double)(z.rows * z.positions);
}

static double
kd(const struct given *g)
{
	return soft_terms(g, true);
}

static double
soft_ce(const struct given *g)
{
	return soft_terms(g, false);
}

static double
bce(const struct given *g)
{
	double sum = 0;

	for (int64_t i = 0; i < g->s[0].n; i++) {
		double q = 1 / (1 + exp(-g->s[0].v[i])), p = g->nt ? 0 : g->target.v[i];

		for (int t = 0; t < g->nt; t++)
			p += 1 / (1 + exp(-g->t[t].v[i])) / g->nt;
		sum -= p * log(q) + (1 - p) * log(1 - q);
	}
	return sum / (double)g->s[0].n;
}

/* clang-format off */
const struct loss_case soft_cases[] = {
	{"ce", "ce", "", ce, .student = {SHAPE(6, 5)}, .target = SHAPE(6), .classes = 5},
	{"ce_map_ignore", "ce", "", ce, .student = {SHAPE(5, 3, 2, 2)}, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"kd", "kd", "", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"kd_two", "kd", "temperature: 2, reduction: mean", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"kd_map_dial", "kd", "temperature: ~3", kd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3},
	{"soft_ce", "soft_ce", "tau_squared: false", soft_ce, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"bce", "bce", "", bce, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 2},
	{"bce_target", "bce", "", bce, .student = {SHAPE(6, 5)}, .target = SHAPE(6, 5), .scale = 2},
	{NULL},
};
const struct loss_refusal soft_refusals[] = {
	{"ce", "", "field \"y\" has 4 classes, s0 has 5", .student = {SHAPE(6, 5)}, .target = SHAPE(6), .classes = 4},
	{"kd", "", "t0 has 4 classes, s0 has 5", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{NULL},
};
/* clang-format on */
