/* op -- the operator table: the only place that sees every column of ops.def. */
#include "ir/ir.h"

#include <string.h>

/* A row's attributes counted and placed at compile time: one struct with a char
 * per attribute gives the count, one enumerator per row gives the first index. */
struct count_none { char self;
#define OP(id, ...) }; struct count_##id { char self;
#define ATTR(id, name, ...) char a_##name;
#include "ir/ops.def"
};
enum {
#define OP(id, ...) FIRST_##id, BEFORE_##id = FIRST_##id - 1,
#define ATTR(id, name, ...) AT_##id##_##name,
#include "ir/ops.def"
	NATTR
};

/* A default is a number, a string, NONE (absent means something) or REQ (must be given). */
struct req;
#define NONE ((void *)0)
#define REQ ((struct req *)0)
#define NUM(x) _Generic((x), char *: 0, void *: 0, struct req *: 0, default: (x))
#define STR(x) _Generic((x), char *: (x), default: NULL)
#define HAS(x) _Generic((x), void *: false, struct req *: false, default: true)
#define MUST(x) _Generic((x), struct req *: true, default: false)

static const struct attr_info attr_table[NATTR + 1] = {
#define OP(...)
#define ATTR(id, name_, kind_, def) \
	[AT_##id##_##name_] = {.name = #name_, .kind = ATTR_##kind_, .def_num = NUM(def), \
	                       .def_str = STR(def), .has_def = HAS(def), .required = MUST(def)},
#include "ir/ops.def"
};

const struct op_info op_info[NOP] = {
#define OP(id_, onnx_, since_, imin, imax, omin, omax, class_, infer_, expand_, grad_, eval_) \
	[OP_##id_] = {.id = #id_, .onnx = onnx_, .since = since_, .in_min = imin, .in_max = imax, \
	              .out_min = omin, .out_max = omax, .class = class_, .infer = infer_, \
	              .expand = expand_, .grad = grad_, .eval = eval_, \
	              .nattr = (int)sizeof(struct count_##id_) - 1, .attrs = attr_table + FIRST_##id_},
#define ATTR(...)
#include "ir/ops.def"
};

enum op
op_from_onnx(const char *domain, const char *type)
{
	size_t n = domain && strcmp(domain, "ai.onnx") ? strlen(domain) : 0;
	const char *onnx;
	int op;

	for (op = OP_none + 1; op < NOP; op++) {
		onnx = op_info[op].onnx;
		if (!onnx)
			continue;
		if (n == 0 ? strcmp(onnx, type) == 0
		           : strncmp(onnx, domain, n) == 0 && strncmp(onnx + n, "::", 2) == 0 &&
		                 strcmp(onnx + n + 2, type) == 0)
			return (enum op)op;
	}
	return OP_none;
}

bool
op_is_random(enum op op)
{
	return op_attr(op, "stream") != NULL;
}

enum op
op_from_id(const char *id)
{
	int op;

	for (op = OP_none + 1; op < NOP; op++)
		if (strcmp(op_info[op].id, id) == 0)
			return (enum op)op;
	return OP_none;
}

const struct attr_info *
op_attr(enum op op, const char *name)
{
	const struct op_info *row = &op_info[op];
	int i;

	for (i = 0; i < row->nattr; i++)
		if (strcmp(row->attrs[i].name, name) == 0)
			return &row->attrs[i];
	return NULL;
}

bool
attr_holds_dims(enum op op, const char *name)
{
	if (op_info[op].class == OC_composite)
		return strcmp(name, "measured") == 0;
	return strcmp(name, "dims") == 0 || strcmp(name, "count") == 0;
}

/* ---- what a row names where it has no rule of its own */
bool
expand_none(struct build *b, const struct node *n, struct value **outs)
{
	(void)b, (void)outs;
	die("%s is a core operator and has no expansion", op_info[n->op].id);
}

bool
grad_expand(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	(void)b, (void)dout, (void)din;
	die("%s is differentiated through its expansion", op_info[n->op].id);
}

const char *
op_not_differentiable(enum op op)
{
	static const struct {
		bool (*grad)(struct build *, const struct node *, struct value *const *, struct value **);
		const char *why;
	} reasons[] = {
	    {grad_none, "its result is no float"},
	    {grad_flat, "piecewise constant"},
	    {grad_random, "drawn at random"},
	    {grad_made, "made of no float"},
	};

	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
		if (op_info[op].grad == reasons[i].grad)
			return reasons[i].why;
	return NULL;
}

static bool
no_gradient(struct build *b, const struct node *n)
{
	const struct op_info *row = &op_info[n->op];

	return diag_unsupported(b->diag, n->loc, "%s is not differentiable: %s", row->onnx ? row->onnx : row->id,
	    op_not_differentiable(n->op));
}

#define NO_GRADIENT(why)                                                                           \
	bool grad_##why(struct build *b, const struct node *n, struct value *const *dout, struct value **din) \
	{                                                                                          \
		(void)dout, (void)din;                                                             \
		return no_gradient(b, n);                                                          \
	}

NO_GRADIENT(none)
NO_GRADIENT(flat)
NO_GRADIENT(random)
NO_GRADIENT(made)

bool
eval_none(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	(void)in, (void)out;
	die("%s is evaluated through its expansion", op_info[n->op].id);
}
