/* distill_data -- the recipe's data: what the files hold, and the text that tells
 * the trainer where they are (docs/trainer-config.md). */
#include "driver/distill.h"

#include "runtime/config.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *
path_absolute(struct arena *a, const char *path)
{
	char *cwd;
	const char *full;

	if (!path || path[0] == '/')
		return path;
	cwd = getcwd(NULL, 0);
	full = arena_printf(a, "%s/%s", cwd ? cwd : ".", str_starts(path, "./") ? path + 2 : path);
	free(cwd);
	return full;
}

static void
make_sets(struct job *j)
{
	struct recipe *r = j->r;
	struct arena *a = j->d->arena;

	if (r->nsets == 0) {
		j->nsets = 1;
		j->sets = arena_new(a, struct job_set);
		j->sets[0] = (struct job_set){.name = "main", .train = &r->train, .val = &r->val, .test = &r->test,
		                              .batch = r->batch, .sampler = &r->sampler, .line = r->train.line};
		j->batch = r->batch;
		return;
	}
	j->nsets = r->nsets;
	j->sets = arena_array(a, struct job_set, r->nsets);
	for (int i = 0; i < r->nsets; i++) {
		struct recipe_set *s = &r->sets[i];

		j->sets[i] = (struct job_set){.name = s->name, .train = &s->train, .val = &s->val, .test = &s->test,
		                              .batch = s->batch, .limit = s->limit, .first_row = j->batch, .share = s->share,
		                              .sampler = &s->sampler, .line = s->line};
		j->batch += s->batch;
	}
}

/* weight of class c = labels / (classes * labels of c): their mean over the data is 1 */
static double *
inverse_frequency(struct job *j, struct rt_array *labels, int64_t classes)
{
	double *w = arena_array(j->d->arena, double, classes);
	enum dtype type = dtype_from_onnx(labels->dtype);
	int64_t n = 0, all = INT64_MAX, count;
	struct rt_msg msg = {0};

	if (!rt_array_load(labels, &all, 1, &msg)) {
		diag_invalid(&j->d->diag, LOC_NONE, "%s", msg.text);
		return NULL;
	}
	count = labels->rows * (labels->row_bytes / rt_dtype_bytes(labels->dtype));
	for (int64_t i = 0; i < count; i++) {
		int64_t c = dtype_get_i(type, labels->data, i);

		if (c >= 0 && c < classes) {
			w[c]++;
			n++;
		}
	}
	for (int64_t c = 0; c < classes; c++)
		w[c] = w[c] > 0 ? (double)n / ((double)classes * w[c]) : 0;
	return w;
}

static struct job_field *
find_field(struct job *j, const char *name)
{
	for (int i = 0; i < j->nfields; i++)
		if (strcmp(j->fields[i].name, name) == 0)
			return &j->fields[i];
	return NULL;
}

/* "; did you mean X?" of the files beside one that is not there, or what is missing. */
static const char *
near_file(struct arena *a, const char *path)
{
	const char *folder = path_dir(a, path), *near;
	VEC(const char *) names = {0};
	DIR *d;

	if (file_exists(path))
		return "";
	d = opendir(folder);
	if (!d)
		return arena_printf(a, "; there is no folder %s: set data.root, or give --data DIR", folder);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			vec_push(a, &names, arena_strdup(a, e->d_name));
	closedir(d);
	near = str_nearest(path_base(path), names.v, names.n);
	return near ? arena_printf(a, "; did you mean \"%s\"?", near) : "";
}

/* Does any model read the field? */
static bool
is_read(const struct recipe *r, const char *name)
{
	bool read = false;

	for (int t = 0; t < recipe_nmodels(r); t++) {
		const struct recipe_model *m = recipe_model_at(r, t);

		for (int i = 0; i < m->ninputs; i++)
			read |= m->inputs[i].field && strcmp(m->inputs[i].field, name) == 0;
	}
	return read;
}

static bool
is_target(const struct recipe *r, const char *name)
{
	bool target = false;

	for (int i = 0; i < r->ntasks; i++)
		target |= r->tasks[i].target && strcmp(r->tasks[i].target, name) == 0;
	return target && !is_read(r, name);
}

