/* upgrade: nodes of old opsets give what their newest form gives. */
#include "tests/frontend/help.h"

#define OLD(v) "<ir_version: 3, opset_import: [\"\" : " #v "]>\n"
#define NEW "<ir_version: 8, opset_import: [\"\" : 18]>\n"
#define X4 "g (float[2,3,4,4] x) => (float[?,?,?,?] y) "

static void
attributes_become_inputs(void **state)
{
	(void)state;
	same_result(OLD(4) X4 "{ y = Reshape <shape = [2,3,16,1]> (x) }",
	    NEW X4 "<int64[4] s = {2,3,16,1}> { y = Reshape(x, s) }");
	same_result(OLD(9) X4 "{ y = Slice <starts = [1,-3], ends = [2,9], axes = [1,3]> (x) }",
	    NEW X4 "<int64[2] s = {1,-3}, int64[2] e = {2,9}, int64[2] a = {1,3}> { y = Slice(x, "
		   "s, e, a) }");
	same_result(OLD(1) X4 "{ y = Pad <paddings = [0,0,1,2,0,0,3,4], value = 2.5> (x) }",
	    NEW X4 "<int64[8] p = {0,0,1,2,0,0,3,4}, float v = {2.5}> { y = Pad(x, p, v) }");
	same_result(OLD(10) X4 "{ y = Pad <pads = [0,0,1,2,0,0,3,4], mode = \"edge\"> (x) }",
	    NEW X4 "<int64[8] p = {0,0,1,2,0,0,3,4}> { y = Pad <mode = \"edge\"> (x, p) }");
	same_result(OLD(6) X4 "{ y = Clip <max = 3.5> (x) }",
	    NEW X4 "<float m = {3.5}> { y = Clip(x, , m) }");
	same_result(
	    OLD(11) "g (float[2,1,3,1] x) => (float[?,?] y) { y = Squeeze <axes = [1,3]> (x) }", NEW
	    "g (float[2,1,3,1] x) => (float[?,?] y) <int64[2] a = {1,3}> { y = Squeeze(x, a) }");
	same_result(
	    OLD(11) "g (float[2,3] x) => (float[?,?,?] y) { y = Unsqueeze <axes = [1]> (x) }",
	    NEW "g (float[2,3] x) => (float[?,?,?] y) <int64[1] a = {1}> { y = Unsqueeze(x, a) }");
	same_result(OLD(11) X4 "{ a, y = Split <axis = 1, split = [1,2]> (x) }",
	    NEW X4 "<int64[2] s = {1,2}> { a, y = Split <axis = 1> (x, s) }");
	same_result(OLD(11) X4 "{ a, y = Split <axis = 2> (x) }",
	    NEW X4 "{ a, y = Split <axis = 2, num_outputs = 2> (x) }");
}

static void
reductions(void **state)
{
	static const char *const ops[] = {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
	    "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
	    "ReduceSumSquare"};

	(void)state;
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
		same_result(arena_printf(arena,
				OLD(11) X4 "{ y = %s <axes = [1,-1], keepdims = 1> (x) }", ops[i]),
		    arena_printf(arena, NEW X4 "<int64[2] a = {1,-1}> { y = %s(x, a) }", ops[i]));
		same_result(
		    arena_printf(arena,
			OLD(11) "g (float[2,3] x) => (float y) { y = %s <keepdims = 0> (x) }",
			ops[i]),
		    arena_printf(arena,
			NEW "g (float[2,3] x) => (float y) { y = %s <keepdims = 0> (x) }", ops[i]));
	}
}

static void
old_broadcasting(void **state)
{
	(void)state;
	same_result(OLD(6) X4 "<float[3] b = {1,2,3}> { y = Add <broadcast = 1, axis = 1> (x, b) }",
	    NEW X4 "<float[3,1,1] b = {1,2,3}> { y = Add(x, b) }");
	same_result(OLD(6) X4 "<float[3,4] b = {1,2,3,4,5,6,7,8,9,10,11,12}> { y = Mul <broadcast "
			      "= 1, axis = 1> (x, b) }",
	    NEW X4 "<float[3,4,1] b = {1,2,3,4,5,6,7,8,9,10,11,12}> { y = Mul(x, b) }");
	same_result(OLD(6) X4 "<float[4] b = {1,2,3,4}> { y = Sub <broadcast = 1> (x, b) }",
	    NEW X4 "<float[4] b = {1,2,3,4}> { y = Sub(x, b) }");
	same_result(OLD(6) "g (float[2,3] x) => (float[2,2] y) <float[3,2] w = {1,2,3,4,5,6}, "
			   "float[2] c = {1,2}> "
			   "{ y = Gemm <broadcast = 1> (x, w, c) }",
	    NEW
	    "g (float[2,3] x) => (float[2,2] y) <float[3,2] w = {1,2,3,4,5,6}, float[2] c = {1,2}> "
	    "{ y = Gemm(x, w, c) }");
	same_result(OLD(6) X4 "<float[3] s = {0.1,0.2,0.3}> { n = Neg(x) y = PRelu(n, s) }",
	    NEW X4 "<float[3,1,1] s = {0.1,0.2,0.3}> { n = Neg(x) y = PRelu(n, s) }");
	refused(OLD(6) X4 "<float[3] b = {1,2,3}> { y = Add <broadcast = 1, axis = 4> (x, b) }",
	    "broadcast along axis 4");
}

