"""The classic convolutional generator: from a latent vector to a slice by strided convolutions alone.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F


class DcganGenerator(ModelMixin, ConfigMixin):
    """Make slices from latent vectors.

    Args:
        sample_size: height and width of the images.
        latent_dim: L, length of the latent vector.
        embedding_dim: D, length of the condition's embedding.
        block_out_channels: width per level, from half the resolution down.

    Source: Radford et al. 2015, arXiv:1511.06434, re-implemented; group norm for its batch norm, so that an image does
    not depend on its batch and two processes train like one.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        latent_dim: int = 64,
        embedding_dim: int = 64,
        block_out_channels: Sequence[int] = (24, 48, 96, 192),
    ) -> None:
        super().__init__()
        widths = tuple(reversed(block_out_channels))
        if sample_size % 2 ** len(widths):
            raise ValueError(f"sample_size {sample_size} cannot be halved {len(widths)} times; use fewer levels")
        self.coarse_size = sample_size // 2 ** len(widths)
        self.start = nn.Linear(latent_dim + embedding_dim, widths[0] * self.coarse_size**2)
        self.norms = nn.ModuleList(nn.GroupNorm(_groups(width), width) for width in widths)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1) for before, after in pairwise((*widths, 1))
        )

    def forward(self, latent: Tensor, condition: Tensor) -> Tensor:
        """Return (B, 1, H, W) in (-1, 1) for latent vectors (B, L) and condition embeddings (B, D)."""
        hidden = self.start(torch.cat([latent, condition.to(latent.dtype)], dim=1))
        hidden = hidden.reshape(len(latent), -1, self.coarse_size, self.coarse_size)
        for norm, up in zip(self.norms, self.up, strict=True):
            hidden = up(F.relu(norm(hidden)))
        return torch.tanh(hidden)


def _groups(channels: int) -> int:
    return math.gcd(8, channels)
