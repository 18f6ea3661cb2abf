/* fold_quick -- copies, f32 arithmetic and contractions of constants.  Sums, differences, products
 * and quotients of floats rounded once are what the evaluator's doubles round to. */
#include "passes/fold.h"

#include <stdlib.h>
#include <string.h>

/* Reshapes, transposes and slices of whole bytes are copies, without the evaluator:
 * strides (in elements) of the result's axes in the operand, and the first element. */
static bool
source_strides(const struct node *n, const struct tensor *x, int64_t *stride, int64_t *first)
{
	int64_t own[MAX_RANK], inner = 1;
	const int64_t *a, *b;
	int r = x->rank;

	for (int i = r - 1; i >= 0; inner *= x->dims[i--])
		own[i] = inner;
	*first = 0;
	if (n->op == OP_transpose) {
		int k = attr_ints(n, "perm", &a);

		for (int i = 0; i < r; i++)
			stride[i] = own[k == r ? a[i] : r - 1 - i];
		return true;
	}
	if (attr_ints(n, "start", &a) != r || attr_ints(n, "step", &b) != r)
		return false;
	for (int i = 0; i < r; i++) {
		*first += a[i] * own[i];
		stride[i] = b[i] * own[i];
	}
	return true;
}

static void
copy_strided(
    char *to, const char *from, size_t size, int rank, const int64_t *dims, const int64_t *stride)
{
	size_t step = size;

	if (rank == 0) {
		memcpy(to, from, size);
		return;
	}
	for (int i = 1; i < rank; i++)
		step *= (size_t)dims[i];
	for (int64_t k = 0; k < dims[0]; k++, to += step) {
		const char *at = from + k * stride[0] * (int64_t)size;

		if (rank > 1)
			copy_strided(to, at, size, rank - 1, dims + 1, stride + 1);
		else
			memcpy(to, at, size);
	}
}

static const struct tensor *
moved(struct arena *a, const struct node *n, const struct tensor *x)
{
	const struct value *out = n->out[0];
	int64_t stride[MAX_RANK], first;
	struct tensor *t;

	if (n->op == OP_reshape) {
		t = arena_new(a, struct tensor);
		*t = *x;
		t->heap = false;
		t->rank = out->rank;
		memcpy(t->dims, out->dims, sizeof t->dims);
		return t;
	}
	if (!source_strides(n, x, stride, &first))
		return NULL;
	size_t size = dtype_bytes(x->dtype, 1);

	t = tensor_new(a, out->dtype, out->rank, out->dims);
	if (tensor_count(t) > 0)
		copy_strided(t->data, (const char *)x->data + first * (int64_t)size, size,
		    out->rank, out->dims, stride);
	return t;
}

/* Strides of t's axes as seen from a result of rank r: 0 where it is repeated. */
static void
repeat_strides(const struct tensor *t, int r, int64_t *stride)
{
	int64_t inner = 1;

	for (int i = r - 1; i >= 0; i--) {
		int j = i - (r - t->rank);

		stride[i] = j < 0 || t->dims[j] == 1 ? 0 : inner;
		inner *= j < 0 ? 1 : t->dims[j];
	}
}

static float
apply(enum op op, float a, float b)
{
	switch (op) {
	case OP_add:
		return a + b;
	case OP_sub:
		return a - b;
	case OP_mul:
		return a * b;
	default:
		return a / b;
	}
}

struct pairwise {
	enum op op;
	const int64_t *dims, *sa, *sb;
	int rank;
};

static float *
pairwise(const struct pairwise *p, int axis, float *to, const float *a, const float *b)
{
	if (axis == p->rank) {
		*to = apply(p->op, *a, *b);
		return to + 1;
	}
	for (int64_t k = 0; k < p->dims[axis]; k++, a += p->sa[axis], b += p->sb[axis])
		to = pairwise(p, axis + 1, to, a, b);
	return to;
}

