/* Gradients against central differences in double, the optimisers against their
 * formulas, and the pipeline's passes against the graph before them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "numeric.h"

struct fixture {
	struct arena *a;
	struct graph *g;
	struct build b;
	struct diag d;
	int n;
	struct value *param[16];
};

static void
open_fixture(struct fixture *f)
{
	*f = (struct fixture){.a = arena_create()};
	diag_init(&f->d, stderr);
	f->g = graph_create(f->a, "net");
	f->b = build_at(f->g, &f->d, LOC_NONE, NULL);
}

static void
close_fixture(struct fixture *f)
{
	diag_free(&f->d);
	arena_destroy(f->a);
}

static struct value *
param(struct fixture *f, const char *name, int rank, const int64_t *dims)
{
	struct tensor *t = noise_tensor(f->a, DT_f32, rank, dims, (uint64_t)f->n + 5, 0.1, 0.6);

	return f->param[f->n++] = graph_state(f->g, name, t, true);
}

#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}

static struct value *
nary(struct build *b, enum op op, struct value *x, struct value *w, int nattr, const struct attr *attr)
{
	struct value *in[2] = {x, w};

	return b_op(b, op, w ? 2 : 1, in, nattr, attr);
}

/* -mean of the label's log-probability; labels [rows] */
static struct value *
cross_entropy(struct build *b, struct value *z, struct value *label)
{
	int64_t axis = 1, dims[2] = {1, z->dims[1]};
	struct value *hot = b2(b, OP_eq, b_iota(b, DT_i64, 2, dims, 1), b_unsqueeze(b, label, 1));
	struct value *l = b_select(b, hot, b_log_softmax(b, z, 1), b_scalar(b, DT_f32, 0));

	l = b_reduce(b, OP_reduce_sum, l, 1, &axis, false);
	return b_neg(b, b_div(b, b_reduce_all(b, OP_reduce_sum, l), b_scalar(b, DT_f32, (double)z->dims[0])));
}

static struct value *
mlp(struct fixture *f)
{
	struct build *b = &f->b;
	struct value *x = graph_input(f->g, "x", DT_f32, DIMS(4, 5));
	struct value *y = graph_input(f->g, "label", DT_i64, DIMS(4));
	struct value *h = b_contract(b, "mk,nk->mn", x, param(f, "w1", DIMS(7, 5)));

	h = b1(b, OP_Relu, b_add(b, h, param(f, "b1", DIMS(7))));
	h = b_contract(b, "mk,kn->mn", h, param(f, "w2", DIMS(7, 3)));
	return cross_entropy(b, b_add(b, h, param(f, "b2", DIMS(3))), y);
}

static struct attr
ints(const char *name, int n, const int64_t *v)
{
	return (struct attr){.name = name, .kind = ATTR_INTS, .n = n, .ints = v};
}

static struct value *
convnet(struct fixture *f)
{
	struct build *b = &f->b;
	static const int64_t s1[2] = {1, 1}, s2[2] = {2, 2}, pads[4] = {1, 1, 1, 1}, none[4] = {0}, k2[2] = {2, 2};
	struct attr conv[4] = {ints("strides", 2, s2), ints("pads", 4, pads), ints("dilations", 2, s1), {.name = "group", .kind = ATTR_INT, .i = 1}};
	struct attr depth[4] = {ints("strides", 2, s1), ints("pads", 4, pads), ints("dilations", 2, s1), {.name = "group", .kind = ATTR_INT, .i = 4}};
	struct attr pool[4] = {ints("kernel", 2, k2), ints("strides", 2, s1), ints("pads", 4, none), ints("dilations", 2, s1)};
	struct value *x = graph_input(f->g, "x", DT_f32, DIMS(2, 3, 8, 7));
	struct value *y = graph_input(f->g, "label", DT_i64, DIMS(2));
	int64_t axes[3] = {0, 2, 3}, sp[2] = {2, 3};
	struct value *h = nary(b, OP_conv, x, param(f, "c1", DIMS(4, 3, 3, 3)), 4, conv), *mean, *var, *d;

	/* batch normalisation by batch statistics */
	mean = b_mean(b, h, 3, axes, true);
	d = b_sub(b, h, mean);
	var = b_mean(b, b_mul(b, d, d), 3, axes, true);
	h = b_mul(b, b_div(b, d, b_sqrt(b, b_adds(b, var, 1e-5))), param(f, "gamma", DIMS(4, 1, 1)));
	h = b1(b, OP_Relu, b_add(b, h, param(f, "beta", DIMS(4, 1, 1))));
	h = nary(b, OP_max_pool, h, NULL, 4, pool);
	h = nary(b, OP_conv, h, param(f, "c2", DIMS(4, 1, 3, 3)), 4, depth);
	h = b1(b, OP_tanh, nary(b, OP_sum_pool, h, NULL, 4, pool));
	h = b_contract(b, "mk,nk->mn", b_mean(b, h, 2, sp, false), param(f, "w", DIMS(3, 4)));
	return cross_entropy(b, h, y);
}

