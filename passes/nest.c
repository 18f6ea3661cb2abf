/* nest -- maps and reductions over common loops.
 *
 * Loops over the kept axes enclose, phase by phase, loops over the reduced ones
 * that store the full values of that phase and sum its reductions; between the
 * phases the small values are computed.  If the contiguous axis is kept, its
 * loop is the vector and the reductions run within it, a sum per lane; if it is
 * reduced, the vector runs along it.  A large reduction with too few pieces is
 * cut into partial sums that a second kernel adds up. */
#include "passes/nest.h"

#include <string.h>

enum { SPLIT_WORK = 1 << 15, SPLIT_PIECES = 8, SPLIT_MAX = 64, BLOCK = 64 };

struct nest {
	struct lower *lo;
	struct cluster *cl;
	struct nest_space s;
	struct emit *e;
	struct nest_order order;
	int var[MAX_DIGITS];
	struct index idx[MAX_RANK]; /* of the space's axes */
	unsigned all, kept;
	bool vector_kept; /* the vector loop runs over kept axes */
	int split;	  /* digit cut into parts, or -1 */
	int64_t parts;
	int partvar;
	struct value *kept_value,
	    *kept_in;		   /* a value that waits in an output's memory between phases */
	int small_reg[64];	   /* by node of the cluster: of small outputs */
	struct value *partial[64]; /* by node of the cluster */
};

static bool
is_output(const struct cluster *c, const struct value *v)
{
	for (int i = 0; i < c->outputs.n; i++)
		if (c->outputs.v[i] == v)
			return true;
	return false;
}

/* v's index where the loops stand. */
static void
index_by_label(const struct nest *n, const struct value *v, struct index *ix)
{
	const int8_t *label = n->lo->label[v->id];

	for (int d = 0; d < v->rank; d++)
		if (label[d] >= 0)
			ix[d] = n->idx[label[d]];
		else if (v->layout && v->rank == n->s.rank)
			ix[d] = n->idx[d];
		else
			ix[d] = index_of(AFFINE(0));
}

static void
operand_index(const struct nest *n, const struct node *r, struct index *ix)
{
	const int8_t *from = n->lo->from[r->out[0]->id];

	for (int d = 0; d < r->in[0]->rank; d++)
		ix[d] = from[d] >= 0 ? n->idx[from[d]] : index_of(AFFINE(0));
}

static enum op
reduce_op(const struct node *r)
{
	switch (r->op) {
	case OP_reduce_sum:
		return OP_add;
	case OP_reduce_prod:
		return OP_mul;
	case OP_reduce_max:
		return OP_max;
	default:
		return OP_min;
	}
}

static enum op
bool_op(const struct node *r)
{
	enum op op = reduce_op(r);

	if (r->out[0]->dtype != DT_bool)
		return op;
	return op == OP_max || op == OP_add ? OP_or : OP_and;
}

/* Sums of narrow floats are kept in f32. */
static enum dtype
acc_type(const struct node *r)
{
	enum dtype t = r->out[0]->dtype;

	return dtype_is_float(t) && dtype_info[t].bits < 32 ? DT_f32 : t;
}

static int
to_type(struct emit *e, int reg, enum dtype from, enum dtype to)
{
	return from == to ? reg : emit_op(e, OP_cast, to, reg, -1, -1);
}

/* ---- driver: whose memory order the loops follow */
static void
choose_order(struct nest *n)
{
	const struct value *best = NULL;
	const int8_t *label = NULL;
	struct lower *lo = n->lo;

	for (int i = 0; i < n->cl->nodes.n; i++) {
		const struct value *v = n->cl->nodes.v[i]->out[0];

		if (lo->small[v->id])
			continue;
		if (!best || (is_output(n->cl, v) && !is_output(n->cl, best))) {
			best = v;
			label = lo->label[v->id];
		}
	}
	for (int i = 0; !best && i < n->cl->nodes.n; i++)
		if (nest_is_reduce(n->cl->nodes.v[i]->op))
			best = n->cl->nodes.v[i]->in[0];
	if (!nest_poll(lo, n->cl->nodes.v, n->cl->nodes.n, &n->s, n->cl->outputs.v,
		n->cl->outputs.n, &n->order))
		nest_order_of(best, label, &n->order);
	n->all = (1u << n->s.rank) - 1;
	n->kept = n->all & ~n->s.reduced;
	n->vector_kept = true;
	if (n->s.reduced) {
		int64_t inner = 1, r = 1;

		for (int i = 0; i < n->order.n; i++)
			if (n->s.reduced & 1u << n->order.d[i].axis)
				r *= n->order.d[i].extent;
		if (n->order.n)
			n->vector_kept = !(n->s.reduced & 1u << n->order.d[n->order.n - 1].axis);
		for (int i = 0; i < n->order.n; i++)
			if (!(n->s.reduced & 1u << n->order.d[i].axis))
				inner = n->order.d[i].extent;
		if (r < 6 && inner >= 16)
			n->vector_kept = true;
	}
}

