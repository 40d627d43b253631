"""The steps of the optimizers, as PyTorch computes them. Each gives the new parameter and the new state.

weight_decay adds weight_decay * p to the gradient g, which maximize turns round first.
"""

import numpy as np

from jadro.testing.reference.sums import Array


def _gradient(p: Array, g: Array, weight_decay: float, maximize: bool) -> Array:
    return (-g if maximize else g) + weight_decay * p


def sgd_step(
    p: Array, g: Array, b: Array | None, lr: float, momentum: float, dampening: float, weight_decay: float,
    nesterov: bool, maximize: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """b' = momentum b + (1 - dampening) g,  p' = p - lr b', with nesterov p - lr (g + momentum b'); without b, p - lr
    g."""
    g = _gradient(p, g, weight_decay, maximize)
    if b is None:
        return (p - lr * g,)
    b = momentum * b + (1 - dampening) * g
    return p - lr * (g + momentum * b if nesterov else b), b


def adagrad_step(
    p: Array, g: Array, s: Array, lr: float, eps: float, weight_decay: float, maximize: bool = False
) -> tuple[Array, Array]:
    """s' = s + g^2,  p' = p - lr g / (sqrt(s') + eps) (Duchi et al. 2011)"""
    g = _gradient(p, g, weight_decay, maximize)
    s = s + g * g
    return p - lr * g / (np.sqrt(s) + eps), s


def rmsprop_step(
    p: Array, g: Array, v: Array, mean: Array | None, b: Array | None, lr: float, alpha: float, eps: float,
    weight_decay: float, momentum: float, maximize: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """v' = alpha v + (1-alpha) g^2,  d = g / (sqrt(v') + eps),  p' = p - lr d (Tieleman and Hinton 2012)

    With b, b' = momentum b + d takes the place of d; with the mean, mean' = mean + (1-alpha) (g - mean) and v' -
    mean'^2 takes the place of v' under the root (Graves 2013).
    """
    g = _gradient(p, g, weight_decay, maximize)
    v = alpha * v + (1 - alpha) * g * g
    root, state = v, [v]
    if mean is not None:
        mean = mean + (1 - alpha) * (g - mean)
        root = v - mean * mean
        state.append(mean)
    d = g / (np.sqrt(root) + eps)
    if b is not None:
        d = b = momentum * b + d
        state.append(b)
    return (p - lr * d, *state)


def adam_step(
    p: Array, g: Array, m: Array, v: Array, largest_v: Array | None, lr: float, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool, step: int, maximize: bool = False,
) -> tuple[Array, ...]:  # fmt: skip
    """m' = b1 m + (1-b1) g,  v' = b2 v + (1-b2) g^2,  p' = p - lr * m'/(1-b1^t) / (sqrt(v'/(1-b2^t)) + eps)

    (Kingma and Ba 2015.) Decoupled weight decay first shrinks p by 1 - lr * weight_decay (Loshchilov and Hutter 2019).
    With largest_v the largest v' so far stands under the root (Reddi et al. 2018).
    """
    if decoupled:
        p, weight_decay = p * (1 - lr * weight_decay), 0.0
    g = _gradient(p, g, weight_decay, maximize)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    largest = v if largest_v is None else np.maximum(largest_v, v)
    denominator = np.sqrt(largest) / (1 - beta2**step) ** 0.5 + eps
    p = p - lr / (1 - beta1**step) * m / denominator
    return (p, m, v) if largest_v is None else (p, m, v, largest)
