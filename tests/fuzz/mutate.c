/* mutate -- models with operands dropped, doubled and exchanged, attributes changed,
 * sizes, ranks and types that nothing promised, through import, expansion, folding and
 * lowering.  Each in a process of its own with a limit of time and memory: what ends by
 * a signal is written beside the tool and fails the run.
 *
 *   mutate [--rounds N] [--edits N] [--seed S] [--keep DIR] MODEL...
 *
 * With --edits 0 the models are as they are, and what is refused is told. */
#include "frontend/onnx.h"
#include "passes/passes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECONDS = 20 };
static int edits = 3;

static uint64_t state;

static uint32_t
pick(uint32_t n)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return n ? (uint32_t)((state >> 33) % n) : 0;
}

static int64_t
any_int(void)
{
	static const int64_t v[] = {0, 1, -1, 2, 3, -2, 5, 7, 100, 65536, INT32_MAX, INT32_MIN, (int64_t)1 << 40,
	    INT64_MAX, INT64_MIN, INT64_MAX / 2};

	return v[pick(pick(2) ? 6 : sizeof v / sizeof *v)];
}

static float
any_float(void)
{
	static const float v[] = {0, 1, -1, 0.5f, -0.5f, 1e30f, -1e30f, 1e-30f};

	return pick(8) ? v[pick(8)] : (float)(0.0 / (double)(pick(1)));
}

static int32_t
any_type(void)
{
	return (int32_t)pick(27);
}

/* ---- edits; each may find nothing to do */
static void
edit_inputs(struct arena *a, Onnx__GraphProto *g, Onnx__NodeProto *n)
{
	size_t i = pick((uint32_t)n->n_input), k = pick((uint32_t)n->n_input);
	char **wide, *t;

	switch (n->n_input ? pick(6) : 5) {
	case 0: /* leave one out */
		n->input[i] = "";
		break;
	case 1: /* exchange two */
		t = n->input[i];
		n->input[i] = n->input[k];
		n->input[k] = t;
		break;
	case 2: /* cut the end */
		n->n_input = i;
		break;
	case 3: /* another value of the graph */
		if (g->n_input)
			n->input[i] = g->input[pick((uint32_t)g->n_input)]->name;
		break;
	case 4:
		if (g->n_initializer)
			n->input[i] = g->initializer[pick((uint32_t)g->n_initializer)]->name;
		break;
	default: /* one too many */
		wide = arena_array(a, char *, n->n_input + 1);
		if (n->n_input)
			memcpy(wide, n->input, n->n_input * sizeof *wide);
		wide[n->n_input++] = g->n_input ? g->input[0]->name : "x";
		n->input = wide;
	}
}

static void
edit_attribute(struct arena *a, Onnx__AttributeProto *t)
{
	static char *const words[] = {"", "constant", "linear", "SAME_UPPER", "none", "ij,jk->ik", "...", "bidirectional",
	    "a,a,a->aaaa", "Tanh"};

	switch (pick(6)) {
	case 0:
		t->i = any_int();
		t->has_i = 1;
		break;
	case 1:
		t->f = any_float();
		break;
	case 2:
		if (t->n_ints)
			t->ints[pick((uint32_t)t->n_ints)] = any_int();
		break;
	case 3: /* a list of another length */
		if (t->n_ints) {
			int64_t *v = arena_array(a, int64_t, t->n_ints + 20);

			memcpy(v, t->ints, t->n_ints * sizeof *v);
			t->n_ints = pick((uint32_t)t->n_ints + 20);
			t->ints = v;
		} else if (t->n_floats)
			t->n_floats = pick((uint32_t)t->n_floats);
		else if (t->n_strings)
			t->n_strings = pick((uint32_t)t->n_strings);
		break;
	case 4:
		t->s.data = (uint8_t *)words[pick(sizeof words / sizeof *words)];
		t->s.len = strlen((char *)t->s.data);
		t->has_s = 1;
		break;
	default:
		if (pick(3) == 0)
			t->type = (Onnx__AttributeProto__AttributeType)(1 + (int)pick(12));
		else if (pick(2))
			t->name = arena_strdup(a, pick(2) ? "axis" : "nonsense");
	}
}

