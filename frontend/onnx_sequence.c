/* onnx_sequence -- sequences and optionals.  They are lists that the importer
 * holds (struct item), so their operators make no nodes where the position is
 * known: an element is the tensor that was put in.  A position or a length that
 * only a run knows selects among the elements that can be meant. */
#include "frontend/onnx_import.h"

#include <inttypes.h>

/* ---- items */
struct item *
item_tensor(struct import *im, struct value *v)
{
	struct item *it = arena_new(im->f.own, struct item);

	it->v = v;
	return it;
}

struct item *
item_list(struct import *im, enum item_kind kind)
{
	struct item *it = arena_new(im->f.own, struct item);

	it->kind = kind;
	return it;
}

void
item_push(struct import *im, struct item *list, struct item *one)
{
	vec_push(im->f.own, &list->of, one);
	list->depth = one->depth >= list->depth ? one->depth + 1 : list->depth;
}

const char *
item_kind_name(const struct item *it)
{
	return it->kind == ITEM_SEQ   ? "a sequence"
	       : it->kind == ITEM_OPT ? "an optional"
				      : "a tensor";
}

bool
item_is_tensor(struct job *j, const struct item *it, const char *what)
{
	return it->kind == ITEM_TENSOR ||
	       diag_invalid(j->im->d, j->loc, "%s is %s, not a tensor", what, item_kind_name(it));
}

/* How many elements, as a value of the run or a constant. */
static struct value *
length(struct job *j, const struct item *it)
{
	return it->count ? it->count : import_i64(j, it->of.n);
}

/* An optional that surely holds something stands for its content. */
static struct item *
content(struct item *it)
{
	while (it->kind == ITEM_OPT && it->of.n == 1 && !it->count)
		it = it->of.v[0];
	return it;
}

/* One of the two is an optional that may be empty: the other becomes one too; beside
 * a sequence an empty one is an empty sequence. */
static void
alike(struct job *j, struct item **a, struct item **b)
{
	struct item **opt = (*a)->kind == ITEM_OPT ? a : b, **other = opt == a ? b : a, *list;

	if ((*opt)->kind != ITEM_OPT)
		return;
	if ((*other)->kind == ITEM_SEQ && !(*opt)->of.n) {
		*opt = item_list(j->im, ITEM_SEQ);
		return;
	}
	list = item_list(j->im, ITEM_OPT);
	item_push(j->im, list, *other);
	*other = list;
}

static struct item *
select_list(struct job *j, struct value *cond, struct item *a, struct item *b, const char *what)
{
	struct item *out = item_list(j->im, a->kind), *one;
	int i, n = a->of.n > b->of.n ? a->of.n : b->of.n;

	out->dtype = a->dtype ? a->dtype : b->dtype;
	for (i = 0; i < n; i++) {
		one = i >= a->of.n   ? b->of.v[i]
		      : i >= b->of.n ? a->of.v[i]
				     : item_select(j, cond, a->of.v[i], b->of.v[i], what);
		if (!one)
			return NULL;
		item_push(j->im, out, one);
	}
	if (a->of.n == b->of.n && a->count == b->count)
		out->count = a->count;
	else
		out->count = b_select(&j->im->b, cond, length(j, a), length(j, b));
	return out;
}

struct item *
item_select(struct job *j, struct value *cond, struct item *a, struct item *b, const char *what)
{
	struct value *v;

	if (a == b)
		return a;
	if (a->kind != b->kind) {
		a = content(a);
		b = content(b);
	}
	if (a->kind != b->kind)
		alike(j, &a, &b);
	if (a->kind != b->kind) {
		diag_invalid(j->im->d, j->loc, "%s is %s one way and %s the other", what,
		    item_kind_name(a), item_kind_name(b));
		return NULL;
	}
	if (a->kind != ITEM_TENSOR)
		return select_list(j, cond, a, b, what);
	v = import_select(j, cond, a->v, b->v, what);
	return !v ? NULL : v == a->v ? a : v == b->v ? b : item_tensor(j->im, v);
}

/* ---- operands */
static bool
sequence(struct job *j, size_t i, struct item **it)
{
	if (!job_item(j, i, it))
		return false;
	if (!*it)
		return diag_invalid(j->im->d, j->loc, "needs a sequence as input %zu", i);
	*it = content(*it);
	return (*it)->kind == ITEM_SEQ ||
	       diag_invalid(
		   j->im->d, j->loc, "input %zu is %s, not a sequence", i, item_kind_name(*it));
}

