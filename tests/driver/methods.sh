#!/usr/bin/env bash
# Every loss that `retort losses` lists runs from a recipe: compiled, trained for some
# updates, its term finite, the student exported without what the term has of its own.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 320 96 || fail "digits"

# model A B: a small network with taps of every kind: maps f1 [N,A,14,14] and f2 [N,B,7,7]
# (before Relu: p1, p2), tokens h1, h2 [N,49,B], attention a1 [N,2,49,49], embedding e [N,B],
# logits [N,10], a map of classes m [N,3,7,7], two classes b [N,2], mean and log-variance
model() {
	local A=$1 B=$2 H=$(($2 / 2))
	cat <<TEXT
< ir_version: 8, opset_import: ["" : 16] >
net (float[N,1,28,28] image) => (float[N,10] logits, float[N,3,7,7] m, float[N,2] b, float[N,$B] mu, float[N,$B] logvar)
<
  float[$A,1,3,3] c1.w = {0}, float[$A] n1.s = {1}, float[$A] n1.b = {0}, float[$A] n1.m = {0}, float[$A] n1.v = {1},
  float[$B,$A,3,3] c2.w = {0}, float[$B] n2.s = {1}, float[$B] n2.b = {0}, float[$B] n2.m = {0}, float[$B] n2.v = {1},
  float[$B,$B] q.w = {0}, float[$B,$B] k.w = {0}, float[$B,$B] v.w = {0}, float[$B,$B] o.w = {0},
  float[10,$B] fc.w = {0}, float[10] fc.b = {0}, float[3,$B,1,1] m.w = {0}, float[3] m.b = {0}, float[2,$B] b.w = {0}, float[2] b.b = {0},
  float[$B,$B] mu.w = {0}, float[$B] mu.b = {0}, float[$B,$B] lv.w = {0}, float[$B] lv.b = {0},
  int64[3] tokens = {0,$B,49}, int64[4] heads = {0,49,2,$H}, int64[3] joined = {0,49,$B}, float scale = {0.5}
>
{
  x1 = Conv <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (image, c1.w)
  p1 = BatchNormalization <epsilon = 1e-5, momentum = 0.9> (x1, n1.s, n1.b, n1.m, n1.v)
  f1 = Relu (p1)
  x2 = Conv <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (f1, c2.w)
  p2 = BatchNormalization <epsilon = 1e-5, momentum = 0.9> (x2, n2.s, n2.b, n2.m, n2.v)
  f2 = Relu (p2)
  t0 = Reshape (f2, tokens)
  h1 = Transpose <perm = [0,2,1]> (t0)
  q0 = MatMul (h1, q.w)
  q1 = Reshape (q0, heads)
  q = Transpose <perm = [0,2,1,3]> (q1)
  k0 = MatMul (h1, k.w)
  k1 = Reshape (k0, heads)
  k = Transpose <perm = [0,2,3,1]> (k1)
  v0 = MatMul (h1, v.w)
  v1 = Reshape (v0, heads)
  v = Transpose <perm = [0,2,1,3]> (v1)
  s0 = MatMul (q, k)
  a0 = Mul (s0, scale)
  a1 = Softmax <axis = -1> (a0)
  y0 = MatMul (a1, v)
  y1 = Transpose <perm = [0,2,1,3]> (y0)
  y2 = Reshape (y1, joined)
  y3 = MatMul (y2, o.w)
  h2 = Add (h1, y3)
  e = ReduceMean <axes = [1], keepdims = 0> (h2)
  logits = Gemm <transB = 1> (e, fc.w, fc.b)
  m = Conv <kernel_shape = [1,1]> (f2, m.w, m.b)
  b = Gemm <transB = 1> (e, b.w, b.b)
  mu = Gemm <transB = 1> (e, mu.w, mu.b)
  logvar = Gemm <transB = 1> (e, lv.w, lv.b)
}
TEXT
}
model 8 16 >student.onnxtxt
model 12 24 >teacher.onnxtxt
sed 's/^net /twin /' student.onnxtxt >twin.onnxtxt