static bool
open_field(struct job *j, const struct recipe_field *rf, struct rt_array *array, bool *resized)
{
	const struct recipe *r = j->r;
	struct rt_want w = {.file = rf->file, .role = rt_data_role(rf->name, rf->classes > 0), .mask = rf->classes > 0,
	                    .lengths = rf->lengths, .longest = rf->max_length, .pad = rf->pad};
	struct rt_msg msg = {0};
	bool own = rf->resize[0] > 0;

	if (own)
		w.role = RT_ROLE_IMAGES;
	if (own || r->resize[0])
		memcpy(w.size, own ? rf->resize : r->resize, sizeof w.size);
	w.where_possible = !own;
	if (!rt_data_want(array, &w, &msg))
		return diag_error(&j->d->diag, msg.status == 4 ? STATUS_IO : STATUS_INVALID, job_loc(j, rf->line), "field \"%s\": %s%s",
		                  rf->name, msg.text,
		                  msg.status == 4 ? near_file(j->d->arena, arena_strndup(j->d->arena, rf->file, strcspn(rf->file, ":#"))) : "");
	*resized = w.size[0] && array->rank > 2 && array->dims[array->rank - 2] == w.size[0] &&
	           array->dims[array->rank - 1] == w.size[1];
	return true;
}

static void
class_weights(struct job *j, struct job_field *f, struct rt_array *labels)
{
	const struct recipe_field *rf = f->recipe;

	f->classes = rf->classes ? rf->classes : rf->nweights ? rf->nweights : labels->nclasses;
	if (rf->nweights && rf->nweights != f->classes)
		diag_invalid(&j->d->diag, job_loc(j, rf->line), "field \"%s\" has %d class_weights for %" PRId64 " classes", rf->name,
		             rf->nweights, f->classes);
	else if (rf->nweights)
		f->class_weights = rf->weights;
	else if (rf->balance && f->classes > 0)
		f->class_weights = inverse_frequency(j, labels, f->classes);
	else if (rf->balance)
		diag_invalid(&j->d->diag, job_loc(j, rf->line), "field \"%s\": balance needs the number of \"classes\"", rf->name);
}

/* Labels that are hidden become the one to ignore: -1, or the type's largest. */
static void
hide_labels(struct job *j, struct job_field *f, struct recipe_field *rf, int64_t samples, int64_t batch)
{
	struct diag *diag = &j->d->diag;
	struct loc loc = job_loc(j, rf->line);
	int bits = 8 * (int)dtype_bytes(f->dtype, 1);
	bool sign = f->dtype == DT_i8 || f->dtype == DT_i16 || f->dtype == DT_i32 || f->dtype == DT_i64;
	int64_t least = !sign ? 0 : INT64_MIN >> (64 - bits), most = bits == 64 ? INT64_MAX : ((int64_t)1 << (bits - sign)) - 1;

	if (!rf->labelled && !rf->nout)
		return;
	if (f->rank || !f->classes || !dtype_is_int(f->dtype)) {
		diag_invalid(diag, loc, "field \"%s\": \"%s\" needs \"classes\" and one whole number for each sample", rf->name,
		             rf->labelled ? "labelled" : "leave_out");
		return;
	}
	if (!rf->labelled)
		return;
	if (rf->labelled > samples)
		diag_invalid(diag, loc, "field \"%s\": %" PRId64 " labelled samples of %" PRId64 " in %s", rf->name, rf->labelled,
		             samples, rf->file);
	if (rf->only_labelled && j->r->drop_last && rf->labelled < batch)
		diag_invalid(diag, loc, "field \"%s\": %" PRId64 " labelled samples are fewer than the batch of %" PRId64
		             "; make data.batch smaller", rf->name, rf->labelled, batch);
	if (!rf->has_ignore) {
		rf->has_ignore = true;
		rf->ignore = sign ? -1 : most;
	}
	if (rf->ignore < least || rf->ignore > most || (rf->ignore >= 0 && rf->ignore < f->classes))
		diag_invalid(diag, loc, "field \"%s\": hidden labels become \"ignore\", and %" PRId64 " is %s", rf->name, rf->ignore,
		             rf->ignore < least || rf->ignore > most ? "no number of the file's type" : "a class");
}

