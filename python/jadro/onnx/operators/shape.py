"""Moving elements: shapes, slices, gathering and joining; also casts, and the products of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...autograd import Elementary, Node
from ...backend import Array
from ...nn import functional as F
from ...ops import index, matmul
from ...ops import shape as s
from ...ops.common import cast as cast_to
from ...tensor import Tensor, wrap
from ..package import package
from .registry import array, beside, ints, is_float, number, operator


@operator("Identity")
def identity(x: Any) -> Any:
    return x


@operator("Reshape")
def reshape(x: Any, shape: Any = None, allowzero: int = 0) -> Any:
    """A size of 0 is x's own, unless `allowzero`; one of -1 is what is left."""
    sizes = ints(shape) or []
    return s.reshape(x, [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(sizes)])


@operator("Flatten")
def flatten(x: Any, axis: int = 1) -> Any:
    axis += x.ndim if axis < 0 else 0
    return s.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@operator("Transpose")
def transpose(x: Any, perm: Any = None) -> Any:
    return s.reverse_axes(x) if perm is None else s.permute(x, perm)


@operator("Squeeze")
def squeeze(x: Any, axes: Any = None) -> Any:
    return s.squeeze(x, None if axes is None else ints(axes))


@operator("Unsqueeze")
def unsqueeze(x: Any, axes: Any = None) -> Any:
    places = ints(axes) or []
    rank = x.ndim + len(places)
    sizes = iter(x.shape)
    new = {a % rank for a in places}
    return s.reshape(x, [1 if i in new else next(sizes) for i in range(rank)])


@operator("Concat")
def concat(*xs: Any, axis: int = 1) -> Any:
    return s.cat(xs, axis)


@operator("Split")
def split(x: Any, split: Any = None, axis: int = 0, num_outputs: int = 0, *, outputs: int = 0) -> Any:
    if split is not None:
        return s.split(x, ints(split) or [], axis)
    size, parts = x.shape[axis], num_outputs or outputs
    each = -(-size // parts)
    return s.split(x, [max(min(each, size - each * i), 0) for i in range(parts)], axis)


@operator("Slice")
def slice_(x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    first, last = ints(starts) or [], ints(ends) or []
    places = list(range(len(first))) if axes is None else ints(axes) or []
    strides = [1] * len(first) if steps is None else ints(steps) or []
    at = [slice(None)] * x.ndim
    for place, *bounds in zip(places, first, last, strides, strict=True):
        at[place] = slice(*bounds)
    return x[tuple(at)]


def _wrapped(indices: Any, size: int) -> Array:
    """Negative indices count from the end; ValueError outside."""
    i = array(indices)
    if i.size and (i.min() < -size or i.max() >= size):
        raise ValueError(f"onnx: an index is in {i.min()}..{i.max()}, expected {-size}..{size - 1}")
    return np.where(i < 0, i + size, i) if i.size and i.min() < 0 else i


@operator("Gather")
def gather(x: Any, indices: Any, axis: int = 0) -> Any:
    i = _wrapped(indices, x.shape[axis])
    if axis == 0 and x.ndim == 2 and i.ndim and is_float(x):
        return F.embedding(beside(x, i), x)
    return x[(slice(None),) * (axis % x.ndim) + (beside(x, i) if i.ndim else int(i),)]


@operator("GatherElements")
def gather_elements(x: Any, indices: Any, axis: int = 0) -> Any:
    i = _wrapped(indices, x.shape[axis])
    return x[_on(x, _grid(i, axis % x.ndim))]


def _on(x: Any, at: tuple[Array, ...]) -> tuple[Any, ...]:
    """An index on the device of x."""
    return tuple(beside(x, i) for i in at)


def _grid(i: Array, axis: int) -> tuple[Array, ...]:
    """The places that have the coordinate i along an axis and their own along the others."""
    grid = np.ogrid[tuple(slice(n) for n in i.shape)]
    return tuple(i if a == axis else g for a, g in enumerate(grid))


def _places(shape: tuple[int, ...], indices: Any, batch_dims: int = 0) -> tuple[Array, ...]:
    """Where the rows of the last axis of `indices` point."""
    i = array(indices)
    lead = i.shape[:batch_dims]
    grid = [g.reshape(g.shape + (1,) * (i.ndim - 1 - batch_dims)) for g in np.ogrid[tuple(slice(n) for n in lead)]]
    return (*grid, *(_wrapped(i[..., k], shape[batch_dims + k]) for k in range(i.shape[-1])))


@operator("GatherND")
def gather_nd(x: Any, indices: Any, batch_dims: int = 0) -> Any:
    return x[_on(x, _places(x.shape, indices, batch_dims))]


def _scattered(x: Any, at: tuple[Array, ...], updates: Any, reduction: str) -> Any:
    """x with `updates` in the places `at`, or added there."""
    if not is_float(x, updates) or reduction not in ("none", "add"):
        return NotImplemented
    if reduction == "none":
        return index.Put.apply(x, updates, index=_on(x, at))
    return x + index.Scatter.apply(updates, index=_on(x, at), shape=x.shape)


@operator("ScatterND")
def scatter_nd(x: Any, indices: Any, updates: Any, reduction: str = "none") -> Any:
    return _scattered(x, _places(x.shape, indices), updates, reduction)


@operator("ScatterElements", "Scatter")
def scatter_elements(x: Any, indices: Any, updates: Any, axis: int = 0, reduction: str = "none") -> Any:
    return _scattered(x, _grid(_wrapped(indices, x.shape[axis]), axis % x.ndim), updates, reduction)


@operator("Expand")
def expand(x: Any, shape: Any) -> Any:
    return s.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(ints(shape) or ())))


