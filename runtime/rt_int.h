/* rt_int -- what the files of the runtime share. */
#ifndef RETORT_RT_INT_H
#define RETORT_RT_INT_H

#include "runtime/abi.h"
#include "runtime/data.h"

#include <stdio.h>

enum {
	RT_OK = 0,
	RT_USAGE = 1,
	RT_INVALID = 2,
	RT_IO = 4,
	RT_DIVERGED = 5,
	RT_INTERNAL = 70,
	RT_STOPPED = 130
};

/* ---- file.c */
/* Whole file, NUL-terminated beyond size; caller frees. */
void *rt_read_file(const char *path, size_t *size, struct rt_msg *);
/* Inflates gzip (or copies what is not) up to limit bytes. */
void *rt_read_gz(const char *path, size_t *size, struct rt_msg *);
/* Writes beside and renames; durable: with fsync of the file before and of the folder after. */
struct rt_iov {
	const void *data;
	size_t bytes;
};
bool rt_write_file(const char *path, const struct rt_iov *, int n, bool durable, struct rt_msg *);
bool rt_make_dirs(const char *path, struct rt_msg *);
bool rt_is_dir(const char *path);
char *rt_join(const char *dir, const char *name); /* heap */
double rt_seconds(void);			  /* monotonic */
int rt_cpus(void);				  /* that this process may use */
/* 64 bits of a buffer, chained through h; not cryptographic */
uint64_t rt_hash(uint64_t h, const void *, size_t);

/* ---- npy.c */
struct rt_npy {
	int32_t dtype, rank;
	int64_t dims[RT_MAX_RANK], count;
	size_t offset;
};
/* Parses the header of n bytes at p; sizes are checked against n. */
bool rt_npy_parse(struct rt_npy *, const void *p, size_t n, const char *name, struct rt_msg *);
/* Whole or not at all, but not durable: whoever made it can make it again. */
bool rt_npy_write(const char *path, int32_t dtype, int rank, const int64_t *dims, const void *data,
    struct rt_msg *);

/* ---- one loader per format; name is what messages say */
bool rt_open_npy(struct rt_array *, const char *path, struct rt_msg *);
bool rt_open_npz(struct rt_array *, const char *path, const char *member, struct rt_msg *);
bool rt_open_idx(struct rt_array *, const char *path, struct rt_msg *);
bool rt_open_csv(
    struct rt_array *, const char *path, const char *columns, int32_t dtype, struct rt_msg *);
bool rt_open_images(struct rt_array *, const char *path, const char *sub, enum rt_role,
    const struct rt_want *, struct rt_msg *);
/* ---- rows.c: an array wrapped in a source that changes its rows */
bool rt_array_resize(struct rt_array *, const struct rt_want *, struct rt_msg *);
bool rt_array_ragged(struct rt_array *, const struct rt_want *, struct rt_msg *);
double rt_element(int32_t dtype, const void *, int64_t i);
void rt_set_element(int32_t dtype, void *, int64_t i, double); /* integers saturate */
/* ---- resample.c: planes [C,H,W] of one dtype */
struct rt_planes {
	int32_t dtype;
	int64_t c, h, w;
	unsigned char *p;
};
double rt_pixel(const struct rt_planes *, int64_t i); /* of u8 or f32 */
void rt_put_pixel(const struct rt_planes *, int64_t i, double); /* u8 rounds half to even and saturates */
bool rt_can_blend(int32_t dtype); /* u8 or f32: what bilinear filters take */
/* The window (y, x, h, w) of from, brought to the size of to by a triangle filter that
 * widens where it shrinks (or by the nearest pixel).  tmp: rt_resample_room bytes. */
void rt_resample(const struct rt_planes *from, const int64_t window[4], const struct rt_planes *to, bool nearest, void *tmp);
size_t rt_resample_room(const struct rt_planes *from, const struct rt_planes *to);
/* product of dims with overflow check; -1 */
int64_t rt_count(const int64_t *dims, int rank);
/* Sets rows and row_bytes from dtype, rank, dims; checks that avail bytes are enough. */
bool rt_array_sizes(struct rt_array *, uint64_t avail, const char *name, struct rt_msg *);

#endif
