#!/usr/bin/env bash
# The trainer as a library: its steps give the bytes of the trainer's, by any caller's
# threads; it needs libm at most, and minds what it is given.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 400 100 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .
sed 's/= {0}/= {0.01}/' teacher.onnxtxt >t.onnxtxt
# dropout makes the seed count; with a cached teacher and without
sed 's/  p = MaxPool/  q = Dropout (r)\n  p = MaxPool/; s/(r)$/(r)/; s/\[2,2\]> (r)/[2,2]> (q)/' student.onnxtxt >s.onnxtxt
sed 's|teacher/student.onnx|t.onnxtxt|; s|student.onnxtxt|s.onnxtxt|; s|schedule: .*|schedule: constant|' student.yaml >cached.yaml
sed '/^cache:/d' cached.yaml >live.yaml

# averaged weights, two batches an update
sed 's/optimizer: .*/optimizer: {adam: {lr: 0.005}}\n  ema: {decay: 0.9}\n  accumulate: 2/' live.yaml >averaged.yaml
# a weight that changes: the step takes its value
sed 's/weight: 0.7/weight: {from: 0.7, to: 0, over: [0, 4]}/' live.yaml >dialed.yaml

cat >use.c <<'C'
/* use SAME_AS STEPS SEED OUT: that many steps on the file's rows in order, all weights to OUT */
#include "kd.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); exit(1); } } while (0)
#ifndef LR
#define LR lr
#endif
#ifndef WINDOW
#define WINDOW 1
#endif
#ifdef CACHED
#define T , y
#define TY float y[KD_BATCH * 10];
#elif defined DIALED /* 0.7 to 0 over four epochs of six batches */
#define T , &weight
#define TY float weight = 0;
#define TURN(i) weight = (float)(0.7 + (0 - 0.7) * (i / 6.0 / 4));
#else
#define T
#define TY
#endif
#ifndef TURN
#define TURN(i)
#endif
static unsigned char image[64 * 784], label[64], good[64];
/* a parallel-for that goes backwards */
static void pf(void *ctx, int n, void (*body)(void *, int), void *arg)
{
	*(int *)ctx += 1;
	while (n-- > 0)
		body(arg, n);
}
static void rows(const char *path, int head, int bytes, int step, unsigned char *to)
{
	FILE *f = fopen(path, "rb");
	CHECK(f && fseek(f, head + (long)step * 64 * bytes, SEEK_SET) == 0 && fread(to, (size_t)bytes, 64, f) == 64);
	fclose(f);
}
int main(int argc, char **argv)
{
	size_t size = kd_workspace_size(), state = kd_state_size(), all = kd_weights_size();
	unsigned char *work = aligned_alloc(64, size), *w = malloc(all), *s = malloc(state), *s2 = malloc(state), *one = malloc(all);
	int steps = atoi(argv[2]), seed = atoi(argv[3]), calls = 0;
	float loss, lr = 0.005f, out[KD_BATCH * 10];
	TY
	FILE *f;
	CHECK(argc == 5 && work && w && s && s2 && one && size == KD_WORKSPACE_SIZE && all == KD_WEIGHTS_SIZE);
	memset(work, 0xa5, size);
	CHECK(kd_step(work, image, label T, LR, &loss) == KD_E_STATE);
	CHECK(kd_init(NULL, size, 1) == KD_E_NULL && kd_init(work, size - 1, 1) == KD_E_WORK && kd_init(work + 4, size, 1) == KD_E_ALIGN);
	CHECK(kd_init(work, size, seed) == KD_OK && kd_steps_done(work) == 0);
	for (int i = 0; i < steps; i++) {
		rows("data/train-images-idx3-ubyte", 16, 784, i, image);
		rows("data/train-labels-idx1-ubyte", 8, 1, i, label);
		TURN(i)
#ifdef CACHED
		CHECK(kd_teacher_big(work, image, y) == KD_OK);
#endif
		/* a label beyond its classes changes nothing */
		CHECK(kd_state_save(work, s, state) == KD_OK);
		memcpy(good, label, sizeof label);
		label[63] = 10;
		CHECK(kd_step(work, image, label T, LR, &loss) == KD_E_LABEL);
		CHECK(kd_state_save(work, s2, state) == KD_OK && memcmp(s, s2, state) == 0);
		memcpy(label, good, sizeof label);
		/* taken twice from one state, through the threads and not: the same */
		CHECK(kd_step_mt(work, image, label T, LR, &loss, pf, &calls) == KD_OK && calls > 0);
		CHECK(kd_state_save(work, s2, state) == KD_OK);
		CHECK(kd_init(work, size, 999) == KD_OK && kd_state_load(work, s, state) == KD_OK && kd_steps_done(work) == i / WINDOW);
		CHECK(kd_step(work, image, label T, LR, &loss) == KD_OK && kd_value(work, KD_VALUE_LOSS) == loss);
		CHECK(kd_state_save(work, s, state) == KD_OK && memcmp(s, s2, state) == 0 && kd_steps_done(work) == (i + 1) / WINDOW);
		printf("%.9g\n", loss);
	}
	/* looking changes nothing */
	CHECK(kd_eval(work, image, label T, 64, &loss) == KD_OK && loss > 0 && kd_value(work, KD_VALUE_EVAL_LOSS) == loss);
	CHECK(kd_eval(work, image, label T, 65, &loss) == KD_E_ROWS && kd_eval(work, image, label T, 0, &loss) == KD_E_ROWS);
	CHECK(kd_infer(work, image, out) == KD_OK && kd_infer(work, image, NULL) == KD_E_NULL);
	CHECK(kd_state_save(work, s, state) == KD_OK && memcmp(s, s2, state) == 0);
	/* weights, all and by name */
	CHECK(kd_weights_get(work, w, all) == KD_OK && kd_weights_get(work, w, all - 1) == KD_E_SIZE);
	CHECK(kd_weight_name(kd_weights_count()) == NULL && kd_weight_name(-1) == NULL);
	size_t at = 0;
	for (int i = 0; i < kd_weights_count(); i++) {
		size_t n = kd_weight_size(i);
		CHECK(kd_weight_get(work, kd_weight_name(i), one, n) == KD_OK && memcmp(one, w + at, n) == 0);
		CHECK(kd_weight_get(work, kd_weight_name(i), one, n + 1) == KD_E_SIZE);
		at += n;
	}
	CHECK(at == all && kd_weight_get(work, "fc.weigh", one, 4) == KD_E_NAME && kd_weight_get(work, "fc.weightx", one, 4) == KD_E_NAME);
	memset(one, 0, all);
	CHECK(kd_weight_set(work, "fc.weight", one, 15680) == KD_OK && kd_weight_set(work, "fc.bias", one, 40) == KD_OK);
	CHECK(kd_infer(work, image, out) == KD_OK && out[0] == 0 && out[639] == 0);
	CHECK(kd_weights_set(work, w, all) == KD_OK && kd_infer(work, image, out) == KD_OK && out[0] != 0);
	/* a state that is not one */
	s[state - 70] ^= 1;
	CHECK(kd_state_load(work, s, state) == KD_E_DAMAGED);
	s[0] ^= 1;
	CHECK(kd_state_load(work, s, state) == KD_E_STATE && kd_state_load(work, s2, state) == KD_OK);
	CHECK(strcmp(kd_strerror(KD_E_LABEL), kd_strerror(KD_OK)) != 0 && kd_strerror(77) && kd_manifest()[0] == '{');
	/* what diverges is told */
	memset(one, 0xff, all);
	CHECK(kd_weight_set(work, "fc.weight", one, 15680) == KD_OK && kd_step(work, image, label T, LR, NULL) == KD_E_LOSS);
	f = fopen(argv[4], "wb");
	CHECK(f && fwrite(w, 1, all, f) == all && fclose(f) == 0);
	free(work), free(w), free(s), free(s2), free(one);
	return 0;
}
C
cflags="-g -Wall -Wextra -Werror -std=c11"
grep -qa __asan_init "$RETORT" || cflags="$cflags -fsanitize=address,undefined"
for kind in live cached averaged dialed; do
	define=-DLIVE steps=3
	[ $kind = cached ] && define=-DCACHED
	[ $kind = dialed ] && define=-DDIALED
	[ $kind = averaged ] && define=-DWINDOW=2 steps=6
	expect 0 'libkd.a' "$RETORT" distill $kind.yaml -o $kind --build-only --emit=exe,static,shared --name=kd
	expect 0 '' $kind/train --no-shuffle --steps 3 --seed 5 --lr 0.005 --out $kind.out
	expect 0 '' "$WEIGHTS" $kind.out/student.onnx $kind.w
	expect 0 '' cc $cflags $define use.c -I$kind $kind/libkd.a -lm -o $kind.use
	expect 0 '' ./$kind.use x $steps 5 $kind.bin
	for p in conv.weight bn.scale bn.bias bn.mean bn.var fc.weight fc.bias; do
		tail -c $(($(stat -c %s $kind.w/$p.npy) - 128)) $kind.w/$p.npy
	done >$kind.want
	same $kind.bin $kind.want
	expect 0 '' cc -O1 $define use.c -I$kind -L$kind -lkd -lm -Wl,-rpath,$PWD/$kind -o $kind.so.use
	expect 0 '' ./$kind.so.use x $steps 5 $kind.so.bin
	same $kind.bin $kind.so.bin
	expect 0 '' ./$kind.use x $steps 6 $kind.other
	tests=$((tests + 2))
	cmp -s $kind.bin $kind.other && fail "the seed of dropout does not count"
	# no allocation, no output, nothing but libm
	needs=$(nm -D --undefined-only $kind/libkd.so | sed 's/@.*//; s/.* U //; s/.* w //' | grep -vxE 'powf?|expf?|logf?|tanhf?|erff?|sinf?|cosf?|__cxa_finalize|__gmon_start__|_ITM_.*')
	[ -z "$needs" ] || fail "libkd.so needs $needs"
	! nm $kind/libkd.a | grep -E ' [BDbd] ' || fail "libkd.a has memory that is written"
