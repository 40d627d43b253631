"""Text by characters: the vocabulary, batches for truncated backpropagation through time, and generation; and, whatever
the sequences, how far gradients flow back through time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from . import _core, backend
from .autograd import no_grad
from .data import Batches, new_seed
from .gradient_flow import gradient_flow, plot_gradient_flow
from .nn.checks import integer
from .nn.module import Module
from .nn.utils import evaluating
from .tensor import Tensor, as_tensor

__all__ = ["StreamBatches", "Vocabulary", "generate", "gradient_flow", "plot_gradient_flow", "stream_batches"]

IGNORED = -100  # the target that cross_entropy leaves out


class Vocabulary:
    """Characters and their numbers: character i of `characters` is i. Raises ValueError for none, or for one that
    repeats."""

    def __init__(self, characters: str) -> None:
        if not isinstance(characters, str):
            raise TypeError(f"Vocabulary: characters is a {type(characters).__name__}, expected a string")
        if not characters:
            raise ValueError("Vocabulary: there are no characters, expected at least one")
        self.characters = characters
        self._codes = _code_points(characters)
        self._sorted = np.argsort(self._codes, kind="stable")
        repeated = np.flatnonzero(np.diff(self._codes[self._sorted]) == 0)
        if repeated.size:
            which = characters[self._sorted[repeated[0]]]
            raise ValueError(f"Vocabulary: the character {which!r} is there twice, expected each once")

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The characters of a text, each once, in the order of their code points. ValueError for an empty text."""
        if not isinstance(text, str):
            raise TypeError(f"Vocabulary.from_text: text is a {type(text).__name__}, expected a string")
        if not text:
            raise ValueError("Vocabulary.from_text: the text is empty, expected at least one character")
        return cls("".join(sorted(set(text))))

    @classmethod
    def from_dict(cls, state: Mapping[str, str]) -> Vocabulary:
        """The vocabulary that `to_dict` gave the dict of."""
        if not isinstance(state, Mapping) or "characters" not in state:
            raise ValueError("Vocabulary.from_dict: expected a dict with 'characters'")
        return cls(state["characters"])

    def to_dict(self) -> dict[str, str]:
        """The vocabulary as a plain dict, for `jadro.save`."""
        return {"characters": self.characters}

    def __len__(self) -> int:
        return len(self.characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"

    def encode(self, text: str) -> np.ndarray:
        """The numbers of the characters, int64 [len(text)]. ValueError for a character that is not in the
        vocabulary."""
        if not isinstance(text, str):
            raise TypeError(f"encode: text is a {type(text).__name__}, expected a string")
        codes = _code_points(text)
        known = self._codes[self._sorted]
        places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        strangers = np.flatnonzero(known[places] != codes)
        if strangers.size:
            at = int(strangers[0])
            raise ValueError(
                f"encode: the character {text[at]!r} at position {at} is not among the {len(self)} of the vocabulary"
            )
        return self._sorted[places]

    def decode(self, ids: Any) -> str:
        """The characters with the numbers `ids`: one integer, or an array or list of them. ValueError for one outside
        0..len-1, TypeError for what is no integer."""
        numbers = backend.to_device(as_tensor(ids).data, "cpu").reshape(-1)
        if numbers.size == 0:
            return ""
        if numbers.dtype.kind not in "iu":
            raise TypeError(f"decode: ids has dtype {numbers.dtype}, expected integers")
        strangers = np.flatnonzero((numbers < 0) | (numbers >= len(self)))
        if strangers.size:
            at = int(strangers[0])
            raise ValueError(f"decode: ids holds {numbers[at]} at position {at}, expected 0..{len(self) - 1}")
        return self._codes[numbers].tobytes().decode("utf-32-le", "surrogatepass")


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


class StreamBatches(Batches):
    """Batches of a text cut into `batch_size` rows that are read side by side; see `stream_batches`."""

    def __init__(self, ids: np.ndarray, batch_size: int, steps: int, starts: np.ndarray | None, burn_in: int) -> None:
        super().__init__()
        self.batch_size, self.steps, self.burn_in = batch_size, steps, burn_in
        self.continuous, self.resets = burn_in == 0, starts is not None
        self._length = (len(ids) - 1) // batch_size  # of a row
        self._ids, self._starts = ids, starts

    def __len__(self) -> int:
        return (self._length - self.burn_in) // self.steps

    def batch(self, epoch: int, i: int) -> tuple[Tensor, ...]:
        """The window i * steps .. burn_in + (i + 1) * steps of every row, and what follows each of its own steps."""
        rows = np.arange(self.batch_size) * self._length + i * self.steps
        places = rows + np.arange(self.burn_in + self.steps)[:, None]
        after = places[self.burn_in :] + 1
        x, target = self._ids[places], self._ids[after]
        if self._starts is None:
            return as_tensor(x), as_tensor(target)
        reset = self._starts[places]
        if i == 0 or self.burn_in:
            reset[0] = True  # nothing comes before
        return as_tensor(x), as_tensor(np.where(self._starts[after], IGNORED, target)), as_tensor(reset)


def stream_batches(ids: Any, batch_size: int, steps: int, *, documents: Any = None, burn_in: int = 0) -> StreamBatches:
    """Batches for truncated backpropagation through time: row b of a batch goes on where row b of the one before ended.

    ids: the text's numbers, integers [n]. The text is cut into batch_size rows of equal length; each batch is a pair
    (x, target) of int64 [steps, batch_size], where target[t, b] is the entry after x[t, b]. What does not fill a row or
    a last batch is left out. The result can be gone through again and again, and knows where it stands
    (`data.Batches`).

    documents: integers [n], the document of each entry, such as `np.cumsum(ids == separator)`. A document begins where
    the number changes. Batches are then (x, target, reset): reset[t, b] is true where x[t, b] begins a document, the
    `reset` of a recurrent layer, and the last entry of a document has no target but -100, which `cross_entropy`
    ignores.

    burn_in: so many steps stand in front of each batch's own, to start from a warm state instead of one that was
    carried along with older weights: x and reset are [burn_in + steps, batch_size], target is [steps, batch_size], and
    the state starts from zeros in each batch. `train.Trainer` runs them without a gradient; by hand it is

        with no_grad(): _, state = model(x[:burn_in])
        scores, _ = model(x[burn_in:], state)

    Raises TypeError where ids or documents is not integers, ValueError where ids has not one axis, or fewer than
    batch_size * (burn_in + steps) + 1 entries, and where documents has another shape.
    """
    if isinstance(ids, str):
        raise TypeError("stream_batches: ids is a string, expected integers; encode it with a Vocabulary")
    batch_size = integer("stream_batches", "batch_size", batch_size)
    steps = integer("stream_batches", "steps", steps)
    burn_in = integer("stream_batches", "burn_in", burn_in, 0)
    numbers = _integers("ids", ids)
    if numbers.ndim != 1:
        raise ValueError(f"stream_batches: ids has shape {numbers.shape}, expected one axis")
    window = burn_in + steps
    if numbers.size <= batch_size * window:
        need = f"{batch_size} rows of {window} steps need {batch_size * window + 1}"
        raise ValueError(f"stream_batches: ids has {numbers.size} entries: too few, {need}")
    starts = None
    if documents is not None:
        owners = _integers("documents", documents)
        if owners.shape != numbers.shape:
            raise ValueError(f"stream_batches: documents has shape {owners.shape}, expected {numbers.shape} as ids has")
        starts = np.concatenate([[True], owners[1:] != owners[:-1]])
    return StreamBatches(numbers.astype(np.int64, copy=False), batch_size, steps, starts, burn_in)


def _integers(name: str, values: Any) -> np.ndarray:
    """`values` as an array on the CPU; TypeError where they are no integers."""
    array = backend.to_device(as_tensor(values).data, "cpu")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"stream_batches: {name} has dtype {array.dtype}, expected integers")
    return array


