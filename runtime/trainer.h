/* trainer -- what the files of the trainer main share: the data in memory, the
 * programs bound to it, the cursor of a run. */
#ifndef RETORT_TRAINER_H
#define RETORT_TRAINER_H

#include "runtime/checkpoint.h"
#include "runtime/config.h"
#include "runtime/events.h"
#include "runtime/metrics.h"

/* ---- dataset.c: the arrays behind one split of one set.  A split is a view:
 * rows index[0..n) of the arrays, or 0..n-1 where index is NULL. */
struct dsplit {
	int64_t n;
	const int64_t *index;
	int source; /* whose arrays: val taken from train has SPLIT_TRAIN */
};
struct dset {
	const struct cfg_set *cfg;
	struct rt_array *arrays[NSPLITS]; /* [nfields], NULL: split absent */
	int64_t rows[NSPLITS];		  /* of the arrays, after `limit` */
	struct dsplit split[NSPLITS];
};
struct dataset {
	int nsets;
	struct dset *sets;
};
bool dataset_open(struct dataset *, const struct config *, const char *data_dir, struct region *,
    struct rt_msg *);
void dataset_close(struct dataset *);
/* Of the set of this number: fields with `labelled` or `leave_out`; for dataset_open. */
bool labels_choose(struct dset *, int number, int64_t seed, struct region *, struct rt_msg *);
bool dataset_has(const struct dataset *, enum split);
/* Where a configured file is, with --data DIR taken into account. */
char *dataset_path(const struct config *, const char *data_dir, const char *file, struct region *);

/* ---- batch.c: which rows make a batch */
uint64_t rt_mix(uint64_t); /* splitmix64's finisher */
uint64_t rt_draw(
    uint64_t key, uint64_t counter); /* the counter-based generator of everything random here */
void rt_permute(int64_t *perm, int64_t n, uint64_t key); /* 0..n-1 in an order drawn by key */
struct order { /* one per set */
	int64_t *perm, n;
	int64_t pass; /* whose permutation perm holds; -1: none */
	/* buckets: that of each row of the arrays; the pass as batches, and theirs */
	unsigned char *group, *bucket;
	int64_t *dealt, *heap;
	/* balanced: samples by class, those of class k from first[k] on */
	int nclasses;
	int64_t *sorted, *first;
};
struct batches {
	const struct dataset *data;
	uint64_t seed;
	bool shuffle, drop_last;
	int64_t per_epoch;  /* steps: by the first set */
	int64_t round;	    /* steps until the sets' shares repeat; 0: every step takes all sets */
	unsigned char *turn_of; /* [round] set */
	int64_t *before;    /* [round] of its steps in this round */
	struct order *orders;
	/* the batch at hand */
	int64_t **rows;	 /* [nsets][batch]: rows of the source arrays */
	int64_t **draws; /* [nsets][batch]: number of the augmentation's draw */
	int64_t variants; /* draws of a sample, again and again; 0: always a new one */
	int64_t *valid;	 /* [nsets] rows that count */
	int64_t step;
	int program; /* of the stage's programs: the bucket's or the set's */
};
bool batches_open(struct batches *, const struct dataset *, uint64_t seed, bool shuffle,
    bool drop_last, struct region *, struct rt_msg *);
size_t longest_row(const struct config *); /* bytes */
bool batches_copy(struct batches *, const struct batches *, struct region *, struct rt_msg *);
/* step counts over all epochs of all stages */
void batches_train(struct batches *, int64_t step);
void batches_eval(struct batches *, enum split, int64_t step);
int64_t batches_eval_steps(const struct batches *, enum split);

/* ---- augment.c */
struct augmenter {
	const struct config *cfg;
	uint64_t seed;
	unsigned char *scratch; /* one row */
	void *room;		/* of rt_resample */
};
bool augmenter_open(
    struct augmenter *, const struct config *, uint64_t seed, struct region *, struct rt_msg *);
/* In place on one gathered row; draw: how often the set was gone through, where a
 * sample comes once in a pass. */
void augment_row(struct augmenter *, const struct cfg_field *, void *row, int64_t draw, int set,
    int64_t sample);
/* In place on a field's n rows of a set's batch: mixup, cutmix. */
void augment_batch(
    struct augmenter *, const struct cfg_field *, void *rows, int64_t n, int set, int64_t step);
double augment_share(const struct augmenter *, int set, int64_t step); /* of the row itself */
bool augment_mixes(const struct config *); /* is anything mixed? */
/* does mixing change this field, in this step? */
bool augment_mixes_field(const struct augmenter *, const struct cfg_field *, int set, int64_t step);

