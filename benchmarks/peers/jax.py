"""JAX: every case is one jitted function; images are N H W C, the order that its CPU backend is made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.bench_conv2d import Conv2d
from benchmarks.bench_gemm import Linear
from benchmarks.bench_pool2d import MaxPool2d
from benchmarks.bench_rnn import Rnn
from benchmarks.bench_step import LEARNING_RATE, Step, resnet20_blocks
from benchmarks.cases import Array, Case, Job

Weights = Mapping[str, Any]
LAYOUT = ("NHWC", "OIHW", "NHWC")


class Peer:
    """The thread count is that of the processors that the process may use."""

    def __init__(self, threads: int) -> None:
        jax.config.update("jax_platforms", "cpu")
        self.version = jax.__version__

    def linear(self, case: Linear) -> Job:
        return vjp_job(case, lambda x, w, b: x @ w.T + b, "xwb")

    def conv2d(self, case: Conv2d) -> Job:
        def forward(x: Any, w: Any, b: Any) -> Any:
            return conv(x, w, case.stride, case.padding, case.groups) + b

        return vjp_job(case, forward, "xwb")

    def max_pool2d(self, case: MaxPool2d) -> Job:
        return vjp_job(case, lambda x: max_pool(x, case.kernel, case.stride, case.padding), "x")

    def rnn(self, case: Rnn) -> Job:
        weights = list(case.weights().values())

        def forward(x: Any, *weights: Any) -> Any:
            return rnn(case.cell, x, weights, case.layers, case.directions)

        return vjp_job(case, forward, "x", weights)

    def step(self, case: Step) -> Job:
        a = case.arrays()
        weights = {k: jnp.asarray(v) for k, v in case.weights().items()}
        x, target = channels_last(a["x"]), jnp.asarray(a["target"])
        scores = partial(charlm, case.cell) if case.cell else lenet if case.model == "lenet" else resnet20
        zeros = jax.tree.map(jnp.zeros_like, weights)
        state = [(weights, zeros, jax.tree.map(jnp.zeros_like, weights), jnp.zeros(()))]

        def loss_of(weights: Weights) -> Any:
            log_p = jax.nn.log_softmax(scores(weights, x))
            return -jnp.mean(log_p[jnp.arange(target.size), target])

        @partial(jax.jit, donate_argnums=0)
        def update(state: Any) -> Any:
            loss, gradients = jax.value_and_grad(loss_of)(state[0])
            return adam(*state, gradients), loss

        def run() -> Any:
            state[0], loss = jax.block_until_ready(update(state[0]))
            return loss

        return Job(run, lambda loss: [np.asarray(loss)])


def vjp_job(case: Case, forward: Callable[..., Any], names: Sequence[str], weights: Sequence[Array] = ()) -> Job:
    """forward(*inputs) and, in training, the gradients of all inputs."""
    a = case.arrays()
    inputs = [channels_last(a[k]) if k == "x" else jnp.asarray(a[k]) for k in names] + [*map(jnp.asarray, weights)]
    if not case.train:
        function = jax.jit(forward)
        return Job(lambda: jax.block_until_ready(function(*inputs)), lambda y: [channels_first(y)])
    dy = channels_last(a["dy"])

    @jax.jit
    def both(dy: Any, *inputs: Any) -> Any:
        y, pull = jax.vjp(forward, *inputs)
        return y, pull(dy)

    def results(out: Any) -> list[Array]:
        y, gradients = out
        return [channels_first(y), channels_first(gradients[0]), *map(np.asarray, gradients[1:])]

    return Job(lambda: jax.block_until_ready(both(dy, *inputs)), results)


def channels_last(array: Array) -> Any:
    """Images N C H W -> N H W C; others as they are."""
    return jnp.asarray(np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array)


def channels_first(array: Any) -> Array:
    """The way back."""
    array = np.asarray(array)
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def conv(x: Any, w: Any, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
    """x[n,h,w,c], w[oc,ic/groups,k,k]."""
    pads = [(padding, padding)] * 2
    return lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=LAYOUT, feature_group_count=groups)


def max_pool(x: Any, kernel: int, stride: int, padding: int = 0) -> Any:
    window, strides = (1, kernel, kernel, 1), (1, stride, stride, 1)
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, pads)


def rnn(cell: str, x: Any, weights: Sequence[Any], layers: int, directions: int) -> Any:
    """weights: four arrays a layer and direction, in PyTorch's order."""
    parts = iter(weights)
    for _ in range(layers):
        outputs = []
        for direction in range(directions):
            outputs.append(CELLS[cell](x, *(next(parts) for _ in range(4)), reverse=direction == 1))
        x = outputs[0] if directions == 1 else jnp.concatenate(outputs, axis=-1)
    return x


