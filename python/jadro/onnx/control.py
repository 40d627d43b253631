"""If, Loop and Scan: bodies that run as graphs do, and are recorded as they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ops.shape import flip, stack
from ..tensor import wrap
from .operators.registry import array, ints
from .package import package

Run = Callable[[Sequence[Any], dict[str, Any], bool], tuple[Any, ...]]  # of inputs, all values so far, training


def _body(program: Any, around: dict[str, Any], given: Sequence[Any], training: bool) -> list[Any]:
    values = {**around, **program.constants, **dict(zip(program.inputs, given, strict=False))}
    return program.run(values, training)


def _stacked(rows: Sequence[Any], kind: Any, axis: int) -> Any:
    """The rows along a new axis; of none what the body declares, 0 for sizes that it does not know."""
    if rows:
        return stack(rows, axis)
    sizes = [d.dim_value for d in kind.shape.dim]
    dtype = package().helper.tensor_dtype_to_np_dtype(kind.elem_type or package().TensorProto.FLOAT)
    return wrap(np.zeros([*sizes[:axis], 0, *sizes[axis:]], dtype))


def _if(attributes: dict[str, Any]) -> Run:
    def run(inputs: Sequence[Any], values: dict[str, Any], training: bool) -> tuple[Any, ...]:
        branch = "then_branch" if bool(array(inputs[0]).item()) else "else_branch"
        return tuple(_body(attributes[branch], values, (), training))

    return run


def _loop(attributes: dict[str, Any]) -> Run:
    """while t < M and condition: condition, carried, collected = body(t, condition, carried)"""
    body = attributes["body"]

    def run(inputs: Sequence[Any], values: dict[str, Any], training: bool) -> tuple[Any, ...]:
        most = None if inputs[0] is None else int(array(inputs[0]).item())
        going = inputs[1] if len(inputs) > 1 and inputs[1] is not None else wrap(np.asarray(True))
        carried = list(inputs[2:])
        collected: list[list[Any]] = [[] for _ in range(len(body.outputs) - 1 - len(carried))]
        t = 0
        while (most is None or t < most) and bool(array(going).item()):
            going, *results = _body(body, values, (wrap(np.asarray(t, np.int64)), going, *carried), training)
            for rows, row in zip(collected, results[len(carried) :], strict=True):
                rows.append(row)
            carried = results[: len(carried)]
            t += 1
        kinds = body.output_types[1 + len(carried) :]
        return (*carried, *(_stacked(rows, kind, 0) for rows, kind in zip(collected, kinds, strict=True)))

    return run


def _scan(attributes: dict[str, Any]) -> Run:
    """states, rows of y = body(states, rows of x), along an axis of each x"""
    body, scanned = attributes["body"], attributes["num_scan_inputs"]
    states = len(body.inputs) - scanned
    outs = len(body.outputs) - states

    def run(inputs: Sequence[Any], values: dict[str, Any], training: bool) -> tuple[Any, ...]:
        if len(inputs) > len(body.inputs):
            raise ValueError("onnx: Scan with sequence_lens (opset 8), expected that of opset 9 or later")
        axes = ints(attributes.get("scan_input_axes")) or [0] * scanned
        back = ints(attributes.get("scan_input_directions")) or [0] * scanned
        xs = [flip(x, a) if b else x for x, a, b in zip(inputs[states:], axes, back, strict=True)]
        carried, collected = list(inputs[:states]), [[] for _ in range(outs)]  # type: ignore[var-annotated]
        for t in range(xs[0].shape[axes[0]]):
            rows = [x[(slice(None),) * (a % x.ndim) + (t,)] for x, a in zip(xs, axes, strict=True)]
            results = _body(body, values, (*carried, *rows), training)
            carried = results[:states]
            for found, row in zip(collected, results[states:], strict=True):
                found.append(row)
        axes_out = ints(attributes.get("scan_output_axes")) or [0] * outs
        back_out = ints(attributes.get("scan_output_directions")) or [0] * outs
        ys = [found[::-1] if b else found for found, b in zip(collected, back_out, strict=True)]
        kinds = body.output_types[states:]
        return (*carried, *(_stacked(y, kind, a) for y, kind, a in zip(ys, kinds, axes_out, strict=True)))

    return run


CONTROL: dict[str, Callable[[dict[str, Any]], Run]] = {"If": _if, "Loop": _loop, "Scan": _scan}
