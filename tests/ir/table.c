/* the operator table: every row is complete and found under its names. */
#include "ir/ir.h"
#include "tests/unit.h"

#include <ctype.h>
#include <string.h>

static void
rows(void **state)
{
	int op, i;

	(void)state;
	for (op = OP_none + 1; op < NOP; op++) {
		const struct op_info *row = &op_info[op];

		assert_non_null(row->id);
		assert_non_null(row->infer);
		assert_non_null(row->expand);
		assert_non_null(row->grad);
		assert_non_null(row->eval);
		assert_int_equal(op_from_id(row->id), op);
		assert_true(row->in_min >= 0 && (row->in_max < 0 || row->in_max >= row->in_min));
		assert_true(row->out_min >= 0 && (row->out_max < 0 || row->out_max >= row->out_min));
		/* core rows are spelled in lower case and evaluate, composites expand */
		assert_int_equal(row->class == OC_composite, !!isupper((unsigned char)row->id[0]));
		assert_int_equal(row->class == OC_composite, row->eval == eval_none);
		assert_int_equal(row->class == OC_composite, row->expand != expand_none);
		for (i = 0; i < row->nattr; i++) {
			assert_non_null(row->attrs[i].name);
			assert_int_not_equal(row->attrs[i].kind, ATTR_NONE);
			assert_ptr_equal(op_attr((enum op)op, row->attrs[i].name), &row->attrs[i]);
		}
	}
}

static void
onnx_names(void **state)
{
	int op;

	(void)state;
	for (op = OP_none + 1; op < NOP; op++) {
		const char *onnx = op_info[op].onnx, *colon = onnx ? strstr(onnx, "::") : NULL;
		char domain[64] = "";

		if (!onnx)
			continue;
		if (colon)
			memcpy(domain, onnx, (size_t)(colon - onnx));
		assert_int_equal(op_from_onnx(domain, colon ? colon + 2 : onnx), op);
		if (!colon) {
			assert_int_equal(op_from_onnx("ai.onnx", onnx), op);
			assert_int_equal(op_from_onnx(NULL, onnx), op);
			assert_int_equal(op_from_onnx("no.such.domain", onnx), OP_none);
		}
	}
	assert_int_equal(op_from_onnx("", "NoSuchOperator"), OP_none);
	assert_int_equal(op_from_onnx("", "Add"), OP_add);
}

static void
attributes(void **state)
{
	struct arena *a = arena_create();
	struct graph *g = graph_create(a, "g");
	struct value *x = graph_input(g, "x", DT_f32, 2, (int64_t[]){2, 3});
	struct node *n = graph_node(g, OP_gather, NULL, LOC_NONE, 2, (struct value *[]){x, x}, 1);
	const int64_t *v;

	(void)state;
	assert_int_equal(op_info[OP_gather].nattr, 1);
	assert_int_equal(attr_int(n, "axis"), 0);
	assert_false(attr_has(n, "axis"));
	node_set_int(g, n, "axis", 1);
	node_set_int(g, n, "axis", -1);
	assert_int_equal(n->nattr, 1);
	assert_int_equal(attr_int(n, "axis"), -1);
	assert_int_equal(op_info[OP_contract].nattr, 1);
	assert_int_equal(op_info[OP_add].nattr, 0);
	assert_true(op_attr(OP_pad, "fill")->has_def);
	assert_false(op_attr(OP_pad, "lo")->has_def);
	n = graph_node(g, OP_pad, NULL, LOC_NONE, 1, &x, 1);
	node_set_ints(g, n, "lo", 2, (int64_t[]){1, 2});
	assert_int_equal(attr_ints(n, "lo", &v), 2);
	assert_int_equal(v[1], 2);
	assert_int_equal(attr_ints(n, "hi", &v), 0);
	assert_true(attr_float(n, "fill") == 0);
	node_set_float(g, n, "fill", 2.5);
	assert_true(attr_float(n, "fill") == 2.5);
	assert_true(attr_holds_dims(OP_reshape, "dims"));
	assert_false(attr_holds_dims(OP_pad, "lo"));
	arena_destroy(a);
}

static void
wrong_nodes_are_reported(void **state)
{
	struct arena *a = arena_create();
	struct graph *g = graph_create(a, "g");
	struct value *x = graph_input(g, "x", DT_f32, 2, (int64_t[]){2, 3}), *in[3] = {x, x, x};
	struct value *y = graph_input(g, "y", DT_f32, 1, (int64_t[]){4});
	struct loc l = {.file = "m.onnx", .node = 3, .name = "n", .op = "Add"};
	struct node *n;
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_false(node_infer(g, graph_node(g, OP_add, NULL, l, 3, in, 1), &d));
	assert_string_equal(d.text.s, "error: m.onnx: node 3 \"n\" (Add): Add has 3 inputs, takes 2\n");
	n = graph_node(g, OP_gather, NULL, l, 2, in, 1);
	node_set_int(g, n, "axes", 1);
	assert_false(node_infer(g, n, &d));
	assert_non_null(strstr(d.text.s, "Gather has no attribute \"axes\"; did you mean \"axis\"?"));
	n = graph_node(g, OP_gather, NULL, l, 2, in, 1);
	node_set_float(g, n, "axis", 1);
	assert_false(node_infer(g, n, &d));
	assert_non_null(strstr(d.text.s, "attribute \"axis\" is a float, must be an integer"));
	in[1] = y;
	n = graph_node(g, OP_add, NULL, l, 2, in, 1);
	assert_false(node_infer(g, n, &d));
	assert_non_null(strstr(d.text.s, "does not broadcast"));
	assert_int_equal(d.errors, 4);
	/* what uses its result is not reported again */
	in[0] = n->out[0];
	assert_false(node_infer(g, graph_node(g, OP_add, NULL, l, 2, in, 1), &d));
	assert_int_equal(d.errors, 4);
	diag_free(&d);
	arena_destroy(a);
}

static void
element_types(void **state)
{
	struct arena *a = arena_create();
	struct graph *g = graph_create(a, "g");
	struct value *f = graph_input(g, "f", DT_f32, 0, NULL), *i = graph_input(g, "i", DT_i32, 0, NULL);
	struct value *d = graph_input(g, "d", DT_f64, 0, NULL), *in[3] = {f, f, NULL};
	struct loc loc = {.node = 3, .op = "it"};
	const char *bad;
	struct diag diag;

	(void)state;
	if (!op_types_valid(&bad))
		fail_msg("op_types.def: %s", bad);
	diag_init(&diag, NULL);
	assert_true(op_types_fit(OP_Conv, 3, in, loc, &diag));
	in[2] = d;
	assert_false(op_types_fit(OP_Conv, 3, in, loc, &diag));
	assert_non_null(strstr(diag.text.s, "node 3 (it): input 2 has element type f64, input 0 has f32: they must be the same"));
	in[0] = i;
	assert_false(op_types_fit(OP_Conv, 3, in, loc, &diag));
	assert_non_null(strstr(diag.text.s, "input 0 (i) has element type i32; the operator takes f32, f16, f64, bf16"));
	assert_true(op_types_fit(OP_Max, 1, in, loc, &diag));
	assert_false(op_types_fit(OP_Max, 2, in, loc, &diag));
	assert_false(op_types_fit(OP_gather, 2, in + 1, loc, &diag));
	diag_free(&diag);
	arena_destroy(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows),
	    cmocka_unit_test(onnx_names),
	    cmocka_unit_test(attributes),
	    cmocka_unit_test(wrong_nodes_are_reported),
	    cmocka_unit_test(element_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
