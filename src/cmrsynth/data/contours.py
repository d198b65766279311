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
    """Return the pixels most covered by a closed polygon, as many as its area.

    Pixels are taken by falling coverage until the mask has the area of the polygon to within half a pixel, which
    cuts at a coverage near one half. Cutting at exactly one half keeps or drops whole rows of half-covered pixels,
    which are common because contours are drawn on whole coordinates: a Sunnybrook cavity would grow by 1 to 2 %.
    Of equally covered pixels those where row + column is even go first, so that a straight edge is not shifted.

    Args:
        points: (N, 2), (x, y) in pixels, see the convention above. Orientation does not matter.
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
    height, width = shape
    low, high = points.min(axis=0), points.max(axis=0)
    if min(low) < -0.5 or high[0] > width - 0.5 or high[1] > height - 0.5:
        raise InputError(
            where,
            f"points from (x, y) = ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) leave the image of "
            f"{width} x {height} pixels",
            "check that the contour belongs to this image",
        )
    share = coverage(points, shape).ravel()
    area = round(share.sum())
    if area < 1:
        raise InputError(where, "the contour covers no pixel", "check that its coordinates are in pixels, not mm")
    touched = np.flatnonzero(share)
    odd = (touched // width + touched % width) % 2
    scattered = touched * 0.6180339887498949 % 1  # a fixed order that favours no side
    order = np.lexsort((scattered, odd, -share[touched].round(6)))
    mask = np.zeros(height * width, dtype=bool)
    mask[touched[order[:area]]] = True
    return mask.reshape(shape)


def coverage(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the exact share of each pixel that lies inside a closed polygon.

    Every edge is cut where it crosses pixel borders. A piece inside one pixel adds the signed area to its right: a
    trapezium in its own pixel and a full-width strip in every pixel further right. Summed over the closed polygon
    this is the area inside.

    Args:
        points: (N, 2), (x, y) in pixels, inside the image.
        shape: (H, W).

    Returns:
        (H, W) float64 in [0, 1].

    >>> coverage(np.array([[0.0, 0.0], [1.5, 0.0], [1.5, 1.0], [0.0, 1.0]]), (2, 2))
    array([[0.25, 0.5 ],
           [0.25, 0.5 ]])
    """
    corners = points + 0.5  # now pixel (r, c) covers [c, c + 1] x [r, r + 1]
    own = np.zeros((shape[0] + 1, shape[1] + 1))  # one more for pieces on the far border of the image
    strip = np.zeros_like(own)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        path = _cut_at_pixel_borders(start, end)
        middle = (path[1:] + path[:-1]) / 2
        columns, rows = np.floor(middle).astype(int).T
        rise = np.diff(path[:, 1])
        np.add.at(own, (rows, columns), rise * (columns + 1 - middle[:, 0]))
        np.add.at(strip, (rows, columns), rise)
    share = own + np.cumsum(strip, axis=1) - strip
    return np.abs(share[:-1, :-1]).clip(0, 1)


def _cut_at_pixel_borders(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the points along a straight edge where it enters another pixel, with both ends, in order."""
    cuts = [np.array([0.0, 1.0])]
    for a, b in zip(start, end, strict=True):
        borders = np.arange(np.ceil(min(a, b)), np.floor(max(a, b)) + 1)
        if a != b:
            cuts.append((borders - a) / (b - a))
    t = np.unique(np.concatenate(cuts).clip(0, 1))[:, None]
    return start + t * (end - start)
