/* linear.c -- products of ONNX as contractions, and the convolutions with bias.
 * Letters: batch axes A, B, ...; m, k, n as usual. */
#include <ctype.h>

#include "ir/ops/ops_int.h"

/* MatMul of [batch...,m,k] and [batch...,k,n].  A batch axis that an operand lacks
 * or has as 1 where the other has more is left out of its spec. */
struct value *
ops_matmul(struct build *b, struct value *x, struct value *y)
{
	char sx[MAX_RANK + 1], sy[MAX_RANK + 1], so[MAX_RANK + 2], spec[3 * MAX_RANK + 8];
	int64_t dx[MAX_RANK], dy[MAX_RANK];
	int rx = 0, ry = 0, ro = 0, bx, by, batch;

	if (!x || !y)
		return NULL;
	if (x->rank < 1 || y->rank < 1) {
		diag_invalid(b->diag, b->loc, "a product with a scalar; use Mul");
		return NULL;
	}
	bx = x->rank > 2 ? x->rank - 2 : 0;
	by = y->rank > 2 ? y->rank - 2 : 0;
	batch = bx > by ? bx : by;
	for (int i = 0; i < batch; i++) {
		int ix = i - (batch - bx), iy = i - (batch - by);
		int64_t ex = ix >= 0 ? x->dims[ix] : 0, ey = iy >= 0 ? y->dims[iy] : 0;
		bool in_x = ix >= 0, in_y = iy >= 0;

		if (in_x && in_y && ex != ey) {
			if (ex != 1 && ey != 1) {
				diag_invalid(b->diag, b->loc, "batch dimensions of %s and %s do not fit",
				    ops_dims_text(b->g, x->rank, x->dims), ops_dims_text(b->g, y->rank, y->dims));
				return NULL;
			}
			in_x = ex != 1;
			in_y = ey != 1;
		}
		if (in_x) {
			dx[rx] = ex;
			sx[rx++] = (char)('A' + i);
		}
		if (in_y) {
			dy[ry] = ey;
			sy[ry++] = (char)('A' + i);
		}
		so[ro++] = (char)('A' + i);
	}
	if (x->rank > 1) {
		dx[rx] = x->dims[x->rank - 2];
		sx[rx++] = so[ro++] = 'm';
	}
	dx[rx] = x->dims[x->rank - 1];
	sx[rx++] = 'k';
	dy[ry] = y->dims[y->rank > 1 ? y->rank - 2 : 0];
	sy[ry++] = 'k';
	if (y->rank > 1) {
		dy[ry] = y->dims[y->rank - 1];
		sy[ry++] = so[ro++] = 'n';
	}
	if (dx[rx - 1] != dy[ry - (y->rank > 1 ? 2 : 1)]) {
		diag_invalid(b->diag, b->loc, "inner dimensions of %s and %s differ",
		    ops_dims_text(b->g, x->rank, x->dims), ops_dims_text(b->g, y->rank, y->dims));
		return NULL;
	}
	x = b_reshape(b, x, rx, dx);
	y = b_reshape(b, y, ry, dy);
	snprintf(spec, sizeof spec, "%.*s,%.*s->%.*s", rx, sx, ry, sy, ro, so);
	return b_contract(b, spec, x, y);
}

bool
expand_MatMul(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = ops_matmul(b, n->in[0], n->in[1])) != NULL;
}

/* alpha * op(A) op(B) + beta * C */
bool
expand_Gemm(struct build *b, const struct node *n, struct value **outs)
{
	struct value *c = ops_in(n, 2), *y;
	char spec[16];

	snprintf(spec, sizeof spec, "%s,%s->mn", attr_int(n, "transA") ? "km" : "mk",
	    attr_int(n, "transB") ? "nk" : "kn");
	y = b_muls(b, b_contract(b, spec, n->in[0], n->in[1]), attr_float(n, "alpha"));
	if (y && c) {
		int64_t dims[2] = {y->dims[0], y->dims[1]};

		y = b_add(b, y, b_muls(b, c, attr_float(n, "beta")));
		if (y && !dims_equal(y->rank, y->dims, 2, dims))
			return diag_invalid(b->diag, n->loc, "C %s does not broadcast to %s",
			    ops_dims_text(b->g, c->rank, c->dims), ops_dims_text(b->g, 2, dims));
	}
	return (outs[0] = y) != NULL;
}

