/* Maps of what an answer depends on, in compiled code: gradients against central
 * differences of the compiled model, integrated gradients by their completeness (their sum
 * is F(x) - F(0)), copies of the model against one of a larger batch, tokens. */
#include "tests/unit.h"

#include "codegen/codegen.h"
#include "numeric.h"
#include "passes/saliency.h"

#include <math.h>
#include <string.h>

enum { ROWS = 2, C = 3, W = 4, HIDDEN = 9, CLASSES = 5, TOKENS = 6, WORDS = 11 };

static struct arena *arena;
static struct diag diag;
static struct target *target;

#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}

/* logits = V tanh(U x + x_0) of x [rows, C, W]; scale: a dial for the curvature */
static struct graph *
model(int64_t rows, double scale)
{
	struct graph *g = graph_create(arena, "model.onnx");
	struct build b = build_at(g, &diag, LOC_NONE, NULL);
	struct value *u = graph_const(g, "u", noise_tensor(arena, DT_f32, DIMS(HIDDEN, C * W), 1, 0, scale));
	struct value *v = graph_const(g, "v", noise_tensor(arena, DT_f32, DIMS(CLASSES, HIDDEN), 2, 0, 1));
	struct value *x = graph_input(g, "x", DT_f32, DIMS(rows, C, W)), *h;

	h = b_contract(&b, "mk,nk->mn", b_reshape(&b, x, 2, (int64_t[]){rows, C * W}), u);
	h = b1(&b, OP_tanh, b_adds(&b, h, 0.3));
	graph_output(g, "logits", b_contract(&b, "mk,nk->mn", h, v));
	return g;
}

/* logits [rows, CLASSES] = V tanh of the mean of embeddings */
static struct graph *
text(int64_t rows)
{
	struct graph *g = graph_create(arena, "text.onnx");
	struct build b = build_at(g, &diag, LOC_NONE, NULL);
	struct value *e = graph_const(g, "e", noise_tensor(arena, DT_f32, DIMS(WORDS, HIDDEN), 3, 0, 1));
	struct value *v = graph_const(g, "v", noise_tensor(arena, DT_f32, DIMS(CLASSES, HIDDEN), 4, 0, 1));
	struct value *ids = graph_input(g, "ids", DT_i64, DIMS(rows, TOKENS)), *h = b_gather(&b, e, ids, 0);

	h = b1(&b, OP_tanh, b_mean(&b, h, 1, (int64_t[]){1}, false));
	graph_output(g, "logits", b_contract(&b, "mk,nk->mn", h, v));
	return g;
}

/* The outputs of the compiled graph, one after the other, for inputs of `bytes`. */
static const float *const *
run(struct graph *g, const void *in, size_t bytes)
{
	struct pass_opts opts = {.machine = *target_machine(target), .opt_level = 2, .verify_each = true};
	struct pass_ctx ctx = {.arena = arena, .diag = &diag, .opts = &opts};
	struct program *p = compile_graph(g, &ctx);
	struct jit *j = p ? jit_open(target, p, "{}", &diag) : NULL;
	const struct rt_program *rt;
	const float **out;
	void **base;

	if (!j)
		fail_msg("not compiled: %s", diag.text.s);
	rt = jit_program(j);
	assert_int_equal(rt->ninputs, 1);
	assert_int_equal(rt->inputs[0].bytes, bytes);
	base = arena_array(arena, void *, 4 + rt->noutputs);
	out = arena_array(arena, const float *, rt->noutputs + 1);
	base[0] = rt_alloc((size_t)rt->work_bytes + RT_ALIGN);
	base[1] = (void *)(uintptr_t)rt->constants;
	base[2] = rt_alloc((size_t)rt->state_bytes + RT_ALIGN);
	base[3] = (void *)(uintptr_t)in;
	for (int i = 0; i < rt->noutputs; i++)
		out[i] = base[4 + i] = arena_alloc(arena, (size_t)rt->outputs[i].bytes + 1);
	rt_run(NULL, rt, base, NULL);
	rt_free(base[0]);
	rt_free(base[2]);
	jit_close(j);
	return out;
}

static const float *
sample(void)
{
	static _Alignas(64) float x[ROWS * C * W];
	uint64_t seed = 5;

	for (int i = 0; i < ROWS * C * W; i++)
		x[i] = (float)noise(&seed);
	return x;
}

/* [logits, saliency.x] of the model with its maps; wide: in one copy of a larger batch. */
static const float *const *
explained(struct saliency s, double scale, bool wide)
{
	struct graph *g = model(ROWS, scale);

	if (!saliency_build(g, wide ? model(ROWS * saliency_points(&s), scale) : NULL, &s, &diag))
		fail_msg("%s", diag.text.s);
	assert_int_equal(g->outputs.n, 2);
	assert_string_equal(g->output_names.v[1], "saliency.x");
	return run(g, sample(), sizeof(float) * ROWS * C * W);
}

static const float *
logits(const float *x, double scale)
{
	return run(model(ROWS, scale), x, sizeof(float) * ROWS * C * W)[0];
}

