/* tile_shape -- which contractions and convolutions the register-tiled kernels
 * serve, and the sizes and layouts that go with them.  Read by layout and tile. */
#include "passes/tile.h"

#include <string.h>

int64_t
tile_block(const struct machine *m)
{
	return m->vector_bits >= 512 ? 16 : 8;
}

/* Vectors of f32 that one column group takes. */
static int64_t
group_vectors(const struct machine *m)
{
	int64_t lanes = m->vector_bits / 32;

	return tile_block(m) / (lanes > 0 ? lanes : 1);
}

int64_t
tile_rows(const struct machine *m, int64_t groups)
{
	int64_t vectors = groups * group_vectors(m);
	int64_t acc = m->vector_regs >= 32 ? 28 : 12;
	int64_t rows = acc / vectors;

	return rows < 1 ? 1 : rows;
}

int64_t
tile_groups(const struct machine *m, int64_t blocks)
{
	int64_t most = m->vector_regs >= 32 ? 3 : 2;

	most /= group_vectors(m);
	if (blocks % 2 == 0 && most >= 2)
		return 2;
	if (blocks % 3 == 0 && most >= 3)
		return 3;
	return 1;
}

/* ---- contraction */

static bool
has(const char *s, int n, char c)
{
	return memchr(s, c, (size_t)n) != NULL;
}

static void
push(char *s, char c)
{
	size_t n = strlen(s);

	s[n] = c;
	s[n + 1] = 0;
}

bool
contract_roles(const struct node *node, struct contract_roles *r)
{
	const char *spec = attr_string(node, "spec");
	const char *comma = strchr(spec, ','), *arrow = strstr(spec, "->");
	const char *s[2] = {spec, comma + 1};
	int n[2] = {(int)(comma - spec), (int)(arrow - comma - 1)};
	const struct value *v[2] = {node->in[0], node->in[1]};
	const struct value *out = node->out[0];

	memset(r, 0, sizeof *r);
	if (out->dtype != DT_f32 && out->dtype != DT_f64)
		return false;
	r->sc = arrow + 2;
	r->nc = (int)strlen(r->sc);
	if (r->nc == 0 || r->nc > MAX_RANK || n[0] > MAX_RANK || n[1] > MAX_RANK)
		return false;
	for (int o = 0; o < 2; o++)
		for (int i = 0; i < n[o]; i++) {
			if (!dim_const(v[o]->dims[i]))
				return false;
			if (memchr(s[o], s[o][i], (size_t)i))
				return false; /* a diagonal */
			r->size[(unsigned char)s[o][i] & 127] = v[o]->dims[i];
		}
	/* B holds the last letter of C that is longer than one, or the very last. */
	r->col = r->sc[r->nc - 1];
	bool in_a = has(s[0], n[0], r->col), in_b = has(s[1], n[1], r->col);
	if (in_a && in_b)
		return false;
	r->b = in_b ? 1 : 0;
	r->a = 1 - r->b;
	r->sa = s[r->a], r->na = n[r->a];
	r->sb = s[r->b], r->nb = n[r->b];
	for (int i = 0; i < r->nc; i++) {
		char c = r->sc[i];
		bool a = has(r->sa, r->na, c), b = has(r->sb, r->nb, c);

		push(a && b ? r->batch : a ? r->rows : r->cols, c);
	}
	for (int i = 0; i < r->nb; i++)
		if (!has(r->sc, r->nc, r->sb[i]))
			push(r->k, r->sb[i]);
	return strlen(r->k) >= 1 && strlen(r->k) <= 5;
}

static int64_t
letters_product(const struct contract_roles *r, const char *letters)
{
	int64_t n = 1;

	for (; *letters; letters++)
		n *= r->size[(int)*letters];
	return n;
}

/* Every 32 or 48 columns read all of A: from the third cache that is 16 operations a
 * byte.  Weights read again for each block of 256 rows are 128 a byte.  Beside A stay
 * this panel of B and the next: as much as PANELS more rows. */
