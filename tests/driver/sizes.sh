#!/usr/bin/env bash
# Sizes on any axis that are known at run time only: an executable, a library and `run`
# give for every size what a program compiled for that size gives.
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

cat >array.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv) /* DIM...: an array of f32 */
{
	char h[119], shape[80] = "";
	int n = 1, len;
	for (int i = 1; i < argc; i++) {
		n *= atoi(argv[i]);
		snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s,", argv[i]);
	}
	len = snprintf(h, sizeof h, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
	printf("%cNUMPY%c%c%c%c", 0x93, 1, 0, 118, 0);
	printf("%-117s\n", len > 0 ? h : "");
	for (int i = 0; i < n; i++) {
		float v = (float)(i * 7919 % 1000) / 1000 - 0.5f;
		fwrite(&v, sizeof v, 1, stdout);
	}
	return 0;
}
C
cc array.c -o array || fail "array.c"

# an encoder layer over a batch of B sequences of L tokens
cat >enc.onnxtxt <<T
$head
enc (float[B,L,16] x) => (float[B,L,16] y, float[B,4] z)
<
  float[16,16] wq = {$(numbers 256 1)}, float[16,16] wk = {$(numbers 256 2)}, float[16,16] wv = {$(numbers 256 3)},
  float[16,16] wo = {$(numbers 256 4)}, float[16,32] w1 = {$(numbers 512 5)}, float[32,16] w2 = {$(numbers 512 6)},
  float[16] g = {$(numbers 16 7)}, float[16] c = {$(numbers 16 8)}, float[16,4] wz = {$(numbers 64 9)},
  int64[4] heads = {0, 0, 2, 8}, int64[3] joined = {0, 0, 16}, float scale = {0.35}
>
{
  q1 = MatMul (x, wq)
  k1 = MatMul (x, wk)
  v1 = MatMul (x, wv)
  q2 = Reshape (q1, heads)
  k2 = Reshape (k1, heads)
  v2 = Reshape (v1, heads)
  q = Transpose <perm = [0, 2, 1, 3]> (q2)
  k = Transpose <perm = [0, 2, 3, 1]> (k2)
  v = Transpose <perm = [0, 2, 1, 3]> (v2)
  s = MatMul (q, k)
  t = Mul (s, scale)
  p = Softmax <axis = -1> (t)
  a = MatMul (p, v)
  b = Transpose <perm = [0, 2, 1, 3]> (a)
  d = Reshape (b, joined)
  o = MatMul (d, wo)
  h = Add (o, x)
  n = LayerNormalization <axis = -1> (h, g, c)
  f1 = MatMul (n, w1)
  f2 = Relu (f1)
  f3 = MatMul (f2, w2)
  y = Add (f3, n)
  m = ReduceMean <axes = [1], keepdims = 0> (y)
  z = MatMul (m, wz)
}
T
# images of any size
cat >net.onnxtxt <<T
$head
net (float[N,3,H,W] x) => (float[N,10] y, float[N,8,R,S] r)
<
  float[8,3,3,3] w1 = {$(numbers 216 17)}, float[8] b1 = {$(numbers 8 18)}, float[8,1,3,3] w2 = {$(numbers 72 19)},
  float[8,8,3,3] w3 = {$(numbers 576 20)}, float[8,10] w4 = {$(numbers 80 21)}
>
{
  c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w1, b1)
  s = Relu (c)
  d = Conv <pads = [1,1,1,1], group = 8> (s, w2)
  p = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (d)
  e = Conv <auto_pad = "SAME_UPPER"> (p, w3)
  q = AveragePool <kernel_shape = [2,2], pads = [0,0,1,1]> (e)
  r = Add (q, e)
  g = GlobalAveragePool (r)
  f = Flatten <axis = 1> (g)
  y = MatMul (f, w4)
}
T
# where sizes meet: concatenation, slices from the end, padding, a flat result
cat >mix.onnxtxt <<T
$head
mix (float[N,M] x, float[K,M] z) => (float[P] y, float[M] s, float[1,M] l, float[2] d)
<
  int64[1] minus1 = {-1}, int64[1] one = {1}, int64[1] big = {9223372036854775807}, int64[1] zero = {0},
  int64[4] pads = {1, 0, 2, 1}, int64[1] flat = {-1}
>
{
  c = Concat <axis = 0> (x, z)
  e = Pad (c, pads)
  y = Reshape (e, flat)
  t = Slice (c, one, big, zero)
  s = ReduceMax <axes = [0], keepdims = 0> (t)
  l = Slice (c, minus1, big, zero)
  i = Shape (c)
  d = Cast <to = 1> (i)
}
T

