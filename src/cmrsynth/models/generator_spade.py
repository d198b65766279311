"""A generator that turns a label mask and a style into a cardiac slice in one pass.

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


class SpatialNorm(nn.Module):
    """Group norm whose scale and shift are maps, made from the layout: they are not normalised themselves."""

    def __init__(self, channels: int, layout_channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_groups(channels), channels, affine=False)
        self.modulation = nn.Conv2d(layout_channels, 2 * channels, 3, padding=1)

    def forward(self, hidden: Tensor, layout: Tensor) -> Tensor:
        """Modulate (B, channels, H, W) by (B, layout_channels, H, W)."""
        scale, shift = self.modulation(layout).chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(hidden), 1 + scale)


class SpatialBlock(nn.Module):
    """Residual block whose norms are modulated by the mask, seen in the light of the style.

    The style is added before the rectifier of the mask's features, so that it can change each class by itself: blood
    can be brighter under one vendor while the lungs stay dark.
    """

    def __init__(self, channels: int, mask_channels: int, style_dim: int, layout_channels: int) -> None:
        super().__init__()
        self.mask_features = nn.Conv2d(mask_channels, layout_channels, 3, padding=1)
        self.style_features = nn.Linear(style_dim, layout_channels, bias=False)
        self.norm_1 = SpatialNorm(channels, layout_channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm_2 = SpatialNorm(channels, layout_channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        """Map (B, channels, h, w), given the mask (B, K, h, w) and the style (B, S), to the same shape."""
        layout = F.relu(self.mask_features(mask) + self.style_features(style)[:, :, None, None])
        residual = self.conv_1(F.leaky_relu(self.norm_1(hidden, layout), 0.2))
        return hidden + self.conv_2(F.leaky_relu(self.norm_2(residual, layout), 0.2))


class SpadeGenerator(ModelMixin, ConfigMixin):
    """Make slices from masks and styles, from a coarse grid to full resolution.

    The style alone makes the coarse grid, so it decides what the mask does not show (the chest around the heart); the
    mask enters every norm at its resolution. An absent mask is all zeros.

    Args:
        sample_size: height and width of the images.
        mask_channels: label classes including background.
        style_dim: S, length of the style.
        block_out_channels: width per level, from full resolution down.
        layout_channels: features of the mask from which scale and shift are made.

    Source: Park et al. 2019, arXiv:1903.07291, re-implemented from the paper; group norm for its batch norm, so that
    an image does not depend on its batch; no spectral norm in the generator.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        mask_channels: int = 4,
        style_dim: int = 64,
        block_out_channels: Sequence[int] = (24, 48, 96, 192),
        layout_channels: int = 24,
    ) -> None:
        super().__init__()
        widths = tuple(reversed(block_out_channels))
        if sample_size % 2 ** (len(widths) - 1):
            raise ValueError(f"sample_size {sample_size} cannot be halved {len(widths) - 1} times; use fewer levels")
        self.coarse_size = sample_size // 2 ** (len(widths) - 1)
        self.start = nn.Linear(style_dim, widths[0] * self.coarse_size**2)
        self.blocks = nn.ModuleList(SpatialBlock(width, mask_channels, style_dim, layout_channels) for width in widths)
        # before the upsampling, where it costs a quarter
        self.narrow = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.conv_out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, mask: Tensor, style: Tensor) -> Tensor:
        """Return (B, 1, H, W) in (-1, 1) for masks (B, K, H, W) of `sample_size` and styles (B, S)."""
        mask = mask.to(self.conv_out.weight.dtype)
        hidden = self.start(style).reshape(len(style), -1, self.coarse_size, self.coarse_size)
        for level, block in enumerate(self.blocks):
            if level:
                hidden = F.interpolate(self.narrow[level - 1](hidden), scale_factor=2, mode="nearest")
            factor = mask.shape[-1] // hidden.shape[-1]
            hidden = block(hidden, F.avg_pool2d(mask, factor), style)
        return torch.tanh(self.conv_out(F.leaky_relu(hidden, 0.2)))


def _groups(channels: int) -> int:
    return math.gcd(8, channels)
