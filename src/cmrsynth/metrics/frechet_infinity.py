"""The Frechet distance extrapolated to infinitely many synthetic images (FID-infinity)."""

from __future__ import annotations

import numpy as np

from .frechet import frechet_distance

SMALLEST = 50  # images; with fewer the smallest subset says nothing about a covariance
_SUBSETS = 41  # random stream


def frechet_infinity(
    x: np.ndarray,
    reference: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    points: int = 15,
    repeats: int = 5,
    seed: int = 0,
) -> float:
    """Return the Frechet distance that infinitely many images from the generator behind `x` would have.

    The distance of N images is biased upwards by about a / N. It is measured for subsets of N in [n / 5, n], a line
    is fitted against 1 / N, and its value at 1 / N = 0 is returned. Only the bias of `x` goes away: that of the
    reference, d (d + 5) / (4 m) for a standard normal, stays, so compare values of one reference only. The line is
    a line only where subsets hold more images than the features have dimensions; see `frechet_curve` to look at it.

    Args:
        x: (n, d) float, the synthetic images; n >= 50.
        reference: (m, d) float, m >= 2.
        groups: (n,) the patient of each row of `x`. Subsets are then made of as few patients as will do, so that
            slices of one heart do not pass for new images. None draws single rows.
        points: different sizes N.
        repeats: random subsets of each size.
        seed: names the draw of the subsets.

    Returns:
        The intercept in the features' squared unit; slightly negative values are noise around 0.

    Raises:
        ValueError: fewer than 50 images, fewer than three points, or unusable features.

    Source: Chong and Forsyth 2020, arXiv:1911.07023.

    >>> rng = np.random.default_rng(0)
    >>> frechet_infinity(rng.normal(size=(400, 4)) + 1, rng.normal(size=(400, 4))) > 0
    True
    """
    sizes, distances = frechet_curve(x, reference, groups=groups, points=points, repeats=repeats, seed=seed)
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def frechet_curve(
    x: np.ndarray,
    reference: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    points: int = 15,
    repeats: int = 5,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sizes N and the Frechet distance of each random subset, both (points * repeats,) float64.

    The arguments are those of `frechet_infinity`.
    """
    x = np.asarray(x)
    if len(x) < SMALLEST or points < 3 or repeats < 1:
        raise ValueError(
            f"frechet_infinity: expected at least {SMALLEST} images, 3 points and 1 repeat, got {len(x)}, {points} and "
            f"{repeats}; generate more images, or use the kernel distance, which has no such bias"
        )
    if groups is not None and np.shape(groups) != (len(x),):
        raise ValueError(f"groups: expected ({len(x)},), got {np.shape(groups)}; give the patient of each row")
    groups = np.arange(len(x)) if groups is None else np.asarray(groups)
    rng = np.random.default_rng([seed, _SUBSETS])
    sizes = np.repeat(np.linspace(len(x) / 5, len(x), points).round().astype(int), repeats)
    distances = [frechet_distance(x[_patients_first(groups, rng)[:size]], reference) for size in sizes]
    return sizes.astype(np.float64), np.array(distances)


def _patients_first(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return all rows, patient after patient in random order, the rows of a patient in random order too."""
    _, patient = np.unique(groups, return_inverse=True)
    place = rng.permutation(patient.max() + 1)[patient]
    return np.lexsort((rng.random(len(groups)), place))
