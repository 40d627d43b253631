"""Two-dimensional convolution (cross-correlation, as in every network library).

    y[n,o,p,q] = b[o] + sum over c, i, j of w[o,c,i,j] * x[n, c, p*Sh + i*Dh - top, q*Sw + j*Dw - left]

with x zero outside the image; with groups, output channel o sees the input channels of its own group only.
Shapes: x[N,C,H,W], w[O,C/groups,KH,KW], b[O], y[N,O,P,Q]; padding is (top, bottom, left, right).
"""

from collections.abc import Iterator

import numpy as np

from jadro.testing.reference.sums import Array, total

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


def output_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """floor((M + P - D(K-1) - 1) / S) + 1."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def conv2d_forward(
    x: Array, w: Array, b: Array | None, stride: Pair, padding: Sides, dilation: Pair, groups: int, relu: bool = False,
    scale: Array | None = None, add: Array | None = None,
) -> Array:  # fmt: skip
    """y, with what may follow in the same call: scale[o] y before the bias, + add, ReLU."""
    out = _output_shape(x.shape, w.shape, stride, padding, dilation)
    xs = _by_group(_pad(x, padding), groups)
    ws = w.reshape(groups, -1, *w.shape[1:])
    ys = np.zeros((len(x), groups, ws.shape[1], *out), x.dtype)
    for i, j, rows, cols in _taps(w.shape[2:], out, stride, dilation):
        for c in range(w.shape[1]):
            ys += xs[:, :, c, None, rows, cols] * ws[None, :, :, c, i, j, None, None]
    y: Array = ys.reshape(len(x), w.shape[0], *out)
    if scale is not None:
        y = y * scale[:, None, None]
    if b is not None:
        y = y + b[:, None, None]
    if add is not None:
        y = y + add
    return np.maximum(y, 0) if relu else y


def conv2d_backward_data(
    dy: Array, w: Array, x_shape: tuple[int, ...], stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> Array:
    """dx: every product of the forward sum hands w * dy back to the pixel that it read."""
    top, bottom, left, right = padding
    n, ic, ih, iw = x_shape
    dx = np.zeros((n, groups, ic // groups, ih + top + bottom, iw + left + right), dy.dtype)
    dys = _by_group(dy, groups)
    ws = w.reshape(groups, -1, *w.shape[1:])
    for i, j, rows, cols in _taps(w.shape[2:], dy.shape[2:], stride, dilation):
        for o in range(ws.shape[1]):
            dx[:, :, :, rows, cols] += dys[:, :, o, None] * ws[None, :, o, :, i, j, None, None]
    return dx.reshape(n, ic, *dx.shape[3:])[:, :, top : top + ih, left : left + iw]


def conv2d_backward_weight(
    dy: Array, x: Array, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair, groups: int
) -> tuple[Array, Array]:
    """dw = sum over n, p, q of dy[n,o,p,q] * x[n, c, the pixel of the tap], and db[o] = sum of dy[:,o]."""
    xs, dys = _by_group(_pad(x, padding), groups), _by_group(dy, groups)
    dw = np.zeros((groups, dys.shape[2], xs.shape[2], *kernel), x.dtype)
    for i, j, rows, cols in _taps(kernel, dy.shape[2:], stride, dilation):
        for c in range(xs.shape[2]):
            dw[:, :, c, i, j] = total(dys * xs[:, :, c, None, rows, cols], (0, 3, 4))
    return dw.reshape(dy.shape[1], -1, *kernel), total(dy, (0, 2, 3))


def _output_shape(x: tuple[int, ...], w: tuple[int, ...], stride: Pair, padding: Sides, dilation: Pair) -> Pair:
    top, bottom, left, right = padding
    return (
        output_size(x[2], w[2], stride[0], top, bottom, dilation[0]),
        output_size(x[3], w[3], stride[1], left, right, dilation[1]),
    )


def _pad(x: Array, padding: Sides) -> Array:
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))


def _by_group(x: Array, groups: int) -> Array:
    """x[N,C,H,W] -> [N,groups,C/groups,H,W]."""
    return x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])


def _taps(
    kernel: tuple[int, ...], out: tuple[int, ...], stride: Pair, dilation: Pair
) -> Iterator[tuple[int, int, slice, slice]]:
    """Each tap (i, j) of the filter with the pixels of the padded image that it meets, one for each output."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            corner = (i * dilation[0], j * dilation[1])
            rows, cols = (slice(c, c + s * (o - 1) + 1, s) for c, s, o in zip(corner, stride, out, strict=True))
            yield i, j, rows, cols
