"""The losses against torch's own, and against what is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from cmrsynth.gan.losses import (
    divergence_from_prior,
    feature_matching_loss,
    gradient_penalty,
    hinge_discriminator_loss,
    hinge_generator_loss,
    logistic_discriminator_loss,
    logistic_generator_loss,
    relativistic_loss,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_logistic_losses_are_binary_cross_entropies() -> None:
    real, fake = normal(5, 1, 3, 3), normal(5, 1, 3, 3, seed=1)
    expected = F.binary_cross_entropy_with_logits(real, torch.ones_like(real), reduction="none")
    expected = expected + F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake), reduction="none")
    torch.testing.assert_close(logistic_discriminator_loss(real, fake), expected.mean((1, 2, 3)))
    wanted = F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake), reduction="none")
    torch.testing.assert_close(logistic_generator_loss(fake), wanted.mean((1, 2, 3)))


def test_hinge_is_indifferent_beyond_the_margin_and_the_generator_never_is() -> None:
    real, fake = torch.full((1, 4), 3.0, requires_grad=True), torch.full((1, 4), -3.0, requires_grad=True)
    hinge_discriminator_loss(real, fake).sum().backward()
    assert real.grad.abs().sum() == fake.grad.abs().sum() == 0
    hinge_generator_loss(fake).sum().backward()
    assert torch.equal(fake.grad, torch.full((1, 4), -0.25))


def test_relativistic_losses_only_know_differences_and_oppose_each_other() -> None:
    real, fake = normal(6, 1), normal(6, 1, seed=1)
    torch.testing.assert_close(relativistic_loss(real, fake), relativistic_loss(real + 9, fake + 9))
    torch.testing.assert_close(relativistic_loss(real, fake) - relativistic_loss(fake, real), (fake - real)[:, 0])


def test_the_penalty_is_per_example_and_can_be_learned_from() -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    images = normal(3, 1, 4, 4).requires_grad_()
    penalty = gradient_penalty(weight * images.square().sum((1, 2, 3)) / 2, images)
    torch.testing.assert_close(penalty, weight**2 * images.square().sum((1, 2, 3)))
    penalty.sum().backward()
    torch.testing.assert_close(weight.grad, 2 * weight.detach() * images.detach().square().sum())


def test_feature_matching_holds_the_real_features_fixed() -> None:
    real, fake = normal(2, 3, 4, 4).requires_grad_(), normal(2, 3, 4, 4, seed=1).requires_grad_()
    feature_matching_loss([real], [fake]).sum().backward()
    assert real.grad is None
    assert fake.grad.abs().sum() > 0


def test_the_divergence_is_torchs() -> None:
    mean, log_variance, prior = normal(4, 6), normal(4, 6, seed=1), normal(4, 6, seed=2)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(prior, 1.0)).sum(1)
    found = divergence_from_prior(mean, log_variance, prior)
    torch.testing.assert_close(found, expected)
    assert divergence_from_prior(prior, torch.zeros(4, 6), prior).abs().max() == pytest.approx(0, abs=1e-6)
