#!/usr/bin/env bash
# Optimisers, schedules, groups, clipping, averages and accumulation through whole recipes:
# the trained weights against PyTorch's, kills in the middle of a window, mistakes.
. "$(dirname "$0")/lib.sh"

# 24 samples of x (3) and y (2), all functions of their number
awk 'BEGIN {print "a,b,c,u,v"
	for (i = 0; i < 24; i++)
		printf "%.6f,%.6f,%.6f,%.6f,%.6f\n", sin(3*i+1), sin(3*i+2), sin(3*i+3), cos(2*i), cos(2*i+1.7)}' >train.csv
values() { awk -v from="$1" -v n="$2" 'BEGIN {for (i = from; i < from + n; i++) printf "%s%.4f", (i > from ? ", " : ""), 0.5 * sin(1.3 * i + 0.4)}'; }
# net BODY: from x to y
net() {
	cat <<-TXT
		<ir_version: 8, opset_import: ["" : 16]>
		net (float[N,3] x) => (float[N,2] y)
		<float[5,3] fc1.weight = {$(values 0 15)}, float[5] fc1.bias = {$(values 15 5)},
		 float[2,5] fc2.weight = {$(values 20 10)}, float[2] fc2.bias = {$(values 30 2)}>
		{
		  h = Gemm <transB = 1> (x, fc1.weight, fc1.bias)
		  t = Tanh (h)
		  $1
		}
	TXT
}
net 'y = Gemm <transB = 1> (t, fc2.weight, fc2.bias)' >net.onnxtxt

# recipe TRAIN [BATCH] [NET]
recipe() {
	cat <<-YAML
		retort: 1
		name: update
		seed: 3
		data:
		  train: {x: "train.csv:a,b,c", y: "train.csv:u,v"}
		  test: {x: "train.csv:a,b,c", y: "train.csv:u,v"}
		  batch: ${2:-4}
		  shuffle: false
		models:
		  student: {onnx: ${3:-net.onnxtxt}, inputs: {x: {field: x}}, outputs: {y: y}}
		tasks:
		  fit: {head: student.y, target: y}
		terms:
		  fit: {task: fit, loss: mse}
		train: {$1}
		emit: {onnx: true}
	YAML
}
# trained NAME TRAIN [BATCH] [NET]: weights in NAME/w
trained() {
	recipe "$2" "${3:-}" "${4:-}" >"$1.yaml"
	expect 0 '' "$RETORT" distill "$1.yaml" -o "$1" --threads 1
	expect 0 '' "$WEIGHTS" "$1/student.onnx" "$1/w"
}
floats() { od -A n -v -t f4 -j 128 "$1" | tr -s ' \n' '\n' | sed '/^$/d'; }
all_weights() { for w in fc1.weight fc1.bias fc2.weight fc2.bias; do floats "$1/w/$w.npy"; done; }

# like NAME SQUARES A B: the sum of all squares, fc1.weight[0][1], fc2.bias[1] after two epochs
like() {
	tests=$((tests + 1))
	all_weights "$1" | awk -v want="$2 $3 $4" '{s += $1 * $1; w[NR] = $1} END {
		split(want, t, " "); got[1] = s; got[2] = w[2]; got[3] = w[32]
		for (i = 1; i <= 3; i++) {d = got[i] - t[i]; if (d < 0) d = -d; if (!(d <= 3e-6)) bad = 1}
		if (bad || NR != 32) {print NR " weights: " got[1], got[2], got[3]; exit 1}}' ||
		fail "$1: PyTorch has $2 $3 $4"
}

