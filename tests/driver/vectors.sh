#!/usr/bin/env bash
# Every teacher and student of the reference data against PyTorch's outputs:
# max |difference| <= 1e-5 max |reference|, at -O2 and -O3, the same bytes with 1
# and 2 threads.
. "$(dirname "$0")/lib.sh"
need_shared
for model in "$SHARED"/data/teachers/*.onnx "$SHARED"/data/students/*.onnx; do
	name=$(basename "$model" .onnx)
	vec=$SHARED/data/vectors/$name
	input=$("$RETORT" inspect -q "$model" | awk '$1 == "input" {print $2; exit}')
	outs=() checks=()
	for y in "$vec"/*logits.npy; do
		o=$(basename "$y" .npy)
		outs+=("$o")
	done
	for level in 2 3; do
		for threads in 1 2; do
			args=()
			for o in "${outs[@]}"; do args+=(-o "$o=$name.$o.O$level.t$threads.npy"); done
			expect 0 '' "$RETORT" run "$model" "$input=$vec/x.npy" "${args[@]}" -O$level --threads $threads
		done
		for o in "${outs[@]}"; do
			expect 0 '' "$NPYDIFF" "$name.$o.O$level.t1.npy" "$vec/$o.npy" 1e-5
			same "$name.$o.O$level.t1.npy" "$name.$o.O$level.t2.npy"
		done
	done
done
finish