/* ---- phases */
static void
set_index(struct nest *n)
{
	nest_index(&n->order, n->var, n->s.rank, n->idx);
	if (n->split >= 0) {
		const struct nest_digit *d = &n->order.d[n->split];
		struct index *ix = &n->idx[d->axis];
		int64_t len = (d->extent + n->parts - 1) / n->parts;

		if (n->partvar < 0)
			return;
		affine_add(&ix->whole, n->partvar, len * d->step);
		if (ix->block)
			affine_add(d->step > 1 ? &ix->outer : &ix->inner, n->partvar,
			    d->step > 1 ? len * d->step / ix->block : len);
	}
}

/* Identity where a reduced axis overruns its dim (spare lanes, ragged parts). */
static int
masked(struct nest *n, const struct node *r, int reg)
{
	struct emit *e = n->e;
	enum op op = bool_op(r);

	for (int a = 0; a < n->s.rank; a++) {
		int64_t min, max;

		if (!(n->s.reduced & 1u << a) || !emit_range(e, &n->idx[a].whole, &min, &max) ||
		    max < n->s.dims[a])
			continue;
		reg = emit_op(e, OP_select, r->out[0]->dtype,
		    emit_within(e, n->idx[a].whole, 0, n->s.dims[a]), reg,
		    emit_identity(e, op, r->out[0]->dtype));
	}
	return reg;
}

static bool
costly(enum op op)
{
	return op == OP_exp || op == OP_log || op == OP_log1p || op == OP_tanh || op == OP_erf ||
	       op == OP_sigmoid || op == OP_pow || op == OP_sin || op == OP_cos;
}

/* A costly full value that later phases use again waits in the memory of an output
 * that the last phase writes (softmax: the exponentials). */
static void
choose_kept(struct nest *n)
{
	struct lower *lo = n->lo;

	for (int i = 0; i < n->cl->nodes.n; i++) {
		struct value *v = n->cl->nodes.v[i]->out[0];
		bool again = false;

		if (!costly(n->cl->nodes.v[i]->op) || lo->small[v->id])
			continue;
		for (int k = 0; k < lo->users[v->id].n; k++) {
			const struct node *u = lo->users[v->id].v[k];

			again |= lo->cluster_of[u->id] == n->cl &&
				 lo->phase[u->out[0]->id] > lo->phase[v->id];
		}
		for (int k = 0; again && k < n->cl->outputs.n; k++) {
			struct value *o = n->cl->outputs.v[k];

			if (o == v || lo->small[o->id] || lo->phase[o->id] != n->s.phases - 1 ||
			    lo->phase[v->id] == n->s.phases - 1 || o->dtype != v->dtype ||
			    o->rank != v->rank ||
			    memcmp(lo->label[o->id], lo->label[v->id], MAX_RANK) ||
			    lower_buffer(lo, o)->space == SPACE_STATE)
				continue;
			n->kept_value = v;
			n->kept_in = o;
			return;
		}
	}
}

