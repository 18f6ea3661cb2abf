/* golden -- runs every FILE.rir of a folder through the passes of its first line
 *
 *     # run: simplify,fold,dce
 *
 * and compares the printed graph with FILE.want (what the passes leave) or, where
 * there is one, the messages with FILE.err.  "# conv: NODE=ALGORITHM" is --conv,
 * "# budget: BYTES" --memory-budget.  `grad` among the passes appends the
 * gradient of the first output with respect to every trainable state as outputs;
 * `slices` moves slices up, as is done before a student is differentiated.
 * The text must also survive print, parse, print, and the graph must compute what
 * it did before the passes.   golden DIR [--bless] [NAME] */
#include "numeric.h"
#include "passes/algorithm.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

struct golden { int ran, failed; bool bless; };

static bool
append_grads(struct graph *g, struct diag *d)
{
	struct value *wrt[64], *grads[64];
	int n = 0;

	for (int i = 0; i < g->states.n && n < 64; i++)
		if (g->states.v[i]->trainable)
			wrt[n++] = g->states.v[i];
	if (!grad_build(g, g->outputs.v[0], n, wrt, grads, d))
		return false;
	for (int i = 0; i < n; i++)
		if (grads[i])
			graph_output(g, arena_printf(g->arena, "d.%s", wrt[i]->name), grads[i]);
	return true;
}

static bool
same_results(const struct run *a, const struct run *b, int nout, int nupdate)
{
	bool same = true;

	for (int i = 0; i < nout; i++)
		same &= worst(b->out[i], a->out[i]) < 1e-5;
	for (int i = 0; i < nupdate; i++)
		same &= worst(b->next[i], a->next[i]) < 1e-5;
	if (!same)
		fprintf(stderr, "other results than before the passes\n");
	return same;
}

/* False: wrong results; what a pass reports is in ctx->diag. */
static bool
run_list(struct graph *g, char *list, struct pass_ctx *ctx)
{
	int nout = g->outputs.n, nupdate = g->updates.n;
	struct run before = {0}, after;
	bool sized = true;

	for (int i = 0; i < g->inputs.n; i++)
		for (int k = 0; k < g->inputs.v[i]->rank; k++)
			sized &= dim_const(g->inputs.v[i]->dims[k]);
	if (sized)
		before = run_graph(ctx->arena, g, false);

	for (char *p = strtok(list, ", \t"); p; p = strtok(NULL, ", \t")) {
		bool ok = strcmp(p, "grad") == 0     ? append_grads(g, ctx->diag)
			  : strcmp(p, "slices") == 0 ? simplify_slices(g, ctx->diag)
						     : passes_run_named(g, p, ctx);

		if (!ok)
			return true;
		graph_verify(g, p);
	}
	if (!sized)
		return true;
	after = run_graph(ctx->arena, g, false);
	return same_results(&before, &after, nout, nupdate);
}

/* print, parse, print gives the same text */
static bool
round_trip(struct arena *a, const char *text, struct diag *d)
{
	struct str again = {0};
	struct graph *g = graph_parse(a, text, "printed", d);
	bool same;

	if (!g)
		return false;
	graph_print(g, &again, -1);
	same = strcmp(again.s, text) == 0;
	if (!same)
		fprintf(stderr, "printed again:\n%s", again.s);
	str_free(&again);
	return same;
}

static bool
same_as_file(const char *path, const char *got, bool bless)
{
	struct diag d;
	size_t n;
	char *want = NULL;
	bool same;

	diag_init(&d, NULL);
	if (bless) {
		same = file_write(&d, path, got, strlen(got));
	} else {
		want = file_read(&d, path, &n);
		same = want && strcmp(want, got) == 0;
		if (!same)
			fprintf(stderr, "--- %s\n%s+++ got\n%s", path, want ? want : "(missing)\n", got);
	}
	free(want);
	diag_free(&d);
	return same;
}

/* "# conv: NODE=ALGORITHM", one a line: as --conv */
static void
forced_choices(struct arena *a, const char *text, struct choices *c)
{
	for (const char *s = text; (s = strstr(s, "# conv: ")); s++) {
		const char *node = s + strlen("# conv: ");
		size_t n = strcspn(node, "="), length = strcspn(node + n, "\n");

		c->forced[c->nforced++] = (struct forced){.node = arena_strndup(a, node, n),
		    .algorithm = algorithm_find(arena_strndup(a, node + n + 1, length - 1))};
	}
}

/* "# budget: BYTES" is --memory-budget */
static int64_t
budget(const char *text)
{
	const char *s = strstr(text, "# budget: ");

	return s ? strtoll(s + strlen("# budget: "), NULL, 10) : 0;
}

static bool
one(const char *dir, const char *name, bool bless)
{
	struct arena *a = arena_create();
	struct pass_opts opts = {.opt_level = 2, .machine = machine_usual()};
	struct choices choices = {.arena = a, .forced = (struct forced[8]){{0}}};
	struct pass_ctx ctx = {.arena = a, .opts = &opts};
	const char *stem = arena_strndup(a, name, strlen(name) - 4), *want;
	char *text, *line = NULL;
	struct str got = {0};
	struct graph *g;
	struct diag d;
	size_t n;
	bool ok, same = true;

	diag_init(&d, NULL);
	ctx.diag = &d;
	text = file_read(&d, path_join(a, dir, name), &n);
	g = text ? graph_parse(a, text, name, &d) : NULL;
	if (g) {
		forced_choices(a, text, &choices);
		opts.memory_budget = budget(text);
	}
	opts.choices = &choices;
	if (g && (line = strstr(text, "# run:"))) {
		line += strlen("# run:");
		line = arena_strndup(a, line, strcspn(line, "\n"));
		same = run_list(g, line, &ctx);
	}
	want = path_join(a, dir, arena_printf(a, d.errors ? "%s.err" : "%s.want", stem));
	if (d.errors) {
		ok = same_as_file(want, d.text.s, bless);
	} else {
		graph_print(g, &got, -1);
		ok = line && round_trip(a, got.s, &d) && same_as_file(want, got.s, bless);
	}
	ok &= same;
	fprintf(stderr, "%s %s\n", ok ? "ok  " : "FAIL", name);
	str_free(&got);
	free(text);
	diag_free(&d);
	arena_destroy(a);
	return ok;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int
main(int argc, char **argv)
{
	const char *only = NULL;
	struct golden t = {0};
	struct dirent **list;
	int n;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--bless") == 0)
			t.bless = true;
		else
			only = argv[i];
	}
	n = argc > 1 ? scandir(argv[1], &list, NULL, by_name) : -1;
	if (n < 0) {
		fprintf(stderr, "golden: folder of .rir files expected\n");
		return 1;
	}
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;

		if (str_ends(name, ".rir") && (!only || strstr(name, only))) {
			t.ran++;
			t.failed += !one(argv[1], name, t.bless);
		}
		free(list[i]);
	}
	free(list);
	fprintf(stderr, "%d ran, %d failed\n", t.ran, t.failed);
	return t.failed || t.ran == 0;
}
