/* shapes -- every loss with tensors of any shapes, numbers of them and settings: it is built
 * and has a gradient, or says why it cannot be; nothing else.
 *     shapes [SEED] */
#include "passes/loss.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static int64_t
below(int64_t n)
{
	uint64_t z = state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (int64_t)((z ^ z >> 31) % (uint64_t)n);
}

enum { ROWS = 4 };

static struct value *
tensor(struct graph *g, const char *name, enum dtype t, const struct value *like)
{
	static const int64_t sizes[] = {1, 2, 2, 3, 4, 4, 5, 9};
	int64_t dims[MAX_RANK] = {ROWS};
	int rank = 1 + (int)below(5);

	for (int i = 1; i < rank; i++)
		dims[i] = sizes[below(8)];
	if (like && below(2)) { /* often as the other, or nearly */
		rank = like->rank;
		memcpy(dims, like->dims, sizeof dims);
		if (rank > 1 && below(2))
			dims[1 + below(rank - 1)] = sizes[below(8)];
	}
	return graph_input(g, name, t, rank, dims);
}

static void
any_settings(struct arena *a, const struct loss_info *l, struct distill_term *t)
{
	struct dial *v = arena_array(a, struct dial, l->nsettings + 1);

	for (int i = 0; i < l->nsettings; i++) {
		const struct loss_setting *s = &l->settings[i];

		v[i].from = s->otherwise;
		if (s->kind == SETTING_CHOICE || s->kind == SETTING_FLAG)
			v[i].from = (double)below((int64_t)s->most + 1);
	}
	*t = (struct distill_term){
	    .name = "t", .loss = l->name, .values = v, .tau_squared = true, .loc = LOC_NONE};
	t->weight.from = 1;
	t->temperature.from = l->temperature;
	if (l->features == 1)
		t->adaptor.kind = (enum adaptor_kind)below(ADAPTOR_DECLARED + 1);
	if (t->adaptor.kind == ADAPTOR_DECLARED)
		t->adaptor = (struct adaptor){ADAPTOR_DECLARED, below(5), 1 + below(2), below(2),
		    below(2), below(2), below(2), below(2), (enum resize)below(4)};
}

/* Maps of the teachers' classes, often as long as they are, and weights. */
static void
about_teachers(struct arena *a, const struct loss_in *in, struct distill_term *t)
{
	struct distill_class_map *m = arena_array(a, struct distill_class_map, in->nteachers + 1);
	double *w = arena_array(a, double, in->nteachers + 1);

	for (int k = 0; k < in->nteachers; k++) {
		const struct value *v = in->teachers[k];
		int64_t n = below(3) && v->rank > 1 ? v->dims[1] : below(6), *to = arena_array(a, int64_t, n + 1);

		for (int64_t i = 0; i < n; i++)
			to[i] = below(5) - 1;
		m[k] = (struct distill_class_map){n, to};
		w[k] = 1 + (double)below(3);
	}
	if (below(3) == 0)
		t->maps = m;
	if (below(3) == 0)
		t->teacher_weights = w;
}

/* False: it failed without a word, or said something and was built. */
static bool
once(const struct loss_info *l)
{
	struct arena *a = arena_create();
	struct diag d;
	struct graph *g = graph_create(a, "loss");
	struct build b;
	struct distill_term t;
	struct distill_field f = {.name = "y", .classes = 3, .rank = 1, .dims = {1}};
	struct loss_in in = {
	    .term = &t, .b = &b, .seed = 1, .batch = ROWS, .samples = 20, .eval = below(4) == 0};
	struct value *wrt[256], *grads[256], *loss;
	struct loss out;
	int n = 0;
	bool ok, quiet;

	diag_init(&d, NULL);
	b = build_at(g, &d, LOC_NONE, NULL);
	any_settings(a, l, &t);
	in.nstudents = l->features ? 1 + (int)below(3) : 1;
	in.nteachers =
	    l->teachers == LOSS_NO
		? 0
		: (int)below(3) + (l->teachers == LOSS_MUST); /* as the recipe is checked */
	in.students = arena_array(a, struct value *, 4);
	in.teachers = arena_array(a, struct value *, 4);
	in.student_names = arena_array(a, const char *, 4);
	in.teacher_names = arena_array(a, const char *, 4);
	for (int i = 0; i < in.nstudents; i++) {
		in.student_names[i] = arena_printf(a, "s%d", i);
		in.students[i] = tensor(g, in.student_names[i], DT_f32, NULL);
	}
	for (int i = 0; i < in.nteachers; i++) {
		in.teacher_names[i] = arena_printf(a, "t%d", i);
		in.teachers[i] =
		    tensor(g, in.teacher_names[i], DT_f32, in.students[i < in.nstudents ? i : 0]);
	}
	about_teachers(a, &in, &t);
	in.student = in.students[0];
	in.student_name = in.student_names[0];
	if (l->target != LOSS_NO && below(4)) {
		f.dtype = below(3) ? DT_i32 : DT_f32;
		in.target = tensor(g, "y", f.dtype, below(2) ? in.student : NULL);
		in.field = &f;
	}
	if (below(3) == 0)
		in.mask = tensor(g, "mask", DT_f32, in.student);
	if (in.eval)
		in.valid = graph_input(g, "valid", DT_f32, 1, (const int64_t[]){ROWS});
	ok = loss_build(&in, &out);
	quiet = d.errors == 0;
	loss = ok ? (out.total ? out.total : loss_mean(&in, out.row)) : NULL;
	for (int i = 0; i < in.nstudents; i++)
		wrt[n++] = in.students[i];
	for (int i = 0; i < g->states.n && n < 256; i++)
		if (g->states.v[i]->trainable)
			wrt[n++] = g->states.v[i];
	if (ok != quiet || (ok && (!loss || !grad_build(g, loss, n, wrt, grads, &d)))) {
		fprintf(stderr, "%s: %s\n", l->name, d.text.n ? d.text.s : "fails without a word");
		for (int i = 0; i < in.nstudents; i++)
			fprintf(
			    stderr, "  %s %s\n", in.student_names[i], dims_text(a, in.students[i]));
		for (int i = 0; i < in.nteachers; i++)
			fprintf(
			    stderr, "  %s %s\n", in.teacher_names[i], dims_text(a, in.teachers[i]));
		ok = false;
	} else {
		graph_output(g, "loss", loss ? loss : in.student);
		if (ok)
			graph_verify(g, l->name);
		ok = true;
	}
	diag_free(&d);
	arena_destroy(a);
	return ok;
}

int
main(int argc, char **argv)
{
	int failed = 0, built = 0;

	state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	for (int l = 0; l < NLOSSES; l++)
		for (int i = 0; i < 150; i++, built++)
			failed += !once(&loss_info[l]);
	fprintf(stderr, "%d terms, %d failed\n", built, failed);
	return failed != 0;
}
