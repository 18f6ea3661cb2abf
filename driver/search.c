/* search -- search: of a recipe: every point is a run of a trainer that is judged by its
 * val split.  Points that differ in the learning rate or the seed only share a trainer.
 * What is finished stands in search.jsonl, one line a run, and is not run again. */
#include "driver/distill.h"
#include "host/metric.h"
#include "runtime/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct result { int64_t epochs, best_epoch; double value, seconds; }; /* epochs 0: not run; value NAN: diverged */
struct search {
	struct driver *d;
	const struct recipe *r;
	const struct recipe_search *s;
	const char *out, *log;
	const char *monitor;     /* key of metrics.jsonl */
	int mode;                /* 1: more is better */
	int64_t n, *point;       /* the points to run */
	struct result *res;      /* [n] of the longest run so far */
	double spent;            /* seconds, of earlier calls too */
	char hash[65];
};

/* ---- points */
static void
choices(const struct search *x, int64_t point, int *choice)
{
	for (int i = x->s->nkeys - 1; i >= 0; i--) {
		choice[i] = (int)(point % x->s->keys[i].nvalues);
		point /= x->s->keys[i].nvalues;
	}
}

static const char *
text(const struct search *x, int64_t point)
{
	int *choice = arena_array(x->d->arena, int, x->s->nkeys + 1);
	const char *t = "";

	choices(x, point, choice);
	for (int i = 0; i < x->s->nkeys; i++)
		t = arena_printf(x->d->arena, "%s%s%s %s", t, i ? ", " : "", x->s->keys[i].path, x->s->keys[i].text[choice[i]]);
	return t;
}

static uint64_t
mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* All points in order, or `random` different ones of them; at most budget.runs. */
static void
pick(struct search *x)
{
	int64_t total = x->s->npoints, want = x->s->random && x->s->random < total ? x->s->random : total;

	x->point = arena_array(x->d->arena, int64_t, total);
	for (int64_t i = 0; i < total; i++)
		x->point[i] = i;
	for (int64_t i = 0; want < total && i < want; i++) {
		int64_t k = i + (int64_t)(mix((uint64_t)x->s->seed * 0x10001 + (uint64_t)i) % (uint64_t)(total - i)), t = x->point[i];

		x->point[i] = x->point[k];
		x->point[k] = t;
	}
	x->n = x->s->runs && x->s->runs < want ? x->s->runs : want;
	x->res = arena_array(x->d->arena, struct result, x->n);
}

/* ---- what decides */
/* The recipe's monitor, or the first metric that has a better and a worse; the loss without. */
static void
objective(struct search *x)
{
	const struct recipe *r = x->r;
	const char *m = r->early_monitor, *metric;
	int id;

	for (int t = 0; !m && t < r->ntasks; t++)
		for (int i = 0; !m && i < r->tasks[t].nmetrics; i++)
			if (metric_info[r->tasks[t].metrics[i].id].better)
				m = arena_printf(x->d->arena, "val.%s.%s", r->tasks[t].name, r->tasks[t].metrics[i].name);
	x->monitor = m ? m : "val.loss";
	x->mode = -1;
	metric = strchr(x->monitor, '.');
	metric = metric ? strchr(metric + 1, '.') : NULL;
	if (metric && !str_starts(x->monitor, "val.term.")) {
		id = metric_find(metric + 1, (int)strcspn(metric + 1, "."), &(int){0});
		x->mode = id >= 0 ? metric_info[id].better : 1;
	}
}

static bool
better(const struct search *x, double a, double b)
{
	return !isnan(a) && (isnan(b) || (x->mode > 0 ? a > b : a < b));
}

/* ---- search.jsonl */
static const char *
line_of(struct search *x, int64_t point, const struct result *r)
{
	struct arena *a = x->d->arena;
	struct str s = {0};
	int *choice = arena_array(a, int, x->s->nkeys + 1);
	const char *line;

	choices(x, point, choice);
	str_addf(&s, "{\"point\": %" PRId64 ", \"epochs\": %" PRId64 ", \"value\": ", point, r->epochs);
	if (isnan(r->value))
		str_add(&s, "null");
	else
		str_addf(&s, "%.17g", r->value);
	str_addf(&s, ", \"best_epoch\": %" PRId64 ", \"seconds\": %.3f, \"choices\": {", r->best_epoch, r->seconds);
	for (int i = 0; i < x->s->nkeys; i++) {
		str_add(&s, i ? ", " : "");
		str_json(&s, x->s->keys[i].path);
		str_add(&s, ": ");
		str_json(&s, x->s->keys[i].text[choice[i]]);
	}
	str_add(&s, "}}\n");
	line = arena_strdup(a, s.s);
	str_free(&s);
	return line;
}

