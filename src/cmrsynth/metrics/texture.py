"""Texture without any network: patches of a Laplacian pyramid, and the power spectrum.

Features of a segmentation network ignore what lies outside the heart; these figures see torn backgrounds, blur and
wrong noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

PATCH_SIDE = 7
SCALE = 1e3  # Karras et al. report 10^3 times the distance
_COARSEST = 16  # the pyramid ends at the last level that is at least this large
_BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
_PATCHES = 31  # random stream
_AT_ONCE = 2**21  # pixels
_QUIET = 1e-10  # power far below the quantisation noise of 8-bit images; keeps the log of empty radii finite


def laplacian_pyramid(images: np.ndarray) -> list[np.ndarray]:
    """Return the Laplacian pyramid of images, finest level first.

    Level l holds what is lost between scales l and l + 1; the last level is the blurred rest, of at least 16
    pixels. Borders are mirrored.

    Args:
        images: (N, H, W) float.

    Returns:
        Arrays (N, ceil(H / 2^l), ceil(W / 2^l)) float32; a constant image is 0 on all levels but the last.

    Raises:
        ValueError: the images are no 3-D array or smaller than a patch.

    Source: Burt and Adelson 1983.

    >>> [level.shape for level in laplacian_pyramid(np.ones((2, 64, 64)))]
    [(2, 64, 64), (2, 32, 32), (2, 16, 16)]
    """
    current = np.asarray(images, dtype=np.float32)
    if current.ndim != 3 or min(current.shape[1:]) < PATCH_SIDE:
        raise ValueError(
            f"images: expected (N, H, W) of at least {PATCH_SIDE} pixels, got shape {current.shape}; "
            "give single-channel images, larger than a patch"
        )
    pyramid = []
    while min(current.shape[1:]) >= 2 * _COARSEST:
        smaller = _blurred(current)[:, ::2, ::2]
        pyramid.append(current - _enlarged(smaller, current.shape))
        current = smaller
    return [*pyramid, current]


@dataclass(frozen=True)
class PatchStatistics:
    """Random patches of N images, projected onto random directions; what a sliced Wasserstein distance needs.

    Args:
        projections: per level (N, patches, directions) float32; patch values times a unit vector, not normalised.
        moments: per level (N, 2) float64: mean and mean square of the patch values of each image.
        address: levels, patches, directions and seed; only equal ones can be compared.
    """

    projections: tuple[np.ndarray, ...]
    moments: tuple[np.ndarray, ...]
    address: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.projections[0])

    def take(self, rows: np.ndarray) -> PatchStatistics:
        """Return the statistics of the given images."""
        parts = (tuple(level[rows] for level in levels) for levels in (self.projections, self.moments))
        return PatchStatistics(*parts, self.address)


def patch_statistics(
    images: np.ndarray,
    *,
    levels: int | None = None,
    patches_per_image: int = 64,
    num_projections: int = 256,
    seed: int = 0,
) -> PatchStatistics:
    """Return projected random 7 x 7 patches of every pyramid level.

    The directions depend on the seed only, so statistics of two sets with one seed can be compared.

    Args:
        images: (N, H, W) float in [0, 1].
        levels: number of pyramid levels, from the finest; None takes all.
        patches_per_image: patches drawn per image and level, with replacement.
        num_projections: random directions per level; 64 are enough for the spread of a bootstrap.
        seed: the run's seed.
    """
    pyramid = laplacian_pyramid(images)[:levels]
    projections, moments = [], []
    for number, level in enumerate(pyramid):
        rng = np.random.default_rng([seed, _PATCHES, number])
        directions = rng.normal(size=(PATCH_SIDE**2, num_projections))
        directions = (directions / np.linalg.norm(directions, axis=0)).astype(np.float32)
        patches = _random_patches(level, patches_per_image, rng)
        projections.append(patches @ directions)
        values = patches.reshape(len(level), -1).astype(np.float64)
        moments.append(np.stack([values.mean(1), (values**2).mean(1)], axis=1))
    address = (len(pyramid), patches_per_image, num_projections, seed)
    return PatchStatistics(tuple(projections), tuple(moments), address)


class SlicedWasserstein:
    """The sliced Wasserstein distance of two sets, made ready for many resamples of their images.

    The projected values of both sets are sorted once; a resample only changes how much each image weighs.

    Args:
        x: the synthetic set.
        y: the reference set, whose mean and spread normalise both: normalising each set by itself would hide blur.

    Raises:
        ValueError: the statistics were taken with other settings.
    """

    def __init__(self, x: PatchStatistics, y: PatchStatistics) -> None:
        if x.address != y.address:
            raise ValueError(
                f"patch statistics: (levels, patches, projections, seed) are {x.address} and {y.address}; "
                "take both with the same settings from images of one size"
            )
        self._sizes = len(x), len(y)
        self._moments = y.moments
        self._levels = [_sorted_union(*pair) for pair in zip(x.projections, y.projections, strict=True)]

    def distance(self, rows_x: np.ndarray | None = None, rows_y: np.ndarray | None = None) -> dict[str, float]:
        """Return the distance between the given rows (with repeats) of both sets, all rows by default.

        Returns:
            {"level_0": finest, ..., "level_k": coarsest, "mean": over levels}, times 10^3.
        """
        counts_x, counts_y = (
            np.ones(size) if rows is None else np.bincount(rows, minlength=size).astype(np.float64)
            for rows, size in zip((rows_x, rows_y), self._sizes, strict=True)
        )
        weights = np.concatenate([counts_x / counts_x.sum(), -counts_y / counts_y.sum()])
        found = {}
        for number, ((image, gaps), moments) in enumerate(zip(self._levels, self._moments, strict=True)):
            mean, square = np.average(moments, axis=0, weights=counts_y)
            spread = np.sqrt(max(square - mean**2, 0.0))
            distance = np.mean([_wasserstein(weights[i], g) for i, g in zip(image, gaps, strict=True)])
            patches = image.shape[1] / sum(self._sizes)
            found[f"level_{number}"] = float(SCALE * distance / patches / max(spread, 1e-6))
        return {**found, "mean": float(np.mean(list(found.values())))}


def sliced_wasserstein_from_statistics(
    x: PatchStatistics,
    y: PatchStatistics,
    rows_x: np.ndarray | None = None,
    rows_y: np.ndarray | None = None,
) -> dict[str, float]:
    """Return `sliced_wasserstein` from patches taken before; for many resamples use `SlicedWasserstein` once."""
    return SlicedWasserstein(x, y).distance(rows_x, rows_y)


def sliced_wasserstein(
    x: np.ndarray,
    y: np.ndarray,
    *,
    levels: int | None = None,
    patches_per_image: int = 64,
    num_projections: int = 256,
    seed: int = 0,
) -> dict[str, float]:
    """Return the sliced Wasserstein distance between the local textures of two image sets.

    Per level of a Laplacian pyramid, random 7 x 7 patches are normalised by the mean and standard deviation of the
    reference's patches on that level and projected onto random directions; the distance is the mean over directions
    of the exact Wasserstein-1 distance of the projected values, times 10^3. It is above 0 for two samples of one
    distribution, the more so the fewer patients: compare with a real-against-real floor of the same sizes.

    Args:
        x: (N, H, W) float in [0, 1], the synthetic images.
        y: (M, H, W) float in [0, 1], the reference; M may differ from N.
        levels: number of pyramid levels, from the finest; None takes all.
        patches_per_image: patches drawn per image and level.
        num_projections: random directions per level.
        seed: the run's seed.

    Returns:
        {"level_0": finest, ..., "level_k": coarsest, "mean": over levels}.

    Raises:
        ValueError: the images are no (N, H, W) arrays of one size.

    Source: Rabin et al. 2011; Karras et al. 2018, arXiv:1710.10196, section 5.
    """
    if np.shape(x)[1:] != np.shape(y)[1:]:
        raise ValueError(f"images: sizes {np.shape(x)[1:]} and {np.shape(y)[1:]} differ; build both at one size")
    options = {"levels": levels, "patches_per_image": patches_per_image, "num_projections": num_projections}
    return sliced_wasserstein_from_statistics(
        patch_statistics(x, **options, seed=seed), patch_statistics(y, **options, seed=seed)
    )


def radial_power_spectrum(images: np.ndarray) -> np.ndarray:
    """Return the power of each image per spatial frequency, averaged over directions.

    A Hann window keeps the image border from leaking into all frequencies. The scale is such that white noise of
    variance s^2 has power s^2 at every radius.

    Args:
        images: (N, H, W) float.

    Returns:
        (N, R) float64 with R = min(H, W) // 2; entry r - 1 is frequency r / min(H, W) cycles per pixel (zero
        frequency, the mean, is left out).
    """
    images = np.asarray(images)
    height, width = images.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    radius = np.rint(frequency * min(height, width)).astype(int).ravel()
    bins = min(height, width) // 2
    by_radius = np.argsort(radius, kind="stable")
    starts = np.searchsorted(radius[by_radius], np.arange(1, bins + 2))  # the last one ends the largest radius
    spectrum = np.empty((len(images), bins))
    step = max(1, _AT_ONCE // (height * width))
    for start in range(0, len(images), step):
        part = images[start : start + step].astype(np.float64)
        centred = part - (part * window).sum((1, 2), keepdims=True) / window.sum()
        power = np.abs(np.fft.fft2(centred * window)) ** 2 / (window**2).sum()
        ordered = power.reshape(len(part), -1)[:, by_radius[: starts[-1]]]
        spectrum[start : start + step] = np.add.reduceat(ordered, starts[:-1], axis=1) / np.diff(starts)
    return spectrum


def spectrum_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean over radii of the absolute log-ratio of two sets' mean power.

    0 for equal spectra; 0.69 if one set has twice the power everywhere.

    Args:
        x: (N, H, W) float images in [0, 1], or their (N, R) spectra from `radial_power_spectrum`.
        y: the same of the other set.

    >>> noise = np.random.default_rng(0).normal(size=(4, 32, 32))
    >>> spectrum_distance(2 * noise, noise)
    1.3863
    """
    spectra = [radial_power_spectrum(each) if np.ndim(each) == 3 else np.asarray(each) for each in (x, y)]
    mean_x, mean_y = (spectrum.mean(0) + _QUIET for spectrum in spectra)
    return float(np.abs(np.log(mean_x / mean_y)).mean())


