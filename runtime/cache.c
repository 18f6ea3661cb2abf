/* cache -- what cached teachers say about every sample, computed once and kept in
 * one file per teacher and split: head (magic, key, bytes), then for every output and
 * set the rows of all samples, each once for every draw of its augmentation.  Mapped,
 * so it may be larger than memory.  The key is of all that the numbers depend on: the
 * teacher's graph with its weights and preprocessing (as compiled, in the program's
 * manifest), the data's content, the augmentations and the seed of their draws. */
#include "runtime/trainer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "RTCACH2\n"
struct head {
	char magic[8];
	uint64_t key, bytes, complete;
	char pad[32];
};

/* Layout of one file: output o of set s at at[o][s]. */
struct plan {
	const struct rt_program *p;
	struct exec e;
	int nsets, sets[MAX_SETS];
	int first;	  /* of the program's outputs in run.caches */
	enum split split; /* whose arrays */
	int64_t bytes;
	uint64_t key;
};

/* Sets whose fields the teacher reads, in order. */
static void
find_sets(struct plan *x, const struct run *r)
{
	for (int s = 0; s < r->cfg.nsets; s++) {
		bool reads = false;

		for (int i = 0; i < x->p->ninputs; i++)
			for (int f = 0; f < r->cfg.sets[s].nfields; f++)
				reads |= strcmp(x->p->inputs[i].name,
					     r->cfg.sets[s].fields[f].name) == 0;
		if (reads)
			x->sets[x->nsets++] = s;
	}
}

static bool
name_outputs(struct plan *x, struct run *r)
{
	int64_t rows = 0;

	x->first = r->ncaches;
	for (int i = 0; i < x->nsets; i++)
		rows += r->cfg.sets[x->sets[i]].batch;
	for (int o = 0; o < x->p->noutputs; o++) {
		const struct rt_tensor *t = &x->p->outputs[o];
		struct cached *c = &r->caches[r->ncaches++];

		if (rows == 0 || t->bytes % rows != 0 || t->rank < 1 || t->dims[0] != rows)
			return rt_fail(&r->msg, RT_INTERNAL,
			    "output %s of a cached teacher does not have one row per sample",
			    t->name);
		c->input = t->name;
		c->half = r->cfg.cache_f16 && t->dtype == RT_F32;
		c->row_bytes = t->bytes / rows;
		c->nsets = x->nsets;
		memcpy(c->sets, x->sets, sizeof c->sets);
	}
	return true;
}

/* Bytes of one row in the file. */
static int64_t
stored(const struct cached *c)
{
	return c->half ? c->row_bytes / 2 : c->row_bytes;
}

/* Of output o of set number i, rounded up. */
static int64_t
stretch(const struct plan *x, const struct run *r, int o, int i)
{
	const struct cached *c = &r->caches[x->first + o];

	return (r->data.sets[x->sets[i]].rows[x->split] * c->versions[x->split] * stored(c) + 63) / 64 * 64;
}

/* Training samples in all draws, and as they are where a val split is taken from them. */
static int64_t
versions(const struct plan *x, const struct run *r)
{
	bool plain = false;

	if (x->split != SPLIT_TRAIN || r->cfg.naugments == 0)
		return 1;
	for (int i = 0; i < x->nsets; i++)
		plain |= r->data.sets[x->sets[i]].split[SPLIT_VAL].n > 0 &&
			 r->data.sets[x->sets[i]].split[SPLIT_VAL].source == SPLIT_TRAIN;
	return r->cfg.cache_variants + plain;
}

/* The lines of the configuration that begin with `augment`. */
static uint64_t
augment_key(uint64_t h, const struct run *r)
{
	for (const char *s = r->t->config, *end; s && *s; s = end ? end + 1 : NULL) {
		end = strchr(s, '\n');
		if (strncmp(s, "augment ", 8) == 0)
			h = rt_hash(h, s, end ? (size_t)(end - s) : strlen(s));
	}
	h = rt_hash(h, &r->cfg.cache_variants, sizeof r->cfg.cache_variants);
	return rt_hash(h, &r->seed, sizeof r->seed);
}