/* Everything that decides what a run's result is. */
static bool
hash_search(struct search *x)
{
	const struct options *o = &x->d->o;
	struct str s = {0};
	size_t size;
	char *recipe = file_read(&x->d->diag, x->r->path, &size);

	if (!recipe)
		return false;
	str_addn(&s, recipe, size);
	str_addf(&s, "\n%s %" PRId64, o->data ? o->data : "", o->batch);
	for (int i = 0; i < o->pass_on.n; i++) {
		if (strcmp(o->pass_on.v[i], "--threads") == 0 || strcmp(o->pass_on.v[i], "--log") == 0)
			i++;
		else if (strcmp(o->pass_on.v[i], "--resume") != 0)
			str_addf(&s, " %s", o->pass_on.v[i]);
	}
	sha256_hex(s.s, s.n, x->hash);
	str_free(&s);
	free(recipe);
	return true;
}

static const char *
head_of(struct search *x)
{
	return arena_printf(x->d->arena, "{\"search\": \"%.16s\", \"monitor\": \"%s\", \"points\": %" PRId64 "}\n", x->hash, x->monitor, x->n);
}

static const char *
dir_of(struct search *x, int64_t point)
{
	return arena_printf(x->d->arena, "%s/search/p%04" PRId64, x->out, point);
}

/* Files of a run that are of no more use; all: also what says where it is. */
static void
clean(struct search *x, int64_t point, bool all)
{
	static const char *const names[] = {"checkpoints/last.ckpt", "checkpoints/best.ckpt", "student.onnx"};

	for (int i = all ? 0 : 1; i < 3; i++)
		unlink(path_join(x->d->arena, dir_of(x, point), names[i]));
}

/* The lines of a search of the same recipe; a torn last line does not count. */
static bool
read_log(struct search *x)
{
	size_t size = 0;
	char *old = file_exists(x->log) ? file_read(&x->d->diag, x->log, &size) : NULL;
	const char *head = head_of(x);
	struct str s = {0};
	bool ok;

	str_add(&s, head);
	if (old && str_starts(old, head)) {
		for (char *p = old + strlen(head), *end; (end = strchr(p, '\n')); p = end + 1) {
			struct result r = {.value = NAN};
			long long point, epochs, best;
			char value[40];

			if (sscanf(p, "{\"point\": %lld, \"epochs\": %lld, \"value\": %39[^,], \"best_epoch\": %lld, \"seconds\": %lf", &point, &epochs,
			        value, &best, &r.seconds) != 5)
				break;
			if (strcmp(value, "null") != 0)
				r.value = strtod(value, NULL);
			r.epochs = epochs;
			r.best_epoch = best;
			for (int64_t i = 0; i < x->n; i++)
				if (x->point[i] == point && epochs > x->res[i].epochs)
					x->res[i] = r;
			x->spent += r.seconds;
			str_addn(&s, p, (size_t)(end + 1 - p));
		}
	} else {
		for (int64_t i = 0; i < x->s->npoints; i++)
			if (file_exists(dir_of(x, i)))
				clean(x, i, true);
	}
	free(old);
	ok = file_write(&x->d->diag, x->log, s.s, s.n);
	str_free(&s);
	return ok;
}

static bool
append(struct search *x, const char *line)
{
	FILE *f = fopen(x->log, "a");
	bool ok = f && fputs(line, f) >= 0;

	if (f && (fflush(f) != 0 || fsync(fileno(f)) != 0))
		ok = false;
	if (f && fclose(f) != 0)
		ok = false;
	return ok || diag_io(&x->d->diag, LOC_FILE(x->log), "cannot be written");
}

/* ---- trainers */
/* What the trainer is told in place of being compiled anew; NULL: nothing can. */
static const char *
flag_of(const struct search *x, const char *path)
{
	const char *dot = strrchr(path, '.');

	if (x->r->nstages == 1 && str_starts(path, "train.optimizer.") && dot && strcmp(dot, ".lr") == 0)
		return "--lr";
	if (strcmp(path, "seed") == 0 && (!x->r->student.init || strcmp(x->r->student.init, "onnx") == 0))
		return "--seed";
	return NULL;
}

/* The first point with the same trainer. */
static int64_t
group_of(const struct search *x, int64_t point)
{
	int *choice = arena_array(x->d->arena, int, x->s->nkeys + 1);
	int64_t g = 0;

	choices(x, point, choice);
	for (int i = 0; i < x->s->nkeys; i++)
		g = g * x->s->keys[i].nvalues + (flag_of(x, x->s->keys[i].path) ? 0 : choice[i]);
	return g;
}

