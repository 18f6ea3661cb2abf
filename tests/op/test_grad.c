/* Every differentiable row's gradient against central differences, in double, on the
 * cases of cases.def and sweeps.def, and the gradient's gradient; the choices made at
 * kinks; and every row has a case. */
#include "tests/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"
#include "tests/op/differences.h"

static const double usual = 1e-6;

/* One case on its way: the graph with a loss, its float inputs and their gradients. */
struct proof {
	struct arena *a;
	struct diag d;
	const struct op_case *c;
	struct graph *g;
	struct etensor *feed[CASE_INPUTS];
	struct value *wrt[CASE_INPUTS], *dwrt[CASE_INPUTS];
	int nwrt, at[CASE_INPUTS];
};

/* double_too: with doubles for floats where the row takes them, so that the constants
 * of rules are not rounded to float either. */
static void
begin(struct proof *p, const struct op_case *c, bool double_too)
{
	*p = (struct proof){.a = arena_create(), .c = c};
	diag_init(&p->d, NULL);
	if (double_too)
		p->c = case_retyped(p->a, c, "f64");
	p->g = p->c ? case_build(p->a, p->c, &p->d, p->feed) : NULL;
	if (!p->g) { /* not a row for doubles */
		p->c = c;
		diag_free(&p->d);
		diag_init(&p->d, NULL);
		memset(p->feed, 0, sizeof p->feed);
		p->g = case_build(p->a, c, &p->d, p->feed);
	}
	if (!p->g)
		fail_msg("%s: %s", case_text(p->a, c), p->d.text.s);
	for (int i = 0; i < p->g->inputs.n; i++)
		if (dtype_is_float(p->g->inputs.v[i]->dtype)) {
			p->wrt[p->nwrt] = p->g->inputs.v[i];
			p->at[p->nwrt++] = i;
		}
}

static void
end(struct proof *p)
{
	diag_free(&p->d);
	arena_destroy(p->a);
}

static const char *
problem(const struct proof *p)
{
	return p->d.text.s ? p->d.text.s : "";
}

/* The gradients of loss, evaluated: got[i], NULL where none flows. */
static bool
evaluated_gradients(struct proof *p, struct value *loss, struct etensor **got)
{
	struct eval_opts o = {.arena = p->a};
	struct etensor **out = arena_array(p->a, struct etensor *, p->nwrt + 1);

	if (!grad_build(p->g, loss, p->nwrt, p->wrt, p->dwrt, &p->d))
		return false;
	p->g->outputs.n = p->g->output_names.n = 0;
	for (int i = 0; i < p->nwrt; i++)
		if (p->dwrt[i])
			graph_output(p->g, "d", p->dwrt[i]);
	graph_verify(p->g, "grad");
	if (!eval_graph(&o, p->g, p->feed, out, NULL, NULL, &p->d))
		return false;
	for (int i = 0, k = 0; i < p->nwrt; i++)
		got[i] = p->dwrt[i] ? out[k++] : NULL;
	return true;
}

/* A gradient that is not what differences say: wrong, or asked for at a kink. */
static void
disagrees(struct proof *p, struct graph *g, int loss, int k, int64_t e, double have, double want)
{
	double half = 0;

	print_error("%s: operand %d element %lld: gradient %.9g, differences say %.9g", case_text(p->a, p->c), k,
	    (long long)e, have, want);
	if (difference_at(g, loss, p->feed, k, e, 0.3, &half, &p->d) && !(fabs(half - want) <= 1e-5 * fabs(want) + 1e-9))
		print_error(" or %.9g, it is at a kink", half);
	print_error("\n");
}

/* got[] against the differences of output `loss` of graph g, which has the same inputs. */
static bool
agree(struct proof *p, struct graph *g, int loss, struct etensor *const *got)
{
	double tol = p->c->tol ? p->c->tol : usual;

	for (int i = 0; i < p->nwrt; i++) {
		struct etensor *x = p->feed[p->at[i]];
		double *want = arena_array(p->a, double, x->count + 1);
		int64_t e;

		if (!differences(g, loss, p->feed, p->at[i], want, &p->d)) {
			print_error("%s: %s\n", case_text(p->a, p->c), problem(p));
			return false;
		}
		if (!(relative_error(x->count, got[i] ? got[i]->f : NULL, want, &e) <= tol)) {
			disagrees(p, g, loss, p->at[i], e, got[i] ? got[i]->f[e] : 0, want[e]);
			return false;
		}
	}
	return true;
}

