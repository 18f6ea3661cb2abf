/* simplify_weights -- scales and shifts around convolutions and contractions go
 * into their constant weights (batch normalisation, input scaling, attention
 * scale), and pads into their windows.  The weight must be constant and what is
 * between must have no other reader. */
#include "passes/simplify.h"

#include <math.h>
#include <string.h>

/* Dims of c as seen from a result of rank r, right-aligned with 1 in front. */
static bool
aligned(const struct value *c, int r, int64_t *dims)
{
	if (c->rank > r)
		return false;
	for (int i = 0; i < r; i++)
		dims[i] = i < r - c->rank ? 1 : c->dims[i - (r - c->rank)];
	return true;
}

/* c varies along axis 1 of a value of rank r at most. */
static bool
per_channel(const struct value *c, int r, int64_t channels)
{
	int64_t dims[MAX_RANK];

	if (!aligned(c, r, dims) || r < 2)
		return false;
	for (int i = 0; i < r; i++)
		if (dims[i] != 1 && (i != 1 || dims[i] != channels))
			return false;
	return true;
}

/* w*c where c belongs to axis 0 of w (the conv's results): [O,1,1...] */
static struct value *
scale_out(struct rewrite *rw, struct value *w, struct value *c)
{
	int64_t dims[MAX_RANK];

	for (int i = 0; i < w->rank; i++)
		dims[i] = 1;
	dims[0] = dims_count(c->rank, c->dims);
	return b_mul(&rw->b, w, b_reshape(&rw->b, c, w->rank, dims));
}

/* w*c where c belongs to the channels that w [O, C/group, k...] reads: group g of
 * the O has the C/group channels from g*C/group on. */
static struct value *
scale_in(struct rewrite *rw, struct value *w, struct value *c, int64_t group)
{
	int64_t wide[MAX_RANK], dims[MAX_RANK], n = dims_count(c->rank, c->dims);
	struct value *v;

	if (w->rank + 1 > MAX_RANK)
		return NULL;
	wide[0] = group;
	wide[1] = w->dims[0] / group;
	for (int i = 1; i < w->rank; i++)
		wide[i + 1] = w->dims[i];
	for (int i = 0; i <= w->rank; i++)
		dims[i] = 1;
	dims[0] = n == 1 ? 1 : group;
	dims[2] = n / dims[0];
	v = b_reshape(&rw->b, w, w->rank + 1, wide);
	v = b_mul(&rw->b, v, b_reshape(&rw->b, c, w->rank + 1, dims));
	return b_reshape(&rw->b, v, w->rank, w->dims);
}

/* n again, at its own place in the model's file */
static struct value *
with_operands(struct rewrite *rw, const struct node *n, struct value *a, struct value *b)
{
	struct value *in[2] = {a, b}, *v;
	struct loc here = rw->b.loc;

	rw->b.loc = n->loc;
	v = b_op(&rw->b, n->op, 2, in, n->nattr, n->attr);
	rw->b.loc = here;
	return v;
}

/* letters of operand k or of the result (2) */
static bool
letters(const struct node *n, int k, char *out)
{
	const char *s = attr_string(n, "spec");

	for (; k > 0; k--) {
		s += strcspn(s, ",-");
		s += *s == ',' ? 1 : *s ? 2 : 0;
	}
	size_t len = strcspn(s, ",-");

	if (len > MAX_RANK)
		return false;
	memcpy(out, s, len);
	out[len] = 0;
	return true;
}

/* c, with dims along the letters `from`, rearranged for multiplying a value whose
 * letters are `to`; NULL if it varies along a letter that `to` lacks. */
static struct value *
along(struct rewrite *rw, struct value *c, const char *from, const char *to)
{
	int64_t dims[MAX_RANK], perm[MAX_RANK], flat[MAX_RANK];
	int r = (int)strlen(from), rt = (int)strlen(to), k = 0;

	if (!aligned(c, r, dims))
		return NULL;
	for (int i = 0; i < r; i++)
		if (dims[i] != 1 && !strchr(to, from[i]))
			return NULL;
	for (int j = 0; j < rt; j++) {
		const char *at = strchr(from, to[j]);

		flat[j] = at ? dims[at - from] : 1;
		if (at)
			perm[k++] = at - from;
	}
	for (int i = 0; i < r; i++)
		if (!strchr(to, from[i]))
			perm[k++] = i;
	c = b_reshape(&rw->b, c, r, dims);
	c = b_transpose(&rw->b, c, perm);
	return b_reshape(&rw->b, c, rt, flat);
}

/* The operand of a contract that is constant and alone so: 0, 1 or -1. */
static int
weight_of(const struct node *n)
{
	bool a = is_constant(n->in[0]), b = is_constant(n->in[1]);

	return a == b ? -1 : b ? 1 : 0;
}

