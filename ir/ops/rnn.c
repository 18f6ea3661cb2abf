/* rnn.c -- LSTM, GRU, RNN over X [T,B,I], unrolled over a constant T.  The input
 * projection of all time steps is one contraction; a step adds h R^T.
 * Weights are W [D,G*H,I], R [D,G*H,H], B [D,2*G*H] with the gates in ONNX's order:
 * LSTM iofc, GRU zrh, RNN one.  With sequence_lens a state stays as it is where the
 * step lies beyond the sequence, and Y is 0 there. */
#include "ir/ops/ops_int.h"

enum { MAX_STEPS = 4096 };

struct rnn {
	struct build *b;
	const struct node *n;
	int gates, dirs;
	int64_t T, B, I, H; /* T: steps unrolled */
	int64_t steps;      /* the first dim of X: T, or known at run time only and at most T */
	double clip;
	bool has_clip;
	struct value *x, *lens; /* x [T,B,I]; lens [B] or NULL */
	/* of the direction at hand */
	struct value *r, *rb, *peep, *proj; /* R [G*H,H]; Rb [G*H]; P [3H]; proj [T,B,G*H] */
	const char *act[3];
	double alpha[3], beta[3];
};

/* piece i of `parts` along axis */
static struct value *
piece(struct build *b, struct value *v, int axis, int64_t i, int64_t parts)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

	if (!v)
		return NULL;
	memcpy(count, v->dims, sizeof count);
	for (int k = 0; k < MAX_RANK; k++)
		step[k] = 1;
	count[axis] = v->dims[axis] / parts;
	start[axis] = i * count[axis];
	return b_slice(b, v, start, count, step);
}

/* All pieces by one Split, whose gradient is one concat. */
static bool
pieces(struct build *b, struct value *v, int axis, int parts, struct value **out)
{
	struct attr a = attr_of_int("axis", axis);
	struct node *s;

	if (!v)
		return false;
	if (parts == 1) {
		out[0] = v;
		return true;
	}
	s = b_node(b, OP_Split, 1, &v, parts, 1, &a);
	for (int i = 0; s && i < parts; i++)
		out[i] = s->out[i];
	return s != NULL;
}

/* Row d of [D,...] without its first axis. */
static struct value *
direction(struct build *b, struct value *v, int d)
{
	return v ? b_reshape(b, piece(b, v, 0, d, v->dims[0]), v->rank - 1, v->dims + 1) : NULL;
}

static const char *const known[] = {"Sigmoid", "Tanh", "Relu", "Affine", "LeakyRelu", "ThresholdedRelu",
    "ScaledTanh", "HardSigmoid", "Elu", "Softsign", "Softplus", "Identity"};

/* Reads the activation functions of direction d: `per` of them. */
static bool
activations(struct rnn *r, int d, int per, const char *const *usual)
{
	const struct attr *names = attr_find(r->n, "activations");
	const double *alpha, *beta;
	int na = attr_floats(r->n, "activation_alpha", &alpha);
	int nb = attr_floats(r->n, "activation_beta", &beta), ia = 0, ib = 0;

	if (names && names->n != per * r->dirs)
		return diag_invalid(r->b->diag, r->n->loc, "%d activations, %d expected", names->n, per * r->dirs);
	/* alpha and beta are listed for those functions only that have them */
	for (int i = 0; i < (d + 1) * per; i++) {
		const char *f = names ? names->strings[i] : usual[i % per];
		bool two = !strcmp(f, "Affine") || !strcmp(f, "ScaledTanh") || !strcmp(f, "HardSigmoid");
		bool one = two || !strcmp(f, "LeakyRelu") || !strcmp(f, "ThresholdedRelu") || !strcmp(f, "Elu");
		double a = !strcmp(f, "LeakyRelu") ? 0.01 : !strcmp(f, "HardSigmoid") ? 0.2 : 1;
		double c = !strcmp(f, "HardSigmoid") ? 0.5 : !strcmp(f, "Affine") ? 0 : 1;
		size_t k = 0;

		if (one && ia < na)
			a = alpha[ia++];
		if (two && ib < nb)
			c = beta[ib++];
		while (k < sizeof known / sizeof *known && strcmp(known[k], f))
			k++;
		if (k == sizeof known / sizeof *known)
			return diag_unsupported(r->b->diag, r->n->loc, "activation \"%s\"", f);
		if (i < d * per)
			continue;
		r->act[i - d * per] = f;
		r->alpha[i - d * per] = a;
		r->beta[i - d * per] = c;
	}
	return true;
}

