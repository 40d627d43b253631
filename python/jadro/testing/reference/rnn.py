"""Recurrent layers: each cell one step forward and one step backward, and the loop over steps, directions and layers.

PyTorch's equations and gate order (r z n for the GRU, i f g o for the LSTM), with s the logistic function:

    RNN   h' = act(W x + b + U h + b')                                    act = tanh or relu
    GRU   r = s(W_r x + b_r + U_r h + b'_r), z likewise, n = tanh(W_n x + b_n + r * (U_n h + b'_n)),  h' = (1-z) n + z h
    LSTM  i, f, o = s(...), g = tanh(...),  c' = f c + i g,  h' = o tanh(c')

Shapes: x[T,N,I], h0 and c0 [L*D,N,H], y[T,N,D*H]; for each layer, for each direction: W[G*H,I or D*H], U[G*H,H] and,
with bias, b[G*H], b'[G*H].
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jadro.testing.reference.activation import sigmoid
from jadro.testing.reference.dropout import dropout
from jadro.testing.reference.sums import Array, matmul, total


class State(NamedTuple):
    """What a step hands to the next one, and its gradient; c is empty but in the LSTM."""

    h: Array
    c: Array


class Run(NamedTuple):
    """One layer in one direction: its input, the weights (W, U, b, b'), and state and saved gates of each step, in
    time order.
    """

    x: Array
    weights: Sequence[Array]
    states: list[State]
    saved: list[Any]


class Result(NamedTuple):
    y: Array
    hn: Array
    cn: Array
    runs: list[Run]


class Gradients(NamedTuple):
    dx: Array
    dh0: Array
    dc0: Array
    dweights: list[Array]


def forward(
    cell: str,
    x: Array,
    h0: Array,
    c0: Array,
    weights: Sequence[Array],
    *,
    layers: int = 1,
    directions: int = 1,
    bias: bool = True,
    dropout_p: float = 0.0,
    seed: int = 0,
    offset: int = 0,
) -> Result:
    """cell: "rnn_tanh", "rnn_relu", "lstm" or "gru". Dropout acts on every layer's output but the last's: element j
    of layer l (from 0) takes number offset + l*T*N*D*H + j of the stream.
    """
    each, hidden = 4 if bias else 2, h0.shape[2]
    runs, last = [], []
    for layer in range(layers):
        y = np.zeros((len(x), x.shape[1], directions * hidden), x.dtype)
        for direction in range(directions):
            k, order = layer * directions + direction, -1 if direction else 1
            run = _run_forward(cell, x[::order], State(h0[k], c0[k]), weights[k * each :][:each])
            runs.append(run)
            last.append(run.states[-1])
            for y_t, state in zip(y[::order], run.states[1:], strict=True):
                y_t[:, direction * hidden : (direction + 1) * hidden] = state.h
        x = y
        if dropout_p and layer < layers - 1:
            x = dropout(x, dropout_p, seed, offset + layer * x.size)
    return Result(x, np.stack([s.h for s in last]), np.stack([s.c for s in last]), runs)


def backward(
    cell: str,
    runs: Sequence[Run],
    dy: Array,
    dhn: Array,
    dcn: Array,
    *,
    layers: int = 1,
    directions: int = 1,
    bias: bool = True,
    dropout_p: float = 0.0,
    seed: int = 0,
    offset: int = 0,
) -> Gradients:
    """Back-propagation through all steps, from the gradients of y, hn and cn."""
    hidden = dhn.shape[2]
    dweights: list[list[Array]] = [[] for _ in runs]
    dstart = [State(dhn[k], dcn[k]) for k in range(len(runs))]
    for layer in reversed(range(layers)):
        dx: Array | None = None
        if dropout_p and layer < layers - 1:
            dy = dropout(dy, dropout_p, seed, offset + layer * dy.size)
        for direction in range(directions):
            k, order = layer * directions + direction, -1 if direction else 1
            part = dy[:, :, direction * hidden : (direction + 1) * hidden][::order]
            dpart, dstart[k], grads = _run_backward(cell, runs[k], part, dstart[k])
            dx = dpart[::order] if dx is None else dx + dpart[::order]
            dweights[k] = grads[: 4 if bias else 2]
        assert dx is not None
        dy = dx
    dh0, dc0 = np.stack([d.h for d in dstart]), np.stack([d.c for d in dstart])
    return Gradients(dy, dh0, dc0, [g for grads in dweights for g in grads])


def _run_forward(cell: str, x: Array, start: State, weights: Sequence[Array]) -> Run:
    w, u = weights[0], weights[1]
    zero = np.zeros(len(w), w.dtype)
    b, b2 = weights[2:] if len(weights) == 4 else (zero, zero)
    run = Run(x, (w, u, b, b2), [start], [])
    for x_t in x:
        state, saved = STEPS[cell][0](matmul(x_t, w.T) + b, matmul(run.states[-1].h, u.T) + b2, run.states[-1])
        run.states.append(state)
        run.saved.append(saved)
    return run


def _run_backward(cell: str, run: Run, dy: Array, dstate: State) -> tuple[Array, State, list[Array]]:
    """dx, the gradient of the first state, and [dW, dU, db, db']."""
    w, u = run.weights[:2]
    dx = np.zeros_like(run.x)
    grads = [np.zeros_like(p) for p in run.weights]
    for t in reversed(range(len(dy))):
        old = run.states[t]
        # da, db: gradients of W x + b and of U h + b'; direct: of the old state, past the matrix product
        da, db, direct = STEPS[cell][1](State(dstate.h + dy[t], dstate.c), run.saved[t], old, run.states[t + 1])
        dx[t] = matmul(da, w)
        dstate = State(direct.h + matmul(db, u), direct.c)
        for grad, term in zip(
            grads, (matmul(da.T, run.x[t]), matmul(db.T, old.h), total(da, 0), total(db, 0)), strict=True
        ):
            grad += term
    return dx, dstate, grads


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _rnn_forward(act: Callable[[Array], Array], a: Array, b: Array, old: State) -> tuple[State, None]:
    return State(act(a + b), old.c), None


def _rnn_backward(
    slope: Callable[[Array], Array], d: State, _: None, old: State, new: State
) -> tuple[Array, Array, State]:
    da = d.h * slope(new.h)
    return da, da, State(np.zeros_like(d.h), d.c)


def _gru_forward(a: Array, b: Array, old: State) -> tuple[State, tuple[Array, ...]]:
    (ar, az, an), (br, bz, bn) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
    r, z = sigmoid(ar + br), sigmoid(az + bz)
    n = np.tanh(an + r * bn)
    return State((1 - z) * n + z * old.h, old.c), (r, z, n, bn)


def _gru_backward(d: State, saved: tuple[Array, ...], old: State, new: State) -> tuple[Array, Array, State]:
    r, z, n, bn = saved
    dn = d.h * (1 - z) * (1 - n * n)
    dz = d.h * (old.h - n) * z * (1 - z)
    dr = dn * bn * r * (1 - r)
    return np.concatenate([dr, dz, dn], 1), np.concatenate([dr, dz, dn * r], 1), State(d.h * z, d.c)


def _lstm_forward(a: Array, b: Array, old: State) -> tuple[State, tuple[Array, ...]]:
    i, f, g, o = np.split(a + b, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * old.c + i * g
    return State(o * np.tanh(c), c), (i, f, g, o)


def _lstm_backward(d: State, saved: tuple[Array, ...], old: State, new: State) -> tuple[Array, Array, State]:
    i, f, g, o = saved
    tanh_c = np.tanh(new.c)
    dc = d.c + d.h * o * (1 - tanh_c * tanh_c)
    gates = (dc * g * i * (1 - i), dc * old.c * f * (1 - f), dc * i * (1 - g * g), d.h * tanh_c * o * (1 - o))
    da = np.concatenate(gates, 1)
    return da, da, State(np.zeros_like(d.h), dc * f)


# cell -> one step forward (W x + b, U h + b', old state) -> new state, saved; one step backward (gradient of the new
# state, saved, old state, new state) -> gradients of W x + b and of U h + b', and of the old state past the matrix
# product
STEPS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "rnn_tanh": (partial(_rnn_forward, np.tanh), partial(_rnn_backward, lambda h: 1 - h * h)),
    "rnn_relu": (partial(_rnn_forward, _relu), partial(_rnn_backward, lambda h: (h > 0).astype(h.dtype))),
    "gru": (_gru_forward, _gru_backward),
    "lstm": (_lstm_forward, _lstm_backward),
}
