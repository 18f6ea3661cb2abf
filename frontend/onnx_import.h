/* onnx_import.h -- the importer's own state, shared by onnx_read.c (walks the
 * file) and onnx_node.c (builds one node). */
#ifndef RETORT_ONNX_IMPORT_H
#define RETORT_ONNX_IMPORT_H

#include "frontend/onnx.h"

#include <string.h>

enum { ONNX_LIST_MAX = 1 << 16 }; /* elements of a sequence */

/* A tensor, or a sequence or optional of such.  Lists are known in full while a
 * file is imported and are no values of the graph: what is unknown is their length
 * (count) where a condition of the run decides it.  An item never changes. */
enum item_kind { ITEM_TENSOR, ITEM_SEQ, ITEM_OPT };
struct item {
	enum item_kind kind;
	struct value *v;       /* of a tensor */
	VEC(struct item *) of; /* elements, of an optional at most one */
	struct value *count;   /* i64: how many of them there are in a run; NULL: all */
	enum dtype dtype;      /* of the elements, where it was said */
	int depth;	       /* lists in lists; a tensor 0 */
};

/* What a name stands for in one scope. */
struct bind {
	const char *name;
	struct bind *same;     /* another name of that one */
	struct value *v;       /* NULL: not made yet, or left out */
	struct item *item;     /* a sequence or optional; v is NULL */
	struct value *setting; /* an initializer read as a setting: its constant */
	const Onnx__TensorProto *init;
	const Onnx__SparseTensorProto *sparse;
	bool inner;  /* an initializer of a body */
	bool bad;    /* its node failed: what depends on it fails silently */
	bool absent; /* an optional input of a function that the caller left out */
};
struct scope {
	struct scope *outer; /* of a branch: where captured names are; NULL in functions */
	struct map *names;   /* name -> bind */
	const char *prefix;  /* before the names of values; "" at the top */
	const Onnx__FunctionProto *fn;
	struct map *attrs; /* of a function: name -> AttributeProto given by the caller */
	const char *where; /* of a body: "in the body of ...", for messages; NULL elsewhere */
	int depth;
};
struct import {
	struct onnx_file f;
	const struct import_opts *opts;
	struct graph *g;
	struct diag *d;
	struct build b; /* without fold where a Gradient may ask what hangs on a constant */
	struct map *functions; /* "domain::name" -> FunctionProto */
	bool disordered;        /* the nodes of the model have no order */
	struct map *unknown;   /* operators reported already */
	bool broken;	    /* a mistake that other sizes do not mend: an unknown name, a cycle */
	struct map *inner;  /* initializers of bodies: message -> bind, made once for all turns */
	int inlined, draws; /* nodes made by inlining; nodes that draw random numbers */
};

/* One node on its way in. */
struct job {
	struct import *im;
	struct scope *s;
	const Onnx__NodeProto *np;
	struct loc loc;
	const char *op;
};

/* ---- onnx_read.c */
struct bind *import_lookup(struct scope *, const char *name);
/* The value of a bind for input i of operator op; NULL where left out, or reported or bad. */
struct value *import_value(struct import *, struct bind *, const char *op, int i);
void import_bind(struct import *, struct scope *, const char *name, struct value *);
void import_bind_item(struct import *, struct scope *, const char *name, struct item *);
/* What a bind stands for; NULL: left out, reported or bad. */
struct item *import_item(struct import *, struct bind *, const char *op, int i);
bool import_nodes(struct import *, struct scope *, size_t n, Onnx__NodeProto **);
bool import_initializers(struct import *, struct scope *, const Onnx__GraphProto *);
const Onnx__FunctionProto *import_function(struct import *, const Onnx__NodeProto *);
/* An operator that needs no row of its own. */
bool import_is_special(const char *domain, const char *op);

/* ---- onnx_check.c: the file's structure by the specification, all of it; false: reported */
bool onnx_check(struct import *);

/* ---- onnx_inputs.c */
bool import_inputs(struct import *, struct scope *);

/* ---- onnx_node.c */
bool import_node(struct import *, struct scope *, const Onnx__NodeProto *, int index);
/* Input i; NULL where it is left out.  False when it failed, now or (silently) where
 * it was made. */
