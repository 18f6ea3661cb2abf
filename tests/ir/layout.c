/* layouts: packing against the definition, element by element. */
#include "ir/layout.h"
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>

/* The definition in layout.h, one index at a time. */
static int64_t
place(const struct layout *l, const int64_t *index)
{
	int64_t at = 0;
	int p;

	for (p = 0; p < l->n; p++) {
		int d = l->phys[p].dim;

		at = at * l->phys[p].extent + (index[d] + l->lo[d]) / l->phys[p].step % l->phys[p].extent;
	}
	return at;
}

static void
check(const struct layout *l, int rank, const int64_t *dims)
{
	int64_t n = dims_count(rank, dims), total = layout_count(l), i, index[MAX_RANK] = {0}, sum = 0, held = 0;
	float *plain = malloc((size_t)n * 4), *packed = malloc((size_t)total * 4);
	int d;

	for (i = 0; i < n; i++)
		plain[i] = (float)(i + 1);
	memset(packed, 0xff, (size_t)total * 4);
	layout_pack(l, DT_f32, rank, dims, plain, packed);
	for (i = 0; i < n; i++) {
		assert_true(packed[place(l, index)] == plain[i]);
		sum += i + 1;
		for (d = rank - 1; d >= 0 && ++index[d] == dims[d]; d--)
			index[d] = 0;
	}
	for (i = 0; i < total; i++) /* the rest is zero */
		held += (int64_t)packed[i];
	assert_int_equal(held, sum);
	free(plain);
	free(packed);
}

static void
packing(void **state)
{
	struct arena *a = arena_create();
	int64_t image[4] = {2, 19, 5, 6}, weight[2] = {7, 40}, lo[2] = {1, 2}, hi[2] = {1, 0};
	struct layout panel = {.n = 3, .phys = {{1, 2, 32}, {0, 7, 1}, {1, 32, 1}}};

	(void)state;
	check(layout_plain(a, 4, image), 4, image);
	check(layout_blocked(a, 4, image, 16, NULL, NULL), 4, image);
	check(layout_blocked(a, 4, image, 8, lo, hi), 4, image);
	check(&panel, 2, weight);
	check(layout_plain(a, 0, NULL), 0, NULL);
	arena_destroy(a);
}

static void
text_and_equality(void **state)
{
	struct arena *a = arena_create();
	int64_t image[4] = {2, 19, 5, 6}, lo[2] = {1, 2}, hi[2] = {1, 0}, stride[MAX_PHYS];
	const struct layout *l = layout_blocked(a, 4, image, 16, lo, hi), *m = layout_blocked(a, 4, image, 16, lo, hi);

	(void)state;
	assert_string_equal(layout_text(a, l), "<0:2,1:2/16,2:7,3:8,1:16;2+1+1,3+2+0>");
	assert_string_equal(layout_text(a, NULL), "plain");
	assert_true(layout_equal(l, m));
	assert_true(layout_equal(NULL, NULL));
	assert_false(layout_equal(l, NULL));
	assert_false(layout_equal(l, layout_blocked(a, 4, image, 8, lo, hi)));
	assert_int_equal(layout_count(l), 2 * 2 * 7 * 8 * 16);
	layout_strides(l, stride);
	assert_int_equal(stride[4], 1);
	assert_int_equal(stride[1], 7 * 8 * 16);
	arena_destroy(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(packing), cmocka_unit_test(text_and_equality)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