done
g++ -fsyntax-only -x c++ live/kd.h 2>err || command -v g++ >/dev/null && [ -s err ] && fail "kd.h in C++: $(cat err)"
expect 0 '' "$RETORT" distill live.yaml -o two --build-only --emit=static
absent two/train
expect 1 'exe, static or shared' "$RETORT" distill live.yaml -o two --build-only --emit=dynamic

# a schedule that moves the momentum: step takes it; held still it is a recipe's without
sed 's/optimizer: .*/optimizer: {sgd: {lr: 0.01, momentum: 0.9}}/' live.yaml >still.yaml
sed 's/schedule: .*/schedule: {onecycle: {max_lr: 0.1, cycle_momentum: true}}/' still.yaml >cycle.yaml
for kind in still cycle; do
	define=-DLR=lr
	[ $kind = cycle ] && define=-DLR=lr,0.9
	expect 0 '' "$RETORT" distill $kind.yaml -o $kind --build-only --emit=static --name=kd
	expect 0 '' cc $cflags "$define" use.c -I$kind $kind/libkd.a -lm -o $kind.use
	expect 0 '' ./$kind.use x 3 5 $kind.bin
done
same still.bin cycle.bin

# from the recipe
printf 'emit: {trainer: {kind: [static], name: learn}}\n' | sed '/^emit:/,$d' live.yaml - >named.yaml
sed -i '/^emit:/,$d' named.yaml
printf 'emit:\n  trainer: {kind: [static], name: learn}\n' >>named.yaml
expect 0 'liblearn.a' "$RETORT" distill named.yaml -o named --build-only
absent named/liblearn.so
sed 's/name: learn/name: 1learn/' named.yaml >wrong.yaml
expect 2 'not a C identifier' "$RETORT" distill wrong.yaml -o wrong --build-only
sed 's/name: learn/stage: second/' named.yaml >wrong.yaml
expect 2 'no stage is called "second"' "$RETORT" distill wrong.yaml -o wrong --build-only
finish
