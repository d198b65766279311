"""A convolutional variational autoencoder of cardiac slices, given their label mask and other conditions.

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


class ModulatedBlock(nn.Module):
    """A residual block of two 3x3 convolutions with group norm; an embedding scales and shifts the second norm."""

    def __init__(self, channels: int, embedding_dim: int) -> None:
        super().__init__()
        groups = math.gcd(8, channels)
        self.norm_1, self.norm_2 = nn.GroupNorm(groups, channels), nn.GroupNorm(groups, channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(embedding_dim, 2 * channels)
        nn.init.zeros_(self.conv_2.bias)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        """Map (B, channels, H, W) and (B, embedding_dim) to (B, channels, H, W)."""
        residual = self.conv_1(F.silu(self.norm_1(hidden)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        residual = torch.addcmul(shift, self.norm_2(residual), 1 + scale)
        return hidden + self.conv_2(F.silu(residual))


class CardiacVAE(ModelMixin, ConfigMixin):
    """Encode a slice as a normal distribution over a vector, and decode such a vector under a mask and conditions.

    What the mask and the conditions say need not be in the vector, because the decoder gets them too: the mask,
    area-averaged, at every resolution, the embedding of a `ConditionEncoder` in every block. The vector enters at the
    lowest resolution, where it decides the layout around the heart, and modulates every block, where it decides
    contrast and texture. Pixels are independent normals around the decoded image with one learned deviation.

    Args:
        sample_size: height and width of the images.
        mask_channels: label classes including background; 0 for a network without masks.
        latent_dim: length of the vector.
        block_out_channels: width per level, from full resolution down.

    Source: Kingma and Welling 2014, arXiv:1312.6114; conditional after Sohn et al. 2015 (NeurIPS, "Learning
    structured output representation"); learned deviation after Rybkin et al. 2021, arXiv:2006.13202.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        mask_channels: int = 4,
        latent_dim: int = 128,
        block_out_channels: Sequence[int] = (24, 48, 96, 192, 192),
    ) -> None:
        super().__init__()
        widths = tuple(block_out_channels)
        if sample_size % 2 ** (len(widths) - 1):
            raise ValueError(f"sample_size {sample_size} cannot be halved {len(widths) - 1} times; use fewer levels")
        self.embedding_dim = embedding_dim = 2 * widths[-1]
        self.smallest = sample_size // 2 ** (len(widths) - 1)
        self.stem = nn.Conv2d(1 + mask_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.encoder_blocks = nn.ModuleList(ModulatedBlock(width, embedding_dim) for width in widths[1:])
        self.norm_posterior = nn.GroupNorm(math.gcd(8, widths[-1]), widths[-1])
        self.to_posterior = nn.Linear(widths[-1] * self.smallest**2, 2 * latent_dim)

        self.from_latent = nn.Linear(latent_dim, widths[-1] * self.smallest**2)
        self.latent_embedding = nn.Linear(latent_dim, embedding_dim)
        self.mask_projections = nn.ModuleList(
            nn.Conv2d(mask_channels, width, 3, padding=1, bias=False) for width in widths if mask_channels
        )
        self.decoder_blocks = nn.ModuleList(ModulatedBlock(width, embedding_dim) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(after, before, 3, padding=1) for before, after in pairwise(widths))
        self.norm_out = nn.GroupNorm(math.gcd(8, widths[0]), widths[0])
        self.conv_out = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.log_deviation = nn.Parameter(torch.full((1,), math.log(0.3)))

    def encode(
        self, image: Tensor, mask: Tensor | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, (B, latent_dim) float32 each, of the posterior over the vector.

        Args:
            image: (B, 1, H, W) in [-1, 1].
            mask: (B, K, H, W) one-hot, zeros or None where none is given.
            condition: (B, embedding_dim) of a `ConditionEncoder`, or None where nothing is given.
        """
        embedding = self._embed(condition, image)
        given = [image, self._given(mask, image)] if self.config.mask_channels else [image]
        hidden = self.stem(torch.cat(given, dim=1))
        for downsample, block in zip(self.down, self.encoder_blocks, strict=True):
            hidden = block(downsample(hidden), embedding)
        hidden = F.silu(self.norm_posterior(hidden))
        mean, log_variance = self.to_posterior(hidden.flatten(1)).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latent: Tensor, mask: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Return the (B, 1, H, W) image, about [-1, 1], that vectors (B, latent_dim) stand for."""
        embedding = self._embed(condition, latent, self.latent_embedding(latent))
        size, smallest = self.config.sample_size, self.smallest
        masks = []
        if self.config.mask_channels:
            pixels = self._given(mask, latent.new_zeros(len(latent), 1, size, size))
            masks = [project(F.avg_pool2d(pixels, 2**level)) for level, project in enumerate(self.mask_projections)]
        hidden = self.from_latent(latent).unflatten(1, (-1, smallest, smallest))
        for level in reversed(range(len(self.decoder_blocks))):
            if level < len(self.up):
                # the convolution runs before the nearest upsampling, four times cheaper
                hidden = F.interpolate(self.up[level](hidden), scale_factor=2.0, mode="nearest")
            hidden = hidden + masks[level] if masks else hidden
            hidden = self.decoder_blocks[level](hidden, embedding)
        return self.conv_out(F.silu(self.norm_out(hidden)))

    def forward(
        self, image: Tensor, noise: Tensor, mask: Tensor | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the two terms of the negative evidence bound, (B,) nats per pixel each.

        Args:
            image: (B, 1, H, W) in [-1, 1].
            noise: (B, latent_dim), standard normal, decides the draw from the posterior.
            mask: (B, K, H, W) one-hot, zeros or None where none is given.
            condition: (B, embedding_dim) of a `ConditionEncoder`, or None.

        Returns:
            The negative log-likelihood of the image, and the divergence of the posterior from the standard normal.
        """
        mean, log_variance = self.encode(image, mask, condition)
        latent = mean + (0.5 * log_variance).exp() * noise
        decoded = self.decode(latent.to(image.dtype), mask, condition).float()
        log_deviation = self.log_deviation.float()
        squared = ((image.float() - decoded) / log_deviation.exp()).square().mean(dim=(1, 2, 3))
        likelihood = 0.5 * squared + log_deviation + 0.5 * math.log(2 * math.pi)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return likelihood, divergence / image[0].numel()

    def _embed(self, condition: Tensor | None, like: Tensor, added: Tensor | None = None) -> Tensor:
        nothing = like.new_zeros(len(like), self.embedding_dim)
        embedding = nothing if condition is None else condition.to(like.dtype)
        return F.silu(embedding if added is None else embedding + added)

    def _given(self, mask: Tensor | None, image: Tensor) -> Tensor:
        """Return the mask in the image's precision, zeros where none is given."""
        if mask is None:
            return image.new_zeros(len(image), self.config.mask_channels, *image.shape[-2:])
        return mask.to(image.device, image.dtype)
