"""A value beside the same value for real images of other patients, both with intervals over patients."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .intervals import bootstrap_patients_together

DRAWS = 4  # ways of halving the real patients
FEW_PATIENTS = 10
_HALVES, _SUBSET = 51, 52  # random streams
Values = Mapping[str, float]
OfRows = Callable[..., Values]  # of row positions within the sets it was made for

OPTIONS = """    resamples (int): bootstrap resamples of patients; 0 leaves the intervals out (NaN).
    seed (int): of resamples and of the halves of the real patients."""
RESULT = """    `<name>_low`, `<name>_high`: 95 % interval, resampling whole patients.
    `<name>_floor`, `<name>_floor_low`, `<name>_floor_high`: the same for real rows alone, one half of the real
    patients against the other, with its interval. `<name>_at_floor_size`: the value at the sizes of those halves;
    compare this one with the floor, because most figures depend on the number of rows.
    `n_synthetic`, `n_real`, `n_patients` (real), `n_synthetic_patients`, `data_hash` (sha256 of the real rows).
    NaN where there are too few patients to say."""


def over(
    rows: np.ndarray, statistic: Callable[[np.ndarray, np.ndarray], Values]
) -> Callable[[np.ndarray, np.ndarray], OfRows]:
    """Return what `compare_sets` asks for, from a statistic of two arrays that needs no preparation."""

    def compare(first: np.ndarray, second: np.ndarray) -> OfRows:
        return lambda i, j: statistic(rows[first[i]], rows[second[j]])

    return compare


def compare_features(
    statistic: Callable[[np.ndarray, np.ndarray], Values],
    features: np.ndarray,
    is_real: np.ndarray,
    patient_id: np.ndarray,
    *,
    features_name: str,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return `compare_sets` of features, with what made them.

    Args:
        statistic: of (n, d) synthetic and (m, d) real features; returns floats by name.
        features: (N, d) float.
        is_real: (N,) bool.
        patient_id: (N,).
        features_name: what made the features.
        resamples: bootstrap resamples of patients.
        seed: of halves and resamples.
    """
    rows = np.asarray(features, dtype=np.float64)
    result = compare_sets(over(rows, statistic), is_real, patient_id, resamples=resamples, seed=seed)
    return {**result, "made_with": features_name, "data_hash": data_hash(rows[is_real])}