static bool
read_field(struct job *j, int set, struct recipe_field *rf)
{
	struct diag *diag = &j->d->diag;
	struct loc loc = job_loc(j, rf->line);
	struct job_field *f = find_field(j, rf->name);
	struct rt_array array = {0};
	enum dtype type;
	bool resized = false;

	if (!open_field(j, rf, &array, &resized))
		return false;
	type = dtype_from_onnx(array.dtype);
	if (array.rank < 1 || array.rank - 1 > MAX_RANK || array.rows < 1) {
		rt_data_close(&array);
		return diag_invalid(diag, loc, "field \"%s\": %s has no samples", rf->name, rf->file);
	}
	if (f && (f->dtype != type || !dims_equal(f->rank, f->dims, array.rank - 1, array.dims + 1))) {
		diag_invalid(diag, loc, "field \"%s\" is %s%s in set \"%s\" but %s%s in set \"%s\"", rf->name, dtype_info[f->dtype].name,
		             shape_text(j->d->arena, f->rank, f->dims), j->sets[f->set < 0 ? 0 : f->set].name, dtype_info[type].name,
		             shape_text(j->d->arena, array.rank - 1, array.dims + 1), j->sets[set].name);
		rt_data_close(&array);
		return false;
	}
	if (f) {
		f->set = -1;
	} else {
		f = &j->fields[j->nfields++];
		*f = (struct job_field){.name = rf->name, .set = set, .dtype = type, .rank = array.rank - 1, .recipe = rf,
		                        .resized = resized, .target = is_target(j->r, rf->name), .pad = rf->pad};
		if (f->rank)
			memcpy(f->dims, array.dims + 1, sizeof *f->dims * (size_t)f->rank);
		class_weights(j, f, &array);
		hide_labels(j, f, rf, array.rows, j->sets[set].batch);
	}
	if (array.rows < j->sets[set].batch && j->r->drop_last)
		diag_invalid(diag, loc, "field \"%s\": %" PRId64 " samples in %s are fewer than the batch of %" PRId64
		             "; make data.batch smaller", rf->name, array.rows, rf->file, j->sets[set].batch);
	if (j->sets[set].samples == 0 || array.rows < j->sets[set].samples) /* the elements of ragged rows are more */
		j->sets[set].samples = array.rows;
	rt_data_close(&array);
	return true;
}

/* ---- what the recipe says of fields, against what they are */
static struct augment_field
augment_view(const struct job_field *f)
{
	return (struct augment_field){.dtype = dtype_info[f->dtype].onnx, .rank = f->rank, .dims = f->dims,
	                              .classes = f->classes > 0, .target = f->target};
}

static bool
names_field(const struct recipe_augment *g, const char *name)
{
	for (int k = 0; k < g->nfields; k++)
		if (strcmp(g->fields[k], name) == 0)
			return true;
	return g->nfields == 0;
}

/* An augmentation acts on some field, and on each that it names; one that moves pixels
 * moves those of a sample's label map by the same draw, so both have one size. */
static void
check_augment(struct job *j, const struct recipe_augment *g)
{
	const struct augment_info *info = &augment_table[g->kind];
	struct loc loc = job_loc(j, g->line);
	const struct job_field *first = NULL;
	const char *why = NULL;

	for (int i = 0; i < j->nfields; i++) {
		const struct job_field *f = &j->fields[i];
		struct augment_field v = augment_view(f);
		const char *no = augment_refuses(g->kind, &v);

		if (!names_field(g, f->name) || f->recipe->recorded)
			continue;
		if (no) {
			why = why ? why : no;
			if (g->nfields)
				diag_invalid(&j->d->diag, loc, "augment %s cannot act on field \"%s\", %s%s%s: %s", info->name, f->name,
				             dtype_info[f->dtype].name, shape_text(j->d->arena, f->rank, f->dims),
				             f->classes ? " with classes" : "", no);
			continue;
		}
		if (first && info->acts & ACT_GEOMETRY && f->rank >= 2 && first->rank >= 2 && f->set == first->set &&
		    (f->classes > 0) != (first->classes > 0) &&
		    (f->dims[f->rank - 1] != first->dims[first->rank - 1] || f->dims[f->rank - 2] != first->dims[first->rank - 2]))
			diag_invalid(&j->d->diag, loc, "augment %s moves field \"%s\", samples %s, and field \"%s\", samples %s, alike: their "
			             "height and width must be equal, or `fields` names one of them", info->name, first->name,
			             shape_text(j->d->arena, first->rank, first->dims), f->name, shape_text(j->d->arena, f->rank, f->dims));
		first = first ? first : f;
	}
	if (!first && (!g->nfields || !why))
		diag_invalid(&j->d->diag, loc, "augment %s acts on no field of the data: %s", info->name, why ? why : "there is none");
	if (info->acts & ACT_BATCH && first) {
		j->mixed = true;
		if (j->r->buckets.field)
			diag_invalid(&j->d->diag, loc, "augment %s mixes whole samples; it does not go with buckets", info->name);
	}
}

