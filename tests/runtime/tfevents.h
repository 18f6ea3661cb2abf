/* tfevents -- an event file read by what its format says (TFRecord framing, CRC32C of
 * RFC 3720, protobuf wire format, event.proto and summary.proto), none of it shared with
 * the writer.  Every deviation fails the test. */
#ifndef TFEVENTS_H
#define TFEVENTS_H

#include "tests/unit.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum tf_kind { TF_SCALAR, TF_TEXT, TF_HISTOGRAM };
struct tf_value {
	int64_t step;
	double wall;
	char tag[200];
	enum tf_kind kind;
	double scalar;
	char *text;
	double min, max, num, sum, squares, limit[64], bucket[64];
	int nlimits, nbuckets;
};
struct tf_file {
	int nrecords, n, cap;
	char version[40];
	struct tf_value *v;
};
struct tf_span {
	const unsigned char *p, *end;
};

static uint32_t
tf_crc(const unsigned char *p, size_t n)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < n; i++)
		for (int bit = 0; bit < 8; bit++) {
			uint32_t in = (p[i] >> bit & 1) ^ (crc & 1);

			crc >>= 1;
			if (in)
				crc ^= 0x82f63b78;
		}
	crc = ~crc;
	return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

static uint64_t
tf_little(const unsigned char *p, int n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static uint64_t
tf_varint(struct tf_span *s)
{
	uint64_t v = 0;
	int shift = 0;

	for (;; shift += 7) {
		assert_true(s->p < s->end && shift < 64);
		v |= (uint64_t)(*s->p & 127) << shift;
		if (*s->p++ < 128)
			return v;
	}
}

/* The next field: its number and wire type; bytes for type 2, else the number's bits. */
static bool
tf_field(struct tf_span *s, int *number, int *wire, struct tf_span *bytes, uint64_t *bits)
{
	uint64_t key;
	int n;

	if (s->p == s->end)
		return false;
	key = tf_varint(s);
	*number = (int)(key >> 3);
	*wire = (int)(key & 7);
	assert_true(*number > 0 && (*wire == 0 || *wire == 1 || *wire == 2 || *wire == 5));
	if (*wire == 0) {
		*bits = tf_varint(s);
		return true;
	}
	n = *wire == 1 ? 8 : *wire == 5 ? 4 : 0;
	if (*wire == 2) {
		uint64_t len = tf_varint(s);

		assert_true(len <= (uint64_t)(s->end - s->p));
		*bytes = (struct tf_span){s->p, s->p + len};
		s->p += len;
		return true;
	}
	assert_true(s->end - s->p >= n);
	*bits = tf_little(s->p, n);
	s->p += n;
	return true;
}

static double
tf_double(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, 8);
	return d;
}

static int
tf_doubles(struct tf_span s, double *out)
{
	int n = 0;

	for (; s.p < s.end; s.p += 8) {
		assert_true(s.end - s.p >= 8 && n < 64);
		out[n++] = tf_double(tf_little(s.p, 8));
	}
	return n;
}

static char *
tf_string(struct tf_span s)
{
	char *t = calloc(1, (size_t)(s.end - s.p) + 1);

	memcpy(t, s.p, (size_t)(s.end - s.p));
	return t;
}

static void
tf_histogram(struct tf_span s, struct tf_value *v)
{
	double *number[] = {NULL, &v->min, &v->max, &v->num, &v->sum, &v->squares};
	struct tf_span b;
	uint64_t bits;
	int f, w;

	v->kind = TF_HISTOGRAM;
	while (tf_field(&s, &f, &w, &b, &bits)) {
		assert_true(f <= 7 && (w == (f < 6 ? 1 : 2)));
		if (f < 6)
			*number[f] = tf_double(bits);
		else if (f == 6)
			v->nlimits = tf_doubles(b, v->limit);
		else
			v->nbuckets = tf_doubles(b, v->bucket);
	}
}

