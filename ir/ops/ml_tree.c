/* ml_tree.c -- ai.onnx.ml: tree ensembles.  Every form of them is read into one list
 * of tests and leaves, compiled into the tables of tree_leaf (ml_forest.c), whose
 * leaves pick rows of a table of weights, summed (or averaged, ...) over the trees.
 *
 * A test of any mode is a search among thresholds: x == v asks whether x lies in
 * (prev(v), v], membership whether it lies in one of such intervals, where prev is
 * the next smaller number of x's type.  n members cost log n steps. */
#include <math.h>
#include <stdlib.h>

#include "ir/ops/ops_ml.h"

enum mode { LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF };
static const char *const mode_name[] = {
    "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER", "LEAF"};

/* A reference to a node: >= 0 a test, < 0 leaf ~ref. */
struct test {
	enum mode mode;
	int64_t feature, yes, no;
	double value;
	bool missing;        /* NaN takes yes, as it always does with NEQ */
	int nmember;
	const double *member; /* finite; any order */
};

struct forest {
	struct build *b;
	const struct node *n;
	enum dtype type;     /* of x and the thresholds: f32 or f64 */
	int64_t features, ntest, nleaf, nroot;
	struct test *test;
	int64_t *root;       /* references */
	int64_t nout;
	double *weight;      /* [nleaf, nout] */
};

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
size_of(const struct test *t)
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
search_of(const struct forest *f, const struct test *t, int64_t yes, int64_t no, struct search *s, double *sorted)
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

static struct value *
constant(struct build *b, struct tensor *t)
{
	struct value *v = graph_const(b->g, NULL, t);

	v->loc = b->loc;
	return v;
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
		const struct test *t = &f->test[i];

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
	in[1] = constant(b, tb.feature);
	in[2] = constant(b, tb.threshold);
	in[3] = constant(b, tb.child);
	in[4] = constant(b, roots);
	a = attr_of_int("depth", depth);
	return b_op(b, OP_tree_leaf, 5, in, 1, &a);
}

enum aggregate { AVERAGE, SUM, MIN, MAX };
static const char *const aggregate_name[] = {"AVERAGE", "SUM", "MIN", "MAX"};

/* [N, nout] of f->type: what the trees' leaves say, aggregated.  An output that no
 * leaf of a row has a weight for is 0. */
static struct value *
forest_scores(struct forest *f, struct value *x, enum aggregate how)
{
	struct build *b = f->b;
	struct tensor *w = tensor_new(b->g->arena, f->type, 2, (int64_t[]){f->nleaf, f->nout});
	double none = how == MIN ? INFINITY : how == MAX ? -INFINITY : 0;
	struct value *at = leaves(f, x), *y;
	int64_t axis = 1;

	for (int64_t i = 0; i < f->nleaf * f->nout; i++) /* NaN: no weight */
		dtype_put_f(f->type, w->data, i, isnan(f->weight[i]) ? none : f->weight[i]);
	y = at ? b_gather(b, constant(b, w), at, 0) : NULL;
	y = b_reduce(b, how == MIN ? OP_reduce_min : how == MAX ? OP_reduce_max : OP_reduce_sum, y, 1, &axis, false);
	if (y && how == AVERAGE)
		y = b_muls(b, y, 1 / (double)f->nroot);
	if (y && none != 0)
		y = b_select(b, b2(b, OP_eq, y, b_scalar_like(b, y, none)), b_scalar_like(b, y, 0), y);
	return y;
}

static void
add_weight(struct forest *f, enum aggregate how, int64_t leaf, int64_t out, double w)
{
	double *to = &f->weight[leaf * f->nout + out];

	*to = isnan(*to) ? w : how == MIN ? fmin(*to, w) : how == MAX ? fmax(*to, w) : *to + w;
}

/* Room for the leaves' weights, none given yet. */
static bool
open_weights(struct forest *f)
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

/* X as rows of the type that thresholds of `wide` (double) ask for. */
static struct value *
forest_input(struct forest *f, struct value *x, bool wide)
{
	f->type = x->dtype == DT_f64 || wide ? DT_f64 : DT_f32;
	x = ml_rows(f->b, f->n, x, f->type);
	if (x && !dim_const(x->dims[1])) {
		diag_unsupported(f->b->diag, f->n->loc, "a symbolic number of features");
		return NULL;
	}
	if (x)
		f->features = x->dims[1];
	return x;
}

