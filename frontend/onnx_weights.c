/* onnx_weights -- TensorProto to tensor, in every encoding the format has: raw
 * bytes, the typed lists, packed sub-byte elements, strings, external files, and
 * sparse tensors made dense.  Sizes are checked before anything is allocated. */
#include "frontend/onnx.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than this in one tensor is a mistake or an attack, not a weight. */
static const int64_t MAX_BYTES = (int64_t)1 << 40;

static bool
shape_of(enum dtype *dtype, int onnx, size_t n_dims, const int64_t *from, struct loc loc,
    struct diag *d, int *rank, int64_t *dims)
{
	int64_t count;
	size_t i;

	*dtype = dtype_from_onnx(onnx);
	if (*dtype == DT_none)
		return diag_invalid(d, loc, "element type %d is not one of ONNX", onnx);
	if (n_dims > MAX_RANK)
		return diag_unsupported(
		    d, loc, "has %zu axes, at most %d are supported", n_dims, MAX_RANK);
	for (i = 0; i < n_dims; i++) {
		if (from[i] < 0)
			return diag_invalid(
			    d, loc, "axis %zu has size %lld", i, (long long)from[i]);
		dims[i] = from[i];
	}
	*rank = (int)n_dims;
	count = dims_count(*rank, dims);
	if (count < 0 || count > MAX_BYTES / 16)
		return diag_invalid(d, loc, "its size overflows");
	return true;
}

bool
onnx_tensor_shape(const Onnx__TensorProto *t, struct loc loc, struct diag *d, enum dtype *dtype,
    int *rank, int64_t *dims)
{
	return shape_of(dtype, t->data_type, t->n_dims, t->dims, loc, d, rank, dims);
}

static struct tensor *
around(struct arena *a, enum dtype dtype, int rank, const int64_t *dims, void *data, size_t bytes)
{
	struct tensor *t = arena_new(a, struct tensor);

	t->dtype = dtype;
	t->rank = rank;
	if (rank)
		memcpy(t->dims, dims, (size_t)rank * sizeof *dims);
	t->data = data;
	t->bytes = bytes;
	return t;
}

/* bytes of the file in memory that will outlive the messages: kept in place where
 * they already lie in the caller's arena */
static void *
kept(const struct onnx_file *f, void *p, size_t bytes)
{
	if (bytes >= ONNX_BIG && !f->text && (uintptr_t)p % 64 == 0)
		return p;
	return arena_dup(f->keep, bytes ? p : "", bytes ? bytes : 1);
}

/* ---- external data */
struct external {
	const char *location;
	int64_t offset, length;
};

static bool
number(const char *s, int64_t *v)
{
	char *end;

	errno = 0;
	*v = strtoll(s, &end, 10);
	return end != s && !*end && !errno && *v >= 0;
}

static bool
external_keys(const Onnx__TensorProto *t, struct loc loc, struct diag *d, struct external *e)
{
	size_t i;

	*e = (struct external){.length = -1};
	for (i = 0; i < t->n_external_data; i++) {
		const char *key = onnx_str(t->external_data[i]->key);
		const char *value = onnx_str(t->external_data[i]->value);

		if (strcmp(key, "location") == 0)
			e->location = value;
		else if (strcmp(key, "offset") == 0 && !number(value, &e->offset))
			return diag_invalid(
			    d, loc, "external data: offset \"%s\" is not a size", value);
		else if (strcmp(key, "length") == 0 && !number(value, &e->length))
			return diag_invalid(
			    d, loc, "external data: length \"%s\" is not a size", value);
	}
	if (!e->location || !*e->location)
		return diag_invalid(d, loc, "external data without a location");
	return true;
}

/* The location stays under the model's directory, by its text and after links are followed. */
static bool
inside(const char *dir, const char *location, char *resolved, const char **why)
{
	char root[PATH_MAX], *joined;
	const char *p;
	size_t n;
	bool ok;

	*why = "leaves the model's directory";
	if (location[0] == '/')
		return false;
	for (p = location; *p;) {
		n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return false;
		p += n + (p[n] == '/');
	}
	joined = xmalloc(strlen(dir) + strlen(location) + 2);
	sprintf(joined, "%s/%s", dir, location);
	ok = realpath(dir, root) && realpath(joined, resolved);
	free(joined);
	if (!ok) {
		*why = errno == ENOENT ? "no such file" : strerror(errno);
		return false;
	}
	n = strlen(root);
	return strcmp(root, "/") == 0 || (strncmp(root, resolved, n) == 0 && resolved[n] == '/');
}