/* The field by which a set is balanced: named, or the one label of a task in it. */
static void
check_sampler(struct job *j, int set)
{
	const struct recipe_sampler *s = j->sets[set].sampler;
	struct loc loc = job_loc(j, s->line);
	const struct job_field *found = NULL;
	int n = 0;

	for (int i = 0; s->balanced && i < j->nfields; i++) {
		const struct job_field *f = &j->fields[i];
		bool here = f->set < 0 || f->set == set;

		if (s->field ? strcmp(s->field, f->name) == 0 : here && f->target && f->classes > 0) {
			found = f;
			n++;
		}
	}
	if (!s->balanced)
		return;
	if (!found || n > 1) {
		diag_invalid(&j->d->diag, loc, n ? "sampler: several fields have classes; say which: {balanced: FIELD}"
		                                 : "sampler: balanced needs a label with \"classes\"");
		return;
	}
	if (found->classes == 0 || found->rank > 1 || (found->rank == 1 && found->dims[0] != 1) || dtype_is_float(found->dtype))
		diag_invalid(&j->d->diag, loc, "sampler: field \"%s\" is %s%s; balancing needs one class for each sample, with \"classes\"",
		             found->name, dtype_info[found->dtype].name, shape_text(j->d->arena, found->rank, found->dims));
	j->sets[set].balanced = found;
}

static void
check_buckets(struct job *j)
{
	struct recipe_buckets *b = &j->r->buckets;
	struct loc loc = job_loc(j, b->line);
	struct job_field *f = b->field ? find_field(j, b->field) : NULL;

	if (!f || b->n < 1)
		return;
	if (f->rank < 1) {
		diag_invalid(&j->d->diag, loc, "data.buckets: samples of field \"%s\" have no axis to cut", f->name);
		return;
	}
	if (b->lengths[b->n - 1] != f->dims[0]) {
		diag_invalid(&j->d->diag, loc, "data.buckets: the longest is %" PRId64 ", field \"%s\" has samples %s; the last of \"lengths\" is "
		             "the field's own", b->lengths[b->n - 1], f->name, shape_text(j->d->arena, f->rank, f->dims));
		return;
	}
	if (b->has_pad)
		f->pad = b->pad;
	f->bucketed = true;
	for (int i = 0; i < b->nfields; i++) {
		struct job_field *o = find_field(j, b->fields[i]);

		if (!o)
			continue;
		if (o->rank < 1 || o->dims[0] != f->dims[0])
			diag_invalid(&j->d->diag, loc, "data.buckets: field \"%s\" has samples %s, field \"%s\" %s: their first axes must be equal to be "
			             "cut alike", o->name, shape_text(j->d->arena, o->rank, o->dims), f->name,
			             shape_text(j->d->arena, f->rank, f->dims));
		o->bucketed = true;
	}
}

bool
job_read_data(struct job *j)
{
	int n = 0;

	make_sets(j);
	for (int s = 0; s < j->nsets; s++)
		n += j->sets[s].train->n;
	j->fields = arena_array(j->d->arena, struct job_field, n + 1);
	for (int s = 0; s < j->nsets; s++)
		for (int i = 0; i < j->sets[s].train->n; i++)
			read_field(j, s, &j->sets[s].train->fields[i]);
	for (int s = 0; s < j->nsets; s++) {
		struct job_set *set = &j->sets[s];

		if (set->limit > 0 && set->limit < set->samples)
			set->samples = set->limit;
		set->first_sample = j->samples;
		j->samples += set->samples;
	}
	if (j->d->diag.errors == 0) {
		for (int i = 0; i < j->r->naugment; i++)
			check_augment(j, &j->r->augments[i]);
		for (int s = 0; s < j->nsets; s++)
			check_sampler(j, s);
		check_buckets(j);
	}
	return j->d->diag.errors == 0;
}

/* ---- text */
static void
quote(struct str *s, const char *text)
{
	str_add(s, " \"");
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			str_addf(s, "\\%c", c);
		else if (c == '\n')
			str_add(s, "\\n");
		else if (c == '\t')
			str_add(s, "\\t");
		else if (c < 32 || c == 127)
			str_addf(s, "\\x%02x", c);
		else
			str_addn(s, text, 1);
	}
	str_add(s, "\"");
}

static void
split_lines(struct job *j, struct str *s, const char *key, const struct recipe_split *split)
{
	for (int i = 0; i < split->n; i++) {
		str_add(s, key);
		quote(s, split->fields[i].name);
		quote(s, path_absolute(j->d->arena, split->fields[i].file));
		str_add(s, "\n");
		if (!split->fields[i].lengths)
			continue;
		str_addf(s, "%s_lengths", key);
		quote(s, split->fields[i].name);
		quote(s, path_absolute(j->d->arena, split->fields[i].lengths));
		str_add(s, "\n");
	}
}