def generate(
    model: Callable[..., Any], vocab: Vocabulary, prompt: str, length: int, temperature: float = 1.0,
    top_k: int | None = None, top_p: float | None = None, seed: int | None = None,
) -> Iterator[str]:  # fmt: skip
    """An iterator of `length` characters that the model writes after `prompt`.

    model: called as `scores, state = model(ids, state)` with int64 ids [T, 1]; scores [T, 1, V] over the vocabulary.
    It reads the prompt once, with state None, and then each character once; while it runs a Module is in evaluation
    mode, and is back in its own mode in between. temperature: divides the scores; 0 takes the best each time. top_k:
    draw from the k best only. top_p: draw from the fewest best whose probabilities sum to top_p. seed: of the draws;
    None takes one from the library's stream. Raises ValueError for an empty prompt, a character that is not in the
    vocabulary, options out of range and scores that are NaN or of another size.
    """
    length = integer("generate", "length", length, 0)
    top_k = None if top_k is None else integer("generate", "top_k", top_k)
    if not prompt:
        raise ValueError("generate: the prompt is empty, expected at least one character to go on from")
    if not 0.0 <= temperature < math.inf:
        raise ValueError(f"generate: temperature is {temperature}, expected a finite number of at least 0")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"generate: top_p is {top_p}, expected 0 < top_p <= 1")
    ids = vocab.encode(prompt)
    seed = new_seed() if seed is None else integer("generate", "seed", seed, None)
    return _written(model, vocab, ids, length, (temperature, top_k, top_p), seed % 2**64)


def _written(
    model: Callable[..., Any],
    vocab: Vocabulary,
    ids: np.ndarray,
    length: int,
    options: tuple[float, int | None, float | None],
    seed: int,
) -> Iterator[str]:
    first = next(model.parameters(), None) if isinstance(model, Module) else None
    device = "cpu" if first is None else first.device
    state, u = None, np.empty(1)
    for i in range(length):
        with evaluating(model), no_grad():
            scores, state = model(as_tensor(ids[:, None]).to(device), state)
        _core.random_uniform(u, seed, i)
        if scores.shape[-1] != len(vocab):
            raise ValueError(
                f"generate: the model gives {scores.shape[-1]} scores, expected {len(vocab)}, one a character"
            )
        last = backend.to_device(scores.data, "cpu").reshape(-1, len(vocab))[-1]
        ids = np.array([_choose(last.astype(np.float64), float(u[0]), *options)])
        yield vocab.characters[ids[0]]


def _choose(scores: np.ndarray, u: float, temperature: float, top_k: int | None, top_p: float | None) -> int:
    """The number that the uniform number u picks from softmax(scores / temperature), cut to top_k and top_p."""
    order = np.argsort(-scores, kind="stable")
    best = scores[order[0]]
    if np.isnan(scores).any() or not np.isfinite(best):
        raise ValueError("generate: the model's scores are NaN or infinite, expected numbers")
    if temperature == 0:
        return int(order[0])
    order = order[:top_k]
    with np.errstate(over="ignore"):  # a tiny temperature makes all but the best -inf
        sums = np.cumsum(np.exp((scores[order] - best) / temperature))
    if top_p is not None:
        sums = sums[: int(np.searchsorted(sums, top_p * sums[-1])) + 1]
    return int(order[min(int(np.searchsorted(sums, u * sums[-1], side="right")), len(sums) - 1)])