/* ---- TreeEnsembleRegressor and TreeEnsembleClassifier: lists of nodes by (tree, node) */
/* Numbers of attribute `name` or of the tensor in name_as_tensor. */
struct list {
	int n;
	const double *f;     /* or */
	const struct tensor *t;
};

static struct list
list_of(const struct node *n, const char *name)
{
	struct list l = {0};
	char as[64];
	const struct attr *a;

	snprintf(as, sizeof as, "%s_as_tensor", name);
	a = op_attr(n->op, as) ? attr_find(n, as) : NULL;
	l.n = attr_floats(n, name, &l.f);
	if (!l.n && a && a->t && a->t->dtype != DT_str && tensor_count(a->t) <= INT32_MAX) {
		l.t = a->t;
		l.n = (int)tensor_count(a->t);
	}
	return l;
}

static double
list_get(const struct list *l, int64_t i)
{
	return l->t ? dtype_get_f(l->t->dtype, l->t->data, i) : (double)(float)l->f[i];
}

static bool
ints_of(const struct node *n, struct diag *d, const char *name, int want, bool may, const int64_t **v)
{
	int k = attr_ints(n, name, v);

	if (k == want)
		return true;
	*v = NULL;
	return (may && k == 0) || diag_invalid(d, n->loc, "attribute \"%s\" has %d elements, must have %d", name, k, want);
}

struct key { int64_t tree, node, ref; };

static int
by_key(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->tree != y->tree)
		return x->tree < y->tree ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

static const struct key *
find(const struct key *keys, int n, int64_t tree, int64_t node)
{
	struct key k = {tree, node, 0};

	return bsearch(&k, keys, (size_t)n, sizeof k, by_key);
}

static bool
mode_of(const struct forest *f, const char *s, enum mode *m)
{
	for (int k = 0; k <= LEAF; k++)
		if (k != MEMBER && strcmp(s, mode_name[k]) == 0) {
			*m = (enum mode)k;
			return true;
		}
	return diag_invalid(f->b->diag, f->n->loc, "a node's mode is \"%s\"", s);
}

/* Tests, leaves and roots from the nodes_ attributes; keys[n]: which reference each
 * (tree, node) became, sorted. */
static bool
read_nodes(struct forest *f, struct key **keys, int *count)
{
	const struct node *n = f->n;
	struct diag *d = f->b->diag;
	struct arena *mem = f->b->g->arena;
	const int64_t *tree, *node, *feature, *yes, *no, *missing;
	const struct attr *modes = attr_find(n, "nodes_modes");
	struct list value = list_of(n, "nodes_values");
	int k = attr_ints(n, "nodes_treeids", &tree);
	struct key *order;

	*keys = arena_array(mem, struct key, k + 1);
	order = arena_array(mem, struct key, k + 1);
	*count = k;
	if (k < 1)
		return diag_invalid(d, n->loc, "there are no nodes");
	if (!ints_of(n, d, "nodes_nodeids", k, false, &node) || !ints_of(n, d, "nodes_featureids", k, false, &feature) ||
	    !ints_of(n, d, "nodes_truenodeids", k, false, &yes) ||
	    !ints_of(n, d, "nodes_falsenodeids", k, false, &no) ||
	    !ints_of(n, d, "nodes_missing_value_tracks_true", k, true, &missing))
		return false;
	if (!modes || modes->n != k || value.n != k)
		return diag_invalid(d, n->loc, "%d nodes, %d nodes_modes, %d nodes_values", k, modes ? modes->n : 0, value.n);
	f->test = arena_array(mem, struct test, k);
	f->root = arena_array(mem, int64_t, k);
	for (int i = 0; i < k; i++) {
		enum mode m = LEAF;

		if (!mode_of(f, modes->strings[i], &m))
			return false;
		if (m != LEAF)
			f->test[f->ntest] = (struct test){.mode = m, .feature = feature[i], .yes = yes[i], .no = no[i],
			    .value = list_get(&value, i), .missing = missing && missing[i]};
		(*keys)[i] = order[i] = (struct key){tree[i], node[i], m == LEAF ? ~f->nleaf++ : f->ntest++};
	}
	qsort(*keys, (size_t)k, sizeof **keys, by_key);
	for (int i = 1; i < k; i++)
		if (by_key(&(*keys)[i - 1], &(*keys)[i]) == 0)
			return diag_invalid(d, n->loc, "tree %lld has two nodes %lld", (long long)(*keys)[i].tree,
			    (long long)(*keys)[i].node);
	for (int i = 0; i < k; i++) {
		struct test *t = order[i].ref < 0 ? NULL : &f->test[order[i].ref];
		const struct key *a = t ? find(*keys, k, tree[i], t->yes) : NULL;
		const struct key *b = t ? find(*keys, k, tree[i], t->no) : NULL;

		if (i == 0 || tree[i] != tree[i - 1])
			f->root[f->nroot++] = order[i].ref;
		if (t && (!a || !b))
			return diag_invalid(d, n->loc, "node %lld of tree %lld leads to node %lld, which there is not",
			    (long long)node[i], (long long)tree[i], (long long)(a ? t->no : t->yes));
		if (t) {
			t->yes = a->ref;
			t->no = b->ref;
		}
	}
	return true;
}

