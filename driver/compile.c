/* retort compile M.onnx -o OUT: an inference library, object, executable or its
 * assembly, and the C header beside it.  Nothing is left behind on failure: the
 * emitters write beside the final name and rename. */
#include "driver/driver.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

static const struct { const char *name, *suffix; enum emit emit; } kinds[] = {
	{"object", ".o", EMIT_OBJECT}, {"static", ".a", EMIT_STATIC}, {"shared", ".so", EMIT_SHARED},
	{"asm", ".s", EMIT_ASM},       {"llvm", ".ll", EMIT_LLVM},    {"exe", "", EMIT_EXE},
};
enum { NKINDS = sizeof kinds / sizeof *kinds };

static bool
pick_kind(struct driver *d, const char *out, enum emit *kind)
{
	const char *base = path_base(out), *names[NKINDS], *near;

	for (int i = 0; i < NKINDS; i++) {
		names[i] = kinds[i].name;
		if (d->o.emit ? strcmp(d->o.emit, kinds[i].name) == 0 : *kinds[i].suffix && str_ends(base, kinds[i].suffix)) {
			*kind = kinds[i].emit;
			return true;
		}
	}
	if (d->o.emit) {
		near = str_nearest(d->o.emit, names, NKINDS);
		return diag_usage(&d->diag, "--emit=%s: object, static, shared, exe, asm or llvm%s%s%s", d->o.emit,
		                  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	}
	if (strchr(base, '.'))
		return diag_usage(&d->diag, "-o %s: the suffix says no kind; give --emit=object, static, shared, exe, asm or llvm", out);
	*kind = EMIT_EXE;
	return true;
}

/* libfoo.a, foo.so, foo -> foo; a C identifier. */
static const char *
entry_name(struct driver *d, const char *out)
{
	const char *id = path_ident(d->arena, out);

	return str_starts(path_base(out), "lib") && str_starts(id, "lib") && id[3] ? id + 3 : id;
}

static bool
identifier(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && *s != '_')
			return false;
	return true;
}


/* Dims must be fixed or bounded before code can be made for them. */
static bool
dims_bounded(struct driver *d, struct graph *g, const char *path)
{
	for (int i = 0; i < g->inputs.n; i++)
		for (int k = 0; k < g->inputs.v[i]->rank; k++)
			if (dim_hi(g, g->inputs.v[i]->dims[k]) == INT64_MAX)
				diag_invalid(&d->diag, LOC_FILE(path), "input \"%s\" axis %d is \"%s\" without a bound; give --dim %s=16",
				             g->inputs.v[i]->name, k, dim_text(g, g->inputs.v[i]->dims[k]),
				             dim_text(g, g->inputs.v[i]->dims[k]));
	return d->diag.errors == 0;
}

/* A program for every target, of copies of the graph; work memory is enough for each. */
static bool
compile_all(struct driver *d, struct target *const *t, int n, struct graph *g, const char *model, struct variant *v)
{
	struct program *p[MAX_VARIANTS];
	int64_t work = 0;

	for (int i = 0; i < n; i++) {
		struct graph *own = i + 1 < n ? graph_copy(g) : g;

		v[i].t = t[i];
		v[i].manifest = model_manifest(d, t[i], model, own);
		v[i].p = p[i] = model_compile(d, t[i], own);
		if (!p[i] || !opt_report(d, p[i], NULL))
			return false;
		work = p[i]->work_bytes > work ? p[i]->work_bytes : work;
	}
	for (int i = 0; i < n; i++)
		p[i]->work_bytes = work;
	return tune_nodes_seen(d);
}

static bool
emit_all(struct driver *d, struct target *const *t, int n, struct graph *g, const char *model, const char *out, enum emit kind)
{
	const char *name = d->o.name ? d->o.name : entry_name(d, out);
	const char *header = arena_printf(d->arena, "%s/%s.h", path_dir(d->arena, out), name);
	struct variant v[MAX_VARIANTS];
	int64_t start;

	if (!compile_all(d, t, n, g, model, v))
		return d->o.stop_after && d->diag.errors == 0;
	start = now_ns();
	if (kind == EMIT_OBJECT || kind == EMIT_STATIC || kind == EMIT_SHARED)
		if (!emit_header(v[0].p, name, n, header, &d->diag))
			return false;
	if (!emit_variants(v, n, name, kind, out, &d->diag)) {
		unlink(header);
		return false;
	}
	if (d->o.verbose)
		diag_note(&d->diag, LOC_FILE(out), "code in %.1f ms", (double)(now_ns() - start) / 1e6);
	return true;
}

/* The targets of --cpu=A,B, lowest first: how many; 0: reported. */
static int
open_targets(struct driver *d, struct target **t)
{
	const char *list = d->o.cpu;
	int n = 0;
	bool ok = true;

	while (ok && (n == 0 || list)) {
		size_t len = list ? strcspn(list, ",") : 0;

		if (n == MAX_VARIANTS) {
			ok = diag_usage(&d->diag, "--cpu=%s: at most %d CPUs", d->o.cpu, MAX_VARIANTS);
			break;
		}
		t[n] = model_target_for(d, list ? arena_strndup(d->arena, list, len) : NULL);
		ok = t[n] != NULL;
		n += ok;
		list = list && list[len] ? list + len + 1 : NULL;
	}
	ok = ok && targets_order(t, n, &d->diag);
	for (int i = 0; !ok && i < n; i++)
		target_close(t[i]);
	return ok ? n : 0;
}

bool
verb_compile(struct driver *d)
{
	const char *model = opts_one(d, "the model"), *out;
	struct target *t[MAX_VARIANTS];
	struct graph *g;
	enum emit kind = EMIT_EXE;
	bool ok;
	int n;

	if (!model)
		return false;
	if (d->o.stop_after && d->o.outputs.n == 0)
		vec_push(d->arena, &d->o.outputs, "stopped.a"); /* which is not written */
	if (d->o.outputs.n != 1)
		return diag_usage(&d->diag, "give one output: -o libNAME.a, NAME.so, NAME.o or an executable's name");
	out = d->o.outputs.v[0];
	if (!pick_kind(d, out, &kind))
		return false;
	if (d->o.name && !identifier(d->o.name))
		return diag_usage(&d->diag, "--name=%s is not a C identifier", d->o.name);
	g = model_import(d, model, 0, NULL, NULL);
	if (!g || !model_explain(d, model, g) || !dims_bounded(d, g, model))
		return false;
	n = open_targets(d, t);
	if (!n)
		return false;
	ok = emit_all(d, t, n, g, model, out, kind);
	for (int i = 0; i < n; i++)
		target_close(t[i]);
	return ok && (!d->o.depfile || d->o.stop_after || model_depfile(d, out, 1, &model));
}
