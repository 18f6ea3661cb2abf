/* distill_model -- the recipe's models as graphs, and the description of a step
 * that passes/distill works from. */
#include "driver/distill.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- fields */
static const struct job_field *
field_of(struct job *j, const char *name)
{
	for (int i = 0; i < j->nfields; i++)
		if (strcmp(j->fields[i].name, name) == 0)
			return &j->fields[i];
	return NULL;
}

static void
fill_fields(struct job *j)
{
	struct distill *ds = &j->dist;

	ds->nfields = j->nfields;
	ds->fields = arena_array(j->d->arena, struct distill_field, j->nfields + 1);
	for (int i = 0; i < j->nfields; i++) {
		const struct job_field *f = &j->fields[i];
		struct distill_field *o = &ds->fields[i];

		*o = (struct distill_field){.name = f->name, .dtype = f->dtype, .rank = f->rank, .classes = f->classes,
		                            .has_ignore = f->recipe->has_ignore, .ignore = f->recipe->ignore,
		                            .class_weights = f->class_weights};
		memcpy(o->dims, f->dims, sizeof o->dims);
		if (f->set >= 0 && j->nsets > 1) {
			o->first_row = j->sets[f->set].first_row;
			o->rows = j->sets[f->set].batch;
		}
	}
}

/* ---- import */
static int64_t
rows_of(struct job *j, const struct job_field *f)
{
	return f->set >= 0 ? j->sets[f->set].batch : j->batch;
}

/* Dims of a batch of the field as `channels` and `resize` leave it. */
static void
picture_dims(const struct recipe_input *in, int *rank, int64_t *dims)
{
	if (in->hwc && *rank == 4) {
		int64_t c = dims[3];

		memmove(dims + 2, dims + 1, 2 * sizeof *dims);
		dims[1] = c;
	}
	if (in->channels && *rank == 3) {
		memmove(dims + 2, dims + 1, 2 * sizeof *dims);
		*rank = 4;
	}
	if (in->channels && *rank == 4)
		dims[1] = in->channels;
	if (in->resize[0] && *rank >= 3)
		memcpy(dims + *rank - 2, in->resize, sizeof in->resize);
}

static bool
has_symbolic_dim(const struct value *v)
{
	for (int k = 0; k < v->rank; k++)
		if (!dim_const(v->dims[k]))
			return true;
	return false;
}

/* Of a graph imported for the batch alone: does this input want the data's other dims? */
static bool
asks_data(const struct graph *g, const char *input)
{
	for (int i = 0; g && i < g->inputs.n; i++)
		if (strcmp(g->inputs.v[i]->name, input) == 0)
			return has_symbolic_dim(g->inputs.v[i]);
	return false;
}

/* The models of the recipe by number (recipe_model_at), as graphs. */
struct imports {
	struct job *j;
	struct graph **train, **eval; /* eval: NULL for a model that has but one form */
	bool *busy;
};

static struct graph *import_at(struct imports *, int);

/* What `from` of an input names, in the graph of its model; NULL: reported. */
static const struct value *
source_tensor(struct imports *x, const struct recipe_input *in)
{
	struct job *j = x->j;
	const char *dot = strchr(in->from, '.');
	const struct recipe_model *m = recipe_model_find(j->r, in->from, (size_t)(dot - in->from));
	const char *onnx = NULL;
	const struct value *v;
	struct graph *g;
	int at = 0;

	if (!m) {
		diag_invalid(&j->d->diag, job_loc(j, in->line), "input \"%s\" reads %s, and nothing feeds that model here", in->onnx, in->from);
		return NULL;
	}
	while (recipe_model_at(j->r, at) != m)
		at++;
	for (int i = 0; i < m->noutputs; i++)
		if (strcmp(m->outputs[i].name, dot + 1) == 0)
			onnx = m->outputs[i].onnx;
	for (int i = 0; i < m->ntaps; i++)
		if (strcmp(m->taps[i].name, dot + 1) == 0)
			onnx = m->taps[i].onnx;
	g = import_at(x, at);
	v = g && onnx ? distill_tensor(g, onnx) : NULL;
	if (g && !v)
		diag_invalid(&j->d->diag, job_loc(j, in->line), "input \"%s\" reads %s: %s has no tensor \"%s\"; `retort inspect` lists them",
		             in->onnx, in->from, m->path, onnx ? onnx : "");
	return v;
}

