#!/usr/bin/env bash
# Losses of how samples and channels relate, from a recipe to the student: each falls in
# training; a memory of every training sample goes on where it was, and is not run on more.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 600 100 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .
expect 0 '' "$RETORT" distill teacher.yaml -o teacher --epochs 3 -q

# weights as published, or so that each has its say; crd leaves out what has a row's own label
cat >terms <<'YAML'
  sp: {loss: sp, student: map, teacher: big.map, weight: 3000}
  rkd: {loss: rkd, student: all, teacher: big.all}
  pkt: {loss: pkt, student: all, teacher: big.all, weight: 30000}
  pairs: {loss: hard_pairs, student: all, teacher: big.all, weight: 1000}
  cc: {loss: cc, student: map, teacher: big.map, kwargs: {dim: 16}, weight: 0.02}
  cckd: {loss: cckd, student: map, teacher: big.map, dim: 16, weight: 0.3}
  crd: {task: cls, loss: crd, student: all, teacher: big.all, dim: 32, weight: 0.1}
  queue: {loss: crd, student: all, teacher: big.all, dim: 32, memory: 256, negatives: 128, weight: 0.1}
  nst: {loss: nst, student: map, teacher: big.map, weight: 50}
  fsp: {loss: fsp, student: [map, small], teacher: [big.first, big.map], weight: 50}
  ickd: {loss: ickd, student: map, teacher: big.map, weight: 500}
  cwd: {loss: cwd, student: map, teacher: big.map, temperature: 2}
  pkd: {loss: pkd, student: map, teacher: big.map}
  kdsvd: {loss: kdsvd, student: [map, small], teacher: [big.first, big.map], weight: 0.1}
YAML
sed -e 's/outputs: {cls: logits}/outputs: {cls: logits}\n    taps: {map: r, small: p, all: f}/' \
	-e 's/outputs: {y: logits}/outputs: {y: logits}, taps: {first: r1, map: r2, all: f}/' \
	-e '/^cache:/d' -e '/^  soft:/d' -e '/^train:/e cat terms' -e 's/epochs: 10/epochs: 8/' student.yaml >job.yaml
expect 0 'term "crd" remembers 600 embeddings of both sides: 0.2 MB' "$RETORT" distill job.yaml -o job --build-only
expect 0 '' job/train --out whole --threads 1
for t in sp rkd pkt pairs cc cckd crd queue nst fsp ickd cwd pkd kdsvd; do
	tests=$((tests + 1))
	sed -n "2p;\$p" whole/metrics.jsonl | sed -E "s/.*\"$t\": ([^,}]*).*/\1/" | tr '\n' ' ' >ends
	awk '{exit !($2 < 0.97 * $1)}' ends || fail "term $t goes from $(cat ends)"
done

expect 0 '' job/train --out cut --steps 30 --threads 2
expect 0 '' job/train --out cut --resume --threads 1
same whole/student.onnx cut/student.onnx
expect 0 '' job/train --bench-steps 2
# two sets in one batch: each term remembers the samples of its own
sed -e '/^  train: {image/c\  sets:\n    a: {train: {xa: train-images-idx3-ubyte, ya: {file: train-labels-idx1-ubyte, classes: 10}}, batch: 32}\n    b: {train: {xb: test-images-idx3-ubyte, yb: {file: test-labels-idx1-ubyte, classes: 10}}, batch: 16}' \
	-e '/^  test: /d' -e '/^  batch:/d' -e 's/image: {field: image, scale: \([0-9.]*\)}/image: [{field: xa, scale: \1}, {field: xb, scale: \1}]/' \
	-e 's/^  cls: .*/  ta: {head: student.cls, target: ya, data: a}\n  tb: {head: student.cls, target: yb, data: b}/' \
	-e '/^  \(sp\|rkd\|pkt\|pairs\|cc\|cckd\|queue\|nst\|fsp\|ickd\|cwd\|pkd\|kdsvd\): /d' -e 's/^  hard: .*/  ha: {task: ta, loss: ce}\n  hb: {task: tb, loss: ce}/' \
	-e 's/^  crd: {task: cls\(.*\)/  ca: {task: ta\1\n  cb: {task: tb\1/' job.yaml >sets.yaml
expect 0 'term "cb" remembers 100 embeddings' "$RETORT" distill sets.yaml -o sets --build-only
expect 0 'term "ca" remembers 600 embeddings' "$RETORT" distill sets.yaml -o sets --epochs 2

mkdir more && ./draw more 700 100
expect 2 'a term remembers each of 600 training samples, the data has 700' job/train --data more --out no

finish
