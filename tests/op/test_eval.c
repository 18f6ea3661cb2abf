/* Values of the evaluator against numbers worked out by hand or by another formula. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "tests/op/cases.h"

struct known {
	struct op_case c;
	int nwant;
	double want[24];
};
#define K(id, operands, attrs, ...)                                                                \
	{                                                                                              \
		{OP_##id, 1, operands, attrs, 0, 0}, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)),  \
		{                                                                                          \
			__VA_ARGS__                                                                            \
		}                                                                                          \
	}

static const struct known known[] = {
    K(add, "f32[2,2]={1,2,3,4} f32[2]={10,20}", "", 11, 22, 13, 24),
    K(div, "i32={7,-7,7,-7} i32={2,2,-2,-2}", "", 3, -3, -3, 3),
    K(fmod, "i32={7,-7,7,-7} i32={3,3,-3,-3}", "", 1, -1, 1, -1),
    K(Mod, "i32={7,-7,7,-7} i32={3,3,-3,-3}", "", 1, 2, -2, -1),
    K(round, "f32={0.5,1.5,2.5,-0.5,-1.5,2.4}", "", 0, 2, 2, -0.0, -2, 2),
    K(add, "i8={127,-128} i8={1,-1}", "", -128, 127),
    K(shr, "i32={-8,8} i32={1,2}", "", -4, 2),
    K(sub, "u8={3} u8={5}", "", 254),
    K(cast, "f32={1.9,-1.9,300}", "to=i8", 1, -1, 127),
    K(cast, "i32={300,-1}", "to=u8", 44, 255),
    K(sigmoid, "f32={0,100,-100}", "", 0.5, 1, 0),
    K(pow, "i64={2,3} i64={10,3}", "", 1024, 27),
    K(iota, "", "to=f32 dims=2,3 axis=0", 0, 0, 0, 1, 1, 1),
    K(slice, "f32={0,1,2,3,4,5,6}", "start=5 count=3 step=-2", 5, 3, 1),
    K(pad, "f32={1,2,3}", "lo=-1 hi=2 fill=9", 2, 3, 9, 9),
    K(transpose, "f32[2,3]={1,2,3,4,5,6}", "", 1, 4, 2, 5, 3, 6),
    K(gather, "f32[3,2]={1,2,3,4,5,6} i64={-1,0}", "axis=0", 5, 6, 1, 2),
    K(scatter_add, "f32={0,0,0} i64={1,1,2} f32={1,2,4}", "axis=0", 0, 3, 4),
    K(reduce_sum, "f32[2,3]={1,2,3,4,5,6}", "axes=0", 5, 7, 9),
    K(reduce_max, "f32[2,3]={1,9,3,4,5,6}", "axes=1", 9, 6),
    K(argmax, "f32={1,7,7,2}", "axis=0", 1),
    K(argmax, "f32={1,7,7,2}", "axis=0 last=1", 2),
    K(contract, "f32[2,2]={1,2,3,4} f32[2,2]={5,6,7,8}", "spec=mk,kn->mn", 19, 22, 43, 50),
    K(contract, "f32[2,2]={1,2,3,4} f32[2,2]={5,6,7,8}", "spec=km,nk->nm", 23, 34, 31, 46),
    K(conv, "f32[1,1,4]={1,2,3,4} f32[1,1,2]={1,10}", "pads=1,0", 10, 21, 32, 43),
    K(conv, "f32[1,1,5]={1,2,3,4,5} f32[1,1,2]={1,10}", "strides=2 dilations=2", 31, 53),
    K(conv_grad_data, "f32[1,1,2]={1,2} f32[1,1,2]={1,10}", "strides=2 dims=1,1,4", 1, 10, 2, 20),
    K(max_pool, "f32[1,1,5]={1,5,2,4,3}", "kernel=3 strides=2 pads=1,1", 5, 5, 4),
    K(max_pool_grad, "f32[1,1,3]={2,2,1} f32[1,1,2]={2,2} f32[1,1,2]={1,10}", "kernel=2", 1, 10, 0),
    K(sum_pool, "f32[1,1,4]={1,2,3,4}", "kernel=2 strides=2 pads=1,1", 1, 5, 4),
    K(Softmax, "f32={0,0.69314718055994529}", "", 1. / 3, 2. / 3),
    K(LogSoftmax, "f32={1000,1000}", "", -0.69314718055994529, -0.69314718055994529),
    K(Softplus, "f32={0,1000,-1000}", "", 0.69314718055994529, 1000, 0),
    K(Clip, "f32={-3,0.5,3} f32[]={-1} f32[]={1}", "", -1, 0.5, 1),
    K(BatchNormalization, "f32[2,1,2]={1,2,3,4} f32={2} f32={1} f32={2} f32={4}", "epsilon=0", 0, 1, 2, 3),
    K(LayerNormalization, "f32[1,2]={1,3} f32={1,1} f32={0,1}", "epsilon=0", -1, 2),
    K(AveragePool, "f32[1,1,4]={2,4,6,8}", "kernel_shape=3 strides=2 pads=1,1", 3, 6),
    K(AveragePool, "f32[1,1,4]={3,3,6,9}", "kernel_shape=3 strides=2 pads=1,1 count_include_pad=1", 2, 6),
    /* ceil_mode: the third window holds one element */
    K(AveragePool, "f32[1,1,5]={1,2,3,4,8}", "kernel_shape=2 strides=2 ceil_mode=1", 1.5, 3.5, 8),
    K(MaxPool, "f32[1,1,5]={1,2,3,4,-8}", "kernel_shape=2 strides=2 ceil_mode=1", 2, 4, -8),
    K(ConvTranspose, "f32[1,1,2]={1,2} f32[1,1,3]={1,10,100}", "strides=2 output_padding=1", 1, 10, 102, 20, 200, 0),
    K(MatMul, "f32[2,1,2]={1,2,3,4} f32[2]={1,10}", "", 21, 43),
    K(Gemm, "f32[1,2]={1,2} f32[2,1]={3,4} f32[]={1}", "alpha=2 beta=10", 32),
    K(Einsum, "f32[2,2]={1,2,3,4}", "equation=ii", 5),
    K(Einsum, "f32[2,2]={1,2,3,4} f32={5,6}", "equation=ij,i->j", 23, 34),
    K(LpNormalization, "f32[2,2]={3,4,0,0}", "", 0.6, 0.8, 0, 0),
    K(cast, "f32={1.00390625,1.01171875}", "to=bf16", 1, 1.015625),
    K(CumSum, "f32={1,2,3} i64[]={0}", "", 1, 3, 6),
    K(CumSum, "f32={1,2,3} i64[]={0}", "exclusive=1 reverse=1", 5, 3, 0),
    K(Tile, "f32[1,2]={1,2} i64={2,2}", "", 1, 2, 1, 2, 1, 2, 1, 2),
    K(Slice, "f32={0,1,2,3} i64={-1} i64={-100} i64={0} i64={-2}", "", 3, 1),
    K(Pad, "f32={1,2,3} i64={2,1}", "mode=reflect", 3, 2, 1, 2, 3, 2),
    K(Pad, "f32={1,2,3} i64={2,1}", "mode=edge", 1, 1, 1, 2, 3, 3),
    K(Pad, "f32={1,2,3} i64={2,1}", "mode=wrap", 2, 3, 1, 2, 3, 1),
    K(OneHot, "i64={-1,0} i64[]={3} f32={0,5}", "", 0, 0, 5, 5, 0, 0),
    K(Range, "i64[]={10} i64[]={4} i64[]={-2}", "", 10, 8, 6),
    K(Trilu, "f32[2,2]={1,2,3,4}", "upper=0", 1, 0, 3, 4),
    K(DepthToSpace, "f32[1,4,1,1]={1,2,3,4}", "blocksize=2", 1, 2, 3, 4),
    K(GatherElements, "f32[2,2]={1,2,3,4} i64[2,2]={0,0,1,0}", "axis=1", 1, 1, 4, 3),
    K(GatherND, "f32[2,2]={1,2,3,4} i64[2,2]={0,1,1,-2}", "", 2, 3),
    K(ScatterND, "f32={1,2,3,4} i64[2,1]={3,0} f32={9,8}", "", 8, 2, 3, 9),
    K(ScatterElements, "f32[2,2]={1,2,3,4} i64[1,2]={1,0} f32[1,2]={9,8}", "axis=0", 1, 8, 9, 4),
    K(Resize, "f32={1,2} - f32={2}", "mode=linear", 1, 1.25, 1.75, 2),
    K(Resize, "f32={1,2} - f32={2}", "coordinate_transformation_mode=asymmetric nearest_mode=floor", 1, 1, 2, 2),
    K(Resize, "f32={1,2,3} - - i64={5}", "mode=linear coordinate_transformation_mode=align_corners", 1, 1.5, 2, 2.5, 3),
    K(LRN, "f32[1,3,1]={1,2,3}", "size=3 alpha=3 beta=1 bias=0", 1. / 5, 2. / 14, 3. / 13),
    K(SoftmaxCrossEntropyLoss, "f32[2,2]={0,0,0,0} i64={0,1}", "", 0.69314718055994529),
    K(NegativeLogLikelihoodLoss, "f32[3,2]={-1,-2,-3,-4,-5,-6} i64={0,1,0} f32={1,3}", "", (1 + 12 + 5) / 5.),
    K(RNN, "f32[2,1,1]={1,1} f32[1,1,1]={2} f32[1,1,1]={3}", "activations=Affine", 2, 8),
};

