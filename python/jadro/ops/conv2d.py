"""Convolution of images, volumes and, through an axis of size 1, sequences; transposed convolution.

Forward and the two gradients are one family: each one's gradients are calls of the others, so they differentiate to any
order. Transposed convolution is the gradient with respect to the data.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import backend
from ..autograd import Elementary, Function, Node
from ..backend import Array
from ..tensor import Tensor, wrap
from .activation import Rectifier
from .common import check_residual, remembered, shape_of, tensors
from .elementwise import constant
from .windows import LARGEST, Sides, Sizes, extents, output_sizes, per_axis, sides

ALGORITHMS = ("auto", "direct", "im2col", "winograd")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Options(NamedTuple):
    """The tail of every native call."""

    stride: Sizes
    padding: Sizes  # (before, after) of each axis; negative cuts cells off
    dilation: Sizes
    groups: int
    algorithm: str
    padding_mode: str = "zeros"

    def lifted(self) -> Options:
        """Those of a sequence [N, C, L] as an image [N, C, 1, L]."""
        return self._replace(stride=(1, *self.stride), padding=(0, 0, *self.padding), dilation=(1, *self.dilation))


class Then(NamedTuple):
    """What a convolution does to its result before it is stored: scale y + add, rectified; scale [OC], add shaped as
    y. Gradients pass through the rectifier alone."""

    rectifier: Rectifier | None = None
    scale: Tensor | None = None
    add: Tensor | None = None

    def batched(self) -> Then:
        return self if self.add is None else self._replace(add=self.add.unsqueeze(0))

    def lifted(self) -> Then:
        return self if self.add is None else self._replace(add=self.add.unsqueeze(2))


NOTHING = Then()


class Conv2d(Function):
    """x[N,IC,IH,IW], w[OC,IC/groups,KH,KW], b[OC] -> y[N,OC,OH,OW] (cross-correlation, as in PyTorch), rectified; all
    of them may have an axis of depth before H"""

    adds_waiting = True

    @staticmethod
    def forward(
        ctx: Node, x: Array, w: Array, b: Array | None, *, sizes: Sizes, options: Options,
        rectifier: Rectifier | None = None,
    ) -> Array:  # fmt: skip
        y = convolve(x, w, b, sizes, options, rectifier)
        ctx.options, ctx.rectifier = options, rectifier
        ctx.save(x, w, y if rectifier else None)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Array, waiting: Array | None = None) -> tuple[Array | None, ...]:
        x, w, y = ctx.saved
        dy = backend.contiguous(dy)
        if y is not None:
            dy = ctx.rectifier.gradient(dy, y)
        dx = None
        if ctx.needs[0]:
            fused = waiting if ctx.options.padding_mode == "zeros" else None
            dx = data_gradient(dy, w, x.shape, ctx.options, add=fused)
            if waiting is not fused:
                dx += waiting
        if not ctx.needs[1] and not ctx.needs[2]:
            return dx, None, None
        db = backend.empty_like(w, w.shape[:1]) if ctx.needs[2] else None
        return dx, weight_gradient(dy, x, w.shape, db, ctx.options), db

    @classmethod
    def backward_graph(cls, ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, w, y = ctx.saved
        if y is not None:
            dy = dy * wrap(ctx.rectifier.derivative(y.data))
        dx = Conv2dData.apply(dy, w, shape=x.shape, options=ctx.options) if ctx.needs[0] else None
        dw = Conv2dWeight.apply(dy, x, shape=w.shape, options=ctx.options) if ctx.needs[1] else None
        return dx, dw, dy.sum(_all_but_channels(dy)) if ctx.needs[2] else None


def _all_but_channels(x: Any) -> Sizes:
    return (0, *range(2, x.ndim))


def convolve(
    x: Array, w: Array, b: Array | None, sizes: Sizes, options: Options, rectifier: Rectifier | None = None,
    scale: Array | None = None, add: Array | None = None,
) -> Array:  # fmt: skip
    """scale conv(x, w) + b + add, rectified: [N, OC, *sizes]; scale, b [OC]."""
    y = backend.empty_like(x, (x.shape[0], w.shape[0], *sizes))
    if y.size:
        x, w, b, scale, add = map(backend.contiguous, (x, w, b, scale, add))
        then = rectifier.arguments(x, w.shape[0]) if rectifier else ()
        backend.kernel(x, "conv2d_forward")(x, w, b, y, *options, rectifier is not None, scale, add, *then)
    return y


class Conv2dThen(Function):
    """As `convolve`; for evaluation, without gradients."""

    name = "conv2d"

    @staticmethod
    def forward(
        ctx: Node, x: Array, w: Array, b: Array | None, scale: Array | None, add: Array | None, *, sizes: Sizes,
        options: Options, rectifier: Rectifier | None,
    ) -> Array:  # fmt: skip
        return convolve(x, w, b, sizes, options, rectifier, scale, add)


def data_gradient(
    dy: Array, w: Array, shape: Sizes, options: Options, b: Array | None = None, rectifier: Rectifier | None = None,
    scale: Array | None = None, add: Array | None = None,
) -> Array:  # fmt: skip
    """dx, of `shape`, from dy and w; as a transposed convolution scale dx + b + add, rectified."""
    dx = backend.empty_like(w, shape)
    if dx.size:
        dy, w, b, scale, add = map(backend.contiguous, (dy, w, b, scale, add))
        then = rectifier.arguments(w, shape[1]) if rectifier else ()
        backend.kernel(w, "conv2d_backward_data")(dy, w, dx, *options, b, rectifier is not None, scale, add, *then)
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
    """(dy, w, b) -> dx, the gradient of Conv2d with respect to x; with + b, rectified, transposed convolution"""

    @staticmethod
    def forward(
        ctx: Node, dy: Array, w: Array, b: Array | None = None, *, shape: Sizes, options: Options,
        rectifier: Rectifier | None = None,
    ) -> Array:  # fmt: skip
        ctx.options, ctx.rectifier = options, rectifier
        dx = data_gradient(dy, w, shape, options, b, rectifier)
        ctx.save(dy, w, dx if rectifier else None)
        return dx

    @staticmethod
    def backward(ctx: Node, ddx: Any) -> Any:
        dy, w, dx = ctx.saved
        if dx is not None:
            ddx = ddx * ctx.rectifier.derivative(constant(dx))
        sizes = dy.shape[2:]
        ddy = Conv2d.call(ddx, w, None, sizes=sizes, options=ctx.options) if ctx.needs[0] else None
        dw = Conv2dWeight.call(dy, ddx, shape=w.shape, options=ctx.options) if ctx.needs[1] else None
        return ddy, dw, ddx.sum(_all_but_channels(ddx)) if True in ctx.needs[2:] else None


class ConvTransposeThen(Function):
    """As `data_gradient` with all that may follow; for evaluation, without gradients."""

    name = "conv_transpose"

    @staticmethod
    def forward(
        ctx: Node, x: Array, w: Array, b: Array | None, scale: Array | None, add: Array | None, *, shape: Sizes,
        options: Options, rectifier: Rectifier | None,
    ) -> Array:  # fmt: skip
        return data_gradient(x, w, shape, options, b, rectifier, scale, add)


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


def _check(
    call: str, n: int, x: Sizes, weight: Sizes, bias: Sizes | None, groups: int, transposed: bool = False
) -> None:
    """ValueError where the shapes of x [N, C, n axes], weight and bias do not fit each other."""
    if len(x) != n + 2:
        raise ValueError(f"{call}: x has shape {x}, expected {n + 2} axes, or {n + 1} without the batch")
    if len(weight) != n + 2:
        raise ValueError(f"{call}: weight has shape {weight}, expected {n + 2} axes")
    channels, rows, kernel = x[1], weight[0], weight[2:]
    if channels < 1 or channels % groups or (not transposed and (rows < 1 or rows % groups)):
        filters = "" if transposed else f" and weight's {rows} filters"
        raise ValueError(f"{call}: groups is {groups}, expected a divisor of x's {channels} channels{filters}")
    expected = (channels, weight[1], *kernel) if transposed else (rows, channels // groups, *kernel)
    if weight != expected:
        reason = f"x has {channels} channels and groups is {groups}"
        raise ValueError(f"{call}: weight has shape {weight}, expected {expected}: {reason}")
    if min(weight[1:]) < 1:
        raise ValueError(f"{call}: weight has shape {weight}, expected a kernel of at least 1 along each axis")
    outputs = weight[1] * groups if transposed else rows
    if bias is not None and bias != (outputs,):
        raise ValueError(f"{call}: bias has shape {bias}, expected ({outputs},)")


def _check_mode(call: str, mode: str, sizes: Sizes, around: Sides) -> None:
    """ValueError where an axis has too few cells for its padding."""
    if mode not in PADDING_MODES:
        raise ValueError(f"{call}: padding_mode is {mode!r}, expected one of {', '.join(PADDING_MODES)}")
    for size, pair in zip(sizes, around, strict=True):
        limits = {"zeros": LARGEST, "reflect": max(size - 1, 0), "circular": size}
        most = limits.get(mode, LARGEST if size else 0)
        if max(pair) > most:
            raise ValueError(
                f"{call}: padding is {pair} on an axis of size {size}, expected at most {most} for mode {mode!r}"
            )


def _check_algorithm(call: str, algorithm: str, kernel: Sizes, strides: Sizes, dilations: Sizes) -> None:
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{call}: algorithm is {algorithm!r}, expected one of {', '.join(ALGORITHMS)}")
    if algorithm == "winograd" and not winograd_serves(kernel, strides, dilations):
        raise ValueError(
            f"{call}: algorithm is 'winograd', which serves kernels of (2, 2), (3, 3) and (5, 5) in the last two axes "
            "and stride 1, or of (3, 3) to (6, 6) and stride 2 on images, dilation 1; "
            f"kernel {kernel}, stride {strides}, dilation {dilations}"
        )


def winograd_serves(kernel: Sizes, strides: Sizes, dilations: Sizes) -> bool:
    """Whether a convolution has a form of Winograd's."""
    if len(kernel) < 2 or kernel[-1] != kernel[-2]:
        return False
    if {*strides} == {1}:
        return kernel[-1] in (2, 3, 5)
    return len(kernel) == 2 and {*strides} == {2} and {*dilations} == {1} and 3 <= kernel[-1] <= 6


