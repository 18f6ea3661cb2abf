/* feature -- losses of features, layer by layer. */
#include "layers.h"

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

static double
hint_fitnet(const struct given *g)
{
	struct dense s = convolved(g, g->s[0], "", 2, 1);

	return mean_square(leaky(normalized(g, s, "bn."), 0), g->t[0]);
}

static bool
hint_fitnet_next(const struct given *g, const char *state, struct dense *d)
{
	return running(g, convolved(g, g->s[0], "", 2, 1), "bn.", state, d);
}

static double
hint_up(const struct given *g)
{
	return mean_square(
	    leaky(normalized(g, deconvolved(g, g->s[0], "", 2, 1), "bn."), 0), g->t[0]);
}

static double
hint_valid(const struct given *g)
{
	return mean_square(
	    leaky(normalized(g, convolved(g, g->s[0], "", 1, 0), "bn."), 0), g->t[0]);
}

static double
hint_layers(const struct given *g)
{
	double sum = 0;

	for (int i = 0; i < 2; i++) {
		struct dense s = g->s[i], t = g->t[i];

		same_size(&s, &t);
		sum += mean_square(convolved(g, s, i ? "1." : "0.", 1, 0), t);
	}
	return sum;
}

static double
hint_nearest(const struct given *g)
{
	return mean_square(convolved(g, resized(g->s[0], 4, 4, 'n'), "", 1, 1), g->t[0]);
}

static double
hint_bilinear(const struct given *g)
{
	return mean_square(leaky(normalized(g, resized(g->s[0], 4, 4, 'b'), "bn."), 0), g->t[0]);
}

/* [N,T,C], a token in front left out, as [N,C,h,w] */
static struct dense
tokens(struct dense x, int64_t h, int64_t w)
{
	int64_t t = x.dims[1], c = x.dims[2], skip = t - h * w;
	struct dense y = room(4, (int64_t[]){x.dims[0], c, h, w});

	for (int64_t n = 0; n < x.dims[0]; n++)
		for (int64_t i = 0; i < h * w; i++)
			for (int64_t k = 0; k < c; k++)
				y.v[(n * c + k) * h * w + i] = x.v[(n * t + skip + i) * c + k];
	return y;
}

static double
hint_tokens(const struct given *g)
{
	return mean_square(convolved(g, tokens(g->s[0], 2, 3), "", 1, 0), g->t[0]);
}

/* 16 tokens of the teacher are 4x4, the student's map 2x2 */
static double
hint_to_tokens(const struct given *g)
{
	return mean_square(
	    convolved(g, g->s[0], "", 1, 0), resized(tokens(g->t[0], 4, 4), 2, 2, 'a'));
}

/* [N,T,C] as [N,C,1,T] */
static struct dense
as_row(struct dense x)
{
	return tokens(x, 1, x.dims[1]);
}

/* tokens through 1x1 and batch normalisation, as channels; 6 of them averaged to 3 */
static double
hint_tokens_declared(const struct given *g)
{
	struct dense s = as_row(g->s[0]), t = as_row(g->t[0]);

	if (is_word(g, "resize", "avg"))
		s = resized(s, 1, t.dims[3], 'a');
	return mean_square(normalized(g, convolved(g, s, "", 1, 0), "bn."), t);
}

static double
hint_pooled(const struct given *g)
{
	struct dense s = resized(g->s[0], 1, 1, 'a');

	s.rank = 2;
	s = linear(g, &s, "");
	return mean_square(s, g->t[0]);
}

static double
smooth_l1(const struct given *g)
{
	double beta = number(g, "beta", 1), sum = 0;

	for (int64_t i = 0; i < g->s[0].n; i++) {
		double d = fabs(g->s[0].v[i] - teacher(g, i));

		sum += d < beta ? d * d / (2 * beta) : d - beta / 2;
	}
	return sum / (double)g->s[0].n;
}

static struct dense
attention(const struct given *g, struct dense x)
{
	double p = number(g, "p", 2);
	struct dense a = room(3, (int64_t[]){x.dims[0], x.dims[2], x.dims[3]});
	int64_t in = x.dims[2] * x.dims[3];

	for (int64_t i = 0; i < x.n; i++)
		a.v[i / in / x.dims[1] * in + i % in] += pow(fabs(x.v[i]), p);
	return unit(a);
}

