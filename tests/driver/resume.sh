#!/usr/bin/env bash
# A run that is killed at any moment and gone on with ends with the bytes of one left
# alone: student, log but for its times, checkpoints.  Checkpoints of their own, early
# stopping, starting from weights of another run.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 600 100 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .

# SGD with momentum, random crops and flips, dropout, a val split, a schedule with memory
sed 's/  p = MaxPool/  q = Dropout (r)\n  p = MaxPool/; s/\[2,2\]> (r)/[2,2]> (q)/' student.onnxtxt >s.onnxtxt
sed -e '/^  teachers:/,/^    big:/d' -e '/^  soft:/d' -e '/^cache:/d' -e 's/student.onnxtxt/s.onnxtxt/' \
	-e 's/batch: 64/val: {from: train, fraction: 0.2}\n  augment: [{crop: {pad: 2}}, {flip_h: 0.5}, {noise: 3}]\n  batch: 16/' \
	-e 's/optimizer: .*/optimizer: {sgd: {lr: 0.05, momentum: 0.9, weight_decay: 0.0001}}/' \
	-e 's/schedule: .*/schedule: {plateau: {factor: 0.5, patience: 1}}/' -e 's/epochs: 10/epochs: 12/' \
	-e 's/^emit:/checkpoint: {every_epochs: 2, keep: 3, seconds: 0.05}\nemit:/' student.yaml >job.yaml
expect 0 '' "$RETORT" distill job.yaml -o job --build-only -q
expect 0 '' job/train --out whole --threads 1

# what depends on the clock: seconds in the log, head and cursor of a checkpoint (40 + 1704 bytes)
timeless() { sed -E 's/"(seconds|data_wait|data_cpu)": [^,}]*//g' "$1"; }
states() { tail -c +1745 "$1"; }
tests=$((tests + 1))
[ "$(ls whole/checkpoints | tr '\n' ' ')" = "best.ckpt epoch-0008.ckpt epoch-0010.ckpt epoch-0012.ckpt last.ckpt " ] ||
	fail "checkpoints: $(ls whole/checkpoints)"

RANDOM=$(($$ % 32768))
echo "RANDOM=$(($$ % 32768))"
for run in 1 2; do
	rm -rf cut
	kills=0
	for ((try = 0; try < 60 && kills < 5; try++)); do
		job/train --out cut --resume --threads $((1 + RANDOM % 2)) >/dev/null 2>&1 &
		pid=$!
		sleep 0.$(printf %03d $((30 + RANDOM % 170)))
		if kill -9 $pid 2>/dev/null; then kills=$((kills + 1)); fi
		wait $pid 2>/dev/null && break # it was done before
	done
	echo "killed $kills times"
	expect 0 '' job/train --out cut --resume
	same whole/student.onnx cut/student.onnx
	timeless whole/metrics.jsonl >a
	timeless cut/metrics.jsonl >b
	same a b
	tests=$((tests + 1))
	[ "$(ls whole/checkpoints)" = "$(ls cut/checkpoints)" ] || fail "checkpoints: $(ls cut/checkpoints)"
	for f in whole/checkpoints/*; do
		states "$f" >a
		states "cut/checkpoints/${f##*/}" >b
		same a b
	done
done
for f in cut/checkpoints/*; do
	expect 0 'checksum right' "$RETORT" inspect "$f"
done

# begins with weights of another run: a checkpoint, a student; both are the same weights
expect 0 'weights from whole/checkpoints/best.ckpt' job/train --out warm1 --init-from whole/checkpoints/best.ckpt --epochs 1
expect 0 'weights from whole/student.onnx' job/train --out warm2 --init-from whole/student.onnx --epochs 1
same warm1/student.onnx warm2/student.onnx
expect 0 '' job/train --out cold --epochs 1
tests=$((tests + 1))
cmp -s warm1/student.onnx cold/student.onnx && fail "--init-from changes nothing"
expect 4 'nowhere.ckpt' job/train --out warm1 --init-from nowhere.ckpt
expect 2 'neither a checkpoint nor a student' job/train --out warm1 --init-from s.onnxtxt
head -c 3000 whole/student.onnx >half.onnx
expect 2 'neither a checkpoint nor a student' job/train --out warm1 --init-from half.onnx
head -c 3000 whole/checkpoints/last.ckpt >half.ckpt
expect 2 'truncated' job/train --out warm1 --init-from half.ckpt
# a student of another size, of which nothing fits
sed 's/\[8,1,5,5\]/[4,1,5,5]/; s/float\[8\]/float[4]/; s/10,392/10,196/' s.onnxtxt >small.onnxtxt
sed 's/s.onnxtxt/small.onnxtxt/' job.yaml >small.yaml
expect 0 '' "$RETORT" distill small.yaml -o small --build-only -q
expect 2 'have another shape' small/train --out warm1 --epochs 1 --init-from whole/checkpoints/best.ckpt

# early stopping: a gain below min_delta is none; the best epoch's weights, or the last ones
early() {
	sed "s/schedule: .*/early_stop: {patience: 2, monitor: val.loss, $1}/; s/epochs: 12/epochs: 40/" job.yaml >early.yaml
	expect 0 '' "$RETORT" distill early.yaml -o early --build-only -q
	rm -rf stop
	expect 0 'no better val.loss for 2 epochs: stopped' early/train --out stop
}
early 'min_delta: 100'
tests=$((tests + 1))
[ "$(wc -l <stop/metrics.jsonl)" -eq 3 ] || fail "min_delta: $(wc -l <stop/metrics.jsonl) epochs, not 3"
grep -q exported_epoch stop/metrics.jsonl || fail "no exported_epoch"
early 'min_delta: 100, restore_best: false'
tests=$((tests + 1))
grep -q exported_epoch stop/metrics.jsonl && fail "restore_best: false exports the best epoch"
sed 's/keep: 3, //; s/every_epochs: 2, /keep: 3, /' job.yaml >wrong.yaml
expect 2 '"keep" is about the files of "every_epochs"' "$RETORT" distill wrong.yaml -o wrong --build-only
finish
