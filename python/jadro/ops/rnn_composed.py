"""The recurrent loop made of differentiable operations, one after the other for every step.

Far slower than the native loop, and the same numbers within rounding. It serves what wants the steps themselves in the
graph: derivatives of derivatives, and the gradient of every hidden state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor
from .activation import relu, sigmoid, tanh
from .dropout import Dropout
from .shape import Cat, Reshape, cat, stack

Step = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # (W x + b, U h + b', h, c) -> (h', c')


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


def _rnn(f: Callable[[Tensor], Tensor]) -> Step:
    return lambda a, b, h, c: (f(a + b), c)


def _lstm(a: Tensor, b: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = (a + b).chunk(4, 1)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _gru(a: Tensor, b: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    (ar, az, an), (br, bz, bn) = a.chunk(3, 1), b.chunk(3, 1)
    n = tanh(an + sigmoid(ar + br) * bn)
    return n + sigmoid(az + bz) * (h - n), c


STEPS: dict[str, Step] = {"rnn_tanh": _rnn(tanh), "rnn_relu": _rnn(relu), "lstm": _lstm, "gru": _gru}


class Trace:
    """Every h_t of every call: `calls[i][k][t]` is [N,H], of layer k // D in direction k % D, in the order of time."""

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


def _direction(
    x: Tensor, h: Tensor, c: Tensor, weights: Sequence[Tensor], cell: str, reverse: bool
) -> tuple[list[Tensor], Tensor]:
    """(h_t in the order of time, last c) of one direction of one layer."""
    (w, u), biases = weights[:2], weights[2:]
    steps, batch, inputs = x.shape
    a = x.reshape(steps * batch, inputs) @ w.T
    if biases:
        a = a + biases[0]
    order = -1 if reverse else 1
    hs: list[Tensor] = []
    turned = u.T
    for a_t in Steps.apply(a.reshape(steps, batch, w.shape[0]))[::order]:
        b_t = h @ turned
        h, c = STEPS[cell](a_t, b_t + biases[1] if biases else b_t, h, c)
        hs.append(h)
    return hs[::order], c


def composed(
    x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: Sequence[Tensor], options: Any
) -> tuple[Tensor, ...]:
    """What the native loop computes: (y, hn), of an LSTM (y, hn, cn). options: `jadro.ops.rnn.Options`."""
    each, directions = 4 if options.bias else 2, options.directions
    traced: list[list[Tensor]] = []
    ends: list[tuple[Tensor, Tensor]] = []
    for layer in range(options.layers):
        for d in range(directions):
            k = layer * directions + d
            mine = weights[k * each : (k + 1) * each]
            zero = Tensor(np.zeros_like(x.data, shape=(x.shape[1], mine[1].shape[1])))
            h, c = (zero if s is None else s[k] for s in (h0, c0))
            hs, c = _direction(x, h, c, mine, options.cell, d == 1)
            traced.append(hs)
            ends.append((hs[0] if d else hs[-1], c))
        outputs = [stack(hs) for hs in traced[-directions:]]
        x = outputs[0] if directions == 1 else cat(outputs, 2)
        if options.dropout and layer < options.layers - 1:
            at = options.offset + layer * x.numel()
            x = Dropout.apply(x, p=options.dropout, seed=options.seed, offset=at)
    trace = active_trace()
    if trace is not None:
        trace.calls.append(traced)
    states = [stack(parts) for parts in zip(*ends, strict=True)]
    return (x, *states) if options.cell == "lstm" else (x, states[0])