static void
mark(struct str *s, const char *key, const struct job_field *f, bool is)
{
	if (!is)
		return;
	str_add(s, key);
	quote(s, f->name);
	str_add(s, "\n");
}

static void
set_lines(struct job *j, struct str *s, int index)
{
	const struct job_set *set = &j->sets[index];

	str_add(s, "set");
	quote(s, set->name);
	str_addf(s, " %" PRId64 " %" PRId64 "\n", set->batch, set->limit);
	for (int i = 0; i < set->train->n; i++) {
		const struct job_field *f = find_field(j, set->train->fields[i].name);

		str_add(s, "field");
		quote(s, f->name);
		str_addf(s, " %d", dtype_info[f->dtype].onnx);
		for (int k = 0; k < f->rank; k++)
			str_addf(s, " %" PRId64, f->dims[k]);
		str_add(s, "\n");
		if (f->classes) {
			str_add(s, "classes");
			quote(s, f->name);
			str_addf(s, " %" PRId64 "\n", f->classes);
		}
		if (f->recipe->has_ignore) {
			str_add(s, "ignore");
			quote(s, f->name);
			str_addf(s, " %" PRId64 "\n", f->recipe->ignore);
		}
		if (f->recipe->labelled) {
			str_add(s, "labelled");
			quote(s, f->name);
			str_addf(s, " %" PRId64 " %d\n", f->recipe->labelled, f->recipe->only_labelled);
		}
		if (f->recipe->nout) {
			str_add(s, "leave_out");
			quote(s, f->name);
			for (int k = 0; k < f->recipe->nout; k++)
				str_addf(s, " %" PRId64, f->recipe->out[k]);
			str_add(s, "\n");
		}
		if (f->pad != 0) {
			str_add(s, "pad");
			quote(s, f->name);
			str_addf(s, " %.17g\n", f->pad);
		}
		mark(s, "resize", f, f->resized);
		mark(s, "target", f, f->target);
		mark(s, "recorded", f, f->recipe->recorded);
		if (f->recipe->view) {
			str_add(s, "view");
			quote(s, f->name);
			str_addf(s, " %" PRId64 "\n", f->recipe->view);
		}
		mark(s, "bucketed", f, f->bucketed);
	}
	if (set->share)
		str_addf(s, "share %" PRId64 "\n", set->share);
	if (set->balanced)
		mark(s, "balanced", set->balanced, true);
	if (j->r->buckets.field) {
		str_add(s, "bucket");
		quote(s, j->r->buckets.field);
		for (int i = 0; i < j->r->buckets.n; i++)
			str_addf(s, " %" PRId64, j->r->buckets.lengths[i]);
		str_add(s, "\n");
	}
	split_lines(j, s, "train", set->train);
	if (set->val->from)
		str_addf(s, "val_from %s %.17g\n", set->val->from, set->val->fraction);
	split_lines(j, s, "val", set->val);
	split_lines(j, s, "test", set->test);
}

/* A task with labels, the set that its rows are of, its metrics in the recipe's order. */
static void
task_lines(struct job *j, struct str *s, const struct recipe_task *t)
{
	const struct job_field *f = t->target ? find_field(j, t->target) : NULL;
	const char *set = t->data ? t->data : f && f->set >= 0 ? j->sets[f->set].name : j->nsets == 1 ? j->sets[0].name : "";

	str_add(s, "task");
	quote(s, t->name);
	quote(s, set);
	quote(s, t->target ? t->target : "");
	str_add(s, "\n");
	for (int i = 0; i < t->nmetrics; i++) {
		str_add(s, "metric");
		quote(s, t->name);
		quote(s, t->metrics[i].name);
		str_add(s, "\n");
	}
}

static void
info(struct str *s, const char *key, const char *value)
{
	str_add(s, "info");
	quote(s, key);
	quote(s, value);
	str_add(s, "\n");
}

static char *
keep(struct arena *a, struct str *s)
{
	char *text = arena_strndup(a, s->s, s->n);

	str_free(s);
	return text;
}

