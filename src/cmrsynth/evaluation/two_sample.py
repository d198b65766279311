"""Can a small network tell the synthetic images from those of held-out patients?

No feature is chosen beforehand: whatever gives the images away, be it blur, a checkerboard or a wrong contrast, the
network may use. The floor is the same test with real training images in the place of the synthetic ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut, draw_rows, finite, known_floor
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.texture import counts, few_patients
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.two_sample import TwoSampleScores, two_sample_scores

FOLDS = 3
UPDATES = 100  # on 64 x 64 cine slices a blur of half a pixel then reaches an AUC of 0.997
FLOOR_DRAWS = 2  # each is another three networks
PLANTED_BLUR = 0.5  # pixels
CLOSE, APART = 0.65, 0.9  # AUC
LOOSEST = 0.8  # however uncertain the floor of few patients is, an AUC above it is never good
SENSITIVE = 0.8  # AUC that the planted blur must reach for a good result to mean something


def two_sample_figure(
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    settings: EvaluationSettings,
    *,
    floor_from: Figure | None = None,
) -> Figure:
    """Return the out-of-fold AUC of a network that tells synthetic from held-out images, beside its floor.

    Settings with fewer segmenter updates than this test makes (a quick look) shorten it too. `floor_from` is this
    figure of another set of as many images, whose floor and planted failure are taken over.
    """
    n = counts(train, holdout, synthetic)
    folds = min(FOLDS, *(len(part.patients) for part in (train, holdout, synthetic)))
    updates = min(UPDATES, settings.segmenter_updates)
    made_with = f"network of 13 thousand parameters, {folds} folds of patients, {updates} updates each"
    about = ("fidelity", "two_sample_auc", "Two-sample test: AUC of a network telling synthetic from real")
    if folds < 2:
        why = "Every set needs at least two patients: one to train the network on and one to test it on."
        return not_computed(*about, why, n, made_with)

    def tested(part: SliceSet, draw: int) -> TwoSampleScores:
        return two_sample_scores(
            part.images,
            holdout.images,
            part.patient_id,
            holdout.patient_id,
            folds=folds,
            updates=updates,
            seed=settings.seed + draw,
            watch=_progress,
        )

    if floor_from is None:
        measured = _measured(tested, train, holdout, synthetic, folds, settings)
        planted = tested(_blurred(_drawn(train, synthetic, folds, settings)[0]), 0).auc()
    else:
        found = _with_interval(tested(synthetic, 0), synthetic, holdout, settings)
        measured, planted = Measured(*found, *known_floor(floor_from, n)), floor_from.planted
    judgement = judge_two_sample(measured)
    reading = two_sample_reading(measured, judgement) + few_patients(n["patients"])
    if planted < SENSITIVE and judgement.verdict == GOOD:
        reading += f" But it also missed a planted blur (AUC {planted:.2f}), so it could not have seen much."
    return judged(
        *about,
        measured,
        judgement,
        reading,
        n=n,
        made_with=made_with,
        headline=True,
        # alone it makes no set unfit: it sees a blur of half a pixel, which nobody else does
        details={"encoder": "two-sample network", "folds": folds, "updates": updates},
        planted=planted,
        planted_as=f"training images blurred by {PLANTED_BLUR:g} pixel",
    )


def judge_two_sample(measured: Measured) -> Judgement:
    """Judge an AUC whose floor is that of real against real images.

    >>> [judge_two_sample(Measured(v, (v - 0.1, v + 0.1), 0.5, (0.4, 0.6))).verdict for v in (0.6, 0.77, 0.96)]
    ['good', 'look closer', 'do not share']
    """
    top = measured.floor_interval[1] if measured.floor_interval else measured.floor
    close = min(max(CLOSE, top), LOOSEST)
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"good up to {CLOSE:g} or the upper end of the real-versus-real interval, {LOOSEST:g} at most ({close:.2f}); "
        f"do not share above {APART:g} if the interval stays above the first bound; look closer otherwise"
    )
    if measured.value <= close:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value > APART and low > close else LOOK, rule)


def two_sample_reading(measured: Measured, judgement: Judgement) -> str:
    """Return what the AUC means, in a sentence."""
    share = f"In {measured.value:.0%} of pairs the network gives the synthetic image the more synthetic score"
    real = f"(real images of two groups of patients: {measured.floor:.0%})"
    if judgement.verdict == GOOD:
        return f"{share} {real}: it tells them apart no better than two groups of real patients."
    degree = "nearly always" if judgement.verdict == DO_NOT_SHARE else "more often than chance"
    return f"{share} {real}: something gives the synthetic images away {degree}."


def _measured(
    tested: Callable[[SliceSet, int], TwoSampleScores],
    train: SliceSet,
    holdout: SliceSet,
    synthetic: SliceSet,
    folds: int,
    settings: EvaluationSettings,
) -> Measured:
    value, interval = _with_interval(tested(synthetic, 0), synthetic, holdout, settings)
    drawn = _drawn(train, synthetic, folds, settings)
    found = [_with_interval(tested(real, draw), real, holdout, settings) for draw, real in enumerate(drawn)]
    intervals = [each for _, each in found if each is not None]
    floor_interval = cut(tuple(np.mean(intervals, 0)), (0, 1)) if intervals else None
    return Measured(value, interval, float(np.mean([auc for auc, _ in found])), floor_interval)


def _with_interval(
    scores: TwoSampleScores, part: SliceSet, holdout: SliceSet, settings: EvaluationSettings
) -> tuple[float, Interval | None]:
    interval = bootstrap_patients(
        scores.auc, [part.patient_id, holdout.patient_id], resamples=settings.resamples, seed=settings.seed
    )
    return scores.auc(), cut(finite(interval), (0, 1))


def _drawn(train: SliceSet, synthetic: SliceSet, folds: int, settings: EvaluationSettings) -> list[SliceSet]:
    """Return real sets of the size of the synthetic one; all training images where fewer would lack patients."""
    drawn = [train.select(r) for r in draw_rows(train.patient_id, len(synthetic), FLOOR_DRAWS, settings.seed)]
    return [part for part in drawn if len(part.patients) >= folds] or [train]


def _blurred(part: SliceSet) -> SliceSet:
    images = gaussian_filter(part.images, (0, PLANTED_BLUR, PLANTED_BLUR))
    return replace(part, images=images.astype(np.float32))


def _progress(updates: range) -> range:
    from rich.progress import track

    return track(updates, description="Telling synthetic from real", transient=True)
