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

    def tail_of(self, plain: bool) -> tuple[Any, ...]:
        """The last arguments of the native functions without options (plain), or with."""
        if not plain:
            return (self.native,)
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
        """What `_core.rnn_options_forward` and the like take."""
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


def _shapes(
    layers: tuple[Any, ...], projected: bool, peephole: bool, layer_norm: bool, inputs: int, hidden: int, out: int
) -> list[tuple[int, ...]]:
    """The expected shapes of all weights; layers: the first four of Options."""
    cell, count, directions, bias = layers
    names = parameters_of(cell, bias, projected, peephole, layer_norm)
    widths = [inputs] + [directions * out] * (count - 1)
    return [parameter_shape(n, cell, width, hidden, out) for width in widths for _ in range(directions) for n in names]


class Plan(NamedTuple):
    """What follows from shapes and options alone; `run` checks them only where it has no plan of theirs."""

    options: Options
    outputs: tuple[tuple[int, ...], ...]  # shapes: y, hn, of an LSTM cn, and where they are wanted the cells
    small: bool  # whether y needs no kept memory
    plain: bool  # whether the native functions without options serve
    reserve: int  # numbers that they keep for backward on the CPU
    masks: int  # numbers of the stream that a call takes
    forward: str
    backward: str
    tail: tuple[Any, ...]  # the last arguments of the native functions

    def drawn(self) -> Plan:
        """The same with a place of its own in the stream."""
        seed, offset = random.next_offset(self.masks)
        options = self.options._replace(seed=seed, offset=offset)
        return self._replace(options=options, tail=options.tail_of(self.plain))

    def reserve_size(self, x: Array, hidden: int, rows: Rows) -> int:
        if self.plain and isinstance(x, np.ndarray):
            return self.reserve
        o, sizes = self.options, (*x.shape, hidden)
        if self.plain:
            return backend.kernel(x, "rnn_reserve_size")(o.cell, *sizes, o.layers, o.directions, o.dropout)
        tokens, ragged, out = rows.tokens(*x.shape[:2]), rows.lengths is not None, self.outputs[1][2]
        return backend.kernel(x, "rnn_options_reserve_size")(o.cell, *sizes, out, tokens, ragged, self.tail[0])