static void
softmax_flattened(void **state)
{
	(void)state;
	same_result(OLD(11) X4 "{ y = Softmax(x) }",
	    NEW X4 "<int64[2] f = {2,48}, int64[4] s = {2,3,4,4}> { a = Reshape(x, f) b = "
		   "Softmax(a) y = Reshape(b, s) }");
	same_result(OLD(11) X4 "{ y = LogSoftmax <axis = 2> (x) }",
	    NEW X4 "<int64[2] f = {6,16}, int64[4] s = {2,3,4,4}> { a = Reshape(x, f) b = "
		   "LogSoftmax(a) y = Reshape(b, s) }");
	same_result(
	    OLD(11) X4 "{ y = Softmax <axis = 3> (x) }", NEW X4 "{ y = Softmax <axis = 3> (x) }");
}

static void
normalisation_and_casts(void **state)
{
	static const char bn[] = "<float[3] s = {1,2,3}, float[3] b = {0,1,0}, float[3] m = "
				 "{0.5,1,2}, float[3] v = {1,4,9}>";

	(void)state;
	same_result(arena_printf(arena,
			OLD(6) X4 "%s { y = BatchNormalization <is_test = 1, spatial = 1, epsilon "
				  "= 0.001> (x, s, b, m, v) }",
			bn),
	    arena_printf(arena,
		NEW X4 "%s { y = BatchNormalization <epsilon = 0.001> (x, s, b, m, v) }", bn));
	same_result(arena_printf(arena,
			OLD(9) X4 "%s { y, a, c, d, e = BatchNormalization(x, s, b, m, v) }", bn),
	    arena_printf(arena, NEW X4 "%s { y = BatchNormalization(x, s, b, m, v) }", bn));
	same_result(
	    OLD(5) X4 "{ i = Cast <to = \"INT32\"> (x) y = Cast <to = \"FLOAT\"> (i) }",
	    NEW X4 "{ i = Cast <to = 6> (x) y = Cast <to = 1> (i) }");
	same_result(OLD(3) X4 "{ y = Concat(x, x) }", NEW X4 "{ y = Concat <axis = 1> (x, x) }");
	same_result(OLD(5) X4 "{ n = Neg(x) y = Selu(n) }",
	    NEW X4 "{ n = Neg(x) y = Selu <alpha = 1.6732, gamma = 1.0507> (n) }");
	refused(OLD(5) X4 "{ y = Cast <to = \"INT33\"> (x) }", "unknown element type \"INT33\"");
}

/* Statistics of every element: a channel each. */
static void
batchnorm_per_element(void **state)
{
	static const char stat[] = "s = {1,2,3,4,5,6}, float[%s] b = {0,1,0,-1,2,3}, "
				   "float[%s] m = {0.5,1,2,3,4,5}, float[%s] v = {1,4,9,16,25,36}";
	const char *per = "1,2,3", *flat = "6";

	(void)state;
	same_result(arena_printf(arena,
			OLD(8) "g (float[2,1,2,3] x) => (float[2,1,2,3] y) <float[%s] %s> { y = "
			       "BatchNormalization <spatial = 0> (x, s, b, m, v) }",
			per, arena_printf(arena, stat, per, per, per)),
	    arena_printf(arena,
		NEW "g (float[2,1,2,3] x) => (float[2,1,2,3] y) <int64[2] f = {2,6}, int64[4] o = "
		    "{2,1,2,3}, float[%s] %s> { a = Reshape(x, f) c = BatchNormalization(a, s, b, "
		    "m, v) y = Reshape(c, o) }",
		flat, arena_printf(arena, stat, flat, flat, flat)));
}

