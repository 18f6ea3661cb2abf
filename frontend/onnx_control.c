/* onnx_control -- If, Loop, Scan and SequenceMap, as structure: their bodies are
 * inlined at import and the graph stays free of control flow.  A condition known
 * while importing takes its branch alone and ends a loop where it says; so a body
 * that stops itself after a constant number of turns is unrolled exactly.  Under a
 * condition of the run both branches are there and `select` picks, and a loop is
 * unrolled to a bound: a turn is active while the condition has held, and the
 * values it carries stay as they are when it is not. */
#include "frontend/onnx_import.h"

#include <inttypes.h>

/* ---- scalars */
struct value *
import_i64(struct job *j, int64_t i)
{
	struct tensor *t = tensor_new(j->im->g->arena, DT_i64, 0, NULL);

	*(int64_t *)t->data = i;
	return graph_const(j->im->g, NULL, t);
}

struct value *
import_bool(struct job *j, bool yes)
{
	struct tensor *t = tensor_new(j->im->g->arena, DT_bool, 0, NULL);

	*(uint8_t *)t->data = yes;
	return graph_const(j->im->g, NULL, t);
}

bool
import_known(const struct value *v, bool what)
{
	return v->kind == VAL_CONST && (*(const uint8_t *)v->data->data != 0) == what;
}

struct value *
import_both(struct job *j, struct value *a, struct value *b)
{
	if (import_known(a, true) || import_known(b, false))
		return b;
	if (import_known(b, true) || import_known(a, false))
		return a;
	return b2(&j->im->b, OP_and, a, b);
}

struct value *
import_scalar(struct job *j, struct value *v, enum dtype dtype, const char *what)
{
	if (v->dtype != dtype || dims_count(v->rank, v->dims) != 1) {
		diag_invalid(j->im->d, j->loc, "%s is %s, not one %s", what,
		    value_type_text(j->im->g, v), dtype_info[dtype].name);
		return NULL;
	}
	return b_reshape(&j->im->b, v, 0, NULL);
}

/* ---- values that depend on a condition */
/* x with zeros behind it up to dims.  Along an axis whose size a run decides as many
 * zeros follow as there can be, and what is too much is cut. */
static struct value *
padded(struct job *j, struct value *x, const int64_t *dims)
{
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK], zeros[MAX_RANK];
	struct build *b = &j->im->b;
	int i;

	for (i = 0; i < x->rank; i++)
		hi[i] = dim_const(x->dims[i]) && dim_const(dims[i]) ? dims[i] - x->dims[i] : 0;
	x = b_pad(b, x, lo, hi, 0);
	for (i = 0; x && i < x->rank; i++) {
		if (x->dims[i] == dims[i])
			continue;
		memcpy(zeros, x->dims, sizeof zeros);
		zeros[i] = dims[i];
		struct value *both[2] = {x, b_expand(b, b_scalar_like(b, x, 0), x->rank, zeros)};
		x = import_prefix(j, b_concat(b, 2, both, i), i, dims[i]);
	}
	return x;
}

/* The last of v whose cond holds, v[0] where none does. */
static struct value *
choose(struct job *j, int n, struct value *const *v, struct value *const *cond)
{
	struct value *out = v[0];
	int i;

	for (i = 1; out && i < n; i++)
		if (v[i] != out && !import_known(cond[i], false))
			out = import_known(cond[i], true) ? v[i]
							  : b_select(&j->im->b, cond[i], v[i], out);
	return out;
}

struct value *
import_pick(
    struct job *j, int n, struct value *const *v, struct value *const *cond, const char *what)
{
	struct value **full, **size, *out;
	int64_t dims[MAX_RANK];
	bool same = true;
	int i, k;

	memcpy(dims, v[0]->dims, sizeof dims);
	for (i = 1; i < n; i++) {
		if (v[i]->dtype != v[0]->dtype || v[i]->rank != v[0]->rank) {
			diag_invalid(j->im->d, j->loc, "%s is %s one way and %s the other", what,
			    value_type_text(j->im->g, v[i]), value_type_text(j->im->g, v[0]));
			return NULL;
		}
		for (k = 0; k < v[0]->rank; k++) {
			same &= v[i]->dims[k] == v[0]->dims[k];
		}
	}
	if (same)
		return choose(j, n, v, cond);
	full = arena_array(j->im->f.own, struct value *, n);
	size = arena_array(j->im->f.own, struct value *, n);
	for (k = 0; k < v[0]->rank; k++) {
		for (i = 0, same = true; i < n; i++)
			same &= v[i]->dims[k] == v[0]->dims[k];
		for (i = 0; !same && i < n; i++) {
			int64_t most = dim_hi(j->im->g, v[i]->dims[k]);

			if (most == INT64_MAX) {
				diag_unsupported(j->im->d, j->loc,
				    "%s is %s one way and %s the other, without a bound", what,
				    value_type_text(j->im->g, v[i]), value_type_text(j->im->g, v[!i]));
				return NULL;
			}
			dims[k] = i == 0 || most > dims[k] ? most : dims[k];
		}
	}
	for (i = 0; i < n; i++)
		full[i] = padded(j, v[i], dims);
	out = choose(j, n, full, cond);
	for (k = 0; out && k < v[0]->rank; k++) {
		for (i = 0, same = true; i < n; i++) {
			size[i] = b_dim(&j->im->b, v[i]->dims[k]);
			same &= v[i]->dims[k] == v[0]->dims[k];
		}
		if (!same)
			out = import_first(j, out, k, choose(j, n, size, cond));
	}
	return out;
}

