/* labels.c -- tables of keys and values: LabelEncoder, CategoryMapper.  String keys are
 * found by a host row, numbers by comparing with all of them. */
#include <math.h>
#include <stdlib.h>

#include "ir/ops/ops_int.h"

/* ---- a table's columns as tensors */
static const struct tensor *
column_of_strings(struct build *b, const struct attr *a)
{
	int64_t n = a->n;
	struct tensor *t = tensor_new(b->g->arena, DT_str, 1, &n);

	for (int i = 0; i < a->n; i++)
		((const char **)t->data)[i] = a->strings[i];
	return t;
}

static const struct tensor *
column_of_ints(struct build *b, const struct attr *a)
{
	int64_t n = a->n;
	struct tensor *t = tensor_new(b->g->arena, DT_i64, 1, &n);

	for (int i = 0; i < a->n; i++)
		dtype_put_i(DT_i64, t->data, i, a->ints[i]);
	return t;
}

static const struct tensor *
column_of_floats(struct build *b, const struct attr *a)
{
	int64_t n = a->n;
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 1, &n);

	for (int i = 0; i < a->n; i++)
		dtype_put_f(DT_f32, t->data, i, a->floats[i]);
	return t;
}

/* keys_* or values_*: the one that is given; NULL: reported */
static const struct tensor *
column(struct build *b, const struct node *n, const char *what)
{
	static const char *const kinds[] = {"strings", "int64s", "floats", "tensor"};
	const struct tensor *t = NULL;
	int given = 0;

	for (int i = 0; i < 4; i++) {
		const struct attr *a =
		    attr_find(n, arena_printf(b->g->arena, "%s_%s", what, kinds[i]));

		if (!a || (i < 3 && a->n == 0))
			continue;
		given++;
		t = i == 0   ? column_of_strings(b, a)
		    : i == 1 ? column_of_ints(b, a)
		    : i == 2 ? column_of_floats(b, a)
			     : a->t;
	}
	if (given == 1 && t->rank == 1)
		return t;
	diag_invalid(b->diag, n->loc,
	    given == 1 ? "%s_tensor is no vector"
		       : "exactly one of the attributes %s_* must be given",
	    what);
	return NULL;
}

/* ---- finding.  All give the place in the table, its length where there is none. */
struct named {
	const char *s;
	int64_t place;
};

static int
by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int c = strcmp(x->s, y->s);

	return c ? c : (x->place > y->place) - (x->place < y->place);
}

static struct value *
find_string(struct build *b, struct value *x, const struct tensor *keys)
{
	struct arena *mem = b->g->arena;
	int64_t n = tensor_count(keys), k = 0;
	struct named *order = arena_array(mem, struct named, n + 1);
	const char **sorted = arena_array(mem, const char *, n + 1);
	int64_t *place = arena_array(mem, int64_t, n + 1);
	struct attr a;

	for (int64_t i = 0; i < n; i++)
		order[i] = (struct named){((char *const *)keys->data)[i], i};
	qsort(order, (size_t)n, sizeof *order, by_name);
	for (int64_t i = 0; i < n; i++) {
		if (i && strcmp(order[i - 1].s, order[i].s) == 0)
			continue; /* of equal keys the first counts */
		sorted[k] = order[i].s;
		place[k++] = order[i].place;
	}
	place[k] = n;
	a = (struct attr){.name = "keys", .kind = ATTR_STRINGS, .n = (int)k, .strings = sorted};
	x = b_op(b, OP_str_find, 1, &x, 1, &a);
	x = b_select(b, b2(b, OP_lt, x, b_scalar(b, DT_i64, 0)), b_scalar(b, DT_i64, (double)k), x);
	return b_gather(b, b_ints(b, (int)k + 1, place), x, 0);
}

