/* Every differentiable row's gradient against central differences, in double, on
 * the cases of cases.def; and every row has a case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "passes/passes.h"
#include "tests/op/cases.h"

static const double step = 1e-5, usual = 2e-6;

/* sum over outputs of sum(weight * output): a scalar whose gradient sees every element */
static struct value *
weigh(struct graph *g, struct diag *d, int nout)
{
	struct build b = build_at(g, d, LOC_NONE, NULL);
	struct value *loss = NULL;

	for (int o = 0; o < nout; o++) {
		struct value *y = g->outputs.v[o], *w, *s;
		struct tensor *t;

		if (!dtype_is_float(y->dtype))
			continue;
		t = tensor_new(g->arena, y->dtype, y->rank, y->dims);
		for (int64_t i = 0; i < tensor_count(t); i++)
			dtype_put_f(y->dtype, t->data, i, 0.4 + 0.25 * (double)((i * 5 + o) % 7));
		w = graph_const(g, NULL, t);
		s = b_cast(&b, b_reduce_all(&b, OP_reduce_sum, b_mul(&b, y, w)), DT_f64);
		loss = loss ? b_add(&b, loss, s) : s;
	}
	return loss;
}

static double
loss_at(struct arena *a, struct graph *g, struct etensor **feed, int loss, struct diag *d)
{
	struct eval_opts o = {.arena = a};
	struct etensor **out = arena_array(a, struct etensor *, g->outputs.n + 1);

	if (!eval_graph(&o, g, feed, out, NULL, NULL, d))
		fail_msg("cannot be evaluated: %s", d->text.s);
	return out[loss]->f[0];
}

static void
check(const struct op_case *c)
{
	struct arena *a = arena_create(), *tmp = arena_create();
	struct etensor *feed[CASE_INPUTS] = {0}, **out;
	struct value *wrt[CASE_INPUTS], *dwrt[CASE_INPUTS] = {0}, *loss;
	struct eval_opts opts = {.arena = a};
	struct graph *g, *plain;
	struct diag d;
	const char *what = case_text(a, c);
	int nwrt = 0, at[CASE_INPUTS], nloss;

	diag_init(&d, NULL);
	g = case_build(a, c, &d, feed);
	plain = case_build(a, c, &d, feed);
	if (!g || !plain)
		fail_msg("%s: %s", what, d.text.s);
	graph_verify(g, "case");
	for (int i = 0; i < g->inputs.n; i++)
		if (dtype_is_float(g->inputs.v[i]->dtype)) {
			wrt[nwrt] = g->inputs.v[i];
			at[nwrt++] = i;
		}
	loss = weigh(g, &d, c->nout);
	if (!loss || nwrt == 0)
		goto out;
	graph_output(plain, "loss", weigh(plain, &d, c->nout));
	nloss = plain->outputs.n - 1;
	if (!grad_build(g, loss, nwrt, wrt, dwrt, &d))
		fail_msg("%s: %s", what, d.text.s);
	g->outputs.n = g->output_names.n = 0;
	for (int i = 0; i < nwrt; i++)
		if (dwrt[i])
			graph_output(g, "d", dwrt[i]);
	graph_verify(g, "grad");
	out = arena_array(a, struct etensor *, g->outputs.n + 1);
	if (!eval_graph(&opts, g, feed, out, NULL, NULL, &d))
		fail_msg("%s: gradient cannot be evaluated: %s", what, d.text.s);
	for (int i = 0, k = 0; i < nwrt; i++) {
		struct etensor *x = feed[at[i]], *got = dwrt[i] ? out[k++] : NULL;
		double *want = arena_array(a, double, x->count + 1), scale = 1e-3, tol = c->tol ? c->tol : usual;

		for (int64_t e = 0; e < x->count; e++) {
			struct mark m = arena_mark(tmp);
			double keep = x->f[e], up, down;

			x->f[e] = keep + step;
			up = loss_at(tmp, plain, feed, nloss, &d);
			x->f[e] = keep - step;
			down = loss_at(tmp, plain, feed, nloss, &d);
			x->f[e] = keep;
			want[e] = (up - down) / (2 * step);
			scale = fmax(scale, fabs(want[e]));
			arena_reset(tmp, m);
		}
		for (int64_t e = 0; e < x->count; e++) {
			double have = got ? got->f[e] : 0;

			if (!(fabs(have - want[e]) <= tol * scale))
				fail_msg("%s: operand %d element %lld: gradient %.9g, differences say %.9g", what, at[i],
				    (long long)e, have, want[e]);
		}
	}
out:
	diag_free(&d);
	arena_destroy(tmp);
	arena_destroy(a);
}

static void
gradients(void **state)
{
	(void)state;
	for (int i = 0; i < nop_cases; i++) {
		const struct op_case *c = &op_cases[i];

		if (!(c->flags & CASE_NOGRAD) && op_info[c->op].grad != grad_none)
			check(c);
	}
}

static void
every_row_has_a_case(void **state)
{
	int missing = 0;

	(void)state;
	for (int op = OP_none + 1; op < NOP; op++) {
		bool found = false;

		for (int i = 0; i < nop_cases; i++)
			found |= (int)op_cases[i].op == op;
		if (!found) {
			print_error("%s has no case in tests/op/cases.def\n", op_info[op].id);
			missing++;
		}
	}
	assert_int_equal(missing, 0);
}

/* Every case runs through the evaluator, and gives what its types say. */
static void
evaluates(void **state)
{
	(void)state;
	for (int i = 0; i < nop_cases; i++) {
		struct arena *a = arena_create();
		struct etensor *feed[CASE_INPUTS] = {0}, *out[CASE_INPUTS];
		struct eval_opts o = {.arena = a};
		struct graph *g;
		struct diag d;

		diag_init(&d, NULL);
		g = case_build(a, &op_cases[i], &d, feed);
		if (!g || !eval_graph(&o, g, feed, out, NULL, NULL, &d))
			fail_msg("%s: %s", case_text(a, &op_cases[i]), d.text.s ? d.text.s : "");
		for (int k = 0; k < g->outputs.n; k++) {
			assert_int_equal(out[k]->dtype, g->outputs.v[k]->dtype);
			assert_true(dims_equal(out[k]->rank, out[k]->dims, g->outputs.v[k]->rank, g->outputs.v[k]->dims));
		}
		diag_free(&d);
		arena_destroy(a);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_row_has_a_case),
	    cmocka_unit_test(evaluates),
	    cmocka_unit_test(gradients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