@operator("Tile")
def tile(x: Any, repeats: Any) -> Any:
    return s.repeat(x, ints(repeats))


@operator("Pad")
def pad(
    x: Any, pads: Any = None, constant_value: Any = None, axes: Any = None, mode: str = "constant", value: float = 0.0
) -> Any:
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    amounts = ints(pads) or []
    n = len(amounts) // 2
    places = list(range(n)) if axes is None else [a % x.ndim for a in ints(axes) or []]
    pairs = [(0, 0)] * x.ndim
    for place, before, after in zip(places, amounts[:n], amounts[n:], strict=True):
        pairs[place] = (before, after)
    if mode in ("reflect", "wrap") and any(max(p) >= m for p, m in zip(pairs, x.shape, strict=True)):
        return NotImplemented  # several times round
    fill = value if constant_value is None else number(constant_value)
    return F.pad(x, [n for pair in reversed(pairs) for n in pair], modes[mode], fill if mode == "constant" else None)


@operator("DepthToSpace")
def depth_to_space(x: Any, blocksize: int = 1, mode: str = "DCR") -> Any:
    n, c, h, w = x.shape
    b, d = blocksize, c // blocksize**2
    if mode == "DCR":
        y = x.reshape(n, b, b, d, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, d, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, d, h * b, w * b)


