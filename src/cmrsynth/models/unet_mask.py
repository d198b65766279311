"""A small, fast U-Net that denoises a cardiac slice given its label mask and its attributes.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import math
from collections.abc import Mapping, Sequence

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
    """Predict the velocity of a noisy slice, given its mask and attributes; both may be missing.

    The mask enters as one-hot channels beside the image and again, area-averaged, at every resolution: in pixel
    space a mask given only once at the input is easily ignored. An absent mask is all zeros, which differs from
    an all-background mask, whose channel 0 is one. Attributes are learned embeddings added to the time embedding;
    index 0 of each is "not given".

    The full-resolution level is kept narrow (one stem convolution, one residual block), because on a CPU its cost
    per channel is 16 times that of the level two below.

    Args:
        sample_size: height and width seen in training; any multiple of `2 ** (levels - 1)` runs.
        in_channels: image channels.
        mask_channels: label classes including background.
        block_out_channels: width per level, from full resolution down.
        layers_per_block: residual blocks per level below full resolution.
        attention_levels: levels (0 = full resolution) that have self-attention.
        vocabularies: attribute name to its known values, in the order of their indices 1, 2, ...

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
        vocabularies: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        widths = tuple(block_out_channels)
        self.embedding_dim = embedding_dim = 2 * widths[-1]
        self.time_embedding = nn.Sequential(
            nn.Linear(128, embedding_dim), nn.SiLU(), nn.Linear(embedding_dim, embedding_dim)
        )
        self.attribute_embeddings = nn.ModuleDict(
            {name: nn.Embedding(len(values) + 1, embedding_dim) for name, values in (vocabularies or {}).items()}
        )
        for table in self.attribute_embeddings.values():
            nn.init.normal_(table.weight, std=0.02)
        self.mask_projections = nn.ModuleList(nn.Conv2d(mask_channels, width, 1, bias=False) for width in widths[1:])
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

    def encode_attributes(self, batch_size: int, **values: str | Sequence[str | None] | None) -> Tensor:
        """Return the (B, A) int64 indices of attribute values; a missing, None or "unknown" value is 0.

        Args:
            batch_size: B.
            values: per attribute one value for the whole batch, or B of them.

        Raises:
            ValueError: the model has no such attribute, or does not know the value.
        """
        vocabularies = self.config.vocabularies or {}
        given = {name: value for name, value in values.items() if value is not None}
        if unknown := sorted(set(given) - set(vocabularies)):
            raise ValueError(f"this model is not conditioned on {unknown}; it knows {sorted(vocabularies)}")
        columns = []
        for name, vocabulary in vocabularies.items():
            value = given.get(name)
            column = [value] * batch_size if value is None or isinstance(value, str) else list(value)
            if len(column) != batch_size:
                raise ValueError(
                    f"{name} has {len(column)} values for a batch of {batch_size}; give one, or one per image"
                )
            index = {None: 0, "unknown": 0, **{word: i + 1 for i, word in enumerate(vocabulary)}}
            if strangers := sorted(set(column) - set(index), key=str):
                raise ValueError(f"unknown {name} {strangers}; this model knows {list(vocabulary)}")
            columns.append(torch.tensor([index[word] for word in column], dtype=torch.long))
        return torch.stack(columns, dim=1) if columns else torch.zeros(batch_size, 0, dtype=torch.long)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        mask: Tensor | None = None,
        attributes: Tensor | None = None,
        return_dict: bool = True,
    ) -> UNet2DOutput | tuple[Tensor]:
        """Return the velocity at `sample`.

        Args:
            sample: (B, 1, H, W), on the path between image (in [-1, 1]) and noise.
            timestep: 1000 t with t in [0, 1], a number or (B,).
            mask: (B, K, H, W) one-hot, zeros or None where no mask is given.
            attributes: (B, A) int64 from `encode_attributes`, or None where none is given.
            return_dict: False returns a tuple.
        """
        batch = len(sample)
        if mask is None:
            mask = sample.new_zeros(batch, self.config.mask_channels, *sample.shape[-2:])
        embedding = self._embed(torch.as_tensor(timestep, device=sample.device).expand(batch), attributes, sample.dtype)
        hidden = self.stem(torch.cat([sample, mask.to(sample.dtype)], dim=1))
        skips = []
        for downsample, level, project in zip(self.down[::2], self.down[1::2], self.mask_projections, strict=True):
            skips.append(hidden)
            mask = F.avg_pool2d(mask, 2)
            hidden = _run(level, downsample(hidden) + project(mask.to(sample.dtype)), embedding)
        hidden = self.middle(hidden, embedding)
        for upsample, level in zip(self.up[::2], self.up[1::2], strict=True):
            # the 3x3 convolution runs before the nearest upsampling: four times cheaper, and followed by a block
            hidden = F.interpolate(upsample(hidden), scale_factor=2.0, mode="nearest")
            hidden = _run(level, torch.cat([hidden, skips.pop()], dim=1), embedding)
        velocity = self.conv_out(F.silu(self.norm_out(hidden)))
        return UNet2DOutput(sample=velocity) if return_dict else (velocity,)

    def _embed(self, timestep: Tensor, attributes: Tensor | None, dtype: torch.dtype) -> Tensor:
        frequencies = torch.exp(-math.log(10_000) * torch.arange(64, device=timestep.device) / 64)
        angles = timestep.float()[:, None] * frequencies
        embedding = self.time_embedding(torch.cat([angles.cos(), angles.sin()], dim=1).to(dtype))
        for column, table in enumerate(self.attribute_embeddings.values()):
            index = torch.zeros_like(timestep, dtype=torch.long) if attributes is None else attributes[:, column]
            embedding = embedding + table(index)
        return F.silu(embedding)


def _run(level: nn.ModuleList, hidden: Tensor, embedding: Tensor) -> Tensor:
    for block in level:
        hidden = block(hidden, embedding) if isinstance(block, ResidualBlock) else block(hidden)
    return hidden


def _groups(channels: int) -> int:
    return math.gcd(8, channels)
