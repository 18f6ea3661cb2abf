/* tile -- what layout.c and tile.c agree on about register-tiled kernels: which
 * nodes they serve and the memory layouts these want. */
#ifndef RETORT_TILE_H
#define RETORT_TILE_H

#include "passes/passes.h"

/* Lanes of a column group: the channel block of activations and weights. */
int64_t tile_block(const struct machine *);
/* Rows and column groups of a register tile: rows * groups accumulators of
 * `block` lanes, plus the groups' vectors and a broadcast, fit the registers. */
int64_t tile_rows(const struct machine *, int64_t groups);
/* Groups to walk at once over `blocks` of them, leaving none over. */
int64_t tile_groups(const struct machine *, int64_t blocks);

/* A contraction seen as C[batch.., rows.., cols..] = sum A[batch, rows, k] B[batch, cols, k];
 * B holds C's contiguous letter.  Letters by name in the node's spec. */
struct contract_roles {
	const char *sa, *sb, *sc;       /* subscripts of A, B (after the swap) and C */
	int na, nb, nc;
	int a, b;                       /* which operands they are: 0, 1 */
	char batch[MAX_RANK + 1], rows[MAX_RANK + 1], cols[MAX_RANK + 1], k[MAX_RANK + 1];
	char col;                       /* C's contiguous letter */
	int64_t size[128];
};
bool contract_roles(const struct node *, struct contract_roles *); /* false: not for tiles */
/* How large contractions are cut, so that what all columns read of A stays in the second
 * cache: k in `parts` whose sums are added up, rows in blocks of at most `rows`. */
struct contract_blocks { int64_t parts, rows; };
struct contract_blocks contract_blocks(const struct machine *, const struct contract_roles *);
/* The panels B is packed in: parts of k, batch, cols, k in order, the col letter in blocks. */
const struct layout *contract_panels(struct arena *, const struct contract_roles *, int64_t block, int64_t parts);

/* A convolution and its gradients; false: not for tiles. */
struct conv_shape {
	int spatial;                    /* number of spatial dims, 1 to 3 */
	int64_t n, ic, oc, group;
	int64_t gin, gout;              /* channels of a group; the last may have fewer */
	int64_t in[3], out[3], kernel[3], stride[3], dilation[3], lo[3], hi[3];
};
bool conv_shape_of(const struct node *, struct conv_shape *); /* of any group */
/* f32, one group or groups of whole blocks */
bool conv_tiled(const struct node *, int64_t block, struct conv_shape *);
bool conv_stem(const struct conv_shape *, int64_t block);     /* few input channels: x is unblocked */
/* Outputs [first, first + count) along dim d of a forward convolution, which taps
 * [tap, tap + taps) reach.  Where dilated taps lie outside the image for much of the
 * work, outputs are cut by what reaches them and no halo is read; else one span with
 * all taps. */
struct conv_span { int64_t first, count, tap, taps; };
enum { MAX_SPANS = 7 };
int conv_spans(const struct conv_shape *, int d, struct conv_span *);
/* kh, kw, ... inside blocks of output (rows of the result) and summed channels:
 * {out/b}{in/b}{k..}{in b}{out b}; swap: the data gradient's, roles exchanged.  Its
 * phases lie apart where strides divide kernels: {k%s..} outermost, {k/s..} in k's place */
const struct layout *conv_weight_layout(struct arena *, const struct conv_shape *, int64_t block, bool swap);
bool conv_phases_apart(const struct conv_shape *, int d);
/* Halo of dy that the data gradient reads. */
void conv_grad_halo(const struct conv_shape *, int64_t *lo, int64_t *hi);
/* ---- Winograd's form: how winograd_conv and winograd_grad_weight are cut into tiles */
struct winograd_shape {
	const struct winograd *w;
	int64_t n, ic, oc, out[2], lo[2];
	int64_t tiles[2];               /* down, across */
	int64_t hi[2];                  /* halo of x up to whole tiles */
	bool gradient;                  /* of the weights */
};
bool winograd_shape_of(const struct node *, struct winograd_shape *);
/* Blocks of tiles that go through all phases: at most `images` images, `rows` rows of
 * tiles each; the weights' gradient keeps sums for each of `groups` groups of images. */
struct winograd_cut { int64_t images, rows, groups; };
struct winograd_cut winograd_cut(const struct machine *, const struct winograd_shape *); /* nest_winograd.c */
/* {points}{out/b}{in}{out b}: a panel of [in, b] for each point and block */
const struct layout *winograd_weight_layout(struct arena *, const struct winograd_shape *, int64_t block);
/* Taps of one phase of the strided data gradient along dim d: output positions
 * i*stride + phase take taps first + j*step, j < count, at dy index i + offset - j*back. */
struct conv_phase { int64_t count, first, step, offset, back, outputs; };
struct conv_phase conv_phase(const struct conv_shape *, int d, int64_t phase);

#endif
