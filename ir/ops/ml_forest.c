/* ml_forest.c -- tree ensembles as tables, and the core row that walks them.
 *
 * tree_leaf: rows of features walked through binary
 * trees.  A node has one test, x[feature] <= threshold; a test with NaN goes where
 * the node says.  Leaves are nodes whose children are themselves, so that every
 * tree takes `depth` steps and rows need no branches.
 *
 *   x         [N,F] f32 or f64
 *   feature   [M] i32: 2*f, plus 1 where a NaN takes the first child
 *   threshold [M] of x's type
 *   child     [M,2] i32: where the test holds, where not
 *   root      [T] i32
 *   result    [N,T] i32: the node after `depth` steps
 *
 * The tables are constants, checked here, so that compiled code need not clamp.
 *
 * A test of any mode is a search among thresholds: x == v asks whether x lies in
 * (prev(v), v], membership whether it lies in one of such intervals, where prev is
 * the next smaller number of x's type.  n members cost log n steps. */
#include <math.h>
#include <stdlib.h>

#include "ir/ops/ops_ml.h"

static bool
table(const struct node *n, struct diag *d, int i, enum dtype t, int rank, int64_t lo, int64_t hi)
{
	const struct value *v = n->in[i];
	int64_t count;

	if (v->kind != VAL_CONST || v->dtype != t || v->rank != rank || (rank == 2 && v->dims[1] != 2))
		return diag_invalid(d, n->loc, "operand %d must be a constant %s of rank %d", i,
		    dtype_info[t].name, rank);
	count = dtype_is_int(t) ? tensor_count(v->data) : 0;
	for (int64_t k = 0; k < count; k++) {
		int64_t x = dtype_get_i(t, v->data->data, k);

		if (x < lo || x >= hi)
			return diag_invalid(d, n->loc, "operand %d holds %lld, must be within %lld..%lld", i,
			    (long long)x, (long long)lo, (long long)hi - 1);
	}
	return true;
}

bool
infer_tree_leaf(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t m;

	(void)g;
	if (!ops_known(n, d))
		return false;
	if (x->rank != 2 || (x->dtype != DT_f32 && x->dtype != DT_f64) || !dim_const(x->dims[1]))
		return diag_invalid(d, n->loc, "operand 0 must be f32 or f64 of [N,F]");
	m = n->in[1]->rank == 1 ? n->in[1]->dims[0] : -1;
	if (attr_int(n, "depth") < 0 || attr_int(n, "depth") > INT32_MAX)
		return diag_invalid(d, n->loc, "depth %lld", (long long)attr_int(n, "depth"));
	if (!table(n, d, 1, DT_i32, 1, 0, 2 * x->dims[1]) || !table(n, d, 2, x->dtype, 1, 0, 0) ||
	    !table(n, d, 3, DT_i32, 2, 0, m) || !table(n, d, 4, DT_i32, 1, 0, m))
		return false;
	if (n->in[2]->dims[0] != m || n->in[3]->dims[0] != m)
		return diag_invalid(d, n->loc, "tables of %lld, %lld and %lld nodes", (long long)m,
		    (long long)n->in[2]->dims[0], (long long)n->in[3]->dims[0]);
	return ops_set(n, d, 0, DT_i32, 2, (int64_t[]){x->dims[0], n->in[4]->dims[0]});
}

bool
eval_tree_leaf(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	int64_t depth = attr_int(n, "depth"), f = x->dims[1], trees = in[4]->count;

	for (int64_t i = 0; i < out[0]->count; i++) {
		int64_t at = in[4]->i[i % trees];

		for (int64_t k = 0; k < depth; k++) {
			double v = x->f[i / trees * f + in[1]->i[at] / 2];
			bool first = isnan(v) ? in[1]->i[at] & 1 : v <= in[2]->f[at];

			at = in[3]->i[2 * at + !first];
		}
		out[0]->i[i] = at;
	}
	return true;
}

enum { MAX_NODES = 1 << 26 };

/* ---- compiling the tests */
struct tables {
	int64_t m, next; /* nodes; the next to be written */
	struct tensor *feature, *threshold, *child;
};

struct search {
	int n;
	double *t;       /* [n], ascending */
	int64_t *to;     /* [n+1]: where x in (t[i-1], t[i]] goes, as a node of the tables */
	int nan;         /* the interval that NaN is taken to */
	int64_t feature;
};

static double
below(enum dtype t, double v)
{
	return t == DT_f32 ? (double)nextafterf((float)v, -INFINITY) : nextafter(v, -INFINITY);
}

static int
ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* How many nodes a test becomes at most. */
static int64_t
size_of(const struct tree_test *t)
{
	return t->mode == MEMBER ? 2 * (int64_t)t->nmember + 1 : t->mode == EQ || t->mode == NEQ ? 2 : 1;
}

