"""A linear classifier of image attributes in which every patient counts once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SPREAD_FLOOR = 1e-6
OUTLIER = 5.0  # standardised features are cut here: one wild value must not decide
STRENGTHS = (0.003, 0.03, 0.3)  # inverse penalties to choose from
FOLDS = 3
WEIGHT = 20.0  # of a patient against the penalty, however many slices there are


@dataclass(frozen=True)
class AttributeClassifier:
    """Multinomial logistic regression on standardised features.

    Args:
        values: (K,) the values it tells apart.
        mean, scale: (d,) of the training features.
        weights: (K, d).
        offsets: (K,).
        strength: the inverse penalty that cross-validation over patients chose.
    """

    values: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    strength: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the (N,) most likely values of (N, d) features."""
        standard = np.clip((features - self.mean) / self.scale, -OUTLIER, OUTLIER)
        return self.values[(standard @ self.weights.T + self.offsets).argmax(1)]


def fit_attribute(features: np.ndarray, labels: np.ndarray, patient_id: np.ndarray, seed: int) -> AttributeClassifier:
    """Return a classifier of an attribute, its penalty chosen by cross-validation over patients.

    Every value weighs the same, and within a value every patient does, however many slices it has.

    Args:
        features: (N, d) float.
        labels: (N,) str, at least two different values.
        patient_id: (N,) patient of each row; a patient is never in two folds.
        seed: of the folds.

    Raises:
        ValueError: lengths differ, there is one value only, or features are not finite.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat(["a", "b"], 30)
    >>> features = rng.normal(size=(60, 3)) + 4 * (labels == "b")[:, None]
    >>> fitted = fit_attribute(features, labels, np.repeat(np.arange(12), 5), 0)
    >>> bool((fitted.predict(features) == labels).mean() > 0.95)
    True
    """
    features, labels, patient_id = np.asarray(features, dtype=np.float64), np.asarray(labels), np.asarray(patient_id)
    if not len(features) == len(labels) == len(patient_id):
        raise ValueError(
            f"{len(features)} feature rows, {len(labels)} labels and {len(patient_id)} patients; "
            "give one of each per slice"
        )
    if len(np.unique(labels)) < 2:
        raise ValueError(f"labels hold only {np.unique(labels).tolist()}; at least two values are needed to tell apart")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite; replace measures that are not defined before")
    fold = _folds(labels, patient_id, seed)
    scores = [_cross_validated(features, labels, patient_id, fold, strength) for strength in STRENGTHS]
    return _fit(features, labels, patient_id, STRENGTHS[int(np.argmax(scores))])


def recall_by_patient(
    predicted: np.ndarray, labels: np.ndarray, patient_id: np.ndarray, values: Sequence[str]
) -> np.ndarray:
    """Return which share of each patient's slices of each value was recognised.

    Args:
        predicted: (N,) str.
        labels: (N,) str, the truth.
        patient_id: (N,).
        values: the K values to tell apart.

    Returns:
        (P, K) float64 in [0, 1]; NaN where a patient has no slice of that value. The mean over patients, then over
        values, is the balanced accuracy.

    >>> recall_by_patient(np.array(["a", "b"]), np.array(["a", "a"]), np.array(["p", "p"]), ["a", "b"])
    array([[0.5, nan]])
    """
    patients = np.unique(patient_id)
    recall = np.full((len(patients), len(values)), np.nan)
    for row, patient in enumerate(patients):
        for column, value in enumerate(values):
            own = (patient_id == patient) & (labels == value)
            if own.any():
                recall[row, column] = (predicted[own] == value).mean()
    return recall


def _fit(features: np.ndarray, labels: np.ndarray, patient_id: np.ndarray, strength: float) -> AttributeClassifier:
    from sklearn.linear_model import LogisticRegression

    share = _weights(labels, patient_id)
    mean = np.average(features, axis=0, weights=share)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=share))
    scale = np.maximum(scale, SPREAD_FLOOR * np.maximum(np.abs(mean), 1))
    standard = np.clip((features - mean) / scale, -OUTLIER, OUTLIER)
    model = LogisticRegression(C=strength, max_iter=1000)
    model.fit(standard, labels, sample_weight=share * WEIGHT * len(np.unique(patient_id)))
    weights, offsets = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two values
        weights, offsets = np.concatenate([-weights, weights]), np.concatenate([-offsets, offsets])
    return AttributeClassifier(model.classes_, mean, scale, weights, offsets, strength)


def _weights(labels: np.ndarray, patient_id: np.ndarray) -> np.ndarray:
    """One total weight per value, shared equally by its patients; the sum is 1."""
    weights = np.zeros(len(labels))
    for value in np.unique(labels):
        own = labels == value
        patients, index, count = np.unique(patient_id[own], return_inverse=True, return_counts=True)
        weights[own] = 1 / (len(patients) * count[index])
    return weights / weights.sum()


def _folds(labels: np.ndarray, patient_id: np.ndarray, seed: int) -> np.ndarray:
    """(N,) fold of each row; the patients of a value are dealt out in turn, so that folds hold all values."""
    rng = np.random.default_rng([seed, 2041])
    patients = np.unique(patient_id)
    first = {p: min(labels[patient_id == p].tolist()) for p in patients}
    dealt = sorted(rng.permutation(patients), key=lambda p: first[p])
    fold = {p: number % FOLDS for number, p in enumerate(dealt)}
    return np.array([fold[p] for p in patient_id])


def _cross_validated(
    features: np.ndarray, labels: np.ndarray, patient_id: np.ndarray, fold: np.ndarray, strength: float
) -> float:
    """Balanced accuracy on patients left out."""
    predicted = np.empty(len(labels), dtype=labels.dtype)
    for number in range(FOLDS):
        out = fold == number
        if len(np.unique(labels[~out])) < 2:
            return float("-inf")
        predicted[out] = _fit(features[~out], labels[~out], patient_id[~out], strength).predict(features[out])
    recall = recall_by_patient(predicted, labels, patient_id, np.unique(labels).tolist())
    return float(np.nanmean(np.nanmean(recall, 0)))