/* What the report says of a stage's updates: "sgd, lr 0.1, momentum 0.9, ..." */
static const char *
update_text(struct arena *a, const struct update_rule *u)
{
	static const char *const names[] = {
#define OPTIMIZER(ID, id) #id,
#include "ir/optimizer.def"
	};
	static const struct { const char *of, *key; size_t at; } settings[] = {
#define SETTING(id, key, ...) {#id, #key, offsetof(struct optimizer, key)},
#include "ir/optimizer.def"
	};
	const struct optimizer *o = &u->optimizer;
	struct str s = {0};

	str_addf(&s, "%s, lr %g", names[o->kind], o->lr);
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
		if (strcmp(settings[i].of, names[o->kind]) == 0)
			str_addf(&s, ", %s %g", settings[i].key, *(const double *)((const char *)o + settings[i].at));
	if (u->ngroups)
		str_addf(&s, "; %d parameter group%s", u->ngroups, u->ngroups > 1 ? "s" : "");
	if (u->clip_value > 0)
		str_addf(&s, "; clip value %g", u->clip_value);
	if (u->clip_norm > 0)
		str_addf(&s, "; clip norm %g", u->clip_norm);
	if (u->accumulate > 1)
		str_addf(&s, "; %" PRId64 " batches an update", u->accumulate);
	if (u->ema_decay > 0)
		str_addf(&s, "; averaged weights, decay %g%s", u->ema_decay, u->ema_warmup ? " with warm-up" : "");
	return keep(a, &s);
}

/* Every parameter in the table's order. */
static void
augment_line(struct str *s, const struct recipe_augment *g)
{
	const struct augment_info *a = &augment_table[g->kind];
	double p = g->v[AUG_VALUES - 1];

	str_addf(s, "augment %s", a->name);
	for (int i = 0; i < AUG_PARAMS && a->params[i].kind; i++) {
		int at = augment_value_at(g->kind, i);

		for (int k = 0; at < 0 && k < g->nlist; k++)
			str_addf(s, " %s %.17g", a->params[i].name, g->list[k]);
		if (at < 0)
			continue;
		str_addf(s, " %s %.17g", a->params[i].name, g->v[at]);
		if (a->params[i].kind == PARAM_AROUND || a->params[i].kind == PARAM_RANGE)
			str_addf(s, " %.17g", g->v[at + 1]);
	}
	if (p != 1)
		str_addf(s, " p %.17g", p);
	for (int i = 0; i < g->nfields; i++) {
		str_add(s, " field");
		quote(s, g->fields[i]);
	}
	str_add(s, "\n");
}

const char *
job_config(struct job *j)
{
	struct recipe *r = j->r;
	struct str s = {0};
	size_t size;
	char *text;

	str_add(&s, "retort_trainer 1\nname");
	quote(&s, r->name);
	str_addf(&s, "\nseed %" PRId64 "\n", j->d->o.seed >= 0 ? j->d->o.seed : r->seed);
	if (r->data_root) {
		str_add(&s, "root");
		quote(&s, path_absolute(j->d->arena, r->data_root));
		str_add(&s, "\n");
	}
	str_addf(&s, "batch %" PRId64 "\nshuffle %d\ndrop_last %d\n", j->batch, r->shuffle, r->drop_last);
	if (r->workers > 1)
		str_addf(&s, "workers %" PRId64 "\n", r->workers);
	if (r->cache_bytes >= 0)
		str_addf(&s, "cache_bytes %" PRId64 "\n", r->cache_bytes);
	for (int i = 0; i < r->naugment; i++)
		augment_line(&s, &r->augments[i]);
	for (int i = 0; i < r->ntasks; i++)
		task_lines(j, &s, &r->tasks[i]);
	if (r->early_patience)
		str_addf(&s, "early_stop %d %.17g\n", r->early_patience, r->early_min_delta);
	if (r->early_keeps_last)
		str_add(&s, "restore_best 0\n");
	if (r->checkpoint_every)
		str_addf(&s, "checkpoint_every %" PRId64 " %" PRId64 "\n", r->checkpoint_every, r->checkpoint_keep);
	if (r->checkpoint_seconds >= 0)
		str_addf(&s, "checkpoint_seconds %.17g\n", r->checkpoint_seconds);
	if (r->early_monitor) {
		str_add(&s, "monitor");
		quote(&s, r->early_monitor);
		str_add(&s, "\n");
	}
	info(&s, "retort", RETORT_VERSION);
	info(&s, "student", r->student.path);
	for (int i = 0; i < r->nteachers; i++)
		info(&s, arena_printf(j->d->arena, "teacher %s", r->teachers[i].name), r->teachers[i].path ? r->teachers[i].path : "files");
	for (int i = 0; i < r->nstages; i++)
		info(&s, r->nstages > 1 ? arena_printf(j->d->arena, "optimizer of stage %d", i + 1) : "optimizer",
		     update_text(j->d->arena, &r->stages[i].update));
	for (int i = 0; i < j->nsets; i++)
		set_lines(j, &s, i);
	str_addf(&s, "samples %" PRId64 "\n", j->samples);
	if (r->cache_variants)
		str_addf(&s, "cache_variants %" PRId64 "\n", r->cache_variants);
	if (r->cache_f16)
		str_add(&s, "cache_f16 1\n");
	if (r->cache_path) {
		str_add(&s, "cache_path");
		quote(&s, path_absolute(j->d->arena, path_join(j->d->arena, r->dir, r->cache_path)));
		str_add(&s, "\n");
	}
	text = file_read(&j->d->diag, r->path, &size);
	if (text && size < 256 * 1024) {
		str_add(&s, "recipe");
		quote(&s, text);
		str_add(&s, "\n");
	}
	free(text);
	return keep(j->d->arena, &s);
}

