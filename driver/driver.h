/* driver -- the command `retort`: one file per verb.  Everything that several
 * verbs do with a model (import, compile, bind memory, run) is in model.c. */
#ifndef RETORT_DRIVER_H
#define RETORT_DRIVER_H

#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "passes/passes.h"

#define RETORT_VERSION "0.1.0"

struct words { const char **v; int n, cap; };

/* What the command line said; opts.c has the one table that fills it. */
struct options {
	struct words args;    /* positional */
	struct words outputs; /* every -o */
	struct words dims;    /* every --dim */
	struct words refs;    /* every --ref */
	struct words conv;    /* every --conv */
	struct words pass_on; /* for the trainer, as given */
	const char *emit, *name, *target, *cpu, *weights, *blas, *precision;
	const char *saliency, *saliency_output;
	const char *depfile, *passes, *dump, *stop_after, *svg, *data, *as;
	const char *opt_report, *tune; /* "": given without a file */
	int64_t opt_level, threads, jobs, timeout_s, memory_mib, memory_budget, string_bytes, ms, batch, seed, max_trips;
	int64_t saliency_steps, saliency_class; /* class -1: the largest */
	double saliency_noise;
	double rtol, atol;   /* atol < 0: not given */
	bool verbose, quiet, color, no_color, json, print_plan, save_temps, time_passes;
	bool verify_each, precise, grad, taps, per_node, table, markdown, build_only, resume, search_only, no_search, dry_run, help;
};
struct driver {
	struct arena *arena;
	struct diag diag;
	struct options o;
	int nlists;          /* lengths of the inputs that are sequences or optionals, for the next import */
	const struct input_list *lists;
	bool as_file;        /* models are imported in the form their files give them (import_opts) */
	struct tuner *tuner; /* tune.c */
	bool reported;       /* --opt-report's file has been begun */
	int exit_status;     /* of a trainer that has failed and said why; 0: diag's */
};

/* A verb returns false after reporting; main turns diag.status into the exit. */
struct verb {
	const char *name, *synopsis, *help;
	bool (*run)(struct driver *);
};
extern const struct verb verbs[];
extern const int nverbs;
bool verb_bench(struct driver *);
bool verb_check(struct driver *);
bool verb_compile(struct driver *);
bool verb_distill(struct driver *);
bool verb_inspect(struct driver *);
bool inspect_taps(struct driver *); /* inspect_taps.c: --taps */
bool verb_ops(struct driver *);
bool verb_losses(struct driver *);
bool verb_man(struct driver *);
bool verb_opt(struct driver *);
bool verb_passes(struct driver *);
bool verb_run(struct driver *);
bool verb_targets(struct driver *);
bool verb_verify(struct driver *);

/* ---- opts.c */
/* argv past the verb; reports and returns false at the first mistake. */
bool opts_parse(struct driver *, int verb, int argc, char **argv);
void opts_help(FILE *, int verb);
void opts_man(FILE *, int verb); /* the same as troff's tagged paragraphs */
/* The one positional argument of most verbs. */
const char *opts_one(struct driver *, const char *what);

/* ---- model.c */
/* Names a tensor file: "x=x.npy" or "x.npy" (name NULL). */
struct named { const char *name, *path; };
struct named named_split(struct arena *, const char *arg);
struct tensor *tensor_read(struct driver *, const char *path, const char **name); /* .npy or .pb */
/* Imports for inference with --dim and, where tensors are at hand, their shapes
 * (in[i] may be NULL; names[i] NULL: the i-th input). */
struct graph *model_import(struct driver *, const char *path, int n, struct tensor *const *in, const char *const *names);
/* Where a shape hangs on an input's value (Reshape's second input, say) the model
 * cannot be compiled without it.  The same import with the values of some inputs
 * taken as constants; then they are no inputs. */
enum bind {
	BIND_NONE,
	BIND_SHAPES, /* integers, bools and small vectors of floats */
	BIND_ALL
};
struct import_as { enum bind bind; int symbolic; /* import_opts.symbolic */ };
struct graph *model_import_as(struct driver *, const char *path, int n, struct tensor *const *in, const char *const *names,
                              struct import_as);
