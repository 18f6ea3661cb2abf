/* batch -- which samples make the batch of a step: a function of seed and step
 * alone, so that a resumed run reads what an uninterrupted one would have.
 *
 * A pass over a set is n/batch batches (one at least) of a permutation keyed by
 * (seed, set, pass); the first set's passes are the epochs, the others cycle.
 *
 * Balanced: a pass draws with replacement, first a class, then one of its samples.
 * Buckets: the permutation is dealt into one heap for each bucket, a heap that is
 * full is the next batch; what is left over goes on to the next longer bucket, so a
 * pass has as many batches as without buckets.
 * Shares: the steps of a round are dealt out to the sets, each time to the one that is
 * furthest behind its share; a set counts its own steps. */
#include "runtime/trainer.h"

#include <stdlib.h>
#include <string.h>

uint64_t
rt_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint64_t
rt_draw(uint64_t key, uint64_t counter)
{
	return rt_mix(key + rt_mix(counter));
}

/* Fisher-Yates with one draw per position. */
void
rt_permute(int64_t *perm, int64_t n, uint64_t key)
{
	for (int64_t i = 0; i < n; i++)
		perm[i] = i;
	for (int64_t i = n - 1; i > 0; i--) {
		int64_t j = (int64_t)(rt_draw(key, (uint64_t)i) % (uint64_t)(i + 1)), t = perm[i];

		perm[i] = perm[j];
		perm[j] = t;
	}
}

size_t
longest_row(const struct config *c)
{
	int64_t most = 1;

	for (int s = 0; s < c->nsets; s++)
		for (int f = 0; f < c->sets[s].nfields; f++)
			if (c->sets[s].fields[f].row_bytes > most)
				most = c->sets[s].fields[f].row_bytes;
	return (size_t)most;
}

/* Batches of one pass over set s. */
static int64_t
per_pass(const struct batches *b, int s)
{
	int64_t n = b->data->sets[s].split[SPLIT_TRAIN].n, k = b->data->sets[s].cfg->batch;
	int64_t steps = b->drop_last ? n / k : (n + k - 1) / k;

	return steps > 0 ? steps : 1;
}

static int64_t
source_row(const struct dsplit *v, int64_t i)
{
	return v->index ? v->index[i] : i;
}

/* ---- what is known of samples before training: their class, their bucket */

/* One past the last element along axis 0 that is not the pad. */
static int64_t
length(const struct cfg_field *f, const unsigned char *row)
{
	int64_t n = f->row_bytes / rt_dtype_bytes(f->dtype), inner = n / f->dims[0];

	while (n > 0 && rt_element(f->dtype, row, n - 1) == f->pad)
		n--;
	return (n + inner - 1) / inner;
}

static bool
find_bucket(struct order *o, const struct cfg_set *c, int64_t i, const unsigned char *row,
    struct rt_msg *m)
{
	int64_t n = length(&c->fields[c->measured], row);
	int k = 0;

	while (k < c->nbuckets && c->bucket[k] < n)
		k++;
	o->group[i] = (unsigned char)k;
	return k < c->nbuckets ||
	       rt_fail(m, RT_INVALID, "sample %lld of field %s has length %lld, the longest bucket %lld",
		   (long long)i, c->fields[c->measured].name, (long long)n,
		   (long long)c->bucket[c->nbuckets - 1]);
}

/* Room for a pass's batches by bucket. */
static bool
alloc_deal(struct order *o, const struct cfg_set *c, struct region *r)
{
	o->dealt = region_alloc(r, sizeof(int64_t) * (size_t)(o->n + c->batch));
	o->heap = region_alloc(r, sizeof(int64_t) * (size_t)(c->batch * c->nbuckets));
	o->bucket = region_alloc(r, (size_t)(o->n / c->batch + 2));
	return o->dealt && o->heap && o->bucket;
}

