"""What surrounds the phantom's heart: chest wall, lungs, liver, stomach, spleen and aorta.

Coordinates are in mm from the LV's centre, x to the right and y downwards, as in `phantom_anatomy`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cmrsynth.data.phantom_anatomy import Heart
from cmrsynth.data.phantom_physics import Layer, Tissue


@dataclass(frozen=True)
class Thorax:
    """Where the organs of one patient lie.

    Args:
        chest: direction of the anterior chest wall, in radians.
        chest_mm: distance from the LV's centre to the wall's inner side.
        chest_radius_mm: its radius of curvature.
        fat_mm: thickness of the subcutaneous fat.
        muscle_mm: thickness of muscle and ribs.
        back_mm: distance to the lateral wall on the far side.
        diaphragm: (height below the LV's centre, slope, curvature per mm).
        liver_mm: (right end, thickness) of the liver.
        stomach: (x, depth below the diaphragm, half width, half height).
        spleen: (x, depth below the diaphragm, half width, half height).
        aorta: (x, y, radius).
        vessels: (V, 4) x, y, radius and level of the lung's vessels.
        liver_vessels: (V, 4) x, depth, radius and level.
        bowel: (B, 4) x, depth below the diaphragm, radius and thickness of the wall.
        pericardial_fat: (4, 2) amplitude in mm and phase of the fat layer around the heart, orders 0 to 3.
    """

    chest: float
    chest_mm: float
    chest_radius_mm: float
    fat_mm: float
    muscle_mm: float
    back_mm: float
    diaphragm: tuple[float, float, float]
    liver_mm: tuple[float, float]
    stomach: tuple[float, float, float, float]
    spleen: tuple[float, float, float, float]
    aorta: tuple[float, float, float]
    vessels: np.ndarray
    liver_vessels: np.ndarray
    bowel: np.ndarray
    pericardial_fat: np.ndarray


def draw_thorax(heart: Heart, rng: np.random.Generator) -> Thorax:
    """Return a random chest that the heart fits into."""
    outer = heart.radius + heart.wall
    vessels = np.stack(
        [rng.normal(60, 40, 70), rng.normal(-18, 48, 70), rng.gamma(1.6, 0.6, 70) + 0.5, rng.uniform(-0.2, 1.2, 70)], 1
    )
    liver_vessels = np.stack(
        [rng.uniform(-100, 10, 16), rng.uniform(8, 60, 16), rng.gamma(2.0, 0.8, 16) + 0.6, rng.uniform(-0.2, 1.2, 16)],
        1,
    )
    bowel = np.stack(
        [rng.uniform(-70, 100, 5), rng.uniform(58, 105, 5), rng.uniform(8, 15, 5), rng.uniform(2.0, 3.5, 5)], 1
    )
    return Thorax(
        chest=heart.septum + rng.uniform(0.3, 0.65),
        chest_mm=outer + heart.rv_width * 0.75 + rng.uniform(0.0, 6.0),
        chest_radius_mm=rng.uniform(120.0, 230.0),
        fat_mm=rng.uniform(7.0, 26.0),
        muscle_mm=rng.uniform(9.0, 15.0),
        back_mm=rng.uniform(88.0, 118.0),
        diaphragm=(outer + rng.uniform(2.0, 8.0), rng.uniform(-0.05, 0.22), rng.uniform(0.0008, 0.0022)),
        liver_mm=(rng.uniform(-10.0, 35.0), rng.uniform(45.0, 80.0)),
        stomach=(rng.uniform(25, 50), rng.uniform(20, 30), rng.uniform(22, 34), rng.uniform(14, 24)),
        spleen=(rng.uniform(74, 92), rng.uniform(22, 38), rng.uniform(13, 20), rng.uniform(22, 32)),
        aorta=(rng.uniform(38, 58), outer * 0.75 + rng.uniform(4, 12), rng.uniform(9.5, 12.5)),
        vessels=vessels,
        liver_vessels=liver_vessels,
        bowel=bowel,
        pericardial_fat=np.stack([[rng.uniform(0.5, 4.5), *rng.normal(0, 2.0, 3)], rng.uniform(-np.pi, np.pi, 4)], 1),
    )


def coverage(distance: np.ndarray, edge: float | np.ndarray) -> np.ndarray:
    """Return the share of each pixel that a shape covers.

    Args:
        distance: signed distance to its outline in mm, negative inside.
        edge: width of the transition in mm: the pixel, or more where the slice's thickness blurs the outline.

    >>> coverage(np.array([-3.0, 0.0, 0.5, 3.0]), 2.0).tolist()
    [1.0, 0.5, 0.25, 0.0]
    """
    return np.clip(0.5 - distance / edge, 0.0, 1.0).astype(np.float32)


def _ellipse(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    """Return the signed distance (first order) to an ellipse around the origin."""
    radius = np.sqrt((x / half_width) ** 2 + (y / half_height) ** 2)
    gradient = np.sqrt((x / half_width**2) ** 2 + (y / half_height**2) ** 2)
    return radius * (radius - 1) / np.maximum(gradient, 1e-3)


def _smooth_maximum(a: np.ndarray, b: np.ndarray, rounding: float) -> np.ndarray:
    """Return the larger of two distances with the corner rounded: the intersection of two shapes."""
    blend = np.clip(1 - np.abs(a - b) / rounding, 0.0, 1.0)
    return np.maximum(a, b) + 0.25 * rounding * blend**2


def layers(
    thorax: Thorax, x: np.ndarray, y: np.ndarray, level: float, pixel_mm: float, ripple: np.ndarray
) -> Iterator[Layer]:
    """Yield the tissues around the heart in one plane, from the lowest to the topmost.

    Args:
        thorax: the patient.
        x: (H, W) in mm from the LV's centre.
        y: (H, W) in mm.
        level: 0 at the heart's base, 1 at its apex.
        pixel_mm: width of a pixel.
        ripple: (2, H, W) unit-variance smooth fields that make outlines irregular.
    """
    x, y = x + 3.0 * ripple[0], y + 3.0 * ripple[1]
    edge = 1.3 * pixel_mm
    yield Layer(Tissue.LUNG, np.ones_like(x, dtype=np.float32))
    yield from _spots(thorax.vessels, x, y, level, edge, limit=None)
    below = y - thorax.diaphragm[0] - thorax.diaphragm[1] * x - thorax.diaphragm[2] * (x - 15) ** 2
    below = below + 12.0 * (level - 0.4)  # the dome rises towards the apex
    yield from _mediastinum(thorax, x, y, level, edge, ripple)
    yield from _posterior(thorax, x, y, level, edge)
    yield from _abdomen(thorax, x, below, level, edge, ripple)
    yield from _wall(thorax, x, y, edge, ripple)


def _spots(
    spots: np.ndarray, x: np.ndarray, y: np.ndarray, level: float, edge: float, limit: np.ndarray | None
) -> Iterator[Layer]:
    """Yield vessels cut by the plane: bright dots that come and go between slices."""
    total = np.zeros_like(x, dtype=np.float32)
    for column, row, radius, height in spots.tolist():
        visible = radius * (1 - 3.0 * (level - height) ** 2)
        if visible > 0.3:
            shift = 14.0 * (level - height)  # vessels run obliquely
            distance = np.sqrt((x - column - shift) ** 2 + (y - row + 0.6 * shift) ** 2) - visible
            total = np.maximum(total, coverage(distance, edge))
    yield Layer(Tissue.BLOOD, total * 0.75 if limit is None else total * 0.55 * limit)


def _mediastinum(
    thorax: Thorax, x: np.ndarray, y: np.ndarray, level: float, edge: float, ripple: np.ndarray
) -> Iterator[Layer]:
    """Yield the fat and soft tissue that fill the corner between heart, chest wall and diaphragm."""
    direction = thorax.chest - 0.55  # below the anterior wall
    across = x * np.cos(direction) + y * np.sin(direction)
    along = -x * np.sin(direction) + y * np.cos(direction)
    pad = _ellipse(across - 0.6 * thorax.chest_mm, along, 0.55 * thorax.chest_mm, (0.8 - 0.3 * level) * thorax.chest_mm)
    yield Layer(Tissue.MUSCLE, 0.8 * coverage(pad + 2.0 * ripple[1], 4 * edge))
    patches = np.clip(0.6 + 0.25 * ripple[0] + 0.2 * ripple[1], 0.2, 0.95)
    yield Layer(Tissue.FAT, patches * coverage(pad + 2.0 + 7.0 * np.abs(ripple[0]), 5 * edge))


def _posterior(thorax: Thorax, x: np.ndarray, y: np.ndarray, level: float, edge: float) -> Iterator[Layer]:
    """Yield the mediastinal fat behind the heart and the descending aorta in it."""
    column, row, radius = thorax.aorta
    column, row = column + 10.0 * level, row + 6.0 * level
    fading = float(np.clip(1.5 - 1.3 * level, 0.0, 1.0))
    yield Layer(Tissue.FAT, fading * 0.6 * coverage(_ellipse(x - column + 10, y - row - 4, 34.0, 15.0), 7 * edge))
    tube = np.hypot(x - column, y - row) - radius
    yield Layer(Tissue.MUSCLE, fading * coverage(tube - 1.8, edge))
    yield Layer(Tissue.BLOOD, fading * coverage(tube, edge))


def _abdomen(
    thorax: Thorax, x: np.ndarray, below: np.ndarray, level: float, edge: float, ripple: np.ndarray
) -> Iterator[Layer]:
    """Yield what lies under the diaphragm; `below` is the depth under it in mm."""
    inside = coverage(-below, edge)
    yield Layer(Tissue.MUSCLE, inside)
    yield Layer(Tissue.FAT, coverage(-(below - 3.0), edge))
    for column, depth, radius, thickness in thorax.bowel.tolist():
        lean = 0.4 * (radius - 13.0)
        loop = _ellipse(x - column + lean * ripple[0], below - depth + 0.1 * lean * (x - column), 1.8 * radius, radius)
        yield Layer(Tissue.MUSCLE, coverage(loop, edge))
        yield Layer(Tissue.GUT, coverage(loop + thickness, 2 * edge))
    column, depth, width, height = thorax.spleen
    yield Layer(Tissue.SPLEEN, coverage(_ellipse(x - column, below - depth, width, height), edge))
    column, depth, width, height = thorax.stomach
    pouch = _ellipse(x - column, below - depth + 0.15 * (x - column), width, height)
    yield Layer(Tissue.MUSCLE, coverage(pouch, edge))
    yield Layer(Tissue.GUT, coverage(pouch + 3.5 + 0.8 * ripple[1], 2 * edge))
    yield Layer(Tissue.AIR, 0.8 * coverage(np.maximum(pouch + 5.0, below - depth + 0.45 * height), 3 * edge))
    right, thickness = thorax.liver_mm
    right = right + 22.0 * (level - 0.5)
    lower_edge = below - thickness * np.clip(1.15 - np.exp((x - right) / 40.0), 0.0, 1.0)
    liver = _smooth_maximum(_smooth_maximum(3.5 - below, x - right, 16.0), lower_edge, 14.0)
    body = coverage(liver, edge)
    yield Layer(Tissue.LIVER, body)
    yield from _spots(thorax.liver_vessels, x, below, level, edge, limit=body)


def _wall(thorax: Thorax, x: np.ndarray, y: np.ndarray, edge: float, ripple: np.ndarray) -> Iterator[Layer]:
    """Yield muscle with ribs, subcutaneous fat and the air around the body."""
    across = x * np.cos(thorax.chest) + y * np.sin(thorax.chest)
    along = -x * np.sin(thorax.chest) + y * np.cos(thorax.chest)
    front = across - thorax.chest_mm + along**2 / (2 * thorax.chest_radius_mm)
    flank = x + 0.12 * y - thorax.back_mm + (y + 10) ** 2 / 420.0
    outside = _smooth_maximum(front, flank, 40.0)
    muscle = thorax.muscle_mm * (1 + 0.25 * ripple[0])
    fat = thorax.fat_mm * (1 + 0.15 * ripple[1])
    pleural_fat = np.clip(1.5 * ripple[0] - 0.3 + 2.0 * ripple[1], 0.0, 5.0)  # here and there, never all around
    yield Layer(Tissue.FAT, 0.8 * coverage(-outside - pleural_fat, edge) * np.minimum(pleural_fat, 1.0))
    yield Layer(Tissue.MUSCLE, coverage(-outside, edge))
    rib_phase = (along + 8.0 * ripple[1]) / 31.0
    rib = np.hypot((rib_phase - np.round(rib_phase)) * 31.0 * 0.5, outside - 0.5 * muscle) - 0.36 * muscle
    yield Layer(Tissue.BONE, 0.8 * coverage(rib, edge))
    yield Layer(Tissue.FAT, 0.6 * coverage(rib + 2.2, edge))
    yield Layer(Tissue.FAT, coverage(-(outside - muscle), edge))
    yield Layer(Tissue.MUSCLE, 0.5 * coverage(np.abs(outside - muscle - 0.45 * fat) - 0.06 * fat, 2 * edge))
    yield Layer(Tissue.AIR, coverage(-(outside - muscle - fat), edge))