# PyTorch 1.13: the same network and batches in float32, epochs: 2, so 12 updates; the script
# printed the three numbers.  LAMB and Lion are written out there from their papers, NAdam
# is the foreach form, one-cycle without its cycle of momentum but where it says so.
trained rmsprop 'epochs: 2, optimizer: {rmsprop: {lr: 0.01, centered: true, momentum: 0.5}}, schedule: {exponential: {gamma: 0.5}}'
like rmsprop 3.035181 0.6086583 -0.1263582
trained sgd 'epochs: 2, optimizer: {sgd: {lr: 0.1, momentum: 0.9, nesterov: true}}, clip: {norm: 0.5}, schedule: {onecycle: {max_lr: 0.3}}'
like sgd 2.62251 0.6433061 -0.1638658
trained adamw 'epochs: 2, optimizer: {adamw: {lr: 0.02, weight_decay: 0.3}}, groups: [{max_rank: 1, weight_decay: 0}, {match: "fc2.*", lr_scale: 0.1}], schedule: {cosine: {warmup_steps: 3, warmup_start: 0.1}}'
like adamw 3.692299 0.5468132 -0.04547083
trained adagrad 'epochs: 2, optimizer: {adagrad: {lr: 0.1}}, accumulate: 4'
like adagrad 3.8444 0.6315041 -0.1187779
trained ema 'epochs: 2, optimizer: {sgd: {lr: 0.1}}, ema: {decay: 0.95, warmup: true}'
like ema 2.973712 0.5481674 -0.156931
trained adadelta 'epochs: 2, optimizer: {adadelta: {lr: 1}}, clip: {value: 0.05}'
like adadelta 3.684507 0.5103965 0.02935146
trained adam 'epochs: 2, optimizer: {adam: {lr: 0.02, betas: [0.8, 0.9], amsgrad: true}}, schedule: {polynomial: {power: 2}}'
like adam 3.454263 0.5541041 -0.01464535
trained nadam 'epochs: 2, optimizer: {nadam: {lr: 0.02}}'
like nadam 3.337025 0.5679331 -0.07902824
trained radam 'epochs: 2, optimizer: {radam: {lr: 0.02}}'
like radam 3.615572 0.5177895 0.01434935
trained lamb 'epochs: 2, optimizer: {lamb: {lr: 0.02, weight_decay: 0.1}}, schedule: {linear: {min_lr: 0.002}}'
like lamb 3.732208 0.5510814 0.02443579
trained lion 'epochs: 2, optimizer: {lion: {lr: 0.01, weight_decay: 0.1}}, schedule: {cosine: {cycle_epochs: 1}}'
like lion 3.517242 0.5322 -0.0001720695
trained cycled_sgd 'epochs: 2, optimizer: {sgd: {lr: 0.1, momentum: 0.9, nesterov: true}}, schedule: {onecycle: {max_lr: 0.3, cycle_momentum: true}}'
like cycled_sgd 3.920573 0.8499952 -0.04462922
trained cycled_adam 'epochs: 2, optimizer: {adamw: {lr: 0.02}}, schedule: {onecycle: {cycle_momentum: true, base_momentum: 0.6, max_momentum: 0.9}}'
like cycled_adam 3.510395 0.5299242 -0.01771405

# what is exported is what was evaluated, averages included: the same loss without training on
loss_of() { tail -n 1 "$1/metrics.jsonl" | grep -o '"test.loss": [^,]*' | cut -d ' ' -f 2; }
cp ema/student.onnx averaged.onnx
trained again 'epochs: 1, optimizer: {sgd: {lr: 0}}' 4 averaged.onnx
tests=$((tests + 1))
[ "$(loss_of ema)" = "$(loss_of again)" ] || fail "averages: test.loss $(loss_of ema), of the export $(loss_of again)"

# windows of two batches of 4 are batches of 8; a rate and a clip on top
how='epochs: 3, optimizer: {adam: {lr: 0.02, weight_decay: 0.01}}, clip: {norm: 0.3}, schedule: {cosine: {}}'
trained small "$how, accumulate: 2" 4
trained large "$how" 8
for w in fc1.weight fc1.bias fc2.weight fc2.bias; do
	expect 0 '' "$NPYDIFF" "small/w/$w.npy" "large/w/$w.npy" 2e-6
done

# every batch of a window draws its own numbers: the window of two equal batches is not the one
sed -n '1,5p' train.csv >same.csv
sed -n '2,5p' train.csv >>same.csv
net 'ratio = Constant <value_float = 0.5> ()
  yes = Constant <value = bool {1}> ()
  d = Dropout (t, ratio, yes)
  y = Gemm <transB = 1> (d, fc2.weight, fc2.bias)' >drop.onnxtxt
for k in 1 2; do
	recipe "epochs: 1, optimizer: {sgd: {lr: 0.1}}, accumulate: $k" 4 drop.onnxtxt | sed 's/train.csv/same.csv/g' >"drop$k.yaml"
	expect 0 '' "$RETORT" distill "drop$k.yaml" -o "drop$k" --threads 1 --steps 1
done
tests=$((tests + 1))
cmp -s drop1/student.onnx drop2/student.onnx && fail "both batches of a window dropped the same"

# a frozen group stays, the rest does not
recipe 'epochs: 1, optimizer: {sgd: {lr: 0.1}}, groups: [{match: ["fc1.*", "nothing*"], frozen: true}]' >part.yaml
expect 2 'no parameter matches "nothing*"' "$RETORT" distill part.yaml -o part2 --build-only
expect 2 'part.yaml:15' "$RETORT" distill part.yaml -o part2 --build-only
recipe 'epochs: 1, optimizer: {sgd: {lr: 0.1}}, groups: [{match: "fc1.wieght", weight_decay: 0}]' >typo.yaml
expect 2 'did you mean "fc1.weight"' "$RETORT" distill typo.yaml -o typo --build-only
trained part 'epochs: 1, optimizer: {sgd: {lr: 0.1}}, groups: [{match: "fc1.*", frozen: true}]'
tests=$((tests + 2))
[ "$(floats part/w/fc1.weight.npy | sed -n 2p | cut -c1-6)" = "$(values 1 1)" ] || fail "a frozen weight moved: $(floats part/w/fc1.weight.npy | sed -n 2p), was $(values 1 1)"
[ "$(floats part/w/fc2.bias.npy | sed -n 2p | cut -c1-6)" != "$(values 31 1)" ] || fail "fc2.bias did not move"

