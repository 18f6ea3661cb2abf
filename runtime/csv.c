/* csv -- columns of numbers: commas (or semicolons, tabs), an optional header
 * line, optional quotes.  One column gives [N], several [N,C].  Without a wanted
 * type, columns of whole numbers come out as i64, others as f32. */
#include "runtime/rt_int.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 65536

struct csv {
	const char *path;
	char *text, *at;
	int64_t line;
	char sep;
	int ncols;	  /* of the file */
	int nwant, *want; /* the columns asked for, in their order */
	double *v;
	int64_t n, cap; /* values */
	struct rt_msg *m;
};

/* The next cell of a line, trimmed and unquoted in place; NULL: line is over. */
static char *
cell(char **p, char sep)
{
	char *s = *p, *end;

	if (!s)
		return NULL;
	while (*s == ' ' || (*s == '\t' && sep != '\t'))
		s++;
	if (*s == '"') {
		s++;
		end = strchr(s, '"');
		if (!end)
			end = s + strlen(s);
		char *next = strchr(*end ? end + 1 : end, sep);

		*end = 0;
		*p = next ? next + 1 : NULL;
		return s;
	}
	end = strchr(s, sep);
	*p = end ? end + 1 : NULL;
	if (!end)
		end = s + strlen(s);
	*end = 0;
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = 0;
	return s;
}

static char *
next_line(struct csv *c)
{
	char *s = c->at, *end;

	if (!s || !*s)
		return NULL;
	end = strchr(s, '\n');
	c->at = end ? end + 1 : NULL;
	if (!end)
		end = s + strlen(s);
	*end = 0;
	c->line++;
	return s;
}

static bool
numeric(const char *s, double *v)
{
	char *end;

	*v = strtod(s, &end);
	return end != s && !*end;
}

/* Column numbers for NAMES (comma list; NULL: all). names[] may be NULL. */
static bool
choose(struct csv *c, const char *columns, char **names)
{
	c->want = malloc(sizeof *c->want * (size_t)c->ncols);
	if (!c->want)
		return rt_fail(c->m, RT_INTERNAL, "%s: out of memory", c->path);
	if (!columns) {
		for (int i = 0; i < c->ncols; i++)
			c->want[c->nwant++] = i;
		return true;
	}
	for (const char *s = columns; *s;) {
		size_t len = strcspn(s, ",");
		int found = -1;
		char *end;
		long k = strtol(s, &end, 10);

		for (int i = 0; names && i < c->ncols; i++)
			if (strlen(names[i]) == len && memcmp(names[i], s, len) == 0)
				found = i;
		if (found < 0 && end == s + len && len > 0 && k >= 0 && k < c->ncols)
			found = (int)k;
		if (found < 0)
			return rt_fail(c->m, RT_INVALID,
			    "%s: has no column %.*s; there are %d%s%s%s", c->path, (int)len, s,
			    c->ncols, names ? ", the first is " : " without names, numbered from 0",
			    names ? names[0] : "", "");
		if (c->nwant == c->ncols)
			return rt_fail(c->m, RT_INVALID,
			    "%s: more columns asked for than there are (%d)", c->path, c->ncols);
		c->want[c->nwant++] = found;
		s += len;
		if (*s == ',')
			s++;
	}
	if (c->nwant == 0)
		return rt_fail(c->m, RT_INVALID, "%s: no columns chosen after the colon", c->path);
	return true;
}

/* The first line decides separator, columns, and whether it is a header. */
static bool
first_line(struct csv *c, const char *columns)
{
	char *save = c->at, *line = next_line(c), *copy, *p, *s, **names = NULL;
	double v;
	bool header = false, ok = false;
	int n = 1;

	if (!line || !*line)
		return rt_fail(c->m, RT_INVALID, "%s: is empty", c->path);
	c->sep = strchr(line, ',')    ? ','
		 : strchr(line, ';')  ? ';'
		 : strchr(line, '\t') ? '\t'
				      : ',';
	for (s = line; *s; s++)
		n += *s == c->sep;
	if (n > MAX_COLUMNS)
		return rt_fail(
		    c->m, RT_INVALID, "%s: has %d columns, %d at most", c->path, n, MAX_COLUMNS);
	copy = strdup(line);
	names = calloc((size_t)n, sizeof *names);
	if (copy && names) {
		p = copy;
		while (c->ncols < n && (s = cell(&p, c->sep))) {
			names[c->ncols++] = s;
			header |= !numeric(s, &v);
		}
		ok = choose(c, columns, header ? names : NULL);
	}
	if (!header) {
		if (c->at)
			c->at[-1] = '\n';
		c->at = save;
		c->line = 0;
	}
	free(names);
	free(copy);
	return ok;
}

