#!/usr/bin/env python3
"""The loss curves of tests/curves: 200 steps of distillation by PyTorch in float32 and in float64, on the batches that a
trainer with `seed: 7` takes.

usage: make.py SHARED/data [NAME...]    writes NAME.txt: one line "float64 float32" per step; transformer2.onnx too

kd of T = 4, alpha = 0.9; Adam, 0.001.  The two columns tell how far rounding alone leads PyTorch away from itself.
"""
import math, os, sys
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, os.path.join(sys.argv[1], "scripts"))
import torch
from torch import nn
from torch.nn import functional as F
import models
from common import ROOT, load, load_onnx
from distill_reference import kd_loss

STEPS, SEED, RATE = 200, 7, 1e-3
HERE = os.path.dirname(os.path.abspath(__file__))
CURVES = {  # name: teacher, batch, data
    "mnist_mlp32": ("mnist_mlp_teacher", 128, "mnist"),
    "mnist_cnn_small": ("mnist_cnn_teacher", 128, "mnist"),
    "cifar10_resnet8": ("cifar10_resnet_teacher", 64, "cifar10"),
    "rt_textcnn_small": ("rt_textcnn_teacher", 64, "rt-polarity"),
    "transformer2": ("fsdd_cnn_teacher", 64, "fsdd"),
}
WORD = (1 << 64) - 1


def mix(x):  # the finisher of splitmix64, as runtime/batch.c has it
    x = (x + 0x9E3779B97F4A7C15) & WORD
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & WORD
    return x ^ x >> 31


def order(n, epoch):
    """The samples of an epoch in the trainer's order."""
    key = mix(mix(SEED) ^ (epoch * 0xD1342543DE82EF95 & WORD))
    perm = list(range(n))
    for i in range(n - 1, 0, -1):
        j = mix((key + mix(i)) & WORD) % (i + 1)
        perm[i], perm[j] = perm[j], perm[i]
    return torch.tensor(perm)


class Transformer(nn.Module):
    """Two encoder layers over the 30 frames of a spectrogram, post-norm, mean of the tokens."""

    def __init__(self, dim=32, heads=4, hidden=64):
        super().__init__()
        self.heads = heads
        self.embed, self.position = nn.Linear(32, dim), nn.Parameter(torch.randn(30, dim) * 0.1)
        layer = lambda: nn.ModuleDict(dict(qkv=nn.Linear(dim, 3 * dim), out=nn.Linear(dim, dim), norm1=nn.LayerNorm(dim),
                                           up=nn.Linear(dim, hidden), down=nn.Linear(hidden, dim), norm2=nn.LayerNorm(dim)))
        self.layers, self.head = nn.ModuleList([layer(), layer()]), nn.Linear(dim, 10)

    def forward(self, x):
        x = self.embed(x.squeeze(1).transpose(1, 2)) + self.position
        n, t, d = x.shape
        for l in self.layers:
            q, k, v = l["qkv"](x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
            p = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(d // self.heads), -1)
            x = l["norm1"](x + l["out"]((p @ v).transpose(1, 2).reshape(n, t, d)))
            x = l["norm2"](x + l["down"](F.gelu(l["up"](x))))
        return self.head(x.mean(1))


def student(name):
    if name != "transformer2":
        return load_onnx(models.build(name), ROOT / "students" / (name + ".onnx"))
    torch.manual_seed(0)
    return Transformer()


def curve(name, dtype):
    teacher, batch, data = CURVES[name]
    x, y = load(data)["train"]
    x = x.to(dtype) if x.is_floating_point() else x
    big = load_onnx(models.build(teacher), ROOT / "teachers" / (teacher + ".onnx")).to(dtype)
    small = student(name).to(dtype).train()
    adam, steps, losses = torch.optim.Adam(small.parameters(), lr=RATE), len(x) // batch, []
    for i in range(STEPS):
        if i % steps == 0:
            perm = order(len(x), i // steps)
        now = perm[i % steps * batch:][:batch]
        with torch.no_grad():
            soft = big(x[now])
        loss = kd_loss(small(x[now]), soft, y[now], 0.9)
        adam.zero_grad(); loss.backward(); adam.step()
        losses.append(loss.item())
    return losses


for name in sys.argv[2:] or CURVES:
    if name == "transformer2":
        torch.onnx.export(student(name), torch.zeros(64, 1, 32, 30), os.path.join(HERE, name + ".onnx"), opset_version=17,
                          training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False, input_names=["mel"], output_names=["logits"])
    a, b = curve(name, torch.float64), curve(name, torch.float32)
    with open(os.path.join(HERE, name + ".txt"), "w") as f:
        f.writelines("%.9g %.9g\n" % v for v in zip(a, b))
    print(name, "float32 against float64: %.1e" % max(abs(p - q) / p for p, q in zip(a, b)), flush=True)
