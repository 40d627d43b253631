"""TensorFlow: every case is one traced function; images are N H W C and filters H W I O, its CPU kernels' own order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.bench_conv2d import Conv2d
from benchmarks.bench_gemm import Linear
from benchmarks.bench_pool2d import MaxPool2d
from benchmarks.bench_rnn import Rnn
from benchmarks.bench_step import LEARNING_RATE, Step, resnet20_blocks
from benchmarks.cases import Array, Case, Job

Weights = Mapping[str, Any]


class Peer:
    def __init__(self, threads: int) -> None:
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.version = tf.__version__

    def linear(self, case: Linear) -> Job:
        return tape_job(case, lambda x, w, b: tf.matmul(x, w, transpose_b=True) + b, "xwb")

    def conv2d(self, case: Conv2d) -> Job:
        def forward(x: Any, w: Any, b: Any) -> Any:
            return conv(x, w, case.stride, case.padding, case.groups) + b

        return tape_job(case, forward, "xwb")

    def max_pool2d(self, case: MaxPool2d) -> Job:
        def forward(x: Any) -> Any:
            return tf.nn.max_pool2d(x, case.kernel, case.stride, pads(case.padding))

        return tape_job(case, forward, "x")

    def rnn(self, case: Rnn) -> Job:
        weights = list(case.weights().values())

        def forward(x: Any, *weights: Any) -> Any:
            return rnn(case.cell, x, weights, case.layers, case.directions)

        return tape_job(case, forward, "x", weights)

    def step(self, case: Step) -> Job:
        a = case.arrays()
        w = {k: tf.Variable(to_tensorflow(k, v)) for k, v in case.weights().items()}
        x, target = tf.constant(to_tensorflow("x", a["x"])), tf.constant(a["target"])
        model: Callable[..., Any] = IMAGE_MODELS.get(case.model, charlm)
        adam = Adam(list(w.values()))

        @tf.function
        def run() -> Any:
            with tf.GradientTape() as tape:
                scores = model(w, x, case.cell) if case.cell else model(w, x)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(target, scores)
                loss = tf.reduce_mean(losses)
            adam.step(tape.gradient(loss, adam.variables))
            return loss

        return Job(lambda: run().numpy(), lambda loss: [loss])


def tape_job(case: Case, forward: Callable[..., Any], names: Sequence[str], weights: Sequence[Array] = ()) -> Job:
    """forward(*inputs) and, in training, the gradients of all inputs."""
    a = case.arrays()
    inputs = [tf.constant(to_tensorflow(k, a[k])) for k in names] + [tf.constant(w) for w in weights]
    if not case.train:
        function = tf.function(forward)
        return Job(lambda: function(*inputs), lambda y: [from_tensorflow("y", y)])
    dy = tf.constant(to_tensorflow("dy", a["dy"]))

    @tf.function
    def both(dy: Any, *inputs: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(inputs)
            y = forward(*inputs)
        return y, tape.gradient(y, inputs, dy)

    def results(out: Any) -> list[Array]:
        y, gradients = out
        named = zip([*names, *[""] * len(weights)], gradients, strict=True)
        return [from_tensorflow("y", y), *(from_tensorflow(k, tf.convert_to_tensor(g)) for k, g in named)]

    return Job(lambda: both(dy, *inputs), results)


def to_tensorflow(name: str, array: Array) -> Array:
    """Filters O I H W -> H W I O, images N C H W -> N H W C, others as they are."""
    if array.ndim != 4:
        return array
    order = (2, 3, 1, 0) if name == "w" or name.endswith("weight") else (0, 2, 3, 1)
    return np.ascontiguousarray(array.transpose(order))


def from_tensorflow(name: str, tensor: Any) -> Array:
    """The way back."""
    array = tensor.numpy()
    if array.ndim != 4:
        return array
    return array.transpose((3, 2, 0, 1) if name == "w" else (0, 3, 1, 2))


def pads(padding: int) -> list[list[int]]:
    return [[0, 0], [padding, padding], [padding, padding], [0, 0]]


def conv(x: Any, w: Any, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
    """With groups, depthwise and "same": filters [k,k,1,c] become [k,k,c,1], and explicit padding crashes there."""
    if groups > 1:
        filters = tf.transpose(w, (0, 1, 3, 2))
        return tf.nn.depthwise_conv2d(x, filters, (1, stride, stride, 1), "SAME")
    return tf.nn.conv2d(x, w, stride, pads(padding))


def rnn(cell: str, x: Any, weights: Sequence[Any], layers: int, directions: int) -> Any:
    """weights: four arrays a layer and direction, in PyTorch's order."""
    parts = iter(weights)
    for _ in range(layers):
        outputs = []
        for direction in range(directions):
            own = [next(parts) for _ in range(4)]
            given = tf.reverse(x, [0]) if direction else x
            y = CELLS[cell](given, *own)
            outputs.append(tf.reverse(y, [0]) if direction else y)
        x = outputs[0] if directions == 1 else tf.concat(outputs, axis=-1)
    return x


