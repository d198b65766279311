"""A small, fast U-Net that denoises a cardiac slice given its label mask, concatenated to its input.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import math
from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group norm; the embedding scales and shifts the second norm (FiLM)."""

    def __init__(self, in_channels: int, out_channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(_groups(in_channels), in_channels)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation = nn.Linear(embedding_dim, 2 * out_channels)
        self.norm_2 = nn.GroupNorm(_groups(out_channels), out_channels)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        nn.init.zeros_(self.conv_2.weight)  # a new block starts as its shortcut
        nn.init.zeros_(self.conv_2.bias)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) and (B, embedding_dim) to (B, out_channels, H, W)."""
        residual = self.conv_1(F.silu(self.norm_1(hidden)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        residual = torch.addcmul(shift, self.norm_2(residual), 1 + scale)
        return self.shortcut(hidden) + self.conv_2(F.silu(residual))


class SelfAttention(nn.Module):
    """Self-attention over all positions of a low-resolution level."""

    def __init__(self, channels: int, head_dim: int = 32) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(max(1, channels // head_dim), 0, -1) if channels % heads == 0)
        self.norm = nn.GroupNorm(_groups(channels), channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        batch, channels, height, width = hidden.shape
        qkv = self.to_qkv(self.norm(hidden)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = qkv.transpose(-1, -2).unbind(1)  # (B, heads, H*W, head_dim)
        attended = F.scaled_dot_product_attention(query, key, value)
        return hidden + self.to_out(attended.transpose(-1, -2).reshape(batch, channels, height, width))


class MaskUNet(ModelMixin, ConfigMixin):
    """Predict the velocity (or noise) of a noisy slice, given its mask and an embedding of its other conditions.

    The mask enters as one-hot channels beside the image and again, area-averaged, at every resolution: in pixel
    space a mask given only once at the input is easily ignored. An absent mask is all zeros, which differs from
    an all-background mask, whose channel 0 is one. The embedding comes from `ConditionEncoder` and is added to that
    of the time. What depends on the mask alone can be computed once for all steps: see `prepare_mask`.

    The full-resolution level is kept narrow (one stem convolution, one residual block), because on a CPU its cost
    per channel is 16 times that of the level two below.

    Args:
        sample_size: height and width seen in training; any multiple of `2 ** (levels - 1)` runs.
        in_channels: image (or latent) channels.
        mask_channels: label classes including background; 0 for a network without masks.
        block_out_channels: width per level, from full resolution down.
        layers_per_block: residual blocks per level below full resolution.
        attention_levels: levels (0 = full resolution) that have self-attention.

    Source: U-Net denoiser after Ho et al. 2020 (arXiv:2006.11239); mask concatenation after Konz et al. 2024
    (arXiv:2402.05210), re-implemented with one-hot masks.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        in_channels: int = 1,
        mask_channels: int = 4,
        block_out_channels: Sequence[int] = (24, 48, 96, 192),
        layers_per_block: int = 1,
        attention_levels: Sequence[int] = (3,),
    ) -> None:
        super().__init__()
        widths = tuple(block_out_channels)
        self.embedding_dim = embedding_dim = 2 * widths[-1]
        self.time_embedding = nn.Sequential(
            nn.Linear(128, embedding_dim), nn.SiLU(), nn.Linear(embedding_dim, embedding_dim)
        )
        self.mask_projections = nn.ModuleList(
            nn.Conv2d(mask_channels, width, 1, bias=False) for width in widths[1:] if mask_channels
        )
        self.stem = nn.Conv2d(in_channels + mask_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for level in range(1, len(widths)):
            self.down.append(nn.Conv2d(widths[level - 1], widths[level], 3, stride=2, padding=1))
            self.down.append(self._level(widths[level], layers_per_block, level in attention_levels))
        self.middle = ResidualBlock(widths[-1], widths[-1], embedding_dim)
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.up.append(nn.Conv2d(widths[level + 1], widths[level], 3, padding=1))
            self.up.append(
                self._level(widths[level], layers_per_block if level else 1, level in attention_levels, skip=True)
            )
        self.norm_out = nn.GroupNorm(_groups(widths[0]), widths[0])
        self.conv_out = nn.Conv2d(widths[0], in_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.bias)

    def _level(self, width: int, layers: int, attention: bool, skip: bool = False) -> nn.ModuleList:
        blocks = nn.ModuleList(
            ResidualBlock(2 * width if skip and layer == 0 else width, width, self.embedding_dim)
            for layer in range(layers)
        )
        if attention:
            blocks.append(SelfAttention(width))
        return blocks

    def prepare_mask(self, mask: Tensor) -> list[Tensor]:
        """Return what `forward` needs of a mask (B, K, H, W): itself, and its projection at each lower resolution.

        It does not depend on the noise, so a sampler computes it once and hands it to every step as `prepared`.
        """
        dtype = self.conv_out.weight.dtype
        prepared = [mask.to(dtype)]
        for project in self.mask_projections:
            mask = F.avg_pool2d(mask, 2)
            prepared.append(project(mask.to(dtype)))
        return prepared

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        mask: Tensor | None = None,
        condition: Tensor | None = None,
        prepared: list[Tensor] | None = None,
        residuals: list[Tensor] | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Return the velocity (or noise) at `sample`.

        Args:
            sample: (B, C, H, W), on the path between image (in [-1, 1]) and noise.
            timestep: 1000 t with t in [0, 1], a number or (B,).
            mask: (B, K, H, W) one-hot, zeros or None where no mask is given.
            condition: (B, embedding_dim) from a `ConditionEncoder`, or None where nothing is given.
            prepared: of `prepare_mask`, in the place of `mask`.
            residuals: of a `MaskControlNet`: one tensor per level from full resolution down, added to what the
                levels hand to the decoder.
            return_dict: False returns a tuple.
        """
        batch = len(sample)
        if prepared is None and self.config.mask_channels:
            empty = sample.new_zeros(batch, self.config.mask_channels, *sample.shape[-2:])
            prepared = self.prepare_mask(empty if mask is None else mask)
        given = [sample, prepared[0].to(sample.dtype)] if self.config.mask_channels else [sample]
        time = torch.as_tensor(timestep, device=sample.device).expand(batch)
        embedding = self._embed(time, condition, sample.dtype)
        hidden = self.stem(torch.cat(given, dim=1))
        skips = []
        for number, (downsample, level) in enumerate(zip(self.down[::2], self.down[1::2], strict=True), start=1):
            skips.append(hidden)
            hidden = downsample(hidden)
            if self.config.mask_channels:
                hidden = hidden + prepared[number]
            hidden = _run(level, hidden, embedding)
        if residuals is not None:
            skips = [skip + residual for skip, residual in zip(skips, residuals[:-1], strict=True)]
            hidden = hidden + residuals[-1]
        hidden = self.middle(hidden, embedding)
        for upsample, level in zip(self.up[::2], self.up[1::2], strict=True):
            # the 3x3 convolution runs before the nearest upsampling: four times cheaper, and followed by a block
            hidden = F.interpolate(upsample(hidden), scale_factor=2.0, mode="nearest")
            hidden = _run(level, torch.cat([hidden, skips.pop()], dim=1), embedding)
        velocity = self.conv_out(F.silu(self.norm_out(hidden)))
        return UNet2DOutput(sample=velocity) if return_dict else (velocity,)

    def _embed(self, timestep: Tensor, condition: Tensor | None, dtype: torch.dtype) -> Tensor:
        frequencies = torch.exp(-math.log(10_000) * torch.arange(64, device=timestep.device) / 64)
        angles = timestep.float()[:, None] * frequencies
        embedding = self.time_embedding(torch.cat([angles.cos(), angles.sin()], dim=1).to(dtype))
        return F.silu(embedding if condition is None else embedding + condition.to(embedding.dtype))


def _run(level: nn.ModuleList, hidden: Tensor, embedding: Tensor) -> Tensor:
    for block in level:
        hidden = block(hidden, embedding) if isinstance(block, ResidualBlock) else block(hidden)
    return hidden


def _groups(channels: int) -> int:
    return math.gcd(8, channels)
