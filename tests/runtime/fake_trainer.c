/* fake_trainer -- a trainer whose programs are written in C instead of compiled:
 * softmax regression of D inputs on C classes with momentum.  Gradients are summed
 * per piece, then over the pieces in order, as compiled code does it, so results
 * must not depend on the number of threads. */
#include "runtime/abi.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { B = 16, D = 6, C = 3, PIECES = 8, NW = D * C + C };

/* work: per piece NW gradients, loss, hits */
struct piece {
	float grad[NW], loss, hits;
};
struct states {
	float w[NW], pad[64 - NW], slot[NW];
};

static const int64_t dims_x[] = {B, D}, dims_y[] = {B}, dims_w[] = {NW}, dims_s[] = {B, C};
static const struct rt_tensor inputs[] = {
    {"x", RT_F32, 2, dims_x, NULL, B *D * 4, 0},
    {"label", RT_I64, 1, dims_y, NULL, B * 8, 1},
    {"$lr", RT_F32, 0, NULL, NULL, 4, 2},
    {"$step", RT_I64, 0, NULL, NULL, 8, 3},
    {"$seed", RT_I64, 0, NULL, NULL, 8, 4},
};
#ifndef FAKE_NO_MAIN
/* with a cached teacher: y = the first three columns of x, which the step checks */
static const int64_t dims_t[] = {B, C};
static const struct rt_tensor cached_inputs[] = {
    {"x", RT_F32, 2, dims_x, NULL, B *D * 4, 0},
    {"label", RT_I64, 1, dims_y, NULL, B * 8, 1},
    {"$lr", RT_F32, 0, NULL, NULL, 4, 2},
    {"$teacher.big.y", RT_F32, 2, dims_t, NULL, B *C * 4, 3},
};
static const struct rt_tensor teacher_outputs[] = {
    {"$teacher.big.y", RT_F32, 2, dims_t, NULL, B *C * 4, 0}};
#endif
static const struct rt_tensor eval_inputs[] = {
    {"x", RT_F32, 2, dims_x, NULL, B *D * 4, 0},
    {"label", RT_I64, 1, dims_y, NULL, B * 8, 1},
    {"$valid", RT_I64, 0, NULL, NULL, 8, 2},
};
static const struct rt_tensor outputs[] = {
    {"loss", RT_F32, 0, NULL, NULL, 4, 0},
    {"term.hard", RT_F32, 0, NULL, NULL, 4, 1},
    {"metric.cls.accuracy.num", RT_F32, 0, NULL, NULL, 4, 2},
    {"metric.cls.accuracy.den", RT_F32, 0, NULL, NULL, 4, 3},
};
static const struct rt_tensor eval_outputs[] = {
    {"loss.num", RT_F32, 0, NULL, NULL, 4, 0},
    {"loss.den", RT_F32, 0, NULL, NULL, 4, 1},
    {"metric.cls.accuracy.num", RT_F32, 0, NULL, NULL, 4, 2},
    {"metric.cls.accuracy.den", RT_F32, 0, NULL, NULL, 4, 3},
    {"rows.cls.scores", RT_F32, 2, dims_s, NULL, B *C * 4, 4},
    {"rows.cls.labels", RT_I32, 1, dims_y, NULL, B * 4, 5},
    {"rows.cls.valid", RT_F32, 1, dims_y, NULL, B * 4, 6},
};
static const struct rt_tensor states[] = {
    {"w", RT_F32, 1, dims_w, NULL, NW * 4, offsetof(struct states, w)},
    {"w:momentum", RT_F32, 1, dims_w, NULL, NW * 4, offsetof(struct states, slot)},
};
static const struct rt_tensor eval_states[] = {{"w", RT_F32, 1, dims_w, NULL, NW * 4, offsetof(struct states, w)}};

static void
rows(const float *w, const float *x, const int64_t *y, int64_t begin, int64_t end, float scale,
    struct piece *p)
{
	for (int64_t r = begin; r < end; r++) {
		float z[C], sum = 0, most = -INFINITY;
		int best = 0;

		for (int c = 0; c < C; c++) {
			z[c] = w[D * C + c];
			for (int d = 0; d < D; d++)
				z[c] += w[d * C + c] * x[r * D + d];
			if (z[c] > most)
				most = z[c], best = c;
		}
		for (int c = 0; c < C; c++)
			sum += expf(z[c] - most);
		p->loss += scale * (logf(sum) + most - z[y[r]]);
		p->hits += best == y[r];
		for (int c = 0; c < C; c++) {
			float g = scale * (expf(z[c] - most) / sum - (c == y[r]));

			p->grad[D * C + c] += g;
			for (int d = 0; d < D; d++)
				p->grad[d * C + c] += g * x[r * D + d];
		}
	}
}

