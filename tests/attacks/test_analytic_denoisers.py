"""Every attack on denoisers whose leak is known exactly; AUCs as simulated for metrics of 24 x 24 fields."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmrsynth.attacks.denoiser import bind
from cmrsynth.attacks.frequency import FCRE
from cmrsynth.attacks.fusion import fuse, fuse_across_patients
from cmrsynth.attacks.loss import FlowLoss, Loss
from cmrsynth.attacks.panel import ATTACKS, QUICK, score_images
from cmrsynth.attacks.queries import PIA, SimA
from cmrsynth.attacks.trajectories import ReDiffuse, SecMI
from cmrsynth.certification.denoisers import (
    DiffusionPipelineOf,
    FlowPipelineOf,
    PopulationDenoiser,
    field_spectrum,
    partial_memoriser,
    random_fields,
)
from cmrsynth.metrics.membership import auc, blind_baseline

SIDE, COUNT = 24, 100
CHANCE = 3 * np.sqrt((2 * COUNT + 1) / (12 * COUNT**2))
RANGE = 6.0  # of unit-variance fields, for SSIM
UNDER_TEST = {
    "loss": Loss(steps=(200,)),
    "velocity": FlowLoss(times=(0.5,), draws=10),
    "secmi": SecMI(),
    "pia": PIA(),
    "pian": PIA(normalised=True),
    "sima": SimA(),
    "rediffuse": ReDiffuse(),
    "fcre": FCRE(data_range=RANGE),
}


@pytest.fixture(scope="module")
def sides():
    return random_fields(COUNT, SIDE, seed=0), random_fields(COUNT, SIDE, seed=1)


def aucs(denoiser, members, others, attacks=UNDER_TEST):
    member, other = (
        score_images(attacks, lambda rows: denoiser, torch.from_numpy(part)[:, None], seed=0, batch=50)
        for part in (members, others)
    )
    return {name: auc(fuse(member[name], "mean"), fuse(other[name], "mean")) for name in attacks}


def test_the_leaker_is_caught_by_every_attack(sides):
    leaker = partial_memoriser(sides[0], field_spectrum(SIDE), 1.0)
    for name, value in aucs(leaker, *sides).items():
        assert value >= 0.99, name


def test_a_share_of_three_percent_is_caught_by_every_attack(sides):
    dial = partial_memoriser(sides[0], field_spectrum(SIDE), 0.03)
    for name, value in aucs(dial, *sides).items():
        assert value > 0.7, name


def test_the_population_denoiser_is_not_accused(sides):
    attacks = {**UNDER_TEST, "fcre_ssim": FCRE(score="ssim", data_range=RANGE), "curve": FlowLoss(times=(0.1, 0.9))}
    for name, value in aucs(PopulationDenoiser(field_spectrum(SIDE)), *sides, attacks).items():
        assert abs(value - 0.5) < CHANCE, name


def test_shifted_sets_fool_the_attacks_and_the_blind_baseline_says_so(sides):
    members, shifted = sides[0], random_fields(COUNT, SIDE, seed=1, slope=2.2)
    found = aucs(PopulationDenoiser(field_spectrum(SIDE)), members, shifted)
    assert found["loss"] > 0.9
    assert found["sima"] > 0.9
    images = [np.clip(0.5 + part / 8, 0, 1) for part in (members, shifted)]
    scores, labels = blind_baseline(*images, np.arange(COUNT), COUNT + np.arange(COUNT), seed=0)
    assert auc(scores[labels == 1], scores[labels == 0]) > 0.9


def test_averaging_draws_lifts_a_weak_signal(sides):
    dial = partial_memoriser(sides[0], field_spectrum(SIDE), 0.03)
    found = aucs(dial, *sides, {"one": Loss(steps=(200,), draws=1), "ten": Loss(steps=(200,), draws=10)})
    assert found["ten"] > found["one"] + 0.05


def test_the_middle_band_shows_more_than_the_low_and_the_high_one(sides):
    dial = partial_memoriser(sides[0], field_spectrum(SIDE), 0.03)
    bands = {"middle": (0.15, 0.85), "low": (0.0, 0.15), "high": (0.85, 1.5)}
    found = aucs(dial, *sides, {name: FCRE(band=band, data_range=RANGE) for name, band in bands.items()})
    assert found["middle"] > max(found["low"], found["high"])


def test_the_curve_over_flow_times_falls_from_the_middle_to_the_noise(sides):
    dial = partial_memoriser(sides[0], field_spectrum(SIDE), 0.1)
    member, other = (
        score_images({"curve": FlowLoss(times=(0.5, 0.9))}, lambda rows: dial, torch.from_numpy(p)[:, None], seed=0)
        for p in sides
    )
    middle, late = (auc(member["curve"][:, i], other["curve"][:, i]) for i in (0, 1))
    assert middle > 0.95 > 0.75 > late


def test_shuffled_sides_give_chance_and_negated_scores_the_complement(sides):
    leaker = partial_memoriser(sides[0], field_spectrum(SIDE), 1.0)
    scores = np.concatenate([
        fuse(score_images({"loss": Loss()}, lambda r: leaker, torch.from_numpy(p)[:, None], seed=0)["loss"], "mean")
        for p in sides
    ])  # fmt: skip
    side = np.random.default_rng(0).permutation(2 * COUNT) < COUNT
    assert abs(auc(scores[side], scores[~side]) - 0.5) < CHANCE
    straight = auc(scores[:COUNT], scores[COUNT:])
    assert auc(-scores[:COUNT], -scores[COUNT:]) == pytest.approx(1 - straight)


def test_flow_and_diffusion_views_of_one_denoiser_score_alike(sides):
    dial = partial_memoriser(sides[0], field_spectrum(SIDE), 0.1)
    images = torch.from_numpy(sides[0][:20])[:, None]
    views = [bind(pipeline) for pipeline in (DiffusionPipelineOf(dial), FlowPipelineOf(dial))]
    one, two = (score_images(UNDER_TEST, lambda rows, v=view: v, images, seed=0) for view in views)
    for name in UNDER_TEST:
        np.testing.assert_allclose(one[name], two[name], rtol=2e-3, atol=1e-6, err_msg=name)


def test_scores_depend_on_the_image_alone(sides):
    dial = partial_memoriser(sides[0], field_spectrum(SIDE), 0.1)
    images, order = torch.from_numpy(sides[0][:20])[:, None], np.random.default_rng(0).permutation(20)
    straight = score_images(UNDER_TEST, lambda rows: dial, images, seed=0, batch=7)
    shuffled = score_images(UNDER_TEST, lambda rows: dial, images[order], seed=0, batch=20)
    for name in UNDER_TEST:
        np.testing.assert_allclose(straight[name][order], shuffled[name], rtol=1e-3, atol=1e-7, err_msg=name)


def test_both_parts_of_fcre_fused_on_other_patients_find_the_leak(sides):
    attack = FCRE(score="logreg", data_range=RANGE, draws=2)
    dial = partial_memoriser(sides[0], field_spectrum(SIDE), 0.1)
    features = np.concatenate([
        score_images({"fcre": attack}, lambda rows: dial, torch.from_numpy(p)[:, None], seed=0)["fcre"] for p in sides
    ])  # fmt: skip
    is_member = np.arange(2 * COUNT) < COUNT
    for fusion in ("logreg", "z-sum"):
        scores = fuse_across_patients(features, fusion, is_member, np.arange(2 * COUNT), seed=0)
        assert auc(scores[is_member], scores[~is_member]) > 0.9, fusion


def test_the_panels_are_made_of_known_attacks():
    assert set(QUICK) <= set(ATTACKS)
    assert all("re-implementation" in ATTACKS[name].made_with for name in ATTACKS if name.startswith("fcre"))
