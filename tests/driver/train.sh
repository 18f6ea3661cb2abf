#!/usr/bin/env bash
# The trainer: what it leaves, threads and resuming change no byte, signals.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 600 200 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .

expect 0 'train' "$RETORT" distill teacher.yaml -o built --build-only
tests=$((tests + 1))
[ "$(ls built)" = train ] || fail "--build-only left $(ls built | tr '\n' ' ')"
expect 0 '' built/train --help
expect 1 'epoch' built/train --epoch 3
expect 0 '' built/train --dry-run
expect 0 '' built/train --epochs 2 --out a
for f in student.onnx metrics.jsonl report.html checkpoints; do
	[ -e "a/$f" ] || fail "a/$f is missing"
done
tests=$((tests + 1))
grep -q '"epoch"' a/metrics.jsonl && grep -q '"test.cls.accuracy"' a/metrics.jsonl || fail "metrics.jsonl: $(tail -n 1 a/metrics.jsonl)"
expect 0 '' built/train --epochs 2 --out b --threads 2
same a/student.onnx b/student.onnx
expect 0 'step_ms_min' built/train --bench-steps 5 --threads 1

# killed at any moment, resumed: the same bytes
expect 0 '' built/train --epochs 12 --out whole
for delay in 0.15 0.4; do
	rm -rf cut
	built/train --epochs 12 --out cut >/dev/null 2>&1 &
	pid=$!
	sleep $delay
	kill -9 $pid 2>/dev/null
	wait $pid 2>/dev/null
	expect 0 '' built/train --epochs 12 --out cut --resume
	same whole/student.onnx cut/student.onnx
done
built/train --epochs 2000 --out stop >/dev/null 2>&1 &
pid=$!
sleep 0.5
kill -INT $pid
wait $pid
status=$?
tests=$((tests + 2))
[ $status -eq 130 ] || fail "SIGINT: exit $status, not 130"
ls stop/checkpoints/* >/dev/null 2>&1 || fail "SIGINT left no checkpoint"

# the whole job
mkdir teacher && cp a/student.onnx teacher/
expect 0 'libstudent.a' "$RETORT" distill student.yaml -o out --epochs 2
for f in train student.onnx student.h libstudent.a libstudent.so student metrics.jsonl report.html; do
	[ -s "out/$f" ] || fail "out/$f is missing"
done
expect 0 '' "$RETORT" check out/student.onnx
expect 0 'logits' "$RETORT" inspect out/student.onnx
expect 0 'field "image"' "$RETORT" inspect out/train
expect 0 'so far     2 epochs' "$RETORT" inspect out/checkpoints/last.ckpt
expect 0 '"total_epochs":2,' "$RETORT" inspect --json out/checkpoints/last.ckpt
head -c 3000 out/checkpoints/last.ckpt >cut.ckpt
expect 2 'cut.ckpt: truncated' "$RETORT" inspect cut.ckpt
cp out/checkpoints/last.ckpt bad.ckpt
printf 'damage' | dd of=bad.ckpt bs=1 seek=2000 conv=notrunc 2>/dev/null
expect 2 'bad.ckpt: damaged' "$RETORT" inspect bad.ckpt
expect 0 '' "$RETORT" inspect out/student.onnx --svg net.svg
for text in '>image<' '>logits<' '>Conv<' 'pooling'; do
	grep -qF "$text" net.svg || fail "net.svg lacks $text"
done
finish
