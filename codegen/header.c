/* header -- NAME.h of an inference library: plain C99, usable from C++.  What it
 * declares is made by library.c. */
#include "codegen/trainer_library.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

struct names {
	const struct program *p;
	struct arena *a;
	const char *name, *upper;
	int cpus;                  /* that there is code for */
	int n;                     /* inputs then outputs */
	const char **arg, **macro; /* of each: a parameter's name; its part of macro names */
	int nsym;
	int64_t sym[MAX_SYMS];
	const char *symarg[MAX_SYMS];
};

const char *
header_c_type(enum dtype t)
{
	switch (t) {
	case DT_f32: return "float";
	case DT_f64: return "double";
	case DT_i8: return "int8_t";
	case DT_u8: case DT_bool: return "uint8_t";
	case DT_i16: return "int16_t";
	case DT_u16: case DT_f16: case DT_bf16: return "uint16_t";
	case DT_i32: return "int32_t";
	case DT_u32: return "uint32_t";
	case DT_i64: return "int64_t";
	case DT_u64: return "uint64_t";
	default: return "void";
	}
}

/* Any text as an identifier; upper: for macros. */
const char *
header_identifier(struct arena *a, const char *s, bool upper)
{
	char *r = arena_printf(a, "%s%s", isalpha((unsigned char)*s) || *s == '_' ? "" : "t", s);

	for (char *q = r; *q; q++)
		*q = !isalnum((unsigned char)*q) ? '_' : upper ? (char)toupper((unsigned char)*q) : *q;
	return r;
}

/* Words of C and C++, and the other parameters. */
bool
header_reserved(const char *s)
{
	static const char *const reserved[] = {
		"auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern",
		"float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed",
		"sizeof", "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "and",
		"bool", "catch", "class", "delete", "explicit", "export", "false", "friend", "mutable", "namespace", "new",
		"not", "operator", "or", "private", "protected", "public", "template", "this", "throw", "true", "try",
		"typename", "using", "virtual", "xor", "asm", "nullptr", "workspace", "workspace_size", "pf", "ctx",
	};

	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (strcmp(s, reserved[i]) == 0)
			return true;
	return false;
}

static bool
taken(const struct names *x, int n, const char *s, bool macro)
{
	if (!macro && header_reserved(s))
		return true;
	for (int i = 0; i < n; i++)
		if (strcmp(macro ? x->macro[i] : x->arg[i], s) == 0)
			return true;
	for (int i = 0; !macro && i < x->nsym; i++)
		if (x->symarg[i] && strcmp(x->symarg[i], s) == 0)
			return true;
	return false;
}

static const char *
unique(struct names *x, int n, const char *s, bool macro)
{
	const char *r = header_identifier(x->a, s, macro);

	for (int k = 2; taken(x, n, r, macro); k++)
		r = arena_printf(x->a, "%s_%d", header_identifier(x->a, s, macro), k);
	return r;
}

static const struct io *
io_of(const struct names *x, int i)
{
	return i < x->p->inputs.n ? &x->p->inputs.v[i] : &x->p->outputs.v[i - x->p->inputs.n];
}

static void
make_names(struct names *x)
{
	x->n = x->p->inputs.n + x->p->outputs.n;
	x->arg = arena_array(x->a, const char *, x->n + 1);
	x->macro = arena_array(x->a, const char *, x->n + 1);
	x->upper = header_identifier(x->a, x->name, true);
	x->nsym = x->p->nsym;
	require(x->nsym <= MAX_SYMS);
	for (int i = 0; i < x->nsym; i++)
		x->sym[i] = x->p->sym[i];
	for (int i = 0; i < x->nsym; i++)
		x->symarg[i] = header_identifier(x->a, dim_text(x->p->graph, x->sym[i]), false);
	for (int i = 0; i < x->n; i++) {
		x->arg[i] = unique(x, i, io_of(x, i)->name, false);
		x->macro[i] = unique(x, i, io_of(x, i)->name, true);
	}
}

/* a dim as C, of the symbols' parameters; the words of its text that are symbols
 * already are the names given to them */
