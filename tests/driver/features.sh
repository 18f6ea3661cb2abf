#!/usr/bin/env bash
# Losses of features through whole recipes: their modules train, carry over to later stages,
# are in no export and come back from a checkpoint; adaptors as declared; mistakes.
. "$(dirname "$0")/lib.sh"

# 96 samples of 48 numbers in three classes, 8 tokens of which the last ones are filler
awk 'BEGIN {for (k = 0; k < 48; k++) printf "x%d,", k; for (k = 0; k < 8; k++) printf "t%d,", k; print "y"
	for (i = 0; i < 96; i++) {
		c = i % 3
		for (k = 0; k < 48; k++) printf "%.4f,", 0.7 * sin(1.7 * k * (c + 1)) + 0.6 * sin(12.9898 * (i * 48 + k + 1))
		for (k = 0; k < 8; k++) printf "%d,", k < 3 + i % 5 ? 1 + (i * 7 + k * (c + 2)) % 9 : 0
		print c}}' >all.csv
X=$(seq -s , 0 47 | sed 's/[0-9]*/x&/g') T=$(seq -s , 0 7 | sed 's/[0-9]*/t&/g')

# conv_net NAME WIDTH: maps m1 [W,4,4], n2 and m2 [2W,2,2] (before and after ReLU), emb [2W]
conv_net() {
	cat <<-TXT
		<ir_version: 8, opset_import: ["" : 16]>
		$1 (float[N,48] x) => (float[N,3] logits)
		<int64[4] shape = {-1, 3, 4, 4}, float[$2,3,3,3] c1.weight = {0}, float[$2] c1.bias = {0},
		 float[$(($2 * 2)),$2,3,3] c2.weight = {0}, float[$(($2 * 2))] c2.bias = {0},
		 float[$(($2 * 2))] bn.scale = {0}, float[$(($2 * 2))] bn.shift = {0},
		 float[$(($2 * 2))] bn.mean = {0}, float[$(($2 * 2))] bn.var = {1},
		 float[3,$(($2 * 2))] fc.weight = {0}, float[3] fc.bias = {0}>
		{
		  image = Reshape (x, shape)
		  n1 = Conv <pads = [1,1,1,1]> (image, c1.weight, c1.bias)
		  m1 = Relu (n1)
		  z2 = Conv <pads = [1,1,1,1], strides = [2,2]> (m1, c2.weight, c2.bias)
		  n2 = BatchNormalization (z2, bn.scale, bn.shift, bn.mean, bn.var)
		  m2 = Relu (n2)
		  pooled = GlobalAveragePool (m2)
		  emb = Flatten <axis = 1> (pooled)
		  logits = Gemm <transB = 1> (emb, fc.weight, fc.bias)
		}
	TXT
}
conv_net teacher 6 >teacher.onnxtxt
conv_net student 4 >student.onnxtxt
DATA="data:
  train: {x: \"all.csv:$X\", y: {file: \"all.csv:y\", classes: 3}}
  test: {x: \"all.csv:$X\", y: \"all.csv:y\"}
  batch: 16"
TAPS='taps: {m1: m1, n2: n2, m2: m2, emb: emb}'
recipe() { # recipe TERMS-AND-TRAIN
	cat <<-YAML
		retort: 1
		name: features
		seed: 5
		$DATA
		models:
		  student: {onnx: student.onnxtxt, inputs: {x: x}, outputs: {cls: logits}, $TAPS, init: kaiming}
		  teachers:
		    big: {onnx: teacher/student.onnx, inputs: {x: x}, outputs: {y: logits}, $TAPS}
		tasks:
		  cls: {head: student.cls, target: y, metrics: [accuracy]}
		$1
	YAML
}
cat >teacher.yaml <<-YAML
	retort: 1
	$DATA
	models:
	  student: {onnx: teacher.onnxtxt, inputs: {x: x}, outputs: {cls: logits}, init: kaiming}
	tasks:
	  cls: {head: student.cls, target: y, metrics: [accuracy]}
	terms:
	  hard: {task: cls, loss: ce}
	train: {epochs: 6, optimizer: {adam: {lr: 0.01}}}
YAML
expect 0 '' "$RETORT" distill teacher.yaml -o teacher

# value FILE KEY LINE: of metrics.jsonl
value() { sed -n "$3p" "$1/metrics.jsonl" | sed -nE "s/.*\"$2\": ([-+.e0-9]+).*/\1/p"; }
less() { # less A B: A < B
	tests=$((tests + 1))
	awk -v a="$1" -v b="$2" 'BEGIN {exit !(a != "" && b != "" && a + 0 < b + 0)}' || fail "$1 is not below $2 ($3)"
}

# every loss, each beside labels, goes down; its modules are in no export
while IFS='|' read -r name keys; do
	recipe "terms:
  hard: {task: cls, loss: ce, weight: 0.1}
  f: {$keys}
train: {epochs: 8, optimizer: {adam: {lr: 0.005}}}
emit: {onnx: true}" >"$name.yaml"
	expect 0 '' "$RETORT" distill "$name.yaml" -o "$name"
	less "$(value "$name" f 8)" "$(value "$name" f 1)" "$name"
	"$WEIGHTS" "$name/student.onnx" "$name/w" 2>/dev/null && [ "$(ls "$name/w" | wc -l)" -eq 10 ] && ! ls "$name/w" | grep -q adaptor ||
		fail "$name exports $(ls "$name/w" | tr '\n' ' ')"
done <<-'END'
	fitnet|loss: hint, student: m1, teacher: big.m2, adaptor: fitnet
	declared|loss: smooth_l1, student: m2, teacher: big.m1, adaptor: {conv: 3x3, bias: false, bn: true, relu: true, resize: bilinear}
	stride|loss: hint, student: m1, teacher: big.m2, adaptor: {conv: 3x3, stride: 2}
	transposed|loss: hint, student: m2, teacher: big.m1, adaptor: {conv: 4x4, stride: 2, transpose: true}
	at|loss: at, student: [m1, m2], teacher: [big.m1, big.m2], weight: 10
	vid|loss: vid, student: [m1, m2], teacher: [big.m1, big.m2]
	ab|loss: ab, student: [m1, n2], teacher: [big.m1, big.n2], weight: 10
	ofd|loss: ofd, student: n2, teacher: big.n2, margin: bn, weight: 0.01
	reviewkd|loss: reviewkd, student: [m1, m2, emb], teacher: [big.m1, big.m2, big.emb], weight: {from: 0.5, to: 1, over: [0, 2]}
	pad|loss: pad, student: emb, teacher: big.emb
	mgd|loss: mgd, student: m2, teacher: big.m2, weight: 0.1
	kd_mtl|loss: kd_mtl, student: emb, teacher: big.emb
	gram|loss: gram, student: m2, teacher: big.m2
	norm|loss: feature_norm, student: emb, weight: 0.1
	vib|loss: vib, student: emb
	consistency|loss: consistency, student: cls, teacher: big.y
END

# a paraphraser that one stage trains serves the next, which leaves it as it is
ft() { # ft LR OF THE FIRST STAGE
	recipe "train:
  - {name: paraphrase, epochs: 4, optimizer: {sgd: {lr: $1}}, terms: {factors: {loss: ft_paraphrase, teacher: big.m2}}}
  - {name: transfer, epochs: 2, optimizer: {sgd: {lr: 0}}, terms: {hard: {task: cls, loss: ce}, factor: {loss: ft, student: m2, teacher: big.m2, modules: factors}}}
emit: {onnx: true}" | sed 's/batch: 16/batch: 16\n  shuffle: false/'
}
ft 0.2 >ft.yaml
ft 0 >unpainted.yaml
expect 0 '' "$RETORT" distill ft.yaml -o ft
expect 0 '' "$RETORT" distill unpainted.yaml -o unpainted
sed 's/modules: factors/modules: factor/' ft.yaml >lost.yaml
expect 0 'no term ft_paraphrase trains its paraphraser' "$RETORT" distill lost.yaml -o lost --build-only
less "$(value ft factors 4)" "$(value ft factors 1)" "paraphraser"
tests=$((tests + 3))
[ "$(value unpainted factors 4)" = "$(value unpainted factors 1)" ] || fail "a rate of 0 moves the paraphraser"
[ "$(value ft factor 5)" = "$(value ft factor 6)" ] || fail "the paraphraser moves in ft's stage"
[ "$(value ft factor 5)" != "$(value unpainted factor 5)" ] || fail "the paraphraser does not carry over"

# batch normalisation, draws and modules of all kinds, stopped and gone on with
recipe 'terms:
  hard: {task: cls, loss: ce}
  hint: {loss: hint, student: m1, teacher: big.m2, adaptor: fitnet}
  mgd: {loss: mgd, student: m2, teacher: big.m2, weight: 0.1}
  vid: {loss: vid, student: m1, teacher: big.m1}
train: {epochs: 6, accumulate: 2, optimizer: {adam: {lr: 0.005}}, groups: [{match: "adaptor.*", lr_scale: 2}]}
emit: {onnx: true}' >all.yaml
expect 0 '' "$RETORT" distill all.yaml -o all --build-only -q
expect 0 '' all/train --out whole --threads 1
expect 0 '' all/train --out cut --threads 2 --until 2
expect 0 '' all/train --out cut --threads 1 --resume
same whole/student.onnx cut/student.onnx

# a cached teacher gives the same margins
recipe 'terms:
  f: {loss: ofd, student: n2, teacher: big.n2, weight: 0.01}
train: {epochs: 1, optimizer: {sgd: {lr: 0.001}}}
cache: {teachers: [big]}' >cached.yaml
grep -v '^cache' cached.yaml >direct.yaml
expect 0 '' "$RETORT" distill cached.yaml -o cached
expect 0 '' "$RETORT" distill direct.yaml -o direct
tests=$((tests + 1))
awk -v a="$(value cached f 1)" -v b="$(value direct f 1)" 'BEGIN {d = a - b; exit !(a > 0 && d * d <= 1e-9 * a * a)}' ||
	fail "cached $(value cached f 1), direct $(value direct f 1)"

# states and attention of tokens, of which some are filler
token_net() { # token_net NAME WIDTH
	cat <<-TXT
		<ir_version: 8, opset_import: ["" : 16]>
		$1 (int64[N,8] ids) => (float[N,3] logits)
		<float[10,$2] embed = {0}, float[$2,$2] q.weight = {0}, float[$2,$2] k.weight = {0}, float[$2,3] fc.weight = {0}, int64[1] one = {1}>
		{
		  h = Gather (embed, ids)
		  q = MatMul (h, q.weight)
		  k = MatMul (h, k.weight)
		  kt = Transpose <perm = [0,2,1]> (k)
		  s3 = MatMul (q, kt)
		  scores = Unsqueeze (s3, one)
		  p = Softmax (s3)
		  probs = Unsqueeze (p, one)
		  mixed = MatMul (p, h)
		  m = ReduceMean <axes = [1], keepdims = 0> (mixed)
		  logits = MatMul (m, fc.weight)
		}
	TXT
}
token_net teacher 6 >teacher.onnxtxt
token_net student 4 >student.onnxtxt
DATA="data:
  train: {ids: \"all.csv:$T\", y: {file: \"all.csv:y\", classes: 3}}
  batch: 16"
sed -e "/^data:/,/^models:/d" -e 's/inputs: {x: x}/inputs: {ids: ids}/' -e 's/, test.*//' teacher.yaml >t
{ head -1 t; echo "$DATA"; echo models:; tail -n +2 t; } >teacher.yaml
expect 0 '' "$RETORT" distill teacher.yaml -o teacher
TAPS='taps: {h: mixed, scores: scores, probs: probs}'
recipe 'terms:
  hard: {task: cls, loss: ce, weight: 0.1}
  hidden: {loss: hidden, student: h, teacher: big.h, mask: ids}
  cls: {loss: hidden, mode: cls, student: h, teacher: big.h}
  mse: {loss: attention, student: scores, teacher: big.scores, mask: {field: ids, filler: 0}}
  ce: {loss: attention, student: scores, teacher: big.scores, mask: ids, kwargs: {mode: ce}}
  kl: {loss: attention, student: probs, teacher: big.probs, mode: kl, heads: mean}
train: {epochs: 40, optimizer: {adam: {lr: 0.01}}}' | sed 's/inputs: {x: x}/inputs: {ids: ids}/' >tokens.yaml
expect 0 '' "$RETORT" distill tokens.yaml -o tokens
for t in hidden cls mse ce kl; do
	less "$(value tokens $t 40)" "$(value tokens $t 1)" "$t"
done

# mistakes
wrong() { # wrong TEXT SED-EXPRESSION
	sed "$2" tokens.yaml >wrong.yaml
	cmp -s tokens.yaml wrong.yaml && fail "the edit $2 changes nothing"
	expect 2 "$1" "$RETORT" distill wrong.yaml -o out --build-only
}
line=$(grep -n '  hidden:' tokens.yaml | cut -d: -f1)
wrong "wrong.yaml:$line: \"adaptor\" is \"lineer\"; did you mean \"linear\"?" 's/teacher: big.h, mask: ids/teacher: big.h, adaptor: lineer/'
wrong 'unknown key "covn" in terms.hidden.adaptor; did you mean "conv"?' 's/teacher: big.h, mask: ids/teacher: big.h, adaptor: {covn: 1x1}/'
wrong '"conv" is "3x5"; it is a square kernel' 's/teacher: big.h, mask: ids/teacher: big.h, adaptor: {conv: 3x5}/'
wrong 'no data field is called "idz"; did you mean "ids"?' 's/mask: ids}/mask: idz}/'
wrong 'its mask, field "y", is [16]: a number for each token' 's/mask: ids}/mask: y}/'
wrong '"mode" is "mze"' 's/mode: kl/mode: mze/'
wrong 'loss "attention" takes no adaptor' 's/mode: kl,/mode: kl, adaptor: auto,/'
wrong 'adaptor.hidden.weight would be' 's/loss: hidden, mode: cls, student: h, teacher: big.h/loss: hint, student: cls, teacher: big.h, modules: hidden/'
finish