/* An element that goes into a list whose elements have type `dtype` (none: any). */
static bool
element(struct job *j, size_t i, enum dtype *dtype, struct item **it)
{
	if (!job_item(j, i, it))
		return false;
	if (!*it)
		return diag_invalid(j->im->d, j->loc, "input %zu, an element, is left out", i);
	if ((*it)->depth >= ONNX_DEPTH)
		return diag_unsupported(
		    j->im->d, j->loc, "sequences nest deeper than %d", ONNX_DEPTH);
	if ((*it)->kind != ITEM_TENSOR)
		return true;
	if (*dtype && *dtype != (*it)->v->dtype)
		return diag_invalid(j->im->d, j->loc, "input %zu is %s, the sequence holds %s", i,
		    dtype_info[(*it)->v->dtype].name, dtype_info[*dtype].name);
	*dtype = (*it)->v->dtype;
	return true;
}

struct place {
	int at;		 /* where it is known: 0 .. n */
	struct value *v; /* else: a scalar of the run, counted from the front, within 0 .. last */
};

/* The position in input i among n, or up to n itself with `end`. */
static bool
position(struct job *j, size_t i, const struct item *seq, bool end, struct place *p)
{
	struct build *b = &j->im->b;
	int n = seq->of.n, last = end ? n : n - 1;
	int64_t *known, at;
	struct value *v, *zero = import_i64(j, 0);

	*p = (struct place){0};
	if (!job_operand(j, i, &v))
		return false;
	if (!v)
		return diag_invalid(j->im->d, j->loc, "needs a position as input %zu", i);
	if (dims_count(v->rank, v->dims) != 1 || !dtype_is_int(v->dtype))
		return diag_invalid(j->im->d, j->loc, "its position is not one integer");
	if (value_ints(v, j->im->f.own, &known) == 1 && (!seq->count || known[0] >= 0)) {
		at = known[0] < 0 ? known[0] + n : known[0];
		if (at < 0 || at > last)
			return diag_invalid(j->im->d, j->loc,
			    "position %" PRId64 " is not in a sequence of %d", known[0], n);
		p->at = (int)at;
		/* after a run-time end is where elements may or may not be */
		if (!seq->count || !end)
			return true;
	}
	if (n == 0 && !end)
		return diag_invalid(j->im->d, j->loc, "the sequence is empty");
	v = b_cast(b, b_reshape(b, v, 0, NULL), DT_i64);
	v = b_select(b, b2(b, OP_lt, v, zero), b_add(b, v, length(j, seq)), v);
	p->v = b_min(b, b_max(b, v, zero), import_i64(j, last));
	return p->v;
}

static struct value *
is_at(struct job *j, struct value *place, int k)
{
	return b2(&j->im->b, OP_eq, place, import_i64(j, k));
}

static struct value *
is_before(struct job *j, struct value *place, int k)
{
	return b2(&j->im->b, OP_lt, place, import_i64(j, k));
}

static struct value *
is_past(struct job *j, struct value *place, int k)
{
	return b2(&j->im->b, OP_lt, import_i64(j, k), place);
}

/* ---- sequences */
bool
import_sequence_construct(struct job *j)
{
	struct item *list = item_list(j->im, ITEM_SEQ), *one;
	size_t i;

	for (i = 0; i < j->np->n_input; i++) {
		if (!element(j, i, &list->dtype, &one))
			return false;
		item_push(j->im, list, one);
	}
	job_bind(j, 0, list);
	return true;
}

bool
import_sequence_empty(struct job *j)
{
	struct item *list = item_list(j->im, ITEM_SEQ);
	int64_t dtype = job_attr_int(j, "dtype", dtype_info[DT_f32].onnx);

	list->dtype = dtype_from_onnx((int)dtype);
	if (!list->dtype)
		return diag_invalid(
		    j->im->d, j->loc, "dtype %" PRId64 " is not one of ONNX", dtype);
	job_bind(j, 0, list);
	return true;
}

/* Where the place is known only in a run: out[k] = k < p ? old[k] : k == p ? x : old[k-1]. */
static bool
insert_at(struct job *j, const struct item *seq, struct value *p, struct item *x, struct item *out)
{
	struct item *one;
	int k, n = seq->of.n;

	for (k = 0; k <= n; k++) {
		one = k == n ? x : item_select(j, is_at(j, p, k), x, seq->of.v[k], "an element");
		if (one && k > 0)
			one =
			    item_select(j, is_before(j, p, k), seq->of.v[k - 1], one, "an element");
		if (!one)
			return false;
		item_push(j->im, out, one);
	}
	return true;
}

