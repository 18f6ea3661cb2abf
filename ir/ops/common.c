/* common.c -- what the shape rules of several families share. */
#include "ir/ops/ops_int.h"

bool
ops_known(const struct node *n, struct diag *d)
{
	for (int i = 0; i < n->nin; i++) {
		const struct value *v = n->in[i];

		if (v && (v->dtype == DT_none || v->rank < 0))
			return diag_unsupported(d, n->loc, "the type of operand %d (%s) is not known", i,
			    v->name ? v->name : "unnamed");
	}
	return true;
}

bool
ops_all_const(int rank, const int64_t *dims)
{
	for (int i = 0; i < rank; i++)
		if (!dim_const(dims[i]))
			return false;
	return true;
}

bool
ops_set(struct node *n, struct diag *d, int out, enum dtype t, int rank, const int64_t *dims)
{
	int64_t known[MAX_RANK], count;
	int k = 0;

	if (out >= n->nout || !n->out[out])
		return true;
	if (rank > MAX_RANK)
		return diag_unsupported(
		    d, n->loc, "result has rank %d; at most %d is supported", rank, MAX_RANK);
	for (int i = 0; i < rank; i++)
		if (dim_const(dims[i]))
			known[k++] = dims[i];
	count = dims_count(k, known);
	if (count < 0 || count > INT64_MAX / 64)
		return diag_invalid(d, n->loc, "the result's size overflows");
	value_set(n->out[out], t, rank, dims);
	return true;
}

const char *
ops_dims_text(struct graph *g, int rank, const int64_t *dims)
{
	struct str s = {0};
	const char *r;

	str_add(&s, "[");
	for (int i = 0; i < rank; i++)
		str_addf(&s, "%s%s", i ? "," : "", dim_text(g, dims[i]));
	str_add(&s, "]");
	r = arena_strdup(g->arena, s.s);
	str_free(&s);
	return r;
}

bool
ops_list(const struct node *n, struct diag *d, const char *name, int want, int64_t def, int64_t *out)
{
	const int64_t *v;
	int k = attr_ints(n, name, &v);

	if (k == 0) {
		for (int i = 0; i < want; i++)
			out[i] = def;
		return true;
	}
	if (k != want)
		return diag_invalid(d, n->loc, "%s has %d entries, %d expected", name, k, want);
	memcpy(out, v, sizeof *v * (size_t)want);
	return true;
}

bool
ops_axes(const struct node *n, struct diag *d, int rank, bool *marked)
{
	const int64_t *v;
	int k = attr_ints(n, "axes", &v);

	for (int i = 0; i < rank; i++)
		marked[i] = !attr_has(n, "axes");
	for (int i = 0; i < k; i++) {
		int a = axis_normal(n, d, v[i], rank);

		if (a < 0)
			return false;
		if (marked[a])
			return diag_invalid(d, n->loc, "axis %d is named twice", a);
		marked[a] = true;
	}
	return true;
}

bool
ops_window(const struct node *n, struct diag *d, int ns, struct window *w)
{
	int64_t pads[2 * MAX_SPATIAL];

	if (ns < 1 || ns > MAX_SPATIAL)
		return diag_unsupported(
		    d, n->loc, "%d spatial axes; 1 to %d are supported", ns, MAX_SPATIAL);
	w->n = ns;
	if (!ops_list(n, d, "strides", ns, 1, w->stride) ||
	    !ops_list(n, d, "dilations", ns, 1, w->dilation) || !ops_list(n, d, "pads", 2 * ns, 0, pads))
		return false;
	for (int i = 0; i < ns; i++) {
		w->lo[i] = pads[i];
		w->hi[i] = pads[ns + i];
		if (w->stride[i] < 1 || w->dilation[i] < 1)
			return diag_invalid(d, n->loc, "stride %lld, dilation %lld: must be positive",
			    (long long)w->stride[i], (long long)w->dilation[i]);
		if (w->lo[i] < 0 || w->hi[i] < 0)
			return diag_invalid(d, n->loc, "negative padding %lld, %lld",
			    (long long)w->lo[i], (long long)w->hi[i]);
		if (w->stride[i] > INT32_MAX || w->dilation[i] > INT32_MAX || w->lo[i] > INT32_MAX ||
		    w->hi[i] > INT32_MAX)
			return diag_invalid(d, n->loc, "a stride, dilation or pad is beyond 2^31");
	}
	return true;
}

bool
ops_window_out(struct graph *g, const struct node *n, struct diag *d, const struct window *w,
    const int64_t *in, int64_t *out)
{
	for (int i = 0; i < w->n; i++) {
		int64_t pad = w->lo[i] + w->hi[i], reach;

		if (w->kernel[i] < 1 || w->kernel[i] > INT32_MAX)
			return diag_invalid(
			    d, n->loc, "kernel extent %lld on spatial axis %d", (long long)w->kernel[i], i);
		reach = w->dilation[i] * (w->kernel[i] - 1) + 1;
		if (!dim_const(in[i])) {
			out[i] = pad >= reach ? dim_add(g, in[i], pad - reach)
			                      : dim_sub(g, in[i], reach - pad);
			out[i] = dim_add(g, dim_div(g, out[i], w->stride[i]), 1);
			continue;
		}
		if (in[i] > INT64_MAX / 4 || in[i] + pad < reach)
			return diag_invalid(d, n->loc,
			    "spatial axis %d: window of %lld does not fit %lld with padding %lld, %lld", i,
			    (long long)reach, (long long)in[i], (long long)w->lo[i], (long long)w->hi[i]);
		out[i] = (in[i] + pad - reach) / w->stride[i] + 1;
	}
	return true;
}

void
ops_window_attrs(struct build *b, const struct window *w, struct attr *a)
{
	int64_t *pads = arena_array(b->g->arena, int64_t, 2 * w->n);

	memcpy(pads, w->lo, sizeof *pads * (size_t)w->n);
	memcpy(pads + w->n, w->hi, sizeof *pads * (size_t)w->n);
	a[0] = attr_of_ints("strides", w->n, w->stride);
	a[1] = attr_of_ints("pads", 2 * w->n, pads);
	a[2] = attr_of_ints("dilations", w->n, w->dilation);
}

int64_t
int_wrap(enum dtype t, int64_t v)
{
	int bits = dtype_info[t].bits;

	if (t == DT_bool)
		return v != 0;
	if (bits >= 64)
		return v;
	v = (int64_t)((uint64_t)v & ((UINT64_C(1) << bits) - 1));
	if (dtype_info[t].class == DC_INT && v >> (bits - 1) & 1)
		v -= INT64_C(1) << bits;
	return v;
}
