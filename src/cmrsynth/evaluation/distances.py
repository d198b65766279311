"""All distances between synthetic, training and held-out images, in aligned pixels and in features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.metrics.aligned_pixels import aligned_pixel_distance

PIXEL_SIDE = 64  # larger images are averaged down before the search: copies are found there too, 16 times faster


@dataclass(frozen=True)
class Distances:
    """All distances in one space (features or aligned pixels).

    Args:
        space: "features" or "pixels".
        made_with: what measured them.
        synthetic_train, synthetic_holdout, holdout_train, holdout_holdout: (n, m) matrices.
    """

    space: str
    made_with: str
    synthetic_train: np.ndarray
    synthetic_holdout: np.ndarray
    holdout_train: np.ndarray
    holdout_holdout: np.ndarray


def all_distances(train: SliceSet, holdout: SliceSet, synthetic: SliceSet, encoder: Encoder) -> list[Distances]:
    """Return the distances in aligned pixels and in encoder features."""
    sets = {"synthetic": synthetic, "holdout": holdout, "train": train}
    pairs = (("synthetic", "train"), ("synthetic", "holdout"), ("holdout", "train"), ("holdout", "holdout"))
    small = {name: _at_most(part.images, PIXEL_SIDE) for name, part in sets.items()}
    features = {name: encoder(part.images) for name, part in sets.items()}
    pixels = [aligned_pixel_distance(small[a], small[b]) for a, b in pairs]
    return [
        Distances("pixels", "1 - correlation over flips, shifts up to 3 pixels, gain and offset", *pixels),
        Distances("features", encoder.made_with, *[cdist(features[a], features[b]) for a, b in pairs]),
    ]


def _at_most(images: np.ndarray, side: int) -> np.ndarray:
    factor = max(1, min(images.shape[1:]) // side)
    height, width = (length // factor * factor for length in images.shape[1:])
    blocks = images[:, :height, :width].reshape(len(images), height // factor, factor, width // factor, factor)
    return blocks.mean((2, 4))
