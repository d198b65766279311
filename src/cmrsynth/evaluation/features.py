"""Two more distances between feature sets: Frechet without the bias of few samples, and a kernel without a Gaussian."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.encoder import Encoder
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.floors import Interval, Measured, Sample, cut, draw_rows, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.texture import counts, distance_reading, few_patients
from cmrsynth.evaluation.verdict import judge_distance
from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.frechet_infinity import SMALLEST, frechet_infinity
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.mmd import CMMD_BANDWIDTH, CMMD_SCALE, PatientKernel, median_bandwidth, unit_vectors

POINTS, REPEATS = 8, 3  # sizes and subsets of the extrapolation; each costs one Frechet distance
INFINITY_RESAMPLES = 20
LARGE = 512  # dimensions from which a Frechet distance takes seconds, so that none is resampled
CMMD_DIMENSIONS = 768  # of CLIP ViT-L/14 at 336 pixels, to which bandwidth and scale of CMMD belong

Of = Callable[[Sample, int], tuple[float, Interval | None]]  # a set and a number of resamples to value and interval


def encoder_figures_extra(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, encoder: Encoder, settings: EvaluationSettings
) -> list[Figure]:
    """Return the extrapolated Frechet distance and the kernel discrepancy of one encoder.

    Args:
        train: real patients the generator saw; the floor.
        holdout: real patients it did not see; the reference.
        synthetic: the set to judge.
        encoder: its features are computed here; where they exist already, call `feature_figures`.
        settings: seed, resamples and draws.
    """
    sets = [Sample(encoder(part.images), part.patient_id) for part in (synthetic, holdout, train)]
    return feature_figures(sets, encoder, settings, counts(train, holdout, synthetic))


def feature_figures(
    sets: list[Sample], encoder: Encoder, settings: EvaluationSettings, n: dict[str, int]
) -> list[Figure]:
    """Return the figures of `encoder_figures_extra` from features.

    Args:
        sets: features of the synthetic, the held-out and the training images, in this order.
        encoder: what made them.
        settings: seed, resamples and draws.
        n: the counts behind the figures.
    """
    return [_infinity(sets, encoder, settings, n), _discrepancy(sets, encoder, settings, n)]


def _infinity(sets: list[Sample], encoder: Encoder, settings: EvaluationSettings, n: dict[str, int]) -> Figure:
    synthetic, holdout, train = sets
    name = "frechet_infinity" + _suffix(encoder)
    called = "FID" if encoder.kind == "inception" else "Frechet distance"
    title = f"{called} of infinitely many images ({encoder.name})"
    needed = max(SMALLEST, 5 * encoder.dimensions)  # the smallest subset is a fifth; below d images the law fails
    smallest = min(len(synthetic), len(train))
    if smallest < needed:
        why = (
            f"An extrapolation in {encoder.dimensions} dimensions needs {needed} synthetic and {needed} real training "
            f"images; there are {len(synthetic)} and {len(train)}. Read the kernel distance instead, which has no bias."
        )
        return not_computed("fidelity", name, title, why, n, encoder.made_with)

    def value(x: Sample, reference: np.ndarray) -> float:
        return frechet_infinity(
            x.rows, reference, groups=x.patient_id, points=POINTS, repeats=REPEATS, seed=settings.seed
        )

    def with_interval(x: Sample, resamples: int) -> tuple[float, Interval | None]:
        def of_rows(rows: np.ndarray, reference: np.ndarray) -> float:
            return value(x.take(rows), holdout.rows[reference])

        if encoder.dimensions > LARGE:
            return value(x, holdout.rows), None
        groups = [x.patient_id, holdout.patient_id]
        return value(x, holdout.rows), finite(
            bootstrap_patients(of_rows, groups, resamples=resamples, seed=settings.seed)
        )

    measured = _beside_floor(with_interval, synthetic, train, settings, INFINITY_RESAMPLES)
    spread = (
        f" No interval: one would take hours in {encoder.dimensions} dimensions."
        if encoder.dimensions > LARGE
        else f" Interval from {INFINITY_RESAMPLES} resamples."
    )
    note = " The bias of a limited number of synthetic images is taken out, that of the held-out set is not."
    return judged(
        "fidelity",
        name,
        title,
        measured,
        judge_distance(measured),
        distance_reading(measured, "features") + note + spread + few_patients(n["patients"]),
        n=n,
        made_with=encoder.made_with,
        details={
            "encoder": encoder.name,
            "dimensions": encoder.dimensions,
            "points": POINTS,
            "repeats": REPEATS,
            "at_all_images": frechet_distance(synthetic.rows, holdout.rows),
        },
    )


def _discrepancy(sets: list[Sample], encoder: Encoder, settings: EvaluationSettings, n: dict[str, int]) -> Figure:
    """CMMD for CLIP, otherwise the unbiased discrepancy with the bandwidth that the held-out images give."""
    clip = encoder.kind == "clip"
    if clip:
        sets = [Sample(unit_vectors(part.rows), part.patient_id) for part in sets]
    synthetic, holdout, train = sets
    bandwidth = CMMD_BANDWIDTH if clip else median_bandwidth(holdout.rows)
    scale = CMMD_SCALE if clip else 1.0

    def with_interval(x: Sample, resamples: int) -> tuple[float, Interval | None]:
        kernel = PatientKernel(x.rows, holdout.rows, x.patient_id, holdout.patient_id, bandwidth=bandwidth)

        def of_rows(rows: np.ndarray, reference: np.ndarray) -> float:
            return scale * kernel.mmd_squared(rows, reference, unbiased=not clip)

        groups = [x.patient_id, holdout.patient_id]
        interval = bootstrap_patients(of_rows, groups, resamples=resamples, seed=settings.seed)
        return scale * kernel.mmd_squared(unbiased=not clip), finite(interval)

    bounds = (0 if clip else -np.inf, np.inf)
    measured = _beside_floor(with_interval, synthetic, train, settings, settings.resamples, bounds)
    warning = few_patients(n["patients"])
    if clip and encoder.dimensions != CMMD_DIMENSIONS:
        warning += " Bandwidth and scale belong to CLIP ViT-L/14 at 336 pixels, which this is not."
    return judged(
        "fidelity",
        ("cmmd" if clip else "mmd_rbf") + _suffix(encoder),
        f"CMMD ({encoder.name})" if clip else f"Kernel discrepancy, Gaussian kernel ({encoder.name})",
        measured,
        judge_distance(measured),
        distance_reading(measured, "features") + warning,
        n=n,
        made_with=encoder.made_with,
        details={"encoder": encoder.name, "dimensions": encoder.dimensions, "bandwidth": bandwidth},
    )


def _beside_floor(
    of: Of,
    synthetic: Sample,
    train: Sample,
    settings: EvaluationSettings,
    resamples: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Measured:
    """Return the value with its floor, the mean over real draws of as many training images, as `measure` does."""
    value, interval = of(synthetic, resamples)
    per_draw = max(20, resamples // settings.floor_draws)
    rows = draw_rows(train.patient_id, len(synthetic), settings.floor_draws, settings.seed)
    floors = [of(train.take(each), per_draw) for each in rows]
    known = [found for _, found in floors if found is not None]
    floor_interval = finite(tuple(np.mean(known, 0))) if known else None
    floor = float(np.mean([found for found, _ in floors]))
    return Measured(value, cut(interval, bounds), floor, cut(floor_interval, bounds))


def _suffix(encoder: Encoder) -> str:
    return "" if encoder.kind == "cardiac" else f"_{encoder.name}"
