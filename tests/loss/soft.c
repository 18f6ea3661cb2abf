/* soft -- losses of logits with labels and with teachers' softened classes. */
#include "logits.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static double
class_weight(const struct given *g, int64_t c)
{
	double w[CLASSES];

	return numbers(g, "class_weights", 0, w, CLASSES) ? w[c] : 1;
}

static double
ce(const struct given *g)
{
	struct logits z = logits(&g->s[0]);
	double sum = 0, n = 0, e = number(g, "label_smoothing", 0), T = number(g, "temperature", 1);

	for (int64_t i = 0; i < z.rows; i++)
		for (int64_t k = 0; k < z.positions; k++) {
			int64_t y = (int64_t)g->target.v[i * z.positions + k];

			if (y == 255)
				continue;
			sum -= (1 - e) * class_weight(g, y) * log_softmax(&z, i, y, k, T);
			for (int64_t c = 0; c < z.classes; c++)
				sum -= e / (double)z.classes * class_weight(g, c) * log_softmax(&z, i, c, k, T);
			n += class_weight(g, y);
		}
	return sum / n;
}

/* ---- the teachers' classes, step by step */
struct row {
	int n;					 /* classes of the student */
	double zs[CLASSES], zt[MOST][CLASSES];	 /* before temperatures */
	double l[CLASSES], p[CLASSES], lt[CLASSES]; /* log softmax of the student; classes, logits of the teachers */
	double ts, tt;
	int64_t y; /* label, -1: none or ignored */
	bool has[CLASSES], knows[MOST][CLASSES]; /* classes of the student that some, that each teacher has */
};

static double
log_sum(const struct row *r, const bool *has, const double *z, double T)
{
	double sum = 0;

	for (int c = 0; c < r->n; c++)
		sum += has[c] ? exp(z[c] / T) : 0;
	return log(sum);
}

/* As passes/loss.c draws: Philox4x32-10 of {i, stream, step, 0} by {seed, 0}. */
static double
drawn(const struct given *g, const char *what, int64_t i)
{
	uint32_t stream = 2166136261u, c[4], k[2] = {(uint32_t)g->seed, 0};
	const char *prefix = "adaptor.t.";

	for (const char *s = prefix; *s; s++)
		stream = (stream ^ (unsigned char)*s) * 16777619u;
	for (const char *s = what; *s; s++)
		stream = (stream ^ (unsigned char)*s) * 16777619u;
	c[0] = (uint32_t)i;
	c[1] = stream | 0x80000000u;
	c[2] = (uint32_t)g->step;
	c[3] = 0;
	for (int r = 0; r < 10; r++) {
		uint64_t a = (uint64_t)c[0] * 0xD2511F53u, b = (uint64_t)c[2] * 0xCD9E8D57u;

		c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k[0];
		c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k[1];
		c[1] = (uint32_t)b;
		c[3] = (uint32_t)a;
		k[0] += 0x9E3779B9u;
		k[1] += 0xBB67AE85u;
	}
	return (double)(c[0] >> 8) / 16777216.0;
}

static void
standardize(const struct row *r, const bool *has, double *z)
{
	double mean = 0, var = 0, n = 0;

	for (int c = 0; c < r->n; c++)
		n += has[c];
	for (int c = 0; c < r->n; c++)
		mean += has[c] ? z[c] / n : 0;
	for (int c = 0; c < r->n; c++)
		var += has[c] ? (z[c] - mean) * (z[c] - mean) / (n - 1) : 0;
	for (int c = 0; c < r->n; c++)
		z[c] = (z[c] - mean) / (sqrt(var) + 1e-7);
}

