/* symbolic sizes: equal sizes are one handle, bounds hold, text says it. */
#include "ir/ir.h"
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>

static struct arena *arena;

static struct graph *
fresh(void)
{
	arena_destroy(arena);
	arena = arena_create();
	return graph_create(arena, "g");
}

static void
normal_form(void **state)
{
	struct graph *g = fresh();
	int64_t n = dim_symbol(g, "N", 1, 64), t = dim_symbol(g, "T", 1, 512);

	(void)state;
	assert_true(n < 0 && t < 0 && n != t);
	assert_int_equal(dim_symbol(g, "N", 0, 100), n);
	assert_int_equal(dim_symbol(g, "one", 7, 7), 7);
	assert_int_equal(dim_sub(g, dim_add(g, n, 1), 1), n);
	assert_int_equal(dim_mul(g, n, t), dim_mul(g, t, n));
	assert_int_equal(dim_mul(g, dim_add(g, n, 1), t), dim_add(g, dim_mul(g, n, t), t));
	assert_int_equal(dim_div(g, dim_mul(g, n, 768), 768), n);
	assert_int_equal(dim_div(g, dim_mul(g, dim_mul(g, n, t), 12), dim_mul(g, t, 4)), dim_mul(g, n, 3));
	assert_int_equal(dim_div(g, dim_add(g, dim_mul(g, n, 4), 3), 4), n);
	assert_int_equal(dim_div(g, dim_sub(g, dim_mul(g, n, 4), 1), 4), dim_sub(g, n, 1));
	assert_int_equal(dim_ceildiv(g, dim_mul(g, n, 4), 4), n);
	assert_int_equal(dim_mul(g, n, 0), 0);
	assert_int_equal(dim_mul(g, n, 1), n);
	assert_int_equal(dim_sub(g, n, n), 0);
	assert_int_equal(dim_div(g, n, n), 1);
	assert_int_equal(dim_min(g, n, 64), n);
	assert_int_equal(dim_max(g, n, 64), 64);
	assert_int_equal(dim_min(g, n, t), dim_min(g, t, n));
}

static void
constants(void **state)
{
	struct graph *g = fresh();

	(void)state;
	assert_int_equal(dim_add(g, 3, 4), 7);
	assert_int_equal(dim_sub(g, 3, 4), 0);
	assert_int_equal(dim_div(g, 7, 2), 3);
	assert_int_equal(dim_ceildiv(g, 7, 2), 4);
	assert_int_equal(dim_mul(g, INT64_MAX, 2), INT64_MAX);
	assert_int_equal(dim_add(g, INT64_MAX, 2), INT64_MAX);
	assert_int_equal(dim_div(g, 7, 0), 0);
}

static void
bounds_hold(void **state)
{
	struct graph *g = fresh();
	int64_t n = dim_symbol(g, "N", 2, 10), u = dim_symbol(g, "U", 0, INT64_MAX), d;

	(void)state;
	d = dim_div(g, dim_add(g, n, 5), 3);
	assert_int_equal(dim_lo(g, d), 2);
	assert_int_equal(dim_hi(g, d), 5);
	d = dim_sub(g, 8, n);
	assert_int_equal(dim_lo(g, d), 0);
	assert_int_equal(dim_hi(g, d), 6);
	assert_int_equal(dim_hi(g, dim_mul(g, u, 2)), INT64_MAX);
	assert_int_equal(dim_hi(g, dim_mul(g, n, n)), 100);
	dim_symbol(g, "N", 3, 6);
	assert_int_equal(dim_hi(g, dim_mul(g, n, n)), 36);
}

static int64_t
value_of(void *ctx, const char *name, int64_t d)
{
	(void)ctx, (void)d;
	return strcmp(name, "N") == 0 ? 5 : 7;
}

static void
text_eval_import(void **state)
{
	struct graph *g = fresh(), *h = graph_create(arena, "h");
	int64_t n = dim_symbol(g, "N", 1, 64), w = dim_symbol(g, "batch size", 1, 9), d, e;

	(void)state;
	dim_symbol(h, "other", 1, 2);
	assert_string_equal(dim_text(g, 12), "12");
	assert_string_equal(dim_text(g, n), "N");
	assert_string_equal(dim_text(g, w), "\"batch size\"");
	assert_string_equal(dim_text(g, dim_mul(g, n, 2)), "(N*2)");
	d = dim_max(g, dim_div(g, dim_sub(g, dim_mul(g, n, 3), 1), 2), dim_mul(g, w, w));
	assert_string_equal(dim_text(g, d), "max((\"batch size\"*\"batch size\"),((N*3-1)/2))");
	assert_int_equal(dim_eval(g, d, value_of, NULL), 49);
	e = dim_import(h, g, d);
	assert_string_equal(dim_text(h, e), dim_text(g, d));
	assert_int_equal(dim_hi(h, e), dim_hi(g, d));
	assert_int_equal(dim_symbols(h, NULL, 0), 3);
}

/* Random expressions against plain integers: the normal form keeps the value. */
static void
random_expressions(void **state)
{
	struct graph *g = fresh();
	int64_t d[40], v[40];
	int i, round;
	unsigned seed = 1;

	(void)state;
	for (round = 0; round < 300; round++) {
		d[0] = dim_symbol(g, "N", 1, 64);
		v[0] = 5;
		d[1] = dim_symbol(g, "M", 1, 64);
		v[1] = 7;
		d[2] = v[2] = 3;
		for (i = 3; i < 8; i++) {
			int a = rand_r(&seed) % i, b = rand_r(&seed) % i;

			switch (rand_r(&seed) % 6) {
			case 0:
				d[i] = dim_add(g, d[a], d[b]);
				v[i] = v[a] + v[b];
				break;
			case 1:
				if (!dim_fits(g, d[a], d[b])) {
					i--;
					break;
				}
				d[i] = dim_mul(g, d[a], d[b]);
				v[i] = v[a] * v[b];
				break;
			case 2:
				d[i] = dim_div(g, d[a], d[b]);
				v[i] = v[a] / v[b];
				break;
			case 3:
				d[i] = dim_min(g, d[a], d[b]);
				v[i] = v[a] < v[b] ? v[a] : v[b];
				break;
			case 4:
				d[i] = dim_max(g, d[a], d[b]);
				v[i] = v[a] > v[b] ? v[a] : v[b];
				break;
			default:
				d[i] = dim_ceildiv(g, d[a], d[b]);
				v[i] = (v[a] + v[b] - 1) / v[b];
			}
			if (v[i] == 0) { /* sizes in these tests stay positive */
				d[i] = v[i] = 1;
			}
			assert_int_equal(dim_eval(g, d[i], value_of, NULL), v[i]);
			assert_true(dim_lo(g, d[i]) <= v[i] && v[i] <= dim_hi(g, d[i]));
		}
	}
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(normal_form),      cmocka_unit_test(constants),
	    cmocka_unit_test(bounds_hold),      cmocka_unit_test(text_eval_import),
	    cmocka_unit_test(random_expressions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
