#!/usr/bin/env bash
# Several trained models in one step: students that teach each other, an average, heads on
# a trunk, generators and judges in turns, earlier selves; what is left of each, resuming,
# and what is told of mistakes.
. "$(dirname "$0")/lib.sh"
mkdir data
cc -O2 "$SOURCE/examples/demo/draw_digits.c" -lm -o draw && ./draw data 400 100 || fail "digits"
cp "$SOURCE"/examples/demo/student.onnxtxt .

# model NAME INPUT DIMS OUTPUT DIMS WEIGHTS BODY
model() {
	cat >"$1.onnxtxt" <<-MODEL
		<ir_version: 8, opset_import: ["" : 16]>
		$1 (float[N,$3] $2) => (float[N,$5] $4) <$6> { $7 }
	MODEL
}
model trunk x 1,28,28 h 32 'float[32,784] w = {0}, float[32] b = {0}' 'f = Flatten <axis = 1> (x) g = Gemm <transB = 1> (f, w, b) h = Relu (g)'
model head h 32 y 10 'float[10,32] w = {0}, float[10] b = {0}' 'y = Gemm <transB = 1> (h, w, b)'
model gen z 8 image 1,28,28 'float[784,8] w = {0}, float[784] b = {0}, int64[4] s = {-1,1,28,28}' \
	'g = Gemm <transB = 1> (z, w, b) t = Sigmoid (g) image = Reshape (t, s)'
model judge x 1,28,28 score 1 'float[16,784] w = {0}, float[16] b = {0}, float[1,16] v = {0}, float[1] c = {0}' \
	'f = Flatten <axis = 1> (x) g = Gemm <transB = 1> (f, w, b) r = LeakyRelu <alpha = 0.2> (g) score = Gemm <transB = 1> (r, v, c)'

# recipe NAME < what follows the data
recipe() {
	cat - >rest
	cat - rest >"$1.yaml" <<-RECIPE
		retort: 1
		name: $1
		seed: 3
		data:
		  root: data
		  train: {image: train-images-idx3-ubyte, label: {file: train-labels-idx1-ubyte, classes: 10}}
		  test:  {image: test-images-idx3-ubyte,  label: {file: test-labels-idx1-ubyte, classes: 10}}
		  batch: 40
	RECIPE
}
image='image: {field: image, scale: 0.00392156862745098}'
x='x: {field: image, scale: 0.00392156862745098}'

# ---- two students that teach each other, an average of one of them
recipe mutual <<END
models:
  student: {onnx: student.onnxtxt, inputs: {$image}, outputs: {cls: logits}, init: kaiming}
  students:
    peer: {onnx: student.onnxtxt, inputs: {$image}, outputs: {cls: logits}, init: kaiming}
  teachers:
    mean: {ema_of: student, decay: 0.8, warmup: true, export: true}
tasks:
  a: {head: student.cls, target: label, metrics: [accuracy]}
  b: {head: peer.cls, target: label, metrics: [accuracy]}
  e: {head: mean.cls, target: label, metrics: [accuracy]}
terms:
  hard_a: {task: a, loss: ce}
  hard_b: {task: b, loss: ce}
  soft_a: {task: a, loss: kd, teacher: peer.cls, temperature: 1}
  soft_b: {task: b, loss: kd, teacher: student.cls, temperature: 1}
  steady: {task: a, loss: mse, teacher: mean.cls, weight: 0.1}
train: {epochs: 4, optimizer: {adam: {lr: 0.01}}}
emit: {onnx: true, library: {kind: [static]}}
END
expect 0 'peer.onnx' "$RETORT" distill mutual.yaml -o mutual
for f in student.onnx libstudent.a student.h peer.onnx libpeer.a peer.h mean.onnx libmean.a; do
	[ -s mutual/$f ] || fail "mutual/$f is missing"
done
cmp -s mutual/student.onnx mutual/peer.onnx && fail "both students began and stayed alike"
cmp -s mutual/student.onnx mutual/mean.onnx && fail "the average is the student"
expect 0 '' mutual/train --out cut --steps 17
expect 0 '' mutual/train --out cut --resume --threads 2
for m in student peer mean; do same mutual/$m.onnx cut/$m.onnx; done

# ---- a head of another file on the student's features, by sets that take turns too
recipe trunk <<END
models:
  student: {onnx: trunk.onnxtxt, inputs: {$x}, outputs: {feature: h}, init: kaiming}
  students:
    digits: {onnx: head.onnxtxt, inputs: {h: {from: student.feature}}, outputs: {y: y}, init: kaiming}
