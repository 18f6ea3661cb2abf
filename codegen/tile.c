/* tile -- S_TILE: a register tile of accumulators over nested k loops.  The
 * accumulators are stack slots that SROA turns into phis of every loop; B's
 * vectors are loaded once per k step, A's scalars broadcast.  Nothing unrolls
 * these loops later: the shape written here is the shape that runs. */
#include "codegen/gen.h"

enum { MAX_ACC = 256, MAX_PARTS = 16 };

struct cols { int64_t at; int lanes, active; }; /* one vector of a column group */
struct tiling {
	struct gen *g;
	const struct tile *t;
	int rows, nv, ncol;                     /* nv = cblocks * ncol vectors per row */
	struct cols col[MAX_PARTS];
	LLVMValueRef acc[MAX_ACC];              /* [row * nv + vector] */
	struct addr ahead;                      /* of what is prefetched */
};

/* cols cut into vectors of the machine's width, the rest into narrower ones */
static void
cut_columns(struct tiling *s)
{
	const struct tile *t = s->t;
	int w = s->g->t->machine.vector_bits / dtype_info[t->dtype].bits;
	int64_t at = 0;

	while (at < t->valid_cols) {
		int64_t left = t->cols - at, valid = t->valid_cols - at;
		int lanes = w;

		while (lanes > left)
			lanes /= 2;
		if (!s->g->t->machine.masked) /* no masks: exactly what there is */
			while (lanes > valid)
				lanes = lanes / 2 >= valid ? lanes / 2 : (int)valid;
		if (s->ncol == MAX_PARTS)
			die("kernel %s: a tile of %lld columns", s->g->k->name, (long long)t->cols);
		s->col[s->ncol++] = (struct cols){at, lanes, (int)(valid < lanes ? valid : lanes)};
		at += lanes;
	}
}

static LLVMValueRef
offset(struct gen *g, LLVMValueRef base, LLVMValueRef k, int64_t stride)
{
	LLVMValueRef x;

	if (!stride || (LLVMIsAConstantInt(k) && !LLVMConstIntGetSExtValue(k)))
		return base;
	x = stride == 1 ? k : LLVMBuildMul(g->b, k, gen_i64(g, stride), "");
	return base ? LLVMBuildAdd(g->b, base, x, "") : x;
}

/* One step of the innermost k: j beyond the offsets of the open loops. */
static void
step(struct tiling *s, LLVMValueRef abase, LLVMValueRef bbase, int64_t ac, int64_t bc)
{
	struct gen *g = s->g;
	const struct tile *t = s->t;
	LLVMTypeRef e = gen_type(g, t->dtype, 0);
	LLVMValueRef b[MAX_PARTS * 16];
	unsigned align = (unsigned)dtype_info[t->dtype].bits / 8;

	for (int v = 0; v < s->nv; v++) {
		const struct cols *c = &s->col[v % s->ncol];
		LLVMValueRef p = gen_pointer(g, t->b.buf, bbase, bc + v / s->ncol * t->b.cbstride + c->at);
		LLVMTypeRef over[2] = {gen_type(g, t->dtype, c->lanes), g->m->ptr};
		LLVMValueRef mask = gen_mask(g, c->lanes, c->active);

		if (mask)
			b[v] = gen_intrinsic(g, "llvm.masked.load", over, 2,
			    (LLVMValueRef[]){p, LLVMConstInt(g->m->i32, align, 0), mask, LLVMConstNull(over[0])}, 4);
		else {
			b[v] = LLVMBuildLoad2(g->b, over[0], p, "");
			LLVMSetAlignment(b[v], align);
		}
	}
	for (int r = 0; r < s->rows; r++) {
		int64_t at = r / t->rows[1] * t->a.rstride[0] + r % t->rows[1] * t->a.rstride[1];
		LLVMValueRef a = LLVMBuildLoad2(g->b, e, gen_pointer(g, t->a.buf, abase, ac + at), "");

		LLVMSetAlignment(a, align);
		for (int v = 0; v < s->nv; v++) {
			int lanes = s->col[v % s->ncol].lanes;
			LLVMTypeRef vt = gen_type(g, t->dtype, lanes);
			LLVMValueRef slot = s->acc[r * s->nv + v], sum = LLVMBuildLoad2(g->b, vt, slot, "");

			sum = math_mad(g, gen_splat(g, a, lanes), b[v], sum);
			LLVMBuildStore(g->b, sum, slot);
		}
	}
}

/* Steps of the k loops from d on. */
static int64_t
steps(const struct tile *t, int d)
{
	int64_t n = 1;

	for (; d < t->nk; d++)
		n *= t->k[d];
	return n;
}

/* The lines of one turn of the innermost loop. */
static void
fetch_ahead(struct tiling *s, LLVMValueRef base)
{
	struct gen *g = s->g;
	const struct tile *t = s->t;
	int64_t line = 64 * 8 / dtype_info[t->dtype].bits;

	for (int i = 0; i < t->ahead_lines; i++)
		gen_intrinsic(g, "llvm.prefetch", &g->m->ptr, 1,
		    (LLVMValueRef[]){gen_pointer(g, t->b.buf, base, s->ahead.c + i * line), LLVMConstInt(g->m->i32, 0, 0),
		        LLVMConstInt(g->m->i32, 2, 0), LLVMConstInt(g->m->i32, 1, 0)}, 4);
}

