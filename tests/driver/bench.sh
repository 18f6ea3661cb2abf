#!/usr/bin/env bash
# bench/run models: a row for each model, no path of this machine, what is known is
# not measured again.  Needs onnxruntime-node (PEERS_DIR or NODE_PATH).
. "$(dirname "$0")/lib.sh"
need_shared
export NODE_PATH=${PEERS_DIR:+$PEERS_DIR/node_modules:}${NODE_PATH:-}
node -e 'require("onnxruntime-node")' 2>/dev/null || { echo "skipped: no onnxruntime-node"; exit 77; }

mkdir models
cp "$SHARED"/data/students/mnist_mlp32.onnx "$SHARED"/data/students/mnist_cnn_small.onnx models/
export ROUNDS=1 MS=20 WORK=$tmp/work
expect 0 'mnist_mlp32: 1T' "$SOURCE/bench/run" models models out.md
expect 0 '' "$SOURCE/bench/run" models models again.md
tests=$((tests + 1))
grep -q 'mnist_mlp32: ' <<<"$("$SOURCE/bench/run" models models again.md)" && fail "measured again"
same out.md <(sed 's/again\.svg/out.svg/' again.md)
same out.svg again.svg
expect 0 '' grep -E '^\| mnist_cnn_small \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \| [0-9.]+ \|$' out.md
expect 1 '' grep -E '/[a-z]+/|NaN|undefined' out.md
expect 0 'geometric mean' cat out.svg
finish
