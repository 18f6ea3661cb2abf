/* symbolic -- one program for every value of a symbolic batch.
 *
 * Where the symbol N stands only in the outermost axis of activations, linearly
 * (N, N*49), and no node mixes the items of a batch, the graph is lowered with
 * constant dims: once for blocks of BLOCK items and once for single items.  Every
 * kernel that works on items then gets one more PARALLEL loop around it, of extent
 * floor(N/BLOCK) for blocks and N mod BLOCK for the items left over, and its
 * buffers are as often repeated.  Work buffers are apart by whole cache lines,
 * whatever their layout; inputs and outputs are plain, so the items of a block are
 * adjacent there, and the second program begins behind the blocks of the first.
 *
 * What an item computes therefore depends on N only in which of the two programs
 * computes it.
 *
 * requires: core operators, before layout.  leaves: ctx->program, not yet planned. */
#include "passes/passes.h"

#include <string.h>

enum { BLOCK = 8, LINE = 64 };

/* ---- what may be symbolic */
static bool
has_symbol(const struct value *v)
{
	for (int i = 0; v && i < v->rank; i++)
		if (!dim_const(v->dims[i]))
			return true;
	return false;
}

bool
graph_is_symbolic(const struct graph *g)
{
	for (int i = 0; i < g->inputs.n; i++)
		if (has_symbol(g->inputs.v[i]))
			return true;
	for (int i = 0; i < g->nodes.n; i++)
		for (int k = 0; !g->nodes.v[i]->dead && k < g->nodes.v[i]->nout; k++)
			if (has_symbol(g->nodes.v[i]->out[k]))
				return true;
	for (int i = 0; i < g->outputs.n; i++)
		if (has_symbol(g->outputs.v[i]))
			return true;
	return false;
}

struct batch {
	struct graph *g;
	struct diag *d;
	int64_t n;
}; /* n: the symbol's handle */

static const char *
what(const struct batch *b, const struct value *v)
{
	return v->name ? arena_printf(b->g->arena, "%s %s", v->name, value_type_text(b->g, v))
		       : value_type_text(b->g, v);
}

static int64_t
one(void *ctx, const char *name, int64_t handle)
{
	(void)ctx, (void)name, (void)handle;
	return 1;
}

/* N stands in axis 0 only, as items*N. */
static bool
check_dims(const struct batch *b, const struct value *v, struct loc loc)
{
	for (int i = 0; i < v->rank; i++) {
		int64_t d = v->dims[i];

		if (dim_const(d))
			continue;
		if (i > 0 || d != dim_mul(b->g, b->n, dim_eval(b->g, d, one, NULL)))
			return diag_unsupported(b->d, loc,
			    "dim %s of axis %d of %s: a range of sizes is possible for the "
			    "outermost axis alone, and for one "
			    "symbol; give the size with --dim",
			    dim_text(b->g, d), i, what(b, v));
	}
	return true;
}

static bool
batched(const struct value *v)
{
	return v && v->rank > 0 && !dim_const(v->dims[0]);
}

/* Whether every item of the result depends on the same item of the operands. */
static bool
keeps_items(const struct node *n)
{
	const struct value *out = n->out[0];
	const int64_t *v;
	int64_t axis;

	switch (n->op) {
	case OP_iota:
		axis = attr_int(n, "axis");
		return (axis < 0 ? axis + out->rank : axis) != 0;
	case OP_expand:
		return !batched(n->in[0]) || n->in[0]->rank == out->rank;
	case OP_reshape:
		return batched(n->in[0]);
	case OP_transpose:
		return attr_ints(n, "perm", &v) ? v[0] == 0 : out->rank == 1;
	case OP_slice:
		return (attr_ints(n, "start", &v) == 0 || v[0] == 0) &&
		       (attr_ints(n, "step", &v) == 0 || v[0] == 1) &&
		       out->dims[0] == n->in[0]->dims[0];
	case OP_pad:
		return (attr_ints(n, "lo", &v) == 0 || v[0] == 0) &&
		       (attr_ints(n, "hi", &v) == 0 || v[0] == 0);
	case OP_concat:
		axis = attr_int(n, "axis");
		return (axis < 0 ? axis + out->rank : axis) != 0;
	case OP_gather:
		axis = attr_int(n, "axis");
		if (axis < 0)
			axis += n->in[0]->rank;
		return batched(n->in[0]) ? axis != 0 && !batched(n->in[1]) : axis == 0;
	case OP_tree_leaf:
		return true;
	case OP_contract:
		return true; /* a letter is one size: that of axis 0 is no other's, and not summed
				over */
	case OP_conv:
	case OP_conv_grad_data:
		return !batched(n->in[1]);
	default:
		break;
	}
	switch (op_info[n->op].class) {
	case OC_map:
		for (int i = 0; i < n->nin; i++)
			if (batched(n->in[i]) && n->in[i]->rank != out->rank)
				return false;
		return true;
	case OC_reduce:
	case OC_pool:
		return true;
	default:
		return false;
	}
}

