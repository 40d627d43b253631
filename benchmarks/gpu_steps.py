"""Whole training steps on the GPU in float32 without TF32: models of `bench_step` and an optimizer, written once for
jadro and PyTorch, whose layers have the same names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.bench_step import CHARACTERS, IMAGES, LEARNING_RATE, STEPS, STREAMS
from benchmarks.models import charlm, resnet20

ADAM_TENSORS, ADAM_ELEMENTS = 64, 1 << 20
CHECKED_STEPS = 3


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

        make = resnet20 if self.kind == "resnet20" else partial(charlm, cell="lstm")
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
