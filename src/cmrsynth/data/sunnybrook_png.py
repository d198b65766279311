"""The PNG copy of the Sunnybrook Cardiac Data: labelled slices only, LV cavity only.

Layout: `images/*.png` grey, `masks/*.png` 0 = background, 1 = LV cavity, and `metadata.csv` with file_name, patient_id,
group (HF-I, HF-NI, HYP, N) and dicom_index: the 1-based position in a cine of 20 frames per slice.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from cmrsynth.data.files import read_csv, require_folder
from cmrsynth.data.phases import name_phases
from cmrsynth.data.png import read_png
from cmrsynth.data.study import PatientEntry, Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, harmonise
from cmrsynth.schema import UNKNOWN

FRAMES_PER_SLICE = 20
FIELD_STRENGTH = 1.5
NOMINAL_SPACING_MM = 1.25  # 320 mm field of view over 256 pixels (Radau 2009); the true one varies by patient
VENDOR = "GE"
CENTRE = "sunnybrook"
PATHOLOGIES = {
    "HF-I": "heart_failure_infarct",
    "HF-NI": "heart_failure_no_infarct",
    "HYP": "hypertrophic",
    "N": "normal",
}


def patients(root: str | Path, *, pixel_spacing: float | None = None) -> list[PatientEntry]:
    """Return the patients of the PNG copy, sorted by id.

    Args:
        root: the folder with images/, masks/ and metadata.csv.
        pixel_spacing: mm; without it a nominal 1.25 mm is used, with a warning.

    Raises:
        InputError: metadata.csv is missing or faulty, or lists a file twice.
    """
    root = require_folder(root, "images/, masks/ and metadata.csv")
    table = root / "metadata.csv"
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    seen: set[str] = set()
    for row in read_csv(table, ["file_name", "patient_id", "group", "dicom_index"]):
        if row["file_name"] in seen:
            raise InputError(table, f"two rows for {row['file_name']}", "keep one row per file")
        seen.add(row["file_name"])
        rows[row["patient_id"]].append(row)
    if not rows:
        raise InputError(table, "no rows", "restore the file")
    if pixel_spacing is None:
        pixel_spacing = NOMINAL_SPACING_MM
        warnings.warn(
            f"{root}: PNG files carry no pixel size; {NOMINAL_SPACING_MM} mm is assumed, so every figure in mm is "
            "nominal. Give the pixel spacing if you know it.",
            stacklevel=2,
        )
    return [
        PatientEntry(
            patient_id=name,
            load=partial(load, root, name, rows[name], pixel_spacing),
            vendor=VENDOR,
            pathology=PATHOLOGIES.get(rows[name][0]["group"], UNKNOWN),
            centre=CENTRE,
        )
        for name in sorted(rows)
    ]


def load(root: Path, patient_id: str, rows: list[dict[str, str]], pixel_spacing: float) -> Study:
    """Return one patient; the frames may hold different slices.

    Raises:
        InputError: a file is missing, damaged or of another size, a mask holds unknown values, or dicom_index or
            group is faulty.
    """
    group = _group(root, patient_id, rows)
    pairs: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    shape = None
    for row in rows:
        place = _place(root, row)
        if place in pairs:
            raise InputError(
                root / "metadata.csv", f"{patient_id}: dicom_index {row['dicom_index']} twice", "keep one row per image"
            )
        image_path, mask_path = root / "images" / row["file_name"], root / "masks" / row["file_name"]
        image = read_png(image_path, is_mask=False)
        mask = harmonise(read_png(mask_path, is_mask=True), {1: LV}, str(mask_path))
        shape = shape or image.shape
        for path, array in ((image_path, image), (mask_path, mask)):
            if array.shape != shape:
                raise InputError(
                    path, f"shape {array.shape}, others of this patient {shape}", "export all on one pixel grid"
                )
        pairs[place] = image, mask
    phases = name_phases({place: float(mask.sum()) for place, (_, mask) in pairs.items()})
    return Study(
        patient_id=patient_id,
        volumes=tuple(_volume(pairs, frame, phase) for frame, phase in phases.items()),
        pixel_spacing=(pixel_spacing, pixel_spacing),
        slice_spacing=None,
        annotated_labels=(LV,),
        source="sunnybrook",
        origin=f"{root} ({patient_id})",
        vendor=VENDOR,
        centre=CENTRE,
        pathology=PATHOLOGIES[group],
        field_strength=FIELD_STRENGTH,
    )


def _group(root: Path, patient_id: str, rows: list[dict[str, str]]) -> str:
    groups = sorted({row["group"] for row in rows})
    if len(groups) > 1 or groups[0] not in PATHOLOGIES:
        raise InputError(
            root / "metadata.csv", f"{patient_id}: group {groups}", f"give each patient one of {sorted(PATHOLOGIES)}"
        )
    return groups[0]


def _place(root: Path, row: dict[str, str]) -> tuple[int, int]:
    stated = row["dicom_index"]
    if not stated.isdigit() or int(stated) < 1:
        raise InputError(
            root / "metadata.csv",
            f"{row['file_name']}: dicom_index {stated!r}",
            "give the 1-based position in the cine",
        )
    return divmod(int(stated) - 1, FRAMES_PER_SLICE)


def _volume(pairs: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]], frame: int, phase: str) -> Volume:
    slices = sorted(z for z, t in pairs if t == frame)
    image, mask = (np.stack([pairs[z, frame][part] for z in slices]) for part in (0, 1))
    return Volume(image, mask, np.ones(len(slices), bool), phase, frame, slice_indices=np.array(slices))
