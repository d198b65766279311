from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cmrsynth.attacks.gan import GanLeaks, logan
from cmrsynth.attacks.vae import elbo_scores, reconstruction_scores
from cmrsynth.metrics.membership import auc

COUNT, SIDE = 40, 4


def images(seed: int, count: int = COUNT) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 1, SIDE, SIDE)).astype(np.float32))


def is_known(members, part):
    return (torch.cdist(part.flatten(1), members.flatten(1)).min(1).values < 1e-2).float()  # cdist rounds


def test_a_discriminator_that_looks_its_images_up_gives_them_away_and_a_constant_one_does_not():
    members, others = images(0), images(1)
    lookup = lambda part: is_known(members, part)  # noqa: E731
    assert auc(logan(lookup, members, batch=7), logan(lookup, others)) == 1
    constant = lambda part: torch.zeros(len(part), 1)  # noqa: E731
    assert auc(logan(constant, members), logan(constant, others)) == 0.5


@pytest.mark.parametrize("gradients", [True, False])
def test_a_generator_that_can_make_an_image_gives_it_away(gradients):
    rng = np.random.default_rng(2)
    basis = torch.from_numpy(np.linalg.qr(rng.normal(size=(SIDE**2, 2)))[0].T.astype(np.float32)) * SIDE
    generator = lambda z: (z @ basis).reshape(-1, 1, SIDE, SIDE)  # noqa: E731
    members, others = generator(torch.from_numpy(rng.normal(size=(6, 2)).astype(np.float32))), images(3, 6)
    attack = GanLeaks(latent_dim=2, gradients=gradients, restarts=1)
    found, strange = attack.scores(generator, members), attack.scores(generator, others)
    assert found.min() > -0.01
    assert strange.max() < -0.1


class LookupAutoencoder:
    """Rebuilds what it has seen without error, and the mean image of everything else."""

    def __init__(self, members):
        self.members = members

    def encode(self, part):
        code = torch.where(is_known(self.members, part)[:, None, None, None] > 0, part, torch.zeros_like(part))
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=code, std=torch.full_like(code, 1e-4)))

    def decode(self, latent):
        return SimpleNamespace(sample=latent)


class LinearAutoencoder:
    """Principal components of other images."""

    def __init__(self, fitted_on):
        self.basis = torch.linalg.svd(fitted_on.flatten(1), full_matrices=False).Vh[:6]

    def encode(self, part):
        code = part.flatten(1) @ self.basis.T
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=code, std=torch.full_like(code, 0.1)))

    def decode(self, latent):
        return SimpleNamespace(sample=(latent @ self.basis).reshape(-1, 1, SIDE, SIDE))


@pytest.mark.parametrize("attack", [reconstruction_scores, lambda *a, **k: elbo_scores(*a, observation_std=1e-2, **k)])
def test_an_autoencoder_that_looks_images_up_is_caught_and_one_of_other_patients_is_not(attack):
    members, others = images(0), images(1)
    leaker, control = LookupAutoencoder(members), LinearAutoencoder(images(5, 300))
    assert auc(attack(leaker, members), attack(leaker, others)) == 1
    assert abs(auc(attack(control, members), attack(control, others)) - 0.5) < 3 * np.sqrt(81 / (12 * COUNT**2))


def test_the_bound_of_a_gaussian_agrees_with_its_closed_form():
    """With mean 0, std 1 the divergence is 0; with std s it is (s^2 - 1 - 2 log s) / 2 per latent."""
    zeros = torch.zeros(3, 1, SIDE, SIDE)

    def autoencoder(std):
        posterior = SimpleNamespace(mean=zeros, std=torch.full_like(zeros, std))
        return SimpleNamespace(
            encode=lambda part: SimpleNamespace(latent_dist=posterior),
            decode=lambda latent: SimpleNamespace(sample=torch.zeros_like(latent)),
        )

    np.testing.assert_allclose(elbo_scores(autoencoder(1.0), zeros), 0, atol=1e-9)
    expected = -(0.25 - 1 - 2 * np.log(0.5)) / 2
    np.testing.assert_allclose(elbo_scores(autoencoder(0.5), zeros), expected, rtol=1e-5)
    half = elbo_scores(autoencoder(1.0), zeros + 1, observation_std=1.0)
    np.testing.assert_allclose(half, -0.5, rtol=1e-6)


def test_scores_are_the_same_in_any_batch():
    members, leaker = images(0), LinearAutoencoder(images(5, 300))
    one, two = (reconstruction_scores(leaker, members, batch=batch) for batch in (7, 40))
    np.testing.assert_allclose(one, two, rtol=1e-5)
