/* ir -- the graph: SSA values over tensors, nodes from one table of operators.
 *
 * Lower-case operators (OP_add, OP_contract) are the core that lowering, the
 * evaluator and the gradients know.  Capitalised ones (OP_Relu, OP_Softmax) are
 * composites: ONNX operators, losses, optimisers, each an expansion into core.
 * A row whose ONNX name has the core's meaning is both (Add is `add`).
 * Elementwise core operators broadcast as NumPy does; everything else is exact.
 *
 * A value never changes after it is made; nodes stand in the list in an order
 * that defines before use.  Everything lives in the graph's arena, pointers to
 * values and nodes are stable for its life.  Passes keep facts in side arrays
 * indexed by value->id / node->id (graph->nvalue, graph->nnode bound them). */
#ifndef RETORT_IR_H
#define RETORT_IR_H

#include "base/base.h"

enum { MAX_RANK = 12 };

/* ---- dtype.c */
enum dtype {
	DT_none,
#define T(id, onnx, bits, class) DT_##id,
#include "ir/dtype.def"
	NDTYPE
};
enum dtype_class { DC_NONE, DC_FLOAT, DC_INT, DC_UINT, DC_BOOL, DC_STRING, DC_COMPLEX };
struct dtype_info { const char *name; int onnx, bits; enum dtype_class class; };
extern const struct dtype_info dtype_info[NDTYPE];
enum dtype dtype_from_onnx(int onnx);            /* DT_none if unknown */
enum dtype dtype_from_name(const char *name);
size_t dtype_bytes(enum dtype, int64_t count);   /* packed for sub-byte types */
static inline bool dtype_is_float(enum dtype t) { return dtype_info[t].class == DC_FLOAT; }
static inline bool dtype_is_int(enum dtype t)
{
	return dtype_info[t].class == DC_INT || dtype_info[t].class == DC_UINT;
}
/* One element of packed data to and from the evaluator's types.  Complex: i counts
 * parts.  Floats put into integers are truncated and saturate, NaN is 0. */
double dtype_get_f(enum dtype, const void *data, int64_t i);
int64_t dtype_get_i(enum dtype, const void *data, int64_t i);
void dtype_put_f(enum dtype, void *data, int64_t i, double);  /* rounds to nearest even */
void dtype_put_i(enum dtype, void *data, int64_t i, int64_t); /* wraps */

/* ---- dim.c: a dim is a constant >= 0, or (negative) a handle of a symbolic
 * expression interned in the graph: a symbol with bounds, or arithmetic of dims.
 * Equal expressions have equal handles, so == compares dims. */
static inline bool dim_const(int64_t d) { return d >= 0; }
struct graph;
/* The same name gives the same handle, bounds intersected; lo == hi gives a constant.
 * Constant results below zero are 0, overflow is INT64_MAX: check constants first. */
int64_t dim_symbol(struct graph *, const char *name, int64_t lo, int64_t hi);
int64_t dim_add(struct graph *, int64_t, int64_t);
int64_t dim_sub(struct graph *, int64_t, int64_t);
int64_t dim_mul(struct graph *, int64_t, int64_t);
int64_t dim_div(struct graph *, int64_t, int64_t);     /* floor */
int64_t dim_ceildiv(struct graph *, int64_t, int64_t);
int64_t dim_min(struct graph *, int64_t, int64_t);
int64_t dim_max(struct graph *, int64_t, int64_t);
int64_t dim_lo(const struct graph *, int64_t);
int64_t dim_hi(const struct graph *, int64_t);         /* INT64_MAX: unbounded */
const char *dim_text(struct graph *, int64_t);         /* "16", "N", "(N*2)" */
/* Whether sums and products of the two stay within what an expression may hold;
 * dim_add and dim_mul die beyond.  For sizes that come from a text. */
bool dim_fits(const struct graph *, int64_t, int64_t);
bool dim_is_symbol(const struct graph *, int64_t);     /* a symbol alone, no arithmetic */
int64_t dim_find(const struct graph *, const char *text); /* the symbol of that text, or 0 */
/* Calls f for every symbol in the expression, maybe more than once. */
void dim_each_symbol(const struct graph *, int64_t, void (*f)(void *, int64_t), void *ctx);
int dim_symbols(const struct graph *, int64_t *d, int max); /* the symbols, in order of making; how many there are */
/* The value for given symbols: symbol(ctx, name, handle) is asked for each. */
int64_t dim_eval(const struct graph *, int64_t, int64_t (*symbol)(void *, const char *, int64_t), void *ctx);
/* The expression in another algebra: op is one of + - * / (floor), < (min), > (max).
 * A difference is already kept from going below zero by a max. */