# stopped and killed at any moment, in the middle of windows too: the same bytes
{
	cat train.csv
	for n in {1..49}; do sed 1d train.csv; done
} >many.csv # 301 steps an epoch: windows of 4 and one of 1
sed -n 2,5p train.csv >>many.csv
recipe 'epochs: 2500, optimizer: {lamb: {lr: 0.002}}, accumulate: 4, clip: {norm: 1}, ema: {decay: 0.99}, schedule: {plateau: {factor: 0.9, patience: 3, cooldown: 2, min_lr: 0.0001}}' |
	sed 's/train.csv/many.csv/g; /^  test:/d' >long.yaml
expect 0 '' "$RETORT" distill long.yaml -o long --build-only
expect 0 '' long/train --out whole --quiet --threads 1
middle=0
for n in 1 2 3 4 5 6 7 8; do
	long/train --out cut --quiet --threads 1 --resume >stopped 2>&1 &
	pid=$!
	sleep 0.08
	kill -INT $pid 2>/dev/null
	wait $pid 2>/dev/null
	step=$(grep -o 'step [0-9]* of' stopped | grep -o '[0-9]*')
	middle=$((middle + (${step:-0} % 4 != 0)))
	long/train --out cut --quiet --threads 2 --resume >/dev/null 2>&1 &
	pid=$!
	sleep 0.06
	kill -9 $pid 2>/dev/null
	wait $pid 2>/dev/null
done
tests=$((tests + 1))
[ $middle -gt 0 ] || fail "no stop in the middle of a window"
expect 0 '' long/train --out cut --quiet --resume --threads 2
same whole/student.onnx cut/student.onnx

# interleaved sets: a window of one batch of each is the step that takes both, with half its rate
{
	echo a,b,c,u,v
	sed 1d train.csv | head -n 12
} >one.csv
{
	echo d,e,f,s,t
	sed 1d train.csv | tail -n 12
} >two.csv
net 'y = Gemm <transB = 1> (t, fc2.weight, fc2.bias)
  z = Gemm <transB = 1> (t, fc3.weight, fc3.bias)' | sed "s/=> (float\[N,2\] y)/=> (float[N,2] y, float[N,2] z)/
	s/> *\$/&/; s/float\[2\] fc2.bias = {[^}]*}/&, float[2,5] fc3.weight = {$(values 32 10)}, float[2] fc3.bias = {$(values 42 2)}/" >heads.onnxtxt
# heads TRAIN DATA
heads() {
	cat <<-YAML
		retort: 1
		name: heads
		data:
		  sets:
		    one: {train: {x: "one.csv:a,b,c", y: "one.csv:u,v"}, batch: 4}
		    two: {train: {x: "two.csv:d,e,f", z: "two.csv:s,t"}, batch: 4}
		  shuffle: false
		  $2
		models:
		  student: {onnx: heads.onnxtxt, inputs: {x: {field: x}}, outputs: {y: y, z: z}}
		tasks:
		  y: {head: student.y, target: y, data: one}
		  z: {head: student.z, target: z, data: two}
		terms:
		  y: {task: y, loss: mse}
		  z: {task: z, loss: mse}
		train: {$1}
		emit: {onnx: true}
	YAML
}
more='ema: {decay: 0.9}, groups: [{match: "fc3.*", weight_decay: 0}]'
heads "epochs: 3, optimizer: {sgd: {lr: 0.1, momentum: 0.9}}, $more" '' >both.yaml
heads "epochs: 3, optimizer: {sgd: {lr: 0.2, momentum: 0.9}}, accumulate: 2, $more" 'interleave: {one: 1, two: 1}' >turns.yaml
for f in both turns; do
	expect 0 '9 updates' "$RETORT" distill $f.yaml -o $f --threads 1
	expect 0 '' "$WEIGHTS" $f/student.onnx $f/w
done
for w in fc1.weight fc1.bias fc2.weight fc2.bias fc3.weight fc3.bias; do
	expect 0 '' "$NPYDIFF" "both/w/$w.npy" "turns/w/$w.npy" 2e-6
done

# a gradient that is not finite is reported, whatever the loss
net 'z = Sub (t, t)
  r = Sqrt (z)
  q = Add (t, r)
  y = Gemm <transB = 1> (q, fc2.weight, fc2.bias)' >sqrt.onnxtxt
recipe 'epochs: 1, optimizer: {sgd: {lr: 0.1}}, clip: {norm: 1}' 4 sqrt.onnxtxt >sqrt.yaml
expect 0 '' "$RETORT" distill sqrt.yaml -o sqrt --build-only
expect 5 'the norm of the gradients is not finite' sqrt/train --out sqrt
finish
