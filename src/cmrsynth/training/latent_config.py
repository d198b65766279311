"""The configuration of the training of a flow in a latent space."""

from __future__ import annotations

from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import RectifiedFlowConfig, option


@dataclass(frozen=True)
class LatentFlowConfig(RectifiedFlowConfig):
    """Everything that decides the training of a rectified flow in a latent space."""

    vae: str = option("", "pipeline of a trained autoencoder: a folder or a Hub id")
    block_out_channels: list[int] = option([64, 128, 192], "width of each level, from the latent's resolution down")
    attention_levels: list[int] = option([2], "levels with self-attention (0 is the latent's resolution)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.vae:
            raise InputError(
                "training configuration", "--vae is needed", "train one with training/train_autoencoder.py"
            )
