"""Convolution of images and volumes (cross-correlation, as in every network library).

    y[n,o,p,q] = b[o] + sum over c, i, j of w[o,c,i,j] * x[n, c, p*Sh + i*Dh - top, q*Sw + j*Dw - left]

and the same with a third axis, of depth, before the two. Outside the image x is what the padding mode says: zero, or
the image reflected at its edge cells, its edge cells repeated, or the image repeated. With groups, output channel o
sees the input channels of its own group only. Shapes: x[N,C,*space], w[O,C/groups,*kernel], b[O], y[N,O,*space];
padding is (before, after) of each axis in turn, negative where cells are cut off.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from jadro.testing.reference.activation import rectified
from jadro.testing.reference.sums import Array, total

Sizes = Sequence[int]
Index = tuple[Any, ...]
ALL = slice(None)


def output_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """floor((M + P - D(K-1) - 1) / S) + 1."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def output_sizes(sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> tuple[int, ...]:
    """output_size of each axis."""
    axes = zip(sizes, kernel, stride, padding[::2], padding[1::2], dilation, strict=True)
    return tuple(output_size(*axis) for axis in axes)


def conv2d_forward(
    x: Array, w: Array, b: Array | None, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    padding_mode: str = "zeros", relu: bool = False, scale: Array | None = None, add: Array | None = None,
    slope: Array | None = None, most: float = np.inf,
) -> Array:  # fmt: skip
    """y, with what may follow in the same call: scale[o] y before the bias, + add, and with relu `rectified`."""
    out = output_sizes(x.shape[2:], w.shape[2:], stride, padding, dilation)
    xs = _by_group(_pad(x, padding, padding_mode), groups)
    ws = w.reshape(groups, -1, *w.shape[1:])
    ys = np.zeros((len(x), groups, ws.shape[1], *out), x.dtype)
    for tap, cells in _taps(w.shape[2:], out, stride, dilation):
        for c in range(w.shape[1]):
            ys += xs[_index(ALL, ALL, c, None, *cells)] * _spread(ws[_index(ALL, ALL, c, *tap)], out)
    return _then(ys.reshape(len(x), w.shape[0], *out), b, relu, scale, add, slope, most)


def conv2d_backward_data(
    dy: Array, w: Array, x_shape: tuple[int, ...], stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    padding_mode: str = "zeros", b: Array | None = None, relu: bool = False, scale: Array | None = None,
    add: Array | None = None, slope: Array | None = None, most: float = np.inf,
) -> Array:  # fmt: skip
    """dx: every product of the forward sum hands w * dy back to the pixel that it read. With b and what follows, the
    transposed convolution."""
    n, ic, *space = x_shape
    padded = [m + before + after for m, before, after in zip(space, padding[::2], padding[1::2], strict=True)]
    dx = np.zeros((n, groups, ic // groups, *padded), dy.dtype)
    dys = _by_group(dy, groups)
    ws = w.reshape(groups, -1, *w.shape[1:])
    for tap, cells in _taps(w.shape[2:], dy.shape[2:], stride, dilation):
        for o in range(ws.shape[1]):
            dx[_index(..., *cells)] += dys[:, :, o, None] * _spread(ws[_index(ALL, o, ALL, *tap)], dy.shape[2:])
    return _then(_unpad(dx.reshape(n, ic, *padded), space, padding, padding_mode), b, relu, scale, add, slope, most)


def conv2d_backward_weight(
    dy: Array, x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    padding_mode: str = "zeros",
) -> tuple[Array, Array]:  # fmt: skip
    """dw = sum over n, p, q of dy[n,o,p,q] * x[n, c, the pixel of the tap], and db[o] = sum of dy[:,o]."""
    xs, dys = _by_group(_pad(x, padding, padding_mode), groups), _by_group(dy, groups)
    dw = np.zeros((groups, dys.shape[2], xs.shape[2], *kernel), x.dtype)
    space = tuple(range(2, dy.ndim))
    for tap, cells in _taps(kernel, dy.shape[2:], stride, dilation):
        for c in range(xs.shape[2]):
            products = dys * xs[_index(ALL, ALL, c, None, *cells)]
            dw[_index(ALL, ALL, c, *tap)] = total(products, (0, *(axis + 1 for axis in space)))
    return dw.reshape(dy.shape[1], -1, *kernel), total(dy, (0, *space))


def shown(mode: str, size: int, before: int, after: int) -> list[int]:
    """Which of an axis's `size` cells each cell of the padded axis shows; -1 for zero."""
    cells = range(-before, size + after)
    if mode == "zeros":
        return [i if 0 <= i < size else -1 for i in cells]
    if mode == "replicate":
        return [min(max(i, 0), size - 1) for i in cells]
    if mode == "circular":
        return [i % size for i in cells]
    return [size - 1 - abs(size - 1 - abs(i)) for i in cells]


def _pad(x: Array, padding: Sizes, mode: str) -> Array:
    for axis in range(2, x.ndim):
        before, after = padding[2 * axis - 4], padding[2 * axis - 3]
        cells = shown(mode, x.shape[axis], before, after)
        padded = np.zeros((*x.shape[:axis], len(cells), *x.shape[axis + 1 :]), x.dtype)
        for i, cell in enumerate(cells):
            if cell >= 0:
                padded[_at(axis, i)] = x[_at(axis, cell)]
        x = padded
    return x


def _unpad(dx: Array, space: Sizes, padding: Sizes, mode: str) -> Array:
    """The gradient of _pad: each padded cell's goes to the cell that it shows."""
    for axis, size in reversed(list(enumerate(space, start=2))):
        inner = np.zeros((*dx.shape[:axis], size, *dx.shape[axis + 1 :]), dx.dtype)
        for i, cell in enumerate(shown(mode, size, padding[2 * axis - 4], padding[2 * axis - 3])):
            if cell >= 0:
                inner[_at(axis, cell)] += dx[_at(axis, i)]
        dx = inner
    return dx


def _at(axis: int, i: int) -> Index:
    return _index(*(ALL,) * axis, i)


def _index(*parts: Any) -> Index:
    return parts


def _then(
    y: Array, b: Array | None, relu: bool, scale: Array | None, add: Array | None, slope: Array | None, most: float
) -> Array:
    """scale[o] y + b[o] + add, rectified."""
    if scale is not None:
        y = y * _spread(scale, y.shape[2:])
    if b is not None:
        y = y + _spread(b, y.shape[2:])
    if add is not None:
        y = y + add
    return rectified(y, slope, most) if relu else y


def _spread(a: Array, space: Sizes) -> Array:
    """`a` with an axis of 1 for each axis of space."""
    return a.reshape(*a.shape, *(1 for _ in space))


def _by_group(x: Array, groups: int) -> Array:
    """x[N,C,*space] -> [N,groups,C/groups,*space]."""
    return x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])


def _taps(
    kernel: Sizes, out: Sizes, stride: Sizes, dilation: Sizes
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each tap (i, j) of the filter with the pixels of the padded image that it meets, one for each output."""
    for tap in product(*(range(k) for k in kernel)):
        axes = zip(tap, dilation, stride, out, strict=True)
        yield tap, tuple(slice(i * d, i * d + s * (o - 1) + 1, s) for i, d, s, o in axes)
