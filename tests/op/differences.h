/* differences.h -- gradients by finite differences of the fp64 evaluator: the oracle
 * that no rule of ir/ops has a part in. */
#ifndef RETORT_TEST_DIFFERENCES_H
#define RETORT_TEST_DIFFERENCES_H

#include "tests/op/cases.h"

/* sum over the float outputs of sum(weight * output), f64: a scalar whose gradient
 * sees every element.  NULL where no output is a float. */
struct value *weighed(struct graph *, struct diag *, int nout, struct value *const *outs);
/* The same of the first nout outputs of the graph. */
struct value *weighed_outputs(struct graph *, struct diag *, int nout);
/* want[e] = d output `loss` / d element e of feed[k].  False: reported. */
bool differences(struct graph *, int loss, struct etensor **feed, int k, double *want, struct diag *);
/* Of one element, by a part of the usual step: at a kink it differs. */
bool difference_at(struct graph *, int loss, struct etensor **feed, int k, int64_t e, double part, double *want,
    struct diag *);
/* Along a direction: the sum over elements of gradient times dir. */
bool difference_along(struct graph *, int loss, struct etensor **feed, int k, const double *dir, double *want,
    struct diag *);
/* The largest |have - want|, each relative to |want| or, where that is smaller, to a
 * hundredth of the largest. have NULL: zeros.  at: the element where it is. */
double relative_error(int64_t n, const double *have, const double *want, int64_t *at);

#endif
