/* data -- data files as arrays in memory, by suffix:
 *
 *   IDX (-ubyte, .idx; also .gz), .npy, .npz (FILE.npz:MEMBER), .csv
 *   (FILE.csv:COL,COL by name or number from 0), an image folder DIR/CLASS/X.png or X.jpg
 *   or a .tar/.tar.gz/.tgz of one (FILE.tar:SUB takes a subfolder).
 *
 * Class = folder name, sorted; #images or #labels at the end of a folder's or
 * tar's name says which half is wanted, else the role does.  Images come out as
 * u8 [C,H,W], labels as i64.  Also used by the compiler to see dtype and dims.
 *
 * Rows lie in memory (or in a mapped file), or a source makes them: image files are
 * decoded, sizes changed, ragged rows padded.  rt_array_load keeps made rows. */
#ifndef RETORT_DATA_H
#define RETORT_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RT_MAX_RANK 8

/* One message, the first one wins.  status as the exit status of a trainer. */
struct rt_msg {
	int status;
	char text[1000];
};
/* Always false. */
bool rt_fail(struct rt_msg *, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes row i; any number of threads at once. */
struct rt_source {
	bool (*row)(const struct rt_source *, int64_t i, unsigned char *to, struct rt_msg *);
	void (*close)(struct rt_source *);
};
struct rt_array {
	int32_t dtype, rank;	   /* rank and dims with the sample dim */
	int64_t dims[RT_MAX_RANK]; /* dims[0]: samples */
	int64_t rows, row_bytes;
	const unsigned char *data; /* rows 0..held-1; NULL: none */
	int64_t held;		   /* rows in memory; the source makes the others */
	struct rt_source *source;
	int nclasses; /* labels of an image folder: the class names */
	char **classes;
	void *heap, *map; /* what close frees */
	size_t map_bytes;
};
enum rt_role { RT_ROLE_IMAGES, RT_ROLE_LABELS };
/* What is wanted of a file; zeros are the file's own. */
struct rt_want {
	const char *file;
	enum rt_role role;
	int32_t dtype;	     /* only .csv converts, any other difference is reported */
	int64_t size[2];     /* H, W that images are brought to */
	bool where_possible; /* what is no image keeps its size */
	bool mask;	     /* sizes change by the nearest pixel: the numbers are classes */
	const char *lengths; /* rows are ragged: file holds their elements one after the other, this how many */
	int64_t longest;     /* of a ragged row, the rest is cut off; 0: as the data */
	double pad;	     /* what fills up shorter rows */
};
/* False: reported in msg, nothing to close. */
bool rt_data_want(struct rt_array *, const struct rt_want *, struct rt_msg *);
/* The same with all rows in memory. */
bool rt_data_open(
    struct rt_array *, const char *spec, enum rt_role, int32_t dtype, struct rt_msg *);
void rt_data_close(struct rt_array *);
/* Copies or makes row i. */
static inline const unsigned char *
rt_array_held(const struct rt_array *a, int64_t i)
{
	return i < a->held ? a->data + i * a->row_bytes : NULL;
}
bool rt_array_row(const struct rt_array *, int64_t i, unsigned char *to, struct rt_msg *);
/* Makes and keeps as many rows as fit into *bytes, which it lowers, on so many
 * threads; false: reported, the first row that cannot be made. */
bool rt_array_load(struct rt_array *, int64_t *bytes, int threads, struct rt_msg *);
/* Chained hash of the first rows. */
bool rt_array_hash(const struct rt_array *, int64_t rows, uint64_t *h, struct rt_msg *);
/* the rule of docs/trainer-config.md for fields without #images or #labels */
enum rt_role rt_data_role(const char *field, bool has_classes);

int rt_dtype_bytes(int32_t dtype); /* 0: unknown */
const char *rt_dtype_name(int32_t dtype);

#endif
