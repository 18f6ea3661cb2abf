/* Random kernels, compiled for every CPU class and interpreted an element at a time
 * (tests/lower/interp.c), must agree to the bit: data are small integers, so sums
 * are exact in any order.  RANDOM_SEED=n starts elsewhere, RANDOM_COUNT=n makes more. */
#include "tests/codegen/hand.h"
#include "tests/lower/interp.h"

enum { MAXV = 8, MAXBUF = 12 };
struct open { int var; int64_t n; };
struct maker {
	struct hand h;
	uint64_t seed;
	struct open loop[MAXV];
	int nloop, nvec;             /* nvec: index of the open VECTOR loop, -1 */
	int reg[64], nreg;           /* values at hand */
	void *data[MAXBUF];
	int nbuf;
};
static uint64_t seed;

static int
pick(struct maker *m, int n)
{
	m->seed ^= m->seed << 13;
	m->seed ^= m->seed >> 7;
	m->seed ^= m->seed << 17;
	return (int)(m->seed >> 33) % n;
}

static enum dtype
type_of(struct maker *m, int reg)
{
	return m->h.k->reg_type[reg];
}

static int
buffer(struct maker *m, enum dtype t, int64_t count, bool filled)
{
	void *p = xcalloc((size_t)count + 1, 8);

	for (int64_t i = 0; filled && i < count; i++)
		if (dtype_is_float(t))
			dtype_put_f(t, p, i, pick(m, 7) - 3);
		else
			dtype_put_i(t, p, i, t == DT_bool ? pick(m, 2) : t == DT_u8 ? pick(m, 4) : pick(m, 7) - 3);
	m->data[m->nbuf] = p;
	require(hand_buf(&m->h, t, count, p) == m->nbuf);
	vec_push(m->h.a, &m->h.p.buffers, m->h.arg[m->nbuf]);
	return m->nbuf++;
}

/* an affine of the open loops; its least and greatest value */
static struct affine
affine(struct maker *m, int64_t *lo, int64_t *hi)
{
	static const int64_t coefs[] = {0, 1, 1, 1, 2, 3, -1, 16, 40};
	struct affine e = AFFINE(0);

	*lo = *hi = 0;
	for (int i = 0; i < m->nloop; i++) {
		int64_t c = coefs[pick(m, i == m->nvec ? 7 : 9)], top = c * (m->loop[i].n - 1);

		if (i == m->nvec && pick(m, 2))
			top = (c = 1) * (m->loop[i].n - 1);
		if (c)
			affine_add(&e, m->loop[i].var, c);
		*lo += top < 0 ? top : 0;
		*hi += top > 0 ? top : 0;
	}
	return e;
}

static void
load(struct maker *m)
{
	static const enum dtype types[] = {DT_f32, DT_f32, DT_f32, DT_f64, DT_i32, DT_i64, DT_u8, DT_bool};
	enum dtype t = types[pick(m, 8)];
	int64_t lo, hi;
	struct affine e = affine(m, &lo, &hi);
	struct stmt *s;
	int b;

	if (m->nbuf >= MAXBUF - 3 || m->nreg >= 60)
		return;
	e.c = -lo;
	if (pick(m, 3) == 0 && hi > lo) { /* a buffer of part of the range, the rest guarded off */
		int64_t first = pick(m, 4), n = 1 + pick(m, (int)(hi - lo + 1));
		struct affine g = e;

		b = buffer(m, t, n, true);
		e.c -= first;
		s = hand_load_if(&m->h, b, e, g, first, first + n);
		if (pick(m, 2))
			for (int i = 0; i < m->nreg; i++)
				if (type_of(m, m->reg[i]) == t)
					s->src[0] = m->reg[i];
		m->reg[m->nreg++] = s->dst;
		return;
	}
	b = buffer(m, t, hi - lo + 1, true);
	m->reg[m->nreg++] = hand_load(&m->h, b, e);
}

/* table[an index from data] */
static void
lookup(struct maker *m)
{
	for (int i = 0; i < m->nreg; i++)
		if (type_of(m, m->reg[i]) == DT_i64 && m->nbuf < MAXBUF - 3 && m->nreg < 60) {
			int64_t lo, hi;
			struct affine e = affine(m, &lo, &hi), g = AFFINE(0);
			struct stmt *s;

			g.reg = m->reg[i];
			g.regcoef = 1;
			e.reg = m->reg[i];
			e.regcoef = 2;
			e.c = 20 - lo; /* the index itself is kept within -10..10 */
			s = hand_load_if(&m->h, buffer(m, DT_f32, hi - lo + 41, true), e, g, -10, 11);
			m->reg[m->nreg++] = s->dst;
			return;
		}
}

