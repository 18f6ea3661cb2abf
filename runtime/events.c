/* events -- TensorBoard's event file, by hand: records framed as in TFRecord
 * (length, masked CRC32C of it, data, masked CRC32C of it; little endian) around
 * Event messages { 1: double wall_time, 2: int64 step, 3: string file_version,
 * 5: Summary { 1: Value { 1: string tag, 2: float simple_value } } }. */
#include "runtime/trainer.h"

#include <string.h>

/* Castagnoli polynomial, reflected */
uint32_t
rt_crc32c(const void *data, size_t n)
{
	const unsigned char *p = data;
	uint32_t c = ~0u;

	for (; n > 0; n--) {
		c ^= *p++;
		for (int k = 0; k < 8; k++)
			c = c >> 1 ^ (0x82f63b78u & -(c & 1));
	}
	return ~c;
}

/* TFRecord rotates and offsets its checksums, since data may hold checksums itself. */
uint32_t
rt_crc32c_masked(const void *data, size_t n)
{
	uint32_t c = rt_crc32c(data, n);

	return (c >> 15 | c << 17) + 0xa282ead8u;
}

static size_t
put(unsigned char *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (unsigned char)(v >> 8 * i);
	return (size_t)bytes;
}

static size_t
varint(unsigned char *p, uint64_t v)
{
	size_t n = 0;

	for (; v >= 128; v >>= 7)
		p[n++] = (unsigned char)(v | 128);
	p[n++] = (unsigned char)v;
	return n;
}

/* The data is at out+12 already. */
static size_t
frame(unsigned char *out, size_t n)
{
	put(out, n, 8);
	put(out + 8, rt_crc32c_masked(out, 8), 4);
	put(out + 12 + n, rt_crc32c_masked(out + 12, n), 4);
	return n + 16;
}

static size_t
wall_time(unsigned char *p, double wall)
{
	uint64_t bits;

	memcpy(&bits, &wall, 8);
	p[0] = 1 << 3 | 1;
	put(p + 1, bits, 8);
	return 9;
}

size_t
event_version(unsigned char *out, double wall)
{
	static const char text[] = "brain.Event:2";
	unsigned char *p = out + 12;
	size_t n = wall_time(p, wall);

	p[n++] = 3 << 3 | 2;
	p[n++] = sizeof text - 1;
	memcpy(p + n, text, sizeof text - 1);
	return frame(out, n + sizeof text - 1);
}

/* 0: the tag does not fit cap */
size_t
event_scalar(
    unsigned char *out, size_t cap, double wall, int64_t step, const char *tag, float value)
{
	size_t len = strlen(tag), n;
	unsigned char head[16], *p = out + 12;
	size_t taglen = varint(head, len), inner = 1 + taglen + len + 5, vlen = varint(head, inner);
	uint32_t bits;

	if (cap < inner + 100)
		return 0;
	n = wall_time(p, wall);
	p[n++] = 2 << 3 | 0;
	n += varint(p + n, (uint64_t)step);
	p[n++] = 5 << 3 | 2;
	n += varint(p + n, 1 + vlen + inner);
	p[n++] = 1 << 3 | 2;
	n += varint(p + n, inner);
	p[n++] = 1 << 3 | 2;
	n += varint(p + n, len);
	memcpy(p + n, tag, len);
	n += len;
	p[n++] = 2 << 3 | 5;
	memcpy(&bits, &value, 4);
	n += put(p + n, bits, 4);
	return frame(out, n);
}
