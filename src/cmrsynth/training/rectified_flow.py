"""Rectified flow as a family: one denoiser, the velocity loss, and how it is measured on other patients."""

from __future__ import annotations

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from cmrsynth.data.loading import SliceSet
from cmrsynth.flow.rectified import interpolate, logit_normal_time, velocity_loss
from cmrsynth.pipelines import RectifiedFlowPipeline
from cmrsynth.training.batches import Batch, TrainingSlices, Withholding, draw_batch
from cmrsynth.training.config import RectifiedFlowConfig
from cmrsynth.training.denoiser import build_denoiser
from cmrsynth.training.family import Family, Phase


class FlowObjective(nn.Module):
    """The velocity losses of a batch at its drawn times.

    Source: Liu et al. 2022, arXiv:2209.03003, with logit-normal times of Esser et al. 2024, arXiv:2403.03206.

    Args:
        denoiser: {"unet", "condition_encoder"}.
        time_mean, time_std: of the logit of the time.
    """

    def __init__(self, denoiser: nn.ModuleDict, *, time_mean: float = 0.0, time_std: float = 1.0) -> None:
        super().__init__()
        self.denoiser, self.time_mean, self.time_std = denoiser, time_mean, time_std

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        t = logit_normal_time(batch.time_normal, mean=self.time_mean, std=self.time_std)
        noisy = interpolate(batch.image, batch.noise, t)
        condition = self.denoiser["condition_encoder"](batch.conditions)
        velocity = self.denoiser["unet"](noisy, 1000 * t, mask=batch.mask, condition=condition, return_dict=False)[0]
        return velocity_loss(velocity, batch.image, batch.noise)


class RectifiedFlow(Family):
    """A denoiser that learns the velocity of the straight path between image and noise."""

    config: RectifiedFlowConfig

    def __init__(self, config: RectifiedFlowConfig, slices: SliceSet) -> None:
        super().__init__(config, slices)
        self.averaged = build_denoiser(config, slices)
        self.encoder = self.averaged["condition_encoder"]
        objective = FlowObjective(self.averaged, time_mean=config.time_mean, time_std=config.time_std)
        self.phases = (Phase("denoiser", objective),)

    def pipeline(self, averaged: nn.Module) -> RectifiedFlowPipeline:
        """Return the flow's pipeline."""
        return RectifiedFlowPipeline(
            **averaged,
            **self.text_parts,
            scheduler=FlowMatchEulerDiscreteScheduler(),
            condition_dropout=self.config.condition_dropout,
            pixel_spacing_mm=self.spacing,
        )

    def sampling(self) -> dict[str, int]:
        """Return the number of steps of the sample grids."""
        return {"num_inference_steps": self.config.sample_inference_steps}

    def held_out(self, averaged: nn.Module, data: TrainingSlices) -> dict[str, float]:
        """Return the velocity loss on other patients."""
        objective = FlowObjective(averaged, time_mean=self.config.time_mean, time_std=self.config.time_std)
        return {"velocity": held_out_loss(objective, data)}


@torch.no_grad()
def held_out_loss(objective: nn.Module, data: TrainingSlices, *, limit: int = 256, batch_size: int = 32) -> float:
    """Return the mean loss on other patients, with all conditions given and the same draws every time.

    Compared with the training loss it shows when the model begins to learn its patients by heart.
    """
    device = next(objective.parameters()).device
    total, count = 0.0, min(limit, len(data))
    for start in range(0, count, batch_size):
        positions = range(start, min(start + batch_size, count))
        batch = draw_batch(data, positions, seed=0, withholding=Withholding(), shift=0).to(device)
        total += objective(batch).sum().item()
    return total / count
