/* config -- parses the two configuration texts, strictly.  They were written by the
 * compiler, so a mistake in them is no user's, but an executable can be damaged. */
#include "runtime/config.h"

#include "host/metric.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)1 << 20)
#define MAX_WORDS (MAX_MILESTONES + 8)

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

/* One line as words; all strings point into the region's copy of the text. */
struct line {
	int n, number;
	char *w[MAX_WORDS];
	struct rt_msg *m;
	const char *what;
};

static int
hex(int c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static bool
bad(struct line *l, const char *why)
{
	return rt_fail(
	    l->m, RT_INVALID, "%s line %d (%s): %s", l->what, l->number, l->n ? l->w[0] : "", why);
}

/* Unescapes in place; *s is after the opening quote, ends after the closing one. */
static bool
quoted(struct line *l, char **s)
{
	char *p = *s, *out = *s;

	for (; *p && *p != '"' && *p != '\n'; p++) {
		int c = (unsigned char)*p;

		if (c == '\\') {
			c = (unsigned char)*++p;
			if (c == 'n')
				c = '\n';
			else if (c == 't')
				c = '\t';
			else if (c == 'x' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
				c = hex(p[1]) * 16 + hex(p[2]);
				p += 2;
			} else if (c != '"' && c != '\\')
				return bad(l, "unknown escape");
			if (!c)
				return bad(l, "a zero byte in a string");
		}
		*out++ = (char)c;
	}
	if (*p != '"')
		return bad(l, "a string without its closing quote");
	*out = 0;
	*s = p + 1;
	return true;
}

/* Next line with words in it; false: end of text, or wrong (l->m says). */
static bool
next(struct line *l, char **text)
{
	for (char *p = *text; *p;) {
		l->number++;
		l->n = 0;
		while (*p && *p != '\n') {
			if (*p == ' ' || *p == '\t' || *p == '\r') {
				*p++ = 0;
				continue;
			}
			if (*p == '#' && l->n == 0) {
				while (*p && *p != '\n')
					p++;
				break;
			}
			if (l->n == MAX_WORDS)
				return bad(l, "too many values");
			if (*p == '"') {
				p++;
				l->w[l->n++] = p;
				if (!quoted(l, &p))
					return false;
				if (*p && !isspace((unsigned char)*p))
					return bad(l, "a string must be followed by a blank");
			} else {
				l->w[l->n++] = p;
				while (*p && !isspace((unsigned char)*p))
					p++;
			}
		}
		if (*p)
			*p++ = 0;
		*text = p;
		if (l->n)
			return true;
	}
	return false;
}

static bool
integer(struct line *l, int i, int64_t lo, int64_t hi, int64_t *v)
{
	char *end;

	if (i >= l->n)
		return bad(l, "a value is missing");
	errno = 0;
	*v = strtoll(l->w[i], &end, 10);
	if (errno || end == l->w[i] || *end || *v < lo || *v > hi)
		return rt_fail(l->m, RT_INVALID,
		    "%s line %d (%s): '%s' is not an integer in %lld..%lld", l->what, l->number,
		    l->w[0], l->w[i], (long long)lo, (long long)hi);
	return true;
}

static bool
real(struct line *l, int i, double lo, double hi, double *v)
{
	char *end;

	if (i >= l->n)
		return bad(l, "a value is missing");
	*v = strtod(l->w[i], &end);
	if (end == l->w[i] || *end || !(*v >= lo && *v <= hi))
		return rt_fail(l->m, RT_INVALID, "%s line %d (%s): '%s' is not a number in %g..%g",
		    l->what, l->number, l->w[0], l->w[i], lo, hi);
	return true;
}

static bool
words(struct line *l, int n)
{
	return l->n == n + 1 || bad(l, "wrong number of values");
}

static bool
flag(struct line *l, bool *v)
{
	int64_t n;

	if (!words(l, 1) || !integer(l, 1, 0, 1, &n))
		return false;
	*v = n == 1;
	return true;
}

static bool
string(struct line *l, const char **v)
{
	if (!words(l, 1))
		return false;
	*v = l->w[1];
	return true;
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
			return bad(l, "too many values");
		return real(l, (*at)++, p->least, p->most, &a->list[a->nlist++]);
	}
	for (int i = 0; i < n; i++) {
		if (!real(l, (*at)++, p->least, p->most, &a->v[to + i]))
			return false;
		if (p->kind == PARAM_WHOLE && a->v[to] != floor(a->v[to]))
			return bad(l, "expected a whole number");
	}
	return n == 1 || a->v[to] <= a->v[to + 1] || bad(l, "a range whose end is below its start");
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
		return bad(l, "unknown augmentation");
	if (c->naugments == MAX_AUGMENTS)
		return bad(l, "too many augmentations");
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
				return bad(l, "a field's name is missing, or too many");
			a->fields[a->nfields++] = l->w[at++];
		} else if ((p = param(info, name, &index))) {
			if (!parse_param(l, a, p, index, &at))
				return false;
		} else if (strcmp(name, "p") == 0) {
			if (!real(l, at++, 0, 1, &a->v[AUG_VALUES - 1]))
				return false;
		} else {
			return bad(l, "unknown parameter of the augmentation");
		}
	}
	c->naugments++;
	return true;
}

