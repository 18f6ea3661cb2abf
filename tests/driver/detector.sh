#!/usr/bin/env bash
# A single-shot detector with its post-processing in the graph: convolutions, boxes decoded
# from priors, softmax, non-maximum suppression, the chosen rows gathered and ranked.  As an
# executable and in process, against rows that PyTorch and torchvision's nms gave.
. "$(dirname "$0")/lib.sh"

# numbers COUNT SEED SCALE: a list in (-SCALE/2, SCALE/2)
numbers() {
	awk -v n="$1" -v s="$2" -v k="$3" 'BEGIN {
		for (i = 0; i < n; i++) {
			s = (s * 16807) % 2147483647
			printf "%s%.5f", i ? ", " : "", (s / 2147483647 - 0.5) * k
		}
	}'
}
# priors: a row of middle x, middle y, width, height for each of 8x8 places and 2 sizes
priors() {
	awk 'BEGIN {
		for (i = 0; i < 8; i++) for (j = 0; j < 8; j++) for (k = 0; k < 2; k++)
			printf "%s%.4f, %.4f, %.4f, %.4f", i + j + k ? ", " : "", (j + 0.5) / 8, (i + 0.5) / 8, k ? 0.35 : 0.2, k ? 0.3 : 0.25
	}'
}
cat >det.onnxtxt <<T
< ir_version: 8, opset_import: ["" : 17] >
det (float[1,3,32,32] image, float[1] threshold) => (float[K,6] found, float[U,3] chosen)
<
  float[12,3,3,3] w1 = {$(numbers 324 7 1)}, float[12] b1 = {$(numbers 12 8 1)},
  float[16,12,3,3] w2 = {$(numbers 1728 9 1)}, float[16] b2 = {$(numbers 16 10 1)},
  float[8,16,3,3] wl = {$(numbers 1152 11 1)}, float[8] bl = {$(numbers 8 12 1)},
  float[6,16,3,3] wc = {$(numbers 864 13 1)}, float[6] bc = {$(numbers 6 14 1)},
  float[1,128,4] priors = {$(priors)},
  int64[3] boxes_shape = {1, -1, 4}, int64[3] scores_shape = {1, -1, 3}, int64[1] one = {1}, int64[1] two = {2}, int64[1] four = {4},
  int64[1] three = {3}, int64[1] zero = {0}, float two_f = {2.0}, float vc = {0.1}, float vs = {0.2},
  int64 per_class = {10}, float iou = {0.4}, int64[1] most = {7}, int64[1] last = {-1}
