/* models: names, order, functions, branches, sizes, states; and what is refused. */
#include "tests/frontend/help.h"

#define HEAD "<ir_version: 8, opset_import: [\"\" : 18]>\n"

static void
order_and_names(void **state)
{
	struct import_opts o = {0};
	struct graph *g = import_text(HEAD "g (float[2] x) => (float[2] y) {\n"
					   "  y = Neg(b)\n  b = Abs(a)\n  a = Exp(x)\n}",
	    &o);

	(void)state;
	assert_non_null(g);
	assert_int_equal(g->nodes.n, 3);
	assert_string_equal(g->outputs.v[0]->name, "y");
	assert_ptr_equal(graph_find(g, "b"), g->nodes.v[1]->out[0]);
	assert_null(graph_find(g, "c"));
	assert_string_equal(g->nodes.v[2]->loc.op, "Neg");
	assert_int_equal(g->nodes.v[2]->loc.node, 0);
	assert_int_equal(g->nodes.v[2]->loc.line, 3);
	graph_verify(g, "import");
}

static void
identities_are_names(void **state)
{
	struct import_opts o = {0};
	struct graph *g = import_text(HEAD
	    "g (float[2] x) => (float[2] y, float[2] z) {\n"
	    "  a = Exp(x)\n  b = Identity(a)\n  c = Dropout(b)\n  y = Neg(c)\n  z = Identity(y) }",
	    &o);

	(void)state;
	assert_non_null(g);
	assert_int_equal(g->nodes.n, 2);
	assert_ptr_equal(graph_find(g, "b"), graph_find(g, "a"));
	assert_ptr_equal(graph_find(g, "c"), graph_find(g, "a"));
	assert_string_equal(g->output_names.v[1], "z");
}

static void
functions_are_inlined(void **state)
{
	static const char text[] =
	    "<ir_version: 8, opset_import: [\"\" : 18, \"my\" : 1]>\n"
	    "g (float[2] x) => (float[2] y) { y = my.twice <alpha = 0.5> (x) }\n"
	    "<opset_import: [\"\" : 18, \"my\" : 1], domain: \"my\">\n"
	    "twice <alpha> (x) => (z) { y = my.once <beta : float = @alpha> (x)  z = my.once <beta "
	    ": float = @alpha> (y) }\n"
	    "<opset_import: [\"\" : 18], domain: \"my\">\n"
	    "once <beta : float = 0.1> (x) => (y) { y = LeakyRelu <alpha : float = @beta> (x) }\n";
	struct import_opts o = {0};
	struct graph *g = import_text(text, &o);

	(void)state;
	if (!g)
		fail_msg("%s", diag.text.s);
	assert_int_equal(g->nodes.n, 2);
	assert_true(attr_float(g->nodes.v[1], "alpha") == 0.5);
	assert_string_equal(g->outputs.v[0]->name, "y/z/y");
	assert_non_null(graph_find(g, "y"));
	refused("<ir_version: 8, opset_import: [\"\" : 18, \"my\" : 1]>\n"
		"g (float[2] x) => (float[2] y) { y = my.f(x) }\n"
		"<opset_import: [\"my\" : 1], domain: \"my\"> f (x) => (y) { y = my.f(x) }",
	    "function \"f\" calls itself");
	refused("<ir_version: 8, opset_import: [\"\" : 18, \"my\" : 1]>\n"
		"g (float[2] x) => (float[2] y) { y = my.f(x, x) }\n"
		"<opset_import: [\"\" : 18], domain: \"my\"> f (x) => (y) { y = Neg(x) }",
	    "the function takes 1");
}

/* f31 calls f30 twice and so on: 2^31 nodes from a page of text. */
static void
inlining_is_bounded(void **state)
{
	struct str s = {0};

	(void)state;
	str_add(&s, "<ir_version: 8, opset_import: [\"\" : 18, \"m\" : 1]>\n"
		    "g (float[2] x) => (float[2] y) { y = m.f31(x) }\n"
		    "<opset_import: [\"\" : 18], domain: \"m\"> f0 (x) => (y) { y = Neg(x) }\n");
	for (int i = 1; i <= 31; i++)
		str_addf(&s,
		    "<opset_import: [\"m\" : 1], domain: \"m\"> f%d (x) => (y) { a = m.f%d(x) y = "
		    "m.f%d(a) }\n",
		    i, i - 1, i - 1);
	refused(s.s, "inlining makes more than");
	str_free(&s);
}

static void
decided_branches(void **state)
{
	static const char text[] =
	    HEAD "g (float[2] x) => (float[2] y) <bool c = {1}> {\n"
		 "  a = Exp(x)\n"
		 "  y = If <then_branch = t () => (float[2] r) { r = Neg(a) }, else_branch = e () "
		 "=> (float[2] r) { r = Abs(a) }> (c)\n}";
	struct import_opts o = {0};
	struct graph *g = import_text(text, &o);

	(void)state;
	if (!g)
		fail_msg("%s", diag.text.s);
	assert_int_equal(g->nodes.n, 2);
	assert_int_equal(g->nodes.v[1]->op, OP_neg);
	assert_ptr_equal(g->outputs.v[0], g->nodes.v[1]->out[0]);
}

