/* labels -- which training samples there are, and whose labels.
 *
 * leave_out: samples of some classes leave the split.  labelled N: the labels of all
 * but N samples become the one to ignore, so hard terms skip them and soft ones do not
 * (or those samples leave as well).  Which keep theirs is drawn by the recipe's seed, as
 * many of each class as there are; --seed does not change it. */
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

/* A field's labels, and which samples of the split stay. */
struct labels {
	const struct cfg_field *f;
	unsigned char *rows; /* of the whole array, our own copy */
	bool *stays;
	int64_t *perm, *have, *keep; /* of the split; of each class: there, to keep */
};

static int64_t
class_of(const struct labels *l, int64_t row)
{
	int64_t c = (int64_t)rt_element(l->f->dtype, l->rows, row);

	return c >= 0 && c < l->f->classes ? c : -1;
}

static void
leave_out(struct labels *l, const struct dsplit *v)
{
	for (int64_t i = 0; i < v->n; i++)
		for (int k = 0; k < l->f->nout; k++)
			if (class_of(l, source_row(v, i)) == l->f->out[k])
				l->stays[i] = false;
}

static bool
hide(struct labels *l, const struct dsplit *v, uint64_t key, struct rt_msg *m)
{
	const struct cfg_field *f = l->f;

	for (int64_t i = 0; i < v->n; i++) {
		int64_t c = class_of(l, source_row(v, i));

		if (c >= 0 && l->stays[i])
			l->have[c]++;
	}
	if (!share_out(f, l->have, l->keep, f->file[SPLIT_TRAIN], m))
		return false;
	rt_permute(l->perm, v->n, key);
	for (int64_t i = 0; i < v->n; i++) {
		int64_t at = l->perm[i], row = source_row(v, at), c = class_of(l, row);

		if (l->stays[at] && c >= 0 && l->keep[c] > 0) {
			l->keep[c]--;
		} else {
			put_label(f->dtype, l->rows + row * f->row_bytes, f->ignore);
			l->stays[at] &= !f->only_labelled;
		}
	}
	return true;
}

/* The split becomes the samples that stay, in file order. */
static bool
shorten(struct dsplit *v, const struct labels *l, struct region *r, struct rt_msg *m)
{
	int64_t kept = 0, *index;

	for (int64_t i = 0; i < v->n; i++)
		kept += l->stays[i];
	if (kept == v->n)
		return true;
	index = region_alloc(r, sizeof *index * (size_t)(kept + 1));
	if (!index)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	if (kept == 0)
		return rt_fail(m, RT_INVALID, "%s: leave_out leaves no training sample",
		    l->f->file[SPLIT_TRAIN]);
	kept = 0;
	for (int64_t i = 0; i < v->n; i++)
		if (l->stays[i])
			index[kept++] = source_row(v, i);
	v->index = index;
	v->n = kept;
	return true;
}

static bool
choose(struct dset *s, int field, uint64_t key, struct region *r, struct rt_msg *m)
{
	struct rt_array *a = &s->arrays[SPLIT_TRAIN][field];
	struct dsplit *v = &s->split[SPLIT_TRAIN];
	struct labels l = {.f = &s->cfg->fields[field]};
	bool ok;

	l.rows = region_alloc(r, (size_t)(a->rows * a->row_bytes));
	l.stays = malloc((size_t)v->n);
	l.perm = calloc((size_t)(v->n + 2 * l.f->classes), sizeof *l.perm);
	ok = (l.rows && l.stays && l.perm) || rt_fail(m, RT_INTERNAL, "out of memory");
	for (int64_t i = 0; ok && i < a->rows; i++)
		ok = rt_array_row(a, i, l.rows + i * a->row_bytes, m);
	if (ok) {
		memset(l.stays, true, (size_t)v->n);
		l.have = l.perm + v->n;
		l.keep = l.have + l.f->classes;
		leave_out(&l, v);
		ok = (!l.f->labelled || hide(&l, v, key, m)) && shorten(v, &l, r, m);
		a->data = l.rows; /* close frees what the file gave */
		a->held = a->rows;
	}
	free(l.stays);
	free(l.perm);
	return ok;
}

bool
labels_choose(struct dset *s, int number, int64_t seed, struct region *r, struct rt_msg *m)
{
	for (int i = 0; i < s->cfg->nfields; i++) {
		uint64_t key = rt_mix((uint64_t)seed ^ 0x6c6162656c6c6564u) +
			       (uint64_t)(number * MAX_FIELDS + i);

		if ((s->cfg->fields[i].labelled || s->cfg->fields[i].nout) &&
		    !choose(s, i, key, r, m))
			return false;
	}
	return true;
}
