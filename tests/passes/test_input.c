/* Pictures as a model wants them, `channels` and `resize` of an input, against loops:
 * grey by BT.601, sizes by the triangle that Pillow and torchvision call antialiased. */
#include "tests/unit.h"

#include "numeric.h"
#include "passes/distill.h"

#include <math.h>
#include <string.h>

enum { ROWS = 2 };

struct picture { int64_t c, h, w; double *p; }; /* [ROWS, c, h, w]; c 0: [ROWS, h, w] */

static int
pixel(int64_t i)
{
	return (int)(i * 73 % 256);
}

static struct picture
picture(struct arena *a, int64_t c, int64_t h, int64_t w)
{
	return (struct picture){c, h, w, arena_array(a, double, ROWS * (c ? c : 1) * h * w)};
}

/* out[y] = sum k(y, i) in[i] / sum k(y, i), k a triangle of half-width max(1, n/m) */
static struct picture
shrunk(struct arena *a, struct picture x, int64_t h, int64_t w)
{
	struct picture y = picture(a, x.c, h, w);
	double sy = (double)x.h / (double)h, sx = (double)x.w / (double)w, ry = fmax(1, sy), rx = fmax(1, sx);
	int64_t planes = ROWS * (x.c ? x.c : 1);

	for (int64_t n = 0; n < planes; n++)
		for (int64_t i = 0; i < h; i++)
			for (int64_t j = 0; j < w; j++) {
				double sum = 0, of = 0;

				for (int64_t u = 0; u < x.h; u++)
					for (int64_t v = 0; v < x.w; v++) {
						double ky = fmax(0, 1 - fabs((double)u + 0.5 - ((double)i + 0.5) * sy) / ry);
						double k = ky * fmax(0, 1 - fabs((double)v + 0.5 - ((double)j + 0.5) * sx) / rx);

						sum += k * x.p[(n * x.h + u) * x.w + v];
						of += k;
					}
				y.p[(n * h + i) * w + j] = sum / of;
			}
	return y;
}

static struct picture
recolored(struct arena *a, struct picture x, int64_t channels)
{
	struct picture y = picture(a, channels, x.h, x.w);
	int64_t from = x.c ? x.c : 1, n = x.h * x.w;

	for (int64_t r = 0; r < ROWS; r++)
		for (int64_t c = 0; c < channels; c++)
			for (int64_t i = 0; i < n; i++) {
				const double *p = x.p + r * from * n + i;

				y.p[(r * channels + c) * n + i] = from == channels ? p[c * n]
				    : from == 1 ? p[0] : 0.299 * p[0] + 0.587 * p[n] + 0.114 * p[2 * n];
			}
	return y;
}

/* A student that gives its input back, fed by u8 pictures [c, h, w]. */
struct setup {
	struct arena *a;
	struct diag d;
	struct distill_field field;
	struct distill_input in;
	struct distill_name name;
	struct distill s;
};

static void
set_up(struct setup *s, struct picture x, int rank, const int64_t *dims)
{
	struct graph *g;
	struct build b;

	*s = (struct setup){.a = arena_create()};
	diag_init(&s->d, NULL);
	g = graph_create(s->a, "student.onnx");
	b = build_at(g, &s->d, LOC_NONE, NULL);
	s->field = (struct distill_field){.name = "image", .dtype = DT_u8, .rank = x.c ? 3 : 2};
	memcpy(s->field.dims, x.c ? (int64_t[]){x.c, x.h, x.w} : (int64_t[]){x.h, x.w, 0}, 3 * sizeof(int64_t));
	s->in = (struct distill_input){.value = graph_input(g, "x", DT_f32, rank, dims), .field = "image", .scale = 0.5, .offset = -3};
	graph_output(g, "same", b_muls(&b, s->in.value, 2));
	s->name = (struct distill_name){"y", "same", LOC_NONE};
	s->s = (struct distill){.name = "t", .batch = ROWS, .nfields = 1, .fields = &s->field};
	s->s.student = (struct distill_model){.name = "student", .graph = g, .graph_eval = g, .ninputs = 1, .inputs = &s->in,
	                                      .nnames = 1, .noutputs = 1, .names = &s->name};
}

static void
tear_down(struct setup *s)
{
	diag_free(&s->d);
	arena_destroy(s->a);
}

