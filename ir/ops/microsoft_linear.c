/* microsoft_linear.c -- com.microsoft: products and convolutions with what follows them,
 * and products with quantised or packed weights. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* ---- an activation by name, with its parameters */
static struct value *
activation(struct build *b, const struct node *n, struct value *y, const char *name, const double *p, int np)
{
	struct attr a[2];

	if (!y || !*name)
		return y;
	if (strcmp(name, "Relu") == 0)
		return b_max(b, y, b_scalar_like(b, y, 0));
	if (strcmp(name, "Tanh") == 0)
		return b1(b, OP_tanh, y);
	if (strcmp(name, "Sigmoid") == 0)
		return b1(b, OP_sigmoid, y);
	if (strcmp(name, "LeakyRelu") == 0) {
		a[0] = attr_of_float("alpha", np > 0 ? p[0] : 0.01);
		return b_op(b, OP_LeakyRelu, 1, &y, 1, a);
	}
	if (strcmp(name, "Clip") == 0 && np == 2)
		return b_min(b, b_max(b, y, b_scalar_like(b, y, p[0])), b_scalar_like(b, y, p[1]));
	if (strcmp(name, "HardSigmoid") == 0 && np == 2) {
		a[0] = attr_of_float("alpha", p[0]);
		a[1] = attr_of_float("beta", p[1]);
		return b_op(b, OP_HardSigmoid, 1, &y, 2, a);
	}
	diag_unsupported(b->diag, n->loc, "activation \"%s\" with %d parameters", name, np);
	return NULL;
}

static bool
one_of(const char *s, const char *const *list)
{
	while (*list && strcmp(s, *list))
		list++;
	return *list != NULL;
}

/* n's attributes but those in `without` */
static int
attributes(const struct node *n, struct attr *a, int max, const char *const *without)
{
	int k = 0;

	for (int i = 0; i < n->nattr && k < max; i++)
		if (!one_of(n->attr[i].name, without))
			a[k++] = n->attr[i];
	return k;
}

/* X, W, B?, Z?: activation(conv(X, W) + B + Z) */
bool
expand_FusedConv(struct build *b, const struct node *n, struct value **outs)
{
	static const char *const own[] = {"activation", "activation_params", NULL};
	struct attr a[8];
	const double *p;
	int na = attributes(n, a, 8, own), np = attr_floats(n, "activation_params", &p);
	struct value *in[3] = {n->in[0], n->in[1], ops_in(n, 2)}, *y;

	y = b_op(b, OP_Conv, 3, in, na, a);
	if (ops_in(n, 3))
		y = b_add(b, y, n->in[3]);
	return (outs[0] = activation(b, n, y, attr_string(n, "activation"), p, np)) != NULL;
}

bool
expand_FusedGemm(struct build *b, const struct node *n, struct value **outs)
{
	static const char *const own[] = {
	    "activation", "activation_alpha", "activation_beta", "activation_gamma", NULL};
	struct attr a[8];
	int na = attributes(n, a, 8, own), np = 0;
	struct value *in[3] = {n->in[0], n->in[1], ops_in(n, 2)}, *y;
	double p[2];

	if (attr_has(n, "activation_alpha"))
		p[np++] = attr_float(n, "activation_alpha");
	if (np && attr_has(n, "activation_beta"))
		p[np++] = attr_float(n, "activation_beta");
	y = b_op(b, OP_Gemm, 3, in, na, a);
	return (outs[0] = activation(b, n, y, attr_string(n, "activation"), p, np)) != NULL;
}

/* batch: [m,batch...,k] becomes [batch...,m,k]; turn: the last two change places */
static struct value *
turned(struct build *b, struct value *x, bool batch, bool turn)
{
	int64_t perm[MAX_RANK];
	int r = x->rank;

	if (r < 2 || (!batch && !turn))
		return x;
	for (int i = 0; i < r; i++)
		perm[i] = !batch || i == r - 1 ? i : i == r - 2 ? 0 : i + 1;
	if (turn) {
		int64_t last = perm[r - 1];

		perm[r - 1] = perm[r - 2];
		perm[r - 2] = last;
	}
	return b_transpose(b, x, perm);
}