static int
largest(const float *row)
{
	int best = 0;

	for (int c = 1; c < CLASSES; c++)
		best = row[c] > row[best] ? c : best;
	return best;
}

static void
gradients(void **state)
{
	static const int64_t classes[] = {-1, 2};
	_Alignas(64) float x[ROWS * C * W];
	const float h = 0.02f;

	(void)state;
	for (int t = 0; t < 2; t++) {
		const float *const *got = explained((struct saliency){SALIENCY_gradient, .class = classes[t]}, 0.5, false);
		const float *const *by = explained((struct saliency){SALIENCY_gradient_input, .class = classes[t]}, 0.5, true);

		for (int i = 0; i < ROWS * C * W; i++) {
			int row = i / (C * W), c = classes[t] < 0 ? largest(got[0] + row * CLASSES) : (int)classes[t];
			double up, down;

			memcpy(x, sample(), sizeof x);
			x[i] += h;
			up = logits(x, 0.5)[row * CLASSES + c];
			x[i] -= 2 * h;
			down = logits(x, 0.5)[row * CLASSES + c];
			assert_float_equal(got[1][i], (up - down) / (2 * (double)h), 2e-3);
			assert_float_equal(by[1][i], got[1][i] * sample()[i], 1e-6);
		}
	}
}

static void
completeness(void **state)
{
	_Alignas(64) float zero[ROWS * C * W] = {0};
	const float *at_zero = logits(zero, 1);

	(void)state;
	for (int wide = 0; wide < 2; wide++) {
		const float *const *got = explained((struct saliency){SALIENCY_integrated, .steps = 40, .class = -1}, 1, wide);

		for (int r = 0; r < ROWS; r++) {
			int c = largest(got[0] + r * CLASSES);
			double sum = 0;

			for (int i = 0; i < C * W; i++)
				sum += got[1][r * C * W + i];
			/* the midpoint rule's error falls with the square of the steps */
			assert_float_equal(sum, got[0][r * CLASSES + c] - at_zero[r * CLASSES + c], 2e-3);
		}
	}
}

/* The noise averages out as far as the model is linear; without noise it is the gradient. */
static void
smooth(void **state)
{
	const float *const *g = explained((struct saliency){SALIENCY_gradient, .class = -1}, 0.5, false);

	(void)state;
	for (int wide = 0; wide < 2; wide++) {
		const float *const *none = explained((struct saliency){SALIENCY_smoothgrad, .steps = 4, .class = -1}, 0.5, wide);
		const float *const *some = explained((struct saliency){SALIENCY_smoothgrad, .steps = 4, .noise = 0.15, .class = -1}, 0.5, wide);
		double moved = 0;

		for (int i = 0; i < ROWS * C * W; i++) {
			assert_float_equal(none[1][i], g[1][i], 1e-5);
			moved = fmax(moved, fabs((double)some[1][i] - (double)g[1][i]));
		}
		assert_true(moved > 1e-3 && moved < 1);
	}
}

/* One number for each token; over all of them complete from the empty embedding on. */
static void
tokens(void **state)
{
	static _Alignas(64) int64_t ids[ROWS * TOKENS];
	struct saliency s = {SALIENCY_integrated, .steps = 50, .class = -1};
	struct value *v;

	(void)state;
	for (int i = 0; i < ROWS * TOKENS; i++)
		ids[i] = i * 5 % WORDS;
	for (int wide = 0; wide < 2; wide++) {
		struct graph *g = text(ROWS);
		const float *const *got;

		assert_true(saliency_build(g, wide ? text(ROWS * s.steps) : NULL, &s, &diag));
		v = g->outputs.v[1];
		assert_true(v->rank == 2 && v->dims[1] == TOKENS);
		got = run(g, ids, sizeof ids);
		for (int r = 0; r < ROWS; r++) {
			const float *z = got[0] + r * CLASSES;
			double sum = 0;

			for (int i = 0; i < TOKENS; i++)
				sum += got[1][r * TOKENS + i];
			assert_float_equal(sum, z[largest(z)], 2e-3); /* F(0) = V tanh(0) = 0 */
		}
	}
}

static void
refused(void **state)
{
	struct saliency s = {SALIENCY_gradient, .class = CLASSES};

	(void)state;
	assert_false(saliency_build(model(ROWS, 1), NULL, &s, &diag));
	assert_non_null(strstr(diag.text.s, "no class 5 in an output [2,5]"));
	s = (struct saliency){SALIENCY_gradient, .class = -1, .output = "logit"};
	assert_false(saliency_build(model(ROWS, 1), NULL, &s, &diag));
	assert_non_null(strstr(diag.text.s, "did you mean \"logits\"?"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gradients), cmocka_unit_test(completeness), cmocka_unit_test(smooth),
	    cmocka_unit_test(tokens),    cmocka_unit_test(refused),
	};
	int failed;

	arena = arena_create();
	diag_init(&diag, NULL);
	target = target_open(&(struct target_opts){.opt_level = 2}, &diag);
	failed = target ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
	target_close(target);
	diag_free(&diag);
	arena_destroy(arena);
	return failed;
}
