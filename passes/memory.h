/* memory -- what the work memory of a program is for. */
#ifndef RETORT_MEMORY_H
#define RETORT_MEMORY_H

#include "passes/passes.h"

enum role { ROLE_TEMPORARY, ROLE_FROZEN, ROLE_STUDENT, ROLE_PACKED, ROLE_GRADIENT };
enum { FORWARD = 1, OF_STATE = 2, OF_INPUT = 4 };
/* Bits by value id, to be freed: whether an output depends on it (FORWARD), what it depends on. */
char *memory_traits(const struct graph *);
enum role memory_role(const char *traits, const struct buffer *);
/* The last call that makes an activation of the student, numbers of the loss left out. */
int memory_forward_end(const struct program *, const char *traits);
/* Bytes that a work buffer takes in the arena. */
int64_t memory_placed(const struct buffer *);
/* The call at which most work bytes are alive, and how many. */
int memory_peak(const struct program *, int64_t *bytes);
/* Fills program->memory; the program is planned. */
void memory_rows(struct program *);

#endif
