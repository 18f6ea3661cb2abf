# Sourced by the driver's tests.  $RETORT is the command, $SOURCE the project;
# every test works in a fresh folder and removes it.
set -u
RETORT=${RETORT:?the retort to test}
SOURCE=${SOURCE:?the project}
SHARED=${RETORT_SHARED:-$SOURCE/../shared}
tests=0 failures=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

fail() { failures=$((failures + 1)); echo "FAIL: $*"; }
pass() { :; }

# expect STATUS TEXT COMMAND...: exit status and a part of what it prints
expect() {
	local want=$1 text=$2 got out
	shift 2
	tests=$((tests + 1))
	out=$("$@" 2>&1)
	got=$?
	if [ "$got" -ne "$want" ]; then
		fail "exit $got, not $want: $*"
		printf '%s\n' "$out" | head -n 12 | sed 's/^/    /'
	elif [ -n "$text" ] && ! grep -qF -- "$text" <<<"$out"; then
		fail "\"$text\" not in the output of: $*"
		printf '%s\n' "$out" | head -n 12 | sed 's/^/    /'
	fi
}
absent() {
	tests=$((tests + 1))
	for f in "$@"; do
		[ ! -e "$f" ] || fail "$f was left behind"
	done
}
same() {
	tests=$((tests + 1))
	cmp -s "$1" "$2" || fail "$1 and $2 differ"
}
need_shared() {
	[ -d "$SHARED/data" ] || {
		echo "skipped: no reference data at $SHARED/data (RETORT_SHARED says where)"
		exit 77
	}
}
finish() {
	echo "$tests checks, $failures failed"
	[ "$failures" -eq 0 ]
}