/* A string tensor of shape [1]. */
static void
tf_tensor(struct tf_span s, struct tf_value *v)
{
	struct tf_span b, d, e;
	uint64_t bits;
	int f, w, dims = 0;

	v->kind = TF_TEXT;
	while (tf_field(&s, &f, &w, &b, &bits)) {
		if (f == 1)
			assert_true(w == 0 && bits == 7); /* DT_STRING */
		if (f == 2)
			while (tf_field(&b, &f, &w, &d, &bits)) {
				assert_true(f == 2 && w == 2);
				assert_true(tf_field(&d, &f, &w, &e, &bits) && f == 1 && w == 0 &&
					    bits == 1);
				dims++;
				f = 0;
			}
		if (f == 8)
			v->text = tf_string(b);
	}
	assert_true(dims == 1 && v->text);
}

static void
tf_value(struct tf_span s, struct tf_value *v)
{
	struct tf_span b, c, d;
	uint64_t bits;
	int f, w;
	bool text = false, have = false;

	while (tf_field(&s, &f, &w, &b, &bits))
		switch (f) {
		case 1:
			assert_true(w == 2 && b.end - b.p < (long)sizeof v->tag);
			memcpy(v->tag, b.p, (size_t)(b.end - b.p));
			break;
		case 2: {
			uint32_t low = (uint32_t)bits;
			float x;

			assert_int_equal(w, 5);
			memcpy(&x, &low, 4);
			v->scalar = x;
			have = true;
			break;
		}
		case 5:
			assert_int_equal(w, 2);
			tf_histogram(b, v);
			have = true;
			break;
		case 8:
			assert_int_equal(w, 2);
			tf_tensor(b, v);
			have = true;
			break;
		case 9: /* metadata: { plugin data: { name } } */
			assert_true(tf_field(&b, &f, &w, &c, &bits) && f == 1 && w == 2);
			assert_true(tf_field(&c, &f, &w, &d, &bits) && f == 1 && w == 2);
			text = d.end - d.p == 4 && memcmp(d.p, "text", 4) == 0;
			break;
		default:
			fail_msg("Value has no field %d", f);
		}
	assert_true(have && v->tag[0] && text == (v->kind == TF_TEXT));
}

static void
tf_event(struct tf_file *t, struct tf_span s)
{
	struct tf_span b, c, values = {0};
	uint64_t bits;
	int f, w;
	double wall = 0;
	int64_t step = 0;

	while (tf_field(&s, &f, &w, &b, &bits)) {
		assert_true((f == 1 && w == 1) || (f == 2 && w == 0) || (f == 3 && w == 2) ||
			    (f == 5 && w == 2));
		if (f == 1)
			wall = tf_double(bits);
		else if (f == 2)
			step = (int64_t)bits;
		else if (f == 3)
			snprintf(t->version, sizeof t->version, "%.*s", (int)(b.end - b.p),
			    (const char *)b.p);
		else
			values = b;
	}
	assert_true(wall > 1e9);
	while (tf_field(&values, &f, &w, &c, &bits)) {
		assert_true(f == 1 && w == 2);
		if (t->n == t->cap)
			t->v = realloc(t->v, sizeof *t->v * (size_t)(t->cap = 2 * t->cap + 64));
		t->v[t->n] = (struct tf_value){.step = step, .wall = wall};
		tf_value(c, &t->v[t->n++]);
	}
}

static struct tf_file
tf_read(const void *data, size_t n)
{
	struct tf_file t = {0};
	const unsigned char *p = data;

	for (size_t at = 0; at < n; t.nrecords++) {
		uint64_t len;

		assert_true(n - at >= 16);
		len = tf_little(p + at, 8);
		assert_true(len <= n - at - 16);
		assert_int_equal(tf_little(p + at + 8, 4), tf_crc(p + at, 8));
		assert_int_equal(tf_little(p + at + 12 + len, 4), tf_crc(p + at + 12, len));
		tf_event(&t, (struct tf_span){p + at + 12, p + at + 12 + len});
		at += 16 + len;
	}
	assert_string_equal(t.version, "brain.Event:2"); /* of the first record */
	return t;
}

static void
tf_free(struct tf_file *t)
{
	for (int i = 0; i < t->n; i++)
		free(t->v[i].text);
	free(t->v);
}

/* How many values have the tag; *last: the last of them. */
static inline int
tf_count(const struct tf_file *t, const char *tag, const struct tf_value **last)
{
	int n = 0;

	for (int i = 0; i < t->n; i++)
		if (strcmp(t->v[i].tag, tag) == 0) {
			if (last)
				*last = &t->v[i];
			n++;
		}
	return n;
}

#endif
