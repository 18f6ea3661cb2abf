/* batch -- which samples make the batch of a step: a function of seed and step
 * alone, so that a resumed run reads what an uninterrupted one would have.
 *
 * A pass over a set is n/batch batches (one at least) of a permutation keyed by
 * (seed, set, pass); the first set's passes are the epochs, the others cycle. */
#include "runtime/trainer.h"

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

/* Batches of one pass over set s. */
static int64_t
per_pass(const struct batches *b, int s)
{
	int64_t n = b->data->sets[s].split[SPLIT_TRAIN].n, k = b->data->sets[s].cfg->batch;
	int64_t steps = b->drop_last ? n / k : (n + k - 1) / k;

	return steps > 0 ? steps : 1;
}

bool
batches_open(struct batches *b, const struct dataset *d, uint64_t seed, bool shuffle,
    bool drop_last, struct region *r, struct rt_msg *m)
{
	*b = (struct batches){.data = d, .seed = seed, .shuffle = shuffle, .drop_last = drop_last};
	b->orders = region_alloc(r, sizeof *b->orders * (size_t)d->nsets);
	b->rows = region_alloc(r, sizeof *b->rows * (size_t)d->nsets);
	b->valid = region_alloc(r, sizeof *b->valid * (size_t)d->nsets);
	if (!b->orders || !b->rows || !b->valid)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	for (int s = 0; s < d->nsets; s++) {
		const struct dset *set = &d->sets[s];
		int64_t n = set->split[SPLIT_TRAIN].n;

		b->orders[s] = (struct order){region_alloc(r, sizeof(int64_t) * (size_t)n), n, -1};
		b->rows[s] = region_alloc(r, sizeof(int64_t) * (size_t)set->cfg->batch);
		if (!b->orders[s].perm || !b->rows[s])
			return rt_fail(m, RT_INTERNAL, "out of memory");
		if (drop_last && s == 0 && n < set->cfg->batch)
			return rt_fail(m, RT_INVALID,
			    "%lld training samples are fewer than the batch of %lld, and drop_last "
			    "drops them "
			    "all; choose a smaller batch or drop_last: false",
			    (long long)n, (long long)set->cfg->batch);
	}
	b->per_epoch = per_pass(b, 0);
	return true;
}

/* Fisher-Yates with one draw per position. */
static void
permute(struct batches *b, int s, int64_t pass)
{
	struct order *o = &b->orders[s];
	uint64_t key = rt_mix(rt_mix(b->seed) ^ (uint64_t)pass * 0xd1342543de82ef95u) + (uint64_t)s;

	if (o->pass == pass)
		return;
	o->pass = pass;
	for (int64_t i = 0; i < o->n; i++)
		o->perm[i] = i;
	for (int64_t i = o->n - 1; b->shuffle && i > 0; i--) {
		int64_t j = (int64_t)(rt_draw(key, (uint64_t)i) % (uint64_t)(i + 1)),
			t = o->perm[i];

		o->perm[i] = o->perm[j];
		o->perm[j] = t;
	}
}

void
batches_train(struct batches *b, int64_t step)
{
	for (int s = 0; s < b->data->nsets; s++) {
		const struct dset *set = &b->data->sets[s];
		const struct dsplit *v = &set->split[SPLIT_TRAIN];
		int64_t passes = per_pass(b, s), batch = set->cfg->batch,
			at = step % passes * batch;

		permute(b, s, step / passes);
		for (int64_t i = 0; i < batch; i++) {
			int64_t r = b->orders[s].perm[(at + i) % v->n];

			b->rows[s][i] = v->index ? v->index[r] : r;
		}
		b->valid[s] = batch;
	}
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
	for (int s = 0; s < b->data->nsets; s++) {
		const struct dset *set = &b->data->sets[s];
		const struct dsplit *v = &set->split[k];
		int64_t batch = set->cfg->batch, left = v->n - step * batch;

		b->valid[s] = left < 0 ? 0 : left < batch ? left : batch;
		for (int64_t i = 0; i < batch; i++) {
			int64_t r = i < b->valid[s] ? step * batch + i : 0;

			b->rows[s][i] = v->index ? v->index[r] : r;
		}
	}
}