static void
resampling(void **state)
{
	static const char resize[] =
	    NEW X4 "<float[4] s = {1,1,2,1.5}> { y = Resize <mode = \"%s\", "
		   "coordinate_transformation_mode = \"asymmetric\", nearest_mode = \"floor\"> "
		   "(x, , s) }";
	static const char *const mode[2] = {"nearest", "linear"};
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		same_result(arena_printf(arena,
				OLD(7) X4 "{ y = Upsample <scales = [1.0,1.0,2.0,1.5], mode = "
					  "\"%s\"> (x) }",
				mode[i]),
		    arena_printf(arena, resize, mode[i]));
		same_result(
		    arena_printf(arena,
			OLD(9) X4
			"<float[4] s = {1,1,2,1.5}> { y = Upsample <mode = \"%s\"> (x, s) }",
			mode[i]),
		    arena_printf(arena, resize, mode[i]));
		same_result(arena_printf(arena,
				OLD(10) X4
				"<float[4] s = {1,1,2,1.5}> { y = Resize <mode = \"%s\"> (x, s) }",
				mode[i]),
		    arena_printf(arena, resize, mode[i]));
	}
	same_result(OLD(6) X4 "{ y = Upsample <height_scale = 2.0, width_scale = 1.5, mode = "
			      "\"bilinear\"> (x) }",
	    arena_printf(arena, resize, "linear"));
	/* shrinking takes the element after: columns 0 and 2 of 4 */
	same_result(OLD(10) X4 "<float[4] s = {1,1,2,0.6}> { y = Resize(x, s) }",
	    NEW X4 "<int64[2] c = {0,2}, float[4] s = {1,1,2,1}> { a = Gather <axis = 3> (x, c) "
		   "y = Resize <coordinate_transformation_mode = \"asymmetric\", nearest_mode = "
		   "\"floor\"> (a, , s) }");
	refused(OLD(10) X4 "<float[4] s = {1,1,2,2}> { y = Upsample(x, s) }",
	    "left ONNX with opset 10");
	same_result(OLD(16) "g (float[1,1,3,3] x, float[1,2,2,2] p) => (float[?,?,?,?] y) "
			    "{ c = Constant <value_float = 0.125> () q = Mul(p, c) "
			    "y = GridSample <mode = \"bilinear\"> (x, q) }",
	    "<ir_version: 8, opset_import: [\"\" : 20]>\n"
	    "g (float[1,1,3,3] x, float[1,2,2,2] p) => (float[?,?,?,?] y) "
	    "{ c = Constant <value_float = 0.125> () q = Mul(p, c) "
	    "y = GridSample <mode = \"linear\"> (x, q) }");
}

/* Boxes were not moved by half a pixel before opset 16. */
static void
boxes(void **state)
{
	static const char box[] =
	    "g (float[1,1,4,4] x) => (float[?,?,?,?] y) <float[1,4] r = {0,0,2,3}, int64[1] i = "
	    "{0}> { y = RoiAlign <output_height = 2, output_width = 2, sampling_ratio = 2%s> (x, "
	    "r, "
	    "i) }";

	(void)state;
	same_result(arena_printf(arena, "%s%s", OLD(10), arena_printf(arena, box, "")),
	    arena_printf(arena, "%s%s", NEW,
		arena_printf(
		    arena, box, ", coordinate_transformation_mode = \"output_half_pixel\"")));
	same_result(OLD(17) "g (float[1,4,6] x) => (float[?,?,?] y) { c = Constant <value_ints = "
			    "[1,4,6,1]> "
			    "() r = Reshape(x, c) d = DFT <axis = 2> (r) y = ReduceSum <keepdims = "
			    "0> (d) }",
	    "<ir_version: 8, opset_import: [\"\" : 20]>\n"
	    "g (float[1,4,6] x) => (float[?,?,?] y) <int64 a = {2}> { c = Constant <value_ints = "
	    "[1,4,6,1]> () r = Reshape(x, c) d = DFT(r, , a) y = ReduceSum <keepdims = 0> (d) }");
}

/* Before opset 11 an index below zero was outside. */
static void
indices(void **state)
{
	static const char old[] =
	    "g (float[1] x) => (float[?,?] y) <int64[3] i = {-1,0,2}, int64 d "
	    "= {3}, float[2] v = {2,5}> { o = OneHot(i, d, v) y = Add(o, x) }";
	static const char new[] =
	    "g (float[1] x) => (float[?,?] y) <int64[3] i = {3,0,2}, int64 d "
	    "= {3}, float[2] v = {2,5}> { o = OneHot(i, d, v) y = Add(o, x) }";

	(void)state;
	same_result(arena_printf(arena, OLD(9) "%s", old), arena_printf(arena, NEW "%s", new));
	same_result(OLD(9) X4
	    "<int64[1,1,1,2] i = {3,1}, float[1,1,1,2] u = {-1,-2}> { y = Scatter "
	    "<axis = 3> (x, i, u) }",
	    NEW X4 "<int64[1,1,1,2] i = {3,1}, float[1,1,1,2] u = {-1,-2}> { y = ScatterElements "
		   "<axis = 3> (x, i, u) }");
	same_result(OLD(9) X4 "{ y, n = TopK <k = 2, axis = 2> (x) }",
	    NEW X4 "<int64[1] k = {2}> { y, n = TopK <axis = 2> (x, k) }");
	same_result(OLD(5) X4 "<float[1] t = {3}, float[1] a = {2}> { y = Tile(x, t, a) }",
	    NEW X4 "<int64[4] t = {1,1,3,1}> { y = Tile(x, t) }");
}

