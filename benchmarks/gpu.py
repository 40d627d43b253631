"""The GPU benchmark: jadro's CUDA layers beside PyTorch's with cuDNN on the same card, in float32 without TF32
and, where a case says so, in TF32 or float16, forward and training (forward and all gradients), timed by events over
inputs that rotate past the second-level cache."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

ROTATE_BYTES = 256 << 20  # of the inputs of a case together, more than any card's second-level cache
MOST_SETS = 16
TOLERANCE = {"float32": 2e-3, "tf32": 1e-2, "float16": 1e-2}  # of the largest element
Step = Callable[[Any], Any]  # from an input to a result that has gradients


@dataclass(frozen=True)
class GpuCase:
    """kind: conv, pool, norm, relu, loss, lstm, gru or rnn; sizes as `SIZES` names them for it."""

    name: str
    kind: str
    sizes: tuple[int, ...]
    precision: str = "float32"  # or tf32, float16

    @property
    def input_shape(self) -> tuple[int, ...]:
        if self.kind in ("lstm", "gru", "rnn"):
            steps, batch, inputs, _ = self.sizes
            return steps, batch, inputs
        if self.kind == "loss":
            return self.sizes
        n, channels, size, *_ = self.sizes
        return n, channels, size, size

    def smaller(self) -> GpuCase:
        """The same with few elements and in float32, to try the code and not the card."""
        return replace(self, sizes=tuple(min(size, 6) for size in self.sizes), precision="float32")


# conv: N IC size OC kernel stride; pool: N C size kernel stride; norm, relu: N C size; loss: rows classes; else T B I H
CASES = [
    GpuCase("conv3x3 32x64x56x56->64", "conv", (32, 64, 56, 64, 3, 1)),
    GpuCase("conv3x3 32x256x14x14->256", "conv", (32, 256, 14, 256, 3, 1)),
    GpuCase("conv3x3s2 32x128x56x56->128", "conv", (32, 128, 56, 128, 3, 2)),
    GpuCase("conv1x1 32x256x14x14->1024", "conv", (32, 256, 14, 1024, 1, 1)),
    GpuCase("conv7x7s2 32x3x224x224->64", "conv", (32, 3, 224, 64, 7, 2)),
    GpuCase("conv3x3 32x256x14x14->256 tf32", "conv", (32, 256, 14, 256, 3, 1), "tf32"),
    GpuCase("conv3x3 32x256x14x14->256 float16", "conv", (32, 256, 14, 256, 3, 1), "float16"),
    GpuCase("conv1x1 32x256x14x14->1024 float16", "conv", (32, 256, 14, 1024, 1, 1), "float16"),
    GpuCase("maxpool3s2 32x64x112x112", "pool", (32, 64, 112, 3, 2)),
    GpuCase("batch norm 32x256x56x56", "norm", (32, 256, 56)),
    GpuCase("relu 32x256x56x56", "relu", (32, 256, 56)),
    GpuCase("cross-entropy 8192x1000", "loss", (8192, 1000)),
    GpuCase("lstm T128 B64 I256 H256", "lstm", (128, 64, 256, 256)),
    GpuCase("lstm T512 B16 I512 H512", "lstm", (512, 16, 512, 512)),
    GpuCase("lstm T100 B1 I128 H128", "lstm", (100, 1, 128, 128)),
    GpuCase("lstm T128 B64 I256 H256 tf32", "lstm", (128, 64, 256, 256), "tf32"),
    GpuCase("gru T128 B64 I256 H256", "gru", (128, 64, 256, 256)),
    GpuCase("rnn T128 B64 I256 H256", "rnn", (128, 64, 256, 256)),
]


def parameters(case: GpuCase) -> dict[str, np.ndarray]:
    """The parameters of the case's layer, by PyTorch's names."""
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {}
    if case.kind == "conv":
        _, channels, _, filters, kernel, _ = case.sizes
        shapes = {"weight": (filters, channels, kernel, kernel), "bias": (filters,)}
    elif case.kind in ("lstm", "gru", "rnn"):
        *_, inputs, hidden = case.sizes
        rows = {"lstm": 4, "gru": 3, "rnn": 1}[case.kind] * hidden
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        shapes = dict(zip(names, ((rows, inputs), (rows, hidden), (rows,), (rows,)), strict=True))
    scale = max([int(np.prod(shape[1:])) for shape in shapes.values()], default=1) ** -0.5
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def layer_of(case: GpuCase, nn: Any) -> Any:
    """The case's layer from `jadro.nn` or `torch.nn`, whose names are the same; None where there is no layer."""
    if case.kind == "conv":
        _, channels, _, filters, kernel, stride = case.sizes
        return nn.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2)
    if case.kind == "pool":
        return nn.MaxPool2d(case.sizes[3], case.sizes[4], padding=case.sizes[3] // 2)
    if case.kind == "norm":
        return nn.BatchNorm2d(case.sizes[1])
    if case.kind == "relu":
        return nn.ReLU()
    recurrent = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}.get(case.kind)
    return getattr(nn, recurrent)(*case.sizes[2:]) if recurrent else None


