"""The check before every attack: can training and held-out images be told apart without the generator?"""

from __future__ import annotations

from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.floors import cut, finite
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.membership import aggregate_by_patient, auc, blind_baseline
from cmrsynth.seeds import derive_seed

SHUFFLES = 39  # none of them may reach the AUC: 1 / 40 = 2.5 % of sound splits are refused


def blind_check(train: SliceSet, holdout: SliceSet, settings: EvaluationSettings) -> dict[str, Any]:
    """Return whether the split is shifted, and the AUC over patients of the blind baseline with its interval.

    The interval knows only which patients were scored; that the classifier was also fitted on few patients makes
    the AUC scatter more (a standard deviation of .10 instead of .075 on 30 patients a side, so that up to 13 % of
    sound splits were refused in a trial). So where the interval excludes 0.5, the classifier is fitted on shuffled
    sides as well, and the split is called shifted only if none of those AUCs reaches it.

    Returns:
        {"blind_auc", "blind_interval", "blind_chance" (the highest of shuffled sides, or None), "shifted"}.

    Source: Das et al. 2024, arXiv:2406.16201.
    """
    images, patients = (
        np.concatenate([getattr(part, name) for part in (train, holdout)]) for name in ("images", "patient_id")
    )
    is_train = np.arange(len(images)) < len(train)
    member, other = _scores(images, patients, is_train, settings.seed)
    value = auc(member, other)
    interval = bootstrap_patients(
        lambda a, b: auc(member[a], other[b]),
        [np.arange(len(member)), np.arange(len(other))],
        resamples=settings.resamples,
        seed=settings.seed,
    )
    found = {"blind_auc": value, "blind_interval": cut(finite(interval), (0.0, 1.0)), "blind_chance": None}
    if found["blind_interval"] is None or found["blind_interval"][0] <= 0.5:
        return {**found, "shifted": False}
    reached = -np.inf
    for draw in range(SHUFFLES):
        dealt = _dealt_anew(patients, is_train, draw, settings.seed)
        reached = max(reached, auc(*_scores(images, patients, dealt, settings.seed)))
        if reached >= value:
            break
    return {**found, "blind_chance": reached, "shifted": reached < value}


def _scores(images: np.ndarray, patient_id: np.ndarray, is_train: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return out-of-fold scores of the patients of both sides."""
    sides = (is_train, ~is_train)
    scores, labels = blind_baseline(
        *(images[side] for side in sides), *(patient_id[side] for side in sides), derive_seed(seed, "blind")
    )
    found = zip((1, 0), sides, strict=True)
    return [aggregate_by_patient(scores[labels == label], patient_id[side])[1] for label, side in found]


def _dealt_anew(patient_id: np.ndarray, is_train: np.ndarray, draw: int, seed: int) -> np.ndarray:
    """Return the rows of as many patients as were trained on, chosen at random."""
    rng = np.random.default_rng(derive_seed(seed, "blind shuffle", draw))
    return np.isin(patient_id, rng.permutation(np.unique(patient_id))[: len(np.unique(patient_id[is_train]))])
