/* passes -- from an imported graph to a planned program.  pipeline.c is the
 * table; every pass says what it requires and what it leaves. */
#ifndef RETORT_PASSES_H
#define RETORT_PASSES_H

#include "ir/ir.h"
#include "ir/layout.h"
#include "ir/loops.h"
#include "ir/machine.h"
#include "ir/optimizer.h"

enum { STRING_BYTES = 256 };
enum blas_use { BLAS_NEVER, BLAS_AUTO, BLAS_ALWAYS };

struct pass_opts {
	struct machine machine;
	int opt_level;           /* 0..3 */
	enum blas_use blas;
	bool verify_each, time_passes, precise;
	const char *dump;        /* comma list of pass names, "all", or NULL: IR to stderr after */
	const char *stop_after;
	bool check_grad;
	struct choices *choices; /* algorithm.h: forced and measured ones; NULL: the cost model alone */
	int64_t memory_budget;   /* bytes that a training step may take; 0: no limit */
	int64_t string_bytes;    /* room for each string that a run makes, on average; 0: STRING_BYTES */
};
struct pass_ctx {
	struct arena *arena;     /* what outlives the pass */
	struct diag *diag;
	const struct pass_opts *opts;
	struct program *program; /* made by lower */
	int residence;           /* enum residence of cost.h: where weights lie between two runs; set by algorithm */
	VEC(struct decision) decisions; /* algorithm.h; made by algorithm, for the report */
};
struct pass {
	const char *name, *help;
	bool (*run)(struct graph *, struct pass_ctx *);
};
extern const struct pass passes[];
extern const int npasses;
/* The inference or step pipeline over a graph, up to opts->stop_after. */
bool passes_run(struct graph *, struct pass_ctx *);
/* "fold,cse,dce": the named passes in order (retort opt). */
bool passes_run_named(struct graph *, const char *names, struct pass_ctx *);
/* The whole pipeline; NULL: reported, or stopped after opts->stop_after with the
 * graph printed to stderr. */
struct program *compile_graph(struct graph *, struct pass_ctx *);

/* the passes, in pipeline order; each in the file of its name */
bool pass_simplify(struct graph *, struct pass_ctx *); /* algebra, BN and scale into conv weights, transposes into contract; before and after expand */
bool simplify_slices(struct graph *, struct diag *);   /* only the rules that move slices up: before the gradient, so that nobody differentiates what nobody reads */
bool pass_fold(struct graph *, struct pass_ctx *);     /* constants through the evaluator */
bool pass_cse(struct graph *, struct pass_ctx *);
bool pass_dce(struct graph *, struct pass_ctx *);
bool pass_expand(struct graph *, struct pass_ctx *);   /* leaves core only */
bool pass_bound(struct graph *, struct pass_ctx *);    /* sizes found while running: fixed sizes and numbers (bound.c) */
bool pass_host(struct graph *, struct pass_ctx *);     /* strings as kernels can move them (host.c) */
bool pass_groups(struct graph *, struct pass_ctx *);   /* narrow groups of convolutions merged into blocks */
bool pass_portions(struct graph *, struct pass_ctx *); /* what treats items alike, in portions of the batch */
bool pass_algorithm(struct graph *, struct pass_ctx *); /* convolutions to the form of the algorithm that is fastest */
bool pass_layout(struct graph *, struct pass_ctx *);   /* sets value->layout, inserts relayout */
bool pass_recompute(struct graph *, struct pass_ctx *); /* activations made again in backward: opts->memory_budget */
bool pass_lower(struct graph *, struct pass_ctx *);    /* clusters into kernels (cluster.c), writes ctx->program */
bool pass_plan(struct graph *, struct pass_ctx *);     /* offsets of every buffer */
void plan_share_states(struct program *const *, int n); /* a state of one name lies at one place in all of them */
void plan_print(const struct program *, struct str *); /* --print-memory-plan: what the memory is for */

/* symbolic.c: graphs whose batch is a range.  order: the passes from layout to lower. */
bool graph_is_symbolic(const struct graph *);
bool lower_symbolic(struct graph *, const char *order, struct pass_ctx *); /* leaves ctx->program, to be planned */

/* bound.c: the symbols that inputs and outputs name, first those given by inputs. */
int graph_symbols(struct graph *, struct arena *, int64_t **handles, int *ngiven);
/* The graph at the upper bounds of its sizes: inputs $SYMBOL after its own, outputs
 * $SYMBOL of measured ones; NULL: reported. */
struct graph *bound_graph(struct graph *, struct diag *);
bool lower_bound(struct graph *, const char *order, struct pass_ctx *); /* as lower_symbolic */

/* grad.c: appends the gradient of scalar `loss` with respect to wrt[]; dwrt[i]
 * NULL where none flows.  Works on mixed graphs: rows with a gradient of their
 * own stay whole, other composites are expanded first. */
/* Expands the composites between wrt and loss that have no gradient of their own;
 * loss and wrt become the values that stand for them then.  grad_build begins with it. */
bool grad_expand_path(struct graph *, struct value **loss, int n, struct value **wrt, struct diag *);
bool grad_build(struct graph *, struct value *loss, int n, struct value *const *wrt,
                struct value **dwrt, struct diag *);

/* A step may move a state several times.  What it holds at this point of the graph: the
 * state, or what it was last moved to, not to be differentiated; of the state's name. */
struct value *state_now(struct build *, struct value *state);
/* state: it, or what state_now gave of it */
void state_move(struct graph *, struct value *state, struct value *next);
struct value *graph_state_find(const struct graph *, const char *name); /* NULL: none */

/* update.c: from gradients to parameters.  Each parameter's group, ngroups where none
 * matches; false, reported: a pattern matches nothing. */
bool update_groups(const struct update_rule *, int n, struct value *const *params, int *group, struct diag *);
/* lr: f32, step: i64 that counts updates from 1; micro, micros: i64, which step of how many
 * the window of accumulation is at (NULL without); momentum: f64, or NULL.  All rank-0 graph inputs. */
struct update_inputs {
	struct value *lr, *step, *micro, *micros, *momentum;
	/* by parameter, of gradients that only SGD with dot_delta tells apart: the part that comes from
	 * teachers, which is not in grads; NULL: none */
	struct value *const *distilled;
};
/* Adds slot states NAME:SLOT and the updates; group NULL: none.  grads are replaced by
 * what the rules got. */
bool update_build(struct graph *, const struct update_rule *, const struct update_inputs *, int n,
                  struct value *const *params, const int *group, struct value **grads, struct diag *);

/* distill.c: the training, evaluation and teacher graphs of a recipe (distill.h) */

#endif
