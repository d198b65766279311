"""The settings that the trainings of variational families share."""

from __future__ import annotations

from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import TrainingConfig, option

LONGEST = 256  # normals per example for posterior draws, see `Batch.latent`


@dataclass(frozen=True)
class VariationalConfig(TrainingConfig):
    """What the trainings of variational autoencoders have in common."""

    latent_dim: int = option(128, "length of the vector that stands for an image or a mask")
    kl_weight: float = option(1.0, "final weight of the divergence; 1 is the evidence bound")
    kl_warmup_steps: int = option(1000, "steps over which that weight rises from 0")

    def __post_init__(self) -> None:
        super().__post_init__()
        where = "training configuration"
        if not 1 <= self.latent_dim <= LONGEST:
            raise InputError(where, f"latent_dim is {self.latent_dim}", f"give a length from 1 to {LONGEST}")
        if self.kl_weight < 0 or self.kl_warmup_steps < 0:
            raise InputError(where, "kl_weight or kl_warmup_steps is negative", "give numbers of at least 0")
