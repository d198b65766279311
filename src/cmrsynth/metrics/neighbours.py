"""Nearest neighbours across sets of patients: does the synthetic set hold copies of the training set?

Two slices or frames of one patient are near-duplicates, so wherever a second or a leave-one-out neighbour is used,
the patient is left out as a whole. A figure without the same figure for held-out patients cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from .nearest_search import two_nearest

_ROWS = 256  # rows of a distance matrix held at a time


@dataclass(frozen=True)
class Neighbours:
    """The nearest reference points of n queries.

    Args:
        distance_1: (n,) float64, distance to the nearest reference point.
        index_1: (n,) int, that point's row in the reference; -1 where no patient was left to compare with.
        distance_2_other: (n,) float64, distance to the nearest reference point of another patient than the
            patient of `index_1`; NaN where there is none.
    """

    distance_1: np.ndarray
    index_1: np.ndarray
    distance_2_other: np.ndarray


def nearest_neighbours(
    query: np.ndarray, reference: np.ndarray, query_group: np.ndarray | None, reference_group: np.ndarray
) -> Neighbours:
    """Return each query's nearest reference point, and the nearest one of another patient.

    The result is that of all distances in double precision, ties going to the first row; it is found without them,
    see `nearest_search`.

    Args:
        query: (n, d) float.
        reference: (m, d) float.
        query_group: (n,) patient of each query, whose own points in the reference are left out; or None. Give None
            for synthetic images: their `patient_id` names the patient of the mask, and to leave that patient out
            would hide the very copy that is looked for.
        reference_group: (m,) patient of each reference point.

    Returns:
        `Neighbours` with Euclidean distances.

    Raises:
        ValueError: lengths differ, the reference is empty, or a value is not finite.

    >>> found = nearest_neighbours(np.array([[0.1]]), np.array([[0.0], [1.0], [2.0]]), None, np.array(["a", "a", "b"]))
    >>> int(found.index_1[0]), float(found.distance_1[0]), float(found.distance_2_other[0])
    (0, 0.1, 1.9)
    """
    return Neighbours(*two_nearest(query, reference, query_group, reference_group))


def neighbours_from_distances(
    distance: np.ndarray, query_group: np.ndarray | None, reference_group: np.ndarray
) -> Neighbours:
    """Return `Neighbours` from a distance matrix, such as that of `aligned_pixel_distance`.

    Args:
        distance: (n, m) float, query by reference.
        query_group: as in `nearest_neighbours`.
        reference_group: (m,) patient of each reference point.

    Raises:
        ValueError: not one patient per row.
    """
    reference_group = np.asarray(reference_group)
    if distance.shape[1] != len(reference_group) or (query_group is not None and len(query_group) != len(distance)):
        raise ValueError(f"patients: they do not match distances {distance.shape}; give one patient per row")
    distance = np.array(distance, dtype=np.float64)
    if query_group is not None:
        distance[np.asarray(query_group)[:, None] == reference_group[None, :]] = np.inf
    index, rows = distance.argmin(1), np.arange(len(distance))
    first = distance[rows, index]
    distance[reference_group[index][:, None] == reference_group[None, :]] = np.inf
    second = distance.min(1)
    none_left = ~np.isfinite(first)
    return Neighbours(
        np.where(none_left, np.nan, first),
        np.where(none_left, -1, index),
        np.where(np.isfinite(second) & ~none_left, second, np.nan),
    )


def leave_group_out(reference: np.ndarray, group: np.ndarray) -> Neighbours:
    """Return, for each point (m, d) of a set, its nearest point of another patient (m,) of the same set."""
    return nearest_neighbours(reference, reference, group, group)


def closest_distance_ratio(d_query: np.ndarray, d_holdout: np.ndarray) -> float:
    """Return the median distance to the closest training image of synthetic over that of held-out images.

    Near 1 for fresh images. It misses sparse copying (10 % copies leave it at 0.99) and falls under mode collapse
    without any copying, so it never stands alone.

    >>> closest_distance_ratio(np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0]))
    0.5
    """
    return float(np.median(d_query) / np.median(d_holdout))


def copy_rate(d_query: np.ndarray, d_holdout: np.ndarray, quantile: float = 0.05) -> float:
    """Return the share of queries closer to the training set than the given quantile of held-out images.

    By construction about `quantile` for fresh images; the excess over it estimates copying. Mode collapse raises
    it too: read it with `closer_to_train_share`.

    >>> copy_rate(np.array([0.0, 5.0]), np.arange(1.0, 11.0))
    0.5
    """
    return float(np.mean(np.asarray(d_query) < np.quantile(d_holdout, quantile)))


def nndr(neighbours: Neighbours) -> np.ndarray:
    """Return (n,) nearest-neighbour distance ratios: nearest over nearest of another patient.

    In [0, 1]; small means that one training patient is singled out. Its level rises with the dimension, so flag
    below a low quantile of held-out images. NaN without a second patient; 1 where two are at distance 0.

    Source: Lowe 2004.
    """
    second = neighbours.distance_2_other
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(second == 0, 1.0, neighbours.distance_1 / second)


def carlini_ratio(
    query: np.ndarray, reference: np.ndarray, reference_group: np.ndarray, *, num_neighbours: int = 50
) -> np.ndarray:
    """Return (n,) distance to the nearest over half the mean distance to its nearest surroundings.

    The surroundings are the `num_neighbours` nearest points (all, if fewer) of other patients than the nearest
    one's. A fresh Gaussian point has about 1.5, a copy less than 0.1; below 1 counts as extracted.

    Args:
        query: (n, d) float.
        reference: (m, d) float.
        reference_group: (m,) patient of each reference point.
        num_neighbours: size of the surroundings.

    Returns:
        (n,) float64; NaN where the reference has one patient only.

    Source: Carlini et al. 2023, arXiv:2301.13188, section 5.
    """
    query, reference = np.asarray(query, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    reference_group = np.asarray(reference_group)
    ratio = np.full(len(query), np.nan)
    for start in range(0, len(query), _ROWS):
        distance = cdist(query[start : start + _ROWS], reference)
        index, first = distance.argmin(1), distance.min(1)
        distance[reference_group[index][:, None] == reference_group[None, :]] = np.inf
        count = min(num_neighbours, distance.shape[1])
        others = np.partition(distance, count - 1, axis=1)[:, :count]
        known = np.isfinite(others)
        size = known.sum(1)
        around = np.where(known, others, 0).sum(1) / np.maximum(size, 1)
        defined = (size > 0) & (around > 0)
        ratio[start : start + len(first)][defined] = first[defined] / (0.5 * around[defined])
    return ratio


def authenticity(query_neighbours: Neighbours, reference_neighbours: Neighbours) -> np.ndarray:
    """Return (n,) bool: is the query farther from its nearest training image than that image's own neighbour?

    The mean is the authenticity of a set. For fresh points it is not 0.5 but depends on dimension and size, so
    compare it with that of held-out images.

    `query_neighbours` are those of the queries in the training set (`nearest_neighbours`), `reference_neighbours`
    those of the training set in itself (`leave_group_out`).

    Source: Alaa et al. 2022, arXiv:2102.08921.
    """
    return query_neighbours.distance_1 > reference_neighbours.distance_1[query_neighbours.index_1]


def closer_to_train(
    distance_train: np.ndarray,
    distance_holdout: np.ndarray,
    rng: np.random.Generator,
    *,
    train_group: np.ndarray | None = None,
    holdout_group: np.ndarray | None = None,
    repeats: int = 20,
) -> np.ndarray:
    """Return (n,) the share of draws in which a query lies closer to the training than to the held-out set.

    The larger set has the nearer neighbour by size alone, so in each draw as many patients, and then as many rows,
    are taken from both sets. Ties count one half. Where there are c times as many training patients, a copy is hit
    in one draw of c only, so even a full copier scores (1 + 1 / c) / 2.

    Args:
        distance_train: (n, t) float, query by training image.
        distance_holdout: (n, p) float, query by held-out image.
        rng: the draws' generator.
        train_group: (t,) patients of the training images; None takes each row as a patient.
        holdout_group: (p,) patients of the held-out images.
        repeats: number of draws.

    Returns:
        (n,) float64 in [0, 1]; the mean over queries is about 0.5 where nothing was copied.
    """
    train_group = np.arange(distance_train.shape[1]) if train_group is None else np.asarray(train_group)
    holdout_group = np.arange(distance_holdout.shape[1]) if holdout_group is None else np.asarray(holdout_group)
    patients = min(len(np.unique(train_group)), len(np.unique(holdout_group)))
    closer = np.zeros(len(distance_train))
    for _ in range(repeats):
        train, holdout = (
            np.flatnonzero(np.isin(group, rng.permutation(np.unique(group))[:patients]))
            for group in (train_group, holdout_group)
        )
        size = min(len(train), len(holdout))
        to_train = distance_train[:, rng.permutation(train)[:size]].min(1)
        to_holdout = distance_holdout[:, rng.permutation(holdout)[:size]].min(1)
        closer += (to_train < to_holdout) + 0.5 * (to_train == to_holdout)
    return closer / repeats


def closer_to_train_share(
    query: np.ndarray,
    train: np.ndarray,
    holdout: np.ndarray,
    rng: np.random.Generator,
    *,
    train_group: np.ndarray | None = None,
    holdout_group: np.ndarray | None = None,
    repeats: int = 20,
) -> float:
    """Return the share of queries (n, d) closer to `train` (t, d) than to `holdout` (p, d), both at one size.

    About 0.5 where nothing was copied, and not above it under mode collapse without copying; 1 for copies. The
    other arguments are those of `closer_to_train`, which has the share per query.
    """
    distances = (cdist(np.asarray(query, float), np.asarray(points, float)) for points in (train, holdout))
    share = closer_to_train(*distances, rng, train_group=train_group, holdout_group=holdout_group, repeats=repeats)
    return float(share.mean())
