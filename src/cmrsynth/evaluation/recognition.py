"""Is the vendor, pathology, phase or slice level that was asked for recognised in the image?

A classifier learns each attribute from real training patients and is tested on real held-out patients; what it
reaches there is all that a perfect generator could. Then it reads the synthetic images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.segmenter import Segmenter
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.anatomy import measure_all
from cmrsynth.metrics.appearance import appearance
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.recognition import AttributeClassifier, fit_attribute, recall_by_patient
from cmrsynth.schema import ATTRIBUTES, UNKNOWN

MIN_TRAIN, MIN_HOLDOUT = 3, 2  # patients per value
TELLS = 0.1  # a classifier nearer to chance than this says nothing
KEPT, LOST = 0.7, 0.35  # of what the floor has above chance
SHAPE = ("pathology", "phase", "slice_level")  # a mask alone shows much of these


@dataclass(frozen=True)
class Slices:
    """A set and the features of its images, (N, d)."""

    part: SliceSet
    features: np.ndarray


def recognition_figures(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    encoder: Encoder,
    segmenter: Segmenter,
    settings: EvaluationSettings,
) -> list[Figure]:
    """Return per attribute how often what was asked is recognised in the synthetic images.

    Args:
        train: real slices that the classifiers learn from.
        holdout: real slices of other patients: the floor.
        synthetic: the set to judge; its columns say what was asked.
        encoder: the cardiac encoder, fitted on `train`.
        segmenter: trained on `train`.
        settings: resamples and seed.
    """
    sets = [Slices(part, slice_features(part, encoder, segmenter)) for part in (train, holdout, synthetic)]
    made_with = f"logistic regression on {encoder.made_with}, texture and re-segmented anatomy"
    return [_figure(name, *sets, made_with, settings) for name in ATTRIBUTES]


def slice_features(part: SliceSet, encoder: Encoder, segmenter: Segmenter) -> np.ndarray:
    """Return (N, d) float64: encoder features, simple texture, and the anatomy and brightness of what is found."""
    found = segmenter.predict(part.images)
    anatomy = measure_all(found, part.pixel_spacing, segmenter.labels)
    kept = [values for name, values in anatomy.items() if name.endswith(("area_mm2", "ratio", "thickness_mm"))]
    shapes = np.column_stack([np.log1p(np.nan_to_num(values)) for values in kept])
    brightness = np.column_stack([_within(part.images, found == label) for label in (0, *segmenter.labels)])
    return np.column_stack([encoder(part.images), appearance(part.images), shapes, brightness])


def _within(images: np.ndarray, region: np.ndarray) -> np.ndarray:
    """(N, 2) mean and standard deviation inside a region; 0 where it is empty."""
    count = np.maximum(region.sum((1, 2)), 1)
    mean = (images * region).sum((1, 2)) / count
    square = (images**2 * region).sum((1, 2)) / count
    return np.column_stack([mean, np.sqrt(np.maximum(square - mean**2, 0))])


def _figure(
    name: str, train: Slices, holdout: Slices, synthetic: Slices, made_with: str, settings: EvaluationSettings
) -> Figure:
    words = name.replace("_", " ")
    key, title = f"recognition_{name}", f"The asked {words} is recognised in the image (balanced accuracy)"
    n = {"synthetic": len(synthetic.part), "reference": len(holdout.part), "patients": len(holdout.part.patients)}
    values = usable_values(name, train.part, holdout.part)
    asked = tuple(v for v in values if (getattr(synthetic.part, name) == v).any())
    if why := _too_few(words, values, asked):
        return not_computed("fidelity", key, title, why, n, made_with)
    classifier = _fitted(name, values, train, settings)
    floor, floor_interval, floor_per_value = _recognised(
        getattr(holdout.part, name), asked, holdout, classifier, settings
    )
    chance = 1 / len(asked)  # also what images that all look alike would get
    if floor < chance + TELLS or floor_interval is None or floor_interval[0] <= chance:
        why = (
            f"The classifier itself cannot tell the {words} of real held-out patients (balanced accuracy {floor:.2f}, "
            f"chance {chance:.2f}), so it cannot say what synthetic images show."
        )
        return not_computed("fidelity", key, title, why, n, made_with)
    value, interval, per_value = _recognised(getattr(synthetic.part, name), asked, synthetic, classifier, settings)
    measured = Measured(value, interval, floor, floor_interval)
    judgement = judge_recognition(measured, chance)
    planted, _, _ = _recognised(_wrong(getattr(holdout.part, name), asked), asked, holdout, classifier, settings)
    return judged(
        "fidelity",
        key,
        title,
        measured,
        judgement,
        _sentence(name, measured, judgement, chance, per_value),
        n=n,
        made_with=made_with,
        better="higher",
        details={"chance": chance, "per_value": per_value, "floor_per_value": floor_per_value},
        planted=planted,
        planted_as=f"held-out images, each with another {words} as its label",
    )


def usable_values(name: str, train: SliceSet, holdout: SliceSet) -> tuple[str, ...]:
    """The known values with enough patients to learn and to test."""

    def patients(part: SliceSet, value: str) -> int:
        return len(set(part.patient_id[getattr(part, name) == value].tolist()))

    known = sorted(set(getattr(train, name).tolist()) - {UNKNOWN})
    return tuple(v for v in known if patients(train, v) >= MIN_TRAIN and patients(holdout, v) >= MIN_HOLDOUT)


def _too_few(words: str, values: tuple[str, ...], asked: tuple[str, ...]) -> str:
    if len(values) < 2:
        return (
            f"Fewer than two values of {words} are known with {MIN_TRAIN} training and {MIN_HOLDOUT} held-out "
            "patients each."
        )
    if len(asked) < 2:
        return (
            f"The synthetic set asks for fewer than two of the values of {words} that are known: {', '.join(values)}."
        )
    return ""


def _fitted(name: str, values: tuple[str, ...], train: Slices, settings: EvaluationSettings) -> AttributeClassifier:
    labels = getattr(train.part, name)
    rows = np.isin(labels, values)
    return fit_attribute(train.features[rows], labels[rows], train.part.patient_id[rows], settings.seed)


def _recognised(
    labels: np.ndarray,
    asked: tuple[str, ...],
    each: Slices,
    classifier: AttributeClassifier,
    settings: EvaluationSettings,
) -> tuple[float, Interval | None, dict[str, float]]:
    """Balanced accuracy over the asked values, its interval over patients, and the share recognised per value."""
    rows = np.isin(labels, asked)
    recall = recall_by_patient(classifier.predict(each.features[rows]), labels[rows], each.part.patient_id[rows], asked)

    def balanced(patients: np.ndarray) -> float:
        chosen = recall[patients]
        known = np.isfinite(chosen)
        return float((np.where(known, chosen, 0).sum(0) / np.maximum(known.sum(0), 1))[known.any(0)].mean())

    everyone = np.arange(len(recall))
    interval = bootstrap_patients(balanced, [everyone], resamples=settings.resamples, seed=settings.seed)
    per_value = {value: float(np.nanmean(column)) for value, column in zip(asked, recall.T, strict=True)}
    return balanced(everyone), cut(finite(interval), (0, 1)), per_value


def _wrong(labels: np.ndarray, asked: tuple[str, ...]) -> np.ndarray:
    """Every asked value replaced by the next one."""
    following = dict(zip(asked, (*asked[1:], asked[0]), strict=True))
    return np.array([following.get(value, UNKNOWN) for value in labels.tolist()])


def judge_recognition(measured: Measured, chance: float) -> Judgement:
    """Judge how well an asked attribute is recognised, between chance and what real patients reach.

    Args:
        measured: balanced accuracy on synthetic and on real held-out images.
        chance: that of guessing.

    >>> [judge_recognition(Measured(v, None, 0.85, (0.7, 0.95)), 0.25).verdict for v in (0.8, 0.5, 0.25)]
    ['good', 'look closer', 'do not share']
    """
    half = chance + 0.5 * (measured.floor - chance)  # a floor of few patients must not excuse everything
    bottom = max(half, measured.floor_interval[0] if measured.floor_interval else measured.floor)
    near, far = chance + KEPT * (bottom - chance), chance + LOST * (measured.floor - chance)
    rule = (
        f"chance is {chance:.2f}; good from {KEPT:g} of the way from there to the lower end of the real interval "
        f"({near:.3f}), do not share below {LOST:g} of the way to real ({far:.3f}) if the interval stays below real "
        f"({measured.floor:.3f})"
    )
    if measured.value >= near:
        return Judgement(GOOD, rule)
    certain = measured.interval is None or measured.interval[1] < measured.floor
    return Judgement(DO_NOT_SHARE if measured.value < far and certain else LOOK, rule)


def _sentence(name: str, measured: Measured, judgement: Judgement, chance: float, per_value: dict[str, float]) -> str:
    words = name.replace("_", " ")
    sentence = {
        GOOD: f"Images show the {words} they were asked for, about as clearly as real ones do.",
        LOOK: f"The {words} that was asked for is harder to recognise than in real images.",
        DO_NOT_SHARE: f"The {words} that was asked for is not in the images: its label is wrong or means nothing.",
    }[judgement.verdict]
    shape = " The mask alone shows much of it." if name in SHAPE else ""
    least = min(per_value, key=per_value.__getitem__)
    return (
        f"{sentence} ({measured.value:.2f}; real held-out patients {measured.floor:.2f}, chance {chance:.2f}; least "
        f"often {least}, {per_value[least]:.2f}.){shape}"
    )
