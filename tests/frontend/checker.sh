#!/usr/bin/env bash
# What the exporter and the text reader write passes ONNX's own checker, where
# python3-onnx is installed.
tool=$1 source=$2
shared=${RETORT_SHARED:-$source/../shared}
if ! /usr/bin/python3 -c 'import onnx' 2>/dev/null; then
	echo "skipped: no python3-onnx"
	exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for f in "$source"/examples/demo/*.onnxtxt; do
	"$tool" -t "$f" "$dir/text_$(basename "$f" .onnxtxt).onnx" || exit 1
	"$tool" "$f" "$dir/demo_$(basename "$f" .onnxtxt).onnx" || exit 1
done
for f in "$shared"/data/students/*.onnx "$shared"/data/teachers/*.onnx; do
	[ -e "$f" ] && { "$tool" "$f" "$dir/$(basename "$f")" || exit 1; }
done
/usr/bin/python3 - "$dir"/*.onnx <<'EOF'
import sys
import onnx
for f in sys.argv[1:]:
    onnx.checker.check_model(onnx.load(f), full_check=True)
print(len(sys.argv) - 1, "files pass")
EOF
