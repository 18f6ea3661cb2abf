/* pipeline -- the order of the passes, as a table:
 *
 *   mixed graph          dce cse simplify fold   algebra while composites are whole
 *        |               expand                  core operators only
 *   core graph           simplify fold cse dce   weights take scales and biases
 *        |               bound                   fixed sizes
 *        |               host                    strings become words
 *        |               groups fold             narrow groups into blocks
 *        |               portions                a batch in portions that caches hold
 *        |               algorithm cse fold      how convolutions are computed
 *        |               layout fold dce         memory layouts; constants packed
 *   core graph + layouts recompute               what backward makes again, where memory is short
 *        |               lower                   kernels, in ctx->program
 *        |               plan                    offsets in one arena
 *   program
 *
 * A name may stand in the order more than once; --dump and --stop-after match
 * every occurrence and the first one respectively. */
#include "passes/passes.h"

#include <string.h>
#include <time.h>

const struct pass passes[] = {
    {"simplify",
	"algebra: scales and shifts into weights, transposes into contractions, no-ops away",
	pass_simplify},
    {"fold", "operators on constants become constants", pass_fold},
    {"cse", "one node for equal ones", pass_cse},
    {"dce", "drop what no output or update needs", pass_dce},
    {"expand", "composites into core operators", pass_expand},
    {"bound", "sizes known at run time into fixed sizes and numbers", pass_bound},
    {"host", "string constants and comparisons into calls", pass_host},
    {"groups", "narrow groups of convolutions merged into whole blocks of channels", pass_groups},
    {"portions", "frozen networks run in portions of the batch that stay in the cache", pass_portions},
    {"algorithm", "which algorithm computes every convolution: by cost, as measured or forced", pass_algorithm},
    {"layout", "memory layout of every value", pass_layout},
    {"recompute", "activations made again in backward, so that a step fits its memory budget", pass_recompute},
    {"lower", "clusters of nodes into kernels", pass_lower},
    {"plan", "memory of every buffer", pass_plan},
};
const int npasses = sizeof passes / sizeof passes[0];

#define TO_CORE "dce,cse,simplify,fold,expand,simplify,fold,cse,simplify,fold,cse,dce"
#define TO_FIXED "bound"
#define TO_GROUPS "host,groups"
#define FROM_ALGORITHM "algorithm,cse,fold,layout,fold,dce,recompute,lower"
#define TO_KERNELS TO_GROUPS "," FROM_ALGORITHM
static const char order[] = TO_CORE "," TO_FIXED "," TO_GROUPS ",fold,portions," FROM_ALGORITHM ",plan";

/* Is name one of the comma list, or the list "all"? */
static bool
listed(const char *list, const char *name)
{
	size_t n = strlen(name);

	if (!list)
		return false;
	if (strcmp(list, "all") == 0)
		return true;
	for (const char *s = list; s; s = strchr(s, ',')) {
		s += *s == ',';
		if (strncmp(s, name, n) == 0 && (s[n] == ',' || !s[n]))
			return true;
	}
	return false;
}

static const struct pass *
pass_find(const char *name, size_t n)
{
	for (int i = 0; i < npasses; i++)
		if (strlen(passes[i].name) == n && strncmp(passes[i].name, name, n) == 0)
			return &passes[i];
	return NULL;
}

static bool
unknown_pass(struct diag *d, const char *name)
{
	const char *names[sizeof passes / sizeof passes[0]];
	const char *near;

	for (int i = 0; i < npasses; i++)
		names[i] = passes[i].name;
	near = str_nearest(name, names, npasses);
	if (near)
		return diag_usage(d, "no pass is called \"%s\"; did you mean \"%s\"?", name, near);
	return diag_usage(d, "no pass is called \"%s\"; `retort passes` lists them", name);
}

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void
dump(const struct pass *p, struct graph *g, const struct pass_ctx *ctx)
{
	struct str text = {0};

	str_addf(&text, "# after %s\n", p->name);
	graph_print(g, &text, 16);
	if (ctx->program && strcmp(p->name, "lower") == 0)
		program_print(ctx->program, &text);
	if (text.n && text.s[text.n - 1] != '\n')
		str_add(&text, "\n");
	fwrite(text.s, 1, text.n, stderr);
	str_free(&text);
}

