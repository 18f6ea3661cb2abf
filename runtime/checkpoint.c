/* checkpoint -- where a run is, in one file that is either the old one or the new:
 *
 *   magic, version, fingerprint, size of the rest, hash of the rest
 *   cursor, partial sums of the epoch, all states, their names
 *
 * last.ckpt is what --resume reads.  best.ckpt holds the states of the best epoch
 * and is written before a last.ckpt that counts on it; a kill between the two is
 * harmless, since resuming from the older last repeats the same epochs. */
#include "runtime/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VERSION 3u

struct head {
	char magic[8];
	uint32_t version, names; /* bytes of the names */
	uint64_t fingerprint, bytes, hash;
};

/* What must be equal for a checkpoint to continue: programs, configuration, seed,
 * number of steps in an epoch. */
uint64_t
run_fingerprint(const struct run *r)
{
	uint64_t h = rt_hash(VERSION, r->t->config, strlen(r->t->config));

	for (int i = 0; i < r->t->nstages; i++) {
		const struct rt_program *p = r->t->stages[i].train;

		h = rt_hash(h, r->t->stages[i].config, strlen(r->t->stages[i].config));
		for (int k = 0; k < p->nstates; k++) {
			h = rt_hash(h, p->states[k].name, strlen(p->states[k].name));
			h = rt_hash(h, &p->states[k].bytes, sizeof p->states[k].bytes);
		}
	}
	h = rt_hash(h, r->states.init, (size_t)r->states.init_bytes);
	rt_unload(r->states.init, (size_t)r->states.init_bytes);
	uint64_t more[] = {
	    r->seed, (uint64_t)r->batches.per_epoch, r->batches.shuffle, r->batches.drop_last};
	double lr = r->opt.lr;

	h = rt_hash(h, more, sizeof more);
	return rt_hash(h, &lr, sizeof lr);
}

static bool
save(struct run *r, const char *name, const void *states)
{
	const struct exec *e = &r->train[r->cur.stage];
	struct head h = {.magic = "RTCKPT\r\n", .version = VERSION, .fingerprint = r->fingerprint};
	size_t n = (size_t)r->cur.nsums * sizeof(double);
	double *sums = malloc(n + 1);
	char *path = rt_join(r->checkpoints, name);
	bool ok = sums && path, best = strcmp(name, "best.ckpt") == 0;

	if (!ok)
		rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	/* the best weights are of an epoch's end, whenever they are written */
	for (int i = 0; ok && i < e->nmeters; i++) {
		sums[2 * i] = best ? 0 : e->meters[i].sum_num;
		sums[2 * i + 1] = best ? 0 : e->meters[i].sum_den;
	}
	if (ok) {
		struct rt_iov iov[5] = {{&h, sizeof h}, {&r->cur, sizeof r->cur}, {sums, n},
		    {states, (size_t)r->states.bytes}, {r->names, r->names_bytes}};

		h.names = (uint32_t)r->names_bytes;
		h.bytes = sizeof r->cur + n + (uint64_t)r->states.bytes + r->names_bytes;
		for (int i = 1; i < 5; i++)
			h.hash = rt_hash(h.hash, iov[i].data, iov[i].bytes);
		ok = rt_write_file(path, iov, 5, true, &r->msg);
	}
	free(sums);
	free(path);
	return ok;
}

bool
checkpoint_best(struct run *r, const unsigned char *states)
{
	r->cur.nsums = 2 * r->train[r->cur.stage].nmeters;
	return save(r, "best.ckpt", states);
}

bool
checkpoint_due(const struct run *r, double seconds)
{
	double since = rt_seconds() - r->last_checkpoint;

	return since >= seconds && since >= 20 * r->checkpoint_cost;
}

bool
checkpoint_save(struct run *r)
{
	double start = rt_seconds();

	r->cur.nsums = 2 * r->train[r->cur.stage].nmeters;
	r->cur.seconds = r->resumed_seconds + rt_seconds() - r->resumed_at;
	if (!outputs_sync(r))
		return false;
	if (r->has_best && r->best_dirty && !save(r, "best.ckpt", r->best))
		return false;
	r->best_dirty = false;
	if (!save(r, "last.ckpt", r->states.data))
		return false;
	r->last_checkpoint = rt_seconds();
	r->checkpoint_cost = r->last_checkpoint - start;
	return true;
}