static struct value *
mixed(struct fixture *f)
{
	struct build *b = &f->b;
	struct value *e = param(f, "e", DIMS(3, 4)), *w = param(f, "w", DIMS(4, 6));
	struct value *ids = graph_input(f->g, "ids", DT_i64, DIMS(2, 5));
	int64_t axis = 1;
	struct value *h = b_gather(b, e, ids, 0);
	struct value *p = b_softmax(b, b_contract(b, "btk,kn->btn", h, w), 2);
	struct value *q = b_reduce(b, OP_reduce_max, b_mul(b, p, p), 1, &axis, false);

	q = b_concat(b, 2, (struct value *[]){q, b_exp(b, b_neg(b, q))}, 1);
	q = b_slice(b, q, (int64_t[]){0, 1}, (int64_t[]){2, 5}, (int64_t[]){1, 2});
	q = b_pad(b, q, (int64_t[]){1, 0}, (int64_t[]){0, 2}, 0.5);
	q = b2(b, OP_pow, b1(b, OP_sigmoid, q), b_scalar(b, DT_f32, 1.5));
	return b_reduce_all(b, OP_reduce_sum, b_transpose(b, q, (int64_t[]){1, 0}));
}

static double
loss_at(struct fixture *f)
{
	struct arena *a = arena_create();
	double y = et_get(run_graph(a, f->g, false).out[0], 0);

	arena_destroy(a);
	return y;
}

/* Central differences with a step that f32 holds exactly. */
static void
check_differences(struct fixture *f, struct value *const *grads)
{
	struct arena *a = arena_create();
	struct run r;
	const double h = 0x1p-11;

	for (int i = 0; i < f->n; i++)
		graph_output(f->g, "g", grads[i]);
	graph_verify(f->g, "grad");
	r = run_graph(a, f->g, false);
	for (int i = 0; i < f->n; i++) {
		const struct tensor *t = f->param[i]->data;

		assert_non_null(grads[i]);
		for (int64_t k = 0, n = tensor_count(t); k < n; k += n / 11 + 1) {
			float *w = (float *)t->data + k, old = *w, up = old + (float)h, down = old - (float)h;
			double want, got = et_get(r.out[1 + i], k);

			*w = up;
			want = loss_at(f);
			*w = down;
			want = (want - loss_at(f)) / ((double)up - (double)down);
			*w = old;
			if (fabs(want - got) > 2e-5 * (1 + fabs(want)))
				fail_msg("%s[%lld]: gradient %.9g, differences say %.9g", f->param[i]->name,
				    (long long)k, got, want);
		}
	}
	arena_destroy(a);
}

static void
gradient_of(struct value *(*net)(struct fixture *))
{
	struct fixture f;
	struct value *grads[16], *loss;

	open_fixture(&f);
	loss = net(&f);
	assert_non_null(loss);
	graph_output(f.g, "loss", loss);
	assert_true(grad_build(f.g, loss, f.n, f.param, grads, &f.d));
	check_differences(&f, grads);
	close_fixture(&f);
}

static void
gradient_mlp(void **state)
{
	(void)state;
	gradient_of(mlp);
}

static void
gradient_convnet(void **state)
{
	(void)state;
	gradient_of(convnet);
}

static void
gradient_mixed(void **state)
{
	(void)state;
	gradient_of(mixed);
}

