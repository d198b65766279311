"""A branch that gives the label mask to a denoiser trained without one.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import math
from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with group norm; the embedding scales and shifts the second norm (FiLM)."""

    def __init__(self, in_channels: int, out_channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(math.gcd(8, in_channels), in_channels)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.modulation = nn.Linear(embedding_dim, 2 * out_channels)
        self.norm_2 = nn.GroupNorm(math.gcd(8, out_channels), out_channels)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

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
        self.norm = nn.GroupNorm(math.gcd(8, channels), channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        batch, channels, height, width = hidden.shape
        qkv = self.to_qkv(self.norm(hidden)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = qkv.transpose(-1, -2).unbind(1)  # (B, heads, H*W, head_dim)
        attended = F.scaled_dot_product_attention(query, key, value)
        return hidden + self.to_out(attended.transpose(-1, -2).reshape(batch, channels, height, width))


class MaskControlNet(ModelMixin, ConfigMixin):
    """Return what a label mask adds to the levels of a `MaskUNet` that takes no mask.

    A copy of the base's contracting path, which also sees the mask: at full resolution through a 3x3 convolution, and
    again, area-averaged, at every level below. There is no network in between that first shrinks the mask, as there is
    where the base works in latents: in pixels it would blur the borders that are to be obeyed. Each level leaves
    through a 1x1 convolution that begins at zero, so that an untrained ControlNet changes nothing. The mask's own
    convolutions begin at random: so the first gradient of those zeros already depends on the mask.

    An absent mask (all zeros) adds nothing, by construction: there, the base alone speaks. An all-background mask
    is not absent.

    Args:
        sample_size: height and width seen in training; any multiple of `2 ** (levels - 1)` runs.
        in_channels: image (or latent) channels.
        mask_channels: label classes including background.
        block_out_channels: width per level, from full resolution down, as in the base.
        layers_per_block: residual blocks per level below full resolution, as in the base.
        attention_levels: levels (0 = full resolution) that have self-attention, as in the base.

    Source: Zhang et al. 2023, arXiv:2302.05543, re-implemented for a denoiser of pixels.
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
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for level in range(1, len(widths)):
            self.down.append(nn.Conv2d(widths[level - 1], widths[level], 3, stride=2, padding=1))
            blocks = [ResidualBlock(widths[level], widths[level], embedding_dim) for _ in range(layers_per_block)]
            attention = [SelfAttention(widths[level])] if level in attention_levels else []
            self.down.append(nn.ModuleList([*blocks, *attention]))
        self.mask_stem = nn.Conv2d(mask_channels, widths[0], 3, padding=1, bias=False)
        self.mask_projections = nn.ModuleList(nn.Conv2d(mask_channels, width, 1, bias=False) for width in widths[1:])
        self.outputs = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        for output in self.outputs:
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)

    @classmethod
    def from_unet(cls, unet: nn.Module, mask_channels: int = 4) -> "MaskControlNet":
        """Return an untrained ControlNet for `unet`, whose contracting path and weights it copies.

        Args:
            unet: a `MaskUNet` without masks (mask_channels=0).
            mask_channels: label classes including background.

        Raises:
            ValueError: `unet` is another network, or takes a mask itself.
        """
        if type(unet).__name__ != "MaskUNet":  # by name: the base's class may have come with its weights
            raise ValueError(f"a MaskControlNet copies a MaskUNet, and this is a {type(unet).__name__}")
        if unet.config.mask_channels:
            raise ValueError("this MaskUNet takes a mask itself; a ControlNet needs one with mask_channels=0")
        names = ("sample_size", "in_channels", "block_out_channels", "layers_per_block", "attention_levels")
        network = cls(mask_channels=mask_channels, **{name: unet.config[name] for name in names})
        for part in ("time_embedding", "stem", "down"):
            getattr(network, part).load_state_dict(getattr(unet, part).state_dict())
        return network

    def prepare_mask(self, mask: Tensor) -> list[Tensor]:
        """Return what `forward` needs of a mask (B, K, H, W): whether there is one, and its features at each level.

        It does not depend on the noise, so a sampler computes it once and hands it to every step as `prepared`.
        """
        dtype = self.stem.weight.dtype
        given = (mask != 0).flatten(1).any(1).to(dtype)[:, None, None, None]
        prepared = [given, self.mask_stem(mask.to(dtype))]
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
    ) -> list[Tensor]:
        """Return the `residuals` of `MaskUNet.forward`: per level (B, width, H / 2^level, W / 2^level).

        Args:
            sample: (B, C, H, W), on the path between image (in [-1, 1]) and noise.
            timestep: 1000 t with t in [0, 1], a number or (B,).
            mask: (B, K, H, W) one-hot or soft, all zeros where an image has none.
            condition: (B, embedding_dim) from a `ConditionEncoder`, or None where nothing is given.
            prepared: of `prepare_mask`, in the place of `mask`.

        Raises:
            ValueError: neither `mask` nor `prepared` is given.
        """
        if prepared is None:
            if mask is None:
                raise ValueError("a ControlNet needs a mask; without one, call the base alone")
            prepared = self.prepare_mask(mask)
        given, at_stem, *below = prepared
        embedding = self._embed(torch.as_tensor(timestep, device=sample.device).expand(len(sample)), condition, sample)
        hidden = self.stem(sample) + at_stem
        levels = [hidden]
        for downsample, level, at_level in zip(self.down[::2], self.down[1::2], below, strict=True):
            hidden = downsample(hidden) + at_level
            for block in level:
                hidden = block(hidden, embedding) if isinstance(block, ResidualBlock) else block(hidden)
            levels.append(hidden)
        return [given * output(hidden) for output, hidden in zip(self.outputs, levels, strict=True)]

    def _embed(self, timestep: Tensor, condition: Tensor | None, sample: Tensor) -> Tensor:
        frequencies = torch.exp(-math.log(10_000) * torch.arange(64, device=timestep.device) / 64)
        angles = timestep.float()[:, None] * frequencies
        embedding = self.time_embedding(torch.cat([angles.cos(), angles.sin()], dim=1).to(sample.dtype))
        return F.silu(embedding if condition is None else embedding + condition.to(embedding.dtype))
