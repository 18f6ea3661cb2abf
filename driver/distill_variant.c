/* distill_variant -- the programs of a stage that take turns: one for each bucket of
 * lengths, or one for each data set of those that are interleaved.  Each is the step of
 * a smaller job: the same models over shorter samples, or over the rows, tasks and terms
 * of one set.  They share the states by name. */
#include "driver/distill.h"

#include <string.h>

int
job_variants(const struct job *j)
{
	return j->r->buckets.field ? j->r->buckets.n : j->r->interleaved ? j->nsets : 1;
}

static const struct job_field *
find(const struct job *j, const char *name)
{
	for (int i = 0; i < j->nfields; i++)
		if (name && strcmp(j->fields[i].name, name) == 0)
			return &j->fields[i];
	return NULL;
}

/* ---- a bucket */
static bool
cut_fields(struct job *v, int64_t length)
{
	for (int i = 0; i < v->nfields; i++)
		if (v->fields[i].bucketed)
			v->fields[i].dims[0] = length;
	v->note = arena_printf(v->d->arena, "bucket of length %lld: the model's axis there must be symbolic, its values for any length", (long long)length);
	return true;
}

/* ---- a set */
static struct recipe_model
inputs_of_set(const struct job *j, const struct recipe_model *m, int set)
{
	struct recipe_model out = *m;

	out.ninputs = 0;
	out.inputs = arena_array(j->d->arena, struct recipe_input, m->ninputs + 1);
	for (int i = 0; i < m->ninputs; i++) {
		const struct job_field *f = find(j, m->inputs[i].field);

		if (!f || f->set < 0 || f->set == set)
			out.inputs[out.ninputs++] = m->inputs[i];
	}
	return out;
}

/* Models that nothing of the set feeds are no part of its steps, nor what they feed. */
static void
drop_unfed(struct recipe *r, struct recipe_model *list, int *n, bool *again)
{
	int keep = 0;

	for (int i = 0; i < *n; i++) {
		struct recipe_model *m = &list[i];
		int fed = 0;

		for (int k = 0; k < m->ninputs; k++)
			if (!m->inputs[k].from || recipe_model_find(r, m->inputs[k].from, strcspn(m->inputs[k].from, ".")))
				m->inputs[fed++] = m->inputs[k];
		m->ninputs = fed;
		if ((m->ninputs || m->nrecords) && (!m->of || recipe_model_find(r, m->of, strlen(m->of))))
			list[keep++] = *m;
	}
	*again |= keep < *n;
	*n = keep;
}

static bool
task_of_set(const struct job *j, const struct recipe_task *t, int set)
{
	const struct job_field *f = find(j, t->target);

	if (t->data)
		return strcmp(t->data, j->sets[set].name) == 0;
	return !f || f->set < 0 || f->set == set;
}

/* Of a task of this set, or of none, and of teachers that the set feeds. */
static bool
term_of_set(const struct recipe *r, const struct recipe_term *t)
{
	bool task = !t->task;

	for (int i = 0; i < r->ntasks; i++)
		task |= t->task && strcmp(r->tasks[i].name, t->task) == 0;
	for (int k = 0; k < t->nteachers; k++)
		task &= recipe_model_find(r, t->teachers[k], strcspn(t->teachers[k], ".")) != NULL;
	for (int k = 0; k < t->nstudents; k++)
		task &= !strchr(t->students[k], '.') || recipe_model_find(r, t->students[k], strcspn(t->students[k], "."));
	return task;
}

static int
terms_of_set(const struct job *j, const struct recipe *r, int n, const struct recipe_term *terms, struct recipe_term **out)
{
	int k = 0;

	*out = arena_array(j->d->arena, struct recipe_term, n + 1);
	for (int i = 0; i < n; i++)
		if (term_of_set(r, &terms[i]))
			(*out)[k++] = terms[i];
	return k;
}

