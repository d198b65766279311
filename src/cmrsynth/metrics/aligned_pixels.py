"""The pixel distance between two images, whatever flip, small shift, gain and offset lies between them."""

from __future__ import annotations

import numpy as np

_ROWS = 256  # reference images aligned at a time


def aligned_pixel_distance(
    query: np.ndarray, reference: np.ndarray, *, max_shift: int = 3, flips: bool = True
) -> np.ndarray:
    """Return (n, m) the pixel distance that a flip, a small shift, gain and offset cannot raise.

    It is 1 - NCC, with the largest normalised cross-correlation over the four flips and all shifts of up to
    `max_shift` pixels. The query's centre (a margin of `max_shift` cut off) is compared with equally large windows
    of the reference, each with its own mean and norm, so no pixel from beyond the border enters.

    Args:
        query: (n, H, W) float.
        reference: (m, H, W) float.
        max_shift: largest shift in pixels in each direction.
        flips: also try the horizontal, the vertical and both flips.

    Returns:
        (n, m) float32 in [0, 2]; 0 is a copy up to flip, shift, gain > 0 and offset; 1 where a window is constant.

    Raises:
        ValueError: image sizes differ, or the images are no larger than the margin.
    """
    query, reference = np.asarray(query, dtype=np.float32), np.asarray(reference, dtype=np.float32)
    if query.shape[1:] != reference.shape[1:] or min(query.shape[1:]) < 2 * max_shift + 2:
        raise ValueError(
            f"images: shapes {query.shape} and {reference.shape} cannot be aligned within {max_shift} pixels; "
            "give both sets at one size, larger than twice the shift"
        )
    height, width = (side - 2 * max_shift for side in query.shape[1:])
    centre = query[:, max_shift : max_shift + height, max_shift : max_shift + width]
    turned = [centre, centre[:, ::-1], centre[:, :, ::-1], centre[:, ::-1, ::-1]] if flips else [centre]
    templates = [_standardised(view) for view in turned]
    best = np.full((len(query), len(reference)), -1, dtype=np.float32)
    for start in range(0, len(reference), _ROWS):
        columns = slice(start, start + _ROWS)
        for down in range(2 * max_shift + 1):
            for right in range(2 * max_shift + 1):
                windows = _standardised(reference[columns, down : down + height, right : right + width])
                for template in templates:
                    np.maximum(best[:, columns], template @ windows.T, out=best[:, columns])
    return np.clip(1 - best, 0, 2)


def _standardised(windows: np.ndarray) -> np.ndarray:
    """(n, h, w) to (n, h * w) of mean 0 and norm 1; a constant window becomes 0, whose correlation is 0."""
    flat = windows.reshape(len(windows), -1)
    flat = flat - flat.mean(1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(norm > 1e-6, flat / np.maximum(norm, 1e-6), 0).astype(np.float32)
