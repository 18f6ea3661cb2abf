/* check [--jit] [--print] FILE.rir... -- lowers each graph, runs it in the loop interpreter
 * or as native code, and compares outputs and updated states with the fp64 evaluator.
 * Inputs are noise drawn by name (integers: 0, 1, 2), as are constants and states
 * whose name begins with r_.  Two comments of a file speak to this program:
 *   # calls N        so many kernels are expected
 *   # tolerance X    relative to the largest element; default 1e-5
 *   # passes a,b     run first */
#include "interp.h"
#include "ir/layout.h"
#include "passes/passes.h"
#ifdef WITH_JIT
#include "codegen/codegen.h"
#endif

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double
noise(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return ((double)(z >> 11) + 0.5) * 0x1p-52 - 1;
}

static void
fill(const char *name, enum dtype t, void *data, int64_t n)
{
	uint64_t h = 1469598103934665603u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	for (int64_t i = 0; i < n; i++) {
		double x = noise(&h);

		dtype_put_f(t, data, i,
		    dtype_is_float(t) ? x
		    : t == DT_bool    ? x > 0
				      : floor((x + 1) * 1.5));
	}
}

static const char *
remark(const char *text, const char *word)
{
	const char *p = strstr(text, word);

	return p ? p + strlen(word) : NULL;
}

struct bases {
	void **v;
	int n;
};

/* Memory of one run, poisoned where nothing is promised. */
static struct bases
open_memory(const struct program *p)
{
	struct bases b = {.n = 3 + p->inputs.n + p->outputs.n};
	int64_t size[3] = {p->work_bytes, p->const_bytes, p->state_bytes};

	b.v = xcalloc((size_t)b.n, sizeof *b.v);
	for (int i = 0; i < b.n; i++) {
		int64_t bytes = i < 3 ? size[i]
				: i - 3 < p->inputs.n
				    ? p->inputs.v[i - 3].buffer->bytes
				    : p->outputs.v[i - 3 - p->inputs.n].buffer->bytes;

		b.v[i] = aligned_alloc(64, ((size_t)bytes / 64 + 2) * 64);
		memset(b.v[i], 0xff, ((size_t)bytes / 64 + 2) * 64);
	}
	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *x = p->buffers.v[i];

		char *to;

		if (!x->data || (x->space != SPACE_CONST && x->space != SPACE_STATE))
			continue;
		to = (char *)b.v[x->space == SPACE_CONST ? 1 : 2] + x->offset;
		if (x->pack)
			layout_pack(x->pack, x->dtype, x->value->rank, x->value->dims, x->data, to);
		else
			memcpy(to, x->data, (size_t)x->bytes);
	}
	for (int i = 0; i < p->inputs.n; i++)
		fill(p->inputs.v[i].name, p->inputs.v[i].buffer->dtype, b.v[3 + i],
		    p->inputs.v[i].buffer->count);
	return b;
}

static double
worst(const struct etensor *want, enum dtype t, const void *got)
{
	double diff = 0, size = 1e-30;

	for (int64_t i = 0; i < want->count; i++) {
		double x = want->f ? dtype_get_f(t, got, i) : (double)dtype_get_i(t, got, i),
		       y = et_get(want, i);

		if (isnan(x) != isnan(y))
			return INFINITY;
		if (isfinite(y) && fabs(y) > size)
			size = fabs(y);
		if (x != y && !(isnan(x)) && fabs(x - y) > diff)
			diff = fabs(x - y);
	}
	return diff / size;
}

static bool
compare(const char *file, const char *name, const struct etensor *want, enum dtype t,
    const void *got, double tolerance)
{
	double w = worst(want, t, got);

	if (w <= tolerance)
		return true;
	fprintf(stderr, "%s: %s differs by %.3g of its largest\n", file, name, w);
	for (int64_t i = 0, shown = 0; i < want->count && shown < 6; i++) {
		double x = want->f ? dtype_get_f(t, got, i) : (double)dtype_get_i(t, got, i),
		       y = et_get(want, i);

		if (!(fabs(x - y) <= tolerance * fmax(1, fabs(y)))) {
			fprintf(stderr, "  [%lld] %.9g, wanted %.9g\n", (long long)i, x, y);
			shown++;
		}
	}
	return false;
}

/* Buffers that live at the same time lie apart, aligned, within the arena. */
static bool
plan_sound(const char *file, const struct program *p)
{
	bool ok = true;

	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *a = p->buffers.v[i];

		if (a->space != SPACE_WORK || a->alias || a->first < 0)
			continue;
		if (a->offset % 64 || a->offset + a->bytes > p->work_bytes) {
			fprintf(stderr, "%s: buffer #%d is misplaced\n", file, a->id);
			ok = false;
		}
		for (int k = 0; k < i; k++) {
			const struct buffer *b = p->buffers.v[k];

			if (b->space == SPACE_WORK && !b->alias && b->first >= 0 &&
			    a->first <= b->last && b->first <= a->last &&
			    a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes) {
				fprintf(stderr, "%s: buffers #%d and #%d overlap\n", file, a->id,
				    b->id);
				ok = false;
			}
		}
	}
	return ok;
}

