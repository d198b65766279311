"""Is the anatomy that was asked for in the image? A network trained on real patients segments it again."""

from __future__ import annotations

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.anatomy import anatomy_figures
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.resegmented import Resegmented, ThreeSets, judge_share, measured_share, resegment
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import judge_dice, judge_distance
from cmrsynth.evaluation.volumes import volume_figures
from cmrsynth.labels import LABEL_NAMES, LV, RV
from cmrsynth.metrics.intervals import bootstrap_patients, paired_bootstrap
from cmrsynth.metrics.overlap import dice, overlap_by_patient

EXCHANGED = 0.2  # so much more Dice with LV and RV exchanged means that they are
SURFACES = (
    ("hausdorff_95", "95 % Hausdorff distance to its mask", "Borders lie within {:.1f} mm of the mask (95 %)"),
    ("assd", "mean distance of borders to its mask (ASSD)", "Borders are {:.1f} mm from the mask on average"),
)


def adherence_figures(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    labels: tuple[int, ...],
    segmenter: Segmenter,
    settings: EvaluationSettings,
) -> list[Figure]:
    """Return mask adherence, the anatomy of images and masks, and volumes where there are whole stacks.

    Args:
        train: the real slices that the segmenter was trained on.
        holdout: real slices of other patients.
        synthetic: the set to judge, each image with the mask it was made from.
        labels: the foreground labels that all three annotate.
        segmenter: trained on `train`.
        settings: resamples, draws and seed.
    """
    sets = resegment(train, holdout, synthetic, labels, segmenter, settings)
    overlaps = {
        name: overlap_of(each.found, each.part, labels)
        for name, each in (("synthetic", sets.synthetic), ("real", sets.holdout))
    }
    return [
        _dice_figure(overlaps, sets),
        *(_surface_figure(entry, overlaps, sets) for entry in SURFACES),
        _missed_figure(sets),
        *anatomy_figures(sets),
        *volume_figures(sets),
    ]


def adherence_dice(sets: ThreeSets) -> Figure:
    """Return the mask adherence alone, from what `resegment` found; see `adherence_figures`."""
    each = {"synthetic": sets.synthetic, "real": sets.holdout}
    return _dice_figure({name: overlap_of(one.found, one.part, sets.labels) for name, one in each.items()}, sets)