static struct value *
clipped(struct rnn *r, struct value *x)
{
	if (!r->has_clip || !x)
		return x;
	x = b_max(r->b, x, b_scalar_like(r->b, x, -r->clip));
	return b_min(r->b, x, b_scalar_like(r->b, x, r->clip));
}

static struct value *
activate(struct rnn *r, int i, struct value *x)
{
	struct build *b = r->b;
	const char *f = r->act[i];
	double alpha = r->alpha[i], beta = r->beta[i];
	struct attr a[2] = {attr_of_float("alpha", alpha), attr_of_float("beta", beta)};

	if (!(x = clipped(r, x)))
		return NULL;
	if (!strcmp(f, "Sigmoid"))
		return b1(b, OP_sigmoid, x);
	if (!strcmp(f, "Tanh"))
		return b1(b, OP_tanh, x);
	if (!strcmp(f, "Relu"))
		return b1(b, OP_Relu, x);
	if (!strcmp(f, "Affine"))
		return b_adds(b, b_muls(b, x, alpha), beta);
	if (!strcmp(f, "ScaledTanh"))
		return b_muls(b, b1(b, OP_tanh, b_muls(b, x, beta)), alpha);
	if (!strcmp(f, "HardSigmoid"))
		return b_op(b, OP_HardSigmoid, 1, &x, 2, a);
	if (!strcmp(f, "LeakyRelu"))
		return b_op(b, OP_LeakyRelu, 1, &x, 1, a);
	if (!strcmp(f, "ThresholdedRelu"))
		return b_op(b, OP_ThresholdedRelu, 1, &x, 1, a);
	if (!strcmp(f, "Elu"))
		return b_op(b, OP_Elu, 1, &x, 1, a);
	if (!strcmp(f, "Softsign"))
		return b1(b, OP_Softsign, x);
	if (!strcmp(f, "Softplus"))
		return b1(b, OP_Softplus, x);
	return x;
}

/* Where the number of steps is known at run time only, all T are taken: the last one
 * again behind the end, where the sequences' lengths end what counts. */
static bool
all_steps(struct rnn *r)
{
	struct build *b = r->b;
	struct value *at = b_min(b, b_iota(b, DT_i64, 1, &r->T, 0), b_adds(b, b_dim(b, r->steps), -1));

	r->x = b_gather(b, r->x, at, 0);
	if (!r->lens)
		r->lens = b_expand(b, b_dim(b, r->steps), 1, &r->B);
	return r->x && r->lens;
}

/* The steps there are of [T,...]. */
static struct value *
steps_there(struct rnn *r, struct value *y)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

	if (!y || dim_const(r->steps))
		return y;
	for (int i = 0; i < MAX_RANK; i++)
		step[i] = 1;
	memcpy(count, y->dims, sizeof count);
	count[0] = r->steps;
	return b_slice(r->b, y, start, count, step);
}

