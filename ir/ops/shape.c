/* shape.c -- the core operators that only move elements, iota, and rng. */
#include "ir/ops/ops_int.h"

/* ---- iota: the index along one axis */
bool
infer_iota(struct graph *g, struct node *n, struct diag *d)
{
	const int64_t *dims;
	int rank = attr_ints(n, "dims", &dims);
	int64_t to = attr_int(n, "to"), axis = attr_int(n, "axis");

	(void)g;
	if (to <= DT_none || to >= NDTYPE ||
	    (!dtype_is_float((enum dtype)to) && !dtype_is_int((enum dtype)to)))
		return diag_invalid(d, n->loc, "iota of element type %lld", (long long)to);
	if (axis < 0 || axis >= rank)
		return diag_invalid(
		    d, n->loc, "iota along axis %lld of rank %d", (long long)axis, rank);
	return ops_set(n, d, 0, (enum dtype)to, rank, dims);
}

bool
eval_iota(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	struct etensor *y = out[0];
	int64_t idx[MAX_RANK] = {0}, axis = attr_int(n, "axis");

	(void)in;
	for (int64_t o = 0; o < y->count; o++) {
		et_put(y, o, (double)idx[axis]);
		ops_next(y->rank, y->dims, idx);
	}
	return true;
}

/* ---- expand: broadcast to dims */
bool
infer_expand(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	const int64_t *dims;
	int rank = attr_ints(n, "dims", &dims), shift = rank - x->rank;

	if (!ops_known(n, d))
		return false;
	if (shift < 0)
		return diag_invalid(d, n->loc, "%s cannot be expanded to %s",
		    ops_dims_text(g, x->rank, x->dims), ops_dims_text(g, rank, dims));
	for (int i = 0; i < x->rank; i++)
		if (x->dims[i] != 1 && x->dims[i] != dims[i + shift])
			return diag_invalid(d, n->loc, "%s cannot be expanded to %s",
			    ops_dims_text(g, x->rank, x->dims), ops_dims_text(g, rank, dims));
	return ops_set(n, d, 0, x->dtype, rank, dims);
}

bool
grad_expand_op(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	if (!dout[0])
		return true;
	din[0] = b_unbroadcast(b, dout[0], n->in[0]);
	return din[0] != NULL;
}

bool
eval_expand(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	struct etensor *y = out[0];
	int64_t idx[MAX_RANK] = {0}, s[MAX_RANK];
	int shift = y->rank - x->rank;

	(void)n;
	ops_strides(x->rank, x->dims, s);
	for (int64_t o = 0; o < y->count; o++) {
		int64_t at = 0;

		for (int i = 0; i < x->rank; i++)
			at += x->dims[i] == 1 ? 0 : s[i] * idx[i + shift];
		et_move(y, o, x, at);
		ops_next(y->rank, y->dims, idx);
	}
	return true;
}

/* ---- reshape */
bool
infer_reshape(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	const int64_t *dims;
	int rank = attr_ints(n, "dims", &dims);

	if (!ops_known(n, d))
		return false;
	/* Symbolic sizes are equal by construction where they are equal at all. */
	if (ops_all_const(rank, dims) && ops_all_const(x->rank, x->dims) &&
	    dims_count(rank, dims) != dims_count(x->rank, x->dims))
		return diag_invalid(d, n->loc, "%s cannot be reshaped to %s: the number of elements differs",
		    ops_dims_text(g, x->rank, x->dims), ops_dims_text(g, rank, dims));
	return ops_set(n, d, 0, x->dtype, rank, dims);
}

bool
grad_reshape(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	if (!dout[0])
		return true;
	din[0] = b_reshape(b, dout[0], n->in[0]->rank, n->in[0]->dims);
	return din[0] != NULL;
}

bool
eval_reshape(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	return eval_copy(n, in, out);
}

/* ---- transpose: y.dims[i] = x.dims[perm[i]] */
static bool
permutation(const struct node *n, struct diag *d, int rank, int64_t *perm)
{
	const int64_t *p;
	int k = attr_ints(n, "perm", &p);
	bool seen[MAX_RANK] = {false};

	if (!attr_has(n, "perm") || (k == 0 && rank > 0)) {
		for (int i = 0; i < rank; i++)
			perm[i] = rank - 1 - i;
		return true;
	}
	if (k != rank)
		return diag_invalid(d, n->loc, "perm has %d entries, the operand has rank %d", k, rank);
	for (int i = 0; i < rank; i++) {
		if (p[i] < 0 || p[i] >= rank || seen[p[i]])
			return diag_invalid(
			    d, n->loc, "perm is not a permutation of the %d axes (entry %lld)", rank,
			    (long long)p[i]);
		seen[p[i]] = true;
		perm[i] = p[i];
	}
	return true;
}