static void
phase_body(struct nest *n, int phase, const int *acc)
{
	struct index ix[MAX_RANK];
	struct value *kept = n->kept_value;
	int reg[64];

	memset(reg, -1, sizeof reg);
	if (kept && phase > n->lo->phase[kept->id]) {
		index_by_label(n, kept, ix);
		emit_note(n->e, kept, ix, emit_load(n->e, n->kept_in, ix, -1));
	}
	if (kept && phase == n->lo->phase[kept->id]) {
		index_by_label(n, kept, ix);
		emit_store(n->e, n->kept_in, ix, emit_value(n->e, kept, ix));
	}
	for (int i = 0; i < n->cl->nodes.n; i++) {
		struct node *x = n->cl->nodes.v[i];
		struct value *v = x->out[0];

		if (n->lo->phase[v->id] != phase)
			continue;
		if (nest_is_reduce(x->op)) {
			operand_index(n, x, ix);
			emit_reduce(n->e, bool_op(x), acc_type(x), acc[i],
			    to_type(n->e, masked(n, x, emit_value(n->e, x->in[0], ix)), v->dtype,
				acc_type(x)));
		} else if (!n->lo->small[v->id] && is_output(n->cl, v)) {
			index_by_label(n, v, ix);
			reg[i] = emit_value(n->e, v, ix);
		}
	}
	/* stored when all is computed: one may be a state that another reads */
	for (int i = 0; i < n->cl->nodes.n; i++)
		if (reg[i] >= 0) {
			index_by_label(n, n->cl->nodes.v[i]->out[0], ix);
			emit_store(n->e, n->cl->nodes.v[i]->out[0], ix, reg[i]);
		}
}

static void
make_accs(struct nest *n, int phase, int *acc)
{
	for (int i = 0; i < n->cl->nodes.n; i++) {
		struct node *x = n->cl->nodes.v[i];

		acc[i] = -1;
		if (nest_is_reduce(x->op) && n->lo->phase[x->out[0]->id] == phase)
			acc[i] = emit_acc(n->e, bool_op(x), acc_type(x));
	}
}

/* Loops over the reduced digits from i on.  Within a vector over kept axes the
 * innermost loop sums into accumulators of its own, so that no chain is long. */
static void
reduce_loops(struct nest *n, int i, int phase, const int *acc)
{
	struct body *back = n->e->body;
	int next = i + 1, inner[64];
	int64_t extent, len;

	while (i < n->order.n && !(n->s.reduced & 1u << n->order.d[i].axis))
		i++;
	if (i >= n->order.n) {
		set_index(n);
		phase_body(n, phase, acc);
		return;
	}
	next = i + 1;
	while (next < n->order.n && !(n->s.reduced & 1u << n->order.d[next].axis))
		next++;
	extent = n->order.d[i].extent;
	if (i == n->split)
		extent = (extent + n->parts - 1) / n->parts;
	len = extent;
	if (next >= n->order.n && n->vector_kept && extent > BLOCK && i != n->split)
		len = shape_divisor(extent, BLOCK);
	if (len > 1 && len < extent) {
		int outer;

		emit_for(n->e, FOR_SERIAL, extent / len, &outer);
		make_accs(n, phase, inner);
		{
			struct body *mid = n->e->body;
			struct affine whole = AFFINE(0);

			emit_for(n->e, FOR_SERIAL, len, &n->var[i]);
			set_index(n);
			affine_add(&whole, outer, len * n->order.d[i].step);
			affine_plus(n->e, &n->idx[n->order.d[i].axis].whole, &whole, 1);
			n->idx[n->order.d[i].axis].block = 0;
			phase_body(n, phase, inner);
			n->e->body = mid;
		}
	} else {
		emit_for(n->e, FOR_SERIAL, extent, &n->var[i]);
		if (next >= n->order.n || !n->vector_kept || n->order.d[next].extent < 2) {
			reduce_loops(n, next, phase, acc);
			n->e->body = back;
			return;
		}
		make_accs(n, phase, inner);
		reduce_loops(n, next, phase, inner);
	}
	for (int k = 0; k < n->cl->nodes.n; k++)
		if (inner[k] >= 0)
			emit_reduce(n->e, bool_op(n->cl->nodes.v[k]), acc_type(n->cl->nodes.v[k]),
			    acc[k], inner[k]);
	n->e->body = back;
}

/* Small values of a phase: sums are noted, maps computed, outputs stored. */
static void
small_values(struct nest *n, int phase, const int *acc)
{
	struct index ix[MAX_RANK];

	for (int i = 0; i < n->order.n; i++)
		if (n->s.reduced & 1u << n->order.d[i].axis)
			n->var[i] = -1;
	set_index(n);
	for (int i = 0; i < n->cl->nodes.n; i++) {
		struct node *x = n->cl->nodes.v[i];
		struct value *v = x->out[0];
		int reg;

		if (!n->lo->small[v->id] || n->lo->phase[v->id] != phase)
			continue;
		index_by_label(n, v, ix);
		if (nest_is_reduce(x->op)) {
			reg = to_type(n->e, acc[i], acc_type(x), v->dtype);
			emit_note(n->e, v, ix, reg);
		} else {
			reg = emit_value(n->e, v, ix);
		}
		if (is_output(n->cl, v))
			n->small_reg[i] = reg;
	}
}

