/* bound_shape -- where the elements of a run lie within dims of fixed sizes.
 *
 * A value of dims d in a graph of upper bounds D has element (i0,i1,...) of the run
 * at the same indices.  Transposing, slicing, elementwise work keep that; what
 * follows the elements' order (reshape, and the caller's dense memory) does not: the
 * elements of the run are scattered to a row one after the other, and gathered from it,
 * by numbers computed from the sizes of the run. */
#include "passes/bound.h"

#include <string.h>

struct value *
bound_below(struct bound *bd, int64_t n, struct value *size, int after)
{
	int64_t dims[MAX_RANK];

	dims[0] = n;
	for (int i = 1; i <= after; i++)
		dims[i] = 1;
	return b2(&bd->b, OP_lt, b_iota(&bd->b, DT_i64, 1 + after, dims, 0), size);
}

struct value *
bound_mask(struct bound *bd, struct value *x, int axis, int64_t d, struct value *fill)
{
	if (!x || !bound_varies(d))
		return x;
	return b_select(&bd->b, bound_below(bd, x->dims[axis], bound_size(bd, d), x->rank - axis - 1), x, fill);
}

/* ---- groups of axes of the two sides that hold the same elements */
struct group {
	int na, nb;
	const int64_t *a, *b;
	bool plain; /* the same elements at the same places of memory */
};

static int
strip_ones(int n, const int64_t *d, int64_t *out)
{
	int k = 0;

	for (int i = 0; i < n; i++)
		if (d[i] != 1)
			out[k++] = d[i];
	return k;
}

static bool
all_fixed(int n, const int64_t *d)
{
	for (int i = 0; i < n; i++)
		if (bound_varies(d[i]))
			return false;
	return true;
}

static int64_t
product_most(struct bound *bd, int n, const int64_t *d)
{
	int64_t p = 1, most;

	for (int i = 0; i < n; i++) {
		most = dim_hi(bd->g, d[i]);
		if (__builtin_mul_overflow(p, most, &p) || p > INT64_C(1) << 44)
			return -1;
	}
	return p;
}

static bool
is_plain(struct bound *bd, const struct group *g)
{
	int64_t a[MAX_RANK], b[MAX_RANK];
	int na = strip_ones(g->na, g->a, a), nb = strip_ones(g->nb, g->b, b);

	if (na == nb && memcmp(a, b, sizeof *a * (size_t)na) == 0)
		return true;
	if (product_most(bd, na, a) != product_most(bd, nb, b))
		return false;
	/* only the outermost varies, on both sides */
	return all_fixed(na - 1, a + 1) && all_fixed(nb - 1, b + 1);
}

bool
bound_dense(int rank, const int64_t *dims)
{
	int64_t d[MAX_RANK];
	int n = strip_ones(rank, dims, d);

	return n == 0 || all_fixed(n - 1, d + 1);
}

/* The product of n dims as a dim; INT64_MIN: too long an expression. */
static int64_t
product(struct graph *g, int n, const int64_t *d)
{
	int64_t p = 1;

	for (int i = 0; i < n; i++) {
		if (!dim_fits(g, p, d[i]))
			return INT64_MIN;
		p = dim_mul(g, p, d[i]);
	}
	return p;
}

/* The smallest first groups of equal products; all that is left where none are. */
static struct group
first_group(struct graph *g, int na, const int64_t *a, int nb, const int64_t *b)
{
	for (int sum = 2; sum < na + nb; sum++)
		for (int i = sum - nb > 1 ? sum - nb : 1; i <= na && i < sum; i++) {
			int64_t p = product(g, i, a);

			if (p != INT64_MIN && p == product(g, sum - i, b))
				return (struct group){i, sum - i, a, b, false};
		}
	return (struct group){na, nb, a, b, false};
}

/* ---- numbers of elements in the order of the run */
/* stride[i]: elements of the run from one index of axis i to the next */
static void
run_strides(struct bound *bd, int n, const int64_t *d, struct value **stride)
{
	struct value *s = b_dim(&bd->b, 1);

	for (int i = n - 1; i >= 0; i--) {
		stride[i] = s;
		s = b_mul(&bd->b, s, bound_size(bd, d[i]));
	}
}

/* i64 [D0,D1,...] of upper bounds: the place of each element of the run in its order */
static struct value *
places_dense(struct bound *bd, int n, const int64_t *d)
{
	struct value *at = b_dim(&bd->b, 0), *stride[MAX_RANK];
	int64_t most[MAX_RANK], thin[MAX_RANK];

	bound_most(bd, n, d, most);
	run_strides(bd, n, d, stride);
	for (int i = 0; i < n; i++) {
		if (most[i] == 1)
			continue;
		for (int j = 0; j < n; j++)
			thin[j] = j == i ? most[j] : 1;
		at = b_add(&bd->b, at, b_mul(&bd->b, b_iota(&bd->b, DT_i64, n, thin, i), stride[i]));
	}
	return b_expand(&bd->b, at, n, most);
}

/* Elements that kernels read as their codes only, as these; NULL: reported. */
static struct value *
codes(struct bound *bd, struct value *x, enum dtype to)
{
	enum dtype t = x ? x->dtype : DT_none;
	struct attr a[2] = {{.name = "to", .kind = ATTR_INT, .i = to}, {.name = "dims", .kind = ATTR_INTS}};

	if (!x || t == to)
		return x;
	a[1].n = x->rank;
	a[1].ints = x->dims;
	return b_op(&bd->b, OP_bits, 1, &x, 2, a);
}

