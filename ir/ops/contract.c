/* contract.c -- the general dot product: spec "bmk,bkn->bmn".  A letter names one
 * extent; each operand has a letter at most once, and every letter stands in at
 * least two of the three, which makes each gradient again a contraction. */
#include <ctype.h>

#include "ir/ops/ops_int.h"

struct spec {
	char part[3][MAX_RANK + 1]; /* a, b, result */
	int n[3];
};

static bool
spec_parse(const char *s, struct spec *p)
{
	int k = 0;

	memset(p, 0, sizeof *p);
	for (; *s; s++) {
		if (*s == ',' && k == 0)
			k = 1;
		else if (s[0] == '-' && s[1] == '>' && k == 1) {
			k = 2;
			s++;
		} else if (!isalpha((unsigned char)*s) || p->n[k] == MAX_RANK ||
		    strchr(p->part[k], *s))
			return false;
		else
			p->part[k][p->n[k]++] = *s;
	}
	return k == 2;
}

bool
infer_contract(struct graph *g, struct node *n, struct diag *d)
{
	int64_t extent[128], dims[MAX_RANK];
	int seen[128] = {0};
	struct spec p;

	if (!ops_known(n, d))
		return false;
	if (!spec_parse(attr_string(n, "spec"), &p))
		return diag_invalid(d, n->loc, "malformed contraction \"%s\"", attr_string(n, "spec"));
	if (n->in[0]->dtype != n->in[1]->dtype)
		return diag_invalid(d, n->loc, "operand types differ: %s and %s",
		    dtype_info[n->in[0]->dtype].name, dtype_info[n->in[1]->dtype].name);
	if (!dtype_is_float(n->in[0]->dtype) && !dtype_is_int(n->in[0]->dtype))
		return diag_invalid(d, n->loc, "contraction of %s", dtype_info[n->in[0]->dtype].name);
	for (int k = 0; k < 2; k++) {
		const struct value *v = n->in[k];

		if (v->rank != p.n[k])
			return diag_invalid(d, n->loc, "operand %s does not have the %d axes of \"%s\"",
			    ops_dims_text(g, v->rank, v->dims), p.n[k], p.part[k]);
		for (int i = 0; i < v->rank; i++) {
			int c = p.part[k][i];

			if (seen[c] && extent[c] != v->dims[i])
				return diag_invalid(d, n->loc, "extents differ: %s and %s (axis '%c' of %s with %s)",
				    dim_text(g, extent[c]), dim_text(g, v->dims[i]), c,
				    ops_dims_text(g, n->in[0]->rank, n->in[0]->dims),
				    ops_dims_text(g, n->in[1]->rank, n->in[1]->dims));
			extent[c] = v->dims[i];
			seen[c]++;
		}
	}
	for (int i = 0; i < p.n[2]; i++) {
		int c = p.part[2][i];

		if (!seen[c])
			return diag_invalid(d, n->loc, "'%c' of the result is in neither operand", c);
		dims[i] = extent[c];
		seen[c]++;
	}
	for (int c = 0; c < 128; c++)
		if (seen[c] == 1)
			return diag_invalid(d, n->loc, "'%c' of \"%s\" stands in one place only", c,
			    attr_string(n, "spec"));
	return ops_set(n, d, 0, n->in[0]->dtype, p.n[2], dims);
}

bool
grad_contract(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct spec p;
	char s[3 * MAX_RANK + 8];

	if (!dout[0])
		return true;
	if (!spec_parse(attr_string(n, "spec"), &p))
		die("malformed contraction");
	snprintf(s, sizeof s, "%s,%s->%s", p.part[2], p.part[1], p.part[0]);
	din[0] = b_contract(b, s, dout[0], n->in[1]);
	snprintf(s, sizeof s, "%s,%s->%s", p.part[0], p.part[2], p.part[1]);
	din[1] = b_contract(b, s, n->in[0], dout[0]);
	return din[0] && din[1];
}

/* The stride of letter c in the packed tensor whose axes are `part`; 0: absent. */
static int64_t
letter_stride(const char *part, const struct etensor *t, char c)
{
	int64_t s = 1;

	for (int i = t->rank - 1; i >= 0; s *= t->dims[i--])
		if (part[i] == c)
			return s;
	return 0;
}

/* Two innermost loops over the last result letter and all summed letters are
 * enough for an oracle: result element by result element. */
bool
eval_contract(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *a = in[0], *b = in[1];
	struct etensor *y = out[0];
	int64_t kd[MAX_RANK], ka[MAX_RANK], kb[MAX_RANK], oa[MAX_RANK], ob[MAX_RANK];
	int64_t idx[MAX_RANK] = {0}, nterm = 1, *ia, *ib;
	struct spec p;
	struct arena *tmp;
	int nk = 0;

	if (!spec_parse(attr_string(n, "spec"), &p))
		return false;
	for (int i = 0; i < y->rank; i++) {
		oa[i] = letter_stride(p.part[0], a, p.part[2][i]);
		ob[i] = letter_stride(p.part[1], b, p.part[2][i]);
	}
	for (int i = 0; i < a->rank; i++)
		if (!strchr(p.part[2], p.part[0][i])) {
			kd[nk] = a->dims[i];
			nterm *= a->dims[i];
			ka[nk] = letter_stride(p.part[0], a, p.part[0][i]);
			kb[nk++] = letter_stride(p.part[1], b, p.part[0][i]);
		}
	tmp = arena_create();
	ia = arena_array(tmp, int64_t, nterm + 1);
	ib = arena_array(tmp, int64_t, nterm + 1);
	for (int64_t t = 0; t < nterm; t++) {
		for (int i = 0; i < nk; i++) {
			ia[t] += ka[i] * idx[i];
			ib[t] += kb[i] * idx[i];
		}
		ops_next(nk, kd, idx);
	}
	memset(idx, 0, sizeof idx);
	for (int64_t o = 0; o < y->count; o++) {
		int64_t at = 0, bt = 0;

		for (int i = 0; i < y->rank; i++) {
			at += oa[i] * idx[i];
			bt += ob[i] * idx[i];
		}
		if (y->f) {
			double s = 0;

			for (int64_t t = 0; t < nterm; t++)
				s += a->f[at + ia[t]] * b->f[bt + ib[t]];
			y->f[o] = s;
		} else {
			uint64_t s = 0;

			for (int64_t t = 0; t < nterm; t++)
				s += (uint64_t)a->i[at + ia[t]] * (uint64_t)b->i[bt + ib[t]];
			y->i[o] = int_wrap(y->dtype, (int64_t)s);
		}
		ops_next(y->rank, y->dims, idx);
	}
	arena_destroy(tmp);
	return true;
}
