/* npy: arrays in the layouts NumPy writes, and files that are none. */
#include "tests/frontend/help.h"

static struct tensor *
read_npy(const char *header, const void *data, size_t size, int version)
{
	struct str s = {0};
	size_t len = strlen(header);
	unsigned char head[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0,
	    (unsigned char)len, (unsigned char)(len >> 8)};
	const char *path;

	str_addn(&s, head, version > 1 ? 12 : 10);
	str_add(&s, header);
	str_addn(&s, data, size);
	path = put_file("a.npy", s.s, s.n);
	str_free(&s);
	return npy_read(arena, path, &diag);
}

static void
round_trip(void **state)
{
	enum dtype types[] = {DT_f32, DT_f64, DT_f16, DT_i64, DT_i32, DT_i16, DT_i8, DT_u64, DT_u32,
	    DT_u16, DT_u8, DT_bool};
	int64_t dims[3] = {2, 1, 3};

	(void)state;
	for (size_t k = 0; k < sizeof types / sizeof *types; k++)
		for (int rank = 0; rank <= 3; rank++) {
			struct tensor *t = tensor_new(arena, types[k], rank, dims), *back;

			for (int64_t i = 0; i < tensor_count(t); i++)
				dtype_put_f(
				    t->dtype, t->data, i, t->dtype == DT_bool ? 1 : (double)i + 1);
			assert_true(npy_write(file_of("t.npy"), t, &diag));
			back = npy_read(arena, file_of("t.npy"), &diag);
			assert_non_null(back);
			assert_int_equal(back->dtype, t->dtype);
			assert_true(dims_equal(rank, dims, back->rank, back->dims));
			assert_memory_equal(back->data, t->data, t->bytes);
		}
}

static void
layouts(void **state)
{
	int16_t swapped[2] = {0x0100, 0x0200}, columns[6] = {1, 4, 2, 5, 3, 6};
	struct tensor *t =
	    read_npy("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }", swapped, 4, 1);

	(void)state;
	assert_non_null(t);
	assert_memory_equal(t->data, ((int16_t[]){1, 2}), 4);
	t = read_npy(
	    "{\"shape\": (2L, 3L), 'fortran_order': True, 'descr': '<i2'}\n", columns, 12, 2);
	assert_non_null(t);
	assert_memory_equal(t->data, ((int16_t[]){1, 2, 3, 4, 5, 6}), 12);
	t = read_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", "\x07", 1, 3);
	assert_non_null(t);
	assert_int_equal(t->rank, 0);
}

static void
refused_npy(const char *header, size_t size, const char *words)
{
	char data[64] = {0};

	assert_null(read_npy(header, data, size, 1));
	if (!strstr(diag.text.s, words))
		fail_msg("\"%s\" is not in\n%s", words, diag.text.s);
	diag_free(&diag);
	diag_init(&diag, NULL);
}

static void
not_arrays(void **state)
{
	(void)state;
	refused_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }", 16,
	    "truncated: its shape needs 5 elements");
	refused_npy(
	    "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4), }", 16,
	    "truncated");
	refused_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
	    16, "not a Python dict");
	refused_npy("{'descr': '<V4', 'fortran_order': False, 'shape': (1,), }", 16,
	    "not supported: \"<V4\"");
	refused_npy("{'descr': '<f4', 'fortran_order': Maybe}", 16, "not a Python dict");
	refused_npy("{'descr'", 0, "not a Python dict");
	refused_npy("", 0, "not a Python dict");
	assert_null(npy_read(arena, put_text("x.npy", "hello world"), &diag));
	assert_non_null(strstr(diag.text.s, "is not a NumPy array"));
	assert_null(npy_read(arena, put_file("y.npy", "\x93NUMPY\x01\0\xff\xff{", 11), &diag));
	assert_non_null(strstr(diag.text.s, "its header of 65535 bytes"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
/* Strings: fixed width in the file, of code points or bytes. */
static void
strings(void **state)
{
	static const char *const text[4] = {"", "a", "\xC3\xA9t\xC3\xA9", "\xF0\x9F\x98\x80 b"};
	static const uint32_t points[4] = {'a', 0xE9, 'b', 0};
	struct tensor *t = tensor_new(arena, DT_str, 2, (int64_t[]){2, 2}), *back;

	(void)state;
	for (int i = 0; i < 4; i++)
		((const char **)t->data)[i] = text[i];
	assert_true(npy_write(file_of("t.npy"), t, &diag));
	back = npy_read(arena, file_of("t.npy"), &diag);
	assert_non_null(back);
	assert_int_equal(back->dtype, DT_str);
	for (int i = 0; i < 4; i++)
		assert_string_equal(((char **)back->data)[i], text[i]);
	back = read_npy("{'descr': '|S3', 'fortran_order': False, 'shape': (2,), }", "abcd\0\0", 6, 1);
	assert_string_equal(((char **)back->data)[0], "abc");
	assert_string_equal(((char **)back->data)[1], "d");
	back = read_npy("{'descr': '<U2', 'fortran_order': True, 'shape': (1,2), }", points, 16, 1);
	assert_string_equal(((char **)back->data)[0], "a\xC3\xA9");
	assert_string_equal(((char **)back->data)[1], "b");
	assert_null(read_npy("{'descr': '<U2', 'fortran_order': False, 'shape': (3,), }", points, 16, 1));
	assert_null(read_npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,), }", points, 16, 1));
	assert_null(read_npy("{'descr': '<Ux', 'fortran_order': False, 'shape': (3,), }", points, 16, 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {T(round_trip), T(strings), T(layouts), T(not_arrays)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
