"""The configuration of a variational autoencoder's training."""

from __future__ import annotations

from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import option
from cmrsynth.training.variational_config import VariationalConfig

CONDITIONING = ("concat", "none")


@dataclass(frozen=True)
class VaeConfig(VariationalConfig):
    """Everything that decides the training of a conditional variational autoencoder."""

    conditioning: str = option("concat", "how the mask enters: concat, or none for an unconditional model")
    block_out_channels: list[int] = option([24, 48, 96, 192, 192], "width of each level, from full resolution down")

    def __post_init__(self) -> None:
        super().__post_init__()
        where = "training configuration"
        if self.conditioning not in CONDITIONING:
            raise InputError(where, f"conditioning {self.conditioning!r}", f"use one of {CONDITIONING}")
