/* fold_quick -- copies, f32 arithmetic and contractions of constants.  Sums, differences, products
 * and quotients of floats rounded once are what the evaluator's doubles round to. */
#include "passes/fold.h"

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
struct letter { int64_t size, sa, sb; };

static double
sum_of(const struct letter *k, int n, const float *a, const float *b)
{
	double sum = 0;

	if (n == 0)
		return (double)*a * *b;
	for (int64_t i = 0; i < k->size; i++, a += k->sa, b += k->sb)
		sum += n == 1 ? (double)*a * *b : sum_of(k + 1, n - 1, a, b);
	return sum;
}

static float *
contract(const struct letter *l, int nout, int nsum, float *to, const float *a, const float *b)
{
	if (nout == 0) {
		*to = (float)sum_of(l, nsum, a, b);
		return to + 1;
	}
	for (int64_t i = 0; i < l->size; i++, a += l->sa, b += l->sb)
		to = contract(l + 1, nout - 1, nsum, to, a, b);
	return to;
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
	const char *spec = attr_string(n, "spec"), *sb = strchr(spec, ',') + 1, *so = strstr(spec, "->") + 2;
	const struct value *out = n->out[0];
	struct letter l[3 * MAX_RANK];
	int nout = 0, nsum = 0;
	struct tensor *t;

	if (x->dtype != DT_f32 || y->dtype != DT_f32)
		return NULL;
	for (const char *c = so; *c; c++, nout++) {
		l[nout].sa = letter_stride(spec, x, *c, &l[nout].size);
		l[nout].sb = letter_stride(sb, y, *c, &l[nout].size);
	}
	for (int side = 0; side < 2; side++) {
		const char *s = side ? sb : spec, *end = side ? so - 2 : sb - 1;

		for (const char *c = s; c < end; c++) {
			struct letter *m = &l[nout + nsum];

			if (strchr(so, *c) || memchr(s, *c, (size_t)(c - s)) || (side && memchr(spec, *c, (size_t)(sb - 1 - spec))))
				continue;
			m->sa = letter_stride(spec, x, *c, &m->size);
			m->sb = letter_stride(sb, y, *c, &m->size);
			nsum++;
		}
	}
	t = tensor_new(a, DT_f32, out->rank, out->dims);
	contract(l, nout, nsum, t->data, x->data, y->data);
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