static bool
check_node(const struct batch *b, const struct node *n)
{
	int in = 0, outs = 0;

	for (int i = 0; i < n->nin; i++)
		in += batched(n->in[i]);
	for (int i = 0; i < n->nout; i++) {
		if (n->out[i] && !check_dims(b, n->out[i], n->loc))
			return false;
		outs += batched(n->out[i]);
	}
	if (!in && !outs)
		return true;
	/* the size of an axis 0 that is kept is the operand's */
	bool same = n->nout == 1 && outs == 1 && keeps_items(n);
	for (int i = 0; same && i < n->nin; i++)
		if (batched(n->in[i]) && n->op != OP_reshape &&
		    n->in[i]->dims[0] != n->out[0]->dims[0])
			same = false;
	if (same)
		return true;
	for (int i = 0; i < n->nin; i++)
		if (batched(n->in[i]))
			return diag_unsupported(b->d, n->loc,
			    "%s mixes the items of %s; give %s one size with --dim",
			    op_info[n->op].id, what(b, n->in[i]), dim_text(b->g, b->n));
	return diag_unsupported(b->d, n->loc,
	    "%s makes %s, whose items depend on their place; give %s one size with --dim",
	    op_info[n->op].id, what(b, n->out[0]), dim_text(b->g, b->n));
}

static bool
check_graph(struct batch *b)
{
	struct graph *g = b->g;
	int64_t sym[64];
	int n = dim_symbols(g, sym, 64);

	if (g->updates.n || g->states.n)
		return diag_unsupported(b->d, LOC_FILE(g->name),
		    "states together with a size that is not fixed; give sizes with --dim");
	for (int i = 0; !b->n && i < g->inputs.n; i++)
		for (int k = 0; k < n && k < 64; k++)
			if (batched(g->inputs.v[i]) && g->inputs.v[i]->dims[0] == sym[k])
				b->n = sym[k];
	for (int i = 0; i < g->inputs.n; i++) {
		const struct value *v = g->inputs.v[i];

		if (!b->n && has_symbol(v))
			return diag_unsupported(b->d, v->loc,
			    "%s: a range of sizes is possible for an outermost axis alone; give "
			    "the size with --dim",
			    what(b, v));
		if (!check_dims(b, v, v->loc))
			return false;
	}
	if (!b->n)
		return diag_unsupported(
		    b->d, LOC_FILE(g->name), "a size depends on data; give sizes with --dim");
	for (int i = 0; i < g->nodes.n; i++)
		if (!g->nodes.v[i]->dead && !check_node(b, g->nodes.v[i]))
			return false;
	return true;
}

/* ---- the graph with `items` for N */
static struct graph *
fixed_graph(const struct batch *b, int64_t items)
{
	struct graph *g = b->g, *c = graph_create(g->arena, g->name);
	struct value **map = arena_array(g->arena, struct value *, g->nvalue + 1);

	dim_fix(c, dim_text(g, b->n), items);
	graph_clone_into(c, g, map, NULL);
	for (int i = 0; i < g->outputs.n; i++)
		graph_output(c, g->output_names.v[i], map[g->outputs.v[i]->id]);
	return c;
}

/* ---- programs of items, repeated */
struct repeat {
	const struct batch *b;
	struct arena *a;
	int64_t extent, most; /* how often, and at most */
	int64_t full;	      /* how often for the greatest N */
	int64_t from;	      /* dim: items of inputs and outputs before the first */
	bool *items;	      /* by buffer id: repeated */
	bool *call;	      /* by call */
	int64_t *stride;      /* by buffer id, bytes */
};

static struct buffer *
holder(struct buffer *b)
{
	while (b->alias)
		b = b->alias;
	return b;
}

/* Repeated are the batched inputs and outputs and whatever is made along with, or of,
 * what is repeated. */
static void
spread(struct repeat *r, struct program *p)
{
	struct graph *g = r->b->g;
	bool more = true;

	for (int i = 0; i < p->inputs.n; i++)
		r->items[p->inputs.v[i].buffer->id] = batched(g->inputs.v[i]);
	for (int i = 0; i < p->outputs.n; i++)
		r->items[p->outputs.v[i].buffer->id] = batched(g->outputs.v[i]);
	while (more) {
		more = false;
		for (int c = 0; c < p->calls.n; c++) {
			const struct call *call = &p->calls.v[c];
			bool any = r->call[c];

			for (int k = 0; !any && k < call->kernel->nbuf; k++)
				any = r->items[holder(call->arg[k])->id];
			if (!any)
				continue;
			r->call[c] = true;
			for (int k = 0; k < call->kernel->nbuf; k++)
				if (call->kernel->buf_written[k] &&
				    !r->items[holder(call->arg[k])->id])
					more = r->items[holder(call->arg[k])->id] = true;
		}
	}
}

