/* transfer -- losses whose modules train with the student. */
#include "layers.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *
name(const struct given *g, int i, const char *part)
{
	static char s[8][64];
	static int at;

	at = (at + 1) % 8;
	if (g->ns > 1)
		snprintf(s[at], sizeof s[at], "%d.%s", i, part);
	else
		snprintf(s[at], sizeof s[at], "%s", part);
	return s[at];
}

static double
vid(const struct given *g)
{
	double sum = 0;

	for (int i = 0; i < g->ns; i++) {
		struct dense s = g->s[i], t = g->t[i];
		const double *a = trained(g, name(g, i, "log_scale"))->v;

		same_size(&s, &t);
		s = leaky(convolved(g, s, name(g, i, "a."), 1, 0), 0);
		s = leaky(convolved(g, s, name(g, i, "b."), 1, 0), 0);
		s = convolved(g, s, name(g, i, "c."), 1, 0);
		for (int64_t k = 0; k < t.n; k++) {
			double v =
			    log(1 + exp(a[k / (t.n / t.dims[0] / t.dims[1]) % t.dims[1]])) + 1e-5;

			sum += 0.5 * ((s.v[k] - t.v[k]) * (s.v[k] - t.v[k]) / v + log(v)) /
			       (double)t.n;
		}
	}
	return sum;
}

static double
ab(const struct given *g)
{
	double m = number(g, "margin", 1), sum = 0;

	for (int i = 0; i < g->ns; i++) {
		struct dense s = g->s[i], t = g->t[i];
		double part = 0;

		if (s.dims[1] != t.dims[1] || s.dims[2] != t.dims[2])
			s = normalized(g, convolved(g, s, name(g, i, ""), 2, 1), name(g, i, "bn."));
		for (int64_t k = 0; k < t.n; k++) {
			if (t.v[k] > 0 && s.v[k] <= m)
				part += (s.v[k] - m) * (s.v[k] - m);
			if (t.v[k] <= 0 && s.v[k] > -m)
				part += (s.v[k] + m) * (s.v[k] + m);
		}
		sum += part / g->rows *
		       (is_word(g, "mode", "plain") ? 1 : pow(2, i - g->ns + 1) * 3 / 1000);
	}
	return sum;
}

/* The mean of what is below 0 of N(mu, d^2), by the trapezoid rule. */
static double
below_zero(double mu, double d)
{
	double mass = 0, sum = 0;
	int steps = 400000;

	for (int i = 0; i <= steps; i++) {
		double lo = fmin(mu, 0) - 12 * d, x = lo + (0 - lo) * i / steps;
		double f =
		    exp(-0.5 * (x - mu) * (x - mu) / (d * d)) * (i == 0 || i == steps ? 0.5 : 1);

		mass += f * -lo / steps;
		sum += x * f * -lo / steps;
	}
	return mass / (d * sqrt(2 * acos(-1))) <= 0.001 ? -3 * d : sum / mass;
}

static void
moments(struct dense x, int64_t c, double *mean, double *deviation)
{
	int64_t in = x.n / x.dims[0] / x.dims[1], count = x.dims[0] * in;
	double sum = 0, squares = 0;

	for (int64_t i = 0; i < x.n; i++)
		if (i / in % x.dims[1] == c)
			sum += x.v[i];
	*mean = sum / (double)count;
	for (int64_t i = 0; i < x.n; i++)
		if (i / in % x.dims[1] == c)
			squares += (x.v[i] - *mean) * (x.v[i] - *mean);
	*deviation = sqrt(squares / (double)count);
}

static double
ofd(const struct given *g)
{
	double sum = 0;

	for (int i = 0; i < g->ns; i++) {
		struct dense s = g->s[i], t = g->t[i];
		double part = 0, mu, d;

		same_size(&s, &t);
		s = normalized(g, convolved(g, s, name(g, i, ""), 1, 0), name(g, i, "bn."));
		for (int64_t c = 0; c < t.dims[1]; c++) {
			double m;

			moments(t, c, &mu, &d);
			if (g->c->normed) {
				mu = noise("shift", c);
				d = fabs(noise("scale", c));
			}
			m = below_zero(mu, d);
			for (int64_t k = 0; k < t.n; k++) {
				double sv = s.v[k], tv = t.v[k];

				if (k / (t.n / t.dims[0] / t.dims[1]) % t.dims[1] != c)
					continue;
				if (sv > m && tv <= m)
					part += (sv - m) * (sv - m);
				if ((sv > tv && tv > m && tv <= 0) || tv > 0)
					part += (sv - tv) * (sv - tv);
			}
		}
		sum += part / g->rows * pow(2, i - g->ns + 1);
	}
	return sum;
}

