/* loss_module -- trained layers that a term has of its own: adaptors, regressors,
 * paraphrasers.  Their states are adaptor.MODULES.WHAT.weight and so on, where MODULES is
 * the term's `modules:`, else its name; they train with the student, carry over to later
 * stages by name and are no part of the export.
 *
 * x is [N,C,d...]; weights are drawn uniformly from +-1/sqrt(fan in), PyTorch's default. */
#ifndef RETORT_PASSES_LOSS_MODULE_H
#define RETORT_PASSES_LOSS_MODULE_H

#include "passes/loss.h"

/* A convolution over all spatial axes; of [N,C] (no such axes) a linear map. */
struct conv_form {
	int64_t channels;	  /* of the result */
	int64_t kernel[MAX_RANK]; /* of each spatial axis */
	int64_t stride, pad;
	bool transposed, bias;
	double bound; /* of the weights; 0: 1/sqrt(fan in) */
};
struct conv_form conv_form(
    int64_t channels, int64_t kernel, int64_t stride, bool bias); /* pad (kernel-1)/2 */
struct value *module_conv(
    const struct loss_in *, const char *what, struct value *x, const struct conv_form *);
/* Takes an axis to c elements. */
struct value *module_linear(
    const struct loss_in *, const char *what, struct value *x, int axis, int64_t c);
/* Batch normalisation over axis 1: by the batch's statistics in training, by running ones
 * (momentum 0.1) in evaluation. */
struct value *module_norm(const struct loss_in *, const char *what, struct value *x);

/* ---- without parameters */
struct value *b_relu(struct build *, struct value *);
struct value *b_leaky_relu(struct build *, struct value *, double slope);
struct value *b_softplus(struct build *, struct value *);	 /* log(1 + e^x) */
struct value *b_power(struct build *, struct value *, double p); /* |x|^p */
/* x / max(|x|_2, 1e-12) along the last axis */
struct value *b_unit(struct build *, struct value *x);
struct value *b_norm(struct build *, struct value *x); /* [N,D] -> [N]: |x|_2 */

/* An axis brought to m elements: by PyTorch's adaptive average pooling, its nearest or its
 * (bi)linear interpolation without aligned corners.  RESIZE_SMALLER is as AVG. */
struct value *b_resize_axis(struct build *, struct value *x, int axis, int64_t m, enum resize);
/* All axes from 2 on to those of `like`. */
struct value *b_resize_like(struct build *, struct value *x, const struct value *like, enum resize);
/* Of two maps the larger is pooled to the smaller, axis by axis. */
bool b_same_sizes(struct build *, struct value **s, struct value **t);

#endif
