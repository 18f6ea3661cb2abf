/* layout -- decides how every value lies in memory and inserts relayout nodes.
 *
 * Around convolutions activations are blocked by channels (NCHW16c or 8c) with a
 * halo as wide as their readers need; elementwise nodes, pooling and spatial
 * reductions between them keep the blocks; everything else is plain.  Weights
 * and the vector operand of contractions are packed in the order that the tiles
 * read them, constants without any node.
 *
 * requires: core operators only, constant dims where a tile is to serve.
 * leaves: value->layout set, operands of tiled nodes as tile.c expects them.
 * does not: choose algorithms; fold relayout of constants (there is none). */
#include "passes/tile.h"

#include <string.h>

struct lay {
	struct graph *g;
	struct arena *a;             /* the graph's */
	const struct machine *m;
	int64_t block;
	int n;                       /* values known at the start */
	bool *blocked;               /* by value id */
	bool *wanted;                /* by value id: a convolution reads it in blocks */
	int64_t (*lo)[3], (*hi)[3];  /* halo wanted of the blocked form, by value id */
	/* the copies made of a value, by value id */
	struct copy { struct value *v; struct copy *next; } **copies;
};

/* Values of one image-like shape can share blocks. */
static bool
same_dims(const struct value *a, const struct value *b)
{
	return dims_equal(a->rank, a->dims, b->rank, b->dims);
}

static bool
depthwise(const struct node *n, struct conv_shape *s)
{
	return conv_shape_of(n, s) && s->group > 1 && s->group == s->ic && s->oc == s->ic &&
	       n->out[0]->dtype == DT_f32;
}

static bool
concat_blocks(const struct lay *l, const struct node *n)
{
	int64_t axis = attr_int(n, "axis");

	if (axis < 0)
		axis += n->out[0]->rank;
	for (int i = 0; i < n->nin; i++) {
		if (!l->blocked[n->in[i]->id])
			return false;
		if (axis == 1 && i + 1 < n->nin && n->in[i]->dims[1] % l->block)
			return false;
	}
	return axis != 0 || n->nin > 0;
}

/* Channels are innermost in what v transposes, as they are in a block. */
static bool
channels_last(const struct value *v)
{
	const int64_t *perm;

	return v->kind == VAL_NODE && v->def->op == OP_transpose && !v->def->in[0]->layout &&
	       attr_ints(v->def, "perm", &perm) == v->rank && perm[1] == v->rank - 1;
}

/* Whether the node's first output comes in blocks, given its operands. */
static bool
makes_blocks(const struct lay *l, const struct node *n)
{
	const struct value *out = n->out[0];
	struct conv_shape s;

	if (out->rank < 3 || out->rank > 5)
		return false;
	switch (n->op) {
	case OP_conv:
	case OP_conv_grad_data:
		return conv_tiled(n, l->block, &s) || depthwise(n, &s);
	case OP_winograd_conv:
		return true;
	case OP_max_pool:
	case OP_sum_pool:
	case OP_sum_pool_grad:
		return l->blocked[n->in[0]->id];
	case OP_max_pool_grad:
		return l->blocked[n->in[0]->id] || l->blocked[n->in[2]->id];
	case OP_concat:
		return concat_blocks(l, n);
	case OP_transpose:
		return l->wanted[out->id] && channels_last(out);
	default:
		break;
	}
	if (op_info[n->op].class != OC_map)
		return false;
	bool all = l->wanted[out->id], any = false;
	for (int i = 0; i < n->nin; i++) {
		if (!same_dims(n->in[i], out))
			continue;
		if (l->blocked[n->in[i]->id])
			return true;
		any |= channels_last(n->in[i]);
		all &= channels_last(n->in[i]);
	}
	return all && any;
}

static void
want_halo(struct lay *l, const struct value *v, int d, int64_t lo, int64_t hi)
{
	if (l->lo[v->id][d] < lo)
		l->lo[v->id][d] = lo;
	if (l->hi[v->id][d] < hi)
		l->hi[v->id][d] = hi;
}

