/* Known vectors and values: checksums, event records, schedules, configuration
 * text, command line, meters of no step. */
#include "runtime/report.h"
#include "tests/runtime/tfevents.h"
#include "tests/unit.h"

#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

static void
crc32c(void **s)
{
	unsigned char zeros[32] = {0}, up[32];

	(void)s;
	for (int i = 0; i < 32; i++)
		up[i] = (unsigned char)i;
	/* RFC 3720 B.4 and the usual check value */
	assert_int_equal(rt_crc32c(zeros, 32), 0x8a9136aa);
	assert_int_equal(rt_crc32c(up, 32), 0x46dd794e);
	assert_int_equal(rt_crc32c("123456789", 9), 0xe3069283);
	uint32_t c = rt_crc32c("123456789", 9);

	assert_int_equal(rt_crc32c_masked("123456789", 9), ((c >> 15) | (c << 17)) + 0xa282ead8u);
}

static void
events(void **s)
{
	unsigned char b[4096];
	struct events e = {.p = b, .cap = sizeof b};
	float x[] = {1, 2, 2, INFINITY, -1};
	uint32_t crc;
	float f;
	double t;
	size_t n;

	(void)s;
	assert_true(events_version(&e, 1.5));
	n = e.n;
	assert_int_equal(n, 16 + 9 + 2 + 13);
	assert_int_equal(b[0], n - 16);
	assert_memory_equal(b + 12 + 9,
	    "\x1a\x0d"
	    "brain.Event:2",
	    15);
	memcpy(&crc, b + 8, 4);
	assert_int_equal(crc, rt_crc32c_masked(b, 8));
	memcpy(&crc, b + n - 4, 4);
	assert_int_equal(crc, rt_crc32c_masked(b + 12, n - 16));

	e.n = 0;
	events_begin(&e, 2.0, 300);
	events_scalar(&e, "loss", 0.25);
	assert_true(events_end(&e, true));
	const unsigned char *p = b + 12;

	assert_int_equal(p[0], 0x09);
	memcpy(&t, p + 1, 8);
	assert_true(t == 2.0);
	assert_memory_equal(p + 9, "\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15", 14);
	memcpy(&f, p + 23, 4);
	assert_true(f == 0.25f);
	assert_int_equal(e.n, 12 + 27 + 4);
	/* what does not fit leaves what was there */
	e.n = 0;
	for (e.cap = 0; e.cap < sizeof b; e.cap++) {
		events_begin(&e, 2.0, 300);
		events_scalar(&e, "loss", 0.25);
		events_text(&e, "text", "of some length");
		events_histogram(&e, "h", x, 5);
		if (events_end(&e, true))
			break;
		assert_int_equal(e.n, 0);
	}
	assert_int_equal(e.n, e.cap);
	struct tf_file file;

	n = e.n;
	e.cap = sizeof b;
	assert_true(events_version(&e, 2e9)); /* not first: only its name counts here */
	t = 2e9;
	memcpy(b + 13, &t, 8);
	crc = rt_crc32c_masked(b + 12, n - 16);
	memcpy(b + n - 4, &crc, 4);
	file = tf_read(b, e.n);
	assert_int_equal(file.n, 3);
	assert_string_equal(file.v[1].text, "of some length");
	assert_true(file.v[2].num == 4 && file.v[2].min == -1 && file.v[2].max == 2 && file.v[2].sum == 4 &&
		    file.v[2].squares == 10 && file.v[2].bucket[0] == 1 && file.v[2].bucket[EVENT_BUCKETS - 1] == 2);
	tf_free(&file);
}

static void
near(double a, double b)
{
	assert_true(fabs(a - b) <= 1e-12 + 1e-9 * fabs(b));
}

static struct stage_config
stage(struct region *r, const char *text)
{
	struct stage_config c;
	struct rt_msg m = {0};

	if (!stage_config_parse(&c, text, r, &m))
		fail_msg("%s", m.text);
	return c;
}

