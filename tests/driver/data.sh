#!/usr/bin/env bash
# What a recipe says of its data, and what a run makes of it: augmentations, samplers,
# buckets, interleaved sets; workers, threads, resuming change no byte; mistakes.
. "$(dirname "$0")/lib.sh"

cat >img.onnxtxt <<-'TXT'
	<ir_version: 8, opset_import: ["" : 16]>
	net (float[N,36] x) => (float[N,3] logits)
	<float[3,36] w = {0}, float[3] b = {0}>
	{
	  logits = Gemm <transB = 1> (x, w, b)
	}
TXT
cat >tok.onnxtxt <<-'TXT'
	<ir_version: 8, opset_import: ["" : 16]>
	tok (int64[N,T] ids, float[N,T] mask, float[N] length) => (float[N,3] logits)
	<float[10,6] emb = {0}, float[3,6] fc.weight = {0}, float[3] fc.bias = {0}, int64[1] one = {1}, int64[1] two = {2}>
	{
	  e = Gather (emb, ids)
	  m = Unsqueeze (mask, two)
	  z = Mul (e, m)
	  s = ReduceSum <keepdims = 0> (z, one)
	  n = Unsqueeze (length, one)
	  a = Div (s, n)
	  logits = Gemm <transB = 1> (a, fc.weight, fc.bias)
	}
TXT
# 60 pictures of 36 numbers and a class; 80 rows of up to 8 tokens, 0 behind them
awk 'BEGIN { srand(3)
	for (i = 0; i < 36; i++) printf "p%d,", i
	print "y"
	for (n = 0; n < 60; n++) {
		y = n < 40 ? 0 : n < 55 ? 1 : 2
		for (i = 0; i < 36; i++) printf "%d.5,", (i % 3 == y) * 3 + int(rand() * 3)
		print y
	} }' >img.csv
awk 'BEGIN { srand(4)
	for (i = 0; i < 8; i++) printf "t%d,", i
	print "y"
	for (n = 0; n < 80; n++) {
		len = 1 + int(rand() * 8)
		for (i = 0; i < 8; i++) printf "%d,", i < len ? 1 + n % 3 * 3 + int(rand() * 3) : 0
		print n % 3
	} }' >tok.csv
pixels=$(seq -s, -f 'p%g' 0 35)
ids=$(seq -s, -f 't%g' 0 7)

# job NAME DATA...: a recipe over the pictures
job() {
	local name=$1
	shift
	cat <<-YAML
		retort: 1
		name: $name
		seed: 5
		data:
		  train: {x: "img.csv:$pixels", label: {file: "img.csv:y", classes: 3}}
		  test: {x: "img.csv:$pixels", label: {file: "img.csv:y", classes: 3}}
		  batch: 10
		$(printf '  %s\n' "$@")
		models:
		  student: {onnx: img.onnxtxt, inputs: {x: x}, outputs: {cls: logits}, init: kaiming}
		tasks:
		  cls: {head: student.cls, target: label, metrics: [accuracy]}
		terms:
		  hard: {task: cls, loss: ce}
		train:
		  epochs: 3
		  optimizer: {sgd: {lr: 0.01}}
		emit: {onnx: true}
	YAML
}
tokens() {
	cat <<-YAML
		retort: 1
		name: tokens
		seed: 5
		data:
		  train: {tokens: "tok.csv:$ids", label: {file: "tok.csv:y", classes: 3}}
		  test: {tokens: "tok.csv:$ids", label: {file: "tok.csv:y", classes: 3}}
		  batch: 8
		$(printf '  %s\n' "$@")
		models:
		  student:
		    onnx: tok.onnxtxt
		    inputs: {ids: tokens, mask: {field: tokens, mask: 0}, length: {field: tokens, length: 0}}
		    outputs: {cls: logits}
		    init: kaiming
		tasks:
		  cls: {head: student.cls, target: label, metrics: [accuracy]}
		terms:
		  hard: {task: cls, loss: ce}
		train:
		  epochs: 6
		  optimizer: {adam: {lr: 0.05}}
		emit: {onnx: true}
	YAML
}
two() {
	cat <<-YAML
		retort: 1
		name: two
		seed: 5
		data:
		  interleave: {pictures: 2, words: 1}
		  sets:
		    pictures: {train: {x: "img.csv:$pixels", a: {file: "img.csv:y", classes: 3}}, batch: 10}
		    words: {train: {v: "tok.csv:$ids", b: {file: "tok.csv:y", classes: 3}}, batch: 8}
		models:
		  student: {onnx: two.onnxtxt, inputs: {x: x, v: v}, outputs: {first: first, second: second}, init: kaiming}
		tasks:
		  first: {head: student.first, target: a, metrics: [accuracy]}
		  second: {head: student.second, target: b, metrics: [accuracy]}
		terms:
		  one: {task: first, loss: ce}
		  other: {task: second, loss: ce}
		train:
		  epochs: 4
		  optimizer: {adam: {lr: 0.02}}
		emit: {onnx: true}
	YAML
}
cat >two.onnxtxt <<-'TXT'
	<ir_version: 8, opset_import: ["" : 16]>
	net (float[N,1,36] x, float[M,8] v) => (float[N,3] first, float[M,3] second)
	<float[3,36] w = {0}, float[3] b = {0}, float[3,8] w2 = {0}, float[3] b2 = {0}>
	{
	  f = Flatten <axis = 1> (x)
	  first = Gemm <transB = 1> (f, w, b)
	  second = Gemm <transB = 1> (v, w2, b2)
	}