/* Rank and dims of what feeds an input, the batch first; false: reported. */
static bool
source_dims(struct imports *x, const struct recipe_input *in, int *rank, int64_t *dims)
{
	struct job *j = x->j;
	const struct job_field *f = in->field ? field_of(j, in->field) : NULL;

	*rank = 1;
	dims[0] = j->batch;
	if (in->field && !f)
		return diag_invalid(&j->d->diag, job_loc(j, in->line),
		                    "input \"%s\" reads field \"%s\" but data.train has none of that name", in->onnx, in->field);
	if (f) {
		dims[0] = rows_of(j, f);
		*rank = 1 + (in->length ? 0 : f->rank);
		memcpy(dims + 1, f->dims, sizeof *dims * (size_t)(*rank - 1));
	} else if (in->noise) {
		*rank = 1 + in->nshape;
		memcpy(dims + 1, in->shape, sizeof *dims * (size_t)in->nshape);
	} else {
		const struct value *v = source_tensor(x, in);

		if (!v)
			return false;
		*rank = v->rank;
		memcpy(dims, v->dims, sizeof *dims * (size_t)v->rank);
		if (v->rank < 1 || !dim_const(dims[0]))
			return diag_invalid(&j->d->diag, job_loc(j, in->line), "input \"%s\" reads %s, whose first axis is no batch", in->onnx,
			                    in->from);
	}
	picture_dims(in, rank, dims);
	return true;
}

/* Several entries for one ONNX input are its rows one after the other. */
static bool
input_shapes(struct imports *x, const struct recipe_model *m, const struct graph *first, struct import_opts *io, struct input_shape *shapes)
{
	for (int i = 0; i < m->ninputs; i++) {
		const struct recipe_input *in = &m->inputs[i];
		bool whole = asks_data(first, in->onnx);
		struct input_shape *s = shapes;
		int64_t dims[MAX_RANK] = {0};
		int rank;

		if (!source_dims(x, in, &rank, dims))
			return false;
		while (s < shapes + io->nshapes && strcmp(s->input, in->onnx) != 0)
			s++;
		if (s == shapes + io->nshapes) {
			io->nshapes++;
			*s = (struct input_shape){.input = in->onnx, .rank = whole && (!in->noise || in->nshape) ? rank : 1};
		}
		s->dims[0] += dims[0];
		for (int k = 1; k < rank && s->rank > 1; k++)
			s->dims[k] = dims[k];
		for (int k = 0, n = in->npad / 2; s->rank > 1 && k < n && n < rank; k++) /* the last axes */
			s->dims[rank - n + k] += in->pad[k] + in->pad[n + k];
	}
	io->shapes = shapes;
	return true;
}

static struct graph *
import_once(struct imports *x, const struct recipe_model *m, bool states, bool training, const struct graph *first)
{
	struct job *j = x->j;
	struct import_opts io = {.states = states, .training = training, .model_name = NULL};
	struct input_shape *shapes = arena_array(j->d->arena, struct input_shape, m->ninputs + 1);

	if (!input_shapes(x, m, first, &io, shapes))
		return NULL;
	io.own_batches = true; /* an input has the rows of the sets that feed it */
	io.default_dim = first ? j->batch : 0;
	return onnx_import(j->d->arena, m->path, &io, &j->d->diag);
}

/* The batch goes to axis 0; where an input has more that is symbolic the data's shape decides,
 * an input of another data set takes the batch. */
