"""Writing a Module as an ONNX model: the calls that it makes on example inputs, one by one."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import _core, backend
from .._version import __version__
from ..autograd import enable_grad, no_grad
from ..nn.module import Module
from ..serialization import write_whole
from ..tensor import Tensor, as_tensor, wrap
from .emitters import EMITTERS, Builder
from .graph import Graph
from .package import package

OPSET, IR_VERSION = 21, 10  # onnx 1.16


def export(
    module: Module, example_inputs: Any, path: str | os.PathLike[str], *, input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
) -> None:  # fmt: skip
    """Writes `module`, in evaluation mode, as an ONNX model of opset 21.

    example_inputs: a Tensor or an array, or a tuple of them, on which the module is run: its operations are written
    down as they come, so that choices which Python makes are those of the example. input_names: default the names of
    `forward`'s parameters. output_names: default "output", or "output_0" and so on. dynamic_axes: for a name of an
    input or output, which of its axes may have other sizes, and perhaps under which name; others are the example's.

    The model is checked before it is written: loaded again, it must compute what the module computes, for the example,
    for other values, and where axes are dynamic for other sizes. Raises ValueError where it does not, or for an
    operation or option that ONNX has not; RuntimeError without the package onnx. The file is written beside its place
    and renamed.
    """
    onnx = package()
    if not isinstance(module, Module):
        raise TypeError(f"onnx.export: module is a {type(module).__name__}, expected a Module")
    given = example_inputs if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    inputs = [as_tensor(x) for x in given]
    names = _input_names(module, len(inputs), input_names)
    axes = {
        name: dict(free) if isinstance(free, Mapping) else {axis: f"{name}_{axis}" for axis in free}
        for name, free in (dynamic_axes or {}).items()
    }
    training = [m for m in module.modules() if m.training]
    try:
        module.eval()
        with enable_grad():
            model = _model(module, dict(zip(names, inputs, strict=True)), output_names, axes)
        try:
            onnx.checker.check_model(model, full_check=True)
        except Exception as error:  # the checker's and the shape inference's have no common base
            raise ValueError(f"onnx.export: ONNX has not all that the module does: {error}") from error
        _compare(module, model, inputs, names, axes)
    finally:
        for m in training:
            m.training = True
    write_whole(path, model.SerializeToString())


def _input_names(module: Module, count: int, names: Sequence[str] | None) -> list[str]:
    if names is None:
        parameters = inspect.signature(module.forward).parameters.values()
        known = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
        names = [*known, *(f"input_{i}" for i in range(len(known), count))][:count]
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"onnx.export: input_names is {list(names)}, expected {count} names")
    return list(names)


def _flat(outputs: Any) -> list[Any]:
    """The Tensors of nested tuples, as those of recurrent layers are."""
    if isinstance(outputs, (tuple, list)):
        return [t for part in outputs for t in _flat(part)]
    return [] if outputs is None else [outputs]


def _traced(module: Module, inputs: dict[str, Tensor]) -> tuple[Builder, list[str], list[Tensor]]:
    """The nodes of a run, and the names of its outputs."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    fresh = {name: wrap(x.data) for name, x in inputs.items()}
    builder = Builder(fresh, state)

    def told(function: Any, args: tuple[Any, ...], options: dict[str, Any], result: Any) -> None:
        emit = EMITTERS.get(function)
        if emit is None:
            if not builder.made.intersection(builder.name(a) for a in args if isinstance(a, Tensor)):
                return  # what it gives is a constant
            raise ValueError(f"onnx.export: {function.name} has no operator in ONNX")
        found = emit(builder, *args, **options)
        for tensor, name in zip(_flat(result), [found] if isinstance(found, str) else found, strict=False):
            builder.bind(tensor, name)

    _core.tape_watch(told)
    try:
        outputs = _flat(module(*fresh.values()))
    finally:
        _core.tape_watch(None)
    results = [builder.name(t) for t in outputs]
    for i, (name, tensor) in enumerate(zip(results, outputs, strict=True)):
        if not isinstance(tensor, Tensor) or name not in builder.made:
            raise ValueError(f"onnx.export: output {i} does not come from the inputs by operations that ONNX has")
    return builder, results, outputs


