/* Augmentations against numbers of torchvision 0.14 (a script printed them: tables below
 * with the call in front), and against what the papers' formulas say by hand. */
#include "runtime/trainer.h"
#include "tests/runtime/tmp.h"

#include <math.h>

static struct region region;
static struct rt_msg msg;
static struct config cfg;
static struct augmenter aug;

/* the image of all tables: u8 [3,4,5] */
static unsigned char
pixel_of(int k)
{
	int c = k / 20, i = k % 20;

	return (unsigned char)((37 * i * i + 11 * i + 5 * c * i + 29 * c) % 256);
}

/* fields: x u8 [3,4,5], f f32 [3,4,5], m u8 [4,5] with classes, t i64 [12], s f32 [6,9], y i64 */
static void
with(const char *lines)
{
	char text[2000];

	snprintf(text, sizeof text,
	    "retort_trainer 1\nbatch 4\n%s\nset a 4 0\nfield x 2 3 4 5\ntrain x f\nfield f 1 3 4 5\ntrain f f\n"
	    "field m 2 4 5\nclasses m 200\nignore m 99\ntrain m f\nfield t 7 12\ntrain t f\nfield s 1 6 9\ntrain s f\n"
	    "field y 7\nclasses y 3\ntarget y\ntrain y f\n",
	    lines);
	memset(&msg, 0, sizeof msg);
	if (!config_parse(&cfg, text, &region, &msg))
		fail_msg("%s: %s", lines, msg.text);
	assert_true(augmenter_open(&aug, &cfg, 9, &region, &msg));
}

static const struct cfg_field *
field(const char *name)
{
	for (int i = 0; i < cfg.sets[0].nfields; i++)
		if (strcmp(cfg.sets[0].fields[i].name, name) == 0)
			return &cfg.sets[0].fields[i];
	fail_msg("%s", name);
	return NULL;
}

static int
tear_down(void **s)
{
	(void)s;
	region_free(&region);
	return 0;
}

static void
bytes(unsigned char *p, const char *name, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = pixel_of(i);
	augment_row(&aug, field(name), p, 0, 0, 1);
}

static void
floats(float *p)
{
	for (int i = 0; i < 60; i++)
		p[i] = (float)pixel_of(i) / 255;
	augment_row(&aug, field("f"), p, 0, 0, 1);
}

static void
check_bytes(const unsigned char *p, const int *want, int n, int off)
{
	for (int i = 0; i < n; i++)
		if (abs(p[i] - want[i]) > off)
			fail_msg("element %d is %d, not %d", i, p[i], want[i]);
}

static void
check_floats(const float *p, const double *want, int n, double off)
{
	for (int i = 0; i < n; i++)
		if (!(fabs(p[i] - want[i]) <= off))
			fail_msg("element %d is %g, not %g", i, (double)p[i], want[i]);
}

static void
rotation(void **s)
{
	/* rotate(x.float(), 30, BILINEAR)[0], rounded; rotate(x[:1], -40, NEAREST), 0 outside */
	static const int turned[20] = {10, 109, 128, 87, 35, 34, 104, 112, 201, 239, 196, 179, 123, 169, 205, 116, 192, 172, 92, 31};
	static const int nearest[20] = {226, 212, 48, 170, 0, 226, 246, 98, 170, 110, 176, 128, 84, 152, 24, 0, 128, 154, 238, 24};
	unsigned char p[60];
	int want[20];

	(void)s;
	with("augment rotate degrees 30 30");
	bytes(p, "x", 60);
	check_bytes(p, turned, 20, 0);
	with("augment rotate degrees -40 -40");
	bytes(p, "m", 20);
	for (int i = 0; i < 20; i++)
		want[i] = i == 4 || i == 15 ? 99 : nearest[i]; /* outside: the label that is ignored */
	check_bytes(p, want, 20, 0);
}

