#!/usr/bin/env bash
# Gradient nodes in a model (ai.onnx.preview.training): of inputs and of results, at other
# values than the graph's own, of a gradient; and what is refused.
. "$(dirname "$0")/lib.sh"
head='< ir_version: 8, opset_import: ["" : 17, "ai.onnx.preview.training" : 1] >'
grad=ai.onnx.preview.training.Gradient

# values NAME LIST: NAME.npy
values() {
	echo "$head v () => (float[3] x) { x = Constant <value_floats = [$2]> () }" >v.onnxtxt
	expect 0 "" "$RETORT" run v.onnxtxt -o x="$1.npy"
}
values x "1.0, 2.0, -3.0"
values q "5.0, 0.5, 7.0"

cat >m.onnxtxt <<T
$head
m (float[3] x, float[3] q) => (float[3] d1, float[3] d2, float[3] at, float[3] inner)
{
  u = Mul (x, x)
  y = Mul (u, x)
  d1 = $grad <xs = ["x"], y = "y"> (x)
  d2 = $grad <xs = ["x"], y = "d1"> (x)
  at = $grad <xs = ["x"], y = "y"> (q)
  inner = $grad <xs = ["u"], zs = ["x"], y = "y"> (u, q)
}
T
cat >want.onnxtxt <<T
$head
m (float[3] x, float[3] q) => (float[3] d1, float[3] d2, float[3] at, float[3] inner)
{
  three = Constant <value_float = 3.0> ()
  six = Constant <value_float = 6.0> ()
  x2 = Mul (x, x)
  d1 = Mul (three, x2)
  d2 = Mul (six, x)
  q2 = Mul (q, q)
  at = Mul (three, q2)
  inner = Identity (q)
}
T
for m in m want; do
	expect 0 "" "$RETORT" run $m.onnxtxt x=x.npy q=q.npy -o d1=$m.d1.npy -o d2=$m.d2.npy -o at=$m.at.npy -o inner=$m.inner.npy
done

# of what is constant, too: 3 x^2 at 2 and -1
cat >c.onnxtxt <<T
$head
c () => (float[2] d, float[2] w)
<float[2] x = {2, -1}, float[2] w = {12, 3}>
{
  u = Mul (x, x)
  y = Mul (u, x)
  d = $grad <xs = ["x"], y = "y"> (x)
}
T
expect 0 "" "$RETORT" run c.onnxtxt -o d=c.d.npy -o w=c.w.npy
expect 0 "" "$NPYDIFF" c.d.npy c.w.npy 1e-6

for o in d1 d2 at inner; do
	expect 0 "" "$NPYDIFF" m.$o.npy want.$o.npy 1e-6
done

refused() {
	echo "$head m (float[3] x, int64[3] i) => (float[3] d) <float[3] w = {1, 2, 3}> { y = Mul (x, w) c = Cast <to = 1> (i) z = Add (y, c) d = $grad $1 }" >r.onnxtxt
	expect "$2" "$3" "$RETORT" check r.onnxtxt
}
refused '<xs = ["nothing"], y = "z"> (x)' 2 'xs names "nothing", which nothing makes'
refused '<xs = ["x", "x"], y = "z"> (x, x)' 2 '"x" is named twice'
refused '<xs = ["x"], y = "z"> (i)' 2 'input 0 is no value for "x"'
refused '<xs = ["i"], y = "z"> (i)' 2 'a float type is expected'
refused '<xs = ["x"]> (x)' 2 'attribute "y" is missing'
finish
