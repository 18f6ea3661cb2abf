/* lower -- from clusters to a program: buffers, kernels and calls in order.
 *
 * Requires core operators and constant dims.  Updates of states are written in
 * place where every other reader of the old content can run before and the
 * writer reads it at the same index only; else they are copied at the end.
 * Outputs that are not made by one kernel of their own are copied. */
#include "passes/nest.h"

#include <string.h>

/* ---- buffers */
static struct buffer *
buffer_new(struct lower *lo, enum dtype t, enum space space, int64_t count)
{
	struct buffer *b = arena_new(lo->a, struct buffer);

	b->id = lo->p->buffers.n;
	b->dtype = t;
	b->space = space;
	b->count = count;
	b->bytes = (int64_t)dtype_bytes(t, count);
	b->first = b->last = -1;
	vec_push(lo->a, &lo->p->buffers, b);
	return b;
}

struct buffer *
lower_scratch(struct lower *lo, enum dtype t, int64_t count)
{
	return buffer_new(lo, t, SPACE_WORK, count);
}

struct buffer *
lower_data(struct lower *lo, const struct tensor *t)
{
	struct buffer *b = buffer_new(lo, DT_u8, SPACE_CONST, (int64_t)t->bytes);

	b->data = t->data;
	return b;
}

static int64_t
value_count(const struct value *v)
{
	int64_t n = v->layout ? layout_count(v->layout) : dims_count(v->rank, v->dims);

	if (n < 0)
		die("%s has more than 2^63 elements", v->name ? v->name : "a value");
	return n;
}

struct buffer *
lower_buffer(struct lower *lo, struct value *v)
{
	struct buffer *b = lo->buf[v->id];

	if (b)
		return b;
	if (lo->alias[v->id])
		return lo->buf[v->id] = lower_buffer(lo, lo->alias[v->id]);
	if (v->kind == VAL_CONST) {
		b = buffer_new(lo, v->dtype, SPACE_CONST, value_count(v));
		b->data = v->data->data;
		b->pack = v->layout;
	} else if (v->kind == VAL_NODE) {
		b = buffer_new(lo, v->dtype, SPACE_WORK, value_count(v));
	} else {
		die("%s is no input or state of its graph", v->name ? v->name : "a value");
	}
	b->value = v;
	return lo->buf[v->id] = b;
}

void
lower_part(struct lower *lo, struct value *v, struct buffer *whole, int64_t bytes)
{
	struct buffer *b = buffer_new(lo, v->dtype, whole->space, value_count(v));

	b->value = v;
	b->alias = whole;
	b->at = bytes;
	lo->buf[v->id] = b;
}

/* Arrays by value id get room for more values. */
static void
grow(struct lower *lo, int cap)
{
	int old = lo->cap;
#define GROW(f)                                                                                    \
	do {                                                                                       \
		void *p_ = arena_alloc(lo->tmp, sizeof *lo->f * (size_t)cap);                      \
		if (old)                                                                           \
			memcpy(p_, lo->f, sizeof *lo->f *(size_t)old);                             \
		lo->f = p_;                                                                        \
	} while (0)

	GROW(buf);
	GROW(uses);
	GROW(users);
	GROW(halo_done);
	GROW(spare_done);
	GROW(alias);
	GROW(label);
	GROW(from);
	GROW(phase);
	GROW(small);
	GROW(memo);
#undef GROW
	lo->cap = cap;
}

struct value *
lower_fresh(struct lower *lo, enum dtype t, int rank, const int64_t *dims)
{
	struct value *v = arena_new(lo->a, struct value);

	if (rank > MAX_RANK)
		die("a scratch value of rank %d", rank);
	v->id = lo->g->nvalue++;
	v->kind = VAL_INPUT; /* in memory, made by no node */
	v->dtype = t;
	v->rank = rank;
	if (rank)
		memcpy(v->dims, dims, sizeof *dims * (size_t)rank);
	if (v->id >= lo->cap)
		grow(lo, lo->cap * 2);
	lo->buf[v->id] = lower_scratch(lo, t, value_count(v));
	lo->buf[v->id]->value = NULL;
	return v;
}

/* The same in v's dims and layout (halo excepted). */
struct value *
lower_fresh_like(struct lower *lo, enum dtype t, const struct value *v)
{
	struct value *r = lower_fresh(lo, t, v->rank, v->dims);
	struct buffer *b = lo->buf[r->id];

	if (v->layout) {
		struct layout *l = arena_dup(lo->a, v->layout, sizeof *l);

		for (int p = 0; p < l->n; p++)
			l->phys[p].extent -= l->lo[l->phys[p].dim] + l->hi[l->phys[p].dim];
		memset(l->lo, 0, sizeof l->lo);
		memset(l->hi, 0, sizeof l->hi);
		r->layout = l;
		b->count = layout_count(l);
		b->bytes = (int64_t)dtype_bytes(t, b->count);
	}
	return r;
}

