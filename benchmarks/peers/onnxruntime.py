"""ONNX Runtime, forward only: weights are constants of the model, packed when the session is made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime

from benchmarks.bench_conv2d import Conv2d
from benchmarks.bench_gemm import Linear
from benchmarks.bench_pool2d import MaxPool2d
from benchmarks.bench_rnn import GATES, Rnn
from benchmarks.cases import Array, Case, Job, Unsupported
from benchmarks.peers.onnx_model import model, node

GATE_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}  # i o f g and z r n from PyTorch's i f g o and r z n


class Peer:
    def __init__(self, threads: int) -> None:
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.version = onnxruntime.__version__

    def job(
        self, case: Case, nodes: Sequence[bytes], weights: dict[str, Array], x: Array, y_shape: Sequence[int]
    ) -> Job:
        """A session's run from x to y; nothing is trained here."""
        if case.train:
            raise Unsupported("training")
        data = model(nodes, weights, x.shape, y_shape)
        session = onnxruntime.InferenceSession(data, self.options, providers=["CPUExecutionProvider"])
        return Job(lambda: session.run(None, {"x": x}), list)

    def linear(self, case: Linear) -> Job:
        a = case.arrays()
        nodes = [node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
        return self.job(case, nodes, {k: a[k] for k in "wb"}, a["x"], (case.rows, case.outputs))

    def conv2d(self, case: Conv2d) -> Job:
        a = case.arrays()
        options = {"strides": [case.stride] * 2, "pads": [case.padding] * 4, "group": case.groups}
        nodes = [node("Conv", ["x", "w", "b"], ["y"], **options)]
        return self.job(case, nodes, {k: a[k] for k in "wb"}, a["x"], case.output_shape)

    def max_pool2d(self, case: MaxPool2d) -> Job:
        options = {"kernel_shape": [case.kernel] * 2, "strides": [case.stride] * 2, "pads": [case.padding] * 4}
        return self.job(case, [node("MaxPool", ["x"], ["y"], **options)], {}, case.arrays()["x"], case.output_shape)

    def rnn(self, case: Rnn) -> Job:
        """Each layer: y[T,D,B,H] of the operator, brought to [T,B,D*H]."""
        weights: dict[str, Array] = {"flat": np.array([0, 0, -1])}
        nodes: list[bytes] = []
        options: dict[str, int | str] = {"hidden_size": case.H}
        options |= {"direction": "bidirectional"} if case.directions == 2 else {}
        options |= {"linear_before_reset": 1} if case.cell == "gru" else {}
        given = "x"
        for layer in range(case.layers):
            names = [f"{part}{layer}" for part in ("w", "r", "b", "sequence", "swapped")]
            out = "y" if layer == case.layers - 1 else f"y{layer}"
            weights |= layer_weights(case, layer)
            nodes += [
                node(case.cell.upper(), [given, *names[:3]], [names[3]], **options),
                node("Transpose", [names[3]], [names[4]], perm=[0, 2, 1, 3]),
                node("Reshape", [names[4], "flat"], [out]),
            ]
            given = out
        return self.job(case, nodes, weights, case.arrays()["x"], (case.T, case.B, case.directions * case.H))


def layer_weights(case: Rnn, layer: int) -> dict[str, Array]:
    """w[D,G*H,I], r[D,G*H,H], b[D,2*G*H] of one layer, gates in ONNX's order."""
    given, gates = case.weights(), GATES[case.cell]
    order = GATE_ORDER[case.cell]

    def stacked(part: str) -> Array:
        """One parameter of all directions."""
        ends = [f"_l{layer}{suffix}" for suffix in ("", "_reverse")[: case.directions]]
        blocks = [given[part + end].reshape(gates, case.H, -1)[list(order)] for end in ends]
        return np.stack([block.reshape(gates * case.H, -1) for block in blocks])

    biases = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1)[:, :, 0]
    return {f"w{layer}": stacked("weight_ih"), f"r{layer}": stacked("weight_hh"), f"b{layer}": biases}
