/* retort man DIR: a man page per verb from the same tables as --help. */
#include "driver/driver.h"

static bool
write_page(struct driver *d, const char *dir, int verb)
{
	struct outfile o;
	const struct verb *v = verb < 0 ? NULL : &verbs[verb];
	const char *path = v ? arena_printf(d->arena, "%s/retort-%s.1", dir, v->name) : arena_printf(d->arena, "%s/retort.1", dir);

	if (!outfile_open(&d->diag, &o, path))
		return false;
	fprintf(o.f, ".TH RETORT%s%s 1 \"\" \"retort " RETORT_VERSION "\"\n.SH NAME\nretort%s%s \\- %s\n", v ? "-" : "",
	        v ? v->name : "", v ? "-" : "", v ? v->name : "", v ? v->help : "an ahead-of-time compiler for neural networks");
	fprintf(o.f, ".SH SYNOPSIS\n\\fBretort %s\\fR %s\n", v ? v->name : "VERB", v ? v->synopsis : "ARGUMENTS...");
	if (v) {
		fputs(".SH OPTIONS\n", o.f);
		opts_man(o.f, verb);
	} else {
		fputs(".SH VERBS\n", o.f);
		for (int i = 0; i < nverbs; i++)
			fprintf(o.f, ".TP\n\\fB%s\\fR %s\n%s (see retort-%s(1))\n", verbs[i].name, verbs[i].synopsis, verbs[i].help,
			        verbs[i].name);
	}
	fputs(".SH EXIT STATUS\n0 ok, 1 usage, 2 invalid model or recipe, 3 unsupported, 4 input or output, 5 verification failed, "
	      "70 internal error\n", o.f);
	return outfile_commit(&d->diag, &o);
}

bool
verb_man(struct driver *d)
{
	const char *dir = opts_one(d, "the folder for the pages");

	if (!dir || !dir_make(&d->diag, dir))
		return false;
	for (int i = -1; i < nverbs; i++)
		if (!write_page(d, dir, i))
			return false;
	return true;
}
