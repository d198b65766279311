"""The attack against flows whose leak is known exactly; no network is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmrsynth.errors import InputError
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED
from cmrsynth.evaluation.membership_attack import membership_figures, velocity_scores
from cmrsynth.evaluation.settings import EvaluationSettings

SIDE, COUNT = 16, 60
SETTINGS = EvaluationSettings(resamples=100, membership_draws=4)


def spectrum(slope: float) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None, :])
    power = 1 / (frequency + 1 / SIDE) ** slope
    return 0.08 * power / power.mean()


def fields(seed: int, slope: float = 2.5) -> np.ndarray:
    """(COUNT, SIDE, SIDE) random fields as images, kept well inside [0, 1]."""
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(COUNT, SIDE, SIDE)))
    return np.clip(0.5 + np.fft.ifft2(noise * np.sqrt(spectrum(slope))).real / 2, 0, 1).astype(np.float32)


class PopulationFlow:
    """The optimal velocity for the distribution the fields come from: it knows no single one."""

    def velocity(self, sample, t, mask, **attributes):
        time = float(t[0])
        power = torch.from_numpy(spectrum(2.5)).float()
        gain = (1 - time) * power / ((1 - time) ** 2 * power + time**2)
        return (sample - torch.fft.ifft2(gain * torch.fft.fft2(sample)).real) / time


class MemorisingFlow:
    """The exact minimiser of the training loss on a finite set: total memorisation, mixed with the population."""

    def __init__(self, images: np.ndarray, share: float = 1.0) -> None:
        self.members, self.share = torch.from_numpy(images).reshape(len(images), -1) * 2 - 1, share

    def velocity(self, sample, t, mask, **attributes):
        time = float(t[0])
        distance = torch.cdist(sample.flatten(1), (1 - time) * self.members) ** 2
        mean = torch.softmax(-distance / (2 * time**2), 1) @ self.members
        leak = (sample - mean.reshape(sample.shape)) / time
        return self.share * leak + (1 - self.share) * PopulationFlow().velocity(sample, t, mask)


@pytest.fixture
def sets(toy_set):
    def of(seed: int, slope: float = 2.5):
        part = toy_set(f"set{seed}", COUNT, seed=seed, slices=1)
        images = fields(seed, slope)
        return replace(part, images=images, masks=np.zeros(images.shape, np.uint8))

    return of


def figure_of(model, train, holdout):
    return {f.name: f for f in membership_figures(model, train, holdout, SETTINGS)}


def test_a_flow_that_memorised_is_caught(sets):
    train, holdout = sets(1), sets(2)
    found = figure_of(MemorisingFlow(train.images), train, holdout)
    assert found["membership_auc"].value > 0.99
    assert found["membership_auc"].verdict == DO_NOT_SHARE
    assert found["membership_tpr"].value > 0.9
    assert found["membership_tpr"].verdict == DO_NOT_SHARE


def test_a_flow_that_memorised_a_little_is_caught(sets):
    train, holdout = sets(1), sets(2)
    assert figure_of(MemorisingFlow(train.images, 0.1), train, holdout)["membership_auc"].value > 0.7


def test_the_population_flow_is_not_accused(sets):
    found = figure_of(PopulationFlow(), sets(1), sets(2))["membership_auc"]
    assert abs(found.value - 0.5) < 3 * np.sqrt((2 * COUNT + 1) / (12 * COUNT**2))
    assert found.verdict == GOOD
    low, high = found.floor_interval
    assert low < 0.5 < high


def test_an_auc_on_shifted_sets_is_not_read_even_of_a_leaker(sets):
    train, shifted = sets(1), sets(2, slope=1.5)
    for model in (PopulationFlow(), MemorisingFlow(train.images)):
        found = figure_of(model, train, shifted)
        assert {f.verdict for f in found.values()} == {NOT_COMPUTED}
        assert found["membership_auc"].value is None
        assert found["membership_auc"].details["blind_auc"] > 0.9
        assert 0 <= found["membership_auc"].details["auc"] <= 1
        assert "without the model" in found["membership_auc"].reading


def test_every_image_meets_the_same_noise_in_any_order(sets):
    train = sets(1)
    model = MemorisingFlow(train.images, 0.1)
    order = np.random.default_rng(0).permutation(COUNT)
    straight = velocity_scores(model, train, draws=2, seed=0)
    shuffled = velocity_scores(model, train.select(order), draws=2, seed=0)
    np.testing.assert_allclose(straight[order], shuffled, rtol=1e-4)


def test_without_a_pipeline_the_reason_is_given(sets):
    found = figure_of(None, sets(1), sets(2))
    assert {f.verdict for f in found.values()} == {NOT_COMPUTED}
    assert "--pipeline" in found["membership_auc"].reading


def test_too_few_held_out_patients_cannot_resolve_the_false_positive_rate(sets):
    train, holdout = sets(1), sets(2).select(np.arange(8))
    found = figure_of(PopulationFlow(), train, holdout)["membership_tpr"]
    assert found.verdict == NOT_COMPUTED
    assert "8 held-out patients" in found.reading


@pytest.fixture(scope="module")
def pipeline(tiny_flow):
    vocabularies = {"vendor": ["A", "B"], "phase": ["ED", "ES"]}
    return tiny_flow(sample_size=SIDE, widths=(8, 8), vocabularies=vocabularies)


def test_our_pipeline_is_attacked_with_the_attributes_it_knows(sets, pipeline):
    train = sets(1).select(np.arange(10))
    stranger = replace(train, vendor=np.full(10, "a vendor it never saw"))
    with pytest.raises(ValueError, match="unknown vendor"):  # given as it is, it would be refused
        pipeline.condition_encoder.encode(10, vendor=stranger.vendor.tolist())
    for part in (train, stranger):
        assert np.isfinite(velocity_scores(pipeline, part, draws=1, seed=0)).all()


def test_a_pipeline_for_another_image_size_is_refused(toy_set, pipeline):
    with pytest.raises(InputError, match="16 pixels"):
        membership_figures(pipeline, toy_set("train", 3, seed=0), toy_set("holdout", 3, seed=1), SETTINGS)
