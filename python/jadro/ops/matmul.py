"""The matrix product of any ranks, on the native GEMM for float32 and float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _core
from ..autograd import Elementary, Node
from ..backend import Array
from ..tensor import Tensor, as_tensor
from .common import promote
from .shape import Permute, Reshape, expand

_NATIVE = (np.dtype(np.float32).num, np.dtype(np.float64).num)


def product(a: Array, b: Array, trans_a: bool = False, trans_b: bool = False) -> Array:
    """a[..., M, K] @ b[..., K, N] of one dtype; those with `trans` have their last two axes exchanged."""
    if isinstance(a, np.ndarray) and a.dtype.num in _NATIVE:
        return _core.matmul(a, b, None, trans_a, trans_b)
    return np.matmul(a.swapaxes(-1, -2) if trans_a else a, b.swapaxes(-1, -2) if trans_b else b)


def _swap_last(x: Tensor) -> Tensor:
    return Permute.apply(x, axes=(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


class MatMul(Elementary):
    """y = a b; da = dy b^T, db = a^T dy"""

    @staticmethod
    def forward(ctx: Node, a: Array, b: Array) -> Array:
        ctx.save(a, b)
        return product(a, b)

    @staticmethod
    def backward(ctx: Node, dy: Any) -> Any:
        a, b = ctx.saved
        if isinstance(dy, Tensor):
            da = MatMul.apply(dy, _swap_last(b)) if ctx.needs[0] else None
            return da, MatMul.apply(_swap_last(a), dy) if ctx.needs[1] else None
        da = product(dy, b, False, True) if ctx.needs[0] else None
        return da, product(a, dy, True) if ctx.needs[1] else None


def matmul(a: Any, b: Any) -> Tensor:
    """a @ b with NumPy's rules: the last two axes are matrices, those before are broadcast, a vector is a row or a
    column.

    Raises ValueError where the inner sizes differ, or an operand has no axes.
    """
    a, b = as_tensor(a), as_tensor(b)
    if a.data.dtype is not b.data.dtype:
        a, b = promote(a, b)
    m, n = a.data.shape, b.data.shape
    if len(m) == 2 and len(n) == 2 and m[1] == n[0]:
        return MatMul.apply(a, b)
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit: the inner sizes must be equal")
    rows, columns = a.shape[:-1], b.shape[-1:] if b.ndim > 1 else ()
    if b.ndim <= 2:  # one product: everything before the last axis of a is rows
        flat = a if a.ndim == 2 else Reshape.apply(a, shape=(int(np.prod(rows)), a.shape[-1]))
        matrix = b if b.ndim == 2 else Reshape.apply(b, shape=(b.shape[0], 1))
        y = MatMul.apply(flat, matrix)
        return y if y.shape == rows + columns else Reshape.apply(y, shape=rows + columns)
    if a.ndim == 1:
        y = matmul(Reshape.apply(a, shape=(1, *a.shape)), b)
        return Reshape.apply(y, shape=y.shape[:-2] + y.shape[-1:])
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"matmul: shapes {a.shape} and {b.shape} do not fit: their leading axes cannot be broadcast"
        ) from None
    return MatMul.apply(a, b)


def rmatmul(b: Any, a: Any) -> Tensor:
    return matmul(a, b)


def _ranked(call: str, *ranks: int) -> Callable[[Any, Any], Tensor]:
    def run(a: Any, b: Any) -> Tensor:
        a, b = as_tensor(a), as_tensor(b)
        if (a.ndim, b.ndim) != ranks or a.shape[:-2] != b.shape[:-2]:
            raise ValueError(f"{call}: shapes {a.shape} and {b.shape} do not fit: expected {ranks} axes")
        return matmul(a, b)

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"a @ b of {ranks} axes."
    return run


mm, bmm, mv, dot = (_ranked(*row) for row in (("mm", 2, 2), ("bmm", 3, 3), ("mv", 2, 1), ("dot", 1, 1)))


def outer(a: Any, b: Any) -> Tensor:
    """y[i, j] = a[i] b[j] of two vectors."""
    return mm(as_tensor(a).unsqueeze(1), as_tensor(b).unsqueeze(0))


def _with_product(call: str, product: Callable[[Any, Any], Tensor]) -> Callable[..., Tensor]:
    def run(x: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        y = product(a, b) * alpha
        return y if beta == 0 else expand(as_tensor(x), *y.shape) * beta + y

    run.__name__ = run.__qualname__ = call
    run.__doc__ = f"beta x + alpha {product.__name__}(a, b), x broadcast; with beta 0 x does not count."
    return run


addmm, baddbmm = _with_product("addmm", mm), _with_product("baddbmm", bmm)