struct contract_blocks
contract_blocks(const struct machine *m, const struct contract_roles *r)
{
	enum { ROWS = 256, PANELS = 64, LEAST_K = 256 };
	int64_t k = letters_product(r, r->k), rows = letters_product(r, r->rows);
	int64_t room = m->l2 * 11 / 16 / (int64_t)sizeof(float), wanted = (rows < ROWS ? rows : ROWS) + PANELS;
	struct contract_blocks b = {1, rows};

	if (*r->batch || (rows + PANELS) * k <= room || letters_product(r, r->cols) <= 4 * tile_block(m))
		return b;
	if (strlen(r->k) == 1 && wanted * k > room)
		for (int64_t p = 2; k / p >= LEAST_K; p++)
			if (k % p == 0) {
				b.parts = p;
				if (wanted * (k / p) <= room)
					break;
			}
	b.rows = room / (k / b.parts) - PANELS;
	if (b.rows < ROWS / 2)
		b.rows = ROWS / 2;
	return b;
}

const struct layout *
contract_panels(struct arena *a, const struct contract_roles *r, int64_t block, int64_t parts)
{
	struct layout *l = arena_new(a, struct layout);
	int col = 0;

	if (parts > 1)
		for (int i = 0; i < r->nb; i++)
			if (r->sb[i] == r->k[0])
				l->phys[l->n++] = (struct phys){i, parts, r->size[(int)r->k[0]] / parts};
	for (int pass = 0; pass < 3; pass++) /* batch, other columns, k */
		for (int i = 0; i < r->nb; i++) {
			char c = r->sb[i];
			const char *set = pass == 0 ? r->batch : pass == 1 ? r->cols : r->k;

			if (c == r->col) {
				col = i;
				if (pass == 1)
					l->phys[l->n++] = (struct phys){
					    i, (r->size[(int)c] + block - 1) / block, block};
			} else if (strchr(set, c)) {
				l->phys[l->n++] = (struct phys){i, r->size[(int)c] / (pass == 2 ? parts : 1), 1};
			}
		}
	l->phys[l->n++] = (struct phys){col, block, 1};
	return l;
}

/* ---- convolution */

bool
conv_shape_of(const struct node *node, struct conv_shape *s)
{
	const struct value *x, *y, *w;
	const int64_t *strides, *pads, *dil;

	memset(s, 0, sizeof *s);
	if (node->op == OP_winograd_conv || node->op == OP_winograd_grad_weight)
		return false;
	/* conv: x, w -> y;  conv_grad_data: dy, w -> dx;  conv_grad_weight: x, dy -> dw */
	x = node->op == OP_conv_grad_data ? node->out[0] : node->in[0];
	y = node->op == OP_conv ? node->out[0] : node->op == OP_conv_grad_data ? node->in[0] : node->in[1];
	w = node->op == OP_conv_grad_weight ? node->out[0] : node->in[1];
	s->spatial = x->rank - 2;
	if (s->spatial < 1 || s->spatial > 3)
		return false;
	for (int i = 0; i < x->rank; i++)
		if (!dim_const(x->dims[i]) || !dim_const(y->dims[i]) || !dim_const(w->dims[i]))
			return false;
	s->n = x->dims[0];
	s->ic = x->dims[1];
	s->oc = y->dims[1];
	int64_t group = attr_int(node, "group"), merge = node->op == OP_conv ? attr_int(node, "merge") : 1;
	s->group = (group + merge - 1) / merge;
	s->gin = s->group > 1 ? s->ic / group * merge : s->ic;
	s->gout = s->group > 1 ? s->oc / group * merge : s->oc;
	int ns = attr_ints(node, "strides", &strides), np = attr_ints(node, "pads", &pads);
	int nd = attr_ints(node, "dilations", &dil);
	for (int d = 0; d < s->spatial; d++) {
		s->in[d] = x->dims[2 + d];
		s->out[d] = y->dims[2 + d];
		s->kernel[d] = w->dims[2 + d];
		s->stride[d] = ns ? strides[d] : 1;
		s->dilation[d] = nd ? dil[d] : 1;
		s->lo[d] = np ? pads[d] : 0;
		s->hi[d] = np ? pads[d + s->spatial] : 0;
		if (s->lo[d] < 0 || s->hi[d] < 0 || s->in[d] < 1 || s->out[d] < 1)
			return false;
	}
	return s->n > 0 && s->ic > 0 && s->oc > 0;
}

