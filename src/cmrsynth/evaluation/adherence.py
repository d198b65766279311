"""Is the anatomy that was asked for in the image? A network trained on real patients segments it again."""

from __future__ import annotations

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.fidelity import as_fields, distance_reading
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, Sample, finite, measure
from cmrsynth.evaluation.judged import not_computed
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import judge_dice, judge_distance
from cmrsynth.labels import LABEL_NAMES, LV, MYO, RV
from cmrsynth.metrics.anatomy import measure_all, wasserstein_1
from cmrsynth.metrics.intervals import paired_bootstrap
from cmrsynth.metrics.overlap import overlap_by_patient

MIN_CAVITY_MM2 = 80.0  # a ratio to a smaller cavity (10 mm across) is a division by noise
ANATOMY = (
    ("lv_area_mm2", "LV cavity area", "mm2", {LV}),
    ("lv_myo_ratio", "LV cavity to myocardium area ratio", "", {LV, MYO}),
    ("rv_lv_ratio", "RV to LV cavity area ratio", "", {RV, LV}),
    ("wall_thickness_mm", "Wall thickness", "mm", {LV, MYO}),
)


def adherence_figures(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    labels: tuple[int, ...],
    segmenter: Segmenter,
    settings: EvaluationSettings,
) -> list[Figure]:
    """Return mask adherence (Dice, HD95) and the distributions of anatomy in re-segmented images."""
    made_with = f"{segmenter.facts['name']}, sha256 {segmenter.facts['sha256'][:12]}"
    predictions = {name: segmenter.predict(part.images) for name, part in (("synthetic", synthetic), ("real", holdout))}
    overlaps = {
        name: overlap_of(predictions[name], part, labels)
        for name, part in (("synthetic", synthetic), ("real", holdout))
    }
    n = {"synthetic": len(synthetic), "reference": len(holdout), "patients": len(holdout.patients)}
    figures = [
        _dice_figure(overlaps, labels, settings, n, made_with),
        _surface_figure(overlaps, labels, settings, n, made_with),
    ]
    measures = [
        (part.patient_id, measure_all(prediction, part.pixel_spacing, labels))
        for part, prediction in (
            (synthetic, predictions["synthetic"]),
            (holdout, predictions["real"]),
            (train, segmenter.predict(train.images)),
        )
    ]
    return figures + [_anatomy_figure(entry, measures, labels, settings, n, made_with) for entry in ANATOMY]