# agree MODEL RANGES.. -- then lines on stdin: inputs "NAME D D D;...", sizes "A=1 B=2", outputs
agree() {
	local m=$1 exe fixed o args outs inputs sizes names
	shift
	expect 0 '' "$RETORT" compile $m.onnxtxt "$@" -o $m
	while IFS='|' read -r inputs sizes names; do
		args=() fixed=() outs=()
		while read -r n dims; do
			[ -n "$n" ] || continue
			./array $dims >in_$n.npy
			args+=("$n=in_$n.npy")
		done < <(tr ';' '\n' <<<"$inputs")
		for s in $sizes; do fixed+=(--dim "$s"); done
		for how in want exe run; do
			outs=()
			for o in $names; do outs+=(-o "$o=$how.$o.npy"); done
			case $how in
			want) expect 0 '' "$RETORT" run $m.onnxtxt "${fixed[@]}" "${args[@]}" "${outs[@]}" ;;
			exe) expect 0 '' ./$m "${args[@]}" "${outs[@]}" ;;
			run) expect 0 '' "$RETORT" run $m.onnxtxt "$@" "${args[@]}" "${outs[@]}" ;;
			esac
		done
		for o in $names; do
			expect 0 '' "$NPYDIFF" exe.$o.npy want.$o.npy 2e-5
			expect 0 '' "$NPYDIFF" run.$o.npy want.$o.npy 2e-5
		done
	done
}
agree enc --dim B=1..3 --dim L=1..9 <<'T'
x 1 1 16|B=1 L=1|y z
x 3 9 16|B=3 L=9|y z
x 2 5 16|B=2 L=5|y z
T
# recurrent, of any length, both directions
cat >lstm.onnxtxt <<T
$head
lstm (float[T,B,5] x) => (float[T,2,B,4] y, float[2,B,4] h)
<
  float[2,16,5] w = {$(numbers 160 31)}, float[2,16,4] r = {$(numbers 128 32)}, float[2,32] b = {$(numbers 64 33)}
>
{
  y, h = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r, b)
}
T
agree lstm --dim T=1..6 --dim B=1..3 <<'T'
x 1 1 5|T=1 B=1|y h
x 6 3 5|T=6 B=3|y h
x 4 2 5|T=4 B=2|y h
T
agree net --dim N=1..2 --dim H=8..15 --dim W=5..17 <<'T'
x 1 3 8 5|N=1 H=8 W=5|y r
x 2 3 15 17|N=2 H=15 W=17|y r
x 1 3 11 12|N=1 H=11 W=12|y r
T
agree mix --dim N=1..4 --dim M=2..5 --dim K=1..3 <<'T'
x 1 2;z 1 2|N=1 M=2 K=1|y s l d
x 4 5;z 3 5|N=4 M=5 K=3|y s l d
x 2 3;z 3 3|N=2 M=3 K=3|y s l d
T

# sizes out of bounds, and that do not agree
./array 1 10 16 >in_x.npy
expect 2 'input x: axis 1 has size 10, but L is 1 to 9' ./enc x=in_x.npy -o y=y.npy
expect 2 'axis 1 has size 10, but L is 1 to 9' "$RETORT" run enc.onnxtxt --dim B=1..3 --dim L=1..9 x=in_x.npy -o y=y.npy
./array 2 3 >in_x.npy
./array 2 4 >in_z.npy
expect 2 'input z: axis 1 has size 4, but M is 3 in another input' ./mix x=in_x.npy z=in_z.npy -o y=y.npy
expect 0 'L is 1 to 9' ./enc --help

# a library: the sizes are parameters
expect 0 '' "$RETORT" compile enc.onnxtxt --dim B=1..3 --dim L=1..9 -o libenc.a
expect 0 '' "$RETORT" compile enc.onnxtxt --dim B=2 --dim L=5 -o libfix.a
cat >use.c <<'C'
#include "enc.h"
#include "fix.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static float x[3 * 9 * 16], y[2][3 * 9 * 16 + 1], z[2][3 * 4 + 1];
int
main(void)
{
	size_t size = enc_workspace_size(2, 5);
	void *w = aligned_alloc(64, (size + 63) / 64 * 64), *f = aligned_alloc(64, (fix_workspace_size() + 64) / 64 * 64);
	int bad = 0;
	for (int i = 0; i < 2 * 5 * 16; i++)
		x[i] = (float)(i * 7919 % 1000) / 1000 - 0.5f;
	for (int i = 2 * 5 * 16; i < 3 * 9 * 16; i++)
		x[i] = NAN;
	memset(w, 0xff, size);
	y[0][2 * 5 * 16] = 77;
	bad |= enc_run(2, 5, x, y[0], z[0], w, size);
	bad |= fix_run(x, y[1], z[1], f, fix_workspace_size());
	for (int i = 0; i < 2 * 5 * 16; i++)
		bad |= !(fabsf(y[0][i] - y[1][i]) < 2e-5f);
	for (int i = 0; i < 8; i++)
		bad |= !(fabsf(z[0][i] - z[1][i]) < 2e-5f);
	bad |= enc_run(2, 10, x, y[0], z[0], w, size) != ENC_E_DIM || enc_run(0, 3, x, y[0], z[0], w, size) != ENC_E_DIM;
	free(w);
	free(f);
	return bad;
}
C
expect 0 '' cc -O1 use.c libenc.a libfix.a -lm -o use
expect 0 '' ./use

