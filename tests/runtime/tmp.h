/* tmp -- a folder of one's own that goes away with the test */
#ifndef RETORT_TEST_TMP_H
#define RETORT_TEST_TMP_H

#include "tests/unit.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char tmp_dir[64];

static inline int
tmp_remove(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	(void)st, (void)flag, (void)f;
	return remove(path);
}

static inline int
tmp_make(void **state)
{
	(void)state;
	strcpy(tmp_dir, "/tmp/retort-test-XXXXXX");
	return mkdtemp(tmp_dir) ? 0 : -1;
}

static inline int
tmp_clean(void **state)
{
	(void)state;
	nftw(tmp_dir, tmp_remove, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}

/* One of eight static buffers. */
static inline const char *
tmp_path(const char *name)
{
	static char buf[8][512];
	static int k;

	k = (k + 1) % 8;
	snprintf(buf[k], sizeof buf[k], "%s/%s", tmp_dir, name);
	return buf[k];
}

static inline const char *
tmp_write(const char *name, const void *data, size_t n)
{
	const char *path = tmp_path(name);
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	return path;
}

#endif
