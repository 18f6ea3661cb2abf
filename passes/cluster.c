/* cluster -- cuts the graph into kernels.
 *
 * Requires core operators and known dims.  Leaves lower->clusters in execution
 * order.  A node is in one cluster, or in none: then it is computed where it is
 * used (views, cheap maps of one large operand) or its output views its
 * operand's memory (reshapes of plain values; `after`, which waits for its other one).
 *
 * Greedy in graph order: a map joins the contraction or convolution it follows,
 * else the nests that make its operands; a reduction joins a nest that reads the
 * same; every join is a set of nodes that nest_fits (nest_space.c) accepts and that leaves
 * no cycle among clusters. */
#include "passes/nest.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 40 };

static bool
is_view(enum op op)
{
	return op_info[op].class == OC_view || op == OP_relayout || op == OP_gather || op == OP_rng;
}

static bool
is_anchor(enum op op)
{
	return op_info[op].class == OC_contract || op_info[op].class == OC_conv;
}

bool
nest_is_reduce(enum op op)
{
	return op == OP_reduce_sum || op == OP_reduce_prod || op == OP_reduce_max ||
	       op == OP_reduce_min;
}

/* A reshape that only adds or removes dims of size 1. */
bool
nest_ones_only(const struct node *n)
{
	const struct value *x = n->in[0], *y = n->out[0];
	int i = 0, j = 0;

	for (;;) {
		while (i < x->rank && x->dims[i] == 1)
			i++;
		while (j < y->rank && y->dims[j] == 1)
			j++;
		if (i == x->rank || j == y->rank)
			return i == x->rank && j == y->rank;
		if (x->dims[i++] != y->dims[j++])
			return false;
	}
}

/* Whether n can compute operand k where it uses it, rather than read it from memory. */
static bool
pulls(const struct node *n, int k)
{
	switch (op_info[n->op].class) {
	case OC_map:
		return true;
	case OC_reduce:
		return true;
	case OC_view:
		return n->op != OP_reshape || nest_ones_only(n);
	default:
		return n->op == OP_relayout || n->op == OP_rng || (n->op == OP_gather && k == 1) ||
		       (op_info[n->op].class == OC_index && n->op != OP_gather && k == 0);
	}
}

static int64_t
count(const struct value *v)
{
	return dims_count(v->rank, v->dims);
}

/* ---- which nodes are computed where they are used */
struct inliner {
	struct lower *lo;
	bool *inlined;	     /* by node id */
	bool *memory;	     /* by value id: someone wants it in memory */
	struct value **base; /* by value id: the one large value that a cheap map reads */
	int *cost;
};

static bool
cheap(enum op op)
{
	switch (op) {
	case OP_neg:
	case OP_abs:
	case OP_not:
	case OP_cast:
	case OP_add:
	case OP_sub:
	case OP_mul:
	case OP_max:
	case OP_min:
	case OP_and:
	case OP_or:
	case OP_eq:
	case OP_lt:
	case OP_le:
	case OP_select:
		return true;
	default:
		return false;
	}
}

/* The single operand of n as large as its output, or NULL. */
static struct value *
only_large(const struct node *n)
{
	struct value *big = NULL;

	for (int i = 0; i < n->nin; i++) {
		struct value *v = n->in[i];

		while (v->kind == VAL_NODE &&
		       (v->def->op == OP_expand ||
			   (v->def->op == OP_reshape && nest_ones_only(v->def))))
			v = v->def->in[0];
		if (v == big || count(v) * 8 <= count(n->out[0]))
			continue;
		if (big || !dims_equal(v->rank, v->dims, n->out[0]->rank, n->out[0]->dims))
			return NULL;
		big = v;
	}
	return big;
}

