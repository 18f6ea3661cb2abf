/* onnx_loop -- Loop and Scan, unrolled.  While a loop's condition is known its
 * turns are exact.  Where a run decides, turn i is made under the condition
 * `active` that it runs; after the last turn that can be, carried values are those
 * of the last active one and scan outputs end there. */
#include "frontend/onnx_import.h"

#include <inttypes.h>

enum { TRIPS = 64, TRIPS_KNOWN = 1024 }; /* turns without --max-trips: at all, of a known range */

/* ---- rows of turns */
struct rows {
	VEC(struct value *) v;
};

/* The rows one below the other along a fresh axis; `none`: of their type, but empty. */
static struct value *
stack(struct job *j, const struct rows *r, int64_t at, bool reversed, bool none, const char *what)
{
	struct build *b = &j->im->b;
	struct value **row, *first = r->v.v[0], *v;
	int i, axis, n = none ? 1 : r->v.n;

	if (first->rank == MAX_RANK) {
		diag_unsupported(j->im->d, j->loc, "%s has more than %d axes", what, MAX_RANK);
		return NULL;
	}
	axis = import_axis(j, at, first->rank + 1);
	if (axis < 0)
		return NULL;
	row = arena_array(j->im->f.own, struct value *, n);
	for (i = 0; i < n; i++) {
		v = r->v.v[i];
		if (v->dtype != first->dtype ||
		    !dims_equal(v->rank, v->dims, first->rank, first->dims)) {
			diag_invalid(j->im->d, j->loc, "%s is %s in turn 0 and %s in turn %d", what,
			    value_type_text(j->im->g, first), value_type_text(j->im->g, v), i);
			return NULL;
		}
		row[reversed ? n - 1 - i : i] = b_unsqueeze(b, v, axis);
	}
	v = n == 1 ? row[0] : b_concat(b, n, row, axis);
	return v && none ? import_part(j, v, axis, 0, 0) : v;
}

static bool
push_row(struct job *j, struct rows *r, const struct item *it, const char *name)
{
	if (it->kind != ITEM_TENSOR)
		return diag_invalid(j->im->d, j->loc, "scan output \"%s\" of its body is %s", name,
		    item_kind_name(it));
	vec_push(j->im->f.own, &r->v, it->v);
	return true;
}

static const char *
output_text(struct job *j, const struct body *b, size_t i)
{
	return arena_printf(
	    j->im->f.own, "output \"%s\" of its body", onnx_str(b->g->output[i]->name));
}

/* ---- Loop */
struct loop {
	struct job *j;
	struct body b;
	int nstate, nscan;
	struct item **in,
	    **out; /* of the turn: number, condition, carried; condition, carried, scanned */
	struct item **last; /* carried, as after the last active turn */
	struct history {
		VEC(struct value *) v;
		bool loose; /* its size changes from turn to turn */
	} *state;	    /* of carried tensors: before the first turn and after every one */
	VEC(struct value *) active; /* parallel to those */
	struct rows *scan;
	struct value *trips, *limit; /* active turns so far, the count given; limit NULL: none */
};

