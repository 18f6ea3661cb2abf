/* Data files written here, read back, cut at every length and with every byte
 * changed: a loader says what is wrong and never reads past what there is. */
#include "runtime/rt_int.h"
#include "runtime/gz.h"
#include "tests/runtime/tmp.h"

#include <png.h>
#include <jpeglib.h>
#include <sys/stat.h>
#include <zlib.h>

static struct rt_array a;
static struct rt_msg msg;

static bool
open_as(const char *spec, enum rt_role role, int32_t dtype)
{
	memset(&msg, 0, sizeof msg);
	return rt_data_open(&a, spec, role, dtype, &msg);
}

static void
must(const char *spec, enum rt_role role, int32_t dtype)
{
	if (!open_as(spec, role, dtype))
		fail_msg("%s", msg.text);
}

/* It fails, and says `part`. */
static void
fails(const char *spec, const char *part)
{
	assert_false(open_as(spec, RT_ROLE_IMAGES, 0));
	assert_true(msg.status == RT_INVALID || msg.status == RT_IO);
	if (!strstr(msg.text, part))
		fail_msg("expected \"%s\" in: %s", part, msg.text);
}

/* Every prefix fails or is whole, every changed byte does not crash. */
static void
torture(const char *name, const unsigned char *data, size_t n)
{
	unsigned char *copy = malloc(n);
	size_t step = n > 600 ? n / 300 : 1;

	for (size_t k = 0; k < n; k += step) {
		const char *path = tmp_write(name, data, k);

		if (open_as(path, RT_ROLE_IMAGES, 0))
			rt_data_close(&a);
		else
			assert_true(msg.text[0] && msg.status);
	}
	for (size_t k = 0; k < n; k += step)
		for (int v = 0; v < 3; v++) {
			memcpy(copy, data, n);
			copy[k] = v == 0 ? 0xff : v == 1 ? 0 : copy[k] ^ 0x80;
			if (open_as(tmp_write(name, copy, n), RT_ROLE_IMAGES, 0)) {
				volatile unsigned char sum = 0;

				for (int64_t i = 0; i < a.rows * a.row_bytes; i++)
					sum = (unsigned char)(sum + a.data[i]);
				rt_data_close(&a);
			}
		}
	free(copy);
}

static unsigned char *
slurp(const char *path, size_t *n)
{
	struct rt_msg m = {0};
	unsigned char *p = rt_read_file(path, n, &m);

	assert_non_null(p);
	return p;
}

static void
idx(void **s)
{
	unsigned char raw[4 + 12 + 12] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2};
	unsigned char wide[] = {0, 0, 0x0b, 1, 0, 0, 0, 2, 0x01, 0x02, 0xff, 0xfe};

	(void)s;
	for (int i = 0; i < 12; i++)
		raw[16 + i] = (unsigned char)i;
	must(tmp_write("a-idx3-ubyte", raw, sizeof raw), RT_ROLE_IMAGES, 0);
	assert_int_equal(a.dtype, RT_U8);
	assert_int_equal(a.rank, 3);
	assert_int_equal(a.rows, 2);
	assert_int_equal(a.row_bytes, 6);
	assert_int_equal(a.data[7], 7);
	rt_data_close(&a);
	must(tmp_write("b.idx", wide, sizeof wide), RT_ROLE_IMAGES, RT_I16);
	assert_int_equal(((const int16_t *)a.data)[0], 0x102);
	assert_int_equal(((const int16_t *)a.data)[1], -2);
	rt_data_close(&a);
	assert_false(open_as(tmp_path("b.idx"), RT_ROLE_IMAGES, RT_F32));
	assert_non_null(strstr(msg.text, "i16"));

	gzFile z = gzopen(tmp_path("c-idx3-ubyte.gz"), "wb");

	gzwrite(z, raw, sizeof raw);
	gzclose(z);
	must(tmp_path("c-idx3-ubyte.gz"), RT_ROLE_IMAGES, 0);
	assert_int_equal(a.data[11], 11);
	rt_data_close(&a);
	size_t n;
	unsigned char *gz = slurp(tmp_path("c-idx3-ubyte.gz"), &n);

	fails(tmp_write("d-idx3-ubyte.gz", gz, n - 9), "truncated");
	torture("e-ubyte.gz", gz, n);
	torture("f-ubyte", raw, sizeof raw);
	free(gz);
	fails(tmp_write("g-ubyte", raw, sizeof raw - 1), "2 samples of 6 bytes");
	fails(tmp_path("absent.npy"), "No such file");
	fails(tmp_write("h.xyz", raw, 4), "no loader");
}

