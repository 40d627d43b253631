"""RNN, LSTM and GRU: one native call where the activations are the usual ones, else step by step, slower.

X[T,B,I] W[D,G*H,I] R[D,G*H,H] B[D,2*G*H] sequence_lens[B] initial_h, initial_c[D,B,H] P[D,3*H] -> Y[T,D,B,H]
Y_h[D,B,H] Y_c[D,B,H]; with layout 1 the batch B comes first in X, Y and the states.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...nn import functional as F
from ...nn.convert import onnx_blocks
from ...ops import rnn as loops
from ...ops.elementwise import clamp, where
from ...ops.shape import cat, flip, stack, unbind
from ...tensor import Tensor, wrap
from . import elementwise as e
from .registry import array, beside, is_float, operator
from .shape import reverse_sequence

_USUAL = {"rnn": ("tanh",), "lstm": ("sigmoid", "tanh", "tanh"), "gru": ("sigmoid", "tanh")}


class Problem(NamedTuple):
    """One direction's operands, forward in time; the axis of the directions is gone."""

    x: Tensor
    w: Tensor
    r: Tensor
    b: Tensor | None
    p: Tensor | None
    h: Tensor | None
    c: Tensor | None


class Options(NamedTuple):
    cell: str  # "rnn", or as the native loop has it
    clip: float
    lengths: np.ndarray | None


def _native(problems: Sequence[Problem], options: Options, cell: str) -> tuple[Tensor, ...]:
    """All directions by one call: y [T,B,D*H], hn and cn [D,B,H]."""
    weights: list[Tensor] = []
    blocks = onnx_blocks(options.cell)
    for one in problems:
        hidden = one.r.shape[1]

        def ours(t: Tensor, hidden: int = hidden) -> Tensor:
            return cat([t[k * hidden : (k + 1) * hidden] for k in blocks])

        weights += [ours(one.w), ours(one.r)]
        if one.b is not None:
            weights += [ours(half) for half in one.b.reshape(2, -1)]
        if one.p is not None:
            i, o, f = one.p.reshape(3, -1)
            weights += [i, o] if options.cell == "lstm_coupled" else [i, f, o]
    states = [None if s[0] is None else stack(s) for s in zip(*((one.h, one.c) for one in problems), strict=True)]
    first = problems[0]
    native = loops.Options(
        cell, 1, len(problems), first.b is not None, 0.0, 0, 0, peephole=first.p is not None, gate_clip=options.clip
    )
    states = states if native.is_lstm else states[:1]
    return loops.run("onnx.load", first.x, states, weights, native, lengths=options.lengths)


Activation = Callable[[Any], Any]

# Each with its two numbers, and their defaults; None where it has no such number.
_ACTIVATIONS: dict[str, tuple[Callable[..., Any], float | None, float | None]] = {
    "relu": (lambda x, a, b: F.relu(x), None, None),
    "tanh": (lambda x, a, b: F.tanh(x), None, None),
    "sigmoid": (lambda x, a, b: F.sigmoid(x), None, None),
    "softsign": (lambda x, a, b: x / (1 + x.abs()), None, None),
    "softplus": (lambda x, a, b: e.softplus(x), None, None),
    "leakyrelu": (lambda x, a, b: F.leaky_relu(x, a), 0.01, None),
    "thresholdedrelu": (lambda x, a, b: e.thresholded_relu(x, a), 1.0, None),
    "elu": (lambda x, a, b: F.elu(x, a), 1.0, None),
    "affine": (lambda x, a, b: x * a + b, 1.0, 0.0),
    "scaledtanh": (lambda x, a, b: F.tanh(x * b) * a, 1.0, 1.0),
    "hardsigmoid": (lambda x, a, b: e.hard_sigmoid(x, a, b), 0.2, 0.5),
}


def _activations(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Activation]:
    """The functions; each takes the next of the numbers that it has, or its default where they are used up."""
    given_a, given_b = iter(alphas), iter(betas)
    found: list[Activation] = []
    for name in names:
        if name not in _ACTIVATIONS:
            raise ValueError(f"onnx.load: activations has {name!r}, expected one of {sorted(_ACTIVATIONS)}")
        function, a, b = _ACTIVATIONS[name]
        a, b = a if a is None else next(given_a, a), b if b is None else next(given_b, b)
        found.append(functools.partial(function, a=a, b=b))
    return found


