#!/usr/bin/env bash
# Memory: what the trainer says it needs is what it has.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 600 200 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .

number() { sed -n "s/.*$1[^0-9]*\([0-9][0-9]*\).*/\1/p" <<<"$2"; }
# within PER_MILLE A B
within() {
	tests=$((tests + 1))
	local off=$(($2 > $3 ? $2 - $3 : $3 - $2))
	[ $((1000 * off)) -le $(($1 * $3)) ] || fail "$2 bytes planned, $3 resident"
}

# a large batch, so that the arena is what counts
sed 's/batch: 64/batch: 512/' teacher.yaml >wide.yaml
expect 0 '' "$RETORT" distill wide.yaml -o wide --build-only
for t in 1 2; do
	said=$(wide/train --bench-steps 3 --threads $t)
	within 20 "$(number '"planned": ' "$said")" "$(number '"resident": ' "$said")"
done
# the same before anything is allocated
within 20 "$(number 'memory of a step ' "$(wide/train --dry-run)")" "$(number '"resident": ' "$said")"
# rows add up
tests=$((tests + 1))
wide/train --dry-run | awk '/memory of a step/ {want = $5} / more of mapped/ {next} /^    / {sum += $1} END {exit sum != want}' ||
	fail "rows do not add up: $(wide/train --dry-run)"

# a memory budget: activations made again in backward, the same numbers in less memory
{
	echo '< ir_version: 8, opset_import: ["" : 16] >'
	echo 'deep (float[N,1,28,28] image) => (float[N,10] logits)'
	echo '< float[8,1,3,3] w1 = {0}, float[10,8] wf = {0}, float[10] bf = {0}'
	for k in 2 3 4 5 6 7 8; do echo ", float[8,8,3,3] w$k = {0}"; done
	for k in 1 2 3 4 5 6 7 8; do echo ", float[8] s$k = {1}, float[8] b$k = {0}, float[8] m$k = {0}, float[8] v$k = {1}"; done
	echo '> {'
	x=image
	for k in 1 2 3 4 5 6 7 8; do
		echo "c$k = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> ($x, w$k)"
		echo "n$k = BatchNormalization (c$k, s$k, b$k, m$k, v$k)"
		echo "r$k = Relu (n$k)"
		x=r$k
	done
	echo "d, dm = Dropout <seed = 1> ($x)"
	echo 'p = GlobalAveragePool (d)'
	echo 'f = Flatten <axis = 1> (p)'
	echo 'logits = Gemm <transB = 1> (f, wf, bf) }'
} >deep.onnxtxt
sed 's/teacher.onnxtxt/deep.onnxtxt/; s/batch: 64/batch: 128/' teacher.yaml >deep.yaml
said() { number "$1" "$("$2/train" --dry-run)"; }
expect 0 '' "$RETORT" distill deep.yaml -o all --build-only
whole=$(said 'memory of a step ' all)
for part in 8 6; do
	budget=$((whole * part / 10))
	expect 0 '' "$RETORT" distill deep.yaml -o part$part --build-only --memory-budget=$budget
	tests=$((tests + 1))
	[ "$(said 'memory of a step ' part$part)" -le $budget ] || fail "over the budget of $budget: $(part$part/train --dry-run)"
	result=$(part$part/train --bench-steps 3)
	within 20 "$(number '"planned": ' "$result")" "$(number '"resident": ' "$result")"
done
for d in all part8 part6; do
	expect 0 '' $d/train --steps 4 --log-every 1 --out $d/out
done
for d in part8 part6; do
	same all/out/steps.jsonl $d/out/steps.jsonl
	same all/out/student.onnx $d/out/student.onnx
done
# what cannot be met: the least, which can
expect 3 'most of it gradients' "$RETORT" distill deep.yaml -o no --build-only --memory-budget=1M
least=$("$RETORT" distill deep.yaml -o no --build-only --memory-budget=1M 2>&1 | sed -n 's/.*reaches is \([0-9]*\) bytes.*/\1/p')
expect 0 '' "$RETORT" distill deep.yaml -o least --build-only --memory-budget="$least"
expect 1 'no number of bytes' "$RETORT" distill deep.yaml -o no --memory-budget=12Q
expect 1 'no number of bytes' "$RETORT" distill deep.yaml -o no --memory-budget=-3M
finish
