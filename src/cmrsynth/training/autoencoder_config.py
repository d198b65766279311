"""The configuration of the training of an autoencoder for latent models."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import TrainingConfig, option


@dataclass(frozen=True)
class AutoencoderConfig(TrainingConfig):
    """Everything that decides the training of an autoencoder; it takes neither masks nor attributes."""

    sample_steps: int = option(0, "must be 0: an autoencoder makes no samples, see `validation_steps`")
    block_out_channels: list[int] = option([24, 48, 96], "width of each level; each after the first halves the sides")
    layers_per_block: int = option(1, "residual blocks per level")
    latent_channels: int = option(4, "numbers per position of the latent")
    kl_weight: float = option(1e-4, "weight of the divergence per latent number, beside the L1 error per pixel")
    pyramid_weight: float = option(1.0, "weight of the Laplacian pyramid's L1 error")
    adversarial_start: int = option(1000, "step from which the patch discriminator learns and is answered to")
    adversarial_weight: float = option(0.02, "weight of the discriminator's opinion; 0 for none")
    feature_weight: float = option(0.2, "weight of the discriminator's features of the image, once it has learned")
    discriminator_channels: list[int] = option([32, 64, 128], "width per layer of the discriminator")
    discriminator_scales: int = option(2, "resolutions at which it judges")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_conditions("scalars", "text_encoder", why="a latent must not depend on what is known of a slice")
        where = "training configuration"
        if self.sample_steps:
            raise InputError(where, f"sample_steps is {self.sample_steps}", "an autoencoder makes no samples; give 0")
        for name in ("kl_weight", "pyramid_weight", "adversarial_weight", "feature_weight", "adversarial_start"):
            if getattr(self, name) < 0:
                raise InputError(where, f"{name} is {getattr(self, name)}", "give a number of at least 0")
        factor = 2 ** (len(self.block_out_channels) - 1)
        if not 1 <= self.latent_channels <= factor**2:
            raise InputError(
                where,
                f"latent_channels is {self.latent_channels}, so that the latent would be no smaller than the image",
                f"give 1 to {factor**2}",
            )

    @property
    def norm_groups(self) -> int:
        """Groups of the group norms: as many as divide every width, 8 at most."""
        return math.gcd(8, *self.block_out_channels)
