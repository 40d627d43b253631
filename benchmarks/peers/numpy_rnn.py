"""Recurrent layers in NumPy, one layer, one direction, from a zero state; PyTorch's equations and gate order.

The inputs of all steps are multiplied at once; the backward pass gathers the gate gradients of all steps and multiplies
once for the weights.

forward(x[T,B,I], w_ih, w_hh, b_ih, b_hh) -> (y[T,B,H], saved)
backward(dy, w_ih, w_hh, b_ih, b_hh, saved) -> dx, dw_ih, dw_hh, db_ih, db_hh
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.cases import Array

HALF, ONE = np.float32(0.5), np.float32(1)


def sigmoid_(a: Array) -> Array:
    """In place: (tanh(a / 2) + 1) / 2."""
    a *= HALF
    np.tanh(a, out=a)
    a += ONE
    a *= HALF
    return a


def project(x: Array, w: Array, b: Array) -> Array:
    """x[T,B,I] -> x w' + b [T,B,G*H], all steps in one product."""
    T, B, I = x.shape
    return (x.reshape(T * B, I) @ w.T + b).reshape(T, B, -1)


def shifted(y: Array) -> Array:
    """The states that the steps start from: zeros, y[0], ..., y[T-2]."""
    h = np.empty_like(y)
    h[0] = 0
    h[1:] = y[:-1]
    return h


def products(da: Array, dh: Array, x: Array, w_ih: Array, y: Array) -> tuple[Array, ...]:
    """Gradients of x, w_ih, w_hh, b_ih, b_hh from those of the pre-activations, x w_ih' + b_ih and h w_hh' + b_hh."""
    rows = x.shape[0] * x.shape[1]
    da, dh = da.reshape(rows, -1), dh.reshape(rows, -1)
    dx = (da @ w_ih).reshape(x.shape)
    db = da.sum(0)
    dw_hh = dh.T @ shifted(y).reshape(rows, -1)
    return dx, da.T @ x.reshape(rows, -1), dw_hh, db, db if dh is da else dh.sum(0)


def rnn_forward(x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array) -> tuple[Array, Any]:
    """h = tanh(W x + b + U h + b')."""
    y = project(x, w_ih, b_ih + b_hh)
    u = np.ascontiguousarray(w_hh.T)
    for t in range(len(y)):
        if t:
            y[t] += y[t - 1] @ u
        np.tanh(y[t], out=y[t])
    return y, (x, y)


def rnn_backward(dy: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, saved: Any) -> tuple[Array, ...]:
    x, y = saved
    da = ONE - y * y
    dh: Any = 0
    for t in reversed(range(len(y))):
        da[t] *= dy[t] + dh
        dh = da[t] @ w_hh
    flat = da.reshape(-1, da.shape[2])
    return products(flat, flat, x, w_ih, y)


def lstm_forward(x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array) -> tuple[Array, Any]:
    """i f o = sigmoid, g = tanh of W x + b + U h + b'; c = f c + i g; h = o tanh(c)."""
    gates = project(x, w_ih, b_ih + b_hh)
    T, B, H = x.shape[0], x.shape[1], w_hh.shape[1]
    u = np.ascontiguousarray(w_hh.T)
    y, c, tanh_c = (np.empty((T, B, H), np.float32) for _ in range(3))
    for t in range(T):
        a = gates[t]
        if t:
            a += y[t - 1] @ u
        sigmoid_(a[:, : 2 * H])
        np.tanh(a[:, 2 * H : 3 * H], out=a[:, 2 * H : 3 * H])
        sigmoid_(a[:, 3 * H :])
        i, f, g, o = a.reshape(B, 4, H).transpose(1, 0, 2)
        np.multiply(i, g, out=c[t])
        if t:
            c[t] += f * c[t - 1]
        np.tanh(c[t], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=y[t])
    return y, (x, y, c, tanh_c, gates)


def lstm_backward(dy: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, saved: Any) -> tuple[Array, ...]:
    x, y, c, tanh_c, gates = saved
    T, B, H = y.shape
    da = np.empty_like(gates)
    dh: Any = 0
    dc: Any = 0
    for t in reversed(range(T)):
        i, f, g, o = gates[t].reshape(B, 4, H).transpose(1, 0, 2)
        di, df, dg, do = da[t].reshape(B, 4, H).transpose(1, 0, 2)
        dh = dy[t] + dh
        dc = dh * o * (ONE - tanh_c[t] * tanh_c[t]) + dc
        np.multiply(dc * g, i * (ONE - i), out=di)
        np.multiply(dc * (c[t - 1] if t else np.float32(0)), f * (ONE - f), out=df)
        np.multiply(dc * i, ONE - g * g, out=dg)
        np.multiply(dh * tanh_c[t], o * (ONE - o), out=do)
        dc = dc * f
        dh = da[t] @ w_hh
    flat = da.reshape(T * B, 4 * H)
    return products(flat, flat, x, w_ih, y)


def gru_forward(x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array) -> tuple[Array, Any]:
    """r z = sigmoid(W x + b + U h + b'); n = tanh(W_n x + b_n + r (U_n h + b'_n)); h = (1 - z) n + z h."""
    gates = project(x, w_ih, b_ih)
    T, B, H = x.shape[0], x.shape[1], w_hh.shape[1]
    u = np.ascontiguousarray(w_hh.T)
    y, inner = np.empty((T, B, H), np.float32), np.empty((T, B, H), np.float32)
    h = np.zeros((B, H), np.float32)
    for t in range(T):
        a, recurrent = gates[t], h @ u
        recurrent += b_hh
        a[:, : 2 * H] += recurrent[:, : 2 * H]
        sigmoid_(a[:, : 2 * H])
        inner[t] = recurrent[:, 2 * H :]
        r, z, n = a[:, :H], a[:, H : 2 * H], a[:, 2 * H :]
        n += r * inner[t]
        np.tanh(n, out=n)
        np.subtract(h, n, out=y[t])
        y[t] *= z
        y[t] += n
        h = y[t]
    return y, (x, y, inner, gates)


def gru_backward(dy: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, saved: Any) -> tuple[Array, ...]:
    x, y, inner, gates = saved
    T, _, H = y.shape
    da, dr = np.empty_like(gates), np.empty_like(gates)  # of the input's and of the state's pre-activations
    before = shifted(y)
    dh: Any = 0
    for t in reversed(range(T)):
        a = gates[t]
        r, z, n = a[:, :H], a[:, H : 2 * H], a[:, 2 * H :]
        dh = dy[t] + dh
        dn = dh * (ONE - z)
        dn *= ONE - n * n
        da[t, :, :H] = dn * inner[t] * (r * (ONE - r))
        da[t, :, H : 2 * H] = dh * (before[t] - n) * (z * (ONE - z))
        da[t, :, 2 * H :] = dn
        dr[t, :, : 2 * H] = da[t, :, : 2 * H]
        dr[t, :, 2 * H :] = dn * r
        dh = dh * z + dr[t] @ w_hh
    return products(da, dr, x, w_ih, y)


CELLS = {
    "rnn": (rnn_forward, rnn_backward),
    "lstm": (lstm_forward, lstm_backward),
    "gru": (gru_forward, gru_backward),
}
