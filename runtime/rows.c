/* rows -- rows that are made when asked for: kept in memory as far as they fit, and
 * the sources that wrap another array: a changed size, ragged rows filled up. */
#include "runtime/rt_int.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 64

bool
rt_array_row(const struct rt_array *a, int64_t i, unsigned char *to, struct rt_msg *m)
{
	const unsigned char *p = rt_array_held(a, i);

	if (!p)
		return a->source->row(a->source, i, to, m);
	memcpy(to, p, (size_t)a->row_bytes);
	return true;
}

bool
rt_array_hash(const struct rt_array *a, int64_t rows, uint64_t *h, struct rt_msg *m)
{
	int64_t held = rows < a->held ? rows : a->held;
	unsigned char *row;
	bool ok = true;

	if (held > 0)
		*h = rt_hash(*h, a->data, (size_t)(held * a->row_bytes));
	if (held == rows)
		return true;
	row = malloc((size_t)a->row_bytes);
	if (!row)
		return rt_fail(m, RT_INTERNAL, "out of memory");
	for (int64_t i = held; ok && i < rows; i++) {
		ok = a->source->row(a->source, i, row, m);
		*h = rt_hash(*h, row, (size_t)a->row_bytes);
	}
	free(row);
	return ok;
}

/* ---- making all rows.  They are taken in order, so that of several that fail the
 * first is known: everything before it was taken, and is finished. */
struct load {
	const struct rt_array *a;
	unsigned char *to;
	int64_t n, next, failed;
	struct rt_msg msg;
	pthread_mutex_t lock;
};

static void *
make_rows(void *arg)
{
	struct load *l = arg;

	for (;;) {
		struct rt_msg m = {0};

		pthread_mutex_lock(&l->lock);
		int64_t i = l->failed >= 0 ? l->n : l->next++;

		pthread_mutex_unlock(&l->lock);
		if (i >= l->n)
			return NULL;
		if (l->a->source->row(l->a->source, i, l->to + i * l->a->row_bytes, &m))
			continue;
		pthread_mutex_lock(&l->lock);
		if (l->failed < 0 || i < l->failed) {
			l->failed = i;
			l->msg = m;
		}
		pthread_mutex_unlock(&l->lock);
	}
}