bool
conv_tiled(const struct node *node, int64_t block, struct conv_shape *s)
{
	if (!conv_shape_of(node, s) || node->out[0]->dtype != DT_f32)
		return false;
	if (s->group > 1 && (s->gin % block || s->gout % block))
		return false;
	/* the data gradient steps through phases; dilated and strided at once is rare */
	if (node->op == OP_conv_grad_data)
		for (int d = 0; d < s->spatial; d++)
			if (s->stride[d] > 1 && s->dilation[d] > 1)
				return false;
	return true;
}

bool
conv_stem(const struct conv_shape *s, int64_t block)
{
	return s->ic < block / 2;
}

/* Taps that read inside the image at output p; in order, as lo and hi of a range. */
static void
taps_inside(const struct conv_shape *s, int d, int64_t p, int64_t *tap, int64_t *taps)
{
	int64_t end = 0;

	*tap = s->kernel[d];
	for (int64_t k = 0; k < s->kernel[d]; k++) {
		int64_t at = p * s->stride[d] + k * s->dilation[d] - s->lo[d];

		if (at < 0 || at >= s->in[d])
			continue;
		if (k < *tap)
			*tap = k;
		end = k + 1;
	}
	*taps = end > *tap ? end - *tap : 0;
	if (!*taps)
		*tap = 0;
}

int
conv_spans(const struct conv_shape *s, int d, struct conv_span *spans)
{
	int64_t work = 0;
	int n = 0;

	for (int64_t p = 0; p < s->out[d] && n <= MAX_SPANS; p++) {
		struct conv_span x = {.first = p, .count = 1};

		taps_inside(s, d, p, &x.tap, &x.taps);
		work += x.taps;
		if (n && spans[n - 1].tap == x.tap && spans[n - 1].taps == x.taps)
			spans[n - 1].count++;
		else if (n++ < MAX_SPANS)
			spans[n - 1] = x;
	}
	if (n <= MAX_SPANS && s->dilation[d] > 1 && 3 * work <= 2 * s->out[d] * s->kernel[d])
		return n;
	spans[0] = (struct conv_span){0, s->out[d], 0, s->kernel[d]};
	return 1;
}

bool
conv_phases_apart(const struct conv_shape *s, int d)
{
	return s->stride[d] > 1 && s->kernel[d] % s->stride[d] == 0;
}

const struct layout *
conv_weight_layout(struct arena *a, const struct conv_shape *s, int64_t block, bool swap)
{
	struct layout *l = arena_new(a, struct layout);
	int out = swap ? 1 : 0, in = swap ? 0 : 1; /* dims of OIHW */
	int64_t nout = swap ? s->gin : s->oc, nin = swap ? s->oc : s->gin;
	bool stem = !swap && conv_stem(s, block);

	for (int d = 0; d < s->spatial && swap; d++)
		if (conv_phases_apart(s, d))
			l->phys[l->n++] = (struct phys){2 + d, s->stride[d], 1};
	l->phys[l->n++] = (struct phys){out, (nout + block - 1) / block, block};
	if (stem)
		l->phys[l->n++] = (struct phys){in, nin, 1};
	else
		l->phys[l->n++] = (struct phys){in, (nin + block - 1) / block, block};
	for (int d = 0; d < s->spatial; d++) {
		int64_t step = swap && conv_phases_apart(s, d) ? s->stride[d] : 1;

		l->phys[l->n++] = (struct phys){2 + d, s->kernel[d] / step, step};
	}
	if (!stem)
		l->phys[l->n++] = (struct phys){in, block, 1};
	l->phys[l->n++] = (struct phys){out, block, 1};
	return l;
}