class Recurrent(Function):
    """(x, h0, c0, reset_h, reset_c, *weights) -> (y, hn), of an LSTM (y, hn, cn) and with cells (y, hn, cn, cells).

    States may be None, and those of c are where there is no cell state. Derivatives of higher order take the composed
    loop."""

    name = "rnn"

    @staticmethod
    def forward(ctx: Node, *given: Array | None, plan: Plan, rows: Rows) -> Any:
        outs = Recurrent.compute(ctx, *given, plan=plan, rows=rows)
        if True in ctx.needs:
            ctx.save(outs[0], *given)
        return outs

    @staticmethod
    def compute(
        ctx: Node, x: Any, h0: Array | None, c0: Array | None, reset_h: Array | None, reset_c: Array | None,
        *weights: Any, plan: Plan, rows: Rows,
    ) -> Any:  # fmt: skip
        """forward, but for the inputs that backward differentiates by."""
        if not x.flags.c_contiguous:
            x = backend.contiguous(x)
        states: Any = _NO_STATES
        if not (h0 is None and c0 is None and reset_h is None and reset_c is None):
            states = [None if a is None else backend.contiguous(a) for a in (h0, c0, reset_h, reset_c)]
        if plan.small and isinstance(x, np.ndarray):
            empty, dtype = np.empty, x.dtype
            y, *ends = [empty(shape, dtype) for shape in plan.outputs]
        else:
            y, *ends = [backend.empty_like(x, shape) for shape in plan.outputs]
        recorded, reserve = True in ctx.needs, None
        if recorded:
            size = plan.reserve_size(x, weights[0].shape[0] // GATES[plan.options.cell], rows)
            reserve = backend.empty_like(x, (size,), backend.sum_dtype(x.dtype))
        try:
            if not plan.outputs[0][1]:  # no rows
                pass
            elif plan.plain:
                native = backend.kernel(x, plan.forward)
                native(x, *states[: len(ends)], weights, y, *ends, reserve, *plan.tail)
            else:
                native, (hn, cn, cells) = backend.kernel(x, plan.forward), (*ends, None, None)[:3]
                native(
                    plan.options.cell, x, *states[:2], weights, *rows, *states[2:], y, hn, cn, cells, reserve,
                    *plan.tail,
                )  # fmt: skip
        except ValueError:  # raised before anything is done
            if all(w.flags.c_contiguous for w in weights):
                raise
            return Recurrent.compute(ctx, x, *states, *map(backend.contiguous, weights), plan=plan, rows=rows)
        if recorded:
            ctx.kept = plan, rows, reserve, x, states, weights
        return (y, *ends)

    @staticmethod
    def backward(ctx: Node, *dys: Array | None) -> tuple[Array | None, ...]:
        y = ctx.saved[0]  # raises where an input was modified since
        plan, rows, reserve, x, states, weights = ctx.kept
        gradients, needs = [None if d is None else backend.contiguous(d) for d in dys], ctx.needs
        dx = backend.empty_like(x) if needs[0] else None
        dstates: Any = _NO_STATES
        if states is not _NO_STATES:
            pairs = zip(states, needs[1:5], strict=True)
            dstates = [None if s is None or not need else backend.empty_like(s) for s, need in pairs]
        dweights: list[Any] | None = [backend.empty_like(w) for w in weights] if True in needs[5:] else None
        native = backend.kernel(x, plan.backward)
        if x.shape[1] == 0:
            for dw in dweights or ():
                dw[...] = 0
        elif plan.plain:
            count = len(plan.outputs) - 1
            native(x, *states[:count], weights, y, reserve, *gradients, dx, *dstates[:count], dweights, *plan.tail)
        else:
            dy, dhn, dcn, dcells = (*gradients, None, None)[:4]
            native(
                plan.options.cell, x, *states[:2], weights, *rows, *states[2:], y, reserve, dy, dhn, dcn, dcells, dx,
                *dstates, dweights, *plan.tail,
            )  # fmt: skip
        return (dx, *dstates, *(dweights or ()))

    @classmethod
    def backward_graph(cls, ctx: Node, *dys: Any) -> tuple[Tensor | None, ...]:
        """By way of the composed loop: run again from the inputs, and differentiated as any other operations are."""
        _, *given = ctx.saved
        # Each input is a node of its own, so that no path leads from one of them to another.
        inputs: list[Any] = [None if a is None else Reshape.apply(as_tensor(a), shape=a.shape) for a in given]
        plan, rows = ctx.kept[:2]
        outs = cls.composed(inputs, plan, rows, len(dys) == 4)
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

    @classmethod
    def composed(cls, inputs: list[Any], plan: Plan, rows: Rows, cells: bool) -> tuple[Tensor, ...]:
        return run_composed(inputs[0], inputs[1:5], inputs[5:], plan.options, rows, cells)


class RecurrentStep(Recurrent):
    """One step of one layer: (x[N,I], h0[N,P], c0[N,H], None, None, *weights) -> (h,), of an LSTM (h, c)."""

    @staticmethod
    def forward(ctx: Node, *given: Array | None, plan: Plan, rows: Rows) -> Any:
        y, *ends = Recurrent.compute(ctx, *_lifted(given[:3]), *given[3:], plan=plan, rows=rows)
        if True in ctx.needs:
            ctx.save(y, *given)
        return tuple([end[0] for end in ends])

    @staticmethod
    def backward(ctx: Node, *dys: Array | None) -> tuple[Array | None, ...]:
        dx, dh, dc, *others = Recurrent.backward(ctx, None, *_lifted(dys))
        return (*(None if d is None else d[0] for d in (dx, dh, dc)), *others)

    @classmethod
    def composed(cls, inputs: list[Any], plan: Plan, rows: Rows, cells: bool) -> tuple[Tensor, ...]:
        _, *ends = super().composed([*_lifted(inputs[:3]), *inputs[3:]], plan, rows, cells)
        return tuple(end[0] for end in ends)


def _lifted(arrays: Sequence[Any]) -> list[Any]:
    """With an axis of one step, or one layer, in front; None stays."""
    return [None if a is None else a[None] for a in arrays]


_ALL, _NO_STATES = Rows(), (None, None, None, None)


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


Shape = tuple[int, ...]
STATES = ("h0", "c0", "reset_state h", "reset_state c")


def _check(
    call: str, x: Shape, states: tuple[Shape | None, ...], weights: tuple[Shape, ...], options: Options
) -> tuple[int, int]:
    """H and P, from the shapes of x, `STATES` and weights; ValueError where these do not fit each other."""
    if len(x) != 3:
        raise ValueError(f"{call}: x has shape {x}, expected three axes, [steps, batch, features]")
    if x[0] < 1:
        raise ValueError(f"{call}: x has shape {x}, expected at least one step")
    if not 0.0 <= options.dropout < 1.0:
        raise ValueError(f"{call}: dropout is {options.dropout}, expected 0 <= dropout < 1")
    if len(weights) < 2 or len(weights[0]) != 2 or len(weights[1]) != 2:
        raise ValueError(
            f"{call}: {len(weights)} weights were given, expected w_ih, w_hh and so on for each layer and direction"
        )
    out, hidden = weights[1][1], weights[0][0] // GATES[options.cell]
    projected = options.is_lstm and hidden > out
    hidden = hidden if projected else out
    shapes = _shapes(options[:4], projected, options.peephole, options.layer_norm, x[2], hidden, out)
    if len(weights) != len(shapes):
        raise ValueError(f"{call}: {len(weights)} weights were given, expected {len(shapes)}")
    for i, (w, shape) in enumerate(zip(weights, shapes, strict=True)):
        if w != shape:
            raise ValueError(f"{call}: weights[{i}] has shape {w}, expected {shape}: x has shape {x}")
    for name, state in zip(STATES, states, strict=True):
        if state is not None:
            expected = (options.layers * options.directions, x[1], hidden if "c" in name.split()[-1] else out)
            if state != expected:
                raise ValueError(f"{call}: {name} has shape {state}, expected {expected}")
    return hidden, out


@functools.lru_cache(1024)
def _plan(
    call: str, x: Shape, states: tuple[Shape | None, ...], weights: tuple[Shape, ...], options: Options, rows: bool,
    cells: bool,
) -> Plan:  # fmt: skip
    """rows: whether there are lengths or resets."""
    hidden, out = _check(call, x, states, weights, options)
    o = options
    if not o.training:
        o = o._replace(dropout=0.0, recurrent_dropout=0.0)
    elif o.layers == 1:
        o = o._replace(dropout=0.0)
    (steps, batch, inputs), lead = x, o.layers * o.directions
    plain = o.is_plain and hidden == out and not (rows or cells)
    outputs = [(steps, batch, o.directions * out), (lead, batch, out)]
    outputs += [(lead, batch, hidden)] if o.is_lstm else []
    outputs += [(steps, batch, o.directions * hidden)] if cells else []
    sizes = (steps, batch, inputs, hidden, o.layers, o.directions, o.dropout)
    stem = o.stem if plain else "rnn_options"
    return Plan(
        options=o,
        outputs=tuple(outputs),
        small=8 * math.prod(outputs[0]) < backend.KEPT_BYTES,
        plain=plain,
        reserve=_core.rnn_reserve_size(o.cell, *sizes) if plain else 0,
        masks=o.masks(steps, batch, hidden, out) if o.training else 0,
        forward=f"{stem}_forward",
        backward=f"{stem}_backward",
        tail=o.tail_of(plain),
    )


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
    call: str, x: Tensor, states: Sequence[Tensor | None], weights: Sequence[Tensor], options: Options, *, lengths: Any
    = None, reset: Any = None, reset_states: Sequence[Tensor | None] = (None, None), cells: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """(y, hn), of an LSTM (y, hn, cn) and with cells (y, hn, cn, cells). states: h0 and, of an LSTM, c0.

    lengths [N]: row n has the steps 0 .. lengths[n] - 1, and the others cost nothing; reset [T,N]: where row n is cut
    between t - 1 and t, and goes on from reset_states, None for zeros. Masks are drawn where options.training.
    """
    states = (*states, None)[:2] + (_NO_STATES[:2] if reset is None else (*reset_states, None)[:2])
    shapes = tuple([None if t is None else t.data.shape for t in states])
    limited = lengths is not None or reset is not None
    plan = _plan(call, x.data.shape, shapes, tuple([w.data.shape for w in weights]), options, limited, cells)
    rows = rows_of(call, x, lengths, reset) if limited else _ALL
    if plan.masks:
        plan = plan.drawn()
    traced = active_trace() is not None
    if traced or not x.data.shape[1]:
        _check_dtypes(call, x, states, weights)
    if traced:
        return run_composed(x, states, weights, plan.options, rows, cells)
    try:
        return Recurrent.apply(x, *states, *weights, plan=plan, rows=rows)
    except (TypeError, ValueError):  # the native function checks all arrays before it does anything
        _check_dtypes(call, x, states, weights)
        raise


def plan_of(call: str, x: Tensor, weights: Sequence[Tensor], options: Options) -> Plan | None:
    """What a call without states, lengths and resets follows; None where it draws masks, or has no rows."""
    plan = _plan(call, x.data.shape, _NO_STATES, tuple([w.data.shape for w in weights]), options, False, False)
    return None if plan.masks or not x.data.shape[1] else plan


def run_again(
    plan: Plan, x: Tensor, weights: Sequence[Tensor], states: Sequence[Tensor | None] = (None, None),
    function: type[Recurrent] = Recurrent,
) -> tuple[Tensor, ...] | None:  # fmt: skip
    """`run`, or with RecurrentStep one step of a cell, by the plan of an earlier call; None where that does not serve,
    or the arrays are wrong."""
    if active_trace() is not None:
        return None
    try:
        return function.apply(x, *states, None, None, *weights, plan=plan, rows=_ALL)
    except (TypeError, ValueError):
        return None


def _check_dtypes(call: str, x: Tensor, states: Sequence[Tensor | None], weights: Sequence[Tensor]) -> None:
    """TypeError or ValueError where x is no float array, or another has not its dtype and device."""
    check_float(call, "x", x.data)
    names = (*STATES, *(f"weights[{i}]" for i in range(len(weights))))
    for name, t in zip(names, (*states, *weights), strict=True):
        if t is not None:
            check_float(call, name, t.data, x.data)


def _run_any(call: str, x: Any, states: Sequence[Any], weights: Sequence[Any], options: Options) -> tuple[Tensor, ...]:
    """`run` of what may be no Tensor yet."""
    given = [None if s is None else as_tensor(s) for s in states]
    return run(call, as_tensor(x), given, [as_tensor(w) for w in weights], options)


def rnn(
    x: Any, h0: Any, weights: Sequence[Any], *, nonlinearity: str = "tanh", num_layers: int = 1, bidirectional: bool =
    False, bias: bool = True, dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """h_t = f(w_ih x_t + b_ih + w_hh h_(t-1) + b_hh), f = tanh or relu -> (y, hn). h0 None is zeros."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
    options = _options(f"rnn_{nonlinearity}", num_layers, bidirectional, bias, dropout, training)
    y, hn = _run_any("rnn", x, (h0,), weights, options)
    return y, hn


def lstm(
    x: Any, h0: Any, c0: Any, weights: Sequence[Any], *, num_layers: int = 1, bidirectional: bool = False, bias: bool =
    True, dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """i, f, o = sigmoid, g = tanh of w_ih x_t + b_ih + w_hh h_(t-1) + b_hh; c_t = f c_(t-1) + i g; h_t = o tanh(c_t)
    (Hochreiter and Schmidhuber 1997; Gers et al. 2000) -> (y, hn, cn). h0, c0 None are zeros."""
    options = _options("lstm", num_layers, bidirectional, bias, dropout, training)
    y, hn, cn = _run_any("lstm", x, (h0, c0), weights, options)
    return y, hn, cn


def gru(
    x: Any, h0: Any, weights: Sequence[Any], *, num_layers: int = 1, bidirectional: bool = False, bias: bool = True,
    dropout: float = 0.0, training: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """r, z = sigmoid(w x + b + u h + b'); n = tanh(w_n x + b_n + r (u_n h + b'_n)); h_t = (1 - z) n + z h_(t-1)
    (Cho et al. 2014, with the reset after the product) -> (y, hn). h0 None is zeros."""
    options = _options("gru", num_layers, bidirectional, bias, dropout, training)
    y, hn = _run_any("gru", x, (h0,), weights, options)
    return y, hn


def _options(cell: str, layers: int, bidirectional: bool, bias: bool, dropout: float, training: bool) -> Options:
    return Options(cell, layers, 2 if bidirectional else 1, bias, float(dropout), 0, 0, training=training)
