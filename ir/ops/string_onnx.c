/* string_onnx.c -- ONNX's operators on text, written in host rows and what the core
 * does with numbers. */
#include <stdlib.h>

#include "host/host.h"
#include "ir/ops/ops_int.h"

static bool
strings(struct build *b, const struct node *n, int i)
{
	if (n->in[i]->dtype == DT_str)
		return true;
	return diag_invalid(b->diag, n->loc, "input %d is %s; strings are expected", i,
	    dtype_info[n->in[i]->dtype].name);
}

struct value *
ops_host(struct build *b, enum op op, struct value *x, int nattr, const struct attr *attrs)
{
	return x ? b_op(b, op, 1, &x, nattr, attrs) : NULL;
}

struct value *
ops_expand_like(struct build *b, struct value *x, int rank, const int64_t *dims)
{
	return x && dims_equal(x->rank, x->dims, rank, dims) ? x : b_expand(b, x, rank, dims);
}

bool
expand_StringConcat(struct build *b, const struct node *n, struct value **outs)
{
	struct node copy = *n;
	struct value *in[2];
	int64_t dims[MAX_RANK];
	int rank;

	if (!strings(b, n, 0) || !strings(b, n, 1) ||
	    !infer_broadcast_dims(b->g, &copy, b->diag, &rank, dims))
		return false;
	for (int i = 0; i < 2; i++)
		in[i] = ops_expand_like(b, n->in[i], rank, dims);
	return (outs[0] = in[0] && in[1] ? b_op(b, OP_str_concat, 2, in, 0, NULL) : NULL) != NULL;
}

/* [C] or [1,C]: what is no stopword, in another case; one empty string if nothing is left */
bool
expand_StringNormalizer(struct build *b, const struct node *n, struct value **outs)
{
	static const char *const cases[] = {"NONE", "LOWER", "UPPER"};
	const char *how = attr_string(n, "case_change_action");
	const struct attr *stopwords = attr_find(n, "stopwords");
	struct value *x = n->in[0], *y, *made[2];
	struct attr a[3];
	int64_t c, u, dims[2] = {1};
	int k = 0, na = 2;

	if (!strings(b, n, 0))
		return false;
	if (x->rank != 1 && (x->rank != 2 || x->dims[0] != 1))
		return diag_invalid(b->diag, n->loc, "input of shape %s; [C] or [1,C] is expected",
		    ops_dims_text(b->g, x->rank, x->dims));
	while (k < 3 && strcmp(how, cases[k]) != 0)
		k++;
	if (k == 3)
		return diag_invalid(b->diag, n->loc,
		    "case_change_action \"%s\"; NONE, LOWER or UPPER is expected", how);
	c = x->dims[x->rank - 1];
	if (dim_hi(b->g, c) == INT64_MAX)
		return diag_unsupported(b->diag, n->loc,
		    "a number of strings (%s) without bound; give it with --dim",
		    dim_text(b->g, c));
	if (c == 0) { /* nothing is left of nothing */
		y = graph_const(b->g, NULL, tensor_new(b->g->arena, DT_str, 1, (int64_t[]){1}));
		dims[1] = 1;
		return (outs[0] = x->rank == 1 ? y : b_reshape(b, y, 2, dims)) != NULL;
	}
	a[0] = attr_of_int("case", k);
	a[1] = attr_of_int("sensitive", attr_int(n, "is_case_sensitive"));
	if (stopwords && stopwords->n)
		a[na++] = *stopwords;
	x = x->rank == 2 ? b_reshape(b, x, 1, &c) : x;
	if (!x || !b_ops(b, OP_str_normalize, 1, &x, 2, made, na, a))
		return false;
	y = made[0];
	u = c;
	if (na == 3) {
		int64_t start = 0, step = 1;

		u = ops_measure(b, n, 0, made[1], dim_hi(b->g, c));
		y = b_slice(b, y, &start, &u, &step);
	}
	dims[1] = u;
	return (outs[0] = n->in[0]->rank == 1 ? y : b_reshape(b, y, 2, dims)) != NULL;
}

/* Strings of known content have that many parts at most. */
static int64_t
most_parts(const struct value *x, const char *delimiter)
{
	enum { UNKNOWN = 64 };
	size_t most = 0, len;

	if (x->kind != VAL_CONST)
		return UNKNOWN;
	for (int64_t i = 0; i < tensor_count(x->data); i++) {
		const char *s = ((char *const *)x->data->data)[i];

		len = s ? strlen(s) : 0;
		most = len > most ? len : most;
	}
	return (int64_t)(most / (*delimiter ? strlen(delimiter) : 1)) + 1;
}