static void
shapes_fold(void **state)
{
	static const char text[] = HEAD "g (float[N,3,4] x) => (float[N,12] y) <int64[1] minus = "
					"{-1}, int64 zero = {0}, int64[1] ax = {0}> {\n"
					"  s = Shape(x)\n  n = Gather(s, zero)\n  u = Unsqueeze(n, "
					"ax)\n  c = Concat <axis = 0> (u, minus)\n"
					"  y = Reshape(x, c)\n}";
	struct dim_bind n = {"N", 5, 5};
	struct import_opts o = {.ndims = 1, .dims = &n};
	struct graph *g = import_text(text, &o);

	(void)state;
	if (!g)
		fail_msg("%s", diag.text.s);
	assert_int_equal(g->outputs.v[0]->dims[0], 5);
	assert_int_equal(g->outputs.v[0]->dims[1], 12);
	assert_int_equal(g->nodes.n, 1);
}

static void
sizes_of_inputs(void **state)
{
	static const char text[] =
	    HEAD "g (float[N,T] x, float[N,3] z) => (float[N,T] y) { y = Neg(x)  w = Neg(z) }";
	struct dim_bind t = {"T", 1, 64}, bad = {"M", 1, 1};
	struct input_shape sx = {"x", 1, {7}}, sz = {"z", 2, {8, 3}}, sq = {"q", 1, {1}},
			   both[2] = {sx, sz};
	struct import_opts o = {.ndims = 1, .dims = &t, .nshapes = 1, .shapes = &sx};
	struct graph *g = import_text(text, &o);

	(void)state;
	if (!g)
		fail_msg("%s", diag.text.s);
	assert_int_equal(g->inputs.v[0]->dims[0], 7);
	assert_int_equal(g->inputs.v[1]->dims[0], 7);
	assert_false(dim_const(g->inputs.v[0]->dims[1]));
	assert_int_equal(dim_hi(g, g->inputs.v[0]->dims[1]), 64);
	o = (struct import_opts){.default_dim = 3};
	g = import_text(text, &o);
	assert_int_equal(g->inputs.v[0]->dims[1], 3);
	assert_non_null(strstr(diag.text.s, "\"T\" taken as 3; --dim T=16 changes it"));
	o = (struct import_opts){.ndims = 1, .dims = &bad, .default_dim = 1};
	assert_null(import_text(text, &o));
	assert_non_null(strstr(diag.text.s, "no symbolic dim \"M\""));
	o = (struct import_opts){.nshapes = 1, .shapes = &sq};
	assert_null(import_text(text, &o));
	assert_non_null(strstr(diag.text.s, "has no input \"q\""));
	o = (struct import_opts){.nshapes = 2, .shapes = both};
	assert_null(import_text(text, &o));
	assert_non_null(strstr(diag.text.s, "\"N\" is 7 in another input"));
}

static void
values_at_hand(void **state)
{
	static const char text[] =
	    HEAD "g (float[2,3] x, int64[K] shape) => (float[?,?] y) { y = Reshape(x, shape) }";
	struct tensor *t = tensor_new(arena, DT_i64, 1, (int64_t[]){2}),
		      *f = tensor_new(arena, DT_f32, 1, (int64_t[]){2});
	struct input_value v = {"shape", t};
	struct import_opts o = {.nvalues = 1, .values = &v};
	struct onnx_summary sum;
	struct graph *g;

	(void)state;
	((int64_t *)t->data)[0] = 3;
	((int64_t *)t->data)[1] = 2;
	g = import_text(text, &o);
	if (!g)
		fail_msg("%s", diag.text.s);
	assert_int_equal(g->inputs.n, 1);
	assert_int_equal(g->outputs.v[0]->dims[0], 3);
	v.value = f;
	assert_null(import_text(text, &o));
	assert_non_null(strstr(diag.text.s, "takes element type i64, the given value is f32"));
	assert_true(onnx_summarize(file_of("m.onnxtxt"), arena, &sum, &diag));
	assert_int_equal(sum.ninputs, 2);
	assert_string_equal(sum.inputs[1], "shape");
}

/* ---- states */
static const char student[] =
    "<ir_version: 8, opset_import: [\"\" : 16]>\n"
    "g (float[N,3] x) => (float[N,3] y)\n"
    "<float[3,3] w = {0.5}, float[3] one = {1}, float[3] zero = {0}, float[3] mean = {0}, float[3] "
    "var = {1},\n"
    " float lo = {0}, float r = {0.5}> {\n"
    "  own = Identity(w)\n  a = MatMul(x, w)\n  b = MatMul(a, own)\n"
    "  n, m1, v1 = BatchNormalization <training_mode = 1> (b, one, zero, mean, var)\n"
    "  k, m2, v2 = BatchNormalization <training_mode = 1> (n, one, zero, mean, var)\n"
    "  d = Dropout(k, r)\n  y = Clip(d, lo)\n}";

