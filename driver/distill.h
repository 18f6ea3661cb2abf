/* distill -- what the parts of `retort distill` share: the recipe, what is known
 * of its data, and the description that passes/distill works from. */
#ifndef RETORT_DRIVER_DISTILL_H
#define RETORT_DRIVER_DISTILL_H

#include "driver/driver.h"
#include "frontend/recipe.h"
#include "passes/distill.h"

/* One set of the recipe; a recipe without `sets` has one, "main". */
struct job_set {
	const char *name;
	const struct recipe_split *train, *val, *test;
	int64_t batch, limit, first_row, share;
	int64_t first_sample, samples; /* for training, those of val taken from it included; how many come before, of other sets */
	const struct recipe_sampler *sampler;
	const struct job_field *balanced; /* by its classes; NULL: it is not */
	int line;
};
struct job_field {
	const char *name;
	int set;                 /* index; -1: several have it */
	enum dtype dtype;
	int rank;
	int64_t dims[MAX_RANK];  /* of one sample */
	const struct recipe_field *recipe;
	int64_t classes;         /* the recipe's, or the number of folders; 0: unknown */
	double *class_weights;   /* NULL: all 1 */
	bool resized, target;    /* target: what a task learns and no model reads */
	bool bucketed;           /* cut to the bucket's length on its first axis */
	double pad;
};
struct job {
	struct driver *d;
	struct recipe *r;
	const char *out;         /* folder */
	int nsets;
	struct job_set *sets;
	int nfields;
	struct job_field *fields;
	int64_t batch;           /* rows of a step, all sets together */
	int64_t samples;         /* for training, of all sets: $index counts through them in order */
	bool mixed;              /* mixup or cutmix: labels come in pairs */
	const char *note;        /* what it is about, in messages; NULL: everything */
	bool partial;            /* of one set of several: models are fed by its fields only */
	struct distill dist;
	bool trainer_exe;        /* the executable is made */
	struct program *infer;   /* of the trainer's library; NULL: none is made */
};

static inline struct loc
job_loc(const struct job *j, int line)
{
	return (struct loc){.file = j->r->path, .node = -1, .line = line};
}

/* distill.c */
/* The recipe's trainer as an executable, and a run of it: --out OUT and the words.  False:
 * reported; *status is its exit status. */
bool trainer_make(struct driver *, struct recipe *, const char *out, const char *trainer);
bool trainer_run(struct driver *, const char *trainer, const char *out, int n, const char *const *words, int *status);
/* search.c: all points of the recipe's search; *best: the recipe of the best one */
bool search_run(struct driver *, const struct recipe *, const char *out, struct recipe **best);
/* distill_data.c */
const char *path_absolute(struct arena *, const char *);
bool job_read_data(struct job *);             /* sets, fields: dtype and shape of every data file */
const char *job_config(struct job *);         /* docs/trainer-config.md, "The run" */
const char *job_stage_config(struct job *, const struct recipe_stage *, const struct program *);
/* distill_variant.c */
int job_variants(const struct job *);         /* programs of a stage: buckets or sets that take turns; 1 */
/* The job as program k of a stage sees it; NULL: reported. */
struct job *job_variant(struct job *, int k);
/* distill_logits.c: --emit=logits, of a job that is imported */
bool logits_write(struct job *);
/* distill_model.c */
bool job_import(struct job *);                /* fills dist but for terms and optimizer */
bool job_stage(struct job *, const struct recipe_stage *); /* those */
double job_task_weight(const struct recipe *, const struct recipe_stage *, const char *task);
/* The student's outputs, by their ONNX names, that only auxiliary tasks are about. */
int job_auxiliary(const struct job *, const char *const **onnx);
/* Does the trainer give the task's weight, and from what on? */
bool job_task_dial(const struct recipe_stage *, const char *task, struct dial *);

#endif
