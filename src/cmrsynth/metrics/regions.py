"""Texture of the heart apart from that of the background.

A figure over whole images hides a bad heart in a good background, and the other way round: the heart fills a tenth
of an image. Here patches come from one region only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt, minimum_filter

from .texture import PATCH_SIDE, PatchStatistics, laplacian_pyramid

HEART_MARGIN_MM = 10.0  # reaches past the wall and the blood around it, not to the chest wall
_REGION_PATCHES = 401  # stream of random numbers


def heart_region(
    masks: np.ndarray,
    pixel_spacing: np.ndarray,
    *,
    labels: Sequence[int] | None = None,
    margin_mm: float = HEART_MARGIN_MM,
) -> np.ndarray:
    """Return the pixels within a distance of the annotated heart; the background is all others.

    Args:
        masks: (N, H, W) integer label maps, 0 = background.
        pixel_spacing: (N, 2) float, (row, column) in mm.
        labels: the labels that count as heart; None takes all but 0. Sets that annotate different structures need
            the ones they share, or their regions differ.
        margin_mm: how far the region reaches beyond the labels, in mm.

    Returns:
        (N, H, W) bool; all False where a mask is empty.

    Raises:
        ValueError: the shapes do not fit, or a spacing is not above 0.

    >>> mask = np.zeros((1, 9, 9), int)
    >>> mask[0, 4, 4] = 3
    >>> heart_region(mask, np.array([[2.0, 1.0]]), margin_mm=2.0)[0].sum(1)
    array([0, 0, 0, 1, 5, 1, 0, 0, 0])
    """
    masks, pixel_spacing = np.asarray(masks), np.asarray(pixel_spacing, dtype=np.float64)
    if masks.ndim != 3 or pixel_spacing.shape != (len(masks), 2):
        raise ValueError(
            f"expected masks (N, H, W) and spacings (N, 2), got {masks.shape} and {pixel_spacing.shape}: give one "
            "(row, column) spacing in mm per mask"
        )
    if not (pixel_spacing > 0).all():
        raise ValueError("expected pixel spacings above 0 mm, got others: mend the data set's pixel_spacing column")
    heart = masks != 0 if labels is None else np.isin(masks, list(labels))
    region = np.zeros(masks.shape, dtype=bool)
    for number in np.flatnonzero(heart.any((1, 2))):
        region[number] = distance_transform_edt(~heart[number], sampling=pixel_spacing[number]) <= margin_mm
    return region


def patch_centres(region: np.ndarray) -> np.ndarray:
    """Return where a patch can be centred and lie wholly inside the region and the image.

    Args:
        region: (N, H, W) bool.

    Returns:
        (N, H, W) bool.

    >>> int(patch_centres(np.ones((1, 9, 8), bool)).sum())
    6
    """
    whole = minimum_filter(np.asarray(region, dtype=np.uint8), (1, PATCH_SIDE, PATCH_SIDE), mode="constant", cval=0)
    return whole.astype(bool)


def region_patch_statistics(
    images: np.ndarray,
    region: np.ndarray,
    *,
    patches_per_image: int = 64,
    num_projections: int = 256,
    seed: int = 0,
) -> tuple[PatchStatistics, np.ndarray]:
    """Return projected random 7 x 7 patches of the finest pyramid level that lie wholly inside a region.

    The finest level only: patches of the coarser ones would reach far beyond a region the size of a heart. What is
    returned fits `SlicedWasserstein`, as long as both sets were taken with the same settings.

    Args:
        images: (N, H, W) float in [0, 1].
        region: (N, H, W) bool.
        patches_per_image: patches drawn per image, with replacement.
        num_projections: random directions; they depend on the seed only.
        seed: the run's seed.

    Returns:
        The statistics of the images whose region holds a patch, and the rows of those images, (K,) int.

    Raises:
        ValueError: the shapes differ, or no region holds a patch.
    """
    if np.shape(images) != np.shape(region):
        raise ValueError(f"expected a region per image, got shapes {np.shape(images)} and {np.shape(region)}")
    centres = patch_centres(region)
    rows = np.flatnonzero(centres.any((1, 2)))
    if not len(rows):
        raise ValueError(
            f"no region holds a patch of {PATCH_SIDE} x {PATCH_SIDE} pixels: widen the margin, or build larger images"
        )
    finest = laplacian_pyramid(np.asarray(images)[rows])[0]
    rng = np.random.default_rng([seed, _REGION_PATCHES])
    directions = rng.normal(size=(PATCH_SIDE**2, num_projections))
    directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
    patches = _patches_at(finest, centres[rows], patches_per_image, rng)
    values = patches.reshape(len(rows), -1).astype(np.float64)
    moments = np.stack([values.mean(1), (values**2).mean(1)], axis=1)
    address = (1, patches_per_image, num_projections, seed)
    return PatchStatistics((patches @ directions,), (moments,), address), rows


def _patches_at(level: np.ndarray, centres: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(N, count, 49) patches centred at random allowed pixels, other pixels in each image."""
    half = PATCH_SIDE // 2
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH_SIDE, PATCH_SIDE), axis=(1, 2))
    patches = np.empty((len(level), count, PATCH_SIDE**2), dtype=np.float32)
    for number, allowed in enumerate(centres):
        row, column = np.nonzero(allowed)
        drawn = rng.integers(0, len(row), count)
        patches[number] = windows[number, row[drawn] - half, column[drawn] - half].reshape(count, -1)
    return patches
