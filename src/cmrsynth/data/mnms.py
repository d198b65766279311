"""M&Ms: 345 studies of six hospitals and four vendors, 4-D NIfTI, ED and ES annotated.

Layout: the official table `211230_M&Ms_Dataset_information_diagnosis_opendataset.csv` somewhere under the root, and
anywhere `<code>_sa.nii.gz` with `<code>_sa_gt.nii.gz` beside it (labels 1 = LV, 2 = myocardium, 3 = RV: the reverse
of ACDC). ED and ES in the table are 0-based frames. Studies under a folder named `Unlabeled` have no masks and
are left out.

Source: Campello et al. 2021, doi:10.1109/TMI.2021.3090082.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from cmrsynth.data.enclosure import check_anatomy
from cmrsynth.data.files import read_csv, require_folder, shortlist
from cmrsynth.data.nifti import read_labelled
from cmrsynth.data.scalars import body_mass_index, checked_scalars, read_number
from cmrsynth.data.study import PatientEntry, Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.schema import UNKNOWN

LABEL_MAP = {1: LV, 2: MYO, 3: RV}
VENDORS = {"A": "Siemens", "B": "Philips", "C": "GE", "D": "Canon"}
PATHOLOGIES = {
    "NOR": "normal",
    "DCM": "dilated",
    "HCM": "hypertrophic",
    "ARV": "abnormal_rv",
    "HHD": "hypertensive",
    "AHS": "athlete",
    "IHD": "ischaemic",
    "LVNC": "non_compaction",
}
CODE = "External code"


def patients(root: str | Path) -> list[PatientEntry]:
    """Return the labelled M&Ms patients under a folder, sorted by external code.

    Warns when the table lists patients whose images are not there (a partial download is fine).

    Raises:
        InputError: the table or the images are missing, a code appears twice, or there is more than one table.
    """
    root = require_folder(root, "the M&Ms table and its *_sa.nii.gz files")
    table = _table(root)
    rows: dict[str, dict[str, str]] = {}
    for row in read_csv(table, [CODE]):
        if row[CODE] in rows:
            raise InputError(table, f"two rows for {row[CODE]}", "keep one row per patient")
        rows[row[CODE]] = row
    images = _images(root)
    absent = sorted(set(rows) - set(images))
    if absent:
        warnings.warn(f"{table.name}: no *_sa.nii.gz for {len(absent)} patients: {shortlist(absent)}", stacklevel=2)
    entries = []
    for code, image in sorted(images.items()):
        row = rows.get(code, {})
        unlabelled = any(part.lower() == "unlabeled" for part in image.relative_to(root).parts)
        if unlabelled and not _mask_path(image).is_file():
            continue
        load_this = partial(load, image, row, table)
        entries.append(PatientEntry(code, load_this, _vendor(row), _pathology(row), _centre(row)))
    return entries


def load(image_path: Path, row: Mapping[str, str], table: Path) -> Study:
    """Return one M&Ms patient with its ED and ES volumes and the whole cine.

    Args:
        image_path: `<code>_sa.nii.gz`.
        row: the patient's row of the table, empty if it has none.
        table: the table, for messages.

    Raises:
        InputError: ED or ES is missing or beyond the cine, its mask is missing, damaged or empty at that frame, or
            the labels look swapped.
    """
    code = _code(image_path)
    frames = {phase: _frame(row, phase, code, table) for phase in ("ED", "ES")}
    if frames["ED"] == frames["ES"]:
        raise InputError(table, f"{code}: ED and ES are both frame {frames['ED']}", "restore the official table")
    mask_path = _mask_path(image_path)
    stack, mask = read_labelled(image_path, mask_path, LABEL_MAP, ndim=(4,))
    drawn = [int(i) for i in np.flatnonzero(mask.any(axis=(1, 2, 3)))]
    volumes = []
    for phase, frame in frames.items():
        if frame not in drawn:
            raise InputError(
                mask_path,
                f"no label at {phase} = frame {frame} (0-based) of {len(mask)}, but at frames {drawn}",
                f"check {phase} of {code} in {table.name}",
            )
        slices = np.arange(mask.shape[1])
        volumes.append(
            Volume(stack.array[frame], mask[frame], np.ones(len(slices), bool), phase, frame, slice_indices=slices)
        )
    study = Study(
        patient_id=code,
        volumes=tuple(volumes),
        pixel_spacing=stack.pixel_spacing,
        slice_spacing=stack.slice_spacing,
        annotated_labels=(LV, MYO, RV),
        source="mnms",
        origin=str(image_path),
        vendor=_vendor(row),
        centre=_centre(row),
        pathology=_pathology(row),
        cine=stack.array,
        scalars=_scalars(row, f"{table} ({code})"),
        whole_stacks=True,
    )
    check_anatomy(study)
    return study


def _table(root: Path) -> Path:
    # The official name holds an ampersand that some unpackers drop.
    tables = sorted(root.glob("*nformation*.csv")) or sorted(root.rglob("*nformation*.csv"))
    if not tables:
        raise InputError(
            root,
            "the M&Ms table is missing",
            "put 211230_M&Ms_Dataset_information_diagnosis_opendataset.csv there",
        )
    if len(tables) > 1:
        raise InputError(root, f"{len(tables)} tables: {shortlist([t.name for t in tables])}", "keep the official one")
    return tables[0]


def _images(root: Path) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for path in sorted([*root.rglob("*_sa.nii.gz"), *root.rglob("*_sa.nii")]):
        code = _code(path)
        if code in images:
            raise InputError(path, f"the same patient is also at {images[code]}", "keep one copy of each patient")
        images[code] = path
    if not images:
        raise InputError(root, "no *_sa.nii.gz file", "give the folder that holds <code>/<code>_sa.nii.gz")
    return images


def _code(image: Path) -> str:
    return image.name.split("_sa.nii")[0]


def _mask_path(image: Path) -> Path:
    return image.with_name(image.name.replace("_sa.nii", "_sa_gt.nii"))


def _frame(row: Mapping[str, str], phase: str, code: str, table: Path) -> int:
    if not row:
        raise InputError(table, f"no row for {code}", "use the official table of this release")
    stated = row.get(phase, "")
    try:
        frame = float(stated)  # pandas writes whole numbers of an incomplete column as 9.0
    except ValueError:
        frame = -1.0
    if frame < 0 or not frame.is_integer():
        found = f"is {stated!r}" if stated else "is missing"
        raise InputError(table, f"{code}: {phase} {found}", "give the 0-based frame number")
    return int(frame)


def _scalars(row: Mapping[str, str], where: str) -> dict[str, float]:
    age = read_number(row.get("Age", ""), "Age", where)
    index = body_mass_index(row.get("Height", ""), row.get("Weight", ""), where)
    return {**checked_scalars({} if age is None else {"age": age}, where), **index}


def _vendor(row: Mapping[str, str]) -> str:
    letter = row.get("Vendor", "")
    return VENDORS.get(letter, row.get("VendorName") or letter or UNKNOWN)


def _centre(row: Mapping[str, str]) -> str:
    return f"mnms-{row['Centre']}" if row.get("Centre") else UNKNOWN


def _pathology(row: Mapping[str, str]) -> str:
    stated = row.get("Pathology", "")
    return PATHOLOGIES.get(stated, stated.lower().replace(" ", "_") or UNKNOWN)
