/* Shape rules and expansions meet whatever a file may hold: operands of any type,
 * rank and size, attributes with any numbers.  A rule reports and returns false or
 * sets every type; an expansion that succeeds gives exactly the types its rule
 * promised (node_expand dies otherwise). */
#include "ir/ir.h"
#include "tests/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 150 };

static unsigned seed = 1;

static unsigned
pick(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static int64_t
any_int(void)
{
	static const int64_t v[] = {0, 1, -1, 2, -2, 3, 4, 5, 7, -7, 100, 1 << 20, INT64_C(1) << 40,
	    INT64_MAX, INT64_MIN, INT32_MAX, INT32_MIN};

	return pick(4) ? v[pick(6)] : v[pick(sizeof v / sizeof *v)];
}

static struct value *
operand(struct graph *g, enum dtype dtype, int rank)
{
	static const int64_t sizes[] = {1, 2, 3, 4, 0, 5, 8};
	int64_t dims[MAX_RANK];
	struct tensor *t;
	int i;

	for (i = 0; i < rank; i++)
		dims[i] = sizes[pick(pick(3) ? 4 : 7)];
	if (pick(3) == 0 && (dtype == DT_i64 || dtype == DT_f32)) {
		t = tensor_new(g->arena, dtype, rank, dims);
		for (i = 0; i < tensor_count(t); i++)
			if (dtype == DT_i64)
				dtype_put_i(dtype, t->data, i, any_int());
			else
				dtype_put_f(dtype, t->data, i, pick(5) ? (double)pick(9) - 4 : NAN);
		return graph_const(g, NULL, t);
	}
	if (rank && pick(6) == 0)
		dims[pick((unsigned)rank)] = dim_symbol(g, "N", pick(2), 64);
	return graph_input(g, NULL, dtype, rank, dims);
}

static void
attributes(struct graph *g, struct node *n, int rank)
{
	static const char *const words[] = {"", "constant", "SAME_UPPER", "linear", "bk,kn->bn", "bmk,bkn->bmn",
	    "ij,jk->ik", "a,a->", "->", "nearest", "half_pixel", "mean", "none", "CRD"};
	const struct op_info *row = &op_info[n->op];
	int64_t ints[MAX_RANK + 4];
	double floats[4];
	int i, j, k;

	for (i = 0; i < row->nattr; i++) {
		const struct attr_info *a = &row->attrs[i];

		if (!a->required && pick(3) == 0)
			continue;
		k = pick(3) ? rank : (int)pick(MAX_RANK + 4);
		k = pick(4) ? k : 2 * (rank < 8 ? rank : 8) > MAX_RANK + 4 ? 4 : 2 * (rank < 8 ? rank : 8);
		switch (a->kind) {
		case ATTR_INT:
			node_set_int(g, n, a->name,
			    strcmp(a->name, "to") == 0 ? 1 + (int64_t)pick(NDTYPE - 1) : any_int());
			break;
		case ATTR_FLOAT:
			node_set_float(g, n, a->name, pick(4) ? (double)pick(5) - 1 : pick(2) ? NAN : 1e300);
			break;
		case ATTR_STRING:
			node_set_string(g, n, a->name, words[pick(sizeof words / sizeof *words)]);
			break;
		case ATTR_INTS:
			for (j = 0; j < k; j++) {
				ints[j] = any_int();
				if (attr_holds_dims(n->op, a->name))
					ints[j] = pick(8) ? (int64_t)pick(5) : dim_symbol(g, "N", 0, 64);
			}
			node_set_ints(g, n, a->name, k, ints);
			break;
		case ATTR_FLOATS:
			for (j = 0; j < 4; j++)
				floats[j] = pick(5);
			node_set_floats(g, n, a->name, (int)pick(5), floats);
			break;
		default:
			break;
		}
	}
}

static void
one(enum op op)
{
	static const enum dtype types[] = {DT_f32, DT_i64, DT_bool, DT_f64, DT_i32, DT_u8, DT_f16, DT_str, DT_i4};
	const struct op_info *row = &op_info[op];
	struct arena *a = arena_create();
	struct graph *g = graph_create(a, "hostile");
	struct value *in[16], *out[8];
	struct node *n;
	struct diag d;
	struct loc loc = {.file = "hostile.onnx", .node = 0};
	int max = row->in_max < 0 ? row->in_min + 4 : row->in_max, nin, nout, i, rank = (int)pick(6);
	enum dtype main_type = types[pick(pick(2) ? 1 : sizeof types / sizeof *types)];

	max = max > 16 ? 16 : max;
	nin = row->in_min + (int)pick((unsigned)(max - row->in_min + 1));
	nout = row->out_min + (row->out_max > row->out_min ? (int)pick((unsigned)(row->out_max - row->out_min + 1)) : 0);
	nout = nout < 1 ? 1 : nout > 8 ? 8 : nout;
	if (row->out_max < 0)
		nout = 1 + (int)pick(3);
	for (i = 0; i < nin; i++) {
		if (i >= row->in_min && pick(4) == 0)
			in[i] = NULL;
		else if (i && pick(3) == 0 && in[0])
			in[i] = in[0];
		else
			in[i] = operand(g, pick(5) ? main_type : types[pick(sizeof types / sizeof *types)],
			    pick(3) ? rank : (int)pick(MAX_RANK + 1));
		if (i == 0 && in[0])
			rank = in[0]->rank;
	}
	n = graph_node(g, op, NULL, loc, nin, in, nout);
	attributes(g, n, rank);
	diag_init(&d, NULL);
	memcpy(out, n->out, (size_t)nout * sizeof *out);
	if (!node_infer(g, n, &d)) {
		if (!d.errors) {
			struct str s = {0};

			for (i = 0; i < nin; i++)
				str_addf(&s, "%s%s", i ? ", " : " ", in[i] ? value_type_text(g, in[i]) : "_");
			node_print_attrs(n, &s);
			fail_msg("%s%s: refused without a message", row->id, s.s ? s.s : "");
		}
	} else {
		for (i = 0; i < nout; i++)
			if (n->out[i]->dtype == DT_none || n->out[i]->rank < 0)
				fail_msg("%s leaves output %d untyped", row->id, i);
		if (row->class == OC_composite && !node_expand(g, n, &d) && !d.errors)
			fail_msg("%s: not expanded, without a message", row->id);
	}
	diag_free(&d);
	arena_destroy(a);
}

static void
every_operator(void **state)
{
	const char *only = getenv("HOSTILE_OP");
	int op, i;

	(void)state;
	for (op = OP_none + 1; op < NOP; op++) {
		if (only && strcmp(only, op_info[op].id))
			continue;
		for (i = 0; i < ROUNDS; i++) {
			seed = (unsigned)(op * ROUNDS + i);
			one((enum op)op);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_operator)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