bool
rt_array_load(struct rt_array *a, int64_t *bytes, int threads, struct rt_msg *m)
{
	struct load l = {.a = a, .failed = -1, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t thread[MAX_THREADS];
	int started = 0;

	if (!a->source || a->held)
		return true;
	l.n = *bytes / a->row_bytes < a->rows ? *bytes / a->row_bytes : a->rows;
	if (l.n == 0)
		return true;
	l.to = malloc((size_t)(l.n * a->row_bytes));
	if (!l.to)
		return rt_fail(m, RT_INTERNAL, "out of memory for %lld samples of %lld bytes",
		    (long long)l.n, (long long)a->row_bytes);
	while (started + 1 < threads && started < MAX_THREADS &&
	       pthread_create(&thread[started], NULL, make_rows, &l) == 0)
		started++;
	make_rows(&l);
	for (int i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	if (l.failed >= 0) {
		free(l.to);
		return rt_fail(m, l.msg.status, "%s", l.msg.text);
	}
	a->heap = l.to;
	a->data = l.to;
	a->held = l.n;
	*bytes -= l.n * a->row_bytes;
	return true;
}

/* ---- elements by type */
double
rt_element(int32_t dtype, const void *p, int64_t i)
{
#define GET(id, type)                                                                              \
	case id: {                                                                                 \
		type v;                                                                            \
		memcpy(&v, (const char *)p + i * (int64_t)sizeof v, sizeof v);                     \
		return (double)v;                                                                  \
	}
	switch (dtype) {
		GET(RT_F32, float)
		GET(RT_F64, double)
		GET(RT_U8, uint8_t)
		GET(RT_BOOL, uint8_t)
		GET(RT_I8, int8_t)
		GET(RT_U16, uint16_t)
		GET(RT_I16, int16_t)
		GET(RT_U32, uint32_t)
		GET(RT_I32, int32_t)
		GET(RT_U64, uint64_t)
		GET(RT_I64, int64_t)
	default:
		return 0;
	}
#undef GET
}

void
rt_set_element(int32_t dtype, void *p, int64_t i, double x)
{
#define SET(id, type, lo, hi)                                                                      \
	case id: {                                                                                 \
		type v = (type)(x < (double)(lo) ? (lo) : x > (double)(hi) ? (hi) : x);             \
		memcpy((char *)p + i * (int64_t)sizeof v, &v, sizeof v);                           \
		return;                                                                            \
	}
	switch (dtype) {
	case RT_F32: {
		float v = (float)x;
		memcpy((char *)p + i * 4, &v, 4);
		return;
	}
	case RT_F64:
		memcpy((char *)p + i * 8, &x, 8);
		return;
		SET(RT_U8, uint8_t, 0, UINT8_MAX)
		SET(RT_BOOL, uint8_t, 0, 1)
		SET(RT_I8, int8_t, INT8_MIN, INT8_MAX)
		SET(RT_U16, uint16_t, 0, UINT16_MAX)
		SET(RT_I16, int16_t, INT16_MIN, INT16_MAX)
		SET(RT_U32, uint32_t, 0, UINT32_MAX)
		SET(RT_I32, int32_t, INT32_MIN, INT32_MAX)
		SET(RT_U64, uint64_t, 0, UINT32_MAX)
		SET(RT_I64, int64_t, -((int64_t)1 << 53), (int64_t)1 << 53)
	}
#undef SET
}

/* ---- what the wrappers share: the array below */
struct wrap {
	struct rt_source source;
	struct rt_array below;
	struct rt_planes from, to; /* resize */
	bool mask;
	int64_t *start; /* ragged: [rows+1] elements */
	int64_t longest, step;
	double pad;
};

static void
close_wrap(struct rt_source *s)
{
	struct wrap *w = (struct wrap *)s;

	rt_data_close(&w->below);
	free(w->start);
	free(w);
}

static struct wrap *
wrap(struct rt_array *a, bool (*row)(const struct rt_source *, int64_t, unsigned char *, struct rt_msg *),
    struct rt_msg *m)
{
	struct wrap *w = calloc(1, sizeof *w);

	if (!w) {
		rt_fail(m, RT_INTERNAL, "out of memory");
		return NULL;
	}
	w->source = (struct rt_source){row, close_wrap};
	w->below = *a;
	a->heap = a->map = NULL;
	a->data = NULL;
	a->held = 0;
	a->source = &w->source;
	/* the names of the classes stay with the outer array */
	w->below.classes = NULL;
	w->below.nclasses = 0;
	return w;
}

/* ---- sizes */
static bool
resized_row(const struct rt_source *s, int64_t i, unsigned char *to, struct rt_msg *m)
{
	const struct wrap *w = (const struct wrap *)s;
	struct rt_planes from = w->from, into = w->to;
	void *tmp = malloc(rt_resample_room(&from, &into));
	bool ok;

	from.p = malloc((size_t)w->below.row_bytes);
	into.p = to;
	ok = (from.p && tmp) || rt_fail(m, RT_INTERNAL, "out of memory");
	ok = ok && rt_array_row(&w->below, i, from.p, m);
	if (ok)
		rt_resample(&from, (int64_t[]){0, 0, from.h, from.w}, &into, w->mask, tmp);
	free(from.p);
	free(tmp);
	return ok;
}

bool
rt_array_resize(struct rt_array *a, const struct rt_want *want, struct rt_msg *m)
{
	int r = a->rank;
	struct wrap *w;

	if (want->where_possible && ((r != 3 && r != 4) || (!want->mask && !rt_can_blend(a->dtype))))
		return true;
	if (r != 3 && r != 4)
		return rt_fail(m, RT_INVALID,
		    "%s: samples of %d axes cannot be resized; images are [H,W] or [C,H,W]",
		    want->file, r - 1);
	if (!want->mask && !rt_can_blend(a->dtype))
		return rt_fail(m, RT_INVALID,
		    "%s: holds %s, images that are resized are u8 or f32 (masks need `classes`)",
		    want->file, rt_dtype_name(a->dtype));
	if (a->dims[r - 2] == want->size[0] && a->dims[r - 1] == want->size[1])
		return true;
	w = wrap(a, resized_row, m);
	if (!w)
		return false;
	w->mask = want->mask;
	w->from = (struct rt_planes){a->dtype, r == 4 ? a->dims[1] : 1, a->dims[r - 2], a->dims[r - 1], NULL};
	w->to = w->from;
	w->to.h = a->dims[r - 2] = want->size[0];
	w->to.w = a->dims[r - 1] = want->size[1];
	return rt_array_sizes(a, UINT64_MAX, want->file, m);
}

/* ---- ragged rows */
static bool
ragged_row(const struct rt_source *s, int64_t i, unsigned char *to, struct rt_msg *m)
{
	const struct wrap *w = (const struct wrap *)s;
	int64_t n = w->start[i + 1] - w->start[i], k, size = rt_dtype_bytes(w->below.dtype);

	n = n < w->longest ? n : w->longest;
	for (k = 0; k < n; k++)
		if (!rt_array_row(&w->below, w->start[i] + k, to + k * w->step, m))
			return false;
	for (k = n * w->step / size; k < w->longest * w->step / size; k++)
		rt_set_element(w->below.dtype, to, k, w->pad);
	return true;
}

/* a: [elements, ...]; lengths: how many of them each sample has */
bool
rt_array_ragged(struct rt_array *a, const struct rt_want *want, struct rt_msg *m)
{
	struct rt_array lengths;
	int64_t most = 0, *start, n;
	struct wrap *w;

	if (!rt_data_open(&lengths, want->lengths, RT_ROLE_LABELS, 0, m))
		return false;
	n = lengths.rows;
	start = malloc(((size_t)n + 1) * sizeof *start);
	if (!start || lengths.rank != 1 || a->rank >= RT_MAX_RANK) {
		bool memory = !start;

		free(start);
		rt_data_close(&lengths);
		return memory ? rt_fail(m, RT_INTERNAL, "%s: out of memory", want->lengths)
			      : rt_fail(m, RT_INVALID, "%s: lengths are one number for each sample",
				    want->lengths);
	}
	start[0] = 0;
	for (int64_t i = 0; i < n; i++) {
		double x = rt_element(lengths.dtype, lengths.data, i);

		if (!(x >= 1 && x <= 1e9) || x != floor(x)) {
			free(start);
			rt_data_close(&lengths);
			return rt_fail(m, RT_INVALID, "%s: sample %lld has length %g", want->lengths,
			    (long long)i, x);
		}
		start[i + 1] = start[i] + (int64_t)x;
		most = (int64_t)x > most ? (int64_t)x : most;
	}
	rt_data_close(&lengths);
	if (start[n] != a->rows) {
		int64_t sum = start[n];

		free(start);
		return rt_fail(m, RT_INVALID, "%s: the lengths add up to %lld, %s has %lld elements",
		    want->lengths, (long long)sum, want->file, (long long)a->rows);
	}
	w = wrap(a, ragged_row, m);
	if (!w) {
		free(start);
		return false;
	}
	w->start = start;
	w->longest = want->longest ? want->longest : most;
	w->step = a->row_bytes;
	w->pad = want->pad;
	memmove(a->dims + 2, a->dims + 1, sizeof *a->dims * (size_t)(a->rank - 1));
	a->rank++;
	a->dims[0] = n;
	a->dims[1] = w->longest;
	return rt_array_sizes(a, UINT64_MAX, want->file, m);
}