static bool
find_buckets(struct order *o, const struct dset *set, struct region *r, struct rt_msg *m)
{
	const struct rt_array *a = set->arrays[SPLIT_TRAIN];
	const struct cfg_set *c = set->cfg;
	int64_t n = set->rows[SPLIT_TRAIN];
	unsigned char *made;
	bool ok = true;

	if (c->measured < 0)
		return true;
	a += c->measured;
	o->group = region_alloc(r, (size_t)n);
	made = malloc((size_t)a->row_bytes);
	if (!o->group || !alloc_deal(o, c, r) || !made)
		ok = rt_fail(m, RT_INTERNAL, "out of memory");
	for (int64_t i = 0; ok && i < n; i++) {
		const unsigned char *p = rt_array_held(a, i);

		ok = (p || rt_array_row(a, i, made, m)) && find_bucket(o, c, i, p ? p : made, m);
	}
	free(made);
	return ok;
}

/* Samples by class, those to ignore as one class more. */
static bool
find_classes(struct order *o, const struct dset *set, struct region *r, struct rt_msg *m)
{
	const struct cfg_set *c = set->cfg;
	const struct cfg_field *f = c->balanced < 0 ? NULL : &c->fields[c->balanced];
	const struct rt_array *a = f ? &set->arrays[SPLIT_TRAIN][c->balanced] : NULL;
	const struct dsplit *v = &set->split[SPLIT_TRAIN];
	int64_t *first;
	int classes = f ? (int)f->classes + 1 : 0;

	if (!f)
		return true;
	if (!f->has_classes || f->row_bytes != rt_dtype_bytes(f->dtype))
		return rt_fail(m, RT_INVALID, "field %s is no class for each sample to balance by", f->name);
	o->sorted = region_alloc(r, sizeof(int64_t) * (size_t)(v->n + 1));
	o->first = first = region_alloc(r, sizeof(int64_t) * (size_t)(classes + 2));
	if (!o->sorted || !first)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	for (int pass = 0; pass < 2; pass++) {
		for (int64_t i = 0; i < v->n; i++) {
			double x = rt_element(f->dtype, a->data, source_row(v, i));
			int k = x >= 0 && x < (double)f->classes ? (int)x : (int)f->classes;

			if (pass == 0)
				first[k + 2]++;
			else
				o->sorted[first[k + 1]++] = i;
		}
		for (int k = 0; pass == 0 && k <= classes; k++)
			first[k + 1] += first[k];
	}
	/* classes that occur, in front */
	for (int k = 0; k < classes; k++)
		if (first[k + 1] > first[k])
			o->first[++o->nclasses] = first[k + 1];
	o->first[0] = 0;
	return true;
}

/* ---- shares */

/* The set of each step of a round, and how many of its steps came before. */
static void
deal_round(struct batches *b)
{
	int64_t credit[MAX_SETS] = {0}, count[MAX_SETS] = {0};
	int n = b->data->nsets;

	for (int64_t t = 0; t < b->round; t++) {
		int best = 0;

		for (int s = 0; s < n; s++)
			credit[s] += b->data->sets[s].cfg->share;
		for (int s = 1; s < n; s++)
			if (credit[s] > credit[best])
				best = s;
		credit[best] -= b->round;
		b->turn_of[t] = (unsigned char)best;
		b->before[t] = count[best]++;
	}
}

static bool
open_shares(struct batches *b, struct region *r, struct rt_msg *m)
{
	int64_t first = b->data->sets[0].cfg->share;

	b->per_epoch = per_pass(b, 0);
	if (first == 0)
		return true;
	for (int s = 0; s < b->data->nsets; s++)
		b->round += b->data->sets[s].cfg->share;
	b->turn_of = region_alloc(r, (size_t)b->round);
	b->before = region_alloc(r, sizeof(int64_t) * (size_t)b->round);
	if (!b->turn_of || !b->before)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	deal_round(b);
	b->per_epoch = (b->per_epoch * b->round + first - 1) / first;
	return true;
}

