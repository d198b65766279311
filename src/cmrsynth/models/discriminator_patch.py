"""A multi-scale patch discriminator: it judges texture everywhere in an image, and never ships with a generator.

The file imports only torch, like its neighbours that do ship.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class Judgement(NamedTuple):
    """What the discriminator says at one scale.

    Args:
        logits: (B, 1, h, w), positive where a patch looks real.
        features: the activations before it, from the widest to the deepest, for feature matching.
    """

    logits: Tensor
    features: list[Tensor]


class SpectralConv2d(nn.Conv2d):
    """A convolution of spectral norm 1; the norm is estimated in float32 whatever the autocast precision is."""

    def __init__(self, *arguments: int, **options: int) -> None:
        super().__init__(*arguments, **options)
        spectral_norm(self)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, h, w)."""
        with torch.autocast(hidden.device.type, enabled=False):
            weight = self.weight
        return self._conv_forward(hidden, weight, self.bias)


class PatchJudge(nn.Module):
    """The discriminator of one scale: strided convolutions, then one logit per patch."""

    def __init__(self, in_channels: int, widths: Sequence[int], spectral: bool = True) -> None:
        super().__init__()
        channels, convolution = (in_channels, *widths), SpectralConv2d if spectral else nn.Conv2d
        self.layers = nn.ModuleList(
            convolution(before, after, 4, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.deepest = convolution(widths[-1], widths[-1], 3, padding=1)
        self.to_logit = convolution(widths[-1], 1, 3, padding=1)
        if not spectral:  # signals keep their size through the layers, so that differences are seen from the start
            for layer in (*self.layers, self.deepest):
                nn.init.kaiming_normal_(layer.weight, a=0.2)
                nn.init.zeros_(layer.bias)

    def forward(self, shown: Tensor) -> Judgement:
        """Judge (B, in_channels, H, W)."""
        features = []
        for layer in (*self.layers, self.deepest):
            shown = F.leaky_relu(layer(shown), 0.2)
            features.append(shown)
        return Judgement(self.to_logit(shown), features)


class PatchDiscriminator(nn.Module):
    """Judge an image, and how it goes with its mask, at several resolutions.

    There is no batch norm: what is said of an image must not depend on its batch, and two processes must equal one.

    Args:
        image_channels: of the image.
        mask_channels: label classes, shown beside the image; 0 for a discriminator that sees no mask.
        widths: channels of the strided convolutions, each of which halves the resolution.
        scales: resolutions at which the image is judged, each half the one before.
        spectral: spectral norm of all layers, which steadies the game; without it the layers pass on
            more from the start, and texture is seen sooner.

    Source: patches after Isola et al. 2017, arXiv:1611.07004; several scales and feature matching after Wang et al.
    2018, arXiv:1711.11585; spectral norm after Miyato et al. 2018, arXiv:1802.05957.
    """

    def __init__(
        self,
        image_channels: int = 1,
        mask_channels: int = 4,
        widths: Sequence[int] = (32, 64, 128),
        scales: int = 2,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        self.mask_channels, self.smallest = mask_channels, 2 ** (len(widths) + scales - 1)
        self.judges = nn.ModuleList(PatchJudge(image_channels + mask_channels, widths, spectral) for _ in range(scales))

    def forward(self, image: Tensor, mask: Tensor | None = None) -> list[Judgement]:
        """Return one judgement per scale, full resolution first.

        Args:
            image: (B, C, H, W) in [-1, 1]; the sides are multiples of `self.smallest`.
            mask: (B, K, H, W) one-hot, zeros or None where none is given.

        Raises:
            ValueError: the image is too small for the layers, or a mask is given to a discriminator that sees none.
        """
        if any(side % self.smallest for side in image.shape[-2:]):
            raise ValueError(
                f"image sides must be multiples of {self.smallest}, got {tuple(image.shape[-2:])}; use fewer widths or "
                "scales"
            )
        if mask is not None and not self.mask_channels:
            raise ValueError("this discriminator sees no mask; build it with mask_channels")
        if self.mask_channels:
            given = image.new_zeros(len(image), self.mask_channels, *image.shape[-2:]) if mask is None else mask
            image = torch.cat([image, given.to(image.dtype)], dim=1)
        judgements = []
        for number, judge in enumerate(self.judges):
            judgements.append(judge(F.avg_pool2d(image, 2**number) if number else image))
        return judgements
