/* saliency -- maps of what an answer depends on, as outputs of the model's own program
 * (docs/distillation.md has the formulas). */
#ifndef RETORT_SALIENCY_H
#define RETORT_SALIENCY_H

#include "ir/ir.h"

enum saliency_method { SALIENCY_gradient, SALIENCY_gradient_input, SALIENCY_integrated, SALIENCY_smoothgrad, NSALIENCY };
extern const char *const saliency_names[NSALIENCY];

struct saliency {
	enum saliency_method method;
	int64_t steps;      /* points of integrated, draws of smoothgrad */
	double noise;       /* smoothgrad: deviation, as a share of a sample's range */
	int64_t class;      /* whose score is explained; -1: the largest of each row */
	const char *output; /* whose score; NULL: the first float output */
};
int64_t saliency_points(const struct saliency *); /* copies of a sample that are differentiated */
/* Adds the output saliency.INPUT for every float input, and for every input of numbers
 * that a table of embeddings is read by.  wide: the model for saliency_points times the
 * batch, or NULL, then each point is a copy of the model.  False: reported. */
bool saliency_build(struct graph *, const struct graph *wide, const struct saliency *, struct diag *);

#endif
