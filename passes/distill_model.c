/* distill_model -- fields as graph inputs, models cloned and fed by them, the
 * tensors that recipe names stand for. */
#include "passes/distill_int.h"

#include <string.h>

struct build
distill_build(struct distiller *x, struct loc loc)
{
	return build_at(x->g, x->diag, loc, "distill");
}

/* ---- fields */

struct rows
distill_field_rows(const struct distill *d, const struct distill_field *f)
{
	if (f->rows == 0)
		return (struct rows){0, d->batch};
	return (struct rows){f->first_row, f->first_row + f->rows};
}

int
distill_field_find(struct distiller *x, const char *name, struct loc loc)
{
	const char *names[256];
	const char *near;
	int n = 0;

	for (int i = 0; i < x->d->nfields; i++) {
		if (strcmp(x->d->fields[i].name, name) == 0)
			return i;
		if (n < 256)
			names[n++] = x->d->fields[i].name;
	}
	near = str_nearest(name, names, n);
	diag_invalid(x->diag, loc, "no data field is called \"%s\"%s%s%s", name,
	    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return -1;
}

/* The graph input of a field, made when first asked for. */
struct value *
distill_field_value(struct distiller *x, int i)
{
	const struct distill_field *f = &x->d->fields[i];
	struct rows r = distill_field_rows(x->d, f);
	int64_t dims[MAX_RANK];

	if (x->field[i])
		return x->field[i];
	if (f->rank + 1 > MAX_RANK) {
		diag_unsupported(x->diag, LOC_NONE,
		    "field \"%s\" has %d dims, at most %d are possible", f->name, f->rank,
		    MAX_RANK - 1);
		return NULL;
	}
	dims[0] = r.end - r.first;
	memcpy(dims + 1, f->dims, sizeof dims[0] * (size_t)f->rank);
	return x->field[i] = graph_input(x->g, f->name, f->dtype, f->rank + 1, dims);
}

struct value *
distill_input(struct graph *g, const char *name, enum dtype t, int rank, const int64_t *dims)
{
	for (int i = 0; i < g->inputs.n; i++)
		if (strcmp(g->inputs.v[i]->name, name) == 0)
			return g->inputs.v[i];
	return graph_input(g, name, t, rank, dims);
}

/* ---- inputs of models */

static const char *
source_name(const struct distill_input *in)
{
	return in->field ? in->field : in->from ? in->from : in->noise;
}

/* x*scale + offset, then (x - mean)/std per channel, as one multiplication and
 * one addition. */
static struct value *
normalized(struct build *b, const struct distill_input *in, struct value *v, const char *model)
{
	int n = in->nnorm > 0 ? in->nnorm : 1;
	int64_t dims[MAX_RANK];
	struct tensor *mul, *add;

	if (in->nnorm > 1 && (v->rank < 2 || v->dims[1] != in->nnorm)) {
		diag_invalid(b->diag, b->loc,
		    "normalize has %d means, field \"%s\" for input \"%s\" of %s is %s: one for "
		    "each of axis 1 (or a single one) expected",
		    in->nnorm, source_name(in), in->value->name, model, dims_text(b->g->arena, v));
		return NULL;
	}
	for (int i = 0; i < v->rank; i++)
		dims[i] = 1;
	if (n > 1)
		dims[1] = n;
	mul = tensor_new(b->g->arena, v->dtype, n > 1 ? v->rank : 0, dims);
	add = tensor_new(b->g->arena, v->dtype, n > 1 ? v->rank : 0, dims);
	for (int i = 0; i < n; i++) {
		double mean = in->nnorm ? in->mean[i] : 0, std = in->nnorm ? in->std[i] : 1;

		if (std == 0) {
			diag_invalid(
			    b->diag, b->loc, "normalize of field \"%s\": std is 0", source_name(in));
			return NULL;
		}
		dtype_put_f(v->dtype, mul->data, i, in->scale / std);
		dtype_put_f(v->dtype, add->data, i, (in->offset - mean) / std);
	}
	v = b_mul(b, v, graph_const(b->g, "scale", mul));
	return b_add(b, v, graph_const(b->g, "offset", add));
}

/* Zeros around the last axes: pad has lo... then hi... of npad/2 axes. */
static struct value *
padded(struct build *b, const struct distill_input *in, struct value *v)
{
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	int n = in->npad / 2;

	if (n == 0)
		return v;
	if (n > v->rank - 1) {
		diag_invalid(b->diag, b->loc,
		    "pad of field \"%s\" names %d axes, its samples are %s without the batch",
		    source_name(in), n, dims_text(b->g->arena, v));
		return NULL;
	}
	for (int i = 0; i < n; i++) {
		lo[v->rank - n + i] = in->pad[i];
		hi[v->rank - n + i] = in->pad[n + i];
	}
	return b_pad(b, v, lo, hi, 0);
}

/* Field samples in the rank of the input's: 1s in front, as [28,28] for [1,28,28];
 * or by count, as [1,28,28] for [784]. */
static struct value *
ranked(struct build *b, struct value *v, const struct value *want)
{
	int64_t dims[MAX_RANK], wanted = 1, have = 1;
	int more = want->rank - v->rank;

	if (more > 0) {
		dims[0] = v->dims[0];
		for (int i = 1; i < want->rank; i++)
			dims[i] = i <= more ? 1 : v->dims[i - more];
		return b_reshape(b, v, want->rank, dims);
	}
	for (int i = 1; i < want->rank; i++)
		wanted *= dim_const(want->dims[i]) ? want->dims[i] : 0;
	for (int i = 1; i < v->rank; i++)
		have *= v->dims[i];
	if (more == 0 || wanted != have)
		return v;
	memcpy(dims, want->dims, sizeof dims);
	dims[0] = v->dims[0];
	return b_reshape(b, v, want->rank, dims);
}

/* 1 where a row [L] is no filler; or how many such it has. */
static struct value *
filled(struct build *b, const struct distill_input *in, struct value *v, const char *model)
{
	const struct value *want = in->value;
	struct value *is;

	if (v->rank != 2) {
		diag_invalid(b->diag, b->loc,
		    "input \"%s\" of %s: a %s is of samples [T], field \"%s\" is %s", want->name, model,
		    in->mask ? "mask" : "length", in->field, dims_text(b->g->arena, v));
		return NULL;
	}
	is = b1(b, OP_not, b2(b, OP_eq, v, b_scalar_like(b, v, in->filler)));
	if (in->mask)
		return b_cast(b, is, want->dtype);
	return b_cast(b, b_reduce(b, OP_reduce_sum, b_cast(b, is, DT_i64), 1, (const int64_t[]){1}, false), want->dtype);
}

static struct value *
prepared(struct distiller *x, struct build *b, const struct made *m, const struct distill_input *in, const char *model,
    struct rows *rows)
{
	int i = in->field ? distill_field_find(x, in->field, b->loc) : -1;
	struct value *v = i >= 0 ? distill_field_value(x, i) : in->field ? NULL : distill_source(x, b, m, in, rows);
	const struct value *want = in->value;
	bool plain = in->scale == 1 && in->offset == 0 && in->nnorm == 0 && !in->channels && !in->resize[0] && !in->hwc;

	if (!v)
		return NULL;
	if (i >= 0)
		*rows = distill_field_rows(x->d, &x->d->fields[i]);
	if (!plain && !dtype_is_float(want->dtype)) {
		diag_invalid(x->diag, b->loc,
		    "input \"%s\" of %s is %s: scale, normalize, resize and channels need a float input", want->name,
		    model, dtype_info[want->dtype].name);
		return NULL;
	}
	v = in->mask || in->length ? filled(b, in, v, model) : b_cast(b, v, want->dtype);
	v = distill_picture(b, in, v);
	if (v && v->rank < want->rank)
		v = ranked(b, v, want);
	if (v && !plain)
		v = normalized(b, in, v, model);
	if (v)
		v = padded(b, in, v);
	return v ? ranked(b, v, want) : NULL;
}

static bool
input_is(const struct made *m, const struct distill_input *in, const struct value *v)
{
	return in->value == v || (m->src != m->m->graph && strcmp(in->value->name, v->name) == 0);
}

static const char *
model_title(struct distiller *x, const struct made *m)
{
	if (m == &x->made[0])
		return "the student";
	return arena_printf(x->g->arena, m->student ? "student \"%s\"" : "teacher \"%s\"", m->m->name);
}

struct value *
distill_draws(struct build *b, int64_t accumulate, struct value *step)
{
	if (accumulate < 2)
		return step;
	step = b_muls(b, b_adds(b, step, -1), (double)accumulate);
	step = b_add(b, step, distill_input(b->g, "$micro", DT_i64, 0, NULL));
	return b_adds(b, step, 1);
}

struct value *
distill_step(struct distiller *x, struct build *b, struct value *step)
{
	int64_t times = x->turn ? x->turn->times : 1; /* turns have no windows */

	if (times < 2)
		return distill_draws(b, x->d->update.accumulate, step);
	return b_adds(b, b_muls(b, b_adds(b, step, -1), (double)times), (double)(x->repeat + 1));
}

/* Models draw numbers of their own: a seed for each. */
static struct value *
seed_of(struct build *b, const struct made *m, struct value *seed)
{
	uint32_t h = 2166136261u;

	for (const char *s = m->m->name; m->m->prefix && *m->m->prefix && *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h == 2166136261u ? seed : b_adds(b, seed, (double)(h >> 1));
}

/* What stands for input v of the model: its fields' rows one after the other. */
static struct value *
fed(struct distiller *x, struct made *m, const struct value *v, struct rows *rows)
{
	struct build b = distill_build(x, v->loc);
	const char *model = model_title(x, m);
	struct value *part[64], *whole;
	int n = 0;

	if (v->name[0] == '$') {
		struct value *in = distill_input(x->g, v->name, v->dtype, v->rank, v->dims);

		*rows = (struct rows){0, 0};
		if (strcmp(v->name, "$seed") == 0)
			return seed_of(&b, m, in);
		return strcmp(v->name, "$step") == 0 && !x->eval ? distill_step(x, &b, in) : in;
	}
	for (int i = 0; i < m->m->ninputs && n < 64; i++) {
		const struct distill_input *in = &m->m->inputs[i];
		struct rows r;

		if (!input_is(m, in, v))
			continue;
		part[n] = prepared(x, &b, m, in, model, &r);
		if (!part[n])
			return NULL;
		if (n > 0 && r.first != rows->end) {
			diag_invalid(x->diag, b.loc,
			    "input \"%s\" of %s: rows of %s \"%s\" do not follow those before "
			    "it; name its fields in the order of the data sets",
			    v->name, model, in->field ? "field" : in->from ? "tensor" : "noise", source_name(in));
			return NULL;
		}
		if (n == 0)
			rows->first = r.first;
		rows->end = r.end;
		n++;
	}
	if (n == 0 && x->d->partial) {
		*rows = (struct rows){0, 0};
		return distill_input(x->g, arena_printf(x->g->arena, "$unfed.%s", v->name), v->dtype, v->rank, v->dims);
	}
	if (n == 0) {
		diag_invalid(x->diag, b.loc,
		    "input \"%s\" of %s is fed by no data field; add it to the model's inputs",
		    v->name, model);
		return NULL;
	}
	whole = n == 1 ? part[0] : b_concat(&b, n, part, 0);
	if (whole &&
	    (whole->rank != v->rank || !dims_equal(whole->rank, whole->dims, v->rank, v->dims))) {
		diag_invalid(x->diag, b.loc, "input \"%s\" of %s is %s, its data is %s", v->name,
		    model, dims_text(x->g->arena, v), dims_text(x->g->arena, whole));
		return NULL;
	}
	return whole;
}

/* ---- models */

static struct rows
hull(struct rows a, struct rows b)
{
	if (a.first == a.end)
		return b;
	if (b.first == b.end)
		return a;
	return (struct rows){a.first < b.first ? a.first : b.first, a.end > b.end ? a.end : b.end};
}

static void
trace_rows(struct made *m)
{
	for (int i = 0; i < m->src->nodes.n; i++) {
		const struct node *n = m->src->nodes.v[i];
		struct rows r = {0, 0};

		for (int k = 0; k < n->nin; k++)
			if (n->in[k])
				r = hull(r, m->rows[n->in[k]->id]);
		for (int o = 0; o < n->nout; o++)
			if (n->out[o])
				m->rows[n->out[o]->id] = r;
	}
}

bool
distill_updated(const struct graph *g, const struct value *state)
{
	for (int i = 0; i < g->updates.n; i++)
		if (g->updates.v[i].state == state)
			return true;
	return false;
}

const char *
distill_state_name(struct arena *a, const struct distill_model *m, const struct value *state)
{
	bool theirs = m->weights == WEIGHTS_SHARED || (m->weights == WEIGHTS_AVERAGE && !state->trainable);
	const char *prefix = theirs ? m->of->prefix : m->prefix;

	return prefix && *prefix ? arena_printf(a, "%s%s", prefix, state->name) : state->name;
}

/* The model's states as they are at this point of the step. */
static void
clone_states(struct distiller *x, struct made *m)
{
	struct build b = distill_build(x, LOC_NONE);

	for (int i = 0; i < m->src->states.n; i++) {
		const struct value *v = m->src->states.v[i];
		const char *name = distill_state_name(x->g->arena, m->m, v);
		bool own = m->m->weights == WEIGHTS_OWN || m->m->weights == WEIGHTS_SHARED;
		struct value *s = graph_state_find(x->g, name);

		if (!s) {
			s = graph_state(x->g, name, v->data, v->trainable && own);
			s->layout = v->layout;
			s->loc = v->loc;
		}
		m->map[v->id] = x->eval ? s : state_now(&b, s);
	}
}

bool
distill_clone(struct distiller *x, struct made *m)
{
	const struct graph *src = m->src;

	if (m->busy)
		return diag_invalid(x->diag, LOC_NONE, "the inputs of %s depend on its own outputs", model_title(x, m));
	if (m->map || m->failed)
		return !m->failed;
	m->map = arena_array(x->scratch, struct value *, src->nvalue + 1);
	m->rows = arena_array(x->scratch, struct rows, src->nvalue + 1);
	m->busy = true;
	for (int i = 0; i < src->inputs.n; i++) {
		const struct value *v = src->inputs.v[i];

		m->map[v->id] = fed(x, m, v, &m->rows[v->id]);
		m->failed |= !m->map[v->id];
	}
	m->busy = false;
	if (m->failed)
		return false;
	trace_rows(m);
	clone_states(x, m);
	graph_clone_into(
	    x->g, src, m->map, m == &x->made[0] ? "" : arena_printf(x->g->arena, "%s/", m->m->name));
	for (int i = 0; i < src->updates.n && !x->eval; i++)
		state_move(x->g, m->map[src->updates.v[i].state->id], m->map[src->updates.v[i].next->id]);
	return true;
}

static struct value *
find_in(struct value *const *v, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (v[i] && v[i]->name && strcmp(v[i]->name, name) == 0)
			return v[i];
	return NULL;
}

struct value *
distill_tensor(const struct graph *g, const char *name)
{
	struct value *v;

	for (int i = 0; i < g->outputs.n; i++)
		if (strcmp(g->output_names.v[i], name) == 0)
			return g->outputs.v[i];
	for (int i = 0; i < g->nodes.n; i++) {
		v = find_in(g->nodes.v[i]->out, g->nodes.v[i]->nout, name);
		if (v)
			return v;
	}
	v = find_in(g->inputs.v, g->inputs.n, name);
	if (!v)
		v = find_in(g->states.v, g->states.n, name);
	/* the output of an Identity or a dropped Dropout is another name of its input */
	return v || !g->by_name ? v : map_get(g->by_name, name);
}

static bool
no_tensor(struct distiller *x, const struct made *m, const struct distill_name *name)
{
	VEC(const char *) names = {0};
	const char *near;

	for (int i = 0; i < m->src->outputs.n; i++)
		vec_push(x->scratch, &names, m->src->output_names.v[i]);
	for (int i = 0; i < m->src->nodes.n; i++)
		for (int o = 0; o < m->src->nodes.v[i]->nout; o++)
			if (m->src->nodes.v[i]->out[o] && m->src->nodes.v[i]->out[o]->name)
				vec_push(x->scratch, &names, m->src->nodes.v[i]->out[o]->name);
	near = str_nearest(name->onnx, names.v, names.n);
	return diag_invalid(x->diag, name->loc,
	    "%s has no tensor \"%s\"%s%s%s; `retort inspect` lists them", model_title(x, m), name->onnx,
	    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static bool
no_name(struct distiller *x, const struct made *m, const char *name, struct loc loc)
{
	const char *names[256];
	const char *near;
	int n = 0;

	for (int i = 0; i < m->m->nnames && n < 256; i++)
		names[n++] = m->m->names[i].name;
	near = str_nearest(name, names, n);
	return diag_invalid(x->diag, loc, "%s has no output or tap \"%s\"%s%s%s", model_title(x, m),
	    name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* The value of src that `name` (of the recipe) stands for; NULL: reported. */
struct value *
distill_named(struct distiller *x, const struct made *m, const char *name, struct loc loc)
{
	for (int i = 0; i < m->m->nnames; i++) {
		struct value *v;

		if (strcmp(m->m->names[i].name, name) != 0)
			continue;
		v = distill_tensor(m->src, m->m->names[i].onnx);
		if (!v)
			no_tensor(x, m, &m->m->names[i]);
		return v;
	}
	no_name(x, m, name, loc);
	return NULL;
}

bool
distill_cached(const struct distill_model *m, const char *name)
{
	size_t len = strlen(m->name);

	for (int i = 0; i < m->nwhat; i++)
		if (strncmp(m->what[i], m->name, len) == 0 && m->what[i][len] == '.' && strcmp(m->what[i] + len + 1, name) == 0)
			return m->cached;
	return m->cached && m->nwhat == 0;
}

/* A cached teacher's output comes as an input of its type. */
static struct value *
cached_input(struct distiller *x, const struct made *m, const char *name, const struct value *v)
{
	const char *in = arena_printf(x->g->arena, "$teacher.%s.%s", m->m->name, name);

	return distill_input(x->g, in, DT_f32, v->rank, v->dims);
}

/* Rows of a cached teacher's value, which is not cloned here. */
static bool
rows_of_inputs(struct distiller *x, struct made *m)
{
	if (m->rows)
		return true;
	m->rows = arena_array(x->scratch, struct rows, m->src->nvalue + 1);
	for (int i = 0; i < m->src->inputs.n; i++) {
		const struct value *v = m->src->inputs.v[i];

		for (int k = 0; k < m->m->ninputs; k++) {
			const struct distill_input *in = &m->m->inputs[k];
			int f = input_is(m, in, v) && in->field ? distill_field_find(x, in->field, v->loc) : -2;

			if (f == -1)
				return false;
			if (f >= 0)
				m->rows[v->id] = hull(
				    m->rows[v->id], distill_field_rows(x->d, &x->d->fields[f]));
		}
	}
	trace_rows(m);
	return true;
}

/* ---- teachers given as files */
static const struct distill_record *
record_of(const struct distill_model *m, const char *name)
{
	for (int i = 0; i < m->nrecords; i++)
		if (strcmp(m->records[i].name, name) == 0)
			return &m->records[i];
	return NULL;
}

/* The weighted mean of its files' rows: sum of w_k x_k. */
static bool
recorded(struct distiller *x, const struct made *m, const char *name, struct loc loc, struct part *out)
{
	struct build b = distill_build(x, loc);
	const struct distill_record *r = record_of(m->m, name);

	if (!r)
		return no_name(x, m, name, loc);
	*out = (struct part){.name = arena_printf(x->g->arena, "teacher output \"%s.%s\"", m->m->name, name)};
	if (x->eval && !r->evaluated)
		return diag_invalid(x->diag, loc, "%s is needed in evaluations, and its files are not of every split: give `file: {train: F, val: F, test: F}`",
		    out->name);
	for (int k = 0; k < r->n; k++) {
		int i = distill_field_find(x, r->fields[k], loc);
		struct value *v = i < 0 ? NULL : distill_field_value(x, i);

		if (!v)
			return false;
		v = b_cast(&b, v, DT_f32);
		if (out->v && !dims_equal(v->rank, v->dims, out->v->rank, out->v->dims))
			return diag_invalid(x->diag, loc, "%s is %s in its first file and %s in file %d", out->name,
			    dims_text(x->g->arena, out->v), dims_text(x->g->arena, v), k + 1);
		if (r->n > 1)
			v = b_muls(&b, v, r->weights[k]);
		out->v = out->v ? b_add(&b, out->v, v) : v;
		out->rows = distill_field_rows(x->d, &x->d->fields[i]);
	}
	/* an answer that cannot be is one in 1e12 */
	if (r->probabilities && out->v)
		out->v = b_log(&b, b_max(&b, out->v, b_scalar(&b, DT_f32, 1e-12)));
	return out->v != NULL;
}

bool
distill_evaluated(const struct distiller *x, const struct distill_term *t)
{
	for (int k = 0; k < t->nteachers; k++)
		for (int i = 0; i < x->d->nteachers; i++) {
			const struct distill_model *m = &x->d->teachers[i];
			size_t n = strlen(m->name);
			const struct distill_record *r =
			    strncmp(t->teachers[k], m->name, n) == 0 && t->teachers[k][n] == '.' ? record_of(m, t->teachers[k] + n + 1) : NULL;

			if (r && !r->evaluated)
				return false;
		}
	return true;
}

/* Does anything of the model depend on what may train? */
static bool
is_live(struct distiller *x, const struct made *m)
{
	bool live = m->student;

	for (int i = 0; i < m->m->ninputs && !live; i++)
		live = m->m->inputs[i].from && is_live(x, distill_made(x, m->m->inputs[i].from));
	return live;
}

struct value *
distill_detached(struct build *b, struct value *v)
{
	return v && v->kind != VAL_CONST && v->kind != VAL_INPUT ? b1(b, OP_StopGradient, v) : v;
}

static bool
part_of(struct distiller *x, struct made *m, const char *name, struct loc loc, struct part *out)
{
	struct build b = distill_build(x, loc);
	bool cached = !m->student && distill_cached(m->m, name);
	struct value *v;

	if (m->m->nrecords)
		return recorded(x, m, name, loc, out);
	v = distill_named(x, m, name, loc);
	if (!v || !(cached ? rows_of_inputs(x, m) : distill_clone(x, m)))
		return false;
	out->v = cached ? cached_input(x, m, name, v) : m->map[v->id];
	require(out->v);
	out->origin = v;
	out->rows = m->rows[v->id];
	if (out->rows.first == out->rows.end)
		out->rows = (struct rows){0, x->d->batch};
	out->live = is_live(x, m);
	out->name = m == &x->made[0] ? arena_printf(x->g->arena, "student output \"%s\"", name)
				     : arena_printf(x->g->arena, "%s output \"%s.%s\"",
					   m->student ? "student" : "teacher", m->m->name, name);
	if (!dtype_is_float(out->v->dtype))
		return diag_invalid(x->diag, loc, "%s is %s: losses need float tensors", out->name,
		    dtype_info[out->v->dtype].name);
	if (out->v->rank < 1 || out->v->dims[0] != out->rows.end - out->rows.first)
		return diag_invalid(x->diag, loc,
		    "%s is %s: its first axis should be the batch of %lld rows", out->name,
		    dims_text(x->g->arena, out->v), (long long)(out->rows.end - out->rows.first));
	out->v = b_cast(&b, out->v, DT_f32);
	return out->v != NULL;
}

struct made *
distill_made(struct distiller *x, const char *name)
{
	size_t n = strcspn(name, ".");

	for (int i = 0; i < x->nmade; i++)
		if (strncmp(x->made[i].m->name, name, n) == 0 && !x->made[i].m->name[n])
			return &x->made[i];
	return NULL;
}

/* "student.cls", "cls" of the student, "b.cls" of another model */
bool
distill_student_part(struct distiller *x, const char *name, struct loc loc, struct part *out)
{
	if (str_starts(name, "student."))
		name += strlen("student.");
	return strchr(name, '.') ? distill_teacher_part(x, name, loc, out) : part_of(x, &x->made[0], name, loc, out);
}

/* "big.y" */
bool
distill_teacher_part(struct distiller *x, const char *name, struct loc loc, struct part *out)
{
	const char *dot = strchr(name, '.'), *near;
	const char *names[256];
	struct made *m = dot ? distill_made(x, name) : NULL;
	int n = 0;

	if (m)
		return part_of(x, m, dot + 1, loc, out);
	if (!dot)
		return diag_invalid(
		    x->diag, loc, "teacher \"%s\" names no output; write TEACHER.OUTPUT", name);
	for (int i = 1; i < x->nmade && n < 256; i++)
		names[n++] = x->made[i].m->name;
	name = arena_strndup(x->scratch, name, (size_t)(dot - name));
	near = str_nearest(name, names, n);
	return diag_invalid(x->diag, loc, "no teacher is called \"%s\"%s%s%s", name,
	    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* Names of the recipe that no tensor has, used or not. */
bool
distill_check_names(struct distiller *x, const struct made *m)
{
	bool ok = true;

	for (int i = 0; i < m->m->nnames && m->src; i++)
		if (!distill_tensor(m->src, m->m->names[i].onnx))
			ok = no_tensor(x, m, &m->m->names[i]);
	return ok;
}
