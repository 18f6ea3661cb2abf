#!/usr/bin/env bash
# --dim N=1..19: one library for every batch, to the bit what those compiled for one
# batch compute, or within 1e-6 where their schedule is another.
. "$(dirname "$0")/lib.sh"

# numbers COUNT SEED: a list in (-0.5, 0.5)
numbers() {
	awk -v n="$1" -v s="$2" 'BEGIN {
		for (i = 0; i < n; i++) {
			s = (s * 16807) % 2147483647
			printf "%s%.5f", i ? ", " : "", s / 2147483647 - 0.5
		}
	}'
}
head='< ir_version: 8, opset_import: ["" : 17] >'

cat >mlp.onnxtxt <<T
$head
mlp (float[N,50] x) => (float[N,10] y, float[N,33] h)
<
  float[50,33] w1 = {$(numbers 1650 7)}, float[33] b1 = {$(numbers 33 8)},
  float[33,10] w2 = {$(numbers 330 9)}, float[10] b2 = {$(numbers 10 10)}
>
{
  a = MatMul (x, w1)
  s = Add (a, b1)
  h = Tanh (s)
  l = MatMul (h, w2)
  z = Add (l, b2)
  y = Softmax <axis = -1> (z)
}
T
cat >net.onnxtxt <<T
$head
net (float[N,3,14,14] x) => (float[N,10] y, float[N,20,7,7] h)
<
  float[20,3,3,3] w1 = {$(numbers 540 17)}, float[20] b1 = {$(numbers 20 18)},
  float[20,1,3,3] w2 = {$(numbers 180 19)},
  float[10,980] w3 = {$(numbers 9800 20)}, float[10] b3 = {$(numbers 10 21)}
>
{
  c = Conv <pads = [1,1,1,1]> (x, w1, b1)
  r = Relu (c)
  p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)
  d = Conv <pads = [1,1,1,1], group = 20> (p, w2)
  h = Add (d, p)
  f = Flatten <axis = 1> (h)
  y = Gemm <transB = 1> (f, w3, b3)
}
T
# attention over 5 tokens: both operands of a contraction are batched, N*5 rows
cat >att.onnxtxt <<T
$head
att (float[N,5,16] x) => (float[N,10] y, float[N,5,16] h)
<
  float[16,16] wq = {$(numbers 256 27)}, float[16,16] wk = {$(numbers 256 28)},
  float[16,16] wv = {$(numbers 256 29)}, float[16,10] wo = {$(numbers 160 30)},
  int64[2] rows = {-1, 16}, int64[3] cube = {-1, 5, 16}
>
{
  flat = Reshape (x, rows)
  q2 = MatMul (flat, wq)
  q = Reshape (q2, cube)
  k = MatMul (x, wk)
  v = MatMul (x, wv)
  kt = Transpose <perm = [0, 2, 1]> (k)
  s = MatMul (q, kt)
  p = Softmax <axis = -1> (s)
  a = MatMul (p, v)
  h = Add (a, x)
  m = ReduceMean <axes = [1], keepdims = 0> (h)
  y = MatMul (m, wo)
}
T
cat >use.c <<'C'
#include "dyn.h"
#include "s1.h"
#include "s3.h"
#include "s8.h"
#include "s19.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { MOST = 19, X = DYN_X_ELEMS_MAX / MOST, Y = DYN_Y_ELEMS_MAX / MOST, H = DYN_H_ELEMS_MAX / MOST };
static float x[MOST * X], y[2][MOST * Y + 1], h[2][MOST * H + 1];
static void *work, *work1;
static int bad;
static void
compare(int n, const char *what, const float *a, const float *b, int count)
{
	double worst = 0;
	for (int i = 0; i < count; i++)
		worst = fmax(worst, fabs(a[i] - b[i]) / (1 + fabs(b[i])));
	if (!(worst <= 1e-6) || a[count] != 77) {
		printf("N=%d: %s differs by %g%s\n", n, what, worst, a[count] != 77 ? ", and was written past" : "");
		bad = 1;
	}
}
/* a parallel-for in an order of its own */
static void
pf(void *ctx, int n, void (*body)(void *, int), void *arg)
{
	(void)ctx;
	for (int i = n; i-- > 0;)
		body(arg, i);
}
static void
check(int n, int (*run)(const float *, float *, float *, void *, size_t), size_t size)
{
	for (int mt = 0; mt < 2; mt++) {
		memset(y, 0, sizeof y);
		memset(h, 0, sizeof h);
		y[0][n * Y] = h[0][n * H] = 77;
		memset(work, 0xff, dyn_workspace_size(n));
		int status = mt ? dyn_run_mt(n, x, y[0], h[0], work, dyn_workspace_size(n), pf, NULL)
		                : dyn_run(n, x, y[0], h[0], work, dyn_workspace_size(n));
		if (status || run(x, y[1], h[1], work1, size)) {
			printf("N=%d: status %d\n", n, status);
			bad = 1;
		}
		compare(n, "y", y[0], y[1], n * Y);
		compare(n, "h", h[0], h[1], n * H);
	}
}
int
main(void)
{
	unsigned s = 1;
	size_t size = dyn_workspace_size(MOST);
	for (int i = 0; i < MOST * X; i++)
		x[i] = (float)((s = s * 1664525u + 1013904223u) >> 8) / (1 << 23) - 1;
	work = aligned_alloc(64, (size + 64) / 64 * 64);
	work1 = aligned_alloc(64, (s19_workspace_size() + (1 << 20)) / 64 * 64);
	check(1, s1_run, s1_workspace_size());
	check(3, s3_run, s3_workspace_size());
	check(8, s8_run, s8_workspace_size());
	check(19, s19_run, s19_workspace_size());
	for (int n = 0; n <= MOST + 1; n += MOST + 1)
		if (dyn_run(n, x, y[0], h[0], work, size) != DYN_E_DIM || dyn_workspace_size(n) != 0) {
			printf("N=%d was taken\n", n);
			bad = 1;
		}
	/* every item alone is what it is among others, to what schedules may differ */
	for (int n = 1; n <= MOST; n++) {
		if (dyn_run(n, x, y[0], h[0], work, size))
			bad = 1;
		y[0][n * Y] = h[0][n * H] = 77;
		compare(n, "part of y", y[0], y[1], n * Y);
		compare(n, "part of h", h[0], h[1], n * H);
	}
	free(work);
	free(work1);
	return bad;
}
C
for m in mlp net att; do
	expect 0 '' "$RETORT" compile $m.onnxtxt --dim N=1..19 -o libdyn.a
	for n in 1 3 8 19; do
		expect 0 '' "$RETORT" compile $m.onnxtxt --dim N=$n -o libs$n.a
	done
	expect 0 '' cc -O1 use.c libdyn.a libs1.a libs3.a libs8.a libs19.a -lm -o use_$m
	expect 0 '' ./use_$m