tasks: {cls: {head: digits.y, target: label, metrics: [accuracy]}}
terms: {hard: {task: cls, loss: ce}}
train: {epochs: 6, optimizer: {adam: {lr: 0.01}}}
emit: {onnx: true}
END
expect 0 '' "$RETORT" distill trunk.yaml -o trunk
accuracy=$(tail -n 1 trunk/metrics.jsonl | sed 's/.*"test.cls.accuracy": \([0-9.]*\).*/\1/')
awk "BEGIN {exit !($accuracy > 0.8)}" || fail "head on a trunk: accuracy $accuracy"
sed 's/from: student.feature/from: student.feature, detach: true/' trunk.yaml >cutoff.yaml
expect 0 '' "$RETORT" distill cutoff.yaml -o cutoff --steps 1
expect 0 '' "$RETORT" distill cutoff.yaml -o cutoff2 --steps 9
same cutoff/student.onnx cutoff2/student.onnx
cmp -s cutoff/digits.onnx cutoff2/digits.onnx && fail "the head did not train"

# ---- generator and judge
recipe gan <<END
models:
  student: {onnx: gen.onnxtxt, inputs: {z: {noise: normal}}, outputs: {image: image}, init: xavier}
  students:
    judge: {onnx: judge.onnxtxt, inputs: {$x}, outputs: {score: score}, init: kaiming}
    made: {shares: judge, inputs: {x: {from: student.image}}}
terms:
  real: {loss: gan, student: judge.score, role: real}
  fake: {loss: gan, student: made.score, role: fake}
  fool: {loss: gan, student: made.score, role: generator}
train:
  epochs: 3
  optimizer: {adam: {lr: 0.002, betas: [0.5, 0.999]}}
  turns: [{trains: [judge], terms: [real, fake], times: 2}, {trains: [student], terms: [fool]}]
emit: {onnx: true}
END
expect 0 '' "$RETORT" distill gan.yaml -o gan
absent gan/made.onnx
expect 0 '' gan/train --out gancut --steps 13
expect 0 '' gan/train --out gancut --resume --threads 2
same gan/student.onnx gancut/student.onnx
same gan/judge.onnx gancut/judge.onnx
# a turn moves what it trains only
sed 's/{trains: \[judge\], terms: \[real, fake\], times: 2}, //' gan.yaml >fool.yaml
expect 0 '' "$RETORT" distill fool.yaml -o fool1 --steps 1
expect 0 '' "$RETORT" distill fool.yaml -o fool2 --steps 9
same fool1/judge.onnx fool2/judge.onnx
cmp -s fool1/student.onnx fool2/student.onnx && fail "the generator did not train"
for loss in lsgan hinge; do
	sed "s/loss: gan/loss: $loss/" gan.yaml >$loss.yaml
	expect 0 '' "$RETORT" distill $loss.yaml -o $loss --steps 5
done

# ---- a generator taught by another one's images, of the same noise
cp gan/student.onnx big.onnx
recipe taught <<END
models:
  student: {onnx: gen.onnxtxt, inputs: {z: {noise: uniform, scale: 2, offset: -1}}, outputs: {image: image, z: z}, init: xavier}
  teachers:
    big: {onnx: big.onnx, inputs: {z: {from: student.z}}, outputs: {image: image}}
terms: {same: {loss: mse, student: student.image, teacher: big.image}}
train: {epochs: 8, optimizer: {adam: {lr: 0.02}}}
emit: {onnx: true}
END
expect 0 '' "$RETORT" distill taught.yaml -o taught
first=$(head -n 1 taught/metrics.jsonl | sed 's/.*"loss": \([0-9.e-]*\).*/\1/')
last=$(tail -n 1 taught/metrics.jsonl | sed 's/.*"loss": \([0-9.e-]*\).*/\1/')
awk "BEGIN {exit !($last < $first / 2)}" || fail "taught generator: loss $first, then $last"

# ---- data-free: no term reads a sample, so samples of zeros train the same student
"$RETORT" distill mutual.yaml -o teacher -q >/dev/null 2>&1
cp teacher/student.onnx expert.onnx
{ head -c 16 data/train-images-idx3-ubyte; head -c $((400 * 784)) /dev/zero; } >data/zeros-idx3-ubyte
recipe dafl <<END
models:
  student: {onnx: student.onnxtxt, inputs: {$image}, outputs: {cls: logits}, init: kaiming}
  students:
    gen: {onnx: gen.onnxtxt, inputs: {z: {noise: normal}}, outputs: {image: image}, init: xavier, export: false}
    dream: {shares: student, inputs: {image: {from: gen.image, detach: true}}}
  teachers:
    big: {onnx: expert.onnx, inputs: {image: {from: gen.image}}, outputs: {y: logits}, taps: {f: f}}