void
lower_call(struct lower *lo, struct kernel *k, struct buffer **args)
{
	struct call c = {.kernel = k, .layer = lo->layer, .loc = k->loc};

	c.arg = arena_array(lo->a, struct buffer *, k->nbuf ? k->nbuf : 1);
	if (k->nbuf)
		memcpy(c.arg, args, sizeof *args * (size_t)k->nbuf);
	if (lo->ctx->opts && lo->ctx->opts->verify_each)
		kernel_verify(k);
	vec_push(lo->a, &lo->p->calls, c);
}

/* ---- halos */
/* Zeroes n elements from `at` on. */
static void
zero_run(struct emit *e, int buf, enum dtype t, struct affine at, int64_t n)
{
	struct body *back = e->body;
	struct stmt *s;
	int var, zero;

	if (!n)
		return;
	emit_for(e, FOR_VECTOR, n, &var);
	affine_add(&at, var, 1);
	zero = dtype_is_float(t) ? emit_const(e, t, 0) : emit_const_i(e, t, 0);
	s = stmt_new(e->lo->a, e->body, S_STORE);
	s->buf = buf;
	s->type = t;
	s->index = at;
	s->src[0] = zero;
	e->body = back;
}

/* The halos of physical dims p and inwards, at `at`: what lies before and after
 * dim p's content is contiguous. */
static void
zero_dims(struct emit *e, const struct value *v, int buf, int p, int last, struct affine at)
{
	const struct layout *l = v->layout;
	int64_t stride[MAX_PHYS];
	struct body *back = e->body;
	int d = l->phys[p].dim, var;
	int64_t inner;

	layout_strides(l, stride);
	inner = l->phys[p].extent - l->lo[d] - l->hi[d];
	if (l->lo[d] + l->hi[d]) {
		struct affine hi = at;

		hi.c += (l->lo[d] + inner) * stride[p];
		zero_run(e, buf, v->dtype, at, l->lo[d] * stride[p]);
		zero_run(e, buf, v->dtype, hi, l->hi[d] * stride[p]);
	}
	if (p == last)
		return;
	emit_for(e, FOR_SERIAL, inner, &var);
	at.c += l->lo[d] * stride[p];
	affine_add(&at, var, stride[p]);
	zero_dims(e, v, buf, p + 1, last, at);
	e->body = back;
}

void
lower_zero_halo(struct lower *lo, struct value *v)
{
	const struct layout *l = v->layout;
	struct emit *e;
	int last = -1;

	if (!l || lo->halo_done[v->id])
		return;
	for (int p = 0; p < l->n; p++)
		if (l->lo[l->phys[p].dim] + l->hi[l->phys[p].dim])
			last = p;
	if (last < 0)
		return;
	lo->halo_done[v->id] = true;
	e = emit_begin(lo, NULL, "zero_halo");
	if (v->def)
		e->k->loc = v->def->loc;
	zero_dims(e, v, emit_buf(e, lower_buffer(lo, v), true), 0, last, AFFINE(0));
	shape_collapse(e, &e->k->body);
	shape_outer(e, false, 256);
	kernel_finish(e->k);
	lower_call(lo, e->k, e->args.v);
}

/* The lanes past dim d, whose last block is `outer`. */
static void
zero_lanes(
    struct lower *lo, struct value *v, int d, const struct phys *outer, const struct phys *inner)
{
	struct emit *e = emit_begin(lo, NULL, "zero_lanes");
	int64_t rem = v->dims[d] - (outer->extent - 1) * outer->step, n = inner->extent - rem;
	struct nest_order o, rest = {0};
	struct index idx[MAX_RANK];
	int var[MAX_DIGITS], lane;

	if (v->def)
		e->k->loc = v->def->loc;
	memset(var, -1, sizeof var);
	nest_order_of(v, NULL, &o);
	for (int i = 0; i < o.n; i++)
		if (o.d[i].axis != d)
			rest.d[rest.n++] = o.d[i];
	nest_loops(e, &rest, ~0u, var);
	nest_index(&rest, var, v->rank, idx);
	emit_for(e, FOR_SERIAL, n, &lane);
	idx[d] = (struct index){.whole = AFFINE((outer->extent - 1) * outer->step + rem),
	    .block = outer->step,
	    .outer = AFFINE(outer->extent - 1),
	    .inner = AFFINE(rem)};
	affine_add(&idx[d].whole, lane, 1);
	affine_add(&idx[d].inner, lane, 1);
	emit_store(e, v, idx,
	    dtype_is_float(v->dtype) ? emit_const(e, v->dtype, 0) : emit_const_i(e, v->dtype, 0));
	shape_collapse(e, &e->k->body);
	shape_outer(e, true, 1);
	emit_end(e);
}

