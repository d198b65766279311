"""Finding the heart, so that slices can be cut around it without looking at the mask that is to be tested.

A localiser is anything with `centre(study) -> (row, column)` in pixels and `describe() -> dict`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cmrsynth.data.geometry import check_size, crop_study
from cmrsynth.data.study import Study
from cmrsynth.errors import InputError


class Localiser(Protocol):
    """What `CropAroundHeart` asks for."""

    def centre(self, study: Study) -> tuple[float, float]:
        """Return the heart's centre as (row, column) in pixels."""

    def describe(self) -> dict:
        """Return what is recorded in the card."""


@dataclass(frozen=True)
class ImageCentre:
    """The middle of the image: right where the technician centred the field of view on the heart."""

    def centre(self, study: Study) -> tuple[float, float]:
        """Return the middle of the slice."""
        height, width = study.volumes[0].image.shape[-2:]
        return (height - 1) / 2, (width - 1) / 2

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"localiser": "centre"}


@dataclass(frozen=True)
class MaskOracle:
    """The centroid of the mask. Only for experiments: it uses the masks a test is meant to predict."""

    def centre(self, study: Study) -> tuple[float, float]:
        """Return the centroid of all labelled pixels.

        Raises:
            InputError: the masks are empty.
        """
        total = sum((volume.mask > 0).sum(axis=0) for volume in study.volumes)
        if not total.any():
            raise InputError(study.origin, "the masks are empty", "use another localiser than mask-oracle")
        return tuple(float(c) for c in _centroid(total))

    def describe(self) -> dict:
        """Return what is recorded in the card, with the warning that makes the oracle visible."""
        return {
            "localiser": "mask-oracle",
            "warning": "oracle crop: uses the test masks; not valid for evaluation",
        }


@dataclass(frozen=True)
class TemporalVariance:
    """The centre of what moves: of everything in the slice, the heart changes most over the cycle.

    The deviation over time (of the cine, or over the frames where there is no cine) is smoothed, weighted
    towards the image centre, averaged over slices, and cut at a share of its maximum; the centre is the
    weighted centroid of the blob that holds the most motion. The mask is never read.

    The defaults were chosen on the 45 Sunnybrook patients (two frames each) and 24 phantoms: all LV masks lie
    fully inside a 128 mm crop. A high share finds only the part that moves most, often the RV free wall.

    Args:
        smoothing_mm: deviation of the Gaussian that joins the moving edges into one blob.
        prior_mm: deviation of the Gaussian weight around the image centre.
        share: the blob is what exceeds this share of the maximum.
    """

    smoothing_mm: float = 10.0
    prior_mm: float = 40.0
    share: float = 0.2

    def centre(self, study: Study) -> tuple[float, float]:
        """Return the centre of motion.

        Raises:
            InputError: there is neither a cine nor a second frame, or nothing moves.
        """
        from scipy.ndimage import gaussian_filter, label

        motion = motion_map(study)
        spacing = np.asarray(study.pixel_spacing)
        motion = gaussian_filter(motion, tuple(self.smoothing_mm / spacing), mode="constant")
        grid = np.indices(motion.shape).astype(np.float64)
        middle = (np.asarray(motion.shape) - 1) / 2
        offset_mm = (grid - middle[:, None, None]) * spacing[:, None, None]
        motion = motion * np.exp(-(offset_mm**2).sum(axis=0) / (2 * self.prior_mm**2))
        if not motion.max() > 0:
            raise InputError(study.origin, "nothing moves between its frames", "use --localiser centre")
        blobs, count = label(motion > self.share * motion.max())
        weights = [motion[blobs == number].sum() for number in range(1, count + 1)]
        strongest = blobs == 1 + int(np.argmax(weights))
        return tuple(float(c) for c in _centroid(np.where(strongest, motion, 0)))

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {
            "localiser": "temporal-variance",
            "smoothing_mm": self.smoothing_mm,
            "prior_mm": self.prior_mm,
            "share": self.share,
        }


@dataclass(frozen=True)
class MotionElseCentre:
    """Temporal variance where a study shows motion (a cine, or two frames of a slice), the image centre else."""

    motion: TemporalVariance = TemporalVariance()

    def centre(self, study: Study) -> tuple[float, float]:
        """Return the centre of motion or of the image."""
        return (self.motion if shows_motion(study) else ImageCentre()).centre(study)

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {**self.motion.describe(), "localiser": "auto (temporal-variance, else centre)"}


def shows_motion(study: Study) -> bool:
    """Return whether the study has a cine, or a slice seen in two frames."""
    if study.cine is not None and len(study.cine) > 1:
        return True
    indices = [set(np.asarray(volume.slice_indices).tolist()) for volume in study.volumes]
    return any(a & b for i, a in enumerate(indices) for b in indices[i + 1 :])


def motion_map(study: Study) -> np.ndarray:
    """Return (H, W) float64, the deviation over time averaged over slices, each slice scaled to its own range.

    Scaling per slice keeps one bright slice, or a source exported slice by slice, from deciding alone.

    Raises:
        InputError: there is neither a cine nor a slice with two frames.
    """
    if not shows_motion(study):
        raise InputError(
            study.origin,
            "one frame only, so nothing shows what moves",
            "use --localiser auto, centre or network",
        )
    if study.cine is not None and len(study.cine) > 1:
        stacks = list(np.moveaxis(study.cine, 1, 0))
    else:
        frames: dict[int, list[np.ndarray]] = {}
        for volume in study.volumes:
            for index, image in zip(np.asarray(volume.slice_indices).tolist(), volume.image, strict=True):
                frames.setdefault(index, []).append(image)
        stacks = [np.stack(images) for images in frames.values() if len(images) > 1]
    return np.mean([_deviation(stack) for stack in stacks], axis=0)


def _deviation(stack: np.ndarray) -> np.ndarray:
    """Return (H, W), the deviation over time of (T, H, W), after taking out each frame's own brightness."""
    stack = stack.astype(np.float64)
    scale = np.percentile(stack, 99, axis=(1, 2), keepdims=True)
    return (stack / np.where(scale > 0, scale, 1)).std(axis=0)


def _centroid(weight: np.ndarray) -> np.ndarray:
    grid = np.indices(weight.shape)
    return (grid * weight).sum(axis=(1, 2)) / weight.sum()


@dataclass(frozen=True)
class CropAroundHeart:
    """Cut all slices of a study to `size` x `size` pixels around the one centre that `localiser` finds."""

    size: int
    localiser: Localiser

    def __post_init__(self) -> None:
        check_size(self.size)

    def __call__(self, study: Study) -> Study:
        """Return the study cut around the heart."""
        return crop_study(study, self.size, self.localiser.centre(study))

    def describe(self) -> dict:
        """Return what is recorded in the card."""
        return {"step": "crop_around_heart", "size": self.size, **self.localiser.describe()}
