/* distill_adapt -- a student's feature brought to the shape of the teacher's.
 *
 *   equal shapes                 nothing
 *   [N,C..] against [N,C]        mean over the rest first
 *   sizes of axes 2.. differ     adaptive average pooling of the larger to the smaller
 *   [N,Cs] -> [N,Ct]             linear
 *   [N,Cs,d..] -> [N,Ct,d..]     1x1 convolution
 *   [N,T,Cs] -> [N,T,Ct]         linear on the last axis
 *
 * Weights are states adaptor.TERM.weight [Ct,Cs..] and .bias, drawn uniformly from
 * +-1/sqrt(Cs) (PyTorch's default, Kaiming with a = sqrt 5) by the recipe's seed and
 * the term's name.  They train with the student and are no part of the export. */
#include "passes/loss.h"

#include <math.h>
#include <string.h>

/* x with axis 1 (or the last one) taken from Cs to Ct */
static struct value *
linear(const struct loss_in *in, struct value *x, int axis, int64_t ct)
{
	struct build *b = in->b;
	int64_t cs = x->dims[axis], wdims[2] = {ct, cs}, bdims[MAX_RANK];
	double bound = 1 / sqrt((double)cs);
	struct value *w = loss_parameter(in, "weight", 2, wdims, bound);
	struct value *bias = loss_parameter(in, "bias", 1, &ct, bound);
	char xs[MAX_RANK + 1], ys[MAX_RANK + 1];

	for (int i = 0; i < x->rank; i++) {
		xs[i] = ys[i] = (char)('a' + i);
		bdims[i] = 1;
	}
	xs[x->rank] = ys[x->rank] = 0;
	ys[axis] = 'z';
	bdims[axis] = ct;
	x = b_contract(b, arena_printf(b->g->arena, "%s,z%c->%s", xs, xs[axis], ys), x, w);
	return b_add(b, x, b_reshape(b, bias, x ? x->rank : 1, bdims));
}

static struct value *
conv1x1(const struct loss_in *in, struct value *x, int64_t ct)
{
	struct build *b = in->b;
	int64_t cs = x->dims[1], ones[MAX_RANK], zeros[2 * MAX_RANK] = {0}, dims[MAX_RANK];
	double bound = 1 / sqrt((double)cs);
	int sp = x->rank - 2;
	struct value *w, *bias, *pair[2];
	struct attr attr[4] = {
	    {.name = "strides", .kind = ATTR_INTS, .n = sp, .ints = ones},
	    {.name = "pads", .kind = ATTR_INTS, .n = 2 * sp, .ints = zeros},
	    {.name = "dilations", .kind = ATTR_INTS, .n = sp, .ints = ones},
	    {.name = "group", .kind = ATTR_INT, .i = 1},
	};

	for (int i = 0; i < MAX_RANK; i++)
		ones[i] = dims[i] = 1;
	dims[0] = ct;
	dims[1] = cs;
	w = loss_parameter(in, "weight", x->rank, dims, bound);
	bias = loss_parameter(in, "bias", 1, &ct, bound);
	pair[0] = x;
	pair[1] = w;
	dims[0] = 1;
	dims[1] = ct;
	x = b_op(b, OP_conv, 2, pair, 4, attr);
	return b_add(b, x, b_reshape(b, bias, sp + 2, dims));
}

/* Axis from n to m < n elements: element i is the mean of floor(i*n/m) to
 * ceil((i+1)*n/m), as PyTorch's adaptive pooling, by a constant [m,n] matrix. */
static struct value *
pool_axis(struct build *b, struct value *x, int axis, int64_t m)
{
	int64_t n = x->dims[axis], dims[2] = {m, n};
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 2, dims);
	char xs[MAX_RANK + 1] = {0}, ys[MAX_RANK + 1] = {0};

	for (int64_t i = 0; i < m; i++) {
		int64_t lo = i * n / m, hi = ((i + 1) * n + m - 1) / m;

		for (int64_t k = lo; k < hi; k++)
			dtype_put_f(DT_f32, t->data, i * n + k, 1 / (double)(hi - lo));
	}
	for (int i = 0; i < x->rank; i++)
		xs[i] = ys[i] = (char)('a' + i);
	ys[axis] = 'z';
	return b_contract(b, arena_printf(b->g->arena, "%s,z%c->%s", xs, xs[axis], ys), x,
	    graph_const(b->g, "pool", t));
}

/* mean over axes 2.. : [N,C] */
static struct value *
pool_all(struct build *b, struct value *x)
{
	int64_t axes[MAX_RANK];

	for (int i = 2; i < x->rank; i++)
		axes[i - 2] = i;
	return b_mean(b, x, x->rank - 2, axes, false);
}

static bool
mismatch(const struct loss_in *in, const struct value *s, const struct value *t, const char *fix)
{
	struct arena *a = in->b->g->arena;

	return diag_invalid(in->b->diag, in->term->loc, "%s is %s, %s is %s: %s", in->student_name,
	    dims_text(a, s), in->teacher_names[0], dims_text(a, t), fix);
}

bool
adapt(const struct loss_in *in, struct value *teacher, struct value **sp, struct value **tp)
{
	struct build *b = in->b;
	const char *kind = in->term->adaptor;
	struct value *s = in->student, *t = teacher;
	const struct value *s0 = s, *t0 = t;
	bool tokens, any = !kind || strcmp(kind, "auto") == 0;

	*sp = s;
	*tp = t;
	if (kind && strcmp(kind, "none") != 0 && strcmp(kind, "linear") != 0 &&
	    strcmp(kind, "conv1x1") != 0 && !any)
		return diag_invalid(b->diag, in->term->loc,
		    "no adaptor is called \"%s\"; there are auto, none, linear and conv1x1", kind);
	if (dims_equal(s->rank, s->dims, t->rank, t->dims) && (any || strcmp(kind, "none") == 0))
		return true;
	if (kind && strcmp(kind, "none") == 0)
		return mismatch(in, s0, t0, "adaptor: none needs equal shapes; say adaptor: auto");
	if (s->rank < 2 || t->rank < 2)
		return mismatch(in, s0, t0, "features need a batch and a channel axis");
	if (s->rank > 2 && t->rank == 2)
		s = pool_all(b, s);
	else if (t->rank > 2 && s->rank == 2)
		t = pool_all(b, t);
	if (!s || !t)
		return false;
	if (s->rank != t->rank)
		return mismatch(
		    in, s0, t0, "no adaptor joins these ranks; tap tensors of the same rank");
	tokens = s->rank == 3 && s->dims[1] == t->dims[1] && s->dims[2] != t->dims[2];
	for (int i = 2; i < s->rank && !tokens; i++) {
		if (s->dims[i] > t->dims[i])
			s = pool_axis(b, s, i, t->dims[i]);
		else if (s->dims[i] < t->dims[i])
			t = pool_axis(b, t, i, s->dims[i]);
		if (!s || !t)
			return false;
	}
	if (kind && strcmp(kind, "linear") == 0 && s->rank == 3)
		tokens = s->dims[1] == t->dims[1];
	if (tokens)
		s = linear(in, s, 2, t->dims[2]);
	else if (s->dims[1] != t->dims[1] || !any)
		s = s->rank == 2 || (kind && strcmp(kind, "linear") == 0)
			? linear(in, s, 1, t->dims[1])
			: conv1x1(in, s, t->dims[1]);
	*sp = s;
	*tp = t;
	return s != NULL;
}
