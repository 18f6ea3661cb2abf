/* verify -- what the files of retort verify share. */
#ifndef RETORT_VERIFY_H
#define RETORT_VERIFY_H

#include "driver/driver.h"

/* How a case's model is imported.  The same outputs are expected of all. */
enum form {
	FORM_STATIC,    /* with the sizes of its inputs */
	FORM_SYMBOLIC,  /* for a range of sizes around those of its inputs */
	FORM_CONSTANTS, /* with its inputs as constants */
	NFORM
};
extern const char *const form_name[NFORM];

/* What a child finds out.  The parent made it in memory that both see, so what is
 * there stays when the child crashes. */
enum { RESULT_OPS = 1024, RESULT_NAMES = 256 };
struct case_result {
	bool finished;             /* status and same count; false: it crashed or was stopped */
	bool same;                 /* every output within the tolerance */
	enum status status;
	double max_ulp;            /* of float outputs that were compared */
	char ops[RESULT_OPS];      /* operators of the model: " Add ai.onnx.ml::Scaler " */
	char bound[RESULT_NAMES];  /* inputs whose values were taken as constants, "" none */
	char types[RESULT_NAMES];  /* element types of inputs and outputs: " f32 i64 " */
};

/* ---- verify_case.c: one case in one form; false after reporting */
bool verify_folder(struct driver *, const char *dir, enum form, struct case_result *); /* ONNX's layout */
bool verify_model(struct driver *, enum form, struct case_result *); /* M.onnx with its inputs and --ref */

/* ---- verify_table.c: counts by operator, as a table or tab-separated (-o FILE) */
enum outcome { PASSED, FAILED, UNSUPPORTED, NOUTCOME };
struct op_counts {
	const char *op;
	int count[NFORM][NOUTCOME];
	double max_ulp;   /* -1: nothing was measured of it alone */
	const char *types; /* as case_result, of cases of it alone that passed */
};
struct op_table { struct arena *a; struct map *by_op; VEC(struct op_counts *) rows; };
void op_table_add(struct op_table *, const struct case_result *, enum form, enum outcome);
bool op_table_print(struct driver *, struct op_table *);

#endif
