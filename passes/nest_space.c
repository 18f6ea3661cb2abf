/* nest_space -- which loops a set of nodes has in common.
 *
 * The space is the dims of the largest value involved.  Every member is a value
 * over the whole space (full), or over the axes that the reductions keep
 * (small); its dims carry the axes' labels.  A full value that uses a small one
 * is a phase later: the row is walked again. */
#include "passes/nest.h"

#include <string.h>

enum { ROW_ELEMENTS = 1 << 16, MAX_PHASES = 8 };

struct walk {
	bool any, full, small; /* members reached */
	int full_phase, small_phase;
	int8_t label[MAX_RANK];
};

static bool
merge(struct walk *to, const struct walk *from, int shift, int rank)
{
	if (!from->any)
		return true;
	to->any = true;
	to->full |= from->full;
	to->small |= from->small;
	if (from->full_phase > to->full_phase)
		to->full_phase = from->full_phase;
	if (from->small_phase > to->small_phase)
		to->small_phase = from->small_phase;
	for (int d = 0; d < rank; d++) {
		if (from->label[d] < 0)
			continue;
		if (to->label[d + shift] >= 0 && to->label[d + shift] != from->label[d])
			return false;
		to->label[d + shift] = from->label[d];
	}
	return true;
}

static bool walk_value(struct lower *, const char *in, struct value *, struct walk *);

/* Labels of n's output from those of its operands. */
static bool
walk_node(struct lower *lo, const char *in, struct node *n, struct walk *w)
{
	struct value *y = n->out[0], *x = n->nin ? n->in[0] : NULL;
	struct walk s;
	const int64_t *perm;

	memset(w, 0, sizeof *w);
	memset(w->label, -1, sizeof w->label);
	if (op_info[n->op].class == OC_map || n->op == OP_expand || n->op == OP_relayout) {
		for (int k = 0; k < n->nin; k++)
			if (!walk_value(lo, in, n->in[k], &s) ||
			    !merge(w, &s, y->rank - n->in[k]->rank, n->in[k]->rank))
				return false;
		return true;
	}
	for (int k = 0; k < n->nin; k++) {
		if (!walk_value(lo, in, n->in[k], &s))
			return false;
		if (!s.any)
			continue;
		if (n->op == OP_reshape && nest_ones_only(n)) {
			struct walk t = s;
			int j = 0;

			memset(t.label, -1, sizeof t.label);
			for (int i = 0; i < x->rank; i++) {
				if (x->dims[i] == 1)
					continue;
				while (y->dims[j] == 1)
					j++;
				t.label[j++] = s.label[i];
			}
			if (!merge(w, &t, 0, y->rank))
				return false;
		} else if (n->op == OP_transpose) {
			struct walk t = s;
			bool given = attr_ints(n, "perm", &perm) > 0;

			for (int d = 0; d < y->rank; d++)
				t.label[d] = s.label[given ? perm[d] : y->rank - 1 - d];
			if (!merge(w, &t, 0, y->rank))
				return false;
		} else {
			return false;
		}
	}
	return true;
}

static bool
walk_value(struct lower *lo, const char *in, struct value *v, struct walk *w)
{
	memset(w, 0, sizeof *w);
	memset(w->label, -1, sizeof w->label);
	if (v->kind != VAL_NODE)
		return true;
	if (in[v->def->id]) {
		w->any = true;
		w->small = lo->small[v->id];
		w->full = !w->small;
		*(w->small ? &w->small_phase : &w->full_phase) = lo->phase[v->id];
		memcpy(w->label, lo->label[v->id], sizeof w->label);
		return true;
	}
	if (lo->cluster_of[v->def->id])
		return true;
	return walk_node(lo, in, v->def, w);
}

unsigned
nest_axes(const struct node *n)
{
	const int64_t *axes;
	int rank = n->in[0]->rank, k = attr_ints(n, "axes", &axes);
	unsigned r = 0;

	for (int i = 0; i < k; i++)
		r |= 1u << (axes[i] < 0 ? axes[i] + rank : axes[i]);
	return k || attr_find(n, "axes") ? r : (1u << rank) - 1;
}

static const struct value *
space_value(const struct node *n)
{
	return nest_is_reduce(n->op) ? n->in[0] : n->out[0];
}

static bool
member(const struct node *n)
{
	return op_info[n->op].class == OC_map || nest_is_reduce(n->op) || n->op == OP_relayout ||
	       n->op == OP_rng || n->op == OP_gather ||
	       (op_info[n->op].class == OC_view && n->op != OP_concat);
}

/* Labels the dims that its operands leave open by their place in the space. */
static bool
complete(const struct nest_space *s, int rank, const int64_t *dims, int8_t *label)
{
	unsigned used = 0;

	for (int d = 0; d < rank; d++)
		if (dims[d] == 1)
			label[d] = -1;
		else if (label[d] >= 0) {
			if (used & 1u << label[d] || s->dims[label[d]] != dims[d])
				return false;
			used |= 1u << label[d];
		}
	for (int d = 0; d < rank; d++) {
		if (dims[d] == 1 || label[d] >= 0)
			continue;
		if (rank != s->rank || dims[d] != s->dims[d] || used & 1u << d)
			return false;
		label[d] = (int8_t)d;
		used |= 1u << d;
	}
	return true;
}

