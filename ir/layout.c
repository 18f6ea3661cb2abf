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

/* Consecutive indices of a dim that lie next to each other in the buffer. */
struct run {
	int64_t first, n, at;
};

/* n elements `stride` elements apart, next to each other */
static void
gather(char *to, const char *from, size_t size, int64_t n, int64_t stride)
{
	int64_t i;

#define GATHER(type)                                                                     \
	for (i = 0; i < n; i++)                                                          \
		memcpy(to + i * (int64_t)sizeof(type), from + i * stride * (int64_t)sizeof(type), sizeof(type))
	if (stride == 1)
		memcpy(to, from, (size_t)n * size);
	else if (size == 4)
		GATHER(uint32_t);
	else if (size == 2)
		GATHER(uint16_t);
	else if (size == 1)
		GATHER(uint8_t);
	else if (size == 8)
		GATHER(uint64_t);
	else
		for (i = 0; i < n; i++)
			memcpy(to + i * (int64_t)size, from + i * stride * (int64_t)size, size);
#undef GATHER
}

/* The dim that lies innermost in the buffer is copied by runs.  Where it is also
 * innermost in the plain data all runs of a row go at once; else run by run, the
 * other dims within, so that both sides are walked in order. */
struct packing {
	const int64_t *dims;
	int64_t *table[MAX_RANK], stride[MAX_RANK];
	int rank, inner, nrun;
	struct run *run;
	size_t size;
};

/* the given runs at every index of the dims but `inner` */
static void
pack_runs(const struct packing *p, const struct run *run, int nrun, const char *from, char *to)
{
	int64_t index[MAX_RANK] = {0}, at = 0, source = 0, size = (int64_t)p->size;
	int d, r;

	for (d = 0; d < p->rank; d++)
		at += d == p->inner ? 0 : p->table[d][0];
	do {
		for (r = 0; r < nrun; r++)
			gather(to + (at + run[r].at) * size, from + (source + run[r].first * p->stride[p->inner]) * size,
			    p->size, run[r].n, p->stride[p->inner]);
		for (d = p->rank - 1; d >= 0; d--) {
			if (d == p->inner)
				continue;
			at -= p->table[d][index[d]];
			if (++index[d] < p->dims[d]) {
				at += p->table[d][index[d]];
				source += p->stride[d];
				break;
			}
			source -= (index[d] - 1) * p->stride[d];
			index[d] = 0;
			at += p->table[d][0];
		}
	} while (d >= 0);
}

void
layout_pack(const struct layout *l, enum dtype dtype, int rank, const int64_t *dims,
    const void *plain, void *packed)
{
	struct packing p = {.dims = dims, .rank = rank, .size = dtype_bytes(dtype, 1)};
	int64_t stride[MAX_PHYS], n = dims_count(rank, dims), total = 0, s = 1, i, *all;
	int d, r;

	if (dtype_info[dtype].bits < 8)
		die("layout of packed %s", dtype_info[dtype].name);
	if (n != layout_count(l))
		memset(packed, 0, dtype_bytes(dtype, layout_count(l)));
	if (n <= 0)
		return;
	if (rank == 0) {
		memcpy(packed, plain, p.size);
		return;
	}
	layout_strides(l, stride);
	for (d = 0; d < rank; d++)
		total += dims[d];
	all = xmalloc((size_t)total * sizeof *all + 1);
	for (d = 0, total = 0; d < rank; total += dims[d++]) {
		p.table[d] = all + total;
		for (i = 0; i < dims[d]; i++)
			p.table[d][i] = offset_of(l, stride, d, i);
	}
	for (d = rank - 1; d >= 0; s *= dims[d--])
		p.stride[d] = s;
	p.inner = rank - 1;
	for (r = l->n - 1; r >= 0; r--)
		if (l->phys[r].extent > 1) {
			p.inner = l->phys[r].dim;
			break;
		}
	p.run = xmalloc((size_t)dims[p.inner] * sizeof *p.run);
	for (i = 0; i < dims[p.inner]; i++) {
		int64_t at = p.table[p.inner][i];
		struct run *last = p.nrun ? &p.run[p.nrun - 1] : NULL;

		if (last && last->at + last->n == at)
			last->n++;
		else
			p.run[p.nrun++] = (struct run){i, 1, at};
	}
	if (p.stride[p.inner] == 1)
		pack_runs(&p, p.run, p.nrun, plain, packed);
	else
		for (r = 0; r < p.nrun; r++)
			pack_runs(&p, &p.run[r], 1, plain, packed);
	free(p.run);
	free(all);
}