/* [..., most parts of a string], filled up with "", and how many parts each has */
bool
expand_StringSplit(struct build *b, const struct node *n, struct value **outs)
{
	const struct attr *given = attr_find(n, "delimiter"), *maxsplit = attr_find(n, "maxsplit");
	const char *delimiter = given ? given->s : "";
	struct value *x = n->in[0], *made[2], *most;
	int64_t width, u, start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];
	struct attr a[3];
	int na = 0;

	if (!strings(b, n, 0))
		return false;
	if (x->rank >= MAX_RANK)
		return diag_unsupported(b->diag, n->loc, "input of rank %d", x->rank);
	width = most_parts(x, delimiter);
	if (maxsplit && maxsplit->i >= 0 && maxsplit->i < width)
		width = maxsplit->i + 1;
	a[na++] = attr_of_int("width", width);
	if (*delimiter)
		a[na++] = *given;
	if (maxsplit)
		a[na++] = *maxsplit;
	if (!b_ops(b, OP_str_split, 1, &x, 2, made, na, a))
		return false;
	most = b_reduce_all(b, OP_reduce_max, made[1]);
	u = ops_measure(b, n, 0, most ? b_max(b, most, b_scalar(b, DT_i64, 0)) : NULL, width);
	for (int i = 0; i <= x->rank; i++) {
		count[i] = i < x->rank ? x->dims[i] : u;
		step[i] = 1;
	}
	outs[0] = most ? b_slice(b, made[0], start, count, step) : NULL;
	outs[1] = made[1];
	return outs[0] != NULL;
}

bool
expand_RegexFullMatch(struct build *b, const struct node *n, struct value **outs)
{
	enum { MAX_PROGRAM = 3 * 10000 };
	const char *pattern = attr_string(n, "pattern"), *wrong;
	int64_t *program = arena_array(b->g->arena, int64_t, MAX_PROGRAM);
	struct attr a;
	int len, at;

	if (!strings(b, n, 0))
		return false;
	if ((wrong = host_regex_compile(pattern, program, MAX_PROGRAM, &len, &at)))
		return diag_invalid(
		    b->diag, n->loc, "pattern \"%s\", at %d: %s", pattern, at, wrong);
	a = attr_of_ints("program", len, program);
	return (outs[0] = ops_host(b, OP_str_match, n->in[0], 1, &a)) != NULL;
}

/* ---- TfIdfVectorizer */
struct gram {
	const int64_t *item;
	int len;
	int64_t slot;
};

static int
by_items(const void *a, const void *b)
{
	const struct gram *x = a, *y = b;

	for (int i = 0; i < x->len; i++)
		if (x->item[i] != y->item[i])
			return x->item[i] < y->item[i] ? -1 : 1;
	return 0;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different strings of the pool in order, and the pool as their places. */
static int64_t *
numbered(struct arena *a, const struct attr *pool, const char ***keys, int *nkeys)
{
	int64_t *id = arena_array(a, int64_t, pool->n + 1);
	int k = 0;

	*keys = arena_array(a, const char *, pool->n + 1);
	memcpy(*keys, pool->strings, sizeof **keys * (size_t)pool->n);
	qsort(*keys, (size_t)pool->n, sizeof **keys, by_text);
	for (int i = 0; i < pool->n; i++)
		if (!i || strcmp((*keys)[k - 1], (*keys)[i]) != 0)
			(*keys)[k++] = (*keys)[i];
	for (int i = 0; i < pool->n; i++)
		id[i] = (const char **)bsearch(
			    &pool->strings[i], *keys, (size_t)k, sizeof **keys, by_text) -
			*keys;
	*nkeys = k;
	return id;
}

/* The grams of each length in order, as the row wants them; ngram_counts says where
 * the lengths begin. */
static bool
vocabulary(
    struct build *b, const struct node *n, int64_t *pool, int npool, struct attr *a, int64_t *width)
{
	struct arena *mem = b->g->arena;
	const int64_t *first, *slot;
	int lengths = attr_ints(n, "ngram_counts", &first),
	    slots = attr_ints(n, "ngram_indexes", &slot), at = 0;
	int64_t *begin = arena_array(mem, int64_t, lengths + 1),
		*sorted = arena_array(mem, int64_t, npool + 1),
		*column = arena_array(mem, int64_t, slots + 1);
	struct gram *grams = arena_array(mem, struct gram, slots + 1);

	*width = 0;
	for (int i = 0; i < lengths; i++) {
		int64_t end = i + 1 < lengths ? first[i + 1] : npool;
		int from = at;

		if (first[i] < 0 || (i == 0 && first[0]) || end < first[i] || end > npool ||
		    (end - first[i]) % (i + 1))
			return diag_invalid(b->diag, n->loc,
			    "ngram_counts %lld does not divide a pool of %d items",
			    (long long)first[i], npool);
		begin[i] = first[i];
		for (int64_t k = first[i]; k < end; k += i + 1) {
			if (at == slots)
				return diag_invalid(b->diag, n->loc,
				    "the pool has more n-grams than ngram_indexes (%d)", slots);
			if (slot[at] < 0 || slot[at] >= INT32_MAX)
				return diag_invalid(b->diag, n->loc, "ngram_indexes holds %lld",
				    (long long)slot[at]);
			grams[at] = (struct gram){pool + k, i + 1, slot[at]};
			*width = slot[at] >= *width ? slot[at] + 1 : *width;
			at++;
		}
		qsort(grams + from, (size_t)(at - from), sizeof *grams, by_items);
		for (int k = from; k < at; k++) {
			memcpy(sorted + begin[i] + (k - from) * (i + 1), grams[k].item,
			    sizeof *sorted * (size_t)(i + 1));
			column[k] = grams[k].slot;
		}
	}
	if (at != slots)
		return diag_invalid(
		    b->diag, n->loc, "%d n-grams in the pool, %d ngram_indexes", at, slots);
	begin[lengths] = npool;
	a[0] = attr_of_ints("pool", npool, sorted);
	a[1] = attr_of_ints("first", lengths + 1, begin);
	a[2] = attr_of_ints("slot", slots, column);
	return true;
}

/* The weight of each column: that of its n-gram. */
static bool
weights(struct build *b, const struct node *n, int64_t width, struct value **w)
{
	const int64_t *slot;
	const double *given;
	int slots = attr_ints(n, "ngram_indexes", &slot), k = attr_floats(n, "weights", &given);
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 1, &width);

	if (k && k != slots)
		return diag_invalid(b->diag, n->loc, "%d weights for %d n-grams", k, slots);
	for (int64_t i = 0; i < width; i++)
		dtype_put_f(DT_f32, t->data, i, 1);
	for (int i = 0; i < k; i++)
		dtype_put_f(DT_f32, t->data, slot[i], given[i]);
	*w = graph_const(b->g, NULL, t);
	return true;
}

