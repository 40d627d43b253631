"""The recurrent loop made of differentiable operations, one after the other for every step.

Far slower than the native loop, and the same numbers within rounding, with every option. It serves what wants the steps
themselves in the graph: derivatives of derivatives, and the gradient of every hidden state.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor
from .dropout import Dropout
from .elementwise import where
from .rnn_composed_cells import Cell, Masks, Params, make_step
from .shape import Cat, Reshape, cat, stack


class Steps(Elementary):
    """(y_0, y_1, ...) = x[0], x[1], ...; the gradient is put together once, not added up step by step."""

    may_warn = False

    @staticmethod
    def forward(ctx: Node, x: Array) -> tuple[Array, ...]:
        ctx.like = x
        return tuple(x)

    @staticmethod
    def backward(ctx: Node, *dys: Any) -> Any:
        shape = ctx.like.shape[1:]
        whole = [np.zeros_like(ctx.like, shape=shape) if dy is None else dy for dy in dys]
        return Cat.call(*(Reshape.call(dy, shape=(1, *shape)) for dy in whole), axis=0)


class Trace:
    """Every h_t of every call: `calls[i][k][t]` is [N,P], of layer k // D in direction k % D, in the order of time."""

    def __init__(self) -> None:
        self.calls: list[list[list[Tensor]]] = []


class _Active(threading.local):
    trace: Trace | None = None


_active = _Active()


@contextmanager
def tracing() -> Iterator[Trace]:
    """Recurrent layers of this thread run composed inside, and leave their hidden states in the Trace."""
    before, _active.trace = _active.trace, Trace()
    try:
        yield _active.trace
    finally:
        _active.trace = before


def active_trace() -> Trace | None:
    return _active.trace


class Loop(NamedTuple):
    """A recurrent layer's options, besides those of a step. zoneout: of h and of c; the numbers of all masks begin at
    `offset` of the stream `seed`."""

    cell: Cell
    layers: int = 1
    directions: int = 1
    dropout: float = 0.0
    zoneout: tuple[float, float] = (0.0, 0.0)
    recurrent_dropout: float = 0.0
    recurrent_dropout_mode: str = "sequence"
    training: bool = True
    seed: int = 0
    offset: int = 0


class Rows(NamedTuple):
    """lengths [N]: row b has the steps 0 .. lengths[b] - 1; reset [T,N]: row b is cut between t - 1 and t. Arrays on
    the device of x, or None."""

    lengths: Array | None = None
    reset: Array | None = None

    def tokens(self, steps: int, batch: int) -> int:
        """The number of steps of all rows."""
        return steps * batch if self.lengths is None else int(self.lengths.sum())

    def here(self, steps: int) -> Any:
        """[T,N,1], whether a row has a step; None where all have all."""
        if self.lengths is None:
            return None
        xp = np if isinstance(self.lengths, np.ndarray) else backend.cupy()
        return (xp.arange(steps)[:, None] < self.lengths)[:, :, None]

    def anew(self, reverse: bool) -> Any:
        """[T,N,1], whether a row begins anew at a step; None where none does. In the reverse direction that is the step
        before the cut."""
        if self.reset is None:
            return None
        here, cut = self.here(len(self.reset)), self.reset[:, :, None] != 0
        cut = cut if here is None else cut & here
        if reverse:
            cut = (np if isinstance(cut, np.ndarray) else backend.cupy()).concatenate([cut[1:], cut[:1] & False])
        return cut


class _Numbers:
    """Draws the masks one after another."""

    def __init__(self, like: Array, seed: int, offset: int) -> None:
        self.like, self.seed, self.offset = like, seed, offset

    def factors(self, shape: tuple[int, ...], p: float) -> Tensor:
        """0 with probability p, else 1 / (1 - p)."""
        y = backend.empty_like(self.like, shape)
        y[...] = 1
        backend.kernel(y, "dropout")(y, y, p, self.seed, self.offset)
        self.offset += y.size
        return Tensor(y)


def _masks(x: Tensor, loop: Loop, out: int, hidden: int, numbers: _Numbers) -> Masks:
    """Those of one layer in one direction, for all steps."""
    steps, batch = x.shape[:2]
    keep: list[Any] = []
    for p, width in zip(loop.zoneout, (out, hidden), strict=True):
        if p and loop.training:
            keep.append(Tensor((numbers.factors((steps, batch, width), p).data == 0).astype(x.dtype)))
        else:
            keep.append(p or None)
    if not (loop.recurrent_dropout and loop.training):
        return Masks(*keep)
    sequence = loop.recurrent_dropout_mode == "sequence"
    drop = numbers.factors((batch, out) if sequence else (steps, batch, hidden), loop.recurrent_dropout)
    return Masks(*keep, *((drop, None) if sequence else (None, drop)))