/* Weights of attributes WHAT_treeids, _nodeids, _ids and _weights. */
static bool
read_weights(struct forest *f, const char *what, enum aggregate how, const struct key *keys, int nkey)
{
	const struct node *n = f->n;
	struct diag *d = f->b->diag;
	const int64_t *tree, *node, *id;
	char name[4][32];
	static const char *const field[] = {"treeids", "nodeids", "ids", "weights"};
	struct list w;
	int k;

	for (int i = 0; i < 4; i++)
		snprintf(name[i], sizeof name[i], "%s_%s", what, field[i]);
	w = list_of(n, name[3]);
	k = w.n;
	if (!ints_of(n, d, name[0], k, false, &tree) || !ints_of(n, d, name[1], k, false, &node) ||
	    !ints_of(n, d, name[2], k, false, &id) || !open_weights(f))
		return false;
	for (int i = 0; i < k; i++) {
		const struct key *at = find(keys, nkey, tree[i], node[i]);

		if (!at)
			return diag_invalid(d, n->loc, "a weight for node %lld of tree %lld, which there is not",
			    (long long)node[i], (long long)tree[i]);
		if (id[i] < 0 || id[i] >= f->nout)
			return diag_invalid(d, n->loc, "a weight for output %lld of %lld", (long long)id[i],
			    (long long)f->nout);
		if (at->ref < 0) /* weights of tests say nothing */
			add_weight(f, how, ~at->ref, id[i], list_get(&w, i));
	}
	return true;
}

/* base_values: one per output, or one for all */
static struct value *
add_base(struct forest *f, struct value *y)
{
	struct list base = list_of(f->n, "base_values");
	struct tensor *t;

	if (!y || !base.n)
		return y;
	if (base.n != 1 && base.n != f->nout) {
		diag_invalid(f->b->diag, f->n->loc, "%d base_values for %lld outputs", base.n, (long long)f->nout);
		return NULL;
	}
	t = tensor_new(f->b->g->arena, f->type, 1, &(int64_t){base.n});
	for (int i = 0; i < base.n; i++)
		dtype_put_f(f->type, t->data, i, list_get(&base, i));
	return b_add(f->b, y, constant(f->b, t));
}

static bool
wide(const struct node *n, const char *weights)
{
	struct list v = list_of(n, "nodes_values"), w = list_of(n, weights);

	return (v.t && v.t->dtype == DT_f64) || (w.t && w.t->dtype == DT_f64);
}

bool
expand_TreeEnsembleRegressor(struct build *b, const struct node *n, struct value **outs)
{
	struct forest f = {.b = b, .n = n, .nout = attr_has(n, "n_targets") ? attr_int(n, "n_targets") : 1};
	const char *name = attr_string(n, "aggregate_function");
	struct value *x = forest_input(&f, n->in[0], wide(n, "target_weights")), *y;
	struct key *keys;
	int nkey, how = AVERAGE;

	while (how <= MAX && strcmp(name, aggregate_name[how]))
		how++;
	if (how > MAX)
		return diag_invalid(b->diag, n->loc,
		    "aggregate_function is \"%s\"; AVERAGE, SUM, MIN or MAX is expected", name);
	if (f.nout < 1)
		return diag_invalid(b->diag, n->loc, "n_targets is %lld", (long long)f.nout);
	if (!x || !read_nodes(&f, &keys, &nkey) || !read_weights(&f, "target", (enum aggregate)how, keys, nkey))
		return false;
	y = add_base(&f, forest_scores(&f, x, (enum aggregate)how));
	return (outs[0] = ml_transform(b, n, attr_string(n, "post_transform"), y ? b_cast(b, y, DT_f32) : NULL)) != NULL;
}