def overlap_of(predictions: np.ndarray, part: SliceSet, labels: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return `overlap_by_patient` of predictions against the masks of a set."""
    return overlap_by_patient(predictions, part.masks, part.patient_id, part.phase, labels, part.pixel_spacing)


def mean_interval(by_patient: np.ndarray, settings: EvaluationSettings) -> tuple[float, Interval | None]:
    """Return the mean over patients of (P, L) values, labels averaged first, and its interval."""
    per_patient = _label_mean(by_patient)
    value = float(np.nanmean(per_patient)) if np.isfinite(per_patient).any() else float("nan")
    return value, finite(paired_bootstrap(per_patient, resamples=settings.resamples, seed=settings.seed))


def per_label(values: np.ndarray, labels: tuple[int, ...]) -> dict[str, float | None]:
    """Return the mean over patients of (P, L) values per label name; None where no patient has a value."""
    known = [column[np.isfinite(column)] for column in values.T]
    return {LABEL_NAMES[x]: float(k.mean()) if len(k) else None for x, k in zip(labels, known, strict=True)}


def _label_mean(by_patient: np.ndarray) -> np.ndarray:
    known = np.isfinite(by_patient)
    return np.where(known, by_patient, 0).sum(1) / np.where(known.any(1), known.sum(1), np.nan)


def _minus_ceiling(overlaps: dict[str, dict[str, np.ndarray]], key: str, settings: EvaluationSettings) -> dict:
    """Synthetic minus real, and its interval: both sets of patients are resampled, the ceiling is uncertain too."""
    x, y = (_label_mean(overlaps[name][key]) for name in ("synthetic", "real"))
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    interval = bootstrap_patients(
        lambda rows_x, rows_y: x[rows_x].mean() - y[rows_y].mean(),
        [np.arange(len(x)), np.arange(len(y))],
        resamples=settings.resamples,
        seed=settings.seed,
    )
    return {"minus_ceiling": float(x.mean() - y.mean()), "minus_ceiling_interval": finite(interval)}


def _dice_figure(overlaps: dict[str, dict[str, np.ndarray]], sets: ThreeSets) -> Figure:
    name, title = "adherence_dice", "Mask adherence: Dice of the re-segmented image with its mask"
    value, interval = mean_interval(overlaps["synthetic"]["dice"], sets.settings)
    floor, floor_interval = mean_interval(overlaps["real"]["dice"], sets.settings)
    if not np.isfinite([value, floor]).all():
        why = "In at least one of the sets neither the masks nor the measuring network's finds hold any structure."
        return not_computed("fidelity", name, title, why, sets.n, sets.made_with, unit="Dice")
    difference = _minus_ceiling(overlaps, "dice", sets.settings)
    judgement = judge_dice(difference["minus_ceiling"], difference["minus_ceiling_interval"])
    sentence = {
        GOOD: "The heart is where the mask put it, as precisely as the measuring network can tell on real patients.",
        LOOK: "The heart is not quite where the mask put it.",
        DO_NOT_SHARE: "Image and mask do not belong together; whoever trains on them learns wrong labels.",
    }[judgement.verdict]
    weak = " The measuring network itself is weak on real patients; train it longer." if floor < 0.7 else ""
    exchanged = exchanged_dice(sets.synthetic, sets.labels)
    planted = mean_interval(_shuffled_overlap(sets)["dice"], sets.settings)[0]
    return judged(
        "fidelity",
        name,
        title,
        Measured(value, interval, floor, floor_interval),
        judgement,
        f"{sentence} ({value:.3f} against the network's ceiling of {floor:.3f} on real patients.)"
        f"{_exchanged_warning(exchanged)}{weak}",
        n=sets.n,
        made_with=sets.made_with,
        unit="Dice",
        better="higher",
        headline=True,
        details={
            **difference,
            "per_label": per_label(overlaps["synthetic"]["dice"], sets.labels),
            "floor_per_label": per_label(overlaps["real"]["dice"], sets.labels),
            "missed_slices": int(overlaps["synthetic"]["missed"].sum()),
            "with_ventricles_exchanged": exchanged,
        },
        planted=planted if np.isfinite(planted) else None,
        planted_as="held-out images beside the mask of another slice",
    )


def _shuffled_overlap(sets: ThreeSets) -> dict[str, np.ndarray]:
    order = np.random.default_rng([sets.settings.seed, 1610]).permutation(len(sets.holdout.part))
    return overlap_of(sets.holdout.found[order], sets.holdout.part, sets.labels)


def exchanged_dice(each: Resegmented, labels: tuple[int, ...]) -> dict[str, float] | None:
    """Return the Dice of LV and RV cavity, pooled over the set, as labelled and with the two exchanged.

    None where not both are annotated, or where one of them is nowhere in masks and finds.
    """
    if not {LV, RV} <= set(labels):
        return None
    swapped = np.where(each.found == LV, RV, np.where(each.found == RV, LV, each.found))
    found = {
        name: float(np.mean([dice(maps, each.part.masks, label) for label in (LV, RV)]))
        for name, maps in (("as_labelled", each.found), ("exchanged", swapped))
    }
    return found if np.isfinite(list(found.values())).all() else None


def _exchanged_warning(found: dict[str, float] | None) -> str:
    if found is None or found["exchanged"] < found["as_labelled"] + EXCHANGED:
        return ""
    return (
        f" The labels of LV and RV cavity look exchanged: with the two swapped their Dice is {found['exchanged']:.3f}, "
        f"as labelled {found['as_labelled']:.3f}."
    )


def _surface_figure(entry: tuple[str, str, str], overlaps: dict[str, dict[str, np.ndarray]], sets: ThreeSets) -> Figure:
    key, what, sentence = entry
    name, title = f"adherence_{key}", f"Mask adherence: {what}"
    value, interval = mean_interval(overlaps["synthetic"][key], sets.settings)
    floor, floor_interval = mean_interval(overlaps["real"][key], sets.settings)
    if not np.isfinite([value, floor]).all():
        why = "The measuring network found no structure in at least one of the sets, so no surface can be compared."
        return not_computed("fidelity", name, title, why, sets.n, sets.made_with, unit="mm")
    measured = Measured(value, cut(interval, (0, np.inf)), floor, cut(floor_interval, (0, np.inf)))
    missed = int(overlaps["synthetic"]["missed"].sum())
    judgement = judge_distance(measured)
    return judged(
        "fidelity",
        name,
        title,
        measured,
        judgement,
        f"{sentence.format(value)}; on real patients {floor:.1f} mm. {missed} slices where only one of image and mask "
        "shows a structure are not in this average; they are counted beside it.",
        n=sets.n,
        made_with=sets.made_with,
        unit="mm",
        details={
            **_minus_ceiling(overlaps, key, sets.settings),
            "per_label": per_label(overlaps["synthetic"][key], sets.labels),
            "floor_per_label": per_label(overlaps["real"][key], sets.labels),
            "missed_slices": missed,
            "missed_as_image_diagonal": _penalised(overlaps["synthetic"], key, sets.synthetic, sets),
            "floor_missed_as_image_diagonal": _penalised(overlaps["real"], key, sets.holdout, sets),
        },
    )


def _penalised(overlap: dict[str, np.ndarray], key: str, each: Resegmented, sets: ThreeSets) -> float:
    """Mean distance where a slice with a structure on one side only counts as the image's diagonal."""
    part, values = each.part, np.full(overlap[key].shape, np.nan)
    for row, patient in enumerate(overlap["patients"]):
        own = part.patient_id == patient
        diagonal = float(np.hypot(*(part.pixel_spacing[own].mean(0) * part.images.shape[1:])))
        for column, label in enumerate(sets.labels):
            sides = [(maps[own] == label).any((1, 2)) for maps in (each.found, part.masks)]
            both, one = int((sides[0] & sides[1]).sum()), int((sides[0] ^ sides[1]).sum())
            if both + one:
                known = overlap[key][row, column] if both else 0.0
                values[row, column] = (known * both + diagonal * one) / (both + one)
    return float(np.nanmean(_label_mean(values)))


def _missed_figure(sets: ThreeSets) -> Figure:
    def one_sided(each: Resegmented) -> tuple[np.ndarray, np.ndarray]:
        sides = [
            np.stack([(maps == label).any((1, 2)) for label in sets.labels], 1)
            for maps in (each.found, each.part.masks)
        ]
        asked = sides[0] | sides[1]
        return (sides[0] ^ sides[1])[asked], np.repeat(each.patient_id, asked.sum(1))

    name, title = "adherence_missed", "Structures that only one of image and mask shows"
    if min(len(one_sided(each)[0]) for each in (sets.synthetic, sets.holdout)) == 0:
        why = "At least one of the sets shows no structure at all."
        return not_computed("fidelity", name, title, why, sets.n, sets.made_with)
    measured = measured_share(one_sided, sets, (sets.holdout,))
    judgement = judge_share(measured, slack=0.05, far=0.25)
    return judged(
        "fidelity",
        name,
        title,
        measured,
        judgement,
        f"{measured.value:.1%} of the structures in a slice are in the mask or in the re-segmented image, but not in "
        f"both; on real patients {measured.floor:.1%}.",
        n=sets.n,
        made_with=sets.made_with,
    )
