/* metrics -- see metrics.h.  Definitions, with tp, fp, fn of a class:
 *
 *   precision tp/(tp+fp), recall tp/(tp+fn), f1 2tp/(2tp+fp+fn), iou tp/(tp+fp+fn);
 *   0/0 is 0, and a class that is neither label nor answer anywhere has no value
 *   macro: the mean over classes that have one; micro: of the summed counts
 *   roc_auc: P(score of a positive > of a negative) + P(equal)/2 (Mann-Whitney);
 *   two classes: of the second; more: one class against the rest, mean over the
 *   classes that have both positives and negatives
 *   ece: sum_b n_b/n |accuracy_b - confidence_b| over 15 bins of equal width, (lo, hi]
 *   (Guo et al. 2017)
 *   r2: 1 - sum (v-a)^2 / sum (v-mean v)^2; a constant v gives 1 or 0
 *   pearson, spearman: of values and answers, resp. of their ranks, ties at the mean rank;
 *   several outputs: the mean over those that have a value
 *
 * Values of a classification (several labels a row, or one logit) are positive above
 * 0.5, answers above 0; its confidence is the larger of p and 1-p, p = sigmoid. */
#include "runtime/metrics.h"

#include "host/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* bytes kept of a split at most */
#define KEEP_BYTES ((int64_t)1 << 32)
/* up to that many are counted for the report, asked for or not */
#define COUNTED_CLASSES 1024

enum statistic { NONE, COUNTS, BINS, MOMENTS, SCORES };
enum shape { NUMBER, PER_CLASS, MATRIX };
typedef double ratio_fn(double tp, double fp, double fn);

static double
over(double a, double b)
{
	return b > 0 ? a / b : 0;
}

static double
precision(double tp, double fp, double fn)
{
	(void)fn;
	return over(tp, tp + fp);
}

static double
recall(double tp, double fp, double fn)
{
	(void)fp;
	return over(tp, tp + fn);
}

static double
f1(double tp, double fp, double fn)
{
	return over(2 * tp, 2 * tp + fp + fn);
}

static double
iou(double tp, double fp, double fn)
{
	return over(tp, tp + fp + fn);
}

/* ---- from counts */
void
tally_class(const struct tally *t, int64_t c, double *tp, double *fp, double *fn)
{
	const double *k = t->counts;
	int64_t n = t->classes;

	if (!t->labels) {
		*fp = k[4 * c + 1];
		*fn = k[4 * c + 2];
		*tp = k[4 * c + 3];
		return;
	}
	*tp = k[c * n + c];
	*fp = *fn = 0;
	for (int64_t i = 0; i < n; i++)
		if (i != c) {
			*fp += k[i * n + c];
			*fn += k[c * n + i];
		}
}

/* Over the classes, or outputs, that have a value. */
static double
mean_over(struct tally *t, int64_t from, double (*value)(struct tally *, int64_t c))
{
	double sum = 0, n = 0;

	for (int64_t c = from; c < t->classes; c++) {
		double v = value(t, c);

		if (!isnan(v)) {
			sum += v;
			n++;
		}
	}
	return n > 0 ? sum / n : NAN;
}

static void
per_class(struct tally *t, ratio_fn *f, double *out)
{
	for (int64_t c = 0; c < t->classes; c++) {
		double tp, fp, fn;

		tally_class(t, c, &tp, &fp, &fn);
		out[c] = tp + fp + fn > 0 ? f(tp, fp, fn) : NAN;
	}
}

static void
macro(struct tally *t, ratio_fn *f, double *out)
{
	double sum = 0, n = 0;

	for (int64_t c = 0; c < t->classes; c++) {
		double tp, fp, fn;

		tally_class(t, c, &tp, &fp, &fn);
		if (tp + fp + fn > 0) {
			sum += f(tp, fp, fn);
			n++;
		}
	}
	*out = n > 0 ? sum / n : NAN;
}

