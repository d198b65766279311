from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from cmrsynth.attacks.calibration import lira_offline, lira_online, relative_to_reference, rmia, shadow_halves
from cmrsynth.metrics.membership import auc

COUNT = 4000
PHI = norm.cdf(1 / np.sqrt(2))  # .760


def shadow_study(gap: float, shadows: int, hardness: float = 0.0):
    """Scores ~ N(gap, 1) in and N(0, 1) out, plus a difficulty of each image that all models share."""
    rng = np.random.default_rng(0)
    difficulty = hardness * rng.normal(size=COUNT)
    is_in = shadow_halves(np.arange(COUNT), shadows, seed=0)
    scores = rng.normal(size=is_in.shape) + gap * is_in + difficulty
    is_member = rng.random(COUNT) < 0.5
    return rng.normal(size=COUNT) + gap * is_member + difficulty, scores, is_in, is_member


@pytest.mark.parametrize("attack", [lira_online, lira_offline])
def test_shifted_gaussians_give_the_known_auc(attack):
    target, scores, is_in, is_member = shadow_study(1.0, 64)
    found = attack(target, scores, is_in)
    assert auc(found[is_member], found[~is_member]) == pytest.approx(PHI, abs=0.04)
    target, scores, is_in, is_member = shadow_study(0.0, 64)
    found = attack(target, scores, is_in)
    assert auc(found[is_member], found[~is_member]) == pytest.approx(0.5, abs=0.03)


def test_few_shadows_share_one_variance():
    target, scores, is_in, is_member = shadow_study(1.0, 8)
    found = lira_online(target, scores, is_in)
    assert auc(found[is_member], found[~is_member]) > 0.7


def test_calibration_takes_the_difficulty_of_images_out():
    target, scores, is_in, is_member = shadow_study(1.0, 16, hardness=5.0)
    raw = auc(target[is_member], target[~is_member])
    reference = np.where(is_in, np.nan, scores)
    population = slice(0, 500)
    calibrated = {
        "reference": relative_to_reference(target, np.nanmean(reference, 0)),
        "online": lira_online(target, scores, is_in),
        "offline": lira_offline(target, scores, is_in),
        "rmia": rmia(target, scores, target[population], scores[:, population], is_in=is_in),
        "rmia offline": rmia(target, scores, target[population], scores[:, population]),
    }
    assert raw < 0.6
    for name, found in calibrated.items():
        assert auc(found[is_member], found[~is_member]) > 0.68, name


def test_rmia_counts_the_population_it_beats():
    shadows, population = np.zeros((2, 3)), np.array([0.0, 1.0, 2.0, 3.0])
    found = rmia(np.array([-1.0, 1.0, 9.0]), shadows, population, np.zeros((2, 4)))
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0])
    stricter = rmia(np.array([-1.0, 1.0, 9.0]), shadows, population, np.zeros((2, 4)), gamma=2.0)
    np.testing.assert_allclose(stricter, [0.0, 0.25, 1.0])


def test_shadows_keep_patients_whole_and_balanced():
    patients = np.repeat(np.arange(10), 3)
    halves = shadow_halves(patients, 6, seed=0)
    assert (halves.sum(0) == 3).all()
    assert (halves.sum(1) == 15).all()
    assert all(len(set(row[patients == p])) == 1 for row in halves for p in range(10))


def test_studies_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="even"):
        shadow_halves(np.arange(4), 3, seed=0)
    with pytest.raises(ValueError, match="none, or in all"):
        lira_online(np.zeros(2), np.zeros((4, 2)), np.ones((4, 2), bool))
    with pytest.raises(ValueError, match="same images"):
        lira_offline(np.zeros(3), np.zeros((4, 2)), np.zeros((4, 2), bool))
    with pytest.raises(ValueError, match="variance"):
        lira_online(np.zeros(2), np.zeros((2, 2)), np.array([[True, False], [False, True]]))
