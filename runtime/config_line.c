/* config_line -- the trainer's configuration as lines of words (docs/trainer-config.md). */
#include "runtime/config_line.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)1 << 20)

static int
hex(int c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

bool
line_bad(struct line *l, const char *why)
{
	return rt_fail(
	    l->m, RT_INVALID, "%s line %d (%s): %s", l->what, l->number, l->n ? l->w[0] : "", why);
}

/* Unescapes in place; *s is after the opening quote, ends after the closing one. */
static bool
quoted(struct line *l, char **s)
{
	char *p = *s, *out = *s;

	for (; *p && *p != '"' && *p != '\n'; p++) {
		int c = (unsigned char)*p;

		if (c == '\\') {
			c = (unsigned char)*++p;
			if (c == 'n')
				c = '\n';
			else if (c == 't')
				c = '\t';
			else if (c == 'x' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
				c = hex(p[1]) * 16 + hex(p[2]);
				p += 2;
			} else if (c != '"' && c != '\\')
				return line_bad(l, "unknown escape");
			if (!c)
				return line_bad(l, "a zero byte in a string");
		}
		*out++ = (char)c;
	}
	if (*p != '"')
		return line_bad(l, "a string without its closing quote");
	*out = 0;
	*s = p + 1;
	return true;
}

/* Next line with words in it; false: end of text, or wrong (l->m says). */
bool
line_next(struct line *l, char **text)
{
	for (char *p = *text; *p;) {
		l->number++;
		l->n = 0;
		while (*p && *p != '\n') {
			if (*p == ' ' || *p == '\t' || *p == '\r') {
				*p++ = 0;
				continue;
			}
			if (*p == '#' && l->n == 0) {
				while (*p && *p != '\n')
					p++;
				break;
			}
			if (l->n == MAX_WORDS)
				return line_bad(l, "too many values");
			if (*p == '"') {
				p++;
				l->w[l->n++] = p;
				if (!quoted(l, &p))
					return false;
				if (*p && !isspace((unsigned char)*p))
					return line_bad(l, "a string must be followed by a blank");
			} else {
				l->w[l->n++] = p;
				while (*p && !isspace((unsigned char)*p))
					p++;
			}
		}
		if (*p)
			*p++ = 0;
		*text = p;
		if (l->n)
			return true;
	}
	return false;
}

bool
line_integer(struct line *l, int i, int64_t lo, int64_t hi, int64_t *v)
{
	char *end;

	if (i >= l->n)
		return line_bad(l, "a value is missing");
	errno = 0;
	*v = strtoll(l->w[i], &end, 10);
	if (errno || end == l->w[i] || *end || *v < lo || *v > hi)
		return rt_fail(l->m, RT_INVALID,
		    "%s line %d (%s): '%s' is not an integer in %lld..%lld", l->what, l->number,
		    l->w[0], l->w[i], (long long)lo, (long long)hi);
	return true;
}

bool
line_real(struct line *l, int i, double lo, double hi, double *v)
{
	char *end;

	if (i >= l->n)
		return line_bad(l, "a value is missing");
	*v = strtod(l->w[i], &end);
	if (end == l->w[i] || *end || !(*v >= lo && *v <= hi))
		return rt_fail(l->m, RT_INVALID, "%s line %d (%s): '%s' is not a number in %g..%g",
		    l->what, l->number, l->w[0], l->w[i], lo, hi);
	return true;
}

bool
line_words(struct line *l, int n)
{
	return l->n == n + 1 || line_bad(l, "wrong number of values");
}

bool
line_flag(struct line *l, bool *v)
{
	int64_t n;

	if (!line_words(l, 1) || !line_integer(l, 1, 0, 1, &n))
		return false;
	*v = n == 1;
	return true;
}

bool
line_string(struct line *l, const char **v)
{
	if (!line_words(l, 1))
		return false;
	*v = l->w[1];
	return true;
}

char *
line_text(const char *text, struct region *r, struct rt_msg *m)
{
	size_t n = text ? strnlen(text, MAX_TEXT + 1) : 0;
	char *p;

	if (!text || n > MAX_TEXT) {
		rt_fail(m, RT_INVALID, "the trainer's configuration is %s",
		    text ? "too long" : "missing");
		return NULL;
	}
	p = region_alloc(r, n + 1);
	if (!p)
		rt_fail(m, RT_INTERNAL, "out of memory");
	else
		memcpy(p, text, n);
	return p;
}
