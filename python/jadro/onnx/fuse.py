"""Nodes that follow each other, in one native call: a convolution, what scales and shifts its channels, a sum, a
rectifier.

As `nn.fuse` does for layers: a rectifier always joins its convolution; where there is more, all are one call where
nothing is recorded and the module does not train, and else they run one by one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..autograd import is_grad_enabled
from ..ops.activation import Rectifier
from ..ops.conv2d import Then
from ..tensor import Tensor, wrap
from .operators.registry import is_float, number
from .operators.spatial import convolve


class Affine(NamedTuple):
    """A node that scales or shifts the channels of its input."""

    op: str  # BatchNormalization, Mul or Add
    inputs: tuple[str, ...]  # but the input itself: scale, bias, mean and variance, or the factor or term
    eps: float


class Chain(NamedTuple):
    """Places of its nodes, the first a convolution, in their order."""

    nodes: tuple[int, ...]
    affine: tuple[Affine, ...]
    added: str  # the name of what is added, "" for nothing
    rectifier: Rectifier | None


def chains(nodes: Sequence[Any], kept: Sequence[str], known: Mapping[str, Any]) -> list[Chain]:
    """The chains among nodes in their order; kept: names that others than the nodes take too; known: weights and
    constants."""
    uses = Counter(name for node in nodes for name in node.input)
    uses.update(kept)
    takers = {name: i for i, node in enumerate(nodes) for name in node.input}
    found: list[Chain] = []
    taken: set[int] = set()
    for start, node in enumerate(nodes):
        if node.op_type == "Conv" and not node.domain and isinstance(known.get(node.input[1]), Tensor):
            chain = _chain(nodes, start, uses, takers, known)
            if len(chain.nodes) > 1 and not taken.intersection(chain.nodes):
                found.append(chain)
                taken.update(chain.nodes)
    return found


def _chain(
    nodes: Sequence[Any], start: int, uses: Mapping[str, int], takers: Mapping[str, int], known: Mapping[str, Any]
) -> Chain:
    """The longest chain from the convolution at `start`."""
    filters = known[nodes[start].input[1]].shape
    places, affine, added, rectifier = [start], [], "", None
    while uses[nodes[places[-1]].output[0]] == 1 and nodes[places[-1]].output[0] in takers:
        result, place = nodes[places[-1]].output[0], takers[nodes[places[-1]].output[0]]
        then = nodes[place]
        others = tuple(name for name in then.input if name != result)
        if not added and _is_affine(then, others, filters, known):
            epsilon = next((a.f for a in then.attribute if a.name == "epsilon"), 1e-5)
            affine.append(Affine(then.op_type, others, epsilon))
        elif then.op_type == "Add" and not added and len(others) == 1 and not then.attribute:
            added = others[0]
        else:
            rectifier = _rectifier(then, known)
            places += [place] if rectifier is not None else []
            break
        places.append(place)
    return Chain(tuple(places), tuple(affine), added, rectifier)


def _is_affine(node: Any, others: Sequence[str], filters: tuple[int, ...], known: Mapping[str, Any]) -> bool:
    """Whether a node only scales and shifts channels, by what is known to be one number a channel, or one."""
    if node.op_type == "BatchNormalization":
        fixed = {"training_mode": 0, "spatial": 1, "is_test": 1}
        return len(node.output) == 1 and len(others) == 4 and all(fixed.get(a.name, a.i) == a.i for a in node.attribute)
    if node.op_type not in ("Mul", "Add") or len(others) != 1 or node.attribute:
        return False
    shape = getattr(known.get(others[0]), "shape", None)
    each = filters[0], *(1,) * (len(filters) - 2)
    return shape is not None and len(shape) <= len(filters) and (math.prod(shape) == 1 or shape in (each, (1, *each)))


def _rectifier(node: Any, known: Mapping[str, Any]) -> Rectifier | None:
    """What the node does, as a Rectifier."""
    numbers = {a.name: a.f for a in node.attribute}
    if node.op_type == "Relu":
        return Rectifier()
    if node.op_type == "LeakyRelu" and numbers.get("alpha", 0.01) >= 0:
        return Rectifier(numbers.get("alpha", 0.01))
    if node.op_type == "Clip":
        low, high = (known.get(n) for n in node.input[1:]) if len(node.input) == 3 else map(numbers.get, _BOUNDS)
        if low is not None and high is not None and number(low) == 0 <= number(high):
            return Rectifier(most=float(number(high)))
    return None


_BOUNDS = ("min", "max")


def fused(chain: Chain, conv: Any, attributes: dict[str, Any]) -> Callable[[Mapping[str, Any], bool], Any]:
    """The function of all values by name, and of whether the module trains, that computes a chain; NotImplemented where
    its nodes have to run one by one. conv: the node, attributes: its own."""
    x_name, w_name, b_name = (*conv.input, "")[:3]

    def run(values: Mapping[str, Any], training: bool) -> Any:
        x, w, b, add = values[x_name], values[w_name], values[b_name], values[chain.added]
        if (chain.affine or chain.added) and (training or is_grad_enabled()):
            return NotImplemented
        if not is_float(*(t for t in (x, w, b, add) if t is not None)):
            return NotImplemented
        scale, shift = _folded(chain.affine, values, None if b is None else b.data)
        then = Then(chain.rectifier, None if scale is None else wrap(_channels(scale, w)), add)
        try:
            return convolve(x, w, b if not chain.affine else wrap(_channels(shift, w)), then, **attributes)
        except (TypeError, ValueError):  # the nodes one by one broadcast what is added, or say what is wrong
            return NotImplemented

    return run


def _folded(affine: Sequence[Affine], values: Mapping[str, Any], shift: Any) -> tuple[Any, Any]:
    """The scale of each channel, None for one, and the shift, None for zero."""
    scale: Any = None
    for node in affine:
        numbers = [values[name].data.reshape(-1) for name in node.inputs]
        factor: Any = None
        if node.op == "BatchNormalization":
            gain, term, mean, var = numbers
            factor = gain / np.sqrt(var + var.dtype.type(node.eps))
            term = term - mean * factor
        else:
            factor, term = (numbers[0], None) if node.op == "Mul" else (None, numbers[0])
        if factor is not None:
            scale = factor if scale is None else scale * factor
            shift = None if shift is None else shift * factor
        if term is not None:
            shift = term if shift is None else shift + term
    return scale, shift


def _channels(numbers: Any, w: Any) -> Any:
    """[OC], of one number a channel, one for all, or None for zeros."""
    full = backend.empty_like(w.data, w.shape[:1])
    full[...] = 0 if numbers is None else numbers
    return full
