"""Do the synthetic images look like those of real patients that were never trained on?

The reference is the held-out patients, so copying the training set is not rewarded; the floor is what real
training patients get against the same reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.features import feature_figures
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Measured, Sample, known_floor, measure
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.texture import counts, distance_reading, few_patients, shared_heart, texture_figures
from cmrsynth.evaluation.verdict import Judgement, judge_distance, judge_score, judge_two_sided
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.kernel import kernel_distance
from cmrsynth.metrics.manifold import prdc
from cmrsynth.metrics.regions import HEART_MARGIN_MM

MANIFOLD = {
    "precision": ("Precision", "of the synthetic images lie where real images lie"),
    "recall": ("Recall", "of the real images lie where synthetic images lie"),
    "density": ("Density", "real neighbourhoods (relative to their size) hold each synthetic image"),
    "coverage": ("Coverage", "of the real images have a synthetic image beside them"),
}
MANY_DIMENSIONS = 256  # from here on a resample costs tenths of a second
MIN_HEARTS = 8  # images with a heart in them; a covariance of fewer says nothing


def fidelity_figures(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, encoders: Sequence[Encoder], settings: EvaluationSettings
) -> list[Figure]:
    """Return the feature figures of every encoder (the first is the cardiac one) and the texture figures."""
    n = counts(train, holdout, synthetic)
    figures = []
    for number, encoder in enumerate(encoders):
        sets = [Sample(encoder(part.images), part.patient_id) for part in (synthetic, holdout, train)]
        figures += _encoder_figures(encoder, sets, settings, n, headline=number == 0)
        figures += feature_figures(sets, encoder, settings, n)
    if encoders:
        figures.append(_heart_frechet(encoders[0], train, holdout, synthetic, settings, n))
    return [*figures, *texture_figures(train, holdout, synthetic, settings)]


def _encoder_figures(
    encoder: Encoder,
    sets: list[Sample],
    settings: EvaluationSettings,
    n: dict[str, int],
    *,
    headline: bool,
) -> list[Figure]:
    resamples = settings.resamples if encoder.dimensions <= MANY_DIMENSIONS else max(20, settings.resamples // 20)
    suffix = "" if headline else f"_{encoder.name}"
    warning = _small_sample(n, encoder.dimensions)
    details = {"encoder": encoder.name, "dimensions": encoder.dimensions}
    measured = measure(kernel_distance, *sets, settings, resamples=resamples)
    kernel = judged(
        "fidelity",
        f"kernel_distance{suffix}",
        f"Kernel distance (KID) ({encoder.name})",
        measured,
        judge_distance(measured),
        distance_reading(measured, "features") + warning,
        n=n,
        made_with=encoder.made_with,
        details={**details, "to_train": float(kernel_distance(sets[0].rows, sets[2].rows))},
    )
    frechet = frechet_figure(encoder, sets, settings, n, headline=headline)
    return [frechet, kernel, *_manifold_figures(encoder, sets, settings, n, suffix, warning)]


def frechet_figure(
    encoder: Encoder,
    sets: list[Sample],
    settings: EvaluationSettings,
    n: dict[str, int],
    *,
    headline: bool = True,
    floor_from: Figure | None = None,
) -> Figure:
    """Return the Frechet distance of the synthetic to the held-out images in the features of one encoder.

    Args:
        encoder: what made the features.
        sets: features of the synthetic, the held-out and the training images, in this order.
        settings: seed, resamples and draws.
        n: the counts behind the figure, see `counts`.
        headline: it is the evaluation's first encoder.
        floor_from: this figure of another set of as many images, whose floor is taken over.
    """
    measured = measure(
        frechet_distance,
        *sets,
        settings,
        resamples=settings.resamples if encoder.dimensions <= MANY_DIMENSIONS else max(20, settings.resamples // 20),
        bounds=(0, np.inf),
        floor=known_floor(floor_from, n),
    )
    to_train = float(frechet_distance(sets[0].rows, sets[2].rows))
    return judged(
        "fidelity",
        "frechet_distance" + ("" if headline else f"_{encoder.name}"),
        f"Frechet distance ({encoder.name})",
        measured,
        judge_distance(measured),
        distance_reading(measured, "features") + _small_sample(n, encoder.dimensions),
        n=n,
        made_with=encoder.made_with,
        headline=headline,
        details={"encoder": encoder.name, "dimensions": encoder.dimensions, "to_train": to_train},
    )


def _manifold_figures(
    encoder: Encoder, sets: list[Sample], settings: EvaluationSettings, n: dict[str, int], suffix: str, warning: str
) -> list[Figure]:
    figures = []
    for name, (title, meaning) in MANIFOLD.items():

        def share(x: np.ndarray, y: np.ndarray, name: str = name) -> float:
            return prdc(y, x)[name] if min(len(x), len(y)) > 5 else float("nan")

        measured = measure(
            share,
            *sets,
            settings,
            resamples=max(20, settings.resamples // 5),
            bounds=(0, np.inf if name == "density" else 1),
        )
        judgement: Judgement = (judge_two_sided if name == "density" else judge_score)(measured)
        amount = f"{measured.value:.2f}" if name == "density" else f"{measured.value:.0%}"
        figures.append(
            judged(
                "fidelity",
                name + suffix,
                f"{title} ({encoder.name})",
                measured,
                judgement,
                f"{amount} {meaning}; real patients reach {measured.floor:.2f}.{warning}",
                n=n,
                made_with=encoder.made_with,
                better="nearer floor" if name == "density" else "higher",
                details={"encoder": encoder.name, "k": 5},
            )
        )
    return figures


def _heart_frechet(
    encoder: Encoder,
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    settings: EvaluationSettings,
    n: dict[str, int],
) -> Figure:
    """Return the Frechet distance of images in which all but the heart is black; slices without one are left out."""
    parts = synthetic, holdout, train
    samples = []
    for part, heart in zip(parts, shared_heart(*parts), strict=True):
        rows = heart.any((1, 2))
        if rows.sum() < MIN_HEARTS:
            why = f"Only {rows.sum()} slices of {part.name} have a heart in their mask; {MIN_HEARTS} are needed."
            return not_computed("fidelity", "frechet_distance_heart", "Frechet distance of the heart", why, n, "")
        seen = (part.images[rows] * heart[rows]).astype(np.float32)
        samples.append(Sample(encoder(seen), part.patient_id[rows]))
    measured = measure(frechet_distance, *samples, settings, bounds=(0, np.inf))
    dimensions = encoder.dimensions
    n = {
        "synthetic": len(samples[0]),
        "reference": len(samples[1]),
        "floor": min(len(samples[2]), len(samples[0])),
        "patients": len(np.unique(samples[1].patient_id)),
    }
    return judged(
        "fidelity",
        "frechet_distance_heart",
        f"Frechet distance of the heart ({encoder.name})",
        measured,
        judge_distance(measured),
        distance_reading(measured, "features of the heart") + _small_sample(n, dimensions),
        n=n,
        made_with=f"{encoder.made_with}; black beyond {HEART_MARGIN_MM:g} mm of the mask",
        details={"encoder": encoder.name, "dimensions": dimensions, "region": "heart"},
    )


def as_fields(measured: Measured) -> dict[str, object]:
    """Return the four numbers under the names that `Figure` gives them."""
    return {
        "value": measured.value,
        "interval": measured.interval,
        "floor": measured.floor,
        "floor_interval": measured.floor_interval,
    }


def _small_sample(n: dict[str, int], dimensions: int) -> str:
    smallest = min(n["synthetic"], n["reference"])
    if smallest <= 2 * dimensions:
        few = f" With {smallest} images in {dimensions} dimensions the value is mostly sampling error"
        return f"{few}: compare with its floor only."
    return few_patients(n["patients"])