bool
infer_transpose(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t perm[MAX_RANK], dims[MAX_RANK];

	(void)g;
	if (!ops_known(n, d) || !permutation(n, d, x->rank, perm))
		return false;
	for (int i = 0; i < x->rank; i++)
		dims[i] = x->dims[perm[i]];
	return ops_set(n, d, 0, x->dtype, x->rank, dims);
}

bool
grad_transpose(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	int64_t perm[MAX_RANK], inverse[MAX_RANK];

	if (!dout[0])
		return true;
	if (!permutation(n, b->diag, n->in[0]->rank, perm))
		return false;
	for (int i = 0; i < n->in[0]->rank; i++)
		inverse[perm[i]] = i;
	din[0] = b_transpose(b, dout[0], inverse);
	return din[0] != NULL;
}

bool
eval_transpose(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	struct etensor *y = out[0];
	int64_t idx[MAX_RANK] = {0}, s[MAX_RANK], perm[MAX_RANK];

	if (!permutation(n, NULL, x->rank, perm))
		return false;
	ops_strides(x->rank, x->dims, s);
	for (int64_t o = 0; o < y->count; o++) {
		int64_t at = 0;

		for (int i = 0; i < x->rank; i++)
			at += s[perm[i]] * idx[i];
		et_move(y, o, x, at);
		ops_next(y->rank, y->dims, idx);
	}
	return true;
}

/* ---- slice: y[i] = x[start + i*step], i < count */
bool
infer_slice(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t start[MAX_RANK], count[MAX_RANK], step[MAX_RANK];

	if (!ops_known(n, d) || !ops_list(n, d, "start", x->rank, 0, start) ||
	    !ops_list(n, d, "step", x->rank, 1, step))
		return false;
	if (!attr_has(n, "count"))
		memcpy(count, x->dims, sizeof count);
	else if (!ops_list(n, d, "count", x->rank, 0, count))
		return false;
	for (int i = 0; i < x->rank; i++) {
		int64_t dim = x->dims[i], last;

		if (step[i] == 0)
			return diag_invalid(d, n->loc, "step 0 on axis %d", i);
		if (start[i] < 0)
			return diag_invalid(d, n->loc, "start %lld on axis %d", (long long)start[i], i);
		if (!dim_const(dim) || !dim_const(count[i]))
			continue; /* symbolic: by construction */
		if (count[i] == 0)
			continue;
		if (start[i] >= dim || __builtin_mul_overflow(count[i] - 1, step[i], &last) ||
		    __builtin_add_overflow(last, start[i], &last) || last < 0 || last >= dim)
			return diag_invalid(d, n->loc,
			    "slice [%lld + %lld*i, i < %lld] leaves axis %d of %s", (long long)start[i],
			    (long long)step[i], (long long)count[i], i, ops_dims_text(g, x->rank, x->dims));
	}
	return ops_set(n, d, 0, x->dtype, x->rank, count);
}

/* The adjoint puts dy[i] at start + i*step: reversed where the step is negative,
 * spread by padding every element to a block of step, then padded (or cropped)
 * to its place. */
bool
grad_slice(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	const struct value *x = n->in[0];
	struct value *d = dout[0];
	int rank = x->rank;
	int64_t start[MAX_RANK], count[MAX_RANK], step[MAX_RANK], lo[MAX_RANK], hi[MAX_RANK];
	int64_t from[MAX_RANK] = {0}, back[MAX_RANK];
	bool reversed = false, spread = false;

	if (!d)
		return true;
	if (!ops_list(n, b->diag, "start", rank, 0, start) || !ops_list(n, b->diag, "step", rank, 1, step))
		return false;
	memcpy(count, n->out[0]->dims, sizeof count);
	for (int i = 0; i < rank; i++) {
		back[i] = 1;
		if (step[i] < 0 && count[i] > 0) {
			from[i] = count[i] - 1;
			back[i] = -1;
			start[i] += (count[i] - 1) * step[i];
			step[i] = -step[i];
			reversed = true;
		} else if (step[i] < 0)
			step[i] = 1;
		if (count[i] == 1)
			step[i] = 1;
		spread |= step[i] != 1;
	}
	if (reversed)
		d = b_slice(b, d, from, count, back);
	if (spread) {
		int64_t dims[2 * MAX_RANK], l[2 * MAX_RANK], h[2 * MAX_RANK];
		int r = 0;

		for (int i = 0; i < rank; i++) {
			dims[r] = count[i];
			l[r] = h[r] = 0;
			r++;
			if (step[i] == 1)
				continue;
			if (r >= MAX_RANK)
				return diag_unsupported(b->diag, n->loc, "gradient of a strided slice of rank %d", rank);
			dims[r] = 1;
			l[r] = 0;
			h[r] = step[i] - 1;
			r++;
			count[i] *= step[i];
		}
		if (r > MAX_RANK)
			return diag_unsupported(b->diag, n->loc, "gradient of a strided slice of rank %d", rank);
		d = b_pad(b, b_reshape(b, d, r, dims), l, h, 0);
		d = b_reshape(b, d, rank, count);
	}
	for (int i = 0; i < rank; i++) {
		lo[i] = start[i];
		if (x->dims[i] == count[i] && start[i] == 0)
			hi[i] = 0;
		else if (!dim_const(x->dims[i]) || !dim_const(count[i]) || start[i] < 0)
			return diag_unsupported(b->diag, n->loc, "gradient of a slice along symbolic axis %d", i);
		else
			hi[i] = x->dims[i] - start[i] - count[i];
	}
	din[0] = b_pad(b, d, lo, hi, 0);
	return din[0] != NULL;
}

