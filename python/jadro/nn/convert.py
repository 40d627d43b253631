"""Weights of recurrent layers in the layouts of PyTorch, Keras, ONNX and cuDNN: `to_*` and `from_*`, for every layout.

`to_x(layer)` gives copies as NumPy arrays; `from_x(layer, weights)` writes weights of that layout into a layer of the
same sizes and raises ValueError, changing nothing, where they do not fit. G blocks of H rows stand one below the other,
one for each gate:

    layout    LSTM       GRU      kernels       biases
    jadro     i f g o    r z n    [G*H, I]      b_ih and b_hh, [G*H] each
    PyTorch   i f g o    r z n    [G*H, I]      the same
    Keras     i f g o    z r n    [I, G*H]      one, [G*H]; GRU with reset_after [2, G*H]
    ONNX      i o f g    z r n    [D, G*H, I]   b_ih and b_hh side by side, [D, 2*G*H]
    cuDNN     i f g o    r z n    [G*H, I]      b_ih and b_hh, behind the matrices of all layers

n is Keras' and ONNX's h, cuDNN's h' or "new memory"; g is Keras' and ONNX's c. Where a layout has one bias for two, it
is their sum, and comes back as b_ih with b_hh zero: the same function.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import backend
from .recurrent import GRU, LSTM, RNN

Array = np.ndarray
Part = dict[str, Array]  # of one layer and direction: weight_ih, weight_hh, bias_ih, bias_hh, and those of options
Layer = RNN | LSTM | GRU

_ORDERS: dict[str, dict[type, tuple[int, ...]]] = {  # their gate k is our gate order[k]
    "keras": {RNN: (0,), LSTM: (0, 1, 2, 3), GRU: (1, 0, 2)},
    "onnx": {RNN: (0,), LSTM: (0, 3, 1, 2), GRU: (1, 0, 2)},
}
# Options that change what the weights mean, and the value that every layout has.
_OPTIONS: dict[str, Any] = {
    "reset_after": True, "peephole": False, "coupled": False, "layer_norm": False, "proj_size": 0, "zoneout": 0.0,
    "cell_clip": None, "gate_clip": None,
}  # fmt: skip


def _option(layer: Layer, name: str) -> Any:
    return getattr(layer, name, _OPTIONS[name])


def _check_layer(call: str, layer: Any, *, has: Sequence[str] = ()) -> None:
    """TypeError for what is no recurrent layer; ValueError for options that the layout has not."""
    if not isinstance(layer, (RNN, LSTM, GRU)):
        raise TypeError(f"{call}: layer is a {type(layer).__name__}, expected an RNN, LSTM or GRU")
    for name, plain in _OPTIONS.items():
        value = _option(layer, name)
        if name not in has and value != plain and value not in ((0.0, 0.0), [0.0, 0.0]):
            raise ValueError(f"{call}: the layer has {name}={value}, which the layout has no place for")


def _directions(layer: Layer) -> list[str]:
    return ["", "_reverse"] if layer.bidirectional else [""]


def _read(layer: Layer) -> list[list[Part]]:
    """The parts of every layer and direction."""
    parts: list[list[Part]] = [[{} for _ in _directions(layer)] for _ in range(layer.num_layers)]
    for name, parameter in layer.named_parameters():
        match = re.fullmatch(r"(\w+)_l(\d+)(_reverse)?", name)
        if match is not None:
            kind, number, reverse = match.groups()
            parts[int(number)][bool(reverse)][kind] = np.array(backend.to_device(parameter.data, "cpu"))
    return parts


def _write(call: str, layer: Layer, parts: Sequence[Sequence[Part]]) -> None:
    """All of the parts into the layer, or none."""
    named = {
        f"{kind}_l{number}{suffix}": array
        for number, directions in enumerate(parts)
        for suffix, part in zip(_directions(layer), directions, strict=True)
        for kind, array in part.items()
    }
    expected = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    for name in expected.keys() ^ named.keys():
        come, wanted = ("no ", "") if name in expected else ("", "no ")
        raise ValueError(f"{call}: the weights have {come}{name}, expected {wanted}such a parameter")
    for name, shape in expected.items():
        if named[name].shape != shape:
            raise ValueError(f"{call}: {name} has shape {named[name].shape}, expected {shape}")
    layer.load_state_dict(named)


def _array(call: str, name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """`value` as an array of that shape."""
    array = np.asarray(value)
    if array.shape != shape:
        raise ValueError(f"{call}: {name} has shape {array.shape}, expected {shape}")
    if array.dtype.kind != "f":
        raise TypeError(f"{call}: {name} has dtype {array.dtype}, expected floating numbers")
    return array


def _turned(array: Array, order: Sequence[int], axis: int = 0) -> Array:
    """The gates along an axis in another order: gate k is gate order[k] of `array`."""
    blocks = np.split(array, len(order), axis)
    return np.concatenate([blocks[k] for k in order], axis)


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(k) for k in range(len(order))]


# --- PyTorch ----------------------------------------------------------------------------------------------------------
def to_torch(layer: Layer) -> dict[str, Array]:
    """The state_dict of torch.nn's layer: the same names, shapes and order."""
    _check_layer("to_torch", layer, has=["proj_size"])
    return {name: np.array(backend.to_device(p.data, "cpu")) for name, p in layer.named_parameters()}


