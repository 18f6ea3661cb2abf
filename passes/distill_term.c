/* distill_term -- the operands of terms: which rows of the batch they are about,
 * cut to those they have in common, and the sums over the rows that count. */
#include "passes/distill_int.h"

#include <string.h>

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
struct value *
distill_valid(struct distiller *x)
{
	struct build b = distill_build(x, LOC_NONE);
	int64_t batch = x->d->batch;
	struct value *part[64];
	int n = x->d->nsets;

	if (x->valid)
		return x->valid;
	require(n <= 64);
	if (n <= 1) {
		struct value *valid = distill_input(x->g, "$valid", DT_i64, 0, NULL);

		part[0] = b2(&b, OP_lt, b_iota(&b, DT_i64, 1, &batch, 0), valid);
		n = 1;
	} else {
		for (int i = 0; i < n; i++) {
			const struct distill_set *s = &x->d->sets[i];
			const char *name = arena_printf(x->g->arena, "$valid.%s", s->name);
			struct value *valid = distill_input(x->g, name, DT_i64, 0, NULL);

			part[i] = b2(&b, OP_lt, b_iota(&b, DT_i64, 1, &s->rows, 0), valid);
		}
	}
	x->valid = b_cast(&b, n == 1 ? part[0] : b_concat(&b, n, part, 0), DT_f32);
	return x->valid;
}

