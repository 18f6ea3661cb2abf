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
		    in->nnorm, in->field, in->value->name, model, dims_text(b->g->arena, v));
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
			    b->diag, b->loc, "normalize of field \"%s\": std is 0", in->field);
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
		    in->field, n, dims_text(b->g->arena, v));
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
prepared(struct distiller *x, struct build *b, const struct distill_input *in, const char *model)
{
	int i = distill_field_find(x, in->field, b->loc);
	struct value *v = i < 0 ? NULL : distill_field_value(x, i);
	const struct value *want = in->value;
	bool plain = in->scale == 1 && in->offset == 0 && in->nnorm == 0 && !in->channels && !in->resize[0] && !in->hwc;

	if (!v)
		return NULL;
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
	return m->student ? "the student" : arena_printf(x->g->arena, "teacher \"%s\"", m->m->name);
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
		return strcmp(v->name, "$step") == 0 && !x->eval ? distill_draws(&b, x->d->update.accumulate, in)
								  : in;
	}
	for (int i = 0; i < m->m->ninputs && n < 64; i++) {
		const struct distill_input *in = &m->m->inputs[i];
		struct rows r;

		if (!input_is(m, in, v))
			continue;
		part[n] = prepared(x, &b, in, model);
		if (!part[n])
			return NULL;
		r = distill_field_rows(
		    x->d, &x->d->fields[distill_field_find(x, in->field, b.loc)]);
		if (n > 0 && r.first != rows->end) {
			diag_invalid(x->diag, b.loc,
			    "input \"%s\" of %s: rows of field \"%s\" do not follow those before "
			    "it; name its fields in the order of the data sets",
			    v->name, model, in->field);
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

bool
distill_clone(struct distiller *x, struct made *m)
{
	const struct graph *src = m->src;

	if (m->map || m->failed)
		return !m->failed;
	m->map = arena_array(x->scratch, struct value *, src->nvalue + 1);
	m->rows = arena_array(x->scratch, struct rows, src->nvalue + 1);
	for (int i = 0; i < src->inputs.n; i++) {
		const struct value *v = src->inputs.v[i];

		m->map[v->id] = fed(x, m, v, &m->rows[v->id]);
		m->failed |= !m->map[v->id];
	}
	if (m->failed)
		return false;
	trace_rows(m);
	graph_clone_into(
	    x->g, src, m->map, m->student ? "" : arena_printf(x->g->arena, "%s/", m->m->name));
	for (int i = 0; i < src->updates.n && !x->eval; i++) {
		struct update u = {
		    m->map[src->updates.v[i].state->id], m->map[src->updates.v[i].next->id]};

		if (!distill_updated(x->g, u.state))
			vec_push(x->g->arena, &x->g->updates, u);
	}
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

static struct value *
onnx_value(const struct graph *g, const char *name)
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
		v = onnx_value(m->src, m->m->names[i].onnx);
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
			int f = input_is(m, in, v) ? distill_field_find(x, in->field, v->loc) : -2;

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
	out->name = m->student
			? arena_printf(x->g->arena, "student output \"%s\"", name)
			: arena_printf(x->g->arena, "teacher output \"%s.%s\"", m->m->name, name);
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

/* "student.cls" or "cls" */
bool
distill_student_part(struct distiller *x, const char *name, struct loc loc, struct part *out)
{
	if (str_starts(name, "student."))
		name += strlen("student.");
	return part_of(x, &x->student, name, loc, out);
}

/* "big.y" */
bool
distill_teacher_part(struct distiller *x, const char *name, struct loc loc, struct part *out)
{
	const char *dot = strchr(name, '.'), *near;
	const char *names[256];
	int n = 0;

	for (int i = 0; dot && i < x->d->nteachers; i++) {
		const char *t = x->d->teachers[i].name;

		if (strncmp(t, name, (size_t)(dot - name)) == 0 && !t[dot - name])
			return part_of(x, &x->teachers[i], dot + 1, loc, out);
	}
	if (!dot)
		return diag_invalid(
		    x->diag, loc, "teacher \"%s\" names no output; write TEACHER.OUTPUT", name);
	for (int i = 0; i < x->d->nteachers && n < 256; i++)
		names[n++] = x->d->teachers[i].name;
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
		if (!onnx_value(m->src, m->m->names[i].onnx))
			ok = no_tensor(x, m, &m->m->names[i]);
	return ok;
}
