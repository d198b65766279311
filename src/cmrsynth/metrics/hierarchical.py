"""Means over training seeds crossed with patients: intervals and p-values in which both vary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

_STREAM = 21  # random stream: beside the seed, so that two uses never share their draws


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and patients.

    Args:
        value: the mean over patients of the means over seeds.
        interval: (low, high); (nan, nan) with fewer than two patients.
        p: two-sided p-value of "the mean is 0", in (0, 1]: the smallest level of error at which the interval leaves
            0 out. NaN where there is no interval.
        patients: patients with a defined value.
    """

    value: float
    interval: tuple[float, float]
    p: float
    patients: int


def mean_of_seeds_and_patients(values: np.ndarray, *, resamples: int = 2000, seed: int, level: float = 0.95) -> Crossed:
    """Return the mean of one value per training seed and patient, with its interval and p-value.

    The same patients are tested with every seed, so seeds and patients are resampled independently of each other
    and both with replacement. A bootstrap of three seeds is too narrow, so the deviations are scaled to the standard
    error sqrt(var over seeds / S + var over patients / P) and their quantiles widened by t / z with Satterthwaite's
    degrees of freedom. With one seed, only patients vary: the result then speaks of these networks alone.

    Args:
        values: (S, P) float, such as Dice differences of two arms; a NaN (not defined) is replaced by the mean of
            that patient's other seeds, and a patient without any value is left out.
        resamples: bootstrap resamples.
        seed: the run's seed.
        level: coverage asked for, in (0, 1).

    Raises:
        ValueError: `values` is not two-dimensional, or has no seed.

    Source: Owen 2007, arXiv:0711.4011 (bootstrap of crossed factors); Satterthwaite 1946.

    >>> found = mean_of_seeds_and_patients(np.tile([0.1, 0.2, 0.3, 0.2], (2, 1)), seed=0)
    >>> round(found.value, 3), found.p < 0.05
    (0.2, True)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"values of shape {values.shape}; give (seeds, patients) with at least one seed")
    values = values[:, np.isfinite(values).any(0)]
    patients = values.shape[1]
    if patients == 0:
        return Crossed(float("nan"), (float("nan"), float("nan")), float("nan"), 0)
    values = np.where(np.isfinite(values), values, np.nanmean(values, 0))
    point = float(values.mean())
    if patients < 2:
        return Crossed(point, (float("nan"), float("nan")), float("nan"), patients)
    error, freedom = _standard_error(values)
    if error <= 1e-12 * max(1.0, abs(point)):
        return Crossed(point, (point, point), 1.0 if point == 0 else 1 / (resamples + 1), patients)
    deviations = _deviations(values, resamples, seed) * error
    low, high = _ends(point, deviations, freedom, np.array([1 - level]))
    errors = np.arange(1, resamples + 1) / (resamples + 1)
    lows, highs = _ends(point, deviations, freedom, errors)
    excluded = (lows > 0) | (highs < 0)
    p = float(errors[excluded].min()) if excluded.any() else 1.0
    return Crossed(point, (float(low[0]), float(high[0])), p, patients)


def ratio_of_seeds_and_patients(
    numerator: np.ndarray, denominator: np.ndarray, *, resamples: int = 2000, seed: int, level: float = 0.95
) -> Crossed:
    """Return the ratio of two means over seeds and patients, with its interval; `p` is that of a ratio of 1.

    The ratio R is linearised: its deviations are those of (a - R b) / mean(b), a mean of paired values.

    Args:
        numerator: (S, P) float.
        denominator: (S, P), of the same seeds and patients; a pair with a NaN is left out.
        resamples: bootstrap resamples.
        seed: the run's seed.
        level: coverage asked for, in (0, 1).

    Raises:
        ValueError: shapes differ, or the denominator's mean is not positive.

    Source: Cochran 1977, section 6 (ratio estimates).

    >>> a = np.array([[0.4, 0.5, 0.6]])
    >>> round(ratio_of_seeds_and_patients(a, 2 * a, seed=0).value, 3)
    0.5
    """
    a, b = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"numerator {a.shape} and denominator {b.shape} differ; give the same seeds and patients")
    paired = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(paired, a, np.nan), np.where(paired, b, np.nan)
    known = paired.any(0)
    base = float(np.nanmean(b[:, known], 0).mean()) if known.any() else float("nan")
    if not base > 0:
        raise ValueError(f"the denominator has mean {base}; a ratio needs a positive one")
    ratio = float(np.nanmean(a[:, known], 0).mean()) / base
    spread = mean_of_seeds_and_patients((a - ratio * b) / base, resamples=resamples, seed=seed, level=level)
    low, high = spread.interval
    against_one = mean_of_seeds_and_patients(a - b, resamples=resamples, seed=seed, level=level)
    return Crossed(ratio, (ratio + low, ratio + high), against_one.p, spread.patients)


def _standard_error(values: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean of (S, P) values and its degrees of freedom."""
    seeds, patients = values.shape
    of_patients = float(values.mean(0).var(ddof=1)) / patients
    of_seeds = float(values.mean(1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    total = of_patients + of_seeds
    if total == 0:
        return 0.0, float(patients - 1)
    uncertainty = of_patients**2 / (patients - 1) + (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0)
    return float(np.sqrt(total)), total**2 / uncertainty


def _deviations(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap deviations from their mean, scaled to a standard deviation of 1, sorted."""
    rng = np.random.default_rng([seed, _STREAM])
    seeds, patients = values.shape
    drawn = np.empty(resamples)
    for start in range(0, resamples, 256):
        count = min(256, resamples - start)
        of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), count) / seeds
        of_patients = rng.multinomial(patients, np.full(patients, 1 / patients), count) / patients
        drawn[start : start + count] = ((of_seeds @ values) * of_patients).sum(1)
    drawn -= drawn.mean()
    return np.sort(drawn / drawn.std())


def _ends(point: float, deviations: np.ndarray, freedom: float, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals that leave out a share `errors`."""
    widening = t.ppf(1 - errors / 2, freedom) / norm.ppf(1 - errors / 2)
    low, high = np.quantile(deviations, errors / 2), np.quantile(deviations, 1 - errors / 2)
    return point + widening * low, point + widening * high
