#!/usr/bin/env bash
# Verbs and flags: help, typos, values.
. "$(dirname "$0")/lib.sh"
expect 0 "compile" "$RETORT" --help
expect 0 "retort 0" "$RETORT" --version
expect 1 "usage" "$RETORT"
expect 1 'did you mean "compile"' "$RETORT" compil
expect 1 'unknown verb "zzzzzzzz"' "$RETORT" zzzzzzzz
for v in compile distill run verify check inspect bench opt ops passes targets; do
	expect 0 "usage: retort $v" "$RETORT" "$v" --help
done
expect 1 'did you mean "--threads"' "$RETORT" run m.onnx --thread=2
expect 1 'unknown flag "--epochs=3"' "$RETORT" compile m.onnx --epochs=3
expect 1 '"x" is not a number' "$RETORT" bench m.onnx --threads=x
expect 1 'needs a value' "$RETORT" run m.onnx -o
expect 1 'takes no value' "$RETORT" ops --markdown=1
expect 1 'levels are 0 to 3' "$RETORT" compile m.onnx -O7 -o m.o
expect 1 '1 to 1024' "$RETORT" bench m.onnx --threads=0
expect 1 'the model is missing' "$RETORT" compile -o m.o
expect 1 'give one output' "$RETORT" compile m.onnx
expect 1 'suffix says no kind' "$RETORT" compile m.onnx -o m.foo
expect 1 'did you mean "shared"' "$RETORT" compile m.onnx -o m --emit=shred
expect 1 'not a C identifier' "$RETORT" compile m.onnx -o m.o --name=2x
expect 1 'write N=16' "$RETORT" compile "$SOURCE/examples/demo/student.onnxtxt" -o m.o --dim N
expect 3 'only f32' "$RETORT" compile m.onnx -o m.o --precision=int8
expect 1 'never, auto or always' "$RETORT" compile m.onnx -o m.o --blas=maybe
expect 0 'elementwise' "$RETORT" ops
expect 0 '| `conv` | ' "$RETORT" ops --markdown
expect 0 'fold' "$RETORT" passes
expect 0 'x86' "$RETORT" targets
absent m.o m m.h m.foo
finish
