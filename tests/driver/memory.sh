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
finish