def _gates(x: Tensor, h: Tensor, one: Problem, blocks: slice) -> Tensor:
    """W x + R h + both biases, of some blocks."""
    y = x @ one.w[blocks].T + h @ one.r[blocks].T
    if one.b is None:
        return y
    bw, br = one.b.reshape(2, -1)
    return y + bw[blocks] + br[blocks]


def _step(one: Problem, options: Options, acts: Sequence[Activation]) -> Callable[..., tuple[Tensor, Tensor]]:
    """h, c = step(x_t, h, c) by ONNX's equations; c of an RNN and a GRU passes through."""
    n, cell = one.r.shape[1], options.cell
    bound = (lambda x: x) if math.isinf(options.clip) else (lambda x: clamp(x, -options.clip, options.clip))

    def rnn(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return acts[0](bound(_gates(x, h, one, slice(None)))), c

    def gru(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        z, r = acts[0](bound(_gates(x, h, one, slice(2 * n)))).split(n, 1)
        last = slice(2 * n, None)
        if cell == "gru":
            bw, br = (0, 0) if one.b is None else (half[last] for half in one.b.reshape(2, -1))
            a = x @ one.w[last].T + bw + r * (h @ one.r[last].T + br)
        else:
            a = _gates(x, r * h, one, last)
        return (1 - z) * acts[1](bound(a)) + z * h, c

    def lstm(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, o, f, g = _gates(x, h, one, slice(None)).split(n, 1)
        pi, po, pf = (0, 0, 0) if one.p is None else one.p.reshape(3, -1)
        i = acts[0](bound(i + pi * c))
        f = 1 - i if cell == "lstm_coupled" else acts[0](bound(f + pf * c))
        new = f * c + i * acts[1](bound(g))
        return acts[0](bound(o + po * new)) * acts[2](new), new

    return rnn if cell == "rnn" else gru if cell.startswith("gru") else lstm


def _composed(one: Problem, options: Options, acts: Sequence[Activation]) -> tuple[Tensor, ...]:
    """One direction, step by step: y [T,B,H], hn and cn [1,B,H]."""
    step = _step(one, options, acts)
    zeros = wrap(beside(one.x, np.zeros((one.x.shape[1], one.r.shape[1]), one.x.dtype)))
    h = zeros if one.h is None else one.h
    c = zeros if one.c is None else one.c
    ys = []
    for t, x in enumerate(unbind(one.x)):
        new_h, new_c = step(x, h, c)
        y = new_h
        if options.lengths is not None:
            going = wrap(beside(one.x, (t < options.lengths)[:, None]))
            y = where(going, new_h, zeros)
            new_h, new_c = where(going, new_h, h), where(going, new_c, c)
        ys.append(y)
        h, c = new_h, new_c
    ends = (h.unsqueeze(0), c.unsqueeze(0))
    return (stack(ys), *(ends if options.cell.startswith("lstm") else ends[:1]))


def _reversed(x: Tensor, lengths: np.ndarray | None) -> Tensor:
    """[T,B,...] backwards in time, each row from its own end."""
    return flip(x, 0) if lengths is None else reverse_sequence(x, lengths)


def _run(
    options: Options, names: tuple[str, ...], acts: Sequence[Activation], problems: list[Problem], direction: str
) -> tuple[Tensor, ...]:
    """y [T,B,D*H] and the last states [D,B,H]."""
    kind, lengths, directions = options.cell.partition("_")[0], options.lengths, len(problems)
    first = names[: len(_USUAL[kind])]
    if names == first * directions and first in (_USUAL[kind], *([("relu",)] if kind == "rnn" else [])):
        cell = f"rnn_{first[0]}" if kind == "rnn" else options.cell
        if direction != "reverse":
            return _native(problems, options, cell)
        y, *ends = _native([problems[0]._replace(x=_reversed(problems[0].x, lengths))], options, cell)
        return (_reversed(y, lengths), *ends)
    sides: list[tuple[Tensor, ...]] = []
    for d, one in enumerate(problems):
        own = acts[d * len(first) : (d + 1) * len(first)]
        if direction == "reverse" or d == 1:
            y, *ends = _composed(one._replace(x=_reversed(one.x, lengths)), options, own)
            sides.append((_reversed(y, lengths), *ends))
        else:
            sides.append(_composed(one, options, own))
    ys, *lasts = (list(parts) for parts in zip(*sides, strict=True))
    return (cat(ys, 2), *(cat(last) for last in lasts))


def _recurrent(
    cell: str, operands: Sequence[Any], sequence_lens: Any, activations: Any, activation_alpha: Any,
    activation_beta: Any, clip: float, direction: str, layout: int,
) -> Any:  # fmt: skip
    x, w, r, b, h, c, p = operands
    if not is_float(*(t for t in operands if t is not None)):
        return NotImplemented
    if layout:
        x, h, c = (None if t is None else t.transpose(0, 1) for t in (x, h, c))
    lengths = None if sequence_lens is None else array(sequence_lens).astype(np.int64)
    directions = w.shape[0]
    names = tuple(n.lower() for n in activations or _USUAL[cell.partition("_")[0]] * directions)
    acts = _activations(names, activation_alpha or (), activation_beta or ())
    given: Any = ([None if t is None else t[d] for t in (w, r, b, p, h, c)] for d in range(directions))
    sides = [Problem(x, *parts) for parts in given]
    y, *ends = _run(Options(cell, clip or math.inf, lengths), names, acts, sides, direction)
    y = y.reshape(*y.shape[:2], directions, -1)
    if layout:
        return (y.transpose(0, 1), *(end.transpose(0, 1) for end in ends))
    return (y.permute(0, 2, 1, 3), *ends)


@operator("RNN")
def rnn(
    x: Any, w: Any, r: Any, b: Any = None, sequence_lens: Any = None, initial_h: Any = None,
    activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None, clip: float = 0.0,
    direction: str = "forward", hidden_size: int = 0, layout: int = 0, output_sequence: int = 0,
) -> Any:  # fmt: skip
    """h_t = f(W x_t + R h_(t-1) + Wb + Rb)"""
    operands = (x, w, r, b, initial_h, None, None)
    numbers = (activations, activation_alpha, activation_beta, clip, direction, layout)
    return _recurrent("rnn", operands, sequence_lens, *numbers)


@operator("LSTM")
def lstm(
    x: Any, w: Any, r: Any, b: Any = None, sequence_lens: Any = None, initial_h: Any = None, initial_c: Any = None,
    p: Any = None, activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None,
    clip: float = 0.0, direction: str = "forward", hidden_size: int = 0, input_forget: int = 0, layout: int = 0,
    output_sequence: int = 0,
) -> Any:  # fmt: skip
    """i, o, f = F(...), g = G(...) of W x + R h + Wb + Rb, with peepholes P c; C = f c + i g; H = o H(C)"""
    operands = (x, w, r, b, initial_h, initial_c, p)
    numbers = (activations, activation_alpha, activation_beta, clip, direction, layout)
    return _recurrent("lstm_coupled" if input_forget else "lstm", operands, sequence_lens, *numbers)


@operator("GRU")
def gru(
    x: Any, w: Any, r: Any, b: Any = None, sequence_lens: Any = None, initial_h: Any = None,
    activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None, clip: float = 0.0,
    direction: str = "forward", hidden_size: int = 0, linear_before_reset: int = 0, layout: int = 0,
    output_sequence: int = 0,
) -> Any:  # fmt: skip
    """z, r = F(...); h = G(W x + R (r H) + ...), or with linear_before_reset G(W x + r (R H + Rb) + Wb);
    H = (1 - z) h + z H"""
    operands = (x, w, r, b, initial_h, None, None)
    numbers = (activations, activation_alpha, activation_beta, clip, direction, layout)
    return _recurrent("gru" if linear_before_reset else "gru_reset_before", operands, sequence_lens, *numbers)
