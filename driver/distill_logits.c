/* retort distill RECIPE --emit=logits -o DIR: what the teachers say of every sample, in
 * file order and without augmentation, as TEACHER.OUTPUT.SPLIT.npy.  A recipe takes such
 * files as a teacher in place of its model. */
#include "driver/distill.h"

#include "runtime/data.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const split_names[] = {"train", "val", "test"};

/* A teacher as a program, one split of its data, what has been computed of it. */
struct feed { int field, set, input; struct rt_array array; size_t at; }; /* at: bytes into the input */
struct recording {
	struct job *j;
	const char *teacher;
	struct session s;
	int nsets, *sets;        /* that it reads, in order */
	int64_t first[64];       /* of each of these, its rows in a batch */
	int nfeeds;
	struct feed *feeds;
	struct outfile *out;     /* [sets * outputs] */
};

static const struct recipe_split *
split_of(const struct job_set *s, int split)
{
	return split == 0 ? s->train : split == 1 ? s->val : s->test;
}

static const struct job_field *
field_of(const struct job *j, const char *name)
{
	for (int i = 0; i < j->nfields; i++)
		if (strcmp(j->fields[i].name, name) == 0)
			return &j->fields[i];
	return NULL;
}

/* Sets whose fields the program reads. */
static bool
find_sets(struct recording *x)
{
	struct job *j = x->j;
	int64_t rows = 0;

	x->sets = arena_array(j->d->arena, int, j->nsets);
	x->feeds = arena_array(j->d->arena, struct feed, j->nsets * (x->s.rt->ninputs + 1));
	for (int s = 0; s < j->nsets && s < 64; s++) {
		bool reads = false;

		for (int i = 0; i < x->s.rt->ninputs; i++) {
			const struct job_field *f = field_of(j, x->s.rt->inputs[i].name);

			if (!f || (f->set >= 0 && f->set != s))
				continue;
			reads = true;
			x->feeds[x->nfeeds++] = (struct feed){.field = (int)(f - j->fields), .set = s, .input = i};
		}
		if (reads) {
			x->first[x->nsets] = rows;
			x->sets[x->nsets++] = s;
			rows += j->sets[s].batch;
		}
	}
	for (int i = 0; i < x->s.rt->noutputs; i++) {
		const struct rt_tensor *t = &x->s.rt->outputs[i];

		if (t->rank < 1 || t->dims[0] != rows)
			return diag_invalid(&j->d->diag, job_loc(j, 0), "output %s of teacher \"%s\" has no row for each sample of its batch of %" PRId64,
			                    t->name, x->teacher, rows);
	}
	return true;
}

static bool
open_feed(struct recording *x, struct feed *f, int split)
{
	struct job *j = x->j;
	const struct job_field *field = &j->fields[f->field];
	const struct recipe_split *s = split_of(&j->sets[f->set], split);
	struct rt_want w = {.role = rt_data_role(field->name, field->classes > 0), .dtype = dtype_info[field->dtype].onnx,
	                    .mask = field->classes > 0, .pad = field->pad};
	struct rt_msg msg = {0};
	int64_t at = 0;

	for (int i = 0; i < s->n; i++)
		if (strcmp(s->fields[i].name, field->name) == 0) {
			w.file = s->fields[i].file;
			w.lengths = s->fields[i].lengths;
		}
	if (w.lengths)
		w.longest = field->dims[0];
	if (field->resized) {
		memcpy(w.size, field->dims + field->rank - 2, sizeof w.size);
		w.role = RT_ROLE_IMAGES;
	}
	if (!rt_data_want(&f->array, &w, &msg))
		return diag_error(&j->d->diag, msg.status == 4 ? STATUS_IO : STATUS_INVALID, job_loc(j, s->line), "field \"%s\": %s", field->name, msg.text);
	if (!dims_equal(f->array.rank - 1, f->array.dims + 1, field->rank, field->dims))
		return diag_invalid(&j->d->diag, job_loc(j, s->line), "field \"%s\": samples of %s are %s, those of train %s", field->name, w.file,
		                    shape_text(j->d->arena, f->array.rank - 1, f->array.dims + 1), shape_text(j->d->arena, field->rank, field->dims));
	for (int k = 0; field->set < 0 && k < x->nsets; k++)
		at = x->sets[k] == f->set ? x->first[k] : at;
	f->at = (size_t)(at * f->array.row_bytes);
	return true;
}

static int64_t
rows_of(const struct recording *x, int set)
{
	for (int i = 0; i < x->nfeeds; i++)
		if (x->feeds[i].set == set)
			return x->feeds[i].array.rows;
	return 0;
}