static void
colours(void **s)
{
	/* adjust_brightness(x, 1.4)[0], adjust_contrast(x, 0.5), adjust_saturation(x, 1.7), adjust_hue(x, 0.2) */
	static const int bright[20] = {0, 67, 238, 154, 173, 255, 165, 137, 212, 33, 255, 255, 117, 255, 255, 58, 246, 179, 215, 255};
	static const int flat[60] = {64, 88, 149, 119, 126, 170, 123, 113, 140, 76, 177, 187, 106, 190, 183, 85, 152, 128, 141, 191, 78,
	    105, 168, 141, 150, 69, 152, 145, 174, 113, 88, 101, 150, 109, 104, 137, 78, 185, 72, 125, 93, 122, 188, 163, 175, 96, 182,
	    177, 81, 150, 128, 143, 67, 156, 154, 189, 133, 114, 132, 187};
	static const int vivid[60] = {0, 29, 148, 85, 96, 255, 84, 61, 133, 0, 255, 255, 53, 255, 255, 0, 239, 83, 212, 255, 33, 86, 214,
	    160, 180, 0, 184, 170, 250, 107, 6, 32, 205, 48, 40, 160, 0, 255, 0, 84, 82, 144, 255, 235, 255, 55, 255, 255, 0, 233, 140, 174,
	    0, 208, 208, 255, 175, 36, 181, 255};
	static const int hued[60] = {40, 95, 224, 171, 192, 212, 200, 187, 33, 127, 226, 246, 6, 252, 238, 187, 176, 100, 154, 254, 0, 48,
	    170, 110, 124, 198, 118, 98, 221, 24, 182, 196, 173, 190, 170, 41, 96, 241, 62, 156, 58, 116, 248, 198, 222, 9, 236, 226, 140,
	    172, 49, 74, 128, 90, 80, 250, 28, 242, 16, 122};
	/* of y = x.float()/255: adjust_hue(y, -0.3)[0][:10], adjust_contrast(y, 1.5)[0][:10] */
	static const double hue_f[10] = {0.06823541969060898, 0.268235445022583, 0.7584315538406372, 0.5349021553993225, 0.6015688180923462,
	    0.039215680211782455, 0.601568877696991, 0.5349022746086121, 0.8666666746139526, 0.2682356536388397};
	static const double contrast_f[10] = {0.0, 0.029464304447174072, 0.7471113204956055, 0.39417019486427307, 0.47652313113212585,
	    0.9941701889038086, 0.4412290155887604, 0.3235819637775421, 0.6412290334701538, 0.0};
	unsigned char p[60];
	float f[60];

	(void)s;
	with("augment color_jitter brightness 1.4 1.4");
	bytes(p, "x", 60);
	check_bytes(p, bright, 20, 0);
	with("augment color_jitter contrast 0.5 0.5");
	bytes(p, "x", 60);
	check_bytes(p, flat, 60, 0);
	with("augment color_jitter saturation 1.7 1.7");
	bytes(p, "x", 60);
	check_bytes(p, vivid, 60, 0);
	with("augment color_jitter hue 0.2 0.2");
	bytes(p, "x", 60);
	check_bytes(p, hued, 60, 1); /* cut to whole numbers on either side of one */
	with("augment color_jitter hue -0.3 -0.3");
	floats(f);
	check_floats(f, hue_f, 10, 1e-6);
	with("augment color_jitter contrast 1.5 1.5");
	floats(f);
	check_floats(f, contrast_f, 10, 1e-6);
	/* factors and their order are drawn: samples differ, the same sample does not */
	unsigned char q[60];
	int differ = 0;

	with("augment color_jitter brightness 0.5 1.5 hue -0.5 0.5");
	for (int i = 0; i < 20; i++) {
		for (int k = 0; k < 60; k++)
			p[k] = q[k] = pixel_of(k);
		augment_row(&aug, field("x"), p, 0, 0, i);
		augment_row(&aug, field("x"), q, 0, 0, i + 1);
		differ += memcmp(p, q, 60) != 0;
	}
	assert_int_equal(differ, 20);
}

