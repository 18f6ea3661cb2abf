/* cases.h -- one or more small examples of every row of ir/ops.def, for the tests
 * that walk the table: gradients against finite differences, compiled code against
 * the evaluator.  cases.def is the list; a row without a case fails by name. */
#ifndef RETORT_TEST_CASES_H
#define RETORT_TEST_CASES_H

#include "ir/ir.h"

enum case_flag {
	CASE_NOGRAD = 1, /* differentiable, but not at these operands or not by this route */
	CASE_NORUN = 2,  /* not to be compiled: the row exists for the passes only */
	CASE_SWEEP = 8,  /* of sweeps.def */
	CASE_KINK = 4    /* at a kink: differences do not apply, kinks.def has the choice */
};
struct op_case {
	enum op op;
	int nout;
	const char *operands, *attrs;
	unsigned flags;
	double tol; /* of the gradient, relative to its largest element; 0: the usual */
};
/* All of them, those with alternatives (axis=0|1) as one case for each choice. */
const struct op_case *op_cases(int *n);

const char *case_gradients(const struct op_case *); /* of a CASE_KINK: "1,0;0.5" */
/* The same operands with another element type where they have f32; NULL: none has. */
const struct op_case *case_retyped(struct arena *, const struct op_case *, const char *dtype);
/* The graph: an input for every operand that is not given as a constant, the node,
 * its outputs.  feed[] (at least CASE_INPUTS long) gets a content for every input,
 * of values that the operand's type holds exactly.  NULL: reported. */
enum { CASE_INPUTS = 16 };
struct graph *case_build(struct arena *, const struct op_case *, struct diag *, struct etensor **feed);
/* "Softmax f32[2,3] axis=1": what a failure prints */
const char *case_text(struct arena *, const struct op_case *);

#endif
