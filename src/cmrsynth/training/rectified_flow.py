"""What the rectified-flow program does in one step, and how it measures itself."""

from __future__ import annotations

import torch
from torch import Tensor

from cmrsynth.flow.rectified import interpolate, logit_normal_time, velocity_loss
from cmrsynth.training.batches import Batch, TrainingSlices, Withholding, draw_batch


def flow_loss(network: torch.nn.Module, batch: Batch, *, time_mean: float, time_std: float) -> Tensor:
    """Return the (B,) velocity losses of a batch at its drawn times.

    Source: Liu et al. 2022, arXiv:2209.03003, with logit-normal times of Esser et al. 2024, arXiv:2403.03206.
    """
    t = logit_normal_time(batch.time_normal, mean=time_mean, std=time_std)
    noisy = interpolate(batch.image, batch.noise, t)
    velocity = network(noisy, 1000 * t, mask=batch.mask, attributes=batch.attributes, return_dict=False)[0]
    return velocity_loss(velocity, batch.image, batch.noise)


@torch.no_grad()
def held_out_loss(network: torch.nn.Module, data: TrainingSlices, *, limit: int = 256, batch_size: int = 32) -> float:
    """Return the mean velocity loss on other patients, with all conditions given and the same draws every time.

    Compared with the training loss it shows when the model begins to learn its patients by heart.
    """
    device = next(network.parameters()).device
    nothing_withheld = Withholding(0.0, 0.0, 0.0)
    total, count = 0.0, min(limit, len(data))
    for start in range(0, count, batch_size):
        positions = range(start, min(start + batch_size, count))
        batch = draw_batch(data, positions, seed=0, withholding=nothing_withheld, shift=0).to(device)
        total += flow_loss(network, batch, time_mean=0.0, time_std=1.0).sum().item()
    return total / count
