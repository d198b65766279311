"""Several columns of an attack into one score, fitted on other patients where anything is fitted."""

from __future__ import annotations

import numpy as np

FUSIONS = ("mean", "z-sum", "logreg")
_HALVES = 32  # random stream


def fuse(
    features: np.ndarray,
    fusion: str,
    calibration: np.ndarray | None = None,
    calibration_is_member: np.ndarray | None = None,
) -> np.ndarray:
    """Return one score per row.

    Args:
        features: (N, k), each column higher for members.
        fusion: "mean"; "z-sum": the sum of columns standardised by the calibration rows; "logreg": the decision of a
            logistic regression fitted on the calibration rows.
        calibration: (M, k) features of other patients.
        calibration_is_member: (M,) bool, for "logreg".

    Returns:
        (N,) float64.

    Raises:
        ValueError: an unknown fusion, or nothing to calibrate on.

    >>> fuse(np.array([[1.0, 3.0]]), "mean").tolist()
    [2.0]
    """
    features = np.asarray(features, dtype=np.float64)
    if fusion not in FUSIONS:
        raise ValueError(f"fusion: expected one of {FUSIONS}, got {fusion!r}; take it from the attack")
    if fusion == "mean":
        return features.mean(1)
    if calibration is None or (fusion == "logreg" and calibration_is_member is None):
        raise ValueError(f"calibration: {fusion} is fitted on other patients, got none; give their features and sides")
    centre, spread = calibration.mean(0), np.maximum(calibration.std(0), 1e-12)
    standard = (features - centre) / spread
    if fusion == "z-sum":
        return standard.sum(1)
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced").fit((calibration - centre) / spread, calibration_is_member)
    return model.decision_function(standard)


def fuse_across_patients(
    features: np.ndarray, fusion: str, is_member: np.ndarray, patient_id: np.ndarray, seed: int
) -> np.ndarray:
    """Return one score per row, each fitted on the other half of the patients.

    Half of the patients of each side calibrate the fusion for the other half, and the other way round. Two fits are
    not on one scale, so the scores of each half are standardised before they are put together.

    Args:
        features: (N, k), each column higher for members.
        fusion: as in `fuse`.
        is_member: (N,) bool.
        patient_id: (N,); a patient's rows, repeated ones too, stay in one half.
        seed: deals the patients.

    Raises:
        ValueError: fewer than four patients on a side, and the fusion needs fitting.
    """
    if fusion == "mean":
        return fuse(features, fusion)
    rng, first = np.random.default_rng([seed, _HALVES]), np.zeros(len(features), dtype=bool)
    for side in (True, False):
        patients = np.unique(patient_id[is_member == side])
        if len(patients) < 4:
            raise ValueError(
                f"patients: expected at least 4 a side to fit {fusion}, got {len(patients)}; use another attack"
            )
        first |= np.isin(patient_id, rng.permutation(patients)[: len(patients) // 2]) & (is_member == side)
    scores = np.empty(len(features))
    for half in (first, ~first):
        found = fuse(features[half], fusion, features[~half], is_member[~half])
        scores[half] = (found - found.mean()) / max(found.std(), 1e-12)
    return scores