static struct graph *
import_model(struct imports *x, const struct recipe_model *m, bool states, bool training)
{
	struct graph *g;
	bool symbolic = false;

	g = import_once(x, m, states, training, NULL);
	for (int i = 0; g && i < g->inputs.n; i++)
		symbolic |= has_symbolic_dim(g->inputs.v[i]);
	return symbolic ? import_once(x, m, states, training, g) : g;
}

static void initialize(struct job *, struct graph *, const char *how, const char *prefix);

static const char *
prefix_of(struct job *j, const struct recipe_model *m)
{
	return m == &j->r->student ? "" : arena_printf(j->d->arena, "%s/", m->name);
}

/* Model k's graph, those that feed it before; NULL: reported. */
static struct graph *
import_at(struct imports *x, int k)
{
	struct job *j = x->j;
	const struct recipe_model *m = recipe_model_at(j->r, k), *of = m->of ? recipe_model_find(j->r, m->of, strlen(m->of)) : m;
	bool states = k <= j->r->nstudents || m->of, two = states && !m->ema_of && !m->stage;

	if (x->train[k] || x->busy[k])
		return x->train[k];
	x->busy[k] = true;
	if (!of) {
		diag_invalid(&j->d->diag, job_loc(j, m->line), "\"%s\" has the weights of \"%s\", and nothing feeds that model here", m->name, m->of);
		return NULL;
	}
	x->train[k] = import_model(x, m, states, two);
	x->eval[k] = x->train[k] && two ? import_model(x, m, true, false) : NULL;
	if (two && !x->eval[k])
		x->train[k] = NULL;
	if (x->train[k] && states && strcmp(m->init, "onnx") != 0) {
		initialize(j, x->train[k], m->init, prefix_of(j, of));
		if (two)
			initialize(j, x->eval[k], m->init, prefix_of(j, of));
	}
	return x->train[k];
}

static bool
fill_model(struct job *j, const struct recipe_model *m, struct graph *g, struct distill_model *out)
{
	struct arena *a = j->d->arena;

	out->name = m->name;
	out->graph = g;
	out->ninputs = m->ninputs;
	out->inputs = arena_array(a, struct distill_input, m->ninputs + 1);
	for (int i = 0; i < m->ninputs; i++) {
		const struct recipe_input *in = &m->inputs[i];
		struct loc loc = job_loc(j, in->line);
		const char **names = arena_array(a, const char *, g->inputs.n + 1), *near;
		struct value *v = NULL;

		for (int k = 0; k < g->inputs.n; k++) {
			names[k] = g->inputs.v[k]->name;
			if (strcmp(names[k], in->onnx) == 0)
				v = g->inputs.v[k];
		}
		if (!v) {
			near = str_nearest(in->onnx, names, g->inputs.n);
			return diag_invalid(&j->d->diag, loc, "%s has no input \"%s\"; %s \"%s\"", m->path, in->onnx,
			                    near ? "did you mean" : "its first is", near ? near : g->inputs.n ? names[0] : "");
		}
		out->inputs[i] = (struct distill_input){.value = v, .field = in->field, .from = in->from, .detach = in->detach, .noise = in->noise, .draw = in->draw,
		                                        .nshape = in->nshape, .shape = in->shape, .scale = in->scale, .offset = in->offset,
		                                        .mask = in->mask, .length = in->length, .filler = in->filler,
		                                        .nnorm = in->nnorm, .mean = in->mean, .std = in->std, .npad = in->npad,
		                                        .pad = in->pad, .channels = in->channels,
		                                        .bgr = in->bgr, .hwc = in->hwc,
		                                        .resize = {in->resize[0], in->resize[1]}};
	}
	for (int k = 0; k < g->inputs.n; k++) {
		bool fed = g->inputs.v[k]->name[0] == '$'; /* the step's own: $seed, $step */

		for (int i = 0; i < m->ninputs; i++)
			fed |= strcmp(m->inputs[i].onnx, g->inputs.v[k]->name) == 0;
		if (!fed && !j->partial)
			return diag_invalid(&j->d->diag, job_loc(j, m->line),
			                    "%s: input \"%s\" of %s is not fed; add it under inputs", m->name, g->inputs.v[k]->name, m->path);
	}
	out->noutputs = m->noutputs;
	out->nnames = m->noutputs + m->ntaps;
	out->names = arena_array(a, struct distill_name, out->nnames + 1);
	for (int i = 0; i < m->noutputs; i++)
		out->names[i] = (struct distill_name){m->outputs[i].name, m->outputs[i].onnx, job_loc(j, m->outputs[i].line)};
	for (int i = 0; i < m->ntaps; i++)
		out->names[m->noutputs + i] = (struct distill_name){m->taps[i].name, m->taps[i].onnx, job_loc(j, m->taps[i].line)};
	return true;
}

