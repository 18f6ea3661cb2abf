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
	/* CL_NEST: the loops' logical space, and the axes that its reductions sum over */
	int rank;
	int64_t dims[MAX_RANK];
	unsigned reduced;                /* bit per axis; 0: no reduction */
	bool rows;                       /* several passes over a row: full values may use reduced ones */
	int first, last;                 /* positions of its nodes in the graph */
	int mark;                        /* of searches */
	bool gone;                       /* merged into another */
	VEC(struct cluster *) deps;      /* must run before: operands, and readers of states that it overwrites */
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
	int cap;                         /* values that the arrays by value id have room for */
	VEC(struct node *) *users;       /* by value id */
	int *pos;                        /* by node id: place in the graph */
	bool *halo_done, *spare_done;    /* by value id */
	char *in_set;                    /* by node id: lent to nest_fits */
	struct value **alias;            /* by value id: the value whose memory it views, or NULL */
	int8_t (*label)[MAX_RANK];       /* by value id: its dim's axis in its cluster's space, -1: none */
	int *phase;                      /* by value id: pass of the cluster that makes it */
	bool *small;                     /* by value id: reduced, lives over the kept axes only */
	int *memo;                       /* lent to the emit of the moment */
	int8_t (*from)[MAX_RANK];        /* by value id, of a reduction's output: labels of its operand */
	int search;
	int layer;                       /* of the calls made now, as call.layer */
	struct arena *tmp;               /* dies with the pass */
};
bool cluster_build(struct lower *);
void cluster_sort(struct lower *);           /* clusters in an order that respects deps */
bool cluster_depends(struct lower *, struct cluster *, struct cluster *on); /* by deps */
/* The memory of a value: inputs and outputs, constants packed in their layout,
 * states, arena otherwise; a plain reshape aliases its operand. */
struct buffer *lower_buffer(struct lower *, struct value *);
struct buffer *lower_scratch(struct lower *, enum dtype, int64_t count);
/* Read-only data; the tensor's bytes stay where they are. */
struct buffer *lower_data(struct lower *, const struct tensor *);
/* Appends the call; args[] by kernel buffer number. */
void lower_call(struct lower *, struct kernel *, struct buffer **args);
/* Appends the call that zeroes the halo of v's buffer, if its layout has one.
 * Every writer of such a value calls it; lanes past a blocked dim are the writer's to zero. */
void lower_zero_halo(struct lower *, struct value *);
/* Appends the call that zeroes the lanes past v's blocked dims.  emit_end calls it for
 * values that emit_store was seen not to cover. */
void lower_zero_spare(struct lower *, struct value *);

/* The position along one logical dim while emitting.  Where the loops split the
 * dim in blocks, outer and inner are its digits: whole = outer*block + inner. */
struct index { struct affine whole; int64_t block; struct affine outer, inner; };
static inline struct index index_of(struct affine e) { return (struct index){.whole = e}; }

/* A value of which a kernel keeps some rows and channel blocks in its thread's memory:
 * stores and loads of it go there.  Strides in elements. */
struct held {
	struct value *v;                 /* NULL: none */
	int buf;
	struct affine first;             /* its row that is the memory's row 0 */
	int64_t lo;                      /* columns before column 0 */
	int64_t lanes, row, block;
	int pvar;                        /* its block groups*pvar is the memory's block 0 */
	int64_t groups;
};

/* One kernel being made. */
struct emit {
	struct lower *lo;
	struct cluster *cl;
	struct kernel *k;
	VEC(struct buffer *) args;
	struct body *body;               /* where statements go now */
	int *memo;                       /* by value id: register holding it at the current index, or -1 */
	int nguard;                      /* in force for every load and store */
	struct guard guard[32];
	VEC(int64_t) extent;             /* by variable; 0: not known (no range checks then) */
	VEC(struct seen { struct value *v; struct index *at; int reg, nguard; struct body *body; }) seen;
	VEC(struct scope { struct body *body, *parent; }) scopes;
	VEC(struct value *) written;
	VEC(struct value *) spare;       /* written, but not in the lanes past a blocked dim */
	struct held held;
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
void emit_outputs(struct emit *, const struct index *); /* the cluster's outputs, all at idx */
void emit_forget(struct emit *);         /* memo: the index changes */
/* A variable without a loop of emit_for's (a tile's row or column), its extent known. */
int emit_var(struct emit *, int64_t extent);
/* v's element at idx straight from its buffer; `fill` (register, -1: zero) where idx leaves v's dims. */
int emit_load(struct emit *, struct value *, const struct index *, int fill);
int emit_const_i(struct emit *, enum dtype, int64_t);
/* bool register: lo <= e < hi */
int emit_within(struct emit *, struct affine, int64_t lo, int64_t hi);
/* Least and greatest value over the loops; false: not known. */
bool emit_range(const struct emit *, const struct affine *, int64_t *min, int64_t *max);
int emit_acc(struct emit *, enum op, enum dtype);    /* S_ACC from op's identity */
void emit_reduce(struct emit *, enum op, enum dtype, int acc, int reg);
int emit_identity(struct emit *, enum op, enum dtype);
void affine_plus(struct emit *, struct affine *to, const struct affine *x, int64_t by); /* to += by*x */
/* x = q*step + rem, 0 <= rem < step */
void emit_divide(struct emit *, const struct affine *x, int64_t step, struct affine *q, struct affine *rem);
void emit_note(struct emit *, struct value *, const struct index *, int reg); /* memo for this index only */
struct affine affine_scaled(const struct affine *, int64_t by);
/* Values without memory of their own are computed where they are used. */
bool lower_in_memory(const struct lower *, const struct value *, const struct cluster *reader);

/* layer.c: what a report says of the calls from `first` on, those of the cluster */
void layer_note(struct lower *, const struct cluster *, int first);

/* host.c */
void lower_host_begin(struct lower *); /* the call that opens the room for strings, where a host row is */
bool lower_host(struct lower *, struct cluster *);

/* nest_band.c: a convolution and its only reader, a window operator, as one; false: as two */
bool lower_band(struct lower *, struct cluster *reader);
bool band_joins_reader(struct lower *, struct cluster *); /* its reader's lowering is its own */

/* nest.c */
bool lower_nest(struct lower *, struct cluster *);
bool lower_other(struct lower *, struct cluster *);
/* y's memory from x's, whatever its elements are; c may be NULL */
void lower_copy_bytes(struct lower *, struct cluster *c, const char *name, struct value *x, struct value *y);
bool lower_contract_nest(struct lower *, struct cluster *); /* any spec; slow */
bool lower_conv_nest(struct lower *, struct cluster *);     /* any rank, group, dilation, layout; slow */
/* tile.c: false without a report where the shape is not theirs; the nest then serves */
bool lower_contract_tile(struct lower *, struct cluster *);
bool lower_conv_tile(struct lower *, struct cluster *);
bool lower_winograd(struct lower *, struct cluster *); /* nest_winograd.c: false for other nodes */

#endif