static bool
row(struct csv *c, char *line, double *cells)
{
	char *p = line, *s;
	int n = 0;

	for (; (s = cell(&p, c->sep)); n++) {
		if (n == c->ncols)
			break;
		cells[n] = NAN;
		bool wanted = false;

		for (int i = 0; i < c->nwant && !wanted; i++)
			wanted = c->want[i] == n;
		if (wanted && !numeric(s, &cells[n]))
			return rt_fail(c->m, RT_INVALID,
			    "%s: line %lld column %d: '%.40s' is not a number", c->path,
			    (long long)c->line, n + 1, s);
	}
	if (n != c->ncols || s)
		return rt_fail(c->m, RT_INVALID,
		    "%s: line %lld has %s than the %d columns of the first line", c->path,
		    (long long)c->line, n < c->ncols ? "fewer" : "more", c->ncols);
	if (c->cap - c->n < c->nwant) {
		int64_t cap = c->cap ? 2 * c->cap : 4096;

		while (cap - c->n < c->nwant)
			cap *= 2;
		double *q = realloc(c->v, (size_t)cap * sizeof *q);
		if (!q)
			return rt_fail(c->m, RT_INTERNAL, "%s: out of memory", c->path);
		c->v = q;
		c->cap = cap;
	}
	for (int i = 0; i < c->nwant; i++)
		c->v[c->n++] = cells[c->want[i]];
	return true;
}

static bool
fits(double v, int32_t dtype)
{
	switch (dtype) {
	case RT_U8:
		return v >= 0 && v <= 255;
	case RT_I8:
		return v >= -128 && v <= 127;
	case RT_U16:
		return v >= 0 && v <= 65535;
	case RT_I16:
		return v >= -32768 && v <= 32767;
	case RT_I32:
		return v >= -2147483648.0 && v <= 2147483647.0;
	case RT_U32:
		return v >= 0 && v <= 4294967295.0;
	case RT_BOOL:
		return v == 0 || v == 1;
	default:
		return v >= -9007199254740992.0 && v <= 9007199254740992.0;
	}
}

static bool
convert(struct csv *c, struct rt_array *a)
{
	int size = rt_dtype_bytes(a->dtype);
	unsigned char *out = malloc((size_t)c->n * (size_t)size + 1);

	if (!out)
		return rt_fail(c->m, RT_INTERNAL, "%s: out of memory", c->path);
	a->heap = out;
	a->data = out;
	if (a->dtype == RT_F16)
		return rt_fail(c->m, RT_INVALID, "%s: f16 is not read from .csv", c->path);
	for (int64_t i = 0; i < c->n; i++, out += size) {
		double v = c->v[i];
		int64_t n;

		if (a->dtype == RT_F32) {
			float f = (float)v;

			memcpy(out, &f, 4);
			continue;
		}
		if (a->dtype == RT_F64) {
			memcpy(out, &v, 8);
			continue;
		}
		if (v != floor(v) || !fits(v, a->dtype))
			return rt_fail(c->m, RT_INVALID, "%s: row %lld: %g does not fit %s",
			    c->path, (long long)(i / c->nwant), v, rt_dtype_name(a->dtype));
		n = (int64_t)v;
		memcpy(out, &n, (size_t)size); /* little endian */
	}
	return true;
}

static bool
read_rows(struct csv *c)
{
	double *cells = malloc(sizeof *cells * (size_t)c->ncols);
	char *line;
	bool ok = cells || rt_fail(c->m, RT_INTERNAL, "%s: out of memory", c->path);

	while (ok && (line = next_line(c)))
		if (*line && strcmp(line, "\r") != 0)
			ok = row(c, line, cells);
	free(cells);
	return ok;
}

bool
rt_open_csv(
    struct rt_array *a, const char *path, const char *columns, int32_t dtype, struct rt_msg *m)
{
	struct csv c = {.path = path, .m = m};
	size_t n;
	bool ok;

	c.text = c.at = rt_read_gz(path, &n, m);
	if (!c.text)
		return false;
	if (strlen(c.text) != n)
		ok = rt_fail(m, RT_INVALID, "%s: is not text", path);
	else
		ok = first_line(&c, columns) && read_rows(&c);
	if (ok) {
		bool whole = true;

		for (int64_t i = 0; i < c.n && whole; i++)
			whole = c.v[i] == floor(c.v[i]) && fits(c.v[i], RT_I64);
		a->dtype = dtype ? dtype : whole ? RT_I64 : RT_F32;
		a->rank = c.nwant > 1 ? 2 : 1;
		a->dims[0] = c.n / c.nwant;
		a->dims[1] = c.nwant;
		ok = convert(&c, a) &&
		     rt_array_sizes(a, (uint64_t)c.n * (uint64_t)rt_dtype_bytes(a->dtype), path, m);
	}
	free(c.want);
	free(c.v);
	free(c.text);
	return ok;
}
