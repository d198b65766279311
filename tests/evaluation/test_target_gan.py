"""Attacks on GANs and VAEs whose leak is known exactly; no network is trained."""

from __future__ import annotations

from dataclasses import replace
from math import exp
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cmrsynth.certification.denoisers import random_fields
from cmrsynth.certification.lookups import LookupAutoencoderPipeline, LookupGan, LookupStyleGan, LookupVae
from cmrsynth.evaluation.attack_scores import attack_generator
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD
from cmrsynth.evaluation.generator_attacks import generator_figures
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target_gan import GanTarget

SIDE, PATIENTS = 16, 30
SETTINGS = EvaluationSettings(resamples=60, membership_samples=4, search_steps=3)
PLANTED = {"style GAN": LookupStyleGan, "VAE": LookupVae, "autoencoder": LookupAutoencoderPipeline}


@pytest.fixture(scope="module")
def sets(toy_set):
    def of(seed: int, patients: int = PATIENTS, slices: int = 2):
        part = toy_set(f"set{seed}", patients, seed=seed, slices=slices)
        images = 0.5 + random_fields(patients * slices, SIDE, seed=seed, variance=0.04)
        images = np.clip(images, 0, 1).astype(np.float32)
        return replace(part, images=images, masks=np.zeros(images.shape, np.uint8))

    return of


def seen(part) -> np.ndarray:
    return part.images * 2 - 1


@pytest.mark.parametrize("family", PLANTED)
def test_a_generator_that_looks_its_training_images_up_is_not_to_be_shared(family, sets):
    train, holdout = sets(4), sets(5)
    found = {f.name: f for f in generator_figures(PLANTED[family](seen(train)), train, holdout, SETTINGS)}
    for name in ("membership_auc", "membership_strongest_auc", "membership_tpr", "overfitting_gap"):
        assert found[name].verdict == DO_NOT_SHARE, name
    assert found["membership_auc"].value > 0.95
    assert found["overfitting_gap"].value > 0.8


@pytest.mark.parametrize("family", PLANTED)
def test_one_that_looked_up_other_patients_is_not_accused(family, sets):
    train, holdout = sets(4), sets(5)
    found = {f.name: f for f in generator_figures(PLANTED[family](seen(sets(6))), train, holdout, SETTINGS)}
    assert {f.verdict for f in found.values() if f.value is not None} == {GOOD}
    assert abs(found["membership_auc"].value - 0.5) < 3 * np.sqrt((2 * PATIENTS + 1) / (12 * PATIENTS**2))


def test_one_noisy_copy_of_a_random_training_image_for_each_gives_the_known_answer(sets):
    """A share c = 1 - 1/e of the members is hit by a sample: the AUC is c + (1 - c) / 2 = 0.816."""
    aucs = []
    for seed in range(5):
        train, holdout = (sets(10 * seed + side, patients=128, slices=1) for side in (4, 5))
        pipeline = LookupGan(seen(train), noise=0.02)
        settings = replace(SETTINGS, membership_samples=2, search_steps=0, seed=seed)  # 128 without masks
        found = attack_generator(pipeline, train, holdout, settings)
        plain = found.base.features[:, 0]
        aucs.append((plain[:128, None] > plain[None, 128:]).mean())
        assert found.base.auc(*found.base.sides.rows()) > 0.7
    assert np.mean(aucs) == pytest.approx(1 - exp(-1) / 2, abs=0.03)


def test_the_discriminator_is_asked_where_it_is_given(sets):
    train, holdout = sets(4), sets(5)
    known = {image.tobytes() for image in train.images}

    def lookup(part):
        return np.array([float(image.tobytes() in known) for image in part.images])

    def constant(part):
        return np.zeros(len(part))

    for discriminator, expected in ((lookup, 1.0), (constant, 0.5)):
        found = attack_generator(LookupGan(seen(sets(6))), train, holdout, SETTINGS, discriminator=discriminator)
        scored = found.attacks["discriminator"]
        assert scored.auc(*scored.sides.rows()) == pytest.approx(expected, abs=1e-9)
        assert "LOGAN" in found.made_with["discriminator"]
    assert "discriminator" not in attack_generator(LookupGan(seen(train)), train, holdout, SETTINGS).attacks


def test_the_search_finds_an_image_that_no_sample_shows(sets):
    """A generator of the plane through two directions: members lie in it, others do not."""
    train, holdout = sets(4, patients=6), sets(5, patients=6)
    basis = torch.linalg.qr(torch.from_numpy(seen(train)).flatten(1)[:4].T)[0].T * SIDE * 0.4
    weights = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    plane = ((weights @ basis).reshape(-1, SIDE, SIDE) / 2 + 0.5).numpy()  # not clipped: it would leave the plane
    members = replace(train, images=plane)
    pipeline = SimpleNamespace(
        latent_dim=4,
        mask_channels=0,
        generator=torch.nn.Identity(),
        decode_latent=lambda z, mask: (z @ basis).reshape(-1, 1, SIDE, SIDE),
    )
    target = GanTarget(pipeline, replace(SETTINGS, membership_samples=1, search_steps=60))
    found = target.features(members, holdout)
    assert found["latent_search"][:12].min() > -5e-3
    assert found["latent_search"][12:].max() < 2 * found["latent_search"][:12].min() - 0.02
    assert (found["latent_search"] >= found["nearest_sample"] - 0.01).all()
