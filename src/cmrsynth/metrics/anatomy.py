"""What a mask says about a heart: areas, ratios, wall thickness, and whether the anatomy is possible at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label as connected_components
from scipy.stats import wasserstein_distance

LV, MYO, RV = 1, 2, 3  # as in cmrsynth.labels; repeated because this file also travels without the package

_NEEDS = {
    "lv_area_mm2": {LV},
    "myo_area_mm2": {MYO},
    "rv_area_mm2": {RV},
    "lv_myo_ratio": {LV, MYO},
    "rv_lv_ratio": {LV, RV},
    "wall_thickness_mm": {LV, MYO},
    "lv_components": {LV},
    "myo_components": {MYO},
    "rv_components": {RV},
    "lv_enclosed": {LV, MYO},
}


def measure(mask: np.ndarray, pixel_spacing: Sequence[float]) -> dict[str, float]:
    """Return the anatomical measures of one short-axis mask.

    Args:
        mask: (H, W) integer, labels as in `cmrsynth.labels`.
        pixel_spacing: (row, column) in mm.

    Returns:
        `lv_area_mm2`, `myo_area_mm2`, `rv_area_mm2`: 0 where absent.
        `lv_myo_ratio`, `rv_lv_ratio`: of areas; NaN unless both are there.
        `wall_thickness_mm`: sqrt(A_epi / pi) - sqrt(A_lv / pi), the thickness of the ring of equal areas; NaN unless
        cavity and myocardium are there.
        `lv_components`, `myo_components`, `rv_components`: 8-connected regions; 1 is normal.
        `lv_enclosed`: share of the cavity's border (pixel edges) that faces myocardium, in [0, 1]; below 1 is usual
        at the base only; NaN unless cavity and myocardium are there.

    >>> mask = np.zeros((5, 5), int)
    >>> mask[1:4, 1:4], mask[2, 2] = MYO, LV
    >>> found = measure(mask, (2.0, 2.0))
    >>> found["lv_area_mm2"], found["myo_area_mm2"], found["lv_myo_ratio"], found["lv_enclosed"]
    (4.0, 32.0, 0.125, 1.0)
    """
    mask = np.asarray(mask)
    pixel = float(pixel_spacing[0]) * float(pixel_spacing[1])
    lv, myo, rv = (float((mask == label).sum()) * pixel for label in (LV, MYO, RV))
    nan = float("nan")
    return {
        "lv_area_mm2": lv,
        "myo_area_mm2": myo,
        "rv_area_mm2": rv,
        "lv_myo_ratio": lv / myo if lv and myo else nan,
        "rv_lv_ratio": rv / lv if lv and rv else nan,
        "wall_thickness_mm": float(np.sqrt((lv + myo) / np.pi) - np.sqrt(lv / np.pi)) if lv and myo else nan,
        "lv_components": _components(mask == LV),
        "myo_components": _components(mask == MYO),
        "rv_components": _components(mask == RV),
        "lv_enclosed": _enclosed(mask) if lv and myo else nan,
    }


def measure_all(masks: np.ndarray, pixel_spacing: np.ndarray, labels: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the measures of many masks.

    Args:
        masks: (N, H, W) integer.
        pixel_spacing: (N, 2), (row, column) in mm.
        labels: the labels that are annotated; a measure that needs another one is NaN in every row.

    Returns:
        The keys of `measure`, each (N,) float64.
    """
    rows = [measure(mask, spacing) for mask, spacing in zip(masks, pixel_spacing, strict=True)]
    return {
        name: np.array([row[name] if needed <= set(labels) else np.nan for row in rows], dtype=np.float64)
        for name, needed in _NEEDS.items()
    }


def simpson_volume(areas_mm2: np.ndarray, slice_spacing_mm: float) -> float:
    """Return the volume in mL of a stack of short-axis areas by the sum of discs.

    Args:
        areas_mm2: (Z,) areas of one patient in one phase.
        slice_spacing_mm: distance between slice centres (thickness and gap).

    >>> simpson_volume(np.array([1000.0, 1000.0]), 10.0)
    20.0
    """
    return float(np.sum(areas_mm2) * slice_spacing_mm / 1000)


def wasserstein_1(x: np.ndarray, y: np.ndarray) -> float:
    """Return the Wasserstein-1 distance of two samples of numbers, in their unit.

    Args:
        x: (n,) float; values that are not finite (measures that are not defined) are left out.
        y: (m,) float.

    Returns:
        The distance, >= 0; NaN if a sample has no defined value.

    >>> wasserstein_1(np.array([0.0, 1.0]), np.array([3.0, 4.0, np.nan]))
    3.0
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    x, y = x[np.isfinite(x)], y[np.isfinite(y)]
    return float(wasserstein_distance(x, y)) if len(x) and len(y) else float("nan")


def _components(region: np.ndarray) -> float:
    return float(connected_components(region, structure=np.ones((3, 3)))[1])


def _enclosed(mask: np.ndarray) -> float:
    """Share of the pixel edges between cavity and anything else that face myocardium."""
    padded = np.pad(mask, 1)  # what leaves the image is not enclosed
    border = facing = 0
    for axis in (0, 1):
        for step in (1, -1):
            neighbour = np.roll(padded, step, axis)
            outside = (padded == LV) & (neighbour != LV)
            border += int(outside.sum())
            facing += int((outside & (neighbour == MYO)).sum())
    return facing / border