static void
npy(void **s)
{
	float v[6] = {1, 2, 3, 4, 5, 6};
	int64_t dims[2] = {3, 2};
	size_t n;

	(void)s;
	memset(&msg, 0, sizeof msg);
	assert_true(rt_npy_write(tmp_path("a.npy"), RT_F32, 2, dims, v, &msg));
	must(tmp_path("a.npy"), RT_ROLE_IMAGES, RT_F32);
	assert_int_equal(a.rows, 3);
	assert_int_equal(a.row_bytes, 8);
	assert_memory_equal(a.data, v, sizeof v);
	assert_int_equal((uintptr_t)a.data % 64, 0);
	rt_data_close(&a);
	unsigned char *p = slurp(tmp_path("a.npy"), &n);

	torture("b.npy", p, n);
	fails(tmp_write("b.npy", p, n - 4), "truncated");
	free(p);
	const char fortran[] =
	    "\x93NUMPY\x01\x00\x36\x00{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }   ";

	fails(tmp_write("c.npy", fortran, sizeof fortran), "Fortran");
	const char huge[] = "\x93NUMPY\x01\x00\x5a\x00{'descr': '<f4', 'fortran_order': False, "
			    "'shape': (4611686018427387904, 4611686018427387904), }   ";

	fails(tmp_write("d.npy", huge, sizeof huge), "shape");
}

