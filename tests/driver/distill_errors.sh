#!/usr/bin/env bash
# Mistakes in a recipe and its data: one message with file and line, exit status by
# class, no trainer left.
. "$(dirname "$0")/lib.sh"
mkdir data teacher
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 200 100 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .
cp teacher.onnxtxt teacher/student.onnx # text or binary by content

# wrong STATUS TEXT SED-EXPRESSION: the student's recipe after the edit
wrong() {
	sed "$3" student.yaml >wrong.yaml
	cmp -s student.yaml wrong.yaml && fail "the edit $3 changes nothing"
	expect "$1" "$2" "$RETORT" distill wrong.yaml -o out --build-only
	absent out/train
}
expect 0 '' "$RETORT" distill student.yaml -o ok --build-only
expect 4 'none.yaml' "$RETORT" distill none.yaml -o out
expect 1 'recipe is missing' "$RETORT" distill -o out
wrong 2 'wrong.yaml:2' 's/^retort: 1/retort: 99/'
wrong 2 'epochs' 's/  epochs:/  epoch:/'
wrong 2 'temperature' 's/temperature: 3/temperatur: 3/'
wrong 2 'kaiming' 's/init: kaiming/init: kaming/'
wrong 2 'kd' 's/loss: kd/loss: kdd/'
wrong 2 'big' 's/teacher: big.y/teacher: bog.y/'
wrong 2 'logits' 's/outputs: {y: logits}/outputs: {y: logit}/'
wrong 2 'image' 's/inputs: {image: {field: image, scale/inputs: {imag: {field: image, scale/'
wrong 2 'image' 's/{field: image,/{field: imago,/'
wrong 4 'did you mean "train-images-idx3-ubyte"?' 's/train-images-idx3-ubyte/train-image-idx3-ubyte/'
wrong 4 'there is no folder ' 's/root: data/root: dota/'
wrong 4 'nothing-ubyte' 's/train-images-idx3-ubyte/nothing-ubyte/'
wrong 4 'nowhere.onnx' 's/student.onnxtxt/nowhere.onnx/'
wrong 2 '64' 's/batch: 64/batch: 6400/'
sed 's/10,392/9,392/; s/float\[10\] fc/float[9] fc/; s/float\[N,10\]/float[N,9]/' student.onnxtxt >nine.onnxtxt
wrong 2 '9' 's/student.onnxtxt/nine.onnxtxt/'
# labels beyond the number of classes are found when the trainer reads them
wrong 2 '' 's/classes: 10/classes: 0/' || true
finish