def rnn_layer(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, reverse: bool) -> Any:
    def step(h: Any, a: Any) -> Any:
        h = jnp.tanh(a + h @ w_hh.T)
        return h, h

    return lax.scan(step, zero_state(x, w_hh), x @ w_ih.T + (b_ih + b_hh), reverse=reverse)[1]


def lstm_layer(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, reverse: bool) -> Any:
    def step(state: Any, a: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(a + h @ w_hh.T, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = zero_state(x, w_hh)
    return lax.scan(step, (zero, zero), x @ w_ih.T + (b_ih + b_hh), reverse=reverse)[1]


def gru_layer(x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, reverse: bool) -> Any:
    def step(h: Any, a: Any) -> Any:
        ar, az, an = jnp.split(a, 3, axis=-1)
        hr, hz, hn = jnp.split(h @ w_hh.T + b_hh, 3, axis=-1)
        r, z = jax.nn.sigmoid(ar + hr), jax.nn.sigmoid(az + hz)
        n = jnp.tanh(an + r * hn)
        h = n + z * (h - n)
        return h, h

    return lax.scan(step, zero_state(x, w_hh), x @ w_ih.T + b_ih, reverse=reverse)[1]


CELLS = {"rnn": rnn_layer, "lstm": lstm_layer, "gru": gru_layer}


def zero_state(x: Any, w_hh: Any) -> Any:
    return jnp.zeros((x.shape[1], w_hh.shape[1]), x.dtype)


def lenet(w: Weights, x: Any) -> Any:
    for i in (1, 2):
        y = conv(x, w[f"conv{i}.weight"]) + w[f"conv{i}.bias"]
        x = max_pool(jax.nn.relu(y), 2, 2)
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    x = jax.nn.relu(x @ w["fc1.weight"].T + w["fc1.bias"])
    return x @ w["fc2.weight"].T + w["fc2.bias"]


def batch_norm(w: Weights, name: str, x: Any) -> Any:
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) * (lax.rsqrt(var + 1e-5) * w[name + ".weight"]) + w[name + ".bias"]


def resnet20(w: Weights, x: Any) -> Any:
    x = jax.nn.relu(batch_norm(w, "bn", conv(x, w["conv.weight"], padding=1)))
    for name, ic, oc, stride in resnet20_blocks():
        y = jax.nn.relu(batch_norm(w, f"{name}.bn1", conv(x, w[f"{name}.conv1.weight"], stride, 1)))
        y = batch_norm(w, f"{name}.bn2", conv(y, w[f"{name}.conv2.weight"], padding=1))
        if oc > ic:
            x = jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, oc - ic)))
        x = jax.nn.relu(y + x)
    return x.mean((1, 2)) @ w["fc.weight"].T + w["fc.bias"]


def charlm(cell: str, w: Weights, ids: Any) -> Any:
    layers = [w[f"rnn.{part}_l{i}"] for i in (0, 1) for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    y = rnn(cell, w["embedding.weight"][ids], layers, 2, 1)
    return y.reshape(-1, y.shape[-1]) @ w["fc.weight"].T + w["fc.bias"]


def adam(weights: Weights, m: Weights, v: Weights, t: Any, gradients: Weights) -> Any:
    """Kingma & Ba 2015."""
    t = t + 1
    m = jax.tree.map(lambda m, g: m + 0.1 * (g - m), m, gradients)
    v = jax.tree.map(lambda v, g: v + 0.001 * (g * g - v), v, gradients)

    def move(p: Any, m: Any, v: Any) -> Any:
        return p - LEARNING_RATE * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)

    return jax.tree.map(move, weights, m, v), m, v, t
