"""The segmentation network that measures adherence and utility, trained the same way every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.evaluation.fitting import Budget, augment, data_key, fit, predict, trained_or_saved
from cmrsynth.evaluation.networks import UNET, Architecture, build_network, prepare

if TYPE_CHECKING:
    import torch

__all__ = ["Segmenter", "augment", "build_network", "prepare", "train_segmenter"]


@dataclass(frozen=True)
class Segmenter:
    """A trained segmentation network.

    Args:
        network: maps (B, 1, H, W) standardised images to (B, 1 + len(labels), H, W) logits.
        labels: the foreground labels, in the order of its output channels after background.
        path: the safetensors file.
        facts: name, sha256, parameters, updates, ... for the report.
        stride: image sides are padded to a multiple of this.
    """

    network: torch.nn.Module
    labels: tuple[int, ...]
    path: Path
    facts: dict[str, Any]
    stride: int = UNET.stride

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return label maps.

        Args:
            images: (N, H, W) float32 in [0, 1].

        Returns:
            (N, H, W) uint8 in the label map of `cmrsynth.labels`.
        """
        values = np.array((0, *self.labels), np.uint8)
        parts = [values[logits.argmax(1).numpy()] for logits in predict(self.network, images, self.stride)]
        height, width = images.shape[1:]
        return np.concatenate(parts)[:, :height, :width]


def train_segmenter(
    images: np.ndarray,
    masks: np.ndarray,
    labels: Sequence[int],
    *,
    updates: int,
    batch_size: int,
    seed: int,
    path: Path,
    kind: Architecture = UNET,
) -> Segmenter:
    """Return a segmenter trained for `updates` updates, or the one saved in `path` if it is the same.

    Args:
        images: (N, H, W) float32 in [0, 1].
        masks: (N, H, W) in the label map of `cmrsynth.labels`; labels not in `labels` count as background.
        labels: the annotated foreground labels.
        updates: optimiser updates; the number of images does not change it.
        batch_size: images in one update.
        seed: names the weights, the batches and the augmentation.
        path: safetensors file. One whose recorded data and settings agree is loaded instead of trained.
        kind: the network.
    """
    from monai.losses import DiceCELoss

    labels = tuple(labels)
    key = {
        "protocol": kind.protocol,
        "labels": list(labels),
        "updates": updates,
        "batch_size": batch_size,
        "seed": seed,
        **data_key(images, masks),
    }
    network = build_network(len(labels) + 1, seed, kind)
    loss = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    budget = Budget(updates, batch_size, seed, kind.learning_rate, kind.stride)
    saved = trained_or_saved(
        network, key, path, lambda: fit(network, images, class_indices(masks, labels), loss, budget, path.stem)
    )
    recorded = {name: key[name] for name in ("protocol", "labels", "updates", "batch_size", "seed", "precision")}
    return Segmenter(network, labels, path, {**saved, **recorded}, kind.stride)


def class_indices(masks: np.ndarray, labels: tuple[int, ...]) -> np.ndarray:
    """Return (N, H, W) int64 output-channel indices of the label maps; other labels become 0."""
    table = np.zeros(256, np.int64)
    table[list(labels)] = np.arange(1, len(labels) + 1)
    return table[masks]
