/* options -- the trainer's command line */
#include "runtime/trainer.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, INT, REAL, TEXT };
struct option {
	const char *name;
	enum kind kind;
	size_t at;
	int64_t least;
	const char *arg, *help;
};
#define AT(field) offsetof(struct options, field)

static const struct option table[] = {
    {"--data", TEXT, AT(data), 0, "DIR", "where the data files are, instead of the recipe's root"},
    {"--out", TEXT, AT(out), 0, "DIR",
	"where student.onnx, metrics.jsonl, events, report.html go (.)"},
    {"--epochs", INT, AT(epochs), 1, "N", "epochs of every stage"},
    {"--until", INT, AT(until), 1, "N", "stop after N epochs; schedules stay those of the full run"},
    {"--steps", INT, AT(steps), 1, "N", "stop after N updates"},
    {"--batch", INT, AT(batch), 1, "N", "checked against the compiled batch"},
    {"--lr", REAL, AT(lr), 0, "X", "base learning rate of every stage"},
    {"--seed", INT, AT(seed), INT64_MIN, "N", "order of the samples, augmentation, dropout"},
    {"--threads", INT, AT(threads), 1, "N",
	"default: as many as help; results do not depend on it"},
    {"--resume", FLAG, AT(resume), 0, "", "go on from the last checkpoint"},
    {"--init-from", TEXT, AT(init_from), 0, "FILE",
	"begin with the weights of a checkpoint, or of a student.onnx that a trainer of this student left"},
    {"--no-shuffle", FLAG, AT(no_shuffle), 0, "", "samples in file order"},
    {"--trap", FLAG, AT(trap), 0, "",
	"check every number that a step writes, and stop at the first that is not finite (slow)"},
    {"--dry-run", FLAG, AT(dry_run), 0, "", "load and check everything, print sizes, stop"},
    {"--bench-steps", INT, AT(bench_steps), 1, "N", "time N steps on one batch, print JSON, stop"},
    {"--profile", FLAG, AT(profile), 0, "",
	"with --bench-steps: then lines \"ms GFLOP/s kernel\", the dearest first"},
    {"--export", TEXT, AT(export), 0, "FILE.onnx", "where the trained student goes"},
    {"--checkpoint-dir", TEXT, AT(checkpoints), 0, "DIR", "default: checkpoints below --out"},
    {"--cache-dir", TEXT, AT(cache), 0, "DIR", "of teacher outputs; default: cache below --out"},
    {"--no-test", FLAG, AT(no_test), 0, "", "the test split is not evaluated"},
    {"--log", TEXT, AT(log), 0, "FILE", "plain progress lines go there too"},
    {"--log-every", INT, AT(log_every), 1, "N", "the loss and terms of every N-th update go to steps.jsonl"},
    {"--quiet", FLAG, AT(quiet), 0, "", "no progress"},
    {"--help", FLAG, AT(help), 0, "", "this"},
};
#define NOPTIONS (sizeof table / sizeof *table)

void
options_help(FILE *f, const char *exe, const char *name)
{
	fprintf(f, "usage: %s [options]\nTrains %s.\n\n", exe, name);
	for (size_t i = 0; i < NOPTIONS; i++) {
		char left[64];

		snprintf(left, sizeof left, "%s %s", table[i].name, table[i].arg);
		fprintf(f, "  %-26s %s\n", left, table[i].help);
	}
	fprintf(f, "\nexit status: 0 done, 1 usage, 2 data or configuration, 4 input or output, 5 "
		   "loss not finite,\n"
		   "70 out of memory, 130 stopped by a signal with a checkpoint written\n");
}

static bool
value(const struct option *o, const char *v, struct options *opt, struct rt_msg *m)
{
	char *at = (char *)opt + o->at, *end;

	errno = 0;
	if (o->kind == TEXT) {
		*(const char **)at = v;
		return *v || rt_fail(m, RT_USAGE, "%s: expected %s", o->name, o->arg);
	}
	if (o->kind == INT) {
		long long n = strtoll(v, &end, 10);

		if (errno || end == v || *end || n < o->least)
			return rt_fail(m, RT_USAGE, "%s: expected a %s number, not '%s'", o->name,
			    o->least == 1 ? "positive whole" : "whole", v);
		*(int64_t *)at = n;
		return true;
	}
	double x = strtod(v, &end);

	if (end == v || *end || !(x >= 0) || isinf(x))
		return rt_fail(
		    m, RT_USAGE, "%s: expected a number of at least 0, not '%s'", o->name, v);
	*(double *)at = x;
	return true;
}

bool
options_parse(struct options *opt, int argc, char **argv, struct rt_msg *m)
{
	*opt = (struct options){.exe = argc > 0 ? argv[0] : "train",
	    .epochs = -1,
	    .until = -1,
	    .steps = -1,
	    .batch = -1,
	    .threads = -1,
	    .bench_steps = -1,
	    .log_every = -1,
	    .lr = -1};
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *eq = strchr(a, '='), *v = NULL;
		size_t n = eq ? (size_t)(eq - a) : strlen(a);
		const struct option *o = NULL;

		for (size_t k = 0; k < NOPTIONS; k++)
			if (strlen(table[k].name) == n && strncmp(table[k].name, a, n) == 0)
				o = &table[k];
		if (strcmp(a, "-h") == 0)
			o = &table[NOPTIONS - 1];
		if (!o)
			return rt_fail(m, RT_USAGE, "%s: unknown option; --help lists them", a);
		if (o->kind == FLAG) {
			if (eq)
				return rt_fail(m, RT_USAGE, "%s takes no value", o->name);
			*(bool *)((char *)opt + o->at) = true;
			continue;
		}
		v = eq ? eq + 1 : i + 1 < argc ? argv[++i] : NULL;
		if (!v)
			return rt_fail(m, RT_USAGE, "%s: expected %s", o->name, o->arg);
		if (!value(o, v, opt, m))
			return false;
		if (o->at == AT(seed))
			opt->has_seed = true;
	}
	return true;
}
