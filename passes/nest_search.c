/* nest_search -- nests whose steps depend on one another: running sums, merge sort,
 * the suppression of overlapping boxes.  Pieces are the rows beside the axis.
 *
 * Accumulators serve as variables: a position is a sum of steps. */
#include "passes/nest.h"

#include <string.h>

static struct affine
at_reg(int reg)
{
	struct affine a = AFFINE(0);

	a.reg = reg;
	a.regcoef = 1;
	return a;
}

static int
load_at(struct emit *e, struct buffer *b, struct affine at)
{
	int buf = emit_buf(e, b, false);
	struct stmt *s = stmt_new(e->lo->a, e->body, S_LOAD);

	s->buf = buf;
	s->type = b->dtype;
	s->index = at;
	return s->dst = kernel_reg(e->lo->a, e->k, b->dtype);
}

static void
store_at(struct emit *e, struct buffer *b, struct affine at, int reg)
{
	int buf = emit_buf(e, b, true);
	struct stmt *s = stmt_new(e->lo->a, e->body, S_STORE);

	s->buf = buf;
	s->type = b->dtype;
	s->index = at;
	s->src[0] = reg;
}

/* v at idx, which is known to lie within its dims; operands come in plain layout. */
static int
element(struct emit *e, struct value *v, const struct index *idx)
{
	return load_at(e, lower_buffer(e->lo, v), emit_address(e, v, idx));
}

static int
op2(struct emit *e, enum op op, enum dtype t, int a, int b)
{
	return emit_op(e, op, t, a, b, -1);
}

/* Loops over axes from.. to-1 of v as pieces; idx gets their indices. */
static void
pieces(struct emit *e, const struct value *v, int from, int to, struct index *idx)
{
	for (int d = from; d < to; d++) {
		int var;

		idx[d] = index_of(AFFINE(0));
		if (v->dims[d] == 1)
			continue;
		emit_for(e, FOR_PARALLEL, v->dims[d], &var);
		affine_add(&idx[d].whole, var, 1);
	}
}

/* ---- running_sum: lanes along the last axis where that is another */
bool
lower_running_sum(struct lower *lo, struct cluster *c)
{
	struct value *x = c->anchor->in[0], *y = c->anchor->out[0];
	int axis = (int)attr_int(c->anchor, "axis"), last = y->rank - 1, sum, var;
	struct index idx[MAX_RANK];
	struct emit *e;

	axis = axis < 0 ? axis + y->rank : axis;
	if (dims_count(y->rank, y->dims) == 0)
		return true;
	e = emit_begin(lo, c, "running_sum");
	pieces(e, y, 0, axis, idx);
	if (last > axis) {
		pieces(e, y, axis + 1, last, idx);
		idx[last] = index_of(AFFINE(0));
		emit_for(e, FOR_VECTOR, y->dims[last], &var);
		affine_add(&idx[last].whole, var, 1);
	}
	sum = emit_acc(e, OP_add, y->dtype);
	idx[axis] = index_of(AFFINE(0));
	emit_for(e, FOR_SERIAL, y->dims[axis], &var);
	affine_add(&idx[axis].whole, var, 1);
	emit_reduce(e, OP_add, y->dtype, sum, emit_value(e, x, idx));
	emit_store(e, y, idx, sum);
	emit_end(e);
	return true;
}

/* ---- sort: runs of twice the length at each sweep, from one array of numbers into
 * another, the last into the result.  Of the element at the head of the second run and
 * of the first, the second goes first only if it must.  A run keeps no more elements
 * than the result has. */
struct sort {
	struct emit *e;
	struct value *x;
	struct index idx[MAX_RANK];
	struct affine row, out; /* where the row begins: of the arrays of numbers, of the result */
	struct buffer *y;
	int64_t first;          /* elements of the result */
	bool descending;
};

static int
less(struct emit *e, enum dtype t, int a, int b)
{
	int lt = op2(e, OP_lt, t, a, b);

	if (!dtype_is_float(t))
		return lt;
	return op2(e, OP_or, DT_bool, lt,
	    op2(e, OP_and, DT_bool, emit_op(e, OP_isnan, t, b, -1, -1),
		emit_op(e, OP_not, DT_bool, emit_op(e, OP_isnan, t, a, -1, -1), -1, -1)));
}

