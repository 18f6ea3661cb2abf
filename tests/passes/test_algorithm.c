/* Which algorithm a convolution takes: by the cost model of a machine, by
 * measurement, as forced; and what the cost model says of shapes and caches. */
#include "numeric.h"
#include "passes/algorithm.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit.h"

struct test { struct arena *a; struct diag d; struct pass_opts o; struct pass_ctx ctx; };

static int
setup(void **state)
{
	struct test *t = calloc(1, sizeof *t);

	t->a = arena_create();
	diag_init(&t->d, NULL);
	t->o = (struct pass_opts){.machine = machine_usual(), .opt_level = 2};
	t->ctx = (struct pass_ctx){.arena = t->a, .diag = &t->d, .opts = &t->o};
	*state = t;
	return 0;
}

static int
teardown(void **state)
{
	struct test *t = *state;

	diag_free(&t->d);
	arena_destroy(t->a);
	free(t);
	return 0;
}

/* one 3x3 convolution of constant weights, and `more` bytes of other weights */
static struct graph *
one_conv(struct test *t, int64_t channels, int64_t size, int64_t stride, int64_t more)
{
	const char *text = arena_printf(t->a,
	    "graph \"g\" {\n  %%x = input f32[1,%d,%d,%d]\n  %%w = const f32[%d,%d,3,3] splat 0.5\n"
	    "  %%y = conv %%x, %%w (pads=[1,1,1,1], strides=[%d,%d])  @ \"m.onnx\":0 \"layer\"\n  output %%y \"y\"\n"
	    "  %%r = input f32[1,%d]\n  %%v = const f32[%d,1] splat 0.5\n  %%s = contract %%r, %%v (spec=\"ab,bc->ac\")\n"
	    "  output %%s \"s\"\n}\n",
	    (int)channels, (int)size, (int)size, (int)channels, (int)channels, (int)stride, (int)stride, (int)(more / 4 + 1),
	    (int)(more / 4 + 1));
	struct graph *g = graph_parse(t->a, text, "text", &t->d);

	if (!g)
		fail_msg("%s", t->d.text.s);
	return g;
}

/* The chosen tile of Winograd's algorithm; 0: direct. */
static int
choice(struct test *t, struct graph *g)
{
	if (!pass_algorithm(g, &t->ctx))
		return -1;
	for (int i = 0; i < g->nodes.n; i++)
		if (g->nodes.v[i]->op == OP_winograd_conv)
			return (int)attr_int(g->nodes.v[i], "tile");
	return 0;
}

static void
by_cost(void **state)
{
	struct test *t = *state;

	assert_int_equal(choice(t, one_conv(t, 64, 56, 1, 0)), 4);
	assert_int_equal(choice(t, one_conv(t, 64, 56, 2, 0)), 2);
	assert_int_equal(choice(t, one_conv(t, 4, 56, 1, 0)), 0); /* too few channels */
	/* weights from memory: four times as many cost more than the products they save */
	assert_int_equal(choice(t, one_conv(t, 512, 7, 1, 64 << 20)), 0);
	t->o.machine.memory_rate = t->o.machine.l3_rate = 1000;
	assert_int_not_equal(choice(t, one_conv(t, 512, 7, 1, 64 << 20)), 0);
	t->o.machine = machine_usual();
	t->o.precise = true;
	assert_int_equal(choice(t, one_conv(t, 64, 56, 1, 0)), 2);
	t->o.precise = false;
	t->o.opt_level = 1;
	assert_int_equal(choice(t, one_conv(t, 64, 56, 1, 0)), 0);
}

static void
residence(void **state)
{
	struct test *t = *state;

	choice(t, one_conv(t, 16, 8, 1, 0));
	assert_int_equal(t->ctx.residence, IN_L2);
	choice(t, one_conv(t, 16, 8, 1, t->o.machine.l2 + 4096));
	assert_int_equal(t->ctx.residence, IN_L3);
	choice(t, one_conv(t, 16, 8, 1, t->o.machine.l3));
	assert_int_equal(t->ctx.residence, IN_MEMORY);
	/* 9.4 MB of kernels fit the third cache, their four times as large transforms do not */
	choice(t, one_conv(t, 512, 14, 1, 0));
	assert_int_equal(t->ctx.residence, IN_MEMORY);
}