static void
values(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		const struct known *k = &known[i];
		struct arena *a = arena_create();
		struct etensor *feed[CASE_INPUTS] = {0}, *out[4];
		struct eval_opts o = {.arena = a};
		const char *what = case_text(a, &k->c);
		struct graph *g;
		struct diag d;

		diag_init(&d, NULL);
		g = case_build(a, &k->c, &d, feed);
		if (!g || !eval_graph(&o, g, feed, out, NULL, NULL, &d))
			fail_msg("%s: %s", what, d.text.s ? d.text.s : "");
		if (out[0]->count != k->nwant)
			fail_msg("%s: %lld elements, %d expected", what, (long long)out[0]->count, k->nwant);
		for (int e = 0; e < k->nwant; e++)
			if (!(fabs(et_get(out[0], e) - k->want[e]) <= 1e-6 * fmax(1, fabs(k->want[e]))))
				fail_msg("%s: element %d is %.9g, %.9g expected", what, e, et_get(out[0], e), k->want[e]);
		diag_free(&d);
		arena_destroy(a);
	}
}

/* The first word of the published known answer of Philox4x32-10 for counter and key 0. */
static void
random_numbers(void **state)
{
	struct op_case c = {OP_rng, 1, "i64[]={0} i64[]={0}", "dims=2", 0, 0};
	struct arena *a = arena_create();
	struct etensor *feed[CASE_INPUTS] = {0}, *out[1];
	struct eval_opts o = {.arena = a};
	struct diag d;

	(void)state;
	diag_init(&d, NULL);
	assert_true(eval_graph(&o, case_build(a, &c, &d, feed), feed, out, NULL, NULL, &d));
	assert_true(out[0]->f[0] == (double)(0x6627e8d5u >> 8) * 0x1p-24);
	diag_free(&d);
	arena_destroy(a);
}