static bool
measure(struct plan *x, struct run *r)
{
	bool ok = true;

	x->bytes = sizeof(struct head);
	x->key = rt_hash(2, x->p->name, strlen(x->p->name));
	x->key = rt_hash(x->key, x->p->manifest, x->p->manifest ? strlen(x->p->manifest) : 0);
	x->key = rt_hash(x->key, &r->cfg.cache_f16, sizeof r->cfg.cache_f16);
	for (int o = 0; o < x->p->noutputs; o++)
		r->caches[x->first + o].versions[x->split] = versions(x, r);
	if (x->split == SPLIT_TRAIN && r->cfg.naugments > 0)
		x->key = augment_key(x->key, r);
	for (int i = 0; i < x->nsets; i++) {
		const struct dset *s = &r->data.sets[x->sets[i]];

		for (int f = 0; f < s->cfg->nfields; f++) {
			const struct rt_array *a = &s->arrays[x->split][f];

			for (int k = 0; k < x->p->ninputs; k++)
				if (strcmp(x->p->inputs[k].name, s->cfg->fields[f].name) == 0)
					ok &= rt_array_hash(a, s->rows[x->split], &x->key, &r->msg);
		}
		for (int o = 0; o < x->p->noutputs; o++)
			x->bytes += stretch(x, r, o, i);
	}
	return ok;
}

/* Where output o of set number i starts. */
static int64_t
place(const struct plan *x, const struct run *r, int o, int i)
{
	int64_t at = sizeof(struct head);

	for (int k = 0; k < x->p->noutputs; k++)
		for (int s = 0; s < x->nsets; s++) {
			if (k == o && s == i)
				return at;
			at += stretch(x, r, k, s);
		}
	return at;
}

/* ---- halves: round to nearest even; what is too large becomes the largest half */
static uint16_t
to_half(float f)
{
	uint32_t x, sign, mag;

	memcpy(&x, &f, 4);
	sign = x >> 16 & 0x8000;
	mag = x & 0x7fffffff;
	if (mag > 0x7f800000)
		return (uint16_t)(sign | 0x7e00);
	if (mag >= 0x477ff000)
		return (uint16_t)(sign | (mag == 0x7f800000 ? 0x7c00 : 0x7bff));
	if (mag < 0x38800000) { /* subnormal: 0.5 has the unit 2^-24 */
		float v;

		memcpy(&v, &mag, 4);
		v += 0.5f;
		memcpy(&x, &v, 4);
		return (uint16_t)(sign | (x - 0x3f000000));
	}
	mag += 0xfff + (mag >> 13 & 1);
	return (uint16_t)(sign | ((mag - 0x38000000) >> 13));
}

static float
from_half(uint16_t h)
{
	uint32_t mag = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
	float f;

	memcpy(&f, &mag, 4);
	f *= 0x1p112f;
	memcpy(&mag, &f, 4);
	if ((h & 0x7c00) == 0x7c00)
		mag |= 0x7f800000;
	mag |= sign;
	memcpy(&f, &mag, 4);
	return f;
}

static void
store_row(const struct cached *c, const unsigned char *from, unsigned char *to)
{
	if (!c->half) {
		memcpy(to, from, (size_t)c->row_bytes);
		return;
	}
	for (int64_t i = 0; i < c->row_bytes / 4; i++) {
		float f;
		uint16_t h;

		memcpy(&f, from + 4 * i, 4);
		h = to_half(f);
		memcpy(to + 2 * i, &h, 2);
	}
}

void
cached_row(const struct cached *c, int source, int set, int64_t row, int64_t version, void *to)
{
	const unsigned char *from = c->rows[source][set] + (row * c->versions[source] + version) * stored(c);

	if (!c->half)
		memcpy(to, from, (size_t)c->row_bytes);
	for (int64_t i = 0; c->half && i < c->row_bytes / 4; i++) {
		uint16_t h;

		memcpy(&h, from + 2 * i, 2);
		((float *)to)[i] = from_half(h);
	}
}

