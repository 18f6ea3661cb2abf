/* distill_int -- what the files of distill share.
 *
 * distill.c puts fields, models, terms and updates together, distill_loss.c has
 * the formulas, distill_adapt.c brings features of different shapes together. */
#ifndef RETORT_DISTILL_INT_H
#define RETORT_DISTILL_INT_H

#include "passes/distill.h"

/* Operands of one term: f32, of the same rows. */
struct loss_in {
	struct build *b;
	const struct distill_term *term;
	struct value *student;
	const char *student_name;         /* for messages: student head "cls" */
	int nteachers;
	struct value **teachers;
	const char **teacher_names;
	struct value *target;             /* in its own type; NULL: the task has none */
	const struct distill_field *field;
	bool eval;                        /* parameters of adaptors still exist, nothing trains */
	int64_t seed;
};
/* The term is the mean of row over its elements, weighted: sum(row*weight)/sum(weight).
 * Axis 0 of both is the batch's; weight broadcasts to row, NULL: 1 each. */
struct loss { struct value *row, *weight; };
bool loss_build(const struct loss_in *, struct loss *);
extern const char *const loss_names[];
extern const int nloss_names;

/* i32 [rows, 1, d...] from an integer field for logits of `like`, reported where it
 * does not fit; *counted: f32 mask of labels that are not ignored, NULL: all count. */
struct value *labels_of(const struct loss_in *, struct value **counted);
/* bool, dims of logits: is this the label's class (axis 1)? */
struct value *one_hot(struct build *, struct value *logits, struct value *labels);
/* number of labels outside the classes that are not the ignored one; f32 rank 0 */
struct value *labels_outside(const struct loss_in *);

/* Student and teacher features to one shape: adaptor of the term, pooling.
 * False: reported. */
bool adapt(const struct loss_in *, struct value *teacher, struct value **s, struct value **t);

const char *dims_text(struct arena *, const struct value *); /* "[32,10]" */

#endif