static void
sizes(void **s)
{
	/* interpolate(x.float()[None], size, mode='bilinear', antialias=True)[0,0] for (2,3) and (7,9) */
	static const double small[6] = {115.91836547851562, 127.04762268066406, 119.22449493408203, 167.6734619140625, 145.6825408935547, 206.32652282714844};
	static const double large[63] = {0.0, 16.000001907348633, 42.66667175292969, 102.22223663330078, 170.0, 136.66665649414062,
	    111.55555725097656, 119.33334350585938, 124.0, 75.71430206298828, 74.80953979492188, 73.30159759521484, 104.68254852294922,
	    144.28570556640625, 133.57142639160156, 120.92063903808594, 100.5238037109375, 88.28570556640625, 196.85714721679688};
	struct rt_planes from = {RT_F32, 1, 4, 5, NULL}, to = {RT_F32, 1, 2, 3, NULL};
	float in[20], out[63], tmp[200];

	(void)s;
	for (int i = 0; i < 20; i++)
		in[i] = pixel_of(i);
	from.p = (unsigned char *)in;
	to.p = (unsigned char *)out;
	assert_true(rt_resample_room(&from, &to) <= sizeof tmp);
	rt_resample(&from, (int64_t[]){0, 0, 4, 5}, &to, false, tmp);
	check_floats(out, small, 6, 1e-4);
	to.h = 7, to.w = 9;
	rt_resample(&from, (int64_t[]){0, 0, 4, 5}, &to, false, tmp);
	check_floats(out, large, 19, 1e-4);
	/* a window of one pixel is that pixel everywhere; nearest of the same size is a copy */
	rt_resample(&from, (int64_t[]){2, 3, 1, 1}, &to, false, tmp);
	for (int i = 0; i < 63; i++)
		assert_true(out[i] == in[13]);
	to.h = 4, to.w = 5;
	rt_resample(&from, (int64_t[]){0, 0, 4, 5}, &to, true, tmp);
	assert_memory_equal(in, out, sizeof in);

	unsigned char p[60], whole[60];

	with("augment random_resized_crop scale 1 1 ratio 1.25 1.25");
	bytes(p, "x", 60);
	for (int i = 0; i < 60; i++)
		whole[i] = pixel_of(i);
	assert_memory_equal(p, whole, 60); /* all of the area in its own shape */
	with("augment random_resized_crop scale 0.05 0.05 ratio 1 1");
	bytes(p, "m", 20);
	for (int i = 1; i < 20; i++)
		assert_int_equal(p[i], p[0]); /* one pixel: round(sqrt(20*0.05)) = 1 a side */
}

static void
reflected(void **s)
{
	unsigned char p[60], m[20], was[20];
	int seen = 0;

	(void)s;
	with("augment crop pad 1 mode 1");
	for (int i = 0; i < 60; i++) {
		for (int k = 0; k < 60; k++)
			p[k] = (unsigned char)(k % 20);
		for (int k = 0; k < 20; k++)
			m[k] = was[k] = (unsigned char)k;
		augment_row(&aug, field("x"), p, 0, 0, i);
		augment_row(&aug, field("m"), m, 0, 0, i);
		assert_memory_equal(p, m, 20); /* the label map moves with its image */
		/* (1,2) stays inside: it tells the shift, reflection tells the rest */
		int dy = m[7] / 5 - 1, dx = m[7] % 5 - 2;

		for (int y = 0; y < 4; y++)
			for (int x = 0; x < 5; x++) {
				int sy = y + dy, sx = x + dx;

				sy = sy < 0 ? -sy : sy > 3 ? 6 - sy : sy;
				sx = sx < 0 ? -sx : sx > 4 ? 8 - sx : sx;
				assert_int_equal(m[y * 5 + x], was[sy * 5 + sx]);
			}
		seen |= dx < 0 ? 1 : 2;
	}
	assert_int_equal(seen, 3);
}

static void
masks_of_spectrograms(void **s)
{
	float p[54];
	int widths[5] = {0};

	(void)s;
	with("augment time_mask width 3 count 1 fill -7 field s");
	for (int i = 0; i < 400; i++) {
		int n = 0, first = -1;

		for (int k = 0; k < 54; k++)
			p[k] = 1;
		augment_row(&aug, field("s"), p, i, 0, 5);
		for (int x = 0; x < 9; x++) {
			if (p[x] != -7)
				continue;
			first = first < 0 ? x : first;
			assert_int_equal(x, first + n++); /* one stripe, through all rows */
			for (int y = 0; y < 6; y++)
				assert_true(p[y * 9 + x] == -7);
		}
		widths[n]++;
	}
	for (int w = 0; w < 4; w++)
		assert_in_range(widths[w], 60, 140);
	assert_int_equal(widths[4], 0);
	with("augment freq_mask width 6 count 1 fill 0 field s");
	for (int k = 0; k < 54; k++)
		p[k] = 1;
	augment_row(&aug, field("s"), p, 2, 0, 5);
	for (int k = 0; k < 54; k++)
		assert_true(p[k] == p[k / 9 * 9]);
}

