#!/usr/bin/env bash
# What each model sees of a field: draws of the augmentation of its own, colour or grey,
# a size of its own.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 300 100 || fail "digits"
cat >net.onnxtxt <<-'TXT'
	<ir_version: 8, opset_import: ["" : 16]>
	net (float[N,3,4,4] x) => (float[N,10] logits)
	<float[10,48] w = {0}, float[10] b = {0}, int64[2] flat = {0, -1}>
	{
	  f = Reshape (x, flat)
	  logits = Gemm <transB = 1> (f, w, b)
	}
TXT
# recipe NAME EPOCHS LR INIT TEACHER TERM DATA...
recipe() {
	local name=$1 epochs=$2 lr=$3 model=$4 teacher=$5 term=$6
	shift 6
	cat >"$name.yaml" <<-YAML
		retort: 1
		name: $name
		seed: 5
		data:
		  root: data
		  train: {image: train-images-idx3-ubyte, label: {file: train-labels-idx1-ubyte, classes: 10}}
		  test: {image: test-images-idx3-ubyte, label: {file: test-labels-idx1-ubyte, classes: 10}}
		  batch: 50
		$(printf '  %s\n' "$@")
		models:
		  student: $model
		  teachers: {$teacher}
		tasks: {cls: {head: student.cls, target: label, metrics: [accuracy]}}
		terms: $term
		train: {epochs: $epochs, optimizer: {sgd: {lr: $lr}}}
		emit: {onnx: true}
	YAML
}
see='channels: rgb, resize: [4, 4], scale: 0.01'
small="{onnx: net.onnxtxt, init: xavier, inputs: {x: {field: image, $see}}, outputs: {cls: logits}}"
recipe small 2 0.01 "$small" '' '{hard: {task: cls, loss: ce}}'
expect 0 'test.cls.accuracy' "$RETORT" distill small.yaml -o small
recipe size 2 0.01 "${small/\[4, 4\]/[4, 5]}" '' '{hard: {task: cls, loss: ce}}'
expect 2 '' "$RETORT" distill size.yaml -o none
recipe colour 2 0.01 "${small/rgb/rbg}" '' '{hard: {task: cls, loss: ce}}'
expect 2 'did you mean "rgb"?' "$RETORT" distill colour.yaml -o none
recipe layout 2 0.01 "${small/channels: rgb/layout: hwc, channels: bgr}" '' '{hard: {task: cls, loss: ce}}'
expect 2 'samples [H,W,C] are expected' "$RETORT" distill layout.yaml -o none

# the same model as its own teacher: what differs is what they see
cp small/student.onnx same.onnx
same="{onnx: same.onnx, inputs: {x: {field: image, $see}}, outputs: {cls: logits}}"
term='{pull: {task: cls, loss: mse, teacher: t.cls}}'
noise='augment: [{noise: {sigma: 40}}]'
value() { sed -n "s/.*\"$2\": {*\"*\(pull\)*\"*:* *\([-0-9.e]*\).*/\2/p" "$1/metrics.jsonl" | tail -n 1; }
# pull NAME VIEW AUGMENT: the term of an epoch in which nothing moves
pull() {
	recipe "$1" 1 1e-30 "$same" "t: ${same/image/image$2}" "$term" "$3"
	expect 0 '' "$RETORT" distill "$1.yaml" -o "$1" --threads 1
	value "$1" terms >"$1.train"
	value "$1" test.term.pull >"$1.test"
}
zero() { awk '{exit !($1 < 1e-12)}' "$1"; }
pull plain @2 ''
pull one '' "$noise"
pull two @2 "$noise"
pull three @3 "$noise"
pull strong @2 'augment: [{noise: {sigma: 40, fields: [image@2]}}]'
pull weak @2 'augment: [{noise: {sigma: 40, fields: [image]}}]'
for k in plain one; do
	tests=$((tests + 1))
	zero $k.train || fail "$k: the same picture gives another answer: $(cat $k.train)"
done
for k in two three strong weak; do
	tests=$((tests + 2))
	zero $k.train && fail "$k: both draws are the same"
	zero $k.test || fail "$k: an evaluation draws: $(cat $k.test)"
done
tests=$((tests + 1))
cmp -s two.train three.train && fail "draws 2 and 3 are the same"

# threads, workers and being stopped change nothing
sed -i 's/lr: 1e-30/lr: 0.01/; s/epochs: 1/epochs: 3/' two.yaml
expect 0 '' "$RETORT" distill two.yaml -o two --build-only -q
expect 0 '' two/train --out two/a --threads 1
sed -i 's/  batch: 50/  batch: 50\n  workers: 3/' two.yaml
expect 0 '' "$RETORT" distill two.yaml -o more --build-only -q
expect 0 '' more/train --out two/b --threads 2 --until 1
expect 0 '' more/train --out two/b --threads 1 --resume
same two/a/student.onnx two/b/student.onnx

# two sets feed two inputs of other types; the file calls both batches N
cat >two.onnxtxt <<-'TXT'
	<ir_version: 8, opset_import: ["" : 16]>
	two (float[N,28,28] x, int64[N,4] ids) => (float[N,10] digit, float[N,3] kind)
	<float[12,784] e = {0.01}, float[9,12] table = {0.02}, float[12,12] trunk = {0.03}, float[10,12] a = {0.04}, float[3,12] b = {0.05}>
	{
	  f = Flatten (x)
	  h = Gemm <transB = 1> (f, e)
	  g = Gather (table, ids)
	  m = ReduceMean <axes = [1], keepdims = 0> (g)
	  th = Gemm <transB = 1> (h, trunk)
	  tm = Gemm <transB = 1> (m, trunk)
	  digit = Gemm <transB = 1> (th, a)
	  kind = Gemm <transB = 1> (tm, b)
	}
TXT
awk 'BEGIN {OFS = ","; print "a,b,c,d,y"; for (i = 0; i < 90; i++) print i % 9, i % 3, (i + 1) % 9, i % 7, i % 3}' >data/words.csv
for turns in '' 'interleave: {digits: 1, words: 2}'; do
	cat >sets.yaml <<-YAML
		retort: 1
		data:
		  root: data
		  sets:
		    digits: {train: {image: train-images-idx3-ubyte, label: {file: train-labels-idx1-ubyte, classes: 10}}, batch: 50}
		    words: {train: {ids: "words.csv:a,b,c,d", y: {file: "words.csv:y", classes: 3}}, batch: 30}
		  $turns
		models:
		  student: {onnx: two.onnxtxt, init: xavier, inputs: {x: {field: image, scale: 0.01}, ids: ids}, outputs: {digit: digit, kind: kind}}
		tasks: {digit: {head: student.digit, target: label, data: digits}, kind: {head: student.kind, target: y, data: words}}
		terms: {d: {task: digit, loss: ce}, k: {task: kind, loss: ce}}
		train: {epochs: 2, optimizer: {adam: {lr: 0.01}}}
	YAML
	expect 0 'epoch 2/2' "$RETORT" distill sets.yaml -o sets
done

recipe none 1 0.1 "$same" "t: ${same/image/picture@2}" "$term" "$noise"
expect 2 'reads field "picture@2", which the data does not have' "$RETORT" distill none.yaml -o none
finish
