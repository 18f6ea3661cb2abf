/* host -- rows of class OC_host: their attributes as operands of the function, and
 * their evaluation, which calls it. */
#include "host/host.h"
#include "ir/ops/ops_int.h"

enum { FIRST_ROOM = 1 << 16, MOST_ROOM = 1 << 30 };

/* An offset for each string, then their bytes. */
static struct tensor *
packed(struct arena *a, int rank, int64_t n, const char *const *s)
{
	struct tensor *t = arena_new(a, struct tensor);
	size_t bytes = (size_t)n * sizeof(int64_t);
	int64_t *offset;

	for (int64_t i = 0; i < n; i++)
		bytes += strlen(s[i]) + 1;
	t->dtype = DT_str;
	t->rank = rank;
	t->dims[0] = n;
	t->bytes = bytes;
	offset = t->data = arena_alloc(a, bytes + 1);
	bytes = (size_t)n * sizeof *offset;
	for (int64_t i = 0; i < n; i++) {
		offset[i] = (int64_t)bytes;
		strcpy((char *)t->data + bytes, s[i]);
		bytes += strlen(s[i]) + 1;
	}
	return t;
}

static struct tensor *
of_attr(struct arena *a, const struct node *n, const struct attr_info *info)
{
	const char *name = info->name, *s;
	const struct attr *at = attr_find(n, name);
	struct tensor *t;
	int64_t len;

	if (!at && !info->has_def)
		return NULL;
	switch (info->kind) {
	case ATTR_INT:
		t = tensor_new(a, DT_i64, 0, NULL);
		*(int64_t *)t->data = attr_int(n, name);
		return t;
	case ATTR_FLOAT:
		t = tensor_new(a, DT_f64, 0, NULL);
		*(double *)t->data = attr_float(n, name);
		return t;
	case ATTR_STRING:
		s = attr_string(n, name);
		return packed(a, 0, 1, &s);
	case ATTR_INTS:
	case ATTR_FLOATS:
		len = at ? at->n : 0;
		t = tensor_new(a, info->kind == ATTR_INTS ? DT_i64 : DT_f64, 1, &len);
		if (len)
			memcpy(t->data,
			    info->kind == ATTR_INTS ? (const void *)at->ints
						    : (const void *)at->floats,
			    t->bytes);
		return t;
	case ATTR_STRINGS:
		return packed(a, 1, at ? at->n : 0, at ? at->strings : NULL);
	default:
		die("%s: attribute %s cannot go to a host function", op_info[n->op].id, name);
	}
}

int
host_attrs(struct arena *a, const struct node *n, const struct tensor ***out)
{
	const struct op_info *row = &op_info[n->op];

	*out = arena_array(a, const struct tensor *, row->nattr + 1);
	for (int i = 0; i < row->nattr; i++)
		(*out)[i] = of_attr(a, n, &row->attrs[i]);
	return row->nattr;
}

const char *
host_symbol(struct arena *a, const struct node *n)
{
	return arena_printf(a, "rt_host_%s", op_info[n->op].id);
}

static struct rt_operand
operand(const struct tensor *t)
{
	if (!t)
		return (struct rt_operand){0};
	return (struct rt_operand){t->data, t->dims, dtype_info[t->dtype].onnx, t->rank};
}

bool
eval_host(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct op_info *row = &op_info[n->op];
	struct tensor *results[8] = {0};
	const struct tensor **attrs;
	struct rt_operand arg[32] = {0};
	struct arena *a = NULL;
	rt_host_fn *fn;
	struct rt_bytes *room;
	int k = 0;

	for (int i = 0; i < n->nout; i++)
		a = out[i] ? out[i]->arena : a;
	if (!a || row->out_max > 8 || row->in_max + row->out_max + row->nattr > 32)
		die("%s does not fit its host function", row->id);
	if (!(fn = host_function(host_symbol(a, n))))
		die("%s has no host function", row->id);
	for (int i = 0; i < row->in_max; i++)
		arg[k++] = operand(i < n->nin && in[i] ? etensor_to(a, in[i]) : NULL);
	for (int i = 0; i < row->out_max; i++) {
		if (i < n->nout && out[i])
			results[i] = tensor_new(a, out[i]->dtype, out[i]->rank, out[i]->dims);
		arg[k++] = operand(results[i]);
	}
	host_attrs(a, n, &attrs);
	for (int i = 0; i < row->nattr; i++)
		arg[k++] = operand(attrs[i]);
	for (int64_t size = FIRST_ROOM;; size *= 8) {
		room = arena_alloc(a, sizeof *room + (size_t)size);
		room->size = size;
		fn(room, arg);
		if (room->status != RT_HOST_FULL || size >= MOST_ROOM)
			break;
	}
	if (room->status != RT_HOST_OK)
		return false;
	for (int i = 0; i < n->nout; i++) {
		struct etensor *e = results[i] ? etensor_from(a, results[i]) : NULL;

		for (int64_t j = 0; e && j < e->count; j++)
			et_move(out[i], j, e, j);
	}
	return true;
}
