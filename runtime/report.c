/* report -- report.html: one file without anything from outside, made anew from
 * metrics.jsonl (so that a resumed run reports all of it): curves of every term
 * and metric as inline SVG, tables of settings, sizes, machine and time. */
#include "runtime/trainer.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define MAX_SERIES 256
#define MAX_EPOCHS 1000000

struct series {
	char key[120];
	double *v;
};
struct history {
	int64_t n, cap;
	int nseries;
	struct series s[MAX_SERIES];
};

static double *
value(struct history *h, const char *key, int64_t epoch)
{
	int i;

	for (i = 0; i < h->nseries; i++)
		if (strcmp(h->s[i].key, key) == 0)
			return &h->s[i].v[epoch];
	if (i == MAX_SERIES)
		return NULL;
	double *v = malloc((size_t)h->cap * sizeof *v);

	if (!v)
		return NULL;
	for (int64_t k = 0; k < h->cap; k++)
		v[k] = NAN;
	h->s[h->nseries].v = v;
	snprintf(h->s[h->nseries++].key, sizeof h->s[0].key, "%s", key);
	return &v[epoch];
}

/* A quoted string at *p, unescaped into out; *p behind it. */
static bool
string(const char **p, char *out, size_t n)
{
	size_t k = 0;

	if (**p != '"')
		return false;
	for ((*p)++; **p && **p != '"'; (*p)++) {
		if (**p == '\\' && (*p)[1])
			(*p)++;
		if (k + 1 < n)
			out[k++] = **p;
	}
	out[k] = 0;
	return *(*p)++ == '"';
}

/* One line of our own metrics.jsonl; what cannot be read is skipped. */
static void
parse_line(struct history *h, const char *p, int64_t epoch)
{
	char key[100], full[120], text[100];
	bool terms = false;

	while (*p && *p != '\n') {
		if (*p != '"') {
			if (*p == '}')
				terms = false;
			p++;
			continue;
		}
		if (!string(&p, key, sizeof key))
			return;
		while (*p == ':' || *p == ' ')
			p++;
		if (*p == '{') {
			terms = true;
		} else if (*p == '"') {
			if (!string(&p, text, sizeof text))
				return;
		} else if (strncmp(p, "null", 4) != 0) {
			char *end;
			double x = strtod(p, &end), *v;

			if (end == p)
				return;
			p = end;
			snprintf(full, sizeof full, "%s%s", terms ? "term." : "", key);
			v = value(h, full, epoch);
			if (v)
				*v = x;
		}
	}
}

static bool
load(struct run *r, struct history *h)
{
	char *path = rt_join(r->out, "metrics.jsonl"), *text;
	size_t n;

	text = path ? rt_read_file(path, &n, &r->msg) : NULL;
	free(path);
	if (!text)
		return false;
	for (size_t i = 0; i < n; i++)
		h->cap += text[i] == '\n';
	h->cap = h->cap < 1 ? 1 : h->cap > MAX_EPOCHS ? MAX_EPOCHS : h->cap;
	for (char *p = text; *p && h->n < h->cap;) {
		char *end = strchr(p, '\n');

		parse_line(h, p, h->n++);
		p = end ? end + 1 : p + strlen(p);
	}
	free(text);
	return true;
}

static void
escape(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '<')
			fputs("&lt;", f);
		else if (*s == '>')
			fputs("&gt;", f);
		else if (*s == '&')
			fputs("&amp;", f);
		else if (*s == '"')
			fputs("&quot;", f);
		else
			fputc(*s, f);
	}
}

/* ---- curves */
#define WIDTH 560
#define HEIGHT 260
#define LEFT 64
#define RIGHT 16
#define TOP 16
#define BOTTOM 44

/* 1, 2 or 5 times a power of ten, so that about five fit the range */
static double
tick(double range)
{
	double raw = range / 5, unit = pow(10, floor(log10(raw))), k = raw / unit;

	return (k <= 1.5 ? 1 : k <= 3.5 ? 2 : k <= 7.5 ? 5 : 10) * unit;
}

static void
axes(FILE *f, double lo, double hi, int64_t n)
{
	double step = tick(hi - lo);
	int64_t every = n <= 10 ? 1 : (n + 9) / 10;

	for (double t = ceil(lo / step) * step; t <= hi + step * 1e-9; t += step) {
		double y = TOP + (hi - t) / (hi - lo) * (HEIGHT - TOP - BOTTOM);

		fprintf(f, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>",
		    LEFT, WIDTH - RIGHT, y, y);
		fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n", LEFT - 6,
		    y + 4, fabs(t) < step * 1e-6 ? 0 : t);
	}
	for (int64_t e = 0; e < n; e += every) {
		double x =
		    LEFT + (n > 1 ? (double)e / (double)(n - 1) : 0.5) * (WIDTH - LEFT - RIGHT);

		fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%lld</text>\n", x,
		    HEIGHT - 27, (long long)e + 1);
	}
	fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">epoch</text>\n",
	    LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 9);
}

