/* trainer_library -- what the code and the header of a trainer library agree on. */
#ifndef RETORT_TRAINER_LIBRARY_H
#define RETORT_TRAINER_LIBRARY_H

#include "codegen/entry.h"

/* ---- work memory: head, values, states, arena; each aligned to RT_ALIGN */
enum {
	AT_MAGIC = 0,
	AT_DONE = 8,   /* updates */
	AT_SEED = 16,
	AT_MICRO = 24, /* steps of this window of accumulation */
	LASTING = 32,  /* what a saved state has, then its hash */
	AT_STEP = 32,
	AT_MICROS = 40,
	AT_LR = 48,
	AT_MOMENTUM = 56,
	AT_VALID = 64,
	HEAD = 256,
	SAVED_HEAD = 64
};
struct work_plan {
	int64_t values, states, state_bytes, arena, total; /* states_bytes: of one block for all programs */
	uint64_t magic;            /* of this layout */
};
bool trainer_has_momentum(const struct trainer_library *); /* the schedule moves it: step takes it after lr */
struct work_plan trainer_work(const struct trainer_library *);
int64_t trainer_aligned(int64_t n);
int trainer_programs(const struct trainer_library *, const struct program **p); /* train, eval, infer: 3 */
const struct io *trainer_io(const struct io *v, int n, const char *name); /* NULL: none */
/* The average of a state that the step keeps (ema), which stands for it in evaluations. */
const struct io *trainer_average(const struct trainer_library *, const char *name);
/* Evaluation and inference read the averages in place of the states. */
void trainer_read_averages(const struct trainer_library *, const struct program *);

/* ---- where a program's input comes from */
enum feed { FEED_POINTER, FEED_SLOT, FEED_UNKNOWN };
/* slot: its place in the head */
enum feed trainer_feed(const struct trainer_library *, const char *input, int64_t *slot);

/* ---- the entry points that run a program */
enum { RUN_STEP, RUN_EVAL, RUN_INFER, RUN_TEACHER };
struct trainer_entry { int kind; const struct program *p; const char *suffix; };
int trainer_entries(const struct trainer_library *, struct arena *, struct trainer_entry **);

/* ---- numbers of the last step or evaluation, as NAME_value gives them */
struct trainer_value { const char *name; int64_t num, den; /* places in work memory; den -1: 1 */ };
int trainer_values(const struct trainer_library *, struct arena *, struct trainer_value **);
/* Where output i of train, or of eval, goes. */
int64_t trainer_output_at(const struct trainer_library *, bool eval, int i);

/* ---- header.c */
const char *header_identifier(struct arena *, const char *, bool upper);
const char *header_c_type(enum dtype);
bool header_reserved(const char *);

#endif
