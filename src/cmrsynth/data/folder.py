"""Any group's own images and masks, as PNG or NIfTI files.

Layout::

    images/<name>.png or <name>.nii[.gz]     grey PNG (8 or 16 bit): one slice; NIfTI: one slice or one frame (3-D)
    masks/<same name>                        label numbers; the ending may differ between .nii and .nii.gz
    metadata.csv (optional)                  file_name and any of the columns below; one row per image

Columns: patient_id, vendor, centre, pathology, phase (ED, ES, other), frame, slice_index (0-based, PNG and 2-D NIfTI),
pixel_spacing or pixel_spacing_row and pixel_spacing_col (mm), slice_spacing (mm), field_strength (tesla),
ejection_fraction (%), wall_thickness (mm, mean of the LV's at end-diastole), age (years), bmi (kg/m2), and whole_stacks
(yes where every slice with LV is there and annotated: then the first two are measured where they are not stated).
slice_level is worked out from the masks, so a column of that name is not read.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cmrsynth.data.files import natural_key, read_csv, require_folder, shortlist
from cmrsynth.data.folder_study import LabelledFile, load_study
from cmrsynth.data.nifti import SUFFIXES as NIFTI_SUFFIXES
from cmrsynth.data.study import PatientEntry
from cmrsynth.errors import InputError
from cmrsynth.labels import BACKGROUND, NUM_LABELS
from cmrsynth.schema import SCALARS, UNKNOWN

SUFFIXES = (".png", *NIFTI_SUFFIXES)
PATIENT_COLUMNS = (  # one value per patient
    *("vendor", "centre", "pathology", "field_strength", "slice_spacing", "whole_stacks"),
    *SCALARS,
)
FILE_COLUMNS = ("phase", "frame", "slice_index", "pixel_spacing", "pixel_spacing_row", "pixel_spacing_col")
_COLUMNS = ("file_name", "patient_id", *PATIENT_COLUMNS, *FILE_COLUMNS)


def patients(
    root: str | Path,
    *,
    label_map: Mapping[int, int] | None = None,
    pixel_spacing: float | tuple[float, float] | None = None,
    patient_regex: str | None = None,
) -> list[PatientEntry]:
    """Return the patients of a folder of images and masks, sorted by id.

    Args:
        root: the folder with images/ and masks/.
        label_map: value in the masks to label of `cmrsynth.labels`; required. Its labels are what is annotated.
        pixel_spacing: mm, or (row, column) in mm, for PNG files without a spacing in metadata.csv.
        patient_regex: searched in the file name without folder and ending where metadata.csv gives no patient_id; its
            first group is the patient. Default: the text before the first underscore, which a PNG name must have.

    Raises:
        InputError: an option or metadata.csv is faulty, files and rows do not match, or a patient cannot be told.
    """
    root = require_folder(root, "images/ and masks/")
    labels = _checked_label_map(label_map)
    images = _listing(root / "images")
    masks = _listing(root / "masks")
    lonely = sorted(str(path.relative_to(root)) for key, path in masks.items() if key not in images)
    if lonely:
        raise InputError(root / "masks", f"masks without an image: {shortlist(lonely)}", "name both alike")
    facts = _metadata(root, images)
    pattern = _compiled(patient_regex)
    files: dict[str, list[LabelledFile]] = defaultdict(list)
    for key, image in sorted(images.items(), key=lambda item: natural_key(item[0])):
        known = facts.get(key, {})
        patient = known.get("patient_id") or _patient_from_name(image, pattern)
        # A missing mask is reported when this patient is loaded, so that the others can be built.
        files[patient].append(LabelledFile(image, masks.get(key, root / "masks" / image.name), known))
    return [_entry(root, name, files[name], labels, pixel_spacing) for name in sorted(files)]


def _entry(
    root: Path,
    patient_id: str,
    files: list[LabelledFile],
    label_map: Mapping[int, int],
    pixel_spacing: float | tuple[float, float] | None,
) -> PatientEntry:
    facts: dict[str, str] = {}
    for column in PATIENT_COLUMNS:
        values = sorted({file.facts.get(column, "") for file in files})
        if len(values) > 1:
            raise InputError(root / "metadata.csv", f"{patient_id}: {column} {values}", "give a patient one value")
        facts[column] = values[0]
    spacing = (pixel_spacing, pixel_spacing) if isinstance(pixel_spacing, (int, float)) else pixel_spacing
    return PatientEntry(
        patient_id=patient_id,
        load=partial(load_study, root, patient_id, tuple(files), facts, label_map, spacing),
        vendor=facts["vendor"] or UNKNOWN,
        pathology=facts["pathology"] or UNKNOWN,
        centre=facts["centre"] or UNKNOWN,
    )


def _checked_label_map(label_map: Mapping[int, int] | None) -> Mapping[int, int]:
    mend = "name every value of the masks, as in --label-map 1=lv,2=myo,3=rv"
    if label_map is None:
        raise InputError("folder", "no label map: what the mask values mean cannot be guessed", mend)
    targets = set(label_map.values())
    if not targets <= set(range(NUM_LABELS)) or targets <= {BACKGROUND}:
        raise InputError("label map", f"it names the labels {sorted(targets)}", f"{mend} (1 LV, 2 myocardium, 3 RV)")
    return label_map


def _key(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix()
    return next(name[: -len(s)] for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s))


def _listing(folder: Path) -> dict[str, Path]:
    require_folder(folder, "PNG or NIfTI files")
    found: dict[str, Path] = {}
    strange = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        if not path.name.lower().endswith(SUFFIXES):
            strange.append(path.name)
            continue
        key = _key(path, folder)
        if key in found:
            raise InputError(path, f"{found[key].name} has the same name", "keep one of the two")
        found[key] = path
    if strange:
        raise InputError(folder, f"neither PNG nor NIfTI: {shortlist(strange)}", "remove or convert these files")
    if not found:
        raise InputError(folder, "no PNG or NIfTI file", f"put files ending in {', '.join(SUFFIXES)} there")
    return found


def _metadata(root: Path, images: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    table = root / "metadata.csv"
    if not table.exists():
        return {}
    rows = read_csv(table, ["file_name"])
    unread = sorted(set(rows[0]) - set(_COLUMNS)) if rows else []
    if unread:
        warnings.warn(f"{table}: columns {unread} are not read (known: {', '.join(_COLUMNS)})", stacklevel=3)
    by_name = {path.relative_to(root / "images").as_posix(): key for key, path in images.items()}
    facts: dict[str, dict[str, str]] = {}
    absent = []
    for row in rows:
        name = row["file_name"]
        key = by_name.get(name, by_name.get(name.removeprefix("images/")))
        if key is None:
            absent.append(name)
        elif key in facts:
            raise InputError(table, f"two rows for {name}", "keep one row per file")
        else:
            facts[key] = row
    if absent:
        raise InputError(table, f"rows without an image file: {shortlist(absent)}", "restore the files or drop these")
    rowless = sorted(path.name for key, path in images.items() if key not in facts)
    if rowless:
        raise InputError(table, f"images without a row: {shortlist(rowless)}", "add a row for each, or remove them")
    return facts


def _compiled(patient_regex: str | None) -> re.Pattern[str] | None:
    if patient_regex is None:
        return None
    mend = r"give one with a group around the patient, such as '^(p\d+)'"
    try:
        pattern = re.compile(patient_regex)
    except re.error as error:
        raise InputError("patient regex", f"{patient_regex!r} is not valid ({error})", mend) from error
    if pattern.groups < 1:
        raise InputError("patient regex", f"{patient_regex!r} has no group", mend)
    return pattern


def _patient_from_name(image: Path, pattern: re.Pattern[str] | None) -> str:
    stem = _key(image, image.parent)
    if pattern is not None:
        found = pattern.search(stem)
    else:
        # A volume is usually one patient. A PNG is one slice: without a patient in its name every slice would count
        # as a patient, and slices of one heart would end up on both sides of a split.
        found = re.match(r"([^_]+)_" if image.suffix.lower() == ".png" else r"([^_]+)", stem)
    if found is None or not found[1]:
        raise InputError(
            image,
            "the file name does not tell the patient",
            "name files <patient>_<rest>, give a patient regex, or add metadata.csv with file_name and patient_id",
        )
    return found[1]
