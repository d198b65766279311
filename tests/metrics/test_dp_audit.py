from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from cmrsynth.metrics.dp_audit import guess_inclusion, many_runs_epsilon, one_run_epsilon, one_run_p_value


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "expected"),
    [
        (100, 100, 100, 3.490),
        (100, 100, 95, 2.172),
        (100, 50, 50, 2.782),
        (100, 20, 20, 1.820),
        (1000, 1000, 1000, 5.782),
        (1000, 1000, 550, 0.094),
        (200, 200, 100, 0.0),
    ],
)
def test_known_bounds_of_one_run(canaries: int, guesses: int, correct: int, expected: float) -> None:
    """Delta 1e-5, beta .05: values of an independent simulation, to the printed digits."""
    assert one_run_epsilon(canaries, guesses, correct, delta=1e-5) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("guesses", [1, 5, 20, 100, 1000])
def test_all_right_without_delta_has_a_closed_form(guesses: int) -> None:
    q = 0.05 ** (1 / guesses)
    expected = max(0.0, float(np.log(q / (1 - q))))
    assert one_run_epsilon(guesses, guesses, guesses, delta=0.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((100, 100, 0, 100), 3.28), ((1000, 1000, 0, 1000), 5.598), ((50, 100, 50, 100), 0.0)],
)
def test_known_bounds_of_many_runs(counts: tuple[int, int, int, int], expected: float) -> None:
    assert many_runs_epsilon(*counts, delta=1e-5) == pytest.approx(expected, abs=5e-3)


def test_many_runs_see_a_leak_from_either_side() -> None:
    """Never accusing wrongly and never missing are as telling: the bound is symmetric under exchange."""
    assert many_runs_epsilon(40, 100, 0, 100, delta=0) == pytest.approx(many_runs_epsilon(100, 100, 60, 100, delta=0))


def test_the_p_value_is_a_binomial_tail_without_delta() -> None:
    assert one_run_p_value(50, 40, 30, 0.7, 0.0) == pytest.approx(binom.sf(29, 40, 1 / (1 + np.exp(-0.7))))


def test_the_p_value_with_delta_equals_the_naive_sum() -> None:
    m, r, v, epsilon, delta = 60, 40, 33, 1.1, 1e-3
    q = 1 / (1 + np.exp(-epsilon))
    pmf = [binom.pmf(k, r, q) for k in range(r + 1)]
    worst = max(sum(pmf[v - i : v]) / i for i in range(1, v + 1))
    assert one_run_p_value(m, r, v, epsilon, delta) == pytest.approx(sum(pmf[v:]) + 2 * m * delta * worst)


def test_the_bound_is_monotone() -> None:
    by_correct = [one_run_epsilon(100, 100, v, delta=1e-5) for v in range(60, 101, 5)]
    assert by_correct == sorted(by_correct)
    by_delta = [one_run_epsilon(100, 100, 95, delta=d) for d in (0, 1e-6, 1e-4, 1e-3)]
    assert by_delta == sorted(by_delta, reverse=True)


def test_guessers_without_knowledge_are_bounded_above_zero_as_often_as_allowed() -> None:
    """Coverage: a mechanism with epsilon 0 gets a bound above 0 in at most about beta of the audits."""
    rng = np.random.default_rng([0, 1])
    right = [guess_inclusion(rng.normal(size=200), rng.random(200) < 0.5, 50, 50)[1] for _ in range(2000)]
    share = np.mean([one_run_epsilon(200, 100, v, delta=0) > 0 for v in right])
    assert share < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_randomised_response_is_not_overstated() -> None:
    """Each coin is told truthfully with probability e^eps / (1 + e^eps): exactly eps-private."""
    rng, epsilon = np.random.default_rng([0, 2]), 1.0
    truth = rng.random((500, 300)) < 0.5
    told = np.where(rng.random((500, 300)) < 1 / (1 + np.exp(-epsilon)), truth, ~truth)
    bounds = [one_run_epsilon(300, 300, int(v), delta=0) for v in (truth == told).sum(1)]
    assert np.mean(np.array(bounds) > epsilon) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
    assert np.median(bounds) > 0.6  # not vacuous either


def test_guessing_takes_the_ends_of_the_ranking() -> None:
    scores, included = np.array([5.0, 4.0, 0.0, -4.0, -5.0]), np.array([True, False, True, True, False])
    assert guess_inclusion(scores, included, 1, 1) == (2, 2)
    assert guess_inclusion(scores, included, 2, 2) == (4, 2)
    assert guess_inclusion(scores, included, 0, 0) == (0, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: one_run_p_value(10, 11, 5, 1.0, 0.0),
        lambda: one_run_p_value(10, 10, 5, -1.0, 0.0),
        lambda: one_run_epsilon(10, 10, 10, delta=0.0, beta=0.0),
        lambda: many_runs_epsilon(5, 4, 0, 4, delta=0.0),
        lambda: guess_inclusion(np.zeros(3), np.zeros(4, bool), 1, 1),
        lambda: guess_inclusion(np.array([np.nan, 0.0]), np.zeros(2, bool), 1, 1),
        lambda: guess_inclusion(np.zeros(3), np.zeros(3, bool), 2, 2),
    ],
)
def test_wrong_input_is_refused(call) -> None:
    with pytest.raises(ValueError, match=":"):
        call()