static void
edit_value(struct arena *a, Onnx__ValueInfoProto *v)
{
	Onnx__TypeProto__Tensor *t = v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE
	    ? v->type->tensor_type : NULL;

	if (!t)
		return;
	if (pick(4) == 0) {
		t->elem_type = any_type();
		return;
	}
	if (!t->shape)
		return;
	if (t->shape->n_dim && pick(2)) {
		Onnx__TensorShapeProto__Dimension *dim = t->shape->dim[pick((uint32_t)t->shape->n_dim)];

		dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
		dim->dim_value = any_int();
		if (pick(4) == 0) {
			dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
			dim->dim_param = "N";
		}
	} else if (t->shape->n_dim) {
		size_t rank = pick(2) ? t->shape->n_dim - 1 : pick(14);
		Onnx__TensorShapeProto__Dimension **dims = arena_array(a, Onnx__TensorShapeProto__Dimension *, rank + 1);

		for (size_t i = 0; i < rank; i++)
			dims[i] = t->shape->dim[i % t->shape->n_dim];
		t->shape->dim = dims;
		t->shape->n_dim = rank;
	}
}

static void
edit_tensor(struct arena *a, Onnx__TensorProto *t)
{
	if (t->n_dims && pick(2)) {
		t->dims = arena_dup(a, t->dims, t->n_dims * sizeof *t->dims);
		t->dims[pick((uint32_t)t->n_dims)] = any_int();
	} else if (pick(2) && t->n_dims)
		t->n_dims--;
	else if (pick(2))
		t->data_type = any_type();
	else if (t->has_raw_data && t->raw_data.len && pick(2)) {
		t->raw_data.data = arena_dup(a, t->raw_data.data, t->raw_data.len);
		t->raw_data.data[pick((uint32_t)t->raw_data.len)] = (uint8_t)pick(256);
	} else if (t->has_raw_data)
		t->raw_data.len = pick((uint32_t)t->raw_data.len + 1);
	else if (t->n_int64_data)
		t->int64_data[pick((uint32_t)t->n_int64_data)] = any_int();
}

static void
edit(struct arena *a, Onnx__ModelProto *m, Onnx__GraphProto *g, int depth)
{
	Onnx__NodeProto *n = g->n_node ? g->node[pick((uint32_t)g->n_node)] : NULL;

	if (n && depth < 4 && pick(3) == 0)
		for (size_t i = 0; i < n->n_attribute; i++)
			if (n->attribute[i]->g && pick(2)) {
				edit(a, m, n->attribute[i]->g, depth + 1);
				return;
			}
	switch (pick(10)) {
	case 0: case 1: case 2:
		if (n)
			edit_inputs(a, g, n);
		break;
	case 3: case 4: case 5:
		if (n && n->n_attribute)
			edit_attribute(a, n->attribute[pick((uint32_t)n->n_attribute)]);
		break;
	case 6:
		if (g->n_input)
			edit_value(a, g->input[pick((uint32_t)g->n_input)]);
		break;
	case 7:
		if (g->n_initializer)
			edit_tensor(a, g->initializer[pick((uint32_t)g->n_initializer)]);
		else if (g->n_input)
			edit_value(a, g->input[pick((uint32_t)g->n_input)]);
		break;
	case 8:
		if (m->n_opset_import)
			m->opset_import[0]->version = 5 + pick(26);
		break;
	default:
		if (n && n->n_attribute && pick(2))
			n->n_attribute--;
		else if (n && n->n_output)
			n->n_output = pick((uint32_t)n->n_output + 1);
		else if (g->n_output)
			g->output[0]->name = "nowhere";
	}
}

