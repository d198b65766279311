"""Which real images could be picked out of a crowd by the synthetic set?

A real image is identifiable if a synthetic image lies nearer to it than any other patient does. Between a third and
a half of all real images are, whoever they are; only the difference between training and held-out patients tells.
"""

from __future__ import annotations

import numpy as np

from .neighbours import nearest_neighbours


def identifiable(
    synthetic: np.ndarray,
    train: np.ndarray,
    holdout: np.ndarray,
    train_group: np.ndarray,
    holdout_group: np.ndarray,
    rng: np.random.Generator,
    *,
    repeats: int = 10,
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each training and each held-out image, the share of draws in which it is identifiable.

    An image among many has nearer neighbours than one among few, so in each draw as many patients, and then as many
    images, of both sets are compared with one another. Slices of one patient are near-duplicates: its own other
    images do not count as its neighbours.

    Args:
        synthetic: (n, d) float.
        train: (t, d) float.
        holdout: (p, d) float.
        train_group: (t,) patient of each training image.
        holdout_group: (p,) patient of each held-out image.
        rng: the draws' generator.
        repeats: number of draws.

    Returns:
        (t,) and (p,) float64 in [0, 1]; NaN where an image was in no draw. The identifiability of a set is the mean.

    Raises:
        ValueError: a set holds fewer than two patients.

    Source: Yoon et al. 2020 (ADS-GAN), IEEE JBHI 24(8), with equal weights of all features.
    """
    sides = [(np.asarray(train), np.asarray(train_group)), (np.asarray(holdout), np.asarray(holdout_group))]
    patients = min(len(np.unique(group)) for _, group in sides)
    if patients < 2:
        raise ValueError("patients: identifiability compares a patient with the others; give at least two in each set")
    alone = np.arange(len(synthetic))
    to_synthetic = [nearest_neighbours(rows, synthetic, None, alone).distance_1 for rows, _ in sides]
    hits, draws = [np.zeros(len(rows)) for rows, _ in sides], [np.zeros(len(rows)) for rows, _ in sides]
    for _ in range(repeats):
        drawn = [np.flatnonzero(np.isin(g, rng.permutation(np.unique(g))[:patients])) for _, g in sides]
        size = min(map(len, drawn))
        for side, (points, group) in enumerate(sides):
            rows = np.sort(rng.permutation(drawn[side])[:size])
            own = nearest_neighbours(points[rows], points[rows], group[rows], group[rows]).distance_1
            hits[side][rows] += to_synthetic[side][rows] < own
            draws[side][rows] += np.isfinite(own)
    with np.errstate(invalid="ignore"):
        return hits[0] / draws[0], hits[1] / draws[1]
