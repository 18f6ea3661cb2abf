/* recipe -- what `retort distill` reads (docs/recipe.md), checked against its
 * schema: unknown keys, wrong types and dangling references are errors with file,
 * line and the nearest known name.  Paths come out joined to the recipe's folder
 * or data root. */
#ifndef RETORT_RECIPE_H
#define RETORT_RECIPE_H

#include "host/augment.h"
#include "ir/ir.h"
#include "ir/loss.h"
#include "ir/optimizer.h"
#include "ir/task.h"

struct recipe_field { const char *name, *file; int line; int64_t classes; bool has_ignore; int64_t ignore; const char *balance;
                      int64_t labelled; bool only_labelled;    /* so many training samples keep their label; the others leave */
                      int nout; int64_t *out;                  /* leave_out: classes without training samples */
                      int nweights; double *weights;           /* class_weights */
                      int64_t resize[2];                       /* H, W; 0: as they are */
                      const char *lengths; int64_t max_length; double pad;
                      int64_t view;                            /* its samples have this draw of the augmentation; 0: the first */
                      bool recorded; };                        /* what a teacher said of the samples; lengths: ragged, file of lengths; pad: what fills them up */
struct recipe_split { int n; struct recipe_field *fields; int line; const char *from; double fraction; }; /* from: taken out of that split */
struct recipe_augment { enum augment_kind kind; double v[AUG_VALUES], list[AUG_LIST]; int nlist, nfields; const char **fields; int line; };
struct recipe_sampler { bool balanced; const char *field; int line; }; /* field NULL: the one target with classes */
struct recipe_buckets { const char *field; int n; int64_t *lengths; int nfields; const char **fields; bool has_pad; double pad; int line; };

struct recipe_input {            /* feeds one ONNX input of a model */
	const char *onnx, *field;
	const char *from;        /* in place of a field: another model's tensor, MODEL.NAME */
	const char *noise;       /* or numbers drawn anew each step: "normal", "uniform" */
	bool detach;             /* from: without gradients */
	const char *draw;        /* by what name: "MODEL.INPUT" of the model that says so */
	int nshape; int64_t *shape; /* of one sample of the noise; 0: the ONNX input's */
	double scale, offset;    /* x*scale + offset; 1, 0 */
	bool mask, length;       /* not the field, but 1 where it is no filler, or how many such a row has */
	double filler;
	int nnorm;               /* normalize: per channel (axis 1), after scale */
	double *mean, *std;
	int npad; int64_t *pad;  /* optional zeros around: lo.., hi.. of the sample's dims */
	int channels;            /* 1: grey, 3: rgb, 0: the field's own */
	bool bgr, hwc;           /* colours backwards; samples are [H,W,C] */
	int64_t resize[2];       /* H, W; 0: the field's own */
	int line;
};
struct recipe_name { const char *name, *onnx; int line; };  /* outputs and taps */
/* An output of a teacher that is known by files: the weighted mean of nfiles of each split. */
struct recipe_record { const char *name; int nfiles; const char **file[3]; double *weights; int line; /* train, val, test; NULL: none */
                       bool probabilities; };                   /* not logits but what softmax makes of them */
