/* outputs -- metrics.jsonl and the event file: appended to once per epoch; the
 * checkpoint says how much of them counts, and a resumed run cuts the rest off. */
#include "runtime/trainer.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct outputs {
	int log, events;
};

bool
record_add(struct record *r, const char *key, double value)
{
	if (r->n == r->cap) {
		int cap = r->cap ? 2 * r->cap : 32;
		struct entry *v = realloc(r->v, (size_t)cap * sizeof *v);

		if (!v)
			return false;
		r->v = v;
		r->cap = cap;
	}
	r->v[r->n] = (struct entry){.value = value};
	snprintf(r->v[r->n++].key, sizeof r->v->key, "%s", key);
	return true;
}

bool
record_add_list(struct record *r, const char *key, const double *list, int64_t n, int64_t columns)
{
	double *own = malloc(sizeof *own * (size_t)(n > 0 ? n : 1));

	if (!own || !record_add(r, key, NAN)) {
		free(own);
		return false;
	}
	memcpy(own, list, sizeof *own * (size_t)n);
	r->v[r->n - 1].list = own;
	r->v[r->n - 1].n = n;
	r->v[r->n - 1].columns = columns;
	return true;
}

double
record_get(const struct record *r, const char *key)
{
	for (int i = 0; i < r->n; i++)
		if (strcmp(r->v[i].key, key) == 0)
			return r->v[i].value;
	return NAN;
}

void
record_free(struct record *r)
{
	for (int i = 0; i < r->n; i++)
		free(r->v[i].list);
	free(r->v);
	*r = (struct record){0};
}

/* Opens for appending, cut to the bytes that count; those it has come back. */
static int
open_at(struct run *r, const char *name, int64_t *bytes)
{
	char *path = rt_join(r->out, name);
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 || (st.st_size > *bytes && ftruncate(fd, *bytes) != 0) ||
	    (*bytes = lseek(fd, 0, SEEK_END)) < 0) {
		rt_fail(&r->msg, RT_IO, "%s: cannot be written: %s", path ? path : name,
		    strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	free(path);
	return fd;
}

static bool
append(struct run *r, int fd, const void *data, size_t n, const char *name)
{
	const char *p = data;

	while (n > 0) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return rt_fail(&r->msg, RT_IO, "%s/%s: cannot be written: %s", r->out, name,
			    strerror(errno));
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static double
wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool
outputs_open(struct run *r)
{
	struct outputs *o = region_alloc(&r->region, sizeof *o);
	unsigned char head[128];

	if (!o)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	o->log = o->events = -1;
	r->outputs = o;
	o->log = open_at(r, "metrics.jsonl", &r->cur.log_bytes);
	if (o->log < 0)
		return false;
	o->events = open_at(r, "events.out.tfevents.0.retort", &r->cur.event_bytes);
	if (o->events < 0)
		return false;
	if (r->cur.event_bytes > 0)
		return true;
	size_t n = event_version(head, wall());

	r->cur.event_bytes = (int64_t)n;
	return append(r, o->events, head, n, "events.out.tfevents.0.retort");
}

static void
json_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if ((unsigned char)*s < 32)
			fprintf(f, "\\u%04x", *s);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void
json_number(FILE *f, double v)
{
	if (isfinite(v))
		fprintf(f, "%.9g", v);
	else
		fputs("null", f);
}

static void
json_list(FILE *f, const struct entry *e)
{
	for (int64_t i = 0; i < e->n; i++) {
		fputs(i == 0 ? "[" : ", ", f);
		if (e->columns > 1 && i % e->columns == 0)
			fputc('[', f);
		json_number(f, e->list[i]);
		if (e->columns > 1 && (i + 1) % e->columns == 0)
			fputc(']', f);
	}
	fputc(']', f);
}

static void
json_line(FILE *f, const struct record *x)
{
	bool first = true;

	fprintf(f, "{\"epoch\": %lld, \"stage\": ", (long long)x->epoch);
	json_string(f, x->stage);
	fputs(", \"loss\": ", f);
	json_number(f, record_get(x, "loss"));
	fputs(", \"terms\": {", f);
	for (int i = 0; i < x->n; i++) {
		if (strncmp(x->v[i].key, "term.", 5) != 0)
			continue;
		fputs(first ? "" : ", ", f);
		json_string(f, x->v[i].key + 5);
		fputs(": ", f);
		json_number(f, x->v[i].value);
		first = false;
	}
	fputs("}, \"lr\": ", f);
	json_number(f, x->lr);
	fputs(", \"seconds\": ", f);
	json_number(f, x->seconds);
	for (int i = 0; i < x->n; i++) {
		if (strcmp(x->v[i].key, "loss") == 0 || strncmp(x->v[i].key, "term.", 5) == 0)
			continue;
		fputs(", ", f);
		json_string(f, x->v[i].key);
		fputs(": ", f);
		if (x->v[i].n > 0)
			json_list(f, &x->v[i]);
		else
			json_number(f, x->v[i].value);
	}
	fputs("}\n", f);
}

static bool
events(struct run *r, const struct record *x)
{
	unsigned char buf[512];
	double now = wall();

	for (int i = -1; i < x->n; i++) {
		if (i >= 0 && x->v[i].n > 0)
			continue;
		const char *key = i < 0 ? "lr" : x->v[i].key;
		size_t n = event_scalar(buf, sizeof buf, now, r->cur.total_updates, key,
		    (float)(i < 0 ? x->lr : x->v[i].value));

		if (!append(r, r->outputs->events, buf, n, "events.out.tfevents.0.retort"))
			return false;
		r->cur.event_bytes += (int64_t)n;
	}
	return true;
}

bool
outputs_epoch(struct run *r, const struct record *x)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	bool ok;

	if (!f)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	json_line(f, x);
	if (fclose(f) != 0) {
		free(text);
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	}
	ok = append(r, r->outputs->log, text, n, "metrics.jsonl");
	if (ok)
		r->cur.log_bytes += (int64_t)n;
	free(text);
	return ok && events(r, x);
}

void
outputs_sync(struct run *r)
{
	if (!r->outputs)
		return;
	fdatasync(r->outputs->log);
	fdatasync(r->outputs->events);
}

void
outputs_close(struct run *r)
{
	if (!r->outputs)
		return;
	if (r->outputs->log >= 0)
		close(r->outputs->log);
	if (r->outputs->events >= 0)
		close(r->outputs->events);
	r->outputs = NULL;
}