def _model(module: Module, inputs: dict[str, Tensor], output_names: Any, dynamic: Mapping[str, Any]) -> Any:
    onnx = package()
    builder, results, outputs = _traced(module, inputs)
    count = len(results)
    names = list(output_names or (["output"] if count == 1 else [f"output_{i}" for i in range(count)]))
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"onnx.export: output_names is {names}, expected {count} names")
    unknown = set(dynamic) - {*inputs, *names}
    if unknown:
        raise ValueError(f"onnx.export: dynamic_axes has {sorted(unknown)}, expected names of {[*inputs, *names]}")
    names = builder.finish(results, names)
    nodes, used = _used(builder.nodes, names)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    weights = {builder.name(t): np.asarray(t.cpu().data) for t in state.values()} | builder.constants
    graph = onnx.helper.make_graph(
        nodes, type(module).__name__, [_described(n, x, dynamic) for n, x in inputs.items()],
        [_described(n, x, dynamic) for n, x in zip(names, outputs, strict=True)],
        [onnx.numpy_helper.from_array(np.asarray(w, order="C"), n) for n, w in weights.items() if n in used],
    )  # fmt: skip
    imports = [onnx.helper.make_opsetid("", OPSET)]
    made = {"producer_name": "jadro", "producer_version": __version__, "ir_version": IR_VERSION}
    return onnx.helper.make_model(graph, opset_imports=imports, **made)


def _used(nodes: list[Any], outputs: Sequence[str]) -> tuple[list[Any], set[str]]:
    """The nodes that lead to the outputs, and all names that they use."""
    used, kept = set(outputs), []
    for node in reversed(nodes):
        if used.intersection(node.output):
            used.update(node.input)
            kept.append(node)
    return kept[::-1], used


def _described(name: str, x: Tensor, dynamic: Mapping[str, Any]) -> Any:
    onnx = package()
    free = {axis % x.ndim: size for axis, size in dynamic.get(name, {}).items()}
    shape = [free.get(i, n) for i, n in enumerate(x.shape)]
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(x.dtype), shape)


def _compare(module: Module, model: Any, inputs: list[Tensor], names: list[str], dynamic: Mapping[str, Any]) -> None:
    """ValueError where the model loaded again does not give what the module gives."""
    loaded = Graph(model).eval().to(inputs[0].device)
    trials = {"the example": inputs, "other values": [wrap(_rolled(x.data)) for x in inputs]}
    trials["other signs"] = [-x if x.is_floating_point() else x for x in inputs]
    if any(dynamic.get(name) for name in names):
        trials["other sizes"] = [_larger(x, dynamic.get(name, {})) for x, name in zip(inputs, names, strict=True)]
    for trial, given in trials.items():
        with no_grad():
            wanted = _flat(module(*given))
            cause = None
            try:
                same = [_is_same(y, z) for y, z in zip(wanted, _flat(loaded(*given)), strict=True)]
            except (TypeError, ValueError) as error:
                same, cause = [False], error
        if not all(same):
            raise ValueError(
                f"onnx.export: output {same.index(False)} of the model differs from the module's for {trial}: "
                "something in it is no operation of the library, or depends on values or sizes"
            ) from cause


def _is_same(y: Tensor, z: Tensor) -> bool:
    a, b = np.asarray(y.cpu().data, np.float64), np.asarray(z.cpu().data, np.float64)
    finite = np.abs(a[np.isfinite(a)])
    return a.shape == b.shape and np.allclose(a, b, 1e-4, 1e-4 * finite.max(initial=1e-30), equal_nan=True)


def _rolled(x: Any) -> Any:
    """The same numbers in other places."""
    cells = backend.to_device(x, "cpu")
    return backend.to_device(np.roll(cells.reshape(-1), 1).reshape(cells.shape), backend.device_of(x))


def _larger(x: Tensor, axes: Mapping[int, str]) -> Tensor:
    """One cell more along the axes, as np.resize repeats them."""
    more = {axis % x.ndim for axis in axes}
    cells = np.resize(x.cpu().data, [n + (i in more) for i, n in enumerate(x.shape)])
    return wrap(backend.to_device(cells, x.device))
