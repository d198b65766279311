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
    >>> mask[:, 3:] = 0
    >>> [rule for rule, broken in impossible(np.where(mask == MYO, 0, mask), (LV, MYO)).items() if broken]
    ['lv_without_wall']
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask (H, W) is needed, but its shape is {mask.shape}; call this once per slice")
    lv, myo, rv = ((mask == label).any() for label in (LV, MYO, RV))
    lv_on_myo, lv_on_rv = _facing(mask, LV, (MYO,)), _facing(mask, LV, (RV,))
    rv_on_myo, rv_on_left = _facing(mask, RV, (MYO,)), _facing(mask, RV, (LV, MYO))
    broken = {
        "lv_in_pieces": _pieces(mask == LV) > 1,
        "myo_in_pieces": _pieces(mask == MYO) > 1,
        "rv_in_pieces": _pieces(mask == RV) > 1,
        "lv_without_wall": lv and not myo,
        "lv_open": lv and myo and lv_on_myo < OPEN_LV,
        "no_septum": lv and rv and lv_on_rv > NO_SEPTUM,
        "rv_inside": rv and rv_on_left > INSIDE,
        "exchanged": lv and rv and rv_on_myo > OPEN_LV > lv_on_myo,
    }
    return {rule: bool(broken[rule]) and needed <= set(labels) for rule, (_, needed) in RULES.items()}


def impossible_all(masks: np.ndarray, labels: Sequence[int]) -> dict[str, np.ndarray]:
    """Return which rules each of many masks breaks.

    Args:
        masks: (N, H, W) integer.
        labels: the labels that are annotated.

    Returns:
        Per rule of `RULES`, and for "any" of them, (N,) bool.
    """
    rows = [impossible(mask, labels) for mask in masks]
    found = {rule: np.array([row[rule] for row in rows], dtype=bool) for rule in RULES}
    return {**found, "any": np.any(list(found.values()), axis=0)}


def _pieces(region: np.ndarray) -> int:
    """Number of 8-connected pieces that are more than a speck."""
    numbered, count = connected_components(region, structure=np.ones((3, 3)))
    if count < 2:
        return int(count)
    sizes = np.bincount(numbered.ravel())[1:]
    return int((sizes > SPECK * sizes.max()).sum())


def _facing(mask: np.ndarray, of: int, to: Sequence[int]) -> float:
    """Share of the pixel edges around one label whose other side is one of `to`; the image's rim is none of them."""
    padded = np.pad(mask, 1)
    inside, wanted = padded == of, np.isin(padded, to)
    border = facing = 0
    for axis in (0, 1):
        for step in (1, -1):
            edge = inside & ~np.roll(inside, step, axis)
            border += int(edge.sum())
            facing += int((edge & np.roll(wanted, step, axis)).sum())
    return facing / border if border else 0.0
