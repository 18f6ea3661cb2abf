/* npy -- NumPy's array files (format versions 1 to 3), read and written.  Strings are
 * U (code points of four bytes) or S (bytes) of a fixed width, filled up with zeros.
 *
 *   "\x93NUMPY" major minor, header length (2 bytes, 4 from version 2), a Python
 *   dict literal {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, data */
#include "frontend/frontend.h"
#include "host/utf8.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *code;
	enum dtype dtype;
} codes[] = {
    {"f4", DT_f32},
    {"f8", DT_f64},
    {"f2", DT_f16},
    {"i8", DT_i64},
    {"i4", DT_i32},
    {"i2", DT_i16},
    {"i1", DT_i8},
    {"u8", DT_u64},
    {"u4", DT_u32},
    {"u2", DT_u16},
    {"u1", DT_u8},
    {"b1", DT_bool},
    {"c8", DT_c64},
    {"c16", DT_c128},
};

struct header {
	enum dtype dtype;
	bool swapped, fortran, codes; /* codes: strings of code points */
	size_t width;                 /* bytes of an element in the file */
	int rank;
	int64_t dims[MAX_RANK];
};

/* ---- the dict literal */
struct cursor {
	const char *p, *end;
};

static void
blanks(struct cursor *c)
{
	while (c->p < c->end && isspace((unsigned char)*c->p))
		c->p++;
}

static bool
take(struct cursor *c, char ch)
{
	blanks(c);
	if (c->p == c->end || *c->p != ch)
		return false;
	c->p++;
	return true;
}

static bool
quoted(struct cursor *c, char *out, size_t size)
{
	size_t n = 0;
	char q;

	blanks(c);
	if (c->p == c->end || (*c->p != '\'' && *c->p != '"'))
		return false;
	q = *c->p++;
	while (c->p < c->end && *c->p != q) {
		if (n + 1 == size)
			return false;
		out[n++] = *c->p++;
	}
	out[n] = 0;
	return take(c, q);
}

static bool
word(struct cursor *c, const char *w)
{
	size_t n = strlen(w);

	blanks(c);
	if ((size_t)(c->end - c->p) < n || memcmp(c->p, w, n) != 0)
		return false;
	c->p += n;
	return true;
}

static bool
shape(struct cursor *c, struct header *h)
{
	if (!take(c, '('))
		return false;
	while (!take(c, ')')) {
		int64_t v = 0;

		if (c->p == c->end || !isdigit((unsigned char)*c->p) || h->rank == MAX_RANK)
			return false;
		for (; c->p < c->end && isdigit((unsigned char)*c->p); c->p++)
			if (__builtin_mul_overflow(v, 10, &v) ||
			    __builtin_add_overflow(v, *c->p - '0', &v))
				return false;
		if (c->p < c->end && *c->p == 'L')
			c->p++;
		h->dims[h->rank++] = v;
		if (!take(c, ',') && (blanks(c), c->p < c->end && *c->p != ')'))
			return false;
	}
	return true;
}

static bool
descr(struct header *h, const char *d)
{
	size_t i;

	h->swapped = d[0] == '>';
	if (d[0] && strchr("<>=|", d[0]))
		d++;
	if (*d == 'U' || *d == 'S') {
		char *end;
		unsigned long n = strtoul(d + 1, &end, 10);

		if (end == d + 1 || *end || n > 1 << 28)
			return false;
		h->dtype = DT_str;
		h->codes = *d == 'U';
		h->width = h->codes ? 4 * n : n;
		return true;
	}
	for (i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(codes[i].code, d) == 0)
			h->dtype = codes[i].dtype;
	h->width = (size_t)dtype_info[h->dtype].bits / 8;
	return h->dtype != DT_none;
}

static bool
parse(struct cursor *c, struct header *h, const char **what, char *code, size_t size)
{
	char key[32];

	*what = "its header is not a Python dict with descr, fortran_order and shape";
	*h = (struct header){0};
	code[0] = 0;
	if (!take(c, '{'))
		return false;
	while (!take(c, '}')) {
		if (!quoted(c, key, sizeof key) || !take(c, ':'))
			return false;
		if (strcmp(key, "descr") == 0) {
			if (!quoted(c, code, size))
				return false;
		} else if (strcmp(key, "fortran_order") == 0) {
			h->fortran = word(c, "True");
			if (!h->fortran && !word(c, "False"))
				return false;
		} else if (strcmp(key, "shape") != 0 || !shape(c, h)) {
			return false;
		}
		take(c, ',');
	}
	*what = strchr(code, 'O') ? "it holds Python objects; save strings with dtype \"U\" or \"S\""
				  : "its element type is not supported";
	return descr(h, code);
}

