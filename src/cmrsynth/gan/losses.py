"""The losses of two networks that play against each other, per example.

A score (or a map of scores) is positive where the discriminator takes an image for real.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def per_example(values: Tensor) -> Tensor:
    """Return the (B,) means of (B, ...).

    >>> per_example(torch.tensor([[1.0, 3.0], [0.0, 0.0]]))
    tensor([2., 0.])
    """
    return values.flatten(1).mean(1)


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the (B,) hinge losses of a discriminator from its scores (B, ...) of real and generated images.

    A score beyond the margin of 1 costs nothing.

    Source: Lim and Ye 2017, arXiv:1705.02894.

    >>> hinge_discriminator_loss(torch.tensor([[2.0], [0.0]]), torch.tensor([[-2.0], [0.0]]))
    tensor([0., 2.])
    """
    return per_example(F.relu(1 - real)) + per_example(F.relu(1 + fake))


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """Return the (B,) losses of a generator from the scores (B, ...) of its images.

    Source: Lim and Ye 2017, arXiv:1705.02894.
    """
    return -per_example(fake)


def logistic_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the (B,) cross-entropies of a discriminator from its scores (B, ...).

    Source: Goodfellow et al. 2014, arXiv:1406.2661, eq. 1.

    >>> logistic_discriminator_loss(torch.zeros(1, 1), torch.zeros(1, 1))  # 2 log 2
    tensor([1.3863])
    """
    return per_example(F.softplus(-real)) + per_example(F.softplus(fake))


def logistic_generator_loss(fake: Tensor) -> Tensor:
    """Return the (B,) losses of a generator that does not saturate where the discriminator is sure of itself.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """
    return per_example(F.softplus(-fake))


def relativistic_loss(winner: Tensor, loser: Tensor) -> Tensor:
    """Return the (B,) losses of whoever wants the scores (B, ...) of `winner` above those of `loser`.

    The discriminator wants real images above generated ones, the generator the reverse. Because each generated image
    is compared with a real one, dropping a part of the real images is no minimum of the game.

    Source: Jolicoeur-Martineau 2018, arXiv:1807.00734; paired as in Huang et al. 2024, arXiv:2501.05441, section 2.

    >>> relativistic_loss(torch.tensor([[5.0]]), torch.tensor([[5.0]]))  # log 2
    tensor([0.6931])
    """
    return per_example(F.softplus(loser - winner))


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Return the (B,) squared norms of the scores' gradient with respect to the images.

    On real images it is R1, on generated ones R2; with both, the game converges locally.

    Args:
        scores: (B, ...), computed from `images` in float32: the gradient of a gradient is no work for bfloat16.
        images: (B, C, H, W), requiring gradients; no score may depend on another example's image.

    Source: Mescheder et al. 2018, arXiv:1801.04406, eq. 9 and 10.

    >>> images = torch.ones(1, 1, 2, 2, requires_grad=True)
    >>> gradient_penalty((3 * images).square().sum((1, 2, 3)) / 2, images).detach()
    tensor([324.])
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3))


def feature_matching_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Return the (B,) mean absolute differences of a discriminator's features, summed over its layers.

    Source: Wang et al. 2018, arXiv:1711.11585, eq. 4.

    >>> feature_matching_loss([torch.zeros(1, 2), torch.zeros(1, 3)], [torch.ones(1, 2), torch.ones(1, 3)])
    tensor([2.])
    """
    return torch.stack([per_example((r.detach() - f).abs()) for r, f in zip(real, fake, strict=True)]).sum(0)


def divergence_from_prior(mean: Tensor, log_variance: Tensor, prior_mean: Tensor) -> Tensor:
    """Return the (B,) Kullback-Leibler divergences of a normal posterior from a normal prior of unit variance.

    Args:
        mean: (B, D), of the posterior.
        log_variance: (B, D), of the posterior.
        prior_mean: (B, D).

    Source: Kingma and Welling 2013, arXiv:1312.6114, appendix B, with a prior mean that is not zero.

    >>> divergence_from_prior(torch.ones(1, 2), torch.zeros(1, 2), torch.zeros(1, 2))
    tensor([1.])
    """
    return 0.5 * ((mean - prior_mean).square() + log_variance.exp() - 1 - log_variance).sum(1)
