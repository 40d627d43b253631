"""Recurrent layers: one native call runs all steps, layers and directions, one more their gradients.

With `create_graph=True` the gradients come from the composed loop (`rnn_composed`) instead: slower, and differentiable.

x[T,N,I]; h0, c0, hn, cn [L*D,N,H]; y[T,N,D*H]; `weights`: for each layer, for each direction, w_ih[G*H,I or D*H],
w_hh[G*H,H] and, with bias, b_ih[G*H], b_hh[G*H]; the gates in PyTorch's order, i f g o and r z n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import backend, random
from ..autograd import Function, Node, grad
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import check_float
from .rnn_composed import active_trace, composed
from .shape import Reshape

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


class Options(NamedTuple):
    """What a native call knows besides its arrays."""

    cell: str  # a key of GATES
    layers: int
    directions: int
    bias: bool
    dropout: float
    seed: int
    offset: int

    @property
    def tail(self) -> tuple[Any, ...]:
        """The last arguments of the native functions."""
        return (self.cell[4:], *self[1:]) if self.cell.startswith("rnn") else tuple(self[1:])

    @property
    def stem(self) -> str:
        """The name of the native functions before _forward and _backward."""
        return self.cell.partition("_")[0]


class Recurrent(Function):
    """(x, h0, c0, *weights) -> (y, hn), of an LSTM (y, hn, cn); h0 and c0 may be None, and c0 is where there is no cell
    state. Derivatives of higher order take the composed loop."""

    name = "rnn"

    @staticmethod
    def forward(ctx: Node, x: Array, h0: Array | None, c0: Array | None, *weights: Array, options: Options) -> Any:
        given = (x, h0, c0, *weights)
        x = backend.contiguous(x)
        h0, c0 = (None if a is None else backend.contiguous(a) for a in (h0, c0))
        params = [backend.contiguous(w) for w in weights]
        (steps, batch, inputs), hidden = x.shape, params[1].shape[1]
        is_lstm = options.cell == "lstm"
        y = backend.empty_like(x, (steps, batch, options.directions * hidden))
        ends = [backend.empty_like(x, (options.layers * options.directions, batch, hidden)) for _ in range(1 + is_lstm)]
        starts = (h0, c0) if is_lstm else (h0,)
        reserve = None
        if any(ctx.needs):
            sizes = (steps, batch, inputs, hidden, options.layers, options.directions)
            reserve = backend.empty_like(
                x, (backend.kernel(x, "rnn_reserve_size")(options.cell, *sizes, options.dropout),)
            )
        if batch:
            backend.kernel(x, f"{options.stem}_forward")(x, *starts, params, y, *ends, reserve, *options.tail)
        ctx.options, ctx.reserve, ctx.x = options, reserve, x
        ctx.save(y, *given)
        return (y, *ends)

    @staticmethod
    def backward(ctx: Node, *dys: Array | None) -> tuple[Array | None, ...]:
        y, _, *rest = ctx.saved
        h0, c0, *weights = (None if a is None else backend.contiguous(a) for a in rest)
        x, options = ctx.x, ctx.options
        gradients = [None if d is None else backend.contiguous(d) for d in dys]
        dx = backend.empty_like(x) if ctx.needs[0] else None
        dh0 = backend.empty_like(h0) if ctx.needs[1] else None
        dc0 = backend.empty_like(c0) if ctx.needs[2] else None
        dweights = [backend.empty_like(w) for w in weights] if any(ctx.needs[3:]) else None
        starts, dstarts = ((h0, c0), (dh0, dc0)) if options.cell == "lstm" else ((h0,), (dh0,))
        if x.shape[1]:
            backend.kernel(x, f"{options.stem}_backward")(
                x, *starts, weights, y, ctx.reserve, *gradients, dx, *dstarts, dweights, *options.tail
            )
        else:
            for dw in dweights or ():
                dw[...] = 0
        return (dx, dh0, dc0, *(dweights or ()))

    @classmethod
    def backward_graph(cls, ctx: Node, *dys: Any) -> tuple[Tensor | None, ...]:
        """By way of the composed loop: run again from the inputs, and differentiated as any other operations are."""
        _, *given = ctx.saved
        # Each input is a node of its own, so that no path leads from one of them to another.
        inputs: list[Any] = [None if a is None else Reshape.apply(as_tensor(a), shape=a.shape) for a in given]
        h0, c0, *weights = inputs[1:]
        outs = composed(inputs[0], h0, c0, weights, ctx.options)
        pairs = [(out, dy) for out, dy in zip(outs, dys, strict=True) if dy is not None]
        found = iter(
            grad(
                [out for out, _ in pairs],
                [t for t, needed in zip(inputs, ctx.needs, strict=True) if needed],
                [dy for _, dy in pairs],
                create_graph=True,
                allow_unused=True,
            )
        )
        return tuple(next(found) if needed else None for needed in ctx.needs)


def _shapes(options: Options, inputs: int, hidden: int) -> list[tuple[int, ...]]:
    """The expected shapes of the weights."""
    rows = GATES[options.cell] * hidden
    shapes: list[tuple[int, ...]] = []
    for layer in range(options.layers):
        width = inputs if layer == 0 else options.directions * hidden
        for _ in range(options.directions):
            shapes += [(rows, width), (rows, hidden)] + ([(rows,), (rows,)] if options.bias else [])
    return shapes


def _check(call: str, x: Tensor, states: dict[str, Tensor | None], weights: Sequence[Tensor], options: Options) -> None:
    if x.ndim != 3:
        raise ValueError(f"{call}: x has shape {x.shape}, expected three axes, [steps, batch, features]")
    if x.shape[0] < 1:
        raise ValueError(f"{call}: x has shape {x.shape}, expected at least one step")
    if not 0.0 <= options.dropout < 1.0:
        raise ValueError(f"{call}: dropout is {options.dropout}, expected 0 <= dropout < 1")
    check_float(call, "x", x.data)
    if len(weights) < 2 or weights[1].ndim != 2:
        raise ValueError(
            f"{call}: {len(weights)} weights were given, expected w_ih, w_hh and so on for each layer and direction"
        )
    hidden = weights[1].shape[1]
    shapes = _shapes(options, x.shape[2], hidden)
    if len(weights) != len(shapes):
        raise ValueError(f"{call}: {len(weights)} weights were given, expected {len(shapes)}")
    for i, (w, shape) in enumerate(zip(weights, shapes, strict=True)):
        check_float(call, f"weights[{i}]", w.data, x.data)
        if w.shape != shape:
            raise ValueError(f"{call}: weights[{i}] has shape {w.shape}, expected {shape}: x has shape {x.shape}")
    expected = (options.layers * options.directions, x.shape[1], hidden)
    for name, state in states.items():
        if state is not None:
            check_float(call, name, state.data, x.data)
            if state.shape != expected:
                raise ValueError(f"{call}: {name} has shape {state.shape}, expected {expected}")


def _run(
    call: str, cell: str, x: Any, h0: Any, c0: Any, weights: Sequence[Any], num_layers: int, bidirectional: bool, bias:
    bool, dropout: float, training: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    tensors = [as_tensor(w) for w in weights]
    x, h0, c0 = (None if t is None else as_tensor(t) for t in (x, h0, c0))
    options = Options(cell, num_layers, 2 if bidirectional else 1, bias, float(dropout), 0, 0)
    _check(call, x, {"h0": h0, "c0": c0}, tensors, options)
    return apply(x, h0, c0, tensors, options, training)


def apply(
    x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: Sequence[Tensor], options: Options, training: bool
) -> tuple[Tensor, ...]:
    """One Recurrent of arguments that fit each other; draws the place of its dropout masks in training."""
    if options.dropout:
        masks = (options.layers - 1) * math.prod(x.shape[:2]) * options.directions * weights[1].shape[1]
        if training and masks:
            seed, offset = random.next_offset(masks)
            options = options._replace(seed=seed, offset=offset)
        else:
            options = options._replace(dropout=0.0)
    if active_trace() is not None:
        return composed(x, h0, c0, weights, options)
    return Recurrent.apply(x, h0, c0, *weights, options=options)


def rnn(
    x: Any, h0: Any, weights: Sequence[Any], *, nonlinearity: str = "tanh", num_layers: int = 1, bidirectional: bool =
    False, bias: bool = True, dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """h_t = f(w_ih x_t + b_ih + w_hh h_(t-1) + b_hh), f = tanh or relu -> (y, hn). h0 None is zeros."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
    y, hn = _run("rnn", f"rnn_{nonlinearity}", x, h0, None, weights, num_layers, bidirectional, bias, dropout, training)
    return y, hn


def lstm(
    x: Any, h0: Any, c0: Any, weights: Sequence[Any], *, num_layers: int = 1, bidirectional: bool = False, bias: bool =
    True, dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """i, f, o = sigmoid, g = tanh of w_ih x_t + b_ih + w_hh h_(t-1) + b_hh; c_t = f c_(t-1) + i g; h_t = o tanh(c_t)
    (Hochreiter and Schmidhuber 1997; Gers et al. 2000) -> (y, hn, cn). h0, c0 None are zeros."""
    y, hn, cn = _run("lstm", "lstm", x, h0, c0, weights, num_layers, bidirectional, bias, dropout, training)
    return y, hn, cn


def gru(
    x: Any, h0: Any, weights: Sequence[Any], *, num_layers: int = 1, bidirectional: bool = False, bias: bool = True,
    dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """r, z = sigmoid(w x + b + u h + b'); n = tanh(w_n x + b_n + r (u_n h + b'_n)); h_t = (1 - z) n + z h_(t-1)
    (Cho et al. 2014, with the reset after the product) -> (y, hn). h0 None is zeros."""
    y, hn = _run("gru", "gru", x, h0, None, weights, num_layers, bidirectional, bias, dropout, training)
    return y, hn