static struct cfg_field *
field(struct line *l, struct cfg_set *s)
{
	if (!s) {
		bad(l, "comes before any set");
		return NULL;
	}
	if (l->n < 2) {
		bad(l, "a field's name is missing");
		return NULL;
	}
	for (int i = 0; i < s->nfields; i++)
		if (strcmp(s->fields[i].name, l->w[1]) == 0)
			return &s->fields[i];
	bad(l, "no such field in this set");
	return NULL;
}

static bool
parse_field(struct line *l, struct cfg_set *s)
{
	struct cfg_field *f;
	int64_t v;

	if (!s)
		return bad(l, "comes before any set");
	if (l->n < 3 || l->n > 3 + RT_MAX_RANK - 1)
		return bad(l, "expected a name, a dtype and the dims of one sample");
	if (s->nfields == MAX_FIELDS)
		return bad(l, "too many fields");
	f = &s->fields[s->nfields++];
	f->name = l->w[1];
	if (!integer(l, 2, 1, 16, &v))
		return false;
	f->dtype = (int32_t)v;
	f->rank = l->n - 3;
	for (int i = 0; i < f->rank; i++)
		if (!integer(l, 3 + i, 1, INT32_MAX, &f->dims[i]))
			return false;
	v = rt_count(f->dims, f->rank);
	if (!rt_dtype_bytes(f->dtype) || v < 0 ||
	    __builtin_mul_overflow(v, rt_dtype_bytes(f->dtype), &f->row_bytes))
		return bad(l, "unknown dtype or a sample too large");
	return true;
}

static bool
parse_set(struct line *l, struct config *c, struct cfg_set **set)
{
	if (!words(l, 3))
		return false;
	if (c->nsets == MAX_SETS)
		return bad(l, "too many sets");
	*set = &c->sets[c->nsets++];
	(*set)->name = l->w[1];
	(*set)->balanced = (*set)->measured = -1;
	return integer(l, 2, 1, INT32_MAX, &(*set)->batch) &&
	       integer(l, 3, 0, INT64_MAX, &(*set)->limit);
}

/* bucket FIELD L1 L2...: the lengths rise, the last one is the field's own */
static bool
parse_buckets(struct line *l, struct cfg_set *s, int field)
{
	int64_t last = 0;

	s->measured = field;
	if (l->n < 3 || l->n - 2 > MAX_BUCKETS)
		return bad(l, "expected a field and the lengths of its buckets");
	for (int i = 2; i < l->n; i++) {
		if (!integer(l, i, 1, INT32_MAX, &s->bucket[s->nbuckets]))
			return false;
		if (s->bucket[s->nbuckets] <= last)
			return bad(l, "the lengths of buckets rise");
		last = s->bucket[s->nbuckets++];
	}
	return (s->fields[field].rank > 0 && s->fields[field].dims[0] == last) ||
	       bad(l, "the last bucket is as long as the field");
}

/* labelled FIELD N DROP */
static bool
parse_labelled(struct line *l, struct cfg_field *f)
{
	int64_t drop = 0;

	if (!words(l, 3) || !integer(l, 2, 1, INT64_MAX, &f->labelled) || !integer(l, 3, 0, 1, &drop))
		return false;
	f->only_labelled = drop;
	return (f->rank == 0 && f->has_classes && f->has_ignore) || bad(l, "labelled needs classes and ignore before it");
}

