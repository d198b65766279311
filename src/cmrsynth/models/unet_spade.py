"""A U-Net that denoises a cardiac slice whose label mask scales and shifts its decoder, position by position (SPADE).

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional as F


class SpatialModulation(nn.Module):
    """The scale and shift of every channel and position, from a mask: convolution, ReLU, convolution.

    They are used as they come. Normalised in turn, as some implementations do, they would lose their absolute values,
    and a mask of one class everywhere could not be told from one of another. For the same reason the mask goes on
    beyond the border of the image, which zeros there would mark as a region without any class.

    Args:
        mask_channels: K, label classes including background.
        channels: C, of the activations to be modulated.

    Source: Park et al. 2019, arXiv:1903.07291, eq. 1 and figure 2.
    """

    def __init__(self, mask_channels: int, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 2, 1)  # the second convolution then costs as much as one of the block's own
        self.conv_hidden = nn.Conv2d(mask_channels, hidden, 3)
        self.conv_out = nn.Conv2d(hidden, 2 * channels, 3)  # gamma and beta side by side

    def forward(self, mask: Tensor) -> Tensor:
        """Map (B, K, H, W) to (B, 2 C, H, W): gamma, then beta."""
        # both convolutions' margin at once: the mask needs no gradient, and that of padding is not deterministic
        padded = F.pad(mask, (2, 2, 2, 2), mode="replicate")
        return self.conv_out(F.relu(self.conv_hidden(padded)))


class ModulatedBlock(nn.Module):
    """Two 3x3 convolutions with group norm; the second norm is modulated by the mask, then by the embedding (FiLM).

    Args:
        in_channels, out_channels: of the activations.
        embedding_dim: of time and conditions.
        mask_channels: 0 for a block that the mask does not modulate.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding_dim: int, mask_channels: int = 0) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(_groups(in_channels), in_channels)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm_2 = nn.GroupNorm(_groups(out_channels), out_channels, affine=False)
        self.spatial_modulation = SpatialModulation(mask_channels, out_channels) if mask_channels else None
        self.modulation = nn.Linear(embedding_dim, 2 * out_channels)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        nn.init.zeros_(self.conv_2.weight)  # a new block starts as its shortcut
        nn.init.zeros_(self.conv_2.bias)

    def forward(self, hidden: Tensor, embedding: Tensor, maps: Tensor | None = None) -> Tensor:
        """Map (B, in_channels, H, W), (B, embedding_dim) and (B, 2 out_channels, H, W) to (B, out_channels, H, W)."""
        residual = self.norm_2(self.conv_1(F.silu(self.norm_1(hidden))))
        if maps is not None:
            gamma, beta = maps.to(residual.dtype).chunk(2, dim=1)
            residual = torch.addcmul(beta, residual, 1 + gamma)
        scale, shift = self.modulation(embedding)[:, :, None, None].to(residual.dtype).chunk(2, dim=1)
        residual = torch.addcmul(shift, residual, 1 + scale)
        return self.shortcut(hidden) + self.conv_2(F.silu(residual))


