"""What decides the training of a GAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cmrsynth.errors import InputError
from cmrsynth.training.config import TrainingConfig, option

ARCHITECTURES = ("spade", "dcgan", "r3gan")
LATENT_NUMBERS = 256  # standard normals that a batch holds per example


@dataclass(frozen=True)
class GanConfig(TrainingConfig):
    """Everything that decides a GAN's training run."""

    _before: ClassVar[dict[str, Any]] = {"discriminator_norm": 1.0}

    architecture: str = option("spade", "spade (from masks), or without masks: dcgan (a baseline), r3gan (stable)")
    block_out_channels: list[int] = option([24, 48, 96, 192], "generator: width per level, from fine to coarse")
    layers_per_block: int = option(1, "r3gan: residual blocks per level of both networks")
    latent_dim: int = option(64, "length of the random vector: the style of spade")
    discriminator_channels: list[int] = option([32, 64, 128], "spade: width per layer of a patch discriminator")
    discriminator_scales: int = option(2, "spade: resolutions at which images are judged")
    discriminator_norm: float = option(
        2.0, "spade: spectral norm of the discriminator's convolutions; at 1 it hardly learns in a short training"
    )
    discriminator_rate_factor: float = option(
        1.0, "the discriminator's learning rate, as a multiple of the generator's"
    )

    feature_matching_weight: float = option(10.0, "spade: weight of the discriminator's features of the real image")
    kl_weight: float = option(0.05, "spade: weight of the divergence between a slice's style and what is expected")
    prior_share: float = option(0.5, "spade: share of examples whose style is drawn from the conditions alone")
    gradient_penalty: float = option(1.0, "r3gan: weight of the penalties on real and on generated images")

    augment_target: float = option(0.6, "mean sign of the scores of real images that the augmentation is to hold")
    augment_images: int = option(50_000, "images over which the augmentation can go from never to always")

    # no momentum to carry through a game that moves, and clipping only against accidents
    learning_rate: float = option(2e-4, "peak learning rate of the generator (AdamW)")
    weight_decay: float = option(0.0, "AdamW weight decay")
    max_grad_norm: float = option(10.0, "gradients are clipped to this norm")
    warmup_steps: int = option(50, "steps over which the learning rate rises linearly")
    ema_decay: float = option(0.999, "largest decay of the averaged generator (it warms up)")

    def __post_init__(self) -> None:
        super().__post_init__()
        where = "training configuration"
        if self.architecture not in ARCHITECTURES:
            raise InputError(where, f"architecture {self.architecture!r}", f"use one of {ARCHITECTURES}")
        if not 1 <= self.latent_dim <= LATENT_NUMBERS:
            raise InputError(where, f"latent_dim is {self.latent_dim}", f"give 1 to {LATENT_NUMBERS}")
        for name in ("augment_target", "prior_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(where, f"{name} is {getattr(self, name)}", "give a share between 0 and 1")
        for name in ("augment_images", "discriminator_scales"):
            if getattr(self, name) < 1:
                raise InputError(where, f"{name} is {getattr(self, name)}", "give at least 1")
        for name in ("feature_matching_weight", "kl_weight", "gradient_penalty"):
            if getattr(self, name) < 0:
                raise InputError(where, f"{name} is {getattr(self, name)}", "give 0 or more")
        if self.discriminator_rate_factor <= 0:
            raise InputError(where, "discriminator_rate_factor must be positive", "1 trains both at one rate")
        if self.discriminator_norm <= 0:
            raise InputError(where, "discriminator_norm must be positive", "2 keeps the size of signals")