/* Whether the key of number b stands before that of number a. */
static int
must_precede(struct sort *s, int b, int a)
{
	struct emit *e = s->e;
	struct value *x = s->x;
	struct body *back = e->body;
	struct index ib[MAX_RANK], ia[MAX_RANK];
	int64_t m = x->dims[x->rank - 1];
	int kb, ka, lt, eq, var;

	memcpy(ib, s->idx, sizeof ib);
	memcpy(ia, s->idx, sizeof ia);
	ib[x->rank - 2] = index_of(at_reg(s->descending ? a : b));
	ia[x->rank - 2] = index_of(at_reg(s->descending ? b : a));
	ib[x->rank - 1] = ia[x->rank - 1] = index_of(AFFINE(0));
	if (m == 1) {
		kb = element(e, x, ib);
		ka = element(e, x, ia);
		return less(e, x->dtype, kb, ka);
	}
	lt = emit_acc(e, OP_or, DT_bool);
	eq = emit_acc(e, OP_and, DT_bool);
	emit_for(e, FOR_SERIAL, m, &var);
	affine_add(&ib[x->rank - 1].whole, var, 1);
	affine_add(&ia[x->rank - 1].whole, var, 1);
	kb = element(e, x, ib);
	ka = element(e, x, ia);
	{
		int below = less(e, x->dtype, kb, ka), above = less(e, x->dtype, ka, kb);

		emit_reduce(e, OP_or, DT_bool, lt, op2(e, OP_and, DT_bool, eq, below));
		emit_reduce(e, OP_and, DT_bool, eq,
		    emit_op(e, OP_not, DT_bool, op2(e, OP_or, DT_bool, below, above), -1, -1));
	}
	e->body = back;
	return lt;
}

static struct affine
plus(struct emit *e, const struct affine *a, const struct affine *b)
{
	struct affine r = *a;

	affine_plus(e, &r, b, 1);
	return r;
}

/* The runs of w and lb elements at `lo` of src merge into dst; lb may be 0. */
static void
merge(struct sort *s, struct buffer *src, struct buffer *dst, const struct affine *lo, int64_t w, int64_t la, int64_t lb)
{
	struct emit *e = s->e;
	struct body *back = e->body;
	struct affine from = plus(e, &s->row, lo), to = plus(e, dst == s->y ? &s->out : &s->row, lo), at;
	int64_t count;
	int ia, ib, a, b, second, var;

	la = la < s->first ? la : s->first;
	lb = lb < s->first ? lb : s->first;
	count = la + lb < s->first ? la + lb : s->first;
	if (lb == 0) {
		emit_for(e, FOR_SERIAL, la, &var);
		affine_add(&from, var, 1);
		affine_add(&to, var, 1);
		store_at(e, dst, to, load_at(e, src, from));
		e->body = back;
		return;
	}
	ia = emit_acc(e, OP_add, DT_i64);
	ib = emit_acc(e, OP_add, DT_i64);
	emit_for(e, FOR_SERIAL, count, &var);
	at = at_reg(op2(e, OP_min, DT_i64, ia, emit_const_i(e, DT_i64, la - 1)));
	a = load_at(e, src, plus(e, &from, &at));
	at = at_reg(op2(e, OP_min, DT_i64, ib, emit_const_i(e, DT_i64, lb - 1)));
	at.c += w;
	b = load_at(e, src, plus(e, &from, &at));
	second = op2(e, OP_or, DT_bool, must_precede(s, b, a), op2(e, OP_le, DT_i64, emit_const_i(e, DT_i64, la), ia));
	second = op2(e, OP_and, DT_bool, second, op2(e, OP_lt, DT_i64, ib, emit_const_i(e, DT_i64, lb)));
	affine_add(&to, var, 1);
	store_at(e, dst, to, emit_op(e, OP_select, DT_i64, second, b, a));
	second = emit_op(e, OP_cast, DT_i64, second, -1, -1);
	emit_reduce(e, OP_add, DT_i64, ib, second);
	emit_reduce(e, OP_add, DT_i64, ia, op2(e, OP_sub, DT_i64, emit_const_i(e, DT_i64, 1), second));
	e->body = back;
}

/* The row's beginning in arrays of n elements a row. */
static struct affine
row_of(struct sort *s, const struct value *y, int64_t n)
{
	struct affine at = AFFINE(0);

	for (int d = y->rank - 2; d >= 0; n *= y->dims[d--])
		affine_plus(s->e, &at, &s->idx[d].whole, n);
	return at;
}