/* leave_out FIELD C1 C2... */
static bool
parse_leave_out(struct line *l, struct cfg_field *f)
{
	if (l->n < 3 || l->n - 2 > MAX_OUT || f->rank || !f->has_classes)
		return bad(l, "expected a field with classes, and up to 60 of them");
	for (int i = 2; i < l->n; i++)
		if (!integer(l, i, 0, f->classes - 1, &f->out[f->nout++]))
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
			return bad(l, "comes before any set");
		if (!words(l, 2) || strcmp(l->w[1], "train") != 0)
			return bad(l, "expected: val_from train FRACTION");
		return real(l, 2, 1e-9, 0.999999, &s->val_fraction);
	}
	if (strcmp(l->w[0], "share") == 0)
		return !s ? bad(l, "comes before any set")
			  : words(l, 1) && integer(l, 1, 1, MAX_SHARE, &s->share);
	if (!(f = field(l, s)))
		return false;
	if (strcmp(l->w[0], "bucket") == 0)
		return parse_buckets(l, s, (int)(f - s->fields));
	if (strcmp(l->w[0], "resize") == 0)
		return f->resize = true, words(l, 1);
	if (strcmp(l->w[0], "target") == 0)
		return f->target = true, words(l, 1);
	if (strcmp(l->w[0], "recorded") == 0)
		return f->recorded = true, words(l, 1);
	if (strcmp(l->w[0], "bucketed") == 0)
		return f->bucketed = true, words(l, 1);
	if (strcmp(l->w[0], "balanced") == 0)
		return s->balanced = (int)(f - s->fields), words(l, 1);
	if (strcmp(l->w[0], "labelled") == 0)
		return parse_labelled(l, f);
	if (strcmp(l->w[0], "leave_out") == 0)
		return parse_leave_out(l, f);
	if (!words(l, 2))
		return false;
	if (strcmp(l->w[0], "pad") == 0)
		return real(l, 2, -1e15, 1e15, &f->pad);
	for (int k = 0; k < NSPLITS; k++)
		if (strcmp(l->w[0], length_keys[k]) == 0)
			return f->lengths[k] = l->w[2], true;
	if (strcmp(l->w[0], "view") == 0)
		return integer(l, 2, 2, INT32_MAX, &f->view);
	if (strcmp(l->w[0], "classes") == 0)
		return f->has_classes = true, integer(l, 2, 1, INT32_MAX, &f->classes);
	if (strcmp(l->w[0], "ignore") == 0)
		return f->has_ignore = true, integer(l, 2, INT64_MIN, INT64_MAX, &f->ignore);
	for (int k = 0; k < NSPLITS; k++)
		if (strcmp(l->w[0], split_names[k]) == 0)
			f->file[k] = l->w[2];
	return true;
}

static bool
parse_task(struct line *l, struct config *c)
{
	if (!words(l, 3))
		return false;
	if (c->ntasks == MAX_TASKS)
		return bad(l, "too many tasks");
	c->tasks[c->ntasks++] = (struct cfg_task){.name = l->w[1], .set = l->w[2], .target = l->w[3]};
	return true;
}