struct dim_algebra {
	void *ctx;
	void *(*number)(void *, int64_t);
	void *(*symbol)(void *, int64_t handle);
	void *(*two)(void *, char op, void *, void *);
};
void *dim_build(const struct graph *, int64_t, const struct dim_algebra *);
void dim_fix(struct graph *dst, const char *symbol, int64_t dim); /* what dim_import gives for that symbol (its text); the last one holds */
int64_t dim_import(struct graph *dst, const struct graph *src, int64_t); /* the same expression in another graph */

/* ---- tensor.c: constant data, packed little endian, row-major */
struct tensor {
	enum dtype dtype;
	int rank;
	int64_t dims[MAX_RANK];
	void *data;          /* DT_str: array of char * */
	size_t bytes;
	bool heap;           /* data is from malloc and owned; else arena or mapped */
};
struct tensor *tensor_new(struct arena *, enum dtype, int rank, const int64_t *dims); /* zeroed */
int64_t tensor_count(const struct tensor *);
int64_t dims_count(int rank, const int64_t *dims);     /* all constant; -1 on overflow */
bool dims_equal(int ra, const int64_t *a, int rb, const int64_t *b);

/* ---- graph.c */
struct layout; /* layout.h: how a value lies in memory; NULL: as its dims say */

enum value_kind {
	VAL_NODE,   /* output of def */
	VAL_INPUT,  /* given by the caller of a run */
	VAL_CONST,  /* data */
	VAL_STATE   /* persists between steps; data is its initial content */
};
struct value {
	int id;
	enum value_kind kind;
	enum dtype dtype;
	int rank;                    /* -1: not known */
	int64_t dims[MAX_RANK];
	const char *name;            /* ONNX name or made up; unique within graph after graph_unique_names */
	const struct tensor *data;   /* VAL_CONST, VAL_STATE */
	struct node *def;            /* VAL_NODE */
	int out;                     /* which output of def */
	bool trainable;              /* VAL_STATE: receives a gradient */
	const struct layout *layout;
	struct loc loc;
};

enum attr_kind { ATTR_NONE, ATTR_INT, ATTR_FLOAT, ATTR_STRING, ATTR_INTS, ATTR_FLOATS, ATTR_STRINGS, ATTR_TENSOR, ATTR_GRAPH };
struct attr {
	const char *name;
	enum attr_kind kind;
	int64_t i;
	double f;
	const char *s;
	int n;                       /* of the lists */
	const int64_t *ints;
	const double *floats;
	const char *const *strings;
	const struct tensor *t;
	struct graph *g;
};

enum op {
	OP_none,
#define OP(id, ...) OP_##id,
#define ATTR(...)
#include "ir/ops.def"
	NOP
};

struct node {
	int id;
	enum op op;
	const char *name;
	struct loc loc;
	int nin, nout, nattr;
	struct value **in;           /* NULL: optional input left out */
	struct value **out;          /* NULL: optional output left out */
	struct attr *attr;           /* only those given; read by attr_int() and so on */
	bool dead;
};

/* At the end of a step `state` takes the content of `next` (same dtype and dims). */
struct update { struct value *state, *next; };

/* A size found while running: the symbol `dim` has the value of i64 scalar `value`,
 * which is made before anything whose dims name the symbol, and is within its bounds. */
struct size { int64_t dim; struct value *value; };

struct graph {
	struct arena *arena;
	const char *name;
	VEC(struct node *) nodes;    /* topological order; dead ones are skipped and swept */
	VEC(struct value *) inputs;
	VEC(struct value *) outputs;
	VEC(const char *) output_names; /* parallel to outputs: one value may have two names */
	VEC(struct value *) states;
	VEC(struct update) updates;
	VEC(struct size) sizes;      /* measured symbols; all others are given: some input has them as a dim */
	VEC(struct value *) consts;
	int nvalue, nnode;           /* ids handed out so far */
	struct dims *symbols;        /* dim.c */
	struct intern *names;
	struct map *by_name;         /* importer: ONNX tensor name -> value as imported; see graph_find */
};
struct graph *graph_create(struct arena *, const char *name);
struct value *graph_input(struct graph *, const char *name, enum dtype, int rank, const int64_t *dims);
struct value *graph_const(struct graph *, const char *name, const struct tensor *); /* keeps t */
struct value *graph_state(struct graph *, const char *name, const struct tensor *init, bool trainable);
void graph_output(struct graph *, const char *name, struct value *);
/* Appends; outputs get fresh values of unknown type.  Inference is the caller's. */
struct node *graph_node(struct graph *, enum op, const char *name, struct loc,
                        int nin, struct value *const *in, int nout);
