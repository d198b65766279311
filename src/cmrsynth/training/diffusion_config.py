"""The configuration of diffusion training."""

from __future__ import annotations

from dataclasses import dataclass

from cmrsynth.errors import InputError
from cmrsynth.training.config import DenoiserConfig, option

PREDICTIONS = ("v_prediction", "epsilon", "sample")
SCHEDULES = ("squaredcos_cap_v2", "linear")


@dataclass(frozen=True)
class DiffusionConfig(DenoiserConfig):
    """Everything that decides a diffusion training run."""

    prediction_type: str = option("v_prediction", "what the network predicts: v_prediction, epsilon or sample")
    beta_schedule: str = option("squaredcos_cap_v2", "noise schedule: squaredcos_cap_v2 (cosine) or linear")
    zero_terminal_snr: bool = option(False, "let the schedule end in pure noise (v_prediction only)")
    snr_gamma: float = option(5.0, "min-SNR weighting of the timesteps with this gamma; 0: all weigh the same")
    vae: str = option("", "pipeline of a trained autoencoder, to diffuse its latents; empty: pixels")
    sample_inference_steps: int = option(50, "sampling steps of the sample grids")

    def __post_init__(self) -> None:
        super().__post_init__()
        where = "training configuration"
        for name, known in (("prediction_type", PREDICTIONS), ("beta_schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise InputError(where, f"{name} {getattr(self, name)!r}", f"use one of {known}")
        if self.snr_gamma < 0:
            raise InputError(where, f"snr_gamma is {self.snr_gamma}", "give 0 or more; 5 is usual")
        if self.zero_terminal_snr and self.prediction_type != "v_prediction":
            raise InputError(
                where,
                f"zero_terminal_snr with {self.prediction_type}: pure noise says nothing of the image by its noise",
                "use prediction_type: v_prediction",
            )
        if self.vae and (self.prediction_type, self.beta_schedule) == ("epsilon", "squaredcos_cap_v2"):
            raise InputError(
                where,
                "epsilon with the cosine schedule divides by nothing at its end, and latents have no range to clip to",
                "use prediction_type: v_prediction, or beta_schedule: linear",
            )
        if self.zero_terminal_snr and self.snr_gamma:
            raise InputError(
                where,
                "zero_terminal_snr with snr_gamma: the timestep at which sampling starts would weigh nothing",
                "use snr_gamma: 0",
            )
