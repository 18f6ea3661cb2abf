/* opts -- the one table of flags.  A row says which verbs take the flag, where
 * its value goes and what the help prints; parsing, help and the nearest-name
 * advice all come from it. */
#include "driver/driver.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, WORD, OPTIONAL, INT, BYTES, REAL, LIST, PASS_FLAG, PASS_WORD };
/* OPTIONAL: a word after '=', or none; PASS_*: kept as given for the trainer, besides any field */
struct option {
	const char *name;
	char letter;
	enum kind kind;
	int field;            /* offset in struct options; -1: none */
	const char *arg;      /* as help names it */
	const char *verbs;    /* space separated; NULL: all */
	const char *help;
};
#define AT(f) ((int)offsetof(struct options, f))
#define MODELS "compile run verify check inspect bench"
#define COMPILES "compile distill run verify bench inspect"

static const struct option options[] = {
	{"output", 'o', LIST, AT(outputs), "FILE", "compile distill run opt inspect ops verify", "where the result goes (run: NAME=Y.npy, repeatable)"},
	{"emit", 0, WORD, AT(emit), "KIND", "compile", "object, static, shared, exe, asm or llvm; else by the suffix of -o"},
	{"emit", 0, WORD, AT(emit), "KIND,...", "distill", "the trainer as exe (default), static or shared library, or several of them; logits: what the teachers say of all samples, as .npy files"},
	{"name", 0, WORD, AT(name), "SYM", "compile distill", "C prefix of the entry points (default: from the output's file name; distill: of the trainer's library)"},
	{"dim", 0, LIST, AT(dims), "N=16", MODELS, "value (16) or range (1..64) of a symbolic dim; INPUT:AXIS=16 fixes one axis; INPUT=3: a sequence of three"},
	{"max-trips", 0, INT, AT(max_trips), "N", MODELS, "turns that a loop is unrolled to where a run decides (default: what is known, else 64)"},
	{"opt-level", 'O', INT, AT(opt_level), "0..3", COMPILES, "optimisation (default 2)"},
	{"target", 0, WORD, AT(target), "TRIPLE", COMPILES, "machine to compile for (default: this one)"},
	{"cpu", 0, WORD, AT(cpu), "CPU", COMPILES, "native (default), x86-64-v3, ...; retort targets lists them; compile: x86-64-v2,x86-64-v4 carries both and chooses"},
	{"weights", 0, WORD, AT(weights), "embed", "compile", "where weights live: embed (in the object)"},
	{"precision", 0, WORD, AT(precision), "f32", COMPILES, "arithmetic: f32"},
	{"blas", 0, WORD, AT(blas), "never|auto|always", COMPILES, "let OpenBLAS do contractions (default never)"},
	{"threads", 0, INT, AT(threads), "N", "run verify bench", "threads (default 1); never changes a byte of the result"},
	{"saliency", 0, WORD, AT(saliency), "METHOD", "compile run", "outputs saliency.INPUT too, what the answer depends on: gradient, gradient_input, integrated or smoothgrad"},
	{"saliency-steps", 0, INT, AT(saliency_steps), "N", "compile run", "points of integrated, draws of smoothgrad (default 32)"},
	{"saliency-class", 0, INT, AT(saliency_class), "K", "compile run", "the class that is explained (default: the largest of each row)"},
	{"saliency-output", 0, WORD, AT(saliency_output), "NAME", "compile run", "the output that is explained (default: the first)"},
	{"saliency-noise", 0, REAL, AT(saliency_noise), "X", "compile run", "smoothgrad: deviation as a share of a sample's range (default 0.15)"},
	{"print-memory-plan", 0, FLAG, AT(print_plan), NULL, COMPILES, "every buffer with its offset, size and life"},
	{"save-temps", 0, FLAG, AT(save_temps), NULL, "compile distill", "keep LLVM text and objects beside the output"},
	{"depfile", 0, WORD, AT(depfile), "FILE", "compile distill", "write a Make rule with every file read"},
	{"time-passes", 0, FLAG, AT(time_passes), NULL, COMPILES " opt", "time of every pass to stderr"},
	{"verify-each", 0, FLAG, AT(verify_each), NULL, COMPILES " opt", "check the graph after every pass"},
	{"dump", 'd', WORD, AT(dump), "PASS,...", COMPILES " opt", "IR to stderr after these passes, or all"},
	{"stop-after", 0, WORD, AT(stop_after), "PASS", "compile opt", "IR to stderr after this pass, then stop; needs no -o"},
	{"opt-report", 0, OPTIONAL, AT(opt_report), "FILE", "compile distill run bench", "every layer with its algorithm and predicted time (bench: and measured)"},
	{"tune", 0, OPTIONAL, AT(tune), "CACHEFILE", "compile distill run bench", "choose algorithms by measuring them here; remembered in ~/.cache/retort/tune"},
	{"conv", 0, LIST, AT(conv), "NODE=ALG", "compile distill run bench", "a convolution's algorithm: direct, winograd2, winograd4, dilated2 or dilated4; repeatable"},
	{"precise", 0, FLAG, AT(precise), NULL, COMPILES, "only algorithms whose rounding error is no worse than that of a sum in order"},
	{"passes", 0, WORD, AT(passes), "A,B", "opt", "passes to run, in order"},
	{"ref", 0, LIST, AT(refs), "NAME=Y.npy", "verify", "expected output"},
	{"jobs", 'j', INT, AT(jobs), "N", "verify", "cases at a time (default 1)"},
	{"rtol", 0, REAL, AT(rtol), "X", "verify", "relative tolerance (default 1e-3)"},
	{"atol", 0, REAL, AT(atol), "X", "verify", "absolute tolerance (default 1e-7; 1e-3 of DFT and STFT in f32)"},
	{"timeout", 0, INT, AT(timeout_s), "S", "verify", "seconds per case (default 120)"},
	{"string-bytes", 0, INT, AT(string_bytes), "N", "compile run verify bench distill", "memory for the strings that a run makes, on average each (default 256)"},
	{"memory", 0, INT, AT(memory_mib), "MIB", "verify", "address space per case (default 8192)"},
	{"per-node", 0, FLAG, AT(per_node), NULL, "verify", "compare every node with the fp64 evaluator"},
	{"as", 0, WORD, AT(as), "FORM", "verify", "static (default), symbolic, constants or all: each case in this form"},
	{"table", 0, FLAG, AT(table), NULL, "verify", "close with counts by operator; with -o FILE tab-separated there"},
	{"grad", 0, FLAG, AT(grad), NULL, "check", "list the nodes without gradient"},
	{"taps", 0, FLAG, AT(taps), NULL, "inspect", "of a student and a teacher: which layers to compare, as lines of a recipe"},
	{"svg", 0, WORD, AT(svg), "FILE", "inspect", "draw the graph"},
	{"ms", 0, INT, AT(ms), "N", "bench", "measure for about this long (default 1000)"},
	{"json", 0, FLAG, AT(json), NULL, "bench inspect verify", "machine-readable output"},
	{"markdown", 0, FLAG, AT(markdown), NULL, "ops losses", "as docs/operators.md, docs/losses.md"},
	{"build-only", 0, FLAG, AT(build_only), NULL, "distill", "leave only the trainer executable"},
	{"dry-run", 0, PASS_FLAG, AT(dry_run), NULL, "distill", "compile, check all data, print sizes and schedule; nothing is trained"},
	{"search-only", 0, FLAG, AT(search_only), NULL, "distill", "run the recipe's search and write best.yaml; the best is not trained in full"},
	{"no-search", 0, FLAG, AT(no_search), NULL, "distill", "train the recipe as it stands"},
	{"data", 0, WORD, AT(data), "DIR", "distill", "folder of the data files"},
	{"memory-budget", 0, BYTES, AT(memory_budget), "BYTES", "distill", "what a step may take (64M, 1.5G): backward recomputes activations until it fits"},
	{"batch", 0, INT, AT(batch), "N", "distill", "samples per step instead of the recipe's (compiled in)"},
	{"seed", 0, PASS_WORD, AT(seed), "N", "distill", "instead of the recipe's"},
	{"epochs", 0, PASS_WORD, -1, "N", "distill", "to the trainer"},
	{"steps", 0, PASS_WORD, -1, "N", "distill", "to the trainer: stop after N updates"},
	{"lr", 0, PASS_WORD, -1, "X", "distill", "to the trainer"},
	{"log-every", 0, PASS_WORD, -1, "N", "distill", "to the trainer: the loss of every N-th update in steps.jsonl"},
	{"threads", 0, PASS_WORD, AT(threads), "N", "distill", "to the trainer"},
	{"log", 0, PASS_WORD, -1, "KIND", "distill", "to the trainer"},
	{"checkpoint-dir", 0, PASS_WORD, -1, "DIR", "distill", "to the trainer"},
	{"no-shuffle", 0, PASS_FLAG, -1, NULL, "distill", "to the trainer: samples in file order"},
	{"resume", 0, PASS_FLAG, AT(resume), NULL, "distill", "to the trainer: go on from the last checkpoint"},
	{"init-from", 0, PASS_WORD, -1, "FILE", "distill", "to the trainer: begin with the weights of a checkpoint or student.onnx"},
	{"trap", 0, PASS_FLAG, -1, NULL, "distill", "to the trainer: stop at the first number that is not finite, checking every kernel"},
	{"verbose", 'v', FLAG, AT(verbose), NULL, NULL, "say what is done"},
	{"quiet", 'q', FLAG, AT(quiet), NULL, NULL, "errors only"},
	{"color", 0, FLAG, AT(color), NULL, NULL, "coloured diagnostics even when not a terminal"},
	{"no-color", 0, FLAG, AT(no_color), NULL, NULL, "never"},
	{"help", 'h', FLAG, AT(help), NULL, NULL, "this text"},
};
enum { NOPT = sizeof options / sizeof *options };