static void
micro(struct tally *t, ratio_fn *f, double *out)
{
	double tps = 0, fps = 0, fns = 0;

	for (int64_t c = 0; c < t->classes; c++) {
		double tp, fp, fn;

		tally_class(t, c, &tp, &fp, &fn);
		tps += tp;
		fps += fp;
		fns += fn;
	}
	*out = tps + fps + fns > 0 ? f(tps, fps, fns) : NAN;
}

static void
confusion(struct tally *t, ratio_fn *f, double *out)
{
	(void)f;
	memcpy(out, t->counts, sizeof *out * (size_t)(t->classes * (t->labels ? t->classes : 4)));
}

static void
ece(struct tally *t, ratio_fn *f, double *out)
{
	double n = 0, sum = 0;

	(void)f;
	for (int b = 0; b < ECE_BINS; b++) {
		n += t->bins[b][0];
		sum += fabs(t->bins[b][2] - t->bins[b][1]);
	}
	*out = n > 0 ? sum / n : NAN;
}

/* ---- from moments */
static double
r2_of(struct tally *t, int64_t c)
{
	const double *m = t->moments[c];

	if (m[0] < 2)
		return NAN;
	return m[3] > 0 ? 1 - t->squares[c] / m[3] : t->squares[c] > 0 ? 0 : 1;
}

static void
r2(struct tally *t, ratio_fn *f, double *out)
{
	(void)f;
	*out = mean_over(t, 0, r2_of);
}

static double
correlation(double vv, double aa, double va)
{
	double r = vv > 0 && aa > 0 ? va / (sqrt(vv) * sqrt(aa)) : NAN;

	return r > 1 ? 1 : r < -1 ? -1 : r;
}

static double
pearson_of(struct tally *t, int64_t c)
{
	const double *m = t->moments[c];

	return correlation(m[3], m[4], m[5]);
}

static void
pearson(struct tally *t, ratio_fn *f, double *out)
{
	(void)f;
	*out = mean_over(t, 0, pearson_of);
}

/* Welford's update: no sum of squares that would cancel. */
static void
observe(double *m, double v, double a)
{
	double dv = v - m[1], da = a - m[2];

	m[0]++;
	m[1] += dv / m[0];
	m[2] += da / m[0];
	m[3] += dv * (v - m[1]);
	m[4] += da * (a - m[2]);
	m[5] += dv * (a - m[2]);
}

/* ---- from order */
static int
by_key(const void *a, const void *b)
{
	const struct ranked *p = a, *q = b;

	if (p->key != q->key)
		return p->key < q->key ? -1 : 1;
	return (p->at > q->at) - (p->at < q->at);
}

/* Of t->order[n], sorted: ranks from 1, ties at the mean of theirs. */
static void
rank(struct tally *t, double *ranks)
{
	qsort(t->order, (size_t)t->n, sizeof *t->order, by_key);
	for (int64_t i = 0, end; i < t->n; i = end) {
		for (end = i + 1; end < t->n && t->order[end].key == t->order[i].key; end++)
			;
		for (int64_t k = i; k < end; k++)
			ranks[t->order[k].at] = 0.5 * (double)(i + 1 + end);
	}
}

static double
auc_of(struct tally *t, int64_t c)
{
	double positives = 0, sum = 0, n = (double)t->n;

	for (int64_t i = 0; i < t->n; i++)
		t->order[i] = (struct ranked){
		    t->scores[i * t->classes + c] - (t->labels ? t->scale[i] : 0), i};
	rank(t, t->ranks[0]);
	for (int64_t i = 0; i < t->n; i++)
		if (t->labels ? t->label[i] == c : t->values[i * t->classes + c] > 0.5F) {
			positives++;
			sum += t->ranks[0][i];
		}
	if (positives == 0 || positives == n)
		return NAN;
	return (sum - positives * (positives + 1) / 2) / (positives * (n - positives));
}

static void
auc_per_class(struct tally *t, ratio_fn *f, double *out)
{
	(void)f;
	for (int64_t c = 0; c < t->classes; c++)
		out[c] = auc_of(t, c);
}