@remembered
def _plan(
    call: str, n: int, x: Sizes, weight: Sizes, bias: Sizes | None, stride: Any, padding: Any, dilation: Any,
    groups: Any, padding_mode: Any, algorithm: Any,
) -> tuple[Sizes, Options]:  # fmt: skip
    """The output sizes and the tail of the native call, of arguments that fit each other."""
    strides, dilations = per_axis(call, "stride", stride, n), per_axis(call, "dilation", dilation, n)
    (groups,) = per_axis(call, "groups", groups, 1)
    _check(call, n, x, weight, bias, groups)
    space, kernel = x[2:], weight[2:]
    _check_algorithm(call, algorithm, kernel, strides, dilations)
    around = sides(call, padding, space, kernel, strides, dilations)
    _check_mode(call, padding_mode, space, around)
    sizes = output_sizes(call, space, kernel, strides, around, dilations)
    return sizes, Options(strides, sum(around, ()), dilations, groups, algorithm, padding_mode)


def conv(
    call: str, n: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int,
    padding_mode: str, algorithm: str, then: Then = NOTHING,
) -> Tensor:  # fmt: skip
    """Convolution over n = 1, 2 or 3 axes; see `jadro.nn.functional.conv2d`."""
    x, weight, bias = tensors(call, "x weight bias", 2, x, weight, bias)
    given = stride, padding, dilation, groups, padding_mode, algorithm
    shape, filters = x.data.shape, weight.data.shape
    if len(shape) == n + 1:
        return conv(call, n, x.unsqueeze(0), weight, bias, *given, then.batched()).squeeze(0)
    sizes, options = _plan(call, n, shape, filters, shape_of(bias), *given)
    if then.add is not None:
        check_residual((shape[0], filters[0], *sizes), then.add)
    if n == 1:
        x, weight, then = x.unsqueeze(2), weight.unsqueeze(2), then.lifted()
        options, sizes = options.lifted(), (1, *sizes)
    if then.scale is None and then.add is None:
        y = Conv2d.apply(x, weight, bias, sizes=sizes, options=options, rectifier=then.rectifier)
    else:
        y = Conv2dThen.apply(
            x, weight, bias, then.scale, then.add, sizes=sizes, options=options, rectifier=then.rectifier
        )
    return y.squeeze(2) if n == 1 else y


