"""The Frechet distance between two sets of feature vectors (the mathematics of FID)."""

from __future__ import annotations

import numpy as np


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the squared Frechet distance between Gaussians fitted to two feature sets.

    FD^2 = ||mu_x - mu_y||^2 + Tr(S_x + S_y - 2 (S_x S_y)^(1/2)) with unbiased covariances. No matrix root is taken:
    with any factors S_x = a^T a and S_y = b^T b the trace of the root is the nuclear norm of a b^T, whose sides are
    no larger than the number of distinct rows and the dimension. So it is exact for fewer rows than dimensions too.

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
    (mean_x, root_x), (mean_y, root_y) = _moments(x), _moments(y)
    distance = np.sum((mean_x - mean_y) ** 2) + np.sum(root_x**2) + np.sum(root_y**2)
    return max(0.0, float(distance - 2 * _nuclear_norm(root_x @ root_y.T)))


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean (d,), and a factor (r, d) of the unbiased covariance, r^T r, of as few rows as will do."""
    whole_rows = np.ascontiguousarray(x).view(np.dtype((np.void, x.shape[1] * x.itemsize))).ravel()
    _, first, counts = np.unique(whole_rows, return_index=True, return_counts=True)  # a resample holds repeats
    distinct = x[first]
    mean = counts @ distinct / len(x)
    root = (distinct - mean) * np.sqrt(counts / (len(x) - 1))[:, None]
    if len(root) > x.shape[1]:
        return mean, _triangle(root)
    # Centring leaves one dependent row; a reflection that turns it into zeros keeps r^T r and lets it be dropped.
    mirror = np.sqrt(counts / len(x))
    mirror[0] += 1
    mirror /= np.linalg.norm(mirror)
    return mean, (root - 2 * np.outer(mirror, mirror @ root))[1:]


def _triangle(root: np.ndarray) -> np.ndarray:
    """A (d, d) factor of the covariance that `root` (n, d) is a factor of."""
    try:
        return np.linalg.cholesky(root.T @ root).T
    except np.linalg.LinAlgError:  # singular: constant or dependent features
        return np.linalg.qr(root, mode="r")


def _nuclear_norm(product: np.ndarray) -> float:
    """The sum of singular values, from the eigenvalues of the square where these are known well enough.

    They take half the time. Their rounding error e, relative to the largest, moves a root by e / (2 root), or by
    sqrt(e) near zero; where all of these could add up to more than 1e-9 of the sum, the singular values are taken.
    """
    if product.size == 0:
        return 0.0
    if product.shape[0] > product.shape[1]:
        product = product.T
    squares = np.clip(np.linalg.eigvalsh(product @ product.T), 0, None)
    rounding = np.sqrt(len(squares)) * np.finfo(np.float64).eps * squares[-1]
    roots = np.sqrt(squares)
    lost = rounding / np.maximum(2 * roots, np.sqrt(rounding) + np.finfo(np.float64).tiny)
    if lost.sum() <= 1e-9 * roots.sum():
        return float(roots.sum())
    return float(np.linalg.svd(product, compute_uv=False).sum())


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
