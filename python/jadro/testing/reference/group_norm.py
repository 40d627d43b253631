"""Group normalisation (Wu and He 2018) over x[N,C,S]: layer norm (Ba et al. 2016) with one group, instance norm
(Ulyanov et al. 2016) with one a channel.

    y = (x - mean) / sqrt(var + eps) * weight + bias

with the mean and the biased variance of each row's channels in groups.
"""

import numpy as np

from jadro.testing.reference.sums import Array, total


def group_norm_forward(
    x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """y, the mean[N,groups] and 1/sqrt(var + eps)[N,groups]."""
    n, c, s = x.shape
    pieces = x.reshape(n, groups, c // groups * s)
    mean = total(pieces, 2) / pieces.shape[2]
    var = total((pieces - mean[..., None]) ** 2, 2) / pieces.shape[2]
    rstd = 1 / np.sqrt(var + eps)
    y = ((pieces - mean[..., None]) * rstd[..., None]).reshape(x.shape)
    if weight is not None:
        y = y * weight[:, None]
    if bias is not None:
        y = y + bias[:, None]
    return y, mean, rstd


def group_norm_running(x: Array, running_mean: Array, running_var: Array, momentum: float) -> tuple[Array, Array]:
    """Both moved by momentum towards the mean over the rows of each channel's mean and unbiased variance."""
    n, _, s = x.shape
    mean = total(x, 2) / s
    var = total((x - mean[..., None]) ** 2, 2) / (s - 1)
    moved = [r + momentum * (total(m, 0) / n - r) for r, m in ((running_mean, mean), (running_var, var))]
    return moved[0], moved[1]


def group_norm_backward(
    dy: Array, x: Array, groups: int, weight: Array | None, mean: Array, rstd: Array
) -> tuple[Array, Array, Array]:
    """dx, dweight, dbias. With xh = (x - mean) rstd and h = weight dy, averages over each group,

    dx = rstd (h - average(h) - xh average(h xh)).
    """
    n, c, s = x.shape
    shape = (n, groups, c // groups * s)
    xh = ((x.reshape(shape) - mean[..., None]) * rstd[..., None]).reshape(x.shape)
    dweight, dbias = total(dy * xh, (0, 2)), total(dy, (0, 2))
    h = (dy if weight is None else dy * weight[:, None]).reshape(shape)
    xh = xh.reshape(shape)
    averages = total(h, 2)[..., None] / shape[2], total(h * xh, 2)[..., None] / shape[2]
    dx = rstd[..., None] * (h - averages[0] - xh * averages[1])
    return dx.reshape(x.shape), dweight, dbias