def loop(step: Callable[..., Any], a: Any, state: tuple[Any, ...]) -> Any:
    """The first state of every step, [T,B,H], from a[T,B,G*H]."""
    T = a.shape[0]
    ys = tf.TensorArray(tf.float32, T, element_shape=state[0].shape)

    def body(t: Any, ys: Any, *state: Any) -> Any:
        state = step(a[t], *state)
        return (t + 1, ys.write(t, state[0]), *state)

    return tf.while_loop(lambda t, *_: t < T, body, (tf.constant(0), ys, *state), maximum_iterations=T)[1].stack()


def project(x: Any, w: Any, b: Any) -> Any:
    """All steps in one product."""
    T, B, I = x.shape
    return tf.reshape(tf.matmul(tf.reshape(x, (T * B, I)), w, transpose_b=True) + b, (T, B, w.shape[0]))


def rnn_layer(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    u = tf.transpose(w_hh)
    return loop(lambda a, h: (tf.tanh(a + h @ u),), project(x, w_ih, b_ih + b_hh), (zero_state(x, w_hh),))


def lstm_layer(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    u = tf.transpose(w_hh)

    def step(a: Any, h: Any, c: Any) -> Any:
        i, f, g, o = tf.split(a + h @ u, 4, axis=-1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        return tf.sigmoid(o) * tf.tanh(c), c

    zero = zero_state(x, w_hh)
    return loop(step, project(x, w_ih, b_ih + b_hh), (zero, zero))


def gru_layer(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    u = tf.transpose(w_hh)

    def step(a: Any, h: Any) -> Any:
        ar, az, an = tf.split(a, 3, axis=-1)
        hr, hz, hn = tf.split(h @ u + b_hh, 3, axis=-1)
        r, z = tf.sigmoid(ar + hr), tf.sigmoid(az + hz)
        n = tf.tanh(an + r * hn)
        return (n + z * (h - n),)

    return loop(step, project(x, w_ih, b_ih), (zero_state(x, w_hh),))


CELLS = {"rnn": rnn_layer, "lstm": lstm_layer, "gru": gru_layer}


def zero_state(x: Any, w_hh: Any) -> Any:
    return tf.zeros((x.shape[1], w_hh.shape[1]))


def lenet(w: Weights, x: Any) -> Any:
    for i in (1, 2):
        y = tf.nn.bias_add(conv(x, w[f"conv{i}.weight"]), w[f"conv{i}.bias"])
        x = tf.nn.max_pool2d(tf.nn.relu(y), 2, 2, "VALID")
    x = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (x.shape[0], -1))
    x = tf.nn.relu(tf.matmul(x, w["fc1.weight"], transpose_b=True) + w["fc1.bias"])
    return tf.matmul(x, w["fc2.weight"], transpose_b=True) + w["fc2.bias"]


def batch_norm(w: Weights, name: str, x: Any) -> Any:
    return tf.compat.v1.nn.fused_batch_norm(x, w[name + ".weight"], w[name + ".bias"], epsilon=1e-5)[0]


def resnet20(w: Weights, x: Any) -> Any:
    x = tf.nn.relu(batch_norm(w, "bn", conv(x, w["conv.weight"], padding=1)))
    for name, ic, oc, stride in resnet20_blocks():
        y = tf.nn.relu(batch_norm(w, f"{name}.bn1", conv(x, w[f"{name}.conv1.weight"], stride, 1)))
        y = batch_norm(w, f"{name}.bn2", conv(y, w[f"{name}.conv2.weight"], padding=1))
        if oc > ic:
            x = tf.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, oc - ic)))
        x = tf.nn.relu(y + x)
    return tf.matmul(tf.reduce_mean(x, (1, 2)), w["fc.weight"], transpose_b=True) + w["fc.bias"]


def charlm(w: Weights, ids: Any, cell: str) -> Any:
    layers = [w[f"rnn.{part}_l{i}"] for i in (0, 1) for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    y = rnn(cell, tf.gather(w["embedding.weight"], ids), layers, 2, 1)
    features = tf.reshape(y, (-1, y.shape[-1]))
    return tf.matmul(features, w["fc.weight"], transpose_b=True) + w["fc.bias"]


IMAGE_MODELS: dict[str, Callable[..., Any]] = {"lenet": lenet, "resnet20": resnet20}


class Adam:
    """The fused kernel, one call a variable."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self.variables = variables
        self.m = [tf.Variable(tf.zeros_like(v)) for v in variables]
        self.v = [tf.Variable(tf.zeros_like(v)) for v in variables]
        self.t = tf.Variable(0.0)

    def step(self, gradients: Sequence[Any]) -> None:
        t = self.t.assign_add(1.0)
        for p, m, v, g in zip(self.variables, self.m, self.v, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=p.handle, m=m.handle, v=v.handle, beta1_power=0.9**t, beta2_power=0.999**t, lr=LEARNING_RATE,
                beta1=0.9, beta2=0.999, epsilon=1e-8, grad=tf.convert_to_tensor(g),
            )  # fmt: skip