/* alpha * op(A) op(B) */
bool
expand_FusedMatMul(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = turned(b, n->in[0], attr_int(n, "transBatchA"), attr_int(n, "transA"));
	struct value *y = turned(b, n->in[1], attr_int(n, "transBatchB"), attr_int(n, "transB"));

	return (outs[0] = b_muls(b, ops_matmul(b, x, y), attr_float(n, "alpha"))) != NULL;
}

/* ---- quantised products */
/* A and B whole, their scales and zero points, in f32 (NULL zero: none) */
static struct value *
scaled_product(struct build *b, struct value *x, struct value *w, struct value *xz, struct value *wz,
    struct value *scale)
{
	struct value *y = b_op(b, OP_MatMulInteger, 4, (struct value *[]){x, w, xz, wz}, 0, NULL);

	return y && scale ? b_mul(b, b_cast(b, y, scale->dtype), scale) : NULL;
}

static struct value *
with_bias(struct build *b, struct value *y, struct value *bias)
{
	return bias ? b_add(b, y, bias) : y;
}

/* A, B, a_scale, b_scale, a_zero?, b_zero?, bias? */
bool
expand_MatMulIntegerToFloat(struct build *b, const struct node *n, struct value **outs)
{
	struct value *s = b_mul(b, n->in[2], n->in[3]);
	struct value *y = scaled_product(b, n->in[0], n->in[1], ops_in(n, 4), ops_in(n, 5), s);

	return (outs[0] = with_bias(b, y, ops_in(n, 6))) != NULL;
}

/* A (float, quantised by its range), B, b_scale, b_zero?, bias? */
bool
expand_DynamicQuantizeMatMul(struct build *b, const struct node *n, struct value **outs)
{
	struct node *q = b_node(b, OP_DynamicQuantizeLinear, 1, n->in, 3, 0, NULL);
	struct value *y;

	if (!q)
		return false;
	y = scaled_product(b, q->out[0], n->in[1], q->out[2], ops_in(n, 3), b_mul(b, q->out[1], n->in[2]));
	return (outs[0] = with_bias(b, y, ops_in(n, 4))) != NULL;
}

/* u8 [...,bytes] as i32 [...,bytes*8/bits], the low bits first */
static struct value *
unpacked(struct build *b, struct value *x, int bits)
{
	int64_t dims[MAX_RANK], per = 8 / bits;
	struct value *shift;

	memcpy(dims, x->dims, sizeof dims);
	dims[x->rank - 1] *= per;
	x = b_unsqueeze(b, b_cast(b, x, DT_i32), x->rank);
	shift = b_muls(b, b_iota(b, DT_i32, 1, &per, 0), bits);
	x = b2(b, OP_band, b2(b, OP_shr, x, shift), b_scalar(b, DT_i32, (1 << bits) - 1));
	return x ? b_reshape(b, x, x->rank - 1, dims) : NULL;
}

/* A [...,K] times B [N,K]^T, B in `bits` per weight, in blocks of block_size along K
 * with a scale and a zero point each: A, B [N,blocks,bytes], scales, zeros?, g_idx?, bias? */
