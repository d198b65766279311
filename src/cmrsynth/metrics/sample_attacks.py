"""Membership attacks that need nothing but the synthetic samples.

Whoever was trained on tends to have a sample nearby, and many of them. A higher score means "more like a member".
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from .neighbours import nearest_neighbours

_ROWS = 256  # rows of a distance matrix held at a time


def gan_leaks_scores(real: np.ndarray, synthetic: np.ndarray) -> np.ndarray:
    """Return (n,) minus the distance of each real image (n, d) to the nearest synthetic one (m, d).

    This is the full black-box attack. If each sample is a noisy copy of a random training image and there are as
    many samples as training images, a share c = 1 - 1/e of these is hit, and the AUC is c + (1 - c) / 2 = 0.816.

    Source: Chen et al. 2020, arXiv:1909.03935, section 4.2, with Euclidean distance.

    >>> (-gan_leaks_scores(np.array([[0.0], [2.0]]), np.array([[0.5], [9.0]]))).tolist()
    [0.5, 1.5]
    """
    return -nearest_neighbours(real, synthetic, None, np.arange(len(synthetic))).distance_1


def monte_carlo_radius(scores: np.ndarray) -> float:
    """Return the radius for `monte_carlo_scores`: the median distance to the nearest sample.

    Args:
        scores: (n,) `gan_leaks_scores` of all candidates, members and others together.

    >>> monte_carlo_radius(np.array([-1.0, -2.0, -6.0]))
    2.0
    """
    return float(-np.median(scores))


def monte_carlo_scores(real: np.ndarray, synthetic: np.ndarray, radius: float) -> np.ndarray:
    """Return (n,) the share of synthetic images (m, d) within `radius` of each real image (n, d), in [0, 1].

    Source: Hilprecht et al. 2019, arXiv:1906.03006, equation 3, radius by its median heuristic.

    >>> monte_carlo_scores(np.array([[0.0], [5.0]]), np.array([[0.5], [1.0], [5.0], [7.0]]), 1.0).tolist()
    [0.5, 0.25]
    """
    real, synthetic = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    blocks = (real[start : start + _ROWS] for start in range(0, len(real), _ROWS))
    return np.concatenate([(cdist(block, synthetic) <= radius).mean(1) for block in blocks])