class SpadeUNet(ModelMixin, ConfigMixin):
    """Predict the velocity (or noise) of a noisy slice, given its mask and an embedding of its other conditions.

    Shape and cost are those of `MaskUNet`, but the mask is not an input: in the middle and in the decoder it scales
    and shifts normalised activations at every position, where normalisation cannot wash it out. These maps depend on
    the mask alone and are computed once for all sampling steps: see `prepare_mask`. An absent mask is all zeros, which
    differs from an all-background mask, whose channel 0 is one. Masks may be soft, such as area-averaged ones for a
    latent space.

    Args:
        sample_size: height and width seen in training; any multiple of `2 ** (levels - 1)` runs.
        in_channels: image (or latent) channels.
        mask_channels: label classes including background; 0 for a network without masks.
        block_out_channels: width per level, from full resolution down.
        layers_per_block: residual blocks per level below full resolution.
        attention_levels: levels (0 = full resolution) that have self-attention.

    Source: spatially-adaptive normalisation of Park et al. 2019, arXiv:1903.07291, in the decoder of a denoiser after
    Wang et al. 2022, arXiv:2207.00050.
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
        self.embedding_dim = 2 * widths[-1]
        self.time_waves = Timesteps(128, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(128, self.embedding_dim)
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for level in range(1, len(widths)):
            self.down.append(nn.Conv2d(widths[level - 1], widths[level], 3, stride=2, padding=1))
            self.down.append(self._level(widths[level], layers_per_block, level in attention_levels))
        self.middle = ModulatedBlock(widths[-1], widths[-1], self.embedding_dim, mask_channels)
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            self.up.append(nn.Conv2d(widths[level + 1], widths[level], 3, padding=1))
            layers = layers_per_block if level else 1
            self.up.append(self._level(widths[level], layers, level in attention_levels, decoder=True))
        self.norm_out = nn.GroupNorm(_groups(widths[0]), widths[0])
        self.conv_out = nn.Conv2d(widths[0], in_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.bias)

    def _level(self, width: int, layers: int, attention: bool, decoder: bool = False) -> nn.ModuleList:
        blocks = nn.ModuleList(
            ModulatedBlock(
                2 * width if decoder and layer == 0 else width,
                width,
                self.embedding_dim,
                self.config.mask_channels if decoder else 0,
            )
            for layer in range(layers)
        )
        if attention:
            blocks.append(_self_attention(width))
        return blocks

    def prepare_mask(self, mask: Tensor) -> list[Tensor]:
        """Return what `forward` needs of a mask (B, K, H, W): gamma and beta of each modulated block, in their order.

        They do not depend on the noise, so a sampler computes them once and hands them to every step as `prepared`.
        """
        mask = mask.to(self.conv_out.weight.dtype)
        masks = [mask]
        for _ in self.down[::2]:
            masks.append(F.avg_pool2d(masks[-1], 2))
        prepared = [self.middle.spatial_modulation(masks.pop())]
        for level in self.up[1::2]:
            mask = masks.pop()
            prepared += [b.spatial_modulation(mask) for b in level if isinstance(b, ModulatedBlock)]
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
            mask: (B, K, H, W) one-hot or soft, zeros or None where no mask is given.
            condition: (B, embedding_dim) from a `ConditionEncoder`, or None where nothing is given.
            prepared: of `prepare_mask`, in the place of `mask`.
            residuals: of a `MaskControlNet`: one tensor per level from full resolution down, added to what the
                levels hand to the decoder.
            return_dict: False returns a tuple.
        """
        if prepared is None and self.config.mask_channels:
            empty = sample.new_zeros(len(sample), self.config.mask_channels, *sample.shape[-2:])
            prepared = self.prepare_mask(empty if mask is None else mask)
        maps = iter(prepared or ())
        embedding = self._embed(timestep, condition, sample)
        hidden = self.stem(sample)
        skips = []
        for downsample, level in zip(self.down[::2], self.down[1::2], strict=True):
            skips.append(hidden)
            hidden = _run(level, downsample(hidden), embedding, iter(()))
        if residuals is not None:
            skips = [skip + residual for skip, residual in zip(skips, residuals[:-1], strict=True)]
            hidden = hidden + residuals[-1]
        hidden = self.middle(hidden, embedding, next(maps, None))
        for upsample, level in zip(self.up[::2], self.up[1::2], strict=True):
            # the 3x3 convolution runs before the nearest upsampling: four times cheaper, and followed by a block
            hidden = F.interpolate(upsample(hidden), scale_factor=2.0, mode="nearest")
            hidden = _run(level, torch.cat([hidden, skips.pop()], dim=1), embedding, maps)
        velocity = self.conv_out(F.silu(self.norm_out(hidden)))
        return UNet2DOutput(sample=velocity) if return_dict else (velocity,)

    def _embed(self, timestep: Tensor | float, condition: Tensor | None, sample: Tensor) -> Tensor:
        time = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        embedding = self.time_embedding(self.time_waves(time).to(sample.dtype))
        return F.silu(embedding if condition is None else embedding + condition.to(embedding.dtype))


def _run(level: nn.ModuleList, hidden: Tensor, embedding: Tensor, maps: Iterator[Tensor]) -> Tensor:
    for block in level:
        hidden = block(hidden, embedding, next(maps, None)) if isinstance(block, ModulatedBlock) else block(hidden)
    return hidden


def _self_attention(channels: int, head_dim: int = 32) -> Attention:
    heads = next(heads for heads in range(max(1, channels // head_dim), 0, -1) if channels % heads == 0)
    attention = Attention(
        channels,
        heads=heads,
        dim_head=channels // heads,
        norm_num_groups=_groups(channels),
        residual_connection=True,
        bias=True,
    )
    nn.init.zeros_(attention.to_out[0].weight)
    nn.init.zeros_(attention.to_out[0].bias)
    return attention


def _groups(channels: int) -> int:
    return math.gcd(8, channels)