def _direction(
    x: Tensor,
    start: Sequence[Any],
    again: Sequence[Any],
    p: Params,
    cell: Cell,
    masks: Masks,
    rows: Rows,
    reverse: bool,
) -> tuple[list[Tensor], list[Any], tuple[Tensor, Any]]:
    """(h_t in the order of time, c_t, the last state) of one direction of one layer."""
    steps, batch, inputs = x.shape
    affines, step = make_step(cell, p)
    flat = x.reshape(steps * batch, inputs)
    a = [Steps.apply(y.reshape(steps, batch, y.shape[1])) for y in (f(flat) for f in affines)]
    here, anew = rows.here(steps), rows.anew(reverse)
    hs: list[Any] = [None] * steps
    cs: list[Any] = [None] * steps
    h, c = start
    for t in reversed(range(steps)) if reverse else range(steps):
        if anew is not None:
            h, c = (None if s is None else where(anew[t], r, s) for r, s in zip(again, (h, c), strict=True))
        mine = Masks(*(m[t] if isinstance(m, Tensor) and m.ndim == 3 else m for m in masks))
        new = step([blocks[t] for blocks in a], h, c, mine)
        if here is None:
            h, c = new
        else:
            h, c = (None if s is None else where(here[t], n, s) for n, s in zip(new, (h, c), strict=True))
        hs[t], cs[t] = h, c
    return hs, cs, (h, c)


def _stacked(steps: list[Tensor], here: Any) -> Tensor:
    """[T,N,...], 0 past the ends of the rows."""
    y = stack(steps)
    return y if here is None else where(here, y, Tensor(np.zeros_like(y.data, shape=())))


def composed(
    x: Tensor,
    starts: Sequence[Tensor | None],
    weights: Sequence[Params],
    loop: Loop,
    rows: Rows = Rows(),  # noqa: B008
    again: Sequence[Tensor | None] = (None, None),
) -> tuple[Tensor, ...]:
    """What the native loop computes: (y, hn), of an LSTM (y, hn, cn, cells).

    starts: h0 and c0; again: what resets put in their place; None is zeros. weights: the parameters of each layer in
    each direction.
    """
    is_lstm, directions = loop.cell.kind == "lstm", loop.directions
    here = rows.here(len(x))
    if here is not None:  # what stands past the ends may be NaN
        x = where(here, x, Tensor(np.zeros_like(x.data, shape=())))
    hidden, out = (weights[0][n].shape[1] if n in weights[0] else 0 for n in ("weight_hr", "weight_hh"))
    hidden = hidden or out
    batch, offset = x.shape[1], loop.offset
    between = len(x) * batch * directions * out if loop.dropout and loop.training else 0
    numbers = _Numbers(x.data, loop.seed, offset + (loop.layers - 1) * between)
    traced: list[list[Tensor]] = []
    ends: list[tuple[Any, ...]] = []
    for layer in range(loop.layers):
        outputs, cells = [], []
        for d in range(directions):
            k = layer * directions + d
            zeros = [Tensor(np.zeros_like(x.data, shape=(batch, n))) for n in (out, hidden)[: 1 + is_lstm]]
            first, anew = (
                [*(z if s is None else s[k] for s, z in zip(given, zeros, strict=False)), None][:2]
                for given in (starts, again)
            )
            masks = _masks(x, loop, out, hidden, numbers)
            hs, cs, end = _direction(x, first, anew, weights[k], loop.cell, masks, rows, d == 1)
            traced.append(hs)
            ends.append(end)
            outputs.append(_stacked(hs, here))
            if is_lstm and layer == loop.layers - 1:
                cells.append(_stacked(cs, here))
        x = cat(outputs, 2)
        if between and layer < loop.layers - 1:
            x = Dropout.apply(x, p=loop.dropout, seed=loop.seed, offset=offset + layer * between)
    trace = active_trace()
    if trace is not None:
        trace.calls.append(traced)
    h, c = zip(*ends, strict=True)
    return (x, stack(h), stack(c), cat(cells, 2)) if is_lstm else (x, stack(h))
