#!/usr/bin/env bash
# search: of a recipe: every point once, judged by val and never by test, gone on with
# after an interruption; halving; the best as a recipe of its own.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 300 60 || fail "digits"
cp "$SOURCE"/examples/demo/*.yaml "$SOURCE"/examples/demo/*.onnxtxt .
sed 's/= {0}/= {0.01}/' teacher.onnxtxt >t.onnxtxt
sed -e 's|teacher/student.onnx|t.onnxtxt|' -e 's/batch: 64/val: {from: train, fraction: 0.2}\n  batch: 16/' -e 's/epochs: 10/epochs: 6/' \
	-e '/^emit:/,$d' student.yaml >base.yaml
printf 'emit: {onnx: true}\n' >>base.yaml
# with SEARCH-LINES: base.yaml and these
with() { cat base.yaml - >"$1"; }

with grid.yaml <<-'YAML'
	search:
	  grid:
	    terms.soft.temperature: [2, 4]
	    train.optimizer.adam.lr: [0.0001, 0.01]
	    ratio.soft.hard: [0.9]
	  budget: {epochs: 2}
YAML
expect 0 'val.cls.accuracy' "$RETORT" distill grid.yaml -o a --search-only
absent a/train a/student.onnx
tests=$((tests + 5))
[ "$(grep -c '"point"' a/search.jsonl)" -eq 4 ] || fail "$(cat a/search.jsonl)"
[ "$(ls -d a/search/t* | wc -l)" -eq 2 ] || fail "the learning rate alone needs no trainer of its own: $(ls a/search)"
! grep -q '"test\.' a/search/p*/metrics.jsonl || fail "the search has looked at the test split"
grep -q '<table>' a/search.html || fail "no table in search.html"
grep -q 'weight: 0.1' a/best.yaml && grep -q 'weight: 0.9' a/best.yaml || fail "ratio: $(grep weight a/best.yaml)"

# what the best is, is what the log says, and its recipe does it again
best=$(grep '"point"' a/search.jsonl | sed 's/.*"point": \([0-9]*\).*"value": \([^,]*\).*/\2 \1/' | sort -k1,1gr -k2,2g | head -n 1)
tests=$((tests + 1))
grep -q "temperature: $([ ${best##* } -lt 2 ] && echo 2 || echo 4)" a/best.yaml || fail "best is $best: $(grep temperature a/best.yaml)"
expect 0 '' "$RETORT" distill a/best.yaml -o again --epochs 2 --no-search
tests=$((tests + 1))
grep -q "\"val.cls.accuracy\": $(printf %.9g "${best%% *}")[,}]" again/metrics.jsonl || fail "best.yaml does not give ${best%% *}: $(cat again/metrics.jsonl)"

# judge: last: a point is what its last epoch has
sed 's/budget: {epochs: 2}/budget: {epochs: 2}\n  judge: last/' grid.yaml >last.yaml
"$RETORT" distill last.yaml -o l --search-only >out || fail "judge: last"
tests=$((tests + 5))
for p in 0 1 2 3; do
	v=$(tail -n 1 "l/search/p000$p/metrics.jsonl" | sed 's/.*"val.cls.accuracy": \([0-9.]*\).*/\1/')
	awk -v a="$v" -v b="$(sed -n "s/{\"point\": $p,.*\"value\": \([^,]*\).*/\1/p" l/search.jsonl)" 'BEGIN { exit !(a - b < 1e-6 && b - a < 1e-6) }' ||
		fail "point $p is not its last epoch, $v: $(cat l/search.jsonl)"
done
[ "$(grep -c '"best_epoch": 2' l/search.jsonl)" -eq 4 ] || fail "$(cat l/search.jsonl)"

# interrupted: what is finished is not run again, and the end is the same
head -n 3 a/search.jsonl >cut
printf '{"point": 2, "epo' >>cut
mkdir b && cp cut b/search.jsonl
"$RETORT" distill grid.yaml -o b --search-only >out || fail "resumed search"
tests=$((tests + 2))
[ "$(grep -c 'already run' out)" -eq 2 ] || fail "$(cat out)"
sed 's/"seconds": [0-9.]*//' a/search.jsonl >x
sed 's/"seconds": [0-9.]*//' b/search.jsonl >y
same x y
sed 's|/a/|/b/|g' a/best.yaml >x
same x b/best.yaml
# another recipe is another search
sed 's/temperature: \[2, 4\]/temperature: [2, 3]/' grid.yaml >other.yaml
"$RETORT" distill other.yaml -o b --search-only >out || fail "another search"
tests=$((tests + 1))
grep -q 'already run' out && fail "another recipe's results were taken"

