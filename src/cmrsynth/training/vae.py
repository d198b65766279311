"""A conditional variational autoencoder as a family: the evidence bound, whose divergence term rises from nothing."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cmrsynth.data.loading import SliceSet
from cmrsynth.labels import NUM_LABELS, one_hot
from cmrsynth.models import CardiacVAE
from cmrsynth.pipelines import VaePipeline
from cmrsynth.training.batches import Batch, TrainingSlices
from cmrsynth.training.denoiser import build_condition_encoder, image_size
from cmrsynth.training.family import Phase
from cmrsynth.training.reconstruction import in_batches, reconstruction_figures
from cmrsynth.training.rectified_flow import held_out_loss
from cmrsynth.training.vae_config import VaeConfig
from cmrsynth.training.variational import VariationalFamily


class VaeObjective(nn.Module):
    """The negative evidence bound of a batch, in nats per pixel.

    Args:
        networks: {"vae", "condition_encoder"}.
        kl_weight: of the divergence, now.
    """

    def __init__(self, networks: nn.ModuleDict, *, kl_weight: float = 1.0) -> None:
        super().__init__()
        self.networks, self.kl_weight = networks, kl_weight

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        vae = self.networks["vae"]
        condition = self.networks["condition_encoder"](batch.conditions)
        noise = batch.latent[:, : vae.config.latent_dim]
        likelihood, divergence = vae(batch.image, noise, batch.mask, condition)
        return likelihood + self.kl_weight * divergence


class ConditionalVae(VariationalFamily):
    """An autoencoder whose vector follows a standard normal, so that a random vector decodes to a new image."""

    config: VaeConfig

    def __init__(self, config: VaeConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        vae = CardiacVAE(
            sample_size=image_size(slices, levels=len(config.block_out_channels)),
            mask_channels=0 if config.conditioning == "none" else NUM_LABELS,
            latent_dim=config.latent_dim,
            block_out_channels=tuple(config.block_out_channels),
        )
        self.encoder = build_condition_encoder(config, slices, vae.embedding_dim)
        self.averaged = nn.ModuleDict({"vae": vae, "condition_encoder": self.encoder})
        self.objective = VaeObjective(self.averaged)
        self.phases = (Phase("vae", self.objective),)
        self.load_state({"step": 0})

    def pipeline(self, averaged: nn.Module) -> VaePipeline:
        """Return the sampling pipeline."""
        settings = {"condition_dropout": self.config.condition_dropout, "pixel_spacing_mm": self.spacing}
        return VaePipeline(**averaged, **self.text_parts, **settings)

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return the negative evidence bound (at weight 1) on other patients."""
        return {"negative_evidence_bound": held_out_loss(VaeObjective(averaged), data)}

    def record(self, averaged: nn.Module, data: TrainingSlices | None) -> dict[str, Any]:
        """Return how well other patients' images are reconstructed, and the bound on their likelihood."""
        if data is None:
            return {}
        vae, encoder = averaged["vae"], averaged["condition_encoder"]

        def reconstruct(image: Tensor, labels: Tensor, conditions: Tensor) -> Tensor:
            image, mask, conditions = (x.to(vae.device) for x in (image, one_hot(labels), conditions))
            embedding = encoder(conditions)
            return vae.decode(vae.encode(image, mask, embedding)[0], mask, embedding)

        made = in_batches(reconstruct, data.images, data.labels, data.conditions)
        figures = reconstruction_figures(data.images, made)
        return {"reconstruction": {"split": self.config.validation_split, "slices": len(data), **figures}} | {
            "held_out": self.held_out(averaged, data),
            "pixel_deviation": vae.log_deviation.exp().item(),
        }
