"""Reflow: a flow learns from pairs of noise and what its teacher makes of it, whose paths cross less."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmrsynth.flow.flow_map import step_along
from cmrsynth.training.batches import Batch
from cmrsynth.training.flow_map import FlowMap, without_gradients


class Pairs:
    """Pairs of noise and the teacher's image, under the masks and conditions of the first examples of the run.

    They are made where they are first needed, so that the clock of the training counts them, then kept in memory. A
    resumed run makes again those it needs, a batch at a time as before: the same to the last bit.

    Args:
        draw: returns the batch at some positions of the run.
        size: number of pairs on all processes together, a multiple of the batch size.
        steps: the teacher's Euler steps.
    """

    def __init__(self, draw: Callable[[range], Batch], *, size: int, steps: int) -> None:
        self.draw, self.size, self.steps = draw, size, steps
        self.made: dict[int, Batch] = {}

    def __call__(self, teacher: FlowMap, batch: Batch) -> Batch:
        """Return the pairs whose turn it is at the batch's positions, with the times and other draws of the batch."""
        first, count = int(batch.position[0]) % self.size, len(batch.position)
        if first not in self.made:
            pairs = self.draw(range(first, first + count)).to(batch.image.device)
            self.made[first] = pairs._replace(image=sampled(teacher, pairs, self.steps))
        pairs = self.made[first]
        return batch._replace(image=pairs.image, noise=pairs.noise, mask=pairs.mask, conditions=pairs.conditions)


def sampled(teacher: FlowMap, batch: Batch, steps: int) -> Tensor:
    """Return what a flow makes of the batch's noise in Euler steps, (B, C, H, W)."""
    point, duration = batch.noise, batch.noise.new_full((len(batch.noise),), 1 / steps)
    with without_gradients():
        prepared = teacher.prepare(batch.mask)
        for step in range(steps):
            t = torch.full_like(duration, 1 - step / steps)
            velocity = teacher(point, t, torch.zeros_like(t), prepared, batch.conditions)
            point = step_along(point, velocity, duration)
    return point


class ReflowObjective(nn.Module):
    """Another objective's losses, on the teacher's pairs in the place of data and fresh noise.

    Source: Liu et al. 2022, arXiv:2209.03003, section 2.2.

    Args:
        objective: the velocity losses.
        teacher: makes the images.
        pairs: keeps them.
    """

    def __init__(self, objective: nn.Module, teacher: FlowMap, pairs: Pairs) -> None:
        super().__init__()
        self.objective, self.teacher, self.pairs = objective, (teacher,), pairs

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        teacher = self.teacher[0]
        if next(teacher.parameters()).device != batch.image.device:
            teacher.to(batch.image.device)
        return self.objective(self.pairs(teacher, batch))
