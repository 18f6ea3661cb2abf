/* dataset -- the fields of every set and split in memory, checked before training:
 * one number of samples, the compiled types and sizes, labels inside their classes. */
#include "runtime/trainer.h"

#include <stdlib.h>
#include <string.h>

char *
dataset_path(const struct config *c, const char *data_dir, const char *file, struct region *r)
{
	size_t n = strlen(c->root);

	while (n > 1 && c->root[n - 1] == '/')
		n--;
	if (data_dir && n > 0 && strncmp(file, c->root, n) == 0 && file[n] == '/')
		file += n + 1;
	const char *root = data_dir ? data_dir : c->root;

	if (file[0] == '/' || !*root)
		return region_printf(r, "%s", file);
	if (strncmp(file, c->root, n) == 0 && n > 0 && file[n] == '/')
		return region_printf(r, "%s", file); /* joined by the compiler */
	return region_printf(r, "%s/%s", root, file);
}

static bool
is_integer(int32_t dtype)
{
	return dtype != RT_F32 && dtype != RT_F16 && dtype != RT_F64;
}

static bool
check_row(const struct cfg_field *f, const unsigned char *p, int64_t row, const char *path,
    struct rt_msg *m)
{
	int64_t n = f->row_bytes / rt_dtype_bytes(f->dtype);

	for (int64_t i = 0; i < n; i++) {
		int64_t v = (int64_t)rt_element(f->dtype, p, i);

		if ((v >= 0 && v < f->classes) || (f->has_ignore && v == f->ignore))
			continue;
		return rt_fail(m, RT_INVALID,
		    "%s: sample %lld of field %s is %lld, outside the %lld classes 0..%lld; "
		    "correct the data, or give the field "
		    "`ignore: %lld` in the recipe",
		    path, (long long)row, f->name, (long long)v, (long long)f->classes,
		    (long long)f->classes - 1, (long long)v);
	}
	return true;
}

static bool
check_labels(
    const struct cfg_field *f, const struct rt_array *a, const char *path, struct rt_msg *m)
{
	unsigned char *made;
	bool ok = true;

	if (!f->has_classes || !is_integer(a->dtype))
		return true;
	made = malloc((size_t)a->row_bytes);
	if (!made)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	for (int64_t i = 0; ok && i < a->rows; i++) {
		const unsigned char *p = rt_array_held(a, i);

		ok = (p || rt_array_row(a, i, made, m)) && check_row(f, p ? p : made, i, path, m);
	}
	free(made);
	return ok;
}

static bool
same_classes(const struct rt_array *a, const struct rt_array *b, const char *pa, const char *pb,
    struct rt_msg *m)
{
	for (int i = 0; i < a->nclasses && i < b->nclasses; i++)
		if (strcmp(a->classes[i], b->classes[i]) != 0)
			return rt_fail(m, RT_INVALID, "class %d is %s in %s and %s in %s", i,
			    a->classes[i], pa, b->classes[i], pb);
	if (a->nclasses != b->nclasses && a->nclasses && b->nclasses)
		return rt_fail(m, RT_INVALID, "%s has %d classes, %s has %d", pa, a->nclasses, pb,
		    b->nclasses);
	return true;
}

/* As far as memory for them is left, rows that have to be made are made here: what
 * cannot be decoded is known before the first step. */
static bool
open_field(struct rt_array *a, const struct cfg_field *f, const char *path,
    const char *lengths, int64_t *memory, struct rt_msg *m)
{
	struct rt_want w = {.file = path,
	    .role = rt_data_role(f->name, f->has_classes),
	    .dtype = f->dtype,
	    .mask = f->has_classes,
	    .lengths = lengths,
	    .pad = f->pad};

	if (f->resize && f->rank >= 2) {
		w.size[0] = f->dims[f->rank - 2];
		w.size[1] = f->dims[f->rank - 1];
		w.role = RT_ROLE_IMAGES;
	}
	if (lengths && f->rank > 0)
		w.longest = f->dims[0];
	return rt_data_want(a, &w, m) && rt_array_load(a, memory, rt_cpus(), m);
}

static bool
open_split(struct dset *s, enum split k, const struct config *c, const char *dir, int64_t *memory,
    struct region *r, struct rt_msg *m)
{
	const struct cfg_set *cfg = s->cfg;
	int given = 0, first = 0;

