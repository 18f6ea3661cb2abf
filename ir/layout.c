/* layout -- see layout.h.  Text: "<0:4,1:2/16,2:58,1:16;2+1+1>" lists dim:extent,
 * "/step" where the step is not 1, then dim+lo+hi for every halo. */
#include "ir/layout.h"

#include <stdlib.h>
#include <string.h>

int64_t
layout_count(const struct layout *l)
{
	int64_t n = 1;
	int i;

	for (i = 0; i < l->n; i++)
		if (__builtin_mul_overflow(n, l->phys[i].extent, &n))
			die("layout of more than 2^63 elements");
	return n;
}

void
layout_strides(const struct layout *l, int64_t *stride)
{
	int64_t s = 1;
	int i;

	for (i = l->n - 1; i >= 0; i--) {
		stride[i] = s;
		s *= l->phys[i].extent;
	}
}

bool
layout_equal(const struct layout *a, const struct layout *b)
{
	int i;

	if (a == b)
		return true;
	if (!a || !b || a->n != b->n || memcmp(a->lo, b->lo, sizeof a->lo) ||
	    memcmp(a->hi, b->hi, sizeof a->hi))
		return false;
	for (i = 0; i < a->n; i++)
		if (a->phys[i].dim != b->phys[i].dim || a->phys[i].extent != b->phys[i].extent ||
		    a->phys[i].step != b->phys[i].step)
			return false;
	return true;
}

const struct layout *
layout_plain(struct arena *a, int rank, const int64_t *dims)
{
	struct layout *l = arena_new(a, struct layout);
	int i;

	l->n = rank;
	for (i = 0; i < rank; i++)
		l->phys[i] = (struct phys){i, dims[i], 1};
	return l;
}

const struct layout *
layout_blocked(struct arena *a, int rank, const int64_t *dims, int64_t b, const int64_t *lo,
    const int64_t *hi)
{
	struct layout *l = arena_new(a, struct layout);
	int i;

	require(rank >= 2 && rank + 1 <= MAX_PHYS && b > 0);
	for (i = 0; i < rank; i++) {
		l->phys[i] = (struct phys){i, dims[i], 1};
		if (i >= 2 && lo)
			l->lo[i] = lo[i - 2];
		if (i >= 2 && hi)
			l->hi[i] = hi[i - 2];
		if (i >= 2)
			l->phys[i].extent += l->lo[i] + l->hi[i];
	}
	l->phys[1] = (struct phys){1, (dims[1] + b - 1) / b, b};
	l->phys[rank] = (struct phys){1, b, 1};
	l->n = rank + 1;
	return l;
}

const char *
layout_text(struct arena *a, const struct layout *l)
{
	struct str s = {0};
	const char *p, *sep = ";";
	int i;

	if (!l)
		return "plain";
	str_add(&s, "<");
	for (i = 0; i < l->n; i++) {
		str_addf(&s, "%s%d:%lld", i ? "," : "", l->phys[i].dim, (long long)l->phys[i].extent);
		if (l->phys[i].step != 1)
			str_addf(&s, "/%lld", (long long)l->phys[i].step);
	}
	for (i = 0; i < MAX_RANK; i++)
		if (l->lo[i] || l->hi[i]) {
			str_addf(&s, "%s%d+%lld+%lld", sep, i, (long long)l->lo[i], (long long)l->hi[i]);
			sep = ",";
		}
	str_add(&s, ">");
	p = arena_strdup(a, s.s);
	str_free(&s);
	return p;
}

/* Where each index of logical dim d goes: the sum of its digits' strides. */
static int64_t
offset_of(const struct layout *l, const int64_t *stride, int d, int64_t index)
{
	int64_t at = 0, i = index + l->lo[d];
	int p;

	for (p = 0; p < l->n; p++)
		if (l->phys[p].dim == d)
			at += i / l->phys[p].step % l->phys[p].extent * stride[p];
	return at;
}

void
layout_pack(const struct layout *l, enum dtype dtype, int rank, const int64_t *dims,
    const void *plain, void *packed)
{
	int64_t stride[MAX_PHYS], index[MAX_RANK] = {0}, n = dims_count(rank, dims), total = 0, i, at = 0;
	int64_t *table[MAX_RANK] = {0}, *all;
	size_t size = dtype_bytes(dtype, 1);
	const char *from = plain;
	char *to = packed;
	int d;

	if (dtype_info[dtype].bits < 8)
		die("layout of packed %s", dtype_info[dtype].name);
	memset(packed, 0, dtype_bytes(dtype, layout_count(l)));
	if (n <= 0)
		return;
	layout_strides(l, stride);
	for (d = 0; d < rank; d++)
		total += dims[d];
	all = xmalloc((size_t)total * sizeof *all + 1);
	for (d = 0, total = 0; d < rank; total += dims[d++]) {
		table[d] = all + total;
		for (i = 0; i < dims[d]; i++)
			table[d][i] = offset_of(l, stride, d, i);
		at += table[d][0];
	}
	for (i = 0; i < n; i++) {
		if (size == 4)
			memcpy(to + at * 4, from + i * 4, 4);
		else
			memcpy(to + at * (int64_t)size, from + i * (int64_t)size, size);
		for (d = rank - 1; d >= 0; d--) {
			at -= table[d][index[d]];
			if (++index[d] < dims[d]) {
				at += table[d][index[d]];
				break;
			}
			index[d] = 0;
			at += table[d][0];
		}
	}
	free(all);
}
