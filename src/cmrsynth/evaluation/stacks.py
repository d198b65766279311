"""Whole ventricles among single slices: only a complete stack at end-diastole and end-systole has an EF."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.resegmented import Resegmented
from cmrsynth.labels import LV, MYO
from cmrsynth.metrics.volumes import ejection_fraction, myocardial_mass, stack_fault, stack_volume

Extent = dict[tuple[str, str], tuple[int, ...]]


@dataclass(frozen=True)
class Heart:
    """The slices of one heart at two times.

    Args:
        patient_id: whose heart (of a synthetic set: whose masks).
        pathology: as the data set says.
        ed, es: rows of the set, from base to apex, at end-diastole and end-systole.
    """

    patient_id: str
    pathology: str
    ed: np.ndarray
    es: np.ndarray


def extents(*parts: SliceSet) -> Extent:
    """Return per (patient, phase) of real sets the slices that patient has: what a whole stack is."""
    found: Extent = {}
    for part in parts:
        for patient in part.patients:
            for phase in ("ED", "ES"):
                rows = (part.patient_id == patient) & (part.phase == phase)
                found[patient, phase] = tuple(sorted(set(part.slice_index[rows].tolist())))
    return found


def find_hearts(part: SliceSet, whole: Extent) -> tuple[list[Heart], Counter[str]]:
    """Return the hearts that have whole stacks at ED and ES, and for the others how often which reason.

    Where a data set holds several images of one mask, the first of each slice make one heart, the second another.

    Args:
        part: the slices.
        whole: the slices of each real patient, by `extents`. A stack of a patient not among them is whole if it
            holds a basal and an apical slice.
    """
    hearts: list[Heart] = []
    refused: Counter[str] = Counter()
    for patient in part.patients:
        own = np.flatnonzero(part.patient_id == patient)
        replicate = _occurrence([(part.phase[i], int(part.frame[i]), int(part.slice_index[i])) for i in own])
        for number in range(int(replicate.max()) + 1):
            rows = own[replicate == number]
            times = {phase: _ordered(part, rows[part.phase[rows] == phase]) for phase in ("ED", "ES")}
            why = next((w for phase, r in times.items() if (w := _fault(part, r, patient, phase, whole))), "")
            if why:
                refused[why] += 1
            else:
                hearts.append(Heart(patient, str(part.pathology[rows[0]]), times["ED"], times["ES"]))
    return hearts, refused


def measure_hearts(
    hearts: list[Heart], maps: np.ndarray, each: Resegmented, labels: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return the volumes of hearts.

    Args:
        hearts: of `find_hearts` on `each.part`.
        maps: (N, H, W) label maps: the masks of the set, or what was found in its images.
        each: the set, for the spacings.
        labels: the annotated labels; without myocardium the mass is NaN.

    Returns:
        "edv", "esv" (mL), "ef" (%), "mass" (g, at end-diastole): (len(hearts),) float64.
    """

    def volume(rows: np.ndarray, label: int) -> float:
        part = each.part
        return stack_volume(maps[rows], label, part.pixel_spacing[rows], float(part.slice_spacing[rows[0]]))

    edv, esv = (np.array([volume(rows, LV) for rows in times]) for times in _times(hearts))
    mass = [myocardial_mass(volume(heart.ed, MYO)) if MYO in labels else np.nan for heart in hearts]
    ef = [ejection_fraction(d, s) for d, s in zip(edv, esv, strict=True)]
    return {"edv": edv, "esv": esv, "ef": np.array(ef, float), "mass": np.array(mass, float)}


def _times(hearts: list[Heart]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [heart.ed for heart in hearts], [heart.es for heart in hearts]


def _occurrence(keys: list[tuple[str, int, int]]) -> np.ndarray:
    """For each key, how many equal ones came before it."""
    seen: Counter[tuple[str, int, int]] = Counter()
    found = []
    for key in keys:
        found.append(seen[key])
        seen[key] += 1
    return np.array(found)


def _ordered(part: SliceSet, rows: np.ndarray) -> np.ndarray:
    return rows[np.argsort(part.slice_index[rows], kind="stable")]


def _fault(part: SliceSet, rows: np.ndarray, patient: str, phase: str, whole: Extent) -> str:
    """Why the slices of one heart at one time give no volume, or ""."""
    if not len(rows):
        return f"no slices at {phase}"
    if len(set(part.frame[rows].tolist())) > 1:
        return f"several frames are called {phase}"
    if fault := stack_fault(part.slice_index[rows], part.slice_spacing[rows]):
        return fault
    indices = tuple(part.slice_index[rows].tolist())
    levels = set(part.slice_level[rows].tolist())
    if indices != whole[patient, phase] if (patient, phase) in whole else not {"basal", "apical"} <= levels:
        return "the stack does not reach from base to apex"
    left = np.isin(part.masks[rows], (LV, MYO))
    if left[:, [0, -1]].any() or left[:, :, [0, -1]].any():
        return "the image's border cuts the left ventricle"
    return ""