bool
import_sequence_insert(struct job *j)
{
	struct item *seq, *x, *out = item_list(j->im, ITEM_SEQ);
	struct place p = {0};
	int i;

	if (!sequence(j, 0, &seq))
		return false;
	out->dtype = seq->dtype;
	if (!element(j, 1, &out->dtype, &x))
		return false;
	if (seq->of.n >= ONNX_LIST_MAX)
		return diag_unsupported(
		    j->im->d, j->loc, "a sequence of more than %d elements", ONNX_LIST_MAX);
	p.at = seq->of.n;
	p.v = seq->count;
	if (job_has(j, 2) && !position(j, 2, seq, true, &p))
		return false;
	if (p.v) {
		if (!insert_at(j, seq, p.v, x, out))
			return false;
	} else {
		for (i = 0; i <= seq->of.n; i++)
			item_push(j->im, out,
			    i < p.at	? seq->of.v[i]
			    : i == p.at ? x
					: seq->of.v[i - 1]);
	}
	if (seq->count)
		out->count = b_add(&j->im->b, seq->count, import_i64(j, 1));
	job_bind(j, 0, out);
	return true;
}

bool
import_sequence_erase(struct job *j)
{
	struct item *seq, *one, *out = item_list(j->im, ITEM_SEQ);
	struct place p = {0};
	int i;

	if (!sequence(j, 0, &seq))
		return false;
	if (seq->of.n == 0)
		return diag_invalid(j->im->d, j->loc, "the sequence is empty");
	out->dtype = seq->dtype;
	p.at = seq->of.n - 1;
	if (job_has(j, 1) && !position(j, 1, seq, false, &p))
		return false;
	for (i = 0; i < seq->of.n - 1; i++) {
		one = seq->of.v[i + (!p.v && i >= p.at)];
		if (p.v)
			one = item_select(
			    j, is_past(j, p.v, i), seq->of.v[i], seq->of.v[i + 1], "an element");
		if (!one)
			return false;
		item_push(j->im, out, one);
	}
	if (seq->count) /* the last one goes, or a slot past the end */
		out->count = b_sub(&j->im->b, seq->count, import_i64(j, 1));
	job_bind(j, 0, out);
	return true;
}

static bool
one_type(const struct item *seq)
{
	const struct value *first, *v;
	int i;

	for (i = 0; i < seq->of.n; i++) {
		if (seq->of.v[i]->kind != ITEM_TENSOR)
			return false;
		first = seq->of.v[0]->v;
		v = seq->of.v[i]->v;
		if (v->dtype != first->dtype || v->dtype == DT_str ||
		    !dims_equal(v->rank, v->dims, first->rank, first->dims))
			return false;
	}
	return true;
}

bool
import_sequence_at(struct job *j)
{
	struct item *seq, *one;
	struct build *b = &j->im->b;
	struct value **row, *v;
	struct place p = {0};
	int i;

	if (!sequence(j, 0, &seq) || !position(j, 1, seq, false, &p))
		return false;
	if (!p.v) {
		job_bind(j, 0, seq->of.v[p.at]);
		return true;
	}
	if (!one_type(seq) || seq->of.v[0]->v->rank == MAX_RANK) {
		one = seq->of.v[0];
		for (i = 1; one && i < seq->of.n; i++)
			one = item_select(j, is_at(j, p.v, i), seq->of.v[i], one, "its output");
	} else {
		row = arena_array(j->im->f.own, struct value *, seq->of.n);
		for (i = 0; i < seq->of.n; i++)
			row[i] = b_unsqueeze(b, seq->of.v[i]->v, 0);
		v = b_gather(b, b_concat(b, seq->of.n, row, 0), p.v, 0);
		one = v ? item_tensor(j->im, v) : NULL;
	}
	if (one)
		job_bind(j, 0, one);
	return one;
}

bool
import_sequence_length(struct job *j)
{
	struct item *seq;

	if (!sequence(j, 0, &seq))
		return false;
	job_bind(j, 0, item_tensor(j->im, length(j, seq)));
	return true;
}

/* ---- tensors to sequences and back */
int
import_axis(struct job *j, int64_t axis, int rank)
{
	if (axis >= -rank && axis < rank)
		return (int)(axis < 0 ? axis + rank : axis);
	diag_invalid(
	    j->im->d, j->loc, "axis %" PRId64 " is not in a tensor of rank %d", axis, rank);
	return -1;
}