def inputs_of(case: GpuCase, bytes_wanted: int = ROTATE_BYTES) -> list[np.ndarray]:
    """As many inputs as the cache cannot hold."""
    size = int(np.prod(case.input_shape)) * 4
    sets = min(MOST_SETS, max(1, -(-bytes_wanted // size)))
    rng = np.random.default_rng(0)
    return [rng.standard_normal(case.input_shape).astype(np.float32) for _ in range(sets)]


class Side:
    """A library: `library` and `device`, and what differs between the two."""

    library: Any
    device: str

    def tensor(self, a: np.ndarray, requires_grad: bool = False) -> Any:
        return self.library.tensor(a, device=self.device, requires_grad=requires_grad)

    def float_of(self, case: GpuCase, a: np.ndarray, requires_grad: bool = False) -> Any:
        """A tensor of the case's dtype."""
        if case.precision != "float16":
            return self.tensor(a, requires_grad)
        t = self.tensor(a).half().detach()
        t.requires_grad = requires_grad
        return t

    def host(self, t: Any) -> np.ndarray:
        return t.detach().cpu().numpy().astype(np.float32)

    def ready(self, case: GpuCase, layer: Any) -> Any:
        layer = layer.to(self.device)
        return layer.half() if case.precision == "float16" else layer


class JadroSide(Side):
    name = "jadro"

    def __init__(self, device: str = "cuda") -> None:
        import jadro

        self.library, self.device = jadro, device

    def step(self, case: GpuCase) -> Step:
        import jadro.nn.functional as F

        self.library.set_float32_matmul_precision("high" if case.precision == "tf32" else "highest")
        if case.kind == "loss":
            target = self.tensor(np.arange(case.sizes[0]) % case.sizes[1])
            return lambda x: F.cross_entropy(x, target)
        layer = layer_of(case, self.library.nn)
        if (found := parameters(case)) and layer is not None:
            layer.load_state_dict(found)
        layer = self.ready(case, layer)
        return lambda x: y[0] if isinstance(y := layer(x), tuple) else y

    def timer(self) -> Timer:
        from jadro import backend

        cupy = backend.cupy()
        return Timer(cupy.cuda.Event, cupy.cuda.get_elapsed_time, lambda event: event.synchronize())


class TorchSide(Side):
    name = "PyTorch"

    def __init__(self, device: str = "cuda") -> None:
        import torch

        torch.backends.cudnn.benchmark = True
        self.library, self.device = torch, device

    def step(self, case: GpuCase) -> Step:
        functional, backends = self.library.nn.functional, self.library.backends
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = case.precision == "tf32"
        if case.kind == "loss":
            target = self.tensor(np.arange(case.sizes[0]) % case.sizes[1])
            return lambda x: functional.cross_entropy(x, target)
        layer = layer_of(case, self.library.nn)
        if found := parameters(case):
            layer.load_state_dict({name: self.library.tensor(a) for name, a in found.items()})
        layer = self.ready(case, layer)
        return lambda x: y[0] if isinstance(y := layer(x), tuple) else y

    def timer(self) -> Timer:
        event = self.library.cuda.Event
        return Timer(lambda: event(enable_timing=True), lambda a, b: a.elapsed_time(b), lambda e: e.synchronize())


@dataclass(frozen=True)
class Timer:
    """Events of one library: how to make one, the milliseconds between two, how to wait for one."""

    event: Callable[[], Any]
    between: Callable[[Any, Any], float]
    wait: Callable[[Any], None]

    def seconds(self, run: Callable[[int], Any], slices: int = 9, runs: int = 10) -> float:
        """The median over slices of the seconds that one run(i) takes."""
        found = []
        for s in range(slices + 1):  # the first is the warm-up
            start, end = self.event(), self.event()
            start.record()
            for i in range(runs):
                run(s * runs + i)
            end.record()
            self.wait(end)
            found.append(self.between(start, end) / runs / 1e3)
        return statistics.median(found[1:])


def results(side: Any, case: GpuCase, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y, and the gradient with respect to x of a weighted sum of y."""
    given = side.float_of(case, x, requires_grad=True)
    y = side.step(case)(given)
    y.backward(side.float_of(case, np.random.default_rng(2).standard_normal(tuple(y.shape)).astype(np.float32)))
    return side.host(y), side.host(given.grad)


def largest_difference(case: GpuCase, sides: list[Any]) -> float:
    """Between the results of two sides, over the largest element."""
    x = inputs_of(case, 1)[0]
    pairs = zip(*(results(side, case, x) for side in sides), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def measure(side: Any, case: GpuCase) -> dict[str, float]:
    """{"forward": seconds, "train": seconds}"""
    step, arrays, timer = side.step(case), inputs_of(case), side.timer()
    forward = [side.float_of(case, a) for a in arrays]
    train = [side.float_of(case, a, requires_grad=True) for a in arrays]
    seed = side.float_of(case, np.ones(tuple(step(forward[0]).shape), np.float32))

    def forward_run(i: int) -> None:
        with side.library.no_grad():
            step(forward[i % len(forward)])

    def train_run(i: int) -> None:
        x = train[i % len(train)]
        x.grad = None
        step(x).backward(seed)

    return {"forward": timer.seconds(forward_run), "train": timer.seconds(train_run)}