# halving: all points for a third of the epochs, the better ones on from there
with halving.yaml <<-'YAML'
	search:
	  grid: {train.optimizer.adam.lr: [0.0001, 0.001, 0.003, 0.01, 0.03, 0.1], terms.hard.weight: [0.5]}
	  halving: {eta: 2, rounds: 2}
	  monitor: val.loss
YAML
expect 0 'round 2/2: 3 points, 6 epochs' "$RETORT" distill halving.yaml -o h --search-only
tests=$((tests + 1))
[ "$(grep -c '"epochs": 3' h/search.jsonl) $(grep -c '"epochs": 6' h/search.jsonl)" = "6 3" ] || fail "$(cat h/search.jsonl)"
# six epochs in two goes are six epochs
point=$(grep '"epochs": 6' h/search.jsonl | head -n 1 | sed 's/.*"point": \([0-9]*\).*"adam.lr": "\([^"]*\)".*/\1/; s/.*"point": \([0-9]*\).*/\1/')
expect 0 '' "$(ls h/search/t*/train)" --out straight --lr "$(sed -n "s/.*\"point\": $point, .*lr\": \"\([^\"]*\)\".*/\1/p" h/search.jsonl | head -n 1)" --no-test
strip() { sed -E 's/"(seconds|data_wait|data_cpu)": [^,}]*//g; s/"exported_epoch": [0-9]*//; s/[, ]*}$//' "$1"; }
strip straight/metrics.jsonl >x
strip "h/search/p000$point/metrics.jsonl" >y
same x y

# some of the grid, so many runs, and then the best in full
with some.yaml <<-'YAML'
	search:
	  grid: {train.optimizer: [{adam: {lr: 0.01}}, {sgd: {lr: 0.05, momentum: 0.9}}], seed: [1, 2, 3], models.student.init: [kaiming, xavier]}
	  random: 5
	  budget: {epochs: 1, runs: 2}
YAML
expect 0 'search 2/2' "$RETORT" distill some.yaml -o s --search-only
"$RETORT" distill some.yaml -o s >out || fail "search and training"
tests=$((tests + 2))
[ "$(grep -c '"point"' s/search.jsonl)" -eq 2 ] || fail "$(cat s/search.jsonl)"
[ "$(wc -l <s/metrics.jsonl)" -eq 6 ] && [ -s s/student.onnx ] || fail "the best was not trained in full: $(cat out)"

# mistakes
with w.yaml <<<'search: {grid: {terms.sift.weight: [1, 2]}}'
expect 2 'did you mean "soft"' "$RETORT" distill w.yaml -o w
with w.yaml <<<'search: {grid: {terms.soft.temperatur: [1, 2]}}'
expect 2 'unknown key "temperatur"' "$RETORT" distill w.yaml -o w
with w.yaml <<<'search: {grid: {terms.soft.temperature: [1, -2]}}'
expect 2 'w.yaml:' "$RETORT" distill w.yaml -o w
with w.yaml <<<'search: {grid: {terms.soft.temperature: 3}}'
expect 2 'takes a list of values' "$RETORT" distill w.yaml -o w
with w.yaml <<<'search: {grid: {terms.soft.temperature: [1]}, monitor: test.cls.accuracy}'
expect 2 'never by "test.cls.accuracy"' "$RETORT" distill w.yaml -o w
with w.yaml <<<'search: {grid: {ratio.soft: [0.5]}}'
expect 2 'a ratio names two terms' "$RETORT" distill w.yaml -o w
with w.yaml <<<'search: {grid: {terms.soft.temperature: [1]}}'
sed -i '/val: {from/d' w.yaml
expect 2 'chooses by a val split' "$RETORT" distill w.yaml -o w
expect 1 'has no search' "$RETORT" distill base.yaml -o w --search-only
absent w/train
finish
