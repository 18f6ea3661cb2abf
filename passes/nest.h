/* nest -- what emit, cluster and the nest files share among themselves. */
#ifndef RETORT_NEST_H
#define RETORT_NEST_H

#include "passes/lower.h"

/* emit_value.c: an index from data, negative from the end, clamped to [0, n) */
int emit_wrapped(struct emit *, int reg, enum dtype, int64_t n);
/* nest_other.c: one element of an rng node */
int emit_rng(struct emit *, const struct node *, const struct index *);

#endif