/* A step's updates, and a graph whose batch is a symbol. */
static void
symbols_and_updates(void **state)
{
	struct arena *a = arena_create();
	struct graph *g = graph_create(a, "g");
	struct diag d;
	struct build b;
	struct eval_opts o = {.arena = a};
	struct etensor *in, *out[1], *next[1];
	struct value *x, *s, *y;
	int64_t n, dims[2], got[2] = {5, 3};

	(void)state;
	diag_init(&d, NULL);
	b = build_at(g, &d, LOC_NONE, NULL);
	n = dim_symbol(g, "N", 1, 64);
	dims[0] = n;
	dims[1] = 3;
	x = graph_input(g, "x", DT_f32, 2, dims);
	s = graph_state(g, "count", tensor_new(a, DT_f32, 1, (int64_t[]){3}), false);
	y = b_reshape(&b, x, 1, (int64_t[]){dim_mul(g, n, 3)});
	y = b_expand(&b, b_reduce_all(&b, OP_reduce_sum, y), 1, &n);
	graph_output(g, "y", y);
	vec_push(a, &g->updates, (struct update){s, b_adds(&b, s, 2)});
	in = etensor_new(a, DT_f32, 2, got);
	for (int i = 0; i < 15; i++)
		in->f[i] = i;
	assert_true(eval_graph(&o, g, &in, out, next, NULL, &d));
	assert_int_equal(out[0]->count, 5);
	assert_true(out[0]->f[4] == 105);
	assert_true(next[0]->f[2] == 2);
	diag_free(&d);
	arena_destroy(a);
}

