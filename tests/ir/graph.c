/* graphs: replacing, sweeping, use counts, unique names, clones with prefixes and
 * sizes carried to another graph. */
#include "ir/ir.h"
#include "tests/unit.h"

#include <string.h>

struct fixture { struct arena *a; struct diag d; struct graph *g; };

static struct fixture
setup(const char *text)
{
	struct fixture f = {.a = arena_create()};

	diag_init(&f.d, stderr);
	f.g = graph_parse(f.a, text, "test", &f.d);
	assert_non_null(f.g);
	return f;
}

static void
teardown(struct fixture *f)
{
	diag_free(&f->d);
	arena_destroy(f->a);
}

static const char chain[] = "graph g {\n"
			    "  dim N 1..8\n"
			    "  %x = input f32[N,4]\n"
			    "  %w = state trainable f32[4] {1,2,3,4}\n"
			    "  %a = exp %x\n"
			    "  %b = add %a, %w\n"
			    "  %c = reshape %b (dims=[(N*4)])\n"
			    "  output %c \"y\"\n"
			    "  output %a \"also\"\n"
			    "  update %w = %w\n"
			    "}\n";

static void
replace_one_and_many(void **state)
{
	struct fixture f = setup(chain);
	struct value *a = f.g->nodes.v[0]->out[0], *x = f.g->inputs.v[0], **to;
	struct value *b = f.g->nodes.v[1]->out[0];
	int *uses = graph_use_counts(f.a, f.g);

	(void)state;
	assert_int_equal(uses[a->id], 2);
	assert_int_equal(uses[x->id], 1);
	assert_int_equal(uses[f.g->states.v[0]->id], 2);
	graph_replace(f.g, a, x);
	assert_ptr_equal(f.g->nodes.v[1]->in[0], x);
	assert_ptr_equal(f.g->outputs.v[1], x);
	f.g->nodes.v[0]->dead = true;
	graph_sweep(f.g);
	assert_int_equal(f.g->nodes.n, 2);
	/* a chain b -> a -> x is followed */
	to = arena_array(f.a, struct value *, f.g->nvalue);
	to[b->id] = a;
	to[a->id] = x;
	graph_replace_all(f.g, to, f.g->nvalue);
	assert_ptr_equal(f.g->nodes.v[1]->in[0], x);
	teardown(&f);
}

static const char measured[] = "graph g {\n"
			       "  dim N 1..8\n"
			       "  dim u 0..8\n"
			       "  %x = input f32[N,4]\n"
			       "  %k = input bool[N]\n"
			       "  %i = cast %k (to=i64)\n"
			       "  %c = reduce_sum %i (axes=[0])\n"
			       "  %y = compact %x, %k (dims=[u])\n"
			       "  output %y \"y\"\n"
			       "  size u = %c\n"
			       "}\n";

/* Two copies in one graph share what is given and measure each its own. */
static void
clone_measures_its_own(void **state)
{
	struct fixture f = setup(measured);
	struct graph *h = graph_create(f.a, "h");
	struct value *y[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct value **map = arena_array(f.a, struct value *, f.g->nvalue);

		graph_clone_into(h, f.g, map, i ? "b/" : "a/");
		y[i] = map[f.g->outputs.v[0]->id];
		graph_output(h, i ? "b" : "a", y[i]);
	}
	graph_verify(h, "clone");
	assert_int_equal(h->sizes.n, 2);
	assert_true(h->inputs.v[0]->dims[0] == h->inputs.v[2]->dims[0]);
	assert_true(y[0]->dims[0] != y[1]->dims[0]);
	for (int i = 0; i < 2; i++)
		assert_ptr_equal(graph_size_of(h, y[i]->dims[0])->def->in[0]->def->in[0], y[i]->def->in[1]);
	assert_int_equal(dim_hi(h, y[1]->dims[0]), 8);
	teardown(&f);
}

static void
clone_into_another_graph(void **state)
{
	struct fixture f = setup(chain);
	struct graph *h = graph_create(f.a, "h");
	struct value **map = arena_array(f.a, struct value *, f.g->nvalue), *y;

	(void)state;
	dim_symbol(h, "T", 1, 3); /* so that handles differ */
	graph_clone_into(h, f.g, map, "teacher/");
	y = map[f.g->outputs.v[0]->id];
	graph_output(h, "y", y);
	graph_verify(h, "clone");
	assert_int_equal(h->nodes.n, 3);
	assert_string_equal(y->name, "teacher/c");
	assert_string_equal(dim_text(h, y->dims[0]), "(N*4)");
	assert_int_equal(dim_hi(h, y->dims[0]), 32);
	assert_string_equal(h->states.v[0]->name, "teacher/w");
	assert_int_equal(h->outputs.n, 1);
	assert_int_equal(h->updates.n, 0);
	teardown(&f);
}

static void
clone_onto_given_inputs(void **state)
{
	struct fixture f = setup(chain);
	struct graph *h = graph_create(f.a, "h");
	struct value **map = arena_array(f.a, struct value *, f.g->nvalue);
	struct value *x = graph_input(h, "image", DT_f32, 2, (int64_t[]){0, 4});

	(void)state;
	x->dims[0] = dim_symbol(h, "N", 1, 8);
	map[f.g->inputs.v[0]->id] = x;
	graph_clone_into(h, f.g, map, NULL);
	assert_int_equal(h->inputs.n, 1);
	assert_ptr_equal(h->nodes.v[0]->in[0], x);
	graph_verify(h, "clone");
	teardown(&f);
}

static void
names_become_unique(void **state)
{
	struct fixture f = setup("graph g {\n %x = input f32\n %0 = exp %x\n %1 = exp %0\n output %1 \"y\"\n}");

	(void)state;
	f.g->nodes.v[0]->out[0]->name = "x";
	graph_unique_names(f.g);
	assert_string_equal(f.g->nodes.v[0]->out[0]->name, "x.1");
	assert_string_equal(f.g->nodes.v[1]->out[0]->name, "v");
	assert_string_equal(f.g->nodes.v[0]->name, "exp");
	assert_string_equal(f.g->nodes.v[1]->name, "exp.1");
	teardown(&f);
}

static void
expand_in_place(void **state)
{
	struct fixture f = setup("graph g {\n %x = input f32[2,3]\n %s = Softmax %x \"sm\"\n %y = exp %s\n"
				 " output %y \"y\"\n}");

	(void)state;
	assert_true(node_expand(f.g, f.g->nodes.v[0], &f.d));
	graph_sweep(f.g);
	graph_verify(f.g, "expand");
	assert_int_equal(f.g->nodes.v[f.g->nodes.n - 1]->op, OP_exp);
	assert_string_equal(f.g->nodes.v[f.g->nodes.n - 1]->in[0]->name, "s");
	assert_true(f.g->nodes.n > 3);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(replace_one_and_many), cmocka_unit_test(clone_measures_its_own),
		cmocka_unit_test(clone_into_another_graph),
	    cmocka_unit_test(clone_onto_given_inputs), cmocka_unit_test(names_become_unique),
	    cmocka_unit_test(expand_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