bool
lower_sort(struct lower *lo, struct cluster *c)
{
	struct value *x = c->anchor->in[0], *y = c->anchor->out[0];
	struct sort s = {.x = x, .descending = attr_int(c->anchor, "descending"), .first = y->dims[y->rank - 1]};
	int64_t n = x->dims[x->rank - 2], rows = dims_count(y->rank - 1, y->dims);
	struct buffer *from, *to, *swap;
	struct affine at = AFFINE(0), place;
	struct body *back;
	int var;

	if (rows == 0 || s.first == 0)
		return true;
	s.y = lower_buffer(lo, y);
	from = n > 1 ? lower_scratch(lo, DT_i64, rows * n) : s.y;
	to = n > 2 ? lower_scratch(lo, DT_i64, rows * n) : s.y;
	s.e = emit_begin(lo, c, "sort");
	pieces(s.e, y, 0, y->rank - 1, s.idx);
	s.row = row_of(&s, y, n);
	s.out = row_of(&s, y, s.first);
	back = s.e->body;
	emit_for(s.e, FOR_SERIAL, n, &var);
	affine_add(&at, var, 1);
	place = plus(s.e, &s.row, &at);
	store_at(s.e, from, place, emit_index(s.e, at));
	s.e->body = back;
	for (int64_t w = 1; w < n; w *= 2) {
		int64_t whole = n / (2 * w), rest = n % (2 * w);

		if (2 * w >= n)
			to = s.y;
		at = AFFINE(0);
		if (whole > 1) {
			emit_for(s.e, FOR_SERIAL, whole, &var);
			affine_add(&at, var, 2 * w);
		}
		if (whole)
			merge(&s, from, to, &at, w, w, w);
		s.e->body = back;
		at = AFFINE(whole * 2 * w);
		if (rest)
			merge(&s, from, to, &at, w, rest < w ? rest : w, rest > w ? rest - w : 0);
		swap = from;
		from = to;
		to = swap;
	}
	emit_end(s.e);
	return true;
}

/* ---- nms: the scores left are kept in scratch memory.  Each turn finds the greatest,
 * then the first place that has it, then takes away what overlaps; a turn that finds
 * none is the last.  Everything runs over whole vectors. */
struct nms {
	struct emit *e;
	struct buffer *box, *left, *out;
	struct affine boxes, scores, picks; /* where the row begins */
	int64_t n, most;
	int overlap;
};

static struct affine
step(struct affine base, int var, int64_t c)
{
	if (var >= 0)
		affine_add(&base, var, 1);
	base.c += c;
	return base;
}

/* Row k of the boxes at the loop variable, or at register `at`. */
static int
box_at(struct nms *s, int k, int var, int at)
{
	struct affine a = step(s->boxes, var, k * s->n);

	if (at >= 0) {
		struct affine r = at_reg(at);

		affine_plus(s->e, &a, &r, 1);
	}
	return load_at(s->e, s->box, a);
}

/* Scores of what box `at` covers, and its own, become -inf. */
static void
take_away(struct nms *s, int at)
{
	struct emit *e = s->e;
	int one[5], it[5], h, w, both, over, var, zero = emit_const(e, DT_f32, 0);
	struct affine here = AFFINE(0);
	struct body *back = e->body;

	for (int k = 0; k < 5; k++)
		one[k] = box_at(s, k, -1, at);
	emit_for(e, FOR_VECTOR, s->n, &var);
	for (int k = 0; k < 5; k++)
		it[k] = box_at(s, k, var, -1);
	h = op2(e, OP_sub, DT_f32, op2(e, OP_min, DT_f32, one[2], it[2]), op2(e, OP_max, DT_f32, one[0], it[0]));
	w = op2(e, OP_sub, DT_f32, op2(e, OP_min, DT_f32, one[3], it[3]), op2(e, OP_max, DT_f32, one[1], it[1]));
	both = op2(e, OP_mul, DT_f32, h, w);
	over = op2(e, OP_div, DT_f32, both, op2(e, OP_sub, DT_f32, op2(e, OP_add, DT_f32, one[4], it[4]), both));
	over = op2(e, OP_lt, DT_f32, s->overlap, over);
	over = op2(e, OP_and, DT_bool, over, op2(e, OP_lt, DT_f32, zero, h));
	over = op2(e, OP_and, DT_bool, over, op2(e, OP_lt, DT_f32, zero, w));
	over = op2(e, OP_and, DT_bool, over, op2(e, OP_lt, DT_f32, zero, one[4]));
	over = op2(e, OP_and, DT_bool, over, op2(e, OP_lt, DT_f32, zero, it[4]));
	affine_add(&here, var, 1);
	over = op2(e, OP_or, DT_bool, over, op2(e, OP_eq, DT_i64, emit_index(e, here), at));
	store_at(e, s->left, step(s->scores, var, 0),
	    emit_op(e, OP_select, DT_f32, over, emit_const(e, DT_f32, -__builtin_inf()),
		load_at(e, s->left, step(s->scores, var, 0))));
	e->body = back;
}

