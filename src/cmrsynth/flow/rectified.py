"""The straight path between image and noise, its velocity, and the times at which it is learned."""

from __future__ import annotations

import torch
from torch import Tensor


def interpolate(image: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return the point at time `t` of the straight path from `image` (t = 0) to `noise` (t = 1).

    Args:
        image: (B, C, H, W) in [-1, 1].
        noise: (B, C, H, W), standard normal.
        t: (B,) in [0, 1].

    Source: Liu et al. 2022, arXiv:2209.03003, eq. 1 (with the time axis of Esser et al. 2024, arXiv:2403.03206).

    >>> interpolate(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor([0.25])).item()
    0.25
    """
    t = t[:, None, None, None]
    return torch.lerp(image, noise, t)


def velocity_loss(velocity: Tensor, image: Tensor, noise: Tensor) -> Tensor:
    """Return the per-sample squared error of a predicted velocity.

    Args:
        velocity: (B, C, H, W), the network's prediction.
        image: (B, C, H, W) in [-1, 1].
        noise: (B, C, H, W), standard normal.

    Returns:
        (B,) mean over channels and pixels.

    Source: Liu et al. 2022, arXiv:2209.03003, eq. 1.

    >>> velocity_loss(torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))
    tensor([0., 0.])
    """
    return (velocity.float() - (noise - image)).square().mean(dim=(1, 2, 3))


def logit_normal_time(normal: Tensor, *, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Return times in (0, 1) whose logit is normal: the middle of the path, the hardest part, is drawn most.

    Args:
        normal: standard normal draws of any shape.
        mean: of the logit; positive values favour noise.
        std: of the logit; large values favour both ends.

    Source: Esser et al. 2024, arXiv:2403.03206, section 3.1.

    >>> logit_normal_time(torch.tensor([0.0])).item()
    0.5
    """
    return torch.sigmoid(mean + std * normal)