/* The symbol of a size measured while running, `value`, within lo..hi (hi finite).  A
 * name that is new to the graph, or NULL: one is made up; a name that exists is that
 * symbol, whose value this now is.  b_measure and ops_measure do more. */
int64_t graph_measure(struct graph *, const char *name, struct value *value, int64_t lo, int64_t hi);
struct value *graph_size_of(const struct graph *, int64_t dim); /* NULL: not a measured symbol */
/* Every use of `from` (nodes, outputs, updates, sizes) becomes a use of `to`. One sweep. */
void graph_replace(struct graph *, struct value *from, struct value *to);
/* The same for many at once: to[v->id], NULL = keep; chains are followed. */
void graph_replace_all(struct graph *, struct value **to, int n);
void graph_sweep(struct graph *);          /* drops dead nodes from the list */
void graph_unique_names(struct graph *);   /* every value and node gets a name, none twice */
int *graph_use_counts(struct arena *scratch, const struct graph *); /* by value id; outputs, updates and sizes count */
/* Copies nodes of src into dst (appended).  map[src value id]: in, preset
 * replacements (inputs, say); out, every value's copy.  prefix goes before names. */
void graph_clone_into(struct graph *dst, const struct graph *src, struct value **map, const char *prefix);
uint64_t graph_hash(const struct graph *); /* hash.c: what it computes, whatever the names */
struct graph *graph_copy(struct graph *);  /* the whole graph, in the same arena; shares the tensors */
bool attr_has(const struct node *, const char *name);
int64_t attr_int(const struct node *, const char *name);       /* default from the row; dies if neither */
double attr_float(const struct node *, const char *name);
const char *attr_string(const struct node *, const char *name);
int attr_ints(const struct node *, const char *name, const int64_t **v); /* count, 0 if absent */
int attr_floats(const struct node *, const char *name, const double **v);
const struct attr *attr_find(const struct node *, const char *name);     /* given ones only, or NULL */
void node_set_int(struct graph *, struct node *, const char *name, int64_t);
void node_set_float(struct graph *, struct node *, const char *name, double);
void node_set_string(struct graph *, struct node *, const char *name, const char *);
void node_set_ints(struct graph *, struct node *, const char *name, int n, const int64_t *);
void node_set_floats(struct graph *, struct node *, const char *name, int n, const double *);
void node_set_attr(struct graph *, struct node *, const struct attr *); /* copies the struct and its lists */

/* ---- op.c: what the table says of each operator */
struct build;
struct etensor;
enum op_class {
	OC_composite, /* must be expanded before lowering */
	OC_map,       /* elementwise: the loop IR has a scalar instruction of the same enumerator */
	OC_view,      /* index arithmetic only: reshape transpose slice pad concat expand iota */
	OC_reduce,    /* reduce_*, argmax, argmin */
	OC_contract,  /* contract */
	OC_conv,      /* conv and its two gradients */
	OC_pool,      /* max_pool, sum_pool and their gradients */
	OC_index,     /* gather, scatter_add: addresses from data */
	OC_host,      /* one call of a C function of host/ (ops_host.def) */
	OC_other      /* has its own case in lowering */
};
struct attr_info { const char *name; enum attr_kind kind; double def_num; const char *def_str; bool required, has_def; };
struct op_info {
	const char *id;       /* "add": as the IR text spells it */
	const char *onnx;     /* "Add", "com.microsoft::FusedMatMul"; NULL: not ONNX's */
	int since;            /* newest ONNX version that this row implements */
	int in_min, in_max;   /* in_max -1: any number */
	int out_min, out_max;
	enum op_class class;
	/* Sets dtype, rank and dims of the outputs, or reports and returns false. */
	bool (*infer)(struct graph *, struct node *, struct diag *);
	/* Builds the core form; outs[i] for every output wanted.  expand_none on core. */
	bool (*expand)(struct build *, const struct node *, struct value **outs);
	/* dout[i] may be NULL (no gradient arrives); sets din[i], NULL = none flows.
	 * grad_expand: differentiate the expansion.  Not differentiable, and report it:
	 * grad_none (the results are no floats), grad_flat (piecewise constant),
	 * grad_random (drawn), grad_made (no float operand). */
	bool (*grad)(struct build *, const struct node *, struct value *const *dout, struct value **din);
	/* fp64 oracle of core operators; eval_none on composites (evaluate the expansion). */
	bool (*eval)(const struct node *, const struct etensor *const *in, struct etensor **out);
	int nattr;
	const struct attr_info *attrs;
};
extern const struct op_info op_info[NOP];
enum op op_from_onnx(const char *domain, const char *type); /* OP_none if unknown; "" and "ai.onnx" are one */
enum op op_from_id(const char *id);
const char *op_not_differentiable(enum op); /* why, in words; NULL: it has a gradient */
const struct attr_info *op_attr(enum op, const char *name); /* NULL: the row has no such attribute */
/* Draws numbers: its row has a `stream`, of which every node has its own.  Never folded. */
bool op_is_random(enum op);
/* op_types.c: the element types that an ONNX operator takes, as op_types.def has them
 * (NULL: not listed); whether operands fit (false: reported); the sets by name. */
