#!/usr/bin/env bash
# What emitted code needs: libm names only in a library; libc, libm in an executable.
. "$(dirname "$0")/lib.sh"
model=$SOURCE/examples/demo/teacher.onnxtxt
libm='^(expf?|logf?|log1pf?|sinf?|cosf?|tanf?|a(sin|cos|tan)f?|(sin|cos|tan)hf?|a(sin|cos|tan)hf?|erff?|powf?|fmodf?|floorf?|ceilf?|rintf?|memcpy|memset)$'

"$RETORT" compile "$model" -o libnet.a --name net -q || fail compile
"$RETORT" compile "$model" -o net.so --name net -q || fail compile
"$RETORT" compile "$model" -o net --name net -q || fail compile
tests=$((tests + 1))
undefined=$(nm -u libnet.a | awk 'NF == 2 && $1 == "U" {print $2}' | sort -u | grep -vE "$libm")
defined=$(nm libnet.a | awk '$2 ~ /[TRD]/ {print $3}')
for s in $undefined; do
	grep -qx "$s" <<<"$defined" || fail "libnet.a needs $s"
done
tests=$((tests + 1))
foreign=$(nm -D --defined-only net.so | awk '{print $3}' | grep -v '^net' || true)
[ -z "$foreign" ] || fail "net.so exports $foreign"
written=$(nm -D --defined-only net.so | awk '$2 ~ /[BbDd]/ {print $3}' || true)
[ -z "$written" ] || fail "net.so has writable data: $written"
tests=$((tests + 1))
needs=$(ldd net | awk '{print $1}' | grep -vE 'linux-vdso|ld-linux|^libc\.|^libm\.|^libpthread\.' || true)
[ -z "$needs" ] || fail "the executable needs $needs"
finish
