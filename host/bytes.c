/* bytes -- the room for strings that a run makes, and what can go wrong in one. */
#include "host/host_int.h"

/* attribute: how many bytes follow the head */
void
rt_host_begin(struct rt_bytes *b, const struct rt_operand *arg)
{
	b->used = 0;
	b->size = op_int(arg);
	b->status = RT_HOST_OK;
}

char *
bytes_take(struct rt_bytes *b, int64_t n)
{
	char *p = (char *)(b + 1) + b->used;

	if (n < 0 || n > b->size - b->used) {
		bytes_fail(b, RT_HOST_FULL);
		return NULL;
	}
	b->used += n;
	return p;
}

void *
bytes_scratch(struct rt_bytes *b, int64_t n)
{
	int64_t at = (b->used + 7) / 8 * 8;

	if (n < 0 || at > b->size || n > b->size - at) {
		bytes_fail(b, RT_HOST_FULL);
		return NULL;
	}
	return (char *)(b + 1) + at;
}

const char *
host_status_text(int status)
{
	switch (status) {
	case RT_HOST_FULL:
		return "no room is left for the strings that it makes; compile with a larger "
		       "--string-bytes";
	case RT_HOST_NUMBER:
		return "a string that is cast to a number does not hold one";
	case RT_HOST_WIDE:
		return "a result is larger than the bound that it was compiled for";
	case RT_HOST_IMAGE:
		return "the bytes of an image cannot be decoded";
	default:
		return "unknown status";
	}
}
