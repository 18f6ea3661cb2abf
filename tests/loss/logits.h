/* logits.h -- a tensor of logits as references read it. */
#ifndef RETORT_TEST_LOGITS_H
#define RETORT_TEST_LOGITS_H

#include "losses.h"

enum { CLASSES = 16 }; /* at most */

/* Logits [rows, C, positions..]: row i, class c, position k of n. */
struct logits {
	const struct dense *d;
	int64_t rows, classes, positions;
};

static inline struct logits
logits(const struct dense *d)
{
	struct logits z = {d, d->dims[0], d->dims[1], 1};

	for (int i = 2; i < d->rank; i++)
		z.positions *= d->dims[i];
	return z;
}

static inline double
at(const struct logits *z, int64_t i, int64_t c, int64_t k)
{
	return z->d->v[(i * z->classes + c) * z->positions + k];
}

/* log of exp(z_c/T) / sum_j exp(z_j/T) */
static inline double
log_softmax(const struct logits *z, int64_t i, int64_t c, int64_t k, double T)
{
	double sum = 0;

	for (int64_t j = 0; j < z->classes; j++)
		sum += exp(at(z, i, j, k) / T);
	return at(z, i, c, k) / T - log(sum);
}

#endif
