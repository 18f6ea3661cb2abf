/* data -- data files as arrays in memory, by suffix:
 *
 *   IDX (-ubyte, .idx; also .gz), .npy, .npz (FILE.npz:MEMBER), .csv
 *   (FILE.csv:COL,COL by name or number from 0), an image folder DIR/CLASS/X.png or X.jpg
 *   or a .tar/.tar.gz/.tgz of one (FILE.tar:SUB takes a subfolder).
 *
 * Class = folder name, sorted; #images or #labels at the end of a folder's or
 * tar's name says which half is wanted, else the role does.  Images come out as
 * u8 [C,H,W], labels as i64.  Also used by the compiler to see dtype and dims. */
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

struct rt_array {
	int32_t dtype, rank;	   /* rank and dims with the sample dim */
	int64_t dims[RT_MAX_RANK]; /* dims[0]: samples */
	int64_t rows, row_bytes;
	const unsigned char *data;
	int nclasses; /* labels of an image folder: the class names */
	char **classes;
	void *heap, *map; /* what close frees */
	size_t map_bytes;
};
enum rt_role { RT_ROLE_IMAGES, RT_ROLE_LABELS };
/* dtype: what the user wants, 0 for the file's own; only .csv converts, any
 * other difference is reported.  False: reported in msg, nothing to close. */
bool rt_data_open(
    struct rt_array *, const char *spec, enum rt_role, int32_t dtype, struct rt_msg *);
void rt_data_close(struct rt_array *);
/* the rule of docs/trainer-config.md for fields without #images or #labels */
enum rt_role rt_data_role(const char *field, bool has_classes);

int rt_dtype_bytes(int32_t dtype); /* 0: unknown */
const char *rt_dtype_name(int32_t dtype);

#endif
