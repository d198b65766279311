"""ACDC: 150 patients of the University Hospital of Dijon, NIfTI, ED and ES annotated.

Layout, anywhere up to three folders deep (`training/`, `testing/`, `database/training/` ...)::

    patient001/Info.cfg                      ED: 1, ES: 12 (1-based frames), Group: DCM, Height, NbFrame, Weight
    patient001/patient001_frame01.nii.gz     one 3-D file per annotated frame
    patient001/patient001_frame01_gt.nii.gz  1 = RV, 2 = myocardium, 3 = LV
    patient001/patient001_4d.nii.gz          the whole cine (optional)

Source: Bernard et al. 2018, doi:10.1109/TMI.2018.2837502.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from cmrsynth.data.enclosure import check_anatomy
from cmrsynth.data.files import require_folder
from cmrsynth.data.nifti import NiftiStack, read_labelled, read_nifti
from cmrsynth.data.scalars import body_mass_index
from cmrsynth.data.study import PatientEntry, Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.schema import UNKNOWN

LABEL_MAP = {1: RV, 2: MYO, 3: LV}
PATHOLOGIES = {
    "NOR": "normal",
    "DCM": "dilated",
    "HCM": "hypertrophic",
    "MINF": "infarct",
    "RV": "abnormal_rv",
}
VENDOR = "Siemens"  # two Siemens scanners, 1.5 T and 3 T; the files do not say which one was used
CENTRE = "acdc-dijon"


def patients(root: str | Path) -> list[PatientEntry]:
    """Return the patients under an ACDC folder, sorted by id.

    Args:
        root: the unpacked download, or one of its `training`/`testing` folders.

    Raises:
        InputError: no `patientNNN` folder is there, or one patient appears twice.
    """
    root = require_folder(root, "ACDC's patientNNN folders")
    folders: dict[str, Path] = {}
    for pattern in ("", "*/", "*/*/"):
        for folder in sorted(root.glob(f"{pattern}patient*")):
            if not folder.is_dir() or not re.fullmatch(r"patient\d+", folder.name):
                continue
            if folder.name in folders:
                raise InputError(
                    folder, f"the same patient is also at {folders[folder.name]}", "keep one copy of each patient"
                )
            folders[folder.name] = folder
    if not folders:
        raise InputError(root, "no patientNNN folder", "give the folder that holds patient001, patient002, ...")
    return [
        PatientEntry(
            patient_id=name,
            load=partial(load, folder),
            vendor=VENDOR,
            pathology=_pathology(_info(folder)),
            centre=CENTRE,
        )
        for name, folder in sorted(folders.items())
    ]


def load(folder: Path) -> Study:
    """Return one ACDC patient with its ED and ES volumes, and the cine if it was downloaded.

    Raises:
        InputError: Info.cfg has no usable ED or ES, a file is missing or damaged, or the labels look swapped.
    """
    info = _info(folder)
    numbers = {phase: _frame_number(info, phase, folder) for phase in ("ED", "ES")}
    if numbers["ED"] == numbers["ES"]:
        raise InputError(folder / "Info.cfg", f"ED and ES are both frame {numbers['ED']}", "restore the original file")
    volumes, stacks = [], []
    for phase, number in numbers.items():
        stem = f"{folder.name}_frame{number:02d}"
        stack, mask = read_labelled(_nifti(folder, stem), _nifti(folder, f"{stem}_gt"), LABEL_MAP, ndim=(3,))
        stacks.append(stack)
        slices = len(mask)
        volumes.append(
            Volume(stack.array, mask, np.ones(slices, bool), phase, frame=number - 1, slice_indices=np.arange(slices))
        )
    _check_alike(*stacks)
    study = Study(
        patient_id=folder.name,
        volumes=tuple(volumes),
        pixel_spacing=stacks[0].pixel_spacing,
        slice_spacing=stacks[0].slice_spacing,
        annotated_labels=(LV, MYO, RV),
        source="acdc",
        origin=str(folder),
        vendor=VENDOR,
        centre=CENTRE,
        pathology=_pathology(info),
        cine=_cine(folder, stacks[0], last=max(numbers.values())),
        scalars=body_mass_index(info.get("Height", ""), info.get("Weight", ""), folder / "Info.cfg"),
        whole_stacks=True,
    )
    check_anatomy(study)
    return study


def _info(folder: Path) -> dict[str, str]:
    path = folder / "Info.cfg"
    if not path.is_file():
        return {}  # listing goes on; `load` says which entry is missing
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}


def _pathology(info: dict[str, str]) -> str:
    group = info.get("Group", "")
    return PATHOLOGIES.get(group, group.lower() or UNKNOWN)


def _frame_number(info: dict[str, str], phase: str, folder: Path) -> int:
    stated = info.get(phase, "")
    if not stated.isdigit() or int(stated) < 1:
        what = f"the entry {phase} is {stated!r}" if stated else f"the entry {phase} is missing"
        raise InputError(
            folder / "Info.cfg", what, f"restore the file, with a line such as '{phase}: 1' (frames count from 1)"
        )
    return int(stated)


def _nifti(folder: Path, stem: str) -> Path:
    plain = folder / f"{stem}.nii"  # some mirrors unpack the files
    return plain if plain.is_file() else folder / f"{stem}.nii.gz"


def _check_alike(first: NiftiStack, second: NiftiStack) -> None:
    same_shape = first.array.shape == second.array.shape
    if not same_shape or not np.allclose(first.pixel_spacing, second.pixel_spacing, rtol=0.01):
        raise InputError(
            second.path,
            f"shape {second.array.shape}, spacing {second.pixel_spacing} mm, but {first.path.name} has "
            f"{first.array.shape}, {first.pixel_spacing} mm",
            "download this patient again",
        )


def _cine(folder: Path, frame: NiftiStack, last: int) -> np.ndarray | None:
    path = _nifti(folder, f"{folder.name}_4d")
    if not path.is_file():
        return None
    cine = read_nifti(path, ndim=(4,)).array
    if cine.shape[1:] != frame.array.shape or len(cine) < last:
        raise InputError(
            path,
            f"a cine of shape {cine.shape} (time, slice, row, column) does not hold frame {last} of shape "
            f"{frame.array.shape}",
            "download this patient again, or delete the 4d file: it is optional",
        )
    return cine