>
{
  c1 = Conv <pads = [1,1,1,1], strides = [2,2]> (image, w1, b1)
  r1 = Relu (c1)
  c2 = Conv <pads = [1,1,1,1], strides = [2,2]> (r1, w2, b2)
  r2 = Relu (c2)
  l0 = Conv <pads = [1,1,1,1]> (r2, wl, bl)
  l1 = Transpose <perm = [0,2,3,1]> (l0)
  loc = Reshape (l1, boxes_shape)
  s0 = Conv <pads = [1,1,1,1]> (r2, wc, bc)
  s1 = Transpose <perm = [0,2,3,1]> (s0)
  s2 = Reshape (s1, scores_shape)
  prob = Softmax <axis = 2> (s2)

  pc = Slice (priors, zero, two, two)
  ps = Slice (priors, two, four, two)
  lc = Slice (loc, zero, two, two)
  ls = Slice (loc, two, four, two)
  m0 = Mul (lc, vc)
  m1 = Mul (m0, ps)
  middle = Add (pc, m1)
  e0 = Mul (ls, vs)
  e1 = Exp (e0)
  size = Mul (ps, e1)
  half = Div (size, two_f)
  low = Sub (middle, half)
  high = Add (middle, half)
  boxes = Concat <axis = 2> (low, high)

  classes = Slice (prob, one, three, two)
  scores = Transpose <perm = [0,2,1]> (classes)
  kept = NonMaxSuppression (boxes, scores, per_class, iou, threshold)

  which = Slice (kept, two, three, one)
  row = Squeeze (which, one)
  class = Slice (kept, one, two, one)
  label = Cast <to = 1> (class)
  flat = Squeeze (boxes, zero)
  picked = Gather <axis = 0> (flat, row)
  pair = Slice (kept, one, three, one)
  every = Squeeze (scores, zero)
  score = GatherND (every, pair)
  column = Unsqueeze (score, one)
  rows = Concat <axis = 1> (label, column, picked)
  n = Shape (score)
  k = Min (n, most)
  top, order = TopK (score, k)
  found = Gather <axis = 0> (rows, order)
  chosen = Cast <to = 1> (kept)
}
T
# npy SHAPE: an array of the numbers on its input
cat >npy.c <<'C'
#include <stdio.h>
int main(int argc, char **argv)
{
	char head[118];
	float v;
	snprintf(head, sizeof head, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", argv[argc - 1]);
	printf("%cNUMPY%c%c%c%c%-117s\n", 0x93, 1, 0, 118, 0, head);
	while (scanf("%f", &v) == 1)
		fwrite(&v, sizeof v, 1, stdout);
	return argc != 2;
}
C
cc npy.c -o npy || fail "npy.c"
image() {
	awk -v s="$1" 'BEGIN { for (i = 0; i < 3072; i++) { s = s * 16807 % 2147483647; printf "%.9g\n", s / 2147483647 - 0.5 } }' |
		./npy "(1, 3, 32, 32)" >image.npy
}
# detect THRESHOLD FOUND CHOSEN: how many rows of each; want.npy and rows.npy are there
detect() {
	echo "$1" | ./npy "(1,)" >threshold.npy
	for how in "./det" "$RETORT run det.onnxtxt"; do
		rm -f found.npy chosen.npy
		expect 0 '' $how image=image.npy threshold=threshold.npy -o found=found.npy -o chosen=chosen.npy
		grep -qa "'shape': ($2, 6)" found.npy || fail "$how: $(head -c 120 found.npy | tr -d '\0')"
		grep -qa "'shape': ($3, 3)" chosen.npy || fail "$how: $(head -c 120 chosen.npy | tr -d '\0')"
		[ "$2" = 0 ] || expect 0 '' "$NPYDIFF" found.npy want.npy 1e-5
		[ "$3" = 0 ] || expect 0 '' "$NPYDIFF" chosen.npy rows.npy 0
	done
}
expect 0 '' "$RETORT" compile det.onnxtxt -o det
image 1
./npy '(7, 6)' >want.npy <<T
1 0.9914307 0.18451877 0.79381669 0.44093066 1.1251678
0 0.98908347 0.066822052 0.57163286 0.29164675 0.73005092
0 0.98662645 0.29924971 0.45337504 0.55012971 0.71637219
0 0.98486811 0.32028535 0.75592458 0.52661258 0.95883262
0 0.9760285 0.26331761 0.63536072 0.38440159 0.76487267
0 0.97364038 0.094431177 0.4991979 0.39481491 0.70735508
0 0.97048968 0.28335583 0.88925767 0.59314477 1.0844195
T
./npy '(20, 3)' >rows.npy <<T
0 0 83 0 0 71 0 0 103 0 0 85 0 0 67 0 0 119 0 0 77 0 0 81 0 0 59 0 0 39 0 1 116 0 1 127 0 1 34 0 1 98 0 1 92 0 1 56 0 1 76 0 1 29 0 1 48 0 1 122
T
detect 0.45 7 20
image 2
./npy '(7, 6)' >want.npy <<T
0 0.99837708 0.18983172 0.68947721 0.45489931 0.96057415
0 0.98542053 0.12872177 0.64030588 0.32778093 0.79397178
0 0.97435361 0.2721388 0.93495476 0.68201089 1.1220325
1 0.96390158 0.18567505 0.81325316 0.43319985 1.0542971
0 0.96188569 0.28535339 0.630346 0.4788889 0.77027434
0 0.95729506 0.47675973 0.66192335 0.73442668 0.79810661
0 0.93229878 -0.0073831752 0.60559183 0.23047489 0.75432426
T
./npy '(11, 3)' >rows.npy <<T
0 0 101 0 0 83 0 0 119 0 0 87 0 0 89 0 0 81 0 0 17 0 0 39 0 0 105 0 0 57 0 1 116
T
detect 0.9 7 11
image 1
./npy '(3, 6)' >want.npy <<T
1 0.9914307 0.18451877 0.79381669 0.44093066 1.1251678
0 0.98908347 0.066822052 0.57163286 0.29164675 0.73005092
0 0.98662645 0.29924971 0.45337504 0.55012971 0.71637219
T
./npy '(3, 3)' >rows.npy <<T
0 0 83 0 0 71 0 1 116
T
detect 0.986 3 3
image 1
detect 0.999 0 0
finish
