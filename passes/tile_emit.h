/* tile_emit -- shared by tile.c and tile_conv.c. */
#ifndef RETORT_TILE_EMIT_H
#define RETORT_TILE_EMIT_H

#include "passes/lower.h"
#include "passes/tile.h"

/* n = nhigh*high + nlow*low with high <= most, the high ones first */
struct split { int64_t high, low, nhigh, nlow; };
struct split split_even(int64_t n, int64_t most);
/* The greatest divisor of n that is at most `most`. */
int64_t divisor_upto(int64_t n, int64_t most);
int64_t tile_stride(const struct value *, int dim, int64_t *inner);
/* Where index 0 of the spatial dims lies: behind their halos. */
int64_t tile_halo(const struct value *, int spatial);
bool tile_dim_blocked(const struct value *, int dim);
/* One index may run over axes d, d+1 of the anchor's result in every tensor of the cluster. */
bool tile_mergeable(const struct lower *, const struct cluster *, int d);
struct tile *tile_begin(struct emit *, enum dtype, int64_t rows0, int64_t rows1, int64_t groups, int64_t cols);
/* `count` tiles use the same `panel` elements of B, one after the other, and those that
 * follow the next as many; this is one of them, by number.  Has it prefetch its part of the
 * panel to come, unless the second cache would not keep it.  Call when k is known. */
void tile_fetch_ahead(
    const struct machine *, struct tile *, int64_t panel, int64_t count, const struct affine *number);
/* Their index runs over merged dims: no range checks on it. */
void tile_unranged(struct emit *, int var, int rowvar);
void tile_epilogue(struct emit *, struct tile *, const struct index *);

/* Whether lower_conv_tile takes it, and what it is. */
bool tile_conv_serves(struct lower *, const struct cluster *, struct conv_shape *);
/* Rows [*from, *from + count) of the image nvar of e->cl's convolution, of two spatial dims,
 * channel blocks from groups*pvar on. */
void tile_conv_rows(struct emit *, int nvar, int pvar, int64_t groups, const struct affine *from, int64_t count);

#endif
