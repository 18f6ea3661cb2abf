/* host -- functions on data that no loop nest expresses: the content of strings,
 * encoded images.  One C function per row of class OC_host; compiled programs call
 * it by name, the fp64 evaluator through the table.  libc only (images: libjpeg and
 * libpng); nothing is allocated but inside those two libraries.
 *
 * A string is NUL-terminated UTF-8; in tensors its element is a pointer, NULL
 * standing for "".  New strings are made in the program's own memory (struct
 * rt_bytes), so results stay valid until its next run, as do pointers into the
 * constants and into the caller's inputs. */
#ifndef RETORT_HOST_H
#define RETORT_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a run may report; NAME_run of a library returns the same numbers. */
enum rt_host_status {
	RT_HOST_OK = 0,
	RT_HOST_FULL = 5,   /* no room left for new strings */
	RT_HOST_NUMBER = 6, /* a string that is to be a number is none */
	RT_HOST_WIDE = 7,   /* more parts, or a larger image, than the bound allows */
	RT_HOST_IMAGE = 8   /* bytes that no image decoder reads */
};

/* The room for new strings, in work memory: this head, then size bytes.  The first
 * status that is not OK stays; functions then still leave valid results behind. */
struct rt_bytes {
	int64_t used, size;
	int32_t status, reserved;
	int64_t pad[5];
};

/* One operand: inputs, then outputs, then the row's attributes in their order.
 * data NULL: left out.  dtype: the ONNX enumerator.  Strings among attributes are
 * packed: an offset (int64_t, bytes from data) for each, then their bytes. */
struct rt_operand {
	void *data;
	const int64_t *dims;
	int32_t dtype, rank;
};

typedef void rt_host_fn(struct rt_bytes *, const struct rt_operand *);
#define HOST(id, images) void rt_host_##id(struct rt_bytes *, const struct rt_operand *);
#include "host/host.def"

/* table.c: by symbol ("rt_host_str_eq"); NULL if there is none. */
rt_host_fn *host_function(const char *symbol);
bool host_needs_images(const char *symbol); /* what it is in links the image libraries */
const char *host_status_text(int status);
/* image.c: the size of an encoded image; false: none that can be decoded */
bool host_image_size(const void *bytes, int64_t size, int64_t *width, int64_t *height);

/* regex.c: a pattern in RE2's syntax as a program of numbers for str_match; NULL:
 * done, n numbers of at most max.  Else what is wrong, at byte *at of the pattern. */
const char *host_regex_compile(const char *pattern, int64_t *program, int max, int *n, int *at);
/* What is wrong with a program that comes from elsewhere, or NULL. */
const char *host_regex_check(const int64_t *program, int n);
/* Bytes of scratch that a match of the program takes from the room for strings. */
int64_t host_regex_scratch(const int64_t *program, int n);

#endif