static void
le(unsigned char *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

/* An archive of one member, deflated or stored. */
static size_t
zip(unsigned char *out, const char *name, const unsigned char *data, size_t n, bool deflated)
{
	unsigned char packed[4096];
	z_stream z = {0};
	size_t k = n, len = strlen(name), at = 0;

	memcpy(packed, data, n);
	if (deflated) {
		deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
		z.next_in = (Bytef *)data;
		z.avail_in = (uInt)n;
		z.next_out = packed;
		z.avail_out = sizeof packed;
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		k = z.total_out;
		deflateEnd(&z);
	}
	memset(out, 0, 30);
	le(out, 0x04034b50, 4);
	le(out + 8, deflated ? 8 : 0, 2);
	le(out + 26, len, 2);
	memcpy(out + 30, name, len);
	memcpy(out + 30 + len, packed, k);
	at = 30 + len + k;
	unsigned char *c = out + at;

	memset(c, 0, 46 + 22 + len);
	le(c, 0x02014b50, 4);
	le(c + 10, deflated ? 8 : 0, 2);
	le(c + 16, rt_crc32(data, n), 4);
	le(c + 20, k, 4);
	le(c + 24, n, 4);
	le(c + 28, len, 2);
	memcpy(c + 46, name, len);
	unsigned char *e = c + 46 + len;

	le(e, 0x06054b50, 4);
	le(e + 8, 1, 2);
	le(e + 10, 1, 2);
	le(e + 12, 46 + len, 4);
	le(e + 16, at, 4);
	return at + 46 + len + 22;
}

static void
npz(void **s)
{
	int64_t v[5] = {5, 4, 3, 2, 1}, dims[1] = {5};
	unsigned char out[8192];
	char spec[200];
	size_t n, k;

	(void)s;
	memset(&msg, 0, sizeof msg);
	assert_true(rt_npy_write(tmp_path("m.npy"), RT_I64, 1, dims, v, &msg));
	unsigned char *p = slurp(tmp_path("m.npy"), &n);

	for (int deflated = 0; deflated < 2; deflated++) {
		k = zip(out, "labels.npy", p, n, deflated);
		const char *path = tmp_write("a.npz", out, k);

		snprintf(spec, sizeof spec, "%s:labels", path);
		must(spec, RT_ROLE_LABELS, 0);
		assert_memory_equal(a.data, v, sizeof v);
		rt_data_close(&a);
		must(path, RT_ROLE_LABELS, 0); /* the only one */
		rt_data_close(&a);
		snprintf(spec, sizeof spec, "%s:label", path);
		fails(spec, "labels.npy");
		torture("b.npz", out, k);
	}
	free(p);
}

static void
csv(void **s)
{
	const char text[] = "a,b,\"the label\"\r\n1.5, 2,0\r\n-1e2,\"7\",2\r\n\r\n0,0,1";
	const char plain[] = "1;2\n3;4\n";
	char spec[200];

	(void)s;
	const char *path = tmp_write("a.csv", text, sizeof text - 1);

	snprintf(spec, sizeof spec, "%s:a,b", path);
	must(spec, RT_ROLE_IMAGES, 0);
	assert_int_equal(a.dtype, RT_F32);
	assert_int_equal(a.rows, 3);
	assert_int_equal(a.row_bytes, 8);
	assert_true(((const float *)a.data)[2] == -100);
	assert_true(((const float *)a.data)[3] == 7);
	rt_data_close(&a);
	snprintf(spec, sizeof spec, "%s:the label", path);
	must(spec, RT_ROLE_LABELS, 0);
	assert_int_equal(a.dtype, RT_I64);
	assert_int_equal(a.rank, 1);
	assert_int_equal(((const int64_t *)a.data)[1], 2);
	rt_data_close(&a);
	must(spec, RT_ROLE_LABELS, RT_U8);
	assert_int_equal(a.data[1], 2);
	rt_data_close(&a);
	snprintf(spec, sizeof spec, "%s:nope", path);
	fails(spec, "no column nope");
	snprintf(spec, sizeof spec, "%s:a", path);
	assert_false(open_as(spec, RT_ROLE_LABELS, RT_U8));
	assert_non_null(strstr(msg.text, "does not fit u8"));
	must(tmp_write("b.csv", plain, sizeof plain - 1), RT_ROLE_IMAGES, 0);
	assert_int_equal(a.rows, 2);
	assert_int_equal(((const int64_t *)a.data)[3], 4);
	rt_data_close(&a);
	fails(tmp_write("c.csv", "1,2\n3\n", 6), "line 2 has fewer");
	fails(tmp_write("c.csv", "1,2\n3,4,5\n", 10), "line 2 has more");
	fails(tmp_write("c.csv", "1,2\n3,x\n", 8), "'x' is not a number");
	fails(tmp_write("c.csv", "", 0), "empty");
	torture("d.csv", (const unsigned char *)text, sizeof text - 1);
}

static void
save_png(const char *path, int w, int h, bool gray, int seed)
{
	png_image p = {.version = PNG_IMAGE_VERSION, .width = (unsigned)w, .height = (unsigned)h};
	unsigned char pixels[3 * 64];

	p.format = gray ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
	for (int i = 0; i < 3 * w * h; i++)
		pixels[i] = (unsigned char)(seed + i);
	assert_true(png_image_write_to_file(&p, path, 0, pixels, 0, NULL));
}

static void
save_jpeg(const char *path, int w, int h, int value)
{
	struct jpeg_compress_struct j;
	struct jpeg_error_mgr e;
	unsigned char line[3 * 64], *lines[1] = {line};
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	j.err = jpeg_std_error(&e);
	jpeg_create_compress(&j);
	jpeg_stdio_dest(&j, f);
	j.image_width = (unsigned)w;
	j.image_height = (unsigned)h;
	j.input_components = 3;
	j.in_color_space = JCS_RGB;
	jpeg_set_defaults(&j);
	jpeg_start_compress(&j, TRUE);
	memset(line, value, sizeof line);
	for (int y = 0; y < h; y++)
		jpeg_write_scanlines(&j, lines, 1);
	jpeg_finish_compress(&j);
	jpeg_destroy_compress(&j);
	fclose(f);
}

static void
make_folder(void)
{
	mkdir(tmp_path("set"), 0777);
	mkdir(tmp_path("set/b"), 0777);
	mkdir(tmp_path("set/a"), 0777);
	mkdir(tmp_path("set/ab"), 0777);
	save_png(tmp_path("set/b/2.png"), 4, 3, false, 100);
	save_png(tmp_path("set/b/1.png"), 4, 3, true, 10);
	save_jpeg(tmp_path("set/a/x.jpg"), 4, 3, 128);
	save_png(tmp_path("set/ab/y.PNG"), 4, 3, false, 50);
	tmp_write("set/a/readme.txt", "x", 1);
}

static void
check_folder(const char *spec, const char *labels)
{
	static const int64_t want[] = {0, 1, 2, 2};

	must(spec, RT_ROLE_IMAGES, 0);
	assert_int_equal(a.rank, 4);
	assert_int_equal(a.rows, 4);
	assert_int_equal(a.dims[1], 3);
	assert_int_equal(a.dims[2], 3);
	assert_int_equal(a.dims[3], 4);
	for (int i = 0; i < 36; i++)
		assert_in_range(a.data[i], 126, 130); /* a/x.jpg */
	assert_int_equal(a.data[36], 50);	      /* ab: planes, not pixels */
	assert_int_equal(a.data[36 + 1], 53);
	assert_int_equal(a.data[36 + 12], 51);
	assert_int_equal(a.data[72], 10); /* gray in all three */
	assert_int_equal(a.data[72 + 12], 10);
	assert_int_equal(a.data[72 + 24 + 11], 21);
	assert_int_equal(a.data[108], 100);
	rt_data_close(&a);
	must(labels, rt_data_role("label", false), 0);
	assert_int_equal(a.dtype, RT_I64);
	assert_memory_equal(a.data, want, sizeof want);
	assert_int_equal(a.nclasses, 3);
	assert_string_equal(a.classes[1], "ab");
	rt_data_close(&a);
}

static size_t
tar_member(unsigned char *out, const char *name, const void *data, size_t n, char type)
{
	memset(out, 0, 512 + (n + 511) / 512 * 512);
	snprintf((char *)out, 100, "%s", name);
	snprintf((char *)out + 100, 8, "0000644");
	snprintf((char *)out + 124, 12, "%011zo", n);
	out[156] = (unsigned char)type;
	memcpy(out + 257,
	    "ustar\0"
	    "00",
	    8);
	memcpy(out + 512, data, n);
	return 512 + (n + 511) / 512 * 512;
}

static void
images(void **s)
{
	static const char *const files[] = {
	    "set/b/2.png", "set/b/1.png", "set/a/x.jpg", "set/ab/y.PNG"};
	unsigned char *tar = calloc(1, 65536);
	size_t at = 0, n;
	char spec[200], labels[220];

	(void)s;
	make_folder();
	check_folder(tmp_path("set"), tmp_path("set#labels"));
	for (int i = 0; i < 4; i++) {
		unsigned char *p = slurp(tmp_path(files[i]), &n);
		char name[100];

		snprintf(name, sizeof name, "./top/%s", files[i]);
		if (i == 1) /* a GNU long name before it */
			at += tar_member(tar + at, "././@LongLink", name, strlen(name) + 1, 'L');
		if (i == 2) {
			char pax[128];
			int len = 3 + 5 + (int)strlen(name) + 1;

			snprintf(pax, sizeof pax, "%02d path=%s\n", len, name);
			at += tar_member(tar + at, "pax", pax, (size_t)len, 'x');
		}
		at += tar_member(tar + at, i == 1 || i == 2 ? "short" : name, p, n, '0');
		free(p);
	}
	at += 1024;
	snprintf(spec, sizeof spec, "%s:top/set", tmp_write("set.tar", tar, at));
	snprintf(labels, sizeof labels, "%s#labels", spec);
	check_folder(spec, labels);
	check_folder(tmp_path("set.tar"), tmp_path("set.tar"));
	gzFile z = gzopen(tmp_path("set.tar.gz"), "wb");

	gzwrite(z, tar, (unsigned)at);
	gzclose(z);
	check_folder(tmp_path("set.tar.gz:top/set"), tmp_path("set.tar.gz:top/set#labels"));
	fails(tmp_path("set.tar:nowhere"), "below nowhere");
	torture("t.tar", tar, at);
	free(tar);
	save_png(tmp_path("set/ab/z.png"), 5, 3, false, 1);
	fails(tmp_path("set"), "5x3");
	tmp_write("set/ab/z.png", "not a picture", 13);
	fails(tmp_path("set"), "neither PNG nor JPEG");
	unsigned char *p = slurp(tmp_path("set/a/x.jpg"), &n);

	unlink(tmp_path("set/ab/z.png"));
	tmp_write("set/a/x.jpg", p, n / 2 + 100);
	fails(tmp_path("set"), "a/x.jpg");
	free(p);
}

/* Rows that are made: kept as far as memory is given, the same on any number of threads. */
static void
made_rows(void **s)
{
	struct rt_want w = {.file = "", .role = RT_ROLE_IMAGES, .size = {6, 5}};
	unsigned char first[9 * 90], row[90];
	struct rt_array all;
	uint64_t h = 1, k = 1;

	(void)s;
	mkdir(tmp_path("set"), 0777);
	mkdir(tmp_path("set/a"), 0777);
	for (int i = 0; i < 9; i++) {
		char name[40];

		snprintf(name, sizeof name, "set/a/%d.png", i);
		save_png(tmp_path(name), 4 + i, 12 - i, i % 2, 30 * i); /* all of other sizes */
	}
	memset(&msg, 0, sizeof msg);
	fails(tmp_path("set"), "resize: [HEIGHT, WIDTH]");
	w.file = tmp_path("set");
	for (int threads = 1; threads <= 5; threads += 4) {
		int64_t bytes = 4 * 90 + 50; /* four rows and a half */

		memset(&msg, 0, sizeof msg);
		if (!rt_data_want(&a, &w, &msg) || !rt_array_load(&a, &bytes, threads, &msg))
			fail_msg("%s", msg.text);
		assert_true(a.rows == 9 && a.row_bytes == 90 && a.dims[1] == 3 && a.dims[2] == 6 && a.dims[3] == 5);
		assert_true(a.held == 4 && bytes == 50);
		for (int i = 0; i < 9; i++) {
			assert_true(rt_array_row(&a, i, row, &msg));
			if (threads == 1)
				memcpy(first + 90 * i, row, 90);
			assert_memory_equal(first + 90 * i, row, 90);
		}
		assert_true(rt_array_hash(&a, 9, threads == 1 ? &h : &k, &msg));
		rt_data_close(&a);
	}
	assert_true(h == k);
	/* what cannot be decoded: the first of them is named, however many threads */
	int64_t bytes = 1 << 20;

	assert_true(rt_data_want(&a, &w, &msg));
	tmp_write("set/a/3.png", "gone", 4);
	tmp_write("set/a/7.png", "gone", 4);
	assert_false(rt_array_load(&a, &bytes, 5, &msg));
	assert_non_null(strstr(msg.text, "a/3.png"));
	rt_data_close(&a);

	/* an array resized: means of 2x2 by the triangle filter of a constant are that constant */
	float f[2][8][8];

	for (int i = 0; i < 128; i++)
		f[i / 64][i / 8 % 8][i % 8] = (float)(i / 64 + 3);
	memset(&msg, 0, sizeof msg);
	assert_true(rt_npy_write(tmp_path("f.npy"), RT_F32, 3, (int64_t[]){2, 8, 8}, f, &msg));
	w = (struct rt_want){.file = tmp_path("f.npy"), .size = {4, 4}};
	assert_true(rt_data_want(&all, &w, &msg));
	assert_true(all.dims[1] == 4 && all.dims[2] == 4 && !all.held);
	assert_true(rt_array_row(&all, 1, row, &msg) && ((float *)(void *)row)[9] == 4);
	rt_data_close(&all);
	assert_true(rt_npy_write(tmp_path("v.npy"), RT_F32, 2, (int64_t[]){2, 8}, f, &msg));
	w.file = tmp_path("v.npy");
	assert_false(rt_data_want(&all, &w, &msg));
	assert_non_null(strstr(msg.text, "cannot be resized"));
	w.where_possible = true;
	memset(&msg, 0, sizeof msg);
	assert_true(rt_data_want(&all, &w, &msg) && all.dims[1] == 8);
	rt_data_close(&all);
}

static void
ragged(void **s)
{
	int32_t values[7] = {5, 6, 7, 8, 9, 10, 11}, lengths[3] = {2, 4, 1}, row[4];
	static const int32_t want[3][4] = {{5, 6, -1, -1}, {7, 8, 9, 10}, {11, -1, -1, -1}};
	struct rt_want w = {.pad = -1};

	(void)s;
	memset(&msg, 0, sizeof msg);
	assert_true(rt_npy_write(tmp_path("v.npy"), RT_I32, 1, (int64_t[]){7}, values, &msg));
	assert_true(rt_npy_write(tmp_path("n.npy"), RT_I32, 1, (int64_t[]){3}, lengths, &msg));
	w.file = tmp_path("v.npy");
	w.lengths = tmp_path("n.npy");
	for (int64_t longest = 0; longest <= 3; longest += 3) {
		w.longest = longest;
		if (!rt_data_want(&a, &w, &msg))
			fail_msg("%s", msg.text);
		assert_true(a.rows == 3 && a.rank == 2 && a.dims[1] == (longest ? 3 : 4));
		for (int i = 0; i < 3; i++) {
			assert_true(rt_array_row(&a, i, (unsigned char *)row, &msg));
			assert_memory_equal(row, want[i], (size_t)a.row_bytes);
		}
		rt_data_close(&a);
	}
	lengths[1] = 3;
	assert_true(rt_npy_write(tmp_path("n.npy"), RT_I32, 1, (int64_t[]){3}, lengths, &msg));
	assert_false(rt_data_want(&a, &w, &msg));
	assert_non_null(strstr(msg.text, "add up to 6"));
	lengths[1] = -4;
	memset(&msg, 0, sizeof msg);
	assert_true(rt_npy_write(tmp_path("n.npy"), RT_I32, 1, (int64_t[]){3}, lengths, &msg));
	assert_false(rt_data_want(&a, &w, &msg));
	assert_non_null(strstr(msg.text, "sample 1 has length -4"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(idx, tmp_make, tmp_clean),
	    cmocka_unit_test_setup_teardown(npy, tmp_make, tmp_clean),
	    cmocka_unit_test_setup_teardown(npz, tmp_make, tmp_clean),
	    cmocka_unit_test_setup_teardown(csv, tmp_make, tmp_clean),
	    cmocka_unit_test_setup_teardown(images, tmp_make, tmp_clean),
	    cmocka_unit_test_setup_teardown(made_rows, tmp_make, tmp_clean),
	    cmocka_unit_test_setup_teardown(ragged, tmp_make, tmp_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
