"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), as PyTorch computes them."""

import numpy as np

from jadro.testing.reference.sums import Array


def adam_step(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
) -> tuple[Array, Array, Array]:
    """The new p, m and v.

    m' = b1 m + (1-b1) g,  v' = b2 v + (1-b2) g^2,  p' = p - lr * m'/(1-b1^t) / (sqrt(v'/(1-b2^t)) + eps)

    Weight decay adds weight_decay * p to g, or, decoupled, first shrinks p by 1 - lr * weight_decay.
    """
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    denominator = np.sqrt(v) / (1 - beta2**step) ** 0.5 + eps
    return p - lr / (1 - beta1**step) * m / denominator, m, v
