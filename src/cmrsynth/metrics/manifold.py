"""Precision, recall, density and coverage: does the synthetic set lie on, and fill, the real manifold?"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

_ROWS = 512  # rows of a distance matrix held at a time


def prdc(real: np.ndarray, synthetic: np.ndarray, *, k: int = 5) -> dict[str, float]:
    """Return precision, recall, density and coverage of a synthetic feature set.

    Every point carries a ball that reaches its k-th nearest neighbour in its own set. Precision is the share of
    synthetic points in any real ball, recall the share of real points in any synthetic ball, density the mean
    number of real balls around a synthetic point over k, coverage the share of real balls that hold a synthetic
    point. Same distribution and size: density about 1, coverage about 1 - 2^-k. Coverage stays high under mode
    collapse (recall near 0 and density far above 1 show it), and copies leave all four near normal.

    Balls are closed, so that k + 1 equal real images (a ball of radius 0) still hold their own copy.

    Args:
        real: (n, d) float, n > k; the held-out patients, not the training patients.
        synthetic: (m, d) float, m > k.
        k: neighbour that sets the radius.

    Returns:
        {"precision", "recall", "density", "coverage"}; all in [0, 1] but density, which may exceed 1.

    Raises:
        ValueError: a set has no more than k rows, or the dimensions differ.

    Source: Kynkaanniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797.

    >>> line = np.arange(10.0)[:, None]
    >>> prdc(line, line, k=1)
    {'precision': 1.0, 'recall': 1.0, 'density': 2.8, 'coverage': 1.0}
    """
    real, synthetic = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    if min(len(real), len(synthetic)) <= k or real.shape[1] != synthetic.shape[1]:
        raise ValueError(
            f"features: expected two sets of more than {k} rows and one dimension, got {real.shape} and "
            f"{synthetic.shape}; give more than {k} images a set"
        )
    real_radius, synthetic_radius = _kth_distance(real, k), _kth_distance(synthetic, k)
    balls_around_synthetic = np.zeros(len(synthetic), dtype=int)
    recalled, covered = np.zeros(len(real), dtype=bool), np.zeros(len(real), dtype=bool)
    for start in range(0, len(real), _ROWS):
        rows = slice(start, start + _ROWS)
        distance = cdist(real[rows], synthetic)
        in_real_ball = distance <= real_radius[rows, None]
        balls_around_synthetic += in_real_ball.sum(0)
        covered[rows] = in_real_ball.any(1)
        recalled[rows] = (distance <= synthetic_radius[None, :]).any(1)
    return {
        "precision": float((balls_around_synthetic > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(balls_around_synthetic.mean() / k),
        "coverage": float(covered.mean()),
    }


def _kth_distance(points: np.ndarray, k: int) -> np.ndarray:
    """Distance of each point to its k-th nearest neighbour, itself left out by position (duplicates count)."""
    radius = np.empty(len(points))
    for start in range(0, len(points), _ROWS):
        distance = cdist(points[start : start + _ROWS], points)
        own = np.arange(len(distance))
        distance[own, start + own] = np.inf
        radius[start : start + len(distance)] = np.partition(distance, k - 1, axis=1)[:, k - 1]
    return radius
