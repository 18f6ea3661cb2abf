/* Compiled code against the evaluator: every row's cases, and where the row is
 * differentiable its gradient in the same program, which is held against finite
 * differences too; rows' first cases again in f64, f16 and bf16.  A case runs in a
 * process of its own, so that one that aborts is named too.
 *
 *   test_op_compiled [--all] [--tsv FILE] [WORD]
 *
 * Of sweeps.def one case in six is compiled, or with --all, --tsv or a word all of them.
 * WORD keeps the cases whose text contains it.  FILE gets a line for every
 * differentiable row: its name, the worst relative error of its gradient against
 * differences in double, and that of compiled f32 code. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "tests/op/differences.h"

static struct target *target;
static struct pass_opts pass_opts = {.opt_level = 2, .blas = BLAS_NEVER, .verify_each = true};

/* What a case's process tells: relative errors of gradients; negative: not measured. */
struct told {
	double fd64, fd32;
};

/* ---- a graph with its gradients as outputs after the first nout */
struct proof {
	struct graph *g;
	struct etensor *feed[CASE_INPUTS], **want;
	struct value *dwrt[CASE_INPUTS];
	int nwrt, at[CASE_INPUTS]; /* which inputs */
	int nout;
};

static bool
add_gradients(struct proof *p, struct diag *d)
{
	struct value *loss = weighed_outputs(p->g, d, p->nout), *wrt[CASE_INPUTS];

	for (int i = 0; i < p->g->inputs.n; i++)
		if (dtype_is_float(p->g->inputs.v[i]->dtype)) {
			wrt[p->nwrt] = p->g->inputs.v[i];
			p->at[p->nwrt++] = i;
		}
	if (!loss || !p->nwrt) {
		p->nwrt = 0;
		return true;
	}
	if (!grad_build(p->g, loss, p->nwrt, wrt, p->dwrt, d))
		return false;
	for (int i = 0; i < p->nwrt; i++)
		if (p->dwrt[i])
			graph_output(p->g, arena_printf(p->g->arena, "d_%s", wrt[i]->name), p->dwrt[i]);
	return true;
}

static bool
prepare(struct proof *p, struct arena *a, const struct op_case *c, bool grad, struct diag *d)
{
	*p = (struct proof){.nout = c->nout};
	p->g = case_build(a, c, d, p->feed);
	return p->g && (!grad || add_gradients(p, d));
}

static bool
evaluate(struct proof *p, struct arena *a, struct diag *d)
{
	struct eval_opts eo = {.arena = a};

	p->want = arena_array(a, struct etensor *, p->g->outputs.n + 1);
	return eval_graph(&eo, p->g, p->feed, p->want, NULL, NULL, d);
}

/* Compiled and run: have[i] for every output. */
static bool
run(struct proof *p, struct arena *a, const void **have, struct diag *d)
{
	struct pass_ctx ctx = {.arena = a, .diag = d, .opts = &pass_opts};
	struct program *prog = compile_graph(p->g, &ctx);
	struct jit *j = prog ? jit_open(target, prog, "{}", d) : NULL;
	const struct rt_program *rt;
	void *base[64];

	if (!j)
		return false;
	rt = jit_program(j);
	base[0] = rt_alloc((size_t)rt->work_bytes + RT_ALIGN);
	base[1] = (void *)(uintptr_t)rt->constants;
	base[2] = rt_alloc((size_t)rt->state_bytes + RT_ALIGN);
	for (int i = 0; i < rt->ninputs; i++) {
		struct tensor *in = etensor_to(a, p->feed[i]);

		base[3 + i] = rt_alloc((size_t)rt->inputs[i].bytes + RT_ALIGN);
		memcpy(base[3 + i], in->data, in->bytes);
	}
	for (int i = 0; i < rt->noutputs; i++)
		have[i] = base[3 + rt->ninputs + i] = rt_alloc((size_t)rt->outputs[i].bytes + RT_ALIGN);
	rt_run(NULL, rt, base, NULL);
	return true;
}

/* tol: of floats, relative to the largest element of want, or to least */
static bool
equal(const char *what, const char *name, const struct etensor *want, enum dtype dtype, const void *have, double tol,
    double least)
{
	double scale = least;

	for (int64_t e = 0; want->s && e < want->count; e++) {
		const char *h = ((const char *const *)have)[e];

		if (!h || strcmp(h, want->s[e]) != 0) {
			printf("FAIL %s: %s[%" PRId64 "] is \"%s\", the evaluator says \"%s\"\n", what, name, e, h ? h : "(null)",
			    want->s[e]);
			return false;
		}
	}
	if (want->s)
		return true;
	for (int64_t e = 0; e < want->count; e++)
		if (isfinite(et_get(want, e)))
			scale = fmax(scale, fabs(et_get(want, e)));
	for (int64_t e = 0; e < want->count; e++) {
		double w = et_get(want, e);
		double h = want->f ? dtype_get_f(dtype, have, e) : (double)dtype_get_i(dtype, have, e);

		if (!(want->f && fabs(h - w) <= tol * scale) && !(isnan(h) && isnan(w)) && h != w) {
			printf("FAIL %s: %s[%" PRId64 "] is %.9g, the evaluator says %.9g\n", what, name, e, h, w);
			return false;
		}
	}
	return true;
}

