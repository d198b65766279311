"""A transformer on image patches (DiT) that denoises a cardiac slice given its label mask.

The file travels with the weights to the Hub, so it imports only torch and diffusers.
"""

import math
from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import PatchEmbed, TimestepEmbedding, Timesteps
from diffusers.models.normalization import AdaLayerNormContinuous
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional as F


class MaskDiT(ModelMixin, ConfigMixin):
    """Predict the velocity (or noise) of a noisy slice, given its mask and an embedding of its other conditions.

    The patches are `2 ** (levels - 1)` pixels wide: a few strided convolutions make them, transformer blocks of
    diffusers work on them, and one convolution at full resolution, which also sees the first features, hides their
    seams. Each patch's piece of the one-hot mask is embedded and added to it, so that all blocks see it; an absent
    mask is all zeros and adds nothing. Time and conditions scale, shift and gate every block.

    `DiTTransformer2DModel` of diffusers has class labels as its only condition and draws their dropout from the global
    random state; its parts are used here instead.

    Args:
        sample_size: height and width seen in training; any multiple of `2 ** (levels - 1)` runs.
        in_channels: image (or latent) channels.
        mask_channels: label classes including background; 0 for a network without masks.
        block_out_channels: width per level, from full resolution down; the last is that of the transformer, a
            multiple of 4.
        num_layers: transformer blocks.

    Source: Peebles and Xie 2022, arXiv:2212.09748; one modulation shared by all blocks after Chen et al. 2023,
    arXiv:2310.00426; convolutional patch embedding after Xiao et al. 2021, arXiv:2106.14881; convolution after the
    patches after Bao et al. 2022, arXiv:2209.12152.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        in_channels: int = 1,
        mask_channels: int = 4,
        block_out_channels: Sequence[int] = (32, 64, 192),
        num_layers: int = 6,
    ) -> None:
        super().__init__()
        *widths, width = block_out_channels
        if not widths or width % 4:
            raise ValueError(
                f"block_out_channels {tuple(block_out_channels)}: give two levels or more, the last a multiple of 4"
            )
        self.embedding_dim, self.patch_size = width, 2 ** len(widths)
        self.time_waves = Timesteps(128, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(128, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, stride=2, padding=1) for i in range(len(widths) - 1)
        )
        side = 2 * sample_size // self.patch_size
        self.patches = PatchEmbed(side, side, patch_size=2, in_channels=widths[-1], embed_dim=width)
        self.mask_patches = (
            nn.Conv2d(mask_channels, width, self.patch_size, stride=self.patch_size, bias=False)
            if mask_channels
            else None
        )
        self.blocks = nn.ModuleList(self._block(width) for _ in range(num_layers))
        self.norm_patches = AdaLayerNormContinuous(width, width, elementwise_affine=False, eps=1e-6)
        self.unpatch = nn.Linear(width, self.patch_size**2 * widths[0])
        self.norm_out = nn.GroupNorm(1, widths[0])
        self.conv_out = nn.Conv2d(widths[0], in_channels, 3, padding=1)
        for part in (self.modulation, self.norm_patches.linear):  # a new block starts closed, as in adaLN-Zero
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
        nn.init.zeros_(self.conv_out.bias)

    @staticmethod
    def _block(width: int) -> BasicTransformerBlock:
        head_dim = math.gcd(32, width)
        block = BasicTransformerBlock(
            width,
            width // head_dim,
            head_dim,
            activation_fn="gelu-approximate",
            attention_bias=True,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
        )
        nn.init.zeros_(block.scale_shift_table)
        return block

    def prepare_mask(self, mask: Tensor) -> list[Tensor]:
        """Return what `forward` needs of a mask (B, K, H, W): the (B, patches, width) embedding of its patches.

        It does not depend on the noise, so a sampler computes it once and hands it to every step as `prepared`.
        """
        return [self.mask_patches(mask.to(self.conv_out.weight.dtype)).flatten(2).transpose(1, 2)]

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
            residuals: None; here for the sake of the same signature as that of the U-Nets.
            return_dict: False returns a tuple.

        Raises:
            ValueError: there are `residuals`.
        """
        if residuals is not None:
            raise ValueError("a ControlNet adds to the skips of a U-Net, and a transformer has none; use MaskUNet")
        if prepared is None and mask is not None and self.mask_patches is not None:
            prepared = self.prepare_mask(mask)
        embedding = self._embed(timestep, condition, sample)
        hidden = features = self.stem(sample)
        for downsample in self.down:
            hidden = downsample(F.silu(hidden))
        tokens = self.patches(F.silu(hidden))  # (B, patches, width), with their positions
        if prepared:
            tokens = tokens + prepared[0].to(tokens.dtype)
        modulation = self.modulation(F.silu(embedding))
        for block in self.blocks:
            tokens = block(tokens, timestep=modulation)  # what diffusers calls a time step here is its embedding
        tokens = self.unpatch(self.norm_patches(tokens, embedding))
        height, width = (side // self.patch_size for side in sample.shape[-2:])
        detail = F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (height, width)), self.patch_size)
        velocity = self.conv_out(F.silu(self.norm_out(features + detail)))
        return UNet2DOutput(sample=velocity) if return_dict else (velocity,)

    def _embed(self, timestep: Tensor | float, condition: Tensor | None, sample: Tensor) -> Tensor:
        time = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        embedding = self.time_embedding(self.time_waves(time).to(sample.dtype))
        return embedding if condition is None else embedding + condition.to(embedding.dtype)
