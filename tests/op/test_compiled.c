/* Compiled code against the evaluator: every row's cases, and where the row is
 * differentiable its gradient in the same program.  A case runs in a process of
 * its own, so that one that aborts is named too.  A word given as argument keeps
 * the cases whose text contains it. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "tests/op/cases.h"

/* sum of weight*output over float outputs, differentiated: dx after the outputs */
static bool
add_gradients(struct graph *g, int nout, struct diag *d)
{
	struct build b = build_at(g, d, LOC_NONE, NULL);
	struct value *loss = NULL, *wrt[CASE_INPUTS], *dwrt[CASE_INPUTS] = {0};
	int n = 0;

	for (int o = 0; o < nout; o++) {
		struct value *y = g->outputs.v[o], *s;
		struct tensor *t;

		if (y->dtype != DT_f32)
			continue;
		t = tensor_new(g->arena, y->dtype, y->rank, y->dims);
		for (int64_t i = 0; i < tensor_count(t); i++)
			dtype_put_f(y->dtype, t->data, i, 0.4 + 0.25 * (double)((i * 5 + o) % 7));
		s = b_reduce_all(&b, OP_reduce_sum, b_mul(&b, y, graph_const(g, NULL, t)));
		loss = loss ? b_add(&b, loss, s) : s;
	}
	for (int i = 0; i < g->inputs.n; i++)
		if (g->inputs.v[i]->dtype == DT_f32)
			wrt[n++] = g->inputs.v[i];
	if (!loss || !n)
		return true;
	if (!grad_build(g, loss, n, wrt, dwrt, d))
		return false;
	for (int i = 0; i < n; i++)
		if (dwrt[i])
			graph_output(g, arena_printf(g->arena, "d_%s", wrt[i]->name), dwrt[i]);
	return true;
}

static bool
equal(const char *what, const char *name, const struct etensor *want, const void *have)
{
	double scale = 0;

	for (int64_t e = 0; e < want->count; e++)
		if (isfinite(et_get(want, e)))
			scale = fmax(scale, fabs(et_get(want, e)));
	for (int64_t e = 0; e < want->count; e++) {
		double w = et_get(want, e), h;
		double tol = want->f ? 2e-5 * fmax(scale, 1e-3) : 0;

		h = want->f ? dtype_get_f(want->dtype, have, e) : (double)dtype_get_i(want->dtype, have, e);
		if (!(fabs(h - w) <= tol) && !(isnan(h) && isnan(w)) && h != w) {
			printf("FAIL %s: %s[%" PRId64 "] is %.9g, the evaluator says %.9g\n", what, name, e, h, w);
			return false;
		}
	}
	return true;
}

static bool
one(const struct op_case *c, struct target *t, const struct pass_opts *po, bool grad)
{
	struct arena *a = arena_create();
	struct etensor *feed[CASE_INPUTS] = {0}, **out;
	struct eval_opts eo = {.arena = a};
	const char *what = arena_printf(a, "%s%s", grad ? "gradient of " : "", case_text(a, c));
	struct pass_ctx ctx;
	struct program *p;
	struct jit *j;
	const struct rt_program *rt;
	struct diag d;
	struct graph *g;
	void *base[64];
	bool ok = true;

	diag_init(&d, NULL);
	g = case_build(a, c, &d, feed);
	if (!g || (grad && !add_gradients(g, c->nout, &d))) {
		printf("FAIL %s: %s\n", what, d.text.s);
		return false;
	}
	out = arena_array(a, struct etensor *, g->outputs.n + 1);
	if (!eval_graph(&eo, g, feed, out, NULL, NULL, &d)) {
		printf("FAIL %s: %s\n", what, d.text.s);
		return false;
	}
	ctx = (struct pass_ctx){.arena = a, .diag = &d, .opts = po};
	p = compile_graph(g, &ctx);
	j = p ? jit_open(t, p, "{}", &d) : NULL;
	if (!j) {
		printf("FAIL %s: %s\n", what, d.text.s);
		return false;
	}
	rt = jit_program(j);
	base[0] = rt_alloc((size_t)rt->work_bytes + RT_ALIGN);
	base[1] = (void *)(uintptr_t)rt->constants;
	base[2] = rt_alloc((size_t)rt->state_bytes + RT_ALIGN);
	for (int i = 0; i < rt->ninputs; i++) {
		struct tensor *in = etensor_to(a, feed[i]);

		base[3 + i] = rt_alloc((size_t)rt->inputs[i].bytes + RT_ALIGN);
		memcpy(base[3 + i], in->data, in->bytes);
	}
	for (int i = 0; i < rt->noutputs; i++)
		base[3 + rt->ninputs + i] = rt_alloc((size_t)rt->outputs[i].bytes + RT_ALIGN);
	rt_run(NULL, rt, base, NULL);
	for (int i = 0; i < rt->noutputs; i++)
		ok &= equal(what, rt->outputs[i].name, out[i], base[3 + rt->ninputs + i]);
	return ok;
}

int
main(int argc, char **argv)
{
	struct target_opts to = {.opt_level = 1};
	struct pass_opts po = {.opt_level = 2, .blas = BLAS_NEVER, .verify_each = true};
	struct arena *a = arena_create();
	struct target *t;
	struct diag d;
	int failed = 0, ran = 0;

	diag_init(&d, stderr);
	if (!(t = target_open(&to, &d)))
		return 1;
	target_machine(t, &po.machine.vector_bits, &po.machine.vector_regs, &po.machine.masked,
	    &po.machine.l1, &po.machine.l2);
	for (int i = 0; i < nop_cases; i++) {
		const struct op_case *c = &op_cases[i];
		bool grad = op_info[c->op].grad != grad_none && !(c->flags & CASE_NOGRAD);
		int status = 0;
		pid_t pid;

		if (c->flags & CASE_NORUN || (argc > 1 && !strstr(case_text(a, c), argv[1])))
			continue;
		fflush(stdout);
		if ((pid = fork()) == 0) {
			bool ok = one(c, t, &po, grad);

			fflush(stdout);
			_exit(!ok);
		}
		ran++;
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			return 1;
		if (!WIFEXITED(status))
			printf("FAIL %s: ended by signal %d\n", case_text(a, c), WTERMSIG(status));
		failed += status != 0;
	}
	target_close(t);
	arena_destroy(a);
	printf("%d cases compiled and run, %d failed\n", ran, failed);
	return failed != 0;
}