static bool
rnn_open(struct rnn *r, struct build *b, const struct node *n, int gates, int npeep)
{
	const struct value *x = n->in[0], *w = n->in[1], *rr = n->in[2];
	const char *dir = attr_string(n, "direction");

	*r = (struct rnn){.b = b, .n = n, .gates = gates, .x = n->in[0]};
	if (x->rank != 3 || w->rank != 3 || rr->rank != 3)
		return diag_invalid(b->diag, n->loc, "X, W, R must have rank 3");
	r->dirs = strcmp(dir, "bidirectional") == 0 ? 2 : 1;
	if (r->dirs == 1 && strcmp(dir, "forward") && strcmp(dir, "reverse"))
		return diag_invalid(b->diag, n->loc, "direction \"%s\"", dir);
	if (attr_int(n, "layout") == 1)
		r->x = b_transpose(b, n->in[0], (int64_t[]){1, 0, 2});
	if (!(x = r->x))
		return false;
	r->T = r->steps = x->dims[0];
	r->B = x->dims[1];
	r->I = x->dims[2];
	r->H = rr->dims[2];
	if (!dim_const(r->T))
		r->T = dim_hi(b->g, r->T);
	if (r->T > MAX_STEPS)
		return diag_unsupported(b->diag, n->loc,
		    "%s time steps; at most %d are possible (--dim NAME=1..64 bounds them)",
		    dim_text(b->g, r->steps), MAX_STEPS);
	if (r->T < 1 || r->H < 1)
		return diag_invalid(b->diag, n->loc, "%lld time steps, hidden size %lld", (long long)r->T,
		    (long long)r->H);
	if (attr_has(n, "hidden_size") && attr_int(n, "hidden_size") != r->H)
		return diag_invalid(b->diag, n->loc, "hidden_size %lld, R has %lld",
		    (long long)attr_int(n, "hidden_size"), (long long)r->H);
	if (w->dims[0] != r->dirs || rr->dims[0] != r->dirs || w->dims[1] != gates * r->H ||
	    rr->dims[1] != gates * r->H || w->dims[2] != r->I)
		return diag_invalid(b->diag, n->loc, "W %s and R %s for input %s in %d directions",
		    ops_dims_text(b->g, 3, w->dims), ops_dims_text(b->g, 3, rr->dims),
		    ops_dims_text(b->g, 3, x->dims), r->dirs);
	if (ops_in(n, 3) &&
	    (n->in[3]->rank != 2 || n->in[3]->dims[0] != r->dirs || n->in[3]->dims[1] != 2 * gates * r->H))
		return diag_invalid(b->diag, n->loc, "B is %s",
		    ops_dims_text(b->g, n->in[3]->rank, n->in[3]->dims));
	if (ops_in(n, 4)) {
		r->lens = n->in[4];
		if (r->lens->rank != 1 || r->lens->dims[0] != r->B || !dtype_is_int(r->lens->dtype))
			return diag_invalid(b->diag, n->loc, "sequence_lens is %s",
			    ops_dims_text(b->g, r->lens->rank, r->lens->dims));
	}
	if (!dim_const(r->steps) && !all_steps(r))
		return false;
	if (npeep && ops_in(n, 7) &&
	    (n->in[7]->rank != 2 || n->in[7]->dims[0] != r->dirs || n->in[7]->dims[1] != npeep * r->H))
		return diag_invalid(b->diag, n->loc, "P is %s",
		    ops_dims_text(b->g, n->in[7]->rank, n->in[7]->dims));
	r->has_clip = attr_has(n, "clip");
	r->clip = r->has_clip ? attr_float(n, "clip") : 0;
	return true;
}

/* Weights of direction d, and proj = X W^T + Wb (+ Rb unless it is wanted apart). */
static bool
rnn_direction(struct rnn *r, int d, bool apart)
{
	struct build *b = r->b;
	struct value *bias = direction(b, ops_in(r->n, 3), d);

	r->r = direction(b, r->n->in[2], d);
	r->peep = direction(b, r->n->nin > 7 ? r->n->in[7] : NULL, d);
	r->proj = b_contract(b, "tbi,gi->tbg", r->x, direction(b, r->n->in[1], d));
	r->rb = NULL;
	if (bias) {
		struct value *wb = piece(b, bias, 0, 0, 2), *rb = piece(b, bias, 0, 1, 2);

		r->rb = apart ? rb : NULL;
		r->proj = b_add(b, r->proj, apart ? wb : b_add(b, wb, rb));
	}
	return r->proj && r->r;
}