static const struct tensor *
arithmetic(struct arena *a, const struct node *n, const struct tensor *x, const struct tensor *y)
{
	const struct value *out = n->out[0];
	int64_t sa[MAX_RANK], sb[MAX_RANK];
	struct pairwise p = {n->op, out->dims, sa, sb, out->rank};
	struct tensor *t;

	if (x->dtype != DT_f32 || y->dtype != DT_f32)
		return NULL;
	repeat_strides(x, out->rank, sa);
	repeat_strides(y, out->rank, sb);
	t = tensor_new(a, DT_f32, out->rank, out->dims);
	pairwise(&p, 0, t->data, x->data, y->data);
	return t;
}

/* One letter of a contraction: its size and strides in both operands. */
struct letter {
	int64_t size, sa, sb;
};

/* to[..., lane] = sum over k of a[a_at[k] + ...] * b[b_at[k] + ...].  LANES results of
 * the last letter are made at once from a panel of the second operand, which the
 * results that differ by letters of the first alone share.  Every sum is one chain in
 * the order of k, so results do not depend on the blocking. */
enum { LANES = 16 };
struct contraction {
	struct letter l[2 * MAX_RANK]; /* of the result but the last, those that b has first */
	int64_t step[2 * MAX_RANK];    /* of theirs in the result */
	int n, shared;		       /* shared: of l that b has */
	struct letter lane;
	int64_t nk, *a_at, *b_at;
	double *panel; /* [nk][LANES] */
};

static void
take_panel(const struct contraction *c, const float *b, int n)
{
	for (int64_t k = 0; k < c->nk; k++)
		for (int j = 0; j < n; j++)
			c->panel[k * LANES + j] = (double)b[c->b_at[k] + j * c->lane.sb];
}

static void
lanes(const struct contraction *c, const float *a, float *to, int n)
{
	double sum[LANES];

	for (int j = 0; j < LANES; j++)
		sum[j] = 0;
	for (int64_t k = 0; k < c->nk; k++) {
		const float *x = a + c->a_at[k];
		const double *y = c->panel + k * LANES;

		if (c->lane.sa == 0)
			for (int j = 0; j < LANES; j++)
				sum[j] += (double)*x * y[j];
		else
			for (int j = 0; j < n; j++)
				sum[j] += (double)x[j * c->lane.sa] * y[j];
	}
	for (int j = 0; j < n; j++)
		to[j] = (float)sum[j];
}

/* letters i and on, the panel as it is */
static void
first_alone(const struct contraction *c, int i, const float *a, float *to, int n)
{
	if (i == c->n) {
		lanes(c, a, to, n);
		return;
	}
	for (int64_t v = 0; v < c->l[i].size; v++)
		first_alone(c, i + 1, a + v * c->l[i].sa, to + v * c->step[i], n);
}

static void
contract(const struct contraction *c, int i, const float *a, const float *b, float *to)
{
	if (i < c->shared) {
		for (int64_t v = 0; v < c->l[i].size; v++)
			contract(
			    c, i + 1, a + v * c->l[i].sa, b + v * c->l[i].sb, to + v * c->step[i]);
		return;
	}
	for (int64_t j = 0; j < c->lane.size; j += LANES) {
		int n = c->lane.size - j < LANES ? (int)(c->lane.size - j) : LANES;

		take_panel(c, b + j * c->lane.sb, n);
		first_alone(c, i, a + j * c->lane.sa, to + j, n);
	}
}

/* Offsets of all values of the summed letters, the last one fastest. */
static void
sum_offsets(struct contraction *c, const struct letter *l, int n)
{
	c->nk = 1;
	for (int i = 0; i < n; i++)
		c->nk *= l[i].size;
	c->a_at = xcalloc((size_t)c->nk + 1, sizeof *c->a_at);
	c->b_at = xcalloc((size_t)c->nk + 1, sizeof *c->b_at);
	for (int64_t k = 0; k < c->nk; k++)
		for (int64_t i = n - 1, rest = k; i >= 0; rest /= l[i--].size) {
			c->a_at[k] += rest % l[i].size * l[i].sa;
			c->b_at[k] += rest % l[i].size * l[i].sb;
		}
}

