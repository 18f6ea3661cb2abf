/* Splits, batches and augmentation: every sample once per epoch, the same again
 * for the same seed and step, and geometry that can be checked by hand. */
#include "runtime/trainer.h"
#include "tests/runtime/tmp.h"

static struct region region;
static struct rt_msg msg;
static struct config cfg;
static struct dataset data;

#define TEXT                                                                                       \
	"retort_trainer 1\nseed 3\nbatch 12\nset a 8 0\nfield x 2\nclasses x 200\ntrain x "        \
	"a.npy\n%s"                                                                                \
	"set b 4 10\nfield y 2\ntrain y b.npy\nval y c.npy\n"

static bool
open_data(const char *more)
{
	char text[1000];
	uint8_t v[300];

	for (int i = 0; i < 300; i++)
		v[i] = (uint8_t)i;
	memset(&msg, 0, sizeof msg);
	assert_true(rt_npy_write(tmp_path("a.npy"), RT_U8, 1, (int64_t[]){101}, v, &msg));
	assert_true(rt_npy_write(tmp_path("b.npy"), RT_U8, 1, (int64_t[]){14}, v, &msg));
	assert_true(rt_npy_write(tmp_path("c.npy"), RT_U8, 1, (int64_t[]){3}, v + 50, &msg));
	assert_true(rt_npy_write(tmp_path("far.npy"), RT_U8, 1, (int64_t[]){3}, v + 199, &msg));
	snprintf(text, sizeof text, TEXT, more);
	if (!config_parse(&cfg, text, &region, &msg))
		fail_msg("%s", msg.text);
	return dataset_open(&data, &cfg, tmp_dir, &region, &msg);
}

static int
close_data(void **state)
{
	dataset_close(&data);
	region_free(&region);
	return tmp_clean(state);
}

