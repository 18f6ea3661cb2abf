#!/usr/bin/env bash
# Algorithms of convolutions: forced by --conv, measured by --tune, told by --opt-report.
. "$(dirname "$0")/lib.sh"

# numbers in [-1,1] in the form of a tensor: sines of a row
sines() { # NAME COUNT DIMS
	cat <<-EOF
		$1.i = Constant<value_float = $2.0>()
		$1.r = Range(zero, $1.i, step)
		$1.s = Sin($1.r)
		$1.d = Constant<value_ints = [$3]>()
		$1 = Reshape($1.s, $1.d)
	EOF
}
number='zero = Constant<value_float = 0.0>()
step = Constant<value_float = 1.0>()'
cat >x.onnxtxt <<EOF
<ir_version: 8, opset_import: ["" : 13]>
g () => (float[1,32,20,20] x) {
$number
$(sines x 12800 1,32,20,20)
}
EOF
cat >net.onnxtxt <<EOF
<ir_version: 8, opset_import: ["" : 13]>
g (float[1,32,20,20] x) => (float[1,32,20,20] y, float[1,32,10,10] z) {
$number
$(sines w 9216 32,32,3,3)
[first] c = Conv<pads=[1,1,1,1]>(x, w)
d = Relu(c)
[second] e = Conv<pads=[1,1,1,1]>(d, w)
y = Add(e, x)
[strided] z = Conv<pads=[1,1,1,1], strides=[2,2]>(d, w)
}
EOF
expect 0 '' "$RETORT" run x.onnxtxt -o x=x.npy

# every forced choice is another program with the same result
expect 0 '' "$RETORT" run net.onnxtxt x=x.npy -o y=direct.npy -o z=z.npy --conv first=direct --conv second=direct
for alg in winograd2 winograd4; do
	for node in first second; do
		expect 0 "$alg" "$RETORT" run net.onnxtxt x=x.npy -o y=$alg.$node.npy --conv first=direct --conv second=direct --conv strided=direct \
			--opt-report
		expect 0 '' "$RETORT" run net.onnxtxt x=x.npy -o y=$alg.$node.npy --conv $node=$alg --conv strided=direct
		expect 0 '' "$NPYDIFF" $alg.$node.npy direct.npy 1e-4
		expect 0 '' "$RETORT" compile net.onnxtxt -o $alg.o --name net --conv $node=$alg --opt-report=report
		grep -q "^$node .*$alg [0-9]*x[0-9]" report || fail "$node is not $alg: $(cat report)"
	done
done
expect 0 '' "$RETORT" run net.onnxtxt x=x.npy -o z=strided.npy --conv strided=winograd2
expect 0 '' "$RETORT" run net.onnxtxt x=x.npy -o z=z.npy --conv strided=direct
expect 0 '' "$NPYDIFF" strided.npy z.npy 1e-4
expect 0 '' "$RETORT" compile net.onnxtxt -o direct.o --name net --conv first=direct --conv second=direct --conv strided=direct --opt-report=report
grep -q '^strided  *direct ' report || fail "no line for strided: $(cat report)"
grep -q '^all ' report || fail "no sum: $(cat report)"
cmp -s direct.o winograd4.o && fail "--conv changes nothing"
for cpu in x86-64 x86-64-v3; do
	[ "$(uname -m)" = x86_64 ] || break
	grep -q avx2 /proc/cpuinfo || break
	for alg in direct winograd2 winograd4; do
		expect 0 '' "$RETORT" run net.onnxtxt x=x.npy -o y=cpu.npy --cpu=$cpu --conv first=$alg --conv second=$alg
		expect 0 '' "$NPYDIFF" cpu.npy direct.npy 1e-4
	done
done

# mistakes
expect 1 'did you mean second?' "$RETORT" compile net.onnxtxt -o n.o --conv secnd=direct
expect 1 'there are first, second, strided' "$RETORT" compile net.onnxtxt -o n.o --conv nothing_like_it=direct
expect 1 'possible: direct, winograd2' "$RETORT" compile net.onnxtxt -o n.o --conv strided=winograd4
expect 1 'did you mean winograd2?' "$RETORT" compile net.onnxtxt -o n.o --conv first=winograd5
expect 1 'write NODE=ALGORITHM' "$RETORT" compile net.onnxtxt -o n.o --conv first
expect 1 'with --precise; possible: direct, winograd2' "$RETORT" compile net.onnxtxt -o n.o --precise --conv first=winograd4
expect 4 'is a directory' "$RETORT" compile net.onnxtxt -o n.o --tune=.
absent n.o n.h

# measured once, then remembered: the same file gives the same bytes
expect 0 'winograd2=' "$RETORT" compile net.onnxtxt -o one.o --name net --tune=cache -v
cp cache before
out=$("$RETORT" compile net.onnxtxt -o two.o --name net --tune=cache -v --opt-report 2>&1)
case $out in *winograd2=*) fail "measured again: $out" ;; esac
case $out in *"(-"* | *"(0"*) fail "no time: $out" ;; esac
same one.o two.o
same cache before
for alg in direct winograd2 winograd4; do
	# the fastest in the file is taken
	sed "s/\(direct\|winograd2\|winograd4\)=[0-9]*/\1=5000/g; s/$alg=5000/$alg=10/g" before >cache
	expect 0 '' "$RETORT" compile net.onnxtxt -o tuned.o --name net --tune=cache --opt-report=report
	grep -q "^first  *$alg " report || fail "$alg is fastest in the file but not taken: $(cat report)"
	cat before >cache
done
# --precise takes the fastest that is allowed
sed "s/\(direct\|winograd2\|winograd4\)=[0-9]*/\1=5000/g; s/winograd4=5000/winograd4=10/g; s/winograd2=5000/winograd2=20/g" before >cache
expect 0 'winograd2 ' "$RETORT" compile net.onnxtxt -o tuned.o --tune=cache --precise --opt-report
# nothing in the file is trusted
printf 'rubbish\n\001\377 a b c=d\n0.1.0 x y direct=1' >cache
expect 0 '2 lines hold no measurements' "$RETORT" compile net.onnxtxt -o tuned.o --tune=cache
grep -q rubbish cache && fail "rubbish was kept"
grep -q '^0.1.0 x y direct=1$' cache || fail "what another CPU measured was lost"
sed 's/direct=[0-9]*/direct=99999999999999999/' before >cache
expect 0 '' "$RETORT" compile net.onnxtxt -o tuned.o --tune=cache
# where the file is when none is named
XDG_CACHE_HOME=$PWD/xdg expect 0 '' "$RETORT" bench net.onnxtxt --ms=10 --tune
[ -s xdg/retort/tune ] || fail "no xdg/retort/tune"
env -u XDG_CACHE_HOME HOME="$PWD/home" "$RETORT" compile net.onnxtxt -o tuned.o --tune || fail "--tune with HOME"
[ -s home/.cache/retort/tune ] || fail "no home/.cache/retort/tune"
expect 1 'give --tune=FILE' env -u XDG_CACHE_HOME -u HOME "$RETORT" compile net.onnxtxt -o tuned.o --tune
finish
