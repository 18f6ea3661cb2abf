/* element types: every code of the small floats, rounding, saturation, packing. */
#include "ir/ir.h"
#include "tests/unit.h"

#include <math.h>
#include <string.h>

static void
names_and_numbers(void **state)
{
	int t;

	(void)state;
	for (t = DT_none + 1; t < NDTYPE; t++) {
		assert_int_equal(dtype_from_name(dtype_info[t].name), t);
		assert_int_equal(dtype_from_onnx(dtype_info[t].onnx), t);
	}
	assert_int_equal(dtype_from_onnx(999), DT_none);
	assert_int_equal(dtype_from_name("float"), DT_none);
	assert_int_equal(dtype_bytes(DT_i4, 3), 2);
	assert_int_equal(dtype_bytes(DT_u2, 5), 2);
	assert_int_equal(dtype_bytes(DT_c128, 2), 32);
}

/* Decoding then encoding is the identity on every code that is not a NaN. */
static void
every_code_survives(void **state)
{
	static const enum dtype small[] = {DT_f16, DT_bf16, DT_f8e4m3fn, DT_f8e4m3fnuz, DT_f8e5m2,
	    DT_f8e5m2fnuz, DT_f4e2m1, DT_f8e8m0};
	size_t k;

	(void)state;
	for (k = 0; k < sizeof small / sizeof *small; k++) {
		enum dtype t = small[k];
		int bits = dtype_info[t].bits, code;

		for (code = 0; code < 1 << bits; code++) {
			uint16_t in = (uint16_t)code, out = 0;
			double v = dtype_get_f(t, &in, 0);

			/* the eight bit types saturate, infinity included */
			if (isnan(v) || (isinf(v) && bits == 8))
				continue;
			dtype_put_f(t, &out, 0, v);
			if (out != in)
				fail_msg("%s code %#x is %g, comes back as %#x", dtype_info[t].name, in, v, out);
		}
	}
}

static uint16_t
code(enum dtype t, double v)
{
	uint16_t c = 0;

	dtype_put_f(t, &c, 0, v);
	return c;
}

static void
rounding(void **state)
{
	(void)state;
	assert_int_equal(code(DT_f16, 1 + 0x1p-11), 0x3c00);            /* tie to even */
	assert_int_equal(code(DT_f16, 1 + 0x3p-11), 0x3c02);
	assert_int_equal(code(DT_f16, 1 + 0x1p-11 + 0x1p-40), 0x3c01);  /* not rounded twice */
	assert_int_equal(code(DT_f16, 65519), 0x7bff);
	assert_int_equal(code(DT_f16, 65520), 0x7c00);
	assert_int_equal(code(DT_f16, -INFINITY), 0xfc00);
	assert_int_equal(code(DT_f16, 0x1p-25), 0);
	assert_int_equal(code(DT_f16, 0x1.8p-25), 1);
	assert_int_equal(code(DT_f16, -0.0), 0x8000);
	assert_int_equal(code(DT_bf16, 1e39), 0x7f80);
	assert_int_equal(code(DT_bf16, 3.0e-39) & 0x7f80, 0);
	assert_int_equal(code(DT_bf16, NAN) & 0x7fff, 0x7fc0);
	assert_int_equal(code(DT_f8e4m3fn, 1e9), 0x7e);
	assert_int_equal(code(DT_f8e4m3fn, -INFINITY), 0xfe);
	assert_int_equal(code(DT_f8e4m3fn, NAN), 0x7f);
	assert_int_equal(code(DT_f8e4m3fnuz, INFINITY), 0x7f);
	assert_int_equal(code(DT_f8e4m3fnuz, NAN), 0x80);
	assert_int_equal(code(DT_f8e4m3fnuz, -0.0), 0);
	assert_int_equal(code(DT_f8e5m2, 1e9), 0x7b);
	assert_int_equal(code(DT_f4e2m1, 2.5), 4); /* 2 or 3: even */
	assert_int_equal(code(DT_f4e2m1, -100), 15);
	assert_int_equal(code(DT_f4e2m1, NAN), 8);
	assert_int_equal(code(DT_f8e8m0, 3), 129); /* up, to 4 */
	assert_int_equal(code(DT_f16, 1e300), 0x7c00);
	assert_int_equal(code(DT_f16, 1e-300), 0);
}

static void
integers(void **state)
{
	unsigned char packed[2] = {0};
	int64_t i;
	int8_t b;
	uint64_t u;

	(void)state;
	for (i = 0; i < 4; i++)
		dtype_put_i(DT_i4, packed, i, i - 8);
	assert_int_equal(packed[0], 0x98);
	for (i = 0; i < 4; i++)
		assert_int_equal(dtype_get_i(DT_i4, packed, i), i - 8);
	dtype_put_f(DT_i8, &b, 0, 300.7);
	assert_int_equal(b, 127);
	dtype_put_f(DT_i8, &b, 0, -1.9);
	assert_int_equal(b, -1);
	dtype_put_f(DT_i8, &b, 0, NAN);
	assert_int_equal(b, 0);
	dtype_put_i(DT_i8, &b, 0, 200);
	assert_int_equal(b, -56);
	dtype_put_f(DT_u64, &u, 0, 1e30);
	assert_true(u == UINT64_MAX);
	assert_true(dtype_get_f(DT_u64, &u, 0) == 0x1p64);
	dtype_put_f(DT_u64, &u, 0, -3);
	assert_true(u == 0);
	dtype_put_f(DT_i64, &i, 0, 1e30);
	assert_true(i == INT64_MAX);
	dtype_put_f(DT_i64, &i, 0, -1e30);
	assert_true(i == INT64_MIN);
	dtype_put_f(DT_u64, &u, 0, 0x1p63);
	assert_true(u == UINT64_C(1) << 63);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_and_numbers), cmocka_unit_test(every_code_survives),
	    cmocka_unit_test(rounding),          cmocka_unit_test(integers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
