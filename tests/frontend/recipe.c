/* recipe: every key read; every mistake named with its line, all at once.
 * tests/diag/NAME.yaml has its exact report beside it in NAME.err
 * (RETORT_BLESS=1 writes them). */
#include "frontend/recipe.h"
#include "tests/unit.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static struct arena *arena;
static struct diag diag;

static int
setup(void **state)
{
	(void)state;
	arena = arena_create();
	diag_init(&diag, NULL);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	diag_free(&diag);
	arena_destroy(arena);
	return 0;
}

static struct recipe *
good(const char *root)
{
	struct recipe *r = recipe_read(arena, "tests/diag/good.yaml", root, &diag);

	if (!r)
		fail_msg("%s", diag.text.s);
	return r;
}

static void
data_and_models(void **state)
{
	struct recipe *r = good(NULL);
	const struct recipe_field *label = &r->train.fields[1];
	const struct recipe_input *in = &r->student.inputs[0];

	(void)state;
	assert_string_equal(r->name, "good");
	assert_int_equal(r->seed, 7);
	assert_string_equal(r->data_root, "tests/diag/data/mnist");
	assert_int_equal(r->train.n, 2);
	assert_string_equal(label->file, "tests/diag/data/mnist/train-labels-idx1-ubyte.gz");
	assert_int_equal(label->classes, 10);
	assert_true(label->has_ignore && label->ignore == -1);
	assert_string_equal(label->balance, "inverse_freq");
	assert_string_equal(r->val.from, "train");
	assert_true(r->val.fraction == 0.1);
	assert_int_equal(r->batch, 128);
	assert_false(r->shuffle || r->drop_last);
	assert_int_equal(r->naugment, 4);
	assert_true(r->augments[0].v[0] == 0.5 && r->augments[1].v[0] == 4 && r->augments[2].v[0] == 8);
	assert_string_equal(r->student.path, "tests/diag/students/small.onnx");
	assert_true(in->scale == 0.5 && in->offset == 1 && in->nnorm == 2 && in->std[1] == 0.4);
	assert_int_equal(in->npad, 4);
	assert_string_equal(r->student.taps[0].onnx, "/c1/Relu_output_0");
	assert_string_equal(r->student.frozen[0], "stem.*");
	assert_string_equal(r->student.init, "kaiming");
	assert_int_equal(r->nteachers, 2);
	assert_string_equal(r->teachers[0].path, "/models/big.onnx");
	assert_string_equal(r->teachers[0].inputs[0].field, "image");
	assert_int_equal(r->teachers[1].ninputs, 2);
	assert_string_equal(r->teachers[1].inputs[1].onnx, "x");
	r = good("/elsewhere");
	assert_string_equal(r->train.fields[0].file, "/elsewhere/train-images-idx3-ubyte.gz");
}

static void
terms_and_stages(void **state)
{
	struct recipe *r = good(NULL);
	const struct recipe_stage *s = r->stages;

	(void)state;
	assert_int_equal(r->ntasks, 1);
	assert_true(r->tasks[0].weight == 2 && r->tasks[0].nmetrics == 2);
	assert_int_equal(r->nterms, 3);
	assert_true(r->terms[1].temperature.from == 4 && r->terms[1].tau_squared);
	assert_true(r->terms[0].temperature.from == 1);
	assert_true(r->terms[1].weight.from == 0.9 && r->terms[1].weight.to == 0.1 && r->terms[1].weight.begin == 0.5 &&
		    r->terms[1].weight.end == 5 && r->terms[1].weight.curve == DIAL_COSINE);
	assert_int_equal(r->terms[1].nteachers, 2);
	assert_string_equal(r->terms[1].teachers[1], "other.y");
	assert_int_equal(r->terms[2].adaptor.kind, ADAPTOR_AUTO);
	assert_int_equal(r->nstages, 2);
	assert_string_equal(s[0].name, "stage1");
	assert_int_equal(s[0].update.optimizer.kind, OPT_SGD);
	assert_true(s[0].update.optimizer.nesterov == 1 && s[0].update.optimizer.weight_decay == 5e-4);
	assert_int_equal(s[0].nterms, 1);
	assert_string_equal(s[0].terms[0].name, "feat");
	assert_string_equal(s[0].frozen[0], "fc.*");
	assert_string_equal(s[1].name, "second");
	assert_int_equal(s[1].epochs, 10);
	assert_int_equal(s[1].update.optimizer.kind, OPT_ADAMW);
	assert_true(s[1].update.optimizer.beta1 == 0.8 && s[1].update.optimizer.beta2 == 0.99 &&
		    s[1].update.optimizer.weight_decay == 0.01);
	assert_string_equal(s[1].schedule.kind, "multistep");
	assert_string_equal(s[1].schedule.keys[0].key, "gamma");
	assert_true(s[1].schedule.keys[0].value == 0.2 && s[1].schedule.warmup_epochs == 0.5);
	assert_int_equal(s[1].schedule.milestones[1], 8);
	assert_true(s[1].batch_norm_frozen && !s[0].batch_norm_frozen);
	assert_int_equal(s[1].nterms, 0);
	assert_int_equal(r->early_patience, 3);
	assert_string_equal(r->early_monitor, "val.cls.accuracy");
	assert_string_equal(r->cached[0], "big");
	assert_string_equal(r->library_name, "small");
	assert_true(r->emit_static && !r->emit_shared && !r->emit_exe && r->emit_onnx);
}

