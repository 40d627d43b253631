"""The GPU benchmark: jadro's CUDA layers beside PyTorch's with cuDNN on the same card, in float32 without TF32 and,
where a case says so, in TF32 or 16-bit floats, forward and training (forward and all gradients), timed by events
over inputs that rotate past the second-level cache."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.gpu_steps import STEP_CASES, StepCase

ROTATE_BYTES = 256 << 20  # of the inputs of a case together, more than any card's second-level cache
MOST_SETS = 16
TOLERANCE = {"float32": 2e-3, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 5e-2}  # of the largest element
Step = Callable[[Any], Any]  # from an input to a result that has gradients


@dataclass(frozen=True)
class Kind:
    """What a case's sizes mean: the shape of its input, and its layer from `jadro.nn` or `torch.nn`, whose names are
    the same."""

    sizes: str
    input_shape: Callable[..., tuple[int, ...]]
    layer: Callable[..., Any]


def image_shape(n: int, channels: int, size: int, *_: int) -> tuple[int, ...]:
    return n, channels, size, size


def conv(nn: Any, n: int, channels: int, size: int, filters: int, kernel: int, stride: int) -> Any:
    return nn.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2)


def depthwise(nn: Any, n: int, channels: int, size: int, kernel: int, stride: int) -> Any:
    return nn.Conv2d(channels, channels, kernel, stride=stride, padding=kernel // 2, groups=channels)


def recurrent(name: str, **options: Any) -> Kind:
    return Kind("T B I H", lambda t, n, i, h: (t, n, i), lambda nn, t, n, i, h: getattr(nn, name)(i, h, **options))


KINDS = {
    "conv": Kind("N IC size OC kernel stride", image_shape, conv),
    "depthwise": Kind("N C size kernel stride", image_shape, depthwise),
    "linear": Kind("N inputs outputs", lambda n, i, o: (n, i), lambda nn, n, i, o: nn.Linear(i, o)),
    "max pool": Kind(
        "N C size kernel stride", image_shape, lambda nn, n, c, size, k, s: nn.MaxPool2d(k, s, padding=k // 2)
    ),
    "avg pool": Kind(
        "N C size kernel stride", image_shape, lambda nn, n, c, size, k, s: nn.AvgPool2d(k, s, padding=k // 2)
    ),
    "batch norm": Kind("N C size", image_shape, lambda nn, n, c, size: nn.BatchNorm2d(c)),
    "layer norm": Kind("rows columns", lambda *shape: shape, lambda nn, n, c: nn.LayerNorm(c)),
    "relu": Kind("N C size", image_shape, lambda nn, *_: nn.ReLU()),
    "gelu": Kind("N C size", image_shape, lambda nn, *_: nn.GELU()),
    "softmax": Kind("rows columns", lambda *shape: shape, lambda nn, *_: nn.Softmax(-1)),
    "cross-entropy": Kind("rows classes", lambda *shape: shape, lambda nn, *_: nn.CrossEntropyLoss()),
    "lstm": recurrent("LSTM"),
    "gru": recurrent("GRU"),
    "rnn": recurrent("RNN"),
    "lstm, both directions": recurrent("LSTM", bidirectional=True),
    "lstm, layer norm": recurrent("LSTM", layer_norm=True),
    "lstm, zoneout": recurrent("LSTM", zoneout=0.1),
    "gru, layer norm": recurrent("GRU", layer_norm=True),
}
OF_MEMORY = ("max pool", "avg pool", "batch norm", "layer norm", "relu", "gelu", "softmax", "cross-entropy")
WITHOUT_PEER = ("lstm, layer norm", "lstm, zoneout", "gru, layer norm")  # PyTorch has no such options


@dataclass(frozen=True)
class GpuCase:
    """A layer of a kind; `sizes` are those that the kind names."""

    kind: str
    sizes: tuple[int, ...]
    precision: str = "float32"  # or tf32, float16, bfloat16

    @property
    def name(self) -> str:
        ending = "" if self.precision == "float32" else f" {self.precision}"
        return f"{self.kind} {'x'.join(map(str, self.sizes))}{ending}"

    @property
    def has_peer(self) -> bool:
        return self.kind not in WITHOUT_PEER

    @property
    def input_shape(self) -> tuple[int, ...]:
        return KINDS[self.kind].input_shape(*self.sizes)

    @property
    def bytes_moved(self) -> int:
        """Of a forward pass at least, where memory is the limit: the input, and the result; 0 elsewhere."""
        if self.kind not in OF_MEMORY:
            return 0
        x = math.prod(self.input_shape)
        y = x // self.sizes[-1] ** 2 if "pool" in self.kind else 0 if self.kind == "cross-entropy" else x
        return (x + y) * (2 if self.is_half else 4)

    @property
    def is_half(self) -> bool:
        return self.precision.endswith("16")

    def smaller(self) -> GpuCase:
        """The same with few elements and in float32, to try the code and not the card."""
        return replace(self, sizes=tuple(min(size, 6) for size in self.sizes), precision="float32")

    def results(self, side: Side) -> list[np.ndarray]:
        """y, and the gradient with respect to x of a weighted sum of y."""
        x = side.float_of(self, inputs_of(self, 1)[0], requires_grad=True)
        y = side.step(self)(x)
        dy = np.random.default_rng(2).standard_normal(tuple(y.shape)).astype(np.float32)
        y.backward(side.float_of(self, dy))
        return [side.host(y), side.host(x.grad)]

    def measure(self, side: Side) -> dict[str, float]:
        """{"forward": seconds, "train": seconds}"""
        step, timer = side.step(self), side.timer()
        train = [side.float_of(self, a, requires_grad=True) for a in inputs_of(self)]
        forward = [x.detach() for x in train]
        seed = side.float_of(self, np.ones(tuple(step(forward[0]).shape), np.float32))

        def forward_run(i: int) -> None:
            with side.library.no_grad():
                step(forward[i % len(forward)])

        def train_run(i: int) -> None:
            x = train[i % len(train)]
            x.grad = None
            step(x).backward(seed)

        return {"forward": timer.seconds(forward_run), "train": timer.seconds(train_run)}


LAYERS = [
    GpuCase("conv", (32, 64, 56, 64, 3, 1)),
    GpuCase("conv", (32, 256, 14, 256, 3, 1)),
    GpuCase("conv", (32, 128, 56, 128, 3, 2)),
    GpuCase("conv", (32, 256, 14, 1024, 1, 1)),
    GpuCase("conv", (32, 3, 224, 64, 7, 2)),
    *(
        GpuCase("conv", sizes, precision)
        for precision in ("tf32", "float16", "bfloat16")
        for sizes in ((32, 64, 56, 64, 3, 1), (32, 256, 14, 256, 3, 1), (32, 256, 14, 1024, 1, 1))
    ),
    GpuCase("depthwise", (32, 128, 56, 3, 1)),
    GpuCase("linear", (2048, 1024, 1024)),
    GpuCase("max pool", (32, 64, 112, 3, 2)),
    GpuCase("avg pool", (32, 64, 112, 3, 2)),
    GpuCase("batch norm", (32, 256, 56)),
    GpuCase("layer norm", (8192, 1024)),
    GpuCase("layer norm", (8192, 1024), "bfloat16"),
    GpuCase("relu", (32, 256, 56)),
    GpuCase("gelu", (32, 256, 56)),
    GpuCase("softmax", (8192, 1024)),
    GpuCase("cross-entropy", (8192, 1000)),
    GpuCase("cross-entropy", (8192, 1000), "bfloat16"),
    GpuCase("lstm", (128, 64, 256, 256)),
    GpuCase("lstm", (512, 16, 512, 512)),
    GpuCase("lstm", (100, 1, 128, 128)),
    GpuCase("lstm", (64, 32, 1024, 1024)),
    GpuCase("lstm", (128, 64, 256, 256), "tf32"),
    *(GpuCase("lstm", sizes, "bfloat16") for sizes in ((128, 64, 256, 256), (512, 16, 512, 512), (64, 32, 1024, 1024))),
    GpuCase("lstm, both directions", (128, 64, 256, 256)),
    GpuCase("lstm, layer norm", (128, 64, 256, 256)),
    GpuCase("lstm, zoneout", (128, 64, 256, 256)),
    GpuCase("gru", (128, 64, 256, 256)),
    GpuCase("gru", (512, 16, 512, 512)),
    GpuCase("gru", (128, 64, 256, 256), "bfloat16"),
    GpuCase("gru, layer norm", (128, 64, 256, 256)),
    GpuCase("rnn", (128, 64, 256, 256)),
]
CASES: list[GpuCase | StepCase] = [*LAYERS, *STEP_CASES]


def inputs_of(case: GpuCase, bytes_wanted: int = ROTATE_BYTES) -> list[np.ndarray]:
    """As many inputs as the cache cannot hold: the same numbers, shifted."""
    size = math.prod(case.input_shape)
    sets = min(MOST_SETS, max(1, -(-bytes_wanted // (4 * size))))
    numbers = np.random.default_rng(0).standard_normal(size + sets - 1, dtype=np.float32)
    return [numbers[i : i + size].reshape(case.input_shape) for i in range(sets)]


def parameters(case: GpuCase) -> dict[str, np.ndarray]:
    """The parameters of the case's layer, the same for both sides: of variance 1 / inputs, norms 1 and 0."""
    import jadro

    jadro.manual_seed(1)
    layer = KINDS[case.kind].layer(jadro.nn, *case.sizes)
    return {name: value.numpy() for name, value in layer.state_dict().items()}


