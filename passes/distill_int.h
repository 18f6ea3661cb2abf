/* distill_int -- what the files of distill share.
 *
 * distill.c makes the graphs; distill_model.c feeds and clones the models,
 * distill_term.c collects a term's operands, loss_*.c have the formulas (loss.h),
 * distill_adapt.c brings features of different shapes together. */
#ifndef RETORT_DISTILL_INT_H
#define RETORT_DISTILL_INT_H

#include "passes/loss.h"

struct rows {
	int64_t first, end;
};

/* A model's copy in the graph being built. */
struct made {
	const struct distill_model *m;
	const struct graph *src;
	struct value **map; /* by value id of src; NULL: not cloned */
	struct rows *rows;  /* by value id of src */
	bool student, trained, failed, busy; /* trained: in this stage */
};
/* The loss of a term by its weight; task -1: none. */
struct weighed_term {
	const struct distill_term *term;
	int task;
	struct value *loss;
};
/* What a step knows of a task (distill_task.c). */
struct task_part {
	struct value *loss;	/* of its terms; NULL: it has none */
	struct value *weight;	/* rank 0; NULL: 1 */
	struct value *state;	/* what the weight follows from, and its gradient; NULL: nothing */
	struct value *gradient;
};
struct distiller {
	const struct distill *d;
	struct graph *g;
	struct diag *diag;
	struct arena *scratch;
	bool eval;
	struct made *made; /* the student, the other students, the teachers */
	int nmade;
	const struct distill_turn *turn; /* at hand; NULL: the step is one */
	int64_t repeat;			 /* of turn->times, from 0 */
	struct value **field;	     /* by field */
	struct value *valid;	     /* eval: f32 [batch], 1 for rows that count */
	struct value *outside;	     /* number of labels outside their classes */
	VEC(struct value *) checked; /* targets already in `outside` */
	VEC(struct weighed_term) terms;
	struct task_part *tasks; /* by task */
	struct value *rest;	 /* of the loss: what belongs to no task */
	struct value *taught;	 /* terms with teachers, weighted, where the optimiser tells them apart */
};

/* A value of a model and the rows it is about. */
struct part {
	struct value *v;
	const struct value *origin; /* in the model's own graph */
	struct rows rows;
	const char *name;
	bool live; /* depends on what may train */
};
/* The operands of a term, cut to the rows they all have. */
struct operands {
	struct loss_in in;
	struct part *students, *teachers;
	struct rows rows, target_rows;
	const struct distill_task *task;
};

/* distill_model.c */
struct build distill_build(struct distiller *, struct loc);
struct rows distill_field_rows(const struct distill *, const struct distill_field *);
int distill_field_find(struct distiller *, const char *name, struct loc); /* -1: reported */
struct value *distill_field_value(struct distiller *, int field);	  /* its graph input */
/* The graph input of that name, made when first asked for. */
struct value *distill_input(
    struct graph *, const char *name, enum dtype, int rank, const int64_t *dims);
/* distill_input.c: `channels` and `resize` of an input; NULL: reported. */
struct value *distill_picture(struct build *, const struct distill_input *, struct value *);
/* The number that random nodes draw by: another for each batch of a window. */
struct value *distill_draws(struct build *, int64_t accumulate, struct value *step);
bool distill_clone(struct distiller *, struct made *);
/* Does the teacher's output of the recipe's name come from the cache? */
bool distill_cached(const struct distill_model *, const char *name);
bool distill_updated(const struct graph *, const struct value *state);
/* MODEL of "MODEL.NAME"; NULL: no model is called that */
struct made *distill_made(struct distiller *, const char *name);
/* The same with another for each repeat of a turn. */
struct value *distill_step(struct distiller *, struct build *, struct value *step);
struct value *distill_detached(struct build *, struct value *);
/* The value in the model's own graph that `name` of the recipe stands for; NULL: reported. */
struct value *distill_named(struct distiller *, const struct made *, const char *name, struct loc);
/* Are the outputs of all its teachers there in evaluations? */
bool distill_evaluated(const struct distiller *, const struct distill_term *);
bool distill_check_names(struct distiller *, const struct made *);
bool distill_student_part(
    struct distiller *, const char *name, struct loc, struct part *); /* "student.cls" or "cls" */
bool distill_teacher_part(
    struct distiller *, const char *name, struct loc, struct part *); /* "big.y" */

/* distill_source.c: a model's input that is no field of the data; the rows it is about */
struct value *distill_source(struct distiller *, struct build *, const struct made *, const struct distill_input *, struct rows *);

/* distill_turn.c: which models a turn trains, and averages and earlier selves of them */
void distill_trains(struct distiller *, const struct distill_turn *, bool *trains);
bool distill_in_turn(const struct distiller *, const struct distill_term *);
bool distill_trains_state(struct distiller *, const bool *trains, const struct value *state);
bool distill_follow(struct distiller *, struct value *step);

/* distill_term.c */
struct value *distill_valid(
    struct distiller *); /* eval: f32 [batch], 1 for rows below $valid (of each set) */
/* eval: those rows of it */
struct value *distill_valid_rows(struct distiller *, struct build *, struct rows);
/* sum(row*weight) and sum(weight) over the rows that count */
void distill_sums(struct distiller *, struct build *, struct rows, const struct loss *,
    struct value **num, struct value **den);
/* The same of a term whose rows are mixtures: by the share s of each row, s times what its own
 * label gives and 1-s times what its partner's gives, numerators and weights alike. */
bool distill_mixed_sums(struct distiller *, struct build *, const struct operands *, struct loss *own,
    struct value **num, struct value **den);
void distill_output_sums(
    struct distiller *, const char *name, struct value *num, struct value *den);
bool distill_operands(
    struct distiller *, struct build *, const struct distill_term *, struct operands *);
bool distill_check_labels(struct distiller *, const struct operands *); /* each target once */

/* distill_task.c */
bool distill_add_term(struct distiller *, struct build *, const struct distill_term *,
    const struct distill_task *, struct value *loss);
struct value *distill_total(struct distiller *); /* the terms so far: the step's loss */
/* Of the total, the tasks' together as the recipe says; params become what stands for them. */
bool distill_gradients(
    struct distiller *, struct value *total, int n, struct value **params, struct value **grads);
/* Takes out of grads what comes from teachers' terms, for momenta of their own; NULL: reported. */
struct value **distill_from_teachers(
    struct distiller *, int n, struct value **params, struct value **grads);
/* Outputs grad_share.TERM: the norm of each term's gradient. */
bool distill_shares(struct distiller *, struct value *total, int n, struct value **params);
bool distill_task_updates(struct distiller *, const struct update_inputs *); /* after those of the parameters */

/* distill_metric.c: outputs metric.TASK.NAME.num and .den; evaluation: rows.TASK.* */
bool distill_metrics(struct distiller *, const struct distill_task *);

#endif
