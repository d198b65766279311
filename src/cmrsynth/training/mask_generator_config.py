"""The configuration of a mask generator's training."""

from __future__ import annotations

from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import option
from cmrsynth.training.variational_config import VariationalConfig


@dataclass(frozen=True)
class MaskGeneratorConfig(VariationalConfig):
    """Everything that decides the training of a mask generator."""

    attributes: list[str] = option(["pathology", "phase", "slice_level"], "columns the masks are conditioned on")
    block_out_channels: list[int] = option([24, 48, 96, 128], "width of each level, from full resolution down")
    latent_dim: int = option(32, "length of the vector that stands for a mask")
    # Neighbouring distances say the same, and the likelihood counts each: at 1 the posterior is so narrow that random
    # vectors fall beside what the decoder knows, and more so the longer it trains (on 514 masks of 32x32, 80 % of the
    # draws are refused after 3,000 steps; at 30 it is 9 % after 2,000, and 4 % at 64x64).
    kl_weight: float = option(30.0, "final weight of the divergence; 1 is the evidence bound of independent pixels")
    audited_masks: int = option(200, "masks drawn after the training to count refusals and look for copies")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_conditions("text_encoder", why="a mask generator takes attributes and scalars, no prompts")
        where = "training configuration"
        if self.audited_masks < 1:
            raise InputError(where, f"audited_masks is {self.audited_masks}", "give at least 1")
