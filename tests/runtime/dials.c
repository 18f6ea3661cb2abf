/* Numbers that change in training, and the weights of tasks that follow from the epochs
 * before: against their formulas written out here. */
#include "runtime/trainer.h"
#include "tests/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char stage_text[] = "epochs 9\n"
				 "dial \"a.weight\" 1000 0 0 200 linear\n"
				 "dial \"a.temperature\" 8 1 1.5 4 cosine\n"
				 "dial \"b.p\" 16 1 0 4 exponential\n"
				 "dial \"b.weight\" 0.25 4 1 3 step\n"
				 "dial \"c.weight\" 3 7 2 2 linear\n"
				 "dial \"d.weight\" 5 9 0 1 fixed\n";

static void
close_to(double got, double want)
{
	if (!(fabs(got - want) <= 1e-12 * (1 + fabs(want))))
		fail_msg("%.17g instead of %.17g", got, want);
}

/* The trainer's run, without its programs. */
struct setup {
	struct run r;
	struct rt_trainer t;
	struct stage_config stages[2];
	struct rt_msg m;
};

static struct setup *
open_setup(const char *first, const char *second)
{
	struct setup *x = calloc(1, sizeof *x);

	x->r.t = &x->t;
	x->r.stages = x->stages;
	x->r.batches.per_epoch = 8;
	x->t.nstages = second ? 2 : 1;
	if (!stage_config_parse(&x->stages[0], first, &x->r.region, &x->m) ||
	    (second && !stage_config_parse(&x->stages[1], second, &x->r.region, &x->m)))
		fail_msg("%s", x->m.text);
	return x;
}

static void
close_setup(struct setup *x)
{
	region_free(&x->r.region);
	free(x);
}

static double
at(struct setup *x, const char *name, int64_t epoch, int64_t step)
{
	x->r.cur.epoch = epoch;
	x->r.cur.step = step;
	return run_dial(&x->r, name);
}

static void
curves(void **state)
{
	struct setup *x = open_setup(stage_text, NULL);

	(void)state;
	for (int step = 0; step < 8 * 6; step++) {
		double t = step / 8.0, c = t < 1.5 ? 0 : t > 4 ? 1 : (t - 1.5) / 2.5;

		close_to(at(x, "a.weight", step / 8, step % 8), 1000 - 5 * t);
		close_to(at(x, "a.temperature", step / 8, step % 8), 4.5 + 3.5 * cos(M_PI * c));
		close_to(at(x, "b.p", step / 8, step % 8), t >= 4 ? 1 : 16 * pow(2, -t));
		close_to(at(x, "b.weight", step / 8, step % 8), t < 3 ? 0.25 : 4);
		close_to(at(x, "c.weight", step / 8, step % 8), t < 2 ? 3 : 7);
		close_to(at(x, "d.weight", step / 8, step % 8), 5);
	}
	close_to(at(x, "a.weight", 8, 8), 955); /* the evaluation of the last epoch */
	assert_true(isnan(at(x, "a.p", 0, 0)) && !run_has_dial(&x->r, "a.p"));
	close_setup(x);
}

/* An evaluation that is another stage's. */
static void
stages(void **state)
{
	struct setup *x =
	    open_setup("dial \"a.weight\" 2 6 0 2 linear\n", "dial \"b.weight\" 1 0 0 2 linear\n");

	(void)state;
	close_to(at(x, "a.weight", 1, 0), 4);
	close_to(at(x, "b.weight", 1, 0), 1);
	x->r.cur.stage = 1;
	close_to(at(x, "a.weight", 1, 0), 6);
	close_to(at(x, "b.weight", 1, 0), 0.5);
	close_setup(x);
}

static struct setup *
open_tasks(const char *method)
{
	static struct cfg_task tasks[] = {
	    {.name = "one", .nmetrics = 1, .metrics = {{.name = "accuracy"}}}, {.name = "idle"},
	    {.name = "two", .nmetrics = 1, .metrics = {{.name = "f1"}}},
	    {.name = "three", .nmetrics = 1, .metrics = {{.name = "miou"}}}};
	static char text[400];

	snprintf(text, sizeof text,
	    "dial \"$task.one\" 1 0 0 0 fixed\ndial \"$task.two\" 0.5 0 0 0 fixed\n"
	    "dial \"$task.three\" 1.5 0 0 0 fixed\n%s\n",
	    method);
	struct setup *x = open_setup(text, NULL);

	x->r.cfg.tasks = tasks;
	x->r.cfg.ntasks = 4;
	task_weights_begin(&x->r);
	return x;
}

