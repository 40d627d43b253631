"""Recurrent layers and cells with PyTorch's parameters. A layer is one native call, whatever its steps, layers and
directions.

Derivatives of higher order (`create_graph=True`) are there too: that backward pass is made of recorded operations, step
by step, which is far slower than the native one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..ops import rnn as loops
from ..ops.creation import empty
from ..tensor import Tensor, as_tensor
from . import init
from .checks import integer
from .module import Module, Parameter
from .stepper import Stepper


class _Weights(Module):
    """What layers and cells share: sizes, parameters, initial values."""

    _loop: ClassVar[Callable[..., Any]]  # of jadro.ops.rnn
    _gates: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int, bias: bool) -> None:
        super().__init__()
        self.input_size = integer(type(self).__name__, "input_size", input_size)
        self.hidden_size = integer(type(self).__name__, "hidden_size", hidden_size)
        self.bias = bias

    def _check_nonlinearity(self, nonlinearity: str) -> str:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"{type(self).__name__}: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        return nonlinearity

    def _add_weights(self, suffix: str, width: int, device: Any, dtype: Any) -> list[str]:
        """The parameters of one layer and direction with inputs of `width`; their names, in the order of the loop."""
        rows = self._gates * self.hidden_size
        shapes = {
            "weight_ih": (rows, width),
            "weight_hh": (rows, self.hidden_size),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        kinds = list(shapes) if self.bias else list(shapes)[:2]
        for kind in kinds:
            self.register_parameter(kind + suffix, Parameter(empty(*shapes[kind], device=device, dtype=dtype)))
        return [kind + suffix for kind in kinds]

    def reset_parameters(self) -> None:
        """Draws all parameters from U(-k, k), k = 1 / sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _check_state(self, name: str, state: Any, expected: tuple[int, ...]) -> Tensor | None:
        """A state that was handed in, as a Tensor; None stays."""
        if state is None:
            return None
        if isinstance(state, (tuple, list)):
            raise TypeError(f"{type(self).__name__}: state {name} is a {type(state).__name__}, expected one tensor")
        state = as_tensor(state)
        if state.shape != expected:
            raise ValueError(f"{type(self).__name__}: state {name} has shape {state.shape}, expected {expected}")
        return state


def _two_states(call: str, state: Any) -> tuple[Any, Any]:
    """The pair (h, c), or two None."""
    if state is None:
        return None, None
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        came = f"{len(state)} tensors" if isinstance(state, (tuple, list)) else f"a {type(state).__name__}"
        raise TypeError(f"{call}: state is {came}, expected a pair (h, c)")
    return state[0], state[1]


class _Layer(_Weights):
    """All steps, layers and directions."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias)
        self.num_layers = integer(type(self).__name__, "num_layers", num_layers)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"{type(self).__name__}: dropout is {dropout}, expected 0 <= dropout < 1")
        if dropout > 0 and num_layers == 1:
            message = f"{type(self).__name__}: dropout is {dropout}, but it acts between layers and num_layers is 1"
            warnings.warn(message, stacklevel=2)
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self._names: list[str] = []  # of the parameters, in the order of the loop
        directions = ("", "_reverse") if bidirectional else ("",)
        for layer in range(num_layers):
            width = input_size if layer == 0 else len(directions) * hidden_size
            for direction in directions:
                self._names += self._add_weights(f"_l{layer}{direction}", width, device, dtype)
        self.reset_parameters()

    def flatten_parameters(self) -> None:
        """Does nothing: the loop takes the parameters where they are. For code written for PyTorch."""

    def stepper(self, batch_size: int) -> Stepper:
        """The layer one step at a time, for streams: `y = stepper(x)` with x [batch_size, I]; see `Stepper`.

        Raises ValueError for a bidirectional layer, RuntimeError for one that is not on the CPU.
        """
        return Stepper(self, batch_size)

    @property
    def _cell(self) -> str:
        """The cell's name in the loop."""
        return type(self).__name__.lower()

    def _loop_options(self) -> dict[str, Any]:
        return {
            "num_layers": self.num_layers, "bidirectional": self.bidirectional, "bias": self.bias,
            "dropout": self.dropout, "training": self.training,
        }  # fmt: skip

    def _run(self, x: Any, states: Sequence[Any]) -> tuple[Tensor, ...]:
        """(y, hn, ...) in the axes of x: [T, B, I], [B, T, I] with batch_first, or [T, I]."""
        x, call = as_tensor(x), type(self).__name__
        if x.ndim not in (2, 3):
            raise ValueError(f"{call}: x has shape {x.shape}, expected three axes, or two without the batch")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"{call}: x has shape {x.shape}, expected {self.input_size} features in the last axis")
        batched = x.ndim == 3
        turned = batched and self.batch_first
        x = x.transpose(0, 1) if turned else x if batched else x.unsqueeze(1)
        rows = self.num_layers * (2 if self.bidirectional else 1)
        expected = (rows, x.shape[1], self.hidden_size) if batched else (rows, self.hidden_size)
        starts = [self._check_state(name, state, expected) for name, state in zip("hc", states, strict=False)]
        if not batched:
            starts = [None if s is None else s.unsqueeze(1) for s in starts]
        weights = [self._parameters[name] for name in self._names]
        y, *ends = type(self)._loop(x, *starts, weights, **self._loop_options())
        if not batched:
            return (y.squeeze(1), *(end.squeeze(1) for end in ends))
        return (y.transpose(0, 1) if turned else y, *ends)

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        parts += [f"{n}={getattr(self, n)}" for n, default in defaults.items() if getattr(self, n) != default]
        return ", ".join(parts)


