/* cast.c -- conversions to and from elements narrower than kernels compute with:
 * float8, float4 and the packed 4 and 2 bit integers.  Such a value is only moved;
 * `bits` reads its memory as bytes, and the core computes on those codes. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* ---- bits: the same bytes as other elements */
bool
infer_bits(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	const int64_t *dims;
	int rank = attr_ints(n, "dims", &dims);
	int64_t to = attr_int(n, "to");

	if (!ops_known(n, d))
		return false;
	if (to <= DT_none || to >= NDTYPE || to == DT_str || x->dtype == DT_str)
		return diag_invalid(d, n->loc, "%s elements cannot be read as other ones", dtype_info[x->dtype].name);
	if (!ops_all_const(rank, dims) || !ops_all_const(x->rank, x->dims)) {
		if (dtype_info[to].bits != dtype_info[x->dtype].bits || !dims_equal(rank, dims, x->rank, x->dims))
			return diag_unsupported(d, n->loc, "symbolic dims %s", ops_dims_text(g, x->rank, x->dims));
	} else if (dtype_bytes((enum dtype)to, dims_count(rank, dims)) !=
		   dtype_bytes(x->dtype, dims_count(x->rank, x->dims)))
		return diag_invalid(d, n->loc, "%s of %s does not fill %s of %s",
		    ops_dims_text(g, x->rank, x->dims), dtype_info[x->dtype].name, ops_dims_text(g, rank, dims),
		    dtype_info[to].name);
	return ops_set(n, d, 0, (enum dtype)to, rank, dims);
}

bool
eval_bits(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	struct arena *a = arena_create();
	struct tensor t = *etensor_to(a, in[0]);
	struct etensor *y;

	(void)n;
	t.dtype = out[0]->dtype;
	t.rank = out[0]->rank;
	memcpy(t.dims, out[0]->dims, sizeof t.dims);
	y = etensor_from(a, &t);
	for (int64_t i = 0; i < y->count; i++)
		et_move(out[0], i, y, i);
	arena_destroy(a);
	return true;
}

struct value *
ops_bits(struct build *b, struct value *x, enum dtype to, int rank, const int64_t *dims)
{
	struct attr a[2] = {attr_of_int("to", to), attr_of_ints("dims", rank, dims)};

	return x ? b_op(b, OP_bits, 1, &x, 2, a) : NULL;
}

static bool
narrow(enum dtype t)
{
	const struct dtype_info *i = &dtype_info[t];

	return (i->class == DC_FLOAT && i->bits < 16) || (dtype_is_int(t) && i->bits < 8);
}

static struct value *
bytes(struct build *b, int n, const uint8_t *v)
{
	struct tensor *t = tensor_new(b->g->arena, DT_u8, 1, &(int64_t){n});

	memcpy(t->data, v, (size_t)n);
	return graph_const(b->g, NULL, t);
}

/* ---- packed codes, low bits first, to one byte per code and back */
static struct value *
unpack(struct build *b, struct value *x)
{
	int width = dtype_info[x->dtype].bits, per = 8 / width;
	int64_t count, m, two[2], all;
	uint8_t shift[8];
	struct value *c;

	if (per == 1)
		return ops_bits(b, x, DT_u8, x->rank, x->dims);
	if (!ops_all_const(x->rank, x->dims)) {
		diag_unsupported(b->diag, b->loc, "packed elements of symbolic dims");
		return NULL;
	}
	count = dims_count(x->rank, x->dims);
	m = (count + per - 1) / per;
	for (int i = 0; i < per; i++)
		shift[i] = (uint8_t)(i * width);
	two[0] = m;
	two[1] = 1;
	c = b_reshape(b, ops_bits(b, x, DT_u8, 1, &m), 2, two);
	c = b2(b, OP_shr, c, bytes(b, per, shift));
	c = b2(b, OP_band, c, b_scalar(b, DT_u8, (1 << width) - 1));
	all = m * per;
	c = b_slice(b, b_reshape(b, c, 1, &all), &(int64_t){0}, &count, &(int64_t){1});
	return b_reshape(b, c, x->rank, x->dims);
}