#ifdef WITH_JIT
static bool
run_native(const struct program *p, void **base, struct diag *d)
{
	struct target_opts o = {.opt_level = 2};
	struct target *t = target_open(&o, d);
	struct jit *j = t ? jit_open(t, p, "{}", d) : NULL;
	const struct rt_program *r;

	if (!j)
		return false;
	r = jit_program(j);
	if (r->const_bytes)
		memcpy(base[1], r->constants, (size_t)r->const_bytes);
	for (int c = 0; c < r->ncalls; c++) /* pieces in two goes, the later first */
		if (r->pieces[c] > 1) {
			r->call(c, base, NULL, r->pieces[c] / 2, r->pieces[c], r->pieces[c] / 2);
			r->call(c, base, NULL, 0, r->pieces[c] / 2, 0);
		} else {
			r->call(c, base, NULL, 0, r->pieces[c], 0);
		}
	jit_close(j);
	target_close(t);
	return true;
}
#endif

static bool
check(const char *file, bool jit, bool print)
{
	struct arena *a = arena_create();
	struct diag d;
	struct pass_opts opts = {
	    .machine = machine_usual(), .opt_level = 2, .verify_each = true};
	struct pass_ctx ctx = {.arena = a, .diag = &d, .opts = &opts};
	struct eval_opts eo = {.arena = a};
	struct etensor **in, **out, **next;
	struct graph *g;
	struct bases mem;
	size_t size;
	char *text;
	const char *mark;
	double tolerance = 1e-5;
	bool ok = true;

	diag_init(&d, stderr);
	if (!(text = file_read(&d, file, &size)) || !(g = graph_parse(a, text, file, &d)))
		return false;
	for (int i = 0; i < g->consts.n + g->states.n; i++) {
		struct value *v = i < g->consts.n ? g->consts.v[i] : g->states.v[i - g->consts.n];

		if (v->name && str_starts(v->name, "r_"))
			fill(v->name, v->dtype, v->data->data, tensor_count(v->data));
	}
	if ((mark = remark(text, "# tolerance ")))
		tolerance = strtod(mark, NULL);
	if ((mark = remark(text, "# passes "))) {
		char *names = arena_strndup(a, mark, strcspn(mark, " \n"));

		if (!passes_run_named(g, names, &ctx))
			return false;
	}
	in = arena_array(a, struct etensor *, g->inputs.n + 1);
	out = arena_array(a, struct etensor *, g->outputs.n + 1);
	next = arena_array(a, struct etensor *, g->updates.n + 1);
	for (int i = 0; i < g->inputs.n; i++) {
		struct tensor *t = tensor_new(
		    a, g->inputs.v[i]->dtype, g->inputs.v[i]->rank, g->inputs.v[i]->dims);

		fill(g->inputs.v[i]->name, t->dtype, t->data, tensor_count(t));
		in[i] = etensor_from(a, t);
	}
	if (!eval_graph(&eo, g, in, out, next, NULL, &d)) {
		fprintf(stderr, "%s: the evaluator failed\n", file);
		return false;
	}
	if (!pass_lower(g, &ctx) || !pass_plan(g, &ctx))
		return false;
	if (print) {
		struct str s = {0};

		program_print(ctx.program, &s);
		plan_print(ctx.program, &s);
		fwrite(s.s, 1, s.n, stdout);
		str_free(&s);
	}
	for (int c = 0; c < ctx.program->calls.n; c++)
		kernel_verify(ctx.program->calls.v[c].kernel);
	if ((mark = remark(text, "# calls ")) && atoi(mark) != ctx.program->calls.n) {
		fprintf(
		    stderr, "%s: %d calls, %d expected:", file, ctx.program->calls.n, atoi(mark));
		for (int c = 0; c < ctx.program->calls.n; c++)
			fprintf(stderr, " %s", ctx.program->calls.v[c].kernel->name);
		fprintf(stderr, "\n");
		ok = false;
	}
	ok &= plan_sound(file, ctx.program);
	mem = open_memory(ctx.program);
#ifdef WITH_JIT
	if (jit)
		ok &= run_native(ctx.program, mem.v, &d);
	else
#endif
		ok &= interp_run(ctx.program, mem.v);
	(void)jit;
	for (int i = 0; i < g->outputs.n; i++)
		ok &= compare(file, g->output_names.v[i], out[i], g->outputs.v[i]->dtype,
		    mem.v[3 + g->inputs.n + i], tolerance);
	for (int i = 0; i < g->updates.n; i++)
		for (int s = 0; s < ctx.program->states.n; s++)
			if (ctx.program->states.v[s].value == g->updates.v[i].state)
				ok &= compare(file, g->updates.v[i].state->name, next[i],
				    g->updates.v[i].state->dtype,
				    (char *)mem.v[2] + ctx.program->states.v[s].buffer->offset,
				    tolerance);
	for (int i = 0; i < mem.n; i++)
		free(mem.v[i]);
	free(mem.v);
	free(text);
	diag_free(&d);
	arena_destroy(a);
	return ok;
}

int
main(int argc, char **argv)
{
	bool jit = false, print = false;
	int bad = 0, n = 0;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--jit"))
			jit = true;
		else if (!strcmp(argv[i], "--print"))
			print = true;
		else {
			n++;
			bad += !check(argv[i], jit, print);
		}
	printf("%d of %d graphs agree with the evaluator\n", n - bad, n);
	return bad != 0 || n == 0;
}
