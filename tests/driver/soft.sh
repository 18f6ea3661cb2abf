#!/usr/bin/env bash
# Losses of logits and what becomes of teachers' logits, from a recipe to the student: each
# falls in training; noise, learned fusion and curves go on where they were; teachers whose
# classes are not the student's.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 600 100 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .
expect 0 '' "$RETORT" distill teacher.yaml -o teacher --epochs 3 -q
expect 0 '' "$RETORT" distill teacher.yaml -o other --epochs 1 --seed 5 -q

cat >terms <<'YAML'
  smooth: {task: cls, loss: ce, label_smoothing: 0.1}
  kd: {task: cls, loss: kd, teacher: big.y, temperature: {from: 6, to: 3, over: [0, 6]}, teacher_temperature: 3}
  standard: {task: cls, loss: kd, teacher: big.y, standardize: true, temperature: 2}
  flsw: {task: cls, loss: kd, teacher: big.y, dynamic_temperature: flsw, tau_beta: 2}
  cwsm: {task: cls, loss: soft_ce, teachers: [big.y, other.y], dynamic_temperature: cwsm, tau_beta: 0.1}
  sure: {task: cls, loss: kd, teachers: [big.y, other.y], fusion: confidence, sharpness: 4}
  entropy: {task: cls, loss: kd, teachers: [big.y, other.y], fusion: entropy, fuse: logits}
  right: {task: cls, loss: kd, teachers: [big.y, other.y], fusion: label}
  learned: {task: cls, loss: kd, teachers: [big.y, other.y], fusion: learned}
  given: {task: cls, loss: kd, teachers: [big.y, other.y], teacher_weights: {big.y: 3, other.y: 1}}
  annealed: {task: cls, loss: kd, teacher: big.y, temperature: 1, annealing: {from: 0, to: 1, over: [0, 6]}}
  shift: {task: cls, loss: kd, teacher: other.y, probability_shift: true, reduction: mean}
  noisy: {task: cls, loss: kd, teacher: big.y, noise: 0.3, noise_p: 0.7}
  merged: {task: cls, loss: kd, teacher: big.y, class_map: [0, 1, 2, 3, 4, 5, 6, 7, 7, -1]}
  logits: {task: cls, loss: logit_mse, teacher: big.y, masked: true}
  dkd: {task: cls, loss: dkd, teacher: big.y, weight: {from: 0, to: 1, over: [0, 2]}}
  wsld: {task: cls, loss: wsld, teacher: big.y}
  dist: {task: cls, loss: dist, teacher: big.y, temperature: 2}
  skd: {task: cls, loss: skd, teacher: big.y}
  alone: {task: cls, loss: tf_kd, temperature: 2}
  alike: {task: cls, loss: cs_kd, weight: 0.1}
  many: {task: cls, loss: bce, teachers: [big.y, other.y], temperature: 2}
  sharp: {task: cls, loss: confidence, weight: 0.01}
  map: {loss: dist_map, student: map, teacher: big.map, weight: 0.1}
  features: {loss: srd, student: all, teacher: big.all, weight: 0.1}
YAML
sed -e 's/outputs: {cls: logits}/outputs: {cls: logits}\n    taps: {map: r, all: f}/' \
	-e 's/^    big: \(.*\)outputs: {y: logits}}/    big: \1outputs: {y: logits}, taps: {map: r2, all: f}}\n    other: \1outputs: {y: logits}}/' \
	-e 's/\(other: .*\)teacher\/student.onnx/\1other\/student.onnx/' \
	-e '/^cache:/d' -e '/^  soft:/d' -e '/^train:/e cat terms' -e 's/epochs: 10/epochs: 6/' student.yaml >job.yaml
expect 0 '' "$RETORT" distill job.yaml -o job --build-only -q
expect 0 '' job/train --out whole --threads 1
# (but for those with the teachers' entropy in them, and what anneals)
for t in smooth kd standard flsw sure entropy right learned given shift noisy merged logits wsld dist skd alone map features; do
	tests=$((tests + 1))
	sed -n "2p;\$p" whole/metrics.jsonl | sed -E "s/.*\"terms\": .*\"$t\": ([^,}]*).*\"seconds.*/\1/" | tr '\n' ' ' >ends
	awk '{exit !($2 < 0.97 * $1)}' ends || fail "term $t goes from $(cat ends)"
done
expect 0 '' job/train --out cut --steps 23 --threads 2
expect 0 '' job/train --out cut --resume --threads 1
same whole/student.onnx cut/student.onnx

# what does not fit is said with its line
sed -e 's/class_map: .*-1\]/class_map: [0, 1, 2, 3, 4, 5, 6, 7, 7, 10]/' job.yaml >wrong.yaml
line=$(grep -n 'merged:' wrong.yaml | cut -d: -f1)
expect 2 "wrong.yaml:$line: class_map sends class 9 of teacher output \"big.y\" to 10" "$RETORT" distill wrong.yaml -o no
sed -e 's/class_map: .*-1\]/class_map: [0, 1]/' job.yaml >wrong.yaml
expect 2 "wrong.yaml:$line: class_map has 2 classes for teacher output \"big.y\"" "$RETORT" distill wrong.yaml -o no

finish
