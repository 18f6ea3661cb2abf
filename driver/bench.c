/* retort bench M.onnx: time of a run in memory, least and median of many, and where
 * it goes.  Inputs are random. */
#include "driver/driver.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int
by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

struct row { int call; double ms; };

static int
by_cost(const void *a, const void *b)
{
	double x = ((const struct row *)a)->ms, y = ((const struct row *)b)->ms;

	return (x < y) - (x > y);
}

struct timing { int64_t *ns; int n; double min_ms, median_ms, flops; double *call_ns, *least_ns; }; /* of calls: mean and least */

static bool
measure(struct driver *d, struct session *s, struct timing *t)
{
	const struct rt_program *rt = s->rt;
	int64_t limit = d->o.ms * 1000000, start, *ns = arena_array(d->arena, int64_t, rt->ncalls + 1);
	int cap = 20000, runs = 0;

	t->ns = arena_array(d->arena, int64_t, cap);
	t->call_ns = arena_array(d->arena, double, rt->ncalls + 1);
	for (int i = 0; i < 3; i++)
		if (!session_run(d, s))
			return false;
	for (start = now_ns(); t->n < cap && (t->n < 3 || now_ns() - start < limit);) {
		int64_t from = now_ns();

		rt_run(s->pool, rt, s->base, rt->nsyms ? s->sym : NULL);
		t->ns[t->n++] = now_ns() - from;
	}
	t->least_ns = arena_array(d->arena, double, rt->ncalls + 1);
	for (start = now_ns(); runs < 1000 && (runs < 3 || now_ns() - start < limit / 4); runs++) {
		memset(ns, 0, sizeof *ns * (size_t)rt->ncalls);
		rt_run_timed(s->pool, rt, s->base, rt->nsyms ? s->sym : NULL, ns);
		for (int i = 0; i < rt->ncalls; i++) {
			t->call_ns[i] += (double)ns[i];
			if (!runs || (double)ns[i] < t->least_ns[i])
				t->least_ns[i] = (double)ns[i];
		}
	}
	qsort(t->ns, (size_t)t->n, sizeof *t->ns, by_time);
	t->min_ms = (double)t->ns[0] / 1e6;
	t->median_ms = (double)t->ns[t->n / 2] / 1e6;
	for (int i = 0; i < rt->ncalls; i++) {
		t->flops += rt->flops[i];
		t->call_ns[i] /= runs;
	}
	return true;
}

static void
print_json(struct driver *d, const char *path, const struct rt_program *rt, const struct timing *t)
{
	struct str s = {0};

	str_add(&s, "{\"model\":");
	str_json(&s, path);
	str_addf(&s, ",\"threads\":%" PRId64 ",\"runs\":%d,\"min_ms\":%.6g,\"median_ms\":%.6g,\"gflop\":%.6g,\"gflops\":%.6g",
	         d->o.threads, t->n, t->min_ms, t->median_ms, t->flops / 1e9, t->flops / 1e6 / t->min_ms);
	str_addf(&s, ",\"work_bytes\":%" PRId64 ",\"const_bytes\":%" PRId64 ",\"kernels\":[", rt->work_bytes, rt->const_bytes);
	for (int i = 0; i < rt->ncalls; i++) {
		str_add(&s, i ? ",{\"name\":" : "{\"name\":");
		str_json(&s, rt->call_names[i]);
		str_addf(&s, ",\"ms\":%.6g,\"flops\":%.6g}", t->call_ns[i] / 1e6, rt->flops[i]);
	}
	str_add(&s, "]}");
	puts(s.s);
	str_free(&s);
}

static void
print_table(struct driver *d, const struct rt_program *rt, const struct timing *t)
{
	struct row *row = arena_array(d->arena, struct row, rt->ncalls + 1);
	double total = 0;
	int shown = d->o.verbose ? rt->ncalls : 15;

	for (int i = 0; i < rt->ncalls; i++) {
		row[i] = (struct row){i, t->call_ns[i] / 1e6};
		total += t->call_ns[i] / 1e6;
	}
	qsort(row, (size_t)rt->ncalls, sizeof *row, by_cost);
	printf("min %.4g ms, median %.4g ms over %d runs, %" PRId64 " thread%s; %.4g GFLOP, %.4g GFLOP/s at the minimum\n",
	       t->min_ms, t->median_ms, t->n, d->o.threads, d->o.threads == 1 ? "" : "s", t->flops / 1e9,
	       t->flops / 1e6 / t->min_ms);
	printf("%10s %6s %10s  %s\n", "ms", "%", "GFLOP/s", "kernel");
	for (int i = 0; i < rt->ncalls && i < shown; i++)
		printf("%10.4f %6.1f %10.1f  %s\n", row[i].ms, total > 0 ? 100 * row[i].ms / total : 0,
		       row[i].ms > 0 ? rt->flops[row[i].call] / 1e6 / row[i].ms : 0, rt->call_names[row[i].call]);
	if (rt->ncalls > shown)
		printf("  and %d more; -v shows them\n", rt->ncalls - shown);
}

bool
verb_bench(struct driver *d)
{
	const char *path = opts_one(d, "the model");
	struct session s = {0};
	struct timing t = {0};
	struct graph *g;
	bool ok;

	g = path ? model_import(d, path, 0, NULL, NULL) : NULL;
	if (!g)
		return false;
	ok = session_open(d, &s, g, NULL);
	if (ok) {
		session_fill(&s);
		ok = measure(d, &s, &t) && opt_report(d, s.program, t.least_ns);
		if (ok && d->o.json)
			print_json(d, path, s.rt, &t);
		else if (ok)
			print_table(d, s.rt, &t);
	}
	session_close(&s);
	return ok;
}