def from_torch(layer: Layer, weights: Mapping[str, Any]) -> None:
    """From the state_dict of torch.nn's layer, with its tensors or with arrays."""
    _check_layer("from_torch", layer, has=["proj_size"])
    arrays = {name: np.asarray(w.detach().cpu() if hasattr(w, "detach") else w) for name, w in weights.items()}
    layer.load_state_dict(arrays)


# --- Keras ------------------------------------------------------------------------------------------------------------
def to_keras(layer: Layer) -> list[Array]:
    """What `get_weights()` of keras.layers' SimpleRNN, LSTM or GRU gives: kernel [I, G*H], recurrent_kernel [H, G*H]
    and, with bias, bias.

    Of a bidirectional layer those of `Bidirectional`, forward then backward; of several layers one list after the
    other. The bias of a GRU with reset_after (Keras' default too) is [2, G*H], else it is one [G*H], b_ih + b_hh.
    """
    _check_layer("to_keras", layer, has=["reset_after"])
    order, found = _ORDERS["keras"][type(layer)], []
    for directions in _read(layer):
        for part in directions:
            found += [np.ascontiguousarray(_turned(part[k], order).T) for k in ("weight_ih", "weight_hh")]
            if layer.bias:
                biases = [_turned(part[k], order) for k in ("bias_ih", "bias_hh")]
                both = isinstance(layer, GRU) and _option(layer, "reset_after")
                found.append(np.stack(biases) if both else biases[0] + biases[1])
    return found


def from_keras(layer: Layer, weights: Sequence[Any]) -> None:
    """From `get_weights()` of keras.layers' SimpleRNN, LSTM or GRU, of Bidirectional around it, or of several of them
    joined; see `to_keras`. The activations must be those of jadro: tanh (or relu, RNN) and sigmoid, Keras' defaults."""
    call = "from_keras"
    _check_layer(call, layer, has=["reset_after"])
    order, each = _ORDERS["keras"][type(layer)], 3 if layer.bias else 2
    back, rows = _inverse(order), len(order) * layer.hidden_size
    count = each * layer.num_layers * len(_directions(layer))
    if len(weights) != count:
        raise ValueError(f"{call}: weights has {len(weights)} arrays, expected {count}")
    both = isinstance(layer, GRU) and _option(layer, "reset_after")
    parts, given = _read(layer), iter(enumerate(weights))
    for directions in parts:
        for part in directions:
            for kind in ("weight_ih", "weight_hh"):
                i, value = next(given)
                array = _array(call, f"weights[{i}]", value, (part[kind].shape[1], rows))
                part[kind] = _turned(array.T, back)
            if layer.bias:
                i, value = next(given)
                bias = _array(call, f"weights[{i}]", value, (2, rows) if both else (rows,))
                ih, hh = bias if both else (bias, np.zeros_like(bias))
                part["bias_ih"], part["bias_hh"] = _turned(ih, back), _turned(hh, back)
    _write(call, layer, parts)


