#!/usr/bin/env bash
# Hinton's protocol, shortened: the distilled student reads digits, and some of the threes
# that it never saw.
. "$(dirname "$0")/lib.sh"
example mnist-distillation
at_most() { # ROW COLUMN MOST
	local got
	tests=$((tests + 1))
	got=$(cell "$1" "$2")
	awk -v a="${got:-none}" -v m="$3" 'BEGIN { exit !(a + 0 == a && a <= m) }' || fail "$1, column $2: ${got:-nothing}, should be at most $3"
}
at_most teacher 1 400
at_most "student alone" 1 500
at_most "student distilled" 1 500
at_most "distilled without a 3" 1 1800
at_least "distilled without a 3" 2 20
finish
