"""How many real patients can synthetic images stand in for? Dice by real fraction and synthetic ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.evaluation.arms import (
    Arm,
    Pool,
    bounds_of,
    crossed,
    interval_of,
    per_patient,
    predict_all,
    same_data_other_seed,
    score_arm,
    train_arm,
)
from cmrsynth.evaluation.figure import GOOD, Figure
from cmrsynth.evaluation.floors import Measured
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.utility import made_with, paired_remark
from cmrsynth.evaluation.utility_tables import Table
from cmrsynth.evaluation.verdict import judge_gain
from cmrsynth.seeds import derive_seed

MIN_PATIENTS = 2  # in a real subset
LEAK = (
    "Points below all patients are honest only if the generator was trained on the same patients: one that has seen "
    "the others brings them in through its images."
)


@dataclass(frozen=True)
class CurveSettings:
    """The grid of the curve.

    Args:
        fractions: shares of the real training patients, in (0, 1].
        ratios: synthetic slices per real slice of the subset; 0 is always added, as the reference.
        own_masks_only: use only synthetic slices whose mask came from a patient of the subset.
    """

    fractions: tuple[float, ...] = (0.25, 0.5, 1.0)
    ratios: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    own_masks_only: bool = False

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < f <= 1 for f in self.fractions):
            raise InputError("--curve-fractions", f"{self.fractions} are no shares", "give numbers above 0, up to 1")
        if not self.ratios or not all(r >= 0 and math.isfinite(r) for r in self.ratios):
            raise InputError("--curve-ratios", f"{self.ratios} are no ratios", "give numbers of at least 0")


@dataclass(frozen=True)
class Point:
    """One cell of the grid: what was trained on, and its score; `arm` is None where images were too few."""

    fraction: float
    ratio: float
    patients: int
    real: int
    synthetic: int
    arm: Arm | None


def nested_patients(patients: Sequence[str], fraction: float, seed: int) -> list[str]:
    """Return a share of the patients, at least two; a smaller share is part of every larger one.

    >>> few, more = (nested_patients("abcdefgh", f, 0) for f in (0.25, 0.5))
    >>> len(few), len(more), set(few) <= set(more)
    (2, 4, True)
    """
    order = np.random.default_rng(derive_seed(seed, "curve patients")).permutation(sorted(patients))
    count = min(len(order), max(MIN_PATIENTS, math.ceil(fraction * len(order) - 1e-9)))
    return sorted(order[:count].tolist())


def pool_at(
    train: SliceSet, synthetic: SliceSet, fraction: float, ratio: float, grid: CurveSettings, seed: int
) -> tuple[SliceSet, SliceSet | None]:
    """Return the real and the synthetic slices of one cell; None where there are too few synthetic ones.

    Synthetic slices are drawn without repetition; at one fraction, a smaller ratio's are part of a larger one's.
    """
    own = nested_patients(train.patients, fraction, seed)
    real = train.select(np.isin(train.patient_id, own))
    rows = np.arange(len(synthetic))
    if grid.own_masks_only:
        rows = np.flatnonzero(np.isin(synthetic.patient_id, own))
    count = round(ratio * len(real))
    if count > len(rows):
        return real, None
    order = np.random.default_rng(derive_seed(seed, "curve slices")).permutation(rows)
    return real, synthetic.select(np.sort(order[:count]))


def train_curve(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    labels: tuple[int, ...],
    settings: EvaluationSettings,
    grid: CurveSettings,
    folder: Path,
) -> tuple[list[Point], dict[str, list[Segmenter]]]:
    """Return the points of the curve and their networks; finished networks in `folder` are used again."""
    points, segmenters = [], {}
    for fraction in sorted(set(grid.fractions)):
        for ratio in sorted({0.0, *grid.ratios}):
            real, added = pool_at(train, synthetic, fraction, ratio, grid, settings.seed)
            arm = None
            if added is not None:
                # all patients without synthetic images are the real arm of the protocol: the same networks
                name = "real" if len(real) == len(train) and ratio == 0 else f"curve-{fraction:g}-{ratio:g}"
                segmenters[name] = train_arm(Pool.of(real, added), labels, settings, folder, name)
                arm = score_arm(predict_all(segmenters[name], holdout), holdout, labels)
            count = 0 if added is None else len(added)
            points.append(Point(fraction, ratio, len(real.patients), len(real), count, arm))
    return points, segmenters


def curve_table(points: list[Point], grid: CurveSettings, settings: EvaluationSettings) -> Table:
    """Return Dice of every cell and its paired difference to no synthetic images at the same real fraction."""
    rows = []
    for point in points:
        counts = (point.fraction, point.ratio, point.patients, point.real, point.synthetic)
        facts = point_facts(point, points, settings)
        rows.append((*counts, *(facts[key] for key in ("dice", "low", "high", "gain", "gain_low", "gain_high"))))
    columns = ("real fraction", "synthetic ratio", "patients", "real", "synthetic", "Dice", "low", "high",
               "gain", "gain low", "gain high")  # fmt: skip
    masks = " Only synthetic slices from masks of the subset's own patients were used." * grid.own_masks_only
    note = (
        f"Equal optimiser updates everywhere, so ratio 0 is the real slices duplicated to any size. {LEAK}{masks} "
        "Empty cells: not enough synthetic slices for that ratio."
    )
    return Table("augmentation_curve", "Augmentation curve", columns, tuple(rows), note)


def point_facts(point: Point, points: list[Point], settings: EvaluationSettings) -> dict[str, Any]:
    """Return Dice of a cell and its gain over ratio 0 of the same fraction, with intervals; None where undefined."""
    names = ("dice", "low", "high", "gain", "gain_low", "gain_high")
    if point.arm is None:
        return dict.fromkeys(names)
    base = next(p.arm for p in points if p.fraction == point.fraction and p.ratio == 0)
    score = crossed(per_patient(point.arm.dice), settings, bounds_of("dice"))
    gain = crossed(per_patient(point.arm.dice - base.dice), settings)
    numbers = [score.value, *(interval_of(score) or (None, None)), gain.value, *(interval_of(gain) or (None, None))]
    rounded = [None if x is None or not math.isfinite(x) else round(float(x), 4) for x in numbers]
    return dict(zip(names, rounded, strict=True))


def curve_figures(
    points: list[Point], train: SliceSet, holdout: SliceSet, settings: EvaluationSettings, grid: CurveSettings
) -> list[Figure]:
    """Return one figure per real fraction: Dice gained by as many synthetic slices as real ones, or the next ratio.

    The ratio is fixed beforehand (the smallest from 1 on, else the largest): the best of several would flatter.
    """
    return [
        _gain_figure([p for p in points if p.fraction == fraction], train, holdout, settings, grid)
        for fraction in sorted({p.fraction for p in points})
    ]


def _gain_figure(
    points: list[Point], train: SliceSet, holdout: SliceSet, settings: EvaluationSettings, grid: CurveSettings
) -> Figure:
    base, added = points[0], [p for p in points if p.ratio > 0 and p.arm is not None]
    name = f"curve_gain_{100 * base.fraction:g}".replace(".", "_")
    title = f"Dice gained by synthetic images with {base.fraction:.0%} of the real patients"
    n = {"real": base.real, "patients_trained_on": base.patients, "patients": len(holdout.patients),
         "seeds": settings.segmenter_seeds}  # fmt: skip
    if not added:
        why = "There are not enough synthetic images for any of the ratios asked for."
        return not_computed("utility", name, title, why, n, made_with(settings), unit="Dice")
    chosen = min((p for p in added if p.ratio >= 1), key=lambda p: p.ratio, default=added[-1])
    gain = crossed(per_patient(chosen.arm.dice - base.arm.dice), settings)
    chance = same_data_other_seed(per_patient(base.arm.dice))
    floor = None if chance is None else interval_of(crossed(chance, settings))
    judgement = judge_gain(gain.value, interval_of(gain))
    helped = "does not hurt" if judgement.verdict == GOOD else "hurts"
    return judged(
        "utility",
        name,
        title,
        Measured(gain.value, interval_of(gain), 0.0, floor),
        judgement,
        f"With {base.patients} real patients, adding {chosen.ratio:g} synthetic slices per real slice {helped} "
        f"({gain.value:+.3f} Dice).{paired_remark(settings)}" + (f" {LEAK}" if base.real < len(train) else ""),
        n={**n, "synthetic": chosen.synthetic},
        made_with=f"{made_with(settings)}, paired over patients",
        unit="Dice",
        better="higher",
        details={
            "own_masks_only": grid.own_masks_only,
            "points": [
                {"ratio": p.ratio, "synthetic": p.synthetic, **point_facts(p, points, settings)} for p in points
            ],
        },
    )
