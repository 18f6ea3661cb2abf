/* string.c -- type rules of the host rows (ops_host.def). */
#include "host/host.h"
#include "ir/ops/ops_int.h"

static bool
of_strings(const struct node *n, struct diag *d, int i)
{
	if (n->in[i]->dtype == DT_str)
		return true;
	return diag_invalid(
	    d, n->loc, "operand %d is %s; str is expected", i, dtype_info[n->in[i]->dtype].name);
}

static bool
like0(struct node *n, struct diag *d, enum dtype t)
{
	return ops_set(n, d, 0, t, n->in[0]->rank, n->in[0]->dims);
}

bool
infer_str_const(struct graph *g, struct node *n, struct diag *d)
{
	const int64_t *dims;
	int rank = attr_ints(n, "dims", &dims);
	const struct attr *v = attr_find(n, "values");

	(void)g;
	if (rank > MAX_RANK || !ops_all_const(rank, dims) || dims_count(rank, dims) != v->n)
		return diag_invalid(
		    d, n->loc, "%d strings do not fill %s", v->n, ops_dims_text(g, rank, dims));
	return ops_set(n, d, 0, DT_str, rank, dims);
}

bool
infer_str_pair(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x, *y;

	if (!ops_known(n, d) || !of_strings(n, d, 0) || !of_strings(n, d, 1))
		return false;
	x = n->in[0];
	y = n->in[1];
	if (!dims_equal(x->rank, x->dims, y->rank, y->dims))
		return diag_invalid(d, n->loc, "operands of shape %s and %s; one shape is expected",
		    ops_dims_text(g, x->rank, x->dims), ops_dims_text(g, y->rank, y->dims));
	return like0(n, d, n->op == OP_str_eq ? DT_bool : DT_str);
}

bool
infer_str_find(struct graph *g, struct node *n, struct diag *d)
{
	const struct attr *keys = attr_find(n, "keys");

	(void)g;
	if (!ops_known(n, d) || !of_strings(n, d, 0))
		return false;
	for (int i = 1; i < keys->n; i++)
		if (strcmp(keys->strings[i - 1], keys->strings[i]) >= 0)
			return diag_invalid(
			    d, n->loc, "keys are not in order at \"%s\"", keys->strings[i]);
	return like0(n, d, DT_i64);
}

bool
infer_str_split(struct graph *g, struct node *n, struct diag *d)
{
	int64_t dims[MAX_RANK], width = attr_int(n, "width");
	const struct value *x = n->in[0];

	(void)g;
	if (!ops_known(n, d) || !of_strings(n, d, 0))
		return false;
	if (x->rank >= MAX_RANK || width < 0)
		return diag_unsupported(
		    d, n->loc, "rank %d, width %lld", x->rank, (long long)width);
	memcpy(dims, x->dims, sizeof dims);
	dims[x->rank] = width;
	return ops_set(n, d, 0, DT_str, x->rank + 1, dims) &&
	       ops_set(n, d, 1, DT_i64, x->rank, x->dims);
}

bool
ops_count_operand(const struct node *n, struct diag *d)
{
	const struct value *c = ops_in(n, 1);

	return !c || (c->dtype == DT_i64 && c->rank == 0) ||
	       diag_invalid(d, n->loc, "operand 1 is %s of rank %d; an i64 scalar is expected",
		   dtype_info[c->dtype].name, c->rank);
}

bool
infer_str_normalize(struct graph *g, struct node *n, struct diag *d)
{
	(void)g;
	if (!ops_known(n, d) || !of_strings(n, d, 0))
		return false;
	if (n->in[0]->rank != 1)
		return diag_invalid(
		    d, n->loc, "operand of rank %d; a vector is expected", n->in[0]->rank);
	return ops_count_operand(n, d) && like0(n, d, DT_str) && ops_set(n, d, 1, DT_i64, 0, NULL);
}

bool
infer_str_match(struct graph *g, struct node *n, struct diag *d)
{
	const int64_t *program;
	int len = attr_ints(n, "program", &program);
	const char *wrong = host_regex_check(program, len);

	(void)g;
	if (!ops_known(n, d) || !of_strings(n, d, 0))
		return false;
	if (wrong)
		return diag_invalid(d, n->loc, "program of a pattern: %s", wrong);
	return like0(n, d, DT_bool);
}

static bool
has_text(enum dtype t)
{
	const struct dtype_info *i = &dtype_info[t];

	return i->class == DC_BOOL || (i->class == DC_FLOAT && i->bits >= 16) ||
	       (dtype_is_int(t) && i->bits >= 8);
}

bool
infer_str_from(struct graph *g, struct node *n, struct diag *d)
{
	(void)g;
	if (!ops_known(n, d))
		return false;
	if (!has_text(n->in[0]->dtype))
		return diag_unsupported(
		    d, n->loc, "%s to strings", dtype_info[n->in[0]->dtype].name);
	return like0(n, d, DT_str);
}

bool
infer_str_to(struct graph *g, struct node *n, struct diag *d)
{
	int64_t to = attr_int(n, "to");

	(void)g;
	if (!ops_known(n, d) || !of_strings(n, d, 0))
		return false;
	if (to <= DT_none || to >= NDTYPE || !has_text((enum dtype)to))
		return diag_unsupported(d, n->loc, "strings to element type %lld", (long long)to);
	return like0(n, d, (enum dtype)to);
}

bool
infer_ngrams(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	const int64_t *first, *pool, *slot;
	int lengths = attr_ints(n, "first", &first) - 1, items = attr_ints(n, "pool", &pool),
	    grams = 0, slots = attr_ints(n, "slot", &slot);
	int64_t width = attr_int(n, "width"), dims[2];

	(void)g;
	if (!ops_known(n, d))
		return false;
	if (x->dtype != DT_i64 || x->rank != 2)
		return diag_invalid(d, n->loc,
		    "operand is %s of rank %d; i64 [rows,items] is expected",
		    dtype_info[x->dtype].name, x->rank);
	if (lengths < 0 || first[0] != 0 || first[lengths] != items || width < 0)
		return diag_invalid(d, n->loc, "first does not divide the pool of %d items", items);
	for (int i = 0; i < lengths; i++) {
		if (first[i + 1] < first[i] || (first[i + 1] - first[i]) % (i + 1))
			return diag_invalid(
			    d, n->loc, "the items of length %d do not make grams", i + 1);
		grams += (int)((first[i + 1] - first[i]) / (i + 1));
	}
	if (grams != slots || attr_int(n, "min") < 1 || attr_int(n, "skip") < 0 ||
	    attr_int(n, "skip") > INT32_MAX)
		return diag_invalid(d, n->loc, "%d grams have %d slots", grams, slots);
	dims[0] = x->dims[0];
	dims[1] = width;
	return ops_set(n, d, 0, DT_f32, 2, dims);
}