def _transposed_sides(
    call: str, padding: Any, sizes: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes, output_padding: Sizes
) -> Sides:
    """What is cut off the (S (M - 1) + D (K - 1) + 1) cells that an axis's taps reach, negative where cells are added.

    "same" and "same_lower" give S M cells, as the convolution of that padding and stride takes S M to M.
    """
    if padding in ("same", "same_lower"):
        found = []
        for e, s, more in zip(extents(kernel, dilation), stride, output_padding, strict=True):
            total = e - s + more
            small, large = max(total, 0) // 2, (max(total, 0) + 1) // 2
            before = small if padding == "same" else large
            found.append((before, total - before - more))
        return tuple(found)
    around = sides(call, padding, sizes, kernel, stride, dilation)
    return tuple((before, after - more) for (before, after), more in zip(around, output_padding, strict=True))


def transposed_sizes(
    call: str, padding: Any, sizes: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes, output_padding: Sizes
) -> Sizes:
    """S (M - 1) + D (K - 1) + 1 - before - after + output_padding of each axis."""
    around = _transposed_sides(call, padding, sizes, kernel, stride, dilation, output_padding)
    axes = zip(sizes, stride, extents(kernel, dilation), around, strict=True)
    return tuple((m - 1) * s + e - before - after for m, s, e, (before, after) in axes)


