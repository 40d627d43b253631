"""The tape: Functions, the graph they record, and reverse mode.

A `Function` is a pair of static methods on arrays. `Function.apply` runs `forward` and, where an input requires a
gradient, leaves a `Node` that knows the nodes of the inputs. `backward` walks the nodes from the newest to the oldest:
an input is always older than its result, so that is a topological order, and nothing recurses.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import _core
from ._core import is_grad_enabled
from .backend import Array, compute
from .hooks import hooked
from .tensor import Tensor, as_tensor, wrap

__all__ = [
    "Elementary", "Function", "Node", "backward", "enable_grad", "grad", "inference_mode", "is_grad_enabled", "no_grad",
    "set_grad_enabled",
]  # fmt: skip


if TYPE_CHECKING:

    class Node(_core.Node):
        def __getattr__(self, name: str) -> Any: ...  # any attribute may be set in forward and read in backward
        def __setattr__(self, name: str, value: Any) -> None: ...
else:
    Node = _core.Node


class _SetGrad(ContextDecorator):
    """Sets the recording mode of the thread inside a `with` block, or inside the decorated function."""

    _value: ClassVar[bool]
    _shared: ClassVar[Any]  # the only instance: what it replaced is kept by the thread

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._shared = object.__new__(cls)

    def __new__(cls, function: Callable | None = None) -> Any:
        return cls._shared if function is None else cls._shared(function)  # also as a bare decorator

    def __enter__(self) -> None:
        _core.enter_mode(self._value)

    def __exit__(self, *error: object) -> None:
        _core.leave_mode()


class no_grad(_SetGrad):
    """Operations inside are not recorded; a context manager and a decorator, for the calling thread only."""

    _value = False


class enable_grad(_SetGrad):
    """Operations inside are recorded, also within `no_grad`; a context manager and a decorator."""

    _value = True


class set_grad_enabled(ContextDecorator):
    """Turns recording on or off, at once; as a context manager and a decorator until the end of the block or the call.

    mode: whether operations of the calling thread are recorded.
    """

    def __init__(self, mode: bool) -> None:
        self.mode, self._before = bool(mode), is_grad_enabled()
        _core.set_mode(self.mode)

    def __call__(self, function: Callable) -> Any:
        _core.set_mode(self._before)  # the function alone
        return super().__call__(function)

    def _recreate_cm(self) -> set_grad_enabled:
        return type(self)(self.mode)

    def __enter__(self) -> None:
        _core.set_mode(self.mode)

    def __exit__(self, *error: object) -> None:
        _core.set_mode(self._before)


def inference_mode(mode: Any = True) -> Any:
    """`no_grad`, or with mode=False `enable_grad`, under PyTorch's name: a context manager and a decorator, with or
    without brackets. Tensors that are made inside are like any others afterwards."""
    if callable(mode):
        return no_grad(mode)
    return no_grad() if mode else enable_grad()


class Function:
    """A differentiable operation.

    `forward(ctx, *arrays, **options)` gets the arrays of the Tensors among the arguments of `apply` and returns an
    array or a tuple of arrays. `backward(ctx, *dys)` gets an array for each output (None where an output of several got
    no gradient) and returns the gradient of each argument of `forward`, None where there is none. Gradients of
    arguments that were broadcast may have the shape of the result: they are summed. Neither may write to its
    arguments. `backward_graph` does the same on Tensors, recording its operations; a Function without it refuses
    `create_graph=True`.
    """

    name: ClassVar[str] = ""
    is_view: ClassVar[bool] = False  # the output may share memory with the first input, a Tensor
    # backward(ctx, *dys, waiting) where a gradient has reached the first input before: it gives the sum of both.
    adds_waiting: ClassVar[bool] = False
    may_warn: ClassVar[bool] = False  # forward computes with NumPy; NaN and infinity shall pass without a word

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()

    @staticmethod
    def forward(ctx: Node, *arrays: Any, **options: Any) -> Any:
        raise TypeError("Function: forward is not defined")

    @staticmethod
    def backward(ctx: Node, *dys: Any) -> Any:
        raise TypeError("Function: backward is not defined")

    @classmethod
    def backward_graph(cls, ctx: Node, *dys: Any) -> Any:
        raise RuntimeError(f"{cls.name}: its backward cannot be differentiated; use create_graph=False")

    # Runs `forward` on Tensors, arrays and other arguments, and records the call where a Tensor requires a gradient.
    apply: ClassVar[Callable[..., Any]] = classmethod(_core.tape_apply)  # type: ignore[assignment]
    # `apply` where an argument is a Tensor, else `forward` on arrays; for backward formulas that serve both.
    call: ClassVar[Callable[..., Any]] = classmethod(_core.tape_call)  # type: ignore[assignment]


class Elementary(Function):
    """A Function whose backward uses operators and `call` only, and so runs on arrays and on Tensors alike."""

    may_warn = True

    @classmethod
    def backward_graph(cls, ctx: Node, *dys: Any) -> Any:
        return cls.backward(ctx, *dys)


def _quiet() -> tuple[Any, Any]:
    """Where NumPy 2 keeps what to do about floating-point errors, and the value that ignores them: setting it takes a
    tenth of the time of `np.errstate`. (None, None) for NumPy 1."""
    with np.errstate(all="ignore"):
        for variable, value in contextvars.copy_context().items():
            if variable.name == "numpy.ufunc.extobj":
                return variable, value
    return None, None


def _fit(g: Any, shape: tuple[int, ...]) -> Any:
    """The gradient `g`, an array or a Tensor, of a tensor of `shape` that was broadcast: summed over what repeated
    it."""
    lead = g.ndim - len(shape)
    axes = tuple([i for i, n in enumerate(g.shape) if i < lead or (shape[i - lead] == 1 and n != 1)])
    if not axes or any(n not in (1, g.shape[i + lead]) for i, n in enumerate(shape)):
        raise RuntimeError(f"backward: a gradient has shape {tuple(g.shape)}, expected {shape}, that of its tensor")
    return g.sum(axis=axes).reshape(shape)


def _ignore() -> Any:
    return np.errstate(all="ignore")


def _total(a: Array, b: Array) -> Array:
    """The sum of two gradients of one tensor."""
    return compute(np.add, a, b)


_core.tape_setup(Tensor, np.generic, np.asarray, _total, _fit, hooked, _ignore, *_quiet())


def _seed(call: str, out: Tensor, grad: Any) -> Any:
    """The gradient that starts at `out`: the one given, checked, or 1 for a scalar."""
    if not out._requires_grad:
        raise RuntimeError(f"{call}: the tensor does not require a gradient: no input of its computation does")
    if grad is None:
        if out.data.size != 1:
            raise ValueError(f"{call}: grad is missing and the tensor has shape {out.shape}, expected one element")
        return wrap(np.ones_like(out.data))
    grad = as_tensor(grad)
    if grad.data.shape != out.data.shape:
        raise ValueError(f"{call}: grad has shape {grad.shape}, expected {out.shape}")
    return grad


def backward(self: Tensor, grad: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Adds the gradient of this tensor to the `grad` of every leaf that it depends on, then frees the graph.

    grad: the gradient of the tensor itself, of its shape; may be left out for one element. retain_graph: keep the graph
    for another backward; default `create_graph`. create_graph: record the pass itself, for higher derivatives. Raises
    RuntimeError where the tensor requires no gradient, its graph was freed, or a saved tensor was modified in place.
    """
    seed = _seed("backward", self, grad)
    retain = create_graph if retain_graph is None else retain_graph
    found = _core.tape_walk([self], [seed], None, create_graph, retain, True)
    taken = {id(_memory(seed.data))}
    for leaf, g in found:
        _accumulate(leaf, g, taken)