class RNN(_Layer):
    """The vanilla recurrent layer: h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), f = tanh or relu.

    `output, h = rnn(x, h=None)`: x [T, B, I] ([B, T, I] with batch_first, [T, I] without a batch), output [T, B, D*H]
    of the last layer, h [L*D, B, H] of every layer's last step (D = 2 if bidirectional); None starts from zeros.
    dropout acts on the output of every layer but the last, in training. Parameters of layer k, with `_reverse` those
    of the other direction: weight_ih_lk [H, I or D*H], weight_hh_lk [H, H], bias_ih_lk and bias_hh_lk [H]. Raises
    ValueError for shapes that do not fit.
    """

    _loop, _gates = staticmethod(loops.rnn), 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        nonlinearity = self._check_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)
        self.nonlinearity = nonlinearity

    @property
    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"

    def _loop_options(self) -> dict[str, Any]:
        return {**super()._loop_options(), "nonlinearity": self.nonlinearity}

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Tensor]:
        y, h = self._run(x, (state,))
        return y, h


class LSTM(_Layer):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000), in PyTorch's form:

    i, f, o = sigmoid and g = tanh of W_ih x_t + b_ih + W_hh h_(t-1) + b_hh; c_t = f c_(t-1) + i g; h_t = o tanh(c_t).
    `output, (h, c) = lstm(x, (h, c) or None)`; shapes, options and parameters as in RNN, with 4 H rows in the order i
    f g o.
    """

    _loop, _gates = staticmethod(loops.lstm), 4

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, h, c = self._run(x, _two_states("LSTM", state))
        return y, (h, c)


class GRU(_Layer):
    """The gated recurrent unit (Cho et al. 2014), in PyTorch's form:

    r, z = sigmoid(W x + b + U h + b'); n = tanh(W_n x + b_n + r (U_n h + b'_n)); h_t = (1 - z) n + z h_(t-1).
    `output, h = gru(x, h=None)`; shapes, options and parameters as in RNN, with 3 H rows in the order r z n.
    """

    _loop, _gates = staticmethod(loops.gru), 3

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Tensor]:
        y, h = self._run(x, (state,))
        return y, h


class _Cell(_Weights):
    """One step: the loop over one step of one layer."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        self._names = self._add_weights("", input_size, device, dtype)
        self.reset_parameters()

    def _run(self, x: Any, states: Sequence[Any], **options: Any) -> tuple[Tensor, ...]:
        """The new states, in the axes of x: [B, I] or [I]."""
        x = as_tensor(x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            expected = f"(B, {self.input_size}) or ({self.input_size},)"
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}, expected {expected}")
        expected_state = (*x.shape[:-1], self.hidden_size)
        starts = [self._check_state(name, state, expected_state) for name, state in zip("hc", states, strict=False)]
        lead = (1, *x.shape[:-1]) if x.ndim == 2 else (1, 1)
        starts = [None if s is None else s.reshape(*lead, self.hidden_size) for s in starts]
        weights = [self._parameters[name] for name in self._names]
        _, *ends = type(self)._loop(x.reshape(*lead, self.input_size), *starts, weights, bias=self.bias, **options)
        return tuple(end.reshape(expected_state) for end in ends)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of RNN: `h = cell(x, h=None)`, x [B, I] or [I], h [B, H] or [H].

    Parameters: weight_ih [H, I], weight_hh [H, H], bias_ih and bias_hh [H].
    """

    _loop, _gates = staticmethod(loops.rnn), 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        nonlinearity = self._check_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, x: Any, state: Any = None) -> Tensor:
        (h,) = self._run(x, (state,), nonlinearity=self.nonlinearity)
        return h


class LSTMCell(_Cell):
    """One step of LSTM: `h, c = cell(x, (h, c) or None)`; parameters as in RNNCell, with 4 H rows."""

    _loop, _gates = staticmethod(loops.lstm), 4

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Tensor]:
        h, c = self._run(x, _two_states("LSTMCell", state))
        return h, c


class GRUCell(_Cell):
    """One step of GRU: `h = cell(x, h=None)`; parameters as in RNNCell, with 3 H rows."""

    _loop, _gates = staticmethod(loops.gru), 3

    def forward(self, x: Any, state: Any = None) -> Tensor:
        (h,) = self._run(x, (state,))
        return h
