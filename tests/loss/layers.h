/* layers.h -- layers of a term's modules as plain loops: x is [N,C] or [N,C,H,W]; names are
 * of the states, as "variance." for adaptor.t.variance.weight. */
#ifndef RETORT_TEST_LAYERS_H
#define RETORT_TEST_LAYERS_H

#include "losses.h"

struct dense convolved(const struct given *, struct dense x, const char *name, int stride, int pad);
struct dense deconvolved(
    const struct given *, struct dense x, const char *name, int stride, int pad);
struct dense normalized(const struct given *, struct dense x, const char *name);
/* What the running statistics of that normalisation of x become; false: it has no such state. */
bool running(
    const struct given *, struct dense x, const char *name, const char *state, struct dense *d);
struct dense leaky(struct dense x, double slope); /* 0: ReLU */
/* To h x w: 'a' adaptive average, 'n' nearest, 'b' bilinear. */
struct dense resized(struct dense x, int64_t h, int64_t w, char how);
/* Two maps at the smaller of their sizes. */
void same_size(struct dense *, struct dense *);
double squared_distance(struct dense, struct dense);
double mean_square(struct dense, struct dense);
/* Each sample over its length. */
struct dense unit(struct dense);
struct dense cut(struct dense, int64_t axis1_from, int64_t axis1_to);

#endif
