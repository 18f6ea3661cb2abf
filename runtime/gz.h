/* gz -- what gz.c does for other loaders */
#ifndef RETORT_GZ_H
#define RETORT_GZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool rt_inflate(void *out, size_t n, const void *in, size_t nin); /* raw deflate, exactly n bytes */
uint32_t rt_crc32(const void *, size_t);

#endif