static void
find_bases(struct inliner *in)
{
	struct graph *g = in->lo->g;

	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];
		struct value *big, *out = n->nout ? n->out[0] : NULL;

		if (n->dead || !cheap(n->op) || !(big = only_large(n)))
			continue;
		if (in->base[big->id]) {
			in->cost[out->id] = in->cost[big->id] + 1;
			in->base[out->id] = in->base[big->id];
		} else if (big->kind != VAL_NODE || in->lo->uses[big->id] > 1) {
			in->cost[out->id] = 1;
			in->base[out->id] = big;
		}
		if (in->cost[out->id] > 5)
			in->base[out->id] = NULL;
	}
}

static bool
inline_view(const struct node *n, int nusers)
{
	switch (n->op) {
	case OP_concat:
		return false;
	case OP_relayout:
		return false;
	case OP_pad:
	case OP_gather:
	case OP_rng:
	case OP_transpose:
		return nusers <= 1;
	case OP_reshape:
		return nest_ones_only(n);
	default:
		return true;
	}
}

static void
choose_inline(struct inliner *in)
{
	struct lower *lo = in->lo;
	struct graph *g = lo->g;

	for (int i = 0; i < g->outputs.n; i++)
		in->memory[g->outputs.v[i]->id] = true;
	for (int i = 0; i < g->updates.n; i++)
		in->memory[g->updates.v[i].next->id] = true;
	for (int i = g->nodes.n - 1; i >= 0; i--) {
		struct node *n = g->nodes.v[i];
		struct value *out = n->nout ? n->out[0] : NULL;
		bool plain, follow = false;

		if (n->dead || !out)
			continue;
		for (int k = 0; k < n->nin; k++)
			if (!pulls(n, k))
				in->memory[n->in[k]->id] = true;
		if (n->op == OP_after) {
			lo->alias[out->id] = n->in[0];
			in->inlined[n->id] = true;
			continue;
		}
		plain = !out->layout && n->nin && !n->in[0]->layout;
		if (n->op == OP_reshape && plain && (in->memory[out->id] || !nest_ones_only(n))) {
			in->memory[n->in[0]->id] = true;
			lo->alias[out->id] = n->in[0];
			in->inlined[n->id] = true;
			continue;
		}
		if (in->memory[out->id])
			continue;
		if (is_view(n->op)) {
			in->inlined[n->id] = inline_view(n, lo->users[out->id].n);
			continue;
		}
		for (int k = 0; k < lo->users[out->id].n; k++)
			follow |= in->inlined[lo->users[out->id].v[k]->id];
		if (in->base[out->id] && (follow || lo->users[out->id].n > 1))
			in->inlined[n->id] = true;
	}
}

/* ---- dependences while clusters form */
static void
add_source(struct lower *lo, struct value *v, struct clusters *to)
{
	struct cluster *c;

	if (v->kind != VAL_NODE)
		return;
	c = lo->cluster_of[v->def->id];
	if (!c) {
		for (int k = 0; k < v->def->nin; k++)
			add_source(lo, v->def->in[k], to);
		return;
	}
	for (int i = 0; i < to->n; i++)
		if (to->v[i] == c)
			return;
	vec_push(lo->a, to, c);
}

static struct clusters
sources(struct lower *lo, struct node *n)
{
	struct clusters r = {0};

	for (int k = 0; k < n->nin; k++)
		add_source(lo, n->in[k], &r);
	return r;
}

static bool
reaches_from(struct lower *lo, struct cluster *c, struct cluster *to)
{
	if (c == to)
		return true;
	if (c->mark == lo->search)
		return false;
	c->mark = lo->search;
	for (int i = 0; i < c->deps.n; i++)
		if (!c->deps.v[i]->gone && reaches_from(lo, c->deps.v[i], to))
			return true;
	return false;
}

/* Whether c depends on `to` through its operands. */
static bool
reaches(struct lower *lo, struct cluster *c, struct cluster *to)
{
	lo->search++;
	return reaches_from(lo, c, to);
}

static void
add_dep(struct lower *lo, struct cluster *c, struct cluster *on)
{
	if (c == on || on->gone) /* what was absorbed has passed its own on */
		return;
	for (int i = 0; i < c->deps.n; i++)
		if (c->deps.v[i] == on)
			return;
	vec_push(lo->tmp, &c->deps, on);
}