/* A number that no element of v (integers) exceeds, where its making shows it. */
static int64_t
greatest(const struct graph *g, const struct value *v, int depth)
{
	static const struct {
		enum op op;
		enum { SAME, LEAST, MOST, SUM, BRANCHES, SIZES } kind;
	} rules[] = {
	    {OP_reshape, SAME},
	    {OP_Reshape, SAME},
	    {OP_slice, SAME},
	    {OP_Slice, SAME},
	    {OP_gather, SAME},
	    {OP_transpose, SAME},
	    {OP_expand, SAME},
	    {OP_Squeeze, SAME},
	    {OP_Unsqueeze, SAME},
	    {OP_Identity, SAME},
	    {OP_cast, SAME},
	    {OP_Cast, SAME},
	    {OP_min, LEAST},
	    {OP_Min, LEAST},
	    {OP_max, MOST},
	    {OP_Max, MOST},
	    {OP_concat, MOST},
	    {OP_add, SUM},
	    {OP_select, BRANCHES},
	    {OP_Shape, SIZES},
	};
	const struct node *n = v->def;
	int64_t a, hi = -1, i;
	size_t r;
	int k;

	if (v->kind == VAL_CONST && dtype_is_int(v->dtype)) {
		for (i = 0; i < tensor_count(v->data); i++) {
			a = dtype_get_i(v->dtype, v->data->data, i);
			hi = i == 0 || a > hi ? a : hi;
		}
		return hi;
	}
	if (v->dtype == DT_bool)
		return 1;
	if (v->kind != VAL_NODE || depth > 16 || !dtype_is_int(v->dtype))
		return INT64_MAX;
	if (n->op == OP_extent) {
		const int64_t *dim;

		return attr_ints(n, "dims", &dim) == 1 ? dim_hi(g, dim[0]) : INT64_MAX;
	}
	for (r = 0; r < sizeof rules / sizeof *rules && rules[r].op != n->op; r++)
		;
	if (r == sizeof rules / sizeof *rules)
		return INT64_MAX;
	switch (rules[r].kind) {
	case SAME:
		return greatest(g, n->in[0], depth + 1);
	case SIZES:
		for (k = 0; k < n->in[0]->rank; k++) {
			a = dim_hi(g, n->in[0]->dims[k]);
			hi = a > hi ? a : hi;
		}
		return hi;
	case SUM:
		a = greatest(g, n->in[0], depth + 1);
		return __builtin_add_overflow(a, greatest(g, n->in[1], depth + 1), &hi) ? INT64_MAX
											: hi;
	default:
		for (k = rules[r].kind == BRANCHES; k < n->nin; k++) {
			a = greatest(g, n->in[k], depth + 1);
			if (k == (rules[r].kind == BRANCHES) ||
			    (rules[r].kind == LEAST ? a < hi : a > hi))
				hi = a;
		}
		return hi;
	}
}

/* Turns to unroll where a run decides and no more than `known` are possible; said:
 * the user or the default set it, not what is known. */
static int64_t
bound(const struct job *j, int64_t known, bool *said)
{
	int64_t given = j->im->opts->max_trips;
	int64_t most = given > 0 ? given : known <= TRIPS_KNOWN ? TRIPS_KNOWN : TRIPS;

	known = known < 0 ? 0 : known;
	*said = known > most;
	return *said ? most : known;
}

static void
warn_bound(const struct job *j, int64_t most)
{
	diag_warn(j->im->d, j->loc,
	    "a run decides how many turns it makes and nothing bounds them: compiled for at most "
	    "%" PRId64 "; --max-trips N changes it",
	    most);
}

/* Whether turn i runs, given that the one before did and its condition. */
static struct value *
goes_on(struct loop *l, struct value *cond, int64_t i)
{
	if (!l->limit)
		return cond;
	return import_both(l->j, cond, b2(&l->j->im->b, OP_lt, import_i64(l->j, i), l->limit));
}

static bool
carry(struct loop *l, int k, struct value *active)
{
	struct job *j = l->j;
	struct history *h = &l->state[k];
	struct item *now = l->out[1 + k], *was = l->in[2 + k];
	const char *what = output_text(j, &l->b, (size_t)(1 + k));

	if (import_known(active, true)) {
		l->last[k] = now;
	} else if (now->kind == ITEM_TENSOR && was->kind == ITEM_TENSOR) {
		h->loose |= !dims_equal(now->v->rank, now->v->dims, was->v->rank, was->v->dims);
		if (!h->loose) {
			l->last[k] = item_select(j, active, now, l->last[k], what);
			if (!l->last[k])
				return false;
			/* a counter is known in the next turn if that runs at all */
			if (now->v->kind != VAL_CONST)
				now = l->last[k];
		}
	} else {
		l->last[k] = item_select(j, active, now, l->last[k], what);
		if (!l->last[k])
			return false;
	}
	/* A list goes into the next turn as it is if that turn runs at all: its length is known
	 * there. */
	l->in[2 + k] = now;
	vec_push(j->im->f.own, &h->v, now->v);
	return true;
}