def _memory(array: Array) -> Array:
    """The array that owns the memory of `array`."""
    base = array.base
    return base if isinstance(base, type(array)) else array


def _accumulate(leaf: Tensor, g: Any, taken: set[int]) -> None:
    """leaf.grad += g; the first gradient is kept without a copy where no other tensor has its memory."""
    have = leaf.grad
    if isinstance(g, Tensor):
        leaf.grad = g if have is None else have + g
    elif have is None:
        memory, flags = _memory(g), g.flags
        writeable = getattr(flags, "writeable", True)  # CuPy has no read-only arrays
        if id(memory) in taken or memory.size != g.size or not flags.c_contiguous or not writeable:
            memory = g = g.copy(order="C")
        taken.add(id(memory))
        leaf.grad = wrap(g)
    elif have._node is not None:
        leaf.grad = wrap(have.data + g)
    else:
        have.data += g
        have._version[0] += 1


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    *,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` (summed, weighted with `grad_outputs`) with respect to `inputs`; no `.grad` is
    touched.

    grad_outputs: one array of the output's shape an output; None for outputs of one element. create_graph: the result
    can be differentiated again. retain_graph: default `create_graph`. allow_unused: None instead of a RuntimeError for
    an input that the outputs do not depend on.
    """
    outs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    ins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs] * len(outs)
    if len(grad_outputs) != len(outs):
        raise ValueError(f"grad: grad_outputs has {len(grad_outputs)} entries, expected {len(outs)}, one an output")
    seeds = [_seed("grad", *pair) for pair in zip(outs, grad_outputs, strict=True)]
    retain = create_graph if retain_graph is None else retain_graph
    return _core.tape_walk(outs, seeds, ins, create_graph, retain, allow_unused)
