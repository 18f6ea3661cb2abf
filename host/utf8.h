/* utf8 -- code points of UTF-8 text (utf8.c). */
#ifndef RETORT_HOST_UTF8_H
#define RETORT_HOST_UTF8_H

#include <stdint.h>

/* The code point at *s, which moves past it; U+FFFD for a byte that begins none. */
uint32_t utf8_next(const char **s);
int utf8_put(char *to, uint32_t c); /* at most 4 bytes; how many */
uint32_t utf8_upper(uint32_t);
uint32_t utf8_lower(uint32_t);

#endif
