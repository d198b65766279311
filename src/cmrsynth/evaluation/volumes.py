"""Do whole synthetic hearts have volumes: EDV, ESV, EF and LV mass, beside their masks and beside real hearts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Measured, Sample, cut, finite, measure
from cmrsynth.evaluation.inputs import mask_origin
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.resegmented import Resegmented, ThreeSets, judge_beyond
from cmrsynth.evaluation.stacks import extents, find_hearts, measure_hearts
from cmrsynth.labels import LABEL_NAMES, LV, MYO
from cmrsynth.metrics.anatomy import wasserstein_1
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.volumes import agreement
from cmrsynth.schema import UNKNOWN

MIN_AGREEMENT, MIN_DISTRIBUTION, COMFORTABLE = 3, 5, 20  # patients with whole hearts in each set
MIN_GROUP = 3
# key, title, unit, labels it needs, and a difference too small to matter to anyone
VOLUMES = (
    ("edv", "LV end-diastolic volume", "mL", {LV}, 3.0),
    ("esv", "LV end-systolic volume", "mL", {LV}, 3.0),
    ("ef", "LV ejection fraction", "%", {LV}, 2.0),
    ("mass", "LV mass", "g", {LV, MYO}, 4.0),
)
# what defines the groups of ACDC (Bernard et al. 2018, doi:10.1109/TMI.2018.2837502)
EF_RULES = {
    "normal": ("above 50 %", 50.0, np.inf),
    "dilated": ("below 40 %", -np.inf, 40.0),
    "infarct": ("below 40 %", -np.inf, 40.0),
}


@dataclass(frozen=True)
class Hearts:
    """The whole hearts of one set.

    Args:
        patient_id, pathology: (n,) of each heart.
        of_masks: "edv", "esv", "ef", "mass", each (n,), from the set's own masks.
        of_images: the same from the re-segmented images.
        refused: how many hearts were left out, by reason.
    """

    patient_id: np.ndarray
    pathology: np.ndarray
    of_masks: dict[str, np.ndarray]
    of_images: dict[str, np.ndarray]
    refused: Counter[str]

    @property
    def patients(self) -> int:
        """How many patients the hearts come from."""
        return len(np.unique(self.patient_id))


def volume_figures(sets: ThreeSets) -> list[Figure]:
    """Return agreement of image and mask volumes, and distances of volume distributions to real hearts.

    A set without whole stacks (slices drawn one by one, a missing spacing) gets one figure that says so: an EF from
    unrelated slices is no EF.
    """
    if LV not in sets.labels:
        return [_no_volumes("These data sets do not annotate the LV cavity.", sets)]
    whole = extents(sets.train.part, sets.holdout.part)
    hearts = [_hearts(each, whole, sets) for each in (sets.synthetic, sets.holdout, sets.train)]
    for name, found in zip(("synthetic", "held-out", "training"), hearts, strict=True):
        if found.patients < MIN_AGREEMENT:
            reasons = "; ".join(f"{why} ({count})" for why, count in found.refused.most_common(3))
            why = (
                f"Only {found.patients} {name} patients have a whole stack of slices at end-diastole and at "
                f"end-systole{f': {reasons}' if reasons else ''}. Single slices have no volume and no EF."
            )
            return [_no_volumes(why, sets)]
    return [figure(entry, hearts, sets) for entry in VOLUMES for figure in (_agreement, _distribution)]


def _no_volumes(why: str, sets: ThreeSets) -> Figure:
    title = "LV volumes, ejection fraction and mass"
    return not_computed("fidelity", "lv_volumes", title, why, sets.n, sets.made_with)


def _hearts(each: Resegmented, whole: dict, sets: ThreeSets) -> Hearts:
    found, refused = find_hearts(each.part, whole)
    return Hearts(
        np.array([heart.patient_id for heart in found], dtype=str),
        np.array([heart.pathology for heart in found], dtype=str),
        measure_hearts(found, each.part.masks, each, sets.labels),
        measure_hearts(found, each.found, each, sets.labels),
        refused,
    )


def _counts(hearts: list[Hearts]) -> dict[str, int]:
    counts = {"synthetic": len(hearts[0].patient_id), "reference": len(hearts[1].patient_id)}
    return {**counts, "patients": hearts[1].patients}


def _unusable(
    entry: tuple[str, str, str, set[int], float],
    name: str,
    title: str,
    hearts: list[Hearts],
    sets: ThreeSets,
    least: int,
) -> Figure | None:
    _, _, unit, needed, _ = entry
    if not needed <= set(sets.labels):
        absent = ", ".join(LABEL_NAMES[label] for label in sorted(needed - set(sets.labels)))
        why = f"These data sets do not annotate {absent}."
    elif min(h.patients for h in hearts) < least:
        why = f"Fewer than {least} patients with whole hearts in one of the sets; a distribution needs more."
    else:
        return None
    return not_computed("fidelity", name, title, why, _counts(hearts), sets.made_with, unit=unit)


def _agreement(entry: tuple[str, str, str, set[int], float], hearts: list[Hearts], sets: ThreeSets) -> Figure:
    key, what, unit, _, resolution = entry
    name, title = f"lv_{key}_agreement", f"{what}: synthetic image against its own mask, mean absolute difference"
    if missing := _unusable(entry, name, title, hearts, sets, MIN_AGREEMENT):
        return missing
    known = [_known(h.of_images[key], h.of_masks[key], h.patient_id) for h in hearts[:2]]
    if min(len(patients) for _, _, patients in known) < 2:
        why = "The measuring network, or the masks, show no ventricle in nearly all hearts."
        return not_computed("fidelity", name, title, why, _counts(hearts), sets.made_with, unit=unit)
    (value, interval), (floor, floor_interval) = (_mean_absolute(*each, sets) for each in known)
    measured = Measured(value, interval, floor, floor_interval)
    found = [agreement(images, masks) for images, masks, _ in known]
    bias, lower, upper = (found[0][name] for name in ("bias", "lower", "upper"))
    of = "percentage points" if unit == "%" else unit  # a difference of two shares is not a share
    return judged(
        "fidelity",
        name,
        title,
        measured,
        judge_beyond(measured, resolution),
        f"{what} of a re-segmented synthetic stack is off its mask's by {value:.1f} {of} on average (bias "
        f"{bias:+.1f}, limits of agreement {lower:.1f} to {upper:.1f}); on real patients by {floor:.1f} {of}."
        f"{_few(hearts)}",
        n=_counts(hearts),
        made_with=f"{sets.made_with}; Simpson's method",
        unit=unit,
        details={"synthetic": found[0], "holdout": found[1], "left_out": dict(hearts[0].refused)},
    )


def _known(images: np.ndarray, masks: np.ndarray, patient_id: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    known = np.isfinite(images) & np.isfinite(masks)
    return images[known], masks[known], patient_id[known]


def _mean_absolute(
    images: np.ndarray, masks: np.ndarray, patient_id: np.ndarray, sets: ThreeSets
) -> tuple[float, tuple[float, float] | None]:
    def mean_absolute(rows: np.ndarray) -> float:
        return agreement(images[rows], masks[rows])["mean_absolute"]

    interval = bootstrap_patients(
        mean_absolute, [patient_id], resamples=sets.settings.resamples, seed=sets.settings.seed
    )
    return mean_absolute(np.arange(len(images))), cut(finite(interval), (0, np.inf))


def _distribution(entry: tuple[str, str, str, set[int], float], hearts: list[Hearts], sets: ThreeSets) -> Figure:
    key, what, unit, _, resolution = entry
    name, title = f"lv_{key}", f"{what}: distance of distributions (Wasserstein-1)"
    if missing := _unusable(entry, name, title, hearts, sets, MIN_DISTRIBUTION):
        return missing
    known = [np.isfinite(h.of_images[key]) for h in hearts]
    samples = [Sample(h.of_images[key][k], h.patient_id[k]) for h, k in zip(hearts, known, strict=True)]
    if min(len(s) for s in samples) < 2:
        why = "The measuring network finds no ventricle in nearly all hearts of one of the sets."
        return not_computed("fidelity", name, title, why, _counts(hearts), sets.made_with, unit=unit)
    measured = measure(wasserstein_1, *samples, sets.settings, bounds=(0, np.inf))
    middles = [float(np.median(s.rows)) for s in samples]
    origin = mask_origin(sets.train.part, sets.holdout.part, sets.synthetic.part)
    of = "percentage points" if unit == "%" else unit
    whose = f" The shapes come from masks of {origin} patients." if origin != "other" else ""
    return judged(
        "fidelity",
        name,
        title,
        measured,
        judge_beyond(measured, resolution),
        f"Median {middles[0]:.1f} {unit} in synthetic hearts, {middles[1]:.1f} {unit} in held-out ones. The "
        f"distributions are {measured.value:.1f} {of} apart; those of two groups of real patients "
        f"{measured.floor:.1f} {of}.{whose}{_few(hearts)}",
        n=_counts(hearts),
        made_with=f"{sets.made_with}; Simpson's method",
        unit=unit,
        details={"measured_on": "re-segmented images", "pathology": _by_pathology(key, hearts)},
    )


def _few(hearts: list[Hearts]) -> str:
    fewest = min(h.patients for h in hearts)
    return f" Only {fewest} patients in the smallest set: read it with its interval." if fewest < COMFORTABLE else ""


def _by_pathology(key: str, hearts: list[Hearts]) -> dict[str, dict[str, Any]]:
    """Per pathology the medians and the distance, or why there is none; for EF what defines the group."""
    found: dict[str, dict[str, Any]] = {}
    for pathology in sorted(set(hearts[0].pathology.tolist()) - {UNKNOWN}):
        rows = [(h.pathology == pathology) & np.isfinite(h.of_images[key]) for h in hearts]
        values = [h.of_images[key][r] for h, r in zip(hearts, rows, strict=True)]
        patients = [len(np.unique(h.patient_id[r])) for h, r in zip(hearts, rows, strict=True)]
        row: dict[str, Any] = {"n": len(values[0]), "patients": min(patients)}
        row |= {
            f"median_{name}": float(np.median(v)) if len(v) else None
            for name, v in zip(("synthetic", "holdout", "train"), values, strict=True)
        }
        if min(patients) < MIN_GROUP:
            row["why_not"] = f"fewer than {MIN_GROUP} patients in one of the sets"
        else:
            row |= {"value": wasserstein_1(values[0], values[1]), "floor": wasserstein_1(values[2], values[1])}
        if key == "ef" and pathology in EF_RULES:
            words, low, high = EF_RULES[pathology]
            row["ef_rule"] = {"expected": words} | {
                name: float(((v > low) & (v < high)).mean()) if len(v) else None
                for name, v in zip(("synthetic", "holdout", "train"), values, strict=True)
            }
        found[pathology] = row
    return found