/* Rows of a turn have the size of those before, or the turn is one that no run can reach. */
static bool
rows_fit(const struct loop *l)
{
	int k;

	for (k = 0; k < l->nscan; k++) {
		const struct item *it = l->out[1 + l->nstate + k];
		const struct value *first = l->scan[k].v.n ? l->scan[k].v.v[0] : NULL;

		if (it->kind == ITEM_TENSOR && first &&
		    !dims_equal(it->v->rank, it->v->dims, first->rank, first->dims))
			return false;
	}
	return true;
}

/* One turn under `active`; *stop: it cannot run, so no run comes here. */
static bool
turn(struct loop *l, int64_t i, struct value *active, bool *stop)
{
	struct job *j = l->j;
	struct diag held;
	bool known = import_known(active, true), ok;
	int k;

	*stop = false;
	l->in[0] = item_tensor(j->im, import_i64(j, i));
	l->in[1] = item_tensor(j->im, import_bool(j, true));
	if (known || i == 0) {
		ok = import_inline(j, &l->b, import_turn(j, i), l->in, l->out);
	} else {
		ok = import_try(j, &l->b, import_turn(j, i), l->in, l->out, &held);
		*stop = ok ? !rows_fit(l) : held.status == STATUS_INVALID && !j->im->broken;
		diag_free(&held);
		if (!ok && !*stop) /* once more, to report it */
			ok = import_inline(j, &l->b, import_turn(j, i), l->in, l->out);
	}
	if (*stop)
		return true;
	for (k = 0; ok && k < l->nscan; k++)
		ok = push_row(j, &l->scan[k], l->out[1 + l->nstate + k],
		    onnx_str(l->b.g->output[1 + l->nstate + k]->name));
	for (k = 0; ok && k < l->nstate; k++)
		ok = carry(l, k, active);
	if (!ok)
		return false;
	vec_push(j->im->f.own, &l->active, active);
	l->trips = known ? import_i64(j, i + 1)
			 : b_add(&j->im->b, l->trips, b_cast(&j->im->b, active, DT_i64));
	return l->trips;
}

static bool
turns(struct loop *l, struct value *active)
{
	struct job *j = l->j;
	int64_t i, most = -1;
	struct value *cond;
	bool said = false, stop;

	for (i = 0; !import_known(active, false); i++) {
		if (!import_known(active, true)) {
			if (most < 0)
				most = bound(j,
				    l->limit ? greatest(j->im->g, l->limit, 0) : INT64_MAX, &said);
			if (i >= most)
				break;
		}
		if (!turn(l, i, active, &stop))
			return false;
		if (stop)
			return true;
		if (!item_is_tensor(j, l->out[0], "the condition that its body makes"))
			return false;
		cond = import_scalar(j, l->out[0]->v, DT_bool, "the condition that its body makes");
		if (!cond || !(cond = goes_on(l, cond, i + 1)))
			return false;
		active = import_both(j, active, cond);
	}
	if (said && !import_known(active, false))
		warn_bound(j, most);
	return true;
}

/* Rows of a loop that makes no turn: one is made for its types alone. */
static bool
trace(struct loop *l)
{
	struct job *j = l->j;
	int k;

	if (!l->nscan || l->active.n > 1)
		return true;
	l->in[0] = item_tensor(j->im, import_i64(j, 0));
	l->in[1] = item_tensor(j->im, import_bool(j, true));
	if (!import_inline(j, &l->b, import_turn(j, 0), l->in, l->out))
		return false;
	for (k = 0; k < l->nscan; k++)
		if (!push_row(j, &l->scan[k], l->out[1 + l->nstate + k],
			onnx_str(l->b.g->output[1 + l->nstate + k]->name)))
			return false;
	return true;
}

