"""GANs and autoencoders whose leak is known exactly, because they look images up; nothing is trained.

Each has the methods through which pipelines of its family are attacked, and ignores all conditions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lookup:
    """A set of images, found again by their likeness.

    Args:
        members: (N, H, W) in [-1, 1].
    """

    members: np.ndarray

    @cached_property
    def images(self) -> Tensor:
        """(N, 1, H, W)."""
        import torch

        return torch.from_numpy(self.members.astype(np.float32))[:, None]

    def nearest(self, image: Tensor) -> Tensor:
        """Return the (B,) numbers of the members most like images (B, 1, H, W)."""
        import torch

        return torch.cdist(image.flatten(1), self.images.flatten(1)).argmin(1)


@dataclass(frozen=True)
class LookupGan(Lookup):
    """A GAN without masks whose every sample is a training image, of equal chance, with noise.

    Args:
        noise: standard deviation of the noise.
    """

    noise: float = 0.0
    latent_dim: ClassVar[int] = 2
    mask_channels: ClassVar[int] = 0

    @property
    def generator(self) -> Any:
        """A network without weights."""
        import torch

        return torch.nn.Identity()

    def decode_latent(self, latent: Tensor, mask: Tensor | None = None, **attributes: list) -> Tensor:
        """Return (B, 1, H, W): the first number of a vector picks the image, the vector its noise."""
        import torch

        share = 0.5 * (1 + torch.erf(latent[:, 0].detach() / 2**0.5))
        picked = self.images[(share * len(self.images)).long().clamp(max=len(self.images) - 1)]
        seeds = (latent[:, 1].detach() * 1e6).long().abs().tolist()
        grains = [np.random.default_rng(seed).normal(0, self.noise, picked.shape[1:]) for seed in seeds]
        # the sum with 0 times the vector lets gradients be asked for: they are 0
        return picked + picked.new_tensor(np.stack(grains)) + 0 * latent.sum(1)[:, None, None, None]


@dataclass(frozen=True)
class LookupStyleGan(LookupGan):
    """A GAN whose style encoder knows which training image it sees, and whose generator makes just that one."""

    latent_dim: ClassVar[int] = 2

    def encode_latent(self, image: Tensor, **attributes: list) -> Tensor:
        """Return (B, 2): the vector that decodes to the member most like each image."""
        import torch

        share = (self.nearest(image).double() + 0.5) / len(self.images)
        place = 2**0.5 * torch.erfinv(2 * share - 1)
        return torch.stack([place, torch.zeros_like(place)], dim=1).float()


@dataclass(frozen=True)
class LookupVae(Lookup):
    """A VAE that rebuilds the training image most like the one it is shown."""

    sample_size: ClassVar[None] = None

    @property
    def vae(self) -> SimpleNamespace:
        """The shape of its vector."""
        return SimpleNamespace(config=SimpleNamespace(latent_dim=1))

    def reconstruction_error(self, image: Tensor, mask: Tensor | None = None, **attributes: list) -> Tensor:
        """Return (B,) mean squared differences to the nearest member."""
        return (self.images[self.nearest(image)] - image).square().flatten(1).mean(1)

    def negative_evidence_bound(
        self, image: Tensor, noise: Tensor, mask: Tensor | None = None, **attributes: list
    ) -> Tensor:
        """Return (B,) half the error: the bound of unit deviation, up to a constant."""
        return self.reconstruction_error(image) / 2


@dataclass(frozen=True)
class LookupAutoencoderPipeline(Lookup):
    """An autoencoder, as a pipeline by itself, that rebuilds the training image most like the one it is shown."""

    sample_size: ClassVar[None] = None
    mask_channels: ClassVar[int] = 0

    @property
    def vae(self) -> SimpleNamespace:
        """Its network, like diffusers' AutoencoderKL."""
        return SimpleNamespace(encode=self._encode, decode=lambda latent: SimpleNamespace(sample=latent))

    def encode(self, image: Tensor) -> Tensor:
        """Return the member most like each image."""
        return self.images[self.nearest(image)]

    def decode(self, latent: Tensor) -> Tensor:
        """Return the latent, which is an image."""
        return latent

    def _encode(self, image: Tensor) -> Any:
        mean = self.encode(image)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, std=mean.new_full(mean.shape, 1e-3)))


@dataclass(frozen=True)
class LatentFlowOf:
    """A latent flow whose latents are the images, under an autoencoder that rebuilds its members and blurs others.

    Args:
        flow: offers `velocity`.
        members: (N, H, W) in [-1, 1].
    """

    flow: Any
    members: np.ndarray

    @property
    def vae(self) -> SimpleNamespace:
        """The autoencoder, like diffusers' AutoencoderKL."""
        config = SimpleNamespace(scaling_factor=1.0)
        return SimpleNamespace(encode=self._encode, decode=lambda latent: SimpleNamespace(sample=latent), config=config)

    def velocity(self, sample: Tensor, t: Tensor, mask: Tensor | None = None, **attributes: list) -> Tensor:
        """Return noise - image of the flow."""
        return self.flow.velocity(sample, t, mask, **attributes)

    def _encode(self, image: Tensor) -> Any:
        lookup = Lookup(self.members)
        missed = (lookup.images[lookup.nearest(image)] - image).square().flatten(1).mean(1) > 1e-6
        mean = image * (1 - 0.5 * missed.float())[:, None, None, None]
        posterior = SimpleNamespace(mode=lambda: image, mean=mean, std=mean.new_full(mean.shape, 1e-3))
        return SimpleNamespace(latent_dist=posterior)
