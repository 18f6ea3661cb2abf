/* Graphs whose sizes are known at run time only, at many sizes: what the evaluator says
 * of the graph with symbols, of the same graph at its upper bounds, and what compiled
 * code computes must be the same.  What lies beyond the sizes of a run, of inputs and
 * of memory, is filled with NaN and junk, so that a value that leaks is seen.
 *
 * The first line of a case says the sizes:   # sizes: N=1,3,8 T=2,5   (all combinations);
 * integer inputs hold 0 and 1 but for those named in   # below: ix=N   (less than N).
 *     test_bound DIR [NAME] */
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "runtime/abi.h"

enum { MAX_AXES = 8, MAX_SIZES = 16, GUARD = 64 };

struct axis {
	char name[32];
	int n;
	int64_t v[MAX_SIZES];
};
struct tested {
	const char *file, *text;
	struct axis axis[MAX_AXES];
	int naxis;
	char below[256];
	struct target *t;
	const struct pass_opts *po;
	/* one run */
	int64_t size[MAX_AXES];
	char what[256];
};

static double
draw(uint64_t *s)
{
	*s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double)(*s >> 40) / (double)(1 << 24);
}

/* ---- the sizes asked for */
static bool
parse_sizes(struct tested *c)
{
	const char *p = strstr(c->text, "# sizes:"), *b = strstr(c->text, "# below:");

	if (!p)
		return false;
	for (p += 8; *p && *p != '\n';) {
		struct axis *a = &c->axis[c->naxis];
		int len = 0;
		char *end;

		p += strspn(p, " ");
		if (!*p || *p == '\n')
			break;
		if (c->naxis++ == MAX_AXES || sscanf(p, "%31[^=]=%n", a->name, &len) != 1)
			return false;
		for (p += len; a->n < MAX_SIZES; p = end + 1) {
			a->v[a->n++] = strtoll(p, &end, 10);
			if (*end != ',')
				break;
		}
		p = end;
	}
	if (b)
		snprintf(c->below, sizeof c->below, "%.*s", (int)strcspn(b + 8, "\n"), b + 8);
	return true;
}

static int64_t
size_named(void *ctx, const char *name, int64_t handle)
{
	const struct tested *c = ctx;

	(void)handle;
	for (int i = 0; i < c->naxis; i++)
		if (strcmp(c->axis[i].name, name) == 0)
			return c->size[i];
	return 0;
}

static int64_t
below(const struct tested *c, const char *input)
{
	const char *p = strstr(c->below, input);
	char name[32];

	if (!p || sscanf(p + strlen(input), "=%31[^ \n]", name) != 1)
		return 2;
	return atoll(name) ? atoll(name) : size_named((void *)(uintptr_t)c, name, 0);
}

static struct etensor *
content(struct arena *a, const struct tested *c, const struct graph *g, const struct value *v, uint64_t seed)
{
	int64_t dims[MAX_RANK], most = below(c, v->name);
	struct etensor *e;

	for (int k = 0; k < v->rank; k++)
		dims[k] = dim_eval(g, v->dims[k], size_named, (void *)(uintptr_t)c);
	e = etensor_new(a, v->dtype, v->rank, dims);
	for (int64_t i = 0; i < e->count; i++)
		et_put(e, i, dtype_is_float(v->dtype) ? (double)(float)(2 * draw(&seed) - 1) : floor(draw(&seed) * (double)most));
	return e;
}

/* ---- comparing */
static bool
equal(const struct tested *c, const char *how, const char *name, const struct etensor *want, const struct etensor *have,
    double tol)
{
	double scale = 1e-3;

	for (int64_t i = 0; i < want->count; i++)
		if (isfinite(et_get(want, i)))
			scale = fmax(scale, fabs(et_get(want, i)));
	for (int64_t i = 0; i < want->count; i++) {
		double w = et_get(want, i), h = et_get(have, i);

		if (!(fabs(h - w) <= (want->f ? tol * scale : 0)) && !(isnan(h) && isnan(w)) && h != w) {
			printf("FAIL %s %s: %s: %s[%" PRId64 "] is %.9g, %.9g is right\n", c->file, c->what, how, name, i, h, w);
			return false;
		}
	}
	return true;
}

