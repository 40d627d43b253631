"""Pointwise activations on the native kernel, and those that are made of them."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import backend
from ..autograd import Elementary, Function, Node
from ..backend import Array, seen
from ..tensor import Tensor, as_tensor, wrap
from .common import FLOAT32, axis_index, check_float, remembered, tensors
from .elementwise import Abs, Exp, Where, clamp, constant, where
from .reduce import floating
from .shape import chunk
from .softmax import softmax
from .windows import Sizes


class Activation(Function):
    """y = f(x), the f of the Function's name. Every gradient is a function of y, so y is all that is kept."""

    takes_integers: ClassVar[bool] = True  # as float32

    @staticmethod
    def forward(ctx: Node, x: Array) -> Array:
        if x.dtype is not FLOAT32:
            if ctx.fn.takes_integers and x.dtype.kind in "iub":
                x = x.astype(FLOAT32)
            check_float(ctx.fn.name, "x", x)
        y = backend.empty_like(x)
        backend.kernel(x, "activation_forward")(ctx.fn.name, backend.contiguous(x), y)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        dx = backend.empty_like(dy)
        backend.kernel(dy, "activation_backward")(ctx.fn.name, backend.contiguous(dy), ctx.saved[0], dx)
        return dx


class Relu(Activation):
    """y = max(x, 0), NaN stays NaN; dx = dy where y > 0"""

    takes_integers = False

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        return dy * (ctx.saved[0] > 0)


class Rectifier(NamedTuple):
    """ReLU and its kin as the end of another operation: slope y below 0, and at most `most`.

    slope: a number >= 0, so that y tells which side of 0 its input was on; where no gradients are recorded, an array
    [C] or [1].
    """

    slope: Any = 0.0
    most: float = math.inf

    def __call__(self, y: Tensor) -> Tensor:
        """In a call of its own."""
        if not isinstance(self.slope, float):
            return prelu(y, wrap(self.slope))
        function, numbers = self._function()
        return function.apply(y, **numbers)

    def arguments(self, like: Array, channels: int) -> tuple[Array | None, float]:
        """What native calls take: slope [channels] or None, and most."""
        if isinstance(self.slope, float) and self.slope == 0:
            return None, self.most
        slope = backend.empty_like(like, (channels,))
        slope[...] = self.slope
        return slope, self.most

    def gradient(self, dy: Array, y: Array) -> Array:
        """What passes of dy, from the result y."""
        function, numbers = self._function()
        return _slope(function, dy, y, *numbers.values())

    def derivative(self, y: Array) -> Array:
        """At each input, from the result y or the input itself."""
        passes = ((y > 0) & (y < self.most)).astype(y.dtype)
        return passes + y.dtype.type(self.slope) * (y <= 0) if self.slope else passes

    def _function(self) -> tuple[Any, dict[str, float]]:
        if self.slope:
            return LeakyRelu, {"a": self.slope}
        return (Hardtanh, {"a": 0.0, "b": self.most}) if self.most < math.inf else (Relu, {})


class Tanh(Activation):
    """dx = dy (1 - y^2)"""

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        y = ctx.saved[0]
        return dy * (1 - y * y)


class Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)); dx = dy y (1 - y)"""

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        y = ctx.saved[0]
        return dy * (y * (1 - y))


class FromInput(Function):
    """y = f(x; a, b), whose gradient needs x. A subclass names f and gives its second derivative, `curvature`."""

    @staticmethod
    def forward(ctx: Node, x: Array, *, a: float = 0.0, b: float = 0.0) -> Array:
        check_float(ctx.fn.name, "x", x)
        y = backend.empty_like(x)
        backend.kernel(x, "activation_forward")(ctx.fn.name, backend.contiguous(x), y, a, b)
        ctx.save(x)
        ctx.numbers = a, b
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> Array:
        return _slope(ctx.fn, dy, ctx.saved[0], *ctx.numbers)

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> Tensor:
        return dy * Slope.apply(ctx.saved[0], fn=cls, numbers=ctx.numbers)

    @staticmethod
    def curvature(x: Any, a: float, b: float) -> Any:
        """f''(x) for an array or a Tensor, None where it is 0 everywhere."""
        return None


class Slope(Elementary):
    """y = f'(x) of a FromInput"""

    @staticmethod
    def forward(ctx: Node, x: Array, *, fn: type[FromInput], numbers: tuple[float, float]) -> Array:
        ctx.save(x)
        ctx.of, ctx.numbers = fn, numbers
        return _slope(fn, np.ones_like(x), x, *numbers)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        second = ctx.of.curvature(ctx.saved[0], *ctx.numbers)
        return dy * 0 if second is None else dy * second