static void
dropout_mask(void **state)
{
	(void)state;
	same_result(OLD(7) X4 "{ a, m = Dropout <ratio = 0.25> (x) y = Add(a, m) }",
	    NEW X4 "{ c = Constant <value_float = 1.0> () y = Add(x, c) }");
	same_result(OLD(10) X4
	    "{ a, m = Dropout <ratio = 0.25> (x) b = Cast <to = 1> (m) y = Add(a, "
	    "b) }",
	    NEW X4 "{ c = Constant <value_float = 1.0> () y = Add(x, c) }");
}

static void
experimental(void **state)
{
	(void)state;
	same_result(OLD(8) X4 "{ y = Affine <alpha = 0.5, beta = 3.0> (x) }",
	    NEW X4 "<float a = {0.5}, float b = {3}> { c = Mul(x, a) y = Add(c, b) }");
	same_result(OLD(8) X4 "{ y = ImageScaler <scale = 0.5, bias = [1.0,2.0,3.0]> (x) }",
	    NEW X4 "<float a = {0.5}, float[3,1,1] b = {1,2,3}> { c = Mul(x, a) y = Add(c, b) }");
	same_result(OLD(8) X4 "{ y = ScaledTanh <alpha = 2.0, beta = 0.5> (x) }",
	    NEW X4 "<float a = {2}, float b = {0.5}> { c = Mul(x, b) t = Tanh(c) y = Mul(t, a) }");
	same_result(OLD(8) X4 "{ y = ParametricSoftplus <alpha = 2.0, beta = 0.5> (x) }",
	    NEW X4 "<float a = {2}, float b = {0.5}> { c = Mul(x, b) t = Softplus(c) y = Mul(t, "
		   "a) }");
	same_result(OLD(8) X4 "{ y = Crop <border = [1,2,1,0]> (x) }",
	    NEW X4 "<int64[2] s = {2,1}, int64[2] e = {4,3}, int64[2] a = {2,3}> { y = Slice(x, s, "
		   "e, a) }");
	same_result(OLD(8) X4 "{ y = Crop <border = [1,0,0,0], scale = [3,2]> (x) }",
	    NEW X4 "<int64[2] s = {0,1}, int64[2] e = {3,3}, int64[2] a = {2,3}> { y = Slice(x, s, "
		   "e, a) }");
	refused(OLD(8) X4 "{ y = Crop <border = [1,2,1,3]> (x) }", "cannot take");
	refused(OLD(10) X4 "{ y = Affine(x) }", "left ONNX with opset 10");
}

/* What a row says it implements is a version that its operator has. */
static void
every_row_has_versions(void **state)
{
	(void)state;
	for (int op = OP_none + 1; op < NOP; op++) {
		const char *name = op_info[op].onnx;
		const int *v;
		int n, i = 0;

		if (!name || (strstr(name, "::") && strncmp(name, "ai.onnx", 7) != 0))
			continue;
		n = onnx_versions(name, &v);
		while (i < n && v[i] != op_info[op].since)
			i++;
		if (i == n)
			fail_msg(
			    "%s of opset %d is not in onnx_since.def", name, op_info[op].since);
	}
	for (int i = 0; onnx_known(i); i++) {
		const int *v;
		int n = onnx_versions(onnx_known(i), &v);

		assert_true(n > 0);
		for (int k = 1; k < n; k++)
			assert_true(v[k] > v[k - 1]);
	}
	assert_int_equal(onnx_versions("Frobnicate", &(const int *){NULL}), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
int
main(void)
{
	const struct CMUnitTest tests[] = {T(attributes_become_inputs), T(reductions),
	    T(old_broadcasting), T(softmax_flattened), T(normalisation_and_casts),
	    T(batchnorm_per_element), T(resampling), T(boxes), T(indices), T(dropout_mask),
	    T(experimental), T(every_row_has_versions)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
