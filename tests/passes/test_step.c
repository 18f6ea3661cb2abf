/* One training step of the shared students through the evaluator, against
 * PyTorch's: loss and its terms, every gradient, weights after one and three steps
 * of SGD and Adam.  ../shared/data/vectors/NAME/step, its README has the recipe. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "frontend/frontend.h"
#include "numeric.h"
#include "passes/distill.h"

struct step {
	struct arena *a;
	struct diag d;
	const char *dir;  /* vectors/NAME/step */
	const char *data; /* shared/data */
	struct tensor *x, *label;
	struct distill s;
	struct distill_model teacher;
	struct distill_input in[2];
	struct distill_name name;
	struct distill_field field[2];
	struct distill_task task;
	struct distill_term term[2];
	const char *teachers[1];
	struct graph *g;
};

static const char *
shared(void)
{
	const char *s = getenv("RETORT_SHARED");

	return s ? s : "../shared";
}

static struct tensor *
vector(struct step *s, const char *name)
{
	struct tensor *t = npy_read(s->a, arena_printf(s->a, "%s/%s.npy", s->dir, name), &s->d);

	if (!t)
		fail_msg("%s", s->d.text.s);
	return t;
}

static struct graph *
import(struct step *s, const char *path, bool student, bool training, int k)
{
	struct input_shape shape = {.rank = 1, .dims = {32}};
	struct import_opts o = {.states = student, .training = training, .nshapes = 1, .shapes = &shape};
	struct graph *g;

	shape.input = "image";
	g = onnx_import(s->a, path_join(s->a, s->data, path), &o, &s->d);
	if (!g)
		fail_msg("%s", s->d.text.s);
	s->in[k] = (struct distill_input){.value = g->inputs.v[0], .field = "x", .scale = 1};
	return g;
}

static void
open_step(struct step *s, const char *student, const char *teacher, struct optimizer o)
{
	*s = (struct step){.a = arena_create()};
	diag_init(&s->d, NULL);
	s->data = arena_printf(s->a, "%s/data", shared());
	s->dir = arena_printf(s->a, "%s/vectors/%s/step", s->data, student);
	s->x = vector(s, "x");
	s->label = vector(s, "label");
	s->name = (struct distill_name){.name = "y", .onnx = "logits"};
	s->field[0] = (struct distill_field){.name = "x", .dtype = s->x->dtype, .rank = s->x->rank - 1};
	memcpy(s->field[0].dims, s->x->dims + 1, sizeof s->x->dims[0] * (size_t)s->field[0].rank);
	s->field[1] = (struct distill_field){.name = "label", .dtype = s->label->dtype, .classes = 10};
	s->teachers[0] = "big.y";
	s->task = (struct distill_task){.name = "cls", .head = "student.y", .target = "label", .weight = 1, .loc = LOC_NONE};
	s->term[0] = (struct distill_term){.name = "ce", .task = "cls", .loss = "ce", .weight = {.from = 0.1}, .temperature = {.from = 1}, .loc = LOC_NONE};
	s->term[1] = (struct distill_term){.name = "kl", .task = "cls", .loss = "kd", .weight = {.from = 0.9}, .temperature = {.from = 4}, .tau_squared = true, .nteachers = 1, .teachers = s->teachers, .loc = LOC_NONE};
	s->s = (struct distill){.name = student, .batch = 32, .nfields = 2, .fields = s->field, .nteachers = 1, .teachers = &s->teacher, .ntasks = 1, .tasks = &s->task, .nterms = 2, .terms = s->term, .update.optimizer = o};
	s->s.student = (struct distill_model){.name = "student", .ninputs = 1, .inputs = &s->in[0], .nnames = 1, .names = &s->name};
	s->s.student.graph = import(s, arena_printf(s->a, "students/%s.onnx", student), true, true, 0);
	s->teacher = (struct distill_model){.name = "big", .ninputs = 1, .inputs = &s->in[1], .nnames = 1, .names = &s->name};
	s->teacher.graph = import(s, arena_printf(s->a, "teachers/%s.onnx", teacher), false, false, 1);
	s->g = distill_train_graph(s->a, &s->s, &s->d);
	if (!s->g)
		fail_msg("%s", s->d.text.s);
	graph_verify(s->g, "distill");
}

static void
close_step(struct step *s)
{
	diag_free(&s->d);
	arena_destroy(s->a);
}

static struct etensor **
run_step(struct step *s, double lr, int64_t n, double *loss)
{
	struct graph *g = s->g;
	struct eval_opts opts = {.arena = s->a};
	struct etensor **in = arena_array(s->a, struct etensor *, g->inputs.n + 1);
	struct etensor **out = arena_array(s->a, struct etensor *, g->outputs.n + 1);
	struct etensor **next = arena_array(s->a, struct etensor *, g->updates.n + 1);

	for (int i = 0; i < g->inputs.n; i++) {
		const struct value *v = g->inputs.v[i];

		if (strcmp(v->name, "x") == 0)
			in[i] = etensor_from(s->a, s->x);
		else if (strcmp(v->name, "label") == 0)
			in[i] = etensor_from(s->a, s->label);
		else {
			in[i] = etensor_new(s->a, v->dtype, 0, NULL);
			et_put(in[i], 0, strcmp(v->name, "$lr") == 0 ? (float)lr : (double)n);
		}
	}
	assert_true(eval_graph(&opts, g, in, out, next, NULL, &s->d));
	for (int i = 0; i < g->outputs.n; i++)
		if (strcmp(g->output_names.v[i], "loss") == 0)
			*loss = et_get(out[i], 0);
	return next;
}

