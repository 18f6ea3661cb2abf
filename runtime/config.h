/* config -- the trainer's configuration text, parsed (docs/trainer-config.md) */
#ifndef RETORT_CONFIG_H
#define RETORT_CONFIG_H

#include "host/augment.h"
#include "runtime/checkpoint.h"
#include "runtime/rt_int.h"

/* Memory that lives as long as the run; freed at once. */
struct region {
	void **v;
	int n, cap;
	size_t bytes; /* asked for so far */
};
void *region_alloc(struct region *, size_t); /* zeroed; NULL: out of memory */
char *region_printf(struct region *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void region_free(struct region *);

enum split { SPLIT_TRAIN, SPLIT_VAL, SPLIT_TEST, NSPLITS };
extern const char *const split_names[NSPLITS];

#define MAX_FIELDS 32
#define MAX_SETS 16
#define MAX_AUGMENTS 16
#define MAX_MILESTONES 1000
#define MAX_METRICS 48 /* of a task */
#define MAX_BUCKETS 16
#define MAX_SHARE 1000
#define MAX_OUT 60 /* words of a line are 64 */
#define MAX_DIALS 256 /* of a stage */
#define MAX_WORKERS 16

struct cfg_field {
	const char *name;
	int32_t dtype, rank; /* of one sample */
	int64_t dims[RT_MAX_RANK];
	int64_t row_bytes;
	bool has_classes, has_ignore;
	int64_t classes, ignore;
	int64_t labelled; /* > 0: so many training samples keep their label */
	bool only_labelled; /* the others leave the split */
	int nout;	    /* classes whose samples leave the training split */
	int64_t out[MAX_OUT];
	const char *file[NSPLITS];
	const char *lengths[NSPLITS]; /* ragged rows: how long each is */
	double pad;		      /* what fills them up, and what does not count as length */
	bool resize;		      /* images are brought to dims */
	bool target;		      /* what a task learns and no model reads */
	int64_t view;		      /* which draw of the augmentation its samples have; 0: the first */
	bool recorded;		      /* what a teacher said: never augmented, and not of every split */
	bool bucketed;		      /* cut to the bucket's length on its first axis */
};
struct cfg_set {
	const char *name;
	int64_t batch, limit;
	int nfields;
	struct cfg_field fields[MAX_FIELDS];
	double val_fraction; /* > 0: val is drawn from train */
	int64_t share;	     /* steps of a round that are this set's; 0: every step takes a batch of each */
	int balanced;	     /* field whose classes are drawn equally often; -1: none */
	int measured;	     /* field whose length chooses the bucket; -1: none */
	int nbuckets;
	int64_t bucket[MAX_BUCKETS]; /* lengths, rising */
};
struct cfg_augment {
	enum augment_kind kind;
	double v[AUG_VALUES]; /* in the table's order */
	int nlist, nfields;
	double list[AUG_LIST];
	const char *fields[8]; /* none: all that fit */
};
struct cfg_metric {
	const char *name; /* a metric of host/metric.def, up to a dot */
	int id;
};
struct cfg_task {
	const char *name, *set, *target; /* set: whose rows; "": no one's alone.  target: its field, or "" */
	int nmetrics;
	struct cfg_metric metrics[MAX_METRICS];
};
struct cfg_info {
	const char *key, *value;
};

struct config {
	const char *name, *root, *recipe;
	int64_t seed, batch;
	int64_t samples; /* for training that memories of the terms have room for; 0: none has */
	bool shuffle, drop_last;
	int64_t cache_bytes; /* for samples that have to be made: decoded images */
	int64_t workers;     /* threads that make batches ahead */
	int64_t cache_variants; /* draws of a sample's augmentation; 0: as many as passes */
	bool cache_f16;
	const char *cache_path; /* NULL: in the output's folder */
	int naugments;
	struct cfg_augment augments[MAX_AUGMENTS];
	int64_t patience;    /* early stopping; 0: none */
	const char *monitor; /* NULL: the default */
	int mode;	     /* +1 max, -1 min, 0 default */
	int64_t test_every;  /* -1: default */
	double checkpoint_seconds;
	int64_t checkpoint_every, checkpoint_keep; /* epochs between files of their own, 0: none; how many stay, 0: all */
	double min_delta;			   /* early stopping: what counts as better */
	bool restore_best;			   /* the best epoch's weights are exported */
	int ntasks;
	struct cfg_task *tasks;
	int ninfo;
	struct cfg_info info[64];
	int nsets;
	struct cfg_set *sets;
};

enum schedule_kind {
#define SCHEDULE(id, counts) SCH_##id,
#include "runtime/schedule.def"
};
/* A kind reads those of its rows in schedule.def; words and flags are numbers from 0. */
struct schedule {
	enum schedule_kind kind;
	bool by_epoch;			      /* the rate changes between epochs only */
	double warmup_epochs, warmup_steps;   /* their sum */
	double warmup_start;		      /* factor of the rate it starts at; < 0: as 1/warmup */
	double step_size, gamma, min_lr, power, cycle_epochs, cycle_mult;
	double max_lr, pct_start, div_factor, final_div_factor, three_phase, anneal_strategy;
	double cycle_momentum, base_momentum, max_momentum;
	double factor, patience, threshold, threshold_mode, cooldown, eps;
	int nmilestones;
	int64_t milestones[MAX_MILESTONES];
};
enum curve { CURVE_FIXED, CURVE_LINEAR, CURVE_COSINE, CURVE_EXPONENTIAL, CURVE_STEP };
/* A number that changes in training, by time in epochs of the stage; x = (t-begin)/(end-begin). */
struct cfg_dial {
	const char *name; /* TERM.KEY, or $task.TASK: the weight of a task */
	double from, to, begin, end;
	enum curve curve;
};
/* How a task's weight follows from what the epochs before gave (task.c). */
enum task_method { TASK_CURVE, TASK_DWA, TASK_VAL_METRIC };
/* Whose work the FLOPs of a step are. */
enum phase { PHASE_TEACHER, PHASE_FORWARD, PHASE_LOSS, PHASE_BACKWARD, PHASE_UPDATE, NPHASES };
struct stage_config {
	const char *name;
	double flops[NPHASES];	  /* of a step */
	int64_t trained, running; /* the student's numbers that gradients move, and running statistics */
	int64_t epochs;
	double lr;
	int64_t accumulate; /* steps of an update */
	struct schedule schedule;
	int nweights;
	struct {
		const char *term;
		double weight;
		const char *task; /* whose curve multiplies it; NULL: none's */
	} weights[64];
	int ndials;
	struct cfg_dial dials[MAX_DIALS];
	enum task_method task_method;
	double task_setting; /* DWA's temperature, val_metric's gamma */
};

bool config_parse(struct config *, const char *text, struct region *, struct rt_msg *);
bool stage_config_parse(struct stage_config *, const char *text, struct region *, struct rt_msg *);

/* ---- dial.c */
bool dial_curve(const char *word, enum curve *);
double dial_value(const struct cfg_dial *, double epochs);
const struct cfg_dial *dial_find(const struct stage_config *, const char *name); /* NULL: none */

/* ---- schedule.c: the learning rate of update t out of total, per_epoch an epoch;
 * scale is what plateau has come to. */
double schedule_lr(
    const struct stage_config *, int64_t t, int64_t total, int64_t per_epoch, double scale);
double schedule_momentum(const struct stage_config *, int64_t t, int64_t total); /* of onecycle */
/* After an epoch with that monitored value; sign 1: higher is better, -1: lower. */
void plateau_step(const struct stage_config *, struct plateau *, double value, int sign);
bool schedule_set(struct schedule *, const char *kind); /* with its defaults; false: unknown */
bool schedule_complete(const struct schedule *, const char *kind); /* nothing required is missing */
double *schedule_key(struct schedule *, const char *kind, const char *key, double *least,
    double *most); /* NULL: the kind has none of that name */

#endif