/* x at the front of a dense memory of `count`, junk behind */
static struct etensor *
in_memory(struct arena *a, const struct etensor *x, const struct value *v)
{
	struct etensor *e = etensor_new(a, x->dtype, v->rank, v->dims);

	for (int64_t i = 0; i < e->count; i++)
		et_put(e, i, i < x->count ? et_get(x, i) : e->f ? NAN : x->dtype == DT_bool ? 1 : 99);
	return e;
}

static bool
bounded(const struct tested *c, struct arena *a, struct graph *g, struct etensor *const *in, struct etensor *const *want,
    struct diag *d)
{
	struct graph *b = bound_graph(g, d);
	struct etensor **feed, **out;
	struct eval_opts eo = {.arena = a};
	bool ok = true;

	if (!b) {
		printf("FAIL %s: %s\n", c->file, d->text.s);
		return false;
	}
	graph_verify(b, "bound");
	feed = arena_array(a, struct etensor *, b->inputs.n + 1);
	out = arena_array(a, struct etensor *, b->outputs.n + 1);
	for (int i = 0; i < b->inputs.n; i++) {
		if (i < g->inputs.n) {
			feed[i] = in_memory(a, in[i], b->inputs.v[i]);
			continue;
		}
		feed[i] = etensor_new(a, DT_i64, 0, NULL);
		feed[i]->i[0] = size_named((void *)(uintptr_t)c, b->inputs.v[i]->name + 1, 0);
	}
	if (!eval_graph(&eo, b, feed, out, NULL, NULL, d)) {
		printf("FAIL %s %s: bounded: %s\n", c->file, c->what, d->text.s);
		return false;
	}
	for (int i = 0; i < g->outputs.n; i++)
		ok &= equal(c, "bounded", g->output_names.v[i], want[i], out[i], 1e-9);
	return ok;
}

static bool
compiled(const struct tested *c, struct arena *a, const struct rt_program *rt, const struct graph *g,
    struct etensor *const *in, struct etensor *const *want)
{
	void *base[64];
	int64_t sym[64];
	bool ok = true;

	base[0] = rt_alloc((size_t)rt->work_bytes + RT_ALIGN);
	memset(base[0], 0xff, (size_t)rt->work_bytes);
	base[1] = (void *)(uintptr_t)rt->constants;
	base[2] = rt_alloc((size_t)rt->state_bytes + RT_ALIGN);
	for (int i = 0; i < rt->nsyms; i++)
		sym[i] = rt->syms[i].measured ? -1 : size_named((void *)(uintptr_t)c, rt->syms[i].name, 0);
	for (int i = 0; i < rt->ninputs + rt->noutputs; i++) {
		/* the run's elements and no more: reading behind them is seen by sanitizers, writing always */
		struct tensor *x = etensor_to(a, i < rt->ninputs ? in[i] : want[i - rt->ninputs]);

		base[3 + i] = xcalloc(1, x->bytes + (i < rt->ninputs ? 0 : GUARD));
		if (i < rt->ninputs)
			memcpy(base[3 + i], x->data, x->bytes);
		else
			memset(base[3 + i], GUARD, x->bytes + GUARD);
	}
	rt_run(NULL, rt, base, sym);
	for (int i = 0; i < rt->noutputs; i++) {
		struct tensor t = {.dtype = want[i]->dtype, .rank = want[i]->rank, .data = base[3 + rt->ninputs + i]};

		memcpy(t.dims, want[i]->dims, sizeof t.dims);
		t.bytes = dtype_bytes(t.dtype, want[i]->count);
		for (size_t k = 0; k < GUARD; k++)
			if (((unsigned char *)t.data)[t.bytes + k] != GUARD) {
				printf("FAIL %s %s: %s is written past its end\n", c->file, c->what, rt->outputs[i].name);
				ok = false;
				break;
			}
		ok &= equal(c, "compiled", rt->outputs[i].name, want[i], etensor_from(a, &t), 2e-5);
	}
	for (int i = 0; i < rt->nsyms; i++)
		for (int o = 0; rt->syms[i].measured && o < g->outputs.n; o++)
			for (int k = 0; k < g->outputs.v[o]->rank; k++)
				if (dim_find(g, rt->syms[i].name) == g->outputs.v[o]->dims[k] && sym[i] != want[o]->dims[k]) {
					printf("FAIL %s %s: %s is %" PRId64 ", reported %" PRId64 "\n", c->file, c->what,
					    rt->syms[i].name, want[o]->dims[k], sym[i]);
					ok = false;
				}
	for (int i = 0; i < rt->ninputs + rt->noutputs; i++)
		free(base[3 + i]);
	rt_free(base[0]);
	rt_free(base[2]);
	return ok;
}