/* ---- exec.c: a program with its memory and its inputs bound to names */
enum feed_kind {
	FEED_FIELD,
	FEED_PAIR,    /* the field of the samples that each is mixed with */
	FEED_TEACHER,
	FEED_SHARE,   /* f32 [rows]: of each row itself in its mixture */
	FEED_INDEX,   /* i64 [rows]: which sample of the training data each is, sets one after the other */
	FEED_NUMBERS, /* the others are numbers of the step */
	FEED_LR,
	FEED_STEP,
	FEED_MICRO,
	FEED_MICROS,
	FEED_MOMENTUM,
	FEED_SEED,
	FEED_DIAL,
	FEED_TASK,
	FEED_VALID
};
struct part {
	int set, field;
	int64_t rows, at;
}; /* rows of the batch input, from byte at */
struct feed {
	enum feed_kind kind;
	int set; /* of FEED_VALID; -1: the only one */
	int nparts;
	struct part *parts;
	int64_t row_bytes; /* at most the field's: buckets cut */
	void *buf;
	int ring; /* which of a slot's buffers it reads; -1: numbers of the step */
	int cached; /* of FEED_TEACHER: index in run.caches */
	const char *dial; /* of FEED_DIAL, FEED_TASK: its name in the stages' configurations */
};
/* One number of an epoch: mean = num/den. */
struct meter {
	const char *name; /* loss, term.NAME, metric.TASK.NAME */
	int metric;	  /* of host/metric.def; -1: the mean itself */
	int num, den;	  /* outputs; den -1: each step counts once */
	double sum_num, sum_den;
	struct meter *sum; /* whose sums it adds to: those of the stage's first program */
};
struct exec {
	const struct rt_program *p;
	void **base, **own; /* own: inputs and outputs that it allocated */
	struct feed *feeds;
	int set; /* the one set it is about; -1: all */
	int nmore;
	struct exec *more; /* the stage's programs of other buckets or sets */
	int nmeters;
	struct meter *meters;
	int check; /* output check.labels, or -1 */
	int norm;  /* output grad_norm.num, or -1 */
};
/* The states of all programs, in one block; what is saved and exported. */
struct states {
	int n;
	struct state {
		const char *name;
		int64_t bytes, at;
		int32_t dtype;
		bool slot;
	} *v;
	int64_t bytes;
	unsigned char *data;
	const void *init; /* the first init_bytes of data at the start, the others are 0 */
	int64_t init_bytes;
};
/* What measures the terms' shares of the gradient after an epoch (share.c). */
struct share {
	struct exec e; /* e.p NULL: the stage is not measured */
	double *norm;  /* [outputs] */
};
struct cached {		   /* one cached teacher output */
	const char *input; /* $teacher.NAME.OUT */
	int64_t row_bytes;
	int nsets;
	int sets[MAX_SETS];			      /* whose rows, in order */
	const unsigned char *rows[NSPLITS][MAX_SETS]; /* by source split and set: versions of every row */
	int64_t versions[NSPLITS]; /* the draws of the augmentation, then, if wanted, the sample itself */
	bool half;		   /* f16 in the file */
};
/* The teacher's output for row `row` as the program reads it. */
void cached_row(const struct cached *, int source, int set, int64_t row, int64_t version, void *to);
struct run;
struct record;
bool exec_open(struct exec *, const struct rt_program *, struct run *);
void exec_close(struct exec *);
bool exec_open_set(struct exec *, const struct rt_program *, int set, int more, struct run *);
bool exec_open_stage(struct exec *, const struct rt_stage *, struct run *);
bool exec_fill(struct exec *, struct run *, enum split, bool augment);
void exec_numbers(
    struct exec *, const struct run *, const int64_t *valid, double lr, int64_t step);
void exec_run(struct exec *, struct run *);
bool exec_check(const struct exec *, struct run *); /* false: reported; labels out of range */
double exec_output(const struct exec *, int output);
void meters_reset(struct exec *);
void meters_add(struct exec *);
double meter_value(const struct meter *); /* NAN: nothing counted */
bool states_open(struct states *, const struct rt_trainer *, struct region *, struct rt_msg *);
void states_close(struct states *);
void states_initial(struct states *);	  /* as compiled */
void states_fresh_slots(struct states *); /* optimiser slots as compiled */
/* The stage's weights as they are evaluated and exported: where it averages them
 * (NAME:ema), with the averages in place of NAME; else the states themselves. */
const unsigned char *run_weights(struct run *);
bool states_averaged(const struct states *); /* some stage does */
const char *states_not_finite(
    const struct states *, const unsigned char *data); /* its name; NULL: all are */