/* The trainer of the point's group, made by this call of the command or by none. */
static const char *
trainer_of(struct search *x, int64_t point, bool *made)
{
	struct driver *d = x->d;
	int64_t g = group_of(x, point);
	const char *dir = arena_printf(d->arena, "%s/search/t%04" PRId64, x->out, g), *path = path_join(d->arena, dir, "train");
	int *choice = arena_array(d->arena, int, x->s->nkeys + 1);
	struct recipe *r;
	bool quiet = d->diag.quiet, ok;

	if (!strchr(path, '/'))
		path = arena_printf(d->arena, "./%s", path);
	if (made[g])
		return path;
	choices(x, g, choice);
	r = recipe_read_point(d->arena, x->r->path, d->o.data, choice, &d->diag);
	if (!r)
		return NULL;
	d->diag.quiet = true; /* the same notes at every point */
	ok = dir_make(&d->diag, dir) && trainer_make(d, r, dir, path);
	d->diag.quiet = quiet;
	made[g] = ok;
	return ok ? path : NULL;
}

/* ---- one run */
/* The monitor and the number in the last line of metrics.jsonl. */
static bool
last_epoch(struct search *x, const char *dir, struct result *r)
{
	const char *path = path_join(x->d->arena, dir, "metrics.jsonl");
	const char *key = arena_printf(x->d->arena, "\"%s\": ", x->monitor), *at;
	size_t n = 0;
	void *file = file_read(&x->d->diag, path, &n);
	char *text = file ? arena_strndup(x->d->arena, file, n) : NULL, *line;

	free(file);
	if (!text)
		return false;
	while (n && text[n - 1] == '\n')
		text[--n] = 0;
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	at = strstr(line, key);
	if (!at)
		return diag_invalid(&x->d->diag, LOC_FILE(path), "its last line has no %s", x->monitor);
	r->value = strtod(at + strlen(key), NULL);
	at = strstr(line, "\"epoch\": ");
	r->best_epoch = at ? strtoll(at + strlen("\"epoch\": "), NULL, 10) : 0;
	return true;
}

static bool
read_result(struct search *x, const char *dir, struct result *r)
{
	const char *path = path_join(x->d->arena, dir, "checkpoints/last.ckpt"), *wrong;
	struct cursor c;
	size_t size;
	int64_t bytes;
	void *file = file_read(&x->d->diag, path, &size);

	if (!file)
		return false;
	wrong = checkpoint_read(file, size, &c, &bytes);
	free(file);
	if (wrong)
		return diag_invalid(&x->d->diag, LOC_FILE(path), "%s", wrong);
	r->value = c.best;
	r->best_epoch = c.best_epoch;
	return !x->s->last || last_epoch(x, dir, r);
}

/* until: epochs of this run, of which the schedule knows nothing; 0: all */
static bool
run_point(struct search *x, int64_t k, int64_t until, bool *made)
{
	struct driver *d = x->d;
	int64_t point = x->point[k], start = now_ns();
	const char *dir = dir_of(x, point), *trainer = trainer_of(x, point, made);
	int *choice = arena_array(d->arena, int, x->s->nkeys + 1), status;
	struct words w = {0};
	struct result r = {.epochs = until ? until : INT64_MAX, .value = NAN};

	if (!trainer)
		return false;
	choices(x, point, choice);
	for (int i = 0; i < d->o.pass_on.n; i++)
		vec_push(d->arena, &w, d->o.pass_on.v[i]);
	for (int i = 0; i < x->s->nkeys; i++)
		if (flag_of(x, x->s->keys[i].path)) {
			vec_push(d->arena, &w, flag_of(x, x->s->keys[i].path));
			vec_push(d->arena, &w, x->s->keys[i].text[choice[i]]);
		}
	if (x->s->epochs) {
		vec_push(d->arena, &w, "--epochs");
		vec_push(d->arena, &w, arena_printf(d->arena, "%" PRId64, x->s->epochs));
	}
	if (until) {
		vec_push(d->arena, &w, "--until");
		vec_push(d->arena, &w, arena_printf(d->arena, "%" PRId64, until));
	}
	vec_push(d->arena, &w, "--resume");
	vec_push(d->arena, &w, "--no-test");
	vec_push(d->arena, &w, "--quiet");
	vec_push(d->arena, &w, "--cache-dir");
	vec_push(d->arena, &w, arena_printf(d->arena, "%s/cache", x->out));
	if (!dir_make(&d->diag, dir) || !trainer_run(d, trainer, dir, w.n, w.v, &status))
		return false;
	if (status != 0 && status != 5) {
		d->exit_status = status; /* it has said why */
		return false;
	}
	r.seconds = (double)(now_ns() - start) / 1e9;
	if (status == 0 && !read_result(x, dir, &r))
		return false;
	x->spent += r.seconds;
	x->res[k] = r;
	return append(x, line_of(x, point, &r));
}