/* The states take their next content, rounded to f32 as PyTorch's are. */
static void
commit(struct step *s, struct etensor *const *next)
{
	for (int i = 0; i < s->g->updates.n; i++)
		s->g->updates.v[i].state->data = etensor_to(s->a, next[i]);
}

static double
largest(const struct tensor *t)
{
	double m = 0;

	for (int64_t i = 0, n = tensor_count(t); i < n; i++)
		m = fmax(m, fabs(dtype_get_f(t->dtype, t->data, i)));
	return m;
}

static void
near(const char *what, double got, double want, double tol)
{
	if (!(fabs(got - want) <= tol))
		fail_msg("%s is %.9g, PyTorch has %.9g", what, got, want);
}

/* lr 1 without momentum: the step is the gradient. */
static void
gradients(const char *student, const char *teacher, double tol)
{
	struct step s;
	struct etensor **next;
	double loss = 0;
	int n = 0;

	open_step(&s, student, teacher, (struct optimizer){.kind = OPT_SGD});
	next = run_step(&s, 1, 1, &loss);
	near("loss", loss, dtype_get_f(DT_f32, vector(&s, "loss")->data, 0), 1e-6 * (1 + loss));
	for (int i = 0; i < s.g->updates.n; i++) {
		const struct value *p = s.g->updates.v[i].state;
		struct tensor *want;
		double size;

		if (!p->trainable)
			continue;
		want = vector(&s, arena_printf(s.a, "grad/%s", p->name));
		size = largest(want);
		for (int64_t k = 0; k < next[i]->count; k++)
			near(p->name, dtype_get_f(DT_f32, p->data->data, k) - et_get(next[i], k),
			    dtype_get_f(DT_f32, want->data, k), tol * size + 1e-9);
		n++;
	}
	assert_true(n >= 4);
	close_step(&s);
}

static void
compare_weights(struct step *s, const char *folder, double tol, bool adam)
{
	for (int i = 0; i < s->g->updates.n; i++) {
		const struct value *p = s->g->updates.v[i].state;
		struct tensor *want, *grad = NULL;
		double size;

		if (strchr(p->name, ':'))
			continue;
		want = vector(s, arena_printf(s->a, "%s/%s", folder, p->name));
		if (adam && p->trainable)
			grad = vector(s, arena_printf(s->a, "grad/%s", p->name));
		size = largest(want);
		for (int64_t k = 0, n = tensor_count(want); k < n; k++)
			if (!grad || fabs(dtype_get_f(DT_f32, grad->data, k)) > 1e-6)
				near(p->name, dtype_get_f(DT_f32, p->data->data, k),
				    dtype_get_f(DT_f32, want->data, k), tol * fmax(size, 1e-2));
	}
}

/* tol after one step, tol3 after three: weights with a gradient near zero, which
 * Adam moves by the sign of rounding, have changed the other gradients by then. */
static void
steps(const char *student, const char *teacher, const char *kind, double tol, double tol3)
{
	bool adam = strcmp(kind, "adam") == 0;
	struct optimizer o = {.kind = adam ? OPT_ADAM : OPT_SGD, .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
	struct step s;
	struct tensor *losses;
	double loss = 0;

	open_step(&s, student, teacher, o);
	losses = vector(&s, arena_printf(s.a, "losses_%s", kind));
	for (int k = 1; k <= 3; k++) {
		commit(&s, run_step(&s, adam ? 0.002 : 0.05, k, &loss));
		near("loss", loss, dtype_get_f(DT_f32, losses->data, k - 1), (k > 1 ? tol3 : tol) * (1 + loss));
		if (k != 2)
			compare_weights(&s, arena_printf(s.a, "%s%d", kind, k), k > 1 ? tol3 : tol, adam);
	}
	close_step(&s);
}

static void
mlp_gradients(void **state)
{
	(void)state;
	gradients("mnist_mlp32", "mnist_mlp_teacher", 1e-6);
}

static void
mlp_sgd(void **state)
{
	(void)state;
	steps("mnist_mlp32", "mnist_mlp_teacher", "sgd", 1e-6, 1e-6);
}

static void
mlp_adam(void **state)
{
	(void)state;
	steps("mnist_mlp32", "mnist_mlp_teacher", "adam", 1e-6, 1e-4);
}

static void
cnn_gradients(void **state)
{
	(void)state;
	gradients("mnist_cnn_small", "mnist_cnn_teacher", 1e-5);
}

static void
cnn_sgd(void **state)
{
	(void)state;
	steps("mnist_cnn_small", "mnist_cnn_teacher", "sgd", 2e-6, 1e-5);
}

static void
cnn_adam(void **state)
{
	(void)state;
	steps("mnist_cnn_small", "mnist_cnn_teacher", "adam", 2e-6, 1e-4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mlp_gradients),
	    cmocka_unit_test(mlp_sgd),
	    cmocka_unit_test(mlp_adam),
	    cmocka_unit_test(cnn_gradients),
	    cmocka_unit_test(cnn_sgd),
	    cmocka_unit_test(cnn_adam),
	};
	struct arena *a = arena_create();
	bool there = file_exists(arena_printf(a, "%s/data/vectors", shared()));

	arena_destroy(a);
	if (!there) {
		printf("skipped: %s/data is not there; RETORT_SHARED names another place\n", shared());
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