static bool
finish(struct loop *l)
{
	struct job *j = l->j;
	struct value *v;
	const char *what;
	int k;

	for (k = 0; k < l->nstate; k++) {
		struct history *h = &l->state[k];

		what = output_text(j, &l->b, (size_t)(1 + k));
		if (h->loose && (size_t)k < j->np->n_output && *j->np->output[k]) {
			v = import_pick(j, h->v.n, h->v.v, l->active.v, what);
			if (!v)
				return false;
			l->last[k] = item_tensor(j->im, v);
		}
		job_bind(j, (size_t)k, l->last[k]);
	}
	for (k = 0; k < l->nscan; k++) {
		size_t out = (size_t)(l->nstate + k);

		if (out >= j->np->n_output || !*j->np->output[out])
			continue;
		v = stack(
		    j, &l->scan[k], 0, false, l->active.n == 1, output_text(j, &l->b, 1 + out));
		if (v && l->trips->kind != VAL_CONST)
			v = import_first(j, v, 0, l->trips);
		if (!v)
			return false;
		job_bind(j, out, item_tensor(j->im, v));
	}
	return true;
}

static bool
loop_start(struct loop *l, struct value **active)
{
	struct job *j = l->j;
	struct arena *a = j->im->f.own;
	size_t nin, nout;
	int k;

	if (!import_body(j, "body", &l->b))
		return false;
	nin = l->b.g->n_input;
	nout = l->b.g->n_output;
	if (j->np->n_input > nin && j->np->n_input > 2)
		return diag_invalid(j->im->d, j->loc, "carries %zu values, its body takes %zu",
		    j->np->n_input - 2, nin < 2 ? 0 : nin - 2);
	if (nin < 2 || nout < nin - 1 || (nin > 2 && j->np->n_input != nin))
		return diag_invalid(j->im->d, j->loc,
		    "its body takes %zu values and makes %zu; a loop that carries %zu takes a "
		    "number "
		    "and a condition besides and makes a condition besides",
		    nin, nout, j->np->n_input < 2 ? 0 : j->np->n_input - 2);
	l->nstate = (int)nin - 2;
	l->nscan = (int)(nout - nin + 1);
	if (j->np->n_output > nout - 1)
		return diag_invalid(j->im->d, j->loc, "has %zu outputs, its body makes %zu",
		    j->np->n_output, nout - 1);
	l->in = arena_array(a, struct item *, nin);
	l->out = arena_array(a, struct item *, nout);
	l->last = arena_array(a, struct item *, nin);
	l->state = arena_array(a, struct history, nin);
	l->scan = arena_array(a, struct rows, nout);
	for (k = 0; k < l->nstate; k++) {
		if (!job_item(j, (size_t)k + 2, &l->last[k]))
			return false;
		if (!l->last[k])
			return diag_invalid(j->im->d, j->loc, "input %d is left out", k + 2);
		l->in[2 + k] = l->last[k];
		vec_push(a, &l->state[k].v, l->last[k]->v);
	}
	if (!job_operand(j, 0, &l->limit) || !job_operand(j, 1, active))
		return false;
	if (l->limit && !(l->limit = import_scalar(j, l->limit, DT_i64, "its trip count")))
		return false;
	if (*active && !(*active = import_scalar(j, *active, DT_bool, "its condition")))
		return false;
	if (!*active)
		*active = import_bool(j, true);
	vec_push(a, &l->active, NULL);
	l->trips = import_i64(j, 0);
	*active = goes_on(l, *active, 0);
	return *active;
}

bool
import_loop(struct job *j)
{
	struct loop l = {.j = j};
	struct value *active;

	return loop_start(&l, &active) && turns(&l, active) && trace(&l) && finish(&l);
}

/* ---- Scan */
struct scan {
	struct job *j;
	struct body b;
	int nstate, nin, nout; /* carried; scanned inputs and outputs */
	bool batched;	       /* version 8: axis 0 is the batch, axis 1 is scanned */
	int64_t length;	       /* turns made */
	int64_t size;	       /* of the scanned axes: a dim, at most length */
	struct value **x;      /* scanned */
	int *axis;
	int64_t *reversed, *out_axis, *out_reversed;
	struct item **in, **out;
	struct rows *rows;
};

