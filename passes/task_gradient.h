/* task_gradient -- one direction out of the gradients of several tasks. */
#ifndef RETORT_TASK_GRADIENT_H
#define RETORT_TASK_GRADIENT_H

#include "ir/ir.h"
#include "ir/task.h"

enum { MAX_MIXED = 32 };
struct mixing {
	enum task_gradients how;
	enum task_normalize normalize;
	struct value *const *loss; /* of each task, for normalize loss */
};
/* grads[task][param], NULL where the task does not reach it; out[param] likewise.  c: f64,
 * each task's factor on the shared parameters; against: f64, the part of the pairs of
 * tasks whose gradients point against each other.  False: reported. */
bool task_gradient(struct build *, const struct mixing *, int ntasks, struct value ***grads,
    int nparams, struct value **c, struct value **against, struct value **out);

#endif
