# Sourced by the tests of examples: the shortened run and numbers out of its table.
. "$SOURCE/tests/driver/lib.sh"

# example NAME OPTIONS...: its output in ./log; skipped without its data. DATA= (empty): it
# makes its own.
DATA=$SHARED/data
example() {
	local name=$1 status
	shift
	tests=$((tests + 1))
	"$SOURCE/examples/$name/run" ${DATA:+--data "$DATA"} --out "$tmp/out" --quick "$@" >log 2>&1
	status=$?
	grep '^|' log
	case $status in
	0) ;;
	77) tail -n 1 log && exit 77 ;;
	*) fail "examples/$name/run: exit $status" && tail -n 20 log ;;
	esac
}

# cell ROW COLUMN: of the table, columns from 1
cell() { grep -F "| $1 |" log | head -n 1 | awk -F'|' -v c="$2" '{ split($(c + 2), n, " "); print n[1] }'; }

# at_least ROW COLUMN LEAST [ROW COLUMN]: a cell is no less than LEAST, more than the other
# cell where one is named
at_least() {
	local got other=0
	tests=$((tests + 1))
	got=$(cell "$1" "$2")
	[ $# -lt 5 ] || other=$(cell "$4" "$5")
	awk -v a="${got:-none}" -v b="$other" -v d="$3" 'BEGIN { exit !(a + 0 == a && a - b >= d) }' ||
		fail "$1, column $2: ${got:-nothing}, should be at least $3 ${4:+more than $4, $other}"
}
