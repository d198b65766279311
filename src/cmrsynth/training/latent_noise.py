"""The noise of a latent, from that of the image it belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def latent_noise(noise: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the first of an image's normals (B, 1, H, W) as those of its latent (B, *shape).

    An example's draws are decided by its position in the run, and a latent needs fewer numbers than its image.

    Raises:
        ValueError: it needs more.

    >>> import torch
    >>> latent_noise(torch.zeros(2, 1, 8, 8), (4, 2, 2)).shape
    torch.Size([2, 4, 2, 2])
    """
    count = 1
    for side in shape:
        count *= side
    if count > noise[0].numel():
        raise ValueError(f"a latent of shape {tuple(shape)} needs {count} normals, the image has {noise[0].numel()}")
    return noise.flatten(1)[:, :count].unflatten(1, tuple(shape))