TXT

# NAME: threads, workers, cuts and resuming leave the same bytes
steady() {
	expect 0 '' "$RETORT" distill "$1.yaml" -o "$1" --build-only -q
	expect 0 '' "$1/train" --out "$1.a" --threads 1
	expect 0 '' "$1/train" --out "$1.b" --threads 2 --steps 5
	expect 0 '' "$1/train" --out "$1.b" --threads 1 --steps 8 --resume
	expect 0 '' "$1/train" --out "$1.b" --threads 2 --resume
	same "$1.a/student.onnx" "$1.b/student.onnx"
	tests=$((tests + 1))
	grep -q '"data_wait": [0-9]' "$1.a/metrics.jsonl" || fail "$1: no data_wait: $(tail -n 1 "$1.a/metrics.jsonl")"
}
all='augment: [{mixup: 0.3}, {noise: {sigma: 0.5, p: 0.5}}]'
job mixed "$all" 'sampler: balanced' >mixed.yaml
steady mixed
job mixed4 "$all" 'sampler: {balanced: label}' 'workers: 4' >mixed4.yaml
steady mixed4
same mixed.a/student.onnx mixed4.a/student.onnx
tokens 'buckets: {field: tokens, lengths: [2, 5, 8]}' 'augment: [{token_dropout: {chance: 0.1, id: 9, keep: [0]}}]' >tokens.yaml
steady tokens
tests=$((tests + 1))
grep -q '"test.cls.accuracy": 1[,}]' tokens.a/metrics.jsonl || fail "tokens: $(tail -n 1 tokens.a/metrics.jsonl)"
two >two.yaml
steady two

# padding counts for nothing: one bucket of all is the same as none
tokens 'buckets: {field: tokens, lengths: [8]}' >one.yaml
tokens >none.yaml
for f in one none; do
	expect 0 '' "$RETORT" distill $f.yaml -o $f -q
done
same one/student.onnx none/student.onnx

# class weights are a weighted mean: weights 2 2 2 are none, and inverse_freq is what it says (40, 15 and 5 of 60)
job plain >plain.yaml
for w in '2, 2, 2' '0.5, 1.3333333333333333, 4'; do
	sed "0,/classes: 3/s//classes: 3, class_weights: [$w]/" plain.yaml >"w${w%%[.,]*}.yaml"
done
sed '0,/classes: 3/s//classes: 3, balance: inverse_freq/' plain.yaml >freq.yaml
for f in plain w2 w0 freq; do
	expect 0 '' "$RETORT" distill $f.yaml -o $f -q
	sed -E 's/"(seconds|data_wait|data_cpu)": [0-9.e-]*//g; s/(: [0-9]\.[0-9]{5})[0-9]*/\1/g' $f/metrics.jsonl >$f.lines