def _blurred(images: np.ndarray) -> np.ndarray:
    return correlate1d(correlate1d(images, _BINOMIAL, axis=1, mode="mirror"), _BINOMIAL, axis=2, mode="mirror")


def _enlarged(images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Twice the size by zeros between pixels and the binomial filter, whose gain of 1/4 is undone."""
    spread = np.zeros(shape, dtype=np.float32)
    spread[:, ::2, ::2] = images
    return 4 * _blurred(spread)


def _random_patches(level: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(N, count, 49) patches at random places, other places in each image."""
    windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH_SIDE, PATCH_SIDE), axis=(1, 2))
    rows = rng.integers(0, windows.shape[1], (len(level), count))
    columns = rng.integers(0, windows.shape[2], (len(level), count))
    patches = windows[np.arange(len(level))[:, None], rows, columns]
    return patches.reshape(len(level), count, PATCH_SIDE**2)


def _sorted_union(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per direction: the image of each value in sorted order (D, V) int32, and the gaps between values (D, V - 1)."""
    values = np.concatenate([x, y]).reshape(-1, x.shape[2]).T  # (D, V)
    order = np.argsort(values, axis=1)
    gaps = np.diff(np.take_along_axis(values, order, axis=1), axis=1)
    return (order // x.shape[1]).astype(np.int32), gaps


def _wasserstein(weights: np.ndarray, gaps: np.ndarray) -> float:
    """Integral of |F_x - F_y| for weighted values in sorted order, weights of y negative."""
    return float(np.abs(np.cumsum(weights)[:-1]) @ gaps)