const struct state *states_find(const struct states *, const char *name);

/* ---- loader.c */
/* What makes the contents of a program's inputs: one for each thread that does. */
struct maker {
	const struct run *run;
	struct batches *batches; /* the batch at hand */
	struct augmenter *aug;
	unsigned char *row; /* one row of the longest field */
	struct rt_msg *msg;
};
bool feed_make(struct maker *, const struct feed *, enum split, bool augment, void *to);
bool loader_open(struct run *); /* after the programs */
void loader_close(struct run *);
double loader_cpu(struct run *); /* CPU seconds of its threads since the last call */
/* The program for this batch of the split, its inputs pointing at it; they stay until
 * the split's next one is asked for.  NULL: reported. */
struct exec *loader_next(struct run *, enum split, int64_t step, double lr, int64_t update);

/* ---- options.c */
struct options {
	const char *exe, *data, *out, *export, *checkpoints, *log, *init_from, *cache;
	int64_t epochs, until, steps, batch, seed, threads, bench_steps, log_every; /* -1: not given */
	double lr;						  /* < 0: not given */
	bool has_seed, resume, no_shuffle, dry_run, help, quiet, profile, trap, no_test;
};
bool options_parse(struct options *, int argc, char **argv, struct rt_msg *);
void options_help(FILE *, const char *exe, const char *name);

/* ---- answers.c: what the evaluation says of each row of a split */
enum { SHOWN_MISTAKES = 18, SHOWN_RIGHT = 6 };
struct sample { /* of the report */
	int64_t row; /* of the source arrays */
	int32_t label, answer, teacher; /* -1: no teacher */
	double confidence;
};
struct task_answers {
	const struct cfg_task *cfg;
	int scores, labels, values, valid, teacher; /* outputs of the evaluation; -1: none */
	int set, field;				    /* whose pictures; -1: none */
	struct tally tally;
	int nwrong, nright;
	struct sample wrong[SHOWN_MISTAKES], right[SHOWN_RIGHT];
};
struct answers_all {
	int n;
	struct task_answers *v;
	double *list; /* room for the largest array */
	enum split split; /* of the last evaluation, its states and how many updates they had */
	const unsigned char *states;
	int64_t updates;
};

/* ---- checkpoint.c: struct cursor is in checkpoint.h */
struct run {
	const struct rt_trainer *t;
	struct config cfg;
	struct stage_config *stages;
	struct options opt;
	struct region region;
	struct rt_msg msg;
	struct dataset data;
	struct batches batches;
	struct augmenter aug;
	unsigned char *row; /* one row of the longest field */
	struct loader *loader;
	double data_wait; /* seconds that steps of this epoch waited for their batch */
	struct states states;
	struct rt_pool *pool;
	struct trial {		/* which is faster, all threads or one; results are the same */
		bool on, alone; /* measuring; the choice */
		int n;
		double seconds[2], most[2], next;
	} trial;
	void *work;
	int64_t work_bytes;
	bool settled; /* what a step needs is in memory */
	struct exec *train, eval; /* train[nstages] */
	struct share *shares;	  /* [nstages] */
	bool has_eval;
	int ncaches;
	struct cached *caches;
	void **cache_maps;
	size_t *cache_sizes;
	int ncache_maps;
	unsigned char *best;	 /* states of the best epoch; NULL: no val split */
	unsigned char *averaged; /* states with the averages in place of weights; NULL: no stage has any */
	bool has_best, best_dirty;
	struct cursor cur;
	uint64_t fingerprint;
	uint64_t seed;
	const char *out, *checkpoints, *cache_dir;
	struct trap *trap;		    /* steps are run call by call; NULL: they are not */
	bool saved;			    /* last.ckpt is of this run, or was gone on from */
	double *begun;			    /* by total epoch: plateau's factor, weights of tasks; to go the same way again */
	int64_t nbegun, cap_begun;
	char *names; /* of the states, as checkpoints have them */
	size_t names_bytes;
	double last_checkpoint;		    /* rt_seconds of it */
	double checkpoint_cost;		    /* seconds it took */
	double resumed_at, resumed_seconds; /* rt_seconds and cur.seconds at the start */
	struct answers_all answers;
	struct progress *progress;
	struct outputs *outputs;
};
bool checkpoint_save(struct run *); /* best first, then last */
/* The last one is that many seconds old, and writing takes a twentieth of the time at most. */
bool checkpoint_due(const struct run *, double seconds);
bool checkpoint_best(struct run *, const unsigned char *states);
bool checkpoint_load(struct run *, bool *found);
bool checkpoint_epoch(struct run *); /* after an epoch: its own file, where one is due */
bool checkpoint_names(struct run *); /* once, when the states are known */
/* ---- warm.c: --init-from, a checkpoint or a student of this trainer's */
bool warm_start(struct run *, const char *path);
uint64_t run_fingerprint(const struct run *);

