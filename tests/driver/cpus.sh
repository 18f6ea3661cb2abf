#!/usr/bin/env bash
# Code for several CPUs in one object: each is taken where it belongs (valgrind's CPU has no
# AVX-512), gives the bytes of an object for it alone, in every kind of output, static
# programs among them; what cannot be told apart is refused.
. "$(dirname "$0")/lib.sh"
[ "$(uname -m)" = x86_64 ] || { echo "skipped: the code is emitted for x86-64 and run here"; exit 77; }
sed 's/= {0}/= {0.0123}/' "$SOURCE/examples/demo/teacher.onnxtxt" >net.onnxtxt
list=x86-64-v4,x86-64-v2,x86-64-v3

# prints the CPU whose code runs and the outputs; fails where the C compiler's own
# detection says another of the list
cat >use.c <<'C'
#include "net.h"
#include <stdio.h>
#include <string.h>

static _Alignas(NET_WORKSPACE_ALIGN) unsigned char work[NET_WORKSPACE_SIZE];
static float image[NET_IMAGE_ELEMS], logits[NET_LOGITS_ELEMS];

static void
here(void *ctx, int n, void (*body)(void *, int), void *arg)
{
	(void)ctx;
	for (int i = n; i--;)
		body(arg, i);
}

int
main(int argc, char **argv)
{
	const char *cpu = "none", *said = strstr(net_manifest(), "\"cpu\":\"") + 7;
	float first[NET_LOGITS_ELEMS];

#define TRY(name) if (strstr(argv[1], name) && __builtin_cpu_supports(name)) cpu = name
	TRY("x86-64-v2");
	TRY("x86-64-v3");
	TRY("x86-64-v4");
	for (int i = 0; i < NET_IMAGE_ELEMS; i++)
		image[i] = (float)(i * 37 % 101) / 50 - 1;
	if (net_workspace_size() != sizeof work || net_run(image, logits, work, sizeof work))
		return 1;
	memcpy(first, logits, sizeof first);
	if (net_run_mt(image, logits, work, sizeof work, here, NULL) || memcmp(first, logits, sizeof first))
		return 2;
	for (int i = 0; i < NET_LOGITS_ELEMS; i++)
		printf("%a\n", logits[i]);
	fprintf(stderr, "%.9s\n", said);
	return argc == 2 && strncmp(said, cpu, 9) == 0 ? 0 : 3;
}
C
build() { # NAME CPUS CC-FLAGS
	"$RETORT" compile net.onnxtxt -q --cpu="$2" --name net -o "libnet$1.a" || fail "compile --cpu=$2"
	cc -std=gnu11 -Wall -Werror use.c "libnet$1.a" -lm -o "$1" ${3-} 2>cc.log || fail "$1: $(cat cc.log)"
}
build all $list
build fixed $list -static
build two x86-64-v2,x86-64-v4
for c in v2 v3 v4; do
	build $c x86-64-$c
done

# which ones run here; valgrind where there is one, and the bytes of the CPU alone
runs() { # COMMAND... : the CPU that it says
	tests=$((tests + 1))
	"$@" >got 2>said || fail "exit $?: $* ($(tail -n 1 said))"
	cpu=$(tail -n 1 said)
}
alone() { # COMMAND before the program: got is what the CPU's own library gives
	tests=$((tests + 1))
	"$@" ./"${cpu#x86-64-}" $cpu >want 2>/dev/null || fail "$cpu alone"
	cmp -s got want || fail "$cpu of a list is not $cpu alone"
}
for exe in all fixed; do
	runs ./$exe $list
	alone env
done
here=$cpu
runs ./two x86-64-v2,x86-64-v4
alone env
if command -v valgrind >/dev/null && ! grep -qa __asan_init "$RETORT" && [ $here != x86-64-v2 ]; then
	runs valgrind -q --error-exitcode=99 ./all $list
	[ "$cpu" = x86-64-v3 ] || fail "valgrind's CPU took $cpu"
	alone valgrind -q
	runs valgrind -q --error-exitcode=99 ./two x86-64-v2,x86-64-v4
	[ "$cpu" = x86-64-v2 ] || fail "valgrind's CPU took $cpu of v2 and v4"
	alone valgrind -q
fi

# a shared library and an executable
expect 0 '' "$RETORT" compile net.onnxtxt --cpu=$list --name net -o net.so
cc -std=gnu11 use.c ./net.so -o shared 2>cc.log || fail "net.so: $(cat cc.log)"
runs env LD_LIBRARY_PATH=. ./shared $list
cpu=$here
alone env
expect 0 '' "$RETORT" compile net.onnxtxt --cpu=$list -o net
expect 0 '' "$RETORT" compile net.onnxtxt --cpu=$here -o one
{
	printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 28, 28), }"
	head -c 3136 /dev/zero | tr '\0' =
} >image.npy
expect 0 '' ./net image.npy -o got.npy
expect 0 '' ./one image.npy -o want.npy
same got.npy want.npy
expect 0 '"cpu":"x86-64-v3"' "$RETORT" inspect net
expect 0 '' "$RETORT" compile net.onnxtxt --cpu=$list -o net.s

expect 1 'v4 only' "$RETORT" compile net.onnxtxt -o net.o --cpu=x86-64-v2,haswell
expect 1 'twice' "$RETORT" compile net.onnxtxt -o net.o --cpu=x86-64-v2,x86-64-v2
expect 1 'at most 4' "$RETORT" compile net.onnxtxt -o net.o --cpu=x86-64,x86-64-v2,x86-64-v3,x86-64-v4,x86-64
expect 1 'for retort compile' "$RETORT" bench net.onnxtxt --cpu=x86-64-v2,x86-64-v3
finish
