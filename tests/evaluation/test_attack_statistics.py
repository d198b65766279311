from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.evaluation.attack_statistics import Scored, Sides, aucs_with_intervals, null_aucs
from cmrsynth.metrics.membership import auc

PATIENTS, SLICES = 40, 3


def scored(leak: float, seed: int = 0, patients: int = PATIENTS, columns: int = 1, fusion: str = "mean") -> Scored:
    """Scores of slices: difficulty that shows in the features, an effect of the patient, noise and a leak."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(2 * patients), SLICES)
    difficulty = rng.normal(size=(len(patient), 8))
    scores = (
        difficulty @ np.linspace(-1, 1, 8) * 2 + rng.normal(size=2 * patients)[patient] + rng.normal(size=len(patient))
    )
    scores[: patients * SLICES] += leak
    features = scores[:, None] + 0.1 * rng.normal(size=(len(patient), columns))
    return Scored(features, fusion, Sides(patients * SLICES, patient, difficulty), seed=0)


def test_a_patient_drawn_twice_counts_twice():
    one = scored(0.0, patients=2)
    member, other = one.patient_scores(np.array([0, 1, 2, 0, 1, 2]), np.array([6, 7, 8, 9, 10, 11]))
    assert len(member) == 2
    assert member[0] == member[1]
    assert len(other) == 2


def test_difficulty_is_taken_out_and_the_leak_left_in():
    leaking = scored(2.0)
    rows = leaking.sides.rows()
    raw = auc(*(leaking.mean_by_patient(leaking.features[own, 0], own) for own in rows))
    assert leaking.auc(*rows) > max(raw + 0.05, 0.8)


def test_order_of_slices_does_not_matter():
    leaking = scored(1.0)
    member, other = leaking.sides.rows()
    assert leaking.auc(member[::-1], other[::-1]) == pytest.approx(leaking.auc(member, other))


def test_shuffled_sides_centre_at_chance_and_the_strongest_above():
    attacks = {str(seed): scored(2.0, seed) for seed in range(3)}
    null = null_aucs(attacks, seed=0, draws=100)
    for seed in attacks:
        assert abs(null[seed].mean() - 0.5) < 0.03
    assert null["strongest"].mean() > 0.53
    assert (null["strongest"] >= null["0"]).all()


def test_the_interval_of_the_strongest_holds_its_value():
    attacks = {"weak": scored(0.0), "strong": scored(1.5)}
    found = aucs_with_intervals(attacks, resamples=60, seed=0)
    value, (low, high) = found["strongest"]
    assert value == found["strong"][0]
    assert 0.5 < low < value < high


def test_sides_that_separate_wholly_still_have_an_interval():
    value, (low, high) = aucs_with_intervals({"one": scored(50.0, patients=10)}, resamples=30, seed=0)["one"]
    assert value == high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 10))


@pytest.mark.parametrize("fusion", ["z-sum", "logreg"])
def test_fused_attacks_are_refitted_and_chance_without_a_leak(fusion):
    quiet = scored(0.0, columns=2, fusion=fusion)
    null = null_aucs({"fused": quiet}, seed=0, draws=40)["fused"]
    assert abs(null.mean() - 0.5) < 0.05
    assert np.isnan(quiet.auc(np.arange(6), quiet.sides.rows()[1]))  # two patients cannot calibrate


@pytest.mark.slow
def test_the_interval_covers_the_true_auc_at_its_level():
    """With the adjustment fitted anew in every resample; the truth is the mean over many studies."""
    truth = np.mean([scored(0.8, seed, 15).auc(*scored(0.8, seed, 15).sides.rows()) for seed in range(1000, 1400)])
    covered = []
    for seed in range(100):
        low, high = aucs_with_intervals({"one": scored(0.8, seed, 15)}, resamples=200, seed=seed)["one"][1]
        covered.append(low <= truth <= high)
    assert np.mean(covered) > 0.89
