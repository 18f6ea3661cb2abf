/* outputs -- metrics.jsonl, the event file and, with --log-every, steps.jsonl; the
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

#define EVENTS "events.out.tfevents.0.retort"
#define EVENT_BYTES ((size_t)1 << 19) /* gathered; half of it is the longest record */
#define LINE_BYTES ((size_t)1 << 16)  /* of steps.jsonl, gathered; a line is less than half of it */
#define STEPS_SHOWN 50		      /* of an epoch, every tenth of a short one */
#define HISTOGRAMS 10		      /* of each weight, over a run */

struct outputs {
	int log, fd;
	struct events events; /* not yet in the file */
	int steps;	      /* -1: not asked for */
	char *lines;	      /* of steps, not yet in the file */
	size_t nlines;
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

static bool
flush(struct run *r)
{
	struct outputs *o = r->outputs;
	struct events *e = &o->events;

	if (e->n > 0 && !append(r, o->fd, e->p, e->n, EVENTS))
		return false;
	r->cur.event_bytes += (int64_t)e->n;
	e->n = 0;
	if (o->nlines > 0 && !append(r, o->steps, o->lines, o->nlines, "steps.jsonl"))
		return false;
	r->cur.step_bytes += (int64_t)o->nlines;
	o->nlines = 0;
	return true;
}

/* As Markdown shows it: a block of code. */
static void
recipe_text(struct events *e, struct run *r)
{
	char *text = region_printf(&r->region, "```yaml\n%s\n```", r->cfg.recipe);

	if (text)
		events_text(e, "recipe/text_summary", text);
}

bool
outputs_open(struct run *r)
{
	struct outputs *o = region_alloc(&r->region, sizeof *o);
	struct events *e = o ? &o->events : NULL;

	if (!o || !(e->p = region_alloc(&r->region, EVENT_BYTES)))
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	e->cap = EVENT_BYTES;
	o->log = o->fd = o->steps = -1;
	r->outputs = o;
	if (r->opt.log_every > 0) {
		o->lines = region_alloc(&r->region, LINE_BYTES);
		if (!o->lines)
			return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
		o->steps = open_at(r, "steps.jsonl", &r->cur.step_bytes);
		if (o->steps < 0)
			return false;
	}
	o->log = open_at(r, "metrics.jsonl", &r->cur.log_bytes);
	if (o->log < 0)
		return false;
	o->fd = open_at(r, EVENTS, &r->cur.event_bytes);
	if (o->fd < 0)
		return false;
	if (r->cur.event_bytes > 0)
		return true;
	events_version(e, wall());
	if (r->cfg.recipe) {
		events_begin(e, wall(), 0);
		recipe_text(e, r);
		events_end(e, true);
	}
	return flush(r);
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

/* TensorBoard groups by what stands before a slash: val.cls.f1 is val/cls.f1, loss
 * train/loss. */
static void
scalar(struct events *e, const char *group, const char *key, double value)
{
	char tag[200];
	const char *dot = strchr(key, '.');

	if (group)
		snprintf(tag, sizeof tag, "%s/%s", group, key);
	else if (dot && strncmp(key, "term.", 5) != 0)
		snprintf(tag, sizeof tag, "%.*s/%s", (int)(dot - key), key, dot + 1);
	else
		snprintf(tag, sizeof tag, "train/%s", key);
	if (isfinite(value))
		events_scalar(e, tag, value);
}

static bool
begin(struct run *r)
{
	struct events *e = &r->outputs->events;

	if (e->n > EVENT_BYTES / 2 && !flush(r))
		return false;
	events_begin(e, wall(), r->cur.total_updates);
	return true;
}

/* Of each weight, at some ends of epochs. */
static bool
histograms(struct run *r)
{
	int64_t epochs = 0, now = r->cur.total_epochs + 1;

	for (int i = 0; i < r->t->nstages; i++)
		epochs += r->stages[i].epochs;
	if (now % (epochs > HISTOGRAMS ? epochs / HISTOGRAMS : 1) != 0 && now != epochs)
		return true;
	for (int i = 0; i < r->states.n; i++) {
		const struct state *s = &r->states.v[i];
		char tag[200];

		if (s->slot || s->dtype != RT_F32 || s->bytes < 4)
			continue;
		if (!begin(r))
			return false;
		snprintf(tag, sizeof tag, "weights/%s", s->name);
		events_histogram(&r->outputs->events, tag, (const float *)(r->states.data + s->at),
		    s->bytes / 4);
		events_end(&r->outputs->events, true);
	}
	return true;
}

static bool
epoch_events(struct run *r, const struct record *x)
{
	struct events *e = &r->outputs->events;

	if (!begin(r))
		return false;
	for (int i = 0; i < x->n; i++)
		if (x->v[i].n == 0)
			scalar(e, NULL, x->v[i].key, x->v[i].value);
	scalar(e, "train", "lr", x->lr);
	scalar(e, "train", "seconds", x->seconds);
	events_end(e, true);
	return histograms(r);
}

/* {"update": 1, "lr": 0.01, "loss": 2.3, "term.hard": 2.3}; names are the compiler's */
static bool
step_line(struct run *r, const struct exec *x, double lr)
{
	struct outputs *o = r->outputs;
	char *to = o->lines + o->nlines;
	size_t room = LINE_BYTES - o->nlines;
	int n = snprintf(to, room, "{\"update\": %lld, \"lr\": %.9g", (long long)r->cur.total_updates, lr);

	for (int i = 0; i < x->nmeters && (size_t)n < room; i++)
		if (x->meters[i].num >= 0 && x->meters[i].den < 0) {
			double v = exec_output(x, x->meters[i].num);

			n += snprintf(to + n, room - (size_t)n, ", \"%s\": ", x->meters[i].name);
			if ((size_t)n < room)
				n += isfinite(v) ? snprintf(to + n, room - (size_t)n, "%.9g", v)
						 : snprintf(to + n, room - (size_t)n, "null");
		}
	if ((size_t)n + 2 >= room) {
		if (o->nlines == 0)
			return true; /* longer than the buffer: not logged */
		return flush(r) && step_line(r, x, lr);
	}
	to[n++] = '}';
	to[n++] = '\n';
	o->nlines += (size_t)n;
	return true;
}

bool
outputs_step(struct run *r, const struct exec *x, double lr)
{
	struct events *e = &r->outputs->events;
	int64_t every = r->batches.per_epoch / STEPS_SHOWN;

	if (r->outputs->steps >= 0 && r->cur.total_updates % r->opt.log_every == 0 && !step_line(r, x, lr))
		return false;
	if (r->cur.total_updates % (every > 10 ? every : 10) != 0)
		return true;
	if (!begin(r))
		return false;
	for (int i = 0; i < x->nmeters; i++)
		if (x->meters[i].num >= 0 && x->meters[i].den < 0)
			scalar(e, "step", x->meters[i].name, exec_output(x, x->meters[i].num));
	scalar(e, "step", "lr", lr);
	events_end(e, true);
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
	return ok && epoch_events(r, x);
}

bool
outputs_sync(struct run *r)
{
	if (!r->outputs)
		return true;
	if (!flush(r))
		return false;
	fdatasync(r->outputs->log);
	fdatasync(r->outputs->fd);
	if (r->outputs->steps >= 0)
		fdatasync(r->outputs->steps);
	return true;
}

void
outputs_close(struct run *r)
{
	struct outputs *o = r->outputs;

	if (!o)
		return;
	if (o->fd >= 0)
		flush(r);
	if (o->log >= 0)
		close(o->log);
	if (o->fd >= 0)
		close(o->fd);
	if (o->steps >= 0)
		close(o->steps);
	r->outputs = NULL;
}