/* The file's rest after the head, checked; NULL: reported, or absent with *absent. */
static unsigned char *
load(struct run *r, const char *name, bool *absent)
{
	char *path = rt_join(r->checkpoints, name);
	struct head h;
	struct stat st;
	unsigned char *p = NULL;
	size_t n;

	*absent = path && stat(path, &st) != 0;
	if (path && !*absent)
		p = rt_read_file(path, &n, &r->msg);
	if (!p) {
		free(path);
		return NULL;
	}
	bool ok = n >= sizeof h;

	if (ok)
		memcpy(&h, p, sizeof h);
	if (!ok || memcmp(h.magic, "RTCKPT\r\n", 8) != 0)
		ok = rt_fail(&r->msg, RT_INVALID, "%s: not a checkpoint, or damaged", path);
	else if (h.version != VERSION)
		ok = rt_fail(&r->msg, RT_INVALID,
		    "%s: checkpoint version %u, this trainer reads %u", path, h.version, VERSION);
	else if (h.fingerprint != r->fingerprint)
		ok = rt_fail(&r->msg, RT_INVALID,
		    "%s: made by another recipe, seed, learning rate or data; give the options of "
		    "that "
		    "run, another --checkpoint-dir, or leave --resume out",
		    path);
	else if (h.bytes != n - sizeof h || h.bytes < sizeof(struct cursor))
		ok = rt_fail(&r->msg, RT_INVALID, "%s: truncated", path);
	if (ok) {
		struct cursor c;
		uint64_t hash, sums;

		memcpy(&c, p + sizeof h, sizeof c);
		sums = (uint64_t)c.nsums * sizeof(double);
		if (c.nsums < 0 || c.nsums > 1 << 20 || c.stage < 0 || c.stage >= r->t->nstages ||
		    c.nsums != 2 * r->train[c.stage].nmeters ||
		    h.names != r->names_bytes ||
		    h.bytes != sizeof c + sums + (uint64_t)r->states.bytes + h.names) {
			ok = rt_fail(&r->msg, RT_INVALID, "%s: damaged", path);
		} else {
			hash = rt_hash(0, p + sizeof h, sizeof c);
			hash = rt_hash(hash, p + sizeof h + sizeof c, sums);
			hash =
			    rt_hash(hash, p + sizeof h + sizeof c + sums, (size_t)r->states.bytes);
			hash = rt_hash(hash, p + n - h.names, h.names);
			ok =
			    hash == h.hash || rt_fail(&r->msg, RT_INVALID,
						  "%s: damaged: its checksum does not match", path);
		}
	}
	free(path);
	if (!ok) {
		free(p);
		return NULL;
	}
	memmove(p, p + sizeof h, n - sizeof h);
	return p;
}

bool
checkpoint_load(struct run *r, bool *found)
{
	bool absent;
	unsigned char *p = load(r, "last.ckpt", &absent);
	double *sums;

	*found = p != NULL;
	if (!p)
		return absent;
	memcpy(&r->cur, p, sizeof r->cur);
	sums = (double *)(p + sizeof r->cur);
	struct exec *e = &r->train[r->cur.stage];

	for (int i = 0; i < e->nmeters; i++) {
		e->meters[i].sum_num = sums[2 * i];
		e->meters[i].sum_den = sums[2 * i + 1];
	}
	memcpy(r->states.data, sums + r->cur.nsums, (size_t)r->states.bytes);
	free(p);
	if (isnan(r->cur.best))
		return true;
	p = load(r, "best.ckpt", &absent);
	if (p) {
		const struct cursor *c = (const struct cursor *)p;

		memcpy(r->best, p + sizeof *c + (size_t)c->nsums * sizeof(double),
		    (size_t)r->states.bytes);
		r->has_best = true;
		free(p);
	}
	return p || (absent && rt_fail(&r->msg, RT_IO, "%s/best.ckpt is missing", r->checkpoints));
}

