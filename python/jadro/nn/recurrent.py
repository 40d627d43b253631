"""Recurrent layers and cells with PyTorch's parameters. A layer is one native call, whatever its steps, layers and
directions.

Derivatives of higher order (`create_graph=True`) are there too: that backward pass is made of recorded operations, step
by step, which is far slower than the native one."""

from __future__ import annotations

import math
import operator
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..ops import rnn as loops
from ..ops.creation import empty
from ..tensor import Tensor, as_tensor
from . import init
from .checks import integer
from .module import Module, Parameter
from .recurrent_options import CellOptions, check_options
from .stepper import Stepper


class _Weights(Module):
    """What layers and cells share: sizes, parameters, initial values."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__()
        self.input_size = integer(type(self).__name__, "input_size", input_size)
        self.hidden_size = integer(type(self).__name__, "hidden_size", hidden_size)
        self.bias = bias
        # Made once for all calls until an attribute changes; the shape of x in the last plain call, and its plan.
        self._options: loops.Options | None = None
        self._last: tuple[Any, Any] = (None, None)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_options", "_last"):
            self.__dict__.update(_options=None, _last=(None, None))
        super().__setattr__(name, value)

    @property
    @abstractmethod
    def _cell(self) -> str:
        """The cell's name in the loop."""

    def _check_nonlinearity(self, nonlinearity: str) -> str:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"{type(self).__name__}: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        return nonlinearity

    def reset_parameters(self) -> None:
        """Draws all parameters from U(-k, k), k = 1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _check_state(self, name: str, state: Any, expected: tuple[int, ...], what: str = "state") -> Tensor | None:
        """A state that was handed in, as a Tensor; None stays."""
        if state is None:
            return None
        if isinstance(state, (tuple, list)):
            raise TypeError(f"{type(self).__name__}: {what} {name} is a {type(state).__name__}, expected one tensor")
        state = as_tensor(state)
        if state.shape != expected:
            raise ValueError(f"{type(self).__name__}: {what} {name} has shape {state.shape}, expected {expected}")
        return state


def _two_states(call: str, state: Any, what: str = "state") -> tuple[Any, Any]:
    """The pair (h, c), or two None."""
    if state is None:
        return None, None
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        came = f"{len(state)} tensors" if isinstance(state, (tuple, list)) else f"a {type(state).__name__}"
        raise TypeError(f"{call}: {what} is {came}, expected a pair (h, c)")
    return state[0], state[1]


class _Layer(_Weights):
    """All steps, layers and directions."""

    _states: ClassVar[int] = 1
    layer_norm: bool
    zoneout: float | tuple[float, float]
    recurrent_dropout: float
    recurrent_dropout_mode: str
    cell_clip: float | None
    gate_clip: float | None
    peephole: bool
    coupled: bool
    checkpoint: int | None

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool, dropout: float,
        bidirectional: bool, device: Any, dtype: Any, proj_size: int = 0, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias)
        call = type(self).__name__
        self.num_layers = integer(call, "num_layers", num_layers)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"{call}: dropout is {dropout}, expected 0 <= dropout < 1")
        if dropout > 0 and num_layers == 1:
            message = f"{call}: dropout is {dropout}, but it acts between layers and num_layers is 1"
            warnings.warn(message, stacklevel=3)
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        if proj_size and self._states == 1:
            raise TypeError(f"{call}: got an unexpected keyword argument 'proj_size'")
        self.proj_size = integer(call, "proj_size", proj_size, least=0)
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"{call}: proj_size is {proj_size}, expected 0 <= proj_size < {hidden_size}, hidden_size")
        for name, value in check_options(call, self._states == 2, options)._asdict().items():
            setattr(self, name, value)
        self._names: list[str] = []  # of the parameters, in the order of the loop
        cell, directions = self._cell, ("", "_reverse") if bidirectional else ("",)
        kinds = loops.parameters_of(cell, bias, self.proj_size > 0, self.peephole, self.layer_norm)
        for layer in range(num_layers):
            width = input_size if layer == 0 else len(directions) * self._out
            for direction in directions:
                for kind in kinds:
                    shape = loops.parameter_shape(kind, cell, width, hidden_size, self._out)
                    name = f"{kind}_l{layer}{direction}"
                    self.register_parameter(name, Parameter(empty(*shape, device=device, dtype=dtype)))
                    self._names.append(name)
        self._weights = operator.itemgetter(*self._names)
        self.reset_parameters()

    @property
    def _out(self) -> int:
        """The width of h."""
        return self.proj_size or self.hidden_size

    def reset_parameters(self) -> None:
        """Draws all parameters from U(-k, k), k = 1 / sqrt(hidden_size), but for the gains of layer norm, which are 1,
        and its biases, 0."""
        bound = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():
            if "_ln_" in name:
                parameter.data[...] = float(name.startswith("weight"))
            else:
                init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: the loop takes the parameters where they are. For code written for PyTorch."""

    def stepper(self, batch_size: int) -> Stepper:
        """The layer one step at a time, for streams: `y = stepper(x)` with x [batch_size, I]; see `Stepper`.

        Raises ValueError for a bidirectional layer, RuntimeError for one that is not on the CPU.
        """
        return Stepper(self, batch_size)

    def _loop_options(self) -> loops.Options:
        if self._options is not None:
            return self._options
        zoneout = self.zoneout if isinstance(self.zoneout, tuple) else (self.zoneout, self.zoneout)
        self._options = loops.Options(
            self._cell, self.num_layers, 2 if self.bidirectional else 1, self.bias, float(self.dropout), 0, 0,
            self.layer_norm, self.peephole, self.gate_clip or math.inf, self.cell_clip or math.inf, zoneout,
            self.recurrent_dropout, self.recurrent_dropout > 0 and self.recurrent_dropout_mode == "update",
            self.checkpoint or 0, self.training,
        )  # fmt: skip
        return self._options

    def _check_states(self, states: Sequence[Any], batch: int | None, what: str = "state") -> list[Tensor | None]:
        """h and, of an LSTM, c, as Tensors with a batch axis; None stays. batch None: there is no such axis."""
        if states[0] is None and states[-1] is None:
            return [None] * len(states)
        lead, rows = (self.num_layers * (2 if self.bidirectional else 1),), 1 if batch is None else batch
        found: list[Tensor | None] = []
        for name, state, width in zip("hc", states, (self._out, self.hidden_size), strict=False):
            flat, whole = (*lead, width), (*lead, rows, width)
            shared = what == "reset_state" and state is not None and len(np.shape(state)) == 2
            state = self._check_state(name, state, flat if batch is None or shared else whole, what)
            if state is not None and state.ndim == 2:
                state = state.unsqueeze(1).expand(*lead, rows, width)
            found.append(state)
        return found

    def _run(
        self, x: Any, states: Sequence[Any], lengths: Any, reset: Any, reset_states: Sequence[Any], cells: bool = False
    ) -> tuple[Tensor, ...]:
        """(y, hn, ...) in the axes of x: [T, B, I], [B, T, I] with batch_first, or [T, I]."""
        x = as_tensor(x)
        shape, weights = x.data.shape, self._weights(self._parameters)
        plain = lengths is None and reset is None and not cells and states[0] is None and states[-1] is None
        plain = plain and reset_states[0] is None and reset_states[-1] is None
        if plain and shape == self._last[0]:
            found = loops.run_again(self._last[1], x, weights)
            if found is not None:
                return found
        call = type(self).__name__
        if len(shape) not in (2, 3):
            raise ValueError(f"{call}: x has shape {shape}, expected three axes, or two without the batch")
        if shape[-1] != self.input_size:
            raise ValueError(f"{call}: x has shape {shape}, expected {self.input_size} features in the last axis")
        batched = len(shape) == 3
        turned = batched and self.batch_first
        x = x.transpose(0, 1) if turned else x if batched else x.unsqueeze(1)
        batch = shape[0 if turned else 1] if batched else None
        starts = self._check_states(states, batch)
        if reset is None and not (reset_states[0] is None and reset_states[-1] is None):
            raise ValueError(f"{call}: reset_state was given without reset")
        if reset is not None:
            reset = self._check_reset(reset, (batch, len(x)) if turned else (len(x), batch), turned)
        if lengths is not None and not batched:
            raise ValueError(f"{call}: lengths were given for x of shape {tuple(x.shape[::2])}, expected a batch axis")
        again = self._check_states(reset_states, batch, "reset_state")
        y, *ends = loops.run(
            call, x, starts, weights, self._loop_options(), lengths=lengths, reset=reset, reset_states=again,
            cells=cells,
        )  # fmt: skip
        if plain and batched and not turned:
            plan = loops.plan_of(call, x, weights, self._loop_options())
            self._last = (shape, plan) if plan else (None, None)
        if not batched:
            return (y.squeeze(1), *(end.squeeze(1) for end in ends))
        if turned and cells:
            ends[-1] = ends[-1].transpose(0, 1)
        return (y.transpose(0, 1) if turned else y, *ends)

    def _check_reset(self, reset: Any, expected: tuple[int | None, int | None], turned: bool) -> Any:
        """[T,B]"""
        reset = np.asarray(reset.numpy() if isinstance(reset, Tensor) else reset)
        shape = tuple(n for n in expected if n is not None)
        if reset.shape != shape:
            raise ValueError(f"{type(self).__name__}: reset has shape {reset.shape}, expected {shape}")
        return reset.T if turned else reset.reshape(len(reset), -1)

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False, "proj_size": 0,
        }  # fmt: skip
        parts += [f"{n}={getattr(self, n)}" for n, default in defaults.items() if getattr(self, n) != default]
        options = CellOptions._field_defaults
        parts += [f"{n}={getattr(self, n)!r}" for n, default in options.items() if getattr(self, n) != default]
        return ", ".join(parts)


