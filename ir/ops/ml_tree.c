/* ml_tree.c -- ai.onnx.ml: tree ensembles.  Every form of them is read into one list of
 * tests and leaves (ml_forest.c compiles them), whose leaves pick rows of a table of
 * weights, summed (or averaged, ...) over the trees. */
#include <math.h>
#include <stdlib.h>

#include "ir/ops/ops_ml.h"

static const char *const mode_name[] = {
    "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER", "LEAF"};

static const char *const aggregate_name[] = {"AVERAGE", "SUM", "MIN", "MAX"};


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
mode_of(const struct forest *f, const char *s, enum tree_mode *m)
{
	for (int k = 0; k <= LEAF; k++)
		if (k != MEMBER && strcmp(s, mode_name[k]) == 0) {
			*m = (enum tree_mode)k;
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
	f->test = arena_array(mem, struct tree_test, k);
	f->root = arena_array(mem, int64_t, k);
	for (int i = 0; i < k; i++) {
		enum tree_mode m = LEAF;

		if (!mode_of(f, modes->strings[i], &m))
			return false;
		if (m != LEAF)
			f->test[f->ntest] = (struct tree_test){.mode = m, .feature = feature[i], .yes = yes[i], .no = no[i],
			    .value = list_get(&value, i), .missing = missing && missing[i]};
		(*keys)[i] = order[i] = (struct key){tree[i], node[i], m == LEAF ? ~f->nleaf++ : f->ntest++};
	}
	qsort(*keys, (size_t)k, sizeof **keys, by_key);
	for (int i = 1; i < k; i++)
		if (by_key(&(*keys)[i - 1], &(*keys)[i]) == 0)
			return diag_invalid(d, n->loc, "tree %lld has two nodes %lld", (long long)(*keys)[i].tree,
			    (long long)(*keys)[i].node);
	for (int i = 0; i < k; i++) {
		struct tree_test *t = order[i].ref < 0 ? NULL : &f->test[order[i].ref];
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
read_weights(struct forest *f, const char *what, enum tree_aggregate how, const struct key *keys, int nkey)
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
	    !ints_of(n, d, name[2], k, false, &id) || !forest_open(f))
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
			forest_weight(f, how, ~at->ref, id[i], list_get(&w, i));
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
	return b_add(f->b, y, ml_const(f->b, t));
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
	if (!x || !read_nodes(&f, &keys, &nkey) || !read_weights(&f, "target", (enum tree_aggregate)how, keys, nkey))
		return false;
	y = add_base(&f, forest_scores(&f, x, (enum tree_aggregate)how));
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
		struct tree_test *t = &f->test[i];

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
	f->test = arena_array(f->b->g->arena, struct tree_test, k);
	f->nroot = nroot;
	f->root = arena_array(f->b->g->arena, int64_t, nroot);
	for (int i = 0; i < k; i++) {
		struct tree_test *t = &f->test[i];
		double m = list_get(&mode, i);

		if (!(m >= LEQ && m <= MEMBER))
			return diag_invalid(d, n->loc, "node %d has mode %g", i, m);
		*t = (struct tree_test){.mode = (enum tree_mode)m, .feature = feature[i], .value = list_get(&split, i),
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
	if (!x || !tensor_list(n, b->diag, "leaf_weights", (int)f.nleaf, &w) || !read_tests(&f) || !forest_open(&f))
		return false;
	for (int64_t i = 0; i < f.nleaf; i++) {
		if (target[i] < 0 || target[i] >= f.nout)
			return diag_invalid(b->diag, n->loc, "leaf %lld is for target %lld of %lld", (long long)i,
			    (long long)target[i], (long long)f.nout);
		forest_weight(&f, (enum tree_aggregate)how, i, target[i], list_get(&w, i));
	}
	y = ml_transform(b, n, transform[post], forest_scores(&f, x, (enum tree_aggregate)how));
	return (outs[0] = y ? b_cast(b, y, n->in[0]->dtype) : NULL) != NULL;
}
