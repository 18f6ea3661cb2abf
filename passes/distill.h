/* distill -- the graphs of a recipe.  Inputs, outputs and states are named as
 * runtime/abi.h says (struct rt_trainer). */
#ifndef RETORT_DISTILL_H
#define RETORT_DISTILL_H

#include "ir/loss.h"
#include "ir/task.h"
#include "passes/passes.h"

/* Described without the recipe's file format, so that passes need not see the
 * frontend: driver/distill.c fills it from struct recipe. */
struct distill_input {       /* graph input of a model <- data field */
	struct value *value;     /* VAL_INPUT in the model's graph */
	const char *field;
	const char *from;        /* in place of a field: another model's tensor, MODEL.NAME */
	const char *noise;       /* or numbers drawn anew each step: "normal", "uniform" in [0,1) */
	bool detach;             /* from: without gradients */
	const char *draw;        /* what it is drawn by: equal names draw equal numbers */
	int nshape; const int64_t *shape; /* of one sample of the noise; 0: as value */
	bool mask, length; double filler; /* not the field, but 1 where it is no filler, or how many such a row has */
	double scale, offset;
	int nnorm; const double *mean, *std;
	int npad; const int64_t *pad;
	int channels;            /* 1: grey, 3: colour, 0: as they are */
	bool bgr, hwc;           /* colours backwards; samples are [H,W,C] */
	int64_t resize[2];       /* H, W; 0: as they are */
};
/* Weights of a model: its own, those of another model on other inputs, their average over
 * the updates, or what they were at the end of an earlier stage. */
enum weights { WEIGHTS_OWN, WEIGHTS_SHARED, WEIGHTS_AVERAGE, WEIGHTS_KEPT };
struct distill_model {
	const char *name;
	const char *prefix;      /* of its states' names; NULL: none */
	enum weights weights;
	const struct distill_model *of; /* whose, but for WEIGHTS_OWN */
	double decay; bool warmup; /* WEIGHTS_AVERAGE */
	bool keeps;              /* WEIGHTS_KEPT: of the stage at hand */
	struct graph *graph;     /* student: states, training form (and eval form in graph_eval) */
	struct graph *graph_eval; /* student only: inference form over the same parameter names */
	int ninputs; struct distill_input *inputs;
	int nnames, noutputs;    /* outputs, then taps, by the recipe's names */
	struct distill_name { const char *name, *onnx; struct loc loc; } *names;
	int nrecords;            /* a teacher without a model (graph NULL): its outputs are fields */
	struct distill_record { const char *name; int n; const char **fields; const double *weights; /* their mean */
	                        bool probabilities;          /* of which the logarithm is taken */
	                        bool evaluated; /* every split that is evaluated has them */ } *records;
	bool cached;             /* teacher whose outputs arrive as $teacher.NAME.OUT: */
	int nwhat; const char *const *what; /* those listed as TEACHER.NAME; 0: all */
};
struct distill_field { const char *name; enum dtype dtype; int rank; int64_t dims[MAX_RANK]; /* of one sample */
                       int64_t classes; bool has_ignore; int64_t ignore; const double *class_weights;
                       int64_t first_row, rows; /* its rows in the batch when several sets are concatenated; rows 0: all */ };
struct distill_term { const char *name, *task, *loss, *reduction; struct dial weight, temperature; bool tau_squared;
                      const struct dial *values; /* by loss_info's settings; NULL: the defaults */
                      const double *teacher_weights; /* by teacher; NULL: equal */
                      const struct distill_class_map { int64_t n; const int64_t *to; } *maps; /* by teacher: class of the student for each of its own, -1: none; n 0: the same */
                      struct adaptor adaptor; const char *modules; /* whose states the term's are; NULL: its own */
                      const char *mask; double mask_filler; /* field of tokens; NULL: none */
                      int nstudents, nteachers; const char *const *students, *const *teachers; /* no student: the task's head */
                      bool through; /* gradients flow into teachers too */
                      struct loc loc; };
struct distill_metric { const char *name, *teacher; }; /* of host/metric.def, up to a dot; teacher NULL: the one that a term of the task imitates */
struct distill_task { const char *name, *head, *target; double weight; int nmetrics; const struct distill_metric *metrics; struct loc loc;
                      double initial;  /* the first weight that a step or the trainer moves; 0: the method's */
                      bool auxiliary;  /* its head is no output of inference */
                      bool turned;     /* its weight is the input $task.NAME */
                      const char *set; /* the data set whose rows it is about; NULL: those of its target field */ };
/* Several data sets in one batch: their rows, in order.  Fields that several sets
 * have hold all rows (rows 0), a field of one set its rows. */
struct distill_set { const char *name; int64_t first_row, rows; int64_t first_sample, samples; /* of the training data, all sets; 0: not known */ };
/* A part of a step: some terms move some models, one after the other. */
struct distill_turn { int nterms; const char *const *terms; int ntrains; const char *const *trains; int64_t times; struct loc loc; };
struct distill {
	const char *name;
	int64_t batch, seed;
	int nfields; struct distill_field *fields;
	struct distill_model student;
	int nstudents; struct distill_model *students; /* besides it */
	int nteachers; struct distill_model *teachers;
	int ntasks; struct distill_task *tasks;
	int nterms; struct distill_term *terms;
	struct update_rule update;
	struct task_balance balance;
	int nfrozen; const char *const *frozen; /* glob patterns */
	bool batch_norm_frozen;
	int ntrains; const char *const *trains; /* models that train; 0: those that terms reach as students */
	int nturns; struct distill_turn *turns; /* 0: one, of all terms and `trains` */
	int nsets; struct distill_set *sets; /* 0 or 1: $valid; more: $valid.NAME */
	bool mixed;              /* training rows are mixed in pairs: labels are a row's own and $pair.FIELD, shares $mix */
	bool partial;            /* data of one set: inputs that it does not feed may only be of what nothing reads */
};
/* The student, the other students, the teachers. */
static inline struct distill_model *
distill_model_at(struct distill *d, int i)
{
	return i == 0 ? &d->student : i <= d->nstudents ? &d->students[i - 1] : &d->teachers[i - 1 - d->nstudents];
}
/* The tensor of that ONNX name, or of an output; NULL: there is none. */
struct value *distill_tensor(const struct graph *, const char *onnx);
/* The name of a model's state in the step. */
const char *distill_state_name(struct arena *, const struct distill_model *, const struct value *state);
/* The whole step: inputs -> teachers, student, terms, gradients, updates. */
struct graph *distill_train_graph(struct arena *, const struct distill *, struct diag *);
/* The terms' gradients and nothing else: outputs grad_share.TERM, the norm of each by its weight. */
struct graph *distill_share_graph(struct arena *, const struct distill *, struct diag *);
/* Inference form: loss terms and metrics as sums over the valid rows. */
struct graph *distill_eval_graph(struct arena *, const struct distill *, struct diag *);
/* Inference by the step's weights: fields -> the student's outputs, by the recipe's names. */
struct graph *distill_infer_graph(struct arena *, const struct distill *, struct diag *);
/* A teacher's outputs by name, TEACHER.OUTPUT: fields -> f32. */
struct graph *distill_outputs_graph(struct arena *, const struct distill *, int teacher, struct diag *);
/* One cached teacher: fields -> $teacher.NAME.OUT for every output a term reads. */
struct graph *distill_teacher_graph(struct arena *, const struct distill *, int teacher, struct diag *);

#endif
