"""A figure beside its real-versus-real floor, both with intervals over patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.seeds import derive_seed

Interval = tuple[float, float]
Floor = tuple[float, Interval | None]


@dataclass(frozen=True)
class Measured:
    """A value, the same for real images of other patients, and their 95 % intervals; None where not defined."""

    value: float | None
    interval: Interval | None
    floor: float | None
    floor_interval: Interval | None


@dataclass(frozen=True)
class Sample:
    """What a statistic is computed from, one row per slice, and the patient of each row."""

    rows: np.ndarray
    patient_id: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> Sample:
        """Return the given rows."""
        return Sample(self.rows[rows], self.patient_id[rows])


def draw_rows(patient_id: np.ndarray, count: int, draws: int, seed: int) -> list[np.ndarray]:
    """Return `draws` random sets of `count` rows (fewer if there are fewer), made of as few patients as will do."""
    found = []
    for draw in range(draws):
        rng = np.random.default_rng(derive_seed(seed, "real draw", draw))
        rows = [rng.permutation(np.flatnonzero(patient_id == p)) for p in rng.permutation(np.unique(patient_id))]
        found.append(np.sort(np.concatenate(rows)[:count]))
    return found


def known_floor(figure: Figure | None, n: Mapping[str, int]) -> Floor | None:
    """Return the floor of a figure measured before on another set, for one with the counts `n`; None without one.

    A floor depends on the real sets and on how many synthetic images there are, not on what they show, so a
    comparison of many sets of one size measures it once.

    Raises:
        ValueError: the counts differ, or the figure has no floor.
    """
    if figure is None:
        return None
    if dict(figure.n) != dict(n) or figure.floor is None:
        raise ValueError(f"the floor of {figure.name} belongs to other counts: expected {n}, got {figure.n}")
    return figure.floor, figure.floor_interval


def measure(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    synthetic: Sample,
    reference: Sample,
    real: Sample,
    settings: EvaluationSettings,
    *,
    resamples: int | None = None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    floor: Floor | None = None,
) -> Measured:
    """Return `statistic(synthetic, reference)` with its floor `statistic(real, reference)`.

    The floor uses as many real images as there are synthetic ones, because most distances shrink with the sample,
    and is the mean over several patient draws.

    Args:
        statistic: of two row arrays, the second being the reference.
        synthetic: the set to judge.
        reference: the held-out patients.
        real: the training patients, disjoint from the held-out ones.
        settings: seed, resamples and draws.
        resamples: where the statistic is costly, fewer than `settings.resamples`.
        bounds: the values the statistic can take; a centred interval is cut there.
        floor: of `known_floor`, where it was measured before.
    """
    resamples = resamples or settings.resamples
    value, interval = _with_interval(statistic, synthetic, reference, resamples, settings.seed)
    if floor is not None:
        return Measured(value, cut(interval, bounds), *floor)
    per_draw = max(20, resamples // settings.floor_draws)
    floors = [
        _with_interval(statistic, real.take(rows), reference, per_draw, settings.seed)
        for rows in draw_rows(real.patient_id, len(synthetic), settings.floor_draws, settings.seed)
    ]
    intervals = [i for _, i in floors if i is not None]
    floor_interval = tuple(np.mean(intervals, 0).tolist()) if intervals else None
    floor = float(np.mean([v for v, _ in floors]))
    return Measured(value, cut(interval, bounds), floor, cut(floor_interval, bounds))


def _with_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], x: Sample, y: Sample, resamples: int, seed: int
) -> tuple[float, Interval | None]:
    def of_rows(rows_x: np.ndarray, rows_y: np.ndarray) -> float:
        return statistic(x.rows[rows_x], y.rows[rows_y])

    interval = bootstrap_patients(of_rows, [x.patient_id, y.patient_id], resamples=resamples, seed=seed)
    return float(statistic(x.rows, y.rows)), finite(interval)


def finite(interval: Interval) -> Interval | None:
    """Return the interval, or None where it is not defined."""
    return (float(interval[0]), float(interval[1])) if np.isfinite(interval).all() else None


def cut(interval: Interval | None, bounds: tuple[float, float]) -> Interval | None:
    """Return the interval within bounds.

    >>> cut((-0.1, 0.4), (0.0, 1.0))
    (0.0, 0.4)
    """
    if interval is None:
        return None
    low, high = bounds
    return min(max(float(interval[0]), low), high), min(max(float(interval[1]), low), high)
