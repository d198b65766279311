"""The discriminators of the maskless GANs; they never ship, so they may share blocks with the generators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from cmrsynth.models.generator_residual import BottleneckBlock


class DcganDiscriminator(nn.Module):
    """Score images by strided convolutions; the condition enters by projection.

    Args:
        sample_size: height and width of the images.
        widths: channels of the strided convolutions, each of which halves the resolution.

    Source: Radford et al. 2015, arXiv:1511.06434, with group norm for its batch norm (none in the first layer);
    projection after Miyato and Koyama 2018, arXiv:1802.05637.
    """

    def __init__(self, sample_size: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1) for before, after in pairwise((1, *widths))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(_groups(width), width) for width in widths[1:])
        self.embedding_dim = widths[-1] * (sample_size // 2 ** len(widths)) ** 2
        self.to_score = nn.Linear(self.embedding_dim, 1)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Return (B, 1) scores of images (B, 1, H, W) in [-1, 1] under embeddings (B, `embedding_dim`)."""
        hidden = F.leaky_relu(self.convolutions[0](image), 0.2)
        for convolution, norm in zip(self.convolutions[1:], self.norms, strict=True):
            hidden = F.leaky_relu(norm(convolution(hidden)), 0.2)
        features = hidden.flatten(1)
        return self.to_score(features) + (features * condition).sum(1, keepdim=True) / self.embedding_dim**0.5


class ResidualDiscriminator(nn.Module):
    """Score images by residual blocks, the mirror image of `ResidualGenerator`; the condition enters by projection.

    There are no norms at all, as in the paper, and no bias after the last rectifier: only differences of scores count.

    Args:
        sample_size: height and width of the images.
        widths: per level, from full resolution down.
        layers: residual blocks per level.

    Source: Huang et al. 2024, arXiv:2501.05441, re-implemented from the paper; projection after Miyato and
    Koyama 2018, arXiv:1802.05637.
    """

    def __init__(self, sample_size: int, widths: Sequence[int], layers: int) -> None:
        super().__init__()
        self.embedding_dim = widths[-1]
        self.conv_in = nn.Conv2d(1, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(nn.Sequential(*(BottleneckBlock(width) for _ in range(layers))) for width in widths)
        self.widen = nn.ModuleList(nn.Conv2d(before, after, 1) for before, after in pairwise(widths))
        coarse_size = sample_size // 2 ** (len(widths) - 1)
        self.patterns = nn.Conv2d(widths[-1], widths[-1], coarse_size, groups=widths[-1], bias=False)
        self.to_score = nn.Linear(widths[-1], 1, bias=False)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Return (B, 1) scores of images (B, 1, H, W) in [-1, 1] under embeddings (B, `embedding_dim`)."""
        hidden = self.conv_in(image)
        for number, level in enumerate(self.levels):
            if number:
                hidden = F.avg_pool2d(self.widen[number - 1](hidden), 2)
            hidden = level(hidden)
        features = self.patterns(F.leaky_relu(hidden, 0.2)).flatten(1)
        return self.to_score(features) + (features * condition).sum(1, keepdim=True) / self.embedding_dim**0.5


def _groups(channels: int) -> int:
    return math.gcd(8, channels)