/* What a user can get wrong is reported, not computed. */
static void
refusals(void **state)
{
	static const struct op_case bad[] = {
	    {OP_add, 1, "f32[2] f32[3]", "", 0, 0},
	    {OP_add, 1, "f32[2] i32[2]", "", 0, 0},
	    {OP_exp, 1, "i32[2]", "", 0, 0},
	    {OP_reshape, 1, "f32[2,3]", "dims=7", 0, 0},
	    {OP_transpose, 1, "f32[2,3]", "perm=0,0", 0, 0},
	    {OP_slice, 1, "f32[4]", "start=2 count=3 step=1", 0, 0},
	    {OP_pad, 1, "f32[4]", "lo=-3 hi=-2", 0, 0},
	    {OP_concat, 1, "f32[2,3] f32[2,4]", "axis=0", 0, 0},
	    {OP_gather, 1, "f32[4] f32[2]", "", 0, 0},
	    {OP_reduce_sum, 1, "f32[4]", "axes=1", 0, 0},
	    {OP_contract, 1, "f32[2,3] f32[4,5]", "spec=mk,kn->mn", 0, 0},
	    {OP_contract, 1, "f32[2,3] f32[3]", "spec=mk,k->", 0, 0},
	    {OP_conv, 1, "f32[1,3,5] f32[2,2,3]", "", 0, 0},
	    {OP_conv, 1, "f32[1,2,5] f32[2,2,9]", "", 0, 0},
	    {OP_conv, 1, "f32[1,2,5] f32[2,2,3]", "strides=0", 0, 0},
	    {OP_expand, 1, "f32[4]", "dims=9000000000,9000000000,4", 0, 0},
	    {OP_MatMul, 1, "f32[2,3] f32[4,5]", "", 0, 0},
	    {OP_Reshape, 1, "f32[2,3] i64={-1,-1}", "", 0, 0},
	    {OP_Reshape, 1, "f32[2,3] i64={4,-1}", "", 0, 0},
	    {OP_Reshape, 1, "f32[2,3] i64[2]:<3", "", 0, 0},
	    {OP_Conv, 1, "f32[1,3,5] f32[2,3,3] f32[3]", "", 0, 0},
	    {OP_Split, 2, "f32[5] i64={2,2}", "", 0, 0},
	    {OP_Tile, 1, "f32[5] i64={9223372036854775807}", "", 0, 0},
	    {OP_Range, 1, "i64[]={0} i64[]={9} i64[]={0}", "", 0, 0},
	    {OP_DepthToSpace, 1, "f32[1,3,2,2]", "blocksize=2", 0, 0},
	    {OP_LSTM, 1, "f32[3,2,4] f32[1,12,5] f32[1,12,3]", "", 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct arena *a = arena_create();
		struct etensor *feed[CASE_INPUTS];
		struct diag d;

		diag_init(&d, NULL);
		if (case_build(a, &bad[i], &d, feed))
			fail_msg("%s is accepted", case_text(a, &bad[i]));
		assert_true(d.errors >= 1);
		assert_true(d.status == STATUS_INVALID || d.status == STATUS_UNSUPPORTED);
		diag_free(&d);
		arena_destroy(a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(values),
	    cmocka_unit_test(random_numbers),
	    cmocka_unit_test(symbols_and_updates),
	    cmocka_unit_test(refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
