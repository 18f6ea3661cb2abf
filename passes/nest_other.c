/* nest_other -- nodes with a lowering of their own: concatenation, the index of
 * an extreme, scatter, random numbers. */
#include "passes/nest.h"

#include <string.h>

static int
axis_of(const struct node *n, int rank)
{
	int64_t a = attr_int(n, "axis");

	return (int)(a < 0 ? a + rank : a);
}

/* ---- rng: ir/ops/shape.c has the definition.  Words are kept in u64 registers. */
static int
u64_const(struct emit *e, uint64_t x)
{
	return emit_const_i(e, DT_u64, (int64_t)x);
}

static int
u64_op(struct emit *e, enum op op, int a, int b)
{
	return emit_op(e, op, DT_u64, a, b, -1);
}

int
emit_rng(struct emit *e, const struct node *n, const struct index *idx)
{
	const struct value *y = n->out[0];
	struct affine flat = AFFINE(0);
	int word = u64_const(e, UINT32_MAX), half = u64_const(e, 32);
	int m0 = u64_const(e, 0xD2511F53), m1 = u64_const(e, 0xCD9E8D57);
	int w0 = u64_const(e, 0x9E3779B9), w1 = u64_const(e, 0xBB67AE85);
	int seed = emit_op(e, OP_cast, DT_u64, emit_value(e, n->in[0], idx), -1, -1);
	int step = emit_op(e, OP_cast, DT_u64, emit_value(e, n->in[1], idx), -1, -1);
	int c[4], k0 = u64_op(e, OP_band, seed, word), k1 = u64_op(e, OP_shr, seed, half);

	for (int64_t d = y->rank - 1, s = 1; d >= 0; s *= y->dims[d], d--)
		affine_plus(e, &flat, &idx[d].whole, s);
	c[0] = u64_op(e, OP_band, emit_op(e, OP_cast, DT_u64, emit_index(e, flat), -1, -1), word);
	c[1] = u64_const(e, (uint32_t)attr_int(n, "stream"));
	c[2] = u64_op(e, OP_band, step, word);
	c[3] = u64_op(e, OP_shr, step, half);
	for (int r = 0; r < 10; r++) {
		int p0 = u64_op(e, OP_mul, m0, c[0]), p1 = u64_op(e, OP_mul, m1, c[2]);
		int n0 =
		    u64_op(e, OP_bxor, u64_op(e, OP_bxor, u64_op(e, OP_shr, p1, half), c[1]), k0);
		int n2 =
		    u64_op(e, OP_bxor, u64_op(e, OP_bxor, u64_op(e, OP_shr, p0, half), c[3]), k1);

		c[1] = u64_op(e, OP_band, p1, word);
		c[3] = u64_op(e, OP_band, p0, word);
		c[0] = n0;
		c[2] = n2;
		k0 = u64_op(e, OP_band, u64_op(e, OP_add, k0, w0), word);
		k1 = u64_op(e, OP_band, u64_op(e, OP_add, k1, w1), word);
	}
	return emit_op(e, OP_mul, DT_f32,
	    emit_op(e, OP_cast, DT_f32, u64_op(e, OP_shr, c[0], u64_const(e, 8)), -1, -1),
	    emit_const(e, DT_f32, 0x1p-24), -1);
}

/* ---- concat: a nest per operand, its results placed side by side */
static void
place_operand(struct lower *lo, struct cluster *c, struct value *x, int axis, int64_t at)
{
	struct value *y = c->anchor->out[0];
	struct emit *e = emit_begin(lo, c, "concat");
	struct nest_order o;
	struct index idx[MAX_RANK], to[MAX_RANK];
	int var[MAX_DIGITS];
	int64_t min, max;

	memset(var, -1, sizeof var);
	nest_order_of(x, NULL, &o);
	nest_loops(e, &o, ~0u, var);
	nest_index(&o, var, x->rank, idx);
	memcpy(to, idx, sizeof to);
	if (at) {
		struct index *ix = &to[axis];

		ix->whole.c += at;
		if (ix->block && at % ix->block == 0)
			ix->outer.c += at / ix->block;
		else
			ix->block = 0;
	}
	if (emit_range(e, &idx[axis].whole, &min, &max) && max >= x->dims[axis])
		emit_guard(e, idx[axis].whole, 0, x->dims[axis]);
	emit_store(e, y, to, emit_value(e, x, idx));
	shape_collapse(e, &e->k->body);
	shape_outer(e, o.n > 0, 1);
	emit_end(e);
}

