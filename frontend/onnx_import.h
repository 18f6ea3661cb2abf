/* onnx_import.h -- the importer's own state, shared by onnx_read.c (walks the
 * file) and onnx_node.c (builds one node). */
#ifndef RETORT_ONNX_IMPORT_H
#define RETORT_ONNX_IMPORT_H

#include "frontend/onnx.h"

#include <string.h>

/* What a name stands for in one scope. */
struct bind {
	const char *name;
	struct bind *same;     /* another name of that one */
	struct value *v;       /* NULL: not made yet, or left out */
	struct value *setting; /* an initializer read as a setting: its constant */
	const Onnx__TensorProto *init;
	const Onnx__SparseTensorProto *sparse;
	bool bad;    /* its node failed: what depends on it fails silently */
	bool absent; /* an optional input of a function that the caller left out */
};
struct scope {
	struct scope *outer; /* of a branch: where captured names are; NULL in functions */
	struct map *names;   /* name -> bind */
	const char *prefix;  /* before the names of values; "" at the top */
	const Onnx__FunctionProto *fn;
	struct map *attrs; /* of a function: name -> AttributeProto given by the caller */
	int depth;
};
struct import {
	struct onnx_file f;
	const struct import_opts *opts;
	struct graph *g;
	struct diag *d;
	struct build b;
	struct map *functions; /* "domain::name" -> FunctionProto */
	struct map *unknown;   /* operators reported already */
	int inlined, draws; /* nodes made by inlining; nodes that draw random numbers */
};

/* ---- onnx_read.c */
struct bind *import_lookup(struct scope *, const char *name);
/* The value of a bind for input i of operator op; NULL where left out, or reported or bad. */
struct value *import_value(struct import *, struct bind *, const char *op, int i);
void import_bind(struct import *, struct scope *, const char *name, struct value *);
bool import_nodes(struct import *, struct scope *, size_t n, Onnx__NodeProto **);
bool import_initializers(struct import *, struct scope *, const Onnx__GraphProto *);
const Onnx__FunctionProto *import_function(struct import *, const Onnx__NodeProto *);
/* An operator that needs no row of its own. */
bool import_is_special(const char *op);

/* ---- onnx_inputs.c */
bool import_inputs(struct import *, struct scope *);

/* ---- onnx_node.c */
bool import_node(struct import *, struct scope *, const Onnx__NodeProto *, int index);

#endif