/* The line, then a point with its value per epoch where they are few. */
static void
curve(FILE *f, const struct series *s, int64_t n, double lo, double hi, const char *class)
{
	int64_t every = n > 2000 ? n / 1000 : 1;
	double across = n > 1 ? (double)(WIDTH - LEFT - RIGHT) / (double)(n - 1) : 0;
	double first = n > 1 ? LEFT : (double)(LEFT + WIDTH - RIGHT) / 2,
	       scale = (HEIGHT - TOP - BOTTOM) / (hi - lo);

	fprintf(f, "<polyline class=\"%s\" points=\"", class);
	for (int64_t e = 0; e < n; e += every)
		if (isfinite(s->v[e]))
			fprintf(f, "%.1f,%.1f ", first + (double)e * across,
			    TOP + (hi - s->v[e]) * scale);
	fputs("\"/>\n", f);
	for (int64_t e = 0; e < n && n <= 100; e++)
		if (isfinite(s->v[e]))
			fprintf(f,
			    "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"><title>epoch "
			    "%lld: %.6g</title></circle>\n",
			    class, first + (double)e * across, TOP + (hi - s->v[e]) * scale,
			    (long long)e + 1, s->v[e]);
}

static const struct series *
find(const struct history *h, const char *key)
{
	for (int i = 0; i < h->nseries; i++)
		if (strcmp(h->s[i].key, key) == 0)
			return &h->s[i];
	return NULL;
}

