"""The Frechet Radiomics Distance of whole images, as well as of the heart alone."""

from __future__ import annotations

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Sample, measure
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.texture import counts, distance_reading, few_patients, shared_heart
from cmrsynth.evaluation.verdict import judge_distance
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.radiomics import (
    SMALLEST_REGION,
    RadiomicFeatures,
    ReferenceScale,
    available_backend,
    frechet_distance_lw,
    log_of,
    radiomic_features,
)
from cmrsynth.seeds import derive_seed

MOST = 500  # images of each set; a tenth of a second each
FEWEST = 20
PLAIN = 2  # times as many images as features from which the plain covariance is taken

REGIONS = {
    "frechet_radiomics": ("Frechet Radiomics Distance", "hand-made texture features"),
    "frechet_radiomics_heart": ("Frechet Radiomics Distance of the heart", "hand-made texture features of the heart"),
}


def radiomics_figures(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, settings: EvaluationSettings
) -> list[Figure]:
    """Return the Frechet Radiomics Distance of whole images and of the heart; not computed without the extra.

    Args:
        train: real patients the generator saw; the floor.
        holdout: real patients it did not see; the reference, which alone standardises the features.
        synthetic: the set to judge.
        settings: seed, resamples and draws.
    """
    if available_backend() is None:
        why = "Its features come from a radiomics package: install the extra cmrsynth[radiomics]."
        n = counts(train, holdout, synthetic)
        return [not_computed("fidelity", name, title, why, n, "none") for name, (title, _) in REGIONS.items()]
    parts = (synthetic, holdout, train)
    hearts = shared_heart(*parts)
    return [
        _figure("frechet_radiomics", [_features(part, None, settings) for part in parts], settings),
        _figure(
            "frechet_radiomics_heart",
            [_features(part, heart, settings) for part, heart in zip(parts, hearts, strict=True)],
            settings,
        ),
    ]


Featured = tuple[RadiomicFeatures | None, np.ndarray]  # and the patient of each row


def _features(part: SliceSet, region: np.ndarray | None, settings: EvaluationSettings) -> Featured:
    """Return the features of at most `MOST` images that are not empty, drawn at random; None where few are left."""
    usable = part.images.std((1, 2)) > 1e-6
    if region is not None:
        usable &= region.sum((1, 2)) >= SMALLEST_REGION
    rows = np.flatnonzero(usable)
    if len(rows) > MOST:
        rng = np.random.default_rng(derive_seed(settings.seed, "radiomics", part.fingerprint))
        rows = np.sort(rng.choice(rows, MOST, replace=False))
    if len(rows) < FEWEST:
        return None, part.patient_id[rows]
    roi = None if region is None else region[rows]
    return radiomic_features(part.images[rows], roi=roi), part.patient_id[rows]


def _figure(name: str, sets: list[Featured], settings: EvaluationSettings) -> Figure:
    title, what = REGIONS[name]
    synthetic, holdout, train = sets
    n = {
        "synthetic": len(synthetic[1]),
        "reference": len(holdout[1]),
        "floor": min(len(train[1]), len(synthetic[1])),
        "patients": len(np.unique(holdout[1])),
    }
    if any(features is None for features, _ in sets):
        smallest = min(len(patient_id) for _, patient_id in sets)
        why = f"Each set needs {FEWEST} slices that show something there; the smallest has {smallest}."
        return not_computed("fidelity", name, title, why, n, "")
    scale = ReferenceScale.of(holdout[0])
    samples = [_scaled(scale, *each) for each in sets]
    fewest, width = min(len(sample) for sample in samples), len(scale.columns)
    if fewest < FEWEST:
        why = f"Each set needs {FEWEST} slices with finite features; the smallest has {fewest}."
        return not_computed("fidelity", name, title, why, n, holdout[0].backend)
    plain = fewest >= PLAIN * width
    measured = measure(
        frechet_distance if plain else frechet_distance_lw,
        *samples,
        settings,
        resamples=max(20, settings.resamples // 10),
        bounds=(0, np.inf),
    )
    few = "" if plain else f" With {fewest} images and {width} features the covariances are shrunk (Ledoit-Wolf)."
    return judged(
        "fidelity",
        name,
        title if plain else f"{title}, shrunk covariances",
        measured,
        judge_distance(measured),
        distance_reading(measured, what) + few + few_patients(n["patients"]),
        n=n,
        made_with=f"{holdout[0].backend}, {width} features of the image, standardised by the held-out patients",
        details={
            "log": log_of(measured.value),
            "shrunk": not plain,
            "columns": list(scale.columns),
            "dropped": list(scale.dropped),
        },
    )


def _scaled(scale: ReferenceScale, features: RadiomicFeatures, patient_id: np.ndarray) -> Sample:
    rows = scale.apply(features)
    whole = np.isfinite(rows).all(1)
    return Sample(rows[whole], patient_id[whole])