static void
schedules(void **state)
{
	struct region r = {0};
	struct stage_config s;

	(void)state;
	s = stage(&r, "lr 0.002\nschedule cosine\n");
	for (int t = 0; t < 100; t++)
		near(schedule_lr(&s, t, 100, 10, 1), 0.002 * (1 + cos(M_PI * t / 100.0)) / 2);
	s = stage(&r, "lr 1\nschedule cosine min_lr 0.1\nwarmup_epochs 1.5\n");
	near(schedule_lr(&s, 0, 100, 10, 1), 1.0 / 15);
	near(schedule_lr(&s, 14, 100, 10, 1), 1);
	near(schedule_lr(&s, 15, 100, 10, 1), 1);
	near(schedule_lr(&s, 99, 100, 10, 1), 0.1 + 0.9 * (1 + cos(M_PI * 84 / 85.0)) / 2);
	s = stage(&r, "lr 1\nschedule step step_size 2 gamma 0.5\n");
	near(schedule_lr(&s, 19, 100, 10, 1), 1);
	near(schedule_lr(&s, 20, 100, 10, 1), 0.5);
	near(schedule_lr(&s, 99, 100, 10, 1), 0.0625);
	s = stage(&r, "lr 1\nschedule multistep gamma 0.1\nmilestones 3 7\n");
	near(schedule_lr(&s, 29, 100, 10, 1), 1);
	near(schedule_lr(&s, 30, 100, 10, 1), 0.1);
	near(schedule_lr(&s, 70, 100, 10, 1), 0.01);
	s = stage(&r, "lr 1\nschedule linear min_lr 0.5\n");
	near(schedule_lr(&s, 50, 100, 10, 1), 0.75);
	s = stage(&r, "lr 0.1\nschedule onecycle max_lr 1\n");
	near(schedule_lr(&s, 0, 100, 10, 1), 1.0 / 25);
	near(schedule_lr(&s, 29, 100, 10, 1), 1);
	near(schedule_lr(&s, 99, 100, 10, 1), 1.0 / 25e4);
	s = stage(&r, "lr 0.1\nschedule plateau factor 0.5 patience 2\n");
	near(schedule_lr(&s, 7, 100, 10, 0.25), 0.025);
	s = stage(&r, "lr 0.3\nschedule constant\nepochs 0\n");
	near(schedule_lr(&s, 0, 0, 10, 1), 0.3);
	region_free(&r);
}

#define GOOD                                                                                       \
	"retort_trainer 1\nbatch 4\nset \"a b\" 4 0\nfield \"x\\\"y\\x41\" 1 2 3\n# "              \
	"remark\n\ntrain \"x\\\"yA\" \"f \\\\ g\"\n"

static void
config(void **s)
{
	static const struct {
		const char *text, *says;
	} wrong[] = {
	    {"", "first line"},
	    {"retort_trainer 2\n", "'2' is not an integer in 1..1"},
	    {"retort_trainer 1\nname\n", "line 2 (name): wrong number"},
	    {"retort_trainer 1\nnmae x\n", "unknown key"},
	    {"retort_trainer 1\nname \"x\n", "closing quote"},
	    {"retort_trainer 1\nname \"x\\q\"\n", "escape"},
	    {"retort_trainer 1\nname \"x\\x00\"\n", "zero byte"},
	    {"retort_trainer 1\nname \"x\"y\n", "followed by a blank"},
	    {"retort_trainer 1\nbatch 0\n", "'0' is not an integer in 1.."},
	    {"retort_trainer 1\nbatch 99999999999999999999\n", "not an integer"},
	    {"retort_trainer 1\nbatch 4\n", "no set"},
	    {"retort_trainer 1\nfield x 1\n", "before any set"},
	    {GOOD "augment swirl 1\n", "unknown augmentation"},
	    {GOOD "augment flip_h 1.5\n", "not a number in 0..1"},
	    {GOOD "augment crop 1.5\n", "whole number"},
	    {GOOD "classes nope 3\n", "no such field"},
	    {GOOD "field z 99\n", "not an integer in 1..16"},
	    {GOOD "set more 2 0\nfield u 1\ntrain u v\n", "add up to 6"},
	    {GOOD "val_from test 0.1\n", "val_from train"},
	    {GOOD "shuffle 2\n", "0..1"},
	};
	struct region r = {0};
	struct rt_msg m = {0};
	struct config c;

	(void)s;
	if (!config_parse(&c, GOOD "augment flip_h 0.5\nval_from train 0.25\nmode min", &r, &m))
		fail_msg("%s", m.text);
	assert_string_equal(c.sets[0].name, "a b");
	assert_string_equal(c.sets[0].fields[0].name, "x\"yA");
	assert_string_equal(c.sets[0].fields[0].file[SPLIT_TRAIN], "f \\ g");
	assert_int_equal(c.sets[0].fields[0].row_bytes, 24);
	assert_true(c.sets[0].val_fraction == 0.25 && c.mode == -1 && c.naugments == 1);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		m = (struct rt_msg){0};
		assert_false(config_parse(&c, wrong[i].text, &r, &m));
		if (!strstr(m.text, wrong[i].says))
			fail_msg("expected \"%s\" in: %s", wrong[i].says, m.text);
	}
	/* no prefix and no changed byte may crash it */
	size_t n = strlen(GOOD);
	char *copy = malloc(n + 1);

	for (size_t k = 0; k < n; k++)
		for (int v = 0; v < 4; v++) {
			memcpy(copy, GOOD, n + 1);
			copy[k] = "\"\\ \n"[v];
			if (v == 3)
				copy[k] = 0;
			m = (struct rt_msg){0};
			if (!config_parse(&c, copy, &r, &m))
				assert_true(m.status && m.text[0]);
		}
	free(copy);
	region_free(&r);
}

