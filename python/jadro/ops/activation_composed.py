"""Activations made of other operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import backend, random
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, wrap
from .activation import elu, leaky_relu, relu6, sigmoid, softplus, tanh
from .common import axis_index, tensors
from .elementwise import Abs, clamp, where
from .shape import chunk
from .softmax import softmax


def _floats(call: str, x: Any) -> Tensor:
    return tensors(call, "x", 1, x)[0]


class Softsign(Elementary):
    """y = x / (1 + |x|); dx = dy / (1 + |x|)^2"""

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        ctx.save(x)
        return x / (1 + np.abs(x))

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        slope = 1 / (1 + Abs.call(ctx.saved[0]))
        return dy * (slope * slope)


def softsign(x: Any) -> Tensor:
    """x / (1 + |x|)."""
    return Softsign.apply(_floats("softsign", x))


def hardsigmoid(x: Any, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2 bounded to 0..1. `inplace` is taken for PyTorch's sake: the result is a new tensor all the same."""
    return relu6(_floats("hardsigmoid", x) + 3.0) / 6.0


def hardswish(x: Any, inplace: bool = False) -> Tensor:
    """x hardsigmoid(x) (Howard et al. 2019); inplace as in hardsigmoid."""
    x = _floats("hardswish", x)
    return x * hardsigmoid(x)


def mish(x: Any, inplace: bool = False) -> Tensor:
    """x tanh(log(1 + exp(x))) (Misra 2019); inplace as in hardsigmoid."""
    x = _floats("mish", x)
    return x * tanh(softplus(x, threshold=math.inf))


def selu(x: Any, inplace: bool = False) -> Tensor:
    """s x where x > 0, else s a (exp(x) - 1), with s = 1.0507.. and a = 1.6732.. of Klambauer et al. 2017; inplace as
    in hardsigmoid."""
    return elu(_floats("selu", x), 1.6732632423543772) * 1.0507009873554805


def celu(x: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x / alpha) - 1) (Barron 2017); inplace as in hardsigmoid. ValueError unless alpha
    > 0."""
    if not alpha > 0:
        raise ValueError(f"celu: alpha is {alpha}, expected more than 0")
    x = _floats("celu", x)
    return elu(x) if alpha == 1 else elu(x / alpha) * alpha


def logsigmoid(x: Any) -> Tensor:
    """log(1 / (1 + exp(-x))), without overflow."""
    return -softplus(-_floats("logsigmoid", x), threshold=math.inf)


def hardshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """0 where -lambd <= x <= lambd, else x."""
    x = _floats("hardshrink", x)
    return where((x >= -lambd) & (x <= lambd), 0.0, x)


def softshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 where -lambd <= x <= lambd. ValueError for a negative lambd."""
    if not lambd >= 0:
        raise ValueError(f"softshrink: lambd is {lambd}, expected at least 0")
    x = _floats("softshrink", x)
    return x - clamp(x, -lambd, lambd)


def tanhshrink(x: Any) -> Tensor:
    """x - tanh(x)."""
    x = _floats("tanhshrink", x)
    return x - tanh(x)


def threshold(x: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value; inplace as in hardsigmoid."""
    x = _floats("threshold", x)
    return where(x <= threshold, value, x)


def softmin(x: Any, dim: int = -1, dtype: Any = None) -> Tensor:
    """softmax(-x); x is taken in `dtype` where one is given."""
    return softmax(-_floats("softmin", x), dim, dtype)


def glu(x: Any, dim: int = -1) -> Tensor:
    """a sigmoid(b), a and b the halves of x along `dim` (Dauphin et al. 2017). ValueError for an odd size."""
    x = _floats("glu", x)
    size = x.shape[axis_index("glu", dim, x.ndim)]
    if size % 2:
        raise ValueError(f"glu: x has size {size} along dim {dim}, expected an even one")
    a, b = chunk(x, 2, dim) if size else (x, x)
    return a * sigmoid(b)


def rrelu(x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False) -> Tensor:
    """x where x > 0, else a x (Xu et al. 2015): a uniform in lower..upper for each element in training, else their
    mean; inplace as in hardsigmoid. ValueError unless lower <= upper."""
    if not lower <= upper:
        raise ValueError(f"rrelu: lower is {lower} and upper is {upper}, expected lower <= upper")
    x = _floats("rrelu", x)
    if not training:
        return leaky_relu(x, (lower + upper) / 2)
    drawn = random.uniform(x.shape, np.float64 if x.dtype == np.float64 else np.float32)
    slopes = backend.to_device((lower + (upper - lower) * drawn).astype(drawn.dtype), x.device).astype(x.dtype)
    return x * where(x > 0, 1.0, wrap(slopes))