/* A teacher given as files: its outputs are fields. */
static void
fill_records(struct job *j, const struct recipe_model *m, struct distill_model *out)
{
	struct arena *a = j->d->arena;

	out->name = m->name;
	out->noutputs = out->nnames = m->noutputs;
	out->names = arena_array(a, struct distill_name, m->noutputs + 1);
	for (int i = 0; i < m->noutputs; i++)
		out->names[i] = (struct distill_name){m->outputs[i].name, NULL, job_loc(j, m->outputs[i].line)};
	out->nrecords = m->nrecords;
	out->records = arena_array(a, struct distill_record, m->nrecords + 1);
	for (int i = 0; i < m->nrecords; i++) {
		const struct recipe_record *r = &m->records[i];
		struct distill_record *o = &out->records[i];

		*o = (struct distill_record){.name = r->name, .n = r->nfiles, .weights = r->weights, .evaluated = true, .probabilities = r->probabilities};
		o->fields = arena_array(a, const char *, r->nfiles + 1);
		for (int k = 0; k < r->nfiles; k++)
			o->fields[k] = recipe_record_field(a, m, r, k);
		for (int s = 0; s < j->nsets; s++) {
			if (m->data && strcmp(m->data, j->sets[s].name) != 0)
				continue;
			o->evaluated &= (!j->sets[s].val->n || r->file[1]) && (!j->sets[s].test->n || r->file[2]);
		}
	}
}

/* ---- init: kaiming | xavier.  Weights are uniform in +-sqrt(6/fan_in), resp.
 * +-sqrt(6/(fan_in+fan_out)); embeddings normal with variance 1/width; scales of
 * normalisations, other factors and running variances 1, everything else of rank 1 is 0;
 * single numbers stay.  Every
 * number depends on the seed, the parameter's name and its place only. */
static uint64_t
mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static double
uniform(uint64_t key, uint64_t i)
{
	return (double)(mix(key + mix(i)) >> 11) / 9007199254740992.0;
}

static uint64_t
name_key(const char *name, uint64_t seed)
{
	uint64_t h = mix(seed);

	for (; *name; name++)
		h = mix(h ^ (unsigned char)*name);
	return h;
}

/* The first node that reads v and which of its inputs v is, through casts and Identity. */
static const struct node *
reader(const struct graph *g, const struct value *v, int *input)
{
	for (int i = 0; i < g->nodes.n; i++)
		for (int k = 0; k < g->nodes.v[i]->nin; k++)
			if (g->nodes.v[i]->in[k] == v && !g->nodes.v[i]->dead) {
				const struct node *n = g->nodes.v[i];

				if (n->op == OP_Identity || n->op == OP_cast || n->op == OP_transpose || n->op == OP_reshape)
					return reader(g, n->out[0], input);
				*input = k;
				return n;
			}
	return NULL;
}

/* [out, in, taps...], except where the node multiplies from the left: [in, out] */
static void
fans(const struct node *n, const struct tensor *t, double *in, double *out)
{
	const char *onnx = n && n->loc.op ? n->loc.op : n ? op_info[n->op].onnx : NULL;
	double taps = 1;
	bool left = onnx && (strcmp(onnx, "MatMul") == 0 ||
	                     (strcmp(onnx, "Gemm") == 0 && !(attr_find(n, "transB") && attr_find(n, "transB")->i)));

	for (int i = 2; i < t->rank; i++)
		taps *= (double)t->dims[i];
	*in = (left ? (double)t->dims[0] : (double)t->dims[1]) * taps;
	*out = (left ? (double)t->dims[1] : (double)t->dims[0]) * taps;
}

