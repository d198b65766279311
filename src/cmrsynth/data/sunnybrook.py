"""Sunnybrook Cardiac Data: 45 patients, GE 1.5 T, DICOM cines with hand-drawn contours at ED and ES.

Layout::

    link.csv                                                   patient_id,original_id
    dicoms/<patient_id>/N.dcm                                  N = InstanceNumber
    contourfiles/<original_id>/i-contours/IM-0001-NNNN-icontour-manual.txt    endocardium, NNNN = InstanceNumber
    contourfiles/<original_id>/o-contours/IM-0001-NNNN-ocontour-manual.txt    epicardium, end-diastole only

A folder in the layout of `cmrsynth.data.sunnybrook_png` is recognised and read by that module.

Source: Radau et al. 2009, "Evaluation framework for algorithms segmenting short axis cardiac MRI", MIDAS Journal.
"""

from __future__ import annotations

import re
import warnings
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from cmrsynth.data import sunnybrook_png
from cmrsynth.data.contours import rasterise, read_contour
from cmrsynth.data.dicom import DicomCine, read_cine
from cmrsynth.data.files import read_csv, require_folder
from cmrsynth.data.phases import name_phases
from cmrsynth.data.study import PatientEntry, Study, Volume
from cmrsynth.data.sunnybrook_png import CENTRE, PATHOLOGIES, VENDOR
from cmrsynth.errors import InputError
from cmrsynth.labels import LV, MYO
from cmrsynth.schema import UNKNOWN

Contours = dict[tuple[int, int], tuple[Path, np.ndarray]]  # (slice, frame) -> file, (H, W) bool


def patients(
    root: str | Path,
    *,
    myocardium: Literal["ed"] | None = None,
    pixel_spacing: float | None = None,
) -> list[PatientEntry]:
    """Return the Sunnybrook patients under a folder, sorted by id.

    Args:
        root: the folder with link.csv, dicoms/ and contourfiles/, or that of the PNG copy.
        myocardium: None annotates the LV cavity at ED and ES; "ed" annotates LV cavity and myocardium, at
            end-diastole only, because outer contours exist only there. DICOM layout only.
        pixel_spacing: mm, PNG layout only (DICOM headers state it).

    Raises:
        InputError: neither layout is there, an option does not fit the layout, or link.csv is faulty.
    """
    root = require_folder(root, "link.csv, dicoms/ and contourfiles/, or images/, masks/ and metadata.csv")
    if not (root / "dicoms").is_dir() and (root / "images").is_dir():
        if myocardium is not None:
            raise InputError(root, "the PNG copy has no myocardium", "leave the option out or give the DICOM folder")
        return sunnybrook_png.patients(root, pixel_spacing=pixel_spacing)
    if pixel_spacing is not None:
        raise InputError(root, "pixel spacing given for DICOM files", "leave it out: their headers state it")
    if myocardium not in (None, "ed"):
        raise InputError(root, f"myocardium={myocardium!r}", 'use "ed" or leave the option out')
    link = root / "link.csv"
    originals: dict[str, str] = {}
    for row in read_csv(link, ["patient_id", "original_id"]):
        if row["patient_id"] in originals:
            raise InputError(link, f"two rows for {row['patient_id']}", "keep one row per patient")
        originals[row["patient_id"]] = row["original_id"]
    folders = {folder.name for folder in (root / "dicoms").glob("*") if folder.is_dir()}
    return [
        PatientEntry(
            patient_id=name,
            load=partial(load, root, name, originals.get(name), myocardium=myocardium),
            vendor=VENDOR,
            pathology=_pathology(originals.get(name, "")),
            centre=CENTRE,
        )
        for name in sorted(folders | set(originals))
    ]