/* ---- Einsum: operand after operand into the product so far.  An ellipsis becomes
 * letters that the equation does not use; a letter twice in an operand is its
 * diagonal. */
enum { MAX_TERMS = 8 };
struct term {
	char s[MAX_RANK + 1];
	int n;
};

/* The term at *eq for a tensor of `rank` axes; dots[0..ndots): letters of the
 * ellipsis, right-aligned.  rank -1: the result, which has all of them. */
static bool
term_parse(const char **eq, int rank, const char *dots, int ndots, struct term *t)
{
	const char *p = *eq;
	int named = 0, seen = 0;

	memset(t, 0, sizeof *t);
	for (const char *q = p; *q && *q != ',' && strncmp(q, "->", 2); q++)
		named += isalpha((unsigned char)*q) != 0;
	if (rank >= 0 && (named > rank || rank - named > ndots))
		return false;
	for (; *p && *p != ',' && strncmp(p, "->", 2); p++) {
		int k = isalpha((unsigned char)*p) ? 1 : 0;
		const char *from = p;

		if (isspace((unsigned char)*p))
			continue;
		if (strncmp(p, "...", 3) == 0 && !seen++) {
			k = rank < 0 ? ndots : rank - named;
			from = dots + ndots - k;
			p += 2;
		} else if (!k)
			return false;
		if (t->n + k > MAX_RANK)
			return false;
		memcpy(t->s + t->n, from, (size_t)k);
		t->n += k;
	}
	*eq = p;
	return rank < 0 || t->n == rank;
}

static void
term_drop(struct term *t, int i)
{
	memmove(t->s + i, t->s + i + 1, (size_t)(t->n - i));
	t->n--;
}

/* x with the letter's second axis folded onto the first by a mask of ones */
static struct value *
diagonal(struct build *b, struct value *x, struct term *t, int i, int64_t twin)
{
	int64_t one[MAX_RANK], two[MAX_RANK];
	struct value *eye;

	if (x->dims[i] != x->dims[twin]) {
		diag_invalid(b->diag, b->loc, "the diagonal of axes of different extents");
		return NULL;
	}
	for (int k = 0; k < x->rank; k++) {
		one[k] = k == i ? x->dims[i] : 1;
		two[k] = k == twin ? x->dims[i] : 1;
	}
	eye = b2(b, OP_eq, b_iota(b, DT_i64, x->rank, one, i), b_iota(b, DT_i64, x->rank, two, (int)twin));
	x = b_reduce(b, OP_reduce_sum, b_select(b, eye, x, b_scalar_like(b, x, 0)), 1, &twin, false);
	term_drop(t, (int)twin);
	return x;
}

/* x times y, keeping the letters of `want`: both are first freed of letters that
 * nobody wants and of extents 1 that broadcast against the other's. */
