"""Do the synthetic images give training patients away? Distances to training, beside those of held-out patients.

Statistics that differ between training and held-out patients (closer to training) tell copying from collapse;
statistics of the tail (near copies, singled-out neighbours) find a few copies among many. Both kinds are given,
each with what real patients who were never trained on get.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.audit import Audit
from cmrsynth.evaluation.cliques import clique_figure
from cmrsynth.evaluation.copies import copy_detector_figures
from cmrsynth.evaluation.distances import Distances
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.figure import GOOD, Figure
from cmrsynth.evaluation.floors import Interval, finite
from cmrsynth.evaluation.inputs import MIN_SLICES
from cmrsynth.evaluation.memorisation import memorisation_figures
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.tails import extraction, near_copies, tail_rates
from cmrsynth.evaluation.verdict import judge_closeness
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.neighbours import closer_to_train
from cmrsynth.seeds import derive_seed

SHUFFLES = 200  # of the patients' sides


def privacy_figures(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    encoder: Encoder,
    distances: list[Distances],
    settings: EvaluationSettings,
    *,
    folder: Path | None = None,
) -> list[Figure]:
    """Return the figures that need samples only; the attack on the generator is in `membership_attack`.

    Args:
        train: the real training slices.
        holdout: the held-out slices.
        synthetic: the set to judge.
        encoder: what made the features.
        distances: in pixels, then in features; see `all_distances`.
        settings: seed and resamples.
        folder: where the copy detector is kept; without it that figure has no value.
    """
    audit = Audit(train, holdout, synthetic, settings)
    near = near_copies(audit, distances[0])
    closer = [closeness(audit, space) for space in distances]
    confirmed = near.verdict != GOOD or any(f.verdict != GOOD for f in closer)
    rates = [f for space in distances for f in tail_rates(audit, space, copying_confirmed=confirmed)]
    figures = [near, *closer, *rates, extraction(audit, distances[1])]
    figures += memorisation_figures(audit, distances[1], copying_confirmed=confirmed)
    return [*figures, clique_figure(audit, near.details["threshold"]), *copy_detector_figures(audit, folder)]


def closeness(audit: Audit, distances: Distances) -> Figure:
    """Return the share of images closer to training than to held-out patients, as many patients of each."""
    train, holdout = audit.train.patient_id, audit.holdout.patient_id
    rng = np.random.default_rng(derive_seed(audit.settings.seed, "closer to train", distances.space))
    whole = closer_to_train(
        distances.synthetic_train, distances.synthetic_holdout, rng, train_group=train, holdout_group=holdout
    )
    # an image made from a held-out patient's mask is drawn towards that patient, and would make up for a copy
    judged_rows = ~np.isin(audit.synthetic.patient_id, audit.holdout.patients)
    judged_rows = judged_rows if judged_rows.sum() >= MIN_SLICES else np.ones(len(judged_rows), dtype=bool)
    share = whole[judged_rows]
    planted = closer_to_train(
        distances.planted_train, distances.planted_holdout, rng, train_group=train, holdout_group=holdout
    )
    measured = audit.with_floor(
        float(share.mean()),
        _closeness_interval(audit, distances, judged_rows, rng),
        _closeness_of_halves(audit, distances, rng),
    )
    shuffled = _closeness_of_shuffled_sides(audit, distances, judged_rows, rng)
    around = replace(measured, floor_interval=_up_to(measured.floor_interval, shuffled))
    judgement = judge_closeness(around, copied=float(planted.mean()))
    kind = "masks" if distances.space == "masks" else "images"
    left_out = " Images made from held-out patients' masks are left out." * (not judged_rows.all())
    reading = (
        f"{measured.value:.0%} of the synthetic {kind} are closer to a training patient than to a held-out one; 50% is "
        f"chance, and copies would show {planted.mean():.0%}.{left_out}{audit.origin_note}"
    )
    return audit.figure(
        f"closer_to_train_{distances.space}",
        f"Closer to training than to held-out patients ({distances.space})",
        measured,
        judgement,
        reading,
        distances.made_with,
        planted=float(planted.mean()),
        headline=distances.space == "pixels",
        better="nearer floor",
        details={
            "by_mask_origin": audit.by_origin(whole),
            "shuffled_sides": shuffled,
            "judged": int(judged_rows.sum()),
        },
    )


def _up_to(interval: Interval | None, shuffled: Interval) -> Interval:
    return shuffled if interval is None else (interval[0], max(interval[1], shuffled[1]))


def _closeness_of_shuffled_sides(
    audit: Audit, distances: Distances, judged_rows: np.ndarray, rng: np.random.Generator
) -> Interval:
    """Return the central 95 % of the share when training and held-out patients are dealt anew.

    Images that are all alike have one nearest patient, who stands on either side by chance: the share is then near 0
    or 1 without any copying, and so are these.
    """
    group = np.concatenate([audit.train.patient_id, audit.holdout.patient_id])
    distance = np.concatenate([distances.synthetic_train, distances.synthetic_holdout], axis=1)[judged_rows]
    patients, count = np.unique(group), len(audit.train.patients)
    shares = []
    for _ in range(SHUFFLES):
        first = np.isin(group, rng.permutation(patients)[:count])
        share = closer_to_train(
            distance[:, first],
            distance[:, ~first],
            rng,
            train_group=group[first],
            holdout_group=group[~first],
            repeats=1,
        )
        shares.append(share.mean())
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def _closeness_interval(
    audit: Audit, distances: Distances, judged_rows: np.ndarray, rng: np.random.Generator
) -> Interval | None:
    train, holdout = audit.train.patient_id, audit.holdout.patient_id
    to_train, to_holdout = distances.synthetic_train[judged_rows], distances.synthetic_holdout[judged_rows]

    def resampled(rows: np.ndarray, rows_train: np.ndarray, rows_holdout: np.ndarray) -> float:
        share = closer_to_train(
            to_train[np.ix_(rows, rows_train)],
            to_holdout[np.ix_(rows, rows_holdout)],
            rng,
            train_group=train[rows_train],
            holdout_group=holdout[rows_holdout],
            repeats=1,
        )
        return float(share.mean())

    groups = [audit.synthetic.patient_id[judged_rows], train, holdout]
    resamples = max(20, audit.settings.resamples // 5)
    return finite(bootstrap_patients(resampled, groups, resamples=resamples, seed=audit.settings.seed))


def _closeness_of_halves(
    audit: Audit, distances: Distances, rng: np.random.Generator
) -> Callable[[np.ndarray, np.ndarray], float]:
    def of_halves(query: np.ndarray, rest: np.ndarray) -> float:
        share = closer_to_train(
            distances.holdout_train[query],
            distances.holdout_holdout[np.ix_(query, rest)],
            rng,
            train_group=audit.train.patient_id,
            holdout_group=audit.holdout.patient_id[rest],
            repeats=5,
        )
        return float(share.mean())

    return of_halves