# --- ONNX -------------------------------------------------------------------------------------------------------------
def to_onnx(layer: Layer) -> list[dict[str, Any]]:
    """For each layer the inputs and attributes of the operator RNN, LSTM or GRU (opset 7 and later).

    W [D, G*H, I], R [D, G*H, H], with bias B [D, 2*G*H], with peepholes P [D, 3*H] in the order i o f, and
    `attributes`, a dict: hidden_size, direction, and where they are not ONNX's defaults activations (RNN with relu),
    linear_before_reset (GRU), input_forget and clip (LSTM and others). The operator's Y is [T, D, B, H].
    """
    _check_layer("to_onnx", layer, has=["reset_after", "peephole", "coupled", "gate_clip"])
    found = []
    for directions in _read(layer):
        sides = [onnx_side(layer._cell, part) for part in directions]
        tensors = {name: np.stack([side[name] for side in sides]) for name in sides[0]}
        found.append({**tensors, "attributes": _onnx_attributes(layer)})
    return found


def onnx_side(cell: str, part: Part) -> Part:
    """W, R, B and P of one direction of a native cell ("rnn_tanh", "lstm_coupled" and so on), without the axis of the
    directions."""
    order = _ORDERS["onnx"][_KINDS[cell.partition("_")[0]]]
    if cell == "lstm_coupled":  # i g o: the operator has a block for f, and does not look at it
        part = {k: _with_forget(a) if k in _GATED else a for k, a in part.items()}
    side = {"W": _turned(part["weight_ih"], order), "R": _turned(part["weight_hh"], order)}
    if "bias_ih" in part:
        side["B"] = np.concatenate([_turned(part[k], order) for k in ("bias_ih", "bias_hh")])
    if "weight_pi" in part:
        forget = part.get("weight_pf", np.zeros_like(part["weight_pi"]))
        side["P"] = np.concatenate([part["weight_pi"], part["weight_po"], forget])
    return side


def onnx_blocks(cell: str) -> list[int]:
    """Where the blocks of a native cell stand among those of its operator."""
    blocks = _inverse(_ORDERS["onnx"][_KINDS[cell.partition("_")[0]]])
    return [b for k, b in enumerate(blocks) if cell != "lstm_coupled" or k != 1]  # which has no f


_KINDS: dict[str, type] = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
_GATED = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _with_forget(array: Array) -> Array:
    i, g, o = np.split(array, 3)
    return np.concatenate([i, np.zeros_like(i), g, o])


def _without_forget(array: Array) -> Array:
    i, _, g, o = np.split(array, 4)
    return np.concatenate([i, g, o])


def _onnx_attributes(layer: Layer) -> dict[str, Any]:
    return onnx_attributes(layer._cell, layer.hidden_size, len(_directions(layer)), _option(layer, "gate_clip"))


def onnx_attributes(cell: str, hidden: int, directions: int, gate_clip: float | None) -> dict[str, Any]:
    """The attributes of the operator that computes a native cell."""
    found: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}
    if cell == "rnn_relu":
        found["activations"] = ["Relu"] * directions
    if cell == "gru":
        found["linear_before_reset"] = 1
    if cell == "lstm_coupled":
        found["input_forget"] = 1
    if gate_clip is not None:
        found["clip"] = float(gate_clip)
    return found


def from_onnx(layer: Layer, weights: Sequence[Mapping[str, Any]]) -> None:
    """From W, R, B and P of one operator a layer, as `to_onnx` gives them. B may be left out, which is zeros.

    `attributes` may be left out; where they are there, they must say what the layer is. Raises ValueError for an
    operator that computes something else.
    """
    call = "from_onnx"
    _check_layer(call, layer, has=["reset_after", "peephole", "coupled", "gate_clip"])
    if len(weights) != layer.num_layers:
        raise ValueError(f"{call}: weights has {len(weights)} operators, expected {layer.num_layers}, one a layer")
    parts = _read(layer)
    for number, (directions, given) in enumerate(zip(parts, weights, strict=True)):
        _check_onnx_attributes(layer, number, given.get("attributes", {}))
        unknown = set(given) - {"W", "R", "B", "P", "attributes"}
        if unknown:
            raise ValueError(f"{call}: weights[{number}] has {sorted(unknown)}, expected W, R, B, P and attributes")
        missing = {"W", "R", *(["P"] if _option(layer, "peephole") else [])} - set(given)
        if missing:
            raise ValueError(f"{call}: weights[{number}] has no {sorted(missing)[0]}, expected one")
        if "P" in given and not _option(layer, "peephole"):
            raise ValueError(f"{call}: weights[{number}] has P, but the layer has no peepholes")
        if given.get("B") is not None and not layer.bias and np.any(given["B"]):
            raise ValueError(f"{call}: weights[{number}] has B, but the layer has bias=False")
        for d, part in enumerate(directions):
            _from_onnx_side(layer, part, {k: a for k, a in given.items() if k != "attributes"}, d, f"[{number}]")
    _write(call, layer, parts)


