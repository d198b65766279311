"""Volumes of a stack of short-axis slices: the sum of discs, and what clinicians derive from it."""

from __future__ import annotations

import numpy as np

from .anatomy import simpson_volume

MYOCARDIAL_DENSITY = 1.05  # g/mL
MIN_SLICES = 3  # fewer discs do not describe a ventricle


def stack_fault(slice_index: np.ndarray, slice_spacing: np.ndarray) -> str:
    """Return why slices cannot be summed to a volume, or "" if they can.

    Args:
        slice_index: (Z,) int, place of each slice in its stack, in any order.
        slice_spacing: (Z,) float, distance between slice centres in mm (thickness and gap); NaN where unknown.

    >>> stack_fault(np.array([2, 0, 1]), np.full(3, 8.0))
    ''
    >>> stack_fault(np.array([0, 1, 3]), np.full(3, 8.0))
    'slices are missing between the first and the last'
    """
    if len(slice_index) < MIN_SLICES:
        return f"fewer than {MIN_SLICES} slices"
    if not np.isfinite(slice_spacing).all():
        return "the distance between slices is not known"
    if not np.allclose(slice_spacing, slice_spacing[0], rtol=1e-3):
        return "the distance between slices is not the same throughout"
    if len(np.unique(slice_index)) < len(slice_index):
        return "a slice occurs twice"
    if np.any(np.diff(np.sort(slice_index)) != 1):
        return "slices are missing between the first and the last"
    return ""


def stack_volume(masks: np.ndarray, label: int, pixel_spacing: np.ndarray, slice_spacing: float) -> float:
    """Return the volume of one structure in mL by Simpson's method, the sum of discs.

    Args:
        masks: (Z, H, W) integer, the slices of one heart at one time.
        label: the structure.
        pixel_spacing: (Z, 2), (row, column) in mm.
        slice_spacing: distance between slice centres in mm, thickness and gap.

    Raises:
        ValueError: there are not as many spacings as slices, or a spacing is not positive.

    Source: Bernard et al. 2018 (ACDC), doi:10.1109/TMI.2018.2837502, for its use on short-axis cine.

    >>> masks = np.ones((3, 10, 10), int)
    >>> stack_volume(masks, 1, np.full((3, 2), 2.0), 10.0)
    12.0
    """
    masks, pixel_spacing = np.asarray(masks), np.asarray(pixel_spacing, dtype=np.float64)
    if masks.ndim != 3 or pixel_spacing.shape != (len(masks), 2):
        raise ValueError(
            f"masks {masks.shape} and pixel spacing {pixel_spacing.shape} do not fit; give (Z, H, W) and (Z, 2)"
        )
    if not (pixel_spacing > 0).all() or not slice_spacing > 0:
        raise ValueError(f"spacings must be positive lengths in mm, got {slice_spacing} between slices")
    areas = (masks == label).sum((1, 2)) * pixel_spacing.prod(1)
    return simpson_volume(areas, float(slice_spacing))


def ejection_fraction(end_diastolic: float, end_systolic: float) -> float:
    """Return the share of the blood that a beat ejects, in %; NaN for an empty ventricle.

    Args:
        end_diastolic: volume in mL.
        end_systolic: volume in mL; larger than `end_diastolic`, it makes the result negative, which no heart has.

    >>> ejection_fraction(120.0, 48.0)
    60.0
    """
    return 100 * (end_diastolic - end_systolic) / end_diastolic if end_diastolic > 0 else float("nan")


def myocardial_mass(volume: float) -> float:
    """Return the mass in g of a volume of myocardium in mL, at 1.05 g/mL."""
    return MYOCARDIAL_DENSITY * volume


def agreement(measured: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return how two ways of measuring the same hearts agree.

    Args:
        measured: (n,) float.
        reference: (n,) float, of the same hearts.

    Returns:
        `bias`: mean of measured - reference; `lower`, `upper`: the limits of agreement, bias -+ 1.96 standard
        deviations, between which 95 % of the differences lie; `mean_absolute`: mean of |measured - reference|. All
        in the unit of the input. The limits are NaN for fewer than two hearts.

    Raises:
        ValueError: the two differ in length, are empty, or hold values that are not finite.

    Source: Bland and Altman 1986, doi:10.1016/S0140-6736(86)90837-8.

    >>> found = agreement(np.array([11.0, 9.0]), np.array([10.0, 10.0]))
    >>> found["bias"], found["mean_absolute"], round(found["upper"], 3)
    (0.0, 1.0, 2.772)
    """
    measured, reference = np.asarray(measured, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if measured.shape != reference.shape or measured.ndim != 1 or len(measured) == 0:
        raise ValueError(f"shapes {measured.shape} and {reference.shape}; give two lists with one value per heart")
    difference = measured - reference
    if not np.isfinite(difference).all():
        raise ValueError("values must be finite; leave out hearts that could not be measured")
    bias = float(difference.mean())
    spread = 1.96 * float(difference.std(ddof=1)) if len(difference) > 1 else float("nan")
    return {
        "bias": bias,
        "lower": bias - spread,
        "upper": bias + spread,
        "mean_absolute": float(np.abs(difference).mean()),
    }