static bool
run_one(const struct pass *p, struct graph *g, struct pass_ctx *ctx)
{
	double start = now_ms();
	bool ok = p->run(g, ctx);

	if (ctx->opts->time_passes)
		fprintf(
		    stderr, "%-10s %9.3f ms  %6d nodes\n", p->name, now_ms() - start, g->nodes.n);
	if (!ok)
		return false;
	if (ctx->opts->verify_each)
		graph_verify(g, p->name);
	if (listed(ctx->opts->dump, p->name))
		dump(p, g, ctx);
	return true;
}

/* The first name of the comma list that is no pass, or NULL. */
static const char *
first_unknown(const char *list, struct arena *a)
{
	while (list && *list) {
		size_t n = strcspn(list, ", ");

		if (n && !pass_find(list, n))
			return arena_strndup(a, list, n);
		list += n;
		list += strspn(list, ", ");
	}
	return NULL;
}

bool
passes_run_named(struct graph *g, const char *names, struct pass_ctx *ctx)
{
	const char *stop = ctx->opts->stop_after, *show = ctx->opts->dump, *wrong;

	wrong = first_unknown(stop, ctx->arena);
	if (!wrong && show && strcmp(show, "all") != 0)
		wrong = first_unknown(show, ctx->arena);
	if (wrong)
		return unknown_pass(ctx->diag, wrong);
	for (const char *s = names; *s;) {
		size_t n = strcspn(s, ", ");
		const struct pass *p = pass_find(s, n);

		if (n && !p)
			return unknown_pass(ctx->diag, arena_strndup(ctx->arena, s, n));
		if (n && !run_one(p, g, ctx))
			return false;
		if (n && stop && strcmp(stop, p->name) == 0)
			return true;
		s += n;
		s += strspn(s, ", ");
	}
	return true;
}

/* Independent items of a batch: what refuses them is no mistake, only another way. */
static bool
lower_items(struct graph *g, struct pass_ctx *ctx)
{
	struct pass_ctx try = *ctx;
	struct diag quiet;
	bool ok;

	diag_init(&quiet, NULL);
	try.diag = &quiet;
	ok = lower_symbolic(g, "simplify,fold,cse,dce," TO_KERNELS, &try);
	diag_free(&quiet);
	if (ok)
		ctx->program = try.program;
	return ok;
}

bool
passes_run(struct graph *g, struct pass_ctx *ctx)
{
	const char *stop = ctx->opts->stop_after;

	if (!graph_is_symbolic(g))
		return passes_run_named(g, order, ctx);
	if (!passes_run_named(g, TO_CORE, ctx))
		return false;
	if (stop && listed(TO_CORE, stop))
		return true;
	if (!graph_is_symbolic(g)) /* what was, is gone */
		return passes_run_named(g, TO_FIXED "," TO_KERNELS ",plan", ctx);
	if (stop)
		return diag_usage(ctx->diag, "--stop-after=%s with a size that is not fixed; give it with --dim", stop);
	return (lower_items(g, ctx) || lower_bound(g, "simplify,fold,cse,simplify,fold,cse,dce," TO_KERNELS, ctx)) &&
	       passes_run_named(g, "plan", ctx);
}

struct program *
compile_graph(struct graph *g, struct pass_ctx *ctx)
{
	const char *stop = ctx->opts->stop_after;

	ctx->program = NULL;
	if (ctx->opts->verify_each)
		graph_verify(g, "import");
	if (!passes_run(g, ctx))
		return NULL;
	if (stop) {
		if (!listed(ctx->opts->dump, stop))
			dump(pass_find(stop, strlen(stop)), g, ctx);
		return NULL;
	}
	require(ctx->program);
	return ctx->program;
}