/* initial state: operand i [D,B,H] (or [B,D,H] for layout 1), else zeros */
static struct value *
initial(struct rnn *r, int i, int d)
{
	struct build *b = r->b;
	struct value *v = ops_in(r->n, i);
	int64_t dims[2] = {r->B, r->H};

	if (!v)
		return b_expand(b, b_scalar_like(b, r->x, 0), 2, dims);
	if (v->rank != 3) {
		diag_invalid(b->diag, r->n->loc, "initial state %s", ops_dims_text(b->g, v->rank, v->dims));
		return NULL;
	}
	if (attr_int(r->n, "layout") == 1)
		v = b_transpose(b, v, (int64_t[]){1, 0, 2});
	if (v && (v->dims[0] != r->dirs || v->dims[1] != r->B || v->dims[2] != r->H)) {
		diag_invalid(b->diag, r->n->loc, "initial state %s", ops_dims_text(b->g, 3, v->dims));
		return NULL;
	}
	return direction(b, v, d);
}

/* s of the steps that lie within the sequence, else old */
static struct value *
within(struct rnn *r, int64_t t, struct value *s, struct value *old)
{
	struct build *b = r->b;
	struct value *live;
	int64_t dims[2] = {r->B, 1};

	if (!r->lens)
		return s;
	live = b2(b, OP_lt, b_scalar_like(b, r->lens, (double)t), r->lens);
	return b_select(b, live ? b_reshape(b, live, 2, dims) : NULL, s, old);
}

static struct value *
rows(struct build *b, struct value *h, struct value *w)
{
	return b_contract(b, "bh,gh->bg", h, w);
}

/* i, o, f, c; P is i, o, f.  c' = f*c + i*g(...), h' = o*h(c') */
static bool
lstm_step(struct rnn *r, struct value *xt, struct value **h, struct value **c)
{
	struct build *b = r->b;
	struct value *g[4], *p[3] = {0}, *it, *ot, *ft, *ct;
	bool coupled = attr_int(r->n, "input_forget");

	if (!pieces(b, b_add(b, xt, rows(b, *h, r->r)), 1, 4, g))
		return false;
	for (int i = 0; r->peep && i < 3; i++)
		p[i] = piece(b, r->peep, 0, i, 3);
	it = activate(r, 0, p[0] ? b_add(b, g[0], b_mul(b, p[0], *c)) : g[0]);
	ft = coupled ? b_sub(b, b_scalar_like(b, r->x, 1), it)
	             : activate(r, 0, p[2] ? b_add(b, g[2], b_mul(b, p[2], *c)) : g[2]);
	ct = b_add(b, b_mul(b, ft, *c), b_mul(b, it, activate(r, 1, g[3])));
	ot = activate(r, 0, p[1] ? b_add(b, g[1], b_mul(b, p[1], ct)) : g[1]);
	*c = ct;
	*h = ct ? b_mul(b, ot, activate(r, 2, ct)) : NULL;
	return *h != NULL;
}

/* z, r, h: h' = (1-z)*n + z*h with n = g(Xn + (r*h) Rn + Rbn), or
 * linear_before_reset: g(Xn + r*(h Rn + Rbn)) */
static bool
gru_step(struct rnn *r, struct value *xt, struct value **h, struct value **c)
{
	struct build *b = r->b;
	struct value *x[3], *rw[3], *rb[3] = {0}, *z, *rt, *nt, *hz;

	(void)c;
	if (!pieces(b, xt, 1, 3, x))
		return false;
	for (int i = 0; i < 3; i++) {
		rw[i] = piece(b, r->r, 0, i, 3);
		rb[i] = r->rb ? piece(b, r->rb, 0, i, 3) : b_scalar_like(b, r->x, 0);
	}
	z = activate(r, 0, b_add(b, x[0], b_add(b, rows(b, *h, rw[0]), rb[0])));
	rt = activate(r, 0, b_add(b, x[1], b_add(b, rows(b, *h, rw[1]), rb[1])));
	if (attr_int(r->n, "linear_before_reset"))
		nt = b_mul(b, rt, b_add(b, rows(b, *h, rw[2]), rb[2]));
	else
		nt = b_add(b, rows(b, b_mul(b, rt, *h), rw[2]), rb[2]);
	nt = activate(r, 1, b_add(b, x[2], nt));
	hz = b_mul(b, z, *h);
	*h = z ? b_add(b, b_mul(b, b_sub(b, b_scalar_like(b, r->x, 1), z), nt), hz) : NULL;
	return *h != NULL;
}

