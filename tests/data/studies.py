"""Small studies with known answers, for the tests of preprocessing and building."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from cmrsynth.data.study import PatientEntry, Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.seeds import derive_seed

SOURCE = SimpleNamespace(
    name="toy",
    patients=None,
    licence="cc-by-4.0",
    citation="Nobody 2024",
    homepage="https://example.org/toy",
    how_to_obtain="run the tests",
    description="Discs that beat.",
)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def beating_study(
    patient: str = "anna",
    *,
    centre: tuple[float, float] = (24.0, 30.0),
    shape: tuple[int, int] = (48, 56),
    radii: tuple[float, ...] = (9, 8, 7, 6, 5),
    spacing: tuple[float, float] = (2.0, 2.0),
    seed: int = 0,
    **changes: object,
) -> Study:
    """ED and ES of a bright disc that shrinks to 70 % at ES and tapers from the first slice to the last."""
    rng = np.random.default_rng(derive_seed(seed, "beating", patient))
    noise = rng.normal(0, 3, (len(radii), *shape))  # the same in both frames: only the heart moves
    volumes = []
    for phase, frame, share in (("ED", 0, 1.0), ("ES", 9, 0.7)):
        heart = np.stack([disc(shape, centre, share * radius) for radius in radii])
        volumes.append(
            Volume(
                image=(100.0 + 150 * heart + noise).astype(np.float32),
                mask=heart.astype(np.uint8),
                labelled=np.ones(len(radii), bool),
                phase=phase,
                frame=frame,
                slice_indices=np.arange(len(radii)),
            )
        )
    study = Study(
        patient, tuple(volumes), spacing, 8.0, (1,), "toy", f"/raw/{patient}.nii.gz", vendor="A", pathology="normal"
    )
    return replace(study, **changes)


def entry(study: Study) -> PatientEntry:
    return PatientEntry(study.patient_id, lambda: study, study.vendor, study.pathology, study.centre)


def broken_entry(patient: str) -> PatientEntry:
    def load() -> Study:
        raise InputError(f"/raw/{patient}.nii.gz", f"the file of {patient} ends early", "copy it again")

    return PatientEntry(patient, load, "A", "normal")


def with_images(study: Study, change) -> Study:
    return replace(study, volumes=tuple(replace(v, image=change(v.image).astype(np.float32)) for v in study.volumes))


def with_masks(study: Study, change) -> Study:
    return replace(study, volumes=tuple(replace(v, mask=change(v.mask).astype(np.uint8)) for v in study.volumes))
