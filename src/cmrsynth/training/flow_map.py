"""A flow map in training: the networks of a flow's pipeline as one function of point, time and duration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cmrsynth.flow.rectified import interpolate, logit_normal_time, velocity_loss
from cmrsynth.training.batches import Batch

Prepared = list[Tensor] | None


class FlowMap(nn.Module):
    """Predict average velocities with the networks of a `RectifiedFlowPipeline`.

    Args:
        networks: {"unet", "condition_encoder"}, and "controlnet" and "duration_encoder" where there are any.
    """

    def __init__(self, networks: nn.ModuleDict) -> None:
        super().__init__()
        self.networks = networks

    def prepare(self, mask: Tensor) -> Prepared:
        """Return what depends on the masks (B, K, H, W) alone, once for all steps; None for a flow without masks."""
        network = self.networks["controlnet" if "controlnet" in self.networks else "unet"]
        return network.prepare_mask(mask) if network.config.mask_channels else None

    def forward(self, point: Tensor, t: Tensor, duration: Tensor, prepared: Prepared, conditions: Tensor) -> Tensor:
        """Return the average velocity between t and t - duration, (B, C, H, W) in float32.

        Args:
            point: (B, C, H, W) at the times t.
            t: (B,) in [0, 1].
            duration: (B,) in [0, t]; networks without a duration encoder predict the velocity at t whatever it is.
            prepared: of `prepare`.
            conditions: (B, C) rows of `ConditionEncoder.encode`.
        """
        networks = self.networks
        condition = networks["condition_encoder"](conditions)
        if "duration_encoder" in networks:
            condition = condition + networks["duration_encoder"](duration)
        given = {"condition": condition, "prepared": prepared}
        if "controlnet" in networks:
            residuals = networks["controlnet"](point, 1000 * t, **given)
            given = {"condition": condition, "residuals": residuals}
        return networks["unet"](point, 1000 * t, **given).sample.float()


class VelocityObjective(nn.Module):
    """The velocity losses of a flow map at duration 0, where it is a rectified flow.

    Source: Liu et al. 2022, arXiv:2209.03003.

    Args:
        flow_map: learns.
        time_mean, time_std: of the logit of the time.
    """

    def __init__(self, flow_map: FlowMap, *, time_mean: float = 0.0, time_std: float = 1.0) -> None:
        super().__init__()
        self.flow_map, self.time_mean, self.time_std = flow_map, time_mean, time_std

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        t = logit_normal_time(batch.time_normal, mean=self.time_mean, std=self.time_std)
        point = interpolate(batch.image, batch.noise, t)
        prepared = self.flow_map.prepare(batch.mask)
        velocity = self.flow_map(point, t, torch.zeros_like(t), prepared, batch.conditions)
        return velocity_loss(velocity, batch.image, batch.noise)


@contextmanager
def without_gradients() -> Iterator[None]:
    """Compute without gradients, also within autocast: its cache of weights would withhold them from later calls."""
    with torch.no_grad():
        yield
    torch.clear_autocast_cache()


def rows_of(prepared: Prepared, rows: Tensor | slice) -> Prepared:
    """Return some examples of what `FlowMap.prepare` returned."""
    return None if prepared is None else [level[rows] for level in prepared]
