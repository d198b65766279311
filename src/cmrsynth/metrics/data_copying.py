"""Are synthetic images nearer to the training set than held-out images are, region by region?"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from .neighbours import nearest_neighbours

_ENOUGH = 20  # synthetic images a cell needs, and held-out images a rank test needs


def data_copying(
    synthetic: np.ndarray, holdout: np.ndarray, train: np.ndarray, *, cells: int = 3, seed: int = 0
) -> float:
    """Return C_T: how the distances of synthetic images to the training set rank among those of held-out images.

    The space is divided into the k-means cells of the training set. In each, the distances to the nearest training
    image are compared by a Mann-Whitney test; the z-values are averaged by the cells' share of held-out images. About
    0 for fresh images (standard deviation 1 / sqrt(cells) for independent ones), far below 0 for copies, above 0 for
    images unlike training. Mode collapse lowers it as much as copying does: read it with `closer_to_train_share`. It
    grows with the root of the number of images, so compare values at equal numbers only.

    Args:
        synthetic: (m, d) float.
        holdout: (n, d) float.
        train: (t, d) float.
        cells: number of cells; those with fewer than 20 synthetic images, or no held-out one, are left out.
        seed: names the cells' starting points.

    Returns:
        The statistic; NaN where no cell is left.

    Source: Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675.
    """
    from sklearn.cluster import KMeans

    synthetic, holdout, train = (np.asarray(points, dtype=np.float64) for points in (synthetic, holdout, train))
    cells = min(cells, len(train))
    model = KMeans(cells, n_init=5, random_state=seed).fit(train)
    rows = np.arange(len(train))
    distance = [nearest_neighbours(points, train, None, rows).distance_1 for points in (synthetic, holdout)]
    cell = [model.predict(points) for points in (synthetic, holdout)]
    scores, weights = [], []
    for number in range(cells):
        ours, theirs = (d[c == number] for d, c in zip(distance, cell, strict=True))
        if len(ours) >= _ENOUGH and len(theirs):
            scores.append(mann_whitney_z(ours, theirs))
            weights.append(len(theirs))
    return float(np.average(scores, weights=weights)) if scores else float("nan")


def mann_whitney_z(first: np.ndarray, second: np.ndarray) -> float:
    """Return the z-value of the Mann-Whitney statistic; negative where `first` (m,) is smaller than `second` (n,).

    Ties count one half. Source: Mann and Whitney 1947, with the continuity correction of Meehan et al. 2020.

    >>> mann_whitney_z(np.arange(5.0), np.arange(5.0) + 10) < -2.4
    True
    """
    m, n = len(first), len(second)
    ranks = rankdata(np.concatenate([first, second]))[:m]
    above = ranks.sum() - m * (m + 1) / 2
    return float((above - m * n / 2 + 0.5) / np.sqrt(m * n * (m + n + 1) / 12))
