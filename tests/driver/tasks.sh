#!/usr/bin/env bash
# Two tasks of one student: each way to weigh them and to join their gradients trains, is
# logged, and goes on after a kill with the same bytes; numbers that change; a head that only
# helps is not exported.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 600 100 || fail "digits"
for f in data/*-labels-idx1-ubyte; do # odd or even, of the same samples
	{ head -c 8 "$f"; tail -c +9 "$f" | LC_ALL=C tr '\000-\011' '\000\001\000\001\000\001\000\001\000\001'; } >"${f/labels/odd}"
done
sed -e 's/(float\[N,10\] logits)/(float[N,10] logits, float[N,2] odd)/' \
	-e 's/  float\[10\] fc.bias = {0}/  float[10] fc.bias = {0}, float[2,392] odd.weight = {0}, float[2] odd.bias = {0}/' \
	-e 's/^}$/  odd = Gemm <transB = 1> (f, odd.weight, odd.bias)\n}/' "$SOURCE/examples/demo/student.onnxtxt" >s.onnxtxt

recipe() { # recipe LINES OF TRAIN
	cat <<END
retort: 1
name: two
seed: 5
data:
  root: data
  train: {image: train-images-idx3-ubyte, label: {file: train-labels-idx1-ubyte, classes: 10}, odd: {file: train-odd-idx1-ubyte, classes: 2}}
  val: {from: train, fraction: 0.2}
  batch: 16
models:
  student: {onnx: s.onnxtxt, init: kaiming, inputs: {image: {field: image, scale: 0.0039}}, outputs: {cls: logits, odd: odd}}
tasks:
  cls: {head: student.cls, target: label, metrics: [accuracy]}
  odd: {head: student.odd, target: odd, metrics: [accuracy], weight: 1.5$AUXILIARY}
terms:
  a: {task: cls, loss: ce}
  b: {task: odd, loss: ce, weight: {from: 1, to: 0.25, over: [0.5, 3], curve: cosine}}
train:
  epochs: 4
  optimizer: {sgd: {lr: 0.02, momentum: 0.9}}
$1
checkpoint: {seconds: 0.02}
END
}
timeless() { sed -E 's/"(seconds|data_wait|data_cpu)": [^,}]*//g' "$1"; }

AUXILIARY=
run() { # run NAME LINES LOGGED
	[ -e "$1.yaml" ] || recipe "$2" >"$1.yaml"
	expect 0 '' "$RETORT" distill "$1.yaml" -o "$1" --build-only -q
	expect 0 '' "$1/train" --out "$1/whole" --threads 1
	for t in 0.05 0.1 0.2; do
		"$1/train" --out "$1/cut" --resume --threads 2 >/dev/null 2>&1 &
		sleep $t
		kill -9 $! 2>/dev/null
		wait $! 2>/dev/null
	done
	expect 0 '' "$1/train" --out "$1/cut" --resume --threads 2
	same "$1/whole/student.onnx" "$1/cut/student.onnx"
	timeless "$1/whole/metrics.jsonl" >a
	timeless "$1/cut/metrics.jsonl" >b
	same a b
	expect 0 "$3" tail -n 1 "$1/whole/metrics.jsonl"
}
run plain '' '"terms"'
run dwa '  task_weights: {method: dwa, T: 1, init: {cls: 1.5}}' '"task_weight.odd"'
run val '  task_weights: {method: val_metric, gamma: 2}' '"task_weight.cls"'
run uncertainty '  task_weights: uncertainty' '"task_loss.odd"'
run gradnorm '  task_weights: {method: gradnorm, alpha: 1, layer: all}' '"task_weight.cls"'
run curve '  task_weights: {method: curve, weights: {cls: 2, odd: {from: 1, to: 0, over: [1, 3]}}}' '"task_weight.odd": 0'
run pcgrad '  task_gradients: pcgrad' '"task_conflict"'
run mgda '  task_gradients: {method: mgda, normalize: norm}
  task_weights: dwa
  accumulate: 2' '"task_factor.cls"'

# momenta of labels and teachers apart
recipe '' | sed -e 's/^tasks:/  teachers: {t: {onnx: s.onnxtxt, inputs: {image: {field: image, scale: 0.0039}}, outputs: {y: logits}}}\ntasks:/' \
	-e 's/^train:/  c: {task: cls, loss: kd, teacher: t.y}\ntrain:/' >undotted.yaml
