/* Metrics against numbers that numpy came to from the definitions, in float64 and by
 * counting pairs (roc_auc, ranks), on the data that gen() draws; and cases by hand. */
#include "runtime/trainer.h"
#include "tests/unit.h"

#include "host/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct region region;
static struct rt_msg msg;

static double
gen(uint64_t seed, int i)
{
	return (double)(rt_draw(seed, (uint64_t)i) % 17);
}

static int
id(const char *name)
{
	int number, i = metric_find(name, (int)strlen(name), &number);

	if (i < 0)
		fail_msg("no metric %s", name);
	return i;
}

static int
all(enum metric_needs needs, int *ids)
{
	int n = 0;

	for (int i = 0; i < NMETRICS; i++)
		if (metric_info[i].rows && metric_info[i].needs == needs)
			ids[n++] = i;
	return n;
}

static void
open(struct tally *t, enum metric_needs needs, int64_t keep)
{
	int ids[NMETRICS], n = all(needs, ids);

	t->name = "t";
	if (!tally_open(t, n, ids, keep, &region, &msg))
		fail_msg("%s", msg.text);
}

static double
value(struct tally *t, const char *name)
{
	double v[64];
	int64_t columns;

	assert_int_equal(tally_size(t, id(name), &columns), 1);
	tally_value(t, id(name), v);
	return v[0];
}

static void
is(struct tally *t, const char *name, double want)
{
	double v = value(t, name);

	if (isnan(want) ? !isnan(v) : !(fabs(v - want) <= 1e-11 * fmax(1, fabs(want))))
		fail_msg("%s is %.15g, not %.15g", name, v, want);
}

static void
are(struct tally *t, const char *name, int n, const double *want)
{
	double v[64];
	int64_t columns;

	assert_int_equal(tally_size(t, id(name), &columns), n);
	tally_value(t, id(name), v);
	for (int i = 0; i < n; i++)
		if (isnan(want[i]) ? !isnan(v[i]) : !(fabs(v[i] - want[i]) <= 1e-11))
			fail_msg("%s[%d] is %.15g, not %.15g", name, i, v[i], want[i]);
}

enum { N = 40, C = 6, L = 3 };

/* Class 3 is never answered, 4 never a label, 5 neither; ties; ignored and padded rows;
 * in batches of 16, as an evaluation gives them. */
static void
labels(void **state)
{
	float z[N * C], valid[N];
	int32_t y[N];
	struct tally t = {.labels = true, .classes = C, .positions = 1};

	(void)state;
	for (int i = 0; i < N * C; i++)
		z[i] = (float)((gen(1, i) - 8) / 4 - (i % C == 3 ? 10 : i % C == 5 ? 20 : 0));
	for (int i = 0; i < N; i++) {
		y[i] = i == 5 ? -1 : (int32_t)gen(2, i) % 4;
		valid[i] = i < 33;
	}
	open(&t, METRIC_CLASSES, N);
	for (int again = 0; again < 2; again++) {
		tally_reset(&t);
		for (int i = 0; i < N; i += 16)
			tally_add(&t, &(struct answers){.scores = z + i * C,
					  .labels = y + i,
					  .valid = valid + i,
					  .rows = N - i < 16 ? N - i : 16});
		is(&t, "precision", 0.155);
		is(&t, "precision_macro", 0.155);
		is(&t, "recall_macro", 0.14);
		is(&t, "f1", 0.146666666666666667);
		is(&t, "f1_macro", 0.146666666666666667);
		is(&t, "f1_micro", 0.21875);
		is(&t, "precision_micro", 0.21875);
		is(&t, "recall_micro", 0.21875);
		is(&t, "miou", 0.09);
		are(&t, "f1_per_class", C, (double[]){0.4, 1.0 / 3, 0, 0, 0, NAN});
		are(&t, "precision_per_class", C, (double[]){0.4, 0.375, 0, 0, 0, NAN});
		are(&t, "recall_per_class", C, (double[]){0.4, 0.3, 0, 0, 0, NAN});
		are(&t, "iou_per_class", C, (double[]){0.25, 0.2, 0, 0, 0, NAN});
		are(&t, "roc_auc_per_class", C,
		    (double[]){127.0 / 220, 111.0 / 220, 37.0 / 87, 124.0 / 207, NAN, NAN});
		is(&t, "roc_auc", (127.0 / 220 + 111.0 / 220 + 37.0 / 87 + 124.0 / 207) / 4);
		assert_true(fabs(value(&t, "roc_auc") - 0.526534838641) < 1e-11);
		assert_true(fabs(value(&t, "ece") - 0.398601189871) < 1e-11);
	}
	double m[C * C], sum = 0;
	int64_t columns;

	assert_int_equal(tally_size(&t, id("confusion"), &columns), C * C);
	assert_int_equal(columns, C);
	tally_value(&t, id("confusion"), m);
	for (int i = 0; i < C * C; i++) {
		sum += m[i];
		assert_true(m[i] == 0 || (i / C < 4 && i % C != 3 && i % C != 5));
	}
	assert_true(sum == 32);
}