struct value *
distill_valid_rows(struct distiller *x, struct build *b, struct rows r)
{
	struct rows all = {0, x->d->batch};

	return take_rows(b, distill_valid(x), all, r);
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
void
distill_sums(struct distiller *x, struct build *b, struct rows r, const struct loss *l,
    struct value **num, struct value **den)
{
	struct value *w = l->weight;

	if (x->eval) {
		struct value *mask = columns(b, distill_valid_rows(x, b, r), l->row);

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

static void
shared_sums(struct distiller *x, struct build *b, struct rows r, struct loss *l, struct value *share,
    struct value **num, struct value **den)
{
	share = columns(b, share, l->row);
	l->weight = l->weight ? b_mul(b, l->weight, share) : share;
	distill_sums(x, b, r, l, num, den);
}

bool
distill_mixed_sums(struct distiller *x, struct build *b, const struct operands *o, struct loss *own,
    struct value **num, struct value **den)
{
	const struct distill_field *f = o->in.field;
	const char *name = arena_printf(x->g->arena, "$pair.%s", f->name);
	struct rows all = {0, x->d->batch};
	int64_t dims[MAX_RANK] = {o->target_rows.end - o->target_rows.first}, batch = x->d->batch;
	struct loss_in in = o->in;
	struct loss other;
	struct value *share, *n2, *d2;

	memcpy(dims + 1, f->dims, sizeof *dims * (size_t)f->rank);
	in.target = distill_input(x->g, name, f->dtype, f->rank + 1, dims);
	in.target = take_rows(b, in.target, o->target_rows, o->rows);
	if (!in.target || !loss_build(&in, &other))
		return false;
	share = take_rows(b, distill_input(x->g, "$mix", DT_f32, 1, &batch), all, o->rows);
	shared_sums(x, b, o->rows, own, share, num, den);
	shared_sums(x, b, o->rows, &other, b_sub(b, b_scalar(b, DT_f32, 1), share), &n2, &d2);
	*num = b_add(b, *num, n2);
	*den = b_add(b, *den, d2);
	return *num && *den;
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

static bool
target_of(struct distiller *x, struct operands *o, struct loc loc)
{
	int i;

	if (!o->task || !o->task->target)
		return true;
	i = distill_field_find(x, o->task->target, loc);
	if (i < 0)
		return false;
	o->in.field = &x->d->fields[i];
	o->in.target = distill_field_value(x, i);
	o->target_rows = distill_field_rows(x->d, o->in.field);
	return o->in.target != NULL;
}

static bool
of_teacher_alone(const struct distill_term *t)
{
	int i = loss_find(t->loss);

	return i >= 0 && loss_info[i].features == 3;
}

/* 1 where the field of tokens [rows,T] is not its filler */
static struct value *
token_mask(struct distiller *x, struct build *b, const struct distill_term *t, struct rows r)
{
	int i = distill_field_find(x, t->mask, t->loc);
	struct value *v = i < 0 ? NULL : distill_field_value(x, i);
	struct rows have;

	if (!v)
		return NULL;
	have = distill_field_rows(x->d, &x->d->fields[i]);
	if (v->rank != 2 || have.first > r.first || have.end < r.end) {
		diag_invalid(x->diag, t->loc,
		    "term \"%s\": its mask, field \"%s\", is %s: a number for each token of its rows expected",
		    t->name, t->mask, dims_text(x->g->arena, v));
		return NULL;
	}
	v = b1(b, OP_not, b2(b, OP_eq, v, b_scalar_like(b, v, t->mask_filler)));
	return v ? b_cast(b, take_rows(b, v, have, r), DT_f32) : NULL;
}

/* The training samples that the rows are drawn from: those of the sets they lie in. */
static void
samples_of(const struct distill *d, struct rows r, struct loss_in *in)
{
	for (int i = 0; i < d->nsets; i++) {
		const struct distill_set *s = &d->sets[i];

		if (s->first_row >= r.end || s->first_row + s->rows <= r.first)
			continue;
		if (in->samples == 0)
			in->first_sample = s->first_sample;
		in->samples = s->first_sample + s->samples - in->first_sample;
	}
}

bool
distill_operands(
    struct distiller *x, struct build *b, const struct distill_term *t, struct operands *o)
{
	const char *head;
	struct rows r;
	int n = t->nstudents > 0 ? t->nstudents : 1;
	bool alone;

	*o = (struct operands){0};
	o->task = t->task ? task_find(x, t->task, t->loc) : NULL;
	if (t->task && !o->task)
		return false;
	head = o->task ? o->task->head : NULL;
	alone = !head && t->nstudents == 0 && t->nteachers > 0 && of_teacher_alone(t);
	if (!head && t->nstudents == 0 && !alone)
		return diag_invalid(x->diag, t->loc,
		    "term \"%s\" has neither a task nor a student tensor", t->name);
	if (!task_rows(x, o->task, &r) || !target_of(x, o, t->loc))
		return false;
	o->students = arena_array(x->scratch, struct part, n);
	o->in.students = arena_array(x->scratch, struct value *, n);
	o->in.student_names = arena_array(x->scratch, const char *, n);
	for (int k = 0; k < n; k++) {
		const char *name = t->nstudents ? t->students[k] : head;

		if (!(alone ? distill_teacher_part(x, t->teachers[0], t->loc, &o->students[k])
			    : distill_student_part(x, name, t->loc, &o->students[k])))
			return false;
		r = both(r, o->students[k].rows);
	}
	if (o->in.target)
		r = both(r, o->target_rows);
	o->teachers = arena_array(x->scratch, struct part, t->nteachers + 1);
	o->in.teachers = arena_array(x->scratch, struct value *, t->nteachers + 1);
	o->in.teacher_names = arena_array(x->scratch, const char *, t->nteachers + 1);
	o->in.teacher_origins = arena_array(x->scratch, const struct value *, t->nteachers + 1);
	for (int k = 0; k < t->nteachers; k++) {
		if (!distill_teacher_part(x, t->teachers[k], t->loc, &o->teachers[k]))
			return false;
		if (o->teachers[k].live && !x->eval && !t->through)
			o->teachers[k].v = distill_detached(b, o->teachers[k].v);
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
	o->in.nstudents = n;
	for (int k = 0; k < n; k++) {
		o->in.students[k] = take_rows(b, o->students[k].v, o->students[k].rows, r);
		o->in.student_names[k] = o->students[k].name;
	}
	o->in.student = o->in.students[0];
	o->in.student_name = o->in.student_names[0];
	o->in.nteachers = t->nteachers;
	for (int k = 0; k < t->nteachers; k++) {
		o->in.teachers[k] = take_rows(b, o->teachers[k].v, o->teachers[k].rows, r);
		o->in.teacher_names[k] = o->teachers[k].name;
		o->in.teacher_origins[k] = o->teachers[k].origin;
	}
	o->in.target = take_rows(b, o->in.target, o->target_rows, r);
	if (t->mask && !(o->in.mask = token_mask(x, b, t, r)))
		return false;
	o->in.eval = x->eval;
	o->in.seed = x->d->seed;
	o->in.batch = x->d->batch;
	o->in.first_row = r.first;
	samples_of(x->d, r, &o->in);
	o->in.accumulate = x->d->update.accumulate;
	o->in.valid = x->eval ? distill_valid_rows(x, b, r) : NULL;
	return o->in.student != NULL;
}

/* Adds the labels of this use to check.labels, each target once. */
bool
distill_check_labels(struct distiller *x, const struct operands *o)
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

void
distill_output_sums(struct distiller *x, const char *name, struct value *num, struct value *den)
{
	graph_output(x->g, arena_printf(x->g->arena, "%s.num", name), num);
	graph_output(x->g, arena_printf(x->g->arena, "%s.den", name), den);
}
