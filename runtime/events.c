/* events -- TensorBoard's event file, by hand: records framed as in TFRecord
 * (length, masked CRC32C of it, data, masked CRC32C of it; little endian) around
 *
 *   Event   { 1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary }
 *   Summary { 1: repeated Value }
 *   Value   { 1: string tag, 2: float simple_value, 5: HistogramProto, 8: TensorProto,
 *             9: SummaryMetadata { 1: PluginData { 1: string plugin_name } } }
 *   HistogramProto { doubles 1: min, 2: max, 3: num, 4: sum, 5: sum_squares,
 *             packed doubles 6: bucket_limit, 7: bucket }
 *   TensorProto { 1: DataType (7: string), 2: TensorShapeProto { 2: Dim { 1: int64 size } },
 *             8: bytes string_val }
 *
 * (tensorflow/core/util/event.proto, framework/summary.proto, tensor.proto). */
#include "runtime/events.h"

#include <math.h>
#include <string.h>

/* ---- CRC32C: Castagnoli polynomial, reflected */
uint32_t
rt_crc32c(const void *data, size_t n)
{
	static uint32_t table[256];
	const unsigned char *p = data;
	uint32_t c = ~0u;

	for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
		uint32_t v = i;

		for (int k = 0; k < 8; k++)
			v = v >> 1 ^ (0x82f63b78u & -(v & 1));
		table[i] = v;
	}
	for (; n > 0; n--)
		c = c >> 8 ^ table[(c ^ *p++) & 255];
	return ~c;
}

/* TFRecord rotates and offsets its checksums, since data may hold checksums itself. */
uint32_t
rt_crc32c_masked(const void *data, size_t n)
{
	uint32_t c = rt_crc32c(data, n);

	return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* ---- protobuf.  What does not fit is not written, and n then exceeds cap. */
enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void
raw(struct events *e, const void *p, size_t n)
{
	if (e->n <= e->cap && n <= e->cap - e->n)
		memcpy(e->p + e->n, p, n);
	else
		e->failed = true;
	e->n += n;
}

static void
fixed(struct events *e, uint64_t v, int bytes)
{
	unsigned char b[8];

	for (int i = 0; i < bytes; i++)
		b[i] = (unsigned char)(v >> 8 * i);
	raw(e, b, (size_t)bytes);
}

static void
varint(struct events *e, uint64_t v)
{
	unsigned char b;

	for (; v >= 128; v >>= 7) {
		b = (unsigned char)(v | 128);
		raw(e, &b, 1);
	}
	b = (unsigned char)v;
	raw(e, &b, 1);
}

static void
field(struct events *e, int number, enum wire w)
{
	varint(e, (uint64_t)number << 3 | w);
}

static void
put_double(struct events *e, int number, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, 8);
	field(e, number, FIXED64);
	fixed(e, bits, 8);
}

static void
put_bytes(struct events *e, int number, const void *p, size_t n)
{
	field(e, number, BYTES);
	varint(e, n);
	raw(e, p, n);
}

static void
put_string(struct events *e, int number, const char *s)
{
	put_bytes(e, number, s, strlen(s));
}

static size_t
open(struct events *e, int number)
{
	field(e, number, BYTES);
	return e->n;
}

static void
put_doubles(struct events *e, int number, const double *v, int n)
{
	field(e, number, BYTES);
	varint(e, 8 * (uint64_t)n);
	for (int i = 0; i < n; i++) {
		uint64_t bits;

		memcpy(&bits, &v[i], 8);
		fixed(e, bits, 8);
	}
}

/* Puts the length of what was written since open before it. */
static void
close(struct events *e, size_t at)
{
	size_t n = e->n - at, k = 1;

	for (size_t v = n; v >= 128; v >>= 7)
		k++;
	if (e->failed || k > e->cap - e->n) {
		e->failed = true;
		e->n += k;
		return;
	}
	memmove(e->p + at + k, e->p + at, n);
	e->n = at;
	varint(e, n);
	e->n = at + k + n;
}

