"""New tensors: constant, counted and random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend, random
from ..tensor import Tensor, as_tensor, check_half, tensor, wrap
from .common import FLOAT32, flat_ints


def _new(call: str, shape: tuple[Any, ...], dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    sizes = flat_ints(call, "shape", shape)
    if min(sizes, default=0) < 0:
        raise ValueError(f"{call}: shape is {sizes}, expected no negative sizes")
    target = backend.parse_device(device)
    dtype = FLOAT32 if dtype is None else np.dtype(dtype)
    check_half(call, dtype, target)
    return Tensor(backend.empty(sizes, dtype, target), requires_grad)


def empty(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """An uninitialised tensor; float32 where no dtype is given."""
    return _new("empty", shape, dtype, device, requires_grad)


def full(shape: Any, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of one value; its dtype is that of `tensor(fill_value)` where none is given."""
    dtype = as_tensor(fill_value).dtype if dtype is None else dtype
    out = _new("full", (shape,), dtype, device, requires_grad)
    out.data[...] = fill_value
    return out


def zeros(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of zeros; float32 where no dtype is given."""
    out = _new("zeros", shape, dtype, device, requires_grad)
    out.data[...] = 0
    return out


def ones(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ones; float32 where no dtype is given."""
    out = _new("ones", shape, dtype, device, requires_grad)
    out.data[...] = 1
    return out


def _count(call: str, name: str, n: Any) -> int:
    (count,) = flat_ints(call, name, (n,))
    if count < 0:
        raise ValueError(f"{call}: {name} is {count}, expected at least 0")
    return count


def _like(x: Tensor, dtype: Any, device: Any) -> dict[str, Any]:
    return {"dtype": x.dtype if dtype is None else dtype, "device": x.device if device is None else device}


def empty_like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uninitialised, with the shape of x and, where none is given, its dtype and device."""
    return empty(x.shape, requires_grad=requires_grad, **_like(x, dtype, device))


def zeros_like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape of x and, where none is given, its dtype and device."""
    return zeros(x.shape, requires_grad=requires_grad, **_like(x, dtype, device))


def ones_like(x: Tensor, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape of x and, where none is given, its dtype and device."""
    return ones(x.shape, requires_grad=requires_grad, **_like(x, dtype, device))


def full_like(x: Tensor, fill_value: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """`fill_value` everywhere, with the shape of x and, where none is given, its dtype and device."""
    return full(x.shape, fill_value, requires_grad=requires_grad, **_like(x, dtype, device))


def eye(n: int, m: int | None = None, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The identity matrix, n by m (n where None)."""
    out = _new("eye", (n, n if m is None else m), dtype, device, requires_grad)
    out.data[...] = 0
    i = np.arange(min(out.shape))
    out.data[i, i] = 1
    return out


def arange(
    start: Any, end: Any = None, step: Any = 1, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """start, start + step, ... below end; from 0 where one number is given. Integers are int64, floats float32."""
    start, end = (0, start) if end is None else (start, end)
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: step is {step}, which does not lead from {start} to {end}")
    if dtype is None:
        dtype = np.int64 if all(isinstance(n, (int, np.integer)) for n in (start, end, step)) else np.float32
    values = wrap(np.arange(start, end, step, dtype=dtype))
    return values.to(backend.parse_device(device)).requires_grad_(requires_grad)


def linspace(
    start: float, end: float, steps: int, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`steps` equally spaced numbers from start to end, both included. ValueError for negative `steps`."""
    values = np.linspace(start, end, _count("linspace", "steps", steps), dtype=FLOAT32 if dtype is None else dtype)
    return wrap(values).to(backend.parse_device(device)).requires_grad_(requires_grad)


def rand(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Uniform numbers in [0, 1)."""
    out = _new("rand", shape, dtype, device, requires_grad)
    return _drawn(out, random.uniform)


def randn(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """Standard normal numbers."""
    out = _new("randn", shape, dtype, device, requires_grad)
    return _drawn(out, random.normal)


def _drawn(out: Tensor, draw: Any) -> Tensor:
    dtype = np.float64 if out.dtype == np.float64 else np.float32
    out.data[...] = backend.to_device(draw(out.shape, dtype), out.device)
    return out


def randint(low: int, high: int | None = None, size: Any = (), dtype: Any = None, device: Any = None) -> Tensor:
    """Integers in [low, high), or [0, low) where `high` is None."""
    low, high = (0, low) if high is None else (low, high)
    if high <= low:
        raise ValueError(f"randint: low is {low} and high is {high}, expected low < high")
    draws = random.uniform(flat_ints("randint", "size", (size,) if isinstance(size, int) else tuple(size)), np.float64)
    values = wrap((np.floor(draws * (high - low)) + low).astype(np.int64 if dtype is None else dtype))
    return values.to(backend.parse_device(device))


def randperm(n: int, device: Any = None) -> Tensor:
    """0..n-1 in random order, int64. ValueError for a negative n."""
    return wrap(random.permutation(_count("randperm", "n", n))).to(backend.parse_device(device))


def _new_of(create: Any) -> Callable[..., Tensor]:
    def run(x: Tensor, *args: Any, dtype: Any = None, device: Any = None, **options: Any) -> Tensor:
        return create(*args, **_like(x, dtype, device), **options)

    run.__name__ = run.__qualname__ = f"new_{create.__name__}"
    run.__doc__ = f"As jadro.{create.__name__}, with the dtype and device of x where none is given."
    return run


NEW = {f"new_{create.__name__}": _new_of(create) for create in (tensor, empty, zeros, ones, full)}


def bernoulli(x: Any, p: Any = None) -> Tensor:
    """1 with probability x, or p, elementwise, else 0; shape and dtype of x. ValueError outside 0..1."""
    x = as_tensor(x)
    chance = as_tensor(x if p is None else p).data
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(f"bernoulli: probabilities are {chance.min()}..{chance.max()}, expected 0..1")
    draws = random.uniform(x.shape, np.float64 if x.dtype == np.float64 else np.float32)
    return wrap((backend.to_device(draws, x.device) < chance).astype(x.dtype))


def multinomial(x: Any, num_samples: int, replacement: bool = False) -> Tensor:
    """`num_samples` places drawn by the weights x, [C] or [N, C], a row each: int64; without `replacement` no place
    twice. ValueError for weights that are negative, not finite, or too few above 0, and for no samples."""
    x = as_tensor(x)
    if num_samples < 1:
        raise ValueError(f"multinomial: num_samples is {num_samples}, expected at least 1")
    rows = backend.to_device(x.data, "cpu").astype(np.float64).reshape(-1, *x.shape[-1:])
    least = 1 if replacement else num_samples
    if x.ndim > 2 or not (rows >= 0).all() or not np.isfinite(rows).all() or ((rows > 0).sum(-1) < least).any():
        raise ValueError(f"multinomial: x has shape {x.shape}, expected weights >= 0, [C] or [N, C], {least} > 0")
    if replacement:
        draws = random.uniform((len(rows), num_samples), np.float64)
        sums = zip(rows.cumsum(1), draws, strict=True)
        places = np.array([np.searchsorted(s / s[-1], d, "right") for s, d in sums])
    else:  # a race of exponential times
        with np.errstate(all="ignore"):
            times = -np.log1p(-random.uniform(rows.shape, np.float64)) / rows
        places = np.argsort(times)[:, :num_samples]
    return wrap(places.reshape(*x.shape[:-1], -1)).to(x.device)