static void
options(void **s)
{
	static char *const good[] = {
	    "t", "--epochs", "3", "--lr=0.5", "--resume", "--seed", "-4", "--out", "d", NULL};
	static char *const wrong[][4] = {
	    {"t", "--epochs", NULL},
	    {"t", "--epochs", "0", NULL},
	    {"t", "--epochs", "2x", NULL},
	    {"t", "--lr", "nan", NULL},
	    {"t", "--resume=1", NULL},
	    {"t", "--fast", NULL},
	    {"t", "more", NULL},
	    {"t", "--data", "", NULL},
	};
	struct options o;
	struct rt_msg m = {0};

	(void)s;
	assert_true(options_parse(&o, 9, (char **)good, &m));
	assert_true(o.epochs == 3 && o.lr == 0.5 && o.resume && o.seed == -4 && o.has_seed &&
		    o.steps == -1);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		int n = 0;

		while (wrong[i][n])
			n++;
		m = (struct rt_msg){0};
		assert_false(options_parse(&o, n, (char **)wrong[i], &m));
		assert_int_equal(m.status, RT_USAGE);
	}
}

static unsigned char *
unbase64(const char *s, size_t *n)
{
	unsigned char *out = malloc(strlen(s));
	uint32_t bits = 0;
	int have = 0;

	for (*n = 0; *s && *s != '='; s++) {
		int d = *s >= 'A' && *s <= 'Z'	 ? *s - 'A'
			: *s >= 'a' && *s <= 'z' ? *s - 'a' + 26
			: *s >= '0' && *s <= '9' ? *s - '0' + 52
			: *s == '+'		 ? 62
						 : 63;

		bits = bits << 6 | (uint32_t)d;
		have += 6;
		if (have >= 8)
			out[(*n)++] = (unsigned char)(bits >> (have -= 8));
	}
	return out;
}

/* What libpng reads from the text. */
static void
looks(const struct cfg_field *f, const void *row, int64_t side, int w, int h, int channels, const unsigned char *want)
{
	struct picture p = picture_of(f, row, side);
	png_image image = {.version = PNG_IMAGE_VERSION};
	unsigned char got[256], *png;
	char *text;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	assert_true(p.p && p.w == w && p.h == h && p.channels == channels);
	assert_true(picture_write(out, &p));
	fclose(out);
	assert_memory_equal(text, "data:image/png;base64,", 22);
	png = unbase64(text + 22, &n);
	assert_true(png_image_begin_read_from_memory(&image, png, n));
	assert_true((int)image.width == w && (int)image.height == h);
	image.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
	assert_true(png_image_finish_read(&image, NULL, got, 0, NULL));
	assert_memory_equal(got, want, (size_t)(w * h * channels));
	free(png);
	free(text);
	free(p.p);
}

static void
pictures(void **s)
{
	struct cfg_field gray = {.dtype = RT_F32, .rank = 2, .dims = {2, 3}};
	struct cfg_field planes = {.dtype = RT_U8, .rank = 3, .dims = {3, 1, 2}};
	struct cfg_field pixels = {.dtype = RT_U8, .rank = 3, .dims = {1, 2, 3}};
	struct cfg_field large = {.dtype = RT_U8, .rank = 3, .dims = {1, 4, 5}};
	struct cfg_field vector = {.dtype = RT_F32, .rank = 1, .dims = {9}};
	float same[6] = {7, 7, 7, 7, 7, 7}, nan[6] = {NAN, NAN, NAN, NAN, NAN, NAN};
	unsigned char v[20];

	(void)s;
	looks(&gray, (float[]){-1, 0, 1, 3, 2, -1}, 100, 3, 2, 1, (unsigned char[]){0, 64, 128, 255, 191, 0});
	looks(&gray, same, 100, 3, 2, 1, (unsigned char[]){128, 128, 128, 128, 128, 128});
	looks(&planes, (unsigned char[]){1, 2, 3, 4, 5, 6}, 100, 2, 1, 3, (unsigned char[]){1, 3, 5, 2, 4, 6});
	pixels.dims[0] = 2; /* [2,1,3]: the last axis is the channels' */
	pixels.dims[1] = 1;
	looks(&pixels, (unsigned char[]){1, 2, 3, 4, 5, 6}, 100, 1, 2, 3, (unsigned char[]){1, 2, 3, 4, 5, 6});
	for (int i = 0; i < 20; i++)
		v[i] = (unsigned char)(10 * (i / 5) + 2 * (i % 5));
	looks(&large, v, 3, 3, 2, 1, (unsigned char[]){6, 10, 13, 26, 30, 33}); /* means of 2x2, the last of 2x1 */
	assert_null(picture_of(&vector, (const unsigned char *)same, 100).p);
	assert_null(picture_of(&gray, (const unsigned char *)nan, 100).p);
}

static void
hashes(void **s)
{
	unsigned char b[64] = {0};
	uint64_t h = rt_hash(0, b, 64);

	(void)s;
	for (int i = 0; i < 64 * 8; i++) {
		b[i / 8] ^= (unsigned char)(1 << i % 8);
		assert_true(rt_hash(0, b, 64) != h);
		b[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	assert_true(rt_hash(0, b, 63) != h && rt_hash(1, b, 64) != h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(crc32c),
	    cmocka_unit_test(events),
	    cmocka_unit_test(schedules),
	    cmocka_unit_test(config),
	    cmocka_unit_test(options),
	    cmocka_unit_test(pictures),
	    cmocka_unit_test(hashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
