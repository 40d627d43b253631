"""ONNX's own cases of its operators, and one-node models, as tests use them."""

import collections
import functools
import pathlib
import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")


@functools.lru_cache(None)
def node_cases():
    """The cases of the package onnx by the operator of their first node; of those that are written out as functions
    the name ends in "expanded"."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collections.defaultdict(list)
        for case in collect_testcases():
            node = case.model.graph.node[0]
            found[node.op_type if not node.domain else f"{node.domain}:{node.op_type}"].append(case)
    return dict(found)


@functools.lru_cache(None)
def stored_models():
    """Folders of the models that the package onnx keeps as files, most of them PyTorch's layers, by name."""
    data = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    kinds = "pytorch-converted", "pytorch-operator", "simple"
    return {path.parent.name: path.parent for kind in kinds for path in data.glob(f"{kind}/*/model.onnx")}


def stored_arrays(folder, kind):
    """The arrays input_0.pb, input_1.pb, .. or output_0.pb, .. of a folder."""
    paths = [folder / f"{kind}_{i}.pb" for i in range(len(list(folder.glob(f"{kind}_*.pb"))))]
    return arrays_of([onnx.TensorProto.FromString(path.read_bytes()) for path in paths])


def arrays_of(values):
    """Inputs or outputs of a case, those that are stored as TensorProto read."""
    return [onnx.numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for v in values]


def model_of(nodes, inputs, outputs, weights=(), opset=21, functions=(), domains=()):
    """A model; inputs and outputs by name, their arrays or (dtype, shape); weights by name."""

    def described(name, x):
        dtype, shape = x if isinstance(x, tuple) else (x.dtype, x.shape)
        return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    graph = onnx.helper.make_graph(
        list(nodes),
        "graph",
        [described(*pair) for pair in inputs.items()],
        [described(*pair) for pair in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(w), name) for name, w in dict(weights).items()],
    )
    imports = [onnx.helper.make_opsetid("", opset), *(onnx.helper.make_opsetid(d, 1) for d in domains)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))
