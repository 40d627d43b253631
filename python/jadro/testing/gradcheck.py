"""Gradients held to differences, in float64, along random directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jadro.autograd import grad
from jadro.tensor import Tensor, as_tensor

Floats = NDArray[np.float64]


class GradcheckError(AssertionError):
    """A gradient differs from the differences of its function."""


def gradcheck(
    fn: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-5,
    atol: float = 1e-7,
    rtol: float = 1e-5,
    directions: int = 3,
    raise_exception: bool = True,
) -> bool:
    """Holds the gradients of `fn(*inputs)` to central differences along random directions.

    For a random direction v of one input and random weights u of the outputs, with f = sum(u * fn(*inputs)),

        <df/dx, v>  must equal  (f(x + eps v) - f(x - eps v)) / (2 eps)   within   atol + rtol * |the larger|.

    Directions have length sqrt(size of x) and elements of either sign, the same in every run. Each input has its
    turn, so an error names it. `fn` must be smooth near the inputs and must return the same for the same inputs: seed
    what it draws.

    fn: takes the inputs, returns a tensor or a sequence of tensors; those that are not floating are left out.
    inputs: float64 tensors with requires_grad are checked, anything else is handed on as it is.
    directions: random directions for each input.
    raise_exception: False returns False instead of raising.

    Returns True. Raises GradcheckError where they differ, where a gradient has a wrong shape or is not finite, or
    where a derivative is not zero but no output depends on the input by the graph; TypeError for an input that is
    checked but not float64; ValueError where no input requires a gradient.
    """
    items = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = _checked(items)
    try:
        for index in checked:
            for direction in range(directions):
                _check(fn, items, index, np.random.default_rng([index, direction]), eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    fn: Callable[..., Any], inputs: Tensor | Sequence[Any], grad_outputs: Sequence[Any] | None = None, **options: Any
) -> bool:
    """`gradcheck` of the gradients of `fn`, as functions of the inputs and of the output gradients: second derivatives.

    grad_outputs: float64 gradients of the outputs that require one; by default random ones, the same in every run.
    Options and errors are gradcheck's.
    """
    items = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = _checked(items)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        grad_outputs = [rng.standard_normal(y.shape) for y in _recorded(fn, items)]
    seeds = [Tensor(np.array(as_tensor(g).data), requires_grad=True) for g in grad_outputs]

    def gradients(*args: Any) -> list[Tensor]:
        given, weights = args[: len(items)], args[len(items) :]
        found = grad(_recorded(fn, given), [given[i] for i in checked], weights, create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    return gradcheck(gradients, [*items, *seeds], **options)


def _checked(items: Sequence[Any]) -> list[int]:
    """The positions of the inputs to check."""
    checked = [i for i, item in enumerate(items) if isinstance(item, Tensor) and item.requires_grad]
    if not checked:
        raise ValueError("gradcheck: none of the inputs requires a gradient, expected at least one")
    for i in checked:
        if items[i].dtype != np.float64:
            raise TypeError(f"gradcheck: input {i} has dtype {items[i].dtype}, expected float64")
    return checked


def _check(
    fn: Callable[..., Any],
    items: Sequence[Any],
    index: int,
    rng: np.random.Generator,
    eps: float,
    atol: float,
    rtol: float,
) -> None:
    point = _host(items[index]).copy()
    outputs = _outputs(fn, items)
    weights = [rng.standard_normal(y.shape) for y in outputs]
    direction = rng.standard_normal(point.shape)
    direction *= np.sqrt(direction.size) / max(float(np.linalg.norm(direction)), np.finfo(float).tiny)
    by_graph = _derivative(outputs, weights, items[index], direction, f"input {index}")
    ahead, behind = (
        _project(_outputs(fn, _replaced(items, index, point + step * direction)), weights) for step in (eps, -eps)
    )
    by_difference = (ahead - behind) / (2 * eps)
    allowed = atol + rtol * max(abs(by_graph), abs(by_difference))
    if not abs(by_graph - by_difference) <= allowed:
        raise GradcheckError(
            f"gradcheck: the derivative along a direction of input {index} is {by_graph!r} by its gradient and "
            f"{by_difference!r} by differences"
        )


def _derivative(outputs: list[Tensor], weights: list[Floats], x: Tensor, direction: Floats, what: str) -> float:
    """<df/dx, direction> by the graph; 0 where no output depends on x."""
    pairs = [(y, w) for y, w in zip(outputs, weights, strict=True) if y.requires_grad]
    if not pairs:
        return 0.0
    seeds = [as_tensor(w).to(y.device) for y, w in pairs]
    (dx,) = grad([y for y, _ in pairs], [x], seeds, allow_unused=True)
    if dx is None:
        return 0.0
    if dx.shape != x.shape:
        raise GradcheckError(f"gradcheck: {what} has shape {x.shape}, its gradient {dx.shape}")
    if not np.isfinite(_host(dx)).all():
        raise GradcheckError(f"gradcheck: the gradient of {what} is not finite")
    return float(np.sum(_host(dx) * direction))


def _project(outputs: list[Tensor], weights: list[Floats]) -> float:
    """sum(weights * outputs)."""
    return sum(float(np.sum(_host(y) * w)) for y, w in zip(outputs, weights, strict=True))


def _replaced(items: Sequence[Any], index: int, value: Floats) -> list[Any]:
    """The inputs with another value for one of them."""
    moved = list(items)
    moved[index] = Tensor(value, requires_grad=True).to(items[index].device)
    return moved


def _outputs(fn: Callable[..., Any], items: Sequence[Any]) -> list[Tensor]:
    """The floating outputs of fn."""
    result = fn(*items)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    return [y for y in outputs if isinstance(y, Tensor) and y.is_floating_point()]


def _recorded(fn: Callable[..., Any], items: Sequence[Any]) -> list[Tensor]:
    """The outputs of fn that depend on a tensor with requires_grad."""
    return [y for y in _outputs(fn, items) if y.requires_grad]


def _host(t: Tensor) -> Floats:
    """The values of t, on the CPU."""
    return t.detach().to("cpu").numpy()
