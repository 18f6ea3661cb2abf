/* str -- a growing string on the heap; helpers on C strings. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

static void
reserve(struct str *s, size_t more)
{
	if (s->n + more + 1 <= s->cap)
		return;
	s->cap = s->cap * 2 > s->n + more + 1 ? s->cap * 2 : s->n + more + 64;
	s->s = xrealloc(s->s, s->cap);
}

void
str_addn(struct str *s, const void *p, size_t n)
{
	reserve(s, n);
	if (n)
		memcpy(s->s + s->n, p, n);
	s->n += n;
	s->s[s->n] = 0;
}

void
str_add(struct str *s, const char *p)
{
	str_addn(s, p, strlen(p));
}

static void
addv(struct str *s, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n < 0)
		die("bad format: %s", fmt);
	reserve(s, (size_t)n);
	vsnprintf(s->s + s->n, (size_t)n + 1, fmt, again);
	s->n += (size_t)n;
	va_end(again);
}

void
str_addf(struct str *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	addv(s, fmt, ap);
	va_end(ap);
}

void
str_free(struct str *s)
{
	free(s->s);
	*s = (struct str){0};
}

bool
str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool
str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* Damerau-Levenshtein distance (adjacent swaps count one), case ignored at half
 * price: distances are in halves.  Words are cut at 63 bytes. */
static int
distance(const char *a, const char *b)
{
	enum { MAX = 64 };
	int d[MAX + 1][MAX + 1], i, j, la, lb, cost, v;

	la = (int)strnlen(a, MAX);
	lb = (int)strnlen(b, MAX);
	for (i = 0; i <= la; i++)
		d[i][0] = 2 * i;
	for (j = 0; j <= lb; j++)
		d[0][j] = 2 * j;
	for (i = 1; i <= la; i++)
		for (j = 1; j <= lb; j++) {
			unsigned char x = (unsigned char)a[i - 1], y = (unsigned char)b[j - 1];

			cost = x == y ? 0 : (x | 32) == (y | 32) ? 1 : 2;
			v = d[i - 1][j - 1] + cost;
			if (d[i - 1][j] + 2 < v)
				v = d[i - 1][j] + 2;
			if (d[i][j - 1] + 2 < v)
				v = d[i][j - 1] + 2;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 2 < v)
				v = d[i - 2][j - 2] + 2;
			d[i][j] = v;
		}
	return d[la][lb];
}

const char *
str_nearest(const char *word, const char *const *candidates, int n)
{
	const char *best = NULL;
	int i, d, least, len = (int)strlen(word);

	least = len <= 2 ? 3 : len <= 5 ? 5 : len / 3 * 2 + 3; /* exclusive, in halves */
	for (i = 0; i < n; i++) {
		if (!candidates[i])
			continue;
		d = distance(word, candidates[i]);
		if (d < least) {
			least = d;
			best = candidates[i];
		}
	}
	return best;
}

bool
str_glob(const char *p, const char *s)
{
	const char *star = NULL, *from = NULL;

	while (*s) {
		if (*p == '*') {
			star = p++;
			from = s;
		} else if (*p == '?' || *p == *s) {
			p++;
			s++;
		} else if (star) {
			p = star + 1;
			s = ++from;
		} else {
			return false;
		}
	}
	while (*p == '*')
		p++;
	return !*p;
}

void
str_json(struct str *s, const char *p)
{
	str_addn(s, "\"", 1);
	for (; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '"' || c == '\\')
			str_addf(s, "\\%c", c);
		else if (c == '\n')
			str_add(s, "\\n");
		else if (c == '\t')
			str_add(s, "\\t");
		else if (c < 32 || c == 127)
			str_addf(s, "\\u%04x", c);
		else
			str_addn(s, p, 1);
	}
	str_addn(s, "\"", 1);
}