# recipe STUDENT INIT TERM [MODELS]
recipe() {
	cat <<TEXT
retort: 1
seed: 3
data:
  root: data
  train: {image: train-images-idx3-ubyte, label: {file: train-labels-idx1-ubyte, classes: 10}}
  test: {image: test-images-idx3-ubyte, label: {file: test-labels-idx1-ubyte, classes: 10}}
  batch: 32
models:
  student: {onnx: $1.onnxtxt, inputs: {image: {field: image, scale: 0.0039}}, outputs: {y: logits, m: m, mu: mu, logvar: logvar}, taps: {$taps}, init: $2}
  teachers:
${4:-}
tasks: {cls: {head: student.y, target: label, metrics: [accuracy]}}
terms:
$3
train: {epochs: 1, optimizer: {adam: {lr: 0.003}}}
emit: {onnx: true}
TEXT
}
taps='f1: f1, f2: f2, p1: p1, p2: p2, h1: h1, h2: h2, a0: a0, a1: a1, e: e'
for t in teacher twin; do
	recipe $t kaiming '  hard: {task: cls, loss: ce}' | sed '/teachers:/d' >$t.yaml
	expect 0 '' "$RETORT" distill $t.yaml -o $t -q
done
image='{image: {field: image, scale: 0.0039}}'
teachers="    big: {onnx: teacher/student.onnx, inputs: $image, outputs: {y: logits, m: m}, taps: {$taps}}
    twin: {onnx: twin/student.onnx, inputs: $image, outputs: {y: logits, m: m}, taps: {$taps}}"