/* The values that the halo of a copy of v would stand around: v itself. */
static void
collect_halos(struct lay *l, const struct node *n)
{
	struct winograd_shape w;
	struct conv_shape s;
	int64_t lo[3], hi[3];

	if (winograd_shape_of(n, &w))
		for (int d = 0; d < 2; d++) {
			want_halo(l, n->in[0], d, w.lo[d], w.hi[d]);
			if (w.gradient)
				want_halo(l, n->in[1], d, 0, w.tiles[d] * w.w->m - w.out[d]);
		}
	if (n->op != OP_conv && n->op != OP_conv_grad_data && n->op != OP_conv_grad_weight)
		return;
	bool tiled = conv_tiled(n, l->block, &s);

	if (!tiled && !depthwise(n, &s))
		return;
	if (n->op == OP_conv_grad_data) {
		conv_grad_halo(&s, lo, hi);
		for (int d = 0; d < s.spatial; d++)
			want_halo(l, n->in[0], d, lo[d], hi[d]);
		return;
	}
	for (int d = 0; d < s.spatial; d++) {
		struct conv_span span[MAX_SPANS];
		int spans = conv_spans(&s, d, span);

		if (n->op == OP_conv && tiled && (spans > 1 || span[0].taps < s.kernel[d]))
			continue; /* cut so that no tap reads outside */
		want_halo(l, n->in[0], d, s.lo[d], s.hi[d]);
	}
}

/* Operands of a concatenation along the items are made in their places if they have its halo. */
static void
share_halos(struct lay *l, const struct node *n)
{
	const struct value *out = n->out[0];

	if (n->op != OP_concat || !l->blocked[out->id] || (attr_int(n, "axis") != 0 && attr_int(n, "axis") != -out->rank))
		return;
	for (int turn = 0; turn < 2; turn++)
		for (int i = 0; i < n->nin; i++)
			for (int d = 0; d + 2 < out->rank; d++) {
				const struct value *from = turn ? out : n->in[i], *to = turn ? n->in[i] : out;

				want_halo(l, to, d, l->lo[from->id][d], l->hi[from->id][d]);
			}
}

static const struct layout *
blocked_layout(struct lay *l, const struct value *v)
{
	return layout_blocked(l->a, v->rank, v->dims, l->block, l->lo[v->id], l->hi[v->id]);
}

/* Planes with a halo, channels apart: what a stem reads. */
static const struct layout *
stem_layout(struct lay *l, const struct value *v)
{
	struct layout *s = arena_new(l->a, struct layout);

	for (int i = 0; i < v->rank; i++) {
		if (i >= 2) {
			s->lo[i] = l->lo[v->id][i - 2];
			s->hi[i] = l->hi[v->id][i - 2];
		}
		s->phys[s->n++] = (struct phys){i, v->dims[i] + s->lo[i] + s->hi[i], 1};
	}
	return s;
}

/* v in layout `want` (NULL: plain), through a copy where it is not so already. */
static struct value *
in_layout(struct lay *l, struct value *v, const struct layout *want)
{
	if (want && v->layout && layout_equal(v->layout, want))
		return v;
	if (!want && !v->layout)
		return v;
	/* a blocked value's copies hang on the id it had at the start */
	for (struct copy *c = v->id < l->n ? l->copies[v->id] : NULL; c; c = c->next)
		if (want ? c->v->layout && layout_equal(c->v->layout, want) : !c->v->layout)
			return c->v;
	struct value *made;
	if (v->kind == VAL_CONST) {
		made = graph_const(l->g, arena_printf(l->a, "%s.packed", v->name ? v->name : "const"), v->data);
		made->layout = want;
	} else {
		struct loc loc = v->def ? v->def->loc : v->loc;

		loc.maker = "layout";
		struct node *n = graph_node(l->g, OP_relayout, NULL, loc, 1, &v, 1);
		made = n->out[0];
		value_set(made, v->dtype, v->rank, v->dims);
		made->layout = want;
	}
	made->loc = v->loc;
	if (v->id < l->n) {
		struct copy *c = arena_new(l->a, struct copy);

		*c = (struct copy){made, l->copies[v->id]};
		l->copies[v->id] = c;
	}
	return made;
}