/* The teacher's map by PyTorch's bilinear interpolation at the student's positions. */
static struct dense
resized(const struct dense *t, const struct dense *s)
{
	int64_t h = s->dims[2], w = s->dims[3], th = t->dims[2], tw = t->dims[3];
	struct dense r = room(4, (int64_t[]){t->dims[0], t->dims[1], h, w});

	for (int64_t n = 0; n < t->dims[0] * t->dims[1]; n++)
		for (int64_t i = 0; i < h; i++)
			for (int64_t j = 0; j < w; j++) {
				double y = fmax(((double)i + 0.5) * (double)th / (double)h - 0.5, 0), x = fmax(((double)j + 0.5) * (double)tw / (double)w - 0.5, 0);
				int64_t y0 = (int64_t)y, x0 = (int64_t)x, y1 = y0 + 1 < th ? y0 + 1 : y0, x1 = x0 + 1 < tw ? x0 + 1 : x0;
				const double *v = t->v + n * th * tw;
				double top = v[y0 * tw + x0] * (1 - x + (double)x0) + v[y0 * tw + x1] * (x - (double)x0);
				double low = v[y1 * tw + x0] * (1 - x + (double)x0) + v[y1 * tw + x1] * (x - (double)x0);

				r.v[(n * h + i) * w + j] = top * (1 - y + (double)y0) + low * (y - (double)y0);
			}
	return r;
}

/* map[i]: where class i of a teacher goes */
static void
read_teacher(const struct given *g, const struct logits *t, int k, int64_t i, int64_t at_k, const double *map,
    int nmap, struct row *r)
{
	double sum[CLASSES] = {0}, *z = r->zt[k];
	int times[CLASSES] = {0}, merged = 0, top = 0;

	for (int c = 0; c < nmap; c++)
		merged |= map[c] >= 0 && ++times[(int)map[c]] > 1;
	for (int c = 0; c < t->classes; c++) {
		int to = map ? (int)map[c] : c;

		if (to >= 0)
			r->knows[k][to] = r->has[to] = true;
		if (to >= 0)
			z[to] = at(t, i, c, at_k), sum[to] += exp(log_softmax(t, i, c, at_k, 1));
	}
	for (int c = 0; c < r->n && merged; c++)
		z[c] = log(sum[c] > 1e-37 ? sum[c] : 1e-37);
	if (number(g, "noise", 0) > 0 && g->rows == t->rows && g->training) {
		char name[3][24];

		snprintf(name[0], sizeof name[0], "noise%d", k);
		snprintf(name[1], sizeof name[1], "noise%d.angle", k);
		snprintf(name[2], sizeof name[2], "noise%d.p", k);
		for (int c = 0; c < r->n && drawn(g, name[2], i) < number(g, "noise_p", 0.5); c++) {
			int64_t e = (i * r->n + c) * t->positions + at_k;
			double normal = sqrt(-2 * log(1 - drawn(g, name[0], e))) * cos(2 * acos(-1) * drawn(g, name[1], e));

			z[c] *= 1 + number(g, "noise", 0) * normal;
		}
	}
	for (int c = 0; c < r->n; c++)
		top = r->knows[k][c] && (!r->knows[k][top] || z[c] > z[top]) ? c : top;
	if (is_word(g, "probability_shift", "true") && r->y >= 0 && r->knows[k][r->y]) {
		double largest = z[top];

		z[top] = z[r->y];
		z[r->y] = largest;
	}
	if (is_word(g, "standardize", "true"))
		standardize(r, r->knows[k], z);
}

static double
hardness(const struct given *g, int64_t i, int64_t k)
{
	struct logits s = logits(&g->s[0]);
	double top = 0, st = 0, ss = 0, tt = 0;

	for (int64_t c = 0; c < s.classes; c++) {
		double t = 0, p = exp(log_softmax(&s, i, c, k, 1));

		for (int n = 0; n < g->nt; n++) {
			struct logits z = logits(&g->t[n]);

			t += at(&z, i, c, k);
		}
		top = p > top ? p : top;
		st += at(&s, i, c, k) * t;
		ss += at(&s, i, c, k) * at(&s, i, c, k);
		tt += t * t;
	}
	if (is_word(g, "dynamic_temperature", "cwsm"))
		return 1 / (top + 1e-3);
	return pow(1 - st / (sqrt(ss) + 1e-4) / (sqrt(tt) + 1e-4), number(g, "tau_gamma", 1));
}

