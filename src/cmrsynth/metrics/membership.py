"""Membership inference: can someone tell which patients a generator was trained on?

In every function a higher score means "more like a member" (a training patient).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from .intervals import clopper_pearson
from .texture import radial_power_spectrum

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_SIDE = 16  # the blind baseline sees images of this size: site and scanner show there, single patients less
_FOLDS = 5
_BLIND = 21  # random stream


def auc(member_scores: np.ndarray, nonmember_scores: np.ndarray) -> float:
    """Return the probability that a member scores above a non-member; ties count one half.

    0.5 is chance. Without any leak its standard error is sqrt((n1 + n0 + 1) / (12 n1 n0)).

    Args:
        member_scores: (n1,) float.
        nonmember_scores: (n0,) float.

    Raises:
        ValueError: a side is empty or a score is NaN.

    >>> auc(np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    0.875
    """
    member, nonmember = _checked(member_scores, nonmember_scores)
    ranks = rankdata(np.concatenate([member, nonmember]))[: len(member)]
    return float((ranks.sum() - len(member) * (len(member) + 1) / 2) / (len(member) * len(nonmember)))


def tpr_at_fpr(member: np.ndarray, nonmember: np.ndarray, fpr: float) -> tuple[float, float, float]:
    """Return the share of members found while at most a share `fpr` of non-members is accused.

    The threshold is the lowest that keeps to `fpr` on these non-members, ties included, so the rate is never
    overstated by picking the nearest one.

    Args:
        member: (n1,) scores.
        nonmember: (n0,) scores.
        fpr: false positive rate allowed, in (0, 1).

    Returns:
        (tpr, low, high) with the 95 % Clopper-Pearson interval over members; all NaN where n0 < 1 / fpr, because
        such a rate cannot be told from 0.

    Raises:
        ValueError: a side is empty or a score is NaN.

    >>> tpr_at_fpr(np.array([0.5, 3.0]), np.arange(10) / 10, 0.1)[0]
    0.5
    """
    member, nonmember = _checked(member, nonmember)
    allowed = int(np.floor(fpr * len(nonmember) + 1e-9))
    if allowed < 1:
        return float("nan"), float("nan"), float("nan")
    threshold = np.sort(nonmember)[::-1][min(allowed, len(nonmember) - 1)]
    found = int((member > threshold).sum())
    return found / len(member), *clopper_pearson(found, len(member))


def balanced_accuracy(member: np.ndarray, nonmember: np.ndarray) -> float:
    """Return the best balanced accuracy (TPR + TNR) / 2 of any threshold, >= 0.5.

    The threshold is chosen on these very scores, so the value lies above 0.5 by chance: give its null value beside
    it, or choose the threshold on other patients.

    >>> balanced_accuracy(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    1.0
    """
    member, nonmember = _checked(member, nonmember)
    thresholds = np.unique(np.concatenate([member, nonmember]))
    missed = np.searchsorted(np.sort(member), thresholds) / len(member)  # share of members below the threshold
    cleared = np.searchsorted(np.sort(nonmember), thresholds) / len(nonmember)
    return float(max(0.5, ((1 - missed + cleared) / 2).max()))


def aggregate_by_patient(
    scores: np.ndarray, patient_id: np.ndarray, how: str = "mean"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the patients, sorted, and one score for each.

    Args:
        scores: (N,) float, one per slice.
        patient_id: (N,).
        how: "mean" (weak signal in every slice) or "max" (one slice was memorised).

    Returns:
        (P,) patients and (P,) float64 scores.

    Raises:
        ValueError: `how` is neither.

    >>> patients, scores = aggregate_by_patient(np.array([1.0, 3.0, 5.0]), np.array(["b", "b", "a"]))
    >>> patients.tolist(), scores.tolist()
    (['a', 'b'], [5.0, 2.0])
    """
    if how not in ("mean", "max"):
        raise ValueError(f'how: {how!r} is unknown; use "mean" or "max"')
    scores = np.asarray(scores, dtype=np.float64)
    patients, row = np.unique(np.asarray(patient_id), return_inverse=True)
    if how == "mean":
        return patients, np.bincount(row, scores) / np.bincount(row)
    highest = np.full(len(patients), -np.inf)
    np.maximum.at(highest, row, scores)
    return patients, highest


def adjust_for_difficulty(
    member_scores: np.ndarray,
    nonmember_scores: np.ndarray,
    member_difficulty: np.ndarray,
    nonmember_difficulty: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores with what the images' own difficulty explains taken out.

    A generator predicts a noisy or richly textured image worse than a smooth one, whether or not it was trained on
    it. If one side has more of such images (more patients of one vendor, say), a plain attack measures that. The
    part that is linear in brightness, contrast and the power spectrum is removed; membership is part of the same
    regression, so that a leak is not explained away.

    Args:
        member_scores: (n1,) float.
        nonmember_scores: (n0,) float.
        member_difficulty: (n1, 8) of `image_difficulty`.
        nonmember_difficulty: (n0, 8).

    Source: calibration by difficulty, Watson et al. 2021, arXiv:2111.08440, here without a reference model.
    """
    member, nonmember = _checked(member_scores, nonmember_scores)
    scores = np.concatenate([member, nonmember])
    features = np.concatenate([member_difficulty, nonmember_difficulty])
    features = (features - features.mean(0)) / np.maximum(features.std(0), 1e-8)
    design = np.column_stack([features, np.ones(len(scores)), np.arange(len(scores)) < len(member)])
    slopes = np.linalg.lstsq(design, scores, rcond=1e-6)[0][: features.shape[1]]
    adjusted = scores - features @ slopes
    return adjusted[: len(member)], adjusted[len(member) :]


def image_difficulty(images: np.ndarray) -> np.ndarray:
    """Return (N, 8): mean, standard deviation, and mean log-power in six bands of spatial frequency, per image.

    Args:
        images: (N, H, W) in [0, 1].
    """
    spectrum = np.log(radial_power_spectrum(images) + 1e-10)
    bands = [band.mean(1) for band in np.array_split(spectrum, 6, axis=1)]
    return np.column_stack([images.mean((1, 2)), images.std((1, 2)), *bands])


def blind_baseline(
    train_images: np.ndarray,
    holdout_images: np.ndarray,
    train_patients: np.ndarray,
    holdout_patients: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return out-of-fold scores of an attack that never sees the generator.

    A logistic regression tells training from held-out images by their looks (principal components of the image at
    16 x 16, and the power spectrum), in folds that share no patient. If its AUC is not chance, the two sets differ
    by more than membership (another scanner, another site), and no membership figure on them means anything.

    Args:
        train_images: (T, H, W) float in [0, 1].
        holdout_images: (P, H, W) float in [0, 1].
        train_patients: (T,) patient of each training image.
        holdout_patients: (P,) patient of each held-out image.
        seed: the run's seed; it deals the patients into folds.

    Returns:
        (T + P,) float64 scores, training rows first, and (T + P,) int labels, 1 for training. Pool them per patient
        with `aggregate_by_patient` before `auc`.

    Raises:
        ValueError: a patient is in both sets, or a set has fewer than two patients.

    Source: Das et al. 2024, arXiv:2406.16201.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    shared = sorted(set(map(str, train_patients)) & set(map(str, holdout_patients)))
    if shared:
        raise ValueError(f"train and holdout: they share patients {shared[:3]}; split by patient")
    folds = min(_FOLDS, len(set(train_patients)), len(set(holdout_patients)))
    if folds < 2:
        raise ValueError("train and holdout: one has fewer than two patients; give at least two patients a side")
    looks = np.concatenate([_looks(train_images), _looks(holdout_images)])
    labels = np.repeat([1, 0], [len(train_images), len(holdout_images)])
    patients = np.concatenate([np.asarray(train_patients, dtype=str), np.asarray(holdout_patients, dtype=str)])
    scores = np.empty(len(labels))
    deal = int(np.random.default_rng([seed, _BLIND]).integers(2**32))
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=deal)
    for fit, held in dealer.split(looks, labels, patients):
        model = _classifier(len(fit))
        model.fit(looks[fit], labels[fit], classify__sample_weight=_weights(labels[fit], patients[fit]))
        scores[held] = model.decision_function(looks[held])
    return scores, labels


def _looks(images: np.ndarray) -> np.ndarray:
    """(N, 16 * 16 + R): block means of the pixels, and the logarithm of the radial power spectrum."""
    images = np.asarray(images, dtype=np.float64)
    rows, columns = (np.arange(_SIDE) * side // _SIDE for side in images.shape[1:])
    counts = np.outer(np.diff(rows, append=images.shape[1]), np.diff(columns, append=images.shape[2]))
    small = np.add.reduceat(np.add.reduceat(images, rows, axis=1), columns, axis=2) / counts
    spectrum = np.log(radial_power_spectrum(images) + 1e-10)
    return np.concatenate([small.reshape(len(images), -1), spectrum], axis=1)


def _classifier(rows: int) -> Pipeline:
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    pixels = slice(0, _SIDE * _SIDE)
    components = PCA(min(16, rows - 1), svd_solver="full")
    looks = ColumnTransformer([("pixels", components, pixels), ("spectrum", "passthrough", slice(_SIDE * _SIDE, None))])
    return Pipeline(
        [("looks", looks), ("scale", StandardScaler()), ("classify", LogisticRegression(C=0.1, max_iter=1000))]
    )


def _weights(labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Give each side the same total weight, and each patient the same weight within a side."""
    weights = np.empty(len(labels))
    for side in (0, 1):
        own = labels == side
        _, row, counts = np.unique(patients[own], return_inverse=True, return_counts=True)
        weights[own] = len(labels) / (2 * len(counts) * counts[row])
    return weights


def _checked(member: np.ndarray, nonmember: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    member, nonmember = np.asarray(member, dtype=np.float64), np.asarray(nonmember, dtype=np.float64)
    if not len(member) or not len(nonmember) or np.isnan(member).any() or np.isnan(nonmember).any():
        raise ValueError("scores: a side is empty or holds NaN; score at least one member and one non-member")
    return member, nonmember