static bool
takes(const struct option *o, int verb)
{
	size_t n = strlen(verbs[verb].name);

	if (!o->verbs)
		return true;
	for (const char *p = o->verbs; (p = strstr(p, verbs[verb].name)); p += n)
		if ((p == o->verbs || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

static const struct option *
find(int verb, const char *name, size_t n)
{
	for (int i = 0; i < NOPT; i++)
		if (strlen(options[i].name) == n && memcmp(options[i].name, name, n) == 0 && takes(&options[i], verb))
			return &options[i];
	return NULL;
}

static const struct option *
find_letter(int verb, char c)
{
	for (int i = 0; i < NOPT; i++)
		if (c && options[i].letter == c && takes(&options[i], verb))
			return &options[i];
	return NULL;
}

static bool
unknown(struct driver *d, int verb, const char *word)
{
	const char *names[NOPT], *near, *bare = word + strspn(word, "-");
	char *name = arena_strndup(d->arena, bare, strcspn(bare, "="));
	int n = 0;

	for (int i = 0; i < NOPT; i++)
		if (takes(&options[i], verb))
			names[n++] = options[i].name;
	near = str_nearest(name, names, n);
	if (near)
		return diag_usage(&d->diag, "retort %s: unknown flag \"%s\"; did you mean \"--%s\"?", verbs[verb].name, word, near);
	return diag_usage(&d->diag, "retort %s: unknown flag \"%s\"; retort %s --help lists its flags", verbs[verb].name,
	                  word, verbs[verb].name);
}

static bool
number(struct driver *d, const char *flag, const char *s, int64_t *i, double *f)
{
	char *end;

	errno = 0;
	if (i)
		*i = strtoll(s, &end, 10);
	else
		*f = strtod(s, &end);
	if (!*s || *end || errno)
		return diag_usage(&d->diag, "--%s: \"%s\" is not a number", flag, s);
	return true;
}

/* "64M", "1.5G": powers of 1024; at least one byte. */
static bool
bytes(struct driver *d, const char *flag, const char *s, int64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit = NULL;
	char *end;
	double x = strtod(s, &end);

	if (end > s && *end && (unit = strchr(units, toupper((unsigned char)*end))))
		end++;
	if (end == s || *end || !(x > 0))
		return diag_usage(&d->diag, "--%s: \"%s\" is no number of bytes, like 500000, 64M or 1.5G", flag, s);
	x = ldexp(x, unit ? 10 * (int)(unit - units + 1) : 0);
	if (x < 1 || x > 0x1p62)
		return diag_usage(&d->diag, "--%s: \"%s\" is out of range", flag, s);
	*out = (int64_t)x;
	return true;
}

static bool
set(struct driver *d, const struct option *o, const char *value)
{
	char *at = (char *)&d->o + (o->field < 0 ? 0 : o->field);

	if (o->kind == PASS_FLAG || o->kind == PASS_WORD) {
		vec_push(d->arena, &d->o.pass_on, arena_printf(d->arena, "--%s", o->name));
		if (value)
			vec_push(d->arena, &d->o.pass_on, value);
	}
	if (o->field < 0)
		return true;
	switch (o->kind) {
	case FLAG:
	case PASS_FLAG:
		*(bool *)at = true;
		return true;
	case WORD:
	case OPTIONAL:
		*(const char **)at = value;
		return true;
	case LIST: {
		struct words *list = (struct words *)at;

		vec_push(d->arena, list, value);
		return true;
	}
	case BYTES:
		return bytes(d, o->name, value, (int64_t *)at);
	case REAL:
		return number(d, o->name, value, NULL, (double *)at);
	default:
		return number(d, o->name, value, (int64_t *)at, NULL);
	}
}

bool
opts_parse(struct driver *d, int verb, int argc, char **argv)
{
	struct options *p = &d->o;
	bool rest = false;

	p->opt_level = 2;
	p->threads = p->jobs = 1;
	p->timeout_s = 120;
	p->memory_mib = 8192;
	p->ms = 1000;
	p->seed = -1;
	p->saliency_steps = 32;
	p->saliency_class = -1;
	p->saliency_noise = 0.15;
	p->rtol = 1e-3;
	p->atol = -1;
	for (int i = 0; i < argc; i++) {
		const struct option *o;
		const char *a = argv[i], *value = NULL;

		if (rest || a[0] != '-' || !a[1]) {
			vec_push(d->arena, &p->args, a);
			continue;
		}
		if (strcmp(a, "--") == 0) {
			rest = true;
			continue;
		}
		if (a[1] == '-') {
			size_t n = strcspn(a + 2, "=");

			o = find(verb, a + 2, n);
			value = a[2 + n] ? a + 3 + n : NULL;
		} else {
			o = find_letter(verb, a[1]);
			value = a[2] ? a + 2 : NULL;
		}
		if (!o)
			return unknown(d, verb, a);
		if ((o->kind == FLAG || o->kind == PASS_FLAG) && value)
			return diag_usage(&d->diag, "--%s takes no value", o->name);
		if (o->kind == OPTIONAL && !value)
			value = "";
		if (o->kind != FLAG && o->kind != PASS_FLAG && !value) {
			if (++i >= argc)
				return diag_usage(&d->diag, "--%s needs a value: --%s=%s", o->name, o->name, o->arg);
			value = argv[i];
		}
		if (!set(d, o, value))
			return false;
	}
	if (p->opt_level < 0 || p->opt_level > 3)
		return diag_usage(&d->diag, "-O%lld: levels are 0 to 3", (long long)p->opt_level);
	if (p->threads < 1 || p->threads > 1024)
		return diag_usage(&d->diag, "--threads=%lld: 1 to 1024", (long long)p->threads);
	if (p->jobs < 1 || p->jobs > 1024)
		return diag_usage(&d->diag, "--jobs=%lld: 1 to 1024", (long long)p->jobs);
	if (p->precision && strcmp(p->precision, "f32") != 0)
		return diag_unsupported(&d->diag, LOC_NONE, "--precision=%s: only f32 is implemented", p->precision);
	if (p->weights && strcmp(p->weights, "embed") != 0)
		return diag_unsupported(&d->diag, LOC_NONE, "--weights=%s: only embed is implemented", p->weights);
	if (p->blas && strcmp(p->blas, "never") != 0 && strcmp(p->blas, "auto") != 0 && strcmp(p->blas, "always") != 0)
		return diag_usage(&d->diag, "--blas=%s: never, auto or always", p->blas);
	d->diag.quiet = p->quiet;
	d->diag.color = (d->diag.color || p->color) && !p->no_color;
	return true;
}

void
opts_help(FILE *f, int verb)
{
	fprintf(f, "usage: retort %s %s\n%s\n\n", verbs[verb].name, verbs[verb].synopsis, verbs[verb].help);
	for (int i = 0; i < NOPT; i++) {
		const struct option *o = &options[i];
		char left[64];

		if (!takes(o, verb))
			continue;
		snprintf(left, sizeof left, "%s%c%s--%s%s%s%s", o->letter ? "-" : "", o->letter ? o->letter : ' ',
		         o->letter ? ", " : "   ", o->name, o->kind == OPTIONAL ? "[=" : o->arg ? "=" : "", o->arg ? o->arg : "",
		         o->kind == OPTIONAL ? "]" : "");
		fprintf(f, "  %-30s %s\n", left, o->help);
	}
}

static void
troff(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == '-' || *s == '\\')
			fputc('\\', f);
		fputs(*s == '\\' ? "e" : (char[]){*s, 0}, f);
	}
}

void
opts_man(FILE *f, int verb)
{
	for (int i = 0; i < NOPT; i++) {
		const struct option *o = &options[i];

		if (!takes(o, verb))
			continue;
		fputs(".TP\n\\fB", f);
		if (o->letter)
			fprintf(f, "\\-%c\\fR, \\fB", o->letter);
		fputs("\\-\\-", f);
		troff(f, o->name);
		fputs("\\fR", f);
		if (o->arg) {
			fputs(o->kind == OPTIONAL ? "[=\\fI" : "=\\fI", f);
			troff(f, o->arg);
			fputs(o->kind == OPTIONAL ? "\\fR]" : "\\fR", f);
		}
		fputc('\n', f);
		troff(f, o->help);
		fputc('\n', f);
	}
}

const char *
opts_one(struct driver *d, const char *what)
{
	if (d->o.args.n == 1)
		return d->o.args.v[0];
	if (d->o.args.n == 0)
		diag_usage(&d->diag, "%s is missing", what);
	else
		diag_usage(&d->diag, "one %s expected, but also \"%s\" given", what, d->o.args.v[1]);
	return NULL;
}
