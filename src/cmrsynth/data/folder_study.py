"""Putting the files of one patient together as frames of slices; the listing is in `cmrsynth.data.folder`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from cmrsynth.data.enclosure import check_anatomy
from cmrsynth.data.nifti import read_labelled
from cmrsynth.data.png import read_png
from cmrsynth.data.scalars import read_scalars
from cmrsynth.data.study import Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import BACKGROUND, harmonise
from cmrsynth.schema import PHASES, UNKNOWN


@dataclass(frozen=True)
class LabelledFile:
    """An image, its mask, and its row of metadata.csv (empty without one)."""

    image: Path
    mask: Path
    facts: Mapping[str, str]


@dataclass(frozen=True)
class _Piece:
    """One file as read: (Z, H, W) arrays; `slice_index` is None for a stack and where nothing is stated."""

    path: Path
    image: np.ndarray
    mask: np.ndarray
    phase: str
    frame: int | None
    slice_index: int | None
    pixel_spacing: tuple[float, float]
    slice_spacing: float | None


def load_study(
    root: Path,
    patient_id: str,
    files: Sequence[LabelledFile],
    facts: Mapping[str, str],
    label_map: Mapping[int, int],
    pixel_spacing: tuple[float, float] | None,
) -> Study:
    """Return one patient of a folder.

    Files are put together by frame (where metadata.csv states frames) and phase. Slices follow slice_index, or the
    file names (s2 before s10) where none is stated.

    Raises:
        InputError: a file is missing, damaged, in colour, not on its partner's grid or of unknown values; the pixel
            spacing is not known; two files claim one place; the labels look swapped.
    """
    pieces = [_read(root, file, label_map, pixel_spacing) for file in files]
    _check_alike(pieces)
    frames = _frames(root, patient_id, pieces)
    stated = _number(root, patient_id, facts, "slice_spacing")
    study = Study(
        patient_id=patient_id,
        volumes=tuple(_volume(part, phase, frame) for (frame, phase), part in frames.items()),
        pixel_spacing=pieces[0].pixel_spacing,
        slice_spacing=pieces[0].slice_spacing if stated is None else stated,
        annotated_labels=tuple(sorted(set(label_map.values()) - {BACKGROUND})),
        source="folder",
        origin=f"{root} ({patient_id})",
        vendor=facts["vendor"] or UNKNOWN,
        centre=facts["centre"] or UNKNOWN,
        pathology=facts["pathology"] or UNKNOWN,
        field_strength=_number(root, patient_id, facts, "field_strength"),
        scalars=read_scalars(facts, f"{root / 'metadata.csv'} ({patient_id})"),
        whole_stacks=_whole_stacks(root, patient_id, facts),
    )
    check_anatomy(study)
    return study


def _read(root: Path, file: LabelledFile, label_map: Mapping[int, int], fallback: tuple[float, float] | None) -> _Piece:
    phase = _phase(root, file)
    frame = _number(root, file.image.name, file.facts, "frame", whole=True)
    index = _number(root, file.image.name, file.facts, "slice_index", whole=True)
    stated = _stated_spacing(root, file)
    if file.image.suffix.lower() == ".png":
        image, mask = _read_png_pair(file, label_map)
        spacing, slice_spacing = stated or fallback, None
        if spacing is None:
            raise InputError(
                file.image,
                "its pixel size is not known: PNG files carry none, and every figure in mm depends on it",
                "give --pixel-spacing in mm, or a column pixel_spacing in metadata.csv",
            )
    else:
        stack, mask = read_labelled(file.image, file.mask, label_map, ndim=(2, 3))
        image, spacing, slice_spacing = stack.array, stack.pixel_spacing, stack.slice_spacing
        if stated is not None and not np.allclose(stated, spacing, rtol=0.01):
            raise InputError(
                file.image, f"its header says {spacing} mm, metadata.csv says {stated} mm", "correct the wrong one"
            )
        if index is not None and len(image) > 1:
            raise InputError(file.image, "a slice_index for a stack of slices", "leave the cell empty")
    return _Piece(file.image, image, mask, phase, frame, index, spacing, slice_spacing)


def _read_png_pair(file: LabelledFile, label_map: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    image = read_png(file.image, is_mask=False)
    mask = harmonise(read_png(file.mask, is_mask=True), label_map, str(file.mask))
    if mask.shape != image.shape:
        raise InputError(
            file.mask,
            f"a mask of shape {mask.shape}, but the image has shape {image.shape} (rows, columns)",
            "export image and mask on the same grid",
        )
    return image[None], mask[None]


def _phase(root: Path, file: LabelledFile) -> str:
    stated = file.facts.get("phase", "")
    for phase in PHASES:
        if stated.lower() == phase.lower():
            return phase
    if stated:
        raise InputError(root / "metadata.csv", f"{file.image.name}: phase {stated!r}", f"use one of {PHASES}")
    return "other"


def _number(
    root: Path, whose: str, facts: Mapping[str, str], column: str, *, whole: bool = False
) -> float | int | None:
    stated = facts.get(column, "")
    if not stated:
        return None
    try:
        number = float(stated)
    except ValueError:
        number = np.nan
    if whole and number >= 0 and number.is_integer():
        return int(number)
    if not whole and np.isfinite(number) and number > 0:
        return number
    kind = "a whole number from 0" if whole else "a positive number"
    raise InputError(root / "metadata.csv", f"{whose}: {column} is {stated!r}", f"write {kind}, or leave it empty")


def _whole_stacks(root: Path, patient_id: str, facts: Mapping[str, str]) -> bool:
    stated = facts.get("whole_stacks", "").lower()
    if stated not in ("", "yes", "no"):
        raise InputError(root / "metadata.csv", f"{patient_id}: whole_stacks is {stated!r}", "write yes or no")
    return stated == "yes"


def _stated_spacing(root: Path, file: LabelledFile) -> tuple[float, float] | None:
    names = ("pixel_spacing_row", "pixel_spacing_col")
    row, column = (_number(root, file.image.name, file.facts, name) for name in names)
    if row is not None and column is not None:
        return row, column
    if (row, column) != (None, None):
        raise InputError(root / "metadata.csv", f"{file.image.name}: one of {names} is empty", "give both or none")
    stated = file.facts.get("pixel_spacing", "")
    parts = [part for part in re.split(r"[\s,;x\[\]()]+", stated) if part]  # 1.25, "1.25 1.25", "[1.25, 1.25]"
    if len(parts) > 2:
        raise InputError(
            root / "metadata.csv",
            f"{file.image.name}: pixel_spacing is {stated!r}",
            "give one number or row and column",
        )
    numbers = [_number(root, file.image.name, {"pixel_spacing": part}, "pixel_spacing") for part in parts]
    return (numbers[0], numbers[-1]) if numbers else None


def _check_alike(pieces: Sequence[_Piece]) -> None:
    first = pieces[0]
    for piece in pieces:
        same_spacing = np.allclose(piece.pixel_spacing, first.pixel_spacing, rtol=0.001)
        if piece.image.shape[1:] != first.image.shape[1:] or not same_spacing:
            raise InputError(
                piece.path,
                f"{piece.image.shape[1:]} pixels of {piece.pixel_spacing} mm, but {first.path.name} of the same "
                f"patient has {first.image.shape[1:]} of {first.pixel_spacing} mm",
                "export all slices of a patient on one pixel grid",
            )


def _frames(root: Path, patient_id: str, pieces: Sequence[_Piece]) -> dict[tuple[int, str], list[_Piece]]:
    """Return the pieces by (frame, phase), in that order; frames are counted where none is stated."""
    stated = {piece.frame is not None for piece in pieces}
    where = root / "metadata.csv"
    if len(stated) > 1:
        raise InputError(where, f"{patient_id}: some files have a frame, some have none", "give it for all or none")
    if stated == {False}:
        present = [phase for phase in PHASES if any(piece.phase == phase for piece in pieces)]
        groups = {(present.index(phase), phase): [p for p in pieces if p.phase == phase] for phase in present}
        return groups
    found: dict[tuple[int, str], list[_Piece]] = defaultdict(list)
    for piece in pieces:
        found[piece.frame, piece.phase].append(piece)
    if len({frame for frame, _ in found}) < len(found):
        raise InputError(where, f"{patient_id}: one frame has two phases", "give each frame one phase")
    return dict(sorted(found.items()))


def _volume(pieces: Sequence[_Piece], phase: str, frame: int) -> Volume:
    stacks = [piece for piece in pieces if len(piece.image) > 1]
    if stacks and len(pieces) > 1:
        raise InputError(
            stacks[0].path,
            f"{len(pieces)} files of this patient are frame {frame}, phase {phase!r}, one of them a stack",
            "state frame or phase of each file in metadata.csv",
        )
    if stacks:
        indices = np.arange(len(stacks[0].image))
    else:
        pieces, indices = _ordered(pieces)
    image, mask = (np.concatenate([getattr(piece, part) for piece in pieces]) for part in ("image", "mask"))
    return Volume(image, mask, np.ones(len(image), bool), phase, frame, slice_indices=indices)


def _ordered(pieces: Sequence[_Piece]) -> tuple[list[_Piece], np.ndarray]:
    numbered = [piece for piece in pieces if piece.slice_index is not None]
    if not numbered:
        return list(pieces), np.arange(len(pieces))  # the listing is in natural order
    if len(numbered) < len(pieces):
        odd = next(piece for piece in pieces if piece.slice_index is None)
        raise InputError(odd.path, "no slice_index, though others of this frame have one", "give it for all or none")
    pieces = sorted(pieces, key=lambda piece: piece.slice_index)
    for one, other in pairwise(pieces):
        if one.slice_index == other.slice_index:
            raise InputError(
                other.path,
                f"{one.path.name} has the same patient, frame, phase and slice_index {one.slice_index}",
                "correct metadata.csv",
            )
    return pieces, np.array([piece.slice_index for piece in pieces])
