#!/usr/bin/env bash
# One and three training steps against PyTorch's (vectors/NAME/step): loss, every
# gradient, weights after SGD with momentum and Adam.
. "$(dirname "$0")/lib.sh"
need_shared
data=$SHARED/data

# recipe NAME TEACHER BATCHSIZE OPTIMIZER
recipe() {
	cat <<-YAML
		retort: 1
		name: step
		seed: 1
		data:
		  root: $data/vectors/$1/step
		  train: {x: x.npy, label: {file: label.npy, classes: 10}}
		  batch: 32
		models:
		  student: {onnx: $data/students/$1.onnx, inputs: {image: {field: x}}, outputs: {cls: logits}}
		  teachers:
		    t: {onnx: $data/teachers/$2.onnx, inputs: {image: {field: x}}, outputs: {y: logits}}
		tasks:
		  cls: {head: student.cls, target: label, metrics: [accuracy]}
		terms:
		  hard: {task: cls, loss: ce, weight: 0.1}
		  soft: {task: cls, loss: kd, teacher: t.y, temperature: 4, weight: 0.9}
		train:
		  epochs: 3
		  optimizer: {$3}
		emit: {onnx: true}
	YAML
}

# the scalar of a .npy with one number
scalar() { tail -c 4 "$1" | od -A n -t f4 | tr -d ' '; }

for pair in mnist_mlp32:mnist_mlp_teacher mnist_cnn_small:mnist_cnn_teacher; do
	student=${pair%:*} teacher=${pair#*:}
	want=$data/vectors/$student/step
	recipe "$student" "$teacher" "sgd: {lr: 1024}" >plain.yaml
	recipe "$student" "$teacher" "sgd: {lr: 0.05, momentum: 0.9}" >sgd.yaml
	recipe "$student" "$teacher" "adam: {lr: 0.002}" >adam.yaml
	for kind in plain sgd adam; do
		expect 0 '' "$RETORT" distill $kind.yaml -o "$kind" --build-only -q
		for n in 1 3; do
			expect 0 '' "$kind/train" --no-shuffle --steps $n --out "$kind$n"
			expect 0 '' "$WEIGHTS" "$kind$n/student.onnx" "$kind$n/w"
		done
	done
	expect 0 '' "$WEIGHTS" plain1/student.onnx grad "$data/students/$student.onnx" 1024
	for g in "$want"/grad/*.npy; do
		expect 0 '' "$NPYDIFF" "grad/$(basename "$g")" "$g" 2e-5
	done
	for step in sgd1 sgd3 adam1 adam3; do
		for w in "$want/$step"/*.npy; do
			p=$(basename "$w") mask=()
			case $step in adam*) [ -e "$want/grad/$p" ] && mask=("$want/grad/$p" 1e-6) ;; esac
			case $p in *num_batches*) continue ;; esac
			# Adam divides by |gradient| + eps: an element whose first gradient is 1e-8 moves by
			# rounding, and by the third step has moved what depends on its unit
			limit=2e-5
			[ $step = adam3 ] && limit=1e-4
			expect 0 '' "$NPYDIFF" "$step/w/$p" "$w" $limit "${mask[@]}"
		done
	done
	tests=$((tests + 1))
	loss=$(grep -o '"loss": *[0-9.e+-]*' sgd1/metrics.jsonl | head -n 1 | grep -o '[0-9.e+-]*$')
	awk -v a="$loss" -v b="$(scalar "$want/loss.npy")" 'BEGIN {d = a - b; if (d < 0) d = -d; exit !(a != "" && d <= 2e-6 * b)}' ||
		fail "$student: loss $loss, PyTorch has $(scalar "$want/loss.npy")"
	rm -rf plain* sgd* adam* grad
done
finish