/* Lanes past a blocked axis, which no operand writes. */
static bool
spare_lanes(const struct value *y)
{
	for (int d = 0; y->layout && d < y->rank; d++) {
		int64_t room = 1;
		int digits = 0;

		for (int p = 0; p < y->layout->n; p++)
			if (y->layout->phys[p].dim == d) {
				room *= y->layout->phys[p].extent;
				digits++;
			}
		if (digits > 1 && room != y->dims[d])
			return true;
	}
	return false;
}

/* Bytes into y at which operand x, `at` along the axis, lies in one piece and as
 * x's own layout says; -1 if it does not. */
static int64_t
piece_of(const struct value *x, const struct value *y, int axis, int64_t at)
{
	struct layout plain = {0};
	const struct layout *lx = x->layout, *ly = y->layout;
	int64_t stride[MAX_PHYS], before = 1;
	int first = -1;

	if (!lx != !ly || x->dtype != y->dtype || dtype_info[x->dtype].bits % 8)
		return -1;
	if (!ly) {
		int64_t inner = dims_count(y->rank - axis - 1, y->dims + axis + 1);

		return dims_count(axis, y->dims) == 1 ? (int64_t)dtype_bytes(x->dtype, at * inner)
						      : -1;
	}
	if (lx->n != ly->n || memcmp(lx->lo, ly->lo, sizeof plain.lo) ||
	    memcmp(lx->hi, ly->hi, sizeof plain.hi) || ly->lo[axis] || ly->hi[axis])
		return -1;
	layout_strides(ly, stride);
	for (int p = 0; p < ly->n; p++) {
		const struct phys *a = &lx->phys[p], *b = &ly->phys[p];

		if (a->dim != b->dim || a->step != b->step)
			return -1;
		if (b->dim == axis && first < 0) {
			first = p; /* the outermost digit: the only one whose extents may differ */
			continue;
		}
		if (a->extent != b->extent)
			return -1;
		if (first < 0)
			before *= b->extent;
	}
	if (before != 1 || first < 0 || at % ly->phys[first].step ||
	    x->dims[axis] % ly->phys[first].step || y->dims[axis] % ly->phys[first].step)
		return -1;
	return (int64_t)dtype_bytes(x->dtype, at / ly->phys[first].step * stride[first]);
}

/* Operands that a kernel makes are made in their place within the result. */
void
nest_share_concat(struct lower *lo, struct cluster *c)
{
	struct node *n = c->anchor;
	struct value *y = n->out[0];
	int axis = axis_of(n, y->rank);
	int64_t at = 0;

	if (spare_lanes(y))
		return;
	for (int k = 0; k < n->nin; at += n->in[k++]->dims[axis]) {
		struct value *x = n->in[k];
		int64_t place;

		if (x->kind != VAL_NODE || lo->alias[x->id] || lo->buf[x->id] ||
		    !lo->cluster_of[x->def->id] || lo->cluster_of[x->def->id] == c)
			continue;
		place = piece_of(x, y, axis, at);
		if (place < 0 || place % 64 || lower_buffer(lo, y)->space != SPACE_WORK)
			continue;
		lower_part(lo, x, lower_buffer(lo, y), place);
	}
}

static bool
in_place(struct lower *lo, struct value *x, const struct value *y, int axis, int64_t at)
{
	const struct buffer *b = lo->buf[x->id];

	return b && b->alias && b->alias == lo->buf[y->id] && b->at == piece_of(x, y, axis, at);
}

static bool
lower_concat(struct lower *lo, struct cluster *c)
{
	struct node *n = c->anchor;
	struct value *y = n->out[0];
	int axis = axis_of(n, y->rank);
	int64_t at = 0;

	for (int k = 0; k < n->nin; k++) {
		if (dims_count(n->in[k]->rank, n->in[k]->dims) &&
		    !in_place(lo, n->in[k], y, axis, at))
			place_operand(lo, c, n->in[k], axis, at);
		at += n->in[k]->dims[axis];
	}
	return true;
}

/* ---- argmax, argmin: the extreme, then the least (or greatest) index that has it */
static int
over_axis(struct emit *e, const struct nest_order *o, int axis, int *var, const struct value *x,
    struct index *idx)
{
	nest_loops(e, o, 1u << axis, var);
	nest_index(o, var, x->rank, idx);
	return 0;
}

static int
in_dim(struct emit *e, const struct value *x, const struct index *ix, int axis, enum dtype t,
    int reg, int other)
{
	int64_t min, max;

	if (!emit_range(e, &ix[axis].whole, &min, &max) || max < x->dims[axis])
		return reg;
	return emit_op(
	    e, OP_select, t, emit_within(e, ix[axis].whole, 0, x->dims[axis]), reg, other);
}