def overlap_of(predictions: np.ndarray, part: SliceSet, labels: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return `overlap_by_patient` of predictions against the masks of a set."""
    return overlap_by_patient(predictions, part.masks, part.patient_id, part.phase, labels, part.pixel_spacing)


def mean_interval(by_patient: np.ndarray, settings: EvaluationSettings) -> tuple[float, Interval | None]:
    """Return the mean over patients of (P, L) values, labels averaged first, and its interval."""
    known = np.isfinite(by_patient)
    per_patient = np.where(known, by_patient, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)
    value = float(np.nanmean(per_patient)) if np.isfinite(per_patient).any() else float("nan")
    return value, finite(paired_bootstrap(per_patient, resamples=settings.resamples, seed=settings.seed))


def per_label(values: np.ndarray, labels: tuple[int, ...]) -> dict[str, float | None]:
    """Return the mean over patients of (P, L) values per label name; None where no patient has a value."""
    known = [column[np.isfinite(column)] for column in values.T]
    return {LABEL_NAMES[x]: float(k.mean()) if len(k) else None for x, k in zip(labels, known, strict=True)}


def _dice_figure(
    overlaps: dict[str, dict[str, np.ndarray]],
    labels: tuple[int, ...],
    settings: EvaluationSettings,
    n: dict[str, int],
    made_with: str,
) -> Figure:
    value, interval = mean_interval(overlaps["synthetic"]["dice"], settings)
    floor, floor_interval = mean_interval(overlaps["real"]["dice"], settings)
    judgement = judge_dice(value - floor, None if interval is None else (interval[0] - floor, interval[1] - floor))
    sentence = {
        GOOD: "The heart is where the mask put it, as precisely as the measuring network can tell on real patients.",
        LOOK: "The heart is not quite where the mask put it.",
        DO_NOT_SHARE: "Image and mask do not belong together; whoever trains on them learns wrong labels.",
    }[judgement.verdict]
    weak = " The measuring network itself is weak on real patients; train it longer." if floor < 0.7 else ""
    return Figure(
        axis="fidelity",
        name="adherence_dice",
        title="Mask adherence: Dice of the re-segmented image with its mask",
        value=value,
        interval=interval,
        floor=floor,
        floor_interval=floor_interval,
        unit="Dice",
        better="higher",
        n=n,
        made_with=made_with,
        verdict=judgement.verdict,
        reading=f"{sentence} ({value:.3f} against {floor:.3f}.){weak}",
        rule=judgement.rule,
        headline=True,
        details={
            "per_label": per_label(overlaps["synthetic"]["dice"], labels),
            "floor_per_label": per_label(overlaps["real"]["dice"], labels),
            "missed_slices": int(overlaps["synthetic"]["missed"].sum()),
        },
    )


def _surface_figure(
    overlaps: dict[str, dict[str, np.ndarray]],
    labels: tuple[int, ...],
    settings: EvaluationSettings,
    n: dict[str, int],
    made_with: str,
) -> Figure:
    value, interval = mean_interval(overlaps["synthetic"]["hausdorff_95"], settings)
    floor, floor_interval = mean_interval(overlaps["real"]["hausdorff_95"], settings)
    title = "Mask adherence: 95 % Hausdorff distance to its mask"
    if not np.isfinite([value, floor]).all():
        why = "The measuring network found no structure in at least one of the sets, so no surface can be compared."
        return not_computed("fidelity", "adherence_hausdorff_95", title, why, n, made_with, unit="mm")
    measured = Measured(value, interval, floor, floor_interval)
    judgement = judge_distance(measured)
    missed = int(overlaps["synthetic"]["missed"].sum())
    return Figure(
        axis="fidelity",
        name="adherence_hausdorff_95",
        title=title,
        **as_fields(measured),
        unit="mm",
        better="lower",
        n=n,
        made_with=made_with,
        verdict=judgement.verdict,
        reading=f"Borders lie within {value:.1f} mm of the mask (95 %); on real patients within {floor:.1f} mm. "
        f"{missed} slices where only one of image and mask shows a structure are not in this average.",
        rule=judgement.rule,
        details={
            "per_label": per_label(overlaps["synthetic"]["hausdorff_95"], labels),
            "floor_per_label": per_label(overlaps["real"]["hausdorff_95"], labels),
        },
    )


def _anatomy_figure(
    entry: tuple[str, str, str, set[int]],
    measures: list[tuple[np.ndarray, dict[str, np.ndarray]]],
    labels: tuple[int, ...],
    settings: EvaluationSettings,
    n: dict[str, int],
    made_with: str,
) -> Figure:
    key, what, unit, needed = entry
    name, title = f"anatomy_{key}", f"{what}: distance of distributions (Wasserstein-1)"
    if not needed <= set(labels):
        absent = ", ".join(LABEL_NAMES[label] for label in sorted(needed - set(labels)))
        return not_computed(
            "fidelity", name, title, f"These data sets do not annotate {absent}.", n, made_with, unit=unit
        )
    sets = []
    for patients, found in measures:
        values = found[key]
        known = np.isfinite(values) & (found["lv_area_mm2"] >= (MIN_CAVITY_MM2 if key == "rv_lv_ratio" else 1e-6))
        sets.append(Sample(values[known], patients[known]))
    if min(len(s) for s in sets) < 2:
        why = "The measuring network finds the structure in too few images."
        return not_computed("fidelity", name, title, why, n, made_with, unit=unit)
    measured = measure(wasserstein_1, *sets, settings, bounds=(0, np.inf))
    judgement = judge_distance(measured)
    medians = [float(np.median(s.rows)) for s in sets]
    return Figure(
        axis="fidelity",
        name=name,
        title=title,
        **as_fields(measured),
        unit=unit,
        better="lower",
        n={**n, "synthetic": len(sets[0]), "reference": len(sets[1])},
        made_with=made_with,
        verdict=judgement.verdict,
        reading=f"Median {medians[0]:.3g} {unit} in synthetic, {medians[1]:.3g} {unit} in held-out images. "
        + distance_reading(measured, what.lower()),
        rule=judgement.rule,
        details={
            "synthetic": sets[0].rows.round(4).tolist(),
            "holdout": sets[1].rows.round(4).tolist(),
            "measured_on": "re-segmented images",
        },
    )
