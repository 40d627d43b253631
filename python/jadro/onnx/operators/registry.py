"""The table of operators: an ONNX name, and the function on Tensors that computes it and can be differentiated.

A function takes the node's inputs by position, None where one is left out, and its attributes by name, under ONNX's
names. Integer inputs that took an attribute's place in a later opset share the attribute's parameter. It may also ask
for `opset` (the version of the operator set), `outputs` (how many of the node's outputs are used) and `training`
(whether the module trains). NotImplemented says that this call is not one it serves, and onnx's own reference runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import backend
from ...tensor import Tensor

CONTEXT = ("opset", "outputs", "training")


class Operator(NamedTuple):
    run: Callable[..., Any]
    context: tuple[str, ...]  # those of CONTEXT that it asks for
    attributes: frozenset[str]  # that it knows; others are the reference's


OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enters the function under these names of the domain ai.onnx."""

    def enter(run: Callable[..., Any]) -> Callable[..., Any]:
        known = inspect.signature(run).parameters
        named = frozenset(n for n, p in known.items() if p.kind is not p.VAR_POSITIONAL)
        entry = Operator(run, tuple(n for n in CONTEXT if n in known), named.difference(CONTEXT))
        OPERATORS.update(dict.fromkeys(names, entry))
        return run

    return enter


def array(value: Any) -> np.ndarray:
    """A Tensor or an array as an array in the CPU's memory."""
    return np.asarray(backend.to_device(value.data, "cpu") if isinstance(value, Tensor) else value)


def beside(x: Tensor, value: np.ndarray) -> Any:
    """An array on the device of x."""
    return backend.to_device(value, x.device)


def ints(value: Any) -> list[int] | None:
    """An integer tensor or a list of integers, whatever their number of axes, as a list; None stays."""
    return None if value is None else [int(v) for v in array(value).reshape(-1)]


def number(value: Any) -> float:
    """The only element of a tensor, or a number, as a number."""
    return value if isinstance(value, (int, float)) else array(value).item()


def is_float(*values: Any) -> bool:
    """Whether all of them are floating Tensors."""
    return all(isinstance(v, Tensor) and v.data.dtype.kind == "f" for v in values)
