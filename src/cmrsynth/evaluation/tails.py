"""Figures of the tail of distances to training, where a few copies among many show."""

from __future__ import annotations

import numpy as np

from cmrsynth.evaluation.audit import Audit
from cmrsynth.evaluation.distances import Distances
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Interval, Measured, finite
from cmrsynth.evaluation.verdict import judge_near_copies, judge_rate
from cmrsynth.metrics.intervals import bootstrap_patients, clopper_pearson
from cmrsynth.metrics.neighbours import (
    Neighbours,
    carlini_ratio,
    closest_distance_ratio,
    copy_rate,
    neighbours_from_distances,
    nndr,
)


def near_copies(audit: Audit, distances: Distances) -> Figure:
    """Return the share of images less than half as far from a training image as held-out images ever are."""
    closest, reference = distances.synthetic_train.min(1), distances.holdout_train.min(1)
    count, interval, measured, threshold = far_below(audit, closest, reference)
    reading = (
        "No synthetic image is nearly identical to a training image."
        if count == 0
        else f"{count} of {len(closest)} synthetic images are nearly identical to a training image."
    )
    worst = np.argsort(closest)[:8]
    planted = float((distances.planted_train.min(1) < threshold).mean())
    return audit.figure(
        "near_copies",
        "Near copies of training images (pixels, whatever the flip, shift, gain)",
        measured,
        judge_near_copies(count, interval),
        reading,
        distances.made_with,
        planted=planted,
        headline=True,
        details={
            "threshold": threshold,
            "closest": [[int(i), int(distances.synthetic_train[i].argmin()), float(closest[i])] for i in worst],
            "holdout_closest": float(reference.min()),
            "by_mask_origin": audit.by_origin((closest < threshold).astype(float)),
        },
    )


def extraction(audit: Audit, distances: Distances) -> Figure:
    """Return the share of images much closer to one training image than to its surroundings.

    Source: Carlini et al. 2023, arXiv:2301.13188, with the threshold taken from held-out patients.
    """
    points = distances.points
    ratio, reference, planted = (
        carlini_ratio(points[name], points["train"], audit.train.patient_id)
        for name in ("synthetic", "holdout", "planted")
    )
    count, interval, measured, threshold = far_below(audit, ratio, reference)
    return audit.figure(
        "extraction_rate",
        "Extracted training images (Carlini ratio, features)",
        measured,
        judge_near_copies(count, interval),
        f"{count} of {len(ratio)} synthetic images lie far closer to one training image than to its surroundings.",
        f"{distances.made_with}; arXiv:2301.13188",
        planted=float((planted < threshold).mean()),
        details={"threshold": threshold, "median": _median(ratio), "holdout_median": _median(reference)},
    )


def far_below(audit: Audit, values: np.ndarray, reference: np.ndarray) -> tuple[int, Interval, Measured, float]:
    """Count values under half of what held-out images reach; also its interval, with the floor, and the bound."""

    def bound(of: np.ndarray) -> float:
        return 0.5 * float(np.nanquantile(of, 0.01)) if np.isfinite(of).any() else float("nan")

    threshold = bound(reference)
    count = int((values < threshold).sum())
    interval = clopper_pearson(count, len(values))
    measured = audit.with_floor(
        count / len(values),
        interval,
        lambda query, rest: float((reference[query] < bound(reference[rest])).mean()),
    )
    return count, interval, measured, threshold


def tail_rates(audit: Audit, distances: Distances, *, copying_confirmed: bool) -> list[Figure]:
    """Return the copy rate and the rate of singled-out neighbours, each about 5 % for real patients.

    Args:
        audit: the sets.
        distances: in one space.
        copying_confirmed: see `judge_rate`.
    """
    neighbours = neighbours_from_distances(distances.synthetic_train, None, audit.train.patient_id)
    reference = neighbours_from_distances(distances.holdout_train, None, audit.train.patient_id)
    planted = neighbours_from_distances(distances.planted_train, None, audit.train.patient_id)
    details = {
        "median_ratio": closest_distance_ratio(neighbours.distance_1, reference.distance_1),
        "synthetic": neighbours.distance_1.round(4).tolist(),
        "holdout": reference.distance_1.round(4).tolist(),
    }
    figures = []
    for name, title, query, real, copies, more in (
        (
            "copy_rate",
            "Closer to training than 95 % of held-out images",
            neighbours.distance_1,
            reference.distance_1,
            planted.distance_1,
            details,
        ),
        (
            "nearest_ratio",
            "One training patient singled out more than for 95 % of held-out images",
            _known(neighbours),
            _known(reference),
            _known(planted),
            {},
        ),
    ):
        measured = _tail_share(audit, query, real)
        few = " Fewer than 20 held-out images leave the 5 % tail to chance." * (len(real) < 20)
        reading = f"{measured.value:.0%} of the synthetic images are in the tail that holds 5% of real patients'."
        figures.append(
            audit.figure(
                f"{name}_{distances.space}",
                f"{title} ({distances.space})",
                measured,
                judge_rate(measured, copying_confirmed=copying_confirmed),
                reading + few + audit.origin_note,
                distances.made_with,
                planted=copy_rate(copies, real),
                details={
                    **more,
                    "by_mask_origin": audit.by_origin((query < np.quantile(real, 0.05)).astype(float)),
                },
            )
        )
    return figures


def _tail_share(audit: Audit, query: np.ndarray, reference: np.ndarray) -> Measured:
    interval = finite(
        bootstrap_patients(
            lambda rows, rows_holdout: copy_rate(query[rows], reference[rows_holdout]),
            [audit.synthetic.patient_id, audit.holdout.patient_id],
            resamples=audit.settings.resamples,
            seed=audit.settings.seed,
        )
    )
    return audit.with_floor(
        copy_rate(query, reference), interval, lambda half, rest: copy_rate(reference[half], reference[rest])
    )


def _known(neighbours: Neighbours) -> np.ndarray:
    """Neighbour ratios; 1 (nobody singled out) where there is no second patient."""
    return np.nan_to_num(nndr(neighbours), nan=1.0)


def _median(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
