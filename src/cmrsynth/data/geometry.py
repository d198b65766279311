"""Resampling, cropping and padding in the slice plane; an image is never stretched.

Pixel (i, j) is a square around its centre. Resampling keeps the centre of the field of view where it is, so a
point at distance d mm from the centre stays at d mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cmrsynth.data.study import Study, Volume
from cmrsynth.errors import InputError
from cmrsynth.labels import NUM_LABELS

MAX_SIDE = 4096  # a resampled slice larger than this means a wrong spacing in the header


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(x), 0, None)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2 (Keys 1981, IEEE TASSP 29(6), eq. 15)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_KERNELS = {"linear": _triangle, "cubic": _cubic}


def resampling_matrix(length: int, ratio: float, *, kernel: str = "linear") -> np.ndarray:
    """Return the matrix that resamples a line of pixels.

    When shrinking, the kernel is widened by `ratio`, which is what keeps fine texture from aliasing.

    Args:
        length: number of pixels now.
        ratio: new pixel size divided by the old one.
        kernel: "linear" or "cubic".

    Returns:
        (round(length / ratio), length) float64; rows sum to one.

    >>> resampling_matrix(4, 2.0).round(2).tolist()
    [[0.43, 0.43, 0.14, 0.0], [0.0, 0.14, 0.43, 0.43]]
    """
    new_length = max(1, int(np.floor(length / ratio + 0.5)))
    centres = (np.arange(new_length) - (new_length - 1) / 2) * ratio + (length - 1) / 2
    widen = max(1.0, ratio)
    weights = _KERNELS[kernel]((np.arange(length)[None, :] - centres[:, None]) / widen)
    # Rows that reach past the border are renormalised: the border is not darkened.
    return weights / weights.sum(axis=1, keepdims=True)


def resample_images(images: np.ndarray, ratios: tuple[float, float], *, kernel: str = "cubic") -> np.ndarray:
    """Return images on a grid whose pixels are `ratios` (row, column) times as large.

    Args:
        images: (..., H, W), float.
        ratios: new spacing / old spacing for rows and columns.
        kernel: "linear" or "cubic".

    Returns:
        (..., H', W') float32.
    """
    rows = resampling_matrix(images.shape[-2], ratios[0], kernel=kernel).astype(np.float32)
    columns = resampling_matrix(images.shape[-1], ratios[1], kernel=kernel).astype(np.float32)
    return (rows @ images.astype(np.float32)) @ columns.T


def resample_labels(masks: np.ndarray, ratios: tuple[float, float]) -> np.ndarray:
    """Return label maps on the new grid: each label is resampled linearly, the strongest one wins.

    Args:
        masks: (..., H, W) uint8 in the label map of `cmrsynth.labels`.
        ratios: new spacing / old spacing for rows and columns.

    Returns:
        (..., H', W') uint8.
    """
    shares = [resample_images(masks == label, ratios, kernel="linear") for label in range(NUM_LABELS)]
    return np.argmax(np.stack(shares), axis=0).astype(np.uint8)


def window(array: np.ndarray, size: int, start: tuple[int, int], fill: float) -> np.ndarray:
    """Return the `size` x `size` window of (..., H, W) that begins at `start`; outside the array it is `fill`.

    >>> window(np.arange(4).reshape(2, 2), 3, (-1, 0), 9).tolist()
    [[9, 9, 9], [0, 1, 9], [2, 3, 9]]
    """
    out = np.full((*array.shape[:-2], size, size), fill, array.dtype)
    inside, within = [], []
    for begin, length in zip(start, array.shape[-2:], strict=True):
        low, high = max(begin, 0), min(begin + size, length)
        if low >= high:
            return out
        inside.append(slice(low, high))
        within.append(slice(low - begin, high - begin))
    out[..., within[0], within[1]] = array[..., inside[0], inside[1]]
    return out


def window_start(centre: float, size: int, length: int) -> int:
    """Return where a window of `size` around `centre` begins on a line of `length` pixels.

    A line at least as long as the window is never left (the window is shifted instead of padded); a shorter
    line is put in the middle.

    >>> window_start(1.0, 4, 10), window_start(5.5, 4, 10), window_start(3.0, 10, 4)
    (0, 4, -3)
    """
    # Halves are rounded down in both cases, so that padding and then cropping is the identity.
    if length <= size:
        return -((size - length) // 2)
    return int(np.clip(np.ceil(centre - (size - 1) / 2 - 0.5), 0, length - size))


def crop_study(study: Study, size: int, centre: tuple[float, float]) -> Study:
    """Return `study` cut to a `size` x `size` window around `centre` (row, column) in pixels, padded if smaller.

    Images are padded with the minimum of their volume, masks with background. The cine goes through the same
    window.
    """

    def cut(volume: Volume) -> Volume:
        start = tuple(window_start(c, size, n) for c, n in zip(centre, volume.image.shape[-2:], strict=True))
        return replace(
            volume,
            image=window(volume.image, size, start, float(volume.image.min())),
            mask=window(volume.mask, size, start, 0),
        )

    cine = study.cine
    if cine is not None:
        start = tuple(window_start(c, size, n) for c, n in zip(centre, cine.shape[-2:], strict=True))
        cine = window(cine, size, start, float(cine.min()))
    return replace(study, volumes=tuple(cut(v) for v in study.volumes), cine=cine)


@dataclass(frozen=True)
class ResampleInPlane:
    """Resample slices to square pixels of `spacing_mm`; the distance between slices is left alone.

    Args:
        spacing_mm: side of a pixel in mm.
        kernel: "cubic" or "linear" for images; masks are always resampled linearly, label by label.
    """

    spacing_mm: float
    kernel: str = "cubic"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.spacing_mm) and self.spacing_mm > 0):
            raise InputError("spacing", f"{self.spacing_mm} mm is no pixel size", "give a positive number of mm")
        if self.kernel not in _KERNELS:
            raise InputError("kernel", f"unknown kernel {self.kernel!r}", f"use one of {sorted(_KERNELS)}")

    def __call__(self, study: Study) -> Study:
        """Return the study on the new grid."""
        ratios = (self.spacing_mm / study.pixel_spacing[0], self.spacing_mm / study.pixel_spacing[1])
        height, width = study.volumes[0].image.shape[-2:]
        if max(height / ratios[0], width / ratios[1]) > MAX_SIDE or min(height / ratios[0], width / ratios[1]) < 1:
            raise InputError(
                study.origin,
                f"{height} x {width} pixels of {study.pixel_spacing} mm cannot be resampled to {self.spacing_mm} mm",
                "check the pixel spacing in the header",
            )
        volumes = tuple(
            replace(
                volume,
                image=resample_images(volume.image, ratios, kernel=self.kernel),
                mask=resample_labels(volume.mask, ratios),
            )
            for volume in study.volumes
        )
        cine = None if study.cine is None else resample_images(study.cine, ratios, kernel=self.kernel)
        return replace(study, volumes=volumes, cine=cine, pixel_spacing=(self.spacing_mm, self.spacing_mm))

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"step": "resample_in_plane", "spacing_mm": self.spacing_mm, "kernel": self.kernel}


@dataclass(frozen=True)
class PadOrCrop:
    """Bring slices to `size` x `size` pixels around the image centre, by cutting and padding only."""

    size: int

    def __post_init__(self) -> None:
        check_size(self.size)

    def __call__(self, study: Study) -> Study:
        """Return the study with square slices."""
        height, width = study.volumes[0].image.shape[-2:]
        return crop_study(study, self.size, ((height - 1) / 2, (width - 1) / 2))

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"step": "pad_or_crop", "size": self.size}


def check_size(size: int) -> None:
    """Refuse a slice size that is not a positive number of pixels.

    Raises:
        InputError: it is not.
    """
    if not 1 <= size <= MAX_SIDE:
        raise InputError("size", f"{size} pixels is no slice size", f"give a number from 1 to {MAX_SIDE}")