bool
expand_TfIdfVectorizer(struct build *b, const struct node *n, struct value **outs)
{
	const struct attr *strings_of = attr_find(n, "pool_strings"),
			  *ints_of = attr_find(n, "pool_int64s");
	const char *mode = attr_string(n, "mode"), **keys;
	struct value *x = n->in[0], *y, *w = NULL;
	struct attr a[7], find;
	int64_t dims[2] = {1}, width, *pool;
	int npool, nkeys;

	if (!strings_of == !ints_of)
		return diag_invalid(
		    b->diag, n->loc, "one of pool_strings and pool_int64s must be given");
	if ((x->dtype == DT_str) != (strings_of != NULL) ||
	    (x->dtype != DT_str && x->dtype != DT_i64 && x->dtype != DT_i32))
		return diag_invalid(b->diag, n->loc, "input of type %s with a pool of %s",
		    dtype_info[x->dtype].name, strings_of ? "strings" : "integers");
	if (x->rank < 1 || x->rank > 2)
		return diag_invalid(
		    b->diag, n->loc, "input of rank %d; 1 or 2 is expected", x->rank);
	if (strcmp(mode, "TF") != 0 && strcmp(mode, "IDF") != 0 && strcmp(mode, "TFIDF") != 0)
		return diag_invalid(
		    b->diag, n->loc, "mode \"%s\"; TF, IDF or TFIDF is expected", mode);
	if (attr_int(n, "min_gram_length") < 1 ||
	    attr_int(n, "max_gram_length") < attr_int(n, "min_gram_length") ||
	    attr_int(n, "max_skip_count") < 0 || attr_int(n, "max_skip_count") > INT32_MAX)
		return diag_invalid(b->diag, n->loc,
		    "min_gram_length %lld, max_gram_length %lld, max_skip_count %lld",
		    (long long)attr_int(n, "min_gram_length"),
		    (long long)attr_int(n, "max_gram_length"),
		    (long long)attr_int(n, "max_skip_count"));
	if (strings_of) {
		npool = strings_of->n;
		pool = numbered(b->g->arena, strings_of, &keys, &nkeys);
		find = (struct attr){
		    .name = "keys", .kind = ATTR_STRINGS, .n = nkeys, .strings = keys};
		x = ops_host(b, OP_str_find, x, 1, &find);
	} else {
		npool = ints_of->n;
		pool = arena_dup(b->g->arena, npool ? (const void *)ints_of->ints : "",
		    sizeof *pool * (size_t)npool);
		x = b_cast(b, x, DT_i64);
	}
	if (!x || !vocabulary(b, n, pool, npool, a, &width) || !weights(b, n, width, &w))
		return false;
	a[3] = attr_of_int("min", attr_int(n, "min_gram_length"));
	a[4] = attr_of_int("max", attr_int(n, "max_gram_length"));
	a[5] = attr_of_int("skip", attr_int(n, "max_skip_count"));
	a[6] = attr_of_int("width", width);
	dims[1] = x->dims[0];
	y = ops_host(b, OP_ngrams, x->rank == 1 ? b_reshape(b, x, 2, dims) : x, 7, a);
	if (strcmp(mode, "IDF") == 0)
		y = y ? b_select(b, b2(b, OP_lt, b_scalar(b, DT_f32, 0), y),
			    b_expand(b, w, 2, y->dims), b_zeros_like(b, y))
		      : NULL;
	else if (strcmp(mode, "TFIDF") == 0)
		y = b_mul(b, y, w);
	return (outs[0] = y && n->in[0]->rank == 1 ? b_reshape(b, y, 1, &width) : y) != NULL;
}