/* ---- one model through the compiler, without the part that is LLVM's; true: to its end */
static bool
through(const char *path)
{
	struct arena *a = arena_create();
	struct import_opts o = {.default_dim = 2, .states = pick(4) == 0, .training = pick(4) == 0, .keep_going = pick(3) == 0};
	struct pass_opts po = {.machine = machine_usual(), .opt_level = 2, .blas = BLAS_NEVER,
	    .verify_each = true};
	struct pass_ctx ctx;
	struct graph *g;
	struct diag d;
	bool lowered = false;

	po.machine.vector_bits = 256;
	po.machine.vector_regs = 16;
	po.machine.masked = false;
	diag_init(&d, NULL);
	ctx = (struct pass_ctx){.arena = a, .diag = &d, .opts = &po};
	g = onnx_import(a, path, &o, &d);
	if (!g && !d.errors)
		die("no graph and no message");
	if (g) {
		graph_verify(g, "import");
		lowered = compile_graph(g, &ctx);
		if (!lowered && !d.errors)
			die("no program and no message");
	}
	if (!lowered && !edits)
		fprintf(stderr, "%s", d.text.s);
	diag_free(&d);
	arena_destroy(a);
	return lowered;
}

enum { REFUSED = 2 };
static int refused;

static bool
survives(const char *path)
{
	struct rlimit cpu = {SECONDS, SECONDS + 1};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CPU, &cpu);
		if (!freopen("mutate.err", "w", stderr))
			_exit(3);
		setvbuf(stderr, NULL, _IONBF, 0);
		_exit(through(path) ? 0 : REFUSED);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		perror("mutate");
		exit(1);
	}
	refused += WIFEXITED(status) && WEXITSTATUS(status) == REFUSED;
	return WIFEXITED(status) && (!WEXITSTATUS(status) || WEXITSTATUS(status) == REFUSED);
}

static void
show_error(void)
{
	char line[300];
	FILE *f = fopen("mutate.err", "r");
	int n = 0;

	while (f && n < 12 && fgets(line, sizeof line, f))
		if (strstr(line, "ERROR") || strstr(line, "runtime error") || strstr(line, " #") || str_starts(line, "error: ") || strstr(line, ".c:") ||
		    strstr(line, "invariant"))
			printf("    %s", line), n += edits ? 1 : 12;
	if (f)
		fclose(f);
}

static int
mutate(const char *path, int round, const char *keep)
{
	struct arena *a = arena_create();
	struct onnx_file f;
	struct diag d;
	void *bytes;
	size_t size;
	int bad = 0;
	const char *out = arena_printf(a, "%s/mutate-%d.onnx", keep, (int)getpid());

	diag_init(&d, stderr);
	if (!onnx_open(&f, a, path, NULL, &d))
		return 1;
	for (uint32_t k = edits ? 1 + pick((uint32_t)edits) : 0; k; k--)
		edit(a, f.m, f.m->graph, 0);
	bytes = onnx_pack(a, &f.m->base, &size);
	onnx_close(&f);
	if (!file_write(&d, out, bytes, size))
		return 1;
	bad = refused;
	if (!survives(out)) {
		const char *name = arena_printf(a, "%s/crash-%08x.onnx", keep, (unsigned)(state >> 32));

		bad = rename(out, name) == 0;
		printf("FAIL %s round %d: %s\n", path, round, name);
		show_error();
		fflush(stdout);
		return bad;
	}
	if (!edits && refused > bad) {
		printf("%s:", path);
		show_error();
	}
	bad = 0;
	unlink(out);
	diag_free(&d);
	arena_destroy(a);
	return bad;
}

int
main(int argc, char **argv)
{
	int rounds = 20, failed = 0, ran = 0, i;
	const char *keep = "/tmp";
	uint64_t seed = 1;

	for (i = 1; i + 1 < argc && argv[i][0] == '-'; i += 2) {
		if (strcmp(argv[i], "--rounds") == 0)
			rounds = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--edits") == 0)
			edits = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = (uint64_t)atoll(argv[i + 1]);
		else if (strcmp(argv[i], "--keep") == 0)
			keep = argv[i + 1];
	}
	for (; i < argc; i++)
		for (int r = 0; r < rounds; r++, ran++) {
			state = seed;
			const char *slash = strrchr(argv[i], '/'); /* the same edits in any folder */

			for (const char *p = slash ? slash + 1 : argv[i]; *p; p++)
				state = state * 31 + (unsigned char)*p;
			state = (state + (uint64_t)r) * UINT64_C(0x9e3779b97f4a7c15);
			failed += mutate(argv[i], r, keep);
		}
	unlink("mutate.err");
	printf("%d models, %d refused, %d failed\n", ran, refused, failed);
	return failed != 0;
}
