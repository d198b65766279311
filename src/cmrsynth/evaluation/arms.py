"""Networks trained on one kind of data, and what they score on patients they never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.floors import Interval, cut, finite
from cmrsynth.evaluation.segmenter import Segmenter, train_segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.metrics.hierarchical import Crossed, mean_of_seeds_and_patients
from cmrsynth.metrics.overlap import dice, overlap_by_patient

ARMS = ("real", "synthetic", "both")
SUBJECTS = {"real": "real images", "synthetic": "synthetic images alone", "both": "real and synthetic images"}
SCORES = {  # name in tables, unit
    "dice": ("Dice", ""),
    "iou": ("IoU", ""),
    "hausdorff_95": ("HD95", "mm"),
    "hausdorff_95_penalised": ("HD95 with misses", "mm"),
    "assd": ("ASSD", "mm"),
}


@dataclass(frozen=True)
class Pool:
    """What an arm is trained on: (N, H, W) images in [0, 1] and label maps."""

    images: np.ndarray
    masks: np.ndarray

    @classmethod
    def of(cls, *parts: SliceSet) -> Pool:
        """Return the slices of all parts, one after the other; sets without a slice add none."""
        return cls(np.concatenate([p.images for p in parts]), np.concatenate([p.masks for p in parts]))


@dataclass(frozen=True)
class Arm:
    """How networks trained on one kind of data do on held-out patients.

    Args:
        dice, hausdorff_95: (S, P, L) over seeds, patients and labels; NaN where not defined.
        missed: slices where exactly one of prediction and mask holds a label, mean over seeds.
        others: further scores of the same shape by name: "iou", "assd", "hausdorff_95_penalised".
    """

    dice: np.ndarray
    hausdorff_95: np.ndarray
    missed: float
    others: dict[str, np.ndarray] = field(default_factory=dict)

    def score(self, name: str) -> np.ndarray:
        """Return the (S, P, L) values of one of `SCORES`."""
        return getattr(self, name) if name in ("dice", "hausdorff_95") else self.others[name]


def train_arm(
    pool: Pool, labels: tuple[int, ...], settings: EvaluationSettings, folder: Path, name: str
) -> list[Segmenter]:
    """Return one segmenter per seed, all with the same number of updates; finished ones in `folder` are used again."""
    return [
        train_segmenter(
            pool.images,
            pool.masks,
            labels,
            updates=settings.segmenter_updates,
            batch_size=settings.segmenter_batch,
            seed=settings.seed + offset,
            path=folder / f"segmenter-{name}-{settings.seed + offset}.safetensors",
            kind=settings.segmenter_kind,
        )
        for offset in range(settings.segmenter_seeds)
    ]


def predict_all(networks: Sequence[Segmenter], part: SliceSet) -> list[np.ndarray]:
    """Return the label maps of every network for a set."""
    return [network.predict(part.images) for network in networks]


def score_arm(predictions: Sequence[np.ndarray], part: SliceSet, labels: tuple[int, ...]) -> Arm:
    """Return how one arm's predictions, one (N, H, W) array per seed, agree with the masks of a set."""
    per_seed = [_scores(prediction, part, labels) for prediction in predictions]
    stacked = {name: np.stack([scores[name] for scores in per_seed]) for name in SCORES}
    missed = float(np.mean([scores["missed"].sum() for scores in per_seed]))
    return Arm(stacked.pop("dice"), stacked.pop("hausdorff_95"), missed, stacked)


def per_patient(values: np.ndarray) -> np.ndarray:
    """Return (S, P) means over the defined labels of (S, P, L) values; NaN where none is."""
    return nan_mean(values, axis=2)


def nan_mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of the defined values along an axis; NaN, without a warning, where there is none."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis) / np.where(known.any(axis), known.sum(axis), np.nan)


def crossed(
    values: np.ndarray, settings: EvaluationSettings, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Crossed:
    """Return the mean of (S, P) values over seeds and patients, its interval cut at the values it can take."""
    found = mean_of_seeds_and_patients(values, resamples=settings.resamples, seed=settings.seed)
    return replace(found, interval=cut(found.interval, bounds))


def bounds_of(score: str) -> tuple[float, float]:
    """Return the values one of `SCORES` can take."""
    return (0.0, 1.0) if score in ("dice", "iou") else (0.0, np.inf)


def interval_of(found: Crossed) -> Interval | None:
    """Return the interval, or None where there is none."""
    return finite(found.interval)


def same_data_other_seed(reference: np.ndarray) -> np.ndarray | None:
    """Return the differences of (S, P) scores to those of the next seed, what chance in training alone does.

    Their mean is 0; None with one seed.
    """
    return None if len(reference) < 2 else reference - np.roll(reference, 1, axis=0)


def _scores(predictions: np.ndarray, part: SliceSet, labels: tuple[int, ...]) -> dict[str, np.ndarray]:
    overlap = overlap_by_patient(predictions, part.masks, part.patient_id, part.phase, labels, part.pixel_spacing)
    shape = overlap["dice"].shape
    iou, both, diagonal = np.full(shape, np.nan), np.zeros(shape), np.zeros((shape[0], 1))
    for row, patient in enumerate(overlap["patients"]):
        own = np.flatnonzero(part.patient_id == patient)
        stacks = [own[part.phase[own] == phase] for phase in np.unique(part.phase[own])]
        diagonal[row] = np.hypot(*(part.pixel_spacing[own].mean(0) * part.images.shape[1:]))
        for column, label in enumerate(labels):
            d = np.array([dice(predictions[s], part.masks[s], label) for s in stacks])
            iou[row, column] = nan_mean(d / (2 - d), axis=0)
            found, asked = ((x[own] == label).any((1, 2)) for x in (predictions, part.masks))
            both[row, column] = (found & asked).sum()
    surfaces = np.nan_to_num(overlap["hausdorff_95"]) * both + diagonal * overlap["missed"]
    slices = both + overlap["missed"]
    penalised = np.where(slices > 0, surfaces / np.maximum(slices, 1), np.nan)
    return {**overlap, "iou": iou, "hausdorff_95_penalised": penalised}