static struct value *
state_of(struct graph *g, const char *name)
{
	for (int i = 0; i < g->states.n; i++)
		if (strcmp(g->states.v[i]->name, name) == 0)
			return g->states.v[i];
	fail_msg("no state %s", name);
	return NULL;
}

static void
states_and_training(void **state)
{
	struct import_opts o = {.states = true, .training = true, .default_dim = 4};
	struct graph *g = import_text(student, &o);
	int dropouts = 0;

	(void)state;
	if (!g)
		fail_msg("%s", diag.text.s);
	assert_int_equal(g->states.n, 10);
	assert_true(state_of(g, "w")->trainable);
	assert_true(state_of(g, "own")->trainable);
	assert_true(state_of(g, "one_1")->trainable);
	assert_false(state_of(g, "mean")->trainable);
	assert_false(state_of(g, "var_1")->trainable);
	assert_non_null(strstr(diag.text.s, "it trains a copy, \"one_1\""));
	assert_int_equal(g->updates.n, 4);
	for (int i = 0; i < g->nodes.n; i++)
		dropouts += g->nodes.v[i]->op == OP_Dropout;
	assert_int_equal(dropouts, 1);
	assert_string_equal(g->inputs.v[1]->name, "$seed");
	assert_string_equal(g->inputs.v[2]->name, "$step");
	graph_verify(g, "import");
	o.training = false;
	g = import_text(student, &o);
	assert_non_null(g);
	assert_int_equal(g->inputs.n, 1);
	assert_int_equal(g->updates.n, 0);
	assert_int_equal(g->states.n, 10);
	for (int i = 0; i < g->nodes.n; i++) {
		assert_true(g->nodes.v[i]->op != OP_Dropout);
		if (g->nodes.v[i]->op == OP_BatchNormalization)
			assert_int_equal(attr_int(g->nodes.v[i], "training_mode"), 0);
	}
	o.states = false;
	g = import_text(student, &o);
	assert_int_equal(g->states.n, 0);
}

/* ---- refusals */
static void
what_is_wrong_is_named(void **state)
{
	(void)state;
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Neg(a) a = Neg(y) }",
	    "the graph has a cycle");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Neg(x) y = Abs(x) }",
	    "makes \"y\", which node 0 makes too");
	refused(HEAD "g (float[2] x) => (float[2] y) { x = Neg(x) y = Abs(x) }",
	    "makes \"x\", which is an input");
	refused(HEAD "g (float[2] image) => (float[2] y) { y = Neg(imag) }",
	    "input 0 is \"imag\", which nothing makes; did you mean \"image\"?");
	refused(HEAD "g (float[2] x) => (float[2] logits) { logit = Neg(x) }",
	    "did you mean \"logit\"?");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Relo(x) }",
	    "operator \"Relo\" of domain \"ai.onnx\", opset 18, is not supported; did you mean "
	    "\"Relu\"?");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Softmax <axs = 1> (x) }",
	    "did you mean \"axis\"?");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Softmax <axis = 0.5> (x) }",
	    "must be an integer");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Neg(x, x) }", "takes 1");
	refused(HEAD "g (float[2] x, float[3] z) => (float[2] y) { y = Add(x, z) }",
	    "does not broadcast");
	refused("<ir_version: 8, opset_import: [\"a\" : 18]> g (float[2] x) => (float[2] y) { y = "
		"Neg(x) }",
	    "imports no opset of domain \"ai.onnx\"");
	refused(HEAD "g (seq(float[2]) x) => (float[2] y) { y = Neg(x) }", "is a sequence of unknown length");
	refused(HEAD "g (float[] x) => (float[2] y) { y = Neg(x) }", "has no shape in the file");
	refused(HEAD "g (float[2] x) => () { y = Neg(x) }", "no outputs");
}

static void
all_problems_at_once(void **state)
{
	struct import_opts o = {.keep_going = true};

	(void)state;
	assert_null(import_text(HEAD "g (float[2] x) => (float[2] y, float[2] z) {\n a = Foo(x)\n "
				     "b = Foo(a)\n c = com.x.Bar(b)\n"
				     " y = Neg(c)\n z = Neg(x, x)\n q = Abs(nix) }",
	    &o));
	assert_int_equal(diag.errors, 4);
	assert_int_equal(diag.status, STATUS_UNSUPPORTED);
	assert_non_null(strstr(diag.text.s, "also in 1 other node"));
	assert_non_null(strstr(diag.text.s, "\"com.x\""));
}

#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
int
main(void)
{
	const struct CMUnitTest tests[] = {T(order_and_names), T(identities_are_names),
	    T(functions_are_inlined), T(inlining_is_bounded), T(decided_branches), T(shapes_fold),
	    T(sizes_of_inputs), T(values_at_hand), T(states_and_training),
	    T(what_is_wrong_is_named), T(all_problems_at_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
