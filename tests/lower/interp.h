/* interp -- runs a planned program in doubles and 64-bit integers, an element at
 * a time, checking every access.  The oracle between lowering and codegen. */
#ifndef TESTS_INTERP_H
#define TESTS_INTERP_H

#include "ir/loops.h"

/* base as in runtime/abi.h: work, constants, states, then inputs and outputs.
 * False (said on stderr): an access out of bounds, or of memory never written. */
bool interp_run(const struct program *, void *const *base);

#endif
