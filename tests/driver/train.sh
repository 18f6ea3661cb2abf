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

# every kind of metric, one of them watched; a killed run writes the same lines
sed 's/metrics: .*/metrics: [ece, accuracy, top3, f1_macro, f1_per_class, confusion, roc_auc, agreement, kl, perplexity]}/
s/^\(  batch:.*\)/  val: {from: train, fraction: 0.2}\n\1/' student.yaml >metrics.yaml
expect 0 '' "$RETORT" distill metrics.yaml -o measured --build-only
expect 0 '' measured/train --epochs 8 --out m1
tests=$((tests + 2))
for key in ece accuracy top3 f1_macro roc_auc agreement kl perplexity; do
	for split in val test; do
		tail -n 1 m1/metrics.jsonl | grep -q "\"$split.cls.$key\": [0-9]" || fail "no $split.cls.$key"
	done
done
tail -n 1 m1/metrics.jsonl | grep -q '"test.cls.f1_per_class": \[[0-9.]*, ' || fail "no list of f1"
tail -n 1 m1/metrics.jsonl | grep -q '"test.cls.confusion": \[\[[0-9]*, [^]]*\], \[' || fail "no confusion"
# the best epoch is that of the least calibration error
best=$(sed 's/.*"epoch": \([0-9]*\),.*"val.cls.ece": \([0-9.e-]*\),.*/\2 \1/' m1/metrics.jsonl | sort -g | head -n 1)
grep -q "\"exported_epoch\": ${best#* }}" m1/metrics.jsonl || fail "best is $best, not $(tail -n 1 m1/metrics.jsonl)"
# the report: confusions, classes, pictures of the mistakes, and nothing from outside
tests=$((tests + 3))
for text in '<polyline' 'class="confusion"' 'class="bar"' 'data:image/png;base64,' 'class="taught' '<b>' 'Recipe' 'prefers-color-scheme:dark'; do
	grep -qF "$text" m1/report.html || fail "report.html lacks $text"
done
[ "$(grep -c 'class="sample' m1/report.html)" -ge 6 ] || fail "too few samples in report.html"
grep -E '(src|href)="?(http|/|[a-z]*\.)' m1/report.html && fail "report.html reads other files"
measured/train --epochs 8 --out m2 >/dev/null 2>&1 &
pid=$!
sleep 0.2
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
expect 0 '' measured/train --epochs 8 --out m2 --resume
for d in m1 m2; do
	sed -E 's/"(seconds|data_wait|data_cpu)": [0-9.e-]*//g' $d/metrics.jsonl >$d.lines
done
same m1.lines m2.lines
finish