static double
at(const struct given *g)
{
	double sum = 0;

	for (int i = 0; i < g->ns; i++) {
		struct dense s = g->s[i], t = g->t[i], a, b;
		int64_t d;

		same_size(&s, &t);
		a = attention(g, s);
		b = attention(g, t);
		d = a.n / g->rows;
		for (int64_t n = 0; n < g->rows; n++) {
			double dist = 0;

			for (int64_t k = n * d; k < (n + 1) * d; k++)
				dist += (a.v[k] - b.v[k]) * (a.v[k] - b.v[k]);
			sum +=
			    is_word(g, "mode", "paper") ? sqrt(dist) / g->rows : dist / (double)a.n;
		}
	}
	return sum;
}

static double
kd_mtl(const struct given *g)
{
	return squared_distance(unit(convolved(g, g->s[0], "", 1, 0)), unit(g->t[0])) / g->rows;
}

static double
p_norm(const struct given *g, struct dense x, int64_t from, int64_t n)
{
	double p = number(g, "p", 2), sum = 0;

	for (int64_t i = from; i < from + n; i++)
		sum += pow(fabs(x.v[i]), p);
	return pow(sum, 1 / p);
}

static double
feature_norm(const struct given *g)
{
	int64_t d = g->s[0].n / g->rows;
	double sum = 0;

	if (is_word(g, "mode", "whole"))
		return p_norm(g, g->s[0], 0, g->s[0].n);
	for (int64_t n = 0; n < g->rows; n++) {
		double v = p_norm(g, g->s[0], n * d, d);

		if (g->nt) {
			v -= p_norm(g, g->t[0], n * g->t[0].n / g->rows, g->t[0].n / g->rows);
			v *= v;
		}
		sum += v / g->rows;
	}
	return sum;
}

/* sum over l of x[n,c,l] y[n,d,l] / L: maps; tokens count along axis 1 */
static struct dense
gram_of(struct dense x, struct dense y, bool positions)
{
	bool maps = x.rank == 4;
	int64_t rows = x.dims[0], px, cx, cy, py, out[3];
	struct dense m;

	if (maps)
		same_size(&x, &y);
	px = maps ? x.dims[2] * x.dims[3] : x.dims[1];
	py = maps ? y.dims[2] * y.dims[3] : y.dims[1];
	cx = maps ? x.dims[1] : x.dims[2];
	cy = maps ? y.dims[1] : y.dims[2];
	out[0] = rows;
	out[1] = positions ? px : cx;
	out[2] = positions ? py : cy;
	m = room(3, out);
	for (int64_t n = 0; n < rows; n++)
		for (int64_t a = 0; a < out[1]; a++)
			for (int64_t b = 0; b < out[2]; b++)
				for (int64_t k = 0; k < (positions ? cx : px); k++) {
					int64_t c = positions ? k : a, l = positions ? a : k,
						e = positions ? k : b, q = positions ? b : k;
					double u = x.v[maps ? (n * cx + c) * px + l
							    : (n * px + l) * cx + c];
					double v = y.v[maps ? (n * cy + e) * py + q
							    : (n * py + q) * cy + e];

					m.v[(n * out[1] + a) * out[2] + b] +=
					    u * v / (double)(positions ? cx : px);
				}
	return m;
}

static double
gram(const struct given *g)
{
	bool positions = is_word(g, "of", "positions");
	double sum = 0;

	if (g->ns == 1)
		return mean_square(
		    gram_of(g->s[0], g->s[0], positions), gram_of(g->t[0], g->t[0], positions));
	for (int i = 0; i + 1 < g->ns; i++)
		sum += mean_square(gram_of(g->s[i], g->s[i + 1], positions),
		    gram_of(g->t[i], g->t[i + 1], positions));
	return sum;
}

static void
classes(const double *z, int64_t n, double T, double *p)
{
	double sum = 0;

	for (int64_t c = 0; c < n; c++)
		sum += exp(z[c] / T);
	for (int64_t c = 0; c < n; c++)
		p[c] = exp(z[c] / T) / sum;
}