void
lower_zero_spare(struct lower *lo, struct value *v)
{
	const struct layout *l = v->layout;

	if (!l || lo->spare_done[v->id])
		return;
	lo->spare_done[v->id] = true;
	for (int d = 0; d < v->rank; d++) {
		const struct phys *outer = NULL, *inner = NULL;
		int n = 0;

		for (int p = 0; p < l->n; p++)
			if (l->phys[p].dim == d) {
				n++;
				if (l->phys[p].step == 1)
					inner = &l->phys[p];
				else
					outer = &l->phys[p];
			}
		if (n < 2)
			continue;
		if (n > 2 || !outer || !inner || outer->step != inner->extent)
			die("a dim of more than two digits");
		if (outer->extent * outer->step > v->dims[d])
			zero_lanes(lo, v, d, outer, inner);
	}
}

/* ---- copies */
/* The element types that kernels compute with. */
static bool
has_code(enum dtype t)
{
	const struct dtype_info *i = &dtype_info[t];

	return t == DT_str /* moved as words */ || (i->class == DC_FLOAT
		   ? i->bits >= 16
		   : i->class != DC_STRING && i->class != DC_COMPLEX && i->bits >= 8);
}

static void
copy(struct lower *lo, struct value *from, struct value *to)
{
	struct emit *e;
	struct nest_order o;
	struct index idx[MAX_RANK];
	int var[MAX_DIGITS];
	struct value *order = from->layout ? from : to;

	if (!has_code(from->dtype)) {
		lower_copy_bytes(lo, NULL, "copy", from, to);
		return;
	}
	e = emit_begin(lo, NULL, "copy");
	memset(var, -1, sizeof var);
	nest_order_of(order, NULL, &o);
	nest_loops(e, &o, ~0u, var);
	nest_index(&o, var, to->rank, idx);
	emit_store(e, to, idx, emit_value(e, from, idx));
	shape_collapse(e, &e->k->body);
	shape_outer(e, true, 1);
	emit_end(e);
}

/* A plain value in a given buffer, like v. */
static struct value *
stand_in(struct lower *lo, const struct value *v, struct buffer *b)
{
	struct value *r = lower_fresh(lo, v->dtype, 0, NULL);

	lo->p->buffers.n--; /* its own is not wanted */
	r->rank = v->rank;
	memcpy(r->dims, v->dims, sizeof r->dims);
	lo->buf[r->id] = b;
	return r;
}

/* ---- updates in place */
static struct value *
root_of(const struct lower *lo, struct value *v)
{
	while (lo->alias[v->id])
		v = lo->alias[v->id];
	return v;
}

/* Does the node put rows into v, which it reads for nothing else? */
static bool
puts_into(const struct node *n, const struct value *v)
{
	return op_info[n->op].class == OC_index && n->op != OP_gather && n->in[0] == v && n->in[1] != v &&
	       n->in[2] != v;
}

/* Collects the clusters that read v, through what is computed where it is used.
 * Within `writer` every read must be at the writer's own index: `same` turns
 * false at the first that is not. */
static void
readers(
    struct lower *lo, struct value *v, struct cluster *writer, bool plain, void *set, bool *same)
{
	VEC(struct cluster *) *out = set;

	for (int i = 0; i < lo->users[v->id].n; i++) {
		struct node *u = lo->users[v->id].v[i];
		struct cluster *c = lo->cluster_of[u->id];
		bool map = plain && op_info[u->op].class == OC_map &&
			   dims_equal(u->out[0]->rank, u->out[0]->dims, v->rank, v->dims);

		if (!c) {
			readers(lo, u->out[0], writer, map, set, same);
			continue;
		}
		if (c == writer) {
			if (u == c->anchor)
				*same &= puts_into(u, v);
			else
				*same &= map && (c->kind != CL_NEST || !c->reduced || lo->small[u->out[0]->id]);
			continue;
		}
		vec_push(lo->tmp, out, c);
	}
}