static void
schedule_lines(struct str *s, const struct recipe_schedule *c)
{
	str_addf(s, "schedule %s", c->kind);
	for (int i = 0; i < c->nkeys; i++)
		str_addf(s, " %s %.17g", c->keys[i].key, c->keys[i].value);
	str_add(s, "\n");
	if (c->nmilestones)
		str_add(s, "milestones");
	for (int i = 0; i < c->nmilestones; i++)
		str_addf(s, " %" PRId64 "%s", c->milestones[i], i + 1 == c->nmilestones ? "\n" : "");
	if (c->by >= 0)
		str_addf(s, "by %s\n", c->by ? "epoch" : "step");
	if (c->warmup_epochs > 0)
		str_addf(s, "warmup_epochs %.17g\n", c->warmup_epochs);
	if (c->warmup_steps > 0)
		str_addf(s, "warmup_steps %.17g\n", c->warmup_steps);
	if (c->warmup_start >= 0)
		str_addf(s, "warmup_start %.17g\n", c->warmup_start);
}

static const struct buffer *
memory_of(const struct buffer *b)
{
	while (b->alias)
		b = b->alias;
	return b;
}

/* Does the call depend on a state?  Calls come in order; on[] by buffer. */
static bool
depends(const struct call *c, bool *on)
{
	bool yes = false;

	for (int k = 0; k < c->kernel->nbuf; k++)
		yes |= !c->kernel->buf_written[k] && (memory_of(c->arg[k])->space == SPACE_STATE || on[memory_of(c->arg[k])->id]);
	for (int k = 0; k < c->kernel->nbuf; k++)
		if (c->kernel->buf_written[k])
			on[memory_of(c->arg[k])->id] = yes;
	return yes;
}

/* By the pass that made a call, and by what it depends on: teachers have no states. */
static enum phase
phase_of(const struct job *j, const struct call *c, bool student)
{
	const char *file = c->loc.file ? path_base(c->loc.file) : "", *maker = c->loc.maker ? c->loc.maker : "";

	if (strcmp(maker, "update") == 0)
		return PHASE_UPDATE;
	if (strcmp(maker, "grad") == 0)
		return PHASE_BACKWARD;
	for (int i = 0; !student && i < j->r->nteachers; i++)
		if (j->r->teachers[i].path && strcmp(file, path_base(j->r->teachers[i].path)) == 0)
			return PHASE_TEACHER;
	for (int i = 0; i <= j->r->nstudents; i++)
		if (strcmp(file, path_base(recipe_model_at(j->r, i)->path)) == 0)
			return PHASE_FORWARD;
	return PHASE_LOSS;
}

static bool
writes(const struct program *p, const struct buffer *state)
{
	for (int i = 0; i < p->calls.n; i++) {
		const struct call *c = &p->calls.v[i];

		for (int k = 0; c->kernel && k < c->kernel->nbuf; k++) {
			if (memory_of(c->arg[k]) == state && c->kernel->buf_written[k])
				return true;
		}
	}
	return false;
}

/* Is it one of the model's own, and moved? */
static void
count_state(const struct job *j, const struct distill_model *m, const struct program *p, const struct io *v, int64_t *trained,
            int64_t *running)
{
	for (int k = 0; k < m->graph->states.n && m->weights == WEIGHTS_OWN; k++) {
		const struct value *s = m->graph->states.v[k];

		if (strcmp(distill_state_name(j->d->arena, m, s), v->name) == 0 && writes(p, v->buffer))
			*(s->trainable ? trained : running) += v->buffer->count;
	}
}