/* Two classes: of the second; and what is not defined. */
static void
two_classes(void **state)
{
	float z[N * 2];
	int32_t y[N];
	struct tally t = {.labels = true, .classes = 2, .positions = 1};

	(void)state;
	for (int i = 0; i < N; i++) {
		y[i] = i == 5 || i >= 33 ? -1 : (int32_t)gen(2, i) % 4 % 2;
		for (int c = 0; c < 2; c++)
			z[2 * i + c] = (float)((gen(1, i * C + c) - 8) / 4);
	}
	open(&t, METRIC_CLASSES, N);
	is(&t, "f1", NAN);
	is(&t, "f1_micro", NAN);
	is(&t, "roc_auc", NAN);
	is(&t, "ece", NAN);
	tally_add(&t, &(struct answers){.scores = z, .labels = y, .rows = N});
	assert_true(fabs(value(&t, "roc_auc") - 0.522267206478) < 1e-11);
	tally_reset(&t);
	for (int i = 0; i < N; i++)
		y[i] = 1; /* one class: no order between two */
	tally_add(&t, &(struct answers){.scores = z, .labels = y, .rows = N});
	is(&t, "roc_auc", NAN);
	is(&t, "recall_micro", value(&t, "precision_micro"));
	/* all scores equal: one half; separated: one */
	tally_reset(&t);
	tally_add(&t, &(struct answers){
			  .scores = (float[8]){0}, .labels = (int32_t[]){0, 1, 1, 0}, .rows = 4});
	is(&t, "roc_auc", 0.5);
	is(&t, "ece", 0);
	tally_reset(&t);
	tally_add(&t, &(struct answers){.scores = (float[]){1, 0, 0, 9, 0, 90, 3, 2},
			  .labels = (int32_t[]){0, 1, 1, 0},
			  .rows = 4});
	is(&t, "roc_auc", 1);
	is(&t, "f1", 1);
	/* a label of no class does not count, nor does a score that is no number end it */
	tally_add(
	    &t, &(struct answers){
		    .scores = (float[]){NAN, 1, 1, NAN}, .labels = (int32_t[]){2, 1}, .rows = 2});
	assert_true(isfinite(value(&t, "f1")));
}

/* Several labels a row, one of which never is set. */
static void
several_labels(void **state)
{
	float z[N * L], v[N * L], valid[N];
	struct tally t = {.classes = L, .positions = 1};
	double a = 79.0 / 260, b = 0.4375;

	(void)state;
	for (int i = 0; i < N * L; i++) {
		z[i] = (float)((gen(3, i) - 8) / 4);
		v[i] = i % L != 2 && (int)gen(4, i) % 3 == 0;
		valid[i / L] = i / L < 33;
	}
	open(&t, METRIC_CLASSES, N);
	tally_add(&t, &(struct answers){.scores = z, .values = v, .valid = valid, .rows = N});
	are(&t, "confusion", 4 * L, (double[]){4, 16, 7, 6, 14, 10, 6, 3, 19, 14, 0, 0});
	assert_true(fabs(value(&t, "f1_macro") - 0.205194805195) < 1e-11);
	assert_true(fabs(value(&t, "f1_micro") - 0.253521126761) < 1e-11);
	are(&t, "roc_auc_per_class", L, (double[]){a, b, NAN});
	is(&t, "roc_auc", (a + b) / 2);
	assert_true(fabs(value(&t, "ece") - 0.29025323641) < 1e-11);
	/* a single logit: [[tn, fp], [fn, tp]] */
	struct tally one = {.classes = 1, .positions = 1};
	int64_t columns;

	open(&one, METRIC_CLASSES, 4);
	tally_add(&one,
	    &(struct answers){
		.scores = (float[]){1, -1, 2, -2}, .values = (float[]){1, 1, 1, 0}, .rows = 4});
	are(&one, "confusion", 4, (double[]){1, 0, 1, 2});
	tally_size(&one, id("confusion"), &columns);
	assert_int_equal(columns, 2);
	is(&one, "precision", 1);
	is(&one, "recall", 2.0 / 3);
}