/* Adds coef*var to every address in a repeated buffer; false: no room. */
static bool
shift(struct body *b, int var, const int64_t *stride)
{
	for (int i = 0; i < b->s.n; i++) {
		struct stmt *s = b->s.v[i];
		struct {
			struct affine *at;
			int buf;
		} use[2] = {{NULL, 0}, {NULL, 0}};

		if (s->kind == S_FOR && !shift(&s->body, var, stride))
			return false;
		if (s->kind == S_LOAD || s->kind == S_STORE) {
			use[0].at = &s->index;
			use[0].buf = s->buf;
		} else if (s->kind == S_TILE) {
			use[0].at = &s->tile->a.index;
			use[0].buf = s->tile->a.buf;
			use[1].at = &s->tile->b.index;
			use[1].buf = s->tile->b.buf;
			if (!shift(&s->tile->epilogue, var, stride))
				return false;
		}
		for (int k = 0; k < 2 && use[k].at; k++) {
			if (stride[use[k].buf] &&
			    use[k].at->n == (int)(sizeof use[k].at->t / sizeof *use[k].at->t))
				return false;
			affine_add(use[k].at, var, stride[use[k].buf]);
		}
	}
	return true;
}

static bool
repeat_call(struct repeat *r, struct call *c)
{
	struct kernel *k = c->kernel;
	int64_t *stride = arena_array(r->a, int64_t, k->nbuf + 1);
	struct body inner = k->body;
	struct stmt *loop;

	if (c->provider_blas)
		return diag_unsupported(r->b->d, c->loc, "--blas with a size that is not fixed");
	for (int i = 0; i < k->nbuf; i++) {
		struct buffer *h = holder(c->arg[i]);

		if (k->buf_slot[i])
			stride[i] = 0; /* the slots of more pieces are behind each other anyway */
		else if (r->items[h->id])
			stride[i] = r->stride[h->id] / (int64_t)dtype_bytes(c->arg[i]->dtype, 1);
		else if (k->buf_written[i])
			return diag_unsupported(r->b->d, c->loc,
			    "an output without the axis %s is made along with others that have it; "
			    "give %s one size with --dim",
			    dim_text(r->b->g, r->b->n), dim_text(r->b->g, r->b->n));
	}
	k->body = (struct body){0};
	loop = stmt_new(r->a, &k->body, S_FOR);
	loop->loop = FOR_PARALLEL;
	loop->extent = r->extent;
	loop->var = kernel_var(k);
	loop->body = inner;
	if (!shift(&loop->body, loop->var, stride))
		return diag_unsupported(r->b->d, c->loc,
		    "an address of too many terms; give %s one size with --dim",
		    dim_text(r->b->g, r->b->n));
	kernel_finish_sym(k, r->b->g);
	k->flops *= (double)r->full;
	return true;
}

static bool
repeat_program(struct repeat *r, struct program *p)
{
	r->items = arena_array(r->a, bool, p->buffers.n + 1);
	r->stride = arena_array(r->a, int64_t, p->buffers.n + 1);
	r->call = arena_array(r->a, bool, p->calls.n + 1);
	for (int i = 0; i < p->buffers.n; i++)
		if (p->buffers.v[i]->id != i)
			die("buffers out of order");
	spread(r, p);
	for (int i = 0; i < p->buffers.n; i++) {
		struct buffer *b = p->buffers.v[i];
		int64_t total;

		if (!r->items[i] || b->alias)
			continue;
		if (b->space != SPACE_IO && b->space != SPACE_WORK)
			die("a constant is written");
		r->stride[i] =
		    b->space == SPACE_IO ? b->bytes : (b->bytes + LINE - 1) / LINE * LINE;
		if (b->space == SPACE_IO) {
			b->skip = r->from;
			b->skip_bytes = b->bytes;
		}
		if (__builtin_mul_overflow(r->stride[i], r->most, &total) || total > (int64_t)1
											 << 46)
			return diag_unsupported(r->b->d, LOC_FILE(r->b->g->name),
			    "%s up to %lld: more memory than can be addressed",
			    dim_text(r->b->g, r->b->n), (long long)dim_hi(r->b->g, r->b->n));
		b->count = total / (int64_t)dtype_bytes(b->dtype, 1);
		b->bytes = total;
	}
	for (int i = 0; i < p->buffers.n; i++)
		if (p->buffers.v[i]->alias && holder(p->buffers.v[i])->space == SPACE_IO &&
		    r->items[holder(p->buffers.v[i])->id]) {
			p->buffers.v[i]->skip = r->from;
			p->buffers.v[i]->skip_bytes = r->stride[holder(p->buffers.v[i])->id];
		}
	for (int i = 0; i < p->calls.n; i++)
		if (r->call[i] && !repeat_call(r, &p->calls.v[i]))
			return false;
	return true;
}

