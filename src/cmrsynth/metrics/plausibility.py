"""Masks that no heart can have: a structure in pieces, a left ventricle without its wall, an RV inside the wall.

Every rule has a margin for what pixels and careful readers do (specks, an open base, a thin septum), so that masks
of real patients rarely break one; how rarely is what the synthetic share has to be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label as connected_components

from .anatomy import LV, MYO, RV

SPECK = 0.05  # a piece smaller than this share of the structure's largest piece is a drawing accident
OPEN_LV = 0.5  # less of the cavity's border on myocardium than this: not a cavity inside a wall
NO_SEPTUM = 0.1  # more of the LV cavity's border on the RV cavity than this: the septum is missing
INSIDE = 0.75  # more of the RV cavity's border on the left ventricle than this: the RV lies inside it
CHUNK = 512

RULES = {
    "lv_in_pieces": ("the LV cavity is in several pieces", {LV}),
    "myo_in_pieces": ("the myocardium is in several pieces", {MYO}),
    "rv_in_pieces": ("the RV cavity is in several pieces", {RV}),
    "lv_without_wall": ("an LV cavity has no myocardium", {LV, MYO}),
    "lv_open": ("myocardium encloses less than half of the LV cavity", {LV, MYO}),
    "no_septum": ("LV and RV cavity touch without a septum", {LV, MYO, RV}),
    "rv_inside": ("the RV cavity lies inside the left ventricle", {LV, MYO, RV}),
    "exchanged": (
        "myocardium encloses the RV cavity but not the LV cavity, as if the two were exchanged",
        {LV, MYO, RV},
    ),
}


def impossible(mask: np.ndarray, labels: Sequence[int]) -> dict[str, bool]:
    """Return which rules of anatomy one short-axis mask breaks.

    Args:
        mask: (H, W) integer, 1 = LV cavity, 2 = myocardium, 3 = RV cavity.
        labels: the labels that are annotated; a rule that needs another one is never broken.

    Returns:
        Per rule of `RULES` whether it is broken. A mask without any structure breaks none.

    Raises:
        ValueError: the mask is not two-dimensional.

    >>> mask = np.zeros((7, 7), int)
    >>> mask[1:6, 1:6], mask[2:5, 2:5] = MYO, LV
    >>> any(impossible(mask, (LV, MYO)).values())
    False
    >>> mask[mask == MYO] = 0
    >>> [rule for rule, broken in impossible(mask, (LV, MYO)).items() if broken]
    ['lv_without_wall']
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask (H, W) is needed, but its shape is {mask.shape}; give many to `impossible_all`")
    found = impossible_all(mask[None], labels)
    return {rule: bool(found[rule][0]) for rule in RULES}


def impossible_all(masks: np.ndarray, labels: Sequence[int]) -> dict[str, np.ndarray]:
    """Return which rules each of many masks breaks.

    Args:
        masks: (N, H, W) integer.
        labels: the labels that are annotated.

    Returns:
        Per rule of `RULES`, and for "any" of them, (N,) bool.

    Raises:
        ValueError: the masks are not three-dimensional.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(
            f"masks (N, H, W) are needed, but their shape is {masks.shape}; put slices along the first axis"
        )
    chunks = [_broken(masks[start : start + CHUNK]) for start in range(0, max(len(masks), 1), CHUNK)]
    annotated = set(labels)
    found = {
        rule: np.concatenate([chunk[rule] & (needed <= annotated) for chunk in chunks])
        for rule, (_, needed) in RULES.items()
    }
    return {**found, "any": np.any(list(found.values()), axis=0)}


def _broken(masks: np.ndarray) -> dict[str, np.ndarray]:
    lv, myo, rv = ((masks == label).any((1, 2)) for label in (LV, MYO, RV))
    lv_faces, rv_faces = _faces(masks, LV), _faces(masks, RV)
    return {
        "lv_in_pieces": _pieces(masks == LV) > 1,
        "myo_in_pieces": _pieces(masks == MYO) > 1,
        "rv_in_pieces": _pieces(masks == RV) > 1,
        "lv_without_wall": lv & ~myo,
        "lv_open": lv & myo & (lv_faces[MYO] < OPEN_LV),
        "no_septum": lv & rv & (lv_faces[RV] > NO_SEPTUM),
        "rv_inside": rv & (rv_faces[LV] + rv_faces[MYO] > INSIDE),
        "exchanged": lv & rv & (rv_faces[MYO] > OPEN_LV) & (lv_faces[MYO] < OPEN_LV),
    }


def _pieces(regions: np.ndarray) -> np.ndarray:
    """(N,) number of 8-connected pieces of (N, H, W) regions that are more than a speck."""
    within_a_slice = np.zeros((3, 3, 3), bool)
    within_a_slice[1] = True
    numbered, count = connected_components(regions, structure=within_a_slice)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)
    slice_of = np.zeros(count + 1, int)
    places = np.nonzero(numbered)
    slice_of[numbered[places]] = places[0]
    largest = np.zeros(len(regions))
    np.maximum.at(largest, slice_of[1:], sizes[1:])
    counted = sizes[1:] > SPECK * largest[slice_of[1:]]
    return np.bincount(slice_of[1:][counted], minlength=len(regions))


def _faces(masks: np.ndarray, of: int) -> dict[int, np.ndarray]:
    """Per label, (N,) share of the pixel edges around `of` that face it; beyond the image's rim there is nothing."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    inside = masks == of
    border, facing = np.zeros(len(masks)), {label: np.zeros(len(masks)) for label in (LV, MYO, RV)}
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = padded[:, rows : rows + masks.shape[1], columns : columns + masks.shape[2]]
        edge = inside & (beside != of)
        border += edge.sum((1, 2))
        for label in facing:
            facing[label] += (edge & (beside == label)).sum((1, 2))
    return {label: count / np.maximum(border, 1) for label, count in facing.items()}
