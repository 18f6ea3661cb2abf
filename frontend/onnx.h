/* onnx.h -- what the ONNX files share.  Not for other rooms: frontend.h is.
 *
 * A file, binary or text, becomes one Onnx__ModelProto.  Messages live in the
 * file's own arena and die with onnx_close; blocks of ONNX_BIG bytes and more
 * (weights) come from the caller's arena instead, so that a tensor can keep them
 * without a copy. */
#ifndef RETORT_ONNX_H
#define RETORT_ONNX_H

#include "frontend/frontend.h"
#include "onnx.pb-c.h"

enum {
	ONNX_BIG = 16 << 10,
	ONNX_DEPTH = 100,	  /* nesting of messages, of graphs in attributes, of functions */
	ONNX_INLINE_MAX = 1 << 20 /* nodes that inlining may make */
};

struct onnx_file {
	const char *path, *name, *dir; /* as given; for messages; where external data lies */
	Onnx__ModelProto *m;
	struct arena *keep, *own;
	bool text; /* nodes are struct onnx_text_node */
};
struct onnx_text_node {
	Onnx__NodeProto node;
	int line;
};

/* ---- onnx_file.c */
/* name: for messages, NULL: the path's base.  False: reported. */
bool onnx_open(
    struct onnx_file *, struct arena *keep, const char *path, const char *name, struct diag *);
/* bytes of a file already read */
bool onnx_open_bytes(struct onnx_file *, struct arena *keep, const char *path, const char *name,
    const void *, size_t, struct diag *);
void onnx_close(struct onnx_file *);
struct loc onnx_node_loc(const struct onnx_file *, const Onnx__NodeProto *, int index);
/* Serialised, in arena memory. */
void *onnx_pack(struct arena *, const ProtobufCMessage *, size_t *size);
/* protobuf varint at p; NULL past end */
const uint8_t *onnx_varint(const uint8_t *p, const uint8_t *end, uint64_t *v);
static inline const char *
onnx_str(const char *s) /* absent strings are empty */
{
	return s ? s : "";
}
/* "" and "ai.onnx" are one domain */
const char *onnx_domain(const char *);
/* The file's opset for a domain: function's own list first; 0 if it imports none. */
int64_t onnx_opset(const Onnx__ModelProto *, const Onnx__FunctionProto *, const char *domain);

/* ---- onnx_weights.c */
/* dtype, dims and count of t; false: reported */
bool onnx_tensor_shape(
    const Onnx__TensorProto *, struct loc, struct diag *, enum dtype *, int *rank, int64_t *dims);
/* The data in arena f->keep; loc names the tensor.  NULL: reported. */
struct tensor *onnx_tensor(
    const struct onnx_file *, const Onnx__TensorProto *, struct loc, struct diag *);
struct tensor *onnx_sparse_tensor(
    const struct onnx_file *, const Onnx__SparseTensorProto *, struct loc, struct diag *);

/* ---- onnx_params.c: which initializers are parameters, for import and export alike */
/* Gives every parameter an initializer of its own: an Identity of a float
 * initializer becomes an initializer named by its output, one that several
 * normalisations read is copied (with a note). */
void onnx_own_parameters(struct onnx_file *, struct diag *);
/* A node taken out: it stays in the list so that the others keep their index. */
static inline bool
onnx_is_removed(const Onnx__NodeProto *n)
{
	return !n->n_output && !n->n_input && !*onnx_str(n->op_type);
}
/* Input i of this operator sets how it works (a bound, a size): never a parameter. */
bool onnx_is_setting(const char *op, int i);
/* Running mean or variance: a state, but not trainable. */
bool onnx_is_running(const char *op, int i);

/* ---- onnx_prune.c: outputs of these names go, and what only they need */
void onnx_drop_outputs(struct onnx_file *, int n, const char *const *names);

/* ---- onnx_upgrade.c: a node on its way to the newest form of its operator.
 * Upgrades rewrite it in place; they may build nodes before it (through b) and,
 * by finish, after it. */
struct onnx_node {
	struct build *b;
	const char *domain, *op;
	int64_t version; /* opset of the domain in the file */
	VEC(struct value *) in;
	int nout;
	VEC(struct attr) attrs;
	bool (*finish)(struct onnx_node *, struct value **outs); /* the nout outputs, in place */
	int rank; /* for finish */
	int64_t dims[MAX_RANK];
};
bool onnx_upgrade(struct onnx_node *);			      /* false: reported */
struct attr *onnx_attr(struct onnx_node *, const char *name); /* NULL if not given */
/* The opset with which an operator left ONNX that upgrades turn into another; else 0. */
int64_t onnx_former(const char *op);

/* ---- onnx_text.c: parses text of size bytes into f->m; false: reported with line:column */
bool onnx_text_parse(struct onnx_file *, const char *text, size_t size, struct diag *);

#endif