static void
tokens(void **s)
{
	int64_t p[12];
	int gone = 0;

	(void)s;
	with("augment token_dropout chance 0.25 id 103 keep 0 keep 1");
	for (int i = 0; i < 500; i++) {
		for (int k = 0; k < 12; k++)
			p[k] = k;
		augment_row(&aug, field("t"), p, 0, 0, i);
		assert_true(p[0] == 0 && p[1] == 1);
		for (int k = 2; k < 12; k++) {
			assert_true(p[k] == k || p[k] == 103);
			gone += p[k] == 103;
		}
	}
	assert_in_range(gone, 1100, 1400); /* of 5000 */
	p[0] = 5;
	augment_row(&aug, field("y"), p, 0, 0, 0);
	assert_int_equal(p[0], 5);
}

/* Rows are their numbers: what they become tells the share. */
static void
mixtures(void **s)
{
	float rows[4][60];
	double sum = 0;
	int full = 0;

	(void)s;
	with("augment mixup alpha 0.4");
	assert_true(augment_mixes(&cfg));
	for (int step = 0; step < 400; step++) {
		double share = augment_share(&aug, 0, step);

		assert_true(share >= 0 && share <= 1);
		sum += share;
		full += share > 0.9 || share < 0.1;
		for (int i = 0; i < 240; i++)
			rows[i / 60][i % 60] = (float)(1 << i / 60);
		augment_batch(&aug, field("f"), rows, 4, 0, step);
		for (int i = 0; i < 4; i++)
			assert_true(fabs(rows[i][7] - (share * (1 << i) + (1 - share) * (1 << (i + 1) % 4))) < 1e-5);
	}
	/* Beta(0.4, 0.4): mean 1/2; below 0.1 or above 0.9 in 0.48 of the draws */
	assert_true(fabs(sum / 400 - 0.5) < 0.06);
	assert_in_range(full, 155, 230);

	with("augment cutmix alpha 1");
	for (int step = 0; step < 100; step++) {
		unsigned char m[4][20];
		double share = augment_share(&aug, 0, step);
		int other = 0;

		for (int i = 0; i < 240; i++)
			rows[i / 60][i % 60] = (float)(i / 60);
		for (int i = 0; i < 80; i++)
			m[i / 20][i % 20] = (unsigned char)(i / 20);
		augment_batch(&aug, field("f"), rows, 4, 0, step);
		augment_batch(&aug, field("m"), m, 4, 0, step);
		for (int k = 0; k < 20; k++) {
			other += rows[1][k] == 2;
			assert_true(rows[1][k] == rows[1][k + 20] && rows[1][k] == m[1][k]);
		}
		assert_true(fabs(1 - other / 20.0 - share) < 1e-9); /* the share is what the box left */
		assert_true(augment_mixes_field(&aug, field("m"), 0, step));
		assert_false(augment_mixes_field(&aug, field("y"), 0, step));
	}
	with("augment mixup alpha 1 p 0");
	assert_true(augment_share(&aug, 0, 3) == 1);
}

static void
refusals(void **s)
{
	int64_t d[3] = {2, 4, 5};
	struct augment_field f = {RT_U8, 3, d, false, false}, t = {RT_I64, 1, d, false, false}, y = {RT_I64, 0, d, true, true};

	(void)s;
	assert_non_null(strstr(augment_refuses(AUG_color_jitter, &f), "[3,H,W]"));
	assert_non_null(strstr(augment_refuses(AUG_rotate, &t), "[C,H,W]"));
	assert_non_null(strstr(augment_refuses(AUG_token_dropout, &f), "[T]"));
	assert_non_null(strstr(augment_refuses(AUG_flip_h, &y), "labels"));
	f.dtype = RT_I32;
	assert_non_null(strstr(augment_refuses(AUG_noise, &f), "u8 or f32"));
	assert_null(augment_refuses(AUG_flip_h, &f));
	f.target = true;
	assert_non_null(strstr(augment_refuses(AUG_cutout, &f), "not on labels"));
	assert_null(augment_refuses(AUG_crop, &f));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(rotation, tear_down),
	    cmocka_unit_test_teardown(colours, tear_down),
	    cmocka_unit_test_teardown(sizes, tear_down),
	    cmocka_unit_test_teardown(reflected, tear_down),
	    cmocka_unit_test_teardown(masks_of_spectrograms, tear_down),
	    cmocka_unit_test_teardown(tokens, tear_down),
	    cmocka_unit_test_teardown(mixtures, tear_down),
	    cmocka_unit_test_teardown(refusals, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
