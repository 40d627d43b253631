"""Convolutional and recurrent networks on plain NumPy and CuPy arrays, with native kernels."""

from __future__ import annotations

from typing import Any

import numpy as _np

from . import nn, ops, random
from ._version import __version__
from .autograd import Function, enable_grad, grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .config import (
    get_float32_matmul_precision,
    get_num_threads,
    set_float32_matmul_precision,
    set_num_threads,
    show_config,
    verbose,
)
from .ops.activation import relu, sigmoid, tanh
from .ops.compare import isfinite, isinf, isnan
from .ops.creation import (
    arange,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    randperm,
    zeros,
    zeros_like,
)
from .ops.einsum import einsum
from .ops.elementwise import (
    abs,
    clamp,
    cos,
    exp,
    log,
    log1p,
    maximum,
    minimum,
    pow,
    sin,
    sqrt,
    square,
    where,
)
from .ops.index import gather
from .ops.matmul import matmul
from .ops.methods import clone, functions
from .ops.reduce import (
    all,
    any,
    argmax,
    argmin,
    cumsum,
    logsumexp,
    max,
    mean,
    min,
    std,
    sum,
    var,
)
from .ops.shape import cat, flatten, flip, permute, reshape, split, squeeze, stack, transpose, unsqueeze
from .ops.softmax import log_softmax, softmax
from .random import manual_seed
from .tensor import Tensor, as_tensor, from_dlpack, tensor

__all__ = [
    "Function", "Tensor", "__version__", "abs", "all", "any", "arange", "argmax", "argmin", "as_tensor", "bool",
    "cat", "clamp", "clone", "cos", "cumsum", "einsum", "empty", "empty_like", "enable_grad", "exp", "eye",
    "flatten", "flip", "float16", "float32", "float64", "from_dlpack", "full", "full_like", "gather",
    "get_float32_matmul_precision", "get_num_threads", "grad", "inference_mode", "int32", "int64",
    "is_grad_enabled", "isfinite", "isinf", "isnan", "linspace", "log", "log1p", "log_softmax", "logsumexp",
    "manual_seed", "matmul", "max", "maximum", "mean", "min", "minimum", "nn", "no_grad", "ones", "ones_like",
    "ops", "permute", "pow", "rand", "randint", "randn", "random", "randperm", "relu", "reshape",
    "set_float32_matmul_precision", "set_grad_enabled", "set_num_threads", "show_config", "sigmoid", "sin",
    "softmax", "split", "sqrt", "square", "squeeze", "stack", "std", "sum", "tanh", "tensor", "transpose", "uint8",
    "unsqueeze", "var", "verbose", "where", "zeros", "zeros_like",
]  # fmt: skip

globals().update((_name, _run) for _name, _run in functions().items() if _name not in __all__)
__all__ = sorted({*__all__, *functions()})

float16, float32, float64 = _np.dtype("float16"), _np.dtype("float32"), _np.dtype("float64")
int32, int64, uint8, bool = _np.dtype("int32"), _np.dtype("int64"), _np.dtype("uint8"), _np.dtype("bool")

_LAZY = ("data", "onnx", "optim", "serialization", "testing", "text", "train")  # imported when they are first used


def __getattr__(name: str) -> Any:
    import importlib

    if name in ("save", "load"):
        return getattr(importlib.import_module("jadro.serialization"), name)
    if name in _LAZY:
        return importlib.import_module(f"jadro.{name}")
    raise AttributeError(f"module 'jadro' has no attribute {name!r}")
