"""The Frechet Radiomics Distance: image sets compared by hand-made texture features instead of a network's.

The features come from a radiomics package, pyradiomics where it is installed, otherwise fastrad. Distances of
different packages, classes or columns cannot be compared, so the names of all columns travel with the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

from .frechet import frechet_distance

BIN_WIDTH = 5.0  # of images with mean 0 and standard deviation 100
SPREAD = 100.0
SMALLEST_REGION = 16  # pixels
PYRADIOMICS_CLASSES = ("firstorder", "glcm", "glrlm", "glszm", "ngtdm")
# without runs: fastrad 1.0 counts those of one slice along all 13 directions of a volume, pyradiomics along its 4
FASTRAD_CLASSES = ("firstorder", "glcm", "glszm", "ngtdm")
_MODULES = {"pyradiomics": "radiomics", "fastrad": "fastrad"}

Extract = Callable[[np.ndarray, np.ndarray], dict[str, float]]  # an image and its region to named values


@dataclass(frozen=True)
class RadiomicFeatures:
    """Features of a set of images.

    Args:
        values: (N, D) float64; NaN where a feature is not defined for an image.
        names: of the D columns, such as "glcm_contrast".
        backend: package and version.
    """

    values: np.ndarray
    names: tuple[str, ...]
    backend: str


@dataclass(frozen=True)
class FrechetRadiomics:
    """A Frechet Radiomics Distance with what is needed to read it.

    Args:
        squared: the squared Frechet distance of the standardised features.
        log: its natural logarithm, as published; None where the distance is 0 and has none.
        squared_lw: the same with Ledoit-Wolf covariances, for fewer than several times D images (`frd_lw`).
        columns: the features that were compared.
        dropped: features that hardly vary in the reference, or are not finite, and were left out.
    """

    squared: float
    log: float | None
    squared_lw: float
    columns: tuple[str, ...]
    dropped: tuple[str, ...]


def available_backend() -> str | None:
    """Return "pyradiomics" or "fastrad", the first that is installed; None where neither is."""
    return next((name for name, module in _MODULES.items() if find_spec(module) is not None), None)


def radiomic_features(
    images: np.ndarray, *, roi: np.ndarray | None = None, backend: str | None = None
) -> RadiomicFeatures:
    """Return first-order and texture features of each image.

    Each image is first given mean 0 and standard deviation 100; grey levels are then bins of 5. Textures are those
    of one slice at a distance of one pixel, so the sets must share one pixel spacing. The published distance adds
    wavelet and Laplacian images and resamples to 2 mm; this one does not, and its values are its own.

    Args:
        images: (N, H, W) float, not constant.
        roi: (N, H, W) bool, at least 16 pixels each; None takes the whole image (less a corner pixel, because
            pyradiomics refuses a mask without background).
        backend: "pyradiomics" or "fastrad"; None takes the first that is installed.

    Raises:
        ValueError: images or regions are unusable.
        ImportError: no radiomics package is installed.

    Source: Konz, Osuala et al. 2026, arXiv:2412.01496; van Griethuysen et al. 2017, doi:10.1158/0008-5472.CAN-17-0339.
    """
    backend = backend or available_backend()
    if backend is None:
        raise ImportError("radiomics: no package for its features is installed; install the extra cmrsynth[radiomics]")
    if backend not in _MODULES:
        raise ValueError(f"backend: expected one of {sorted(_MODULES)}, got {backend!r}")
    images, roi = _checked(images, roi)
    extract = {"pyradiomics": _pyradiomics, "fastrad": _fastrad}[backend]()
    found = [extract(image, region) for image, region in zip(_standardised(images), roi, strict=True)]
    names = tuple(sorted(set.intersection(*(set(each) for each in found))))
    values = np.array([[each[name] for name in names] for each in found], dtype=np.float64)
    return RadiomicFeatures(values, names, f"{backend} {version(backend)}")


@dataclass(frozen=True)
class ReferenceScale:
    """Standardisation by the reference alone; fit it once, and apply it to every set that is compared.

    Args:
        mean, deviation: (d,) of the columns that vary in the reference.
        columns: their names.
        dropped: the other names.
    """

    mean: np.ndarray
    deviation: np.ndarray
    columns: tuple[str, ...]
    dropped: tuple[str, ...]

    @classmethod
    def of(cls, reference: RadiomicFeatures) -> ReferenceScale:
        """Return the scale of a reference set.

        A column is left out where it is not finite, where a quarter to three quarters of the reference share one
        value, or where its deviation is a millionth of its mean: dividing by such a deviation would turn any change
        into an enormous distance.

        Raises:
            ValueError: no column is left.
        """
        values = reference.values[np.isfinite(reference.values).all(1)]
        if len(values) < 2:
            raise ValueError("reference: fewer than two images have finite features; give more images")
        low, high = np.quantile(values, [0.25, 0.75], axis=0)
        mean, deviation = values.mean(0), values.std(0, ddof=1)
        varies = (high > low) & (deviation > 1e-6 * np.abs(mean))
        if not varies.any():
            raise ValueError("reference: no feature varies; give different images")
        names = np.array(reference.names)
        return cls(mean[varies], deviation[varies], tuple(names[varies].tolist()), tuple(names[~varies].tolist()))

    def apply(self, features: RadiomicFeatures) -> np.ndarray:
        """Return (N, d) standardised values; rows of images without a finite value in each column are NaN.

        Raises:
            ValueError: the features lack a column of the reference.
        """
        place = {name: number for number, name in enumerate(features.names)}
        missing = [name for name in self.columns if name not in place]
        if missing:
            raise ValueError(f"features: columns {missing[:3]} are missing; use one backend for all sets")
        scaled = (features.values[:, [place[name] for name in self.columns]] - self.mean) / self.deviation
        scaled[~np.isfinite(scaled).all(1)] = np.nan
        return scaled


def frechet_radiomics(features: RadiomicFeatures, reference: RadiomicFeatures) -> FrechetRadiomics:
    """Return the Frechet Radiomics Distance between a set and its reference.

    It is not symmetric, because the reference alone standardises both. The bias of few images is that of
    `frechet_distance`, about D (D + 5) / (2 n): with fewer than several times D images read `squared_lw` beside a
    floor of the same size.

    Args:
        features: of the set to judge.
        reference: of real images.

    Raises:
        ValueError: a set has fewer than two usable images, or other columns.

    Source: Konz, Osuala et al. 2026, arXiv:2412.01496.
    """
    scale = ReferenceScale.of(reference)
    x, y = (rows[np.isfinite(rows).all(1)] for rows in (scale.apply(features), scale.apply(reference)))
    squared = frechet_distance(x, y)
    return FrechetRadiomics(squared, log_of(squared), frechet_distance_lw(x, y), scale.columns, scale.dropped)


def log_of(squared: float) -> float | None:
    """Return the logarithm of a squared distance; None where rounding is all there is.

    >>> round(log_of(2.0), 4), log_of(0.0)
    (0.6931, None)
    """
    return float(np.log(squared)) if squared > 1e-9 else None


def frechet_distance_lw(x: np.ndarray, y: np.ndarray) -> float:
    """Return the squared Frechet distance with covariances shrunk towards a multiple of the identity.

    Needed where there are fewer than several times d images. The shrinkage of each set is chosen from the set, so
    it is not the distance of `frechet_distance` and must not be called FID.

    Args:
        x: (n, d) float, n >= 2.
        y: (m, d) float, m >= 2.

    Source: Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.
    """
    from sklearn.covariance import ledoit_wolf

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"features: expected two sets (n, d) with n >= 2 and one d, got shapes {x.shape} and {y.shape}; "
            "give at least two usable images a set"
        )
    (first, second), shift = (ledoit_wolf(each)[0] for each in (x, y)), x.mean(0) - y.mean(0)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    root_trace = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    return max(0.0, float(shift @ shift + np.trace(first) + np.trace(second) - 2 * root_trace))


def _standardised(images: np.ndarray) -> Iterator[np.ndarray]:
    for image in images:
        yield SPREAD * (image - image.mean()) / image.std()


def _checked(images: np.ndarray, roi: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 3 or len(images) == 0 or not np.isfinite(images).all() or images.std((1, 2)).min() < 1e-8:
        raise ValueError(
            f"images: expected finite (N, H, W) images that are not constant, got shape {images.shape}; "
            "leave empty slices out"
        )
    if roi is None:
        roi = np.ones(images.shape, dtype=bool)
        roi[:, 0, 0] = False
    roi = np.asarray(roi, dtype=bool)
    if roi.shape != images.shape or roi.sum((1, 2)).min() < SMALLEST_REGION:
        raise ValueError(
            f"roi: expected shape {images.shape} with at least {SMALLEST_REGION} pixels in each region, got "
            f"{roi.shape}; leave slices out whose region is smaller"
        )
    return images, roi


def _pyradiomics() -> Extract:
    import logging

    import SimpleITK
    from radiomics import featureextractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    extractor = featureextractor.RadiomicsFeatureExtractor(
        binWidth=BIN_WIDTH, force2D=True, force2Ddimension=0, label=1
    )
    extractor.disableAllFeatures()
    for name in PYRADIOMICS_CLASSES:
        extractor.enableFeatureClassByName(name)

    def extract(image: np.ndarray, region: np.ndarray) -> dict[str, float]:
        pair = SimpleITK.GetImageFromArray(image[None]), SimpleITK.GetImageFromArray(region[None].astype(np.uint8))
        found = extractor.execute(*pair)
        values = {k.removeprefix("original_"): float(v) for k, v in found.items() if k.startswith("original_")}
        return {_name(key): value for key, value in values.items()}

    return extract


def _fastrad() -> Extract:
    import torch
    from fastrad import FeatureExtractor, FeatureSettings, Mask, MedicalImage

    extractor = FeatureExtractor(
        FeatureSettings(feature_classes=list(FASTRAD_CLASSES), bin_width=BIN_WIDTH, device="cpu", force2D=True)
    )

    def extract(image: np.ndarray, region: np.ndarray) -> dict[str, float]:
        pair = MedicalImage(torch.from_numpy(image[None])), Mask(torch.from_numpy(region[None].astype(np.float32)))
        found = {_name(key): float(value) for key, value in extractor.extract(*pair).items()}
        found.pop("firstorder_standarddeviation", None)  # the root of another column, which pyradiomics leaves out
        return found

    return extract


def _name(key: str) -> str:
    """One spelling for both packages.

    >>> _name("glcm_JointAverage"), _name("glcm:joint_average"), _name("firstorder_10th_percentile")
    ('glcm_jointaverage', 'glcm_jointaverage', 'firstorder_10percentile')
    """
    family, _, rest = key.replace(":", "_").partition("_")
    return f"{family}_{rest.replace('_', '').lower().replace('0thpercentile', '0percentile')}"
