"""A learning rate over a budget of steps or of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


def over_budget(steps: int | None, minutes: float | None, warmup: float = 0.0) -> Callable[[int], float]:
    """factor(step) of the learning rate: up to 1 over the first share `warmup` of the budget, then a half cosine down
    to 0.02.

    The budget is `steps` steps or `minutes` minutes from now on, whichever is further spent.
    """
    start = time.monotonic()

    def factor(step: int) -> float:
        done = step / steps if steps else 0.0
        if minutes:
            done = max(done, (time.monotonic() - start) / (60 * minutes))
        if done < warmup:
            return 0.05 + 0.95 * done / warmup
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))

    return factor
