"""Batch normalisation (Ioffe and Szegedy 2015) over x[N,C,S].

    y = (x - mean) / sqrt(var + eps) * weight + bias

with the mean and the biased variance of each channel over N and S in training, and the running ones in evaluation.
"""

import numpy as np

from jadro.testing.reference.sums import Array, total


def batch_norm_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Array, Array, Array, Array | None, Array | None]:
    """y, the mean used, 1/sqrt(var + eps) used, and the new running mean and (unbiased) variance."""
    count = x.shape[0] * x.shape[2]
    if training:
        mean = total(x, (0, 2)) / count
        squares = total((x - mean[:, None]) ** 2, (0, 2))
        var = squares / count
        if running_mean is not None and running_var is not None:
            running_mean = running_mean + momentum * (mean - running_mean)
            running_var = running_var + momentum * (squares / (count - 1) - running_var)
    else:
        assert running_mean is not None and running_var is not None
        mean, var = running_mean, running_var
    rstd = 1 / np.sqrt(var + eps)
    y = (x - mean[:, None]) * rstd[:, None]
    if weight is not None:
        y = y * weight[:, None]
    if bias is not None:
        y = y + bias[:, None]
    return y, mean, rstd, running_mean, running_var


def batch_norm_backward(
    dy: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, training: bool
) -> tuple[Array, Array, Array]:
    """dx, dweight, dbias. With xh = (x - mean) * rstd and g = weight * dy, averages taken over N and S,

    dx = rstd * (g - average(g) - xh * average(g * xh)) in training; the averages fall away in evaluation.
    """
    xh = (x - mean[:, None]) * rstd[:, None]
    dweight, dbias = total(dy * xh, (0, 2)), total(dy, (0, 2))
    scale = rstd if weight is None else rstd * weight
    if not training:
        return dy * scale[:, None], dweight, dbias
    count = x.shape[0] * x.shape[2]
    dx = (dy - dbias[:, None] / count - xh * dweight[:, None] / count) * scale[:, None]
    return dx, dweight, dbias
