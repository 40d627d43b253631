"""The table of emitters: a Function of the tape, and how its call is written as nodes of ONNX.

An emitter takes the `Builder`, the call's arguments and its options. `Builder.name` gives the name of an argument in
the graph, `Builder.node` writes a node and gives the name of its result, which the emitter returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...autograd import Function
from ...ops.activation import Rectifier
from ...tensor import Tensor
from ..operators.registry import array
from ..package import package

EMITTERS: dict[type[Function], Callable[..., Any]] = {}


def emits(*functions: type[Function]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enters the emitter for these Functions."""

    def enter(emit: Callable[..., Any]) -> Callable[..., Any]:
        EMITTERS.update(dict.fromkeys(functions, emit))
        return emit

    return enter


class Builder:
    """The nodes and weights of a graph while its calls are written down."""

    def __init__(self, inputs: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self._names: dict[int, str] = {}  # of Tensors and arrays, by identity
        self._kept: list[Any] = []  # alive, so that no identity is used again
        self._taken: set[str] = {""}
        self.made: set[str] = set(inputs)  # what the inputs lead to
        for name, tensor in {**weights, **inputs}.items():
            self.bind(tensor, self.fresh(name))

    def fresh(self, stem: str) -> str:
        """A name that nothing has yet."""
        name, k = stem, 0
        while name in self._taken:
            k += 1
            name = f"{stem}_{k}"
        self._taken.add(name)
        return name

    def bind(self, value: Any, name: str) -> None:
        for x in (value, value.data) if isinstance(value, Tensor) else (value,):
            self._names[id(x)] = name
            self._kept.append(x)

    def name(self, value: Any) -> str:
        """The name of a Tensor, an array or a number; what no call made is a constant of the graph. None is ""."""
        if value is None:
            return ""
        for x in (value, value.data) if isinstance(value, Tensor) else (value,):
            if id(x) in self._names:
                return self._names[id(x)]
        name = self.constant(array(value))
        if not isinstance(value, (int, float, np.generic)):
            self.bind(value, name)
        return name

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of a new constant."""
        name = self.fresh("constant")
        self.constants[name] = np.array(value, dtype)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Writes a node; the name of its output, or a list of `outputs` names. Attributes of None are left out."""
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        results = [self.fresh(op.lower()) for _ in range(outputs)]
        given = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(package().helper.make_node(op, names, results, **given))
        if self.made.intersection(names):
            self.made.update(results)
        return results[0] if outputs == 1 else results

    def finish(self, results: Sequence[str], names: Sequence[str]) -> list[str]:
        """Gives the graph's outputs their names, as far as these are free."""
        finals = [self.fresh(name) for name in names]
        made = {name for node in self.nodes for name in node.output}
        renamed: dict[str, str] = {}
        for result, name in zip(results, finals, strict=True):
            if result in made and result not in renamed:
                renamed[result] = name
            else:  # an input, or an output twice
                self.nodes.append(package().helper.make_node("Identity", [result], [name]))
        for node in self.nodes:
            for values in (node.input, node.output):
                values[:] = [renamed.get(name, name) for name in values]
        return finals

    def rectified(self, name: str, rectifier: Rectifier | None, dtype: Any) -> str:
        """The nodes of a rectifier."""
        if rectifier is None:
            return name
        slope = np.asarray(rectifier.slope)
        if slope.ndim:
            raise ValueError("onnx.export: a fused PReLU, expected it in a call of its own")
        if rectifier.most != np.inf:
            return self.node("Clip", name, self.constant(0, dtype), self.constant(rectifier.most, dtype))
        return self.node("LeakyRelu", name, alpha=float(slope)) if slope else self.node("Relu", name)

    def reshaped(self, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> str:
        """A Reshape that keeps what it can of sizes that may change: equal ones in front, and one of the others."""
        if old == new:
            return name
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        sizes = [0] * same + list(new[same:])
        if same < len(new) and 0 not in new:
            sizes[same] = -1
        return self.node("Reshape", name, self.ints(*sizes))