def _from_onnx_side(layer: Layer, part: Part, given: Mapping[str, Any], d: int, where: str) -> None:
    """Fills the part of direction d."""
    order, H, D = _ORDERS["onnx"][type(layer)], layer.hidden_size, len(_directions(layer))
    back, rows = _inverse(order), len(order) * H
    coupled = _option(layer, "coupled")

    def side(name: str, *shape: int) -> Array:
        return _array("from_onnx", f"weights{where}[{name!r}]", given[name], (D, *shape))[d]

    def gates(array: Array) -> Array:
        ours = _turned(array, back)
        return _without_forget(ours) if coupled else ours

    for kind, name in (("weight_ih", "W"), ("weight_hh", "R")):
        part[kind] = gates(side(name, rows, part[kind].shape[1]))
    if layer.bias:
        both = side("B", 2 * rows) if given.get("B") is not None else np.zeros(2 * rows, part["weight_ih"].dtype)
        part["bias_ih"], part["bias_hh"] = map(gates, np.split(both, 2))
    if _option(layer, "peephole"):
        i, o, f = np.split(side("P", 3 * H), 3)
        part.update({k: a for k, a in (("weight_pi", i), ("weight_pf", f), ("weight_po", o)) if k in part})


def _check_onnx_attributes(layer: Layer, number: int, given: Mapping[str, Any]) -> None:
    """ValueError where an attribute says something else than the layer."""
    own = _onnx_attributes(layer)
    directions = len(_directions(layer))
    defaults = {
        "activations": {RNN: ["Tanh"], LSTM: ["Sigmoid", "Tanh", "Tanh"], GRU: ["Sigmoid", "Tanh"]}[type(layer)]
        * directions,
        "linear_before_reset": 0, "input_forget": 0, "clip": None, "direction": "forward",
        "hidden_size": layer.hidden_size, "layout": 0,
    }  # fmt: skip
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(f"from_onnx: weights[{number}] has the attribute {name}, which jadro has no place for")
        expected = own.get(name, defaults[name])
        if name != "layout" and value != expected:  # layout is of x and y, not of the weights
            raise ValueError(f"from_onnx: weights[{number}] has {name}={value!r}, the layer has {expected!r}")
    for name in ("linear_before_reset", "input_forget", "clip", "activations"):
        if given and name in own and name not in given:
            raise ValueError(f"from_onnx: weights[{number}] has no {name}, the layer has {own[name]!r}")


# --- cuDNN ------------------------------------------------------------------------------------------------------------
def to_cudnn(layer: Layer) -> Array:
    """cuDNN's weight space in its canonical packing, one vector.

    First the matrices: for each layer, for each direction, W [G*H, I] and then R [G*H, H], row by row; behind all of
    them, with bias, for each layer and direction b_W [G*H] and b_R [G*H] (CUDNN_RNN_DOUBLE_BIAS).
    """
    _check_layer("to_cudnn", layer)
    flat = [part for directions in _read(layer) for part in directions]
    kinds = [("weight_ih", "weight_hh")] + ([("bias_ih", "bias_hh")] if layer.bias else [])
    return np.concatenate([part[k].reshape(-1) for pair in kinds for part in flat for k in pair])


def from_cudnn(layer: Layer, weights: Any) -> None:
    """From cuDNN's canonical packing; see `to_cudnn`."""
    _check_layer("from_cudnn", layer)
    parts = _read(layer)
    flat = [part for directions in parts for part in directions]
    size = sum(a.size for part in flat for a in part.values())
    rest = _array("from_cudnn", "weights", weights, (size,))
    kinds = [("weight_ih", "weight_hh")] + ([("bias_ih", "bias_hh")] if layer.bias else [])
    for pair in kinds:
        for part in flat:
            for k in pair:
                taken, rest = np.split(rest, [part[k].size])
                part[k] = taken.reshape(part[k].shape)
    _write("from_cudnn", layer, parts)