/* The same along two directions only, all elements moving at once. */
static bool
agree_along(struct proof *p, struct graph *g, int loss, struct etensor *const *got)
{
	for (int i = 0; i < p->nwrt; i++)
		for (int way = 0; way < 2; way++) {
			struct etensor *x = p->feed[p->at[i]];
			double *dir = arena_array(p->a, double, x->count + 1), have = 0, size = 0, want;

			for (int64_t e = 0; e < x->count; e++) {
				double v = got[i] ? got[i]->f[e] : 0;

				dir[e] = (double)((e * 7 + way * 3) % 5) - 1.75;
				have += v * dir[e];
				size += fabs(v * dir[e]);
			}
			if (!difference_along(g, loss, p->feed, p->at[i], dir, &want, &p->d) ||
			    !(fabs(have - want) <= 1e-6 * fmax(fmax(size, fabs(want)), 1e-3))) {
				print_error("second order: %s: operand %d: gradient along a line %.9g, differences say %.9g\n",
				    case_text(p->a, p->c), p->at[i], have, want);
				return false;
			}
		}
	return true;
}

static bool
first_order(const struct op_case *c)
{
	struct proof p, plain;
	struct etensor *got[CASE_INPUTS];
	struct value *loss;
	bool ok = true;

	begin(&p, c, true);
	begin(&plain, c, true);
	loss = weighed_outputs(p.g, &p.d, c->nout);
	if (loss && p.nwrt) {
		graph_output(plain.g, "loss", weighed_outputs(plain.g, &plain.d, c->nout));
		ok = evaluated_gradients(&p, loss, got);
		if (!ok)
			print_error("%s: %s\n", case_text(p.a, c), problem(&p));
		ok = ok && agree(&p, plain.g, plain.g->outputs.n - 1, got);
	}
	end(&plain);
	end(&p);
	return ok;
}

static bool
has_gradient(const struct op_case *c)
{
	return !(c->flags & (CASE_NOGRAD | CASE_KINK)) && !op_not_differentiable(c->op);
}

static void
gradients(void **state)
{
	int n, bad = 0;
	const struct op_case *c = op_cases(&n);

	(void)state;
	for (int i = 0; i < n; i++)
		if (has_gradient(&c[i]))
			bad += !first_order(&c[i]);
	assert_int_equal(bad, 0);
}

/* ---- second order: the loss is the weighed sum of the gradients */
static const struct {
	enum op op;
	const char *why;
} first_order_only[] = {
    {OP_none, ""},
};

static const char *
not_twice(enum op op)
{
	for (size_t i = 0; i < sizeof first_order_only / sizeof *first_order_only; i++)
		if (first_order_only[i].op == op)
			return first_order_only[i].why;
	return NULL;
}

/* The graph with the gradient built in, its weighed sum the last output. */
static struct value *
gradient_loss(struct proof *p)
{
	struct value *loss = weighed_outputs(p->g, &p->d, p->c->nout), *twice;

	if (!loss || !grad_build(p->g, loss, p->nwrt, p->wrt, p->dwrt, &p->d))
		return NULL;
	twice = weighed(p->g, &p->d, p->nwrt, p->dwrt);
	if (twice)
		graph_output(p->g, "loss", twice);
	return twice;
}

static bool
second_order(const struct op_case *c)
{
	struct proof p, plain;
	struct etensor *got[CASE_INPUTS];
	struct value *loss;
	bool ok = true;

	begin(&p, c, true);
	begin(&plain, c, true);
	loss = gradient_loss(&p);
	if (loss && gradient_loss(&plain)) {
		ok = evaluated_gradients(&p, loss, got);
		if (!ok)
			print_error("second order: %s: %s\n", case_text(p.a, c), problem(&p));
		ok = ok && agree_along(&p, plain.g, plain.g->outputs.n - 1, got);
	}
	end(&plain);
	end(&p);
	return ok;
}

/* A row of the list above still says so by name; once it can, the list is wrong. */
static bool
refused_twice(const struct op_case *c)
{
	struct proof p;
	struct value *loss;
	bool ok = true;

	begin(&p, c, true);
	loss = gradient_loss(&p);
	if (loss && grad_build(p.g, loss, p.nwrt, p.wrt, p.dwrt, &p.d)) {
		print_error("%s has a second gradient: it is listed as \"%s\"\n", case_text(p.a, c), not_twice(c->op));
		ok = false;
	}
	end(&p);
	return ok;
}

static void
second_gradients(void **state)
{
	int n, bad = 0;
	const struct op_case *c = op_cases(&n);

	(void)state;
	for (int i = 0; i < n; i++)
		if (has_gradient(&c[i]))
			bad += not_twice(c[i].op) ? !refused_twice(&c[i]) : !second_order(&c[i]);
	assert_int_equal(bad, 0);
}

