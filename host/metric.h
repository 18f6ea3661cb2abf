/* metric -- which metrics there are (metric.def), for all who name them: the recipe,
 * the graphs and the trainer. */
#ifndef RETORT_METRIC_H
#define RETORT_METRIC_H

#include <stdbool.h>

enum metric_id {
#define MEAN(id, ...) METRIC_##id,
#define ROWS(id, ...) METRIC_##id,
#include "host/metric.def"
	NMETRICS
};
enum metric_needs {
	METRIC_TARGET,	/* labels, or values in the head's shape */
	METRIC_LABELS,	/* one class of the head for each position */
	METRIC_CLASSES, /* those, or 0 and 1 for each of the head's logits */
	METRIC_VALUES,	/* values in the head's shape */
	METRIC_TEACHER	/* a teacher's output in the head's shape */
};
struct metric_info {
	const char *name; /* topN stands for top1, top2, ... */
	int better;	  /* 1 more, -1 less, 0 arrays */
	enum metric_needs needs;
	bool rows; /* of val and test only */
};
extern const struct metric_info metric_info[NMETRICS];

/* The metric that n letters name, or -1; *number as in top5. */
int metric_find(const char *name, int n, int *number);

#endif
