/* task -- how the tasks of a stage are balanced, as the recipe says it and
 * passes/distill_task.c and runtime/task.c do it. */
#ifndef RETORT_TASK_H
#define RETORT_TASK_H

#include "base/base.h"

enum task_weights {
#define TASK_WEIGHTS(id, by) TASKS_##id,
#include "ir/task.def"
	NTASK_WEIGHTS
};
enum task_gradients {
#define TASK_GRADIENTS(id) GRADIENTS_##id,
#include "ir/task.def"
	NTASK_GRADIENTS
};
/* What MGDA divides a task's gradient by while it looks for the parts. */
enum task_normalize { NORMALIZE_none, NORMALIZE_norm, NORMALIZE_loss };
enum task_by { TASK_BY_NUMBER, TASK_BY_EPOCH, TASK_BY_STEP };

/* A way reads those of its rows in task.def. */
struct task_balance {
	enum task_weights weights;
	enum task_gradients gradients;
	enum task_normalize normalize;
	double T, gamma, alpha, lr, clamp; /* lr 0: the optimiser's */
	const char *layer;		   /* gradnorm: last, all or a pattern of parameters */
	struct loc loc;
};

#endif