bool job_operand(struct job *, size_t i, struct value **);
bool job_item(struct job *, size_t i, struct item **);
bool job_has(const struct job *, size_t i);			      /* input i is given */
const Onnx__AttributeProto *job_attr(struct job *, const char *name); /* NULL: left out */
int64_t job_attr_int(struct job *, const char *name, int64_t otherwise);
/* Takes part in the bounds of inlining. */
bool job_enter(struct job *, size_t nodes);
void job_bind(struct job *, size_t output, struct item *); /* output i, where it is wanted */
const char *job_prefix(struct job *);			   /* for the names in a body: "loop/" */

/* ---- onnx_sequence.c: items, and the operators on sequences and optionals */
struct item *item_tensor(struct import *, struct value *);
struct item *item_list(struct import *, enum item_kind);	   /* empty */
void item_push(struct import *, struct item *list, struct item *); /* while it is being made */
const char *item_kind_name(const struct item *);
bool item_is_tensor(struct job *, const struct item *, const char *what); /* else reported */
/* cond ? a : b, a bool scalar of the run; what: for messages.  NULL: reported. */
struct item *item_select(
    struct job *, struct value *cond, struct item *a, struct item *b, const char *what);
/* axis of a tensor, negative from its end; -1: reported */
int import_axis(struct job *, int64_t axis, int rank);
struct value *import_part(struct job *, struct value *, int axis, int64_t from, int64_t count);
struct value *import_squeeze(struct job *, struct value *, int axis); /* an axis of size 1 */
bool import_sequence_construct(struct job *);
bool import_sequence_empty(struct job *);
bool import_sequence_insert(struct job *);
bool import_sequence_erase(struct job *);
bool import_sequence_at(struct job *);
bool import_sequence_length(struct job *);
bool import_split_to_sequence(struct job *);
bool import_concat_from_sequence(struct job *);
bool import_optional(struct job *);
bool import_optional_get(struct job *);
bool import_optional_has(struct job *);

/* ---- onnx_control.c: bodies, inlined */
struct value *import_i64(struct job *, int64_t); /* a constant */
struct value *import_bool(struct job *, bool);
bool import_known(const struct value *, bool what); /* a bool scalar that is this constant */
struct value *import_both(struct job *, struct value *, struct value *); /* a && b */
/* v as a scalar of this type; NULL: reported. */
struct value *import_scalar(struct job *, struct value *, enum dtype, const char *what);
/* cond ? a : b for tensors.  NULL: reported. */
struct value *import_select(
    struct job *, struct value *cond, struct value *a, struct value *b, const char *what);
/* The last v[i] whose cond[i] holds, v[0] where none does (cond[0] is not read).
 * Where sizes differ, of the size that the run chooses. */
struct value *import_pick(
    struct job *, int n, struct value *const *v, struct value *const *cond, const char *what);
/* The first `size` (i64, 0 to the extent) of x along axis.  NULL: reported. */
struct value *import_first(struct job *, struct value *x, int axis, struct value *size);
struct value *import_prefix(
    struct job *, struct value *x, int axis, int64_t count); /* count: a dim */
struct body {
	const Onnx__GraphProto *g;
	const char *what; /* "else_branch" */
};
bool import_body(struct job *, const char *attr, struct body *);
/* Whether the node wants no more outputs than the body makes. */
bool import_outputs_fit(struct job *, const struct body *);
/* One copy of the body: in[i] its inputs (NULL: none), out[i] its outputs, room for all. */
bool import_inline(struct job *, const struct body *, const char *prefix, struct item *const *in,
    struct item **out);
/* The same, but what is reported where it fails goes to held, which the caller frees. */
bool import_try(struct job *, const struct body *, const char *prefix, struct item *const *in,
    struct item **out, struct diag *held);
const char *import_turn(struct job *, int64_t turn); /* prefix of names in that turn: "loop/3/" */
bool import_if(struct job *);
bool import_sequence_map(struct job *);

/* ---- onnx_preview.c */
bool import_flex_attention(struct job *);
bool import_gradient(struct job *);

/* ---- onnx_loop.c */
bool import_loop(struct job *);
bool import_scan(struct job *);

#endif