bool
expand_MatMulNBits(struct build *b, const struct node *n, struct value **outs)
{
	int64_t k = attr_int(n, "K"), rows = attr_int(n, "N"), bits = attr_int(n, "bits"), block = attr_int(n, "block_size");
	int64_t blocks, bytes, dims[3], zero[2] = {0}, step[2] = {1, 1}, mid;
	struct value *w = n->in[1], *s = n->in[2], *z = ops_in(n, 3), *which = ops_in(n, 4);

	if ((bits != 2 && bits != 4 && bits != 8) || block < 8 || block > INT32_MAX || k < 1 || k > INT32_MAX || rows < 1 ||
	    rows > INT32_MAX)
		return diag_unsupported(b->diag, n->loc, "K %lld, N %lld, %lld bits in blocks of %lld", (long long)k,
		    (long long)rows, (long long)bits, (long long)block);
	blocks = (k + block - 1) / block;
	bytes = block * bits / 8;
	dims[0] = rows;
	dims[1] = blocks;
	if (w->dtype != DT_u8 || dims_count(w->rank, w->dims) != rows * blocks * bytes ||
	    dims_count(s->rank, s->dims) != rows * blocks)
		return diag_invalid(b->diag, n->loc, "B %s and scales %s for %lld rows of %lld blocks of %lld bytes",
		    ops_dims_text(b->g, w->rank, w->dims), ops_dims_text(b->g, s->rank, s->dims), (long long)rows,
		    (long long)blocks, (long long)bytes);
	dims[2] = bytes;
	w = unpacked(b, b_reshape(b, w, 3, dims), (int)bits);
	s = b_reshape(b, s, 2, dims);
	mid = (int64_t)1 << (bits - 1);
	if (z && z->dtype == DT_u8 && s) {
		int64_t packed[2] = {rows, (blocks * bits + 7) / 8};

		if (dims_count(z->rank, z->dims) != rows * packed[1])
			return diag_invalid(b->diag, n->loc, "zero points %s for %lld rows of %lld blocks",
			    ops_dims_text(b->g, z->rank, z->dims), (long long)rows, (long long)blocks);
		z = unpacked(b, b_reshape(b, z, 2, packed), (int)bits);
		z = b_slice(b, z, zero, dims, step);
		z = z ? b_cast(b, z, s->dtype) : NULL;
	} else if (z) {
		z = b_cast(b, b_reshape(b, z, 2, dims), s->dtype);
	} else {
		z = b_expand(b, b_scalar_like(b, s, (double)mid), 2, dims);
	}
	if (!w || !s || !z)
		return false;
	w = b_cast(b, w, s->dtype);
	if (which) { /* the block of every k */
		dims[1] = blocks * block;
		w = b_slice(b, b_reshape(b, w, 2, dims), zero, (int64_t[]){rows, k}, step);
		w = b_mul(b, b_sub(b, w, b_gather(b, z, which, 1)), b_gather(b, s, which, 1));
	} else {
		w = b_mul(b, b_sub(b, w, b_unsqueeze(b, z, 2)), b_unsqueeze(b, s, 2));
		dims[1] = blocks * block;
		w = w ? b_slice(b, b_reshape(b, w, 2, dims), zero, (int64_t[]){rows, k}, step) : NULL;
	}
	w = w ? b_transpose(b, b_cast(b, w, n->in[0]->dtype), (int64_t[]){1, 0}) : NULL;
	return (outs[0] = with_bias(b, ops_matmul(b, n->in[0], w), ops_in(n, 5))) != NULL;
}

/* ---- the same as ai.onnx's, for more types there once */
bool
expand_MsQuantizeLinear(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = b_op(b, OP_QuantizeLinear, n->nin, n->in, n->nattr, n->attr)) != NULL;
}

bool
expand_MsDequantizeLinear(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = b_op(b, OP_DequantizeLinear, n->nin, n->in, n->nattr, n->attr)) != NULL;
}

/* [N,spatial...,C] */
bool
expand_NhwcMaxPool(struct build *b, const struct node *n, struct value **outs)
{
	int64_t first[MAX_RANK], last[MAX_RANK];
	struct value *x = n->in[0];
	int r = x->rank;

	if (r < 3)
		return diag_invalid(b->diag, n->loc, "input of rank %d; [N,spatial...,C] is expected", r);
	for (int i = 0; i < r; i++) {
		first[i] = i == 0 ? 0 : i == 1 ? r - 1 : i - 1;
		last[i] = i == 0 ? 0 : i == r - 1 ? 1 : i + 1;
	}
	x = b_transpose(b, x, first);
	x = x ? b_op(b, OP_MaxPool, 1, &x, n->nattr, n->attr) : NULL;
	return (outs[0] = x ? b_transpose(b, x, last) : NULL) != NULL;
}
