/* A program to files: shared and static libraries with their header, an object, an
 * executable; their entry points called as a user would. */
#include "tests/codegen/hand.h"

#include <dlfcn.h>
#include <unistd.h>

#define AT hand_at
enum { N = 50, CHUNK = 10 };

static char dir[64];
static float weights[N];

/* call 0: t = exp(x) * w, call 1: y = t + x; t in the workspace, w a constant */
static struct program
two_calls(struct hand *h)
{
	static const int64_t dims[] = {5, CHUNK};
	struct buffer *b[4];
	struct program p = {.name = "two", .arena = h->a, .graph = h->p.graph, .work_bytes = N * 4 + 56, .const_bytes = N * 4};
	struct value *v[2] = {arena_new(h->a, struct value), arena_new(h->a, struct value)};

	for (int i = 0; i < N; i++)
		weights[i] = (float)hand_random();
	for (int i = 0; i < 4; i++) {
		static const enum space space[] = {SPACE_IO, SPACE_CONST, SPACE_WORK, SPACE_IO};

		b[i] = arena_new(h->a, struct buffer);
		*b[i] = (struct buffer){.id = i, .dtype = DT_f32, .space = space[i], .count = N, .bytes = N * 4,
		    .offset = i == 3, .data = i == 1 ? weights : NULL};
		vec_push(h->a, &p.buffers, b[i]);
	}
	for (int i = 0; i < 2; i++) {
		v[i]->dtype = DT_f32;
		v[i]->rank = 2;
		memcpy(v[i]->dims, dims, sizeof dims);
	}
	vec_push(h->a, &p.inputs, (struct io){"x", v[0], b[0]});
	vec_push(h->a, &p.outputs, (struct io){"out:y*/", v[1], b[3]});
	for (int c = 0; c < 2; c++) {
		struct kernel *k = kernel_new(h->a, c ? "plus" : "times", LOC_NONE);
		struct buffer **arg = arena_array(h->a, struct buffer *, 3);
		int pv, j, r;

		h->k = k;
		h->body = &k->body;
		for (int i = 0; i < 3; i++)
			kernel_buf(h->a, k, DT_f32, i == 2);
		hand_for(h, FOR_PARALLEL, N / CHUNK, &pv);
		hand_for(h, FOR_VECTOR, CHUNK, &j);
		struct affine at = AT(0, pv, CHUNK, j, 1);

		r = hand_load(h, 0, at);
		r = c ? r : hand_op(h, OP_exp, DT_f32, r, -1, -1);
		r = hand_op(h, c ? OP_add : OP_mul, DT_f32, r, hand_load(h, 1, at), -1);
		hand_store(h, 2, at, r);
		kernel_finish(k);
		arg[0] = c ? b[2] : b[0];
		arg[1] = c ? b[0] : b[1];
		arg[2] = c ? b[3] : b[2];
		vec_push(h->a, &p.calls, (struct call){.kernel = k, .arg = arg, .loc = LOC_NONE});
	}
	return p;
}

static const char *
at(struct hand *h, const char *name)
{
	return arena_printf(h->a, "%s/%s", dir, name);
}

static void
emit(struct hand *h, const struct program *p, enum emit kind, const char *name)
{
	struct target_opts o = {.opt_level = 2};
	struct diag d;
	struct target *t;

	diag_init(&d, stderr);
	t = target_open(&o, &d);
	assert_true(emit_library(t, p, "two", "{\"a\":1}", kind, at(h, name), &d));
	target_close(t);
	diag_free(&d);
}

static int
shell(struct hand *h, const char *cmd)
{
	return system(arena_printf(h->a, "cd %s && %s", dir, cmd));
}

static void
backwards(void *ctx, int n, void (*body)(void *, int), void *arg)
{
	*(int *)ctx += n;
	while (n-- > 0)
		body(arg, n);
}

typedef int run_fn(const float *, float *, void *, size_t);
typedef int run_mt_fn(const float *, float *, void *, size_t, void (*)(void *, int, void (*)(void *, int), void *), void *);