const char *op_types(enum op);
bool op_types_fit(enum op, int nin, struct value *const *in, struct loc, struct diag *);
void op_types_legend(struct str *);
bool op_types_valid(const char **bad); /* the table reads well; *bad: where not */
/* INTS attributes that hold dims (symbols' handles are negative): "dims" and "count" of
 * core rows, "measured" of composites: the sizes that their expansion measures. */
bool attr_holds_dims(enum op, const char *name);
#define OP(id, onnx, since, imin, imax, omin, omax, class, infer, expand, grad, eval) \
	bool infer(struct graph *, struct node *, struct diag *);                      \
	bool expand(struct build *, const struct node *, struct value **);             \
	bool grad(struct build *, const struct node *, struct value *const *, struct value **); \
	bool eval(const struct node *, const struct etensor *const *, struct etensor **);
#define ATTR(...)
#include "ir/ops.def"

/* ---- build.c: making nodes with their types inferred.  A builder function
 * returns NULL after reporting when its operands do not fit; NULL operands
 * propagate silently, so a rule may build freely and test its last value. */
struct build {
	struct graph *g;
	struct diag *diag;
	struct loc loc;       /* given to what is made */
	bool fold;            /* evaluate at once when every operand is a small constant */
};
struct build build_at(struct graph *, struct diag *, struct loc, const char *maker);
/* The general form: NULL-terminated attribute list may be set by attrs. */
struct node *b_node(struct build *, enum op, int nin, struct value *const *in, int nout,
                    int nattr, const struct attr *attrs);
struct value *b_op(struct build *, enum op, int nin, struct value *const *in, int nattr, const struct attr *attrs);
/* The same for rows of several outputs; false: reported. */
bool b_ops(struct build *, enum op, int nin, struct value *const *in, int nout, struct value **outs, int nattr,
           const struct attr *attrs);
