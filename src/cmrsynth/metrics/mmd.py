"""The maximum mean discrepancy between two feature sets under a Gaussian kernel (the mathematics of CMMD).

No Gaussian is fitted to the features, so unlike the Frechet distance it also sees differences beyond mean and
covariance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CMMD_BANDWIDTH = 10.0
CMMD_SCALE = 1000.0
_MEDIAN_ROWS = 1000  # rows that stand for a set when its median distance is taken
_ROWS = 1024  # rows of a kernel matrix held at a time


def cmmd(x: np.ndarray, y: np.ndarray) -> float:
    """Return the CLIP maximum mean discrepancy: 1000 times the biased MMD^2, bandwidth 10, of unit vectors.

    Bandwidth and scale belong to embeddings of CLIP ViT-L/14 at 336 pixels; for other features use `mmd_rbf`. The
    estimate includes the diagonal, as in the reference, so two samples of one distribution are above 0 by about
    (1 - mean kernel) (1 / n + 1 / m) times 1000: compare with a floor of the same sizes.

    Args:
        x: (n, d) float image embeddings, of any length but 0; they are scaled to length 1 here.
        y: (m, d) float.

    Returns:
        The discrepancy, >= 0; 0 for equal sets.

    Raises:
        ValueError: the sets are empty, of other dimensions, not finite, or hold an embedding of length 0.

    Source: Jayasumana et al. 2024, arXiv:2401.09603.

    >>> round(cmmd(np.array([[2.0, 0.0]]), np.array([[-3.0, 0.0]])), 4)
    39.6027
    """
    x, y = _checked(x, y, 1)
    lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (x, y)]
    if min(length.min() for length in lengths) == 0:
        raise ValueError("embeddings: some have length 0 and no direction; check the images and the encoder")
    return CMMD_SCALE * mmd_squared(x / lengths[0], y / lengths[1], bandwidth=CMMD_BANDWIDTH)


def mmd_squared(x: np.ndarray, y: np.ndarray, *, bandwidth: float) -> float:
    """Return the biased MMD^2 (a V-statistic: means over whole kernel matrices) with exp(-r^2 / (2 bandwidth^2)).

    Args:
        x: (n, d) float.
        y: (m, d) float.
        bandwidth: in the features' unit, > 0.

    Returns:
        MMD^2 in [0, 2].

    Source: Gretton et al. 2012, JMLR 13, equation 5.

    >>> round(mmd_squared(np.zeros((3, 2)), np.ones((2, 2)), bandwidth=1.0), 4)
    1.2642
    """
    x, y = _checked(x, y, 1)
    mean = _kernel_mean(bandwidth)
    return max(0.0, mean(x, x) + mean(y, y) - 2 * mean(x, y))


def mmd_rbf(x: np.ndarray, y: np.ndarray, *, bandwidth: float | None = None) -> float:
    """Return the unbiased MMD^2 with a Gaussian kernel whose bandwidth fits the features.

    Args:
        x: (n, d) float, n >= 2.
        y: (m, d) float, m >= 2, the reference.
        bandwidth: None takes `median_bandwidth(y)`. Give one where several values are to be compared.

    Returns:
        MMD^2; its expectation is 0 where both sets come from one distribution, so it may be negative.

    Raises:
        ValueError: the sets have fewer than two rows, other dimensions, or values that are not finite.

    Source: Gretton et al. 2012, JMLR 13, equation 3.

    >>> round(mmd_rbf(np.array([[0.0], [0.0]]), np.array([[3.0], [4.0]]), bandwidth=1.0), 4)
    1.5951
    """
    x, y = _checked(x, y, 2)
    mean = _kernel_mean(median_bandwidth(y) if bandwidth is None else bandwidth)

    def off_diagonal(each: np.ndarray) -> float:
        return (mean(each, each) * len(each) - 1) / (len(each) - 1)  # the diagonal is 1

    return off_diagonal(x) + off_diagonal(y) - 2 * mean(x, y)


def median_bandwidth(reference: np.ndarray) -> float:
    """Return the median distance between different rows of a set: the median heuristic.

    The reference alone decides, so that no synthetic set chooses its own ruler. More than 1000 rows are represented
    by 1000 evenly spaced ones.

    Args:
        reference: (m, d) float, m >= 2.

    Raises:
        ValueError: more than half of the distances are 0.

    Source: Gretton et al. 2012, JMLR 13, section 8.

    >>> median_bandwidth(np.array([[0.0], [1.0], [3.0]]))
    2.0
    """
    from scipy.spatial.distance import pdist

    reference = np.asarray(reference, dtype=np.float64)
    if len(reference) > _MEDIAN_ROWS:
        reference = reference[np.linspace(0, len(reference) - 1, _MEDIAN_ROWS).round().astype(int)]
    median = float(np.median(pdist(reference))) if len(reference) > 1 else 0.0
    if not median > 0:
        raise ValueError("reference: its rows are equal, so they give no bandwidth; give different images")
    return median


def _kernel_mean(bandwidth: float) -> Callable[[np.ndarray, np.ndarray], float]:
    if not bandwidth > 0:
        raise ValueError(f"bandwidth: expected a positive length, got {bandwidth}")

    def mean(x: np.ndarray, y: np.ndarray) -> float:
        squares = (y * y).sum(1)
        total = 0.0
        for start in range(0, len(x), _ROWS):
            part = x[start : start + _ROWS]
            distance = (part * part).sum(1)[:, None] + squares - 2 * part @ y.T
            total += float(np.exp(np.maximum(distance, 0) / (-2 * bandwidth**2)).sum())
        return total / (len(x) * len(y))

    return mean


def _checked(x: np.ndarray, y: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < least:
        raise ValueError(
            f"features: expected two sets (n, d) with n >= {least} and one d, got shapes {x.shape} and {y.shape}; "
            "give enough images and encode both with one network"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features: they hold NaN or infinite values; check the images and the encoder")
    return x, y