static void
take_fields(struct job *v, const struct job *j, int set)
{
	v->nfields = 0;
	for (int i = 0; i < j->nfields; i++)
		if (j->fields[i].set < 0 || j->fields[i].set == set) {
			v->fields[v->nfields] = j->fields[i];
			v->fields[v->nfields++].set = 0;
		}
}

static bool
take_set(struct job *v, const struct job *j, int set)
{
	struct arena *a = j->d->arena;
	struct recipe *r = arena_new(a, struct recipe);

	*r = *j->r;
	v->r = r;
	v->partial = true;
	v->nsets = 1;
	v->sets = arena_new(a, struct job_set);
	v->sets[0] = j->sets[set];
	v->sets[0].first_row = 0;
	v->batch = v->sets[0].batch;
	take_fields(v, j, set);
	r->student = inputs_of_set(j, &j->r->student, set);
	r->nteachers = r->nstudents = r->ntasks = 0;
	r->students = arena_array(a, struct recipe_model, j->r->nstudents + 1);
	for (int i = 0; i < j->r->nstudents; i++) {
		r->students[r->nstudents] = inputs_of_set(j, &j->r->students[i], set);
		r->nstudents += r->students[r->nstudents].ninputs > 0;
	}
	r->teachers = arena_array(a, struct recipe_model, j->r->nteachers + 1);
	r->tasks = arena_array(a, struct recipe_task, j->r->ntasks + 1);
	for (int i = 0; i < j->r->nteachers; i++) {
		r->teachers[r->nteachers] = inputs_of_set(j, &j->r->teachers[i], set);
		r->nteachers += r->teachers[r->nteachers].ninputs > 0 ||
		                (j->r->teachers[i].nrecords && j->r->teachers[i].data && strcmp(j->r->teachers[i].data, j->sets[set].name) == 0);
	}
	for (bool again = true; again;) {
		again = false;
		drop_unfed(r, r->students, &r->nstudents, &again);
		drop_unfed(r, r->teachers, &r->nteachers, &again);
	}
	for (int i = 0; i < j->r->ntasks; i++)
		if (task_of_set(j, &j->r->tasks[i], set))
			r->tasks[r->ntasks++] = j->r->tasks[i];
	for (int i = 0; i < r->ntasks; i++)
		r->tasks[i].data = NULL;
	r->nterms = terms_of_set(j, r, j->r->nterms, j->r->terms, &r->terms);
	r->stages = arena_array(a, struct recipe_stage, r->nstages);
	for (int i = 0; i < r->nstages; i++) {
		const struct recipe_stage *from = &j->r->stages[i];
		struct recipe_stage *st = &r->stages[i];

		*st = *from;
		if (from->nterms)
			st->nterms = terms_of_set(j, r, from->nterms, from->terms, &st->terms);
		if ((from->nterms ? st->nterms : r->nterms) == 0)
			return diag_invalid(&j->d->diag, job_loc(j, j->sets[set].line),
			                    "data.interleave: no term of stage \"%s\" is about set \"%s\"", st->name ? st->name : "main",
			                    j->sets[set].name);
	}
	v->note = arena_printf(a, "steps of set \"%s\"", j->sets[set].name);
	return true;
}

struct job *
job_variant(struct job *j, int k)
{
	struct job *v = arena_new(j->d->arena, struct job);
	int errors = j->d->diag.errors;

	*v = *j;
	v->dist = (struct distill){0};
	v->fields = arena_array(j->d->arena, struct job_field, j->nfields + 1);
	memcpy(v->fields, j->fields, sizeof *v->fields * (size_t)j->nfields);
	if (!(j->r->buckets.field ? cut_fields(v, j->r->buckets.lengths[k]) : take_set(v, j, k)))
		return NULL;
	if (!job_import(v) || j->d->diag.errors > errors) {
		diag_note(&j->d->diag, job_loc(j, j->r->buckets.field ? j->r->buckets.line : j->sets[k].line),
		          "this is about the %s", v->note);
		return NULL;
	}
	return v;
}
