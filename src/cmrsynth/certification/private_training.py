"""A small training run under differential privacy that can be audited, with its clip or without.

The model is a linear regression, the unit of privacy a patient with several records, and the algorithm DP-SGD in
NumPy (Abadi et al. 2016, arXiv:1607.00133): Poisson sampling of patients, one clipped gradient a patient, Gaussian
noise. Canaries are patients with an outlying outcome along a feature of their own, so that their mark on the weights
is as plain as a training run can make it (the "Dirac canaries" of Nasr et al. 2023, arXiv:2302.07956).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.dp_audit import guess_inclusion, one_run_epsilon

ORDERS = np.r_[2:64, 64:257:8]  # of Renyi divergence; integers keep the subsampled moment a finite sum
PATIENTS, RECORDS, FEATURES = 60, 4, 8  # real patients beside the canaries
CANARIES, GUESSES = 100, 40  # guesses "in", and as many "out": fewer than half, because the coins scatter
OUTLIER = 1000.0  # a canary's outcome: only the clip makes this patient weigh like any other
_DATA, _COINS, _TRAINING = 61, 62, 63  # random streams


@dataclass(frozen=True)
class Recipe:
    """How a model is trained under differential privacy.

    Args:
        noise_multiplier: standard deviation of the noise in units of `clip`.
        sampling: probability that a patient is in a batch.
        steps: updates.
        clip: largest norm of a patient's gradient.
        learning_rate: of plain gradient descent.
        clipped: False plants the failure: gradients enter as they are, while the claim stays.
    """

    noise_multiplier: float
    sampling: float = 0.25
    steps: int = 60
    clip: float = 1.0
    learning_rate: float = 0.1
    clipped: bool = True


@dataclass(frozen=True)
class AuditResult:
    """What a one-run audit found: the claim, the lower bound, and the guesses behind it."""

    claimed: float
    lower_bound: float
    guesses: int
    correct: int


def accounted_epsilon(recipe: Recipe, delta: float) -> float:
    """Return the epsilon that the recipe promises if it is followed, at `delta`.

    Renyi accounting of the Poisson-subsampled Gaussian mechanism at integer orders: an upper bound, about 10 % above
    that of privacy loss distributions.

    Source: Mironov, Talwar and Zhang 2019, arXiv:1908.10530, section 3.3; conversion of Canonne, Kamath and Steinke
    2020, arXiv:2004.00010, proposition 12.

    >>> round(accounted_epsilon(Recipe(1.0, sampling=0.01, steps=1000), 1e-5), 1)
    2.1
    """
    divergences = []
    for order in ORDERS:
        k = np.arange(order + 1)
        log_binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            left_out = np.where(k == order, 0.0, (order - k) * np.log1p(-recipe.sampling))
        terms = log_binomial + left_out + k * np.log(recipe.sampling) + k * (k - 1) / (2 * recipe.noise_multiplier**2)
        divergences.append(recipe.steps * logsumexp(terms) / (order - 1))
    epsilons = np.array(divergences) + np.log1p(-1 / ORDERS) - (np.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(epsilons.min()))


def noise_for(epsilon: float, delta: float, *, sampling: float = 0.25, steps: int = 60) -> float:
    """Return the noise multiplier under which a recipe promises `epsilon` at `delta`.

    >>> recipe = Recipe(noise_for(1.0, 1e-3))
    >>> bool(0.99 < accounted_epsilon(recipe, 1e-3) <= 1.0)
    True
    """
    low, high = 0.1, 1000.0
    for _ in range(30):
        middle = (low * high) ** 0.5
        promised = accounted_epsilon(Recipe(middle, sampling=sampling, steps=steps), delta)
        low, high = (middle, high) if promised > epsilon else (low, middle)
    return high


def train(records: np.ndarray, outcomes: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Return the (D,) weights of a linear regression trained with DP-SGD.

    Args:
        records: (P, m, D) float, m records of each of P patients.
        outcomes: (P, m) float.
        recipe: clip, noise, sampling.
        rng: draws batches and noise.
    """
    weights = np.zeros(records.shape[2])
    for _ in range(recipe.steps):
        batch = rng.random(len(records)) < recipe.sampling
        gradients = patient_gradients(weights, records[batch], outcomes[batch], recipe)
        noise = rng.normal(0, recipe.noise_multiplier * recipe.clip, len(weights))
        # divided by the expected size of a batch: the true one is private
        weights = weights - recipe.learning_rate * (gradients.sum(0) + noise) / (recipe.sampling * PATIENTS)
    return weights


def patient_gradients(weights: np.ndarray, records: np.ndarray, outcomes: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return (P, D) gradients of each patient's mean squared error, at most `clip` long unless left out."""
    error = records @ weights - outcomes
    gradients = np.einsum("pm,pmd->pd", error, records) / records.shape[1]
    if not recipe.clipped:
        return gradients
    length = np.linalg.norm(gradients, axis=1, keepdims=True)
    return gradients * np.minimum(1, recipe.clip / np.maximum(length, 1e-12))


def audit(recipe: Recipe, *, delta: float, seed: int) -> AuditResult:
    """Return what one training run with canaries shows of its privacy.

    The claim is `accounted_epsilon(recipe, delta)`, whether or not the recipe keeps to it.
    """
    coins = np.random.default_rng([seed, _COINS]).random(CANARIES) < 0.5
    records, outcomes = _patients(coins, np.random.default_rng([seed, _DATA]))
    weights = train(records, outcomes, recipe, np.random.default_rng([seed, _TRAINING]))
    guesses, correct = guess_inclusion(weights[FEATURES:], coins, GUESSES, GUESSES)
    bound = one_run_epsilon(CANARIES, guesses, correct, delta=delta)
    return AuditResult(accounted_epsilon(recipe, delta), bound, guesses, correct)


def _patients(coins: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return records (P, m, D) and outcomes (P, m) of the real patients and of the canaries whose coin says "in"."""
    truth = rng.normal(size=FEATURES)
    records = np.zeros((PATIENTS + int(coins.sum()), RECORDS, FEATURES + len(coins)))
    records[:PATIENTS, :, :FEATURES] = rng.normal(size=(PATIENTS, RECORDS, FEATURES))
    outcomes = np.full(records.shape[:2], OUTLIER)
    outcomes[:PATIENTS] = records[:PATIENTS, :, :FEATURES] @ truth + rng.normal(size=(PATIENTS, RECORDS))
    for row, canary in enumerate(np.flatnonzero(coins), PATIENTS):
        records[row, :, FEATURES + canary] = 1.0
    return records, outcomes


def judge_claim(result: AuditResult) -> Judgement:
    """Judge a privacy claim by the lower bound of its audit.

    >>> judge_claim(AuditResult(claimed=1.0, lower_bound=3.2, guesses=80, correct=80)).verdict
    'do not share'
    """
    rule = f"do not share if the audit's lower bound exceeds the claimed epsilon ({result.claimed:.2f}); good otherwise"
    return Judgement(DO_NOT_SHARE if result.lower_bound > result.claimed else GOOD, rule)
