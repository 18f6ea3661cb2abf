/* optimizer -- how parameters are updated, as the recipe says it and passes/update.c
 * builds it. */
#ifndef RETORT_OPTIMIZER_H
#define RETORT_OPTIMIZER_H

#include "ir/ir.h"

enum optimizer_kind {
#define OPTIMIZER(ID, id) OPT_##ID,
#include "ir/optimizer.def"
	NOPTIMIZER
};

/* A kind reads those of its rows in optimizer.def; flags are 0 or 1. */
struct optimizer {
	enum optimizer_kind kind;
	double lr, momentum, dampening, nesterov, weight_decay, dot_delta;
	double beta1, beta2, eps, amsgrad, momentum_decay;
	double alpha, centered, lr_decay, initial_accumulator_value, rho;
};

/* Parameters with settings of their own; a parameter belongs to the first group that
 * matches it: one of the patterns, and at most max_rank dims (-1: any). */
struct param_group {
	int nmatch;
	const char *const *match; /* globs on names; none: any */
	int max_rank;
	bool frozen;
	struct optimizer optimizer; /* the rule's with the group's changes, complete */
	struct loc loc;
};

/* All that happens between the gradients of a step and its parameters:
 * accumulate, clip, the optimiser's rule by group, average. */
struct update_rule {
	struct optimizer optimizer;
	int ngroups;
	struct param_group *groups;
	int64_t accumulate;	      /* mean of so many steps' gradients per update; 0, 1: each */
	double clip_value, clip_norm; /* 0: not */
	bool cycle_momentum;	      /* the schedule sets momentum or beta1, of every group */
	double ema_decay;	      /* 0: no averaged weights */
	bool ema_warmup;	      /* decay is min(ema_decay, (1+t)/(10+t)) */
};

#endif
