/* adversarial -- losses of generators and of data-free distillation. */
#include "losses.h"

#include <stddef.h>

static double
mean(const struct given *g, double (*f)(const struct given *, double))
{
	double sum = 0;

	for (int64_t i = 0; i < g->s[0].n; i++)
		sum += f(g, g->s[0].v[i]);
	return sum / (double)g->s[0].n;
}

static double
sign(const struct given *g)
{
	return is_word(g, "role", "fake") ? 1 : -1;
}

static double
gan_of(const struct given *g, double s)
{
	return -log(1 / (1 + exp(sign(g) * s)));
}

static double
gan(const struct given *g)
{
	return mean(g, gan_of);
}

static double
lsgan_of(const struct given *g, double s)
{
	return pow(s - (sign(g) < 0), 2) / 2;
}

static double
lsgan(const struct given *g)
{
	return mean(g, lsgan_of);
}

static double
hinge_of(const struct given *g, double s)
{
	return is_word(g, "role", "generator") ? -s : fmax(0, 1 + sign(g) * s);
}

static double
hinge(const struct given *g)
{
	return mean(g, hinge_of);
}

static double
activation_of(const struct given *g, double f)
{
	(void)g;
	return -fabs(f);
}

static double
activation(const struct given *g)
{
	return mean(g, activation_of);
}

/* p of class c at position p of row i, of [n,C,P..] */
static double
chance(const struct dense *z, int64_t i, int64_t c, int64_t p)
{
	int64_t classes = z->dims[1], whole = z->n / z->dims[0], at = whole / classes;
	double sum = 0;

	for (int64_t k = 0; k < classes; k++)
		sum += exp(z->v[i * whole + k * at + p]);
	return exp(z->v[i * whole + c * at + p]) / sum;
}

static double
one_hot(const struct given *g)
{
	const struct dense *z = &g->s[0];
	int64_t at = z->n / (z->dims[0] * z->dims[1]);
	double sum = 0;

	for (int64_t i = 0; i < z->dims[0]; i++)
		for (int64_t p = 0; p < at; p++) {
			double best = 0;

			for (int64_t c = 0; c < z->dims[1]; c++)
				best = fmax(best, chance(z, i, c, p));
			sum -= log(best);
		}
	return sum / (double)(z->dims[0] * at);
}

static double
class_entropy(const struct given *g)
{
	const struct dense *z = &g->s[0];
	int64_t at = z->n / (z->dims[0] * z->dims[1]);
	double sum = 0;

	for (int64_t c = 0; c < z->dims[1]; c++) {
		double q = 0;

		for (int64_t i = 0; i < z->dims[0]; i++)
			for (int64_t p = 0; p < at; p++)
				q += chance(z, i, c, p) / (double)(z->dims[0] * at);
		sum += q * log(q);
	}
	return sum;
}

/* clang-format off */
const struct loss_case adversarial_cases[] = {
	{"gan", "gan", "", gan, .student = {SHAPE(6, 1)}, .scale = 3},
	{"gan_fake", "gan", "role: fake", gan, .student = {SHAPE(6, 1, 3)}, .scale = 3},
	{"gan_generator", "gan", "role: generator", gan, .student = {SHAPE(6, 1)}, .scale = 3},
	{"lsgan", "lsgan", "role: real", lsgan, .student = {SHAPE(6, 1)}, .scale = 2},
	{"lsgan_fake", "lsgan", "role: fake", lsgan, .student = {SHAPE(6, 1)}, .scale = 2},
	{"lsgan_generator", "lsgan", "role: generator", lsgan, .student = {SHAPE(6, 1)}, .scale = 2},
	{"hinge", "hinge", "", hinge, .student = {SHAPE(8, 1)}, .scale = 3},
	{"hinge_fake", "hinge", "role: fake", hinge, .student = {SHAPE(8, 1)}, .scale = 3},
	{"hinge_generator", "hinge", "role: generator", hinge, .student = {SHAPE(8, 1)}, .scale = 3},
	{"one_hot", "one_hot", "", one_hot, .student = {SHAPE(6, 5)}, .scale = 2},
	{"one_hot_map", "one_hot", "", one_hot, .student = {SHAPE(4, 3, 2, 2)}, .scale = 2},
	{"class_entropy", "class_entropy", "", class_entropy, .student = {SHAPE(6, 5)}, .scale = 2},
	{"class_entropy_map", "class_entropy", "", class_entropy, .student = {SHAPE(4, 3, 2, 2)}, .scale = 2},
	{"activation", "activation", "", activation, .student = {SHAPE(6, 2, 3)}},
	{NULL},
};
const struct loss_refusal adversarial_refusals[] = {
	{"one_hot", "", "needs logits of several classes", .student = {SHAPE(6, 1)}},
	{"class_entropy", "", "needs logits of several classes", .student = {SHAPE(6)}},
	{NULL},
};
/* clang-format on */
