/* weights: a tensor in every encoding the format has, and those that lie. */
#include "tests/frontend/help.h"

#include <sys/stat.h>

static Onnx__TensorProto
proto(enum dtype dtype, size_t n, int64_t *dims)
{
	Onnx__TensorProto t;

	onnx__tensor_proto__init(&t);
	t.has_data_type = 1;
	t.data_type = dtype_info[dtype].onnx;
	t.n_dims = n;
	t.dims = dims;
	return t;
}

static struct tensor *
through_file(Onnx__TensorProto *t)
{
	size_t size;
	void *bytes = onnx_pack(arena, &t->base, &size);
	const char *name;

	return onnx_tensor_read(arena, put_file("t.pb", bytes, size), &name, &diag);
}

static void
check_values(Onnx__TensorProto *p, int n, const double *expect)
{
	struct tensor *t = through_file(p);

	if (!t)
		fail_msg("%s", diag.text.s);
	for (int i = 0; i < n; i++)
		assert_true(dtype_get_f(t->dtype, t->data, i) == expect[i]);
}

static const double want[4] = {0, 1, 2, 3};
static int64_t four[1] = {4};

static void
raw_bytes(void **state)
{
	(void)state;
	for (int k = DT_none + 1; k < NDTYPE; k++) {
		enum dtype dtype = (enum dtype)k;
		Onnx__TensorProto p = proto(dtype, 1, four);
		uint8_t bytes[64] = {0};
		double expect[4];

		if (dtype == DT_str || dtype_info[k].class == DC_COMPLEX)
			continue;
		for (int i = 0; i < 4; i++) {
			dtype_put_f(dtype, bytes, i, dtype == DT_bool ? i % 2 : want[i]);
			expect[i] = dtype_get_f(dtype, bytes, i);
		}
		p.has_raw_data = 1;
		p.raw_data = (ProtobufCBinaryData){dtype_bytes(dtype, 4), bytes};
		check_values(&p, 4, expect);
		p.raw_data.len--;
		assert_null(through_file(&p));
		assert_non_null(strstr(diag.text.s, "bytes, its shape needs"));
	}
}

static void
typed_lists(void **state)
{
	float f[4] = {0, 1, 2, 3};
	double d[4] = {0, 1, 2, 3};
	int32_t i32[4] = {0, 1, 2, 3}, f16[4] = {0, 0x3c00, 0x4000, 0x4200},
		bf16[4] = {0, 0x3f80, 0x4000, 0x4040};
	int32_t nibbles[2] = {0x10, 0x32}, crumbs[1] = {0xe4};
	int64_t i64[4] = {0, 1, 2, 3};
	uint64_t u64[4] = {0, 1, 2, 3};
	enum dtype small[] = {DT_u8, DT_i8, DT_u16, DT_i16, DT_i32};
	Onnx__TensorProto p = proto(DT_f32, 1, four);

	(void)state;
	p.n_float_data = 4;
	p.float_data = f;
	check_values(&p, 4, want);
	p = proto(DT_f64, 1, four);
	p.n_double_data = 4;
	p.double_data = d;
	check_values(&p, 4, want);
	p = proto(DT_i64, 1, four);
	p.n_int64_data = 4;
	p.int64_data = i64;
	check_values(&p, 4, want);
	for (int k = 0; k < 2; k++) {
		p = proto(k ? DT_u64 : DT_u32, 1, four);
		p.n_uint64_data = 4;
		p.uint64_data = u64;
		check_values(&p, 4, want);
	}
	for (size_t k = 0; k < sizeof small / sizeof *small; k++) {
		p = proto(small[k], 1, four);
		p.n_int32_data = 4;
		p.int32_data = i32;
		check_values(&p, 4, want);
	}
	p = proto(DT_f16, 1, four);
	p.n_int32_data = 4;
	p.int32_data = f16;
	check_values(&p, 4, want);
	p = proto(DT_bf16, 1, four);
	p.n_int32_data = 4;
	p.int32_data = bf16;
	check_values(&p, 4, want);
	p = proto(DT_u4, 1, four);
	p.n_int32_data = 2;
	p.int32_data = nibbles;
	check_values(&p, 4, want);
	p = proto(DT_u2, 1, four);
	p.n_int32_data = 1;
	p.int32_data = crumbs;
	check_values(&p, 4, want);
	p.n_int32_data = 0;
	assert_null(through_file(&p));
}

static void
strings_and_scalars(void **state)
{
	ProtobufCBinaryData s[2] = {{2, (uint8_t *)"ab"}, {0, (uint8_t *)""}};
	int64_t two = 2;
	float f = 2.5f;
	Onnx__TensorProto p = proto(DT_str, 1, &two);
	struct tensor *t;

	(void)state;
	p.n_string_data = 2;
	p.string_data = s;
	t = through_file(&p);
	assert_non_null(t);
	assert_string_equal(((char **)t->data)[0], "ab");
	assert_string_equal(((char **)t->data)[1], "");
	p = proto(DT_f32, 0, NULL);
	p.n_float_data = 1;
	p.float_data = &f;
	check_values(&p, 1, (double[]){2.5});
}