static struct value *
einsum_pair(struct build *b, struct value *x, struct term *tx, struct value *y, struct term *ty,
    const char *want)
{
	struct value *v[2] = {x, y};
	struct term *t[2] = {tx, ty}, to = {0};
	char spec[3 * MAX_RANK + 8];

	for (int s = 0; s < 2; s++)
		for (int i = 0; v[s] && i < t[s]->n; i++) {
			const char *at = memchr(t[!s]->s, t[s]->s[i], (size_t)t[!s]->n);
			int64_t axis = i, dims[MAX_RANK];
			bool thin = v[s]->dims[i] == 1 && at && v[!s]->dims[at - t[!s]->s] != 1;

			if (!thin && (at || strchr(want, t[s]->s[i])))
				continue;
			memcpy(dims, v[s]->dims, sizeof dims);
			memmove(dims + i, dims + i + 1, sizeof *dims * (size_t)(v[s]->rank - i - 1));
			v[s] = thin ? b_reshape(b, v[s], v[s]->rank - 1, dims)
			            : b_reduce(b, OP_reduce_sum, v[s], 1, &axis, false);
			term_drop(t[s], i--);
		}
	if (!v[0] || !v[1])
		return NULL;
	for (int s = 0; s < 2; s++)
		for (int i = 0; i < t[s]->n; i++) {
			if (!strchr(want, t[s]->s[i]) || memchr(to.s, t[s]->s[i], (size_t)to.n))
				continue;
			if (to.n == MAX_RANK) {
				diag_unsupported(b->diag, b->loc, "an intermediate result of rank over %d", MAX_RANK);
				return NULL;
			}
			to.s[to.n++] = t[s]->s[i];
		}
	snprintf(spec, sizeof spec, "%s,%s->%s", tx->s, ty->s, to.s);
	x = b_contract(b, spec, v[0], v[1]);
	*tx = to;
	return x;
}

/* x reduced to the letters of the result and put in their order */
static struct value *
einsum_end(struct build *b, struct value *x, struct term *t, const struct term *out)
{
	int64_t perm[MAX_RANK];

	for (int i = 0; x && i < t->n; i++) {
		int64_t axis = i;

		if (strchr(out->s, t->s[i]))
			continue;
		x = b_reduce(b, OP_reduce_sum, x, 1, &axis, false);
		term_drop(t, i--);
	}
	for (int i = 0; i < out->n; i++) {
		const char *at = strchr(t->s, out->s[i]);

		if (!at || t->n != out->n) {
			diag_invalid(b->diag, b->loc, "'%c' of the result is in no operand", out->s[i]);
			return NULL;
		}
		perm[i] = at - t->s;
	}
	return x ? b_transpose(b, x, perm) : NULL;
}

bool
expand_Einsum(struct build *b, const struct node *n, struct value **outs)
{
	const char *eq = attr_string(n, "equation"), *p = eq;
	char dots[MAX_RANK + 1] = {0}, want[4 * 52];
	struct term t[MAX_TERMS], out = {0};
	struct value *v[MAX_TERMS];
	int ndots = 0, k = n->nin;

	if (k > MAX_TERMS)
		return diag_unsupported(b->diag, n->loc, "%d operands; at most %d are supported", k, MAX_TERMS);
	for (int c = 'z'; strstr(eq, "...") && c >= 'A' && ndots < MAX_RANK; c--)
		if (isalpha(c) && !strchr(eq, c))
			dots[ndots++] = (char)c;
	for (int i = 0; i < k; i++)
		if (!term_parse(&p, n->in[i]->rank, dots, ndots, &t[i]) || (i + 1 < k && *p++ != ','))
			return diag_invalid(b->diag, n->loc, "equation \"%s\" does not fit operand %d, %s", eq, i,
			    ops_dims_text(b->g, n->in[i]->rank, n->in[i]->dims));
	/* the ellipsis is as wide as the widest operand's */
	for (int i = 0; i < ndots; i++) {
		bool used = false;

		for (int j = 0; j < k; j++)
			used |= strchr(t[j].s, dots[i]) != NULL;
		if (!used) {
			memmove(dots + i, dots + i + 1, (size_t)(ndots - i));
			ndots--;
			i--;
		}
	}
	if (strncmp(p, "->", 2) == 0) {
		p += 2;
		if (!term_parse(&p, -1, dots, ndots, &out) || *p)
			return diag_invalid(b->diag, n->loc, "equation \"%s\"", eq);
	} else {
		memcpy(out.s, dots, (size_t)ndots);
		out.n = ndots;
		for (int c = 'A'; c <= 'z'; c++) {
			int seen = 0;

			for (int i = 0; i < k; i++)
				for (int j = 0; j < t[i].n; j++)
					seen += t[i].s[j] == c;
			if (seen == 1 && !strchr(dots, c) && out.n < MAX_RANK)
				out.s[out.n++] = (char)c;
		}
	}
	for (int i = 0; i < k; i++) {
		v[i] = n->in[i];
		for (int a = 0; v[i] && a < t[i].n; a++)
			for (int c = t[i].n - 1; v[i] && c > a; c--)
				if (t[i].s[c] == t[i].s[a])
					v[i] = diagonal(b, v[i], &t[i], a, c);
		if (!v[i])
			return false;
	}
	for (int i = 1; i < k; i++) {
		strcpy(want, out.s);
		for (int j = i + 1; j < k; j++)
			strcat(want, t[j].s);
		if (!(v[0] = einsum_pair(b, v[0], &t[0], v[i], &t[i], want)))
			return false;
	}
	return (outs[0] = einsum_end(b, v[0], &t[0], &out)) != NULL;
}