/* What the record says of an epoch's weights, after losses or metrics of that epoch. */
static void
epoch(struct setup *x, const char *const *key, const double *value, const double *want)
{
	static const char *const weight[] = {
	    "task_weight.one", "task_weight.two", "task_weight.three"};
	static const char *const dial[] = {"$task.one", "$task.two", "$task.three"};
	struct record rec = {0};

	for (int i = 0; i < 3; i++) {
		close_to(task_weight(&x->r, dial[i]), want[i]);
		assert_true(record_add(&rec, key[i], value[i]));
	}
	assert_true(task_weights_epoch(&x->r, &rec));
	for (int i = 0; i < 3; i++)
		close_to(record_get(&rec, weight[i]), want[i]);
	record_free(&rec);
}

static void
dwa(void **state)
{
	static const char *const key[] = {"task_loss.one", "task_loss.two", "task_loss.three"};
	static const double loss[4][3] = {{2, 3, 0.5}, {1, 2.7, 0.6}, {0.9, 1, 0.6}, {0.8, 1, 0.1}};
	double want[3] = {1, 0.5, 1.5}, T = 2;
	struct setup *x = open_tasks("task_weights dwa 2");

	(void)state;
	for (int e = 0; e < 4; e++) {
		double sum = 0, part[3];

		if (e >= 2) {
			for (int k = 0; k < 3; k++)
				sum += part[k] = exp(loss[e - 1][k] / loss[e - 2][k] / T);
			for (int k = 0; k < 3; k++)
				want[k] = 3 * part[k] / sum;
		}
		epoch(x, key, loss[e], want);
	}
	task_weights_begin(&x->r); /* another stage: nothing is remembered */
	close_to(task_weight(&x->r, "$task.two"), 0.5);
	close_setup(x);
}

static void
val_metric(void **state)
{
	static const char *const key[] = {"val.one.accuracy", "val.two.f1", "val.three.miou"};
	static const double m[3][3] = {{0.9, 0.5, 0.2}, {0.95, 1, 0}, {0.5, 0.5, 0.5}};
	double want[3] = {1, 0.5, 1.5}, gamma = 1.5;
	struct setup *x = open_tasks("task_weights val_metric 1.5");

	(void)state;
	for (int e = 0; e < 3; e++) {
		double sum = 0, part[3];

		epoch(x, key, m[e], want);
		for (int k = 0; k < 3; k++) {
			double v = m[e][k] < 0.001 ? 0.001 : m[e][k] > 0.999 ? 0.999 : m[e][k];

			sum += part[k] = -pow(1 - v, gamma) * log(v);
		}
		for (int k = 0; k < 3; k++)
			want[k] = 3 * part[k] / sum;
	}
	close_setup(x);
}

static void
refused(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {{"dial \"a.b\" 1 2 0 1 cubic\n", "unknown curve"},
	    {"dial \"a.b\" 1 2 3 1 linear\n", "is not a number in 3"},
	    {"dial \"a.b\" 0 2 0 1 exponential\n", "between positive numbers"},
	    {"dial \"a.b\" 1 2 0 1\n", "wrong number of values"},
	    {"task_weights dwb 2\n", "expected dwa or val_metric"},
	    {"task_weights dwa 0\n", "is not a number"}};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct stage_config c;
		struct region r = {0};
		struct rt_msg m = {0};

		assert_false(stage_config_parse(&c, bad[i].text, &r, &m));
		if (!strstr(m.text, bad[i].says))
			fail_msg("%s: %s", bad[i].text, m.text);
		region_free(&r);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(curves), cmocka_unit_test(stages),
	    cmocka_unit_test(dwa), cmocka_unit_test(val_metric), cmocka_unit_test(refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
