"""Writes into a tensor's memory. Each one counts, so that backward notices a saved tensor that changed.

A leaf that requires a gradient cannot be written to while operations are recorded. `x += y` on the result of a recorded
operation, or with such a y, gives a new tensor: nothing that was saved changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import random
from ..autograd import is_grad_enabled
from ..tensor import Tensor, as_tensor
from .compare import floor_divide
from .creation import bernoulli
from .elementwise import add, div, mul, pow, remainder, sub
from .index import plain_index


def _check_leaf(call: str, x: Tensor) -> None:
    if x._requires_grad and x._node is None and is_grad_enabled():
        raise RuntimeError(
            f"{call}: a leaf that requires a gradient cannot be written to in place; do it inside jadro.no_grad()"
        )


def _check_write(call: str, x: Tensor, *others: Any) -> None:
    """RuntimeError where the write would need a gradient or the memory is read-only."""
    _check_leaf(call, x)
    if is_grad_enabled() and (x._requires_grad or any(isinstance(o, Tensor) and o._requires_grad for o in others)):
        raise RuntimeError(
            f"{call}: a write in place has no gradient; use jadro.where or jadro.cat, or jadro.no_grad()"
        )
    _check_writeable(call, x)


def _check_writeable(call: str, x: Tensor) -> None:
    if isinstance(x.data, np.ndarray) and not x.data.flags.writeable:
        raise ValueError(f"{call}: the array behind the tensor is read-only; use clone()")


def _value(call: str, x: Tensor, y: Any, shape: tuple[int, ...]) -> Any:
    """The array of y, ready to be written into x's elements of `shape`."""
    y = np.asarray(y) if isinstance(y, (bool, int, float)) else as_tensor(y).data
    if y.dtype.kind not in "iub" and x.data.dtype.kind in "iub":
        raise TypeError(f"{call}: value has dtype {y.dtype}, which a tensor of {x.dtype} cannot hold")
    lead = y.ndim - len(shape)
    if lead > 0 and all(n == 1 for n in y.shape[:lead]):
        y = y.reshape(y.shape[lead:])
    try:
        np.broadcast_to(y, shape)
    except ValueError:
        message = f"{call}: value has shape {y.shape}, expected {shape} or one that can be broadcast to it"
        raise ValueError(message) from None
    return y


def _store(call: str, x: Tensor, y: Any) -> Tensor:
    value = _value(call, x, y, x.shape)
    x.data[...] = value
    x._version[0] += 1
    return x


def _augmented(
    call: str, function: Callable[[Any, Any], Tensor]
) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """(operator, method) of an in-place operation: `x += y` and `x.add_(y)`."""

    def operator(x: Tensor, y: Any) -> Tensor:
        _check_leaf(call, x)
        if is_grad_enabled() and (x._requires_grad or (isinstance(y, Tensor) and y._requires_grad)):
            out = function(x, y)
            if out.shape != x.shape:
                raise ValueError(f"{call}: the result has shape {out.shape}, expected that of x, {x.shape}")
            return out
        return method(x, y)

    def method(x: Tensor, y: Any) -> Tensor:
        _check_write(call, x, y)
        return _store(call, x, function(x.detach(), y.detach() if isinstance(y, Tensor) else y))

    method.__name__ = method.__qualname__ = call
    method.__doc__ = f"x.{call}(y): {call.rstrip('_')} in place; RuntimeError where a gradient would be needed."
    return operator, method


iadd, add_ = _augmented("add_", add)
isub, sub_ = _augmented("sub_", sub)
imul, mul_ = _augmented("mul_", mul)
idiv, div_ = _augmented("div_", div)
ipow, pow_ = _augmented("pow_", pow)
ifloordiv, floor_divide_ = _augmented("floor_divide_", floor_divide)
imod, remainder_ = _augmented("remainder_", remainder)


def written(call: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` as a method that writes its result into its first tensor."""

    def run(x: Tensor, *args: Any, **options: Any) -> Tensor:
        _check_write(call, x, *args, *options.values())
        return _store(call, x, function(x.detach(), *args, **options))

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"{call.rstrip('_')} in place; RuntimeError where a gradient would be needed."
    return run


def bernoulli_(x: Tensor, p: Any = 0.5) -> Tensor:
    """Sets every element to 1 with probability p, else to 0."""
    _check_write("bernoulli_", x)
    return _store("bernoulli_", x, bernoulli(x.detach(), p))


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value, broadcast. RuntimeError where x or value requires a gradient outside `no_grad`, ValueError for
    a shape that does not fit or read-only memory, TypeError for a float into integers."""
    _check_write("x[index] = value", x, value)
    index = plain_index(index)
    x.data[index] = _value("x[index] = value", x, value, x.data[index].shape)
    x._version[0] += 1


def copy_(x: Tensor, value: Any) -> Tensor:
    """Copies `value` into x, broadcast and cast."""
    _check_write("copy_", x, value)
    return _store("copy_", x, value)


def fill_(x: Tensor, value: Any) -> Tensor:
    """Sets every element to the number `value`."""
    _check_write("fill_", x, value)
    return _store("fill_", x, value)


def zero_(x: Tensor) -> Tensor:
    """Sets every element to 0."""
    return fill_(x, 0)


def clamp_(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Bounds every element in place."""
    _check_write("clamp_", x)
    return _store("clamp_", x, x.detach().clamp(min, max))


def uniform_(x: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draws every element uniformly from [low, high)."""
    _check_write("uniform_", x)
    return _store("uniform_", x, random.uniform(x.shape, x.dtype) * (high - low) + low)


def normal_(x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draws every element from the normal distribution."""
    _check_write("normal_", x)
    return _store("normal_", x, random.normal(x.shape, x.dtype) * std + mean)
