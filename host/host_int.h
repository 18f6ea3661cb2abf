/* host_int -- what the functions of this room share. */
#ifndef RETORT_HOST_INT_H
#define RETORT_HOST_INT_H

#include "host/host.h"
#include "host/utf8.h"

#include <stdbool.h>

enum {
	ELEM_F32 = 1,
	ELEM_U8,
	ELEM_I8,
	ELEM_U16,
	ELEM_I16,
	ELEM_I32,
	ELEM_I64,
	ELEM_STR,
	ELEM_BOOL,
	ELEM_F16,
	ELEM_F64,
	ELEM_U32,
	ELEM_U64,
	ELEM_BF16 = 16,
	ELEM_F8E4M3FN,
	ELEM_F8E4M3FNUZ,
	ELEM_F8E5M2,
	ELEM_F8E5M2FNUZ,
	ELEM_U4,
	ELEM_I4,
	ELEM_F4E2M1,
	ELEM_F8E8M0,
	ELEM_U2,
	ELEM_I2
};

static inline int64_t
op_count(const struct rt_operand *o)
{
	int64_t n = 1;

	for (int32_t i = 0; i < o->rank; i++)
		n *= o->dims[i];
	return n;
}

/* element i of a tensor of strings */
static inline const char *
op_str(const struct rt_operand *o, int64_t i)
{
	const char *s = ((const char *const *)o->data)[i];

	return s ? s : "";
}

static inline void
op_put(const struct rt_operand *o, int64_t i, const char *s)
{
	((const char **)o->data)[i] = s;
}

/* string i of a packed attribute */
static inline const char *
op_packed(const struct rt_operand *o, int64_t i)
{
	return (const char *)o->data + ((const int64_t *)o->data)[i];
}

static inline int64_t
op_int(const struct rt_operand *o)
{
	return *(const int64_t *)o->data;
}

/* an operand that says how many of n elements there are; left out: all */
static inline int64_t
op_limit(const struct rt_operand *o, int64_t n)
{
	int64_t k = o->data ? op_int(o) : n;

	return k < 0 ? 0 : k < n ? k : n;
}

static inline void
bytes_fail(struct rt_bytes *b, enum rt_host_status s)
{
	if (b->status == RT_HOST_OK)
		b->status = (int32_t)s;
}

/* n bytes, kept until the next run; NULL (noted) where there is no room */
char *bytes_take(struct rt_bytes *, int64_t n);
/* n bytes aligned to 8 for the time of one call: what bytes_take gives next */
void *bytes_scratch(struct rt_bytes *, int64_t n);

#endif