/* ---- one file */
static bool
next_sizes(struct tested *c, int *at)
{
	int i = 0;

	while (i < c->naxis && ++at[i] == c->axis[i].n)
		at[i++] = 0;
	return i < c->naxis;
}

static bool
run_case(struct tested *c)
{
	struct arena *a = arena_create(), *tmp = arena_create();
	struct diag d;
	struct graph *g, *whole;
	struct pass_ctx ctx = {.arena = a, .diag = &d, .opts = c->po};
	struct program *p;
	struct jit *j;
	int at[MAX_AXES] = {0};
	bool ok = true;

	diag_init(&d, NULL);
	g = graph_parse(a, c->text, c->file, &d);
	whole = g ? graph_parse(a, c->text, c->file, &d) : NULL;
	if (!whole || !passes_run_named(g, "expand,dce", &ctx)) {
		printf("FAIL %s: %s\n", c->file, d.text.s);
		return false;
	}
	p = compile_graph(whole, &ctx);
	j = p ? jit_open(c->t, p, "{}", &d) : NULL;
	if (!j) {
		printf("FAIL %s: %s\n", c->file, d.text.s);
		return false;
	}
	do {
		struct etensor **in = arena_array(tmp, struct etensor *, g->inputs.n + 1),
			       **want = arena_array(tmp, struct etensor *, g->outputs.n + 1);
		struct eval_opts eo = {.arena = tmp};
		struct str s = {0};

		for (int i = 0; i < c->naxis; i++) {
			c->size[i] = c->axis[i].v[at[i]];
			str_addf(&s, "%s%s=%" PRId64, i ? " " : "", c->axis[i].name, c->size[i]);
		}
		snprintf(c->what, sizeof c->what, "%s", s.s ? s.s : "");
		str_free(&s);
		for (int i = 0; i < g->inputs.n; i++)
			in[i] = content(tmp, c, g, g->inputs.v[i], (uint64_t)i * 977 + 31);
		if (!eval_graph(&eo, g, in, want, NULL, NULL, &d)) {
			printf("FAIL %s %s: %s\n", c->file, c->what, d.text.s);
			ok = false;
			break;
		}
		ok &= bounded(c, tmp, g, in, want, &d);
		ok &= compiled(c, tmp, jit_program(j), g, in, want);
		arena_destroy(tmp);
		tmp = arena_create();
	} while (next_sizes(c, at));
	jit_close(j);
	diag_free(&d);
	arena_destroy(tmp);
	arena_destroy(a);
	return ok;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
main(int argc, char **argv)
{
	struct target_opts to = {.opt_level = 1};
	struct pass_opts po = {.opt_level = 2, .blas = BLAS_NEVER, .verify_each = true};
	struct arena *a = arena_create();
	struct target *t;
	struct diag d;
	char *names[256];
	int n = 0, failed = 0, ran = 0;
	DIR *dir = argc > 1 ? opendir(argv[1]) : NULL;

	diag_init(&d, stderr);
	if (!dir || !(t = target_open(&to, &d)))
		return 1;
	po.machine = *target_machine(t);
	for (struct dirent *e; (e = readdir(dir)) && n < 256;)
		if (str_ends(e->d_name, ".rir"))
			names[n++] = arena_strdup(a, e->d_name);
	closedir(dir);
	qsort(names, (size_t)n, sizeof *names, by_name);
	for (int i = 0; i < n; i++) {
		struct tested c = {.file = names[i], .t = t, .po = &po};

		if (argc > 2 && !strstr(names[i], argv[2]))
			continue;
		c.text = file_read(&d, arena_printf(a, "%s/%s", argv[1], names[i]), NULL);
		if (!c.text || !parse_sizes(&c)) {
			printf("FAIL %s: no sizes\n", names[i]);
			failed++;
			continue;
		}
		failed += !run_case(&c);
		ran++;
		free((void *)(uintptr_t)c.text);
	}
	printf("%d graphs, %d failed\n", ran, failed);
	target_close(t);
	arena_destroy(a);
	return failed || !ran;
}
