"""Makes the operations methods and operators of Tensor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import autograd, hooks
from ..tensor import Tensor, as_tensor
from . import (
    activation,
    analytic,
    common,
    compare,
    creation,
    elementwise,
    index,
    inplace,
    matmul,
    reduce,
    shape,
    softmax,
)


def clone(x: Tensor) -> Tensor:
    """A copy with its own memory; the gradient passes through."""
    return elementwise.Copy.apply(x)


def contiguous(x: Tensor) -> Tensor:
    """x itself where it is C-contiguous, else a copy that is."""
    return x if x.data.flags.c_contiguous else clone(x)


def _dtype_method(name: str) -> Any:
    def run(x: Tensor) -> Tensor:
        common.check_half(name, np.dtype(name), x.device)
        return common.cast(x, name)

    run.__doc__ = f"x as {name}."
    return run


def _with_alpha(name: str, function: Callable[[Any, Any], Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, y: Any, *, alpha: Any = 1) -> Tensor:
        return function(x, y if alpha == 1 else elementwise.mul(y, alpha))

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"{function.__doc__} y is multiplied by `alpha` first."
    return run


def bfloat16(x: Tensor) -> Tensor:
    """x as bfloat16; TypeError on the CPU, RuntimeError where the package ml_dtypes, which names the dtype, is
    missing."""
    if not x.is_cuda:
        raise TypeError("bfloat16: the tensor is on the CPU, expected CUDA; 16-bit floats need CUDA")
    try:
        from ml_dtypes import bfloat16 as dtype
    except ImportError:
        raise RuntimeError("bfloat16: the package ml_dtypes is missing; `pip install ml_dtypes`") from None
    return common.cast(x, dtype)


_SAME_NAME = "add remainder maximum minimum exp expm1 log log1p sqrt square sin cos"
_UFUNCS: dict[np.ufunc, Callable[..., Any]] = {
    **{getattr(np, name): getattr(elementwise, name) for name in _SAME_NAME.split()},
    np.subtract: elementwise.sub, np.multiply: elementwise.mul, np.true_divide: elementwise.div,
    np.power: elementwise.pow, np.negative: elementwise.neg, np.absolute: elementwise.abs,
    np.floor_divide: compare.floor_divide, np.equal: compare.eq, np.not_equal: compare.ne,
    np.less: compare.lt, np.less_equal: compare.le, np.greater: compare.gt, np.greater_equal: compare.ge,
    np.matmul: matmul.matmul, np.tanh: activation.tanh, np.arctan2: analytic.atan2, np.fmod: analytic.fmod,
    **{ufunc: getattr(analytic, name) for name, (ufunc, _) in analytic.ANALYTIC.items()},
}  # fmt: skip


def array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """NumPy's functions on Tensors: those with a counterpart here are recorded, the rest run on the arrays."""
    function = _UFUNCS.get(ufunc)
    if function is not None and method == "__call__" and not options:
        return function(*inputs)
    if any(isinstance(out, Tensor) for out in options.get("out", ())):
        return NotImplemented
    return getattr(ufunc, method)(*(x.data if isinstance(x, Tensor) else x for x in inputs), **options)


_OPERATORS = {
    "__add__": elementwise.add, "__radd__": elementwise.radd, "__iadd__": inplace.iadd,
    "__sub__": elementwise.sub, "__rsub__": elementwise.rsub, "__isub__": inplace.isub,
    "__mul__": elementwise.mul, "__rmul__": elementwise.rmul, "__imul__": inplace.imul,
    "__truediv__": elementwise.div, "__rtruediv__": elementwise.rdiv, "__itruediv__": inplace.idiv,
    "__floordiv__": compare.floor_divide, "__rfloordiv__": compare.rfloor_divide,
    "__ifloordiv__": inplace.ifloordiv,
    "__mod__": elementwise.remainder, "__rmod__": elementwise.rremainder, "__imod__": inplace.imod,
    "__pow__": elementwise.pow, "__rpow__": elementwise.rpow, "__ipow__": inplace.ipow,
    "__matmul__": matmul.matmul, "__rmatmul__": matmul.rmatmul,
    "__neg__": elementwise.neg, "__abs__": elementwise.abs, "__invert__": compare.invert,
    "__and__": compare.bitwise_and, "__rand__": compare.bitwise_and,
    "__or__": compare.bitwise_or, "__ror__": compare.bitwise_or,
    "__xor__": compare.bitwise_xor, "__rxor__": compare.bitwise_xor,
    "__eq__": compare.eq, "__ne__": compare.ne, "__lt__": compare.lt, "__le__": compare.le,
    "__gt__": compare.gt, "__ge__": compare.ge,
    "__getitem__": index.getitem, "__setitem__": inplace.setitem, "__array_ufunc__": array_ufunc,
    "T": property(shape.reverse_axes), "mT": property(shape.swap_last),
}  # fmt: skip

