/* diag -- the one channel for a user's mistakes.
 *
 *   error: student.onnx: node 37 "encoder.q" (MatMul): inner dimension ... [grad]
 *   error: mnist.yaml:12: unknown key "teachr"; did you mean "teacher"? */
#include "base/base.h"

#include <stdlib.h>

void
diag_init(struct diag *d, FILE *out)
{
	*d = (struct diag){.out = out};
}

void
diag_free(struct diag *d)
{
	str_free(&d->text);
}

static void
place(struct str *s, struct loc loc)
{
	bool any = false;

	if (loc.file) {
		str_add(s, loc.file);
		if (loc.line > 0)
			str_addf(s, ":%d", loc.line);
		str_add(s, ":");
		any = true;
	} else if (loc.line > 0) {
		str_addf(s, "line %d:", loc.line);
		any = true;
	}
	if (loc.node >= 0 || loc.name || loc.op) {
		if (any)
			str_add(s, " ");
		if (loc.node >= 0)
			str_addf(s, "node %d", loc.node);
		if (loc.name)
			str_addf(s, "%s\"%s\"", loc.node >= 0 ? " " : "", loc.name);
		if (loc.op)
			str_addf(s, loc.node >= 0 || loc.name ? " (%s)" : "%s", loc.op);
		str_add(s, ":");
		any = true;
	}
	if (any)
		str_add(s, " ");
}

/* One line goes to text plain, and to out with the prefix coloured. */
static void
report(struct diag *d, const char *prefix, const char *color, bool shown, struct loc loc,
    const char *fmt, va_list ap)
{
	struct str line = {0};
	char *message;
	int n;
	va_list again;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n < 0)
		die("bad format: %s", fmt);
	message = xmalloc((size_t)n + 1);
	vsnprintf(message, (size_t)n + 1, fmt, again);
	va_end(again);
	place(&line, loc);
	str_add(&line, message);
	if (loc.maker)
		str_addf(&line, " [%s]", loc.maker);
	str_add(&line, "\n");
	str_addf(&d->text, "%s%s", prefix, line.s);
	if (d->out && shown) {
		if (d->color)
			fprintf(d->out, "%s%s\033[0m%s", color, prefix, line.s);
		else
			fprintf(d->out, "%s%s", prefix, line.s);
		fflush(d->out);
	}
	free(message);
	str_free(&line);
}

bool
diag_error(struct diag *d, enum status status, struct loc loc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(d, "error: ", "\033[1;31m", true, loc, fmt, ap);
	va_end(ap);
	d->errors++;
	if (d->status == STATUS_OK)
		d->status = status;
	return false;
}

void
diag_warn(struct diag *d, struct loc loc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(d, "warning: ", "\033[1;35m", !d->quiet, loc, fmt, ap);
	va_end(ap);
	d->warnings++;
}

void
diag_note(struct diag *d, struct loc loc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(d, "  note: ", "\033[36m", !d->quiet || d->errors, loc, fmt, ap);
	va_end(ap);
}
