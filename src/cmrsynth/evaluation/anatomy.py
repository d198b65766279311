"""Are the hearts possible, and as different from one another as real hearts are?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED, Figure
from cmrsynth.evaluation.floors import Measured, Sample, measure
from cmrsynth.evaluation.inputs import mask_origin
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.resegmented import (
    Resegmented,
    ThreeSets,
    judge_beyond,
    judge_share,
    measured_share,
    share_over_patients,
)
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.labels import LABEL_NAMES, LV, MYO, RV
from cmrsynth.metrics.anatomy import measure_all, wasserstein_1
from cmrsynth.metrics.plausibility import RULES, impossible_all
from cmrsynth.schema import UNKNOWN

MIN_CAVITY_MM2 = 80.0  # a ratio to a smaller cavity (10 mm across) is a division by noise
MIN_PATIENTS = 3  # of each set, for a distance within a group
GROUP_RESAMPLES = 100
GROUPINGS = ("vendor", "phase", "slice_level")
# key, title, unit, labels it needs, and a distance too small to matter to anyone
ANATOMY = (
    ("lv_area_mm2", "LV cavity area", "mm2", {LV}, 20),
    ("lv_myo_ratio", "LV cavity to myocardium area ratio", "", {LV, MYO}, 0.03),
    ("rv_lv_ratio", "RV to LV cavity area ratio", "", {RV, LV}, 0.05),
    ("wall_thickness_mm", "Wall thickness", "mm", {LV, MYO}, 0.3),
    ("components", "Pieces beyond one per structure", "", {LV}, 0.1),
    ("lv_leak", "Share of the LV border that does not face myocardium", "", {LV, MYO}, 0.03),
)
RARE = ("components", "lv_leak")  # 0 in most slices, so that a median would hide them
EXCHANGED = 0.25  # of the masks with both ventricles: then the labels as such are swapped


def anatomy_figures(sets: ThreeSets) -> list[Figure]:
    """Return the distributions of anatomy in re-segmented images, and the shares of impossible masks and images."""
    shapes = [(each, measures(each.found, each, sets.labels)) for each in (sets.synthetic, sets.holdout, sets.train)]
    masks = [(each, measures(each.part.masks, each, sets.labels)) for each, _ in shapes]
    return [
        *(_distribution(entry, shapes, masks, sets) for entry in ANATOMY),
        _impossible_masks(sets),
        _impossible_images(sets),
    ]


def measures(maps: np.ndarray, each: Resegmented, labels: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return per key of `ANATOMY` (N,) float64, NaN where a label map does not define the measure.

    Args:
        maps: (N, H, W) label maps: a set's own masks or what was found in its images.
        each: the set, for the pixel spacing.
        labels: the annotated labels.
    """
    found = measure_all(maps, each.part.pixel_spacing, labels)
    pieces = np.stack([found[name] for name in ("lv_components", "myo_components", "rv_components")])
    there = np.isfinite(pieces) & (pieces > 0)
    extra = np.where(there, pieces - 1, 0).sum(0)
    ratio = np.where(found["lv_area_mm2"] >= MIN_CAVITY_MM2, found["rv_lv_ratio"], np.nan)
    return {
        "lv_area_mm2": np.where(found["lv_area_mm2"] > 0, found["lv_area_mm2"], np.nan),
        "lv_myo_ratio": found["lv_myo_ratio"],
        "rv_lv_ratio": ratio,
        "wall_thickness_mm": found["wall_thickness_mm"],
        "components": np.where(there.any(0), extra, np.nan),
        "lv_leak": 1 - found["lv_enclosed"],
    }


