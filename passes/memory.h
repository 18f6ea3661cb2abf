/* memory -- what the work memory of a program is for. */
#ifndef RETORT_MEMORY_H
#define RETORT_MEMORY_H

#include "passes/passes.h"

/* The call at which most work bytes are alive, and how many. */
int memory_peak(const struct program *, int64_t *bytes);
/* Fills program->memory; the program is planned. */
void memory_rows(struct program *);

#endif
