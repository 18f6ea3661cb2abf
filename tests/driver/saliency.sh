#!/usr/bin/env bash
# --saliency: programs and libraries that give maps too, of models and of trained students.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 300 100 || fail "digits"
sed -e '/^cache:/d' -e '/^  teachers:/,/^    big:/d' -e '/^  soft:/d' -e 's/epochs: 10/epochs: 2/' -e '/^emit:/,$d' \
	"$SOURCE"/examples/demo/student.yaml >plain.yaml
cp "$SOURCE"/examples/demo/*.onnxtxt .
sed '$a emit: {onnx: true, saliency: {method: integrated, steps: 8, name: why}}' plain.yaml >maps.yaml
expect 0 '' "$RETORT" distill maps.yaml -o out -q
tests=$((tests + 1))
grep -q saliency_image out/why.h || fail "the header has no map: $(grep -c . out/why.h) lines"
for f in libwhy.a libwhy.so why; do
	tests=$((tests + 1))
	[ -s out/$f ] || fail "no $f"
done

# the program that was left and the one that is compiled now; a map is as large as its picture
input=$(out/why --help 2>&1 | grep -o 'image' | head -n 1)
tests=$((tests + 1))
[ "$input" = image ] || fail "$(out/why --help 2>&1 | head -n 5)"
expect 0 '' "$RETORT" compile out/student.onnx --saliency=gradient -o map -q
expect 0 'saliency.image' "$RETORT" inspect map
expect 0 'libmap.a' sh -c "$RETORT compile out/student.onnx --saliency=smoothgrad --saliency-steps=4 --name=map -o libmap.a && ls libmap.a map.h"

# mistakes
expect 1 'did you mean "gradient"?' "$RETORT" compile out/student.onnx --saliency=gradint -o none
expect 2 'there is no class 10 in an output [1,10]' "$RETORT" compile out/student.onnx --saliency=gradient --saliency-class=10 -o none
expect 2 'did you mean "logits"?' "$RETORT" compile out/student.onnx --saliency=gradient --saliency-output=logit -o none
expect 1 'is about --saliency=METHOD' "$RETORT" compile out/student.onnx --saliency-class=1 -o none
expect 1 '1 to 4096' "$RETORT" compile out/student.onnx --saliency=integrated --saliency-steps=0 -o none
absent none
sed '$a emit: {saliency: gradint}' plain.yaml >bad.yaml
expect 1 'did you mean "gradient"?' "$RETORT" distill bad.yaml -o bad
sed '$a emit: {saliency: {steps: 3}}' plain.yaml >bad.yaml
expect 2 'has no "method"' "$RETORT" distill bad.yaml -o bad
absent bad
finish
