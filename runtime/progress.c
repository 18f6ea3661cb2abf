/* progress -- what a user watches: a bar that redraws itself on a terminal, one
 * line per epoch otherwise (and in --log). */
#include "runtime/trainer.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1

struct progress {
	bool tty, drawn;
	double last; /* rt_seconds of the last drawing */
	double started;
	int64_t steps; /* since started */
	FILE *log;
};

bool
progress_open(struct run *r)
{
	struct progress *p = region_alloc(&r->region, sizeof *p);

	if (!p)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	p->tty = !r->opt.quiet && isatty(STDOUT_FILENO);
	p->started = rt_seconds();
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

/* After every step; draws at most ten times a second. A narrow screen cuts the
 * line's end, so what is asked first stands first. */
void
progress_step(struct run *r, const struct exec *e, int64_t epochs, int64_t left_steps, double lr)
{
	struct progress *p = r->progress;
	double now;
	char text[1024], left[32];
	struct winsize w = {0};
	int n = 0, width = 12, done;

	p->steps++;
	if (!p->tty)
		return;
	now = rt_seconds();
	if (now - p->last < REDRAW_SECONDS)
		return;
	p->last = now;
	duration(left, sizeof left, (now - p->started) / (double)p->steps * (double)left_steps);
	done = (int)(r->cur.step * width / r->batches.per_epoch);
	n = snprintf(
	    text, sizeof text, "epoch %lld/%lld [", (long long)r->cur.epoch + 1, (long long)epochs);
	for (int i = 0; i < width; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "%s",
		    i < done	? "="
		    : i == done ? ">"
				: " ");
	n += snprintf(text + n, sizeof text - (size_t)n, "] %lld/%lld  %s left",
	    (long long)r->cur.step, (long long)r->batches.per_epoch, left);
	for (int k = 0; k < 2 * e->nmeters && n < (int)sizeof text - 160; k++) {
		const struct meter *m = &e->meters[k % e->nmeters];
		const char *dot = strchr(m->name, '.');

		if ((strcmp(m->name, "loss") == 0) != (k < e->nmeters))
			continue;
		n += snprintf(text + n, sizeof text - (size_t)n, "  %.60s %.4g",
		    dot ? dot + 1 : m->name, meter_value(m));
	}
	snprintf(text + n, sizeof text - (size_t)n, "  lr %.3g", lr);
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 10 && strlen(text) >= w.ws_col)
		text[w.ws_col - 1] = 0;
	clear(p);
	fputs(text, stdout);
	fflush(stdout);
	p->drawn = true;
}