static bool
is_factor(const struct node *n, int input)
{
	const char *onnx = n && n->loc.op ? n->loc.op : "";

	if (strcmp(onnx, "Mul") == 0)
		return true;
	if (strstr(onnx, "Normalization"))
		return input == 1 || (input == 4 && strcmp(onnx, "BatchNormalization") == 0);
	return false;
}

static void
initialize(struct job *j, struct graph *g, const char *how, const char *prefix)
{
	bool xavier = strcmp(how, "xavier") == 0;
	int64_t seed = j->d->o.seed >= 0 ? j->d->o.seed : j->r->seed;

	for (int s = 0; s < g->states.n; s++) {
		struct value *v = g->states.v[s];
		struct tensor *t;
		const struct node *n;
		int input = 0;
		int64_t count;
		uint64_t key = name_key(arena_printf(g->arena, "%s%s", prefix, v->name), (uint64_t)seed);

		if (!dtype_is_float(v->dtype) || !v->data || v->rank == 0)
			continue;
		n = reader(g, v, &input);
		t = tensor_new(g->arena, v->dtype, v->rank, v->dims);
		count = tensor_count(t);
		for (int64_t i = 0; i < count; i++) {
			double in, out, x = 0, u = uniform(key, (uint64_t)i);

			if (v->rank < 2) {
				x = is_factor(n, input) ? 1 : 0;
			} else if (n && n->op == OP_gather) {
				x = sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * uniform(~key, (uint64_t)i)) /
				    sqrt((double)t->dims[t->rank - 1]);
			} else {
				fans(n, t, &in, &out);
				x = (2 * u - 1) * sqrt(6 / (xavier ? in + out : in));
			}
			dtype_put_f(t->dtype, t->data, i, x);
		}
		v->data = t;
	}
}

/* ---- all of it */
static bool
named_in(const char *name, int n, const char **list)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

static const struct distill_metric *
metrics_of(struct arena *a, const struct recipe_task *t)
{
	struct distill_metric *m = arena_array(a, struct distill_metric, t->nmetrics + 1);

	for (int i = 0; i < t->nmetrics; i++)
		m[i] = (struct distill_metric){t->metrics[i].name, t->metrics[i].teacher};
	return m;
}