/* x in one of v[0..n), ascending: yes, else no */
static void
equal_search(enum dtype type, const double *v, int n, int64_t yes, int64_t no, struct search *s)
{
	s->n = 0;
	for (int i = 0; i < n; i++) {
		double low = below(type, v[i]);

		if (s->n && s->t[s->n - 1] >= low) { /* the neighbour of the one before */
			s->t[s->n - 1] = v[i];
			continue;
		}
		if (v[i] != -INFINITY) {
			s->to[s->n] = no;
			s->t[s->n++] = low;
		}
		s->to[s->n] = yes;
		s->t[s->n++] = v[i];
	}
	s->to[s->n] = no;
}

static void
search_of(const struct forest *f, const struct tree_test *t, int64_t yes, int64_t no, struct search *s, double *sorted)
{
	double v = t->value;
	int64_t lost = t->missing || t->mode == NEQ ? yes : no;
	bool always = false, swap = t->mode == GT || t->mode == GTE || t->mode == NEQ;

	s->feature = t->feature;
	s->n = 0;
	if (t->mode == MEMBER) {
		memcpy(sorted, t->member, (size_t)t->nmember * sizeof *sorted);
		qsort(sorted, (size_t)t->nmember, sizeof *sorted, ascending);
		equal_search(f->type, sorted, t->nmember, yes, no, s);
		always = s->n == 0;
	} else if (isnan(v) || ((t->mode == LT || t->mode == GTE) && v == -INFINITY)) {
		always = true;
		no = isnan(v) ? (t->mode == NEQ ? yes : no) : t->mode == GTE ? yes : no;
	} else if (t->mode == EQ || t->mode == NEQ) {
		equal_search(f->type, &v, 1, swap ? no : yes, swap ? yes : no, s);
	} else {
		s->n = 1;
		s->t[0] = t->mode == LT || t->mode == GTE ? below(f->type, v) : v;
		s->to[0] = swap ? no : yes;
		s->to[1] = swap ? yes : no;
	}
	if (always) { /* whatever x is; NaN fails the test against infinity */
		s->n = 1;
		s->t[0] = INFINITY;
		s->to[0] = no;
		s->to[1] = lost;
		s->nan = 1;
		return;
	}
	for (s->nan = 0; s->nan < s->n && s->to[s->nan] != lost; s->nan++)
		;
}

/* A balanced tree over thresholds lo..hi-1, hi > lo; its root is the next node. */
static int64_t
emit_search(struct tables *tb, const struct search *s, int lo, int hi)
{
	int mid = lo + (hi - lo - 1) / 2;
	int64_t at = tb->next++, first, second;

	first = mid > lo ? emit_search(tb, s, lo, mid) : s->to[mid];
	second = hi > mid + 1 ? emit_search(tb, s, mid + 1, hi) : s->to[mid + 1];
	dtype_put_i(DT_i32, tb->feature->data, at, 2 * s->feature + (s->nan <= mid));
	dtype_put_f(tb->threshold->dtype, tb->threshold->data, at, s->t[mid]);
	dtype_put_i(DT_i32, tb->child->data, 2 * at, first);
	dtype_put_i(DT_i32, tb->child->data, 2 * at + 1, second);
	return at;
}

/* Steps from the roots until every row is in a leaf; -1: a cycle. */
static int64_t
depth_of(const struct forest *f, const struct tables *tb, const int64_t *root)
{
	struct arena *a = arena_create();
	int32_t *in = arena_array(a, int32_t, tb->m), *queue = arena_array(a, int32_t, tb->m);
	int32_t *far = arena_array(a, int32_t, tb->m);
	const int32_t *child = tb->child->data;
	int64_t head = 0, tail = 0, depth = 0;

	for (int64_t i = f->nleaf; i < tb->m; i++)
		for (int k = 0; k < 2; k++)
			in[child[2 * i + k]]++;
	for (int64_t i = 0; i < tb->m; i++) {
		far[i] = -1;
		if (!in[i])
			queue[tail++] = (int32_t)i;
	}
	for (int64_t i = 0; i < f->nroot; i++)
		far[root[i]] = 0;
	for (; head < tail; head++) {
		int32_t i = queue[head];

		if (far[i] > depth)
			depth = far[i];
		for (int k = 0; i >= f->nleaf && k < 2; k++) {
			int32_t c = child[2 * i + k];

			if (far[i] >= 0 && far[c] < far[i] + 1)
				far[c] = far[i] + 1;
			if (--in[c] == 0)
				queue[tail++] = c;
		}
	}
	arena_destroy(a);
	return tail == tb->m ? depth : -1;
}

