#!/usr/bin/env bash
# table.sh WORK GRADIENTS -- docs/operators.tsv and docs/operators.md from what was
# measured: the suites' tables in WORK (run.sh), the gradients' (test_op_compiled --tsv).
set -euo pipefail
work=$1 gradients=$2
here=$(dirname "$0")
suites=()
for suite in 1.12 open; do
	status=0
	bash "$here/run.sh" "$suite" "$work" >"$work/$suite.out" 2>&1 || status=$?
	tail -1 "$work/$suite.out"
	[ "$status" = 77 ] || suites+=("$work/$suite.tsv")
done
[ ${#suites[@]} -gt 0 ] || { echo "no suite could be run"; exit 1; }

# operator, passed/all of three forms summed, greatest distance, union of types, errors
awk -F'\t' -v OFS='\t' -v gradients="$gradients" '
	FILENAME == gradients { fd64[$1] = $2; fd32[$1] = $3; seen[$1] = 1; next }
	{
		seen[$1] = 1
		for (f = 2; f <= 4; f++)
			if (split($f, n, "/") == 2) {
				passed[$1, f] += n[1]
				all[$1, f] += n[2]
			}
		if ($5 != "-" && (!($1 in ulp) || $5 + 0 > ulp[$1] + 0))
			ulp[$1] = $5
		if ($6 != "-")
			types[$1] = types[$1] "," $6
	}
	function counts(op, f) { return all[op, f] ? passed[op, f] "/" all[op, f] : "-" }
	function once(list,    n, w, i, text, had) {
		n = split(list, w, ",")
		for (i = 1; i <= n; i++)
			if (w[i] != "" && !((w[i]) in had)) {
				had[w[i]] = 1
				text = text (text == "" ? "" : ", ") w[i]
			}
		return text == "" ? "-" : text
	}
	END {
		for (op in seen)
			print op, counts(op, 2), counts(op, 3), counts(op, 4), op in ulp ? ulp[op] : "-", once(types[op]),
			    op in fd64 ? fd64[op] : "-", op in fd32 ? fd32[op] : "-"
	}' "${suites[@]}" "$gradients" | LC_ALL=C sort >"$SOURCE/docs/operators.tsv"
"$RETORT" ops --markdown "$SOURCE/docs/operators.tsv" "$here/exceptions.txt" -o "$SOURCE/docs/operators.md"
