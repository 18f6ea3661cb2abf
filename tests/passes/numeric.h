/* numeric -- filling a graph's inputs, evaluating it, comparing. */
#ifndef TESTS_NUMERIC_H
#define TESTS_NUMERIC_H

#include "passes/passes.h"

struct run { struct etensor **out, **next; };
double noise(uint64_t *state); /* (-1, 1) */
/* A tensor of noise around `center`. */
struct tensor *noise_tensor(struct arena *, enum dtype, int rank, const int64_t *dims,
    uint64_t seed, double center, double scale);
/* Evaluates with inputs of noise (integers: 0..bound-1) drawn by name, so that two
 * forms of one graph see the same. */
struct run run_graph(struct arena *, struct graph *, bool round_each);
/* largest |a-b| / max(1, largest |b|) */
double worst(const struct etensor *a, const struct etensor *b);
void print_graph(struct graph *);

#endif
