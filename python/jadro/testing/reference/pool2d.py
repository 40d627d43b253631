"""Two-dimensional max pooling. y[n,c,p,q] is the largest value in its window and indices its offset h*W + w in the
plane.

The first of equal values wins, the first NaN beats every number, and padding never wins. A window without a single
pixel in the image (dilation can step over it) gives -inf and index -1; the gradient ignores it.
"""

import numpy as np
from numpy.typing import NDArray

from jadro.testing.reference.sums import Array

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


def max_pool2d_forward(
    x: Array, kernel: Pair, stride: Pair, padding: Sides, dilation: Pair, out: Pair
) -> tuple[Array, NDArray[np.int32]]:
    """x[N,C,H,W] -> y[N,C,*out], indices."""
    height, width = x.shape[2:]
    y = np.full((*x.shape[:2], *out), -np.inf, x.dtype)
    indices = np.full(y.shape, -1, np.int32)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            h = np.arange(out[0])[:, None] * stride[0] + i * dilation[0] - padding[0]
            w = np.arange(out[1])[None, :] * stride[1] + j * dilation[1] - padding[2]
            inside = (h >= 0) & (h < height) & (w >= 0) & (w < width)
            h, w = np.where(inside, h, 0), np.where(inside, w, 0)
            value = x[:, :, h, w] if height and width else y
            better = (value > y) | (np.isnan(value) & ~np.isnan(y)) | (indices < 0)
            y = np.where(inside & better, value, y)
            indices = np.where(inside & better, h * width + w, indices).astype(np.int32)
    return y, indices


def max_pool2d_backward(dy: Array, indices: NDArray[np.int32], x_shape: tuple[int, ...]) -> Array:
    """dx: each dy goes to the pixel that won; windows that overlap add up in the order of the outputs."""
    n, c, height, width = x_shape
    dx = np.zeros((n * c, height * width), dy.dtype)
    outputs = dy.shape[2] * dy.shape[3]
    flat_dy, flat_indices = dy.reshape(n * c, outputs), indices.reshape(n * c, outputs)
    plane, output = np.nonzero(flat_indices >= 0)
    np.add.at(dx, (plane, flat_indices[plane, output]), flat_dy[plane, output])
    return dx.reshape(x_shape)
