#!/usr/bin/env bash
# --dry-run: numbers that can be counted by hand, and nothing trained.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 200 100 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .
sed -e 's|teacher/student.onnx|t.onnxtxt|' -e '/^cache:/d' student.yaml >live.yaml
sed 's/= {0}/= {0.01}/' teacher.onnxtxt >t.onnxtxt
says() {
	tests=$((tests + 1))
	grep -qE -- "$1" out || {
		fail "no \"$1\" in:"
		sed 's/^/    /' out
	}
}

"$RETORT" distill live.yaml -o job --dry-run >out || fail "--dry-run"
# 8*25 + 8 + 8 + 3920 + 10 weights, two running statistics of 8
says 'parameters +4162: 4146 trained, 0 frozen, 16 running statistics'
# 609024 a sample in the teacher's convolutions and Gemms, and a little beside
says 'teachers +3\.9[0-9]+e\+07'
says 'student forward '
says 'backward '
says 'update '
says 'batch +64, 3 steps an epoch'
says 'main train +200 samples'
says 'stage main +10 epochs, 30 updates'
says 'lr at epoch +0: 0.005 .* 5: 0.0025 '
says 'term soft +weight 0.7'
says 'metrics +cls.accuracy'
absent job/student.onnx job/metrics.jsonl job/checkpoints

# frozen weights, two stages, a window of accumulation, a schedule with steps
awk '/^train:/ {print "train:\n- {name: a, epochs: 4, optimizer: {sgd: {lr: 0.1}}, schedule: {step: {step_epochs: 2, gamma: 0.5}}, frozen: [\"conv.*\"]}\n" \
	"- {name: b, epochs: 2, optimizer: {sgd: {lr: 0.01}}, accumulate: 2}"; skip = 1; next}
	/^[a-z]/ {skip = 0} !skip' live.yaml >stages.yaml
"$RETORT" distill stages.yaml -o two --dry-run >out || fail "--dry-run of stages"
says 'in stage a'
says 'parameters +4162: 3946 trained, 200 frozen, 16 running statistics'
says 'parameters +4162: 4146 trained, 0 frozen'
says 'stage a +4 epochs, 12 updates'
says 'lr at epoch +0: 0.1 .* 2: 0.05 '
says 'stage b +2 epochs, 4 updates'
says 'of 2 batches each'
# the parts of a step are the step
"$RETORT" distill live.yaml -o job --build-only -q
job/train --dry-run >out
tests=$((tests + 1))
awk '/FLOPs per step/ {all = $4} /%\)/ {sum += $(NF - 2)} END {d = all - sum; if (d < 0) d = -d; exit !(all > 0 && d <= 0.002 * all)}' out ||
	fail "FLOPs: $(cat out)"
finish
