#!/bin/sh
# An executable needs libc, libm and libpthread at most, and runs.
set -e
extra=$(ldd "$1" | grep -v -E 'linux-vdso|libc\.so|libm\.so|libpthread\.so|ld-linux' || true)
[ -z "$extra" ] || { echo "needs more than libc, libm, libpthread: $extra"; exit 1; }
"$1" --help >/dev/null
