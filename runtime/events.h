/* events -- records of TensorBoard's event file, made in memory of the caller's. */
#ifndef RETORT_EVENTS_H
#define RETORT_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVENT_BUCKETS = 30 };

struct events {
	unsigned char *p;
	size_t n, cap;
	size_t start, summary; /* of the record that is being made */
	bool failed;	       /* it does not fit */
};
/* One record: begin, values, end.  False: it does not fit, n is as before begin. */
void events_begin(struct events *, double wall, int64_t step);
void events_scalar(struct events *, const char *tag, double value);
void events_text(struct events *, const char *tag, const char *text);
void events_histogram(struct events *, const char *tag, const float *, int64_t n);
bool events_end(struct events *, bool summary);
bool events_version(struct events *, double wall); /* the file's first record, whole */

uint32_t rt_crc32c(const void *, size_t);
uint32_t rt_crc32c_masked(const void *, size_t);

#endif
