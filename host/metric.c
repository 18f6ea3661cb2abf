#include "host/metric.h"

#include <string.h>

const struct metric_info metric_info[NMETRICS] = {
#define MEAN(id, better, needs, ...) {#id, better, METRIC_##needs, false},
#define ROWS(id, better, needs, ...) {#id, better, METRIC_##needs, true},
#include "host/metric.def"
};

int
metric_find(const char *name, int n, int *number)
{
	*number = 0;
	for (int i = 0; i < NMETRICS; i++) {
		const char *row = metric_info[i].name;
		int len = (int)strlen(row), k = len - 1;

		if (n == len && row[k] != 'N' && strncmp(name, row, (size_t)n) == 0)
			return i;
		if (row[k] != 'N' || n <= k || n > k + 6 || strncmp(name, row, (size_t)k) != 0)
			continue;
		for (; k < n && name[k] >= '0' && name[k] <= '9'; k++)
			*number = 10 * *number + name[k] - '0';
		if (k == n && *number > 0)
			return i;
	}
	return -1;
}
