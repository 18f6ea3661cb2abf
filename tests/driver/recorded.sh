#!/usr/bin/env bash
# Teachers given as files: --emit=logits writes what they say, and training by these files
# is training with the teacher at work, in whatever order the samples come.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 600 200 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .
expect 0 '' "$RETORT" distill teacher.yaml -o made --epochs 1 -q
mkdir teacher && cp made/student.onnx teacher/

# recipe TEACHER AUGMENT
recipe() {
	sed -e 's|^cache:.*||' -e "s|    big: .*|    big: $1|" -e "s|  batch: 64|  batch: 64\n  $2|" -e 's|epochs: 10|epochs: 3|' student.yaml
}
losses() { sed -n 's/.*"loss": \([0-9.e-]*\),.*"'"$2"'": \([0-9.e-]*\),.*/\1 \2/p' "$1/metrics.jsonl"; }
# almost FILE FILE TOLERANCE: relative difference of every number
almost() {
	tests=$((tests + 1))
	paste "$1" "$2" | awk -v t="$3" '{for (i = 1; i <= NF / 2; i++) {d = $i - $(i + NF / 2); if (d < 0) d = -d; if (d > t * $i) bad = 1} if (NF != 4) bad = 1} END {exit bad || NR == 0}' ||
		fail "losses differ: $(paste "$1" "$2" | tr '\n\t' ';:')"
}
train() {
	expect 0 '' "$RETORT" distill "$1.yaml" -o "$1" --build-only -q
	expect 0 '' "$1/train" --out "$1/out"
}

# what a teacher says, and the same training by it
sed -e 's|^cache:.*||' -e 's|epochs: 10|epochs: 3|' student.yaml >live.yaml
expect 0 'big.y.test.npy [200,10]' "$RETORT" distill live.yaml --emit=logits -o said
recipe '{outputs: {y: {file: {train: ../said/big.y.train.npy, test: ../said/big.y.test.npy}}}}' '' >files.yaml
recipe '{outputs: {y: {file: {train: [../said/big.y.train.npy, ../said/big.y.train.npy], test: [../said/big.y.test.npy, ../said/big.y.test.npy]}, weights: [3, 1]}}}' '' >twice.yaml
for k in live files twice; do
	train $k
	losses $k/out test.term.soft >$k.losses
done
almost files.losses live.losses 1e-5
almost twice.losses live.losses 1e-5

# several files are their weighted mean: numbers for which that is exact
numbers() { awk -v k="$1" 'BEGIN {srand(1); for (i = -1; i < 600; i++) {for (c = 0; c < 10; c++) {a = int(rand() * 64) - 32; b = int(rand() * 64) - 32; v = i < 0 ? "c" c : k == "a" ? a : k == "b" ? b : (a + 3 * b) / 4; printf "%s%s", v, c < 9 ? "," : "\n"}}}'; }
for k in a b mean; do numbers $k >data/$k.csv; done
cols=:c0,c1,c2,c3,c4,c5,c6,c7,c8,c9
recipe "{outputs: {y: {file: ['a.csv$cols', 'b.csv$cols'], weights: [0.25, 0.75]}}}" '' >two.yaml
recipe "{outputs: {y: {file: 'mean.csv$cols'}}}" '' >one.yaml
for k in two one; do train $k; done
same two/out/student.onnx one/out/student.onnx
# probabilities in place of logits: the same classes
awk -F, 'NR == 1 {print; next} {s = 0; m = $1; for (i = 2; i <= 10; i++) m = $i > m ? $i : m; for (i = 1; i <= 10; i++) s += exp(($i - m) / 4)
	for (i = 1; i <= 10; i++) printf "%.9g%s", exp(($i - m) / 4) / s, i < 10 ? "," : "\n"}' data/mean.csv >data/p.csv
awk -F, 'NR == 1 {print; next} {for (i = 1; i <= 10; i++) printf "%.9g%s", $i / 4, i < 10 ? "," : "\n"}' data/mean.csv >data/quarter.csv
recipe "{outputs: {y: {file: 'p.csv$cols', probabilities: true}}}" '' >p.yaml
recipe "{outputs: {y: {file: 'quarter.csv$cols'}}}" '' >quarter.yaml
for k in p quarter; do
	train $k
	losses $k/out test.loss >$k.losses
done
almost p.losses quarter.losses 1e-5

# without files of the test split its term is no part of that split's loss
tests=$((tests + 1))
grep -q test.loss one/out/metrics.jsonl && ! grep -q test.term.soft one/out/metrics.jsonl || fail "a term without a teacher was evaluated"
sed 's/metrics: \[accuracy\]/metrics: [accuracy, agreement]/' one.yaml >agree.yaml
expect 0 'term "soft" is no part of evaluations' "$RETORT" distill agree.yaml -o agree --build-only
sed 's/metrics: \[accuracy\]/metrics: [accuracy, {agreement: big.y}]/' one.yaml >agree.yaml
expect 2 'is needed in evaluations' "$RETORT" distill agree.yaml -o agree --build-only
# and a run that was stopped goes on
expect 0 '' one/train --out one/part --epochs 3 --until 1
expect 0 '' one/train --out one/part --epochs 3 --resume
same one/out/student.onnx one/part/student.onnx

# augmented samples are not what the teacher saw, unless the recipe says so
recipe "{outputs: {y: {file: 'mean.csv$cols'}}}" 'augment: [{flip_h: 0.5}]' >flipped.yaml
expect 2 'which know the samples as they are' "$RETORT" distill flipped.yaml -o none --build-only
recipe "{outputs: {y: {file: 'mean.csv$cols'}}, with_augment: true}" 'augment: [{flip_h: 0.5}, {noise: 9}]' >noisy.yaml
train noisy
recipe "{outputs: {y: {file: 'mean.csv$cols'}}, with_augment: true}" 'augment: [mixup]' >mixed.yaml
expect 2 'say nothing of mixed samples' "$RETORT" distill mixed.yaml -o none --build-only

# of another number of samples, of classes too few, of no file
head -n 500 data/mean.csv >data/short.csv
recipe "{outputs: {y: {file: 'short.csv$cols'}}}" '' >short.yaml
expect 0 '' "$RETORT" distill short.yaml -o short --build-only -q
expect 2 'has 499 samples, field' short/train --out short/out
recipe "{outputs: {y: {file: 'mean.csv:c0,c1,c2'}}}" '' >few.yaml
expect 2 'has 3 classes' "$RETORT" distill few.yaml -o none --build-only
recipe "{outputs: {y: {file: meen.csv}}}" '' >none.yaml
expect 4 'did you mean "mean.csv"?' "$RETORT" distill none.yaml -o none --build-only
recipe "{outputs: {y: {file: [a.npy, b.npy], weights: [1]}}}" '' >weights.yaml
expect 2 '2 files and 1 weights' "$RETORT" distill weights.yaml -o none --build-only
recipe "{outputs: {y: {file: 'mean.csv$cols'}, z: {file: {trian: x.npy}}}}" '' >split.yaml
expect 2 'did you mean "train"?' "$RETORT" distill split.yaml -o none --build-only
sed 's/teacher: big.y/teacher: big.x/' one.yaml >name.yaml
expect 2 'teacher "big" has no output or tap "x"' "$RETORT" distill name.yaml -o none --build-only
sed '$a cache: {teachers: [big]}' one.yaml >cached.yaml
expect 2 'is given as files already' "$RETORT" distill cached.yaml -o none --build-only
expect 2 'has no teacher with a model' "$RETORT" distill one.yaml --emit=logits -o none
finish
