"""Reading one short-axis cine stack from a folder of single-frame DICOM files.

Only geometry, timing, the maker's name (as one of four known words) and the field strength leave this file; names,
ids, dates, UIDs and free text of the header are never read.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.data.files import natural_key, reason, shortlist
from cmrsynth.errors import InputError
from cmrsynth.schema import UNKNOWN

if TYPE_CHECKING:
    import pydicom

_MAKERS = {"SIEMENS": "Siemens", "PHILIPS": "Philips", "GE": "GE", "CANON": "Canon", "TOSHIBA": "Canon"}
_SAME_PLACE_MM = 0.1


@dataclass(frozen=True)
class DicomCine:
    """A cine stack.

    Args:
        frames: (T, Z, H, W) float32 in the scanner's units (rescale slope and intercept applied).
        location: InstanceNumber to (slice, frame), both 0-based.
        pixel_spacing: (row, column) in mm.
        slice_spacing: mm between slice centres, measured along the slice normal; None for a single slice.
        vendor: "Siemens", "Philips", "GE", "Canon" or "unknown".
        field_strength: tesla, or None.
    """

    frames: np.ndarray
    location: dict[int, tuple[int, int]]
    pixel_spacing: tuple[float, float]
    slice_spacing: float | None
    vendor: str
    field_strength: float | None


@dataclass(frozen=True)
class _Frame:
    path: Path
    instance: int
    pixels: np.ndarray
    place_mm: float
    trigger_ms: float | None
    pixel_spacing: tuple[float, float]


def read_cine(folder: Path) -> DicomCine:
    """Return the cine in a folder of `*.dcm` files, one file per slice and frame.

    InstanceNumber N counts frames within slices: slice (N - 1) // T, frame (N - 1) % T with T from
    CardiacNumberOfImages. That is checked against where each image lies in space.

    Raises:
        InputError: a file is no DICOM, is damaged, has no pixel data, or its geometry differs; an instance is missing
            or doubled; positions contradict the numbering. Warns when trigger times contradict it.
    """
    paths = sorted(folder.glob("*.dcm"), key=lambda path: natural_key(path.name))
    if not paths:
        raise InputError(folder, "no *.dcm file", "check the folder against the data set's own listing")
    with _quiet():
        first = _read(paths[0])
        frames = [_frame(_read(path), path) for path in paths]
        per_slice = _optional_number(first, "CardiacNumberOfImages")
        vendor = _vendor(first)
        field_strength = _optional_number(first, "MagneticFieldStrength")
    frames = _numbered(frames, folder)
    _check_same_geometry(frames)
    cycle = int(per_slice) if per_slice else sum(abs(f.place_mm - frames[0].place_mm) < _SAME_PLACE_MM for f in frames)
    if len(frames) % cycle:
        raise InputError(
            folder, f"{len(frames)} images are not whole slices of {cycle} frames", "restore the missing images"
        )
    slices = [frames[start : start + cycle] for start in range(0, len(frames), cycle)]
    _check_places(slices)
    _check_times(slices, folder)
    places = np.array([stack[0].place_mm for stack in slices])
    return DicomCine(
        frames=np.stack([np.stack([stack[t].pixels for stack in slices]) for t in range(cycle)]),
        location={frame.instance: divmod(frame.instance - 1, cycle) for frame in frames},
        pixel_spacing=frames[0].pixel_spacing,
        slice_spacing=float(np.median(np.abs(np.diff(places)))) if len(slices) > 1 else None,
        vendor=vendor,
        field_strength=field_strength,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pydicom's remarks on malformed UIDs: anonymised files are full of them, and no UID is used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Invalid value for VR UI")
        yield


def _read(path: Path) -> pydicom.Dataset:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError, struct.error) as error:
        raise _damaged(path, error) from error
    if "PixelData" not in header:
        raise InputError(path, "a DICOM file without pixel data", "export the image itself, not its report or index")
    return header


def _frame(header: pydicom.Dataset, path: Path) -> _Frame:
    if int(header.get("NumberOfFrames") or 1) > 1 or int(header.get("SamplesPerPixel") or 1) > 1:
        raise InputError(path, "a multi-frame or colour image", "export one grey image per file (classic MR DICOM)")
    try:
        stored = header.pixel_array
    except (ValueError, AttributeError, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise _damaged(path, error) from error
    slope, intercept = _optional_number(header, "RescaleSlope"), _optional_number(header, "RescaleIntercept")
    row_column = _numbers(header, "PixelSpacing", 2, path)
    trigger = _optional_number(header, "TriggerTime")
    return _Frame(
        path=path,
        instance=int(_numbers(header, "InstanceNumber", 1, path)[0]),
        pixels=stored.astype(np.float32) * (1.0 if slope is None else slope) + (intercept or 0.0),
        place_mm=_place(header, path),
        trigger_ms=trigger,
        pixel_spacing=(row_column[0], row_column[1]),
    )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(path, f"cannot be read as DICOM ({reason(error, path)})", "copy or download the file again")


def _numbers(header: pydicom.Dataset, name: str, count: int, path: Path) -> list[float]:
    value: Any = header.get(name)
    values = [] if value is None else [value] if count == 1 else list(value)
    if len(values) != count:
        raise InputError(path, f"the header has no usable {name}", "export the series with its full header")
    return [float(v) for v in values]


def _optional_number(header: pydicom.Dataset, name: str) -> float | None:
    value = header.get(name)
    return None if value in (None, "") else float(value)


def _place(header: pydicom.Dataset, path: Path) -> float:
    # SliceLocation of GE is one patient axis, not the distance along the stack: use position and orientation.
    if "ImagePositionPatient" not in header or "ImageOrientationPatient" not in header:
        return _numbers(header, "SliceLocation", 1, path)[0]
    orientation = np.array(_numbers(header, "ImageOrientationPatient", 6, path))
    normal = np.cross(orientation[:3], orientation[3:])
    return float(normal @ np.array(_numbers(header, "ImagePositionPatient", 3, path)))


def _vendor(header: pydicom.Dataset) -> str:
    words = str(header.get("Manufacturer", "")).upper().split()
    return next((_MAKERS[word] for word in words if word in _MAKERS), UNKNOWN)


def _numbered(frames: list[_Frame], folder: Path) -> list[_Frame]:
    by_number: dict[int, _Frame] = {}
    for frame in frames:
        if frame.instance in by_number:
            other = by_number[frame.instance].path.name
            raise InputError(frame.path, f"InstanceNumber {frame.instance} is also in {other}", "keep one series only")
        by_number[frame.instance] = frame
    missing = [str(n) for n in range(1, max(by_number) + 1) if n not in by_number]
    if missing or min(by_number) < 1:
        raise InputError(folder, f"images {shortlist(missing)} are missing", "restore the whole series")
    return [by_number[number] for number in sorted(by_number)]


def _check_same_geometry(frames: list[_Frame]) -> None:
    first = frames[0]
    for frame in frames:
        same_spacing = np.allclose(frame.pixel_spacing, first.pixel_spacing, rtol=0.001)
        if frame.pixels.shape != first.pixels.shape or not same_spacing:
            raise InputError(
                frame.path,
                f"{frame.pixels.shape} pixels of {frame.pixel_spacing} mm, but {first.path.name} has "
                f"{first.pixels.shape} of {first.pixel_spacing} mm",
                "keep one series only",
            )


def _check_places(slices: list[list[_Frame]]) -> None:
    mend = "keep one short-axis cine series, with the InstanceNumbers of the scanner"
    for index, stack in enumerate(slices):
        for frame in stack:
            apart = abs(frame.place_mm - stack[0].place_mm)
            if apart > _SAME_PLACE_MM:
                what = f"lies {apart:.1f} mm from {stack[0].path.name}, though both belong to slice {index}"
                raise InputError(frame.path, what, mend)
        if index and abs(stack[0].place_mm - slices[index - 1][0].place_mm) < _SAME_PLACE_MM:
            raise InputError(stack[0].path, f"slice {index} lies where slice {index - 1} lies", mend)


def _check_times(slices: list[list[_Frame]], folder: Path) -> None:
    for index, stack in enumerate(slices):
        times = [frame.trigger_ms for frame in stack]
        if None not in times and not np.all(np.diff(times) > 0):
            warnings.warn(
                f"{folder}: trigger times of slice {index} do not rise with InstanceNumber; the numbers are used",
                stacklevel=3,
            )
            return
