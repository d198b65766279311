"""Encoders: images to feature vectors, with what made them; the cardiac encoder is made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.evaluation.segmenter import Segmenter, prepare

if TYPE_CHECKING:
    import torch

MAX_DIMENSIONS = 32
IMAGES_PER_DIMENSION = 4  # a covariance in d dimensions needs several times d images


@dataclass(frozen=True)
class Encoder:
    """Feature vectors of images, as a network gives them or reduced to what real images vary in.

    Args:
        name: e.g. "cardiac encoder".
        sha256: hash of the weights behind `raw`.
        raw: (N, H, W) images in [0, 1] to (N, D) features.
        dimensions: length of the vectors an encoder returns, d.
        mean, scale: (D,) of the raw features of the real training images; None where features stay as they are.
        components: (D, d) principal axes of the standardised features of the real training images, scaled so that
            those images have a mean variance of 1; None where features stay as they are (d = D), as published
            figures such as FID and CMMD want them.
        source: what the network is and how it is fed, in a few words, where the name does not say it.
        kind: "cardiac", "inception", "clip" or "other"; some figures are defined for one network only.
    """

    name: str
    sha256: str
    raw: Callable[[np.ndarray], np.ndarray]
    dimensions: int
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None
    components: np.ndarray | None = None
    source: str = ""
    kind: str = "other"

    @property
    def made_with(self) -> str:
        """Name, source, dimensions and weight hash, as the report shows them."""
        source = f" ({self.source})" if self.source else ""
        unit = "dimensions" if self.components is None else "components"
        return f"{self.name}{source}, {self.dimensions} {unit}, sha256 {self.sha256[:12]}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float64 features of (N, H, W) images in [0, 1]."""
        features = self.raw(images).astype(np.float64)
        return features if self.components is None else ((features - self.mean) / self.scale) @ self.components


def fit_encoder(
    name: str, weight_hash: str, raw: Callable[[np.ndarray], np.ndarray], real: np.ndarray, *, kind: str = "other"
) -> Encoder:
    """Return a reduced `Encoder` whose scale and components come from `real`, the real training images (N, H, W)."""
    features = raw(real).astype(np.float64)
    mean, deviation = features.mean(0), features.std(0)
    # A feature that is constant on real images would turn any change into an infinite distance.
    scale = np.maximum(deviation, 0.05 * np.median(deviation) + 1e-8)
    dimensions = max(2, min(MAX_DIMENSIONS, len(real) // IMAGES_PER_DIMENSION, features.shape[1]))
    _, spread, axes = np.linalg.svd((features - mean) / scale, full_matrices=False)
    # One scale for all axes, so that the mean variance is 1. Not whitened: along its many small axes a network
    # differs more between patients than between a sharp and a blurred image.
    length = np.sqrt((spread[:dimensions] ** 2).mean() / len(real))
    components = axes[:dimensions].T / max(length, 1e-8)
    return Encoder(name, weight_hash, raw, dimensions, mean, scale, components, kind=kind)


def cardiac_encoder(segmenter: Segmenter, real: np.ndarray) -> Encoder:
    """Return the encoder made of a segmenter that was trained on the real training patients.

    The raw features are the spatial mean and standard deviation of every feature map at the four depths of the
    contracting path; the shallow ones respond to texture, the deep ones to anatomy.
    """

    def raw(images: np.ndarray) -> np.ndarray:
        return _pooled_maps(segmenter.network, images)

    return fit_encoder("cardiac encoder", segmenter.facts["sha256"], raw, real, kind="cardiac")


def _contracting_path(network: torch.nn.Module) -> list[torch.nn.Module]:
    """Return the contracting blocks of a MONAI UNet, shallow first."""
    blocks, level = [], network.model
    while True:
        blocks.append(level[0])
        inner = level[1].submodule
        if not hasattr(inner, "__getitem__"):
            return [*blocks, inner]
        level = inner


def _pooled_maps(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    import torch

    pooled: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: tuple, maps: torch.Tensor) -> None:
        pooled.extend([maps.mean((2, 3)), maps.std((2, 3))])

    hooks = [block.register_forward_hook(keep) for block in _contracting_path(network)]
    parts = []
    try:
        with torch.inference_mode():
            for start in range(0, len(images), 64):
                pooled.clear()
                network(prepare(images[start : start + 64]))
                parts.append(torch.cat(pooled, 1).numpy())
    finally:
        for hook in hooks:
            hook.remove()
    return np.concatenate(parts)