static void
check_report(const char *yaml)
{
	const char *err = arena_printf(arena, "%.*s.err", (int)strlen(yaml) - 5, yaml);
	char *want;
	struct diag d;
	size_t size;

	diag_init(&d, NULL);
	assert_null(recipe_read(arena, yaml, NULL, &d));
	assert_int_equal(d.status, STATUS_INVALID);
	if (getenv("RETORT_BLESS")) {
		assert_true(file_write(&diag, err, d.text.s, d.text.n));
	} else {
		want = file_read(&diag, err, &size);
		assert_non_null(want);
		assert_string_equal(d.text.s, want);
		free(want);
	}
	diag_free(&d);
}

static void
reports(void **state)
{
	DIR *d = opendir("tests/diag");
	struct dirent *e;
	int n = 0;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d)))
		if (str_ends(e->d_name, ".yaml") && strcmp(e->d_name, "good.yaml") != 0) {
			check_report(arena_printf(arena, "tests/diag/%s", e->d_name));
			n++;
		}
	closedir(d);
	assert_true(n >= 8);
}

static void
several_sets(void **state)
{
	static const char text[] = "retort: 1\ndata:\n  root: d\n  sets:\n"
				   "    a: {train: {image: i.npy, la: l.npy}, test: {image: i.npy, "
				   "la: l.npy}, batch: 64, limit: 10000}\n"
				   "    b: {root: e, train: {mel: m.npy, lb: l.npy}, batch: 32}\n"
				   "models:\n  student: {onnx: s.onnx, inputs: {x: [{field: image, "
				   "pad: [2, 1, 2, 1]}, {field: mel}]}, outputs: {a: a, b: b}}\n"
				   "tasks: {a: {head: student.a, target: la, data: a}, b: {head: "
				   "student.b, target: lb, data: b}}\n"
				   "terms: {a: {task: a, loss: ce}, b: {task: b, loss: ce}}\n"
				   "train: {epochs: 1, optimizer: {sgd: {lr: 0.1}}}\n";
	char path[] = "/tmp/retort-recipe-XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");
	struct recipe *r;

	(void)state;
	fputs(text, f);
	fclose(f);
	r = recipe_read(arena, path, NULL, &diag);
	remove(path);
	if (!r)
		fail_msg("%s", diag.text.s);
	assert_int_equal(r->nsets, 2);
	assert_int_equal(r->sets[0].batch, 64);
	assert_int_equal(r->sets[0].limit, 10000);
	assert_string_equal(r->sets[1].train.fields[0].file, "/tmp/d/e/m.npy");
	assert_int_equal(r->student.ninputs, 2);
	assert_string_equal(r->tasks[1].data, "b");
	assert_true(r->emit_static && r->emit_shared && r->emit_exe && r->emit_onnx);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(data_and_models), T(terms_and_stages), T(reports), T(several_sets)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
