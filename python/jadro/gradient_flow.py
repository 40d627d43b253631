"""How far gradients flow back through time: the norm of dL/dh_t by t, and its plot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import backend
from .autograd import enable_grad, grad, no_grad
from .nn.functional import cross_entropy
from .nn.module import Module
from .nn.recurrent import GRU, LSTM, RNN
from .nn.utils import evaluating
from .ops.rnn_composed import Trace, tracing
from .tensor import Tensor, as_tensor


@enable_grad
def gradient_flow(
    model: Module, batch: Sequence[Any], loss: Callable[..., Tensor] | None = None, *, last: bool = False,
    burn_in: int = 0,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The norm of dL/dh_t by t, exact, for each recurrent layer of a model: whether gradients vanish or explode.

    model: called as `model(x)`, in evaluation mode; gives the output [T, ...], or a pair (output, state). batch: (x,
    target), target [T, ...], or (x, target, reset) of `stream_batches` with documents, where the model is called as
    `model(x, reset=reset)` and no gradient crosses the beginning of a document. burn_in: that of `stream_batches`; so
    many steps of x and reset run first, without a gradient, and the model goes on from their state. loss:
    `loss(output, target)`; None is the mean cross-entropy of scores [T, B, V]. last: L is the loss of the last step
    alone, so that the norm at t shows what is left of its gradient after T - 1 - t steps; otherwise L is that of all
    steps.

    Returns {name: float64 [T]}; a name is the layer's in the model and its number inside, such as "rnn.l0" or
    "rnn.l1_reverse". The norm is over rows and units, dL/dh_t the whole gradient of L with respect to h_t, by way of
    all later steps and layers. The loop runs in recorded operations for this, many times slower than in training.
    Raises ValueError where the model runs no recurrent layer, or one whose states have no gradient.
    """
    x, target, *resets = (as_tensor(part) for part in batch[:3])
    given: list[Any] = []
    with evaluating(model):
        if burn_in:
            with no_grad():
                given = [model(x[:burn_in], **({"reset": resets[0][:burn_in]} if resets else {}))[1]]
        options = {"reset": resets[0][burn_in:]} if resets else {}
        with tracing() as trace, _named(model, trace) as states:
            output = model(x[burn_in:], *given, **options)
    if not states:
        raise ValueError("gradient_flow: the model runs no recurrent layer, expected an RNN, LSTM or GRU")
    scores = output[0] if isinstance(output, tuple) else output
    if last:
        scores, target = scores[-1:], target[-1:]
    value = _cross_entropy(scores, target) if loss is None else loss(scores, target)
    every = [h for hs in states.values() for h in hs]
    if not all(h.requires_grad for h in every):
        raise ValueError("gradient_flow: a hidden state has no gradient, expected parameters that require one")
    gradients = iter(grad(value, every, allow_unused=True))
    return {name: np.array([_norm(next(gradients)) for _ in hs]) for name, hs in states.items()}


@contextmanager
def _named(model: Module, trace: Trace) -> Iterator[dict[str, list[Tensor]]]:
    """The hidden states of each layer and direction, under its name; they come as the model runs."""
    states: dict[str, list[Tensor]] = {}

    def keep(name: str, directions: int) -> None:
        for k, hs in enumerate(trace.calls[-1]):
            key = f"{name}{'.' if name else ''}l{k // directions}{'_reverse' if k % directions else ''}"
            calls = sum(known.partition("#")[0] == key for known in states)
            states[f"{key}#{calls + 1}" if calls else key] = hs

    def hook(name: str) -> Callable[..., None]:
        return lambda layer, *_: keep(name, 2 if layer.bidirectional else 1)

    hooks = [m.register_forward_hook(hook(n)) for n, m in model.named_modules() if isinstance(m, (RNN, LSTM, GRU))]
    try:
        yield states
    finally:
        for handle in hooks:
            handle.remove()


def _cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(scores.reshape(-1, scores.shape[-1]), target.reshape(-1))


def _norm(gradient: Tensor | None) -> float:
    """0 where L does not depend on the state."""
    if gradient is None:
        return 0.0
    return float(np.linalg.norm(backend.to_device(gradient.data, "cpu").astype(np.float64)))


def plot_gradient_flow(
    flows: Mapping[str, Any], path: str | os.PathLike[str] | None = None, *, title: str = "", axes: Any = None
) -> Any:
    """Draws norms of dL/dh_t over t, one line a label, on a logarithmic scale: a falling line to the left is a
    vanishing gradient, a rising one an exploding one.

    flows: {label: [T]}, such as `gradient_flow` returns, or a choice of several models'. path: where the figure is
    saved; the ending tells the format. axes: draw there instead of in a new figure. Zeros are left out of the line.
    Returns the matplotlib Figure. RuntimeError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RuntimeError("plot_gradient_flow: matplotlib is not installed; `pip install matplotlib`") from None
    if axes is None:
        axes = Figure(figsize=(7, 4.5), layout="constrained").subplots()
    for label, norms in flows.items():
        drawn = np.asarray(norms, np.float64)
        axes.plot(np.arange(len(drawn)), np.where(drawn > 0, drawn, np.nan), label=label)
    axes.set(xlabel="t", ylabel="norm of dL/dh(t)", yscale="log", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure = axes.get_figure()
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
