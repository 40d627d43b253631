"""The problems on which every kernel is tested, one file a stem; `ALL` is all of
them, and `LARGE` has a few more that need several threads.

A case makes its inputs, runs them through a module of kernels and through the reference, and knows its arithmetic and
bytes. `assert_close_to_reference` is the rule that results are held to.
"""

from jadro.testing.cases import (
    activation,
    avg_pool,
    batch_norm,
    conv2d,
    cross_entropy,
    dropout,
    embedding,
    gemm,
    group_norm,
    optim,
    pool2d,
    rnn,
    softmax,
)
from jadro.testing.cases.base import Case, assert_close, assert_close_to_reference, expected
from jadro.testing.cases.large import LARGE

STEMS = (
    gemm,
    conv2d,
    pool2d,
    avg_pool,
    rnn,
    batch_norm,
    group_norm,
    activation,
    softmax,
    cross_entropy,
    embedding,
    dropout,
    optim,
)
ALL: list[Case] = [case for stem in STEMS for case in stem.CASES]

__all__ = ["ALL", "LARGE", "Case", "assert_close", "assert_close_to_reference", "expected"]
