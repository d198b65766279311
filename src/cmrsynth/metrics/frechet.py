"""The Frechet distance between two sets of feature vectors (the mathematics of FID)."""

from __future__ import annotations

import numpy as np


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the squared Frechet distance between Gaussians fitted to two feature sets.

    FD^2 = ||mu_x - mu_y||^2 + Tr(S_x + S_y - 2 (S_x S_y)^(1/2)) with unbiased covariances. The trace of the root is
    taken without a matrix root of a non-symmetric product: as a nuclear norm of the centred features where both
    sets are smaller than the dimension, otherwise from the symmetric form S_x^(1/2) S_y S_x^(1/2).

    The estimate is biased upwards by O(1/n): about d (d + 5) / (2 n) for two samples of size n from the same
    standard normal in d dimensions. Compare it only with a floor taken at the same sizes.

    Args:
        x: (n, d) float, n >= 2; rows are images.
        y: (m, d) float, m >= 2.

    Returns:
        The squared distance, >= 0, in the features' squared unit.

    Raises:
        ValueError: the sets have fewer than two rows, other dimensions, or values that are not finite.

    Source: Heusel et al. 2017, arXiv:1706.08500; Dowson and Landau 1982.

    >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(frechet_distance(x, x + [3.0, 4.0]), 6)
    25.0
    """
    x, y = _checked(x, y)
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = (x - mean_x) / np.sqrt(len(x) - 1), (y - mean_y) / np.sqrt(len(y) - 1)  # now S_x = x.T @ x
    root_trace = _root_trace_small(x, y) if max(len(x), len(y)) < x.shape[1] else _root_trace_wide(x, y)
    distance = np.sum((mean_x - mean_y) ** 2) + np.sum(x**2) + np.sum(y**2) - 2 * root_trace
    return max(0.0, float(distance))


def _root_trace_small(x: np.ndarray, y: np.ndarray) -> float:
    """Tr (S_x S_y)^(1/2) = ||x y^T||_*, an n x m problem without any d x d matrix."""
    return float(np.linalg.svd(x @ y.T, compute_uv=False).sum())


def _root_trace_wide(x: np.ndarray, y: np.ndarray) -> float:
    """Tr (S_x S_y)^(1/2) from symmetric d x d eigenproblems; rounding below zero is cut off."""
    values, vectors = np.linalg.eigh(x.T @ x)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return float(np.sqrt(np.clip(np.linalg.eigvalsh(root @ (y.T @ y) @ root), 0, None)).sum())


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"features: expected two sets (n, d) with n >= 2 and one d, got shapes {x.shape} and {y.shape}; "
            "give at least two images a set and encode both with one network"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features: they hold NaN or infinite values; check the images and the encoder")
    return x, y
