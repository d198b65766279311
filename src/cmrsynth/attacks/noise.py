"""Noise that every image under attack meets alike, so that scores differ by the images alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_STREAM = 31  # random stream


@dataclass(frozen=True)
class SharedNoise:
    """Standard normal noise by number of the draw: the same for every batch, order and device.

    Args:
        seed: the run's seed.

    >>> import torch
    >>> one, two = (SharedNoise(0).like(torch.zeros(n, 1, 2, 2), 0) for n in (1, 5))
    >>> one.shape, bool((one == two).all())
    (torch.Size([1, 1, 2, 2]), True)
    """

    seed: int

    def like(self, images: Tensor, draw: int) -> Tensor:
        """Return (1, C, H, W) noise for images (B, C, H, W), on their device."""
        rng = np.random.default_rng([self.seed, _STREAM, draw])
        return images.new_tensor(rng.standard_normal((1, *images.shape[1:])))
