/* strings -- rows that look at or make the content of strings. */
#include "host/host_int.h"

#include <string.h>

/* out [n]; values (packed) */
void
rt_host_str_const(struct rt_bytes *b, const struct rt_operand *arg)
{
	int64_t n = op_count(&arg[0]);

	(void)b;
	for (int64_t i = 0; i < n; i++)
		op_put(&arg[0], i, op_packed(&arg[1], i));
}

/* x, y of one shape; out bool */
void
rt_host_str_eq(struct rt_bytes *b, const struct rt_operand *arg)
{
	uint8_t *out = arg[2].data;
	int64_t n = op_count(&arg[0]);

	(void)b;
	for (int64_t i = 0; i < n; i++)
		out[i] = strcmp(op_str(&arg[0], i), op_str(&arg[1], i)) == 0;
}

/* x; out i64: the place of x among the keys, which are in order, or -1 */
void
rt_host_str_find(struct rt_bytes *b, const struct rt_operand *arg)
{
	int64_t *out = arg[1].data, n = op_count(&arg[0]), keys = op_count(&arg[2]);

	(void)b;
	for (int64_t i = 0; i < n; i++) {
		const char *s = op_str(&arg[0], i);
		int64_t lo = 0, hi = keys;

		while (lo < hi) {
			int64_t mid = lo + (hi - lo) / 2;

			if (strcmp(op_packed(&arg[2], mid), s) < 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		out[i] = lo < keys && strcmp(op_packed(&arg[2], lo), s) == 0 ? lo : -1;
	}
}

/* x, y of one shape; out x followed by y */
void
rt_host_str_concat(struct rt_bytes *b, const struct rt_operand *arg)
{
	int64_t n = op_count(&arg[0]);

	for (int64_t i = 0; i < n; i++) {
		const char *x = op_str(&arg[0], i), *y = op_str(&arg[1], i);
		size_t nx = strlen(x), ny = strlen(y);
		char *to = NULL;

		if (!ny || !nx) {
			op_put(&arg[2], i, ny ? y : x);
			continue;
		}
		if ((to = bytes_take(b, (int64_t)(nx + ny) + 1))) {
			memcpy(to, x, nx);
			memcpy(to + nx, y, ny + 1);
		}
		op_put(&arg[2], i, to ? to : "");
	}
}

/* ---- str_split */
static bool
blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next part: its length, *s at its beginning and *rest after its delimiter; -1:
 * there is none.  last: what remains is one part. */
static int64_t
part(const char **s, const char *delimiter, bool last, const char **rest)
{
	const char *p = *s, *end;

	if (!p)
		return -1;
	if (!*delimiter) { /* runs of blanks; those around the text do not count */
		while (blank(*p))
			p++;
		if (!*p)
			return -1;
		for (end = p; *end && (last || !blank(*end)); end++)
			;
		*s = p;
		*rest = end;
		return end - p;
	}
	end = last ? NULL : strstr(p, delimiter);
	*rest = end ? end + strlen(delimiter) : NULL;
	return end ? end - p : (int64_t)strlen(p);
}

/* x [...]; out [..., width] filled up with "", count i64 [...]; delimiter (left out
 * or "": blanks), maxsplit (-1: none), width */
void
rt_host_str_split(struct rt_bytes *b, const struct rt_operand *arg)
{
	int64_t n = op_count(&arg[0]), *count = arg[2].data, width = op_int(&arg[5]),
		most = arg[4].data ? op_int(&arg[4]) : -1;
	const char *delimiter = arg[3].data ? op_packed(&arg[3], 0) : "";

	for (int64_t i = 0; i < n; i++) {
		const char *s = op_str(&arg[0], i), *rest = NULL;
		int64_t k = 0, len;

		for (;; k++, s = rest) {
			char *to;

			if ((len = part(&s, delimiter, most >= 0 && k >= most, &rest)) < 0)
				break;
			if (k >= width) {
				bytes_fail(b, RT_HOST_WIDE);
				break;
			}
			if ((to = bytes_take(b, len + 1))) {
				memcpy(to, s, (size_t)len);
				to[len] = 0;
			}
			op_put(&arg[1], i * width + k, to ? to : "");
		}
		if (count)
			count[i] = k;
		for (; k < width; k++)
			op_put(&arg[1], i * width + k, "");
	}
}

/* ---- str_normalize */
enum { KEEP_CASE, LOWER, UPPER };

static uint32_t
in_case(uint32_t c, int64_t to)
{
	return to == LOWER ? utf8_lower(c) : to == UPPER ? utf8_upper(c) : c;
}

static bool
same_text(const char *x, const char *y, bool sensitive)
{
	if (sensitive)
		return strcmp(x, y) == 0;
	while (*x && *y)
		if (utf8_lower(utf8_next(&x)) != utf8_lower(utf8_next(&y)))
			return false;
	return !*x && !*y;
}

static const char *
cased(struct rt_bytes *b, const char *s, int64_t to)
{
	const char *p;
	int64_t len = 1;
	char *out, *q, skip[4];

	if (to == KEEP_CASE)
		return s;
	for (p = s; *p;)
		len += utf8_put(skip, in_case(utf8_next(&p), to));
	if (!(out = q = bytes_take(b, len)))
		return "";
	for (p = s; *p;)
		q += utf8_put(q, in_case(utf8_next(&p), to));
	*q = 0;
	return out;
}

/* x [n]; size i64 or left out: how many of x count; out [n]: what is no stopword, in
 * order, then ""; count i64: how many, but 1
 * where all are gone; case (0 as it is, 1 lower, 2 upper), sensitive, stopwords */
void
rt_host_str_normalize(struct rt_bytes *b, const struct rt_operand *arg)
{
	int64_t n = op_count(&arg[0]), k = 0, to = op_int(&arg[4]),
		stops = arg[6].data ? op_count(&arg[6]) : 0;
	bool sensitive = op_int(&arg[5]) != 0;

	for (int64_t i = 0; i < op_limit(&arg[1], n); i++) {
		const char *s = op_str(&arg[0], i);
		int64_t w = 0;

		while (w < stops && !same_text(s, op_packed(&arg[6], w), sensitive))
			w++;
		if (w == stops)
			op_put(&arg[2], k++, cased(b, s, to));
	}
	if (arg[3].data)
		*(int64_t *)arg[3].data = k ? k : 1;
	for (; k < n; k++)
		op_put(&arg[2], k, "");
}