static void
temperatures(const struct given *g, int64_t i, int64_t k, double otherwise, struct row *r)
{
	struct logits s = logits(&g->s[0]);
	double mean = 0;

	r->ts = number(g, "temperature", otherwise);
	if (is_word(g, "dynamic_temperature", "flsw") || is_word(g, "dynamic_temperature", "cwsm")) {
		for (int64_t a = 0; a < s.rows; a++)
			for (int64_t b = 0; b < s.positions; b++)
				mean += hardness(g, a, b) / (double)(s.rows * s.positions);
		r->ts = fmax(r->ts + number(g, "tau_beta", 1) * (mean - hardness(g, i, k)), 0.1);
	}
	r->tt = number(g, "teacher_temperature", 0);
	r->tt = r->tt > 0 ? r->tt : r->ts;
}

/* What each teacher's word counts. */
static void
shares(const struct given *g, const struct row *r, double *a)
{
	double weight[MOST] = {1, 1, 1, 1}, sum = 0;

	numbers(g, "teacher_weights", 0, weight, MOST);
	for (int k = 0; k < g->nt; k++) {
		double norm = log_sum(r, r->knows[k], r->zt[k], 1), top = 0, entropy = 0, ce = 0;

		for (int c = 0; c < r->n; c++) {
			double p = r->knows[k][c] ? exp(r->zt[k][c] - norm) : 0;

			top = fmax(top, p);
			entropy -= p > 0 ? p * log(p) : 0;
			ce = c == r->y ? norm - r->zt[k][c] : ce;
		}
		a[k] = weight[k];
		if (is_word(g, "fusion", "confidence"))
			a[k] = exp(number(g, "sharpness", 1) * top);
		if (is_word(g, "fusion", "entropy"))
			a[k] = exp(-number(g, "sharpness", 1) * entropy);
		if (is_word(g, "fusion", "label"))
			a[k] = exp(ce);
		if (is_word(g, "fusion", "learned"))
			a[k] = exp(trained(g, "fusion")->v[k]);
		sum += a[k];
	}
	for (int k = 0; k < g->nt; k++)
		a[k] = is_word(g, "fusion", "label") ? (1 - a[k] / sum) / (g->nt - 1) : a[k] / sum;
}

static struct row
row_of(const struct given *g, int64_t i, int64_t k, double temperature)
{
	struct logits s = logits(&g->s[0]);
	struct row r = {.n = (int)s.classes, .y = -1};
	double map[CLASSES], a[MOST], lambda = number(g, "annealing", 0), norm;
	bool mean = is_word(g, "fuse", "logits") || !strcmp(g->c->loss, "logit_mse") || g->nt == 1;

	if (g->target.n) {
		r.y = (int64_t)g->target.v[i * s.positions + k];
		r.y = r.y == 255 ? -1 : r.y;
	}
	for (int t = 0; t < g->nt; t++) {
		struct dense at_positions = is_word(g, "resize", "bilinear") ? resized(&g->t[t], &g->s[0]) : g->t[t];
		struct logits z = logits(&at_positions);
		int nmap = numbers(g, "class_map", t, map, CLASSES);

		read_teacher(g, &z, t, i, k, nmap ? map : NULL, nmap, &r);
	}
	for (int c = 0; c < r.n; c++) {
		r.zs[c] = at(&s, i, c, k);
		r.has[c] |= g->nt == 0;
	}
	if (is_word(g, "standardize", "true"))
		standardize(&r, r.has, r.zs);
	temperatures(g, i, k, temperature, &r);
	norm = log_sum(&r, r.has, r.zs, r.ts);
	for (int c = 0; c < r.n; c++)
		r.l[c] = r.zs[c] / r.ts - norm;
	shares(g, &r, a);
	for (int c = 0; c < r.n; c++) {
		double one = 0; /* the mixture at T = 1 */

		for (int t = 0; t < g->nt; t++) {
			const double *z = r.zt[t];
			const bool *knows = r.knows[t];

			r.lt[c] += mean ? a[t] * z[c] : 0;
			one += knows[c] ? a[t] * exp(z[c] - log_sum(&r, knows, z, 1)) : 0;
			r.p[c] += knows[c] ? a[t] * exp(z[c] / r.tt - log_sum(&r, knows, z, r.tt)) : 0;
		}
		r.lt[c] = mean ? r.lt[c] : log(one);
	}
	for (int c = 0; c < r.n && mean && g->nt; c++)
		r.p[c] = r.has[c] ? exp(r.lt[c] / r.tt - log_sum(&r, r.has, r.lt, r.tt)) : 0;
	for (int c = 0; c < r.n && r.y >= 0; c++)
		r.p[c] = lambda * (c == r.y) + (1 - lambda) * r.p[c];
	return r;
}