/* ---- gradients against differences: in double, and what compiled code gave */
static bool
against_differences(struct arena *a, const struct op_case *c, const struct proof *p, const void *const *have,
    struct told *told, struct diag *d)
{
	const struct op_case *wide = case_retyped(a, c, "f64");
	struct proof ref, plain;

	if (!wide || !prepare(&ref, a, wide, true, d) || !evaluate(&ref, a, d))
		if (!prepare(&ref, a, wide = c, true, d) || !evaluate(&ref, a, d))
			return false;
	if (!prepare(&plain, a, wide, false, d))
		return false;
	graph_output(plain.g, "loss", weighed_outputs(plain.g, d, plain.nout));
	*told = (struct told){0, -1};
	for (int i = 0, k = c->nout; i < ref.nwrt; i++) {
		const struct etensor *x = plain.feed[ref.at[i]], *dx = ref.dwrt[i] ? ref.want[k] : NULL;
		double *want = arena_array(a, double, x->count + 1), *got = arena_array(a, double, x->count + 1);
		int64_t e;

		if (!differences(plain.g, plain.g->outputs.n - 1, plain.feed, ref.at[i], want, d))
			return false;
		told->fd64 = fmax(told->fd64, relative_error(x->count, dx ? dx->f : NULL, want, &e));
		if (p->g->inputs.v[p->at[i]]->dtype == DT_f32) {
			for (e = 0; p->dwrt[i] && e < x->count; e++)
				got[e] = dtype_get_f(DT_f32, have[k], e);
			told->fd32 = fmax(told->fd32, relative_error(x->count, got, want, &e));
		}
		k += p->dwrt[i] != NULL;
	}
	return true;
}

static bool
one(const struct op_case *c, bool grad, struct told *told)
{
	struct arena *a = arena_create();
	const char *what = arena_printf(a, "%s%s", grad ? "gradient of " : "", case_text(a, c));
	const void *have[64];
	struct proof p;
	struct diag d;
	bool ok = true;

	diag_init(&d, NULL);
	if (!prepare(&p, a, c, grad, &d) || !evaluate(&p, a, &d) || !run(&p, a, have, &d)) {
		printf("FAIL %s: %s\n", what, d.text.s ? d.text.s : "");
		return false;
	}
	for (int i = 0; i < p.g->outputs.n; i++)
		ok &= equal(what, p.g->output_names.v[i], p.want[i], p.want[i]->dtype, have[i], 2e-5, 1e-3);
	if (p.nwrt && !(c->flags & CASE_KINK)) {
		if (!against_differences(a, c, &p, have, told, &d)) {
			printf("FAIL %s: %s\n", what, d.text.s ? d.text.s : "");
			return false;
		}
		if (!(told->fd64 <= fmax(1e-6, c->tol)) || !(told->fd32 <= 1e-3)) {
			printf("FAIL %s: differs from finite differences by %.3g in double, %.3g in compiled f32\n", what,
			    told->fd64, told->fd32);
			ok = false;
		}
	}
	return ok;
}

/* ---- the same with other element types, against doubles of the same content */
static const struct {
	const char *name;
	double tol;
} types[] = {{"f64", 1e-5}, {"f16", 1e-2}, {"bf16", 6e-2}};

static bool
retyped(const struct op_case *c, int type)
{
	struct arena *a = arena_create();
	const struct op_case *narrow = case_retyped(a, c, types[type].name), *wide = case_retyped(a, c, "f64");
	struct proof p, ref;
	const void *have[64];
	const char *what;
	struct diag d;
	bool ok = true;

	diag_init(&d, NULL);
	if (!narrow || !prepare(&p, a, narrow, true, &d) || !prepare(&ref, a, wide, true, &d))
		return true; /* not a row for this type */
	what = arena_printf(a, "gradient of %s", case_text(a, narrow));
	for (int i = 0; i < p.g->inputs.n; i++)
		if (p.feed[i]->f)
			memcpy(ref.feed[i]->f, p.feed[i]->f, (size_t)p.feed[i]->count * sizeof(double));
	if (!evaluate(&ref, a, &d) || !run(&p, a, have, &d)) {
		printf("FAIL %s: %s\n", what, d.text.s ? d.text.s : "");
		return false;
	}
	for (int i = 0; i < p.g->outputs.n; i++)
		ok &= equal(what, p.g->output_names.v[i], ref.want[i], p.g->outputs.v[i]->dtype, have[i],
		    types[type].tol, 0.1);
	return ok;
}

