#!/usr/bin/env bash
# Numbers that are not finite: which operator, which step, or whose data.
. "$(dirname "$0")/lib.sh"

# rows of four numbers and a class; row BAD of column b holds TEXT
table() {
	awk -v n="$1" -v bad="$2" -v text="$3" 'BEGIN {
		print "a,b,c,d,y"
		for (i = 0; i < n; i++)
			print (i % 3) ".5,", (i == bad ? text : i % 5) ",", (i % 7) ",1," i % 3
	}' | tr -d ' '
}
cat >net.onnxtxt <<-'TXT'
	<ir_version: 8, opset_import: ["" : 16]>
	net (float[N,4] x) => (float[N,3] logits)
	<float[8,4] fc1.weight = {0}, float[8] fc1.bias = {0}, float[3,8] fc2.weight = {0}, float[3] fc2.bias = {0}>
	{
	  h = Gemm <transB = 1> (x, fc1.weight, fc1.bias)
	  r = Relu (h)
	  logits = Gemm <transB = 1> (r, fc2.weight, fc2.bias)
	}
TXT
# recipe LR SCALE
recipe() {
	cat <<-YAML
		retort: 1
		name: trap
		seed: 3
		data:
		  train: {x: "train.csv:a,b,c,d", label: {file: "train.csv:y", classes: 3}}
		  val: {x: "val.csv:a,b,c,d", label: {file: "val.csv:y", classes: 3}}
		  batch: 10
		models:
		  student: {onnx: net.onnxtxt, inputs: {x: {field: x, scale: $2}}, outputs: {cls: logits}, init: kaiming}
		tasks:
		  cls: {head: student.cls, target: label, metrics: [accuracy]}
		terms:
		  hard: {task: cls, loss: ce}
		train:
		  epochs: 4
		  optimizer: {adam: {lr: $1}}
		  schedule: constant
		emit: {onnx: true}
	YAML
}
table 60 -1 0 >train.csv
table 20 -1 0 >val.csv

# sound: the trap changes no byte
recipe 0.01 1 >sound.yaml
expect 0 '' "$RETORT" distill sound.yaml -o sound --build-only -q
expect 0 '' sound/train --out a
expect 0 '' sound/train --out b --trap
same a/student.onnx b/student.onnx

# too fast a rate: found in the step that did it, from the start and with the trap set alike
recipe 1000000 1e15 >fast.yaml
expect 0 '' "$RETORT" distill fast.yaml -o fast --build-only -q
expect 5 'is not finite at epoch' fast/train --out c
expect 5 'the first operator to write one is' fast/train --out c
expect 5 'its inputs were' fast/train --out c
tests=$((tests + 1))
fast/train --out c 2>&1 >/dev/null | sed 's/.*is not finite/is not finite/' >plain
fast/train --out d --trap 2>&1 >/dev/null | sed 's/.*is not finite/is not finite/' >trapped
cmp -s plain trapped || fail "the replay says $(cat plain), the trap $(cat trapped)"
grep -q 'node "' plain || fail "no node in: $(cat plain)"

# from a checkpoint: the message tells the same step and operator
expect 0 '' fast/train --out e --steps 1
expect 5 "$(grep -o 'the first operator.*, node "[^"]*"' plain)" fast/train --out e --resume

# what the data brings along is told as such
table 60 17 nan >train.csv
expect 2 'data: sample 17 of field "x" holds nan (value 1 of the sample), in' sound/train --out f
table 60 17 inf >train.csv
expect 2 'data: sample 17 of field "x" holds inf' sound/train --out f
table 60 -1 0 >train.csv
table 20 6 nan >val.csv
expect 2 'data: sample 6 of field "x" holds nan' sound/train --out f
finish
