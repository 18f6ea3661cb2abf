#!/usr/bin/env bash
# Inputs that are sequences and optionals, given element by element.
. "$(dirname "$0")/lib.sh"

head='< ir_version: 8, opset_import: ["" : 18] >'
cat >data.onnxtxt <<T
$head
data () => (float[2] a, float[2] b) {
  a = Constant <value = float[2] {1, 2}> ()
  b = Constant <value = float[2] {3, 4}> ()
}
T
cat >lists.onnxtxt <<T
$head
lists (seq(float[2]) s, optional(float[2]) o) => (seq(float[2]) t, float[2] y) {
  has = OptionalHasElement(o)
  zero = Constant <value_int = 0> ()
  y = If <then_branch = t () => (float[2] r) { r = OptionalGetElement(o) },
          else_branch = e () => (float[2] r) { r = SequenceAt(s, zero) }> (has)
  t = SequenceInsert(s, y, zero)
}
T
cat >turns.onnxtxt <<T
$head
turns (float[2] top, float[2] x) => (float[2] y) {
  y = Loop <body = b (int64 i, bool on, float[2] v) => (bool go, float[2] w) {
    w = Add(v, x)  s = LessOrEqual(w, top)  c = Cast <to = 6> (s)  m = ReduceMin <keepdims = 0> (c)  go = Cast <to = 9> (m)
  }> ( , , x)
}
T

expect 0 '' "$RETORT" run data.onnxtxt -o a=a.npy -o b=b.npy
expect 0 't.2 f32[2] 3 4' "$RETORT" run lists.onnxtxt s.0=a.npy s.1=b.npy
expect 0 'y f32[2] 1 2' "$RETORT" run lists.onnxtxt s.0=a.npy s.1=b.npy
expect 0 't.1 f32[2] 1 2' "$RETORT" run lists.onnxtxt s.0=a.npy o=b.npy
expect 0 'y f32[2] 3 4' "$RETORT" run lists.onnxtxt s.0=a.npy o=b.npy
expect 0 '1 passed, 0 failed' "$RETORT" verify lists.onnxtxt s.0=a.npy o=b.npy --ref y=b.npy --ref t.1=a.npy
expect 5 '0 passed, 1 failed' "$RETORT" verify lists.onnxtxt s.0=a.npy o=b.npy --ref y=a.npy
expect 0 '' "$RETORT" compile lists.onnxtxt --dim s=2 -o lists.o
expect 3 '--dim s=3 gives it three elements' "$RETORT" compile lists.onnxtxt -o none.o
expect 1 'no input "q.0"' "$RETORT" run lists.onnxtxt q.0=a.npy
absent none.o

# x is added again while the sum is not above 3 4
expect 0 'y f32[2] 3 6' "$RETORT" run turns.onnxtxt top=b.npy x=a.npy
expect 0 'at most 64; --max-trips N changes it' "$RETORT" run turns.onnxtxt top=b.npy x=a.npy
expect 0 'y f32[2] 2 4' "$RETORT" run turns.onnxtxt top=b.npy x=a.npy --max-trips 1
finish
