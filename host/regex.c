/* regex -- RE2's syntax as a program for str_match: characters are code points, time
 * is linear in the text.  What RE2 itself refuses (back references, look-around) is
 * refused; so are its Unicode classes \p.
 *
 * The program is a list of instructions of three numbers; jumps are relative, so a
 * block may be copied, which is how repetition is made.
 *   CLASS n 0      one of the n ranges (DATA lo hi) that follow
 *   SPLIT a b      both ways            JUMP a 0
 *   ASSERT kind 0  holds here           MATCH 0 0 */
#include "host/host_int.h"
#include "host/regex.h"

#include <string.h>

enum { FOLD = 1, MULTI = 2, DOTALL = 4, MAX_RANGES = 256, MAX_GROUPS = 100, MAX_REPEAT = 1000 };

struct parser {
	const char *s, *p;
	int64_t *out;
	int n, max, depth;
	unsigned flags;
	bool literal; /* between \Q and \E */
	const char *error;
};

/* ---- sets of code points */
struct set {
	int n;
	uint32_t lo[MAX_RANGES], hi[MAX_RANGES];
};

static bool
fail(struct parser *r, const char *what)
{
	if (!r->error)
		r->error = what;
	return false;
}

static bool
add(struct parser *r, struct set *s, uint32_t lo, uint32_t hi)
{
	if (s->n == MAX_RANGES)
		return fail(r, "too many ranges in a character class");
	s->lo[s->n] = lo;
	s->hi[s->n++] = hi;
	return true;
}

/* The letters of [lo,hi] in their other case too. */
static bool
add_folded(struct parser *r, struct set *s, uint32_t lo, uint32_t hi)
{
	if (!add(r, s, lo, hi))
		return false;
	if (!(r->flags & FOLD))
		return true;
	for (uint32_t c = lo; c <= hi && c < 0x1F00; c++) {
		uint32_t other = utf8_lower(c) != c ? utf8_lower(c) : utf8_upper(c);

		if (other == c || (other >= lo && other <= hi))
			continue;
		if (s->n && s->hi[s->n - 1] + 1 == other)
			s->hi[s->n - 1] = other;
		else if (!add(r, s, other, other))
			return false;
	}
	return true;
}

static bool
negate(struct parser *r, struct set *s)
{
	struct set out = {0};
	uint32_t at = 0;

	for (;;) { /* the lowest range that reaches at or beyond */
		int best = -1;

		for (int i = 0; i < s->n; i++)
			if (s->hi[i] >= at && (best < 0 || s->lo[i] < s->lo[best]))
				best = i;
		if (best < 0)
			break;
		if (s->lo[best] > at && !add(r, &out, at, s->lo[best] - 1))
			return false;
		at = s->hi[best] + 1;
	}
	if (at <= 0x10FFFF && !add(r, &out, at, 0x10FFFF))
		return false;
	*s = out;
	return true;
}

static bool
add_set(struct parser *r, struct set *s, const struct set *t)
{
	for (int i = 0; i < t->n; i++)
		if (!add(r, s, t->lo[i], t->hi[i]))
			return false;
	return true;
}

/* Pairs of letters, lowest first. */
static bool
pairs(struct parser *r, struct set *s, const char *ranges, bool neg)
{
	struct set t = {0};

	for (; *ranges; ranges += 2)
		if (!add(r, &t, (unsigned char)ranges[0], (unsigned char)ranges[1]))
			return false;
	return (!neg || negate(r, &t)) && add_set(r, s, &t);
}

static const char *
perl_class(char c)
{
	switch (c) {
	case 'd':
	case 'D':
		return "09";
	case 's':
	case 'S':
		return "\t\n\f\r  ";
	case 'w':
	case 'W':
		return "09AZ__az";
	default:
		return NULL;
	}
}

static bool
posix_class(struct parser *r, struct set *s)
{
	static const struct {
		const char *name, *ranges;
	} named[] = {{"alnum", "09AZaz"}, {"alpha", "AZaz"}, {"ascii", "\001\177"},
	    {"blank", "\t\t  "}, {"cntrl", "\001\037\177\177"}, {"digit", "09"}, {"graph", "!~"},
	    {"lower", "az"}, {"print", " ~"}, {"punct", "!/:@[`{~"}, {"space", "\t\r  "},
	    {"upper", "AZ"}, {"word", "09AZ__az"}, {"xdigit", "09AFaf"}};
	const char *p = r->p + 2, *end = strstr(p, ":]");
	bool neg = *p == '^';

	p += neg;
	for (size_t i = 0; i < sizeof named / sizeof *named; i++)
		if ((size_t)(end - p) == strlen(named[i].name) &&
		    strncmp(p, named[i].name, (size_t)(end - p)) == 0) {
			const char *q = named[i].ranges;
			struct set t = {0};

			r->p = end + 2;
			if (*q == 1 && !add(r, &t, 0, 0))
				return false;
			for (; *q; q += 2)
				if (!add_folded(r, &t, (unsigned char)q[0], (unsigned char)q[1]))
					return false;
			return (!neg || negate(r, &t)) && add_set(r, s, &t);
		}
	return fail(r, "unknown character class [: :]");
}