/* Far from zero, with ties; the last output is constant. */
static void
values(void **state)
{
	float a[N * 3], v[N * 3], valid[N];
	struct tally t = {.classes = 3, .positions = 1};

	(void)state;
	for (int i = 0; i < N * 3; i++) {
		a[i] = (float)(1e4 + gen(5, i) / 4);
		v[i] = i % 3 == 2 ? 3 : (float)(1e4 + gen(6, i) / 4 + 0.5 * (a[i] - 1e4));
		valid[i / 3] = i / 3 < 33;
	}
	open(&t, METRIC_VALUES, N);
	is(&t, "r2", NAN);
	is(&t, "pearson", NAN);
	is(&t, "spearman", NAN);
	tally_add(&t, &(struct answers){.scores = a, .values = v, .valid = valid, .rows = N});
	assert_true(fabs(value(&t, "r2") - -0.108726667674) < 1e-10);
	assert_true(fabs(value(&t, "pearson") - 0.505298973735) < 1e-10);
	assert_true(fabs(value(&t, "spearman") - 0.470468363045) < 1e-10);
	struct tally one = {.classes = 1, .positions = 1};

	open(&one, METRIC_VALUES, 4);
	tally_add(&one,
	    &(struct answers){
		.scores = (float[]){1, 8, 27, 64}, .values = (float[]){1, 2, 3, 4}, .rows = 4});
	is(&one, "spearman", 1);
	tally_reset(&one);
	tally_add(&one,
	    &(struct answers){.scores = (float[]){5, 5}, .values = (float[]){5, 5}, .rows = 2});
	is(&one, "r2", 1);
	is(&one, "pearson", NAN);
	tally_reset(&one);
	tally_add(
	    &one, &(struct answers){.scores = (float[]){5}, .values = (float[]){5}, .rows = 1});
	is(&one, "r2", NAN);
}

/* [2,3,4]: classes before positions, one position ignored */
static void
positions(void **state)
{
	float z[24];
	int32_t y[8];
	struct tally t = {.labels = true, .classes = 3, .positions = 4};

	(void)state;
	for (int i = 0; i < 24; i++)
		z[i] = (float)((gen(7, i) - 8) / 4);
	for (int i = 0; i < 8; i++)
		y[i] = i == 1 ? -1 : (int32_t)gen(8, i) % 3;
	open(&t, METRIC_CLASSES, 8);
	tally_add(&t, &(struct answers){.scores = z, .labels = y, .rows = 2});
	are(&t, "confusion", 9, (double[]){0, 1, 0, 0, 1, 2, 0, 2, 1});
	assert_true(fabs(value(&t, "miou") - 0.122222222222) < 1e-11);
}

static void
names(void **state)
{
	int number;

	(void)state;
	assert_int_equal(metric_find("top5", 4, &number), METRIC_topN);
	assert_int_equal(number, 5);
	assert_int_equal(metric_find("top12.x", 5, &number), METRIC_topN);
	assert_int_equal(number, 12);
	assert_int_equal(metric_find("topN", 4, &number), -1);
	assert_int_equal(metric_find("top", 3, &number), -1);
	assert_int_equal(metric_find("top0", 4, &number), -1);
	assert_int_equal(metric_find("top5x", 5, &number), -1);
	assert_int_equal(metric_find("f1", 2, &number), METRIC_f1);
	assert_int_equal(metric_find("f1_macr", 7, &number), -1);
	assert_true(metric_of_mean(METRIC_rmse, 9) == 3);
	assert_true(metric_of_mean(METRIC_perplexity, 0) == 1);
	assert_true(metric_of_mean(METRIC_accuracy, 0.25) == 0.25 && metric_of_mean(-1, 7) == 7);
	struct tally t = {.name = "big", .labels = true, .classes = 1 << 20, .positions = 1};
	int confusion = METRIC_confusion;

	assert_false(tally_open(&t, 1, &confusion, 10, &region, &msg));
	assert_int_equal(msg.status, RT_INVALID);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(labels),
	    cmocka_unit_test(two_classes),
	    cmocka_unit_test(several_labels),
	    cmocka_unit_test(values),
	    cmocka_unit_test(positions),
	    cmocka_unit_test(names),
	};
	int status = cmocka_run_group_tests(tests, NULL, NULL);

	region_free(&region);
	return status;
}