/* One batch from sample step*batch on, the last one filled up with sample 0. */
static bool
compute_batch(struct plan *x, struct run *r, unsigned char *map, int64_t step, int64_t version)
{
	int64_t all = r->caches[x->first].versions[x->split];
	bool augment = x->split == SPLIT_TRAIN && r->cfg.naugments > 0 && version < r->cfg.cache_variants;

	for (int s = 0; s < r->data.nsets; s++)
		for (int64_t j = 0; j < r->cfg.sets[s].batch; j++) {
			int64_t row = step * r->cfg.sets[s].batch + j;

			r->batches.rows[s][j] = row < r->data.sets[s].rows[x->split] ? row : 0;
			r->batches.draws[s][j] = version;
		}
	if (!exec_fill(&x->e, r, x->split, augment))
		return false;
	exec_run(&x->e, r);
	for (int o = 0; o < x->p->noutputs; o++) {
		const unsigned char *from = x->e.base[3 + x->p->ninputs + o];
		const struct cached *c = &r->caches[x->first + o];

		for (int i = 0; i < x->nsets; i++) {
			const struct dset *s = &r->data.sets[x->sets[i]];
			int64_t at = step * s->cfg->batch, n = s->rows[x->split] - at;

			n = n < s->cfg->batch ? n : s->cfg->batch;
			for (int64_t j = 0; j < n; j++)
				store_row(c, from + j * c->row_bytes,
				    map + place(x, r, o, i) + ((at + j) * all + version) * stored(c));
			from += s->cfg->batch * c->row_bytes;
		}
	}
	return true;
}

/* All samples in file order, each in all its versions.  False: a signal asked to stop. */
static bool
compute(struct plan *x, struct run *r, unsigned char *map)
{
	int64_t most = 0;

	for (int i = 0; i < x->nsets; i++) {
		const struct dset *s = &r->data.sets[x->sets[i]];
		int64_t n = (s->rows[x->split] + s->cfg->batch - 1) / s->cfg->batch;

		most = n > most ? n : most;
	}
	for (int64_t step = 0; step < most; step++)
		for (int64_t v = 0; v < r->caches[x->first].versions[x->split]; v++)
			if (run_stopping() || !compute_batch(x, r, map, step, v))
				return false;
	return true;
}

static bool
keep(struct plan *x, struct run *r, void *map)
{
	r->cache_maps[r->ncache_maps] = map;
	r->cache_sizes[r->ncache_maps++] = (size_t)x->bytes;
	for (int o = 0; o < x->p->noutputs; o++)
		for (int i = 0; i < x->nsets; i++)
			r->caches[x->first + o].rows[x->split][x->sets[i]] =
			    (unsigned char *)map + place(x, r, o, i);
	return true;
}

/* An older file with the same key; NULL: none, or *stale: of something else. */
static void *
reuse(const struct plan *x, const char *path, bool *stale)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	struct head *h = MAP_FAILED;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size == x->bytes)
		h = mmap(NULL, (size_t)x->bytes, PROT_READ, MAP_SHARED, fd, 0);
	*stale = fd >= 0;
	if (fd >= 0)
		close(fd);
	if (h == MAP_FAILED)
		return NULL;
	if (memcmp(h->magic, MAGIC, 8) == 0 && h->key == x->key &&
	    h->bytes == (uint64_t)x->bytes && h->complete == 1)
		return h;
	munmap(h, (size_t)x->bytes);
	return NULL;
}