struct recipe_model {
	const char *name, *path;
	int line;
	int ninputs, noutputs, ntaps, nfrozen;
	struct recipe_input *inputs;
	struct recipe_name *outputs, *taps;
	const char **frozen;     /* glob patterns on initializer names */
	const char *init;        /* "onnx", "kaiming", "xavier" */
	/* a teacher without a model: what it said of every sample (path NULL) */
	int nrecords; struct recipe_record *records;
	const char *data;        /* of which data set; NULL: the only one */
	bool with_augment;       /* it stands for a sample however that is augmented */
	/* a model without a file of its own: NULL, or whose it is */
	const char *shares;      /* student: the weights of this one, for other inputs */
	const char *ema_of;      /* teacher: averaged weights of this student */
	double decay; bool warmup;
	const char *stage, *of;  /* teacher: student `of` as that stage left it */
	bool exported;
};
struct recipe_metric { const char *name, *teacher; int id; }; /* as metrics.jsonl calls it: top5, agreement, agreement.big.y */
struct recipe_task { const char *name, *head, *target; double weight; int nmetrics; struct recipe_metric *metrics; int line; const char *data; bool auxiliary; };
struct recipe_task_weight { const char *task; struct dial weight; int line; };
struct recipe_term {
	const char *name, *task, *loss; /* a row of ir/loss.def */
	struct dial weight, temperature;
	struct dial *values;     /* by the loss's settings */
	bool tau_squared;
	int nstudents, nteachers;
	const char **students;   /* taps or outputs; none: the task's head */
	const char **teachers;   /* "big.y": output or tap; for one student tensor several are a mean */
	const char *reduction;   /* "batchmean" (default), "mean" or "sum" */
	double *teacher_weights; /* by teacher; NULL: equal */
	struct recipe_class_map { int n; int64_t *to; } *maps; /* by teacher: the student's class of each of its own, -1: none; n 0: the same */
	struct adaptor adaptor;
	const char *modules;     /* of another term, or a name of theirs; NULL: its own */
	const char *mask;        /* field of tokens: those that are not the filler count; NULL: all */
	double mask_filler;
	int line;
	bool through;            /* teacher_gradient: gradients flow into teachers too */
};
struct recipe_schedule {
	const char *kind;        /* a row of runtime/schedule.def */
	int by;                  /* -1: as the kind does; 0: step, 1: epoch */
	double warmup_epochs, warmup_steps, warmup_start; /* start -1: none given */
	int nkeys;
	struct recipe_key { const char *key; double value; } *keys; /* all of the kind's */
	int nmilestones; int64_t *milestones;
	int line;
};
struct recipe_turn { int ntrains, nterms; const char **trains; struct recipe_term *terms; int64_t times; int line; };
struct recipe_stage {
	const char *name;
	int ntrains; const char **trains; /* models; none: those that the terms are about */
	int nturns; struct recipe_turn *turns; /* one after the other in every step; their terms are the stage's */
	int64_t epochs;
	struct update_rule update;
	struct recipe_schedule schedule;
	struct task_balance balance;
	int ntask_weights; struct recipe_task_weight *task_weights; /* given, or begun with */
	int nterms; struct recipe_term *terms;  /* its own, else the recipe's */
	int nfrozen; const char **frozen;
	bool batch_norm_frozen;
	int line;
};
/* Values to try (recipe_search.c).  Point i is a choice for each key, the last one fastest. */
struct recipe_search_key { const char *path; int nvalues; const char **text; };
struct recipe_search {
	int nkeys;
	struct recipe_search_key *keys;
	int64_t npoints, random, seed; /* random: that many of them, 0: all */
	int64_t epochs, runs;    /* budget: of a run; how many runs.  0: the recipe's, all */
	double minutes;          /* 0: no end */
	int64_t eta, rounds;     /* successive halving; eta 0: none */
	const char *monitor;     /* NULL: the first metric that has a better and a worse */
	bool last;               /* judge: a point is its last epoch, not its best */
	int line;
};
struct recipe {
	const char *path, *dir, *name;
	int64_t seed;
	const char *data_root;
	struct recipe_split train, val, test;
	/* several datasets in one step, each with its own splits (data: {sets: {NAME: {...}}}):
	 * a batch is the concatenation of one batch from each; tasks name theirs */
	int nsets;
	struct recipe_set { const char *name; struct recipe_split train, val, test; int64_t batch, limit, share; struct recipe_sampler sampler; int line; } *sets;
	bool interleaved;          /* a step takes a batch of one set, by share */
	int64_t batch;
	bool shuffle, drop_last;
	int naugment; struct recipe_augment *augments;
	int64_t resize[2]; int resize_line; /* of all image fields, in every split */
	int64_t workers, cache_bytes;       /* cache_bytes -1: the default */
	struct recipe_sampler sampler;
	struct recipe_buckets buckets;      /* field NULL: none */
	struct recipe_model student;
	int nstudents; struct recipe_model *students; /* besides it */
	int nteachers; struct recipe_model *teachers;
	int ntasks; struct recipe_task *tasks;
	int nterms; struct recipe_term *terms;
	int nstages; struct recipe_stage *stages;  /* at least one */
	int early_patience;        /* 0: none; train.early_stop: {patience, monitor} */
	const char *early_monitor;
	double early_min_delta;
	bool early_keeps_last;     /* restore_best: false */
	int64_t checkpoint_every, checkpoint_keep; /* epochs, files; 0: none, all */
	double checkpoint_seconds; /* < 0: not given */
	bool grad_share;           /* log: each term's share of the gradient, by epoch */
	int log_line;
	int ncached; const char **cached;
	const char *cache_path;      /* folder; NULL: the output's */
	bool cache_f16;
	int64_t cache_variants;      /* draws of the augmentation for each sample; 0: none */
	int ncache_what; const char **cache_what; /* TEACHER.NAME of what is cached; 0: all that terms read */
	int cache_line;
	const char *library_name;
	bool emit_static, emit_shared, emit_exe, emit_onnx;
	struct recipe_search *search; /* NULL: none */
	/* emit.trainer: the step as a library; of a recipe with several stages one of them */
	const char *trainer_name, *trainer_stage;
	bool trainer_static, trainer_shared;
	/* emit.saliency: the student with the maps of what it looks at; method NULL: none */
	struct recipe_saliency { const char *method, *name, *output; int64_t steps, class; double noise; int line; } saliency; /* steps 0, noise -1: the default */
};
/* The field that holds file number `file` of a teacher's output: TEACHER.OUTPUT, TEACHER.OUTPUT.2 */
const char *recipe_record_field(struct arena *, const struct recipe_model *, const struct recipe_record *, int file);
/* The student, the other students, the teachers: one after the other. */
int recipe_nmodels(const struct recipe *);
struct recipe_model *recipe_model_at(const struct recipe *, int i);
struct recipe_model *recipe_model_find(const struct recipe *, const char *name, size_t len); /* NULL: none */
/* The recipe of a point of its search, without one; choice[i]: which value of key i. */
struct recipe *recipe_read_point(struct arena *, const char *path, const char *data_root, const int *choice, struct diag *);
/* The same as a file; root: where the data is, models: what the models' paths begin at (both
 * absolute, as the file lies elsewhere). */
bool recipe_write_point(struct arena *, const struct recipe *, const int *choice, const char *root, const char *models,
                        const char *out, struct diag *);
/* data_root: --data, or NULL for the recipe's. NULL: reported (every problem found, not just the first). */
struct recipe *recipe_read(struct arena *, const char *path, const char *data_root, struct diag *);

#endif
