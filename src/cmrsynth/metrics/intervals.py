"""Intervals whose unit is the patient: slices of one heart are not independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import beta, norm, t

_BOOTSTRAP, _PAIRED = 11, 12  # random streams: beside the seed, so that two uses never share their draws


def bootstrap_patients(
    statistic: Callable[..., float],
    groups: Sequence[np.ndarray],
    *,
    resamples: int = 1000,
    seed: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return a bootstrap interval of a statistic of one or more sets, resampling whole patients.

    In each resample the patients of every set are drawn with replacement, and all rows of a drawn patient are
    kept, as often as it was drawn. The interval is point + w quantiles(theta* - mean(theta*)). A distance between
    sets is biased upwards on resamples, because they hold duplicates, so the plain percentile interval can lie
    wholly above the point; centring keeps the spread and drops that bias. The widening w = t / z sqrt(P / (P - 1)),
    P the smallest number of patients of a set, makes up for what a bootstrap of few patients lacks: without it 95 %
    of 8 patients means 88 %.

    Args:
        statistic: called with one integer array of rows per set, in the order of `groups`; returns a float.
        groups: per set the patient of each row, (n_i,).
        resamples: number of resamples.
        seed: the run's seed.
        level: coverage asked for, in (0, 1).

    Returns:
        (low, high); (nan, nan) where a set has one patient only, or where the statistic of the whole sets, or of
        more than half of the resamples, is not finite. Other resamples that are not finite are left out.

    Raises:
        ValueError: a set is empty.

    Source: Efron and Tibshirani 1993, chapters 8 and 10; Hesterberg 2015, arXiv:1411.5279, section 4 (w).

    >>> values = np.arange(20.0)
    >>> low, high = bootstrap_patients(lambda rows: values[rows].mean(), [np.arange(20)], seed=0)
    >>> bool(6 < low < 8 < 11 < high < 13)
    True
    """

    def named(*rows: np.ndarray) -> dict[str, float]:
        return {"value": statistic(*rows)}

    return bootstrap_patients_together(named, groups, resamples=resamples, seed=seed, level=level)["value"]


def bootstrap_patients_together(
    statistics: Callable[..., Mapping[str, float]],
    groups: Sequence[np.ndarray],
    *,
    resamples: int = 1000,
    seed: int,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Return the intervals of `bootstrap_patients` for several statistics that are computed in one go.

    Args:
        statistics: as there, but returns the same names with a float each on every call.
        groups: as in `bootstrap_patients`, as are the others.
        resamples: number of resamples.
        seed: the run's seed.
        level: coverage asked for, in (0, 1).

    Raises:
        ValueError: a set is empty.
    """
    rows_of_patient = [_rows_by_patient(np.asarray(group)) for group in groups]
    points = statistics(*(np.arange(len(group)) for group in groups))
    fewest = min(len(rows) for rows in rows_of_patient)
    if fewest < 2 or not np.isfinite(list(points.values())).any():
        return dict.fromkeys(points, (float("nan"), float("nan")))
    rng = np.random.default_rng([seed, _BOOTSTRAP])
    drawn = [statistics(*(_resample(rows, rng) for rows in rows_of_patient)) for _ in range(resamples)]
    return {name: _centred(float(points[name]), np.array([d[name] for d in drawn]), fewest, level) for name in points}


def paired_bootstrap(
    differences_by_patient: np.ndarray, *, resamples: int = 2000, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of paired differences, one per patient.

    Both members of a pair come from one patient (such as Dice of two segmenters), so the patients are resampled
    once for both and the variation between patients cancels. Widened for few patients as in `bootstrap_patients`.

    Args:
        differences_by_patient: (P,) float; NaN (not defined for this patient) is left out.
        resamples: number of resamples.
        seed: the run's seed.
        level: coverage asked for, in (0, 1).

    Returns:
        (low, high); (nan, nan) with fewer than two defined differences.

    >>> paired_bootstrap(np.full(5, 0.1), seed=0)
    (0.1, 0.1)
    """
    differences = np.asarray(differences_by_patient, dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    if len(differences) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, _PAIRED])
    means = differences[rng.integers(0, len(differences), (resamples, len(differences)))].mean(1)
    return _interval(float(differences.mean()), means - means.mean(), len(differences), level)


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact binomial interval of a share k / n.

    Raises:
        ValueError: k is not in 0..n, or n is 0.

    Source: Clopper and Pearson 1934.

    >>> low, high = clopper_pearson(0, 10)
    >>> (low, round(high, 4))
    (0.0, 0.3085)
    """
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"count: {k} of {n} is no share; count within a set that is not empty")
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1 - tail, k + 1, n - k))
    return low, high


def _centred(point: float, drawn: np.ndarray, patients: int, level: float) -> tuple[float, float]:
    finite = drawn[np.isfinite(drawn)]
    if not np.isfinite(point) or len(finite) < max(2, len(drawn) / 2):
        return float("nan"), float("nan")
    return _interval(point, finite - finite.mean(), patients, level)


def _interval(point: float, deviations: np.ndarray, patients: int, level: float) -> tuple[float, float]:
    widening = t.ppf((1 + level) / 2, patients - 1) / norm.ppf((1 + level) / 2) * np.sqrt(patients / (patients - 1))
    low, high = point + widening * np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _rows_by_patient(group: np.ndarray) -> list[np.ndarray]:
    if len(group) == 0:
        raise ValueError("set: no rows; give at least one image")
    order = np.argsort(group, kind="stable")
    _, first = np.unique(group[order], return_index=True)
    return np.split(order, first[1:])


def _resample(rows_of_patient: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    patients = rng.integers(0, len(rows_of_patient), len(rows_of_patient))
    return np.concatenate([rows_of_patient[patient] for patient in patients])