# method NAME TERM...: a few updates with these terms alone
method() {
	local name=$1 line
	shift
	methods="$methods $name"
	printf '  %s\n' "$@" >terms
	recipe student onnx "$(cat terms)" "$teachers" >"$name.yaml"
	expect 0 '' "$RETORT" distill "$name.yaml" -o "out.$name" -q --steps 4
	line=$(tail -n 1 "out.$name/metrics.jsonl" 2>/dev/null)
	tests=$((tests + 1))
	case $line in
	*'"terms": {}'* | *'"loss": null'* | '') fail "$name: $line" ;;
	esac
	tests=$((tests + 1))
	! grep -q 'adaptor\.' "out.$name/student.onnx" || fail "$name: the exported student has parts of the term"
	rm -rf "out.$name"
}
methods=
both='task: cls, teacher: big.y'
layers='student: [f1, f2], teacher: [big.f1, big.f2]'
before='student: [p1, p2], teacher: [big.p1, big.p2]'
method ce 'a: {task: cls, loss: ce, label_smoothing: 0.1}'
method kd "a: {$both, loss: kd, temperature: {from: 8, to: 2, over: [0, 1]}}"
method soft_ce "a: {$both, loss: soft_ce, temperature: 8, tau_squared: false}"
method logit_mse "a: {$both, loss: logit_mse, standardize: true}"
method dkd "a: {$both, loss: dkd}"
method wsld "a: {$both, loss: wsld}"
method dist "a: {$both, loss: dist}"
method tf_kd 'a: {task: cls, loss: tf_kd, temperature: 10}'
method confidence 'a: {task: cls, loss: ce}' 'b: {task: cls, loss: confidence, weight: 0.1}'
method cs_kd 'a: {task: cls, loss: ce}' 'b: {task: cls, loss: cs_kd}'
method skd "a: {$both, loss: skd}" "b: {$both, loss: kd, tau_squared: false}"
method mse "a: {loss: mse, student: e, teacher: twin.e}"
method smooth_l1 "a: {loss: smooth_l1, $layers, adaptor: auto}"
method cosine "a: {loss: cosine, student: h2, teacher: twin.h2}"
method bce "a: {$both, loss: bce, temperature: 2}"
method consistency "a: {$both, loss: consistency}"
method hint "a: {loss: hint, student: f2, teacher: big.f1, adaptor: fitnet}"
method at "a: {loss: at, $layers, weight: 1000}"
method vid "a: {loss: vid, $layers}"
method ab "a: {loss: ab, $before}"
method ofd "a: {loss: ofd, $before, weight: 0.001}"
method ft_paraphrase 'a: {loss: ft_paraphrase, teacher: big.f2}' 'b: {task: cls, loss: ce}'
method ft "a: {loss: ft_paraphrase, teacher: big.f2, modules: f}" 'b: {loss: ft, student: f2, teacher: big.f2, modules: f}'
method reviewkd "a: {loss: reviewkd, student: [f1, f2, e], teacher: [big.f1, big.f2, big.e]}"
method pad "a: {loss: pad, student: e, teacher: big.e}"
method mgd "a: {loss: mgd, student: f2, teacher: big.f2}"
method kd_mtl "a: {loss: kd_mtl, student: f2, teacher: big.f2}"
method gram "a: {loss: gram, student: [h1, h2], teacher: [twin.h1, twin.h2]}"
method feature_norm "a: {loss: feature_norm, student: e, teacher: big.e}"
method vib 'a: {loss: vib, student: [mu, logvar]}' 'b: {task: cls, loss: ce}'
method dist_map "a: {loss: dist_map, student: f2, teacher: big.f2}"
method srd "a: {loss: srd, student: f2, teacher: big.f2}"
method hidden "a: {loss: hidden, student: [h1, h2], teacher: [big.h1, big.h2], mode: cosine}"
method attention "a: {loss: attention, student: a1, teacher: big.a1, mode: kl}"
method sp "a: {loss: sp, $layers}"
method rkd "a: {loss: rkd, student: e, teacher: big.e}"
method pkt "a: {loss: pkt, student: e, teacher: big.e}"
method cc "a: {loss: cc, student: e, teacher: big.e, dim: 8}"
method cckd "a: {loss: cckd, student: e, teacher: big.e, kernel: bilinear}"
method crd "a: {task: cls, loss: crd, student: e, teacher: big.e, dim: 16, negatives: 64, memory: 128}"
method nst "a: {loss: nst, $layers}"
method fsp "a: {loss: fsp, $layers}"
method ickd "a: {loss: ickd, student: f2, teacher: big.f2}"
method cwd "a: {loss: cwd, student: m, teacher: big.m, temperature: 4}"
method pkd "a: {loss: pkd, student: f2, teacher: big.f2}"
method kdsvd "a: {loss: kdsvd, $layers}"
method hard_pairs "a: {loss: hard_pairs, student: e, teacher: big.e}"
for l in gan lsgan hinge; do
	method $l "a: {loss: $l, student: mu, role: generator}"
done
for l in one_hot class_entropy; do
	method $l "a: {loss: $l, student: y}"
done
method activation "a: {loss: activation, student: e}"
# a cached teacher that only an earlier stage reads
recipe student kaiming '  a: {task: cls, loss: ce}' "$teachers" | sed '/^terms:/,/^train:/d' >stages.yaml
cat >>stages.yaml <<'TEXT'
train:
  - {name: one, epochs: 1, optimizer: {adam: {lr: 0.003}}, terms: {h: {loss: hint, student: f2, teacher: big.f2}}}
  - {name: two, epochs: 1, optimizer: {adam: {lr: 0.003}}, terms: {c: {task: cls, loss: ce}}}
TEXT
sed '$a cache: {teachers: [big]}' stages.yaml >cached.yaml
expect 0 '' "$RETORT" distill stages.yaml -o stages -q
expect 0 'cached in' "$RETORT" distill cached.yaml -o cached
for l in $("$RETORT" losses | grep -v '^ '); do
	tests=$((tests + 1))
	case " $methods " in
	*" $l "*) ;;
	*) fail "loss $l runs in no recipe here" ;;
	esac
done
"$RETORT" losses --markdown | diff - "$SOURCE/docs/losses.md" >/dev/null || fail "docs/losses.md is old: retort losses --markdown"
finish