static void
slow(void)
{
	const char *us = getenv("FAKE_STEP_US");

	if (us)
		nanosleep(&(struct timespec){0, 1000 * atol(us)}, NULL);
}

static void
train_call(int32_t call, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot)
{
	struct piece *work = base[0];
	struct states *s = base[2];

	(void)sym, (void)slot;
	if (call == 0) {
		for (int64_t i = begin; i < end; i++) {
			memset(&work[i], 0, sizeof work[i]);
			rows(s->w, base[3], base[4], i * B / PIECES, (i + 1) * B / PIECES, 1.0f / B,
			    &work[i]);
		}
		return;
	}
	float lr = *(const float *)base[5], loss = 0, hits = 0;

	for (int i = 0; i < PIECES; i++)
		loss += work[i].loss, hits += work[i].hits;
	for (int k = 0; k < NW; k++) {
		float g = 0;

		for (int i = 0; i < PIECES; i++)
			g += work[i].grad[k];
		s->slot[k] = 0.9f * s->slot[k] + g;
		s->w[k] -= lr * s->slot[k];
	}
	if (getenv("FAKE_NAN") && *(const int64_t *)base[6] == atol(getenv("FAKE_NAN")))
		loss = NAN;
	*(float *)base[8] = loss;
	*(float *)base[9] = loss;
	*(float *)base[10] = hits;
	*(float *)base[11] = B;
	slow();
}

#ifndef FAKE_NO_MAIN
static void
teacher_call(int32_t call, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot)
{
	(void)call, (void)sym, (void)begin, (void)end, (void)slot;
	if (getenv("FAKE_TEACHER_SAYS"))
		puts("teacher at work");
	for (int i = 0; i < B * C; i++)
		((float *)base[4])[i] = ((const float *)base[3])[i / C * D + i % C];
}

static void
cached_call(int32_t call, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot)
{
	/* as train_call sees it: x, label, $lr, $step, $seed, outputs */
	int64_t step = 0;
	void *shifted[12] = {base[0], base[1], base[2], base[3], base[4], base[5], &step, &step,
	    base[7], base[8], base[9], base[10]};

	train_call(call, shifted, sym, begin, end, slot);
	for (int i = 0; call == 1 && i < B * C; i++)
		if (((const float *)base[6])[i] != ((const float *)base[3])[i / C * D + i % C])
			*(float *)base[7] = NAN;
}
#endif

static void
eval_call(int32_t call, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot)
{
	struct piece p = {0};
	int64_t valid = *(const int64_t *)base[5];

	(void)call, (void)sym, (void)begin, (void)end, (void)slot;
	rows(((const struct states *)base[2])->w, base[3], base[4], 0, valid, 1, &p);
	*(float *)base[6] = p.loss;
	*(float *)base[7] = (float)valid;
	*(float *)base[8] = p.hits;
	*(float *)base[9] = (float)valid;
	for (int r = 0; r < B; r++) {
		const float *w = ((const struct states *)base[2])->w, *x = base[3];

		for (int c = 0; c < C; c++) {
			float z = w[D * C + c];

			for (int d = 0; d < D; d++)
				z += w[d * C + c] * x[r * D + d];
			((float *)base[10])[r * C + c] = z;
		}
		((int32_t *)base[11])[r] = (int32_t)((const int64_t *)base[4])[r];
		((float *)base[12])[r] = r < valid;
	}
}

static const int64_t train_pieces[] = {PIECES, 1}, eval_pieces[] = {1};
static const char *const names[] = {"gradient", "update"};
static const double flops[] = {B * NW * 6.0, NW * 4.0};
static const struct states init;
static const struct rt_program train_program = {
    .abi = RT_ABI,
    .name = "fake_train",
    .ncalls = 2,
    .ninputs = 5,
    .noutputs = 4,
    .nstates = 2,
    .pieces = train_pieces,
    .call_names = names,
    .flops = flops,
    .call = train_call,
    .work_bytes = PIECES * sizeof(struct piece),
    .state_bytes = sizeof(struct states),
    .inputs = inputs,
    .outputs = outputs,
    .states = states,
    .manifest = "{}",
};
static const struct rt_program eval_program = {
    .abi = RT_ABI,
    .name = "fake_eval",
    .ncalls = 1,
    .ninputs = 3,
    .noutputs = 7,
    .nstates = 1,
    .pieces = eval_pieces,
    .call_names = names,
    .flops = flops,
    .call = eval_call,
    .work_bytes = 64,
    .state_bytes = sizeof(struct states),
    .inputs = eval_inputs,
    .outputs = eval_outputs,
    .states = eval_states,
    .manifest = "{}",
};

