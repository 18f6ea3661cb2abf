/* corrupt: files cut short and with flipped bytes are refused or read, never crash.
 * Fixed pseudo-random choices, a bounded number of them. */
#include "tests/frontend/help.h"

static const char text[] =
    "<ir_version: 8, opset_import: [\"\" : 18, \"my\" : 1], producer_name: \"p\">\n"
    "g (float[N,1,6,6] x, int64[2] ids) => (float[N,4] y, float[2,3] e)\n"
    "<float[2,1,3,3] w = {1}, float[2] s = {1}, float[2] b = {0}, float[2] m = {0}, float[2] v = "
    "{1},\n"
    " float[4,32] fw = {0.5}, float[4] fb = {0}, float[5,3] table = {2}, int64[2] sh = {0, -1}, "
    "string[1] names = {\"z\"}> {\n"
    "  [conv] c = Conv <kernel_shape = [3,3], strides = [1,1], pads = [0,0,0,0]> (x, w)\n"
    "  n, r1, r2 = BatchNormalization <training_mode = 1, epsilon = 1e-5> (c, s, b, m, v)\n"
    "  a = my.act <alpha = 0.1> (n)\n"
    "  f = Reshape(a, sh)\n"
    "  y = Gemm <transB = 1> (f, fw, fb)\n"
    "  e = Gather(table, ids)\n}\n"
    "<opset_import: [\"\" : 18], domain: \"my\"> act <alpha> (p) => (q) { q = LeakyRelu <alpha : "
    "float = @alpha> (p) }";

/* bodies, sequences, optionals */
static const char bodies[] =
    "<ir_version: 8, opset_import: [\"\" : 18]>\n"
    "g (int64 n, bool c, float[2] x, float[3,2] z, optional(float[2]) o) => (float[2] y, seq(float[2]) q, "
    "float[3,2] s, float[2] w)\n<float[2] k = {1, 2}> {\n"
    "  h = OptionalHasElement(o)  zero = Constant <value_int = 0> ()\n"
    "  a = If <then_branch = t () => (float[2] r) { r = OptionalGetElement(o) }, else_branch = e () => "
    "(float[2] r) <float[2] b = {3, 4}> { r = Add(x, b) }> (h)\n"
    "  d = If <then_branch = t () => (float[2] r) { r = Neg(a) }, else_branch = e () => (float[2] r) { r = "
    "Mul(a, k) }> (c)\n"
    "  p = SequenceConstruct(d, x)  e = SequenceEmpty()  v = SequenceInsert(e, d, zero)\n"
    "  y, q = Loop <body = b (int64 i, bool on, float[2] u, seq(float[2]) l) => (bool go, float[2] uu, "
    "seq(float[2]) ll) { uu = Add(u, k) ll = SequenceInsert(l, uu, zero) go = Identity(on) }> (n, c, d, p)\n"
    "  t, s = Scan <num_scan_inputs = 1, scan_input_axes = [0], scan_output_directions = [1], body = b (float[2] a1, "
    "float[2] r) => (float[2] b1, float[2] c1) { b1 = Add(a1, r) c1 = Identity(b1) }> (d, z)\n"
    "  m = SequenceMap <body = b (float[2] f) => (float[2] ff) { ff = Exp(f) }> (v)\n"
    "  w = SequenceAt(m, zero)  cc = ConcatFromSequence <axis = 0> (m)  ll = SequenceLength(m)\n"
    "  sp = SplitToSequence <axis = 0> (z)  er = SequenceErase(sp)\n}";

static const char *const texts[] = {text, bodies};

static uint32_t seed = 12345;

