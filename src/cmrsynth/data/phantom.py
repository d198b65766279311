"""The embedded phantom: a seeded short-axis cine of a beating heart, with its masks, and no patient in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cmrsynth.data import phantom_anatomy, phantom_physics, phantom_thorax
from cmrsynth.data.phantom_anatomy import RV_WALL_MM, Contours, Heart
from cmrsynth.data.phantom_physics import Layer, ScannerStyle, Tissue
from cmrsynth.data.phantom_thorax import Thorax, coverage
from cmrsynth.labels import LV, MYO, RV

_MARGIN_MM = 24.0  # the thickest pericardial fat, the fill of the grooves and the blur of an outline


@dataclass(frozen=True)
class Examination:
    """How one patient was scanned.

    Args:
        style: the scanner.
        size: rows and columns of the image.
        pixel_mm: side of a pixel.
        slice_spacing: between slice centres.
        heights: (Z,) position of the slices along z, base to apex; see `phantom_anatomy`.
        centres: (Z, 2) x and y of the LV's centre in mm from the middle of the image.
        contraction: (T,) of each frame; frame 0 is end-diastole.
    """

    style: ScannerStyle
    size: int
    pixel_mm: float
    slice_spacing: float
    heights: np.ndarray
    centres: np.ndarray
    contraction: np.ndarray

    @property
    def end_systole(self) -> int:
        """The frame of the strongest contraction."""
        return int(np.argmax(self.contraction))


def draw_examination(heart: Heart, style: ScannerStyle, size: int, rng: np.random.Generator) -> Examination:
    """Return how a heart is scanned: 8-10 mm between slices, 8-12 frames, breath-holds that differ a little."""
    spacing, frames = float(rng.uniform(8.0, 10.0)), int(rng.integers(8, 13))
    first, beyond = rng.uniform(0.1, 0.6) * spacing, rng.uniform(-0.4, 0.7) * spacing
    heights = np.arange(first, heart.length + heart.wall + beyond, spacing)
    tilt, base = rng.normal(0.0, 0.06, 2), rng.normal((6.0, -6.0), 7.0)
    breath = rng.normal(0.0, 0.9, (len(heights), 2))
    field_of_view = style.field_of_view_mm * rng.uniform(0.94, 1.08)
    phase = np.arange(frames) / frames
    peak = rng.uniform(0.34, 0.42)
    systole = np.sin(0.5 * np.pi * np.clip(phase / peak, 0, 1)) ** 2
    relaxation = 0.5 + 0.5 * np.cos(np.pi * np.clip((phase - peak) / (0.95 - peak), 0, 1) ** 0.8)
    contraction = np.where(phase <= peak, systole, relaxation)
    return Examination(
        style=style,
        size=size,
        pixel_mm=field_of_view / size,
        slice_spacing=spacing,
        heights=heights,
        centres=base + heights[:, None] * tilt + breath,
        contraction=contraction / contraction.max(),
    )


def render(
    heart: Heart, thorax: Thorax, examination: Examination, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cine and the masks of every frame.

    Args:
        heart: the anatomy.
        thorax: what surrounds it.
        examination: how it is scanned.
        rng: for texture, gain and noise.

    Returns:
        cine, (T, Z, H, W) float32, finite and non-negative; masks, (T, Z, H, W) uint8.
    """
    size, style = examination.size, examination.style
    shape = (len(examination.contraction), len(examination.heights), size, size)
    cine, masks = np.empty(shape, np.float32), np.zeros(shape, np.uint8)
    axis = ((np.arange(size) - 0.5 * (size - 1)) * examination.pixel_mm).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    gain = phantom_physics.gain_field(style, x, y, thorax.chest, rng)
    gain = gain / gain[size // 2, size // 2] * phantom_physics.bands(style, (size, size), rng)
    ripple = phantom_physics.smooth_field(rng, (2, size, size), 22.0 / examination.pixel_mm)
    for index, (z, centre) in enumerate(zip(examination.heights.tolist(), examination.centres.tolist(), strict=True)):
        grid = x - centre[0], y - centre[1]
        texture = _texture(examination, rng)
        strands = phantom_physics.smooth_field(rng, (size, size), 1.7 / examination.pixel_mm)
        level = z / heart.length
        body = phantom_physics.composite(
            np.zeros((size, size), np.float32),
            phantom_thorax.layers(thorax, *grid, level, examination.pixel_mm, ripple),
            style,
            texture,
        )
        frames, masks[:, index] = _beat(heart, thorax, examination, z, grid, body, texture, strands)
        cine[:, index] = phantom_physics.acquire(frames * gain, style, rng)
    return cine, masks


def _texture(examination: Examination, rng: np.random.Generator) -> np.ndarray:
    """Return an (H, W) unit-variance field with coarse and fine parts, as tissue has."""
    shape = (examination.size, examination.size)
    coarse = phantom_physics.smooth_field(rng, shape, 7.0 / examination.pixel_mm)
    fine = phantom_physics.smooth_field(rng, shape, 1.4 / examination.pixel_mm)
    return (0.66 * coarse + 0.75 * fine).astype(np.float32)


def _beat(
    heart: Heart,
    thorax: Thorax,
    examination: Examination,
    z: float,
    grid: tuple[np.ndarray, np.ndarray],
    body: np.ndarray,
    texture: np.ndarray,
    strands: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (T, H, W) signals and masks of one slice, computed only where the heart can be."""
    outlines = phantom_anatomy.contours(heart, z, examination.contraction, 0.9 * examination.slice_spacing)
    window = _window(heart, outlines, *grid)
    x, y = grid[0][window], grid[1][window]
    frames = np.repeat(body[None], len(examination.contraction), 0)
    masks = np.zeros(frames.shape, np.uint8)
    distances = _distances(heart, outlines, x, y)
    painted = _layers(heart, thorax, outlines, distances, x, y, strands[window], examination.pixel_mm)
    inner = (slice(None), *window)
    frames[inner] = phantom_physics.composite(frames[inner], painted, examination.style, texture[window])
    masks[inner] = _labels(outlines, distances)
    return frames, masks


def _window(heart: Heart, outlines: Contours, x: np.ndarray, y: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns that hold both ventricles at every moment and the fat around them."""
    around_lv = outlines.epicardium.max() + _MARGIN_MM
    around_rv = max(outlines.rv_across.max(), outlines.rv_along.max()) + _MARGIN_MM
    sides = []
    for axis, towards in ((y[:, 0], np.sin(heart.septum)), (x[0], np.cos(heart.septum))):
        rv = towards * outlines.rv_centre
        low, high = min(-around_lv, rv.min() - around_rv), max(around_lv, rv.max() + around_rv)
        sides.append(slice(*np.searchsorted(axis, (low, high))))
    return sides[0], sides[1]


@dataclass(frozen=True)
class _Distances:
    """(T, H, W) signed distances in mm, negative inside."""

    endocardium: np.ndarray
    rough_endocardium: np.ndarray
    epicardium: np.ndarray
    rv: np.ndarray
    rv_ellipse: np.ndarray


def _distances(heart: Heart, outlines: Contours, x: np.ndarray, y: np.ndarray) -> _Distances:
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    epicardium = radius - phantom_anatomy.at_angle(outlines.epicardium, angle)
    rv_ellipse = phantom_anatomy.rv_distance(heart, outlines, x, y)
    return _Distances(
        endocardium=radius - phantom_anatomy.at_angle(outlines.endocardium, angle),
        rough_endocardium=radius - phantom_anatomy.at_angle(outlines.rough_endocardium, angle),
        epicardium=epicardium,
        rv=np.maximum(rv_ellipse, -epicardium),
        rv_ellipse=rv_ellipse,
    )


def _labels(outlines: Contours, distances: _Distances) -> np.ndarray:
    """Return (T, H, W) labels at the pixel centres; nothing is labelled above the mitral plane."""
    masks = np.zeros(distances.rv.shape, np.uint8)
    masks[distances.rv < 0] = RV
    masks[distances.epicardium < 0] = MYO
    masks[distances.endocardium < 0] = LV
    masks[outlines.level < 0] = 0
    for mask in masks:
        parts, count = ndimage.label(mask == RV)
        if count > 1:  # the tips of the crescent can break off at coarse pixels; an expert draws one outline
            largest = 1 + np.argmax(np.bincount(parts.ravel())[1:])
            mask[(parts > 0) & (parts != largest)] = 0
    return masks


def _layers(
    heart: Heart,
    thorax: Thorax,
    outlines: Contours,
    distances: _Distances,
    x: np.ndarray,
    y: np.ndarray,
    strands: np.ndarray,
    pixel_mm: float,
) -> list[Layer]:
    """Return the heart's tissues, from the lowest to the topmost."""
    edge = np.hypot(pixel_mm, outlines.edge)[:, None, None].astype(np.float32)
    orders = np.arange(4)[:, None, None]
    amplitude, phase = thorax.pericardial_fat[:, :, None, None].transpose(1, 0, 2, 3)
    fat = np.clip((amplitude * np.cos(orders * (np.arctan2(y, x) - phase))).sum(0), 0.0, 12.0).astype(np.float32)
    outer = _smooth_minimum(distances.epicardium, distances.rv_ellipse - RV_WALL_MM, 16.0)  # fills the grooves
    present = coverage(distances.epicardium, edge)
    trabeculated = _rv_trabeculae(strands, outlines)
    return [
        Layer(Tissue.MUSCLE, 0.7 * coverage(outer - fat - 1.2, edge)),
        Layer(Tissue.FAT, coverage(outer - fat, edge)),
        Layer(Tissue.MYOCARDIUM, coverage(distances.rv - RV_WALL_MM, edge)),
        Layer(Tissue.BLOOD, coverage(distances.rv, edge) * (1 - trabeculated * coverage(-distances.rv - 6.0, 16.0))),
        Layer(Tissue.MYOCARDIUM, present),
        Layer(Tissue.BLOOD, coverage(distances.rough_endocardium, edge)),
        Layer(Tissue.MYOCARDIUM, _papillary(heart, outlines, distances, x, y, edge)),
    ]


def _smooth_minimum(a: np.ndarray, b: np.ndarray, rounding: float) -> np.ndarray:
    """Return the smaller of two distances with the concave corner filled: the union of two shapes."""
    blend = np.clip(1 - np.abs(a - b) / rounding, 0.0, 1.0)
    return np.minimum(a, b) - 0.25 * rounding * blend**2


def _rv_trabeculae(strands: np.ndarray, outlines: Contours) -> np.ndarray:
    """Return (T, H, W) shares of muscle strands in the RV, denser towards the apex."""
    threshold = np.clip(1.3 - 0.9 * outlines.level, 0.4, 1.3)[:, None, None].astype(np.float32)
    return np.clip(1.6 * (strands - threshold), 0.0, 0.85)


def _papillary(
    heart: Heart, outlines: Contours, distances: _Distances, x: np.ndarray, y: np.ndarray, edge: np.ndarray
) -> np.ndarray:
    """Return (T, H, W) coverage of the two papillary muscles; they belong to the cavity's label, as in ACDC."""
    largest, turn = heart.papillary
    size = largest * np.clip(2.2 * np.sin(np.pi * np.clip((outlines.level - 0.12) / 0.72, 0, 1)), 0, 1)
    total = np.zeros(distances.rv.shape, np.float32)
    for side, scale in ((0.95, 1.0), (-1.0, 0.85), (-0.72, 0.5)):
        angle = heart.septum + np.pi + side + turn
        nearest = np.argmin(np.abs(np.angle(np.exp(1j * (phantom_anatomy.ANGLES - angle)))))
        wall = outlines.endocardium[:, nearest]
        radius = np.minimum(scale * size, 0.3 * wall)
        out = np.maximum(wall * (0.62 + 0.2 * np.clip(outlines.level, 0, 1)), 0)
        centre_x, centre_y = (v[:, None, None].astype(np.float32) for v in (out * np.cos(angle), out * np.sin(angle)))
        radius = radius[:, None, None].astype(np.float32)
        total = np.maximum(total, coverage(np.hypot(x - centre_x, y - centre_y) - radius, edge) * (radius > 0.8))
    return total * coverage(distances.endocardium, edge)
