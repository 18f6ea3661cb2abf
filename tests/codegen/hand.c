#include "tests/codegen/hand.h"

const char *hand_cpu = "native";

struct hand
hand_new(void)
{
	struct hand h = {.a = arena_create()};

	h.k = kernel_new(h.a, "hand", LOC_NONE);
	h.body = &h.k->body;
	h.p.arena = h.a;
	h.p.name = "hand";
	h.p.graph = graph_create(h.a, "hand");
	return h;
}

void
hand_free(struct hand *h)
{
	jit_close(h->jit);
	arena_destroy(h->a);
}

int
hand_buf(struct hand *h, enum dtype t, int64_t count, void *data)
{
	int b = kernel_buf(h->a, h->k, t, true);
	struct buffer *x = arena_new(h->a, struct buffer);

	*x = (struct buffer){.id = b, .dtype = t, .space = SPACE_IO, .offset = b, .count = count,
	    .bytes = (int64_t)dtype_bytes(t, count)};
	h->arg[b] = x;
	h->base[3 + b] = data;
	return b;
}

struct body *
hand_for(struct hand *h, enum for_kind kind, int64_t n, int *var)
{
	struct stmt *s = stmt_new(h->a, h->body, S_FOR);
	struct body *outer = h->body;

	s->loop = kind;
	s->extent = n;
	s->var = *var = kernel_var(h->k);
	h->body = &s->body;
	return outer;
}

int
hand_load(struct hand *h, int buf, struct affine at)
{
	struct stmt *s = stmt_new(h->a, h->body, S_LOAD);

	s->buf = buf;
	s->index = at;
	s->type = h->k->buf_type[buf];
	return s->dst = kernel_reg(h->a, h->k, s->type);
}

struct stmt *
hand_load_if(struct hand *h, int buf, struct affine at, struct affine e, int64_t lo, int64_t hi)
{
	struct stmt *s;

	hand_load(h, buf, at);
	s = h->body->s.v[h->body->s.n - 1];
	s->nguard = 1;
	s->guard[0] = (struct guard){e, lo, hi};
	return s;
}

struct stmt *
hand_store(struct hand *h, int buf, struct affine at, int reg)
{
	struct stmt *s = stmt_new(h->a, h->body, S_STORE);

	s->buf = buf;
	s->index = at;
	s->type = h->k->buf_type[buf];
	s->src[0] = reg;
	return s;
}

int
hand_const(struct hand *h, enum dtype t, double v)
{
	struct stmt *s = stmt_new(h->a, h->body, S_CONST);

	s->type = t;
	s->f = v;
	s->i = (int64_t)v;
	return s->dst = kernel_reg(h->a, h->k, t);
}

int
hand_op(struct hand *h, enum op op, enum dtype t, int a, int b, int c)
{
	struct stmt *s = stmt_new(h->a, h->body, S_OP);
	bool test = op == OP_eq || op == OP_lt || op == OP_le || op == OP_isnan;

	s->op = op;
	s->type = t;
	s->src[0] = a;
	s->src[1] = b;
	s->src[2] = c;
	return s->dst = kernel_reg(h->a, h->k, test ? DT_bool : t);
}

int
hand_cast(struct hand *h, enum dtype t, int a)
{
	return hand_op(h, OP_cast, t, a, -1, -1);
}

int
hand_acc(struct hand *h, enum dtype t, enum op op, double start)
{
	struct stmt *s = stmt_new(h->a, h->body, S_ACC);

	s->op = op;
	s->type = t;
	s->f = start;
	s->i = dtype_is_float(t) ? 0 : (int64_t)start;
	return s->dst = kernel_reg(h->a, h->k, t);
}

void
hand_reduce(struct hand *h, enum op op, int acc, int reg)
{
	struct stmt *s = stmt_new(h->a, h->body, S_REDUCE);

	s->op = op;
	s->type = h->k->reg_type[acc];
	s->dst = acc;
	s->src[0] = reg;
}

struct affine
hand_at(int64_t c, int v0, int64_t c0, int v1, int64_t c1)
{
	struct affine e = AFFINE(c);

	if (v0 >= 0)
		affine_add(&e, v0, c0);
	if (v1 >= 0)
		affine_add(&e, v1, c1);
	return e;
}

void
hand_compile(struct hand *h)
{
	struct target_opts o = {.cpu = hand_cpu, .opt_level = 2, .dump_llvm = getenv("HAND_DUMP")};
	struct diag d;
	struct target *t;

	kernel_finish_sym(h->k, h->p.graph);
	kernel_verify(h->k);
	vec_push(h->a, &h->p.calls, (struct call){.kernel = h->k, .arg = h->arg, .loc = LOC_NONE});
	diag_init(&d, stderr);
	t = target_open(&o, &d);
	assert_non_null(t);
	h->jit = jit_open(t, &h->p, "{}", &d);
	assert_non_null(h->jit);
	target_close(t);
	diag_free(&d);
}

void
hand_run(struct hand *h)
{
	const struct rt_program *p;
	int64_t n;

	if (!h->jit)
		hand_compile(h);
	p = jit_program(h->jit);
	n = p->pieces[0];
	p->call(0, h->base, NULL, n / 2, n, n / 2);
	p->call(0, h->base, NULL, 0, n / 2, 0);
}

double
hand_random(void)
{
	static uint64_t s = 88172645463325252u;

	s ^= s << 13;
	s ^= s >> 7;
	s ^= s << 17;
	return (double)(int64_t)s / 9223372036854775808.0;
}

int
hand_main(int n, const struct CMUnitTest *tests)
{
	static const char *const cpus[] = {"native", "x86-64-v3", "x86-64"};
	int failed = 0;

	for (int i = 0; i < 3; i++) {
#if defined __x86_64__
		if (i == 1 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")))
			continue;
#else
		if (i)
			break;
#endif
		hand_cpu = cpus[i];
		printf("cpu %s\n", hand_cpu);
		failed += _cmocka_run_group_tests(hand_cpu, tests, (size_t)n, NULL, NULL);
	}
	return failed != 0;
}