static bool
lower_argreduce(struct lower *lo, struct cluster *c)
{
	struct node *n = c->anchor;
	struct value *x = n->in[0], *y = n->out[0];
	int axis = axis_of(n, x->rank), var[MAX_DIGITS], best, at, reg, d = 0;
	bool last = attr_int(n, "last"), keep = attr_int(n, "keep"), within;
	enum op op = n->op == OP_argmax ? OP_max : OP_min, pick = last ? OP_max : OP_min;
	struct emit *e = emit_begin(lo, c, op_info[n->op].id);
	struct index idx[MAX_RANK], to[MAX_RANK];
	struct nest_order o;
	struct body *inside;
	int64_t work = x->dims[axis];

	memset(var, -1, sizeof var);
	nest_order_of(x, NULL, &o);
	within = o.n && o.d[o.n - 1].axis != axis;
	nest_loops(e, &o, ~(1u << axis), var);
	inside = e->body;
	best = emit_acc(e, op, x->dtype);
	over_axis(e, &o, axis, var, x, idx);
	emit_reduce(e, op, x->dtype, best,
	    in_dim(
		e, x, idx, axis, x->dtype, emit_value(e, x, idx), emit_identity(e, op, x->dtype)));
	e->body = inside;
	at = emit_acc(e, pick, DT_i64);
	over_axis(e, &o, axis, var, x, idx);
	reg = emit_op(e, OP_eq, x->dtype, emit_value(e, x, idx), best, -1);
	reg = emit_op(e, OP_select, DT_i64, reg, emit_index(e, idx[axis].whole),
	    emit_identity(e, pick, DT_i64));
	emit_reduce(e, pick, DT_i64, at,
	    in_dim(e, x, idx, axis, DT_i64, reg, emit_identity(e, pick, DT_i64)));
	e->body = inside;
	for (int i = 0; i < o.n; i++)
		if (o.d[i].axis == axis)
			var[i] = -1;
	nest_index(&o, var, x->rank, idx);
	for (int i = 0; i < x->rank; i++)
		if (i != axis || keep)
			to[d++] = i == axis ? index_of(AFFINE(0)) : idx[i];
	/* nothing is equal to NaN: then 0 */
	reg = emit_op(e, OP_lt, DT_i64, at, emit_const_i(e, DT_i64, work), -1);
	reg = emit_op(e, OP_and, DT_bool, reg,
	    emit_op(e, OP_le, DT_i64, emit_const_i(e, DT_i64, 0), at, -1), -1);
	emit_store(e, y, to, emit_op(e, OP_select, DT_i64, reg, at, emit_const_i(e, DT_i64, 0)));
	shape_collapse(e, &e->k->body);
	shape_outer(e, within, work);
	if (!within)
		shape_inner_vector(&e->k->body);
	emit_end(e);
	return true;
}

/* ---- scatters: a copy of the data, then the rows of the updates in the order of
 * the index, added or what the row says.  Pieces own different columns. */
static void
copy_data(struct lower *lo, struct cluster *c)
{
	struct value *x = c->anchor->in[0], *y = c->anchor->out[0];
	struct emit *e = emit_begin(lo, c, "scatter_data");
	struct nest_order o;
	struct index idx[MAX_RANK];
	int var[MAX_DIGITS];

	memset(var, -1, sizeof var);
	nest_order_of(y, NULL, &o);
	nest_loops(e, &o, ~0u, var);
	nest_index(&o, var, y->rank, idx);
	emit_store(e, y, idx, emit_value(e, x, idx));
	shape_collapse(e, &e->k->body);
	shape_outer(e, o.n > 0, 1);
	emit_end(e);
}

static enum op
scatter_op(enum op op)
{
	return op == OP_scatter_add ? OP_add : op == OP_scatter_mul ? OP_mul : op == OP_scatter_max ? OP_max : OP_min;
}

