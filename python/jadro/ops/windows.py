"""What convolution and pooling share: sizes per axis, every form of padding, and the output size."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

Sizes = tuple[int, ...]
LARGEST = 2**31 - 1  # of a size, step or padding: sums of a few stay inside 64 bits
Sides = tuple[tuple[int, int], ...]  # (before, after) of each axis


def per_axis(call: str, name: str, value: Any, n: int, least: int = 1) -> Sizes:
    """An int, or one int an axis, as n ints that are `least` or more; TypeError and ValueError for anything else."""
    if value.__class__ is int and least <= value <= LARGEST:
        return (value,) * n
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    try:
        sizes = tuple(map(operator.index, given))
    except TypeError:
        raise TypeError(f"{call}: {name} is {value!r}, expected an integer or {n} of them") from None
    if len(sizes) == 1:
        sizes *= n
    if len(sizes) != n or min(sizes) < least or max(sizes) > LARGEST:
        raise ValueError(f"{call}: {name} is {value!r}, expected an integer from {least} to {LARGEST}, or {n} of them")
    return sizes


def extents(kernel: Sequence[int], dilation: Sequence[int]) -> Sizes:
    """How far a window reaches: D (K - 1) + 1 of each axis."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def sides(call: str, padding: Any, sizes: Sequence[int], kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sides:
    """The cells added (before, after) each axis, from any form of `padding`.

    An int; an int an axis; a (before, after) pair an axis; "valid"; "same" and "same_lower": an output of ceil(M / S),
    the odd cell after or before.
    """
    n = len(sizes)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * n
        if padding not in ("same", "same_lower"):
            raise ValueError(f"{call}: padding is {padding!r}, expected 'valid', 'same', 'same_lower' or integers")
        found = []
        for m, e, s in zip(sizes, extents(kernel, dilation), stride, strict=True):
            total = max((-(-m // s) - 1) * s + e - m, 0)
            small, large = total // 2, total - total // 2
            found.append((small, large) if padding == "same" else (large, small))
        return tuple(found)
    return fixed_sides(call, padding, n)


def fixed_sides(call: str, padding: Any, n: int) -> Sides:
    """The `sides` of a padding that says how many cells."""
    pairs_given = isinstance(padding, (tuple, list)) and padding and isinstance(padding[0], (tuple, list))
    if pairs_given and all(isinstance(p, (tuple, list)) for p in padding):
        if len(padding) != n:
            raise ValueError(f"{call}: padding is {padding!r}, expected {n} pairs (before, after)")
        pairs = [per_axis(call, "padding", tuple(p) * (2 if len(p) == 1 else 1), 2, 0) for p in padding]
        return tuple((before, after) for before, after in pairs)
    return tuple([(p, p) for p in per_axis(call, "padding", padding, n, 0)])


def output_sizes(
    call: str, sizes: Sequence[int], kernel: Sizes, stride: Sizes, padding: Sides, dilation: Sizes
) -> Sizes:
    """floor((M + before + after - D (K - 1) - 1) / S) + 1 of each axis; ValueError where the window does not fit."""
    reach = extents(kernel, dilation)
    padded = tuple(m + before + after for m, (before, after) in zip(sizes, padding, strict=True))
    if any(e > p for e, p in zip(reach, padded, strict=True)):
        raise ValueError(
            f"{call}: the kernel reaches over {reach} cells, larger than the padded input's {padded}: "
            f"kernel {tuple(kernel)}, dilation {tuple(dilation)}, input {tuple(sizes)}, padding {padding}"
        )
    return tuple((p - e) // s + 1 for p, e, s in zip(padded, reach, stride, strict=True))


def ceil_sides(sizes: Sequence[int], kernel: Sizes, stride: Sizes, padding: Sides, dilation: Sizes) -> Sides:
    """Padding made larger at the end, so that the output size rounds up: but no window starts past the input and the
    padding before it."""
    found = []
    for m, e, s, (before, after) in zip(sizes, extents(kernel, dilation), stride, padding, strict=True):
        out = -(-(m + before + after - e) // s) + 1
        if (out - 1) * s >= m + before:
            out -= 1
        found.append((before, max(after, (out - 1) * s + e - m - before)))
    return tuple(found)


class Pool(NamedTuple):
    """A pooling: shapes as they come and, as the kernels see them, with two axes of space at least."""

    of: Sizes  # of what is pooled
    shape: Sizes  # of the result
    seen: Sizes
    seen_shape: Sizes
    window: Any  # the tail of the native call


def pool_plan(call: str, n: int, of: Sizes, sizes: Sizes, window: Any, least: int = 2) -> Pool:
    """What leads from `of`, [N, C, ...] or [C, ...], to `sizes` of n axes of space; kernels know `least` or more."""
    batch = of[:-n] if len(of) == n + 2 else (1, *of[:-n])
    lifted = (*batch, *(1,) * (least - n))
    return Pool(of, (*of[:-n], *sizes), (*lifted, *of[-n:]), (*lifted, *sizes), window)


def pool_windows(
    call: str, space: Sizes, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Sizes, Sizes, Sizes, Sizes, Sides, Sides]:
    """Checks pooling over axes of sizes `space`, and gives output sizes, kernel, stride, dilation, the padding asked
    for, and that with ceil_mode's share."""
    n = len(space)
    kernel = per_axis(call, "kernel_size", kernel_size, n)
    strides = kernel if stride is None or stride == () or stride == [] else per_axis(call, "stride", stride, n)
    dilations = per_axis(call, "dilation", dilation, n)
    around = sides(call, padding, space, kernel, strides, dilations)
    reach = extents(kernel, dilations)
    if any(max(pair) >= e for pair, e in zip(around, reach, strict=True)):
        raise ValueError(
            f"{call}: padding is {around}, expected less than the window's {reach}: some would see padding only"
        )
    wide = ceil_sides(space, kernel, strides, around, dilations) if ceil_mode else around
    sizes = output_sizes(call, space, kernel, strides, wide, dilations)
    return sizes, kernel, strides, dilations, around, wide


def pool_space(call: str, n: int, x: Sizes) -> Sizes:
    """The sizes of space of x [N, C, n axes] or [C, n axes]; ValueError for another rank, or for an empty axis."""
    if len(x) not in (n + 1, n + 2):
        raise ValueError(f"{call}: x has shape {x}, expected {n + 2} axes, or {n + 1} without the batch")
    if min(x[-n - 1 :]) < 1:
        raise ValueError(f"{call}: x has shape {x}, expected no empty axis but the batch")
    return x[-n:]


def adaptive_sizes(call: str, space: Sizes, output_size: Any) -> Sizes:
    """`output_size`, an int or one an axis, as sizes; None keeps the input's."""
    n = len(space)
    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    if len(given) != n:
        raise ValueError(f"{call}: output_size is {output_size!r}, expected an integer or {n} of them")
    return per_axis(call, "output_size", tuple(m if o is None else o for o, m in zip(given, space, strict=True)), n)
