/* loss -- what a loss is built from and what it gives.  A loss is a row of ir/loss.def
 * and `bool loss_ID(const struct loss_in *, struct loss *)` in a passes/loss_*.c; the
 * helpers here are loss.c's.
 *
 * Tensors are f32; axis 0 of all is the term's rows of the batch, in the same order.
 * Teachers are constants of the step: nothing differentiates them. */
#ifndef RETORT_PASSES_LOSS_H
#define RETORT_PASSES_LOSS_H

#include "ir/loss.h"
#include "passes/distill.h"

struct loss_in {
	struct build *b;
	const struct distill_term *term;
	struct value *student;	  /* students[0] */
	const char *student_name; /* for messages: student output "cls" */
	int nstudents;
	struct value **students;
	const char **student_names;
	int nteachers;
	struct value **teachers;
	const char **teacher_names;
	const struct value **teacher_origins; /* the same in the teachers' own graphs */
	struct value *mask;		   /* f32 [rows,T]: 1 for tokens that count; NULL: all do */
	struct value *target;		   /* in its own type; NULL: the task has none */
	const struct distill_field *field; /* of the target */
	struct value *valid;		   /* f32 [rows]: 1 where a row counts; NULL: all do */
	bool eval;			   /* parameters of adaptors still exist, nothing trains */
	bool untrained;			   /* what is made now is another term's to train */
	int64_t seed;
	int64_t batch, first_row; /* of the step; which of its rows the first one is */
	int64_t first_sample, samples; /* for training, of the sets that the rows are of; 0: not known */
	int64_t accumulate;	  /* batches of an update; 0 and 1: one */
};

/* Either row, whose mean over its elements is the term, weighted: sum(row*weight) /
 * sum(weight), where axis 0 of both is the rows and weight broadcasts (NULL: 1 each);
 * rows that do not count are left out by the caller.  Or total, rank 0, a mean that the
 * loss takes itself, of the rows that count (loss_mean). */
struct loss {
	struct value *row, *weight, *total;
	bool labels; /* it depends on the task's labels, although there are teachers */
};
bool loss_build(const struct loss_in *, struct loss *);
#define LOSS(id, ...) bool loss_##id(const struct loss_in *, struct loss *);
#include "ir/loss.def"

/* ---- settings, by their key in loss.def */
double loss_number(const struct loss_in *, const char *key); /* FIXED, COUNT */
bool loss_flag(const struct loss_in *, const char *key);
int loss_choice(const struct loss_in *, const char *key);
/* REAL, "weight" or "temperature": rank 0 f32, a constant or the input $dial.TERM.KEY */
struct value *loss_dial(const struct loss_in *, const char *key);
bool loss_is_fixed(const struct loss_in *, const char *key, double *v); /* it does not change */

/* ---- means */
/* Mean over all elements of the rows that count; rank 0. */
struct value *loss_mean(const struct loss_in *, struct value *row);
/* How many rows count, f32 rank 0. */
struct value *loss_rows(const struct loss_in *);

/* ---- operands */
/* Layer i of the student with layer i of the teacher; of one student tensor and several
 * teachers the teachers' mean.  False: reported. */
struct loss_pair {
	struct value *s, *t;
	const char *s_name, *t_name;
};
bool loss_pairs(const struct loss_in *, int *n, struct loss_pair **);
/* The teachers' mean, by teacher_weights where given, of equal shapes.  NULL: reported. */
struct value *loss_mean_teacher(const struct loss_in *);
/* Teachers' tensors are as the student's?  False: reported. */
bool loss_same_shapes(const struct loss_in *);
/* The target as f32 in the shape of the student.  NULL: reported. */
struct value *loss_float_target(const struct loss_in *);
/* Which of these samples each row is, from 0, i64 [rows]. */
struct value *loss_index(const struct loss_in *);

/* i32 [rows, 1, d...] from an integer field for logits of `like`, reported where it
 * does not fit; *counted: f32 mask of labels that are not ignored, NULL: all count. */
struct value *labels_of(const struct loss_in *, struct value **counted);
/* bool, dims of logits: is this the label's class (axis 1)? */
struct value *one_hot(struct build *, struct value *logits, struct value *labels);
/* number of labels outside the classes that are not the ignored one; f32 rank 0 */
struct value *labels_outside(const struct loss_in *);

/* ---- numbers drawn anew for each batch, others for each `what` of the term;
 * in evaluation always the same */
struct value *loss_uniform(const struct loss_in *, const char *what, int rank, const int64_t *dims); /* [0,1) */
struct value *loss_normal(const struct loss_in *, const char *what, int rank, const int64_t *dims);

/* ---- what a term has of its own: states adaptor.TERM.WHAT, no part of the export; with
 * `modules: NAME` adaptor.NAME.WHAT.  Terms that name the same have the same. */
/* Trained with the student; drawn uniformly from +-bound by seed and name. */
struct value *loss_parameter(
    const struct loss_in *, const char *what, int rank, const int64_t *dims, double bound);
struct value *loss_trained(const struct loss_in *, const char *what, struct tensor *initial);
/* Not trained; what it becomes after the step (training only). */
struct value *loss_state(const struct loss_in *, const char *what, struct tensor *initial);
void loss_update(const struct loss_in *, struct value *state, struct value *next);

/* ---- relations (loss_relation.c; loss_gram.c) */
/* [rows, C, P]: channels and positions of a map [rows, C, d..] or of tokens [rows, P, C].
 * NULL: reported. */
struct value *loss_channels(const struct loss_in *, struct value *);
/* Sum of f over the layers, or of one student tensor its mean over the teachers. */
bool loss_each_pair(const struct loss_in *, struct loss *,
    struct value *(*f)(const struct loss_in *, int layer, struct value *s, struct value *t));
/* [rows, D]: by the setting `pool` tokens [rows, T, C] and maps [rows, C, d..] averaged over
 * their positions, or all of a row. */
struct value *loss_pooled(const struct loss_in *, struct value *);
/* [n, D]: rows divided by max(length, least) */
struct value *b_unit_rows(struct build *, struct value *, double least);
/* x [rows, D] times a trained matrix, of the width `dim` says, plus a trained bias: parameters
 * SIDE.weight, SIDE.bias, of further layers SIDE1.weight... */
struct value *loss_embedding(const struct loss_in *, const char *side, int layer, struct value *x);

/* Student and teacher features to one shape by the term's adaptor, whose states begin with
 * `what`; all pairs; the first student's and a teacher's.  False: reported. */
bool adapt_pair(const struct loss_in *, const char *what, struct loss_pair *);
bool adapt_pairs(const struct loss_in *, int *n, struct loss_pair **);
bool adapt(const struct loss_in *, struct value *teacher, struct value **s, struct value **t);

/* ---- small formulas */
struct value *b_square(struct build *, struct value *);
struct value *b_sum_classes(struct build *, struct value *); /* over axis 1 */
struct value *b_rows_flat(struct build *, struct value *);   /* [rows, everything else] */
const char *dims_text(struct arena *, const struct value *); /* "[32,10]" */

enum { CLASS_AXIS = 1 };

#endif
