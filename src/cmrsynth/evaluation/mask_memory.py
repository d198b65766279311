"""Does a training patient's mask call up a stored image?

A model that has memorised pairs of mask and image gives nearly the same image each time it is asked with a training
mask, while masks of other patients still give many. Only the comparison tells: a generator that ignores its noise
is alike for both.
"""

from __future__ import annotations

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.diversity import mask_ids
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.diversity import per_mask_diversity
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.seeds import derive_seed

SPREAD, STORED = 0.8, 0.4  # shares of what samples of other patients' masks differ by
HALVES = 50  # random halves of the other patients behind the floor
FEW = 4  # patients on either side


def mask_memory_figure(train: SliceSet, synthetic: SliceSet, settings: EvaluationSettings) -> Figure:
    """Return how much samples of training masks differ, as a share of what samples of other masks do."""
    about = ("privacy", "mask_memory", "Samples of training masks: difference, as a share of that for other masks")
    made_with = "1 - MS-SSIM between samples of one mask; no weights"
    ids = mask_ids(synthetic)
    masks, apart = per_mask_diversity(synthetic.images, ids, seed=settings.seed)
    first = {mask: row for row, mask in reversed(list(enumerate(ids)))}
    patient = synthetic.patient_id[[first[mask] for mask in masks]] if len(masks) else np.empty(0, dtype=str)
    known = np.isin(patient, train.patients)
    n = {
        "synthetic": len(synthetic),
        "training_masks": int(known.sum()),
        "other_masks": int((~known).sum()),
        "patients": len(np.unique(patient)),
    }
    if min(len(np.unique(patient[known])), len(np.unique(patient[~known]))) < FEW:
        why = (
            f"This needs two samples per mask, and masks of at least {FEW} training and {FEW} other patients: generate "
            "from both with --images-per-mask 2."
        )
        return not_computed(*about, why, n, made_with)
    measured = _measured(apart, patient, known, settings)
    judgement = judge_mask_memory(measured)
    reading = f"Samples of a training mask differ {measured.value:.2f} times as much as samples of another mask"
    meaning = "no sign of stored images" if judgement.verdict == GOOD else "training masks call up stored images"
    details = {"training": float(apart[known].mean()), "other": float(apart[~known].mean())}
    return judged(
        *about,
        measured,
        judgement,
        f"{reading}: {meaning}.",
        n=n,
        made_with=made_with,
        better="nearer floor",
        details=details,
    )


def judge_mask_memory(measured: Measured) -> Judgement:
    """Judge the ratio; 1 is what a model without memory gets.

    >>> [judge_mask_memory(Measured(v, (v - 0.1, v + 0.1), 1.0, (0.8, 1.2))).verdict for v in (0.9, 0.5, 0.1)]
    ['good', 'look closer', 'do not share']
    """
    bottom = min(SPREAD, measured.floor_interval[0] if measured.floor_interval else SPREAD)
    high = measured.interval[1] if measured.interval else measured.value
    rule = (
        f"good from {SPREAD:g} or the lower end of the floor ({bottom:.2f}); do not share below {STORED:g} if the "
        "interval stays below the first bound; look closer otherwise"
    )
    if measured.value >= bottom:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value < STORED and high < bottom else LOOK, rule)


def _measured(apart: np.ndarray, patient: np.ndarray, known: np.ndarray, settings: EvaluationSettings) -> Measured:
    """Return the ratio with its floor: two random halves of the other patients in the place of both groups."""
    ours, others = apart[known], apart[~known]

    def ratio(rows: np.ndarray, other_rows: np.ndarray) -> float:
        return float(ours[rows].mean() / max(others[other_rows].mean(), 1e-9))

    interval: Interval = bootstrap_patients(
        ratio, [patient[known], patient[~known]], resamples=settings.resamples, seed=settings.seed
    )
    floors = []
    for draw in range(HALVES):
        rng = np.random.default_rng(derive_seed(settings.seed, "mask halves", draw))
        shuffled = rng.permutation(np.unique(patient[~known]))
        half = np.isin(patient[~known], shuffled[: len(shuffled) // 2])
        floors.append(others[half].mean() / max(others[~half].mean(), 1e-9))
    low, high = np.quantile(floors, [0.025, 0.975])
    value = ratio(np.arange(len(ours)), np.arange(len(others)))
    return Measured(value, cut(finite(interval), (0, np.inf)), float(np.mean(floors)), (float(low), float(high)))