/* Every pass keeps outputs and updates of a whole training step. */
static void
passes_keep(struct value *(*net)(struct fixture *), const struct optimizer *o)
{
	static const char *const names[] = {"dce,simplify,fold", "expand", "simplify", "fold", "cse,simplify,fold,cse,dce"};
	struct fixture f;
	struct value *grads[16], *loss;
	struct run before, after;
	struct pass_opts opts = {.opt_level = 2, .verify_each = true};
	struct pass_ctx ctx = {.opts = &opts};
	struct update_rule rule = {.optimizer = *o};
	struct update_inputs in = {0};

	open_fixture(&f);
	ctx.arena = f.a;
	ctx.diag = &f.d;
	loss = net(&f);
	graph_output(f.g, "loss", loss);
	assert_true(grad_build(f.g, loss, f.n, f.param, grads, &f.d));
	in.lr = graph_input(f.g, "$lr", DT_f32, 0, NULL);
	in.step = graph_input(f.g, "$step", DT_i64, 0, NULL);
	assert_true(update_build(f.g, &rule, &in, f.n, f.param, NULL, grads, &f.d));
	before = run_graph(f.a, f.g, false);
	for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
		assert_true(passes_run_named(f.g, names[k], &ctx));
		after = run_graph(f.a, f.g, false);
		for (int i = 0; i < f.g->outputs.n; i++)
			assert_true(worst(after.out[i], before.out[i]) < 1e-6);
		for (int i = 0; i < f.g->updates.n; i++)
			if (worst(after.next[i], before.next[i]) >= 1e-6)
				fail_msg("%s differs after %s by %g", f.g->updates.v[i].state->name, names[k],
				    worst(after.next[i], before.next[i]));
	}
	for (int i = 0; i < f.g->nodes.n; i++)
		assert_true(op_info[f.g->nodes.v[i]->op].class != OC_composite);
	close_fixture(&f);
}

static void
passes_keep_values(void **state)
{
	struct optimizer sgd = {.kind = OPT_SGD, .momentum = 0.9, .dampening = 0.1, .weight_decay = 1e-4, .nesterov = true};
	struct optimizer adam = {.kind = OPT_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01};

	(void)state;
	passes_keep(mlp, &sgd);
	passes_keep(convnet, &adam);
	passes_keep(mixed, &sgd);
}

/* A constant network: the weights take every scale and shift, nothing else is left. */
static void
weights_take_scales(void **state)
{
	static const int64_t one[2] = {1, 1}, pads[4] = {1, 1, 1, 1};
	struct attr conv[4] = {ints("strides", 2, one), ints("pads", 4, pads), ints("dilations", 2, one), {.name = "group", .kind = ATTR_INT, .i = 2}};
	struct fixture f;
	struct run before, after;
	struct pass_opts opts = {.opt_level = 2, .verify_each = true};
	struct pass_ctx ctx = {.opts = &opts};
	struct value *x, *h, *c[8];
	int64_t dims[4] = {1, 6, 1, 1};

	(void)state;
	open_fixture(&f);
	ctx.arena = f.a;
	ctx.diag = &f.d;
	x = graph_input(f.g, "x", DT_f32, DIMS(2, 4, 5, 5));
	for (uint64_t i = 0; i < 4; i++)
		c[i] = graph_const(f.g, "c", noise_tensor(f.a, DT_f32, 4, dims, i, 1, 0.5));
	c[4] = graph_const(f.g, "w", noise_tensor(f.a, DT_f32, DIMS(6, 2, 3, 3), 9, 0, 1));
	c[5] = graph_const(f.g, "in", noise_tensor(f.a, DT_f32, DIMS(4, 1, 1), 10, 1, 0.5));
	c[6] = graph_const(f.g, "fc", noise_tensor(f.a, DT_f32, DIMS(6, 7), 11, 0, 1));
	c[7] = graph_const(f.g, "s", noise_tensor(f.a, DT_f32, DIMS(7), 12, 1, 0.5));
	h = nary(&f.b, OP_conv, b_mul(&f.b, x, c[5]), c[4], 4, conv);
	h = b_add(&f.b, h, c[0]);
	h = b_add(&f.b, b_mul(&f.b, b_sub(&f.b, h, c[1]), c[2]), c[3]);
	h = b_transpose(&f.b, h, (int64_t[]){0, 2, 3, 1});
	h = b_mul(&f.b, b_contract(&f.b, "bhwk,kn->bhwn", b_muls(&f.b, h, 0.125), c[6]), c[7]);
	graph_output(f.g, "y", h);
	before = run_graph(f.a, f.g, false);
	assert_true(passes_run_named(f.g, "simplify,fold,expand,simplify,fold,cse,dce", &ctx));
	after = run_graph(f.a, f.g, false);
	if (worst(after.out[0], before.out[0]) >= 1e-6 || f.g->nodes.n != 3) {
		print_graph(f.g);
		fail_msg("%d nodes, difference %g", f.g->nodes.n, worst(after.out[0], before.out[0]));
	}
	close_fixture(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gradient_mlp),
	    cmocka_unit_test(gradient_convnet),
	    cmocka_unit_test(gradient_mixed),
	    cmocka_unit_test(passes_keep_values),
	    cmocka_unit_test(weights_take_scales),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
