# Models of tests/oracle: results of operators beside those of ONNX Runtime, which are
# constants in the file.  k is 1; every output is a distance in units of what is
# allowed, so that all must lie between 0 and 1.
. "$SOURCE/tests/driver/lib.sh"

scalar() { # FILE BYTES: an f32 of rank 0
	printf '\x93NUMPY\x01\x00\x76\x00%-117s\n'"$2" "{'descr': '<f4', 'fortran_order': False, 'shape': (), }" >"$1"
}
scalar one.npy '\x00\x00\x80\x3f'
scalar zero.npy '\x00\x00\x00\x00'
for f in "$SOURCE"/tests/oracle/*.onnxtxt; do
	refs=$(tr -s '\n ' ' ' <"$f" | grep -oE 'float off\.[A-Za-z0-9_.]+' | sort -u | sed 's/float \(.*\)/--ref \1=zero.npy/')
	[ -n "$refs" ] || fail "$f has no outputs"
	# shellcheck disable=SC2086
	expect 0 "" "$RETORT" verify "$f" k=one.npy $refs --rtol 0 --atol 1
done
finish
