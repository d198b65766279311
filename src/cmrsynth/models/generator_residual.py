"""A residual generator without norms, for training under gradient penalties.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F


class BottleneckBlock(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution beside the identity; it starts as the identity."""

    def __init__(self, channels: int, group_width: int = 16) -> None:
        super().__init__()
        inner = 2 * channels
        groups = inner // group_width if inner % group_width == 0 else 1
        self.widen = nn.Conv2d(channels, inner, 1)
        self.spread = nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        self.narrow = nn.Conv2d(inner, channels, 1)
        for layer in (self.widen, self.spread):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        inner = F.leaky_relu(self.widen(F.leaky_relu(hidden, 0.2)), 0.2)
        return hidden + self.narrow(F.leaky_relu(self.spread(inner), 0.2))


class ResidualGenerator(ModelMixin, ConfigMixin):
    """Make slices from latent vectors by residual blocks; the latent vector weighs learned coarse patterns.

    Args:
        sample_size: height and width of the images.
        latent_dim: L, length of the latent vector.
        embedding_dim: D, length of the condition's embedding.
        block_out_channels: width per level, from full resolution down.
        layers_per_block: residual blocks per level.

    Source: the generator of Huang et al. 2024, arXiv:2501.05441, re-implemented from the paper with one
    simplification: residual branches start at zero, after Zhang et al. 2019, arXiv:1901.09321, without its rescaling.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        latent_dim: int = 64,
        embedding_dim: int = 64,
        block_out_channels: Sequence[int] = (24, 48, 96, 192),
        layers_per_block: int = 1,
    ) -> None:
        super().__init__()
        widths = tuple(reversed(block_out_channels))
        if sample_size % 2 ** (len(widths) - 1):
            raise ValueError(f"sample_size {sample_size} cannot be halved {len(widths) - 1} times; use fewer levels")
        coarse_size = sample_size // 2 ** (len(widths) - 1)
        self.patterns = nn.Parameter(torch.randn(widths[0], coarse_size, coarse_size))
        self.weights = nn.Linear(latent_dim + embedding_dim, widths[0])
        self.levels = nn.ModuleList(
            nn.Sequential(*(BottleneckBlock(width) for _ in range(layers_per_block))) for width in widths
        )
        self.narrow = nn.ModuleList(nn.Conv2d(before, after, 1) for before, after in pairwise(widths))
        self.conv_out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, latent: Tensor, condition: Tensor) -> Tensor:
        """Return (B, 1, H, W), about [-1, 1], for latent vectors (B, L) and condition embeddings (B, D)."""
        weights = self.weights(torch.cat([latent, condition.to(latent.dtype)], dim=1))
        hidden = self.patterns * weights[:, :, None, None]
        for number, level in enumerate(self.levels):
            if number:
                hidden = self.narrow[number - 1](hidden)
                hidden = F.interpolate(hidden, scale_factor=2, mode="bilinear", align_corners=False)
            hidden = level(hidden)
        return self.conv_out(F.leaky_relu(hidden, 0.2))
