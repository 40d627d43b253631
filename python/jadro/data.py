"""Data sets and batches that know where they stand, so that training can go on exactly where it stopped.

A data set is anything with `len` and integer indexing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core, random
from .nn.checks import integer
from .tensor import Tensor, as_tensor

_SHUFFLE = 0x9E3779B97F4A7C15  # keeps the streams of shuffling and of dropout apart where their seeds are the same


class TensorDataset:
    """Rows of several tensors of one length: `dataset[i]` is the tuple of their rows; i may be a slice or integers.

    Raises ValueError for no tensors, for one without axes and for lengths that differ.
    """

    def __init__(self, *tensors: Any) -> None:
        self.tensors = tuple(as_tensor(t) for t in tensors)
        if not self.tensors:
            raise ValueError("TensorDataset: no tensors were given, expected at least one")
        for i, t in enumerate(self.tensors):
            if t.ndim == 0 or len(t) != len(self.tensors[0]):
                expected = f"{len(self.tensors[0])} rows" if i else "at least one axis"
                raise ValueError(f"TensorDataset: tensors[{i}] has shape {t.shape}, expected {expected}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def batch(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """The rows as one batch."""
        return tuple(t.detach()[as_tensor(rows).to(t.device)] for t in self.tensors)


class Subset:
    """The rows `indices` of a data set. Raises ValueError for one outside it."""

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        size = len(dataset)
        if self.indices.size and not (-size <= self.indices.min() and self.indices.max() < size):
            span = f"{self.indices.min()}..{self.indices.max()}"
            raise ValueError(f"Subset: indices reach {span}, expected {-size}..{size - 1}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def batch(self, rows: np.ndarray) -> Any:
        """The rows as one batch."""
        return _batch(self.dataset, self.indices[rows])


def random_split(dataset: Any, lengths: Sequence[float], seed: int | None = None) -> list[Subset]:
    """The data set in random parts. lengths: sizes that sum to its length, or shares that sum to 1; what rounding
    leaves goes to the first parts. seed: None draws one from the library's stream. Raises ValueError for lengths that
    do not fit."""
    n = len(dataset)
    given = list(lengths)
    if not all(size >= 0 for size in given):
        raise ValueError(f"random_split: lengths is {given}, expected no negative ones")
    if all(isinstance(size, (int, np.integer)) for size in given):
        sizes = [int(size) for size in given]
    else:
        if not math.isclose(sum(given), 1.0):
            raise ValueError(f"random_split: lengths is {given}, expected shares that sum to 1")
        sizes = [math.floor(n * share) for share in given]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    if sum(sizes) != n:
        raise ValueError(f"random_split: lengths sum to {sum(sizes)}, expected {n}, the length of the data set")
    order = _permutation(n, new_seed() if seed is None else integer("random_split", "seed", seed, None), 0)
    ends = np.cumsum([0, *sizes])
    return [Subset(dataset, order[a:b]) for a, b in itertools.pairwise(ends)]


def new_seed() -> int:
    """A seed from the library's stream."""
    return int(random.uniform((1,), np.float64)[0] * 2**53)


def _permutation(n: int, seed: int, number: int) -> np.ndarray:
    """0..n-1 in the random order `number` of a seed."""
    keys = np.empty(n)
    _core.random_uniform(keys, (seed ^ _SHUFFLE) % 2**64, number * n)
    return np.argsort(keys, kind="stable")


def _batch(dataset: Any, rows: np.ndarray) -> Any:
    """The rows of a data set as one batch: by its own method `batch` where it has one."""
    return dataset.batch(rows) if hasattr(dataset, "batch") else collate([dataset[int(i)] for i in rows])


def collate(samples: Sequence[Any]) -> Any:
    """Samples as one batch: numbers and arrays are stacked along a new first axis, tuples, lists and dicts taken
    apart, anything else stays a list. Raises ValueError where shapes or structures differ."""
    first = samples[0]
    if isinstance(first, (tuple, list)):
        if any(len(s) != len(first) for s in samples):
            raise ValueError(f"collate: samples have {sorted({len(s) for s in samples})} parts, expected as many each")
        return tuple(collate(part) for part in zip(*samples, strict=True))
    if isinstance(first, Mapping):
        return {key: collate([s[key] for s in samples]) for key in first}
    if isinstance(first, (Tensor, np.ndarray, np.generic, int, float)):
        tensors = [as_tensor(s) for s in samples]
        for i, t in enumerate(tensors):
            if t.shape != tensors[0].shape:
                raise ValueError(f"collate: sample {i} has shape {t.shape}, expected {tensors[0].shape} as the first")
        return as_tensor(np.stack([t.data for t in tensors]))
    return list(samples)