static void
one_turn(struct nms *s, int limit)
{
	struct emit *e = s->e;
	struct body *back, *outer = e->body;
	struct affine turn = AFFINE(0), here = AFFINE(0);
	int var, t, best, at, reg, found;
	struct stmt *loop = emit_for(e, FOR_SERIAL, s->most, &t);

	back = e->body;
	best = emit_acc(e, OP_max, DT_f32);
	emit_for(e, FOR_VECTOR, s->n, &var);
	emit_reduce(e, OP_max, DT_f32, best, load_at(e, s->left, step(s->scores, var, 0)));
	e->body = back;
	at = emit_acc(e, OP_min, DT_i64);
	emit_for(e, FOR_VECTOR, s->n, &var);
	affine_add(&here, var, 1);
	reg = op2(e, OP_eq, DT_f32, load_at(e, s->left, step(s->scores, var, 0)), best);
	emit_reduce(e, OP_min, DT_i64, at,
	    emit_op(e, OP_select, DT_i64, reg, emit_index(e, here), emit_const_i(e, DT_i64, s->n - 1)));
	e->body = back;
	affine_add(&turn, t, 1);
	found = op2(e, OP_lt, DT_f32, emit_const(e, DT_f32, -__builtin_inf()), best);
	found = op2(e, OP_and, DT_bool, found, op2(e, OP_lt, DT_i64, emit_index(e, turn), limit));
	reg = emit_op(e, OP_select, DT_i64, found, at, emit_const_i(e, DT_i64, -1));
	store_at(e, s->out, step(s->picks, t, 0), reg);
	loop->stop = emit_op(e, OP_not, DT_bool, found, -1, -1);
	take_away(s, at);
	e->body = outer;
}

bool
lower_nms(struct lower *lo, struct cluster *c)
{
	struct node *n = c->anchor;
	struct value *scores = n->in[1], *y = n->out[0];
	int64_t classes = scores->dims[1];
	struct nms s = {.n = scores->dims[2], .most = y->dims[2]};
	struct index idx[3];
	struct body *back;
	int limit, var;

	if (dims_count(3, y->dims) == 0)
		return true;
	s.e = emit_begin(lo, c, "nms");
	pieces(s.e, scores, 0, 2, idx);
	s.box = lower_buffer(lo, n->in[0]);
	s.left = lower_scratch(lo, DT_f32, dims_count(3, scores->dims));
	s.out = lower_buffer(lo, y);
	s.boxes = affine_scaled(&idx[0].whole, 5 * s.n);
	s.scores = affine_scaled(&idx[0].whole, classes * s.n);
	affine_plus(s.e, &s.scores, &idx[1].whole, s.n);
	s.picks = affine_scaled(&idx[0].whole, classes * s.most);
	affine_plus(s.e, &s.picks, &idx[1].whole, s.most);
	limit = load_at(s.e, lower_buffer(lo, n->in[2]), AFFINE(0));
	s.overlap = load_at(s.e, lower_buffer(lo, n->in[3]), AFFINE(0));
	back = s.e->body;
	emit_for(s.e, FOR_VECTOR, s.most, &var);
	store_at(s.e, s.out, step(s.picks, var, 0), emit_const_i(s.e, DT_i64, -1));
	s.e->body = back;
	if (s.n) {
		emit_for(s.e, FOR_VECTOR, s.n, &var);
		idx[2] = index_of(AFFINE(0));
		affine_add(&idx[2].whole, var, 1);
		store_at(s.e, s.left, step(s.scores, var, 0), element(s.e, scores, idx));
		s.e->body = back;
		one_turn(&s, limit);
	}
	emit_end(s.e);
	return true;
}
