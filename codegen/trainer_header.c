/* trainer_header -- NAME.h of a trainer library: plain C99, usable from C++, with all
 * that a user has to know in it.  What it declares is made by trainer_library.c. */
#include "codegen/trainer_library.h"

#include <inttypes.h>
#include <string.h>

struct names {
	const struct trainer_library *l;
	struct arena *a;
	const char *name, *upper;
};

static void
shape(struct str *s, const struct io *io)
{
	str_addf(s, "%s [", dtype_info[io->buffer->dtype].name);
	for (int i = 0; i < io->value->rank; i++)
		str_addf(s, "%s%" PRId64, i ? "," : "", io->value->dims[i]);
	str_add(s, "]");
}

/* A parameter's name, unlike those before it in the program. */
static const char *
parameter(struct names *x, const struct program *p, int i)
{
	const char *n = (i < p->inputs.n ? &p->inputs.v[i] : &p->outputs.v[i - p->inputs.n])->name,
		   *r;

	r = header_identifier(x->a, *n == '$' ? n + 1 : n, false);
	if (header_reserved(r) || strcmp(r, "work") == 0 || strcmp(r, "lr") == 0 ||
	    strcmp(r, "momentum") == 0 || strcmp(r, "loss") == 0 || str_starts(r, "rows"))
		r = arena_printf(x->a, "%s_", r);
	for (int k = 0; k < i; k++)
		if (strcmp(parameter(x, p, k), r) == 0)
			return arena_printf(x->a, "%s_%d", r, i + 1);
	return r;
}

static bool
is_parameter(const struct names *x, const struct trainer_entry *e, int i)
{
	int64_t slot;

	if (i < e->p->inputs.n)
		return trainer_feed(x->l, e->p->inputs.v[i].name, &slot) == FEED_POINTER;
	return e->kind == RUN_INFER || e->kind == RUN_TEACHER;
}

static const char *
origin(const char *input)
{
	return str_starts(input, "$teacher.") ? "output of the teacher for these rows"
	       : str_starts(input, "$pair.")  ? "what each row is mixed with"
	       : str_starts(input, "$dial.")
		   ? "a number that changes in training, as the recipe's curve has it now"
	       : str_starts(input, "$task.")
		   ? "weight of the task now; the recipe's method finds it after epochs"
	       : strcmp(input, "$mix") == 0   ? "each row's own share in the mixture, 1: all"
	       : strcmp(input, "$index") == 0 ? "which training sample each row is, from 0"
					      : "as the data file has it";
}

static void
tensors(struct names *x, struct str *s, const struct trainer_entry *e)
{
	for (int i = 0; i < e->p->inputs.n + e->p->outputs.n; i++) {
		bool in = i < e->p->inputs.n;
		const struct io *io =
		    in ? &e->p->inputs.v[i] : &e->p->outputs.v[i - e->p->inputs.n];

		if (!is_parameter(x, e, i))
			continue;
		str_addf(s, " *   %-4s %s  ", in ? "in" : "out", parameter(x, e->p, i));
		shape(s, io);
		str_addf(s, "%s%s\n", in ? "  " : "", in ? origin(io->name) : "");
	}
}

static void
arguments(struct names *x, struct str *s, const struct trainer_entry *e)
{
	str_add(s, "void *work");
	for (int i = 0; i < e->p->inputs.n + e->p->outputs.n; i++) {
		bool in = i < e->p->inputs.n;
		const struct io *io =
		    in ? &e->p->inputs.v[i] : &e->p->outputs.v[i - e->p->inputs.n];

		if (is_parameter(x, e, i))
			str_addf(s, ", %s%s *%s", in ? "const " : "",
			    header_c_type(io->buffer->dtype), parameter(x, e->p, i));
	}
	for (int i = 0; e->kind == RUN_EVAL && i < x->l->nsets; i++)
		str_addf(s, ", int64_t rows%s%s", x->l->nsets > 1 ? "_" : "",
		    x->l->nsets > 1 ? header_identifier(x->a, x->l->set[i], false) : "");
	if (e->kind == RUN_STEP)
		str_addf(s, ", float lr%s", trainer_has_momentum(x->l) ? ", double momentum" : "");
	if (e->kind == RUN_STEP || e->kind == RUN_EVAL)
		str_add(s, ", float *loss");
}

