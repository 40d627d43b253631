"""The random masks of recurrent layers: which number of the stream decides over which unit."""

import numpy as np

from jadro.testing.reference.dropout import dropout_mask
from jadro.testing.reference.rnn_cells import Masks


def masks(
    sizes: tuple[int, int, int, int],
    zoneout: tuple[float, float],
    recurrent_dropout: float,
    mode: str,
    *,
    layers: int,
    directions: int,
    dropout_p: float,
    seed: int,
    offset: int,
) -> list[Masks]:
    """Those of training, for each layer and direction; sizes: T, N, P and H.

    The stream's numbers from `offset` on go to dropout between the layers first, (layers-1) T N D P of them, then for
    each layer and direction to zoneout of h [T,N,P], zoneout of c [T,N,H] and recurrent dropout, [N,P] in the mode
    "sequence" and [T,N,H] in the mode "update". What is off takes none. An old unit is kept, and a unit dropped, where
    its number is below the probability; dropout scales by 1/(1-p).
    """
    steps, batch, out, hidden = sizes
    offset += (layers - 1) * steps * batch * directions * out if dropout_p else 0
    shape_of_drop = (batch, out) if mode == "sequence" else (steps, batch, hidden)
    found = []
    for _ in range(layers * directions):
        drawn = []
        for p, shape in (
            (zoneout[0], (steps, batch, out)),
            (zoneout[1], (steps, batch, hidden)),
            (recurrent_dropout, shape_of_drop),
        ):
            drawn.append(dropout_mask(shape, p, seed, offset) if p else None)
            offset += int(np.prod(shape)) if p else 0
        keep_h, keep_c = (0.0 if m is None else (~m).astype(np.int8) for m in drawn[:2])
        drop = 1.0 if drawn[2] is None else drawn[2] * (1 / (1 - recurrent_dropout))
        found.append(Masks(keep_h, keep_c, *((drop, 1.0) if mode == "sequence" else (1.0, drop))))
    return found