/* The numbers of an attribute with n elements, zeros where it is left out. */
static bool
int_list(struct job *j, const char *name, int n, int64_t **v)
{
	const Onnx__AttributeProto *a = job_attr(j, name);

	*v = arena_array(j->im->f.own, int64_t, n + 1);
	if (!a)
		return true;
	if (a->n_ints != (size_t)n)
		return diag_invalid(j->im->d, j->loc, "attribute \"%s\" has %zu elements, not %d",
		    name, a->n_ints, n);
	if (n)
		memcpy(*v, a->ints, (size_t)n * sizeof **v);
	return true;
}

static bool
directions(struct job *j, const char *name, int n, int64_t **v)
{
	int i;

	if (!int_list(j, name, n, v))
		return false;
	for (i = 0; i < n; i++)
		if ((*v)[i] != 0 && (*v)[i] != 1)
			return diag_invalid(j->im->d, j->loc,
			    "attribute \"%s\" holds %" PRId64 ", not 0 or 1", name, (*v)[i]);
	return true;
}

static bool
scan_start(struct scan *s, size_t first)
{
	struct job *j = s->j;
	struct arena *a = j->im->f.own;
	size_t n = j->np->n_input - first;
	int64_t m = job_attr_int(j, "num_scan_inputs", 0), *axes;
	bool said = false;
	int k;

	if (m < 1 || (uint64_t)m > n)
		return diag_invalid(j->im->d, j->loc,
		    "attribute \"num_scan_inputs\" is %" PRId64 " of %zu inputs", m, n);
	s->nin = (int)m;
	s->nstate = (int)(n - (size_t)m);
	if (!import_body(j, "body", &s->b))
		return false;
	if (s->b.g->n_input != n || s->b.g->n_output < (size_t)s->nstate ||
	    s->b.g->n_output < j->np->n_output)
		return diag_invalid(j->im->d, j->loc,
		    "its body takes %zu values and makes %zu, the node has %zu and %zu",
		    s->b.g->n_input, s->b.g->n_output, n, j->np->n_output);
	s->nout = (int)s->b.g->n_output - s->nstate;
	if (!int_list(j, "scan_input_axes", s->nin, &axes) ||
	    !directions(
		j, s->batched ? "directions" : "scan_input_directions", s->nin, &s->reversed) ||
	    !int_list(j, "scan_output_axes", s->nout, &s->out_axis) ||
	    !directions(j, "scan_output_directions", s->nout, &s->out_reversed))
		return false;
	s->x = arena_array(a, struct value *, s->nin);
	s->axis = arena_array(a, int, s->nin);
	s->in = arena_array(a, struct item *, n);
	s->out = arena_array(a, struct item *, s->b.g->n_output + 1);
	s->rows = arena_array(a, struct rows, s->nout + 1);
	for (k = 0; k < s->nin; k++) {
		if (!job_operand(j, first + (size_t)(s->nstate + k), &s->x[k]))
			return false;
		if (!s->x[k])
			return diag_invalid(j->im->d, j->loc, "scanned input %d is left out", k);
		s->axis[k] = import_axis(j, s->batched ? 1 : axes[k], s->x[k]->rank);
		if (s->axis[k] < 0)
			return false;
		if (k && s->x[k]->dims[s->axis[k]] != s->size)
			return diag_invalid(j->im->d, j->loc,
			    "scans %s rows of input 0 and %s of input %d",
			    dim_text(j->im->g, s->size),
			    dim_text(j->im->g, s->x[k]->dims[s->axis[k]]), k);
		s->size = s->x[k]->dims[s->axis[k]];
	}
	s->length = dim_const(s->size) ? s->size : bound(j, dim_hi(j->im->g, s->size), &said);
	if (said)
		warn_bound(j, s->length);
	return true;
}

