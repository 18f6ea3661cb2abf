/* text: the grammar, and where its mistakes are. */
#include "tests/frontend/help.h"

#define HEAD "<ir_version: 8, opset_import: [\"\" : 18]>\n"

static void
the_whole_grammar(void **state)
{
	static const char text[] =
	    "# a comment\n"
	    "<ir_version: 9, opset_import: [\"\" : 18, \"my.own\" : 2], producer_name: \"me\", "
	    "producer_version: \"1\",\n"
	    " domain: \"d\", model_version: 3, doc_string: \"says \\\"hi\\\"\", metadata_props: "
	    "[\"k\": \"v\"]>\n"
	    "agraph (float[N,?,2] x, float16[] z, int64 n = {7}) => (float[N,2,2] y, string[2] s)\n"
	    "<float[2] w = {1, -2.5e-1}, double[2,0] empty = {}, bool[2] b = {true, 0}, uint64 big "
	    "= {18446744073709551615},\n"
	    " int4[3] i = {-8, 7, 0}, string[2] words = {\"a\", \"b,c\"}, complex64 c = {1, 2},\n"
	    " float[4] far = [\"location\": \"w.bin\", \"offset\": \"4\"], float[N] info> {\n"
	    "  [first] a, , \"b/c.0\" = my.own.Op : v1 <i = 1, f = 0.5, g : float = 2, s = \"t\", "
	    "is = [1, 2], fs = [1, 2.5],\n"
	    "      ss = [\"p\", \"q\"], none : ints = [], t = float[2] {1, 2}, neg = -inf,\n"
	    "      sub = inner (float[2] p) => (float[2] q) { q = Neg(p) }> (x, , w);\n"
	    "  y = Neg(\"b/c.0\")  s = Identity(words)\n}\n"
	    "<opset_import: [\"\" : 18], domain: \"my.own\", overload: \"v1\">\n"
	    "Op <must, may : float = 1.5> (p, q, r) => (u, v, w) { u = Neg <alpha : float = @must> "
	    "(p) v = Neg(p) w = Neg(p) }\n";
	struct onnx_file f;
	Onnx__GraphProto *g;
	Onnx__NodeProto *n;
	int8_t packed[2] = {0x78, 0x00};

	(void)state;
	if (!onnx_open(&f, arena, put_text("m.txt", text), NULL, &diag))
		fail_msg("%s", diag.text.s);
	assert_int_equal(f.m->ir_version, 9);
	assert_int_equal(onnx_opset(f.m, NULL, "my.own"), 2);
	assert_string_equal(f.m->doc_string, "says \"hi\"");
	assert_string_equal(f.m->metadata_props[0]->value, "v");
	g = f.m->graph;
	assert_int_equal(g->n_input, 3);
	assert_int_equal(g->n_initializer, 9);
	assert_int_equal(g->n_value_info, 1);
	assert_int_equal(g->input[0]->type->tensor_type->shape->n_dim, 3);
	assert_null(g->input[1]->type->tensor_type->shape);
	assert_memory_equal(g->initializer[5]->raw_data.data, packed, 2);
	assert_true(*(uint64_t *)(void *)g->initializer[4]->raw_data.data == UINT64_MAX);
	assert_int_equal(g->initializer[7]->raw_data.len, 8);
	assert_int_equal(g->initializer[8]->n_external_data, 2);
	n = g->node[0];
	assert_string_equal(n->name, "first");
	assert_string_equal(n->domain, "my.own");
	assert_string_equal(n->overload, "v1");
	assert_int_equal(n->n_output, 3);
	assert_string_equal(n->output[2], "b/c.0");
	assert_string_equal(n->input[1], "");
	assert_int_equal(n->n_attribute, 11);
	assert_int_equal(n->attribute[2]->type, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
	assert_int_equal(n->attribute[5]->n_floats, 2);
	assert_int_equal(n->attribute[7]->type, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
	assert_string_equal(n->attribute[10]->g->node[0]->op_type, "Neg");
	assert_int_equal(f.m->functions[0]->n_node, 3);
	assert_string_equal(f.m->functions[0]->attribute[0], "must");
	assert_string_equal(f.m->functions[0]->node[0]->attribute[0]->ref_attr_name, "must");
	onnx_close(&f);
}

/* Text to binary and that read again: the same graph. */
static void
binary_says_the_same(void **state)
{
	static const char text[] = HEAD "g (float[2,3] x) => (float[2,2] y) <float[3,2] w = "
					"{1,2,3,4,5,6}, float[2] b = {0.5}> {\n"
					"  h = Gemm <alpha = 0.5> (x, w, b)  y = Relu(h) }";
	struct import_opts o = {.model_name = "m"};
	const char *in = put_text("m.onnxtxt", text), *out = file_of("m.onnx");
	struct graph *a, *b;
	struct etensor **x, **y;

	(void)state;
	assert_true(onnx_text_to_binary(in, out, &diag));
	a = onnx_import(arena, in, &o, &diag);
	b = onnx_import(arena, out, &o, &diag);
	assert_non_null(a);
	assert_non_null(b);
	x = evaluate(a, 1);
	y = evaluate(b, 1);
	for (int i = 0; i < 4; i++)
		assert_true(et_get(x[0], i) == et_get(y[0], i));
	assert_true(et_get(x[0], 0) == 0.5 * (1 + 6 + 15) + 0.5);
}

static void
mistakes_have_a_place(void **state)
{
	(void)state;
	refused("x", "m.onnxtxt:1:1: '<' is expected to begin a model");
	refused("<ir_vers: 8>",
	    "m.onnxtxt:1:2: a model has no property \"ir_vers\"; did you mean \"ir_version\"?");
	refused("<ir_version: 8> g () => () {}", "the model imports no opset");
	refused(HEAD "g (flot[2] x) => (float[2] y) {}",
	    "m.onnxtxt:2:4: \"flot\" is not a type; did you mean \"float\"?");
	refused(HEAD "g (float[2] x) -> (float[2] y) {}", "m.onnxtxt:2:16: \"=>\" is expected");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Neg(x }",
	    "m.onnxtxt:2:44: ')' is expected after the inputs of a node, not '}'");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Neg(x)",
	    "the text ends where '}' is expected");
	refused(HEAD "g (float[2] x) => (float[2] y) <float[3] w = {1, 2}> {}",
	    "2 numbers are given, the shape needs 3");
	refused(HEAD "g (float[2] x) => (float[2] y) <float[N] w = {1, 2}> {}",
	    "must be a number to hold values");
	refused(HEAD "g (float[2] x) => (float[2] y) <int8[2] w = {1, 300}> {}",
	    "m.onnxtxt:2:49: 300 does not fit in i8");
	refused(HEAD "g (float[2] x) => (float[2] y) <int8[2] w = {1, 1.5}> {}",
	    "a whole number is expected");
	refused(HEAD "g (float[2] x) => (float[2] y) <float[1000000,1000000] w = {0}> {}",
	    "more than 2 GB");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Sum <axes = []> (x) }",
	    "an empty list needs its type");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Sum <a : int = \"b\"> (x) }",
	    "attribute \"a\" must be an int");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = \"Sum(x) }", "this string does not end");
	refused(HEAD "g (float[2] x) => (float[2] y) { y = Sum <a = 1e> (x) }",
	    "\"1e\" is not a number");
}

static void
nesting_is_bounded(void **state)
{
	struct str s = {0};

	(void)state;
	str_add(&s, HEAD "g (float[2] x) => (float[2] y) { ");
	for (int i = 0; i < 100000; i++)
		str_add(&s, "y = If <then_branch = t () => (float[2] y) { ");
	refused(s.s, "graphs nest deeper than");
	str_free(&s);
	str_add(&s, HEAD "g (");
	for (int i = 0; i < 100000; i++)
		str_add(&s, "seq(");
	refused(s.s, "types nest deeper than");
	str_free(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
int
main(void)
{
	const struct CMUnitTest tests[] = {T(the_whole_grammar), T(binary_says_the_same),
	    T(mistakes_have_a_place), T(nesting_is_bounded)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