static bool
make(struct plan *x, struct run *r, const char *path)
{
	char *tmp = region_printf(&r->region, "%s.tmp", path);
	int fd = tmp ? open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
	/* space first: a mapped page without a block behind it would be a signal */
	int err = fd < 0 ? errno : posix_fallocate(fd, 0, x->bytes);
	unsigned char *map = MAP_FAILED;
	bool stopped = false;

	if (!err) {
		map = mmap(NULL, (size_t)x->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		err = map == MAP_FAILED ? errno : 0;
	}
	if (!err) {
		struct head h = {.magic = MAGIC,
		    .key = x->key,
		    .bytes = (uint64_t)x->bytes,
		    .complete = 1};

		stopped = !compute(x, r, map);
		memcpy(map, &h, sizeof h);
		if (stopped)
			err = EINTR;
		else if (msync(map, (size_t)x->bytes, MS_SYNC) != 0 || fsync(fd) != 0 ||
			 rename(tmp, path) != 0)
			err = errno;
	}
	if (fd >= 0)
		close(fd);
	if (!err)
		return keep(x, r, map);
	if (map != MAP_FAILED)
		munmap(map, (size_t)x->bytes);
	if (fd >= 0)
		unlink(tmp);
	if (r->msg.status)
		return false;
	if (stopped)
		return rt_fail(&r->msg, RT_STOPPED,
		    "stopped while teacher outputs were computed; nothing is lost but that time");
	return rt_fail(&r->msg, RT_IO, "%s: %lld bytes of teacher outputs cannot be written: %s",
	    path, (long long)x->bytes, strerror(err));
}

static bool
cache_split(struct plan *x, struct run *r, enum split k)
{
	char *path =
	    region_printf(&r->region, "%s/%s.%s.rtc", r->cache_dir, x->p->name, split_names[k]);
	const char *dir = r->cache_dir;
	double start = rt_seconds();
	bool stale;
	void *map;

	if (!path || !dir)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	x->split = k;
	if (!measure(x, r))
		return false;
	map = reuse(x, path, &stale);
	if (map)
		return keep(x, r, map);
	if (stale)
		progress_note(r, "%s is of another teacher, other data, another augmentation or seed: made anew", path);
	if (!rt_make_dirs(dir, &r->msg) || !make(x, r, path))
		return false;
	progress_note(r, "teacher outputs of the %s data cached in %.1f s: %s (%.1f MB)",
	    split_names[k], rt_seconds() - start, path, 1e-6 * (double)x->bytes);
	return true;
}

static bool
reads_teachers(const struct rt_program *p)
{
	for (int i = 0; p && i < p->ninputs; i++)
		if (strncmp(p->inputs[i].name, "$teacher.", 9) == 0)
			return true;
	return false;
}

static bool
one(struct run *r, const struct rt_program *p)
{
	struct plan x = {.p = p};
	bool eval = reads_teachers(r->t->eval), ok;

	find_sets(&x, r);
	ok = name_outputs(&x, r) && exec_open(&x.e, p, r);
	for (int k = 0; ok && k < NSPLITS; k++) {
		bool there = true;

		for (int i = 0; i < x.nsets; i++)
			there &= r->data.sets[x.sets[i]].arrays[k] != NULL;
		if (there && (k == SPLIT_TRAIN || eval))
			ok = cache_split(&x, r, (enum split)k);
	}
	exec_close(&x.e);
	/* it does not run again */
	for (int i = 0; i < p->nreads; i++)
		rt_unload((const char *)p->constants + p->reads[2 * i], (size_t)(p->reads[2 * i + 1] - p->reads[2 * i]));
	return ok;
}

bool
cache_open(struct run *r)
{
	size_t most = 0;

	if (r->t->ncached == 0)
		return true;
	if (r->cfg.naugments > 0 && r->cfg.cache_variants == 0)
		return rt_fail(&r->msg, RT_INVALID,
		    "teacher outputs cannot be cached while training data is augmented: every epoch "
		    "shows the teacher other samples; give `cache` a number of `variants`, or take "
		    "`cache` or `augment` out of the recipe");
	if (augment_mixes(&r->cfg))
		return rt_fail(&r->msg, RT_INVALID,
		    "teacher outputs cannot be cached where samples are mixed with others: there are as "
		    "many mixtures as steps; take `cache`, `mixup` and `cutmix` apart");
	for (int i = 0; i < r->t->ncached; i++)
		most += (size_t)r->t->cached[i]->noutputs;
	r->caches = region_alloc(&r->region, sizeof *r->caches * (most + 1));
	r->cache_maps = region_alloc(&r->region, sizeof(void *) * NSPLITS * (size_t)r->t->ncached);
	r->cache_sizes = region_alloc(&r->region, sizeof(size_t) * NSPLITS * (size_t)r->t->ncached);
	if (!r->caches || !r->cache_maps || !r->cache_sizes)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	for (int i = 0; i < r->t->ncached; i++)
		if (!one(r, r->t->cached[i]))
			return false;
	return true;
}

void
cache_close(struct run *r)
{
	for (int i = 0; i < r->ncache_maps; i++)
		munmap(r->cache_maps[i], r->cache_sizes[i]);
	r->ncache_maps = 0;
}
