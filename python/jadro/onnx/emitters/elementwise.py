"""Arithmetic, activations, reductions, products of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ops import activation as a
from ...ops import analytic, linear, matmul, reduce, softmax
from ...ops import elementwise as e
from ...ops.common import Cast, Move
from ..package import package
from .registry import EMITTERS, Builder, emits


def _plain(op: str, **attributes: Any) -> Any:
    """A node of the same operands."""
    return lambda g, *args, **options: g.node(op, *map(g.name, args), **attributes)


EMITTERS.update(
    {
        e.Add: _plain("Add"), e.Sub: _plain("Sub"), e.Mul: _plain("Mul"), e.Div: _plain("Div"), e.Pow: _plain("Pow"),
        e.Maximum: _plain("Max"), e.Minimum: _plain("Min"), e.Copy: _plain("Identity"), Move: _plain("Identity"),
        e.Neg: _plain("Neg"), e.Exp: _plain("Exp"), e.Sqrt: _plain("Sqrt"), e.Log: _plain("Log"), e.Sin: _plain("Sin"),
        e.Cos: _plain("Cos"), e.Abs: _plain("Abs"), e.Where: _plain("Where"), a.Relu: _plain("Relu"),
        a.Tanh: _plain("Tanh"), a.Sigmoid: _plain("Sigmoid"), a.Gelu: _plain("Gelu"),
        a.GeluTanh: _plain("Gelu", approximate="tanh"), matmul.MatMul: _plain("MatMul"),
        a.Softsign: _plain("Softsign"), analytic.Erf: _plain("Erf"), analytic.Fmod: _plain("Mod", fmod=1),
    }
)  # fmt: skip

_LOGARITHMS = {"log2": math.log(2), "log10": math.log(10)}


def _one(g: Builder, x: Any, value: float = 1.0) -> str:
    return g.constant(value, x.dtype)


@emits(e.Remainder)
def remainder(g: Builder, x: Any, y: Any) -> str:
    """x - y floor(x / y) of floats, of which Mod takes the sign of x."""
    if x.dtype.kind in "iu":
        return g.node("Mod", g.name(x), g.name(y))
    quotient = g.node("Floor", g.node("Div", g.name(x), g.name(y)))
    return g.node("Sub", g.name(x), g.node("Mul", g.name(y), quotient))


@emits(e.Expm1)
def expm1(g: Builder, x: Any) -> str:
    return g.node("Sub", g.node("Exp", g.name(x)), _one(g, x))


@emits(e.Log1p)
def log1p(g: Builder, x: Any) -> str:
    return g.node("Log", g.node("Add", g.name(x), _one(g, x)))


@emits(analytic.Analytic)
def analytic_(g: Builder, x: Any, *, name: str) -> str:
    if name in _LOGARITHMS:
        return g.node("Div", g.node("Log", g.name(x)), _one(g, x, _LOGARITHMS[name]))
    if name == "exp2":
        return g.node("Pow", _one(g, x, 2.0), g.name(x))
    return g.node(name.capitalize(), g.name(x))


@emits(e.Clamp)
def clamp(g: Builder, x: Any, *, low: Any, high: Any) -> str:
    bounds = ["" if bound is None else _one(g, x, bound) for bound in (low, high)]
    return g.node("Clip", g.name(x), *bounds)


@emits(a.Hardtanh)
def hardtanh(g: Builder, x: Any, *, a: float, b: float) -> str:
    return clamp(g, x, low=a, high=b)


@emits(a.LeakyRelu)
def leaky_relu(g: Builder, x: Any, *, a: float) -> str:
    return g.node("LeakyRelu", g.name(x), alpha=a)


@emits(a.Elu)
def elu(g: Builder, x: Any, *, a: float) -> str:
    return g.node("Elu", g.name(x), alpha=a)


@emits(a.Silu)
def silu(g: Builder, x: Any) -> str:
    return g.node("Mul", g.name(x), g.node("Sigmoid", g.name(x)))


@emits(a.Softplus)
def softplus(g: Builder, x: Any, *, a: float, b: float) -> str:
    """a is beta; what is above a threshold b of 15 or more differs from x by less than a rounding."""
    if b < 15:
        raise ValueError(f"onnx.export: softplus with threshold {b}, expected at least 15: ONNX's has none")
    if a == 1:
        return g.node("Softplus", g.name(x))
    beta = _one(g, x, a)
    return g.node("Div", g.node("Softplus", g.node("Mul", g.name(x), beta)), beta)


@emits(a.PRelu)
def prelu(g: Builder, x: Any, w: Any, *, shape: Any) -> str:
    slopes = (w.data.size, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (1,)
    return g.node("PRelu", g.name(x), g.reshaped(g.name(w), w.shape, slopes))


@emits(Cast)
def cast(g: Builder, x: Any, *, dtype: Any) -> str:
    return g.node("Cast", g.name(x), to=package().helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@emits(linear.Linear)
def linear_(g: Builder, x: Any, w: Any, b: Any) -> str:
    """Gemm of a matrix; of more axes a product and a sum."""
    if x.ndim == 2:
        return g.node("Gemm", g.name(x), g.name(w), g.name(b), transB=1)
    y = g.node("MatMul", g.name(x), g.node("Transpose", g.name(w), perm=[1, 0]))
    return y if b is None else g.node("Add", y, g.name(b))


def _reduced(g: Builder, op: str, name: str, axes: Any, keepdim: bool) -> str:
    return g.node(op, name, "" if axes is None else g.ints(*axes), keepdims=int(keepdim))


@emits(reduce.Sum)
def sum(g: Builder, x: Any, *, axes: Any, keepdim: bool) -> str:
    name = g.name(x)
    if x.dtype.kind != "f":  # integers are summed as int64
        name = g.node("Cast", name, to=package().TensorProto.INT64)
    return _reduced(g, "ReduceSum", name, axes, keepdim)


@emits(reduce.Mean)
def mean(g: Builder, x: Any, *, axes: Any, keepdim: bool) -> str:
    return _reduced(g, "ReduceMean", g.name(x), axes, keepdim)


@emits(reduce.Var)
def var(g: Builder, x: Any, *, axes: Any, keepdim: bool, correction: int) -> str:
    centred = g.node("Sub", g.name(x), _reduced(g, "ReduceMean", g.name(x), axes, True))
    squares = _reduced(g, "ReduceSumSquare", centred, axes, keepdim)
    count = math.prod(n for i, n in enumerate(x.shape) if axes is None or i in axes)
    return g.node("Div", squares, _one(g, x, max(count - correction, 0)))


@emits(reduce.Peak)
def peak(g: Builder, x: Any, *, axis: int, keepdim: bool, largest: bool) -> tuple[str, str]:
    places = g.node("ArgMax" if largest else "ArgMin", g.name(x), axis=axis, keepdims=1)
    found = g.node("GatherElements", g.name(x), places, axis=axis), places
    return found if keepdim else tuple(g.node("Squeeze", y, g.ints(axis)) for y in found)


@emits(reduce.Extreme)
def extreme(g: Builder, x: Any, *, axes: Any, keepdim: bool, largest: bool) -> str:
    return _reduced(g, "ReduceMax" if largest else "ReduceMin", g.name(x), axes, keepdim)


@emits(reduce.Norm)
def norm(g: Builder, x: Any, *, axes: Any, keepdim: bool) -> str:
    return _reduced(g, "ReduceL2", g.name(x), axes, keepdim)


@emits(reduce.Prod)
def prod(g: Builder, x: Any, *, axis: int) -> str:
    return _reduced(g, "ReduceProd", g.name(x), (axis,), True)


@emits(reduce.Cumsum)
def cumsum(g: Builder, x: Any, *, axis: int) -> str:
    return g.node("CumSum", g.name(x), g.constant(axis, np.int64))


@emits(softmax.Softmax)
def softmax_(g: Builder, x: Any, *, axis: int, shape: Any) -> str:
    return g.node("Softmax", g.name(x), axis=axis)


@emits(softmax.LogSoftmax)
def log_softmax(g: Builder, x: Any, *, axis: int, shape: Any) -> str:
    return g.node("LogSoftmax", g.name(x), axis=axis)
