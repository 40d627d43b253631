"""Hooks of modules: functions that see, and may replace, what goes into a module and comes out of it, in forward and in
backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import Elementary, Node, is_grad_enabled
from ..hooks import RemovableHandle
from ..tensor import Tensor, wrap


def add(hooks: dict[int, tuple[Callable, bool]], hook: Callable, flag: bool, prepend: bool) -> RemovableHandle:
    """Puts (hook, flag) behind the others, or before them."""
    handle = RemovableHandle(hooks)
    others = dict(hooks) if prepend else {}
    if prepend:
        hooks.clear()
    hooks[handle.id] = (hook, flag)
    hooks.update(others)
    return handle


class Told(Elementary):
    """y = x, of several at once; backward hands the gradients to `tell` and passes on what it returns."""

    @staticmethod
    def forward(ctx: Node, *xs: Any, tell: Callable[[tuple[Any, ...]], Sequence[Any]]) -> Any:
        ctx.tell = tell
        return xs if len(xs) > 1 else xs[0]

    @staticmethod
    def backward(ctx: Node, *dys: Any) -> Any:
        recorded = any(isinstance(dy, Tensor) for dy in dys)
        told = ctx.tell(tuple(dy if dy is None or recorded else wrap(dy) for dy in dys))
        dxs = [dx if dx is None or recorded else dx.data for dx in told]
        return tuple(dxs) if len(dxs) > 1 else dxs[0]


class Backward:
    """The backward hooks during one call of a module: `inputs` and `outputs` put a `Told` before and behind it.

    The gradients of inputs that are no Tensors, or want none, are None to the hooks. hooks: (hook, whether it runs
    before the module's backward).
    """

    def __init__(self, module: Any, hooks: Sequence[tuple[Callable, bool]]) -> None:
        self.module, self.hooks = module, hooks
        self.count, self.places, self.grad_output = 0, list[int](), ()

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.count = len(args)
        args, self.places = _through(args, self._told_inputs)
        return args

    def outputs(self, result: Any) -> Any:
        several = isinstance(result, tuple)
        given = result if several else (result,)
        changed, places = _through(given, lambda dys: self._told_outputs(len(given), places, dys))
        return changed if several else changed[0]

    def _told_outputs(self, count: int, places: list[int], dys: tuple[Any, ...]) -> Sequence[Any]:
        grads = _placed(count, places, dys)
        for hook, before in self.hooks:
            if before and (changed := hook(self.module, grads)) is not None:
                grads = _fitting(changed, grads)
        self.grad_output = grads
        if not self.places:
            self._run((None,) * self.count)
        return [grads[i] for i in places]

    def _told_inputs(self, dxs: tuple[Any, ...]) -> Sequence[Any]:
        grads = self._run(_placed(self.count, self.places, dxs))
        return [grads[i] for i in self.places]

    def _run(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook, before in self.hooks:
            if not before and (changed := hook(self.module, grads, self.grad_output)) is not None:
                grads = _fitting(changed, grads)
        return grads


def _through(values: tuple[Any, ...], tell: Callable) -> tuple[tuple[Any, ...], list[int]]:
    """The values, those that require a gradient from one `Told`, and where those stand."""
    places = [i for i, x in enumerate(values) if isinstance(x, Tensor) and x.requires_grad]
    if not places or not is_grad_enabled():
        return values, []
    told = Told.apply(*(values[i] for i in places), tell=tell)
    fresh = dict(zip(places, told if isinstance(told, tuple) else (told,), strict=True))
    return tuple(fresh.get(i, x) for i, x in enumerate(values)), places


def _placed(count: int, places: list[int], grads: tuple[Any, ...]) -> tuple[Any, ...]:
    found = dict(zip(places, grads, strict=True))
    return tuple(found.get(i) for i in range(count))


def _fitting(changed: Any, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a hook returned as a tuple; ValueError where it has another length."""
    changed = changed if isinstance(changed, tuple) else (changed,)
    if len(changed) != len(grads):
        raise ValueError(f"backward hook: {len(changed)} gradients were returned, expected {len(grads)}")
    return changed
