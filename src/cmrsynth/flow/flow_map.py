"""Long steps of a flow, as pure functions: the average velocity over a step, and where it leads."""

from __future__ import annotations

from torch import Tensor


def step_along(point: Tensor, velocity: Tensor, duration: Tensor) -> Tensor:
    """Return the point a step of the flow leads to, x_r = x_t - (t - r) u, in float32.

    Args:
        point: (B, C, H, W) at the times t.
        velocity: (B, C, H, W), the average velocity u between the times.
        duration: (B,) t - r, in [0, 1].

    Source: Geng et al. 2025, arXiv:2505.13447, eq. 12.

    >>> import torch
    >>> step_along(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 2.0), torch.tensor([0.25])).item()
    0.5
    """
    return point.float() - duration[:, None, None, None] * velocity.float()


def average_of_halves(first: Tensor, second: Tensor) -> Tensor:
    """Return the average velocity over a step from those over its two halves, which is their mean.

    Source: Frans et al. 2024, arXiv:2410.12557, eq. 4.
    """
    return (first.float() + second.float()) / 2


def shortcut_step(uniform: Tensor, most_steps: int) -> tuple[Tensor, Tensor]:
    """Return the times (B,) at which steps begin, and their durations (B,): 1, 1/2, 1/4, ... of equal chance.

    A step of duration d begins at a multiple of d, as in sampling with 1 / d equal steps.

    Args:
        uniform: (B, 2) in [0, 1).
        most_steps: the shortest duration is one over this power of two.

    Source: Frans et al. 2024, arXiv:2410.12557, section 3.3.

    >>> import torch
    >>> shortcut_step(torch.tensor([[0.0, 0.9], [0.9, 0.9], [0.9, 0.0]]), 4)
    (tensor([1.0000, 1.0000, 0.2500]), tensor([1.0000, 0.2500, 0.2500]))
    """
    levels = most_steps.bit_length()
    steps = 2 ** (uniform[:, 0] * levels).floor()
    return ((uniform[:, 1] * steps).floor() + 1) / steps, 1 / steps
