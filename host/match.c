/* match -- whole strings against the program of a pattern: all ways at once, one
 * character after the other (Thompson), so no pattern is slow. */
#include "host/host_int.h"
#include "host/regex.h"

struct machine {
	const int64_t *op;
	int n;
	int32_t *now, *next, *stack, *mark; /* [n] each; mark: the step at which it was reached */
	int nnow, nnext;
	int32_t step;
	bool matched; /* the way to the end is open at this step */
};

int64_t
host_regex_scratch(const int64_t *program, int n)
{
	(void)program;
	return (int64_t)(n / 3) * 5 * (int64_t)sizeof(int32_t) + 64;
}

static bool
word(uint32_t c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z');
}

static bool
holds(int64_t kind, uint32_t before, uint32_t after)
{
	switch (kind) {
	case AT_BEGIN:
		return before == 0;
	case AT_END:
		return after == 0;
	case AT_LINE:
		return before == 0 || before == '\n';
	case AT_LINE_END:
		return after == 0 || after == '\n';
	case AT_WORD:
		return word(before) != word(after);
	default:
		return word(before) == word(after);
	}
}

/* All that is reached from pc without a character goes on the next list. */
static void
reach(struct machine *m, int64_t pc, uint32_t before, uint32_t after)
{
	int n = 0;

	if (m->mark[pc] == m->step)
		return;
	m->mark[pc] = m->step;
	m->stack[n++] = (int32_t)pc;
	while (n) {
		const int64_t *op;
		int64_t to[2];
		int nto = 0;

		pc = m->stack[--n];
		op = m->op + 3 * pc;
		switch (op[0]) {
		case MATCH:
			m->matched = true;
			break;
		case CLASS:
			m->next[m->nnext++] = (int32_t)pc;
			break;
		case SPLIT:
			to[nto++] = pc + op[2];
			to[nto++] = pc + op[1];
			break;
		case JUMP:
			to[nto++] = pc + op[1];
			break;
		default:
			if (holds(op[1], before, after))
				to[nto++] = pc + 1;
		}
		for (int i = 0; i < nto; i++)
			if (to[i] >= 0 && to[i] < m->n && m->mark[to[i]] != m->step) {
				m->mark[to[i]] = m->step;
				m->stack[n++] = (int32_t)to[i];
			}
	}
}

static bool
takes(const int64_t *op, uint32_t c)
{
	for (int64_t i = 1; i <= op[1]; i++)
		if (c >= (uint32_t)op[3 * i + 1] && c <= (uint32_t)op[3 * i + 2])
			return true;
	return false;
}

static uint32_t
peek(const char *s)
{
	return *s ? utf8_next(&s) : 0;
}

static bool
matches(struct machine *m, const char *s)
{
	uint32_t before = 0;

	m->nnext = 0;
	m->step++;
	m->matched = false;
	reach(m, 0, 0, peek(s));
	while (*s) {
		uint32_t c = utf8_next(&s), after = peek(s);
		int32_t *t = m->now;

		m->now = m->next;
		m->nnow = m->nnext;
		m->next = t;
		m->nnext = 0;
		m->step++;
		m->matched = false;
		for (int i = 0; i < m->nnow; i++) {
			const int64_t *op = m->op + 3 * (int64_t)m->now[i];

			if (takes(op, c))
				reach(m, m->now[i] + 1 + op[1], c, after);
		}
		before = c;
		if (!m->nnext && !m->matched)
			return false;
	}
	(void)before;
	return m->matched;
}

/* x of strings; out bool; program */
void
rt_host_str_match(struct rt_bytes *b, const struct rt_operand *arg)
{
	int64_t n = op_count(&arg[0]);
	struct machine m = {.op = arg[2].data, .n = (int)(op_count(&arg[2]) / 3)};
	uint8_t *out = arg[1].data;

	m.now = bytes_scratch(b, host_regex_scratch(m.op, 3 * m.n));
	for (int64_t i = 0; i < n && !m.now; i++)
		out[i] = 0;
	if (!m.now)
		return;
	m.next = m.now + m.n;
	m.stack = m.next + m.n;
	m.mark = m.stack + m.n;
	for (int i = 0; i < m.n; i++)
		m.mark[i] = 0;
	for (int64_t i = 0; i < n; i++) {
		if (m.step > INT32_MAX / 2) {
			for (int k = 0; k < m.n; k++)
				m.mark[k] = 0;
			m.step = 0;
		}
		out[i] = matches(&m, op_str(&arg[0], i));
	}
}