static const char *
dim_c(struct names *x, int64_t d)
{
	return dim_const(d) ? arena_printf(x->a, "%" PRId64, d) : arena_strdup(x->a, dim_text(x->p->graph, d));
}

static void
comment_text(struct str *s, const char *t)
{
	for (; *t; t++)
		str_addf(s, "%c", (*t == '/' && s->n && s->s[s->n - 1] == '*') || (unsigned char)*t < ' ' ? '_' : *t);
}

static void
shape(struct names *x, struct str *s, const struct io *io)
{
	str_add(s, "\"");
	comment_text(s, io->name);
	str_addf(s, "\" %s [", dtype_info[io->buffer->dtype].name);
	for (int i = 0; i < io->value->rank; i++)
		str_addf(s, "%s%s", i ? "," : "", dim_c(x, io->value->dims[i]));
	str_add(s, "]");
}

static void
macros(struct names *x, struct str *s)
{
	const char *u = x->upper;

	str_addf(s, "#define %s_ABI 1u\n", u);
	str_addf(s, "#define %s_INPUT_COUNT %d\n#define %s_OUTPUT_COUNT %d\n", u, x->p->inputs.n, u, x->p->outputs.n);
	str_addf(s, "#define %s_WORKSPACE_ALIGN %d\n", u, RT_ALIGN);
	str_addf(s, "#define %s_WORKSPACE_SIZE %" PRId64 "u /* bytes; enough for every size allowed */\n", u, x->p->work_bytes);
	for (int i = 0; i < x->nsym; i++) {
		const char *n = header_identifier(x->a, x->symarg[i], true);

		str_addf(s, "#define %s_%s_MIN %" PRId64 "\n#define %s_%s_MAX %" PRId64 "\n", u, n,
		    dim_lo(x->p->graph, x->sym[i]), u, n, dim_hi(x->p->graph, x->sym[i]));
	}
	for (int i = 0; i < x->n; i++) {
		const struct io *io = io_of(x, i);
		const struct value *v = io->value;
		bool fixed = true;

		str_add(s, "\n/* ");
		shape(x, s, io);
		str_addf(s, " */\n#define %s_%s_RANK %d\n", u, x->macro[i], v->rank);
		for (int k = 0; k < v->rank; k++) {
			fixed &= dim_const(v->dims[k]);
			if (dim_const(v->dims[k]))
				str_addf(s, "#define %s_%s_DIM%d %" PRId64 "\n", u, x->macro[i], k, v->dims[k]);
		}
		if (fixed)
			str_addf(s, "#define %s_%s_ELEMS %" PRId64 "\n", u, x->macro[i], dims_count(v->rank, v->dims));
		else {
			int64_t most = 1;

			for (int k = 0; k < v->rank; k++)
				most *= dim_hi(x->p->graph, v->dims[k]);
			str_addf(s, "#define %s_%s_ELEMS_MAX %" PRId64 "\n", u, x->macro[i], most);
		}
	}
}

static void
parameters(struct names *x, struct str *s)
{
	for (int i = 0; i < x->p->ngiven; i++)
		str_addf(s, "int64_t %s, ", x->symarg[i]);
	for (int i = 0; i < x->n; i++)
		if (io_of(x, i)->buffer->dtype == DT_str)
			str_addf(s, "const char *%s*%s, ", i < x->p->inputs.n ? "const " : "", x->arg[i]);
		else
			str_addf(s, "%s%s *%s, ", i < x->p->inputs.n ? "const " : "", header_c_type(io_of(x, i)->buffer->dtype), x->arg[i]);
	for (int i = x->p->ngiven; i < x->nsym; i++)
		str_addf(s, "int64_t *%s, ", x->symarg[i]);
	str_add(s, "void *workspace, size_t workspace_size");
}

