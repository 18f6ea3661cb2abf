/* bound_shape -- where the elements of a run lie within dims of fixed sizes.
 *
 * A value of dims d in a graph of upper bounds D has element (i0,i1,...) of the run
 * at the same indices.  Transposing, slicing, elementwise work keep that; what
 * follows the elements' order (reshape, and the caller's dense memory) does not, and
 * becomes a gather by numbers computed from the sizes of the run. */
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
static struct value *
at_least_one(struct bound *bd, struct value *v)
{
	return b_max(&bd->b, v, b_dim(&bd->b, 1));
}

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

/* Places in the order of the run to places among the upper bounds of d. */
static struct value *
places_spread(struct bound *bd, struct value *k, int n, const int64_t *d)
{
	struct value *at = NULL, *stride[MAX_RANK];
	int64_t step = 1;

	run_strides(bd, n, d, stride);
	for (int i = n - 1; i >= 0; i--) {
		struct value *x = b_div(&bd->b, k, at_least_one(bd, stride[i]));

		if (i > 0)
			x = b2(&bd->b, OP_fmod, x, at_least_one(bd, bound_size(bd, d[i])));
		x = b_mul(&bd->b, x, b_dim(&bd->b, step));
		at = at ? b_add(&bd->b, at, x) : x;
		step *= dim_hi(bd->g, d[i]);
	}
	return at ? at : k;
}

/* For each element of the group's second side, in rows of upper bounds, its place in
 * rows of the first.  A side of -1 axes is the run's dense order itself. */
static struct value *
group_index(struct bound *bd, int na, const int64_t *a, int nb, const int64_t *b, int64_t pa, int64_t pb)
{
	struct value *k = nb < 0 ? b_iota(&bd->b, DT_i64, 1, &pb, 0) : places_dense(bd, nb, b);

	k = k ? b_reshape(&bd->b, k, 1, &pb) : NULL;
	if (na >= 0)
		k = places_spread(bd, k, na, a);
	return b_min(&bd->b, k, b_dim(&bd->b, pa ? pa - 1 : 0));
}

/* A gather of elements that kernels only read as their codes. */
static struct value *
gather_codes(struct bound *bd, struct value *x, struct value *at, int axis)
{
	enum dtype t = x->dtype;
	struct value *y = x;
	struct attr a[2] = {{.name = "to", .kind = ATTR_INT, .i = DT_u8}, {.name = "dims", .kind = ATTR_INTS}};

	if (dtype_info[t].class == DC_COMPLEX || dtype_info[t].bits < 8) {
		diag_unsupported(bd->b.diag, bd->b.loc, "elements of %s where more than the outermost size varies", dtype_info[t].name);
		return NULL;
	}
	if (dtype_info[t].bits > 8 || !dtype_is_float(t))
		return b_gather(&bd->b, x, at, axis);
	a[1].n = x->rank;
	a[1].ints = x->dims;
	y = b_gather(&bd->b, b_op(&bd->b, OP_bits, 1, &x, 2, a), at, axis);
	if (!y)
		return NULL;
	a[0].i = t;
	a[1].n = y->rank;
	a[1].ints = y->dims;
	return b_op(&bd->b, OP_bits, 1, &y, 2, a);
}

static struct value *
from_memory(struct bound *bd, struct value *x, int n, const int64_t *d)
{
	int64_t most[MAX_RANK], all = product_most(bd, n, d);
	struct value *at = group_index(bd, -1, NULL, n, d, all, all);

	bound_most(bd, n, d, most);
	return b_reshape(&bd->b, gather_codes(bd, x, at, 0), n, most);
}

static struct value *
to_memory(struct bound *bd, struct value *x, int n, const int64_t *d)
{
	int64_t all = product_most(bd, n, d);
	struct value *at = group_index(bd, n, d, -1, NULL, all, all);

	return gather_codes(bd, b_reshape(&bd->b, x, 1, &all), at, 0);
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
	for (int i = 0; x && i < n; i++) {
		int64_t pb = product_most(bd, g[i].nb, g[i].b);

		if (!g[i].plain)
			x = gather_codes(bd, x, group_index(bd, g[i].na, g[i].a, g[i].nb, g[i].b, rows[i], pb), i);
	}
	return b_reshape(&bd->b, x, rank, most);
}