static void
shared(void **state)
{
	struct hand h = hand_new();
	struct program p = two_calls(&h);
	static _Alignas(64) unsigned char ws[1024];
	float x[N], y[N], z[N];
	int bodies = 0;
	void *so;
	run_fn *run;
	run_mt_fn *mt;
	size_t (*size)(void);
	const char *(*text)(int), *(*manifest)(void);

	(void)state;
	emit(&h, &p, EMIT_SHARED, "libtwo.so");
	so = dlopen(at(&h, "libtwo.so"), RTLD_NOW);
	if (!so)
		fail_msg("%s", dlerror());
	run = (run_fn *)dlsym(so, "two_run");
	mt = (run_mt_fn *)dlsym(so, "two_run_mt");
	size = (size_t(*)(void))dlsym(so, "two_workspace_size");
	text = (const char *(*)(int))dlsym(so, "two_strerror");
	manifest = (const char *(*)(void))dlsym(so, "two_manifest");
	assert_true(run && mt && size && text && manifest && !dlsym(so, "two_call") && !dlsym(so, "two_constants"));
	for (int i = 0; i < N; i++)
		x[i] = (float)hand_random();
	assert_int_equal(size(), p.work_bytes);
	assert_int_equal(run(x, y, ws, sizeof ws), 0);
	for (int i = 0; i < N; i++)
		assert_true(fabs(y[i] - (exp(x[i]) * weights[i] + x[i])) < 1e-6);
	assert_int_equal(mt(x, z, ws, sizeof ws, backwards, &bodies), 0);
	assert_int_equal(bodies, 2 * N / CHUNK);
	assert_memory_equal(y, z, sizeof y);
	assert_int_equal(run(NULL, y, ws, sizeof ws), 1);
	assert_int_equal(run(x, y, NULL, sizeof ws), 1);
	assert_int_equal(run(x, y, ws, 10), 3);
	assert_int_equal(run(x, y, ws + 4, 512), 4);
	assert_string_equal(text(0), "ok");
	assert_string_equal(text(-1), text(99));
	assert_string_equal(manifest(), "{\"a\":1}");
	dlclose(so);
	hand_free(&h);
}

/* An archive used from C99 and C++ through its header; the same bytes twice; libm only. */
static void
archive(void **state)
{
	static const char *const program =
	    "#include \\\"two.h\\\"\\n#include <stdio.h>\\n#include <string.h>\\n"
	    "static float x[TWO_X_ELEMS], y[TWO_OUT_Y___ELEMS];\\n"
	    "static _Alignas(TWO_WORKSPACE_ALIGN) unsigned char ws[TWO_WORKSPACE_SIZE];\\n"
	    "int main(void) { int s = two_run(x, y, ws, sizeof ws); puts(two_strerror(s));\\n"
	    "return s != TWO_OK || two_workspace_size() != sizeof ws || TWO_X_DIM1 != 10 || y[0] == 0; }\\n";
	struct hand h = hand_new();
	struct program p = two_calls(&h);
	struct diag d;

	(void)state;
	diag_init(&d, stderr);
	emit(&h, &p, EMIT_STATIC, "libtwo.a");
	assert_int_equal(shell(&h, "cp libtwo.a first.a"), 0);
	emit(&h, &p, EMIT_STATIC, "libtwo.a");
	assert_int_equal(shell(&h, "cmp first.a libtwo.a"), 0);
	assert_true(emit_header(&p, "two", 1, at(&h, "two.h"), &d));
	assert_int_equal(shell(&h, arena_printf(h.a, "printf \"%s\" > main.c", program)), 0);
	assert_int_equal(shell(&h, "cc -std=c11 -Wall -Wextra -pedantic -Werror main.c libtwo.a -lm -o main && ./main > said"), 0);
	assert_int_equal(shell(&h, "echo '#include \"two.h\"' > h.c && cc -std=c99 -pedantic -Werror -c h.c"), 0);
	/* undefined symbols: none but libm's; this program needs none at all */
	assert_int_equal(shell(&h, "test -z \"$(nm -u libtwo.a | grep ' U ' | grep -v _GLOBAL_OFFSET_TABLE_)\""), 0);
	assert_int_equal(shell(&h, "test \"$(nm -g --defined-only libtwo.a | grep -c ' T ')\" = 5"), 0);
	diag_free(&d);
	hand_free(&h);
}

static void
others(void **state)
{
	struct hand h = hand_new();
	struct program p = two_calls(&h);

	(void)state;
	emit(&h, &p, EMIT_OBJECT, "two.o");
	emit(&h, &p, EMIT_ASM, "two.s");
	emit(&h, &p, EMIT_LLVM, "two.ll");
	assert_int_equal(shell(&h, "cc -c two.s -o twos.o && nm twos.o | grep -q two_run"), 0);
	assert_int_equal(shell(&h, "grep -q 'define i32 @two_run' two.ll"), 0);
	/* nothing else lies about */
	assert_int_equal(shell(&h, "test -z \"$(ls | grep -v '^two\\|^libtwo\\|^main\\|^h\\.\\|^first\\|^said')\""), 0);
	hand_free(&h);
}

