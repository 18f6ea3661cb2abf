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

/* ---- Einsum of one or two operands without ellipsis or repeated letters */
static bool
terms(const char *eq, char part[3][MAX_RANK + 1], int *npart, bool *explicit_out)
{
	int k = 0, len[3] = {0};

	memset(part, 0, 3 * (MAX_RANK + 1));
	*npart = 1;
	*explicit_out = false;
	for (; *eq; eq++) {
		if (isspace((unsigned char)*eq))
			continue;
		if (*eq == ',' && k == 0)
			k = 1, *npart = 2;
		else if (eq[0] == '-' && eq[1] == '>' && !*explicit_out)
			k = 2, *explicit_out = true, eq++;
		else if (!isalpha((unsigned char)*eq) || len[k] == MAX_RANK || strchr(part[k], *eq))
			return false;
		else
			part[k][len[k]++] = *eq;
	}
	return true;
}

/* x summed over the letters that nobody else has; part loses them. */
static struct value *
reduce_lonely(struct build *b, struct value *x, char *part, const char *other, const char *out)
{
	int64_t axes[MAX_RANK];
	int n = 0, k = 0;

	for (int i = 0; part[i]; i++) {
		if (strchr(other, part[i]) || strchr(out, part[i]))
			part[k++] = part[i];
		else
			axes[n++] = i;
	}
	part[k] = 0;
	return n ? b_reduce(b, OP_reduce_sum, x, n, axes, false) : x;
}

bool
expand_Einsum(struct build *b, const struct node *n, struct value **outs)
{
	const char *eq = attr_string(n, "equation");
	char part[3][MAX_RANK + 1], spec[3 * MAX_RANK + 8];
	struct value *x = n->in[0], *y = ops_in(n, 1);
	bool explicit_out;
	int npart;

	if (!terms(eq, part, &npart, &explicit_out) || npart != n->nin)
		return diag_unsupported(b->diag, n->loc,
		    "equation \"%s\": one or two operands without ellipsis or diagonals are supported", eq);
	for (int i = 0; i < npart; i++)
		if (!n->in[i])
			return diag_invalid(b->diag, n->loc, "operand %d is missing", i);
		else if ((int)strlen(part[i]) != n->in[i]->rank)
			return diag_invalid(b->diag, n->loc, "\"%s\" of \"%s\" does not fit operand %s", part[i],
			    eq, ops_dims_text(b->g, n->in[i]->rank, n->in[i]->dims));
	if (!explicit_out) {
		int k = 0;

		for (int c = 0; c < 128; c++)
			if (isalpha(c) && !strchr(part[0], c) != !strchr(part[1], c) && k < MAX_RANK)
				part[2][k++] = (char)c;
	}
	x = reduce_lonely(b, x, part[0], part[1], part[2]);
	if (npart == 2) {
		y = reduce_lonely(b, y, part[1], part[0], part[2]);
		snprintf(spec, sizeof spec, "%s,%s->%s", part[0], part[1], part[2]);
		outs[0] = b_contract(b, spec, x, y);
	} else {
		int64_t perm[MAX_RANK];

		for (int i = 0; part[2][i]; i++) {
			const char *at = strchr(part[0], part[2][i]);

			if (!at)
				return diag_invalid(b->diag, n->loc, "'%c' of the result is in no operand", part[2][i]);
			perm[i] = at - part[0];
		}
		outs[0] = b_transpose(b, x, perm);
	}
	return outs[0] != NULL;
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