static bool
parse_metric(struct line *l, struct config *c)
{
	int number;

	if (!words(l, 2))
		return false;
	for (int i = 0; i < c->ntasks; i++) {
		struct cfg_task *t = &c->tasks[i];
		struct cfg_metric *m = &t->metrics[t->nmetrics];

		if (strcmp(t->name, l->w[1]) != 0)
			continue;
		if (t->nmetrics == MAX_METRICS)
			return bad(l, "too many metrics");
		m->name = l->w[2];
		m->id = metric_find(m->name, (int)strcspn(m->name, "."), &number);
		t->nmetrics++;
		return m->id >= 0 || bad(l, "unknown metric");
	}
	return bad(l, "metric of an unknown task");
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
		return string(l, &c->name);
	if (strcmp(key, "root") == 0)
		return string(l, &c->root);
	if (strcmp(key, "recipe") == 0)
		return string(l, &c->recipe);
	if (strcmp(key, "monitor") == 0)
		return string(l, &c->monitor);
	if (strcmp(key, "seed") == 0)
		return words(l, 1) && integer(l, 1, INT64_MIN, INT64_MAX, &c->seed);
	if (strcmp(key, "batch") == 0)
		return words(l, 1) && integer(l, 1, 1, INT32_MAX, &c->batch);
	if (strcmp(key, "shuffle") == 0)
		return flag(l, &c->shuffle);
	if (strcmp(key, "drop_last") == 0)
		return flag(l, &c->drop_last);
	if (strcmp(key, "early_stop") == 0)
		return (l->n == 3 || words(l, 1)) && integer(l, 1, 0, INT32_MAX, &c->patience) &&
		       (l->n < 3 || real(l, 2, 0, 1e12, &c->min_delta));
	if (strcmp(key, "restore_best") == 0)
		return flag(l, &c->restore_best);
	if (strcmp(key, "test_every") == 0)
		return words(l, 1) && integer(l, 1, 0, INT32_MAX, &c->test_every);
	if (strcmp(key, "checkpoint_every") == 0)
		return words(l, 2) && integer(l, 1, 0, INT32_MAX, &c->checkpoint_every) &&
		       integer(l, 2, 0, INT32_MAX, &c->checkpoint_keep);
	if (strcmp(key, "checkpoint_seconds") == 0)
		return words(l, 1) && real(l, 1, 0, 1e9, &c->checkpoint_seconds);
	if (strcmp(key, "cache_bytes") == 0)
		return words(l, 1) && integer(l, 1, 0, INT64_MAX, &c->cache_bytes);
	if (strcmp(key, "workers") == 0)
		return words(l, 1) && integer(l, 1, 1, MAX_WORKERS, &c->workers);
	if (strcmp(key, "augment") == 0)
		return parse_augment(l, c);
	if (strcmp(key, "samples") == 0)
		return words(l, 1) && integer(l, 1, 0, INT64_MAX, &c->samples);
	if (strcmp(key, "cache_variants") == 0)
		return words(l, 1) && integer(l, 1, 1, 4096, &c->cache_variants);
	if (strcmp(key, "cache_f16") == 0)
		return flag(l, &c->cache_f16);
	if (strcmp(key, "cache_path") == 0)
		return words(l, 1) && (c->cache_path = l->w[1], true);
	if (strcmp(key, "set") == 0)
		return parse_set(l, c, set);
	if (strcmp(key, "task") == 0)
		return parse_task(l, c);
	if (strcmp(key, "metric") == 0)
		return parse_metric(l, c);
	if (strcmp(key, "mode") == 0) {
		if (!words(l, 1) || (strcmp(l->w[1], "max") != 0 && strcmp(l->w[1], "min") != 0))
			return bad(l, "expected max or min");
		c->mode = l->w[1][1] == 'a' ? 1 : -1;
		return true;
	}
	if (strcmp(key, "info") == 0) {
		if (!words(l, 2))
			return false;
		if (c->ninfo < 64)
			c->info[c->ninfo++] = (struct cfg_info){l->w[1], l->w[2]};
		return true;
	}
	return bad(l, "unknown key");
}

static char *
copy(const char *text, struct region *r, struct rt_msg *m)
{
	size_t n = text ? strnlen(text, MAX_TEXT + 1) : 0;
	char *p;

	if (!text || n > MAX_TEXT) {
		rt_fail(m, RT_INVALID, "the trainer's configuration is %s",
		    text ? "too long" : "missing");
		return NULL;
	}
	p = region_alloc(r, n + 1);
	if (!p)
		rt_fail(m, RT_INTERNAL, "out of memory");
	else
		memcpy(p, text, n);
	return p;
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
	char *p = copy(text, r, m);
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
	if (!next(&l, &p) || strcmp(l.w[0], "retort_trainer") != 0 || !words(&l, 1) ||
	    !integer(&l, 1, 1, 1, &version))
		return rt_fail(
		    m, RT_INVALID, "trainer config: the first line must be 'retort_trainer 1'");
	while (next(&l, &p))
		if (!entry(&l, c, &set))
			return false;
	return !m->status && check(c, m);
}

static bool
parse_schedule(struct line *l, struct schedule *s)
{
	double least, most, *v;

	if (l->n < 2 || !schedule_set(s, l->w[1]))
		return bad(l, "unknown schedule");
	for (int i = 2; i < l->n; i += 2) {
		v = schedule_key(s, l->w[1], l->w[i], &least, &most);
		if (!v)
			return bad(l, "the schedule has no such key");
		if (!real(l, i + 1, least, most, v))
			return false;
	}
	return schedule_complete(s, l->w[1]) || bad(l, "a key of the schedule is missing");
}

static bool
parse_milestones(struct line *l, struct schedule *s)
{
	if (l->n - 1 > MAX_MILESTONES)
		return bad(l, "too many milestones");
	s->nmilestones = 0;
	for (int i = 1; i < l->n; i++)
		if (!integer(l, i, 0, INT32_MAX, &s->milestones[s->nmilestones++]))
			return false;
	return true;
}

static bool
parse_by(struct line *l, struct schedule *s)
{
	if (!words(l, 1) || (strcmp(l->w[1], "epoch") != 0 && strcmp(l->w[1], "step") != 0))
		return bad(l, "expected epoch or step");
	s->by_epoch = l->w[1][0] == 'e';
	return true;
}

