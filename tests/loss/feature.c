/* feature -- losses of features, layer by layer. */
#include "losses.h"

#include <stddef.h>

/* mean over teachers */
static double
teacher(const struct given *g, int64_t i)
{
	double t = g->nt ? 0 : g->target.v[i];

	for (int k = 0; k < g->nt; k++)
		t += g->t[k].v[i] / g->nt;
	return t;
}

static double
squares(const struct given *g, const struct dense *s, double T)
{
	double sum = 0;

	for (int64_t i = 0; i < s->n; i++)
		sum += (s->v[i] - teacher(g, i)) * (s->v[i] - teacher(g, i));
	return sum / (double)s->n / (T * T);
}

static double
mse(const struct given *g)
{
	return squares(g, &g->s[0], number(g, "temperature", 1));
}

static double
cosine(const struct given *g)
{
	int64_t n = g->s[0].n / g->rows;
	double sum = 0;

	for (int64_t i = 0; i < g->rows; i++) {
		double st = 0, ss = 0, tt = 0;

		for (int64_t k = i * n; k < (i + 1) * n; k++) {
			double s = g->s[0].v[k], t = teacher(g, k);

			st += s * t;
			ss += s * s;
			tt += t * t;
		}
		sum += 1 - st / sqrt(ss * tt);
	}
	return sum / g->rows;
}

/* A linear layer of its own brings the student to the teacher's width. */
static double
hint(const struct given *g)
{
	struct dense s = linear(g, &g->s[0], "");

	return squares(g, &s, 1);
}

/* clang-format off */
const struct loss_case feature_cases[] = {
	{"mse", "mse", "", mse, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}},
	{"mse_target", "mse", "", mse, .student = {SHAPE(6, 5)}, .target = SHAPE(6, 5)},
	{"mse_dial", "mse", "temperature: ~2", mse, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}},
	{"cosine", "cosine", "", cosine, .student = {SHAPE(6, 3, 2)}, .teacher = {SHAPE(6, 3, 2), SHAPE(6, 3, 2)}},
	{"hint_linear", "hint", "", hint, .student = {SHAPE(6, 3)}, .teacher = {SHAPE(6, 5)}},
	{NULL},
};
const struct loss_refusal feature_refusals[] = {
	{"hint", "adaptor: none", "adaptor: none needs equal shapes", .student = {SHAPE(6, 3)}, .teacher = {SHAPE(6, 5)}},
	{NULL},
};
/* clang-format on */