/* Batch number `step` of each set; past its end the first sample stands in. */
static bool
fill(struct recording *x, int64_t step)
{
	struct rt_msg msg = {0};

	for (int i = 0; i < x->nfeeds; i++) {
		struct feed *f = &x->feeds[i];
		unsigned char *to = (unsigned char *)x->s.base[3 + f->input] + f->at;
		int64_t batch = x->j->sets[f->set].batch;

		for (int64_t k = 0; k < batch; k++, to += f->array.row_bytes) {
			int64_t row = step * batch + k;

			if (!rt_array_row(&f->array, row < f->array.rows ? row : 0, to, &msg))
				return diag_invalid(&x->j->d->diag, job_loc(x->j, 0), "%s", msg.text);
		}
	}
	return true;
}

/* TEACHER.OUTPUT.SPLIT.npy; of a teacher that reads several sets TEACHER.OUTPUT.SET.SPLIT.npy */
static bool
begin(struct recording *x, int split, int k, int output)
{
	struct driver *d = x->j->d;
	const struct rt_tensor *t = &x->s.rt->outputs[output];
	struct outfile *f = &x->out[k * x->s.rt->noutputs + output];
	int64_t dims[MAX_RANK];
	const char *set = x->nsets > 1 ? arena_printf(d->arena, ".%s", x->j->sets[x->sets[k]].name) : "";
	const char *path = arena_printf(d->arena, "%s/%s%s.%s.npy", x->j->out, t->name, set, split_names[split]);

	memcpy(dims, t->dims, sizeof *dims * (size_t)t->rank);
	dims[0] = rows_of(x, x->sets[k]);
	if (!outfile_open(&d->diag, f, path))
		return false;
	npy_begin(f->f, DT_f32, t->rank, dims);
	if (!d->o.quiet)
		printf("%s %s\n", path, shape_text(d->arena, t->rank, dims));
	return true;
}

/* What the batch's samples got, those beyond the end left out. */
static void
take(struct recording *x, int64_t step)
{
	for (int o = 0; o < x->s.rt->noutputs; o++)
		for (int k = 0; k < x->nsets; k++) {
			const struct rt_tensor *t = &x->s.rt->outputs[o];
			int64_t batch = x->j->sets[x->sets[k]].batch, n = rows_of(x, x->sets[k]) - step * batch;
			size_t row = (size_t)(t->bytes / t->dims[0]);
			const unsigned char *from = x->s.base[3 + x->s.rt->ninputs + o];

			n = n < batch ? n : batch;
			if (n > 0)
				fwrite(from + (size_t)x->first[k] * row, row, (size_t)n, x->out[k * x->s.rt->noutputs + o].f);
		}
}

static bool
run(struct recording *x, int split)
{
	struct driver *d = x->j->d;
	int64_t steps = 0;
	bool ok = true;
	int n = 0;

	x->out = arena_array(d->arena, struct outfile, x->nsets * x->s.rt->noutputs + 1);
	for (int k = 0; k < x->nsets; k++) {
		int64_t rows = rows_of(x, x->sets[k]), batch = x->j->sets[x->sets[k]].batch;

		steps = (rows + batch - 1) / batch > steps ? (rows + batch - 1) / batch : steps;
		for (int o = 0; ok && o < x->s.rt->noutputs; o++) {
			ok = begin(x, split, k, o);
			n += ok;
		}
	}
	for (int64_t step = 0; ok && step < steps; step++) {
		ok = fill(x, step) && session_run(d, &x->s);
		if (ok)
			take(x, step);
	}
	for (int i = 0; i < n; i++)
		if (ok)
			ok = outfile_commit(&d->diag, &x->out[i]);
		else
			outfile_abort(&x->out[i]);
	return ok;
}

static bool
one_split(struct recording *x, int split)
{
	bool ok = true;

	for (int i = 0; i < x->nsets; i++)
		if (!split_of(&x->j->sets[x->sets[i]], split)->n)
			return true;
	for (int i = 0; ok && i < x->nfeeds; i++)
		ok = open_feed(x, &x->feeds[i], split);
	ok = ok && run(x, split);
	for (int i = 0; i < x->nfeeds; i++)
		rt_data_close(&x->feeds[i].array);
	return ok;
}

static bool
one_teacher(struct job *j, int teacher)
{
	struct recording x = {.j = j, .teacher = j->dist.teachers[teacher].name};
	struct graph *g = distill_outputs_graph(j->d->arena, &j->dist, teacher, &j->d->diag);
	bool ok = g && session_open(j->d, &x.s, g, NULL) && find_sets(&x);

	for (int split = 0; ok && split < 3; split++)
		ok = one_split(&x, split);
	session_close(&x.s);
	return ok;
}

bool
logits_write(struct job *j)
{
	int n = 0;

	if (!dir_make(&j->d->diag, j->out))
		return false;
	for (int i = 0; i < j->dist.nteachers; i++) {
		if (!j->r->teachers[i].path)
			continue; /* files already, or no model before training */
		if (!one_teacher(j, i))
			return false;
		n++;
	}
	return n > 0 || diag_invalid(&j->d->diag, job_loc(j, 0), "--emit=logits: the recipe has no teacher with a model");
}
