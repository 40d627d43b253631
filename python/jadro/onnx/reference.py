"""Operators without a function of their own, by `onnx.reference` on NumPy arrays: right for every dtype, slow, and
without a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import backend
from ..autograd import Function, Node, is_grad_enabled
from ..backend import Array
from ..tensor import Tensor, wrap
from .operators.registry import array
from .package import package


class Opaque(Function):
    """The result of an operator that has no gradient, and says so when one is asked for."""

    @staticmethod
    def forward(ctx: Node, *inputs: Array, result: Array, name: str) -> Array:
        ctx.operator = name
        return result

    @staticmethod
    def backward(ctx: Node, *dys: Any) -> Any:
        raise RuntimeError(f"onnx: {ctx.operator} is computed by onnx's reference, which has no gradient")


def value(x: Any, device: str = "cpu") -> Any:
    """An array as a Tensor on `device` where jadro has its dtype, else itself; a list item by item."""
    if isinstance(x, list):
        return [value(item, device) for item in x]
    if isinstance(x, np.generic):
        x = np.asarray(x)
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiub" or x.dtype.isbuiltin == 2 or x.dtype == np.float16:
        return x
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    return wrap(backend.to_device(x, device if x.dtype.kind == "f" else "cpu"))


def alone(node: Any) -> Any:
    """A copy of a node, which does not keep the model in memory."""
    return type(node).FromString(node.SerializeToString())


def evaluator(node: Any, opsets: dict[str, int]) -> Callable[..., tuple[Any, ...]]:
    """A function from a node's inputs to its outputs. ValueError where onnx has no reference of the operator."""
    onnx = package()
    from onnx.reference import ReferenceEvaluator

    node, opsets = _of_today(node, opsets)
    names = [name for name in node.input if name]
    info = [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names)]
    outs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "node", info, outs)
    imports = [onnx.helper.make_opsetid(*pair) for pair in opsets.items()]
    try:
        session = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=imports))
    except Exception as error:  # onnx has several kinds for what it does not know
        raise ValueError(f"onnx.load: no way to compute {node.domain}:{node.op_type}: {error}") from error

    def run(inputs: Sequence[Any]) -> tuple[Any, ...]:
        given = [x for name, x in zip(node.input, inputs, strict=False) if name]
        feeds = dict(zip(names, map(_plain, given), strict=True))
        with np.errstate(all="ignore"):
            found = iter(session.run(None, feeds))
        floats = [x for x in given if isinstance(x, Tensor) and x.is_floating_point()]
        device = floats[0].device if floats else "cpu"
        results = [value(next(found), device) if name else None for name in node.output]
        if is_grad_enabled() and any(x.requires_grad for x in floats):
            results = [_opaque(r, floats, node.op_type) for r in results]
        return tuple(results)

    return run


def _of_today(node: Any, opsets: dict[str, int]) -> tuple[Any, dict[str, int]]:
    """A node of an older opset in the form that the reference has; a copy."""
    node = alone(node)
    if node.domain not in ("", "ai.onnx"):
        return node, opsets
    if node.op_type == "Scatter":
        node.op_type = "ScatterElements"
        return node, {**opsets, "": 11}
    if node.op_type == "GridSample" and opsets.get("", 1) < 20:
        names = {b"bilinear": b"linear", b"bicubic": b"cubic"}
        for attribute in node.attribute:
            if attribute.name == "mode":
                attribute.s = names.get(attribute.s, attribute.s)
        return node, {**opsets, "": 20}
    return node, opsets


def _plain(x: Any) -> Any:
    return [_plain(item) for item in x] if isinstance(x, list) else array(x) if isinstance(x, Tensor) else x


def _opaque(result: Any, inputs: list[Tensor], name: str) -> Any:
    if not isinstance(result, Tensor) or not result.is_floating_point():
        return result
    return Opaque.apply(*inputs, result=result.data, name=name)