/* After the last phase: a state's new content may overwrite what phases read. */
static void
store_small(struct nest *n)
{
	struct index ix[MAX_RANK];

	for (int i = 0; i < n->cl->nodes.n; i++) {
		struct value *v = n->cl->nodes.v[i]->out[0];

		if (!n->lo->small[v->id] || !is_output(n->cl, v))
			continue;
		index_by_label(n, v, ix);
		emit_store(n->e, v, ix, n->small_reg[i]);
	}
}

static int64_t
extent_of(const struct nest *n, unsigned axes)
{
	int64_t r = 1;

	for (int i = 0; i < n->order.n; i++)
		if (axes & 1u << n->order.d[i].axis)
			r *= n->order.d[i].extent;
	return r;
}

static const char *
name_of(const struct nest *n, const char *suffix)
{
	struct str s = {0};
	const char *r;
	int shown = 0;

	for (int i = 0; i < n->cl->nodes.n && shown < 3; i++, shown++)
		str_addf(&s, "%s%s", i ? "_" : "", op_info[n->cl->nodes.v[i]->op].id);
	r = arena_printf(n->lo->a, "%s%s%s", s.s, suffix, n->cl->nodes.n > 3 ? "_etc" : "");
	str_free(&s);
	return r;
}

static void
flops(struct nest *n)
{
	n->e->k->flops = (double)extent_of(n, n->all) * n->cl->nodes.n;
}

/* ---- one kernel */
static void
whole_nest(struct nest *n)
{
	struct emit *e = n->e = emit_begin(n->lo, n->cl, name_of(n, ""));
	struct body *inside;
	int acc[64];

	for (int i = 0; i < n->order.n; i++)
		n->var[i] = -1;
	if (n->s.phases > 1)
		choose_kept(n);
	nest_loops(e, &n->order, n->kept, n->var);
	inside = e->body;
	for (int p = 0; p < n->s.phases; p++) {
		make_accs(n, p, acc);
		reduce_loops(n, 0, p, acc);
		e->body = inside;
		small_values(n, p, acc);
	}
	store_small(n);
	shape_collapse(e, &e->k->body);
	shape_outer(e, n->vector_kept && extent_of(n, n->kept) > 1, extent_of(n, n->s.reduced));
	if (!n->vector_kept || extent_of(n, n->kept) == 1)
		shape_inner_vector(&e->k->body);
	flops(n);
	emit_end(e);
}

/* ---- partial sums, then their sum */
/* The digit to cut, if the kernel would have too few pieces for its work. */
static void
choose_split(struct nest *n)
{
	int64_t pieces = 1, best = 1;

	n->split = -1;
	if (!n->s.reduced || n->s.rows || n->s.rank == MAX_RANK ||
	    extent_of(n, n->all) < SPLIT_WORK)
		return;
	for (int i = 0; i < n->order.n; i++)
		if (n->kept & 1u << n->order.d[i].axis) {
			int64_t x = n->order.d[i].extent;

			pieces *= n->vector_kept && i == n->order.n - 1 ? (x + 63) / 64 : x;
		}
	if (pieces >= SPLIT_PIECES)
		return;
	for (int i = 0; i < n->order.n; i++) {
		int64_t d, x = n->order.d[i].extent;

		if (!(n->s.reduced & 1u << n->order.d[i].axis) ||
		    (x < SPLIT_MAX * 64 && i == n->order.n - 1 && best >= 4))
			continue;
		d = shape_divisor(x, SPLIT_MAX);
		if (d > best && best < 16) {
			best = d;
			n->split = i;
		}
	}
	if (best < 4) { /* no divisor: a ragged end */
		int64_t longest = 0;

		for (int i = 0; i < n->order.n; i++)
			if (n->s.reduced & 1u << n->order.d[i].axis &&
			    n->order.d[i].extent > longest) {
				longest = n->order.d[i].extent;
				n->split = i;
			}
		best = longest < SPLIT_MAX ? longest : SPLIT_MAX / 2;
	}
	n->parts = best;
}