/* Joining these clusters and a node with these sources leaves no cycle: nothing
 * outside that one of them needs depends on another of them. */
static bool
acyclic(struct lower *lo, const struct clusters *join, const struct clusters *src)
{
	for (int i = 0; i < join->n; i++) {
		for (int k = 0; k < src->n; k++) {
			bool inside = false;

			for (int j = 0; j < join->n; j++)
				inside |= src->v[k] == join->v[j];
			if (!inside && reaches(lo, src->v[k], join->v[i]))
				return false;
		}
		for (int j = 0; j < join->n; j++)
			for (int d = 0; i != j && d < join->v[j]->deps.n; d++) {
				struct cluster *z = join->v[j]->deps.v[d];
				bool inside = false;

				for (int m = 0; m < join->n; m++)
					inside |= z == join->v[m];
				if (!inside && reaches(lo, z, join->v[i]))
					return false;
			}
	}
	return true;
}

static struct cluster *
cluster_new(struct lower *lo, enum cluster_kind kind, struct node *n)
{
	struct cluster *c = arena_new(lo->a, struct cluster);

	c->kind = kind;
	c->id = lo->clusters.n;
	c->first = c->last = lo->pos[n->id];
	vec_push(lo->tmp, &lo->clusters, c);
	return c;
}

static void
add_node(struct lower *lo, struct cluster *c, struct node *n, const struct clusters *src)
{
	vec_push(lo->tmp, &c->nodes, n);
	lo->cluster_of[n->id] = c;
	if (lo->pos[n->id] > c->last)
		c->last = lo->pos[n->id];
	for (int i = 0; i < src->n; i++)
		add_dep(lo, c, src->v[i]);
}

static int
by_position(const void *a, const void *b, void *pos)
{
	const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;

	return ((int *)pos)[x->id] - ((int *)pos)[y->id];
}

/* Moves all of `from` into c. */
static void
absorb(struct lower *lo, struct cluster *c, struct cluster *from)
{
	for (int i = 0; i < from->nodes.n; i++) {
		vec_push(lo->tmp, &c->nodes, from->nodes.v[i]);
		lo->cluster_of[from->nodes.v[i]->id] = c;
	}
	qsort_r(c->nodes.v, (size_t)c->nodes.n, sizeof *c->nodes.v, by_position, lo->pos);
	for (int i = 0; i < from->deps.n; i++)
		add_dep(lo, c, from->deps.v[i]);
	if (from->first < c->first)
		c->first = from->first;
	if (from->last > c->last)
		c->last = from->last;
	from->gone = true;
	for (int i = 0; i < lo->clusters.n; i++) {
		struct cluster *x = lo->clusters.v[i];
		int k = 0;

		if (x->gone)
			continue;
		for (int j = 0; j < x->deps.n; j++)
			if (x->deps.v[j] != from && x->deps.v[j] != c)
				x->deps.v[k++] = x->deps.v[j];
		if (k < x->deps.n && x != c) {
			x->deps.n = k;
			add_dep(lo, x, c);
		} else {
			x->deps.n = k;
		}
	}
}

/* n with the clusters of join as one nest: done if it fits. */
static bool
join_nests(
    struct lower *lo, const struct clusters *join, struct node *n, const struct clusters *src)
{
	VEC(struct node *) all = {0};
	struct cluster *c = join->v[0];
	struct nest_space space;

	for (int i = 0; i < join->n; i++)
		for (int k = 0; k < join->v[i]->nodes.n; k++)
			vec_push(lo->tmp, &all, join->v[i]->nodes.v[k]);
	if (all.n >= MAX_NODES)
		return false;
	vec_push(lo->tmp, &all, n);
	qsort_r(all.v, (size_t)all.n, sizeof *all.v, by_position, lo->pos);
	if (!nest_fits(lo, all.v, all.n, &space) || !acyclic(lo, join, src))
		return false;
	for (int i = 1; i < join->n; i++)
		absorb(lo, c, join->v[i]);
	add_node(lo, c, n, src);
	nest_fits(lo, c->nodes.v, c->nodes.n, &space);
	c->rank = space.rank;
	memcpy(c->dims, space.dims, sizeof c->dims);
	c->reduced = space.reduced;
	c->rows = space.rows;
	return true;
}

