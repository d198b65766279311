"""The two sides of the GANs without masks: what their discriminators and their generators minimise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmrsynth.gan.losses import (
    gradient_penalty,
    logistic_discriminator_loss,
    logistic_generator_loss,
    relativistic_loss,
)
from cmrsynth.training.batches import Batch
from cmrsynth.training.family import frozen


def draw_images(generating: nn.ModuleDict, batch: Batch) -> Tensor:
    """Return (B, 1, H, W) images of {"generator", "condition_encoder"} for a batch's conditions and latents."""
    generator = generating["generator"]
    latent = batch.latent[:, : generator.config.latent_dim]
    return generator(latent, generating["condition_encoder"](batch.conditions)).float()


def score(judging: nn.ModuleDict, augmentation: Callable, image: Tensor, batch: Batch) -> Tensor:
    """Return the (B, 1) scores of {"score", "condition_encoder"} for augmented images with the batch's conditions."""
    image, _ = augmentation(image, None, batch.uniform)
    return judging["score"](image, judging["condition_encoder"](batch.conditions)).float()


class Discriminating(nn.Module):
    """What the discriminators' objectives share.

    Args:
        judging: {"score", "condition_encoder"}, which learn.
        generating: {"generator", "condition_encoder"}, which do not.
        augmentation: of both kinds of images.
    """

    def __init__(self, judging: nn.ModuleDict, generating: nn.ModuleDict, augmentation: Callable) -> None:
        super().__init__()
        self.judging, self.generating, self.augmentation = judging, (generating,), augmentation


class Generating(nn.Module):
    """What the generators' objectives share.

    Args:
        generating: {"generator", "condition_encoder"}, which learn.
        judging: {"score", "condition_encoder"}, which do not.
        augmentation: of all images the discriminator sees.
    """

    def __init__(self, generating: nn.ModuleDict, judging: nn.ModuleDict, augmentation: Callable) -> None:
        super().__init__()
        self.generating, self.judging, self.augmentation = generating, (judging,), augmentation


class LogisticDiscriminatorObjective(Discriminating):
    """The cross-entropy of telling real from generated."""

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        with torch.no_grad():
            images = draw_images(self.generating[0], batch)
        real = score(self.judging, self.augmentation, batch.image, batch)
        self.augmentation.note(real)
        return logistic_discriminator_loss(real, score(self.judging, self.augmentation, images, batch))


class LogisticGeneratorObjective(Generating):
    """The non-saturating loss of being told from real."""

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        images = draw_images(self.generating, batch)
        with frozen(self.judging[0]) as judging:
            return logistic_generator_loss(score(judging, self.augmentation, images, batch))


class RelativisticDiscriminatorObjective(Discriminating):
    """Real above generated, pair by pair, with both zero-centred gradient penalties.

    Source: Huang et al. 2024, arXiv:2501.05441, section 2.

    Args:
        judging, generating, augmentation: see `Discriminating`.
        penalty: weight of the penalties, halved as in the paper.
    """

    def __init__(
        self, judging: nn.ModuleDict, generating: nn.ModuleDict, augmentation: Callable, penalty: float
    ) -> None:
        super().__init__(judging, generating, augmentation)
        self.penalty = penalty

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        with torch.no_grad():
            images = draw_images(self.generating[0], batch)
        real, fake = batch.image.detach().requires_grad_(), images.requires_grad_()
        # float32 throughout: bfloat16 has too few digits for the gradient of a gradient
        with torch.enable_grad(), torch.autocast(real.device.type, enabled=False):
            of_real = score(self.judging, self.augmentation, real, batch)
            of_fake = score(self.judging, self.augmentation, fake, batch)
            penalties = gradient_penalty(of_real, real) + gradient_penalty(of_fake, fake)
        # what an image scores counts only beside its rival's score
        self.augmentation.note(of_real - of_fake)
        return relativistic_loss(of_real, of_fake) + self.penalty / 2 * penalties


class RelativisticGeneratorObjective(Generating):
    """Generated above real, pair by pair."""

    def forward(self, batch: Batch) -> Tensor:
        """Return (B,) losses."""
        images = draw_images(self.generating, batch)
        with frozen(self.judging[0]) as judging:
            with torch.no_grad():
                real = score(judging, self.augmentation, batch.image, batch)
            return relativistic_loss(score(judging, self.augmentation, images, batch), real)