class Side(ABC):
    """A library: `library` and `device`, and what differs between the two."""

    library: Any
    device: str

    def tensor(self, a: np.ndarray, requires_grad: bool = False) -> Any:
        return self.library.tensor(a, device=self.device, requires_grad=requires_grad)

    def float_of(self, case: GpuCase, a: np.ndarray, requires_grad: bool = False) -> Any:
        """A tensor of the case's dtype."""
        if not case.is_half:
            return self.tensor(a, requires_grad)
        t = self.in_half(case, self.tensor(a)).detach()
        t.requires_grad = requires_grad
        return t

    def in_half(self, case: GpuCase, x: Any) -> Any:
        """A tensor or a layer in the case's 16-bit floats."""
        return x.half() if case.precision == "float16" else x.bfloat16()

    def host(self, t: Any) -> np.ndarray:
        return np.asarray(t.detach().float().cpu().numpy())

    @abstractmethod
    def set_tf32(self, allowed: bool) -> None:
        """Whether products of float32 may round their operands to TF32."""

    @abstractmethod
    def timer(self) -> Timer:
        """The library's events."""

    def step(self, case: GpuCase) -> Step:
        """From an input to the layer's result."""
        self.set_tf32(case.precision == "tf32")
        layer = KINDS[case.kind].layer(self.library.nn, *case.sizes)
        layer.load_state_dict({name: self.library.tensor(a) for name, a in parameters(case).items()})
        layer = layer.to(self.device)
        if case.is_half:
            layer = self.in_half(case, layer)
        if case.kind == "cross-entropy":
            target = self.tensor(np.arange(case.sizes[0]) % case.sizes[1])
            return lambda x: layer(x, target)
        return lambda x: y[0] if isinstance(y := layer(x), tuple) else y


class JadroSide(Side):
    name = "jadro"

    def __init__(self, device: str = "cuda") -> None:
        import jadro

        self.library, self.device = jadro, device

    def set_tf32(self, allowed: bool) -> None:
        self.library.set_float32_matmul_precision("high" if allowed else "highest")

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

    def set_tf32(self, allowed: bool) -> None:
        backends = self.library.backends
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = allowed

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


def largest_difference(case: GpuCase | StepCase, sides: list[Side]) -> float:
    """Between the results of two sides, over the largest element."""
    pairs = zip(*(case.results(side) for side in sides), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
