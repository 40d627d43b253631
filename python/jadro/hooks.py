"""Hooks of tensors: functions that see, and may replace, a gradient on its way back; and the handle of every hook."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from .tensor import Tensor, wrap

_ids = itertools.count()
_RETAIN = -1  # the key, among a tensor's hooks, of the one that fills `grad`


class RemovableHandle:
    """Takes a hook away again: by `remove()`, or at the end of a `with` block."""

    def __init__(self, hooks: dict[int, Any]) -> None:
        self._hooks = hooks
        self.id = next(_ids)

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _check_requires(call: str, x: Tensor) -> None:
    if not x._requires_grad:
        raise RuntimeError(f"{call}: the tensor does not require a gradient: no input of its computation does")


def register_hook(x: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Calls hook(gradient) once in every pass back that reaches x, a leaf or not, with its whole gradient.

    hook: returns None, or a Tensor of the gradient's shape and dtype that takes its place; several are called in the
    order in which they came, each with what the one before returned. What a hook is given is its own copy, or, under
    create_graph, recorded. Returns a handle whose `remove()` takes the hook away. Raises TypeError where hook cannot be
    called, RuntimeError where x does not require a gradient; backward raises TypeError or ValueError for what a hook
    may not return.
    """
    if not callable(hook):
        raise TypeError(f"register_hook: hook is a {type(hook).__name__}, expected a function of the gradient")
    _check_requires("register_hook", x)
    handle = RemovableHandle(x._hooks)
    x._hooks[handle.id] = hook
    return handle


def retain_grad(x: Tensor) -> None:
    """Adds the gradient of x to `x.grad` in every pass back, behind its other hooks, as for a leaf; nothing changes for
    a leaf. RuntimeError where x does not require a gradient."""
    _check_requires("retain_grad", x)
    if x._node is None:
        return
    ref = weakref.ref(x)

    def keep(grad: Tensor) -> None:
        if (kept := ref()) is not None:
            own = grad if grad._requires_grad else wrap(grad.data.copy())
            kept.grad = own if kept.grad is None else kept.grad + own

    x._hooks[_RETAIN] = keep


def retains_grad(x: Tensor) -> bool:
    """Whether `retain_grad` was called on x, the result of an operation."""
    return x._node is not None and _RETAIN in x._hooks


def hooked(hooks: dict[int, Callable[[Tensor], Tensor | None]], grad: Any) -> Any:
    """What the hooks make of a gradient, an array or, under create_graph, a Tensor."""
    recorded = isinstance(grad, Tensor)
    given = g = grad if recorded else wrap(grad.copy())
    for key, hook in list(hooks.items()):
        if key != _RETAIN and (changed := hook(g)) is not None:
            g = _fitting(changed, g)
    if _RETAIN in hooks:
        hooks[_RETAIN](g)
    if g is given:
        return grad
    return g if recorded else g.data.copy()


def _fitting(changed: Any, grad: Tensor) -> Tensor:
    if not isinstance(changed, Tensor) or changed.dtype != grad.dtype:
        came = f"a {changed.dtype} tensor" if isinstance(changed, Tensor) else f"a {type(changed).__name__}"
        raise TypeError(f"register_hook: the hook returned {came}, expected a {grad.dtype} tensor or None")
    if changed.shape != grad.shape:
        raise ValueError(f"register_hook: the hook returned shape {changed.shape}, expected {grad.shape}")
    return changed