bool
job_import(struct job *j)
{
	struct recipe *r = j->r;
	struct arena *a = j->d->arena;
	struct distill *ds = &j->dist;
	int n = recipe_nmodels(r);
	struct imports x = {j, arena_array(a, struct graph *, n), arena_array(a, struct graph *, n), arena_array(a, bool, n)};

	ds->nstudents = r->nstudents;
	ds->students = arena_array(a, struct distill_model, r->nstudents + 1);
	ds->nteachers = r->nteachers;
	ds->teachers = arena_array(a, struct distill_model, r->nteachers + 1);
	for (int i = 0; i < n; i++) {
		const struct recipe_model *m = recipe_model_at(r, i);
		struct distill_model *to = distill_model_at(ds, i);
		struct graph *g;

		if (m->nrecords) {
			fill_records(j, m, to);
			continue;
		}
		g = import_at(&x, i);
		if (!g || !fill_model(j, m, g, to))
			continue;
		to->graph_eval = x.eval[i];
		if (i <= r->nstudents || m->of)
			to->prefix = prefix_of(j, m);
		to->weights = m->shares ? WEIGHTS_SHARED : m->ema_of ? WEIGHTS_AVERAGE : m->stage ? WEIGHTS_KEPT : WEIGHTS_OWN;
		to->decay = m->decay;
		to->warmup = m->warmup;
		for (int k = 0; m->of && k < n; k++)
			if (strcmp(recipe_model_at(r, k)->name, m->of) == 0)
				to->of = distill_model_at(ds, k);
		if (i > r->nstudents) {
			to->cached = named_in(m->name, r->ncached, r->cached);
			to->nwhat = r->ncache_what;
			to->what = r->cache_what;
		}
	}
	ds->name = r->name;
	ds->batch = j->batch;
	ds->mixed = j->mixed;
	ds->partial = j->partial;
	ds->seed = j->d->o.seed >= 0 ? j->d->o.seed : r->seed;
	fill_fields(j);
	ds->nsets = j->nsets;
	ds->sets = arena_array(a, struct distill_set, j->nsets);
	for (int i = 0; i < j->nsets; i++)
		ds->sets[i] = (struct distill_set){j->sets[i].name, j->sets[i].first_row, j->sets[i].batch, j->sets[i].first_sample, j->sets[i].samples};
	ds->ntasks = r->ntasks;
	ds->tasks = arena_array(a, struct distill_task, r->ntasks + 1);
	for (int i = 0; i < r->ntasks; i++)
		ds->tasks[i] = (struct distill_task){
			.name = r->tasks[i].name, .head = r->tasks[i].head, .target = r->tasks[i].target,
			.auxiliary = r->tasks[i].auxiliary, .weight = r->tasks[i].weight, .set = r->tasks[i].data, .nmetrics = r->tasks[i].nmetrics, .metrics = metrics_of(a, &r->tasks[i]),
			.loc = job_loc(j, r->tasks[i].line)};
	return j->d->diag.errors == 0;
}

/* The first number of a stage's list for this task; NULL: none. */
static const struct dial *
listed_weight(const struct recipe_stage *st, const char *task)
{
	for (int i = 0; i < st->ntask_weights; i++)
		if (task && strcmp(st->task_weights[i].task, task) == 0)
			return &st->task_weights[i].weight;
	return NULL;
}

bool
job_task_dial(const struct recipe_stage *st, const char *task, struct dial *d)
{
	static const enum task_by by[] = {
#define TASK_WEIGHTS(id, by) TASK_BY_##by,
#include "ir/task.def"
	};
	const struct dial *given = listed_weight(st, task);

	*d = given ? *given : (struct dial){.from = 1};
	return task && (by[st->balance.weights] == TASK_BY_EPOCH || (given && given->curve));
}

/* of the task that a term belongs to, where it stays; 1 without one */
double
job_task_weight(const struct recipe *r, const struct recipe_stage *st, const char *task)
{
	const struct dial *given = listed_weight(st, task);
	bool fixed = st->balance.weights == TASKS_fixed || st->balance.weights == TASKS_curve;
	double own = given && fixed && !given->curve ? given->from : 1;

	for (int i = 0; i < r->ntasks; i++)
		if (task && strcmp(r->tasks[i].name, task) == 0)
			return r->tasks[i].weight * own;
	return 1;
}

/* The student's output that is a task's head; NULL: another tensor is. */
static const struct recipe_name *
head_output(const struct recipe *r, const struct recipe_task *t)
{
	const char *head = str_starts(t->head, "student.") ? t->head + strlen("student.") : t->head;

	for (int i = 0; i < r->student.noutputs; i++)
		if (strcmp(r->student.outputs[i].name, head) == 0)
			return &r->student.outputs[i];
	return NULL;
}

int
job_auxiliary(const struct job *j, const char *const **onnx)
{
	const struct recipe *r = j->r;
	const char **names = arena_array(j->d->arena, const char *, r->ntasks + 1);
	int n = 0;

	for (int i = 0; i < r->ntasks; i++) {
		const struct recipe_name *head = head_output(r, &r->tasks[i]);
		bool own = head && r->tasks[i].auxiliary;

		for (int k = 0; k < r->ntasks && own; k++)
			own = r->tasks[k].auxiliary || head_output(r, &r->tasks[k]) != head;
		if (own)
			names[n++] = head->onnx;
	}
	*onnx = names;
	return n;
}

