/* fold -- what fold.c and fold_quick.c share. */
#ifndef RETORT_FOLD_H
#define RETORT_FOLD_H

#include "passes/passes.h"

/* The result of a node on constants without the evaluator, the same to the bit;
 * NULL: not one of those.  May share the operand's data. */
const struct tensor *fold_quick(struct arena *, const struct node *, const struct tensor *const *in);

#endif