static const struct rt_stage stages[] = {
    {&train_program, "name \"main\"\nepochs 6\nlr 0.1\nschedule cosine\nweight hard 1\n", 0, NULL, NULL},
};
#define CONFIG(more)                                                                               \
	"retort_trainer 1\nname \"fake\"\nseed 7\nroot \"nowhere\"\nbatch 16\ncheckpoint_seconds " \
	"0.02\n"                                                                                   \
	"info \"optimizer\" \"sgd \\\"momentum\\\" 0.9\"\nrecipe \"retort: 1\\nname: fake\\n\"\n"  \
	"task cls main label\nmetric cls accuracy\nmetric cls f1_macro\nmetric cls roc_auc\n"            \
	"metric cls f1_per_class\nmetric cls confusion\n"                                          \
	"set \"main\" 16 0\nfield \"x\" 1 2 3\nfield \"label\" 7\nclasses \"label\" 3\n"             \
	"train \"x\" \"train_x.npy\"\ntrain \"label\" \"train_y.npy\"\n" more                      \
	"test \"x\" \"test_x.npy\"\ntest \"label\" \"test_y.npy\"\n"
static const char onnx[256] = "onnx bytes";
static const struct rt_patch patches[] = {{"w", 100, NW * 4}};
static const struct rt_model student = {"student", onnx, sizeof onnx, 1, patches};
const struct rt_trainer retort_trainer = {
    .abi = RT_ABI,
    .config = CONFIG(""),
    .nstages = 1,
    .stages = stages,
    .eval = &eval_program,
    .nstates = 2,
    .states = states,
    .state_bytes = sizeof(struct states),
    .state_init = &init,
    .state_init_bytes = offsetof(struct states, pad),
    .nmodels = 1,
    .models = &student,
};

#ifndef FAKE_NO_MAIN
/* for tests that ask for two stages */
static const struct rt_stage two_stages[] = {
    {&train_program, "name warm\nepochs 2\nlr 0.05\nschedule constant\n", 0, NULL, NULL},
    {&train_program,
	"name main\nepochs 3\nlr 0.1\nschedule multistep gamma 0.1\nmilestones 1 2\nwarmup_epochs 0.5\n", 0, NULL, NULL},
};

static const struct rt_program cached_program = {
    .abi = RT_ABI,
    .name = "fake_train",
    .ncalls = 2,
    .ninputs = 4,
    .noutputs = 4,
    .nstates = 2,
    .pieces = train_pieces,
    .call_names = names,
    .flops = flops,
    .call = cached_call,
    .work_bytes = PIECES * sizeof(struct piece),
    .state_bytes = sizeof(struct states),
    .inputs = cached_inputs,
    .outputs = outputs,
    .states = states,
    .manifest = "{}",
};
static const struct rt_program teacher_program = {
    .abi = RT_ABI,
    .name = "big",
    .ncalls = 1,
    .ninputs = 1,
    .noutputs = 1,
    .pieces = eval_pieces,
    .call = teacher_call,
    .inputs = inputs,
    .outputs = teacher_outputs,
};
static const struct rt_program *const teachers[] = {&teacher_program};
static const struct rt_stage cached_stage[] = {
    {&cached_program, "epochs 2\nlr 0.1\nschedule constant\n", 0, NULL, NULL}};

int
main(int argc, char **argv)
{
	struct rt_trainer t = retort_trainer;

	if (getenv("FAKE_CACHE")) {
		t.stages = cached_stage;
		t.cached = teachers;
		t.ncached = 1;
		t.config = getenv("FAKE_AUGMENT") ? CONFIG("augment noise 1\n")
						  : CONFIG("val_from train 0.25\n");
	}

	if (getenv("FAKE_VAL"))
		t.config = CONFIG("val_from train 0.25\nearly_stop 2\n");
	if (getenv("FAKE_STAGES")) {
		t.stages = two_stages;
		t.nstages = 2;
	}
	return rt_trainer_main(&t, argc, argv);
}
#endif