@operator("SpaceToDepth")
def space_to_depth(x: Any, blocksize: int = 1, mode: str = "DCR") -> Any:
    n, c, h, w = x.shape
    b = blocksize
    y = x.reshape(n, c, h // b, b, w // b, b)
    y = y.permute(0, 3, 5, 1, 2, 4) if mode == "DCR" else y.permute(0, 1, 3, 5, 2, 4)
    return y.reshape(n, c * b * b, h // b, w // b)


@operator("Trilu")
def trilu(x: Any, k: Any = None, upper: int = 1) -> Any:
    if not is_float(x):
        return NotImplemented
    return (index.triu if upper else index.tril)(x, 0 if k is None else int(number(k)))


@operator("ReverseSequence")
def reverse_sequence(x: Any, lengths: Any, batch_axis: int = 1, time_axis: int = 0) -> Any:
    """The first lengths[b] steps of row b in reverse order, the rest as they are."""
    t, n = np.arange(x.shape[time_axis]), array(lengths)
    steps = np.where(t < n[:, None], n[:, None] - 1 - t, t)  # [B, T]
    rows = np.arange(len(n))[:, None]
    at = (steps.T, rows.T) if time_axis == 0 else (rows, steps)
    return x[_on(x, at)]


@operator("Shape")
def shape(x: Any, start: int = 0, end: int | None = None) -> Any:
    return wrap(np.asarray(x.shape[start:end], np.int64))


@operator("ConstantOfShape")
def constant_of_shape(shape: Any, value: Any = 0.0) -> Any:
    cell = np.asarray(value, None if isinstance(value, np.ndarray) else np.float32).reshape(-1)[0]
    plain = cell.dtype.isbuiltin == 1 and cell.dtype != np.float16
    return wrap(np.full(ints(shape) or (), cell)) if plain else NotImplemented


@operator("Size")
def size(x: Any) -> Any:
    return wrap(np.asarray(x.data.size, np.int64))


@operator("Cast")
def cast(x: Any, to: int = 1) -> Any:
    return _cast(x, package().helper.tensor_dtype_to_np_dtype(to))


@operator("CastLike")
def cast_like(x: Any, like: Any) -> Any:
    return _cast(x, like.dtype)


def _cast(x: Tensor, dtype: np.dtype) -> Any:
    """Gradients pass from float to float."""
    if dtype.isbuiltin != 1 or dtype.kind not in "fiub" or dtype == np.float16:
        return NotImplemented
    if is_float(x) and dtype.kind == "f":
        return cast_to(x, dtype)
    with np.errstate(invalid="ignore"):  # what is no number has no integer
        return wrap(x.data.astype(dtype))


@operator("MatMul")
def mat_mul(a: Any, b: Any) -> Any:
    return matmul.matmul(a, b)


@operator("Gemm")
def gemm(
    a: Any, b: Any, c: Any = None, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,
    broadcast: int = 1,
) -> Any:  # fmt: skip
    """alpha A B + beta C, the matrices turned where `trans` says so. broadcast: of opset 6, where C may have to."""
    if not is_float(a, b):
        return NotImplemented
    plain = alpha == 1 and (c is None or (beta == 1 and c.shape == (b.shape[0 if transB else 1],)))
    if plain and not transA:
        return F.linear(a, b if transB else b.T, c)
    y = matmul.matmul(a.T if transA else a, b.T if transB else b)
    y = y if alpha == 1 else y * alpha
    return y if c is None else y + (c if beta == 1 else c * beta)


class Einsum(Elementary):
    """Each operand's gradient is the product of dy and the others, summed to its letters."""

    @staticmethod
    def forward(ctx: Node, *xs: Array, terms: tuple[str, ...], out: str) -> Array:
        ctx.terms, ctx.out = terms, out
        ctx.save(*xs)
        return np.einsum(f"{','.join(terms)}->{out}", *xs, optimize=True)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        found = []
        for i, term in enumerate(ctx.terms):
            others = [(t, x) for k, (t, x) in enumerate(zip(ctx.terms, ctx.saved, strict=True)) if k != i]
            terms = (ctx.out, *(t for t, _ in others))
            found.append(Einsum.call(dy, *(x for _, x in others), terms=terms, out=term) if ctx.needs[i] else None)
        return tuple(found)


@operator("Einsum")
def einsum(*xs: Any, equation: str = "") -> Any:
    given, _, out = equation.replace(" ", "").partition("->")
    terms = tuple(given.split(","))
    seen = "".join(terms)
    if "->" not in equation:
        out = "".join(sorted(c for c in set(seen) if seen.count(c) == 1))
    letters = [set(t) for t in terms]
    alone = any(  # summed, or repeated, within one operand
        len(own) != len(t) or not own <= set(out).union(*(o for k, o in enumerate(letters) if k != i))
        for i, (t, own) in enumerate(zip(terms, letters, strict=True))
    )
    if alone or "." in equation or not is_float(*xs) or len({x.dtype for x in xs}) > 1:
        return NotImplemented
    return Einsum.apply(*xs, terms=terms, out=out)
