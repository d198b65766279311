"""Do the networks hold on another hospital's images, and on a vendor whose real images they never saw?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.evaluation.arms import (
    Arm,
    Pool,
    crossed,
    interval_of,
    per_patient,
    predict_all,
    same_data_other_seed,
    score_arm,
    train_arm,
)
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Measured
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.utility import made_with, measured_against, paired_difference, paired_remark
from cmrsynth.evaluation.utility_tables import Table, comparison_table, scores_table, subgroup_table
from cmrsynth.evaluation.verdict import judge_dice, judge_gain
from cmrsynth.provenance import portable_path

SPACING_TOLERANCE = 0.1  # relative; a network knows one pixel size
MIN_PATIENTS = 2  # held-out patients of a vendor that is left out; one patient has no interval
MIN_SLICES = 8  # synthetic slices of that vendor


@dataclass(frozen=True)
class LeftOut:
    """One vendor left out of training, and how networks do on its held-out patients.

    Args:
        vendor: the vendor.
        without: trained on the real slices of the other vendors.
        filled: trained on those and on the synthetic slices of this vendor.
        n: counts behind both.
    """

    vendor: str
    without: Arm
    filled: Arm
    n: dict[str, int]


def check_external(train: SliceSet, external: SliceSet, labels: tuple[int, ...]) -> None:
    """Raise InputError unless networks trained on `train` can be tested on `external`."""
    shared = sorted(set(train.patients) & set(external.patients))
    if shared:
        raise InputError(
            external.name,
            f"shares {len(shared)} patients with {train.name}, the first {shared[0]}",
            "test on patients that were not trained on",
        )
    if not set(labels) <= set(external.annotated_labels):
        raise InputError(
            external.name,
            f"annotates labels {external.annotated_labels}, the networks were trained for {labels}",
            "give a data set with the same structures",
        )
    sizes = [float(np.median(part.pixel_spacing)) for part in (train, external)]
    if abs(sizes[1] / sizes[0] - 1) > SPACING_TOLERANCE:
        raise InputError(
            external.name,
            f"pixels of {sizes[1]:.3g} mm, but {train.name} has {sizes[0]:.3g} mm",
            "build both with one --spacing",
        )


def score_external(
    segmenters: dict[str, list[Segmenter]], external: SliceSet, labels: tuple[int, ...], settings: EvaluationSettings
) -> tuple[list[Figure], list[Table]]:
    """Return figures and tables of the protocol's arms on another data set, which none of them was trained on.

    Args:
        segmenters: per arm one network per seed.
        external: the other data set; see `check_external`.
        labels: the foreground labels.
        settings: seeds and resamples.
    """
    predictions = {arm: predict_all(networks, external) for arm, networks in segmenters.items()}
    arms = {arm: score_arm(found, external, labels) for arm, found in predictions.items()}
    name = portable_path(external.name)  # it is published
    key, what = f"external_{slug(name)}", f"on {name}"
    tables = [
        scores_table(key, f"Scores {what}", arms, labels, settings),
        comparison_table(f"{key}_differences", f"Differences {what}", arms, labels, settings),
        subgroup_table(f"{key}_groups", f"Groups {what}", arms, predictions, external, labels, settings),
    ]
    return _external_figures(key, what, arms, external, settings), tables


def left_out_vendors(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    labels: tuple[int, ...],
    settings: EvaluationSettings,
    folder: Path,
) -> tuple[list[LeftOut], dict[str, list[Segmenter]]]:
    """Return what is lost by training without one vendor, and won back by synthetic images of it.

    Only held-out patients are tested on: the generator has seen the vendor's training patients.
    """
    results, segmenters = [], {}
    for vendor in vendors_to_leave_out(train, holdout, synthetic):
        others = train.select(train.vendor != vendor)
        added = synthetic.select(synthetic.vendor == vendor)
        tested = holdout.select(holdout.vendor == vendor)
        arms = []
        for name, pool in (("without", Pool.of(others)), ("filled", Pool.of(others, added))):
            networks = train_arm(pool, labels, settings, folder, f"{name}-{slug(vendor)}")
            segmenters[f"{name}-{vendor}"] = networks
            arms.append(score_arm(predict_all(networks, tested), tested, labels))
        n = {"real": len(others), "synthetic": len(added), "holdout": len(tested), "patients": len(tested.patients)}
        results.append(LeftOut(vendor, *arms, {**n, "seeds": settings.segmenter_seeds}))
    return results, segmenters


def vendors_to_leave_out(train: SliceSet, holdout: SliceSet, synthetic: SliceSet) -> list[str]:
    """Return the vendors that can be left out: others remain, and there are held-out patients and synthetic slices."""
    known = set(train.vendor.tolist())
    return [
        vendor
        for vendor in sorted(known)
        if len(known) > 1
        and len(set(holdout.patient_id[holdout.vendor == vendor])) >= MIN_PATIENTS
        and (synthetic.vendor == vendor).sum() >= MIN_SLICES
    ]


def left_out_figures(results: list[LeftOut], n: dict[str, int], settings: EvaluationSettings) -> list[Figure]:
    """Return per vendor the Dice that its synthetic images win back, or one figure that says why there is none."""
    if not results:
        why = (
            f"Leaving a vendor out needs two vendors in training, {MIN_PATIENTS} held-out patients of one of them and "
            f"{MIN_SLICES} synthetic slices of it."
        )
        title = "Dice won back by synthetic images of a vendor left out of training"
        return [not_computed("utility", "left_out_vendor_gain", title, why, n, made_with(settings), unit="Dice")]
    return [_left_out_figure(result, settings) for result in results]


def left_out_table(results: list[LeftOut], settings: EvaluationSettings) -> Table | None:
    """Return Dice with and without synthetic images of each vendor left out; None where none could be."""
    if not results:
        return None
    rows = []
    for result in results:
        without, filled = (crossed(per_patient(a.dice), settings) for a in (result.without, result.filled))
        gain = crossed(per_patient(result.filled.dice - result.without.dice), settings)
        ends = interval_of(gain) or (None, None)
        numbers = (without.value, filled.value, gain.value, *ends)
        counts = tuple(result.n[k] for k in ("real", "synthetic", "patients"))
        rows.append((result.vendor, *(None if x is None else round(x, 4) for x in numbers), *counts))
    columns = ("vendor left out", "others' real images", "with its synthetic images", "gain", "low", "high",
               "real slices", "synthetic slices", "test patients")  # fmt: skip
    note = "Dice, mean over structures, on held-out patients of the vendor that was left out. Equal optimiser updates."
    return Table("left_out_vendors", "Leave one vendor out", columns, tuple(rows), note)


def slug(text: str) -> str:
    """Return a name for files and figures.

    >>> slug(".../M&Ms 2:test")
    'm_ms_2_test'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _external_figures(
    key: str, what: str, arms: dict[str, Arm], external: SliceSet, settings: EvaluationSettings
) -> list[Figure]:
    n = {"external": len(external), "patients": len(external.patients), "seeds": settings.segmenter_seeds}
    measured = measured_against(arms["synthetic"], arms["real"], "dice", settings)
    gap = paired_difference(arms["synthetic"], arms["real"], settings)
    gain = paired_difference(arms["both"], arms["real"], settings)
    chance = same_data_other_seed(per_patient(arms["real"].dice))
    floor = None if chance is None else interval_of(crossed(chance, settings))
    common = {"n": n, "made_with": made_with(settings), "unit": "Dice", "better": "higher"}
    return [
        judged(
            "utility",
            f"{key}_dice_synthetic",
            f"Dice {what}, trained on synthetic images alone",
            measured,
            judge_dice(*gap),
            f"Trained on synthetic images, {measured.value:.3f} Dice {what}; trained on real ones "
            f"{measured.floor:.3f}. No network was trained on images of this set.",
            **common,
        ),
        judged(
            "utility",
            f"{key}_gain",
            f"Dice gained {what} by adding synthetic to real images",
            Measured(*gain, 0.0, floor),
            judge_gain(*gain),
            f"Adding synthetic images changes Dice {what} by {gain[0]:+.3f}.{paired_remark(settings)}",
            **common,
        ),
    ]


def _left_out_figure(result: LeftOut, settings: EvaluationSettings) -> Figure:
    gain = paired_difference(result.filled, result.without, settings)
    chance = same_data_other_seed(per_patient(result.without.dice))
    before = float(np.nanmean(per_patient(result.without.dice)))
    return judged(
        "utility",
        f"left_out_{slug(result.vendor)}_gain",
        f"Dice won back by synthetic images of vendor {result.vendor}, left out of training",
        Measured(*gain, 0.0, None if chance is None else interval_of(crossed(chance, settings))),
        judge_gain(*gain),
        f"Trained without real images of {result.vendor}, networks reach {before:.3f} Dice on its held-out patients; "
        f"synthetic images of it change that by {gain[0]:+.3f}. The generator has seen real images of "
        f"{result.vendor}: this is the use where they may not be shared.{paired_remark(settings)}",
        n=result.n,
        made_with=f"{made_with(settings)}, paired over patients",
        unit="Dice",
        better="higher",
    )
