/* config -- parses the configuration of the run, strictly; config_stage.c a stage's.  They
 * were written by the compiler, so a mistake is no user's, but an executable can be damaged. */
#include "runtime/config_line.h"

#include "host/metric.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>


const char *const split_names[NSPLITS] = {"train", "val", "test"};

void *
region_alloc(struct region *r, size_t n)
{
	if (r->n == r->cap) {
		int cap = r->cap ? 2 * r->cap : 64;
		void **v = realloc(r->v, (size_t)cap * sizeof *v);

		if (!v)
			return NULL;
		r->v = v;
		r->cap = cap;
	}
	void *p = calloc(n ? n : 1, 1);

	if (p) {
		r->v[r->n++] = p;
		r->bytes += n;
	}
	return p;
}

char *
region_printf(struct region *r, const char *fmt, ...)
{
	va_list ap;
	int n;
	char *p;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	p = n < 0 ? NULL : region_alloc(r, (size_t)n + 1);
	if (p) {
		va_start(ap, fmt);
		vsnprintf(p, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	return p;
}

void
region_free(struct region *r)
{
	for (int i = 0; i < r->n; i++)
		free(r->v[i]);
	free(r->v);
	*r = (struct region){0};
}

static const struct augment_param *
param(const struct augment_info *a, const char *name, int *index)
{
	for (*index = 0; *index < AUG_PARAMS && a->params[*index].kind; ++*index)
		if (strcmp(a->params[*index].name, name) == 0)
			return &a->params[*index];
	return NULL;
}

/* The values of one parameter from word *at on. */
static bool
parse_param(struct line *l, struct cfg_augment *a, const struct augment_param *p, int index, int *at)
{
	int n = p->kind == PARAM_AROUND || p->kind == PARAM_RANGE ? 2 : 1,
	    to = augment_value_at(a->kind, index);

	if (p->kind == PARAM_LIST) {
		if (a->nlist == AUG_LIST)
			return line_bad(l, "too many values");
		return line_real(l, (*at)++, p->least, p->most, &a->list[a->nlist++]);
	}
	for (int i = 0; i < n; i++) {
		if (!line_real(l, (*at)++, p->least, p->most, &a->v[to + i]))
			return false;
		if (p->kind == PARAM_WHOLE && a->v[to] != floor(a->v[to]))
			return line_bad(l, "expected a whole number");
	}
	return n == 1 || a->v[to] <= a->v[to + 1] || line_bad(l, "a range whose end is below its start");
}

/* augment KIND [FIRST] {PARAMETER VALUE...} {field NAME} */
static bool
parse_augment(struct line *l, struct config *c)
{
	struct cfg_augment *a = &c->augments[c->naugments];
	int kind = l->n > 1 ? augment_find(l->w[1]) : -1, at = 2, index;
	const struct augment_info *info;
	const struct augment_param *p;

	if (kind < 0)
		return line_bad(l, "unknown augmentation");
	if (c->naugments == MAX_AUGMENTS)
		return line_bad(l, "too many augmentations");
	info = &augment_table[kind];
	*a = (struct cfg_augment){.kind = (enum augment_kind)kind};
	augment_defaults(a->kind, a->v);
	if (at < l->n && strchr("0123456789.-+", l->w[at][0]) &&
	    !parse_param(l, a, &info->params[0], 0, &at))
		return false;
	while (at < l->n) {
		const char *name = l->w[at++];

		if (strcmp(name, "field") == 0) {
			if (at == l->n || a->nfields == 8)
				return line_bad(l, "a field's name is missing, or too many");
			a->fields[a->nfields++] = l->w[at++];
		} else if ((p = param(info, name, &index))) {
			if (!parse_param(l, a, p, index, &at))
				return false;
		} else if (strcmp(name, "p") == 0) {
			if (!line_real(l, at++, 0, 1, &a->v[AUG_VALUES - 1]))
				return false;
		} else {
			return line_bad(l, "unknown parameter of the augmentation");
		}
	}
	c->naugments++;
	return true;
}

static struct cfg_field *
field(struct line *l, struct cfg_set *s)
{
	if (!s) {
		line_bad(l, "comes before any set");
		return NULL;
	}
	if (l->n < 2) {
		line_bad(l, "a field's name is missing");
		return NULL;
	}
	for (int i = 0; i < s->nfields; i++)
		if (strcmp(s->fields[i].name, l->w[1]) == 0)
			return &s->fields[i];
	line_bad(l, "no such field in this set");
	return NULL;
}

static bool
parse_field(struct line *l, struct cfg_set *s)
{
	struct cfg_field *f;
	int64_t v;

	if (!s)
		return line_bad(l, "comes before any set");
	if (l->n < 3 || l->n > 3 + RT_MAX_RANK - 1)
		return line_bad(l, "expected a name, a dtype and the dims of one sample");
	if (s->nfields == MAX_FIELDS)
		return line_bad(l, "too many fields");
	f = &s->fields[s->nfields++];
	f->name = l->w[1];
	if (!line_integer(l, 2, 1, 16, &v))
		return false;
	f->dtype = (int32_t)v;
	f->rank = l->n - 3;
	for (int i = 0; i < f->rank; i++)
		if (!line_integer(l, 3 + i, 1, INT32_MAX, &f->dims[i]))
			return false;
	v = rt_count(f->dims, f->rank);
	if (!rt_dtype_bytes(f->dtype) || v < 0 ||
	    __builtin_mul_overflow(v, rt_dtype_bytes(f->dtype), &f->row_bytes))
		return line_bad(l, "unknown dtype or a sample too large");
	return true;
}

static bool
parse_set(struct line *l, struct config *c, struct cfg_set **set)
{
	if (!line_words(l, 3))
		return false;
	if (c->nsets == MAX_SETS)
		return line_bad(l, "too many sets");
	*set = &c->sets[c->nsets++];
	(*set)->name = l->w[1];
	(*set)->balanced = (*set)->measured = -1;
	return line_integer(l, 2, 1, INT32_MAX, &(*set)->batch) &&
	       line_integer(l, 3, 0, INT64_MAX, &(*set)->limit);
}

/* bucket FIELD L1 L2...: the lengths rise, the last one is the field's own */
static bool
parse_buckets(struct line *l, struct cfg_set *s, int field)
{
	int64_t last = 0;

	s->measured = field;
	if (l->n < 3 || l->n - 2 > MAX_BUCKETS)
		return line_bad(l, "expected a field and the lengths of its buckets");
	for (int i = 2; i < l->n; i++) {
		if (!line_integer(l, i, 1, INT32_MAX, &s->bucket[s->nbuckets]))
			return false;
		if (s->bucket[s->nbuckets] <= last)
			return line_bad(l, "the lengths of buckets rise");
		last = s->bucket[s->nbuckets++];
	}
	return (s->fields[field].rank > 0 && s->fields[field].dims[0] == last) ||
	       line_bad(l, "the last bucket is as long as the field");
}

/* labelled FIELD N DROP */
static bool
parse_labelled(struct line *l, struct cfg_field *f)
{
	int64_t drop = 0;

	if (!line_words(l, 3) || !line_integer(l, 2, 1, INT64_MAX, &f->labelled) || !line_integer(l, 3, 0, 1, &drop))
		return false;
	f->only_labelled = drop;
	return (f->rank == 0 && f->has_classes && f->has_ignore) || line_bad(l, "labelled needs classes and ignore before it");
}

/* leave_out FIELD C1 C2... */
static bool
parse_leave_out(struct line *l, struct cfg_field *f)
{
	if (l->n < 3 || l->n - 2 > MAX_OUT || f->rank || !f->has_classes)
		return line_bad(l, "expected a field with classes, and up to 60 of them");
	for (int i = 2; i < l->n; i++)
		if (!line_integer(l, i, 0, f->classes - 1, &f->out[f->nout++]))
			return false;
	return true;
}

static const char *const length_keys[NSPLITS] = {"train_lengths", "val_lengths", "test_lengths"};

static bool
set_entry(struct line *l, struct cfg_set *s)
{
	struct cfg_field *f;

	if (strcmp(l->w[0], "field") == 0)
		return parse_field(l, s);
	if (strcmp(l->w[0], "val_from") == 0) {
		if (!s)
			return line_bad(l, "comes before any set");
		if (!line_words(l, 2) || strcmp(l->w[1], "train") != 0)
			return line_bad(l, "expected: val_from train FRACTION");
		return line_real(l, 2, 1e-9, 0.999999, &s->val_fraction);
	}
	if (strcmp(l->w[0], "share") == 0)
		return !s ? line_bad(l, "comes before any set")
			  : line_words(l, 1) && line_integer(l, 1, 1, MAX_SHARE, &s->share);
	if (!(f = field(l, s)))
		return false;
	if (strcmp(l->w[0], "bucket") == 0)
		return parse_buckets(l, s, (int)(f - s->fields));
	if (strcmp(l->w[0], "resize") == 0)
		return f->resize = true, line_words(l, 1);
	if (strcmp(l->w[0], "target") == 0)
		return f->target = true, line_words(l, 1);
	if (strcmp(l->w[0], "recorded") == 0)
		return f->recorded = true, line_words(l, 1);
	if (strcmp(l->w[0], "bucketed") == 0)
		return f->bucketed = true, line_words(l, 1);
	if (strcmp(l->w[0], "balanced") == 0)
		return s->balanced = (int)(f - s->fields), line_words(l, 1);
	if (strcmp(l->w[0], "labelled") == 0)
		return parse_labelled(l, f);
	if (strcmp(l->w[0], "leave_out") == 0)
		return parse_leave_out(l, f);
	if (!line_words(l, 2))
		return false;
	if (strcmp(l->w[0], "pad") == 0)
		return line_real(l, 2, -1e15, 1e15, &f->pad);
	for (int k = 0; k < NSPLITS; k++)
		if (strcmp(l->w[0], length_keys[k]) == 0)
			return f->lengths[k] = l->w[2], true;
	if (strcmp(l->w[0], "view") == 0)
		return line_integer(l, 2, 2, INT32_MAX, &f->view);
	if (strcmp(l->w[0], "classes") == 0)
		return f->has_classes = true, line_integer(l, 2, 1, INT32_MAX, &f->classes);
	if (strcmp(l->w[0], "ignore") == 0)
		return f->has_ignore = true, line_integer(l, 2, INT64_MIN, INT64_MAX, &f->ignore);
	for (int k = 0; k < NSPLITS; k++)
		if (strcmp(l->w[0], split_names[k]) == 0)
			f->file[k] = l->w[2];
	return true;
}

static bool
parse_task(struct line *l, struct config *c)
{
	if (!line_words(l, 3))
		return false;
	if (c->ntasks == MAX_TASKS)
		return line_bad(l, "too many tasks");
	c->tasks[c->ntasks++] = (struct cfg_task){.name = l->w[1], .set = l->w[2], .target = l->w[3]};
	return true;
}

static bool
parse_metric(struct line *l, struct config *c)
{
	int number;

	if (!line_words(l, 2))
		return false;
	for (int i = 0; i < c->ntasks; i++) {
		struct cfg_task *t = &c->tasks[i];
		struct cfg_metric *m = &t->metrics[t->nmetrics];

		if (strcmp(t->name, l->w[1]) != 0)
			continue;
		if (t->nmetrics == MAX_METRICS)
			return line_bad(l, "too many metrics");
		m->name = l->w[2];
		m->id = metric_find(m->name, (int)strcspn(m->name, "."), &number);
		t->nmetrics++;
		return m->id >= 0 || line_bad(l, "unknown metric");
	}
	return line_bad(l, "metric of an unknown task");
}

static bool
entry(struct line *l, struct config *c, struct cfg_set **set)
{
	static const char *const of_set[] = {
	    "field", "val_from", "classes", "ignore", "train", "val", "test", "share", "bucket",
	    "bucketed", "resize", "target", "recorded", "view", "balanced", "pad", "train_lengths", "val_lengths",
	    "labelled", "leave_out",
	    "test_lengths"};
	const char *key = l->w[0];

	for (size_t i = 0; i < sizeof of_set / sizeof *of_set; i++)
		if (strcmp(key, of_set[i]) == 0)
			return set_entry(l, *set);
	if (strcmp(key, "name") == 0)
		return line_string(l, &c->name);
	if (strcmp(key, "root") == 0)
		return line_string(l, &c->root);
	if (strcmp(key, "recipe") == 0)
		return line_string(l, &c->recipe);
	if (strcmp(key, "monitor") == 0)
		return line_string(l, &c->monitor);
	if (strcmp(key, "seed") == 0)
		return line_words(l, 1) && line_integer(l, 1, INT64_MIN, INT64_MAX, &c->seed);
	if (strcmp(key, "batch") == 0)
		return line_words(l, 1) && line_integer(l, 1, 1, INT32_MAX, &c->batch);
	if (strcmp(key, "shuffle") == 0)
		return line_flag(l, &c->shuffle);
	if (strcmp(key, "drop_last") == 0)
		return line_flag(l, &c->drop_last);
	if (strcmp(key, "early_stop") == 0)
		return (l->n == 3 || line_words(l, 1)) && line_integer(l, 1, 0, INT32_MAX, &c->patience) &&
		       (l->n < 3 || line_real(l, 2, 0, 1e12, &c->min_delta));
	if (strcmp(key, "restore_best") == 0)
		return line_flag(l, &c->restore_best);
	if (strcmp(key, "test_every") == 0)
		return line_words(l, 1) && line_integer(l, 1, 0, INT32_MAX, &c->test_every);
	if (strcmp(key, "checkpoint_every") == 0)
		return line_words(l, 2) && line_integer(l, 1, 0, INT32_MAX, &c->checkpoint_every) &&
		       line_integer(l, 2, 0, INT32_MAX, &c->checkpoint_keep);
	if (strcmp(key, "checkpoint_seconds") == 0)
		return line_words(l, 1) && line_real(l, 1, 0, 1e9, &c->checkpoint_seconds);
	if (strcmp(key, "cache_bytes") == 0)
		return line_words(l, 1) && line_integer(l, 1, 0, INT64_MAX, &c->cache_bytes);
	if (strcmp(key, "workers") == 0)
		return line_words(l, 1) && line_integer(l, 1, 1, MAX_WORKERS, &c->workers);
	if (strcmp(key, "augment") == 0)
		return parse_augment(l, c);
	if (strcmp(key, "samples") == 0)
		return line_words(l, 1) && line_integer(l, 1, 0, INT64_MAX, &c->samples);
	if (strcmp(key, "cache_variants") == 0)
		return line_words(l, 1) && line_integer(l, 1, 1, 4096, &c->cache_variants);
	if (strcmp(key, "cache_f16") == 0)
		return line_flag(l, &c->cache_f16);
	if (strcmp(key, "cache_path") == 0)
		return line_words(l, 1) && (c->cache_path = l->w[1], true);
	if (strcmp(key, "set") == 0)
		return parse_set(l, c, set);
	if (strcmp(key, "task") == 0)
		return parse_task(l, c);
	if (strcmp(key, "metric") == 0)
		return parse_metric(l, c);
	if (strcmp(key, "mode") == 0) {
		if (!line_words(l, 1) || (strcmp(l->w[1], "max") != 0 && strcmp(l->w[1], "min") != 0))
			return line_bad(l, "expected max or min");
		c->mode = l->w[1][1] == 'a' ? 1 : -1;
		return true;
	}
	if (strcmp(key, "info") == 0) {
		if (!line_words(l, 2))
			return false;
		if (c->ninfo < 64)
			c->info[c->ninfo++] = (struct cfg_info){l->w[1], l->w[2]};
		return true;
	}
	return line_bad(l, "unknown key");
}

static bool
check(const struct config *c, struct rt_msg *m)
{
	int64_t rows = 0;

	if (c->nsets == 0 || c->batch == 0)
		return rt_fail(m, RT_INVALID, "the trainer's configuration has no set or no batch");
	for (int i = 0; i < c->nsets; i++) {
		const struct cfg_set *s = &c->sets[i];

		rows += s->batch;
		if ((s->share > 0) != (c->sets[0].share > 0) || (s->nbuckets && c->nsets > 1))
			return rt_fail(m, RT_INVALID, "set %s: shares are of all sets or none, "
						      "buckets of a single one", s->name);
		for (int f = 0; f < s->nfields; f++)
			if (!s->fields[f].file[SPLIT_TRAIN])
				return rt_fail(m, RT_INVALID,
				    "field %s of set %s has no training file", s->fields[f].name,
				    s->name);
		if (s->nfields == 0)
			return rt_fail(m, RT_INVALID, "set %s has no fields", s->name);
	}
	if (rows != c->batch)
		return rt_fail(m, RT_INVALID,
		    "the sets' batches add up to %lld, the compiled batch is %lld", (long long)rows,
		    (long long)c->batch);
	return true;
}

bool
config_parse(struct config *c, const char *text, struct region *r, struct rt_msg *m)
{
	struct line l = {.m = m, .what = "trainer config"};
	struct cfg_set *set = NULL;
	char *p = line_text(text, r, m);
	int64_t version;

	*c = (struct config){.name = "trainer",
	    .root = "",
	    .shuffle = true,
	    .drop_last = true,
	    .test_every = -1,
	    .cache_bytes = (int64_t)2 << 30,
	    .workers = 1,
	    .restore_best = true,
	    .checkpoint_seconds = 5};
	c->sets = region_alloc(r, MAX_SETS * sizeof *c->sets);
	c->tasks = region_alloc(r, MAX_TASKS * sizeof *c->tasks);
	if (!p || !c->sets || !c->tasks)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	if (!line_next(&l, &p) || strcmp(l.w[0], "retort_trainer") != 0 || !line_words(&l, 1) ||
	    !line_integer(&l, 1, 1, 1, &version))
		return rt_fail(
		    m, RT_INVALID, "trainer config: the first line must be 'retort_trainer 1'");
	while (line_next(&l, &p))
		if (!entry(&l, c, &set))
			return false;
	return !m->status && check(c, m);
}