class RNN(_Layer):
    """The vanilla recurrent layer: h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), f = tanh or relu.

    `output, h = rnn(x, h=None)`: x [T, B, I] ([B, T, I] with batch_first, [T, I] without a batch), output [T, B, D*H]
    of the last layer, h [L*D, B, H] of every layer's last step (D = 2 if bidirectional); None starts from zeros.
    dropout acts on the output of every layer but the last, in training. Parameters of layer k, with `_reverse` those
    of the other direction: weight_ih_lk [H, I or D*H], weight_hh_lk [H, H], bias_ih_lk and bias_hh_lk [H]. Raises
    ValueError for shapes that do not fit.

    In a call:
    - lengths: [B] integers 0 .. T in any order. Row b has the steps before lengths[b]: those past it cost no work, give
      0, and h is the row's last valid one. The reverse direction starts at each row's own end.
    - reset: [T, B] booleans ([B, T] with batch_first): row b is cut between t - 1 and t, for both directions, and goes
      on from reset_state, shaped as h or without its batch axis (gradients reach it), or from zeros. reset[0] discards
      the h that was handed in.

    Options, keywords all of them, for LSTM and GRU too:
    - layer_norm: LN(W x) + b + LN(U h) + b' (Ba et al. 2016), each with a gain and a bias, weight_ln_ih_lk,
      bias_ln_ih_lk, weight_ln_hh_lk, bias_ln_hh_lk [H]; eps 1e-5.
    - zoneout: the probability that a unit keeps its old h in training; in evaluation the share of the old one
      (Krueger et al. 2016).
    - recurrent_dropout, recurrent_dropout_mode: in training, "sequence" multiplies the h that enters U by one mask for
      all steps (Gal and Ghahramani 2016), "update" what a step writes by a fresh one (Semeniuta et al. 2016). Masks are
      numbers of the library's stream, the same for any number of threads.
    - cell_clip: bound of the new h (of the LSTM's c) before zoneout; gate_clip: bound of every pre-activation.
    - checkpoint: memory of training. None keeps everything for backward; k keeps every k-th state and makes the gates
      once more (1 keeps the states alone). The gradients are the same, bit for bit.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        self.nonlinearity = self._check_nonlinearity(nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype, **options
        )

    @property
    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, reset: Any = None, reset_state: Any = None
    ) -> tuple[Tensor, Tensor]:
        y, h = self._run(x, (state,), lengths, reset, (reset_state,))
        return y, h


class LSTM(_Layer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000), in PyTorch's form:

    i, f, o = sigmoid and g = tanh of W_ih x_t + b_ih + W_hh h_(t-1) + b_hh; c_t = f c_(t-1) + i g; h_t = o tanh(c_t).
    `output, (h, c) = lstm(x, (h, c) or None)`; shapes, options and parameters as in RNN, with 4 H rows in the order i
    f g o. With return_cells=True in the call also the last layer's c of all steps, [T, B, D*H].

    - proj_size: P > 0 makes h = W_hr (o tanh(c)) of P units, weight_hr_lk [P, H]; output, h and weight_hh are P wide.
    - peephole: i and f see p_i c and p_f c of the old cell state, o p_o c of the new one (Gers and Schmidhuber 2000);
      weight_pi_lk, weight_pf_lk, weight_po_lk [H].
    - coupled: f = 1 - i; three blocks of rows, i g o, and no weight_pf (Greff et al. 2017).
    - layer_norm: over all gates together, and h = o tanh(LN(c)); the carried c is not normalised; weight_ln_c_lk,
      bias_ln_c_lk [H]. zoneout: one number for h and c, or (z_h, z_c); h is made of the c before zoneout.
    """

    _states = 2

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype, proj_size,
            **options,
        )  # fmt: skip

    @property
    def _cell(self) -> str:
        return "lstm_coupled" if self.coupled else "lstm"

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, reset: Any = None, reset_state: Any = None,
        return_cells: bool = False,
    ) -> tuple[Any, ...]:  # fmt: skip
        states, again = _two_states("LSTM", state), _two_states("LSTM", reset_state, "reset_state")
        y, h, c, *cells = self._run(x, states, lengths, reset, again, return_cells)
        return (y, (h, c), *cells)


