/* distill_classes -- teachers whose classes are not the student's.  By a class map [student's
 * class of each of the teacher's, -1: none] z_j <- z_i of the class i that goes to j; where
 * several go to one, of all of them z_j <- log of the sum of softmax(z)_i.  Classes of the
 * student that the teacher has not get a logit that no softmax sees. */
#include "passes/loss_module.h"
#include "passes/loss_soft.h"

static const struct distill_class_map *
map_of(const struct loss_in *in, int k)
{
	const struct distill_class_map *m = in->term->maps ? &in->term->maps[k] : NULL;

	return m && m->n ? m : NULL;
}

static bool
same_classes(const struct loss_in *in, int k, const struct value *t)
{
	const struct value *s = in->student;
	struct arena *a = in->b->g->arena;

	if (dims_equal(s->rank, s->dims, t->rank, t->dims))
		return true;
	if (t->rank == s->rank && s->dims[1] != t->dims[1])
		return diag_invalid(in->b->diag, in->term->loc,
		    "%s has %lld classes, %s has %lld: loss %s compares class by class; say which "
		    "is which with class_map: [class of the student for each of the teacher's, -1: "
		    "none]",
		    in->teacher_names[k], (long long)t->dims[1], in->student_name,
		    (long long)s->dims[1], in->term->loss);
	return diag_invalid(in->b->diag, in->term->loc,
	    "%s is %s, %s is %s: loss %s needs equal shapes%s", in->teacher_names[k],
	    dims_text(a, t), in->student_name, dims_text(a, s), in->term->loss,
	    t->rank == s->rank && s->rank > 2 ? ", or resize: bilinear" : "");
}

static bool
map_fits(const struct loss_in *in, int k, const struct value *t, const struct distill_class_map *m)
{
	const struct value *s = in->student;
	int64_t used = 0;

	if (t->rank != s->rank || m->n != t->dims[1])
		return diag_invalid(in->b->diag, in->term->loc,
		    "class_map has %lld classes for %s, which is %s", (long long)m->n,
		    in->teacher_names[k], dims_text(in->b->g->arena, t));
	for (int64_t i = 0; i < m->n; i++) {
		used += m->to[i] >= 0;
		if (m->to[i] >= s->dims[1])
			return diag_invalid(in->b->diag, in->term->loc,
			    "class_map sends class %lld of %s to %lld, %s has %lld classes",
			    (long long)i, in->teacher_names[k], (long long)m->to[i],
			    in->student_name, (long long)s->dims[1]);
	}
	for (int i = 2; i < s->rank; i++)
		if (s->dims[i] != t->dims[i])
			return same_classes(in, k, t);
	return used || diag_invalid(in->b->diag, in->term->loc,
			   "class_map sends no class of %s to one of %s", in->teacher_names[k],
			   in->student_name);
}

/* [1, C, 1..] of those that count is above 0 for; all NULL where that is each of them. */
static struct classes
classes_with(const struct loss_in *in, const int64_t *count)
{
	const struct value *s = in->student;
	struct classes c = {0};
	int64_t dims[MAX_RANK];
	struct tensor *t;

	for (int i = 0; i < s->rank; i++)
		dims[i] = i == CLASS_AXIS ? s->dims[i] : 1;
	t = tensor_new(in->b->g->arena, DT_bool, s->rank, dims);
	for (int64_t i = 0; i < s->dims[1]; i++) {
		dtype_put_i(DT_bool, t->data, i, count[i] > 0);
		c.n += count[i] > 0;
	}
	if (c.n < s->dims[1])
		c.has = graph_const(in->b->g, "classes", t);
	return c;
}

struct value *
classes_only(struct build *b, const struct classes *c, struct value *z, double otherwise)
{
	return c->has ? b_select(b, c->has, z, b_scalar(b, DT_f32, otherwise)) : z;
}

struct classes
classes_of_all(const struct loss_in *in)
{
	int64_t n = in->student->dims[1];
	int64_t *count = arena_array(in->b->g->arena, int64_t, n + 1);

	for (int k = 0; k < in->nteachers; k++) {
		const struct distill_class_map *m = map_of(in, k);

		if (!m)
			return (struct classes){.n = n};
		for (int64_t i = 0; i < m->n; i++)
			if (m->to[i] >= 0)
				count[m->to[i]]++;
	}
	return classes_with(in, count);
}

/* With `resize`: the teacher's positions brought to the student's. */
static struct value *
placed(const struct loss_in *in, struct value *t)
{
	static const enum resize how[] = {0, RESIZE_AVG, RESIZE_NEAREST, RESIZE_BILINEAR};
	int i = loss_setting_find(&loss_info[loss_find(in->term->loss)], "resize");

	i = i < 0 ? 0 : loss_choice(in, "resize");
	if (i == 0 || t->rank != in->student->rank || t->rank < 3)
		return t;
	return b_resize_like(in->b, t, in->student, how[i]);
}

struct value *
class_mapped(const struct loss_in *in, int k, struct classes *c)
{
	const struct distill_class_map *m = map_of(in, k);
	struct build *b = in->b;
	struct value *t = placed(in, in->teachers[k]);
	int64_t n = in->student->dims[1], dims[2] = {n, m ? m->n : 0};
	struct tensor *matrix;
	char from[MAX_RANK + 1] = {0}, to[MAX_RANK + 1] = {0};
	int64_t *count;

	*c = (struct classes){.n = n};
	if (!t)
		return NULL;
	if (!m)
		return same_classes(in, k, t) ? t : NULL;
	if (!map_fits(in, k, t, m))
		return NULL;
	count = arena_array(b->g->arena, int64_t, n + 1);
	matrix = tensor_new(b->g->arena, DT_f32, 2, dims);
	for (int64_t i = 0; i < m->n; i++)
		if (m->to[i] >= 0) {
			dtype_put_f(DT_f32, matrix->data, m->to[i] * m->n + i, 1);
			count[m->to[i]]++;
		}
	*c = classes_with(in, count);
	for (int64_t i = 0; i < n; i++)
		c->merged |= count[i] > 1;
	for (int i = 0; i < t->rank; i++)
		from[i] = to[i] = (char)('a' + i);
	to[CLASS_AXIS] = 'z';
	t = b_contract(b, arena_printf(b->g->arena, "%s,zb->%s", from, to),
	    c->merged ? b_softmax(b, t, CLASS_AXIS) : t, graph_const(b->g, "class_map", matrix));
	return classes_only(b, c, c->merged ? soft_log(b, t) : t, NO_CLASS);
}
