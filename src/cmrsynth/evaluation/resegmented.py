"""A set of slices beside what the measuring network finds in its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement, judge_distance
from cmrsynth.metrics.intervals import bootstrap_patients


@dataclass(frozen=True)
class Resegmented:
    """Slices and the label maps found in their images.

    Args:
        part: the slices with their own masks.
        found: (N, H, W) uint8, what the network sees in the images.
    """

    part: SliceSet
    found: np.ndarray

    @property
    def patient_id(self) -> np.ndarray:
        """(N,) the patient of each slice."""
        return self.part.patient_id


@dataclass(frozen=True)
class ThreeSets:
    """What every figure of anatomy is made from.

    Args:
        synthetic, holdout, train: the sets, each with what the network finds in it.
        labels: the foreground labels that all three annotate.
        settings: resamples, draws and seed.
        made_with: name and weight hash of the measuring network.
    """

    synthetic: Resegmented
    holdout: Resegmented
    train: Resegmented
    labels: tuple[int, ...]
    settings: EvaluationSettings
    made_with: str

    @property
    def n(self) -> dict[str, int]:
        """The counts behind a figure."""
        holdout = self.holdout.part
        return {"synthetic": len(self.synthetic.part), "reference": len(holdout), "patients": len(holdout.patients)}


def resegment(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    labels: tuple[int, ...],
    segmenter: Segmenter,
    settings: EvaluationSettings,
) -> ThreeSets:
    """Return the three sets with what `segmenter`, trained on `train`, finds in their images."""
    made_with = f"{segmenter.facts['name']}, sha256 {segmenter.facts['sha256'][:12]}"
    parts = [Resegmented(part, segmenter.predict(part.images)) for part in (synthetic, holdout, train)]
    return ThreeSets(*parts, labels, settings, made_with)


def share_over_patients(
    broken: np.ndarray, patient_id: np.ndarray, settings: EvaluationSettings
) -> tuple[float, Interval | None]:
    """Return the share of rows that are True, and its interval over patients."""

    def share(rows: np.ndarray) -> float:
        return float(broken[rows].mean())

    interval = bootstrap_patients(share, [patient_id], resamples=settings.resamples, seed=settings.seed)
    return share(np.arange(len(broken))), cut(finite(interval), (0, 1))


def measured_share(
    of: Callable[[Resegmented], tuple[np.ndarray, np.ndarray]], sets: ThreeSets, real: tuple[Resegmented, ...]
) -> Measured:
    """Return a share in the synthetic set beside that in real sets.

    Args:
        of: from a set to ((M,) bool, (M,) patient of each): what is counted.
        sets: the three sets.
        real: the sets that are the floor, pooled.
    """
    value, interval = share_over_patients(*of(sets.synthetic), sets.settings)
    pooled = [of(part) for part in real]
    floor, floor_interval = share_over_patients(
        np.concatenate([broken for broken, _ in pooled]), np.concatenate([who for _, who in pooled]), sets.settings
    )
    return Measured(value, interval, floor, floor_interval)


def judge_share(measured: Measured, *, slack: float, far: float, sure: bool = True) -> Judgement:
    """Judge a share of faulty slices that should not exceed that of real patients.

    Args:
        measured: the share, and that of real patients.
        slack: how much more than the upper end of the real interval does not matter.
        far: how much more is unacceptable, if the interval says so too.
        sure: what is counted is certain, so that every case weighs. Where a network found it and may err, a share
            whose interval reaches that of real patients is no finding.

    >>> judge_share(Measured(0.01, (0.0, 0.02), 0.0, (0.0, 0.0)), slack=0.02, far=0.1).verdict
    'good'
    >>> judge_share(Measured(0.6, (0.5, 0.7), 0.0, (0.0, 0.0)), slack=0.02, far=0.1).verdict
    'do not share'
    >>> judge_share(Measured(0.08, (0.0, 0.2), 0.0, (0.0, 0.02)), slack=0.05, far=0.25, sure=False).verdict
    'good'
    """
    top = max(measured.floor, measured.floor_interval[1] if measured.floor_interval else 0.0)
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"good up to {slack:g} above the upper end of the share on real patients ({top + slack:.3f}), do not share "
        f"from {far:g} above it ({top + far:.3f}) if the interval stays above the first bound"
    )
    if not sure:
        rule += "; good as well where the interval reaches the share on real patients"
    if measured.value <= top + slack or (not sure and low <= top):
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value >= top + far and low > top + slack else LOOK, rule)


def judge_beyond(measured: Measured, resolution: float) -> Judgement:
    """Judge a distance whose floor may be next to nothing; less than `resolution` never counts against a set.

    Where two groups of real patients agree perfectly (no mask with a hole in either), any multiple of their
    distance is 0, and one odd slice would be a failure.

    Args:
        measured: the distance, and that of real patients.
        resolution: a difference that no reader of the figure would act on.

    >>> judge_beyond(Measured(0.02, (0.0, 0.03), 0.0, (0.0, 0.0)), 0.03).verdict
    'good'
    >>> judge_beyond(Measured(0.5, (0.4, 0.6), 0.0, (0.0, 0.0)), 0.03).verdict
    'do not share'
    """
    low, high = measured.floor_interval or (measured.floor, measured.floor)
    judgement = judge_distance(replace(measured, floor_interval=(low, max(high, measured.floor, resolution))))
    return replace(judgement, rule=f"{judgement.rule}; that upper end is taken as at least {resolution:g}")
