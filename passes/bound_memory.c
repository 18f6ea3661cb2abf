/* bound_memory -- the caller's memory has room for the sizes of a run, not for their
 * upper bounds: what a bounded program reads and writes is memory of its own, and the
 * elements of the run are copied from and to the caller's. */
#include "passes/bound.h"

#include "ir/loops.h"

enum { ROW = 64 }; /* elements at once where no inner axis is fixed */

/* As whole words, whatever the elements are; words for each. */
static enum dtype
word_of(enum dtype t, int64_t *each)
{
	*each = dtype_info[t].bits == 128 ? 2 : 1;
	if (t == DT_str)
		return DT_i64;
	switch (dtype_info[t].bits) {
	case 8:
		return DT_u8;
	case 16:
		return DT_u16;
	case 32:
		return DT_i32;
	case 64:
	case 128:
		return DT_i64;
	default:
		return DT_none;
	}
}

/* `rows` (a dim) rows of n words */
static struct kernel *
copy_kernel(struct program *p, enum dtype word, int64_t rows, int64_t n)
{
	struct kernel *k = kernel_new(p->arena, "copy", LOC_NONE);
	int from = kernel_buf(p->arena, k, word, false), to = kernel_buf(p->arena, k, word, true);
	struct stmt *outer, *inner, *load, *store;
	struct affine at = AFFINE(0);

	outer = stmt_new(p->arena, &k->body, S_FOR);
	outer->loop = FOR_PARALLEL;
	outer->extent = rows;
	outer->var = kernel_var(k);
	inner = stmt_new(p->arena, &outer->body, S_FOR);
	inner->loop = FOR_VECTOR;
	inner->extent = n;
	inner->var = kernel_var(k);
	affine_add(&at, outer->var, n);
	affine_add(&at, inner->var, 1);
	load = stmt_new(p->arena, &inner->body, S_LOAD);
	load->dst = kernel_reg(p->arena, k, word);
	load->type = word;
	load->src[0] = load->src[1] = load->src[2] = -1;
	load->buf = from;
	load->index = at;
	store = stmt_new(p->arena, &inner->body, S_STORE);
	store->type = word;
	store->src[0] = load->dst;
	store->src[1] = store->src[2] = -1;
	store->buf = to;
	store->index = at;
	kernel_finish_sym(k, p->graph);
	return k;
}

static struct buffer *
new_buffer(struct program *p, const struct buffer *like)
{
	struct buffer *b = arena_new(p->arena, struct buffer);

	*b = *like;
	b->id = p->buffers.n;
	vec_push(p->arena, &p->buffers, b);
	return b;
}

/* b from element `skip` (a dim) times ROW on */
static struct buffer *
behind(struct program *p, struct buffer *b, int64_t skip)
{
	struct buffer *x = new_buffer(p, b);

	x->alias = b;
	x->at = 0;
	x->skip = skip;
	x->skip_bytes = (int64_t)dtype_bytes(b->dtype, ROW);
	return x;
}

static void
add_call(struct program *p, void *calls, struct kernel *k, struct buffer *from, struct buffer *to, struct loc loc)
{
	VEC(struct call) *list = calls;
	struct call c = {.kernel = k, .loc = loc};

	c.arg = arena_array(p->arena, struct buffer *, 2);
	c.arg[0] = from;
	c.arg[1] = to;
	vec_push(p->arena, list, c);
}

static bool
copy(struct program *p, void *calls, const struct value *v, struct buffer *from, struct buffer *to, struct diag *d)
{
	struct graph *g = p->graph;
	int64_t each, inner = 1, outer = 1, rest;
	enum dtype word = word_of(v->dtype, &each);
	int i = v->rank;

	if (word == DT_none)
		return diag_unsupported(d, v->loc, "elements of %s whose number is known at run time only",
		    dtype_info[v->dtype].name);
	while (i > 0 && dim_const(v->dims[i - 1]))
		inner *= v->dims[--i];
	while (i > 0) {
		if (!dim_fits(g, outer, v->dims[i - 1]))
			return diag_unsupported(d, v->loc, "%s: more sizes known at run time than an expression may hold",
			    value_type_text(g, v));
		outer = dim_mul(g, outer, v->dims[--i]);
	}
	if (inner == 0 || dim_hi(g, outer) == 0)
		return true;
	if (inner * each >= 8) {
		add_call(p, calls, copy_kernel(p, word, outer, inner * each), from, to, v->loc);
		return true;
	}
	outer = dim_mul(g, outer, inner);
	rest = dim_div(g, outer, ROW);
	if (dim_hi(g, rest) > 0)
		add_call(p, calls, copy_kernel(p, word, rest, ROW * each), from, to, v->loc);
	outer = dim_max(g, dim_sub(g, outer, dim_mul(g, rest, ROW)), 0);
	if (dim_hi(g, outer) >= ROW)
		outer = dim_min(g, outer, ROW - 1);
	add_call(p, calls, copy_kernel(p, word, outer, each), behind(p, from, rest), behind(p, to, rest), v->loc);
	return true;
}

static bool
varies(const struct value *v)
{
	for (int i = 0; i < v->rank; i++)
		if (bound_varies(v->dims[i]))
			return true;
	return false;
}

static struct buffer *
holder(struct buffer *b)
{
	while (b->alias)
		b = b->alias;
	return b;
}

bool
bound_memory(struct program *p, struct diag *d)
{
	VEC(struct call) before = {0}, after = {0};
	int n;

	for (int i = 0; i < p->inputs.n + p->outputs.n; i++) {
		bool in = i < p->inputs.n;
		struct io *io = in ? &p->inputs.v[i] : &p->outputs.v[i - p->inputs.n];
		struct buffer *own = io->buffer;

		if (!varies(io->value))
			continue;
		io->buffer = new_buffer(p, own);
		for (int k = 0; k < p->buffers.n; k++)
			if (p->buffers.v[k] != io->buffer && holder(p->buffers.v[k]) == own)
				p->buffers.v[k]->space = SPACE_WORK;
		own->offset = 0;
		if (!(in ? copy(p, &before, io->value, io->buffer, own, d) : copy(p, &after, io->value, own, io->buffer, d)))
			return false;
	}
	n = p->calls.n;
	for (int i = 0; i < n; i++)
		vec_push(p->arena, &before, p->calls.v[i]);
	for (int i = 0; i < after.n; i++)
		vec_push(p->arena, &before, after.v[i]);
	p->calls.n = 0;
	for (int i = 0; i < before.n; i++)
		vec_push(p->arena, &p->calls, before.v[i]);
	return true;
}