static bool
lower_scatter(struct lower *lo, struct cluster *c)
{
	struct node *n = c->anchor;
	struct value *y = n->out[0], *at = n->in[1], *u = n->in[2];
	int axis = axis_of(n, y->rank), inner = y->rank - axis - 1, parts = 1, part = -1, var, reg;
	struct index to[MAX_RANK], from[MAX_RANK];
	struct affine row = AFFINE(0);
	struct emit *e;

	/* where they are the same buffer the data is there: a state that it updates; none is no buffer */
	if (!lo->buf[y->id] || lo->buf[y->id] != lo->buf[n->in[0]->id])
		copy_data(lo, c);
	e = emit_begin(lo, c, op_info[n->op].id);
	if (inner && y->dims[axis + 1] >= 32)
		parts = (int)shape_divisor(y->dims[axis + 1], 16);
	if (parts > 1)
		emit_for(e, FOR_SERIAL, parts, &part);
	for (int d = 0; d < axis; d++) {
		to[d] = index_of(AFFINE(0));
		if (y->dims[d] > 1) {
			emit_for(e, FOR_SERIAL, y->dims[d], &var);
			affine_add(&to[d].whole, var, 1);
		}
		from[d] = to[d];
	}
	{
		struct body *b = &e->k->body;

		while (b != e->body) {
			b->s.v[0]->loop = FOR_PARALLEL;
			b = &b->s.v[0]->body;
		}
	}
	for (int d = 0; d < at->rank; d++) {
		from[axis + d] = index_of(AFFINE(0));
		if (at->dims[d] > 1) {
			emit_for(e, FOR_SERIAL, at->dims[d], &var);
			affine_add(&from[axis + d].whole, var, 1);
		}
	}
	row.reg = emit_wrapped(e, emit_value(e, at, from + axis), at->dtype, y->dims[axis]);
	row.regcoef = 1;
	to[axis] = index_of(row);
	for (int d = axis + 1; d < y->rank; d++) {
		int64_t len = y->dims[d];

		to[d] = index_of(AFFINE(0));
		if (d == axis + 1)
			len /= parts;
		if (y->dims[d] > 1) {
			emit_for(e, FOR_SERIAL, len, &var);
			affine_add(&to[d].whole, var, 1);
		}
		if (d == axis + 1 && parts > 1)
			affine_add(&to[d].whole, part, len);
		from[d - 1 + at->rank] = to[d];
	}
	reg = emit_value(e, u, from);
	if (n->op != OP_scatter_set)
		reg = emit_op(e, scatter_op(n->op), y->dtype, emit_load(e, y, to, -1), reg, -1);
	emit_store(e, y, to, reg);
	shape_collapse(e, &e->k->body);
	if (dims_count(inner, y->dims + axis + 1) > 1)
		shape_inner_vector(&e->k->body);
	emit_end(e);
	return true;
}

/* ---- copies of memory, element by element of the widest kind that both are made of */
void
lower_copy_bytes(struct lower *lo, struct cluster *c, const char *name, struct value *x, struct value *y)
{
	int wx = dtype_info[x->dtype].bits, wy = dtype_info[y->dtype].bits, var;
	enum dtype t = wx == wy && wx == 64 ? DT_u64 : wx == wy && wx == 32 ? DT_u32 : wx == wy && wx == 16 ? DT_u16 : DT_u8;
	int64_t count = (int64_t)(dtype_bytes(y->dtype, dims_count(y->rank, y->dims)) / dtype_bytes(t, 1));
	struct emit *e;
	struct stmt *s;
	int reg;

	if (count == 0)
		return;
	e = emit_begin(lo, c, name);
	emit_for(e, FOR_SERIAL, count, &var);
	s = stmt_new(lo->a, e->body, S_LOAD);
	s->buf = emit_buf(e, lower_buffer(lo, x), false);
	e->k->buf_type[s->buf] = s->type = t;
	s->index = AFFINE(0);
	affine_add(&s->index, var, 1);
	s->src[0] = -1;
	reg = s->dst = kernel_reg(lo->a, e->k, t);
	s = stmt_new(lo->a, e->body, S_STORE);
	s->buf = emit_buf(e, lower_buffer(lo, y), true);
	e->k->buf_type[s->buf] = s->type = t;
	s->index = AFFINE(0);
	affine_add(&s->index, var, 1);
	s->src[0] = reg;
	emit_end(e);
}

bool
lower_other(struct lower *lo, struct cluster *c)
{
	if (op_info[c->anchor->op].class == OC_host)
		return lower_host(lo, c);
	switch (c->anchor->op) {
	case OP_concat:
		return lower_concat(lo, c);
	case OP_argmax:
	case OP_argmin:
		return lower_argreduce(lo, c);
	case OP_scatter_add:
	case OP_scatter_set:
	case OP_scatter_max:
	case OP_scatter_min:
	case OP_scatter_mul:
		return lower_scatter(lo, c);
	case OP_bits:
		lower_copy_bytes(lo, c, "bits", c->anchor->in[0], c->anchor->out[0]);
		return true;
	case OP_tree_leaf:
		return lower_tree_leaf(lo, c);
	case OP_running_sum:
		return lower_running_sum(lo, c);
	case OP_sort:
		return lower_sort(lo, c);
	case OP_nms:
		return lower_nms(lo, c);
	case OP_max_pool:
	case OP_sum_pool:
	case OP_max_pool_grad:
	case OP_max_pool_tap:
	case OP_sum_pool_grad:
		return lower_pool(lo, c);
	default:
		die("no lowering of %s", op_info[c->anchor->op].id);
	}
}