bool model_binds(const struct tensor *, enum bind);
/* Reports are held back while something is tried; release prints or drops them. */
struct diag diag_hold(struct driver *);
void diag_release(struct driver *, struct diag held, bool drop);
/* For check: everything reported, and with training the student's view (states). */
struct graph *model_import_for(struct driver *, const char *path, bool keep_going, bool training);
struct target *model_target(struct driver *);
struct target *model_target_for(struct driver *, const char *cpu); /* NULL: this machine's */
struct pass_opts model_pass_opts(struct driver *, const struct target *);
struct program *model_compile(struct driver *, const struct target *, struct graph *);
/* JSON: model, digest, inputs, outputs, target, flags; goes into what is emitted. */
const char *model_manifest(struct driver *, const struct target *, const char *path, const struct graph *);
/* Make's rule: out depends on the files read; to --depfile. */
bool model_depfile(struct driver *, const char *out, int n, const char *const *read);
void model_print_plan(struct driver *, const struct program *);

/* ---- saliency.c: --saliency; adds its outputs to a graph that model_import made of the file */
bool saliency_known(struct driver *); /* is o.saliency a method?  False: reported */
bool model_explain(struct driver *, const char *path, struct graph *);

/* ---- tune.c: --conv and --tune.  Sets *choices for the next compilation (NULL: neither
 * was given) */
struct choices;
bool tune_open(struct driver *, const struct target *, struct choices **);
bool tune_done(struct driver *);       /* after a compilation: what was measured is written */
bool tune_nodes_seen(struct driver *); /* after the last: every node that --conv names was met */
/* ---- opt_report.c: --opt-report of one program; ns of each call, or NULL */
bool opt_report(struct driver *, const struct program *, const double *call_ns);

/* A program with memory of its own, ready to run. */
struct session {
	struct target *target;
	const struct program *program;
	struct jit *jit;
	const struct rt_program *rt;
	struct rt_pool *pool;
	void **base;         /* as runtime/abi.h */
	struct graph *g;
	int64_t *sym;        /* by symbol of g: its value, at first the greatest */
	bool *sym_bound;     /* an input said so */
};
/* Compiles g in memory; close with session_close even after false. */
bool session_open(struct driver *, struct session *, struct graph *, const char *path);
void session_close(struct session *);
/* Copies a tensor into input i after checking dtype and dims. */
bool session_input(struct driver *, struct session *, int i, const struct tensor *, const char *file);
void session_fill(struct session *); /* inputs: floats random in [-1,1), integers 0 */
bool session_run(struct driver *, struct session *); /* false: what its host calls report */
struct tensor *session_output(struct driver *, struct session *, int i); /* borrows the session's memory */
int64_t now_ns(void);

/* ---- compare.c: how far a result is from its reference */
struct difference {
	double max_abs, max_rel, max_ref, max_ulp;
	int64_t bad, count, worst; /* elements outside the tolerance; index of the worst */
	double got, want;          /* at worst */
};
/* False where dtype or dims differ (why is set). */
bool tensor_compare(struct arena *, const struct tensor *got, const struct tensor *want, double rtol, double atol,
                    struct difference *, const char **why);
const char *shape_text(struct arena *, int rank, const int64_t *dims);  /* "[1,3]" of constants */
const char *value_text(struct arena *, struct graph *, const struct value *); /* "f32[N,3]" */

/* ---- ops.c */
const char *ops_class_name(const struct op_info *);
const char *ops_grad_name(const struct op_info *);
const char *ops_arity(struct arena *, int lo, int hi); /* "1-2", hi < 0: "1+" */
/* ---- ops_markdown.c: of the files named (.tsv: measured, else exceptions) */
bool ops_markdown(struct driver *, struct str *);

/* ---- flops.c: of one core node whose dims are constants (a multiply-add is two) */
double node_flops(const struct node *);

/* ---- svg.c */
bool graph_svg(struct driver *, struct graph *, const char *path);

#endif
