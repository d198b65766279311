"""The two sides of the mask-conditioned GAN: what its discriminator and its generator minimise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmrsynth.gan.augmentation import DRAWS
from cmrsynth.gan.losses import (
    divergence_from_prior,
    feature_matching_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
)
from cmrsynth.models.discriminator_patch import Judgement
from cmrsynth.training.batches import Batch
from cmrsynth.training.family import frozen

CONDITION_PLANES = 8  # constant channels in which the discriminator sees the conditions


def draw_images(generating: nn.ModuleDict, batch: Batch, prior_share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return generated images, where their style is that of the real image, and the divergences of the styles.

    A share of the styles is drawn from what the conditions lead to expect, as in sampling, and not from the real image:
    otherwise the discriminator would never judge an image as it will be made.

    Args:
        generating: {"generator", "style_encoder", "condition_encoder"}.
        batch: its masks, images, conditions and draws.
        prior_share: of the styles that are drawn from the conditions.

    Returns:
        (B, 1, H, W) in (-1, 1); (B,) bool; (B,).

    Source: both ways of drawing after Zhu et al. 2017, arXiv:1711.11586.
    """
    expected = generating["condition_encoder"](batch.conditions).float()
    mean, log_variance = (x.float() for x in generating["style_encoder"](batch.image))
    of_image = batch.uniform[:, DRAWS] >= prior_share
    noise = batch.latent[:, : mean.shape[1]]
    style = torch.where(of_image[:, None], mean + (log_variance / 2).exp() * noise, expected + noise)
    images = generating["generator"](batch.mask, style).float()
    return images, of_image, divergence_from_prior(mean, log_variance, expected)


def judge(judging: nn.ModuleDict, augmentation: Callable, image: Tensor, batch: Batch) -> list[Judgement]:
    """Return what the discriminator says, at each scale, of images (B, 1, H, W) with the batch's masks and conditions.

    Args:
        judging: {"patches", "condition_encoder"}.
        augmentation: changes images and masks before they are seen.
        image: real or generated.
        batch: its masks, conditions and draws.
    """
    planes = judging["condition_encoder"](batch.conditions)[:, :, None, None].expand(-1, -1, *image.shape[-2:])
    image, mask = augmentation(image, batch.mask, batch.uniform)
    return judging["patches"](image, torch.cat([mask, planes.to(mask.dtype)], dim=1))


def discriminator_loss(judging: nn.ModuleDict, augmentation: Callable, image: Tensor, batch: Batch) -> Tensor:
    """Return the (B,) hinge losses of a discriminator, averaged over its scales, and let the augmentation take note.

    Args:
        judging: {"patches", "condition_encoder"}.
        augmentation: of both kinds of images.
        image: (B, C, H, W), the generated ones.
        batch: the real ones, with the masks and conditions of both.
    """
    real = judge(judging, augmentation, batch.image, batch)
    fake = judge(judging, augmentation, image, batch)
    augmentation.note(torch.cat([scale.logits.flatten() for scale in real]))
    losses = [hinge_discriminator_loss(r.logits.float(), f.logits.float()) for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean(0)


class SpadeDiscriminatorObjective(nn.Module):
    """The hinge losses of the discriminator, averaged over its scales.

    Args:
        judging: {"patches", "condition_encoder"}, which learn.
        generating: the generator's networks, which do not.
        augmentation: of both kinds of images.
        prior_share: see `draw_images`.
    """

    def __init__(
        self, judging: nn.ModuleDict, generating: nn.ModuleDict, augmentation: Callable, prior_share: float
    ) -> None:
        super().__init__()
        self.judging, self.generating = judging, (generating,)
        self.augmentation, self.prior_share = augmentation, prior_share

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        with torch.no_grad():
            images, _, _ = draw_images(self.generating[0], batch, self.prior_share)
        return discriminator_loss(self.judging, self.augmentation, images, batch)


class SpadeGeneratorObjective(nn.Module):
    """The losses of the generator: hinge, the real image's features where its style was given, and the styles' spread.

    Args:
        generating: {"generator", "style_encoder", "condition_encoder"}, which learn.
        judging: the discriminator's networks, which do not.
        augmentation: of all images the discriminator sees.
        prior_share: see `draw_images`.
        feature_matching_weight: of the features.
        kl_weight: of the styles' divergence from what the conditions lead to expect.

    Source: Park et al. 2019, arXiv:1903.07291, without its loss on a pretrained network's features.
    """

    def __init__(
        self,
        generating: nn.ModuleDict,
        judging: nn.ModuleDict,
        augmentation: Callable,
        *,
        prior_share: float,
        feature_matching_weight: float,
        kl_weight: float,
    ) -> None:
        super().__init__()
        self.generating, self.judging = generating, (judging,)
        self.augmentation, self.prior_share = augmentation, prior_share
        self.feature_matching_weight, self.kl_weight = feature_matching_weight, kl_weight

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        images, of_image, divergence = draw_images(self.generating, batch, self.prior_share)
        with frozen(self.judging[0]) as judging:
            fake = judge(judging, self.augmentation, images, batch)
            with torch.no_grad():
                real = judge(judging, self.augmentation, batch.image, batch)
        scales = list(zip(real, fake, strict=True))
        fooling = torch.stack([hinge_generator_loss(f.logits.float()) for _, f in scales]).mean(0)
        alike = torch.stack([feature_matching_loss(_float(r.features), _float(f.features)) for r, f in scales]).mean(0)
        return fooling + self.feature_matching_weight * alike * of_image + self.kl_weight * divergence


def _float(features: list[Tensor]) -> list[Tensor]:
    return [feature.float() for feature in features]