/* ---- data */
static void
swap_bytes(unsigned char *p, size_t n, size_t width)
{
	size_t i, k;

	for (i = 0; i < n; i++, p += width)
		for (k = 0; k < width / 2; k++) {
			unsigned char t = p[k];

			p[k] = p[width - 1 - k];
			p[width - 1 - k] = t;
		}
}

/* Column-major to row-major. */
static void
from_fortran(const struct header *h, const char *src, char *dst, int64_t count, size_t width)
{
	int64_t idx[MAX_RANK] = {0}, i, at;
	int k;

	for (i = 0; i < count; i++) {
		for (at = 0, k = h->rank - 1; k >= 0; k--)
			at = at * h->dims[k] + idx[k];
		memcpy(dst + (size_t)i * width, src + (size_t)at * width, width);
		for (k = h->rank - 1; k >= 0 && ++idx[k] == h->dims[k]; k--)
			idx[k] = 0;
	}
}

/* Fixed width to strings of their own. */
static void
to_strings(struct arena *a, const struct header *h, const char *src, struct tensor *t, int64_t count)
{
	char *text = xmalloc(h->width + 1);

	for (int64_t i = 0; i < count; i++, src += h->width) {
		size_t n = 0;

		if (h->codes)
			for (size_t k = 0; k + 4 <= h->width; k += 4) {
				uint32_t c;

				memcpy(&c, src + k, 4);
				c = h->swapped ? __builtin_bswap32(c) : c;
				if (!c)
					break;
				n += (size_t)utf8_put(text + n, c > 0x10FFFF ? 0xFFFD : c);
			}
		else
			memcpy(text, src, n = strnlen(src, h->width));
		((char **)t->data)[i] = arena_strndup(a, text, n);
	}
	free(text);
}

static struct tensor *
decode(struct arena *a, const char *path, const unsigned char *p, size_t size, struct diag *d)
{
	struct loc loc = LOC_FILE(arena_strdup(a, path));
	struct header h;
	struct cursor c;
	struct tensor *t;
	const char *what;
	char code[32];
	size_t start, len, width;
	int64_t count;

	if (size < 10 || memcmp(p, "\x93NUMPY", 6) != 0 || p[6] < 1 || p[6] > 3 ||
	    (p[6] > 1 && size < 12)) {
		diag_invalid(d, loc, "is not a NumPy array (.npy)");
		return NULL;
	}
	len = p[8] | (size_t)p[9] << 8;
	start = 10;
	if (p[6] > 1) {
		len |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
		start = 12;
	}
	if (len > size - start) {
		diag_invalid(d, loc, "is truncated: its header of %zu bytes does not fit", len);
		return NULL;
	}
	c = (struct cursor){(const char *)p + start, (const char *)p + start + len};
	if (!parse(&c, &h, &what, code, sizeof code)) {
		diag_invalid(
		    d, loc, "%s%s%s%s", what, *code ? ": \"" : "", code, *code ? "\"" : "");
		return NULL;
	}
	start += len;
	width = h.width;
	count = dims_count(h.rank, h.dims);
	if (count < 0 || count > INT64_MAX / 64 || (width && (uint64_t)count > (size - start) / width) ||
	    (!width && count > (int64_t)1 << 20)) {
		diag_invalid(d, loc,
		    "is truncated: its shape needs %lld elements of %zu bytes, %zu bytes are there",
		    (long long)count, width, size - start);
		return NULL;
	}
	t = tensor_new(a, h.dtype, h.rank, h.dims);
	if (h.dtype == DT_str && h.fortran && h.rank > 1) {
		char *rows = xmalloc((size_t)count * width + 1);

		from_fortran(&h, (const char *)p + start, rows, count, width);
		to_strings(a, &h, rows, t, count);
		free(rows);
		return t;
	}
	if (h.dtype == DT_str) {
		to_strings(a, &h, (const char *)p + start, t, count);
		return t;
	}
	if (h.fortran && h.rank > 1)
		from_fortran(&h, (const char *)p + start, t->data, count, width);
	else if (t->bytes)
		memcpy(t->data, p + start, t->bytes);
	if (h.swapped && dtype_info[h.dtype].class == DC_COMPLEX)
		swap_bytes(t->data, 2 * (size_t)count, width / 2);
	else if (h.swapped)
		swap_bytes(t->data, (size_t)count, width);
	return t;
}

