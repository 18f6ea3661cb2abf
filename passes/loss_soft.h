/* loss_soft -- logits of student and teachers as soft-label losses compare them
 * (distill_teacher.c).  Logits are [rows, C, d..], classes along axis 1. */
#ifndef RETORT_PASSES_LOSS_SOFT_H
#define RETORT_PASSES_LOSS_SOFT_H

#include "passes/loss.h"

/* A temperature: v, rank 0 or [rows, 1, d..]; NULL: the number. */
struct tau {
	double number;
	struct value *v;
};
struct tau tau_of(const struct loss_in *, const char *key);
struct tau tau_of_teacher(const struct loss_in *, struct tau of_student);
struct value *tau_divide(struct build *, struct value *z, struct tau);
/* v T_s T_t, where the term has tau_squared; v [rows, C, d..] or [rows, 1, d..] */
struct value *tau_scale(const struct loss_in *, struct value *v, struct tau s, struct tau t);

/* Classes of the student that a teacher has: how many, which. */
struct classes {
	int64_t n;
	struct value *has; /* bool [1, C, 1..]; NULL: all */
	bool merged; /* some are sums of the teacher's, their logits up to a constant of the row */
};
#define NO_CLASS (-1e30) /* the logit of another */
/* distill_classes.c.  Teacher k's logits over the student's classes; NULL: reported. */
struct value *class_mapped(const struct loss_in *, int k, struct classes *);
struct classes classes_of_all(const struct loss_in *); /* that some teacher has */
/* z where the class is one of them */
struct value *classes_only(
    struct build *, const struct classes *, struct value *z, double otherwise);

struct soft {
	struct tau ts, tt;	/* the student's, the teachers' */
	struct value *z;	/* the student's logits, standardised if asked for, over T_s */
	struct value *ls;	/* their log softmax */
	struct value *p, *logp; /* classes by the teachers, p = exp(logp) */
	struct value *t;	/* the teachers' logits before T_t, fused */
	bool merged;		/* some of them are sums of classes, up to a constant of the row */
	struct classes c;	/* that some teacher has */
	struct value *hot;	/* bool, dims of z; NULL: nothing needed labels */
	struct value *counted;	/* f32 [rows, 1, d..]: labels that are not ignored; NULL: all */
};
/* Has the student a class axis?  False: reported. */
bool has_classes(const struct loss_in *);
/* how: the loss reads labels, whatever the settings; it is about logits, of several teachers
 * their mean.  False: reported. */
enum { SOFT_LABELS = 1, SOFT_MEAN_LOGITS = 2 };
bool soft_logits(const struct loss_in *, unsigned how, struct soft *);
/* Labels as .hot and .counted, once. */
bool soft_labels(const struct loss_in *, struct soft *);
/* The weight of rows [rows, 1 or C, d..]: 1 where the label counts, with `masked: true`, else
 * NULL. */
struct value *soft_weight(const struct loss_in *, const struct soft *);
/* log(max(p, 1e-37)) */
struct value *soft_log(struct build *, struct value *p);
/* sum over classes, axis kept: [rows, 1, d..] */
struct value *sum_kept(struct build *, struct value *);

#endif