static unsigned
covered(int rank, const int8_t *label)
{
	unsigned r = 0;

	for (int d = 0; d < rank; d++)
		if (label[d] >= 0)
			r |= 1u << label[d];
	return r;
}

static unsigned
wide(const struct nest_space *s)
{
	unsigned r = 0;

	for (int d = 0; d < s->rank; d++)
		if (s->dims[d] != 1)
			r |= 1u << d;
	return r;
}

static bool
fit_reduce(struct lower *lo, struct nest_space *s, struct node *n, struct walk *w)
{
	struct value *x = n->in[0], *y = n->out[0];
	unsigned axes = nest_axes(n), r = 0;
	int8_t *label = lo->label[y->id];
	bool keep = attr_int(n, "keep");
	int o = 0;

	if (!w->any && !dims_equal(x->rank, x->dims, s->rank, s->dims))
		return false;
	if (!complete(s, x->rank, x->dims, w->label) || covered(x->rank, w->label) != wide(s))
		return false;
	memset(label, -1, MAX_RANK);
	memcpy(lo->from[y->id], w->label, MAX_RANK);
	for (int d = 0; d < x->rank; d++) {
		if (axes & 1u << d) {
			if (w->label[d] >= 0)
				r |= 1u << w->label[d];
			o += keep;
		} else {
			label[o++] = w->label[d];
		}
	}
	if (s->reduced != ~0u && s->reduced != r)
		return false;
	s->reduced = r;
	lo->small[y->id] = true;
	lo->phase[y->id] = w->full_phase;
	if (w->small && w->small_phase + 1 > lo->phase[y->id])
		lo->phase[y->id] = w->small_phase + 1;
	s->rows |= w->small;
	return true;
}

static bool
fit_map(struct lower *lo, struct nest_space *s, struct node *n, struct walk *w)
{
	struct value *y = n->out[0];
	unsigned c;

	if (!w->any && !dims_equal(y->rank, y->dims, s->rank, s->dims))
		return false;
	if (!complete(s, y->rank, y->dims, w->label))
		return false;
	c = covered(y->rank, w->label);
	memcpy(lo->label[y->id], w->label, MAX_RANK);
	lo->small[y->id] = w->any && !w->full && s->reduced != ~0u && c == (wide(s) & ~s->reduced);
	if (lo->small[y->id]) {
		lo->phase[y->id] = w->small_phase;
		return true;
	}
	if (c != wide(s))
		return false;
	lo->phase[y->id] = w->full_phase;
	if (w->small) {
		s->rows = true;
		if (w->small_phase + 1 > lo->phase[y->id])
			lo->phase[y->id] = w->small_phase + 1;
	}
	return true;
}

/* ---- in whose memory order the loops run: that of most of what is read and written */
struct vote {
	struct nest_order o;
	int n;
};
struct poll {
	VEC(struct vote) v;
	const struct nest_space *s;
};

static void
vote(struct lower *lo, struct poll *p, const struct value *v, const int8_t *label, int weight)
{
	struct nest_order o;

	memset(&o, 0, sizeof o);
	nest_order_of(v, label, &o);
	for (int i = 0; i < p->v.n; i++)
		if (!memcmp(&p->v.v[i].o, &o, sizeof o)) {
			p->v.v[i].n += weight;
			return;
		}
	vec_push(lo->tmp, &p->v, (struct vote){o, weight});
}

/* Values in memory over the whole space that v is computed from. */
static void
poll_reads(struct lower *lo, const char *in, struct value *v, struct poll *p)
{
	if (v->kind == VAL_NODE && in[v->def->id])
		return;
	if (lower_in_memory(lo, v, NULL)) {
		if (dims_equal(v->rank, v->dims, p->s->rank, p->s->dims))
			vote(lo, p, v, NULL, 1);
		return;
	}
	if (op_info[v->def->op].class == OC_map)
		for (int k = 0; k < v->def->nin; k++)
			poll_reads(lo, in, v->def->in[k], p);
}

bool
nest_poll(struct lower *lo, struct node *const *nodes, int n, const struct nest_space *s,
    struct value *const *outputs, int nout, struct nest_order *o)
{
	struct poll p = {.s = s};
	int best = -1;

	for (int i = 0; i < n; i++)
		lo->in_set[nodes[i]->id] = 1;
	for (int i = 0; i < nout; i++)
		if (!lo->small[outputs[i]->id])
			vote(lo, &p, outputs[i], lo->label[outputs[i]->id], 2);
	for (int i = 0; i < n; i++)
		for (int k = 0; k < nodes[i]->nin; k++)
			poll_reads(lo, lo->in_set, nodes[i]->in[k], &p);
	for (int i = 0; i < n; i++)
		lo->in_set[nodes[i]->id] = 0;
	for (int i = 0; i < p.v.n; i++)
		if (best < 0 || p.v.v[i].n > p.v.v[best].n)
			best = i;
	if (best >= 0)
		*o = p.v.v[best].o;
	return best >= 0;
}

