from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from cmrsynth.certification.private_training import (
    GUESSES,
    Recipe,
    accounted_epsilon,
    audit,
    judge_claim,
    noise_for,
    patient_gradients,
)
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD

DELTA = 1e-3


@cache
def independent_epsilon(kind: str, recipe: Recipe, delta: float, grid: float = 1e-3) -> float:
    accounting = pytest.importorskip("dp_accounting")
    event = accounting.SelfComposedDpEvent(
        accounting.PoissonSampledDpEvent(recipe.sampling, accounting.GaussianDpEvent(recipe.noise_multiplier)),
        recipe.steps,
    )
    made = {
        "rdp": accounting.rdp.RdpAccountant,
        "pld": lambda: accounting.pld.PLDAccountant(value_discretization_interval=grid),
    }
    return made[kind]().compose(event).get_epsilon(delta)


@pytest.fixture(autouse=True, scope="module")
def _accountants() -> None:
    pytest.importorskip("dp_accounting.rdp")
    pytest.importorskip("dp_accounting.pld")


@pytest.mark.parametrize(
    ("recipe", "rdp", "pld"),
    [
        (Recipe(1.0, sampling=0.01, steps=1000), 2.101, 1.829),
        (Recipe(1.1, sampling=256 / 60000, steps=60 * 60000 // 256), 2.597, 2.391),
    ],
)
def test_accountants_agree_on_known_runs(recipe: Recipe, rdp: float, pld: float) -> None:
    assert independent_epsilon("rdp", recipe, 1e-5) == pytest.approx(rdp, abs=2e-3)
    assert independent_epsilon("pld", recipe, 1e-5) == pytest.approx(pld, abs=2e-3)
    assert accounted_epsilon(recipe, 1e-5) == pytest.approx(rdp, abs=0.02)  # whole orders only


def test_one_gaussian_has_its_known_epsilon() -> None:
    accounting = pytest.importorskip("dp_accounting")
    assert accounting.get_epsilon_gaussian(1.0, 1e-5) == pytest.approx(4.3772, abs=1e-4)
    promised = accounted_epsilon(Recipe(1.0, sampling=1.0, steps=1), 1e-5)
    assert 4.3772 < promised < 4.3772 * 1.15


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_our_claim_is_an_upper_bound_close_to_the_best_known(epsilon: float) -> None:
    recipe = Recipe(noise_for(epsilon, DELTA))
    tight = independent_epsilon("pld", recipe, DELTA, grid=1e-2)
    assert tight <= accounted_epsilon(recipe, DELTA) <= 1.3 * tight


def test_a_correct_run_stays_under_its_claim() -> None:
    """Over seeds and two budgets; the bound is wrong in at most 5 % of the runs, in truth never in these."""
    for epsilon in (1.0, 8.0):
        recipe = Recipe(noise_for(epsilon, DELTA))
        tight = independent_epsilon("pld", recipe, DELTA, grid=1e-2)
        bounds = [audit(recipe, delta=DELTA, seed=seed).lower_bound for seed in range(6)]
        assert max(bounds) <= tight
    assert max(bounds) > 0.5  # at epsilon 8 the audit does see something


def test_a_missing_clip_refutes_the_claim() -> None:
    recipe = Recipe(noise_for(1.0, DELTA), clipped=False)
    for seed in range(3):
        result = audit(recipe, delta=DELTA, seed=seed)
        assert result.correct >= 2 * GUESSES - 6  # coins may fall so that fewer than 40 canaries are on a side
        assert result.lower_bound > result.claimed
        assert judge_claim(result).verdict == DO_NOT_SHARE
    assert judge_claim(audit(Recipe(noise_for(1.0, DELTA)), delta=DELTA, seed=0)).verdict == GOOD


def test_a_patient_moves_the_sum_by_at_most_the_clip() -> None:
    rng = np.random.default_rng([0, 1])
    records, outcomes = rng.normal(size=(5, 4, 3)) * 100, np.ones((5, 4))
    weights = rng.normal(size=3)
    gradients = patient_gradients(weights, records, outcomes, Recipe(1.0, clip=0.7))
    assert np.linalg.norm(gradients, axis=1).max() <= 0.7 + 1e-12
    one_by_one = [
        np.mean([(x @ weights - y) * x for x, y in zip(r, o, strict=True)], axis=0)
        for r, o in zip(records, outcomes, strict=True)
    ]
    free = patient_gradients(weights, records, outcomes, Recipe(1.0, clipped=False))
    np.testing.assert_allclose(free, one_by_one, atol=1e-9)
