"""Models of `bench_step`, written once for libraries whose layers have PyTorch's names: `library` is jadro or torch."""

from __future__ import annotations

from typing import Any

from benchmarks.bench_step import CHARACTERS, HIDDEN, resnet20_blocks


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


def charlm(library: Any, cell: str) -> Any:
    """Embedding, two layers of `cell`, and the scores of the next character."""
    nn = library.nn
    layer = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]

    class CharLm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(CHARACTERS, CHARACTERS)
            self.rnn = layer(CHARACTERS, HIDDEN, num_layers=2)
            self.fc = nn.Linear(HIDDEN, CHARACTERS)

        def forward(self, ids: Any) -> Any:
            return self.fc(self.rnn(self.embedding(ids))[0].flatten(0, 1))

    return CharLm()
