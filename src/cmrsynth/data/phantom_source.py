"""The phantom as a data source: patients that look like a cine study and need no download."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cmrsynth.data.phantom import draw_examination, render
from cmrsynth.data.phantom_anatomy import PATHOLOGIES, draw_heart
from cmrsynth.data.phantom_measures import phantom_scalars
from cmrsynth.data.phantom_physics import STYLES
from cmrsynth.data.phantom_thorax import draw_thorax
from cmrsynth.data.study import PatientEntry, Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import FOREGROUND
from cmrsynth.seeds import derive_seed

_WHERE = "phantom"
_MIN_SIZE = 32


def patients(
    root: Path | None = None,
    *,
    num_patients: int = 40,
    seed: int = 0,
    vendors: Sequence[str] = ("A", "B", "C", "D"),
    pathologies: Sequence[str] = PATHOLOGIES,
    size: int = 128,
) -> list[PatientEntry]:
    """Return phantom patients; vendors and pathologies take turns, so that every pair is equally frequent.

    Patient i follows from (seed, i) alone: asking for more patients does not change the earlier ones. A patient's
    anatomy does not depend on the vendor.

    Args:
        root: ignored; the phantom reads no file.
        num_patients: at least 1.
        seed: of the whole data set.
        vendors: names from `phantom_physics.STYLES`.
        pathologies: names from `phantom_anatomy.PATHOLOGIES`.
        size: rows and columns of the images, at least 32. The field of view stays, so pixels shrink as it grows.

    Raises:
        InputError: an unknown vendor or pathology, no patient, or too small an image.
    """
    _check("vendors", vendors, STYLES)
    _check("pathologies", pathologies, PATHOLOGIES)
    if num_patients < 1:
        raise InputError(_WHERE, f"{num_patients} patients asked for", "ask for at least 1")
    if size < _MIN_SIZE:
        raise InputError(_WHERE, f"images of {size} pixels", f"ask for at least {_MIN_SIZE}; 128 is usual")
    entries = []
    for index in range(num_patients):
        vendor = vendors[index % len(vendors)]
        pathology = pathologies[(index // len(vendors)) % len(pathologies)]
        load = partial(_examine, seed=seed, index=index, vendor=vendor, pathology=pathology, size=size)
        entries.append(PatientEntry(_name(index), load, vendor, pathology, _centre(seed, index, vendor)))
    return entries


def _check(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown or not given:
        what = f"unknown {option} {unknown}" if unknown else f"no {option} named"
        raise InputError(_WHERE, what, f"choose from {', '.join(known)}")


def _name(index: int) -> str:
    return f"phantom{index:04d}"


def _centre(seed: int, index: int, vendor: str) -> str:
    return f"{vendor}{1 + derive_seed(seed, 'phantom centre', index) % 2}"


def _examine(*, seed: int, index: int, vendor: str, pathology: str, size: int) -> Study:
    """Return the study of patient `index`."""
    rng = np.random.default_rng(derive_seed(seed, "phantom anatomy", index))
    heart = draw_heart(pathology, rng)
    thorax = draw_thorax(heart, rng)
    style = STYLES[vendor]
    examination = draw_examination(heart, style, size, rng)
    noise = np.random.default_rng(derive_seed(seed, "phantom scan", index, vendor))
    cine, masks = render(heart, thorax, examination, noise)
    indices = np.arange(len(examination.heights))
    volumes = tuple(
        Volume(cine[frame], masks[frame], np.ones(len(indices), bool), phase, frame, indices)
        for phase, frame in (("ED", 0), ("ES", examination.end_systole))
    )
    return Study(
        patient_id=_name(index),
        volumes=volumes,
        pixel_spacing=(examination.pixel_mm, examination.pixel_mm),
        slice_spacing=examination.slice_spacing,
        annotated_labels=FOREGROUND,
        source="phantom",
        origin=f"phantom patient {index} (seed {seed})",
        vendor=vendor,
        centre=_centre(seed, index, vendor),
        pathology=pathology,
        field_strength=style.field_strength,
        cine=cine,
        scalars=phantom_scalars(heart),
        whole_stacks=True,
    )
