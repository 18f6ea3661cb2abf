/* tune_cache -- the file that --tune remembers measurements in: lines of
 *   VERSION CPU LAYER ALGORITHM=NS ALGORITHM=NS...
 * in the order they were added, "#" begins a remark.  The first three words are the
 * key.  A line that is not so is left out, with one warning for the file. */
#ifndef RETORT_TUNE_CACHE_H
#define RETORT_TUNE_CACHE_H

#include "base/base.h"

struct tune_cache;
/* A file that does not exist is empty.  NULL: reported. */
struct tune_cache *tune_cache_read(struct arena *, const char *path, struct diag *);
const char *tune_cache_get(const struct tune_cache *, const char *key); /* what stands behind the key; NULL: nothing */
void tune_cache_put(struct tune_cache *, const char *key, const char *times);
/* What was put, over what the file holds now; nothing was put: nothing is written. */
bool tune_cache_write(struct tune_cache *, struct diag *);
/* "direct=1200 winograd2=800": ns of each name; false where one is missing or no time. */
bool tune_times(const char *text, int n, const char *const *name, double *ns);

#endif