# sizes that the run finds out: rows chosen, places of what is positive
cat >sel.onnxtxt <<T
$head
sel (float[N,3] x) => (float[U,3] y, float[V] z, int64[2,W] n)
<
  float zero = {0}, int64[1] one = {1}
>
{
  m = ReduceMax <axes = [1], keepdims = 0> (x)
  k = Greater (m, zero)
  y = Compress <axis = 0> (x, k)
  a = Softmax <axis = 0> (y)
  z = ReduceSum <keepdims = 0> (a, one)
  b = Greater (x, zero)
  n = NonZero (b)
}
T
expect 0 '' "$RETORT" compile sel.onnxtxt --dim N=1..9 -o libsel.a
cat >choose.c <<'C'
#include "sel.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { MOST = 9 };
static int
check(int rows, unsigned seed, void *w, size_t size)
{
	/* exactly as large as the run: valgrind and sanitizers see what reads on */
	float *x = malloc(sizeof *x * (size_t)rows * 3), y[MOST * 3 + 1], z[MOST + 1], sum[3] = {0};
	int64_t n[2 * MOST * 3 + 1], nu = -1, nw = -1;
	int u = 0, p = 0, bad = 0;
	for (int i = 0; i < rows * 3; i++)
		x[i] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) / (1 << 23) - 1.4f;
	memset(w, 0xff, size);
	for (int i = 0; i <= MOST * 3; i++)
		y[i] = 77;
	bad |= sel_run(rows, x, y, z, n, &nu, &nw, w, size);
	for (int r = 0; r < rows; r++) {
		const float *row = x + r * 3;
		if (!(row[0] > 0 || row[1] > 0 || row[2] > 0))
			continue;
		bad |= memcmp(y + 3 * u++, row, sizeof *row * 3) != 0;
		for (int k = 0; k < 3; k++)
			sum[k] += expf(row[k]);
	}
	bad |= nu != u || y[3 * u] != 77;
	for (int r = 0; r < u; r++) {
		float want = 0;
		for (int k = 0; k < 3; k++)
			want += expf(y[3 * r + k]) / sum[k];
		bad |= !(fabsf(z[r] - want) < 1e-5f);
	}
	for (int i = 0; i < rows * 3; i++)
		p += x[i] > 0;
	bad |= nw != p;
	for (int i = 0, k = 0; i < rows * 3 && nw == p; i++)
		if (x[i] > 0) {
			bad |= n[k] != i / 3 || n[p + k] != i % 3;
			k++;
		}
	bad |= sel_run(rows, x, y, z, n, NULL, NULL, w, size);
	if (bad)
		printf("%d rows: %d and %d are found, %d and %d\n", rows, (int)nu, (int)nw, u, p);
	free(x);
	return bad;
}
int
main(void)
{
	size_t size = sel_workspace_size(MOST);
	void *w = aligned_alloc(64, (size + 63) / 64 * 64);
	int bad = 0;
	for (int rows = 1; rows <= MOST; rows++)
		for (unsigned seed = 1; seed < 6; seed++)
			bad |= check(rows, seed * 7919, w, size);
	free(w);
	return bad;
}
C
expect 0 '' cc -O1 choose.c libsel.a -lm -o choose
expect 0 '' ./choose
expect 0 '' "$RETORT" compile sel.onnxtxt --dim N=1..9 -o sel
expect 0 'found by the run' ./sel --help
./array 5 3 >in_x.npy
expect 0 '' "$RETORT" run sel.onnxtxt --dim N=5 x=in_x.npy -o y=want.y.npy
expect 0 '' ./sel x=in_x.npy -o y=exe.y.npy
expect 0 '' "$NPYDIFF" exe.y.npy want.y.npy 0
expect 3 'give one with --dim' "$RETORT" compile enc.onnxtxt --dim B=1..3 --dim L=1..90000000000000 -o libno.a
absent libno.a
finish