/* The mean of f over rows and positions, of those whose label counts if `labels`. */
static double
mean_of(const struct given *g, double temperature, bool labels, double (*f)(const struct given *, const struct row *))
{
	struct logits s = logits(&g->s[0]);
	double sum = 0, n = 0;

	for (int64_t i = 0; i < s.rows; i++)
		for (int64_t k = 0; k < s.positions; k++) {
			struct row r = row_of(g, i, k, temperature);

			if ((labels || is_word(g, "masked", "true")) && r.y < 0)
				continue;
			sum += f(g, &r) * (is_word(g, "tau_squared", "false") ? 1 : r.ts * r.tt);
			n++;
		}
	if (is_word(g, "reduction", "mean"))
		n *= (double)s.classes;
	return is_word(g, "reduction", "sum") ? sum : sum / n;
}

static double
kl_row(const struct given *g, const struct row *r)
{
	double sum = 0;

	(void)g;
	for (int c = 0; c < r->n; c++)
		sum += r->p[c] > 0 ? r->p[c] * (log(r->p[c]) - r->l[c]) : 0;
	return sum;
}

static double
cross_row(const struct given *g, const struct row *r)
{
	double sum = 0;

	(void)g;
	for (int c = 0; c < r->n; c++)
		sum -= r->p[c] > 0 ? r->p[c] * r->l[c] : 0;
	return sum;
}

static double
logit_row(const struct given *g, const struct row *r)
{
	double sum = 0;

	(void)g;
	for (int c = 0; c < r->n; c++)
		sum += r->has[c] ? pow(r->zs[c] / r->ts - r->lt[c] / r->tt, 2) / r->n : 0;
	return sum / (r->ts * r->tt); /* mean_of multiplies */
}

static double
dkd_row(const struct given *g, const struct row *r)
{
	double py = r->p[r->y], qy = exp(r->l[r->y]), nckd = 0, tckd;

	tckd = py * log(py / qy) + (1 - py) * log((1 - py) / (1 - qy));
	for (int c = 0; c < r->n; c++)
		if (c != r->y && r->has[c]) {
			double p = r->p[c] / (1 - py), q = exp(r->l[c]) / (1 - qy);

			nckd += p * log(p / q);
		}
	return number(g, "alpha", 1) * tckd + number(g, "beta", 8) * nckd;
}

static double
wsld_row(const struct given *g, const struct row *r)
{
	double ces = 0, cet = log_sum(r, r->has, r->lt, 1) - r->lt[r->y], zs[CLASSES] = {0};

	for (int c = 0; c < r->n; c++)
		zs[c] = r->zs[c];
	ces = log_sum(r, r->has, zs, 1) - zs[r->y];
	return (1 - exp(-ces / (cet + 1e-7))) * cross_row(g, r);
}

