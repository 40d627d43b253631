"""Reading an ONNX model: checked, its functions written out, its weights named."""

from __future__ import annotations

import os
from typing import Any

from .control import CONTROL
from .graph import MAIN, Graph, bodies
from .operators import OPERATORS
from .package import package
from .sequences import SEQUENCES


def load(path: str | os.PathLike[str] | bytes | Any) -> Graph:
    """The Module of an ONNX model, in evaluation mode.

    path: a file, its content as bytes, or an `onnx.ModelProto`. Functions of the model are written out; so are
    operators that ONNX defines by others and jadro has no function of. Raises OSError for a file that cannot be read,
    ValueError for content that is no valid model or has an operator that nobody defines, RuntimeError without the
    package onnx.
    """
    onnx = package()
    given = isinstance(path, (bytes, onnx.ModelProto))
    try:
        if isinstance(path, onnx.ModelProto):
            path = path.SerializeToString()  # the caller's is not written to
        model = onnx.load_from_string(path) if isinstance(path, bytes) else onnx.load(os.fspath(path))
        for described in (*model.graph.input, *model.graph.output):
            if described.type.HasField("tensor_type"):
                described.type.tensor_type.shape.SetInParent()  # the checker wants one, others do not
        onnx.checker.check_model(model)
    except OSError:
        raise
    except Exception as error:  # protobuf's and the checker's have no common base
        name = "the content" if given else repr(os.fspath(path))
        raise ValueError(f"onnx.load: {name} is no valid ONNX model: {error}") from error
    model = _written_out(model)
    if not _has_weights(model.graph):
        _name_weights(model.graph)
    return Graph(model).eval()


def _is_weight(tensor: Any) -> bool:
    types = package().TensorProto
    return tensor.data_type in (types.FLOAT, types.DOUBLE) and len(tensor.dims) > 0


def _has_weights(graph: Any) -> bool:
    """Whether the graph, or a body in it, has a floating initializer of one axis or more."""
    inner = (body for node in graph.node for body in bodies(node))
    return any(map(_is_weight, graph.initializer)) or any(map(_has_weights, inner))


def _name_weights(graph: Any) -> None:
    """Makes initializers of the floating Constant nodes of the graph and its bodies."""
    for node in list(graph.node):
        if node.op_type == "Constant" and node.attribute[0].name == "value" and _is_weight(node.attribute[0].t):
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.node.remove(node)
        for body in bodies(node):
            _name_weights(body)


def _written_out(model: Any) -> Any:
    """The model without calls of functions: its own, and those by which ONNX defines operators unknown here."""
    from onnx import defs, inliner

    if model.functions:
        model = inliner.inline_local_functions(model)
    version = {o.domain: o.version for o in model.opset_import}.get("", 1)
    own, refused = {*OPERATORS, *CONTROL, *SEQUENCES}, set[str]()
    while True:  # what a function is written out to may be functions
        wanted = {n for n in _operators(model.graph) if n not in own and n not in refused}
        schemas: dict[str, Any] = {n: defs.get_schema(n, version) for n in wanted if defs.has(n, version)}
        functions = [n for n, s in schemas.items() if s.has_function or s.has_context_dependent_function]
        if not functions:
            return model
        _fill_in(model.graph, {n: schemas[n] for n in functions})
        for name in functions:
            try:
                model = inliner.inline_selected_functions(model, [("", name)], inline_schema_functions=True)
            except RuntimeError:  # its body depends on types that are not known
                refused.add(name)
            refused.update({name} & {*_operators(model.graph)})


def _fill_in(graph: Any, schemas: dict[str, Any]) -> None:
    """Default attributes where nodes lack them: function bodies refer to them."""
    for node in graph.node:
        schema = schemas.get(node.op_type) if node.domain in MAIN else None
        if schema is not None:
            have = {a.name for a in node.attribute}
            node.attribute.extend(
                a.default_value for n, a in schema.attributes.items() if n not in have and a.default_value.name
            )
        for body in bodies(node):
            _fill_in(body, schemas)


def _operators(graph: Any) -> list[str]:
    found = []
    for node in graph.node:
        found += [node.op_type] if node.domain in MAIN else []
        found += [name for body in bodies(node) for name in _operators(body)]
    return found
