/* kernels: making, the text that is also their key, what verify refuses. */
#include "ir/loops.h"
#include "tests/unit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* y[i] = exp(x[i]) where i < n, in blocks of 16 */
static struct kernel *
sample(struct arena *a, const char *name)
{
	struct kernel *k = kernel_new(a, name, LOC_NONE);
	int x = kernel_buf(a, k, DT_f32, false), y = kernel_buf(a, k, DT_f32, true);
	int i = kernel_var(k), j = kernel_var(k), r = kernel_reg(a, k, DT_f32), e = kernel_reg(a, k, DT_f32);
	struct stmt *f = stmt_new(a, &k->body, S_FOR), *v, *s;

	f->loop = FOR_PARALLEL;
	f->var = i;
	f->extent = 8;
	v = stmt_new(a, &f->body, S_FOR);
	v->loop = FOR_VECTOR;
	v->var = j;
	v->extent = 16;
	s = stmt_new(a, &v->body, S_LOAD);
	s->buf = x;
	s->dst = r;
	affine_add(&s->index, i, 16);
	affine_add(&s->index, j, 1);
	s->nguard = 1;
	s->guard[0] = (struct guard){s->index, 0, 120};
	s = stmt_new(a, &v->body, S_OP);
	s->op = OP_exp;
	s->type = DT_f32;
	s->dst = e;
	s->src[0] = r;
	s = stmt_new(a, &v->body, S_STORE);
	s->buf = y;
	s->src[0] = e;
	affine_add(&s->index, i, 16);
	affine_add(&s->index, j, 1);
	kernel_finish(k);
	return k;
}

static void
text_is_the_key(void **state)
{
	struct arena *a = arena_create();
	struct kernel *k = sample(a, "one"), *m = sample(a, "two");
	struct str s = {0}, t = {0};

	(void)state;
	m->loc.name = "elsewhere";
	kernel_verify(k);
	kernel_print(k, &s);
	kernel_print(m, &t);
	assert_string_equal(s.s, t.s);
	assert_string_equal(s.s,
	    "  b0:f32 b1:f32!\n"
	    "  parallel i0 < 8 {\n"
	    "    vector i1 < 16 {\n"
	    "      r0 = b0[16*i0 + i1] if 0 <= 16*i0 + i1 < 120\n"
	    "      r1 = exp.f32 r0\n"
	    "      b1[16*i0 + i1] = r1\n"
	    "    }\n"
	    "  }\n");
	assert_int_equal(k->pieces, 8);
	str_free(&s);
	str_free(&t);
	arena_destroy(a);
}

static void
affine_terms_merge(void **state)
{
	struct affine e = AFFINE(3);
	int64_t extent[2] = {4, 5};

	(void)state;
	affine_add(&e, 0, 2);
	affine_add(&e, 1, -1);
	affine_add(&e, 0, 3);
	assert_int_equal(e.n, 2);
	assert_int_equal(affine_max(&e, extent), 3 + 5 * 3);
	affine_add(&e, 0, -5);
	assert_int_equal(e.n, 1);
	assert_int_equal(e.t[0].var, 1);
}

static void
symbolic_pieces(void **state)
{
	struct arena *a = arena_create();
	struct graph *g = graph_create(a, "g");
	struct kernel *k = sample(a, "k");

	(void)state;
	k->body.s.v[0]->extent = dim_symbol(g, "N", 1, 64);
	kernel_finish_sym(k, g);
	assert_int_equal(k->pieces, 64);
	arena_destroy(a);
}

/* Whether verify aborts on what `spoil` makes of the sample. */
static void
refuses(void (*spoil)(struct kernel *))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct kernel *k = sample(arena_create(), "k");

		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		signal(SIGABRT, SIG_DFL);
		fclose(stderr);
		spoil(k);
		kernel_verify(k);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static struct stmt **
inner(struct kernel *k)
{
	return k->body.s.v[0]->body.s.v[0]->body.s.v;
}

static void
unset_register(struct kernel *k)
{
	inner(k)[1]->src[0] = inner(k)[1]->dst;
}

static void
set_twice(struct kernel *k)
{
	inner(k)[1]->dst = inner(k)[0]->dst;
}

static void
closed_variable(struct kernel *k)
{
	k->nvar++;
	inner(k)[0]->index.t[0].var = k->nvar - 1;
}

static void
read_only_buffer(struct kernel *k)
{
	inner(k)[2]->buf = 0;
}

static void
nested_vectors(struct kernel *k)
{
	k->body.s.v[0]->loop = FOR_VECTOR;
}

static void
inner_parallel(struct kernel *k)
{
	k->body.s.v[0]->loop = FOR_SERIAL;
	k->body.s.v[0]->body.s.v[0]->loop = FOR_PARALLEL;
}

static void
wrong_type(struct kernel *k)
{
	inner(k)[1]->type = DT_f64;
}

static void
malformed_kernels_die(void **state)
{
	(void)state;
	refuses(unset_register);
	refuses(set_twice);
	refuses(closed_variable);
	refuses(read_only_buffer);
	refuses(nested_vectors);
	refuses(inner_parallel);
	refuses(wrong_type);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_is_the_key),
	    cmocka_unit_test(affine_terms_merge),
	    cmocka_unit_test(symbolic_pieces),
	    cmocka_unit_test(malformed_kernels_die),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