static void
run_function(struct names *x, struct str *s, const struct trainer_entry *e)
{
	static const char *const what[] = {
	    [RUN_STEP] =
		"One update: teachers, student, losses, gradients, optimiser, on one batch of\n"
		" * %s_BATCH rows.  lr: the learning rate of this update (the recipe's is\n"
		" * %s_LR; schedules are the caller's).  *loss, unless loss is NULL: before the "
		"update.\n",
	    [RUN_EVAL] = "The loss of a batch with the weights as they are, in inference form.  "
			 "The arrays have\n"
			 " * %s_BATCH rows, of which the first `rows` count; nothing of the "
			 "training changes.\n",
	    [RUN_INFER] = "The student's outputs for a batch of %s_BATCH rows with the weights as "
			  "they are.\n",
	    [RUN_TEACHER] =
		"A teacher's outputs for a batch of %s_BATCH rows, as the step takes them: to be\n"
		" * computed once and kept.\n"};

	str_add(s, "/* ");
	str_addf(s, what[e->kind], x->upper, x->upper);
	if (e->kind == RUN_STEP && trainer_has_momentum(x->l))
		str_add(s, " * momentum: of this update; the recipe's schedule moves it against "
			   "the rate.\n");
	if (e->kind == RUN_STEP && x->l->accumulate > 1)
		str_addf(s,
		    " * Gradients of %" PRId64
		    " calls make one update, which the last of them does.\n",
		    x->l->accumulate);
	tensors(x, s, e);
	str_addf(s, " */\nint %s_%s(", x->name, e->suffix);
	arguments(x, s, e);
	str_addf(s, ");\nint %s_%s_mt(", x->name, e->suffix);
	arguments(x, s, e);
	str_addf(s, ",\n\t%s_parallel_for pf, void *ctx);\n\n", x->name);
}

static void
values(struct names *x, struct str *s)
{
	struct trainer_value *v;
	int n = trainer_values(x->l, x->a, &v);

	str_addf(s,
	    "/* Numbers of the last %s_step, and of the last %s_eval (names with \"eval.\"): "
	    "losses are\n"
	    " * means over the rows, metrics as well; NaN where i is no index.  */\n",
	    x->name, x->name);
	for (int i = 0; i < n; i++)
		str_addf(s, "#define %s_VALUE_%s %d\n", x->upper,
		    header_identifier(x->a, v[i].name, true), i);
	str_addf(s,
	    "int %s_values_count(void);\nconst char *%s_value_name(int i); /* NULL: no such index "
	    "*/\n"
	    "float %s_value(const void *work, int i);\n\n",
	    x->name, x->name, x->name);
}

static void
statuses(struct names *x, struct str *s)
{
	const char *u = x->upper;

	str_addf(s,
	    "typedef enum %s_status {\n\t%s_OK = 0,\n\t%s_E_NULL = 1,    /* a pointer is NULL */\n"
	    "\t%s_E_ROWS = 2,    /* a number of rows is out of range */\n"
	    "\t%s_E_WORK = 3,    /* the work memory is too small */\n"
	    "\t%s_E_ALIGN = 4,   /* the work memory is not aligned to %s_WORKSPACE_ALIGN */\n"
	    "\t%s_E_LABEL = 5,   /* a label is outside its classes; nothing was changed */\n",
	    x->name, u, u, u, u, u, u, u);
	str_addf(s,
	    "\t%s_E_LOSS = 6,    /* the loss is not finite: the weights are spoilt, load a saved "
	    "state */\n"
	    "\t%s_E_STATE = 7,   /* the work memory was not initialised, or by another library */\n"
	    "\t%s_E_NAME = 8,    /* no weight has this name */\n"
	    "\t%s_E_SIZE = 9,    /* the size is another */\n"
	    "\t%s_E_DAMAGED = 10 /* the saved state is damaged */\n} %s_status;\n"
	    "const char *%s_strerror(int status); /* a static string */\n\n",
	    u, u, u, u, u, x->name, x->name);
}