/* ---- Conv, ConvTranspose */
/* Adds bias [C] along axis 1. */
static struct value *
add_bias(struct build *b, struct value *y, struct value *bias)
{
	int64_t dims[MAX_RANK];

	if (!y || !bias)
		return y;
	for (int i = 0; i < y->rank - 1; i++)
		dims[i] = 1;
	dims[0] = bias->rank == 1 ? bias->dims[0] : -1;
	if (bias->rank != 1 || bias->dims[0] != y->dims[1]) {
		diag_invalid(b->diag, b->loc, "bias %s for %s channels",
		    ops_dims_text(b->g, bias->rank, bias->dims), dim_text(b->g, y->dims[1]));
		return NULL;
	}
	return b_add(b, y, b_reshape(b, bias, y->rank - 1, dims));
}

static bool
conv_kernel(struct build *b, const struct node *n)
{
	const struct value *x = n->in[0], *w = n->in[1];
	const int64_t *k;
	int nk = attr_ints(n, "kernel_shape", &k);

	if (x->rank < 3 || x->rank != w->rank)
		return diag_invalid(b->diag, n->loc, "input %s and weights %s",
		    ops_dims_text(b->g, x->rank, x->dims), ops_dims_text(b->g, w->rank, w->dims));
	if (x->rank - 2 > MAX_SPATIAL || !ops_all_const(w->rank, w->dims))
		return diag_unsupported(b->diag, n->loc, "weights %s",
		    ops_dims_text(b->g, w->rank, w->dims));
	if (nk && !ops_all_const(nk, k))
		return diag_invalid(b->diag, n->loc, "kernel_shape has a negative size");
	if (nk && !dims_equal(nk, k, w->rank - 2, w->dims + 2))
		return diag_invalid(b->diag, n->loc, "kernel_shape %s does not match weights %s",
		    ops_dims_text(b->g, nk, k), ops_dims_text(b->g, w->rank, w->dims));
	return true;
}

bool
expand_Conv(struct build *b, const struct node *n, struct value **outs)
{
	struct value *in[2] = {n->in[0], n->in[1]}, *y;
	struct window w;
	struct attr a[4];

	if (!conv_kernel(b, n) ||
	    !ops_window_onnx(b, n, in[0]->rank - 2, in[0]->dims + 2, in[1]->dims + 2, &w))
		return false;
	ops_window_attrs(b, &w, a);
	a[3] = attr_of_int("group", attr_int(n, "group"));
	y = b_op(b, OP_conv, 2, in, 4, a);
	return (outs[0] = add_bias(b, y, ops_in(n, 2))) != NULL;
}

