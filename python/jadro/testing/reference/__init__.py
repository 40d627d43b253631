"""Plain NumPy forward and backward of every native kernel: the equations, written to be read and believed.

One file a stem, the names of `jadro._core`, results returned instead of written. Every function computes in the
precision of its arguments, and every sum runs term by term. In a wider type than the kernel's it is therefore the
truth to compare with, and in the kernel's own type the naive implementation whose error sets the tolerance
(`jadro.testing.cases`).
"""

from jadro.testing.reference.activation import (
    activation_backward,
    activation_forward,
    prelu_backward,
    prelu_forward,
    rectified,
    rectified_slope,
)
from jadro.testing.reference.avg_pool import avg_pool_backward, avg_pool_forward
from jadro.testing.reference.batch_norm import batch_norm_backward, batch_norm_forward
from jadro.testing.reference.conv2d import conv2d_backward_data, conv2d_backward_weight, conv2d_forward
from jadro.testing.reference.cross_entropy import cross_entropy_backward, cross_entropy_forward
from jadro.testing.reference.dropout import dropout, philox4x32, random_uniform
from jadro.testing.reference.embedding import embedding_backward, embedding_forward
from jadro.testing.reference.gemm import gemm
from jadro.testing.reference.group_norm import group_norm_backward, group_norm_forward, group_norm_running
from jadro.testing.reference.optim import adagrad_step, adam_step, rmsprop_step, sgd_step
from jadro.testing.reference.pool2d import (
    adaptive_max_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
    max_unpool2d_backward,
    max_unpool2d_forward,
)
from jadro.testing.reference.rnn import backward as rnn_backward
from jadro.testing.reference.rnn import forward as rnn_forward
from jadro.testing.reference.rnn_cells import Masks as RnnMasks
from jadro.testing.reference.rnn_cells import Options as RnnOptions
from jadro.testing.reference.rnn_masks import masks as rnn_masks
from jadro.testing.reference.softmax import softmax_backward, softmax_forward

__all__ = [
    "RnnMasks",
    "RnnOptions",
    "activation_backward",
    "activation_forward",
    "adagrad_step",
    "adam_step",
    "adaptive_max_pool2d_forward",
    "avg_pool_backward",
    "avg_pool_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "conv2d_backward_data",
    "conv2d_backward_weight",
    "conv2d_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dropout",
    "embedding_backward",
    "embedding_forward",
    "gemm",
    "group_norm_backward",
    "group_norm_forward",
    "group_norm_running",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "max_unpool2d_backward",
    "max_unpool2d_forward",
    "philox4x32",
    "prelu_backward",
    "prelu_forward",
    "random_uniform",
    "rectified",
    "rectified_slope",
    "rmsprop_step",
    "rnn_backward",
    "rnn_forward",
    "rnn_masks",
    "sgd_step",
    "softmax_backward",
    "softmax_forward",
]