static struct value *
pack(struct build *b, struct value *c, enum dtype to)
{
	int width = dtype_info[to].bits, per = 8 / width, rank;
	int64_t count, m, two[2], dims[MAX_RANK];
	struct value *y = NULL;

	if (!c || per == 1)
		return c ? ops_bits(b, c, to, c->rank, c->dims) : NULL;
	if (!ops_all_const(c->rank, c->dims)) {
		diag_unsupported(b->diag, b->loc, "packed elements of symbolic dims");
		return NULL;
	}
	rank = c->rank;
	memcpy(dims, c->dims, sizeof dims);
	count = dims_count(rank, dims);
	m = (count + per - 1) / per;
	two[0] = m;
	two[1] = per;
	c = b_pad(b, b_reshape(b, c, 1, &count), &(int64_t){0}, &(int64_t){m * per - count}, 0);
	c = b_reshape(b, c, 2, two);
	two[1] = 1;
	for (int64_t i = 0; c && i < per; i++) {
		struct value *p = b_slice(b, c, (int64_t[]){0, i}, two, (int64_t[]){1, 1});

		p = i ? b2(b, OP_shl, p, b_scalar(b, DT_u8, (double)(i * width))) : p;
		y = i ? b2(b, OP_bor, y, p) : p;
	}
	return ops_bits(b, b_reshape(b, y, 1, &m), to, rank, dims);
}

/* ---- codes to numbers: a table */
static struct value *
decode(struct build *b, struct value *x)
{
	int64_t n = INT64_C(1) << dtype_info[x->dtype].bits;
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 1, &n);
	struct value *c = unpack(b, x);

	for (int i = 0; i < n; i++) {
		uint8_t code = (uint8_t)i;

		dtype_put_f(DT_f32, t->data, i, dtype_get_f(x->dtype, &code, 0));
	}
	return c ? b_gather(b, graph_const(b->g, NULL, t), b_cast(b, c, DT_i64), 0) : NULL;
}

/* ---- numbers to codes.  The magnitude's code is the number of thresholds that it
 * reaches: threshold k is where rounding goes from code k-1 to k, and a tie
 * (half way) goes to the even code.  Past the last finite code: saturate, or the
 * code of infinity, or of NaN. */
static double
code_value(enum dtype t, int code)
{
	uint8_t c = (uint8_t)code;

	return dtype_get_f(t, &c, 0);
}

static double
after(double v, enum dtype t)
{
	return t == DT_f64 ? nextafter(v, INFINITY) : nextafterf((float)v, INFINITY);
}

static double
threshold(enum dtype to, enum dtype from, int k, int last, const char *mode)
{
	double lo = code_value(to, k - 1), hi = k <= last ? code_value(to, k) : 0;

	if (k > last) /* what would come next, were there room for it */
		hi = to == DT_f8e8m0 ? 2 * lo : 2 * lo - code_value(to, k - 2);
	if (to != DT_f8e8m0)
		return k % 2 ? after((lo + hi) / 2, from) : (lo + hi) / 2;
	return strcmp(mode, "up") == 0 ? after(lo, from) : strcmp(mode, "down") == 0 ? hi : (lo + hi) / 2;
}

static struct value *
encode(struct build *b, struct value *x, enum dtype to, bool saturate, const char *mode)
{
	enum dtype from = x->dtype == DT_f64 ? DT_f64 : DT_f32;
	int width = dtype_info[to].bits, last = 0, inf = -1, nan = -1, half = 1 << (width - 1), top;
	bool sign = to != DT_f8e8m0, zero_signed = sign;
	struct value *v = b_cast(b, x, from), *a = b1(b, OP_abs, v), *c, *neg;
	int64_t n, axis = x->rank;
	struct tensor *t;

	for (int i = (sign ? half : 2 * half) - 1; i >= 0; i--) {
		double f = code_value(to, i);

		if (isinf(f))
			inf = i;
		else if (isnan(f))
			nan = i;
		else if (last == 0)
			last = i;
	}
	if (sign && isnan(code_value(to, half))) { /* fnuz: NaN is where -0 would be */
		nan = half;
		zero_signed = false;
	}
	top = saturate ? last : last + 1;
	n = top;
	t = tensor_new(b->g->arena, from, 1, &n);
	for (int k = 1; k <= top; k++)
		dtype_put_f(from, t->data, k - 1, threshold(to, from, k, last, mode));
	if (!a || x->rank >= MAX_RANK) {
		diag_unsupported(b->diag, b->loc, "rank %d", x->rank);
		return NULL;
	}
	c = b2(b, OP_le, graph_const(b->g, NULL, t), b_unsqueeze(b, a, x->rank));
	c = b_reduce(b, OP_reduce_sum, c ? b_cast(b, c, DT_i32) : NULL, 1, &axis, false);
	if (!saturate)
		c = b_select(b, b2(b, OP_le, c, b_scalar(b, DT_i32, last)), c,
		    b_scalar(b, DT_i32, inf >= 0 ? inf : nan >= 0 ? nan : last));
	if (sign) {
		/* 1/-0 is -inf */
		neg = b_select(b, b2(b, OP_eq, v, b_scalar(b, from, 0)), b_div(b, b_scalar(b, from, 1), v), v);
		neg = b2(b, OP_lt, neg, b_scalar(b, from, 0));
		if (!zero_signed) {
			neg = b2(b, OP_and, neg, b2(b, OP_lt, b_scalar(b, DT_i32, 0), c));
			neg = b2(b, OP_and, neg, b2(b, OP_lt, c, b_scalar(b, DT_i32, half)));
		}
		c = b_select(b, neg, b2(b, OP_bor, c, b_scalar(b, DT_i32, half)), c);
	}
	c = b_select(b, b1(b, OP_isnan, v), b_scalar(b, DT_i32, nan >= 0 ? nan : half), c);
	return c ? pack(b, b_cast(b, c, DT_u8), to) : NULL;
}

