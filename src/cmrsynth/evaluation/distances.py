"""All distances between synthetic, training and held-out images, in aligned pixels and in features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial.distance import cdist

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.audit import training_with_noise
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.metrics.aligned_pixels import aligned_pixel_distance

PIXEL_SIDE = 64  # larger images are averaged down before the search: copies are found there too, 16 times faster
PIXELS_MADE_WITH = "1 - correlation over flips, shifts up to 3 pixels, gain and offset"
PLANTED = 100  # planted images whose pixels are compared: the search is the costliest part of the evaluation


@dataclass(frozen=True)
class Distances:
    """All distances in one space (features or aligned pixels).

    Args:
        space: "features" or "pixels".
        made_with: what measured them.
        synthetic_train, synthetic_holdout, holdout_train, holdout_holdout: (n, m) matrices.
        planted_train, planted_holdout: the same for training images with noise, the failure planted in every figure.
        points: the features of "synthetic", "train", "holdout" and "planted", (n, d) each; empty for pixels.
    """

    space: str
    made_with: str
    synthetic_train: np.ndarray
    synthetic_holdout: np.ndarray
    holdout_train: np.ndarray
    holdout_holdout: np.ndarray
    planted_train: np.ndarray
    planted_holdout: np.ndarray
    points: dict[str, np.ndarray] = field(default_factory=dict)


PAIRS = (
    ("synthetic", "train"),
    ("synthetic", "holdout"),
    ("holdout", "train"),
    ("holdout", "holdout"),
    ("planted", "train"),
    ("planted", "holdout"),
)


def all_distances(train: SliceSet, holdout: SliceSet, synthetic: SliceSet, encoder: Encoder) -> list[Distances]:
    """Return the distances in aligned pixels and in encoder features."""
    images = {"synthetic": synthetic.images, "holdout": holdout.images, "train": train.images}
    images["planted"] = training_with_noise(train, len(synthetic))
    points = {name: encoder(part) for name, part in images.items()}
    features = {f"{a}_{b}": cdist(points[a], points[b]) for a, b in PAIRS}
    return [
        pixel_distances(train, holdout, synthetic),
        Distances("features", encoder.made_with, **features, points=points),
    ]


def pixel_distances(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, known: Distances | None = None
) -> Distances:
    """Return the distances in aligned pixels alone.

    Args:
        train: the real training slices.
        holdout: the held-out slices.
        synthetic: the set to judge.
        known: these distances of another set of as many images: those between real images are taken over.
    """
    small = {"synthetic": reduced(synthetic.images), "holdout": reduced(holdout.images), "train": reduced(train.images)}
    pairs = [pair for pair in PAIRS if known is None or pair[0] == "synthetic"]
    if known is None:
        small["planted"] = reduced(training_with_noise(train, len(synthetic))[:PLANTED])
    found = {f"{a}_{b}": aligned_pixel_distance(small[a], small[b]) for a, b in pairs}
    return Distances("pixels", PIXELS_MADE_WITH, **found) if known is None else replace(known, **found)


def reduced(images: np.ndarray) -> np.ndarray:
    """Return (N, H, W) images averaged down by a whole factor, so that the shorter side is at least 64 pixels."""
    factor = max(1, min(images.shape[1:]) // PIXEL_SIDE)
    height, width = (length // factor * factor for length in images.shape[1:])
    blocks = images[:, :height, :width].reshape(len(images), height // factor, factor, width // factor, factor)
    return blocks.mean((2, 4))
