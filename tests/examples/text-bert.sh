#!/usr/bin/env bash
# Lists of layers, states through adaptors, attention maps: both terms fall, nothing is lost.
. "$(dirname "$0")/lib.sh"
example text-bert
at_least "teacher, 6 layers of 32" 1 45
at_least "soft labels" 1 45
at_least "soft labels, states, attention" 1 45
for term in states maps; do
	tests=$((tests + 1))
	grep -o "\"$term\": *[0-9.e-]*" out/hidden.1/metrics.jsonl | sed 's/.*: *//' |
		awk 'NR == 1 { a = $1 } { b = $1 } END { exit !(NR >= 3 && b < 0.9 * a) }' ||
		fail "term $term does not fall: $(grep -o "\"$term\": *[0-9.e-]*" out/hidden.1/metrics.jsonl | tr '\n' ' ')"
done
finish
