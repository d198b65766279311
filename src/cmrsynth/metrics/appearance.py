"""How a slice looks, in two dozen numbers that need no weights: brightness, contrast, edges, noise, spectrum."""

from __future__ import annotations

import numpy as np

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
BANDS = 8  # rings of spatial frequency, up to the highest along an axis
CHUNK = 256


def appearance(images: np.ndarray) -> np.ndarray:
    """Return simple statistics of brightness and texture.

    Args:
        images: (N, H, W) float in [0, 1], at least 8 pixels a side.

    Returns:
        (N, 19) float64: seven quantiles of the intensity; mean absolute gradient along rows and along columns; the
        standard deviation, and the median absolute value, of the Laplacian (edges, and noise); log10 of the mean
        power in eight rings of spatial frequency.

    Raises:
        ValueError: the images are not (N, H, W) or too small.

    >>> appearance(np.zeros((2, 16, 16))).shape
    (2, 19)
    """
    images = np.asarray(images)
    if images.ndim != 3 or min(images.shape[1:]) < 8:
        raise ValueError(f"images (N, H, W) of at least 8 x 8 pixels are needed, got {images.shape}")
    parts = [_statistics(images[start : start + CHUNK].astype(np.float64)) for start in range(0, len(images), CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, len(QUANTILES) + 4 + BANDS))


def _statistics(images: np.ndarray) -> np.ndarray:
    flat = images.reshape(len(images), -1)
    around = images[:, 2:, 1:-1] + images[:, :-2, 1:-1] + images[:, 1:-1, 2:] + images[:, 1:-1, :-2]
    edges = (around - 4 * images[:, 1:-1, 1:-1]).reshape(len(images), -1)
    return np.column_stack(
        [
            np.quantile(flat, QUANTILES, axis=1).T,
            np.abs(np.diff(images, axis=1)).mean((1, 2)),
            np.abs(np.diff(images, axis=2)).mean((1, 2)),
            edges.std(1),
            np.median(np.abs(edges), 1),
            _band_power(images),
        ]
    )


def _band_power(images: np.ndarray) -> np.ndarray:
    """(N, BANDS) log10 of the mean power per ring; a Hann window keeps the image's rim out of the high bands."""
    height, width = images.shape[1:]
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.fft2((images - images.mean((1, 2), keepdims=True)) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    ring = np.minimum((frequency / 0.5 * BANDS).astype(int), BANDS)  # the corners, beyond 0.5, are left out
    means = np.stack([power[:, ring == band].mean(1) for band in range(BANDS)], 1)
    return np.log10(means + 1e-6)
