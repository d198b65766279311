"""Variational autoencoders under attack, of images and of masks, and the autoencoders of latent generators.

What was trained on is rebuilt better, at fewer nats (Hilprecht et al. 2019, arXiv:1906.03006).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.attacks.latent_search import shared_latents
from cmrsynth.attacks.vae import elbo_scores, reconstruction_scores
from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.attack_inputs import records
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target import nearest_member
from cmrsynth.labels import NUM_LABELS, signed_distances
from cmrsynth.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

RECONSTRUCTION, BOUND = "reconstruction", "evidence_bound"
BATCH = 32


@dataclass(frozen=True)
class AutoencoderTarget:
    """An autoencoder of images without conditions.

    Args:
        pipeline: its `vae` is like diffusers' AutoencoderKL.
        settings: number of posterior draws, and the seed.
    """

    pipeline: Any
    settings: EvaluationSettings

    @property
    def base(self) -> str:
        """The error of the reconstruction."""
        return RECONSTRUCTION

    @property
    def probe_made_with(self) -> str:
        """What `probe` does, in a few words."""
        return "reconstruction error"

    def seen(self, part: SliceSet) -> SliceSet:
        """Return the set as it is."""
        return part

    def features(self, train: SliceSet, holdout: SliceSet) -> dict[str, np.ndarray]:
        """Return the features of both attacks."""
        images = records(self.pipeline, train, holdout).images
        given = {"draws": self.settings.membership_draws, "seed": self.settings.seed}
        found = {
            RECONSTRUCTION: reconstruction_scores(self.pipeline.vae, images, **given),
            BOUND: elbo_scores(self.pipeline.vae, images, **given),
        }
        return {name: scores[:, None] for name, scores in found.items()}

    def made_with(self, attack: str) -> str:
        """Return what an attack did, in a few words."""
        draws = f"{self.settings.membership_draws} posterior draws"
        return {RECONSTRUCTION: f"reconstruction error, {draws}", BOUND: f"evidence bound, {draws}"}[attack]

    def fusion(self, attack: str) -> str:
        """Return "mean": every attack has one column."""
        return "mean"

    def planted(self, train: SliceSet, holdout: SliceSet) -> np.ndarray:
        """Return the base attack on a generator that can make what it was trained on and nothing else."""
        return nearest_member(train, holdout)

    def probe(self, part: SliceSet, **given: str) -> np.ndarray:
        """Return minus the reconstruction error; there are no attributes to give."""
        images = records(self.pipeline, part).images
        return reconstruction_scores(self.pipeline.vae, images, draws=1, seed=self.settings.seed)


@dataclass(frozen=True)
class VaeTarget(AutoencoderTarget):
    """A conditional variational autoencoder of images.

    Args:
        pipeline: offers `reconstruction_error` and `negative_evidence_bound`.
        settings: number of posterior draws, and the seed.
    """

    def features(self, train: SliceSet, holdout: SliceSet) -> dict[str, np.ndarray]:
        """Return the features of both attacks."""
        noise = shared_latents(
            self.settings.membership_draws,
            self.pipeline.vae.config.latent_dim,
            derive_seed(self.settings.seed, "posterior"),
        )

        def bound(images: Tensor, mask: Tensor | None, **attributes: list) -> Tensor:
            bounds = [
                self.pipeline.negative_evidence_bound(images, draw.expand(len(images), -1), mask, **attributes)
                for draw in noise
            ]
            return sum(bounds) / len(bounds)

        parts = train, holdout
        return {
            RECONSTRUCTION: self._losses(self.pipeline.reconstruction_error, *parts),
            BOUND: self._losses(bound, *parts),
        }

    def made_with(self, attack: str) -> str:
        """Return what an attack did, in a few words."""
        own = "under the image's own mask and attributes"
        return {
            RECONSTRUCTION: f"reconstruction error of the posterior's mean, {own}",
            BOUND: f"evidence bound, {self.settings.membership_draws} posterior draws, {own}",
        }[attack]

    def probe(self, part: SliceSet, **given: str) -> np.ndarray:
        """Return minus the reconstruction error under these attributes."""
        return self._losses(self.pipeline.reconstruction_error, part, **given)[:, 0]

    def inputs(self, *parts: SliceSet) -> Tensor:
        """Return what the network encodes."""
        return records(self.pipeline, *parts).images

    def _losses(self, loss: Any, *parts: SliceSet, **given: str) -> np.ndarray:
        """Return (N, 1) minus a loss of the slices of all parts."""
        known, inputs, found = records(self.pipeline, *parts), self.inputs(*parts), []
        for rows in np.array_split(np.arange(len(known)), max(1, len(known) // BATCH)):
            mask, attributes = known.conditions(rows, **given)
            found.append(-loss(inputs[rows], mask, **attributes).double().cpu().numpy())
        return np.concatenate(found)[:, None]


@dataclass(frozen=True)
class MaskVaeTarget(VaeTarget):
    """A generator of masks: what it was trained on are masks, and the patients' images do not matter."""

    def seen(self, part: SliceSet) -> SliceSet:
        """Return the set with masks, drawn as pictures, in the place of the images."""
        return replace(part, images=(part.masks / (NUM_LABELS - 1)).astype(np.float32))

    def made_with(self, attack: str) -> str:
        """Return what an attack did, in a few words."""
        return super().made_with(attack).replace("the image's own mask and attributes", "the mask's own attributes")

    def inputs(self, *parts: SliceSet) -> Tensor:
        """Return the masks as signed distances."""
        import torch

        vae = self.pipeline.vae
        return torch.from_numpy(np.stack([signed_distances(m, vae.reach) for part in parts for m in part.masks]))