/* The letters of the result, the lane among them; exchanged: b's strides are a's. */
static void
result_letters(struct contraction *c, const struct letter *l, int n)
{
	int64_t step = 1;

	c->lane = n ? l[n - 1] : (struct letter){1, 0, 0};
	for (int i = n - 1; i >= 0; step *= l[i--].size) {
		if (i == n - 1 || l[i].sb == 0)
			continue;
		c->l[c->shared] = l[i];
		c->step[c->shared++] = step;
	}
	c->n = c->shared;
	step = 1;
	for (int i = n - 1; i >= 0; step *= l[i--].size) {
		if (i == n - 1 || l[i].sb != 0)
			continue;
		c->l[c->n] = l[i];
		c->step[c->n++] = step;
	}
}

/* Stride of the letter in an operand with these subscripts; 0: it has none. */
static int64_t
letter_stride(const char *s, const struct tensor *t, char c, int64_t *size)
{
	int64_t stride = 0, inner = 1;

	for (int i = t->rank - 1; i >= 0; inner *= t->dims[i--])
		if (s[i] == c) {
			stride += inner; /* twice: a diagonal */
			*size = t->dims[i];
		}
	return stride;
}

/* Sums in double, rounded once. */
static const struct tensor *
contraction(struct arena *a, const struct node *n, const struct tensor *x, const struct tensor *y)
{
	const char *spec = attr_string(n, "spec"), *sb = strchr(spec, ',') + 1,
		   *so = strstr(spec, "->") + 2;
	const struct value *out = n->out[0];
	struct letter l[3 * MAX_RANK];
	struct contraction c = {0};
	int nout = 0, nsum = 0;
	struct tensor *t;

	if (x->dtype != DT_f32 || y->dtype != DT_f32)
		return NULL;
	for (const char *s = so; *s; s++, nout++) {
		l[nout].sa = letter_stride(spec, x, *s, &l[nout].size);
		l[nout].sb = letter_stride(sb, y, *s, &l[nout].size);
	}
	for (int side = 0; side < 2; side++) {
		const char *s = side ? sb : spec, *end = side ? so - 2 : sb - 1;

		for (const char *k = s; k < end; k++) {
			struct letter *m = &l[nout + nsum];

			if (strchr(so, *k) || memchr(s, *k, (size_t)(k - s)) ||
			    (side && memchr(spec, *k, (size_t)(sb - 1 - spec))))
				continue;
			m->sa = letter_stride(spec, x, *k, &m->size);
			m->sb = letter_stride(sb, y, *k, &m->size);
			nsum++;
		}
	}
	/* the lane belongs to the second operand, the one in panels */
	if (nout && l[nout - 1].sb == 0) {
		const struct tensor *z = x;

		x = y;
		y = z;
		for (int i = 0; i < nout + nsum; i++)
			l[i] = (struct letter){l[i].size, l[i].sb, l[i].sa};
	}
	t = tensor_new(a, DT_f32, out->rank, out->dims);
	result_letters(&c, l, nout);
	sum_offsets(&c, l + nout, nsum);
	c.panel = xcalloc((size_t)c.nk * LANES + 1, sizeof *c.panel);
	contract(&c, 0, x->data, y->data, t->data);
	free(c.panel);
	free(c.a_at);
	free(c.b_at);
	return t;
}

const struct tensor *
fold_quick(struct arena *a, const struct node *n, const struct tensor *const *in)
{
	if (in[0]->dtype == DT_str || dtype_info[in[0]->dtype].bits < 8)
		return NULL;
	switch (n->op) {
	case OP_reshape:
	case OP_transpose:
	case OP_slice:
		return moved(a, n, in[0]);
	case OP_add:
	case OP_sub:
	case OP_mul:
	case OP_div:
		return arithmetic(a, n, in[0], in[1]);
	case OP_contract:
		return contraction(a, n, in[0], in[1]);
	default:
		return NULL;
	}
}