/* Whether c's epilogue can have v at the anchor's index: a value of c of the anchor's
 * dims, maps of such that are computed where they are used, or nothing that depends on c. */
static bool
in_epilogue(struct lower *lo, struct cluster *c, struct value *v)
{
	const struct value *y = c->anchor->out[0];
	struct clusters s = {0};
	bool from = false, fit = true;

	add_source(lo, v, &s);
	for (int i = 0; i < s.n; i++)
		from |= s.v[i] == c;
	if (!from)
		return true;
	if (!dims_equal(y->rank, y->dims, v->rank, v->dims))
		return false;
	if (lo->cluster_of[v->def->id] == c)
		return true;
	if (lo->cluster_of[v->def->id] || op_info[v->def->op].class != OC_map)
		return false;
	for (int k = 0; k < v->def->nin && fit; k++)
		fit = in_epilogue(lo, c, v->def->in[k]);
	return fit;
}

/* A map after a contraction or convolution, of operands that its epilogue can have. */
static bool
join_anchor(struct lower *lo, struct cluster *c, struct node *n, const struct clusters *src)
{
	const struct value *y = c->anchor->out[0];
	struct clusters join = {0};

	if (op_info[n->op].class != OC_map || c->nodes.n >= MAX_NODES ||
	    !dims_equal(y->rank, y->dims, n->out[0]->rank, n->out[0]->dims))
		return false;
	for (int k = 0; k < n->nin; k++)
		if (!in_epilogue(lo, c, n->in[k]))
			return false;
	vec_push(lo->tmp, &join, c);
	if (!acyclic(lo, &join, src))
		return false;
	add_node(lo, c, n, src);
	return true;
}

/* Maps that only c's epilogue reads, not its anchor, over the anchor's dims, move into it. */
static void
absorb_makers(struct lower *lo, struct cluster *c, const struct node *n)
{
	const struct value *y = c->anchor->out[0];

	for (int k = 0; k < n->nin; k++) {
		struct value *v = n->in[k];
		struct cluster *p = v->kind == VAL_NODE ? lo->cluster_of[v->def->id] : NULL;
		struct clusters join = {0}, none = {0};
		bool fit = true;

		if (!p || p == c || p->kind != CL_NEST || p->nodes.n + c->nodes.n > MAX_NODES)
			continue;
		for (int i = 0; i < p->nodes.n; i++) {
			const struct node *m = p->nodes.v[i];
			const struct value *o = m->out[0];

			fit &= op_info[m->op].class == OC_map &&
			       dims_equal(y->rank, y->dims, o->rank, o->dims);
			for (int u = 0; u < lo->users[o->id].n; u++) {
				const struct node *un = lo->users[o->id].v[u];
				const struct cluster *uc = lo->cluster_of[un->id];

				fit &= un != c->anchor && (uc == p || uc == c);
			}
		}
		if (!fit)
			continue;
		vec_push(lo->tmp, &join, c);
		vec_push(lo->tmp, &join, p);
		if (acyclic(lo, &join, &none))
			absorb(lo, c, p);
	}
}

/* The reduction n, with the nests that make its operand, into a nest that reads v, itself or
 * through what is computed where it is used. */
static bool
join_readers(struct lower *lo, const struct value *v, struct node *n, const struct clusters *makers,
    const struct clusters *src)
{
	for (int i = 0; i < lo->users[v->id].n; i++) {
		struct node *u = lo->users[v->id].v[i];
		struct cluster *c = lo->cluster_of[u->id];
		struct clusters join = {0};
		bool made = false;

		if (!c && u != n && op_info[u->op].class == OC_map && count(u->out[0]) == count(v) &&
		    join_readers(lo, u->out[0], n, makers, src))
			return true;
		for (int k = 0; k < makers->n; k++)
			made |= makers->v[k] == c;
		if (!c || made || c->kind != CL_NEST)
			continue;
		vec_push(lo->tmp, &join, c);
		for (int k = 0; k < makers->n; k++)
			vec_push(lo->tmp, &join, makers->v[k]);
		if (join_nests(lo, &join, n, src))
			return true;
	}
	return false;
}

