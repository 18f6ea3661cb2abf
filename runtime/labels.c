/* labels -- hides the labels of all but some training samples: they become the one to
 * ignore, so hard terms skip them and soft ones do not.  Which keep theirs is drawn by
 * the recipe's seed, as many of each class as there are; --seed does not change it. */
#include "runtime/trainer.h"

#include <stdlib.h>
#include <string.h>

static void
put_label(int32_t dtype, unsigned char *to, int64_t v)
{
	/* little endian: the low bytes are the number in any width */
	memcpy(to, &v, (size_t)rt_dtype_bytes(dtype));
}

static int64_t
source_row(const struct dsplit *v, int64_t i)
{
	return v->index ? v->index[i] : i;
}

/* How many of each class keep theirs: one of each in turn as long as there are some. */
static bool
share_out(const struct cfg_field *f, const int64_t *have, int64_t *keep, const char *path,
    struct rt_msg *m)
{
	int64_t left = f->labelled, before = -1;

	while (left > 0 && left != before) {
		before = left;
		for (int64_t c = 0; c < f->classes && left > 0; c++)
			if (keep[c] < have[c]) {
				keep[c]++;
				left--;
			}
	}
	return left == 0 || rt_fail(m, RT_INVALID,
				"%s: labelled asks for %lld samples with labels, %lld are there",
				path, (long long)f->labelled, (long long)(f->labelled - left));
}

static void
permute(int64_t *p, int64_t n, uint64_t key)
{
	for (int64_t i = 0; i < n; i++)
		p[i] = i;
	for (int64_t i = n - 1; i > 0; i--) {
		int64_t j = (int64_t)(rt_draw(key, (uint64_t)i) % (uint64_t)(i + 1)), t = p[i];

		p[i] = p[j];
		p[j] = t;
	}
}

/* work: perm of the split, then counters of classes: there, kept */
static bool
hide(struct dset *s, const struct cfg_field *f, unsigned char *rows, int64_t *work, bool *stays,
    uint64_t key, struct rt_msg *m)
{
	const struct dsplit *v = &s->split[SPLIT_TRAIN];
	int64_t *perm = work, *have = work + v->n, *keep = have + f->classes;

	memset(have, 0, sizeof *have * (size_t)(2 * f->classes));
	for (int64_t i = 0; i < v->n; i++) {
		int64_t c = (int64_t)rt_element(f->dtype, rows, source_row(v, i));

		if (c >= 0 && c < f->classes)
			have[c]++;
	}
	if (!share_out(f, have, keep, f->file[SPLIT_TRAIN], m))
		return false;
	permute(perm, v->n, key);
	for (int64_t i = 0; i < v->n; i++) {
		int64_t row = source_row(v, perm[i]), c = (int64_t)rt_element(f->dtype, rows, row);

		stays[perm[i]] = c >= 0 && c < f->classes && keep[c] > 0 && keep[c]--;
		if (!stays[perm[i]])
			put_label(f->dtype, rows + row * f->row_bytes, f->ignore);
	}
	return true;
}

/* The split becomes the samples that stay, in file order. */
static bool
drop_others(struct dsplit *v, const bool *stays, int64_t kept, struct region *r)
{
	int64_t *index = region_alloc(r, sizeof *index * (size_t)kept), n = 0;

	if (!index)
		return false;
	for (int64_t i = 0; i < v->n; i++)
		if (stays[i])
			index[n++] = source_row(v, i);
	v->index = index;
	v->n = n;
	return true;
}

static bool
hide_field(struct dset *s, int field, uint64_t key, struct region *r, struct rt_msg *m)
{
	const struct cfg_field *f = &s->cfg->fields[field];
	struct rt_array *a = &s->arrays[SPLIT_TRAIN][field];
	struct dsplit *v = &s->split[SPLIT_TRAIN];
	unsigned char *rows = region_alloc(r, (size_t)(a->rows * a->row_bytes));
	int64_t *work = malloc(sizeof *work * (size_t)(v->n + 2 * f->classes));
	bool *stays = malloc((size_t)v->n), ok = rows && work && stays;

	if (!ok)
		rt_fail(m, RT_INTERNAL, "out of memory");
	for (int64_t i = 0; ok && i < a->rows; i++)
		ok = rt_array_row(a, i, rows + i * a->row_bytes, m);
	ok = ok && hide(s, f, rows, work, stays, key, m);
	if (ok) {
		a->data = rows; /* the split's own copy; close frees what the file gave */
		a->held = a->rows;
	}
	if (ok && f->only_labelled && !drop_others(v, stays, f->labelled, r))
		ok = rt_fail(m, RT_INTERNAL, "out of memory");
	free(stays);
	free(work);
	return ok;
}

bool
labels_hide(struct dset *s, int number, int64_t seed, struct region *r, struct rt_msg *m)
{
	for (int i = 0; i < s->cfg->nfields; i++) {
		uint64_t key = rt_mix((uint64_t)seed ^ 0x6c6162656c6c6564u) +
			       (uint64_t)(number * MAX_FIELDS + i);

		if (s->cfg->fields[i].labelled > 0 && !hide_field(s, i, key, r, m))
			return false;
	}
	return true;
}