static uint32_t
draw(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

static void
attempt(const void *bytes, size_t size)
{
	struct arena *a = arena_create();
	struct import_opts o = {
	    .default_dim = 2, .max_trips = 3, .states = draw(2), .training = draw(2), .keep_going = draw(2)};
	struct diag d;
	const char *path = put_file("c.onnx", bytes, size);
	struct graph *g;
	void *out;
	size_t n;
	int np;
	struct onnx_patch *patch;

	diag_init(&d, NULL);
	g = onnx_import(a, path, &o, &d);
	if (g)
		graph_verify(g, "import");
	else
		assert_true(d.errors > 0);
	diag_free(&d);
	diag_init(&d, NULL);
	if (draw(4) == 0 && !onnx_export_template(path, a, &out, &n, &np, &patch, &d))
		assert_true(d.errors > 0);
	diag_free(&d);
	arena_destroy(a);
}

static unsigned char *
binary_of(const char *model, size_t *size)
{
	struct onnx_file f;
	unsigned char *p;

	assert_true(onnx_open_bytes(&f, arena, "m", "m", model, strlen(model), &diag));
	p = onnx_pack(arena, &f.m->base, size);
	onnx_close(&f);
	return p;
}

static unsigned char *
binary(size_t *size)
{
	return binary_of(text, size);
}

static void
whole(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct import_opts o = {.default_dim = 2, .max_trips = 3};
		size_t size;
		unsigned char *p = binary_of(texts[i], &size);

		if (!onnx_import(arena, put_file("w.onnx", p, size), &o, &diag))
			fail_msg("%s", diag.text.s);
	}
}

static void
cut_short(void **state)
{
	size_t size;
	unsigned char *p = binary(&size);

	(void)state;
	for (size_t n = 0; n < size; n += 1 + n / 400)
		attempt(p, n);
}

static void
flipped(void **state)
{
	(void)state;
	for (int m = 0; m < 2; m++) {
		size_t size;
		unsigned char *p = binary_of(texts[m], &size), *q = arena_alloc(arena, size);

		for (int i = 0; i < 3000; i++) {
			memcpy(q, p, size);
			for (uint32_t k = 1 + draw(4); k; k--)
				q[draw((uint32_t)size)] = (unsigned char)draw(256);
			attempt(q, size);
		}
	}
}

static void
flipped_text(void **state)
{
	static const char chars[] = "<>(){}[]=,:;@\"#?-.0a ";

	(void)state;
	for (int m = 0; m < 2; m++) {
		size_t size = strlen(texts[m]);
		char *q = arena_alloc(arena, size + 1);

		for (int i = 0; i < 2000; i++) {
			memcpy(q, texts[m], size + 1);
			for (uint32_t k = 1 + draw(3); k; k--)
				q[draw((uint32_t)size)] = chars[draw(sizeof chars - 1)];
			attempt(q, i % 4 ? size : draw((uint32_t)size));
		}
	}
}

/* Attribute in graph in node in attribute and so on. */
static void
deep_messages(void **state)
{
	struct str s = {0}, t = {0};

	(void)state;
	for (int i = 0; i < 2000; i++) {
		unsigned char head[12] = {i % 3 == 0 ? 0x0a : i % 3 == 1 ? 0x2a : 0x32};
		size_t n = 1, len = s.n;

		do {
			head[n++] = (unsigned char)((len & 127) | (len > 127 ? 128 : 0));
			len >>= 7;
		} while (len);
		str_addn(&t, head, n);
		if (s.n)
			str_addn(&t, s.s, s.n);
		str_free(&s);
		s = t;
		t = (struct str){0};
	}
	{
		unsigned char head[4] = {
		    0x3a, (unsigned char)((s.n & 127) | 128), (unsigned char)(s.n >> 7)};

		assert_true(s.n < 16384);
		str_addn(&t, head, 3);
		str_addn(&t, s.s, s.n);
	}
	attempt(t.s, t.n);
	str_free(&s);
	str_free(&t);
}

static void
messages_of_corruption(void **state)
{
	size_t size;
	unsigned char *p = binary(&size);

	(void)state;
	assert_null(onnx_import(arena, put_file("a.onnx", p, size - 5), NULL, &diag));
	assert_non_null(strstr(
	    diag.text.s, "a.onnx: not a whole ONNX file: a field longer than the rest at byte"));
	assert_int_equal(diag.status, STATUS_INVALID);
	assert_null(onnx_import(arena, put_file("e.onnx", "", 0), NULL, &diag));
	assert_non_null(strstr(diag.text.s, "e.onnx: is empty"));
	assert_null(onnx_import(
	    arena, put_file("p.onnx", "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16), NULL, &diag));
	assert_null(onnx_import(arena, put_file("z.onnx", "\x08\x08", 2), NULL, &diag));
	assert_non_null(strstr(diag.text.s, "z.onnx: holds no graph"));
	assert_null(onnx_import(arena, file_of("none.onnx"), NULL, &diag));
	assert_non_null(strstr(diag.text.s, "no such file"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(whole), T(cut_short), T(flipped), T(flipped_text), T(deep_messages), T(messages_of_corruption)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