_NAMES = {
    elementwise: "add sub mul div pow remainder maximum minimum exp expm1 log log1p sqrt rsqrt sin cos neg "
    "abs square masked_fill clamp",
    compare: "eq ne lt le gt ge floor_divide logical_not sign floor ceil trunc round isnan isinf isfinite "
    "logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor isclose allclose equal",
    analytic: "erf atan2 fmod reciprocal frac nan_to_num lerp addcmul addcdiv " + " ".join(analytic.ANALYTIC),
    creation: "bernoulli multinomial",
    reduce: "sum mean var std norm max min amax amin argmax argmin prod sort argsort topk kthvalue "
    "median unique bincount cumsum cumprod logsumexp any all count_nonzero",
    softmax: "softmax log_softmax",
    shape: "reshape view flatten squeeze unsqueeze permute transpose expand expand_as broadcast_to repeat split chunk "
    "unbind flip unflatten select narrow tensor_split movedim swapaxes tile roll ravel view_as reshape_as",
    index: "gather index_select take_along_dim scatter scatter_add index_add masked_select repeat_interleave nonzero "
    "tril triu diagonal diag",
    matmul: "matmul mm bmm mv dot outer addmm baddbmm",
    activation: "relu tanh sigmoid",
    common: "to",
    inplace: "add_ sub_ mul_ div_ pow_ copy_ fill_ zero_ clamp_ uniform_ normal_ bernoulli_",
    autograd: "backward",
    hooks: "register_hook retain_grad",
}

_IN_PLACE = (
    "exp log sqrt rsqrt reciprocal sin cos neg abs square relu tanh sigmoid floor ceil round trunc nan_to_num "
    "lerp addcmul addcdiv addmm masked_fill scatter scatter_add index_add tril triu"
)
ALIASES = {
    "clip": "clamp", "divide": "div", "true_divide": "div", "multiply": "mul", "subtract": "sub", "less": "lt",
    "less_equal": "le", "greater": "gt", "greater_equal": "ge", "not_equal": "ne", "moveaxis": "movedim",
    "swapdims": "swapaxes",
}  # fmt: skip
_ONLY_METHODS = {"view", "view_as", "reshape_as", "expand", "expand_as", "repeat"}


def functions() -> dict[str, Callable[..., Any]]:
    """The methods that are functions of jadro too, of anything that is an array."""
    others = (common, inplace, autograd, hooks)
    names = " ".join(names for module, names in _NAMES.items() if module not in others).split()
    return {name: function(name) for name in (*names, *ALIASES, "t") if name not in _ONLY_METHODS}


def function(name: str) -> Callable[..., Any]:
    """The method `name` as a function of anything that is an array."""
    method = getattr(Tensor, name)

    @functools.wraps(method)
    def run(x: Any, *args: Any, **options: Any) -> Any:
        return method(as_tensor(x), *args, **options)

    return run


def where(x: Tensor, condition: Any, other: Any) -> Tensor:
    """x where `condition` is true, else other."""
    return elementwise.where(condition, x, other)


def install() -> None:
    """Sets every method; called once, when the package is imported."""
    methods: dict[str, Any] = dict(_OPERATORS)
    for module, names in _NAMES.items():
        methods.update((name, getattr(module, name)) for name in names.split())
    methods.update(
        t=shape.t, type_as=common.to, where=where, element_size=lambda x: x.data.itemsize,
        nbytes=property(lambda x: x.data.nbytes), retains_grad=property(hooks.retains_grad),
        **creation.NEW, clone=clone, contiguous=contiguous, bfloat16=bfloat16,
        float=_dtype_method("float32"), double=_dtype_method("float64"), half=_dtype_method("float16"),
        long=_dtype_method("int64"), int=_dtype_method("int32"), bool=_dtype_method("bool"),
        cpu=lambda x: common.to(x, "cpu"), cuda=lambda x: common.to(x, "cuda"),
    )  # fmt: skip
    methods.update((name + "_", inplace.written(name + "_", methods[name])) for name in _IN_PLACE.split())
    methods.update((name, _with_alpha(name, methods[name])) for name in ("add", "sub", "add_", "sub_"))
    methods.update((alias, methods[name]) for alias, name in ALIASES.items())
    for name, function in methods.items():
        setattr(Tensor, name, function)