/* Index of a partial sum: part, then the kept dims of the reduction's output. */
static void
partial_index(struct nest *n, const struct value *v, struct affine part, struct index *ix)
{
	index_by_label(n, v, ix + 1);
	ix[0] = index_of(part);
}

static void
partial_kernel(struct nest *n)
{
	struct emit *e;
	struct index ix[MAX_RANK + 1];
	struct affine part = AFFINE(0);
	int acc[64];

	for (int i = 0; i < n->cl->nodes.n; i++)
		if (nest_is_reduce(n->cl->nodes.v[i]->op)) {
			const struct value *v = n->cl->nodes.v[i]->out[0];
			int64_t dims[MAX_RANK + 1];

			dims[0] = n->parts;
			memcpy(dims + 1, v->dims, sizeof *dims * (size_t)v->rank);
			n->partial[i] =
			    lower_fresh(n->lo, acc_type(n->cl->nodes.v[i]), v->rank + 1, dims);
		}
	e = n->e = emit_begin(n->lo, n->cl, name_of(n, "_part"));
	for (int i = 0; i < n->order.n; i++)
		n->var[i] = -1;
	n->partvar = -1;
	emit_for(e, FOR_SERIAL, n->parts, &n->partvar);
	affine_add(&part, n->partvar, 1);
	nest_loops(e, &n->order, n->kept, n->var);
	make_accs(n, 0, acc);
	{
		struct body *inside = e->body;

		reduce_loops(n, 0, 0, acc);
		e->body = inside;
	}
	for (int i = 0; i < n->order.n; i++)
		if (n->s.reduced & 1u << n->order.d[i].axis)
			n->var[i] = -1;
	nest_index(&n->order, n->var, n->s.rank, n->idx);
	for (int i = 0; i < n->cl->nodes.n; i++)
		if (n->partial[i]) {
			partial_index(n, n->cl->nodes.v[i]->out[0], part, ix);
			emit_store(e, n->partial[i], ix, acc[i]);
		}
	{
		int64_t kept = extent_of(n, n->kept);
		bool vec = n->vector_kept && kept > 1;

		shape_collapse(e, &e->k->body);
		shape_outer(e, vec, extent_of(n, n->s.reduced));
		if (!vec)
			shape_inner_vector(&e->k->body);
	}
	flops(n);
	emit_end(e);
}

static void
combine_kernel(struct nest *n)
{
	struct emit *e = n->e = emit_begin(n->lo, n->cl, name_of(n, "_sum"));
	struct nest_order plain = {0};
	struct index ix[MAX_RANK + 1];
	struct affine part = AFFINE(0);
	struct body *inside;
	int acc[64], var;

	for (int a = 0; a < n->s.rank; a++)
		if (n->kept & 1u << a && n->s.dims[a] > 1)
			plain.d[plain.n++] = (struct nest_digit){a, n->s.dims[a], 1};
	n->order = plain;
	n->split = -1;
	for (int i = 0; i < plain.n; i++)
		n->var[i] = -1;
	nest_loops(e, &plain, n->kept, n->var);
	inside = e->body;
	make_accs(n, 0, acc);
	emit_for(e, FOR_SERIAL, n->parts, &var);
	affine_add(&part, var, 1);
	set_index(n);
	for (int i = 0; i < n->cl->nodes.n; i++)
		if (n->partial[i]) {
			struct node *x = n->cl->nodes.v[i];

			partial_index(n, x->out[0], part, ix);
			emit_reduce(e, bool_op(x), acc_type(x), acc[i],
			    emit_load(e, n->partial[i], ix, -1));
		}
	e->body = inside;
	small_values(n, 0, acc);
	store_small(n);
	shape_collapse(e, &e->k->body);
	shape_outer(e, plain.n > 0, n->parts);
	if (!plain.n)
		shape_inner_vector(&e->k->body);
	emit_end(e);
}

bool
lower_nest(struct lower *lo, struct cluster *cl)
{
	struct nest n = {.lo = lo, .cl = cl, .split = -1, .partvar = -1};

	if (cl->nodes.n > 64 || !nest_fits(lo, cl->nodes.v, cl->nodes.n, &n.s))
		die("cluster %d has no common loops", cl->id);
	choose_order(&n);
	choose_split(&n);
	if (n.split < 0) {
		whole_nest(&n);
		return true;
	}
	partial_kernel(&n);
	combine_kernel(&n);
	return true;
}
