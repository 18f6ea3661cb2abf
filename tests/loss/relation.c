/* relation -- losses of how samples, channels or layers relate. */
#include "losses.h"

#include <stddef.h>

const struct loss_case relation_cases[] = {{NULL}};
const struct loss_refusal relation_refusals[] = {{NULL}};
