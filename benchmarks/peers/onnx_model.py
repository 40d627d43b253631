"""Writes the few ONNX models that the ONNX Runtime peer needs, without the onnx package.

A protobuf message is a sequence of fields: key = number << 3 | wire type (0: a varint, 2: length and bytes), then the
value. The numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.cases import Array

FLOAT, INT, STRING, INTS = 1, 2, 3, 7  # AttributeProto.type; FLOAT is also TensorProto.FLOAT
IR_VERSION, OPSET = 8, 17
Attribute = int | str | Sequence[int]


def varint(value: int) -> bytes:
    """Seven bits a byte, lowest first; the high bit says that more follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: Attribute) -> bytes:
    """AttributeProto: name 1, i 3, s 4, ints 8, type 20."""
    if isinstance(value, int):
        content, kind = field(3, value), INT
    elif isinstance(value, str):
        content, kind = field(4, value), STRING
    else:
        content, kind = b"".join(field(8, v) for v in value), INTS
    return field(1, name) + content + field(20, kind)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Attribute) -> bytes:
    """NodeProto: input 1, output 2, op_type 4, attribute 5."""
    message = b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs)
    return message + field(4, op) + b"".join(field(5, attribute(k, v)) for k, v in attributes.items())


def tensor(name: str, array: Array) -> bytes:
    """TensorProto: dims 1, data_type 2, name 8, raw_data 9; float32 or int64."""
    kind = {"float32": 1, "int64": 7}[str(array.dtype)]
    return b"".join(field(1, d) for d in array.shape) + field(2, kind) + field(8, name) + field(9, array.tobytes())


def value_info(name: str, shape: Sequence[int]) -> bytes:
    """ValueInfoProto: name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 { dim_value 1 } } } }."""
    dims = b"".join(field(1, field(1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, dims)))


def model(
    nodes: Sequence[bytes], weights: Mapping[str, Array], x_shape: Sequence[int], y_shape: Sequence[int]
) -> bytes:
    """ModelProto (ir_version 1, graph 7, opset_import 8) of a graph from "x" to "y"; GraphProto: node 1, name 2,
    initializer 5, input 11, output 12."""
    graph = b"".join(field(1, n) for n in nodes) + field(2, "graph")
    graph += b"".join(field(5, tensor(name, array)) for name, array in weights.items())
    graph += field(11, value_info("x", x_shape)) + field(12, value_info("y", y_shape))
    return field(1, IR_VERSION) + field(7, graph) + field(8, field(1, "") + field(2, OPSET))