static void
say(struct search *x, int64_t i, int64_t n, int64_t k, bool known)
{
	const struct result *r = &x->res[k];

	if (x->d->o.quiet)
		return;
	printf("search %" PRId64 "/%" PRId64 "  %s:  ", i + 1, n, text(x, x->point[k]));
	if (isnan(r->value))
		printf("diverged");
	else
		printf("%s %.5g in epoch %" PRId64, x->monitor, r->value, r->best_epoch);
	printf(known ? "  (already run)\n" : "  %.1f s\n", r->seconds);
	fflush(stdout);
}

/* ---- rounds: one, or with halving several, each with the better ones of the last */
static bool
before(const struct search *x, int64_t a, int64_t b)
{
	const struct result *p = &x->res[a], *q = &x->res[b];

	if ((p->epochs > 0) != (q->epochs > 0))
		return p->epochs > 0;
	if (p->epochs != q->epochs)
		return p->epochs > q->epochs; /* of a later round */
	if (better(x, p->value, q->value) || better(x, q->value, p->value))
		return better(x, p->value, q->value);
	return x->point[a] < x->point[b];
}

/* order[0..n): by result, the best first */
static void
rank(const struct search *x, int64_t n, int64_t *order)
{
	for (int64_t i = 1; i < n; i++)
		for (int64_t k = i; k > 0 && before(x, order[k], order[k - 1]); k--) {
			int64_t t = order[k];

			order[k] = order[k - 1];
			order[k - 1] = t;
		}
}

static int64_t
total_epochs(const struct search *x)
{
	int64_t n = 0;

	for (int i = 0; i < x->r->nstages; i++)
		n += x->s->epochs ? x->s->epochs : x->r->stages[i].epochs;
	return n;
}

static bool
rounds(struct search *x, int64_t *order, bool *spent)
{
	int64_t rounds = x->s->eta ? x->s->rounds : 1, alive = x->n, full = total_epochs(x);
	bool *made = arena_array(x->d->arena, bool, x->s->npoints);

	for (int64_t round = 0; round < rounds && !*spent; round++) {
		int64_t until = full;

		for (int64_t k = round + 1; k < rounds; k++)
			until = (until + x->s->eta - 1) / x->s->eta;
		if (x->s->eta && !x->d->o.quiet)
			printf("round %" PRId64 "/%" PRId64 ": %" PRId64 " points, %" PRId64 " epochs\n", round + 1, rounds, alive, until);
		for (int64_t i = 0; i < alive; i++) {
			bool known = x->res[order[i]].epochs >= until;

			*spent = !known && x->s->minutes > 0 && x->spent > 60 * x->s->minutes;
			if (*spent)
				break;
			if (!known && !run_point(x, order[i], until, made))
				return false;
			say(x, i, alive, order[i], known);
		}
		rank(x, alive, order);
		if (round + 1 < rounds)
			alive = (alive + x->s->eta - 1) / x->s->eta;
	}
	rank(x, x->n, order);
	return true;
}

/* ---- what is told */
static void
print_table(struct search *x, const int64_t *order)
{
	printf("\n%4s  %-12s %6s %8s  %s\n", "", x->monitor, "epoch", "seconds", "choices");
	for (int64_t i = 0; i < x->n; i++) {
		const struct result *r = &x->res[order[i]];

		if (!r->epochs)
			continue;
		printf("%3" PRId64 ".  ", i + 1);
		if (isnan(r->value))
			printf("%-*s", (int)(strlen(x->monitor) > 12 ? strlen(x->monitor) : 12), "diverged");
		else
			printf("%-*.6g", (int)(strlen(x->monitor) > 12 ? strlen(x->monitor) : 12), r->value);
		printf(" %6" PRId64 " %8.1f  %s\n", r->best_epoch, r->seconds, text(x, x->point[order[i]]));
	}
}

static void
escape(struct str *s, const char *t)
{
	for (; *t; t++)
		if (*t == '<' || *t == '>' || *t == '&')
			str_addf(s, "&#%d;", *t);
		else
			str_addn(s, t, 1);
}