/* Small results only: products of products would leave the exact range. */
static void
operate(struct maker *m)
{
	static const enum op fl[] = {OP_add, OP_sub, OP_max, OP_min, OP_neg, OP_abs, OP_sign, OP_floor};
	static const enum op in[] = {OP_add, OP_sub, OP_mul, OP_max, OP_min, OP_neg, OP_bxor, OP_div, OP_shr, OP_fmod};
	static const enum op lg[] = {OP_and, OP_or, OP_xor, OP_not};
	static const enum dtype to[] = {DT_f32, DT_f64, DT_i32, DT_i64, DT_bool};
	int a, b = -1, r;
	enum dtype t;

	if (!m->nreg || m->nreg >= 60)
		return;
	a = m->reg[pick(m, m->nreg)];
	t = type_of(m, a);
	for (int k = 0; k < 20 && (b < 0 || type_of(m, b) != t); k++)
		b = m->reg[pick(m, m->nreg)];
	if (b < 0 || type_of(m, b) != t)
		b = a;
	switch (pick(m, 6)) {
	case 0:
		r = hand_cast(&m->h, to[pick(m, 5)], a);
		break;
	case 1:
		r = hand_op(&m->h, t == DT_bool ? OP_eq : pick(m, 2) ? OP_lt : OP_le, t, a, b, -1);
		break;
	case 2:
		for (r = 0; r < m->nreg && type_of(m, m->reg[r]) != DT_bool; r++)
			;
		if (r < m->nreg) {
			r = hand_op(&m->h, OP_select, t, m->reg[r], a, b);
			break;
		}
		/* fall through */
	default:
		if (t == DT_bool)
			r = hand_op(&m->h, lg[pick(m, 4)], t, a, b, -1);
		else if (dtype_is_float(t))
			r = hand_op(&m->h, fl[pick(m, 8)], t, a, b, -1);
		else
			r = hand_op(&m->h, in[pick(m, 10)], t, a, b, -1);
	}
	m->reg[m->nreg++] = r;
}

/* Everything open counted row-major: every iteration has its own place. */
static void
store(struct maker *m)
{
	struct affine e = AFFINE(0);
	int64_t n = 1;
	struct stmt *s;
	int r;

	if (!m->nreg || m->nbuf >= MAXBUF)
		return;
	r = m->reg[m->nreg - 1 - pick(m, m->nreg < 3 ? m->nreg : 3)];
	for (int i = m->nloop - 1; i >= 0; i--) {
		affine_add(&e, m->loop[i].var, n);
		n *= m->loop[i].n;
	}
	s = hand_store(&m->h, buffer(m, type_of(m, r), n, false), e, r);
	if (pick(m, 4) == 0 && m->nloop) {
		int64_t lo, hi;
		struct affine g = affine(m, &lo, &hi);

		s->guard[s->nguard++] = (struct guard){g, lo + pick(m, 3), hi - pick(m, 3)};
	}
}

static struct body *
open_loop(struct maker *m, enum for_kind kind, int64_t n)
{
	int v;
	struct body *outer = hand_for(&m->h, kind, n, &v);

	m->loop[m->nloop++] = (struct open){v, n};
	return outer;
}

static void
straight(struct maker *m)
{
	for (int i = 3 + pick(m, 6); i > 0; i--)
		switch (pick(m, 5)) {
		case 0: case 1: load(m); break;
		case 2: if (m->nloop) lookup(m); break;
		default: operate(m); break;
		}
}

struct sum { int acc; enum op op; };
static struct sum
accumulator(struct maker *m)
{
	static const enum dtype types[] = {DT_f32, DT_f64, DT_i32, DT_i64};
	enum dtype t = types[pick(m, 4)];
	enum op op = pick(m, 2) ? OP_add : pick(m, 2) ? OP_max : OP_min;

	return (struct sum){hand_acc(&m->h, t, op, op == OP_add ? 0 : op == OP_max ? -100 : 100), op};
}

