/* layout -- how a value lies in memory: an ordered list of physical dims, each a
 * digit of a logical index.  Physical dim p takes (index[dim] / step) % extent;
 * the buffer is row-major over the physical dims.  NCHW16c of [N,C,H,W] is
 *   {0,N,1} {1,ceil(C/16),16} {2,H,1} {3,W,1} {1,16,1};
 * a GEMM weight [K,N] packed in panels of 32 is {1,N/32,32} {0,K,1} {1,32,1}.
 * A halo (lo, hi elements around a logical dim, content zero) makes extents
 * larger: logical index i lies at i + lo.  A dim with a halo is not blocked.
 * Lanes beyond the logical extent of a blocked dim exist and hold zero. */
#ifndef RETORT_LAYOUT_H
#define RETORT_LAYOUT_H

#include "ir/ir.h"

enum { MAX_PHYS = 16 };
struct phys { int dim; int64_t extent, step; };
struct layout {
	int n;
	struct phys phys[MAX_PHYS];
	int64_t lo[MAX_RANK], hi[MAX_RANK]; /* halo per logical dim */
};
int64_t layout_count(const struct layout *);              /* elements of the buffer */
void layout_strides(const struct layout *, int64_t *stride); /* per physical dim */
bool layout_equal(const struct layout *, const struct layout *); /* NULL = plain differs from any */
const struct layout *layout_plain(struct arena *, int rank, const int64_t *dims);
/* channels (axis 1) blocked by b, with a halo lo[i], hi[i] per spatial dim (may be NULL) */
const struct layout *layout_blocked(struct arena *, int rank, const int64_t *dims, int64_t b,
                                    const int64_t *lo, const int64_t *hi);
const char *layout_text(struct arena *, const struct layout *);
/* Packs plain row-major data into the layout's buffer (zeroed first). */
void layout_pack(const struct layout *, enum dtype, int rank, const int64_t *dims, const void *plain, void *packed);

#endif
