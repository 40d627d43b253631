"""What a call leaves behind: inference under no_grad runs in memory that is used again, whatever the sizes."""

import gc
import itertools
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import jadro
from jadro import _core, nn


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 3 * 3, 10),
    ).eval()  # fmt: skip


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(16, 32, num_layers=2, bidirectional=True)
        self.out = nn.Linear(64, 5)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


MODELS = {
    "cnn": (cnn, (4, 3, 28, 28)),
    "cnn, large batch": (cnn, (64, 3, 28, 28)),
    "lstm": (Tagger, (12, 4, 16)),
    "lstm, one step": (Tagger, (1, 1, 16)),
    "lstm, long": (Tagger, (200, 32, 16)),
}


def resident():
    """The resident set of the process, bytes; 0 where the system does not tell."""
    sizes = Path("/proc/self/statm")
    return int(sizes.read_text().split()[1]) * resource.getpagesize() if sizes.exists() else 0


def growth(call, times):
    """Python's traced bytes that `times` calls leave behind each time: the least of three."""
    gc.collect()
    tracemalloc.start()
    try:
        traced = []
        for _ in range(4):
            for _ in range(times):
                call()
            gc.collect()  # also empties the interpreter's lists of free tuples
            traced.append(tracemalloc.get_traced_memory()[0])
        return min(after - before for before, after in itertools.pairwise(traced))
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", MODELS)
def test_inference_allocates_nothing_after_its_first_calls(name):
    make, shape = MODELS[name]
    model, x = make(), jadro.tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))

    def call():
        with jadro.no_grad():
            model(x)

    for _ in range(3):
        call()
    kept, pages = _core.kept_memory(), resident()
    for _ in range(50):
        call()
        assert _core.kept_memory() == kept
    assert resident() - pages <= 1 << 18  # a single result of the large models is larger
    assert growth(call, 20) <= 1024  # less than an object a call


def test_training_keeps_to_its_memory_too():
    model, x = cnn().train(), jadro.tensor(np.random.default_rng(0).normal(size=(32, 3, 28, 28)).astype(np.float32))
    optimizer = jadro.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def call():
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    for _ in range(4):
        call()
    kept = sum(_core.kept_memory())
    for _ in range(20):
        call()
    assert sum(_core.kept_memory()) == kept
    assert growth(call, 20) <= 1024