class Batches:
    """Batches that can be gone through any number of times, one epoch each, and that know where they stand.

    Subclasses define `__len__`, the number of batches, and `batch(epoch, i)`; both count from 0. `continuous` says
    that row b of each batch goes on where row b of the one before ended, so that a recurrent state is carried over.
    """

    continuous = False

    def __init__(self) -> None:
        self.epoch = -1  # the one gone through last
        self.position = 0  # how many of its batches were handed out
        self._resumed = False

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__}: __len__ is not defined")

    def batch(self, epoch: int, i: int) -> Any:
        """Batch i of an epoch."""
        raise TypeError(f"{type(self).__name__}: batch is not defined")

    def __iter__(self) -> Iterator[Any]:
        """The batches of the next epoch; after `resume` or `load_state_dict` the rest of the one that was cut short."""
        if not self._resumed:
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = False
        return self._rest(self.epoch, self.position)

    def _rest(self, epoch: int, start: int) -> Iterator[Any]:
        for i in range(start, len(self)):
            batch = self.batch(epoch, i)
            self.epoch, self.position = epoch, i + 1
            yield batch

    def resume(self, position: int) -> None:
        """The next iteration goes on in the epoch that was gone through last, with batch `position`."""
        self.position = position
        self._resumed = self.epoch >= 0

    def state_dict(self) -> dict[str, int]:
        """The epoch, how many of its batches were handed out, and of how many."""
        return {"epoch": self.epoch, "position": self.position, "batches": len(self)}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """The next iteration goes on where the state was taken: with the batch after, or the next epoch. ValueError
        for the state of other batches."""
        call = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state_dict, Mapping) or set(state_dict) != set(self.state_dict()):
            raise ValueError(f"{call}: the state does not fit, expected {', '.join(self.state_dict())}")
        if state_dict["batches"] != len(self):
            raise ValueError(f"{call}: the state is that of {state_dict['batches']} batches, expected {len(self)}")
        self.epoch, self.position = state_dict["epoch"], state_dict["position"]
        self._resumed = self.epoch >= 0 and self.position < len(self)


class DataLoader(Batches):
    """Batches of a data set, in its order or shuffled anew each epoch.

    dataset: its samples are put together by its own method `batch(rows)` where it has one, as TensorDataset's does,
    else by `collate`. drop_last: leave out a last batch that is smaller. seed: of the shuffling, which depends on it
    and the epoch alone; None draws one from the library's stream, so that `jadro.manual_seed` fixes it. Raises
    ValueError for a batch_size below 1.
    """

    def __init__(
        self, dataset: Any, batch_size: int = 1, shuffle: bool = False, drop_last: bool = False, seed: int | None = None
    ) -> None:
        super().__init__()
        self.dataset, self.batch_size = dataset, integer("DataLoader", "batch_size", batch_size)
        self.shuffle, self.drop_last = shuffle, drop_last
        self.seed = new_seed() if seed is None else integer("DataLoader", "seed", seed, None)
        self._order: tuple[tuple[int, int], np.ndarray] | None = None  # of the (seed, epoch) it was drawn for

    def __len__(self) -> int:
        whole, left = divmod(len(self.dataset), self.batch_size)
        return whole + (left > 0 and not self.drop_last)

    def _rows(self, epoch: int) -> np.ndarray:
        """The order of an epoch."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        drawn_for = (self.seed, epoch)
        if self._order is None or self._order[0] != drawn_for:
            self._order = drawn_for, _permutation(len(self.dataset), *drawn_for)
        return self._order[1]

    def batch(self, epoch: int, i: int) -> Any:
        """Batch i of an epoch."""
        return _batch(self.dataset, self._rows(epoch)[i * self.batch_size : (i + 1) * self.batch_size])

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands, and the seed of its order."""
        return {**super().state_dict(), "seed": self.seed}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Goes on where the loader that gave `state_dict` stood, in its order."""
        super().load_state_dict(state_dict)
        self.seed = state_dict["seed"]
