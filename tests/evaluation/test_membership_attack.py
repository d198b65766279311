"""The attacks against generators whose leak is known exactly; no network is trained."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cmrsynth.attacks.memoriser import Memoriser
from cmrsynth.attacks.panel import ATTACKS
from cmrsynth.certification.denoisers import (
    DiffusionPipelineOf,
    FlowPipelineOf,
    Mixture,
    PopulationDenoiser,
    field_spectrum,
    random_fields,
)
from cmrsynth.errors import InputError
from cmrsynth.evaluation.attack_scores import attack_generator
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.generator_attacks import generator_figures
from cmrsynth.evaluation.membership_attack import membership_figures
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target_denoiser import BASE

SIDE, PATIENTS, SLICES = 16, 30, 2
SETTINGS = EvaluationSettings(resamples=60, membership_draws=4)
VARIANCE = 0.04  # of images in [0, 1]


def population(slope: float = 2.5):
    return PopulationDenoiser(field_spectrum(SIDE, slope, 4 * VARIANCE))  # as seen in [-1, 1]


def memoriser(train, share: float = 1.0):
    members = torch.from_numpy(train.images)[:, None] * 2 - 1
    return Mixture(Memoriser(members), population(), share)


@pytest.fixture(scope="session")
def sets(toy_set):
    def of(seed: int, slope: float = 2.5, patients: int = PATIENTS):
        part = toy_set(f"set{seed}", patients, seed=seed, slices=SLICES)
        images = 0.5 + random_fields(patients * SLICES, SIDE, seed=seed, slope=slope, variance=VARIANCE)
        images = np.clip(images, 0, 1).astype(np.float32)
        return replace(part, images=images, masks=np.zeros(images.shape, np.uint8))

    return of


def figures_of(denoiser, train, holdout, settings=SETTINGS):
    return {f.name: f for f in generator_figures(FlowPipelineOf(denoiser), train, holdout, settings)}


@pytest.fixture(scope="module")
def leaking(sets):
    return figures_of(memoriser(sets(4)), sets(4), sets(5))


@pytest.fixture(scope="module")
def quiet(sets):
    return figures_of(population(), sets(4), sets(5))


def test_a_flow_that_memorised_is_caught_by_every_figure(leaking):
    for name in ("membership_auc", "membership_strongest_auc", "membership_balanced_accuracy"):
        assert leaking[name].value > 0.99, name
        assert leaking[name].verdict == DO_NOT_SHARE, name
    assert leaking["membership_tpr"].value > 0.9
    assert leaking["membership_tpr"].verdict == DO_NOT_SHARE
    assert leaking["overfitting_gap"].value > 0.8
    assert leaking["overfitting_gap"].verdict == DO_NOT_SHARE


def test_a_memorising_diffusion_model_is_caught_alike(sets, leaking):
    found = membership_figures(DiffusionPipelineOf(memoriser(sets(4))), sets(4), sets(5), SETTINGS)
    assert found[0].value == pytest.approx(leaking["membership_auc"].value)


def test_a_flow_that_memorised_a_little_is_caught(sets):
    found = figures_of(memoriser(sets(4), 0.1), sets(4), sets(5))
    assert found["membership_auc"].value > 0.7
    assert found["membership_strongest_auc"].verdict == DO_NOT_SHARE
    assert found["overfitting_gap"].verdict in (LOOK, DO_NOT_SHARE)


def test_the_population_flow_is_not_accused(quiet):
    computed = [figure for figure in quiet.values() if figure.value is not None]
    assert len(computed) == 6
    assert {figure.verdict for figure in computed} == {GOOD}
    chance = np.sqrt((2 * PATIENTS + 1) / (12 * PATIENTS**2))
    assert abs(quiet["membership_auc"].value - 0.5) < 3 * chance


def test_floors_are_those_of_shuffled_patients_and_the_planted_leak_stands_beside(quiet):
    low, high = quiet["membership_auc"].floor_interval
    assert low < 0.5 < high
    assert quiet["membership_strongest_auc"].floor > 0.5  # the largest of several AUCs, by luck alone
    for name in ("membership_auc", "membership_tpr", "membership_balanced_accuracy", "overfitting_gap"):
        assert quiet[name].planted > 0.8, name


def test_the_strongest_attack_is_named_with_all_others_in_a_table(quiet):
    details = quiet["membership_strongest_auc"].details
    assert set(details["attacks"]) == {BASE, "pia", "sima"}
    assert details["attacks"][details["strongest"]]["auc"] == quiet["membership_strongest_auc"].value
    assert details["attacks"][BASE]["auc"] == pytest.approx(quiet["membership_auc"].value)
    assert 0 < details["probability_by_chance"] <= 1


def test_rates_that_the_patients_cannot_resolve_are_not_computed(quiet):
    assert quiet["membership_tpr_5"].verdict == GOOD
    assert quiet["membership_tpr_1"].verdict == NOT_COMPUTED
    assert "30 held-out patients" in quiet["membership_tpr_1"].reading
    assert "100 are needed" in quiet["membership_tpr_1"].reading


def test_shifted_sets_are_refused_before_the_generator_is_touched(sets):
    train, shifted = sets(4), sets(5, slope=1.5)
    found = {f.name: f for f in generator_figures(UntouchablePipeline(), train, shifted, SETTINGS)}
    assert {f.verdict for f in found.values()} == {NOT_COMPUTED}
    assert all(f.value is None for f in found.values())
    assert found["membership_auc"].details["blind_auc"] > 0.9
    assert "without the model" in found["membership_auc"].reading


class UntouchablePipeline:
    def velocity(self, *args, **kwargs):
        raise AssertionError("attacked in spite of the shift")


def test_without_a_pipeline_the_reason_is_given(sets):
    found = generator_figures(None, sets(4), sets(5), SETTINGS)
    assert {f.verdict for f in found} == {NOT_COMPUTED}
    assert all("--pipeline" in f.reading for f in found)


def test_a_pipeline_of_another_kind_is_not_attacked(sets):
    found = generator_figures(SimpleNamespace(), sets(4), sets(5), SETTINGS)
    assert found[0].verdict == LOOK  # not attacked is no all-clear
    assert {f.verdict for f in found[1:]} == {NOT_COMPUTED}
    assert "of no family" in found[0].reading


def test_every_attack_runs_where_asked(sets):
    settings = replace(SETTINGS, membership_attacks=tuple(ATTACKS), membership_draws=1, resamples=20)
    train, holdout = sets(4, patients=10), sets(5, patients=10)
    figures = {f.name: f for f in membership_figures(FlowPipelineOf(memoriser(train)), train, holdout, settings)}
    table = figures["membership_strongest_auc"].details["attacks"]
    assert set(table) == set(ATTACKS)
    assert all(row["auc"] > 0.9 for row in table.values())


def test_unknown_attacks_are_refused():
    with pytest.raises(InputError, match="gossip"):
        EvaluationSettings(membership_attacks=("gossip",))


def test_the_autoencoder_of_a_latent_generator_is_attacked_by_itself(sets):
    """An autoencoder that rebuilds training images only, under a latent model that knows nobody."""
    train, holdout = sets(4), sets(5)
    known = {image.tobytes() for image in (torch.from_numpy(train.images)[:, None] * 2 - 1).numpy()}

    class LookupAutoencoder:
        config = SimpleNamespace(scaling_factor=1.0)

        def encode(self, part):
            share = torch.tensor([1.0 if image.numpy().tobytes() in known else 0.5 for image in part])
            code = part * share[:, None, None, None]
            posterior = SimpleNamespace(mode=lambda: part, mean=code, std=torch.full_like(code, 1e-3))
            return SimpleNamespace(latent_dist=posterior)

        def decode(self, latent):
            return SimpleNamespace(sample=latent)

    pipeline = FlowPipelineOf(population())
    latent = SimpleNamespace(velocity=pipeline.velocity, vae=LookupAutoencoder())
    found = {f.name: f for f in membership_figures(latent, train, holdout, SETTINGS)}
    assert found["membership_auc"].verdict == GOOD
    assert found["membership_strongest_auc"].details["strongest"] == "autoencoder"
    assert found["membership_autoencoder_auc"].value > 0.95
    assert found["membership_autoencoder_auc"].verdict == DO_NOT_SHARE
    assert found["membership_strongest_auc"].verdict == DO_NOT_SHARE


@pytest.fixture(scope="module")
def pipeline(tiny_flow):
    vocabularies = {"vendor": ["A", "B"], "phase": ["ED", "ES"]}
    return tiny_flow(sample_size=SIDE, widths=(8, 8), vocabularies=vocabularies)


def test_our_pipeline_is_attacked_with_the_attributes_it_knows(sets, pipeline):
    train, holdout = sets(4, patients=5), sets(5, patients=5)
    stranger = replace(train, vendor=np.full(len(train), "a vendor it never saw"))
    with pytest.raises(ValueError, match="unknown vendor"):  # given as it is, it would be refused
        pipeline.condition_encoder.encode(len(train), vendor=stranger.vendor.tolist())
    for part in (train, stranger):
        found = attack_generator(pipeline, part, holdout, replace(SETTINGS, resamples=20))
        assert np.isfinite(found.base.features).all()


def test_a_pipeline_for_another_image_size_is_refused(toy_set, pipeline):
    with pytest.raises(InputError, match="16 pixels"):
        membership_figures(pipeline, toy_set("train", 3, seed=0), toy_set("holdout", 3, seed=1), SETTINGS)


def test_a_distilled_flow_is_attacked_by_what_it_jumps_to(sets):
    """A flow map whose velocity knows nobody, and whose long steps end on the nearest training image."""
    train, holdout = sets(4), sets(5)

    def student(part):
        members = torch.from_numpy(part.images)[:, None] * 2 - 1

        def predictor(mask, embedding, duration):
            def average(point, timestep):
                t = float(timestep[0]) / 1000
                nearest = torch.cdist(point.flatten(1), (1 - t) * members.flatten(1)).argmin(1)
                return (point - members[nearest]) / t

            return average

        parts = {"encode_conditions": lambda batch, **attributes: None, "predictor": predictor}
        return SimpleNamespace(velocity=FlowPipelineOf(population()).velocity, duration_encoder=object(), **parts)

    leaking = {f.name: f for f in generator_figures(student(train), train, holdout, SETTINGS)}
    assert leaking["membership_auc"].verdict == DO_NOT_SHARE
    assert leaking["membership_auc"].planted > 0.95
    table = leaking["membership_strongest_auc"].details["attacks"]
    assert table["one_jump"]["auc"] > 0.95
    assert abs(table["velocity"]["auc"] - 0.5) < 0.25
    quiet = {f.name: f for f in generator_figures(student(sets(6)), train, holdout, SETTINGS)}
    assert {f.verdict for f in quiet.values() if f.value is not None} == {GOOD}