tasks: {cls: {head: student.cls, target: label, metrics: [accuracy]}}
terms:
  sure: {loss: one_hot, student: big.y}
  all: {loss: class_entropy, student: big.y, weight: 5}
  lively: {loss: activation, student: big.f, weight: 0.1}
  soft: {loss: kd, student: dream.cls, teacher: big.y, temperature: 1}
train: {epochs: 4, optimizer: {adam: {lr: 0.003}}}
emit: {onnx: true}
END
expect 0 'test.cls.accuracy' "$RETORT" distill dafl.yaml -o dafl
sed 's/train: {image: train-images/train: {image: zeros/' dafl.yaml >zeros.yaml
expect 0 '' "$RETORT" distill zeros.yaml -o zeros
same dafl/student.onnx zeros/student.onnx
first=$(head -n 1 dafl/metrics.jsonl | sed 's/.*"loss": \([0-9.e-]*\).*/\1/')
last=$(tail -n 1 dafl/metrics.jsonl | sed 's/.*"loss": \([0-9.e-]*\).*/\1/')
awk "BEGIN {exit !($last < $first)}" || fail "data-free: loss $first, then $last"

# ---- a generation taught by the one before
recipe born <<END
models:
  student: {onnx: student.onnxtxt, inputs: {$image}, outputs: {cls: logits}, init: kaiming}
  students:
    second: {onnx: student.onnxtxt, inputs: {$image}, outputs: {cls: logits}, init: kaiming}
  teachers:
    before: {stage: one, export: true}
tasks:
  a: {head: student.cls, target: label, metrics: [accuracy]}
  b: {head: second.cls, target: label, metrics: [accuracy]}
train:
  - {name: one, epochs: 2, optimizer: {adam: {lr: 0.01}}, terms: {hard: {task: a, loss: ce}}}
  - name: two
    epochs: 2
    optimizer: {adam: {lr: 0.01}}
    terms:
      again: {task: a, loss: ce}
      soft: {task: b, loss: kd, teacher: before.cls}
emit: {onnx: true}
END
expect 0 '' "$RETORT" distill born.yaml -o born
expect 0 '' born/train --out bornone --steps 20
same born/before.onnx bornone/student.onnx
expect 0 '' born/train --out bornone --resume
for m in student second before; do same born/$m.onnx bornone/$m.onnx; done

# ---- mistakes: wrong RECIPE TEXT SED-EXPRESSION
wrong() {
	sed "$3" "$1.yaml" >wrong.yaml
	cmp -s "$1.yaml" wrong.yaml && fail "the edit $3 changes nothing"
	expect 2 "$2" "$RETORT" distill wrong.yaml -o out --build-only
	absent out/train
}
wrong trunk 'no model is called "studnt"; did you mean "student"?' 's/from: student.feature/from: studnt.feature/'
wrong trunk 'the student has no output or tap "featur"; did you mean "feature"?' 's/from: student.feature/from: student.featur/'
wrong trunk 'go round in a circle: digits reads digits.y' 's/from: student.feature/from: digits.y/'
wrong trunk 'is not fed; add it under inputs' 's/{from: student.feature}/{}/'
wrong trunk 'input "h" of' 's/inputs: {h: {from: student.feature}}/inputs: {}/'
wrong trunk 'several sources' 's/from: student.feature/from: student.feature, noise: normal/'
wrong gan 'no student is called "juge"; did you mean "judge"?' 's/trains: \[judge\]/trains: [juge]/'
wrong gan '"shares" of made is "juge"' 's/shares: judge/shares: juge/'
wrong gan 'no term is called "fol"; did you mean "fool"?' 's/terms: \[fool\]/terms: [fol]/'
wrong gan '"noise" is "normall"; did you mean "normal"?' 's/noise: normal/noise: normall/'
wrong gan 'accumulate' 's/  epochs: 3/  epochs: 3\n  accumulate: 2/'
wrong mutual '"ema_of" of mean is "studnt"' 's/ema_of: student/ema_of: studnt/'
wrong mutual 'is the name of a student and of a teacher' 's/    mean:/    peer:/'
wrong born 'no stage is called "on"; did you mean "one"?' 's/stage: one/stage: on/'
wrong born 'which is there after stage "two"' 's/stage: one/stage: two/'
finish