/* What a batch of each set needs; the orders are empty. */
static bool
alloc_sets(struct batches *b, struct region *r)
{
	size_t n = (size_t)b->data->nsets;
	bool ok;

	b->orders = region_alloc(r, sizeof *b->orders * n);
	b->rows = region_alloc(r, sizeof *b->rows * n);
	b->draws = region_alloc(r, sizeof *b->draws * n);
	b->valid = region_alloc(r, sizeof *b->valid * n);
	ok = b->orders && b->rows && b->draws && b->valid;
	for (size_t s = 0; ok && s < n; s++) {
		size_t batch = (size_t)b->data->sets[s].cfg->batch;

		b->rows[s] = region_alloc(r, sizeof(int64_t) * batch);
		b->draws[s] = region_alloc(r, sizeof(int64_t) * batch);
		ok = b->rows[s] && b->draws[s];
	}
	return ok;
}

bool
batches_open(struct batches *b, const struct dataset *d, uint64_t seed, bool shuffle,
    bool drop_last, struct region *r, struct rt_msg *m)
{
	*b = (struct batches){.data = d, .seed = seed, .shuffle = shuffle, .drop_last = drop_last};
	if (!alloc_sets(b, r))
		return rt_fail(m, RT_INTERNAL, "out of memory");
	for (int s = 0; s < d->nsets; s++) {
		const struct dset *set = &d->sets[s];
		int64_t n = set->split[SPLIT_TRAIN].n;

		b->orders[s] = (struct order){.perm = region_alloc(r, sizeof(int64_t) * (size_t)n), .n = n, .pass = -1};
		if (!b->orders[s].perm)
			return rt_fail(m, RT_INTERNAL, "out of memory");
		if (drop_last && s == 0 && n < set->cfg->batch)
			return rt_fail(m, RT_INVALID,
			    "%lld training samples are fewer than the batch of %lld, and drop_last "
			    "drops them "
			    "all; choose a smaller batch or drop_last: false",
			    (long long)n, (long long)set->cfg->batch);
		if (!find_buckets(&b->orders[s], set, r, m) || !find_classes(&b->orders[s], set, r, m))
			return false;
	}
	return open_shares(b, r, m);
}

/* The same samples in orders of one's own: what another thread needs. */
bool
batches_copy(struct batches *b, const struct batches *from, struct region *r, struct rt_msg *m)
{
	const struct dataset *d = from->data;

	*b = *from;
	if (!alloc_sets(b, r))
		return rt_fail(m, RT_INTERNAL, "out of memory");
	for (int s = 0; s < d->nsets; s++) {
		const struct cfg_set *c = d->sets[s].cfg;
		struct order *o = &b->orders[s];

		*o = from->orders[s];
		o->pass = -1;
		o->perm = region_alloc(r, sizeof(int64_t) * (size_t)o->n);
		if (!o->perm || (o->dealt && !alloc_deal(o, c, r)))
			return rt_fail(m, RT_INTERNAL, "out of memory");
	}
	return true;
}

/* ---- orders of a pass */
static void
put_batch(struct order *o, int64_t *heap, int64_t batch, int bucket, int64_t *steps)
{
	memcpy(o->dealt + *steps * batch, heap, sizeof *heap * (size_t)batch);
	o->bucket[(*steps)++] = (unsigned char)bucket;
}

/* The permutation as batches of samples of like length. */
static void
deal(const struct batches *b, int s)
{
	const struct dset *set = &b->data->sets[s];
	const struct cfg_set *c = set->cfg;
	struct order *o = &b->orders[s];
	int64_t n[MAX_BUCKETS] = {0}, steps = 0, batch = c->batch, *heap;

	for (int64_t i = 0; i < o->n; i++) {
		int k = o->group[source_row(&set->split[SPLIT_TRAIN], o->perm[i])];

		heap = o->heap + k * batch;
		heap[n[k]++] = o->perm[i];
		if (n[k] == batch) {
			put_batch(o, heap, batch, k, &steps);
			n[k] = 0;
		}
	}
	for (int k = 0; k + 1 < c->nbuckets; k++)
		for (int64_t i = 0; i < n[k]; i++) {
			heap = o->heap + (k + 1) * batch;
			heap[n[k + 1]++] = o->heap[k * batch + i];
			if (n[k + 1] == batch) {
				put_batch(o, heap, batch, k + 1, &steps);
				n[k + 1] = 0;
			}
		}
	int last = c->nbuckets - 1;

	if (steps >= per_pass(b, s))
		return;
	/* filled up from the start of the pass's order, as without buckets */
	heap = o->heap + last * batch;
	for (int64_t i = n[last]; i < batch; i++)
		heap[i] = o->perm[(i - n[last]) % o->n];
	put_batch(o, heap, batch, last, &steps);
}

