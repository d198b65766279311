"""What every source reader hands over: one patient's volumes in harmonised labels, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cmrsynth.errors import InputError
from cmrsynth.schema import PHASES, SCALARS, UNKNOWN


@dataclass(frozen=True)
class Volume:
    """One time frame of a short-axis stack.

    Args:
        image: (Z, H, W) float32, finite, in the scanner's arbitrary units.
        mask: (Z, H, W) uint8 in the label map of `cmrsynth.labels`; background where `labelled` is False.
        labelled: (Z,) bool, True where an expert annotated the slice (an annotated slice may be empty).
        phase: "ED", "ES" or "other".
        frame: 0-based position in the cine.
        slice_indices: (Z,) int, 0-based position of each slice in the acquired stack.
    """

    image: np.ndarray
    mask: np.ndarray
    labelled: np.ndarray
    phase: str
    frame: int
    slice_indices: np.ndarray


@dataclass(frozen=True)
class Study:
    """One patient's examination.

    Args:
        patient_id: the source's own identifier; replaced by a pseudonym before anything is written.
        volumes: the frames that carry annotations (usually ED and ES).
        pixel_spacing: (row, column) in mm.
        slice_spacing: distance between slice centres in mm, or None.
        annotated_labels: the foreground labels this source annotates, e.g. (1,) for LV cavity only.
        cine: (T, Z, H, W) float32, the whole cine where there is one (the temporal-variance localiser uses it).
        origin: the file or folder it came from, for error messages.
        scalars: what is known of those of `cmrsynth.schema.SCALARS`.
        measured_scalars: those of them that were measured in the masks; the source states the others.
        whole_stacks: True where the source annotates every slice with LV at the moments it annotates, so that masks
            add up to volumes.
    """

    patient_id: str
    volumes: tuple[Volume, ...]
    pixel_spacing: tuple[float, float]
    slice_spacing: float | None
    annotated_labels: tuple[int, ...]
    source: str
    origin: str
    vendor: str = UNKNOWN
    centre: str = UNKNOWN
    pathology: str = UNKNOWN
    field_strength: float | None = None
    cine: np.ndarray | None = field(default=None, repr=False)
    scalars: Mapping[str, float] = field(default_factory=dict)
    measured_scalars: tuple[str, ...] = ()
    whole_stacks: bool = False

    def __post_init__(self) -> None:
        if not self.volumes:
            raise InputError(self.origin, "no annotated volume", "check that its masks are where the reader looks")
        if min(self.pixel_spacing) <= 0 or not np.isfinite(self.pixel_spacing).all():
            raise InputError(
                self.origin,
                f"pixel spacing {self.pixel_spacing} mm",
                "write the true spacing into the header",
            )
        if strangers := sorted(set(self.scalars) - set(SCALARS)):
            raise InputError(self.origin, f"unknown scalars {strangers}", "report this reader")
        for volume in self.volumes:
            self._check(volume)

    def _check(self, volume: Volume) -> None:
        where = f"{self.origin} (frame {volume.frame})"
        if volume.image.ndim != 3 or volume.mask.shape != volume.image.shape:
            raise InputError(
                where,
                f"image of shape {volume.image.shape} but mask of shape {volume.mask.shape}",
                "export image and mask on the same grid",
            )
        if len(volume.labelled) != len(volume.image) or len(volume.slice_indices) != len(volume.image):
            raise InputError(where, "per-slice lists do not match the number of slices", "report this reader")
        if not np.isfinite(volume.image).all():
            raise InputError(where, "the image holds NaN or infinite voxels", "repair or leave out this file")
        if volume.phase not in PHASES:
            raise InputError(where, f"phase {volume.phase!r}", f"use one of {PHASES}")


@dataclass(frozen=True)
class PatientEntry:
    """A patient as listed by a source before anything is read: what splitting needs, and how to load the rest.

    `load` reads and checks the files and raises `InputError` that names the file at fault.
    """

    patient_id: str
    load: Callable[[], Study]
    vendor: str = UNKNOWN
    pathology: str = UNKNOWN
    centre: str = UNKNOWN