/* ---- escapes: one character after the backslash (r->p stands on it) */
static int
hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static bool
escaped(struct parser *r, uint32_t *c)
{
	static const char plain[] = "a\af\ft\tn\nr\rv\v";
	char e = *r->p;

	for (const char *q = plain; *q; q += 2)
		if (*q == e)
			return *c = (unsigned char)q[1], r->p++, true;
	if (e == 'x') {
		bool braces = r->p[1] == '{';
		int digits = 0;

		r->p += 1 + braces;
		for (*c = 0; hex(*r->p) >= 0 && digits < (braces ? 8 : 2); r->p++, digits++)
			*c = *c * 16 + (uint32_t)hex(*r->p);
		if (*c > 0x10FFFF || (braces ? !digits || *r->p++ != '}' : digits != 2))
			return fail(r, "bad \\x escape");
		return true;
	}
	if (e == '0' || (e >= '1' && e <= '7' && r->p[1] >= '0' && r->p[1] <= '7')) {
		*c = 0;
		for (int i = 0; i < 3 && *r->p >= '0' && *r->p <= '7'; i++)
			*c = *c * 8 + (uint32_t)(*r->p++ - '0');
		return true;
	}
	if (e && (unsigned char)e < 0x80 &&
	    !((e >= '0' && e <= '9') || (e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z')))
		return *c = (unsigned char)e, r->p++, true;
	if (e == 'p' || e == 'P')
		return fail(r, "Unicode classes (\\p) are not supported");
	return fail(r, e ? "unknown escape" : "ends in a backslash");
}

/* ---- emission */
static int
emit(struct parser *r, int64_t op, int64_t a, int64_t b)
{
	if (3 * (r->n + 1) > r->max) {
		fail(r, "is too large");
		return r->n ? r->n - 1 : 0;
	}
	r->out[3 * r->n] = op;
	r->out[3 * r->n + 1] = a;
	r->out[3 * r->n + 2] = b;
	return r->n++;
}

/* Room for one instruction before `at`; blocks are closed, so nothing jumps across. */
static void
insert(struct parser *r, int at, int64_t op, int64_t a, int64_t b)
{
	emit(r, MATCH, 0, 0);
	if (r->error)
		return;
	memmove(
	    r->out + 3 * (at + 1), r->out + 3 * at, sizeof *r->out * 3 * (size_t)(r->n - 1 - at));
	r->out[3 * at] = op;
	r->out[3 * at + 1] = a;
	r->out[3 * at + 2] = b;
}

static bool
emit_set(struct parser *r, const struct set *s)
{
	emit(r, CLASS, s->n, 0);
	for (int i = 0; i < s->n; i++)
		emit(r, DATA, s->lo[i], s->hi[i]);
	return !r->error;
}

static bool
emit_char(struct parser *r, uint32_t c)
{
	struct set s = {0};

	return add_folded(r, &s, c, c) && emit_set(r, &s);
}

static bool
append(struct parser *r, const int64_t *block, int n)
{
	for (int i = 0; i < n && !r->error; i++)
		emit(r, block[3 * i], block[3 * i + 1], block[3 * i + 2]);
	return !r->error;
}

/* ---- grammar */
static bool alternatives(struct parser *);

static bool
bracket(struct parser *r)
{
	struct set s = {0};
	bool neg, first = true;

	r->p++;
	neg = *r->p == '^';
	r->p += neg;
	for (; *r->p != ']' || first; first = false) {
		uint32_t lo, hi;
		const char *perl;

		if (!*r->p)
			return fail(r, "character class without its ]");
		if (r->p[0] == '[' && r->p[1] == ':' && strstr(r->p + 2, ":]")) {
			if (!posix_class(r, &s))
				return false;
			continue;
		}
		if (*r->p == '\\' && (perl = perl_class(r->p[1]))) {
			if (!pairs(r, &s, perl, r->p[1] < 'a'))
				return false;
			r->p += 2;
			continue;
		}
		if (*r->p == '\\') {
			r->p++;
			if (!escaped(r, &lo))
				return false;
		} else {
			lo = utf8_next(&r->p);
		}
		hi = lo;
		if (r->p[0] == '-' && r->p[1] && r->p[1] != ']') {
			r->p++;
			if (*r->p == '\\') {
				r->p++;
				if (!escaped(r, &hi))
					return false;
			} else {
				hi = utf8_next(&r->p);
			}
			if (hi < lo)
				return fail(r, "character range that ends before it begins");
		}
		if (!add_folded(r, &s, lo, hi))
			return false;
	}
	r->p++;
	return (!neg || negate(r, &s)) && emit_set(r, &s);
}

/* After "(?": flags, a name, or nothing.  *group: a group follows, up to its ). */
static bool
group_head(struct parser *r, bool *group)
{
	bool off = false;
	unsigned flags = r->flags;

	*group = true;
	if (*r->p == 'P' || (*r->p == '<' && r->p[1] != '=' && r->p[1] != '!')) {
		const char *name;

		r->p += *r->p == 'P';
		if (*r->p++ != '<')
			return fail(r, "(?P is not followed by a name");
		for (name = r->p; *r->p == '_' || hex(*r->p) >= 0 ||
				  (*r->p >= 'a' && *r->p <= 'z') || (*r->p >= 'A' && *r->p <= 'Z');)
			r->p++;
		if (r->p == name || *r->p++ != '>')
			return fail(r, "bad name of a group");
		return true;
	}
	for (;; r->p++) {
		unsigned f = *r->p == 'i' ? FOLD : *r->p == 'm' ? MULTI : *r->p == 's' ? DOTALL : 0;

		if (f)
			flags = off ? flags & ~f : flags | f;
		else if (*r->p == '-' && !off)
			off = true;
		else if (*r->p != 'U') /* which match is preferred does not matter here */
			break;
	}
	if (*r->p != ':' && *r->p != ')')
		return fail(r, "unknown group (?");
	*group = *r->p == ':';
	r->flags = flags;
	r->p++;
	return true;
}

static bool
group(struct parser *r)
{
	unsigned outer = r->flags;
	bool inner = true;

	r->p++;
	if (*r->p == '?') {
		r->p++;
		if (!group_head(r, &inner))
			return false;
		if (!inner)
			return true; /* flags for the rest of the group that is open */
	}
	if (++r->depth > MAX_GROUPS)
		return fail(r, "groups nested too deep");
	if (!alternatives(r))
		return false;
	r->depth--;
	r->flags = outer;
	if (*r->p != ')')
		return fail(r, "group without its )");
	r->p++;
	return true;
}

static bool
backslash(struct parser *r)
{
	const char *perl;
	struct set s = {0};
	uint32_t c;

	r->p++;
	if ((perl = perl_class(*r->p))) {
		bool neg = *r->p++ < 'a';

		return pairs(r, &s, perl, neg) && emit_set(r, &s);
	}
	switch (*r->p) {
	case 'b':
	case 'B':
	case 'A':
	case 'z':
		emit(r, ASSERT,
		    *r->p == 'b'   ? AT_WORD
		    : *r->p == 'B' ? AT_NO_WORD
		    : *r->p == 'A' ? AT_BEGIN
				   : AT_END,
		    0);
		r->p++;
		return !r->error;
	case 'C':
		r->p++;
		return add(r, &s, 0, 0x10FFFF) && emit_set(r, &s);
	case 'Q':
		r->literal = true;
		r->p++;
		return true;
	case 'E':
		r->p++;
		return true;
	default:
		return escaped(r, &c) && emit_char(r, c);
	}
}

static bool
atom(struct parser *r)
{
	struct set s = {0};

	switch (*r->p) {
	case '(':
		return group(r);
	case '[':
		return bracket(r);
	case '\\':
		return backslash(r);
	case '.':
		r->p++;
		if (!(r->flags & DOTALL))
			return add(r, &s, 0, '\n' - 1) && add(r, &s, '\n' + 1, 0x10FFFF) &&
			       emit_set(r, &s);
		return add(r, &s, 0, 0x10FFFF) && emit_set(r, &s);
	case '^':
	case '$':
		emit(r, ASSERT,
		    r->flags & MULTI ? (*r->p == '^' ? AT_LINE : AT_LINE_END)
		    : *r->p == '^'   ? AT_BEGIN
				     : AT_END,
		    0);
		r->p++;
		return !r->error;
	case '*':
	case '+':
	case '?':
		return fail(r, "repetition of nothing");
	default:
		return emit_char(r, utf8_next(&r->p));
	}
}

/* "{2}", "{2,}", "{2,5}" at p; its length, 0 where the brace is a character. */
static int
braces(const char *p, int *lo, int *hi)
{
	const char *q = p + 1;
	int *to[2] = {lo, hi};

	*lo = *hi = -1;
	for (int i = 0; i < 2; i++) {
		for (; *q >= '0' && *q <= '9'; q++)
			if (*to[i] <= MAX_REPEAT)
				*to[i] = (*to[i] < 0 ? 0 : *to[i] * 10) + (*q - '0');
		if (*lo < 0)
			return 0;
		if (*q == '}') {
			if (i == 0)
				*hi = *lo;
			return (int)(q + 1 - p);
		}
		if (i || *q++ != ',')
			return 0;
	}
	return 0;
}

/* Repeats the block from `at`: lo times and up to hi (-1: any number of) times more. */
static bool
repeat(struct parser *r, int at, int lo, int hi)
{
	int n = r->n - at, i;
	int64_t *block = r->out + 3 * at;

	if (lo > MAX_REPEAT || hi > MAX_REPEAT || (hi >= 0 && hi < lo))
		return fail(r, "bad number of repetitions");
	if (lo == 0 && hi == 0) {
		r->n = at;
		return true;
	}
	if (hi < 0) {
		for (i = 1; i < lo; i++)
			if (!append(r, block, n))
				return false;
		if (lo == 0) {
			insert(r, at, SPLIT, 1, n + 2);
			emit(r, JUMP, -(n + 1), 0);
		} else {
			emit(r, SPLIT, -n, 1);
		}
		return !r->error;
	}
	for (i = 1; i < hi; i++) {
		if (i >= lo)
			emit(r, SPLIT, 1, (int64_t)(hi - i) * (n + 1));
		if (r->error || !append(r, block, n))
			return false;
	}
	if (lo == 0)
		insert(r, at, SPLIT, 1, (int64_t)hi * (n + 1));
	return !r->error;
}

static bool
sequence(struct parser *r)
{
	while (*r->p && (r->literal || (*r->p != '|' && *r->p != ')'))) {
		int at = r->n, lo, hi, len;
		bool repeated = false;

		if (!r->literal) {
			if (!atom(r))
				return false;
		} else if (r->p[0] != '\\' || r->p[1] != 'E') {
			if (!emit_char(r, utf8_next(&r->p)))
				return false;
		}
		if (r->literal && r->p[0] == '\\' && r->p[1] == 'E') {
			r->literal = false; /* what follows repeats the last character */
			r->p += 2;
		}
		while (!r->literal) {
			if (*r->p == '*' || *r->p == '+' || *r->p == '?') {
				lo = *r->p == '+';
				hi = *r->p == '?' ? 1 : -1;
				len = 1;
			} else if (*r->p != '{' || !(len = braces(r->p, &lo, &hi))) {
				break;
			}
			if (repeated)
				return fail(r, "repetition of a repetition");
			r->p += len;
			r->p += *r->p == '?'; /* a lazy one matches the same whole texts */
			repeated = true;
			if (!repeat(r, at, lo, hi))
				return false;
		}
	}
	return true;
}

/* a|b|c as ((a|b)|c): what stands there so far is one way, what follows the other. */
static bool
alternatives(struct parser *r)
{
	int at = r->n, jump;

	if (!sequence(r))
		return false;
	while (*r->p == '|') {
		r->p++;
		insert(r, at, SPLIT, 1, r->n - at + 2);
		jump = emit(r, JUMP, 0, 0);
		if (r->error || !sequence(r))
			return false;
		r->out[3 * jump + 1] = r->n - jump;
	}
	return true;
}

const char *
host_regex_compile(const char *pattern, int64_t *program, int max, int *n, int *at)
{
	struct parser r = {.s = pattern, .p = pattern, .out = program, .max = max};

	if (alternatives(&r) && *r.p)
		fail(&r, "a ) that closes no group");
	if (!r.error)
		emit(&r, MATCH, 0, 0);
	*n = 3 * r.n;
	*at = (int)(r.p - r.s);
	return r.error;
}

const char *
host_regex_check(const int64_t *program, int n)
{
	int count = n / 3;

	if (n <= 0 || n % 3 || program[n - 3] != MATCH)
		return "a program is instructions of three numbers that end in MATCH";
	for (int i = 0; i < count; i++) {
		const int64_t *op = program + 3 * i;

		switch (op[0]) {
		case MATCH:
		case ASSERT:
			break;
		case CLASS:
			if (op[1] < 0 || op[1] >= count - 1 - i)
				return "a class without its ranges";
			for (int64_t k = 1; k <= op[1]; k++)
				if (op[3 * k] != DATA)
					return "a class without its ranges";
			i += (int)op[1];
			break;
		case SPLIT:
		case JUMP:
			for (int k = 1; k <= (op[0] == SPLIT ? 2 : 1); k++)
				if (op[k] < -i || op[k] >= count - i ||
				    program[3 * (i + op[k])] == DATA)
					return "a jump out of the program";
			break;
		default:
			return "an unknown instruction";
		}
	}
	return NULL;
}