/* dial NAME FROM TO BEGIN END CURVE */
static bool
parse_dial(struct line *l, struct stage_config *s)
{
	struct cfg_dial *d = &s->dials[s->ndials];

	if (s->ndials == MAX_DIALS)
		return bad(l, "too many dials");
	if (!words(l, 6) || !real(l, 2, -1e30, 1e30, &d->from) || !real(l, 3, -1e30, 1e30, &d->to) ||
	    !real(l, 4, 0, 1e12, &d->begin) || !real(l, 5, d->begin, 1e12, &d->end))
		return false;
	d->name = l->w[1];
	if (!dial_curve(l->w[6], &d->curve))
		return bad(l, "unknown curve");
	if (d->curve == CURVE_EXPONENTIAL && !(d->from > 0 && d->to > 0))
		return bad(l, "an exponential goes between positive numbers");
	s->ndials++;
	return true;
}

/* task_weights dwa T | val_metric GAMMA */
static bool
parse_task_weights(struct line *l, struct stage_config *s)
{
	if (!words(l, 2) || !real(l, 2, strcmp(l->w[1], "dwa") == 0 ? 1e-6 : 0, 1e6, &s->task_setting))
		return false;
	if (strcmp(l->w[1], "dwa") == 0)
		s->task_method = TASK_DWA;
	else if (strcmp(l->w[1], "val_metric") == 0)
		s->task_method = TASK_VAL_METRIC;
	else
		return bad(l, "expected dwa or val_metric");
	return true;
}

/* weight TERM WEIGHT [TASK] */
static bool
parse_weight(struct line *l, struct stage_config *s)
{
	if (s->nweights == 64)
		return true;
	if ((l->n != 4 && !words(l, 2)) || !real(l, 2, -1e12, 1e12, &s->weights[s->nweights].weight))
		return false;
	s->weights[s->nweights].term = l->w[1];
	s->weights[s->nweights++].task = l->n == 4 ? l->w[3] : NULL;
	return true;
}

static bool
stage_entry(struct line *l, struct stage_config *s)
{
	struct schedule *c = &s->schedule;
	const char *key = l->w[0];

	if (strcmp(key, "name") == 0)
		return string(l, &s->name);
	if (strcmp(key, "epochs") == 0)
		return words(l, 1) && integer(l, 1, 0, INT32_MAX, &s->epochs);
	if (strcmp(key, "lr") == 0)
		return words(l, 1) && real(l, 1, 0, 1e6, &s->lr);
	if (strcmp(key, "flops") == 0) {
		for (int i = 0; i < NPHASES; i++)
			if (!real(l, 1 + i, 0, 1e30, &s->flops[i]))
				return false;
		return words(l, NPHASES);
	}
	if (strcmp(key, "parameters") == 0)
		return words(l, 2) && integer(l, 1, 0, INT64_MAX, &s->trained) &&
		       integer(l, 2, 0, INT64_MAX, &s->running);
	if (strcmp(key, "accumulate") == 0)
		return words(l, 1) && integer(l, 1, 1, INT32_MAX, &s->accumulate);
	if (strcmp(key, "warmup_epochs") == 0)
		return words(l, 1) && real(l, 1, 0, 1e9, &c->warmup_epochs);
	if (strcmp(key, "warmup_steps") == 0)
		return words(l, 1) && real(l, 1, 0, 1e15, &c->warmup_steps);
	if (strcmp(key, "warmup_start") == 0)
		return words(l, 1) && real(l, 1, 0, 1e6, &c->warmup_start);
	if (strcmp(key, "schedule") == 0)
		return parse_schedule(l, c);
	if (strcmp(key, "milestones") == 0)
		return parse_milestones(l, c);
	if (strcmp(key, "by") == 0)
		return parse_by(l, c);
	if (strcmp(key, "weight") == 0)
		return parse_weight(l, s);
	if (strcmp(key, "dial") == 0)
		return parse_dial(l, s);
	if (strcmp(key, "task_weights") == 0)
		return parse_task_weights(l, s);
	return bad(l, "unknown key");
}

bool
stage_config_parse(struct stage_config *s, const char *text, struct region *r, struct rt_msg *m)
{
	struct line l = {.m = m, .what = "stage config"};
	char *p = copy(text, r, m);

	*s = (struct stage_config){
	    .name = "main", .epochs = 1, .lr = 0.001, .accumulate = 1, .schedule = {.warmup_start = -1}};
	if (!p)
		return false;
	while (next(&l, &p))
		if (!stage_entry(&l, s))
			return false;
	return !m->status;
}
