"""Does a density spread around the synthetic images fit training patients better than held-out ones?

Every synthetic image gets a Gaussian whose width is fitted to the training images. Around a copy the width shrinks to
nothing, so training images become very likely and held-out ones do not.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

_ROWS = 256  # rows of a distance matrix held at a time
_NARROWEST, _WIDEST = -10.0, 10.0  # log widths; features are standardised, and float32 resolves no less than e^-10


def likelihood_gap(
    synthetic: np.ndarray, train: np.ndarray, holdout: np.ndarray, *, iterations: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Return the negative log-likelihood of each training and each held-out image, per dimension, times 100.

    The gap is the mean of the first less the mean of the second: somewhat below 0 for fresh images, because the
    widths are fitted to the training images, and far below it (-1000 is plain copying) where images were copied. Mode
    collapse alone leaves it near 0. The fitting error grows with the number of synthetic images per training image:
    compare values at equal numbers only.

    Args:
        synthetic: (n, d) float.
        train: (t, d) float.
        holdout: (p, d) float; its mean and standard deviation are the unit of all features.
        iterations: of expectation maximisation.

    Returns:
        (t,) and (p,) float64.

    Raises:
        ValueError: sets with different features, or an empty one.

    Source: Jiralerspong et al. 2023, arXiv:2302.04440; the widths by expectation maximisation instead of Adam, and
    the logarithm of a width kept within +-10.
    """
    sets = [np.asarray(points, dtype=np.float64) for points in (synthetic, train, holdout)]
    if len({points.shape[1:] for points in sets}) > 1 or not all(map(len, sets)):
        raise ValueError(f"sets: shapes {[p.shape for p in sets]}; give (n, d) arrays of one d, none of them empty")
    mean, scale = sets[2].mean(0), sets[2].std(0)
    scale = np.where(scale > 0, scale, 1)
    synthetic, train, holdout = ((points - mean) / scale for points in sets)
    log_widths = _fitted_log_widths(synthetic, train, iterations)
    dimensions = train.shape[1]
    return tuple(-100 * _log_density(points, synthetic, log_widths) / dimensions for points in (train, holdout))


def _fitted_log_widths(centres: np.ndarray, points: np.ndarray, iterations: int) -> np.ndarray:
    dimensions = points.shape[1]
    nearest = np.full(len(centres), np.inf)
    for block in _blocks(points):
        nearest = np.minimum(nearest, cdist(block, centres, "sqeuclidean").min(0))
    log_widths = _log_width(nearest / dimensions)
    for _ in range(iterations):
        weight, spread = np.zeros(len(centres)), np.zeros(len(centres))
        for block in _blocks(points):
            squares = cdist(block, centres, "sqeuclidean")
            log_terms = _log_terms(squares, log_widths, dimensions)
            share = np.exp(log_terms - logsumexp(log_terms, axis=1, keepdims=True))
            weight += share.sum(0)
            spread += (share * squares).sum(0)
        used = weight > 1e-12  # a centre that explains nothing keeps its width
        log_widths[used] = _log_width(spread[used] / (weight[used] * dimensions))
    return log_widths


def _log_density(points: np.ndarray, centres: np.ndarray, log_widths: np.ndarray) -> np.ndarray:
    dimensions = points.shape[1]
    constant = -np.log(len(centres)) - dimensions / 2 * np.log(2 * np.pi)
    terms = (_log_terms(cdist(b, centres, "sqeuclidean"), log_widths, dimensions) for b in _blocks(points))
    return np.concatenate([logsumexp(t, axis=1) + constant for t in terms])


def _log_terms(squares: np.ndarray, log_widths: np.ndarray, dimensions: int) -> np.ndarray:
    return -squares / (2 * np.exp(2 * log_widths)) - dimensions * log_widths


def _log_width(variance: np.ndarray) -> np.ndarray:
    return np.clip(0.5 * np.log(np.maximum(variance, 1e-300)), _NARROWEST, _WIDEST)


def _blocks(points: np.ndarray) -> list[np.ndarray]:
    return [points[start : start + _ROWS] for start in range(0, len(points), _ROWS)]