/* A dimension known at run time is a leading argument, checked against its bounds. */
static void
dynamic(void **state)
{
	static const char *const program =
	    "#include \\\"dyn.h\\\"\\n"
	    "static float x[DYN_X_ELEMS_MAX], y[DYN_Y_ELEMS_MAX];\\n"
	    "int main(void) { int i; for (i = 0; i < DYN_X_ELEMS_MAX; i++) x[i] = (float)i;\\n"
	    "if (dyn_run(5, x, y, 0, 0) != DYN_OK || y[14] != 28 || y[15] != 0) return 1;\\n"
	    "if (dyn_workspace_size(5) != 0 || DYN_BATCH_MAX != 9) return 2;\\n"
	    "return dyn_run(10, x, y, 0, 0) != DYN_E_DIM || dyn_run(-1, x, y, 0, 0) != DYN_E_DIM; }\\n";
	struct hand h = hand_new();
	struct program p = {.name = "dyn", .arena = h.a, .graph = h.p.graph};
	struct target_opts o = {.opt_level = 2};
	struct value *v = arena_new(h.a, struct value);
	int64_t n = dim_symbol(h.p.graph, "batch", 1, 9);

	p.sym = &n;
	p.nsym = p.ngiven = 1;
	struct diag d;
	struct target *t;
	int i, j, r;

	(void)state;
	diag_init(&d, stderr);
	v->dtype = DT_f32;
	v->rank = 2;
	v->dims[0] = n;
	v->dims[1] = 3;
	hand_buf(&h, DT_f32, 27, NULL);
	hand_buf(&h, DT_f32, 27, NULL);
	hand_for(&h, FOR_PARALLEL, n, &i);
	hand_for(&h, FOR_VECTOR, 3, &j);
	r = hand_load(&h, 0, AT(0, i, 3, j, 1));
	hand_store(&h, 1, AT(0, i, 3, j, 1), hand_op(&h, OP_add, DT_f32, r, r, -1));
	kernel_finish_sym(h.k, p.graph);
	vec_push(h.a, &p.calls, (struct call){.kernel = h.k, .arg = h.arg, .loc = LOC_NONE});
	vec_push(h.a, &p.inputs, (struct io){"x", v, h.arg[0]});
	vec_push(h.a, &p.outputs, (struct io){"y", v, h.arg[1]});
	t = target_open(&o, &d);
	assert_true(emit_library(t, &p, "dyn", "", EMIT_STATIC, at(&h, "libtwodyn.a"), &d));
	assert_true(emit_header(&p, "dyn", 1, at(&h, "dyn.h"), &d));
	target_close(t);
	assert_int_equal(shell(&h, arena_printf(h.a, "printf \"%s\" > main.c", program)), 0);
	assert_int_equal(shell(&h, "cc -std=c99 -Wall -Wextra -pedantic -Werror main.c libtwodyn.a -o main && ./main && rm dyn.h"), 0);
	diag_free(&d);
	hand_free(&h);
}

/* An unwritable place: one message, no file. */
static void
failure(void **state)
{
	struct hand h = hand_new();
	struct program p = two_calls(&h);
	struct target_opts o = {.opt_level = 2};
	struct diag d;
	struct target *t;

	(void)state;
	diag_init(&d, NULL);
	t = target_open(&o, &d);
	assert_false(emit_library(t, &p, "two", "", EMIT_OBJECT, "/nowhere/two.o", &d));
	assert_int_equal(d.status, STATUS_IO);
	assert_int_equal(d.errors, 1);
	target_close(t);
	o.cpu = "pentium9";
	assert_null(target_open(&o, &d));
	o = (struct target_opts){.triple = "sparc-sun-solaris"};
	assert_null(target_open(&o, &d));
	diag_free(&d);
	hand_free(&h);
}

/* Another machine: an object comes out; nothing to run it here. */
static void
cross(void **state)
{
	struct hand h = hand_new();
	struct program p = two_calls(&h);
	struct target_opts o = {.triple = "aarch64-linux-gnu", .opt_level = 2};
	struct diag d;
	struct target *t;

	(void)state;
	diag_init(&d, stderr);
	t = target_open(&o, &d);
	assert_non_null(t);
	assert_true(emit_library(t, &p, "two", "", EMIT_OBJECT, at(&h, "two_arm.o"), &d));
	target_close(t);
	diag_free(&d);
	hand_free(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shared), cmocka_unit_test(archive), cmocka_unit_test(dynamic), cmocka_unit_test(others), cmocka_unit_test(failure),
		cmocka_unit_test(cross),
	};
	int failed;
	char cmd[128];

	snprintf(dir, sizeof dir, "%s/retort-emit-XXXXXX", getenv("TMPDIR") && strlen(getenv("TMPDIR")) < 30 ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(dir))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(cmd, sizeof cmd, "rm -r %s", dir);
	return system(cmd) | failed;
}