struct value *
import_part(struct job *j, struct value *x, int axis, int64_t from, int64_t count)
{
	int64_t start[MAX_RANK] = {0}, counts[MAX_RANK], step[MAX_RANK];
	int i;

	for (i = 0; i < x->rank; i++) {
		counts[i] = x->dims[i];
		step[i] = 1;
	}
	start[axis] = from;
	counts[axis] = count;
	return b_slice(&j->im->b, x, start, counts, step);
}

struct value *
import_squeeze(struct job *j, struct value *x, int axis)
{
	int64_t dims[MAX_RANK];
	int i, rank = 0;

	if (!x)
		return NULL;
	for (i = 0; i < x->rank; i++)
		if (i != axis)
			dims[rank++] = x->dims[i];
	return b_reshape(&j->im->b, x, rank, dims);
}

/* The sizes along an axis of n: of `split`, else ones.  Count; -1: reported. */
static int64_t
split_sizes(struct job *j, struct value *split, int64_t n, int64_t **sizes)
{
	struct arena *a = j->im->f.own;
	int64_t *given, i, sum = 0, count, each = 1;
	bool vector = split && split->rank == 1;

	count = split ? value_ints(split, a, &given) : 0;
	if (split && (count < 0 || split->rank > 1)) {
		if (split->rank > 1)
			diag_invalid(j->im->d, j->loc, "its split has rank %d", split->rank);
		else
			diag_unsupported(
			    j->im->d, j->loc, "its split is not known at compile time");
		return -1;
	}
	if (split && !vector)
		each = given[0];
	for (i = 0; vector && i < count; i++)
		if (given[i] < 0 || __builtin_add_overflow(sum, given[i], &sum))
			sum = INT64_MIN;
	if (each < 1 || (vector && sum != n)) {
		diag_invalid(j->im->d, j->loc,
		    "its split does not cut an axis of %" PRId64 " into parts", n);
		return -1;
	}
	if (!vector)
		count = n / each + (n % each != 0);
	if (count > ONNX_LIST_MAX) {
		diag_unsupported(
		    j->im->d, j->loc, "a sequence of more than %d elements", ONNX_LIST_MAX);
		return -1;
	}
	*sizes = arena_array(a, int64_t, count + 1);
	for (i = 0; i < count; i++)
		(*sizes)[i] = vector ? given[i] : i == count - 1 ? n - i * each : each;
	return count;
}

/* One row an element, of an axis whose size n a run decides: up to its bound, past
 * the end the last row again. */
static bool
split_rows(struct job *j, struct value *x, int axis, bool squeeze, struct item *out)
{
	struct build *b = &j->im->b;
	int64_t i, most = dim_hi(j->im->g, x->dims[axis]);
	struct value *v, *last;

	if (most > ONNX_LIST_MAX)
		return diag_unsupported(j->im->d, j->loc,
		    "splits an axis of size %s, which nothing bounds; --dim gives it a range",
		    dim_text(j->im->g, x->dims[axis]));
	out->count = b_dim(b, x->dims[axis]);
	last = b_sub(b, out->count, import_i64(j, 1));
	for (i = 0; i < most; i++) {
		v = b_gather(b, x, b_min(b, import_i64(j, i), last), axis);
		v = v && !squeeze ? b_unsqueeze(b, v, axis) : v;
		if (!v)
			return false;
		item_push(j->im, out, item_tensor(j->im, v));
	}
	return true;
}

bool
import_split_to_sequence(struct job *j)
{
	struct item *out = item_list(j->im, ITEM_SEQ);
	struct value *x, *split, *v;
	int64_t *sizes, n, i, at = 0;
	int axis;
	bool squeeze;

	if (!job_operand(j, 0, &x) || !job_operand(j, 1, &split))
		return false;
	if (!x)
		return diag_invalid(j->im->d, j->loc, "its input is left out");
	axis = import_axis(j, job_attr_int(j, "axis", 0), x->rank);
	if (axis < 0)
		return false;
	squeeze = !split && !job_attr_int(j, "keepdims", 1);
	out->dtype = x->dtype;
	if (!dim_const(x->dims[axis])) {
		if (split && !(split->rank == 0 && value_ints(split, j->im->f.own, &sizes) == 1 &&
				 *sizes == 1))
			return diag_unsupported(j->im->d, j->loc,
			    "cuts an axis of size %s, not known at compile time, into parts",
			    dim_text(j->im->g, x->dims[axis]));
		if (!split_rows(j, x, axis, squeeze, out))
			return false;
		job_bind(j, 0, out);
		return true;
	}
	n = split_sizes(j, split, x->dims[axis], &sizes);
	for (i = 0; i < n; at += sizes[i++]) {
		v = import_part(j, x, axis, at, sizes[i]);
		v = squeeze ? import_squeeze(j, v, axis) : v;
		if (!v)
			return false;
		item_push(j->im, out, item_tensor(j->im, v));
	}
	job_bind(j, 0, out);
	return n >= 0;
}