/* ---- trap.c: where a number stopped being finite */
bool trap_open(struct run *);
void trap_begin(struct run *); /* a stage: no step to compare with */
void trap_run(struct run *, struct exec *);
void trap_healthy(struct run *, const struct rt_program *); /* the step was in order */
void trap_text(const struct run *, const struct exec *, char *out, size_t);
/* False, and reported: the batch at hand holds a number that is not finite. */
bool trap_data(struct run *, const struct exec *, enum split);

/* ---- dry_run.c: what a run would be, printed */
bool dry_run(struct run *);

/* ---- trainer.c */
int64_t run_epoch_updates(const struct run *, int64_t stage);
bool run_exports_best(const struct run *); /* not the last weights, but those of the best epoch */
bool run_out_of_steps(const struct run *); /* --steps N is reached */
double run_elapsed(const struct run *);	   /* seconds of training, those before a resume included */
bool run_stopping(void);		   /* a signal asked to stop */
double run_momentum(const struct run *, int64_t update); /* of that update of the stage, from 0 */
int64_t run_window(const struct run *, int64_t *steps); /* which of the *steps of its window is next */

/* ---- dial.c */
double run_epochs(const struct run *); /* of the stage, so far: whole ones and the steps' part */
double run_dial(const struct run *, const char *name); /* NAN: no stage has it */
bool run_has_dial(const struct run *, const char *name);

/* ---- task.c: weights of tasks, "$task.NAME" */
double task_weight(const struct run *, const char *dial);
void task_weights_begin(struct run *); /* a stage */
/* After an epoch and its evaluation: into the record, and those of the next epoch. */
bool task_weights_epoch(struct run *, struct record *);

/* ---- share.c */
bool shares_open(struct run *);
void shares_close(struct run *);
bool shares_epoch(struct run *, struct record *); /* after an epoch */

/* ---- epoch.c */
/* After the last step of an epoch, or of the run; lr is for the log. */
bool epoch_end(struct run *, double lr);

/* The states that are exported, measured on the split that the report shows. */
bool epoch_exported(struct run *, const unsigned char *states);

/* ---- answers.c */
bool answers_open(struct run *);
void answers_begin(struct run *, enum split, const unsigned char *states);
void answers_batch(struct run *);
bool answers_record(struct run *, struct record *);

/* ---- cache.c */
bool cache_open(struct run *);
void cache_close(struct run *);

/* ---- memory.c */
enum { MEMORY_PLAN_ROWS = 24 };
struct memory_plan {
	int n;
	struct rt_memory row[MEMORY_PLAN_ROWS];
	int64_t bytes;	/* of all rows */
	int64_t mapped; /* of data files, which are no part of it but for a batch */
};
void memory_settle(struct run *);
void memory_plan(const struct run *, struct memory_plan *); /* settled, before the first step */
void memory_print(FILE *, const struct memory_plan *);
void memory_json(FILE *, const struct memory_plan *);

/* ---- progress.c */
bool progress_open(struct run *);
void progress_close(struct run *);
void progress_note(struct run *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void progress_step(struct run *, const struct exec *, double lr);

/* ---- outputs.c: metrics.jsonl and the event file, cut back to the cursor on resume */
struct entry {
	char key[120];
	double value;
	int64_t n, columns; /* n > 0: an array, in rows of columns, 1: flat */
	double *list;
};
struct record { /* one epoch */
	int64_t epoch;
	double lr, seconds;
	const char *stage;
	int n, cap;
	struct entry *v; /* loss, term.X, train.T.M, val.loss, ... */
};
bool record_add(struct record *, const char *key, double value);
bool record_add_list(struct record *, const char *key, const double *, int64_t n, int64_t columns);
double record_get(const struct record *, const char *key); /* NAN: absent */
void record_free(struct record *);
bool outputs_open(struct run *);
/* After a step of this program: its own loss and terms, every tenth time or some fifty times an epoch. */
bool outputs_step(struct run *, const struct exec *, double lr);
bool outputs_epoch(struct run *, const struct record *);
bool outputs_sync(struct run *); /* before a checkpoint counts on them */
void outputs_close(struct run *);
/* ---- export.c, report.c */
/* path: of the student; the other models beside it in the output's folder */
bool export_models(struct run *, const unsigned char *states, const char *path);
bool report_write(struct run *);
int64_t parameter_count(const struct run *);

#endif