sed 's/momentum: 0.9/momentum: 0.9, dot_delta: 0.075/' undotted.yaml >dot.yaml
run dot '' '"terms"'
run undotted '' '"terms"'
sed 's/^tasks:/log: {agreement: true}\ntasks:/; s/epochs: 4/epochs: 1/' dot.yaml >agree.yaml
expect 0 '' "$RETORT" distill agree.yaml -o agree -q
expect 0 '"val.cls.agreement"' cat agree/metrics.jsonl
tests=$((tests + 1))
grep -q 'odd.agreement' agree/metrics.jsonl && fail "a task without a teacher agrees with one"
sed 's/dot_delta: 0.075/dot_delta: 0.2/' dot.yaml >wrong.yaml
expect 2 'must lie in [0, 1)' "$RETORT" distill wrong.yaml -o x

# two weights of three epochs back: their sum stays
tests=$((tests + 1))
sed -nE 's/.*"task_weight.cls": ([0-9.]+), "task_weight.odd": ([0-9.]+).*/\1 \2/p' dwa/whole/metrics.jsonl |
	awk 'NR > 2 && ($1 + $2 - 2) ^ 2 > 1e-10 {bad = 1} NR == 1 && ($1 != 1.5 || $2 != 1) {bad = 1} END {exit bad || NR != 4}' ||
	fail "weights of dwa"
# all of them came to something else
tests=$((tests + 1))
[ "$(cat ./*/whole/student.onnx | wc -l)" -gt 0 ] && [ "$(sha1sum ./*/whole/student.onnx | cut -c1-40 | sort -u | wc -l)" -eq 10 ] ||
	fail "two ways gave the same student"

# a head that only helps
AUXILIARY=', auxiliary: true'
recipe '' >aux.yaml
expect 0 '' "$RETORT" distill aux.yaml -o aux -q
expect 0 'output   logits' "$RETORT" inspect aux/student.onnx
tests=$((tests + 1))
"$RETORT" inspect aux/student.onnx 2>&1 | grep -q odd && fail "the auxiliary head is exported"
expect 0 '"train.odd.accuracy"' tail -n 1 aux/metrics.jsonl
expect 2 'all tasks are auxiliary' "$RETORT" distill <(sed 's/target: label/auxiliary: true, target: label/' aux.yaml) -o x

# each term's share of the gradient; a term that never matters
recipe '' | sed 's/^tasks:/log: {grad_share: true}\ntasks:/' >share.yaml
expect 0 'grad_share.a' "$RETORT" distill share.yaml -o share
expect 0 'share of each term in the gradient' cat share/report.html
tests=$((tests + 1))
sed -nE 's/.*"grad_share.a": ([0-9.]+), "grad_share.b": ([0-9.]+).*/\1 \2/p' share/metrics.jsonl |
	awk '($1 + $2 - 1) ^ 2 > 1e-12 {bad = 1} END {exit bad || NR != 4}' || fail "shares of the gradient"
recipe '' >none.yaml
expect 0 '' "$RETORT" distill none.yaml -o none -q
same none/student.onnx share/student.onnx # measuring changes nothing
sed -i 's/^train:/  c: {task: cls, loss: ce, weight: 0}\ntrain:/' share.yaml
expect 0 'term "c" never matters: its weight is 0 in all epochs' "$RETORT" distill share.yaml -o share
expect 0 'term c never mattered' "$RETORT" distill share.yaml -o share
sed 's/epochs: 4/epochs: 1\n  frozen: ["odd.*", "fc.*", "conv.*", "bn.*"]/' share.yaml >frozen.yaml
expect 2 'no parameter to train' "$RETORT" distill frozen.yaml -o x
sed 's/epochs: 4/epochs: 1\n  frozen: ["odd.*", "conv.*", "bn.*"]/' share.yaml >frozen.yaml
expect 0 'term "b" never matters: it depends on no parameter that trains' "$RETORT" distill frozen.yaml -o x

# what has nothing to compare
AUXILIARY=
recipe '  terms: [a]
  task_gradients: mgda' >one.yaml
expect 2 'two tasks at least' "$RETORT" distill one.yaml -o x
recipe '  task_weights: {method: gradnorm, layer: "odd.*"}' >layer.yaml
expect 2 'none of them matches "odd.*"' "$RETORT" distill layer.yaml -o x
finish