static bool
update_in_place(struct lower *lo, const struct update *u)
{
	VEC(struct cluster *) before = {0};
	struct cluster *c;
	struct nest_space s;
	bool same = true;

	if (u->next->kind != VAL_NODE || lo->alias[u->next->id] || u->next->layout ||
	    lo->buf[u->next->id] || !(c = lo->cluster_of[u->next->def->id]) ||
	    (c->kind == CL_OTHER && !puts_into(u->next->def, u->state)))
		return false;
	if (c->kind == CL_NEST && !nest_fits(lo, c->nodes.v, c->nodes.n, &s))
		die("cluster without loops");
	if (c->kind == CL_NEST && c->reduced && !lo->small[u->next->id])
		return false;
	if (c->kind != CL_NEST && u->next == c->anchor->out[0] && c->nodes.n > 1)
		return false;
	readers(lo, u->state, c, true, &before, &same);
	if (!same)
		return false;
	for (int i = 0; i < before.n; i++) {
		lo->search++;
		if (cluster_depends(lo, before.v[i], c))
			return false;
	}
	for (int i = 0; i < before.n; i++)
		vec_push(lo->a, &c->deps, before.v[i]);
	lo->buf[u->next->id] = lo->buf[u->state->id];
	return true;
}

/* ---- the pass */
static void
open_io(struct lower *lo)
{
	struct graph *g = lo->g;

	for (int i = 0; i < g->inputs.n; i++) {
		struct value *v = g->inputs.v[i];
		struct buffer *b = buffer_new(lo, v->dtype, SPACE_IO, value_count(v));

		b->offset = i;
		b->value = v;
		lo->buf[v->id] = b;
		vec_push(lo->a, &lo->p->inputs, (struct io){v->name, v, b});
	}
	for (int i = 0; i < g->states.n; i++) {
		struct value *v = g->states.v[i];
		struct buffer *b = buffer_new(lo, v->dtype, SPACE_STATE, value_count(v));

		if (v->layout)
			die("state %s has a layout", v->name);
		b->value = v;
		b->data = v->data->data;
		lo->buf[v->id] = b;
		vec_push(lo->a, &lo->p->states, (struct io){v->name, v, b});
	}
}

static bool
updated(const struct lower *lo, const struct value *state)
{
	for (int i = 0; i < lo->g->updates.n; i++)
		if (lo->g->updates.v[i].state == state)
			return true;
	return false;
}

struct copies {
	VEC(struct copying { struct value *from, *to; }) first, last;
};

static void
plan_updates(struct lower *lo, struct copies *c)
{
	struct graph *g = lo->g;

	for (int i = 0; i < g->updates.n; i++) {
		const struct update *u = &g->updates.v[i];
		struct value *next = u->next, *root = root_of(lo, next);

		if (next == u->state || update_in_place(lo, u))
			continue;
		if (root->kind == VAL_STATE && updated(lo, root)) {
			struct value *keep = lower_fresh(lo, next->dtype, next->rank, next->dims);

			vec_push(lo->tmp, &c->first, (struct copying){next, keep});
			next = keep;
		}
		vec_push(lo->tmp, &c->last, (struct copying){next, u->state});
	}
}

static void
plan_outputs(struct lower *lo, struct copies *c)
{
	struct graph *g = lo->g;

	for (int i = 0; i < g->outputs.n; i++) {
		struct value *v = g->outputs.v[i], *root = root_of(lo, v);
		struct buffer *b = buffer_new(lo, v->dtype, SPACE_IO, dims_count(v->rank, v->dims));

		b->offset = g->inputs.n + i;
		b->value = v;
		vec_push(lo->a, &lo->p->outputs, (struct io){g->output_names.v[i], v, b});
		if (root->kind == VAL_NODE && !root->layout && !v->layout && !lo->buf[root->id] &&
		    lo->cluster_of[root->def->id]) {
			lo->buf[root->id] = b;
			continue;
		}
		if (root->kind == VAL_STATE && updated(lo, root))
			vec_push(lo->tmp, &c->first, (struct copying){v, stand_in(lo, v, b)});
		else
			vec_push(lo->tmp, &c->last, (struct copying){v, stand_in(lo, v, b)});
	}
}

static bool
lower_cluster(struct lower *lo, struct cluster *c)
{
	if (!c->outputs.n || band_joins_reader(lo, c)) /* nobody reads it, or it is made where it is read */
		return true;
	if (lower_band(lo, c))
		return true;
	switch (c->kind) {
	case CL_NEST:
		return lower_nest(lo, c);
	case CL_CONTRACT:
		return lower_contract_tile(lo, c) || lower_contract_nest(lo, c);
	case CL_CONV:
		return lower_winograd(lo, c) || lower_conv_tile(lo, c) || lower_conv_nest(lo, c);
	default:
		return lower_other(lo, c);
	}
}