/* ---- one program of the two; plan sees equal constants */
static void
append(struct program *to, const struct program *p, int64_t times)
{
	int first = to->layers.n;

	for (int i = 0; i < p->layers.n; i++) {
		struct layer l = p->layers.v[i];

		l.time.predicted *= (double)times;
		vec_push(to->arena, &to->layers, l);
	}
	for (int i = 0; i < p->buffers.n; i++) {
		struct buffer *b = p->buffers.v[i];

		b->id = to->buffers.n;
		vec_push(to->arena, &to->buffers, b);
	}
	for (int i = 0; i < p->calls.n; i++) {
		vec_push(to->arena, &to->calls, p->calls.v[i]);
		if (p->calls.v[i].layer)
			to->calls.v[to->calls.n - 1].layer += first;
	}
}

static void
add_io(struct program *p, struct graph *g, struct value *v, const char *name, bool input)
{
	struct buffer *b = arena_new(p->arena, struct buffer);
	int64_t dims[MAX_RANK];

	for (int i = 0; i < v->rank; i++)
		dims[i] = dim_hi(g, v->dims[i]);
	b->id = p->buffers.n;
	b->dtype = v->dtype;
	b->space = SPACE_IO;
	b->offset = p->inputs.n + p->outputs.n;
	b->count = dims_count(v->rank, dims);
	b->bytes = (int64_t)dtype_bytes(v->dtype, b->count);
	b->value = v;
	b->first = b->last = -1;
	vec_push(p->arena, &p->buffers, b);
	if (input)
		vec_push(p->arena, &p->inputs, (struct io){name, v, b});
	else
		vec_push(p->arena, &p->outputs, (struct io){name, v, b});
}

/* N is axis 0 of everything that comes and goes. */
static bool
counts_items(const struct batch *b)
{
	struct graph *g = b->g;

	for (int i = 0; i < g->inputs.n + g->outputs.n; i++) {
		const struct value *v = i < g->inputs.n ? g->inputs.v[i] : g->outputs.v[i - g->inputs.n];

		if (v->rank < 1 || v->dims[0] != b->n)
			return false;
	}
	return true;
}

bool
lower_symbolic(struct graph *g, const char *order, struct pass_ctx *ctx)
{
	struct batch b = {g, ctx->diag, 0};
	struct program *p;
	int64_t hi, blocks, size;

	ctx->program = NULL;
	if (!check_graph(&b))
		return false;
	hi = dim_hi(g, b.n);
	if (hi > (int64_t)1 << 40)
		return diag_unsupported(b.d, LOC_FILE(g->name),
		    "%s has no bound; give one with --dim %s=1..64", dim_text(g, b.n),
		    dim_text(g, b.n));
	p = arena_new(ctx->arena, struct program);
	p->name = g->name;
	p->arena = ctx->arena;
	p->graph = g;
	p->sym = arena_dup(ctx->arena, &b.n, sizeof b.n);
	p->nsym = p->ngiven = 1;
	p->items = counts_items(&b);
	for (int i = 0; i < g->inputs.n; i++)
		add_io(p, g, g->inputs.v[i], g->inputs.v[i]->name, true);
	for (int i = 0; i < g->outputs.n; i++)
		add_io(p, g, g->outputs.v[i], g->output_names.v[i], false);
	for (size = hi >= BLOCK ? BLOCK : 1; size; size = size > 1) {
		struct repeat r = {.b = &b, .a = ctx->arena};
		struct graph *c = fixed_graph(&b, size);

		blocks = dim_div(g, b.n, BLOCK);
		if (size > 1) {
			r.extent = blocks;
			r.most = hi / BLOCK;
		} else if (hi >= BLOCK) {
			r.from = dim_mul(g, blocks, BLOCK);
			r.extent = dim_min(g, dim_sub(g, b.n, r.from), BLOCK - 1);
			r.most = BLOCK - 1;
		} else {
			r.extent = b.n;
			r.most = hi;
		}
		r.full = size == 1 && hi >= BLOCK ? hi % BLOCK : r.most;
		ctx->program = NULL;
		if (!passes_run_named(c, order, ctx))
			return false;
		require(ctx->program);
		if (!repeat_program(&r, ctx->program))
			return false;
		append(p, ctx->program, r.full);
	}
	ctx->program = p;
	return true;
}