def _slope(fn: type[Function], dy: Array, x: Array, *numbers: float) -> Array:
    """dy f'(x) by the kernel."""
    dx = backend.empty_like(dy)
    backend.kernel(dy, "activation_backward")(fn.name, backend.contiguous(dy), backend.contiguous(x), dx, *numbers)
    return dx


class PRelu(Function):
    """x, of `shape` [N,C,S], w[C] -> y = x where x > 0, else w x; dw = sum of dy x where x <= 0. x comes as it is and
    is seen in that shape."""

    @staticmethod
    def forward(ctx: Node, x: Array, w: Array, *, shape: Sizes) -> Array:
        ctx.shape = shape
        ctx.save(x, w)
        y = backend.empty_like(x)
        backend.kernel(x, "prelu_forward")(seen(x, shape), seen(w, shape[1:2]), seen(y, shape))
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        (x, w), shape = ctx.saved, ctx.shape
        dx, dw = (backend.empty_like(p) if need else None for p, need in zip((x, w), ctx.needs, strict=True))
        backend.kernel(x, "prelu_backward")(
            seen(dy, shape), seen(x, shape), seen(w, shape[1:2]), seen(dx, shape), seen(dw, shape[1:2])
        )
        return dx, dw

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> tuple[Tensor, ...]:
        (x, w), shape = ctx.saved, ctx.shape
        rows, grads, above = x.reshape(shape), dy.reshape(shape), (x > 0).reshape(shape)
        dx = grads * where(above, 1.0, w.reshape(shape[1], 1))
        return dx.reshape(x.shape), (grads * where(above, 0.0, rows)).sum((0, 2)).reshape(w.shape)


def _sigmoid_of(x: Any) -> Any:
    return 1 / (1 + Exp.call(-x))


class LeakyRelu(FromInput):
    """y = x where x > 0, else a x"""

    name = "leaky_relu"


class Elu(FromInput):
    """y = x where x > 0, else a (exp(x) - 1)"""

    @staticmethod
    def curvature(x: Any, a: float, b: float) -> Any:
        zero = x.dtype.type(0)
        below = Where.call(constant(x > 0), zero, x)
        return Where.call(constant(x > 0), zero, Exp.call(below) * a)


class Gelu(FromInput):
    """y = x Phi(x); y' = Phi + x phi; y'' = (2 - x^2) phi"""

    @staticmethod
    def curvature(x: Any, a: float, b: float) -> Any:
        return (2 - x * x) * Exp.call(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))


class GeluTanh(FromInput):
    """y = x (1 + t) / 2, t = tanh(u), u = c (x + k x^3); y'' = (1 - t^2) (u' + x (u'' - 2 t u'^2) / 2)"""

    name = "gelu_tanh"

    @staticmethod
    def curvature(x: Any, a: float, b: float) -> Any:
        c, k = math.sqrt(2 / math.pi), 0.044715
        t = 2 * _sigmoid_of(2 * c * (x + k * (x * x * x))) - 1
        first, second = c + 3 * c * k * (x * x), 6 * c * k * x
        return (1 - t * t) * (first + 0.5 * x * (second - 2 * t * (first * first)))


class Silu(FromInput):
    """y = x s, s the sigmoid; y'' = s (1 - s) (2 + x (1 - 2 s))"""

    @staticmethod
    def curvature(x: Any, a: float, b: float) -> Any:
        s = _sigmoid_of(x)
        return s * (1 - s) * (2 + x * (1 - 2 * s))


class Hardtanh(FromInput):
    """y = x bounded to a .. b"""


class Softplus(FromInput):
    """y = log(1 + exp(a x)) / a, x itself where a x > b; y'' = a s (1 - s), s the sigmoid of a x"""

    @staticmethod
    def curvature(x: Any, a: float, b: float) -> Any:
        s = _sigmoid_of(x * a)
        return Where.call(constant(x * a > b), x.dtype.type(0), s * (1 - s) * a)


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


def relu(x: Any, inplace: bool = False) -> Tensor:
    """max(x, 0) elementwise; the gradient at 0 is 0. TypeError where x is not floating.

    `inplace`, here and below, is taken for PyTorch's sake: the result is a new tensor all the same.
    """
    return Relu.apply(as_tensor(x))


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent elementwise; integers and booleans are taken as float32."""
    return Tanh.apply(as_tensor(x))


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)) elementwise; integers and booleans are taken as float32."""
    return Sigmoid.apply(as_tensor(x))


