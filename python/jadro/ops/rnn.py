"""Recurrent layers: one native call runs all steps, layers and directions, one more their gradients.

With `create_graph=True` the gradients come from the composed loop (`rnn_composed`) instead: slower, and differentiable.

x[T,N,I]; h0, hn [L*D,N,P] and c0, cn [L*D,N,H]; y[T,N,D*P], P = H without a projection. `weights`: for each layer, for
each direction, those of `PARAMETERS` that are there; the gates in PyTorch's order, i f g o (coupled i g o) and r z n.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _core, backend, random
from ..autograd import Function, Node, grad
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import check_float
from .rnn_composed import Loop, Rows, active_trace, composed
from .rnn_composed_cells import Cell
from .shape import Reshape

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3, "lstm_coupled": 3, "gru_reset_before": 3}

# One direction's parameters, in order: rows of W (G*H), units (H), outputs (P), input and state widths.
PARAMETERS = {
    "weight_ih": "gi", "weight_hh": "gp", "bias_ih": "g", "bias_hh": "g", "weight_hr": "ph", "weight_pi": "h",
    "weight_pf": "h", "weight_po": "h", "weight_ln_ih": "g", "bias_ln_ih": "g", "weight_ln_hh": "g",
    "bias_ln_hh": "g", "weight_ln_c": "h", "bias_ln_c": "h",
}  # fmt: skip


class Options(NamedTuple):
    """What a native call knows besides its arrays."""

    cell: str  # a key of GATES
    layers: int
    directions: int
    bias: bool
    dropout: float
    seed: int
    offset: int
    layer_norm: bool = False
    peephole: bool = False
    gate_clip: float = math.inf
    cell_clip: float = math.inf
    zoneout: tuple[float, float] = (0.0, 0.0)  # of h and of c
    recurrent_dropout: float = 0.0
    update: bool = False  # the mode of recurrent dropout
    checkpoint: int = 0  # 0: keep everything
    training: bool = False

    @property
    def tail(self) -> tuple[Any, ...]:
        """The last arguments of the native functions without options."""
        return (self.cell[4:], *self[1:7]) if self.cell.startswith("rnn") else tuple(self[1:7])

    @property
    def stem(self) -> str:
        """The name of the native functions without options before _forward and _backward."""
        return self.cell.partition("_")[0]

    @property
    def is_lstm(self) -> bool:
        return self.cell.startswith("lstm")

    @property
    def is_plain(self) -> bool:
        """Whether the native functions without options serve."""
        return self[7:15] == _PLAIN and self.cell in ("rnn_tanh", "rnn_relu", "lstm", "gru")

    @property
    def native(self) -> Any:
        zone_h, zone_c = self.zoneout
        return _core.RnnOptions(
            *self[1:7], self.layer_norm, self.peephole, self.gate_clip, self.cell_clip, zone_h, zone_c,
            self.recurrent_dropout, self.update, self.training, self.checkpoint,
        )  # fmt: skip

    def masks(self, steps: int, batch: int, hidden: int, out: int) -> int:
        """Numbers that a call in training takes from the stream: dropout between layers, then for each layer and
        direction zoneout of h, of c and recurrent dropout."""
        between = (self.layers - 1) * steps * batch * self.directions * out if self.dropout else 0
        each = steps * batch * out if self.zoneout[0] else 0
        each += steps * batch * hidden if self.zoneout[1] and self.is_lstm else 0
        if self.recurrent_dropout:
            each += steps * batch * hidden if self.update else batch * out
        return between + self.layers * self.directions * each


_PLAIN = Options("", 1, 1, True, 0.0, 0, 0)[7:15]


def parameters_of(cell: str, bias: bool, projected: bool, peephole: bool, layer_norm: bool) -> tuple[str, ...]:
    """The names in PARAMETERS of those that are there."""
    is_lstm = cell.startswith("lstm")
    gone = set() if bias else {"bias_ih", "bias_hh"}
    gone |= set() if projected else {"weight_hr"}
    gone |= set() if peephole else {"weight_pi", "weight_pf", "weight_po"}
    gone |= {"weight_pf"} if cell == "lstm_coupled" else set()
    gone |= {n for n in PARAMETERS if "_ln_" in n and not layer_norm}
    gone |= set() if is_lstm else {"weight_ln_c", "bias_ln_c"}
    return tuple(n for n in PARAMETERS if n not in gone)


def parameter_shape(name: str, cell: str, width: int, hidden: int, out: int) -> tuple[int, ...]:
    sizes = {"g": GATES[cell] * hidden, "i": width, "h": hidden, "p": out}
    return tuple(sizes[axis] for axis in PARAMETERS[name])


@functools.lru_cache(1024)
def _shapes(
    layers: tuple[Any, ...], projected: bool, peephole: bool, layer_norm: bool, inputs: int, hidden: int, out: int
) -> list[tuple[int, ...]]:
    """The expected shapes of all weights; layers: the first four of Options."""
    cell, count, directions, bias = layers
    names = parameters_of(cell, bias, projected, peephole, layer_norm)
    widths = [inputs] + [directions * out] * (count - 1)
    return [parameter_shape(n, cell, width, hidden, out) for width in widths for _ in range(directions) for n in names]


class Recurrent(Function):
    """(x, h0, c0, reset_h, reset_c, *weights) -> (y, hn), of an LSTM (y, hn, cn) and with cells (y, hn, cn, cells).

    States may be None, and those of c are where there is no cell state. Derivatives of higher order take the composed
    loop."""

    name = "rnn"

    @staticmethod
    def forward(
        ctx: Node, x: Array, h0: Array | None, c0: Array | None, reset_h: Array | None, reset_c: Array | None,
        *weights: Array, options: Options, rows: Rows, cells: bool,
    ) -> Any:  # fmt: skip
        given = (x, h0, c0, reset_h, reset_c, *weights)
        x = backend.contiguous(x)
        states = [None if a is None else backend.contiguous(a) for a in (h0, c0, reset_h, reset_c)]
        params = [backend.contiguous(w) for w in weights]
        (steps, batch, _), out = x.shape, params[1].shape[1]
        hidden = params[0].shape[0] // GATES[options.cell]
        lead = options.layers * options.directions
        y = backend.empty_like(x, (steps, batch, options.directions * out))
        ends = [backend.empty_like(x, (lead, batch, n)) for n in (out, hidden)[: 1 + options.is_lstm]]
        if cells:
            ends.append(backend.empty_like(x, (steps, batch, options.directions * hidden)))
        plain = not cells and rows is _ALL and hidden == out and options.is_plain
        reserve = None
        if any(ctx.needs):
            reserve = backend.empty_like(x, (_reserve_size(x, hidden, out, options, rows, plain),))
        if batch and plain:
            starts = states[: 1 + options.is_lstm]
            backend.kernel(x, f"{options.stem}_forward")(x, *starts, params, y, *ends, reserve, *options.tail)
        elif batch:
            last = (*ends[1:], None, None)[:2]
            backend.kernel(x, "rnn_options_forward")(
                options.cell, x, *states[:2], params, *rows, *states[2:], y, ends[0], *last, reserve, options.native
            )
        ctx.options, ctx.rows, ctx.cells, ctx.plain, ctx.reserve, ctx.x = options, rows, cells, plain, reserve, x
        ctx.save(y, *given)
        return (y, *ends)

    @staticmethod
    def backward(ctx: Node, *dys: Array | None) -> tuple[Array | None, ...]:
        y, _, *rest = ctx.saved
        given = [None if a is None else backend.contiguous(a) for a in rest]
        states, weights = given[:4], given[4:]
        x, options = ctx.x, ctx.options
        gradients = [None if d is None else backend.contiguous(d) for d in dys]
        dx = backend.empty_like(x) if ctx.needs[0] else None
        dstates = [
            backend.empty_like(s) if n and s is not None else None for s, n in zip(states, ctx.needs[1:5], strict=True)
        ]
        dweights: list[Any] | None = [backend.empty_like(w) for w in weights] if any(ctx.needs[5:]) else None
        count = 1 + options.is_lstm
        if x.shape[1] and ctx.plain:
            backend.kernel(x, f"{options.stem}_backward")(
                x, *states[:count], weights, y, ctx.reserve, *gradients, dx, *dstates[:count], dweights, *options.tail
            )
        elif x.shape[1]:
            dy, dhn, *others = gradients
            dcn, dcells = (*others, None, None)[:2]
            backend.kernel(x, "rnn_options_backward")(
                options.cell, x, *states[:2], weights, *ctx.rows, *states[2:], y, ctx.reserve, dy, dhn, dcn, dcells,
                dx, *dstates, dweights, options.native,
            )  # fmt: skip
        else:
            for dw in dweights or ():
                dw[...] = 0
        return (dx, *dstates, *(dweights or ()))

    @classmethod
    def backward_graph(cls, ctx: Node, *dys: Any) -> tuple[Tensor | None, ...]:
        """By way of the composed loop: run again from the inputs, and differentiated as any other operations are."""
        _, *given = ctx.saved
        # Each input is a node of its own, so that no path leads from one of them to another.
        inputs: list[Any] = [None if a is None else Reshape.apply(as_tensor(a), shape=a.shape) for a in given]
        outs = run_composed(inputs[0], inputs[1:5], inputs[5:], ctx.options, ctx.rows, ctx.cells)
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


_ALL = Rows()


def _reserve_size(x: Array, hidden: int, out: int, options: Options, rows: Rows, plain: bool) -> int:
    sizes = (*x.shape, hidden)
    if plain:
        shape = (options.layers, options.directions, options.dropout)
        return backend.kernel(x, "rnn_reserve_size")(options.cell, *sizes, *shape)
    tokens, ragged = rows.tokens(*x.shape[:2]), rows.lengths is not None
    size = backend.kernel(x, "rnn_options_reserve_size")
    return size(options.cell, *sizes, out, tokens, ragged, options.native)


def run_composed(
    x: Tensor, states: Sequence[Any], weights: Sequence[Tensor], options: Options, rows: Rows, cells: bool
) -> tuple[Tensor, ...]:
    """What the native loop computes, in recorded operations; states: h0, c0, reset_h, reset_c."""
    o, each = options, len(weights) // (options.layers * options.directions)
    out, hidden = weights[1].shape[1], weights[0].shape[0] // GATES[o.cell]
    names = parameters_of(o.cell, o.bias, hidden > out, o.peephole, o.layer_norm)
    params = [dict(zip(names, weights[k:], strict=False)) for k in range(0, len(weights), each)]
    kind = "gru" if o.cell.startswith("gru") else "lstm" if o.is_lstm else o.cell
    cell = Cell(kind, o.cell != "gru_reset_before", o.cell == "lstm_coupled", o.cell_clip, o.gate_clip)
    mode = "update" if o.update else "sequence"
    zoneout = (o.zoneout[0], o.zoneout[1] if o.is_lstm else 0.0)
    noise = (o.dropout, zoneout, o.recurrent_dropout, mode, o.training, o.seed, o.offset)
    found = composed(x, states[:2], params, Loop(cell, o.layers, o.directions, *noise), rows, states[2:])
    return found if cells or not o.is_lstm else found[:3]


def _check(call: str, x: Tensor, states: dict[str, Tensor | None], weights: Sequence[Tensor], options: Options) -> None:
    if x.ndim != 3:
        raise ValueError(f"{call}: x has shape {x.shape}, expected three axes, [steps, batch, features]")
    if x.shape[0] < 1:
        raise ValueError(f"{call}: x has shape {x.shape}, expected at least one step")
    if not 0.0 <= options.dropout < 1.0:
        raise ValueError(f"{call}: dropout is {options.dropout}, expected 0 <= dropout < 1")
    check_float(call, "x", x.data)
    if len(weights) < 2 or weights[0].ndim != 2 or weights[1].ndim != 2:
        raise ValueError(
            f"{call}: {len(weights)} weights were given, expected w_ih, w_hh and so on for each layer and direction"
        )
    out, hidden = weights[1].shape[1], weights[0].shape[0] // GATES[options.cell]
    projected = options.is_lstm and hidden > out
    hidden = hidden if projected else out
    shapes = _shapes(options[:4], projected, options.peephole, options.layer_norm, x.shape[2], hidden, out)
    if len(weights) != len(shapes):
        raise ValueError(f"{call}: {len(weights)} weights were given, expected {len(shapes)}")
    for i, (w, shape) in enumerate(zip(weights, shapes, strict=True)):
        if w.data.dtype != x.data.dtype:
            check_float(call, f"weights[{i}]", w.data, x.data)
        if w.shape != shape:
            raise ValueError(f"{call}: weights[{i}] has shape {w.shape}, expected {shape}: x has shape {x.shape}")
    for name, state in states.items():
        if state is not None:
            width = hidden if "c" in name.split()[-1] else out
            expected = (options.layers * options.directions, x.shape[1], width)
            check_float(call, name, state.data, x.data)
            if state.shape != expected:
                raise ValueError(f"{call}: {name} has shape {state.shape}, expected {expected}")


def rows_of(call: str, x: Tensor, lengths: Any, reset: Any) -> Rows:
    """Lengths and resets of a call, checked and on the device of x [T,N,I]."""
    steps, batch = x.shape[:2]
    if lengths is not None:
        lengths = np.asarray(lengths.numpy() if isinstance(lengths, Tensor) else lengths)
        if lengths.dtype.kind not in "iu" and lengths.size:
            raise TypeError(f"{call}: lengths has dtype {lengths.dtype}, expected integers")
        if lengths.shape != (batch,):
            raise ValueError(f"{call}: lengths has shape {lengths.shape}, expected {(batch,)}")
        if lengths.size and not (int(lengths.min()) >= 0 and int(lengths.max()) <= steps):
            came = f"{lengths.min()}..{lengths.max()}"
            raise ValueError(f"{call}: lengths has values {came}, expected 0..{steps}, the steps of x")
        lengths = np.ascontiguousarray(lengths, np.int64)
    if reset is not None:
        reset = np.asarray(reset.numpy() if isinstance(reset, Tensor) else reset)
        if reset.dtype.kind not in "biu":
            raise TypeError(f"{call}: reset has dtype {reset.dtype}, expected booleans")
        if reset.shape != (steps, batch):
            raise ValueError(f"{call}: reset has shape {reset.shape}, expected {(steps, batch)}")
        reset = np.ascontiguousarray(reset != 0)
    return Rows(lengths, reset)


def run(
    call: str, x: Any, states: Sequence[Any], weights: Sequence[Any], options: Options, *, lengths: Any = None,
    reset: Any = None, reset_states: Sequence[Any] = (None, None), cells: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """(y, hn), of an LSTM (y, hn, cn) and with cells (y, hn, cn, cells). states: h0 and, of an LSTM, c0.

    lengths [N]: row n has the steps 0 .. lengths[n] - 1, and the others cost nothing; reset [T,N]: where row n is cut
    between t - 1 and t, and goes on from reset_states, None for zeros. Masks are drawn where options.training.
    """
    tensors = [as_tensor(w) for w in weights]
    x = as_tensor(x)
    h0, c0 = (None if t is None else as_tensor(t) for t in (*states, None)[:2])
    again = [None if t is None else as_tensor(t) for t in (*reset_states, None)[:2]]
    _check(call, x, {"h0": h0, "c0": c0, "reset_state h": again[0], "reset_state c": again[1]}, tensors, options)
    rows = _ALL if lengths is None and reset is None else rows_of(call, x, lengths, reset)
    if reset is None:
        again = [None, None]
    if not options.training:
        options = options._replace(dropout=0.0, recurrent_dropout=0.0)
    elif options.dropout or options.recurrent_dropout or any(options.zoneout):
        hidden, out = tensors[0].shape[0] // GATES[options.cell], tensors[1].shape[1]
        masks = options.masks(x.shape[0], x.shape[1], hidden, out)
        seed, offset = random.next_offset(masks) if masks else (0, 0)
        options = options._replace(seed=seed, offset=offset, dropout=options.dropout if options.layers > 1 else 0.0)
    if active_trace() is not None:
        return run_composed(x, [h0, c0, *again], tensors, options, rows, cells)
    return Recurrent.apply(x, h0, c0, *again, *tensors, options=options, rows=rows, cells=cells)


def rnn(
    x: Any, h0: Any, weights: Sequence[Any], *, nonlinearity: str = "tanh", num_layers: int = 1, bidirectional: bool =
    False, bias: bool = True, dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """h_t = f(w_ih x_t + b_ih + w_hh h_(t-1) + b_hh), f = tanh or relu -> (y, hn). h0 None is zeros."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
    options = _options(f"rnn_{nonlinearity}", num_layers, bidirectional, bias, dropout, training)
    y, hn = run("rnn", x, (h0,), weights, options)
    return y, hn