def _distribution(
    entry: tuple[str, str, str, set[int], float],
    shapes: list[tuple[Resegmented, dict[str, np.ndarray]]],
    masks: list[tuple[Resegmented, dict[str, np.ndarray]]],
    sets: ThreeSets,
) -> Figure:
    key, what, unit, needed, resolution = entry
    name, title = f"anatomy_{key}", f"{what}: distance of distributions (Wasserstein-1)"
    if not needed <= set(sets.labels):
        absent = ", ".join(LABEL_NAMES[label] for label in sorted(needed - set(sets.labels)))
        why = f"These data sets do not annotate {absent}."
        return not_computed("fidelity", name, title, why, sets.n, sets.made_with, unit=unit)
    samples = [_sample(each, found[key]) for each, found in shapes]
    if min(len(s) for s in samples) < 2:
        why = "The measuring network finds the structure in too few images."
        return not_computed("fidelity", name, title, why, sets.n, sets.made_with, unit=unit)
    measured = measure(wasserstein_1, *samples, sets.settings, bounds=(0, np.inf))
    groups = _groups([(each, found[key]) for each, found in shapes], sets, resolution)
    judgement, remark = _with_groups(judge_beyond(measured, resolution), groups)
    return judged(
        "fidelity",
        name,
        title,
        measured,
        judgement,
        _sentence(key, measured, samples, unit) + remark,
        n={**sets.n, "synthetic": len(samples[0]), "reference": len(samples[1])},
        made_with=sets.made_with,
        unit=unit,
        details={
            "synthetic": samples[0].rows.round(4).tolist(),
            "holdout": samples[1].rows.round(4).tolist(),
            "measured_on": "re-segmented images",
            "conditioning_masks": _of_masks([(each, found[key]) for each, found in masks], sets),
            "groups": groups,
        },
    )


def _sample(each: Resegmented, values: np.ndarray, rows: np.ndarray | None = None) -> Sample:
    known = np.isfinite(values) if rows is None else np.isfinite(values) & rows
    return Sample(values[known], each.patient_id[known])


def _sentence(key: str, measured: Measured, samples: list[Sample], unit: str) -> str:
    word, middle = ("Mean", np.mean) if key in RARE else ("Median", np.median)
    middles = [f"{float(middle(s.rows)):.3g} {unit}".strip() for s in samples]
    return (
        f"{word} {middles[0]} in synthetic, {middles[1]} in held-out images. The distributions are "
        f"{measured.value:.3g} apart; those of two groups of real patients {measured.floor:.3g}."
    )


def _of_masks(values: list[tuple[Resegmented, np.ndarray]], sets: ThreeSets) -> dict[str, Any] | None:
    """The same distance for the masks that the images were made from: a fault there is not the generator's."""
    samples = [_sample(each, found) for each, found in values]
    if min(len(s) for s in samples) < 2:
        return None
    few = replace(sets.settings, resamples=min(sets.settings.resamples, GROUP_RESAMPLES))
    measured = measure(wasserstein_1, *samples, few, bounds=(0, np.inf))
    origin = mask_origin(sets.train.part, sets.holdout.part, sets.synthetic.part)
    return {"value": measured.value, "floor": measured.floor, "masks_from": origin}


def _groups(
    values: list[tuple[Resegmented, np.ndarray]], sets: ThreeSets, resolution: float
) -> dict[str, dict[str, Any]]:
    """Per vendor, phase and slice level: the distance within the group, its floor, or why there is none."""
    few = replace(sets.settings, resamples=min(sets.settings.resamples, GROUP_RESAMPLES))
    found: dict[str, dict[str, Any]] = {}
    for grouping in GROUPINGS:
        known = sorted(set(getattr(sets.synthetic.part, grouping).tolist()) - {UNKNOWN})
        for group in known:
            samples = [_sample(each, v, getattr(each.part, grouping) == group) for each, v in values]
            patients = [len(np.unique(s.patient_id)) for s in samples]
            row: dict[str, Any] = {"n": len(samples[0]), "patients": min(patients)}
            if row["patients"] < MIN_PATIENTS:
                row["why_not"] = f"fewer than {MIN_PATIENTS} patients in one of the sets"
            else:
                measured = measure(wasserstein_1, *samples, few, bounds=(0, np.inf))
                row |= {"value": measured.value, "interval": measured.interval, "floor": measured.floor}
                row |= {
                    "floor_interval": measured.floor_interval,
                    "verdict": judge_beyond(measured, resolution).verdict,
                }
            found[f"{grouping} {group}"] = row
    return found