static void
check(struct setup *s, struct picture want)
{
	struct graph *g = distill_infer_graph(s->a, &s->s, &s->d);
	struct eval_opts opts = {.arena = s->a};
	struct etensor *in, *out;

	assert_non_null(g);
	assert_int_equal(g->inputs.n, 1);
	in = etensor_new(s->a, DT_u8, g->inputs.v[0]->rank, g->inputs.v[0]->dims);
	for (int64_t i = 0; i < in->count; i++)
		et_put(in, i, pixel(i));
	assert_true(eval_graph(&opts, g, &in, &out, NULL, NULL, &s->d));
	assert_int_equal(out->count, ROWS * (want.c ? want.c : 1) * want.h * want.w);
	for (int64_t i = 0; i < out->count; i++)
		assert_float_equal(et_get(out, i), want.p[i] - 6, 1e-3);
}

static struct picture
given(struct arena *a, int64_t c, int64_t h, int64_t w)
{
	struct picture x = picture(a, c, h, w);

	for (int64_t i = 0; i < ROWS * (c ? c : 1) * h * w; i++)
		x.p[i] = pixel(i);
	return x;
}

static void
grey_and_smaller(void **state)
{
	struct arena *a = arena_create();
	struct picture x = given(a, 3, 9, 7);
	struct setup s;

	(void)state;
	set_up(&s, x, 4, (int64_t[]){ROWS, 1, 4, 5});
	s.in.channels = 1;
	memcpy(s.in.resize, (int64_t[]){4, 5}, sizeof s.in.resize);
	check(&s, shrunk(a, recolored(a, x, 1), 4, 5));
	tear_down(&s);
	/* and as a vector */
	set_up(&s, x, 2, (int64_t[]){ROWS, 20});
	s.in.channels = 1;
	memcpy(s.in.resize, (int64_t[]){4, 5}, sizeof s.in.resize);
	check(&s, shrunk(a, recolored(a, x, 1), 4, 5));
	tear_down(&s);
	arena_destroy(a);
}

static void
colour_and_larger(void **state)
{
	struct arena *a = arena_create();
	struct picture x = given(a, 0, 4, 5);
	struct setup s;

	(void)state;
	set_up(&s, x, 4, (int64_t[]){ROWS, 3, 8, 5});
	s.in.channels = 3;
	memcpy(s.in.resize, (int64_t[]){8, 5}, sizeof s.in.resize);
	check(&s, shrunk(a, recolored(a, x, 3), 8, 5));
	tear_down(&s);
	/* without channels: planes as they are */
	set_up(&s, x, 3, (int64_t[]){ROWS, 3, 6});
	memcpy(s.in.resize, (int64_t[]){3, 6}, sizeof s.in.resize);
	check(&s, shrunk(a, x, 3, 6));
	tear_down(&s);
	arena_destroy(a);
}

/* u8 [H,W,3] as blue, green, red planes */
static void
backwards(void **state)
{
	struct arena *a = arena_create();
	struct picture x = given(a, 4, 5, 3), want = picture(a, 3, 4, 5); /* read as [h 4, w 5, c 3] */
	struct setup s;

	(void)state;
	for (int64_t r = 0; r < ROWS; r++)
		for (int64_t c = 0; c < 3; c++)
			for (int64_t i = 0; i < 20; i++)
				want.p[(r * 3 + c) * 20 + i] = x.p[r * 60 + i * 3 + 2 - c];
	set_up(&s, x, 4, (int64_t[]){ROWS, 3, 4, 5});
	s.in.hwc = s.in.bgr = true;
	s.in.channels = 3;
	check(&s, want);
	tear_down(&s);
	arena_destroy(a);
}

static void
refused(void **state)
{
	struct arena *a = arena_create();
	struct setup s;

	(void)state;
	set_up(&s, given(a, 2, 4, 5), 4, (int64_t[]){ROWS, 1, 4, 5});
	s.in.channels = 1;
	assert_null(distill_infer_graph(s.a, &s.s, &s.d));
	assert_non_null(strstr(s.d.text.s, "samples [H,W] or [C,H,W] are expected"));
	tear_down(&s);
	arena_destroy(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(grey_and_smaller),
	    cmocka_unit_test(colour_and_larger),
	    cmocka_unit_test(backwards),
	    cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
