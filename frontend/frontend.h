/* frontend -- files to graphs and back.  protobuf-c and YAML are known here only;
 * the messages die before import returns. */
#ifndef RETORT_FRONTEND_H
#define RETORT_FRONTEND_H

#include "ir/ir.h"

struct dim_bind { const char *name; int64_t lo, hi; }; /* --dim N=16, N=1..64 */
struct import_opts {
	int ndims;
	const struct dim_bind *dims;
	/* --dim x:0=16 and shapes of the tensors at hand: inputs by name.  -1, and axes
	 * from rank on: as the file says (so rank may be less than the input's) */
	int nshapes;
	const struct input_shape { const char *input; int rank; int64_t dims[MAX_RANK]; } *shapes;
	bool own_batches;        /* given sizes of axis 0 may differ though the file gives them one symbol */
	/* Inputs whose values are at hand (a run, a test case): constants, so that they may
	 * decide shapes.  They are no inputs of the graph. */
	int nvalues;
	const struct input_value { const char *input; const struct tensor *value; } *values;
	/* Fixed sizes made symbolic (verify --as=symbolic): every size above 1 of inputs that
	 * SIZES_ALL, SIZES_FIRST (that the first input has) or SIZES_OUTER (that the first
	 * input has on its outermost axis above 1) selects is the symbol "s<size>", bounded by
	 * 1 and twice the size; equal sizes share one, so that what must be equal is. */
	enum { SIZES_FIXED, SIZES_ALL, SIZES_FIRST, SIZES_OUTER } symbolic;
	/* Inputs of sequence or optional type: how many elements they have (an optional: 1,
	 * or -1 for none).  The elements are inputs x.0, x.1 ..., an optional's content x itself.
	 * Where nothing is said, what shapes and values name is what there is. */
	int nlists;
	const struct input_list { const char *input; int count; } *lists;
	int64_t max_trips;       /* turns that a loop is unrolled to where a run decides; 0: what is known, else 64 */
	int64_t default_dim;     /* value of a symbol nothing binds; 0: keep it symbolic, unbounded */
	bool states;             /* float initializers that nodes read become VAL_STATE (a student), else constants */
	bool training;           /* BatchNormalization and Dropout in training form whatever the file says; else inference form */
	bool as_file;            /* without training: those two in the form that the file gives them (verify) */
	/* grad_build, for models that ask for gradients (ai.onnx.preview.training); NULL: refused */
	bool (*gradient)(struct graph *, struct value *loss, int n, struct value *const *wrt, struct value **dwrt,
	                 struct diag *);
	bool keep_going;         /* check: import what is known, report all problems */
	const char *model_name;  /* for locations; NULL: the file's base name */
};
/* .onnx binary or .onnxtxt text by content; NULL: reported.  Node locations name
 * the file and node.  Every named ONNX tensor is findable by graph_find. */
struct graph *onnx_import(struct arena *, const char *path, const struct import_opts *, struct diag *);
struct value *graph_find(struct graph *, const char *onnx_name); /* by name; NULL */

/* Text syntax (onnx/defs/parser) to binary and back. */
bool onnx_text_to_binary(const char *in, const char *out, struct diag *);

/* The student's file in inference form with its parameters as raw_data at known
 * offsets: BatchNormalization with one output and training_mode 0, Dropout
 * dropped, `outputs` kept (NULL: all).  names[i] of the initializers that are
 * parameters or running statistics -> patch[i]. */
struct onnx_patch { const char *name; int64_t offset, bytes; };
bool onnx_export_template(const char *path, struct arena *, void **bytes, size_t *size,
                          int *npatch, struct onnx_patch **patch, struct diag *);
/* The same without some of its outputs, and what only they need. */
bool onnx_export_without(const char *path, int n, const char *const *outputs, struct arena *, void **bytes, size_t *size,
                         int *npatch, struct onnx_patch **patch, struct diag *);
/* What inspect prints of a file without compiling it. */
enum onnx_kind { ONNX_TENSOR, ONNX_SEQUENCE, ONNX_OPTIONAL };
struct onnx_summary { int64_t ir_version, opset; const char *producer; int nodes, initializers;
                      int ninputs; const char **inputs; /* in order, without those that are initializers */
                      const enum onnx_kind *input_kind;
                      int noutputs; const char **outputs; const enum onnx_kind *output_kind; };
bool onnx_summarize(const char *path, struct arena *, struct onnx_summary *, struct diag *);
/* The operators of its nodes, "Add" or "ai.onnx.ml::Scaler", each once; of branches and
 * local functions too, without these functions' own names. */
bool onnx_operators(const char *path, struct arena *, int *n, const char *const **names, struct diag *);
/* The opsets with which an operator ("Add", "ai.onnx.ml::Scaler") changed, ascending;
 * how many, 0 if ONNX has none of that name.  onnx_known(i): the i-th of all names. */
int onnx_versions(const char *op, const int **v);
const char *onnx_known(int i);
bool onnx_imports(const char *op); /* has a row, or becomes rows on import */
/* TensorProto files of the ONNX test layout (input_0.pb); NULL: reported */
struct tensor *onnx_tensor_read(struct arena *, const char *path, const char **name, struct diag *);
/* A file of that layout of any kind as the tensors it is flattened to, appended:
 * "x" is x, "x.0" an element.  lists has every sequence and optional met. */
struct onnx_values {
	VEC(struct tensor *) t;
	VEC(const char *) name; /* parallel to t */
	VEC(struct input_list) lists;
};
bool onnx_value_read(struct arena *, const char *path, enum onnx_kind, const char *name, struct onnx_values *, struct diag *);

/* npy.c: NumPy arrays */
struct tensor *npy_read(struct arena *, const char *path, struct diag *);
bool npy_write(const char *path, const struct tensor *, struct diag *);
void npy_begin(FILE *, enum dtype, int rank, const int64_t *dims); /* the head; the elements follow, row by row */

#endif
