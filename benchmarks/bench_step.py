"""Whole training steps: forward, loss, backward and Adam (lr 1e-3) on one fixed batch.

  lenet         64 images 1x28x28; conv5x5 1->20, ReLU, max pool 2, conv5x5 20->50, ReLU, max pool 2, 800->500, ReLU,
                500->10 (no padding)
  resnet20      64 images 3x32x32; He et al. 2015, section 4.2: three stages of three blocks with 16, 32, 64 channels,
                batch norm, shortcuts that skip every other pixel and fill new channels with zeros
  charlm-lstm   64 steps of 50 streams; 87 characters embedded in 87 numbers, two LSTM layers of 256, 256->87
  charlm-gru    the same with GRU layers

The limit is three times the forward pass's convolutions and matrix products (one forward, two backward), batch norm and
pointwise work left out; resnet20's counts the multiplications inside the padding too, as its published 40.8 M do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks.bench_rnn import rnn_flops, rnn_shapes
from benchmarks.cases import Array, Case, Job, normal

Shapes = dict[str, tuple[int, ...]]
LEARNING_RATE = 1e-3
CHARACTERS, HIDDEN, STEPS, STREAMS = 87, 256, 64, 50
IMAGES = 64
STAGES = ((16, 16, 1), (16, 32, 2), (32, 64, 2))  # input channels, output channels, first stride
BLOCKS = 3


def resnet20_blocks() -> list[tuple[str, int, int, int]]:
    """(name, input channels, output channels, stride) of every residual block."""
    return [
        (f"blocks.{stage * BLOCKS + block}", ic if block == 0 else oc, oc, stride if block == 0 else 1)
        for stage, (ic, oc, stride) in enumerate(STAGES)
        for block in range(BLOCKS)
    ]


def lenet_shapes() -> Shapes:
    layers = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
    return {f"{k}.{part}": s if part == "weight" else s[:1] for k, s in layers.items() for part in ("weight", "bias")}


def resnet20_shapes() -> Shapes:
    shapes: Shapes = {"conv.weight": (16, 3, 3, 3), "bn.weight": (16,), "bn.bias": (16,)}
    for name, ic, oc, _ in resnet20_blocks():
        for i, channels in ((1, ic), (2, oc)):
            shapes[f"{name}.conv{i}.weight"] = (oc, channels, 3, 3)
            shapes[f"{name}.bn{i}.weight"] = shapes[f"{name}.bn{i}.bias"] = (oc,)
    return {**shapes, "fc.weight": (10, 64), "fc.bias": (10,)}


def charlm_shapes(cell: str) -> Shapes:
    rnn = {f"rnn.{k}": s for k, s in rnn_shapes(cell, CHARACTERS, HIDDEN, 2, 1).items()}
    embed = {"embedding.weight": (CHARACTERS, CHARACTERS)}
    return {**embed, **rnn, "fc.weight": (CHARACTERS, HIDDEN), "fc.bias": (CHARACTERS,)}


def resnet20_forward_flops() -> float:
    pixels = 32 * 32
    macs = 3 * 16 * 9 * pixels + 64 * 10
    for _, ic, oc, stride in resnet20_blocks():
        pixels //= stride * stride
        macs += 9 * oc * (ic + oc) * pixels
    return 2.0 * macs * IMAGES


def lenet_forward_flops() -> float:
    return 2.0 * IMAGES * (20 * 25 * 24 * 24 + 50 * 20 * 25 * 8 * 8 + 800 * 500 + 500 * 10)


def charlm_forward_flops(cell: str) -> float:
    tokens = STEPS * STREAMS
    return rnn_flops(rnn_shapes(cell, CHARACTERS, HIDDEN, 2, 1), tokens) + 2.0 * tokens * HIDDEN * CHARACTERS


@dataclass(frozen=True)
class Step(Case):
    """One step of one model; the job's result is the loss before the update."""

    model: str  # "lenet", "resnet20", "charlm-lstm" or "charlm-gru"

    group: ClassVar[str] = "step"
    op: ClassVar[str] = "step"

    @property
    def label(self) -> str:
        return f"step {self.model}"

    @property
    def name(self) -> str:
        return self.label

    @property
    def cell(self) -> str:
        """The recurrent layer, "" for an image model."""
        return self.model.removeprefix("charlm-") if self.model.startswith("charlm-") else ""

    @property
    def shapes(self) -> Shapes:
        if self.cell:
            return charlm_shapes(self.cell)
        return lenet_shapes() if self.model == "lenet" else resnet20_shapes()

    @property
    def flops(self) -> float:
        if self.cell:
            return 3 * charlm_forward_flops(self.cell)
        return 3 * (lenet_forward_flops() if self.model == "lenet" else resnet20_forward_flops())

    @property
    def bytes(self) -> float:
        parameters = sum(math.prod(s) for s in self.shapes.values())
        return 4.0 * 7 * parameters  # Adam reads p g m v and writes p m v

    def weights(self) -> dict[str, Array]:
        """PyTorch's default bounds; batch norm starts as the identity."""
        rng = np.random.default_rng(1)
        weights = {}
        for name, shape in self.shapes.items():
            if "bn" in name:
                weights[name] = np.full(shape, name.endswith("weight"), np.float32)
            elif "embedding" in name:
                weights[name] = normal(rng, *shape)
            else:
                bound = self._bound(name)
                weights[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
        return weights

    def _bound(self, name: str) -> float:
        if name.startswith("rnn."):
            return HIDDEN**-0.5
        return math.prod(self.shapes[name.rsplit(".", 1)[0] + ".weight"][1:]) ** -0.5

    def arrays(self) -> dict[str, Array]:
        """x: images or ids[T,B]; target: labels[N] or the next ids[T*B]."""
        rng = np.random.default_rng(0)
        if self.cell:
            ids = rng.integers(0, CHARACTERS, (STEPS + 1, STREAMS))
            return {"x": ids[:-1].copy(), "target": ids[1:].reshape(-1)}
        shape = (1, 28, 28) if self.model == "lenet" else (3, 32, 32)
        return {"x": normal(rng, IMAGES, *shape), "target": rng.integers(0, 10, IMAGES)}

    def jadro(self) -> Job:
        import jadro
        import jadro.nn.functional as F
        from jadro import optim

        a = self.arrays()
        model = _jadro_model(self)
        names = (name for name, _ in model.named_parameters())  # in the order of `shapes`
        model.load_state_dict(dict(zip(names, self.weights().values(), strict=True)), strict=False)
        model.train()
        optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
        x, target = jadro.tensor(a["x"]), jadro.tensor(a["target"])

        def run() -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss

        return Job(run, lambda loss: [loss.detach().numpy()])


def _jadro_model(case: Step) -> Any:
    if case.cell:
        return _jadro_charlm(case.cell)
    return _jadro_lenet() if case.model == "lenet" else _jadro_resnet20()


def _jadro_lenet() -> Any:
    from jadro import nn

    convolutions = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))