def compare_sets(
    compare: Callable[[np.ndarray, np.ndarray], OfRows],
    is_real: np.ndarray,
    patient_id: np.ndarray,
    *,
    resamples: int,
    seed: int,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Return distances of the synthetic from the real rows beside those of real rows from one another.

    The floor is the mean over several halvings of the real patients: one half stands in for the synthetic rows, the
    other is the reference. A half is smaller than the whole and most distances grow as sets shrink, so the synthetic
    rows are measured again at the sizes of the halves. Compare `<name>_at_floor_size` with `<name>_floor`.

    Args:
        compare: takes the rows of a set and of its reference, and returns a function of positions within both that
            gives the statistics by name.
        is_real: (N,) bool.
        patient_id: (N,); for synthetic rows the patient of the mask they were made from.
        resamples: bootstrap resamples of patients.
        seed: of halves and resamples.
        draws: ways of halving the real patients; fewer where the statistic is costly.

    Returns:
        For each statistic `<name>`, `<name>_low`, `<name>_high` (95 % interval), `<name>_floor`,
        `<name>_floor_low`, `<name>_floor_high`, `<name>_at_floor_size`, and the counts of `_counts`. NaN where there
        are too few patients.

    Raises:
        ValueError: there are fewer than two synthetic or real rows.
    """
    synthetic, real = _both(is_real, patient_id)
    found = _point_and_interval(compare(synthetic, real), [patient_id[synthetic], patient_id[real]], resamples, seed)
    floors, at_size = [], []
    for draw in range(draws if len(np.unique(patient_id[real])) > 1 else 0):
        stand_in, reference = halve(patient_id, real, draw, seed)
        stand_in = subset(patient_id, stand_in, len(synthetic), [seed, draw])
        few = subset(patient_id, synthetic, len(stand_in), [seed, draw])
        groups = [patient_id[stand_in], patient_id[reference]]
        floors.append(_point_and_interval(compare(stand_in, reference), groups, _share(resamples, draws), seed))
        at_size.append(compare(few, reference)(np.arange(len(few)), np.arange(len(reference))))
    return {**_beside(found, floors, at_size), **_counts(synthetic, real, patient_id)}


def describe_sets(
    describe: Callable[[np.ndarray], OfRows],
    is_real: np.ndarray,
    patient_id: np.ndarray,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return statistics of the synthetic rows alone beside those of as many real rows.

    Arguments and result as of `compare_sets`, but `describe` takes one set. Both are measured again at the size of
    the smaller set: compare `<name>_at_floor_size` with `<name>_floor`.
    """
    synthetic, real = _both(is_real, patient_id)
    found = _point_and_interval(describe(synthetic), [patient_id[synthetic]], resamples, seed)
    size = min(len(synthetic), len(real))
    floors, at_size = [], []
    for draw in range(DRAWS if len(synthetic) != len(real) else 1):
        few_real, few = (subset(patient_id, rows, size, [seed, draw]) for rows in (real, synthetic))
        groups = [patient_id[few_real]]
        floors.append(_point_and_interval(describe(few_real), groups, _share(resamples, DRAWS), seed))
        at_size.append(describe(few)(np.arange(size)))
    return {**_beside(found, floors, at_size), **_counts(synthetic, real, patient_id)}


def halve(patient_id: np.ndarray, rows: np.ndarray, draw: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of the given rows that share no patient, of as equal a size as whole patients allow.

    >>> first, second = halve(np.array(list("aabbcd")), np.arange(6), 0, 0)
    >>> len(first), len(second)
    (3, 3)
    """
    rng = np.random.default_rng([seed, _HALVES, draw])
    own = patient_id[rows]
    patients, counts = np.unique(own, return_counts=True)
    order = rng.permutation(len(patients))
    order = order[np.argsort(-counts[order], kind="stable")]  # the largest first, each to the smaller half
    halves: tuple[list, list] = ([], [])
    sizes = [0, 0]
    for index in order:
        side = int(sizes[0] > sizes[1])
        halves[side].append(patients[index])
        sizes[side] += counts[index]
    first, second = (rows[np.isin(own, half)] for half in halves)
    return (first, second) if rng.random() < 0.5 else (second, first)


def subset(patient_id: np.ndarray, rows: np.ndarray, count: int, address: list[int]) -> np.ndarray:
    """Return `count` of the rows (all, if there are fewer), made of as few patients as will do."""
    if len(rows) <= count:
        return rows
    rng = np.random.default_rng([*address, _SUBSET])
    own = patient_id[rows]
    parts = [rng.permutation(rows[own == patient]) for patient in rng.permutation(np.unique(own))]
    return np.sort(np.concatenate(parts)[:count])


def warn_of_bias(name: str, dimensions: int, is_real: np.ndarray) -> None:
    """Warn where a set has fewer rows than its covariance needs."""
    fewest = int(min(is_real.sum(), (~is_real).sum()))
    if fewest < dimensions:
        warnings.warn(
            f"{name}: {fewest} rows for a covariance that needs {dimensions}: most of the value is bias. Only its "
            "distance from the floor at floor size means something; cmr_kid has no such bias",
            stacklevel=3,
        )


def data_hash(rows: np.ndarray) -> str:
    """Return the first 16 digits of the sha256 of an array's shape and values (as float32).

    >>> data_hash(np.zeros((2, 3))) == data_hash(np.zeros((3, 2)))
    False
    """
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    return hashlib.sha256(repr(rows.shape).encode() + rows.tobytes()).hexdigest()[:16]


def _both(is_real: np.ndarray, patient_id: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    synthetic, real = np.flatnonzero(~is_real), np.flatnonzero(is_real)
    if min(len(synthetic), len(real)) < 2:
        raise ValueError(
            f"rows: {len(synthetic)} synthetic and {len(real)} real ones; give at least two of each, and say which are "
            "which in is_real"
        )
    patients = len(np.unique(patient_id[real]))
    if patients < FEW_PATIENTS:
        warnings.warn(
            f"{patients} real patients: the interval and the floor are rough"
            + (", and with fewer than four there is no interval of the floor" if patients < 4 else ""),
            stacklevel=3,
        )
    return synthetic, real


def _share(resamples: int, draws: int) -> int:
    return min(resamples, max(20, resamples // draws))


def _point_and_interval(of_rows: OfRows, groups: list[np.ndarray], resamples: int, seed: int) -> dict[str, tuple]:
    values = of_rows(*(np.arange(len(group)) for group in groups))
    intervals = bootstrap_patients_together(of_rows, groups, resamples=resamples, seed=seed)
    return {name: (float(value), *intervals[name]) for name, value in values.items()}


def _beside(found: dict[str, tuple], floors: list[dict[str, tuple]], at_size: list[Values]) -> dict[str, float]:
    result = {}
    for name, triple in found.items():
        floor = np.mean([each[name] for each in floors], axis=0) if floors else np.full(3, np.nan)
        same = np.mean([each[name] for each in at_size]) if at_size else np.nan
        for ending, value in zip(("", "_low", "_high"), triple, strict=True):
            result[name + ending] = float(value)
        for ending, value in zip(("_floor", "_floor_low", "_floor_high"), floor, strict=True):
            result[name + ending] = float(value)
        result[f"{name}_at_floor_size"] = float(same)
    return result


def _counts(synthetic: np.ndarray, real: np.ndarray, patient_id: np.ndarray) -> dict[str, int]:
    return {
        "n_synthetic": len(synthetic),
        "n_real": len(real),
        "n_patients": len(np.unique(patient_id[real])),
        "n_synthetic_patients": len(np.unique(patient_id[synthetic])),
    }
