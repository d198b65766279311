"""From scores of slices to figures over patients, with everything fitted anew in each resample and each shuffle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmrsynth.attacks.fusion import fuse_across_patients
from cmrsynth.evaluation.floors import Interval, cut, finite
from cmrsynth.metrics.intervals import bootstrap_patients_together, clopper_pearson
from cmrsynth.metrics.membership import adjust_for_difficulty, auc

SHUFFLES = 300
MIN_FITTED = 8  # patients a side; with fewer, a fused attack has nothing to calibrate on
_NULL = 51  # random stream


@dataclass(frozen=True)
class Sides:
    """Who is who: one entry per slice, the training slices first.

    Args:
        members: number of training slices.
        patient: (N,) int code of the patient.
        difficulty: (N, 8) of `image_difficulty`.
    """

    members: int
    patient: np.ndarray
    difficulty: np.ndarray

    @property
    def groups(self) -> list[np.ndarray]:
        """The patients of the training and of the held-out slices, for a bootstrap."""
        return [self.patient[: self.members], self.patient[self.members :]]

    def pooled(self, member_rows: np.ndarray, other_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of each side, as a bootstrap counts them, as rows of the pool."""
        return member_rows, self.members + other_rows

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all rows of both sides."""
        return np.arange(self.members), np.arange(self.members, len(self.patient))

    def shuffled(self, draw: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of both sides after the patients were dealt anew, as many on each side as before."""
        patients = np.random.default_rng([seed, _NULL, draw]).permutation(np.unique(self.patient))
        side = np.isin(self.patient, patients[: len(np.unique(self.patient[: self.members]))])
        return np.flatnonzero(side), np.flatnonzero(~side)


@dataclass(frozen=True)
class Scored:
    """What one attack found for every slice.

    Args:
        features: (N, k), higher for members.
        fusion: how the columns become one score.
        sides: who is who.
        seed: deals the patients who calibrate a fusion.
    """

    features: np.ndarray
    fusion: str
    sides: Sides
    seed: int

    def slice_scores(self, member_rows: np.ndarray, other_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of both sides, fused across patients and with the images' difficulty taken out."""
        rows, is_member = np.concatenate([member_rows, other_rows]), np.arange(len(member_rows) + len(other_rows))
        fused = fuse_across_patients(
            self.features[rows], self.fusion, is_member < len(member_rows), self.sides.patient[rows], self.seed
        )
        difficulty = self.sides.difficulty
        member, other = fused[: len(member_rows)], fused[len(member_rows) :]
        return adjust_for_difficulty(member, other, difficulty[member_rows], difficulty[other_rows])

    def patient_scores(self, member_rows: np.ndarray, other_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return one score per patient of each side; one drawn twice in a resample counts twice."""
        scores = self.slice_scores(member_rows, other_rows)
        return self.mean_by_patient(scores[0], member_rows), self.mean_by_patient(scores[1], other_rows)

    def mean_by_patient(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the mean score of each patient in `rows`, as often as the patient was drawn."""
        patient, count = self.sides.patient[rows], int(self.sides.patient.max()) + 1
        slices = np.bincount(patient, minlength=count)
        present = slices > 0
        means = np.bincount(patient, scores, minlength=count)[present] / slices[present]
        drawn = np.zeros(count, dtype=int)  # all rows of a patient come equally often
        np.maximum.at(drawn, patient, np.bincount(rows)[rows])
        return np.repeat(means, drawn[present])

    def auc(self, member_rows: np.ndarray, other_rows: np.ndarray) -> float:
        """Return the AUC over patients; NaN where too few patients were drawn to calibrate a fusion."""
        drawn = [len(np.unique(self.sides.patient[rows])) for rows in (member_rows, other_rows)]
        if self.fusion != "mean" and min(drawn) < 4:
            return float("nan")
        return auc(*self.patient_scores(member_rows, other_rows))


def aucs_with_intervals(
    attacks: dict[str, Scored], resamples: int, seed: int
) -> dict[str, tuple[float, Interval | None]]:
    """Return per attack, and for the "strongest" of them, the AUC over patients and its 95 % interval.

    Patients are resampled, and fusion and adjustment fitted anew every time, so that the interval holds their
    uncertainty as well.
    """
    sides = next(iter(attacks.values())).sides

    def statistics(*rows: np.ndarray) -> dict[str, float]:
        found = {name: scored.auc(*sides.pooled(*rows)) for name, scored in attacks.items()}
        return {**found, "strongest": max(found.values())}

    values = statistics(*(np.arange(len(group)) for group in sides.groups))
    intervals = bootstrap_patients_together(statistics, sides.groups, resamples=resamples, seed=seed)
    return {name: (value, interval_of_share(value, intervals[name], sides)) for name, value in values.items()}


def interval_of_share(value: float, interval: Interval, sides: Sides) -> Interval | None:
    """Return a bootstrap interval of an AUC or accuracy within [0, 1], with a bound where the sides separate wholly.

    Resamples of two sides that do not overlap never overlap either, so the bootstrap has no width at 0 and 1. As
    many disjoint pairs as the smaller side has patients are all in order: their exact binomial bound is taken.

    >>> sides = Sides(20, np.arange(30), np.zeros((30, 1)))
    >>> low, high = interval_of_share(1.0, (1.0, 1.0), sides)
    >>> round(low, 3), high
    (0.692, 1.0)
    """
    if value not in (0.0, 1.0):
        return cut(finite(interval), (0.0, 1.0))
    pairs = min(len(np.unique(group)) for group in sides.groups)
    return clopper_pearson(int(value) * pairs, pairs)


def null_aucs(attacks: dict[str, Scored], seed: int, draws: int = SHUFFLES) -> dict[str, np.ndarray]:
    """Return per attack, and for the "strongest", the AUCs of patients whose sides were shuffled.

    Membership then means nothing. Fusion and adjustment are fitted anew each time: they alone make AUCs scatter more
    than patients do. The strongest is chosen anew as well, which accounts for having had a choice.
    """
    sides = next(iter(attacks.values())).sides
    found: dict[str, list[float]] = {name: [] for name in attacks}
    for draw in range(draws):
        rows = sides.shuffled(draw, seed)
        for name, scored in attacks.items():
            found[name].append(scored.auc(*rows))
    null = {name: np.array(values) for name, values in found.items()}
    return {**null, "strongest": np.max(list(null.values()), axis=0)}


def central(values: np.ndarray) -> Interval:
    """Return the central 95 % of the values.

    >>> central(np.arange(101.0))
    (2.5, 97.5)
    """
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