/* y*c as a change of y's constant weight; NULL where that is not possible. */
static struct value *
scaled(struct rewrite *rw, struct value *y, struct value *c)
{
	struct node *n = y->kind == VAL_NODE ? y->def : NULL;
	struct value *w;

	if (!n || !sole_use(rw, y))
		return NULL;
	if (n->op == OP_conv && is_constant(n->in[1]) && per_channel(c, y->rank, y->dims[1])) {
		w = scale_out(rw, n->in[1], c);
		return with_operands(rw, n, n->in[0], w);
	}
	if (n->op == OP_conv_grad_data && is_constant(n->in[1]) &&
	    per_channel(c, y->rank, y->dims[1])) {
		w = scale_in(rw, n->in[1], c, attr_int(n, "group"));
		return with_operands(rw, n, n->in[0], w);
	}
	if (n->op == OP_contract && weight_of(n) >= 0) {
		char out[MAX_RANK + 1], own[MAX_RANK + 1];
		int k = weight_of(n);
		struct value *in[2] = {n->in[0], n->in[1]};

		if (!letters(n, 2, out) || !letters(n, k, own))
			return NULL;
		w = along(rw, c, out, own);
		if (!w)
			return NULL;
		in[k] = b_mul(&rw->b, in[k], w);
		return with_operands(rw, n, in[0], in[1]);
	}
	return NULL;
}

static bool
float_const(const struct value *v)
{
	return dtype_is_float(v->dtype) && !is_narrow(v) && is_constant(v);
}

/* Would scaled() succeed on y, looking through additions of constants? */
static bool
sinks(struct rewrite *rw, const struct value *y)
{
	if (y->kind != VAL_NODE || !sole_use(rw, y))
		return false;
	switch (y->def->op) {
	case OP_add:
		for (int k = 0; k < 2; k++)
			if (float_const(y->def->in[k]) && sinks(rw, y->def->in[1 - k]))
				return true;
		return false;
	case OP_conv:
	case OP_conv_grad_data:
		return is_constant(y->def->in[1]);
	case OP_contract:
		return weight_of(y->def) >= 0;
	case OP_reshape:
		return false;
	default:
		return false;
	}
}

static struct value *
scale_linear(struct rewrite *rw, struct node *n)
{
	struct value *v;

	if (!dtype_is_float(n->out[0]->dtype))
		return NULL;
	for (int k = 0; k < 2; k++) {
		struct value *y = n->in[1 - k], *c = n->in[k];

		if (!float_const(c) || is_constant(y) || !same_dims(y, n->out[0]))
			continue;
		v = scaled(rw, y, c);
		if (v)
			return v;
	}
	return NULL;
}

/* (y + a)*c = y*c + a*c where y's weight takes the scale */
static struct value *
scale_shifted(struct rewrite *rw, struct node *n)
{
	if (!dtype_is_float(n->out[0]->dtype))
		return NULL;
	for (int k = 0; k < 2; k++) {
		struct value *y = n->in[1 - k], *c = n->in[k];

		if (!float_const(c) || !is_node(y, OP_add) || !same_dims(y, n->out[0]) ||
		    !sinks(rw, y))
			continue;
		for (int j = 0; j < 2; j++) {
			struct value *a = y->def->in[j], *x = y->def->in[1 - j], *v;

			if (!float_const(a) || is_constant(x) || !same_dims(x, y))
				continue;
			v = scaled(rw, x, c);
			if (!v && is_node(x, OP_add))
				v = b_mul(&rw->b, x, c);
			if (v)
				return b_add(&rw->b, v, b_mul(&rw->b, a, c));
		}
	}
	return NULL;
}

/* The gate of a squeeze-and-excitation block: a number for each channel of the one image,
 * which several times fewer weights than pixels take. */
static bool
gates(const struct node *n, const struct value *x, const struct value *c)
{
	const struct value *w = n->in[1];

	for (int i = 0; i < x->rank; i++)
		if (!dim_const(x->dims[i]) || c->rank != x->rank)
			return false;
	return attr_int(n, "group") == 1 && x->dims[0] == 1 && w->rank == x->rank &&
	       4 * dims_count(w->rank, w->dims) <= dims_count(x->rank, x->dims);
}

/* conv(x*c, w) = conv(x, w*c), c per channel: zero padding stays zero */
static struct value *
conv_scaled(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0], *w = n->in[1];

	if (!is_constant(w) || !is_node(y, OP_mul) || !sole_use(rw, y))
		return NULL;
	for (int k = 0; k < 2; k++) {
		struct value *c = y->def->in[k], *x = y->def->in[1 - k];

		if (!same_dims(x, y) || !per_channel(c, y->rank, y->dims[1]))
			continue;
		if (float_const(c))
			w = scale_in(rw, w, c, attr_int(n, "group"));
		else if (gates(n, x, c))
			w = b_mul(&rw->b, w, c);
		else
			continue;
		return w ? with_operands(rw, n, x, w) : NULL;
	}
	return NULL;
}

