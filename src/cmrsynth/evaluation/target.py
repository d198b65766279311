"""A generator under attack: what every family offers to the figures on membership, overfitting and leakage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.settings import EvaluationSettings

Discriminator = Callable[[SliceSet], np.ndarray]  # one score a slice, higher where it takes it for real


class Target(Protocol):
    """A generator with the attacks that reach its family.

    Every attack's features are higher for members. Those of the base attack are minus a loss of at least 0.
    """

    @property
    def base(self) -> str:
        """The attack chosen beforehand, behind every figure but the strongest."""
        ...

    @property
    def probe_made_with(self) -> str:
        """What `probe` does, in a few words."""
        ...

    def seen(self, part: SliceSet) -> SliceSet:
        """Return the set with what the generator was trained on in the place of its images."""
        ...

    def features(self, train: SliceSet, holdout: SliceSet) -> dict[str, np.ndarray]:
        """Return (N, k) of every attack for the slices of both sets, training first."""
        ...

    def made_with(self, attack: str) -> str:
        """Return what an attack did, in a few words."""
        ...

    def fusion(self, attack: str) -> str:
        """Return how the columns of an attack become one score; see `cmrsynth.attacks.fusion`."""
        ...

    def planted(self, train: SliceSet, holdout: SliceSet) -> np.ndarray:
        """Return (N, k) of the base attack on a generator that memorised the training images."""
        ...

    def probe(self, part: SliceSet, **given: str) -> np.ndarray:
        """Return (N,), higher where the generator expects the slices under these attributes."""
        ...


def target_of(
    pipeline: Any, settings: EvaluationSettings, patients: int, discriminator: Discriminator | None = None
) -> Target | None:
    """Return the pipeline as a target, or None where it is of no family that the attacks know.

    Args:
        pipeline: known by what it offers: `velocity` or `predict_noise` (flow, diffusion), `decode_latent` (GANs),
            `negative_evidence_bound` (VAEs, of masks too), or `encode` and `decode` (autoencoders).
        settings: attacks, draws and samples.
        patients: of the smaller side; attacks that must be fitted need some.
        discriminator: of a GAN, where the run folder still has it.
    """
    from cmrsynth.evaluation.target_autoencoder import AutoencoderTarget, MaskVaeTarget, VaeTarget
    from cmrsynth.evaluation.target_denoiser import DenoiserTarget
    from cmrsynth.evaluation.target_gan import GanTarget

    if hasattr(pipeline, "velocity") or hasattr(pipeline, "predict_noise"):
        return DenoiserTarget(pipeline, settings, patients)
    if hasattr(pipeline, "decode_latent"):
        return GanTarget(pipeline, settings, discriminator)
    if hasattr(pipeline, "negative_evidence_bound"):
        return (MaskVaeTarget if hasattr(pipeline, "faults") else VaeTarget)(pipeline, settings)
    if hasattr(pipeline, "encode") and hasattr(pipeline, "decode") and hasattr(pipeline, "vae"):
        return AutoencoderTarget(pipeline, settings)
    return None


def nearest_member(train: SliceSet, holdout: SliceSet) -> np.ndarray:
    """Return (N, 1) minus the mean squared difference of each slice to its nearest training image.

    A generator that can make nothing but its training images comes no nearer, whatever it is asked for and however
    it is searched.
    """
    members = train.images.reshape(len(train), -1).astype(np.float64)
    found = []
    for part in (train, holdout):
        rows = part.images.reshape(len(part), -1).astype(np.float64)
        squared = (rows**2).sum(1)[:, None] - 2 * rows @ members.T + (members**2).sum(1)
        found.append(squared.min(1).clip(min=0) * 4 / rows.shape[1])  # as a generator sees them, in [-1, 1]
    return -np.concatenate(found)[:, None]