/* ---- records */
void
events_begin(struct events *e, double wall, int64_t step)
{
	e->start = e->n;
	fixed(e, 0, 8);
	fixed(e, 0, 4);
	put_double(e, 1, wall);
	if (step >= 0) {
		field(e, 2, VARINT);
		varint(e, (uint64_t)step);
		e->summary = open(e, 5);
	}
}

bool
events_end(struct events *e, bool summary)
{
	unsigned char *p = e->p + e->start;
	size_t n;

	if (summary)
		close(e, e->summary);
	n = e->n - e->start - 12;
	if (!e->failed && e->cap - e->n >= 4) {
		e->n = e->start;
		fixed(e, n, 8);
		fixed(e, rt_crc32c_masked(p, 8), 4);
		e->n += n;
		fixed(e, rt_crc32c_masked(p + 12, n), 4);
		return true;
	}
	e->n = e->start; /* as it was before the record */
	e->failed = false;
	return false;
}

bool
events_version(struct events *e, double wall)
{
	events_begin(e, wall, -1);
	put_string(e, 3, "brain.Event:2");
	return events_end(e, false);
}

void
events_scalar(struct events *e, const char *tag, double value)
{
	size_t at = open(e, 1);
	float f = (float)value;
	uint32_t bits;

	memcpy(&bits, &f, 4);
	put_string(e, 1, tag);
	field(e, 2, FIXED32);
	fixed(e, bits, 4);
	close(e, at);
}

void
events_text(struct events *e, const char *tag, const char *text)
{
	size_t at = open(e, 1), metadata, plugin, tensor, shape, dim;

	put_string(e, 1, tag);
	tensor = open(e, 8);
	field(e, 1, VARINT);
	varint(e, 7);
	shape = open(e, 2);
	dim = open(e, 2);
	field(e, 1, VARINT);
	varint(e, 1);
	close(e, dim);
	close(e, shape);
	put_string(e, 8, text);
	close(e, tensor);
	metadata = open(e, 9);
	plugin = open(e, 1);
	put_string(e, 1, "text");
	close(e, plugin);
	close(e, metadata);
	close(e, at);
}

/* Of the finite values: buckets of equal width from the least to the largest, with their
 * upper limits. */
void
events_histogram(struct events *e, const char *tag, const float *v, int64_t n)
{
	double lo = INFINITY, hi = -INFINITY, sum = 0, squares = 0, all = 0;
	double limit[EVENT_BUCKETS], count[EVENT_BUCKETS] = {0};
	size_t at, histogram;

	for (int64_t i = 0; i < n; i++)
		if (isfinite(v[i])) {
			lo = fmin(lo, v[i]);
			hi = fmax(hi, v[i]);
			sum += v[i];
			squares += (double)v[i] * v[i];
			all++;
		}
	if (all == 0)
		return;
	for (int64_t i = 0; i < n; i++)
		if (isfinite(v[i])) {
			int b = hi > lo ? (int)((v[i] - lo) / (hi - lo) * EVENT_BUCKETS) : 0;

			count[b < EVENT_BUCKETS ? b : EVENT_BUCKETS - 1]++;
		}
	for (int b = 1; b <= EVENT_BUCKETS; b++)
		limit[b - 1] = b == EVENT_BUCKETS ? hi : lo + (hi - lo) * b / EVENT_BUCKETS;
	at = open(e, 1);
	put_string(e, 1, tag);
	histogram = open(e, 5);
	put_double(e, 1, lo);
	put_double(e, 2, hi);
	put_double(e, 3, all);
	put_double(e, 4, sum);
	put_double(e, 5, squares);
	put_doubles(e, 6, limit, EVENT_BUCKETS);
	put_doubles(e, 7, count, EVENT_BUCKETS);
	close(e, histogram);
	close(e, at);
}
