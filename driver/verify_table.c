/* verify_table -- what retort verify found, by operator.  A case counts for every
 * operator of its model; its distance in units in the last place only where there
 * is one operator, else it would be blamed on all. */
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

void
op_table_add(struct op_table *t, const struct case_result *r, enum outcome outcome)
{
	struct op_counts *single = NULL;
	char *ops, *op, *rest;
	int n = 0;

	if (!t->by_op)
		t->by_op = map_create(t->a);
	ops = arena_strdup(t->a, r->ops);
	for (op = strtok_r(ops, " ", &rest); op; op = strtok_r(NULL, " ", &rest)) {
		struct op_counts *row = row_of(t, op);

		row->count[outcome]++;
		if (counts_alone(op) || !single)
			single = row;
		n += counts_alone(op);
	}
	if (single && n <= 1 && outcome == PASSED && r->max_ulp > single->max_ulp)
		single->max_ulp = r->max_ulp;
}

static int
by_name(const void *a, const void *b)
{
	const struct op_counts *const *x = a, *const *y = b;

	return strcmp((*x)->op, (*y)->op);
}

bool
op_table_print(struct driver *d, struct op_table *t)
{
	bool file = d->o.outputs.n > 0, ok = true;
	struct str s = {0};

	if (t->rows.n)
		qsort(t->rows.v, (size_t)t->rows.n, sizeof *t->rows.v, by_name);
	if (!file)
		str_addf(&s, "%-44s %7s %7s %11s %10s\n", "operator", "passed", "failed", "unsupported", "max ulp");
	for (int i = 0; i < t->rows.n; i++) {
		const struct op_counts *r = t->rows.v[i];
		char ulp[32] = "-";

		if (r->max_ulp >= 0)
			snprintf(ulp, sizeof ulp, "%.3g", r->max_ulp);
		str_addf(&s, file ? "%s\t%d\t%d\t%d\t%s\n" : "%-44s %7d %7d %11d %10s\n", r->op, r->count[PASSED], r->count[FAILED],
		         r->count[UNSUPPORTED], ulp);
	}
	if (file)
		ok = file_write(&d->diag, d->o.outputs.v[0], s.s ? s.s : "", s.n);
	else if (s.s)
		fputs(s.s, stdout);
	str_free(&s);
	return ok;
}
