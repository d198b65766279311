"""Feature extractors: the cardiac encoder made here, and extractors that a user brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.errors import InputError
from cmrsynth.evaluation.segmenter import Segmenter, prepare
from cmrsynth.evaluation.settings import ExtractorSpec

if TYPE_CHECKING:
    import torch

MAX_DIMENSIONS = 32
IMAGES_PER_DIMENSION = 4  # a covariance in d dimensions needs several times d images


@dataclass(frozen=True)
class Encoder:
    """Features standardised on the real training images and reduced to their principal components.

    Args:
        name: e.g. "cardiac encoder".
        sha256: hash of the weights behind `raw`.
        raw: (N, H, W) images in [0, 1] to (N, D) features.
        mean, scale: (D,) of the raw features of the real training images.
        components: (D, d) principal axes of the standardised features of the real training images, scaled so that
            those images have a mean variance of 1.
    """

    name: str
    sha256: str
    raw: Callable[[np.ndarray], np.ndarray]
    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray

    @property
    def made_with(self) -> str:
        """Name, dimensions and weight hash, as the report shows them."""
        return f"{self.name}, {self.components.shape[1]} components, sha256 {self.sha256[:12]}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return (N, d) float64 features of (N, H, W) images in [0, 1]."""
        return ((self.raw(images) - self.mean) / self.scale) @ self.components


def fit_encoder(name: str, weight_hash: str, raw: Callable[[np.ndarray], np.ndarray], real: np.ndarray) -> Encoder:
    """Return an `Encoder` whose scale and components come from `real`, the real training images (N, H, W)."""
    features = raw(real).astype(np.float64)
    mean, deviation = features.mean(0), features.std(0)
    # A feature that is constant on real images would turn any change into an infinite distance.
    scale = np.maximum(deviation, 0.05 * np.median(deviation) + 1e-8)
    dimensions = max(2, min(MAX_DIMENSIONS, len(real) // IMAGES_PER_DIMENSION, features.shape[1]))
    _, spread, axes = np.linalg.svd((features - mean) / scale, full_matrices=False)
    # One scale for all axes, so that the mean variance is 1. Not whitened: along its many small axes a network
    # differs more between patients than between a sharp and a blurred image.
    length = np.sqrt((spread[:dimensions] ** 2).mean() / len(real))
    return Encoder(name, weight_hash, raw, mean, scale, axes[:dimensions].T / max(length, 1e-8))


def cardiac_encoder(segmenter: Segmenter, real: np.ndarray) -> Encoder:
    """Return the encoder made of a segmenter that was trained on the real training patients.

    The raw features are the spatial mean and standard deviation of every feature map at the four depths of the
    contracting path; the shallow ones respond to texture, the deep ones to anatomy.
    """

    def raw(images: np.ndarray) -> np.ndarray:
        return _pooled_maps(segmenter.network, images)

    return fit_encoder("cardiac encoder", segmenter.facts["sha256"], raw, real)


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


def load_extractor(spec: ExtractorSpec, real: np.ndarray) -> Encoder:
    """Return the `Encoder` of a user's extractor; see `ExtractorSpec` for what the file must be.

    Raises:
        InputError: there is no such file, it is no TorchScript, or it does not return features.
    """
    import torch

    if not spec.path.is_file():
        raise InputError(spec.path, f"no file for the extractor {spec.name!r}", "give the path of a TorchScript file")
    try:
        module = torch.jit.load(str(spec.path), map_location="cpu").eval()
    except RuntimeError as error:
        raise InputError(spec.path, "not a TorchScript file", "save it with torch.jit.save") from error
    channels = next((p.shape[1] for p in module.parameters() if p.ndim == 4), 3)

    def raw(images: np.ndarray) -> np.ndarray:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), 32):
                batch = torch.from_numpy(images[start : start + 32].astype(np.float32))[:, None]
                features = module(batch.expand(-1, channels, -1, -1))
                parts.append((features.mean((2, 3)) if features.ndim == 4 else features).numpy())
        return np.concatenate(parts)

    if raw(real[:2]).ndim != 2:
        raise InputError(spec.path, "the extractor does not return (N, d) features", "see `cmrsynth evaluate --help`")
    return fit_encoder(spec.name, sha256(spec.path.read_bytes()).hexdigest(), raw, real)
