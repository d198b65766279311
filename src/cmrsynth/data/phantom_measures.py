"""What the phantom's anatomy amounts to, by integration: the truth that figures from its masks can be held against."""

from __future__ import annotations

import numpy as np

from cmrsynth.data.phantom_anatomy import NUM_ANGLES, Heart, contours

PLANES = 96  # short-axis planes between base and apex


def phantom_scalars(heart: Heart) -> dict[str, float]:
    """Return `ejection_fraction` (%) and `wall_thickness` (mm, mean at end-diastole) of a heart.

    The thickness in a plane is that of the ring of equal areas, as `cmrsynth.metrics.anatomy.measure` has it; the
    mean is over the upper 80 % of the ventricle, because slices through the cap of the apex show no ring.
    """
    planes = (np.arange(PLANES) + 0.5) * heart.length / PLANES
    beat = [contours(heart, z, np.array([0.0, 1.0])) for z in planes]
    inside = np.stack([(c.level >= 0) & (c.level <= 1) for c in beat])
    cavity = np.stack([_area(c.endocardium) for c in beat]) * inside
    heart_area = np.stack([_area(c.epicardium) for c in beat])
    diastolic, systolic = cavity.sum(0)
    ring = np.sqrt(heart_area[:, 0] / np.pi) - np.sqrt(cavity[:, 0] / np.pi)
    return {
        "ejection_fraction": float(100 * (diastolic - systolic) / diastolic),
        "wall_thickness": float(ring[planes < 0.8 * heart.length].mean()),
    }


def _area(radii: np.ndarray) -> np.ndarray:
    """Return (T,) areas within outlines given as radii (T, NUM_ANGLES)."""
    return (radii**2).sum(1) * np.pi / NUM_ANGLES
