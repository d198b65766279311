"""Closed contours drawn on an image, and the pixels they cover.

Convention: a coordinate (x, y) = (column, row) counts pixels, and the centre of the first pixel is (0, 0), so that
pixel (r, c) covers [c - 0.5, c + 0.5] x [r - 0.5, r + 0.5]. The Sunnybrook files do not state theirs; their
coordinates are multiples of 0.5 and the image edges do not settle an offset below half a pixel, so the common
reading is kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cmrsynth.errors import InputError

SUPERSAMPLING = 8  # sample points per pixel side


def read_contour(path: Path) -> np.ndarray:
    """Return the points of a contour file with one `x y` per line.

    Returns:
        (N, 2) float64, N >= 3, columns (x, y) in pixels.

    Raises:
        InputError: the file is missing, is not made of number pairs, or has fewer than three points.
    """
    mend = "copy the contour file again: one 'x y' pair of pixel coordinates per line"
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
        points = np.array([[float(x), float(y)] for x, y in lines])
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", mend) from error
    except ValueError as error:
        raise InputError(path, f"not a list of points ({error})", mend) from error
    if len(points) < 3 or not np.isfinite(points).all():
        raise InputError(path, f"{len(points)} points, expected at least 3 finite ones", mend)
    return points


def rasterise(points: np.ndarray, shape: tuple[int, int], where: str | Path = "contour") -> np.ndarray:
    """Return the pixels of which at least half lies inside a closed polygon.

    The covered share of each pixel is estimated on a grid of 8 x 8 points, so boundary pixels are decided by area
    and neither the contour's orientation nor a repeated last point matters.

    Args:
        points: (N, 2), (x, y) in pixels, see the convention above.
        shape: (H, W) of the image.
        where: the file, for the message.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the polygon leaves the image or covers no pixel.

    >>> rasterise(np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]]), (4, 4)).astype(int)
    array([[0, 0, 0, 0],
           [0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    from skimage.draw import polygon

    height, width = shape
    low, high = points.min(axis=0), points.max(axis=0)
    if min(low) < -0.5 or high[0] > width - 0.5 or high[1] > height - 0.5:
        raise InputError(
            where,
            f"points from (x, y) = ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) leave the image of "
            f"{width} x {height} pixels",
            "check that the contour belongs to this image",
        )
    # Only the box around the contour is sampled; its first pixel has its corner at (left - 0.5, top - 0.5).
    left, top = np.floor(low + 0.5).astype(int)
    right, bottom = np.minimum(np.floor(high + 0.5).astype(int) + 1, (width, height))
    fine = np.zeros(((bottom - top) * SUPERSAMPLING, (right - left) * SUPERSAMPLING), dtype=np.float32)
    columns = (points[:, 0] - left + 0.5) * SUPERSAMPLING - 0.5
    rows = (points[:, 1] - top + 0.5) * SUPERSAMPLING - 0.5
    fine[polygon(rows, columns, fine.shape)] = 1
    blocks = fine.reshape(bottom - top, SUPERSAMPLING, right - left, SUPERSAMPLING)
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom, left:right] = blocks.mean(axis=(1, 3)) >= 0.5
    if not mask.any():
        raise InputError(where, "the contour covers no pixel", "check that its coordinates are in pixels, not mm")
    return mask
