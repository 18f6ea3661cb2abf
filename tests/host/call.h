/* call.h -- a host function called as compiled code does. */
#ifndef RETORT_TEST_HOST_CALL_H
#define RETORT_TEST_HOST_CALL_H

#include "host/host.h"
#include "tests/unit.h"

enum { ROOM = 1 << 16 };
static union {
	struct rt_bytes head;
	char bytes[sizeof(struct rt_bytes) + ROOM];
} room;

/* a run begins with `size` bytes for strings */
static inline void
open_room(int64_t size)
{
	struct rt_operand arg = {&size, NULL, 7, 0};

	rt_host_begin(&room.head, &arg);
}

static inline struct rt_operand
vector(void *data, int32_t dtype, const int64_t *n)
{
	return (struct rt_operand){data, n, dtype, 1};
}

/* The same numbers in every run. */
static inline uint32_t
next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 33);
}

#endif