/* x[at] along axis; of an axis without elements, zeros of that type */
static struct value *
row_of(struct job *j, struct value *x, int axis, int64_t at, bool reversed)
{
	struct build *b = &j->im->b;
	int64_t dims[MAX_RANK];
	struct value *last;
	int i, rank = 0;

	if (x && !dim_const(x->dims[axis])) { /* past the end: some row */
		last = b_sub(b, b_dim(b, x->dims[axis]), import_i64(j, 1));
		last = reversed ? b_max(b, b_sub(b, last, import_i64(j, at)), import_i64(j, 0))
				: b_min(b, import_i64(j, at), last);
		return b_gather(b, x, last, axis);
	}
	if (x && reversed)
		at = x->dims[axis] - 1 - at;
	if (!x || x->dims[axis] > 0)
		return x ? import_squeeze(j, import_part(j, x, axis, at, 1), axis) : NULL;
	for (i = 0; i < x->rank; i++)
		if (i != axis)
			dims[rank++] = x->dims[i];
	return b_expand(&j->im->b, b_scalar(&j->im->b, x->dtype, 0), rank, dims);
}

/* All turns over x; s->in begins with the carried values and ends with the last
 * ones.  count: how many of the turns there are, a value of the run; NULL: all. */
static bool
scan_turns(
    struct scan *s, struct value *const *x, const int *axis, struct value *count, int64_t base)
{
	struct job *j = s->j;
	struct value *active = import_bool(j, true), *v;
	int64_t t, n = s->length ? s->length : 1; /* none: one for the types */
	int k;

	for (k = 0; k < s->nout; k++)
		s->rows[k].v.n = 0;
	for (t = 0; t < n; t++) {
		for (k = 0; k < s->nin; k++) {
			v = row_of(j, x[k], axis[k], t, s->reversed[k]);
			if (!v)
				return false;
			s->in[s->nstate + k] = item_tensor(j->im, v);
		}
		if (!import_inline(j, &s->b, import_turn(j, base + t), s->in, s->out))
			return false;
		if (count)
			active = b2(&j->im->b, OP_lt, import_i64(j, t), count);
		for (k = 0; s->length && k < s->nstate; k++) {
			s->in[k] = item_select(
			    j, active, s->out[k], s->in[k], output_text(j, &s->b, (size_t)k));
			if (!s->in[k])
				return false;
		}
		for (k = 0; k < s->nout; k++) {
			struct item *it = s->out[s->nstate + k];

			if (!item_is_tensor(j, it, "a scan output"))
				return false;
			v = !count ? it->v
				   : import_select(j, active, it->v, b_zeros_like(&j->im->b, it->v),
					 "a scan output");
			if (!v)
				return false;
			vec_push(j->im->f.own, &s->rows[k].v, v);
		}
	}
	return true;
}

/* Scan output k.  Of a run-time number of rows it is the first ones, in reverse the last. */
static struct value *
scanned(struct scan *s, int k)
{
	struct job *j = s->j;
	struct build *b = &j->im->b;
	struct value *v =
	    stack(j, &s->rows[k], s->out_axis[k], s->out_reversed[k] && dim_const(s->size),
		!s->length, output_text(j, &s->b, (size_t)(s->nstate + k)));
	int axis;

	if (!v || dim_const(s->size))
		return v;
	axis = import_axis(j, s->out_axis[k], v->rank);
	if (!s->out_reversed[k])
		return import_prefix(j, v, axis, s->size);
	return b_gather(b, v,
	    b_sub(b, b_sub(b, b_dim(b, s->size), import_i64(j, 1)),
		b_iota(b, DT_i64, 1, &s->size, 0)),
	    axis);
}

