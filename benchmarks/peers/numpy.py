"""NumPy: what a careful user writes by hand, by im2col, strided views and, in `numpy_rnn`, a loop over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.bench_conv2d import Conv2d
from benchmarks.bench_gemm import Linear
from benchmarks.bench_overhead import NUMPY, Overhead
from benchmarks.bench_pool2d import MaxPool2d
from benchmarks.bench_rnn import Rnn
from benchmarks.bench_step import LEARNING_RATE, Step
from benchmarks.cases import Array, Job, Unsupported
from benchmarks.peers.numpy_rnn import CELLS

Weights = dict[str, Array]


class Peer:
    """The thread count is OpenBLAS's, from the environment."""

    def __init__(self, threads: int) -> None:
        self.version = np.__version__

    def linear(self, case: Linear) -> Job:
        a = case.arrays()
        x, w, b = a["x"], a["w"], a["b"]
        if not case.train:
            return Job(lambda: [x @ w.T + b], list)
        dy = a["dy"]
        return Job(lambda: [x @ w.T + b, dy @ w, dy.T @ x, dy.sum(0)], list)

    def conv2d(self, case: Conv2d) -> Job:
        if case.groups > 1:
            raise Unsupported("groups")
        a = case.arrays()
        if not case.train:
            return Job(lambda: [conv2d_forward(case, a["x"], a["w"], a["b"])[0]], list)

        def run() -> list[Array]:
            y, columns = conv2d_forward(case, a["x"], a["w"], a["b"])
            return [y, *conv2d_backward(case, a["dy"], a["w"], columns)]

        return Job(run, list)

    def max_pool2d(self, case: MaxPool2d) -> Job:
        a = case.arrays()
        if not case.train:
            return Job(lambda: [max_pool2d_forward(case, a["x"])[0]], list)

        def run() -> list[Array]:
            y, taps = max_pool2d_forward(case, a["x"])
            return [y, max_pool2d_backward(case, a["dy"], y, taps)]

        return Job(run, list)

    def rnn(self, case: Rnn) -> Job:
        if case.layers > 1 or case.directions > 1:
            raise Unsupported("several layers")
        a, weights = case.arrays(), list(case.weights().values())
        forward, backward = CELLS[case.cell]
        if not case.train:
            return Job(lambda: [forward(a["x"], *weights)[0]], list)

        def run() -> list[Array]:
            y, saved = forward(a["x"], *weights)
            return [y, *backward(a["dy"], *weights, saved)]

        return Job(run, list)

    def overhead(self, case: Overhead) -> Job:
        if case.train or case.recorded:
            raise Unsupported("gradients")
        a, function = case.arrays(), NUMPY[case.operator]
        x, y = a["a"], a["b"]
        return Job(lambda: function(x, y), lambda out: [np.asarray(out)])

    def step(self, case: Step) -> Job:
        if not case.cell:
            raise Unsupported("image models")
        return charlm_step(case)


def window(case: Conv2d | MaxPool2d, padded: Array, ky: int, kx: int) -> Array:
    """The view [n, c, oh, ow] of the padded image under kernel element (ky, kx)."""
    oh, ow = case.output_shape[2:]
    s = case.stride
    return padded[:, :, ky : ky + oh * s : s, kx : kx + ow * s : s]


def conv2d_forward(case: Conv2d, x: Array, w: Array, b: Array) -> tuple[Array, Array]:
    """(y, columns[n, ic*k*k, oh*ow])."""
    n, oc, oh, ow = case.output_shape
    k, p = case.kernel, case.padding
    if k == 1 and case.stride == 1:
        columns = x.reshape(n, case.ic, oh * ow)
    else:
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        columns = np.empty((n, case.ic, k, k, oh, ow), np.float32)
        for ky in range(k):
            for kx in range(k):
                columns[:, :, ky, kx] = window(case, padded, ky, kx)
        columns = columns.reshape(n, case.ic * k * k, oh * ow)
    y = w.reshape(oc, -1) @ columns
    y += b[:, None]
    return y.reshape(n, oc, oh, ow), columns