static bool
acceptable(struct graph *g, struct diag *d)
{
	bool ok = true;

	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		if (n->dead)
			continue;
		if (op_info[n->op].class == OC_composite)
			die("%s reached lowering", op_info[n->op].id);
		for (int o = 0; o < n->nout; o++) {
			const struct value *v = n->out[o];

			for (int k = 0; v && k < v->rank; k++)
				if (!dim_const(v->dims[k])) {
					ok = diag_unsupported(d, n->loc,
					    "dim %s is not known when compiling; give it with "
					    "--dim",
					    dim_text(g, v->dims[k]));
					break;
				}
			if (v && n->op != OP_bits && !has_code(v->dtype))
				ok = diag_unsupported(d, n->loc, "no code for elements of type %s",
				    dtype_info[v->dtype].name);
		}
		for (int k = 0; k < n->nin; k++)
			if (n->in[k] && n->op != OP_bits && !has_code(n->in[k]->dtype))
				ok = diag_unsupported(d, n->loc, "no code for elements of type %s",
				    dtype_info[n->in[k]->dtype].name);
	}
	return ok;
}

static void
open_arrays(struct lower *lo)
{
	struct graph *g = lo->g;

	grow(lo, g->nvalue + 4 * (g->outputs.n + g->updates.n) + 64);
	lo->cluster_of = arena_array(lo->tmp, struct cluster *, g->nnode + 1);
	lo->pos = arena_array(lo->tmp, int, g->nnode + 1);
	lo->in_set = arena_array(lo->tmp, char, g->nnode + 1);
	{
		int *uses = graph_use_counts(lo->tmp, g);

		memcpy(lo->uses, uses, sizeof *uses * (size_t)g->nvalue);
	}
	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];

		lo->pos[n->id] = i;
		for (int k = 0; !n->dead && k < n->nin; k++) {
			struct value *v = n->in[k];
			bool seen = false;

			for (int j = 0; v && j < k; j++)
				seen |= n->in[j] == v;
			if (v && !seen)
				vec_push(lo->tmp, &lo->users[v->id], n);
		}
	}
}

static void
fetch_nothing(struct body *b)
{
	for (int i = 0; i < b->s.n; i++) {
		struct stmt *s = b->s.v[i];

		if (s->kind == S_FOR)
			fetch_nothing(&s->body);
		if (s->kind == S_TILE)
			s->tile->ahead_lines = 0;
	}
}

/* Weights that the second cache holds from run to run need no prefetching. */
static void
fetch_what_is_far(struct lower *lo)
{
	struct program *p = lo->p;
	int64_t bytes = 0;

	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *b = p->buffers.v[i];

		if ((b->space == SPACE_CONST || b->space == SPACE_STATE) && !b->alias)
			bytes += b->bytes;
	}
	for (int i = 0; i < p->calls.n && bytes <= lo->ctx->opts->machine.l2; i++)
		if (p->calls.v[i].kernel)
			fetch_nothing(&p->calls.v[i].kernel->body);
}

bool
pass_lower(struct graph *g, struct pass_ctx *ctx)
{
	struct lower lo = {.g = g, .ctx = ctx, .a = ctx->arena};
	struct copies copies = {0};
	bool ok = true;

	if (!acceptable(g, ctx->diag))
		return false;
	lo.tmp = arena_create();
	lo.p = arena_new(ctx->arena, struct program);
	lo.p->name = g->name;
	lo.p->arena = ctx->arena;
	lo.p->graph = g;
	open_arrays(&lo);
	open_io(&lo);
	cluster_build(&lo);
	plan_updates(&lo, &copies);
	plan_outputs(&lo, &copies);
	cluster_sort(&lo);
	lower_host_begin(&lo);
	for (int i = lo.clusters.n - 1; i >= 0; i--)
		if (lo.clusters.v[i]->anchor && lo.clusters.v[i]->anchor->op == OP_concat)
			nest_share_concat(&lo, lo.clusters.v[i]);
	for (int i = 0; i < copies.first.n; i++)
		copy(&lo, copies.first.v[i].from, copies.first.v[i].to);
	for (int i = 0; i < lo.clusters.n && ok; i++) {
		int first = lo.p->calls.n;

		lo.layer = lo.p->layers.n + 1;
		ok = lower_cluster(&lo, lo.clusters.v[i]);
		if (lo.p->calls.n > first)
			layer_note(&lo, lo.clusters.v[i], first);
	}
	lo.layer = 0;
	for (int i = 0; i < copies.last.n; i++)
		copy(&lo, copies.last.v[i].from, copies.last.v[i].to);
	fetch_what_is_far(&lo);
	arena_destroy(lo.tmp);
	ctx->program = ok ? lo.p : NULL;
	return ok;
}