static void
sizes_that_lie(void **state)
{
	int64_t huge[3] = {INT64_MAX, INT64_MAX, 4}, negative = -1, many[MAX_RANK + 1] = {0};
	Onnx__TensorProto p = proto(DT_f32, 3, huge);

	(void)state;
	p.has_raw_data = 1;
	assert_null(through_file(&p));
	assert_non_null(strstr(diag.text.s, "its size overflows"));
	p = proto(DT_f32, 1, &negative);
	assert_null(through_file(&p));
	assert_non_null(strstr(diag.text.s, "axis 0 has size -1"));
	p = proto(DT_f32, MAX_RANK + 1, many);
	assert_null(through_file(&p));
	assert_non_null(strstr(diag.text.s, "13 axes"));
	p = proto(DT_f32, 0, NULL);
	p.data_type = 99;
	assert_null(through_file(&p));
	assert_non_null(strstr(diag.text.s, "element type 99"));
}

/* ---- external data */
static struct tensor *
external(const char *location, const char *offset, const char *length)
{
	Onnx__TensorProto p = proto(DT_f32, 1, four);
	Onnx__StringStringEntryProto e[3], *list[3] = {&e[0], &e[1], &e[2]};
	char *kv[3][2] = {{"location", (char *)(uintptr_t)location},
	    {"offset", (char *)(uintptr_t)offset}, {"length", (char *)(uintptr_t)length}};

	for (int i = 0; i < 3; i++) {
		onnx__string_string_entry_proto__init(&e[i]);
		e[i].key = kv[i][0];
		e[i].value = kv[i][1];
	}
	p.n_external_data = length ? 3 : offset ? 2 : 1;
	p.external_data = list;
	p.has_data_location = 1;
	p.data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
	return through_file(&p);
}

static void
external_data(void **state)
{
	float data[8] = {9, 9, 0, 1, 2, 3, 9, 9};
	struct tensor *t;

	(void)state;
	put_file("w.bin", data, sizeof data);
	t = external("w.bin", "8", "16");
	assert_non_null(t);
	assert_memory_equal(t->data, data + 2, 16);
	t = external("./w.bin", "8", NULL);
	assert_non_null(t);
	assert_non_null(external("w.bin", NULL, NULL));
}

static void
refused_external(const char *location, const char *offset, const char *length, const char *words)
{
	assert_null(external(location, offset, length));
	if (!strstr(diag.text.s, words))
		fail_msg("\"%s\" is not in\n%s", words, diag.text.s);
	diag_free(&diag);
	diag_init(&diag, NULL);
}

static void
external_data_stays_in_its_folder(void **state)
{
	float data[4] = {0};

	(void)state;
	put_file("w.bin", data, sizeof data);
	assert_int_equal(symlink("/etc/hostname", file_of("link")), 0);
	assert_int_equal(mkdir(file_of("sub"), 0700), 0);
	refused_external("/etc/hostname", "0", "16", "leaves the model's directory");
	refused_external("../w.bin", "0", "16", "leaves the model's directory");
	refused_external("sub/../../w.bin", "0", "16", "leaves the model's directory");
	refused_external("sub/..", "0", "16", "leaves the model's directory");
	refused_external("link", "0", "16", "leaves the model's directory");
	refused_external("none.bin", "0", "16", "no such file");
	refused_external("sub", "0", "16", "not a plain file");
	refused_external("w.bin", "4", "16", "has 16 bytes, 16 at offset 4 are wanted");
	refused_external("w.bin", "-4", "16", "is not a size");
	refused_external("w.bin", "9223372036854775807", NULL, "are wanted");
	refused_external("w.bin", "0", "12", "gives 12 bytes, its shape needs 16");
	refused_external("", "0", "16", "without a location");
}

static void
sparse(void **state)
{
	int64_t dims[2] = {2, 3}, two = 2, at[4] = {0, 1, 1, 2}, flat[2] = {1, 5},
		outside[2] = {1, 6}, pairs[2] = {2, 2};
	float v[2] = {7, 8};
	Onnx__TensorProto values = proto(DT_f32, 1, &two), indices = proto(DT_i64, 2, pairs);
	Onnx__SparseTensorProto s;
	struct onnx_file f = {.keep = arena, .own = arena, .name = "s", .dir = folder};
	struct tensor *t;

	(void)state;
	onnx__sparse_tensor_proto__init(&s);
	s.values = &values;
	s.indices = &indices;
	s.n_dims = 2;
	s.dims = dims;
	values.n_float_data = 2;
	values.float_data = v;
	indices.n_int64_data = 4;
	indices.int64_data = at;
	for (int k = 0; k < 2; k++) {
		t = onnx_sparse_tensor(&f, &s, LOC_NONE, &diag);
		assert_non_null(t);
		assert_memory_equal(t->data, ((float[]){0, 7, 0, 0, 0, 8}), 24);
		indices = proto(DT_i64, 1, &two);
		indices.n_int64_data = 2;
		indices.int64_data = flat;
	}
	indices.int64_data = outside;
	assert_null(onnx_sparse_tensor(&f, &s, LOC_NONE, &diag));
}

#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
int
main(void)
{
	const struct CMUnitTest tests[] = {T(raw_bytes), T(typed_lists), T(strings_and_scalars),
	    T(sizes_that_lie), T(external_data), T(external_data_stays_in_its_folder), T(sparse)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
