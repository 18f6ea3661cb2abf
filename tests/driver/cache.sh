#!/usr/bin/env bash
# Cached teachers: the same training as with the teacher at work, also where samples have
# several draws of their augmentation; made anew where anything they depend on changes.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 600 200 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .
expect 0 '' "$RETORT" distill teacher.yaml -o made --epochs 1 -q
mkdir teacher && cp made/student.onnx teacher/

# recipe CACHE AUGMENT
recipe() {
	sed -e "s|^cache:.*|$1|" -e "s|  batch: 64|  batch: 64\n  $2|" -e 's|epochs: 10|epochs: 5|' student.yaml
}
losses() { sed -n 's/.*"loss": \([0-9.e-]*\),.*/\1/p' "$1/metrics.jsonl"; }
# almost FILE FILE TOLERANCE: relative difference of every line
almost() {
	tests=$((tests + 1))
	paste "$1" "$2" | awk -v t="$3" '{d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || d > t * $2) bad = 1} END {exit bad || NR == 0}' ||
		fail "losses differ: $(paste "$1" "$2" | tr '\n\t' ';:')"
}

# no augmentation: with and without cache, in halves
recipe 'cache: {teachers: [big]}' '' >cached.yaml
recipe '' '' >live.yaml
recipe 'cache: {teachers: [big], dtype: f16}' '' >half.yaml
for k in cached live half; do
	expect 0 '' "$RETORT" distill $k.yaml -o $k --build-only -q
	expect 0 '' $k/train --out $k/out
	losses $k/out >$k.losses
done
almost cached.losses live.losses 1e-5
almost half.losses live.losses 2e-3
tests=$((tests + 1))
[ $((2 * $(stat -c %s half/out/cache/demo_student.big.train.rtc))) -lt $((100 + $(stat -c %s cached/out/cache/demo_student.big.train.rtc) + 64)) ] ||
	fail "halves take $(stat -c %s half/out/cache/demo_student.big.train.rtc) bytes"

# refused without a number of draws
recipe 'cache: {teachers: [big]}' 'augment: [{flip_h: 0.5}, {crop: {pad: 2}}]' >many.yaml
expect 2 'give "variants: K"' "$RETORT" distill many.yaml -o many --build-only
recipe 'cache: {teachers: [big], variants: 3}' '' >none.yaml
expect 2 'which is missing' "$RETORT" distill none.yaml -o none --build-only
expect 2 'it is f32 or f16' "$RETORT" distill <(recipe 'cache: {teachers: [big], dtype: f8}' '') -o none --build-only

# as many draws as epochs: each epoch shows what it shows with the teacher at work
recipe 'cache: {teachers: [big], variants: 5, path: kept}' 'augment: [{flip_h: 0.5}, {crop: {pad: 2}}]' >drawn.yaml
recipe '' 'augment: [{flip_h: 0.5}, {crop: {pad: 2}}]' >shown.yaml
for k in drawn shown; do
	expect 0 '' "$RETORT" distill $k.yaml -o $k --build-only -q
	expect 0 '' $k/train --out $k/out
	losses $k/out >$k.losses
done
almost drawn.losses shown.losses 1e-5
tests=$((tests + 1))
[ -s kept/demo_student.big.train.rtc ] || fail "path: is not where the cache is"
# two draws differ from five, but repeat: the same bytes each time and with any threads
recipe 'cache: {teachers: [big], variants: 2}' 'augment: [{flip_h: 0.5}, {crop: {pad: 2}}]' >two.yaml
expect 0 '' "$RETORT" distill two.yaml -o two --build-only -q
expect 0 '' two/train --out two/a --threads 1
expect 0 '' two/train --out two/b --threads 2
same two/a/student.onnx two/b/student.onnx

# fresh: taken as it is; stale: said and made anew
expect 0 '' cached/train --out cached/out
tests=$((tests + 1))
cached/train --out cached/out 2>&1 | grep -q 'cached in' && fail "a fresh cache was made again"
said='is of another teacher, other data, another augmentation or seed: made anew'
expect 0 "$said" two/train --out two/a --seed 9
sed -i 's/scale: 0.00392156862745098}}, outputs: {y/scale: 0.0038}}, outputs: {y/' cached.yaml
expect 0 '' "$RETORT" distill cached.yaml -o cached --build-only -q
expect 0 "$said" cached/train --out cached/out
printf '\377' | dd of=data/train-images-idx3-ubyte bs=1 seek=5000 conv=notrunc 2>/dev/null
expect 0 "$said" cached/train --out cached/out
printf 'damage' | dd of=cached/out/cache/demo_student.big.train.rtc bs=1 seek=2 conv=notrunc 2>/dev/null
expect 0 "$said" cached/train --out cached/out
# a benchmark makes what is missing, too, and leaves the teacher out
rm -r cached/out/cache
expect 0 '"planned"' cached/train --out cached/out --bench-steps 2
tests=$((tests + 1))
[ -s cached/out/cache/demo_student.big.train.rtc ] || fail "--bench-steps made no cache"

# some outputs only; the others come from the teacher at work
sed -e 's/outputs: {y: logits}}/outputs: {y: logits}, taps: {h: r3}}/' -e 's/^  soft:/  hint: {task: cls, student: student.p, loss: hint, teacher: big.h, weight: 0.1}\n  soft:/' \
	-e 's/outputs: {cls: logits}/outputs: {cls: logits}\n    taps: {p: f}/' live.yaml >tapped.yaml
sed '$a cache: {teachers: [big], what: [big.y]}' tapped.yaml >part.yaml
sed '$a cache: {teachers: [big]}' tapped.yaml >all.yaml
for k in tapped part all; do
	expect 0 '' "$RETORT" distill $k.yaml -o $k --build-only -q
	expect 0 '' $k/train --out $k/out --epochs 2
	losses $k/out >$k.losses
done
almost part.losses tapped.losses 1e-5
almost all.losses tapped.losses 1e-5
expect 2 '"huge.z" is none' "$RETORT" distill <(sed 's/what: .*/what: [huge.z]}/' part.yaml) -o none --build-only
finish
