/* Several models in one step: the gradients that the models' updates took, against central
 * differences of the loss; what a turn leaves alone; turns against steps that follow each
 * other. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "numeric.h"
#include "passes/distill.h"

enum { ROWS = 5, NOISE = 3, WIDE = 4, CLASSES = 3 };
#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}

/* z -> gen -> x, x -> judge -> score, x -> teacher -> logits; all one layer and tanh. */
struct setup {
	struct arena *a;
	struct diag d;
	struct distill s;
	struct distill_model students[2], teacher;
	struct distill_input in[4];
	struct distill_name names[4];
	struct distill_field field[2];
	struct distill_term term[3];
	struct distill_turn turn[2];
};

static struct graph *
layer(struct setup *s, const char *name, int64_t in, int64_t out, bool state, uint64_t seed, struct value **x)
{
	struct graph *g = graph_create(s->a, name);
	struct build b = build_at(g, &s->d, LOC_NONE, NULL);
	struct tensor *t = noise_tensor(s->a, DT_f32, DIMS(out, in), seed, 0, 0.9);
	struct value *w;

	*x = graph_input(g, "x", DT_f32, DIMS(ROWS, in));
	w = state ? graph_state(g, "w", t, true) : graph_const(g, "w", t);
	graph_output(g, "y", b1(&b, OP_tanh, b_contract(&b, "mk,nk->mn", *x, w)));
	return g;
}

static struct distill_model
model(struct setup *s, int k, const char *name, const char *prefix, int64_t in, int64_t out)
{
	struct distill_model m = {.name = name, .prefix = prefix, .ninputs = 1, .inputs = &s->in[k], .nnames = 1, .noutputs = 1, .names = &s->names[k]};

	s->in[k] = (struct distill_input){.scale = 1};
	s->names[k] = (struct distill_name){.name = "y", .onnx = "y"};
	m.graph = m.graph_eval = layer(s, name, in, out, prefix != NULL, 5 + (uint64_t)k, &s->in[k].value);
	return m;
}

static void
set_up(struct setup *s)
{
	static const char *const on_real[] = {"judge.y"}, *const on_made[] = {"made.y"}, *const of_made[] = {"t.y"};

	*s = (struct setup){.a = arena_create()};
	diag_init(&s->d, NULL);
	s->s = (struct distill){.name = "t", .batch = ROWS, .seed = 3, .nfields = 2, .fields = s->field, .nstudents = 2,
	    .students = s->students, .nteachers = 1, .teachers = &s->teacher, .nterms = 3, .terms = s->term,
	    .update.optimizer = {.kind = OPT_SGD, .lr = 1}};
	s->field[0] = (struct distill_field){.name = "z", .dtype = DT_f32, .rank = 1, .dims = {NOISE}};
	s->field[1] = (struct distill_field){.name = "real", .dtype = DT_f32, .rank = 1, .dims = {WIDE}};
	s->s.student = model(s, 0, "student", "", NOISE, WIDE);
	s->students[0] = model(s, 1, "judge", "judge/", WIDE, 1);
	s->students[1] = model(s, 2, "made", "made/", WIDE, 1);
	s->students[1].weights = WEIGHTS_SHARED;
	s->students[1].of = &s->students[0];
	s->teacher = model(s, 3, "t", NULL, WIDE, CLASSES);
	s->in[0].field = "z";
	s->in[1].field = "real";
	s->in[2].from = s->in[3].from = "student.y";
	for (int i = 0; i < 3; i++)
		s->term[i] = (struct distill_term){.name = i == 0 ? "real" : i == 1 ? "fool" : "sure", .loss = i == 2 ? "one_hot" : "gan",
		    .weight = {.from = i + 1}, .temperature = {.from = 1}, .nstudents = 1,
		    .students = i == 0 ? on_real : i == 1 ? on_made : of_made, .loc = LOC_NONE};
}

static void
tear_down(struct setup *s)
{
	diag_free(&s->d);
	arena_destroy(s->a);
}

struct results { struct graph *g; struct etensor **out, **next; };

static struct results
evaluate(struct setup *s)
{
	struct graph *g = distill_train_graph(s->a, &s->s, &s->d);
	struct eval_opts opts = {.arena = s->a};
	struct results r;
	struct etensor **in;

	if (!g)
		fail_msg("%s", s->d.text.s);
	graph_verify(g, "distill");
	in = arena_array(s->a, struct etensor *, g->inputs.n + 1);
	r = (struct results){g, arena_array(s->a, struct etensor *, g->outputs.n + 1), arena_array(s->a, struct etensor *, g->updates.n + 1)};
	for (int i = 0; i < g->inputs.n; i++) {
		const struct value *v = g->inputs.v[i];
		uint64_t seed = (unsigned char)v->name[0];

		in[i] = etensor_new(s->a, v->dtype, v->rank, v->dims);
		for (int64_t k = 0; k < in[i]->count; k++)
			et_put(in[i], k, v->name[0] == '$' ? 1 : (float)noise(&seed));
	}
	assert_true(eval_graph(&opts, g, in, r.out, r.next, NULL, &s->d));
	return r;
}