/* Two labels and votes for one of them only, `id`: the score says whether the second is
 * meant, above 1/2, or above 0 if some weights are negative.  The two columns are what
 * ONNX Runtime makes of it: votes for the first label count for the second, and the
 * first gets 1-s or -s (unless there are two base values); votes for the second leave
 * 0 for the first. */
static bool
two_classes(struct forest *f, struct value *labels, struct value *y, int64_t id, bool negative, struct value **outs)
{
	struct build *b = f->b;
	const struct node *n = f->n;
	struct list base = list_of(n, "base_values");
	int64_t start[2] = {0, id}, count[2] = {y->dims[0], 1}, step[2] = {1, 1};
	struct value *s = b_slice(b, y, start, count, step), *at, *both[2];

	if (!s || base.n > 2)
		return s && diag_invalid(b->diag, n->loc, "%d base_values for 2 classes", base.n);
	if (base.n > id)
		s = b_adds(b, s, list_get(&base, id));
	at = b2(b, OP_lt, b_scalar_like(b, s, negative ? 0 : 0.5), b_reshape(b, s, 1, s->dims));
	outs[0] = ml_pick(b, labels, at ? b_cast(b, at, DT_i64) : NULL);
	s = b_cast(b, s, DT_f32);
	if (!outs[0] || !s || !ops_wants(n, 1))
		return outs[0] && s;
	if (id == 0 && base.n < 2)
		return (outs[1] = ml_two_columns(b, n, s, negative)) != NULL;
	both[id] = s;
	both[!id] = b_zeros_like(b, s);
	outs[1] = ml_transform(b, n, attr_string(n, "post_transform"), b_concat(b, 2, both, 1));
	return outs[1] != NULL;
}

bool
expand_TreeEnsembleClassifier(struct build *b, const struct node *n, struct value **outs)
{
	struct forest f = {.b = b, .n = n};
	struct value *labels = ml_labels(b, n, "classlabels_int64s", "classlabels_strings"), *x, *y, *at;
	struct list weights = list_of(n, "class_weights");
	struct attr a = attr_of_int("axis", 1);
	const int64_t *ids;
	int nids = attr_ints(n, "class_ids", &ids), nkey;
	bool negative = false, one = true;
	struct key *keys;

	if (!labels)
		return diag_invalid(b->diag, n->loc, "neither classlabels_int64s nor classlabels_strings is given");
	f.nout = labels->dims[0];
	x = forest_input(&f, n->in[0], wide(n, "class_weights"));
	if (!x || !read_nodes(&f, &keys, &nkey) || !read_weights(&f, "class", SUM, keys, nkey))
		return false;
	for (int i = 0; i < nids; i++) {
		negative |= list_get(&weights, i) < 0;
		one &= ids[i] == ids[0];
	}
	y = forest_scores(&f, x, SUM);
	if (y && f.nout == 2 && one && nids)
		return two_classes(&f, labels, y, ids[0], negative, outs);
	y = add_base(&f, y);
	at = y ? b_op(b, OP_argmax, 1, &y, 1, &a) : NULL;
	outs[0] = ml_pick(b, labels, at);
	if (ops_wants(n, 1))
		outs[1] = ml_transform(b, n, attr_string(n, "post_transform"), y ? b_cast(b, y, DT_f32) : NULL);
	return outs[0] && (!ops_wants(n, 1) || outs[1]);
}

/* ---- TreeEnsemble: tests and leaves in lists of their own, children by index */
static bool
tensor_list(const struct node *n, struct diag *d, const char *name, int want, struct list *l)
{
	const struct attr *a = attr_find(n, name);

	*l = (struct list){0};
	if (a && a->t && a->t->dtype != DT_str && tensor_count(a->t) <= INT32_MAX) {
		l->t = a->t;
		l->n = (int)tensor_count(a->t);
	}
	return want < 0 || l->n == want ||
	       diag_invalid(d, n->loc, "attribute \"%s\" has %d elements, must have %d", name, l->n, want);
}

/* The sets of the MEMBER tests in order: lists in membership_values, a NaN after each. */
static bool
read_members(struct forest *f)
{
	struct list l;
	double *v;
	int at = 0, sets = 0;

	if (!tensor_list(f->n, f->b->diag, "membership_values", -1, &l))
		return false;
	v = arena_array(f->b->g->arena, double, l.n + 1);
	for (int i = 0; i < l.n; i++)
		v[i] = list_get(&l, i);
	for (int64_t i = 0; i < f->ntest; i++) {
		struct test *t = &f->test[i];

		if (t->mode != MEMBER)
			continue;
		if (at >= l.n)
			return diag_invalid(f->b->diag, f->n->loc,
			    "membership_values has %d sets, node %lld needs one more", sets, (long long)i);
		t->member = v + at;
		while (at < l.n && !isnan(v[at])) {
			at++;
			t->nmember++;
		}
		at++;
		sets++;
	}
	return true;
}