static void *
external_data(const struct onnx_file *f, const Onnx__TensorProto *t, struct loc loc, struct diag *d,
    size_t bytes)
{
	struct external e;
	char path[PATH_MAX];
	const char *why;
	struct stat st;
	char *data;
	size_t got = 0;
	ssize_t n;
	int fd;

	if (!external_keys(t, loc, d, &e))
		return NULL;
	if (!inside(f->dir, e.location, path, &why)) {
		diag_invalid(d, loc, "external data \"%s\": %s", e.location, why);
		return NULL;
	}
	if (e.length >= 0 && (uint64_t)e.length != bytes) {
		diag_invalid(d, loc, "external data \"%s\" gives %lld bytes, its shape needs %zu",
		    e.location, (long long)e.length, bytes);
		return NULL;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		diag_io(d, loc, "external data \"%s\" cannot be opened: %s", e.location,
		    fd < 0 ? strerror(errno) : "not a plain file");
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	if (e.offset > st.st_size || bytes > (uint64_t)(st.st_size - e.offset)) {
		diag_invalid(d, loc,
		    "external data \"%s\" has %lld bytes, %zu at offset %lld are wanted",
		    e.location, (long long)st.st_size, bytes, (long long)e.offset);
		close(fd);
		return NULL;
	}
	data = arena_alloc(f->keep, bytes ? bytes : 1);
	while (got < bytes) {
		n = pread(fd, data + got, bytes - got, e.offset + (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	close(fd);
	if (got < bytes) {
		diag_io(d, loc, "external data \"%s\" cannot be read", e.location);
		return NULL;
	}
	return data;
}

/* ---- the typed lists */
/* Elements per entry of the list that carries this type; which list. */
enum list { LIST_NONE, LIST_F32, LIST_I32, LIST_I64, LIST_F64, LIST_U64 };

static enum list
list_of(enum dtype dtype)
{
	switch (dtype) {
	case DT_f32:
	case DT_c64:
		return LIST_F32;
	case DT_i64:
		return LIST_I64;
	case DT_f64:
	case DT_c128:
		return LIST_F64;
	case DT_u32:
	case DT_u64:
		return LIST_U64;
	case DT_str:
	case DT_none:
		return LIST_NONE;
	default:
		return LIST_I32;
	}
}

/* Narrow types lie one to an entry (sub-byte ones a byte's worth), low bits. */
static void *
from_ints(struct arena *a, const int32_t *v, size_t n, int bits)
{
	size_t i, width = bits < 8 ? 1 : (size_t)bits / 8;
	char *out = arena_alloc(a, n * width + 1);

	for (i = 0; i < n; i++)
		memcpy(out + i * width, &v[i], width); /* little endian, as every target of ours */
	return out;
}

static void *
from_u64(struct arena *a, const uint64_t *v, size_t n, int bits)
{
	size_t i, width = (size_t)bits / 8;
	char *out = arena_alloc(a, n * width + 1);

	for (i = 0; i < n; i++)
		memcpy(out + i * width, &v[i], width);
	return out;
}

static bool
counted(struct loc loc, struct diag *d, size_t given, size_t want, const char *what)
{
	if (given == want)
		return true;
	return diag_invalid(d, loc, "has %zu %s, its shape needs %zu", given, what, want);
}

static void *
typed_data(const struct onnx_file *f, const Onnx__TensorProto *t, enum dtype dtype, int64_t count,
    size_t bytes, struct loc loc, struct diag *d)
{
	int bits = dtype_info[dtype].bits;
	size_t n = (size_t)count, parts = dtype_info[dtype].class == DC_COMPLEX ? 2 * n : n;

	switch (list_of(dtype)) {
	case LIST_F32:
		return counted(loc, d, t->n_float_data, parts, "floats")
			   ? kept(f, t->float_data, bytes)
			   : NULL;
	case LIST_F64:
		return counted(loc, d, t->n_double_data, parts, "doubles")
			   ? kept(f, t->double_data, bytes)
			   : NULL;
	case LIST_I64:
		return counted(loc, d, t->n_int64_data, n, "integers")
			   ? kept(f, t->int64_data, bytes)
			   : NULL;
	case LIST_U64:
		return counted(loc, d, t->n_uint64_data, n, "integers")
			   ? from_u64(f->keep, t->uint64_data, n, bits)
			   : NULL;
	case LIST_I32:
		n = bits < 8 ? bytes : n;
		if (dtype == DT_i32)
			return counted(loc, d, t->n_int32_data, n, "integers")
				   ? kept(f, t->int32_data, bytes)
				   : NULL;
		return counted(loc, d, t->n_int32_data, n, "integers")
			   ? from_ints(f->keep, t->int32_data, n, bits)
			   : NULL;
	default:
		die("strings have no list of numbers");
	}
}

static void *
strings(const struct onnx_file *f, const Onnx__TensorProto *t, int64_t count, struct loc loc,
    struct diag *d)
{
	char **s;
	int64_t i;

	if (!counted(loc, d, t->n_string_data, (size_t)count, "strings"))
		return NULL;
	s = arena_array(f->keep, char *, count + 1);
	for (i = 0; i < count; i++)
		s[i] = arena_strndup(
		    f->keep, (const char *)t->string_data[i].data, t->string_data[i].len);
	return s;
}

struct tensor *
onnx_tensor(const struct onnx_file *f, const Onnx__TensorProto *t, struct loc loc, struct diag *d)
{
	enum dtype dtype;
	int rank;
	int64_t dims[MAX_RANK], count;
	size_t bytes, i;
	void *data;

	if (!onnx_tensor_shape(t, loc, d, &dtype, &rank, dims))
		return NULL;
	if (t->segment) {
		diag_unsupported(d, loc, "is stored in segments");
		return NULL;
	}
	count = dims_count(rank, dims);
	bytes = dtype_bytes(dtype, count);
	if (t->has_data_location &&
	    t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
		if (dtype == DT_str) {
			diag_invalid(d, loc, "strings cannot be external data");
			return NULL;
		}
		data = external_data(f, t, loc, d, bytes);
	} else if (dtype == DT_str) {
		data = strings(f, t, count, loc, d);
	} else if (t->has_raw_data) {
		data = counted(loc, d, t->raw_data.len, bytes, "bytes")
			   ? kept(f, t->raw_data.data, bytes)
			   : NULL;
	} else {
		data = typed_data(f, t, dtype, count, bytes, loc, d);
	}
	if (!data)
		return NULL;
	if (dtype == DT_bool)
		for (i = 0; i < bytes; i++)
			((uint8_t *)data)[i] = ((uint8_t *)data)[i] != 0;
	return around(f->keep, dtype, rank, dims, data, bytes);
}

/* values [n], indices [n] into the flat tensor or [n, rank] coordinates */
struct tensor *
onnx_sparse_tensor(
    const struct onnx_file *f, const Onnx__SparseTensorProto *s, struct loc loc, struct diag *d)
{
	struct tensor *v, *ix, *out;
	enum dtype dtype;
	int rank = 0, k;
	int64_t dims[MAX_RANK], n, i, count;
	const int64_t *at;
	size_t width;

	if (!s->values || !s->indices) {
		diag_invalid(d, loc, "sparse tensor without values or indices");
		return NULL;
	}
	v = onnx_tensor(f, s->values, loc, d);
	ix = v ? onnx_tensor(f, s->indices, loc, d) : NULL;
	if (!ix || !shape_of(&dtype, s->values->data_type, s->n_dims, s->dims, loc, d, &rank, dims))
		return NULL;
	n = tensor_count(v);
	if (dtype == DT_str || dtype_info[dtype].bits < 8 || v->rank != 1 || ix->dtype != DT_i64 ||
	    !((ix->rank == 1 && ix->dims[0] == n) ||
		(ix->rank == 2 && ix->dims[0] == n && ix->dims[1] == rank))) {
		diag_invalid(d, loc, "sparse tensor whose values and indices do not fit together");
		return NULL;
	}
	if (dims_count(rank, dims) > (int64_t)1 << 28) {
		diag_unsupported(d, loc, "sparse tensor too large to be made dense");
		return NULL;
	}
	out = tensor_new(f->keep, dtype, rank, dims);
	count = tensor_count(out);
	width = (size_t)dtype_info[dtype].bits / 8;
	for (i = 0; i < n; i++) {
		int64_t flat = 0;

		at = (const int64_t *)ix->data + (ix->rank == 1 ? i : i * rank);
		if (ix->rank == 1)
			flat = at[0];
		for (k = 0; ix->rank == 2 && k < rank; k++) {
			if (at[k] < 0 || at[k] >= dims[k])
				flat = INT64_MIN / 2;
			else if (flat >= 0)
				flat = flat * dims[k] + at[k];
		}
		if (flat < 0 || flat >= count) {
			diag_invalid(d, loc, "sparse tensor: index %lld of %lld lies outside",
			    (long long)i, (long long)n);
			return NULL;
		}
		memcpy((char *)out->data + (size_t)flat * width,
		    (char *)v->data + (size_t)i * width, width);
	}
	return out;
}
