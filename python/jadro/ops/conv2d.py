"""Convolution of images and, through an axis of size 1, of sequences.

Forward and the two gradients are one family: each one's gradients are calls of the others, so they differentiate to any
order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import backend
from ..autograd import Elementary, Function, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import check_float, check_residual
from .pad import pad
from .windows import Sides, Sizes, output_sizes, per_axis, sides

ALGORITHMS = ("auto", "direct", "im2col", "winograd")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Options(NamedTuple):
    """The tail of every native call."""

    stride: Sizes
    padding: Sizes  # top, bottom, left, right
    dilation: Sizes
    groups: int
    algorithm: str


class Then(NamedTuple):
    """What a convolution does to its result before it is stored: scale y + add, with relu max(., 0); scale [OC], add
    shaped as y. Gradients pass through relu alone."""

    relu: bool = False
    scale: Tensor | None = None
    add: Tensor | None = None


NOTHING = Then()


class Conv2d(Function):
    """x[N,IC,IH,IW], w[OC,IC/groups,KH,KW], b[OC] -> y[N,OC,OH,OW] (cross-correlation, as in PyTorch), and with relu
    max(y, 0)"""

    @staticmethod
    def forward(
        ctx: Node, x: Array, w: Array, b: Array | None, *, sizes: Sizes, options: Options, relu: bool = False
    ) -> Array:
        y = convolve(x, w, b, sizes, options, relu)
        ctx.options = options
        ctx.save(x, w, y if relu else None)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array) -> tuple[Array | None, ...]:
        x, w, y = ctx.saved
        dy = backend.contiguous(dy)
        if y is not None:
            passed = backend.empty_like(dy)
            backend.kernel(dy, "activation_backward")("relu", dy, y, passed)
            dy = passed
        dx = data_gradient(dy, w, x.shape, ctx.options) if ctx.needs[0] else None
        if not ctx.needs[1] and not ctx.needs[2]:
            return dx, None, None
        db = backend.empty_like(w, w.shape[:1]) if ctx.needs[2] else None
        return dx, weight_gradient(dy, x, w.shape, db, ctx.options), db

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w, y = ctx.saved
        if y is not None:
            dy = dy * (y > 0)
        dx = Conv2dData.apply(dy, w, shape=x.shape, options=ctx.options) if ctx.needs[0] else None
        dw = Conv2dWeight.apply(dy, x, shape=w.shape, options=ctx.options) if ctx.needs[1] else None
        return dx, dw, dy.sum((0, 2, 3)) if ctx.needs[2] else None


def convolve(
    x: Array, w: Array, b: Array | None, sizes: Sizes, options: Options, relu: bool = False, scale: Array | None = None,
    add: Array | None = None,
) -> Array:  # fmt: skip
    """scale conv(x, w) + b + add, with relu max(., 0): [N, OC, *sizes]; scale, b [OC]."""
    y = backend.empty_like(x, (x.shape[0], w.shape[0], *sizes))
    if y.size:
        x, w, b, scale, add = (None if a is None else backend.contiguous(a) for a in (x, w, b, scale, add))
        backend.kernel(x, "conv2d_forward")(x, w, b, y, *options, relu, scale, add)
    return y


class Conv2dThen(Function):
    """As `convolve`; for evaluation, without gradients."""

    name = "conv2d"

    @staticmethod
    def forward(
        ctx: Node, x: Array, w: Array, b: Array | None, scale: Array | None, add: Array | None, *, sizes: Sizes,
        options: Options, relu: bool,
    ) -> Array:  # fmt: skip
        return convolve(x, w, b, sizes, options, relu, scale, add)


def data_gradient(dy: Array, w: Array, shape: Sizes, options: Options) -> Array:
    """dx, of `shape`, from dy and w."""
    dx = backend.empty_like(w, shape)
    if dx.size:
        backend.kernel(w, "conv2d_backward_data")(backend.contiguous(dy), backend.contiguous(w), dx, *options)
    return dx


def weight_gradient(dy: Array, x: Array, shape: Sizes, db: Array | None, options: Options) -> Array:
    """dw, of `shape`, from dy and x; db is filled where given."""
    dw = backend.empty_like(x, shape)
    if dy.size:
        backend.kernel(x, "conv2d_backward_weight")(backend.contiguous(dy), backend.contiguous(x), dw, db, *options)
    else:
        dw[...] = 0
        if db is not None:
            db[...] = 0
    return dw


class Conv2dData(Elementary):
    """(dy, w) -> dx, the gradient of Conv2d with respect to x"""

    @staticmethod
    def forward(ctx: Node, dy: Array, w: Array, *, shape: Sizes, options: Options) -> Array:
        ctx.options = options
        ctx.save(dy, w)
        return data_gradient(dy, w, shape, options)

    @staticmethod
    def backward(ctx: Node, ddx: Any) -> Any:
        dy, w = ctx.saved
        sizes = dy.shape[2:]
        ddy = Conv2d.call(ddx, w, None, sizes=sizes, options=ctx.options) if ctx.needs[0] else None
        return ddy, Conv2dWeight.call(dy, ddx, shape=w.shape, options=ctx.options) if ctx.needs[1] else None


class Conv2dWeight(Elementary):
    """(dy, x) -> dw, the gradient of Conv2d with respect to w"""

    @staticmethod
    def forward(ctx: Node, dy: Array, x: Array, *, shape: Sizes, options: Options) -> Array:
        ctx.options = options
        ctx.save(dy, x)
        return weight_gradient(dy, x, shape, None, options)

    @staticmethod
    def backward(ctx: Node, ddw: Any) -> Any:
        dy, x = ctx.saved
        ddy = Conv2d.call(x, ddw, None, sizes=dy.shape[2:], options=ctx.options) if ctx.needs[0] else None
        return ddy, Conv2dData.call(dy, ddw, shape=x.shape, options=ctx.options) if ctx.needs[1] else None


def _check(call: str, n: int, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    """ValueError or TypeError where x [N, C, n axes], weight and bias do not fit each other."""
    if x.ndim != n + 2:
        raise ValueError(f"{call}: x has shape {x.shape}, expected {n + 2} axes, or {n + 1} without the batch")
    if weight.ndim != n + 2:
        raise ValueError(f"{call}: weight has shape {weight.shape}, expected {n + 2} axes")
    channels, filters = x.shape[1], weight.shape[0]
    if channels < 1 or channels % groups or filters < 1 or filters % groups:
        raise ValueError(
            f"{call}: groups is {groups}, expected a divisor of x's {channels} channels and weight's {filters} filters"
        )
    if weight.shape[1] != channels // groups:
        expected = (filters, channels // groups, *weight.shape[2:])
        reason = f"x has {channels} channels and groups is {groups}"
        raise ValueError(f"{call}: weight has shape {weight.shape}, expected {expected}: {reason}")
    if min(weight.shape[2:]) < 1:
        raise ValueError(f"{call}: weight has shape {weight.shape}, expected a kernel of at least 1 along each axis")
    check_float(call, "x", x.data)
    check_float(call, "weight", weight.data, x.data)
    if bias is not None:
        check_float(call, "bias", bias.data, x.data)
        if bias.shape != (filters,):
            raise ValueError(f"{call}: bias has shape {bias.shape}, expected ({filters},)")


def conv(
    call: str, n: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int,
    padding_mode: str, algorithm: str, then: Then = NOTHING,
) -> Tensor:  # fmt: skip
    """Convolution over n = 1 or 2 axes; see `jadro.nn.functional.conv2d`."""
    x, weight, bias = as_tensor(x), as_tensor(weight), None if bias is None else as_tensor(bias)
    if x.ndim == n + 1:
        batch = x.unsqueeze(0)
        return conv(call, n, batch, weight, bias, stride, padding, dilation, groups, padding_mode, algorithm).squeeze(0)
    strides, dilations = per_axis(call, "stride", stride, n), per_axis(call, "dilation", dilation, n)
    (groups,) = per_axis(call, "groups", groups, 1)
    _check(call, n, x, weight, bias, groups)
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{call}: algorithm is {algorithm!r}, expected one of {', '.join(ALGORITHMS)}")
    if padding_mode not in PADDING_MODES:
        raise ValueError(f"{call}: padding_mode is {padding_mode!r}, expected one of {', '.join(PADDING_MODES)}")
    kernel = weight.shape[2:]
    around = sides(call, padding, x.shape[2:], kernel, strides, dilations)
    sizes = output_sizes(call, x.shape[2:], kernel, strides, around, dilations)
    if padding_mode != "zeros":
        x = pad(x, tuple(p for pair in reversed(around) for p in pair), padding_mode)
        around = ((0, 0),) * n
    return _run(x, weight, bias, sizes, strides, around, dilations, groups, algorithm, then)


def _run(
    x: Tensor, weight: Tensor, bias: Tensor | None, sizes: Sizes, stride: Sizes, padding: Sides, dilation: Sizes,
    groups: int, algorithm: str, then: Then,
) -> Tensor:  # fmt: skip
    """Checked arguments to one Conv2d; a sequence [N,C,L] is an image [N,C,1,L]."""
    if len(sizes) == 2:
        options = Options(stride, padding[0] + padding[1], dilation, groups, algorithm)
        if then.scale is None and then.add is None:
            return Conv2d.apply(x, weight, bias, sizes=sizes, options=options, relu=then.relu)
        if then.add is not None:
            check_residual((x.shape[0], weight.shape[0], *sizes), then.add)
        return Conv2dThen.apply(x, weight, bias, then.scale, then.add, sizes=sizes, options=options, relu=then.relu)
    options = Options((1, *stride), (0, 0, *padding[0]), (1, *dilation), groups, algorithm)
    return Conv2d.apply(x.unsqueeze(2), weight.unsqueeze(2), bias, sizes=(1, *sizes), options=options).squeeze(2)
