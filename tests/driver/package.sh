#!/usr/bin/env bash
# cmake --install, then a project of one's own that finds the package.
. "$(dirname "$0")/lib.sh"
build=$(cd "$(dirname "$RETORT")/.." && pwd)
expect 0 '' cmake --install "$build" --prefix "$tmp/prefix"
for f in bin/retort share/man/man1/retort-compile.1; do
	[ -s "prefix/$f" ] || fail "prefix/$f is missing"
done
pc=$(find prefix -name retort.pc)
[ -n "$pc" ] || fail "no retort.pc"
if command -v pkg-config >/dev/null; then
	expect 0 "$tmp/prefix" env PKG_CONFIG_PATH="$tmp/$(dirname "$pc")" pkg-config --cflags retort
	[ -x "$(PKG_CONFIG_PATH=$tmp/$(dirname "$pc") pkg-config --variable=compiler retort)" ] || fail "retort.pc does not lead to the compiler"
fi
mkdir user
cp "$SOURCE/examples/demo/teacher.onnxtxt" user/net.onnxtxt
cat >user/use.c <<'C'
#include "kws.h"
#include <stdio.h>
#include <stdlib.h>
static float image[784], logits[10];
int main(void)
{
	void *work = aligned_alloc(64, (kws_workspace_size() + 63) / 64 * 64 + 64);
	int status = kws_run(image, logits, work, kws_workspace_size());
	printf("%s %g\n", kws_strerror(status), logits[0]);
	free(work);
	return status != KWS_OK;
}
C
cat >user/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(user C)
enable_testing()
find_package(Retort REQUIRED)
retort_add_library(kws MODEL net.onnxtxt)
retort_add_executable(kws_tool MODEL net.onnxtxt FLAGS -O3)
add_executable(use use.c)
target_link_libraries(use PRIVATE kws)
CMAKE
expect 0 '' cmake -S user -B user/build -DCMAKE_PREFIX_PATH="$tmp/prefix"
expect 0 '' cmake --build user/build
expect 0 '' user/build/use
expect 0 '' user/build/kws_tool --help
# an edit of the model builds it again
before=$(stat -c %Y.%s user/build/kws.retort/libkws.a 2>/dev/null)
sleep 1.1
sed -i 's/= {0}/= {0.5}/' user/net.onnxtxt
expect 0 '' cmake --build user/build
[ "$before" != "$(stat -c %Y.%s user/build/kws.retort/libkws.a 2>/dev/null)" ] || fail "the edited model was not compiled again"
# a shared library and a trainer
mkdir train
cp "$SOURCE"/examples/demo/teacher.* train/
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && mkdir train/data && ./draw train/data 100 40 || fail "digits"
cat >train/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(train C)
enable_testing()
find_package(Retort REQUIRED)
retort_add_library(net MODEL teacher.onnxtxt SHARED)
retort_add_trainer(digits RECIPE teacher.yaml)
add_test(NAME dry COMMAND digits --dry-run)
file(WRITE ${CMAKE_BINARY_DIR}/m.c "#include \"net.h\"\nint main(void) { return net_strerror(NET_OK)[0] == 0; }\n")
add_executable(m ${CMAKE_BINARY_DIR}/m.c)
target_link_libraries(m PRIVATE net)
add_test(NAME m COMMAND m)
CMAKE
expect 0 '' cmake -S train -B train/build -DCMAKE_PREFIX_PATH="$tmp/prefix"
expect 0 '' cmake --build train/build
expect 0 '100% tests passed' ctest --test-dir train/build
# the project shipped as an example
cp -r "$SOURCE/examples/cmake-project" example
expect 0 '' cmake -S example -B example/build -DCMAKE_PREFIX_PATH="$tmp/prefix"
expect 0 '' cmake --build example/build
expect 0 '100% tests passed' ctest --test-dir example/build
cp -r "$SOURCE/examples/on-device" device
expect 0 '' cmake -S device -B device/build -DCMAKE_PREFIX_PATH="$tmp/prefix"
expect 0 '' cmake --build device/build
expect 0 '100% tests passed' ctest --test-dir device/build
expect 0 '' prefix/bin/retort compile user/net.onnxtxt -o moved_tool --emit=exe
finish
