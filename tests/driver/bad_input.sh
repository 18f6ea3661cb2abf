#!/usr/bin/env bash
# What is wrong with a model is said once, with a status by class, and nothing
# half-written stays.
. "$(dirname "$0")/lib.sh"
model=$SOURCE/examples/demo/student.onnxtxt

expect 4 'nowhere.onnx' "$RETORT" compile nowhere.onnx -o out.a
expect 4 'nowhere.onnx' "$RETORT" inspect nowhere.onnx
expect 4 'nowhere.onnx' "$RETORT" check nowhere.onnx
expect 4 'no.npy' "$RETORT" run "$model" image=no.npy
absent out.a out.h

# a true binary model, then pieces of it
"$RETORT" compile "$model" -o ok.a --name ok -q || fail "the demo's student does not compile"
head -c 100 ok.a >garbage.onnx
expect 2 'garbage.onnx' "$RETORT" compile garbage.onnx -o out.a
: >empty.onnx
expect 2 'empty.onnx' "$RETORT" compile empty.onnx -o out.a
printf '\x08\x08\x3a\xff\xff\xff\xff\x0f' >short.onnx
expect 2 'short.onnx' "$RETORT" compile short.onnx -o out.a
absent out.a out.h

sed 's/MaxPool/MaxPoool/' "$model" >op.onnxtxt
expect 3 'MaxPoool' "$RETORT" compile op.onnxtxt -o out.a
sed 's/logits = Gemm/logits = Nonsense/; s/MaxPool/MaxPoool/' "$model" >two.onnxtxt
expect 3 '2 problems' "$RETORT" check two.onnxtxt
sed 's/float\[10,392\]/float[10,391]/' "$model" >shape.onnxtxt
expect 2 '391' "$RETORT" compile shape.onnxtxt -o out.a
sed 's/(r)$/(rr)/' "$model" >name.onnxtxt
expect 2 'rr' "$RETORT" compile name.onnxtxt -o out.a
absent out.a out.h out.o

# a folder that cannot be written
expect 4 'no/such/dir' "$RETORT" compile "$model" -o no/such/dir/out.a
expect 0 'ok' "$RETORT" check "$model"

# textual IR
echo 'graph g {' >bad.rir
expect 2 'bad.rir' "$RETORT" opt bad.rir --passes=cse
expect 4 'none.rir' "$RETORT" opt none.rir --passes=cse
expect 1 '' "$RETORT" opt "$model" --passes=csee
finish