static void
splits(void **s)
{
	int seen[101] = {0};

	(void)s;
	if (!open_data("val_from train 0.2\n"))
		fail_msg("%s", msg.text);
	const struct dsplit *t = &data.sets[0].split[SPLIT_TRAIN],
			    *v = &data.sets[0].split[SPLIT_VAL];

	assert_int_equal(t->n, 81);
	assert_int_equal(v->n, 20);
	for (int i = 0; i < 81; i++)
		seen[t->index[i]]++;
	for (int i = 0; i < 20; i++)
		seen[v->index[i]]++;
	for (int i = 0; i < 101; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(v->source, SPLIT_TRAIN);
	assert_int_equal(data.sets[1].split[SPLIT_TRAIN].n, 10); /* limit */
	assert_int_equal(data.sets[1].split[SPLIT_VAL].n, 3);

	struct batches b;

	assert_true(batches_open(&b, &data, 1, true, true, &region, &msg));
	assert_int_equal(batches_eval_steps(&b, SPLIT_VAL), 3);
	batches_eval(&b, SPLIT_VAL, 2);
	assert_int_equal(b.valid[0], 4);
	assert_int_equal(b.valid[1], 0);
	assert_int_equal(b.rows[0][3], v->index[19]);
	assert_int_equal(b.rows[0][4], v->index[0]);
	batches_eval(&b, SPLIT_VAL, 0);
	assert_int_equal(b.valid[1], 3);
}

static void
epochs(void **s)
{
	int64_t first[8], again[8];
	struct batches b;

	(void)s;
	assert_true(open_data("val x a.npy\n"));
	assert_true(batches_open(&b, &data, 5, true, true, &region, &msg));
	assert_int_equal(b.per_epoch, 12);
	for (int e = 0; e < 3; e++) {
		int seen[101] = {0}, total = 0;

		for (int i = 0; i < 12; i++) {
			batches_train(&b, e * 12 + i);
			for (int k = 0; k < 8; k++)
				total += ++seen[b.rows[0][k]] == 1;
		}
		assert_int_equal(total, 96); /* no sample twice */
	}
	batches_train(&b, 17);
	memcpy(first, b.rows[0], sizeof first);
	batches_train(&b, 3);
	assert_memory_not_equal(b.rows[0], first, sizeof first);
	batches_train(&b, 17);
	memcpy(again, b.rows[0], sizeof again);
	assert_memory_equal(again, first, sizeof first);
	/* the second set: 10 samples, 2 batches a pass, a new order in each */
	for (int p = 0; p < 5; p++) {
		int seen[10] = {0};

		for (int i = 0; i < 2; i++) {
			batches_train(&b, 2 * p + i);
			for (int k = 0; k < 4; k++)
				assert_int_equal(seen[b.rows[1][k]]++, 0);
		}
	}
	assert_true(batches_open(&b, &data, 6, true, true, &region, &msg));
	batches_train(&b, 17);
	assert_memory_not_equal(b.rows[0], first, sizeof first);
	assert_true(batches_open(&b, &data, 5, false, false, &region, &msg));
	assert_int_equal(b.per_epoch, 13);
	batches_train(&b, 12);
	assert_int_equal(b.rows[0][4], 100);
	assert_int_equal(b.rows[0][5], 0); /* filled up from the start */
}

static void
bad_data(void **s)
{
	(void)s;
	assert_false(open_data("val x far.npy\n"));
	assert_non_null(strstr(msg.text, "sample 1 of field x is 200, outside the 200 classes"));
	assert_non_null(strstr(msg.text, "far.npy"));
	dataset_close(&data);
	assert_true(open_data("val x far.npy\nignore x 200\n") || strstr(msg.text, "is 201"));
	dataset_close(&data);
	assert_false(open_data("test x a.npy\n"));
	assert_non_null(strstr(msg.text, "set a has no val split"));
	dataset_close(&data);
	assert_false(open_data("val_from train 0.001\n"));
	assert_non_null(strstr(msg.text, "leaves 0 for val"));
	dataset_close(&data);
	assert_false(open_data("field z 2\ntrain z b.npy\nval_from train 0.5\n"));
	assert_non_null(strstr(msg.text, "has 14 samples, field x of the same split has 101"));
	dataset_close(&data);
	assert_false(open_data("field z 1\ntrain z b.npy\n"));
	assert_non_null(strstr(msg.text, "holds u8, the compiled program reads f32"));
}

/* 101 samples in classes of 61, 31 and 9: 39 labels are 15, 15 and 9. */
static bool
open_labels(const char *more)
{
	char text[300];
	uint8_t v[101];

	for (int i = 0; i < 101; i++)
		v[i] = i % 10 == 9 && i < 90 ? 2 : i % 10 < 3 ? 1 : 0;
	assert_true(rt_npy_write(tmp_path("l.npy"), RT_U8, 1, (int64_t[]){101}, v, &msg));
	snprintf(text, sizeof text,
	    "field l 2\nclasses l 3\nignore l 255\ntrain l l.npy\nval l l.npy\nval x "
	    "a.npy\nlabelled l %s\n",
	    more);
	return open_data(text);
}

static void
labels(void **s)
{
	const unsigned char *was;
	unsigned char first[101];
	int kept[3] = {0}, hidden = 0;

	(void)s;
	if (!open_labels("39 0"))
		fail_msg("%s", msg.text);
	assert_int_equal(data.sets[0].split[SPLIT_TRAIN].n, 101);
	memcpy(first, data.sets[0].arrays[SPLIT_TRAIN][1].data, sizeof first);
	was = data.sets[0].arrays[SPLIT_VAL][1].data; /* val keeps all of its labels */
	for (int i = 0; i < 101; i++) {
		assert_true(was[i] < 3);
		assert_true(first[i] == was[i] || first[i] == 255);
		if (first[i] == 255)
			hidden++;
		else
			kept[first[i]]++;
	}
	assert_int_equal(hidden, 62);
	assert_int_equal(kept[0], 15);
	assert_int_equal(kept[1], 15);
	assert_int_equal(kept[2], 9);
	dataset_close(&data);

	/* the same samples, and no others */
	assert_true(open_labels("39 1"));
	const struct dsplit *t = &data.sets[0].split[SPLIT_TRAIN];

	assert_int_equal(t->n, 39);
	for (int i = 0; i < 39; i++) {
		assert_true(first[t->index[i]] != 255);
		assert_true(i == 0 || t->index[i] > t->index[i - 1]);
	}
	dataset_close(&data);

	/* without the classes 0 and 2, of what is left 5 */
	assert_true(open_labels("5 1\nleave_out l 0 2"));
	assert_int_equal(data.sets[0].split[SPLIT_TRAIN].n, 5);
	assert_int_equal(data.sets[0].split[SPLIT_VAL].n, 101);
	for (int i = 0; i < 5; i++)
		assert_int_equal(data.sets[0].arrays[SPLIT_TRAIN][1].data[data.sets[0].split[SPLIT_TRAIN].index[i]], 1);
	dataset_close(&data);
	assert_false(open_labels("32 1\nleave_out l 0 2"));
	assert_non_null(strstr(msg.text, "asks for 32 samples with labels, 31 are there"));
	dataset_close(&data);
	assert_false(open_labels("102 0"));
	assert_non_null(strstr(msg.text, "asks for 102 samples with labels, 101 are there"));
}

static struct augmenter aug;
static const struct cfg_field image = {
    .name = "i", .dtype = RT_U8, .rank = 3, .dims = {2, 3, 4}, .row_bytes = 24};

static void
with(const char *line)
{
	char text[300];

	snprintf(text, sizeof text,
	    "retort_trainer 1\nbatch 1\nset a 1 0\nfield i 2 2 3 4\ntrain i f\n%s\n", line);
	memset(&msg, 0, sizeof msg);
	assert_true(config_parse(&cfg, text, &region, &msg));
	assert_true(augmenter_open(&aug, &cfg, 9, &region, &msg));
}

static void
augmented(unsigned char *p, int64_t epoch, int64_t sample)
{
	for (int i = 0; i < 24; i++)
		p[i] = (unsigned char)(i + 1);
	augment_row(&aug, &image, p, epoch, 0, sample);
}

static void
augment(void **s)
{
	unsigned char p[24], q[24];
	int changed = 0, zeros = 0;

	(void)s;
	with("augment flip_h 1");
	augmented(p, 0, 0);
	for (int i = 0; i < 24; i++)
		assert_int_equal(p[i], i / 4 * 4 + 3 - i % 4 + 1);
	with("augment flip_v 1");
	augmented(p, 0, 0);
	for (int i = 0; i < 24; i++)
		assert_int_equal(p[i], i / 12 * 12 + (2 - i / 4 % 3) * 4 + i % 4 + 1);
	with("augment flip_h 0.5");
	for (int i = 0; i < 400; i++) {
		augmented(p, 3, i);
		augmented(q, 3, i);
		assert_memory_equal(p, q, 24);
		changed += p[0] != 1;
	}
	assert_in_range(changed, 150, 250);
	with("augment crop 1");
	int shifts[3][3] = {{0}};

	for (int i = 0; i < 200; i++) {
		augmented(p, i, 7);
		/* the centre tells the shift; every other pixel must agree with it */
		int at = p[4 + 1] - 1, dy = at / 4 - 1, dx = at % 4 - 1;

		assert_in_range(dy + 1, 0, 2);
		assert_in_range(dx + 1, 0, 2);
		shifts[dy + 1][dx + 1]++;
		for (int y = 0; y < 3; y++)
			for (int x = 0; x < 4; x++) {
				bool in = y + dy >= 0 && y + dy < 3 && x + dx >= 0 && x + dx < 4;

				assert_int_equal(
				    p[12 + y * 4 + x], in ? 12 + (y + dy) * 4 + x + dx + 1 : 0);
			}
	}
	for (int i = 0; i < 9; i++)
		assert_true(shifts[i / 3][i % 3] > 5);
	with("augment cutout 2");
	for (int i = 0; i < 100; i++) {
		augmented(p, 0, i);
		for (int k = 0; k < 12; k++) {
			assert_int_equal(p[k] == 0, p[12 + k] == 0);
			zeros += p[k] == 0;
		}
	}
	assert_in_range(zeros, 200, 400);
	with("augment noise 10");
	augmented(p, 0, 1);
	augmented(q, 1, 1);
	assert_memory_not_equal(p, q, 24);
}

/* ---- which samples: balanced, by length, interleaved */
static void
open_text(const char *more)
{
	char text[1500];

	memset(&msg, 0, sizeof msg);
	snprintf(text, sizeof text, "retort_trainer 1\nseed 3\n%s", more);
	if (!config_parse(&cfg, text, &region, &msg) ||
	    !dataset_open(&data, &cfg, tmp_dir, &region, &msg))
		fail_msg("%s", msg.text);
}

static void
balanced(void **s)
{
	uint8_t y[200];
	int count[4] = {0}, again = 0;
	struct batches b;

	(void)s;
	/* 150 of class 0, 40 of class 1, none of 2, 10 to ignore */
	for (int i = 0; i < 200; i++)
		y[i] = i < 150 ? 0 : i < 190 ? 1 : 255;
	assert_true(rt_npy_write(tmp_path("y.npy"), RT_U8, 1, (int64_t[]){200}, y, &msg));
	open_text("batch 20\nset a 20 0\nfield y 2\nclasses y 3\nignore y 255\nbalanced y\ntrain y "
		  "y.npy\n");
	assert_true(batches_open(&b, &data, 1, true, true, &region, &msg));
	assert_int_equal(b.per_epoch, 10);
	for (int i = 0; i < 300; i++) {
		batches_train(&b, i);
		for (int k = 0; k < 20; k++) {
			int label = y[b.rows[0][k]];

			count[label == 255 ? 3 : label]++;
			for (int j = 0; j < k; j++)
				again +=
				    b.rows[0][j] == b.rows[0][k] && b.draws[0][j] == b.draws[0][k];
		}
	}
	assert_int_equal(again, 0); /* a sample drawn twice is augmented twice */
	assert_int_equal(count[2], 0);
	for (int k = 0; k < 4; k++)
		if (k != 2)
			assert_in_range(count[k], 1850, 2150); /* of 6000, a third each */
}

static void
by_length(void **s)
{
	int64_t tokens[103][16] = {{0}};
	int lengths[103], seen[103], kinds = 0;
	struct batches b, c;

	(void)s;
	for (int i = 0; i < 103; i++) {
		lengths[i] = i % 17;
		for (int k = 0; k < lengths[i]; k++)
			tokens[i][k] = k % 3 == 1 ? 0 : 7; /* zeros inside do count */
		if (lengths[i] > 1 && lengths[i] % 3 == 2)
			lengths[i]--; /* ends in a zero */
	}
	assert_true(rt_npy_write(tmp_path("t.npy"), RT_I64, 2, (int64_t[]){103, 16}, tokens, &msg));
	open_text("batch 8\nset a 8 0\nfield t 7 16\nbucketed t\nbucket t 4 9 16\ntrain t t.npy\n");
	assert_true(batches_open(&b, &data, 1, true, true, &region, &msg));
	assert_true(batches_copy(&c, &b, &region, &msg));
	assert_int_equal(b.per_epoch, 12); /* what is left of a bucket goes to the next */
	for (int pass = 0; pass < 3; pass++) {
		memset(seen, 0, sizeof seen);
		for (int i = 11; i >= 0; i--) {
			static const int bound[] = {4, 9, 16};

			batches_train(&b, 12 * pass + i);
			batches_train(&c, 12 * pass + i);
			assert_int_equal(b.program, c.program);
			assert_memory_equal(b.rows[0], c.rows[0], 8 * sizeof(int64_t));
			kinds |= 1 << b.program;
			for (int k = 0; k < 8; k++) {
				assert_true(lengths[b.rows[0][k]] <= bound[b.program]);
				assert_int_equal(seen[b.rows[0][k]]++, 0);
			}
		}
	}
	assert_int_equal(kinds, 7);
	assert_true(batches_open(&b, &data, 1, true, false, &region, &msg));
	assert_int_equal(b.per_epoch, 13);
	memset(seen, 0, sizeof seen);
	for (int i = 0; i < 13; i++) {
		batches_train(&b, i);
		for (int k = 0; k < 8; k++)
			seen[b.rows[0][k]]++;
	}
	for (int i = 0; i < 103; i++)
		assert_true(seen[i] >= 1);
	dataset_close(&data);
	open_text(
	    "batch 8\nset a 8 0\nfield t 7 16\npad t 7\nbucketed t\nbucket t 16\ntrain t t.npy\n");
	assert_true(batches_open(&b, &data, 1, true, true, &region, &msg));
	dataset_close(&data);
	assert_false(config_parse(&cfg,
	    "retort_trainer 1\nbatch 8\nset a 8 0\nfield t 7 16\nbucket t 8 4\ntrain t t.npy\n",
	    &region, &msg));
}

static void
interleaved(void **s)
{
	static const int order[] = {
	    0, 1, 0, 0, 1, 0}; /* 2 : 1, whoever is furthest behind, the first of equals */
	uint8_t v[60];
	int seen[2][60] = {{0}};
	struct batches b;

	(void)s;
	for (int i = 0; i < 60; i++)
		v[i] = (uint8_t)i;
	assert_true(rt_npy_write(tmp_path("p.npy"), RT_U8, 1, (int64_t[]){60}, v, &msg));
	assert_true(rt_npy_write(tmp_path("q.npy"), RT_U8, 1, (int64_t[]){15}, v, &msg));
	open_text("batch 15\nset p 10 0\nfield a 2\ntrain a p.npy\nshare 2\nset q 5 0\nfield b "
		  "2\ntrain b q.npy\nshare 1\n");
	assert_true(batches_open(&b, &data, 1, true, true, &region, &msg));
	assert_int_equal(b.per_epoch, 9); /* six batches of the first set at two in three steps */
	for (int i = 0; i < 9; i++) {
		batches_train(&b, i);
		assert_int_equal(b.program, order[i % 6]);
		assert_int_equal(b.valid[b.program], b.program ? 5 : 10);
		assert_int_equal(b.valid[!b.program], 0);
		for (int k = 0; k < b.valid[b.program]; k++)
			seen[b.program][b.rows[b.program][k]]++;
	}
	for (int i = 0; i < 60; i++)
		assert_int_equal(seen[0][i], 1);
	for (int i = 0; i < 15; i++)
		assert_int_equal(seen[1][i], 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(splits, tmp_make, close_data),
	    cmocka_unit_test_setup_teardown(epochs, tmp_make, close_data),
	    cmocka_unit_test_setup_teardown(bad_data, tmp_make, close_data),
	    cmocka_unit_test_setup_teardown(labels, tmp_make, close_data),
	    cmocka_unit_test_setup_teardown(augment, tmp_make, close_data),
	    cmocka_unit_test_setup_teardown(balanced, tmp_make, close_data),
	    cmocka_unit_test_setup_teardown(by_length, tmp_make, close_data),
	    cmocka_unit_test_setup_teardown(interleaved, tmp_make, close_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