/* ---- kinks: the gradient of the plain sum of the outputs is what the table says */
static bool
chosen(const struct op_case *c)
{
	struct proof p;
	struct etensor *got[CASE_INPUTS] = {0};
	struct build b;
	const char *said_of = case_gradients(c), *s = said_of;
	struct value *loss;
	bool ok = true;

	begin(&p, c, false);
	b = build_at(p.g, &p.d, LOC_NONE, NULL);
	loss = b_reduce_all(&b, OP_reduce_sum, p.g->outputs.v[0]);
	if (!evaluated_gradients(&p, loss, got)) {
		if (!*said_of && op_not_differentiable(c->op))
			goto out;
		print_error("%s: %s\n", case_text(p.a, c), problem(&p));
		ok = false;
		goto out;
	}
	for (int i = 0; i < p.nwrt; i++, s += *s == ';') {
		struct str said = {0};

		for (int64_t e = 0; e < p.feed[p.at[i]]->count && *s && *s != ';'; e++, s += *s == ',') {
			char *after;
			double want = strtod(s, &after), have = got[i] ? got[i]->f[e] : 0;

			ok &= after > s && (have == want || fabs(have - want) <= 1e-5);
			s = after;
		}
		for (int64_t e = 0; got[i] && e < got[i]->count; e++) {
			str_addf(&said, "%s%g", e ? "," : "", got[i]->f[e]);
			ok &= *s == ';' || !*s;
		}
		if (!ok)
			print_error("%s: operand %d gets %s, kinks.def says \"%s\"\n", case_text(p.a, c), p.at[i],
			    said.s ? said.s : "nothing", said_of);
		str_free(&said);
	}
out:
	end(&p);
	return ok;
}

static void
kinks(void **state)
{
	int n, bad = 0;
	const struct op_case *c = op_cases(&n);

	(void)state;
	for (int i = 0; i < n; i++)
		if (c[i].flags & CASE_KINK)
			bad += !chosen(&c[i]);
	assert_int_equal(bad, 0);
}

/* ---- every row that says it has a gradient was proved, and says right where it has none */
static void
every_gradient_is_tried(void **state)
{
	static bool flows[NOP];
	int n, bad = 0;
	const struct op_case *c = op_cases(&n);

	(void)state;
	for (int i = 0; i < n; i++) {
		struct proof p;
		bool out = false;

		begin(&p, &c[i], false);
		for (int o = 0; o < p.g->outputs.n; o++)
			out |= dtype_is_float(p.g->outputs.v[o]->dtype) && !(c[i].flags & CASE_NOGRAD);
		flows[c[i].op] |= out && p.nwrt;
		end(&p);
	}
	flows[OP_Unique] = true; /* the size of its result is measured, which cases here cannot weigh */
	for (int op = OP_none + 1; op < NOP; op++) {
		const char *why = op_not_differentiable((enum op)op);
		bool wrong = flows[op] && (op_info[op].grad == grad_none || op_info[op].grad == grad_made);

		if (!why && !flows[op])
			print_error("%s has a gradient and no case that differentiates it\n", op_info[op].id);
		if (wrong)
			print_error("%s is said to be not differentiable, but floats go in and come out\n", op_info[op].id);
		bad += (!why && !flows[op]) || wrong;
	}
	assert_int_equal(bad, 0);
}

static void
every_row_has_a_case(void **state)
{
	int missing = 0, n;
	const struct op_case *c = op_cases(&n);

	(void)state;
	for (int op = OP_none + 1; op < NOP; op++) {
		bool found = false;

		for (int i = 0; i < n; i++)
			found |= (int)c[i].op == op;
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
	int n;
	const struct op_case *c = op_cases(&n);

	(void)state;
	for (int i = 0; i < n; i++) {
		struct proof p;
		struct etensor *out[CASE_INPUTS];
		struct eval_opts o;

		begin(&p, &c[i], false);
		o = (struct eval_opts){.arena = p.a};
		if (!eval_graph(&o, p.g, p.feed, out, NULL, NULL, &p.d))
			fail_msg("%s: %s", case_text(p.a, &c[i]), problem(&p));
		for (int k = 0; k < p.g->outputs.n; k++) {
			assert_int_equal(out[k]->dtype, p.g->outputs.v[k]->dtype);
			assert_true(dims_equal(
			    out[k]->rank, out[k]->dims, p.g->outputs.v[k]->rank, p.g->outputs.v[k]->dims));
		}
		end(&p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_row_has_a_case),
	    cmocka_unit_test(evaluates),
	    cmocka_unit_test(gradients),
	    cmocka_unit_test(second_gradients),
	    cmocka_unit_test(kinks),
	    cmocka_unit_test(every_gradient_is_tried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