class GRU(_Layer):
    """The gated recurrent unit (Cho et al. 2014), in PyTorch's form:

    r, z = sigmoid(W x + b + U h + b'); n = tanh(W_n x + b_n + r (U_n h + b'_n)); h_t = (1 - z) n + z h_(t-1).
    `output, h = gru(x, h=None)`; shapes, options and parameters as in RNN, with 3 H rows in the order r z n.

    reset_after=False is the first form, n = tanh(W_n x + b_n + U_n (r h) + b'_n). layer_norm is over r and z together
    and over n apart, behind the product: LN(U_n h) + b'_n in place of U_n h + b'_n.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, reset_after: bool = True, device: Any = None,
        dtype: Any = None, **options: Any,
    ) -> None:  # fmt: skip
        self._reset_after = bool(reset_after)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype, **options
        )

    @property
    def reset_after(self) -> bool:
        return self._reset_after

    @property
    def _cell(self) -> str:
        return "gru" if self.reset_after else "gru_reset_before"

    def forward(
        self, x: Any, state: Any = None, *, lengths: Any = None, reset: Any = None, reset_state: Any = None
    ) -> tuple[Tensor, Tensor]:
        y, h = self._run(x, (state,), lengths, reset, (reset_state,))
        return y, h

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")


class _Cell(_Weights):
    """One step: the loop over one step of one layer."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        names = loops.parameters_of(self._cell, bias, False, False, False)
        for name in names:
            shape = loops.parameter_shape(name, self._cell, input_size, hidden_size, hidden_size)
            self.register_parameter(name, Parameter(empty(*shape, device=device, dtype=dtype)))
        self._weights = operator.itemgetter(*names)
        self.reset_parameters()

    def _run(self, x: Any, states: Sequence[Any]) -> tuple[Tensor, ...]:
        """The new states, in the axes of x: [B, I] or [I]."""
        x = as_tensor(x)
        shape, weights = x.data.shape, self._weights(self._parameters)
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            expected = f"(B, {self.input_size}) or ({self.input_size},)"
            raise ValueError(f"{type(self).__name__}: x has shape {shape}, expected {expected}")
        ends_shape = (*shape[:-1], self.hidden_size)
        starts = [self._check_state(name, state, ends_shape) for name, state in zip("hc", states, strict=True)]
        if shape == self._last[0]:
            found = loops.run_again(self._last[1], x, weights, starts, loops.RecurrentStep)
            if found is not None:
                return found
        call, lead = type(self).__name__, (1, *shape[:-1]) if len(shape) == 2 else (1, 1)
        if self._options is None:
            self._options = loops.Options(self._cell, 1, 1, self.bias, 0.0, 0, 0)
        x = x.reshape(*lead, self.input_size)
        starts = [None if s is None else s.reshape(*lead, self.hidden_size) for s in starts]
        _, *ends = loops.run(call, x, starts, weights, self._options)
        plan = loops.plan_of(call, x, weights, self._options) if len(shape) == 2 else None
        self._last = (shape, plan) if plan else (None, None)
        return tuple(end.reshape(ends_shape) for end in ends)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of RNN: `h = cell(x, h=None)`, x [B, I] or [I], h [B, H] or [H].

    Parameters: weight_ih [H, I], weight_hh [H, H], bias_ih and bias_hh [H].
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        self.nonlinearity = self._check_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, device, dtype)

    @property
    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"

    def forward(self, x: Any, state: Any = None) -> Tensor:
        (h,) = self._run(x, (state, None))
        return h


class LSTMCell(_Cell):
    """One step of LSTM: `h, c = cell(x, (h, c) or None)`; parameters as in RNNCell, with 4 H rows."""

    @property
    def _cell(self) -> str:
        return "lstm"

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Tensor]:
        h, c = self._run(x, _two_states("LSTMCell", state))
        return h, c


class GRUCell(_Cell):
    """One step of GRU: `h = cell(x, h=None)`; parameters as in RNNCell, with 3 H rows."""

    @property
    def _cell(self) -> str:
        return "gru"

    def forward(self, x: Any, state: Any = None) -> Tensor:
        (h,) = self._run(x, (state, None))
        return h