static struct value *
blocks_of(struct lay *l, struct value *v)
{
	if (v->layout && v->id < l->n && l->blocked[v->id])
		return v;
	return in_layout(l, v, blocked_layout(l, v));
}

static void
contract_operands(struct lay *l, struct node *n)
{
	struct contract_roles r;

	for (int i = 0; i < 2; i++)
		n->in[i] = in_layout(l, n->in[i], NULL);
	if (!contract_roles(n, &r))
		return;
	struct value *b = n->in[r.b];
	/* a vector operand with adjacent columns can be read where it is */
	int64_t after = 1, rows = 1, cols = r.size[(int)r.col];
	for (int i = r.nb - 1; i >= 0 && r.sb[i] != r.col; i--)
		after *= b->dims[i];
	for (const char *c = r.rows; *c; c++)
		rows *= r.size[(int)*c];
	if (after == 1 && b->kind != VAL_CONST)
		return;
	if (b->kind != VAL_CONST && (rows < 4 || cols < 4))
		return; /* packing costs more than the nest */
	n->in[r.b] = in_layout(l, b, contract_panels(l->a, &r, l->block, contract_blocks(l->m, &r).parts));
}

static void
conv_operands(struct lay *l, struct node *n)
{
	struct winograd_shape wino;
	struct conv_shape s;

	if (winograd_shape_of(n, &wino)) {
		n->in[0] = blocks_of(l, n->in[0]);
		n->in[1] = wino.gradient ? blocks_of(l, n->in[1])
					 : in_layout(l, n->in[1], winograd_weight_layout(l->a, &wino, l->block));
		return;
	}
	if (depthwise(n, &s)) {
		n->in[0] = blocks_of(l, n->in[0]);
		if (n->op == OP_conv_grad_weight)
			n->in[1] = blocks_of(l, n->in[1]);
		else { /* [C,1,k..]: lanes of channels */
			struct layout *w = arena_new(l->a, struct layout);

			w->phys[w->n++] = (struct phys){0, (s.oc + l->block - 1) / l->block, l->block};
			for (int d = 0; d < s.spatial; d++)
				w->phys[w->n++] = (struct phys){2 + d, s.kernel[d], 1};
			w->phys[w->n++] = (struct phys){0, l->block, 1};
			n->in[1] = in_layout(l, n->in[1], w);
		}
		return;
	}
	if (!conv_tiled(n, l->block, &s)) {
		for (int i = 0; i < n->nin; i++)
			n->in[i] = in_layout(l, n->in[i], NULL);
		return;
	}
	struct value *x = n->in[0];
	bool plain_x = !x->layout && n->op != OP_conv_grad_data && conv_stem(&s, l->block);
	n->in[0] = plain_x ? in_layout(l, x, stem_layout(l, x)) : blocks_of(l, x);
	if (n->op == OP_conv_grad_weight)
		n->in[1] = blocks_of(l, n->in[1]);
	else {
		/* blocked x of a stem-sized layer: weights in full blocks too */
		struct conv_shape ws = s;

		if (n->op == OP_conv && !plain_x && conv_stem(&s, l->block))
			ws.ic = l->block;
		const struct layout *w = conv_weight_layout(l->a, &ws, l->block, n->op == OP_conv_grad_data);
		n->in[1] = in_layout(l, n->in[1], w);
	}
}

/* A slice so small that it is read where its operand lies. */
static bool
few_elements(const struct node *n)
{
	const struct value *x = n->in[0], *y = n->out[0];

	return n->op == OP_slice && dims_count(y->rank, y->dims) * 16 <= dims_count(x->rank, x->dims);
}

