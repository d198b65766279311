"""When training ends, and the learning rate on the way there."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The end of training: a number of optimiser steps, or minutes of training time (the other one is 0)."""

    steps: int = 0
    minutes: float = 0.0

    def progress(self, step: int, seconds: float) -> float:
        """Return the share of the budget that is used up, in [0, 1].

        >>> Budget(steps=10).progress(5, 1e9), Budget(minutes=1).progress(5, 30.0)
        (0.5, 0.5)
        """
        used = step / self.steps if self.steps else seconds / (60 * self.minutes)
        return min(used, 1.0)


def learning_rate_factor(step: int, progress: float, *, warmup_steps: int, decay_fraction: float) -> float:
    """Return the multiple of the peak learning rate: linear rise, plateau, cosine fall to 0 at progress 1.

    A function of the step and the progress alone, so there is no schedule state to save.

    >>> [learning_rate_factor(s, p, warmup_steps=10, decay_fraction=0.5) for s, p in ((4, 0.0), (50, 0.5), (99, 1.0))]
    [0.5, 1.0, 0.0]
    """
    rise = min(1.0, (step + 1) / max(warmup_steps, 1))
    if decay_fraction == 0 or progress <= 1 - decay_fraction:
        return rise
    through_decay = (progress - (1 - decay_fraction)) / decay_fraction
    return rise * (0.5 + 0.5 * math.cos(math.pi * through_decay))
