/* verify_table -- what retort verify found, by operator.  A case counts for every
 * operator of its model; its distance in units in the last place and its element
 * types only where there is one operator: all would be given what belongs to one. */
#include "driver/verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct op_counts *
row_of(struct op_table *t, const char *op)
{
	struct op_counts *r = map_get(t->by_op, op);

	if (!r) {
		r = arena_new(t->a, struct op_counts);
		r->op = op;
		r->max_ulp = -1;
		r->types = " ";
		map_put(t->by_op, op, r);
		vec_push(t->a, &t->rows, r);
	}
	return r;
}

/* Constants and names are in nearly every model of more than one node. */
static bool
counts_alone(const char *op)
{
	return strcmp(op, "Constant") != 0 && strcmp(op, "Identity") != 0;
}

static void
add_types(struct arena *a, struct op_counts *r, const char *types)
{
	char *words = arena_strdup(a, types), *w, *rest;

	for (w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
		if (!strstr(r->types, arena_printf(a, " %s ", w)))
			r->types = arena_printf(a, "%s%s ", r->types, w);
}

void
op_table_add(struct op_table *t, const struct case_result *r, enum form form, enum outcome outcome)
{
	struct op_counts *single = NULL;
	char *ops, *op, *rest;
	int n = 0;

	if (!t->by_op)
		t->by_op = map_create(t->a);
	ops = arena_strdup(t->a, r->ops);
	for (op = strtok_r(ops, " ", &rest); op; op = strtok_r(NULL, " ", &rest)) {
		struct op_counts *row = row_of(t, op);

		row->count[form][outcome]++;
		if (counts_alone(op) || !single)
			single = row;
		n += counts_alone(op);
	}
	if (!single || n > 1 || outcome != PASSED)
		return;
	if (r->max_ulp > single->max_ulp)
		single->max_ulp = r->max_ulp;
	add_types(t->a, single, r->types);
}

static int
by_name(const void *a, const void *b)
{
	const struct op_counts *const *x = a, *const *y = b;

	return strcmp((*x)->op, (*y)->op);
}

/* In the order of dtype.def, commas between. */
static const char *
types_text(struct arena *a, const char *types)
{
	const char *text = "";

	for (int t = DT_none + 1; t < NDTYPE; t++)
		if (strstr(types, arena_printf(a, " %s ", dtype_info[t].name)))
			text = arena_printf(a, "%s%s%s", text, *text ? "," : "", dtype_info[t].name);
	return *text ? text : "-";
}

/* Passed of all, for each form that was asked for. */
static void
print_counts(struct str *s, struct arena *a, const struct op_counts *r, bool file)
{
	for (int f = 0; f < NFORM; f++) {
		int passed = r->count[f][PASSED], all = passed + r->count[f][FAILED] + r->count[f][UNSUPPORTED];

		str_addf(s, file ? "\t%s" : " %11s", all ? arena_printf(a, "%d/%d", passed, all) : "-");
	}
}

bool
op_table_print(struct driver *d, struct op_table *t)
{
	bool file = d->o.outputs.n > 0, ok = true;
	struct str s = {0};

	if (t->rows.n)
		qsort(t->rows.v, (size_t)t->rows.n, sizeof *t->rows.v, by_name);
	if (!file)
		str_addf(&s, "%-40s %11s %11s %11s %9s  %s\n", "operator, passed of all", form_name[FORM_STATIC],
		         form_name[FORM_SYMBOLIC], form_name[FORM_CONSTANTS], "max ulp", "types");
	for (int i = 0; i < t->rows.n; i++) {
		const struct op_counts *r = t->rows.v[i];

		str_addf(&s, file ? "%s" : "%-40s", r->op);
		print_counts(&s, t->a, r, file);
		str_addf(&s, file ? "\t%s\t%s\n" : " %9s  %s\n", r->max_ulp < 0 ? "-" : arena_printf(t->a, "%.3g", r->max_ulp),
		         types_text(t->a, r->types));
	}
	if (file)
		ok = file_write(&d->diag, d->o.outputs.v[0], s.s ? s.s : "", s.n);
	else if (s.s)
		fputs(s.s, stdout);
	str_free(&s);
	return ok;
}