def leaky_relu(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope x."""
    return LeakyRelu.apply(as_tensor(x), a=float(negative_slope))


@remembered
def _channels(x: Sizes, weight: Sizes) -> Sizes:
    """x as [N, C, S], C the number of slopes."""
    channels = x[1] if len(x) > 1 else 1
    if weight not in ((), (1,), (channels,)):
        raise ValueError(f"prelu: weight has shape {weight}, expected (1,) or ({channels},)")
    if weight == (channels,) and len(x) > 1:
        return x[0], channels, math.prod(x[2:])
    return 1, 1, math.prod(x)


def prelu(x: Any, weight: Any) -> Tensor:
    """x where x > 0, else weight x (He et al. 2015); weight [1], or [C] for the channels of x [N, C, ...].

    ValueError for a weight of another shape, TypeError for dtypes.
    """
    x, weight = tensors("prelu", "x weight", 2, x, weight)
    shape = _channels(x.data.shape, weight.data.shape)
    if isinstance(x.data, np.ndarray):
        return PRelu.apply(x, weight, shape=shape)
    rows = x.reshape(shape)  # CUDA has no kernel of it
    return where(rows > 0, rows, rows * weight.reshape(shape[1], 1)).reshape(x.shape)


def elu(x: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1) (Clevert et al. 2015)."""
    return Elu.apply(as_tensor(x), a=float(alpha))


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016).

    approximate: "none", or "tanh" for 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}, expected 'none' or 'tanh'")
    return (Gelu if approximate == "none" else GeluTanh).apply(as_tensor(x))


def silu(x: Any, inplace: bool = False) -> Tensor:
    """x sigmoid(x)."""
    return Silu.apply(as_tensor(x))


def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x bounded to min_val..max_val; the gradient is 0 at the bounds."""
    if not min_val <= max_val:
        raise ValueError(f"hardtanh: min_val is {min_val} and max_val is {max_val}, expected min_val <= max_val")
    return Hardtanh.apply(as_tensor(x), a=float(min_val), b=float(max_val))


def relu6(x: Any, inplace: bool = False) -> Tensor:
    """x bounded to 0..6."""
    return hardtanh(x, 0.0, 6.0)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold."""
    return Softplus.apply(as_tensor(x), a=float(beta), b=float(threshold))


def _floats(call: str, x: Any) -> Tensor:
    return tensors(call, "x", 1, x)[0]


def softsign(x: Any) -> Tensor:
    """x / (1 + |x|)."""
    return Softsign.apply(_floats("softsign", x))


def hardsigmoid(x: Any, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2 bounded to 0..1."""
    return relu6(_floats("hardsigmoid", x) + 3.0) / 6.0


def hardswish(x: Any, inplace: bool = False) -> Tensor:
    """x hardsigmoid(x) (Howard et al. 2019)."""
    x = _floats("hardswish", x)
    return x * hardsigmoid(x)


def mish(x: Any, inplace: bool = False) -> Tensor:
    """x tanh(log(1 + exp(x))) (Misra 2019)."""
    x = _floats("mish", x)
    return x * tanh(softplus(x, threshold=math.inf))


def selu(x: Any, inplace: bool = False) -> Tensor:
    """s x where x > 0, else s a (exp(x) - 1), with s = 1.0507.. and a = 1.6732.. of Klambauer et al. 2017."""
    return elu(_floats("selu", x), 1.6732632423543772) * 1.0507009873554805


def celu(x: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x / alpha) - 1) (Barron 2017). ValueError unless alpha > 0."""
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
    """x where x > threshold, else value."""
    x = _floats("threshold", x)
    return where(x <= threshold, value, x)


def softmin(x: Any, dim: int = -1, dtype: Any = None) -> Tensor:
    """softmax(-x); x is taken in `dtype` where one is given."""
    return softmax(-(_floats("softmin", x) if dtype is None else floating(x, dtype)), dim)


def glu(x: Any, dim: int = -1) -> Tensor:
    """a sigmoid(b), a and b the halves of x along `dim` (Dauphin et al. 2017). ValueError for an odd size."""
    x = _floats("glu", x)
    size = x.shape[axis_index("glu", dim, x.ndim)]
    if size % 2:
        raise ValueError(f"glu: x has size {size} along dim {dim}, expected an even one")
    a, b = chunk(x, 2, dim) if size else (x, x)
    return a * sigmoid(b)