static void
balance_tasks(struct job *j, const struct recipe_stage *st)
{
	j->dist.balance = st->balance;
	for (int i = 0; i < j->dist.ntasks; i++) {
		struct distill_task *t = &j->dist.tasks[i];
		const struct dial *given = listed_weight(st, t->name);
		struct dial d;

		t->weight = job_task_weight(j->r, st, t->name);
		t->turned = job_task_dial(st, t->name, &d);
		t->initial = given ? given->from : 0;
	}
}

static const struct distill_class_map *
class_maps(struct arena *a, const struct recipe_term *t)
{
	struct distill_class_map *m = t->maps ? arena_array(a, struct distill_class_map, t->nteachers + 1) : NULL;

	for (int k = 0; m && k < t->nteachers; k++)
		m[k] = (struct distill_class_map){t->maps[k].n, t->maps[k].to};
	return m;
}

/* Those of the models, of their own names, and the stage's. */
static int
frozen_patterns(struct job *j, const struct recipe_stage *st, const char *const **out)
{
	struct arena *a = j->d->arena;
	VEC(const char *) list = {0};

	for (int i = 0; i <= j->r->nstudents; i++) {
		const struct recipe_model *m = recipe_model_at(j->r, i);

		for (int k = 0; k < m->nfrozen; k++)
			vec_push(a, &list, arena_printf(a, "%s%s", prefix_of(j, m), m->frozen[k]));
	}
	for (int i = 0; i < st->nfrozen; i++)
		vec_push(a, &list, st->frozen[i]);
	*out = list.v;
	return list.n;
}

static struct distill_turn *
turns_of(struct job *j, const struct recipe_stage *st)
{
	struct distill_turn *out = arena_array(j->d->arena, struct distill_turn, st->nturns + 1);

	for (int i = 0; i < st->nturns; i++) {
		const struct recipe_turn *t = &st->turns[i];
		const char **terms = arena_array(j->d->arena, const char *, t->nterms + 1);

		for (int k = 0; k < t->nterms; k++)
			terms[k] = t->terms[k].name;
		out[i] = (struct distill_turn){t->nterms, terms, t->ntrains, t->trains, t->times, job_loc(j, t->line)};
	}
	return out;
}

bool
job_stage(struct job *j, const struct recipe_stage *st)
{
	const struct recipe_term *terms = st->nterms ? st->terms : j->r->terms;
	int nterms = st->nterms ? st->nterms : j->r->nterms;
	struct distill *ds = &j->dist;

	ds->nterms = nterms;
	ds->terms = arena_array(j->d->arena, struct distill_term, nterms + 1);
	for (int i = 0; i < nterms; i++)
		ds->terms[i] = (struct distill_term){
			.name = terms[i].name, .task = terms[i].task, .loss = terms[i].loss, .nstudents = terms[i].nstudents,
			.students = terms[i].students, .values = terms[i].values, .through = terms[i].through, .adaptor = terms[i].adaptor, .modules = terms[i].modules, .mask = terms[i].mask, .mask_filler = terms[i].mask_filler, .reduction = terms[i].reduction, .weight = terms[i].weight,
			.temperature = terms[i].temperature, .tau_squared = terms[i].tau_squared,
			.nteachers = terms[i].nteachers, .teachers = terms[i].teachers,
			.teacher_weights = terms[i].teacher_weights, .maps = class_maps(j->d->arena, &terms[i]),
			.loc = job_loc(j, terms[i].line)};
	ds->nfrozen = frozen_patterns(j, st, &ds->frozen);
	ds->ntrains = st->ntrains;
	ds->trains = st->trains;
	ds->nturns = st->nturns;
	ds->turns = turns_of(j, st);
	for (int i = 0; i < j->r->nteachers; i++)
		ds->teachers[i].keeps = j->r->teachers[i].stage && strcmp(j->r->teachers[i].stage, st->name) == 0;
	ds->batch_norm_frozen = st->batch_norm_frozen;
	ds->update = st->update;
	balance_tasks(j, st);
	return true;
}
