/* cost -- how many cycles of one core a layer takes, from its shape and struct machine.
 *
 * Register tiles take the time of their multiply-adds or of their loads, whichever is
 * more; meanwhile weights are fetched from where they lie, so a layer takes the greater
 * of the two; what transforms its operands comes on top.  docs/lowering.md has the
 * formulas; the constants stand in one table in cost.c. */
#ifndef RETORT_COST_H
#define RETORT_COST_H

#include "passes/tile.h"

/* Where the weights of a layer lie when its turn comes: after all others of the model. */
enum residence { IN_L2, IN_L3, IN_MEMORY };
extern const char *const residence_names[];
enum residence cost_residence(const struct machine *, double bytes);
double cost_rate(const struct machine *, enum residence); /* bytes a cycle from there */
/* What one run of a graph goes through: every constant and state once, and the
 * largest operands and result of a convolution or contraction. */
double cost_working_set(struct arena *scratch, const struct graph *);

/* conv, conv_grad_data or conv_grad_weight as op says; fixed: the weights are a constant,
 * so what is made of them is made while compiling */
double cost_direct(const struct machine *, enum op, const struct conv_shape *, enum residence, bool fixed);
/* the same through tiles of m x m outputs */
double cost_winograd(const struct machine *, enum op, const struct conv_shape *, int m, enum residence, bool fixed);

/* Its images and results taken apart and put together, each through two copies. */
double cost_moved(const struct machine *, const struct conv_shape *);

/* Kernels as they will run: their statements, and the bytes of their arguments, each once. */
double cost_calls(const struct machine *, const struct call *, int n, enum residence);

#endif
