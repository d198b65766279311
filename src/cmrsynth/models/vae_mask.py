"""A variational autoencoder of label masks, as signed distances to the border of each structure, under conditions.

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


class MaskVAE(ModelMixin, ConfigMixin):
    """Encode a mask as a normal distribution over a vector, and decode such a vector under conditions.

    A mask is K maps of signed distances, positive inside a structure, in units of `reach` pixels and cut off at 1.
    Distances vary smoothly, so a blurred prediction still has one sharp border, and the label of a pixel is the
    structure it lies deepest in (`to_labels`). Distances are independent normals around the decoded ones with one
    learned deviation.

    Args:
        sample_size: height and width of the masks.
        label_channels: K, label classes including background.
        latent_dim: length of the vector.
        block_out_channels: width per level, from full resolution down.

    Source: Kingma and Welling 2014, arXiv:1312.6114; conditional after Sohn et al. 2015 (NeurIPS, "Learning
    structured output representation"); learned deviation after Rybkin et al. 2021, arXiv:2006.13202; distances as
    the shape's representation after Park et al. 2019, arXiv:1901.05103.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        label_channels: int = 4,
        latent_dim: int = 32,
        block_out_channels: Sequence[int] = (24, 48, 96, 128),
    ) -> None:
        super().__init__()
        widths = tuple(block_out_channels)
        if sample_size % 2 ** (len(widths) - 1):
            raise ValueError(f"sample_size {sample_size} cannot be halved {len(widths) - 1} times; use fewer levels")
        self.embedding_dim = embedding_dim = 2 * widths[-1]
        self.smallest = sample_size // 2 ** (len(widths) - 1)
        flat = widths[-1] * self.smallest**2
        self.stem = nn.Conv2d(label_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.norms_down = nn.ModuleList(nn.GroupNorm(math.gcd(8, width), width) for width in widths)
        self.to_posterior = nn.Linear(flat + embedding_dim, 2 * latent_dim)
        self.from_latent = nn.Linear(latent_dim + embedding_dim, flat)
        self.up = nn.ModuleList(nn.Conv2d(after, before, 3, padding=1) for before, after in pairwise(widths))
        self.norms_up = nn.ModuleList(nn.GroupNorm(math.gcd(8, width), width) for width in widths)
        self.conv_out = nn.Conv2d(widths[0], label_channels, 3, padding=1)
        self.log_deviation = nn.Parameter(torch.full((1,), math.log(0.3)))

    @property
    def reach(self) -> float:
        """The distance from a border, in pixels, that a map shows as 1; farther is the same."""
        return self.config.sample_size / 8

    def encode(self, distances: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, (B, latent_dim) float32 each, of the posterior over the vector.

        Args:
            distances: (B, K, H, W) in [-1, 1].
            condition: (B, embedding_dim) of a `ConditionEncoder`, or None where nothing is given.
        """
        hidden = self.stem(distances)
        for norm, downsample in zip(self.norms_down, (*self.down, None), strict=True):
            hidden = F.silu(norm(hidden))
            hidden = hidden if downsample is None else downsample(hidden)
        given = torch.cat([hidden.flatten(1), self._given(condition, hidden)], dim=1)
        mean, log_variance = self.to_posterior(given).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 10)

    def decode(self, latent: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the (B, K, H, W) distances, about [-1, 1], that vectors (B, latent_dim) stand for."""
        hidden = self.from_latent(torch.cat([latent, self._given(condition, latent)], dim=1))
        hidden = hidden.unflatten(1, (-1, self.smallest, self.smallest))
        for level in reversed(range(len(self.norms_up))):
            if level < len(self.up):
                # the convolution runs before the upsampling, four times cheaper
                hidden = F.interpolate(self.up[level](hidden), scale_factor=2.0, mode="bilinear")
            hidden = F.silu(self.norms_up[level](hidden))
        return self.conv_out(hidden)

    @staticmethod
    def to_labels(distances: Tensor) -> Tensor:
        """Return the (B, H, W) uint8 label map of (B, K, H, W) distances."""
        return distances.argmax(dim=1).to(torch.uint8)

    def forward(self, distances: Tensor, noise: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the two terms of the negative evidence bound, (B,) nats per distance each.

        Args:
            distances: (B, K, H, W) in [-1, 1].
            noise: (B, latent_dim), standard normal, decides the draw from the posterior.
            condition: (B, embedding_dim) of a `ConditionEncoder`, or None.

        Returns:
            The negative log-likelihood of the distances, and the divergence of the posterior from the standard
            normal.
        """
        mean, log_variance = self.encode(distances, condition)
        latent = mean + (0.5 * log_variance).exp() * noise
        decoded = self.decode(latent.to(distances.dtype), condition).float()
        log_deviation = self.log_deviation.float()
        squared = ((distances.float() - decoded) / log_deviation.exp()).square().mean(dim=(1, 2, 3))
        likelihood = 0.5 * squared + log_deviation + 0.5 * math.log(2 * math.pi)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return likelihood, divergence / distances[0].numel()

    def _given(self, condition: Tensor | None, like: Tensor) -> Tensor:
        return like.new_zeros(len(like), self.embedding_dim) if condition is None else condition.to(like.dtype)