/* The pass in its order; balanced: a class and one of its samples. */
static void
permute(struct batches *b, int s, int64_t pass)
{
	struct order *o = &b->orders[s];
	uint64_t key = rt_mix(rt_mix(b->seed) ^ (uint64_t)pass * 0xd1342543de82ef95u) + (uint64_t)s;

	if (o->pass == pass)
		return;
	o->pass = pass;
	for (int64_t i = 0; i < o->n; i++) {
		o->perm[i] = i;
		if (o->nclasses) {
			uint64_t k = rt_draw(key, 2 * (uint64_t)i) % (uint64_t)o->nclasses;
			int64_t n = o->first[k + 1] - o->first[k];

			o->perm[i] = o->sorted[o->first[k] + (int64_t)(rt_draw(key, 2 * (uint64_t)i + 1) % (uint64_t)n)];
		}
	}
	if (b->shuffle && !o->nclasses)
		rt_permute(o->perm, o->n, key);
	if (o->dealt)
		deal(b, s);
}

/* Batch number `turn` of the set, over all passes. */
static void
take(struct batches *b, int s, int64_t turn)
{
	const struct dset *set = &b->data->sets[s];
	const struct dsplit *v = &set->split[SPLIT_TRAIN];
	struct order *o = &b->orders[s];
	int64_t passes = per_pass(b, s), batch = set->cfg->batch, pass = turn / passes,
		at = turn % passes * batch;

	permute(b, s, pass);
	if (o->dealt)
		b->program = o->bucket[turn % passes];
	for (int64_t i = 0; i < batch; i++) {
		int64_t r = o->dealt ? o->dealt[at + i] : o->perm[(at + i) % v->n];

		b->rows[s][i] = source_row(v, r);
		/* a sample that is drawn again in one pass is augmented anew */
		b->draws[s][i] = o->nclasses ? pass * passes * batch + at + i : pass;
		if (b->variants)
			b->draws[s][i] %= b->variants;
	}
	b->valid[s] = batch;
}

void
batches_train(struct batches *b, int64_t step)
{
	b->program = 0;
	b->step = step;
	if (b->round) {
		int64_t t = step % b->round;
		int s = b->turn_of[t];

		memset(b->valid, 0, sizeof *b->valid * (size_t)b->data->nsets);
		take(b, s, step / b->round * b->data->sets[s].cfg->share + b->before[t]);
		b->program = s;
		return;
	}
	for (int s = 0; s < b->data->nsets; s++)
		take(b, s, step);
}

int64_t
batches_eval_steps(const struct batches *b, enum split k)
{
	int64_t most = 0;

	for (int s = 0; s < b->data->nsets; s++) {
		int64_t batch = b->data->sets[s].cfg->batch,
			n = (b->data->sets[s].split[k].n + batch - 1) / batch;

		most = n > most ? n : most;
	}
	return most;
}

/* In file order; rows past the end repeat the split's first one and do not count. */
void
batches_eval(struct batches *b, enum split k, int64_t step)
{
	b->program = 0;
	for (int s = 0; s < b->data->nsets; s++) {
		const struct dset *set = &b->data->sets[s];
		const struct dsplit *v = &set->split[k];
		int64_t batch = set->cfg->batch, left = v->n - step * batch;

		b->valid[s] = left < 0 ? 0 : left < batch ? left : batch;
		for (int64_t i = 0; i < batch; i++)
			b->rows[s][i] = source_row(v, i < b->valid[s] ? step * batch + i : 0);
	}
}