/* k loop number d and those inside it.  abase, bbase, fbase: offsets of the loops
 * open (NULL: 0) in A, in B, in what is fetched. */
static void
k_loops(struct tiling *s, int d, LLVMValueRef abase, LLVMValueRef bbase, LLVMValueRef fbase, int64_t ac, int64_t bc)
{
	struct gen *g = s->g;
	const struct tile *t = s->t;
	int64_t sa, sb, n, u, done = 0;

	if (d == t->nk) { /* no k loop at all */
		step(s, abase, bbase, ac, bc);
		return;
	}
	sa = t->a.kstride[d];
	sb = t->b.kstride[d];
	n = t->k[d];
	if (d < t->nk - 1) {
		struct loop l;

		if (n == 1) {
			k_loops(s, d + 1, abase, bbase, fbase, ac, bc);
			return;
		}
		l = gen_loop(g, gen_i64(g, n), 1);
		k_loops(s, d + 1, offset(g, abase, l.i, sa), offset(g, bbase, l.i, sb),
		    t->ahead_lines ? offset(g, fbase, l.i, steps(t, d + 1) * t->ahead_step) : NULL, ac, bc);
		gen_loop_end(g, &l);
		return;
	}
	u = t->unroll > 1 ? t->unroll : 1;
	if (n > u) {
		struct loop l = gen_loop(g, gen_i64(g, n / u * u), u);
		LLVMValueRef a = offset(g, abase, l.i, sa), b = offset(g, bbase, l.i, sb);

		if (t->ahead_lines)
			fetch_ahead(s, offset(g, fbase, l.i, t->ahead_step));
		for (int64_t j = 0; j < u; j++)
			step(s, a, b, ac + j * sa, bc + j * sb);
		gen_loop_end(g, &l);
		done = n / u * u;
	}
	for (; done < n; done++)
		step(s, abase, bbase, ac + done * sa, bc + done * sb);
}

static void
epilogue(struct tiling *s)
{
	struct gen *g = s->g;
	const struct tile *t = s->t;

	for (int r = 0; r < s->rows; r++)
		for (int v = 0; v < s->nv; v++) {
			const struct cols *c = &s->col[v % s->ncol];
			LLVMTypeRef vt = gen_type(g, t->dtype, c->lanes);

			for (int i = 0; i < 2; i++)
				if (t->rowvar[i] >= 0)
					g->var[t->rowvar[i]] = gen_i64(g, i ? r % t->rows[1] : r / t->rows[1]);
			if (t->cblockvar >= 0 && t->cblockvar != t->colvar)
				g->var[t->cblockvar] = gen_i64(g, v / s->ncol);
			g->var[t->colvar] = gen_i64(g, c->at);
			g->vvar = t->colvar;
			g->lanes = c->lanes;
			g->active = c->active;
			g->reg[t->acc] = (struct reg){
				.v = LLVMBuildLoad2(g->b, vt, s->acc[r * s->nv + v], ""), .vector = true};
			gen_body(g, &t->epilogue);
		}
	g->vvar = -1;
}

void
gen_tile(struct gen *g, const struct tile *t)
{
	struct tiling s = {.g = g, .t = t, .rows = (int)(t->rows[0] * t->rows[1])};
	struct addr a = gen_affine(g, &t->a.index), b = gen_affine(g, &t->b.index);

	if (g->vvar >= 0)
		die("kernel %s: a tile inside a VECTOR loop", g->k->name);
	if (t->dtype != DT_f32 && t->dtype != DT_f64)
		die("kernel %s: a tile of %s", g->k->name, dtype_info[t->dtype].name);
	cut_columns(&s);
	s.nv = s.ncol * (int)(t->cblocks > 1 ? t->cblocks : 1);
	if (s.rows * s.nv > MAX_ACC || s.rows < 1 || s.nv > MAX_PARTS * 16)
		die("kernel %s: a tile of %d x %d vectors", g->k->name, s.rows, s.nv);
	g->extent[t->colvar] = t->cols;
	for (int i = 0; i < 2; i++)
		if (t->rowvar[i] >= 0)
			g->extent[t->rowvar[i]] = t->rows[i];
	if (t->cblockvar >= 0 && t->cblockvar != t->colvar)
		g->extent[t->cblockvar] = t->cblocks;
	for (int i = 0; i < s.rows * s.nv; i++) {
		LLVMTypeRef vt = gen_type(g, t->dtype, s.col[i % s.nv % s.ncol].lanes);

		s.acc[i] = gen_alloca(g, vt, "acc");
		LLVMBuildStore(g->b, LLVMConstNull(vt), s.acc[i]);
	}
	for (int i = 0; i < t->nk; i++)
		if (t->k[i] == 0)
			goto empty;
	if (t->ahead_lines) {
		struct affine to = t->b.index;

		to.c += t->ahead.c;
		for (int i = 0; i < t->ahead.n; i++)
			affine_add(&to, t->ahead.t[i].var, t->ahead.t[i].coef);
		s.ahead = gen_affine(g, &to);
	}
	k_loops(&s, 0, a.base, b.base, s.ahead.base, a.c, b.c);
empty:
	epilogue(&s);
}
