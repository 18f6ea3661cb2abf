/* The standalone executable's main, around a program written in C: y = 2x, z = the
 * sum of each row. */
#include "runtime/rt_int.h"
#include "tests/runtime/tmp.h"

static void
call(int32_t c, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot)
{
	const float *x = base[3];
	float *y = base[4], *z = base[5];

	(void)c, (void)sym, (void)slot;
	for (int64_t r = begin; r < end; r++) {
		z[r] = 0;
		for (int i = 0; i < 3; i++) {
			y[3 * r + i] = 2 * x[3 * r + i];
			z[r] += x[3 * r + i];
		}
	}
}

static const int64_t dx[] = {4, 3}, dz[] = {4}, pieces[] = {4};
static const double flops[] = {4e9}; /* more than one thread where there are processors */
static const struct rt_tensor in[] = {{"x", RT_F32, 2, dx, NULL, 48, 0}};
static const struct rt_tensor out[] = {{"y", RT_F32, 2, dx, NULL, 48, 0}, {"a/z", RT_F32, 1, dz, NULL, 16, 1}};
static const struct rt_program model = {.abi = RT_ABI,
    .name = "double",
    .ncalls = 1,
    .ninputs = 1,
    .noutputs = 2,
    .pieces = pieces,
    .flops = flops,
    .call = call,
    .inputs = in,
    .outputs = out};

static int
go(int n, const char *const *args)
{
	char *argv[12] = {"double"};

	for (int i = 0; i < n; i++)
		argv[i + 1] = (char *)args[i];
	return rt_infer_main(&model, n + 1, argv);
}

static const char *
arg(const char *name, const char *file)
{
	static char buf[4][300];
	static int k;

	k = (k + 1) % 4;
	snprintf(buf[k], sizeof buf[k], "%s=%s", name, tmp_path(file));
	return buf[k];
}

static void
chunks(void **s)
{
	struct rt_msg m = {0};
	struct rt_array a;
	float x[10 * 3];

	(void)s;
	for (int i = 0; i < 30; i++)
		x[i] = (float)i;
	for (int64_t rows = 1; rows <= 10; rows++) {
		int64_t dims[] = {rows, 3};

		assert_true(rt_npy_write(tmp_path("x.npy"), RT_F32, 2, dims, x, &m));
		assert_int_equal(go(7, (const char *[]){arg("x", "x.npy"), "-o", arg("y", "y.npy"),
					   "-o", arg("a/z", "z.npy"), "--threads", "2"}),
		    0);
		assert_true(rt_data_open(&a, tmp_path("y.npy"), RT_ROLE_IMAGES, RT_F32, &m));
		assert_int_equal(a.rows, rows);
		for (int i = 0; i < 3 * rows; i++)
			assert_true(((const float *)a.data)[i] == 2 * x[i]);
		rt_data_close(&a);
		assert_true(rt_data_open(&a, tmp_path("z.npy"), RT_ROLE_IMAGES, RT_F32, &m));
		assert_int_equal(a.rank, 1);
		assert_true(((const float *)a.data)[rows - 1] == (float)(9 * rows - 6));
		rt_data_close(&a);
	}
}

static void
mistakes(void **s)
{
	struct rt_msg m = {0};
	float x[12] = {0};

	(void)s;
	assert_int_equal(go(0, NULL), RT_USAGE);
	assert_int_equal(go(1, (const char *[]){"--help"}), 0);
	assert_int_equal(go(1, (const char *[]){"--fast"}), RT_USAGE);
	assert_int_equal(go(1, (const char *[]){"q=x.npy"}), RT_USAGE);
	assert_int_equal(go(2, (const char *[]){"x=a.npy", "x=b.npy"}), RT_USAGE);
	assert_int_equal(go(2, (const char *[]){"--threads", "0"}), RT_USAGE);
	assert_int_equal(go(1, (const char *[]){"-o"}), RT_USAGE);
	assert_int_equal(go(1, (const char *[]){arg("x", "absent.npy")}), RT_IO);
	assert_true(rt_npy_write(tmp_path("i.npy"), RT_I64, 2, (int64_t[]){1, 1}, x, &m));
	assert_int_equal(go(1, (const char *[]){arg("x", "i.npy")}), RT_INVALID);
	assert_true(rt_npy_write(tmp_path("w.npy"), RT_F32, 2, (int64_t[]){4, 2}, x, &m));
	assert_int_equal(go(1, (const char *[]){arg("x", "w.npy")}), RT_INVALID);
	assert_true(rt_npy_write(tmp_path("r.npy"), RT_F32, 1, (int64_t[]){12}, x, &m));
	assert_int_equal(go(1, (const char *[]){arg("x", "r.npy")}), RT_INVALID);
	assert_true(rt_npy_write(tmp_path("g.npy"), RT_F32, 2, (int64_t[]){4, 3}, x, &m));
	assert_int_equal(
	    go(3, (const char *[]){arg("x", "g.npy"), "-o", arg("y", "no/such/folder.npy")}),
	    RT_IO);
	assert_int_equal(go(2, (const char *[]){"--bench", "5"}), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(chunks, tmp_make, tmp_clean),
	    cmocka_unit_test_setup_teardown(mistakes, tmp_make, tmp_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
