#!/usr/bin/env bash
# Every kind of output from one model; the same bytes twice; optimised IR round-trips.
. "$(dirname "$0")/lib.sh"
model=$SOURCE/examples/demo/teacher.onnxtxt

for out in net.o libnet.a net.so net.s net.ll net; do
	expect 0 '' "$RETORT" compile "$model" -o "$out" --name net
	[ -s "$out" ] || fail "$out is missing"
done
grep -q 'net_run' net.h || fail "net.h has no net_run"
expect 0 '' "$RETORT" compile "$model" -o again.o --name net
same net.o again.o
mkdir members && (cd members && ar x ../libnet.a && ar rcsD again.a net.retort.o) || fail "ar does not read libnet.a"
same libnet.a members/again.a
expect 0 '"retort"' "$RETORT" inspect libnet.a
expect 0 '' "$RETORT" compile "$model" -o dep.o --depfile dep.d
grep -q "^dep.o: .*teacher.onnxtxt" dep.d || fail "dep.d: $(cat dep.d)"
expect 0 'peak: work' "$RETORT" compile "$model" -o plan.o --print-memory-plan
expect 0 'image' "$RETORT" inspect "$model"
expect 0 '# after dce' "$RETORT" compile "$model" --stop-after=dce
[ ! -e stopped.a ] || fail "--stop-after left a library"
expect 0 '"params":' "$RETORT" inspect --json "$model"
expect 0 '' "$RETORT" inspect --svg net.svg "$model"
grep -q '</svg>' net.svg || fail "net.svg is not a picture"
expect 0 'GFLOP/s' "$RETORT" bench "$model" --ms=20
expect 0 '"min_ms"' "$RETORT" bench "$model" --ms=20 --json --threads=2

# text in and out: printing what was parsed changes nothing
expect 0 '' "$RETORT" opt "$model" -o a.rir
expect 0 '' "$RETORT" opt a.rir -o b.rir
same a.rir b.rir
expect 0 '' "$RETORT" opt a.rir --passes=expand,simplify,fold,cse,dce -o c.rir
expect 0 '' "$RETORT" opt c.rir -o d.rir
same c.rir d.rir
for f in net.o libnet.a; do # header and C compiler agree
	cat >use.c <<-'C'
		#include "net.h"
		int main(void) { return net_workspace_size() == 0; }
	C
	cc -std=c99 -Wall -Wextra -Werror use.c "$f" -lm -o use 2>cc.log && ./use || fail "net.h with $f: $(cat cc.log)"
done
if command -v c++ >/dev/null; then
	cp use.c use.cc
	c++ -Wall -Werror use.cc libnet.a -lm -o usepp 2>cc.log || fail "net.h in C++: $(cat cc.log)"
fi
finish