struct tensor *
npy_read(struct arena *a, const char *path, struct diag *d)
{
	size_t size;
	void *bytes = file_read(d, path, &size);
	struct tensor *t;

	if (!bytes)
		return NULL;
	t = decode(a, path, bytes, size, d);
	free(bytes);
	return t;
}

/* bfloat16 and the 8-bit floats have no NumPy type: written as float32. */
static bool
widen(const struct tensor *t, struct arena *a, const struct tensor **out)
{
	struct tensor *w;
	int64_t i, n = tensor_count(t);

	if (!dtype_is_float(t->dtype))
		return false;
	w = tensor_new(a, DT_f32, t->rank, t->dims);
	for (i = 0; i < n; i++)
		dtype_put_f(DT_f32, w->data, i, dtype_get_f(t->dtype, t->data, i));
	*out = w;
	return true;
}

static const char *
code_of(enum dtype dtype)
{
	size_t i;

	for (i = 0; i < sizeof codes / sizeof *codes; i++)
		if (codes[i].dtype == dtype)
			return codes[i].code;
	return NULL;
}

/* Strings as code points of the longest one's number; *code is what they are. */
static const struct tensor *
from_strings(struct arena *a, const struct tensor *t, const char **code)
{
	struct tensor *u = arena_new(a, struct tensor);
	int64_t n = tensor_count(t), most = 1;
	uint32_t *to;

	for (int64_t i = 0; i < n; i++) {
		const char *s = ((char *const *)t->data)[i];
		int64_t len = 0;

		for (; s && *s; len++)
			utf8_next(&s);
		most = len > most ? len : most;
	}
	*u = *t;
	u->bytes = (size_t)(n * most) * 4;
	u->data = to = arena_alloc(a, u->bytes + 1);
	for (int64_t i = 0; i < n; i++) {
		const char *s = ((char *const *)t->data)[i];

		for (int64_t k = 0; s && *s; k++)
			to[i * most + k] = utf8_next(&s);
	}
	*code = arena_printf(a, "U%lld", (long long)most);
	return u;
}

static void
write_head(FILE *f, const char *code, int rank, const int64_t *dims)
{
	unsigned char head[10] = "\x93NUMPY\x01";
	struct str s = {0};

	str_addf(&s, "{'descr': '%s%s', 'fortran_order': False, 'shape': (",
	    code[1] == '1' && !code[2] ? "|" : "<", code);
	for (int i = 0; i < rank; i++)
		str_addf(&s, "%lld%s", (long long)dims[i], rank == 1 ? "," : i + 1 < rank ? ", " : "");
	str_add(&s, "), }");
	while ((sizeof head + s.n + 1) % 64)
		str_add(&s, " ");
	str_add(&s, "\n");
	head[8] = (unsigned char)(s.n & 255);
	head[9] = (unsigned char)(s.n >> 8);
	fwrite(head, 1, sizeof head, f);
	fwrite(s.s, 1, s.n, f);
	str_free(&s);
}

void
npy_begin(FILE *f, enum dtype dtype, int rank, const int64_t *dims)
{
	require(code_of(dtype));
	write_head(f, code_of(dtype), rank, dims);
}

static bool
write_as(const char *path, const struct tensor *t, const char *code, struct diag *d)
{
	struct outfile f;

	if (!outfile_open(d, &f, path))
		return false;
	write_head(f.f, code, t->rank, t->dims);
	if (t->bytes)
		fwrite(t->data, 1, t->bytes, f.f);
	return outfile_commit(d, &f);
}

bool
npy_write(const char *path, const struct tensor *t, struct diag *d)
{
	const char *code = code_of(t->dtype);
	struct arena *scratch = arena_create();
	const struct tensor *out = t;
	bool ok;

	if (t->dtype == DT_str)
		out = from_strings(scratch, t, &code);
	else if (!code && widen(t, scratch, &out))
		code = "f4";
	ok = code ? write_as(path, out, code, d)
		  : diag_unsupported(d, LOC_FILE(path), "NumPy files have no element type for %s",
			dtype_info[t->dtype].name);
	arena_destroy(scratch);
	return ok;
}
