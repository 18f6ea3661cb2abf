/* opt_report -- --opt-report: a line for every layer, with the algorithm that was chosen
 * and how long it should take; and where there was a choice, what the others would. */
#include "driver/driver.h"

#include <string.h>

enum { LONGEST = 48 };

static const char *
layer_name(struct arena *a, const struct layer *l)
{
	bool gradient = l->loc.maker && strcmp(l->loc.maker, "grad") == 0;
	const char *name = l->loc.name && *l->loc.name && gradient ? arena_printf(a, "%s (grad)", l->loc.name) : l->loc.name;
	size_t n = name ? strlen(name) : 0;

	if (n > LONGEST)
		return arena_printf(a, "...%s", name + n - LONGEST + 3);
	if (n)
		return name;
	return l->loc.node >= 0 ? arena_printf(a, "#%d %s", l->loc.node, l->loc.op ? l->loc.op : "") : "-";
}

static void
time_text(struct str *s, const char *format, double ns)
{
	char text[32] = "-";

	if (ns >= 0)
		snprintf(text, sizeof text, "%.1f", ns / 1e3);
	str_addf(s, format, text);
}

static void
row(struct driver *d, struct str *s, const struct layer *l, const int *width, double flops, double measured)
{
	str_addf(s, "%-*s  %-*s %9.4f %11.1f", width[0], layer_name(d->arena, l), width[1], l->algorithm, flops / 1e9, l->weights / 1024);
	time_text(s, " %12s", l->time.predicted);
	time_text(s, " %12s", measured);
	for (int i = 0; i < l->ncandidates; i++) {
		str_addf(s, "%s%s", i ? ", " : "  ", l->candidates[i].name);
		time_text(s, " %s", l->candidates[i].predicted);
		if (l->candidates[i].measured >= 0)
			time_text(s, " (%s)", l->candidates[i].measured);
	}
	str_add(s, "\n");
}

bool
opt_report(struct driver *d, const struct program *p, const double *call_ns)
{
	int n = p->layers.n, width[2] = {5, 16};
	double *flops = arena_array(d->arena, double, n + 1), *measured = arena_array(d->arena, double, n + 1);
	double total_flops = 0, predicted = 0, total = 0;
	struct str s = {0};
	bool ok = true;
	FILE *f = stdout;

	if (!d->o.opt_report)
		return true;
	for (int i = 0; i < n; i++) {
		int length[2] = {(int)strlen(layer_name(d->arena, &p->layers.v[i])), (int)strlen(p->layers.v[i].algorithm)};

		for (int k = 0; k < 2; k++)
			width[k] = length[k] > width[k] ? length[k] : width[k];
		measured[i] = call_ns ? 0 : p->layers.v[i].time.measured;
		predicted += p->layers.v[i].time.predicted;
	}
	for (int i = 0; i < p->calls.n; i++) {
		int layer = p->calls.v[i].layer - 1;

		if (layer < 0)
			continue;
		flops[layer] += p->calls.v[i].kernel->flops;
		total_flops += p->calls.v[i].kernel->flops;
		measured[layer] += call_ns ? call_ns[i] : 0;
		total += call_ns ? call_ns[i] : 0;
	}
	str_addf(&s, "%s: %d layers\n", p->name ? p->name : "program", n);
	str_addf(&s, "%-*s  %-*s %9s %11s %12s %12s  %s\n", width[0], "layer", width[1], "algorithm", "GFLOP", "weights KB", "predicted us",
	    "measured us", "candidates: predicted us (measured)");
	for (int i = 0; i < n; i++)
		row(d, &s, &p->layers.v[i], width, flops[i], measured[i]);
	str_addf(&s, "%-*s  %-*s %9.4f %11s", width[0], "all", width[1], "", total_flops / 1e9, "");
	time_text(&s, " %12s", predicted);
	time_text(&s, " %12s\n", call_ns ? total : -1);
	if (*d->o.opt_report && !(f = fopen(d->o.opt_report, d->reported ? "a" : "w")))
		ok = diag_io(&d->diag, LOC_FILE(d->o.opt_report), "cannot be written");
	d->reported = true;
	if (ok)
		ok = fwrite(s.s, 1, s.n, f) == s.n || diag_io(&d->diag, LOC_FILE(d->o.opt_report), "cannot be written");
	if (f && f != stdout && fclose(f) != 0 && ok)
		ok = diag_io(&d->diag, LOC_FILE(d->o.opt_report), "cannot be written");
	str_free(&s);
	return ok;
}