@remembered
def _transposed_plan(
    call: str, n: int, x: Sizes, weight: Sizes, bias: Sizes | None, stride: Any, padding: Any, output_padding: Any,
    groups: Any, dilation: Any,
) -> tuple[Sizes, Options]:  # fmt: skip
    """The shape of the output and the tail of the native call, of arguments that fit each other."""
    strides, dilations = per_axis(call, "stride", stride, n), per_axis(call, "dilation", dilation, n)
    more = per_axis(call, "output_padding", output_padding, n, 0)
    (groups,) = per_axis(call, "groups", groups, 1)
    _check(call, n, x, weight, bias, groups, transposed=True)
    if any(m >= max(s, d) for m, s, d in zip(more, strides, dilations, strict=True)):
        raise ValueError(
            f"{call}: output_padding is {more}, expected less than the stride {strides} or the dilation {dilations}"
        )
    given, kernel = x[2:], weight[2:]
    around = _transposed_sides(call, padding, given, kernel, strides, dilations, more)
    sizes = transposed_sizes(call, padding, given, kernel, strides, dilations, more)
    if min(given) < 1 or min(sizes) < 1:
        raise ValueError(
            f"{call}: x of {given} gives an output of {sizes}, expected at least 1 along each axis: "
            f"kernel {kernel}, stride {strides}, dilation {dilations}, padding {padding!r}, output_padding {more}"
        )
    return (x[0], weight[1] * groups, *sizes), Options(strides, sum(around, ()), dilations, groups, "auto")


def conv_transpose(
    call: str, n: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int,
    dilation: Any, then: Then = NOTHING,
) -> Tensor:  # fmt: skip
    """Transposed convolution over n = 1, 2 or 3 axes; see `jadro.nn.functional.conv_transpose2d`."""
    x, weight, bias = tensors(call, "x weight bias", 2, x, weight, bias)
    given = stride, padding, output_padding, groups, dilation
    if x.ndim == n + 1:
        return conv_transpose(call, n, x.unsqueeze(0), weight, bias, *given, then.batched()).squeeze(0)
    shape, native = _transposed_plan(call, n, x.data.shape, weight.data.shape, shape_of(bias), *given)
    if then.add is not None:
        check_residual(shape, then.add)
    if n == 1:
        x, weight, native, then = x.unsqueeze(2), weight.unsqueeze(2), native.lifted(), then.lifted()
        shape = (*shape[:2], 1, *shape[2:])
    if then.scale is None and then.add is None:
        y = Conv2dData.apply(x, weight, bias, shape=shape, options=native, rectifier=then.rectifier)
    else:
        y = ConvTransposeThen.apply(
            x, weight, bias, then.scale, then.add, shape=shape, options=native, rectifier=then.rectifier
        )
    return y.squeeze(2) if n == 1 else y
