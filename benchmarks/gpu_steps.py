"""Whole training steps on the GPU in float32 without TF32: models of `bench_step` and an optimizer, written once for
jadro and PyTorch, whose layers have the same names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.bench_step import CHARACTERS, HIDDEN, IMAGES, LEARNING_RATE, STEPS, STREAMS, resnet20_blocks

ADAM_TENSORS, ADAM_ELEMENTS = 64, 1 << 20
CHECKED_STEPS = 3


def resnet20(library: Any) -> Any:
    """He et al. 2015, section 4.2, with shortcuts that fill new channels with zeros."""
    nn = library.nn
    functional = nn.functional

    class Block(nn.Module):
        def __init__(self, ic: int, oc: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(ic, oc, 3, stride=stride, padding=1, bias=False)
            self.conv2 = nn.Conv2d(oc, oc, 3, padding=1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(oc), nn.BatchNorm2d(oc)
            self.stride, self.new = stride, oc - ic

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            if self.new:
                x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))
            return functional.relu(y + x)

    class ResNet20(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
            self.blocks = nn.Sequential(*(Block(ic, oc, stride) for _, ic, oc, stride in resnet20_blocks()))
            self.fc = nn.Linear(64, 10)

        def forward(self, x: Any) -> Any:
            return self.fc(self.blocks(functional.relu(self.bn(self.conv(x)))).mean((2, 3)))

    return ResNet20()


def charlm(library: Any) -> Any:
    nn = library.nn

    class CharLm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(CHARACTERS, CHARACTERS)
            self.rnn = nn.LSTM(CHARACTERS, HIDDEN, num_layers=2)
            self.fc = nn.Linear(HIDDEN, CHARACTERS)

        def forward(self, ids: Any) -> Any:
            return self.fc(self.rnn(self.embedding(ids))[0].flatten(0, 1))

    return CharLm()


def model_data(name: str, small: bool) -> tuple[np.ndarray, np.ndarray]:
    """A batch and its classes."""
    rng = np.random.default_rng(5)
    if name == "charlm":
        steps, streams = (3, 2) if small else (STEPS, STREAMS)
        return rng.integers(0, CHARACTERS, (steps, streams)), rng.integers(0, CHARACTERS, steps * streams)
    images, size = (2, 8) if small else (IMAGES, 32)
    return rng.standard_normal((images, 3, size, size), dtype=np.float32), rng.integers(0, 10, images)


@dataclass(frozen=True)
class StepCase:
    """resnet20 and charlm: forward, loss, backward and Adam; adam: one step of many parameters. run_of(side)() makes a
    step; after a model's it returns the loss before the update."""

    kind: str
    small: bool = False

    @property
    def name(self) -> str:
        if self.kind == "adam":
            return f"step adam {ADAM_TENSORS} tensors of {ADAM_ELEMENTS}"
        return f"step {self.kind}"

    @property
    def has_peer(self) -> bool:
        return True

    @property
    def bytes_moved(self) -> int:
        return 7 * 4 * ADAM_TENSORS * ADAM_ELEMENTS if self.kind == "adam" else 0  # p g m v read, p m v written

    def smaller(self) -> StepCase:
        return StepCase(self.kind, True)

    def run_of(self, side: Any) -> Callable[[], Any]:
        side.set_tf32(False)
        return self.adam(side) if self.kind == "adam" else self.model(side)

    def adam(self, side: Any) -> Callable[[], Any]:
        rng = np.random.default_rng(6)
        size = 10 if self.small else ADAM_ELEMENTS
        parameters = []
        for _ in range(ADAM_TENSORS):
            parameters.append(side.tensor(rng.standard_normal(size, dtype=np.float32), requires_grad=True))
            parameters[-1].grad = side.tensor(rng.standard_normal(size, dtype=np.float32))
        optimizer = side.library.optim.Adam(parameters, lr=LEARNING_RATE)

        def run() -> Any:
            optimizer.step()
            return parameters[0]

        return run

    def model(self, side: Any) -> Callable[[], Any]:
        import jadro

        make = {"resnet20": resnet20, "charlm": charlm}[self.kind]
        jadro.manual_seed(4)
        weights = {name: value.numpy() for name, value in make(jadro).state_dict().items()}
        model = make(side.library)
        model.load_state_dict({name: side.library.tensor(a) for name, a in weights.items()})
        model = model.to(side.device)
        optimizer = side.library.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        x, target = map(side.tensor, model_data(self.kind, self.small))
        cross_entropy = side.library.nn.functional.cross_entropy

        def run() -> Any:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss

        return run

    def results(self, side: Any) -> list[np.ndarray]:
        run = self.run_of(side)
        return [side.host(run()) for _ in range(CHECKED_STEPS)]

    def measure(self, side: Any) -> dict[str, float]:
        run = self.run_of(side)
        return {"train": side.timer().seconds(lambda _: run())}


STEP_CASES = [StepCase("resnet20"), StepCase("charlm"), StepCase("adam")]
