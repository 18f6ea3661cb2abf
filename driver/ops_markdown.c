/* ops_markdown -- docs/operators.md: what the tables say of every operator, and what was
 * measured of it.  docs/operators.tsv holds the measurements, a line for each operator:
 * its name in ONNX (or its row's, where ONNX has none), cases passed of all in each form
 * of retort verify --as, the largest distance from the expected output in units in the last
 * place, the element types of these cases, and the gradient's error against finite
 * differences in f64 evaluation and in f32 code.  "-": not measured. */
#include "driver/driver.h"

#include <stdlib.h>
#include <string.h>

enum { M_STATIC, M_SYMBOLIC, M_CONSTANTS, M_ULP, M_TYPES, M_FD64, M_FD32, NMEASURE };

struct measured { const char *op, *column[NMEASURE]; };
struct page {
	struct driver *d;
	struct str *s;
	struct map *measured;            /* operator -> struct measured */
	VEC(const char *) order;         /* operators measured */
	const char *exceptions;          /* the text of the file, NULL without one */
};

/* ---- reading */
/* The next word of p up to sep or the end of the text; NULL after the last. */
static char *
split(char **p, char sep)
{
	char *word = *p, *end;

	if (!word)
		return NULL;
	end = strchr(word, sep);
	*p = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	return word;
}

static bool
read_measured(struct page *p, const char *path, char *text)
{
	char *line;
	int n = 0;

	while ((line = split(&text, '\n'))) {
		struct measured *m;
		char *op = split(&line, '\t');
		int k = 0;

		n++;
		if (!*op)
			continue;
		m = arena_new(p->d->arena, struct measured);
		m->op = op;
		while (k < NMEASURE && (m->column[k] = split(&line, '\t')))
			k++;
		if (k < NMEASURE || line)
			return diag_invalid(&p->d->diag, LOC_FILE(path), "line %d has not %d fields with tabs between", n, NMEASURE + 1);
		if (map_get(p->measured, op))
			return diag_invalid(&p->d->diag, LOC_FILE(path), "line %d: \"%s\" once more", n, op);
		map_put(p->measured, op, m);
		vec_push(p->d->arena, &p->order, op);
	}
	return true;
}

static bool
read_file(struct page *p, const char *path)
{
	size_t size;
	char *bytes = file_read(&p->d->diag, path, &size), *text;

	if (!bytes)
		return false;
	text = arena_strndup(p->d->arena, bytes, size);
	free(bytes);
	if (str_ends(path, ".tsv"))
		return read_measured(p, path, text);
	p->exceptions = text;
	return true;
}

/* ---- ONNX's operators */
static const char *
versions_text(struct arena *a, const char *op)
{
	const char *text = "";
	const int *v;
	int n = onnx_versions(op, &v);

	for (int i = 0; i < n; i++)
		text = arena_printf(a, "%s%s%d", text, i ? ", " : "", v[i]);
	return text;
}

static const char *
gradient_text(struct arena *a, const char *onnx)
{
	enum op op = op_from_onnx("", onnx);
	const char *why = op == OP_none ? NULL : op_not_differentiable(op);

	if (op == OP_none)
		return onnx_imports(onnx) ? "of what it becomes" : "not supported";
	return why ? arena_printf(a, "not differentiable: %s", why) : "yes";
}

