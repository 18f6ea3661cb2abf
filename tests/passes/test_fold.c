/* Contractions of constants without the evaluator: the same bytes as with it, for
 * every place that the lane and the summed letters can have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "numeric.h"
#include "passes/fold.h"

static const struct {
	const char *spec;
	int64_t a[4], b[4];
} cases[] = {
    {"mk,kn->mn", {5, 7}, {7, 33}},
    {"mk,nk->mn", {5, 7}, {17, 7}},
    {"mk,nk->nm", {35, 7}, {3, 7}},
    {"pk,oik->pio", {36, 9}, {19, 5, 9}},
    {"pk,oik->poi", {16, 9}, {19, 5, 9}},
    {"pk,pio->oik", {16, 9}, {16, 5, 18}},
    {"bmk,bkn->bmn", {3, 4, 6}, {3, 6, 20}},
    {"mkb,knb->mnb", {3, 4, 18}, {4, 5, 18}},
    {"m,n->mn", {5}, {21}},
    {"m,n->nm", {5}, {21}},
    {"k,k->", {40}, {40}},
    {"mab,abn->nm", {3, 4, 5}, {4, 5, 6}},
    {"mjk,knj->mn", {3, 4, 5}, {5, 6, 4}},
    {"m,m->m", {37}, {37}},
    {"mk,kn->mn", {1, 1}, {1, 1}},
};

static struct value *
operand(struct graph *g, const char *spec, const int64_t *dims, uint64_t seed)
{
	return graph_const(
	    g, "c", noise_tensor(g->arena, DT_f32, (int)strcspn(spec, ",-"), dims, seed, 0, 1));
}

static void
same_as_the_evaluator(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena *a = arena_create();
		struct graph *g = graph_create(a, "fold");
		struct diag d;
		struct build b = {.g = g, .diag = &d};
		struct eval_opts opts = {.round_each = true, .arena = a};
		struct value *x = operand(g, cases[i].spec, cases[i].a, 2 * i + 1);
		struct value *y = operand(g, strchr(cases[i].spec, ',') + 1, cases[i].b, 2 * i + 2);
		struct value *r;
		const struct tensor *quick, *want;
		struct etensor *out;

		diag_init(&d, NULL);
		((float *)x->data->data)[0] = -0.0f;
		r = b_contract(&b, cases[i].spec, x, y);
		if (!r)
			fail_msg("%s: %s", cases[i].spec, d.text.s);
		assert_true(eval_node(&opts, g, r->def,
		    (const struct etensor *[]){etensor_from(a, x->data), etensor_from(a, y->data)},
		    &out));
		want = etensor_to(a, out);
		quick = fold_quick(a, r->def, (const struct tensor *[]){x->data, y->data});
		assert_non_null(quick);
		assert_int_equal(quick->bytes, want->bytes);
		assert_memory_equal(quick->data, want->data, want->bytes);
		diag_free(&d);
		arena_destroy(a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_the_evaluator)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
