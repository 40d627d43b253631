"""A learning rate over a budget of steps or of time."""

from __future__ import annotations

import time
from collections.abc import Callable

LAST = 0.02  # of the rate, at the end


def over_budget(steps: int | None, minutes: float | None, warmup: float, hold: float) -> Callable[[int], float]:
    """factor(step) of the learning rate: up to 1 over the first share `warmup` of the budget, 1 until the share `hold`,
    then down to 0.02 in a straight line.

    The budget is `steps` steps or `minutes` minutes from now on, whichever is further spent: on a machine of any speed
    training ends with small steps.
    """
    start = time.monotonic()

    def factor(step: int) -> float:
        done = step / steps if steps else 0.0
        if minutes:
            done = max(done, (time.monotonic() - start) / (60 * minutes))
        if done < warmup:
            return LAST + (1 - LAST) * done / warmup
        return max(LAST, min(1.0, 1 - (1 - LAST) * (done - hold) / (1 - hold)))

    return factor