struct value *
import_select(struct job *j, struct value *cond, struct value *a, struct value *b, const char *what)
{
	struct value *v[2] = {b, a}, *c[2] = {cond, cond};

	return import_pick(j, 2, v, c, what);
}

struct value *
import_prefix(struct job *j, struct value *x, int axis, int64_t count)
{
	int64_t start[MAX_RANK] = {0}, counts[MAX_RANK], step[MAX_RANK];
	int i;

	for (i = 0; x && i < x->rank; i++) {
		counts[i] = i == axis ? count : x->dims[i];
		step[i] = 1;
	}
	return x ? b_slice(&j->im->b, x, start, counts, step) : NULL;
}

struct value *
import_first(struct job *j, struct value *x, int axis, struct value *size)
{
	if (!x || !size)
		return NULL;
	if (!dim_const(x->dims[axis])) {
		diag_unsupported(j->im->d, j->loc, "a run decides how much of %s is its output",
		    value_type_text(j->im->g, x));
		return NULL;
	}
	return import_prefix(j, x, axis, b_measure(&j->im->b, size, 0, x->dims[axis]));
}

/* ---- bodies */
bool
import_body(struct job *j, const char *attr, struct body *b)
{
	const Onnx__AttributeProto *a = job_attr(j, attr);

	*b = (struct body){a ? a->g : NULL, attr};
	return b->g || diag_invalid(j->im->d, j->loc, "has no graph \"%s\"", attr);
}

bool
import_inline(struct job *j, const struct body *b, const char *prefix, struct item *const *in,
    struct item **out)
{
	struct import *im = j->im;
	struct scope inner = {.outer = j->s,
	    .names = map_create(im->f.own),
	    .attrs = j->s->attrs,
	    .fn = j->s->fn,
	    .prefix = prefix,
	    .where =
		arena_printf(im->f.own, "%s of \"%s\"", b->what, j->loc.name ? j->loc.name : j->op),
	    .depth = j->s->depth + 1};
	struct loc loc = im->b.loc;
	bool ok = true;
	size_t i;

	if (!job_enter(j, b->g->n_node))
		return false;
	for (i = 0; i < b->g->n_input; i++) {
		const char *name = onnx_str(b->g->input[i]->name);

		if (map_get(inner.names, name)) {
			im->broken = true;
			return diag_invalid(
			    im->d, j->loc, "%s has input \"%s\" twice", b->what, name);
		}
		if (in[i])
			import_bind_item(im, &inner, name, in[i]);
	}
	if (!import_initializers(im, &inner, b->g) ||
	    !import_nodes(im, &inner, b->g->n_node, b->g->node))
		return false;
	im->b.loc = loc;
	for (i = 0; ok && i < b->g->n_output; i++) {
		const char *name = onnx_str(b->g->output[i]->name);
		struct bind *made = import_lookup(&inner, name);

		if (!made) {
			im->broken = true;
			return diag_invalid(
			    im->d, j->loc, "%s does not make its output \"%s\"", b->what, name);
		}
		out[i] = import_item(im, made, "output", 0);
		ok = out[i];
	}
	return ok;
}

bool
import_try(struct job *j, const struct body *b, const char *prefix, struct item *const *in,
    struct item **out, struct diag *held)
{
	struct import *im = j->im;
	struct diag *d = im->d;
	struct loc loc = im->b.loc;
	bool ok;

	diag_init(held, NULL);
	held->quiet = d->quiet;
	im->d = im->b.diag = held;
	ok = import_inline(j, b, prefix, in, out);
	im->d = im->b.diag = d;
	im->b.loc = loc;
	if (ok && held->text.n) {
		if (d->out)
			fwrite(held->text.s, 1, held->text.n, d->out);
		str_addn(&d->text, held->text.s, held->text.n);
		d->warnings += held->warnings;
	}
	return ok;
}

const char *
import_turn(struct job *j, int64_t turn)
{
	return arena_printf(j->im->f.own, "%s%" PRId64 "/", job_prefix(j), turn);
}

/* ---- If */
bool
import_outputs_fit(struct job *j, const struct body *b)
{
	return j->np->n_output <= b->g->n_output ||
	       diag_invalid(j->im->d, j->loc, "has %zu outputs, its %s makes %zu", j->np->n_output,
		   b->what, b->g->n_output);
}

/* A branch that cannot run with these sizes is one that runs never take. */
static bool
one_branch(struct job *j, const struct body *b, const char *other, const struct diag *why,
    struct item *const *out)
{
	size_t i, n = strcspn(why->text.s, "\n");