/* What a step does and to how many numbers: for --dry-run. */
static void
size_lines(const struct job *j, const struct program *p, struct str *s)
{
	struct distill ds = j->dist;
	double flops[NPHASES] = {0};
	bool *on = arena_array(j->d->arena, bool, p->buffers.n + 1);
	int64_t trained = 0, running = 0;

	for (int i = 0; i < p->calls.n; i++)
		if (p->calls.v[i].kernel)
			flops[phase_of(j, &p->calls.v[i], depends(&p->calls.v[i], on))] += p->calls.v[i].kernel->flops;
	for (int m = 0; m <= ds.nstudents; m++)
		for (int i = 0; i < p->states.n; i++)
			count_state(j, distill_model_at(&ds, m), p, &p->states.v[i], &trained, &running);
	str_add(s, "flops");
	for (int i = 0; i < NPHASES; i++)
		str_addf(s, " %.17g", flops[i]);
	str_addf(s, "\nparameters %" PRId64 " %" PRId64 "\n", trained, running);
}

static void
dial_line(struct str *s, const char *name, const struct dial *d)
{
	str_add(s, "dial");
	quote(s, name);
	str_addf(s, " %.17g %.17g %.17g %.17g %s\n", d->from, d->to, d->begin, d->end, dial_curve_names[d->curve]);
}

/* What of a term changes in training. */
static void
term_dials(const struct job *j, struct str *s, const struct recipe_term *t)
{
	struct arena *a = j->d->arena;
	int loss = loss_find(t->loss);
	const struct loss_info *l = loss < 0 ? NULL : &loss_info[loss];

	if (t->weight.curve)
		dial_line(s, arena_printf(a, "%s.weight", t->name), &t->weight);
	if (t->temperature.curve)
		dial_line(s, arena_printf(a, "%s.temperature", t->name), &t->temperature);
	for (int i = 0; l && t->values && i < l->nsettings; i++)
		if (t->values[i].curve)
			dial_line(s, arena_printf(a, "%s.%s", t->name, l->settings[i].key), &t->values[i]);
}

/* The parts of a term's weight that stay; and the task whose weight changes. */
static void
weight_line(const struct job *j, struct str *s, const struct recipe_stage *st, const struct recipe_term *t)
{
	str_add(s, "weight");
	quote(s, t->name);
	str_addf(s, " %.17g", (t->weight.curve ? 1 : t->weight.from) * job_task_weight(j->r, st, t->task));
	if (t->task)
		quote(s, t->task);
	str_add(s, "\n");
}

/* Weights of tasks that change, of those that have terms; and what they follow from. */
static void
task_lines_of_stage(const struct job *j, struct str *s, const struct recipe_stage *st, int nterms, const struct recipe_term *terms)
{
	const struct task_balance *b = &st->balance;

	for (int i = 0; i < j->r->ntasks; i++) {
		const char *name = j->r->tasks[i].name;
		bool any = false;
		struct dial d;

		for (int k = 0; k < nterms; k++)
			any |= terms[k].task && strcmp(terms[k].task, name) == 0;
		if (any && job_task_dial(st, name, &d))
			dial_line(s, arena_printf(j->d->arena, "$task.%s", name), &d);
	}
	if (b->weights == TASKS_dwa)
		str_addf(s, "task_weights dwa %.17g\n", b->T);
	if (b->weights == TASKS_val_metric)
		str_addf(s, "task_weights val_metric %.17g\n", b->gamma);
}

const char *
job_stage_config(struct job *j, const struct recipe_stage *st, const struct program *p)
{
	const struct recipe_term *terms = st->nterms ? st->terms : j->r->terms;
	int n = st->nterms ? st->nterms : j->r->nterms;
	struct str s = {0};

	str_add(&s, "name");
	quote(&s, st->name ? st->name : "main");
	str_addf(&s, "\nepochs %" PRId64 "\nlr %.17g\naccumulate %" PRId64 "\n", st->epochs, st->update.optimizer.lr,
	         st->update.accumulate);
	size_lines(j, p, &s);
	schedule_lines(&s, &st->schedule);
	for (int i = 0; i < n; i++) {
		weight_line(j, &s, st, &terms[i]);
		term_dials(j, &s, &terms[i]);
	}
	task_lines_of_stage(j, &s, st, n, terms);
	return keep(j->d->arena, &s);
}
