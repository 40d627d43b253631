"""Streaming: a recurrent layer one step at a time, without a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, backend
from ..tensor import as_tensor
from .checks import integer

if TYPE_CHECKING:
    from .recurrent import _Layer

State = Any  # h [L, B, H], or for an LSTM the pair (h, c)


class Stepper(_core.RnnStepper):
    """`y = stepper(x)`: the next step of a recurrent layer, x [B, I] and y [B, H] NumPy arrays of the layer's dtype.

    What `rnn.stepper(batch_size)` gives. All layers run in one native call, in evaluation (no dropout), and nothing is
    recorded or allocated: y is the stepper's own buffer, the same array each time, which the next step overwrites; copy
    what has to stay. The state begins with zeros and goes on from call to call.

    The weights are packed when the stepper is made. `refresh()` takes over those that the layer has since been trained
    to or has loaded; until then the steps are those of the old ones. One thread at a time may call a stepper; several
    steppers of one layer are independent.

    Raises TypeError where x is no NumPy array or has another dtype, ValueError where it has another shape.
    """

    def __init__(self, layer: _Layer, batch_size: int) -> None:
        call = type(layer).__name__ + ".stepper"
        batch_size = integer(call, "batch_size", batch_size)
        if layer.bidirectional:
            raise ValueError(f"{call}: the layer is bidirectional: its reverse direction starts at the end of x")
        self._layer = layer
        first = self._weights()[0]
        if backend.device_of(first) != "cpu":
            raise RuntimeError(f"{call}: the layer is on {backend.device_of(first)}, expected the CPU")
        states, cell = 2 if layer._cell == "lstm" else 1, layer._cell
        self._states = np.zeros((states, layer.num_layers, batch_size, layer.hidden_size), first.dtype)
        y = np.zeros((batch_size, layer.hidden_size), first.dtype)
        c = self._states[1] if states == 2 else None
        super().__init__(cell, layer.input_size, self._weights(), layer.bias, self._states[0], c, y)

    def _weights(self) -> list[np.ndarray]:
        return [backend.contiguous(getattr(self._layer, name).data) for name in self._layer._names]

    def refresh(self) -> None:  # type: ignore[override]
        """Packs the layer's weights as they are now. The state stays."""
        super().refresh(self._weights())

    def reset(self, rows: Any = None) -> None:
        """Sets the state of some rows of the batch to zero: an index, a list of them, a slice or a mask [B]; None: all.

        Raises IndexError for a row that is not there.
        """
        self._states[:, :, slice(None) if rows is None else rows] = 0

    @property
    def state(self) -> State:
        """A copy of the state: h [L, B, H], of an LSTM (h, c). May be set, to such arrays or Tensors or to None, which
        is zeros; ValueError where a shape does not fit."""
        found = tuple(self._states.copy())
        return found if len(found) == 2 else found[0]

    @state.setter
    def state(self, state: State) -> None:
        if state is None:
            return self.reset()
        several = len(self._states) == 2
        if several and (not isinstance(state, (tuple, list)) or len(state) != 2):
            raise TypeError(f"stepper: state is a {type(state).__name__}, expected a pair (h, c)")
        arrays = [backend.to_device(as_tensor(s).data, "cpu") for s in (state if several else [state])]
        for name, array in zip("hc", arrays, strict=False):
            if array.shape != self._states.shape[1:]:
                raise ValueError(f"stepper: {name} has shape {array.shape}, expected {self._states.shape[1:]}")
        for mine, array in zip(self._states, arrays, strict=True):
            mine[...] = array