static double
consistency(const struct given *g)
{
	double T = number(g, "temperature", 1), sum = 0, p[16], q[16];
	int64_t n = g->s[0].dims[1];

	for (int64_t i = 0; i < g->rows; i++) {
		classes(g->s[0].v + i * n, n, T, p);
		classes(g->t[0].v + i * n, n, T, q);
		for (int64_t c = 0; c < n; c++)
			sum += is_word(g, "mode", "kl")
				   ? T * T * q[c] * log(q[c] / p[c]) / g->rows
				   : (p[c] - q[c]) * (p[c] - q[c]) / (double)g->s[0].n;
	}
	return sum;
}

static double
vib(const struct given *g)
{
	int64_t c = g->s[0].dims[1] / 2;
	struct dense mu = g->ns == 2 ? g->s[0] : cut(g->s[0], 0, c),
		     v = g->ns == 2 ? g->s[1] : cut(g->s[0], c, 2 * c);
	double sum = 0;

	for (int64_t i = 0; i < mu.n; i++)
		sum += 0.5 * (mu.v[i] * mu.v[i] + exp(v.v[i]) - v.v[i] - 1) / g->rows;
	return sum;
}

/* clang-format off */
const struct loss_case feature_cases[] = {
	{"mse", "mse", "", mse, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}},
	{"mse_target", "mse", "", mse, .student = {SHAPE(6, 5)}, .target = SHAPE(6, 5)},
	{"mse_dial", "mse", "temperature: ~2", mse, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}},
	{"smooth_l1", "smooth_l1", "", smooth_l1, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}},
	{"smooth_l1_target", "smooth_l1", "beta: 0.3", smooth_l1, .student = {SHAPE(6, 5)}, .target = SHAPE(6, 5)},
	{"cosine", "cosine", "", cosine, .student = {SHAPE(6, 3, 2)}, .teacher = {SHAPE(6, 3, 2), SHAPE(6, 3, 2)}},
	{"hint_linear", "hint", "", hint, .student = {SHAPE(6, 3)}, .teacher = {SHAPE(6, 5)}},
	{"hint_fitnet", "hint", "adaptor: fitnet", hint_fitnet, .student = {SHAPE(8, 2, 4, 4)}, .teacher = {SHAPE(8, 3, 2, 2)}, .next = hint_fitnet_next},
	{"hint_fitnet_up", "hint", "adaptor: fitnet", hint_up, .student = {SHAPE(8, 2, 2, 2)}, .teacher = {SHAPE(8, 3, 4, 4)}},
	{"hint_fitnet_valid", "hint", "adaptor: fitnet", hint_valid, .student = {SHAPE(8, 2, 5, 3)}, .teacher = {SHAPE(8, 3, 4, 2)}},
	{"hint_layers", "hint", "", hint_layers, .student = {SHAPE(6, 2, 5, 5), SHAPE(6, 3, 2, 2)}, .teacher = {SHAPE(6, 3, 3, 3), SHAPE(6, 2, 4, 4)}},
	{"hint_declared", "hint", "adaptor: declared, conv: 3, resize: nearest", hint_nearest, .student = {SHAPE(6, 2, 2, 2)}, .teacher = {SHAPE(6, 3, 4, 4)}},
	{"hint_bilinear", "hint", "adaptor: declared, bn: 1, relu: 1, resize: bilinear", hint_bilinear, .student = {SHAPE(8, 2, 3, 3)}, .teacher = {SHAPE(8, 2, 4, 4)}},
	{"hint_tokens", "hint", "", hint_tokens, .student = {SHAPE(6, 7, 2)}, .teacher = {SHAPE(6, 3, 2, 3)}},
	{"hint_tokens_declared", "hint", "adaptor: declared, conv: 1, bn: 1", hint_tokens_declared, .student = {SHAPE(8, 4, 2)}, .teacher = {SHAPE(8, 4, 3)}},
	{"hint_tokens_resized", "hint", "adaptor: declared, conv: 1, bn: 1, tokens: 1, resize: avg", hint_tokens_declared, .student = {SHAPE(8, 8, 2)}, .teacher = {SHAPE(8, 4, 3)}},
	{"hint_to_tokens", "hint", "", hint_to_tokens, .student = {SHAPE(6, 2, 2, 2)}, .teacher = {SHAPE(6, 16, 3)}},
	{"hint_pooled", "hint", "", hint_pooled, .student = {SHAPE(6, 2, 3, 3)}, .teacher = {SHAPE(6, 4)}},
	{"at", "at", "", at, .student = {SHAPE(6, 2, 4, 4), SHAPE(6, 3, 2, 2)}, .teacher = {SHAPE(6, 4, 3, 3), SHAPE(6, 2, 4, 4)}},
	{"at_paper", "at", "mode: paper", at, .student = {SHAPE(6, 2, 3, 3)}, .teacher = {SHAPE(6, 4, 3, 3)}},
	{"at_p", "at", "p: 3", at, .student = {SHAPE(6, 2, 3, 3)}, .teacher = {SHAPE(6, 4, 3, 3)}},
	{"kd_mtl", "kd_mtl", "adaptor: conv1x1", kd_mtl, .student = {SHAPE(6, 3, 2, 2)}, .teacher = {SHAPE(6, 3, 2, 2)}},
	{"feature_norm", "feature_norm", "", feature_norm, .student = {SHAPE(6, 3, 2)}},
	{"feature_norm_whole", "feature_norm", "p: 1, mode: whole", feature_norm, .student = {SHAPE(6, 5)}},
	{"feature_norm_teacher", "feature_norm", "p: 3", feature_norm, .student = {SHAPE(6, 3)}, .teacher = {SHAPE(6, 5)}},
	{"gram", "gram", "", gram, .student = {SHAPE(6, 3, 2)}, .teacher = {SHAPE(6, 3, 2)}},
	{"gram_layers", "gram", "", gram, .student = {SHAPE(6, 2, 4, 4), SHAPE(6, 3, 2, 2)}, .teacher = {SHAPE(6, 2, 4, 4), SHAPE(6, 3, 2, 2)}},
	{"gram_positions", "gram", "of: positions", gram, .student = {SHAPE(6, 4, 3), SHAPE(6, 4, 3)}, .teacher = {SHAPE(6, 4, 3), SHAPE(6, 4, 3)}},
	{"consistency", "consistency", "temperature: 2", consistency, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}},
	{"consistency_kl", "consistency", "mode: kl, temperature: ~2", consistency, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}},
	{"vib", "vib", "", vib, .student = {SHAPE(6, 3), SHAPE(6, 3)}},
	{"vib_halves", "vib", "", vib, .student = {SHAPE(6, 4, 2)}},
	{0},
};
const struct loss_refusal feature_refusals[] = {
	{"hint", "adaptor: none", "adaptor: none needs equal shapes", .student = {SHAPE(6, 3)}, .teacher = {SHAPE(6, 5)}},
	{"hint", "", "s0 is [6,7,3], t0 is [6,3,2,2]: as many tokens are no map", .student = {SHAPE(6, 7, 3)}, .teacher = {SHAPE(6, 3, 2, 2)}},
	{"hint", "", "no adaptor joins these ranks", .student = {SHAPE(6, 2, 2, 2, 2)}, .teacher = {SHAPE(6, 3, 2, 2)}},
	{"hint", "adaptor: declared, relu: 1", "add conv: 1x1", .student = {SHAPE(6, 2, 2, 2)}, .teacher = {SHAPE(6, 3, 2, 2)}},
	{"hint", "", "layer i goes with layer i", .student = {SHAPE(6, 2), SHAPE(6, 2)}, .teacher = {SHAPE(6, 3)}},
	{"smooth_l1", "", "needs equal shapes", .student = {SHAPE(6, 2, 2)}, .teacher = {SHAPE(6, 3)}},
	{"at", "", "compares maps [N,C,H,W]", .student = {SHAPE(6, 2)}, .teacher = {SHAPE(6, 2)}},
	{"gram", "", "about states [N,T,C] or maps", .student = {SHAPE(6, 2)}, .teacher = {SHAPE(6, 2)}},
	{"vib", "", "takes two tensors", .student = {SHAPE(6, 3)}},
	{"vib", "", "need equal shapes", .student = {SHAPE(6, 3), SHAPE(6, 2)}},
	{0},
};
/* clang-format on */
