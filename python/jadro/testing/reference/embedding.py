"""Table look-up: y[r] = weight[ids[r]]."""

import numpy as np
from numpy.typing import NDArray

from jadro.testing.reference.sums import Array


def embedding_forward(weight: Array, ids: NDArray[np.int64]) -> Array:
    return weight[ids]


def embedding_backward(dy: Array, ids: NDArray[np.int64], rows: int, padding_idx: int) -> Array:
    """dweight[v] = sum of dy[r] over the r with ids[r] = v, in the order of r; nothing for padding_idx."""
    dweight = np.zeros((rows, dy.shape[1]), dy.dtype)
    seen = ids != padding_idx
    np.add.at(dweight, ids[seen], dy[seen])
    return dweight