def load(root: Path, patient_id: str, original_id: str | None, *, myocardium: Literal["ed"] | None = None) -> Study:
    """Return one patient with the volumes at the contoured frames and the whole cine.

    Raises:
        InputError: the patient is not in link.csv, has no images or contours, or a file is faulty.
    """
    folder = root / "dicoms" / patient_id
    if original_id is None:
        raise InputError(root / "link.csv", f"no row for {patient_id}", "name its original_id, or remove the folder")
    if not folder.is_dir():
        raise InputError(folder, "the images of this patient are missing", "copy them there or remove its row")
    cine = read_cine(folder)
    inner = _contours(root, original_id, "i", cine)
    phases = name_phases({place: float(mask.sum()) for place, (_, mask) in inner.items()})
    _warn_of_stray_frames(folder, phases, inner)
    if myocardium == "ed":
        outer = _contours(root, original_id, "o", cine)
        volumes = _diastole_with_wall(folder, cine, phases, inner, outer)
    else:
        volumes = [_cavity_volume(cine, frame, phase, inner) for frame, phase in phases.items()]
    return Study(
        patient_id=patient_id,
        volumes=tuple(volumes),
        pixel_spacing=cine.pixel_spacing,
        slice_spacing=cine.slice_spacing,
        annotated_labels=(LV, MYO) if myocardium == "ed" else (LV,),
        source="sunnybrook",
        origin=str(folder),
        vendor=cine.vendor,
        centre=CENTRE,
        pathology=_pathology(original_id),
        field_strength=cine.field_strength,
        cine=cine.frames,
        whole_stacks=True,
    )


def _pathology(original_id: str) -> str:
    found = re.match(r"SC-(HF-I|HF-NI|HYP|N)-\d", original_id)
    return PATHOLOGIES[found[1]] if found else UNKNOWN


def _contours(root: Path, original_id: str, kind: str, cine: DicomCine) -> Contours:
    folder = root / "contourfiles" / original_id
    shape = cine.frames.shape[-2:]
    contours: Contours = {}
    for path in sorted(folder.rglob(f"IM-*-{kind}contour-manual.txt")):
        number = re.fullmatch(rf"IM-\d+-(\d+)-{kind}contour-manual\.txt", path.name)
        if number is None:
            raise InputError(path, "unexpected file name", f"name it IM-0001-NNNN-{kind}contour-manual.txt")
        place = cine.location.get(int(number[1]))
        if place is None:
            raise InputError(
                path, f"no image has InstanceNumber {int(number[1])}", "restore the image or remove the contour"
            )
        if place in contours:
            raise InputError(path, f"the same image has {contours[place][0].name}", "keep one contour per image")
        contours[place] = path, rasterise(read_contour(path), shape, path)
    if not contours:
        raise InputError(folder, f"no *-{kind}contour-manual.txt file", "copy the expert contours there")
    return contours


def _warn_of_stray_frames(folder: Path, phases: dict[int, str], inner: Contours) -> None:
    for frame, phase in phases.items():
        if phase == "other":
            slices = sorted(z for z, t in inner if t == frame)
            warnings.warn(
                f"{folder}: the contours at frame {frame} (slices {slices}) belong to neither ED nor ES; they are kept "
                "with phase 'other'",
                stacklevel=3,
            )


def _cavity_volume(cine: DicomCine, frame: int, phase: str, inner: Contours) -> Volume:
    image = cine.frames[frame]
    mask = np.zeros(image.shape, np.uint8)
    labelled = np.zeros(len(image), bool)
    for (z, t), (_, cavity) in inner.items():
        if t == frame:
            mask[z][cavity] = LV
            labelled[z] = True
    return Volume(image, mask, labelled, phase, frame, slice_indices=np.arange(len(image)))


def _diastole_with_wall(
    folder: Path, cine: DicomCine, phases: dict[int, str], inner: Contours, outer: Contours
) -> list[Volume]:
    diastole = next((frame for frame, phase in phases.items() if phase == "ED"), None)
    both = [place for place in sorted(inner) if place in outer and place[1] == diastole]
    if not both:
        raise InputError(
            folder,
            f"no slice at end-diastole (frame {diastole}) has an inner and an outer contour; outer contours are at "
            f"frames {sorted({t for _, t in outer})}",
            "leave this patient out, or build without the myocardium",
        )
    image = cine.frames[diastole]
    mask = np.zeros(image.shape, np.uint8)
    labelled = np.zeros(len(image), bool)
    for z, t in both:
        (_, cavity), (path, heart) = inner[z, t], outer[z, t]
        if (cavity & heart).sum() < 0.95 * cavity.sum():
            raise InputError(
                path,
                f"encloses only {(cavity & heart).sum() / cavity.sum():.0%} of the inner contour of the same image",
                "check that both contours belong to this image, or build without the myocardium",
            )
        mask[z][heart] = MYO
        mask[z][cavity] = LV
        labelled[z] = True
    return [Volume(image, mask, labelled, "ED", diastole, slice_indices=np.arange(len(image)))]