/* Gives the node's operands the layouts its kernel wants, and its output its own. */
static void
visit(struct lay *l, struct node *n)
{
	struct conv_shape s;
	struct value *out = n->out[0];
	bool blocks = out->id < l->n && l->blocked[out->id];

	switch (op_info[n->op].class) {
	case OC_contract:
		contract_operands(l, n);
		break;
	case OC_conv:
		conv_operands(l, n);
		break;
	case OC_reduce:
		if (n->op != OP_argmax && n->op != OP_argmin)
			break; /* reads any layout */
		n->in[0] = in_layout(l, n->in[0], NULL);
		break;
	default:
		for (int i = 0; i < n->nin; i++) {
			if (!n->in[i] || few_elements(n))
				continue;
			if (!blocks || n->op == OP_transpose)
				n->in[i] = in_layout(l, n->in[i], NULL);
			else if (n->op != OP_concat && op_info[n->op].class == OC_map &&
			         (!same_dims(n->in[i], out) ||
			             (n->in[i]->def && op_info[n->in[i]->def->op].class == OC_view)))
				; /* broadcast or computed by index: read as it is */
			else
				n->in[i] = blocks_of(l, n->in[i]);
		}
	}
	vec_push(l->g->arena, &l->g->nodes, n);
	if (blocks)
		out->layout = blocked_layout(l, out);
	if (n->op == OP_conv_grad_weight && conv_tiled(n, l->block, &s)) {
		/* made in packed form, read in plain: the node's value keeps its users, so
		 * the packed one is new and the old becomes its copy */
		struct conv_shape ws = s;
		bool plain_x = n->in[0]->layout && n->in[0]->layout->phys[1].step == 1;

		if (!plain_x && conv_stem(&s, l->block))
			ws.ic = l->block;
		struct node *copy = graph_node(l->g, OP_relayout, NULL, n->loc, 1, &out, 1);
		struct value *packed = copy->out[0];

		value_set(packed, out->dtype, out->rank, out->dims);
		packed->layout = conv_weight_layout(l->a, &ws, l->block, false);
		n->out[0] = packed;
		packed->def = n;
		copy->in[0] = packed;
		copy->out[0] = out;
		out->def = copy;
	}
}

bool
pass_layout(struct graph *g, struct pass_ctx *ctx)
{
	struct mark mark = arena_mark(ctx->arena);
	struct lay l = {.g = g, .a = g->arena, .n = g->nvalue};

	l.m = &ctx->opts->machine;
	l.block = tile_block(l.m);
	struct arena *s = ctx->arena;
	l.blocked = arena_array(s, bool, g->nvalue);
	l.wanted = arena_array(s, bool, g->nvalue);
	l.lo = arena_alloc(s, sizeof *l.lo * (size_t)g->nvalue);
	l.hi = arena_alloc(s, sizeof *l.hi * (size_t)g->nvalue);
	l.copies = arena_array(s, struct copy *, g->nvalue);

	/* 1. which values come in blocks */
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		struct conv_shape shape;

		if (!n->dead && (n->op == OP_winograd_conv ||
		                    (n->op == OP_conv && (conv_tiled(n, l.block, &shape) || depthwise(n, &shape)))))
			l.wanted[n->in[0]->id] = true;
	}
	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];

		if (!n->dead && n->nout > 0 && n->out[0])
			l.blocked[n->out[0]->id] = makes_blocks(&l, n);
	}
	/* 2. how wide their halos are */
	for (int i = 0; i < g->nodes.n; i++)
		if (!g->nodes.v[i]->dead)
			collect_halos(&l, g->nodes.v[i]);
	for (int i = g->nodes.n - 1; i >= 0; i--)
		if (!g->nodes.v[i]->dead)
			share_halos(&l, g->nodes.v[i]);
	/* 3. operands and outputs, copies in between */
	int n = g->nodes.n;
	struct node **old = g->nodes.v;
	g->nodes.v = NULL;
	g->nodes.n = g->nodes.cap = 0;
	for (int i = 0; i < n; i++)
		if (!old[i]->dead)
			visit(&l, old[i]);
	for (int i = 0; i < g->outputs.n; i++)
		g->outputs.v[i] = in_layout(&l, g->outputs.v[i], NULL);
	for (int i = 0; i < g->updates.n; i++)
		g->updates.v[i].next = in_layout(&l, g->updates.v[i].next, NULL);
	if (s != g->arena)
		arena_reset(ctx->arena, mark);
	return true;
}
