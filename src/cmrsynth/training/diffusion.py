"""Diffusion as a family, of images or latents: one denoiser that predicts noise, image or v at levels of noise."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.pipelines import MaskDiffusionPipeline
from cmrsynth.training.batches import Batch, TrainingSlices
from cmrsynth.training.denoiser import build_denoiser
from cmrsynth.training.diffusion_config import DiffusionConfig
from cmrsynth.training.family import Family, Phase
from cmrsynth.training.latent import LatentObjective, load_latent_space
from cmrsynth.training.rectified_flow import held_out_loss


def noise_schedule(config: DiffusionConfig) -> DDPMScheduler:
    """Return the noise levels of a training, which its samplers take over by `from_config`.

    Sampling starts at the last timestep ("trailing"), which the usual spacing never visits (Lin et al. 2023,
    arXiv:2305.08891). Predicted images are clipped to their range; latents have none.
    """
    return DDPMScheduler(
        beta_schedule=config.beta_schedule,
        prediction_type=config.prediction_type,
        rescale_betas_zero_snr=config.zero_terminal_snr,
        clip_sample=not config.vae,
        timestep_spacing="trailing",
    )


def uniform_timestep(normal: Tensor, levels: int) -> Tensor:
    """Return (B,) int64 in 0...levels - 1, each as likely, from (B,) standard normal draws."""
    return (torch.special.ndtr(normal.double()) * levels).long().clamp(max=levels - 1)


def min_snr_weight(snr: Tensor, prediction_type: str, gamma: float) -> Tensor:
    """Return (B,) weights of the squared error such that the image's error weighs min(snr, gamma).

    Source: Hang et al. 2023, arXiv:2303.09556.

    Args:
        snr: (B,) signal-to-noise ratios, a / (1 - a).
        prediction_type: of "epsilon", "sample" and "v_prediction".
        gamma: the largest weight.

    >>> min_snr_weight(torch.tensor([1.0, 20.0]), "epsilon", 5.0)
    tensor([1.0000, 0.2500])
    """
    unit = {"sample": torch.ones_like(snr), "epsilon": snr, "v_prediction": snr + 1}[prediction_type]
    return snr.clamp(max=gamma) / unit


class DiffusionObjective(nn.Module):
    """The losses of a batch at its drawn timesteps.

    Source: Ho et al. 2020, arXiv:2006.11239; v: Salimans and Ho 2022, arXiv:2202.00512.

    Args:
        denoiser: {"unet", "condition_encoder"}.
        schedule: its noise levels and `prediction_type`.
        snr_gamma: of `min_snr_weight`; 0 weighs all timesteps the same.
    """

    def __init__(self, denoiser: nn.ModuleDict, schedule: DDPMScheduler, *, snr_gamma: float = 0.0) -> None:
        super().__init__()
        self.denoiser, self.schedule, self.snr_gamma = denoiser, schedule, snr_gamma

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        kind, levels = self.schedule.config.prediction_type, self.schedule.alphas_cumprod
        timestep = uniform_timestep(batch.time_normal, len(levels))
        noisy = self.schedule.add_noise(batch.image, batch.noise, timestep)
        targets = {
            "epsilon": lambda: batch.noise,
            "sample": lambda: batch.image,
            "v_prediction": lambda: self.schedule.get_velocity(batch.image, batch.noise, timestep),
        }
        condition = self.denoiser["condition_encoder"](batch.conditions)
        predicted = self.denoiser["unet"](noisy, timestep, mask=batch.mask, condition=condition, return_dict=False)[0]
        losses = (predicted.float() - targets[kind]()).square().mean((1, 2, 3))
        if not self.snr_gamma:
            return losses
        signal = levels.to(timestep.device)[timestep]
        return min_snr_weight(signal / (1 - signal), kind, self.snr_gamma) * losses


class Diffusion(Family):
    """A denoiser that learns to tell image, or latent, from noise at every level of noise.

    Source of diffusion in latents: Rombach et al. 2022, arXiv:2112.10752.
    """

    config: DiffusionConfig

    def __init__(self, config: DiffusionConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        self.space = load_latent_space(config.vae, slices) if config.vae else None
        shape = {"in_channels": self.space.channels, "latent_factor": self.space.factor} if self.space else {}
        self.averaged = build_denoiser(config, slices, **shape)
        self.encoder = self.averaged["condition_encoder"]
        self.phases = (Phase("denoiser", self.objective(self.averaged)),)

    def objective(self, denoiser: nn.ModuleDict) -> nn.Module:
        """Return the objective of these networks."""
        objective = DiffusionObjective(denoiser, noise_schedule(self.config), snr_gamma=self.config.snr_gamma)
        return LatentObjective(objective, self.space) if self.space else objective

    def pipeline(self, averaged: nn.Module) -> MaskDiffusionPipeline:
        """Return the diffusion's pipeline, which samples by DDIM unless told otherwise."""
        levels = noise_schedule(self.config).config
        return MaskDiffusionPipeline(
            **averaged,
            **self.text_parts,
            scheduler=DDIMScheduler.from_config(levels),
            vae=self.space.vae if self.space else None,
            condition_dropout=self.config.condition_dropout,
            pixel_spacing_mm=self.spacing,
        )

    def sampling(self) -> dict[str, int]:
        """Return the number of steps of the sample grids."""
        return {"num_inference_steps": self.config.sample_inference_steps}

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return the (weighted) loss on other patients."""
        return {self.config.prediction_type: held_out_loss(self.objective(averaged), data)}

    def state(self) -> dict[str, float]:
        """Return which autoencoder this is, if there is one: it lies outside the run folder."""
        return {"autoencoder": self.space.fingerprint} if self.space else {}

    def load_state(self, state: dict[str, float]) -> None:
        """Raise InputError unless the autoencoder is the one the run began with."""
        if state != self.state():
            raise InputError(
                self.config.vae, "another autoencoder than this run began with", "start again with another --output"
            )