static bool
reference(const struct forest *f, bool leaf, int64_t i, int64_t *ref)
{
	if (i < 0 || i >= (leaf ? f->nleaf : f->ntest))
		return diag_invalid(f->b->diag, f->n->loc, "a node leads to %s %lld of %lld", leaf ? "leaf" : "node",
		    (long long)i, (long long)(leaf ? f->nleaf : f->ntest));
	*ref = leaf ? ~i : i;
	return true;
}

static bool
read_tests(struct forest *f)
{
	const struct node *n = f->n;
	struct diag *d = f->b->diag;
	const int64_t *feature, *yes, *no, *yes_leaf, *no_leaf, *missing, *roots;
	int k = attr_ints(n, "nodes_featureids", &feature), nroot = attr_ints(n, "tree_roots", &roots);
	struct list mode, split;

	if (k < 1 || nroot < 1)
		return diag_invalid(d, n->loc, "%d nodes in %d trees", k, nroot);
	if (!ints_of(n, d, "nodes_truenodeids", k, false, &yes) || !ints_of(n, d, "nodes_falsenodeids", k, false, &no) ||
	    !ints_of(n, d, "nodes_trueleafs", k, false, &yes_leaf) ||
	    !ints_of(n, d, "nodes_falseleafs", k, false, &no_leaf) ||
	    !ints_of(n, d, "nodes_missing_value_tracks_true", k, true, &missing) ||
	    !tensor_list(n, d, "nodes_modes", k, &mode) || !tensor_list(n, d, "nodes_splits", k, &split))
		return false;
	f->ntest = k;
	f->test = arena_array(f->b->g->arena, struct test, k);
	f->nroot = nroot;
	f->root = arena_array(f->b->g->arena, int64_t, nroot);
	for (int i = 0; i < k; i++) {
		struct test *t = &f->test[i];
		double m = list_get(&mode, i);

		if (!(m >= LEQ && m <= MEMBER))
			return diag_invalid(d, n->loc, "node %d has mode %g", i, m);
		*t = (struct test){.mode = (enum mode)m, .feature = feature[i], .value = list_get(&split, i),
		    .missing = missing && missing[i]};
		if (!reference(f, yes_leaf[i], yes[i], &t->yes) || !reference(f, no_leaf[i], no[i], &t->no))
			return false;
	}
	for (int i = 0; i < nroot; i++)
		if (!reference(f, false, roots[i], &f->root[i]))
			return false;
	return read_members(f);
}

bool
expand_TreeEnsemble(struct build *b, const struct node *n, struct value **outs)
{
	static const char *const transform[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
	struct forest f = {.b = b, .n = n, .nout = attr_has(n, "n_targets") ? attr_int(n, "n_targets") : 1};
	int64_t how = attr_int(n, "aggregate_function"), post = attr_int(n, "post_transform");
	struct value *x = forest_input(&f, n->in[0], false), *y;
	const int64_t *target;
	struct list w;

	f.nleaf = attr_ints(n, "leaf_targetids", &target);
	if (how < AVERAGE || how > MAX || post < 0 || post > 4 || f.nout < 1)
		return diag_invalid(b->diag, n->loc, "aggregate_function %lld, post_transform %lld, n_targets %lld",
		    (long long)how, (long long)post, (long long)f.nout);
	if (!x || !tensor_list(n, b->diag, "leaf_weights", (int)f.nleaf, &w) || !read_tests(&f) || !open_weights(&f))
		return false;
	for (int64_t i = 0; i < f.nleaf; i++) {
		if (target[i] < 0 || target[i] >= f.nout)
			return diag_invalid(b->diag, n->loc, "leaf %lld is for target %lld of %lld", (long long)i,
			    (long long)target[i], (long long)f.nout);
		add_weight(&f, (enum aggregate)how, i, target[i], list_get(&w, i));
	}
	y = ml_transform(b, n, transform[post], forest_scores(&f, x, (enum aggregate)how));
	return (outs[0] = y ? b_cast(b, y, n->in[0]->dtype) : NULL) != NULL;
}
