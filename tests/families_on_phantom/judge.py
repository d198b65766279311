"""What the images of a family are judged by: a segmenter and an encoder that know the training patients."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmrsynth.conditions import known_conditions
from cmrsynth.data.loading import SliceSet, load_slices
from cmrsynth.evaluation.encoder import Encoder, cardiac_encoder
from cmrsynth.evaluation.segmenter import Segmenter, train_segmenter
from cmrsynth.labels import one_hot
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.overlap import dice

IMAGES = 96  # the Frechet distance shrinks with the number: sample and floor must have the same


@dataclass
class Judge:
    """Dice and Frechet distance of images made from the masks of test patients.

    Args:
        train, test: of the phantom, `IMAGES` slices each, spread over all patients.
        segmenter: trained on all training slices.
        encoder: of the segmenter.
    """

    train: SliceSet
    test: SliceSet
    segmenter: Segmenter
    encoder: Encoder
    features: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.features = self.encoder(self.test.images)

    def images(self, pipeline: Any, slices: SliceSet | None = None, **options: Any) -> np.ndarray:
        """Return (N, H, W) in [0, 1], one per mask (of the test patients), under their attributes."""
        slices = self.test if slices is None else slices
        pipeline.set_progress_bar_config(disable=True)
        masks = one_hot(torch.from_numpy(slices.masks)) if pipeline.mask_channels else None
        generators = [torch.Generator().manual_seed(i) for i in range(len(slices))]
        options = {**known_conditions(pipeline, slices), **options, "output_type": "np"}
        number = {} if pipeline.mask_channels else {"batch_size": len(slices)}
        return pipeline(masks, generator=generators, **number, **options).images[..., 0]

    def dice(self, images: np.ndarray, masks: np.ndarray | None = None) -> float:
        """Return the mean over labels of the Dice, pooled over all slices, with their masks or others."""
        found, masks = self.segmenter.predict(images), self.test.masks if masks is None else masks
        return float(np.mean([dice(found, masks, label) for label in self.segmenter.labels]))

    def distance(self, images: np.ndarray) -> float:
        """Return the Frechet distance to the images of test patients."""
        return frechet_distance(self.encoder(images), self.features)

    @property
    def strangers(self) -> np.ndarray:
        """The masks in another order: what an image shares with them is where hearts usually are."""
        return np.roll(self.test.masks, len(self.test) // 2, axis=0)


def make_judge(data: Path, folder: Path) -> Judge:
    """Return the judge of the phantom in `data`; its segmenter is kept in `folder`."""
    train, test = load_slices(data, "train"), load_slices(data, "test")
    settings = {"updates": 400, "batch_size": 16, "seed": 0, "path": folder / "segmenter.safetensors"}
    segmenter = train_segmenter(train.images, train.masks, train.annotated_labels, **settings)
    spread = [part.select(np.linspace(0, len(part) - 1, IMAGES).astype(int)) for part in (train, test)]
    return Judge(*spread, segmenter, cardiac_encoder(segmenter, train.images))
