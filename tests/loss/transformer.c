/* transformer -- hidden states and attention. */
#include "layers.h"

#include <stddef.h>

static double
counts(const struct given *g, int64_t n, int64_t t)
{
	return g->mask.n ? g->mask.v[n * g->mask.dims[1] + t] : 1;
}

/* a linear map of each token where the widths differ */
static struct dense
projected(const struct given *g, struct dense s, int64_t width)
{
	struct dense flat = room(2, (int64_t[]){s.n / s.dims[2], s.dims[2]}), y;

	if (s.dims[2] == width)
		return s;
	for (int64_t i = 0; i < s.n; i++)
		flat.v[i] = s.v[i];
	y = linear(g, &flat, "");
	y.rank = 3;
	y.dims[0] = s.dims[0];
	y.dims[1] = s.dims[1];
	y.dims[2] = width;
	return y;
}

static double
hidden(const struct given *g)
{
	double sum = 0;

	for (int i = 0; i < g->ns; i++) {
		int64_t c = g->t[i].dims[2], tokens = g->t[i].dims[1];
		struct dense s = projected(g, g->s[i], c), t = g->t[i];
		double num = 0, den = 0;

		for (int64_t k = 0; k < g->rows * tokens; k++) {
			double w = counts(g, k / tokens, k % tokens), st = 0, ss = 0, tt = 0,
			       dd = 0;

			if (is_word(g, "mode", "cls"))
				w = k % tokens == 0;
			for (int64_t e = k * c; e < (k + 1) * c; e++) {
				st += s.v[e] * t.v[e];
				ss += s.v[e] * s.v[e];
				tt += t.v[e] * t.v[e];
				dd += (s.v[e] - t.v[e]) * (s.v[e] - t.v[e]);
			}
			den += w;
			if (is_word(g, "mode", "cls"))
				num += w * (2 - 2 * st / sqrt(ss * tt));
			else if (is_word(g, "mode", "cosine"))
				num += w * (1 - st / sqrt(ss * tt));
			else
				num += w * dd / (double)c;
		}
		sum += num / den;
	}
	return sum;
}

static struct dense
heads(const struct given *g, struct dense x)
{
	int64_t h = x.dims[1], in = x.dims[2] * x.dims[3];
	bool mean = is_word(g, "heads", "mean");
	struct dense y;

	if (!mean && !is_word(g, "heads", "sum"))
		return x;
	y = room(4, (int64_t[]){x.dims[0], 1, x.dims[2], x.dims[3]});
	for (int64_t i = 0; i < x.n; i++)
		y.v[i / in / h * in + i % in] += x.v[i] / (mean ? (double)h : 1);
	return y;
}

static void
softmax(const double *z, int64_t n, double *p)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += exp(z[i]);
	for (int64_t i = 0; i < n; i++)
		p[i] = exp(z[i]) / sum;
}

static double
attention(const struct given *g)
{
	struct dense s = heads(g, g->s[0]), t = heads(g, g->t[0]);
	int64_t h = s.dims[1], n = s.dims[3];
	double num = 0, den = 0, p[16], q[16];

	for (int64_t k = 0; k < g->rows * h * n; k++) {
		const double *a = s.v + k * n, *b = t.v + k * n;
		int64_t row = k / n / h;
		double w = counts(g, row, k % n);

		softmax(a, n, p);
		softmax(b, n, q);
		if (!is_word(g, "mode", "ce") && !is_word(g, "mode", "kl"))
			for (int64_t j = 0; j < n; j++) {
				num += w * counts(g, row, j) * (a[j] - b[j]) * (a[j] - b[j]);
				den += w * counts(g, row, j);
			}
		else
			den += w;
		for (int64_t j = 0; j < n; j++) {
			if (is_word(g, "mode", "ce"))
				num -= w * counts(g, row, j) * q[j] * log(p[j]);
			if (is_word(g, "mode", "kl"))
				num += w * counts(g, row, j) *
				       (b[j] <= 0 ? b[j] * (log(1e-12) - log(fmax(a[j], 1e-12)))
						  : b[j] * (log(b[j]) - log(fmax(a[j], 1e-12))));
		}
	}
	return num / den;
}

/* clang-format off */
const struct loss_case transformer_cases[] = {
	{"hidden", "hidden", "", hidden, .student = {SHAPE(6, 4, 2)}, .teacher = {SHAPE(6, 4, 3)}, .mask = SHAPE(6, 4)},
	{"hidden_layers", "hidden", "mode: cosine", hidden, .student = {SHAPE(6, 4, 3), SHAPE(6, 4, 3)}, .teacher = {SHAPE(6, 4, 3), SHAPE(6, 4, 3)}, .mask = SHAPE(6, 4)},
	{"hidden_cls", "hidden", "mode: cls", hidden, .student = {SHAPE(6, 4, 3), SHAPE(6, 4, 3)}, .teacher = {SHAPE(6, 4, 3), SHAPE(6, 4, 3)}},
	{"attention", "attention", "", attention, .student = {SHAPE(6, 2, 4, 4)}, .teacher = {SHAPE(6, 2, 4, 4)}, .mask = SHAPE(6, 4)},
	{"attention_mean", "attention", "heads: mean", attention, .student = {SHAPE(6, 2, 4, 4)}, .teacher = {SHAPE(6, 3, 4, 4)}},
	{"attention_sum", "attention", "heads: sum", attention, .student = {SHAPE(6, 2, 4, 4)}, .teacher = {SHAPE(6, 3, 4, 4)}, .mask = SHAPE(6, 4)},
	{"attention_ce", "attention", "mode: ce", attention, .student = {SHAPE(6, 2, 4, 4)}, .teacher = {SHAPE(6, 2, 4, 4)}, .mask = SHAPE(6, 4)},
	{"attention_ce_all", "attention", "mode: ce, heads: mean", attention, .student = {SHAPE(6, 2, 4, 4)}, .teacher = {SHAPE(6, 2, 4, 4)}},
	{"attention_kl", "attention", "mode: kl", attention, .student = {SHAPE(6, 2, 4, 4)}, .teacher = {SHAPE(6, 2, 4, 4)}, .mask = SHAPE(6, 4)},
	{0},
};
const struct loss_refusal transformer_refusals[] = {
	{"attention", "", "say heads: mean", .student = {SHAPE(6, 2, 4, 4)}, .teacher = {SHAPE(6, 3, 4, 4)}},
	{"hidden", "", "hidden states are", .student = {SHAPE(6, 2, 4, 4)}, .teacher = {SHAPE(6, 2, 4, 4)}},
	{0},
};
/* clang-format on */
