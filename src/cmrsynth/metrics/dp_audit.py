"""Lower bounds on the privacy loss of a training run, from how well planted canaries are told apart.

An accountant proves an upper bound on epsilon from what the training code should do. An audit measures what it did:
a lower bound above the claimed epsilon shows that the claim is wrong (a clip left out, noise of the wrong scale).
The converse does not hold: a low bound proves nothing, and 100 canaries cannot show more than epsilon 3.5.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta as beta_distribution
from scipy.stats import binom

_STEP, _LARGEST = 0.25, 60.0  # the search for epsilon: first in steps, then by halving; nothing proves more than 60


def guess_inclusion(scores: np.ndarray, included: np.ndarray, positive: int, negative: int) -> tuple[int, int]:
    """Return how many canaries were guessed and how many guesses are right.

    The `positive` highest scores are guessed to have been included, the `negative` lowest to have been left out, and
    the rest is abstained from. Both counts must be fixed before the scores are seen. Ties go by position, which must
    not depend on inclusion.

    Args:
        scores: (m,) float, higher = more like an included canary.
        included: (m,) bool, drawn with probability 1/2 each, independently.
        positive: guesses "in".
        negative: guesses "out".

    Returns:
        (guesses r, right guesses v), as `one_run_epsilon` takes them.

    Raises:
        ValueError: shapes differ, a score is NaN, or there are more guesses than canaries.

    >>> guess_inclusion(np.array([0.1, 3.0, 2.0, -1.0]), np.array([False, True, False, False]), 1, 2)
    (3, 3)
    """
    scores, included = np.asarray(scores, dtype=np.float64), np.asarray(included, dtype=bool)
    if scores.ndim != 1 or scores.shape != included.shape or np.isnan(scores).any():
        raise ValueError(
            f"canaries: expected (m,) scores without NaN and (m,) inclusion, got {scores.shape} and {included.shape}; "
            "give one score and one coin a canary"
        )
    if positive < 0 or negative < 0 or positive + negative > len(scores):
        raise ValueError(f"guesses: {positive} + {negative} of {len(scores)} canaries; guess each at most once")
    order = np.argsort(-scores, kind="stable")
    right = included[order[:positive]].sum() + (~included[order[len(scores) - negative :]]).sum()
    return positive + negative, int(right)


def one_run_p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Return how likely at least `correct` right guesses are if training is (epsilon, delta)-private.

    p = P[B >= v] + 2 m delta max_i P[v > B >= v - i] / i with B ~ Binomial(r, 1 / (1 + exp(-epsilon))).

    Args:
        canaries: m, each included with probability 1/2.
        guesses: r <= m.
        correct: v <= r.
        epsilon: the claim, >= 0.
        delta: the claim's other half, in [0, 1).

    Raises:
        ValueError: not 0 <= v <= r <= m, or epsilon or delta out of range.

    Source: Steinke, Nasr and Jagielski 2023, arXiv:2305.08846, theorem 5.2.

    >>> round(one_run_p_value(10, 10, 10, 0.0, 0.0), 6)
    0.000977
    """
    if not 0 <= correct <= guesses <= canaries or canaries < 1:
        raise ValueError(
            f"canaries: {correct} right of {guesses} guesses on {canaries} canaries; each is part of the next"
        )
    if epsilon < 0 or not 0 <= delta < 1:
        raise ValueError(f"claim: epsilon {epsilon}, delta {delta}; give epsilon >= 0 and delta in [0, 1)")
    chance = 1 / (1 + np.exp(-epsilon))
    tail = float(binom.sf(correct - 1, guesses, chance))
    if delta == 0 or correct == 0:
        return min(1.0, tail)
    below = np.cumsum(binom.pmf(np.arange(correct - 1, -1, -1), guesses, chance))
    worst = float((below / np.arange(1, correct + 1)).max())
    return min(1.0, tail + 2 * canaries * delta * worst)


def one_run_epsilon(canaries: int, guesses: int, correct: int, *, delta: float, beta: float = 0.05) -> float:
    """Return the lower bound on epsilon that one training run with many canaries shows.

    Args:
        canaries: m, each included with probability 1/2, independently.
        guesses: r, fixed beforehand.
        correct: v of them right; see `guess_inclusion`.
        delta: of the claim.
        beta: the bound is wrong with at most this probability, in (0, 1).

    Returns:
        The smallest epsilon >= 0 under which so many right guesses are not rarer than `beta`. All of m right with
        delta 0 gives ln(q / (1 - q)), q = beta^(1/m): the bound grows like ln m only.

    Raises:
        ValueError: see `one_run_p_value`.

    Source: Steinke, Nasr and Jagielski 2023, arXiv:2305.08846.

    >>> round(one_run_epsilon(100, 100, 95, delta=1e-5), 3)
    2.172
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta: {beta} is no error probability; give a value in (0, 1)")

    def refuted(epsilon: float) -> bool:
        return one_run_p_value(canaries, guesses, correct, epsilon, delta) < beta

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, _STEP
    while refuted(high):
        if high >= _LARGEST:
            return high
        low, high = high, high + _STEP
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def many_runs_epsilon(
    found: int, included: int, accused: int, excluded: int, *, delta: float, level: float = 0.95
) -> float:
    """Return the lower bound on epsilon from many runs, each with or without one canary.

    epsilon >= ln((TPR - delta) / FPR), and the same with TNR and FNR, at the Clopper-Pearson ends that favour
    privacy; each of the two rates takes half of the error.

    Args:
        found: runs with the canary in which the attack said "in".
        included: runs with the canary.
        accused: runs without it in which the attack said "in".
        excluded: runs without it.
        delta: of the claim.
        level: confidence of the bound, in (0, 1).

    Returns:
        The bound, >= 0.

    Raises:
        ValueError: a count exceeds its runs, or there are none.

    Source: Jagielski, Ullman and Oprea 2020, arXiv:2006.07709; Kairouz, Oh and Viswanath 2015, arXiv:1311.0776.

    >>> round(many_runs_epsilon(100, 100, 0, 100, delta=1e-5), 2)
    3.28
    """
    if not 0 <= found <= included or not 0 <= accused <= excluded or included < 1 or excluded < 1:
        raise ValueError(
            f"runs: {found} of {included} found, {accused} of {excluded} accused; give counts within at least one run"
        )
    tail = (1 - level) / 2
    tpr = float(beta_distribution.ppf(tail, found, included - found + 1)) if found else 0.0
    fpr = float(beta_distribution.ppf(1 - tail, accused + 1, excluded - accused)) if accused < excluded else 1.0
    ratios = [(tpr - delta) / fpr, (1 - fpr - delta) / (1 - tpr)]
    return max(0.0, float(np.log(max(*ratios, 1.0))))