bool
eval_slice(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	struct etensor *y = out[0];
	int64_t idx[MAX_RANK] = {0}, s[MAX_RANK], start[MAX_RANK], step[MAX_RANK], base = 0;

	if (!ops_list(n, NULL, "start", x->rank, 0, start) || !ops_list(n, NULL, "step", x->rank, 1, step))
		return false;
	ops_strides(x->rank, x->dims, s);
	for (int i = 0; i < x->rank; i++) {
		base += start[i] * s[i];
		s[i] *= step[i];
	}
	for (int64_t o = 0; o < y->count; o++) {
		int64_t at = base;

		for (int i = 0; i < x->rank; i++)
			at += s[i] * idx[i];
		et_move(y, o, x, at);
		ops_next(y->rank, y->dims, idx);
	}
	return true;
}

/* ---- pad: lo and hi elements of `fill`; negative ones crop */
bool
infer_pad(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t lo[MAX_RANK], hi[MAX_RANK], dims[MAX_RANK];

	if (!ops_known(n, d) || !ops_list(n, d, "lo", x->rank, 0, lo) ||
	    !ops_list(n, d, "hi", x->rank, 0, hi))
		return false;
	for (int i = 0; i < x->rank; i++) {
		int64_t by;

		if (__builtin_add_overflow(lo[i], hi[i], &by) || by == INT64_MIN)
			return diag_invalid(d, n->loc, "padding of axis %d overflows", i);
		if (!dim_const(x->dims[i]))
			dims[i] = by >= 0 ? dim_add(g, x->dims[i], by) : dim_sub(g, x->dims[i], -by);
		else if (__builtin_add_overflow(x->dims[i], by, &dims[i]) || dims[i] < 0)
			return diag_invalid(d, n->loc, "axis %d of %lld cannot be padded by %lld and %lld", i,
			    (long long)x->dims[i], (long long)lo[i], (long long)hi[i]);
	}
	return ops_set(n, d, 0, x->dtype, x->rank, dims);
}

bool
grad_pad(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	int64_t lo[MAX_RANK], hi[MAX_RANK];
	int rank = n->in[0]->rank;

	if (!dout[0])
		return true;
	if (!ops_list(n, b->diag, "lo", rank, 0, lo) || !ops_list(n, b->diag, "hi", rank, 0, hi))
		return false;
	for (int i = 0; i < rank; i++) {
		lo[i] = -lo[i];
		hi[i] = -hi[i];
	}
	din[0] = b_pad(b, dout[0], lo, hi, 0);
	return din[0] != NULL;
}

bool
eval_pad(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	struct etensor *y = out[0];
	int64_t idx[MAX_RANK] = {0}, s[MAX_RANK], lo[MAX_RANK];
	double fill = attr_float(n, "fill");

	if (!ops_list(n, NULL, "lo", x->rank, 0, lo))
		return false;
	ops_strides(x->rank, x->dims, s);
	for (int64_t o = 0; o < y->count; o++) {
		int64_t at = 0;
		bool inside = true;

		for (int i = 0; i < x->rank; i++) {
			int64_t k = idx[i] - lo[i];

			inside &= k >= 0 && k < x->dims[i];
			at += k * s[i];
		}
		if (inside)
			et_move(y, o, x, at);
		else if (!y->s) /* strings are "" from the start */
			et_put(y, o, fill);
		ops_next(y->rank, y->dims, idx);
	}
	return true;
}