static struct dense
factors(const struct given *g, struct dense x, const char *what, bool norm)
{
	char s[64];

	for (int i = 0; i < 3; i++) {
		snprintf(s, sizeof s, "%s.%d.", what, i);
		x = convolved(g, x, s, 1, 1);
		snprintf(s, sizeof s, "%s.bn%d.", what, i);
		if (norm)
			x = normalized(g, x, s);
		x = leaky(x, (float)0.1);
	}
	return x;
}

static double
ft_paraphrase(const struct given *g)
{
	struct dense x = factors(g, g->t[0], "paraphraser", false);
	char s[64];

	for (int i = 0; i < 3; i++) {
		snprintf(s, sizeof s, "restorer.%d.", i);
		x = leaky(deconvolved(g, x, s, 1, 1), (float)0.1);
	}
	return mean_square(x, g->t[0]);
}

static struct dense
energy(struct dense x)
{
	int64_t in = x.dims[2] * x.dims[3];
	struct dense y = room(2, (int64_t[]){x.dims[0], in});

	for (int64_t i = 0; i < x.n; i++)
		y.v[i / in / x.dims[1] * in + i % in] += x.v[i] * x.v[i];
	return y;
}

static double
ft(const struct given *g)
{
	struct dense t = factors(g, g->t[0], "paraphraser", false),
		     s = factors(g, g->s[0], "translator", true);
	double sum = 0;

	same_size(&s, &t);
	s = unit(is_word(g, "mode", "paper") ? s : energy(s));
	t = unit(is_word(g, "mode", "paper") ? t : energy(t));
	for (int64_t i = 0; i < s.n; i++)
		sum += fabs(s.v[i] - t.v[i]) / (double)s.n;
	return sum;
}

static double
pad(const struct given *g)
{
	struct dense s = convolved(g, g->s[0], "", 1, 0),
		     v = normalized(g, convolved(g, s, "variance.", 1, 0), "variance.bn.");
	double sum = 0;

	for (int64_t i = 0; i < s.n; i++)
		sum += ((s.v[i] - g->t[0].v[i]) * (s.v[i] - g->t[0].v[i]) / (1e-6 + exp(v.v[i])) +
			   v.v[i]) /
		       (double)s.n;
	return sum;
}

/* Philox4x32-10, first word: Salmon et al. 2011 */
static uint32_t
drawn(uint32_t i, uint32_t stream, uint64_t step, uint64_t seed)
{
	uint32_t c[4] = {i, stream, (uint32_t)step, (uint32_t)(step >> 32)},
		 k[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};

	for (int r = 0; r < 10; r++) {
		uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
		uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b,
		    (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};

		memcpy(c, next, sizeof c);
		k[0] += 0x9E3779B9;
		k[1] += 0xBB67AE85;
	}
	return c[0];
}

