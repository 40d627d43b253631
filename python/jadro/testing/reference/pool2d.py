"""Max pooling of images and volumes, and its inverse. y[n,c,p,...] is the largest value in its window and indices its
offset in the plane, h W + w, or in the volume, (d H + h) W + w.

The first of equal values wins, the first NaN beats every number, and padding never wins. A window without a single
pixel in the image (dilation can step over it) gives -inf and index -1; the gradient ignores it.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from jadro.testing.reference.sums import Array

Sizes = tuple[int, ...]


def max_pool2d_forward(
    x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> tuple[Array, NDArray[np.int32]]:
    """x[N,C,...] -> y[N,C,*out], indices; padding: before and after each axis in turn."""
    space = x.shape[2:]
    y = np.full((*x.shape[:2], *out), -np.inf, x.dtype)
    indices = np.full(y.shape, -1, np.int32)
    for tap in itertools.product(*(range(k) for k in kernel)):
        places = [
            np.arange(o) * s + t * d - p
            for o, s, t, d, p in zip(out, stride, tap, dilation, padding[::2], strict=True)
        ]  # fmt: skip
        inside, offset = np.ones(out, bool), np.zeros(out, np.int64)
        for place, m in zip(np.ix_(*places), space, strict=True):
            inside = inside & (place >= 0) & (place < m)
            offset = offset * m + np.clip(place, 0, max(m - 1, 0))
        value = x.reshape(*x.shape[:2], -1)[:, :, offset] if x.size else y
        better = (value > y) | (np.isnan(value) & ~np.isnan(y)) | (indices < 0)
        y = np.where(inside & better, value, y)
        indices = np.where(inside & better, offset, indices).astype(np.int32)
    return y, indices


def adaptive_max_pool2d_forward(x: Array, out: Sizes) -> tuple[Array, NDArray[np.int32]]:
    """x[N,C,...] -> y[N,C,*out], indices: the maxima of bins floor(j I / O) .. ceil((j + 1) I / O) of each axis."""
    n, c, *space = x.shape
    y, indices = np.empty((n * c, *out), x.dtype), np.empty((n * c, *out), np.int32)
    planes, offsets = x.reshape(n * c, *space), np.arange(np.prod(space)).reshape(space)
    for plane in range(n * c):
        for place in np.ndindex(*out):
            bins = tuple(slice(j * m // o, -(-(j + 1) * m // o)) for j, m, o in zip(place, space, out, strict=True))
            values = planes[plane][bins].ravel()
            best = np.argmax(values)  # the first NaN, or the first of the largest
            y[plane][place], indices[plane][place] = values[best], offsets[bins].ravel()[best]
    return y.reshape(n, c, *out), indices.reshape(n, c, *out)


def max_pool2d_backward(dy: Array, indices: NDArray[np.int32], x_shape: tuple[int, ...]) -> Array:
    """dx: each dy goes to the pixel that won; windows that overlap add up in the order of the outputs."""
    n, c = x_shape[:2]
    dx = np.zeros((n * c, int(np.prod(x_shape[2:]))), dy.dtype)
    outputs = int(np.prod(dy.shape[2:]))
    flat_dy, flat_indices = dy.reshape(n * c, outputs), indices.reshape(n * c, outputs)
    plane, output = np.nonzero(flat_indices >= 0)
    np.add.at(dx, (plane, flat_indices[plane, output]), flat_dy[plane, output])
    return dx.reshape(x_shape)


def max_unpool2d_forward(x: Array, indices: NDArray[np.int32], y_shape: tuple[int, ...]) -> Array:
    """y: zeros, and each x at its index, the last one where two have the same."""
    y = np.zeros((*y_shape[:2], int(np.prod(y_shape[2:]))), x.dtype)
    for n, c in np.ndindex(*y_shape[:2]):
        for value, index in zip(x[n, c].ravel(), indices[n, c].ravel(), strict=True):
            if index >= 0:
                y[n, c, index] = value
    return y.reshape(y_shape)


def max_unpool2d_backward(dy: Array, indices: NDArray[np.int32]) -> Array:
    """dx: what stands in dy at each index."""
    if not dy.size:
        return np.zeros(indices.shape, dy.dtype)
    planes, flat = dy.reshape(*dy.shape[:2], -1), indices.reshape(*indices.shape[:2], -1)
    values = np.take_along_axis(planes, np.maximum(flat, 0), -1)
    return np.where(flat < 0, np.zeros((), dy.dtype), values).reshape(indices.shape)