/* The leaf of every row in every tree: i32 [N, nroot]. */
static struct value *
leaves(struct forest *f, struct value *x)
{
	struct build *b = f->b;
	struct arena *mem = b->g->arena;
	struct tables tb = {.m = f->nleaf};
	int64_t *entry = arena_array(mem, int64_t, f->ntest + 1), *root, most = 1, depth;
	struct search s;
	struct tensor *roots;
	struct value *in[5];
	struct attr a;
	double *sorted;

	for (int64_t i = 0; i < f->ntest; i++) {
		int64_t k = size_of(&f->test[i]);

		if (f->test[i].feature < 0 || f->test[i].feature >= f->features) {
			diag_invalid(b->diag, f->n->loc, "a test of feature %lld; the input has %lld",
			    (long long)f->test[i].feature, (long long)f->features);
			return NULL;
		}
		if (k > most)
			most = k;
		entry[i] = tb.m;
		tb.m += k;
		if (tb.m > MAX_NODES) {
			diag_unsupported(b->diag, f->n->loc, "more than %d nodes", MAX_NODES);
			return NULL;
		}
	}
	s.t = arena_array(mem, double, most + 1);
	s.to = arena_array(mem, int64_t, most + 2);
	sorted = arena_array(mem, double, most + 1);
	tb.feature = tensor_new(mem, DT_i32, 1, &tb.m);
	tb.threshold = tensor_new(mem, f->type, 1, &tb.m);
	tb.child = tensor_new(mem, DT_i32, 2, (int64_t[]){tb.m, 2});
	for (int64_t i = 0; i < 2 * tb.m; i++) /* leaves stay; -1: not used yet */
		dtype_put_i(DT_i32, tb.child->data, i, i / 2 < f->nleaf ? i / 2 : -1);
	for (int64_t i = 0; i < f->ntest; i++) {
		const struct tree_test *t = &f->test[i];

		search_of(f, t, t->yes < 0 ? ~t->yes : entry[t->yes], t->no < 0 ? ~t->no : entry[t->no], &s, sorted);
		tb.next = entry[i];
		emit_search(&tb, &s, 0, s.n);
	}
	root = arena_array(mem, int64_t, f->nroot + 1);
	roots = tensor_new(mem, DT_i32, 1, &f->nroot);
	for (int64_t i = 0; i < f->nroot; i++) {
		root[i] = f->root[i] < 0 ? ~f->root[i] : entry[f->root[i]];
		dtype_put_i(DT_i32, roots->data, i, root[i]);
	}
	for (int64_t i = 2 * f->nleaf; i < 2 * tb.m; i++)
		if (dtype_get_i(DT_i32, tb.child->data, i) < 0)
			dtype_put_i(DT_i32, tb.child->data, i, 0);
	if ((depth = depth_of(f, &tb, root)) < 0) {
		diag_invalid(b->diag, f->n->loc, "a node of a tree is among its own children's children");
		return NULL;
	}
	in[0] = x;
	in[1] = ml_const(b, tb.feature);
	in[2] = ml_const(b, tb.threshold);
	in[3] = ml_const(b, tb.child);
	in[4] = ml_const(b, roots);
	a = attr_of_int("depth", depth);
	return b_op(b, OP_tree_leaf, 5, in, 1, &a);
}

struct value *
forest_scores(struct forest *f, struct value *x, enum tree_aggregate how)
{
	struct build *b = f->b;
	struct tensor *w = tensor_new(b->g->arena, f->type, 2, (int64_t[]){f->nleaf, f->nout});
	double none = how == MIN ? INFINITY : how == MAX ? -INFINITY : 0;
	struct value *at = leaves(f, x), *y;
	int64_t axis = 1;

	for (int64_t i = 0; i < f->nleaf * f->nout; i++) /* NaN: no weight */
		dtype_put_f(f->type, w->data, i, isnan(f->weight[i]) ? none : f->weight[i]);
	y = at ? b_gather(b, ml_const(b, w), at, 0) : NULL;
	y = b_reduce(b, how == MIN ? OP_reduce_min : how == MAX ? OP_reduce_max : OP_reduce_sum, y, 1, &axis, false);
	if (y && how == AVERAGE)
		y = b_muls(b, y, 1 / (double)f->nroot);
	if (y && none != 0)
		y = b_select(b, b2(b, OP_eq, y, b_scalar_like(b, y, none)), b_scalar_like(b, y, 0), y);
	return y;
}

void
forest_weight(struct forest *f, enum tree_aggregate how, int64_t leaf, int64_t out, double w)
{
	double *to = &f->weight[leaf * f->nout + out];

	*to = isnan(*to) ? w : how == MIN ? fmin(*to, w) : how == MAX ? fmax(*to, w) : *to + w;
}

bool
forest_open(struct forest *f)
{
	int64_t count;

	if (__builtin_mul_overflow(f->nleaf, f->nout, &count) || count > MAX_NODES)
		return diag_unsupported(f->b->diag, f->n->loc, "%lld leaves with %lld outputs", (long long)f->nleaf,
		    (long long)f->nout);
	f->weight = arena_array(f->b->g->arena, double, count + 1);
	for (int64_t i = 0; i < count; i++)
		f->weight[i] = NAN;
	return true;
}
