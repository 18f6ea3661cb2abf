#!/usr/bin/env bash
# inspect --taps: layers to compare, in order, and lines that a recipe takes as they are.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 200 100 || fail "digits"
cat >head.txt <<-'TXT'
	<ir_version: 8, opset_import: ["" : 16]>
TXT
# A plain network of two maps; one of three residual blocks, the second and third smaller.
cat head.txt - >small.onnxtxt <<-'TXT'
	small (float[N,1,28,28] x) => (float[N,10] logits)
	<float[4,1,3,3] w1 = {0}, float[6,4,3,3] w2 = {0}, float[10,6] w3 = {0}>
	{
	  c1 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w1)
	  a1 = Relu (c1)
	  c2 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (a1, w2)
	  a2 = Relu (c2)
	  p = GlobalAveragePool (a2)
	  f = Flatten (p)
	  logits = Gemm <transB = 1> (f, w3)
	}
TXT
cat head.txt - >large.onnxtxt <<-'TXT'
	large (float[N,1,28,28] x) => (float[N,10] logits)
	<float[8,1,3,3] w0 = {0}, float[8,8,3,3] u = {0}, float[8,8,3,3] v = {0}, float[16,8,3,3] w1 = {0}, float[16,16,3,3] w2 = {0}, float[16,8,1,1] s = {0}, float[10,16] w3 = {0}>
	{
	  c0 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w0)
	  b0 = Relu (c0)
	  c1 = Conv <pads = [1, 1, 1, 1]> (b0, u)
	  r1 = Relu (c1)
	  d1 = Conv <pads = [1, 1, 1, 1]> (r1, v)
	  e1 = Add (d1, b0)
	  b1 = Relu (e1)
	  c2 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (b1, w1)
	  r2 = Relu (c2)
	  d2 = Conv <pads = [1, 1, 1, 1]> (r2, w2)
	  s2 = Conv <strides = [2, 2]> (b1, s)
	  e2 = Add (d2, s2)
	  b2 = Relu (e2)
	  p = GlobalAveragePool (b2)
	  f = Flatten (p)
	  logits = Gemm <transB = 1> (f, w3)
	}
TXT
expect 0 '' "$RETORT" inspect --taps small.onnxtxt large.onnxtxt
"$RETORT" inspect --taps -q small.onnxtxt large.onnxtxt >lines
matches=$(awk '/^# m/ {printf "%s-%s ", $3, $7}' lines)
tests=$((tests + 1))
[ "$matches" = 'a1-b1 a2-b2 f-f ' ] || [ "$matches" = 'a1-b0 a2-b2 f-f ' ] || fail "matched: $matches"
tests=$((tests + 1))
grep -q '"r1"\|"d1"\|"r2"' lines && fail "a branch is no layer that everything goes through"

# the lines as they are, in a recipe
taps() { awk -v c="$1" '/^# m/ {printf "%s%s: \"%s\"", s, $2, $c; s = ", "}' lines; }
cat >all.yaml <<-YAML
	retort: 1
	name: all
	data:
	  root: data
	  train: {image: train-images-idx3-ubyte, label: {file: train-labels-idx1-ubyte, classes: 10}}
	  batch: 50
	models:
	  student: {onnx: small.onnxtxt, init: kaiming, inputs: {x: {field: image, scale: 0.004}}, outputs: {cls: logits}, taps: {$(taps 3)}}
	  teachers:
	    teacher: {onnx: large.onnxtxt, inputs: {x: {field: image, scale: 0.004}}, outputs: {y: logits}, taps: {$(taps 7)}}
	tasks: {cls: {head: student.cls, target: label, metrics: [accuracy]}}
	$(sed -n '/^terms:/,$p' lines)
	train: {epochs: 1, optimizer: {adam: {lr: 0.001}}}
	emit: {onnx: true}
YAML
expect 0 'm3 ' "$RETORT" distill all.yaml -o all
expect 1 'compares two models' "$RETORT" inspect --taps small.onnxtxt
expect 4 '' "$RETORT" inspect --taps small.onnxtxt none.onnx
finish
