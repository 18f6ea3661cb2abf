/* metrics -- numbers about all rows of a split, in double: what the rows of
 * host/metric.def beyond plain means are counted in, batch by batch, and made of.
 * A function of the rows in their order alone. */
#ifndef RETORT_METRICS_H
#define RETORT_METRICS_H

#include "runtime/config.h"

enum { ECE_BINS = 15 };

/* One task's answers.  Either labels: one of `classes` at each position of a row, or
 * values: a number for each of the head's. */
struct tally {
	const char *name;
	bool labels;
	int64_t classes, positions; /* the head is [rows, classes, positions] */
	double *counts;		    /* labels: [label][answer]; values: [class][tn fp fn tp] */
	double (*bins)[3];	    /* [ECE_BINS] of confidence: n, its sum, how many are right */
	double (*moments)[6];	    /* [classes]: n, means of value and answer, sums of squared
				       and mixed deviations from them: vv, aa, va */
	double *squares;	    /* [classes]: sums of (value - answer)^2 */
	int64_t n, cap;		    /* what is kept of each position, where order matters */
	int64_t bytes;		    /* of it, as it fills up */
	float *scores;		    /* [n][classes] */
	double *scale;		    /* [n] labels: log of the sum of exp(scores) */
	float *values;		    /* [n][classes] */
	int32_t *label;		    /* [n] */
	struct ranked *order;	    /* [cap] scratch, and two lists of ranks */
	double *ranks[2];
};
struct ranked {
	double key;
	int64_t at;
};
/* A batch of a task; labels or values. */
struct answers {
	const float *scores, *values, *valid; /* valid [rows]: 1 counts */
	const int32_t *labels;		      /* < 0: does not count */
	int64_t rows;
};

/* Metrics: ids of host/metric.def.  keep: positions that are kept at most. */
bool tally_open(struct tally *, int nmetrics, const int *metrics, int64_t keep, struct region *,
    struct rt_msg *);
void tally_reset(struct tally *);
void tally_add(struct tally *, const struct answers *);
/* How many numbers metric `id` is, in rows of *columns (1 where it is one number). */
int64_t tally_size(const struct tally *, int id, int64_t *columns);
/* NAN where nothing defines it. */
void tally_value(struct tally *, int id, double *out);
/* What a mean's sums come to: itself, exp or sqrt of it. */
double metric_of_mean(int id, double mean);
/* of class c of the counts: positives and negatives found and missed */
void tally_class(const struct tally *, int64_t c, double *tp, double *fp, double *fn);

#endif