/* How long the first `count` elements are together along axis. */
static struct value *
total(struct job *j, const struct item *seq, int axis)
{
	struct build *b = &j->im->b;
	struct value *sum = import_i64(j, 0);
	int i;

	for (i = 0; i < seq->of.n; i++) {
		int64_t size = seq->of.v[i]->v->dims[axis];

		if (!dim_const(size)) {
			diag_unsupported(j->im->d, j->loc,
			    "joins a run-time number of elements of size %s", dim_text(b->g, size));
			return NULL;
		}
		sum = b_add(b, sum,
		    b_select(b, is_past(j, seq->count, i), import_i64(j, size), import_i64(j, 0)));
	}
	return sum;
}

bool
import_concat_from_sequence(struct job *j)
{
	struct build *b = &j->im->b;
	bool fresh = job_attr_int(j, "new_axis", 0);
	struct item *seq;
	struct value **part_of, *v;
	int i, axis;

	if (!sequence(j, 0, &seq))
		return false;
	if (!seq->of.n)
		return diag_invalid(j->im->d, j->loc, "the sequence is empty");
	if (!job_attr(j, "axis"))
		return diag_invalid(j->im->d, j->loc, "attribute \"axis\" is missing");
	part_of = arena_array(j->im->f.own, struct value *, seq->of.n);
	for (i = 0; i < seq->of.n; i++)
		if (!item_is_tensor(j, seq->of.v[i], "an element"))
			return false;
	v = seq->of.v[0]->v;
	axis = import_axis(j, job_attr_int(j, "axis", 0), v->rank + fresh);
	if (axis < 0)
		return false;
	for (i = 0; i < seq->of.n; i++)
		part_of[i] = fresh ? b_unsqueeze(b, seq->of.v[i]->v, axis) : seq->of.v[i]->v;
	v = b_concat(b, seq->of.n, part_of, axis);
	if (v && seq->count)
		v = import_first(j, v, axis, fresh ? seq->count : total(j, seq, axis));
	if (v)
		job_bind(j, 0, item_tensor(j->im, v));
	return v;
}

/* ---- optionals */
bool
import_optional(struct job *j)
{
	struct item *it, *out = item_list(j->im, ITEM_OPT);

	if (!job_item(j, 0, &it))
		return false;
	if (it && it->depth >= ONNX_DEPTH)
		return diag_unsupported(
		    j->im->d, j->loc, "optionals nest deeper than %d", ONNX_DEPTH);
	if (it)
		item_push(j->im, out, it);
	else if (!job_attr(j, "type"))
		return diag_invalid(
		    j->im->d, j->loc, "has neither an input nor attribute \"type\"");
	job_bind(j, 0, out);
	return true;
}

bool
import_optional_get(struct job *j)
{
	struct item *it;

	if (!job_item(j, 0, &it))
		return false;
	if (!it || (it->kind == ITEM_OPT && !it->of.n))
		return diag_invalid(j->im->d, j->loc, "the optional holds no element");
	job_bind(j, 0, it->kind == ITEM_OPT ? it->of.v[0] : it);
	return true;
}

bool
import_optional_has(struct job *j)
{
	struct item *it;
	struct tensor *t;
	struct value *v;

	if (!job_item(j, 0, &it))
		return false;
	if (it && it->kind == ITEM_OPT && it->count) {
		v = b_cast(&j->im->b, it->count, DT_bool);
	} else {
		t = tensor_new(j->im->g->arena, DT_bool, 0, NULL);
		*(uint8_t *)t->data = it && (it->kind != ITEM_OPT || it->of.n);
		v = graph_const(j->im->g, NULL, t);
	}
	if (v)
		job_bind(j, 0, item_tensor(j->im, v));
	return v;
}