def _jadro_resnet20() -> Any:
    import jadro.nn.functional as F
    from jadro import nn

    class Skip(nn.Module):
        def __init__(self, new: int, stride: int) -> None:
            super().__init__()
            self.new, self.stride = new, stride

        def forward(self, x: Any) -> Any:
            return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))

    def block(ic: int, oc: int, stride: int) -> list[Any]:
        first = nn.Conv2d(ic, oc, 3, stride=stride, padding=1, bias=False)
        second = nn.Conv2d(oc, oc, 3, padding=1, bias=False)
        body = nn.Sequential(first, nn.BatchNorm2d(oc), nn.ReLU(), second, nn.BatchNorm2d(oc))
        return [nn.Residual(body, Skip(oc - ic, stride) if oc > ic else None), nn.ReLU()]

    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [layer for _, *sizes in resnet20_blocks() for layer in block(*sizes)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _jadro_charlm(cell: str) -> Any:
    from jadro import nn

    layer: Callable[..., Any] = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]

    class CharLm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(CHARACTERS, CHARACTERS)
            self.rnn = layer(CHARACTERS, HIDDEN, num_layers=2)
            self.fc = nn.Linear(HIDDEN, CHARACTERS)

        def forward(self, ids: Any) -> Any:
            y, _ = self.rnn(self.embedding(ids))
            return self.fc(y.reshape(-1, HIDDEN))

    return CharLm()


CASES = [Step(True, model) for model in ("lenet", "resnet20", "charlm-lstm", "charlm-gru")]