done
same plain.lines w2.lines
same freq.lines w0.lines
tests=$((tests + 1))
cmp -s plain.lines freq.lines && fail "weights change nothing"

# mistakes, with their line and the nearest name
line() { grep -n "$1" "$2" | head -n 1 | cut -d: -f1; }
wrong() { # TEXT DATA...: what is wrong with this data
	local text=$1
	shift
	job wrong "$@" >wrong.yaml
	expect 2 "$text" "$RETORT" distill wrong.yaml -o wrong --build-only
	expect 2 "wrong.yaml:$(line "${1%%:*}:" wrong.yaml): " "$RETORT" distill wrong.yaml -o wrong --build-only
	absent wrong/train
}
wrong 'no augmentation is called "mixap"; did you mean "mixup"?' 'augment: [{mixap: 0.2}]'
wrong 'unknown key "degree" in augment rotate; did you mean "degrees"?' 'augment: [{rotate: {degree: 3}}]'
wrong 'augment noise has no "sigma"' 'augment: [noise]'
wrong 'augment token_dropout needs "id" as well' 'augment: [{token_dropout: 0.1}]'
wrong '"mode" is "mirror"' 'augment: [{crop: {pad: 2, mode: mirror}}]'
wrong '"scale" goes from 0.9 down to 0.1' 'augment: [{random_resized_crop: {scale: [0.9, 0.1]}}]'
wrong '"hue" is -0.7, must lie between -0.5 and 0.5' 'augment: [{color_jitter: {hue: 0.7}}]'
wrong 'augment flip_h acts on no field of the data: it needs samples [H,W] or [C,H,W]' 'augment: [{flip_h: 0.5}]'
wrong 'augment rotate cannot act on field "x", f32[36]: it needs samples [H,W] or [C,H,W]' 'augment: [{rotate: {degrees: 5, fields: [x]}}]'
wrong 'augment mixup: "xx" is no field of the data; did you mean "x"?' 'augment: [{mixup: {alpha: 1, fields: [xx]}}]'
wrong 'no sampler is called "balance"; did you mean "balanced"?' 'sampler: balance'
wrong 'data.sampler: "lable" is no field of the data; did you mean "label"?' 'sampler: {balanced: lable}'
wrong 'balancing needs one class for each sample' 'sampler: {balanced: x}'
wrong '"interleave" needs several data sets' 'interleave: {a: 1}'
wrong 'lengths must rise: 4 comes after 8' 'buckets: {field: x, lengths: [8, 4]}'
wrong 'the longest is 30, field "x" has samples [36]' 'buckets: {field: x, lengths: [10, 30]}'
wrong 'augment mixup mixes whole samples' 'augment: [mixup]' 'buckets: {field: x, lengths: [18, 36]}'
wrong '"workers" is 0, must be between 1 and 16' 'workers: 0'
job fixed 'buckets: {field: x, lengths: [18, 36]}' >fixed.yaml
expect 2 'this is about the bucket of length 18: the model'"'"'s axis there must be symbolic' "$RETORT" distill fixed.yaml -o fixed --build-only
sed 's/words: 1}/word: 1}/' two.yaml >bad.yaml
expect 2 'unknown key "word" in data.interleave; did you mean "words"?' "$RETORT" distill bad.yaml -o bad --build-only
sed 's/, words: 1}/}/' two.yaml >bad.yaml
expect 2 'data.interleave has no share for set "words"' "$RETORT" distill bad.yaml -o bad --build-only
sed '/other:/d' two.yaml >bad.yaml
expect 2 'no term of stage "main" is about set "words"' "$RETORT" distill bad.yaml -o bad --build-only
sed '0,/classes: 3/s//classes: 3, class_weights: [1, 2]/' plain.yaml >bad.yaml
expect 2 'has 2 class_weights for 3 classes' "$RETORT" distill bad.yaml -o bad --build-only
finish