def lstm(
    x: Any, h0: Any, c0: Any, weights: Sequence[Any], *, num_layers: int = 1, bidirectional: bool = False, bias: bool =
    True, dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """i, f, o = sigmoid, g = tanh of w_ih x_t + b_ih + w_hh h_(t-1) + b_hh; c_t = f c_(t-1) + i g; h_t = o tanh(c_t)
    (Hochreiter and Schmidhuber 1997; Gers et al. 2000) -> (y, hn, cn). h0, c0 None are zeros."""
    options = _options("lstm", num_layers, bidirectional, bias, dropout, training)
    y, hn, cn = run("lstm", x, (h0, c0), weights, options)
    return y, hn, cn


def gru(
    x: Any, h0: Any, weights: Sequence[Any], *, num_layers: int = 1, bidirectional: bool = False, bias: bool = True,
    dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """r, z = sigmoid(w x + b + u h + b'); n = tanh(w_n x + b_n + r (u_n h + b'_n)); h_t = (1 - z) n + z h_(t-1)
    (Cho et al. 2014, with the reset after the product) -> (y, hn). h0 None is zeros."""
    options = _options("gru", num_layers, bidirectional, bias, dropout, training)
    y, hn = run("gru", x, (h0,), weights, options)
    return y, hn


def _options(cell: str, layers: int, bidirectional: bool, bias: bool, dropout: float, training: bool) -> Options:
    return Options(cell, layers, 2 if bidirectional else 1, bias, float(dropout), 0, 0, training=training)
