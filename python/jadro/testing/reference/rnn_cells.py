"""One step of each recurrent cell with all its options, forward and backward.

With s the logistic function, [v] = v bounded to +-gate_clip, and for each gate k

    A_k = LN(W_k x) + b_k,    B_k = LN(U_k (d_h h)) + b'_k,

where LN is there with layer_norm only and d_h is the mask of recurrent dropout on the state that enters U:

    RNN   n = act([A + B]),                                         h~ = d_n n                      act = tanh or relu
    GRU   r = s([A_r + B_r]), z = s([A_z + B_z]), n = tanh([A_n + r B_n]), h~ = (1-z) d_n n + z h
          reset_after=False: n = tanh([A_n + LN(U_n (r d_h h)) + b'_n])
    LSTM  i = s([A_i + B_i + p_i c]), f = s([A_f + B_f + p_f c]), g = tanh([A_g + B_g]), c~ = f c + i d_n g,
          o = s([A_o + B_o + p_o c~]), h~ = V (o tanh(LN(c~)));   coupled: f = 1 - i

p is there with peephole only, V with a projection, and d_n is the mask of recurrent dropout on what a step writes. Of
the RNN and the GRU h~, of the LSTM c~, is bounded to +-cell_clip as soon as it is there. Last comes zoneout:
h' = k_h h + (1-k_h) h~ and c' = k_c c + (1-k_c) c~, with k 0 or 1 in training and a probability in evaluation.

Parameters have the layers' names without layer and direction, such as weight_ih. Rows of W and U: r z n, i f g o, or
i g o where coupled. LN runs over all rows of the LSTM's gates and of the RNN's, and over those of r z and of n apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jadro.testing.reference.activation import activation_forward, sigmoid
from jadro.testing.reference.sums import Array, matmul, total

EPS = 1e-5
Params = Mapping[str, Array]


@dataclass(frozen=True)
class Options:
    """What a cell knows besides its arrays; `cell`: "rnn_tanh", "rnn_relu", "lstm" or "gru"."""

    cell: str
    reset_after: bool = True
    coupled: bool = False
    cell_clip: float | None = None
    gate_clip: float | None = None

    @property
    def gates(self) -> int:
        return {"lstm": 4 - self.coupled, "gru": 3}.get(self.cell, 1)


class State(NamedTuple):
    """What a step hands to the next one, or its gradient: h[N,P] and, in the LSTM, c[N,H]."""

    h: Array
    c: Array


class Masks(NamedTuple):
    """Of one step: k_h, k_c, d_h and d_n of the equations, arrays or numbers."""

    keep_h: Any = 0.0
    keep_c: Any = 0.0
    drop_h: Any = 1.0
    drop_n: Any = 1.0


class Affine(NamedTuple):
    """What `affine` leaves for its backward pass."""

    v: Array
    normalised: Array
    scale: Array


def forward(o: Options, p: Params, x: Array, old: State, m: Masks) -> tuple[State, Any]:
    """The state after x[N,I] and what the backward pass needs."""
    return {"lstm": _lstm_forward, "gru": _gru_forward}.get(o.cell, _rnn_forward)(o, p, x, old, m)


def backward(o: Options, p: Params, m: Masks, saved: Any, d: State, grads: dict[str, Array]) -> tuple[Array, State]:
    """The gradients of x and of the old state, from d, that of the new one; those of the parameters go into grads."""
    return {"lstm": _lstm_backward, "gru": _gru_backward}.get(o.cell, _rnn_backward)(o, p, m, saved, d, grads)


# --- the pieces ------------------------------------------------------------------------------------------------------


def normalise(a: Array) -> tuple[Array, Array]:
    """(a - mean) / sqrt(variance + eps) of each row, and the factor 1 / sqrt(...)."""
    n = a.dtype.type(max(a.shape[1], 1))
    centred = a - (total(a, 1) / n)[:, None]
    scale = 1 / np.sqrt(total(centred * centred, 1) / n + a.dtype.type(EPS))[:, None]
    return centred * scale, scale


def normalise_backward(d: Array, normalised: Array, scale: Array) -> Array:
    n = d.dtype.type(max(d.shape[1], 1))
    means = [(total(v, 1) / n)[:, None] for v in (d, d * normalised)]
    return scale * (d - means[0] - normalised * means[1])


def affine(p: Params, side: str, rows: slice, v: Array) -> tuple[Array, Affine]:
    """LN(W v) + b for the rows of some gates; side: "ih" or "hh"."""
    a = matmul(v, p["weight_" + side][rows].T)
    normalised = scale = a
    if "weight_ln_" + side in p:
        normalised, scale = normalise(a)
        a = normalised * p["weight_ln_" + side][rows] + p["bias_ln_" + side][rows]
    if "bias_" + side in p:
        a = a + p["bias_" + side][rows]
    return a, Affine(v, normalised, scale)


def affine_backward(p: Params, side: str, rows: slice, d: Array, saved: Affine, grads: dict[str, Array]) -> Array:
    """The gradient of v."""
    if "bias_" + side in p:
        grads["bias_" + side][rows] += total(d, 0)
    if "weight_ln_" + side in p:
        grads["weight_ln_" + side][rows] += total(d * saved.normalised, 0)
        grads["bias_ln_" + side][rows] += total(d, 0)
        d = normalise_backward(d * p["weight_ln_" + side][rows], saved.normalised, saved.scale)
    grads["weight_" + side][rows] += matmul(d.T, saved.v)
    return matmul(d, p["weight_" + side][rows])


def bounded(v: Array, limit: float | None) -> Array:
    return v if limit is None else np.clip(v, -limit, limit)


def bounded_backward(d: Array, v: Array, limit: float | None) -> Array:
    """d inside the bounds and on them, 0 outside."""
    return d if limit is None else np.where(np.abs(v) <= limit, d, 0)


def mixed(keep: Any, old: Array, new: Array) -> Array:
    return keep * old + (1 - keep) * new


# --- the plain cell --------------------------------------------------------------------------------------------------


def _rnn_forward(o: Options, p: Params, x: Array, old: State, m: Masks) -> tuple[State, Any]:
    rows = slice(None)
    (a, saved_x), (b, saved_h) = affine(p, "ih", rows, x), affine(p, "hh", rows, m.drop_h * old.h)
    n = activation_forward(o.cell.removeprefix("rnn_"), bounded(a + b, o.gate_clip))
    candidate = m.drop_n * n
    h = mixed(m.keep_h, old.h, bounded(candidate, o.cell_clip))
    return State(h, old.c), (saved_x, saved_h, a + b, n, candidate)


def _rnn_backward(
    o: Options, p: Params, m: Masks, saved: Any, d: State, grads: dict[str, Array]
) -> tuple[Array, State]:
    saved_x, saved_h, sums, n, candidate = saved
    dn = bounded_backward((1 - m.keep_h) * d.h, candidate, o.cell_clip) * m.drop_n
    da = dn * (1 - n * n) if o.cell == "rnn_tanh" else np.where(n > 0, dn, 0)
    da = bounded_backward(da, sums, o.gate_clip)
    dx = affine_backward(p, "ih", slice(None), da, saved_x, grads)
    dh = m.drop_h * affine_backward(p, "hh", slice(None), da, saved_h, grads)
    return dx, State(dh + m.keep_h * d.h, d.c)


# --- the GRU ---------------------------------------------------------------------------------------------------------


def _gru_forward(o: Options, p: Params, x: Array, old: State, m: Masks) -> tuple[State, Any]:
    hidden = old.h.shape[1]
    rz, rows_n = slice(0, 2 * hidden), slice(2 * hidden, None)
    entering = m.drop_h * old.h
    (a_rz, saved_x_rz), (a_n, saved_x_n) = affine(p, "ih", rz, x), affine(p, "ih", rows_n, x)
    b_rz, saved_h_rz = affine(p, "hh", rz, entering)
    sums = a_rz + b_rz
    r, z = np.split(sigmoid(bounded(sums, o.gate_clip)), 2, axis=1)
    b_n, saved_h_n = affine(p, "hh", rows_n, entering if o.reset_after else r * entering)
    sum_n = a_n + (r * b_n if o.reset_after else b_n)
    n = np.tanh(bounded(sum_n, o.gate_clip))
    candidate = (1 - z) * (m.drop_n * n) + z * old.h
    h = mixed(m.keep_h, old.h, bounded(candidate, o.cell_clip))
    affines = (saved_x_rz, saved_x_n, saved_h_rz, saved_h_n)
    return State(h, old.c), (affines, old.h, entering, sums, sum_n, b_n, r, z, n, candidate)


def _gru_backward(
    o: Options, p: Params, m: Masks, saved: Any, d: State, grads: dict[str, Array]
) -> tuple[Array, State]:
    affines, h, entering, sums, sum_n, b_n, r, z, n, candidate = saved
    saved_x_rz, saved_x_n, saved_h_rz, saved_h_n = affines
    rz, rows_n = slice(0, 2 * h.shape[1]), slice(2 * h.shape[1], None)
    dnew = bounded_backward((1 - m.keep_h) * d.h, candidate, o.cell_clip)
    dh = m.keep_h * d.h + dnew * z
    dz = dnew * (h - m.drop_n * n)
    da_n = bounded_backward(dnew * (1 - z) * m.drop_n * (1 - n * n), sum_n, o.gate_clip)
    dx = affine_backward(p, "ih", rows_n, da_n, saved_x_n, grads)
    if o.reset_after:
        dr = da_n * b_n
        dentering = affine_backward(p, "hh", rows_n, da_n * r, saved_h_n, grads)
    else:
        dproduct = affine_backward(p, "hh", rows_n, da_n, saved_h_n, grads)
        dr, dentering = dproduct * entering, dproduct * r
    dgates = np.concatenate([dr * r * (1 - r), dz * z * (1 - z)], 1)
    dgates = bounded_backward(dgates, sums, o.gate_clip)
    dx = dx + affine_backward(p, "ih", rz, dgates, saved_x_rz, grads)
    dentering = dentering + affine_backward(p, "hh", rz, dgates, saved_h_rz, grads)
    return dx, State(dh + m.drop_h * dentering, d.c)


# --- the LSTM --------------------------------------------------------------------------------------------------------


def _peephole(p: Params, gate: str, c: Array) -> Any:
    return p["weight_p" + gate] * c if "weight_p" + gate in p else 0


def _lstm_forward(o: Options, p: Params, x: Array, old: State, m: Masks) -> tuple[State, Any]:
    rows = slice(None)
    (a, saved_x), (b, saved_h) = affine(p, "ih", rows, x), affine(p, "hh", rows, m.drop_h * old.h)
    sum_i, *sum_f, sum_g, sum_o = np.split(a + b, o.gates, axis=1)
    sum_i = sum_i + _peephole(p, "i", old.c)
    i, g = sigmoid(bounded(sum_i, o.gate_clip)), np.tanh(bounded(sum_g, o.gate_clip))
    if o.coupled:
        f = 1 - i
    else:
        sum_f = [sum_f[0] + _peephole(p, "f", old.c)]
        f = sigmoid(bounded(sum_f[0], o.gate_clip))
    candidate = f * old.c + i * (m.drop_n * g)
    c = bounded(candidate, o.cell_clip)
    sum_o = sum_o + _peephole(p, "o", c)
    out = sigmoid(bounded(sum_o, o.gate_clip))
    normalised = scale = shown = c
    if "weight_ln_c" in p:
        normalised, scale = normalise(c)
        shown = normalised * p["weight_ln_c"] + p["bias_ln_c"]
    tanh_c = np.tanh(shown)
    h = out * tanh_c
    if "weight_hr" in p:
        h = matmul(h, p["weight_hr"].T)
    sums = np.concatenate([sum_i, *sum_f, sum_g, sum_o], 1)
    saved = (saved_x, saved_h, old.c, sums, i, f, g, out, candidate, c, normalised, scale, tanh_c)
    return State(mixed(m.keep_h, old.h, h), mixed(m.keep_c, old.c, c)), saved


def _lstm_backward(
    o: Options, p: Params, m: Masks, saved: Any, d: State, grads: dict[str, Array]
) -> tuple[Array, State]:
    saved_x, saved_h, c_old, sums, i, f, g, out, candidate, c, normalised, scale, tanh_c = saved
    dh = (1 - m.keep_h) * d.h
    if "weight_hr" in p:
        grads["weight_hr"] += matmul(dh.T, out * tanh_c)
        dh = matmul(dh, p["weight_hr"])
    dc = dh * out * (1 - tanh_c * tanh_c)
    if "weight_ln_c" in p:
        grads["weight_ln_c"] += total(dc * normalised, 0)
        grads["bias_ln_c"] += total(dc, 0)
        dc = normalise_backward(dc * p["weight_ln_c"], normalised, scale)
    sum_i, *sum_f, sum_g, sum_o = np.split(sums, o.gates, axis=1)
    da_o = bounded_backward(dh * tanh_c * out * (1 - out), sum_o, o.gate_clip)
    dc = dc + (1 - m.keep_c) * d.c + _peephole(p, "o", da_o)
    dnew = bounded_backward(dc, candidate, o.cell_clip)
    di, df = dnew * m.drop_n * g, dnew * c_old
    if o.coupled:
        di = di - df
    da_i = bounded_backward(di * i * (1 - i), sum_i, o.gate_clip)
    da_f = [] if o.coupled else [bounded_backward(df * f * (1 - f), sum_f[0], o.gate_clip)]
    da_g = bounded_backward(dnew * i * m.drop_n * (1 - g * g), sum_g, o.gate_clip)
    dc_old = m.keep_c * d.c + dnew * f + _peephole(p, "i", da_i)
    for da in da_f:
        dc_old = dc_old + _peephole(p, "f", da)
    for gate, da, seen in (("i", da_i, c_old), *(("f", da, c_old) for da in da_f), ("o", da_o, c)):
        if "weight_p" + gate in p:
            grads["weight_p" + gate] += total(da * seen, 0)
    da = np.concatenate([da_i, *da_f, da_g, da_o], 1)
    dx = affine_backward(p, "ih", slice(None), da, saved_x, grads)
    entering = affine_backward(p, "hh", slice(None), da, saved_h, grads)
    return dx, State(m.keep_h * d.h + m.drop_h * entering, dc_old)
