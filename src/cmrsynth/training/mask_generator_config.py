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
    audited_masks: int = option(200, "masks drawn after the training to count refusals and look for copies")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_conditions("text_encoder", why="a mask generator takes attributes and scalars, no prompts")
        where = "training configuration"
        if self.audited_masks < 1:
            raise InputError(where, f"audited_masks is {self.audited_masks}", "give at least 1")