struct value *b1(struct build *, enum op, struct value *);                                 /* no attributes */
struct value *b2(struct build *, enum op, struct value *, struct value *);
struct value *b3(struct build *, enum op, struct value *, struct value *, struct value *);
struct value *b_scalar(struct build *, enum dtype, double);
struct value *b_scalar_like(struct build *, const struct value *, double); /* rank 0, same dtype */
struct value *b_ints(struct build *, int n, const int64_t *);              /* i64 vector constant */
struct value *b_zeros_like(struct build *, const struct value *);          /* expand of a scalar */
struct value *b_add(struct build *, struct value *, struct value *);
struct value *b_sub(struct build *, struct value *, struct value *);
struct value *b_mul(struct build *, struct value *, struct value *);
struct value *b_div(struct build *, struct value *, struct value *);
struct value *b_max(struct build *, struct value *, struct value *);
struct value *b_min(struct build *, struct value *, struct value *);
struct value *b_neg(struct build *, struct value *);
struct value *b_exp(struct build *, struct value *);
struct value *b_log(struct build *, struct value *);
struct value *b_sqrt(struct build *, struct value *);
struct value *b_muls(struct build *, struct value *, double); /* by a scalar of its dtype */
struct value *b_adds(struct build *, struct value *, double);
struct value *b_select(struct build *, struct value *cond, struct value *a, struct value *b);
struct value *b_cast(struct build *, struct value *, enum dtype);
struct value *b_reshape(struct build *, struct value *, int rank, const int64_t *dims);
struct value *b_expand(struct build *, struct value *, int rank, const int64_t *dims);
struct value *b_transpose(struct build *, struct value *, const int64_t *perm);
struct value *b_unsqueeze(struct build *, struct value *, int axis);
/* starts, and counts of elements kept, and steps (may be negative) of every axis */
struct value *b_slice(struct build *, struct value *, const int64_t *start, const int64_t *count, const int64_t *step);
struct value *b_pad(struct build *, struct value *, const int64_t *lo, const int64_t *hi, double fill); /* negative crops */
struct value *b_concat(struct build *, int n, struct value *const *, int axis);
struct value *b_gather(struct build *, struct value *data, struct value *index, int axis);
struct value *b_iota(struct build *, enum dtype, int rank, const int64_t *dims, int axis);
/* op: OP_reduce_sum, _prod, _max, _min; keep leaves axes of size 1 */
struct value *b_reduce(struct build *, enum op, struct value *, int naxes, const int64_t *axes, bool keep);
struct value *b_reduce_all(struct build *, enum op, struct value *);            /* to rank 0 */
struct value *b_mean(struct build *, struct value *, int naxes, const int64_t *axes, bool keep);
/* A dim as an i64 scalar: a constant, or an `extent`. */
struct value *b_dim(struct build *, int64_t dim);
struct value *b_count(struct build *, int n, const int64_t *dims); /* their product */
/* The dim of a size found while running, clamped to lo..hi; a constant where `value` is. */
int64_t b_measure(struct build *, struct value *value, int64_t lo, int64_t hi);
/* The first dim(u) rows of x (axis 0) where keep (bool, of as many) is set. */
struct value *b_compact(struct build *, struct value *x, struct value *keep, int64_t u);
struct value *b_kept(struct build *, struct value *keep);      /* how many are set: i64 scalar */
/* Sums a gradient back to the dims of what was broadcast. */
struct value *b_unbroadcast(struct build *, struct value *dy, const struct value *like);
/* spec "bmk,bkn->bmn": every letter in at least two of the three */
struct value *b_contract(struct build *, const char *spec, struct value *a, struct value *b);
struct value *b_softmax(struct build *, struct value *, int axis);      /* composite */
struct value *b_log_softmax(struct build *, struct value *, int axis);  /* composite */
struct value *b_stop_gradient(struct build *, struct value *);          /* composite */

/* ---- rewrite.c: one sweep that replaces nodes; what simplify, fold, expand and
 * lowering-by-graph passes are written with.  graph_rewrite calls visit for every
 * live node in order, its operands already replaced by what earlier visits said.
 * Whatever the visit makes (through rw->b, or graph_node on rw->b.g) lands right
 * before the visited node.  rewrite_value(rw, from, to) makes `to` stand for
 * `from` in every later node, output and update, at once and in O(1); chains are
 * followed.  rewrite_node replaces all outputs of a node and marks it dead.
 * A visit that does nothing keeps the node.  Returning false (reported) stops the
 * sweep; the graph stays well formed and graph_rewrite returns false.
 * nested: nodes made by a visit are visited too (expansions of expansions), at
 * most 64 deep; else they are left as they are.  rw->changed counts replacements.
 * Node lists must not be touched otherwise during a sweep; graph_replace on the
 * graph must not be used, graph_node and b_* may.  Afterwards dead nodes are gone. */
struct rewrite {
	struct graph *g;
	struct build b;       /* at the visited node: b.loc is its loc (with maker, if one was given) */
	void *ctx;
	int changed;
	bool nested;
	const char *maker;
	VEC(struct value *) to; /* by value id; private */
	int depth;              /* private */
};
bool graph_rewrite(struct graph *, struct diag *, const char *maker, bool nested,
                   bool (*visit)(struct rewrite *, struct node *), void *ctx);
void rewrite_value(struct rewrite *, struct value *from, struct value *to); /* an unnamed `to` takes from's name */
struct value *rewrite_get(struct rewrite *, struct value *);                 /* what stands for it now */
/* outs[i] NULL only where node->out[i] is NULL or unused.  dtype and dims must agree (dies). */
void rewrite_node(struct rewrite *, struct node *, struct value *const *outs);
bool rewrite_expand(struct rewrite *, struct node *); /* row->expand, then rewrite_node; false: reported */

