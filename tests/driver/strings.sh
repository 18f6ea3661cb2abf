#!/usr/bin/env bash
# Strings from the command line and in libraries: .npy files, a C caller with the static
# and with the shared library (under valgrind where it is installed), what is refused.
. "$(dirname "$0")/lib.sh"
cat >words.onnxtxt <<'END'
<ir_version: 9, opset_import: ["" : 20, "ai.onnx.ml" : 4]>
words (string[3] x, string[1] y) => (string[3] z, bool[3] match, bool[3] same, int64[3] place, string[3] label) {
  k = Constant <value_strings = ["a", "bc", ""]> ()
  z = StringConcat(x, y)
  match = RegexFullMatch <pattern = "[a-c]+[!]"> (z)
  same = Equal(x, k)
  place = ai.onnx.ml.LabelEncoder <keys_strings = ["", "bc"], values_int64s = [0, 1]> (x)
  label = ai.onnx.ml.LabelEncoder <keys_strings = ["bc"], values_strings = ["two"], default_string = "none"> (x)
}
END
cat >bad.onnxtxt <<'END'
<ir_version: 9, opset_import: ["" : 20]>
bad (string[3] x) => (bool[3] m) {
  m = RegexFullMatch <pattern = "a(b"> (x)
}
END
cat >number.onnxtxt <<'END'
<ir_version: 9, opset_import: ["" : 20]>
number (string[1] x) => (float[1] y) {
  y = Cast <to = 1> (x)
}
END
# sizes that the data decides
cat >sizes.onnxtxt <<'END'
<ir_version: 9, opset_import: ["" : 20]>
sizes (string[N] x, uint8[M] image) => (string[u] kept, string[N,p] parts, int64[N] count, uint8[h,w,c] pixels) {
  kept = StringNormalizer <stopwords = ["b"], case_change_action = "UPPER"> (x)
  parts, count = StringSplit <delimiter = "b"> (x)
  pixels = ImageDecoder <pixel_format = "BGR"> (image)
}
END
# an array of n strings of one byte each, as NumPy writes it
array() {
	local head="{'descr': '|S1', 'fortran_order': False, 'shape': ($1,), }" size
	size=${#head}
	printf '\x93NUMPY\x01\x00'
	printf "\\x$(printf %02x "$size")\\x00%s%s" "$head" "$2"
}
array 3 abc >x.npy
array 1 '!' >y.npy
array 1 7 >seven.npy

expect 0 'z str[3] "a!" "b!" "c!"' "$RETORT" run words.onnxtxt x=x.npy y=y.npy
expect 0 'same bool[3] 1 0 0' "$RETORT" run words.onnxtxt x=x.npy y=y.npy
expect 0 '' "$RETORT" run words.onnxtxt x=x.npy y=y.npy -o z=z.npy
expect 0 'label str[3] "none" "none" "none"' "$RETORT" run words.onnxtxt x=z.npy y=y.npy
expect 0 'y f32[1] 7' "$RETORT" run number.onnxtxt x=seven.npy
expect 2 'does not hold one' "$RETORT" run number.onnxtxt x=y.npy
expect 2 'pattern "a(b", at 3: group without its )' "$RETORT" check bad.onnxtxt
expect 3 'emit a library for strings' "$RETORT" compile words.onnxtxt -o words --emit=exe

head="{'descr': '|u1', 'fortran_order': False, 'shape': (17,), }"
printf "\\x93NUMPY\\x01\\x00\\x$(printf %02x ${#head})\\x00%s" "$head" >image.npy
printf 'P6\n2 1\n255\n\x01\x02\x03\xFA\x96\x32' >>image.npy
for form in '' '--dim N=1..5 --dim M=1..100'; do
	expect 0 'kept str[2] "A" "C"' "$RETORT" run sizes.onnxtxt x=x.npy image=image.npy $form
	expect 0 'parts str[3,2] "a" "" "" "" "c" ""' "$RETORT" run sizes.onnxtxt x=x.npy image=image.npy $form
	expect 0 'count i64[3] 1 2 1' "$RETORT" run sizes.onnxtxt x=x.npy image=image.npy $form
	expect 0 'pixels u8[1,2,3] 3 2 1 50 150 250' "$RETORT" run sizes.onnxtxt x=x.npy image=image.npy $form
done

caller=$(dirname "$0")/strings.c
for kind in a so; do
	expect 0 '' "$RETORT" compile words.onnxtxt -o "libwords.$kind" --name words --cpu=x86-64-v3
	expect 0 '' cc -g -Wall -Werror -I. "$caller" "libwords.$kind" -Wl,-rpath,. -lm -o "caller.$kind"
	[ "$(uname -m)" = x86_64 ] && grep -q ' fma .* avx2 ' /proc/cpuinfo || continue
	expect 0 '' "./caller.$kind"
	if command -v valgrind >/dev/null && ! grep -qa __asan_init "$RETORT"; then
		expect 0 '' valgrind -q --error-exitcode=99 --leak-check=full "./caller.$kind"
	fi
done
# the shared library has nothing for others but its own entry points
tests=$((tests + 1))
nm -D --defined-only libwords.so | grep -q rt_host && fail "libwords.so exports host functions"
finish