/* ---- a file of each N-th epoch */
bool
checkpoint_epoch(struct run *r)
{
	int64_t every = r->cfg.checkpoint_every, epoch = r->cur.total_epochs;
	char name[40];

	if (every <= 0 || epoch % every != 0)
		return true;
	if (states_not_finite(&r->states, r->states.data))
		return true; /* the next last.ckpt reports it */
	snprintf(name, sizeof name, "epoch-%04lld.ckpt", (long long)epoch);
	r->cur.nsums = 2 * r->train[r->cur.stage].nmeters;
	if (!save(r, name, r->states.data))
		return false;
	epoch -= r->cfg.checkpoint_keep * every;
	if (r->cfg.checkpoint_keep > 0 && epoch > 0) {
		char *old;

		snprintf(name, sizeof name, "epoch-%04lld.ckpt", (long long)epoch);
		old = rt_join(r->checkpoints, name);
		if (old)
			remove(old);
		free(old);
	}
	return true;
}

/* "dtype place bytes name" of every state, each with its zero at the end */
bool
checkpoint_names(struct run *r)
{
	size_t n = 0, at = 0;

	for (int i = 0; i < r->states.n; i++)
		n += strlen(r->states.v[i].name) + 64;
	r->names = region_alloc(&r->region, n + 1);
	if (!r->names || n > UINT32_MAX)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	for (int i = 0; i < r->states.n; i++) {
		const struct state *s = &r->states.v[i];

		at += (size_t)snprintf(r->names + at, n - at, "%d %lld %lld %s", s->dtype,
			  (long long)s->at, (long long)s->bytes, s->name) + 1;
	}
	r->names_bytes = at;
	return true;
}

const char *
checkpoint_states(const void *file, size_t n, void (*each)(void *, const struct saved_state *), void *ctx)
{
	const unsigned char *p = file, *states;
	const char *wrong, *name, *end = (const char *)p + n;
	struct cursor c;
	struct head h;
	int64_t bytes;

	wrong = checkpoint_read(file, n, &c, &bytes);
	if (wrong)
		return wrong;
	memcpy(&h, p, sizeof h);
	states = p + n - h.names - bytes;
	if (h.names && end[-1])
		return "damaged";
	for (name = end - h.names; name < end; name += strlen(name) + 1) {
		char *q;
		long dtype = strtol(name, &q, 10);
		long long at = strtoll(q, &q, 10), size = strtoll(q, &q, 10);

		if (*q != ' ' || at < 0 || size < 0 || at > bytes || size > bytes - at)
			return "damaged";
		each(ctx, &(struct saved_state){q + 1, (int32_t)dtype, size, states + at});
	}
	return NULL;
}

/* A checkpoint without its trainer, for inspection: what is wrong with it, or NULL. */
const char *
checkpoint_read(const void *file, size_t n, struct cursor *c, int64_t *state_bytes)
{
	const unsigned char *p = file;
	struct head h;
	uint64_t sums, hash;

	if (n < sizeof h + sizeof *c || memcmp(p, "RTCKPT\r\n", 8) != 0)
		return "not a checkpoint, or truncated";
	memcpy(&h, p, sizeof h);
	memcpy(c, p + sizeof h, sizeof *c);
	if (h.version != VERSION)
		return "a checkpoint of another version of retort";
	if (h.bytes != n - sizeof h)
		return "truncated";
	sums = (uint64_t)c->nsums * sizeof(double);
	if (c->nsums < 0 || c->nsums > 1 << 20 || sizeof *c + sums + h.names > h.bytes)
		return "damaged";
	hash = rt_hash(0, p + sizeof h, sizeof *c);
	hash = rt_hash(hash, p + sizeof h + sizeof *c, sums);
	*state_bytes = (int64_t)(h.bytes - sizeof *c - sums - h.names);
	hash = rt_hash(hash, p + sizeof h + sizeof *c + sums, (size_t)*state_bytes);
	hash = rt_hash(hash, p + n - h.names, h.names);
	return hash == h.hash ? NULL : "damaged: its checksum does not match";
}