static void
functions(struct names *x, struct str *s)
{
	const char *n = x->name, *u = x->upper;
	bool host = program_host(x->p);

	str_addf(s, "\ntypedef enum %s_status {\n\t%s_OK = 0,\n\t%s_E_NULL = 1,      /* a pointer is NULL */\n"
	            "\t%s_E_DIM = 2,       /* a dimension is out of range */\n"
	            "\t%s_E_WORKSPACE = 3, /* the workspace is too small */\n"
	            "\t%s_E_ALIGN = 4%s     /* the workspace is not aligned to %s_WORKSPACE_ALIGN */\n",
	    n, u, u, u, u, u, host ? "," : "", u);
	if (host)
		str_addf(s, "\t%s_E_STRINGS = 5,   /* no room is left for the strings that a run makes */\n"
		            "\t%s_E_NUMBER = 6,    /* a string that is to be a number is none */\n"
		            "\t%s_E_WIDE = 7,      /* a result is larger than the bound that was compiled in */\n"
		            "\t%s_E_IMAGE = 8      /* the bytes of an image cannot be decoded */\n", u, u, u, u);
	str_addf(s, "} %s_status;\n\n", n);
	str_addf(s, "/* Bytes of workspace%s. */\nsize_t %s_workspace_size(", x->p->ngiven ? " for these sizes; 0: out of range" : "", n);
	for (int i = 0; i < x->p->ngiven; i++)
		str_addf(s, "%sint64_t %s", i ? ", " : "", x->symarg[i]);
	str_addf(s, "%s);\n\n", x->p->ngiven ? "" : "void");
	str_addf(s, "/* One run.  Tensors are row-major and packed, aligned to their element.  Outputs may\n"
	           " * not overlap inputs or each other.  The workspace holds nothing between runs;\n"
	           " * concurrent runs need one each.  Nothing is allocated, no global is written%s.",
	    x->cpus > 1 ? ", but a word that\n * says which CPU this is" : "");
	if (x->nsym > x->p->ngiven)
		str_add(s, "\n * What is a pointer to int64_t after the outputs receives the size of that name, which\n"
		           " * the run finds out (NULL: it is not wanted); outputs have room for its MAX.");
	str_add(s, " */\n");
	if (host)
		str_add(s, "/* Strings are NUL-terminated UTF-8.  Those of the outputs lie in the workspace, in the\n"
		           " * inputs, or in the library: they are valid until the workspace is used again. */\n");
	str_addf(s, "int %s_run(", n);
	parameters(x, s);
	str_add(s, ");\n\n");
	str_addf(s, "/* The same through the caller's threads: pf(ctx, n, body, arg) calls body(arg, i) once for\n"
	            " * every i below n, in any order, on any threads, and returns when all are done.  The\n"
	            " * result is the same to the bit for every number of threads. */\n"
	            "typedef void (*%s_parallel_for)(void *ctx, int n, void (*body)(void *arg, int i), void *arg);\n"
	            "int %s_run_mt(", n, n);
	parameters(x, s);
	str_addf(s, ",\n\t%s_parallel_for pf, void *ctx);\n\n", n);
	str_addf(s, "const char *%s_strerror(int status); /* a static string */\n", n);
	str_addf(s, "const char *%s_manifest(void);       /* JSON: where the code came from */\n", n);
}

bool
emit_header(const struct program *p, const char *name, int cpus, const char *path, struct diag *d)
{
	struct arena *a = arena_create();
	struct names x = {.p = p, .a = a, .name = name, .cpus = cpus};
	struct str s = {0};
	bool ok;

	make_names(&x);
	str_addf(&s, "/* %s.h -- generated by retort, do not edit.\n", name);
	for (int i = 0; i < x.n; i++) {
		str_addf(&s, " * %s ", i < p->inputs.n ? "in " : "out");
		shape(&x, &s, io_of(&x, i));
		str_add(&s, "\n");
	}
	str_addf(&s, " */\n#ifndef RETORT_%s_H\n#define RETORT_%s_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n"
	             "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n", x.upper, x.upper);
	macros(&x, &s);
	functions(&x, &s);
	str_add(&s, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
	ok = file_write(d, path, s.s, s.n);
	str_free(&s);
	arena_destroy(a);
	return ok;
}
