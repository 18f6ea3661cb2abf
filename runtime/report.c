/* report -- report.html: one file without anything from outside, made anew from
 * metrics.jsonl (so that a resumed run reports all of it): what the exported weights
 * reach, curves of every term and metric as inline SVG, what the student says, tables of
 * settings, sizes, machine and time. */
#include "runtime/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#define MAX_SERIES 256
#define MAX_EPOCHS 1000000
#define IDLE_SHARE 1e-4 /* of the gradient: a term with less in every epoch is told */

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

/* Behind the array at p: curves are of numbers. */
static const char *
behind(const char *p)
{
	int depth = 0;

	for (; *p && *p != '\n'; p++) {
		depth += (*p == '[') - (*p == ']');
		if (depth == 0)
			return p + 1;
	}
	return p;
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
		if (*p == '[') {
			p = behind(p);
		} else if (*p == '{') {
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

void
html(FILE *f, const char *s)
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
#define COLORS 8 /* classes s0... of the style sheet */

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
	html(f, title);
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

/* What is behind train., val. or test., or NULL. */
static const char *
of_split(const char *key)
{
	for (int k = 0; k < NSPLITS; k++) {
		size_t n = strlen(split_names[k]);

		if (strncmp(key, split_names[k], n) == 0 && key[n] == '.')
			return key + n + 1;
	}
	return NULL;
}

static bool
drawn_before(const struct history *h, int i, const char *rest)
{
	for (int k = 0; k < i; k++) {
		const char *other = of_split(h->s[k].key);

		if (other && strcmp(other, rest) == 0)
			return true;
	}
	return false;
}

/* One chart of all series whose key starts so: of terms, of tasks. */
static void
family(FILE *f, const struct history *h, const char *title, const char *prefix)
{
	double lo = 0, hi = -INFINITY;
	char class[12];
	int n = 0;

	for (int i = 0; i < h->nseries; i++)
		for (int64_t e = 0; strncmp(h->s[i].key, prefix, strlen(prefix)) == 0 && e < h->n; e++)
			if (isfinite(h->s[i].v[e])) {
				lo = fmin(lo, h->s[i].v[e]);
				hi = fmax(hi, h->s[i].v[e]);
			}
	if (!(hi > lo))
		return;
	hi += (hi - lo) * 0.06;
	fprintf(f, "<figure><figcaption><b>%s</b>", title);
	for (int i = 0; i < h->nseries; i++)
		if (strncmp(h->s[i].key, prefix, strlen(prefix)) == 0) {
			fprintf(f, " <span class=\"s%d\">", n++ % COLORS);
			html(f, h->s[i].key + strlen(prefix));
			fputs("</span>", f);
		}
	fprintf(f, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\">\n", WIDTH, HEIGHT);
	axes(f, lo, hi, h->n);
	n = 0;
	for (int i = 0; i < h->nseries; i++)
		if (strncmp(h->s[i].key, prefix, strlen(prefix)) == 0) {
			snprintf(class, sizeof class, "s%d", n++ % COLORS);
			curve(f, &h->s[i], h->n, lo, hi, class);
		}
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
		const char *rest = of_split(h->s[i].key);

		if (!rest || strcmp(rest, "loss") == 0 || strncmp(rest, "term.", 5) == 0 ||
		    drawn_before(h, i, rest))
			continue;
		snprintf(train, sizeof train, "train.%s", rest);
		snprintf(val, sizeof val, "val.%s", rest);
		snprintf(test, sizeof test, "test.%s", rest);
		chart(f, h, rest, train, val, test);
	}
	family(f, h, "share of each term in the gradient", "grad_share.");
	family(f, h, "weights of the tasks", "task_weight.");
	family(f, h, "what each task's gradient counts for", "task_factor.");
	family(f, h, "tasks that pull against each other", "task_conflict");
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
	html(f, key);
	fputs("</th><td>", f);
	html(f, text);
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
	struct memory_plan plan;
	struct rusage usage;
	struct utsname u;
	char cpu[200];

	fputs("<section class=\"tables\"><div class=\"card\"><h2>Last epoch</h2><table>\n", f);
	for (int i = 0; i < h->nseries && h->n > 0; i++)
		if (isfinite(h->s[i].v[h->n - 1]))
			row(f, h->s[i].key, "%.6g", h->s[i].v[h->n - 1]);
	fputs("</table></div>\n<div class=\"card\"><h2>Training</h2><table>\n", f);
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
	fputs("</table></div>\n<div class=\"card\"><h2>Machine, memory, time</h2><table>\n", f);
	cpu_name(cpu, sizeof cpu);
	row(f, "processor", "%s", cpu);
	if (uname(&u) == 0)
		row(f, "system", "%s %s %s", u.sysname, u.release, u.machine);
	row(f, "threads", r->trial.alone ? "1 (faster than %d)" : "%d", rt_pool_threads(r->pool));
	memory_plan(r, &plan);
	row(f, "memory of a step", "%.2f MB", 1e-6 * (double)plan.bytes);
	for (int i = 0; i < plan.n; i++) {
		char what[80];

		snprintf(what, sizeof what, "  %s", plan.row[i].what);
		row(f, what, "%.2f MB", 1e-6 * (double)plan.row[i].bytes);
	}
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		row(f, "resident at most", "%.2f MB", 1024e-6 * (double)usage.ru_maxrss);
	row(f, "updates", "%lld", (long long)r->cur.total_updates);
	row(f, "time", "%.2f s", run_elapsed(r));
	if (h->n > 0)
		row(f, "an epoch", "%.3g s with its evaluations", run_elapsed(r) / (double)h->n);
	row(f, "samples a second", "%.4g",
	    (double)(r->cur.total_updates * r->cfg.batch) / run_elapsed(r));
	fputs("</table></div></section>\n", f);
}

/* ---- what the exported weights reach: the last numbers of the test data, or of val */
static void
tiles(FILE *f, const struct history *h)
{
	const char *split = "val.";

	for (int i = 0; i < h->nseries; i++)
		if (strncmp(h->s[i].key, "test.", 5) == 0)
			split = "test.";
	fputs("<section class=\"tiles\">\n", f);
	for (int i = 0; i < h->nseries && h->n > 0; i++) {
		const char *key = h->s[i].key, *rest = key + strlen(split);
		double v = h->s[i].v[h->n - 1];

		if (strncmp(key, split, strlen(split)) != 0 || strncmp(rest, "term.", 5) == 0 ||
		    !isfinite(v))
			continue;
		fprintf(f, "<div class=\"tile\"><b>%.4g</b><span>", v);
		html(f, key);
		fputs("</span></div>\n", f);
	}
	fputs("</section>\n", f);
}

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n"
    ":root{color-scheme:light "
    "dark;--ink:#1f2933;--soft:#52606d;--line:#e1e7ec;--page:#f6f8fa;--card:#fff;"
    "--train:#2563eb;--val:#d97706;--test:#059669;--bad:#dc2626}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa7b4;--line:#2d3640;--page:#"
    "0e1318;"
    "--card:#171d24;--train:#6ea8fe;--val:#f0a94a;--test:#3ccf91;--bad:#f87171}}\n"
    "*{box-sizing:border-box}body{font:15px/1.45 "
    "system-ui,sans-serif;color:var(--ink);background:var(--page);"
    "margin:1.5rem auto;max-width:1200px;padding:0 1rem}\n"
    "h1{font-size:1.6rem;margin:0 0 1rem}h2{font-size:1.1rem;margin:0 0 "
    ".5rem}h3{font-size:.95rem;margin:1.1rem 0 .4rem}"
    "h2 small,.note{color:var(--soft);font-weight:normal;font-size:.85rem}.note{margin:0 0 .6rem}\n"
    ".card,.charts figure,.tile{background:var(--card);border:1px solid "
    "var(--line);border-radius:8px;padding:.8rem}"
    "section{margin:0 0 1rem;min-width:0}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,155px),1fr));gap:.6rem}"
    ".tile b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}.tile "
    "span{color:var(--soft);"
    "font-size:.8rem;overflow-wrap:anywhere}\n"
    ".charts,.tables{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,360px),1fr)"
    ");gap:1rem}"
    "figure{margin:0}.tables>div{min-width:0}\n"
    ".charts figcaption span{font-size:.85rem;margin-left:.7rem;border-bottom:3px solid}\n"
    "svg{width:100%;height:auto;display:block}svg "
    "text{font-size:11px;fill:var(--soft)}.grid{stroke:var(--line)}\n"
    "polyline{fill:none;stroke-width:1.8}circle{stroke:none}\n"
    "polyline.train{stroke:var(--train)}polyline.val{stroke:var(--val)}polyline.test{stroke:var(--"
    "test)}"
    "circle.train{fill:var(--train)}circle.val{fill:var(--val)}circle.test{fill:var(--test)}"
    ".s0{--s:#2563eb}.s1{--s:#d97706}.s2{--s:#059669}.s3{--s:#dc2626}.s4{--s:#9333ea}.s5{--s:#0891b2}"
    ".s6{--s:#be185d}.s7{--s:#65a30d}span[class^=s]{color:var(--s)}polyline[class^=s]{stroke:var(--s)}"
    "circle[class^=s]{fill:var(--s)}\n"
    "span.train{color:var(--train)}span.val{color:var(--val)}span.test{color:var(--test)}\n"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2rem .5rem .2rem 0;"
    "border-bottom:1px solid "
    "var(--line);font-weight:normal;vertical-align:top}th{color:var(--soft)}"
    "td{font-variant-numeric:tabular-nums;overflow-wrap:anywhere}.tables th{white-space:pre}\n"
    ".wide{overflow-x:auto}.scroll{max-height:30rem;overflow-y:auto}"
    ".confusion,.classes{width:auto}.confusion th,.confusion td{text-align:right;padding:.25rem "
    ".45rem;"
    "min-width:2.4rem;border:1px solid var(--line)}.confusion "
    "tr>th:first-child{position:sticky;left:0;"
    "background:var(--card)}.confusion .corner{font-size:.75rem;text-align:left}"
    ".classes th,.classes td{padding-right:1.2rem;white-space:nowrap}\n"
    ".bar{display:inline-block;width:5rem;height:.55rem;margin-right:.5rem;border-radius:3px;"
    "background:linear-gradient(90deg,var(--train) var(--v),var(--line) var(--v))}\n"
    ".samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(124px,1fr));gap:.7rem}"
    ".sample{border:1px solid var(--line);border-left:4px solid "
    "var(--test);border-radius:6px;padding:.4rem}"
    ".sample.wrong{border-left-color:var(--bad)}.sample "
    "img{width:100%;height:auto;aspect-ratio:1;object-fit:contain;"
    "image-rendering:pixelated;background:#0002;border-radius:4px}"
    ".sample figcaption{font-size:.85rem;overflow-wrap:anywhere}.sample span{display:block}"
    ".sample .answer{color:var(--test)}.wrong "
    ".answer,.off{color:var(--bad)}.taught{color:var(--soft);font-size:.8rem}\n"
    "pre{overflow:auto;font-size:13px;margin:0}\n</style>\n";

/* A term that has next to no part in any epoch's gradient. */
static void
tell_idle_terms(struct run *r, const struct history *h)
{
	for (int i = 0; i < h->nseries; i++) {
		double most = -INFINITY;

		for (int64_t e = 0; e < h->n; e++)
			if (h->s[i].v[e] > most)
				most = h->s[i].v[e];
		if (strncmp(h->s[i].key, "grad_share.", 11) == 0 && most >= 0 && most < IDLE_SHARE)
			progress_note(r, "term %s never mattered: at most %.2g of the gradient in any epoch",
			    h->s[i].key + 11, most);
	}
}

bool
report_write(struct run *r)
{
	struct history *h = calloc(1, sizeof *h);
	char *text = NULL, *path = rt_join(r->out, "report.html");
	size_t n = 0;
	FILE *f = h && path ? open_memstream(&text, &n) : NULL;
	bool ok = f ? load(r, h) : rt_fail(&r->msg, RT_INTERNAL, "out of memory");

	if (ok) {
		tell_idle_terms(r, h);
		fputs(head, f);
		fputs("<title>", f);
		html(f, r->cfg.name);
		fputs("</title></head><body>\n<h1>", f);
		html(f, r->cfg.name);
		fputs("</h1>\n", f);
		tiles(f, h);
		charts(f, h);
		report_answers(f, r);
		tables(f, r, h);
		if (r->cfg.recipe) {
			fputs("<section class=\"card\"><h2>Recipe</h2><pre>", f);
			html(f, r->cfg.recipe);
			fputs("</pre></section>\n", f);
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