/* dx[i*s + phase] = sum over taps kh with (i*s + phase + lo - kh*d) divisible by s
 * of dy[(i*s + phase + lo - kh*d) / s] w[kh].  With s == 1 every tap, d apart;
 * with s > 1 (d == 1) the taps first, first + s, ... */
struct conv_phase
conv_phase(const struct conv_shape *s, int d, int64_t phase)
{
	struct conv_phase p = {.step = s->stride[d]};
	int64_t st = s->stride[d], at = phase + s->lo[d];

	p.outputs = (s->in[d] - phase + st - 1) / st;
	if (p.outputs < 0)
		p.outputs = 0;
	if (st == 1) {
		p.count = s->kernel[d];
		p.offset = at;
		p.back = s->dilation[d];
		return p;
	}
	p.first = at % st;
	p.offset = at / st;
	p.back = 1;
	p.count = p.first < s->kernel[d] ? (s->kernel[d] - p.first + st - 1) / st : 0;
	return p;
}

void
conv_grad_halo(const struct conv_shape *s, int64_t *lo, int64_t *hi)
{
	for (int d = 0; d < s->spatial; d++) {
		lo[d] = hi[d] = 0;
		for (int64_t f = 0; f < s->stride[d] && f < s->in[d]; f++) {
			struct conv_phase p = conv_phase(s, d, f);

			if (!p.count || !p.outputs)
				continue;
			int64_t least = p.offset - (p.count - 1) * p.back;
			int64_t most = p.outputs - 1 + p.offset - (s->out[d] - 1);

			if (-least > lo[d])
				lo[d] = -least;
			if (most > hi[d])
				hi[d] = most;
		}
	}
}

/* ---- Winograd */

bool
winograd_shape_of(const struct node *n, struct winograd_shape *s)
{
	const struct value *x, *y;
	const int64_t *pads;

	memset(s, 0, sizeof *s);
	if (n->op != OP_winograd_conv && n->op != OP_winograd_grad_weight)
		return false;
	x = n->in[0];
	y = n->op == OP_winograd_conv ? n->out[0] : n->in[1];
	s->gradient = n->op == OP_winograd_grad_weight;
	s->w = winograd_of((int)attr_int(n, "tile"), s->gradient ? 1 : (int)attr_int(n, "stride"));
	s->n = x->dims[0];
	s->ic = x->dims[1];
	s->oc = y->dims[1];
	int np = attr_ints(n, "pads", &pads);
	for (int d = 0; d < 2; d++) {
		s->out[d] = y->dims[2 + d];
		s->lo[d] = np ? pads[d] : 0;
		s->tiles[d] = (s->out[d] + s->w->m - 1) / s->w->m;
		s->hi[d] = (s->tiles[d] - 1) * s->w->m * s->w->stride + s->w->side - x->dims[2 + d] - s->lo[d];
		if (s->hi[d] < 0)
			s->hi[d] = 0;
	}
	return true;
}

const struct layout *
winograd_weight_layout(struct arena *a, const struct winograd_shape *s, int64_t block)
{
	struct layout *l = arena_new(a, struct layout);

	l->phys[l->n++] = (struct phys){0, s->w->n * s->w->n, 1};
	l->phys[l->n++] = (struct phys){2, (s->oc + block - 1) / block, block};
	l->phys[l->n++] = (struct phys){1, s->ic, 1};
	l->phys[l->n++] = (struct phys){2, block, 1};
	return l;
}