def _with_groups(judgement: Judgement, groups: dict[str, dict[str, Any]]) -> tuple[Judgement, str]:
    """A group that is far off makes the whole worth a look; a distance over all can hide it."""
    off = [name for name, row in groups.items() if row.get("verdict") == DO_NOT_SHARE]
    rule = f"{judgement.rule}; look closer if a vendor, phase or slice level alone is beyond the second bound"
    remark = f" Off within: {', '.join(off)}." if off else ""
    return Judgement(LOOK if off and judgement.verdict == GOOD else judgement.verdict, rule), remark


def _impossible_masks(sets: ThreeSets) -> Figure:
    def own(each: Resegmented) -> tuple[np.ndarray, np.ndarray]:
        return impossible_all(each.part.masks, sets.labels)["any"], each.patient_id

    measured = measured_share(own, sets, (sets.holdout, sets.train))
    judgement = judge_share(measured, slack=0.02, far=0.1)
    rules = impossible_all(sets.synthetic.part.masks, sets.labels)
    planted, _ = share_over_patients(
        impossible_all(_torn(sets.holdout.part.masks, sets.labels), sets.labels)["any"],
        sets.holdout.patient_id,
        sets.settings,
    )
    return judged(
        "fidelity",
        "anatomy_impossible_masks",
        "Synthetic masks that no heart can have",
        measured,
        judgement,
        f"{measured.value:.1%} of the masks that would be shared as labels break a rule of anatomy, "
        f"{measured.floor:.1%} of real masks.{_worst_rule(rules)}{_exchange_remark(rules, sets.synthetic.part.masks)}",
        n={**sets.n, "reference": len(sets.holdout.part) + len(sets.train.part)},
        made_with="the masks themselves, by rules of anatomy",
        headline=judgement.verdict not in (GOOD, NOT_COMPUTED),
        details={"rules": _rule_shares(rules)},
        planted=planted,
        planted_as="real masks with one structure moved by a quarter of the image",
    )


def _impossible_images(sets: ThreeSets) -> Figure:
    def seen(each: Resegmented) -> tuple[np.ndarray, np.ndarray]:
        return impossible_all(each.found, sets.labels)["any"], each.patient_id

    measured = measured_share(seen, sets, (sets.holdout,))
    judgement = judge_share(measured, slack=0.05, far=0.25, sure=False)
    rules = impossible_all(sets.synthetic.found, sets.labels)
    return judged(
        "fidelity",
        "anatomy_impossible_images",
        "Synthetic images that show a heart no one can have",
        measured,
        judgement,
        f"In {measured.value:.1%} of the synthetic images the measuring network finds an impossible heart, in "
        f"{measured.floor:.1%} of held-out real images.{_worst_rule(rules)}",
        n=sets.n,
        made_with=sets.made_with,
        details={"rules": _rule_shares(rules)},
    )


def _torn(masks: np.ndarray, labels: tuple[int, ...]) -> np.ndarray:
    """Real masks spoilt on purpose: the myocardium (or the only structure, as a second piece) moved away."""
    label, step = (MYO if MYO in labels else labels[0]), masks.shape[1] // 4
    kept = masks.copy()
    if label == MYO:
        kept[masks == MYO] = 0
    moved = np.roll(masks == label, (step, step), (1, 2))
    return np.where(moved & (kept == 0), label, kept).astype(masks.dtype)


def _rule_shares(rules: dict[str, np.ndarray]) -> dict[str, float]:
    return {rule: float(broken.mean()) for rule, broken in rules.items() if rule != "any"}


def _worst_rule(rules: dict[str, np.ndarray]) -> str:
    shares = _rule_shares(rules)
    rule = max(shares, key=shares.__getitem__)
    return f" Most often: {RULES[rule][0]} ({shares[rule]:.1%})." if shares[rule] > 0 else ""


def _exchange_remark(rules: dict[str, np.ndarray], masks: np.ndarray) -> str:
    both = (masks == LV).any((1, 2)) & (masks == RV).any((1, 2))
    if not both.any() or rules["exchanged"][both].mean() < EXCHANGED:
        return ""
    return " The labels of LV and RV cavity look exchanged."