static bool
scan_plain(struct scan *s)
{
	struct job *j = s->j;
	struct value *v;
	int k;

	for (k = 0; k < s->nstate; k++) {
		if (!job_item(j, (size_t)k, &s->in[k]))
			return false;
		if (!s->in[k])
			return diag_invalid(j->im->d, j->loc, "input %d is left out", k);
	}
	if (!scan_turns(s, s->x, s->axis, dim_const(s->size) ? NULL : b_dim(&j->im->b, s->size), 0))
		return false;
	for (k = 0; k < s->nstate; k++)
		job_bind(j, (size_t)k, s->in[k]);
	for (k = 0; k < s->nout; k++) {
		v = scanned(s, k);
		if (!v)
			return false;
		job_bind(j, (size_t)(s->nstate + k), item_tensor(j->im, v));
	}
	return true;
}

/* Version 8: every item of the batch by itself, the results stacked; past the length
 * that input 0 gives for it, carried values stay and scan outputs are zero. */
static bool
scan_batched(struct scan *s)
{
	struct job *j = s->j;
	struct arena *a = j->im->f.own;
	struct rows *done = arena_array(a, struct rows, s->nstate + s->nout + 1);
	struct value **state = arena_array(a, struct value *, s->nstate + 1), *lens, *len, *v;
	struct value **x = arena_array(a, struct value *, s->nin);
	int *axis = arena_array(a, int, s->nin);
	int64_t batch = s->x[0]->dims[0], i;
	int k;

	if (!job_operand(j, 0, &lens))
		return false;
	if (!dim_const(batch) || !dim_const(s->size))
		return diag_unsupported(
		    j->im->d, j->loc, "its batch or length is not known at compile time");
	if (lens && (lens->rank != 1 || lens->dims[0] != batch || lens->dtype != DT_i64))
		return diag_invalid(j->im->d, j->loc, "its lengths are %s, not i64[%" PRId64 "]",
		    value_type_text(j->im->g, lens), batch);
	for (k = 0; k < s->nstate; k++) {
		if (!job_operand(j, (size_t)k + 1, &state[k]))
			return false;
		if (!state[k] || state[k]->rank < 1 || state[k]->dims[0] != batch)
			return diag_invalid(j->im->d, j->loc,
			    "carried input %d has not a batch of %" PRId64, k, batch);
	}
	for (k = 0; k < s->nin; k++)
		if (s->x[k]->dims[0] != batch)
			return diag_invalid(j->im->d, j->loc,
			    "scanned input %d has not a batch of %" PRId64, k, batch);
	if (batch == 0)
		return diag_unsupported(j->im->d, j->loc, "its batch is empty");
	for (i = 0; i < batch; i++) {
		for (k = 0; k < s->nstate; k++) {
			v = row_of(j, state[k], 0, i, false);
			if (!v)
				return false;
			s->in[k] = item_tensor(j->im, v);
		}
		for (k = 0; k < s->nin; k++)
			x[k] = row_of(j, s->x[k], 0, i, false);
		len = lens ? row_of(j, lens, 0, i, false) : NULL;
		if ((lens && !len) || !scan_turns(s, x, axis, len, i * s->length))
			return false;
		for (k = 0; k < s->nstate + s->nout; k++) {
			if (k < s->nstate && !item_is_tensor(j, s->in[k], "a carried value"))
				return false;
			v = k < s->nstate ? s->in[k]->v
					  : stack(j, &s->rows[k - s->nstate], 0, false, !s->length,
						output_text(j, &s->b, (size_t)k));
			if (!v)
				return false;
			vec_push(a, &done[k].v, v);
		}
	}
	for (k = 0; k < s->nstate + s->nout; k++) {
		v = stack(j, &done[k], 0, false, false, output_text(j, &s->b, (size_t)k));
		if (!v)
			return false;
		job_bind(j, (size_t)k, item_tensor(j->im, v));
	}
	return true;
}

bool
import_scan(struct job *j)
{
	struct scan s = {.j = j};

	s.batched = onnx_opset(j->im->f.m, j->s->fn, "") < 9;
	if (j->np->n_input < 1)
		return diag_invalid(j->im->d, j->loc, "has no inputs");
	return scan_start(&s, s.batched) && (s.batched ? scan_batched(&s) : scan_plain(&s));
}
