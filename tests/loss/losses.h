/* losses.h -- the terms' formulas, proved on graphs of their own.
 *
 * A case is one row of a family's table and the name of a reference: the loss once more, as
 * plain loops in double that know nothing of the graph.  losses.c builds the row's term on
 * graph inputs and holds against each other
 *
 *   the graph's text and golden/NAME.txt (losses --bless writes it),
 *   its value and the reference,
 *   gradients of the students and of all that trains in the term, and central differences,
 *   the evaluation form with some rows masked, and the reference of the others alone,
 *   what the term's memories become, and `next`. */
#ifndef RETORT_TEST_LOSSES_H
#define RETORT_TEST_LOSSES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

enum { AXES = 6, MOST = 4 };

struct shape { int rank; int64_t dims[AXES]; };
#define SHAPE(...)                                                                                 \
	{                                                                                          \
		(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), { __VA_ARGS__ }          \
	}

/* What a reference sees.  Tensors are dense; only the rows that count are there. */
struct dense { int rank; int64_t dims[AXES], n; double *v; };
struct given {
	const struct loss_case *c;
	int ns, nt, rows;
	struct dense s[MOST], t[MOST], target, mask;
	int nstates;
	struct { const char *name; struct dense d; } *states; /* as they were before the step */
	bool training;
	int64_t seed, step, *index; /* of each row in the training set */
};
/* A number of the row's settings, and whether one is that word; `otherwise` where it is not there. */
double number(const struct given *, const char *key, double otherwise);
bool is_word(const struct given *, const char *key, const char *is);
/* "1 0 2" of them into v, at most `most`; how many there are.  Of "1 0 | 2 1" that part, or the
 * last one. */
int numbers(const struct given *, const char *key, int part, double *v, int most);
/* State adaptor.t.NAME of the term; is there one? */
const struct dense *trained(const struct given *, const char *name);
bool has_state(const struct given *, const char *name);
/* (-1, 1), the same for the same name and place: what inputs are fed. */
double noise(const char *name, int64_t i);
/* x [rows, ...] times weight [out, in] plus bias, by those states of the name given. */
struct dense linear(const struct given *, const struct dense *x, const char *name);
struct dense room(int rank, const int64_t *dims); /* zeroed; dies with the case */

struct loss_case {
	const char *name, *loss, *settings; /* as a recipe writes a term's keys: "p: 2, mode: paper" */
	double (*want)(const struct given *);
	struct shape student[MOST], teacher[MOST], target, mask;
	int64_t classes; /* the target's are labels 0..classes-1 (ignore: the last); 0: numbers in 0..1 */
	bool ignore;
	double scale;	 /* students and teachers are noise in +-scale; 0: 1 */
	int64_t samples; /* of the training set */
	/* the state after the step into d, which holds what it was; false: it is none of the known */
	bool (*next)(const struct given *, const char *state, struct dense *d);
	double (*start)(const char *state, int64_t i); /* what a state that begins as 0 is before the step */
	const char *shown; /* the golden graph's settings, where the row's make a long one */
	bool batch_only; /* is about the batch's statistics: no evaluation form to compare */
	bool normed;	 /* teacher k comes from a batch normalisation: scale noise "scale", shift "shift" */
};
/* What a term that cannot be is told. */
struct loss_refusal {
	const char *loss, *settings, *says;
	struct shape student[MOST], teacher[MOST], target;
	int64_t classes;
};
/* A family's table, ended by a row without a name. */
extern const struct loss_case soft_cases[], correlation_cases[], relation_cases[], gram_cases[], memory_cases[], feature_cases[],
    transfer_cases[], transformer_cases[], adversarial_cases[];
extern const struct loss_refusal soft_refusals[], correlation_refusals[], relation_refusals[], gram_refusals[], memory_refusals[], feature_refusals[],
    transfer_refusals[], transformer_refusals[], adversarial_refusals[];

#endif
