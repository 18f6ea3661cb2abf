/* op_types -- which element types ONNX's operators take. */
#include "ir/ir.h"

#include <string.h>

static const struct {
	const char *onnx, *types;
} table[] = {
#define TYPES(onnx, types) {onnx, types},
#include "ir/op_types.def"
};

static const struct {
	const char *name, *types; /* members, or other sets, with commas */
} sets[] = {
    {"F", "f16,f32,f64,bf16"},
    {"int", "i8,i16,i32,i64"},
    {"uint", "u8,u16,u32,u64"},
    {"I", "i32,i64"},
    {"M", "F,i32,i64,u32,u64"},
    {"S", "F,int"},
    {"N", "F,int,uint"},
    {"NB", "N,bool"},
    {"f8", "f8e4m3fn,f8e4m3fnuz,f8e5m2,f8e5m2fnuz"},
    {"G", "F,f8"},
    {"Q", "f8,f4e2m1,i2,u2,i4,u4,i8,u8,i16,u16,i32"},
    {"A", "N,bool,str,c64,c128,f8,f8e8m0,f4e2m1,i2,u2,i4,u4"},
};
enum { NSETS = sizeof sets / sizeof *sets };

const char *
op_types(enum op op)
{
	for (size_t i = 0; op_info[op].onnx && i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i].onnx, op_info[op].onnx) == 0)
			return table[i].types;
	return NULL;
}

/* The types of a list of n characters, a bit each; 0: it names what is neither type nor set. */
static uint64_t
members(const char *s, size_t n)
{
	uint64_t all = 0;
	char word[32];

	while (n) {
		size_t len = 0;
		uint64_t one = 0;

		while (len < n && s[len] != ',')
			len++;
		if (len >= sizeof word)
			return 0;
		memcpy(word, s, len);
		word[len] = 0;
		for (int i = 0; i < NSETS && !one; i++)
			if (strcmp(sets[i].name, word) == 0)
				one = members(sets[i].types, strlen(sets[i].types));
		if (!one && dtype_from_name(word) != DT_none)
			one = (uint64_t)1 << dtype_from_name(word);
		if (!one)
			return 0;
		all |= one;
		len += len < n;
		s += len;
		n -= len;
	}
	return all;
}

static void
list_types(struct str *s, uint64_t set)
{
	const char *comma = "";

	for (int t = DT_none + 1; t < NDTYPE; t++)
		if (set >> t & 1) {
			str_addf(s, "%s%s", comma, dtype_info[t].name);
			comma = ", ";
		}
}

void
op_types_legend(struct str *s)
{
	for (int i = 0; i < NSETS; i++) {
		str_addf(s, "%s: ", sets[i].name);
		list_types(s, members(sets[i].types, strlen(sets[i].types)));
		str_add(s, "\n");
	}
}

/* A type parameter and the operand that fixed it. */
struct param {
	const char *name;
	size_t len;
	enum dtype dtype;
	int operand;
};

static bool
refused(const struct value *v, int i, uint64_t set, struct loc loc, struct diag *d)
{
	struct str s = {0};

	list_types(&s, set);
	diag_invalid(d, loc, "input %d%s%s%s has element type %s; the operator takes %s", i, v->name ? " (" : "",
	    v->name ? v->name : "", v->name ? ")" : "", dtype_info[v->dtype].name, s.s ? s.s : "none");
	str_free(&s);
	return false;
}

bool
op_types_fit(enum op op, int nin, struct value *const *in, struct loc loc, struct diag *d)
{
	const char *s = op_types(op), *last = NULL;
	struct param params[8];
	int nparam = 0, k;

	for (int i = 0; s && i < nin && (*s || last); i++) {
		const char *word = *s ? s : last, *colon;
		size_t n = strcspn(word, " *");
		const struct value *v = in[i];
		uint64_t set;

		if (word == s)
			s += n + (s[n] == '*');
		s += *s == ' ';
		last = word[n] == '*' ? word : NULL;
		if (!v || v->dtype == DT_none)
			continue;
		colon = memchr(word, ':', n);
		for (k = 0; k < nparam; k++)
			if (params[k].len == (colon ? (size_t)(colon - word) : n) && !strncmp(params[k].name, word, params[k].len))
				break;
		if (k < nparam) {
			if (v->dtype != params[k].dtype)
				return diag_invalid(d, loc, "input %d has element type %s, input %d has %s: they must be the same",
				    i, dtype_info[v->dtype].name, params[k].operand, dtype_info[params[k].dtype].name);
			continue;
		}
		if (colon)
			set = members(colon + 1, n - (size_t)(colon + 1 - word));
		else
			set = members(word, n);
		if (!set && !colon) /* a parameter that an operand left out would have fixed */
			continue;
		if (!(set >> v->dtype & 1))
			return refused(v, i, set, loc, d);
		if (colon && nparam < 8)
			params[nparam++] = (struct param){word, (size_t)(colon - word), v->dtype, i};
	}
	return true;
}

bool
op_types_valid(const char **bad)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		const char *s = *bad = table[i].types, *before;

		while (*s) {
			size_t n = strcspn(s, " *");
			const char *colon = memchr(s, ':', n);
			const char *from = colon ? colon + 1 : s;
			char name[16];

			if (!members(from, n - (size_t)(from - s))) { /* then a parameter already named */
				snprintf(name, sizeof name, "%.*s:", (int)(n < 12 ? n : 12), s);
				before = strstr(table[i].types, name);
				if (colon || !before || before > s)
					return false;
			}
			s += n;
			s += *s == '*';
			if (*s && *s++ != ' ')
				return false;
		}
	}
	return true;
}