/* contract(x*c, w) = contract(x, w*c); a reshape between is looked through where c
 * is one number */
static struct value *
contract_scaled(struct rewrite *rw, struct node *n)
{
	int k = weight_of(n);
	char own[MAX_RANK + 1], other[MAX_RANK + 1];
	struct value *y, *w;
	bool reshaped;

	if (k < 0)
		return NULL;
	y = n->in[1 - k];
	reshaped = is_node(y, OP_reshape) && sole_use(rw, y);
	if (reshaped)
		y = y->def->in[0];
	if (!is_node(y, OP_mul) || !sole_use(rw, y) || !letters(n, k, own) ||
	    !letters(n, 1 - k, other))
		return NULL;
	for (int j = 0; j < 2; j++) {
		struct value *c = y->def->in[j], *x = y->def->in[1 - j], *in[2];

		if (!float_const(c) || !same_dims(x, y) ||
		    (reshaped && dims_count(c->rank, c->dims) != 1))
			continue;
		if (reshaped) {
			c = b_reshape(&rw->b, c, 0, NULL);
			x = b_reshape(&rw->b, x, n->in[1 - k]->rank, n->in[1 - k]->dims);
		}
		w = c ? along(rw, c, other, own) : NULL;
		if (!w)
			continue;
		in[k] = b_mul(&rw->b, n->in[k], w);
		in[1 - k] = x;
		return with_operands(rw, n, in[0], in[1]);
	}
	return NULL;
}

/* Spatial pads only, none negative, so that a window's own padding does the same. */
static bool
spatial_pad(const struct node *p, const int64_t **lo, const int64_t **hi)
{
	int r = p->in[0]->rank;

	if (attr_ints(p, "lo", lo) != r || attr_ints(p, "hi", hi) != r)
		return false;
	for (int i = 0; i < r; i++)
		if ((*lo)[i] < 0 || (*hi)[i] < 0 || (i < 2 && ((*lo)[i] || (*hi)[i])))
			return false;
	return true;
}

struct value *
with_pads(struct rewrite *rw, const struct node *n, struct value *const *in, int npads, const int64_t *pads)
{
	struct attr *attr = arena_array(rw->g->arena, struct attr, n->nattr + 1);
	struct loc here = rw->b.loc;
	int nattr = 0;

	for (int i = 0; i < n->nattr; i++)
		if (strcmp(n->attr[i].name, "pads") != 0)
			attr[nattr++] = n->attr[i];
	attr[nattr++] = (struct attr){.name = "pads",
	    .kind = ATTR_INTS,
	    .n = npads,
	    .ints = arena_dup(rw->g->arena, pads, sizeof pads[0] * (size_t)npads)};
	rw->b.loc = n->loc;
	struct node *m = b_node(&rw->b, n->op, n->nin, in, 1, nattr, attr);
	rw->b.loc = here;
	return m ? m->out[0] : NULL;
}

static struct value *
window_padded(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0], *in[2], *v;
	const int64_t *lo, *hi, *old;
	int64_t pads[2 * MAX_RANK];
	int sp = y->rank - 2;
	double fill;

	if (!is_node(y, OP_pad) || !sole_use(rw, y) || !spatial_pad(y->def, &lo, &hi))
		return NULL;
	fill = attr_float(y->def, "fill");
	if (n->op == OP_max_pool ? fill > -3e38 : fill != 0)
		return NULL;
	int given = attr_ints(n, "pads", &old);

	for (int i = 0; i < sp; i++) {
		pads[i] = lo[i + 2] + (given == 2 * sp ? old[i] : 0);
		pads[sp + i] = hi[i + 2] + (given == 2 * sp ? old[sp + i] : 0);
	}
	in[0] = y->def->in[0];
	in[1] = n->nin > 1 ? n->in[1] : NULL;
	v = with_pads(rw, n, in, 2 * sp, pads);
	return v && same_dims(v, n->out[0]) ? v : NULL;
}

const struct simplify_rule simplify_weights[] = {
    {OP_mul, "conv(x, w) * c = conv(x, w*c), contract likewise", scale_linear},
    {OP_mul, "(conv(x, w) + a) * c = conv(x, w*c) + a*c", scale_shifted},
    {OP_conv, "conv(x*c, w) = conv(x, w*c)", conv_scaled},
    {OP_contract, "contract(x*c, w) = contract(x, w*c)", contract_scaled},
    {OP_conv, "conv(pad x) = conv with larger pads", window_padded},
    {OP_max_pool, "max_pool(pad x by -inf) = max_pool with pads", window_padded},
    {OP_sum_pool, "sum_pool(pad x) = sum_pool with pads", window_padded},
    {0},
};
