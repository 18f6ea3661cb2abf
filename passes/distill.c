/* distill -- the graphs of a recipe:
 *
 *   fields ──► inputs (cast, scale, normalise, pad, concat) ──► teachers ──┐
 *                                                         └──► student ──►┤
 *                                              targets ──────────────────►┴─► terms ─► loss
 *   loss ─► gradients of the trainable states ─► updates
 *
 * Every model is cloned whole; what no term reads is dropped at the end.  A batch
 * may hold the rows of several data sets one after the other: each value knows
 * which rows it is about by the fields it depends on, and a term sees the rows
 * that all its operands have. */
#include "passes/distill_int.h"

#include <stdlib.h>
#include <string.h>

struct rows {
	int64_t first, end;
};

/* A model's copy in the graph being built. */
struct made {
	const struct distill_model *m;
	const struct graph *src;
	struct value **map; /* by value id of src; NULL: not cloned */
	struct rows *rows;  /* by value id of src */
	bool student, failed;
};
struct distiller {
	const struct distill *d;
	struct graph *g;
	struct diag *diag;
	struct arena *scratch;
	bool eval;
	struct made student, *teachers;
	struct value **field;	     /* by field */
	struct value *valid;	     /* eval: f32 [batch], 1 for rows that count */
	struct value *outside;	     /* number of labels outside their classes */
	VEC(struct value *) checked; /* targets already in `outside` */
};
/* A value of a model and the rows it is about. */
struct part {
	struct value *v;
	struct rows rows;
	const char *name;
};

static struct build
build_for(struct distiller *x, struct loc loc)
{
	return build_at(x->g, x->diag, loc, "distill");
}

/* ---- fields */

static struct rows
field_rows(const struct distill *d, const struct distill_field *f)
{
	if (f->rows == 0)
		return (struct rows){0, d->batch};
	return (struct rows){f->first_row, f->first_row + f->rows};
}