static void
by_force(void **state)
{
	struct test *t = *state;
	static const int tile[] = {0, 2, 4};

	for (int i = 0; i < 3; i++) {
		struct choices c = {.nforced = 1, .forced = &(struct forced){"layer", i, false}, .arena = t->a};

		t->o.choices = &c;
		assert_int_equal(choice(t, one_conv(t, 64, 56, 1, 0)), tile[i]);
		assert_true(c.forced[0].seen);
		assert_int_equal(c.nodes.n, 1);
		assert_string_equal(c.nodes.v[0], "layer");
	}
	struct choices c = {.nforced = 1, .forced = &(struct forced){"other", 2, false}};
	t->o.choices = &c;
	assert_int_equal(choice(t, one_conv(t, 512, 7, 1, 64 << 20)), 0);
	assert_false(c.forced[0].seen);
	c.forced[0].node = "layer";
	assert_int_equal(choice(t, one_conv(t, 64, 56, 2, 0)), -1);
	assert_non_null(strstr(t->d.text.s, "--conv layer=winograd4"));
	assert_non_null(strstr(t->d.text.s, "possible: direct"));
	t->o.precise = true;
	assert_int_equal(choice(t, one_conv(t, 64, 56, 1, 0)), -1);
	assert_non_null(strstr(t->d.text.s, "possible: direct, winograd2"));
}

static bool
fixed_times(void *ctx, const struct conv_layer *l, unsigned possible, double *ns)
{
	struct str key = {0};

	conv_layer_key(l, &key);
	assert_string_equal(key.s, "conv:f32:n1:i64x56x56:o64x56x56:k3x3:s1x1:d1x1:p1.1.1.1:g1:const:l3");
	str_free(&key);
	assert_int_equal(possible, 7);
	memcpy(ns, ctx, 3 * sizeof *ns);
	return ns[0] > 0;
}

static void
by_measurement(void **state)
{
	struct test *t = *state;
	struct choices c = {.measure = fixed_times, .ctx = (double[]){30, 10, 20}};

	t->o.choices = &c;
	assert_int_equal(choice(t, one_conv(t, 64, 56, 1, 0)), 2);
	assert_int_equal(t->ctx.decisions.n, 1);
	assert_int_equal(t->ctx.decisions.v[0].chosen, 1);
	assert_int_equal(t->ctx.decisions.v[0].ncandidates, 3);
	assert_true(t->ctx.decisions.v[0].candidates[2].measured == 20);
	c.ctx = (double[]){10, 10, 20}; /* the first of equals */
	assert_int_equal(choice(t, one_conv(t, 64, 56, 1, 0)), 0);
	c.ctx = (double[]){0, 0, 0}; /* not known: the model decides */
	assert_int_equal(choice(t, one_conv(t, 64, 56, 1, 0)), 4);
}

static double
direct_of(int64_t n, int64_t channels, int64_t size, enum residence r)
{
	struct machine m = machine_usual();
	struct conv_shape s = {2, n, channels, channels, 1, channels, channels, {size, size}, {size, size}, {3, 3}, {1, 1}, {1, 1}, {1, 1}, {1, 1}};

	return cost_direct(&m, OP_conv, &s, r, true);
}

/* Twice the images, at most twice the time; farther weights are never faster; no less than the peak allows. */
static void
grows(void **state)
{
	struct machine m = machine_usual();

	(void)state;
	for (int64_t size = 1; size < 64; size += 3) {
		double one = direct_of(1, 64, size, IN_L2), two = direct_of(2, 64, size, IN_L2);

		assert_true(two > one && two < 2.01 * one);
		assert_true(direct_of(1, 64, size, IN_L3) >= one);
		assert_true(direct_of(1, 64, size, IN_MEMORY) >= direct_of(1, 64, size, IN_L3));
		assert_true(one * m.flops >= 18.0 * 64 * 64 * (double)(size * size));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(by_cost, setup, teardown),
		cmocka_unit_test_setup_teardown(residence, setup, teardown),
		cmocka_unit_test_setup_teardown(by_force, setup, teardown),
		cmocka_unit_test_setup_teardown(by_measurement, setup, teardown),
		cmocka_unit_test(grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
