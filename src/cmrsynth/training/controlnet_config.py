"""The configuration of the training of a ControlNet."""

from __future__ import annotations

from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import TrainingConfig, option


@dataclass(frozen=True)
class ControlNetConfig(TrainingConfig):
    """Everything that decides the training of a ControlNet: it gives the mask to a pipeline trained without one."""

    base: str = option("", "pipeline trained with conditioning: none, flow or diffusion: a folder or a Hub id")
    train_base: bool = option(False, "train the base along with the ControlNet, instead of leaving it as it is")
    snr_gamma: float = option(5.0, "diffusion: min-SNR weighting of the timesteps with this gamma; 0: none")
    sample_inference_steps: int = option(10, "sampling steps of the sample grids")

    attributes: list[str] = option([], "leave empty: the conditions are those of the base")
    condition_dropout: float = option(
        0.0, "with train_base: share of examples with mask and all conditions withheld (guidance needs it)"
    )
    mask_dropout: float = option(0.0, "with train_base: share of the other examples whose mask alone is withheld")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_conditions("scalars", "text_encoder", why="the conditions of a ControlNet are those of its base")
        where = "training configuration"
        if not self.base:
            raise InputError(
                where, "--base is needed", "train one with training/train_rectified_flow.py --conditioning none"
            )
        if self.attributes:
            raise InputError(
                where,
                f"a ControlNet takes the conditions of its base, not {self.attributes}",
                "leave attributes empty, or train a base with them",
            )
        if not self.train_base and (self.condition_dropout or self.mask_dropout):
            raise InputError(
                where,
                "where the mask is withheld only the base acts, and it is not trained: such examples teach nothing",
                "set condition_dropout and mask_dropout to 0, or use --train-base",
            )
        if self.snr_gamma < 0:
            raise InputError(where, f"snr_gamma is {self.snr_gamma}", "give 0 or more; 5 is usual")
