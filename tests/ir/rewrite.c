/* the sweep: nodes land where the visited one stood, replacements reach every later
 * use, made nodes are visited when asked, a failure leaves the graph whole. */
#include "ir/ir.h"
#include "tests/unit.h"

#include <string.h>

struct fixture { struct arena *a; struct diag d; struct graph *g; };

static struct fixture
setup(const char *text)
{
	struct fixture f = {.a = arena_create()};

	diag_init(&f.d, NULL);
	f.g = graph_parse(f.a, text, "test", &f.d);
	assert_non_null(f.g);
	return f;
}

static void
teardown(struct fixture *f)
{
	graph_verify(f->g, "test");
	diag_free(&f->d);
	arena_destroy(f->a);
}

static const char chain[] = "graph g {\n"
			    "  %x = input f32[4]\n"
			    "  %a = exp %x @ \"m\":7 \"first\"\n"
			    "  %b = sigmoid %a\n"
			    "  %c = add %b, %a\n"
			    "  %d = sigmoid %c\n"
			    "  output %d \"y\"\n"
			    "  output %a \"z\"\n"
			    "}\n";

/* sigmoid x -> 1 / (1 + exp(-x)) */
static bool
open_sigmoid(struct rewrite *rw, struct node *n)
{
	struct build *b = &rw->b;
	struct value *y;

	++*(int *)rw->ctx;
	if (n->op != OP_sigmoid)
		return true;
	y = b_adds(b, b_exp(b, b_neg(b, n->in[0])), 1);
	y = b_div(b, b_scalar_like(b, y, 1), y);
	rewrite_node(rw, n, &y);
	return true;
}

static void
nodes_land_in_place(void **state)
{
	static const enum op want[] = {OP_exp, OP_neg, OP_exp, OP_add, OP_div, OP_add, OP_neg, OP_exp, OP_add, OP_div};
	struct fixture f = setup(chain);
	int visits = 0, i;

	(void)state;
	assert_true(graph_rewrite(f.g, &f.d, "opened", false, open_sigmoid, &visits));
	assert_int_equal(visits, 4);
	assert_int_equal(f.g->nodes.n, 10);
	for (i = 0; i < 10; i++)
		assert_int_equal(f.g->nodes.v[i]->op, want[i]);
	assert_string_equal(f.g->nodes.v[1]->loc.maker, "opened");
	assert_string_equal(f.g->nodes.v[4]->out[0]->name, "b");
	assert_ptr_equal(f.g->outputs.v[0], f.g->nodes.v[9]->out[0]);
	teardown(&f);
}

static void
made_nodes_are_visited_when_nested(void **state)
{
	struct fixture f = setup(chain);
	int visits = 0;

	(void)state;
	assert_true(graph_rewrite(f.g, &f.d, NULL, true, open_sigmoid, &visits));
	assert_int_equal(visits, 12);
	assert_int_equal(f.g->nodes.n, 10);
	teardown(&f);
}

/* exp x -> x: everything later sees x, outputs too */
static bool
drop_exp(struct rewrite *rw, struct node *n)
{
	if (n->op == OP_exp)
		rewrite_node(rw, n, n->in);
	else
		assert_true(n->op == OP_sigmoid || n->in[1] == rw->g->inputs.v[0]);
	return true;
}

static void
replacements_reach_later_uses(void **state)
{
	struct fixture f = setup(chain);

	(void)state;
	assert_true(graph_rewrite(f.g, &f.d, NULL, true, drop_exp, NULL));
	assert_int_equal(f.g->nodes.n, 3);
	assert_ptr_equal(f.g->outputs.v[1], f.g->inputs.v[0]);
	teardown(&f);
}

static bool
fail_at_add(struct rewrite *rw, struct node *n)
{
	struct value *y;

	if (n->op == OP_add)
		return diag_invalid(rw->b.diag, n->loc, "no");
	y = b_neg(&rw->b, b_neg(&rw->b, n->in[0]));
	rewrite_value(rw, n->out[0], y);
	n->dead = true;
	return true;
}

static void
failure_leaves_a_whole_graph(void **state)
{
	struct fixture f = setup(chain);

	(void)state;
	assert_false(graph_rewrite(f.g, &f.d, NULL, false, fail_at_add, NULL));
	assert_int_equal(f.d.errors, 1);
	assert_int_equal(f.g->nodes.n, 6);
	teardown(&f);
}

/* Softmax and what it is made of, in one nested sweep. */
static bool
expand_all(struct rewrite *rw, struct node *n)
{
	return op_info[n->op].class != OC_composite || rewrite_expand(rw, n);
}

static void
expansions_of_expansions(void **state)
{
	struct fixture f = setup("graph g {\n %x = input f32[2,3]\n %a = Softmax %x\n %b = LogSoftmax %a\n"
				 " %c = Relu %b\n output %c \"y\"\n}");
	int i;

	(void)state;
	assert_true(graph_rewrite(f.g, &f.d, "expand", true, expand_all, NULL));
	for (i = 0; i < f.g->nodes.n; i++)
		assert_int_not_equal(op_info[f.g->nodes.v[i]->op].class, OC_composite);
	assert_string_equal(f.g->outputs.v[0]->name, "c");
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nodes_land_in_place),
	    cmocka_unit_test(made_nodes_are_visited_when_nested),
	    cmocka_unit_test(replacements_reach_later_uses),
	    cmocka_unit_test(failure_leaves_a_whole_graph),
	    cmocka_unit_test(expansions_of_expansions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