static struct value *
find_number(struct build *b, struct value *x, const struct tensor *keys)
{
	struct value *k = graph_const(b->g, NULL, keys), *same, *place;
	int64_t n = tensor_count(keys), dims[MAX_RANK], axis = x->rank;
	bool nan = false;

	if (x->rank >= MAX_RANK) {
		diag_unsupported(b->diag, b->loc, "input of rank %d", x->rank);
		return NULL;
	}
	for (int64_t i = 0; dtype_is_float(keys->dtype) && i < n; i++)
		nan |= isnan(dtype_get_f(keys->dtype, keys->data, i));
	memcpy(dims, x->dims, sizeof dims);
	dims[x->rank] = n;
	same = b2(b, OP_eq, b_unsqueeze(b, x, x->rank), k);
	if (nan)
		same = b2(b, OP_or, same,
		    b2(b, OP_and, b1(b, OP_isnan, b_unsqueeze(b, x, x->rank)), b1(b, OP_isnan, k)));
	place = b_iota(b, DT_i64, x->rank + 1, dims, x->rank);
	place = b_select(b, same, place, b_scalar(b, DT_i64, (double)n));
	return b_reduce(b, OP_reduce_min, place, 1, &axis, false);
}

/* values[place of x among the keys], else the default (one element) */
static bool
look_up(struct build *b, const struct node *n, struct value *x, const struct tensor *keys,
    const struct tensor *values, const struct tensor *def, struct value **out)
{
	struct value *place, *all[2];

	if (x->dtype != keys->dtype)
		return diag_invalid(b->diag, n->loc, "input is %s, the keys are %s",
		    dtype_info[x->dtype].name, dtype_info[keys->dtype].name);
	if (tensor_count(keys) != tensor_count(values))
		return diag_invalid(b->diag, n->loc, "%lld keys have %lld values",
		    (long long)tensor_count(keys), (long long)tensor_count(values));
	if (def->dtype != values->dtype || tensor_count(def) != 1)
		return diag_invalid(b->diag, n->loc,
		    "the default is %lld elements of %s, the values are %s",
		    (long long)tensor_count(def), dtype_info[def->dtype].name,
		    dtype_info[values->dtype].name);
	place = x->dtype == DT_str ? find_string(b, x, keys) : find_number(b, x, keys);
	all[0] = graph_const(b->g, NULL, values);
	all[1] = b_reshape(b, graph_const(b->g, NULL, def), 1, &(int64_t){1});
	return (*out = b_gather(b, b_concat(b, 2, all, 0), place, 0)) != NULL;
}

static const struct tensor *
default_string(struct build *b, const struct node *n)
{
	struct tensor *t = tensor_new(b->g->arena, DT_str, 0, NULL);

	*(const char **)t->data = attr_string(n, "default_string");
	return t;
}

static const struct tensor *
default_int(struct build *b, const struct node *n, enum dtype t)
{
	struct tensor *d = tensor_new(b->g->arena, t, 0, NULL);

	dtype_put_i(t, d->data, 0, attr_int(n, "default_int64"));
	return d;
}

bool
expand_LabelEncoder(struct build *b, const struct node *n, struct value **outs)
{
	const struct attr *classes = attr_find(n, "classes_strings"),
			  *given = attr_find(n, "default_tensor");
	const struct tensor *keys, *values, *def;
	struct tensor *t;

	if (classes) {
		int64_t count = classes->n;

		t = tensor_new(b->g->arena, DT_i64, 1, &count);
		for (int64_t i = 0; i < count; i++)
			((int64_t *)t->data)[i] = i;
		if (n->in[0]->dtype == DT_str)
			return look_up(b, n, n->in[0], column_of_strings(b, classes), t,
			    default_int(b, n, DT_i64), outs);
		return look_up(
		    b, n, n->in[0], t, column_of_strings(b, classes), default_string(b, n), outs);
	}
	if (!(keys = column(b, n, "keys")) || !(values = column(b, n, "values")))
		return false;
	if (given) {
		def = given->t;
	} else if (values->dtype == DT_str) {
		def = default_string(b, n);
	} else if (dtype_is_float(values->dtype)) {
		t = tensor_new(b->g->arena, values->dtype, 0, NULL);
		dtype_put_f(values->dtype, t->data, 0, attr_float(n, "default_float"));
		def = t;
	} else {
		def = default_int(b, n, values->dtype);
	}
	return look_up(b, n, n->in[0], keys, values, def, outs);
}

bool
expand_CategoryMapper(struct build *b, const struct node *n, struct value **outs)
{
	const struct tensor *s = column_of_strings(b, attr_find(n, "cats_strings")),
			    *i = column_of_ints(b, attr_find(n, "cats_int64s"));

	if (n->in[0]->dtype == DT_str)
		return look_up(b, n, n->in[0], s, i, default_int(b, n, DT_i64), outs);
	return look_up(b, n, n->in[0], i, s, default_string(b, n), outs);
}