/* ---- one process for each */
static bool
apart(const struct op_case *c, bool grad, int type, struct told *told)
{
	int status = 0, pipes[2];
	pid_t pid;

	*told = (struct told){-1, -1};
	fflush(stdout);
	if (pipe(pipes) || (pid = fork()) < 0)
		die("no pipe, no process");
	if (pid == 0) {
		bool ok = type < 0 ? one(c, grad, told) : retyped(c, type);

		fflush(stdout);
		if (write(pipes[1], told, sizeof *told) != (ssize_t)sizeof *told)
			ok = false;
		_exit(!ok);
	}
	close(pipes[1]);
	if (read(pipes[0], told, sizeof *told) != (ssize_t)sizeof *told)
		*told = (struct told){-1, -1};
	close(pipes[0]);
	if (waitpid(pid, &status, 0) < 0)
		die("its process is gone");
	if (!WIFEXITED(status))
		printf("FAIL %s: ended by signal %d\n", op_info[c->op].id, WTERMSIG(status));
	return status == 0;
}

static void
keep_worst(struct told *worst, struct told t)
{
	worst->fd64 = fmax(worst->fd64, t.fd64);
	worst->fd32 = fmax(worst->fd32, t.fd32);
}

static bool
write_tsv(const char *path, const struct told *worst)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return false;
	for (int op = OP_none + 1; op < NOP; op++)
		if (worst[op].fd64 >= 0)
			fprintf(f, "%s\t%.1e\t%.1e\n", op_info[op].onnx ? op_info[op].onnx : op_info[op].id,
			    worst[op].fd64, worst[op].fd32);
	return fclose(f) == 0;
}

/* ---- the cases dealt to as many processes as there are processors */
enum { WORKERS_MAX = 8 };
struct tally {
	int ran, failed;
	struct told worst[NOP];
};

struct choice {
	const char *word;
	bool all;
};

static bool
chosen(struct arena *a, const struct choice *ch, const struct op_case *c, int i)
{
	if (c->flags & CASE_NORUN || (c->flags & CASE_SWEEP && !ch->all && i % 6))
		return false;
	return !ch->word || strstr(case_text(a, c), ch->word);
}

static void
work(struct tally *y, const struct op_case *cases, int n, int first, int step, const struct choice *ch)
{
	struct arena *a = arena_create();
	bool *typed = arena_array(a, bool, NOP);
	struct told t;
	int turn = 0;

	for (int op = 0; op < NOP; op++)
		y->worst[op] = (struct told){-1, -1};
	for (int i = 0; i < n; i++) {
		const struct op_case *c = &cases[i];
		bool grad = !op_not_differentiable(c->op) && !(c->flags & CASE_NOGRAD);
		bool types_too = grad && !typed[c->op] && !(c->flags & (CASE_KINK | CASE_NORUN));

		if (!chosen(a, ch, c, i))
			continue;
		typed[c->op] |= types_too;
		if (turn++ % step != first)
			continue;
		y->ran++;
		y->failed += !apart(c, grad, -1, &t);
		keep_worst(&y->worst[c->op], t);
		for (int k = 0; types_too && k < (int)(sizeof types / sizeof *types); k++)
			y->failed += !apart(c, grad, k, &t);
	}
	arena_destroy(a);
}

int
main(int argc, char **argv)
{
	struct target_opts to = {.opt_level = 1};
	struct choice ch = {0};
	const char *tsv = NULL;
	int workers = (int)sysconf(_SC_NPROCESSORS_ONLN), ncases;
	const struct op_case *cases = op_cases(&ncases);
	struct tally *y;
	struct diag d;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--tsv") == 0 && i + 1 < argc)
			tsv = argv[++i];
		else if (strcmp(argv[i], "--all") != 0)
			ch.word = argv[i];
		ch.all = true;
	}
	diag_init(&d, stderr);
	if (!(target = target_open(&to, &d)))
		return 1;
	pass_opts.machine = *target_machine(target);
	workers = workers < 1 ? 1 : workers > WORKERS_MAX ? WORKERS_MAX : workers;
	y = mmap(NULL, sizeof *y * WORKERS_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (y == MAP_FAILED)
		return 1;
	for (int w = 0; w < workers; w++)
		if (fork() == 0) {
			work(&y[w], cases, ncases, w, workers, &ch);
			fflush(stdout);
			_exit(0);
		}
	for (int w = 0, status; w < workers; w++)
		if (wait(&status) < 0 || status)
			y[0].failed++;
	for (int w = 1; w < workers; w++) {
		y[0].ran += y[w].ran;
		y[0].failed += y[w].failed;
		for (int op = 0; op < NOP; op++)
			keep_worst(&y[0].worst[op], y[w].worst[op]);
	}
	if (tsv && !write_tsv(tsv, y[0].worst)) {
		printf("%s cannot be written\n", tsv);
		y[0].failed++;
	}
	target_close(target);
	printf("%d cases compiled and run, %d failed\n", y[0].ran, y[0].failed);
	return y[0].failed || !y[0].ran;
}