static enum dtype
code_type(struct bound *bd, enum dtype t)
{
	if (t != DT_str && (dtype_info[t].class == DC_COMPLEX || dtype_info[t].bits < 8)) {
		diag_unsupported(bd->b.diag, bd->b.loc, "elements of %s where more than the outermost size varies", dtype_info[t].name);
		return DT_none;
	}
	return dtype_info[t].bits == 8 && dtype_is_float(t) ? DT_u8 : t;
}

/* Along axis, rows at the upper bounds of d to rows one after the other as in the run.
 * What lies beyond the run goes to a row that is cut off. */
static struct value *
pack(struct bound *bd, struct value *x, int axis, int n, const int64_t *d)
{
	struct build *b = &bd->b;
	int64_t all = product_most(bd, n, d), dims[MAX_RANK], most[MAX_RANK], start[MAX_RANK] = {0}, step[MAX_RANK];
	struct attr at = {.name = "axis", .kind = ATTR_INT, .i = axis};
	struct value *in[3], *aside = b_dim(b, all);
	enum dtype was = x ? x->dtype : DT_none, t;

	if (!x || bound_dense(n, d))
		return x;
	if ((t = code_type(bd, was)) == DT_none)
		return NULL;
	memcpy(dims, x->dims, sizeof dims);
	for (int i = 0; i < MAX_RANK; i++)
		step[i] = 1;
	bound_most(bd, n, d, most);
	in[1] = places_dense(bd, n, d);
	for (int i = 0; i < n; i++)
		in[1] = bound_mask(bd, in[1], i, d[i], aside);
	in[1] = in[1] ? b_reshape(b, in[1], 1, &all) : NULL;
	in[2] = codes(bd, x, t);
	dims[axis] = all + 1;
	in[0] = in[2] ? b_expand(b, bound_nothing(bd, in[2]->dtype), x->rank, dims) : NULL;
	dims[axis] = all;
	x = in[0] && in[1] ? b_op(b, OP_scatter_set, 3, in, 1, &at) : NULL;
	return x ? codes(bd, b_slice(b, x, start, dims, step), was) : NULL;
}

/* Along axis, rows as in the run to rows at the upper bounds of d. */
static struct value *
spread(struct bound *bd, struct value *x, int axis, int n, const int64_t *d)
{
	struct build *b = &bd->b;
	int64_t all = product_most(bd, n, d), dims[MAX_RANK];
	enum dtype was = x ? x->dtype : DT_none, t;
	struct value *at;

	if (!x)
		return NULL;
	if (bound_dense(n, d)) {
		memcpy(dims, x->dims, sizeof dims);
		dims[axis] = all;
		return bound_fit(bd, x, x->rank, dims);
	}
	if ((t = code_type(bd, was)) == DT_none)
		return NULL;
	at = places_dense(bd, n, d);
	at = at ? b_reshape(b, at, 1, &all) : NULL;
	at = b_min(b, at, b_dim(b, x->dims[axis] ? x->dims[axis] - 1 : 0));
	return codes(bd, b_gather(b, codes(bd, x, t), at, axis), was);
}

/* Axes [0,k) of n that vary among each other; those behind are rows. */
static int
varying(int n, const int64_t *d, int64_t *row)
{
	*row = 1;
	while (n > 0 && dim_const(d[n - 1]))
		*row *= d[--n];
	return n;
}

static struct value *
from_memory(struct bound *bd, struct value *x, int n, const int64_t *d)
{
	int64_t most[MAX_RANK], two[2];
	int k = varying(n, d, &two[1]);

	two[0] = product_most(bd, k, d);
	bound_most(bd, n, d, most);
	return b_reshape(&bd->b, spread(bd, b_reshape(&bd->b, x, 2, two), 0, k, d), n, most);
}

static struct value *
to_memory(struct bound *bd, struct value *x, int n, const int64_t *d)
{
	int64_t all = product_most(bd, n, d), two[2];
	int k = varying(n, d, &two[1]);

	two[0] = product_most(bd, k, d);
	return b_reshape(&bd->b, pack(bd, b_reshape(&bd->b, x, 2, two), 0, k, d), 1, &all);
}

struct value *
bound_reshape(struct bound *bd, struct value *x, int nfrom, const int64_t *from, int nto, const int64_t *to)
{
	struct group g[MAX_RANK + 1];
	int64_t rows[MAX_RANK + 1], most[MAX_RANK];
	int n = 0, rank = nto;

	if (!x)
		return NULL;
	if (product_most(bd, nfrom > 0 ? nfrom : 0, from) < 0 || product_most(bd, nto > 0 ? nto : 0, to) < 0) {
		diag_unsupported(bd->b.diag, bd->b.loc, "more elements than can be addressed at the upper bounds of the sizes");
		return NULL;
	}
	if (nfrom < 0)
		return from_memory(bd, x, nto, to);
	if (nto < 0)
		return to_memory(bd, x, nfrom, from);
	bound_most(bd, nto, to, most);
	while (nfrom > 0 && nto > 0) {
		g[n] = first_group(bd->g, nfrom, from, nto, to);
		nfrom -= g[n].na;
		from += g[n].na;
		nto -= g[n].nb;
		to += g[n].nb;
		n++;
	}
	/* what is left on one side is one element, as a rule by ones */
	if (n == 0)
		g[n++] = (struct group){.a = from, .b = to};
	g[n - 1].na += nfrom;
	g[n - 1].nb += nto;
	for (int i = 0; i < n; i++) {
		g[i].plain = is_plain(bd, &g[i]);
		rows[i] = product_most(bd, g[i].na, g[i].a);
	}
	x = b_reshape(&bd->b, x, n, rows);
	for (int i = 0; x && i < n; i++)
		if (!g[i].plain)
			x = spread(bd, pack(bd, x, i, g[i].na, g[i].a), i, g[i].nb, g[i].b);
	return b_reshape(&bd->b, x, rank, most);
}
