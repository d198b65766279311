"""Scores calibrated by models of known membership: reference model, LiRA, RMIA.

An image that is easy for every model scores high without having been trained on. Models trained by the auditor on
other halves of the patients (shadow models) say how an image scores when it is in and when it is out. Training them
is the caller's; `shadow_halves` deals the patients.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

_SHADOWS = 33  # random stream
FEW = 16  # shadows; with fewer, one variance is shared by all images


def shadow_halves(patient_id: np.ndarray, shadows: int, seed: int) -> np.ndarray:
    """Return which rows each shadow model is trained on: half of the patients, every patient in half of the shadows.

    Args:
        patient_id: (N,).
        shadows: number of shadow models, even.
        seed: deals the patients.

    Returns:
        (shadows, N) bool; shadows 2 i and 2 i + 1 complement each other.

    Raises:
        ValueError: an odd number.

    >>> halves = shadow_halves(np.array(["a", "a", "b", "c"]), 4, seed=0)
    >>> halves.sum(0).tolist()
    [2, 2, 2, 2]
    """
    if shadows < 2 or shadows % 2:
        raise ValueError(
            f"shadows: expected an even number of at least 2, got {shadows}; every patient is in half of them"
        )
    rng, patients, rows = np.random.default_rng([seed, _SHADOWS]), np.unique(patient_id), []
    for _ in range(shadows // 2):
        half = np.isin(patient_id, rng.permutation(patients)[: len(patients) // 2])
        rows += [half, ~half]
    return np.stack(rows)


def relative_to_reference(target: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return target minus reference scores: what a model trained without any of these patients cannot explain.

    Source: Watson et al. 2021, arXiv:2111.08440.

    >>> relative_to_reference(np.array([-1.0, -2.0]), np.array([-2.0, -2.0])).tolist()
    [1.0, 0.0]
    """
    return np.asarray(target, dtype=np.float64) - np.asarray(reference, dtype=np.float64)


def lira_online(target: np.ndarray, shadow_scores: np.ndarray, is_in: np.ndarray) -> np.ndarray:
    """Return log N(s; mu_in, s_in) - log N(s; mu_out, s_out) per image.

    Args:
        target: (N,) scores by the model under attack.
        shadow_scores: (S, N) scores by the shadow models.
        is_in: (S, N) bool: the shadow was trained on this image.

    Raises:
        ValueError: an image is in none, or in all, of the shadows, or the shapes differ.

    Source: Carlini et al. 2022, arXiv:2112.03570, algorithm 1; with fewer than 16 shadows the variances are shared
    by all images, as in its section VI.
    """
    target, shadow_scores, is_in = _checked(target, shadow_scores, is_in)
    inside, outside = _gaussians(shadow_scores, is_in), _gaussians(shadow_scores, ~is_in)
    return norm.logpdf(target, *inside) - norm.logpdf(target, *outside)


def lira_offline(target: np.ndarray, shadow_scores: np.ndarray, is_in: np.ndarray) -> np.ndarray:
    """Return (s - mu_out) / s_out per image, from the shadows that were not trained on it alone.

    The test of the paper is Phi of this value; the value itself ranks alike and does not saturate.

    Args:
        target: (N,) scores by the model under attack.
        shadow_scores: (S, N) scores by the shadow models.
        is_in: (S, N) bool; may be False throughout.

    Raises:
        ValueError: an image is in all of the shadows, or the shapes differ.

    Source: Carlini et al. 2022, arXiv:2112.03570, section V-C.
    """
    target, shadow_scores, is_in = _checked(target, shadow_scores, is_in)
    mean, spread = _gaussians(shadow_scores, ~is_in)
    return (target - mean) / spread


def rmia(
    target: np.ndarray,
    shadow_scores: np.ndarray,
    population_target: np.ndarray,
    population_shadow_scores: np.ndarray,
    *,
    is_in: np.ndarray | None = None,
    gamma: float = 1.0,
) -> np.ndarray:
    """Return the share of population images z that x beats: p(x | model) / p(x) >= gamma p(z | model) / p(z).

    Scores stand for log-probabilities; p(.) is the mean over shadow models.

    Args:
        target: (N,) scores of the images by the model under attack.
        shadow_scores: (S, N) by the shadow models.
        population_target: (Z,) scores of images that were in no training set, by the model under attack.
        population_shadow_scores: (S, Z) by the shadow models.
        is_in: (S, N) bool. Where given, p(x) is the mean of the shadows that saw x and of those that did not, half
            each (online); where not, all shadows count as not having seen x (offline with a = 1).
        gamma: 1 or a little more.

    Returns:
        (N,) in [0, 1].

    Raises:
        ValueError: the shapes differ, or an image is in none, or in all, of the shadows.

    Source: Zarifzadeh et al. 2024, arXiv:2312.03262.
    """
    seen = np.zeros(np.shape(shadow_scores), dtype=bool) if is_in is None else is_in
    target, shadow_scores, seen = _checked(target, shadow_scores, seen)
    nothing = np.zeros(np.shape(population_shadow_scores), dtype=bool)
    population_target, population_shadow_scores, _ = _checked(population_target, population_shadow_scores, nothing)
    out = _log_mean(shadow_scores, ~seen)
    prior = out if is_in is None else np.logaddexp(_log_mean(shadow_scores, seen), out) - np.log(2)
    ratio = target - prior
    population = np.sort(population_target - _log_mean(population_shadow_scores, ~nothing))
    return np.searchsorted(population, ratio - np.log(gamma), side="right") / len(population)


def _log_mean(scores: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    _need_some(chosen)
    return logsumexp(np.where(chosen, scores, -np.inf), axis=0) - np.log(chosen.sum(0))


def _gaussians(scores: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _need_some(chosen)
    counts = chosen.sum(0)
    mean = np.where(chosen, scores, 0).sum(0) / counts
    squares = np.where(chosen, (scores - mean) ** 2, 0).sum(0)
    if len(scores) < FEW:
        freedom = (counts - 1).sum()
        if freedom < 1:
            raise ValueError("shadows: one score per image has no variance; train at least four shadow models")
        variance = np.full(len(mean), squares.sum() / freedom)
    else:
        variance = squares / np.maximum(counts - 1, 1)
    return mean, np.sqrt(np.maximum(variance, 1e-24))


def _need_some(chosen: np.ndarray) -> None:
    if not chosen.any(0).all():
        raise ValueError("is_in: an image is in none, or in all, of the shadows; deal the patients with shadow_halves")


def _checked(target: np.ndarray, scores: np.ndarray, is_in: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target, scores, is_in = np.asarray(target, float), np.asarray(scores, float), np.asarray(is_in, bool)
    if scores.ndim != 2 or scores.shape[1:] != target.shape or is_in.shape != scores.shape:
        raise ValueError(
            f"scores: expected target (N,), shadows (S, N) and is_in (S, N), got {target.shape}, {scores.shape}, "
            f"{is_in.shape}; score the same images with every model"
        )
    return target, scores, is_in