static int
field_find(struct distiller *x, const char *name, struct loc loc)
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
static struct value *
field_value(struct distiller *x, int i)
{
	const struct distill_field *f = &x->d->fields[i];
	struct rows r = field_rows(x->d, f);
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

static struct value *
graph_input_named(struct graph *g, const char *name, enum dtype t, int rank, const int64_t *dims)
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

static struct value *
prepared(struct distiller *x, struct build *b, const struct distill_input *in, const char *model)
{
	int i = field_find(x, in->field, b->loc);
	struct value *v = i < 0 ? NULL : field_value(x, i);
	const struct value *want = in->value;
	bool plain = in->scale == 1 && in->offset == 0 && in->nnorm == 0;

	if (!v)
		return NULL;
	if (!plain && !dtype_is_float(want->dtype)) {
		diag_invalid(x->diag, b->loc,
		    "input \"%s\" of %s is %s: scale and normalize need a float input", want->name,
		    model, dtype_info[want->dtype].name);
		return NULL;
	}
	v = b_cast(b, v, want->dtype);
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

/* What stands for input v of the model: its fields' rows one after the other. */
static struct value *
fed(struct distiller *x, struct made *m, const struct value *v, struct rows *rows)
{
	struct build b = build_for(x, v->loc);
	const char *model = model_title(x, m);
	struct value *part[64], *whole;
	int n = 0;

	if (v->name[0] == '$') {
		*rows = (struct rows){0, 0};
		return graph_input_named(x->g, v->name, v->dtype, v->rank, v->dims);
	}
	for (int i = 0; i < m->m->ninputs && n < 64; i++) {
		const struct distill_input *in = &m->m->inputs[i];
		struct rows r;

		if (!input_is(m, in, v))
			continue;
		part[n] = prepared(x, &b, in, model);
		if (!part[n])
			return NULL;
		r = field_rows(x->d, &x->d->fields[field_find(x, in->field, b.loc)]);
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

static bool
has_update(const struct graph *g, const struct value *state)
{
	for (int i = 0; i < g->updates.n; i++)
		if (g->updates.v[i].state == state)
			return true;
	return false;
}

static bool
clone(struct distiller *x, struct made *m)
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

		if (!has_update(x->g, u.state))
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
	return v ? v : find_in(g->states.v, g->states.n, name);
}

static bool
no_tensor(struct distiller *x, const struct made *m, const char *onnx, struct loc loc)
{
	VEC(const char *) names = {0};
	const char *near;

	for (int i = 0; i < m->src->outputs.n; i++)
		vec_push(x->scratch, &names, m->src->output_names.v[i]);
	for (int i = 0; i < m->src->nodes.n; i++)
		for (int o = 0; o < m->src->nodes.v[i]->nout; o++)
			if (m->src->nodes.v[i]->out[o] && m->src->nodes.v[i]->out[o]->name)
				vec_push(x->scratch, &names, m->src->nodes.v[i]->out[o]->name);
	near = str_nearest(onnx, names.v, names.n);
	return diag_invalid(x->diag, loc,
	    "%s has no tensor \"%s\"%s%s%s; `retort inspect` lists them", model_title(x, m), onnx,
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
static struct value *
named(struct distiller *x, const struct made *m, const char *name, struct loc loc)
{
	for (int i = 0; i < m->m->nnames; i++) {
		struct value *v;

		if (strcmp(m->m->names[i].name, name) != 0)
			continue;
		v = onnx_value(m->src, m->m->names[i].onnx);
		if (!v)
			no_tensor(x, m, m->m->names[i].onnx, loc);
		return v;
	}
	no_name(x, m, name, loc);
	return NULL;
}

/* A cached teacher's output comes as an input of its type. */
static struct value *
cached_input(struct distiller *x, const struct made *m, const char *name, const struct value *v)
{
	const char *in = arena_printf(x->g->arena, "$teacher.%s.%s", m->m->name, name);

	return graph_input_named(x->g, in, DT_f32, v->rank, v->dims);
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
			int f = input_is(m, in, v) ? field_find(x, in->field, v->loc) : -2;

			if (f == -1)
				return false;
			if (f >= 0)
				m->rows[v->id] =
				    hull(m->rows[v->id], field_rows(x->d, &x->d->fields[f]));
		}
	}
	trace_rows(m);
	return true;
}

static bool
part_of(struct distiller *x, struct made *m, const char *name, struct loc loc, struct part *out)
{
	struct build b = build_for(x, loc);
	bool cached = !m->student && m->m->cached;
	struct value *v = named(x, m, name, loc);

	if (!v || !(cached ? rows_of_inputs(x, m) : clone(x, m)))
		return false;
	out->v = cached ? cached_input(x, m, name, v) : m->map[v->id];
	require(out->v);
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
static bool
student_part(struct distiller *x, const char *name, struct loc loc, struct part *out)
{
	if (str_starts(name, "student."))
		name += strlen("student.");
	return part_of(x, &x->student, name, loc, out);
}

/* "big.y" */
static bool
teacher_part(struct distiller *x, const char *name, struct loc loc, struct part *out)
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

/* ---- rows */

static struct value *
take_rows(struct build *b, struct value *v, struct rows have, struct rows want)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

	if (!v || (have.first == want.first && have.end == want.end))
		return v;
	for (int i = 0; i < v->rank; i++) {
		count[i] = v->dims[i];
		step[i] = 1;
	}
	start[0] = want.first - have.first;
	count[0] = want.end - want.first;
	return b_slice(b, v, start, count, step);
}

static struct rows
both(struct rows a, struct rows b)
{
	struct rows r = {a.first > b.first ? a.first : b.first, a.end < b.end ? a.end : b.end};

	if (r.end < r.first)
		r.end = r.first;
	return r;
}

/* eval: 1 for rows below $valid, or below $valid.SET within each set. */
static struct value *
valid_mask(struct distiller *x)
{
	struct build b = build_for(x, LOC_NONE);
	int64_t batch = x->d->batch;
	struct value *part[64];
	int n = x->d->nsets;

	if (x->valid)
		return x->valid;
	require(n <= 64);
	if (n <= 1) {
		struct value *valid = graph_input_named(x->g, "$valid", DT_i64, 0, NULL);

		part[0] = b2(&b, OP_lt, b_iota(&b, DT_i64, 1, &batch, 0), valid);
		n = 1;
	} else {
		for (int i = 0; i < n; i++) {
			const struct distill_set *s = &x->d->sets[i];
			const char *name = arena_printf(x->g->arena, "$valid.%s", s->name);
			struct value *valid = graph_input_named(x->g, name, DT_i64, 0, NULL);

			part[i] = b2(&b, OP_lt, b_iota(&b, DT_i64, 1, &s->rows, 0), valid);
		}
	}
	x->valid = b_cast(&b, n == 1 ? part[0] : b_concat(&b, n, part, 0), DT_f32);
	return x->valid;
}

/* [rows] as [rows,1,1..] of v's rank */
static struct value *
columns(struct build *b, struct value *mask, const struct value *v)
{
	int64_t dims[MAX_RANK];

	if (!mask || !v)
		return NULL;
	for (int i = 0; i < v->rank; i++)
		dims[i] = i == 0 ? mask->dims[0] : 1;
	return b_reshape(b, mask, v->rank, dims);
}

/* sum(row*weight) and sum(weight) over the rows that count; weight broadcasts. */
static void
sums(struct distiller *x, struct build *b, struct rows r, const struct loss *l, struct value **num,
    struct value **den)
{
	struct value *w = l->weight;

	if (x->eval) {
		struct rows all = {0, x->d->batch};
		struct value *mask = columns(b, take_rows(b, valid_mask(x), all, r), l->row);

		w = w ? b_mul(b, w, mask) : mask;
	}
	if (!w)
		w = b_scalar(b, DT_f32, 1);
	if (!l->row || !w) {
		*num = *den = NULL;
		return;
	}
	*num = b_reduce_all(b, OP_reduce_sum, b_mul(b, l->row, w));
	if (w->rank == 0)
		*den = b_scalar(b, DT_f32, (double)dims_count(l->row->rank, l->row->dims));
	else
		*den = b_reduce_all(b, OP_reduce_sum, b_expand(b, w, l->row->rank, l->row->dims));
}

/* ---- tasks and terms */

static const struct distill_task *
task_find(struct distiller *x, const char *name, struct loc loc)
{
	const char *names[256];
	const char *near;
	int n = 0;

	for (int i = 0; i < x->d->ntasks; i++) {
		if (strcmp(x->d->tasks[i].name, name) == 0)
			return &x->d->tasks[i];
		if (n < 256)
			names[n++] = x->d->tasks[i].name;
	}
	near = str_nearest(name, names, n);
	diag_invalid(x->diag, loc, "no task is called \"%s\"%s%s%s", name,
	    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return NULL;
}

static bool
task_rows(struct distiller *x, const struct distill_task *t, struct rows *r)
{
	*r = (struct rows){0, x->d->batch};
	if (!t || !t->set)
		return true;
	for (int i = 0; i < x->d->nsets; i++) {
		const struct distill_set *s = &x->d->sets[i];

		if (strcmp(s->name, t->set) == 0) {
			*r = (struct rows){s->first_row, s->first_row + s->rows};
			return true;
		}
	}
	return x->d->nsets < 2 || diag_invalid(x->diag, t->loc,
				      "task \"%s\": no data set is called \"%s\"", t->name, t->set);
}

/* The operands of a term, cut to the rows they all have. */
struct operands {
	struct loss_in in;
	struct part student, *teachers;
	struct rows rows, target_rows;
	const struct distill_task *task;
};

static bool
target_of(struct distiller *x, struct operands *o, struct loc loc)
{
	int i;

	if (!o->task || !o->task->target)
		return true;
	i = field_find(x, o->task->target, loc);
	if (i < 0)
		return false;
	o->in.field = &x->d->fields[i];
	o->in.target = field_value(x, i);
	o->target_rows = field_rows(x->d, o->in.field);
	return o->in.target != NULL;
}

static bool
gather_operands(
    struct distiller *x, struct build *b, const struct distill_term *t, struct operands *o)
{
	const char *name;
	struct rows r;

	*o = (struct operands){0};
	o->task = t->task ? task_find(x, t->task, t->loc) : NULL;
	if (t->task && !o->task)
		return false;
	name = t->student ? t->student : o->task ? o->task->head : NULL;
	if (!name)
		return diag_invalid(x->diag, t->loc,
		    "term \"%s\" has neither a task nor a student tensor", t->name);
	if (!student_part(x, name, t->loc, &o->student) || !task_rows(x, o->task, &r) ||
	    !target_of(x, o, t->loc))
		return false;
	r = both(r, o->student.rows);
	if (o->in.target)
		r = both(r, o->target_rows);
	o->teachers = arena_array(x->scratch, struct part, t->nteachers + 1);
	o->in.teachers = arena_array(x->scratch, struct value *, t->nteachers + 1);
	o->in.teacher_names = arena_array(x->scratch, const char *, t->nteachers + 1);
	for (int k = 0; k < t->nteachers; k++) {
		if (!teacher_part(x, t->teachers[k], t->loc, &o->teachers[k]))
			return false;
		r = both(r, o->teachers[k].rows);
	}
	if (r.first == r.end)
		return diag_invalid(x->diag, t->loc,
		    "term \"%s\": its student, teachers and target have no row of the batch in "
		    "common",
		    t->name);
	o->rows = r;
	o->in.b = b;
	o->in.term = t;
	o->in.student = take_rows(b, o->student.v, o->student.rows, r);
	o->in.student_name = o->student.name;
	o->in.nteachers = t->nteachers;
	for (int k = 0; k < t->nteachers; k++) {
		o->in.teachers[k] = take_rows(b, o->teachers[k].v, o->teachers[k].rows, r);
		o->in.teacher_names[k] = o->teachers[k].name;
	}
	o->in.target = take_rows(b, o->in.target, o->target_rows, r);
	o->in.eval = x->eval;
	o->in.seed = x->d->seed;
	return o->in.student != NULL;
}

/* Adds the labels of this use to check.labels, each target once. */
static bool
check_labels(struct distiller *x, const struct operands *o)
{
	struct value *n;

	for (int i = 0; i < x->checked.n; i++)
		if (x->checked.v[i] == o->in.target)
			return true;
	n = labels_outside(&o->in);
	if (!n)
		return false;
	vec_push(x->scratch, &x->checked, o->in.target);
	x->outside = x->outside ? b_add(o->in.b, x->outside, n) : n;
	return x->outside != NULL;
}

static void
output_sums(struct distiller *x, const char *name, struct value *num, struct value *den)
{
	graph_output(x->g, arena_printf(x->g->arena, "%s.num", name), num);
	graph_output(x->g, arena_printf(x->g->arena, "%s.den", name), den);
}

/* num/den, 0 where nothing counts */
static struct value *
ratio(struct build *b, struct value *num, struct value *den)
{
	return b_div(b, num, b_max(b, den, b_scalar(b, DT_f32, 1e-30)));
}

static bool
build_term(struct distiller *x, const struct distill_term *t, struct value **total)
{
	struct build b = build_for(x, t->loc);
	const char *name = arena_printf(x->g->arena, "term.%s", t->name);
	struct operands o;
	struct loss l;
	struct value *num, *den, *mean;
	double weight = t->weight;

	if (!gather_operands(x, &b, t, &o) || !loss_build(&o.in, &l))
		return false;
	if (strcmp(t->loss, "ce") == 0 && !check_labels(x, &o))
		return false;
	if (o.task)
		weight *= o.task->weight;
	sums(x, &b, o.rows, &l, &num, &den);
	mean = l.weight || x->eval ? ratio(&b, num, den) : b_div(&b, num, den);
	if (!mean)
		return false;
	if (x->eval)
		output_sums(x, name, num, den);
	else
		graph_output(x->g, name, mean);
	mean = b_muls(&b, mean, weight);
	*total = *total ? b_add(&b, *total, mean) : mean;
	return *total != NULL;
}

/* ---- metrics */

static const char *const metric_names[] = {"accuracy", "top5", "loss", "mse", "mae"};
enum { NMETRIC = sizeof metric_names / sizeof metric_names[0] };

/* 1 where the largest logit (first of ties) is the label's */
static struct value *
correct(struct build *b, struct value *z, struct value *labels)
{
	struct attr a[2] = {
	    {.name = "axis", .kind = ATTR_INT, .i = 1}, {.name = "keep", .kind = ATTR_INT, .i = 1}};
	struct value *best = b_op(b, OP_argmax, 1, &z, 2, a);

	return b_cast(b, b2(b, OP_eq, b_cast(b, best, DT_i32), labels), DT_f32);
}

/* 1 where fewer than five logits are larger than the label's */
static struct value *
in_top5(struct build *b, struct value *z, struct value *labels)
{
	int64_t axis = 1;
	struct value *own = b_select(b, one_hot(b, z, labels), z, b_scalar(b, DT_f32, 0));
	struct value *above;

	own = b_reduce(b, OP_reduce_sum, own, 1, &axis, true);
	above = b_cast(b, b2(b, OP_lt, own, z), DT_f32);
	above = b_reduce(b, OP_reduce_sum, above, 1, &axis, true);
	return b_cast(b, b2(b, OP_lt, above, b_scalar(b, DT_f32, 4.5)), DT_f32);
}

/* Multi-label accuracy: signs of logits against targets above one half. */
static struct value *
signs_agree(struct build *b, struct value *z, struct value *t)
{
	struct value *a = b2(b, OP_lt, b_scalar(b, DT_f32, 0), z);
	struct value *c = b2(b, OP_lt, b_scalar(b, DT_f32, 0.5), b_cast(b, t, DT_f32));

	return b_cast(b, b1(b, OP_not, b2(b, OP_xor, a, c)), DT_f32);
}

static bool
is_labels(const struct value *t, const struct value *z)
{
	return dtype_is_int(t->dtype) &&
	       dims_count(t->rank, t->dims) != dims_count(z->rank, z->dims);
}

static bool
metric_loss(struct distiller *x, struct operands *o, const char *name, struct loss *l)
{
	struct build *b = o->in.b;
	struct value *z = o->in.student, *t = o->in.target, *counted = NULL, *labels, *d;
	int64_t axis = 1;
	int kind = 0;

	while (kind < NMETRIC && strcmp(metric_names[kind], name) != 0)
		kind++;
	if (kind == NMETRIC) {
		const char *near = str_nearest(name, metric_names, NMETRIC);

		return diag_invalid(x->diag, o->task->loc,
		    "no metric is called \"%s\"%s%s%s; there are accuracy, top5, loss, mse and mae",
		    name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"" : "");
	}
	*l = (struct loss){0};
	if (kind == 2)
		return loss_build(&o->in, l);
	if (kind >= 3 || (kind == 0 && t && !is_labels(t, z))) {
		if (!t || dims_count(t->rank, t->dims) != dims_count(z->rank, z->dims))
			return diag_invalid(x->diag, o->task->loc,
			    "metric %s of task \"%s\": its target does not have the shape of its "
			    "head",
			    name, o->task->name);
		t = b_reshape(b, t, z->rank, z->dims);
		d = b_sub(b, z, b_cast(b, t, DT_f32));
		l->row = kind == 0   ? signs_agree(b, z, t)
			 : kind == 3 ? b_mul(b, d, d)
				     : b1(b, OP_abs, d);
		return l->row != NULL;
	}
	labels = labels_of(&o->in, &counted);
	if (!labels)
		return false;
	l->row = kind == 0 ? correct(b, z, labels) : in_top5(b, z, labels);
	l->row = b_reduce(b, OP_reduce_sum, l->row, 1, &axis, false);
	l->weight = counted;
	return l->row && check_labels(x, o);
}

static bool
build_metrics(struct distiller *x, const struct distill_task *task)
{
	struct build b = build_for(x, task->loc);
	struct distill_term t = {.name = task->name,
	    .task = task->name,
	    .loss = "ce",
	    .weight = 1,
	    .temperature = 1,
	    .loc = task->loc};
	struct operands o;
	bool ok = true;

	if (task->nmetrics == 0)
		return true;
	if (!task->target)
		return diag_invalid(
		    x->diag, task->loc, "task \"%s\" has metrics but no target", task->name);
	if (!gather_operands(x, &b, &t, &o))
		return false;
	for (int i = 0; i < task->nmetrics; i++) {
		const char *name =
		    arena_printf(x->g->arena, "metric.%s.%s", task->name, task->metrics[i]);
		struct value *num, *den;
		struct loss l;

		if (!metric_loss(x, &o, task->metrics[i], &l)) {
			ok = false;
			continue;
		}
		sums(x, &b, o.rows, &l, &num, &den);
		if (!num || !den)
			return false;
		output_sums(x, name, num, den);
	}
	return ok;
}

/* ---- the graphs */

static void
start(struct distiller *x, struct arena *a, const struct distill *d, const char *what, bool eval,
    struct diag *diag)
{
	*x = (struct distiller){.d = d, .diag = diag, .eval = eval, .scratch = arena_create()};
	x->g = graph_create(a, arena_printf(a, "%s.%s", d->name ? d->name : "distill", what));
	x->field = arena_array(x->scratch, struct value *, d->nfields + 1);
	x->student = (struct made){.m = &d->student, .src = d->student.graph, .student = true};
	if ((eval || d->batch_norm_frozen) && d->student.graph_eval)
		x->student.src = d->student.graph_eval;
	x->teachers = arena_array(x->scratch, struct made, d->nteachers + 1);
	for (int i = 0; i < d->nteachers; i++)
		x->teachers[i] = (struct made){.m = &d->teachers[i], .src = d->teachers[i].graph};
}

/* Names of the recipe that no tensor has, used or not. */
static bool
check_names(struct distiller *x, const struct made *m)
{
	bool ok = true;

	for (int i = 0; i < m->m->nnames; i++)
		if (!onnx_value(m->src, m->m->names[i].onnx))
			ok = no_tensor(x, m, m->m->names[i].onnx, LOC_NONE);
	return ok;
}

/* Drops what nothing reads, inputs too. */
static struct graph *
finish(struct distiller *x, bool ok)
{
	struct graph *g = x->g;
	int *uses, keep = 0;

	if (ok) {
		pass_dce(g, NULL);
		uses = graph_use_counts(x->scratch, g);
		for (int i = 0; i < g->inputs.n; i++)
			if (uses[g->inputs.v[i]->id])
				g->inputs.v[keep++] = g->inputs.v[i];
		g->inputs.n = keep;
	}
	arena_destroy(x->scratch);
	return ok ? g : NULL;
}

static struct value *
build_losses(struct distiller *x)
{
	struct value *total = NULL;
	bool ok = check_names(x, &x->student);

	for (int i = 0; i < x->d->nteachers; i++)
		ok &= check_names(x, &x->teachers[i]);
	ok = ok && clone(x, &x->student);
	if (!ok)
		return NULL;
	if (x->d->nterms == 0)
		ok = diag_invalid(
		    x->diag, LOC_NONE, "the recipe has no terms: nothing to train for");
	for (int i = 0; i < x->d->nterms; i++)
		ok &= build_term(x, &x->d->terms[i], &total);
	for (int i = 0; i < x->d->ntasks; i++)
		ok &= build_metrics(x, &x->d->tasks[i]);
	if (ok && x->outside)
		graph_output(x->g, "check.labels", x->outside);
	return ok ? total : NULL;
}

static bool
frozen(const struct distill *d, const struct value *v)
{
	for (int i = 0; i < d->nfrozen; i++)
		if (str_glob(d->frozen[i], v->name))
			return true;
	return false;
}

static bool
train(struct distiller *x, struct value *loss)
{
	struct graph *g = x->g;
	int n = 0, total = g->states.n;
	struct value **params = arena_array(x->scratch, struct value *, total + 1);
	struct value **grads = arena_array(x->scratch, struct value *, total + 1);
	struct value *lr, *step;
	bool any = false;

	for (int i = 0; i < total; i++)
		if (g->states.v[i]->trainable && !frozen(x->d, g->states.v[i]) &&
		    !has_update(g, g->states.v[i]))
			params[n++] = g->states.v[i];
	if (!grad_build(g, loss, n, params, grads, x->diag))
		return false;
	for (int i = 0; i < n; i++) {
		any |= grads[i] != NULL;
		if (!grads[i])
			diag_note(x->diag, params[i]->loc,
			    "parameter \"%s\" receives no gradient and stays as it is",
			    params[i]->name);
	}
	if (!any)
		return diag_invalid(x->diag, LOC_NONE,
		    n ? "no term depends on any parameter of the student"
		      : "the student has no parameter to train");
	lr = graph_input_named(g, "$lr", DT_f32, 0, NULL);
	step = graph_input_named(g, "$step", DT_i64, 0, NULL);
	return update_build(g, &x->d->optimizer, lr, step, n, params, grads, x->diag);
}

struct graph *
distill_train_graph(struct arena *a, const struct distill *d, struct diag *diag)
{
	struct distiller x;
	struct value *loss;
	bool ok;

	start(&x, a, d, "train", false, diag);
	loss = build_losses(&x);
	ok = loss != NULL;
	if (ok) {
		graph_output(x.g, "loss", loss);
		ok = train(&x, loss);
	}
	return finish(&x, ok);
}

struct graph *
distill_eval_graph(struct arena *a, const struct distill *d, struct diag *diag)
{
	struct distiller x;
	struct value *loss, *rows;
	bool ok;

	start(&x, a, d, "eval", true, diag);
	loss = build_losses(&x);
	if (loss) {
		struct build b = build_for(&x, LOC_NONE);

		rows = b_reduce_all(&b, OP_reduce_sum, valid_mask(&x));
		loss = b_mul(&b, loss, rows);
		if (loss)
			output_sums(&x, "loss", loss, rows);
	}
	ok = loss != NULL;
	return finish(&x, ok);
}

struct graph *
distill_teacher_graph(struct arena *a, const struct distill *d, int teacher, struct diag *diag)
{
	struct distiller x;
	const struct distill_model *m = &d->teachers[teacher];
	size_t len = strlen(m->name);
	bool ok;

	start(&x, a, d, m->name, true, diag);
	ok = clone(&x, &x.teachers[teacher]);
	for (int i = 0; ok && i < d->nterms; i++)
		for (int k = 0; ok && k < d->terms[i].nteachers; k++) {
			const char *name = d->terms[i].teachers[k], *out;
			struct build b = build_for(&x, d->terms[i].loc);
			struct value *v;
			bool seen = false;

			if (strncmp(name, m->name, len) != 0 || name[len] != '.')
				continue;
			out = arena_printf(x.g->arena, "$teacher.%s", name);
			for (int o = 0; o < x.g->outputs.n; o++)
				seen |= strcmp(x.g->output_names.v[o], out) == 0;
			v = named(&x, &x.teachers[teacher], name + len + 1, d->terms[i].loc);
			if (v && !seen)
				graph_output(
				    x.g, out, b_cast(&b, x.teachers[teacher].map[v->id], DT_f32));
			ok = v != NULL;
		}
	return finish(&x, ok);
}