/* ---- concat */
bool
infer_concat(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t dims[MAX_RANK];
	int axis;

	if (!ops_known(n, d) || (axis = axis_normal(n, d, attr_int(n, "axis"), x->rank)) < 0)
		return false;
	memcpy(dims, x->dims, sizeof dims);
	for (int k = 1; k < n->nin; k++) {
		const struct value *v = n->in[k];

		if (v->dtype != x->dtype)
			return diag_invalid(d, n->loc, "operand types differ: %s and %s",
			    dtype_info[x->dtype].name, dtype_info[v->dtype].name);
		if (v->rank != x->rank)
			return diag_invalid(d, n->loc, "operands %s and %s differ in rank",
			    ops_dims_text(g, x->rank, x->dims), ops_dims_text(g, v->rank, v->dims));
		for (int i = 0; i < x->rank; i++)
			if (i != axis && v->dims[i] != x->dims[i])
				return diag_invalid(d, n->loc, "operands %s and %s do not fit along axis %d",
				    ops_dims_text(g, x->rank, x->dims), ops_dims_text(g, v->rank, v->dims), axis);
		if (dim_const(dims[axis]) && dim_const(v->dims[axis]) &&
		    dims[axis] > INT64_MAX - v->dims[axis])
			return diag_invalid(d, n->loc, "the result's size overflows");
		dims[axis] = dim_add(g, dims[axis], v->dims[axis]);
	}
	return ops_set(n, d, 0, x->dtype, x->rank, dims);
}

bool
grad_concat(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	int rank = n->in[0]->rank, axis;
	int64_t start[MAX_RANK] = {0}, step[MAX_RANK];

	if (!dout[0])
		return true;
	axis = axis_normal(n, b->diag, attr_int(n, "axis"), rank);
	if (axis < 0)
		return false;
	for (int i = 0; i < rank; i++)
		step[i] = 1;
	for (int k = 0; k < n->nin; k++) {
		din[k] = b_slice(b, dout[0], start, n->in[k]->dims, step);
		if (!din[k])
			return false;
		start[axis] = dim_add(b->g, start[axis], n->in[k]->dims[axis]);
	}
	return true;
}

bool
eval_concat(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	struct etensor *y = out[0];
	int axis = axis_normal(n, NULL, attr_int(n, "axis"), y->rank);
	int64_t inner = 1, outer = 1, o = 0;

	if (axis < 0)
		return false;
	for (int i = 0; i < axis; i++)
		outer *= y->dims[i];
	for (int i = axis + 1; i < y->rank; i++)
		inner *= y->dims[i];
	for (int64_t r = 0; r < outer; r++)
		for (int k = 0; k < n->nin; k++) {
			int64_t row = in[k]->dims[axis] * inner;

			for (int64_t i = 0; i < row; i++)
				et_move(y, o++, in[k], r * row + i);
		}
	return true;
}

/* ---- extent: a dim of this run as a number */
bool
infer_extent(struct graph *g, struct node *n, struct diag *d)
{
	const int64_t *dims;

	(void)g;
	if (attr_ints(n, "dims", &dims) != 1)
		return diag_invalid(d, n->loc, "extent takes one dim");
	return ops_set(n, d, 0, DT_i64, 0, NULL);
}

bool
eval_extent(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	(void)in;
	out[0]->i[0] = attr_find(n, "dims")->ints[0];
	return out[0]->i[0] >= 0;
}

/* ---- rng: element i is the first word w of Philox4x32-10 with the counter
 * {i, stream, step & 2^32-1, step >> 32} and the key {seed & 2^32-1, seed >> 32},
 * as (w >> 8) * 2^-24.  Salmon et al., "Parallel random numbers", SC 2011. */
bool
infer_rng(struct graph *g, struct node *n, struct diag *d)
{
	const int64_t *dims;
	int rank = attr_ints(n, "dims", &dims);

	(void)g;
	if (!ops_known(n, d))
		return false;
	for (int i = 0; i < 2; i++)
		if (n->in[i]->dtype != DT_i64 || n->in[i]->rank != 0)
			return diag_invalid(d, n->loc, "seed and step must be i64 scalars");
	if (ops_all_const(rank, dims) && dims_count(rank, dims) > UINT32_MAX)
		return diag_unsupported(d, n->loc, "more than 2^32 random numbers in one tensor");
	return ops_set(n, d, 0, DT_f32, rank, dims);
}

static uint32_t
philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1)
{
	for (int r = 0; r < 10; r++) {
		uint64_t p0 = UINT64_C(0xD2511F53) * c0, p1 = UINT64_C(0xCD9E8D57) * c2;
		uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;

		c1 = (uint32_t)p1;
		c3 = (uint32_t)p0;
		c0 = n0;
		c2 = n2;
		k0 += 0x9E3779B9;
		k1 += 0xBB67AE85;
	}
	return c0;
}

bool
eval_rng(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	uint64_t seed = (uint64_t)in[0]->i[0], step = (uint64_t)in[1]->i[0];
	uint32_t stream = (uint32_t)attr_int(n, "stream");

	for (int64_t i = 0; i < out[0]->count; i++) {
		uint32_t w = philox((uint32_t)i, stream, (uint32_t)step, (uint32_t)(step >> 32),
		    (uint32_t)seed, (uint32_t)(seed >> 32));

		out[0]->f[i] = (double)(w >> 8) * 0x1p-24;
	}
	return true;
}
