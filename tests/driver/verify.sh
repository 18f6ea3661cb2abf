#!/usr/bin/env bash
# verify: cases in ONNX's layout, their forms, the table, the outcome of each kind.
. "$(dirname "$0")/lib.sh"

# tensor FILE BYTE...: three f32 of these bytes each (0x40 0x80: 4) as a TensorProto
tensor()
{
	local file=$1 b
	shift
	{
		printf '\x08\x03\x10\x01\x4a\x0c'
		for b in "$@"; do
			printf "\\x00\\x00\\x${b:2:2}\\x${b:0:2}"
		done
	} >"$file"
}
# make_case DIR OPERATOR: y = OPERATOR(x) of x = 1, -2, 4; y as given
make_case()
{
	local set=$1/test_data_set_0
	mkdir -p "$set"
	printf '<ir_version: 8, opset_import: ["" : 14]>\ng (float[3] x) => (float[3] y) { y = %s(x) }\n' "$2" >"$1/model.onnx"
	tensor "$set/input_0.pb" 3f80 c000 4080
	shift 2
	tensor "$set/output_0.pb" "$@"
}

make_case tree/good Relu 3f80 0000 4080
make_case tree/deep/wrong Relu 3f80 0000 4000
make_case tree/new Frobnicate 3f80 0000 4080
make_case tree/broken Relu 3f80 0000 4080
printf '<ir_version: 8, opset_import: ["" : 14]>\ng (float[3] x) => (float[3] y) { y = Relu(z) }\n' >tree/broken/model.onnx

expect 0 "verify: 1 passed, 0 failed, 0 unsupported" "$RETORT" verify tree/good
expect 5 "verify: 1 passed, 2 failed, 1 unsupported" "$RETORT" verify --jobs 2 tree
expect 5 "worst at 2: 4, expected 2" "$RETORT" verify tree/deep/wrong
expect 0 "verify: 0 passed, 0 failed, 1 unsupported" "$RETORT" verify tree/new
expect 5 "which nothing makes" "$RETORT" verify tree/broken
expect 0 "verify: 3 passed, 0 failed, 0 unsupported" "$RETORT" verify --as=all tree/good
expect 0 "symbolic sizes: all" "$RETORT" verify --as=symbolic tree/good
expect 1 "static, symbolic, constants or all" "$RETORT" verify --as=both tree/good
expect 0 " 2/2 " "$RETORT" verify --table tree/good tree/good
expect 0 "0 Relu             y " "$RETORT" verify --per-node tree/good
[ -n "${SANITIZED:-}" ] || expect 5 "verify: 0 passed, 1 failed, 0 unsupported" "$RETORT" verify --memory=24 tree/good
expect 5 '"case":"tree/deep/wrong","as":"static","outcome":"failed"' "$RETORT" verify --json tree/deep
expect 1 "no case here" "$RETORT" verify tree/good/test_data_set_0
"$RETORT" verify -q --table -o t.tsv tree >/dev/null
grep -q "^Relu	1/3	-	-	0	f32\$" t.tsv || fail "t.tsv: $(cat t.tsv)"
finish