static void
operator_line(struct page *p, const char *op)
{
	const struct measured *m = map_get(p->measured, op);

	str_addf(p->s, "| %s | %s | ", op, versions_text(p->d->arena, op));
	for (int k = M_TYPES; k <= M_TYPES; k++)
		str_add(p->s, m && strcmp(m->column[k], "-") ? m->column[k] : "");
	for (int k = M_STATIC; k <= M_ULP; k++)
		str_addf(p->s, " | %s", m && strcmp(m->column[k], "-") ? m->column[k] : "");
	str_addf(p->s, " | %s", gradient_text(p->d->arena, op));
	for (int k = M_FD64; k <= M_FD32; k++)
		str_addf(p->s, " | %s", m && strcmp(m->column[k], "-") ? m->column[k] : "");
	str_add(p->s, " |\n");
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ONNX's own and those of other domains that have rows, each once, in order. */
static void
operators(struct page *p)
{
	struct arena *a = p->d->arena;
	struct map *seen = map_create(a);
	VEC(const char *) names = {0};

	for (int i = 0; onnx_known(i); i++) {
		map_put(seen, onnx_known(i), p);
		vec_push(a, &names, onnx_known(i));
	}
	for (int i = OP_none + 1; i < NOP; i++)
		if (op_info[i].onnx && !map_get(seen, op_info[i].onnx)) {
			map_put(seen, op_info[i].onnx, p);
			vec_push(a, &names, op_info[i].onnx);
		}
	qsort(names.v, (size_t)names.n, sizeof *names.v, by_text);
	str_add(p->s, "## Operators of ONNX\n\n"
	              "*since*: the opsets of its domain with which the operator changed; a file of any of them is read, and\n"
	              "frontend/onnx_upgrade.c turns old forms into the newest. *types*, *cases*, *max ulp*: of the cases of ONNX's\n"
	              "suites (retort verify) with the operator in them, as they are, with symbolic sizes and with their inputs as\n"
	              "constants; distance and types only of those that have no other operator. *f64*, *f32*: the largest relative\n"
	              "error of the gradient against finite differences, in fp64 evaluation and in compiled f32 code. An operator\n"
	              "without a row is taken apart on import, and its gradient is that of what it becomes.\n\n"
	              "| operator | since | types | cases | symbolic | constants | max ulp | gradient | f64 | f32 |\n"
	              "|---|---|---|---|---|---|---|---|---|---|\n");
	for (int i = 0; i < names.n; i++)
		operator_line(p, names.v[i]);
}

/* ---- rows */
static void
rows(struct page *p)
{
	str_add(p->s, "\n## Rows of ir/ops.def\n\n"
	              "The core that kernels know, and composites, which an expansion writes in core.\n\n"
	              "| row | ONNX | in | out | kind | gradient | attributes |\n|---|---|---|---|---|---|---|\n");
	for (int i = OP_none + 1; i < NOP; i++) {
		const struct op_info *o = &op_info[i];

		str_addf(p->s, "| `%s` | %s | %s | %s | %s | %s | ", o->id, o->onnx ? o->onnx : "",
		         ops_arity(p->d->arena, o->in_min, o->in_max), ops_arity(p->d->arena, o->out_min, o->out_max),
		         ops_class_name(o), ops_grad_name(o));
		for (int k = 0; k < o->nattr; k++)
			str_addf(p->s, "%s%s", k ? ", " : "", o->attrs[k].name);
		str_add(p->s, " |\n");
	}
}

/* ---- exceptions: SUITE CASE<TAB>reason; other lines are not for the page */
static void
exceptions(struct page *p)
{
	char *text = arena_strdup(p->d->arena, p->exceptions), *line;
	int n = 0;

	str_add(p->s, "\n## Cases that do not pass\n\nFrom tests/conformance/exceptions.txt; the test suite fails on any other.\n\n"
	              "| suite | case | why |\n|---|---|---|\n");
	while ((line = split(&text, '\n'))) {
		char *name, *suite;

		if (*line == '#' || !strchr(line, '\t'))
			continue;
		name = split(&line, '\t');
		suite = split(&name, ' ');
		str_addf(p->s, "| %s | %s | %s |\n", suite, name ? name : "", line);
		n++;
	}
	if (!n)
		str_add(p->s, "| | none | |\n");
}

bool
ops_markdown(struct driver *d, struct str *s)
{
	struct page p = {.d = d, .s = s, .measured = map_create(d->arena)};
	int onnx = 0;

	for (int i = 0; i < d->o.args.n; i++)
		if (!read_file(&p, d->o.args.v[i]))
			return false;
	for (int i = 0; i < p.order.n; i++) {
		const char *op = p.order.v[i];
		const int *v;

		if (op_from_onnx("", op) == OP_none && op_from_id(op) == OP_none && !onnx_versions(op, &v))
			return diag_invalid(&d->diag, LOC_FILE(d->o.args.v[0]), "measures \"%s\", which is no operator; run the target operators-table", op);
	}
	for (int i = OP_none + 1; i < NOP; i++)
		onnx += op_info[i].onnx != NULL;
	str_addf(s,
	         "# Operators\n\nWritten by `retort ops --markdown` from ir/ops.def and what was measured (docs/operators.tsv; the build\n"
	         "target operators-table writes both): %d rows, %d of them ONNX's.\n\n", NOP - 1, onnx);
	operators(&p);
	rows(&p);
	if (p.exceptions)
		exceptions(&p);
	return true;
}