static double
tf_kd_row(const struct given *g, const struct row *r)
{
	double u[CLASSES], sum = 0, all = 0, T = number(g, "temperature", 1), a = number(g, "correct", 0.9);
	bool code = is_word(g, "mode", "code");

	for (int c = 0; c < r->n; c++) {
		u[c] = c == r->y ? a : (1 - a) / (r->n - 1);
		u[c] = code ? exp(u[c] / T) : u[c];
		all += u[c];
	}
	for (int c = 0; c < r->n; c++) {
		double l = code ? r->zs[c] - log_sum(r, r->has, r->zs, 1) : r->l[c];

		sum += u[c] / all * (log(u[c] / all) - l);
	}
	return code ? sum / (r->ts * r->tt) : sum;
}

static double
confidence_row(const struct given *g, const struct row *r)
{
	double sum = 0;

	(void)g;
	for (int c = 0; c < r->n; c++)
		sum += exp(r->l[c]) * r->l[c];
	return sum / (r->ts * r->tt);
}

static double
kd(const struct given *g)
{
	return mean_of(g, 4, false, kl_row);
}

static double
soft_ce(const struct given *g)
{
	return mean_of(g, 4, false, cross_row);
}

static double
logit_mse(const struct given *g)
{
	return mean_of(g, 1, false, logit_row);
}

static double
dkd(const struct given *g)
{
	return mean_of(g, 4, true, dkd_row);
}

static double
wsld(const struct given *g)
{
	return mean_of(g, 2, true, wsld_row);
}

static double
tf_kd(const struct given *g)
{
	return mean_of(g, 1, true, tf_kd_row);
}

static double
confidence(const struct given *g)
{
	return mean_of(g, 1, false, confidence_row);
}

/* Pearson's, of n numbers each. */
static double
pearson(int n, const double *a, const double *b)
{
	double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0;

	for (int i = 0; i < n; i++)
		ma += a[i] / n, mb += b[i] / n;
	for (int i = 0; i < n; i++) {
		ab += (a[i] - ma) * (b[i] - mb);
		aa += (a[i] - ma) * (a[i] - ma);
		bb += (b[i] - mb) * (b[i] - mb);
	}
	return ab / (sqrt(aa) * sqrt(bb) + 1e-8);
}

static double
dist(const struct given *g)
{
	struct logits s = logits(&g->s[0]);
	static double p[CLASSES][256], q[CLASSES][256];
	double rows = 0, columns = 0, T = number(g, "temperature", 1);
	int n = 0;

	for (int64_t i = 0; i < s.rows; i++)
		for (int64_t k = 0; k < s.positions; k++) {
			struct row r = row_of(g, i, k, 1);
			double e[CLASSES];

			if (is_word(g, "masked", "true") && r.y < 0)
				continue;
			for (int c = 0; c < r.n; c++) {
				e[c] = q[c][n] = exp(r.l[c]);
				p[c][n] = r.p[c];
			}
			rows += pearson(r.n, r.p, e);
			n++;
		}
	for (int64_t c = 0; c < s.classes; c++)
		columns += pearson(n, p[c], q[c]) / (double)s.classes;
	return T * T * (number(g, "beta", 1) * (1 - rows / n) + number(g, "gamma", 1) * (1 - columns));
}

static double
bce(const struct given *g)
{
	double sum = 0, n = 0, T = number(g, "temperature", 1), Tt = number(g, "teacher_temperature", 0);
	double w = number(g, "pos_weight", 1), weight[MOST] = {1, 1, 1, 1}, all = 0;

	Tt = Tt > 0 ? Tt : T;
	numbers(g, "teacher_weights", 0, weight, MOST);
	for (int t = 0; t < g->nt; t++)
		all += weight[t];
	for (int64_t i = 0; i < g->s[0].n; i++) {
		double q = 1 / (1 + exp(-g->s[0].v[i] / T)), p = g->nt ? 0 : g->target.v[i];

		for (int t = 0; t < g->nt; t++)
			p += weight[t] / all / (1 + exp(-g->t[t].v[i] / Tt));
		if (!g->nt && p == 255)
			continue;
		sum -= w * p * log(q) + (1 - p) * log(1 - q);
		n++;
	}
	return T * Tt * sum / n;
}

