/* utf8 -- code points, and the simple case mapping of Latin, Greek, Cyrillic and
 * Armenian letters (one code point to one; what Unicode maps to several, like the
 * German sharp s, stays as it is). */
#include "host/host_int.h"

uint32_t
utf8_next(const char **s)
{
	const unsigned char *p = (const unsigned char *)*s;
	uint32_t c = *p;
	int more = c < 0x80		   ? 0
		   : c >= 0xC2 && c < 0xE0 ? 1
		   : c >= 0xE0 && c < 0xF0 ? 2
		   : c >= 0xF0 && c < 0xF5 ? 3
					   : -1;

	if (more < 0) {
		(*s)++;
		return 0xFFFD;
	}
	c = more == 0 ? c : c & (0x3Fu >> more);
	for (int i = 1; i <= more; i++) {
		if ((p[i] & 0xC0) != 0x80) {
			(*s)++;
			return 0xFFFD;
		}
		c = c << 6 | (p[i] & 0x3Fu);
	}
	if ((more == 2 && (c < 0x800 || (c >= 0xD800 && c < 0xE000))) ||
	    (more == 3 && (c < 0x10000 || c > 0x10FFFF))) {
		(*s)++;
		return 0xFFFD;
	}
	*s += more + 1;
	return c;
}

int
utf8_put(char *to, uint32_t c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xC0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xE0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 0x3F));
		to[2] = (char)(0x80 | (c & 0x3F));
		return 3;
	}
	to[0] = (char)(0xF0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 0x3F));
	to[2] = (char)(0x80 | (c >> 6 & 0x3F));
	to[3] = (char)(0x80 | (c & 0x3F));
	return 4;
}

/* Runs of capital letters.  step 1: the small ones stand `by` after; step 2: capital
 * and small alternate, the capital at even (by 1) places counted from lo. */
static const struct {
	uint32_t lo, hi;
	int step, by;
} capitals[] = {
    {0x41, 0x5A, 1, 32},
    {0xC0, 0xD6, 1, 32},
    {0xD8, 0xDE, 1, 32},
    {0x100, 0x12F, 2, 1},
    {0x132, 0x137, 2, 1},
    {0x139, 0x148, 2, 1},
    {0x14A, 0x177, 2, 1},
    {0x179, 0x17E, 2, 1},
    {0x1CD, 0x1DC, 2, 1},
    {0x1DE, 0x1EF, 2, 1},
    {0x1F8, 0x21F, 2, 1},
    {0x222, 0x233, 2, 1},
    {0x386, 0x386, 1, 38},
    {0x388, 0x38A, 1, 37},
    {0x38C, 0x38C, 1, 64},
    {0x38E, 0x38F, 1, 63},
    {0x391, 0x3A1, 1, 32},
    {0x3A3, 0x3AB, 1, 32},
    {0x3D8, 0x3EF, 2, 1},
    {0x400, 0x40F, 1, 80},
    {0x410, 0x42F, 1, 32},
    {0x460, 0x481, 2, 1},
    {0x48A, 0x4BF, 2, 1},
    {0x4C1, 0x4CE, 2, 1},
    {0x4D0, 0x52F, 2, 1},
    {0x531, 0x556, 1, 48},
    {0x1E00, 0x1E95, 2, 1},
    {0x1EA0, 0x1EFF, 2, 1},
    {0xFF21, 0xFF3A, 1, 32},
};
enum { NCAPITALS = sizeof capitals / sizeof *capitals };

uint32_t
utf8_lower(uint32_t c)
{
	if (c < 0x41)
		return c;
	if (c == 0x178) /* its small letter is Latin-1's */
		return 0xFF;
	for (int i = 0; i < NCAPITALS && capitals[i].lo <= c; i++)
		if (c <= capitals[i].hi) {
			if (capitals[i].step == 2)
				return (c - capitals[i].lo) % 2 ? c : c + 1;
			return c + (uint32_t)capitals[i].by;
		}
	return c;
}

uint32_t
utf8_upper(uint32_t c)
{
	if (c < 0x61)
		return c;
	if (c == 0xFF)
		return 0x178;
	if (c == 0x3C2) /* final sigma */
		return 0x3A3;
	for (int i = 0; i < NCAPITALS; i++) {
		uint32_t by = (uint32_t)capitals[i].by;

		if (capitals[i].step == 2) {
			if (c >= capitals[i].lo && c <= capitals[i].hi && (c - capitals[i].lo) % 2)
				return c - 1;
		} else if (c >= capitals[i].lo + by && c <= capitals[i].hi + by) {
			return c - by;
		}
	}
	return c;
}