done

# in process and as an executable: an input of any number of rows
cat >rows.c <<'C'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) /* ROWS: an array [ROWS,50] of f32 */
{
	int n = atoi(argv[1]), len;
	char h[119];
	len = snprintf(h, sizeof h, "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 50), }", n);
	printf("%cNUMPY%c%c%c%c", 0x93, 1, 0, 118, 0);
	printf("%-117s\n", len > 0 ? h : "");
	for (int i = 0; i < n * 50; i++) {
		float v = (float)(i * 7919 % 1000) / 1000 - 0.5f;
		fwrite(&v, sizeof v, 1, stdout);
	}
	return argc != 2;
}
C
cc rows.c -o rows || fail "rows.c"
expect 0 '' "$RETORT" compile mlp.onnxtxt --dim N=1..16 -o mlp
for n in 1 5 16; do
	./rows $n >x$n.npy
	expect 0 '' "$RETORT" run mlp.onnxtxt --dim N=$n x=x$n.npy -o y=want$n.npy
	expect 0 '' "$RETORT" run mlp.onnxtxt --dim N=1..16 x=x$n.npy -o y=got$n.npy
	expect 0 '' "$NPYDIFF" got$n.npy want$n.npy 1e-6
	expect 0 '' ./mlp x=x$n.npy -o y=exe$n.npy
	expect 0 '' "$NPYDIFF" exe$n.npy want$n.npy 1e-6
done
./rows 17 >x17.npy
expect 2 '17' "$RETORT" run mlp.onnxtxt --dim N=1..16 x=x17.npy -o y=y.npy

# an executable takes more rows than its range in parts
./rows 21 >x21.npy
expect 0 '' "$RETORT" run mlp.onnxtxt --dim N=21 x=x21.npy -o y=want21.npy
expect 0 '' ./mlp x=x21.npy -o y=exe21.npy
expect 0 '' "$NPYDIFF" exe21.npy want21.npy 1e-6

# what cannot be is told, with the node and the symbol
unsupported() {
	printf '%s\n' "$head" "no $1" >no.onnxtxt
	shift
	expect 3 "$want" "$RETORT" compile no.onnxtxt "$@" -o libno.a
	absent libno.a no.h
}
printf '%s\n' "$head" 'no (float[N,4] x, float[M,4] z) => (float[N,4] y) { y = Add (x, z) }' >no.onnxtxt
expect 2 'may differ from' "$RETORT" compile no.onnxtxt --dim=N=1..16 --dim=M=1..16 -o libno.a
want='--dim' unsupported '(float[N,4] x) => (float[N,4] y) { y = Relu (x) }' --dim=N=1..90000000000000
finish