/* of the draws of adaptor.t.mask */
static uint32_t
stream_of_mask(void)
{
	uint32_t h = 2166136261u;

	for (const char *s = "adaptor.t.mask"; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h | 0x80000000u;
}

static double
mgd(const struct given *g)
{
	struct dense s = convolved(g, g->s[0], "", 1, 0), m = room(s.rank, s.dims);
	int64_t in = s.dims[2] * s.dims[3];

	for (int64_t i = 0; i < s.n; i++) {
		uint32_t at = (uint32_t)(i / in / s.dims[1] * in + i % in);
		uint32_t w = drawn(at, stream_of_mask(), (uint64_t)g->step, (uint64_t)g->seed);

		m.v[i] = (w >> 8) * 0x1p-24 >= number(g, "lambda", 0.65) ? s.v[i] : 0;
	}
	m = convolved(g, leaky(convolved(g, m, "generate.0.", 1, 1), 0), "generate.1.", 1, 1);
	return squared_distance(m, g->t[0]) / g->rows;
}

/* x with y, of the same size, by two gates */
static struct dense
fused(const struct given *g, struct dense x, struct dense y, const char *gate)
{
	struct dense both = room(4, (int64_t[]){x.dims[0], 2 * x.dims[1], x.dims[2], x.dims[3]}), z,
		     out = room(4, x.dims);
	int64_t in = x.dims[2] * x.dims[3], c = x.dims[1];

	for (int64_t i = 0; i < x.n; i++) {
		both.v[i / in / c * 2 * c * in + i % (in * c)] = x.v[i];
		both.v[(i / in / c * 2 + 1) * c * in + i % (in * c)] = y.v[i];
	}
	z = convolved(g, both, gate, 1, 0);
	for (int64_t i = 0; i < x.n; i++) {
		const double *of = z.v + i / in / c * 2 * in + i % in;

		out.v[i] = x.v[i] / (1 + exp(-of[0])) + y.v[i] / (1 + exp(-of[in]));
	}
	return out;
}

static double
reviewkd(const struct given *g)
{
	static const int64_t size[] = {4, 2, 1};
	struct dense y = {0};
	double sum = 0;
	char s[64];

	for (int k = g->ns - 1; k >= 0; k--) {
		struct dense x = g->s[k], t = g->t[k], r;
		double part, weight = 1, all = 1;

		if (x.rank == 2) {
			x.dims[2] = x.dims[3] = t.dims[2] = t.dims[3] = 1;
			x.rank = t.rank = 4;
		}
		snprintf(s, sizeof s, "%d.in.", k);
		x = convolved(g, x, s, 1, 0);
		snprintf(s, sizeof s, "%d.in.bn.", k);
		x = normalized(g, x, s);
		snprintf(s, sizeof s, "%d.gate.", k);
		if (y.n)
			x = fused(g, x, resized(y, x.dims[2], x.dims[3], 'n'), s);
		y = resized(x, t.dims[2], t.dims[3], 'n');
		snprintf(s, sizeof s, "%d.out.", k);
		r = convolved(g, y, s, 1, 1);
		snprintf(s, sizeof s, "%d.out.bn.", k);
		r = normalized(g, r, s);
		part = mean_square(r, t);
		for (int i = 0; i < 3; i++)
			if (size[i] < t.dims[2]) {
				weight /= 2;
				all += weight;
				part += weight * mean_square(resized(r, size[i], size[i], 'a'),
						     resized(t, size[i], size[i], 'a'));
			}
		sum += part / all;
	}
	return sum;
}

/* clang-format off */
const struct loss_case transfer_cases[] = {
	{"vid", "vid", "", vid, .student = {SHAPE(6, 2, 4, 4), SHAPE(6, 3)}, .teacher = {SHAPE(6, 3, 2, 2), SHAPE(6, 2)}},
	{"ab", "ab", "", ab, .student = {SHAPE(8, 2, 4, 4), SHAPE(8, 3, 2, 2)}, .teacher = {SHAPE(8, 3, 2, 2), SHAPE(8, 3, 2, 2)}},
	{"ab_plain", "ab", "mode: plain, margin: 0.5", ab, .student = {SHAPE(6, 3, 2, 2)}, .teacher = {SHAPE(6, 3, 2, 2)}},
	{"ofd", "ofd", "", ofd, .student = {SHAPE(8, 2, 4, 4), SHAPE(8, 3, 2, 2)}, .teacher = {SHAPE(8, 3, 2, 2), SHAPE(8, 2, 4, 4)}},
	{"ofd_bn", "ofd", "margin: bn", ofd, .student = {SHAPE(8, 2, 2, 2)}, .teacher = {SHAPE(8, 5, 2, 2)}, .normed = true},
	{"ofd_statistics", "ofd", "margin: statistics", ofd, .student = {SHAPE(8, 2)}, .teacher = {SHAPE(8, 3)}},
	{"ft_paraphrase", "ft_paraphrase", "", ft_paraphrase, .student = {SHAPE(6, 2)}, .teacher = {SHAPE(6, 4, 3, 3)}},
	{"ft", "ft", "", ft, .student = {SHAPE(8, 3, 4, 4)}, .teacher = {SHAPE(8, 4, 2, 2)}},
	{"ft_paper", "ft", "mode: paper, ratio: 0.75", ft, .student = {SHAPE(8, 2, 2, 2)}, .teacher = {SHAPE(8, 4, 2, 2)}},
	{"pad", "pad", "", pad, .student = {SHAPE(8, 3)}, .teacher = {SHAPE(8, 4)}},
	{"pad_map", "pad", "", pad, .student = {SHAPE(8, 2, 2, 2)}, .teacher = {SHAPE(8, 3, 2, 2)}},
	{"mgd", "mgd", "lambda: 0.4", mgd, .student = {SHAPE(6, 2, 3, 3)}, .teacher = {SHAPE(6, 3, 3, 3)}},
	{"reviewkd", "reviewkd", "max_channels: 2", reviewkd, .student = {SHAPE(8, 2, 4, 4), SHAPE(8, 3, 2, 2), SHAPE(8, 3)}, .teacher = {SHAPE(8, 3, 8, 8), SHAPE(8, 2, 2, 2), SHAPE(8, 4)}},
	{0},
};
const struct loss_refusal transfer_refusals[] = {
	{"vid", "", "tensors of equal rank", .student = {SHAPE(6, 2, 2, 2)}, .teacher = {SHAPE(6, 2)}},
	{"ofd", "margin: bn", "no output of a BatchNormalization", .student = {SHAPE(8, 2, 2, 2)}, .teacher = {SHAPE(8, 2, 2, 2)}},
	{"ft", "", "s0 is [6,2], one of 1: loss ft is about one map", .student = {SHAPE(6, 2)}, .teacher = {SHAPE(6, 2, 2, 2)}},
	{"reviewkd", "", "shallow to deep", .student = {SHAPE(8, 2, 2)}, .teacher = {SHAPE(8, 2, 2)}},
	{0},
};
/* clang-format on */
