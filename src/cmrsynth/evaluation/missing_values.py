"""Do the images show every vendor, pathology and phase that real patients show?

A generator can drop a mode without any image looking wrong, and distances between sets hide it, because patients of
one kind differ nearly as much as kinds do. Here a classifier that learned each attribute from real training patients
reads the images, whatever their labels say, and what counts is how often each value is read, relative to real
held-out patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.figure import GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Measured, cut, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.recognition import slice_features
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.recognition import fit_attribute
from cmrsynth.schema import UNKNOWN
from cmrsynth.seeds import derive_seed

SHOWN = ("vendor", "pathology", "phase")
MIN_TRAIN, MIN_HOLDOUT = 3, 3  # patients per value
ENOUGH = 0.5  # of the share among real patients
NOTICED = 0.3  # a value counts if leaving its real images out brings its share below this
HALVES = 50  # random halves of the held-out patients behind the floor


def missing_value_figures(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    encoder: Encoder,
    segmenter: Segmenter,
    settings: EvaluationSettings,
) -> list[Figure]:
    """Return per attribute how rare its rarest value is among the images, relative to real held-out patients.

    Args:
        train: real slices that the classifiers learn from.
        holdout: real slices of other patients: the reference.
        synthetic: the set to judge; its own labels are not used.
        encoder: the cardiac encoder, fitted on `train`.
        segmenter: trained on `train`.
        settings: resamples and seed.
    """
    sets = train, holdout, synthetic
    features = [slice_features(part, encoder, segmenter) for part in sets]
    made_with = f"logistic regression on {encoder.made_with}, texture and re-segmented anatomy"
    return [_figure(name, sets, features, made_with, settings) for name in SHOWN]


def _figure(
    name: str,
    sets: tuple[SliceSet, SliceSet, SliceSet],
    features: list[np.ndarray],
    made_with: str,
    settings: EvaluationSettings,
) -> Figure:
    train, holdout, synthetic = sets
    about = ("fidelity", f"shown_{name}", f"Rarest {name} in the images, relative to real patients")
    n = {"synthetic": len(synthetic), "reference": len(holdout), "patients": len(holdout.patients)}
    values = _learnable(name, train, holdout)
    if len(values) < 2:
        why = (
            f"Fewer than two values of {name} are known with {MIN_TRAIN} training and {MIN_HOLDOUT} held-out patients "
            "each."
        )
        return not_computed(*about, why, n, made_with)
    rows = [np.isin(getattr(part, name), values) for part in (train, holdout)]
    learned = fit_attribute(
        features[0][rows[0]], getattr(train, name)[rows[0]], train.patient_id[rows[0]], settings.seed
    )
    read, truth = learned.predict(features[1][rows[1]]), getattr(holdout, name)[rows[1]]
    kinds = [Kind(value, others) for value in values for others in (False, True)]
    absent = {kind: share_of(kind, read[~kind.among(truth)], read) for kind in kinds}
    readable = tuple(kind for kind in kinds if absent[kind] <= NOTICED)
    if not readable:
        why = (
            f"The classifier itself mistakes so many real held-out images for another {name} that it would not notice "
            "if one were missing."
        )
        return not_computed(*about, why, n, made_with)
    shown = learned.predict(features[2])
    measured = _measured((shown, synthetic.patient_id), (read, holdout.patient_id[rows[1]]), readable, settings)
    shares = {kind: (float(kind.among(shown).mean()), float(kind.among(read).mean())) for kind in readable}
    blurred = [value for value in values if Kind(value) not in readable]
    judgement = judge_shown(measured)
    return judged(
        *about,
        measured,
        judgement,
        _reading(name, judgement, shares, blurred),
        n=n,
        made_with=made_with,
        better="nearer floor",
        details={
            "synthetic": {value: float((shown == value).mean()) for value in values},
            "real": {value: float((read == value).mean()) for value in values},
            "cannot_tell": blurred,
        },
        planted=max(absent[kind] for kind in readable),
        planted_as=f"held-out images without those of one {name}, or of all others",
    )


def judge_shown(measured: Measured) -> Judgement:
    """Judge the share of the rarest value, relative to real patients.

    A set may be meant to hold one value only, so this figure alone never says "do not share".

    >>> [judge_shown(Measured(v, (v - 0.1, v + 0.1), 0.9, (0.6, 1.0))).verdict for v in (0.9, 0.45, 0.0)]
    ['good', 'good', 'look closer']
    """
    bottom = min(ENOUGH, measured.floor_interval[0] if measured.floor_interval else ENOUGH)
    high = measured.interval[1] if measured.interval else measured.value
    rule = (
        f"good from {ENOUGH:g} of the share among real patients, or from the lower end of the floor ({bottom:.2f}), or "
        f"if the interval reaches {ENOUGH:g}; look closer otherwise"
    )
    return Judgement(GOOD if measured.value >= bottom or high >= ENOUGH else LOOK, rule)


Read = tuple[np.ndarray, np.ndarray]  # the value read in each slice, and the slice's patient


@dataclass(frozen=True)
class Kind:
    """The images of one value of an attribute, or those of all its others."""

    value: str
    others: bool = False

    def among(self, values: np.ndarray) -> np.ndarray:
        """Return (N,) bool: which of (N,) values are of this kind."""
        return (values != self.value) if self.others else (values == self.value)

    def __str__(self) -> str:
        return f"other than {self.value!r}" if self.others else repr(self.value)


def rarest(one: np.ndarray, other: np.ndarray, kinds: Sequence[Kind]) -> float:
    """Return the smallest ratio of shares of a kind in two sets of readings, at most 1.

    >>> rarest(np.array(["a", "a", "a", "b"]), np.array(["a", "b"]), [Kind("a"), Kind("b")])
    0.5
    """
    return min(1.0, *(share_of(kind, one, other) for kind in kinds))


def share_of(kind: Kind, one: np.ndarray, other: np.ndarray) -> float:
    """Return how often a kind is read in one set, relative to another; 1 where it is not in the other."""
    theirs = float(kind.among(other).mean())
    return float(kind.among(one).mean()) / theirs if theirs > 0 else 1.0


def _measured(synthetic: Read, holdout: Read, kinds: Sequence[Kind], settings: EvaluationSettings) -> Measured:
    """Return the ratio with its floor: two random halves of the held-out patients in the place of both sets."""
    (shown, who), (read, real) = synthetic, holdout

    def ratio(rows: np.ndarray, real_rows: np.ndarray) -> float:
        return rarest(shown[rows], read[real_rows], kinds)

    interval = bootstrap_patients(ratio, [who, real], resamples=settings.resamples, seed=settings.seed)
    floors = [rarest(read[half], read[~half], kinds) for half in _halves(real, settings.seed)]
    low, high = np.quantile(floors, [0.025, 0.975])
    everything = ratio(np.arange(len(shown)), np.arange(len(read)))
    return Measured(everything, cut(finite(interval), (0, 1)), float(np.mean(floors)), (float(low), float(high)))


def _halves(patient_id: np.ndarray, seed: int) -> list[np.ndarray]:
    patients = np.unique(patient_id)
    draws = (np.random.default_rng(derive_seed(seed, "halves shown", draw)) for draw in range(HALVES))
    return [np.isin(patient_id, rng.permutation(patients)[: len(patients) // 2]) for rng in draws]


def _learnable(name: str, train: SliceSet, holdout: SliceSet) -> tuple[str, ...]:
    """The known values with enough patients to learn and to compare."""

    def patients(part: SliceSet, value: str) -> int:
        return len(np.unique(part.patient_id[getattr(part, name) == value]))

    known = sorted(set(getattr(train, name).tolist()) - {UNKNOWN})
    return tuple(v for v in known if patients(train, v) >= MIN_TRAIN and patients(holdout, v) >= MIN_HOLDOUT)


def _reading(name: str, judgement: Judgement, shares: dict[Kind, tuple[float, float]], blurred: list[str]) -> str:
    kind = min(shares, key=lambda k: (shares[k][0] / max(shares[k][1], 1e-9), k.others))
    ours, real = shares[kind]
    sentence = (
        f"No {name} of real patients that the classifier tells apart is missing."
        if judgement.verdict == GOOD
        else f"The images hardly show {name} {kind}; a set without it does not stand for these patients."
    )
    unread = f" Whether {', '.join(blurred)} alone is missing it cannot tell." if blurred else ""
    return f"{sentence} ({kind}: read in {ours:.0%} of the synthetic and {real:.0%} of the real images.){unread}"
