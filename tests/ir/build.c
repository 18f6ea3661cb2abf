/* the builder: what it simplifies, folds, refuses and reports. */
#include "ir/ir.h"
#include "tests/unit.h"

#include <string.h>

static struct arena *arena;
static struct diag diag;
static struct graph *g;
static struct build b;
static struct value *x; /* f32[2,3] */

static int
setup(void **state)
{
	(void)state;
	arena = arena_create();
	diag_init(&diag, NULL);
	g = graph_create(arena, "g");
	b = build_at(g, &diag, ((struct loc){.file = "m.onnx", .node = 4}), "test");
	x = graph_input(g, "x", DT_f32, 2, (int64_t[]){2, 3});
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	graph_verify(g, "test");
	diag_free(&diag);
	arena_destroy(arena);
	return 0;
}

static void
nothing_is_made_for_nothing(void **state)
{
	int64_t zero[2] = {0, 0}, one[2] = {1, 1}, perm[2] = {0, 1};

	(void)state;
	assert_ptr_equal(b_adds(&b, x, 0), x);
	assert_ptr_equal(b_muls(&b, x, 1), x);
	assert_ptr_equal(b_add(&b, b_scalar(&b, DT_f32, 0), x), x);
	assert_ptr_equal(b_sub(&b, x, b_scalar(&b, DT_f32, 0)), x);
	assert_ptr_equal(b_mul(&b, x, b_scalar(&b, DT_f32, 1)), x);
	assert_ptr_equal(b_div(&b, x, b_scalar(&b, DT_f32, 1)), x);
	assert_ptr_equal(b_add(&b, x, b_zeros_like(&b, x)), x);
	assert_ptr_equal(b_reshape(&b, x, 2, x->dims), x);
	assert_ptr_equal(b_expand(&b, x, 2, x->dims), x);
	assert_ptr_equal(b_transpose(&b, x, perm), x);
	assert_ptr_equal(b_cast(&b, x, DT_f32), x);
	assert_ptr_equal(b_reduce(&b, OP_reduce_sum, x, 0, NULL, false), x);
	assert_ptr_equal(b_slice(&b, x, zero, x->dims, one), x);
	assert_ptr_equal(b_pad(&b, x, zero, zero, 1), x);
	assert_ptr_equal(b_concat(&b, 1, &x, 0), x);
	assert_ptr_equal(b_unbroadcast(&b, x, x), x);
	assert_int_equal(g->nodes.n, 0);
	/* x + 0 where the zeros are wider is an expansion */
	assert_ptr_not_equal(b_add(&b, x, b_expand(&b, b_scalar(&b, DT_f32, 0), 3, (int64_t[]){4, 2, 3})), x);
}

static void
constants_fold(void **state)
{
	struct value *v;
	int nodes = g->nodes.n;

	(void)state;
	v = b_add(&b, b_ints(&b, 3, (int64_t[]){1, 2, 3}), b_ints(&b, 3, (int64_t[]){10, 20, 30}));
	assert_int_equal(v->kind, VAL_CONST);
	assert_int_equal(((int64_t *)v->data->data)[2], 33);
	v = b_exp(&b, b_scalar(&b, DT_f32, 1));
	assert_int_equal(v->kind, VAL_CONST);
	assert_true(((float *)v->data->data)[0] == 2.71828182845904523536f);
	v = b_iota(&b, DT_i32, 1, (int64_t[]){4}, 0);
	assert_int_equal(v->kind, VAL_CONST);
	assert_int_equal(g->nodes.n, nodes);
	b.fold = false;
	v = b_exp(&b, b_scalar(&b, DT_f32, 1));
	assert_int_equal(v->kind, VAL_NODE);
	b.fold = true;
}

static void
mistakes_are_reported_once(void **state)
{
	struct value *y = graph_input(g, "y", DT_f32, 1, (int64_t[]){5});
	struct value *i = graph_input(g, "i", DT_i64, 1, (int64_t[]){3});
	int nodes = g->nodes.n;

	(void)state;
	assert_null(b_add(&b, x, y));
	assert_int_equal(diag.errors, 1);
	assert_non_null(strstr(diag.text.s, "m.onnx: node 4: "));
	assert_non_null(strstr(diag.text.s, "[test]"));
	assert_null(b_mul(&b, x, i));
	assert_int_equal(diag.errors, 2);
	/* NULL goes through silently */
	assert_null(b_exp(&b, b_mul(&b, NULL, x)));
	assert_null(b_muls(&b, NULL, 2));
	assert_null(b_reduce_all(&b, OP_reduce_sum, NULL));
	assert_null(b_concat(&b, 2, (struct value *[]){x, NULL}, 0));
	assert_int_equal(diag.errors, 2);
	assert_int_equal(g->nodes.n, nodes);
}

static void
shapes(void **state)
{
	struct value *v, *row = graph_input(g, "row", DT_f32, 2, (int64_t[]){1, 3});
	int64_t n = dim_symbol(g, "N", 1, 8), axes[1] = {0};
	struct value *s = graph_input(g, "s", DT_f32, 2, (int64_t[]){n, 3});

	(void)state;
	v = b_unsqueeze(&b, x, 1);
	assert_int_equal(v->rank, 3);
	assert_int_equal(v->dims[1], 1);
	assert_ptr_equal(b_reshape(&b, v, 2, x->dims), x); /* and back */
	v = b_reduce(&b, OP_reduce_sum, x, 1, axes, true);
	assert_int_equal(v->dims[0], 1);
	v = b_reduce_all(&b, OP_reduce_max, x);
	assert_int_equal(v->rank, 0);
	v = b_unbroadcast(&b, b_expand(&b, x, 3, (int64_t[]){7, 2, 3}), row);
	assert_true(dims_equal(v->rank, v->dims, row->rank, row->dims));
	v = b_mean(&b, s, 1, axes, false); /* over a symbolic size */
	assert_int_equal(v->rank, 1);
	v = b_contract(&b, "nk,mk->nm", s, x);
	assert_int_equal(v->dims[0], n);
	assert_int_equal(v->dims[1], 2);
	v = b_softmax(&b, s, 1);
	assert_int_equal(v->dims[0], n);
	assert_int_equal(b_cast(&b, s, DT_f16)->dtype, DT_f16);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(nothing_is_made_for_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(constants_fold, setup, teardown),
	    cmocka_unit_test_setup_teardown(mistakes_are_reported_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(shapes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