/* Reductions that read the same run together: v, or what the maps of makers make v of. */
static bool
join_sibling(struct lower *lo, struct node *n, const struct value *v, const struct clusters *makers,
    const struct clusters *src)
{
	const struct node *d = v->kind == VAL_NODE ? v->def : NULL;
	struct cluster *c = d ? lo->cluster_of[d->id] : NULL;
	bool inside = d && !c && d->nin;

	if (count(v) < count(n->out[0]) || count(v) < 16)
		return false;
	for (int k = 0; k < makers->n; k++)
		inside |= c == makers->v[k] && op_info[d->op].class == OC_map;
	if (inside) {
		for (int k = 0; k < d->nin; k++)
			if (join_sibling(lo, n, d->in[k], makers, src))
				return true;
		return false;
	}
	return join_readers(lo, v, n, makers, src);
}

/* Reductions compute it themselves, from what a convolution stores for others anyway. */
static bool
only_reduced(const struct lower *lo, const struct value *v)
{
	for (int i = 0; i < lo->users[v->id].n; i++)
		if (!nest_is_reduce(lo->users[v->id].v[i]->op))
			return false;
	return lo->users[v->id].n > 0 && lo->uses[v->id] == lo->users[v->id].n;
}

static void
place(struct lower *lo, struct node *n)
{
	struct clusters src = sources(lo, n), nests = {0}, none = {0};
	struct cluster *c;
	struct nest_space space;

	if (op_info[n->op].class == OC_map && !only_reduced(lo, n->out[0]))
		for (int i = lo->clusters.n - 1; i >= 0 && src.n; i--) {
			c = lo->clusters.v[i];
			if (c->gone || !c->anchor || c->kind == CL_OTHER)
				continue;
			for (int k = 0; k < src.n; k++)
				if (src.v[k] == c && join_anchor(lo, c, n, &src)) {
					absorb_makers(lo, c, n);
					return;
				}
		}
	if (is_anchor(n->op) || !nest_fits(lo, &n, 1, &space)) {
		c = cluster_new(lo,
		    n->op == OP_contract ? CL_CONTRACT
		    : is_anchor(n->op)	 ? CL_CONV
					 : CL_OTHER,
		    n);
		c->anchor = n;
		add_node(lo, c, n, &src);
		return;
	}
	for (int i = 0; i < src.n; i++)
		if (src.v[i]->kind == CL_NEST)
			vec_push(lo->tmp, &nests, src.v[i]);
	if (nests.n > 1 && join_nests(lo, &nests, n, &src))
		return;
	if (nest_is_reduce(n->op) && join_sibling(lo, n, n->in[0], &nests, &src))
		return;
	for (int i = nests.n - 1; i >= 0; i--) {
		struct clusters one = {0};

		vec_push(lo->tmp, &one, nests.v[i]);
		if (join_nests(lo, &one, n, &src))
			return;
	}
	c = cluster_new(lo, CL_NEST, n);
	vec_push(lo->tmp, &none, c);
	join_nests(lo, &none, n, &src);
}

bool
cluster_build(struct lower *lo)
{
	struct graph *g = lo->g;
	struct inliner in = {.lo = lo};

	in.inlined = arena_array(lo->a, bool, g->nnode + 1);
	in.memory = arena_array(lo->a, bool, g->nvalue + 1);
	in.base = arena_array(lo->a, struct value *, g->nvalue + 1);
	in.cost = arena_array(lo->a, int, g->nvalue + 1);
	find_bases(&in);
	choose_inline(&in);
	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];

		if (!n->dead && !in.inlined[n->id])
			place(lo, n);
	}
	cluster_outputs(lo);
	return true;
}
