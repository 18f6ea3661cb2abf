#!/usr/bin/env bash
# The compiler, what it emits and a trainer under memcheck: no invalid access, no use of a
# value never set, no block lost.  Emitted code is for x86-64-v3, as valgrind knows no AVX-512.
. "$(dirname "$0")/lib.sh"
skip() {
	echo "skipped: $*"
	exit 77
}
command -v valgrind >/dev/null || skip "no valgrind"
[ "$(uname -m)" = x86_64 ] || skip "the code is emitted for x86-64 and run here"
grep -q ' fma .* avx2 ' /proc/cpuinfo || skip "no processor for x86-64-v3"
grep -qa __asan_init "$RETORT" && skip "AddressSanitizer and valgrind exclude each other"
target=--cpu=x86-64-v3
demo=$SOURCE/examples/demo

# exit status 0 and nothing found (99)
memcheck() {
	expect 0 '' valgrind -q --error-exitcode=99 --leak-check=full \
		--show-leak-kinds=definite --errors-for-leak-kinds=definite "$@"
}

# A whole compilation: starting LLVM is most of it, and most of this test.
sed 's/= {0}/= {0.01}/' "$demo/student.onnxtxt" >net.onnxtxt
memcheck "$RETORT" compile net.onnxtxt -o libstudent.a --name student $target

# The library in a program of its user, and the executable.
mkdir data
cc -O2 "$demo/draw_digits.c" -lm -o draw && ./draw data 48 16 || fail "digits"
cc -g "$demo/try_student.c" -I. libstudent.a -lm -o try 2>cc.log || fail "try_student: $(cat cc.log)"
memcheck ./try data/test-images-idx3-ubyte data/test-labels-idx1-ubyte .
"$RETORT" compile net.onnxtxt -o student --emit=exe $target -q || fail "compile --emit=exe"
memcheck ./student image.npy -o logits=y.npy
tests=$((tests + 1))
"$NPYDIFF" y.npy logits.npy 1e-6 || fail "executable and library differ"

# A trainer: a convolutional student with batch normalisation, a teacher, Adam, a test set.
sed -e "s|teacher/student.onnx|teacher.onnxtxt|" -e 's|batch: 64|batch: 16|' -e '/^cache:/d' "$demo/student.yaml" >student.yaml
cp "$demo"/*.onnxtxt .
"$RETORT" distill student.yaml -o job --build-only $target -q || fail "distill --build-only"
memcheck job/train --steps 2 --out trained
memcheck job/train --steps 1 --trap --out trapped --init-from trained/checkpoints/last.ckpt
memcheck job/train --dry-run
[ -s trained/student.onnx ] || fail "no trained/student.onnx"
# The trainer as a library, in its example.
cp "$SOURCE"/examples/on-device/* .
cc samples.c -lm -o samples && ./samples . || fail "samples"
"$RETORT" distill recipe.yaml --data . -o device --build-only --emit=static $target -q || fail "distill --emit=static"
sed -i 's/STEPS = 400/STEPS = 6/' train.c
cc -g train.c -Idevice device/libshapes.a -lm -o device/use || fail "train.c"
memcheck device/use
finish