static double
loss(struct setup *s)
{
	struct results r = evaluate(s);

	for (int i = 0; i < r.g->outputs.n; i++)
		if (strcmp(r.g->output_names.v[i], "loss") == 0)
			return et_get(r.out[i], 0);
	fail_msg("no loss");
	return 0;
}

/* What the step makes of a state; NULL: it does not move it. */
static const struct etensor *
moved(const struct results *r, const char *state)
{
	for (int i = 0; i < r->g->updates.n; i++)
		if (strcmp(r->g->updates.v[i].state->name, state) == 0)
			return r->next[i];
	return NULL;
}

static struct tensor *
weights(const struct graph *g)
{
	return (struct tensor *)(uintptr_t)g->states.v[0]->data;
}

/* w - next = the gradient, at rate 1; t: where w stands, other: a copy with the same content */
static void
check_gradient(struct setup *s, const char *state, struct tensor *t, struct tensor *other)
{
	const double h = 1.0 / 256;
	struct results r = evaluate(s);
	const struct etensor *next = moved(&r, state);

	assert_non_null(next);
	for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
		double w = dtype_get_f(DT_f32, t->data, i), up, down;

		for (int k = 0; k < 2; k++) {
			dtype_put_f(DT_f32, t->data, i, w + (k ? -h : h));
			if (other)
				dtype_put_f(DT_f32, other->data, i, w + (k ? -h : h));
			*(k ? &down : &up) = loss(s);
		}
		dtype_put_f(DT_f32, t->data, i, w);
		if (other)
			dtype_put_f(DT_f32, other->data, i, w);
		assert_float_equal((up - down) / (2 * h), w - et_get(next, i), 2e-3);
	}
}

/* Through the judge's copy and a frozen teacher into the generator; both uses of the judge. */
static void
gradients(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s);
	check_gradient(&s, "w", weights(s.s.student.graph), NULL);
	check_gradient(&s, "judge/w", weights(s.students[0].graph), weights(s.students[1].graph));
	tear_down(&s);
}

/* A model that is only a teacher, an input that is cut, a turn that trains another: none moves. */
static void
cuts(void **state)
{
	static const char *const judge[] = {"judge"};
	struct results r;
	struct setup s;

	(void)state;
	set_up(&s);
	s.in[2].detach = s.in[3].detach = true;
	r = evaluate(&s);
	assert_null(moved(&r, "w"));
	assert_non_null(moved(&r, "judge/w"));
	s.in[2].detach = s.in[3].detach = false;
	s.s.ntrains = 1;
	s.s.trains = judge;
	r = evaluate(&s);
	assert_null(moved(&r, "w"));
	s.s.ntrains = 0;
	s.s.nterms = 1;
	s.in[1].field = NULL;
	s.in[1].from = "student.y";
	s.term[0].loss = "mse"; /* judge.y is compared with itself: a teacher's side gives nothing */
	s.term[0].nteachers = 1;
	s.term[0].teachers = s.term[0].students;
	r = evaluate(&s);
	for (int64_t i = 0; i < moved(&r, "w")->count; i++)
		assert_float_equal(et_get(moved(&r, "w"), i), dtype_get_f(DT_f32, weights(s.s.student.graph)->data, i), 0);
	tear_down(&s);
}

/* Two turns in a step are two steps, the second of weights that the first left. */
static void
turns(void **state)
{
	static const char *const judge[] = {"judge"}, *const gen[] = {"student"}, *const first[] = {"real"}, *const second[] = {"fool", "sure"};
	struct setup s;
	struct results both, one, two;
	const struct etensor *j, *w;

	(void)state;
	set_up(&s);
	s.turn[0] = (struct distill_turn){1, first, 1, judge, 2, LOC_NONE};
	s.turn[1] = (struct distill_turn){2, second, 1, gen, 1, LOC_NONE};
	s.s.nturns = 2;
	s.s.turns = s.turn;
	both = evaluate(&s);
	s.s.nturns = 1;
	s.turn[0].times = 1;
	for (int k = 0; k < 2; k++) {
		one = evaluate(&s);
		j = moved(&one, "judge/w");
		assert_null(moved(&one, "w"));
		for (int64_t i = 0; i < j->count; i++) {
			dtype_put_f(DT_f32, weights(s.students[0].graph)->data, i, et_get(j, i));
			dtype_put_f(DT_f32, weights(s.students[1].graph)->data, i, et_get(j, i));
		}
	}
	for (int64_t i = 0; i < j->count; i++)
		assert_float_equal(et_get(moved(&both, "judge/w"), i), et_get(j, i), 1e-6);
	s.s.turns = s.turn + 1;
	two = evaluate(&s);
	w = moved(&two, "w");
	assert_null(moved(&two, "judge/w"));
	for (int64_t i = 0; i < w->count; i++)
		assert_float_equal(et_get(moved(&both, "w"), i), et_get(w, i), 1e-6);
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(gradients), cmocka_unit_test(cuts), cmocka_unit_test(turns)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
