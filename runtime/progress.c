/* progress -- what a user watches: a bar that redraws itself on a terminal; otherwise,
 * and with TERM=dumb or NO_COLOR, lines: one per epoch, and some on the way where
 * epochs are long.  --log has the epochs' lines. */
#include "runtime/trainer.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define LINE_SECONDS 30.0
#define SMOOTH_SECONDS 3.0 /* of the steps per second that are shown */

struct progress {
	bool bar, drawn;
	double last;		/* rt_seconds of the last drawing */
	double started;		/* after the first step; 0: it is still to come */
	int64_t steps, at_last; /* since started; at the last drawing */
	int64_t wait;		/* steps until the clock is looked at again */
	double rate;		/* steps per second; 0: not known yet */
	FILE *log;
};

static bool
draws(void)
{
	const char *term = getenv("TERM"), *plain = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && !(plain && *plain);
}

bool
progress_open(struct run *r)
{
	struct progress *p = region_alloc(&r->region, sizeof *p);

	if (!p)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	p->bar = !r->opt.quiet && draws();
	r->progress = p;
	if (r->opt.log && !(p->log = fopen(r->opt.log, r->opt.resume ? "a" : "w")))
		return rt_fail(&r->msg, RT_IO, "%s: cannot be written", r->opt.log);
	return true;
}

static void
clear(struct progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", stdout);
	p->drawn = false;
}

void
progress_close(struct run *r)
{
	if (!r->progress)
		return;
	clear(r->progress);
	fflush(stdout);
	if (r->progress->log)
		fclose(r->progress->log);
	r->progress = NULL;
}

void
progress_note(struct run *r, const char *fmt, ...)
{
	struct progress *p = r->progress;
	va_list ap;

	clear(p);
	p->last = rt_seconds(); /* an evaluation is not part of the steps' rate */
	p->at_last = p->steps;
	if (!r->opt.quiet) {
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		putchar('\n');
		fflush(stdout);
	}
	if (p->log) {
		va_start(ap, fmt);
		vfprintf(p->log, fmt, ap);
		va_end(ap);
		fputc('\n', p->log);
		fflush(p->log);
	}
}

static void
duration(char *out, size_t n, double s)
{
	long t = s < 0 ? 0 : s > 1e8 ? 100000000 : (long)(s + 0.5);

	if (t >= 3600)
		snprintf(out, n, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
	else
		snprintf(out, n, "%ld:%02ld", t / 60, t % 60);
}

/* Of this stage and those that follow, or up to --steps. */
static int64_t
steps_left(const struct run *r)
{
	const struct stage_config *now = &r->stages[r->cur.stage];
	int64_t n = (now->epochs - r->cur.epoch) * r->batches.per_epoch - r->cur.step, updates;

	for (int64_t i = r->cur.stage + 1; i < r->t->nstages; i++)
		n += r->stages[i].epochs * r->batches.per_epoch;
	updates = r->opt.steps - r->cur.total_updates;
	if (r->opt.steps > 0 && updates < n / now->accumulate)
		n = updates * now->accumulate;
	return n;
}

static int
bar(char *out, size_t n, int64_t step, int64_t of, int width)
{
	int done = (int)(step * width / of), k = 0;

	out[k++] = '[';
	for (int i = 0; i < width && k < (int)n - 3; i++)
		out[k++] = i < done ? '=' : i == done ? '>' : ' ';
	out[k++] = ']';
	out[k++] = ' ';
	out[k] = 0;
	return k;
}

/* What is asked first stands first: a narrow screen cuts the end. */
static void
line(const struct run *r, const struct exec *e, double lr, double now, int width, char *text,
    size_t size)
{
	const struct progress *p = r->progress;
	int64_t step = r->cur.step, of = r->batches.per_epoch;
	double pace = (now - p->started) / (double)p->steps; /* evaluations included */
	double waited = r->data_wait / (run_elapsed(r) - r->cur.epoch_from);
	char epoch[32], whole[32];
	int n;

	duration(epoch, sizeof epoch, p->rate > 0 ? (double)(of - step) / p->rate : 0);
	duration(whole, sizeof whole, pace * (double)steps_left(r));
	n = snprintf(text, size, "epoch %lld/%lld ", (long long)r->cur.epoch + 1,
	    (long long)r->stages[r->cur.stage].epochs);
	if (width > 0)
		n += bar(text + n, size - (size_t)n, step, of, width);
	n += snprintf(text + n, size - (size_t)n, "%3d %%  %lld/%lld  %.*f steps/s",
	    (int)(100 * step / of), (long long)step, (long long)of,
	    p->rate < 10    ? 2
	    : p->rate < 100 ? 1
			    : 0,
	    p->rate);
	for (int k = 0; k < e->nmeters; k++)
		if (strcmp(e->meters[k].name, "loss") == 0)
			n += snprintf(
			    text + n, size - (size_t)n, "  loss %.4g", meter_value(&e->meters[k]));
	n += snprintf(text + n, size - (size_t)n, "  left %s, in all %s", epoch, whole);
	if (waited >= 0.01)
		n += snprintf(
		    text + n, size - (size_t)n, "  %.0f %% waiting for data", 100 * waited);
	for (int k = 0; k < e->nmeters && n < (int)size - 160; k++) {
		const char *name = e->meters[k].name, *dot = strchr(name, '.');

		if (strcmp(name, "loss") != 0)
			n += snprintf(text + n, size - (size_t)n, "  %.60s %.4g",
			    dot ? dot + 1 : name, meter_value(&e->meters[k]));
	}
	snprintf(text + n, size - (size_t)n, "  lr %.3g", lr);
}

static void
measure(struct progress *p, double now)
{
	double dt = now - p->last, rate = (double)(p->steps - p->at_last) / dt;

	p->rate += (p->rate > 0 ? 1 - exp(-dt / SMOOTH_SECONDS) : 1) * (rate - p->rate);
	p->last = now;
	p->at_last = p->steps;
}

static void
draw(struct run *r, const struct exec *e, double lr, double now)
{
	struct winsize w = {0};
	char text[1024];
	int columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 10 ? w.ws_col : 80;

	line(r, e, lr, now, columns < 50 ? 8 : columns < 200 ? columns / 5 : 40, text, sizeof text);
	if (strlen(text) >= (size_t)columns)
		text[columns - 1] = 0;
	printf("\r%s\033[K", text);
	fflush(stdout);
	r->progress->drawn = true;
}

/* After every step.  The clock is looked at some ten times between two drawings. */
void
progress_step(struct run *r, const struct exec *e, double lr)
{
	struct progress *p = r->progress;
	char text[1024];
	double now;

	if (p->started == 0) { /* what came before the first step says nothing of the next ones */
		p->started = p->last = rt_seconds();
		return;
	}
	p->steps++;
	if (--p->wait > 0)
		return;
	now = rt_seconds();
	p->wait = (int64_t)((double)p->steps / (now - p->started + 1e-9) * REDRAW_SECONDS / 10);
	p->wait = p->wait > 10000 ? 10000 : p->wait;
	if (r->opt.quiet || now - p->last < (p->bar ? REDRAW_SECONDS : LINE_SECONDS))
		return;
	measure(p, now);
	if (p->bar) {
		draw(r, e, lr, now);
		return;
	}
	line(r, e, lr, now, 0, text, sizeof text);
	puts(text);
	fflush(stdout);
}
