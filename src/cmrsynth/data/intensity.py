"""Intensity windows: each step maps a volume to float32 in [0, 1], per volume and never per slice.

One window for the whole volume keeps the brightness ratio between base and apex. No step looks at the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cmrsynth.data.study import Study
from cmrsynth.errors import InputError


def rescale(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `image` with `low` at 0 and `high` at 1, clipped; a flat image becomes 0.

    >>> rescale(np.array([0.0, 5.0, 20.0]), 0, 10).tolist()
    [0.0, 0.5, 1.0]
    """
    if high <= low:
        return np.zeros(image.shape, np.float32)
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def otsu(image: np.ndarray) -> float:
    """Return the threshold that parts an image in two classes with the least variance within them.

    Source: Otsu 1979, IEEE Trans. SMC 9(1).
    """
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(image)) if image.min() < image.max() else float(image.min())


def _each_volume(study: Study, change: Callable[[np.ndarray], np.ndarray]) -> Study:
    volumes = tuple(replace(volume, image=change(volume.image)) for volume in study.volumes)
    return replace(study, volumes=volumes)


@dataclass(frozen=True)
class MinMax:
    """The darkest voxel of a volume becomes 0, the brightest 1."""

    def __call__(self, study: Study) -> Study:
        """Return the study with images in [0, 1]."""
        return _each_volume(study, lambda image: rescale(image, float(image.min()), float(image.max())))

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"step": "min_max"}


@dataclass(frozen=True)
class PercentileClip:
    """The `lower` percentile of a volume becomes 0, the `upper` one 1; what lies outside is clipped."""

    lower: float = 1.0
    upper: float = 99.0

    def __post_init__(self) -> None:
        if not 0 <= self.lower < self.upper <= 100:
            raise InputError(
                "percentiles",
                f"{self.lower} and {self.upper} do not make a window",
                "give two numbers with 0 <= lower < upper <= 100",
            )

    def __call__(self, study: Study) -> Study:
        """Return the study with images in [0, 1]."""
        return _each_volume(
            study, lambda image: rescale(image, *map(float, np.percentile(image, [self.lower, self.upper])))
        )

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"step": "percentile_clip", "lower": self.lower, "upper": self.upper}


@dataclass(frozen=True)
class ForegroundZScore:
    """Zero mean and unit deviation over the foreground, then [-clip, clip] mapped linearly to [0, 1].

    Foreground is what lies above Otsu's threshold of the volume, not what the mask says: at test time there is
    no mask.
    """

    clip: float = 5.0

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise InputError("z-score clip", f"{self.clip} is not positive", "give a number such as 5")

    def __call__(self, study: Study) -> Study:
        """Return the study with images in [0, 1]; the foreground mean becomes 0.5."""
        return _each_volume(study, self._scale)

    def _scale(self, image: np.ndarray) -> np.ndarray:
        foreground = image[image > otsu(image)]
        if foreground.size == 0 or foreground.std() == 0:
            return np.full(image.shape, 0.5, np.float32)
        mean, deviation = float(foreground.mean()), float(foreground.std())
        return rescale(image, mean - self.clip * deviation, mean + self.clip * deviation)

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"step": "foreground_z_score", "clip": self.clip}