static void
summed(struct maker *m, struct sum s)
{
	for (int i = m->nreg - 1; i >= 0; i--)
		if (type_of(m, m->reg[i]) == type_of(m, s.acc)) {
			hand_reduce(&m->h, s.op, s.acc, m->reg[i]);
			return;
		}
}

/* A VECTOR loop, perhaps with a loop and an accumulator of its own inside. */
static void
vectors(struct maker *m, const struct sum *s, int ns)
{
	static const int extents[] = {1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 48, 63, 70, 129, 200};
	struct body *outer = open_loop(m, FOR_VECTOR, extents[pick(m, 15)]);
	int nreg = m->nreg;

	m->nvec = m->nloop - 1;
	straight(m);
	if (pick(m, 3) == 0) {
		struct sum in = accumulator(m);
		struct body *b = open_loop(m, pick(m, 2) ? FOR_SERIAL : FOR_UNROLL, 1 + pick(m, 4));
		int keep = m->nreg;

		straight(m);
		summed(m, in);
		if (pick(m, 2))
			store(m);
		m->nreg = keep;
		m->nloop--;
		m->h.body = b;
		m->reg[m->nreg++] = in.acc;
	}
	for (int i = 0; i < ns; i++)
		if (pick(m, 2))
			summed(m, s[i]);
	store(m);
	m->nreg = nreg;
	m->nvec = -1;
	m->nloop--;
	m->h.body = outer;
}

static void
make(struct maker *m)
{
	struct sum s[3];
	struct body *outer = NULL;
	int ns, nreg;

	m->nvec = -1;
	for (int i = pick(m, 3); i > 0; i--)
		open_loop(m, FOR_PARALLEL, 1 + pick(m, 4));
	straight(m);
	ns = pick(m, 3);
	for (int i = 0; i < ns; i++)
		s[i] = accumulator(m);
	nreg = m->nreg;
	if (pick(m, 2))
		outer = open_loop(m, pick(m, 3) ? FOR_SERIAL : FOR_UNROLL, 1 + pick(m, 3));
	for (int i = 1 + pick(m, 2); i > 0; i--)
		vectors(m, s, ns);
	if (outer) {
		m->nloop--;
		m->h.body = outer;
		m->nreg = nreg;
	}
	for (int i = 0; i < ns; i++)
		m->reg[m->nreg++] = s[i].acc;
	operate(m);
	store(m);
}

static void
one(uint64_t start)
{
	struct maker m = {.h = hand_new(), .seed = start * 2654435761u + 88172645463325252u};
	void *copy[MAXBUF];
	size_t bytes[MAXBUF];

	make(&m);
	for (int i = 0; i < m.nbuf; i++) {
		bytes[i] = (size_t)m.h.arg[i]->bytes;
		copy[i] = xmalloc(bytes[i] + 1);
		memcpy(copy[i], m.data[i], bytes[i]);
	}
	hand_run(&m.h);
	for (int i = 0; i < m.nbuf; i++) { /* the interpreter works on the copies */
		m.h.base[3 + i] = copy[i];
	}
	assert_true(interp_run(&m.h.p, m.h.base));
	for (int i = 0; i < m.nbuf; i++)
		if (memcmp(copy[i], m.data[i], bytes[i])) {
			struct str s = {0};

			kernel_print(m.h.k, &s);
			fprintf(stderr, "%s", s.s);
			for (int64_t j = 0; j < m.h.arg[i]->count; j++)
				if (dtype_get_f(m.h.arg[i]->dtype, copy[i], j) != dtype_get_f(m.h.arg[i]->dtype, m.data[i], j))
					fail_msg("seed %llu: b%d[%lld] = %g, not %g", (unsigned long long)start, i, (long long)j,
					    dtype_get_f(m.h.arg[i]->dtype, m.data[i], j), dtype_get_f(m.h.arg[i]->dtype, copy[i], j));
		}
	for (int i = 0; i < m.nbuf; i++) {
		free(copy[i]);
		free(m.data[i]);
	}
	hand_free(&m.h);
}

static void
random_kernels(void **state)
{
	int n = getenv("RANDOM_COUNT") ? atoi(getenv("RANDOM_COUNT")) : 60;

	(void)state;
	seed = getenv("RANDOM_SEED") ? strtoull(getenv("RANDOM_SEED"), NULL, 10) : 1;
	for (int i = 0; i < n; i++)
		one(seed + (uint64_t)i);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_kernels)};

	return hand_main(1, tests);
}
