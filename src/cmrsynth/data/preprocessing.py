"""The chain from a study as read to slices as stored: which frames and slices, and in which order steps run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cmrsynth.data.study import Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO
from cmrsynth.schema import PHASES


class Step(Protocol):
    """One named preprocessing step."""

    def __call__(self, study: Study) -> Study:
        """Return the changed study."""

    def describe(self) -> dict:
        """Return what is recorded in the card and in build.json."""


def apply(steps: Sequence[Step], study: Study) -> Study:
    """Return `study` after all steps in order."""
    for step in steps:
        study = step(study)
    return study


@dataclass(frozen=True)
class SelectFrames:
    """Keep the frames of the given phases."""

    phases: tuple[str, ...] = ("ED", "ES")

    def __post_init__(self) -> None:
        unknown = sorted(set(self.phases) - set(PHASES))
        if unknown or not self.phases:
            raise InputError("phases", f"unknown phases {unknown or 'none given'}", f"choose from {','.join(PHASES)}")

    def __call__(self, study: Study) -> Study:
        """Return the study with the chosen frames only.

        Raises:
            InputError: none of its frames has such a phase.
        """
        kept = tuple(volume for volume in study.volumes if volume.phase in self.phases)
        if not kept:
            found = sorted({volume.phase for volume in study.volumes})
            raise InputError(
                study.origin,
                f"no frame of phase {' or '.join(self.phases)} (found {found})",
                "choose others with --phases",
            )
        return replace(study, volumes=kept)

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"step": "select_frames", "phases": list(self.phases)}


@dataclass(frozen=True)
class SelectLabelledSlices:
    """Keep the slices an expert annotated; with `keep_empty` also those where there was nothing to draw."""

    keep_empty: bool = False

    def __call__(self, study: Study) -> Study:
        """Return the study with annotated slices only.

        Raises:
            InputError: no slice is annotated.
        """
        kept = tuple(self._select(volume) for volume in study.volumes)
        kept = tuple(volume for volume in kept if len(volume.image))
        if not kept:
            raise InputError(study.origin, "no annotated slice", "leave this patient out, or check its masks")
        return replace(study, volumes=kept)

    def _select(self, volume: Volume) -> Volume:
        keep = np.asarray(volume.labelled, bool)
        if not self.keep_empty:
            keep = keep & (volume.mask > 0).any(axis=(1, 2))
        return replace(
            volume,
            image=volume.image[keep],
            mask=volume.mask[keep],
            labelled=np.asarray(volume.labelled)[keep],
            slice_indices=np.asarray(volume.slice_indices)[keep],
        )

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"step": "select_labelled_slices", "keep_empty": self.keep_empty}


MIN_SLICES = 3  # fewer labelled slices cannot be told apart into base, middle and apex
AREA_MARGIN = 0.2  # both ends within this share of each other: the direction of the stack is unknown


def slice_levels(study: Study) -> dict[int, str]:
    """Return the level (basal, mid, apical or unknown) of each labelled slice index.

    The labelled stack is cut in thirds. The basal end is the one with the larger LV and myocardium at
    end-diastole (mean over the outer third), since the order of slices differs between scanners.

    Args:
        study: as read, before slices are dropped.

    Returns:
        slice index to level; empty where nothing is labelled.
    """
    areas: dict[int, float] = {}
    reference = [volume for volume in study.volumes if volume.phase == "ED"] or list(study.volumes)
    for volume in reference:
        heart = np.isin(volume.mask, (LV, MYO)).sum(axis=(1, 2))
        for index, area in zip(np.asarray(volume.slice_indices).tolist(), heart.tolist(), strict=True):
            if area > 0:
                areas[index] = max(area, areas.get(index, 0))
    every = sorted({int(i) for volume in study.volumes for i in np.asarray(volume.slice_indices)})
    order = sorted(areas)
    if len(order) < MIN_SLICES:
        return dict.fromkeys(every, "unknown")
    third = max(1, len(order) // 3)
    first, last = (float(np.mean([areas[i] for i in part])) for part in (order[:third], order[-third:]))
    if abs(first - last) <= AREA_MARGIN * max(first, last):
        return dict.fromkeys(every, "unknown")
    low, high = order[0], order[-1]
    levels = ("basal", "mid", "apical") if first > last else ("apical", "mid", "basal")
    # Slices beyond the end-diastolic stack belong to the nearest end.
    return {i: levels[int(np.clip(3 * (i - low) // (high - low + 1), 0, 2))] for i in every}
