/* main -- the table of verbs; the only place of the compiler that exits. */
#include "driver/driver.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct verb verbs[] = {
	{"compile", "M.onnx -o OUT[.o|.a|.so|.s|.ll]", "inference code and header; the kind from the suffix or --emit=", verb_compile},
	{"distill", "RECIPE.yaml -o DIR", "compile the trainer of a recipe and run it; --build-only leaves it at that", verb_distill},
	{"run", "M.onnx [NAME=]X.npy... [-o [NAME=]Y.npy]", "compile in memory and run once", verb_run},
	{"verify", "M.onnx|CASEDIR... [NAME=X.npy --ref NAME=Y.npy]", "compare with test_data_set_*/ or --ref", verb_verify},
	{"check", "M.onnx", "every problem of a model at once; --grad: every missing gradient", verb_check},
	{"inspect", "M.onnx|LIBRARY|CHECKPOINT", "inputs, outputs, layers, parameters, FLOPs, memory", verb_inspect},
	{"bench", "M.onnx", "min and median ms, GFLOP/s, a table of kernels", verb_bench},
	{"opt", "IN.rir --passes=A,B [-o OUT.rir]", "textual IR in and out", verb_opt},
	{"ops", "", "the operators known", verb_ops},
	{"losses", "[LOSS]", "the losses of a recipe and their settings", verb_losses},
	{"passes", "", "the passes in pipeline order", verb_passes},
	{"targets", "", "the targets and CPUs known", verb_targets},
	{"man", "DIR", "write a man page per verb into DIR", verb_man},
};
const int nverbs = (int)(sizeof verbs / sizeof *verbs);

static void
usage(FILE *f)
{
	fputs("retort " RETORT_VERSION ": an ahead-of-time compiler for neural networks\n"
	      "usage: retort VERB ARGUMENTS...\n\n", f);
	for (int i = 0; i < nverbs; i++)
		fprintf(f, "  %-8s %s\n", verbs[i].name, verbs[i].help);
	fputs("\nretort VERB --help lists the flags of a verb.\n"
	      "exit status: 0 ok, 1 usage, 2 invalid model or recipe, 3 unsupported, 4 I/O,\n"
	      "5 verification failed, 70 internal error\n", f);
}

static int
find_verb(struct driver *d, const char *word)
{
	const char *names[sizeof verbs / sizeof *verbs];
	const char *near;

	for (int i = 0; i < nverbs; i++) {
		names[i] = verbs[i].name;
		if (strcmp(word, verbs[i].name) == 0)
			return i;
	}
	near = str_nearest(word, names, nverbs);
	if (near)
		diag_usage(&d->diag, "unknown verb \"%s\"; did you mean \"%s\"?", word, near);
	else
		diag_usage(&d->diag, "unknown verb \"%s\"; retort --help lists them", word);
	return -1;
}

/* die() aborts after its message; the status says internal error, not a signal */
static void
internal_error(int sig)
{
	(void)sig;
	if (!getenv("RETORT_CORE"))
		_exit(STATUS_INTERNAL);
}

int
main(int argc, char **argv)
{
	struct driver d = {0};
	bool ok;
	int verb;

	signal(SIGABRT, internal_error);
	if (argc < 2) {
		usage(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return STATUS_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("retort " RETORT_VERSION);
		return STATUS_OK;
	}
	d.arena = arena_create();
	diag_init(&d.diag, stderr);
	d.diag.color = isatty(2) && !getenv("NO_COLOR");
	verb = find_verb(&d, argv[1]);
	ok = verb >= 0 && opts_parse(&d, verb, argc - 2, argv + 2);
	if (ok && d.o.help)
		opts_help(stdout, verb);
	else if (ok)
		ok = verbs[verb].run(&d);
	if (fflush(stdout) != 0 || ferror(stdout))
		ok = diag_io(&d.diag, LOC_FILE("standard output"), "cannot write");
	if (!ok && d.diag.status == STATUS_OK)
		d.diag.status = STATUS_INTERNAL;
	verb = ok ? STATUS_OK : d.exit_status ? d.exit_status : (int)d.diag.status;
	diag_free(&d.diag);
	arena_destroy(d.arena);
	return verb;
}