/* whole parts, wrapped */
static struct value *
encode_int(struct build *b, struct value *x, enum dtype to)
{
	int width = dtype_info[to].bits;

	x = b_cast(b, x, DT_i32);
	x = b2(b, OP_band, x, b_scalar(b, DT_i32, (1 << width) - 1));
	return x ? pack(b, b_cast(b, x, DT_u8), to) : NULL;
}

struct value *
ops_cast(struct build *b, struct value *x, enum dtype to, bool saturate, const char *mode)
{
	if (!x || x->dtype == to)
		return b_cast(b, x, to);
	if (to == DT_str) {
		bool whole = dtype_is_int(x->dtype);

		if (narrow(x->dtype))
			x = whole ? b_cast(b, decode(b, x), DT_i32) : decode(b, x);
		return ops_host(b, OP_str_from, x, 0, NULL);
	}
	if (x->dtype == DT_str) {
		struct attr a = attr_of_int("to", !narrow(to) ? to : dtype_is_int(to) ? DT_i32 : DT_f32);

		return ops_cast(b, ops_host(b, OP_str_to, x, 1, &a), to, saturate, mode);
	}
	if (narrow(x->dtype))
		x = decode(b, x);
	if (!x || !narrow(to))
		return b_cast(b, x, to);
	if (dtype_is_int(to))
		return encode_int(b, x, to);
	return encode(b, x, to, saturate, mode);
}

/* ---- narrow elements moved as codes */
bool
op_moves_codes(const struct node *n)
{
	enum op_class c = op_info[n->op].class;

	return n->nout == 1 && n->out[0] && narrow(n->out[0]->dtype) &&
	       ((c == OC_view && n->nin) || n->op == OP_gather || n->op == OP_select || n->op == OP_scatter_set);
}

struct value *
op_as_codes(struct build *b, const struct node *n)
{
	enum dtype t = n->out[0]->dtype;
	struct attr *at = arena_dup(b->g->arena, n->attr, sizeof *n->attr * (size_t)n->nattr);
	struct value **in, *y;

	if (n->op == OP_reshape)
		return ops_bits(b, n->in[0], t, n->out[0]->rank, n->out[0]->dims);
	in = arena_array(b->g->arena, struct value *, n->nin + 1);
	for (int i = 0; i < n->nin; i++)
		if (n->in[i] && !(in[i] = narrow(n->in[i]->dtype) ? unpack(b, n->in[i]) : n->in[i]))
			return NULL;
	for (int i = 0; n->op == OP_pad && i < n->nattr; i++)
		if (strcmp(at[i].name, "fill") == 0) {
			uint8_t code = 0;

			dtype_put_f(t, &code, 0, at[i].f);
			at[i].f = code;
		}
	y = b_op(b, n->op, n->nin, in, n->nattr, at);
	return y ? pack(b, y, t) : NULL;
}

/* ---- BitCast: the same bits as another element type of the same width */
bool
expand_BitCast(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int64_t to = attr_int(n, "to");
	enum dtype t = to < 0 || to > INT32_MAX ? DT_none : dtype_from_onnx((int)to);

	if (t == DT_none || dtype_info[t].bits != dtype_info[x->dtype].bits)
		return diag_invalid(b->diag, n->loc, "%s elements as type %lld: the widths differ",
		    dtype_info[x->dtype].name, (long long)to);
	return (outs[0] = ops_bits(b, x, t, x->rank, x->dims)) != NULL;
}
