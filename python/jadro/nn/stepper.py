"""Streaming: a recurrent layer one step at a time, without a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, backend
from ..tensor import as_tensor
from .checks import integer

if TYPE_CHECKING:
    from .recurrent import _Layer

State = Any  # h [L, B, P], or for an LSTM the pair (h, c) with c [L, B, H]


class Stepper(_core.RnnStepper):
    """`y = stepper(x)`: the next step of a recurrent layer, x [B, I] and y [B, H] NumPy arrays of the layer's dtype.

    What `rnn.stepper(batch_size)` gives. All layers run in one native call, with all of the layer's options, in
    evaluation (no dropout, zoneout by its share), and nothing is recorded or allocated: y is the stepper's own buffer,
    the same array each time, which the next step overwrites; copy what has to stay. The state begins with zeros and
    goes on from call to call.

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
        options = layer._loop_options()._replace(dropout=0.0, recurrent_dropout=0.0, update=False, training=False)
        widths = (layer._out, layer.hidden_size)[: layer._states]
        self._states = [np.zeros((layer.num_layers, batch_size, n), first.dtype) for n in widths]
        y = np.zeros((batch_size, layer._out), first.dtype)
        h, c = self._states[0], self._states[1] if len(widths) == 2 else None
        super().__init__(layer._cell, layer.input_size, self._weights(), layer.bias, h, c, y, options.native)

    def _weights(self) -> list[np.ndarray]:
        return [backend.contiguous(getattr(self._layer, name).data) for name in self._layer._names]

    def refresh(self) -> None:  # type: ignore[override]
        """Packs the layer's weights as they are now. The state stays."""
        super().refresh(self._weights())

    def reset(self, rows: Any = None) -> None:
        """Sets the state of some rows of the batch to zero: an index, a list of them, a slice or a mask [B]; None: all.

        Raises IndexError for a row that is not there.
        """
        for mine in self._states:
            mine[:, slice(None) if rows is None else rows] = 0

    @property
    def state(self) -> State:
        """A copy of the state: h [L, B, H], of an LSTM (h, c). May be set, to such arrays or Tensors or to None, which
        is zeros; ValueError where a shape does not fit."""
        found = tuple(mine.copy() for mine in self._states)
        return found if len(found) == 2 else found[0]

    @state.setter
    def state(self, state: State) -> None:
        if state is None:
            return self.reset()
        several = len(self._states) == 2
        if several and (not isinstance(state, (tuple, list)) or len(state) != 2):
            raise TypeError(f"stepper: state is a {type(state).__name__}, expected a pair (h, c)")
        arrays = [backend.to_device(as_tensor(s).data, "cpu") for s in (state if several else [state])]
        for name, array, mine in zip("hc", arrays, self._states, strict=False):
            if array.shape != mine.shape:
                raise ValueError(f"stepper: {name} has shape {array.shape}, expected {mine.shape}")
        for mine, array in zip(self._states, arrays, strict=True):
            mine[...] = array
