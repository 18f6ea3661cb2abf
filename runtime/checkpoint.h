/* checkpoint -- what a checkpoint says of the run it is from; for the trainer and
 * for who inspects the file without it. */
#ifndef RETORT_CHECKPOINT_H
#define RETORT_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

/* The state of ReduceLROnPlateau (schedule.c). */
struct plateau {
	double best, scale; /* NAN: none yet; factor on the stage's rate */
	int64_t bad, cooldown;
};

/* What the weight of a task comes from (task.c). */
struct task_weight {
	double weight;	     /* of the epoch at hand */
	double loss, before; /* mean of the last epoch and of the one before it; NAN: there was none */
};
enum { MAX_TASKS = 64 };

/* Where a run is: all a resumed run needs besides the states. */
struct cursor {
	int64_t stage, epoch, step; /* epoch in the stage, step in the epoch: what comes next */
	int64_t updates, total_epochs, total_updates; /* updates in the stage; over all stages */
	int64_t stopped;			      /* the stage was ended by early stopping */
	int64_t done;
	double best;			/* monitored value; NAN: none yet */
	int64_t best_epoch, bad_epochs; /* total epoch of best; evaluations without gain */
	double stop_best;		/* what the next gain is measured from: early stopping's min_delta */
	struct plateau plateau;
	struct task_weight tasks[MAX_TASKS]; /* in the order of the configuration */
	double seconds, epoch_from;	/* training time so far, and when the epoch began */
	int64_t log_bytes, event_bytes; /* what of metrics.jsonl and the event file counts */
	int64_t step_bytes;		/* and of steps.jsonl */
	int64_t nsums;			/* partial sums of the epoch: num, den of each meter */
};
/* A checkpoint's states by name, for who starts from them.  NULL: reported by false. */
struct saved_state {
	const char *name;
	int32_t dtype;
	int64_t bytes;
	const unsigned char *data;
};
/* Calls each(ctx, state) for every state of a whole file in memory, whose checksum is right;
 * what is wrong with it, or NULL. */
const char *checkpoint_states(const void *file, size_t n, void (*each)(void *, const struct saved_state *), void *ctx);
/* Of a whole file in memory, without its trainer: what is wrong, or NULL. */
const char *checkpoint_read(const void *file, size_t n, struct cursor *, int64_t *state_bytes);

#endif