static void
weights(struct names *x, struct str *s, int64_t total)
{
	const char *n = x->name;

	str_addf(s,
	    "/* The student's weights, all one after the other in the order of the table below, or "
	    "one by\n"
	    " * its name.  size: bytes of the caller's memory, which must be the number that\n"
	    " * _weights_size or _weight_size tells.  Running statistics are among them; where\n"
	    " * the recipe averages weights (ema), these are the averages, and setting sets "
	    "both.\n");
	for (int i = 0; i < x->l->nweights; i++) {
		const struct program *p[] = {x->l->train, x->l->eval, x->l->infer};
		bool done = false;

		for (int k = 0; k < 3; k++)
			for (int j = 0; !done && j < p[k]->states.n; j++)
				if (strcmp(p[k]->states.v[j].name, x->l->weights[i].state) == 0) {
					str_addf(s, " *   %3d  %s  ", i, x->l->weights[i].state);
					shape(s, &p[k]->states.v[j]);
					str_add(s, "\n");
					done = true;
				}
	}
	str_addf(s,
	    " */\n#define %s_WEIGHTS_SIZE %" PRId64 "u\nint %s_weights_count(void);\n"
	    "size_t %s_weights_size(void);\nconst char *%s_weight_name(int i); /* NULL: no such "
	    "index */\n"
	    "size_t %s_weight_size(int i);\n",
	    x->upper, total, n, n, n, n);
	str_addf(s,
	    "int %s_weights_get(const void *work, void *to, size_t size);\n"
	    "int %s_weights_set(void *work, const void *from, size_t size);\n"
	    "int %s_weight_get(const void *work, const char *name, void *to, size_t size);\n"
	    "int %s_weight_set(void *work, const char *name, const void *from, size_t size);\n\n",
	    n, n, n, n);
	str_addf(s,
	    "/* All that a training needs to go on later, optimiser included: state_size bytes "
	    "that the\n"
	    " * caller keeps in a file or in flash.  A state that was damaged or belongs to "
	    "another\n"
	    " * library is refused. */\n"
	    "size_t %s_state_size(void);\nint %s_state_save(const void *work, void *to, size_t "
	    "size);\n"
	    "int %s_state_load(void *work, const void *from, size_t size);\n"
	    "int64_t %s_steps_done(const void *work);\n\n",
	    n, n, n, n);
}

bool
emit_trainer_header(const struct trainer_library *l, const char *path, struct diag *d)
{
	struct arena *a = arena_create();
	struct names x = {l, a, l->name, header_identifier(a, l->name, true)};
	struct work_plan w = trainer_work(l);
	struct trainer_entry *e;
	int n = trainer_entries(l, a, &e);
	int64_t rows = 0, total = 0;
	struct str s = {0};
	bool ok;

	for (int i = 0; i < l->nsets; i++)
		rows += l->rows[i];
	for (int i = 0; i < l->nweights; i++)
		total += l->weights[i].bytes;
	str_addf(&s,
	    "/* %s.h -- generated by retort, do not edit.\n *\n"
	    " * Training on the device: %s_init once, then %s_step for every batch.\n"
	    " * Tensors are row-major and packed, aligned to their element.  Nothing is allocated "
	    "and no\n"
	    " * global is written: all that lasts is in `work`, and what two threads do with two "
	    "of them\n"
	    " * is independent.  Equal calls give equal bytes, _mt with any number of threads "
	    "too.\n */\n",
	    l->name, l->name, l->name);
	str_addf(&s,
	    "#ifndef RETORT_%s_H\n#define RETORT_%s_H\n\n#include <stddef.h>\n#include "
	    "<stdint.h>\n\n"
	    "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n",
	    x.upper, x.upper);
	str_addf(&s,
	    "#define %s_BATCH %" PRId64 "\n#define %s_LR %.9gf\n#define %s_WORKSPACE_ALIGN %d\n"
	    "#define %s_WORKSPACE_SIZE %" PRId64 "u /* bytes */\n\n",
	    x.upper, rows, x.upper, l->lr, x.upper, RT_ALIGN, x.upper, w.total);
	statuses(&x, &s);
	str_addf(&s,
	    "size_t %s_workspace_size(void);\n\n"
	    "/* The weights of the recipe into work memory.  seed: of dropout; equal seeds, equal "
	    "runs. */\n"
	    "int %s_init(void *work, size_t size, int64_t seed);\n\n",
	    x.name, x.name);
	str_addf(&s,
	    "/* Functions that end in _mt work through the caller's threads: pf(ctx, n, body, arg) "
	    "calls\n"
	    " * body(arg, i) once for every i below n, in any order, on any threads, and returns "
	    "when all\n"
	    " * are done. */\n"
	    "typedef void (*%s_parallel_for)(void *ctx, int n, void (*body)(void *arg, int i), "
	    "void *arg);\n\n",
	    x.name);
	for (int i = 0; i < n; i++)
		run_function(&x, &s, &e[i]);
	values(&x, &s);
	weights(&x, &s, total);
	str_addf(&s,
	    "const char *%s_manifest(void); /* JSON: where the code came from */\n\n"
	    "#ifdef __cplusplus\n}\n#endif\n#endif\n",
	    x.name);
	ok = file_write(d, path, s.s, s.n);
	str_free(&s);
	arena_destroy(a);
	return ok;
}