/* infer.c: helpers for shape rules, and inference of one node through its row */
bool node_infer(struct graph *, struct node *, struct diag *);
/* NumPy broadcasting of dims; false (reported at the node) where they do not fit. */
bool infer_broadcast_dims(struct graph *, struct node *, struct diag *, int *rank, int64_t *dims);
void value_set(struct value *, enum dtype, int rank, const int64_t *dims);
int axis_normal(const struct node *, struct diag *, int64_t axis, int rank); /* -1: reported */
/* Constant integer operand (already folded): count, or -1 if not constant. */
int value_ints(const struct value *, struct arena *, int64_t **);
/* One bool, constant or decided by sizes that are: 0 or 1, -1 if not known. */
int value_decided(struct graph *, const struct value *);
/* One number, of any number type; false, not reported, if not constant. */
bool value_number(const struct value *, double *);
const char *value_type_text(struct graph *, const struct value *); /* "f32[N,784]" */
/* Dies unless `got` may stand for `want`, an output of n: same dtype and dims. */
void value_agrees(struct graph *, const struct node *n, const struct value *want, const struct value *got);
/* Expands node (a composite) in place: its outputs are replaced.  False: reported. */
bool node_expand(struct graph *, struct node *, struct diag *);
/* The row's expansion, in f32 where operands are f16 or bf16 and it would round more
 * than once.  False: reported. */
bool op_expand(struct build *, const struct node *, struct value **outs);
bool op_widens(const struct node *); /* may be expanded in f32 */
/* A core node that only moves elements narrower than kernels compute with, and the
 * same on their codes, a byte each; NULL: reported.  (ops/cast.c) */
bool op_moves_codes(const struct node *);
struct value *op_as_codes(struct build *, const struct node *);

/* ---- eval.c: the fp64 oracle */
struct etensor {
	enum dtype dtype;       /* what it stands for; integers are exact in i */
	int rank;
	int64_t dims[MAX_RANK];
	int64_t count;
	double *f;              /* floats (c64: interleaved) */
	int64_t *i;             /* integers, bool */
	const char **s;         /* strings */
	struct arena *arena;    /* where it lies; strings made live there too */
};
struct etensor *etensor_new(struct arena *, enum dtype, int rank, const int64_t *dims);
struct etensor *etensor_from(struct arena *, const struct tensor *);
struct tensor *etensor_to(struct arena *, const struct etensor *); /* rounds to dtype */
double et_get(const struct etensor *, int64_t i);       /* either kind, as double */
void et_put(struct etensor *, int64_t i, double);
/* round_each: round every result to its dtype (constant folding); else pure fp64. */
struct eval_opts { bool round_each; struct arena *arena; };
/* One node, composites through their expansion. */
bool eval_node(struct eval_opts *, struct graph *, const struct node *, const struct etensor *const *in, struct etensor **out);
/* The whole graph; in[] by graph input.  out[] by graph output; next[] (may be
 * NULL) by graph update; every value's result by id in all[] if not NULL. */
bool eval_graph(struct eval_opts *, struct graph *, struct etensor *const *in, struct etensor **out,
                struct etensor **next, struct etensor **all, struct diag *);

/* ---- host.c: rows of class OC_host */
/* The attributes of the row, in its order, as the operands of its function (strings
 * packed, host/host.h); NULL where left out.  How many. */
int host_attrs(struct arena *, const struct node *, const struct tensor ***);
const char *host_symbol(struct arena *, const struct node *);

/* ---- ops/winograd.c: the transforms of F(m x m, 3 x 3), m = 2 or 4, row-major, on tiles
 * of side x side inputs: Y = AT [ (G w G^T) * (BT d B) ] A with BT [n,side], G [n,3], AT [m,n]. */
struct winograd { int m, stride, n, side; const double *bt, *g, *at; };
const struct winograd *winograd_of(int m, int stride); /* NULL: no such tile */

/* ---- verify.c: structure and types; dies naming `after` when a pass broke it */
void graph_verify(struct graph *, const char *after);
/* ---- print.c, parse.c: text that round-trips (docs/ir.md has the grammar).
 * Constants above `limit` elements print as a digest unless limit < 0. */
void graph_print(struct graph *, struct str *, int64_t limit);
struct graph *graph_parse(struct arena *, const char *text, const char *file, struct diag *);
/* Attribute list of a node as the IR text prints it; used by CSE as a key. */
void node_print_attrs(const struct node *, struct str *);

#endif