def conv2d_backward(case: Conv2d, dy: Array, w: Array, columns: Array) -> tuple[Array, Array, Array]:
    """(dx, dw, db)."""
    n, oc, oh, ow = case.output_shape
    k, p = case.kernel, case.padding
    flat = dy.reshape(n, oc, oh * ow)
    dw = (flat @ columns.transpose(0, 2, 1)).sum(0).reshape(w.shape)
    db = dy.sum((0, 2, 3))
    dcolumns = w.reshape(oc, -1).T @ flat
    if k == 1 and case.stride == 1:
        return dcolumns.reshape(n, case.ic, case.ih, case.iw), dw, db
    dcolumns = dcolumns.reshape(n, case.ic, k, k, oh, ow)
    dx = np.zeros((n, case.ic, case.ih + 2 * p, case.iw + 2 * p), np.float32)
    for ky in range(k):
        for kx in range(k):
            window(case, dx, ky, kx)[...] += dcolumns[:, :, ky, kx]
    return dx[:, :, p : p + case.ih, p : p + case.iw], dw, db


def max_pool2d_forward(case: MaxPool2d, x: Array) -> tuple[Array, list[Array]]:
    """(y, the strided view of the padded image under every kernel element)."""
    p = case.padding
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=-np.inf) if p else x
    taps = [window(case, padded, ky, kx) for ky in range(case.kernel) for kx in range(case.kernel)]
    y = taps[0].copy()
    for tap in taps[1:]:
        np.maximum(y, tap, out=y)
    return y, taps


def max_pool2d_backward(case: MaxPool2d, dy: Array, y: Array, taps: Sequence[Array]) -> Array:
    """dx; the first of equal maxima receives the gradient."""
    p, k = case.padding, case.kernel
    dx = np.zeros((case.n, case.c, case.ih + 2 * p, case.iw + 2 * p), np.float32)
    rest = dy.copy()
    for i, tap in enumerate(taps):
        here = np.where(tap == y, rest, np.float32(0))
        window(case, dx, *divmod(i, k))[...] += here
        rest -= here
    return dx[:, :, p : p + case.ih, p : p + case.iw]


def charlm_step(case: Step) -> Job:
    """Embedding, two recurrent layers, linear, softmax cross-entropy, Adam."""
    w, a = case.weights(), case.arrays()
    ids, target = a["x"], a["target"]
    rows = np.arange(target.size)
    layers = [[w[f"rnn.{part}_l{i}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")] for i in (0, 1)]
    forward, backward = CELLS[case.cell]
    parameters = [w["embedding.weight"], *layers[0], *layers[1], w["fc.weight"], w["fc.bias"]]
    adam = Adam(parameters)

    def run() -> Any:
        x = w["embedding.weight"][ids]
        y0, saved0 = forward(x, *layers[0])
        y1, saved1 = forward(y0, *layers[1])
        features = y1.reshape(target.size, -1)
        scores = features @ w["fc.weight"].T + w["fc.bias"]
        scores -= scores.max(1, keepdims=True)
        p = np.exp(scores)
        total = p.sum(1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - scores[rows, target]))
        p /= total
        p[rows, target] -= 1
        p /= target.size
        dfc, dbias = p.T @ features, p.sum(0)
        dy0, *d1 = backward((p @ w["fc.weight"]).reshape(y1.shape), *layers[1], saved1)
        dx, *d0 = backward(dy0, *layers[0], saved0)
        dembedding = np.zeros_like(w["embedding.weight"])
        np.add.at(dembedding, ids, dx)
        adam.step([dembedding, *d0, *d1, dfc, dbias])
        return loss

    return Job(run, lambda loss: [np.float64(loss)])


class Adam:
    """Kingma & Ba 2015, in place."""

    def __init__(self, parameters: Sequence[Array]) -> None:
        self.parameters = parameters
        self.m = [np.zeros_like(p) for p in parameters]
        self.v = [np.zeros_like(p) for p in parameters]
        self.t = 0

    def step(self, gradients: Sequence[Array]) -> None:
        self.t += 1
        size = np.float32(LEARNING_RATE / (1 - 0.9**self.t))
        scale = np.float32((1 - 0.999**self.t) ** -0.5)
        for p, g, m, v in zip(self.parameters, gradients, self.m, self.v, strict=True):
            m += np.float32(0.1) * (g - m)
            v += np.float32(0.001) * (g * g - v)
            p -= size * m / (np.sqrt(v) * scale + np.float32(1e-8))