	for (int i = 0; i < cfg->nfields; i++)
		given += cfg->fields[i].file[k] != NULL;
	if (given == 0)
		return true;
	s->arrays[k] = region_alloc(r, sizeof(struct rt_array) * (size_t)cfg->nfields);
	if (!s->arrays[k])
		return rt_fail(m, RT_INTERNAL, "out of memory");
	for (int i = 0; i < cfg->nfields; i++) {
		const struct cfg_field *f = &cfg->fields[i];
		struct rt_array *a = &s->arrays[k][i];
		char *path, *lengths = NULL;

		if (!f->file[k] && f->recorded && k != SPLIT_TRAIN)
			continue; /* no evaluation reads it */
		if (!f->file[k])
			return rt_fail(m, RT_INVALID, "the %s split has no file for field %s",
			    split_names[k], f->name);
		path = dataset_path(c, dir, f->file[k], r);
		if (f->lengths[k])
			lengths = dataset_path(c, dir, f->lengths[k], r);
		if (!path || (f->lengths[k] && !lengths))
			return rt_fail(m, RT_INTERNAL, "out of memory");
		if (!open_field(a, f, path, lengths, memory, m))
			return false;
		if (a->row_bytes != f->row_bytes)
			return rt_fail(m, RT_INVALID,
			    "%s: a sample of field %s has %lld bytes, the compiled program reads "
			    "%lld; compile "
			    "again for this file",
			    path, f->name, (long long)a->row_bytes, (long long)f->row_bytes);
		if (a->rows < 1)
			return rt_fail(m, RT_INVALID, "%s: has no samples", path);
		if (a->rows != s->arrays[k][first].rows)
			return rt_fail(m, RT_INVALID,
			    "%s: has %lld samples, field %s of the same split has %lld", path,
			    (long long)a->rows, cfg->fields[first].name,
			    (long long)s->arrays[k][first].rows);
		if (!check_labels(f, a, path, m))
			return false;
		if (k != SPLIT_TRAIN && s->arrays[SPLIT_TRAIN] &&
		    !same_classes(
			&s->arrays[SPLIT_TRAIN][i], a, f->file[SPLIT_TRAIN], f->file[k], m))
			return false;
	}
	s->rows[k] = s->arrays[k][0].rows;
	s->split[k] = (struct dsplit){.n = s->rows[k], .source = k};
	return true;
}

static int
by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* val: the first rows of a permutation drawn by the recipe's seed, in file order;
 * train keeps the others.  --seed does not move the border. */
static bool
take_val(struct dset *s, int number, int64_t seed, struct region *r, struct rt_msg *m)
{
	int64_t n = s->split[SPLIT_TRAIN].n, k = (int64_t)((double)n * s->cfg->val_fraction + 0.5);
	int64_t *p = region_alloc(r, sizeof *p * (size_t)n);
	uint64_t key = rt_mix((uint64_t)seed ^ 0x76616c73706c6974u) + (uint64_t)number;

	if (!p)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	if (k < 1 || k >= n)
		return rt_fail(m, RT_INVALID,
		    "a fraction of %g of %lld training samples leaves %lld for val and %lld for "
		    "train",
		    s->cfg->val_fraction, (long long)n, (long long)k, (long long)(n - k));
	rt_permute(p, n, key);
	qsort(p, (size_t)k, sizeof *p, by_value);
	qsort(p + k, (size_t)(n - k), sizeof *p, by_value);
	s->split[SPLIT_VAL] = (struct dsplit){k, p, SPLIT_TRAIN};
	s->split[SPLIT_TRAIN] = (struct dsplit){n - k, p + k, SPLIT_TRAIN};
	return true;
}

bool
dataset_has(const struct dataset *d, enum split k)
{
	for (int i = 0; i < d->nsets; i++)
		if (d->sets[i].split[k].n > 0)
			return true;
	return false;
}

bool
dataset_open(
    struct dataset *d, const struct config *c, const char *dir, struct region *r, struct rt_msg *m)
{
	int64_t memory = c->cache_bytes;

	d->sets = region_alloc(r, sizeof *d->sets * (size_t)c->nsets);
	if (!d->sets)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	d->nsets = c->nsets;
	for (int i = 0; i < c->nsets; i++) {
		struct dset *s = &d->sets[i];

		s->cfg = &c->sets[i];
		for (int k = 0; k < NSPLITS; k++)
			if (!open_split(s, (enum split)k, c, dir, &memory, r, m))
				return false;
		if (s->cfg->limit > 0 && s->cfg->limit < s->rows[SPLIT_TRAIN])
			s->rows[SPLIT_TRAIN] = s->split[SPLIT_TRAIN].n = s->cfg->limit;
		if (s->cfg->val_fraction > 0 && !take_val(s, i, c->seed, r, m))
			return false;
		if (!labels_choose(s, i, c->seed, r, m))
			return false;
	}
	for (int k = SPLIT_VAL; k < NSPLITS; k++)
		for (int i = 0; dataset_has(d, (enum split)k) && i < d->nsets; i++)
			if (d->sets[i].split[k].n == 0)
				return rt_fail(m, RT_INVALID,
				    "set %s has no %s split, another set has one",
				    d->sets[i].cfg->name, split_names[k]);
	return true;
}

void
dataset_close(struct dataset *d)
{
	for (int i = 0; i < d->nsets; i++)
		for (int k = 0; k < NSPLITS; k++)
			for (int f = 0; d->sets[i].arrays[k] && f < d->sets[i].cfg->nfields; f++)
				rt_data_close(&d->sets[i].arrays[k][f]);
	d->nsets = 0;
}