static bool
write_html(struct search *x, const int64_t *order)
{
	double lo = INFINITY, hi = -INFINITY;
	struct str s = {0};
	const char *path = path_join(x->d->arena, x->out, "search.html");
	bool ok;

	for (int64_t i = 0; i < x->n; i++)
		if (x->res[i].epochs && !isnan(x->res[i].value)) {
			lo = fmin(lo, x->res[i].value);
			hi = fmax(hi, x->res[i].value);
		}
	str_add(&s, "<!doctype html><meta charset=utf-8><title>search ");
	escape(&s, x->r->name);
	str_add(&s, "</title><style>body{font:14px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}"
	            "tr:nth-child(even){background:#f4f4f4}i{display:inline-block;height:.7em;background:#48c}</style><h1>");
	escape(&s, x->r->name);
	str_add(&s, "</h1><table><tr><th><th>");
	escape(&s, x->monitor);
	str_add(&s, "<th><th>epoch<th>of<th>seconds");
	for (int k = 0; k < x->s->nkeys; k++) {
		str_add(&s, "<th>");
		escape(&s, x->s->keys[k].path);
	}
	for (int64_t i = 0; i < x->n; i++) {
		const struct result *r = &x->res[order[i]];
		int *choice = arena_array(x->d->arena, int, x->s->nkeys + 1);

		if (!r->epochs)
			continue;
		str_addf(&s, "<tr><td>%" PRId64, i + 1);
		if (isnan(r->value))
			str_add(&s, "<td>diverged<td>");
		else
			str_addf(&s, "<td>%.6g<td><i style=\"width:%.0fpx\"></i>", r->value, hi > lo ? 20 + 180 * (r->value - lo) / (hi - lo) : 200);
		str_addf(&s, "<td>%" PRId64 "<td>%" PRId64 "<td>%.1f", r->best_epoch, r->epochs, r->seconds);
		choices(x, x->point[order[i]], choice);
		for (int k = 0; k < x->s->nkeys; k++) {
			str_add(&s, "<td>");
			escape(&s, x->s->keys[k].text[choice[k]]);
		}
	}
	str_add(&s, "</table>\n");
	ok = file_write(&x->d->diag, path, s.s, s.n);
	str_free(&s);
	return ok;
}

/* Every point's recipe must be sound before the first is run. */
static bool
check_points(struct search *x)
{
	int *choice = arena_array(x->d->arena, int, x->s->nkeys + 1);
	bool ok = true;

	for (int64_t i = 0; ok && i < x->n && i < 10000; i++) {
		choices(x, x->point[i], choice);
		ok = recipe_read_point(x->d->arena, x->r->path, x->d->o.data, choice, &x->d->diag) != NULL;
		if (!ok)
			diag_note(&x->d->diag, job_loc(&(struct job){.r = (struct recipe *)(uintptr_t)x->r}, x->s->line), "with %s",
			    text(x, x->point[i]));
	}
	return ok;
}

bool
search_run(struct driver *d, const struct recipe *r, const char *out, struct recipe **best)
{
	struct search x = {.d = d, .r = r, .s = r->search, .out = out, .log = path_join(d->arena, out, "search.jsonl")};
	int *choice = arena_array(d->arena, int, x.s->nkeys + 1);
	const char *here = path_absolute(d->arena, ".");
	int64_t *order;
	bool spent = false;

	objective(&x);
	pick(&x);
	if (!check_points(&x) || !hash_search(&x) || !dir_make(&d->diag, path_join(d->arena, out, "search")) || !read_log(&x))
		return false;
	order = arena_array(d->arena, int64_t, x.n);
	for (int64_t i = 0; i < x.n; i++)
		order[i] = i;
	if (!rounds(&x, order, &spent) || !write_html(&x, order))
		return false;
	if (!d->o.quiet) {
		if (spent)
			printf("the budget of %g minutes is spent\n", x.s->minutes);
		print_table(&x, order);
	}
	for (int64_t i = 0; i < x.n; i++)
		clean(&x, x.point[order[i]], false);
	if (!x.res[order[0]].epochs || isnan(x.res[order[0]].value))
		return diag_error(&d->diag, STATUS_INVALID, LOC_FILE(r->path), "no point of the search has a result: %s",
		    spent ? "the budget was spent before" : "all diverged");
	choices(&x, x.point[order[0]], choice);
	if (!recipe_write_point(d->arena, r, choice, path_absolute(d->arena, r->data_root), here, path_join(d->arena, out, "best.yaml"), &d->diag))
		return false;
	if (!d->o.quiet)
		printf("\nbest: %s; %s\n", text(&x, x.point[order[0]]), path_join(d->arena, out, "best.yaml"));
	*best = recipe_read_point(d->arena, r->path, d->o.data, choice, &d->diag);
	return *best != NULL;
}