static bool
rnn_step(struct rnn *r, struct value *xt, struct value **h, struct value **c)
{
	(void)c;
	*h = activate(r, 0, b_add(r->b, xt, rows(r->b, *h, r->r)));
	return *h != NULL;
}

typedef bool step_fn(struct rnn *, struct value *xt, struct value **h, struct value **c);

/* Y [T,D,B,H], Y_h and Y_c [D,B,H]; for layout 1 [B,T,D,H] and [B,D,H] */
static bool
unroll(struct rnn *r, step_fn *step, int nact, const char *const *usual, bool apart, struct value **outs)
{
	struct build *b = r->b;
	const struct node *n = r->n;
	struct value *y[2], *last[2][2], *state[2];
	int64_t step_dims[4] = {1, 1, r->B, r->H};
	bool rev0 = strcmp(attr_string(n, "direction"), "reverse") == 0;
	bool batch_first = attr_int(n, "layout") == 1;
	struct value **xs = arena_array(b->g->arena, struct value *, r->T);
	struct value **ys = arena_array(b->g->arena, struct value *, r->T);

	for (int d = 0; d < r->dirs; d++) {
		bool rev = d == 1 || rev0;
		int64_t flat[2] = {r->B, r->gates * r->H};

		if (!activations(r, d, nact, usual) || !rnn_direction(r, d, apart))
			return false;
		state[0] = initial(r, 5, d);
		state[1] = nact == 3 ? initial(r, 6, d) : NULL;
		if (!state[0] || !pieces(b, r->proj, 0, (int)r->T, xs))
			return false;
		for (int64_t k = 0; k < r->T; k++) {
			int64_t t = rev ? r->T - 1 - k : k;
			struct value *h = state[0], *c = state[1], *zero;

			if (!step(r, b_reshape(b, xs[t], 2, flat), &h, &c))
				return false;
			zero = r->lens ? b_scalar_like(b, h, 0) : NULL;
			ys[t] = b_reshape(b, within(r, t, h, zero), 4, step_dims);
			state[0] = within(r, t, h, state[0]);
			state[1] = c ? within(r, t, c, state[1]) : NULL;
			if (!ys[t] || !state[0])
				return false;
		}
		y[d] = ops_wants(n, 0) ? b_concat(b, (int)r->T, ys, 0) : NULL;
		for (int s = 0; s < 2; s++)
			last[s][d] = state[s] ? b_reshape(b, state[s], 3, step_dims + 1) : NULL;
	}
	if (ops_wants(n, 0)) {
		outs[0] = steps_there(r, b_concat(b, r->dirs, y, 1));
		if (batch_first)
			outs[0] = b_transpose(b, outs[0], (int64_t[]){2, 0, 1, 3});
		if (!outs[0])
			return false;
	}
	for (int s = 0; s < 2; s++)
		if (ops_wants(n, 1 + s)) {
			outs[1 + s] = b_concat(b, r->dirs, last[s], 0);
			if (batch_first)
				outs[1 + s] = b_transpose(b, outs[1 + s], (int64_t[]){1, 0, 2});
			if (!outs[1 + s])
				return false;
		}
	return true;
}

bool
expand_LSTM(struct build *b, const struct node *n, struct value **outs)
{
	static const char *const usual[3] = {"Sigmoid", "Tanh", "Tanh"};
	struct rnn r;

	return rnn_open(&r, b, n, 4, 3) && unroll(&r, lstm_step, 3, usual, false, outs);
}

bool
expand_GRU(struct build *b, const struct node *n, struct value **outs)
{
	static const char *const usual[2] = {"Sigmoid", "Tanh"};
	struct rnn r;

	return rnn_open(&r, b, n, 3, 0) && unroll(&r, gru_step, 2, usual, true, outs);
}

bool
expand_RNN(struct build *b, const struct node *n, struct value **outs)
{
	static const char *const usual[1] = {"Tanh"};
	struct rnn r;

	return rnn_open(&r, b, n, 1, 0) && unroll(&r, rnn_step, 1, usual, false, outs);
}