/* The data gradient of a convolution.  Without padding axis i has
 * full = stride*(in-1) + dilation*(kernel-1) + 1 elements, of which lo and hi are
 * cut; output_padding takes back from hi, and beyond it adds zeros. */
bool
expand_ConvTranspose(struct build *b, const struct node *n, struct value **outs)
{
	struct value *in[2] = {n->in[0], n->in[1]}, *y;
	const int64_t *shape;
	int64_t dims[MAX_RANK], more[MAX_RANK] = {0}, none[MAX_RANK] = {0}, extra[MAX_SPATIAL];
	int64_t group = attr_int(n, "group");
	int ns, nshape = attr_ints(n, "output_shape", &shape);
	const char *pad = attr_string(n, "auto_pad");
	bool same = strcmp(pad, "SAME_UPPER") == 0 || strcmp(pad, "SAME_LOWER") == 0;
	struct window w;
	struct attr a[5];

	if (!conv_kernel(b, n))
		return false;
	ns = in[0]->rank - 2;
	if (!ops_all_const(ns, in[0]->dims + 2))
		return diag_unsupported(b->diag, n->loc, "transposed convolution of symbolic size");
	if (!ops_window(n, b->diag, ns, &w) || !ops_list(n, b->diag, "output_padding", ns, 0, extra))
		return false;
	if (nshape && nshape != ns)
		return diag_invalid(b->diag, n->loc, "output_shape has %d entries, %d expected", nshape, ns);
	if (group < 1 || group > INT32_MAX || in[1]->dims[1] > INT32_MAX)
		return diag_invalid(b->diag, n->loc, "group %lld", (long long)group);
	dims[0] = in[0]->dims[0];
	dims[1] = in[1]->dims[1] * group;
	for (int i = 0; i < ns; i++) {
		int64_t size = in[0]->dims[2 + i], full, want, cut, hi;

		if (size < 1 || size > INT32_MAX || in[1]->dims[2 + i] < 1 || in[1]->dims[2 + i] > INT32_MAX)
			return diag_invalid(b->diag, n->loc, "size %lld, kernel %lld", (long long)size,
			    (long long)in[1]->dims[2 + i]);
		full = w.stride[i] * (size - 1) + w.dilation[i] * (in[1]->dims[2 + i] - 1) + 1;
		if (extra[i] < 0 || extra[i] > INT32_MAX)
			return diag_invalid(b->diag, n->loc, "output_padding %lld", (long long)extra[i]);
		if (nshape || same) {
			want = nshape ? shape[i] : size * w.stride[i];
			if (want < 1 || want > (int64_t)INT32_MAX * INT32_MAX)
				return diag_invalid(b->diag, n->loc, "output_shape %lld", (long long)want);
			cut = full + extra[i] - want;
			if (cut < 0) {
				extra[i] -= cut; /* a larger result than the products reach */
				cut = 0;
			}
			w.lo[i] = strcmp(pad, "SAME_UPPER") == 0 ? cut / 2 : cut - cut / 2;
			w.hi[i] = cut - w.lo[i];
		} else if (strcmp(pad, "VALID") == 0)
			w.lo[i] = w.hi[i] = 0;
		hi = w.hi[i] - extra[i];
		more[2 + i] = hi < 0 ? -hi : 0;
		w.hi[i] = hi < 0 ? 0 : hi;
		dims[2 + i] = full - w.lo[i] - w.hi[i];
		if (dims[2 + i] < 1)
			return diag_invalid(b->diag, n->loc, "padding leaves nothing of spatial axis %d", i);
	}
	ops_window_attrs(b, &w, a);
	a[3] = attr_of_int("group", group);
	a[4] = attr_of_ints("dims", in[0]->rank, dims);
	y = b_op(b, OP_conv_grad_data, 2, in, 5, a);
	y = b_pad(b, y, none, more, 0);
	return (outs[0] = add_bias(b, y, ops_in(n, 2))) != NULL;
}
