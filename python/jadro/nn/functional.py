"""The functions of the layers, under PyTorch's names. Inputs are Tensors or anything `jadro.as_tensor` takes.

Shapes are batch N, channels C, then space; any strides are accepted. Every function raises ValueError for shapes and
values that do not fit and TypeError for dtypes, before any work.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend
from ..ops import avg_pool as _avg_pool
from ..ops import conv2d as _conv2d
from ..ops import pool2d as _pool2d
from ..ops.activation import (
    celu,
    elu,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from ..ops.batch_norm import batch_norm
from ..ops.cross_entropy import cross_entropy, nll_loss
from ..ops.dropout import alpha_dropout, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout
from ..ops.embedding import embedding
from ..ops.grid_sample import affine_grid, grid_sample
from ..ops.group_norm import group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from ..ops.interpolate import interpolate
from ..ops.linear import bilinear, linear
from ..ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    cosine_similarity,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    multi_margin_loss,
    multilabel_soft_margin_loss,
    normalize,
    pairwise_distance,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
    triplet_margin_loss,
)
from ..ops.pad import pad
from ..ops.rearrange import channel_shuffle, fold, pixel_shuffle, pixel_unshuffle, unfold
from ..ops.softmax import log_softmax, softmax
from ..tensor import Tensor, as_tensor, wrap

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "affine_grid", "alpha_dropout", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "batch_norm", "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu",
    "channel_shuffle", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "cosine_embedding_loss", "cosine_similarity", "cross_entropy", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "elu", "embedding", "feature_alpha_dropout", "fold", "gaussian_nll_loss", "gelu", "glu", "grid_sample",
    "group_norm", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hinge_embedding_loss", "huber_loss",
    "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "linear",
    "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d", "margin_ranking_loss",
    "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "mish", "mse_loss",
    "multi_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "normalize", "one_hot", "pad",
    "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu", "relu", "relu6",
    "rms_norm", "selu", "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "triplet_margin_loss", "unfold",
]  # fmt: skip


def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, *,
    padding_mode: str = "zeros", algorithm: str = "auto",
) -> Tensor:  # fmt: skip
    """Convolution of sequences: x [N, C, L] or [C, L], weight [F, C / groups, K], bias [F] -> [N, F, L']; see
    conv2d."""
    return _conv2d.conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups, padding_mode, algorithm)


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, *,
    padding_mode: str = "zeros", algorithm: str = "auto",
) -> Tensor:  # fmt: skip
    """Convolution (cross-correlation, as in PyTorch) of images.

    y[n, f, i, j] = bias[f] + sum over c, k, l of weight[f, c, k, l] x[n, c, i S - P + k D, j S - P + l D]

    x: [N, C, H, W] or [C, H, W]. weight: [F, C / groups, K, K']. bias: [F] or None. stride, dilation: an int or one an
    axis. padding: an int; one an axis; a (before, after) pair an axis; "valid"; "same" (output ceil(M / S), the odd
    cell at the end); "same_lower". Otherwise the output size is floor((M + 2P - D(K-1) - 1) / S) + 1. padding_mode:
    "zeros", "reflect" (without the edge cell), "replicate" or "circular", all without a padded copy of x. algorithm:
    "auto", "direct", "im2col" or "winograd"; ValueError where one cannot serve the shape.
    """
    return _conv2d.conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups, padding_mode, algorithm)


def conv3d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, *,
    padding_mode: str = "zeros", algorithm: str = "auto",
) -> Tensor:  # fmt: skip
    """Convolution of volumes: x [N, C, D, H, W] or [C, D, H, W], weight [F, C / groups, K, K', K''], bias [F] ->
    [N, F, D', H', W']; see conv2d."""
    return _conv2d.conv("conv3d", 3, x, weight, bias, stride, padding, dilation, groups, padding_mode, algorithm)


def conv_transpose1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of sequences: x [N, C, L] or [C, L], weight [C, F / groups, K], bias [F] -> [N, F, L'];
    see conv_transpose2d."""
    options = (stride, padding, output_padding, groups, dilation)
    return _conv2d.conv_transpose("conv_transpose1d", 1, x, weight, bias, *options)


def conv_transpose2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of images: the gradient of conv2d with respect to its x, with this x as that of y.

    y[n, f, i S - P + k D, j S - P + l D] = bias[f] + the sum of all weight[c, f, k, l] x[n, c, i, j] that meet there

    x: [N, C, H, W] or [C, H, W]. weight: [C, F / groups, K, K']. bias: [F] or None. stride, dilation: an int or one an
    axis. padding, what is cut off the output: an int; one an axis; a (before, after) pair an axis; "valid"; "same" and
    "same_lower" (output S M). Otherwise the output size is (M - 1) S - 2P + D(K-1) + output_padding + 1.
    output_padding: cells more at the end, an int or one an axis, less than the stride or the dilation. Raises
    ValueError for an output of no cells.
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _conv2d.conv_transpose("conv_transpose2d", 2, x, weight, bias, *options)


def conv_transpose3d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Transposed convolution of volumes: x [N, C, D, H, W] or [C, D, H, W], weight [C, F / groups, K, K', K''], bias
    [F] -> [N, F, D', H', W']; see conv_transpose2d."""
    options = (stride, padding, output_padding, groups, dilation)
    return _conv2d.conv_transpose("conv_transpose3d", 3, x, weight, bias, *options)


def max_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maxima of windows of sequences [N, C, L] or [C, L]; see max_pool2d."""
    return _pool2d.max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maxima of windows of images [N, C, H, W] or [C, H, W]; NaN wins, the first of equal cells gets the gradient.

    stride: default kernel_size. padding: the forms of conv2d, less than the window; padded cells never win. ceil_mode:
    round the output size up, as long as the last window starts inside. return_indices: also the int64 offsets of the
    maxima in their plane (for volumes d H W + h W + w).
    """
    return _pool2d.max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:  # fmt: skip
    """The maxima of windows of volumes [N, C, D, H, W] or [C, D, H, W]; see max_pool2d."""
    return _pool2d.max_pool("max_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_unpool1d(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """The inverse of max_pool1d; see max_unpool2d."""
    return _pool2d.max_unpool("max_unpool1d", 1, x, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """The inverse of max_pool2d: zeros, and x at the indices that the pooling returned.

    x, indices: [N, C, H, W] or [C, H, W]. kernel_size, stride, padding: those of the pooling, an int or one an axis.
    output_size: the size of what was pooled, also as its whole shape; by default the smallest, (M - 1) S - 2P + K.
    Where indices occur twice the last one counts. ValueError for indices outside, and for an output_size that does not
    fit.
    """
    return _pool2d.max_unpool("max_unpool2d", 2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """The inverse of max_pool3d; see max_unpool2d."""
    return _pool2d.max_unpool("max_unpool3d", 3, x, indices, kernel_size, stride, padding, output_size)


def avg_pool1d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The means of windows of sequences [N, C, L] or [C, L]; see avg_pool2d."""
    return _avg_pool.avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The means of windows of images [N, C, H, W] or [C, H, W]; stride, padding and ceil_mode as in max_pool2d.

    count_include_pad: padded cells count, as zeros; cells that only ceil_mode adds never do. divisor_override: divide
    every sum by this integer instead.
    """
    options = stride, padding, ceil_mode, count_include_pad, divisor_override
    return _avg_pool.avg_pool("avg_pool2d", 2, x, kernel_size, *options)


def avg_pool3d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """The means of windows of volumes [N, C, D, H, W] or [C, D, H, W]; see avg_pool2d."""
    options = stride, padding, ceil_mode, count_include_pad, divisor_override
    return _avg_pool.avg_pool("avg_pool3d", 3, x, kernel_size, *options)


def lp_pool1d(x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The norms of windows of sequences [N, C, L] or [C, L]; see lp_pool2d."""
    return _avg_pool.lp_pool("lp_pool1d", 1, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p over a window)^(1/p), p = norm_type, of images [N, C, H, W] or [C, H, W]; the gradient is 0 where
    the sum is. Windows that ceil_mode lets reach over the edge count as full ones of the same mean."""
    return _avg_pool.lp_pool("lp_pool2d", 2, x, norm_type, kernel_size, stride, ceil_mode)


def adaptive_avg_pool1d(x: Any, output_size: Any) -> Tensor:
    """The means of `output_size` bins of sequences [N, C, L] or [C, L]; bin j covers floor(j L / O) .. ceil((j + 1) L /
    O)."""
    return _avg_pool.adaptive_avg_pool("adaptive_avg_pool1d", 1, x, output_size)


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Tensor:
    """The means of output_size (an int, or two; None keeps the size) bins of images [N, C, H, W] or [C, H, W]."""
    return _avg_pool.adaptive_avg_pool("adaptive_avg_pool2d", 2, x, output_size)


def adaptive_avg_pool3d(x: Any, output_size: Any) -> Tensor:
    """The means of output_size (an int, or three; None keeps the size) bins of volumes [N, C, D, H, W] or [C, D, H,
    W]."""
    return _avg_pool.adaptive_avg_pool("adaptive_avg_pool3d", 3, x, output_size)


def adaptive_max_pool1d(x: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of the bins of adaptive_avg_pool1d; return_indices as in max_pool2d."""
    return _pool2d.adaptive_max_pool("adaptive_max_pool1d", 1, x, output_size, return_indices)


def adaptive_max_pool2d(x: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of the bins of adaptive_avg_pool2d; return_indices as in max_pool2d."""
    return _pool2d.adaptive_max_pool("adaptive_max_pool2d", 2, x, output_size, return_indices)


def adaptive_max_pool3d(x: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The maxima of the bins of adaptive_avg_pool3d; return_indices as in max_pool2d."""
    return _pool2d.adaptive_max_pool("adaptive_max_pool3d", 3, x, output_size, return_indices)


def one_hot(x: Any, num_classes: int = -1) -> Tensor:
    """int64 [*x.shape, num_classes]: 1 at the class, else 0. num_classes -1: one more than the largest class in x."""
    ids = as_tensor(x).data
    if ids.dtype.kind not in "iu":
        raise TypeError(f"one_hot: x has dtype {ids.dtype}, expected integers")
    if num_classes == -1 and ids.size == 0:
        raise ValueError("one_hot: x is empty, expected num_classes")
    classes = int(ids.max()) + 1 if num_classes == -1 else num_classes
    if classes < 1 or (ids.size and (ids.min() < 0 or ids.max() >= classes)):
        came = f"{ids.min()}..{ids.max()}" if ids.size else "nothing"
        raise ValueError(f"one_hot: x has {came}, expected 0..{classes - 1}: num_classes is {num_classes}")
    numbers = backend.to_device(np.arange(classes), backend.device_of(ids))
    return wrap((ids[..., None] == numbers).astype(np.int64))