/* One chart: the same quantity of train, val and test. */
static void
chart(FILE *f, const struct history *h, const char *title, const char *train, const char *val,
    const char *test)
{
	const struct series *s[3] = {find(h, train), find(h, val), find(h, test)};
	const char *class[3] = {"train", "val", "test"};
	double lo = INFINITY, hi = -INFINITY;

	for (int k = 0; k < 3; k++)
		for (int64_t e = 0; s[k] && e < h->n; e++)
			if (isfinite(s[k]->v[e])) {
				lo = fmin(lo, s[k]->v[e]);
				hi = fmax(hi, s[k]->v[e]);
			}
	if (!(lo <= hi))
		return;
	double margin = hi > lo ? (hi - lo) * 0.06 : fabs(hi) > 0 ? fabs(hi) * 0.1 : 1;

	lo -= margin;
	hi += margin;
	fputs("<figure><figcaption><b>", f);
	escape(f, title);
	fputs("</b>", f);
	for (int k = 0; k < 3; k++)
		if (s[k] && strcmp(title, "learning rate") != 0)
			fprintf(f, " <span class=\"%s\">%s</span>", class[k], class[k]);
	fprintf(f, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
	axes(f, lo, hi, h->n);
	for (int k = 0; k < 3; k++)
		if (s[k])
			curve(f, s[k], h->n, lo, hi, class[k]);
	fputs("</svg></figure>\n", f);
}

static void
charts(FILE *f, const struct history *h)
{
	char train[140], val[140], test[140];

	fputs("<section class=\"charts\">\n", f);
	chart(f, h, "loss", "loss", "val.loss", "test.loss");
	for (int i = 0; i < h->nseries; i++) {
		const char *key = h->s[i].key;

		if (strncmp(key, "term.", 5) == 0) {
			snprintf(val, sizeof val, "val.%s", key);
			snprintf(test, sizeof test, "test.%s", key);
			chart(f, h, key + 5, key, val, test);
		}
	}
	for (int i = 0; i < h->nseries; i++) {
		const char *key = h->s[i].key;
		const char *rest = strncmp(key, "train.", 6) == 0  ? key + 6
				   : strncmp(key, "test.", 5) == 0 ? key + 5
								   : NULL;

		if (!rest || strcmp(rest, "loss") == 0 || strncmp(rest, "term.", 5) == 0)
			continue;
		snprintf(train, sizeof train, "train.%s", rest);
		if (key[1] == 'e' && find(h, train))
			continue;
		snprintf(val, sizeof val, "val.%s", rest);
		snprintf(test, sizeof test, "test.%s", rest);
		chart(f, h, rest, train, val, test);
	}
	chart(f, h, "learning rate", "lr", "", "");
	fputs("</section>\n", f);
}

/* ---- tables */
static void row(FILE *f, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void
row(FILE *f, const char *key, const char *fmt, ...)
{
	char text[1200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fputs("<tr><th>", f);
	escape(f, key);
	fputs("</th><td>", f);
	escape(f, text);
	fputs("</td></tr>\n", f);
}

static void
cpu_name(char *out, size_t n)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[512];

	snprintf(out, n, "unknown");
	while (f && fgets(line, sizeof line, f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		colon[strcspn(colon, "\n")] = 0;
		snprintf(out, n, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

static void
tables(FILE *f, const struct run *r, const struct history *h)
{
	struct utsname u;
	char cpu[200];

	fputs("<section class=\"tables\"><div><h2>Last epoch</h2><table>\n", f);
	for (int i = 0; i < h->nseries && h->n > 0; i++)
		if (isfinite(h->s[i].v[h->n - 1]))
			row(f, h->s[i].key, "%.6g", h->s[i].v[h->n - 1]);
	fputs("</table></div>\n<div><h2>Training</h2><table>\n", f);
	for (int i = 0; i < r->cfg.ninfo; i++)
		row(f, r->cfg.info[i].key, "%s", r->cfg.info[i].value);
	for (int i = 0; i < r->t->nstages; i++)
		row(f, "stage", "%s: %lld epochs, lr %g", r->stages[i].name,
		    (long long)r->stages[i].epochs, r->stages[i].lr);
	row(f, "batch", "%lld", (long long)r->cfg.batch);
	row(f, "seed", "%lld", (long long)r->seed);
	for (int s = 0; s < r->data.nsets; s++)
		for (int k = 0; k < NSPLITS; k++)
			if (r->data.sets[s].split[k].n > 0)
				row(f, split_names[k], "%lld samples%s%s",
				    (long long)r->data.sets[s].split[k].n,
				    r->data.nsets > 1 ? " of " : "",
				    r->data.nsets > 1 ? r->cfg.sets[s].name : "");
	row(f, "parameters", "%lld", (long long)parameter_count(r));
	if (r->has_best)
		row(f, "exported", "epoch %lld, the best of %lld", (long long)r->cur.best_epoch,
		    (long long)r->cur.total_epochs);
	fputs("</table></div>\n<div><h2>Machine and time</h2><table>\n", f);
	cpu_name(cpu, sizeof cpu);
	row(f, "processor", "%s", cpu);
	if (uname(&u) == 0)
		row(f, "system", "%s %s %s", u.sysname, u.release, u.machine);
	row(f, "threads", r->trial.alone ? "1 (faster than %d)" : "%d", rt_pool_threads(r->pool));
	row(f, "memory of a step", "%.2f MB work, %.2f MB states", 1e-6 * (double)r->work_bytes,
	    1e-6 * (double)r->states.bytes);
	row(f, "updates", "%lld", (long long)r->cur.total_updates);
	row(f, "time", "%.2f s", r->resumed_seconds + rt_seconds() - r->resumed_at);
	fputs("</table></div></section>\n", f);
}

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n"
    "body{font:15px/1.45 system-ui,sans-serif;color:#1f2933;background:#fff;margin:2rem "
    "auto;max-width:1180px;padding:0 1rem}\n"
    "h1{font-size:1.5rem;margin:0 0 1rem}h2{font-size:1.05rem;margin:1.2rem 0 .4rem}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:1rem}\n"
    ".tables{display:grid;grid-template-columns:repeat(auto-fit,minmax(330px,1fr));gap:0 2rem}\n"
    "figure{margin:0;border:1px solid #e1e7ec;border-radius:6px;padding:.6rem}\n"
    "figcaption span{font-size:.85rem;margin-left:.7rem;border-bottom:3px solid}\n"
    "svg{width:100%;height:auto;display:block}svg "
    "text{font-size:11px;fill:#52606d}.grid{stroke:#e8edf1}\n"
    "polyline{fill:none;stroke-width:1.8}circle{stroke:none}\n"
    "polyline.train{stroke:#2563eb}polyline.val{stroke:#d97706}polyline.test{stroke:#059669}\n"
    "circle.train{fill:#2563eb}circle.val{fill:#d97706}circle.test{fill:#059669}\n"
    "span.train{color:#2563eb}span.val{color:#d97706}span.test{color:#059669}\n"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2rem .5rem .2rem "
    "0;border-bottom:1px solid #eef2f5;"
    "font-weight:normal;vertical-align:top}th{color:#52606d;white-space:nowrap}td{font-variant-"
    "numeric:tabular-nums}\n"
    "pre{background:#f5f7f9;border-radius:6px;padding:.8rem;overflow:auto;font-size:13px}\n</"
    "style>\n";

bool
report_write(struct run *r)
{
	struct history *h = calloc(1, sizeof *h);
	char *text = NULL, *path = rt_join(r->out, "report.html");
	size_t n = 0;
	FILE *f = h && path ? open_memstream(&text, &n) : NULL;
	bool ok = f ? load(r, h) : rt_fail(&r->msg, RT_INTERNAL, "out of memory");

	if (ok) {
		fputs(head, f);
		fputs("<title>", f);
		escape(f, r->cfg.name);
		fputs("</title></head><body>\n<h1>", f);
		escape(f, r->cfg.name);
		fputs("</h1>\n", f);
		charts(f, h);
		tables(f, r, h);
		if (r->cfg.recipe) {
			fputs("<h2>Recipe</h2><pre>", f);
			escape(f, r->cfg.recipe);
			fputs("</pre>\n", f);
		}
		fputs("</body></html>\n", f);
	}
	if (f && fclose(f) != 0)
		ok = rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	if (ok) {
		struct rt_iov iov = {text, n};

		ok = rt_write_file(path, &iov, 1, true, &r->msg);
	}
	for (int i = 0; h && i < h->nseries; i++)
		free(h->s[i].v);
	free(h);
	free(text);
	free(path);
	return ok;
}