/* Whether walking a row again finds it in the cache, and rows are enough to share. */
static bool
rows_good(struct lower *lo, struct nest_space *s, struct node *const *nodes, int n)
{
	const struct value *v = NULL;
	struct nest_order o;
	int64_t span = 1, total = dims_count(s->rank, s->dims);

	for (int i = 0; i < n && !v; i++)
		if (!lo->small[nodes[i]->out[0]->id])
			v = nodes[i]->out[0];
	if (!v)
		return total <= ROW_ELEMENTS; /* sums of sums */
	if (!nest_poll(lo, nodes, n, s, NULL, 0, &o))
		nest_order_of(v, lo->label[v->id], &o);
	for (int i = 0; i < o.n; i++)
		if (span > 1 || (s->reduced & 1u << o.d[i].axis))
			span *= o.d[i].extent;
	if (!span) /* an axis without elements */
		return true;
	return span <= ROW_ELEMENTS && (total / span >= 4 || total <= ROW_ELEMENTS);
}

bool
nest_fits(struct lower *lo, struct node *const *nodes, int n, struct nest_space *s)
{
	char *in = lo->in_set;
	const struct value *v = NULL;
	bool ok = true;

	memset(s, 0, sizeof *s);
	s->reduced = ~0u;
	for (int i = 0; i < n; i++) {
		const struct value *c = space_value(nodes[i]);

		if (!member(nodes[i]))
			return false;
		if (!v || dims_count(c->rank, c->dims) > dims_count(v->rank, v->dims))
			v = c;
	}
	if (!v)
		return false;
	s->rank = v->rank;
	memcpy(s->dims, v->dims, sizeof s->dims);
	for (int i = 0; i < n && ok; i++) {
		struct node *x = nodes[i];
		struct walk w;

		if (nest_is_reduce(x->op)) {
			ok = walk_value(lo, in, x->in[0], &w) && fit_reduce(lo, s, x, &w);
		} else {
			ok = walk_node(lo, in, x, &w) && fit_map(lo, s, x, &w);
		}
		in[x->id] = 1;
		if (ok && lo->phase[x->out[0]->id] >= s->phases)
			s->phases = lo->phase[x->out[0]->id] + 1;
	}
	for (int i = 0; i < n; i++)
		in[nodes[i]->id] = 0;
	if (s->reduced == ~0u)
		s->reduced = 0;
	return ok && s->phases <= MAX_PHASES && (!s->rows || rows_good(lo, s, nodes, n));
}

/* ---- order of loops */
void
nest_order_of(const struct value *v, const int8_t *label, struct nest_order *o)
{
	o->n = 0;
	if (!v->layout) {
		for (int d = 0; d < v->rank; d++)
			if (v->dims[d] != 1)
				o->d[o->n++] =
				    (struct nest_digit){label ? label[d] : d, v->dims[d], 1};
		return;
	}
	for (int p = 0; p < v->layout->n; p++) {
		const struct phys *ph = &v->layout->phys[p];
		int64_t extent = ph->extent;
		int others = 0;

		for (int q = 0; q < v->layout->n; q++)
			others += v->layout->phys[q].dim == ph->dim;
		if (others == 1)
			extent = v->dims[ph->dim];
		if (extent == 1 ||
		    (label && label[ph->dim] < 0 && v->dims[ph->dim] == 1 && others == 1))
			continue;
		o->d[o->n++] = (struct nest_digit){
		    label && label[ph->dim] >= 0 ? label[ph->dim] : ph->dim, extent, ph->step};
	}
}

void
nest_index(const struct nest_order *o, const int *var, int rank, struct index *idx)
{
	for (int a = 0; a < rank; a++)
		idx[a] = index_of(AFFINE(0));
	for (int i = 0; i < o->n; i++) {
		struct index *ix = &idx[o->d[i].axis];

		if (var[i] < 0)
			continue;
		affine_add(&ix->whole, var[i], o->d[i].step);
		if (o->d[i].step > 1) {
			ix->block = ix->block ? -1 : o->d[i].step;
			ix->outer = AFFINE(0);
			affine_add(&ix->outer, var[i], 1);
		} else {
			ix->inner = AFFINE(0);
			affine_add(&ix->inner, var[i], 1);
		}
	}
	for (int a = 0; a < rank; a++) {
		int inner = 0;

		if (idx[a].block <= 0) {
			idx[a].block = 0;
			continue;
		}
		for (int i = 0; i < o->n; i++)
			if (o->d[i].axis == a && o->d[i].step == 1 && var[i] >= 0)
				inner = o->d[i].extent == idx[a].block;
		if (!inner)
			idx[a].block = 0;
	}
}

void
nest_loops(struct emit *e, const struct nest_order *o, unsigned axes, int *var)
{
	for (int i = 0; i < o->n; i++)
		if (axes & 1u << o->d[i].axis)
			emit_for(e, FOR_SERIAL, o->d[i].extent, &var[i]);
}
