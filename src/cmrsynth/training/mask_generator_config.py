"""The configuration of a mask generator's training."""

from __future__ import annotations

from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import TrainingConfig, option

LONGEST = 256  # normals per example for posterior draws, see `Batch.latent`


@dataclass(frozen=True)
class MaskGeneratorConfig(TrainingConfig):
    """Everything that decides the training of a mask generator."""

    attributes: list[str] = option(["pathology", "phase", "slice_level"], "columns the masks are conditioned on")
    block_out_channels: list[int] = option([24, 48, 96, 128], "width of each level, from full resolution down")
    latent_dim: int = option(32, "length of the vector that stands for a mask")
    kl_weight: float = option(1.0, "final weight of the divergence; 1 is the evidence bound")
    kl_warmup_steps: int = option(1000, "steps over which that weight rises from 0")
    audited_masks: int = option(200, "masks drawn after the training to count refusals and look for copies")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_conditions("text_encoder", why="a mask generator takes attributes and scalars, no prompts")
        where = "training configuration"
        if not 1 <= self.latent_dim <= LONGEST:
            raise InputError(where, f"latent_dim is {self.latent_dim}", f"give a length from 1 to {LONGEST}")
        if self.kl_weight < 0 or self.kl_warmup_steps < 0:
            raise InputError(where, "kl_weight or kl_warmup_steps is negative", "give numbers of at least 0")
        if self.audited_masks < 1:
            raise InputError(where, f"audited_masks is {self.audited_masks}", "give at least 1")
