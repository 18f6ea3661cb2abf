#!/usr/bin/env bash
# The loss of 200 steps of distillation against PyTorch's in float64 on the same batches
# (tests/curves, made by its make.py), one update a line in steps.jsonl; the lines of a
# run that was cut and resumed are those of one that was not.
. "$(dirname "$0")/lib.sh"
need_shared
data=$SHARED/data curves=$SOURCE/tests/curves

# recipe STUDENT TEACHER BATCH INPUT FIELD TRAIN
recipe() {
	cat <<-YAML
		retort: 1
		seed: 7
		data:
		  root: $data
		  train: {$6}
		  batch: $3
		models:
		  student: {onnx: $1, inputs: {$4: $5}, outputs: {cls: logits}}
		  teachers:
		    t: {onnx: $data/teachers/$2.onnx, inputs: {$4: $5}, outputs: {y: logits}}
		tasks:
		  cls: {head: student.cls, target: label}
		terms:
		  hard: {task: cls, loss: ce, weight: 0.1}
		  soft: {task: cls, loss: kd, teacher: t.y, temperature: 4, weight: 0.9}
		train:
		  epochs: 20
		  optimizer: {adam: {lr: 0.001}}
	YAML
}

mnist='image: mnist/train-images-idx3-ubyte.gz, label: {file: mnist/train-labels-idx1-ubyte.gz, classes: 10}'
pixel='{field: image, scale: 0.00392156862745098}'
cifar='{field: image, scale: 0.00392156862745098, normalize: {mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616]}}'
students=$data/students
recipe "$students/mnist_mlp32.onnx" mnist_mlp_teacher 128 image "$pixel" "$mnist" >mnist_mlp32.yaml
recipe "$students/mnist_cnn_small.onnx" mnist_cnn_teacher 128 image "$pixel" "$mnist" >mnist_cnn_small.yaml
recipe "$students/cifar10_resnet8.onnx" cifar10_resnet_teacher 64 image "$cifar" \
	'image: "cifar10/cifar10-subset.tar.gz:cifar10-subset/train"' >cifar10_resnet8.yaml
recipe "$students/rt_textcnn_small.onnx" rt_textcnn_teacher 64 ids '{field: ids}' \
	'ids: rt-polarity/train_ids.npy, label: {file: rt-polarity/train_y.npy, classes: 2}' >rt_textcnn_small.yaml
recipe "$curves/transformer2.onnx" fsdd_cnn_teacher 64 mel '{field: mel}' \
	'mel: fsdd/train_x.npy, label: {file: fsdd/train_y.npy, classes: 10}' >transformer2.yaml

# Of the losses on standard input: the largest relative difference from PyTorch's, the steps,
# those beyond what is allowed: 1e-3, or four times what rounding has done to PyTorch's own
# float32 until then (cifar10_resnet8: 1e-3 after 62 steps, 1.2e-2 after 167).
difference() {
	sed 's/.*"loss": //; s/[,}].*//' | paste - "$1" | awk '
		function off(a, b) { return (a > b ? a - b : b - a) / b }
		{ d = off($1, $2); p = off($3, $2); if (p > own) own = p; if (d > m) m = d; bad += d > 1e-3 && d > 4 * own }
		END { printf "%.2g %d %d\n", m, NR, bad }'
}

for name in mnist_mlp32 mnist_cnn_small cifar10_resnet8 rt_textcnn_small transformer2; do
	expect 0 '' "$RETORT" distill $name.yaml --build-only --precise -o $name
	expect 0 '' $name/train --steps 200 --log-every 1 --out $name --quiet
	read -r worst steps bad < <(difference "$curves/$name.txt" <$name/steps.jsonl)
	echo "$name: $worst from PyTorch's curve"
	tests=$((tests + 1))
	[ "$steps" = 200 ] && [ "$bad" = 0 ] || fail "$name: $bad of $steps steps too far from PyTorch's"
done

expect 0 '' mnist_mlp32/train --steps 120 --log-every 1 --out cut --quiet
expect 0 '' mnist_mlp32/train --steps 200 --log-every 1 --out cut --quiet --resume
same mnist_mlp32/steps.jsonl cut/steps.jsonl
finish