static void
auc(struct tally *t, ratio_fn *f, double *out)
{
	(void)f;
	*out = mean_over(t, t->labels && t->classes == 2, auc_of);
}

static double
spearman_of(struct tally *t, int64_t c)
{
	double m[6] = {0};

	for (int k = 0; k < 2; k++) {
		const float *v = k ? t->scores : t->values;

		for (int64_t i = 0; i < t->n; i++)
			t->order[i] = (struct ranked){v[i * t->classes + c], i};
		rank(t, t->ranks[k]);
	}
	for (int64_t i = 0; i < t->n; i++)
		observe(m, t->ranks[0][i], t->ranks[1][i]);
	return correlation(m[3], m[4], m[5]);
}

static void
spearman(struct tally *t, ratio_fn *f, double *out)
{
	(void)f;
	*out = mean_over(t, 0, spearman_of);
}

/* ---- the table */
static double
as_is(double v)
{
	return v;
}

static const struct {
	double (*of_mean)(double);
	enum statistic statistic;
	enum shape shape;
	void (*finish)(struct tally *, ratio_fn *, double *out);
	ratio_fn *ratio;
} table[NMETRICS] = {
#define MEAN(id, better, needs, sums, finish) [METRIC_##id] = {.of_mean = finish},
#define ROWS(id, better, needs, statistic, shape, finish, ratio)                                   \
	[METRIC_##id] = {NULL, statistic, shape, finish, ratio},
#include "host/metric.def"
};

double
metric_of_mean(int id, double mean)
{
	return id >= 0 && table[id].of_mean ? table[id].of_mean(mean) : mean;
}

int64_t
tally_size(const struct tally *t, int id, int64_t *columns)
{
	*columns = 1;
	switch (table[id].shape) {
	case PER_CLASS:
		return t->classes;
	case MATRIX:
		*columns = t->labels ? t->classes : t->classes > 1 ? 4 : 2;
		return t->classes * (t->labels ? t->classes : 4);
	default:
		return 1;
	}
}

void
tally_value(struct tally *t, int id, double *out)
{
	table[id].finish(t, table[id].ratio, out);
}

/* ---- counting */
static bool
keep_rows(struct tally *t, int64_t keep, struct region *r)
{
	size_t n = (size_t)keep, c = (size_t)t->classes;

	t->cap = keep;
	t->bytes = keep * (t->classes * 4 + (t->labels ? 12 : t->classes * 4) + (int64_t)sizeof *t->order + 16);
	t->scores = region_alloc(r, n * c * sizeof *t->scores);
	t->scale = region_alloc(r, t->labels ? n * sizeof *t->scale : 1);
	t->label = region_alloc(r, t->labels ? n * sizeof *t->label : 1);
	t->values = region_alloc(r, t->labels ? 1 : n * c * sizeof *t->values);
	t->order = region_alloc(r, n * sizeof *t->order);
	t->ranks[0] = region_alloc(r, n * sizeof(double));
	t->ranks[1] = region_alloc(r, n * sizeof(double));
	return t->scores && t->scale && t->label && t->values && t->order && t->ranks[0] &&
	       t->ranks[1];
}

bool
tally_open(struct tally *t, int nmetrics, const int *metrics, int64_t keep, struct region *r,
    struct rt_msg *m)
{
	bool uses[SCORES + 1] = {false}, ok = true;
	size_t c = (size_t)t->classes;
	double bytes = (double)keep * (double)t->classes * 4;

	for (int i = 0; i < nmetrics; i++)
		uses[table[metrics[i]].statistic] = true;
	if (uses[COUNTS] && (double)c * (double)c * 8 > (double)KEEP_BYTES)
		return rt_fail(m, RT_INVALID,
		    "task %s has %zu classes: too many for a count of every label and answer",
		    t->name, c);
	if (uses[COUNTS] || (t->labels && c <= COUNTED_CLASSES))
		ok &= (t->counts = region_alloc(r, c * (t->labels ? c : 4) * sizeof *t->counts)) !=
		      NULL;
	if (uses[BINS])
		ok &= (t->bins = region_alloc(r, ECE_BINS * sizeof *t->bins)) != NULL;
	if (uses[MOMENTS])
		ok &= (t->moments = region_alloc(r, c * sizeof *t->moments)) != NULL &&
		      (t->squares = region_alloc(r, c * sizeof *t->squares)) != NULL;
	if (uses[SCORES] && bytes > (double)KEEP_BYTES)
		return rt_fail(m, RT_INVALID,
		    "roc_auc or spearman of task %s would keep %.3g scores of a split, which is "
		    "too many",
		    t->name, bytes / 4);
	if (uses[SCORES])
		ok &= keep_rows(t, keep, r);
	return ok || rt_fail(m, RT_INTERNAL, "out of memory for the metrics of task %s", t->name);
}

void
tally_reset(struct tally *t)
{
	size_t c = (size_t)t->classes;

	if (t->counts)
		memset(t->counts, 0, c * (t->labels ? c : 4) * sizeof *t->counts);
	if (t->bins)
		memset(t->bins, 0, ECE_BINS * sizeof *t->bins);
	if (t->moments) {
		memset(t->moments, 0, c * sizeof *t->moments);
		memset(t->squares, 0, c * sizeof *t->squares);
	}
	t->n = 0;
}

static void
into_bin(struct tally *t, double confidence, bool right)
{
	int b;

	if (!(confidence >= 0 && confidence <= 1))
		return;
	b = (int)ceil(confidence * ECE_BINS) - 1;
	b = b < 0 ? 0 : b >= ECE_BINS ? ECE_BINS - 1 : b;
	t->bins[b][0]++;
	t->bins[b][1] += confidence;
	t->bins[b][2] += right;
}

/* One position with a label: z[c * step] are its logits. */
static void
add_label(struct tally *t, const float *z, int64_t step, int32_t label)
{
	int64_t best = 0;
	double sum = 0;

	if (label < 0 || label >= t->classes)
		return;
	for (int64_t c = 1; c < t->classes; c++)
		if (z[c * step] > z[best * step])
			best = c;
	if (t->counts)
		t->counts[label * t->classes + best]++;
	if (!t->bins && !t->scores)
		return;
	for (int64_t c = 0; c < t->classes; c++)
		sum += exp((double)z[c * step] - z[best * step]);
	if (t->bins)
		into_bin(t, 1 / sum, best == label);
	if (t->scores && t->n < t->cap) {
		for (int64_t c = 0; c < t->classes; c++)
			t->scores[t->n * t->classes + c] = z[c * step];
		t->scale[t->n] = z[best * step] + log(sum);
		t->label[t->n++] = label;
	}
}

static void
add_values(struct tally *t, const float *z, const float *v, int64_t step)
{
	for (int64_t c = 0; c < t->classes; c++) {
		double a = z[c * step], want = v[c * step];
		bool yes = a > 0, truth = want > 0.5;

		if (t->counts)
			t->counts[4 * c + 2 * truth + yes]++;
		if (t->bins)
			into_bin(t, 1 / (1 + exp(-fabs(a))), yes == truth);
		if (t->moments) {
			observe(t->moments[c], want, a);
			t->squares[c] += (want - a) * (want - a);
		}
		if (t->scores && t->n < t->cap) {
			t->scores[t->n * t->classes + c] = z[c * step];
			t->values[t->n * t->classes + c] = v[c * step];
		}
	}
	t->n += t->scores && t->n < t->cap;
}

void
tally_add(struct tally *t, const struct answers *a)
{
	int64_t row = t->classes * t->positions;

	for (int64_t r = 0; r < a->rows; r++) {
		if (a->valid && !(a->valid[r] > 0))
			continue;
		for (int64_t p = 0; p < t->positions; p++) {
			const float *z = a->scores + r * row + p;

			if (t->labels)
				add_label(t, z, t->positions, a->labels[r * t->positions + p]);
			else
				add_values(t, z, a->values + r * row + p, t->positions);
		}
	}
}
