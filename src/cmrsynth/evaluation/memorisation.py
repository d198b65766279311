"""Do the samples alone tell training patients from held-out ones? Six figures on features, each by another way.

Identifiability, the two attacks and the likelihood gap contrast training with held-out patients, which collapse
without copying leaves alike. Authenticity and C_T compare synthetic with held-out images, and collapse lowers them
too; they count as copying only where another figure agrees.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cmrsynth.evaluation.audit import Audit
from cmrsynth.evaluation.distances import Distances
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Measured, Sample, finite
from cmrsynth.evaluation.judged import not_computed
from cmrsynth.evaluation.memorisation_rules import (
    judge_authenticity,
    judge_data_copying,
    judge_excess,
    judge_gap,
)
from cmrsynth.metrics.data_copying import data_copying
from cmrsynth.metrics.identifiability import identifiable
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.likelihood_gap import likelihood_gap
from cmrsynth.metrics.membership import aggregate_by_patient, auc
from cmrsynth.metrics.neighbours import authenticity, leave_group_out, nearest_neighbours
from cmrsynth.metrics.sample_attacks import gan_leaks_scores, monte_carlo_radius, monte_carlo_scores
from cmrsynth.seeds import derive_seed

MIN_PATIENTS = 6  # held-out patients; a half of fewer is no group to compare with
CELL = 20  # synthetic images that a cell of C_T needs
FOUND, NAMED = 0.2, 0.15  # plain copying: an AUC and a difference of shares, beyond those of real patients
TELLING = 0.1  # authenticity of held-out images, at least
TITLES = {
    "identifiability": "Training patients singled out more often than held-out ones (identifiability)",
    "gan_leaks_auc": "Membership attack by the nearest sample (GAN-Leaks): AUC over patients",
    "monte_carlo_auc": "Membership attack by the samples nearby (Monte Carlo): AUC over patients",
    "likelihood_gap": "Likelihood gap between training and held-out images (FLD)",
    "authenticity": "Images that are no near-copy of their nearest training image (authenticity)",
    "data_copying": "Nearer to training than held-out images are (C_T, z-value)",
}

Scores = tuple[np.ndarray, np.ndarray]
Score = Callable[[np.ndarray, Sample, Sample], Scores]  # of synthetic, training, held-out: one score per real image
Contrast = Callable[[np.ndarray, np.ndarray], float]  # of one score per training and per held-out patient


def memorisation_figures(audit: Audit, distances: Distances, *, copying_confirmed: bool) -> list[Figure]:
    """Return the figures; without a value where too few patients are held out.

    Args:
        audit: the sets.
        distances: in features.
        copying_confirmed: see `judge_rate`.
    """
    if min(len(audit.holdout.patients), len(audit.train.patients)) < MIN_PATIENTS:
        why = f"This needs at least {MIN_PATIENTS} training and {MIN_PATIENTS} held-out patients."
        return [not_computed("privacy", n, t, why, audit.n, distances.made_with) for n, t in TITLES.items()]
    return [
        _identifiability(audit, distances),
        *_attacks(audit, distances),
        _likelihood_gap(audit, distances),
        _authenticity(audit, distances, copying_confirmed),
        _data_copying(audit, distances, copying_confirmed),
    ]


def _identifiability(audit: Audit, distances: Distances) -> Figure:
    def scores(synthetic: np.ndarray, train: Sample, holdout: Sample) -> Scores:
        rng = np.random.default_rng(derive_seed(audit.settings.seed, "identifiability"))
        ids = train.patient_id, holdout.patient_id
        return identifiable(synthetic, train.rows, holdout.rows, *ids, rng, repeats=5)

    measured, planted, sides = contrasted(audit, distances, scores, _difference)
    known, unknown = (float(side.mean()) for side in sides)
    reading = (
        f"{known:.0%} of training and {unknown:.0%} of held-out images have a synthetic image nearer than any other "
        f"patient; with real patients in the place of the samples these differ by {measured.floor:.0%}."
        f"{audit.origin_note}"
    )
    return audit.figure(
        "identifiability",
        TITLES["identifiability"],
        measured,
        judge_excess(measured, NAMED),
        reading,
        f"{distances.made_with}; ADS-GAN, Yoon et al. 2020",
        planted=planted,
        details={"train": known, "holdout": unknown},
    )


def _attacks(audit: Audit, distances: Distances) -> list[Figure]:
    def nearby(synthetic: np.ndarray, train: Sample, holdout: Sample) -> Scores:
        nearest = [gan_leaks_scores(side.rows, synthetic) for side in (train, holdout)]
        radius = monte_carlo_radius(np.concatenate(nearest))
        return tuple(monte_carlo_scores(side.rows, synthetic, radius) for side in (train, holdout))

    def nearest(synthetic: np.ndarray, train: Sample, holdout: Sample) -> Scores:
        return tuple(gan_leaks_scores(side.rows, synthetic) for side in (train, holdout))

    figures = []
    for name, scores, source in (
        ("gan_leaks_auc", nearest, "full black-box attack, arXiv:1909.03935"),
        ("monte_carlo_auc", nearby, "arXiv:1906.03006"),
    ):
        measured, planted, _ = contrasted(audit, distances, scores, auc)
        reading = (
            f"From the samples alone, training patients are told from held-out ones with an AUC of "
            f"{measured.value:.2f}; real patients in the place of the samples give {measured.floor:.2f} on average, up "
            f"to {measured.floor_interval[1]:.2f}.{audit.origin_note}"
        )
        figures.append(
            audit.figure(
                name,
                TITLES[name],
                measured,
                judge_excess(measured, FOUND),
                reading,
                f"{distances.made_with}; {source}",
                planted=planted,
            )
        )
    return figures


def _difference(train: np.ndarray, holdout: np.ndarray) -> float:
    return float(train.mean() - holdout.mean())


def _likelihood_gap(audit: Audit, distances: Distances) -> Figure:
    size = len(audit.holdout) // 2  # the fit follows the training images more closely the more samples there are

    def scores(synthetic: np.ndarray, train: Sample, holdout: Sample) -> Scores:
        rng = np.random.default_rng(derive_seed(audit.settings.seed, "likelihood gap"))
        draws = [rng.permutation(len(synthetic))[:size] for _ in range(1 if len(synthetic) <= size else 5)]
        found = [likelihood_gap(synthetic[rows], train.rows, holdout.rows) for rows in draws]
        return tuple(np.mean(side, 0) for side in zip(*found, strict=True))

    measured, planted, _ = contrasted(audit, distances, scores, _difference)
    reading = (
        f"Densities around the synthetic images fit training images {-measured.value:.3g} better than held-out ones "
        f"(hundredths of a nat per dimension); real patients in their place {-measured.floor:.3g}.{audit.origin_note}"
    )
    return audit.figure(
        "likelihood_gap",
        TITLES["likelihood_gap"],
        measured,
        judge_gap(measured),
        reading,
        f"{distances.made_with}; {size} samples at a time, arXiv:2302.04440",
        planted=planted,
        better="nearer floor",
    )


def _authenticity(audit: Audit, distances: Distances, copying_confirmed: bool) -> Figure:
    points, patient = distances.points, audit.train.patient_id
    own = leave_group_out(points["train"], patient)
    authentic, reference, planted = (
        authenticity(nearest_neighbours(points[name], points["train"], None, patient), own)
        for name in ("synthetic", "holdout", "planted")
    )
    interval = bootstrap_patients(
        lambda rows: float(authentic[rows].mean()),
        [audit.synthetic.patient_id],
        resamples=audit.settings.resamples,
        seed=audit.settings.seed,
    )
    measured = audit.with_floor(
        float(authentic.mean()), finite(interval), lambda half, _rest: float(reference[half].mean())
    )
    if measured.floor is None or measured.floor < TELLING:
        why = "Held-out images themselves are hardly ever authentic in these features, so the figure cannot tell."
        return not_computed("privacy", "authenticity", TITLES["authenticity"], why, audit.n, distances.made_with)
    reading = (
        f"{measured.value:.0%} of the synthetic images are farther from their nearest training image than that one's "
        f"nearest other patient; {measured.floor:.0%} of held-out images are.{audit.origin_note}"
    )
    return audit.figure(
        "authenticity",
        TITLES["authenticity"],
        measured,
        judge_authenticity(measured, copying_confirmed=copying_confirmed),
        reading,
        f"{distances.made_with}; arXiv:2102.08921",
        planted=float(planted.mean()),
        better="higher",
    )


def _data_copying(audit: Audit, distances: Distances, copying_confirmed: bool) -> Figure:
    points, halves = distances.points, audit.halves()[:10]
    size = min(len(half) for half, _ in halves)
    if min(size, len(points["synthetic"])) < CELL:
        why = f"C_T ranks at least {CELL} synthetic images against as many held-out ones."
        return not_computed("privacy", "data_copying", TITLES["data_copying"], why, audit.n, distances.made_with)

    def of(name: str, draw: int) -> float:
        half, rest = halves[draw]
        rng = np.random.default_rng(derive_seed(audit.settings.seed, "data copying", draw))
        rows = half if name == "holdout" else rng.permutation(len(points[name]))[:size]
        cells = min(3, max(1, min(size, len(points["synthetic"])) // (2 * CELL)))
        return data_copying(points[name][rows], points["holdout"][rest], points["train"], cells=cells)

    value, floors, planted = (
        np.array([of(name, draw) for draw in range(len(halves))]) for name in ("synthetic", "holdout", "planted")
    )
    if not all(np.isfinite(draws).any() for draws in (value, floors, planted)):
        why = f"No part of feature space holds {CELL} images of each set."
        return not_computed("privacy", "data_copying", TITLES["data_copying"], why, audit.n, distances.made_with)
    floor = (float(np.nanmin(floors)), float(np.nanmax(floors)))
    spread = (float(np.nanmin(value)), float(np.nanmax(value)))
    measured = Measured(float(np.nanmean(value)), spread, float(np.nanmean(floors)), floor)
    reading = (
        f"The distances to training lie {measured.value:.1f} standard errors from those of held-out images, at {size} "
        f"images of each; real patients in their place lie between {floor[0]:.1f} and {floor[1]:.1f}. Copying lowers "
        f"it, and so does collapse. The interval is the range over halves of the held-out patients.{audit.origin_note}"
    )
    return audit.figure(
        "data_copying",
        TITLES["data_copying"],
        measured,
        judge_data_copying(measured, copying_confirmed=copying_confirmed),
        reading,
        f"{distances.made_with}; arXiv:2004.05675",
        planted=float(np.nanmean(planted)),
        better="nearer floor",
    )


def contrasted(audit: Audit, distances: Distances, scores: Score, contrast: Contrast) -> tuple[Measured, float, Scores]:
    """Return a contrast of training with held-out patients, the planted value, and the score of each patient.

    The score of a patient is the mean over its slices. The interval resamples the training and the held-out patients,
    for these synthetic images. For the floor one half of the held-out patients stands in the place of the synthetic
    images, the other half opposite to training.
    """
    points = distances.points
    train = Sample(points["train"], audit.train.patient_id)
    holdout = Sample(points["holdout"], audit.holdout.patient_id)

    def of(synthetic: np.ndarray, others: Sample) -> Scores:
        found = scores(synthetic, train, others)
        return tuple(_of_patients(side.patient_id, values) for side, values in zip((train, others), found, strict=True))

    known, unknown = of(points["synthetic"], holdout)
    interval = bootstrap_patients(
        lambda rows, other_rows: contrast(known[rows], unknown[other_rows]),
        [np.arange(len(known)), np.arange(len(unknown))],
        resamples=audit.settings.resamples,
        seed=audit.settings.seed,
    )
    floors = [contrast(*of(holdout.rows[half], holdout.take(rest))) for half, rest in audit.halves()]
    low, high = np.quantile(floors, [0.025, 0.975])
    measured = Measured(contrast(known, unknown), finite(interval), float(np.mean(floors)), (float(low), float(high)))
    return measured, contrast(*of(points["planted"], holdout)), (known, unknown)


def _of_patients(patient_id: np.ndarray, values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)  # an image that was in no draw has no score
    return aggregate_by_patient(values[known], patient_id[known])[1]
