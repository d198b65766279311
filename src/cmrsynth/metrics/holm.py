"""Correction for asking several questions of the same patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down procedure, which bounds the chance of any false alarm.

    The i-th smallest of m is multiplied by m - i + 1, and none may be smaller than one before it. Valid whatever
    the dependence between the tests, as between the structures of one heart.

    Args:
        p_values: (m,) float in [0, 1]; NaN (not tested) stays NaN and is not counted in m.

    Returns:
        (m,) float in [0, 1], in the order of the input.

    Raises:
        ValueError: a value lies outside [0, 1], or the input is not a list of numbers.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"p-values of shape {p.shape}; give one list of numbers")
    known = np.flatnonzero(np.isfinite(p))
    if np.isinf(p).any() or (p[known] < 0).any() or (p[known] > 1).any():
        raise ValueError(f"p-values must lie in [0, 1], got {p.tolist()}")
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted
