"""Recurrent layers: the loop over steps, directions and layers around the cells of `rnn_cells`.

Shapes: x[T,N,I], h0[L*D,N,P], c0[L*D,N,H], y[T,N,D*P], cells[T,N,D*H], where P is H without a projection; index
k = layer * D + direction. weights[k] are the parameters of one layer in one direction by name, weight_ih[G*H,I or D*P],
weight_hh[G*H,P] and so on; what is missing in them is not there.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jadro.testing.reference import rnn_cells
from jadro.testing.reference.dropout import dropout
from jadro.testing.reference.rnn_cells import Masks, Options, Params, State
from jadro.testing.reference.sums import Array


class Rows(NamedTuple):
    """Which rows of the batch a step computes, and which of them start anew there."""

    lengths: Array  # [N]: row b has the steps 0 .. lengths[b] - 1
    reset: Array  # [T,N]: row b is cut between t - 1 and t

    def at(self, t: int, reverse: bool) -> tuple[Array, Array]:
        """(rows [R], whether each begins anew [R]). Reset t begins step t, in the reverse direction step t - 1."""
        rows = np.flatnonzero(t < self.lengths)
        if not reverse:
            return rows, self.reset[t, rows]
        if t + 1 == len(self.reset):
            return rows, np.zeros(len(rows), bool)
        return rows, self.reset[t + 1, rows] & (t + 1 < self.lengths[rows])


class Run(NamedTuple):
    """One layer in one direction, for its backward pass: step t has steps[t] = (rows, begins anew, masks, saved)."""

    options: Options
    params: Params
    x: Array
    steps: list[Any]
    reverse: bool

    @property
    def order(self) -> list[int]:
        """Of the steps."""
        return list(range(len(self.x)))[:: -1 if self.reverse else 1]


class Result(NamedTuple):
    y: Array
    hn: Array
    cn: Array
    cells: Array
    runs: list[Run]


class Gradients(NamedTuple):
    dx: Array
    dh0: Array
    dc0: Array
    dreset_h: Array
    dreset_c: Array
    dweights: list[dict[str, Array]]


def forward(
    options: Options,
    x: Array,
    h0: Array,
    c0: Array,
    weights: Sequence[Params],
    *,
    layers: int = 1,
    directions: int = 1,
    lengths: Array | None = None,
    reset: Array | None = None,
    reset_state: tuple[Array, Array] | None = None,
    masks: Sequence[Masks] | None = None,
    dropout_p: float = 0.0,
    seed: int = 0,
    offset: int = 0,
) -> Result:
    """reset_state: shaped as (h0, c0), None for zeros. masks[k]: keep_h[T,N,P], keep_c[T,N,H], drop_h[N,P],
    drop_n[T,N,H], or numbers. Dropout acts on every layer's output but the last's: element j of layer l (from 0) takes
    number offset + l*T*N*D*P + j of the stream.
    """
    steps, batch = x.shape[:2]
    rows = Rows(
        np.full(batch, steps) if lengths is None else np.asarray(lengths),
        np.zeros((steps, batch), bool) if reset is None else np.asarray(reset),
    )
    again = (np.zeros_like(h0), np.zeros_like(c0)) if reset_state is None else reset_state
    runs: list[Run] = []
    last: list[State] = []
    for layer in range(layers):
        parts = []
        for k in range(layer * directions, (layer + 1) * directions):
            run = Run(options, weights[k], x, [None] * steps, k % directions == 1)
            mine = masks[k] if masks else Masks()
            y, cells, end = _run_forward(run, State(h0[k], c0[k]), State(again[0][k], again[1][k]), mine, rows)
            runs.append(run)
            last.append(end)
            parts.append((y, cells))
        x, cells = (np.concatenate(both, 2) for both in zip(*parts, strict=True))
        if dropout_p and layer < layers - 1:
            x = dropout(x, dropout_p, seed, offset + layer * x.size)
    return Result(x, np.stack([s.h for s in last]), np.stack([s.c for s in last]), cells, runs)


def backward(
    runs: Sequence[Run],
    dy: Array,
    dhn: Array,
    dcn: Array,
    dcells: Array | None = None,
    *,
    layers: int = 1,
    directions: int = 1,
    dropout_p: float = 0.0,
    seed: int = 0,
    offset: int = 0,
) -> Gradients:
    """Back-propagation through all steps, from the gradients of y, hn, cn and cells."""
    dstart, dagain = ([State(np.zeros_like(dhn[k]), np.zeros_like(dcn[k])) for k in range(len(runs))] for _ in range(2))
    dweights: list[dict[str, Array]] = [{} for _ in runs]
    dx = dy
    for layer in reversed(range(layers)):
        if dropout_p and layer < layers - 1:
            dx = dropout(dx, dropout_p, seed, offset + layer * dx.size)
        seen = dcells if layer == layers - 1 else None
        parts = [dx] if directions == 1 else np.split(dx, directions, 2)
        cells = [None] * directions if seen is None else np.split(seen, directions, 2)
        dx = np.zeros_like(runs[layer * directions].x)
        for direction in range(directions):
            k = layer * directions + direction
            part, dstart[k], dagain[k], dweights[k] = _run_backward(
                runs[k], parts[direction], cells[direction], State(dhn[k], dcn[k])
            )
            dx = dx + part
    (dh0, dc0), (dreset_h, dreset_c) = (map(np.stack, zip(*states, strict=True)) for states in (dstart, dagain))
    return Gradients(dx, dh0, dc0, dreset_h, dreset_c, dweights)


def _step_masks(masks: Masks, t: int, rows: Array) -> Masks:
    """Those of the rows of one step; drop_h is the same for all steps."""
    every = (m[t] if np.ndim(m) == 3 else m for m in masks)
    return Masks(*(m[rows] if np.ndim(m) else m for m in every))


def _run_forward(run: Run, start: State, again: State, masks: Masks, rows: Rows) -> tuple[Array, Array, State]:
    """(y[T,N,P], cells[T,N,H], last state) of one direction; past the end of a row y and cells are 0."""
    h, c = start.h.copy(), start.c.copy()
    y, cells = (np.zeros((len(run.x), *s.shape), s.dtype) for s in (h, c))
    for t in run.order:
        here, anew = rows.at(t, run.reverse)
        old = State(*(np.where(anew[:, None], a[here], s[here]) for a, s in zip(again, (h, c), strict=True)))
        chosen = _step_masks(masks, t, here)
        new, saved = rnn_cells.forward(run.options, run.params, run.x[t, here], old, chosen)
        run.steps[t] = (here, anew, chosen, saved)
        h[here], c[here] = new
        y[t, here], cells[t, here] = new
    return y, cells, State(h, c)


def _run_backward(
    run: Run, dy: Array, dcells: Array | None, dend: State
) -> tuple[Array, State, State, dict[str, Array]]:
    """The gradients of x, of the first state, of the state that resets put in its place, and of the parameters."""
    dh, dc = dend.h.copy(), dend.c.copy()
    dagain = State(np.zeros_like(dh), np.zeros_like(dc))
    dx = np.zeros_like(run.x)
    grads = {name: np.zeros_like(p) for name, p in run.params.items()}
    for t in reversed(run.order):
        here, anew, masks, saved = run.steps[t]
        d = State(dh[here] + dy[t, here], dc[here] + (0 if dcells is None else dcells[t, here]))
        dx[t, here], dold = rnn_cells.backward(run.options, run.params, masks, saved, d, grads)
        for whole, from_start, part in zip(dagain, (dh, dc), dold, strict=True):
            whole[here[anew]] += part[anew]
            from_start[here] = np.where(anew[:, None], 0, part)
    return dx, State(dh, dc), dagain, grads