/* clang-format off */
const struct loss_case soft_cases[] = {
	{"ce", "ce", "", ce, .student = {SHAPE(6, 5)}, .target = SHAPE(6), .classes = 5},
	{"ce_map_ignore", "ce", "", ce, .student = {SHAPE(5, 3, 2, 2)}, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"ce_smooth", "ce", "label_smoothing: 0.1", ce, .student = {SHAPE(6, 5)}, .target = SHAPE(6), .classes = 5},
	{"ce_smooth_weighted", "ce", "label_smoothing: ~0.2, class_weights: 1 0.5 2 0.25 3", ce, .student = {SHAPE(5, 3, 2, 2)}, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"kd", "kd", "", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"kd_two", "kd", "temperature: 2, reduction: mean", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"kd_map_dial", "kd", "temperature: ~3", kd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3},
	{"kd_temperatures", "kd", "temperature: 2, teacher_temperature: ~5", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"kd_sum", "kd", "reduction: sum, tau_squared: false", kd, .batch_only = true, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"kd_masked", "kd", "masked: true", kd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"kd_masked_mean", "kd", "masked: true, reduction: mean", kd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"kd_standardize", "kd", "standardize: true, temperature: 2", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"kd_flsw", "kd", "dynamic_temperature: flsw, tau_beta: 2, tau_gamma: 1.5", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"kd_cwsm", "kd", "dynamic_temperature: cwsm, tau_beta: ~0.5, teacher_temperature: 2", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"kd_weights", "kd", "teacher_weights: 1 3", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"kd_confidence", "kd", "fusion: confidence, sharpness: 3", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"kd_entropy", "kd", "fusion: entropy, fuse: logits", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"kd_label", "kd", "fusion: label", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3, .target = SHAPE(6), .classes = 5},
	{"kd_learned", "kd", "fusion: learned", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"kd_annealing", "kd", "annealing: ~0.3", kd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"kd_shift", "kd", "probability_shift: true, temperature: 2", kd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"kd_noise", "kd", "noise: 0.5, noise_p: 0.7", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"kd_classes_merged", "kd", "class_map: 2 0 2 -1 1 3, temperature: 2", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 6)}, .scale = 3},
	{"kd_classes_moved", "kd", "class_map: 2 0 -1 1, standardize: true", kd, .student = {SHAPE(5, 4, 2)}, .teacher = {SHAPE(5, 4, 2)}, .scale = 3},
	{"kd_classes_each", "kd", "class_map: 2 0 -1 | 3 -1 2, standardize: true", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 3), SHAPE(6, 3)}, .scale = 3},
	{"kd_classes_shift", "kd", "class_map: 4 0 3 | 3 1 2, probability_shift: true, fusion: entropy", kd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 3), SHAPE(6, 3)}, .target = SHAPE(6), .classes = 5, .scale = 3},
	{"wsld_classes", "wsld", "class_map: 4 0 3 1 | 3 1 2 2", wsld, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4), SHAPE(6, 4)}, .target = SHAPE(6), .classes = 5, .scale = 3},
	{"kd_resized", "kd", "resize: bilinear", kd, .student = {SHAPE(4, 3, 2, 4)}, .teacher = {SHAPE(4, 3, 3, 3)}, .scale = 3},
	{"soft_ce", "soft_ce", "tau_squared: false", soft_ce, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"soft_ce_sum", "soft_ce", "teacher_temperature: 1, reduction: sum", soft_ce, .batch_only = true, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"logit_mse", "logit_mse", "temperature: 2", logit_mse, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"logit_mse_two", "logit_mse", "standardize: true, teacher_weights: 2 1", logit_mse, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3},
	{"logit_mse_masked", "logit_mse", "masked: true, class_map: 2 0 -1", logit_mse, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"dkd", "dkd", "beta: 2", dkd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3, .target = SHAPE(6), .classes = 5},
	{"dkd_map", "dkd", "alpha: ~0.5, temperature: 1", dkd, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"dkd_two", "dkd", "standardize: true, fusion: entropy", dkd, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 3, .target = SHAPE(6), .classes = 5},
	{"wsld", "wsld", "", wsld, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3, .target = SHAPE(6), .classes = 5},
	{"wsld_two", "wsld", "fuse: logits", wsld, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2), SHAPE(5, 3, 2, 2)}, .scale = 3, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"tf_kd", "tf_kd", "temperature: 3", tf_kd, .student = {SHAPE(6, 5)}, .target = SHAPE(6), .classes = 5, .scale = 2},
	{"tf_kd_code", "tf_kd", "mode: code, temperature: 20, correct: 0.99", tf_kd, .student = {SHAPE(5, 3, 2, 2)}, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"dist", "dist", "temperature: 2, beta: 2", dist, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 3},
	{"dist_masked", "dist", "masked: true, gamma: ~0.5", dist, .student = {SHAPE(5, 3, 2, 2)}, .teacher = {SHAPE(5, 3, 2, 2)}, .scale = 3, .target = SHAPE(5, 2, 2), .classes = 3, .ignore = true},
	{"confidence", "confidence", "temperature: 2", confidence, .student = {SHAPE(6, 5)}, .scale = 3},
	{"bce", "bce", "", bce, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}, .scale = 2},
	{"bce_weights", "bce", "temperature: 2, teacher_temperature: 3, teacher_weights: 1 2", bce, .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5), SHAPE(6, 5)}, .scale = 2},
	{"bce_known", "bce", "pos_weight: 3", bce, .student = {SHAPE(6, 5)}, .target = SHAPE(6, 5), .classes = 2, .ignore = true, .scale = 2},
	{"bce_target", "bce", "", bce, .student = {SHAPE(6, 5)}, .target = SHAPE(6, 5), .scale = 2},
	{NULL},
};
const struct loss_refusal soft_refusals[] = {
	{"ce", "", "field \"y\" has 4 classes, s0 has 5", .student = {SHAPE(6, 5)}, .target = SHAPE(6), .classes = 4},
	{"kd", "", "t0 has 4 classes, s0 has 5", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{"kd", "", "class_map: [class of the student", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{"kd", "class_map: 0 1 2", "class_map has 3 classes for t0, which is [6,4]", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{"kd", "class_map: 0 1 2 5", "sends class 3 of t0 to 5, s0 has 5 classes", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{"kd", "class_map: -1 -1 -1 -1", "sends no class of t0", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{"kd", "class_map: 0 1 2 | 2 3 -1, fuse: logits", "their logits have no mean", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 3), SHAPE(6, 3)}},
	{"kd", "", "needs equal shapes, or resize: bilinear", .student = {SHAPE(4, 3, 2, 4)}, .teacher = {SHAPE(4, 3, 3, 3)}},
	{"kd", "", "s0 has one class to compare", .student = {SHAPE(6, 1)}, .teacher = {SHAPE(6, 1)}},
	{"kd", "annealing: 0.5", "loss kd needs labels here; give the term a task", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}},
	{"dkd", "", "s0 has 2 classes: dkd needs at least 3", .student = {SHAPE(6, 2)}, .teacher = {SHAPE(6, 2)}, .target = SHAPE(6), .classes = 2},
	{"dist", "dynamic_temperature: flsw", "row by row", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}},
	{"logit_mse", "class_map: 0 0 1", "their logits have no sum", .student = {SHAPE(6, 2)}, .teacher = {SHAPE(6, 3)}},
	{"logit_mse", "annealing: 0.5", "annealing mixes classes", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 5)}},
	{NULL},
};
/* clang-format on */
