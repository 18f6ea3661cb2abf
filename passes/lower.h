/* lower -- what the files that turn clusters into kernels share.
 *
 * cluster.c cuts the graph into clusters; lower.c makes buffers and walks the
 * clusters; nest.c emits loop nests (maps, reductions, views, rows, pooling, the
 * general convolution and contraction); tile.c emits register-tiled contractions
 * and convolutions with the maps that follow fused as an epilogue; plan.c gives
 * the buffers their offsets. */
#ifndef RETORT_LOWER_H
#define RETORT_LOWER_H

#include "passes/passes.h"

enum cluster_kind {
	CL_NEST,     /* maps and reductions over common loops */
	CL_CONTRACT, /* anchor is contract, maps after it fused */
	CL_CONV,     /* anchor is conv, conv_grad_data or conv_grad_weight, maps after it fused */
	CL_OTHER     /* one node with a lowering of its own */
};
struct cluster {
	enum cluster_kind kind;
	int id;
	struct node *anchor;             /* of CONTRACT, CONV, OTHER */
	VEC(struct node *) nodes;        /* in graph order, anchor included */
	VEC(struct value *) outputs;     /* used outside: to be stored */
};
struct lower {
	struct graph *g;
	struct pass_ctx *ctx;
	struct arena *a;
	struct program *p;
	struct buffer **buf;             /* by value id; made on demand by lower_buffer */
	struct cluster **cluster_of;     /* by node id */
	VEC(struct cluster *) clusters;  /* in execution order */
	int *uses;                       /* by value id */
};
bool cluster_build(struct lower *);
/* The memory of a value: inputs and outputs, constants packed in their layout,
 * states, arena otherwise; a plain reshape aliases its operand. */
struct buffer *lower_buffer(struct lower *, struct value *);
struct buffer *lower_scratch(struct lower *, enum dtype, int64_t count);
/* Appends the call; args[] by kernel buffer number. */
void lower_call(struct lower *, struct kernel *, struct buffer **args);
/* Appends the call that zeroes the halo of v's buffer, if its layout has one.
 * Every writer of such a value calls it; lanes past a blocked dim are the writer's to zero. */
void lower_zero_halo(struct lower *, struct value *);

/* The position along one logical dim while emitting.  Where the loops split the
 * dim in blocks, outer and inner are its digits: whole = outer*block + inner. */
struct index { struct affine whole; int64_t block; struct affine outer, inner; };
static inline struct index index_of(struct affine e) { return (struct index){.whole = e}; }

/* One kernel being made. */
struct emit {
	struct lower *lo;
	struct cluster *cl;
	struct kernel *k;
	VEC(struct buffer *) args;
	struct body *body;               /* where statements go now */
	int *memo;                       /* by value id: register holding it at the current index, or -1 */
	int nguard;                      /* in force for every load and store */
	struct guard guard[10];
};
struct emit *emit_begin(struct lower *, struct cluster *, const char *name);
void emit_end(struct emit *);            /* lower_call; halos of what was written */
int emit_buf(struct emit *, struct buffer *, bool written);  /* kernel buffer number */
struct stmt *emit_for(struct emit *, enum for_kind, int64_t extent, int *var); /* body becomes its body; caller restores e->body */
int emit_const(struct emit *, enum dtype, double);
int emit_op(struct emit *, enum op, enum dtype, int a, int b, int c); /* dtype as struct stmt says */
int emit_index(struct emit *, struct affine);
struct affine emit_address(struct emit *, const struct value *, const struct index *);
/* The register of v at idx (one per logical dim): memo, else a load, else, for a
 * node inside the cluster, its operands first; views change the index. */
int emit_value(struct emit *, struct value *, const struct index *);
void emit_store(struct emit *, struct value *, const struct index *, int reg); /* zero in lanes past a blocked dim */
void emit_forget(struct emit *);         /* memo: the index changes */

/* nest.c */
bool lower_nest(struct lower *, struct cluster *);
bool lower_other(struct lower *, struct cluster *);
bool lower_contract_nest(struct lower *, struct cluster *); /* any spec; slow */
bool lower_conv_nest(struct lower *, struct cluster *);     /* any rank, group, dilation, layout; slow */
/* tile.c: false without a report where the shape is not theirs; the nest then serves */
bool lower_contract_tile(struct lower *, struct cluster *);
bool lower_conv_tile(struct lower *, struct cluster *);

#endif
