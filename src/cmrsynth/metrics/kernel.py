"""The kernel distance between two sets of feature vectors (the mathematics of KID)."""

from __future__ import annotations

import numpy as np

_ROWS = 1024  # rows of a kernel matrix held at a time


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the unbiased squared maximum mean discrepancy with the cubic kernel (x.y / d + 1)^3.

    The full sets are used, not the mean over random subsets that KID is often reported as: the spread over
    overlapping subsets is no interval, so take one by resampling patients.

    Args:
        x: (n, d) float, n >= 2; rows are images.
        y: (m, d) float, m >= 2.

    Returns:
        MMD^2; its expectation is 0 where both sets come from one distribution, so it may be negative.

    Raises:
        ValueError: the sets have fewer than two rows or other dimensions.

    Source: Binkowski et al. 2018, arXiv:1801.01401.

    >>> float(round(kernel_distance(np.array([[1.0], [1.0]]), np.array([[0.0], [0.0]])), 6))
    7.0
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"features: expected two sets (n, d) with n >= 2 and one d, got shapes {x.shape} and {y.shape}; "
            "give at least two images a set and encode both with one network"
        )
    between = _kernel_sum(x, y) / (len(x) * len(y))
    return _mean_off_diagonal(x) + _mean_off_diagonal(y) - 2 * between


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    return sum(
        float(((x[start : start + _ROWS] @ y.T / x.shape[1] + 1) ** 3).sum()) for start in range(0, len(x), _ROWS)
    )


def _mean_off_diagonal(x: np.ndarray) -> float:
    diagonal = float((((x * x).sum(1) / x.shape[1] + 1) ** 3).sum())
    return (_kernel_sum(x, x) - diagonal) / (len(x) * (len(x) - 1))