	diag_warn(j->im->d, j->loc,
	    "its %s cannot run with these sizes, the %s is taken always: %.*s", other, b->what,
	    (int)n, why->text.s);
	for (i = 0; i < j->np->n_output; i++)
		job_bind(j, i, out[i]);
	return true;
}

static bool
both_branches(struct job *j, struct value *cond, const struct body *b)
{
	struct item **out[2], *it;
	struct diag held[2];
	const char *prefix[2];
	bool ok[2], result = false;
	size_t i;
	int k;

	for (k = 0; k < 2; k++) {
		out[k] = arena_array(j->im->f.own, struct item *, b[k].g->n_output + 1);
		prefix[k] = arena_printf(j->im->f.own, "%s%s/", job_prefix(j), k ? "else" : "then");
		ok[k] = import_try(j, &b[k], prefix[k], NULL, out[k], &held[k]);
	}
	for (k = 0; k < 2; k++)
		if (!ok[k] && ok[!k] && held[k].status == STATUS_INVALID && !j->im->broken) {
			result = one_branch(j, &b[!k], b[k].what, &held[k], out[!k]);
			goto done;
		}
	for (k = 0; k < 2; k++) /* once more, to report it */
		if (!ok[k] && !import_inline(j, &b[k], prefix[k], NULL, out[k]))
			goto done;
	for (i = 0; i < j->np->n_output; i++) {
		it = item_select(j, cond, out[0][i], out[1][i],
		    arena_printf(j->im->f.own, "output \"%s\"", j->np->output[i]));
		if (!it)
			goto done;
		job_bind(j, i, it);
	}
	result = true;
done:
	diag_free(&held[0]);
	diag_free(&held[1]);
	return result;
}

bool
import_if(struct job *j)
{
	struct body b[2];
	struct item **out;
	struct value *cond;
	size_t i;
	int k;

	if (!job_operand(j, 0, &cond))
		return false;
	if (!cond || j->np->n_input != 1)
		return diag_invalid(j->im->d, j->loc, "needs one input, the condition");
	cond = import_scalar(j, cond, DT_bool, "its condition");
	if (!cond || !import_body(j, "then_branch", &b[0]) || !import_body(j, "else_branch", &b[1]))
		return false;
	for (k = 0; k < 2; k++) {
		if (b[k].g->n_input)
			return diag_invalid(j->im->d, j->loc, "its %s has inputs", b[k].what);
		if (!import_outputs_fit(j, &b[k]))
			return false;
	}
	k = value_decided(j->im->g, cond);
	if (k < 0)
		return both_branches(j, cond, b);
	k = !k;
	out = arena_array(j->im->f.own, struct item *, b[k].g->n_output + 1);
	if (!import_inline(j, &b[k], j->s->prefix, NULL, out))
		return false;
	for (i = 0; i < j->np->n_output; i++)
		job_bind(j, i, out[i]);
	return true;
}

/* ---- SequenceMap */
bool
import_sequence_map(struct job *j)
{
	struct body b;
	struct item **in, **out, **given, **list, *first;
	size_t i, n = j->np->n_input;
	int k;

	if (!import_body(j, "body", &b) || !import_outputs_fit(j, &b))
		return false;
	if (!n || b.g->n_input != n)
		return diag_invalid(
		    j->im->d, j->loc, "has %zu inputs, its body takes %zu", n, b.g->n_input);
	in = arena_array(j->im->f.own, struct item *, n);
	given = arena_array(j->im->f.own, struct item *, n);
	out = arena_array(j->im->f.own, struct item *, b.g->n_output + 1);
	list = arena_array(j->im->f.own, struct item *, b.g->n_output + 1);
	for (i = 0; i < n; i++) {
		if (!job_item(j, i, &given[i]))
			return false;
		if (!given[i])
			return diag_invalid(j->im->d, j->loc, "input %zu is left out", i);
		in[i] = given[i];
	}
	first = given[0];
	for (i = 0; i < n; i++) {
		if (given[i]->kind != ITEM_SEQ && i > 0)
			continue;
		if (given[i]->kind != ITEM_SEQ)
			return diag_invalid(j->im->d, j->loc, "input 0 is %s, not a sequence",
			    item_kind_name(given[0]));
		if (given[i]->of.n != first->of.n)
			return diag_invalid(j->im->d, j->loc,
			    "input %zu is a sequence of %d, input 0 one of %d", i, given[i]->of.n,
			    first->of.n);
	}
	for (i = 0; i < b.g->n_output; i++) {
		list[i] = item_list(j->im, ITEM_SEQ);
		list[i]->count = first->count;
	}
	for (k = 0; k < first->of.n; k++) {
		for (i = 0; i < n; i++)
			if (given[i]->kind == ITEM_SEQ)
				in[i] = given[i]->of.v[k];
		if (!import_inline(j, &b, import_turn(j, k), in, out))
			return false;
		for (i = 0; i < b.g->n_output; i++)
			item_push(j->im, list[i], out[i]);
	}
	for (i = 0; i < j->np->n_output; i++)
		job_bind(j, i, list[i]);
	return true;
}
